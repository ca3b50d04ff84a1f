/* Asks in more than one piece, for the rooms of this library: as dctx_ask_retry() and
 * dctx_ask_hedged(), for any asker. */
#ifndef DCTX_RETRY_ROOM_H
#define DCTX_RETRY_ROOM_H

#include <dcontext/retry.h>

#include "errand.h"

dctx_error_t dctx_ask_retry_(dctx_ref_t to, const dctx_type_t *type, const void *value,
                             int64_t timeout_ms, const dctx_retry_t *options,
                             const dctx_errand_asker_t *asker);
dctx_error_t dctx_ask_hedged_(dctx_ref_t to, const dctx_type_t *type, const void *value,
                              int64_t timeout_ms, dctx_hedge_t *hedge,
                              const dctx_errand_asker_t *asker);

#endif
