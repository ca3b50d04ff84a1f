/*
 * What is measured of an actor. Its receiver alone writes, with plain additions; anybody reads. It
 * hangs on the actor's gauge, and as that belongs to the cell, once made until the system ends.
 */
#ifndef DCTX_METER_H
#define DCTX_METER_H

#include <stdatomic.h>
#include <stdint.h>

#include <dcontext/metrics.h>

#include "cell.h"

typedef struct dctx_timing {
    _Atomic(uint64_t) count;
    _Atomic(uint64_t) sum;
    _Atomic(uint64_t) max;
    _Atomic(uint64_t) buckets[DCTX_HISTOGRAM_BUCKETS];
} dctx_timing_t;

struct dctx_meter {
    _Atomic(uint64_t) handled;
    _Atomic(uint64_t) failed;
    /* When the oldest message that waits was sent, as far as we know: by the receiver when it takes
     * the one before, or by the sender who finds none. */
    _Atomic(int64_t) oldest;
    dctx_timing_t wait;
    dctx_timing_t run;
};

/* The bucket of a time. */
unsigned dctx_timing_bucket_(uint64_t ns);

/* For the receiver. A clock that was set back reads as 0. */
void dctx_timing_record_(dctx_timing_t *timing, int64_t ns);

static inline void dctx_meter_add_(_Atomic(uint64_t) *count, uint64_t n)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

/* Adds what a timing holds. */
void dctx_timing_read_(dctx_timing_t *timing, dctx_histogram_t *histogram);

/* Adds what `from` holds, and makes it all zero. The caller sees to it that nobody else writes
 * either. */
void dctx_meter_fold_(dctx_meter_t *meter, dctx_meter_t *from);

#endif
