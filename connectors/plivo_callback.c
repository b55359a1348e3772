/*
 * Status callbacks for messages that the application knows by a uuid of ours (pages
 * "Message Status Callbacks" and "Signature Validation", 2026-11; plivo-node 4.79 for
 * both signatures): the posts that we make ourselves, and Plivo's own, put into the
 * application's words.
 *
 * The one idea: where Plivo's posts are to go on to stands in the query of the URL that
 * Plivo was given, as with Twilio.  But signature V2, which is what messages have,
 * leaves the query out: so the query has a MAC of ours, by the same token, in words
 * that no URL begins with.
 */
#include "plivo.h"

#include <stdio.h>

#include "post.h"
#include "postern/hash.h"

#define CALLBACK_FIELDS 12
#define MAC_BYTES       16
#define TO_PARAMETER    "to"
#define VIA_PARAMETER   "via"
#define MAC_PARAMETER   "mac"

/* --- signatures --------------------------------------------------------------------- */

/* Without query and fragment. */
static struct slice base_of(struct slice url)
{
    size_t n = 0;
    while (n < url.n && url.p[n] != '?' && url.p[n] != '#')
        n++;
    return (struct slice){url.p, n};
}

static const char *sign(struct slice secret, const struct slice *parts, size_t n_parts, struct arena *a)
{
    struct digest mac = hash_hmac_sha256(secret, parts, n_parts);
    return hash_base64(a, mac.b, sizeof mac.b);
}

/* base64(HMAC-SHA256(token, URL without its query, nonce)); NULL: the arena is spent. */
static const char *sign_v2(struct slice url, struct slice nonce, struct slice secret, struct arena *a)
{
    const struct slice parts[] = {base_of(url), nonce};
    return sign(secret, parts, N_ELEMENTS(parts), a);
}

/* Over URL, sorted query, sorted parameters and nonce; NULL: it cannot be read one way, or the arena is spent. */
static const char *sign_v3(const struct wire_request *r, struct slice url, struct slice nonce, struct slice secret,
                           struct arena *a)
{
    static const char *const none[] = {NULL};
    struct form post, query;
    struct errmsg why;
    struct buf b;
    if (!post_read(r, a, &post) || form_parse(r->query, none, a, &query, &why) != OK)
        return NULL;
    post_sort(&post);
    post_sort(&query);
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_add_slice(&b, base_of(url));
    for (size_t i = 0; i < query.n; i++) {
        buf_add_cstr(&b, i == 0 ? "?" : "&");
        buf_add_slice(&b, query.fields[i].name);
        buf_add_cstr(&b, "=");
        buf_add_slice(&b, query.fields[i].value);
    }
    if (post.n > 0)
        buf_add_cstr(&b, query.n > 0 ? "." : "?");
    for (size_t i = 0; i < post.n; i++) {
        buf_add_slice(&b, post.fields[i].name);
        buf_add_slice(&b, post.fields[i].value);
    }
    const struct slice parts[] = {buf_slice(&b), SLICE("."), nonce};
    return b.failed ? NULL : sign(secret, parts, N_ELEMENTS(parts), a);
}

/* Is it one of the signatures, parted by commas, of either field? */
static bool is_given(const struct wire_request *r, const char *const fields[2], const char *signature)
{
    for (size_t i = 0; i < 2 && signature != NULL; i++) {
        struct slice rest = wire_field_get(r->fields, r->n_fields, fields[i]);
        while (rest.n > 0) {
            const char *comma = memchr(rest.p, ',', rest.n);
            size_t n = comma == NULL ? rest.n : (size_t)(comma - rest.p);
            if (hash_equal(slice_trim((struct slice){rest.p, n}), slice_of(signature)))
                return true;
            n = comma == NULL ? n : n + 1;
            rest = (struct slice){rest.p + n, rest.n - n};
        }
    }
    return false;
}

/* --- where it goes on to --------------------------------------------------------------- */

static void mac_of(struct slice ours, struct plivo_callback c, struct slice secret, char out[2 * MAC_BYTES + 1])
{
    const struct slice parts[] = {
        SLICE("postern callback\n"), base_of(ours), SLICE("\n"), c.method, SLICE("\n"), c.url};
    struct digest mac = hash_hmac_sha256(secret, parts, N_ELEMENTS(parts));
    hash_hex(mac.b, MAC_BYTES, out);
}

struct slice plivo_callback_url(struct slice ours, struct plivo_callback application, struct slice secret,
                                struct arena *a)
{
    char mac[2 * MAC_BYTES + 1];
    struct buf b;
    mac_of(ours, application, secret, mac);
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_add_slice(&b, ours);
    buf_add_cstr(&b, "?" TO_PARAMETER "=");
    buf_add_form(&b, application.url);
    buf_add_cstr(&b, "&" VIA_PARAMETER "=");
    buf_add_slice(&b, application.method);
    buf_add_cstr(&b, "&" MAC_PARAMETER "=");
    buf_add_cstr(&b, mac);
    return b.failed ? (struct slice){NULL, 0} : buf_slice(&b);
}

/* Out of the query; false: it names nothing, or can be read two ways. */
static bool read_query(const struct wire_request *r, struct arena *a, struct plivo_callback *out, struct slice *mac)
{
    static const char *const none[] = {NULL};
    struct form query;
    struct errmsg why;
    if (form_parse(r->query, none, a, &query, &why) != OK)
        return false;
    *out = (struct plivo_callback){form_get(&query, TO_PARAMETER), form_get(&query, VIA_PARAMETER)};
    *mac = form_get(&query, MAC_PARAMETER);
    return out->url.n > 0;
}

bool plivo_is_genuine(const struct wire_request *r, struct slice url, const struct provider_login *login,
                      struct arena *a)
{
    static const char *const v2[2] = {"X-Plivo-Signature-V2", "X-Plivo-Signature-Ma-V2"};
    static const char *const v3[2] = {"X-Plivo-Signature-V3", "X-Plivo-Signature-Ma-V3"};
    struct slice nonce2 = wire_field_get(r->fields, r->n_fields, "X-Plivo-Signature-V2-Nonce");
    struct slice nonce3 = wire_field_get(r->fields, r->n_fields, "X-Plivo-Signature-V3-Nonce");
    struct plivo_callback to;
    struct slice given;
    char mac[2 * MAC_BYTES + 1];
    /* V3 holds for the parameters as well: where it is sent it is what counts. */
    bool holds = nonce3.p != NULL ? is_given(r, v3, sign_v3(r, url, nonce3, login->secret, a))
                                  : nonce2.n > 0 && is_given(r, v2, sign_v2(url, nonce2, login->secret, a));
    if (!holds || !read_query(r, a, &to, &given))
        return false;
    mac_of(url, to, login->secret, mac);
    return hash_equal(given, slice_of(mac));
}

/* --- posts ----------------------------------------------------------------------------------- */

/* Plivo's nonces are digits; this one follows from what is told, so that the same is told in the same bytes. */
static const char *nonce_of(const struct form *f, struct arena *a)
{
    struct digest d = {{0}};
    for (size_t i = 0; i < f->n; i++) {
        const struct slice parts[] = {{(const char *)d.b, sizeof d.b}, f->fields[i].name, f->fields[i].value};
        d = hash_sha256_parts(parts, N_ELEMENTS(parts));
    }
    uint64_t digits = 0;
    memcpy(&digits, d.b, sizeof digits);
    return arena_printf(a, "%020llu", (unsigned long long)digits);
}

/* Digits and base64 are clean, and a post has few fields. */
static void add_field(struct outgoing *out, const char *name, const char *value)
{
    out->fields[out->n_fields++] = (struct wire_field){slice_of(name), slice_of(value)};
}

/* Signed with the token that the application logs in with: as of its account, and as of the main account. */
static enum err make_post(struct plivo_callback to, struct form *f, struct slice secret, struct arena *a,
                          struct outgoing *out)
{
    post_sort(f);
    enum err err = post_make(to.method, to.url, f, a, out);
    const char *nonce = err == OK ? nonce_of(f, a) : NULL;
    const char *signature = nonce == NULL ? NULL : sign_v2(to.url, slice_of(nonce), secret, a);
    if (signature == NULL)
        return err != OK ? err : ERR_LIMIT;
    add_field(out, "X-Plivo-Signature-V2", signature);
    add_field(out, "X-Plivo-Signature-Ma-V2", signature);
    add_field(out, "X-Plivo-Signature-V2-Nonce", nonce);
    return OK;
}

static void fill_callback(struct form *c, const struct kept_message *k, struct slice type, const char *time)
{
    bool powerpack = plivo_is_powerpack(k->from);
    struct slice none = {NULL, 0};
    post_add(c, "MessageUUID", k->id);
    post_add(c, "ParentMessageUUID", k->id);
    post_add(c, "To", plivo_number(k->to));
    post_add(c, "From", powerpack ? none : plivo_number(k->from));
    post_add(c, "PowerpackUUID", powerpack ? k->from : none);
    post_add(c, "Type", type);
    post_add(c, "Status", slice_of(plivo_kept_state(k)));
    post_add(c, "ErrorCode", slice_of(plivo_kept_error(k)));
    post_add(c, "MessageTime", slice_of(time));
    post_add(c, "Units", SLICE("1"));
}

enum err plivo_callback(const struct kept_message *kept, struct slice account, struct slice secret, struct arena *a,
                        struct slice *url, struct outgoing *out)
{
    (void)account;
    struct plivo p = {0};
    struct fault why;
    struct form post = {.fields = arena_calloc(a, CALLBACK_FIELDS, sizeof *post.fields)};
    char time[PLIVO_TIME_MAX];
    if (kept->body.n == 0)
        return ERR_NOT_FOUND;
    if (post.fields == NULL || plivo_scan(kept->body, a, &p, &why) != OK)
        return ERR_LIMIT; /* it was read when it came in */
    struct plivo_callback to = plivo_callback_of(&p, a);
    *url = to.url;
    if (url->n == 0)
        return ERR_NOT_FOUND;
    fill_callback(&post, kept, plivo_kept_type(kept, &p, a), plivo_time(kept->created_at_ms, time));
    return make_post(to, &post, secret, a, out);
}

/* The value as the application knows it; false for one that names what is the provider's and nothing that it knows. */
static bool translate(struct form_field *f, const struct relay_options *o, struct slice theirs)
{
    if (slice_eq_cstr(f->name, "MessageUUID") || slice_eq_cstr(f->name, "ParentMessageUUID")) {
        f->value = o->id;
        return true;
    }
    return !post_holds(f->value, theirs) && !post_holds(f->value, o->login->account);
}

enum err plivo_relay(const struct wire_request *r, const struct relay_options *options, struct arena *a,
                     struct slice *url, struct outgoing *out)
{
    struct form post;
    struct plivo_callback to;
    struct slice mac;
    if (!post_read(r, a, &post) || !read_query(r, a, &to, &mac))
        return ERR_SYNTAX;
    *url = to.url;
    struct slice theirs = form_get(&post, "MessageUUID");
    size_t n = 0;
    for (size_t i = 0; i < post.n; i++) {
        if (translate(&post.fields[i], options, theirs))
            post.fields[n++] = post.fields[i];
    }
    post.n = n;
    return make_post(to, &post, options->secret, a, out);
}
