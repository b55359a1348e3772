/*
 * Numbers of payment cards (PAN, ISO/IEC 7812-1: 13 to 19 digits, the last a check digit) in a text.  Pure.
 *
 * What counts: a range that a card network issues from, its length, the check digit, and digits together or in the
 * groups that are printed on cards (4-4-4-4, 4-4-4-4-3, 4-6-5, 4-6-4) with one blank or one dash between.  Not: what is
 * a piece of something longer, an amount, or stands directly behind a letter or one of "_/=-%@&+." as in URLs and ids.
 */
#ifndef POSTERN_CARD_NUMBER_H
#define POSTERN_CARD_NUMBER_H

#include "postern/arena.h"

struct card_number {
    size_t start, end; /* offsets into the text */
};

/*
 * False: there is none, for sure, and quickly.  What is escaped or encoded may be asked as it is, as long as a digit
 * stands for itself.
 */
bool card_number_possible(struct slice text);

/* The first that begins at or behind `from`; false when there is none. */
bool card_number_find(struct slice text, size_t from, struct card_number *out);

/*
 * For people's eyes: all digits but the last four of each are '*' (PCI DSS 4.0, 3.4.1 lets no more be shown than the
 * first six or eight and the last four).  text itself when there is none; p == NULL when the arena is spent.
 */
struct slice card_number_mask(struct slice text, struct arena *a);

#endif
