/*
 * Signals: what actors' lives tell each other. They overtake messages, so that a busy supervisor
 * decides, and a suspended actor obeys; but for DOWN, which keeps its place behind what the one
 * that ended had sent.
 *
 * A signal is part of a record, which it keeps alive while it is on its way. It is made with the
 * record, so that the end of an actor can be told without memory.
 */
#ifndef DCTX_LIFE_SIGNAL_H
#define DCTX_LIFE_SIGNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "cell.h"
#include "mailbox.h"
#include "runner.h"

/* In node.flags. */
typedef enum dctx_signal_kind {
    DCTX_SIGNAL_WATCH = 1, /* watch: to its target: tell me when you end */
    DCTX_SIGNAL_UNWATCH,   /* watch: to its target: no more */
    DCTX_SIGNAL_DOWN,      /* watch: to its watcher: the target has ended */
    DCTX_SIGNAL_UNTIE,     /* untie: to either of two tied ones */
    DCTX_SIGNAL_ADOPT,     /* bond: to the parent: here is a child */
    DCTX_SIGNAL_FAILED,    /* bond: to the parent: I have failed, and wait */
    DCTX_SIGNAL_RETIRED,   /* bond: to the parent: I have cleared up, and wait */
    DCTX_SIGNAL_BEGUN,     /* bond: to the parent: I am at work again */
    DCTX_SIGNAL_ENDED,     /* bond: to the parent: I am no more */
    DCTX_SIGNAL_WAKE,      /* bond: to the parent, from the bond's alarm */
    DCTX_SIGNAL_RESUME,    /* bond: to the child: go on */
    DCTX_SIGNAL_RETIRE,    /* bond: to the child: clear up, and wait */
    DCTX_SIGNAL_BEGIN      /* bond: to the child: begin, or begin anew */
} dctx_signal_kind_t;

typedef struct dctx_signal {
    dctx_node_t node;
    void *record;
    _Atomic(bool) out; /* on its way: set by who posts it, cleared (release) by who took it */
} dctx_signal_t;

static inline dctx_signal_t *dctx_signal_of(dctx_node_t *node)
{
    return (dctx_signal_t *)(void *)node;
}

/*
 * Posts a signal to an actor of any system; to the I/O actor, if `to` is an actor of another node.
 * `runner`: the calling thread's, whatever its system; NULL outside. The record gets a reference
 * for the way. False if the system of the actor is gone, or is being cleared away: then nothing was
 * posted.
 */
bool dctx_signal_post_(dctx_runner_t *runner, dctx_ref_t to, dctx_signal_t *signal,
                       dctx_signal_kind_t kind);

/* The same, to one who may have gone long ago: not if there is another system than that with this
 * serial at the address now. */
bool dctx_signal_tell_(dctx_runner_t *runner, dctx_ref_t to, uint64_t serial, dctx_signal_t *signal,
                       dctx_signal_kind_t kind);

/* Takes a signal in the receiver's turn. False: abandoned. */
bool dctx_signal_take_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_signal_t *signal);

/* Ends a signal that is out of the mailbox. */
void dctx_signal_release_(dctx_signal_t *signal);

#endif
