#include "counters.h"

#include <stdatomic.h>
#include <stddef.h>

#include <dcontext/internal.h>
#include <dcontext/stamp.h>

/*
 * Each thread adds to a block of its own, so that threads do not fight for a cache line. Past
 * BLOCKS threads two share one, which is slower and not wrong, as the adding is atomic. Each
 * counter stands for itself, so relaxed.
 */
#define BLOCKS 32

static struct block {
    atomic_ullong counts[DCTX_TRANSPORT_COUNTERS];
} __attribute__((aligned(64))) blocks[BLOCKS];

static struct block *own_block(void)
{
    static _Thread_local struct block *mine __attribute__((tls_model("initial-exec")));
    static atomic_uint last;
    if (mine == NULL)
        mine = &blocks[atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) % BLOCKS];
    return mine;
}

void dctx_transport_count_(dctx_transport_counter_t counter)
{
    atomic_fetch_add_explicit(&own_block()->counts[counter], 1, memory_order_relaxed);
}

static uint64_t sum(dctx_transport_counter_t counter)
{
    uint64_t all = 0;
    for (size_t i = 0; i < BLOCKS; i++)
        all += atomic_load_explicit(&blocks[i].counts[counter], memory_order_relaxed);
    return all;
}

void dctx_transport_counters_read(dctx_transport_counters_t *ret_counters)
{
    ret_counters->stamped = sum(DCTX_TRANSPORT_STAMPED);
    ret_counters->unstamped = sum(DCTX_TRANSPORT_UNSTAMPED);
    ret_counters->received_stamped = sum(DCTX_TRANSPORT_RECEIVED_STAMPED);
    ret_counters->received_unstamped = sum(DCTX_TRANSPORT_RECEIVED_UNSTAMPED);
    ret_counters->stamps_refused = sum(DCTX_TRANSPORT_STAMPS_REFUSED);
}
