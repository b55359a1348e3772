/*
 * logfmt lines on stderr: `ts=... level=info id=... module=... event=... k=v`.
 * Never bodies, credentials or full addresses: addresses go in by log_address.
 */
#ifndef POSTERN_LOG_H
#define POSTERN_LOG_H

#include "postern/address.h"

enum log_level { LOG_ERROR_, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Which of several processes this is: "worker=2" in each line; at most 31 bytes, before there are threads. */
void log_set_process(const char *name);
void log_set_level(enum log_level level);
/* Whether a line of that level is written: what is only worked out for a line need not be. */
bool log_is_on(enum log_level level);

/*
 * One line.  id: the submission's or decision's, or NULL.  event: a word.
 * fmt: further key=value pairs; a value that may hold blanks, quotes, controls
 * or anything from a peer goes through LOG_Q.  Whatever the result holds, one
 * call is one line: controls are escaped.
 */
void log_line(enum log_level level, const char *id, const char *module, const char *event, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

#define LOG_Q_MAX 512
struct log_quoted {
    char text[LOG_Q_MAX];
};
/* A quoted, escaped, bounded value. */
const char *log_quote(struct slice s, struct log_quoted *out);
#define LOG_Q(s) log_quote((s), &(struct log_quoted){{0}})

#define LOG_ADDRESS_MAX 20
/* A keyed hash of the address, the same for the life of the key: "a:9f86d081884c7d65". */
char *log_address(const struct address *a, char out[LOG_ADDRESS_MAX]);
/* The key, e.g. from the store, so that hashes stay comparable over restarts. */
void log_set_address_key(struct slice key);

#endif
