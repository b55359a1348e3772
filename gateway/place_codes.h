/* The calling codes of the world but +1. */
#ifndef GATEWAY_PLACE_CODES_H
#define GATEWAY_PLACE_CODES_H

struct place_code {
    const char *code;
    const char *countries; /* ISO 3166, by blanks */
};

/* A row without a code ends them. */
extern const struct place_code place_codes[];

#endif
