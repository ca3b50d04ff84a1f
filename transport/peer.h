/*
 * One named peer of a link: how it is dialled, the connections that it has (one that this side
 * dialled, one that it dialled; mostly only one of them), and the messages held for it.
 */
#ifndef DCTX_PEER_H
#define DCTX_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "connection.h"
#include "hello.h"
#include "lookup.h"

typedef struct dctx_peer {
    dctx_lookup_entry_t entry; /* by name */
    TAILQ_ENTRY(dctx_peer) all;
    TAILQ_ENTRY(dctx_peer) dialled;     /* in that list while there is an endpoint */
    char *endpoint;                     /* to dial; NULL: not dialled */
    char server_key[DCTX_KEY_TEXT + 1]; /* of a node that is dialled under CURVE; else "" */
    dctx_connection_t *out;
    dctx_connection_t *in;
    /* Which of the two messages go through: the one that came up first, for as long as it is up, so
     * that they stay in order. */
    dctx_connection_t *via;
    dctx_held_queue_t held;
    int64_t redial_at;
    int64_t backoff;
    size_t pins;   /* connections and losses that point here */
    bool listed;   /* the link knows it by name */
    bool reported; /* the last event told was UP */
    dctx_loss_t loss;
    dctx_loss_t refusal; /* has what was held and turned out not to be sendable */
    bool refused;        /* it is in the link's list of losses */
    char name[DCTX_NODE_NAME_MAX + 1];
} dctx_peer_t;

/* DCTX_ERR_NOMEM. The name is valid. */
dctx_error_t dctx_peer_new_(const char *name, dctx_peer_t **ret_peer);
void dctx_peer_free_(dctx_peer_t *peer);

static inline bool dctx_peer_is_up_(const dctx_peer_t *peer)
{
    return peer->via != NULL;
}

/* Chooses via anew when the one there was has gone. */
void dctx_peer_choose_(dctx_peer_t *peer);

/* Copies the message; keeps a reference on its snapshot. DCTX_ERR_NOMEM. */
dctx_error_t dctx_held_push_(dctx_held_queue_t *queue, const dctx_link_message_t *message);

/* Puts one that was taken out at the end of another queue. */
void dctx_held_append_(dctx_held_queue_t *queue, dctx_held_t *held);

/* Takes the first out; NULL when there is none. */
dctx_held_t *dctx_held_pop_(dctx_held_queue_t *queue);
void dctx_held_free_(dctx_held_t *held);
void dctx_held_clear_(dctx_held_queue_t *queue);

#endif
