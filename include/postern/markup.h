/*
 * The text of an HTML document piece by piece, for counting and guessing, never for showing: no tags, no comments, no
 * style, script or title; character references stay as they are.  Pure, nothing is copied.
 */
#ifndef POSTERN_MARKUP_H
#define POSTERN_MARKUP_H

#include "postern/base.h"

/* Takes the next piece of text, never empty, off *html; false when there is none left. */
bool markup_next(struct slice *html, struct slice *text);

#endif
