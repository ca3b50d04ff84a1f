/*
 * dcontext/future.h - promises and futures: a result that comes later, and what is to happen then.
 *
 * A promise is written once, by one owner; its future is read by any number of readers, each with a
 * reference. Both work between plain threads, with poll() and zloop (executor.h), and in actors.
 *
 * What is attached to a future runs once it is complete, in the context in which it was attached,
 * on the executor named; NULL: on the thread that completes the future, or at once on the attaching
 * one if it is complete already. It never runs while the library holds a lock, and however long a
 * chain of attached functions is, the stack does not grow with it.
 */
#ifndef DCONTEXT_FUTURE_H
#define DCONTEXT_FUTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/actor.h>
#include <dcontext/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a future ended. Borrowed and never changed: valid in the function it was given to, or as long
 * as a reference to the future is held. */
typedef struct dctx_result {
    dctx_error_t error;      /* DCTX_OK: it has what was promised */
    const char *reason;      /* why not, in words; "" */
    const dctx_type_t *type; /* of the value; NULL: there is none */
    const void *value;       /* as dctx_get() returns it for the type */
} dctx_result_t;

/*
 * The value if it is of that type, else NULL.
 * Ownership: borrowed, as the result. Errors: NULL. Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT const void *dctx_result_get(const dctx_result_t *result, const dctx_type_t *type);

/* ---- promises -------------------------------------------------------------------------------- */

/*
 * Make a promise and its future.
 *
 * Ownership: the caller owns both: the promise until it is used or destroyed, and a reference to
 *   the future.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM.
 * Thread-safety: any thread; a promise one at a time.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_promise_new(dctx_promise_t **ret_promise,
                                                          dctx_future_t **ret_future);

/*
 * Complete the future: with a value (NULL type and value: without one), with an error and its
 * reason, or as another future will. If it was cancelled before, nothing comes of it, and that is
 * no error. On return no on_cancel function is running, nor will be.
 *
 * Ownership: *promise_p is used up and NULL on success; on an error it stays the caller's. *value
 *   is copied; dctx_promise_complete_take() takes over what *value owns (user types) and zeroes it
 *   on success. The value dies with the last reference to the future. follow takes a reference of
 *   its own.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM, DCTX_ERR_TYPE (take: a string or bytes), and what the
 *   type's copy refused with; fail has no error but DCTX_ERR_INVALID.
 * Thread-safety: any thread. What is attached without an executor runs before it returns.
 * Limits and units: a reason of at most 255 bytes; longer ones are cut.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_promise_complete(dctx_promise_t **promise_p,
                                                               const dctx_type_t *type,
                                                               const void *value);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_promise_complete_take(dctx_promise_t **promise_p,
                                                                    const dctx_type_t *type,
                                                                    void *value);
DCTX_EXPORT dctx_error_t dctx_promise_fail(dctx_promise_t **promise_p, dctx_error_t error,
                                           const char *reason);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_promise_follow(dctx_promise_t **promise_p,
                                                             dctx_future_t *future);

/*
 * Give a promise up: the future fails with DCTX_ERR_NO_REPLY.
 * Ownership: *promise_p is NULL afterwards; NULL is fine. Errors: none.
 * Thread-safety: as the promise.
 * Limits and units: none.
 */
DCTX_EXPORT void dctx_promise_destroy(dctx_promise_t **promise_p);

/*
 * Be told when nobody wants the result any more: `call` runs at most once, in the context in which
 * this was called, on the thread that cancels, or at once if that was before. It must not block. A
 * second call replaces the first; NULL takes it back, and then, too, it is not running on return.
 *
 * Ownership: `arg` is the caller's, and must stay until the promise is used, destroyed, or this is
 *   taken back; inside `call` the promise may be used or destroyed.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM. Thread-safety: as the promise.
 * Limits and units: none.
 */
typedef void (*dctx_on_cancel_fn)(void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_promise_on_cancel(dctx_promise_t *promise,
                                                                dctx_on_cancel_fn call, void *arg);
DCTX_EXPORT bool dctx_promise_is_cancelled(const dctx_promise_t *promise);

/* ---- futures --------------------------------------------------------------------------------- */

/*
 * References. Dropping the last one cancels nothing: what is attached runs all the same.
 * Ownership: ref gives one more, unref gives one back, and *future_p is NULL; both take NULL.
 * Errors: none. Thread-safety: any thread, here and below. Limits and units: none.
 */
DCTX_EXPORT dctx_future_t *dctx_future_ref(dctx_future_t *future);
DCTX_EXPORT void dctx_future_unref(dctx_future_t **future_p);

/*
 * Whether it has ended; dctx_future_result() says how.
 * Ownership: none. Errors: false for NULL. Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT bool dctx_future_is_done(const dctx_future_t *future);

/*
 * How it ended.
 * Ownership: the result is borrowed from the future. Errors: DCTX_ERR_AGAIN (it has not),
 *   DCTX_ERR_INVALID. Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_result(const dctx_future_t *future,
                                                            dctx_result_t *ret_result);

/*
 * Wait until it has ended, well or badly: *ret_result (may be NULL) says how.
 *
 * Ownership: the result is borrowed from the future.
 * Errors: DCTX_ERR_TIMEOUT; DCTX_ERR_INVALID from a worker of a system, which it would block. A
 *   thread of a pool may wait, if others are left to do what it waits for.
 * Thread-safety: any other thread.
 * Limits and units: milliseconds; negative: without bound.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_wait(dctx_future_t *future, int64_t timeout_ms,
                                                          dctx_result_t *ret_result);

/*
 * A descriptor that is readable (POLLIN) from when it has ended, for poll() and zloop.
 * Ownership: the future's, not to be read. Errors: DCTX_ERR_IO (no descriptors left),
 *   DCTX_ERR_INVALID. Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_fd(dctx_future_t *future, int *ret_fd);

/*
 * Cancel: it ends now, with DCTX_ERR_CANCELLED and the reason (NULL: none), for all its readers, if
 * it has not ended. What was to make its result is told: a promise's on_cancel function, a task
 * that has not begun, an ask, and the futures it comes from, each if nothing else is attached to
 * it, waits for it, or has its descriptor. Late and repeated calls do nothing.
 * Ownership: the reason is copied. Errors: none; NULL is fine. Thread-safety: any thread.
 * Limits and units: a reason of at most 255 bytes; longer ones are cut.
 */
DCTX_EXPORT void dctx_future_cancel(dctx_future_t *future, const char *reason);

/*
 * What is to happen then. The promise is of the future that comes of it, and may be used, or taken
 * over (*promise_p = NULL) to be used later. An error returned is that future's result; DCTX_OK and
 * an unused promise is a result without a value.
 */
typedef dctx_error_t (*dctx_then_fn)(const dctx_result_t *result, dctx_promise_t **promise_p,
                                     void *arg);

/*
 * Attach. `then` runs exactly once, whatever happens: its own future cancelled (it sees
 * DCTX_ERR_CANCELLED), the executor stopped (DCTX_ERR_STOPPED, on another thread), no memory to
 * attach its context (DCTX_ERR_NOMEM, in an empty one). `map` runs if all went well, else the error
 * goes on; `recover` runs if something failed, else the value goes on. Neither runs any more once
 * its own future has ended.
 *
 * Ownership: the caller owns a reference to *ret_future; ret_future may be NULL. `arg` is the
 *   caller's.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM, DCTX_ERR_NOT_FROZEN; then nothing is attached.
 * Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_then(dctx_future_t *future,
                                                          dctx_executor_t *executor,
                                                          dctx_then_fn call, void *arg,
                                                          dctx_future_t **ret_future);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_map(dctx_future_t *future,
                                                         dctx_executor_t *executor,
                                                         dctx_then_fn call, void *arg,
                                                         dctx_future_t **ret_future);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_recover(dctx_future_t *future,
                                                             dctx_executor_t *executor,
                                                             dctx_then_fn call, void *arg,
                                                             dctx_future_t **ret_future);

/* The value of dctx_future_all(): the results of all, in their order. Borrowed from it. */
typedef struct dctx_results {
    size_t count;
    const dctx_result_t *results;
} dctx_results_t;
DCTX_EXPORT extern const dctx_type_t dctx_type_results; /* const dctx_results_t * */
#define DCTX_TYPE_RESULTS (&dctx_type_results)

/*
 * all: ends well when all have, with DCTX_TYPE_RESULTS, or with the first error. any: ends as the
 * first that ends well, or, if none does, with the last error. Those that are then of no use any
 * more are cancelled, each if nothing else waits for it. all of none ends well, any of none with
 * DCTX_ERR_ABSENT.
 *
 * Ownership: the caller owns a reference to *ret_future; the array stays the caller's.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM. Thread-safety: any thread.
 * Limits and units: a future may be named more than once.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_all(dctx_future_t *const *futures,
                                                         size_t count, dctx_future_t **ret_future);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_any(dctx_future_t *const *futures,
                                                         size_t count, dctx_future_t **ret_future);

/*
 * A future that ends as this one, or after a time with DCTX_ERR_TIMEOUT, or DCTX_ERR_DEADLINE if
 * the context's deadline comes first; this one is then cancelled, if nothing else waits for it.
 *
 * Ownership: the caller owns a reference to *ret_future; the executor has the timer.
 * Errors: DCTX_ERR_INVALID (no executor: its timers are needed), DCTX_ERR_STOPPED, DCTX_ERR_NOMEM.
 * Thread-safety: any thread.
 * Limits and units: milliseconds; 0 and less: at the executor's next look at the clock.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_timeout(dctx_future_t *future,
                                                             dctx_executor_t *executor,
                                                             int64_t timeout_ms,
                                                             dctx_future_t **ret_future);

/* ---- with actors ----------------------------------------------------------------------------- */

/*
 * Ask, and get the reply as a future: its value is the reply's if that is of `reply_type`, else it
 * fails with DCTX_ERR_TYPE; NULL: only that a reply came counts, and there is no value. Cancelling
 * it ends the ask.
 *
 * Ownership: the caller owns a reference to *ret_future.
 * Errors: as dctx_ask_call(), which see; the others are how the future ends.
 * Thread-safety: any thread. Limits and units: as dctx_ask().
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_future(dctx_ref_t to, const dctx_type_t *type,
                                                         const void *value,
                                                         const dctx_type_t *reply_type,
                                                         int64_t timeout_ms,
                                                         dctx_future_t **ret_future);

/*
 * Go on when a future has ended, as an actor: `call` runs once, on this actor's own turn and in the
 * context in which this was called, unless the actor is gone before: then it does not wait for the
 * future any more, which is cancelled if nobody else does. When the system stops first it sees
 * DCTX_ERR_STOPPED.
 *
 * Ownership: `arg` is the caller's.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM, DCTX_ERR_STOPPED.
 * Thread-safety: the actor's callbacks. Limits and units: none.
 */
typedef void (*dctx_result_fn)(dctx_actor_t *self, const dctx_result_t *result, void *state,
                               void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_future_then_actor(dctx_actor_t *self,
                                                                dctx_future_t *future,
                                                                dctx_result_fn call, void *arg);

#ifdef __cplusplus
}
#endif
#endif
