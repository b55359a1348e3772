/*
 * What would be sent, from files: for questions about a message that is not sent.
 */
#ifndef CTL_CTL_CONTENT_H
#define CTL_CTL_CONTENT_H

#include "ctl.h"

struct json_t;

/* As the options name it; NULL: not given.  text and html are files, "-" the standard input. */
struct ctl_content {
    const char *subject, *text, *html;
};

/*
 * *out: the API's "content", owned; NULL when nothing is given.  False: it cannot be read, and why was said on stderr,
 * after the command's name.
 */
bool ctl_content_read(const char *command, const struct ctl_content *given, struct json_t **out) NODISCARD;

#endif
