/* Opens the store of a configuration read only; knows what stands in the way of people who try. */
#include "ctl_store.h"

#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "postern/clock.h"

static void complain_of_store(const char *url, const struct errmsg *e)
{
    const char *path = strchr(url, ':') != NULL ? strchr(url, ':') + 1 : url;

    ctl_complain("%s", e->text);
    if (access(path, F_OK) == -1 && path[0] != '/')
        ctl_complain("store %s is relative: run posternctl in the working directory of posternd", url);
    else if (access(path, R_OK) == -1)
        ctl_complain("store %s: run posternctl as the user who runs posternd", url);
}

struct store *ctl_store_open(const struct conf *conf)
{
    struct errmsg e = {{0}};
    struct store_options options = {
        .url = conf->store_url,
        .audit_key = slice_of(conf->audit_key),
        .now_ms = clock_wall_ms(),
        .read_only = true,
    };
    struct store *store = store_open(&options, &e);

    if (store == NULL)
        complain_of_store(conf->store_url, &e);
    return store;
}
