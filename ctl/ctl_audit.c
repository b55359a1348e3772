/*
 * "audit verify": walk the chain of audit rows from the first to the head.  Reads
 * the store itself, not through the daemon: an audit that only the audited process
 * can check proves nothing.  Read only, so it may run beside a daemon at work.
 */
#include "ctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl_store.h"
#include "postern/clock.h"
#include "postern/store.h"

#define QUIET_MS          1000 /* a short walk says nothing on the way */
#define TERMINAL_EVERY_MS 200
#define FILE_EVERY_MS     5000

struct progress {
    bool is_terminal;
    bool shown;
    int64_t next_mono_ms;
};

static void on_progress(uint64_t rows, uint64_t total, void *arg)
{
    struct progress *p = arg;
    int64_t now = clock_mono_ms();

    if (now < p->next_mono_ms)
        return;
    p->shown = true;
    p->next_mono_ms = now + (p->is_terminal ? TERMINAL_EVERY_MS : FILE_EVERY_MS);
    double percent = total > 0 ? 100.0 * (double)rows / (double)total : 100.0;
    fprintf(stderr, "%saudit: %llu of %llu rows read, %.0f %%%s", p->is_terminal ? "\r" : "", (unsigned long long)rows,
            (unsigned long long)total, percent, p->is_terminal ? "" : "\n");
}

/* Wipe the line that is rewritten in place. */
static void end_progress(const struct progress *p)
{
    if (p->is_terminal && p->shown)
        fputs("\r\033[K", stderr);
}

static enum ctl_exit report(const char *url, enum err walked, const struct audit_verdict *v)
{
    if (walked != OK) {
        ctl_complain("%s: the audit cannot be read to its end: %s", url,
                     v->why.text[0] != '\0' ? v->why.text : "the database does not answer; is the disk in order?");
        return CTL_FAILED;
    }
    if (v->holds) {
        printf("audit: %llu rows, chain holds\n", (unsigned long long)v->rows);
        return CTL_DONE;
    }
    printf("audit: %s\n", v->why.text);
    fflush(stdout);
    fprintf(stderr,
            "Rows before it are as they were written. Keep a copy of the database as it is, and compare row %llu\n"
            "with your last backup.\n",
            (unsigned long long)v->first_bad);
    return CTL_NO;
}

/*
 * For the textfile collector of Prometheus's node_exporter, which reads whole files only: written beside it, then
 * renamed.  A walk that did not come to its end writes nothing; the time that stands still tells.
 */
static enum ctl_exit write_textfile(const char *path, const struct audit_verdict *v)
{
    char beside[4096];
    int n = snprintf(beside, sizeof(beside), "%s.new", path);
    FILE *f = n > 0 && (size_t)n < sizeof(beside) ? fopen(beside, "we") : NULL;

    if (f == NULL) {
        ctl_complain("%s: cannot be written: %s", path, strerror(errno));
        return CTL_FAILED;
    }
    fprintf(f,
            "# HELP postern_audit_holds 1 when the chain of audit rows held at the last check.\n"
            "# TYPE postern_audit_holds gauge\npostern_audit_holds %d\n"
            "# HELP postern_audit_rows Rows that were read at the last check.\n"
            "# TYPE postern_audit_rows gauge\npostern_audit_rows %llu\n"
            "# HELP postern_audit_check_timestamp_seconds When the chain was last read to its end.\n"
            "# TYPE postern_audit_check_timestamp_seconds gauge\npostern_audit_check_timestamp_seconds %lld\n",
            v->holds, (unsigned long long)v->rows, (long long)(clock_wall_ms() / 1000));
    bool failed = ferror(f) != 0;
    failed = fclose(f) != 0 || failed;
    if (!failed && rename(beside, path) == 0)
        return CTL_DONE;
    ctl_complain("%s: cannot be written: %s", path, strerror(errno));
    return CTL_FAILED;
}

/* textfile: NULL for none. */
static enum ctl_exit verify(const struct conf *conf, const char *textfile)
{
    struct store *store = ctl_store_open(conf);
    if (store == NULL)
        return CTL_FAILED;
    struct progress progress = {isatty(STDERR_FILENO) == 1, false, 0};
    progress.next_mono_ms = clock_mono_ms() + (progress.is_terminal ? 0 : QUIET_MS);
    struct audit_verdict verdict = {0};
    enum err walked = store_audit_verify(store, on_progress, &progress, &verdict);
    end_progress(&progress);
    store_close(&store);
    enum ctl_exit end = report(conf->store_url, walked, &verdict);
    if (textfile != NULL && walked == OK && write_textfile(textfile, &verdict) != CTL_DONE)
        return end == CTL_DONE ? CTL_FAILED : end;
    return end;
}

static enum ctl_exit run(const struct ctl_call *call)
{
    struct errmsg e;
    AUTO(conf_free) struct conf *conf = conf_load(call->conf_path, &e);
    if (conf == NULL) {
        ctl_complain("%s", e.text);
        return CTL_FAILED;
    }
    return verify(conf, call->values[0]);
}

const struct ctl_command ctl_audit_verify = {
    .name = "audit verify",
    .summary = "check that no audit row was changed, removed, inserted or swapped",
    .options = {{"textfile", "FILE", "write the result there for Prometheus (node_exporter's textfile collector)",
                 false}},
    .help = "Reads the store itself, whether posternd runs or not, and writes nothing to it.\n"
            "Exit status: 0 the chain holds; 1 it does not, and the first bad row is named;\n"
            "2 the store or its audit key could not be read.\n",
    .run = run,
};
