/*
 * The audit chain, pure: what is hashed of a row, how rows hang together, and the
 * walk that finds what was changed.  A row's hash covers the hash of the row before
 * it and every column but `personal`, which is covered by its salted digest so that
 * an erasure leaves the chain whole.  The head (number and hash of the last row) is
 * signed: without it rows removed from the end would not be missed.
 */
#ifndef STORE_AUDIT_H
#define STORE_AUDIT_H

#include "postern/hash.h"
#include "postern/store.h"

struct audit_row {
    uint64_t seq;
    int64_t at_ms;
    struct slice kind;
    uint64_t ref; /* decision id, or 0 */
    struct slice body;
    bool has_personal; /* false: none was written, or it was erased */
    struct slice personal;
    struct slice personal_digest; /* empty: none was written */
};

/* Zero bytes are the empty chain. */
struct audit_chain {
    uint64_t seq;
    struct digest hash;
};

/* Hash of the row that follows the chain; row->seq is chain->seq + 1. */
struct digest audit_row_hash(const struct audit_chain *chain, const struct audit_row *row);
struct digest audit_head_mac(struct slice key, const struct audit_chain *chain);

/*
 * The walk: start with zero bytes, give every row in order of seq, then the head.
 * False: out says which row is the first bad one and why; the walk ends there.
 */
bool audit_walk_row(struct audit_chain *walk, const struct audit_row *row, struct slice hash,
                    struct audit_verdict *out);
bool audit_walk_end(const struct audit_chain *walk, struct slice key, const struct audit_chain *head,
                    struct slice head_mac, struct audit_verdict *out);

/* --- what is written into rows (audit_json.c) ---------------------------------------- */

/* "{"salt":"...": open a personal part; the caller adds ,"name":value pairs and the closing brace. */
struct buf;
void audit_personal_open(struct buf *b);
/* ,"name":"value"; nothing when the value is empty.  Names are literals, and put together by the compiler. */
#define AUDIT_NAME(name)                 SLICE(",\"" name "\":")
#define audit_add_text(b, name, value)   audit_put_text((b), AUDIT_NAME(name), (value))
#define audit_add_number(b, name, value) audit_put_number((b), AUDIT_NAME(name), (value))
#define audit_add_time(b, name, wall_ms) audit_put_time((b), AUDIT_NAME(name), (wall_ms)) /* RFC 3339, null when 0 */
#define audit_add_id(b, name, prefix, id)                                                                              \
    audit_put_id((b), AUDIT_NAME(name), SLICE("\"" prefix), (id)) /* null when 0 */
void audit_put_text(struct buf *b, struct slice name, struct slice value);
void audit_put_number(struct buf *b, struct slice name, int64_t value);
void audit_put_time(struct buf *b, struct slice name, int64_t wall_ms);
void audit_put_id(struct buf *b, struct slice name, struct slice prefix, uint64_t id);

void audit_decision_body(struct buf *b, const struct store_record *r, const struct record_decision *d,
                         uint64_t deferred_id);
void audit_decision_personal(struct buf *b, const struct record_decision *d);
void audit_result_body(struct buf *b, const struct record_result *r, uint64_t deferred_id);

#endif
