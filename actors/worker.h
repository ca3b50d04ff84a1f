/* A worker's thread. */
#ifndef DCTX_WORKER_H
#define DCTX_WORKER_H

#include <czmq.h>

/* The zactor_fn; the argument is the dctx_worker_t. */
void dctx_worker_run(zsock_t *pipe, void *worker);

#endif
