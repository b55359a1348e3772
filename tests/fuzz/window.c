/*
 * Windows, holidays and times as texts.  Windows that are accepted can be asked:
 * what opens does so at or after the instant asked about, and ends later than that.
 * The first byte picks the reader.
 */
#include "postern/civil.h"
#include "postern/limits.h"
#include "postern/policy.h"
#include "postern/zone.h"

#define NOW_MS INT64_C(1795341600000)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void windows(struct slice text, enum window_sense sense, struct arena *a)
{
    struct window_set set;
    struct errmsg e;
    int64_t until_ms;
    if (window_parse(text, sense, a, &set, &e) != OK) {
        ensure(e.text[0] != '\0');
        return;
    }
    for (size_t i = 1; i < set.n_dates; i++)
        ensure(set.dates[i - 1].days < set.dates[i].days);
    const struct zone *zone = zone_get("America/New_York");
    ensure(zone != NULL);
    int64_t at_ms = window_next(&set, zone, NOW_MS, &until_ms);
    ensure(at_ms >= NOW_MS);
    if (at_ms == INT64_MAX)
        return;
    ensure(until_ms > at_ms && window_next(&set, zone, at_ms, &until_ms) == at_ms);
}

static void times(struct slice text)
{
    int64_t at_ms = 0, again_ms = 0;
    char shown[RFC3339_MAX];
    if (rfc3339_parse(text, &at_ms)) {
        rfc3339_format(at_ms, shown);
        ensure(rfc3339_parse(slice_of(shown), &again_ms) && again_ms == at_ms);
    }
    ignore(http_date_parse(text, &at_ms));
    if (retry_after_parse(text, NOW_MS, &at_ms))   /* a date may be long gone */
        ensure(at_ms <= INT64_C(253402300800000)); /* below the year 10000 */
}

static void holidays(struct slice text)
{
    struct holiday h;
    struct errmsg e;
    if (holiday_parse(text, &h, &e) != OK)
        return;
    struct holiday_calendar calendar = {.rules = &h, .n = 1};
    for (int32_t days = 20000; days < 20400; days++)
        ignore(holiday_is(&calendar, days));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena arena;
    if (n == 0)
        return 0;
    struct slice text = {(const char *)data + 1, n - 1};
    arena_init(&arena, LIMIT_ARENA_BYTES);
    switch (data[0] % 4) {
    case 0:
        windows(text, WINDOW_ALLOWED, &arena);
        break;
    case 1:
        windows(text, WINDOW_QUIET, &arena);
        break;
    case 2:
        times(text);
        break;
    case 3:
        holidays(text);
        break;
    }
    arena_clear(&arena);
    return 0;
}
