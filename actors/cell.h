/*
 * An actor's cell. It lives in a slab: when its actor is gone it waits for the next one, and a
 * message for the old one that comes late finds another generation in it.
 *
 * Who may touch what. Senders touch the first cache line only. The rest belongs to the one receiver
 * (see mailbox.h), or, while the cell is free, to whoever took it from the slab; but a receiver may
 * be at work on a free cell too, for a late message. So it looks at `serving` first, and at nothing
 * else unless that is the generation of the message in its hands: such a message was sent by
 * somebody who has the id of the actor, which was given out after the cell had been filled.
 */
#ifndef DCTX_CELL_H
#define DCTX_CELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>

#include "mailbox.h"
#include "names.h"
#include "slab.h"

typedef struct dctx_extra dctx_extra_t;
typedef struct dctx_pinned dctx_pinned_t;
typedef struct dctx_gauge dctx_gauge_t;
typedef struct dctx_meter dctx_meter_t;

/* The low half of `life`; the high half is the generation, 31 bits, never 0. */
#define DCTX_LIFE_ALIVE       ((uint64_t)1)   /* takes messages */
#define DCTX_LIFE_DEAD        ((uint64_t)2)   /* gone; what it left behind is being cleared away */
#define DCTX_LIFE_STOP_POSTED ((uint64_t)4)   /* stop_node is in the mailbox, or about to be */
#define DCTX_LIFE_STOP_NOW    ((uint64_t)8)   /* to stop before its next message; see urgent.h */
#define DCTX_LIFE_GROUPED     ((uint64_t)16)  /* in a group, or was; see groups.h */
#define DCTX_LIFE_SUSPENDED   ((uint64_t)32)  /* it leaves its mailbox alone; by the receiver */
#define DCTX_LIFE_CHILD       ((uint64_t)64)  /* it has a parent, who stops it; by spawn */
#define DCTX_LIFE_STUCK       ((uint64_t)128) /* of a DEAD one: a thread never came back from it */

/* In `serving`, beside the generation: nothing is served, but it waits in the mailbox. */
#define DCTX_SERVING_SUSPENDED ((uint32_t)1 << 31)

struct dctx_actor {
    dctx_slab_slot_t slot;
    _Atomic(uint64_t)
        life; /* spawn sets ALIVE with release; stop adds STOP_POSTED; the receiver ends it */
    dctx_mailbox_in_t in;
    dctx_system_t *system;         /* never changes */
    _Atomic(dctx_gauge_t *) gauge; /* NULL: nobody counts; made by spawn, for good: see gauge.h */
    struct dctx_actor
        *run_next; /* in a run queue; whoever has the right to make the actor run writes it */

    _Alignas(64) dctx_mailbox_out_t out;
    _Atomic(uint32_t)
        serving; /* the living actor's generation, else 0; release by spawn, acquire by receivers */
    bool stopping;  /* dctx_self_stop() or dctx_self_fail() was called: see dctx_life_settle_() */
    bool may_block; /* it was spawned DCTX_PINNED */
    bool internal;  /* one of the system's own: not counted */
    bool unstashed; /* there are messages that were put back, to be handled next; see stash.h */
    uint32_t asks;  /* of the living actor, made and not ended */
    /* Of one that is DEAD, or has only its children to wait for: what becomes of its messages. */
    dctx_error_t death;
    dctx_handler_fn handler;
    union {
        void *state;
        dctx_exit_t *last; /* of a DEAD one: how it ended, if somebody wants to know */
    };
    const char *scope; /* "actor:NAME": in `named` or `made`, or constant */

    /* What is looked at for each message, and NULL in most; and the name most go by. */
    dctx_message_t *start; /* the NODE_START on its way; NULL once on_start has run */
    dctx_extra_t *extra;   /* what only some actors have; NULL: nothing of it. See extra.h */
    _Atomic(dctx_pinned_t *) pinned; /* its thread; NULL: the workers. As `serving` */
    _Atomic(uintptr_t) urgent;       /* what overtakes the mailbox; any thread, see urgent.h */
    char made[32];                   /* "actor:anon-N" */

    /* What a message does without. */
    void (*on_stop)(dctx_actor_t *self, void *state);
    void (*destroy_state)(void *state);
    /* NULL: the name is `made`. Written as the fields around it; others read it under the lock of
     * the names, between two looks at an unchanged `life`. */
    _Atomic(dctx_name_t *) named;
    _Atomic(uint32_t) nudged; /* 1: nudge_node is in the mailbox, or about to be */
    dctx_node_t nudge_node;   /* never but in this cell's mailbox; of no generation */
    dctx_node_t stop_node;    /* so that stopping needs no memory */
};

_Static_assert(sizeof(struct dctx_actor) == 256, "a million actors are a million cells");

static inline uint64_t dctx_life_generation(uint64_t life)
{
    return life >> 32;
}

/* Ids: generation << 32 | number of the cell; or this bit and the number of a remote record. */
#define DCTX_ID_REMOTE ((uint64_t)1 << 63)

static inline uint64_t dctx_id_make(uint64_t generation, uint32_t index)
{
    return generation << 32 | index;
}

/* The ref of the actor in whose turn the thread is. */
static inline dctx_ref_t dctx_cell_ref(const dctx_actor_t *actor)
{
    uint32_t serving = atomic_load_explicit(&actor->serving, memory_order_relaxed);
    return (dctx_ref_t){.system_ = actor->system,
                        .id_ = dctx_id_make(serving & ~DCTX_SERVING_SUSPENDED, actor->slot.index)};
}

static inline bool dctx_id_is_remote(uint64_t id)
{
    return (id & DCTX_ID_REMOTE) != 0;
}

#endif
