#include "timers.h"

void dctx_timers_init(dctx_timers_t *timers)
{
    *timers = (dctx_timers_t){0};
}

static bool is_before(const dctx_timer_node_t *a, const dctx_timer_node_t *b)
{
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

/* Makes one of two heaps' roots the other's first child. What links to the result is the caller's
 * to set. */
static dctx_timer_node_t *meld(dctx_timer_node_t *a, dctx_timer_node_t *b)
{
    if (is_before(b, a)) {
        dctx_timer_node_t *other = a;
        a = b;
        b = other;
    }
    b->next = a->child;
    if (b->next != NULL)
        b->next->link = &b->next;
    b->link = &a->child;
    a->child = b;
    return a;
}

/* One heap of a list of siblings: in pairs from the left, then all of these from the right. That is
 * what the amortised cost rests on. */
static dctx_timer_node_t *meld_all(dctx_timer_node_t *list)
{
    dctx_timer_node_t *pairs = NULL;
    while (list != NULL) {
        dctx_timer_node_t *a = list, *b = list->next;
        list = b == NULL ? NULL : b->next;
        if (b != NULL)
            a = meld(a, b);
        a->next = pairs;
        pairs = a;
    }
    dctx_timer_node_t *heap = pairs;
    if (heap == NULL)
        return NULL;
    pairs = heap->next;
    while (pairs != NULL) {
        dctx_timer_node_t *next = pairs->next;
        heap = meld(heap, pairs);
        pairs = next;
    }
    return heap;
}

static void set_root(dctx_timers_t *timers, dctx_timer_node_t *root)
{
    timers->root = root;
    if (root != NULL) {
        root->next = NULL;
        root->link = &timers->root;
    }
}

static void forget(dctx_timer_node_t *node)
{
    node->child = NULL;
    node->next = NULL;
    node->link = NULL;
}

void dctx_timers_add(dctx_timers_t *timers, dctx_timer_node_t *node, int64_t due_ns)
{
    node->child = NULL;
    node->next = NULL;
    node->due = due_ns;
    node->order = timers->order++;
    set_root(timers, timers->root == NULL ? node : meld(timers->root, node));
    timers->count++;
}

bool dctx_timers_remove(dctx_timers_t *timers, dctx_timer_node_t *node)
{
    if (node->link == NULL)
        return false;
    dctx_timer_node_t *rest = meld_all(node->child);
    if (node == timers->root) {
        set_root(timers, rest);
    } else {
        *node->link = node->next;
        if (node->next != NULL)
            node->next->link = node->link;
        if (rest != NULL)
            set_root(timers, meld(timers->root, rest));
    }
    forget(node);
    timers->count--;
    return true;
}

dctx_timer_node_t *dctx_timers_pop(dctx_timers_t *timers, int64_t now_ns)
{
    dctx_timer_node_t *first = timers->root;
    if (first == NULL || first->due > now_ns)
        return NULL;
    (void)dctx_timers_remove(timers, first);
    return first;
}

dctx_timer_node_t *dctx_timers_take_all(dctx_timers_t *timers)
{
    /* What is still to be taken is one list of siblings; a node's children go in front. */
    dctx_timer_node_t *list = timers->root, *taken = NULL;
    while (list != NULL) {
        dctx_timer_node_t *node = list;
        list = node->next;
        for (dctx_timer_node_t *child = node->child, *next; child != NULL; child = next) {
            next = child->next;
            child->next = list;
            list = child;
        }
        forget(node);
        node->next = taken;
        taken = node;
    }
    timers->root = NULL;
    timers->count = 0;
    return taken;
}

void dctx_timers_finish(dctx_timers_t *timers)
{
    dctx_timer_node_t *list = dctx_timers_take_all(timers);
    for (dctx_timer_node_t *next; list != NULL; list = next) {
        next = list->next;
        forget(list);
    }
    *timers = (dctx_timers_t){0};
}
