/*
 * Timers in the order in which they are due: an intrusive pairing heap.
 *
 * A timer's node is part of its owner's struct, so that setting a timer needs no memory and cannot
 * fail. Adding costs a comparison; taking out, due or not, O(log n) amortised. Among those due at
 * the same time the one added first comes first. Time is whatever the owner's clock says; this
 * keeps none. One thread at a time.
 */
#ifndef DCTX_TIMERS_H
#define DCTX_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero: not set. Its owner must not move it while it is set. */
typedef struct dctx_timer_node {
    struct dctx_timer_node *child;
    struct dctx_timer_node *next;  /* sibling */
    struct dctx_timer_node **link; /* what points here; NULL: not set */
    int64_t due;
    uint64_t order; /* among equals */
} dctx_timer_node_t;

typedef struct dctx_timers {
    dctx_timer_node_t *root; /* the first one due; NULL: there is none */
    uint64_t order;          /* how many were ever added */
    size_t count;
} dctx_timers_t;

/* Must stay where it is while timers are set. */
void dctx_timers_init(dctx_timers_t *timers);

/* Forgets those that are left: their owners may free or set them again. O(n), without recursion. */
void dctx_timers_finish(dctx_timers_t *timers);

/* The node must not be set. */
void dctx_timers_add(dctx_timers_t *timers, dctx_timer_node_t *node, int64_t due_ns);

/* False if it is not set, which is fine. */
bool dctx_timers_remove(dctx_timers_t *timers, dctx_timer_node_t *node);

/* Takes out the first one that is due by `now_ns`; NULL: none is. */
dctx_timer_node_t *dctx_timers_pop(dctx_timers_t *timers, int64_t now_ns);

/* Takes all out, due or not, in O(n) and in no order: a list by `next`,
 * each of which is not set. */
dctx_timer_node_t *dctx_timers_take_all(dctx_timers_t *timers);

/* When the first one is due; INT64_MAX: there is none. */
static inline int64_t dctx_timers_next(const dctx_timers_t *timers)
{
    return timers->root == NULL ? INT64_MAX : timers->root->due;
}

static inline bool dctx_timer_is_set(const dctx_timer_node_t *node)
{
    return node->link != NULL;
}

static inline size_t dctx_timers_count(const dctx_timers_t *timers)
{
    return timers->count;
}

#endif
