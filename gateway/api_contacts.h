/*
 * What the files of the contact resource share: api_contacts.c answers, api_contact_change.c reads what is asked
 * for, api_preference_change.c says what becomes of the preferences.
 */
#ifndef GATEWAY_API_CONTACTS_H
#define GATEWAY_API_CONTACTS_H

#include "api.h"
#include "api_json.h"

#define CONTACT_ADDRESSES_MAX 64u

/* A PUT's body.  What is left out stays as it is. */
struct contact_wish {
    bool has_account;
    struct slice account; /* empty: none */
    bool has_emails, has_phones;
    struct address *addresses; /* those of has_*; each once */
    size_t n_addresses;
    struct preference *preferences; /* an empty text clears */
    size_t n_preferences;
    enum source source;
    bool locked;
    bool dated; /* says itself when it was stated */
};

/* False: f says why. */
bool contact_wish_read(struct api_call *c, int64_t now_ms, struct contact_wish *out, struct api_fault *f);

enum contact_verdict { CONTACT_SAME, CONTACT_CHANGES, CONTACT_REFUSED };
/*
 * What the wish means for the contact as it is (zero bytes: there is none): fills the put's addresses,
 * account and preferences, whole or not at all; refused: f names key and reason.
 */
enum contact_verdict contact_wish_apply(const struct contact_wish *w, const struct contact *before,
                                        struct store_contact_put *put, struct api_fault *f);
/* Its parts: the preferences, and the zone that the running day keeps once put->preferences are there. */
bool contact_preferences_apply(const struct contact_wish *w, const struct contact *before,
                               struct store_contact_put *put, struct api_fault *f);
/* The name of the zone in force, or empty. */
struct slice contact_zone(const struct contact *c);
void contact_zone_apply(const struct contact *before, struct store_contact_put *put);

#endif
