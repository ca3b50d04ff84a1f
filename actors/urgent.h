/*
 * What overtakes the messages in a mailbox: commands of supervision, notices, a stop that takes
 * effect at once. A stack beside the mailbox, pushed by anybody and taken whole by the receiver,
 * who looks at it before each message: one load of a word that hardly ever changes.
 *
 * The mailbox alone decides who gets the receiver running, so whoever puts something on the stack
 * also puts the cell's nudge into the mailbox, unless it is there already (`nudged`). The nudge
 * carries nothing. Who takes it out of the mailbox resets `nudged`, and then looks at the stack
 * once more: so either he sees what was put there, or who put it there sees that the nudge is out.
 * Both are sequentially consistent.
 */
#ifndef DCTX_URGENT_H
#define DCTX_URGENT_H

#include "cell.h"
#include "runner.h"

/* In the lowest bit of `urgent`: the actor may have been told to stop at once; `life` knows. */
#define DCTX_URGENT_STOP ((uintptr_t)1)
/* In the next: the actor is suspended, with its mailbox not idle, and nobody runs it. Only
 * something urgent does: whoever puts that there takes the bit away, and gets the actor running. */
#define DCTX_URGENT_PARKED ((uintptr_t)2)
/* In the next: the receiver has taken more than it could handle in one turn; the rest, which is
 * older than what is on the stack, is in the actor's extra. Set and taken away by the receiver, who
 * comes back for it before he goes on in the mailbox. */
#define DCTX_URGENT_MORE ((uintptr_t)4)
#define DCTX_URGENT_BITS ((uintptr_t)7)

/* Cheap, and no promise: the nudge is on its way in any case. For the receiver. */
static inline bool dctx_urgent_waits_(dctx_actor_t *actor)
{
    return atomic_load_explicit(&actor->urgent, memory_order_relaxed) != 0;
}

/*
 * Hands a node to an actor, to be taken before whatever is in its mailbox, as one in the mailbox
 * would be: by its kind and generation. Urgent ones of one thread are taken in their order. Counted
 * POSTED before by the caller; dctx_turn_() counts it CONSUMED. Needs no memory. `runner`: the
 * calling thread's, or NULL.
 */
void dctx_post_urgent_(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor,
                       dctx_node_t *node);

/* Has the receiver look at `life` before its next message. */
void dctx_urgent_stop_(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor);

/* Leaves the actor to whoever has something urgent for it. False: there is something already. For
 * the receiver, who is none any more when it is true. */
bool dctx_urgent_park_(dctx_actor_t *actor);

/* All that is urgent, the oldest first; *ret_stop: look at `life`. For the receiver. */
dctx_urgent_list_t dctx_urgent_take_(dctx_actor_t *actor, bool *ret_stop);

/* Takes the oldest of a list out of it; NULL: it is empty. */
static inline dctx_node_t *dctx_urgent_next_(dctx_urgent_list_t *list)
{
    dctx_node_t *node = list->oldest;
    if (node != NULL)
        list->oldest = atomic_load_explicit(&node->next, memory_order_relaxed);
    return node;
}

/* Puts the rest of what was taken back, before all that came meanwhile. False: it cannot be, as
 * that takes an extra, and the caller is to go on with it. For the receiver. */
bool dctx_urgent_put_back_(dctx_actor_t *actor, dctx_urgent_list_t rest);

/* The nudge is out of the mailbox: puts it back if it is needed again. Any thread. */
void dctx_urgent_renew_(dctx_system_t *system, dctx_runner_t *runner, dctx_node_t *nudge);

#endif
