/*
 * Frames and records of a link, as docs/wire.md section 3 has them: written into memory of the
 * caller, read in place. Nothing is allocated and no length that the input claims is trusted.
 */
#ifndef DCTX_RECORD_H
#define DCTX_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/type.h>

#define DCTX_FRAME_HEAD    4
#define DCTX_FRAME_VERSION 1
#define DCTX_RECORD_HEAD   40
#define DCTX_TARGET_MAX    255
#define DCTX_REASON_MAX    255
#define DCTX_PING_MAX      64
#define DCTX_SAME_CONTEXT  1 /* flag: the context is that of the record before */

/* Kinds below DCTX_KIND_MESSAGE; the rest are dctx_link_kind_t. */
enum {
    DCTX_KIND_HELLO = 1,
    DCTX_KIND_WELCOME = 2,
    DCTX_KIND_REFUSED = 3,
    DCTX_KIND_PING = 4,
    DCTX_KIND_PONG = 5,
    DCTX_KIND_BYE = 6,
    DCTX_KIND_ACK = 7,
    DCTX_KIND_MESSAGE = 16, /* the first kind that has a sequence number */
    DCTX_KIND_MESSAGE_LAST = 29,
    DCTX_KIND_UNSAID = 26,  /* the last kind that a peer knows which does not say */
    DCTX_KIND_SKIPPED = 128 /* the first kind that a reader skips when it does not know it */
};

typedef struct dctx_record {
    uint8_t kind;
    uint8_t flags;
    uint8_t code;
    uint64_t sequence;
    uint64_t acknowledged;
    uint64_t correlation;
    dctx_bytes_t target;
    dctx_bytes_t type;
    dctx_bytes_t stamp;
    dctx_bytes_t payload;
} dctx_record_t;

static inline size_t dctx_record_size_(const dctx_record_t *record)
{
    return DCTX_RECORD_HEAD + record->target.size + record->type.size + record->stamp.size +
           record->payload.size;
}

static inline bool dctx_record_is_message_(const dctx_record_t *record)
{
    return record->kind >= DCTX_KIND_MESSAGE && record->kind <= DCTX_KIND_MESSAGE_LAST;
}

/* The four bytes that every frame begins with. */
void dctx_frame_begin_(uint8_t out[DCTX_FRAME_HEAD]);

/* Writes dctx_record_size_() bytes, which fit 32 bits; target and type are within their limit. */
void dctx_record_write_(const dctx_record_t *record, uint8_t *out);

/* Changes the acknowledged field of a record that was written. */
void dctx_record_acknowledge_(uint8_t *record, uint64_t acknowledged);

/*
 * Is this a frame? Looks at all of it: DCTX_OK, and then dctx_record_read_() may walk it;
 * DCTX_ERR_VERSION for another version of this protocol; DCTX_ERR_MALFORMED, also for a record
 * longer than `record_limit`. No detail: floods of garbage shall be cheap.
 */
dctx_error_t dctx_frame_check_(const void *frame, size_t size, size_t record_limit);

/* Reads the record at `at`, in a checked frame, and returns its length. The bytes are the
 * frame's. */
size_t dctx_record_read_(const uint8_t *at, dctx_record_t *ret_record);

#endif
