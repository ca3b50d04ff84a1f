/* What comes to the I/O actor from its link: messages, answers, cancels, and news of peers.
 * Its thread. */
#ifndef DCTX_IO_RECEIVE_H
#define DCTX_IO_RECEIVE_H

#include "io.h"

/* Makes the wire, if there is none yet, with what takes all that comes. */
dctx_error_t dctx_io_need_wire_(dctx_io_t *io);

#endif
