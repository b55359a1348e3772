/*
 * The bench's SMTP client: smtp-source (of Postfix) with a login and random recipients.  So many sessions, each
 * waiting for every reply as smtp-source does; with --reuse a session stays for one message after another, else each
 * message has a connection.  Prints one line of JSON as blast does; latency counts from MAIL (a connection of its own:
 * from connect) to the reply to the dot.
 *
 * The one idea: a session is a step in a table; a reply of the wanted class takes it to the next.
 */
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define MAX_SESSIONS 4096
#define REPLY_BYTES  4096

enum step { GREETING, HELLO, AUTH, MAIL, RCPT, DATA, CONTENT, QUIT };
static const char *const step_names[] = {"greeting", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "content", "QUIT"};

struct session {
    int fd;
    enum step step; /* whose reply is awaited */
    bool over;
    int64_t began_ns;
    uint64_t person;
    size_t got;
    char in[REPLY_BYTES];
};

static struct {
    int port, sessions, seconds, length;
    uint64_t messages, people;
    bool reuse;
    const char *user, *secret;
} opt = {.sessions = 20, .seconds = 5, .length = 1200, .people = 20000};

static char auth[512], body[1 << 20];
static struct session sessions[MAX_SESSIONS];
static int epoll_fd, n_open;
static int n_begun; /* one after the other at the start: OpenSMTPD's backlog is 5 */
static int64_t end_ns;

static bool more_to_send(void)
{
    return opt.messages > 0 ? started < opt.messages : now_ns() < end_ns;
}

static void put(struct session *s, const char *bytes, size_t n, enum step awaits)
{
    s->step = awaits;
    if (send(s->fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
        die("send");
}

static void say(struct session *s, enum step awaits, const char *line)
{
    put(s, line, strlen(line), awaits);
}

static void open_session(struct session *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    int on = 1;

    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    *s = (struct session){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), .began_ns = now_ns()};
    if (s->fd == -1 || (connect(s->fd, (struct sockaddr *)&to, sizeof to) == -1 && errno != EINPROGRESS))
        die("connect");
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e) == -1)
        die("epoll_ctl");
    n_open++;
}

static void begin(struct session *s)
{
    if (opt.reuse)
        s->began_ns = now_ns();
    s->person = random_below(opt.people);
    say(s, MAIL, "MAIL FROM:<news@shop.example>\r\n");
}

static void write_rcpt(struct session *s)
{
    char line[128];
    snprintf(line, sizeof line, "RCPT TO:<r%07" PRIu64 ".n@example.com>\r\n", s->person);
    say(s, RCPT, line);
}

/* As mail programs write it: of this second. */
static const char *date(void)
{
    static char text[64];
    static time_t of;
    struct timespec now;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != of && gmtime_r(&now.tv_sec, &tm) != NULL)
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    of = now.tv_sec;
    return text;
}

static void write_content(struct session *s)
{
    static char text[(1 << 20) + 1024];
    static uint64_t n;
    int length = snprintf(text, sizeof text,
                          "From: <news@shop.example>\r\nTo: <r%07" PRIu64 ".n@example.com>\r\n"
                          "Date: %s\r\nMessage-Id: <%d.%" PRIu64 ".%" PRId64
                          "@shop.example>\r\nSubject: This week in the shop\r\n\r\n%s.\r\n",
                          s->person, date(), getpid(), n++, now_ns(), body);
    put(s, text, (size_t)length, CONTENT);
}

/* After the reply to a message, or to the login. */
static void next_message(struct session *s)
{
    if (!more_to_send() || (s->step == CONTENT && !opt.reuse)) {
        say(s, QUIT, "QUIT\r\n");
        return;
    }
    started++;
    begin(s);
}

static void close_session(struct session *s)
{
    close(s->fd);
    n_open--;
    s->over = !more_to_send();
    if (!s->over)
        open_session(s);
}

static void advance(struct session *s)
{
    static const char wanted[] = {'2', '2', '2', '2', '2', '3', '2', '2'};

    if (s->in[0] != wanted[s->step]) {
        fprintf(stderr, "mails: %s was answered %.*s\n", step_names[s->step], (int)s->got, s->in);
        exit(1);
    }
    s->got = 0;
    switch (s->step) {
    case GREETING:
        if (n_begun < opt.sessions && more_to_send())
            open_session(&sessions[n_begun++]);
        say(s, HELLO, "EHLO client.example\r\n");
        break;
    case HELLO:
        if (opt.user != NULL)
            say(s, AUTH, auth);
        else
            next_message(s);
        break;
    case AUTH:
        next_message(s);
        break;
    case MAIL:
        write_rcpt(s);
        break;
    case RCPT:
        say(s, DATA, "DATA\r\n");
        break;
    case DATA:
        write_content(s);
        break;
    case CONTENT:
        note_answer(2, now_ns() - s->began_ns);
        next_message(s);
        break;
    case QUIT:
        close_session(s);
        break;
    }
}

/* Whole once its last line, with a blank behind the code, has its LF. */
static bool whole(const struct session *s)
{
    const char *line = s->in, *end = s->in + s->got;

    for (const char *lf; (lf = memchr(line, '\n', (size_t)(end - line))) != NULL; line = lf + 1)
        if (lf - line >= 4 && line[3] != '-')
            return true;
    return false;
}

static void on_readable(struct session *s)
{
    ssize_t n = recv(s->fd, s->in + s->got, REPLY_BYTES - s->got, 0);

    if (n == -1 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("the server closed a connection");
    s->got += (size_t)n;
    if (whole(s))
        advance(s);
}

static void run(void)
{
    struct epoll_event events[256];
    int64_t start = now_ns();

    end_ns = start + opt.seconds * INT64_C(1000000000);
    open_session(&sessions[n_begun++]);
    while (n_open > 0) {
        int n = epoll_wait(epoll_fd, events, 256, 20000);
        if (n == -1 && errno != EINTR)
            die("epoll_wait");
        if (n == 0)
            die("replies are missing");
        for (int i = 0; i < n; i++)
            on_readable(events[i].data.ptr);
    }
    print_figures(start);
}

static void base64(const unsigned char *in, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < n ? digits[v & 63] : '=';
    }
    *out = '\0';
}

static void build(void)
{
    char plain[256], coded[400];
    char *at = body;

    for (int left = opt.length; left > 0;) {
        int n = left < 80 ? left : 80;
        memset(at, 'X', (size_t)(n > 2 ? n - 2 : 1));
        at += n > 2 ? n - 2 : 1;
        *at++ = '\r', *at++ = '\n';
        left -= n;
    }
    if (opt.user == NULL)
        return;
    int n = snprintf(plain, sizeof plain, "%c%s%c%s", '\0', opt.user, '\0', opt.secret);
    base64((const unsigned char *)plain, (size_t)n, coded);
    snprintf(auth, sizeof auth, "AUTH PLAIN %s\r\n", coded);
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"port", 1, NULL, 'p'},   {"sessions", 1, NULL, 'c'}, {"seconds", 1, NULL, 's'}, {"messages", 1, NULL, 'n'},
        {"people", 1, NULL, 'P'}, {"length", 1, NULL, 'l'},   {"reuse", 0, NULL, 'd'},   {"user", 1, NULL, 'u'},
        {"secret", 1, NULL, 'k'}, {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (c) {
        case 'p':
            opt.port = (int)strtol(optarg, NULL, 10);
            break;
        case 'c':
            opt.sessions = (int)strtol(optarg, NULL, 10);
            break;
        case 's':
            opt.seconds = (int)strtol(optarg, NULL, 10);
            break;
        case 'n':
            opt.messages = strtoull(optarg, NULL, 10);
            break;
        case 'P':
            opt.people = strtoull(optarg, NULL, 10);
            break;
        case 'l':
            opt.length = (int)strtol(optarg, NULL, 10);
            break;
        case 'd':
            opt.reuse = true;
            break;
        case 'u':
            opt.user = optarg;
            break;
        case 'k':
            opt.secret = optarg;
            break;
        default:
            exit(2);
        }
    }
    if (opt.port == 0 || opt.people == 0 || opt.sessions > MAX_SESSIONS || opt.length > (1 << 20) - 1024 ||
        (opt.user == NULL) != (opt.secret == NULL)) {
        fprintf(stderr, "usage: mails --port N [--sessions 20] [--seconds 5 | --messages N] [--reuse] [--length 1200]\n"
                        "             [--people 20000] [--user NAME --secret TEXT]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    build();
    seed += (uint64_t)now_ns();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    run();
    return 0;
}
