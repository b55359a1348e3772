/*
 * The checks that stand between a mail and the wire.  They must not know what
 * the server offers.
 *
 * The idea: an injected RCPT is a message that nobody decided on, and a line end
 * that only the receiver sees as one can hold a message in a message.  So the
 * bytes are judged here, whoever checked them before.
 */
#include "smtp_client_check.h"

/* In a path or parameter; blanks and angle brackets are judged apart. */
static bool is_sound(struct slice s, bool utf8)
{
    bool high = false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char b = (unsigned char)s.p[i];
        if (b < 0x20 || b == 0x7F)
            return false;
        high |= b > 0x7F;
    }
    return !high || (utf8 && slice_is_utf8(s));
}

static bool has_any(struct slice s, const char *bytes)
{
    for (size_t i = 0; i < s.n; i++)
        if (strchr(bytes, s.p[i])) /* not NUL: it is sound */
            return true;
    return false;
}

/* Bytes of a quoted string at the head of s, with both quotes; 0 when there is none.  s.n when it has no end. */
static size_t quoted_length(struct slice s)
{
    if (s.n == 0 || s.p[0] != '"')
        return 0;
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            return i + 1;
    }
    return s.n;
}

/* A blank or bracket only in a quoted local part (RFC 5321 section 4.1.2): elsewhere it would end the path. */
static bool is_path(struct slice s, bool utf8)
{
    if (!is_sound(s, utf8))
        return false;
    size_t quoted = quoted_length(s);
    struct slice rest = {s.p + quoted, s.n - quoted};
    return !has_any(rest, " <>\"\\") && (quoted == 0 || (rest.n > 0 && rest.p[0] == '@'));
}

static bool is_word(struct slice s, bool utf8)
{
    return is_sound(s, utf8) && !has_any(s, " <>");
}

/* The longest text of ours around them in MAIL: " SIZE=<20 digits> BODY=8BITMIME SMTPUTF8 RET= ENVID=". */
#define AROUND_MAX 128u

bool smtp_client_check_envelope(const struct mail_envelope *e)
{
    if (e->n_recipients == 0 || !is_path(e->from, e->smtputf8) || !is_word(e->ret, false) || !is_word(e->envid, false))
        return false;
    if (e->from.n + e->ret.n + e->envid.n + AROUND_MAX > SMTP_CLIENT_COMMAND_MAX)
        return false;
    for (size_t i = 0; i < e->n_recipients; i++) {
        const struct mail_recipient *r = &e->recipients[i];
        if (r->path.n == 0 || !is_path(r->path, e->smtputf8) || !is_word(r->notify, false) ||
            !is_word(r->orcpt, e->smtputf8))
            return false;
        if (r->path.n + r->notify.n + r->orcpt.n + AROUND_MAX > SMTP_CLIENT_COMMAND_MAX)
            return false;
    }
    return true;
}

/* Sixteen bytes, of which a comparison makes all bits or none. */
typedef signed char bytes16 __attribute__((vector_size(16)));
#define EACH(byte) ((bytes16){0} + (signed char)(byte))

static bytes16 load(const char *p)
{
    bytes16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static bool is_any(bytes16 v)
{
    uint64_t half[2];
    memcpy(half, &v, sizeof half);
    return (half[0] | half[1]) != 0;
}

/* Sixteen bytes with one before them: where LF does not stand behind CR, or CR before another, and NUL. */
static bytes16 faults(const char *p)
{
    bytes16 v = load(p), before = load(p - 1);
    return ((v == EACH('\n')) ^ (before == EACH('\r'))) | (v == EACH('\0'));
}

/* Sixteen bytes at a time, so that the time does not depend on how many lines a sender makes of 30 MB. */
bool smtp_client_check_content(struct slice content)
{
    if (content.n == 0)
        return true;
    const char *p = content.p, *end = p + content.n;
    bytes16 found = {0};
    if (*p == '\n' || *p == '\0' || end[-1] == '\r')
        return false;
    for (p++; (size_t)(end - p) >= sizeof found; p += sizeof found)
        found |= faults(p);
    for (; p < end; p++)
        if ((*p == '\n') != (p[-1] == '\r') || *p == '\0')
            return false;
    return !is_any(found);
}

bool smtp_client_has_8bit(struct slice content)
{
    bytes16 all = {0};
    unsigned char rest = 0;
    size_t i = 0;
    for (; i + sizeof all <= content.n; i += sizeof all)
        all |= load(content.p + i);
    for (; i < content.n; i++)
        rest |= (unsigned char)content.p[i];
    return (rest & 0x80) != 0 || is_any(all < EACH(0));
}

enum smtp_content smtp_client_look(struct slice content)
{
    if (!smtp_client_check_content(content))
        return SMTP_CONTENT_BAD;
    return smtp_client_has_8bit(content) ? SMTP_CONTENT_8BIT : SMTP_CONTENT_7BIT;
}
