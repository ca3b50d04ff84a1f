/* What becomes of messages that no handler handled. */
#ifndef DCTX_DEADLETTER_H
#define DCTX_DEADLETTER_H

#include <stdbool.h>

#include <dcontext/system.h>

#include "cell.h"
#include "message.h"
#include "runner.h"

/* Tells the application. Runs user code. snapshot NULL: the empty one. */
void dctx_dead_letter_(dctx_system_t *system, const char *target, const char *type,
                       dctx_error_t reason, const dctx_snapshot_t *snapshot, bool ask);

/* The same, and how the one ended for whom it was (NULL: that is not known, or not the reason); and
 * what an interceptor said of it, "" for nothing. */
void dctx_dead_letter_with_(dctx_system_t *system, const char *target, const char *type,
                            dctx_error_t reason, const dctx_snapshot_t *snapshot, bool ask,
                            const dctx_exit_t *exit, const char *words);

/* The same for a message that was accepted here. The caller counts it and gives it to
 * dctx_message_finish_(). */
void dctx_message_die_(dctx_system_t *system, const char *target, dctx_message_t *message,
                       dctx_error_t reason);
void dctx_message_die_with_(dctx_system_t *system, const char *target, dctx_message_t *message,
                            dctx_error_t reason, const dctx_exit_t *exit, const char *words);

/* For a handler of the library's own that has nobody to send the message in hand to: makes it a
 * dead letter, that was not handled. Returns the reason, for the handler to return: an asker gets
 * it. */
dctx_error_t dctx_message_turn_away_(dctx_runner_t *runner, const dctx_message_t *message,
                                     dctx_error_t reason, const char *words);

/* Answers an ask that nobody answered with an error, and releases the message. */
void dctx_message_finish_(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *message,
                          dctx_error_t error);

/* The name an actor has, or had; "(gone)" when the message is for one that nobody remembers. */
const char *dctx_target_name_(dctx_actor_t *actor, const dctx_node_t *node);

#endif
