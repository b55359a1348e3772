/*
 * Revocations, and all other changes of what is known of people, come in by the
 * native API, by a provider's refusal, by other workers; they take effect in one
 * place.  The order matters: profiles first, so that what is taken back is decided
 * with the new one; here first, then everywhere, then the acknowledgement.
 */
#include "revocation.h"

#include <stdlib.h>

#include "bus.h"
#include "callback.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "report.h"
#include "submission.h"

static void nobody_waits(void *arg)
{
    (void)arg;
}

void revocation_here(struct gateway *g, const uint64_t *hashes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        profiles_drop(g->profiles, hashes[i]);
    if (n == 0)
        profiles_drop_all(g->profiles);
    submission_revoked(g, hashes, n);
}

void revocation_in_force(struct gateway *g, const struct address *touched, size_t n, void (*cb)(void *arg), void *arg)
{
    uint64_t *hashes = xcalloc(n + 1, sizeof(*hashes));

    /* Nobody's is 0, and goes along: a contact without addresses is not everybody. */
    for (size_t i = 0; i < n; i++)
        hashes[i] = profiles_hash(&touched[i]);
    revocation_here(g, hashes, n + 1);
    bus_changed(g->bus, hashes, n + 1, cb != NULL ? cb : nobody_waits, arg);
    free(hashes);
}

void revocation_cancelled(struct gateway *g, const struct deferred *cancelled, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        metrics_release(g->metrics, "opted_out_meanwhile");
        callbacks_post(g->callbacks, &cancelled[i], KEPT_FAILED, REASON_OPTED_OUT_MEANWHILE);
        report_ended(g, &cancelled[i], REASON_OPTED_OUT_MEANWHILE, clock_wall_ms());
    }
}

struct provider_opt_out {
    struct gateway *g;
    struct arena arena;
    struct store_opt_out_add add;
};

static void on_recorded(enum err status, void *arg)
{
    struct provider_opt_out *p = arg;
    char hash[LOG_ADDRESS_MAX];

    if (status == OK) {
        revocation_in_force(p->g, p->add.touched, p->add.n_touched, NULL, NULL);
        revocation_cancelled(p->g, p->add.cancelled, p->add.n_cancelled);
        metrics_opt_out(p->g->metrics, p->add.opt_out.scope, p->add.opt_out.source);
    } else {
        log_line(LOG_ERROR_, NULL, "revocation", "provider_opt_out_lost", "to=%s", log_address(&p->add.address, hash));
    }
    arena_clear(&p->arena);
    free(p);
}

void revocation_by_provider(struct gateway *g, const struct address *to, enum channel channel, struct slice sender,
                            const char *provider)
{
    struct provider_opt_out *p = xcalloc(1, sizeof(*p));

    p->g = g;
    arena_init(&p->arena, LIMIT_ARENA_BYTES);
    p->add = (struct store_opt_out_add){
        .r = {.kind = STORE_OPT_OUT_ADD, .cb = on_recorded, .arg = p},
        .arena = &p->arena,
        .address = *to,
        .opt_out = {.scope = SCOPE_CHANNEL,
                    .channel = channel,
                    .sender = arena_slice(&p->arena, sender),
                    .source = SOURCE_PROVIDER,
                    .at_ms = clock_wall_ms()},
        .reason = SLICE("refused by the provider: recipient opted out there"),
        .actor = arena_slice(&p->arena, slice_of(provider)),
        .now_ms = clock_wall_ms(),
    };
    store_submit(g->store, &p->add.r);
}
