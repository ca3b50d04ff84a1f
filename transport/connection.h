/*
 * One connection: a DEALER of this side's own, or a routing id on the link's ROUTER. It numbers
 * messages, gathers them into frames, and keeps what flow control and heartbeats need to know. It
 * calls nobody back.
 */
#ifndef DCTX_CONNECTION_H
#define DCTX_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/link.h>
#include <dcontext/policy.h>

#include "endpoint.h"
#include "lookup.h"
#include "record.h"

/* A key as Z85 has it. */
#define DCTX_KEY_TEXT 40

struct dctx_peer;
typedef struct dctx_connection dctx_connection_t;

/* Messages that were accepted for a peer that had no room, or was not up. */
typedef struct dctx_held {
    struct dctx_held *next;
    dctx_link_message_t message; /* points behind this struct; message.snapshot is `snapshot` */
    dctx_snapshot_t *snapshot;   /* a reference of its own */
    dctx_error_t why;            /* it is given back, if it is */
} dctx_held_t;

typedef struct dctx_held_queue {
    dctx_held_t *first;
    dctx_held_t *last;
    size_t count;
} dctx_held_queue_t;

/* What remains to be told of a connection, or of a peer, that is over. */
typedef struct dctx_loss {
    struct dctx_loss *next;
    struct dctx_peer *peer;
    dctx_connection_t *connection; /* NULL: the peer was let go without one */
    dctx_held_queue_t held;
    const char *reason;
    bool was_up;
} dctx_loss_t;

typedef enum dctx_connection_state {
    DCTX_CONNECTION_HANDSHAKE, /* dialled; HELLO said */
    DCTX_CONNECTION_UP,
    DCTX_CONNECTION_LOST /* waits to be reported and freed; has no sockets any more */
} dctx_connection_state_t;

struct dctx_connection {
    struct dctx_peer *peer;
    dctx_connection_state_t state;
    dctx_link_counters_t *counters; /* the link's */

    void *socket;              /* its own DEALER, or the link's ROUTER */
    void *monitor;             /* of its own DEALER */
    dctx_lookup_entry_t entry; /* inbound: by routing id, whose bytes are at the end */
    uint64_t incarnation;      /* the other side's; inbound */

    /* Sequence numbers. acknowledged <= flushed <= sent; told <= received. */
    uint64_t sent;         /* given to a message */
    uint64_t flushed;      /* handed to ZeroMQ */
    uint64_t acknowledged; /* taken in by the other side */
    uint64_t received;     /* taken in here */
    uint64_t told;         /* taken in here, and the other side was told */
    uint32_t window;       /* of the other side, at most ours */
    size_t limit;          /* the longest record that the other side takes, as far as it said */
    uint8_t kinds;         /* the last kind of message that it knows */

    /* Who is there. Set by the handshake, but for what is said to a dialled one, which is set
     * before. */
    dctx_class_t leaving;  /* what it is taken for when a message leaves */
    dctx_class_t entering; /* and when one enters */
    bool whole;            /* all of a context of the link's registry may leave */
    dctx_snapshot_t
        *base;        /* who sent it, where that is wanted: what every context here begins with */
    char address[64]; /* as libzmq has it; "": none */
    char key[DCTX_KEY_TEXT + 1]; /* that it proved to have; "": none */
    int64_t vouched;             /* when the key was looked up last */

    /* The frame being gathered: empty, or the head and at least one record. */
    uint8_t *batch;
    size_t batch_size;
    size_t batch_capacity;
    size_t batch_last; /* where its last record begins */
    size_t
        batch_stamp; /* where the stamp of its last record is, and how long; 0: that one has none */
    size_t batch_stamp_size;

    bool blocked;         /* ZeroMQ took no more; try again later */
    bool broken;          /* ZeroMQ knows no such connection any more */
    dctx_ending_t ending; /* the monitor said so; what came before can still be read */
    bool drained;         /* nothing was left to read when last looked at */
    bool stamp_reported;

    /* Nanoseconds of the link's clock. */
    int64_t began;        /* dialled, or came up */
    int64_t said;         /* HELLO last */
    int64_t heard;        /* last sign of life */
    int64_t pinged_first; /* since heard; INT64_MIN: not */
    int64_t pinged_last;

    bool dirty; /* in the link's list of those that have something to send */
    dctx_connection_t *dirty_next;
    dctx_connection_t **dirty_prev;

    dctx_loss_t loss;
    size_t id_size;
    uint8_t id[];
};

/* A DEALER that connects; under CURVE if there is a key. DCTX_ERR_INVALID (endpoint), DCTX_ERR_IO,
 * DCTX_ERR_NOMEM. */
dctx_error_t dctx_connection_dial_(const char *endpoint, const char *server_key,
                                   const dctx_socket_options_t *options,
                                   dctx_link_counters_t *counters,
                                   dctx_connection_t **ret_connection);

/* What came from a routing id. DCTX_ERR_NOMEM. */
dctx_error_t dctx_connection_accept_(void *router, const void *id, size_t id_size,
                                     dctx_link_counters_t *counters,
                                     dctx_connection_t **ret_connection);

/* Closes its own sockets; a ROUTER stays. */
void dctx_connection_close_(dctx_connection_t *connection, int linger_ms);

/* Also closes. */
void dctx_connection_free_(dctx_connection_t *connection);

static inline bool dctx_connection_is_inbound_(const dctx_connection_t *connection)
{
    return connection->id_size > 0;
}

static inline bool dctx_connection_has_room_(const dctx_connection_t *connection)
{
    return connection->sent - connection->acknowledged < connection->window;
}

/*
 * Adds a record to the frame being gathered; sequence, acknowledged and the same-context flag are
 * set here. Sends the frame when it is full. False: not now (blocked, broken, no memory), and
 * nothing changed.
 */
bool dctx_connection_put_(dctx_connection_t *connection, const dctx_record_t *record);

/* Hands what was gathered to ZeroMQ, or sets blocked or broken and keeps it. */
void dctx_connection_flush_(dctx_connection_t *connection);

/* Sends a frame of one record to a routing id that has no connection. Best effort. */
void dctx_connection_answer_(void *router, const void *id, size_t id_size,
                             const dctx_record_t *record);

/* Calls `visit` with each message in the frame that was gathered and not handed over. */
void dctx_connection_visit_batch_(const dctx_connection_t *connection,
                                  void (*visit)(const dctx_record_t *record, dctx_bytes_t stamp,
                                                void *arg),
                                  void *arg);

#endif
