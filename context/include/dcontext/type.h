/*
 * dcontext/type.h - type descriptors: how a value is copied, destroyed, encoded and decoded; and
 * the bounded writer and reader that codecs use.
 *
 * The same descriptors describe context values and actors' messages.
 */
#ifndef DCONTEXT_TYPE_H
#define DCONTEXT_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/error.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dctx_writer dctx_writer_t;

/* A run of bytes, borrowed. The C type of a DCTX_TYPE_BYTES value. */
typedef struct dctx_bytes {
    const void *data;
    size_t size;
} dctx_bytes_t;

/*
 * A type. Make it `static const` and keep it for the life of the program; two registrations of one
 * key agree when they name the same descriptor.
 *
 * All callbacks are optional but `encode` and `decode` are needed for a broadcast key and for a
 * message that leaves the process. They may call any dcontext function, run on any thread, and must
 * not keep the pointers they are given. There is no value within itself: what a decode function is
 * making reads as absent until it returns, what an encode function is at is refused to a further
 * encoding on that thread with DCTX_ERR_CODEC.
 */
typedef struct dctx_type {
    const char *name; /* for errors, and a message's type name on the wire */
    size_t size;      /* sizeof the C type; at most DCTX_TYPE_SIZE_MAX */
    /* Makes *dst a deep copy of *src; dst is uninitialised memory of `size` bytes. NULL: memcpy. On
     * an error *dst holds nothing. */
    dctx_error_t (*copy)(void *dst, const void *src);
    /* Releases what *value owns, not the memory of value itself. NULL: nothing to release. */
    void (*destroy)(void *value);
    /* Appends the encoding of *value to writer. The first error the writer met is also reported. */
    dctx_error_t (*encode)(const void *value, dctx_writer_t *writer);
    /* Makes *dst from an encoding. Returns anything but DCTX_OK to refuse; then *dst holds
     * nothing. */
    dctx_error_t (*decode)(void *dst, const void *data, size_t size);
    int builtin_; /* the library's own; 0 in every other descriptor */
} dctx_type_t;

#define DCTX_TYPE_SIZE_MAX ((size_t)1 << 20)

/* The built-in types. A string value is read and set as `const char *` (its bytes,
 * NUL-terminated; no NUL inside), bytes as `const dctx_bytes_t *`, the others as a pointer to
 * the C type. */
DCTX_EXPORT extern const dctx_type_t dctx_type_string; /* const char *, UTF-8 by custom */
DCTX_EXPORT extern const dctx_type_t dctx_type_bytes;  /* const dctx_bytes_t * */
DCTX_EXPORT extern const dctx_type_t dctx_type_bool;   /* const bool * */
DCTX_EXPORT extern const dctx_type_t dctx_type_int64;  /* const int64_t * */
DCTX_EXPORT extern const dctx_type_t dctx_type_uint64; /* const uint64_t * */
DCTX_EXPORT extern const dctx_type_t dctx_type_double; /* const double * */
#define DCTX_TYPE_STRING (&dctx_type_string)
#define DCTX_TYPE_BYTES  (&dctx_type_bytes)
#define DCTX_TYPE_BOOL   (&dctx_type_bool)
#define DCTX_TYPE_INT64  (&dctx_type_int64)
#define DCTX_TYPE_UINT64 (&dctx_type_uint64)
#define DCTX_TYPE_DOUBLE (&dctx_type_double)

/*
 * The writer: grows to its limit and no further. The first error sticks; later calls do nothing, so
 * check once at the end with dctx_writer_error().
 *
 * Ownership: the one an encode function is given is the library's; one from dctx_writer_new() is
 *   the caller's. Data given to it is copied.
 * Errors: DCTX_ERR_NOMEM; DCTX_ERR_LIMIT past the limit; what dctx_writer_fail() was told.
 * Thread-safety: one thread at a time.
 * Limits and units: bytes; `limit` 0 stands for 4096.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_writer_new(size_t limit, dctx_writer_t **ret_writer);
DCTX_EXPORT void dctx_writer_destroy(dctx_writer_t **writer_p);
DCTX_EXPORT void dctx_writer_put(dctx_writer_t *writer, const void *data, size_t size);
DCTX_EXPORT void dctx_writer_fail(dctx_writer_t *writer, dctx_error_t error);
DCTX_EXPORT dctx_error_t dctx_writer_error(const dctx_writer_t *writer);
DCTX_EXPORT dctx_bytes_t dctx_writer_bytes(const dctx_writer_t *writer); /* until the next write */

/* msgpack items, appended to a writer, in their shortest form. */
DCTX_EXPORT void dctx_write_nil(dctx_writer_t *writer);
DCTX_EXPORT void dctx_write_bool(dctx_writer_t *writer, bool value);
DCTX_EXPORT void dctx_write_int(dctx_writer_t *writer, int64_t value);
DCTX_EXPORT void dctx_write_uint(dctx_writer_t *writer, uint64_t value);
DCTX_EXPORT void dctx_write_double(dctx_writer_t *writer, double value);
DCTX_EXPORT void dctx_write_str(dctx_writer_t *writer, const char *data, size_t size);
DCTX_EXPORT void dctx_write_cstr(dctx_writer_t *writer, const char *string); /* NULL writes nil */
DCTX_EXPORT void dctx_write_bin(dctx_writer_t *writer, const void *data, size_t size);
DCTX_EXPORT void dctx_write_array(dctx_writer_t *writer, uint32_t count); /* then count items */
DCTX_EXPORT void dctx_write_map(dctx_writer_t *writer, uint32_t count);   /* then 2 * count items */

/* For code that packs with msgpack-c: msgpack_packer_init(&packer, writer, dctx_writer_msgpack).
 * Returns 0, or -1 once the writer failed. */
DCTX_EXPORT int dctx_writer_msgpack(void *writer, const char *data, size_t size);

/*
 * The reader: a cursor over borrowed msgpack bytes. It allocates nothing and trusts no length that
 * the input claims. The first error sticks; later calls return zero values, so check once at the
 * end with dctx_reader_end(), which also refuses bytes left over.
 *
 * Ownership: the bytes stay the caller's and must outlive the reader and what it returns.
 * Errors: sticky: DCTX_ERR_MALFORMED (cut short, or a byte that msgpack does not define),
 *   DCTX_ERR_TYPE (another type than asked for), DCTX_ERR_LIMIT (nested deeper than 16).
 * Thread-safety: one thread at a time.
 * Limits and units: nesting 16; sizes in bytes.
 */
typedef struct dctx_reader {
    const uint8_t *at_; /* private */
    const uint8_t *end_;
    dctx_error_t error_;
} dctx_reader_t;

typedef enum dctx_item {
    DCTX_ITEM_END = 0, /* no more bytes, or the reader failed */
    DCTX_ITEM_NIL,
    DCTX_ITEM_BOOL,
    DCTX_ITEM_INT, /* signed or unsigned, any width */
    DCTX_ITEM_DOUBLE,
    DCTX_ITEM_STR,
    DCTX_ITEM_BIN,
    DCTX_ITEM_ARRAY,
    DCTX_ITEM_MAP,
    DCTX_ITEM_EXT
} dctx_item_t;

DCTX_EXPORT void dctx_reader_init(dctx_reader_t *reader, const void *data, size_t size);
DCTX_EXPORT dctx_item_t dctx_reader_peek(const dctx_reader_t *reader);
DCTX_EXPORT void dctx_read_nil(dctx_reader_t *reader);
DCTX_EXPORT bool dctx_read_bool(dctx_reader_t *reader);
DCTX_EXPORT int64_t dctx_read_int(dctx_reader_t *reader);      /* over INT64_MAX: DCTX_ERR_TYPE */
DCTX_EXPORT uint64_t dctx_read_uint(dctx_reader_t *reader);    /* negative: DCTX_ERR_TYPE */
DCTX_EXPORT double dctx_read_double(dctx_reader_t *reader);    /* an integer item reads as well */
DCTX_EXPORT dctx_bytes_t dctx_read_str(dctx_reader_t *reader); /* not NUL-terminated */
DCTX_EXPORT dctx_bytes_t dctx_read_bin(dctx_reader_t *reader);
DCTX_EXPORT uint32_t dctx_read_array(dctx_reader_t *reader);
DCTX_EXPORT uint32_t dctx_read_map(dctx_reader_t *reader);
DCTX_EXPORT void dctx_read_skip(dctx_reader_t *reader); /* one item with all it holds */
DCTX_EXPORT void dctx_reader_fail(dctx_reader_t *reader, dctx_error_t error);
DCTX_EXPORT dctx_error_t dctx_reader_error(const dctx_reader_t *reader);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_reader_end(const dctx_reader_t *reader);

/*
 * Whether the bytes are exactly one well-formed msgpack item. Ask before handing what a peer sent
 * to msgpack-c: its unpacker reserves the memory that an array or map head claims (16 GiB for five
 * bytes) before it looks at the elements. After DCTX_OK each claimed element is really there.
 *
 * Ownership: the bytes stay the caller's.
 * Errors: DCTX_ERR_MALFORMED (cut short, bytes left over, or a byte that msgpack does not define);
 *   DCTX_ERR_LIMIT (arrays and maps nested deeper than max_depth).
 * Thread-safety: any thread. Allocates nothing.
 * Limits and units: max_depth counts arrays and maps within each other, empty ones included, a lone
 *   scalar has 0; 0 stands for 16, and more than 31, where msgpack-c gives up, for 31.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_msgpack_check(const void *data, size_t size,
                                                            unsigned max_depth);

#ifdef __cplusplus
}
#endif
#endif
