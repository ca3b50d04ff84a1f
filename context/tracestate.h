/* The W3C trace state's grammar, over text that stays where it is. */
#ifndef DCTX_TRACESTATE_H
#define DCTX_TRACESTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DCTX_TRACESTATE_MEMBERS     32
#define DCTX_TRACESTATE_BYTES       512
#define DCTX_TRACESTATE_KEY_BYTES   256
#define DCTX_TRACESTATE_VALUE_BYTES 256

typedef struct dctx_tracestate_member {
    const char *text; /* key=value */
    uint16_t key_size;
    uint16_t size;
} dctx_tracestate_member_t;

typedef struct dctx_tracestate {
    dctx_tracestate_member_t members[DCTX_TRACESTATE_MEMBERS];
    size_t count;
} dctx_tracestate_t;

bool dctx_tracestate_key_(const char *key, size_t size);
bool dctx_tracestate_value_(const char *value, size_t size);

/* Adds the members of one header line, which the state then borrows. False if one is malformed or
 * has a key that was there, or if there are too many (count is then the maximum): the whole is to
 * be dropped. */
bool dctx_tracestate_parse_(dctx_tracestate_t *state, const char *line, size_t size);

/* The length of the whole as one line. */
size_t dctx_tracestate_size_(const dctx_tracestate_t *state);

/* Drops whole members until the whole fits: first those over 128 bytes, then from the end, but none
 * of the first `keep`, which fit. Returns how many. */
size_t dctx_tracestate_fit_(dctx_tracestate_t *state, size_t keep);

/* Writes the whole as one line, without a NUL; returns its length. */
size_t dctx_tracestate_write_(const dctx_tracestate_t *state, char *out);

#endif
