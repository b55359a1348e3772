/*
 * Digests and MACs by OpenSSL's EVP, SipHash-1-3 for tables in memory, text
 * encodings, random ids.  Algorithms are fetched once per process: OpenSSL 3
 * otherwise looks them up by name on each use, which costs more than the hash.
 */
#include "postern/hash.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>

#define RANDOM_AHEAD_BYTES 512

static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256;
static EVP_MAC *hmac;
static uint64_t sip_key[2];
static pthread_key_t ctx_key;

static void ctx_free(void *ctx)
{
    EVP_MD_CTX_free(ctx);
}

static void fetch_once(void)
{
    ensure(pthread_key_create(&ctx_key, ctx_free) == 0);
    /* A context of our own: OpenSSL 3.0 does not look whether its default one could be made, and reads through NULL
       when memory was out in that moment. */
    OSSL_LIB_CTX *library = OSSL_LIB_CTX_new();
    ensure(library != NULL);
    sha256 = EVP_MD_fetch(library, "SHA256", NULL);
    hmac = EVP_MAC_fetch(library, "HMAC", NULL);
    ensure(sha256 != NULL && hmac != NULL);
    hash_random((uint8_t *)sip_key, sizeof sip_key);
}

static void mac_ctx_free(EVP_MAC_CTX **ctx)
{
    EVP_MAC_CTX_free(*ctx);
}

/* OpenSSL fails here only when memory is gone or we misuse it; both end the process. */
static void must(int rc)
{
    ensure(rc == 1);
}

/* One for each thread, begun anew for each hash: making one costs as much as hashing a row. */
static EVP_MD_CTX *sha256_ctx(void)
{
    pthread_once(&once, fetch_once);
    EVP_MD_CTX *ctx = pthread_getspecific(ctx_key);
    if (ctx == NULL) {
        ctx = EVP_MD_CTX_new();
        ensure(ctx != NULL && pthread_setspecific(ctx_key, ctx) == 0);
        must(EVP_DigestInit_ex2(ctx, sha256, NULL));
    }
    return ctx;
}

struct digest hash_sha256(const void *p, size_t n)
{
    return hash_sha256_parts(&(struct slice){p, n}, 1);
}

struct digest hash_sha256_parts(const struct slice *parts, size_t n_parts)
{
    EVP_MD_CTX *ctx = sha256_ctx();
    must(EVP_DigestInit_ex2(ctx, NULL, NULL));
    for (size_t i = 0; i < n_parts; i++)
        must(EVP_DigestUpdate(ctx, parts[i].p, parts[i].n));
    struct digest d;
    must(EVP_DigestFinal_ex(ctx, d.b, NULL));
    return d;
}

static void hmac_parts(const char *digest, struct slice key, const struct slice *parts, size_t n_parts, uint8_t *out,
                       size_t out_bytes)
{
    pthread_once(&once, fetch_once);
    AUTO(mac_ctx_free) EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(hmac);
    ensure(ctx != NULL);
    char name[16];
    snprintf(name, sizeof name, "%s", digest);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
                           OSSL_PARAM_construct_end()};
    /* A NULL key means "keep the last one" to OpenSSL; an empty key needs a pointer. */
    const unsigned char *key_bytes = key.n == 0 ? (const unsigned char *)"" : (const unsigned char *)key.p;
    must(EVP_MAC_init(ctx, key_bytes, key.n, params));
    for (size_t i = 0; i < n_parts; i++)
        must(EVP_MAC_update(ctx, (const unsigned char *)parts[i].p, parts[i].n));
    size_t written;
    must(EVP_MAC_final(ctx, out, &written, out_bytes));
    ensure(written == out_bytes);
}

struct digest hash_hmac_sha256(struct slice key, const struct slice *parts, size_t n_parts)
{
    struct digest d;
    hmac_parts("SHA256", key, parts, n_parts, d.b, sizeof d.b);
    return d;
}

void hash_hmac_sha1(struct slice key, struct slice message, uint8_t out[SHA1_BYTES])
{
    hmac_parts("SHA1", key, &message, 1, out, SHA1_BYTES);
}

static uint64_t rotl(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

/* Aumasson and Bernstein, 2012: 1 round a word, 3 at the end.  Words in host order: values never leave the process. */
uint64_t hash_siphash(const void *p, size_t n)
{
    pthread_once(&once, fetch_once);
    uint64_t v[4] = {sip_key[0] ^ 0x736f6d6570736575u, sip_key[1] ^ 0x646f72616e646f6du,
                     sip_key[0] ^ 0x6c7967656e657261u, sip_key[1] ^ 0x7465646279746573u};
    const uint8_t *in = p;
    size_t left = n;
    uint64_t word;
    for (; left >= sizeof word; in += sizeof word, left -= sizeof word) {
        memcpy(&word, in, sizeof word);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    word = (uint64_t)n << 56;
    for (size_t i = 0; i < left; i++)
        word |= (uint64_t)in[i] << (8 * i);
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

char *hash_hex(const uint8_t *p, size_t n, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * n] = '\0';
    return out;
}

int hash_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hash_unhex(struct slice text, uint8_t *out, size_t n)
{
    if (text.n % 2 != 0 || text.n / 2 != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int high = hash_hex_digit(text.p[2 * i]);
        int low = hash_hex_digit(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

char *hash_base64(struct arena *a, const uint8_t *p, size_t n)
{
    if (n > INT32_MAX / 2)
        return NULL;
    char *out = arena_alloc(a, (n + 2) / 3 * 4 + 1);
    if (out != NULL)
        EVP_EncodeBlock((unsigned char *)out, p, (int)n);
    return out;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

bool hash_unbase64_into(struct slice text, uint8_t *out, size_t *n_out)
{
    /* Not OpenSSL's decoder: it skips blanks and takes stray bits, so two texts could mean the same bytes. */
    if (text.n % 4 != 0)
        return false;
    size_t pad = 0;
    while (pad < 2 && pad < text.n && text.p[text.n - 1 - pad] == '=')
        pad++;
    uint32_t bits = 0;
    unsigned held = 0;
    size_t n = 0;
    for (size_t i = 0; i < text.n - pad; i++) {
        int value = base64_value(text.p[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[n++] = (uint8_t)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    *n_out = n;
    return bits == 0;
}

struct slice hash_unbase64(struct arena *a, struct slice text)
{
    size_t n = 0;
    uint8_t *out = arena_alloc(a, text.n / 4 * 3 + 1);
    bool good = out != NULL && hash_unbase64_into(text, out, &n);
    return good ? (struct slice){(const char *)out, n} : (struct slice){NULL, 0};
}

static void from_kernel(uint8_t *out, size_t n)
{
    while (n > 0) {
        ssize_t got = getrandom(out, n, 0);
        if (got == -1 && errno == EINTR)
            continue;
        ensure(got > 0);
        out += got;
        n -= (size_t)got;
    }
}

/* Random bytes fetched ahead, each given out once: a call of the kernel for each id costs more than the id. */
static _Thread_local struct {
    uint8_t bytes[RANDOM_AHEAD_BYTES];
    size_t left;
    unsigned lives; /* the process's when they were fetched */
} ahead;

static unsigned lives;

/* Two processes must never give out the same: a child begins with nothing ahead. */
static void on_fork(void)
{
    lives++;
}

static void watch_forks(void)
{
    ensure(pthread_atfork(NULL, NULL, on_fork) == 0);
}

void hash_random(uint8_t *out, size_t n)
{
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    if (n > sizeof ahead.bytes) {
        from_kernel(out, n);
        return;
    }
    pthread_once(&watched, watch_forks);
    if (ahead.left < n || ahead.lives != lives) {
        from_kernel(ahead.bytes, sizeof ahead.bytes);
        ahead.left = sizeof ahead.bytes;
        ahead.lives = lives;
    }
    ahead.left -= n;
    memcpy(out, ahead.bytes + ahead.left, n);
    explicit_bzero(ahead.bytes + ahead.left, n);
}

char *hash_random_id(const char *prefix, size_t n_bytes, char *out, size_t out_size)
{
    uint8_t bytes[64];
    int prefix_n = snprintf(out, out_size, "%s", prefix);
    ensure(prefix_n >= 0 && n_bytes <= sizeof bytes && (size_t)prefix_n + 2 * n_bytes + 1 <= out_size);
    hash_random(bytes, n_bytes);
    hash_hex(bytes, n_bytes, out + prefix_n);
    return out;
}

bool hash_equal(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || CRYPTO_memcmp(a.p, b.p, a.n) == 0);
}
