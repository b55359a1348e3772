/*
 * Text for people: aligned tables, times with the recipient's own clock beside
 * them.  No colours; control characters never reach the terminal.
 */
#ifndef CTL_CTL_TEXT_H
#define CTL_CTL_TEXT_H

#include <stdio.h>

#include "postern/civil.h"

#define TABLE_COLUMNS 12

/* Zero bytes and n_columns make an empty table. */
struct text_table {
    size_t n_columns;
    size_t indent;
    size_t n_rows, cap;
    char *(*rows)[TABLE_COLUMNS];
};

/* Cells are copied; NULL is an empty cell; control characters become '?'. */
void text_table_add(struct text_table *t, const char *const *cells);
/* Columns two blanks apart, as wide as their widest cell; columns without any text are left out. */
void text_table_print(const struct text_table *t, bool has_head, FILE *out);
void text_table_clear(struct text_table *t);

#define TEXT_TIME_MAX (RFC3339_MAX + ZONE_NAME_MAX + 32)
/* "2026-11-23T13:00:00Z (mon 08:00 America/New_York)"; without zone only the first.  Returns out. */
char *text_time(int64_t wall_ms, const struct zone *zone, char out[TEXT_TIME_MAX]);
/* The same of an RFC 3339 text; other text, null included, as it is. */
char *text_time_of(const char *rfc3339, const struct zone *zone, char out[TEXT_TIME_MAX]);

#endif
