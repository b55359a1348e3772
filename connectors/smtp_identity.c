/*
 * By what a mail is known again: the fingerprint of what it says, whoever gets it; and
 * the key of what it is, for a client that heard no answer and sends it once more.
 * The one idea: both are of the mail's bytes alone, so they are the same whenever and
 * wherever it comes.
 */
#include "smtp.h"

#include <endian.h>

#include "postern/civil.h"
#include "postern/hash.h"

#define FINGERPRINT_BYTES 262144u /* of a body: its length stands for the rest */
#define BOUNDARY_MAX      70u     /* RFC 2046 section 5.1.1 */
#define CONTENT_LINE_MAX  40u     /* 16 hex digits, a blank, 20 digits, a line feed */

/* Empty: there is no such field.  p == NULL: the arena is spent. */
static struct slice text_of(const struct mail_head *head, const char *name, struct arena *a)
{
    const struct mail_field *field = mail_head_get(head, name, 0);
    return field == NULL ? SLICE("") : mail_field_text(field, a);
}

/* --- what it says --------------------------------------------------------------------- */

/* The boundary is drawn anew for each mail, so it is no part of what a mail says.  Empty: it has none. */
static struct slice boundary_of(struct slice type)
{
    static const char word[] = "boundary=";
    const char *p = type.p;
    for (size_t i = 0; i + sizeof word - 1 < type.n; i++) {
        if (!slice_ieq((struct slice){p + i, sizeof word - 1}, SLICE(word)))
            continue;
        size_t at = i + sizeof word - 1, n = 0;
        bool quoted = p[at] == '"';
        at += quoted;
        while (at + n < type.n && n < BOUNDARY_MAX && p[at + n] != '"' &&
               (quoted || (p[at + n] != ';' && p[at + n] > ' ')))
            n++;
        return (struct slice){p + at, n};
    }
    return (struct slice){NULL, 0};
}

/* s without what stands at each occurrence of cut. */
static uint64_t mix_without(uint64_t h, struct slice s, struct slice cut)
{
    const char *at;
    while (cut.n > 0 && s.n > 0 && (at = memmem(s.p, s.n, cut.p, cut.n)) != NULL) {
        size_t n = (size_t)(at - s.p);
        h = wire_mix(h, (struct slice){s.p, n});
        s = (struct slice){at + cut.n, s.n - n - cut.n};
    }
    return wire_mix(h, s);
}

enum err smtp_identity_fingerprint(struct slice content, const struct mail_head *head, struct arena *a, uint64_t *out)
{
    struct slice type = text_of(head, "Content-Type", a), subject = text_of(head, "Subject", a);
    struct slice body = {content.p + head->body, content.n - head->body};
    uint64_t h = body.n;
    if (type.p == NULL || subject.p == NULL)
        return ERR_LIMIT;
    struct slice boundary = boundary_of(type);
    h = mix_without(wire_mix(h, subject), type, boundary);
    body.n = body.n < FINGERPRINT_BYTES ? body.n : FINGERPRINT_BYTES;
    *out = mix_without(h, body, boundary);
    return OK;
}

/* --- what it is ------------------------------------------------------------------------ */

/* A line of its own for the content: its mix and how long it is.  p == NULL: the arena is spent. */
static struct slice content_line(struct slice content, struct arena *a)
{
    uint64_t mix = htobe64(wire_mix(0, content));
    char hex[2 * sizeof mix + 1];
    struct buf b;
    buf_init(&b, a, CONTENT_LINE_MAX);
    buf_add_cstr(&b, hash_hex((const uint8_t *)&mix, sizeof mix, hex));
    buf_add(&b, " ", 1);
    buf_add_u64(&b, content.n);
    buf_add(&b, "\n", 1);
    return b.failed ? (struct slice){NULL, 0} : buf_slice(&b);
}

/* 0: it does not say, or nothing that can be read. */
static uint32_t seconds_of(struct slice date)
{
    int64_t ms;
    if (!rfc2822_parse(date, &ms) || ms < 0 || ms / 1000 > UINT32_MAX)
        return 0;
    return (uint32_t)(ms / 1000);
}

/*
 * The same Message-ID with other recipients or another text is another submission: programs send a mail one by one to a
 * list, and some give every mail the same id.
 */
enum err smtp_identity_key(const struct wire_request *r, const struct mail_head *head, struct arena *a,
                           struct parsed *out)
{
    struct slice id = text_of(head, "Message-ID", a), date = text_of(head, "Date", a);
    char hex[2 * SHA256_BYTES + 1];
    size_t n = 0;
    if (id.p == NULL || date.p == NULL)
        return ERR_LIMIT;
    if (id.n == 0)
        return OK;
    struct slice *parts = arena_calloc(a, 2 * r->n_fields + 2, sizeof *parts);
    struct slice content = content_line(r->body, a);
    if (parts == NULL || content.p == NULL)
        return ERR_LIMIT;
    parts[n++] = content;
    parts[n++] = id;
    for (size_t i = 0; i < r->n_fields; i++) {
        if (!slice_eq_cstr(r->fields[i].name, "MAIL") && !slice_eq_cstr(r->fields[i].name, "RCPT"))
            continue;
        parts[n++] = SLICE("\n");
        parts[n++] = r->fields[i].value;
    }
    struct digest d = hash_sha256_parts(parts, n);
    out->mail_at_s = seconds_of(date);
    out->mail_key = slice_of(arena_strndup(a, hash_hex(d.b, sizeof d.b, hex), sizeof hex - 1));
    return out->mail_key.p == NULL ? ERR_LIMIT : OK;
}
