/* The end of a system. */
#ifndef DCTX_STOP_H
#define DCTX_STOP_H

#include <stdint.h>

#include <dcontext/system.h>

/* dctx_system_stop() but for the report, which is left in the system. Call under stop_lock. */
dctx_error_t dctx_system_stop_(dctx_system_t *system, int64_t timeout_ms);

#endif
