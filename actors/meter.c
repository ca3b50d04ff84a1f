#include "meter.h"

enum { FIRST = 6, STEPS = 4 }; /* the first bucket ends at 2^FIRST */

static uint64_t load(_Atomic(uint64_t) *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

unsigned dctx_timing_bucket_(uint64_t ns)
{
    if (ns >> FIRST == 0)
        return 0;
    unsigned exponent = 63u - (unsigned)__builtin_clzll(ns);
    unsigned step = (unsigned)(ns >> (exponent - 2)) & (STEPS - 1);
    unsigned bucket = (exponent - FIRST) * STEPS + step + 1;
    return bucket < DCTX_HISTOGRAM_BUCKETS ? bucket : DCTX_HISTOGRAM_BUCKETS - 1;
}

uint64_t dctx_histogram_bound(unsigned bucket)
{
    if (bucket == 0)
        return 1u << FIRST;
    if (bucket >= DCTX_HISTOGRAM_BUCKETS - 1)
        return UINT64_MAX;
    unsigned exponent = FIRST + (bucket - 1) / STEPS;
    return (uint64_t)(STEPS + 1 + (bucket - 1) % STEPS) << (exponent - 2);
}

void dctx_timing_record_(dctx_timing_t *timing, int64_t time)
{
    uint64_t ns = time > 0 ? (uint64_t)time : 0;
    dctx_meter_add_(&timing->count, 1);
    dctx_meter_add_(&timing->sum, ns);
    dctx_meter_add_(&timing->buckets[dctx_timing_bucket_(ns)], 1);
    if (ns > load(&timing->max))
        atomic_store_explicit(&timing->max, ns, memory_order_relaxed);
}

void dctx_timing_read_(dctx_timing_t *timing, dctx_histogram_t *histogram)
{
    uint64_t max = load(&timing->max);
    histogram->count += load(&timing->count);
    histogram->sum_ns += load(&timing->sum);
    histogram->max_ns = max > histogram->max_ns ? max : histogram->max_ns;
    for (unsigned i = 0; i < DCTX_HISTOGRAM_BUCKETS; i++)
        histogram->buckets[i] += load(&timing->buckets[i]);
}

static void move(_Atomic(uint64_t) *to, _Atomic(uint64_t) *from)
{
    dctx_meter_add_(to, load(from));
    atomic_store_explicit(from, 0, memory_order_relaxed);
}

static void fold(dctx_timing_t *timing, dctx_timing_t *from)
{
    move(&timing->count, &from->count);
    move(&timing->sum, &from->sum);
    for (unsigned i = 0; i < DCTX_HISTOGRAM_BUCKETS; i++)
        move(&timing->buckets[i], &from->buckets[i]);
    if (load(&from->max) > load(&timing->max))
        atomic_store_explicit(&timing->max, load(&from->max), memory_order_relaxed);
    atomic_store_explicit(&from->max, 0, memory_order_relaxed);
}

void dctx_meter_fold_(dctx_meter_t *meter, dctx_meter_t *from)
{
    move(&meter->handled, &from->handled);
    move(&meter->failed, &from->failed);
    fold(&meter->wait, &from->wait);
    fold(&meter->run, &from->run);
}

uint64_t dctx_histogram_quantile(const dctx_histogram_t *histogram, double quantile)
{
    uint64_t all = 0, seen = 0;
    if (histogram == NULL)
        return 0;
    /* The buckets are read one by one while others count: their own sum is the whole. */
    for (unsigned i = 0; i < DCTX_HISTOGRAM_BUCKETS; i++)
        all += histogram->buckets[i];
    if (all == 0)
        return 0;
    double share = quantile > 1 ? 1 : quantile > 0 ? quantile : 0;
    uint64_t rank = (uint64_t)(share * (double)all + 0.5);
    if (rank < 1)
        rank = 1;
    for (unsigned i = 0; i < DCTX_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen < rank)
            continue;
        uint64_t bound = dctx_histogram_bound(i);
        return bound < histogram->max_ns ? bound : histogram->max_ns;
    }
    return histogram->max_ns;
}
