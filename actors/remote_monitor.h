/*
 * Monitors between nodes, as the I/O actor keeps them.
 *
 * Ours on an actor elsewhere: the monitor's own signals come to the I/O actor, which has it in a
 * table until it is told of, or taken back; whatever takes it out of the table tells it, so that it
 * is told once: the other node's word, the loss of that node, a node that does not come up, or our
 * own end.
 *
 * Others' on an actor here: a monitor like any, of a kind of its own, which is told by a signal to
 * the I/O actor. It is in the other table until the other node has been told, or does not want to
 * be any more, or is gone.
 */
#ifndef DCTX_REMOTE_MONITOR_H
#define DCTX_REMOTE_MONITOR_H

#include <dcontext/link.h>

#include "io.h"
#include "life_signal.h"

/* A signal for the I/O actor. If it is abandoned meanwhile, `io` says so. */
void dctx_far_take_(dctx_io_t *io, dctx_signal_t *signal);

/* A WATCH, UNWATCH or ENDED has come from a node. */
void dctx_far_receive_(dctx_io_t *io, const char *node, const dctx_link_message_t *incoming);
/* One that was on its way there comes back. */
void dctx_far_undelivered_(dctx_io_t *io, const char *node, const dctx_link_message_t *message,
                           dctx_error_t why);
/* The connection to a node, or one of two, is down. */
void dctx_far_down_(dctx_io_t *io, const char *node, const char *reason);

/* The I/O actor leaves: all that is watched elsewhere is lost to us. */
void dctx_far_close_(dctx_io_t *io);
/* What is left in the I/O actor's mailbox after that. */
void dctx_far_discard_(dctx_io_t *io, dctx_signal_t *signal);

#endif
