/*
 * "replay": what another policy would have made of the decisions on record.  Reads
 * the store itself, beside a daemon at work, and writes nothing anywhere.
 */
#include "ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../gateway/place.h"
#include "ctl_store.h"
#include "ctl_text.h"
#include "postern/clock.h"
#include "replay.h"

#define QUIET_MS          1000 /* a short replay says nothing on the way */
#define TERMINAL_EVERY_MS 200
#define FILE_EVERY_MS     5000
#define SINCE_DEFAULT     "30d"

enum { OPT_POLICY, OPT_SINCE, OPT_JSON };

/* --- progress ------------------------------------------------------------------------- */

struct progress {
    bool is_terminal;
    bool shown;
    int64_t began_mono_ms, next_mono_ms;
};

static void on_progress(uint64_t row, uint64_t rows, void *arg)
{
    struct progress *p = arg;
    int64_t now = clock_mono_ms(), took_ms = now - p->began_mono_ms;

    if (now < p->next_mono_ms || row == 0)
        return;
    p->shown = true;
    p->next_mono_ms = now + (p->is_terminal ? TERMINAL_EVERY_MS : FILE_EVERY_MS);
    double left_s = (double)took_ms / 1000.0 * (double)(rows - row) / (double)row;
    fprintf(stderr, "%sreplay: %llu of %llu rows, %.0f %%, %.0f s left%s", p->is_terminal ? "\r\033[K" : "",
            (unsigned long long)row, (unsigned long long)rows, 100.0 * (double)row / (double)rows, left_s,
            p->is_terminal ? "" : "\n");
}

/* --- since ---------------------------------------------------------------------------- */

/* "30d", "12h", "90m", or an RFC 3339 instant. */
static bool since_of(const char *text, int64_t now_ms, int64_t *out)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'m', MS_PER_MINUTE}, {'h', 60 * MS_PER_MINUTE}, {'d', MS_PER_DAY}};
    char *end;

    if (rfc3339_parse(slice_of(text), out))
        return true;
    long n = strtol(text, &end, 10);
    for (size_t i = 0; i < N_ELEMENTS(units); i++) {
        if (text[0] >= '0' && text[0] <= '9' && n > 0 && n <= 100000 && end[0] == units[i].unit && end[1] == '\0') {
            *out = now_ms - n * units[i].ms;
            return true;
        }
    }
    ctl_complain("replay: --since %s: expected a time like 30d, 12h, 90m, or an instant like 2026-11-01T00:00:00Z",
                 text);
    return false;
}

/* --- the command ---------------------------------------------------------------------- */

static enum ctl_exit replay(const struct ctl_call *call, const struct conf *now, const struct conf *changed)
{
    const char *since = call->values[OPT_SINCE] != NULL ? call->values[OPT_SINCE] : SINCE_DEFAULT;
    struct progress progress = {.is_terminal = isatty(STDERR_FILENO) == 1, .began_mono_ms = clock_mono_ms()};
    struct replay_sum *sum = xcalloc(1, sizeof(*sum));
    int64_t since_ms;
    struct store *store = NULL;
    enum ctl_exit end = CTL_FAILED;

    place_load(clock_wall_ms());
    progress.next_mono_ms = progress.began_mono_ms + QUIET_MS;
    if (since_of(since, clock_wall_ms(), &since_ms) && (store = ctl_store_open(now)) != NULL) {
        enum err err = replay_run(changed, store, since_ms, on_progress, &progress, sum);
        if (progress.is_terminal && progress.shown)
            fputs("\r\033[K", stderr);
        if (err != OK)
            ctl_complain("%s: the decisions cannot be read to their end: does the database answer?", now->store_url);
        else
            (call->values[OPT_JSON] != NULL ? replay_print_json : replay_print)(sum, changed, since_ms);
        end = err == OK ? CTL_DONE : CTL_FAILED;
    }
    store_close(&store);
    free(sum);
    return end;
}

static enum ctl_exit run(const struct ctl_call *call)
{
    struct errmsg e;
    AUTO(conf_free) struct conf *now = conf_load(call->conf_path, &e);
    AUTO(conf_free) struct conf *changed = now != NULL ? conf_load(call->values[OPT_POLICY], &e) : NULL;

    if (changed == NULL) {
        ctl_complain("%s", e.text);
        return CTL_FAILED;
    }
    return replay(call, now, changed);
}

const struct ctl_command ctl_replay = {
    .name = "replay",
    .summary = "what a changed policy would have made of the decisions on record",
    .options =
        {
            {"policy", "FILE", "the configuration whose policy is tried: a whole postern.yaml", true},
            {"since", "TIME", "30d (this when not given), 12h, 90m, or 2026-11-01T00:00:00Z", false},
            {"json", NULL, "as JSON", false},
        },
    .help = "Each recorded decision is made again: with the policy of FILE, and with what was known of the\n"
            "recipient at its time. Caps count what the changed policy would have sent. Shown is what would have\n"
            "become another outcome, and which rules would have fired or not; of rules in shadow what each would\n"
            "have done. Reads the store, whether posternd runs or not, sends nothing and writes nothing.\n"
            "What cannot be known is said at the end.\n"
            "Exit status: 0 replayed, whatever would have changed; 2 it could not be.\n",
    .run = run,
};
