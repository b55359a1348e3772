/* What a recorded decision says: the question that was asked, and the answer that was given. */
#ifndef CTL_REPLAY_ROW_H
#define CTL_REPLAY_ROW_H

#include "../gateway/conf.h"
#include "postern/store.h"

/* One message, to be decided at an instant with what was known then. */
struct replay_question {
    uint64_t decision;
    struct message message;    /* without its sender */
    struct body_facts content; /* message.body points here, or nowhere */
    struct slice contact;      /* or empty */
    int64_t at_ms;
    uint32_t deferrals;
    bool sender_known; /* then sender is its digest: an opt-out of the recipient names one */
    uint32_t sender;
    int64_t same_content_ms;
    bool profile_stale, counters_down, sandbox_mode;
    struct arena arena; /* of one that is kept */
};

struct replay_answer {
    enum outcome outcome;
    uint32_t fired; /* rules that acted, bit set */
    int64_t release_at_ms;
    uint32_t policy_version;
};

struct replay_row {
    struct json_t *body, *personal;
    struct replay_question question; /* borrows the two */
    struct replay_answer answer;
    uint64_t parent;
    struct slice submission, key, field;
};

enum replay_reading { ROW_READ, ROW_ERASED, ROW_WITHOUT_CATEGORY, ROW_UNREADABLE };
/* To be cleared in any case. */
enum replay_reading replay_row_read(const struct store_event *e, const struct conf *conf, struct replay_row *out);
void replay_row_clear(struct replay_row *row);
/* Of a result: may it have left? */
bool replay_result_may_be_out(const struct store_event *e);

/* Messages that wait for an instant, the earliest first. */
struct replay_queue {
    struct replay_question **heap;
    size_t n, cap;
};
/* A copy of q. */
struct replay_question *replay_question_keep(const struct replay_question *q);
void replay_question_free(struct replay_question **q);
/* Takes q. */
void replay_queue_add(struct replay_queue *queue, struct replay_question *q);
/* The earliest, when it is due by then; NULL: none.  The caller's. */
struct replay_question *replay_queue_take(struct replay_queue *queue, int64_t by_ms);
void replay_queue_clear(struct replay_queue *queue);

#endif
