/*
 * dcontext/handling.h - what a handler can do beside handling: become another handler, send a
 * message on with its asker, have another actor answer, keep a message for later.
 *
 * All of it is for an actor's own callbacks. A message that was sent on or kept is no longer the
 * handler's: it has no content any more, and cannot be answered.
 */
#ifndef DCONTEXT_HANDLING_H
#define DCONTEXT_HANDLING_H

#include <stddef.h>
#include <stdint.h>

#include <dcontext/actor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- another behaviour ----------------------------------------------------------------------- */

/*
 * Handle the messages after this one with another handler. The state stays. dctx_become() puts it
 * in the place of the present one; dctx_become_push() lays it on top, and dctx_unbecome() goes back
 * to the one below.
 *
 * Ownership: none.
 * Errors: DCTX_ERR_INVALID (not in the actor's own callback, no handler; unbecome without a push);
 *   dctx_become_push() also DCTX_ERR_NOMEM, DCTX_ERR_LIMIT.
 * Thread-safety: the actor's callbacks.
 * Limits and units: 256 handlers on top of each other.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_become(dctx_actor_t *self, dctx_handler_fn handler);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_become_push(dctx_actor_t *self,
                                                          dctx_handler_fn handler);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_unbecome(dctx_actor_t *self);

/* ---- what a message holds -------------------------------------------------------------------- */

/*
 * Take the content out of a message, without a copy: *ret_value is then the caller's, as a value of
 * this type is. For user types and DCTX_TYPE_ZMSG; what several members of a group share is copied.
 *
 * Ownership: the caller's, to destroy as its type does; the message has no content any more. On an
 *   error it is as before, and *ret_value untouched.
 * Errors: DCTX_ERR_TYPE (the message holds another type, or does not decode, or it is a string or
 *   bytes); DCTX_ERR_INVALID; DCTX_ERR_NOMEM and what the type's copy says (shared).
 * Thread-safety: the callback the message came to; for one of dctx_ask_wait() its owner's thread.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_message_take(const dctx_message_t *message,
                                                           const dctx_type_t *type,
                                                           void *ret_value);

/* ---- passing on ------------------------------------------------------------------------------ */

/*
 * Send the message in hand on, to an actor here or on another node: what it holds is moved, its
 * sender and its asker stay, who then hears from the other. It goes in the context it came in, with
 * this actor's scope in the chain, whatever the handler has set meanwhile. A message from another
 * node goes on as the bytes it came in, decoded or not. An item of a stream goes on as what is
 * told, in the context of the stream's ask.
 *
 * Where the other is on another node an ask is put to it, and its end handed to the asker: it ends
 * at the context's deadline, or after an hour.
 *
 * Ownership: on success the message has no content any more, and what dctx_message_get() gave is
 *   gone; on an error it is as before.
 * Errors: as dctx_tell(); DCTX_ERR_INVALID (not the message in hand, or sent on or kept before).
 * Thread-safety: the callback the message came to.
 * Limits and units: as dctx_tell().
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_forward(dctx_actor_t *self,
                                                      const dctx_message_t *message, dctx_ref_t to);

/*
 * Answer the ask in hand with the answer to an ask of one's own: reply, error and reason go to the
 * asker as they come, even if this actor is gone by then.
 *
 * Ownership: as dctx_tell(). On success the ask is answered, as far as this actor is concerned; on
 *   an error it is as before.
 * Errors: as dctx_ask(); DCTX_ERR_INVALID (no ask, or answered already).
 * Thread-safety: the callback the message came to.
 * Limits and units: as dctx_ask().
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_delegate(dctx_actor_t *self,
                                                       const dctx_message_t *message, dctx_ref_t to,
                                                       const dctx_type_t *type, const void *value,
                                                       int64_t timeout_ms);

/* ---- keeping for later ----------------------------------------------------------------------- */

/*
 * Keep the message in hand, with its context, its asker and its deadline, and handle it when it has
 * been put back: before all that is in the mailbox, in the order in which it was kept. A message
 * that has been put back is treated as any other: past its deadline it may be skipped, and
 * interceptors see it again. What is kept when the actor ends becomes dead letters. The system's
 * stop does not wait for it.
 *
 * Ownership: on success the message has no content any more; on an error it is as before.
 * Errors: DCTX_ERR_INVALID (not the message in hand, or sent on or kept before, or an item of a
 *   stream: keep its value), DCTX_ERR_FULL, DCTX_ERR_NOMEM.
 * Thread-safety: stash in the callback the message came to; the others in the actor's callbacks.
 * Limits and units: messages: `stash_limit` of the actor's options, those put back but not handled
 *   yet included.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_stash(dctx_actor_t *self,
                                                    const dctx_message_t *message);
/*
 * Put back the oldest; false if there is none. Put back all; returns how many. And how many are
 * kept.
 * Ownership: none. Errors: none. Thread-safety: the actor's callbacks. Limits and units: messages.
 */
DCTX_EXPORT bool dctx_unstash_one(dctx_actor_t *self);
DCTX_EXPORT size_t dctx_unstash_all(dctx_actor_t *self);
DCTX_EXPORT size_t dctx_stash_size(const dctx_actor_t *self);

#ifdef __cplusplus
}
#endif
#endif
