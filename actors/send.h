/* Sending, for the rooms of this library. */
#ifndef DCTX_SEND_H
#define DCTX_SEND_H

#include <dcontext/actor.h>

/* A fork of the calling thread's context, as a message of this system carries it: NULL when it is empty. A
 * context of another registry crosses as it would on a wire. On a codec's refusal the system's policy says
 * whether that is an error or no context. */
dctx_error_t dctx_fork_for_(dctx_system_t *system, dctx_snapshot_t **ret_snapshot);

#endif
