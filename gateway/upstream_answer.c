/*
 * Collects an answer under caps and reads out of it when to come back.  It must
 * not know who fetched the answer or what it is about.
 *
 * The idea: fields and body live in the op's arena, as received; whatever does
 * not fit its cap is ERR_LIMIT, and the caller gives the answer up.
 */
#include "upstream_answer.h"

#include "postern/civil.h"
#include "postern/limits.h"

/* Nobody waits longer than this on a provider's word; also keeps the arithmetic far from overflow. */
#define RETRY_MAX_MS MS_PER_DAY
#define UNIX_S_MAX   UINT64_C(100000000000)
#define FIRST_FIELDS 16u

void upstream_answer_init(struct upstream_answer *a, struct arena *arena, size_t max_bytes)
{
    *a = (struct upstream_answer){.arena = arena};
    buf_init(&a->body, arena, max_bytes);
}

/* For one more field; doubles. */
static bool has_room(struct upstream_answer *a)
{
    if (a->n_fields == LIMIT_HTTP_HEADERS)
        return false;
    if (a->n_fields < a->cap_fields)
        return true;
    size_t cap = a->cap_fields == 0 ? FIRST_FIELDS : 2 * a->cap_fields;
    struct upstream_field *fields = arena_calloc(a->arena, cap, sizeof *fields);
    if (!fields)
        return false;
    if (a->n_fields > 0)
        memcpy(fields, a->fields, a->n_fields * sizeof *fields);
    a->fields = fields;
    a->cap_fields = cap;
    return true;
}

static enum err add_field(struct upstream_answer *a, struct slice line)
{
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon || colon == line.p || line.p[0] == ' ' || line.p[0] == '\t')
        return OK; /* not a field, or a folded line (RFC 9112 section 5.2): nothing we would act on */
    struct slice kept = arena_slice(a->arena, line);
    if (!kept.p || !has_room(a))
        return ERR_LIMIT;
    size_t name = (size_t)(colon - line.p);
    a->fields[a->n_fields].name = (struct slice){kept.p, name};
    a->fields[a->n_fields].value = slice_trim((struct slice){kept.p + name + 1, kept.n - name - 1});
    a->n_fields++;
    return OK;
}

enum err upstream_answer_line(struct upstream_answer *a, struct slice line)
{
    a->head_bytes += line.n;
    if (a->head_bytes > LIMIT_HTTP_HEAD_BYTES)
        return ERR_LIMIT;
    while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
        line.n--;
    if (slice_starts(line, "HTTP/")) {
        a->n_fields = 0;
        a->head_done = false;
        return OK;
    }
    if (line.n == 0)
        a->head_done = true;
    return a->head_done ? OK : add_field(a, line);
}

enum err upstream_answer_body(struct upstream_answer *a, struct slice piece)
{
    buf_add_slice(&a->body, piece);
    return a->body.failed ? ERR_LIMIT : OK;
}

static struct slice field(const struct upstream_field *fields, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (slice_ieq(fields[i].name, slice_of(name)))
            return fields[i].value;
    return (struct slice){NULL, 0};
}

struct slice upstream_result_header(const struct upstream_result *result, const char *name)
{
    return field(result->headers, result->n_headers, name);
}

static int64_t bounded(int64_t ms)
{
    if (ms < 0)
        return 0;
    return ms > RETRY_MAX_MS ? RETRY_MAX_MS : ms;
}

/* Mailgun says it in its body: "... try again after Mon, 20 Dec 2021 20:33:21 UTC", or "120 seconds". */
static bool retry_in_words(struct slice body, int64_t wall_ms, int64_t *at_ms)
{
    static const char words[] = "try again after ", unit[] = " seconds";
    const char *found = body.n == 0 ? NULL : memmem(body.p, body.n, words, sizeof words - 1);
    if (!found)
        return false;
    struct slice when = {found + sizeof words - 1, body.n - (size_t)(found - body.p) - (sizeof words - 1)};
    const char *end = when.n == 0 ? NULL : memchr(when.p, '"', when.n);
    if (!end)
        return false;
    when.n = (size_t)(end - when.p);
    if (rfc2822_parse(when, at_ms))
        return true;
    if (when.n < sizeof unit - 1 || memcmp(end - (sizeof unit - 1), unit, sizeof unit - 1) != 0)
        return false;
    when.n -= sizeof unit - 1;
    return retry_after_parse(when, wall_ms, at_ms);
}

int64_t upstream_answer_retry_ms(const struct upstream_answer *a, int http_status, int64_t wall_ms)
{
    struct slice after = field(a->fields, a->n_fields, "Retry-After");
    struct slice reset = field(a->fields, a->n_fields, "X-RateLimit-Reset");
    int64_t at_ms;
    uint64_t at_s;
    if (retry_after_parse(after, wall_ms, &at_ms))
        return bounded(at_ms - wall_ms);
    /* SendGrid says it in X-RateLimit-Reset, Unix seconds; with other answers it is only the window's end. */
    if (http_status == 429 && slice_to_u64(reset, UNIX_S_MAX, &at_s))
        return bounded((int64_t)at_s * 1000 - wall_ms);
    if (http_status == 429 && retry_in_words(buf_slice(&a->body), wall_ms, &at_ms))
        return bounded(at_ms - wall_ms);
    return 0;
}
