#include "counters.h"

#include <stdatomic.h>
#include <stddef.h>

#include <dcontext/internal.h>
#include <dcontext/stamp.h>

/*
 * Each thread adds to a block of its own, so that threads do not fight for a cache line. The first
 * OWN_BLOCKS threads have one each, for good, and so need no atomic addition; all others share what
 * is left. Each counter stands for itself, so relaxed.
 */
#define BLOCKS     64
#define OWN_BLOCKS 32

static struct block {
    atomic_ullong counts[DCTX_TRANSPORT_COUNTERS];
} __attribute__((aligned(64))) blocks[BLOCKS];

static _Thread_local struct block *mine __attribute__((tls_model("initial-exec")));

static __attribute__((noinline)) void take_block(void)
{
    static atomic_ullong next;
    unsigned long long number = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed);
    mine = &blocks[number < OWN_BLOCKS ? number
                                       : OWN_BLOCKS + number % (unsigned)(BLOCKS - OWN_BLOCKS)];
}

void dctx_transport_count_(dctx_transport_counter_t counter)
{
    if (__builtin_expect(mine == NULL, 0))
        take_block();
    atomic_ullong *count = &mine->counts[counter];
    if (__builtin_expect(mine < blocks + OWN_BLOCKS, 1))
        atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
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
    if (ret_counters == NULL)
        return;
    ret_counters->stamped = sum(DCTX_TRANSPORT_STAMPED);
    ret_counters->unstamped = sum(DCTX_TRANSPORT_UNSTAMPED);
    ret_counters->received_stamped = sum(DCTX_TRANSPORT_RECEIVED_STAMPED);
    ret_counters->received_unstamped = sum(DCTX_TRANSPORT_RECEIVED_UNSTAMPED);
    ret_counters->stamps_refused = sum(DCTX_TRANSPORT_STAMPS_REFUSED);
}
