/* The end of a system. */
#ifndef DCTX_STOP_H
#define DCTX_STOP_H

#include <stdint.h>

#include <dcontext/system.h>

/* dctx_system_stop() but for the report, which is left in the system. Call under stop_lock. */
dctx_error_t dctx_system_stop_(dctx_system_t *system, int64_t timeout_ms);

/* Adds a line to the report of who did not stop. Any thread of the system,
 * and the one that stops it. */
void dctx_stop_report_(dctx_system_t *system, const char *line);

#endif
