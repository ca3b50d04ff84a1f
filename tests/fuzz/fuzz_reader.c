/*
 * The reader and writer that codecs use. The first byte says how many of the following are calls to
 * make, in any order and however wrong; the rest is what they read. Then the same bytes are copied
 * item by item through reader and writer, and msgpack-c says whether the copy is the same.
 */
#include <msgpack.h>

#include "keys.h"

static void check_inside(const dctx_reader_t *reader, const uint8_t *data, size_t size,
                         dctx_bytes_t bytes)
{
    MUST(bytes.size <= size);
    if (bytes.size > 0)
        MUST((const uint8_t *)bytes.data >= data &&
             (const uint8_t *)bytes.data + bytes.size <= data + size);
    MUST(dctx_reader_error(reader) == DCTX_OK || bytes.size == 0);
}

static void call(dctx_reader_t *reader, uint8_t what, const uint8_t *data, size_t size)
{
    dctx_error_t before = dctx_reader_error(reader);
    bool any = false;
    switch (what % 12) {
    case 0:
        dctx_read_nil(reader);
        break;
    case 1:
        any = dctx_read_bool(reader);
        break;
    case 2:
        any = dctx_read_int(reader) != 0;
        break;
    case 3:
        any = dctx_read_uint(reader) != 0;
        break;
    case 4:
        any = dctx_read_double(reader) != 0;
        break;
    case 5:
        check_inside(reader, data, size, dctx_read_str(reader));
        break;
    case 6:
        check_inside(reader, data, size, dctx_read_bin(reader));
        break;
    case 7:
        any = dctx_read_array(reader) != 0;
        break;
    case 8:
        any = dctx_read_map(reader) != 0;
        break;
    case 9:
        dctx_read_skip(reader);
        break;
    case 10:
        any = dctx_reader_peek(reader) != DCTX_ITEM_END;
        break;
    default:
        if (what > 250)
            dctx_reader_fail(reader, DCTX_ERR_CODEC);
        break;
    }
    /* Sticky, and nothing comes out after it. */
    dctx_error_t after = dctx_reader_error(reader);
    MUST(before == DCTX_OK || (after == before && !any));
    MUST(after == DCTX_OK || dctx_reader_end(reader) != DCTX_OK);
    MUST(after == DCTX_OK || dctx_reader_peek(reader) == DCTX_ITEM_END);
}

static void call_all(const uint8_t *calls, size_t count, const uint8_t *data, size_t size)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    for (size_t i = 0; i < count; i++)
        call(&reader, calls[i], data, size);
}

/* ---- a copy ---- */

/* False if there is no more of it, or something that can be skipped but not read. */
static bool copy_item(dctx_reader_t *reader, dctx_writer_t *writer)
{
    dctx_reader_t twin = *reader;
    dctx_bytes_t bytes;
    uint64_t count;
    switch (dctx_reader_peek(reader)) {
    case DCTX_ITEM_END:
        return false;
    case DCTX_ITEM_NIL:
        dctx_read_nil(reader);
        dctx_write_nil(writer);
        break;
    case DCTX_ITEM_BOOL:
        dctx_write_bool(writer, dctx_read_bool(reader));
        break;
    case DCTX_ITEM_INT:
        (void)dctx_read_int(&twin);
        if (dctx_reader_error(&twin) == DCTX_OK)
            dctx_write_int(writer, dctx_read_int(reader));
        else
            dctx_write_uint(writer, dctx_read_uint(reader));
        break;
    case DCTX_ITEM_DOUBLE:
        dctx_write_double(writer, dctx_read_double(reader));
        break;
    case DCTX_ITEM_STR:
        bytes = dctx_read_str(reader);
        dctx_write_str(writer, bytes.data, bytes.size);
        break;
    case DCTX_ITEM_BIN:
        bytes = dctx_read_bin(reader);
        dctx_write_bin(writer, bytes.data, bytes.size);
        break;
    case DCTX_ITEM_ARRAY:
    case DCTX_ITEM_MAP:
        if (dctx_reader_peek(reader) == DCTX_ITEM_ARRAY) {
            count = dctx_read_array(reader);
            dctx_write_array(writer, (uint32_t)count);
        } else {
            count = dctx_read_map(reader);
            dctx_write_map(writer, (uint32_t)count);
            count *= 2;
        }
        while (count-- > 0)
            if (!copy_item(reader, writer))
                return false;
        break;
    case DCTX_ITEM_EXT:
        return false;
    }
    return dctx_reader_error(reader) == DCTX_OK;
}

static bool same(const msgpack_object *a, const msgpack_object *b)
{
    bool real = (a->type == MSGPACK_OBJECT_FLOAT32 || a->type == MSGPACK_OBJECT_FLOAT64) &&
                b->type == MSGPACK_OBJECT_FLOAT64;
    if (real)
        return a->via.f64 == b->via.f64 || (a->via.f64 != a->via.f64 && b->via.f64 != b->via.f64);
    if (a->type != b->type)
        return false;
    bool equal = true;
    if (a->type == MSGPACK_OBJECT_ARRAY) {
        equal = a->via.array.size == b->via.array.size;
        for (uint32_t i = 0; equal && i < a->via.array.size; i++)
            equal = same(&a->via.array.ptr[i], &b->via.array.ptr[i]);
        return equal;
    }
    if (a->type == MSGPACK_OBJECT_MAP) {
        equal = a->via.map.size == b->via.map.size;
        for (uint32_t i = 0; equal && i < a->via.map.size; i++)
            equal = same(&a->via.map.ptr[i].key, &b->via.map.ptr[i].key) &&
                    same(&a->via.map.ptr[i].val, &b->via.map.ptr[i].val);
        return equal;
    }
    return msgpack_object_equal(*a, *b);
}

static void copy_all(const uint8_t *data, size_t size)
{
    dctx_reader_t reader, skipper;
    dctx_reader_init(&reader, data, size);
    dctx_reader_init(&skipper, data, size);
    dctx_read_skip(&skipper);
    if (dctx_reader_end(&skipper) != DCTX_OK)
        return; /* not one item, or nested too deep; msgpack-c is not to see it */
    msgpack_unpacked original, copy;
    size_t offset = 0;
    msgpack_unpacked_init(&original);
    MUST(msgpack_unpack_next(&original, (const char *)data, size, &offset) ==
             MSGPACK_UNPACK_SUCCESS &&
         offset == size);
    dctx_writer_t *writer = NULL;
    /* An item grows only where a float 32 becomes a float 64. */
    MUST(dctx_writer_new(2 * size + 1, &writer) == DCTX_OK);
    if (copy_item(&reader, writer)) {
        MUST(dctx_reader_end(&reader) == DCTX_OK);
        MUST(dctx_writer_error(writer) == DCTX_OK);
        dctx_bytes_t bytes = dctx_writer_bytes(writer);
        offset = 0;
        msgpack_unpacked_init(&copy);
        MUST(msgpack_unpack_next(&copy, bytes.data, bytes.size, &offset) ==
                 MSGPACK_UNPACK_SUCCESS &&
             offset == bytes.size);
        MUST(same(&original.data, &copy.data));
        msgpack_unpacked_destroy(&copy);
    }
    dctx_writer_destroy(&writer);
    msgpack_unpacked_destroy(&original);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t count = data[0] % 32;
    if (count > size - 1)
        count = size - 1;
    /* In a block of its own, so that reading in front of it shows too. */
    size_t rest = size - 1 - count;
    uint8_t *bytes = malloc(rest + (rest == 0));
    MUST(bytes != NULL);
    memcpy(bytes, data + 1 + count, rest);
    call_all(data + 1, count, bytes, rest);
    copy_all(bytes, rest);
    free(bytes);
    return 0;
}
