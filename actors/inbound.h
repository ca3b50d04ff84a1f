/* A message's way through the interceptors to its handler. */
#ifndef DCTX_INBOUND_H
#define DCTX_INBOUND_H

#include "cell.h"
#include "message.h"
#include "runner.h"

/*
 * Has a message pass the interceptors of the actor, or of the system, and runs the handler if they
 * let it. It may move away, to come later. *ret_error is set to what became of it, unless that is
 * DCTX_OK. In the actor's turn, with the message's context attached; if the thread was given up
 * meanwhile it is at once left.
 */
void dctx_inbound_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                   dctx_error_t (*handler)(void *arg), void *arg, dctx_error_t *ret_error);

#endif
