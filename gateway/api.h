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

struct api_fault; /* api_json.h */

struct api_call {
    struct gateway *g;
    struct http_request *r;
    struct conf *conf;          /* held: in force when it came */
    const struct conf_key *key; /* NULL only for calls that need none (the test clock) */
    struct slice id;            /* the path's {id}, percent-decoded; or empty */
    struct slice action;        /* the path's last word after {id}; or empty */
    struct json_t *body;        /* parsed object, owned by the call; NULL when the method has none, or none came */
    void *state;                /* the resource's own, from the request's arena */
};

/* Answer, and give the call up. */
void api_reply(struct api_call **c, int status, struct slice json);
/* RFC 9457.  title is the status's own phrase. */
void api_problem(struct api_call **c, int status, const char *fmt, ...) PRINTF_LIKE(3, 4);
void api_problem_of_store(struct api_call **c, enum err status); /* 404, 409 or 503 with what to do */
/* 400, naming the member. */
void api_problem_of_fault(struct api_call **c, const struct api_fault *f);

/* The buffer of an answer, on the request's arena. */
void api_answer_init(struct api_call *c, struct buf *b);
/* Answer with it; 500 when it failed. */
void api_answer(struct api_call **c, int status, const struct buf *b);
/* Zeroed, from the request's arena, which is large enough for any resource's state. */
void *api_state(struct api_call *c, size_t bytes);

/* Has the caller one of these roles (bit set of enum conf_role)? */
bool api_may(const struct api_call *c, uint32_t roles);
/* Who claims to speak for whom: source agent needs an agent's key, source organisation an admin's.  Else 403, answered.
 */
bool api_source_allowed(struct api_call **c, enum source source);

/* A query parameter's decoded value; p == NULL when absent. */
struct slice api_query(const struct api_call *c, const char *name);
/* A number of 1 to max; fallback when absent.  False: it is neither. */
bool api_query_number(const struct http_request *r, const char *name, uint64_t max, uint64_t fallback, uint64_t *out);

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
