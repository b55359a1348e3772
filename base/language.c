/*
 * Guesses a text's language.  The only file that knows libexttextcat.  The idea to hold in mind: a wrong guess is a
 * false remark about somebody's mail, none is none; so the samples are those of languages that people write to their
 * customers in, and what stands close together is not told.
 *
 * Of all the library's 170 samples Scots passes for English and Galician for Portuguese, and a guess takes four times
 * as long.  It takes a list of samples by a file's name: ours is that of a pipe.
 */
#include "postern/language.h"

#include <fcntl.h>
#include <libexttextcat/textcat.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "alphabet.h"
#include "postern/markup.h"

#define SAMPLES      "/usr/share/libexttextcat/"
#define LETTERS_MIN  80u
#define LOOKED_BYTES 1024u
#define NOT_TOLD     "-"

/* More than the library takes to read its samples, and to look at a text; it does not look whether it got it. */
#define OPEN_BYTES   (4u << 20)
#define DETECT_BYTES (512u << 10)

static const struct sample {
    const char *file, *code;
} samples[] = {
    {"af", NOT_TOLD}, {"ar", "ar"},     {"bg", "bg"},      {"bn", "bn"},      {"ca", "ca"},      {"cs", "cs"},
    {"da", NOT_TOLD}, {"de", "de"},     {"el", "el"},      {"en", "en"},      {"es", "es"},      {"et", "et"},
    {"eu", "eu"},     {"fa", "fa"},     {"fi", "fi"},      {"fr", "fr"},      {"ga", "ga"},      {"gl", "gl"},
    {"he", "he"},     {"hi", "hi"},     {"hr", NOT_TOLD},  {"hu", "hu"},      {"id", NOT_TOLD},  {"is", "is"},
    {"it", "it"},     {"ja", "ja"},     {"ko", "ko"},      {"lt", "lt"},      {"lv", "lv"},      {"mk", "mk"},
    {"mt", "mt"},     {"nb", NOT_TOLD}, {"nl", "nl"},      {"pl", "pl"},      {"pt", "pt"},      {"ro", "ro"},
    {"ru", "ru"},     {"sk", "sk"},     {"sl", "sl"},      {"sq", "sq"},      {"sr-Cyrl", "sr"}, {"sr-Latn", NOT_TOLD},
    {"sv", "sv"},     {"sw", "sw"},     {"ta", "ta"},      {"th", "th"},      {"tr", "tr"},      {"uk", "uk"},
    {"ur", "ur"},     {"vi", "vi"},     {"zh-Hans", "zh"}, {"zh-Hant", "zh"},
};

/* Of the process: the library's own, and a place for its answers. */
static struct {
    void *textcat;
    candidate_t *answers;
} reader;

static bool is_memory(size_t n)
{
    void *p = malloc(n);
    bool there = p != NULL;
    free(p);
    return there;
}

/* The list of samples as the library wants it, at the end of a pipe, which has room for it; a descriptor, or -1. */
static int list_of_samples(void)
{
    int ends[2];
    bool written = true;
    if (pipe2(ends, O_CLOEXEC) == -1)
        return -1;
    for (size_t i = 0; i < N_ELEMENTS(samples) && written; i++)
        written = dprintf(ends[1], "%s.lm %s\n", samples[i].file, samples[i].code) > 0;
    close(ends[1]);
    if (written)
        return ends[0];
    close(ends[0]);
    return -1;
}

enum err language_open(struct errmsg *e)
{
    char list[32];
    int fd = is_memory(OPEN_BYTES) ? list_of_samples() : -1;
    if (fd == -1) {
        errmsg_set(e, "no memory for the samples of languages, or too many open files");
        return ERR_UNAVAILABLE;
    }
    language_close();
    snprintf(list, sizeof(list), "/proc/self/fd/%d", fd);
    reader.textcat = special_textcat_Init(list, SAMPLES);
    close(fd);
    reader.answers = reader.textcat != NULL ? textcat_GetClassifyFullOutput(reader.textcat) : NULL;
    if (reader.answers != NULL)
        return OK;
    language_close();
    errmsg_set(e, "the samples of libexttextcat cannot be read in " SAMPLES ": install libexttextcat-data");
    return ERR_UNAVAILABLE;
}

void language_close(void)
{
    if (reader.answers != NULL)
        textcat_ReleaseClassifyFullOutput(reader.textcat, reader.answers);
    if (reader.textcat != NULL)
        textcat_Done(reader.textcat);
    reader.answers = NULL;
    reader.textcat = NULL;
}

/* --- what is looked at ---------------------------------------------------------------- */

struct words {
    char text[LOOKED_BYTES];
    size_t n;
};

static bool is_blank(char c)
{
    return (unsigned char)c <= ' ';
}

/* Numbers, links, addresses, references to characters: no word of a language. */
static bool is_word(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((s.p[i] >= '0' && s.p[i] <= '9') || strchr("@/&=<>_{}", s.p[i]) != NULL)
            return false;
    }
    return s.n > 0;
}

/* The words of a text, as many as there is room for. */
static void add_words(struct words *w, struct slice text)
{
    size_t i = 0;
    while (i < text.n && w->n < sizeof(w->text)) {
        while (i < text.n && is_blank(text.p[i]))
            i++;
        size_t start = i;
        while (i < text.n && !is_blank(text.p[i]))
            i++;
        struct slice word = {text.p + start, i - start};
        size_t room = sizeof(w->text) - w->n;
        if (!is_word(word))
            continue;
        /* What is written without blanks is cut wherever there is no more room. */
        word.n = word.n < room ? word.n : room;
        memcpy(w->text + w->n, word.p, word.n);
        w->n += word.n;
        if (w->n < sizeof(w->text))
            w->text[w->n++] = ' ';
    }
}

/* By letter groups: the only one of the likeliest that the letters allow; "" when it is not to be told. */
static const char *guess(struct slice text)
{
    const char *only = NULL;
    int n = textcat_ClassifyFull(reader.textcat, text.p, text.n, reader.answers);
    for (int i = 0; i < n; i++) {
        const char *code = reader.answers[i].name;
        if (!alphabet_fits(text, code))
            continue;
        if (only != NULL && strcmp(code, only) != 0)
            return "";
        only = code;
    }
    return only != NULL && strcmp(only, NOT_TOLD) != 0 ? only : "";
}

void language_detect(struct slice text, bool html, char out[LANGUAGE_MAX])
{
    struct words w = {.n = 0};
    struct slice piece;
    out[0] = '\0';
    if (reader.textcat == NULL)
        return;
    if (!html)
        add_words(&w, text);
    while (html && w.n < sizeof(w.text) && markup_next(&text, &piece))
        add_words(&w, piece);
    if (w.n < LETTERS_MIN || !is_memory(DETECT_BYTES))
        return;
    struct slice seen = {w.text, w.n};
    const char *told = alphabet_told(seen);
    snprintf(out, LANGUAGE_MAX, "%s", told != NULL ? told : guess(seen));
}
