/*
 * A link: one connection to the one host of an upstream.  libcurl brings it up
 * (names, addresses, guard, TLS and its checks); from then on it carries bytes,
 * and what they mean is the transport's to know.
 */
#ifndef POSTERN_UPSTREAM_LINK_H
#define POSTERN_UPSTREAM_LINK_H

#include "upstream.h"

struct upstream_links; /* the host, and how it is dialled */
struct upstream_link;

enum upstream_link_event {
    UPSTREAM_LINK_UP,       /* once, first; and when TLS is on that was asked for */
    UPSTREAM_LINK_FAILED,   /* instead: upstream_link_why() says why; only freeing is left */
    UPSTREAM_LINK_READABLE, /* bytes, or its end; again and again until they are read */
    UPSTREAM_LINK_WRITABLE  /* as asked for with upstream_link_want_write() */
};
/* May free the link. */
typedef void upstream_link_fn(void *arg, enum upstream_link_event event);

enum upstream_link_io {
    UPSTREAM_LINK_OK,    /* n bytes, at least one */
    UPSTREAM_LINK_AGAIN, /* nothing now */
    UPSTREAM_LINK_EOF,   /* the other side has ended it in good order */
    UPSTREAM_LINK_LOST   /* broken */
};

/* NULL with the reason in e when an option is wrong.  Before the links are freed, theirs must be. */
struct upstream_links *upstream_links_new(struct loop *loop, const struct upstream_options *opt,
                                          struct errmsg *e) NODISCARD;
void upstream_links_free(struct upstream_links **links);
/* What the Host field says: the port is there unless it is the scheme's own. */
struct slice upstream_links_host(const struct upstream_links *links);
/* The URL names loopback: what leaves in the clear stays in the machine. */
bool upstream_links_is_local(const struct upstream_links *links);
/* TLS from the first byte: https, smtps. */
bool upstream_links_is_tls(const struct upstream_links *links);

/* fn never runs before this returns. */
struct upstream_link *upstream_link_dial(struct upstream_links *links, upstream_link_fn *fn, void *arg) NODISCARD;
/* Closes.  Sets *link to NULL; accepts a pointer to NULL. */
void upstream_link_free(struct upstream_link **link);
const char *upstream_link_why(const struct upstream_link *link);

/* Of a link that is up: */
/* TLS on a plain link: nothing is sent or read before UP comes again, or FAILED. */
void upstream_link_start_tls(struct upstream_link *link);
enum upstream_link_io upstream_link_send(struct upstream_link *link, struct slice bytes, size_t *n) NODISCARD;
enum upstream_link_io upstream_link_recv(struct upstream_link *link, char *to, size_t cap, size_t *n) NODISCARD;
void upstream_link_want_write(struct upstream_link *link, bool on);
/* Open, and nothing has come in: fit for a new request. */
bool upstream_link_is_quiet(struct upstream_link *link);
/* Bytes that were sent without success may have left in part, as part of a TLS record. */
bool upstream_link_is_tls(const struct upstream_link *link);

#endif
