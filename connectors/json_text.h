/* The text of a scanned string or key, its escapes undone one by one; nothing is copied unless asked. */
#ifndef CONNECTORS_JSON_TEXT_H
#define CONNECTORS_JSON_TEXT_H

#include "json_scan.h"

struct json_text {
    const uint8_t *p, *end;
    uint8_t pending[4];
    uint8_t n_pending, at_pending;
};

/* inner: between the quotes, passed by the scanner. */
struct json_text json_text_begin(struct slice inner);
/* The next byte of the text, -1 at its end. */
int json_text_next(struct json_text *t);
/* All of it into the arena; false when that is spent. */
bool json_text_copy(struct slice inner, struct arena *a, struct slice *out) NODISCARD;
/* What stands between the quotes of a node's key; empty when it has none. */
struct slice json_text_key(const struct json_scan *s, uint32_t node);
/* Four hex digits at p; -1 when they are not there. */
int32_t json_text_hex4(const uint8_t *p, const uint8_t *end);

#endif
