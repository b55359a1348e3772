/*
 * Transactions of the SMTP listener: what MAIL, RCPT and the data bring, gathered for the user, and his answers.  Does
 * not know how bytes are read, nor when a session ends.
 *
 * The one idea: while the user is asked, the exchange is his; what happens to the client meanwhile only changes where
 * the answer goes.
 */
#include "smtp_session.h"

#define EXCHANGE_MAX_BYTES ((size_t)LIMIT_ARENA_BYTES + 65536u) /* small contents lie in the arena */
#define FIRST_FIELDS       8u

#define NO_ROOM     SLICE("451 4.3.2 System not accepting messages: too many bytes in flight, try again later\r\n")
#define DRAINING    SLICE("421 4.3.2 Service not available, closing transmission channel\r\n")
#define ARENA_SPENT SLICE("452 4.5.3 Too many recipients\r\n")

static bool add_field(struct smtp_exchange *x, struct slice name, struct slice value)
{
    struct smtp_transaction *t = &x->transaction;

    if (t->n_fields == x->cap_fields) {
        size_t cap = x->cap_fields == 0 ? FIRST_FIELDS : 2 * x->cap_fields;
        struct wire_field *fields = arena_calloc(&x->arena, cap, sizeof(*fields));
        if (fields == NULL)
            return false;
        if (t->n_fields > 0)
            memcpy(fields, t->fields, t->n_fields * sizeof(*fields));
        t->fields = fields;
        x->cap_fields = cap;
    }
    t->fields[t->n_fields++] = (struct wire_field){name, value};
    return true;
}

static struct smtp_exchange *exchange_new(struct smtp_session *s)
{
    struct arena arena;

    arena_init(&arena, EXCHANGE_MAX_BYTES);
    struct smtp_exchange *x = arena_alloc(&arena, sizeof(*x));
    ensure(x != NULL);
    x->arena = arena;
    x->listener = s->listener;
    x->session = s;
    x->transaction = (struct smtp_transaction){
        .arena = &x->arena,
        .login = s->login,
        .peer = arena_strndup(&x->arena, s->peer, strlen(s->peer)),
        .tls = s->socket.tls != NULL,
    };
    ensure(x->transaction.peer != NULL);
    return x;
}

void smtp_exchange_free(struct smtp_exchange *x)
{
    http_body_clear(&x->body);
    struct arena arena = x->arena;
    arena_clear(&arena);
}

struct slice smtp_exchange_begin(struct smtp_session *s)
{
    struct smtp_listener *l = s->listener;
    const struct smtp_listen_options *o = &l->options;
    const char *why = o->refuses != NULL ? o->refuses(false, o->arg) : NULL;

    ensure(s->exchange == NULL);
    if (l->draining)
        return DRAINING;
    if (why != NULL)
        return slice_of(why);
    struct smtp_exchange *x = exchange_new(s);
    const struct http_head announced = {.content_length = s->proto.mail.size_bytes};
    struct slice mail = arena_slice(&x->arena, s->proto.argument);
    ensure(mail.p != NULL && add_field(x, SLICE("MAIL"), mail));
    if (http_body_init(&x->body, &announced, (size_t)s->proto.opt.max_message_bytes, &x->arena, &l->budget) !=
        HTTP_FAULT_NONE) {
        smtp_exchange_free(x);
        return NO_ROOM;
    }
    s->exchange = x;
    return (struct slice){0};
}

static void ask(struct smtp_exchange *x, enum smtp_exchange_state state)
{
    struct smtp_listener *l = x->listener;

    x->state = state;
    TAILQ_INSERT_TAIL(&l->asked, x, in_listener);
    l->counters.unanswered++;
    if (state == SMTP_EXCHANGE_MESSAGE)
        l->options.message(&x->transaction, l->options.arg);
    else
        l->options.recipient(&x->transaction, l->options.arg);
}

/* What the client hears: 250, that reply, or that there is no room for the recipient. */
static struct slice recipient_answered(struct smtp_exchange *x, struct slice reply)
{
    if (reply.n > 0 && reply.p[0] != '2')
        return reply;
    if (!add_field(x, SLICE("RCPT"), x->transaction.rcpt))
        return ARENA_SPENT;
    x->session->listener->counters.recipients++;
    return reply;
}

void smtp_exchange_recipient(struct smtp_exchange *x, struct slice argument)
{
    x->transaction.rcpt = arena_slice(&x->arena, argument);
    if (x->transaction.rcpt.p == NULL)
        smtp_session_answered(x->session, ARENA_SPENT);
    else if (x->listener->options.recipient == NULL)
        smtp_session_answered(x->session, recipient_answered(x, (struct slice){0}));
    else
        ask(x, SMTP_EXCHANGE_RECIPIENT);
}

/* The machine holds the size to its limit; what may be missing is room among all the others. */
void smtp_exchange_add(struct smtp_exchange *x, struct slice piece)
{
    if (!x->no_room && http_body_add(&x->body, piece) != HTTP_FAULT_NONE) {
        x->no_room = true;
        http_body_clear(&x->body);
    }
}

void smtp_exchange_message(struct smtp_exchange *x)
{
    struct smtp_session *s = x->session;
    struct slice client = arena_slice(&x->arena, s->proto.client);

    if (!x->no_room && client.p != NULL && add_field(x, SLICE("CLIENT"), client)) {
        x->transaction.rcpt = (struct slice){0};
        x->transaction.content = (struct slice){x->body.p, x->body.n};
        x->listener->counters.messages++;
        ask(x, SMTP_EXCHANGE_MESSAGE);
        return;
    }
    s->exchange = NULL;
    smtp_exchange_free(x);
    smtp_session_answered(s, NO_ROOM);
}

void smtp_exchange_orphan(struct smtp_exchange *x)
{
    x->session = NULL;
    if (x->state == SMTP_EXCHANGE_READING)
        smtp_exchange_free(x);
}

void smtp_transaction_answer(struct smtp_transaction *t, struct slice reply)
{
    struct smtp_exchange *x = (struct smtp_exchange *)t;
    struct smtp_session *s = x->session;
    bool over = x->state == SMTP_EXCHANGE_MESSAGE || s == NULL;

    ensure(x->state != SMTP_EXCHANGE_READING);
    if (x->listener != NULL) {
        TAILQ_REMOVE(&x->listener->asked, x, in_listener);
        x->listener->counters.unanswered--;
        if (x->listener->draining)
            smtp_listener_wake(x->listener); /* this may have been the last */
    }
    if (s != NULL && over) {
        s->exchange = NULL;
    } else if (s != NULL) {
        x->state = SMTP_EXCHANGE_READING;
        reply = recipient_answered(x, reply);
    }
    if (s != NULL)
        smtp_session_answered(s, reply);
    if (over)
        smtp_exchange_free(x); /* the reply may lie in its arena */
}
