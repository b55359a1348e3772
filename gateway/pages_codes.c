/*
 * The codes of our refusals in words, for the developer or the agent who follows
 * the link of an error.  The codes are minted in connectors/twilio_reply.c.
 */
#include "pages_codes.h"

#define ASK_WHY "posternctl explain shows every rule's verdict for this recipient, now or at a given time."

static const struct pages_code codes[] = {
    {7740000, "PST-SYNTAX",
     "The request is malformed, or can be read in two ways. The message names the place and what "
     "would be right; nothing was sent."},
    {7740001, "PST-CATEGORY",
     "The category is unknown, or the API key may not use it. The categories of a key stand in "
     "postern.yaml."},
    {7740300, "PST-HARD", "The policy refuses this message, and nobody may override it. " ASK_WHY},
    {7740301, "PST-HARD-NOCONSENT",
     "The consent that this category needs is absent, expired or withdrawn. Record a consent with its evidence, or use "
     "the category that the message really belongs to. The recipient did not opt out: do not record it as that."},
    {7740302, "PST-HARD-CHANNEL",
     "The recipient never wants this channel, or no primary recipient is left. Use another channel."},
    {7740303, "PST-HARD-FREQUENCY",
     "A frequency cap is full. Send again when its window has passed: the decision says when, if waiting helps."},
    {7740310, "PST-FORBIDDEN", "The API key may not do that. Its roles and categories stand in postern.yaml."},
    {7740900, "PST-SOFT",
     "The recipient's preferences stand against this message. An agent may schedule it, or "
     "override with a justification, on record. " ASK_WHY},
    {7740901, "PST-SOFT-QUIET",
     "It is outside the recipient's hours. Schedule it for the time that the answer names, or "
     "override with a justification."},
    {7740902, "PST-SOFT-FREQUENCY",
     "A frequency cap of the recipient is full. Schedule it for later, or override with a justification."},
    {7740903, "PST-SOFT-CHANNEL",
     "The recipient prefers another channel. Use that one, or override with a "
     "justification."},
    {7740904, "PST-SOFT-LANGUAGE",
     "The message is not in the recipient's language. Translate it, or override with a justification."},
    {7740910, "PST-CONFLICT", "The message cannot be changed any more: it was released, cancelled or has ended."},
    {7740911, "PST-IN-PROGRESS",
     "The first request with this Idempotency-Key is still under way. Ask again after the time in Retry-After, and its "
     "answer is yours."},
    {7741300, "PST-TOO-LARGE", "The request is larger than Postern takes: 30 MiB, or less by its configuration."},
    {7741500, "PST-MEDIA-TYPE", "The request's Content-Type or Content-Encoding is not one that this call takes."},
    {7742200, "PST-KEY-REUSED",
     "This Idempotency-Key was used for another request within 72 hours: another body, path or X-Postern- field. Give "
     "each request a key of its own."},
    {7750300, "PST-UNAVAILABLE",
     "Nothing was accepted: the store of record cannot write now. Send it again after the time in Retry-After; "
     "/readyz says what is wrong."},
    {7750301, "PST-UPSTREAM-DOWN",
     "The provider does not answer and the message was not kept, because it would be worthless later. Send it again "
     "after the time in Retry-After."},
};

const struct pages_code *pages_code_get(uint64_t code)
{
    for (size_t i = 0; i < N_ELEMENTS(codes); i++) {
        if (codes[i].code == code)
            return &codes[i];
    }
    return NULL;
}
