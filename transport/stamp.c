#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <dcontext/internal.h>
#include <dcontext/stamp.h>

#define MAGIC_SIZE 6
static const uint8_t magic[MAGIC_SIZE] = {0xd7, 'd', 'c', 't', 'x', 0x01};

/* Any thread adds, any thread reads; each stands for itself, so relaxed. */
static struct {
    atomic_ullong stamped;
    atomic_ullong unstamped;
    atomic_ullong received_stamped;
    atomic_ullong received_unstamped;
    atomic_ullong stamps_refused;
} counters;

static void count(atomic_ullong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool is_stamp(zframe_t *frame)
{
    return frame != NULL && zframe_size(frame) >= MAGIC_SIZE &&
           memcmp(zframe_data(frame), magic, MAGIC_SIZE) == 0;
}

/* The libzmq handle of a socket that stamps may travel on. */
static dctx_error_t resolve(void *socket, void **ret_handle)
{
    int type;
    size_t size = sizeof(type);
    void *handle = socket != NULL ? zsock_resolve(socket) : NULL;
    if (handle == NULL || zmq_getsockopt(handle, ZMQ_TYPE, &type, &size) != 0)
        return dctx_fail_(DCTX_ERR_INVALID, "not a socket");
    if (type == ZMQ_STREAM)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a STREAM socket carries bytes, not messages: it takes no stamps");
    *ret_handle = handle;
    return DCTX_OK;
}

static dctx_error_t io_error(const char *what, int error)
{
    switch (error) {
    case EAGAIN:
        return dctx_fail_(DCTX_ERR_AGAIN, "the socket is not ready to %s", what);
    case EINTR:
        return dctx_fail_(DCTX_ERR_AGAIN, "interrupted: %s", what);
    case EHOSTUNREACH:
        return dctx_fail_(DCTX_ERR_UNREACHABLE, "no such peer: cannot %s", what);
    case ENOMEM:
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to %s", what);
    default:
        return dctx_fail_(DCTX_ERR_IO, "cannot %s: %s", what, zmq_strerror(error));
    }
}

/* ---- sending -----------------------------------------------------------------------------------
 */

/* The stamp frame; an empty message with *ret_stamped = false when there is to be none. */
static dctx_error_t make_stamp(const dctx_snapshot_t *snapshot, bool always, zmq_msg_t *ret_frame,
                               bool *ret_stamped)
{
    static const uint8_t empty[] = {0x93, 0x01, 0x90, 0x90};
    dctx_bytes_t wire = {empty, sizeof(empty)};
    bool has_context = snapshot != NULL && !dctx_snapshot_is_empty(snapshot);
    if (has_context) {
        dctx_error_t error = dctx_snapshot_encode(snapshot, &wire);
        if (error != DCTX_OK)
            return error;
        /* All that it had was local. */
        has_context = wire.size > sizeof(empty);
    }
    *ret_stamped = has_context || always;
    if (!*ret_stamped) {
        (void)zmq_msg_init(ret_frame);
        return DCTX_OK;
    }
    if (zmq_msg_init_size(ret_frame, MAGIC_SIZE + wire.size) != 0)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a stamp of %zu bytes", wire.size);
    uint8_t *out = zmq_msg_data(ret_frame);
    memcpy(out, magic, MAGIC_SIZE);
    memcpy(out + MAGIC_SIZE, wire.data, wire.size);
    return DCTX_OK;
}

/* Sends all frames, and keeps them. Once the first frame was taken the others are, but for signals
 * and the end of the socket itself; so a signal then is no reason to stop. */
static int send_frames(void *handle, zmsg_t *message, zmq_msg_t *stamp, bool stamped)
{
    bool begun = false;
    zframe_t *next;
    for (zframe_t *frame = zmsg_first(message); frame != NULL; frame = next) {
        next = zmsg_next(message);
        int flags = ZFRAME_REUSE | (next != NULL || stamped ? ZFRAME_MORE : 0);
        while (zframe_send(&frame, handle, flags) != 0)
            if (errno != EINTR || !begun)
                return errno;
        begun = true;
    }
    if (!stamped)
        return 0;
    while (zmq_msg_send(stamp, handle, 0) < 0)
        if (errno != EINTR)
            return errno;
    return 0;
}

dctx_error_t dctx_send_snapshot(void *socket, zmsg_t **message_p, const dctx_snapshot_t *snapshot)
{
    void *handle;
    bool stamped;
    zmq_msg_t stamp;
    if (message_p == NULL || *message_p == NULL || zmsg_size(*message_p) == 0)
        return dctx_fail_(DCTX_ERR_INVALID, "no message, or one without frames");
    dctx_error_t error = resolve(socket, &handle);
    if (error != DCTX_OK)
        return error;
    error = make_stamp(snapshot, is_stamp(zmsg_last(*message_p)), &stamp, &stamped);
    if (error != DCTX_OK)
        return error;
    int failure = send_frames(handle, *message_p, &stamp, stamped);
    (void)zmq_msg_close(&stamp);
    if (failure != 0)
        return io_error("send", failure);
    count(stamped ? &counters.stamped : &counters.unstamped);
    zmsg_destroy(message_p);
    return DCTX_OK;
}

dctx_error_t dctx_send(void *socket, zmsg_t **message_p)
{
    dctx_snapshot_t *snapshot = NULL;
    if (!dctx_is_empty()) {
        dctx_error_t error = dctx_capture(&snapshot);
        if (error != DCTX_OK)
            return error;
    }
    dctx_error_t error = dctx_send_snapshot(socket, message_p, snapshot);
    dctx_snapshot_unref(&snapshot);
    return error;
}

/* ---- receiving ---------------------------------------------------------------------------------
 */

/* Takes the stamp off the message, if it has one. A refused one leaves *snapshot_p as it is: empty.
 */
static void take_stamp(zmsg_t *message, dctx_registry_t *registry, dctx_snapshot_t **snapshot_p)
{
    dctx_snapshot_t *decoded;
    zframe_t *last = zmsg_last(message);
    if (!is_stamp(last)) {
        count(&counters.received_unstamped);
        return;
    }
    dctx_error_t error = dctx_snapshot_decode(registry, zframe_data(last) + MAGIC_SIZE,
                                              zframe_size(last) - MAGIC_SIZE, &decoded);
    if (error == DCTX_OK) {
        count(&counters.received_stamped);
        dctx_snapshot_unref(snapshot_p);
        *snapshot_p = decoded;
    } else {
        count(&counters.stamps_refused);
        dctx_log(DCTX_LOG_WARNING, "a stamp of %zu bytes was refused: %s", zframe_size(last),
                 dctx_error_detail());
    }
    zmsg_remove(message, last);
    zframe_destroy(&last);
}

dctx_error_t dctx_recv(void *socket, zmsg_t **ret_message, dctx_snapshot_t **ret_snapshot)
{
    void *handle;
    dctx_snapshot_t *snapshot;
    dctx_registry_t *registry = dctx_current_registry();
    if (ret_message == NULL || ret_snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nowhere to put the message or its context");
    dctx_error_t error = resolve(socket, &handle);
    /* First, so that no message is taken off the socket that could not be given to the caller. */
    if (error == DCTX_OK)
        error = dctx_snapshot_empty(registry, &snapshot);
    if (error != DCTX_OK)
        return error;
    errno = EINTR; /* what a receive that gives no message and no reason was */
    zmsg_t *message = zmsg_recv(handle);
    if (message == NULL) {
        int failure = errno;
        dctx_snapshot_unref(&snapshot);
        return io_error("receive", failure);
    }
    take_stamp(message, registry, &snapshot);
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

void dctx_transport_counters_read(dctx_transport_counters_t *ret_counters)
{
    ret_counters->stamped = atomic_load_explicit(&counters.stamped, memory_order_relaxed);
    ret_counters->unstamped = atomic_load_explicit(&counters.unstamped, memory_order_relaxed);
    ret_counters->received_stamped =
        atomic_load_explicit(&counters.received_stamped, memory_order_relaxed);
    ret_counters->received_unstamped =
        atomic_load_explicit(&counters.received_unstamped, memory_order_relaxed);
    ret_counters->stamps_refused =
        atomic_load_explicit(&counters.stamps_refused, memory_order_relaxed);
}
