/* Sending what most messages are; handle.h has the other end. */
#ifndef DCTX_PLAIN_H
#define DCTX_PLAIN_H

#include <string.h>

#include <dcontext/internal.h>

#include "message.h"
#include "system.h"

/*
 * What most messages are: a small value of a type without functions, to a living actor of the
 * handler's own system, or from a thread of none, in a context that was forked before. It goes as
 * any other would, without the questions whose answer is known. All of these say no before anything
 * has happened, and then it has to be asked.
 */

static inline bool dctx_plain_value(const dctx_type_t *type, const void *value)
{
    return type != NULL && value != NULL && type->copy == NULL &&
           type->size - 1 < DCTX_MESSAGE_INLINE;
}

static inline void dctx_plain_fill(dctx_message_t *message, const dctx_type_t *type,
                                   const void *value)
{
    message->type = type;
    message->value = message->inline_;
    if (type->size == sizeof(uint64_t))
        memcpy(message->inline_, value, sizeof(uint64_t));
    else
        memcpy(message->inline_, value, type->size);
}

/* The actor behind a ref; NULL also where something is special about it or the system. */
static inline dctx_actor_t *dctx_plain_actor(dctx_system_t *system, uint64_t id)
{
    if (atomic_load_explicit(&system->intercepted, memory_order_relaxed) ||
        dctx_phase_(system) >= DCTX_PHASE_CLOSING || dctx_hot_.registry != system->registry)
        return NULL;
    /* An id of another node has no generation of ours. */
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)id);
    uint64_t life = actor == NULL ? 0 : atomic_load_explicit(&actor->life, memory_order_acquire);
    return (life & DCTX_LIFE_ALIVE) && life >> 32 == id >> 32 &&
                   atomic_load_explicit(&actor->gauge, memory_order_relaxed) == NULL
               ? actor
               : NULL;
}

/* The same for an actor that sends: NULL also where something is special about that. */
static inline dctx_actor_t *dctx_plain_find(const dctx_runner_t *here, dctx_ref_t to)
{
    if (here == NULL || !here->in_turn || here->system != to.system_ || here->actor == NULL ||
        here->actor->internal || here->actor == &here->system->self)
        return NULL;
    return dctx_plain_actor(here->system, to.id_);
}

/* Makes a cell with a value in it a message, which takes over a reference to the fork. */
static inline void dctx_plain_make(dctx_message_t *message, uint64_t id, dctx_snapshot_t *fork,
                                   unsigned flags, uint64_t ask, dctx_ref_t sender)
{
    dctx_node_set_word(&message->node,
                       dctx_node_make_word((uint32_t)(id >> 32), DCTX_NODE_MESSAGE, flags));
    message->snapshot = fork;
    message->u.request.ask = ask;
    message->u.request.sender = sender;
}

/* The same for an actor that sends, and into the mailbox. */
static inline void dctx_plain_send(dctx_runner_t *here, dctx_actor_t *actor, dctx_ref_t to,
                                   dctx_message_t *message, dctx_snapshot_t *fork, unsigned flags,
                                   uint64_t ask)
{
    dctx_plain_make(message, to.id_, fork, flags, ask, dctx_cell_ref(here->actor));
    dctx_tally_own(&here->tallies, DCTX_TALLY_ACCEPTED);
    if (dctx_mailbox_push(&actor->in, &message->node))
        dctx_run_(here->system, here, actor);
}

#endif
