/*
 * logfmt lines on stderr, each by one write(2), so that threads and processes
 * do not mix theirs.  The one idea: a line is built as text first and escaped
 * as a whole last, so no caller can break a line, whatever a peer sent.
 */
#include "postern/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>
#include <unistr.h>

#include "postern/civil.h"
#include "postern/clock.h"
#include "postern/hash.h"

#define LINE_MAX_BYTES 4096

static const char cut_mark[] = {'.', '.', '.'};

static const char *const level_names[] = {
    [LOG_ERROR_] = "error", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

static atomic_int max_level = LOG_INFO;
static char process[32]; /* "" or " worker=2" */

static pthread_once_t address_key_once = PTHREAD_ONCE_INIT;
static struct digest address_key;

void log_set_process(const char *name)
{
    snprintf(process, sizeof process, " %s", name);
}

void log_set_level(enum log_level level)
{
    atomic_store(&max_level, (int)level);
}

/* C0, DEL, C1 (0x9B starts a terminal command), line separators and marks that reverse the reading direction. */
static bool is_hostile(ucs4_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/* Most bytes of most lines. */
static bool is_plain(char c, bool quotes)
{
    return c >= 0x20 && c < 0x7F && !(quotes && (c == '"' || c == '\\'));
}

/* Append s as far as it fits into out, escaped; marks a cut.  Returns the new length; out is not terminated. */
static size_t append_escaped(char *out, size_t n, size_t max, struct slice s, bool quotes)
{
    size_t i = 0;
    while (i < s.n) {
        if (is_plain(s.p[i], quotes) && n + 1 + sizeof cut_mark <= max) {
            out[n++] = s.p[i++];
            continue;
        }
        ucs4_t c;
        int length = u8_mbtoucr(&c, (const uint8_t *)s.p + i, s.n - i);
        size_t used = length > 0 ? (size_t)length : 1;
        char unit[4 * 4 + 1];
        size_t unit_n = 0;
        if (length < 0 || is_hostile(c)) {
            for (size_t k = 0; k < used; k++)
                unit_n += (size_t)snprintf(unit + unit_n, 5, "\\x%02x", (unsigned)(unsigned char)s.p[i + k]);
        } else {
            if (quotes && (c == '"' || c == '\\'))
                unit[unit_n++] = '\\';
            memcpy(unit + unit_n, s.p + i, used);
            unit_n += used;
        }
        if (n + unit_n + sizeof cut_mark > max) {
            memcpy(out + n, cut_mark, sizeof cut_mark);
            return n + sizeof cut_mark;
        }
        memcpy(out + n, unit, unit_n);
        n += unit_n;
        i += used;
    }
    return n;
}

const char *log_quote(struct slice s, struct log_quoted *out)
{
    out->text[0] = '"';
    size_t n = append_escaped(out->text, 1, sizeof out->text - 2, s, true);
    out->text[n] = '"';
    out->text[n + 1] = '\0';
    return out->text;
}

bool log_is_on(enum log_level level)
{
    return (int)level <= atomic_load(&max_level);
}

void log_line(enum log_level level, const char *id, const char *module, const char *event, const char *fmt, ...)
{
    if (!log_is_on(level))
        return;
    char raw[LINE_MAX_BYTES];
    char ts[RFC3339_MAX];
    int head =
        snprintf(raw, sizeof raw, "ts=%s level=%s%s%s%s module=%s event=%s ", rfc3339_format(clock_wall_ms(), ts),
                 level_names[level], process, id == NULL ? "" : " id=", id == NULL ? "" : id, module, event);
    size_t n = head < 0 ? 0 : (size_t)head;
    if (n < sizeof raw) {
        va_list args;
        va_start(args, fmt);
        int rest = vsnprintf(raw + n, sizeof raw - n, fmt, args);
        va_end(args);
        n += rest < 0 ? 0 : (size_t)rest;
    }
    if (n > sizeof raw - 1)
        n = sizeof raw - 1;
    while (n > 0 && raw[n - 1] == ' ')
        n--;
    char line[LINE_MAX_BYTES + 1];
    n = append_escaped(line, 0, LINE_MAX_BYTES, (struct slice){raw, n}, false);
    line[n] = '\n';
    ignore(write(STDERR_FILENO, line, n + 1)); /* nowhere left to complain */
}

static void address_key_draw(void)
{
    hash_random(address_key.b, sizeof address_key.b);
}

void log_set_address_key(struct slice key)
{
    pthread_once(&address_key_once, address_key_draw);
    address_key = hash_sha256(key.p, key.n);
}

char *log_address(const struct address *a, char out[LOG_ADDRESS_MAX])
{
    pthread_once(&address_key_once, address_key_draw);
    /* A key in front is enough of a MAC here: most of the digest is cut off, so none can be extended. */
    struct slice parts[] = {{(const char *)address_key.b, sizeof address_key.b}, slice_of(a->text)};
    struct digest d = hash_sha256_parts(parts, N_ELEMENTS(parts));
    out[0] = 'a';
    out[1] = ':';
    hash_hex(d.b, 8, out + 2);
    return out;
}
