/*
 * A frame of a link: one that is accepted is made of records, each of which, written again, is as
 * it was but for the byte that nobody looks at. Every prefix of it that is accepted too ends with a
 * record.
 */
#include "keys.h"
#include "record.h"

static void walk(const uint8_t *frame, size_t size)
{
    size_t at = DCTX_FRAME_HEAD;
    while (at < size) {
        dctx_record_t record;
        size_t length = dctx_record_read_(frame + at, &record);
        MUST(length >= DCTX_RECORD_HEAD && length <= size - at);
        MUST(length == dctx_record_size_(&record));
        uint8_t *copy = malloc(length);
        MUST(copy != NULL);
        dctx_record_write_(&record, copy);
        copy[7] = frame[at + 7];
        MUST(memcmp(copy, frame + at, length) == 0);
        free(copy);
        at += length;
    }
    MUST(at == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* In memory of just that size, so that a read past its end is seen. */
    uint8_t *frame = malloc(size + (size == 0));
    MUST(frame != NULL);
    if (size > 0)
        memcpy(frame, data, size);
    dctx_error_t error = dctx_frame_check_(frame, size, 1 << 20);
    MUST(error == DCTX_OK || error == DCTX_ERR_MALFORMED || error == DCTX_ERR_VERSION);
    if (error == DCTX_OK)
        walk(frame, size);
    free(frame);
    return 0;
}
