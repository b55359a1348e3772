/*
 * A row of the queue as the message that a dialect tells of.  Knows what the queue's states mean to an application, and
 * no dialect.
 */
#include "kept_row.h"

/* Why it ended: a reason, or a result ("refused", "unknown"), which is the provider's or nobody's to explain. */
static enum reason reason_of(const struct deferred *d)
{
    enum reason reason;

    return reason_parse(d->end_reason, &reason) ? reason : REASON_NONE;
}

static enum kept_state state_of(const struct deferred *d)
{
    switch (d->state) {
    case DEFERRED_WAITING:
    case DEFERRED_PAUSED:
        return KEPT_WAITING;
    case DEFERRED_LEASED:
        return KEPT_SENDING;
    case DEFERRED_RELEASED:
        return KEPT_SENT;
    case DEFERRED_CANCELLED:
        return reason_of(d) == REASON_OPTED_OUT_MEANWHILE ? KEPT_FAILED : KEPT_CANCELLED;
    case DEFERRED_ENDED:
    case DEFERRED_DEAD:
        return KEPT_FAILED;
    case DEFERRED_STATE_N:
        break;
    }
    never("a state");
}

struct kept_message kept_row(const struct deferred *d)
{
    return (struct kept_message){
        .id = d->kept_id,
        .their_id = d->provider_id,
        .state = state_of(d),
        .body = d->submission.body,
        .to = slice_of(d->to.text),
        .from = d->sender,
        .created_at_ms = d->enqueued_at_ms,
        .updated_at_ms = d->updated_at_ms,
        .release_at_ms = d->release_at_ms,
        .reason = reason_of(d),
    };
}
