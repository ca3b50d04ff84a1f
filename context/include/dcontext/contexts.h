/*
 * dcontext/contexts.h - the contexts that every system needs: trace, client, deadline, retry,
 * backup.
 *
 * They are keys under the reserved prefix "dctx.", which every frozen registry has; nobody else can
 * register a key there. Set, they are values like any other: undone with the scope, captured, sent.
 *
 * | context | key | set by | read by | travels |
 * |---|---|---|---|---|
 * | trace | dctx.trace | the edge, extraction, a new span | tracers, logs, injection | yes |
 * | trace state | dctx.tracestate | extraction, tracing systems | injection | yes |
 * | client | dctx.client | the edge, a client of itself | servers: quotas, logs | yes |
 * | deadline | dctx.deadline | the edge, whoever has a timeout | asks, queues, slow work | yes |
 * | cancel scope | dctx.cancel | who begins what can be called off: cancel.h | that work | no |
 * | retry | dctx.retry | retries, as dctx_ask_retry() | servers: metrics, load shedding | yes |
 * | backup | dctx.backup | what hedges | servers: metrics, load shedding | yes |
 *
 * "Set by the edge" is the first process of the system that sees a request. Reading and setting is
 * for the calling thread's context, as dctx_get() and dctx_set(). Each key reaches as far as
 * DCTX_REACH_DOMAIN says.
 */
#ifndef DCONTEXT_CONTEXTS_H
#define DCONTEXT_CONTEXTS_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/clock.h>
#include <dcontext/context.h>
#include <dcontext/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What dctx_registry_find() finds them by. */
#define DCTX_NAME_TRACE      "dctx.trace"
#define DCTX_NAME_TRACESTATE "dctx.tracestate"
#define DCTX_NAME_CLIENT     "dctx.client"
#define DCTX_NAME_DEADLINE   "dctx.deadline"
#define DCTX_NAME_RETRY      "dctx.retry"
#define DCTX_NAME_BACKUP     "dctx.backup"

/* ---- trace ----------------------------------------------------------------------------------- */

/* Bits of dctx_trace_t's flags, as Finagle has them. Bits 3..34 are a sample rate, bits 43..62
 * others' extensions; nothing here alters them. */
#define DCTX_TRACE_DEBUG          (UINT64_C(1) << 0)
#define DCTX_TRACE_SAMPLING_KNOWN (UINT64_C(1) << 1)
#define DCTX_TRACE_SAMPLED        (UINT64_C(1) << 2)

/* Where in which trace this is. With all ids 0 it says no more than whether to sample. */
typedef struct dctx_trace {
    uint64_t trace_high; /* of the 128 bits; 0 in a trace of 64 */
    uint64_t trace_low;
    uint64_t span;
    uint64_t parent; /* the span's; meaningless without has_parent */
    uint64_t flags;
    bool has_parent; /* false: a root, or the parent is not known */
    bool random;     /* at least the lower 7 bytes of the trace id were drawn at random */
} dctx_trace_t;

typedef enum dctx_sampled {
    DCTX_SAMPLED_UNKNOWN = 0, /* nobody decided yet */
    DCTX_SAMPLED_NO = 1,
    DCTX_SAMPLED_YES = 2
} dctx_sampled_t;

/* The trace; borrowed, as from dctx_get(). NULL: none. */
DCTX_EXPORT const dctx_trace_t *dctx_trace_get(void);

/*
 * Set the trace, or make it absent together with the trace state. A trace of another id than the
 * present one drops the trace state, which belongs to the old.
 *
 * Ownership: *trace is copied.
 * Errors: as dctx_set().
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_trace_set(const dctx_trace_t *trace);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_trace_unset(void);

/*
 * Set a new span: a child of the present one, or the root of a new trace if there is none. A
 * decision about sampling that was made stands.
 *
 * Ownership: `ids` is used during the call; NULL: the thread's own source.
 * Errors: as dctx_set().
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_trace_begin(const dctx_id_source_t *ids);

/* The same without a context: a root, with ids and nothing else; a child of `parent` (with no valid
 * ids there, a root that keeps its decision). `ids` NULL: the thread's own source. `ret_trace`
 * NULL: nothing is drawn. */
DCTX_EXPORT void dctx_trace_root(const dctx_id_source_t *ids, dctx_trace_t *ret_trace);
DCTX_EXPORT void dctx_trace_child(const dctx_trace_t *parent, const dctx_id_source_t *ids,
                                  dctx_trace_t *ret_trace);

/* True if it has a trace id and a span id. False for NULL. */
DCTX_EXPORT bool dctx_trace_is_valid(const dctx_trace_t *trace);

/* Whether it is sampled (debug implies it), and deciding so; other flags stay as they are. NULL is
 * unknown, and stays so. */
DCTX_EXPORT dctx_sampled_t dctx_trace_sampled(const dctx_trace_t *trace);
DCTX_EXPORT void dctx_trace_decide(dctx_trace_t *trace, dctx_sampled_t sampled);

/*
 * The W3C trace state: what tracing systems carry along with the trace,
 * `rojo=00f067aa,congo=t61rcWkgMzE`. put gives one system's member a new value and moves it to the
 * front.
 *
 * Ownership: get: borrowed, NULL if there is none. set and put copy; NULL and "" make it absent.
 * Errors: DCTX_ERR_INVALID (not what the W3C grammar allows), and as dctx_set(). DCTX_ERR_LIMIT:
 *   more than 32 members, or set to more than 512 bytes; a put that goes over 512 drops others:
 *   first those of more than 128 bytes, then from the end.
 * Limits and units: 512 bytes, 32 members.
 */
DCTX_EXPORT const char *dctx_tracestate_get(void);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_tracestate_set(const char *state);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_tracestate_put(const char *member, const char *value);

/* ---- client ---------------------------------------------------------------------------------- */

/*
 * Who asks: the name of the calling service or user, by its own account. For quotas and logs, not
 * for permission: nobody checked it.
 *
 * Ownership: get: borrowed, NULL if there is none. set copies; NULL and "" make it absent.
 * Errors: as dctx_set().
 * Limits and units: as of any value.
 */
DCTX_EXPORT const char *dctx_client_get(void);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_client_set(const char *name);

/* ---- deadline -------------------------------------------------------------------------------- */

/*
 * Until when a request is worth working on. `due` is what counts in this process; the wall times
 * are for people and for other systems' headers. On the wire travels what remained, when that was,
 * and the moment on this boot's monotonic clock (docs/wire.md); the receiver makes it one of its
 * own clocks.
 */
typedef struct dctx_deadline {
    int64_t timestamp; /* when it was set: wall clock, ns since the epoch */
    int64_t deadline;  /* when it is due: wall clock, ns since the epoch */
    int64_t due;       /* when it is due: monotonic clock, ns */
} dctx_deadline_t;

/* No deadline, in nanoseconds left. */
#define DCTX_NO_DEADLINE INT64_MAX

/*
 * A deadline `timeout` from now. A negative timeout is one that has passed. clock NULL: that of the
 * registry of the thread's context; here and below.
 *
 * Ownership: none. Errors: none; with nowhere to put it (NULL) nothing happens. Limits and units:
 *   nanoseconds; past the end of int64 it saturates.
 */
DCTX_EXPORT void dctx_deadline_after(const dctx_clocks_t *clock, int64_t timeout,
                                     dctx_deadline_t *ret_deadline);

/* Both at once: the earlier one, with the later timestamp. NULL is no deadline; with two of them
 * the result is untouched and the answer false; so it is with nowhere to put it (NULL). */
DCTX_EXPORT bool dctx_deadline_combine(const dctx_deadline_t *a, const dctx_deadline_t *b,
                                       dctx_deadline_t *ret_deadline);

/* Nanoseconds left, 0 or less when it has passed; DCTX_NO_DEADLINE for NULL. */
DCTX_EXPORT int64_t dctx_deadline_remaining(const dctx_deadline_t *deadline,
                                            const dctx_clocks_t *clock);

/* The deadline of the thread's context; borrowed, NULL: none. How much is left of it, and whether
 * it has passed, by its registry's clock. */
DCTX_EXPORT const dctx_deadline_t *dctx_deadline_get(void);
DCTX_EXPORT int64_t dctx_deadline_left(void);
DCTX_EXPORT bool dctx_deadline_expired(void);

/*
 * Set a deadline. One that is there is combined with it, so that nothing extends a deadline; only
 * unset lifts it, for work that goes on when the request is over.
 *
 * Ownership: *deadline is copied. Errors: as dctx_set(). Limits and units: nanoseconds.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_deadline_set(const dctx_deadline_t *deadline);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_deadline_set_timeout(int64_t timeout);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_deadline_unset(void);

/* The deadline in a snapshot; borrowed for its life. NULL: none. */
DCTX_EXPORT const dctx_deadline_t *dctx_snapshot_deadline(const dctx_snapshot_t *snapshot);

/*
 * Whether a snapshot's deadline has passed, for checks at every message: by the coarse clock when
 * its registry goes by the system's clock and dctx_coarse_clock_start() was called.
 *
 * Ownership: none. Errors: none; false without a deadline.
 * Limits and units: at most 1 ms late then.
 */
DCTX_EXPORT bool dctx_snapshot_expired(const dctx_snapshot_t *snapshot);

/*
 * Whether what a snapshot belongs to is over, for queues of one's own: DCTX_ERR_CANCELLED if its
 * cancel scope was cancelled (<dcontext/cancel.h>), DCTX_ERR_DEADLINE if its deadline has passed.
 *
 * Ownership: none. Errors: the two; DCTX_OK for NULL. Limits and units: as dctx_snapshot_expired().
 */
DCTX_EXPORT dctx_error_t dctx_snapshot_over(const dctx_snapshot_t *snapshot);

/* ---- retry and backup ------------------------------------------------------------------------ */

/* Which attempt this is, counted from 0: 0 unless it is a retry. Setting 0 makes it absent.
 * Errors: as dctx_set(). */
DCTX_EXPORT uint32_t dctx_retry_get(void);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_retry_set(uint32_t attempt);

/* Whether this is a second request sent because the first took long. Errors: as dctx_set(). */
DCTX_EXPORT bool dctx_backup_get(void);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_backup_set(bool backup);

#ifdef __cplusplus
}
#endif
#endif
