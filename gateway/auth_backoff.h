/*
 * Guesses are slowed down: those of an address, and those of an address at one login.  Pure but for memory: time is a
 * parameter.  Who comes from elsewhere is not affected, nor who logs in with what was right before from that address.
 *
 * A normal case: admits() -> true, the verifier says yes, passed().  A bad one: admits() -> true, the verifier says no,
 * failed(); after some of those admits() -> false, and the client hears what a wrong secret would have got it, as late.
 * Only failures use up what an address may try, so that many logins that are right cost nothing.
 */
#ifndef GATEWAY_AUTH_BACKOFF_H
#define GATEWAY_AUTH_BACKOFF_H

#include "postern/base.h"

struct auth_backoff;
/* per_minute: guesses of one address that may reach the verifier in any minute, 1 to 1000. */
struct auth_backoff *auth_backoff_new(uint32_t per_minute) NODISCARD;
void auth_backoff_free(struct auth_backoff **b);

/* address: without a port, in any form. */
struct auth_attempt {
    struct slice address, login, secret;
};
/* May this attempt reach the verifier? */
bool auth_backoff_admits(const struct auth_backoff *b, const struct auth_attempt *a, int64_t mono_ms);
/* What the verifier said. */
void auth_backoff_failed(struct auth_backoff *b, const struct auth_attempt *a, int64_t mono_ms);
void auth_backoff_passed(struct auth_backoff *b, const struct auth_attempt *a, int64_t mono_ms);
/* What was right or wrong may not be so any more; who guessed goes on waiting. */
void auth_backoff_keys_changed(struct auth_backoff *b);

#endif
