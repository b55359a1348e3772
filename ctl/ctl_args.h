/* The command line: options and operands by the command's own table, with help from the same table. */
#ifndef CTL_CTL_ARGS_H
#define CTL_CTL_ARGS_H

#include <stdio.h>

#include "ctl.h"

enum args_result { ARGS_RUN, ARGS_HELP, ARGS_WRONG };

/*
 * Take apart what follows the command's name.  argv is reordered: operands move to its front.
 * ARGS_HELP: --help was among it.  ARGS_WRONG: said on stderr what is wrong and what would be right.
 */
enum args_result args_parse(struct ctl_call *call, int argc, char **argv) NODISCARD;

void args_print_help(const struct ctl_command *command, FILE *out);

#endif
