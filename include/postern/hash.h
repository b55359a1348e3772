/* Digests, MACs, encodings and random ids, on OpenSSL. */
#ifndef POSTERN_HASH_H
#define POSTERN_HASH_H

#include "postern/arena.h"

#define SHA256_BYTES 32
#define SHA1_BYTES   20

struct digest {
    uint8_t b[SHA256_BYTES];
};

struct digest hash_sha256(const void *p, size_t n);
/* Several pieces as one message. */
struct digest hash_sha256_parts(const struct slice *parts, size_t n_parts);
struct digest hash_hmac_sha256(struct slice key, const struct slice *parts, size_t n_parts);
void hash_hmac_sha1(struct slice key, struct slice message, uint8_t out[SHA1_BYTES]);
/* Keyed 64-bit hash for tables in memory; the key is drawn once per process. */
uint64_t hash_siphash(const void *p, size_t n);

/* out needs 2 n + 1 bytes; lower case.  Returns out. */
char *hash_hex(const uint8_t *p, size_t n, char *out);
int hash_hex_digit(char c); /* 0 to 15; -1: it is none */
/* False unless text is exactly 2 n hex digits. */
bool hash_unhex(struct slice text, uint8_t *out, size_t n);
char *hash_base64(struct arena *a, const uint8_t *p, size_t n); /* NULL: arena spent */
/* Strict RFC 4648 with padding; p == NULL in the result when it is not base64 or the arena is spent. */
struct slice hash_unbase64(struct arena *a, struct slice text);
/* Likewise into text.n / 4 * 3 bytes, which may be those of text; false when it is not base64. */
bool hash_unbase64_into(struct slice text, uint8_t *out, size_t *n_out);

/* n random bytes from the system; aborts when there are none. */
void hash_random(uint8_t *out, size_t n);
/* prefix + 2 n_bytes hex digits + NUL into out.  Returns out. */
char *hash_random_id(const char *prefix, size_t n_bytes, char *out, size_t out_size);

/* Compares in constant time for equal lengths. */
bool hash_equal(struct slice a, struct slice b);

#endif
