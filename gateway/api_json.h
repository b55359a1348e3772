/*
 * JSON of the native API, read strictly and written plainly.
 *
 * Reading: an object is opened with the names of all its members; others are
 * refused, naming the known ones.  The first thing that is wrong sticks, with the
 * path of the member; readers after it give zeros.  So a resource reads all it
 * wants and asks once, at the end, whether all was well.
 * Writing: into a struct buf, commas put where they belong.
 */
#ifndef GATEWAY_API_JSON_H
#define GATEWAY_API_JSON_H

#include "postern/buf.h"
#include "postern/policy.h"

struct json_t;

#define API_FIELD_MAX 128
#define API_PROSE_MAX 4096u /* evidence, reasons, justifications: a long paragraph */
#define API_NAME_MAX  128u  /* ids, accounts, topics, systems */

/* What was wrong first.  Zero bytes: nothing yet. */
struct api_fault {
    bool set;
    char field[API_FIELD_MAX]; /* path of the member: "preferences.hours"; "" = the body itself */
    struct errmsg why;
};
void api_fault_set(struct api_fault *f, const char *field, const char *fmt, ...) PRINTF_LIKE(3, 4);

struct api_words {
    const char *const *word;
    size_t n;
};
#define API_WORDS(array) ((struct api_words){(array), N_ELEMENTS(array)})
extern const struct api_words api_channels, api_priorities, api_sources, api_scopes, api_sender_kinds;

struct api_object {
    struct json_t *json; /* NULL: not there; every member then is absent */
    struct api_fault *fault;
    char at[API_FIELD_MAX]; /* "" or "preferences." */
};

/* Refuses members that are not in known. */
void api_object_open(struct api_object *o, struct json_t *json, struct api_words known, struct api_fault *fault);
/* A member that is an object, with any members; false when absent or null. */
bool api_object_in(const struct api_object *o, const char *name, struct api_object *out);
/* The same, refusing members that are not in known. */
bool api_object_in_of(const struct api_object *o, const char *name, struct api_words known, struct api_object *out);

bool api_has(const struct api_object *o, const char *name);              /* also when it is null */
struct json_t *api_member(const struct api_object *o, const char *name); /* NULL when absent or null */
void api_refuse(const struct api_object *o, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Refuse that it is absent: "hint" says what would be right. */
void api_need(const struct api_object *o, const char *name, const char *hint);

/* Borrowed from the JSON, p == NULL when absent or null; controls, empty texts and more than max bytes are refused. */
struct slice api_text(const struct api_object *o, const char *name, size_t max);
/* The same for what people write: several lines are welcome, at most API_PROSE_MAX. */
struct slice api_prose(const struct api_object *o, const char *name);
/* The same for what a machine wrote, and as long as the caller says. */
struct slice api_document(const struct api_object *o, const char *name, size_t max);
/* True and *out when it is there and one of the words. */
bool api_word(const struct api_object *o, const char *name, struct api_words words, unsigned *out);
bool api_flag(const struct api_object *o, const char *name);
/* RFC 3339; true when it is there and right. */
bool api_time(const struct api_object *o, const char *name, int64_t *wall_ms);
/* One of the configured categories; NULL when absent or refused. */
const struct category *api_category(const struct api_object *o, const char *name, const struct policy *p);
/* By the look of it; false when absent or refused. */
bool api_address(const struct api_object *o, const char *name, struct address *out);

/* "newsletter, invoice": for errors.  Returns out. */
#define API_LIST_MAX 160
char *api_list(struct api_words words, char out[API_LIST_MAX]);

/* "def_" and 16 hex digits. */
bool api_id_parse(struct slice text, const char *prefix, uint64_t *out);

void api_put_open(struct buf *b, char bracket); /* an item of an array, or the top */
void api_put_close(struct buf *b, char bracket);
void api_put_name(struct buf *b, const char *name); /* a value follows */
void api_put_in(struct buf *b, const char *name, char bracket);
void api_put_item(struct buf *b, struct slice text);
void api_put_text(struct buf *b, const char *name, struct slice text); /* empty: null */
void api_put_word(struct buf *b, const char *name, const char *word);
void api_put_number(struct buf *b, const char *name, int64_t value);
void api_put_flag(struct buf *b, const char *name, bool value);
void api_put_time(struct buf *b, const char *name, int64_t wall_ms);               /* 0 and INT64_MAX: null */
void api_put_id(struct buf *b, const char *name, const char *prefix, uint64_t id); /* 0: null */

/* What was said of a recipient, as every resource shows it. */
void api_put_opt_outs(struct buf *b, const char *name, const struct opt_out *o, size_t n);
void api_put_consents(struct buf *b, const char *name, const struct consent *c, size_t n);
const char *api_consent_state(enum consent_state s);

#endif
