/* Secrets by reference: "env:NAME", "file:/path" (mode 0600 or stricter), "credential:NAME" (of systemd), or the value.
 */
#ifndef POSTERN_SECRET_H
#define POSTERN_SECRET_H

#include "postern/base.h"

#define SECRET_MAX 4096

/* Returns the value, owned by the caller (free with secret_free), or NULL with the reason in e. */
char *secret_load(const char *ref, struct errmsg *e) NODISCARD;
/* Wipes and frees; accepts a pointer to NULL. */
void secret_free(char **s);

#endif
