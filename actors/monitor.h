/*
 * Monitors and ties: who hears of whose end.
 *
 * A watch is registered by a signal to its target, and told of by a signal to its watcher; the
 * order of the mailboxes decides all races. While it is registered it is in the target's list,
 * which only the target's turn touches; of a target on another node the I/O actor keeps it instead:
 * see remote_monitor.h. A monitor of an actor is also in that actor's own list, so that it can be
 * taken back, which only the watcher's turn touches.
 */
#ifndef DCTX_MONITOR_H
#define DCTX_MONITOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/supervise.h>

#include "cell.h"
#include "futex.h"
#include "life_signal.h"

typedef enum dctx_monitor_kind {
    DCTX_MONITOR_ACTOR = 1, /* an actor monitors: on_down */
    DCTX_MONITOR_TIE,       /* an actor is tied to the target */
    DCTX_MONITOR_CALL,      /* somebody outside monitors: call */
    DCTX_MONITOR_WAIT,      /* a thread waits: done */
    DCTX_MONITOR_NODE       /* another node monitors: its I/O actor is told by ours */
} dctx_monitor_kind_t;

struct dctx_monitor {
    _Atomic(uint32_t) references; /* relaxed up, acq_rel down */
    dctx_monitor_kind_t kind;
    dctx_ref_t target, watcher;
    uint64_t serial; /* of the watcher's system: another may be at its address when this is told */
    dctx_signal_t enter, leave, down;
    dctx_extra_t *spare; /* for a target that has none; gone once it has taken `enter` */
    struct dctx_far
        *far; /* of one that goes between nodes, the I/O actor's: see far.h; else NULL */

    /* In the target's list, in its turn. */
    struct dctx_monitor *next, **place; /* place: NULL when it is not in the list */
    bool any_end;                       /* a tie: also when the target did not fail */
    struct dctx_monitor *twin;          /* a tie: the one the other way, of the same block */

    /* In the watcher's own list, in its turn. */
    struct dctx_monitor *own_next, **own_place;
    bool over;   /* told, or taken back */
    bool handle; /* the application has it, and gives it back */
    union {
        dctx_down_fn on_down;
        dctx_down_call_fn call;
    } run;
    void *arg;
    dctx_snapshot_t *snapshot; /* in which it was set up; NULL: the empty one */

    dctx_exit_t *exit; /* written by the target's side before it tells */
    dctx_futex_t done; /* WAIT: release by the target's side */
};

/* Lists of an actor, in its extra. */
typedef struct dctx_monitors {
    dctx_monitor_t *watchers; /* of this actor */
    dctx_monitor_t *own;      /* by this actor */
    dctx_tied_fn on_tied;     /* NULL: it stops */
} dctx_monitors_t;

/* Takes a watch's signal in the receiver's turn; `living`: it is for the actor that lives in the
 * cell. False: abandoned. */
bool dctx_monitor_take_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_signal_t *signal,
                        bool living);
void dctx_monitor_unref_(dctx_monitor_t *watch);
void dctx_monitor_ref_(dctx_monitor_t *watch);
void dctx_untie_unref_(void *untie);
void dctx_untie_ref_(void *untie);

/* For another node, on an actor here, to be told by way of the I/O actor. One reference; NULL
 * without memory. */
dctx_monitor_t *dctx_monitor_of_node_(dctx_ref_t target);

/* Tells whoever monitors that the target has ended, once. `runner`: the calling thread's; NULL for
 * the one who stops `system`. False: abandoned in his callback. */
bool dctx_monitor_tell_(dctx_runner_t *runner, dctx_system_t *system, dctx_monitor_t *watch,
                        const dctx_exit_t *exit);

/* Takes back all that the actor monitors. */
void dctx_monitors_withdraw_(dctx_runner_t *runner, dctx_monitors_t *monitors);

/* Tells all who watch the actor. False: abandoned in a callback. */
bool dctx_monitors_tell_(dctx_runner_t *runner, dctx_system_t *system, dctx_monitors_t *monitors,
                         const dctx_exit_t *exit);

#endif
