/*
 * The envelope of a stamp, `[1, chain, entries, ...]`, walked in place: nothing is allocated, no
 * length that the input claims is trusted, every limit is checked here.
 *
 *     open; next, exactly entry_count times; close.
 *
 * The results point into `data` and live as long as it. Any failure is final and has a detail.
 * Duplicate names and the order of entries are the caller's to look after.
 */
#ifndef DCTX_ENVELOPE_H
#define DCTX_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/registry.h>

#include "name.h"

typedef struct dctx_envelope {
    size_t entry_count; /* at most limits->entries, and never more than the bytes left could hold */

    /* The chain array, head included. */
    const uint8_t *chain;
    size_t chain_size;
    size_t chain_count;    /* names; the elision mark is not one */
    size_t chain_mark;     /* how many names come before the mark; 0 if there is none */
    uint64_t chain_elided; /* 0: no mark */
    bool chain_canonical;  /* every head in its shortest form: the bytes can be used as they are */

    /* private */
    const dctx_limits_t *limits;
    const uint8_t *at;
    const uint8_t *end;
    size_t entries_left;
    size_t elements_left; /* of the outer array, after the entries */
} dctx_envelope_t;

typedef struct dctx_envelope_entry {
    const uint8_t *raw; /* the whole entry, as it travels on */
    size_t raw_size;
    const char *name; /* 1..key_bytes bytes without control characters; not NUL-terminated */
    size_t name_size;
    uint64_t version;    /* of the value's encoding */
    const uint8_t *body; /* what is in the bin; at most value_bytes */
    size_t body_size;
} dctx_envelope_entry_t;

/* DCTX_ERR_MALFORMED, DCTX_ERR_VERSION, DCTX_ERR_LIMIT. */
dctx_error_t dctx_envelope_open_(dctx_envelope_t *envelope, const dctx_limits_t *limits,
                                 const void *data, size_t size);

/* The next entry, in any form that the format allows: what dctx_envelope_next_() falls back on. */
dctx_error_t dctx_envelope_any_(dctx_envelope_t *envelope, dctx_envelope_entry_t *ret_entry);

/*
 * The next entry. DCTX_ERR_MALFORMED, DCTX_ERR_LIMIT; DCTX_ERR_ABSENT (without a detail) past the
 * last.
 *
 * In line is what nearly every entry is: three elements, a key under 32 bytes, a version from 1 to
 * 127, a value under 256 bytes. Anything that is not that is left to dctx_envelope_any_(), every
 * failure and its words too.
 */
static inline dctx_error_t dctx_envelope_next_(dctx_envelope_t *envelope,
                                               dctx_envelope_entry_t *ret_entry)
{
    const uint8_t *at = envelope->at;
    size_t left = (size_t)(envelope->end - at);
    if (envelope->entries_left == 0 || left < 6 || at[0] != 0x93 || (at[1] & 0xe0) != 0xa0)
        return dctx_envelope_any_(envelope, ret_entry);
    size_t name_size = at[1] & 0x1f;
    if (left < name_size + 5)
        return dctx_envelope_any_(envelope, ret_entry);
    const uint8_t *name = at + 2;
    const uint8_t *rest = name + name_size;
    if (rest[0] >= 0x80 || rest[0] == 0 || rest[1] != 0xc4)
        return dctx_envelope_any_(envelope, ret_entry);
    size_t body_size = rest[2];
    size_t raw_size = name_size + 5 + body_size;
    if (left < raw_size || name_size == 0 || name_size > envelope->limits->key_bytes ||
        body_size > envelope->limits->value_bytes || !dctx_name_is_clean_(name, name_size))
        return dctx_envelope_any_(envelope, ret_entry);
    envelope->at = at + raw_size;
    envelope->entries_left--;
    ret_entry->raw = at;
    ret_entry->raw_size = raw_size;
    ret_entry->name = (const char *)name;
    ret_entry->name_size = name_size;
    ret_entry->version = rest[0];
    ret_entry->body = rest + 3;
    ret_entry->body_size = body_size;
    return DCTX_OK;
}

/*
 * The next entry if it begins with those bytes, the entry of a known key up to its value, in the
 * form in which this library writes it: then name and version need no more looking at. False if it
 * does not, and nothing happened. Of *ret_entry just `raw` and `raw_size` are set.
 */
static inline bool dctx_envelope_next_is_(dctx_envelope_t *envelope, const uint8_t *prefix,
                                          size_t size, dctx_envelope_entry_t *ret_entry)
{
    const uint8_t *at = envelope->at;
    size_t left = (size_t)(envelope->end - at);
    if (envelope->entries_left == 0 || left < size + 2 || at[size] != 0xc4)
        return false;
    size_t body_size = at[size + 1];
    size_t raw_size = size + 2 + body_size;
    if (left < raw_size || body_size > envelope->limits->value_bytes ||
        !dctx_name_same_(prefix, at, size))
        return false;
    envelope->at = at + raw_size;
    envelope->entries_left--;
    ret_entry->raw = at;
    ret_entry->raw_size = raw_size;
    return true;
}

/* After the last entry: what follows must be well-formed elements to the last byte. */
dctx_error_t dctx_envelope_close_(dctx_envelope_t *envelope);

#endif
