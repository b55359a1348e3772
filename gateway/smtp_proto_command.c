/*
 * What the commands of SMTP mean (RFC 5321 section 4.1.1, RFC 3207, RFC 6409): a table of them, and what each needs
 * before it.  Who may send to whom is not known here: MAIL and RCPT that are in order go to the machine's user.
 */
#include "smtp_proto_parts.h"

#include <stdio.h>

static enum smtp_event refuse_order(struct smtp_proto *p, const char *reply)
{
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_WRONG_ORDER, reply);
}

static enum smtp_event refuse_syntax(struct smtp_proto *p, const char *reply)
{
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_SYNTAX, reply);
}

/* 501 5.5.4 and 555 are about parameters, the others about the address. */
static enum smtp_event refuse_arguments(struct smtp_proto *p, const struct smtp_fault *f)
{
    snprintf(p->out, sizeof p->out, "%d %s %s\r\n", f->code, f->enhanced, f->text);
    bool syntax = strcmp(f->enhanced, "5.5.4") == 0;
    return smtp_proto_refuse(p, syntax ? SMTP_PROTO_FAULT_SYNTAX : SMTP_PROTO_FAULT_ADDRESS, p->out);
}

/*
 * A domain or address literal, if only nearly: hosts have odd names.  Printable ASCII is what run() lets through; of
 * that, nothing that would mean something else in a header field (RFC 5321 section 4.4 wants it in Received).
 */
static bool is_client(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (strchr(" <>()\",;\\@", s.p[i]) != NULL)
            return false;
    }
    return s.n <= SMTP_CLIENT_MAX;
}

static void greeted(struct smtp_proto *p, struct slice client, bool is_esmtp)
{
    memcpy(p->name, client.p, client.n);
    p->client = (struct slice){p->name, client.n};
    p->is_esmtp = is_esmtp;
    smtp_proto_end_mail(p);
}

static enum smtp_event run_helo(struct smtp_proto *p, struct slice argument)
{
    if (!is_client(argument))
        return refuse_syntax(p, "501 5.5.4 Syntax: HELO hostname\r\n");
    greeted(p, argument, false);
    snprintf(p->out, sizeof p->out, "250 %s\r\n", p->opt.host);
    return smtp_proto_reply_idle(p, p->out);
}

/* Behind what p->out holds already; how much that is now. */
static size_t put(struct smtp_proto *p, size_t at, const char *words)
{
    size_t n = strlen(words);
    ensure(n < sizeof p->out - at);
    memcpy(p->out + at, words, n + 1);
    return at + n;
}

static enum smtp_event run_ehlo(struct smtp_proto *p, struct slice argument)
{
    if (!is_client(argument))
        return refuse_syntax(p, "501 5.5.4 Syntax: EHLO hostname\r\n");
    greeted(p, argument, true);
    char size[32];
    snprintf(size, sizeof size, "SIZE %llu", (unsigned long long)p->opt.max_message_bytes);
    const char *lines[9] = {p->opt.host, "PIPELINING", size, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN"};
    size_t n = 7;
    if (p->opt.offers_tls && !p->tls_on)
        lines[n++] = "STARTTLS";
    if (smtp_proto_auth_is_allowed(p))
        lines[n++] = "AUTH PLAIN LOGIN";
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        at = put(p, at, i + 1 < n ? "250-" : "250 ");
        at = put(p, at, lines[i]);
        at = put(p, at, "\r\n");
    }
    return smtp_proto_reply_idle(p, p->out);
}

static enum smtp_event run_starttls(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    if (p->tls_on)
        return refuse_order(p, "503 5.5.1 TLS is on already\r\n");
    if (!p->opt.offers_tls)
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_UNKNOWN_COMMAND, "502 5.5.1 STARTTLS is not offered\r\n");
    if (!p->is_esmtp)
        return refuse_order(p, "503 5.5.1 Send EHLO first\r\n");
    if (p->in_mail)
        return refuse_order(p, "503 5.5.1 STARTTLS is not permitted during a mail transaction\r\n");
    smtp_proto_reply(p, "220 2.0.0 Ready to start TLS\r\n");
    p->state = SMTP_STATE_HANDSHAKE;
    return SMTP_STARTTLS;
}

static enum smtp_event refuse_login(struct smtp_proto *p)
{
    bool tls_first = p->opt.offers_tls && !smtp_proto_auth_is_allowed(p);
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_NOT_AUTHENTICATED,
                             tls_first ? "530 5.7.0 Must issue a STARTTLS command first\r\n"
                                       : "530 5.7.0 Authentication required\r\n");
}

static enum smtp_event take_mail(struct smtp_proto *p, struct slice argument)
{
    if (p->client.n == 0)
        return refuse_order(p, "503 5.5.1 Send EHLO first\r\n");
    if (!p->authenticated)
        return refuse_login(p);
    if (p->in_mail)
        return refuse_order(p, "503 5.5.1 Nested MAIL command\r\n");
    if (p->n_messages >= p->opt.max_messages)
        return smtp_proto_close(p, SMTP_PROTO_FAULT_TOO_MANY_MESSAGES,
                                "421 4.3.2 Too many messages in one session, closing transmission channel\r\n");
    struct smtp_fault f;
    if (smtp_mail_parse(argument, &p->mail, &f) != OK)
        return refuse_arguments(p, &f);
    if (p->mail.size_bytes > p->opt.max_message_bytes)
        return smtp_proto_refuse(p, SMTP_PROTO_FAULT_TOO_LARGE, "552 5.3.4 Message too big for system\r\n");
    p->argument = argument;
    return smtp_proto_ask(p, SMTP_MAIL);
}

static enum smtp_event run_mail(struct smtp_proto *p, struct slice argument)
{
    if (!p->in_mail)
        p->n_rcpts = 0;
    enum smtp_event event = take_mail(p, argument);
    p->group_lost = event == SMTP_REPLY;
    return event;
}

/* A command that fails because MAIL, pipelined before it, did. */
static enum smtp_event refuse_group(struct smtp_proto *p)
{
    static const char reply[] = "503 5.5.1 Need MAIL command first\r\n";
    if (p->group_lost)
        return smtp_proto_refuse_free(p, SMTP_PROTO_FAULT_WRONG_ORDER, reply);
    return refuse_order(p, reply);
}

static enum smtp_event run_rcpt(struct smtp_proto *p, struct slice argument)
{
    /* Those of a group cost nothing, and so do as many beyond the limit as one may have in the same group. */
    p->n_rcpts++;
    if (p->n_rcpts > 2 * (uint64_t)p->opt.max_recipients)
        return smtp_proto_close(p, SMTP_PROTO_FAULT_TOO_MANY_COMMANDS,
                                "421 4.7.0 Too many recipients, closing transmission channel\r\n");
    if (!p->in_mail)
        return refuse_group(p);
    if (p->n_rcpts > p->opt.max_recipients)
        return smtp_proto_refuse_free(p, SMTP_PROTO_FAULT_TOO_MANY_RECIPIENTS, "452 4.5.3 Too many recipients\r\n");
    struct smtp_fault f;
    if (smtp_rcpt_parse(argument, p->utf8, &p->rcpt, &f) != OK)
        return refuse_arguments(p, &f);
    p->argument = argument;
    return smtp_proto_ask(p, SMTP_RCPT);
}

/* All recipients refused is what decisions may come to, and no error of the client's, unless it insists. */
static enum smtp_event refuse_data(struct smtp_proto *p)
{
    static const char reply[] = "554 5.5.1 No valid recipients\r\n";
    bool insists = p->content_near;
    p->content_near = true;
    if (p->n_rcpts == 0 || insists)
        return refuse_order(p, reply);
    return smtp_proto_refuse_free(p, SMTP_PROTO_FAULT_WRONG_ORDER, reply);
}

static enum smtp_event run_data(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    if (!p->in_mail) {
        enum smtp_event event = refuse_group(p);
        p->group_lost = false; /* DATA is the last of its group */
        p->content_near = true;
        return event;
    }
    if (p->n_accepted == 0)
        return refuse_data(p);
    p->state = SMTP_STATE_DATA;
    p->data = SMTP_DATA_LINE_START;
    p->message_bytes = 0;
    p->too_large = false;
    smtp_proto_reply(p, "354 End data with <CR><LF>.<CR><LF>\r\n");
    return SMTP_DATA;
}

static enum smtp_event run_bdat(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    p->content_near = true;
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_UNKNOWN_COMMAND, "502 5.5.1 CHUNKING is not offered; use DATA\r\n");
}

static enum smtp_event run_rset(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    bool idle = !p->in_mail; /* transactions have a cap of their own */
    smtp_proto_end_mail(p);
    return idle ? smtp_proto_reply_idle(p, "250 2.0.0 Ok\r\n") : smtp_proto_reply(p, "250 2.0.0 Ok\r\n");
}

static enum smtp_event run_noop(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    return smtp_proto_reply_idle(p, "250 2.0.0 Ok\r\n");
}

static enum smtp_event run_vrfy(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    return smtp_proto_reply_idle(p, "252 2.0.0 Cannot VRFY user, but will accept message and attempt delivery\r\n");
}

static enum smtp_event run_expn(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_UNKNOWN_COMMAND, "502 5.5.1 There are no lists to expand\r\n");
}

static enum smtp_event run_help(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    return smtp_proto_reply_idle(p,
                                 "214 2.0.0 EHLO STARTTLS AUTH MAIL RCPT DATA RSET NOOP QUIT: RFC 5321, RFC 6409\r\n");
}

static enum smtp_event run_quit(struct smtp_proto *p, struct slice argument)
{
    (void)argument;
    return smtp_proto_close(p, SMTP_PROTO_FAULT_NONE, "221 2.0.0 Bye\r\n");
}

enum argument { ARGUMENT_NONE, ARGUMENT_MAY, ARGUMENT_MUST };

/* AUTH, which wants to know what is behind it, is not among them. */
static const struct command {
    const char *verb;
    enum argument argument;
    bool waits; /* its reply must be waited for: nothing may be behind it (RFC 2920 section 3.1) */
    bool utf8;  /* may be other than ASCII */
    enum smtp_event (*run)(struct smtp_proto *p, struct slice argument);
} commands[] = {
    {"MAIL", ARGUMENT_MUST, false, true, run_mail},  {"RCPT", ARGUMENT_MUST, false, true, run_rcpt},
    {"DATA", ARGUMENT_NONE, true, false, run_data},  {"EHLO", ARGUMENT_MUST, true, false, run_ehlo},
    {"HELO", ARGUMENT_MUST, true, false, run_helo},  {"STARTTLS", ARGUMENT_NONE, true, false, run_starttls},
    {"RSET", ARGUMENT_NONE, false, false, run_rset}, {"NOOP", ARGUMENT_MAY, false, false, run_noop},
    {"QUIT", ARGUMENT_NONE, false, false, run_quit}, {"VRFY", ARGUMENT_MUST, false, false, run_vrfy},
    {"EXPN", ARGUMENT_MUST, false, false, run_expn}, {"HELP", ARGUMENT_MAY, false, false, run_help},
    {"BDAT", ARGUMENT_MAY, true, false, run_bdat},
};

static const struct command *find_command(struct slice verb)
{
    for (size_t i = 0; i < N_ELEMENTS(commands); i++) {
        if (slice_ieq(verb, slice_of(commands[i].verb)))
            return &commands[i];
    }
    return NULL;
}

static enum smtp_event refuse_unknown(struct smtp_proto *p, bool empty)
{
    if (p->content_near) /* a line of a message: the next ones may look like commands */
        return smtp_proto_close(p, SMTP_PROTO_FAULT_PIPELINING, SMTP_REPLY_PIPELINING);
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_UNKNOWN_COMMAND,
                             empty ? "500 5.5.2 Syntax: expected a command\r\n" : "502 5.5.1 Unknown command\r\n");
}

static bool has_controls(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((s.p[i] >= 0 && s.p[i] < ' ') || s.p[i] == 0x7F)
            return true;
    }
    return false;
}

static bool is_ascii(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((s.p[i] & 0x80) != 0)
            return false;
    }
    return true;
}

static enum smtp_event run(struct smtp_proto *p, const struct command *c, struct slice argument)
{
    if (c->argument == ARGUMENT_NONE && argument.n > 0)
        return refuse_syntax(p, "501 5.5.4 Syntax: the command takes no arguments\r\n");
    if (c->argument == ARGUMENT_MUST && argument.n == 0)
        return refuse_syntax(p, "501 5.5.4 Syntax: the command needs an argument\r\n");
    if (!c->utf8 && !is_ascii(argument))
        return refuse_syntax(p, "501 5.5.4 Syntax: only MAIL and RCPT may be other than ASCII (RFC 6531)\r\n");
    return c->run(p, argument);
}

enum smtp_event smtp_proto_command(struct smtp_proto *p, struct slice line, bool more)
{
    if (p->n_commands > p->opt.max_commands)
        return smtp_proto_reply_idle(p, "");
    const char *space = memchr(line.p, ' ', line.n);
    struct slice verb = {line.p, space == NULL ? line.n : (size_t)(space - line.p)};
    struct slice argument = slice_trim((struct slice){line.p + verb.n, line.n - verb.n});
    const struct command *command = find_command(verb);
    bool auth = slice_ieq(verb, SLICE("AUTH"));
    if (more && command != NULL && command->waits)
        return command->run == run_starttls ? smtp_proto_close(p, SMTP_PROTO_FAULT_TLS_INJECTION, SMTP_REPLY_INJECTION)
                                            : smtp_proto_close(p, SMTP_PROTO_FAULT_PIPELINING, SMTP_REPLY_PIPELINING);
    if (has_controls(line))
        return refuse_syntax(p, "501 5.5.4 Syntax: a control character in the command\r\n");
    if (auth)
        return smtp_proto_auth_begin(p, argument, more);
    return command == NULL ? refuse_unknown(p, line.n == 0) : run(p, command, argument);
}
