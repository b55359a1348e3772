/* How near a word is to one that is known: for "did you mean". */
#ifndef POSTERN_SPELLING_H
#define POSTERN_SPELLING_H

/*
 * Changes of one letter (put in, left out, replaced) from a to b, as Levenshtein counts; UINT_MAX for words that are
 * longer than any name of ours.  Case makes no difference, nor does a blank for a '_': people write "new york" for
 * "New_York".
 */
unsigned spelling_distance(const char *a, const char *b);

#endif
