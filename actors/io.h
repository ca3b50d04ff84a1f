/*
 * The I/O actor: the one thread of a system that touches ZeroMQ sockets, by way of a link. Others
 * put what it is to send and do into its mailbox; an eventfd wakes it, signalled only by who finds
 * the mailbox idle. It also ends asks whose time is up, and rings alarms.
 */
#ifndef DCTX_IO_H
#define DCTX_IO_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>
#include <dcontext/link.h>

#include "cell.h"
#include "far.h"
#include "futex.h"
#include "inflight.h"
#include "mailbox.h"
#include "message.h"
#include "peers.h"
#include "runner.h"
#include "watch.h"
#include "wire.h"

/* A message for another node. */
typedef struct dctx_outgoing {
    dctx_node_t node; /* DCTX_NODE_OUTGOING */
    dctx_link_kind_t kind;
    dctx_error_t code;
    uint64_t correlation;
    const dctx_remote_t *remote; /* a tell's and an ask's target; NULL: `peer` */
    char peer[64];               /* a reply's */
    const char *type;            /* of a type descriptor, or "" */
    dctx_writer_t *writer;       /* the payload, owned; NULL: `reason` */
    char *reason;                /* owned; NULL: none */
    dctx_parcel_t *parcel;       /* owned: what came from a node and goes on as it is; else NULL */
    dctx_snapshot_t *snapshot;   /* owned; NULL: no context */
    dctx_cancel_t *scope;        /* a tell's, with a reference: not sent once it is cancelled */
} dctx_outgoing_t;

/* What a thread wants done, and waits for. */
typedef enum dctx_command_kind {
    DCTX_COMMAND_BIND,
    DCTX_COMMAND_CONNECT,
    DCTX_COMMAND_IS_UP
} dctx_command_kind_t;

typedef struct dctx_io {
    dctx_runner_t runner;
    dctx_watch_t watch;
    zactor_t *thread;
    dctx_mailbox_in_t in;
    dctx_mailbox_out_t out; /* its thread's */
    int event;              /* the eventfd; -1: none */
    bool ready;             /* the rest is there */
    _Atomic(bool) quit;     /* leave when the mailbox is empty */
    dctx_futex_t left;      /* 1: its thread has left the loop; release */

    /* Its thread's. */
    dctx_wire_t *wire; /* made with the first endpoint */
    bool abandoned;
    zmq_pollitem_t *items;
    size_t item_capacity;
    const dctx_peer_t *last_peer;
    dctx_inflight_t inflight;
    dctx_far_table_t watching; /* our monitors, on actors of other nodes; see remote_monitor.h */
    uint64_t last_number;      /* of these */
    dctx_far_table_t watched;  /* other nodes', on our actors */
    uint64_t refused;          /* stamps the link has refused so far */
} dctx_io_t;

/* Makes the queue; the thread is started later. DCTX_ERR_NOMEM, DCTX_ERR_IO. */
dctx_error_t dctx_io_init(dctx_io_t *io, dctx_system_t *system);
void dctx_io_finish(dctx_io_t *io); /* once the thread has left, or was never started */

/* The thread's function, a zactor_fn; the argument is the dctx_io_t. */
void dctx_io_run(zsock_t *pipe, void *io);

/* Says good-bye to the other nodes. Its thread, when it leaves. */
void dctx_io_unplug_(dctx_io_t *io);

/* One round of that function's: what is in the mailbox, what is due. True if there may be more.
 * *ret_due: when to come back. */
bool dctx_io_round_(dctx_io_t *io, int64_t *ret_due);

/* Wakes it, to look at what is due. Any thread. */
void dctx_io_wake_(dctx_io_t *io);

/* Puts a node into its mailbox: a dctx_outgoing_t, the message of a remote ask as a refusal
 * (DCTX_NODE_REFUSAL; its outcome says why), or a signal, counted. Any thread; the node is the I/O
 * actor's. */
void dctx_io_post_(dctx_io_t *io, dctx_node_t *node);

/* All of its thread's user code runs between these two. */
void dctx_io_begin_(dctx_io_t *io);
void dctx_io_end_(dctx_io_t *io);

/* Gives a message to the link. As dctx_link_send(); DCTX_ERR_UNREACHABLE also where there is no
 * link. Its thread. */
dctx_error_t dctx_io_send_(dctx_io_t *io, const char *peer, const dctx_link_message_t *message);

/* Tells the node that was asked that the asker does not wait any more; without memory it is not
 * told, and finds out when it answers. Any thread. */
void dctx_io_call_off_(dctx_io_t *io, const dctx_peer_t *peer, uint64_t ask, dctx_error_t why,
                       const char *reason, const char *chain);

/* Has a command done, and waits, but not for ever. The three texts are copied; all but the first
 * may be NULL. */
dctx_error_t dctx_io_command_(dctx_io_t *io, dctx_command_kind_t kind, const char *first,
                              const char *second, const char *third, char **ret_text);

/* Tells it to leave; does not wait. Needs no memory. */
void dctx_io_quit_(dctx_io_t *io);

void dctx_outgoing_destroy_(dctx_outgoing_t *outgoing);

#endif
