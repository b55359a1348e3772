/*
 * The content of a message, from 354 to the dot (RFC 5321 sections 4.1.1.4 and 4.5.2): pieces of the input as it came,
 * less the dots that were stuffed.  Does not look into it.
 *
 * The idea: only CRLF is a line's end and only CRLF.CRLF the message's.  A receiver that took LF.LF for it would see
 * two messages where we decided about one, so a bare CR or LF, or a NUL, ends the session and the message with it.
 */
#include "smtp_proto_parts.h"

static enum smtp_event end_message(struct smtp_proto *p)
{
    if (!p->too_large)
        return smtp_proto_ask(p, SMTP_MESSAGE);
    p->state = SMTP_STATE_COMMAND;
    smtp_proto_end_mail(p);
    return smtp_proto_refuse(p, SMTP_PROTO_FAULT_TOO_LARGE, "552 5.3.4 Message too big for system\r\n");
}

/* False: there is none, or it is of a message that is refused in the end. */
static bool give(struct smtp_proto *p, struct slice piece)
{
    p->message_bytes += piece.n;
    p->too_large = p->too_large || p->message_bytes > p->opt.max_message_bytes;
    p->piece = piece;
    return piece.n > 0 && !p->too_large;
}

/* A CR, LF or NUL, or what comes where the LF of a CRLF is due. */
static enum smtp_proto_fault after_byte(struct smtp_proto *p, char c)
{
    bool after_cr = p->data == SMTP_DATA_CR || p->data == SMTP_DATA_DOT_CR;
    if (after_cr != (c == '\n'))
        return after_cr ? SMTP_PROTO_FAULT_BARE_CR : SMTP_PROTO_FAULT_BARE_LF;
    if (c == '\0')
        return SMTP_PROTO_FAULT_NUL;
    if (c == '\r')
        p->data = p->data == SMTP_DATA_DOT ? SMTP_DATA_DOT_CR : SMTP_DATA_CR;
    else
        p->data = p->data == SMTP_DATA_DOT_CR ? SMTP_DATA_END : SMTP_DATA_LINE_START;
    return SMTP_PROTO_FAULT_NONE;
}

static void consume(struct slice *in, size_t n)
{
    in->p += n;
    in->n -= n;
}

/* As many lines as there are before a dot at a line's start; such a dot, if they begin with one, is left out. */
static enum smtp_proto_fault take_lines(struct smtp_proto *p, struct slice *in, struct slice *piece)
{
    *piece = (struct slice){in->p, 0};
    while (in->n > 0 && p->data != SMTP_DATA_END) {
        if (p->data == SMTP_DATA_LINE_START && in->p[0] == '.') {
            if (piece->n > 0)
                break;
            p->data = SMTP_DATA_DOT;
            consume(in, 1);
            piece->p = in->p;
            continue;
        }
        bool lf_is_due = p->data == SMTP_DATA_CR || p->data == SMTP_DATA_DOT_CR;
        size_t n = lf_is_due ? 0 : smtp_proto_text_bytes(*in);
        if (n > 0)
            p->data = SMTP_DATA_IN_LINE;
        piece->n += n;
        consume(in, n);
        if (in->n == 0)
            break;
        bool behind_dot = p->data == SMTP_DATA_DOT || p->data == SMTP_DATA_DOT_CR;
        enum smtp_proto_fault fault = after_byte(p, in->p[0]);
        if (fault != SMTP_PROTO_FAULT_NONE)
            return fault;
        piece->n += behind_dot ? 0 : 1;
        consume(in, 1);
    }
    return SMTP_PROTO_FAULT_NONE;
}

enum smtp_event smtp_proto_data_step(struct smtp_proto *p, struct slice *in)
{
    while (in->n > 0) {
        struct slice piece;
        enum smtp_proto_fault fault = take_lines(p, in, &piece);
        if (fault != SMTP_PROTO_FAULT_NONE)
            return smtp_proto_close_bytes(p, fault);
        if (give(p, piece))
            return SMTP_PIECE;
        if (p->data == SMTP_DATA_END)
            return end_message(p);
    }
    return SMTP_NONE;
}
