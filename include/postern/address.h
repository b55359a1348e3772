/*
 * Addresses as keys.  One canonical text per address, and a folded one for
 * suppressions that errs toward blocking (semantics: "no second reading").
 */
#ifndef POSTERN_ADDRESS_H
#define POSTERN_ADDRESS_H

#include "postern/base.h"

enum address_kind { ADDRESS_NONE = 0, ADDRESS_EMAIL, ADDRESS_PHONE };

#define ADDRESS_TEXT_MAX 324 /* RFC 5321: 64 + 1 + 255, and a NUL; rounded up */

struct address {
    enum address_kind kind;
    char text[ADDRESS_TEXT_MAX]; /* canonical, NUL-terminated */
};

/*
 * A bare addr-spec ("a@b.c"; no display name, no angle brackets).  Canonical:
 * domain in lower-case A-labels (IDNA 2008), local part in NFC, its case kept.
 * Refuses controls, blanks, a missing part, invalid UTF-8, over-long parts, a
 * trailing dot in the domain; quoted local parts are accepted as RFC 5321 writes them.
 */
enum err address_parse_email(struct slice s, struct address *out, struct errmsg *e) NODISCARD;

/*
 * E.164 ("+15550100001"): a plus and 7 to 15 ASCII digits, the first not 0.
 * Nothing else is taken for a number: no blanks, dots, brackets, extensions,
 * full-width or Arabic digits.  Short codes are not recipients.
 */
enum err address_parse_phone(struct slice s, struct address *out, struct errmsg *e) NODISCARD;

/* By the look: a '+' first is a phone number, an '@' inside an e-mail address. */
enum err address_parse(struct slice s, struct address *out, struct errmsg *e) NODISCARD;

/*
 * The suppression key: e-mail with the local part lower-cased (and case-folded
 * beyond ASCII) and its "+tag" cut; a phone number as it is.
 */
void address_fold(const struct address *a, struct address *out);

/* For people without a right to the whole: "j***@example.com", "+1555***0001". */
#define ADDRESS_MASKED_MAX 96
char *address_mask(const struct address *a, char out[ADDRESS_MASKED_MAX]);

#endif
