/* What the codes of our refusals mean: where "more_info" of an answer leads. */
#ifndef GATEWAY_PAGES_CODES_H
#define GATEWAY_PAGES_CODES_H

#include "postern/base.h"

struct pages_code {
    uint64_t code;     /* 77, the HTTP status, two digits: no code of Twilio's has seven */
    const char *name;  /* "PST-SOFT-FREQUENCY" */
    const char *words; /* what happened, and what to do now */
};

/* NULL: not one of ours. */
const struct pages_code *pages_code_get(uint64_t code);

#endif
