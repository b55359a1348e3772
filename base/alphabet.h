/* Which Cyrillic alphabet a text is written in: letters that one language has and its neighbours have not. */
#ifndef BASE_ALPHABET_H
#define BASE_ALPHABET_H

#include "postern/base.h"

/* The only language (ISO 639-1) that its letters can be of; NULL when they do not say. */
const char *alphabet_told(struct slice text);
/* May it be that language?  False: it is mostly Cyrillic, and has a letter that the language has not. */
bool alphabet_fits(struct slice text, const char *code);

#endif
