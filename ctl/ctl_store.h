/* The store, read only and not through the daemon, for commands that must not depend on it. */
#ifndef CTL_CTL_STORE_H
#define CTL_CTL_STORE_H

#include "../gateway/conf.h"
#include "postern/store.h"

/* NULL: said on stderr why not, and what would help. */
struct store *ctl_store_open(const struct conf *conf) NODISCARD;

#endif
