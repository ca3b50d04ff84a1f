/* Memory on a cache line of its own, from the library's allocator. */
#ifndef DCTX_ALIGNED_H
#define DCTX_ALIGNED_H

#include <stddef.h>
#include <stdint.h>

#include <dcontext/internal.h>

enum { DCTX_CACHE_LINE = 64 };

/* Zeroed; NULL without memory. The block's own address stands right before the aligned part. */
static inline void *dctx_calloc_aligned_(size_t size)
{
    unsigned char *block = dctx_calloc_(1, size + DCTX_CACHE_LINE + sizeof(void *));
    if (block == NULL)
        return NULL;
    uintptr_t start = ((uintptr_t)block + sizeof(void *) + DCTX_CACHE_LINE - 1) &
                      ~(uintptr_t)(DCTX_CACHE_LINE - 1);
    unsigned char *aligned = block + (start - (uintptr_t)block);
    ((void **)(void *)aligned)[-1] = block;
    return aligned;
}

static inline void dctx_release_aligned_(void *aligned)
{
    if (aligned != NULL)
        dctx_release_(((void **)aligned)[-1]);
}

#endif
