/*
 * The configurations in use.  One is in force; those before it live on while
 * somebody who began under them has not finished: a submission, a call of the API,
 * a result that is still being written.  Who looks at g->conf within one callback
 * needs nothing of this; who comes back later holds what he began with.
 *
 * A normal case: a submission holds the configuration in force, SIGHUP brings
 * another, the submission ends under the rules and with the provider it began
 * with, drops its own, and at the end of that turn the old one is freed.
 */
#ifndef GATEWAY_CONFS_H
#define GATEWAY_CONFS_H

#include "conf.h"
#include "upstream.h"

struct confs;

struct confs *confs_new(struct loop *loop) NODISCARD;
/* All of them go, whoever holds them.  Accepts a pointer to NULL. */
void confs_free(struct confs **c);

/*
 * Takes a configuration into use and opens its providers; it is held once, by the caller.  A provider that before
 * (or NULL) has with the same settings is shared: its connections, breaker and pace go on.  On an error conf stays
 * the caller's and nothing is open.
 */
enum err confs_open(struct confs *c, struct conf *conf, const struct conf *before, struct errmsg *e) NODISCARD;

/* One more user; drop it when done. */
struct conf *confs_hold(struct conf *conf) NODISCARD;
/* With the last user it goes, at the end of the turn: texts of it may be borrowed until then.  Sets *conf to NULL;
 * accepts a pointer to NULL. */
void confs_drop(struct conf **conf);

/* Of one of conf's providers; NULL: the sandbox. */
struct upstream *confs_upstream(const struct conf *conf, const struct conf_provider *provider);

/* Zones have other tables: what policies remember of hours is void. */
void confs_zones_changed(struct confs *c);

/* How many are in use: 1, or more while something runs under an older one. */
size_t confs_count(const struct confs *c);

#endif
