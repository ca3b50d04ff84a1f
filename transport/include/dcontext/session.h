/*
 * dcontext/session.h - who sent it: local contexts that are set on receipt.
 *
 * | context | key | type | set when |
 * |---|---|---|---|
 * | upstream address | dctx.upstream | string | the connection has one: tcp "192.0.2.7", ipc
 *   "localhost:uid:gid:pid"; inproc has none |
 * | security session | dctx.session | dctx_session_t | the connection is under CURVE or PLAIN, or
 *   is that of a socket whose peers ZAP looked at |
 *
 * Both speak of the connection that the message came over: a socket's, or a link's, also under the
 * actors. Behind a proxy, whose connection is not the sender's, they are absent: over inproc by
 * themselves, else by a policy's `proxied`. They never leave the process, and never come in from
 * outside.
 *
 * Thread-safety of everything here: any thread, on its own context.
 */
#ifndef DCONTEXT_SESSION_H
#define DCONTEXT_SESSION_H

#include <dcontext/dcontext.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dctx_mechanism {
    DCTX_MECHANISM_NULL = 0,
    DCTX_MECHANISM_PLAIN = 1,
    DCTX_MECHANISM_CURVE = 2
} dctx_mechanism_t;

typedef struct dctx_session_pair {
    const char *name;
    const char *value;
} dctx_session_pair_t;

typedef struct dctx_session {
    dctx_mechanism_t mechanism;
    /* Z85: of a CURVE client that a ZAP handler knows; on a link also of the node that was dialled;
     * else "" */
    const char *public_key;
    const char *user_id;                 /* what the ZAP handler called the peer; else "" */
    const dctx_session_pair_t *metadata; /* of its certificate (secure.h), as `count` pairs */
    size_t count;
} dctx_session_t;

/*
 * Make a registry one in which receiving sets these contexts, before it is frozen. Where this was
 * not called receiving costs nothing for them.
 *
 * Ownership: none. Errors: as dctx_registry_add(). Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_session_register(dctx_registry_t *registry);

/* Of the calling thread's context; borrowed, as from dctx_get(). NULL: not known. */
DCTX_EXPORT const char *dctx_upstream_address(void);
DCTX_EXPORT const dctx_session_t *dctx_security_session(void);

/* The value of one of the certificate's metadata; NULL: none. */
DCTX_EXPORT const char *dctx_session_metadata(const dctx_session_t *session, const char *name);

/*
 * The peer's certificate, as far as the session knows it: its public key, in Z85, and the value of
 * one of its metadata. So a handler that asks only for these needs no session in its hands.
 *
 * Ownership: borrowed, as from dctx_get(). Errors: NULL: not known, or none of that name.
 * Limits and units: none.
 */
DCTX_EXPORT const char *dctx_peer_certificate_key(void);
DCTX_EXPORT const char *dctx_peer_certificate_metadata(const char *name);

/* The first two of a snapshot; borrowed for its life. */
DCTX_EXPORT const char *dctx_snapshot_upstream_address(const dctx_snapshot_t *snapshot);
DCTX_EXPORT const dctx_session_t *dctx_snapshot_security_session(const dctx_snapshot_t *snapshot);

#ifdef __cplusplus
}
#endif
#endif
