/* Arguments of MAIL and RCPT: what is read borrows from the input and reads the same when written anew. */
#include <stdio.h>

#include "connectors/smtp_envelope.h"
#include "postern/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_fault(enum err err, const struct smtp_fault *f)
{
    ensure(err == ERR_SYNTAX && (f->code == 501 || f->code == 553 || f->code == 555));
    ensure(f->enhanced[0] == '5' && f->text[0] != '\0' && strlen(f->text) < sizeof f->text - 1);
    for (const char *c = f->text; *c != '\0'; c++)
        ensure(*c >= ' ' && *c < 0x7F);
}

static void check_within(struct slice part, struct slice whole)
{
    ensure(part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

static void check_mailbox(struct slice path, bool utf8)
{
    struct address address;
    struct errmsg e;
    ensure(path.n <= 254 && address_parse_email(path, &address, &e) == OK);
    size_t n_local = (size_t)((const char *)memrchr(path.p, '@', path.n) - path.p);
    ensure(memchr(path.p, '%', n_local) == NULL && memchr(path.p, '!', n_local) == NULL);
    for (size_t i = 0; i < path.n; i++)
        ensure((unsigned char)path.p[i] >= ' ' && path.p[i] != 0x7F && (utf8 || (path.p[i] & 0x80) == 0));
}

static void check_mail(struct slice s)
{
    struct smtp_mail m, again;
    struct smtp_fault f;
    enum err err = smtp_mail_parse(s, &m, &f);
    if (err != OK) {
        check_fault(err, &f);
        return;
    }
    check_within(m.path, s);
    check_within(m.size, s);
    check_within(m.envid, s);
    if (m.path.n > 0)
        check_mailbox(m.path, m.smtputf8);
    char text[1024];
    int n =
        snprintf(text, sizeof text, "FROM:<%.*s>%s%.*s%s%s%s%s%.*s", SLICE_ARG(m.path), m.size.n > 0 ? " SIZE=" : "",
                 SLICE_ARG(m.size), m.body_8bit ? " BODY=8BITMIME" : "", m.smtputf8 ? " SMTPUTF8" : "",
                 m.ret == SMTP_RET_FULL   ? " RET=FULL"
                 : m.ret == SMTP_RET_HDRS ? " RET=HDRS"
                                          : "",
                 m.envid.n > 0 ? " ENVID=" : "", SLICE_ARG(m.envid));
    ensure(n > 0 && (size_t)n < sizeof text);
    ensure(smtp_mail_parse((struct slice){text, (size_t)n}, &again, &f) == OK);
    ensure(slice_eq(m.path, again.path) && slice_eq(m.size, again.size) && slice_eq(m.envid, again.envid));
    ensure(m.size_bytes == again.size_bytes && m.body_8bit == again.body_8bit && m.smtputf8 == again.smtputf8);
    ensure(m.ret == again.ret);
}

static void check_rcpt(struct slice s, bool utf8)
{
    struct smtp_rcpt r, again;
    struct smtp_fault f;
    enum err err = smtp_rcpt_parse(s, utf8, &r, &f);
    if (err != OK) {
        check_fault(err, &f);
        return;
    }
    check_within(r.path, s);
    check_within(r.orcpt, s);
    check_mailbox(r.path, utf8);
    ensure(r.notify == SMTP_NOTIFY_NEVER || (r.notify & SMTP_NOTIFY_NEVER) == 0);
    char text[1024];
    int n = snprintf(text, sizeof text, "TO:<%.*s>%s%.*s", SLICE_ARG(r.path), r.orcpt.n > 0 ? " ORCPT=" : "",
                     SLICE_ARG(r.orcpt));
    ensure(n > 0 && (size_t)n < sizeof text);
    ensure(smtp_rcpt_parse((struct slice){text, (size_t)n}, utf8, &again, &f) == OK);
    ensure(slice_eq(r.path, again.path) && slice_eq(r.orcpt, again.orcpt));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice s = {(const char *)data, n};
    check_mail(s);
    check_rcpt(s, false);
    check_rcpt(s, true);
    return 0;
}
