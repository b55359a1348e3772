/*
 * "explain": what would be decided for a message, and why.  The running daemon
 * decides, with the counters and the profile that it has at hand, as a dry run that
 * sends and counts nothing; this file asks it and lays the answer out for people.
 */
#include "ctl.h"

#include <jansson.h>
#include <stdio.h>

#include "ctl_content.h"
#include "ctl_http.h"
#include "ctl_text.h"
#include "postern/decision.h"
#include "postern/zone.h"

enum { OPT_TO, OPT_CHANNEL, OPT_CATEGORY, OPT_PRIORITY, OPT_AT, OPT_SENDER, OPT_SUBJECT, OPT_TEXT, OPT_HTML, OPT_JSON };

#define LINE_MAX_BYTES 512
#define DEPTH_MAX      4

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* --- the question --------------------------------------------------------------------- */

/* The channel that an address is for; NULL, and said why, when it is none. */
static const char *channel_of(const char *to)
{
    struct address address;
    struct errmsg e;
    if (address_parse(slice_of(to), &address, &e) != OK) {
        ctl_complain("explain: --to %s: %s", to, e.text);
        return NULL;
    }
    return channel_name(address.kind == ADDRESS_PHONE ? CHANNEL_SMS : CHANNEL_EMAIL);
}

/* With what would be sent, as far as it was given; false, and said why, when it cannot be read. */
static bool add_content(json_t *asked, const struct ctl_call *call)
{
    const struct ctl_content given = {call->values[OPT_SUBJECT], call->values[OPT_TEXT], call->values[OPT_HTML]};
    json_t *content;
    if (!ctl_content_read("explain", &given, &content))
        return false;
    if (content != NULL)
        json_object_set_new(asked, "content", content);
    return true;
}

static json_t *question(const struct ctl_call *call)
{
    const char *to = call->values[OPT_TO];
    const char *channel = call->values[OPT_CHANNEL];
    if (channel == NULL)
        channel = channel_of(to);
    if (channel == NULL)
        return NULL;
    /* '*': a member without a value is left out */
    json_t *asked = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:s*}", "to", to, "channel", channel, "category",
                              call->values[OPT_CATEGORY], "priority", call->values[OPT_PRIORITY], "at",
                              call->values[OPT_AT], "sender_kind", call->values[OPT_SENDER]);
    if (asked == NULL)
        ctl_complain("explain: the command line is not UTF-8");
    else if (!add_content(asked, call))
        json_decref(take(&asked));
    return asked;
}

/* --- the answer ------------------------------------------------------------------------ */

/* The recipient's zone, or the first of its candidates: "America/Denver (explicit)". */
static const struct zone *zone_of(const json_t *decision)
{
    char name[ZONE_NAME_MAX];
    const char *zones = text_of(decision, "zones");
    size_t n = zones != NULL ? strcspn(zones, " ,") : 0;
    if (n == 0 || n >= sizeof name)
        return NULL;
    snprintf(name, sizeof name, "%.*s", (int)n, zones);
    return zone_get(name);
}

static const json_t *violation_of(const json_t *decision, const char *rule)
{
    const json_t *violation;
    size_t i;
    json_array_foreach(json_object_get(decision, "violations"), i, violation)
    {
        const char *name = text_of(violation, "rule");
        if (name != NULL && strcmp(name, rule) == 0)
            return violation;
    }
    return NULL;
}

/* The detail of a violation, else what its reason means. */
static const char *words_of(const json_t *violation)
{
    enum reason reason;
    const char *detail = text_of(violation, "detail");
    const char *name = text_of(violation, "reason");
    if (detail != NULL && detail[0] != '\0')
        return detail;
    return name != NULL && reason_parse(slice_of(name), &reason) ? reason_sentence(reason) : name;
}

/* --- the answer: what was decided ------------------------------------------------------ */

static void add_pair(struct text_table *table, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0')
        text_table_add(table, (const char *const[]){name, value});
}

/* When it would leave: now, later, or not by waiting. */
static const char *passes(const json_t *decision, const struct zone *zone, char out[TEXT_TIME_MAX])
{
    enum outcome outcome;
    const char *release_at = text_of(decision, "release_at");
    const char *name = text_of(decision, "outcome");
    if (release_at != NULL)
        return text_time_of(release_at, zone, out);
    bool known = name != NULL && outcome_parse(slice_of(name), &outcome);
    return known && outcome == OUTCOME_FORWARD ? "now" : "not by waiting";
}

static void print_decision(const json_t *decision, const struct zone *zone)
{
    struct text_table table = {.n_columns = 2};
    char passes_at[TEXT_TIME_MAX], expires_at[TEXT_TIME_MAX];
    const char *outcome = text_of(decision, "outcome");
    const char *would_have = text_of(decision, "would_have");
    enum reason reason;
    const char *name = text_of(decision, "reason");
    bool known = name != NULL && reason_parse(slice_of(name), &reason);

    add_pair(&table, "decision", outcome);
    add_pair(&table, "code", text_of(decision, "code"));
    add_pair(&table, "why", known ? reason_sentence(reason) : name);
    add_pair(&table, "passes", passes(decision, zone, passes_at));
    if (text_of(decision, "release_at") != NULL)
        add_pair(&table, "expires", text_time_of(text_of(decision, "expires_at"), zone, expires_at));
    add_pair(&table, "zone", text_of(decision, "zones"));
    if (outcome != NULL && would_have != NULL && strcmp(outcome, would_have) != 0)
        add_pair(&table, "shadow", "its rules would make this: see the verdicts marked shadow");
    if (json_is_true(json_object_get(decision, "degraded")))
        add_pair(&table, "degraded", "yes: something that should be known was not");
    text_table_print(&table, false, stdout);
    text_table_clear(&table);
}

/* --- the answer: every rule --------------------------------------------------------------- */

static void add_rule(struct text_table *table, const json_t *decision, const json_t *rule, const struct zone *zone)
{
    char at[TEXT_TIME_MAX], verdict[48];
    const char *name = text_of(rule, "rule");
    const json_t *said = name != NULL ? violation_of(decision, name) : NULL;
    bool shadow = json_is_true(json_object_get(rule, "shadow"));
    const char *word = text_of(rule, "verdict");

    snprintf(verdict, sizeof verdict, "%.30s%s", word != NULL ? word : "", shadow ? " (shadow)" : "");
    text_table_add(table, (const char *const[]){
                              name,
                              verdict,
                              text_of(said, "level"),
                              said != NULL ? words_of(said) : NULL,
                              text_time_of(text_of(said, "passes_at"), zone, at),
                          });
}

static void print_rules(const json_t *decision, const struct zone *zone)
{
    struct text_table table = {.n_columns = 5};
    const json_t *rule;
    size_t i;

    text_table_add(&table, (const char *const[]){"RULE", "VERDICT", "LEVEL", "WHY", "PASSES"});
    json_array_foreach(json_object_get(decision, "rules"), i, rule) add_rule(&table, decision, rule, zone);
    putchar('\n');
    text_table_print(&table, true, stdout);
    text_table_clear(&table);
}

/* --- the answer: the facts that the rules read --------------------------------------------- */

/* A fact of one value, as text; empty for null. */
static const char *scalar(const json_t *value, const struct zone *zone, char *out, size_t size)
{
    char at[TEXT_TIME_MAX];
    out[0] = '\0';
    if (json_is_string(value))
        snprintf(out, size, "%s", text_time_of(json_string_value(value), zone, at));
    else if (json_is_integer(value))
        snprintf(out, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, size, "%g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
    return out;
}

/* Add ", name value" to a line; nothing when there is no value. */
static void append(char *line, size_t size, const char *name, const char *value)
{
    size_t n = strlen(line);
    if (value[0] != '\0')
        snprintf(line + n, size - n, "%s%s%s%s", n > 0 ? ", " : "", name, name[0] != '\0' ? " " : "", value);
}

/* "channel sms, category newsletter, state granted": one item of a list.  As deep as json_parse lets it be. */
static const char *one_line(json_t *value, const struct zone *zone, char *out, size_t size)
{
    char part[LINE_MAX_BYTES];
    const char *name;
    json_t *member;
    size_t i;

    if (!json_is_object(value) && !json_is_array(value))
        return scalar(value, zone, out, size);
    out[0] = '\0';
    json_array_foreach(value, i, member) append(out, size, "", one_line(member, zone, part, sizeof part));
    json_object_foreach(value, name, member) append(out, size, name, one_line(member, zone, part, sizeof part));
    return out;
}

static void add_fact(struct text_table *table, int depth, const char *name, const char *text)
{
    char label[96];
    snprintf(label, sizeof label, "%*s%.80s", 2 * depth, "", name);
    text_table_add(table, (const char *const[]){label, text});
}

static bool is_list_of_objects(const json_t *value)
{
    return json_is_array(value) && json_is_object(json_array_get(value, 0));
}

/* Objects go a level deeper; what is null is not known, and left out; lists of objects have tables of their own. */
static void add_facts(struct text_table *table, json_t *facts, const struct zone *zone, int depth)
{
    char line[LINE_MAX_BYTES];
    const char *name;
    json_t *value;

    json_object_foreach(facts, name, value)
    {
        if (json_is_object(value) && json_object_size(value) > 0 && depth < DEPTH_MAX) {
            add_fact(table, depth, name, "");
            add_facts(table, value, zone, depth + 1);
        } else if (json_is_array(value) && json_array_size(value) == 0) {
            add_fact(table, depth, name, "none");
        } else if (!json_is_null(value) && !is_list_of_objects(value)) {
            add_fact(table, depth, name, one_line(value, zone, line, sizeof line));
        }
    }
}

/*
 * One column for each member of the first item: the daemon writes all items alike.  Many
 * times stand side by side here: in UTC alone they are easier to compare.
 */
static void print_list(const char *name, json_t *list)
{
    struct text_table table = {.indent = 2};
    char cells[TABLE_COLUMNS][LINE_MAX_BYTES];
    const char *row[TABLE_COLUMNS], *heads[TABLE_COLUMNS];
    const char *member;
    json_t *value, *item;
    size_t i;

    json_object_foreach(json_array_get(list, 0), member, value)
    {
        if (table.n_columns < TABLE_COLUMNS)
            heads[table.n_columns++] = member;
    }
    text_table_add(&table, heads);
    json_array_foreach(list, i, item)
    {
        for (size_t c = 0; c < table.n_columns; c++)
            row[c] = one_line(json_object_get(item, heads[c]), NULL, cells[c], sizeof cells[c]);
        text_table_add(&table, row);
    }
    puts(name);
    text_table_print(&table, true, stdout);
    text_table_clear(&table);
}

static void print_facts(const json_t *decision, const struct zone *zone)
{
    struct text_table table = {.n_columns = 2};
    json_t *facts = json_object_get(decision, "facts");
    const char *name;
    json_t *value;

    puts("\nFACTS");
    add_facts(&table, facts, zone, 0);
    text_table_print(&table, false, stdout);
    text_table_clear(&table);
    json_object_foreach(facts, name, value)
    {
        if (is_list_of_objects(value))
            print_list(name, value);
    }
}

static enum ctl_exit show(const struct http_reply *reply, bool as_json)
{
    if (reply->status == 0)
        return CTL_FAILED;
    if (!http_succeeded(reply)) {
        ctl_complain("explain: %s", http_problem(reply));
        return CTL_FAILED;
    }
    if (as_json) {
        json_dumpf(reply->body, stdout, JSON_INDENT(2));
        putchar('\n');
        return CTL_DONE;
    }
    const struct zone *zone = zone_of(reply->body);
    print_decision(reply->body, zone);
    print_rules(reply->body, zone);
    print_facts(reply->body, zone);
    return CTL_DONE;
}

static enum ctl_exit run(const struct ctl_call *call)
{
    json_t *asked = question(call);
    struct http_link *link = asked != NULL ? http_link_new(call->conf_path) : NULL;
    enum ctl_exit status = CTL_FAILED;

    if (link != NULL) {
        struct http_reply reply = http_post(link, "/postern/v1/decisions", asked);
        status = show(&reply, call->values[OPT_JSON] != NULL);
        http_reply_clear(&reply);
    }
    http_link_free(&link);
    json_decref(asked);
    return status;
}

const struct ctl_command ctl_explain = {
    .name = "explain",
    .summary = "what would be decided for a message, and why; sends and counts nothing",
    .options =
        {
            [OPT_TO] = {"to", "ADDRESS", "the recipient: a@b.c or +15550100001", true},
            [OPT_CHANNEL] = {"channel", "NAME", "email or sms; by the look of the address when not given", false},
            [OPT_CATEGORY] = {"category", "NAME", "what the message is, as the configuration names it", false},
            [OPT_PRIORITY] = {"priority", "P0..P3", "P2 when not given", false},
            [OPT_AT] = {"at", "TIME", "when it would be sent: 2026-11-22T10:00:00Z; now when not given", false},
            [OPT_SENDER] = {"sender", "KIND", "automated or agent; automated when not given", false},
            [OPT_SUBJECT] = {"subject", "TEXT", "what would be sent: its subject", false},
            [OPT_TEXT] = {"text", "FILE", "what would be sent: its text; - reads the standard input", false},
            [OPT_HTML] = {"html", "FILE", "what would be sent: its HTML; - likewise", false},
            [OPT_JSON] = {"json", NULL, "the daemon's answer as it is", false},
        },
    .help = "Prints the decision, the verdict of every rule, and the facts that the rules read.\n"
            "Times are in UTC, and as the recipient's own clock shows them.\n"
            "Exit status: 0 explained, whatever the decision is; 2 posternd could not be asked.\n",
    .run = run,
};
