/* What other threads have the I/O actor do with its link, and wait for. */
#ifndef DCTX_IO_COMMAND_H
#define DCTX_IO_COMMAND_H

#include "io.h"

/* Does what a DCTX_NODE_COMMAND says. The I/O actor's thread. */
void dctx_io_take_command_(dctx_io_t *io, dctx_node_t *node);

/* Ends one that came too late. */
void dctx_io_refuse_command_(dctx_node_t *node);

#endif
