/*
 * dcontext/adapters.h - context in czmq's own loops and threads: a zloop's readers, timers and
 * tickets, and a thread in the manner of a zactor.
 *
 * For a zpoller, a plain poll() or another library's loop no adapter is needed: when the socket is
 * ready call dctx_recv_attach() or dctx_recv_call(); for a callback that runs later use a
 * dctx_task_t.
 */
#ifndef DCONTEXT_ADAPTERS_H
#define DCONTEXT_ADAPTERS_H

#include <czmq.h>

#include <dcontext/dcontext.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- zloop ----------------------------------------------------------------------------------- */

typedef struct dctx_loop dctx_loop_t;             /* what this library has in one zloop_t */
typedef struct dctx_loop_entry dctx_loop_entry_t; /* a reader, timer or ticket in it */

/* Handlers, with the context attached and a scope of the entry's name open. -1 ends the loop, 0
 * goes on. A reader may take *message_p over by setting it to NULL. */
typedef int (*dctx_loop_reader_fn)(dctx_loop_t *loop, void *socket, zmsg_t **message_p, void *arg);
typedef int (*dctx_loop_timer_fn)(dctx_loop_t *loop, void *arg);

/*
 * Adapt a loop.
 *
 * Ownership: the zloop_t stays the caller's and must outlive this; destroy takes all entries out of
 *   it, and it must not run again after.
 * Errors: DCTX_ERR_NOMEM. Thread-safety: the loop's thread, here and below.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_loop_new(zloop_t *loop, dctx_loop_t **ret_loop);
DCTX_EXPORT void dctx_loop_destroy(dctx_loop_t **loop_p);

/*
 * Read a socket: the handler runs in each message's own context. A message that the socket's policy
 * rejects does not reach it. `port` (policy.h) may be NULL.
 *
 * Ownership: the entry is the loop's, until dctx_loop_end(). ret_entry may be NULL, here and below.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM, DCTX_ERR_LIMIT (the name).
 * Limits and units: names as of scopes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_loop_reader(dctx_loop_t *loop, zsock_t *socket,
                                                          void *port, const char *name,
                                                          dctx_loop_reader_fn handle, void *arg,
                                                          dctx_loop_entry_t **ret_entry);

/*
 * A timer: `times` times, every `delay` milliseconds; 0 times: for ever. A ticket: once, after the
 * delay that the zloop's zloop_set_ticket_delay() says. Both run in the context in which they were
 * set.
 *
 * Ownership: as above; a timer that ran its times and a ticket that fired end by themselves.
 * Errors: as above. Limits and units: milliseconds.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_loop_timer(dctx_loop_t *loop, size_t delay,
                                                         size_t times, const char *name,
                                                         dctx_loop_timer_fn handle, void *arg,
                                                         dctx_loop_entry_t **ret_entry);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_loop_ticket(dctx_loop_t *loop, const char *name,
                                                          dctx_loop_timer_fn handle, void *arg,
                                                          dctx_loop_entry_t **ret_entry);

/*
 * Have each reader's handler run in a span of its own, when its message came with a trace: of the
 * same trace, a child of the sender's span. Off at first.
 *
 * Ownership: *ids is copied; NULL: the thread's own source. Errors: none; a handler for whose span
 *   there is no memory runs in the sender's, which is logged.
 * Thread-safety: the loop's thread. Limits and units: none.
 */
DCTX_EXPORT void dctx_loop_set_spans(dctx_loop_t *loop, bool spans, const dctx_id_source_t *ids);

/* Take an entry out, also from inside its handler. NULL and entries that ended are fine: *entry_p
 * is looked for, not believed. */
DCTX_EXPORT void dctx_loop_end(dctx_loop_t *loop, dctx_loop_entry_t **entry_p);

/* ---- a thread in the manner of a zactor ------------------------------------------------------ */

/*
 * `run` is a zactor_fn: it has a pipe, says with zsock_signal(pipe, status) whether it started, and
 * returns when it reads "$TERM". What a zactor lacks: it begins with a fork of the caller's
 * context; a start that fails is an error, with the status; starting and stopping take a bounded
 * time; the pipe is never too full for "$TERM"; and the thread is never left behind unseen.
 *
 * Ownership: the caller owns the worker. If starting takes longer than `timeout_ms` the answer is
 *   DCTX_ERR_TIMEOUT and *ret_worker is set all the same, to be stopped or waited for.
 * Errors: DCTX_ERR_REJECTED (*ret_status, if not NULL, is the status, 1..254; the thread has
 *   ended); DCTX_ERR_STOPPED (it returned without a word); DCTX_ERR_TIMEOUT; DCTX_ERR_IO,
 *   DCTX_ERR_NOMEM.
 * Thread-safety: one thread at a time.
 * Limits and units: milliseconds; -1 waits without bound.
 */
typedef struct dctx_worker dctx_worker_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_worker_start(zactor_fn *run, void *arg,
                                                           const char *name, int timeout_ms,
                                                           int *ret_status,
                                                           dctx_worker_t **ret_worker);

/* The caller's end of the pipe; for dctx_send() and others. Borrowed, for the worker's life. */
DCTX_EXPORT zsock_t *dctx_worker_pipe(dctx_worker_t *worker);

/*
 * Say "$TERM" and wait until the thread has ended.
 *
 * Ownership: on success the worker is gone and *worker_p NULL. NULL is fine.
 * Errors: DCTX_ERR_TIMEOUT: it is still running, and still the caller's, to be tried again.
 * Thread-safety, Limits and units: as above.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_worker_stop(dctx_worker_t **worker_p, int timeout_ms);

#ifdef __cplusplus
}
#endif
#endif
