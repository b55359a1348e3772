/*
 * What all dialects share: fields and paths of HTTP, and the words in which a
 * decision is told to an application (X-Postern-* fields, the object "postern",
 * the sentence for people).
 */
#ifndef CONNECTORS_WIRE_H
#define CONNECTORS_WIRE_H

#include "postern/buf.h"
#include "postern/connector.h"

#define WIRE_BODY_MAX 4194304u /* of an answer that we make: a thousand refused recipients are 1 MiB */

/* --- fields ------------------------------------------------------------------ */

void wire_reply_add(struct wire_reply *r, const char *name, struct slice value);
void wire_reply_json(struct wire_reply *r, int status, const struct buf *body);
/* A provider's answer as it came, without hop-by-hop fields and fields of ours; leaves room for ours. */
void wire_reply_provider(struct wire_reply *r, const struct provider_answer *answer);

/* ERR_SYNTAX when the value cannot be a field: controls, or bad UTF-8. */
enum err wire_outgoing_add(struct outgoing *out, const char *name, struct slice value) NODISCARD;
/* Those of the request's fields that are named, as received; NULL ends the list. */
enum err wire_outgoing_copy(struct outgoing *out, const struct wire_request *r, const char *const *names) NODISCARD;
/* path?query as received, or with path in its place. */
struct slice wire_target(struct slice path, struct slice query, struct arena *a);

bool wire_is_media_type(struct slice content_type, const char *media_type); /* parameters are passed over */

/* --- paths --------------------------------------------------------------------- */

#define WIRE_SEGMENTS 12
struct wire_path {
    struct slice segments[WIRE_SEGMENTS];
    size_t n;
    bool trailing_slash;
};
/*
 * False for a path that two servers could read differently: an empty segment or one of dots, an escape
 * of what needs none or of a slash, a backslash, a control, a ';', too many segments.  It is no call of ours.
 */
bool wire_path_split(struct slice path, struct wire_path *out) NODISCARD;
enum wire_match { WIRE_OTHER, WIRE_SAME, WIRE_LIKE /* the same but for case */ };
enum wire_match wire_segment_match(struct slice segment, const char *word);

/* For fingerprints: a stable mix of bytes, eight at a time; not for adversaries. */
uint64_t wire_mix(uint64_t h, struct slice s);

/* --- decisions -------------------------------------------------------------------- */

/* What became of a message, as far as the answer tells. */
enum wire_fate { FATE_FORWARDED, FATE_KEPT, FATE_UNKNOWN, FATE_BLOCKED, FATE_REFUSED };

struct wire_tally {
    size_t forwarded, kept, unknown, blocked, refused;
    size_t overridable;          /* of the blocked */
    const struct answer *speaks; /* whose code and level the answer carries: the first blocked, kept or other one */
    int64_t release_at_ms;       /* the earliest of those kept; 0 = none */
};

enum wire_fate wire_fate(const struct send_report *r, const struct answer *a);
void wire_tally(const struct send_report *r, struct wire_tally *out);

#define WIRE_REASON_MAX 256
/* "frequency cap reached: cap marketing-any: 3 of 3 today".  Returns out. */
char *wire_reason(const struct answer *a, char out[WIRE_REASON_MAX]);
#define WIRE_TEXT_MAX 401
/* "Blocked by customer preference (PST-...): reason. prompt Override token ovr_..."  Returns out. */
char *wire_text(const struct answer *a, char out[WIRE_TEXT_MAX]);
/* May the recipient's block be overridden, with a token? */
bool wire_is_overridable(const struct send_report *r, const struct answer *a);
#define WIRE_TOKENS_MAX 8 /* that one text names; the object of the whole answer names all */
#define WIRE_TEXTS_MAX  4096
/* The same, and of several who may be overridden each with its token: "...; for each: a@b.c: ovr_..., d@e.f: ovr_...".
 * Returns out. */
char *wire_texts(const struct send_report *r, const struct answer *speaks, char out[WIRE_TEXTS_MAX]);
/* The code of a message: decision_code, and what only the answer knows.  Returns out. */
char *wire_code(const struct send_report *r, const struct answer *a, char out[PST_CODE_MAX]);
/* The object of one message. */
void wire_add_decision(struct buf *b, const struct send_report *r, const struct answer *a);
/* The object of the whole answer: of its one message, or counts and lists. */
void wire_add_postern(struct buf *b, const struct send_report *r, const struct wire_tally *t);
/* The X-Postern-* fields.  ERR_LIMIT: the arena is spent. */
enum err wire_add_fields(struct wire_reply *reply, const struct send_report *r, const struct wire_tally *t,
                         struct arena *a) NODISCARD;

/* --- kept messages -------------------------------------------------------------------- */

/*
 * What its provider answered, our id in the place of its own.  ERR_NOT_FOUND: it did not answer, or denies a message
 * that we released, of which it should know more than we do: then what we know is to be said.
 */
enum err wire_kept_fetch(const struct route *route, const struct kept_message *kept, size_t n,
                         const struct provider_answer *provider, struct arena *a, struct wire_reply *out) NODISCARD;
/* The provider's list, ours (the text of objects, or empty) in front of what that member of it has. */
enum err wire_kept_list(const struct provider_answer *provider, const char *member, struct slice ours, struct arena *a,
                        struct wire_reply *out) NODISCARD;

/* --- faults --------------------------------------------------------------------------- */

int wire_fault_status(enum fault_kind kind);
const char *wire_fault_code(enum fault_kind kind); /* "PST-OVERLOAD"; NULL when it has none */
/* What was wrong, where a dialect has no words of its own for it. */
struct slice wire_fault_text(const struct fault *f);
/* The member "postern" of an answer, where the provider's own members do not say it all. */
void wire_fault_add_postern(struct buf *b, enum fault_kind kind);
/* Retry-After, X-Postern-Outcome, X-Postern-Code. */
enum err wire_fault_fields(struct wire_reply *reply, const struct fault *f, struct arena *a) NODISCARD;
enum err wire_fault(struct fault *f, enum fault_kind kind, const char *field, const char *fmt, ...) PRINTF_LIKE(4, 5);

#endif
