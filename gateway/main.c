/*
 * posternd: reads its options and its configuration, opens the gateway, runs it.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway.h"
#include "postern/log.h"
#include "process.h"
#include "workers.h"

static const char usage[] = "usage: posternd -c postern.yaml [--check] [--allow-core]\n"
                            "  -c FILE    configuration\n"
                            "  --check    validate the configuration and exit: 0 when it is good, else 1\n"
                            "  --allow-core\n"
                            "             let a crash leave a core file: it holds messages and secrets\n"
                            "  --version  print the version and exit\n";

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'n'},
        {"allow-core", no_argument, NULL, 'k'},   {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    const char *path = NULL;
    bool check = false, with_cores = false;
    struct errmsg e;
    int opt;

    while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (opt) {
        case 'c':
            path = optarg;
            break;
        case 'n':
            check = true;
            break;
        case 'k':
            with_cores = true;
            break;
        case 'V':
            puts("posternd " POSTERN_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 1;
        }
    }
    if (path == NULL || optind != argc) {
        fputs(usage, stderr);
        return 1;
    }
    process_set_up(with_cores);
    struct conf *conf = conf_load(path, &e);
    if (conf == NULL) {
        fprintf(stderr, "posternd: %s\n", e.text);
        return 1;
    }
    if (check) {
        printf("%s: configuration OK\n", path);
        conf_free(&conf);
        return 0;
    }
    log_set_level((enum log_level)conf->log_level);
    if (conf->workers > 1)
        return workers_run(conf);
    struct gateway *g = gateway_new(conf, NULL, &e);
    if (g == NULL) {
        fprintf(stderr, "posternd: %s\n", e.text);
        return 1;
    }
    gateway_exit(&g, gateway_run(g));
}
