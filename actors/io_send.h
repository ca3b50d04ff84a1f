/* What the I/O actor sends: messages, answers and refusals,
 * and what becomes of those that cannot go. Its thread. */
#ifndef DCTX_IO_SEND_H
#define DCTX_IO_SEND_H

#include "io.h"

void dctx_io_send_outgoing_(dctx_io_t *io, dctx_outgoing_t *outgoing);

/* Answers a peer's ask with an error, and releases it. */
void dctx_io_send_refusal_(dctx_io_t *io, dctx_message_t *request);
void dctx_io_refuse_(dctx_io_t *io, const char *peer, uint64_t correlation, dctx_error_t error);

/* What the message was for hears that it did not go. */
void dctx_io_undeliverable_(dctx_io_t *io, const char *peer, const char *target,
                            const dctx_link_message_t *message, const char *type, dctx_error_t why,
                            const dctx_snapshot_t *snapshot);

#endif
