/* dctx_fail_(): an error with words. See <dcontext/internal.h>. */
#ifndef DCTX_FAIL_H
#define DCTX_FAIL_H

#include <dcontext/internal.h>

#endif
