/*
 * dcontext/supervise.h - how actors fail and end: supervisors, exits, monitors, ties.
 *
 * An actor with a parent is that parent's child: the parent says what becomes of it when it fails,
 * and stops it before it ends itself. Failing is not ending: a child that failed is suspended, with
 * its mailbox as it is, until its parent has decided. A restart keeps the actor's address, name,
 * mailbox and those who watch it; it runs on_stop, gives the actor a new state if it has a way to
 * make one, and runs on_start again in the context of the spawn. The message that failed is not
 * handled again.
 *
 * An actor without a parent that fails ends.
 */
#ifndef DCONTEXT_SUPERVISE_H
#define DCONTEXT_SUPERVISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/actor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- exits ----------------------------------------------------------------------------------- */

/* How an actor ended, or failed. Append-only. */
typedef enum dctx_exit_kind {
    DCTX_EXIT_SELF = 1,         /* dctx_self_stop() */
    DCTX_EXIT_STOPPED = 2,      /* dctx_stop() */
    DCTX_EXIT_PARENT = 3,       /* its parent stopped it; the cause says why the parent did */
    DCTX_EXIT_SYSTEM = 4,       /* the system stops */
    DCTX_EXIT_FAILED = 5,       /* dctx_self_fail(), or an error that counts as a failure */
    DCTX_EXIT_START_FAILED = 6, /* on_start or new_state returned an error */
    DCTX_EXIT_TIED = 7,         /* one it was tied to ended: the cause */
    DCTX_EXIT_INTENSITY =
        8, /* a supervisor: its children failed too often; the cause is the last */
    DCTX_EXIT_ESCALATED = 9, /* a supervisor: its child failed, and it passes that on */
    DCTX_EXIT_NO_ACTOR = 10, /* for a monitor: it had ended before */
    /* For a monitor of an actor on another node: the connection to that node went down, or did not
     * come up, or there is none. Whether the actor lives is not known. DCTX_ERR_UNREACHABLE. */
    DCTX_EXIT_NODE_LOST = 11,
    /* The same: its node does not tell, for a reason that the error names: DCTX_ERR_VERSION (it is
     * too old), DCTX_ERR_FULL, DCTX_ERR_NOMEM. The actor may well live. */
    DCTX_EXIT_UNWATCHED = 12
} dctx_exit_kind_t;

/*
 * Why an actor ended or failed. Immutable; texts are "" where there is nothing to say, and borrowed
 * for the life of the exit. Of NULL, where there is no exit, all is 0, "" or false.
 *
 * Ownership: dctx_exit_ref() gives a reference of one's own to an exit that is lent in a callback;
 *   give it back with dctx_exit_unref(), which takes NULL.
 * Errors: none. Thread-safety: any thread.
 * Limits and units: at most 32 causes after one another, then the first is named at once.
 */
DCTX_EXPORT dctx_exit_t *dctx_exit_ref(const dctx_exit_t *exit);
DCTX_EXPORT void dctx_exit_unref(dctx_exit_t **exit_p);
DCTX_EXPORT dctx_exit_kind_t dctx_exit_kind(const dctx_exit_t *exit);
/* What it failed with, or what becomes of its messages. */
DCTX_EXPORT dctx_error_t dctx_exit_error(const dctx_exit_t *exit);
DCTX_EXPORT const char *dctx_exit_who(const dctx_exit_t *exit);    /* the actor's name */
DCTX_EXPORT const char *dctx_exit_reason(const dctx_exit_t *exit); /* in the words of who failed */
DCTX_EXPORT const char *
dctx_exit_where(const dctx_exit_t *exit); /* `handler of "charge"`, `a timer` */
DCTX_EXPORT const char *dctx_exit_chain(const dctx_exit_t *exit); /* as dctx_chain_format() */
/* What led to it; NULL: nothing that we know of. Borrowed. */
DCTX_EXPORT const dctx_exit_t *dctx_exit_cause(const dctx_exit_t *exit);
/* False when it was told to stop, or stopped by itself. */
DCTX_EXPORT bool dctx_exit_is_failure(const dctx_exit_t *exit);
/* All of it in one line: `orders: stopped: tied to payments: failed: DCTX_ERR_IO "disk full" in
 * handler of "charge" under api > actor:payments`. NUL-terminated, cut to fit; returns the whole
 * length, as snprintf. */
DCTX_EXPORT size_t dctx_exit_format(const dctx_exit_t *exit, char *buffer, size_t size);

/* ---- failing and supervising ----------------------------------------------------------------- */

/*
 * Say that this actor has failed, and return: after the callback it is suspended until its parent
 * has decided, or ends, if it has none. An ask that is not answered is answered with the error and
 * the reason. In on_start, which then has failed; not in on_stop.
 *
 * Ownership: the reason is copied; it may be NULL.
 * Errors: none. Thread-safety: the actor's callbacks. Limits and units: none.
 */
DCTX_EXPORT void dctx_self_fail(dctx_actor_t *self, dctx_error_t error, const char *reason);

typedef enum dctx_directive {
    DCTX_RESUME = 1,  /* the child goes on with its next message, as it is */
    DCTX_RESTART = 2, /* it begins anew */
    DCTX_STOP = 3,    /* it ends */
    DCTX_ESCALATE = 4 /* the parent itself fails: its own parent decides */
} dctx_directive_t;

/* Whom a restart or a stop concerns. */
typedef enum dctx_strategy {
    DCTX_ONE_FOR_ONE = 0,
    DCTX_ALL_FOR_ONE = 1, /* all children */
    DCTX_REST_FOR_ONE = 2 /* it, and those that were started after it */
} dctx_strategy_t;

/*
 * How a parent supervises. All fields may be zero.
 *
 * Several children retire one after the other, the youngest first, and begin the oldest first. More
 * than max_restarts in a window: the parent stops its children, and fails itself
 * (DCTX_EXIT_INTENSITY); without a parent of its own it ends.
 *
 * Before a restart a child waits for backoff_ms, doubled with each failure in a row (in which each
 * comes within window_ms of the last), up to backoff_max_ms, less a random part of up to
 * jitter_percent. Its mailbox is kept, and takes messages. A system that stops does not wait for
 * that: the child begins at once, and handles what it has. A parent that stops does not have it
 * begin.
 */
typedef struct dctx_supervision {
    dctx_strategy_t strategy;
    /* When a child's handler returns an error. 0: DCTX_RESUME, then it is no failure: the error is
     * the asker's answer, and counted. */
    dctx_directive_t on_error;
    dctx_directive_t on_failure; /* any other failure; 0: DCTX_RESTART */
    /* Asked for each failure, on the parent's turn; NULL, or 0 returned: the two above. */
    dctx_directive_t (*decide)(dctx_actor_t *self, const dctx_exit_t *failure, void *arg);
    void *arg;
    unsigned max_restarts;   /* in a window; 0: 3. At most 100000 */
    int64_t window_ms;       /* 0: 5000 */
    int64_t backoff_ms;      /* 0: none */
    int64_t backoff_max_ms;  /* 0: 30000 */
    unsigned jitter_percent; /* 0..100 */
    /* How long a child may take to stop, with what is in its mailbox; then it is told to stop at
     * once, and after as long again (at most 1000) the parent goes on without it. 0: 5000 */
    int64_t stop_ms;
} dctx_supervision_t;

/*
 * Spawn a child of this actor: dctx_spawn() with it as the parent.
 * Ownership, Errors, Limits and units: as dctx_spawn(). Thread-safety: the actor's callbacks.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_spawn_child(dctx_actor_t *self,
                                                          const dctx_actor_options_t *options,
                                                          dctx_ref_t *ret_ref);

/* ---- monitors -------------------------------------------------------------------------------- */

typedef struct dctx_monitor dctx_monitor_t;

/* Runs on the monitoring actor's own turn, in the context in which the monitor was set up. */
typedef void (*dctx_down_fn)(dctx_actor_t *self, dctx_ref_t who, const dctx_exit_t *exit,
                             void *state, void *arg);
/* Runs on any thread of the system, or on the one that stops it; must not block. */
typedef void (*dctx_down_call_fn)(dctx_ref_t who, const dctx_exit_t *exit, void *arg);

/*
 * Hear of an actor's end: `on_down` runs once, when it has ended and its name is free; at once,
 * with DCTX_EXIT_NO_ACTOR, when it had ended before. Failures that end in a restart are not told.
 * One can monitor many, and one many times. A monitor ends with the one who set it up, and when
 * that one is restarted.
 *
 * Of an actor on another node on_down runs once too, behind all that it had sent before: with how
 * it ended, and that exit's causes, in which names are "actor@node"; with DCTX_EXIT_NO_ACTOR, when
 * nobody there has that name; with DCTX_EXIT_NODE_LOST, as soon as the connection goes down, and
 * then not again when the node comes back, where the actor may have lived on. Such an address is a
 * name, so it is the actor that has the name when the monitor gets there. A node that is dialled
 * and not up has dead_after_ms of the system's options to come up, and one that is neither dialled
 * nor has dialled us is lost at once; a tell to it would be held, and a dead letter.
 *
 * Ownership: `arg` is the caller's. ret_monitor may be NULL; else the caller gives *ret_monitor
 *   back with dctx_demonitor(), be it before or after on_down has run, or else it lasts as long as
 *   the actor (until its restart). The exit is lent for the call.
 * Errors: DCTX_ERR_INVALID (not in a callback of the actor, or no on_down), DCTX_ERR_NOMEM,
 *   DCTX_ERR_STOPPED (the system of `who` is gone).
 * Thread-safety: the actor's callbacks.
 * Limits and units: a node takes 65536 monitors of another one; of texts of an exit at most 4096
 *   bytes come over, of names 128. An actor that is left behind in a callback when its system
 *   stops does not end, and nobody hears that it did.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_monitor(dctx_actor_t *self, dctx_ref_t who,
                                                      dctx_down_fn on_down, void *arg,
                                                      dctx_monitor_t **ret_monitor);
/*
 * After it on_down does not run.
 * Ownership: *monitor_p is NULL afterwards; NULL is fine. Errors: none.
 * Thread-safety: the actor's callbacks. Limits and units: none.
 */
DCTX_EXPORT void dctx_demonitor(dctx_actor_t *self, dctx_monitor_t **monitor_p);

/*
 * Hear of an actor's end, from anywhere: `call` runs once, until dctx_system_stop() has returned at
 * the latest.
 *
 * Ownership: `arg` is the caller's. The exit is lent for the call.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM, DCTX_ERR_STOPPED (the system is closing or closed).
 * Thread-safety: any thread.
 * Limits and units: as dctx_monitor().
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_monitor_call(dctx_ref_t who, dctx_down_call_fn call,
                                                           void *arg);

/*
 * Wait for an actor's end, from outside the system or from a pinned actor.
 *
 * Ownership: the caller owns *ret_exit: dctx_exit_unref(). ret_exit may be NULL.
 * Errors: DCTX_ERR_TIMEOUT, DCTX_ERR_INVALID (from a worker thread, which it would block),
 *   DCTX_ERR_NOMEM, DCTX_ERR_STOPPED.
 * Thread-safety: any thread but workers and the I/O actor.
 * Limits and units: milliseconds of real time; 0 and less: do not wait.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_await_end(dctx_ref_t who, int64_t timeout_ms,
                                                        dctx_exit_t **ret_exit);

/* ---- ties ------------------------------------------------------------------------------------ */

enum {
    DCTX_TIE_ANY_END = 1 /* whatever the reason is; else only a failure ends the other */
};

/*
 * Tie two lives: when one ends by a failure, the other is stopped, with DCTX_EXIT_TIED and the
 * first's exit as the cause, or, if its options have on_tied, that is called instead. Tying what is
 * tied already makes a second tie.
 *
 * Ownership: none.
 * Errors: DCTX_ERR_INVALID (none, the same, or on another node: monitor that one),
 *   DCTX_ERR_NO_ACTOR, DCTX_ERR_NOMEM, DCTX_ERR_STOPPED.
 * Thread-safety: any thread. One that ends while it is being tied has its end told; where its cell
 *   is in use again already, as DCTX_EXIT_NO_ACTOR, which counts as a failure.
 * Limits and units: flags as above.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_tie(dctx_ref_t a, dctx_ref_t b, unsigned flags);
/*
 * Undo all ties of the two; an end that is on its way already still counts.
 * Ownership, Errors, Thread-safety, Limits and units: as dctx_tie().
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_untie(dctx_ref_t a, dctx_ref_t b);

/* ---- from the inside ------------------------------------------------------------------------- */

/*
 * Why this actor ends, or failed: in on_stop, and in on_start when it is a restart; else NULL.
 * Ownership: borrowed for the callback. Errors: none. Thread-safety: the actor's callbacks.
 * Limits and units: none.
 */
DCTX_EXPORT const dctx_exit_t *dctx_self_exit(dctx_actor_t *self);

#ifdef __cplusplus
}
#endif
#endif
