/* The library's allocator: dctx_alloc_ and its companions, see <dcontext/internal.h>. */
#ifndef DCTX_ALLOC_H
#define DCTX_ALLOC_H

#include <dcontext/internal.h>

#endif
