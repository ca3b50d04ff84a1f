/*
 * dcontext/metrics.h - what actors are doing: how much waits, for how long, how long handlers take.
 *
 * Counted are the actors that have a mailbox_limit or ask for it (DCTX_COUNTED), measured those
 * that ask for that (DCTX_METERED, or `metrics` in the system's options): it takes three looks at
 * the clock for each message, and some 2 KiB an actor. The others pay nothing.
 */
#ifndef DCONTEXT_METRICS_H
#define DCONTEXT_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { DCTX_HISTOGRAM_BUCKETS = 128 };

/* Times in nanoseconds, by four buckets for each doubling: a quantile is at most a quarter too
 * high. */
typedef struct dctx_histogram {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t max_ns;
    uint64_t buckets[DCTX_HISTOGRAM_BUCKETS];
} dctx_histogram_t;

/*
 * The time that so many of them (0 to 1) do not exceed.
 * Ownership: none. Errors: 0 when there is none. Thread-safety: any thread.
 * Limits and units: nanoseconds, at most a quarter too high.
 */
DCTX_EXPORT uint64_t dctx_histogram_quantile(const dctx_histogram_t *histogram, double quantile);

/*
 * The time, not itself included, at which a bucket ends; UINT64_MAX for the last.
 * Ownership: none. Errors: none. Thread-safety: any thread. Limits and units: nanoseconds.
 */
DCTX_EXPORT uint64_t dctx_histogram_bound(unsigned bucket);

typedef struct dctx_actor_metrics {
    char name[64];
    dctx_ref_t ref;
    bool counted;           /* depth to overflowed are known */
    bool metered;           /* and so is the rest */
    uint64_t depth;         /* messages that wait now */
    uint64_t depth_max;     /* that ever waited at once */
    uint64_t mailbox_limit; /* 0: none */
    uint64_t overflowed;    /* messages that found the mailbox full, or were pushed out of it */
    uint64_t handled;       /* handlers run to their end */
    uint64_t failed;        /* of them, with an error */
    int64_t oldest_ns;      /* since when the oldest message waits; 0: none does */
    dctx_histogram_t wait;  /* from the send to the handler */
    dctx_histogram_t run;   /* in the handler, interceptors included */
} dctx_actor_metrics_t;

/*
 * The metrics of an actor. They are of one moment each, not all of the same.
 *
 * Ownership: *ret_metrics is a value.
 * Errors: DCTX_ERR_NO_ACTOR (it has gone), DCTX_ERR_INVALID (an actor of another node).
 * Thread-safety: any thread.
 * Limits and units: nanoseconds by the system's clock.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_actor_metrics_read(dctx_ref_t ref,
                                                                 dctx_actor_metrics_t *ret_metrics);

/*
 * The same for all living actors, one by one.
 *
 * Ownership: the metrics are borrowed during the call.
 * Errors: none. Thread-safety: any thread; actors may come and go meanwhile.
 * Limits and units: as dctx_actor_metrics_read().
 */
DCTX_EXPORT void
dctx_system_metrics_each(dctx_system_t *system,
                         void (*each)(const dctx_actor_metrics_t *metrics, void *arg), void *arg);

/* Sums over the system's measured actors, those that have gone included; but for the gauges. */
typedef struct dctx_system_metrics {
    dctx_system_counters_t counters;
    uint64_t counted;  /* gauge: living actors that are counted */
    uint64_t metered;  /* gauge: living actors that are measured */
    uint64_t depth;    /* gauge: messages that wait for the counted ones */
    uint64_t deepest;  /* gauge: most that wait for one of them */
    int64_t oldest_ns; /* gauge: the longest that one of them waits */
    uint64_t handled, failed;
    dctx_histogram_t wait, run;
} dctx_system_metrics_t;
/*
 * Read them. Of NULL all are 0.
 * Ownership: *ret_metrics is a value. Errors: none. Thread-safety: any thread.
 * Limits and units: nanoseconds.
 */
DCTX_EXPORT void dctx_system_metrics_read(dctx_system_t *system,
                                          dctx_system_metrics_t *ret_metrics);

/*
 * All of it as text in Prometheus' format: the counters, and what is known of each actor.
 *
 * Ownership: *ret_text is the caller's, to free with dctx_free().
 * Errors: DCTX_ERR_NOMEM, DCTX_ERR_INVALID. Thread-safety: any thread.
 * Limits and units: seconds, as the format has it; a few KiB for each actor that is measured.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_system_metrics_format(dctx_system_t *system,
                                                                    char **ret_text);

#ifdef __cplusplus
}
#endif
#endif
