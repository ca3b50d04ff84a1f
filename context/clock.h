/* Time that does not overflow, whatever a peer claims. */
#ifndef DCTX_CLOCK_H
#define DCTX_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <dcontext/clock.h>
#include <dcontext/internal.h>

static inline int64_t dctx_time_add_(int64_t a, int64_t b)
{
    int64_t sum;
    if (!__builtin_add_overflow(a, b, &sum))
        return sum;
    return b > 0 ? INT64_MAX : INT64_MIN;
}

static inline int64_t dctx_time_sub_(int64_t a, int64_t b)
{
    int64_t difference;
    if (!__builtin_sub_overflow(a, b, &difference))
        return difference;
    return b < 0 ? INT64_MAX : INT64_MIN;
}

static inline int64_t dctx_clock_wall_(const dctx_clocks_t *clock)
{
    return clock->wall(clock->arg);
}

static inline int64_t dctx_clock_monotonic_(const dctx_clocks_t *clock)
{
    return clock->monotonic(clock->arg);
}

static inline int64_t dctx_clock_skew_(const dctx_clocks_t *clock)
{
    return clock->skew > 0 ? clock->skew : INT64_C(10000000);
}

static inline bool dctx_clock_same_boot_(const dctx_clocks_t *clock, const uint8_t boot_id[16])
{
    static const uint8_t unknown[16];
    return memcmp(clock->boot_id, boot_id, 16) == 0 && memcmp(boot_id, unknown, 16) != 0;
}

/* NULL stands for the clock of the registry that is current on this thread. */
const dctx_clocks_t *dctx_clock_or_current_(const dctx_clocks_t *clock);

/* What the coarse clock's reading is while it is stopped: so late that nothing is due later, and
 * that an addition does not overflow. The reading is written by its thread, and by who starts it;
 * relaxed, as a time orders nothing. */
#define DCTX_COARSE_STOPPED (INT64_MAX - 2 * DCTX_COARSE_ERROR_)

#endif
