/*
 * Our account in place of the application's: in a path that names it, and in the
 * login.  Knows no provider's paths.  The one idea: the path may have been rewritten
 * since it was matched (a message's id), so the account is found by its segment.
 */
#include "account.h"

#include "postern/hash.h"

struct slice account_target(const struct wire_request *r, const struct route *route, size_t segment,
                            const struct provider_login *login, struct arena *a)
{
    struct wire_path p;
    if (route->account.n == 0 || login->account.n == 0 || !wire_path_split(r->path, &p) || p.n <= segment)
        return wire_target(r->path, r->query, a);
    size_t start = (size_t)(p.segments[segment].p - r->path.p), end = start + route->account.n;
    struct slice before = {r->path.p, start}, behind = {r->path.p + end, r->path.n - end};
    const char *path = arena_printf(a, "%.*s%.*s%.*s", SLICE_ARG(before), SLICE_ARG(login->account), SLICE_ARG(behind));
    return path == NULL ? (struct slice){NULL, 0} : wire_target(slice_of(path), r->query, a);
}

enum err account_fields(const struct wire_request *r, const char *const *names, const struct provider_login *login,
                        struct arena *a, struct outgoing *out)
{
    enum err err = wire_outgoing_copy(out, r, names);
    if (err != OK)
        return err;
    const char *pair = arena_printf(a, "%.*s:%.*s", SLICE_ARG(login->account), SLICE_ARG(login->secret));
    const char *basic = pair == NULL ? NULL : hash_base64(a, (const uint8_t *)pair, strlen(pair));
    const char *value = basic == NULL ? NULL : arena_printf(a, "Basic %s", basic);
    return value == NULL ? ERR_LIMIT : wire_outgoing_add(out, "Authorization", slice_of(value));
}
