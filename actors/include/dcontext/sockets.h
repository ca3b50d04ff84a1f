/*
 * dcontext/sockets.h - actors among ZeroMQ sockets: a pinned actor that owns some, and zmsg_t as
 * messages.
 */
#ifndef DCONTEXT_SOCKETS_H
#define DCONTEXT_SOCKETS_H

#include <dcontext/actor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- sockets that an actor owns -------------------------------------------------------------- */

/*
 * Have a pinned actor's thread wait for a socket too, beside its mailbox: whenever there is
 * something to receive, `on_ready` runs on the actor's thread, between messages and never beside
 * one, under the scope "actor:NAME" and no other context: receive with dctx_recv_attach() or
 * dctx_recv_call() to have that of the message. Receive one message at a time, without waiting for
 * the next: then neither the mailbox nor another socket has to wait. A stop of the actor ends it
 * all.
 *
 * Make sockets in on_start or in a handler, and destroy them in on_stop: so only the actor's thread
 * touches them. Watching a socket again replaces `on_ready`.
 *
 * Ownership: the socket stays the caller's; unwatch it before it is destroyed, unless the actor is
 *   ending.
 * Errors: DCTX_ERR_INVALID (not in a callback of this actor, or it is not pinned, or is in a test
 *   world; no socket); DCTX_ERR_IO (no eventfd left); DCTX_ERR_NOMEM. Unwatch: DCTX_ERR_INVALID
 *   (not watched).
 * Thread-safety: the actor's callbacks.
 * Limits and units: any number. `socket` is a zsock_t, a zactor_t or a libzmq socket handle.
 */
typedef void (*dctx_socket_fn)(dctx_actor_t *self, void *socket, void *state);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_socket_watch(dctx_actor_t *self, void *socket,
                                                           dctx_socket_fn on_ready);
DCTX_EXPORT dctx_error_t dctx_socket_unwatch(dctx_actor_t *self, void *socket);

/*
 * The same for a file descriptor that becomes readable.
 * Ownership: the descriptor stays the caller's. Errors, Thread-safety, Limits and units: as
 *   dctx_socket_watch().
 */
typedef void (*dctx_fd_fn)(dctx_actor_t *self, int fd, void *state);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_fd_watch(dctx_actor_t *self, int fd,
                                                       dctx_fd_fn on_ready);
DCTX_EXPORT dctx_error_t dctx_fd_unwatch(dctx_actor_t *self, int fd);

/* ---- zmsg_t as messages ---------------------------------------------------------------------- */

/*
 * The C type of a value is `zmsg_t *`, so `&message` is what is told: dctx_tell() copies it,
 * dctx_tell_take(to, DCTX_TYPE_ZMSG, &message) takes it over without a copy and leaves NULL.
 * dctx_message_take() takes it out again; between processes it travels frame by frame. A message
 * that several members of a group get is a copy for each, as czmq reads a zmsg_t with a cursor in
 * it.
 */
DCTX_EXPORT extern const dctx_type_t dctx_type_zmsg;
#define DCTX_TYPE_ZMSG (&dctx_type_zmsg)

#ifdef __cplusplus
}
#endif
#endif
