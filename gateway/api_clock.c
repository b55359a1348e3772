/* The test clock: there only when the configuration says clock: settable, which a loopback listener allows alone. */
#include "api.h"

#include "api_json.h"
#include "bus.h"
#include "postern/clock.h"
#include "postern/log.h"
#include "release.h"

static const char *const members[] = {"now", "jump"};

struct clock_call {
    struct api_call *c;
    int64_t now_ms;
};

/* Every worker's clock reads it. */
static void on_set(void *arg)
{
    struct clock_call *call = arg;
    struct api_call *c = call->c;
    struct buf b;

    api_answer_init(c, &b);
    api_put_open(&b, '{');
    api_put_time(&b, "now", call->now_ms);
    api_put_close(&b, '}');
    api_answer(&c, 200, &b);
}

void api_clock_put(struct api_call *c)
{
    struct clock_call *call = api_state(c, sizeof(*call));
    struct api_object o;
    struct api_fault f = {0};
    int64_t now_ms = 0;

    if (!c->conf->clock_settable || !c->r->loopback_listener) {
        api_problem(&c, 404, "the clock is the system's; a test sets clock: settable in postern.yaml");
        return;
    }
    api_object_open(&o, c->body, API_WORDS(members), &f);
    api_need(&o, "now", "an RFC 3339 time, like 2026-11-22T10:00:00Z");
    api_time(&o, "now", &now_ms);
    bool jump = api_flag(&o, "jump"); /* nobody is told: as when the system's clock is stepped */
    if (f.set) {
        api_problem_of_fault(&c, &f);
        return;
    }
    clock_set(now_ms);
    if (!jump)
        releaser_clock_set(c->g->releaser);
    log_line(LOG_INFO, NULL, "api", "clock_set", "now_ms=%lld", (long long)now_ms);
    *call = (struct clock_call){c, now_ms};
    bus_clock(c->g->bus, now_ms, on_set, call);
}
