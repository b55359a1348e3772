/*
 * The bench's provider: reads requests off keep-alive connections and answers each
 * as SendGrid does, 202 with a message id and no body.  As cheap as a server can be:
 * one epoll loop, one recv and one send for each message, nothing kept.
 * SIGTERM ends it; what it counted goes to stdout.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FDS      8192
#define REQUEST_MAX  65536
#define ANSWER_START "HTTP/1.1 202 Accepted\r\nServer: bench\r\nContent-Length: 0\r\nX-Message-Id: "

static struct {
    char *in;
    size_t got;
} connections[MAX_FDS];
static uint64_t messages;
static volatile sig_atomic_t ends;

static void on_term(int sig)
{
    (void)sig;
    ends = 1;
}

static void die(const char *what)
{
    fprintf(stderr, "provider: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void forget(int fd)
{
    free(connections[fd].in);
    connections[fd].in = NULL;
    close(fd);
}

static bool answer(int fd)
{
    char text[256];
    int n = snprintf(text, sizeof text, ANSWER_START "b%021llu\r\n\r\n", (unsigned long long)++messages);
    return send(fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

/* 0: not whole yet. */
static size_t request_bytes(const char *in, size_t got)
{
    const char *end = memmem(in, got, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end + 4 - in);
    const char *length = strcasestr(in, "\r\ncontent-length:");
    size_t whole = head + (length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0);
    return got >= whole ? whole : 0;
}

static void on_readable(int fd)
{
    char *in = connections[fd].in;
    size_t *got = &connections[fd].got;
    ssize_t n = recv(fd, in + *got, REQUEST_MAX - 1 - *got, MSG_DONTWAIT);
    if (n == -1 && errno == EAGAIN)
        return;
    if (n <= 0) {
        forget(fd);
        return;
    }
    *got += (size_t)n;
    in[*got] = '\0';
    for (size_t whole; (whole = request_bytes(in, *got)) > 0;) {
        memmove(in, in + whole, *got - whole + 1);
        *got -= whole;
        if (!answer(fd)) {
            forget(fd);
            return;
        }
    }
}

static void on_accept(int listener, int epoll_fd)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd == -1 || fd >= MAX_FDS) {
        close(fd);
        return;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connections[fd].in = malloc(REQUEST_MAX);
    connections[fd].got = 0;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)(argc > 1 ? strtol(argv[1], NULL, 10) : 0))};
    struct sigaction term = {.sa_handler = on_term};
    sigaction(SIGTERM, &term, NULL);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    inet_pton(AF_INET, "127.0.0.1", &at.sin_addr);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) == -1 || listen(listener, 1024) == -1)
        die("cannot listen (usage: provider PORT)");
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = listener}, ready[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    while (!ends) {
        int n = epoll_wait(epoll_fd, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            if (ready[i].data.fd == listener)
                on_accept(listener, epoll_fd);
            else
                on_readable(ready[i].data.fd);
        }
    }
    printf("{\"messages\":%llu}\n", (unsigned long long)messages);
    return 0;
}
