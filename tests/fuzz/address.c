/* Addresses: what is accepted is canonical (reads as itself), and folding twice is folding once. */
#include "postern/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct address a, again, folded, twice;
    struct errmsg e;
    char masked[ADDRESS_MASKED_MAX];
    struct slice text = {(const char *)data, n};
    if (address_parse(text, &a, &e) != OK) {
        ensure(e.text[0] != '\0' && slice_is_utf8(slice_of(e.text)));
        return 0;
    }
    ensure(strlen(a.text) < sizeof a.text && slice_is_utf8(slice_of(a.text)));
    ensure(address_parse(slice_of(a.text), &again, &e) == OK && again.kind == a.kind);
    ensure(strcmp(a.text, again.text) == 0);
    address_fold(&a, &folded);
    address_fold(&folded, &twice);
    ensure(strcmp(folded.text, twice.text) == 0);
    address_mask(&a, masked);
    ensure(slice_is_utf8(slice_of(masked)));
    return 0;
}
