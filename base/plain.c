/*
 * How far a text is plain: the question that JSON strings, header values and what
 * is escaped all ask of every byte of a message.  Knows none of them.  The one
 * idea: most steps of 16 bytes hold nothing to stop at, and one look tells so.
 */
#include "postern/base.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static bool is_plain(char c, const char stops[3])
{
    return (signed char)c >= 0x20 && c != stops[0] && c != stops[1] && c != stops[2];
}

#if defined(__SSE2__)
#define STEP 16u

/* How many of STEP bytes come before the first stop. */
static size_t plain_in_step(const char *p, const char stops[3])
{
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    /* As signed numbers bytes beyond ASCII are below zero: one comparison finds them and the controls. */
    const __m128i other = _mm_cmplt_epi8(x, _mm_set1_epi8(0x20));
    const __m128i a = _mm_cmpeq_epi8(x, _mm_set1_epi8(stops[0]));
    const __m128i b = _mm_cmpeq_epi8(x, _mm_set1_epi8(stops[1]));
    const __m128i c = _mm_cmpeq_epi8(x, _mm_set1_epi8(stops[2]));
    const unsigned mask = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(other, a), _mm_or_si128(b, c)));
    return mask == 0 ? STEP : (size_t)__builtin_ctz(mask);
}

#else
#define STEP  8u
#define ONES  UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

static size_t plain_in_step(const char *p, const char stops[3])
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    uint64_t found = ((w - ONES * 0x20) & ~w) | w;
    for (size_t i = 0; i < 3; i++) {
        uint64_t same = w ^ ONES * (unsigned char)stops[i];
        found |= (same - ONES) & ~same;
    }
    size_t n = (found & HIGHS) == 0 ? STEP : 0;
    while (n < STEP && is_plain(p[n], stops))
        n++;
    return n;
}
#endif

size_t slice_plain(struct slice s, const char stops[3])
{
    size_t at = 0;
    for (; s.n - at >= STEP; at += STEP) {
        size_t n = plain_in_step(s.p + at, stops);
        if (n < STEP)
            return at + n;
    }
    if (at > 0 && at < s.n) { /* the last step overlaps the one before */
        at = s.n - STEP;
        return at + plain_in_step(s.p + at, stops);
    }
    while (at < s.n && is_plain(s.p[at], stops))
        at++;
    return at;
}
