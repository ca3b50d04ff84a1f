/*
 * dcontext/clock.h - time and chance as parameters, so that a test decides what time it is and what
 * is drawn.
 */
#ifndef DCONTEXT_CLOCK_H
#define DCONTEXT_CLOCK_H

#include <stdint.h>

#include <dcontext/error.h>
#include <dcontext/registry.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What time it is. All times are nanoseconds. */
typedef struct dctx_clocks {
    int64_t (*wall)(void *arg);      /* since the epoch; may step, and differs between hosts */
    int64_t (*monotonic)(void *arg); /* since some moment of this boot; never goes back */
    void *arg;
    uint8_t boot_id[16]; /* the same for all whose monotonic clock is the same; zeroes: unknown */
    int64_t skew;        /* how far wall clocks of two hosts may be apart; 0 stands for 10 ms */
} dctx_clocks_t;

/*
 * The system's clocks and boot id.
 *
 * Ownership: static.
 * Errors: none; where the system does not tell its boot id, that is zeroes.
 * Thread-safety: any thread.
 * Limits and units: nanoseconds.
 */
DCTX_EXPORT const dctx_clocks_t *dctx_clocks_system(void);

/*
 * Which clock a registry's deadlines go by, on receipt too; before the freeze. Without, or with
 * NULL, the system's.
 *
 * Ownership: *clock is copied; what `arg` points to must outlive the registry.
 * Errors: DCTX_ERR_FROZEN; DCTX_ERR_INVALID (a function is missing, a negative skew).
 * Thread-safety: one thread at a time per registry; the clock's functions are called from any
 *   thread.
 * Limits and units: nanoseconds.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_registry_set_clocks(dctx_registry_t *registry,
                                                                  const dctx_clocks_t *clock);

/* The clock of a registry; NULL stands for the registry of the thread's context. */
DCTX_EXPORT const dctx_clocks_t *dctx_registry_clocks(const dctx_registry_t *registry);

/*
 * A coarse monotonic clock that costs one load, for checks that are made for every message: while
 * it is started, a thread of its own reads the system's clock twice in a millisecond. Each start
 * wants a stop; the thread ends with the last. Between, and where the thread cannot be had, the
 * coarse clock is the system's.
 *
 * Ownership: none.
 * Errors: DCTX_ERR_IO when there can be no thread; the coarse clock works all the same.
 * Thread-safety: any thread. Not across fork(): stop it before.
 * Limits and units: nanoseconds of CLOCK_MONOTONIC; at most 1 ms behind, as long as the system lets
 *   the thread run.
 */
DCTX_EXPORT dctx_error_t dctx_coarse_clock_start(void);
DCTX_EXPORT void dctx_coarse_clock_stop(void);
DCTX_EXPORT int64_t dctx_coarse_clock_now(void);

/* Where ids come from. `next` gives 64 bits, each 0 or 1 with equal chance. */
typedef struct dctx_id_source {
    uint64_t (*next)(void *arg);
    void *arg;
} dctx_id_source_t;

/*
 * A seedable source: the same seed, the same ids. Not for secrets. Where a function takes an id
 * source, NULL stands for one that is the thread's own and was seeded by the system.
 *
 *     dctx_random_t random;
 *     dctx_random_seed(&random, 42);
 *     dctx_trace_begin(&(dctx_id_source_t){dctx_random_next, &random});
 *
 * Ownership: the caller's memory; nothing to release.
 * Errors: none.
 * Thread-safety: one thread at a time for each.
 * Limits and units: 2^256 - 1 draws before it repeats.
 */
typedef struct dctx_random {
    uint64_t state_[4]; /* private */
} dctx_random_t;
/* NULL is not seeded. */
DCTX_EXPORT void dctx_random_seed(dctx_random_t *random, uint64_t seed);
DCTX_EXPORT uint64_t dctx_random_next(void *random);

#ifdef __cplusplus
}
#endif
#endif
