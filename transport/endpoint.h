/* Sockets on CZMQ's context, made without CZMQ's asserts: where it would abort the process for want
 * of sockets, these return DCTX_ERR_IO. And what is left behind by a bound ipc endpoint. */
#ifndef DCTX_ENDPOINT_H
#define DCTX_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <czmq.h>

#include <dcontext/error.h>

typedef struct dctx_socket_options {
    int64_t message_bytes; /* ZMQ_MAXMSGSIZE */
    int send_frames;       /* ZMQ_SNDHWM */
    int receive_frames;    /* ZMQ_RCVHWM */
    zcert_t *certificate;  /* for CURVE; borrowed */
    const char *domain;    /* of the ZAP handler that a ROUTER asks; NULL: without CURVE */
} dctx_socket_options_t;

/* A socket that never blocks, never reconnects by itself and, being a ROUTER, tells when it cannot
 * route. A DEALER is under CURVE if it has a server's key. DCTX_ERR_IO. */
dctx_error_t dctx_socket_open_(int type, const dctx_socket_options_t *options,
                               const char *server_key, void **ret_socket);

/* Closes; what was sent goes out for at most linger_ms, in the background. */
void dctx_socket_close_(void **socket_p, int linger_ms);

/* Another socket, which says when the connection of `socket` has ended or could not be made. To be
 * closed before the socket it watches. DCTX_ERR_IO. */
dctx_error_t dctx_monitor_open_(void *socket, void **ret_monitor);
void dctx_monitor_close_(void *socket, void **monitor_p);
typedef enum dctx_ending {
    DCTX_ENDING_NONE = 0, /* it goes on */
    DCTX_ENDING_BROKE = 1,
    DCTX_ENDING_CUT = 2,   /* in libzmq's handshake, without a word */
    DCTX_ENDING_DENIED = 3 /* the two did not agree on security */
} dctx_ending_t;
dctx_ending_t dctx_monitor_read_(void *monitor);

/* The error for what ZeroMQ said about an endpoint: DCTX_ERR_INVALID for one that it does not
 * understand, else DCTX_ERR_IO. */
dctx_error_t dctx_endpoint_fail_(const char *what, const char *endpoint, int error);

/* A bound endpoint, and the socket file that it owns, if any. */
typedef struct dctx_listener {
    struct dctx_listener *next;
    dev_t device; /* of the file, so that one that somebody else put in its place stays */
    ino_t inode;
    bool has_file;
    bool has_directory; /* ZeroMQ made one, because the path was a wildcard */
    char endpoint[];    /* as bound: what to dial */
} dctx_listener_t;

/* DCTX_ERR_INVALID, DCTX_ERR_IO (also for an ipc path on which another process listens: ZeroMQ
 * would take it away from that one), DCTX_ERR_NOMEM. */
dctx_error_t dctx_listener_bind_(void *socket, const char *endpoint,
                                 dctx_listener_t **ret_listener);

/* Removes the file, and frees. The socket may be closed before or after. */
void dctx_listener_destroy_(dctx_listener_t **listener_p);

#endif
