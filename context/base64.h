/* RFC 4648 base64. */
#ifndef DCTX_BASE64_H
#define DCTX_BASE64_H

#include <stddef.h>

#include <dcontext/snapshot.h>

/* The text's length for `size` bytes, without the NUL. */
size_t dctx_base64_length_(dctx_base64_t form, size_t size);

/* Writes the text and a NUL: dctx_base64_length_() + 1 bytes. */
void dctx_base64_encode_(dctx_base64_t form, const void *data, size_t size, char *ret_text);

/* At most how many bytes a text of this length stands for. */
static inline size_t dctx_base64_bound_(size_t length)
{
    return length / 4 * 3 + 2;
}

/* Either alphabet, padded or not; nothing else: no white space, no wrong padding, no stray bits at
 * the end. `data` has room for dctx_base64_bound_() bytes, and may hold rubbish after a failure.
 * DCTX_ERR_MALFORMED. */
dctx_error_t dctx_base64_decode_(const char *text, size_t length, void *data, size_t *ret_size);

#endif
