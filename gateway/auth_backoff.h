/*
 * Wrong logins slow their sender down: by address, and by address and login.  Pure but for memory: time is a parameter.
 * A login from elsewhere is not affected.  Bounded: the oldest entries give way.
 */
#ifndef GATEWAY_AUTH_BACKOFF_H
#define GATEWAY_AUTH_BACKOFF_H

#include "postern/base.h"

struct auth_backoff;
struct auth_backoff *auth_backoff_new(void) NODISCARD;
void auth_backoff_free(struct auth_backoff **b);

/* May this attempt reach the verifier?  address: without a port. */
bool auth_backoff_admits(struct auth_backoff *b, struct slice address, struct slice login, int64_t mono_ms);
void auth_backoff_failed(struct auth_backoff *b, struct slice address, struct slice login, int64_t mono_ms);
void auth_backoff_passed(struct auth_backoff *b, struct slice address, struct slice login);

#endif
