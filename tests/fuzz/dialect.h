/* What the fuzz targets of dialects share: a send is read, and then forwarded or refused. */
#ifndef TESTS_FUZZ_DIALECT_H
#define TESTS_FUZZ_DIALECT_H

#include "connectors/json_scan.h"
#include "postern/connector.h"
#include "postern/limits.h"

#define NOW_MS INT64_C(1795341600000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* One read submission under way. */
struct dialect {
    const struct connector *c;
    struct wire_request r;
    struct route route;
    struct parsed parsed;
    struct arena arena;
};

static inline struct wire_request dialect_post(const char *path, const struct wire_field *type, const uint8_t *body,
                                               size_t n)
{
    return (struct wire_request){.method = SLICE("POST"),
                                 .path = slice_of(path),
                                 .fields = type,
                                 .n_fields = 1,
                                 .body = {(const char *)body, n}};
}

/* An answer of ours can be read; out of memory it may be no answer. */
static inline void dialect_check_json(struct dialect *d, struct slice body)
{
    struct json_scan s = {.arena = &d->arena};
    struct errmsg e;
    ensure(json_scan_parse(&s, body, &e) != ERR_SYNTAX);
}

/* What was forwarded, read once more; false: it needs more memory than it may have. */
static inline bool dialect_read_again(struct dialect *d, struct slice body, struct parsed *again, struct fault *fault)
{
    struct wire_request sent = d->r;
    sent.body = body;
    return d->c->parse(&sent, &d->route, NOW_MS, &d->arena, again, fault) == OK;
}

/* Until dialect_end.  True: it was read, and is to be forwarded; else its refusal was written. */
static inline bool dialect_begin(struct dialect *d, const char *name, struct wire_request r)
{
    struct fault fault;
    struct wire_reply reply;

    *d = (struct dialect){.c = connector_get(slice_of(name)), .r = r};
    arena_init(&d->arena, LIMIT_ARENA_BYTES);
    ensure(d->c->match(&d->r, &d->route) == CALL_SEND);
    if (d->c->parse(&d->r, &d->route, NOW_MS, &d->arena, &d->parsed, &fault) == OK)
        return true;
    enum err err = d->c->fault_reply(&fault, &d->route, &d->arena, &reply);
    ensure(err != ERR_INTERNAL);
    if (err == OK && reply.body.n > 0)
        dialect_check_json(d, reply.body);
    return false;
}

static inline void dialect_end(struct dialect *d)
{
    arena_clear(&d->arena);
}

/* Whom the bits pick; returns how many. */
static inline size_t dialect_pick(const struct parsed *p, uint8_t pick, bool *send)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_messages; i++)
        n += send[i] = (pick >> (i % 7) & 1) == 0;
    return n;
}

#endif
