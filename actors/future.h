/*
 * A future, inside.
 *
 * A future comes of others through edges, which are part of its memory: one for each future it
 * waits for. An edge is listed with its source until either the source ends, and fires it, or the
 * target does, and takes it back; whoever unlists it, under the source's lock, has it, and sees it
 * to its end. Of a future and those it comes of one lock is held at a time, and no user code runs
 * under it.
 *
 * A future ends once, in conclude(), which then fires its edges. Those that no executor runs go
 * through a queue of the thread, and so do futures whose last reference is dropped: a chain of any
 * length is a loop, not a recursion.
 */
#ifndef DCTX_FUTURE_H
#define DCTX_FUTURE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/future.h>

#include "executor.h"
#include "futex.h"

typedef enum dctx_edge_kind {
    DCTX_EDGE_PASS, /* the target ends as the source */
    DCTX_EDGE_THEN,
    DCTX_EDGE_MAP,
    DCTX_EDGE_RECOVER,
    DCTX_EDGE_ALL,
    DCTX_EDGE_ANY,
    DCTX_EDGE_ACTOR /* an actor of `home` waits for it, by `ask` */
} dctx_edge_kind_t;

typedef struct dctx_edge {
    dctx_job_t job; /* when an executor runs it */
    dctx_edge_kind_t kind;
    bool listed;            /* under the source's lock, as the next two */
    struct dctx_edge *next; /* of the source's; once unlisted: in the queue of a thread */
    struct dctx_edge *previous;
    dctx_future_t *source;     /* with a reference; under the target's lock */
    dctx_future_t *target;     /* with a reference while attached */
    dctx_executor_t *executor; /* with a reference; NULL: none. This and the rest: by who has it */
    dctx_snapshot_t *context;
    dctx_then_fn call;
    void *arg;
    dctx_error_t verdict; /* DCTX_OK, or why it is not run as it should be */
} dctx_edge_t;

enum { DCTX_FUTURE_INLINE = 64 };

struct dctx_future {
    _Atomic(size_t) refs;
    dctx_futex_t done; /* 1: ended. Release by who ended it, when the next four are set for good */
    dctx_result_t result;
    dctx_future_t *root; /* whose value and reason it is, with a reference; NULL: its own */
    char *reason;        /* a block; NULL: none */
    void *block;         /* that the value is in; NULL: none */

    pthread_mutex_t lock; /* guards the rest, until it has ended */
    bool from_outside;    /* it was ended by somebody who is not its promise's owner */
    dctx_edge_t *first, *last;
    unsigned waiters;
    int descriptor;
    dctx_executor_timer_t *timer; /* that will end it, with `late` */
    dctx_error_t late;

    dctx_on_cancel_fn on_cancel;
    void *on_cancel_arg;
    dctx_snapshot_t *on_cancel_context; /* NULL: it needs none */
    dctx_futex_t cancelling;            /* 1 while on_cancel runs, on this thread: */
    pthread_t cancelling_thread;

    dctx_future_t *next_ended; /* the thread that ended it: yet to be looked after */
    dctx_future_t *next_dead;  /* the thread that dropped the last reference */

    void *home;                /* a system's address, which may be stale: */
    uint64_t home_serial;      /* then this is not its own */
    uint64_t ask;              /* there; 0: none */
    const dctx_type_t *wanted; /* of the reply; NULL: none */

    dctx_results_t results; /* of dctx_future_all(); in the memory of the edges */
    dctx_future_t **parts;  /* with references; the same */
    size_t pending;         /* of them */

    max_align_t value[DCTX_FUTURE_INLINE / sizeof(max_align_t)];
    size_t edge_count;
    dctx_edge_t edges[]; /* [0]: of dctx_promise_follow() */
};

/* How a future ends. What it owns is conclude()'s. */
typedef struct dctx_ending {
    dctx_error_t error;
    const char *text; /* a reason that stays; NULL: none */
    char *reason;     /* or a block */
    const dctx_type_t *type;
    void *value;
    void *block;
    dctx_future_t *as; /* or: as this one, which has ended */
    bool from_outside;
} dctx_ending_t;

/* One with `edges` edges beside the first, and `extra` bytes after them; one reference. NULL
 * without memory, with words. */
dctx_future_t *dctx_future_new_(size_t edges, size_t extra);

static inline bool dctx_future_done_(const dctx_future_t *self)
{
    return atomic_load_explicit(&((dctx_future_t *)(uintptr_t)self)->done, memory_order_acquire) !=
           0;
}

/* Ends it, unless it has ended; then the ending is thrown away. */
void dctx_future_conclude_(dctx_future_t *self, dctx_ending_t *ending);

/* Attaches an edge, filled in but for source and target, which it is part of. May run it. */
void dctx_edge_attach_(dctx_edge_t *edge, dctx_future_t *source, dctx_future_t *target);

/* `waiting` stands for an actor that waits for the source; see future_actor.c. */
void dctx_future_tell_actor_(const dctx_future_t *waiting, dctx_future_t *source);

/* The actor's turn with the record of an ended future, or of a system that stops. */
void dctx_future_run_actor_(dctx_actor_t *actor, const dctx_message_t *record);

static inline dctx_future_t *dctx_promise_future_(dctx_promise_t *promise)
{
    return (dctx_future_t *)(void *)promise;
}

/* Uses up what is left of a promise: an error, or no value. *promise_p may be NULL. */
void dctx_promise_settle_(dctx_promise_t **promise_p, dctx_error_t error);

/* As dctx_promise_on_cancel(), without a context; forget: takes it back, and waits for it. Set may
 * be called by any one with a reference; if the future has ended by its promise nothing comes of
 * it. */
void dctx_future_set_cancel_(dctx_future_t *self, dctx_on_cancel_fn call, void *arg);
void dctx_promise_forget_cancel_(dctx_promise_t *promise);

/* Sets a timer that calls in whatever context the thread has; nanoseconds. */
dctx_error_t dctx_executor_timer_set_bare_(dctx_executor_t *executor, dctx_tick_fn call, void *arg,
                                           void (*release)(void *arg), int64_t delay_ns,
                                           dctx_executor_timer_t **ret_timer);

#endif
