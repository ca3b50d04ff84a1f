/*
 * dcontext/stamp.h - context on any ZeroMQ socket: the stamp is the last frame of a message.
 *
 * A stamp frame is a magic prefix and a snapshot's wire form (docs/wire.md). Because it comes last,
 * ROUTER identities, REQ delimiters, SUB topics, proxies and brokers stay as they are, and a peer
 * that knows nothing of dcontext sees its own frames plus one.
 *
 * `socket` is a zsock_t, a zactor_t, a libzmq socket handle, or a dctx_port_t (policy.h), here and
 * below. What may leave and what may enter is up to the port's policy, or the default one: policy.h
 * says what that is. As ever with ZeroMQ, one thread at a time uses a socket.
 */
#ifndef DCONTEXT_STAMP_H
#define DCONTEXT_STAMP_H

#include <czmq.h>

#include <dcontext/dcontext.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Send a message stamped with the calling thread's context, in the place of zmsg_send(). An empty
 * context adds no frame, but where the last frame of the message itself begins with the magic
 * prefix: then a stamp of the empty context follows it, so that the receiver does not take it for
 * one.
 *
 * Ownership: on success the message is sent and *message_p is NULL; on an error message and context
 *   stay as they were and the caller still owns the message.
 * Errors: DCTX_ERR_INVALID (no message, no frames, a STREAM socket); DCTX_ERR_LIMIT and
 *   DCTX_ERR_CODEC (the context does not encode); DCTX_ERR_AGAIN (would block, or the send timeout
 *   passed); DCTX_ERR_UNREACHABLE (a mandatory ROUTER knows no such peer); DCTX_ERR_REJECTED (a
 *   ROUTER's port, whose policy has a dctx_curve_t that knows the peer's key no more);
 *   DCTX_ERR_NOMEM; DCTX_ERR_IO.
 * Thread-safety: the socket's thread.
 * Limits and units: dctx_limits_t of the current registry.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_send(void *socket, zmsg_t **message_p);

/* The same with a snapshot in the place of the thread's context; NULL sends the message unstamped,
 * as an empty one does: unless the message's last frame looks like a stamp. */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_send_snapshot(void *socket, zmsg_t **message_p,
                                                            const dctx_snapshot_t *snapshot);

/*
 * Receive a message and the context it carries, in the place of zmsg_recv(). A message without a
 * stamp comes with an empty snapshot. A stamp that is refused (cut, forged, over a limit, another
 * version) is taken off, counted and logged, and the message comes with an empty snapshot: the rest
 * of the message is as the sender made it.
 *
 * Ownership: the caller owns message and snapshot.
 * Errors: DCTX_ERR_AGAIN (interrupted, or the receive timeout passed); DCTX_ERR_INVALID (a STREAM
 *   socket); DCTX_ERR_REJECTED (the port's policy rejected the message: it is gone, to the
 *   dead-letter callback; a REP has answered it with an empty message); DCTX_ERR_NOT_FROZEN;
 *   DCTX_ERR_NOMEM; DCTX_ERR_IO.
 * Thread-safety: the socket's thread.
 * Limits and units: dctx_limits_t of the registry current on this thread.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_recv(void *socket, zmsg_t **ret_message,
                                                   dctx_snapshot_t **ret_snapshot);

/*
 * Receive, and attach the message's context to the calling thread under a scope `name` (NULL: none)
 * until the token is popped with dctx_scope_pop().
 *
 * Ownership: as dctx_recv(); the token as dctx_attach(). On an error nothing is attached.
 * Errors: as dctx_recv() and dctx_attach_scope().
 * Thread-safety, Limits and units: as dctx_recv().
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_recv_attach(void *socket, const char *name,
                                                          zmsg_t **ret_message,
                                                          dctx_scope_t *ret_scope);

/*
 * Receive, and call `handle` with the message's context attached under the scope `name`; take it
 * off again when `handle` returns.
 *
 * Ownership: the handler may take *message_p over by setting it to NULL; else it is destroyed.
 * Errors: as dctx_recv_attach(), and then nothing was called; else what the handler returned.
 * Thread-safety, Limits and units: as dctx_recv().
 */
typedef dctx_error_t (*dctx_received_fn)(zmsg_t **message_p, void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_recv_call(void *socket, const char *name,
                                                        dctx_received_fn handle, void *arg);

/* Declares a token that is popped at the end of the enclosing block, for dctx_recv_attach() and
 * dctx_frames_recv_attach(). */
#define DCTX_RECEIVED(scope)                                                                       \
    dctx_scope_t scope __attribute__((cleanup(dctx_scope_cleanup_))) = {0, NULL, DCTX_OK}

/* ---- frames ---------------------------------------------------------------------------------- */

/*
 * A message as zmq_msg_t frames: the quick way, for who counts microseconds. Up to four frames need
 * no memory beside libzmq's, and a context that does not change is stamped and restored without
 * any. The struct is the caller's; it must not be moved between init and finish. at[0..count-1] are
 * the frames.
 *
 *     dctx_frames_t frames;
 *     dctx_frames_init(&frames);
 *     if (dctx_frames_add(&frames, "hello", 5) == DCTX_OK &&
 *         dctx_frames_send(socket, &frames) == DCTX_OK) ...
 *     dctx_frames_finish(&frames);
 */
#define DCTX_FRAMES_INLINE 4
typedef struct dctx_frames {
    size_t count;
    zmq_msg_t *at;
    size_t capacity_; /* private */
    zmq_msg_t inline_[DCTX_FRAMES_INLINE];
} dctx_frames_t;

/* Make it a message without frames; give back what it holds. Clear does the latter and leaves a
 * message without frames. finish takes NULL. */
DCTX_EXPORT void dctx_frames_init(dctx_frames_t *frames);
DCTX_EXPORT void dctx_frames_clear(dctx_frames_t *frames);
DCTX_EXPORT void dctx_frames_finish(dctx_frames_t *frames);

/*
 * Append a frame: a copy of bytes; or *frame itself, which is empty afterwards.
 *
 * Ownership: as said. Errors: DCTX_ERR_NOMEM, with nothing changed. Thread-safety: one thread at a
 *   time. Limits and units: bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_frames_add(dctx_frames_t *frames, const void *data,
                                                         size_t size);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_frames_move(dctx_frames_t *frames, zmq_msg_t *frame);

/*
 * As dctx_send(), dctx_send_snapshot(), dctx_recv() and dctx_recv_attach().
 *
 * Ownership: sent frames are gone and `frames` is without any; on an error they all are still
 *   there. Receiving replaces what `frames` held, also on an error.
 * Errors, Thread-safety, Limits and units: as those.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_frames_send(void *socket, dctx_frames_t *frames);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_frames_send_snapshot(void *socket,
                                                                   dctx_frames_t *frames,
                                                                   const dctx_snapshot_t *snapshot);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_frames_recv(void *socket, dctx_frames_t *frames,
                                                          dctx_snapshot_t **ret_snapshot);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_frames_recv_attach(void *socket, const char *name,
                                                                 dctx_frames_t *frames,
                                                                 dctx_scope_t *ret_scope);

/* What the transport library counted since the process began. Monotonic; any thread. */
typedef struct dctx_transport_counters {
    uint64_t stamped;          /* messages sent with a stamp */
    uint64_t unstamped;        /* messages sent without one: the context was empty */
    uint64_t received_stamped; /* messages received whose stamp was accepted */
    uint64_t received_unstamped;
    uint64_t stamps_refused; /* messages received whose stamp was refused and taken off */
} dctx_transport_counters_t;
DCTX_EXPORT void dctx_transport_counters_read(dctx_transport_counters_t *ret_counters);

#ifdef __cplusplus
}
#endif
#endif
