/*
 * From the greeting to READY: EHLO, STARTTLS, EHLO again, AUTH.  It must not know
 * what is sent then.
 *
 * The idea: what was learnt in the clear is forgotten under TLS, and a login
 * never leaves in the clear unless the relay is on loopback.
 */
#include "smtp_client_parts.h"

#include <openssl/evp.h>

static void say_base64(struct smtp_client *c, enum smtp_client_state next, struct slice words, struct slice bytes)
{
    smtp_client_open_out(c);
    smtp_client_put(c, words);
    ensure(smtp_client_room(c) > (bytes.n + 2) / 3 * 4 + 2);
    int n = EVP_EncodeBlock((unsigned char *)c->buffer + c->out.n, (const unsigned char *)bytes.p, (int)bytes.n);
    c->out.n += (size_t)n;
    smtp_client_put(c, SLICE("\r\n"));
    c->n_owed++;
    c->state = next;
}

void smtp_client_hello(struct smtp_client *c)
{
    c->extensions = 0;
    smtp_client_say(c, SMTP_CLIENT_EHLO, SLICE("EHLO "), slice_of(c->opt->host));
}

static void say_plain(struct smtp_client *c, enum smtp_client_state next, struct slice words)
{
    char plain[2 * SMTP_CLIENT_LOGIN_MAX + 2]; /* RFC 4616: authorization identity (none), NUL, user, NUL, secret */
    struct slice user = c->opt->user, secret = c->opt->secret;
    plain[0] = plain[user.n + 1] = '\0';
    memcpy(plain + 1, user.p, user.n);
    memcpy(plain + user.n + 2, secret.p, secret.n);
    say_base64(c, next, words, (struct slice){plain, user.n + secret.n + 2});
    explicit_bzero(plain, sizeof plain);
}

/* Bytes that make a first response which fits into a command line of 512 (RFC 4954 section 4). */
#define FIRST_RESPONSE_MAX 360u

static void login(struct smtp_client *c)
{
    const struct smtp_client_options *o = c->opt;
    if (o->user.n == 0)
        smtp_client_be_idle(c);
    else if (!c->tls_on && !o->in_clear)
        smtp_client_fail(c, "login_needs_tls", true);
    else if ((c->extensions & EXT_AUTH_PLAIN) && o->user.n + o->secret.n <= FIRST_RESPONSE_MAX)
        say_plain(c, SMTP_CLIENT_AUTH_PLAIN, SLICE("AUTH PLAIN "));
    else if (c->extensions & EXT_AUTH_PLAIN)
        smtp_client_say(c, SMTP_CLIENT_AUTH_PLAIN, SLICE("AUTH PLAIN"), (struct slice){0});
    else if (c->extensions & EXT_AUTH_LOGIN)
        smtp_client_say(c, SMTP_CLIENT_AUTH_LOGIN, SLICE("AUTH LOGIN"), (struct slice){0});
    else
        smtp_client_fail(c, "auth_not_offered", true);
}

static void greeted(struct smtp_client *c)
{
    enum smtp_client_tls tls = c->opt->tls;
    if (!c->tls_on && tls != SMTP_CLIENT_TLS_NEVER && (c->extensions & EXT_STARTTLS))
        smtp_client_say(c, SMTP_CLIENT_START, SLICE("STARTTLS"), (struct slice){0});
    else if (!c->tls_on && tls == SMTP_CLIENT_TLS_MUST)
        smtp_client_fail(c, "tls_not_offered", true);
    else
        login(c);
}

static void on_ehlo(struct smtp_client *c, int class)
{
    if (class == 2) {
        greeted(c);
    } else if (class == 5 && c->state == SMTP_CLIENT_EHLO) {
        c->extensions = 0;
        smtp_client_say(c, SMTP_CLIENT_HELO, SLICE("HELO "), slice_of(c->opt->host));
    } else {
        smtp_client_fail_refused(c, "ehlo_refused", true);
    }
}

static void on_start_tls(struct smtp_client *c, int class)
{
    if (class == 2) {
        c->state = SMTP_CLIENT_HANDSHAKE;
        c->due = SMTP_CLIENT_STARTTLS;
    } else if (c->opt->tls == SMTP_CLIENT_TLS_MUST) {
        smtp_client_fail_refused(c, "tls_refused", true);
    } else {
        login(c);
    }
}

static void on_auth(struct smtp_client *c, int class)
{
    enum smtp_client_state state = c->state;
    explicit_bzero(c->buffer, sizeof c->buffer);
    if (class == 2)
        smtp_client_be_idle(c);
    else if (class != 3)
        smtp_client_fail_refused(c, "auth_refused", true);
    else if (state == SMTP_CLIENT_AUTH_PLAIN)
        say_plain(c, SMTP_CLIENT_AUTH_SECRET, (struct slice){0});
    else if (state == SMTP_CLIENT_AUTH_LOGIN)
        say_base64(c, SMTP_CLIENT_AUTH_USER, (struct slice){0}, c->opt->user);
    else
        say_base64(c, SMTP_CLIENT_AUTH_SECRET, (struct slice){0}, c->opt->secret);
}

void smtp_client_on_hello(struct smtp_client *c, int class)
{
    if (c->state == SMTP_CLIENT_GREETING && class == 2)
        smtp_client_hello(c);
    else if (c->state == SMTP_CLIENT_GREETING)
        smtp_client_fail_refused(c, "greeting_refused", true);
    else if (c->state <= SMTP_CLIENT_HELO)
        on_ehlo(c, class);
    else if (c->state == SMTP_CLIENT_START)
        on_start_tls(c, class);
    else
        on_auth(c, class);
}

static bool lists_word(struct slice list, const char *word)
{
    while (list.n > 0) {
        const char *blank = memchr(list.p, ' ', list.n);
        size_t n = blank ? (size_t)(blank - list.p) : list.n;
        if (slice_ieq((struct slice){list.p, n}, slice_of(word)))
            return true;
        n += blank ? 1 : 0;
        list = (struct slice){list.p + n, list.n - n};
    }
    return false;
}

/* One line of the reply to EHLO behind the first: "PIPELINING", "SIZE 1000", "AUTH PLAIN LOGIN". */
void smtp_client_take_offer(struct smtp_client *c, struct slice line)
{
    static const struct {
        const char *word;
        enum extension extension;
    } rows[] = {{"PIPELINING", EXT_PIPELINING}, {"SIZE", EXT_SIZE}, {"8BITMIME", EXT_8BITMIME},
                {"SMTPUTF8", EXT_SMTPUTF8},     {"DSN", EXT_DSN},   {"STARTTLS", EXT_STARTTLS}};
    const char *blank = line.n > 0 ? memchr(line.p, ' ', line.n) : NULL;
    struct slice word = {line.p, blank ? (size_t)(blank - line.p) : line.n};
    for (size_t i = 0; i < N_ELEMENTS(rows); i++)
        if (slice_ieq(word, slice_of(rows[i].word)))
            c->extensions |= rows[i].extension;
    if (!slice_ieq(word, SLICE("AUTH")))
        return;
    c->extensions |= lists_word(line, "PLAIN") ? EXT_AUTH_PLAIN : 0u;
    c->extensions |= lists_word(line, "LOGIN") ? EXT_AUTH_LOGIN : 0u;
}
