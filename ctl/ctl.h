/*
 * What the commands of posternctl share: a row of the command table, what was
 * typed, and the exit status.  Each command is one file that ends in its row.
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "postern/base.h"

/* Exit status, the same for every command. */
enum ctl_exit {
    CTL_DONE = 0,  /* done */
    CTL_NO = 1,    /* asked and answered, and the answer is no: the chain is broken, an ID could not be released */
    CTL_FAILED = 2 /* not asked: wrong usage or configuration, daemon or store out of reach */
};

struct ctl_option {
    const char *name;  /* without the dashes */
    const char *value; /* what follows it: "ID"; NULL: a flag */
    const char *help;
    bool required;
};

#define CTL_OPTIONS_MAX 10

struct ctl_command;

/* One command line, taken apart.  Borrows argv. */
struct ctl_call {
    const struct ctl_command *command;
    const char *conf_path;
    const char *values[CTL_OPTIONS_MAX]; /* by the command's options: NULL = not given, "" for a flag */
    char **operands;
    int n_operands;
};

struct ctl_command {
    const char *name;                               /* "explain", "deferred list": one or two words */
    const char *summary;                            /* one line of the list of commands */
    const char *operands;                           /* "ID...": one at least; NULL: takes none */
    struct ctl_option options[CTL_OPTIONS_MAX + 1]; /* ends with a row without name */
    const char *help;                               /* what else is worth knowing; whole lines */
    enum ctl_exit (*run)(const struct ctl_call *call);
};

extern const struct ctl_command ctl_explain;
extern const struct ctl_command ctl_deferred_list;
extern const struct ctl_command ctl_deferred_release;
extern const struct ctl_command ctl_deferred_cancel;
extern const struct ctl_command ctl_audit_verify;
extern const struct ctl_command ctl_packs;
extern const struct ctl_command ctl_replay;

/* One line on stderr: "posternctl: ...". */
void ctl_complain(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
