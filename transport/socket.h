/* What stamps need to know of a socket, and of the connection that a message came over. */
#ifndef DCTX_SOCKET_H
#define DCTX_SOCKET_H

#include <stdbool.h>

#include <dcontext/policy.h>
#include <dcontext/session.h>

#include "policy.h"
#include "routes.h"

/* libzmq 4.3 has it, and its header keeps quiet about it where drafts are off. */
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif

typedef struct dctx_view {
    void *handle; /* libzmq's */
    dctx_policy_t *policy;
    dctx_routes_t *routes; /* of a ROUTER's port whose policy has a dctx_curve_t; else NULL */
    dctx_class_t leaving;  /* what its peers are when a message leaves; AUTO: to be looked at */
    dctx_class_t entering; /* what they are when one comes; AUTO: the message tells */
} dctx_view_t;

/* Of a socket that stamps may travel on. DCTX_ERR_INVALID. */
dctx_error_t dctx_socket_view_(void *socket, dctx_view_t *ret_view);

/* Remembers the endpoint that the socket has last. For who is about to give it another. */
void dctx_socket_look_(void *handle);

/* What its peers are taken for when a message leaves. Looks. */
dctx_class_t dctx_socket_leaving_(const dctx_view_t *view);

/* DCTX_ERR_AGAIN and others for an errno of libzmq's. `what` as in "cannot send". */
dctx_error_t dctx_socket_error_(const char *what, int error);

/* Whose connection a message came over. The texts live as long as the message's frames. */
typedef struct dctx_origin {
    dctx_class_t peer;
    dctx_mechanism_t mechanism;
    bool vouched;        /* a ZAP handler looked at it for certain, so `user_id` is its word */
    const char *address; /* "" if there is none */
    const char *user_id;
} dctx_origin_t;

/* A frame's property: zmq_msg_gets() or zframe_meta(). */
typedef const char *(*dctx_property_fn)(void *frame, const char *name);

/* What the peer is taken for that a frame came from, and no more of it. */
dctx_class_t dctx_socket_entering_(const dctx_view_t *view, dctx_property_fn property, void *frame);

/* Unless the whole is wanted, of a peer on this host just class and address. */
void dctx_socket_origin_(const dctx_view_t *view, dctx_property_fn property, void *frame,
                         bool whole, dctx_origin_t *ret_origin);

/* Puts upstream address and security session into a snapshot, as far as its registry has their
 * keys; `cert` may be NULL. Without memory they are absent: that is no reason to refuse a message.
 */
void dctx_origin_note_(const dctx_origin_t *origin, zcert_t *cert, dctx_snapshot_t **snapshot_p);

#endif
