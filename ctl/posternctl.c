/*
 * posternctl: the operator's commands.  Finds the command in the one table below,
 * lets ctl_args.c take the rest of the line apart, and runs it.  Knows nothing of
 * what a command does; a new command is a file and a row.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctl_args.h"
#include "postern/spelling.h"

static const char conf_default[] = "postern.yaml";

static const struct ctl_command *const commands[] = {
    &ctl_explain, &ctl_deferred_list, &ctl_deferred_release, &ctl_deferred_cancel, &ctl_audit_verify,
    &ctl_replay,  &ctl_packs,
};

static void print_usage(FILE *out)
{
    fputs("usage: posternctl [-c FILE] COMMAND ...\n\n", out);
    for (size_t i = 0; i < N_ELEMENTS(commands); i++)
        fprintf(out, "  %-18s%s\n", commands[i]->name, commands[i]->summary);
    fputs("  help COMMAND      what a command does, and its options\n"
          "\n"
          "  -c, --config FILE configuration of the daemon; postern.yaml when not given\n"
          "  -h, --help        print this\n"
          "  -V, --version     print the version\n"
          "\n"
          "Exit status: 0 done; 1 the answer is no (a broken chain, an ID that could not be released);\n"
          "2 it could not be asked (usage, configuration, daemon or store out of reach).\n",
          out);
}

/* How many of the words name the command; 0 when they do not. */
static int words_of(const struct ctl_command *command, int argc, char **argv)
{
    const char *blank = strchr(command->name, ' ');
    if (blank == NULL)
        return argc > 0 && strcmp(command->name, argv[0]) == 0 ? 1 : 0;
    size_t n = (size_t)(blank - command->name);
    if (argc < 2 || strlen(argv[0]) != n || memcmp(command->name, argv[0], n) != 0)
        return 0;
    return strcmp(blank + 1, argv[1]) == 0 ? 2 : 0;
}

/* The command, and of how many words its name is; 0 words: none. */
static const struct ctl_command *find_command(int argc, char **argv, int *n_words)
{
    for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
        *n_words = words_of(commands[i], argc, argv);
        if (*n_words > 0)
            return commands[i];
    }
    return NULL;
}

/* True when word is the first of several commands' two ("deferred"), which are then listed. */
static bool list_family(const char *word, FILE *out)
{
    size_t n = strlen(word);
    bool any = false;
    for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
        if (strncmp(commands[i]->name, word, n) != 0 || commands[i]->name[n] != ' ')
            continue;
        if (!any)
            fprintf(out, "usage: posternctl [-c FILE] %s ...\n\n", word);
        any = true;
        fprintf(out, "  %-18s%s\n", commands[i]->name, commands[i]->summary);
    }
    return any;
}

/* The command whose name is nearest to what was typed: to its one word or its first two. */
static const char *nearest_command(int argc, char **argv)
{
    char typed[64];
    const char *nearest = NULL;
    unsigned best = 4;

    for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
        bool two = strchr(commands[i]->name, ' ') != NULL && argc > 1 && argv[1][0] != '-';
        snprintf(typed, sizeof typed, "%.30s%s%.30s", argv[0], two ? " " : "", two ? argv[1] : "");
        unsigned distance = spelling_distance(typed, commands[i]->name);
        if (distance < best) {
            best = distance;
            nearest = commands[i]->name;
        }
    }
    return nearest;
}

static enum ctl_exit unknown_command(int argc, char **argv)
{
    bool two = argc > 1 && argv[1][0] != '-';
    const char *nearest = nearest_command(argc, argv);

    if (nearest != NULL)
        ctl_complain("unknown command \"%s%s%s\": did you mean \"posternctl %s\"?", argv[0], two ? " " : "",
                     two ? argv[1] : "", nearest);
    else if (!list_family(argv[0], stderr))
        ctl_complain("unknown command \"%s\": the commands are listed by posternctl --help", argv[0]);
    return CTL_FAILED;
}

static enum ctl_exit help(int argc, char **argv)
{
    int n_words;
    if (argc == 0) {
        print_usage(stdout);
        return CTL_DONE;
    }
    const struct ctl_command *command = find_command(argc, argv, &n_words);
    if (n_words > 0)
        args_print_help(command, stdout);
    else if (argc > 1 || !list_family(argv[0], stdout))
        return unknown_command(argc, argv);
    return CTL_DONE;
}

static enum ctl_exit run(const char *conf_path, int argc, char **argv)
{
    int n_words;

    if (strcmp(argv[0], "help") == 0)
        return help(argc - 1, argv + 1);
    const struct ctl_command *command = find_command(argc, argv, &n_words);
    if (n_words == 0) {
        bool asks_help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
        return asks_help ? help(1, argv) : unknown_command(argc, argv);
    }
    struct ctl_call call = {.command = command, .conf_path = conf_path};
    switch (args_parse(&call, argc - n_words, argv + n_words)) {
    case ARGS_HELP:
        args_print_help(command, stdout);
        return CTL_DONE;
    case ARGS_WRONG:
        return CTL_FAILED;
    case ARGS_RUN:
        break;
    }
    return command->run(&call);
}

/* Everything before the command: -c FILE, --help, --version. */
static enum ctl_exit options_and_command(int argc, char **argv)
{
    const char *conf_path = conf_default;
    int i = 1;

    for (; i < argc && argv[i][0] == '-'; i++) {
        const char *arg = argv[i];
        if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0)
            return help(argc - i - 1, argv + i + 1);
        if (strcmp(arg, "-V") == 0 || strcmp(arg, "--version") == 0) {
            puts("posternctl " POSTERN_VERSION);
            return CTL_DONE;
        }
        if (strncmp(arg, "--config=", 9) == 0 && arg[9] != '\0') {
            conf_path = arg + 9;
        } else if ((strcmp(arg, "-c") == 0 || strcmp(arg, "--config") == 0) && i + 1 < argc) {
            conf_path = argv[++i];
        } else {
            ctl_complain("%s: expected -c FILE and a command: see posternctl --help", arg);
            return CTL_FAILED;
        }
    }
    if (i == argc) {
        print_usage(stderr);
        return CTL_FAILED;
    }
    return run(conf_path, argc - i, argv + i);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    enum ctl_exit status = options_and_command(argc, argv);
    /* A report that did not reach its file is not a success. */
    if (fflush(stdout) != 0 || ferror(stdout)) {
        ctl_complain("the output could not be written: is the disk full, or the pipe closed?");
        return CTL_FAILED;
    }
    return (int)status;
}
