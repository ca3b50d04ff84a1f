/*
 * dcontext/policy.h - what may leave and enter on a socket, and whom it talks to.
 *
 * Who is at the other end is one of three classes:
 *
 * | class | by itself, it is |
 * |---|---|
 * | DCTX_CLASS_HOST | a peer on this host: inproc, ipc, tcp on a loopback address |
 * | DCTX_CLASS_DOMAIN | a peer elsewhere that CURVE authenticated: a client whose key the ZAP
 *   handler knows (its domain set and enforced), or the server whose key the client was given |
 * | DCTX_CLASS_STRANGER | everybody else |
 *
 * A received message's class is that of the connection it came over. A message that is sent has
 * that of the least trusted endpoint that its socket was seen with, since nobody knows which it
 * will take. libzmq tells the last one only: it is looked at when context is sent or a port made.
 * Give a socket that has several its endpoints with dctx_socket_bind() and dctx_socket_connect(),
 * so that none is missed. One behind a proxy, whose peers are not those it sees, needs a policy
 * that says so: `proxied`.
 *
 * A key goes as far as its reach: `any` to all three, `domain` to host and domain, `host` to the
 * host. It enters by the same rule. By default entries passing through and the chain are exchanged
 * with host and domain, not with strangers.
 *
 * Thread-safety of everything here: a policy is immutable once made, and may be shared by any
 *   threads; what it counts is atomic. A port is used by its socket's thread.
 */
#ifndef DCONTEXT_POLICY_H
#define DCONTEXT_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <czmq.h>

#include <dcontext/dcontext.h>
#include <dcontext/secure.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dctx_class {
    DCTX_CLASS_AUTO = 0, /* the connection's, as above */
    DCTX_CLASS_HOST = 1,
    DCTX_CLASS_DOMAIN = 2,
    DCTX_CLASS_STRANGER = 3
} dctx_class_t;
#define DCTX_CLASSES 4

/* Whether messages that come in must have a stamp. What breaks the rule is a context error. */
typedef enum dctx_stamp_rule {
    DCTX_STAMP_OPTIONAL = 0,
    DCTX_STAMP_REQUIRED = 1,
    DCTX_STAMP_FORBIDDEN = 2
} dctx_stamp_rule_t;

/* What is done with something that a peer claims. */
typedef enum dctx_claim {
    DCTX_CLAIM_DEFAULT = 0, /* believed of host and domain; the chain of a stranger is dropped */
    DCTX_CLAIM_BELIEVE = 1,
    DCTX_CLAIM_RESTART = 2, /* replaced by one of our own */
    DCTX_CLAIM_DROP = 3
} dctx_claim_rule_t;

/*
 * Names, the last followed by NULL. "shop." stands for that name, "shop.*" for all that begin with
 * "shop."; ASCII case is ignored. An `allow` that is NULL allows all, an empty one none; `deny`
 * goes first. Reach counts besides: a list cannot send a key further.
 */
typedef struct dctx_flow {
    const char *const *allow;
    const char *const *deny;
    const char *const *pass_allow; /* the same for entries passing through */
    const char *const *pass_deny;
    size_t
        stamp_bytes; /* larger is a context error, or of a send an error; 0: the registry's limit */
    size_t chain_names; /* longer likewise; 0: the registry's limit */
} dctx_flow_t;

typedef struct dctx_rules {
    dctx_flow_t leave;
    dctx_flow_t enter;
    dctx_stamp_rule_t stamp;    /* of messages that enter */
    dctx_claim_rule_t chain;    /* restarted: as the one name `chain_name` */
    dctx_claim_rule_t trace;    /* restarted: as a new trace */
    dctx_claim_rule_t deadline; /* restarted: as `timeout` from now */
    const char *chain_name;     /* "peer" when NULL */
    int64_t timeout;            /* nanoseconds; one minute when 0 */
} dctx_rules_t;

/* A message that was rejected. Borrowed during the callback, but `*message_p`, which the callback
 * may take over by setting it to NULL; its stamp is taken off. */
typedef struct dctx_dead_stamp {
    zmsg_t **message_p;
    dctx_error_t why;
    const char *detail;
    dctx_class_t peer;
    const char *address; /* of the peer, "" if it is not known */
} dctx_dead_stamp_t;
typedef void (*dctx_dead_stamp_fn)(const dctx_dead_stamp_t *letter, void *arg);

typedef struct dctx_policy_options {
    dctx_class_t peer;                /* AUTO, or what every peer of the socket is taken for */
    dctx_rules_t rules[DCTX_CLASSES]; /* by class; [DCTX_CLASS_AUTO] is not used */
    dctx_on_error_t on_error;         /* rejected: it goes to the dead-letter callback */
    dctx_dead_stamp_fn dead_stamp;    /* may be NULL: a rejected message is destroyed */
    void *arg;
    bool log; /* what is stripped, by key and reason; values never */
    /* Of a server under CURVE: gives the session its certificate's metadata, and rejects what comes
     * from a key that was taken out of the directory. Must outlive the policy. May be NULL. */
    dctx_curve_t *curve;
    /* What comes was passed on by a proxy or broker: upstream address and security session, which
     * would be the proxy's, are absent; and the peers are strangers, unless `peer` says what they
     * are. */
    bool proxied;
} dctx_policy_options_t;

typedef struct dctx_policy dctx_policy_t;

/*
 * Make a policy. Zeroed options give the one that is in force where there is none.
 *
 * Ownership: everything in *options is copied but `arg`. The caller owns a reference; ports hold
 *   their own.
 * Errors: DCTX_ERR_INVALID (an enum out of range, an empty name, "*" in the midst of one),
 *   DCTX_ERR_NOMEM.
 * Limits and units: bytes, names; nanoseconds.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_policy_new(const dctx_policy_options_t *options,
                                                         dctx_policy_t **ret_policy);
DCTX_EXPORT dctx_policy_t *dctx_policy_ref(dctx_policy_t *policy);
DCTX_EXPORT void dctx_policy_unref(dctx_policy_t **policy_p);

/* Why an entry did not pass. */
typedef enum dctx_strip {
    DCTX_STRIP_REACH = 0,   /* its key does not go so far */
    DCTX_STRIP_LISTED = 1,  /* denied, or not allowed, by a list */
    DCTX_STRIP_UNKNOWN = 2, /* passing through, and not let through */
    DCTX_STRIP_CLAIM = 3    /* a trace or deadline that is not believed */
} dctx_strip_t;

/* What a policy counted. NULL stands for the default policy, here and below. */
typedef struct dctx_policy_counters {
    uint64_t missing;   /* a stamp was required */
    uint64_t forbidden; /* a stamp was there */
    uint64_t oversized; /* over stamp_bytes or chain_names of the policy */
    uint64_t refused;   /* not decoded */
    uint64_t revoked;   /* the peer's key is not in the directory any more; always rejected */
    uint64_t rejected;  /* of all these, messages that went to the dead-letter callback */
    uint64_t stripped_leaving; /* entries */
    uint64_t stripped_entering;
} dctx_policy_counters_t;
DCTX_EXPORT void dctx_policy_counters_read(const dctx_policy_t *policy,
                                           dctx_policy_counters_t *ret_counters);

/*
 * How often entries were stripped, by key, reason and way: calls back for each that there was. Past
 * 1024 of them the name is "".
 *
 * Ownership: `key` is borrowed during the call. Errors: none. Limits and units: entries.
 */
typedef void (*dctx_stripped_fn)(const char *key, dctx_strip_t reason, bool leaving, uint64_t count,
                                 void *arg);
DCTX_EXPORT void dctx_policy_stripped(const dctx_policy_t *policy, dctx_stripped_fn call,
                                      void *arg);

/*
 * A port: a socket with a policy. It stands for the socket in every function of stamp.h.
 *
 * Ownership: the socket stays the caller's, and must outlive the port. The port holds a reference
 *   on the policy (NULL: the default one).
 * Errors: DCTX_ERR_INVALID (not a socket, or a STREAM socket), DCTX_ERR_NOMEM.
 * Limits and units: none.
 */
typedef struct dctx_port dctx_port_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_port_new(void *socket, dctx_policy_t *policy,
                                                       dctx_port_t **ret_port);
DCTX_EXPORT void dctx_port_destroy(dctx_port_t **port_p);

/*
 * Say that from now on the port's socket gets endpoints by dctx_socket_bind() and
 * dctx_socket_connect() with the port, and no other way. Then what its peers are is found now and
 * with each of these, and libzmq is not asked for every message: the quick way, for who counts
 * nanoseconds. What may leave is the same as without, and so is what may enter; of a socket that
 * had no endpoint when the port was made nothing is asked then, of others where a message came
 * from.
 *
 * Ownership: the port stays the caller's, and settled.
 * Errors: DCTX_ERR_INVALID (not a port, or its socket is neither bound nor connected).
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_port_settle(dctx_port_t *port);

/*
 * Bind or connect a socket, or a port's, and note what kind of endpoint that is. What zsock_bind()
 * and zsock_connect() do, or for a libzmq handle zmq_bind() and zmq_connect(); mixing them is fine
 * as long as each endpoint but the last was given by these.
 *
 * Ownership: the socket stays the caller's.
 * Errors: DCTX_ERR_INVALID (not a socket, or a STREAM socket; an endpoint that is none),
 *   DCTX_ERR_IO (in use, no permission: libzmq's words in the detail).
 * Thread-safety: the socket's thread. Limits and units: any number of endpoints; an endpoint that
 *   was given up still counts.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_socket_bind(void *socket, const char *endpoint);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_socket_connect(void *socket, const char *endpoint);

/* What a message sent now would have its peers taken for. DCTX_CLASS_AUTO: not a socket. */
DCTX_EXPORT dctx_class_t dctx_socket_class(void *socket);

#ifdef __cplusplus
}
#endif
#endif
