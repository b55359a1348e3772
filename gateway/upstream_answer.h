/* An HTTP answer as it arrives: header lines and body pieces in, capped fields and bytes out.  No I/O, no clock. */
#ifndef POSTERN_UPSTREAM_ANSWER_H
#define POSTERN_UPSTREAM_ANSWER_H

#include "postern/buf.h"
#include "upstream.h"

struct upstream_answer {
    struct arena *arena; /* borrowed; holds all below */
    struct upstream_field *fields;
    size_t n_fields, cap_fields;
    size_t head_bytes;
    bool head_done; /* lines that follow are trailers, or a new answer after an interim one */
    struct buf body;
};

/* max_bytes: of the body. */
void upstream_answer_init(struct upstream_answer *a, struct arena *arena, size_t max_bytes);
/* One line with or without its end; a status line starts the answer anew (100 Continue comes before the real one). */
enum err upstream_answer_line(struct upstream_answer *a, struct slice line) NODISCARD;
enum err upstream_answer_body(struct upstream_answer *a, struct slice piece) NODISCARD;
/* Until when the provider wants silence, as ms from wall_ms; 0: it does not say. */
int64_t upstream_answer_retry_ms(const struct upstream_answer *a, int http_status, int64_t wall_ms);

#endif
