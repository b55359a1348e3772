/*
 * Finds payment cards' numbers.  Runs over every text that passes, so the idea to hold in mind is how it says no: eight
 * bytes at a time, for a card number has six digits in some aligned eight bytes wherever it stands, and few texts do.
 * Knows no message and no rule.
 */
#include "postern/card_number.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define DIGITS_MIN 13u
#define DIGITS_MAX 19u
#define GROUPS_MAX 5u
#define STEP       ((size_t)8)
#define ENOUGH     6u /* digits in an aligned STEP: 13 digits over two of them leave one with seven */

#define LENGTH(n)         (1u << (n))
#define LENGTHS(min, max) ((2u << (max)) - (1u << (min)))

/* By the first four digits.  What the networks say of their ranges, 2026. */
static const struct issuer {
    uint16_t first, last;
    uint32_t lengths;
} issuers[] = {
    {2200, 2204, LENGTHS(16, 19)},                           /* Mir */
    {2221, 2720, LENGTH(16)},                                /* Mastercard */
    {3000, 3059, LENGTH(14)},                                /* Diners Club */
    {3095, 3095, LENGTH(14)},      {3400, 3499, LENGTH(15)}, /* American Express */
    {3528, 3589, LENGTHS(16, 19)},                           /* JCB */
    {3600, 3699, LENGTH(14)},      {3700, 3799, LENGTH(15)},
    {3800, 3999, LENGTH(14)},      {4000, 4999, LENGTH(13) | LENGTH(16) | LENGTH(19)}, /* Visa */
    {5018, 5018, LENGTHS(13, 19)},                                                     /* Maestro */
    {5020, 5020, LENGTHS(13, 19)}, {5038, 5038, LENGTHS(13, 19)},
    {5100, 5599, LENGTH(16)},      {5893, 5893, LENGTHS(13, 19)},
    {6011, 6011, LENGTHS(16, 19)}, /* Discover */
    {6200, 6299, LENGTHS(16, 19)}, /* UnionPay */
    {6304, 6304, LENGTHS(13, 19)}, {6440, 6599, LENGTHS(16, 19)},
    {6759, 6759, LENGTHS(13, 19)}, {6761, 6763, LENGTHS(13, 19)},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
}

/* --- digits alone ------------------------------------------------------------------- */

static bool is_issued(const char *digits, size_t n)
{
    unsigned head = 0;
    for (size_t i = 0; i < 4; i++)
        head = head * 10 + (unsigned)(digits[i] - '0');
    for (size_t i = 0; i < N_ELEMENTS(issuers); i++) {
        if (head >= issuers[i].first && head <= issuers[i].last)
            return (issuers[i].lengths >> n & 1) != 0;
    }
    return false;
}

/* ISO/IEC 7812-1, annex B. */
static bool passes_luhn(const char *digits, size_t n)
{
    unsigned sum = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned d = (unsigned)(digits[n - 1 - i] - '0');
        sum += i % 2 == 0 ? d : d < 5 ? 2 * d : 2 * d - 9;
    }
    return sum % 10 == 0;
}

/* The digits of text[start, end) are a card's. */
static bool is_card(struct slice text, size_t start, size_t end)
{
    char digits[DIGITS_MAX];
    size_t n = 0;
    for (size_t i = start; i < end; i++) {
        if (is_digit(text.p[i]))
            digits[n++] = text.p[i];
    }
    return is_issued(digits, n) && passes_luhn(digits, n);
}

/* --- groups ------------------------------------------------------------------------------ */

static size_t run_of_digits(struct slice text, size_t at)
{
    size_t n = 0;
    while (at + n < text.n && is_digit(text.p[at + n]))
        n++;
    return n;
}

/* As printed on cards: do these groups look like it? */
static bool is_grouping(const size_t *groups, size_t n)
{
    if (n == 3)
        return groups[1] == 6 && (groups[2] == 5 || groups[2] == 4);
    if (groups[1] != 4 || groups[2] != 4)
        return false;
    return n == 4 ? groups[3] <= 4 : groups[3] == 4 && groups[4] <= 3;
}

static bool ends_well(struct slice text, size_t end)
{
    if (end == text.n)
        return true;
    char c = text.p[end];
    if (is_word(c) || c == '@' || c == '%' || c == '=')
        return false;
    return !((c == '.' || c == '-') && end + 1 < text.n && is_digit(text.p[end + 1]));
}

/* Groups of four and more from start, all with the same separator: the longest that is a card; 0: none. */
static size_t grouped(struct slice text, size_t start)
{
    size_t groups[GROUPS_MAX] = {4}, ends[GROUPS_MAX] = {start + 4}, n = 1;
    char separator = start + 4 < text.n ? text.p[start + 4] : '\0';
    if (separator != ' ' && separator != '-')
        return 0;
    while (n < GROUPS_MAX && ends[n - 1] < text.n && text.p[ends[n - 1]] == separator) {
        size_t run = run_of_digits(text, ends[n - 1] + 1);
        if (run == 0)
            break;
        groups[n] = run;
        ends[n] = ends[n - 1] + 1 + run;
        n++;
    }
    for (; n >= 3; n--) {
        if (is_grouping(groups, n) && ends_well(text, ends[n - 1]) && is_card(text, start, ends[n - 1]))
            return ends[n - 1];
    }
    return 0;
}

/* The end of the card's number that begins with the digit at start; 0: none does. */
static size_t card_at(struct slice text, size_t start)
{
    char before = start > 0 ? text.p[start - 1] : ' ';
    if (is_word(before) || (before != '\0' && strchr("/=-%@&+.", before) != NULL))
        return 0;
    size_t run = run_of_digits(text, start);
    if (run == 4)
        return grouped(text, start);
    if (run < DIGITS_MIN || run > DIGITS_MAX || !ends_well(text, start + run) || !is_card(text, start, start + run))
        return 0;
    return start + run;
}

/* --- the text ------------------------------------------------------------------------------- */

#if defined(__SSE2__)
/* Sixteen bytes without a digit are two steps without one: most of a text. */
static size_t pass_digitless(struct slice text, size_t at)
{
    for (; text.n - at >= 2 * STEP; at += 2 * STEP) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(text.p + at));
        const __m128i d = _mm_sub_epi8(x, _mm_set1_epi8('0')); /* unsigned: 0 to 9 */
        if (_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(d, _mm_set1_epi8(9)), d)) != 0)
            break;
    }
    return at;
}
#else
static size_t pass_digitless(struct slice text, size_t at)
{
    (void)text;
    return at;
}
#endif

#define ONES  UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* How many of eight bytes are digits. */
static unsigned count_digits(const char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    /* The high bit of each byte: at least '0', and not more than '9'; no byte borrows of its neighbour. */
    uint64_t from = (w | HIGHS) - ONES * '0', beyond = (w | HIGHS) - ONES * ('9' + 1);
    return (unsigned)(((from & ~beyond & ~w & HIGHS) >> 7) * ONES >> 56);
}

static bool find_between(struct slice text, size_t from, size_t to, struct card_number *out)
{
    for (size_t i = from; i < to; i++) {
        size_t end = is_digit(text.p[i]) ? card_at(text, i) : 0;
        if (end == 0)
            continue;
        *out = (struct card_number){i, end};
        return true;
    }
    return false;
}

/* The first eight bytes at from, from + 8 ... with ENOUGH digits; text.n when there are none. */
static size_t next_dense(struct slice text, size_t from)
{
    for (size_t i = pass_digitless(text, from); i + STEP <= text.n; i = pass_digitless(text, i + STEP)) {
        if (count_digits(text.p + i) >= ENOUGH)
            return i;
    }
    return text.n;
}

bool card_number_possible(struct slice text)
{
    return next_dense(text, 0) < text.n;
}

bool card_number_find(struct slice text, size_t from, struct card_number *out)
{
    for (size_t i = next_dense(text, from); i < text.n; i = next_dense(text, i + STEP)) {
        /* It began here, or in the eight bytes before. */
        if (find_between(text, i - from >= STEP ? i - STEP : from, i + STEP, out))
            return true;
    }
    return false;
}

struct slice card_number_mask(struct slice text, struct arena *a)
{
    struct card_number card;
    char *copy = NULL;
    for (size_t from = 0; card_number_find(text, from, &card); from = card.end) {
        if (copy == NULL) {
            copy = arena_bytes(a, text.n);
            if (copy == NULL)
                return (struct slice){NULL, 0};
            memcpy(copy, text.p, text.n);
        }
        unsigned shown = 0;
        for (size_t i = card.end; i-- > card.start;) {
            if (is_digit(copy[i]) && ++shown > 4)
                copy[i] = '*';
        }
    }
    return copy == NULL ? text : (struct slice){copy, text.n};
}
