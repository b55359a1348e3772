/*
 * AUTH PLAIN and LOGIN (RFC 4954, RFC 4616): base64 to a name and a secret.  Does not know who anybody is: the user of
 * the machine is asked.  What is decoded stands in the line's own bytes, which are wiped after it.
 */
#include "smtp_proto_parts.h"

#include "postern/hash.h"

bool smtp_proto_auth_is_allowed(const struct smtp_proto *p)
{
    return p->tls_on || p->opt.auth_in_clear;
}

/* Strictly, in place.  "=" is a response of no bytes (RFC 4954 section 4), only as an initial response. */
static bool decode(struct smtp_proto *p, struct slice text, bool initial, struct slice *out)
{
    if (initial && slice_eq_cstr(text, "="))
        text.n = 0;
    char *to = p->line + (text.p - p->line);
    size_t n = 0;
    bool good = hash_unbase64_into(text, (uint8_t *)to, &n);
    *out = (struct slice){to, n};
    return good;
}

static enum smtp_event refuse_response(struct smtp_proto *p)
{
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_SYNTAX, "501 5.5.2 Cannot decode the credentials\r\n");
}

static bool is_user(struct slice s)
{
    return s.n > 0 && s.n <= SMTP_USER_MAX && slice_is_clean(s);
}

static bool is_secret(struct slice s)
{
    return s.n > 0 && memchr(s.p, '\0', s.n) == NULL;
}

static enum smtp_event ask(struct smtp_proto *p, struct slice user, struct slice secret)
{
    if (!is_user(user) || !is_secret(secret))
        return refuse_response(p);
    p->user = user;
    p->secret = secret;
    return smtp_proto_ask(p, SMTP_AUTH);
}

/* False: there is no NUL. */
static bool take_until_nul(struct slice *rest, struct slice *part)
{
    const char *nul = memchr(rest->p, '\0', rest->n);
    if (nul == NULL)
        return false;
    *part = (struct slice){rest->p, (size_t)(nul - rest->p)};
    *rest = (struct slice){nul + 1, rest->n - part->n - 1};
    return true;
}

/* [authzid] NUL authcid NUL passwd; nobody acts for another here, so authzid is the user or nobody. */
static enum smtp_event take_plain(struct smtp_proto *p, struct slice response, bool initial)
{
    struct slice acts_as, user, rest;
    if (!decode(p, response, initial, &rest) || !take_until_nul(&rest, &acts_as) || !take_until_nul(&rest, &user))
        return refuse_response(p);
    if (acts_as.n > 0 && !slice_eq(acts_as, user))
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_AUTH_FAILED, "535 5.7.8 Authentication credentials invalid\r\n");
    return ask(p, user, rest);
}

static enum smtp_event take_user(struct smtp_proto *p, struct slice response, bool initial)
{
    struct slice user;
    if (!decode(p, response, initial, &user) || !is_user(user))
        return refuse_response(p);
    memcpy(p->login, user.p, user.n);
    p->n_user = user.n;
    p->state = SMTP_STATE_AUTH_SECRET;
    return smtp_proto_reply(p, "334 UGFzc3dvcmQ6\r\n"); /* "Password:" */
}

static enum smtp_event take_secret(struct smtp_proto *p, struct slice response)
{
    struct slice secret;
    if (!decode(p, response, false, &secret))
        return refuse_response(p);
    return ask(p, (struct slice){p->login, p->n_user}, secret);
}

enum smtp_event smtp_proto_auth_line(struct smtp_proto *p, struct slice line, bool more)
{
    enum smtp_proto_state state = p->state;
    p->state = SMTP_STATE_COMMAND; /* unless the exchange goes on */
    if (slice_eq_cstr(line, "*"))
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_AUTH_FAILED, "501 5.7.0 Authentication aborted\r\n");
    if (state == SMTP_STATE_AUTH_PLAIN)
        return take_plain(p, line, false);
    if (state == SMTP_STATE_AUTH_SECRET)
        return take_secret(p, line);
    if (more) /* the secret, before it was asked for */
        return smtp_proto_close(p, SMTP_PROTO_FAULT_PIPELINING, SMTP_REPLY_PIPELINING);
    return take_user(p, line, false);
}

static enum smtp_event begin_plain(struct smtp_proto *p, struct slice initial)
{
    if (initial.n > 0)
        return take_plain(p, initial, true);
    p->state = SMTP_STATE_AUTH_PLAIN;
    return smtp_proto_reply(p, "334 \r\n");
}

static enum smtp_event begin_login(struct smtp_proto *p, struct slice initial)
{
    if (initial.n > 0)
        return take_user(p, initial, true);
    p->state = SMTP_STATE_AUTH_USER;
    return smtp_proto_reply(p, "334 VXNlcm5hbWU6\r\n"); /* "Username:" */
}

enum smtp_event smtp_proto_auth_begin(struct smtp_proto *p, struct slice argument, bool more)
{
    const char *space = memchr(argument.p, ' ', argument.n);
    struct slice mechanism = {argument.p, space == NULL ? argument.n : (size_t)(space - argument.p)};
    struct slice initial = slice_trim((struct slice){argument.p + mechanism.n, argument.n - mechanism.n});
    bool plain = slice_ieq(mechanism, SLICE("PLAIN")), login = slice_ieq(mechanism, SLICE("LOGIN"));
    /* RFC 4954 section 3: only a PLAIN that is complete may have others behind it in its group. */
    if (more && !(plain && initial.n > 0))
        return smtp_proto_close(p, SMTP_PROTO_FAULT_PIPELINING, SMTP_REPLY_PIPELINING);
    if (mechanism.n == 0)
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_SYNTAX, "501 5.5.4 Syntax: AUTH mechanism\r\n");
    if (!p->is_esmtp)
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_WRONG_ORDER, "503 5.5.1 Send EHLO first\r\n");
    if (p->authenticated)
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_WRONG_ORDER, "503 5.5.1 Already authenticated\r\n");
    if (!smtp_proto_auth_is_allowed(p))
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_NOT_AUTHENTICATED,
                                 "538 5.7.11 Encryption required for requested authentication mechanism\r\n");
    if (plain)
        return begin_plain(p, initial);
    if (login)
        return begin_login(p, initial);
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_SYNTAX,
                             "504 5.5.4 Unrecognized authentication mechanism; PLAIN or LOGIN\r\n");
}
