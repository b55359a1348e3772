/*
 * What a text holds that it should not, whoever it is for.  Knows only that something was seen: never what, so that
 * no record of a decision can hold it.
 */
#include "policy/rule.h"

bool rule_card_number(const struct facts *f, struct violation *v)
{
    if (f->message->body == NULL || !f->message->body->has_card_number)
        return false;
    v->reason = REASON_CARD_NUMBER;
    violation_detail(v, "digits that are a payment card's number");
    return true;
}
