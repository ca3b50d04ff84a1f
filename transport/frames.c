/* Stamps on messages of zmq_msg_t frames. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <dcontext/internal.h>
#include <dcontext/stamp.h>

#include "counters.h"
#include "judge.h"
#include "prepared.h"
#include "recall.h"

/* ---- the frames ------------------------------------------------------------------------------ */

void dctx_frames_init(dctx_frames_t *frames)
{
    frames->count = 0;
    frames->capacity_ = DCTX_FRAMES_INLINE;
    frames->at = frames->inline_;
}

void dctx_frames_clear(dctx_frames_t *frames)
{
    for (size_t i = 0; i < frames->count; i++)
        (void)zmq_msg_close(&frames->at[i]);
    frames->count = 0;
}

void dctx_frames_finish(dctx_frames_t *frames)
{
    if (frames == NULL)
        return;
    dctx_frames_clear(frames);
    if (frames->at != frames->inline_)
        dctx_release_(frames->at);
    dctx_frames_init(frames);
}

/* A frame for good: libzmq says that a message is moved with zmq_msg_move(), not with memcpy(). */
static void move_all(zmq_msg_t *to, zmq_msg_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)zmq_msg_init(&to[i]);
        (void)zmq_msg_move(&to[i], &from[i]);
        (void)zmq_msg_close(&from[i]);
    }
}

static dctx_error_t grow(dctx_frames_t *frames)
{
    size_t capacity = frames->capacity_ * 2;
    zmq_msg_t *at = dctx_alloc_(capacity * sizeof(*at));
    if (at == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %zu frames", capacity);
    move_all(at, frames->at, frames->count);
    if (frames->at != frames->inline_)
        dctx_release_(frames->at);
    frames->at = at;
    frames->capacity_ = capacity;
    return DCTX_OK;
}

static dctx_error_t make_room(dctx_frames_t *frames)
{
    return frames->count < frames->capacity_ ? DCTX_OK : grow(frames);
}

dctx_error_t dctx_frames_add(dctx_frames_t *frames, const void *data, size_t size)
{
    dctx_error_t error = make_room(frames);
    if (error != DCTX_OK)
        return error;
    if (zmq_msg_init_size(&frames->at[frames->count], size) != 0)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a frame of %zu bytes", size);
    if (size > 0)
        memcpy(zmq_msg_data(&frames->at[frames->count]), data, size);
    frames->count++;
    return DCTX_OK;
}

dctx_error_t dctx_frames_move(dctx_frames_t *frames, zmq_msg_t *frame)
{
    dctx_error_t error = make_room(frames);
    if (error != DCTX_OK)
        return error;
    (void)zmq_msg_init(&frames->at[frames->count]);
    (void)zmq_msg_move(&frames->at[frames->count++], frame);
    return DCTX_OK;
}

/* ---- sending --------------------------------------------------------------------------------- */

static int send_frame(zmq_msg_t *frame, void *handle, int flags, bool begun)
{
    while (zmq_msg_send(frame, handle, flags) < 0)
        if (errno != EINTR || !begun)
            return errno;
    return 0;
}

/*
 * What keeps the frames until all went. Of a large frame a copy is sent, which shares the bytes. Of
 * the first small ones the bytes are put aside, as that costs less than a count of them that two
 * threads change; should a later frame fail, they are made again.
 */
#define ASIDE_FRAMES 4

typedef struct aside {
    dctx_bytes_t last; /* the last of the frames */
    size_t count;
    size_t used;
    size_t sizes[ASIDE_FRAMES];
    char bytes[256];
} aside_t;

/* The bytes are there all the while, so that only libzmq's own want of memory can lose them. */
static void bring_back(const aside_t *aside, dctx_frames_t *frames)
{
    const char *at = aside->bytes;
    for (size_t i = 0; i < aside->count; i++) {
        zmq_msg_t *frame = &frames->at[i];
        if (zmq_msg_init_size(frame, aside->sizes[i]) != 0)
            (void)zmq_msg_init(frame);
        else if (aside->sizes[i] > 0)
            memcpy(zmq_msg_data(frame), at, aside->sizes[i]);
        at += aside->sizes[i];
    }
}

/* One that is not the message's last. The first `aside->count` frames are aside. */
static int send_kept(void *handle, dctx_frames_t *frames, size_t i, aside_t *aside)
{
    zmq_msg_t *frame = &frames->at[i];
    int flags = ZMQ_SNDMORE | (i > 0 ? ZMQ_DONTWAIT : 0);
    bool is_last = i == frames->count - 1;
    size_t size = is_last ? aside->last.size : zmq_msg_size(frame);
    if (i == aside->count && i < ASIDE_FRAMES && size <= sizeof(aside->bytes) - aside->used) {
        if (size > 0)
            memcpy(aside->bytes + aside->used, is_last ? aside->last.data : zmq_msg_data(frame),
                   size);
        int failure = send_frame(frame, handle, flags, i > 0);
        if (failure == 0) {
            aside->sizes[aside->count++] = size;
            aside->used += size;
        }
        return failure;
    }
    zmq_msg_t copy;
    (void)zmq_msg_init(&copy);
    if (zmq_msg_copy(&copy, frame) != 0)
        return errno;
    int failure = send_frame(&copy, handle, flags, i > 0);
    (void)zmq_msg_close(&copy);
    return failure;
}

/* Once the first frame is taken the others are, but for signals and peers that go in between: see
 * stamp.c for why they do not wait. */
static int send_frames(void *handle, dctx_frames_t *frames, dctx_bytes_t last_bytes,
                       zmq_msg_t *stamp, bool stamped)
{
    aside_t aside;
    aside.last = last_bytes;
    aside.count = aside.used = 0;
    int failure = 0;
    size_t last = stamped ? frames->count : frames->count - 1;
    for (size_t i = 0; i < last && failure == 0; i++)
        failure = send_kept(handle, frames, i, &aside);
    if (failure == 0)
        failure = send_frame(stamped ? stamp : &frames->at[last], handle,
                             last > 0 ? ZMQ_DONTWAIT : 0, last > 0);
    if (__builtin_expect(failure != 0, 0)) {
        bring_back(&aside, frames);
        return failure;
    }
    /* What libzmq took is empty, and needs no closing. */
    for (size_t i = aside.count; i < frames->count; i++)
        (void)zmq_msg_close(&frames->at[i]);
    frames->count = 0;
    return 0;
}

static inline dctx_error_t sent(int failure, bool stamped)
{
    if (__builtin_expect(failure != 0, 0))
        return dctx_socket_error_("send", failure);
    dctx_transport_count_(stamped ? DCTX_TRANSPORT_STAMPED : DCTX_TRANSPORT_UNSTAMPED);
    return DCTX_OK;
}

/* `own`: with the thread's context; else with the snapshot's. */
static dctx_error_t send_with(void *socket, dctx_frames_t *frames, bool own,
                              const dctx_snapshot_t *snapshot)
{
    dctx_view_t view = {.handle = NULL};
    bool stamped;
    zmq_msg_t stamp;
    own = own && dctx_travels_();
    if (frames == NULL || frames->count == 0)
        return dctx_fail_(DCTX_ERR_INVALID, "no message, or one without frames");
    dctx_error_t error = dctx_socket_view_(socket, &view);
    if (error != DCTX_OK)
        return error;
    if (view.routes != NULL) {
        error = dctx_routes_check_(view.routes, zmq_msg_data(&frames->at[0]),
                                   zmq_msg_size(&frames->at[0]));
        if (error != DCTX_OK)
            return error;
    }
    zmq_msg_t *last = &frames->at[frames->count - 1];
    const dctx_bytes_t bytes = {zmq_msg_data(last), zmq_msg_size(last)};
    bool ambiguous = dctx_is_stamp_(bytes.data, bytes.size);
    if (!own && snapshot == NULL && !ambiguous)
        return sent(send_frames(view.handle, frames, bytes, NULL, false), false);
    dctx_class_t peer = own || snapshot != NULL ? dctx_socket_leaving_(&view) : DCTX_CLASS_STRANGER;
    error = own ? dctx_prepare_own_(view.policy, peer, ambiguous, &stamp, &stamped)
                : dctx_prepare_(snapshot, view.policy, peer, ambiguous, &stamp, &stamped);
    if (error != DCTX_OK)
        return error;
    int failure = send_frames(view.handle, frames, bytes, &stamp, stamped);
    if (failure != 0 || !stamped)
        (void)zmq_msg_close(&stamp);
    return sent(failure, stamped);
}

dctx_error_t dctx_frames_send_snapshot(void *socket, dctx_frames_t *frames,
                                       const dctx_snapshot_t *snapshot)
{
    return send_with(socket, frames, false, snapshot);
}

dctx_error_t dctx_frames_send(void *socket, dctx_frames_t *frames)
{
    return send_with(socket, frames, true, NULL);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static const char *property(void *frame, const char *name)
{
    return zmq_msg_gets(frame, name);
}

/* Reads the rest of a message that nobody can hold, so that the next receive begins with a message.
 */
static void drain(void *handle)
{
    zmq_msg_t frame;
    bool more = true;
    while (more) {
        (void)zmq_msg_init(&frame);
        int got = zmq_msg_recv(&frame, handle, ZMQ_DONTWAIT);
        more = got >= 0 ? zmq_msg_more(&frame) != 0 : errno == EINTR;
        (void)zmq_msg_close(&frame);
    }
}

/* All parts of a message come at once, so only the first is waited for. */
static dctx_error_t receive_frames(void *handle, dctx_frames_t *frames)
{
    for (bool more = true; more;) {
        dctx_error_t error = make_room(frames);
        if (error != DCTX_OK) {
            /* There is always room for the first. */
            drain(handle);
            return error;
        }
        zmq_msg_t *frame = &frames->at[frames->count];
        (void)zmq_msg_init(frame);
        while (zmq_msg_recv(frame, handle, 0) < 0) {
            if (errno == EINTR && frames->count > 0)
                continue;
            int failure = errno;
            (void)zmq_msg_close(frame);
            return dctx_socket_error_("receive", failure);
        }
        frames->count++;
        more = zmq_msg_more(frame) != 0;
    }
    return DCTX_OK;
}

/* For the dead-letter callback, which takes czmq's. NULL: no memory. */
static zmsg_t *as_message(const dctx_frames_t *frames)
{
    zmsg_t *message = zmsg_new();
    for (size_t i = 0; message != NULL && i < frames->count; i++)
        if (zmsg_addmem(message, zmq_msg_data(&frames->at[i]), zmq_msg_size(&frames->at[i])) != 0)
            zmsg_destroy(&message);
    return message;
}

static dctx_error_t take_stamp(const dctx_view_t *view, dctx_registry_t *registry,
                               dctx_snapshot_t *empty, dctx_frames_t *frames,
                               dctx_snapshot_t **ret_snapshot)
{
    dctx_verdict_t verdict;
    zmq_msg_t *last = &frames->at[frames->count - 1];
    dctx_arrival_t arrival = {.view = view,
                              .registry = registry,
                              .empty = empty,
                              .property = property,
                              .last = last,
                              .data = zmq_msg_data(last),
                              .size = zmq_msg_size(last)};
    arrival.stamped = dctx_is_stamp_(arrival.data, arrival.size);
    if (view->routes != NULL)
        arrival.id = (dctx_bytes_t){zmq_msg_data(&frames->at[0]), zmq_msg_size(&frames->at[0])};
    dctx_judge_(&arrival, ret_snapshot, &verdict);
    if (arrival.stamped) {
        (void)zmq_msg_close(last);
        frames->count--;
    }
    if (verdict.error == DCTX_OK)
        return DCTX_OK;
    zmsg_t *message = as_message(frames);
    dctx_frames_clear(frames);
    return dctx_judge_bury_(view, &verdict, &message);
}

dctx_error_t dctx_frames_recv(void *socket, dctx_frames_t *frames, dctx_snapshot_t **ret_snapshot)
{
    dctx_view_t view = {.handle = NULL};
    dctx_at_hand_t hand;
    dctx_snapshot_t *snapshot = NULL;
    if (frames == NULL || ret_snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nowhere to put the message or its context");
    dctx_frames_clear(frames);
    dctx_error_t error = dctx_socket_view_(socket, &view);
    dctx_registry_t *registry = dctx_current_registry();
    if (error == DCTX_OK)
        error = dctx_recall_hold_(registry, &hand);
    if (error != DCTX_OK)
        return error;
    error = receive_frames(view.handle, frames);
    if (error == DCTX_OK)
        error = take_stamp(&view, registry, hand.snapshot, frames, &snapshot);
    if (error == DCTX_OK) {
        *ret_snapshot = snapshot != NULL ? snapshot : dctx_snapshot_ref(hand.snapshot);
    } else {
        dctx_frames_clear(frames);
        dctx_snapshot_unref(&snapshot);
    }
    dctx_recall_let_go_(&hand);
    return error;
}

dctx_error_t dctx_frames_recv_attach(void *socket, const char *name, dctx_frames_t *frames,
                                     dctx_scope_t *ret_scope)
{
    dctx_snapshot_t *snapshot;
    if (ret_scope == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nowhere to put the scope");
    *ret_scope = (dctx_scope_t){0, NULL, DCTX_OK};
    /* A name or a depth that is refused shall not cost a message. */
    size_t size = name != NULL ? strlen(name) : 0;
    dctx_error_t error = dctx_attach_ready_(name, size);
    if (error == DCTX_OK)
        error = dctx_frames_recv(socket, frames, &snapshot);
    if (error != DCTX_OK)
        return error;
    error = dctx_attach_taken_(snapshot, name, size, ret_scope);
    if (error != DCTX_OK) {
        dctx_snapshot_unref(&snapshot);
        dctx_frames_clear(frames);
    }
    return error;
}
