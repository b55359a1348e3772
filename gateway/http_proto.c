/*
 * The state machine of a strict HTTP/1.1 parser: cuts bytes into lines, chunks
 * and body pieces, and leaves what a line means to http_grammar.  No socket, no
 * clock; memory only from the request's arena.
 *
 * The one idea: each byte is looked at in order and each fault belongs to one
 * byte, so the events are the same however the input was cut.
 */
#include "http_proto.h"

#include "http_grammar.h"
#include "postern/hash.h"

#define FIRST_HEAD_BYTES 1024u /* most heads of SDKs are below 1 KiB */
#define FIRST_HEADERS    16u
#define MAX_CHUNK_DIGITS 16u

static const struct {
    int status;
    const char *label, *text;
} faults[] = {[HTTP_FAULT_NONE] = {0, "none", "nothing is wrong"},
#define FAULT_ROW(name, status, label, text) [HTTP_FAULT_##name] = {status, label, text},
              HTTP_FAULTS(FAULT_ROW)
#undef FAULT_ROW
};

int http_fault_status(enum http_fault f)
{
    return faults[f].status;
}

const char *http_fault_label(enum http_fault f)
{
    return faults[f].label;
}

const char *http_fault_text(enum http_fault f)
{
    return faults[f].text;
}

const char *http_method_name(enum http_method m)
{
    static const char *const names[] = {
#define METHOD_ROW(name) [HTTP_##name] = #name,
        HTTP_METHODS(METHOD_ROW)
#undef METHOD_ROW
    };
    return names[m];
}

static enum http_event refuse(struct http_proto *p, enum http_fault f, uint64_t at)
{
    p->state = HTTP_STATE_REFUSED;
    p->fault = f;
    p->fault_at = at;
    return HTTP_REFUSED;
}

static void consume(struct http_proto *p, struct slice *in, size_t n)
{
    in->p += n;
    in->n -= n;
    p->at += n;
}

/* Slices into the bytes follow them when they move.  The old block stays valid: arenas do not free. */
static void rebase(struct slice *s, const char *from, size_t n, const char *to)
{
    if (s->p != NULL && (uintptr_t)s->p - (uintptr_t)from <= n) { /* not the literal "/" */
        s->p = to + (s->p - from);
    }
}

static bool grow_bytes(struct http_proto *p)
{
    size_t cap = p->cap_bytes == 0 ? FIRST_HEAD_BYTES : 2 * p->cap_bytes;
    char *bytes = arena_bytes(p->arena, cap);
    if (bytes == NULL) {
        return false;
    }
    if (p->n_bytes > 0) {
        memcpy(bytes, p->bytes, p->n_bytes);
    }
    struct http_head *h = &p->head;
    struct slice *own[] = {&h->target, &h->path, &h->query, &h->authority};
    for (size_t i = 0; i < N_ELEMENTS(own); i++) {
        rebase(own[i], p->bytes, p->n_bytes, bytes);
    }
    for (size_t i = 0; i < h->n_headers; i++) {
        rebase(&h->headers[i].name, p->bytes, p->n_bytes, bytes);
        rebase(&h->headers[i].value, p->bytes, p->n_bytes, bytes);
    }
    p->bytes = bytes;
    p->cap_bytes = cap;
    return true;
}

static bool append(struct http_proto *p, struct slice *in, size_t n)
{
    while (p->cap_bytes - p->n_bytes < n) {
        if (!grow_bytes(p)) {
            return false;
        }
    }
    memcpy(p->bytes + p->n_bytes, in->p, n);
    p->n_bytes += n;
    consume(p, in, n);
    return true;
}

/*
 * Take bytes up to and including a CRLF; at most room of them before it.
 * True when the line is whole.  False: the input is used up, or it was refused.
 */
static bool take_line(struct http_proto *p, struct slice *in, size_t room, enum http_fault too_long)
{
    while (in->n > 0) {
        char c = in->p[0];
        if (p->after_cr && c != '\n') {
            refuse(p, HTTP_FAULT_BARE_CR, p->at - 1);
            return false;
        }
        size_t n = http_grammar_text((struct slice){in->p, in->n < room ? in->n : room});
        bool whole = in->n - n >= 2 && in->p[n] == '\r' && in->p[n + 1] == '\n'; /* the usual case */
        bool ends = whole || (c == '\n' && p->after_cr);
        bool cr = c == '\r' && !whole;
        if (n == 0 && !ends && !cr) {
            enum http_fault other = http_grammar_text((struct slice){&c, 1}) == 1 ? too_long : HTTP_FAULT_CONTROL_BYTE;
            refuse(p, c == '\n' ? HTTP_FAULT_BARE_LF : other, p->at);
            return false;
        }
        if (!append(p, in, whole ? n + 2 : n > 0 ? n : 1)) {
            refuse(p, too_long, p->at);
            return false;
        }
        room -= n;
        p->after_cr = cr;
        if (ends) {
            return true;
        }
    }
    return false;
}

static size_t room_for(size_t limit, size_t used)
{
    return used < limit ? limit - used : 0;
}

/* The line that take_line completed, without its CRLF; the next one starts after it. */
static struct slice finish_line(struct http_proto *p)
{
    struct slice line = {p->bytes + p->line_from, p->n_bytes - p->line_from - 2};
    p->line_from = p->n_bytes;
    return line;
}

static enum http_event refuse_at(struct http_proto *p, enum http_fault f, const char *where)
{
    return refuse(p, f, p->bytes_at + (uint64_t)(where - p->bytes));
}

static enum http_event step_request_line(struct http_proto *p, struct slice *in)
{
    if (!take_line(p, in, room_for(LIMIT_HTTP_LINE_BYTES, p->n_bytes), HTTP_FAULT_LINE_TOO_LONG)) {
        return p->fault == HTTP_FAULT_NONE ? HTTP_NONE : HTTP_REFUSED;
    }
    struct slice line = finish_line(p);
    if (line.n == 0) { /* RFC 9112 section 2.2: one empty line may be ignored */
        if (p->skipped_crlf) {
            return refuse(p, HTTP_FAULT_EMPTY_LINES, p->at - 2);
        }
        p->skipped_crlf = true;
        p->n_bytes = p->line_from = 0;
        p->bytes_at = p->at;
        return HTTP_NONE;
    }
    const char *where = line.p;
    enum http_fault f = http_grammar_request_line(line, &p->head, &where);
    if (f != HTTP_FAULT_NONE) {
        return refuse_at(p, f, where);
    }
    p->state = HTTP_STATE_FIELDS;
    return HTTP_NONE;
}

static enum http_event end_head(struct http_proto *p)
{
    const char *where = p->bytes;
    enum http_fault f = http_grammar_framing(&p->head, p->max_body_bytes, &where);
    if (f != HTTP_FAULT_NONE) {
        return refuse_at(p, f, where);
    }
    p->left = p->head.content_length;
    if (p->head.chunked) {
        p->state = HTTP_STATE_CHUNK_SIZE;
    } else {
        p->state = p->left > 0 ? HTTP_STATE_LENGTH : HTTP_STATE_END;
    }
    return HTTP_HEAD_READY;
}

static bool add_header(struct http_proto *p, struct http_header field)
{
    struct http_head *h = &p->head;
    if (h->n_headers == LIMIT_HTTP_HEADERS) {
        return false;
    }
    if (h->n_headers == h->cap_headers) {
        size_t cap = h->cap_headers == 0 ? FIRST_HEADERS : 2 * h->cap_headers;
        struct http_header *headers = arena_calloc(p->arena, cap, sizeof(*headers));
        if (headers == NULL) {
            return false;
        }
        if (h->n_headers > 0) {
            memcpy(headers, h->headers, h->n_headers * sizeof(*headers));
        }
        h->headers = headers;
        h->cap_headers = cap;
    }
    h->headers[h->n_headers++] = field;
    return true;
}

static enum http_event step_field(struct http_proto *p, struct slice *in)
{
    if (!take_line(p, in, room_for(LIMIT_HTTP_HEAD_BYTES, p->n_bytes), HTTP_FAULT_HEAD_TOO_LARGE)) {
        return p->fault == HTTP_FAULT_NONE ? HTTP_NONE : HTTP_REFUSED;
    }
    struct slice line = finish_line(p);
    if (line.n == 0) {
        return end_head(p);
    }
    struct http_header field = {0};
    const char *where = line.p;
    enum http_fault f = http_grammar_field(line, &field, &where);
    if (f == HTTP_FAULT_NONE && !add_header(p, field)) {
        f = HTTP_FAULT_TOO_MANY_HEADERS;
    }
    return f == HTTP_FAULT_NONE ? HTTP_NONE : refuse_at(p, f, where);
}

/* Pieces of a body or chunk as they come. */
static enum http_event step_body(struct http_proto *p, struct slice *in, enum http_proto_state after)
{
    size_t n = in->n < p->left ? in->n : (size_t)p->left;
    p->piece = (struct slice){in->p, n};
    consume(p, in, n);
    p->left -= n;
    if (p->left == 0) {
        p->state = after;
    }
    return HTTP_BODY;
}

static enum http_event end_chunk_size(struct http_proto *p)
{
    p->digits = 0;
    if (p->left > p->max_body_bytes - p->body_bytes) {
        return refuse(p, HTTP_FAULT_BODY_TOO_LARGE, p->at - 1);
    }
    p->body_bytes += p->left;
    if (p->left > 0) {
        p->state = HTTP_STATE_CHUNK;
        return HTTP_NONE;
    }
    p->state = HTTP_STATE_TRAILERS;
    p->bytes = NULL; /* the head's bytes are kept by its slices */
    p->n_bytes = p->cap_bytes = p->line_from = 0;
    p->bytes_at = p->at;
    return HTTP_NONE;
}

/*
 * 1*HEXDIG CRLF.  Extensions (RFC 9112 section 7.1.1) are refused: no client of
 * ours sends them, nothing here would act on them, and their loose grammar has
 * been read in different ways by different servers.
 */
static enum http_fault chunk_size_fault(const struct http_proto *p, char c)
{
    if (p->after_cr) {
        return c == '\n' ? HTTP_FAULT_NONE : HTTP_FAULT_BARE_CR;
    }
    if (c == '\n') {
        return HTTP_FAULT_BARE_LF;
    }
    if (hash_hex_digit(c) >= 0) {
        return p->digits < MAX_CHUNK_DIGITS ? HTTP_FAULT_NONE : HTTP_FAULT_CHUNK_SIZE;
    }
    if (p->digits > 0 && c == '\r') {
        return HTTP_FAULT_NONE;
    }
    return p->digits > 0 && c == ';' ? HTTP_FAULT_CHUNK_EXTENSION : HTTP_FAULT_CHUNK_SIZE;
}

static enum http_event step_chunk_size(struct http_proto *p, struct slice *in)
{
    while (in->n > 0) {
        char c = in->p[0];
        enum http_fault f = chunk_size_fault(p, c);
        if (f != HTTP_FAULT_NONE) {
            return refuse(p, f, p->at - (p->after_cr ? 1 : 0));
        }
        consume(p, in, 1);
        p->after_cr = c == '\r';
        if (c == '\n') {
            return end_chunk_size(p);
        }
        if (c != '\r') {
            p->left = p->left << 4 | (uint64_t)hash_hex_digit(c);
            p->digits++;
        }
    }
    return HTTP_NONE;
}

static enum http_event step_chunk_end(struct http_proto *p, struct slice *in)
{
    if (in->p[0] != (p->after_cr ? '\n' : '\r')) {
        return refuse(p, HTTP_FAULT_CHUNK_END, p->at);
    }
    consume(p, in, 1);
    p->after_cr = !p->after_cr;
    if (!p->after_cr) {
        p->state = HTTP_STATE_CHUNK_SIZE;
    }
    return HTTP_NONE;
}

/* Parsed as strictly as headers, then dropped: nothing that matters may come after the body. */
static enum http_event step_trailer(struct http_proto *p, struct slice *in)
{
    if (!take_line(p, in, room_for(LIMIT_HTTP_TRAILERS_BYTES, p->n_bytes), HTTP_FAULT_TRAILERS_TOO_LARGE)) {
        return p->fault == HTTP_FAULT_NONE ? HTTP_NONE : HTTP_REFUSED;
    }
    struct slice line = finish_line(p);
    if (line.n == 0) {
        p->state = HTTP_STATE_END;
        return HTTP_NONE;
    }
    const char *where = line.p;
    enum http_fault f = http_grammar_trailer(line, &where);
    if (f == HTTP_FAULT_NONE && ++p->n_trailers > LIMIT_HTTP_HEADERS) {
        f = HTTP_FAULT_TRAILERS_TOO_LARGE;
    }
    return f == HTTP_FAULT_NONE ? HTTP_NONE : refuse_at(p, f, where);
}

void http_proto_init(struct http_proto *p, uint64_t max_body_bytes)
{
    *p = (struct http_proto){.max_body_bytes = max_body_bytes, .state = HTTP_STATE_DONE};
}

void http_proto_next(struct http_proto *p, struct arena *arena)
{
    ensure(p->state == HTTP_STATE_DONE);
    *p = (struct http_proto){.max_body_bytes = p->max_body_bytes, .arena = arena};
}

bool http_proto_is_idle(const struct http_proto *p)
{
    return p->state == HTTP_STATE_DONE || (p->state == HTTP_STATE_LINE && p->n_bytes == 0);
}

enum http_event http_proto_step(struct http_proto *p, struct slice *in)
{
    ensure(p->state != HTTP_STATE_DONE && p->state != HTTP_STATE_REFUSED);
    enum http_event event = HTTP_NONE;
    while (event == HTTP_NONE && (in->n > 0 || p->state == HTTP_STATE_END)) {
        switch (p->state) {
        case HTTP_STATE_LINE:
            event = step_request_line(p, in);
            break;
        case HTTP_STATE_FIELDS:
            event = step_field(p, in);
            break;
        case HTTP_STATE_LENGTH:
            event = step_body(p, in, HTTP_STATE_END);
            break;
        case HTTP_STATE_CHUNK_SIZE:
            event = step_chunk_size(p, in);
            break;
        case HTTP_STATE_CHUNK:
            event = step_body(p, in, HTTP_STATE_CHUNK_END);
            break;
        case HTTP_STATE_CHUNK_END:
            event = step_chunk_end(p, in);
            break;
        case HTTP_STATE_TRAILERS:
            event = step_trailer(p, in);
            break;
        case HTTP_STATE_END:
            p->state = HTTP_STATE_DONE;
            event = HTTP_END;
            break;
        case HTTP_STATE_DONE:
        case HTTP_STATE_REFUSED:
            return HTTP_NONE;
        }
    }
    return event;
}
