/*
 * Which language a text is written in, by the frequency of its letter groups (libexttextcat).  One reader a process,
 * and not for several threads at once.
 */
#ifndef POSTERN_LANGUAGE_H
#define POSTERN_LANGUAGE_H

#include "postern/base.h"

#define LANGUAGE_MAX 9 /* of a code with its NUL; struct body_facts has room for one */

/* Reads the samples of some fifty languages: at the start of the process, it opens files.  Without them (the reason is
 * in e) nothing is ever detected. */
enum err language_open(struct errmsg *e) NODISCARD;
void language_close(void);

/*
 * ISO 639-1, or empty when unsure: too short (less than some eighty letters), two languages as likely, or one of those
 * that are not told apart.  html: text is a document.  Looks at about a kilobyte and takes a tenth of a millisecond.
 */
void language_detect(struct slice text, bool html, char out[LANGUAGE_MAX]);

#endif
