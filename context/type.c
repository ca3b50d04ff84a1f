#include "type.h"

#include <string.h>

#include "fail.h"

/* ---- strings and bytes: what varies in size -------------------------------------------------- */

/* All that stands between these and dctx_type_t's fixed size is the stored form, see internal.h.
 * Their `size` is 0 so that code that does not know of it gets no memory to write into by mistake.
 */

static dctx_error_t string_encode(const void *value, dctx_writer_t *writer)
{
    const char *string = value;
    dctx_write_str(writer, string, strlen(string));
    return dctx_writer_error(writer);
}

static dctx_error_t bytes_encode(const void *value, dctx_writer_t *writer)
{
    const dctx_bytes_t *bytes = value;
    dctx_write_bin(writer, bytes->data, bytes->size);
    return dctx_writer_error(writer);
}

dctx_error_t dctx_builtin_view_(int builtin, const void *data, size_t size, dctx_bytes_t *ret_view)
{
    dctx_reader_t reader;
    dctx_bytes_t view = {0};
    dctx_reader_init(&reader, data, size);
    if (builtin == DCTX_BUILTIN_STRING)
        view = dctx_read_str(&reader);
    else if (builtin == DCTX_BUILTIN_BYTES)
        view = dctx_read_bin(&reader);
    else
        return dctx_fail_(DCTX_ERR_INVALID, "a type of fixed size has no view");
    dctx_error_t error = dctx_reader_end(&reader);
    if (error != DCTX_OK)
        return error;
    if (builtin == DCTX_BUILTIN_STRING && view.size > 0 && memchr(view.data, '\0', view.size))
        return dctx_fail_(DCTX_ERR_MALFORMED, "a string of %zu bytes has a NUL inside", view.size);
    *ret_view = view;
    return DCTX_OK;
}

static void store_string(char *dst, const void *data, size_t length)
{
    if (length > 0)
        memcpy(dst, data, length);
    dst[length] = '\0';
}

static void store_bytes(dctx_bytes_t *dst, const void *data, size_t size)
{
    dst->data = dst + 1;
    dst->size = size;
    if (size > 0)
        memcpy(dst + 1, data, size);
}

static dctx_error_t string_decode(void *dst, const void *data, size_t size)
{
    dctx_bytes_t view = {0};
    dctx_error_t error = dctx_builtin_view_(DCTX_BUILTIN_STRING, data, size, &view);
    if (error == DCTX_OK)
        store_string(dst, view.data, view.size);
    return error;
}

static dctx_error_t bytes_decode(void *dst, const void *data, size_t size)
{
    dctx_bytes_t view = {0};
    dctx_error_t error = dctx_builtin_view_(DCTX_BUILTIN_BYTES, data, size, &view);
    if (error == DCTX_OK)
        store_bytes(dst, view.data, view.size);
    return error;
}

static dctx_error_t string_copy(void *dst, const void *src)
{
    store_string(dst, src, strlen(src));
    return DCTX_OK;
}

static dctx_error_t bytes_copy(void *dst, const void *src)
{
    const dctx_bytes_t *bytes = src;
    store_bytes(dst, bytes->data, bytes->size);
    return DCTX_OK;
}

/* ---- the fixed-size ones --------------------------------------------------------------------- */

static dctx_error_t bool_encode(const void *value, dctx_writer_t *writer)
{
    dctx_write_bool(writer, *(const bool *)value);
    return dctx_writer_error(writer);
}

static dctx_error_t int64_encode(const void *value, dctx_writer_t *writer)
{
    dctx_write_int(writer, *(const int64_t *)value);
    return dctx_writer_error(writer);
}

static dctx_error_t uint64_encode(const void *value, dctx_writer_t *writer)
{
    dctx_write_uint(writer, *(const uint64_t *)value);
    return dctx_writer_error(writer);
}

static dctx_error_t double_encode(const void *value, dctx_writer_t *writer)
{
    dctx_write_double(writer, *(const double *)value);
    return dctx_writer_error(writer);
}

#define FIXED_DECODE(name, type, read)                                                             \
    static dctx_error_t name(void *dst, const void *data, size_t size)                             \
    {                                                                                              \
        dctx_reader_t reader;                                                                      \
        dctx_reader_init(&reader, data, size);                                                     \
        type value = read(&reader);                                                                \
        dctx_error_t error = dctx_reader_end(&reader);                                             \
        if (error == DCTX_OK)                                                                      \
            *(type *)dst = value;                                                                  \
        return error;                                                                              \
    }

FIXED_DECODE(bool_decode, bool, dctx_read_bool)
FIXED_DECODE(int64_decode, int64_t, dctx_read_int)
FIXED_DECODE(uint64_decode, uint64_t, dctx_read_uint)
FIXED_DECODE(double_decode, double, dctx_read_double)

/* ---- the descriptors ------------------------------------------------------------------------- */

const dctx_type_t dctx_type_string = {.name = "string",
                                      .size = 0,
                                      .copy = string_copy,
                                      .encode = string_encode,
                                      .decode = string_decode,
                                      .builtin_ = DCTX_BUILTIN_STRING};
const dctx_type_t dctx_type_bytes = {.name = "bytes",
                                     .size = 0,
                                     .copy = bytes_copy,
                                     .encode = bytes_encode,
                                     .decode = bytes_decode,
                                     .builtin_ = DCTX_BUILTIN_BYTES};
const dctx_type_t dctx_type_bool = {.name = "bool",
                                    .size = sizeof(bool),
                                    .encode = bool_encode,
                                    .decode = bool_decode,
                                    .builtin_ = DCTX_BUILTIN_BOOL};
const dctx_type_t dctx_type_int64 = {.name = "int64",
                                     .size = sizeof(int64_t),
                                     .encode = int64_encode,
                                     .decode = int64_decode,
                                     .builtin_ = DCTX_BUILTIN_INT64};
const dctx_type_t dctx_type_uint64 = {.name = "uint64",
                                      .size = sizeof(uint64_t),
                                      .encode = uint64_encode,
                                      .decode = uint64_decode,
                                      .builtin_ = DCTX_BUILTIN_UINT64};
const dctx_type_t dctx_type_double = {.name = "double",
                                      .size = sizeof(double),
                                      .encode = double_encode,
                                      .decode = double_decode,
                                      .builtin_ = DCTX_BUILTIN_DOUBLE};

/* ---- values of any type ---------------------------------------------------------------------- */

static size_t stored_bytes_size(size_t size)
{
    /* SIZE_MAX is a size that no allocator has. */
    return size <= SIZE_MAX - sizeof(dctx_bytes_t) ? sizeof(dctx_bytes_t) + size : SIZE_MAX;
}

size_t dctx_type_stored_size_(const dctx_type_t *type, const void *value)
{
    switch (type->builtin_) {
    case DCTX_BUILTIN_STRING:
        return strlen(value) + 1;
    case DCTX_BUILTIN_BYTES:
        return stored_bytes_size(((const dctx_bytes_t *)value)->size);
    default:
        return type->size;
    }
}

dctx_error_t dctx_type_store_(const dctx_type_t *type, void *dst, size_t stored_size,
                              const void *value)
{
    switch (type->builtin_) {
    case DCTX_BUILTIN_STRING:
        store_string(dst, value, stored_size - 1);
        return DCTX_OK;
    case DCTX_BUILTIN_BYTES: {
        const dctx_bytes_t *bytes = value;
        size_t size = stored_size - sizeof(*bytes);
        if (bytes->data == NULL && size > 0)
            return dctx_fail_(DCTX_ERR_INVALID, "%zu bytes at NULL", size);
        store_bytes(dst, bytes->data, size);
        return DCTX_OK;
    }
    default:
        if (type->copy != NULL)
            return type->copy(dst, value);
        memcpy(dst, value, stored_size);
        return DCTX_OK;
    }
}

dctx_error_t dctx_type_decoded_size_(const dctx_type_t *type, const void *data, size_t size,
                                     size_t *ret_size)
{
    if (!dctx_type_is_variable_(type)) {
        *ret_size = type->size;
        return DCTX_OK;
    }
    dctx_bytes_t view = {0};
    dctx_error_t error = dctx_builtin_view_(type->builtin_, data, size, &view);
    if (error == DCTX_OK)
        *ret_size =
            type->builtin_ == DCTX_BUILTIN_STRING ? view.size + 1 : stored_bytes_size(view.size);
    return error;
}

dctx_error_t dctx_type_decode_(const dctx_type_t *type, void *dst, const void *data, size_t size)
{
    if (type->decode == NULL)
        return dctx_fail_(DCTX_ERR_CODEC, "type '%s' has no decode function", type->name);
    return type->decode(dst, data, size);
}

void dctx_type_destroy_(const dctx_type_t *type, void *value)
{
    if (type->destroy != NULL)
        type->destroy(value);
}
