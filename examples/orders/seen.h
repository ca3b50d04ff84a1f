/* seen.h - what the calling handler sees in its context. */
#ifndef ORDERS_SEEN_H
#define ORDERS_SEEN_H

#include "messages.h"

/* From the context alone: no message and no state goes in. DCTX_ERR_ABSENT when it names no request
 * or no tenant. */
dctx_error_t seen_here(seen_t *ret_seen);

/* True if the context is still, or again, that of the same request, on the same path. */
bool seen_matches(const seen_t *seen);

#endif
