/*
 * What a system counts. Each of its threads has tallies of its own, which it alone writes, so that
 * counting costs a plain addition; threads from outside share some, with atomic additions. They are
 * summed when somebody asks.
 */
#ifndef DCTX_TALLY_H
#define DCTX_TALLY_H

#include <stdatomic.h>
#include <stdint.h>

typedef enum dctx_tally {
    DCTX_TALLY_ACCEPTED = 0,
    DCTX_TALLY_HANDLED,
    DCTX_TALLY_DEAD,
    DCTX_TALLY_FAILED,
    DCTX_TALLY_REFUSED,
    DCTX_TALLY_ASKS,
    DCTX_TALLY_REPLIES,
    DCTX_TALLY_ASKS_FAILED,
    DCTX_TALLY_ASKS_TIMED_OUT,
    DCTX_TALLY_ASKS_EXPIRED,
    DCTX_TALLY_EXPIRED,
    DCTX_TALLY_CANCELLED,
    DCTX_TALLY_ASKS_CANCELLED,
    DCTX_TALLY_CANCELS_SENT,
    DCTX_TALLY_CANCELS_RECEIVED,
    DCTX_TALLY_FLIGHTS_BEGUN, /* asks of other nodes */
    DCTX_TALLY_FLIGHTS_ENDED,
    DCTX_TALLY_WATCHED_BEGUN, /* monitors of other nodes */
    DCTX_TALLY_WATCHED_ENDED,
    DCTX_TALLY_WATCHES_REFUSED,
    DCTX_TALLY_LATE,
    DCTX_TALLY_REMOTE_SENT,
    DCTX_TALLY_REMOTE_RECEIVED,
    DCTX_TALLY_REMOTE_LOST,
    DCTX_TALLY_CONTEXT_ERRORS,
    DCTX_TALLY_LEAKS,
    DCTX_TALLY_TIMERS_RUN,
    DCTX_TALLY_TIMERS_MISSED,
    DCTX_TALLY_BLOCKED,
    DCTX_TALLY_FAILURES,
    DCTX_TALLY_RESTARTS,
    DCTX_TALLY_SPAWNED,
    DCTX_TALLY_GONE,
    DCTX_TALLY_POSTED,   /* put into mailboxes beside the accepted: starts, stops, ends of asks */
    DCTX_TALLY_CONSUMED, /* and taken out again */
    DCTX_TALLY_COUNT
} dctx_tally_t;

typedef struct dctx_tallies {
    _Alignas(64) _Atomic(uint64_t) count[DCTX_TALLY_COUNT];
} dctx_tallies_t;

/* By the thread that owns them. Release, so that whoever reads this with acquire also sees what was
 * counted before it: see dctx_system_is_quiet_(). */
static inline void dctx_tally_own(dctx_tallies_t *tallies, dctx_tally_t what)
{
    _Atomic(uint64_t) *count = &tallies->count[what];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_release);
}

/* By any thread. Sequentially consistent: see dctx_accept_(). */
static inline void dctx_tally_shared(dctx_tallies_t *tallies, dctx_tally_t what, uint64_t n)
{
    (void)atomic_fetch_add(&tallies->count[what], n);
}

static inline uint64_t dctx_tally_read(dctx_tallies_t *tallies, dctx_tally_t what)
{
    return atomic_load(&tallies->count[what]);
}

#endif
