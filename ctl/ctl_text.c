/*
 * Tables and times for people.  Column widths are counted as a terminal shows the
 * text, not in bytes.  What a daemon or a database says is made harmless first: a
 * category or a contact id must not be able to steer the operator's terminal.
 */
#include "ctl_text.h"

#include <stdlib.h>
#include <unistr.h>
#include <uniwidth.h>

#define TABLE_GAP 2

static const char weekdays[][4] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* With its control characters made harmless; owned by the caller. */
static char *clean_text(const char *s)
{
    char *clean = xstrdup(s);
    size_t n = strlen(clean);

    for (size_t i = 0; i < n;) {
        ucs4_t c;
        int used = u8_mbtouc(&c, (const uint8_t *)clean + i, n - i);
        bool is_control = c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xfffd;
        bool turns_text = (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
        if (is_control || turns_text)
            memset(clean + i, '?', (size_t)used);
        i += (size_t)used;
    }
    return clean;
}

static size_t width_of(const char *s)
{
    int width = u8_strwidth((const uint8_t *)s, "UTF-8");
    return width < 0 ? 0 : (size_t)width;
}

void text_table_add(struct text_table *t, const char *const *cells)
{
    ensure(t->n_columns <= TABLE_COLUMNS);
    if (t->n_rows == t->cap) {
        t->cap = t->cap == 0 ? 32 : 2 * t->cap;
        t->rows = xrealloc(t->rows, t->cap, sizeof *t->rows);
    }
    char **row = t->rows[t->n_rows++];
    for (size_t i = 0; i < t->n_columns; i++)
        row[i] = clean_text(cells[i] != NULL ? cells[i] : "");
}

/* Width of each column; 0 for one that holds nothing below its head. */
static void measure(const struct text_table *t, bool has_head, size_t widths[TABLE_COLUMNS])
{
    for (size_t c = 0; c < t->n_columns; c++) {
        widths[c] = 0;
        for (size_t r = has_head ? 1 : 0; r < t->n_rows; r++) {
            size_t width = width_of(t->rows[r][c]);
            widths[c] = width > widths[c] ? width : widths[c];
        }
        size_t head = has_head && t->n_rows > 0 ? width_of(t->rows[0][c]) : 0;
        if (widths[c] > 0 && head > widths[c])
            widths[c] = head;
    }
}

static void print_row(const struct text_table *t, char *const *row, const size_t *widths, FILE *out)
{
    size_t blanks = t->indent; /* owed before the next text: none trail at the end of a line */

    for (size_t c = 0; c < t->n_columns; c++) {
        if (widths[c] == 0)
            continue;
        size_t width = width_of(row[c]);
        if (width > 0) {
            fprintf(out, "%*s%s", (int)blanks, "", row[c]);
            blanks = 0;
        }
        blanks += widths[c] - width + TABLE_GAP;
    }
    fputc('\n', out);
}

void text_table_print(const struct text_table *t, bool has_head, FILE *out)
{
    size_t widths[TABLE_COLUMNS];
    measure(t, has_head, widths);
    for (size_t r = 0; r < t->n_rows; r++)
        print_row(t, t->rows[r], widths, out);
}

void text_table_clear(struct text_table *t)
{
    for (size_t r = 0; r < t->n_rows; r++)
        for (size_t c = 0; c < t->n_columns; c++)
            free(t->rows[r][c]);
    free(t->rows);
    t->rows = NULL;
    t->n_rows = t->cap = 0;
}

char *text_time(int64_t wall_ms, const struct zone *zone, char out[TEXT_TIME_MAX])
{
    char utc[RFC3339_MAX];
    rfc3339_format(wall_ms, utc);
    if (zone == NULL) {
        snprintf(out, TEXT_TIME_MAX, "%s", utc);
        return out;
    }
    struct local_time local = zone_to_local(zone, wall_ms);
    snprintf(out, TEXT_TIME_MAX, "%s (%s %02d:%02d %s)", utc, weekdays[local.weekday], local.minute / 60,
             local.minute % 60, zone->name);
    return out;
}

char *text_time_of(const char *rfc3339, const struct zone *zone, char out[TEXT_TIME_MAX])
{
    int64_t wall_ms;
    if (rfc3339 != NULL && rfc3339_parse(slice_of(rfc3339), &wall_ms))
        return text_time(wall_ms, zone, out);
    snprintf(out, TEXT_TIME_MAX, "%s", rfc3339 != NULL ? rfc3339 : "");
    return out;
}
