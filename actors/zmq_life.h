/* CZMQ, started so that neither it nor we get in the application's way. */
#ifndef DCTX_ZMQ_LIFE_H
#define DCTX_ZMQ_LIFE_H

#include <czmq.h>

#include <dcontext/error.h>

/* Starts CZMQ if the application has not. Its handlers for SIGINT and SIGTERM do not stay.
 * DCTX_ERR_IO. */
dctx_error_t dctx_zmq_start_(void);

/*
 * Starts `count` zactors, all or none. CZMQ aborts the process when it is out of sockets, and waits
 * for ever for a thread that could not be made: so both are tried out first. Their threads have all
 * signals blocked. DCTX_ERR_IO.
 */
dctx_error_t dctx_zactors_check_(unsigned count);
zactor_t *dctx_zactor_new_(zactor_fn *run, void *arg);

#endif
