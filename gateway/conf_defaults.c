/*
 * The organisation's default preferences: the keys of the contacts' API, made the
 * canonical texts of struct preference.
 */
#include "conf_build.h"

#include "postern/zone.h"

/* The words that a key takes; none: any text. */
static const char *const words[PREFERENCE_N][4] = {
    [PREFERENCE_DIGEST] = {"none", "daily", "weekly"},
    [PREFERENCE_FORMAT] = {"concise", "detailed"},
    [PREFERENCE_NOTIFY] = {"all", "summary", "action"},
    [PREFERENCE_URGENCY_OVERRIDE] = {"none", "P0", "P1"},
};

static enum err check_word(struct conf_build *b, enum preference_key key, const char *text, const char *at)
{
    struct conf_guess guess = {.word = text};

    if (words[key][0] == NULL)
        return OK;
    for (size_t i = 0; i < N_ELEMENTS(words[key]) && words[key][i] != NULL; i++) {
        if (strcmp(text, words[key][i]) == 0)
            return OK;
        conf_guess_offer(&guess, words[key][i]);
    }
    return REFUSE(b, at, "\"%.40s\" is none of %s, %s%s%s%s", text, words[key][0], words[key][1],
                  words[key][2] != NULL ? ", " : "", words[key][2] != NULL ? words[key][2] : "", HINT(&guess));
}

static enum err check_value(struct conf_build *b, enum preference_key key, const char *text, const char *at)
{
    enum channel channel;
    uint64_t number;
    struct window_set set;

    switch (key) {
    case PREFERENCE_CHANNEL_PRIMARY:
    case PREFERENCE_CHANNEL_FALLBACK:
        return channel_parse(slice_of(text), &channel) ? OK : REFUSE(b, at, "\"%.40s\" is no channel", text);
    case PREFERENCE_HOURS:
        return conf_build_windows(b, text, at, WINDOW_ALLOWED, NULL, &set);
    case PREFERENCE_MAX_PER_DAY:
    case PREFERENCE_MAX_PER_WEEK:
    case PREFERENCE_MAX_PER_MONTH:
        return slice_to_u64(slice_of(text), INT32_MAX, &number) ? OK : REFUSE(b, at, "\"%.40s\" is no number", text);
    case PREFERENCE_ZONE:
        return REFUSE(b, at, "is said by policy.default_zone");
    case PREFERENCE_REGION:
        return REFUSE(b, at, "is said by policy.default_region");
    case PREFERENCE_CHANNEL_NEVER:
    case PREFERENCE_DAYS_NEVER:
    case PREFERENCE_DIGEST:
    case PREFERENCE_LANGUAGE:
    case PREFERENCE_FORMAT:
    case PREFERENCE_FORMALITY:
    case PREFERENCE_TECHNICAL_DEPTH:
    case PREFERENCE_NOTIFY:
    case PREFERENCE_URGENCY_OVERRIDE:
    case PREFERENCE_N:
        break;
    }
    return check_word(b, key, text, at);
}

static const char *channel_of_bit(unsigned bit)
{
    return channel_name((enum channel)bit);
}

static const char *day_of_bit(unsigned bit)
{
    static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    return days[bit];
}

/* "sms,voice" */
static const char *join(struct conf_build *b, uint32_t set, const char *(*name)(unsigned bit))
{
    const char *text = NULL;

    for (unsigned bit = 0; set >> bit != 0; bit++) {
        if ((set >> bit & 1) == 0)
            continue;
        text = text == NULL ? name(bit) : arena_printf(&b->conf->arena, "%s,%s", text, name(bit));
        ensure(text != NULL);
    }
    return text;
}

enum err conf_build_defaults(struct conf_build *b)
{
    const struct yaml_defaults *y = &b->yaml->policy.defaults;
    struct preference *defaults = conf_alloc(b, PREFERENCE_N, sizeof *defaults);
    enum err err = OK;

    for (enum preference_key key = 0; key < PREFERENCE_N && err == OK; key++) {
        const char *text = conf_keep(b, y->text[key]);
        if (text != NULL)
            err = check_value(b, key, text, AT("policy.defaults.%s", preference_key_name(key)));
        else if (key == PREFERENCE_CHANNEL_NEVER)
            text = join(b, y->channels_never, channel_of_bit);
        else if (key == PREFERENCE_DAYS_NEVER)
            text = join(b, y->days_never, day_of_bit);
        if (text == NULL)
            continue;
        defaults[b->conf->policy.n_defaults++] = (struct preference){
            .key = key,
            .specificity = SPECIFICITY_ANY,
            .text = slice_of(text),
            .authority = AUTHORITY_ORGANISATION,
            .source = SOURCE_ORGANISATION,
            .confidence = CONFIDENCE_HIGH,
            .version = 1,
        };
    }
    b->conf->policy.defaults = defaults;
    return err;
}
