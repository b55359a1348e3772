/*
 * What rule packs say, for people: which rules speak to a message, and by when a
 * refusal has to be honoured.  Ours is in force at once; the date is for whoever
 * has to prove it.
 */
#include "api_law.h"

#include <stdio.h>

#include "api_json.h"

#define LAWS_MAX      128 /* of one message; more than every pack that comes with Postern has */
#define DEADLINES_MAX 32

void api_put_laws(struct buf *b, const struct facts *f)
{
    static const char *const kinds[] = {[LAW_HOURS] = "hours",
                                        [LAW_CAP] = "cap",
                                        [LAW_CONSENT] = "consent",
                                        [LAW_OPT_OUT] = "opt_out",
                                        [LAW_KEYWORDS] = "keywords"};
    struct law_in_force laws[LAWS_MAX];
    size_t n = policy_laws(f, laws, N_ELEMENTS(laws));

    api_put_in(b, "law", '[');
    for (size_t i = 0; i < n; i++) {
        api_put_open(b, '{');
        api_put_word(b, "rule", laws[i].law->name);
        api_put_word(b, "kind", kinds[laws[i].kind]);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}

void api_put_deadlines(struct buf *b, const char *name, const struct policy *p, const struct profile *who,
                       uint32_t channels, int64_t at_ms)
{
    struct law_deadline deadlines[DEADLINES_MAX];
    size_t n = policy_deadlines(p, who, channels, at_ms, deadlines, N_ELEMENTS(deadlines));

    api_put_in(b, name, '[');
    for (size_t i = 0; i < n; i++) {
        struct date d = date_from_days(deadlines[i].days);
        char day[16];
        snprintf(day, sizeof(day), "%04d-%02d-%02d", d.year % 10000, d.month % 100, d.day % 100);
        api_put_open(b, '{');
        api_put_word(b, "rule", deadlines[i].law->name);
        api_put_word(b, "in_force_by", day);
        api_put_close(b, '}');
    }
    api_put_close(b, ']');
}
