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

#include "post.h"
#include "postern/hash.h"

#define CALLBACK_FIELDS 12
#define TO_PARAMETER    "to"

/* --- signature --------------------------------------------------------------------- */

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

/* A post of these parameters to the application, signed with the token that it logs in with. */
static enum err make_post(struct slice url, struct form *f, struct slice secret, struct arena *a, struct outgoing *out)
{
    post_sort(f);
    enum err err = post_make(SLICE("POST"), url, f, a, out);
    const char *signature = err == OK ? sign(url, f, secret, a) : NULL;
    if (signature == NULL)
        return err != OK ? err : ERR_LIMIT;
    return wire_outgoing_add(out, "X-Twilio-Signature", slice_of(signature));
}

/* --- our own posts -------------------------------------------------------------------- */

static void fill_callback(struct form *c, const struct kept_message *k, const struct form *f, struct slice account,
                          struct arena *a)
{
    struct slice status = slice_of(twilio_kept_status(k, f));
    struct twilio_error error = twilio_kept_error(k);
    post_add(c, "AccountSid", account);
    post_add(c, "ApiVersion", SLICE("2010-04-01"));
    post_add(c, "From", form_get(f, "From"));
    post_add(c, "To", form_get(f, "To"));
    post_add(c, "MessageSid", k->id);
    post_add(c, "MessageStatus", status);
    post_add(c, "SmsSid", k->id);
    post_add(c, "SmsStatus", status);
    post_add(c, "MessagingServiceSid", form_get(f, "MessagingServiceSid"));
    if (error.code == 0)
        return;
    post_add(c, "ErrorCode", slice_of(arena_printf(a, "%d", error.code)));
    post_add(c, "ErrorMessage", slice_of(error.text));
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

bool twilio_is_genuine(const struct wire_request *r, struct slice url, const struct provider_login *login,
                       struct arena *a)
{
    struct slice given = wire_field_get(r->fields, r->n_fields, "X-Twilio-Signature");
    struct form form;
    if (given.n == 0 || !post_read(r, a, &form))
        return false;
    post_sort(&form);
    const char *signature = sign(url, &form, login->secret, a);
    return signature != NULL && hash_equal(given, slice_of(signature));
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
    return !post_holds(f->value, theirs) && !post_holds(f->value, o->login->account);
}

enum err twilio_relay(const struct wire_request *r, const struct relay_options *options, struct arena *a,
                      struct slice *url, struct outgoing *out)
{
    static const char *const none[] = {NULL};
    struct form post, query;
    struct errmsg why;
    if (!post_read(r, a, &post) || form_parse(r->query, none, a, &query, &why) != OK)
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
