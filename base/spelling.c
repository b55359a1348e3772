/*
 * How far two words are apart.  Knows none: who asks has the list.  The one idea: Levenshtein's table, of which one row
 * at a time is needed.
 */
#include "postern/spelling.h"

#include <limits.h>
#include <string.h>

#define WORD_MAX 64u

static char fold_char(char c)
{
    if (c == ' ')
        return '_';
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

unsigned spelling_distance(const char *a, const char *b)
{
    unsigned row[WORD_MAX];
    size_t n = strlen(b);

    if (n >= WORD_MAX || strlen(a) >= WORD_MAX)
        return UINT_MAX;
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            unsigned replaced = diagonal + (fold_char(a[i - 1]) != fold_char(b[j - 1]));
            unsigned added = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < added ? replaced : added;
        }
    }
    return row[n];
}
