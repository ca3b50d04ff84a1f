/*
 * The writer's inside: it can begin in memory of the caller (mostly on the stack) and moves to the
 * heap only when that is full.
 */
#ifndef DCTX_WRITER_H
#define DCTX_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/type.h>

struct dctx_writer {
    uint8_t *data;
    size_t size;
    size_t capacity; /* never above limit */
    size_t limit;
    dctx_error_t error;
    bool heap; /* data is ours to release */
};

/* A writer in the caller's memory, starting in `buffer` (capacity may be 0). Finish it; finish
 * keeps nothing. */
void dctx_writer_init_(dctx_writer_t *writer, void *buffer, size_t capacity, size_t limit);
void dctx_writer_finish_(dctx_writer_t *writer);

/* Forget what was written, and the error; keep the memory. */
static inline void dctx_writer_reset_(dctx_writer_t *writer)
{
    writer->size = 0;
    writer->error = DCTX_OK;
}

/* True if `size` more bytes are within the limit and nothing failed yet; else the error sticks. */
bool dctx_writer_fits_(dctx_writer_t *writer, size_t size);

/* Room for `size` bytes, counted as written, for the caller to fill; NULL once the writer
 * failed. */
uint8_t *dctx_writer_reserve_(dctx_writer_t *writer, size_t size);

#endif
