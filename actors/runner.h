/*
 * A runner: what a thread of the system has of its own, be it a worker, a pinned actor's thread or
 * the I/O actor. It also shows, to dctx_system_stop(), what user code the thread is in.
 */
#ifndef DCTX_RUNNER_H
#define DCTX_RUNNER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>
#include <dcontext/internal.h>

#include "lot.h"
#include "mailbox.h"
#include "pool.h"
#include "tally.h"

typedef enum dctx_runner_kind {
    DCTX_RUNNER_WORKER = 1,
    DCTX_RUNNER_PINNED,
    DCTX_RUNNER_IO,
    DCTX_RUNNER_WORLD /* whoever drives a test world, in the place of a worker */
} dctx_runner_kind_t;

enum { DCTX_TYPE_SHOWN = 256 }; /* of a type's name, where it is shown */

typedef struct dctx_runner {
    dctx_tallies_t tallies; /* written by the thread itself */
    dctx_system_t *system;
    dctx_runner_kind_t kind;
    dctx_actor_t *actor; /* in whose turn the thread is; the thread itself reads and writes it */
    dctx_pool_cache_t cells;
    dctx_lot_t given, spent; /* in a turn only; see lot.h */
    bool in_turn;
    /* The context in which the message before this one was handled, and which this one has too, so
     * that it was left open; NULL: none. The token is its scope. */
    const dctx_snapshot_t *warm;
    dctx_scope_t warm_scope;
    bool nested; /* in a test world: it was entered from within a context, which stays below */

    /* What the thread is busy with: written by the thread, read by the one that stops the system
     * under `lock`. See dctx_runner_begin() and end(). */
    _Atomic(dctx_actor_t *) busy;             /* whose user code it is in; NULL: in none */
    _Atomic(const dctx_snapshot_t *) context; /* the message's; NULL: the empty one */
    _Atomic(const dctx_type_t *) type;        /* of the message's value; NULL: none, or encoded */
    _Atomic(const char *) remote_type;        /* of what came encoded; as long as it is there */
    _Atomic(const char *) prefix;             /* "actor:" or "remote:"; NULL: no scope of its own */
    _Atomic(uint64_t) sequence;               /* goes up by one with each begin */
    _Atomic(dctx_actor_t *) turn;             /* whose turn it was last */
    _Atomic(int64_t) since;                   /* when that turn began, by the system's clock */
    _Atomic(uint64_t) since_sequence;         /* the sequence then */
    dctx_message_t *message; /* that it is busy with, if any; read under `lock` too */
    struct dctx_end *end;    /* of the actor whose on_stop it is in, else NULL; the thread's own */
    /* Of what came encoded, once its handler has sent it on or kept it; the thread's own. */
    char moved_type[DCTX_TYPE_SHOWN];
    /* the handler has made a dead letter of the message: dctx_message_turn_away_() */
    bool unhandled;
    const char *callback; /* what it is in, where no message says so; NULL: a message does */

    /* Of what is urgent in the actor's turn. The thread's own, until it is given up:
     * then of who stops the system. */
    dctx_node_t *urgent_hand;       /* in its hands */
    dctx_urgent_list_t urgent_rest; /* taken, and to follow */
    bool at_urgent;                 /* it is there, and not at what is in the mailbox */
    bool outside;                   /* the same for a callback that no message brought */

    /* Of the ask in hand, the thread's own; see work.h. */
    dctx_asked_t asked;
    dctx_cancel_t *work; /* with a reference; NULL: not made yet */

    pthread_mutex_t lock;
    bool abandoned; /* under `lock`: the system goes on without this thread */
    /* by stop, for itself: it was given up outside user code, and may be at work still */
    bool adrift;
    bool passed;   /* by stop, for itself: what the thread had in hand is accounted for */
    uint64_t seen; /* by stop, for itself: a sequence it saw, and when */
    int64_t seen_at;
} dctx_runner_t;

/* The calling thread's; NULL on a thread of no system. */
extern __attribute__((visibility("hidden"),
                      tls_model("initial-exec"))) _Thread_local dctx_runner_t *dctx_runner_here;

/* The calling thread's, if it belongs to this system. */
static inline dctx_runner_t *dctx_runner_of(const dctx_system_t *system)
{
    dctx_runner_t *runner = dctx_runner_here;
    return runner != NULL && runner->system == system ? runner : NULL;
}

void dctx_runner_init(dctx_runner_t *runner, dctx_system_t *system, dctx_runner_kind_t kind);
void dctx_runner_finish(dctx_runner_t *runner);

/*
 * Around user code. What was given to begin must stay alive until end returned true. False: the
 * system has been stopped and has given this thread up; it must leave at once and touch nothing of
 * the system.
 *
 * The one who stops the system, or watches it, raises its `attention`, has all threads pass a
 * barrier, takes `lock` and reads `busy`. If that is not NULL, the thread's end is yet to come,
 * will see the attention, and wait for `lock`. So what `busy` and the others point to stays alive
 * meanwhile, and a running system pays nothing for it.
 */
void dctx_runner_begin(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                       const dctx_snapshot_t *context, const char *prefix);
bool dctx_runner_end(dctx_runner_t *runner);

/* Between two pieces of user code in one begin and end: true if the thread was given up in the
 * first. Then only its own memory and that of the system, which stays, may be touched before
 * end. */
bool dctx_runner_is_given_up(dctx_runner_t *runner);

/* What `remote_type` points to is going to be freed. */
void dctx_runner_forget_type_(dctx_runner_t *runner);
/* The content of the message in hand is going to be moved: its name is kept. */
void dctx_runner_keep_type_(dctx_runner_t *runner, const dctx_message_t *message);
/* The name of the type of the message in hand, also when its handler has taken its value, sent it
 * on or kept it; "" if it has none. For the thread itself, until the end of the callback. */
const char *dctx_runner_type_(const dctx_runner_t *runner);

/* The thread leaves: says so in `left`, and true.
 * False: it was given up, and may touch nothing of the system's. */
bool dctx_runner_leave_(dctx_runner_t *runner, dctx_futex_t *left);

/* Where a thread ends that was given up. It does not return: CZMQ may be gone already, and with it
 * what called us. */
void dctx_runner_park(void) __attribute__((noreturn));

/* True if the callback that the thread is in may wait for others: a pinned actor's. */
bool dctx_runner_may_wait_(const dctx_runner_t *runner);

/* To be called when a turn begins. A thread that was given up before it sees that, once it has
 * called this, by dctx_runner_is_given_up(); else the one who gives it up later sees whose turn it
 * is in. */
void dctx_runner_turn(dctx_runner_t *runner, dctx_actor_t *actor);

/* The barrier: after it, no thread of the process is still between its store to `busy` and its load
 * of the phase. True if the kernel does that for us; else the threads do it themselves. */
bool dctx_runner_barrier_init(void);
/* Whether it does. Set before the first system's threads start. */
extern __attribute__((visibility("hidden"))) bool dctx_runner_kernel_barrier_;
void dctx_runner_barrier(void);

#endif
