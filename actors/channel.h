/*
 * The ends of streams. Each is a slot of a slab, and belongs to an actor. The two ends of one
 * stream are in one process, and know each other by their systems and numbers, or on two nodes, and
 * then speak by way of the I/O actors, with the ask's number.
 *
 * What there is to do for an end (items, room, the other's end) is kept in it, and its node, when
 * that is not in the actor's mailbox already, is put there: so nothing here needs memory but an
 * item itself. An asker's end is over when its ask is; what ends an ask exactly once is told in
 * ask.h.
 *
 * All that is in a channel changes under the lock, which is not held while user code runs. It is
 * one lock for the process, as the two ends may be in two systems: while it is held, and an end is
 * open, the system of that end is there, and what is posted to its actor is cleared away with the
 * actor.
 */
#ifndef DCTX_CHANNEL_H
#define DCTX_CHANNEL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/link.h>
#include <dcontext/stream.h>

#include "cell.h"
#include "message.h"
#include "runner.h"
#include "slab.h"

typedef enum dctx_channel_state {
    DCTX_CHANNEL_FREE = 0,
    DCTX_CHANNEL_PENDING, /* another node's ask grants room; nobody has opened the stream yet */
    DCTX_CHANNEL_OPEN,
    DCTX_CHANNEL_OVER /* free as soon as its node is out of the mailbox */
} dctx_channel_state_t;

typedef struct dctx_channel {
    _Alignas(64) dctx_slab_slot_t slot;
    uint32_t generation; /* goes up when it becomes free; never 0 */
    uint8_t state;       /* dctx_channel_state_t */
    bool sink;           /* it receives items; else it sends them */
    bool asker;
    bool posted;   /* the node is in the mailbox */
    bool waiting;  /* of a source: on_ready is to run when there is credit */
    bool finished; /* of a source: no more items; of a sink: none will follow those in the queue */
    bool told;     /* on_end has run, or is about to */
    bool closed;   /* the asker has gone, or called it off; `status` says why */
    dctx_error_t status;
    dctx_node_t node; /* DCTX_NODE_STREAM */
    dctx_actor_t *actor;
    struct dctx_channel *next, **link; /* of the same actor's */
    struct dctx_channel *in_bucket;    /* by ask */
    bool listed;                       /* it is in a bucket */
    uint64_t ask;
    uint64_t other;              /* the id of the other end, in this process; 0: none, or not yet */
    dctx_system_t *other_system; /* that has it; NULL: it has none any more */
    dctx_system_t *system;       /* its own */
    char peer[64];               /* the node of the other end; "": it is in this process */

    uint64_t credit;                /* of a source: items that it may send */
    uint32_t window, taken, queued; /* of a sink; `taken`: handled, and not granted anew */
    dctx_message_t *first, *last;   /* items, linked by node.next */

    dctx_snapshot_t *snapshot; /* NULL: the empty one */
    dctx_reply_to_t *reply_to; /* of who is asked */
    dctx_stream_options_t options;
} dctx_channel_t;

enum { DCTX_CHANNEL_BUCKETS = 256 };

typedef struct dctx_channels {
    dctx_slab_t slots;
    dctx_channel_t *buckets[DCTX_CHANNEL_BUCKETS];
    _Atomic(size_t) pending; /* written under the lock; others read it as a hint */
} dctx_channels_t;

/* What is to be run for a channel. */
typedef struct dctx_channel_event {
    enum { DCTX_CHANNEL_ITEM, DCTX_CHANNEL_READY, DCTX_CHANNEL_END } what;
    dctx_channel_t *channel;
    dctx_message_t *item;
    dctx_snapshot_t *snapshot; /* with a reference; NULL: the empty one */
    dctx_error_t status;
    dctx_stream_t stream;
} dctx_channel_event_t;

void dctx_channels_init(dctx_channels_t *channels);
void dctx_channels_finish(dctx_channels_t *channels);

void dctx_channels_lock_(void);
void dctx_channels_unlock_(void);

/* ---- between the rooms of streams ---- */

/* A free channel for an actor, in its own turn, not open yet; NULL without memory. For a pending
 * one `options` and `actor` are NULL. */
dctx_channel_t *dctx_channel_new_(dctx_system_t *system, dctx_actor_t *actor, bool sink, bool asker,
                                  const dctx_stream_options_t *options);
/* Gives back one that never opened. */
void dctx_channel_drop_(dctx_system_t *system, dctx_channel_t *channel);
dctx_stream_t dctx_channel_value_(dctx_system_t *system, const dctx_channel_t *channel);

/* All of these under the lock. */
dctx_channel_t *dctx_channel_at_(dctx_system_t *system, uint64_t id); /* NULL: it is over */
dctx_channel_t *dctx_channel_other_(const dctx_channel_t *channel);   /* the same; or not yet */
void dctx_channel_join_(dctx_channel_t *one, dctx_channel_t *other);
dctx_channel_t *dctx_channel_find_(dctx_system_t *system, bool asker, const char *peer,
                                   uint64_t ask);
void dctx_channel_list_(dctx_system_t *system, dctx_channel_t *channel);
void dctx_channel_open_(dctx_channel_t *channel); /* in its actor's turn */
void dctx_channel_poke_(dctx_channel_t *channel);
void dctx_channel_append_(dctx_channel_t *sink, dctx_message_t *item);
void dctx_channel_close_(dctx_channel_t *channel, dctx_error_t status);

/* What a channel that is over leaves behind, to be released without the lock. */
typedef struct dctx_channel_rest {
    dctx_message_t *items;
    dctx_snapshot_t *snapshot;
    dctx_reply_to_t *reply_to;
} dctx_channel_rest_t;
dctx_channel_rest_t dctx_channel_end_(dctx_system_t *system, dctx_channel_t *channel);
void dctx_channel_rest_free_(dctx_system_t *system, dctx_runner_t *runner,
                             dctx_channel_rest_t *rest);

/* A message of a stream to the other node. DCTX_ERR_NOMEM and what encoding says. */
dctx_error_t dctx_channel_speak_(dctx_system_t *system, const dctx_channel_t *channel,
                                 dctx_link_kind_t kind, const dctx_type_t *type, const void *value);

/* Takes the oldest item out; NULL: there is none. Under the lock. */
dctx_message_t *dctx_channel_take_(dctx_channel_t *sink);

/* ---- for sending, turns and ends ---- */

/* The ask of an asker's channel is open: the channel is found by it from now on, and another node
 * hears of its window. DCTX_ERR_NOMEM. */
dctx_error_t dctx_channel_asked_(dctx_system_t *system, dctx_channel_t *channel, uint64_t ask,
                                 const char *peer);

/* For the turn: what is to be run next for the channel of a node, and what comes after that. */
bool dctx_channel_next_(dctx_system_t *system, dctx_node_t *node, dctx_channel_event_t *ret_event);
void dctx_channel_call_(const dctx_channel_event_t *event, dctx_actor_t *actor);
void dctx_channel_ran_(dctx_runner_t *runner, const dctx_channel_event_t *event);

/* The node is out of the mailbox. */
void dctx_channel_done_(dctx_system_t *system, dctx_node_t *node);

/* An actor has ended: so do its streams. */
void dctx_channels_end_(dctx_runner_t *runner, dctx_actor_t *actor);

/* ---- for the I/O actor ---- */

/* A record of one of the kinds of streams has come from a node. */
void dctx_channels_receive_(dctx_system_t *system, dctx_runner_t *runner, const char *peer,
                            const dctx_link_message_t *incoming);
/* One could not be sent: the stream ends with that. */
void dctx_channels_undelivered_(dctx_system_t *system, dctx_runner_t *runner, const char *peer,
                                const dctx_link_message_t *message, dctx_error_t why);
/* A node does not wait for the answer to an ask any more (0: to all of its asks). */
void dctx_channels_close_(dctx_system_t *system, dctx_runner_t *runner, const char *peer,
                          uint64_t ask, dctx_error_t why);

#endif
