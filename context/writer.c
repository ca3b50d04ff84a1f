#include "writer.h"

#include <string.h>

#include "alloc.h"
#include "fail.h"

#define DEFAULT_LIMIT 4096
#define FIRST_BLOCK   128

void dctx_writer_init_(dctx_writer_t *writer, void *buffer, size_t capacity, size_t limit)
{
    if (limit == 0)
        limit = DEFAULT_LIMIT;
    *writer = (dctx_writer_t){
        .data = buffer,
        .capacity = capacity < limit ? capacity : limit,
        .limit = limit,
    };
}

void dctx_writer_finish_(dctx_writer_t *writer)
{
    if (writer->heap)
        dctx_release_(writer->data);
    *writer = (dctx_writer_t){.error = DCTX_ERR_INVALID};
}

dctx_error_t dctx_writer_new(size_t limit, dctx_writer_t **ret_writer)
{
    dctx_writer_t *writer = dctx_alloc_(sizeof(*writer));
    if (writer == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a writer");
    dctx_writer_init_(writer, NULL, 0, limit);
    *ret_writer = writer;
    return DCTX_OK;
}

void dctx_writer_destroy(dctx_writer_t **writer_p)
{
    if (writer_p == NULL || *writer_p == NULL)
        return;
    dctx_writer_finish_(*writer_p);
    dctx_release_(*writer_p);
    *writer_p = NULL;
}

void dctx_writer_fail(dctx_writer_t *writer, dctx_error_t error)
{
    if (writer->error == DCTX_OK)
        writer->error = error;
}

dctx_error_t dctx_writer_error(const dctx_writer_t *writer)
{
    return writer->error;
}

dctx_bytes_t dctx_writer_bytes(const dctx_writer_t *writer)
{
    return (dctx_bytes_t){writer->data, writer->size};
}

bool dctx_writer_fits_(dctx_writer_t *writer, size_t size)
{
    if (writer->error == DCTX_OK && size > writer->limit - writer->size)
        writer->error =
            dctx_fail_(DCTX_ERR_LIMIT, "%zu bytes after %zu would pass the limit of %zu bytes",
                       size, writer->size, writer->limit);
    return writer->error == DCTX_OK;
}

/* Room for `size` more bytes, by doubling and never past the limit. */
static bool grow(dctx_writer_t *writer, size_t size)
{
    if (!dctx_writer_fits_(writer, size))
        return false;
    size_t needed = writer->size + size;
    size_t capacity = writer->capacity < FIRST_BLOCK / 2 ? FIRST_BLOCK / 2 : writer->capacity;
    do {
        if (capacity > writer->limit / 2) {
            capacity = writer->limit;
            break;
        }
        capacity *= 2;
    } while (capacity < needed);
    uint8_t *data = dctx_alloc_(capacity);
    if (data == NULL) {
        writer->error =
            dctx_fail_(DCTX_ERR_NOMEM, "no memory for an encoding of %zu bytes", needed);
        return false;
    }
    if (writer->size > 0)
        memcpy(data, writer->data, writer->size);
    if (writer->heap)
        dctx_release_(writer->data);
    writer->data = data;
    writer->capacity = capacity;
    writer->heap = true;
    return true;
}

uint8_t *dctx_writer_reserve_(dctx_writer_t *writer, size_t size)
{
    if (writer->error != DCTX_OK)
        return NULL;
    if (size > writer->capacity - writer->size && !grow(writer, size))
        return NULL;
    uint8_t *room = writer->data + writer->size;
    writer->size += size;
    return room;
}

void dctx_writer_put(dctx_writer_t *writer, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (data == NULL) {
        dctx_writer_fail(writer, DCTX_ERR_INVALID);
        return;
    }
    uint8_t *room = dctx_writer_reserve_(writer, size);
    if (room != NULL)
        memcpy(room, data, size);
}

int dctx_writer_msgpack(void *writer, const char *data, size_t size)
{
    dctx_writer_put(writer, data, size);
    return dctx_writer_error(writer) == DCTX_OK ? 0 : -1;
}
