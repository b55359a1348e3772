/*
 * StatusCallback for messages that the application knows by a sid of ours (pages
 * "Track the Message Status of Outbound Messages" and "Validating Signatures"): the
 * posts that we make ourselves, and Twilio's own, put into the application's words.
 *
 * The one idea: where Twilio's posts are to go on to stands in the query of the URL
 * that Twilio was given.  Its signature covers that query, so nothing has to be
 * remembered for it and nobody else can name another place.
 */
#include "twilio.h"

#include "postern/hash.h"

#define CALLBACK_FIELDS 12
#define RELAYED_MAX     100 /* Twilio sends about fifteen, "parameters can be added at any time" */
#define TO_PARAMETER    "to"

/* --- parameters and signature ----------------------------------------------------- */

static void add_parameter(struct form *f, const char *name, struct slice value)
{
    if (value.n > 0)
        f->fields[f->n++] = (struct form_field){.name = slice_of(name), .value = value};
}

static bool comes_before(struct slice a, struct slice b)
{
    int order = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return order != 0 ? order < 0 : a.n < b.n;
}

/* Byte order of names: each name stands once. */
static void sort_parameters(struct form *f)
{
    for (size_t i = 1; i < f->n; i++) {
        struct form_field one = f->fields[i];
        size_t k = i;
        for (; k > 0 && comes_before(one.name, f->fields[k - 1].name); k--)
            f->fields[k] = f->fields[k - 1];
        f->fields[k] = one;
    }
}

/* base64(HMAC-SHA1(token, URL and, in byte order of names, each name and value)); NULL: the arena is spent. */
static const char *sign(struct slice url, const struct form *sorted, struct slice secret, struct arena *a)
{
    struct buf b;
    uint8_t mac[SHA1_BYTES];
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_add_slice(&b, url);
    for (size_t i = 0; i < sorted->n; i++) {
        buf_add_slice(&b, sorted->fields[i].name);
        buf_add_slice(&b, sorted->fields[i].value);
    }
    if (b.failed)
        return NULL;
    hash_hmac_sha1(secret, buf_slice(&b), mac);
    return hash_base64(a, mac, sizeof mac);
}

/* What follows scheme and authority; "/" when nothing does. */
static struct slice target_of(struct slice url, struct arena *a)
{
    const char *authority = memmem(url.p, url.n, "://", 3);
    if (authority == NULL)
        return (struct slice){NULL, 0};
    const char *end = url.p + url.n;
    const char *hash = memchr(url.p, '#', url.n);
    if (hash != NULL)
        end = hash;
    for (const char *p = authority + 3; p < end; p++) {
        if (*p == '/')
            return (struct slice){p, (size_t)(end - p)};
        if (*p == '?')
            return slice_of(arena_printf(a, "/%.*s", (int)(end - p), p));
    }
    return SLICE("/");
}

/* A post of these parameters to the application, signed with the token that it logs in with. */
static enum err make_post(struct slice url, struct form *f, struct slice secret, struct arena *a, struct outgoing *out)
{
    struct slice target = target_of(url, a);
    if (target.p == NULL || !slice_is_clean(url) || memchr(url.p, ' ', url.n) != NULL)
        return ERR_SYNTAX;
    sort_parameters(f);
    struct buf body;
    buf_init(&body, a, WIRE_BODY_MAX);
    for (size_t i = 0; i < f->n; i++) {
        if (i > 0)
            buf_add_cstr(&body, "&");
        buf_add_form(&body, f->fields[i].name);
        buf_add_cstr(&body, "=");
        buf_add_form(&body, f->fields[i].value);
    }
    const char *signature = sign(url, f, secret, a);
    if (body.failed || signature == NULL)
        return ERR_LIMIT;
    *out = (struct outgoing){.method = SLICE("POST"), .path_and_query = target, .body = buf_slice(&body)};
    out->fields[out->n_fields++] =
        (struct wire_field){SLICE("Content-Type"), SLICE("application/x-www-form-urlencoded; charset=utf-8")};
    return wire_outgoing_add(out, "X-Twilio-Signature", slice_of(signature));
}

/* --- our own posts -------------------------------------------------------------------- */

static void fill_callback(struct form *c, const struct kept_message *k, const struct form *f, struct slice account,
                          struct arena *a)
{
    struct slice status = slice_of(twilio_kept_status(k, f));
    struct twilio_error error = twilio_kept_error(k);
    add_parameter(c, "AccountSid", account);
    add_parameter(c, "ApiVersion", SLICE("2010-04-01"));
    add_parameter(c, "From", form_get(f, "From"));
    add_parameter(c, "To", form_get(f, "To"));
    add_parameter(c, "MessageSid", k->id);
    add_parameter(c, "MessageStatus", status);
    add_parameter(c, "SmsSid", k->id);
    add_parameter(c, "SmsStatus", status);
    add_parameter(c, "MessagingServiceSid", form_get(f, "MessagingServiceSid"));
    if (error.code == 0)
        return;
    add_parameter(c, "ErrorCode", slice_of(arena_printf(a, "%d", error.code)));
    add_parameter(c, "ErrorMessage", slice_of(error.text));
}

enum err twilio_callback(const struct kept_message *kept, struct slice account, struct slice secret, struct arena *a,
                         struct slice *url, struct outgoing *out)
{
    struct form form, post = {.fields = arena_calloc(a, CALLBACK_FIELDS, sizeof *post.fields)};
    enum err err = twilio_kept_form(kept, a, &form);
    if (err != OK || post.fields == NULL)
        return err != OK ? err : ERR_LIMIT;
    *url = form_get(&form, "StatusCallback");
    if (url->n == 0)
        return ERR_NOT_FOUND;
    fill_callback(&post, kept, &form, account, a);
    return make_post(*url, &post, secret, a, out);
}

/* --- Twilio's posts -------------------------------------------------------------------- */

struct slice twilio_callback_url(struct slice url, struct slice application, struct arena *a)
{
    struct buf b;
    buf_init(&b, a, WIRE_BODY_MAX);
    buf_add_slice(&b, url);
    buf_add_cstr(&b, "?" TO_PARAMETER "=");
    buf_add_form(&b, application);
    return b.failed ? (struct slice){NULL, 0} : buf_slice(&b);
}

static bool read_post(const struct wire_request *r, struct arena *a, struct form *out)
{
    static const char *const none[] = {NULL};
    struct slice type = wire_field_get(r->fields, r->n_fields, "Content-Type");
    struct errmsg why;
    return wire_is_media_type(type, "application/x-www-form-urlencoded") &&
           form_parse(r->body, none, a, out, &why) == OK && out->n <= RELAYED_MAX;
}

bool twilio_is_genuine(const struct wire_request *r, struct slice url, const struct provider_login *login,
                       struct arena *a)
{
    struct slice given = wire_field_get(r->fields, r->n_fields, "X-Twilio-Signature");
    struct form form;
    if (given.n == 0 || !read_post(r, a, &form))
        return false;
    sort_parameters(&form);
    const char *signature = sign(url, &form, login->secret, a);
    return signature != NULL && hash_equal(given, slice_of(signature));
}

static bool holds(struct slice s, struct slice part)
{
    return part.n > 0 && s.n >= part.n && memmem(s.p, s.n, part.p, part.n) != NULL;
}

/* The value as the application knows it; false for one that names what is the provider's and nothing that it knows. */
static bool translate(struct form_field *f, const struct relay_options *o, struct slice theirs)
{
    static const char *const sids[] = {"MessageSid", "SmsSid", "SmsMessageSid"};
    for (size_t i = 0; i < N_ELEMENTS(sids); i++) {
        if (slice_eq_cstr(f->name, sids[i])) {
            f->value = o->id;
            return true;
        }
    }
    if (slice_eq_cstr(f->name, "AccountSid")) {
        f->value = o->account;
        return true;
    }
    return !holds(f->value, theirs) && !holds(f->value, o->login->account);
}

enum err twilio_relay(const struct wire_request *r, const struct relay_options *options, struct arena *a,
                      struct slice *url, struct outgoing *out)
{
    static const char *const none[] = {NULL};
    struct form post, query;
    struct errmsg why;
    if (!read_post(r, a, &post) || form_parse(r->query, none, a, &query, &why) != OK)
        return ERR_SYNTAX;
    *url = form_get(&query, TO_PARAMETER);
    if (url->n == 0)
        return ERR_NOT_FOUND;
    struct slice theirs = form_get(&post, "MessageSid");
    size_t n = 0;
    for (size_t i = 0; i < post.n; i++) {
        if (translate(&post.fields[i], options, theirs))
            post.fields[n++] = post.fields[i];
    }
    post.n = n;
    return make_post(*url, &post, options->secret, a, out);
}
