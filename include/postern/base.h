/*
 * The ground that every part stands on: error codes, borrowed bytes,
 * ownership helpers, assertions.  Nothing here knows what a message is.
 */
#ifndef POSTERN_BASE_H
#define POSTERN_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NODISCARD               __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define NORETURN                __attribute__((noreturn))

/* Run fn on the variable's address when it leaves scope; fn accepts a pointer to NULL. */
#define AUTO(fn) __attribute__((cleanup(fn)))

/* Move ownership out of an AUTO variable: *pp becomes NULL. */
#define take(pp)                                                                                                       \
    __extension__({                                                                                                    \
        __typeof__(*(pp)) taken_ = *(pp);                                                                              \
        *(pp) = NULL;                                                                                                  \
        taken_;                                                                                                        \
    })

/* Drop a result on purpose; say why beside it. */
#define ignore(expr)                                                                                                   \
    do {                                                                                                               \
        __typeof__(expr) ignored_ = (expr);                                                                            \
        (void)ignored_;                                                                                                \
    } while (0)

#define N_ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

/* What a function can tell its caller; text for people goes into struct errmsg. */
enum err {
    OK = 0,
    ERR_SYNTAX,      /* the input is not of the form that it claims */
    ERR_LIMIT,       /* a cap of limits.h was crossed */
    ERR_NOT_FOUND,   /* there is no such thing */
    ERR_CONFLICT,    /* it contradicts what is there, or can be read two ways */
    ERR_TIMEOUT,     /* our deadline passed */
    ERR_UNAVAILABLE, /* a store, provider or counter cannot answer now */
    ERR_INTERNAL     /* our mistake */
};

/* One sentence for a person: what was wrong, where, what would be right.  Always NUL-terminated. */
struct errmsg {
    char text[256];
};

void errmsg_set(struct errmsg *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Borrowed bytes; not NUL-terminated.  Zero bytes are the empty slice. */
struct slice {
    const char *p;
    size_t n;
};

#define SLICE_INIT(lit)                                                                                                \
    {                                                                                                                  \
        (lit), sizeof(lit) - 1                                                                                         \
    } /* in initialisers of static data */
#define SLICE(lit) ((struct slice)SLICE_INIT(lit))
/* For printf's "%.*s". */
#define SLICE_ARG(s) (int)(s).n, (s).p

/* The same, of a text of any length: a message shows no more than max bytes of it. */
static inline int slice_shown_bytes(struct slice s, size_t max)
{
    return (int)(s.n < max ? s.n : max);
}
#define SLICE_HEAD(s, max) slice_shown_bytes(s, max), (s).p

/* NULL gives the empty slice.  Here, so that the length of a literal costs nothing. */
static inline struct slice slice_of(const char *cstr)
{
    return cstr == NULL ? (struct slice){NULL, 0} : (struct slice){cstr, strlen(cstr)};
}
/* These look at the length first, in place: names are compared with many others, and most differ there. */
static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
static inline bool slice_eq_cstr(struct slice a, const char *b)
{
    return slice_eq(a, slice_of(b));
}
bool slice_ieq_bytes(const char *a, const char *b, size_t n);
/* ASCII case ignored. */
static inline bool slice_ieq(struct slice a, struct slice b)
{
    return a.n == b.n && slice_ieq_bytes(a.p, b.p, a.n);
}
/* Is it one of the n names, ASCII case ignored? */
bool slice_ieq_any(struct slice s, const struct slice *names, size_t n);
bool slice_starts(struct slice a, const char *prefix);
/* Spaces and tabs off both ends. */
static inline struct slice slice_trim(struct slice s)
{
    for (; s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'); s.n--)
        s.p++;
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}
/* Decimal digits only, no sign, no blanks; false on overflow of max or on anything else. */
bool slice_to_u64(struct slice s, uint64_t max, uint64_t *out);

/* Appends to a text of n bytes in out[cap], as much as fits, and a NUL; returns its length then.  With u64_text what a
 * message's way needs of snprintf, at a tenth of its price. */
size_t text_add(char *out, size_t cap, size_t n, struct slice s);
#define U64_TEXT_MAX 20
struct slice u64_text(uint64_t value, char out[U64_TEXT_MAX]); /* in decimal; lies in out */

/* A number for a name, the same in every process and version (FNV-1a); never 0, never UINT32_MAX. */
uint32_t slice_id(struct slice s);

/* True when s can become a header or form value: no byte < 0x20, no 0x7F, valid UTF-8. */
bool slice_is_clean(struct slice s);
bool slice_is_utf8(struct slice s);
/* Of how many bytes at its beginning each is ASCII, no control (< 0x20) and none of the stops. */
size_t slice_plain(struct slice s, const char stops[3]);

/* Heap that aborts with a log line when memory is gone.  Sizes that a peer controls pass limits.h first. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
/* From here on a peer's bytes decide: such a piece is asked for with malloc, and that there is none is answered. */
#define LARGE_BYTES 65536u
/* uthash takes memory in the same way: by itself it ends the process with exit(-1), saying nothing. */
#define uthash_malloc(n) xcalloc(1, (n))

/* Always on.  For our own mistakes only; input is never asserted. */
#define ensure(cond) ((cond) ? (void)0 : ensure_failed(#cond, __FILE__, __LINE__))
/* A place that no legal value reaches: after a switch that names them all. */
#define never(what) ensure_failed("never: " what, __FILE__, __LINE__)
NORETURN void ensure_failed(const char *expr, const char *file, int line);

#endif
