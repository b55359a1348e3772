/*
 * The native API under /postern/v1/ (one resource a file: api_*.c).  JSON in and
 * out; errors are RFC 9457 problem details whose detail says what was wrong,
 * where, and what would be right.
 */
#ifndef GATEWAY_API_H
#define GATEWAY_API_H

#include "gateway.h"

struct json_t;

/* Takes the request: it is answered exactly once. */
void api_on_request(struct gateway *g, struct http_request *r);

/* --- for api_*.c ------------------------------------------------------------------ */

struct api_call {
    struct gateway *g;
    struct http_request *r;
    const struct conf_key *key; /* NULL only for calls that need none (the test clock) */
    struct slice id;            /* the path's {id}, percent-decoded; or empty */
    struct slice action;        /* the path's last word after {id}; or empty */
    struct json_t *body;        /* parsed object, owned by the call; NULL when the method has none */
};

/* Answer, and give the call up. */
void api_reply(struct api_call **c, int status, struct slice json);
/* RFC 9457.  title is the status's own phrase. */
void api_problem(struct api_call **c, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
void api_problem_of_store(struct api_call **c, enum err status); /* 404, 409 or 503 with what to do */

/* A query parameter's decoded value; p == NULL when absent. */
struct slice api_query(const struct api_call *c, const char *name);

/* Resources. */
void api_contact_get(struct api_call *c);
void api_contact_put(struct api_call *c);
void api_consent_post(struct api_call *c);
void api_opt_out_post(struct api_call *c);
void api_decision_post(struct api_call *c);
void api_decision_get(struct api_call *c);
void api_deferred_get(struct api_call *c);
void api_deferred_post(struct api_call *c);
void api_override_post(struct api_call *c);
void api_sandbox_get(struct api_call *c);
void api_clock_put(struct api_call *c);

#endif
