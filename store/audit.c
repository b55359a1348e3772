/*
 * The audit chain: hashing of rows, signing of the head, and the walk that names
 * the first row that does not fit.  Pure: knows no database, reads no clock.  The
 * one idea: every column goes into the hash with its length before it, so that no
 * byte can move from one column to the next unseen.
 */
#include "store/audit.h"

#include <stdio.h>

#define ROW_PREFIX  "postern-audit-row-1"
#define HEAD_PREFIX "postern-audit-head-1"

/* One part of the hash input: eight bytes of length or number, big-endian, then the bytes. */
struct part {
    uint8_t number[8];
};

static struct slice put_number(struct part *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p->number[i] = (uint8_t)(v >> (56 - 8 * i));
    return (struct slice){(const char *)p->number, sizeof p->number};
}

static struct slice digest_slice(const struct digest *d)
{
    return (struct slice){(const char *)d->b, sizeof d->b};
}

struct digest audit_row_hash(const struct audit_chain *chain, const struct audit_row *row)
{
    struct part seq, at, ref, kind_n, body_n, digest_n;
    const struct slice parts[] = {
        SLICE(ROW_PREFIX),
        digest_slice(&chain->hash),
        put_number(&seq, row->seq),
        put_number(&at, (uint64_t)row->at_ms),
        put_number(&ref, row->ref),
        put_number(&kind_n, row->kind.n),
        row->kind,
        put_number(&body_n, row->body.n),
        row->body,
        put_number(&digest_n, row->personal_digest.n),
        row->personal_digest,
    };
    return hash_sha256_parts(parts, N_ELEMENTS(parts));
}

struct digest audit_head_mac(struct slice key, const struct audit_chain *chain)
{
    struct part seq;
    const struct slice parts[] = {SLICE(HEAD_PREFIX), put_number(&seq, chain->seq), digest_slice(&chain->hash)};
    return hash_hmac_sha256(key, parts, N_ELEMENTS(parts));
}

static bool bad(struct audit_verdict *out, uint64_t seq)
{
    out->holds = false;
    out->first_bad = seq;
    return false;
}

static bool personal_fits(const struct audit_row *row)
{
    if (!row->has_personal)
        return true; /* never written, or erased: the digest stays and is in the chain */
    struct digest d = hash_sha256(row->personal.p, row->personal.n);
    return slice_eq(digest_slice(&d), row->personal_digest);
}

bool audit_walk_row(struct audit_chain *walk, const struct audit_row *row, struct slice hash, struct audit_verdict *out)
{
    uint64_t expected = walk->seq + 1;
    if (row->seq < expected) {
        errmsg_set(&out->why, "row %lld: numbers start at 1: inserted after it was written", (long long)row->seq);
        return bad(out, row->seq);
    }
    if (row->seq > expected) {
        errmsg_set(&out->why, "row %llu: missing, the next one is row %llu: removed", (unsigned long long)expected,
                   (unsigned long long)row->seq);
        return bad(out, expected);
    }
    struct digest d = audit_row_hash(walk, row);
    if (!slice_eq(digest_slice(&d), hash)) {
        errmsg_set(&out->why,
                   "row %llu: its hash does not match its content and the row before it: changed, swapped or "
                   "inserted after it was written",
                   (unsigned long long)row->seq);
        return bad(out, row->seq);
    }
    if (!personal_fits(row)) {
        errmsg_set(&out->why, "row %llu: its personal part does not match its digest: changed after it was written",
                   (unsigned long long)row->seq);
        return bad(out, row->seq);
    }
    *walk = (struct audit_chain){row->seq, d};
    out->rows = row->seq;
    return true;
}

bool audit_walk_end(const struct audit_chain *walk, struct slice key, const struct audit_chain *head,
                    struct slice head_mac, struct audit_verdict *out)
{
    struct digest mac = audit_head_mac(key, head);
    if (!hash_equal(digest_slice(&mac), head_mac)) {
        errmsg_set(&out->why, "row %llu: the signed head of the chain is changed, or signed with another audit key",
                   (unsigned long long)head->seq);
        return bad(out, head->seq);
    }
    if (head->seq > walk->seq) {
        errmsg_set(&out->why, "row %llu: missing at the end, the signed head says %llu rows: removed",
                   (unsigned long long)walk->seq + 1, (unsigned long long)head->seq);
        return bad(out, walk->seq + 1);
    }
    if (head->seq < walk->seq) {
        errmsg_set(&out->why, "row %llu: beyond the signed head, which says %llu rows: inserted",
                   (unsigned long long)head->seq + 1, (unsigned long long)head->seq);
        return bad(out, head->seq + 1);
    }
    if (!slice_eq(digest_slice(&head->hash), digest_slice(&walk->hash))) {
        errmsg_set(&out->why, "row %llu: the chain ends in another hash than its signed head: rewritten",
                   (unsigned long long)head->seq);
        return bad(out, head->seq);
    }
    out->holds = true;
    return true;
}
