#include "urgent.h"

#include "extra.h"
#include "system.h"

static void nudge(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor)
{
    if (atomic_exchange(&actor->nudged, 1) != 0)
        return;
    dctx_count_(system, runner, DCTX_TALLY_POSTED);
    dctx_post_(system, runner, actor, &actor->nudge_node);
}

/* What was there says who gets the actor running: we do if it was parked, else its mailbox will. */
static void rouse(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor,
                  uintptr_t before)
{
    if (before & DCTX_URGENT_PARKED)
        dctx_run_(system, runner, actor);
    else
        nudge(system, runner, actor);
}

void dctx_post_urgent_(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor,
                       dctx_node_t *node)
{
    uintptr_t before = atomic_load_explicit(&actor->urgent, memory_order_relaxed);
    uintptr_t after;
    do {
        dctx_node_t *below = (dctx_node_t *)(before & ~DCTX_URGENT_BITS);
        atomic_store_explicit(&node->next, below, memory_order_relaxed);
        after = (uintptr_t)node | (before & (DCTX_URGENT_STOP | DCTX_URGENT_MORE));
    } while (!atomic_compare_exchange_weak(&actor->urgent, &before, after));
    rouse(system, runner, actor, before);
}

void dctx_urgent_stop_(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor)
{
    uintptr_t before = atomic_load_explicit(&actor->urgent, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&actor->urgent, &before,
                                         (before & ~DCTX_URGENT_PARKED) | DCTX_URGENT_STOP)) {
    }
    rouse(system, runner, actor, before);
}

bool dctx_urgent_park_(dctx_actor_t *actor)
{
    uintptr_t nothing = 0;
    /* It may be parked already, where a pinned actor's thread woke for nothing. */
    return atomic_compare_exchange_strong(&actor->urgent, &nothing, DCTX_URGENT_PARKED) ||
           nothing == DCTX_URGENT_PARKED;
}

dctx_urgent_list_t dctx_urgent_take_(dctx_actor_t *actor, bool *ret_stop)
{
    uintptr_t all = atomic_exchange(&actor->urgent, 0);
    dctx_node_t *node = (dctx_node_t *)(all & ~DCTX_URGENT_BITS);
    dctx_node_t *newest = node, *oldest = NULL;
    while (node != NULL) {
        dctx_node_t *below = atomic_load_explicit(&node->next, memory_order_relaxed);
        atomic_store_explicit(&node->next, oldest, memory_order_relaxed);
        oldest = node;
        node = below;
    }
    *ret_stop = (all & DCTX_URGENT_STOP) != 0;
    if (!(all & DCTX_URGENT_MORE))
        return (dctx_urgent_list_t){.oldest = oldest, .newest = newest};
    dctx_urgent_list_t list = actor->extra->urgent;
    actor->extra->urgent = (dctx_urgent_list_t){0};
    if (oldest != NULL) {
        atomic_store_explicit(&list.newest->next, oldest, memory_order_relaxed);
        list.newest = newest;
    }
    return list;
}

bool dctx_urgent_put_back_(dctx_actor_t *actor, dctx_urgent_list_t rest)
{
    if (actor->extra == NULL)
        return false;
    actor->extra->urgent = rest;
    (void)atomic_fetch_or(&actor->urgent, DCTX_URGENT_MORE);
    return true;
}

void dctx_urgent_renew_(dctx_system_t *system, dctx_runner_t *runner, dctx_node_t *node)
{
    dctx_actor_t *actor =
        (dctx_actor_t *)(void *)((unsigned char *)node - offsetof(dctx_actor_t, nudge_node));
    node->spent = 0;
    atomic_store(&actor->nudged, 0);
    if (atomic_load(&actor->urgent) != 0)
        nudge(system, runner, actor);
}
