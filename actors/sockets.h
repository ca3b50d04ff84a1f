/*
 * What a pinned actor waits for beside its mailbox. It is the actor's own thread's alone.
 *
 * From the first watch on the thread waits in zmq_poll() and no more on its futex: whoever finds
 * the mailbox idle then writes to the eventfd `event` of the thread, and touches nothing of it
 * after that. That the fd is there he knows by way of the mailbox: it was made in a turn, and so
 * before the mailbox went idle.
 */
#ifndef DCTX_SOCKETS_H
#define DCTX_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>

#include <zmq.h>

#include <dcontext/sockets.h>

#include "cell.h"

typedef struct dctx_poll_entry {
    void *given;  /* as the user knows the socket; NULL: a descriptor */
    void *handle; /* libzmq's */
    int fd;
    dctx_socket_fn on_socket;
    dctx_fd_fn on_fd;
} dctx_poll_entry_t;

typedef struct dctx_poll {
    dctx_poll_entry_t *entries;
    zmq_pollitem_t *items; /* one more than `capacity`: the first is the eventfd */
    size_t count, capacity;
    size_t first;   /* whose turn it is to be looked at first */
    size_t changes; /* goes up when entries come or go */
} dctx_poll_t;

void dctx_poll_finish_(dctx_poll_t *poll);

/* Waits for something, and runs what is ready. *ret_mail: the mailbox may have something.
 * False: the thread was given up. */
bool dctx_poll_wait_(dctx_pinned_t *pinned, bool *ret_mail);

#endif
