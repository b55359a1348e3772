/*
 * Several workers under one parent: processes that each run the gateway on the same address, store and counters.
 */
#ifndef GATEWAY_WORKERS_H
#define GATEWAY_WORKERS_H

#include "conf.h"

/*
 * Runs conf->workers of them until SIGTERM or SIGINT, then drains them; the process's exit status.  Takes the
 * configuration.  In a worker it does not return.
 */
int workers_run(struct conf *conf);

#endif
