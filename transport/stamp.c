/* Stamps on messages of czmq's. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <dcontext/internal.h>
#include <dcontext/stamp.h>

#include "counters.h"
#include "judge.h"
#include "prepared.h"
#include "recall.h"

/* ---- sending --------------------------------------------------------------------------------- */

/*
 * Sends all frames, and keeps them. Once the first is taken the others are, but for signals, and
 * where the one peer of a PAIR goes in between: so they do not wait, and the whole message is still
 * there to be sent to the next.
 */
static int send_frames(void *handle, zmsg_t *message, zmq_msg_t *stamp, bool stamped)
{
    int wait = 0;
    zframe_t *next;
    for (zframe_t *frame = zmsg_first(message); frame != NULL; frame = next) {
        next = zmsg_next(message);
        int flags = ZFRAME_REUSE | wait | (next != NULL || stamped ? ZFRAME_MORE : 0);
        while (zframe_send(&frame, handle, flags) != 0)
            if (errno != EINTR || wait == 0)
                return errno;
        wait = ZFRAME_DONTWAIT;
    }
    if (!stamped)
        return 0;
    while (zmq_msg_send(stamp, handle, ZMQ_DONTWAIT) < 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

/* A message of one frame and no stamp: the frame itself goes, and comes back if it does not. */
static int send_single(void *handle, zmsg_t *message)
{
    zframe_t *frame = zmsg_pop(message);
    if (zframe_send(&frame, handle, 0) == 0)
        return 0;
    int failure = errno;
    (void)zmsg_prepend(message, &frame);
    return failure;
}

/* `own`: with the thread's context; else with the snapshot's. */
static dctx_error_t send_with(void *socket, zmsg_t **message_p, bool own,
                              const dctx_snapshot_t *snapshot)
{
    dctx_view_t view = {NULL, NULL, NULL};
    bool stamped;
    zmq_msg_t stamp;
    own = own && dctx_travels_();
    if (message_p == NULL || *message_p == NULL || zmsg_size(*message_p) == 0)
        return dctx_fail_(DCTX_ERR_INVALID, "no message, or one without frames");
    dctx_error_t error = dctx_socket_view_(socket, &view);
    if (error != DCTX_OK)
        return error;
    if (view.routes != NULL) {
        zframe_t *id = zmsg_first(*message_p);
        error = dctx_routes_check_(view.routes, zframe_data(id), zframe_size(id));
        if (error != DCTX_OK)
            return error;
    }
    zframe_t *last = zmsg_last(*message_p);
    bool ambiguous = dctx_is_stamp_(zframe_data(last), zframe_size(last));
    dctx_class_t peer = own || snapshot != NULL ? dctx_socket_leaving_(&view) : DCTX_CLASS_STRANGER;
    error = own ? dctx_prepare_own_(view.policy, peer, ambiguous, &stamp, &stamped)
                : dctx_prepare_(snapshot, view.policy, peer, ambiguous, &stamp, &stamped);
    if (error != DCTX_OK)
        return error;
    int failure = !stamped && zmsg_size(*message_p) == 1
                      ? send_single(view.handle, *message_p)
                      : send_frames(view.handle, *message_p, &stamp, stamped);
    (void)zmq_msg_close(&stamp);
    if (failure != 0)
        return dctx_socket_error_("send", failure);
    dctx_transport_count_(stamped ? DCTX_TRANSPORT_STAMPED : DCTX_TRANSPORT_UNSTAMPED);
    zmsg_destroy(message_p);
    return DCTX_OK;
}

dctx_error_t dctx_send_snapshot(void *socket, zmsg_t **message_p, const dctx_snapshot_t *snapshot)
{
    return send_with(socket, message_p, false, snapshot);
}

dctx_error_t dctx_send(void *socket, zmsg_t **message_p)
{
    return send_with(socket, message_p, true, NULL);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static const char *property(void *frame, const char *name)
{
    return zframe_meta(frame, name);
}

dctx_error_t dctx_recv(void *socket, zmsg_t **ret_message, dctx_snapshot_t **ret_snapshot)
{
    dctx_view_t view = {NULL, NULL, NULL};
    dctx_snapshot_t *snapshot;
    dctx_verdict_t verdict;
    if (ret_message == NULL || ret_snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nowhere to put the message or its context");
    dctx_error_t error = dctx_socket_view_(socket, &view);
    /* First, so that no message is taken off the socket that could not be given to the caller. */
    dctx_registry_t *registry = dctx_current_registry();
    if (error == DCTX_OK)
        error = dctx_recall_empty_(registry, &snapshot);
    if (error != DCTX_OK)
        return error;
    errno = EINTR; /* what a receive that gives no message and no reason was */
    zmsg_t *message = zmsg_recv(view.handle);
    if (message == NULL) {
        int failure = errno;
        dctx_snapshot_unref(&snapshot);
        return dctx_socket_error_("receive", failure);
    }
    zframe_t *last = zmsg_last(message);
    dctx_arrival_t arrival = {.view = &view,
                              .registry = registry,
                              .property = property,
                              .last = last,
                              .data = zframe_data(last),
                              .size = zframe_size(last)};
    arrival.stamped = dctx_is_stamp_(arrival.data, arrival.size);
    if (view.routes != NULL) {
        zframe_t *id = zmsg_first(message);
        arrival.id = (dctx_bytes_t){zframe_data(id), zframe_size(id)};
    }
    dctx_judge_(&arrival, &snapshot, &verdict);
    if (arrival.stamped) {
        zmsg_remove(message, last);
        zframe_destroy(&last);
    }
    if (verdict.error != DCTX_OK) {
        dctx_snapshot_unref(&snapshot);
        return dctx_judge_bury_(&view, &verdict, &message);
    }
    *ret_message = message;
    *ret_snapshot = snapshot;
    return DCTX_OK;
}

dctx_error_t dctx_recv_attach(void *socket, const char *name, zmsg_t **ret_message,
                              dctx_scope_t *ret_scope)
{
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    dctx_scope_t scope;
    if (ret_scope == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nowhere to put the scope");
    *ret_scope = (dctx_scope_t){0, NULL, DCTX_OK};
    /* A name or a depth that is refused shall not cost a message. */
    dctx_error_t error = dctx_scope_push(name, &scope);
    (void)dctx_scope_pop(&scope);
    if (error == DCTX_OK)
        error = dctx_recv(socket, &message, &snapshot);
    if (error != DCTX_OK)
        return error;
    error = dctx_attach_scope(snapshot, name, ret_scope);
    dctx_snapshot_unref(&snapshot);
    if (error != DCTX_OK) {
        zmsg_destroy(&message);
        return error;
    }
    *ret_message = message;
    return DCTX_OK;
}

dctx_error_t dctx_recv_call(void *socket, const char *name, dctx_received_fn handle, void *arg)
{
    zmsg_t *message;
    dctx_scope_t scope;
    dctx_error_t error = dctx_recv_attach(socket, name, &message, &scope);
    if (error != DCTX_OK)
        return error;
    error = handle(&message, arg);
    (void)dctx_scope_pop(&scope);
    zmsg_destroy(&message);
    return error;
}
