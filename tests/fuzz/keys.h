/*
 * The registry that fuzz targets decode in: a key of every kind, made once, with the library's
 * memory watched. What a target finds wrong ends the process, which is how libFuzzer is told.
 */
#ifndef DCTX_FUZZ_KEYS_H
#define DCTX_FUZZ_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/dcontext.h>

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition,                    \
                    dctx_error_detail());                                                          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    KEY_NAME,
    KEY_BLOB,
    KEY_FLAG,
    KEY_INT,
    KEY_UINT,
    KEY_DOUBLE,
    KEY_POINT,
    KEY_OLD,
    KEY_LOCAL,
    KEYS
};

/* The same keys in both. */
typedef struct fuzz_keys {
    dctx_registry_t *registry;
    const dctx_key_t *keys[KEYS];
} fuzz_keys_t;

/* Time stands still, so that what says how much of it remains stays the same. */
const dctx_clocks_t *fuzz_clocks(void);

const fuzz_keys_t *fuzz_keys(void);      /* with the default limits */
const fuzz_keys_t *fuzz_keys_wide(void); /* with wide ones */

#endif
