/*
 * Calls of the native API of the running posternd, as its own configuration
 * describes it: the address that it listens on, the admin key, the certificate.
 */
#ifndef CTL_CTL_HTTP_H
#define CTL_CTL_HTTP_H

#include "ctl.h"

struct json_t;
struct http_link;

/* Reads the configuration and gets ready to call.  NULL: said on stderr why not and what would help. */
struct http_link *http_link_new(const char *conf_path) NODISCARD;
void http_link_free(struct http_link **link);

struct http_reply {
    long status;         /* 0: no usable answer, and why was said on stderr */
    struct json_t *body; /* owned; an object or NULL */
};

/*
 * A call.  target is a path under the API with its query, percent-encoded; body is borrowed, NULL for none.
 * A refusal of the key counts as no usable answer: no command can do anything about it.
 */
struct http_reply http_get(struct http_link *link, const char *target);
struct http_reply http_post(struct http_link *link, const char *target, const struct json_t *body);
void http_reply_clear(struct http_reply *reply);

bool http_succeeded(const struct http_reply *reply);
/* What a refusal says for people.  Borrowed from the reply. */
const char *http_problem(const struct http_reply *reply);

#endif
