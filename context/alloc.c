#include "alloc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/runtime.h>

/* Both NULL: malloc and free. Plain fields: dctx_set_allocator() may only be called when no other
 * thread is inside the library. */
static dctx_allocator_t current;

void dctx_set_allocator(const dctx_allocator_t *allocator)
{
    current = allocator != NULL ? *allocator : (dctx_allocator_t){NULL, NULL};
}

void *dctx_alloc_(size_t size)
{
    /* malloc(0) may give NULL, which would look like a failure. */
    size += size == 0;
    if (__builtin_expect(size > PTRDIFF_MAX, 0))
        return NULL;
    if (__builtin_expect(current.allocate == NULL, 1))
        return malloc(size);
    return current.allocate(size);
}

void *dctx_calloc_(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX)
        return NULL;
    bytes += bytes == 0;
    if (__builtin_expect(current.allocate == NULL, 1))
        return calloc(1, bytes);
    void *block = current.allocate(bytes);
    if (block != NULL)
        memset(block, 0, bytes);
    return block;
}

void dctx_release_(void *block)
{
    if (__builtin_expect(current.release == NULL, 1))
        free(block);
    else if (block != NULL)
        current.release(block);
}

char *dctx_strndup_(const char *data, size_t size)
{
    char *copy = size < SIZE_MAX ? dctx_alloc_(size + 1) : NULL;
    if (copy == NULL)
        return NULL;
    if (size > 0)
        memcpy(copy, data, size);
    copy[size] = '\0';
    return copy;
}

void dctx_free(void *block)
{
    dctx_release_(block);
}
