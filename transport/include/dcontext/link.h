/*
 * dcontext/link.h - node to node: named peers, a handshake, heartbeats, flow control, and stamped
 * messages of one frame each.
 *
 * A link belongs to one thread, which drives it: wait on dctx_link_poll_items(), then call
 * dctx_link_process(). It has one ROUTER for the peers that dial this node and one DEALER for each
 * peer that this node dials; either way a connection carries messages in both directions. The actor
 * runtime's I/O actor is one user; a CZMQ program without actors can be another. Nothing here
 * blocks.
 *
 * Thread-safety of everything here: the link's one thread; callbacks run on it, from inside
 * dctx_link_process(), and may call any function of the link but destroy.
 */
#ifndef DCONTEXT_LINK_H
#define DCONTEXT_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include <czmq.h>

#include <dcontext/dcontext.h>
#include <dcontext/policy.h>
#include <dcontext/secure.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dctx_link dctx_link_t;

/* What a link's message is for. The numbers are the wire's. */
typedef enum dctx_link_kind {
    DCTX_LINK_TELL = 16,
    DCTX_LINK_ASK = 17,
    DCTX_LINK_REPLY = 18,
    DCTX_LINK_ERROR = 19,
    DCTX_LINK_CANCEL = 20,
    DCTX_LINK_ITEM = 21,   /* of a stream, to the asker */
    DCTX_LINK_WINDOW = 22, /* room for items, from who is going to ask for a stream */
    DCTX_LINK_CREDIT = 23, /* more of it */
    DCTX_LINK_PUT = 24,    /* an item from the asker */
    DCTX_LINK_ROOM = 25,   /* room for items, to the asker */
    DCTX_LINK_DONE = 26,   /* the asker has sent the last item */
    /* Three that only a peer is sent that said, by `kinds` in the handshake, that it knows them. */
    DCTX_LINK_WATCH = 27,   /* tell me when the actor `target` ends; under a number of mine */
    DCTX_LINK_UNWATCH = 28, /* no more */
    DCTX_LINK_ENDED = 29    /* it has ended; the payload says how */
} dctx_link_kind_t;

/* A message. Sending, all that it points to is borrowed during the call. Received, all is
 * borrowed during the callback but the snapshot, which can be kept with dctx_snapshot_ref(). */
typedef struct dctx_link_message {
    dctx_link_kind_t kind;
    dctx_error_t code; /* of DCTX_LINK_ERROR; the payload is its reason, as UTF-8 */
    uint64_t
        correlation; /* an ask's, and its reply's; chosen by the asker; 0 for a tell. A watch's */
    dctx_bytes_t target; /* actor name, at most 255 bytes; empty for replies */
    dctx_bytes_t type;   /* type name of the payload, at most 255 bytes */
    dctx_bytes_t payload;
    const dctx_snapshot_t *snapshot; /* NULL when sending: no stamp; never NULL when received */
} dctx_link_message_t;

typedef enum dctx_peer_event {
    DCTX_PEER_UP = 1, /* the handshake is done; messages flow */
    /* it said goodbye, went silent, or its connection broke: what was in flight is lost */
    DCTX_PEER_DOWN = 2,
    /* handshake failed: another protocol version, another name than expected, a key that is not
     * known */
    DCTX_PEER_REFUSED = 3
} dctx_peer_event_t;

/* Why a message that dctx_link_send() had accepted was not delivered: DCTX_ERR_UNREACHABLE, or
 * DCTX_ERR_LIMIT where it turned out to be more than the peer, or the policy on what leaves,
 * takes; DCTX_ERR_VERSION where the peer turned out not to know the kind. */
typedef void (*dctx_link_undelivered_fn)(const char *peer, const dctx_link_message_t *message,
                                         dctx_error_t why, void *arg);

typedef struct dctx_link_options {
    const char *node;          /* this node's name: required, 1..63 bytes of [A-Za-z0-9_.-] */
    dctx_registry_t *registry; /* for incoming stamps; NULL: the process-wide one */
    int64_t heartbeat_ms;      /* 1000 when 0: silence after which a peer is pinged */
    int64_t dead_after_ms;     /* 3 heartbeats when 0: silence after which a peer is down */
    uint32_t window;           /* 4096 when 0: messages sent and not yet taken by the peer */
    size_t queue_limit;        /* 65536 when 0: messages held for a peer that is not up, or slow */
    size_t message_limit;      /* 1 MiB when 0: bytes of a message, on the wire, both ways */
    /* Nanoseconds of a monotonic clock; NULL: CLOCK_MONOTONIC. */
    int64_t (*clock)(void *clock_arg);
    void *clock_arg;
    void (*on_message)(const char *peer, const dctx_link_message_t *message, void *arg);
    void (*on_peer)(const char *peer, dctx_peer_event_t event, const char *reason, void *arg);
    /* Messages queued for a peer that went down, given back one by one before DCTX_PEER_DOWN. Those
     * that were handed to ZeroMQ but not acknowledged are counted in counters.unacknowledged. */
    dctx_link_undelivered_fn on_undelivered;
    void *arg; /* for the callbacks */
    /* What may leave and enter, by what the peer is (policy.h); the link takes a reference. NULL:
     * the default rules, by which one on another host that is not authenticated learns, and is
     * believed, what is marked `any`. Its dead_stamp and curve are not used, but what is below. A
     * stamp that several messages share is counted once. */
    dctx_policy_t *policy;
    /* A TELL or ASK that the policy rejects, with an empty context. NULL: an ASK is answered with
     * DCTX_ERR_REJECTED. */
    dctx_link_undelivered_fn on_rejected;
    /* CURVE. With a certificate (both halves; copied) the link dials nodes whose key it was told.
     * With a dctx_curve_t too (to outlive the link) it listens, and lets in whose key is in that
     * directory: under the name that a certificate's metadata `node` says, if it does; and while
     * the key is there, within two seconds. inproc is under no security. */
    zcert_t *certificate;
    dctx_curve_t *curve;
} dctx_link_options_t;

/*
 * Ownership: the caller owns the link; names in options are copied. Destroy says goodbye to the
 *   peers that are up, closes all sockets, removes ipc socket files it made; never blocks.
 * Errors: DCTX_ERR_INVALID (also a certificate without its secret half, or a dctx_curve_t without a
 *   certificate), DCTX_ERR_NOMEM, DCTX_ERR_IO (out of sockets; checked before CZMQ would abort).
 * Limits and units: as in options. 4096 inbound connections: a stranger past that is refused. A
 *   link takes one of the process's ZeroMQ sockets (1023 by default), and three for each peer it
 *   dials.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_link_new(const dctx_link_options_t *options,
                                                       dctx_link_t **ret_link);
DCTX_EXPORT void dctx_link_destroy(dctx_link_t **link_p);

/*
 * Listen. "tcp://127.0.0.1:*" lets the system choose a port; *ret_endpoint tells what to dial.
 *
 * Ownership: *ret_endpoint is the link's, valid until it is destroyed. May be NULL.
 * Errors: DCTX_ERR_INVALID (also on a link that has a certificate and no dctx_curve_t), DCTX_ERR_IO
 *   (in use, no permission: ZeroMQ's words in the detail), DCTX_ERR_NOMEM.
 * Limits and units: any number of endpoints.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_link_bind(dctx_link_t *link, const char *endpoint,
                                                        const char **ret_endpoint);

/*
 * Dial a peer by the name it must say in the handshake; keep dialling while it is away. Messages
 * sent to it meanwhile are held. Dialling a name again replaces the endpoint. The second under
 * CURVE: the peer must prove to have the key (Z85, 40 characters), and only a node with that key
 * may then call itself so.
 *
 * Errors: DCTX_ERR_INVALID (name, endpoint, key; a key for a link without a certificate, none for
 *   one that has it, but on inproc), DCTX_ERR_NOMEM, DCTX_ERR_IO.
 * Ownership: strings are copied. Limits and units: as options.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_link_connect(dctx_link_t *link, const char *peer,
                                                           const char *endpoint);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_link_connect_curve(dctx_link_t *link,
                                                                 const char *peer,
                                                                 const char *endpoint,
                                                                 const char *server_key);

/* Stop dialling, say goodbye; what is held for the peer comes back undelivered. DCTX_ERR_ABSENT:
 * no such peer. */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_link_disconnect(dctx_link_t *link, const char *peer);

/*
 * Send a message to a peer: at once if it is up and has room, later if not.
 *
 * Ownership: everything is copied or referenced; the caller keeps its own.
 * Errors: DCTX_ERR_UNREACHABLE (no peer of that name is dialled or connected), DCTX_ERR_FULL
 *   (queue_limit), DCTX_ERR_LIMIT and DCTX_ERR_CODEC (message or stamp), DCTX_ERR_NOMEM,
 *   DCTX_ERR_VERSION (the peer does not know this kind). Nothing was sent then.
 * Limits and units: message_limit, this link's and the peer's.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_link_send(dctx_link_t *link, const char *peer,
                                                        const dctx_link_message_t *message);

/* True if the handshake with the peer is done and it is alive. */
DCTX_EXPORT bool dctx_link_peer_is_up(const dctx_link_t *link, const char *peer);

/*
 * What to poll: fills at most `capacity` items and returns how many there are; valid until the next
 * call of any other function of the link. Then poll at most dctx_link_timeout_ms() long and call
 * process.
 */
DCTX_EXPORT size_t dctx_link_poll_items(dctx_link_t *link, zmq_pollitem_t *ret_items,
                                        size_t capacity);

/* Milliseconds until the link wants to be processed though no socket is ready; -1: no need. */
DCTX_EXPORT long dctx_link_timeout_ms(const dctx_link_t *link);

/*
 * Read what has come, call back, send what is due. Takes at most `most` messages (0: 256), so that
 * a flood on the link does not keep its thread from other work; returns true if there is more.
 */
DCTX_EXPORT bool dctx_link_process(dctx_link_t *link, size_t most);

/* What this link counted. Monotonic. Also sums over all its peers, those gone included. */
typedef struct dctx_link_counters {
    uint64_t sent;        /* messages handed to ZeroMQ */
    uint64_t received;    /* messages given to on_message */
    uint64_t frames_sent; /* ZeroMQ messages they travelled in */
    uint64_t frames_received;
    /* frames or records refused: not of this protocol, cut, over a limit */
    uint64_t malformed;
    uint64_t stamps_refused; /* messages whose stamp was refused; given on with an empty context */
    uint64_t lost;           /* sequence numbers skipped */
    uint64_t duplicated;     /* sequence numbers seen before; dropped */
    uint64_t undelivered;    /* accepted by send, given back */
    uint64_t unacknowledged; /* handed to ZeroMQ, not acknowledged when the peer went down */
    uint64_t peers_up;       /* handshakes done */
    uint64_t peers_down;
    uint64_t handshakes_refused;
    uint64_t rejected; /* messages that the policy rejected; not given to on_message */
    uint64_t revoked;  /* connections ended because the peer's key is known no more */
} dctx_link_counters_t;
DCTX_EXPORT void dctx_link_counters_read(const dctx_link_t *link,
                                         dctx_link_counters_t *ret_counters);

#ifdef __cplusplus
}
#endif
#endif
