/* postern.yaml: any bytes are a configuration, or refused with place and reason.  file:/ references are skipped. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gateway/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char path[40];
    struct errmsg e = {""};
    if (n > 8192 || memmem(data, n, "file:/", 6) != NULL)
        return 0;
    int fd = memfd_create("postern.yaml", MFD_CLOEXEC);
    ensure(fd != -1 && write(fd, data, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct conf *c = conf_load(path, &e);
    close(fd);
    if (c == NULL)
        ensure(strncmp(e.text, path, strlen(path)) == 0 && slice_is_utf8(slice_of(e.text)));
    else
        ensure(c->listen_http != NULL && c->route[CHANNEL_EMAIL] != NULL && c->route[CHANNEL_SMS] != NULL);
    conf_free(&c);
    return 0;
}
