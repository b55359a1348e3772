/*
 * Every cap, in one place: unit, reason, and whether configuration may lower it.
 * Crossing one is a named reason with a counter.
 */
#ifndef POSTERN_LIMITS_H
#define POSTERN_LIMITS_H

#include <stdint.h>

/* HTTP ingress.  Real SDKs stay far below the head limits; nginx's default is 32 KiB in all. */
#define LIMIT_HTTP_LINE_BYTES       8192u     /* request line; fixed */
#define LIMIT_HTTP_HEAD_BYTES       65536u    /* request line and all headers; fixed */
#define LIMIT_HTTP_HEADERS          100u      /* fields; fixed */
#define LIMIT_HTTP_BODY_BYTES       31457280u /* 30 MiB: SendGrid's own; configuration may lower */
#define LIMIT_HTTP_TRAILERS_BYTES   8192u     /* fixed */
#define LIMIT_HTTP_HEAD_MS          10000     /* absolute, from the first byte; configuration may lower */
#define LIMIT_HTTP_IDLE_MS          75000     /* keep-alive without a request */
#define LIMIT_HTTP_SPARE_MS         1000      /* idle for this long: may be closed for a new one when all are taken */
#define LIMIT_HTTP_BODY_MIN_BYTES_S 1024u     /* averaged over the window below; slower is closed; replies too */
#define LIMIT_HTTP_BODY_WINDOW_MS   10000
#define LIMIT_HTTP_WRITE_MS         30000  /* window for a reply that the client does not read */
#define LIMIT_HTTP_LINGER_MS        2000   /* reading on after the last reply, so that a RST does not destroy it */
#define LIMIT_HTTP_OUTPUT_BYTES     65536u /* unread replies of one connection; beyond: no more requests are read */
#define LIMIT_HTTP_REFUSED_CONNECTIONS                                                                                 \
    64u                               /* above the cap on connections: these still hear 503, others are dropped        \
                                       */
#define LIMIT_HTTP_PIPELINE    32u    /* requests of one connection not yet answered */
#define LIMIT_HTTP_CONNECTIONS 10000u /* configuration may lower */
#define LIMIT_HTTP_INFLIGHT_BYTES                                                                                      \
    268435456u /* bodies held by all submissions; beyond: 503; configuration may lower                                 \
                */

/* SMTP ingress.  Sizes are RFC 5321 section 4.5.3.1's or larger; deadlines section 4.5.3.2's, shortened under load. */
#define LIMIT_SMTP_MESSAGE_BYTES       31457280u /* SIZE; configuration may lower (limits.body_bytes) */
#define LIMIT_SMTP_RECIPIENTS          1000u     /* of a transaction; configuration may lower */
#define LIMIT_SMTP_COMMANDS            200u      /* of a session that bring no message forward; then 421 */
#define LIMIT_SMTP_ERRORS              20u       /* refused commands of a session; then 421.  Under load: 1 */
#define LIMIT_SMTP_MESSAGES            5000u     /* of a session: SendGrid's own */
#define LIMIT_SMTP_CONNECTIONS         2500u     /* configuration may lower; beyond: 421 */
#define LIMIT_SMTP_ADDRESS_CONNECTIONS 1000u     /* of one address; configuration may lower; beyond: 421 */
#define LIMIT_SMTP_COMMAND_MS          300000    /* for a command; under load LIMIT_SMTP_LOAD_MS */
#define LIMIT_SMTP_DATA_MS             180000    /* for the next piece of the data; likewise */
#define LIMIT_SMTP_LOAD_MS             10000
#define LIMIT_SMTP_HANDSHAKE_MS        10000
#define LIMIT_SMTP_WRITE_MS            30000 /* for a reply that the client does not read */
#define LIMIT_SMTP_LINGER_MS           2000  /* reading on after the last reply, so that a RST does not destroy it */
#define LIMIT_SMTP_LOGIN_MS            1000  /* a wrong login is answered after this; doubled with each of a session, */
#define LIMIT_SMTP_LOGIN_MAX_MS        8000  /* up to this */
#define LIMIT_SMTP_LOGINS_MIN          20u   /* wrong logins of one address that are looked at in a minute */
#define LIMIT_SMTP_KEPT_BYTES          65536u     /* read of a client that pipelines while it waits for an answer */
#define LIMIT_SMTP_REFUSED_CONNECTIONS 64u        /* above the caps: these still hear 421, others are dropped */
#define LIMIT_SMTP_INFLIGHT_BYTES      268435456u /* of all messages held; beyond: 451; configuration may lower */
#define LIMIT_SMTP_DATA_WINDOW_MS      60000
#define LIMIT_SMTP_DATA_MIN_BYTES_S    64u /* of data, over the first 60 s and more; slower: 421 */

/* Mail content; what is beyond is refused, not cut. */
#define LIMIT_MAIL_LINE_BYTES   65536u  /* of any line, without CRLF: many senders break the 998 of RFC 5322 */
#define LIMIT_MAIL_HEADER_BYTES 262144u /* of all header fields: X-SMTPAPI may name a thousand recipients */
#define LIMIT_MAIL_HOPS         100u    /* Received fields */
#define LIMIT_MIME_DEPTH        50u
#define LIMIT_MIME_PARTS        1000u
#define LIMIT_MAIL_RETRY_MS     INT64_C(432000000) /* 5 days (RFC 5321 section 4.5.4.1) */

/* JSON on a message's way and elsewhere (RFC 8259 section 9 allows limits). */
#define LIMIT_JSON_DEPTH     64u
#define LIMIT_JSON_API_BYTES 1048576u /* body of a native API call */
#define LIMIT_FORM_FIELDS    1200u    /* a thousand recipients, each in a field, and the rest of a message */

/* Messages. */
#define LIMIT_RECIPIENTS          1000u   /* per submission: SendGrid's own */
#define LIMIT_SUBMISSIONS         4096u   /* under way at once; beyond: the dialect's "slow down" (429) */
#define LIMIT_STORE_LAG_MS        2000    /* a commit that is awaited this long: likewise */
#define LIMIT_READ_BYTES          262144u /* a longer body is read beside the loop: 8 ns a byte when made to be slow */
#define LIMIT_ARENA_BYTES         16777216u /* per submission, beside its body */
#define LIMIT_SANDBOX_BODY_BYTES  65536u    /* what the sandbox keeps of a body: enough to look at */
#define LIMIT_SMS_BODY_CHARS      1600u     /* Twilio 21617 */
#define LIMIT_STORED_FIELDS_BYTES 1048576u  /* of a kept submission: a thousand RCPTs of a mail */
#define LIMIT_DEFERRALS           5u        /* semantics, section 6: then the dead-letter list */
#define LIMIT_CAP_SPAN_S          2764800   /* 32 days: so far back sends are counted, and caps may look */
#define LIMIT_CANDIDATE_ZONES     64u       /* zones that one phone number may stand for */
#define LIMIT_CANDIDATE_REGIONS   16u       /* countries or states likewise; more than that is "unknown" */

/* Idempotency keys: semantics, section 11. */
#define LIMIT_IDEMPOTENCY_MS    INT64_C(259200000) /* 72 h */
#define LIMIT_IDEMPOTENCY_BYTES 255u               /* of a key */
#define LIMIT_KEPT_ANSWER_BYTES 262144u            /* of its answer's body; a longer one is answered again without it */

/* Deadlines of asynchronous operations. */
#define LIMIT_STUCK_MS            15000 /* a submission that stands in one step longer is named in the log */
#define LIMIT_UPSTREAM_CONNECT_MS 5000
#define LIMIT_UPSTREAM_IDLE_MS    30000 /* of a relay's: they close after a minute, or five (RFC 5321 4.5.3.2.7) */
#define LIMIT_UPSTREAM_TOTAL_MS   10000 /* below the 30 s after which twilio-node gives up on us; configurable */
#define LIMIT_RESERVATION_MS      60000 /* semantics, section 5 */

#endif
