/*
 * dcontext/stamp.h - context on any ZeroMQ socket: the stamp is the last frame of a message.
 *
 * A stamp frame is a magic prefix and a snapshot's wire form (docs/wire.md). Because it comes last,
 * ROUTER identities, REQ delimiters, SUB topics, proxies and brokers stay as they are, and a peer
 * that knows nothing of dcontext sees its own frames plus one.
 *
 * `socket` is a zsock_t, a zactor_t, or a libzmq socket handle, here and below. As ever with
 * ZeroMQ, one thread at a time uses a socket.
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
 *   passed); DCTX_ERR_UNREACHABLE (a mandatory ROUTER knows no such peer); DCTX_ERR_NOMEM;
 *   DCTX_ERR_IO.
 * Thread-safety: the socket's thread.
 * Limits and units: dctx_limits_t of the current registry.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_send(void *socket, zmsg_t **message_p);

/* The same with a snapshot in the place of the thread's context; NULL sends the message
 * unstamped. */
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
 *   socket); DCTX_ERR_NOT_FROZEN; DCTX_ERR_NOMEM; DCTX_ERR_IO.
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
