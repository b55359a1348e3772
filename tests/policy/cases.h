/* Reads tables of cases: a line is a case, columns are parted by '|', '#' at the start of a line is a comment. */
#ifndef POSTERN_TESTS_POLICY_CASES_H
#define POSTERN_TESTS_POLICY_CASES_H

#include <stdio.h>
#include <stdlib.h>

#include "postern/base.h"

struct cases {
    FILE *file;
    const char *name;
    char *line;
    size_t size_bytes;
    int number; /* of the line */
};

#define CASES_OPEN(cases_, name_)                                                                                      \
    do {                                                                                                               \
        *(cases_) = (struct cases){.file = fopen(TESTS_DIR "/policy/" name_, "re"), .name = name_};                    \
        ck_assert_msg((cases_)->file != NULL, "cannot open %s", name_);                                                \
    } while (0)

/* The next case with its blanks trimmed; false at the end, which closes the file. */
static inline bool cases_next(struct cases *c, struct slice *line)
{
    ssize_t n;
    while ((n = getline(&c->line, &c->size_bytes, c->file)) != -1) {
        c->number++;
        if (n > 0 && c->line[n - 1] == '\n')
            n--;
        *line = slice_trim((struct slice){c->line, (size_t)n});
        if (line->n > 0 && line->p[0] != '#')
            return true;
    }
    fclose(c->file);
    free(c->line);
    return false;
}

/* The text before the first separator, trimmed; *rest goes on behind it. */
static inline struct slice cases_column(struct slice *rest, char separator)
{
    size_t n = 0;
    while (n < rest->n && rest->p[n] != separator)
        n++;
    struct slice column = slice_trim((struct slice){rest->p, n});
    size_t used = n < rest->n ? n + 1 : n;
    *rest = (struct slice){rest->p + used, rest->n - used};
    if (separator == ' ')
        *rest = slice_trim(*rest);
    return column;
}

#endif
