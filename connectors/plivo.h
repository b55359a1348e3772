/* The Plivo connector's own: what parse found, by offsets, for forward and reply. */
#ifndef CONNECTORS_PLIVO_H
#define CONNECTORS_PLIVO_H

#include "form.h"
#include "json_scan.h"
#include "wire.h"

/* Members that are looked at; a key that is one of these but for case is refused. */
/* clang-format off */
#define PLIVO_ROOT(X) \
    X(SRC, "src") X(POWERPACK, "powerpack_uuid") X(POWERPACK_OLD, "powerpackUUID") X(DST, "dst") \
    X(TEXT, "text") X(TYPE, "type") X(URL, "url") X(METHOD, "method") X(EXPIRY, "message_expiry") \
    X(MEDIA_URLS, "media_urls") X(MEDIA_IDS, "media_ids") X(TEMPLATE, "template") \
    X(INTERACTIVE, "interactive") X(LOCATION, "location") X(DLT_CATEGORY, "dlt_template_category")
/* clang-format on */

#define PLIVO_ID_(id, name) PLIVO_##id,
enum plivo_root { PLIVO_ROOT(PLIVO_ID_) PLIVO_ROOT_N };
#undef PLIVO_ID_

/* A number as it stands in dst. */
struct plivo_listed {
    uint32_t start, end; /* in the body */
    uint32_t message;    /* of several spellings of one number the same */
};

struct plivo {
    struct json_scan scan;
    uint32_t root[PLIVO_ROOT_N];
    struct plivo_listed *listed;
    size_t n_listed;
    struct body_facts body;
};

/* Scan and find members; false: it is no object that can be read one way (why, unless the arena is spent). */
enum err plivo_scan(struct slice body, struct arena *a, struct plivo *out, struct fault *fault) NODISCARD;
/* The text of a member; p == NULL when it is no string (or the arena is spent). */
struct slice plivo_text(const struct plivo *p, enum plivo_root which, struct arena *a);

/* The status callback that a create asks for; url empty: none. */
struct plivo_callback {
    struct slice url, method; /* method: POST or GET */
};
struct plivo_callback plivo_callback_of(const struct plivo *p, struct arena *a);

enum err plivo_parse(const struct wire_request *r, const struct route *route, int64_t now_ms, struct arena *a,
                     struct parsed *out, struct fault *fault);
enum err plivo_reply(const struct send_report *report, struct arena *a, struct wire_reply *out);
enum err plivo_fault_reply(const struct fault *fault, const struct route *route, struct arena *a,
                           struct wire_reply *out);
enum err plivo_accept(const struct parsed *p, const struct route *route, const char *id, int64_t now_ms,
                      struct arena *a, struct wire_reply *out);
enum err plivo_kept_reply(const struct route *route, const struct kept_message *kept, size_t n,
                          const struct provider_answer *provider, struct arena *a, struct wire_reply *out);
enum err plivo_callback(const struct kept_message *kept, struct slice account, struct slice secret, struct arena *a,
                        struct slice *url, struct outgoing *out);
bool plivo_is_genuine(const struct wire_request *r, struct slice url, const struct provider_login *login,
                      struct arena *a);
enum err plivo_relay(const struct wire_request *r, const struct relay_options *options, struct arena *a,
                     struct slice *url, struct outgoing *out);
/* Ours, with the application's own in its query, for the provider of that secret to post to; p == NULL: arena spent. */
struct slice plivo_callback_url(struct slice ours, struct plivo_callback application, struct slice secret,
                                struct arena *a);

/* --- ids ------------------------------------------------------------------------- */

#define PLIVO_UUID_BYTES 36
/* One that follows from others: api_id of an answer, the ids of the messages of a submission. */
void plivo_uuid_of(struct slice id, struct slice name, char out[SID_MAX]);
void plivo_message_id(const char kept_id[SID_MAX], uint32_t index, char out[SID_MAX]);
/* {"api_id":"...": begins each answer of ours. */
void plivo_add_api_id(struct buf *b, struct slice of, const char *name);

/* --- the ids of an acceptance ------------------------------------------------------ */

/*
 * "message_uuid" has one for each valid number, "invalid_number" the others, both in the order of the request.  Read by
 * the quotes, for a thousand messages ask one after the other and there is no memory to keep a reading in.
 */
struct plivo_ids {
    struct slice uuids, invalid; /* what is left of the lists, without brackets; p == NULL: no such list */
    struct slice next_invalid;   /* the first of what was left, or empty */
    bool lost;                   /* there are invalid numbers, and nobody says what was asked for */
};
void plivo_ids_begin(const struct provider_answer *answer, struct plivo_ids *out);
/* Of the next message that was sent (NULL: not told): false when its number is invalid; id empty: not known. */
bool plivo_ids_next(struct plivo_ids *ids, const struct message *m, struct slice *id);
size_t plivo_ids_count(struct slice list);

/* --- kept messages ------------------------------------------------------------------ */

/* Plivo's word for its state. */
const char *plivo_kept_state(const struct kept_message *k);
/* "200"; NULL: it did not fail. */
const char *plivo_kept_error(const struct kept_message *k);
/* "sms", or what its create said. */
struct slice plivo_kept_type(const struct kept_message *k, const struct plivo *p, struct arena *a);
bool plivo_is_powerpack(struct slice sender);
/* A number as Plivo writes it: without the plus. */
struct slice plivo_number(struct slice phone);
/* "2026-11-22 10:00:00.000000". */
#define PLIVO_TIME_MAX 40
const char *plivo_time(int64_t wall_ms, char out[PLIVO_TIME_MAX]);

#endif
