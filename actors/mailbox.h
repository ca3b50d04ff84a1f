/*
 * A mailbox: an intrusive lock-free queue, many senders to one receiver, that also says who has to
 * make the receiver run.
 *
 * `head` is the newest node, or the stub. Its lowest bit says that the mailbox is idle: empty, and
 * nobody is at work on the receiving end. A sender swaps its node in for head; the one who finds
 * the bit set has put the first node in and must get the receiver running. So one swap both queues
 * and decides, and there is exactly one receiver at a time.
 *
 * The receiver works on the oldest node where it is (peek), then moves past it (advance). When that
 * was the newest too, advance swaps the stub back in with the idle bit, by compare-and-swap: if
 * that fails, a sender came in between.
 *
 * Orderings. A sender's swap is acq_rel and its store of `next` release: the receiver's acquire
 * load of `next` thus sees the node's content. The receiver's swap to idle is a release, and the
 * next sender's swap reads from it: what one receiver did to the receiving end is seen by the next,
 * by way of whatever the sender uses to get it running.
 *
 * Between a sender's swap and its store of `next` the queue is broken in two: the receiver sees the
 * end of what it can reach, though head says there is more. It then has to come back (BUSY below).
 */
#ifndef DCTX_MAILBOX_H
#define DCTX_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "futex.h"

/* What is in a mailbox: the head of a message, or of something that the system tells an actor. */
typedef struct dctx_node {
    _Atomic(struct dctx_node *) next; /* written once, by the sender of the node after this one */
    uint32_t generation;              /* of the actor it is meant for */
    uint16_t flags;                   /* the message's; see message.h */
    uint8_t kind : 7;                 /* enum dctx_node_kind */
    uint8_t spent : 1; /* the receiver is done with it, though it is still in the queue */
    uint8_t outcome;   /* once spent: how it went, as dctx_error_t */
} dctx_node_t;

/* Nodes outside the mailbox, linked by `next`; both NULL: none. The newest one's `next` is NULL. */
typedef struct dctx_urgent_list {
    dctx_node_t *oldest, *newest;
} dctx_urgent_list_t;

typedef enum dctx_node_kind {
    DCTX_NODE_STUB = 0,
    DCTX_NODE_MESSAGE,  /* a tell or an ask */
    DCTX_NODE_START,    /* run on_start */
    DCTX_NODE_STOP,     /* stop the actor */
    DCTX_NODE_NUDGE,    /* there is something urgent, beside the mailbox */
    DCTX_NODE_STREAM,   /* there is something to do for a stream's end */
    DCTX_NODE_REPLY,    /* an ask of this actor is over: run its on_reply */
    DCTX_NODE_CALL,     /* an ask made from outside is over: run its callback */
    DCTX_NODE_TIMER,    /* a timer of this actor is due */
    DCTX_NODE_RESULT,   /* a future that this actor waits for has ended: run its function */
    DCTX_NODE_SIGNAL,   /* about a life: see life_signal.h */
    DCTX_NODE_WAIT,     /* an ask that a thread waits for; never in a mailbox */
    DCTX_NODE_OUTGOING, /* to the I/O actor: send this */
    DCTX_NODE_REFUSAL,  /* to the I/O actor: a remote ask that failed; tell its asker */
    DCTX_NODE_COMMAND   /* to the I/O actor: do this */
} dctx_node_kind_t;

/* The senders' end. */
typedef struct dctx_mailbox_in {
    _Atomic(uintptr_t) head; /* any sender and the receiver, by atomic swaps only */
} dctx_mailbox_in_t;

/* The receiver's end; on another cache line than the senders', who would else slow it down. */
typedef struct dctx_mailbox_out {
    dctx_node_t *tail; /* the oldest node, or the stub when that is what is left */
    dctx_node_t stub;
} dctx_mailbox_out_t;

#define DCTX_MAILBOX_IDLE ((uintptr_t)1)

/* All that a node says of itself but what follows it, as one number: one load, or store,
 * or comparison. */
static inline uint64_t dctx_node_word(const dctx_node_t *node)
{
    uint64_t word;
    _Static_assert(sizeof *node == sizeof node->next + sizeof word, "the rest is one word");
    memcpy(&word, (const unsigned char *)node + sizeof node->next, sizeof word);
    return word;
}

static inline uint64_t dctx_node_make_word(uint32_t generation, dctx_node_kind_t kind,
                                           unsigned flags)
{
    return dctx_node_word(&(dctx_node_t){
        .generation = generation, .flags = (uint16_t)flags, .kind = (unsigned)kind & 0x7fu});
}

static inline void dctx_node_set_word(dctx_node_t *node, uint64_t word)
{
    memcpy((unsigned char *)node + sizeof node->next, &word, sizeof word);
}

typedef enum dctx_advance {
    DCTX_ADVANCE_MORE, /* there is a next node; the one passed is the caller's */
    DCTX_ADVANCE_IDLE, /* empty and given up: touch that end no more; the node is the caller's */
    DCTX_ADVANCE_BUSY  /* a sender is half way; the node stays in the queue: come back */
} dctx_advance_t;

static inline void dctx_mailbox_init(dctx_mailbox_in_t *in, dctx_mailbox_out_t *out)
{
    atomic_init(&out->stub.next, NULL);
    out->stub.kind = DCTX_NODE_STUB;
    out->stub.spent = 1;
    out->tail = &out->stub;
    atomic_init(&in->head, (uintptr_t)&out->stub | DCTX_MAILBOX_IDLE);
}

/* Puts a node at the end; true if the caller has to get the receiver running. */
static inline bool dctx_mailbox_push(dctx_mailbox_in_t *in, dctx_node_t *node)
{
    atomic_store_explicit(&node->next, NULL, memory_order_relaxed);
    uintptr_t before = atomic_exchange_explicit(&in->head, (uintptr_t)node, memory_order_acq_rel);
    dctx_node_t *previous = (dctx_node_t *)(before & ~DCTX_MAILBOX_IDLE);
    atomic_store_explicit(&previous->next, node, memory_order_release);
    return (before & DCTX_MAILBOX_IDLE) != 0;
}

/* The oldest node, not taken out. NULL if the first sender is half way: come back.
 * For the receiver. */
static inline dctx_node_t *dctx_mailbox_peek(dctx_mailbox_out_t *out)
{
    dctx_node_t *node = out->tail;
    if (node != &out->stub)
        return node;
    for (int i = 0; i < 64; i++) {
        dctx_node_t *next = atomic_load_explicit(&node->next, memory_order_acquire);
        if (next != NULL) {
            out->tail = next;
            return next;
        }
        dctx_pause();
    }
    return NULL;
}

/* True if advance would say MORE at once. */
static inline bool dctx_mailbox_has_next(const dctx_node_t *node)
{
    return atomic_load_explicit(&node->next, memory_order_acquire) != NULL;
}

/* Moves past the node that peek gave. For the receiver. */
static inline dctx_advance_t dctx_mailbox_advance(dctx_mailbox_in_t *in, dctx_mailbox_out_t *out,
                                                  dctx_node_t *node)
{
    dctx_node_t *next = atomic_load_explicit(&node->next, memory_order_acquire);
    if (next == NULL) {
        atomic_store_explicit(&out->stub.next, NULL, memory_order_relaxed);
        out->tail = &out->stub;
        uintptr_t expected = (uintptr_t)node;
        if (atomic_compare_exchange_strong_explicit(&in->head, &expected,
                                                    (uintptr_t)&out->stub | DCTX_MAILBOX_IDLE,
                                                    memory_order_acq_rel, memory_order_relaxed))
            return DCTX_ADVANCE_IDLE;
        for (int i = 0; next == NULL && i < 64; i++) {
            next = atomic_load_explicit(&node->next, memory_order_acquire);
            dctx_pause();
        }
        if (next == NULL) {
            out->tail = node;
            return DCTX_ADVANCE_BUSY;
        }
    }
    out->tail = next;
    return DCTX_ADVANCE_MORE;
}

#endif
