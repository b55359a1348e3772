/* What may leave by SMTP: checks on a mail before a byte of it is written.  Pure. */
#ifndef GATEWAY_SMTP_CLIENT_CHECK_H
#define GATEWAY_SMTP_CLIENT_CHECK_H

#include "postern/connector.h"

#define SMTP_CLIENT_COMMAND_MAX 2048u /* a command of ours, with CRLF */

/* Every path and parameter can stand in its command as it is, and the command is not too long. */
bool smtp_client_check_envelope(const struct mail_envelope *e) NODISCARD;
/* Every CR is followed by LF, every LF follows CR, and there is no NUL. */
bool smtp_client_check_content(struct slice content) NODISCARD;
/* Is there a byte beyond ASCII? */
bool smtp_client_has_8bit(struct slice content);

/* What a content is to the machine; of megabytes it takes milliseconds to say. */
enum smtp_content {
    SMTP_CONTENT_UNSEEN = 0, /* nobody looked */
    SMTP_CONTENT_BAD,        /* not strict: it must not be sent */
    SMTP_CONTENT_7BIT,
    SMTP_CONTENT_8BIT
};
enum smtp_content smtp_client_look(struct slice content);

#endif
