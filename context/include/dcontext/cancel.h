/*
 * dcontext/cancel.h - cancelling a request: what it started, wherever that runs by now, is told to
 * stop.
 *
 * A cancel scope is a local context, the key "dctx.cancel". Who begins a request makes one and
 * enters it; whatever is forked from there on (threads, tasks, messages to actors) belongs to it. A
 * scope made inside a scope is its child: cancelling a scope cancels all below it and nothing above
 * it or beside it. Actors do the same at each ask, so that the tree goes on in the actors that work
 * for it, in this process and in others.
 *
 * Nothing is interrupted. Work that goes on for long looks at dctx_cancelled(), watches its scope,
 * or polls a descriptor. Work that must be done even so (undoing, accounting) leaves the scope
 * first: dctx_cancel_detach().
 *
 * A passed deadline counts as cancelled wherever one asks. A watch and a descriptor only hear of it
 * where somebody keeps the time: in actors, where each ask ends at its deadline and cancels what
 * was done for it. A plain thread polls until dctx_deadline_left().
 */
#ifndef DCONTEXT_CANCEL_H
#define DCONTEXT_CANCEL_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/error.h>
#include <dcontext/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What dctx_registry_find() finds it by. Local: it never leaves the process. */
#define DCTX_NAME_CANCEL "dctx.cancel"

/* A cancel scope: counted, shared, cancelled at most once. */
typedef struct dctx_cancel dctx_cancel_t;

/* ---- scopes ---------------------------------------------------------------------------------- */

/*
 * Make a scope: a child of the one that the thread's context is in, if it is in one; or of
 * `parent`, where NULL stands for none. A child of a cancelled scope is cancelled.
 *
 * Ownership: the caller has a reference on *ret_cancel. A scope keeps its ancestors alive.
 * Errors: DCTX_ERR_NOMEM, DCTX_ERR_INVALID (ret_cancel NULL).
 * Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_cancel_new(dctx_cancel_t **ret_cancel);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_cancel_new_under(dctx_cancel_t *parent,
                                                               dctx_cancel_t **ret_cancel);

/* Another reference; giving one back. Both take NULL. Any thread. */
DCTX_EXPORT dctx_cancel_t *dctx_cancel_ref(dctx_cancel_t *cancel);
DCTX_EXPORT void dctx_cancel_unref(dctx_cancel_t **cancel_p);

/*
 * Enter a scope: what the thread's context is used for from here on, until the present dctx_scope_t
 * ends, belongs to it. Or leave: what is started from here on belongs to no scope, however deep
 * this is in a request.
 *
 * Ownership: the context has a reference of its own.
 * Errors: as dctx_set(); DCTX_ERR_INVALID for NULL.
 * Thread-safety: the calling thread's context.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_cancel_enter(dctx_cancel_t *cancel);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_cancel_detach(void);

/* The scope that the thread's context is in, or that of a snapshot; NULL: none. Borrowed, as from
 * dctx_get(), and for the snapshot's life. In an actor's handler the first makes the scope of the
 * ask at hand if nobody needed it yet. */
DCTX_EXPORT dctx_cancel_t *dctx_cancel_get(void);
DCTX_EXPORT dctx_cancel_t *dctx_snapshot_cancel(const dctx_snapshot_t *snapshot);

/* ---- cancelling ------------------------------------------------------------------------------ */

/*
 * Cancel a scope and all below it: they are cancelled when this returns, and what watches them has
 * been called, on this thread. The first cancel of a scope counts, with its reason and this
 * thread's scope chain; a later one changes nothing.
 *
 * Ownership: the reason is copied; NULL: none.
 * Errors: none; it needs memory only for the reason and the chain, which are left out without it.
 *   False if the scope was cancelled before, or is NULL.
 * Thread-safety: any thread; also from a watch.
 * Limits and units: a reason of at most 255 bytes, a chain of at most 4095; longer ones are cut.
 */
DCTX_EXPORT bool dctx_cancel(dctx_cancel_t *cancel, const char *reason);

/* ---- asking ---------------------------------------------------------------------------------- */

/*
 * Whether to stop: the scope that the thread's context is in was cancelled, its deadline has
 * passed, or nobody waits any more for what this actor's handler works on. One load when there is
 * nothing of that kind; the deadline costs a look at the clock.
 *
 * dctx_cancel_check() says which: DCTX_OK, DCTX_ERR_CANCELLED or DCTX_ERR_DEADLINE, with the reason
 * and the canceller's chain in dctx_error_detail(). So that a handler can return what it returns.
 *
 * Ownership: none. Errors: as named.
 * Thread-safety: the calling thread's context.
 * Limits and units: none.
 */
DCTX_EXPORT bool dctx_cancelled(void);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_cancel_check(void);

/* The same of one scope, without a deadline's help: DCTX_OK while it is not cancelled. Why, ""
 * until then or if no reason was given; and the scope chain of who cancelled it, as
 * dctx_chain_format(). Both borrowed for the scope's life. NULL is a scope that is never cancelled.
 * Any thread. */
DCTX_EXPORT dctx_error_t dctx_cancel_status(const dctx_cancel_t *cancel);
DCTX_EXPORT const char *dctx_cancel_reason(const dctx_cancel_t *cancel);
DCTX_EXPORT const char *dctx_cancel_chain(const dctx_cancel_t *cancel);

/* ---- being told ------------------------------------------------------------------------------ */

/* Runs once, on the thread that cancels and in whatever context that has; must not block. */
typedef void (*dctx_cancel_fn)(dctx_cancel_t *cancel, void *arg);

/* A registration, in the caller's memory: zero it first. All fields are private. */
typedef struct dctx_cancel_watch {
    struct dctx_cancel_watch *next_;
    struct dctx_cancel_watch **place_;
    dctx_cancel_t *cancel_;
    dctx_cancel_fn call_;
    void *arg_;
    uint32_t tree_;
} dctx_cancel_watch_t;

/*
 * Have `call` run when the scope is cancelled; at once, on this thread, if it is already. Nothing
 * is locked while it runs: it may call any function, cancel and unwatch included.
 *
 * unwatch is a barrier: when it has returned `call` is not running, and does not run any more. If
 * it is running on another thread that is waited for; called from `call` itself it returns at once.
 * It takes a watch that has run, one that was unwatched, a zeroed one, and NULL.
 *
 * Ownership: the watch stays the caller's, and where it is, until unwatch returned or `call` was
 *   entered. It has a reference on the scope until then.
 * Errors: none; it needs no memory. dctx_cancel_watch() returns false if `call` ran at once.
 *   Without a watch or a function (NULL) nothing is registered, and that is logged.
 * Thread-safety: any thread; unwatch one watch from one thread at a time.
 * Limits and units: none. The order in which several are called is not said.
 */
DCTX_EXPORT bool dctx_cancel_watch(dctx_cancel_t *cancel, dctx_cancel_watch_t *watch,
                                   dctx_cancel_fn call, void *arg);
DCTX_EXPORT void dctx_cancel_unwatch(dctx_cancel_watch_t *watch);

/*
 * A descriptor that can be read from (poll it, do not read) once the scope is cancelled. Made when
 * first asked for.
 *
 * Ownership: the scope's: closed with it.
 * Errors: DCTX_ERR_IO (no descriptor left), DCTX_ERR_INVALID (NULL).
 * Thread-safety: any thread.
 * Limits and units: one descriptor a scope, however often it is asked for.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_cancel_fd(dctx_cancel_t *cancel, int *ret_fd);

#ifdef __cplusplus
}
#endif
#endif
