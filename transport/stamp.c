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

/* A message of one frame and no stamp: all of it goes, or nothing. */
static dctx_error_t send_single(void *handle, zmsg_t **message_p)
{
    if (zmsg_send(message_p, handle) != 0)
        return dctx_socket_error_("send", errno);
    dctx_transport_count_(DCTX_TRANSPORT_UNSTAMPED);
    return DCTX_OK;
}

static dctx_error_t check_route(const dctx_view_t *view, zmsg_t *message)
{
    if (__builtin_expect(view->routes == NULL, 1))
        return DCTX_OK;
    zframe_t *id = zmsg_first(message);
    return dctx_routes_check_(view->routes, zframe_data(id), zframe_size(id));
}

/* `own`: with the thread's context; else with the snapshot's. */
static dctx_error_t send_stamped(const dctx_view_t *view, zmsg_t **message_p, bool ambiguous,
                                 bool own, const dctx_snapshot_t *snapshot)
{
    bool stamped;
    zmq_msg_t stamp;
    dctx_class_t peer = own || snapshot != NULL ? dctx_socket_leaving_(view) : DCTX_CLASS_STRANGER;
    dctx_error_t error =
        own ? dctx_prepare_own_(view->policy, peer, ambiguous, &stamp, &stamped)
            : dctx_prepare_(snapshot, view->policy, peer, ambiguous, &stamp, &stamped);
    if (error != DCTX_OK)
        return error;
    if (!stamped && zmsg_size(*message_p) == 1) {
        (void)zmq_msg_close(&stamp);
        return send_single(view->handle, message_p);
    }
    int failure = send_frames(view->handle, *message_p, &stamp, stamped);
    (void)zmq_msg_close(&stamp);
    if (failure != 0)
        return dctx_socket_error_("send", failure);
    dctx_transport_count_(stamped ? DCTX_TRANSPORT_STAMPED : DCTX_TRANSPORT_UNSTAMPED);
    zmsg_destroy(message_p);
    return DCTX_OK;
}

static inline dctx_error_t send_with(void *socket, zmsg_t **message_p, bool own,
                                     const dctx_snapshot_t *snapshot)
{
    dctx_view_t view = {.handle = NULL};
    size_t count = message_p != NULL && *message_p != NULL ? zmsg_size(*message_p) : 0;
    if (count == 0)
        return dctx_fail_(DCTX_ERR_INVALID, "no message, or one without frames");
    dctx_error_t error = dctx_socket_view_(socket, &view);
    if (error == DCTX_OK)
        error = check_route(&view, *message_p);
    if (error != DCTX_OK)
        return error;
    zframe_t *last = zmsg_last(*message_p);
    bool ambiguous = dctx_is_stamp_(zframe_data(last), zframe_size(last));
    if (count == 1 && !own && snapshot == NULL && !ambiguous)
        return send_single(view.handle, message_p);
    return send_stamped(&view, message_p, ambiguous, own, snapshot);
}

dctx_error_t dctx_send_snapshot(void *socket, zmsg_t **message_p, const dctx_snapshot_t *snapshot)
{
    return send_with(socket, message_p, false, snapshot);
}

dctx_error_t dctx_send(void *socket, zmsg_t **message_p)
{
    return send_with(socket, message_p, dctx_travels_(), NULL);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static const char *property(void *frame, const char *name)
{
    return zframe_meta(frame, name);
}

/* zmsg_recv(), but that asks the socket after each frame what the frame says itself. NULL: errno
 * says why. */
static zmsg_t *receive_frames(void *handle, zframe_t **ret_last)
{
#ifdef CZMQ_BUILD_DRAFT_API
    /* There a message has more to it than its frames. */
    errno = EINTR;
    zmsg_t *whole = zmsg_recv(handle);
    *ret_last = whole != NULL ? zmsg_last(whole) : NULL;
    return whole;
#else
    zmsg_t *message = zmsg_new();
    errno = message != NULL ? EINTR : ENOMEM; /* what a receive that gives no reason was */
    for (bool more = true; message != NULL && more;) {
        zframe_t *frame = zframe_recv(handle);
        if (frame == NULL && errno == EINTR && zmsg_size(message) > 0)
            continue;
        more = frame != NULL && zframe_more(frame) != 0;
        *ret_last = frame;
        if (frame == NULL || zmsg_append(message, &frame) != 0) {
            int failure = errno;
            zmsg_destroy(&message);
            errno = failure;
        }
    }
    return message;
#endif
}

/* What dctx_recv() does with the empty snapshot at hand. */
static dctx_error_t receive(const dctx_view_t *view, dctx_registry_t *registry,
                            dctx_snapshot_t *empty, zmsg_t **ret_message,
                            dctx_snapshot_t **ret_snapshot)
{
    dctx_snapshot_t *snapshot;
    dctx_verdict_t verdict;
    zframe_t *last;
    zmsg_t *message = receive_frames(view->handle, &last);
    if (message == NULL)
        return dctx_socket_error_("receive", errno);
    dctx_arrival_t arrival = {.view = view,
                              .registry = registry,
                              .empty = empty,
                              .property = property,
                              .last = last,
                              .data = zframe_data(last),
                              .size = zframe_size(last)};
    arrival.stamped = dctx_is_stamp_(arrival.data, arrival.size);
    if (view->routes != NULL) {
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
        return dctx_judge_bury_(view, &verdict, &message);
    }
    *ret_message = message;
    *ret_snapshot = snapshot != NULL ? snapshot : dctx_snapshot_ref(empty);
    return DCTX_OK;
}

dctx_error_t dctx_recv(void *socket, zmsg_t **ret_message, dctx_snapshot_t **ret_snapshot)
{
    dctx_view_t view = {.handle = NULL};
    dctx_at_hand_t hand;
    if (ret_message == NULL || ret_snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nowhere to put the message or its context");
    dctx_error_t error = dctx_socket_view_(socket, &view);
    /* First, so that no message is taken off the socket that could not be given to the caller. */
    dctx_registry_t *registry = dctx_current_registry();
    if (error == DCTX_OK)
        error = dctx_recall_hold_(registry, &hand);
    if (error != DCTX_OK)
        return error;
    error = receive(&view, registry, hand.snapshot, ret_message, ret_snapshot);
    dctx_recall_let_go_(&hand);
    return error;
}

dctx_error_t dctx_recv_attach(void *socket, const char *name, zmsg_t **ret_message,
                              dctx_scope_t *ret_scope)
{
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    if (ret_scope == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nowhere to put the scope");
    *ret_scope = (dctx_scope_t){0, NULL, DCTX_OK};
    /* A name or a depth that is refused shall not cost a message. */
    size_t size = name != NULL ? strlen(name) : 0;
    dctx_error_t error = dctx_attach_ready_(name, size);
    if (error == DCTX_OK)
        error = dctx_recv(socket, &message, &snapshot);
    if (error != DCTX_OK)
        return error;
    error = dctx_attach_taken_(snapshot, name, size, ret_scope);
    if (error != DCTX_OK) {
        dctx_snapshot_unref(&snapshot);
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
