/*
 * dcontext/retry.h - asks that are made again when they fail, and asks that get a second chance
 * when they take long.
 *
 * Each is one ask to who makes it: one answer, one timeout over all, ended by the context's
 * deadline and cancel scope as any; what it has under way ends with it. The receiver sees each
 * attempt as an ask of its own, and by dctx_retry_get() or dctx_backup_get() that it is not the
 * first.
 */
#ifndef DCONTEXT_RETRY_H
#define DCONTEXT_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>
#include <dcontext/future.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- budgets --------------------------------------------------------------------------------- */

/*
 * How much may be sent on top of what is asked, so that retries cannot multiply a failure: each ask
 * that may be retried adds a share of a retry, each retry and each backup takes one, and what is
 * not used within the window is lost. Some a second are there in any case, so that a rare ask can
 * be retried too.
 */
typedef struct dctx_budget dctx_budget_t;

/* All fields may be zero. */
typedef struct dctx_budget_options {
    double share;          /* retries for each ask; 0: 0.2; less: none */
    double min_per_second; /* 0: 10; less: none */
    int64_t window_ms;     /* 0: 10 000 */
} dctx_budget_options_t;

/*
 * Make a budget, to be shared by asks of one kind: to one service, say.
 *
 * Ownership: the caller has a reference; asks under way have their own. options NULL: all zero.
 * Errors: DCTX_ERR_NOMEM, DCTX_ERR_INVALID (a share over 1000, a window over a day, or less than 10
 *   ms).
 * Thread-safety: any thread, here and below. All who share one should be of one system, or go by
 *   the same clock.
 * Limits and units: as named.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_budget_new(const dctx_budget_options_t *options,
                                                         dctx_budget_t **ret_budget);
DCTX_EXPORT dctx_budget_t *dctx_budget_ref(dctx_budget_t *budget);
DCTX_EXPORT void dctx_budget_unref(dctx_budget_t **budget_p);

/*
 * How many retries it would allow now, by the clock of the asks; and how often it said no.
 * Ownership: none. Errors: 0 for NULL. Thread-safety: any thread. Limits and units: nanoseconds.
 */
DCTX_EXPORT uint64_t dctx_budget_balance(dctx_budget_t *budget, int64_t now_ns);
DCTX_EXPORT uint64_t dctx_budget_refusals(dctx_budget_t *budget);

/* ---- retries --------------------------------------------------------------------------------- */

/*
 * Which ends are tried again. Always those after which nobody has handled the ask: it could not be
 * sent or was given back unsent (DCTX_ERR_UNREACHABLE), there is no such actor, as while one is
 * started again (DCTX_ERR_NO_ACTOR), it died in a mailbox (DCTX_ERR_STOPPED), and DCTX_ERR_FULL,
 * which a handler too may answer to say: I did nothing, try again later. With `idempotent`, when
 * handling it twice does no harm, also those after which one cannot know: a node lost with the ask
 * in flight (DCTX_ERR_UNREACHABLE), an attempt's timeout, DCTX_ERR_NO_REPLY, DCTX_ERR_STOPPED.
 * Never what another attempt would not change: DCTX_ERR_REJECTED, DCTX_ERR_TYPE, a cancel, a
 * deadline and all else; unless `may_retry` says otherwise.
 *
 * All fields may be zero.
 */
typedef struct dctx_retry {
    unsigned attempts;  /* at most, the first included; 0: 3 */
    int64_t backoff_ms; /* before the nth retry: between 0 and this, doubled n - 1 times; 0: 10 */
    int64_t backoff_max_ms;     /* and at most this; 0: 1000 */
    int64_t attempt_timeout_ms; /* of each attempt; 0: what is left of the whole */
    bool idempotent;
    dctx_budget_t *budget; /* NULL: one that the system has for all asks without their own */
    const dctx_id_source_t
        *random; /* for the back-off, used by any thread; NULL: the system's own, in a
                                       test world from its seed */
    /* In the place of the rules above: whether to try again after this end. Runs on any thread of
     * the system and must not block. `reply` has the reason, if any; NULL: the attempt was not
     * sent. */
    bool (*may_retry)(dctx_error_t status, const dctx_message_t *reply, void *arg);
    void *arg;
} dctx_retry_t;

/*
 * Ask, and ask again. The three are as dctx_ask(), dctx_ask_call() and dctx_ask_future(), with what
 * their comments say, but that a failure to send is an end, not an error of the call. The last
 * attempt's end is the ask's; the timeout and the deadline are those of the whole, and no attempt
 * begins that would have to wait past them.
 *
 * Ownership: *value is copied for each attempt; *retry is copied, its budget referenced.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM, DCTX_ERR_STOPPED, DCTX_ERR_TYPE, DCTX_ERR_DEADLINE,
 *   DCTX_ERR_CANCELLED.
 * Thread-safety: as dctx_ask(), dctx_ask_call(), dctx_ask_future().
 * Limits and units: milliseconds; timeout 0 and less: 5000. In the counters the ask and each
 *   attempt are asks.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_retry(dctx_actor_t *self, dctx_ref_t to,
                                                        const dctx_type_t *type, const void *value,
                                                        int64_t timeout_ms,
                                                        const dctx_retry_t *retry,
                                                        dctx_reply_fn on_reply, void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_retry_call(dctx_ref_t to, const dctx_type_t *type,
                                                             const void *value, int64_t timeout_ms,
                                                             const dctx_retry_t *retry,
                                                             dctx_ask_fn call, void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_retry_future(
    dctx_ref_t to, const dctx_type_t *type, const void *value, const dctx_type_t *reply_type,
    int64_t timeout_ms, const dctx_retry_t *retry, dctx_future_t **ret_future);

/* ---- hedges ---------------------------------------------------------------------------------- */

/* When to send a backup; and, if that goes by a percentile, the latencies seen so far. Shared by
 * asks of one kind. */
typedef struct dctx_hedge dctx_hedge_t;

/* All fields may be zero. */
typedef struct dctx_hedge_options {
    /* The backup goes when this share of answers would have come; 0: by delay_ms only. */
    double percentile;
    int64_t delay_ms;  /* when there is no percentile, or it is not known yet; 0: no backup then */
    uint64_t samples;  /* how many answers make a percentile known; 0: 20 */
    dctx_ref_t backup; /* whom to ask then; DCTX_REF_NONE: the same one */
    dctx_budget_t *budget; /* takes backups too; NULL: nothing limits them but the delay */
} dctx_hedge_options_t;

/*
 * Make a hedge.
 *
 * Ownership: the caller has a reference, the hedge one on the budget; asks under way have their
 *   own.
 * Errors: DCTX_ERR_INVALID (neither percentile nor delay, a percentile of 1 and more, negative
 *   values), DCTX_ERR_NOMEM.
 * Thread-safety: any thread, here and below.
 * Limits and units: milliseconds. A percentile is at most a quarter too high, and forgets: when
 *   1024 answers are counted, each count is halved.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_hedge_new(const dctx_hedge_options_t *options,
                                                        dctx_hedge_t **ret_hedge);
DCTX_EXPORT dctx_hedge_t *dctx_hedge_ref(dctx_hedge_t *hedge);
DCTX_EXPORT void dctx_hedge_unref(dctx_hedge_t **hedge_p);

/*
 * After how long a backup would go now; INT64_MAX: none would. How many went, and how many of these
 * came first.
 * Ownership: none. Errors: of NULL INT64_MAX, 0 and 0. Thread-safety: any thread.
 * Limits and units: nanoseconds.
 */
DCTX_EXPORT int64_t dctx_hedge_delay(dctx_hedge_t *hedge);
DCTX_EXPORT uint64_t dctx_hedge_sent(dctx_hedge_t *hedge);
DCTX_EXPORT uint64_t dctx_hedge_won(dctx_hedge_t *hedge);

/*
 * Ask, and ask once more if the answer takes long: the first answer counts, the other ask is
 * cancelled. An error counts when nothing else is under way. Only for what does no harm if it is
 * handled twice.
 *
 * Ownership, Errors, Thread-safety, Limits and units: as dctx_ask_retry() and its like.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_hedged(dctx_actor_t *self, dctx_ref_t to,
                                                         const dctx_type_t *type, const void *value,
                                                         int64_t timeout_ms, dctx_hedge_t *hedge,
                                                         dctx_reply_fn on_reply, void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_hedged_call(dctx_ref_t to,
                                                              const dctx_type_t *type,
                                                              const void *value, int64_t timeout_ms,
                                                              dctx_hedge_t *hedge, dctx_ask_fn call,
                                                              void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_hedged_future(
    dctx_ref_t to, const dctx_type_t *type, const void *value, const dctx_type_t *reply_type,
    int64_t timeout_ms, dctx_hedge_t *hedge, dctx_future_t **ret_future);

#ifdef __cplusplus
}
#endif
#endif
