/*
 * What the process settles with the kernel: signals, core files, descriptors.
 */
#ifndef GATEWAY_PROCESS_H
#define GATEWAY_PROCESS_H

#include "postern/base.h"

struct conf;

/* Before any thread, and before secrets are read.  with_cores: a crash may write memory, secrets and all, to disk. */
void process_set_up(bool with_cores);

/* Connections that the listener may hold, so that descriptors for store and providers are left; 0: limits.h's. */
size_t process_connections(const struct conf *c);
/* Likewise of each SMTP port. */
uint32_t process_smtp_connections(const struct conf *c);

#endif
