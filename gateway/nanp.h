/* The area codes of rules/nanp.csv, as the build put them into the binary (rules/embed.cmake). */
#ifndef GATEWAY_NANP_H
#define GATEWAY_NANP_H

#define NANP_CODES    1000 /* three digits */
#define NANP_ANYWHERE "anywhere"

/* Both by blanks. */
struct nanp_row {
    const char *regions; /* "US-FL", "CA-NS CA-PE", "JM"; NULL: no such code */
    const char *zones;   /* IANA names, or NANP_ANYWHERE: of no place, like toll-free ones */
};

extern const struct nanp_row nanp_rows[NANP_CODES];

#endif
