/*
 * "deferred list|release|cancel": what waits, and what an operator may do about it.
 * The daemon decides; a release by hand is a new decision in full, so a message that
 * is in quiet hours is only deferred again.
 */
#include "ctl.h"

#include <jansson.h>
#include <stdio.h>

#include "ctl_http.h"
#include "ctl_text.h"
#include "postern/buf.h"
#include "postern/decision.h"
#include "postern/zone.h"

#define RESOURCE         "/postern/v1/deferred"
#define TARGET_MAX_BYTES 8000u /* the daemon reads request lines of 8192 bytes */
#define ARENA_BYTES      ((size_t)4 * TARGET_MAX_BYTES)
#define LIST_COLUMNS     8
#define ID_MAX           32

enum { LIST_CONTACT, LIST_ADDRESS, LIST_STATE, LIST_JSON };

static const char *text_of(const json_t *row, const char *name)
{
    return json_string_value(json_object_get(row, name));
}

/* --- list ---------------------------------------------------------------------------- */

/* What the daemon shows of the recipient, masked: a list is read over shoulders. */
static const char *masked(const char *to, char out[ADDRESS_MASKED_MAX])
{
    struct address address;
    struct errmsg e;
    if (to == NULL || address_parse(slice_of(to), &address, &e) != OK)
        return to;
    return address_mask(&address, out);
}

/* Why it waits, or why it ended. */
static const char *why(const json_t *row)
{
    enum reason reason;
    const char *ended = text_of(row, "end_reason");
    const char *name = ended != NULL ? ended : text_of(row, "reason");
    return name != NULL && reason_parse(slice_of(name), &reason) ? reason_sentence(reason) : name;
}

/* The local rule ends in the name of its zone: "2026-11-23T08:00 America/New_York". */
static const struct zone *zone_of(const json_t *row)
{
    const char *rule = text_of(row, "local_rule");
    const char *last = rule != NULL ? strrchr(rule, ' ') : NULL;
    return last != NULL ? zone_get(last + 1) : NULL;
}

static void add_row(struct text_table *table, const json_t *row)
{
    char to[ADDRESS_MASKED_MAX], due[TEXT_TIME_MAX], expires[TEXT_TIME_MAX], count[24];
    const json_t *deferrals = json_object_get(row, "deferrals");

    snprintf(count, sizeof count, "%lld", (long long)json_integer_value(deferrals));
    text_table_add(table, (const char *const[]){
                              text_of(row, "id"),
                              text_of(row, "state"),
                              masked(text_of(row, "to"), to),
                              text_of(row, "category"),
                              why(row),
                              text_time_of(text_of(row, "release_at"), zone_of(row), due),
                              text_time_of(text_of(row, "expires_at"), NULL, expires),
                              deferrals != NULL ? count : NULL,
                          });
}

static void print_list(const json_t *rows)
{
    struct text_table table = {.n_columns = LIST_COLUMNS};
    const json_t *row;
    size_t i;

    if (json_array_size(rows) == 0) {
        puts("nothing waits");
        return;
    }
    text_table_add(&table, (const char *const[]){"ID", "STATE", "TO", "CATEGORY", "WHY", "DUE", "EXPIRES", "DEFERRED"});
    json_array_foreach(rows, i, row) add_row(&table, row);
    text_table_print(&table, true, stdout);
    text_table_clear(&table);
}

static void add_parameter(struct buf *target, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(target, "&%s=", name);
    buf_add_form(target, slice_of(value));
}

/* One page of the list, after the row of that ID (NULL: the first); its rows are added to all. */
static enum ctl_exit get_page(struct http_link *link, const struct ctl_call *call, const char *after, json_t *all,
                              char next[ID_MAX])
{
    enum ctl_exit status = CTL_FAILED;
    struct arena arena;
    struct buf target;

    arena_init(&arena, ARENA_BYTES);
    buf_init(&target, &arena, TARGET_MAX_BYTES);
    buf_add_cstr(&target, RESOURCE "?limit=1000");
    add_parameter(&target, "contact", call->values[LIST_CONTACT]);
    add_parameter(&target, "address", call->values[LIST_ADDRESS]);
    add_parameter(&target, "state", call->values[LIST_STATE]);
    add_parameter(&target, "after", after);
    struct http_reply reply = target.failed ? (struct http_reply){0, NULL} : http_get(link, target.p);
    const char *next_after = text_of(reply.body, "next_after");

    snprintf(next, ID_MAX, "%s", next_after != NULL ? next_after : "");
    if (target.failed)
        ctl_complain("deferred list: the contact or the address is too long to ask for");
    else if (http_succeeded(&reply) && json_array_extend(all, json_object_get(reply.body, "deferred")) == 0)
        status = CTL_DONE;
    else if (reply.status != 0)
        ctl_complain("deferred list: %s", http_problem(&reply));
    http_reply_clear(&reply);
    arena_clear(&arena);
    return status;
}

static enum ctl_exit get_all(struct http_link *link, const struct ctl_call *call, json_t *all)
{
    char after[ID_MAX] = "", next[ID_MAX];
    for (;;) {
        enum ctl_exit status = get_page(link, call, after[0] != '\0' ? after : NULL, all, next);
        if (status != CTL_DONE || next[0] == '\0' || strcmp(next, after) == 0)
            return status;
        memcpy(after, next, sizeof after);
    }
}

static enum ctl_exit run_list(const struct ctl_call *call)
{
    struct http_link *link = http_link_new(call->conf_path);
    if (link == NULL)
        return CTL_FAILED;
    json_t *all = json_array();
    enum ctl_exit status = get_all(link, call, all);

    if (status == CTL_DONE && call->values[LIST_JSON] != NULL) {
        json_dumpf(all, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (status == CTL_DONE) {
        print_list(all);
    }
    json_decref(all);
    http_link_free(&link);
    return status;
}

/* --- release and cancel -------------------------------------------------------------- */

/* Ask for one row.  CTL_FAILED when the daemon could not be asked: the rest need not be tried. */
static enum ctl_exit change(struct http_link *link, const char *id, const char *action, const char *done)
{
    struct arena arena;
    struct buf target;
    arena_init(&arena, ARENA_BYTES);
    buf_init(&target, &arena, TARGET_MAX_BYTES);
    buf_add_cstr(&target, RESOURCE "/");
    buf_add_form(&target, slice_of(id));
    buf_printf(&target, "/%s", action);

    enum ctl_exit status = CTL_NO;
    if (target.failed) {
        ctl_complain("%.40s...: not an ID; IDs are listed by: posternctl deferred list", id);
    } else {
        struct http_reply reply = http_post(link, target.p, NULL);
        if (reply.status == 0)
            status = CTL_FAILED;
        else if (!http_succeeded(&reply))
            ctl_complain("%s: %s", id, http_problem(&reply));
        else
            status = CTL_DONE;
        http_reply_clear(&reply);
    }
    if (status == CTL_DONE)
        printf("%s: %s\n", id, done);
    arena_clear(&arena);
    return status;
}

static enum ctl_exit change_all(const struct ctl_call *call, const char *action, const char *done)
{
    struct http_link *link = http_link_new(call->conf_path);
    enum ctl_exit status = link == NULL ? CTL_FAILED : CTL_DONE;

    for (int i = 0; i < call->n_operands && status != CTL_FAILED; i++) {
        enum ctl_exit one = change(link, call->operands[i], action, done);
        if (one != CTL_DONE)
            status = one;
    }
    http_link_free(&link);
    return status;
}

static enum ctl_exit run_release(const struct ctl_call *call)
{
    return change_all(call, "release", "released: it is decided again now");
}

static enum ctl_exit run_cancel(const struct ctl_call *call)
{
    return change_all(call, "cancel", "cancelled");
}

const struct ctl_command ctl_deferred_list = {
    .name = "deferred list",
    .summary = "what waits: for whom, why, until when",
    .options =
        {
            [LIST_CONTACT] = {"contact", "ID", "only messages to this contact", false},
            [LIST_ADDRESS] = {"address", "A", "only messages to this e-mail address or phone number", false},
            [LIST_STATE] =
                {"state", "STATE",
                 "waiting, paused, releasing, released, cancelled, ended, dead, or any; by default what waits", false},
            [LIST_JSON] = {"json", NULL, "the rows as a JSON array, addresses in full", false},
        },
    .help = "Recipients are masked. DUE is in UTC, and as the recipient's own clock shows it.\n"
            "Exit status: 0 listed, also when nothing waits; 2 posternd could not be asked.\n",
    .run = run_list,
};

const struct ctl_command ctl_deferred_release = {
    .name = "deferred release",
    .summary = "decide waiting messages again now",
    .operands = "ID...",
    .help = "Releasing is a new decision with all rules: what is still in quiet hours, over a cap or\n"
            "opted out does not leave. See why with: posternctl explain --to ADDRESS --category NAME\n"
            "Exit status: 0 all released; 1 at least one could not be; 2 posternd could not be asked.\n",
    .run = run_release,
};

const struct ctl_command ctl_deferred_cancel = {
    .name = "deferred cancel",
    .summary = "give waiting messages up, for good",
    .operands = "ID...",
    .help = "Exit status: 0 all cancelled; 1 at least one could not be; 2 posternd could not be asked.\n",
    .run = run_cancel,
};
