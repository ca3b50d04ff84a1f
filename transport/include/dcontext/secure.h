/*
 * dcontext/secure.h - sockets under CURVE, with everything set that is easy to forget; and sockets
 * that are not, under a name that says so.
 *
 * What all of these sockets have, unless the options say otherwise: messages of at most 1 MiB,
 * heartbeats every second and a peer given up after three, a handshake of at most 10 s, 1 s to send
 * what is left when the socket is closed, and 5 s for a send to succeed. A ROUTER says when it
 * cannot route, where it would drop in silence.
 *
 * A server under CURVE has a ZAP domain that is set and enforced: without a handler nobody gets in.
 * A client without CURVE, one under PLAIN, and one whose key is not in the directory get nothing.
 *
 * Thread-safety of everything here: a dctx_curve_t may be used by any threads at once; a socket by
 *   one.
 */
#ifndef DCONTEXT_SECURE_H
#define DCONTEXT_SECURE_H

#include <czmq.h>

#include <dcontext/dcontext.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 0 stands for the defaults above, -1 for no limit. */
typedef struct dctx_socket_settings {
    int64_t message_bytes;
    int heartbeat_ms; /* and a peer is given up after three; -1: no heartbeats */
    int handshake_ms;
    int linger_ms;
    int send_ms;
} dctx_socket_settings_t;

typedef struct dctx_curve dctx_curve_t;

/*
 * The process's ZAP handler, a zauth, with a directory of the clients' public certificates as
 * zcert_save_public() writes them. Files may come and go: who is added gets in at the next try, who
 * is removed does not, without a restart. A connection that is there already lasts until it ends,
 * as libzmq cannot close a single one; what comes over it is refused by a port whose policy knows
 * the dctx_curve_t, a second later at most, and a ROUTER's port sends nothing over it. Sockets that
 * choose the peer themselves (PUB, PUSH, DEALER) may still send to it: for these use a link, which
 * ends it.
 *
 * Ownership: the caller owns it; sockets made with it must go first. Destroy takes NULL.
 * Errors: DCTX_ERR_INVALID (not a directory, a bad domain, a libzmq without CURVE);
 *   DCTX_ERR_CONFLICT (the process has a ZAP handler: there can be one); DCTX_ERR_NOMEM;
 *   DCTX_ERR_IO.
 * Limits and units: domain 1..63 bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_curve_new(const char *domain, const char *directory,
                                                        dctx_curve_t **ret_curve);
DCTX_EXPORT void dctx_curve_destroy(dctx_curve_t **curve_p);

/*
 * A socket that is bound and demands CURVE; one that is connected to a server whose public key is
 * known (Z85, 40 characters), and proves who it is with its own certificate.
 *
 * Ownership: the caller owns the socket; certificates stay the caller's.
 * Errors: DCTX_ERR_INVALID (a socket type or endpoint that cannot be, a key that is none, a
 *   certificate without its secret half); DCTX_ERR_IO (libzmq's words in the detail);
 *   DCTX_ERR_NOMEM.
 * Limits and units: as in settings; NULL: the defaults.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_curve_server(dctx_curve_t *curve, int type,
                                                           const char *endpoint, zcert_t *own,
                                                           const dctx_socket_settings_t *settings,
                                                           zsock_t **ret_socket);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_curve_client(int type, const char *endpoint,
                                                           zcert_t *own, const char *server_key,
                                                           const dctx_socket_settings_t *settings,
                                                           zsock_t **ret_socket);

/* The same sockets without any security: who reads the code shall see that it was a choice. */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_insecure_server(
    int type, const char *endpoint, const dctx_socket_settings_t *settings, zsock_t **ret_socket);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_insecure_client(
    int type, const char *endpoint, const dctx_socket_settings_t *settings, zsock_t **ret_socket);

#ifdef __cplusplus
}
#endif
#endif
