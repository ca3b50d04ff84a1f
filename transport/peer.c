#include "peer.h"

#include <string.h>

#include <dcontext/internal.h>

dctx_error_t dctx_peer_new_(const char *name, dctx_peer_t **ret_peer)
{
    dctx_peer_t *peer = dctx_calloc_(1, sizeof(*peer));
    if (peer == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for peer %s", name);
    strcpy(peer->name, name);
    *ret_peer = peer;
    return DCTX_OK;
}

void dctx_peer_free_(dctx_peer_t *peer)
{
    dctx_held_clear_(&peer->held);
    dctx_held_clear_(&peer->refusal.held);
    dctx_release_(peer->endpoint);
    dctx_release_(peer);
}

static bool is_up(const dctx_connection_t *connection)
{
    return connection != NULL && connection->state == DCTX_CONNECTION_UP;
}

void dctx_peer_choose_(dctx_peer_t *peer)
{
    if (is_up(peer->via))
        return;
    peer->via = is_up(peer->out) ? peer->out : is_up(peer->in) ? peer->in : NULL;
}

static dctx_bytes_t copy_to(uint8_t **at, dctx_bytes_t bytes)
{
    dctx_bytes_t copy = {*at, bytes.size};
    if (bytes.size > 0)
        memcpy(*at, bytes.data, bytes.size);
    *at += bytes.size;
    return copy;
}

dctx_error_t dctx_held_push_(dctx_held_queue_t *queue, const dctx_link_message_t *message)
{
    size_t size = message->target.size + message->type.size + message->payload.size;
    dctx_held_t *held = dctx_alloc_(sizeof(*held) + size);
    if (held == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to hold a message of %zu bytes", size);
    uint8_t *at = (uint8_t *)(held + 1);
    held->why = DCTX_ERR_UNREACHABLE;
    held->message = *message;
    held->message.target = copy_to(&at, message->target);
    held->message.type = copy_to(&at, message->type);
    held->message.payload = copy_to(&at, message->payload);
    held->snapshot = dctx_snapshot_ref(message->snapshot);
    dctx_held_append_(queue, held);
    return DCTX_OK;
}

void dctx_held_append_(dctx_held_queue_t *queue, dctx_held_t *held)
{
    held->next = NULL;
    if (queue->last != NULL)
        queue->last->next = held;
    else
        queue->first = held;
    queue->last = held;
    queue->count++;
}

dctx_held_t *dctx_held_pop_(dctx_held_queue_t *queue)
{
    dctx_held_t *held = queue->first;
    if (held == NULL)
        return NULL;
    queue->first = held->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->count--;
    return held;
}

void dctx_held_free_(dctx_held_t *held)
{
    dctx_snapshot_unref(&held->snapshot);
    dctx_release_(held);
}

void dctx_held_clear_(dctx_held_queue_t *queue)
{
    dctx_held_t *held;
    while ((held = dctx_held_pop_(queue)) != NULL)
        dctx_held_free_(held);
}
