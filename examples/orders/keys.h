/* keys.h - what an order's context holds: set once by the gateway, read wherever work is done for
 * the request. */
#ifndef ORDERS_KEYS_H
#define ORDERS_KEYS_H

#include <dcontext/dcontext.h>

DCTX_DECLARE_KEY_STRING(request_id) /* which request this work is for */
DCTX_DECLARE_KEY_STRING(tenant)     /* on whose behalf */
DCTX_DECLARE_KEY_BOOL(express)      /* feature flag: ship the same day */
DCTX_DECLARE_KEY_INT64(budget_ms)   /* how long the answer may take, in milliseconds */

/* Register the keys with the process-wide registry and freeze it. Once, before the first thread is
 * started. */
dctx_error_t keys_freeze(void);

#endif
