/*
 * A main for a fuzz target without the fuzzer: each file named on the command line is one input.
 * What the target ensures must hold; the lines that the corpus reaches are counted.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "postern/base.h"

#define INPUT_MAX_BYTES (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int main(int argc, char **argv)
{
    uint8_t *input = malloc(INPUT_MAX_BYTES);
    if (input == NULL || argc < 2)
        errx(1, "usage: %s FILE...", argv[0]);
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rbe");
        if (f == NULL)
            err(1, "%s", argv[i]);
        size_t n = fread(input, 1, INPUT_MAX_BYTES, f);
        fclose(f);
        ignore(LLVMFuzzerTestOneInput(input, n)); /* 0 or an abort */
    }
    free(input);
    return 0;
}
