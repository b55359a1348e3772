/*
 * Reads a server's replies: three digits, the same on all lines, each line ended
 * by CRLF and by nothing else.  It must not know what was asked.
 *
 * The idea: what is not exactly that is refused, since two readings of a reply
 * are two opinions on whether a message was accepted.
 */
#include "smtp_client_reply.h"

bool smtp_client_reply_is_idle(const struct smtp_client_reply *r)
{
    return r->n_lines == 0 && r->n_held == 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 3463, at the head of a text: "5.7.1 "; its length with the blank, or 0. */
static size_t status_length(struct slice s)
{
    size_t i = 0, dots = 0;
    while (i < s.n && (is_digit(s.p[i]) || s.p[i] == '.'))
        dots += s.p[i++] == '.';
    return i >= 5 && dots == 2 && i < s.n && s.p[i] == ' ' ? i + 1 : 0;
}

/* The status that all lines repeat is kept once. */
static struct slice without_status(const struct smtp_client_reply *r, struct slice s)
{
    size_t n = status_length(s);
    if (r->n_text < n || n == 0 || memcmp(r->text, s.p, n) != 0)
        return s;
    return (struct slice){s.p + n, s.n - n};
}

/* The last line stays whole as far as there is room; what came before is cut at its end. */
static void keep_text(struct smtp_client_reply *r)
{
    struct slice s = without_status(r, r->line);
    size_t n = s.n < SMTP_CLIENT_TEXT ? s.n : SMTP_CLIENT_TEXT;
    bool apart = r->n_text > 0 && n > 0 && n < SMTP_CLIENT_TEXT;
    size_t before = SMTP_CLIENT_TEXT - n - apart;
    if (r->n_text > before)
        r->n_text = before;
    if (apart)
        r->text[r->n_text++] = ' ';
    for (size_t i = 0; i < n; i++) {
        unsigned char b = (unsigned char)s.p[i];
        r->text[r->n_text++] = b < 0x20 || b == 0x7F ? ' ' : b > 0x7F ? '?' : s.p[i];
    }
}

/* "250-text", "250 text", "250"; false when it is none of them. */
static bool read_code(struct slice line, int *code)
{
    if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !is_digit(line.p[1]) || !is_digit(line.p[2]))
        return false;
    *code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
    return line.n == 3 || line.p[3] == ' ' || line.p[3] == '-';
}

/* line: without CRLF. */
static enum smtp_client_reply_event take_line(struct smtp_client_reply *r, struct slice line)
{
    int code;
    if (!read_code(line, &code) || memchr(line.p, '\r', line.n))
        return SMTP_CLIENT_REPLY_BAD;
    if (r->n_lines > 0 && (code != r->code || r->n_lines == SMTP_CLIENT_LINES_MAX))
        return SMTP_CLIENT_REPLY_BAD;
    r->is_first = r->n_lines++ == 0;
    if (r->is_first)
        r->n_text = 0;
    r->code = code;
    r->line = line.n > 4 ? (struct slice){line.p + 4, line.n - 4} : (struct slice){0};
    keep_text(r);
    if (line.n > 3 && line.p[3] == '-')
        return SMTP_CLIENT_REPLY_LINE;
    r->n_lines = 0;
    return SMTP_CLIENT_REPLY_LAST;
}

static struct slice take_bytes(struct slice *in, size_t n)
{
    struct slice taken = {in->p, n};
    *in = (struct slice){in->p + n, in->n - n};
    return taken;
}

enum smtp_client_reply_event smtp_client_reply_feed(struct smtp_client_reply *r, struct slice *in)
{
    ensure(in->n > 0);
    const char *lf = memchr(in->p, '\n', in->n);
    struct slice piece = take_bytes(in, lf ? (size_t)(lf - in->p) + 1 : in->n);
    if (piece.n > sizeof r->held - r->n_held)
        return SMTP_CLIENT_REPLY_BAD;
    struct slice line = piece;
    if (!lf || r->n_held > 0) {
        memcpy(r->held + r->n_held, piece.p, piece.n);
        r->n_held += piece.n;
        line = (struct slice){r->held, r->n_held};
    }
    if (!lf)
        return r->n_held == sizeof r->held ? SMTP_CLIENT_REPLY_BAD : SMTP_CLIENT_REPLY_NONE;
    r->n_held = 0;
    if (line.n < 2 || line.p[line.n - 2] != '\r')
        return SMTP_CLIENT_REPLY_BAD;
    return take_line(r, (struct slice){line.p, line.n - 2});
}
