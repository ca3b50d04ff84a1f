/*
 * dcontext/executor.h - where tasks, timers and continuations run, for programs with and without
 * actors: a pool of threads, or the loop that a thread has anyway.
 *
 * What is submitted runs in the context of who submitted it, a timer in the one in which it was
 * set; afterwards the thread's context is what it was.
 *
 * Both kinds are a dctx_executor_t, and what is said below holds for both if nothing else is said.
 * Thread-safety: any thread, if nothing else is said.
 */
#ifndef DCONTEXT_EXECUTOR_H
#define DCONTEXT_EXECUTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/dcontext.h>
#include <dcontext/system.h>

#ifdef __cplusplus
extern "C" {
#endif

struct _zloop_t; /* czmq.h calls it zloop_t */

typedef struct dctx_executor dctx_executor_t;
typedef struct dctx_future dctx_future_t;   /* see future.h */
typedef struct dctx_promise dctx_promise_t; /* see future.h */

/* ---- making them ----------------------------------------------------------------------------- */

/* What a submit does when the queue is full. */
typedef enum dctx_when_full {
    DCTX_WHEN_FULL_REJECT = 0, /* DCTX_ERR_FULL */
    /* It waits for room, until its context's deadline at most (DCTX_ERR_DEADLINE); a thread of the
     * pool itself, which would wait for itself, is refused. */
    DCTX_WHEN_FULL_BLOCK = 1
} dctx_when_full_t;

/* All fields may be zero. */
typedef struct dctx_taskpool_options {
    const char *name;   /* for reports and logs, copied, cut after 31 bytes; NULL: "pool" */
    unsigned threads;   /* 0: one a core, at most 64 */
    size_t queue_limit; /* tasks that wait; 0: 65536. What is attached to futures does not count */
    dctx_when_full_t when_full;
    const dctx_clock_t *clock; /* of the timers; NULL: CLOCK_MONOTONIC. See dctx_executor_poke() */
} dctx_taskpool_options_t;

/*
 * A pool of plain threads, which may block. They begin with an empty context.
 *
 * Ownership: the caller owns the executor; options (NULL: all defaults) are copied.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM, DCTX_ERR_IO (no threads left).
 * Thread-safety: any thread.
 * Limits and units: 1024 threads.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_taskpool_new(const dctx_taskpool_options_t *options,
                                                           dctx_executor_t **ret_executor);

/* All fields may be zero. */
typedef struct dctx_loop_executor_options {
    const char *name;          /* as above; NULL: "loop" */
    size_t queue_limit;        /* as above; a full queue rejects */
    const dctx_clock_t *clock; /* as above */
} dctx_loop_executor_options_t;

/*
 * An executor without threads: its owner, one thread at a time, waits with poll() or the like until
 * the descriptor is readable, and then calls dctx_loop_executor_run().
 *
 * Ownership, Errors, Thread-safety: as dctx_taskpool_new(); DCTX_ERR_IO: no descriptors left.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t
dctx_loop_executor_new(const dctx_loop_executor_options_t *options, dctx_executor_t **ret_executor);

/*
 * The descriptor to wait for (POLLIN): readable when a task waits or a timer is due.
 * Ownership: the executor's, and not to be read. Errors: -1 for a pool, and for NULL.
 * Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT int dctx_loop_executor_fd(const dctx_executor_t *executor);

/*
 * For loops that cannot wait for a descriptor, and for other clocks than the system's: how long to
 * wait at most until the first timer; 0 if there is something to run, -1 without a timer.
 * Ownership: none. Errors: -1 for a pool, and for NULL. Thread-safety: any thread.
 * Limits and units: milliseconds, rounded up.
 */
DCTX_EXPORT int dctx_loop_executor_timeout(dctx_executor_t *executor);

/*
 * Runs the timers that are due and the tasks that were waiting when it began; returns how many.
 * What they submit is for the next time, so that a loop has its turn in between.
 * Ownership: none. Errors: 0 for a pool, for NULL, and from inside itself.
 * Thread-safety: the owner's thread. Limits and units: tasks and timers.
 */
DCTX_EXPORT size_t dctx_loop_executor_run(dctx_executor_t *executor);

/*
 * Have a CZMQ loop do the waiting and running: add puts a poller into it, remove takes it out.
 *
 * Ownership: the loop stays the caller's, and must outlive the executor or the removal.
 * Errors: DCTX_ERR_INVALID (a pool, or in a loop already), DCTX_ERR_NOMEM.
 * Thread-safety: the loop's thread.
 * Limits and units: one loop.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_loop_executor_add(dctx_executor_t *executor,
                                                                struct _zloop_t *loop);
DCTX_EXPORT void dctx_loop_executor_remove(dctx_executor_t *executor);

/* ---- tasks ----------------------------------------------------------------------------------- */

/*
 * A task with a result: the promise is of the future that dctx_executor_submit() gave. It may be
 * used, or taken over (*promise_p = NULL) to be used later. An error returned is the result;
 * DCTX_OK and an unused promise is a result without a value.
 */
typedef dctx_error_t (*dctx_call_fn)(dctx_promise_t **promise_p, void *arg);

/* What to run: one of `run` and `call`. */
typedef struct dctx_work {
    dctx_task_fn run;
    dctx_call_fn call;
    void *arg;
    void (*release)(void *arg);      /* once, when the above has run or never will; may be NULL */
    const char *scope;               /* name of a scope around it; NULL: none */
    const dctx_snapshot_t *snapshot; /* its context; NULL: a fork of the caller's */
} dctx_work_t;

/*
 * Run a task. The future, if asked for, is complete when the task has run (for `call`: when the
 * promise was used); cancelling it takes a task that has not begun out of the queue. A task whose
 * context is in a cancel scope (cancel.h) that is cancelled before it begins does not run.
 *
 * Ownership: *work is copied; `arg` is the task's until `release` was called, which happens in
 *   whatever context the thread has; on an error it stays the caller's. *ret_future, a reference,
 *   is the caller's; ret_future may be NULL, and must be for no `call`.
 * Errors: DCTX_ERR_FULL, DCTX_ERR_DEADLINE, DCTX_ERR_STOPPED, DCTX_ERR_INVALID, DCTX_ERR_LIMIT (the
 *   name), DCTX_ERR_NOMEM. What the future ends with: DCTX_ERR_CANCELLED, DCTX_ERR_STOPPED,
 *   DCTX_ERR_NOMEM (no memory to attach the context: the task does not run), or what `call` made of
 *   it.
 * Thread-safety: any thread.
 * Limits and units: names as of scopes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_executor_submit(dctx_executor_t *executor,
                                                              const dctx_work_t *work,
                                                              dctx_future_t **ret_future);

/* ---- timers ---------------------------------------------------------------------------------- */

/* `missed`: how many periods passed without a call before this one: a periodic timer whose thread
 * was busy is called once, not once for each. */
typedef void (*dctx_tick_fn)(uint64_t missed, void *arg);

typedef struct dctx_executor_timer_options {
    dctx_tick_fn call; /* required */
    void *arg;
    void (*release)(void *arg); /* once, when `call` will not be called any more; may be NULL */
    int64_t delay_ms;           /* until the first time */
    int64_t period_ms;          /* 0: once. Else each is due a period after the last was due */
    const char *scope;          /* name of a scope around the call; NULL: none */
    bool without_context; /* call it in the empty context, not in the one in which it was set */
} dctx_executor_timer_options_t;

/*
 * Set a timer. Never two calls of one timer at once.
 *
 * Ownership: as dctx_executor_submit(). The caller owns *ret_timer until it cancels it; ret_timer
 *   may be NULL for one that is never cancelled: it goes after its last call or with the executor.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_STOPPED, DCTX_ERR_LIMIT (the name), DCTX_ERR_NOMEM.
 * Thread-safety: any thread.
 * Limits and units: milliseconds; negative ones are 0, or an error for a period.
 */
typedef struct dctx_executor_timer dctx_executor_timer_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t
dctx_executor_timer_set(dctx_executor_t *executor, const dctx_executor_timer_options_t *options,
                        dctx_executor_timer_t **ret_timer);

/*
 * Cancel a timer and give it up, also from inside its call. True: it was set, and `call` is not and
 * will not be running; false: it is running now on some thread, for the last time, or was done.
 * Does not wait.
 * Ownership: *timer_p is NULL afterwards; NULL is fine. Errors: none. Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT bool dctx_executor_timer_cancel(dctx_executor_timer_t **timer_p);

/*
 * Look at the clock again: for clocks that do not run by themselves. A loop executor's run() looks
 * anyway.
 * Ownership: none. Errors: none; NULL is fine. Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT void dctx_executor_poke(dctx_executor_t *executor);

/* ---- the end --------------------------------------------------------------------------------- */

/*
 * Wait until nothing is queued, running, or due.
 * Ownership: none.
 * Errors: DCTX_ERR_TIMEOUT; DCTX_ERR_INVALID from a thread of the pool itself, and for a loop
 *   executor.
 * Thread-safety: any other thread. Limits and units: milliseconds.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_executor_wait_idle(dctx_executor_t *executor,
                                                                 int64_t timeout_ms);

/*
 * Stop: take nothing more, drop the timers, run what is queued until the time is up, then end the
 * rest with DCTX_ERR_STOPPED. Bounded: whoever is still running then is left behind and named. A
 * loop executor, which has nobody to run things, ends all at once. What is attached to futures with
 * a stopped executor hears DCTX_ERR_STOPPED on the thread that completes the future.
 *
 * Ownership: *ret_report, when not NULL, is text to free with dctx_free(): one line for each thread
 *   that did not stop, "pool: render: running for 2034 ms: shop > render"; "" if all did.
 * Errors: DCTX_ERR_TIMEOUT if somebody did not stop; DCTX_ERR_INVALID from a thread of the pool.
 * Thread-safety: any other thread; for a loop executor its owner's. Again is harmless.
 * Limits and units: milliseconds; 0 and less: do not wait, but for a moment of grace.
 */
DCTX_EXPORT dctx_error_t dctx_executor_stop(dctx_executor_t *executor, int64_t timeout_ms,
                                            char **ret_report);

/*
 * Stop (5 s at most) if that was not done, and free, as soon as no thread that was left behind and
 * no future needs it any more.
 * Ownership: *executor_p is NULL afterwards; NULL is fine. Errors: none. Thread-safety: as
 *   dctx_executor_stop(); nobody may use it any more. Limits and units: none.
 */
DCTX_EXPORT void dctx_executor_destroy(dctx_executor_t **executor_p);

/* Monotonic but for the gauges. Once it is stopped: submitted = run + cancelled + dropped. Tasks,
 * and what was attached to futures and became ready, count alike. */
typedef struct dctx_executor_counters {
    uint64_t submitted;
    uint64_t run;
    uint64_t cancelled; /* not run, as they or their requests were cancelled */
    uint64_t dropped;   /* still in the queue when the executor stopped */
    uint64_t refused;   /* submits that returned an error: not submitted */
    uint64_t wait_ns;   /* of the run: how long they waited in the queue, all together */
    uint64_t run_ns;    /* of the run: how long they took, all together */
    uint64_t timers_set;
    uint64_t timer_calls;
    uint64_t timer_missed; /* periods without a call of their own */
    uint64_t scope_leaks;  /* scopes that were left open, and closed */
    uint64_t queued_max;
    uint64_t queued;  /* gauge */
    uint64_t running; /* gauge: tasks and timers' calls */
    uint64_t timers;  /* gauge: set now */
} dctx_executor_counters_t;
/*
 * Read them. Of NULL all are 0.
 * Ownership: *ret_counters is a value. Errors: none. Thread-safety: any thread.
 * Limits and units: nanoseconds, where named so.
 */
DCTX_EXPORT void dctx_executor_counters_read(dctx_executor_t *executor,
                                             dctx_executor_counters_t *ret_counters);

#ifdef __cplusplus
}
#endif
#endif
