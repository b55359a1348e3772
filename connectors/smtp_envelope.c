/*
 * The arguments of MAIL and RCPT: text to struct.  Knows the grammar of paths and of the parameters that the server
 * offers, not what a session is.
 *
 * The idea: a path is accepted when it can only mean one mailbox of one domain.  What old relays took apart and sent on
 * (source routes, "user%host@relay", "host!user@relay", an @ within quotes) is no mailbox here, and the mailbox itself
 * is judged by address_parse_email, which also makes the key that opt-outs are kept under.
 */
#include "smtp_envelope.h"

#include <stdarg.h>
#include <stdio.h>

#include "postern/address.h"

#define PATH_MAX_BYTES  254u /* RFC 5321 section 4.5.3.1.3: 256 with the brackets */
#define SIZE_MAX_DIGITS 20u  /* RFC 1870 section 3 */
#define ENVID_MAX_BYTES 100u /* RFC 3461 section 4.4 */
#define ORCPT_MAX_BYTES 500u /* RFC 3461 section 4.2 */
#define AUTH_MAX_BYTES  500u /* RFC 4954 section 3 */
#define SHOWN_BYTES     40u

/* MAIL or RCPT, as far as they differ in how an address is read. */
struct side {
    const char *keyword, *syntax; /* "FROM:" */
    const char *enhanced, *bad_address;
};
static const struct side sender = {"FROM:", "MAIL FROM:<address>", "5.1.7", "Bad sender's mailbox address syntax"};
static const struct side recipient = {"TO:", "RCPT TO:<address>", "5.1.3", "Bad destination mailbox address syntax"};

struct arguments {
    struct smtp_mail mail;
    struct smtp_rcpt rcpt;
};

PRINTF_LIKE(4, 5)
static enum err refuse(struct smtp_fault *f, int code, const char *enhanced, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(f->text, sizeof f->text, fmt, args);
    va_end(args);
    f->code = code;
    f->enhanced = enhanced;
    return ERR_SYNTAX;
}

static enum err refuse_address(struct smtp_fault *f, const struct side *side, const char *why)
{
    return refuse(f, 501, side->enhanced, "%s: %s", side->bad_address, why);
}

static struct slice rest_from(struct slice s, size_t at)
{
    return (struct slice){s.p + at, s.n - at};
}

/* Where the path ends that begins at 0 with '<': at its '>', not one within quotes.  s.n: nowhere. */
static size_t path_end(struct slice s)
{
    bool quoted = false;
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '>' && !quoted)
            return i;
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (s.p[i] == '\\' && quoted)
            i++;
    }
    return s.n;
}

static enum err check_mailbox(struct slice path, const struct side *side, struct smtp_fault *f)
{
    struct address address;
    struct errmsg e;
    if (path.n == 0)
        return refuse_address(f, side, "an empty address; write <name@domain>");
    if (path.n > PATH_MAX_BYTES)
        return refuse_address(f, side, "longer than 254 bytes (RFC 5321, 4.5.3.1.3)");
    if (path.p[0] == '@')
        return refuse_address(f, side, "source routes are not accepted; write <name@domain>");
    if (address_parse_email(path, &address, &e) != OK)
        return refuse_address(f, side, e.text);
    size_t n_local = (size_t)((const char *)memrchr(path.p, '@', path.n) - path.p);
    for (size_t i = 0; i < n_local; i++) {
        if (path.p[i] == '%' || path.p[i] == '!' || path.p[i] == '@')
            return refuse_address(f, side, "a route (%, ! or a second @) before the @; write <name@domain>");
    }
    return OK;
}

/*
 * "FROM:<a@b.c>" off the front of *rest.  RFC 5321 allows no blank behind the colon; some clients send one, and it
 * can mean nothing else.
 */
static enum err take_path(struct slice *rest, const struct side *side, struct slice *path, struct smtp_fault *f)
{
    size_t n = strlen(side->keyword);
    if (rest->n < n || !slice_ieq((struct slice){rest->p, n}, slice_of(side->keyword)))
        return refuse(f, 501, "5.5.4", "Syntax: %s", side->syntax);
    *rest = rest_from(*rest, n);
    if (rest->n > 0 && rest->p[0] == ' ')
        *rest = rest_from(*rest, 1);
    if (rest->n == 0 || rest->p[0] != '<')
        return refuse_address(f, side, "expected <name@domain>, in angle brackets");
    size_t end = path_end(*rest);
    if (end == rest->n)
        return refuse_address(f, side, "expected '>' behind the address");
    *path = (struct slice){rest->p + 1, end - 1};
    *rest = rest_from(*rest, end + 1);
    if (rest->n > 0 && rest->p[0] != ' ')
        return refuse_address(f, side, "expected a blank or nothing behind '>'");
    return OK;
}

static bool is_upper_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
}

static bool is_visible(char c)
{
    return c > ' ' && c < 0x7F;
}

/*
 * RFC 3461 section 4, and what it encodes is printable: it comes back in the header of a report, where an encoded line
 * end would begin another field.
 */
static bool is_xtext(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (!is_visible(s.p[i]) || s.p[i] == '=')
            return false;
        if (s.p[i] != '+')
            continue;
        if (s.n - i < 3 || s.p[i + 1] < '2' || s.p[i + 1] > '7' || !is_upper_hex(s.p[i + 2]))
            return false;
        if (s.p[i + 1] == '7' && s.p[i + 2] == 'F')
            return false;
        i += 2;
    }
    return s.n > 0;
}

static bool read_size(struct slice value, struct arguments *a)
{
    a->mail.size = value;
    return value.n <= SIZE_MAX_DIGITS && slice_to_u64(value, UINT64_MAX, &a->mail.size_bytes);
}

static bool read_body(struct slice value, struct arguments *a)
{
    a->mail.body_8bit = slice_ieq(value, SLICE("8BITMIME"));
    return a->mail.body_8bit || slice_ieq(value, SLICE("7BIT"));
}

static bool read_smtputf8(struct slice value, struct arguments *a)
{
    a->mail.smtputf8 = value.p == NULL;
    return a->mail.smtputf8;
}

static bool read_ret(struct slice value, struct arguments *a)
{
    if (slice_ieq(value, SLICE("FULL")))
        a->mail.ret = SMTP_RET_FULL;
    else if (slice_ieq(value, SLICE("HDRS")))
        a->mail.ret = SMTP_RET_HDRS;
    return a->mail.ret != SMTP_RET_UNSAID;
}

static bool read_envid(struct slice value, struct arguments *a)
{
    a->mail.envid = value;
    return value.n <= ENVID_MAX_BYTES && is_xtext(value);
}

/* Who submitted it elsewhere.  Nobody here trusts a client so far: read, and dropped (RFC 4954 section 5). */
static bool read_auth(struct slice value, struct arguments *a)
{
    (void)a;
    return value.n <= AUTH_MAX_BYTES && is_xtext(value);
}

static uint32_t notify_word(struct slice word)
{
    static const struct {
        const char *word;
        enum smtp_notify notify;
    } words[] = {{"NEVER", SMTP_NOTIFY_NEVER},
                 {"SUCCESS", SMTP_NOTIFY_SUCCESS},
                 {"FAILURE", SMTP_NOTIFY_FAILURE},
                 {"DELAY", SMTP_NOTIFY_DELAY}};
    for (size_t i = 0; i < N_ELEMENTS(words); i++) {
        if (slice_ieq(word, slice_of(words[i].word)))
            return words[i].notify;
    }
    return SMTP_NOTIFY_UNSAID;
}

static size_t find(struct slice s, char c)
{
    const char *found = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
    return found == NULL ? s.n : (size_t)(found - s.p);
}

static bool read_notify(struct slice value, struct arguments *a)
{
    uint32_t set = 0;
    for (bool more = true; more;) {
        size_t n = find(value, ',');
        uint32_t word = notify_word((struct slice){value.p, n});
        if (word == SMTP_NOTIFY_UNSAID || (set & word) != 0)
            return false;
        set |= word;
        more = n < value.n;
        value = more ? rest_from(value, n + 1) : value;
    }
    a->rcpt.notify = set;
    return set == SMTP_NOTIFY_NEVER || (set & SMTP_NOTIFY_NEVER) == 0;
}

static bool is_keyword(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
        if (!good)
            return false;
    }
    return s.n > 0;
}

static bool read_orcpt(struct slice value, struct arguments *a)
{
    size_t n_type = find(value, ';');
    a->rcpt.orcpt = value;
    return value.n <= ORCPT_MAX_BYTES && n_type < value.n && is_keyword((struct slice){value.p, n_type}) &&
           is_xtext(rest_from(value, n_type + 1));
}

/* value.p is NULL when there is no '='. */
struct parameter {
    const char *name, *syntax;
    bool (*read)(struct slice value, struct arguments *a);
};
static const struct parameter of_mail[] = {
    {"SIZE", "SIZE=<bytes>", read_size},
    {"BODY", "BODY=7BIT or BODY=8BITMIME", read_body},
    {"SMTPUTF8", "SMTPUTF8, without a value", read_smtputf8},
    {"RET", "RET=FULL or RET=HDRS", read_ret},
    {"ENVID", "ENVID=<printable xtext, at most 100 bytes> (RFC 3461, 4.4)", read_envid},
    {"AUTH", "AUTH=<xtext> (RFC 4954, 5)", read_auth},
};
static const struct parameter of_rcpt[] = {
    {"NOTIFY", "NOTIFY=NEVER, or of SUCCESS,FAILURE,DELAY each at most once (RFC 3461, 4.1)", read_notify},
    {"ORCPT", "ORCPT=<type>;<printable xtext>, at most 500 bytes (RFC 3461, 4.2)", read_orcpt},
};

static enum err read_parameter(struct slice word, const struct parameter *table, size_t n, unsigned *seen,
                               struct arguments *a, struct smtp_fault *f)
{
    size_t equals = find(word, '=');
    struct slice name = {word.p, equals};
    struct slice value = equals < word.n ? rest_from(word, equals + 1) : (struct slice){NULL, 0};
    if (!is_keyword(name))
        return refuse(f, 501, "5.5.4", "Syntax: expected a parameter, NAME or NAME=value");
    for (size_t i = 0; i < n; i++) {
        if (!slice_ieq(name, slice_of(table[i].name)))
            continue;
        if ((*seen & 1u << i) != 0)
            return refuse(f, 501, "5.5.4", "Syntax: %s stands twice", table[i].name);
        *seen |= 1u << i;
        return table[i].read(value, a) ? OK : refuse(f, 501, "5.5.4", "Syntax: %s", table[i].syntax);
    }
    return refuse(f, 555, "5.5.4", "Unsupported parameter %.*s", SLICE_HEAD(name, SHOWN_BYTES));
}

static enum err read_parameters(struct slice rest, const struct parameter *table, size_t n, struct arguments *a,
                                struct smtp_fault *f)
{
    unsigned seen = 0;
    while (rest.n > 0) {
        size_t end = find(rest, ' ');
        enum err err = end == 0 ? OK : read_parameter((struct slice){rest.p, end}, table, n, &seen, a, f);
        if (err != OK)
            return err;
        rest = rest_from(rest, end < rest.n ? end + 1 : end);
    }
    return OK;
}

static enum err check_ascii(struct slice path, bool utf8, struct smtp_fault *f)
{
    for (size_t i = 0; i < path.n && !utf8; i++) {
        if ((path.p[i] & 0x80) != 0)
            return refuse(f, 553, "5.6.7", "Non-ASCII address: MAIL must say SMTPUTF8");
    }
    return OK;
}

enum err smtp_mail_parse(struct slice argument, struct smtp_mail *out, struct smtp_fault *f)
{
    struct arguments a = {0};
    enum err err = take_path(&argument, &sender, &a.mail.path, f);
    if (err == OK && a.mail.path.n > 0)
        err = check_mailbox(a.mail.path, &sender, f);
    if (err == OK)
        err = read_parameters(argument, of_mail, N_ELEMENTS(of_mail), &a, f);
    if (err == OK)
        err = check_ascii(a.mail.path, a.mail.smtputf8, f);
    *out = a.mail;
    return err;
}

enum err smtp_rcpt_parse(struct slice argument, bool utf8, struct smtp_rcpt *out, struct smtp_fault *f)
{
    struct arguments a = {0};
    enum err err = take_path(&argument, &recipient, &a.rcpt.path, f);
    if (err == OK)
        err = check_mailbox(a.rcpt.path, &recipient, f);
    if (err == OK)
        err = check_ascii(a.rcpt.path, utf8, f);
    if (err == OK)
        err = read_parameters(argument, of_rcpt, N_ELEMENTS(of_rcpt), &a, f);
    *out = a.rcpt;
    return err;
}
