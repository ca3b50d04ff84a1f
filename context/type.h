/* The built-in types' inside. Values of any type in one's own memory: <dcontext/internal.h>. */
#ifndef DCTX_TYPE_INTERNAL_H
#define DCTX_TYPE_INTERNAL_H

#include <dcontext/internal.h>

/* dctx_type_t.builtin_ */
enum dctx_builtin {
    DCTX_BUILTIN_NONE = 0, /* a user's type */
    DCTX_BUILTIN_STRING,   /* varies in size, as BYTES does */
    DCTX_BUILTIN_BYTES,
    DCTX_BUILTIN_BOOL,
    DCTX_BUILTIN_INT64,
    DCTX_BUILTIN_UINT64,
    DCTX_BUILTIN_DOUBLE
};

static inline int dctx_type_is_variable_(const dctx_type_t *type)
{
    return type->builtin_ == DCTX_BUILTIN_STRING || type->builtin_ == DCTX_BUILTIN_BYTES;
}

/* The content of an encoded string or bytes value, within `data`. Checks everything that decode
 * checks: one msgpack item of the right type, nothing after it, no NUL inside a string.
 * DCTX_ERR_MALFORMED, DCTX_ERR_TYPE, or DCTX_ERR_INVALID if `builtin` is neither of the two. */
dctx_error_t dctx_builtin_view_(int builtin, const void *data, size_t size, dctx_bytes_t *ret_view);

#endif
