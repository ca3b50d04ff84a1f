/*
 * A link from the inside. link.c has the public functions and the round of work, link_peers.c the
 * coming and going of peers, link_receive.c what arrives.
 *
 * Callbacks run only from inside dctx_link_process(), and may call everything but destroy. So:
 * nothing is freed that a caller up the stack may hold; a connection that is over becomes LOST at
 * once and loses its sockets, and is reported and freed by dctx_link_settle_(), which only process
 * calls. Whoever comes back from a callback looks again at what it knew before.
 */
#ifndef DCTX_LINK_STATE_H
#define DCTX_LINK_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/link.h>

#include "connection.h"
#include "endpoint.h"
#include "lookup.h"
#include "peer.h"
#include "policy.h"

#define DCTX_LINK_NS_PER_MS INT64_C(1000000)

/* A frame that is being given on, record by record. */
typedef struct dctx_delivery {
    bool active;
    dctx_error_t refused;          /* why nothing is */
    dctx_connection_t *connection; /* NULL: lost meanwhile */
    const uint8_t *at;
    const uint8_t *end;
    dctx_bytes_t stamp;        /* of the last record */
    dctx_snapshot_t *snapshot; /* what is believed of it; NULL: not judged yet */
    zmq_msg_t frame;
} dctx_delivery_t;

struct dctx_link {
    dctx_link_options_t options; /* with defaults filled in; node points to the copy below */
    char node[DCTX_NODE_NAME_MAX + 1];
    uint64_t incarnation;
    int64_t heartbeat;  /* ns */
    int64_t dead_after; /* ns */
    int64_t give_up;    /* ns: a handshake without an answer */
    dctx_socket_options_t sockets;
    dctx_snapshot_t *empty; /* of options.registry */
    dctx_policy_t *policy;  /* with a reference */
    bool whole
        [DCTX_CLASSES]; /* all of a context of that registry may leave, to a peer of this class */

    void *router;
    dctx_listener_t *listeners;

    dctx_lookup_t by_name;
    dctx_lookup_t by_id;
    /* All that are listed; and those that are dialled, apart, because each round of work walks
     * them. */
    TAILQ_HEAD(, dctx_peer) peers;
    TAILQ_HEAD(, dctx_peer) dialled;
    uint64_t dialled_changed; /* counts changes of the second and of its connections, for those that
                                 walk it */
    size_t inbound;

    dctx_connection_t *dirty;
    dctx_loss_t *losses;
    dctx_loss_t **losses_end;

    bool busy; /* in process */
    bool more; /* process stopped before everything was read */
    bool router_drained;
    bool dealers_turn; /* to be read before the ROUTER */
    dctx_delivery_t delivery;

    int64_t now;    /* when process, or a function that needs the time, began */
    int64_t looked; /* when the monitors were looked at last */
    int64_t due;    /* no timer fires before; may be too early, never too late */
    dctx_link_counters_t counters;
};

static inline int64_t dctx_link_clock_(const dctx_link_t *link)
{
    return link->options.clock(link->options.clock_arg);
}

static inline void dctx_link_note_due_(dctx_link_t *link, int64_t when)
{
    if (when < link->due)
        link->due = when;
}

/* ---- link_peers.c ---- */

dctx_peer_t *dctx_link_find_(const dctx_link_t *link, const char *name);

/* Finds, or makes and lists. DCTX_ERR_NOMEM. */
dctx_error_t dctx_link_obtain_(dctx_link_t *link, const char *name, dctx_peer_t **ret_peer);

/* Takes a peer that has no connection and is not dialled out of the list. */
void dctx_link_unlist_if_idle_(dctx_link_t *link, dctx_peer_t *peer);

/* Dialled from now on: by this endpoint, which it takes over; under CURVE if there is a key. */
void dctx_link_set_endpoint_(dctx_link_t *link, dctx_peer_t *peer, char *endpoint,
                             const char *server_key);

/* Makes a dialled connection the peer's, and says HELLO. */
void dctx_link_begin_(dctx_link_t *link, dctx_peer_t *peer, dctx_connection_t *connection);
void dctx_link_say_hello_(dctx_link_t *link, dctx_connection_t *connection);
void dctx_link_say_welcome_(dctx_link_t *link, dctx_connection_t *connection);

/* The handshake is done. Calls back. */
void dctx_link_up_(dctx_link_t *link, dctx_connection_t *connection, const dctx_hello_t *hello);

/* The connection is over. `reason` is static. Does not call back. */
void dctx_link_lose_(dctx_link_t *link, dctx_connection_t *connection, const char *reason,
                     int linger_ms);

/* The same from this side: says goodbye first. */
void dctx_link_part_(dctx_link_t *link, dctx_connection_t *connection, const char *reason);

/* Lets a peer go: says goodbye, keeps what is held for settle. */
void dctx_link_let_go_(dctx_link_t *link, dctx_peer_t *peer);

/* Reports what was lost, and frees it. Calls back. */
void dctx_link_settle_(dctx_link_t *link);

/* The connection has something to send. */
void dctx_link_mark_dirty_(dctx_link_t *link, dctx_connection_t *connection);

/*
 * The record that a message travels as, over a connection, with what of its context may leave
 * there; NULL: whichever, with all. *ret_stamp has the stamp's bytes, unless the snapshot has, and
 * is the caller's to close, also after an error. DCTX_ERR_INVALID, DCTX_ERR_LIMIT, and what the
 * stamp's encoding refused with.
 */
dctx_error_t dctx_link_record_(dctx_link_t *link, const dctx_connection_t *connection,
                               const dctx_link_message_t *message, dctx_record_t *ret_record,
                               zmq_msg_t *ret_stamp);

/* True if all keys may leave to peers of a class, and the policy has nothing more to say on it. */
bool dctx_link_leaves_whole_(const dctx_link_t *link, dctx_class_t peer);

/* Sends what can be sent on this connection. Does not call back. */
void dctx_link_pump_(dctx_link_t *link, dctx_connection_t *connection);

/* Heartbeats, handshakes, redialling. Does not call back. */
void dctx_link_run_timers_(dctx_link_t *link);

/* ---- link_receive.c ---- */

/* Reads from all sockets in turn until nothing is left or `most` is used up; true if it is. Calls
 * back. */
bool dctx_link_receive_(dctx_link_t *link, size_t most);

/* Forgets what is being given on: all of it, or if it is of this connection. */
void dctx_link_forget_delivery_(dctx_link_t *link);

#endif
