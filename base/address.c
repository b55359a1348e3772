/*
 * Addresses as keys.  Everything here serves one promise: an address that was
 * opted out has no second spelling that passes.  So whatever could be read two
 * ways is refused, what has equal forms (quotes, NFC, A-labels, case of the
 * domain) is brought to one, and the fold for suppressions goes further still.
 * Error texts name the fault and the remedy, never the address.
 */
#include "postern/address.h"

#include <idn2.h>
#include <stdio.h>
#include <stdlib.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

#include "postern/hash.h"

/* RFC 5321 section 4.5.3.1; the whole: a path of 256 less its angle brackets (RFC 3696, erratum 1690). */
#define LOCAL_MAX  64u
#define DOMAIN_MAX 253u
#define EMAIL_MAX  254u
#define LABEL_MAX  63u

#define PHONE_DIGITS_MIN 7u
#define PHONE_DIGITS_MAX 15u

/* Before normalisation the input may be longer than its canonical form. */
#define INPUT_MAX 1024u

static enum err fault(enum err code, struct errmsg *e, const char *text)
{
    errmsg_set(e, "%s", text);
    return code;
}

/* Controls, what is not seen (zero width, variation selectors), private use, unassigned: no name of a mailbox. */
static enum err check_characters(const uint8_t *s, size_t n, struct errmsg *e)
{
    for (size_t i = 0; i < n;) {
        ucs4_t c;
        i += (size_t)u8_mbtouc(&c, s + i, n - i);
        if (c > 0x20 && c < 0x7F)
            continue;
        if (uc_is_general_category_withtable(c, UC_CATEGORY_MASK_C) || uc_is_property_default_ignorable_code_point(c)) {
            errmsg_set(e, "e-mail address has an invisible or control character (U+%04X); leave it out", (unsigned)c);
            return ERR_SYNTAX;
        }
        if (c != ' ' && uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Z)) {
            errmsg_set(e, "e-mail address has a blank (U+%04X); leave it out", (unsigned)c);
            return ERR_SYNTAX;
        }
    }
    return OK;
}

static bool is_ascii(struct slice s)
{
    unsigned char any = 0;
    for (size_t i = 0; i < s.n; i++)
        any |= (unsigned char)s.p[i];
    return any < 0x80;
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static char ascii_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* RFC 5322 section 3.2.3, with RFC 6531's UTF8-non-ascii. */
static bool is_atext(char c)
{
    static const char others[] = "!#$%&'*+-/=?^_`{|}~";
    return is_alnum(c) || (c & 0x80) != 0 || memchr(others, c, sizeof others - 1) != NULL;
}

static bool is_dot_atom(struct slice s)
{
    if (s.n == 0 || s.p[s.n - 1] == '.')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        bool good = s.p[i] == '.' ? i > 0 && s.p[i - 1] != '.' : is_atext(s.p[i]);
        if (!good)
            return false;
    }
    return true;
}

static bool has_any(struct slice s, const char *characters)
{
    for (; *characters != '\0'; characters++) {
        if (memchr(s.p, *characters, s.n) != NULL)
            return true;
    }
    return false;
}

/* What an unquoted local part that is no dot-atom most probably is; the first row that fits, and the last fits all. */
static enum err explain_local(struct slice s, struct errmsg *e)
{
    static const struct {
        const char *has;
        const char *text;
    } rows[] = {
        {",;", "e-mail address has a comma or semicolon; write one address only"},
        {"<>", "e-mail address has angle brackets or a display name; write name@domain alone"},
        {"@", "e-mail address has more than one @; write one address, name@domain"},
        {" ", "e-mail address has a blank; write the bare address, name@domain"},
        {"\"\\()[]:", "e-mail address has a character before the @ that must be quoted (RFC 5321, 4.1.2)"},
        {".", "e-mail address has a dot first, last or doubled before the @; leave it out"},
    };
    if (s.n == 0)
        return fault(ERR_SYNTAX, e, "e-mail address has nothing before the @; write name@domain");
    size_t i = 0;
    while (i + 1 < N_ELEMENTS(rows) && !has_any(s, rows[i].has))
        i++;
    return fault(ERR_SYNTAX, e, rows[i].text);
}

/* A local part under way to its canonical form. */
struct local {
    char text[2 * LOCAL_MAX + 3];
    size_t n;
};

/* The content of a quoted string, at most LOCAL_MAX, without its quotes and backslashes; false when it is not one. */
static bool unquote(struct slice quoted, struct local *content)
{
    content->n = 0;
    size_t end = quoted.n - 1;
    if (quoted.n < 2 || quoted.p[0] != '"' || quoted.p[end] != '"')
        return false;
    for (size_t i = 1; i < end; i++) {
        if (quoted.p[i] == '"')
            return false;
        if (quoted.p[i] == '\\' && (++i == end || (quoted.p[i] & 0x80) != 0))
            return false;
        content->text[content->n++] = quoted.p[i];
    }
    return true;
}

/*
 * RFC 5321 section 4.1.2: a quoted string means its content, and a needless
 * backslash nothing.  So a dot-atom loses its quotes, anything else is quoted
 * as sparingly as it can be, and equal mailboxes have equal texts.
 */
static void requote(const struct local *content, struct local *out)
{
    out->n = 0;
    if (is_dot_atom((struct slice){content->text, content->n})) {
        *out = *content;
        return;
    }
    out->text[out->n++] = '"';
    for (size_t i = 0; i < content->n; i++) {
        if (content->text[i] == '"' || content->text[i] == '\\')
            out->text[out->n++] = '\\';
        out->text[out->n++] = content->text[i];
    }
    out->text[out->n++] = '"';
}

static enum err canonical_local(struct slice s, struct local *out, struct errmsg *e)
{
    if (s.n > LOCAL_MAX)
        return fault(ERR_LIMIT, e, "e-mail address has more than 64 bytes before the @ (RFC 5321, 4.5.3.1.1)");
    if (is_dot_atom(s)) {
        memcpy(out->text, s.p, s.n);
        out->n = s.n;
        return OK;
    }
    struct local content;
    if (!unquote(s, &content))
        return explain_local(s, e);
    if (content.n == 0)
        return fault(ERR_SYNTAX, e, "e-mail address has nothing between its quotes; write name@domain");
    requote(&content, out);
    return OK;
}

/* Labels of letters, digits and inner hyphens, at most 63 bytes each, the last not a number. */
static bool is_host_name(struct slice s)
{
    size_t start = 0;
    bool only_digits = true;
    for (size_t i = 0;; i++) {
        if (i < s.n && s.p[i] != '.') {
            if (!is_alnum(s.p[i]) && s.p[i] != '-')
                return false;
            only_digits = only_digits && s.p[i] >= '0' && s.p[i] <= '9';
            continue;
        }
        size_t n = i - start;
        if (n == 0 || n > LABEL_MAX || s.p[start] == '-' || s.p[i - 1] == '-')
            return false;
        if (i == s.n)
            return !only_digits;
        start = i + 1;
        only_digits = true;
    }
}

static void free_text(char **p)
{
    idn2_free(*p);
}

/*
 * IDNA 2008 with UTS 46 mapping, non-transitional: capitals, full-width letters
 * and the ideographic full stop come to one form, and the German sharp s stays.
 * An A-label that no U-label gives (it would be a second name for nothing) is refused.
 */
static enum err idn_domain(const char *domain, char out[DOMAIN_MAX + 1], struct errmsg *e)
{
    AUTO(free_text) char *ascii = NULL;
    AUTO(free_text) char *unicode = NULL;
    AUTO(free_text) char *again = NULL;
    const int flags = IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL;
    int rc = idn2_to_ascii_8z(domain, &ascii, flags);
    if (rc == IDN2_OK)
        rc = idn2_to_unicode_8z8z(ascii, &unicode, 0);
    if (rc == IDN2_OK)
        rc = idn2_to_ascii_8z(unicode, &again, flags);
    if (rc == IDN2_TOO_BIG_DOMAIN || rc == IDN2_TOO_BIG_LABEL || rc == IDN2_PUNYCODE_BIG_OUTPUT)
        return fault(ERR_LIMIT, e, "e-mail address has a domain longer than 253, or a label longer than 63 bytes");
    if (rc == IDN2_OK && strcmp(ascii, again) != 0) /* libidn2 before 2.0.5 does not look */
        rc = IDN2_ALABEL_ROUNDTRIP_FAILED;
    if (rc != IDN2_OK) {
        errmsg_set(e, "e-mail address has a domain that is no international name (IDNA 2008): %s", idn2_strerror(rc));
        return ERR_SYNTAX;
    }
    if (strlen(ascii) > DOMAIN_MAX)
        return fault(ERR_LIMIT, e, "e-mail address has a domain longer than 253 bytes");
    snprintf(out, DOMAIN_MAX + 1, "%s", ascii);
    return OK;
}

static bool needs_idn(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((s.p[i] & 0x80) != 0 || (s.n - i >= 4 && slice_ieq((struct slice){s.p + i, 4}, SLICE("xn--"))))
            return true;
    }
    return false;
}

static enum err check_domain(struct slice s, struct errmsg *e)
{
    if (s.n == 0)
        return fault(ERR_SYNTAX, e, "e-mail address has nothing after the @; write name@domain");
    if (s.p[s.n - 1] == '.')
        return fault(ERR_SYNTAX, e, "e-mail address has a dot at the end of its domain; leave it out");
    if (s.p[0] == '[')
        return fault(ERR_SYNTAX, e, "e-mail address has an IP address for its domain; a host name is needed");
    if (has_any(s, " "))
        return fault(ERR_SYNTAX, e, "e-mail address has a blank; write the bare address, name@domain");
    return OK;
}

static enum err canonical_domain(struct slice s, char out[DOMAIN_MAX + 1], struct errmsg *e)
{
    enum err err = check_domain(s, e);
    if (err != OK)
        return err;
    if (needs_idn(s)) {
        char domain[INPUT_MAX + 1];
        memcpy(domain, s.p, s.n);
        domain[s.n] = '\0';
        err = idn_domain(domain, out, e);
        if (err != OK)
            return err;
    } else {
        if (s.n > DOMAIN_MAX)
            return fault(ERR_LIMIT, e, "e-mail address has a domain longer than 253 bytes");
        for (size_t i = 0; i < s.n; i++)
            out[i] = ascii_lower(s.p[i]);
        out[s.n] = '\0';
    }
    if (!is_host_name(slice_of(out)))
        return fault(ERR_SYNTAX, e,
                     "e-mail address has a domain that is no host name: labels of letters, digits and inner hyphens, 1 "
                     "to 63 bytes, parted by single dots");
    return OK;
}

static enum err parse_normal(struct slice s, struct address *out, struct errmsg *e)
{
    enum err err = check_characters((const uint8_t *)s.p, s.n, e);
    if (err != OK)
        return err;
    const char *at = memrchr(s.p, '@', s.n);
    if (at == NULL)
        return fault(ERR_SYNTAX, e, "e-mail address has no @; write name@domain");
    struct slice local_text = {s.p, (size_t)(at - s.p)};
    struct slice domain_text = {at + 1, s.n - local_text.n - 1};
    struct local local = {.n = 0};
    err = canonical_local(local_text, &local, e);
    if (err != OK)
        return err;
    char domain[DOMAIN_MAX + 1];
    err = canonical_domain(domain_text, domain, e);
    if (err != OK)
        return err;
    if (local.n + 1 + strlen(domain) > EMAIL_MAX)
        return fault(ERR_LIMIT, e, "e-mail address is longer than 254 bytes (RFC 5321, 4.5.3.1.3)");
    size_t n = text_add(out->text, sizeof out->text, 0, (struct slice){local.text, local.n});
    n = text_add(out->text, sizeof out->text, n, SLICE("@"));
    text_add(out->text, sizeof out->text, n, slice_of(domain));
    out->kind = ADDRESS_EMAIL;
    return OK;
}

enum err address_parse_email(struct slice s, struct address *out, struct errmsg *e)
{
    *out = (struct address){.kind = ADDRESS_NONE};
    if (s.n == 0)
        return fault(ERR_SYNTAX, e, "e-mail address is empty; write name@domain");
    if (s.n > INPUT_MAX)
        return fault(ERR_LIMIT, e, "e-mail address is longer than 254 bytes (RFC 5321, 4.5.3.1.3)");
    if (!slice_is_utf8(s))
        return fault(ERR_SYNTAX, e, "e-mail address is not valid UTF-8");
    if (is_ascii(s)) /* nearly all are, and NFC leaves them as they are */
        return parse_normal(s, out, e);
    /* First of all, for NFC makes ASCII of some characters: U+037E is a semicolon then. */
    uint8_t normal[3 * INPUT_MAX];
    size_t n = sizeof normal;
    if (u8_normalize(UNINORM_NFC, (const uint8_t *)s.p, s.n, normal, &n) != normal || n > INPUT_MAX)
        return fault(ERR_LIMIT, e, "e-mail address is longer than 254 bytes (RFC 5321, 4.5.3.1.3)");
    return parse_normal((struct slice){(const char *)normal, n}, out, e);
}

/* Says what stands where a digit of a phone number should. */
static enum err explain_phone(struct slice s, size_t at, struct errmsg *e)
{
    const char *what = "a character that is no digit";
    char c = s.p[at];
    if (c == ' ' || c == '-' || c == '.' || c == '/' || c == '\t')
        what = "a blank or separator";
    else if (c == '(' || c == ')')
        what = "a bracket; a trunk prefix as (0) is not part of the number";
    else if ((c & 0x80) != 0)
        what = "a digit or sign that is not ASCII";
    else if (is_alnum(c) || c == ';' || c == ',' || c == '#' || c == '*')
        what = "a letter or extension";
    errmsg_set(e, "phone number has %s at byte %zu; write E.164: + and 7 to 15 digits", what, at);
    return ERR_SYNTAX;
}

enum err address_parse_phone(struct slice s, struct address *out, struct errmsg *e)
{
    *out = (struct address){.kind = ADDRESS_NONE};
    if (s.n == 0)
        return fault(ERR_SYNTAX, e, "phone number is empty; write E.164: + and 7 to 15 digits");
    if (slice_starts(s, "00"))
        return fault(ERR_SYNTAX, e, "phone number begins with 00; write + for it, as in E.164");
    if (s.p[0] != '+')
        return fault(ERR_SYNTAX, e, "phone number has no + first; write E.164: +, country code, number, nothing else");
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return explain_phone(s, i, e);
    }
    size_t digits = s.n - 1;
    if (digits > 0 && s.p[1] == '0')
        return fault(ERR_SYNTAX, e, "phone number has a 0 after the +; no country code begins with it");
    if (digits < PHONE_DIGITS_MIN || digits > PHONE_DIGITS_MAX) {
        errmsg_set(e, "phone number has %zu digits; E.164 has 7 to 15, country code included", digits);
        return ERR_SYNTAX;
    }
    memcpy(out->text, s.p, s.n);
    out->kind = ADDRESS_PHONE;
    return OK;
}

enum err address_parse(struct slice s, struct address *out, struct errmsg *e)
{
    if (s.n > 0 && memchr(s.p, '@', s.n) != NULL) /* before the '+', which may begin a local part */
        return address_parse_email(s, out, e);
    if (slice_starts(s, "+"))
        return address_parse_phone(s, out, e);
    *out = (struct address){.kind = ADDRESS_NONE};
    return fault(ERR_SYNTAX, e,
                 "neither an e-mail address (name@domain) nor a phone number (E.164: + and 7 to 15 digits)");
}

/* Compatibility forms go too (full-width letters, ligatures): a fold may join two mailboxes, never part one. */
static struct slice fold_local(struct slice local, uint8_t *folded, size_t folded_bytes)
{
    struct slice none = {NULL, 0};
    size_t n = folded_bytes;
    if (is_ascii(local)) {
        n = local.n;
        for (size_t i = 0; i < n; i++)
            folded[i] = (uint8_t)ascii_lower(local.p[i]);
    } else if (u8_casefold((const uint8_t *)local.p, local.n, NULL, UNINORM_NFKC, folded, &n) != folded) {
        return none;
    }
    struct slice s = {(const char *)folded, n};
    if (s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"')
        s = (struct slice){s.p + 1, s.n - 2};
    const char *plus = s.n < 2 ? NULL : memchr(s.p + 1, '+', s.n - 1);
    if (plus != NULL)
        s.n = (size_t)(plus - s.p);
    return s;
}

void address_fold(const struct address *a, struct address *out)
{
    const char *at = a->kind == ADDRESS_EMAIL ? strrchr(a->text, '@') : NULL;
    if (at == NULL) {
        *out = *a;
        return;
    }
    uint8_t folded[12 * ADDRESS_TEXT_MAX]; /* NFKC makes at most 11 bytes of one (U+FDFA) */
    struct slice local = {a->text, (size_t)(at - a->text)};
    struct slice s = fold_local(local, folded, sizeof folded);
    ensure(s.p != NULL);
    struct address result = {.kind = ADDRESS_EMAIL};
    char hex[2 * SHA256_BYTES + 1];
    if (s.n + strlen(at) >= sizeof result.text)
        s = (struct slice){hash_hex(hash_sha256(s.p, s.n).b, SHA256_BYTES, hex), sizeof hex - 1};
    memcpy(result.text, s.p, s.n);
    memcpy(result.text + s.n, at, strlen(at));
    *out = result;
}

static char *mask_phone(const char *text, char out[ADDRESS_MASKED_MAX])
{
    /* At least three digits stay hidden, also of the shortest numbers. */
    size_t digits = strlen(text) - 1;
    size_t last = digits >= 11 ? 4 : 2;
    size_t first = digits - last - 3 < 4 ? digits - last - 3 : 4;
    snprintf(out, ADDRESS_MASKED_MAX, "%.*s***%s", (int)(first + 1), text, text + 1 + digits - last);
    return out;
}

char *address_mask(const struct address *a, char out[ADDRESS_MASKED_MAX])
{
    snprintf(out, ADDRESS_MASKED_MAX, "***");
    if (a->kind == ADDRESS_PHONE && strlen(a->text) > PHONE_DIGITS_MIN)
        return mask_phone(a->text, out);
    const char *at = a->kind == ADDRESS_EMAIL ? strrchr(a->text, '@') : NULL;
    if (at == NULL)
        return out;
    int first = u8_mblen((const uint8_t *)a->text, strlen(a->text));
    const char *domain = at + 1;
    size_t n = strlen(domain);
    size_t room = ADDRESS_MASKED_MAX - 1 - 4 - strlen("***@..."); /* NUL; the longest first letter */
    if (n > room)
        n = (size_t)snprintf(out, ADDRESS_MASKED_MAX, "%.*s***@...%.*s", first, a->text, (int)room, domain + n - room);
    else
        n = (size_t)snprintf(out, ADDRESS_MASKED_MAX, "%.*s***@%.*s", first, a->text, (int)n, domain);
    ensure(n < ADDRESS_MASKED_MAX);
    return out;
}
