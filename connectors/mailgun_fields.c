/*
 * The parameters of a call to Mailgun, whether they came as a form or as
 * multipart, by offsets.  Knows their names and how often each may stand, nothing of
 * what they mean.  The one idea: a parameter that somebody could take for a known
 * one, or find twice, is refused here, so nobody behind this file looks for it.
 */
#include "mailgun.h"

#include "form.h"
#include "multipart.h"
#include "postern/limits.h"

static const struct {
    struct slice name;
    const char *header;
} params[] = {
#define X(id, name, header) {{name, sizeof(name) - 1}, header},
    MAILGUN_PARAMS(X)
#undef X
};

const char *mailgun_param_name(enum mailgun_param which)
{
    return params[which].name.p;
}

enum mailgun_param mailgun_header_param(struct slice name)
{
    if (claims_is_own_field(name))
        return MG_OWN;
    enum mailgun_param which = 0;
    while (which < MG_OTHER && (params[which].header == NULL || !slice_ieq(name, slice_of(params[which].header))))
        which++;
    return which;
}

const struct mailgun_field *mailgun_field_get(const struct mailgun *m, enum mailgun_param which)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        if (m->fields[i].param == which)
            return &m->fields[i];
    }
    return NULL;
}

/* --- names -------------------------------------------------------------------- */

static struct slice from(struct slice s, size_t start)
{
    return (struct slice){s.p + start, s.n - start};
}

static enum mailgun_param param_of(struct slice name)
{
    if (slice_starts(name, "h:"))
        return mailgun_header_param(from(name, 2));
    if (slice_starts(name, "v:postern_"))
        return MG_OWN;
    enum mailgun_param which = 0;
    while (which < MG_OTHER && !slice_eq(name, params[which].name))
        which++;
    return which;
}

/* "To", "to[0]", " to", "H:X-Any": a framework's reader may take it for the one without. */
static bool is_like_another(struct slice name)
{
    static const char prefixes[] = {'H', 'V', 'O', 'T'};
    const char *bracket = memchr(name.p, '[', name.n);
    struct slice head = bracket == NULL ? name : (struct slice){name.p, (size_t)(bracket - name.p)};
    if (slice_trim(name).n != name.n ||
        (name.n >= 2 && name.p[1] == ':' && memchr(prefixes, name.p[0], sizeof prefixes) != NULL))
        return true;
    for (enum mailgun_param which = 0; which < MG_OTHER; which++) {
        bool file = which == MG_ATTACHMENT || which == MG_INLINE;
        if (slice_ieq(head, params[which].name) && !slice_eq(name, params[which].name) && !file)
            return true;
    }
    return false;
}

static enum err refuse(const struct mailgun_field *field, const char *why, struct fault *f)
{
    char name[FAULT_FIELD_MAX];
    size_t n = field->name.n < sizeof name - 1 ? field->name.n : sizeof name - 1;
    memcpy(name, field->name.p, n);
    name[n] = '\0';
    return wire_fault(f, FAULT_SYNTAX, name, "%s parameter at byte %zu %s", name, field->start, why);
}

/* Each of them becomes a line of the mail's header. */
static bool becomes_header(const struct mailgun_field *field)
{
    switch (field->param) {
    case MG_TO:
    case MG_CC:
    case MG_BCC:
    case MG_FROM:
    case MG_SUBJECT:
    case MG_O_TAG:
    case MG_O_DELIVERYTIME:
    case MG_O_DELIVER_WITHIN:
    case MG_O_OPTIMIZE:
    case MG_O_LOCALIZE:
    case MG_O_TESTMODE:
    case MG_OWN:
        return true;
    case MG_OTHER:
        return slice_starts(field->name, "h:");
    case MG_ATTACHMENT:
    case MG_INLINE:
    case MG_TEXT:
    case MG_HTML:
    case MG_AMP_HTML:
    case MG_TEMPLATE:
    case MG_T_VARIABLES:
    case MG_MESSAGE:
    case MG_RECIPIENT_VARIABLES:
        break;
    }
    return false;
}

/* May it be a file?  What is no content, and is looked at, may not: it has two names then. */
static bool may_be_file(enum mailgun_param which)
{
    return which == MG_ATTACHMENT || which == MG_INLINE || which == MG_MESSAGE || which == MG_TEXT ||
           which == MG_HTML || which == MG_AMP_HTML || which == MG_OTHER;
}

static enum err check_field(const struct mailgun_field *field, struct fault *f)
{
    if (is_like_another(field->name))
        return refuse(field, "is a known one but for case, blanks or brackets; write it so, or remove it", f);
    if (slice_ieq(field->name, SLICE("_charset_")) && !slice_ieq(field->value, SLICE("utf-8")))
        return refuse(field, "must be utf-8, or be left out", f);
    if (field->file && !may_be_file(field->param))
        return refuse(field, "must be no file", f);
    if (becomes_header(field) && !slice_is_clean(field->value))
        return refuse(field, "has control characters or bad UTF-8, and is to be a header", f);
    return OK;
}

/* The text of a part that is read here must be what it says. */
static enum err check_charset(const struct mailgun_field *field, const struct multipart_part *part, struct fault *f)
{
    bool bytes = field->param == MG_ATTACHMENT || field->param == MG_INLINE || field->param == MG_MESSAGE ||
                 field->param == MG_OTHER;
    return bytes || multipart_is_utf8(part) ? OK : refuse(field, "is not in UTF-8; send it so", f);
}

/* At most LIMIT_FORM_FIELDS names: comparing all pairs stays under a few milliseconds. */
static enum err check_once(const struct mailgun *m, struct fault *f)
{
    for (size_t i = 1; i < m->n_fields; i++) {
        const struct mailgun_field *field = &m->fields[i];
        if (field->param <= MG_O_TAG || field->param == MG_OWN)
            continue; /* what is said to us twice must be the same: claims_say */
        for (size_t before = 0; before < i; before++) {
            bool same = field->param == MG_OTHER ? slice_eq(m->fields[before].name, field->name)
                                                 : m->fields[before].param == field->param;
            if (same)
                return refuse(field, "is given twice; give it once", f);
        }
    }
    return OK;
}

/* --- the two forms of a body ------------------------------------------------------- */

static enum err out_of_memory(struct fault *f)
{
    return wire_fault(f, FAULT_TOO_LARGE, NULL, "The request has too many values to be read");
}

static enum err unreadable(enum err err, const struct errmsg *e, struct fault *f)
{
    if (e->text[0] == '\0')
        return out_of_memory(f);
    return wire_fault(f, err == ERR_LIMIT ? FAULT_TOO_LARGE : FAULT_SYNTAX, NULL, "%s", e->text);
}

static enum err take_form(struct slice body, struct arena *a, struct mailgun *m, struct fault *f)
{
    struct form form;
    struct errmsg e = {0};
    enum err err = form_parse(body, NULL, a, &form, &e);
    if (err != OK)
        return unreadable(err, &e, f);
    m->n_fields = form.n;
    m->fields = arena_calloc(a, form.n, sizeof *m->fields);
    for (size_t i = 0; i < form.n && m->fields != NULL; i++) {
        const struct form_field *in = &form.fields[i];
        const char *equals = memchr(body.p + in->start, '=', in->end - in->start);
        m->fields[i] = (struct mailgun_field){.param = param_of(in->name),
                                              .name = in->name,
                                              .value = in->value,
                                              .start = in->start,
                                              .end = in->end,
                                              .name_at = in->start,
                                              .name_end = (size_t)(equals - body.p),
                                              .value_at = (size_t)(equals - body.p) + 1};
    }
    return m->fields == NULL ? out_of_memory(f) : OK;
}

static enum err take_multipart(struct slice type, struct slice body, struct arena *a, struct mailgun *m,
                               struct fault *f)
{
    struct multipart parts;
    struct errmsg e;
    enum err err = multipart_parse(type, body, a, &parts, &e);
    if (err != OK)
        return unreadable(err, &e, f);
    m->n_fields = parts.n;
    m->fields = arena_calloc(a, parts.n, sizeof *m->fields);
    if (m->fields == NULL)
        return out_of_memory(f);
    for (size_t i = 0; i < parts.n && err == OK; i++) {
        const struct multipart_part *in = &parts.parts[i];
        size_t name_at = (size_t)(in->name.p - body.p);
        m->fields[i] = (struct mailgun_field){.param = param_of(in->name),
                                              .file = in->file,
                                              .head = in->head,
                                              .name = in->name,
                                              .value = in->value,
                                              .start = in->start,
                                              .end = in->end,
                                              .name_at = name_at,
                                              .name_end = name_at + in->name.n,
                                              .value_at = (size_t)(in->value.p - body.p)};
        err = check_charset(&m->fields[i], in, f);
    }
    return err;
}

enum err mailgun_read_fields(const struct wire_request *r, struct arena *a, struct mailgun *m, struct fault *f)
{
    struct slice type = wire_field_get(r->fields, r->n_fields, "Content-Type");
    m->body = r->body;
    m->multipart = wire_is_media_type(type, "multipart/form-data");
    if (!m->multipart && !wire_is_media_type(type, "application/x-www-form-urlencoded"))
        return wire_fault(f, FAULT_MEDIA_TYPE, NULL,
                          "Content-Type must be multipart/form-data or application/x-www-form-urlencoded; it is "
                          "\"%.*s\"",
                          SLICE_HEAD(type, 80));
    if (r->query.n > 0) /* a form's reader may take these for parameters as well */
        return wire_fault(f, FAULT_SYNTAX, NULL, "Parameters in the URL are not read; send them in the body");
    enum err err = m->multipart ? take_multipart(type, r->body, a, m, f) : take_form(r->body, a, m, f);
    for (size_t i = 0; i < m->n_fields && err == OK; i++)
        err = check_field(&m->fields[i], f);
    return err != OK ? err : check_once(m, f);
}
