/*
 * Tells Cyrillic languages by their letters.  Letter groups take one Ukrainian text in fifteen of a hundred and fifty
 * bytes for Russian; that it has an i with a dot, and no yery, is certain.
 *
 * The idea to hold in mind: two sets for each language, the letters it writes with and those among them that no other
 * language told here has (the hard sign is Russian too, one letter in two thousand, seldom twice in a text and never
 * without a yery).  A text is a set too.  What no set holds (Belarusian, Kazakh, a text in two languages) is not
 * told, whatever the guess.
 */
#include "alphabet.h"

/* Bits of a set: U+0430 to U+045F, then the Ukrainian ghe, then all other Cyrillic letters. */
#define FIRST    0x430u
#define CAPITALS 0x410u
#define LAST     0x45Fu
#define GHE      0x491u
#define BIT_GHE  48u
#define BIT_MORE 49u

/* So many of a language's own letters are none by mistake, or of a name. */
#define OWN_MIN 2u

static const struct alphabet {
    const char *code, *letters, *own;
} alphabets[] = {
    {"bg", "абвгдежзийклмнопрстуфхцчшщъьюя", "ъ"},       {"mk", "абвгдѓежзѕијклљмнњопрстќуфхцчџш", "ѓѕќ"},
    {"ru", "абвгдеёжзийклмнопрстуфхцчшщъыьэюя", "ёыэ"},  {"sr", "абвгдђежзијклљмнњопрстћуфхцчџш", "ђћ"},
    {"uk", "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя", "ґєії"},
};

struct letters {
    uint64_t set;
    unsigned cyrillic, latin; /* how many */
    unsigned times[BIT_MORE + 1];
};

/* The bit of a Cyrillic letter, large or small. */
static unsigned bit_of(unsigned c)
{
    if (c >= CAPITALS && c < FIRST)
        c += FIRST - CAPITALS;
    else if (c < CAPITALS)
        c += 0x50; /* the second row of letters and its capitals */
    if (c <= LAST)
        return c - FIRST;
    return c == GHE || c == GHE - 1 ? BIT_GHE : BIT_MORE;
}

/* The Cyrillic block is U+0400 to U+052F: two bytes, of which the first is 0xD0 to 0xD4. */
static struct letters letters_of(struct slice text)
{
    struct letters l = {.set = 0};
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        l.latin += (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (c < 0xD0 || c > 0xD4 || i + 1 == text.n)
            continue;
        unsigned bit = bit_of((c & 0x1Fu) << 6 | ((unsigned char)text.p[++i] & 0x3Fu));
        l.set |= UINT64_C(1) << bit;
        l.times[bit]++;
        l.cyrillic++;
    }
    return l;
}

static unsigned count_of(const struct letters *l, uint64_t set)
{
    unsigned n = 0;
    for (unsigned bit = 0; bit <= BIT_MORE; bit++)
        n += (set >> bit & 1) != 0 ? l->times[bit] : 0;
    return n;
}

/* Are all of the text's Cyrillic letters of that alphabet? */
static bool is_within(const struct letters *l, const struct alphabet *a)
{
    return (l->set & ~letters_of(slice_of(a->letters)).set) == 0;
}

const char *alphabet_told(struct slice text)
{
    struct letters l = letters_of(text);
    for (size_t i = 0; l.cyrillic > l.latin && i < N_ELEMENTS(alphabets); i++) {
        const struct alphabet *a = &alphabets[i];
        if (is_within(&l, a) && count_of(&l, letters_of(slice_of(a->own)).set) >= OWN_MIN)
            return a->code;
    }
    return NULL;
}

bool alphabet_fits(struct slice text, const char *code)
{
    struct letters l = letters_of(text);
    if (l.cyrillic <= l.latin)
        return true;
    for (size_t i = 0; i < N_ELEMENTS(alphabets); i++) {
        if (strcmp(alphabets[i].code, code) == 0)
            return is_within(&l, &alphabets[i]);
    }
    return false;
}
