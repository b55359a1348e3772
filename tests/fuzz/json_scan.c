/* The scanner and jansson agree on every text, numbers out of range excepted (see tests/unit/connectors_json_scan.c).
 */
#include <jansson.h>
#include <stdlib.h>

#include "connectors/json_scan.h"
#include "postern/json.h"
#include "postern/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct arena arena;
    struct errmsg ours, theirs = {""};
    struct slice text = {(const char *)data, n};
    arena_init(&arena, LIMIT_ARENA_BYTES);
    struct json_scan s = {.arena = &arena};
    enum err err = json_scan_parse(&s, text, &ours);
    json_t *oracle = json_parse(text, &theirs);
    bool range = strstr(theirs.text, "too big") != NULL || strstr(theirs.text, "overflow") != NULL;
    if (err != ERR_LIMIT && (err == OK) != (oracle != NULL) && !(err == OK && range))
        abort();
    for (uint32_t i = 0; err == OK && i < s.n; i++) {
        struct slice value;
        ensure(s.nodes[i].start < s.nodes[i].end && s.nodes[i].end <= n && s.nodes[i].next > i &&
               s.nodes[i].next <= s.n);
        if (json_scan_text(&s, i, &arena, &value))
            ensure(slice_is_utf8(value));
    }
    json_decref(oracle);
    arena_clear(&arena);
    return 0;
}
