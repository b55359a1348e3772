/*
 * Reads a content from files or the standard input, as the API wants it.  Knows nothing of what a content means; its
 * caps are the daemon's, which says so, but no file of any length is read to its end.
 */
#include "ctl_content.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/limits.h"

static void close_file(FILE **f)
{
    if (*f != NULL && *f != stdin)
        fclose(*f);
    *f = NULL;
}

/* Of at most LIMIT_JSON_API_BYTES: more the API does not read.  The text, owned; NULL, and said why. */
static char *read_file(const char *command, const char *path, size_t *n)
{
    AUTO(close_file) FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (f == NULL) {
        ctl_complain("%s: %s: %s", command, path, strerror(errno));
        return NULL;
    }
    char *text = xcalloc(1, LIMIT_JSON_API_BYTES + 1);
    *n = fread(text, 1, LIMIT_JSON_API_BYTES + 1, f);
    if (ferror(f) != 0)
        ctl_complain("%s: %s cannot be read: %s", command, path, strerror(errno));
    else if (*n > LIMIT_JSON_API_BYTES)
        ctl_complain("%s: %s is longer than %u bytes, more than posternd reads", command, path, LIMIT_JSON_API_BYTES);
    else
        return text;
    free(text);
    return NULL;
}

/* An empty file is as none. */
static bool add_file(const char *command, json_t *content, const char *name, const char *path)
{
    size_t n = 0;
    char *text = read_file(command, path, &n);
    if (text == NULL)
        return false;
    json_t *value = json_stringn(text, n);
    free(text);
    if (value == NULL) {
        ctl_complain("%s: %s is not UTF-8", command, path);
        return false;
    }
    if (n > 0)
        json_object_set(content, name, value);
    json_decref(value);
    return true;
}

static bool add_all(const char *command, const struct ctl_content *given, json_t *content)
{
    if (given->subject != NULL && given->subject[0] != '\0' &&
        json_object_set_new(content, "subject", json_string(given->subject)) != 0) {
        ctl_complain("%s: --subject is not UTF-8", command);
        return false;
    }
    if (given->text != NULL && given->html != NULL && strcmp(given->text, "-") == 0 && strcmp(given->html, "-") == 0) {
        ctl_complain("%s: --text and --html cannot both be the standard input; give one of them a file", command);
        return false;
    }
    return (given->text == NULL || add_file(command, content, "text", given->text)) &&
           (given->html == NULL || add_file(command, content, "html", given->html));
}

bool ctl_content_read(const char *command, const struct ctl_content *given, struct json_t **out)
{
    json_t *content = json_object();
    *out = NULL;
    bool read = add_all(command, given, content);
    if (read && json_object_size(content) > 0)
        *out = json_incref(content);
    json_decref(content);
    return read;
}
