/*
 * Messages that Postern keeps, beside what their provider says: its answers pass with our id in the place of its own,
 * and what waits here stands in front of its lists.  Knows no provider: what one such message looks like is its
 * dialect's.  The one idea: the provider's bytes stay as they came, all but what is put in.
 */
#include "wire.h"

#include "edit.h"
#include "json_scan.h"

/* The id may stand anywhere in the answer: in a URI, in a refusal's text. */
static enum err rename_id(struct slice body, const struct kept_message *k, struct arena *a, struct slice *out)
{
    struct edits edits = {.arena = a};
    struct slice theirs = k->their_id;
    for (size_t at = 0; at < body.n && theirs.n > 0; at += theirs.n) {
        const char *found = memmem(body.p + at, body.n - at, theirs.p, theirs.n);
        if (found == NULL)
            break;
        at = (size_t)(found - body.p);
        edit_replace(&edits, at, at + theirs.n, k->id);
    }
    return edit_apply(&edits, body, out);
}

enum err wire_kept_fetch(const struct route *route, const struct kept_message *kept, size_t n,
                         const struct provider_answer *provider, struct arena *a, struct wire_reply *out)
{
    bool denied = route->call == CALL_MESSAGE_FETCH && n > 0 && provider != NULL && provider->status != 200;
    if (provider == NULL || denied)
        return ERR_NOT_FOUND;
    wire_reply_provider(out, provider);
    return n == 0 ? OK : rename_id(provider->body, &kept[0], a, &out->body);
}

enum err wire_kept_list(const struct provider_answer *provider, const char *member, struct slice ours, struct arena *a,
                        struct wire_reply *out)
{
    wire_reply_provider(out, provider);
    struct json_scan s = {.arena = a};
    struct errmsg why;
    if (provider->status != 200 || ours.n == 0 || json_scan_parse(&s, provider->body, &why) != OK)
        return OK;
    uint32_t list = json_scan_member(&s, 0, member);
    if (!json_scan_is(&s, list, JSON_KIND_ARRAY))
        return OK;
    struct edits edits = {.arena = a};
    size_t at = s.nodes[list].start + 1;
    edit_replace(&edits, at, at, ours);
    if (json_scan_count(&s, list) > 0)
        edit_replace(&edits, at, at, SLICE(","));
    return edit_apply(&edits, provider->body, &out->body);
}
