/*
 * Reads a command line by the table of its command, and prints help from the same
 * table, so that what is accepted and what is documented cannot differ.  Knows no
 * command.  Long options only ("--to X", "--to=X"); -c and -h are everybody's.
 */
#include "ctl_args.h"

#include <stdarg.h>
#include <stdlib.h>

#include "postern/spelling.h"

#define WORD_MAX    40 /* no name of ours is near to a longer word */
#define HELP_COLUMN 24
#define FAR_ENOUGH  3 /* a typing mistake changes fewer letters */

static const struct ctl_option option_config = {"config", "FILE",
                                                "configuration of the daemon; postern.yaml when not given", false};

void ctl_complain(const char *fmt, ...)
{
    va_list ap;
    fflush(stdout);
    fputs("posternctl: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static void print_usage(const struct ctl_command *command, FILE *out)
{
    bool has_more = false;

    fprintf(out, "usage: posternctl [-c FILE] %s", command->name);
    for (const struct ctl_option *o = command->options; o->name != NULL; o++) {
        if (o->required)
            fprintf(out, " --%s %s", o->name, o->value);
        else
            has_more = true;
    }
    fprintf(out, "%s%s%s\n", has_more ? " [OPTION ...]" : "", command->operands != NULL ? " " : "",
            command->operands != NULL ? command->operands : "");
}

static void print_option(const char *name, const char *value, const char *help, FILE *out)
{
    int n = fprintf(out, "  %s%s%s", name, value != NULL ? " " : "", value != NULL ? value : "");
    if (n >= HELP_COLUMN)
        fprintf(out, "\n%*s%s\n", HELP_COLUMN, "", help);
    else
        fprintf(out, "%*s%s\n", HELP_COLUMN - n, "", help);
}

void args_print_help(const struct ctl_command *command, FILE *out)
{
    char name[WORD_MAX];

    print_usage(command, out);
    fprintf(out, "%s\n\n", command->summary);
    for (const struct ctl_option *o = command->options; o->name != NULL; o++) {
        snprintf(name, sizeof name, "--%s", o->name);
        print_option(name, o->value, o->help, out);
    }
    print_option("-c, --config", option_config.value, option_config.help, out);
    print_option("-h, --help", NULL, "print this", out);
    if (command->help != NULL)
        fprintf(out, "\n%s", command->help);
}

/* The option of that name and, in *slot, where its value goes; NULL when the command has none. */
static const struct ctl_option *find_option(struct ctl_call *call, struct slice name, const char ***slot)
{
    if (slice_eq_cstr(name, option_config.name)) {
        *slot = &call->conf_path;
        return &option_config;
    }
    for (size_t i = 0; call->command->options[i].name != NULL; i++) {
        *slot = &call->values[i];
        if (slice_eq_cstr(name, call->command->options[i].name))
            return &call->command->options[i];
    }
    return NULL;
}

static enum args_result unknown_option(const struct ctl_command *command, const char *arg, struct slice name)
{
    const char *nearest = NULL;
    unsigned best = FAR_ENOUGH;
    char word[WORD_MAX];

    snprintf(word, sizeof word, "%.*s", SLICE_ARG(name));
    for (const struct ctl_option *o = command->options; o->name != NULL; o++) {
        unsigned distance = spelling_distance(word, o->name);
        if (distance < best) {
            best = distance;
            nearest = o->name;
        }
    }
    if (nearest != NULL)
        ctl_complain("%s: unknown option %s: did you mean --%s?", command->name, arg, nearest);
    else
        ctl_complain("%s: unknown option %s: see posternctl help %s", command->name, arg, command->name);
    return ARGS_WRONG;
}

/* The value of the option at argv[*i]: after its '=', or the next word; NULL when there is none. */
static const char *option_value(const char *after_equals, int argc, char **argv, int *i)
{
    if (after_equals != NULL)
        return after_equals;
    return *i + 1 < argc ? argv[++*i] : NULL;
}

static enum args_result long_option(struct ctl_call *call, int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    const char *equals = strchr(arg, '=');
    struct slice name = {arg + 2, equals != NULL ? (size_t)(equals - arg - 2) : strlen(arg + 2)};
    const char **slot = NULL;

    if (slice_eq_cstr(name, "help"))
        return ARGS_HELP;
    const struct ctl_option *o = find_option(call, name, &slot);
    if (o == NULL)
        return unknown_option(call->command, arg, name);
    if (o != &option_config && *slot != NULL) {
        ctl_complain("%s: --%s is given twice: once is enough", call->command->name, o->name);
        return ARGS_WRONG;
    }
    if (o->value == NULL) {
        *slot = "";
        if (equals != NULL)
            ctl_complain("%s: --%s takes no value", call->command->name, o->name);
        return equals != NULL ? ARGS_WRONG : ARGS_RUN;
    }
    const char *given = option_value(equals != NULL ? equals + 1 : NULL, argc, argv, i);
    if (given == NULL || given[0] == '\0') {
        ctl_complain("%s: --%s needs a value: --%s %s", call->command->name, o->name, o->name, o->value);
        return ARGS_WRONG;
    }
    *slot = given;
    return ARGS_RUN;
}

static enum args_result one_option(struct ctl_call *call, int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    if (strcmp(arg, "-h") == 0)
        return ARGS_HELP;
    if (strcmp(arg, "-c") != 0) {
        if (arg[1] == '-')
            return long_option(call, argc, argv, i);
        return unknown_option(call->command, arg, slice_of(arg + 1));
    }
    if (*i + 1 == argc) {
        ctl_complain("%s: -c needs a value: -c FILE", call->command->name);
        return ARGS_WRONG;
    }
    call->conf_path = argv[++*i];
    return ARGS_RUN;
}

/* Whether all is there that must be, and nothing too much. */
static enum args_result check(const struct ctl_call *call)
{
    const struct ctl_command *command = call->command;

    for (size_t i = 0; command->options[i].name != NULL; i++) {
        const struct ctl_option *o = &command->options[i];
        if (!o->required || call->values[i] != NULL)
            continue;
        ctl_complain("%s: --%s %s is missing: %s", command->name, o->name, o->value, o->help);
        return ARGS_WRONG;
    }
    if (command->operands == NULL && call->n_operands > 0)
        ctl_complain("%s: \"%s\" is one word too many: see posternctl help %s", command->name, call->operands[0],
                     command->name);
    else if (command->operands != NULL && call->n_operands == 0)
        ctl_complain("%s: %s is missing: see posternctl help %s", command->name, command->operands, command->name);
    else
        return ARGS_RUN;
    return ARGS_WRONG;
}

enum args_result args_parse(struct ctl_call *call, int argc, char **argv)
{
    bool only_operands = false;

    call->operands = argv;
    for (int i = 0; i < argc; i++) {
        if (only_operands || argv[i][0] != '-' || argv[i][1] == '\0') {
            argv[call->n_operands++] = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            only_operands = true;
            continue;
        }
        enum args_result result = one_option(call, argc, argv, &i);
        if (result != ARGS_RUN)
            return result;
    }
    return check(call);
}
