/*
 * application/x-www-form-urlencoded, strictly, with the offsets of each field.
 * Refused, because readers differ: a field without '=', an empty name, an empty
 * field ("a=1&&b=2"), a bad % escape, a raw ';' (once a separator), controls,
 * bad UTF-8, a name twice that may not repeat.  '+' is a blank.
 */
#ifndef CONNECTORS_FORM_H
#define CONNECTORS_FORM_H

#include "postern/arena.h"

struct form_field {
    struct slice name, value; /* decoded; of the body itself when there was nothing to decode */
    size_t start, end;        /* of the field in the body, without '&' */
};

struct form {
    struct form_field *fields; /* in the order of the body */
    size_t n;
};

/*
 * repeatable: names that may stand more than once, NULL ends the list; no list: the caller looks after them.
 * ERR_SYNTAX with the field and byte in e; ERR_LIMIT: over LIMIT_FORM_FIELDS, or the arena is spent.
 */
enum err form_parse(struct slice body, const char *const *repeatable, struct arena *a, struct form *out,
                    struct errmsg *e) NODISCARD;

/* The value of that name; p == NULL when it is not there. */
struct slice form_get(const struct form *f, const char *name);
size_t form_count(const struct form *f, const char *name);

#endif
