/*
 * dcontext/system.h - a system of actors: workers, names, nodes, stopping, counters.
 *
 * A system runs many light actors on a few worker threads, and has one I/O actor, which alone
 * touches ZeroMQ sockets. Two systems may live in one process; each can be a node that others reach
 * by name.
 */
#ifndef DCONTEXT_SYSTEM_H
#define DCONTEXT_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/dcontext.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dctx_system dctx_system_t;
/* one thread and a virtual time for tests: dcontext/testing.h */
typedef struct dctx_test_world dctx_test_world_t;

/* An address of an actor. A plain value: copy it, keep it, compare it with dctx_ref_equal(). It
 * stays safe to use after its actor has gone (messages become dead letters), until its system is
 * destroyed. */
typedef struct dctx_ref {
    void *system_;
    uint64_t id_;
} dctx_ref_t;

#define DCTX_REF_NONE ((dctx_ref_t){0})

/* A clock: nanoseconds, monotonic, from any origin. Called from every thread of the system. */
typedef struct dctx_clock {
    int64_t (*now_ns)(void *arg);
    void *arg;
} dctx_clock_t;

/* Why an actor ended: see dcontext/supervise.h. */
typedef struct dctx_exit dctx_exit_t;

/* What became of a message that no handler handled. Borrowed during the call. */
typedef struct dctx_dead_letter {
    const char *target; /* actor name, or "actor@node" */
    const char *type;   /* type name of the message */
    dctx_error_t reason;
    const char *chain;               /* scope chain of the message, as dctx_chain_format() */
    const dctx_snapshot_t *snapshot; /* its context */
    bool ask;                        /* its asker gets the reason */
    const dctx_exit_t *exit;         /* how the target ended, when that is why; else NULL */
    const char *detail;              /* why, in the words of an interceptor or a router; or "" */
} dctx_dead_letter_t;

/* A callback that keeps a worker for long. Borrowed during the call. */
typedef struct dctx_blocked {
    /* "(system)": a callback of the system's options; "(asks)": one of an ask that no actor made */
    const char *actor;
    const char *type;  /* type name of the message; "" where there is none */
    const char *chain; /* scope chain, the actor's own scope last */
    int64_t ms;        /* for how long, as far as we know */
} dctx_blocked_t;

typedef enum dctx_node_event {
    DCTX_NODE_UP = 1,
    DCTX_NODE_DOWN = 2,   /* asks in flight to it fail with DCTX_ERR_UNREACHABLE */
    DCTX_NODE_REFUSED = 3 /* the handshake failed */
} dctx_node_event_t;

/* ---- interceptors ---------------------------------------------------------------------------- */

/* A message on its way, as interceptors see it. Borrowed during the call. */
typedef struct dctx_passage {
    dctx_system_t *system;
    const char *target; /* actor name, or "actor@node" */
    const char *type;   /* type name */
    bool ask;
    bool remote;                     /* leaves, or came from outside, this process */
    const dctx_snapshot_t *snapshot; /* the context it carries */
    unsigned delays;                 /* how often it was delayed on its way in; 255 and more: 255 */
} dctx_passage_t;

typedef enum dctx_verdict {
    DCTX_CONTINUE = 0,
    DCTX_DROP = 1, /* dead-letter it with DCTX_ERR_REJECTED; the sender is not told, an asker is */
    /* outbound: the send returns DCTX_ERR_REJECTED; inbound: as DCTX_DROP; dctx_passage_reject() */
    DCTX_REJECT = 2,
    /* it comes later: by dctx_passage_delay(); returned without that it is DCTX_REJECT */
    DCTX_DELAY = 3
} dctx_verdict_t;

/*
 * Reject, with a reason in words: the sender finds it in dctx_error_detail(), or, where it is found
 * on the way in, an asker in dctx_message_reason().
 *
 * Ownership: the reason is copied. Errors: none; the verdict is DCTX_REJECT.
 * Thread-safety: the interceptor's outbound and inbound. Limits and units: 255 bytes, cut.
 */
DCTX_EXPORT dctx_verdict_t dctx_passage_reject(const dctx_passage_t *passage, const char *reason);

/*
 * Drop, with a reason in words, which the dead letter has, and an asker finds in
 * dctx_message_reason(). Who tells is not told.
 *
 * Ownership: the reason is copied. Errors: none; the verdict is DCTX_DROP.
 * Thread-safety: the interceptor's outbound and inbound. Limits and units: 255 bytes, cut.
 */
DCTX_EXPORT dctx_verdict_t dctx_passage_drop(const dctx_passage_t *passage, const char *reason);

/*
 * Delay. Outbound: the message is on its way, and an ask pending, but it goes into the mailbox, or
 * to the other node, when the time has come; the other interceptors see it now, and the longest
 * delay counts. Inbound: those before this one are told by handled(), with DCTX_ERR_AGAIN, and it
 * comes again, to all of them, with `delays` one higher; it is for the interceptor to let it pass
 * then. Meanwhile it counts as neither handled nor dead, and no stop waits for it: it becomes a
 * dead letter. Messages that were delayed by the same time stay in order; those that are not
 * overtake them.
 *
 * Ownership: none. Errors: none; the verdict is DCTX_DELAY. Where there is no memory for it the
 *   send fails, or on the way in the message is a dead letter, with DCTX_ERR_NOMEM.
 * Thread-safety: the interceptor's outbound and inbound. Limits and units: nanoseconds by the
 *   system's clock; less than 0 is 0.
 */
DCTX_EXPORT dctx_verdict_t dctx_passage_delay(const dctx_passage_t *passage, int64_t delay_ns);

/*
 * A place of this interceptor's own, for this message and while it is handled: NULL in inbound, and
 * what was left there in around and in handled. NULL itself on the way out.
 *
 * Ownership: what is put there is the interceptor's to release, in handled, which always comes.
 * Errors: NULL. Thread-safety: the interceptor's callbacks. Limits and units: none.
 */
DCTX_EXPORT void **dctx_passage_slot(const dctx_passage_t *passage);

/* The handler, and the interceptors around it that come after this one. */
typedef struct dctx_next dctx_next_t;

/*
 * Run what is wrapped, once, and return what became of it.
 *
 * Ownership: none. Errors: what the handler returned, or another interceptor in its place;
 *   DCTX_ERR_INVALID the second time.
 * Thread-safety: in around, on its thread. Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_next_run(dctx_next_t *next);

/*
 * Outbound runs on the sender's thread and in its context, after capture and before the message is
 * queued. Inbound runs before the handler, with the message's context attached, in ascending order.
 * Around then wraps the handler, the lowest order outermost: it calls dctx_next_run(), and returns
 * the outcome, or another; where it does not call it, the message is a dead letter with the error
 * that it returns (DCTX_ERR_REJECTED for DCTX_OK). Handled runs last, in descending order and with
 * the outcome, for those whose inbound let the message pass. Each may be NULL. Context propagation
 * itself is the interceptor "context" of order 0; it cannot be removed.
 *
 * Those of an actor's options see what comes to the actor and what it sends, together with the
 * system's in the order of their numbers, the system's first among equals.
 *
 * They run on many threads at once, must not block, and may call any function.
 */
typedef struct dctx_interceptor {
    const char *name;
    int order; /* ascending inbound, descending outbound */
    dctx_verdict_t (*outbound)(const dctx_passage_t *passage, void *arg);
    dctx_verdict_t (*inbound)(const dctx_passage_t *passage, void *arg);
    void (*handled)(const dctx_passage_t *passage, dctx_error_t outcome, void *arg);
    void *arg;
    dctx_error_t (*around)(const dctx_passage_t *passage, dctx_next_t *next, void *arg);
} dctx_interceptor_t;

/* When the context of an outgoing message does not encode, or that of an incoming one is
 * refused: DCTX_ON_ERROR_CONTINUE is the default. */
typedef dctx_on_error_t dctx_error_policy_t;

/* For links under CURVE, and what may leave and enter: <dcontext/policy.h>,
 * <dcontext/secure.h>, <czmq.h>. */
typedef struct dctx_policy dctx_policy_t;
typedef struct dctx_curve dctx_curve_t;
typedef struct _zcert_t zcert_t;

/*
 * What becomes of a message whose deadline has passed when its turn comes: nobody waits for it any
 * more. A message without a deadline is never touched. The check reads the clock once for each
 * message that has a deadline; dctx_coarse_clock_start() spares that.
 */
typedef enum dctx_deadline_policy {
    DCTX_DEADLINE_OBSERVE = 0, /* it is handled, and counted as expired: the default */
    DCTX_DEADLINE_OFF = 1,     /* it is handled; nobody looks at deadlines */
    /* it is skipped, before any inbound interceptor: counted, dead-lettered with DCTX_ERR_DEADLINE,
     * and an asker gets that as the answer */
    DCTX_DEADLINE_ENFORCE = 2
} dctx_deadline_policy_t;

/* ---- the system ------------------------------------------------------------------------------ */

/* All fields may be zero. Strings and arrays are copied; what they point to otherwise is the
 * caller's. */
typedef struct dctx_system_options {
    /* node name, [A-Za-z0-9_.-]{1,63}; NULL: "node-" and a random number */
    const char *name;
    dctx_registry_t *registry; /* frozen; NULL: the process-wide one */
    unsigned workers;          /* worker threads; 0: one a core, at most 64 */
    unsigned quantum;          /* messages an actor handles before the next one's turn; 0: 64 */
    int64_t heartbeat_ms;      /* of links; 0: 1000 */
    int64_t dead_after_ms;     /* of links; 0: three heartbeats */
    uint32_t link_window;      /* 0: the link's default */
    size_t link_queue_limit;   /* 0: the link's default */
    size_t message_limit;      /* bytes of a message between nodes; 0: 1 MiB */
    dctx_error_policy_t context_policy;
    const dctx_interceptor_t *interceptors;
    size_t interceptor_count;
    const dctx_clock_t *clock; /* NULL: CLOCK_MONOTONIC */
    void (*on_dead_letter)(const dctx_dead_letter_t *letter, void *arg);
    void (*on_node)(const char *node, dctx_node_event_t event, const char *reason, void *arg);
    void *arg; /* for the two callbacks, which run on any thread of the system */
    dctx_deadline_policy_t deadline_policy;
    /* A callback that keeps a worker for longer than this many milliseconds is logged, counted and
     * told to on_blocked, once; 0: 1000; less: nobody looks. */
    int64_t handler_warn_ms;
    /* runs on the I/O actor's thread, while the callback goes on */
    void (*on_blocked)(const dctx_blocked_t *blocked, void *arg);
    dctx_test_world_t *world; /* NULL: threads and real time; else dcontext/testing.h */
    bool metrics;             /* all actors are measured: see metrics.h */
    /* Each message that comes with a trace is handled in a span of its own: of the same trace, a
     * child of the sender's span. Its id is drawn from `ids`, by all threads of the system at once;
     * NULL: from a source of each thread's own, in a test world from the world's. */
    bool hop_spans;
    const dctx_id_source_t *ids;
    /* Of the links to other nodes, as dctx_link_options_t has them: what may leave and enter; this
     * node's own certificate, to dial under CURVE; who may dial this node. The system takes a
     * reference, and a copy; the dctx_curve_t must outlive it. NULL: the default rules; no
     * CURVE. */
    dctx_policy_t *policy;
    zcert_t *certificate;
    dctx_curve_t *curve;
} dctx_system_options_t;

/*
 * Make a system and start its threads.
 *
 * Ownership: the caller owns it.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOT_FROZEN, DCTX_ERR_NOMEM, DCTX_ERR_IO (no threads or sockets
 *   left: checked before CZMQ would abort).
 * Thread-safety: any thread.
 * Limits and units: milliseconds and bytes as named.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_system_new(const dctx_system_options_t *options,
                                                         dctx_system_t **ret_system);

/*
 * Stop: accept no more messages from outside, let actors handle what is in their mailboxes until
 * the time is up, run their on_stop, dead-letter the rest, answer what is still asked with
 * DCTX_ERR_STOPPED, say goodbye to the other nodes. Bounded: whoever is still inside a handler when
 * the time is up is left behind and named.
 *
 * Ownership: *ret_report, when not NULL, is text to free with dctx_free(): one line for each actor
 *   that did not stop, "orders: in handler for 2034 ms: api-gateway > remote:orders"; "" if all
 *   did.
 * Errors: DCTX_ERR_TIMEOUT if somebody did not stop; DCTX_ERR_INVALID when called from a thread of
 *   the system itself.
 * Thread-safety: any thread but the system's own; once is enough, again is harmless.
 * Limits and units: milliseconds; 0 and less: do not wait.
 */
DCTX_EXPORT dctx_error_t dctx_system_stop(dctx_system_t *system, int64_t timeout_ms,
                                          char **ret_report);

/*
 * Stop (5 s at most) if that was not done, and free. Where a handler never came back the memory
 * that its thread may still touch is leaked, not freed: nothing crashes, and nothing hangs.
 * Ownership: *system_p is NULL afterwards; NULL is fine. From a thread of the system itself nothing
 *   is done, and it stays. Errors: none. Thread-safety: as dctx_system_stop(); nobody may use it
 *   any more.
 * Limits and units: none.
 */
DCTX_EXPORT void dctx_system_destroy(dctx_system_t **system_p);

/*
 * This node's name.
 * Ownership: borrowed for the life of the system. Errors: "" of NULL. Thread-safety: any thread.
 * Limits and units: 63 bytes.
 */
DCTX_EXPORT const char *dctx_system_name(const dctx_system_t *system);

/* ---- nodes ----------------------------------------------------------------------------------- */

/*
 * Listen for other nodes: "tcp://127.0.0.1:*", "inproc://orders", an ipc path. Returns when it is
 * done.
 *
 * Ownership: *ret_endpoint, when not NULL, is text to free with dctx_free(): what to dial.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_IO (the detail has ZeroMQ's words), DCTX_ERR_STOPPED,
 *   DCTX_ERR_NOMEM.
 * Thread-safety: any thread but the I/O actor's callbacks.
 * Limits and units: any number of endpoints.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_system_bind(dctx_system_t *system,
                                                          const char *endpoint,
                                                          char **ret_endpoint);

/*
 * Dial a node by the name it must say for itself; keep dialling while it is away. Dialling a name
 * again replaces the endpoint. Does not wait for the connection; nodes that dial us need no call at
 * all. The second under CURVE: the node must prove to have the key (Z85, 40 characters); a system
 * that has a certificate dials no other way, but on inproc.
 *
 * Ownership: strings are copied. Errors, Thread-safety: as dctx_system_bind().
 * Limits and units: any number of nodes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_system_connect(dctx_system_t *system,
                                                             const char *node,
                                                             const char *endpoint);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_system_connect_curve(dctx_system_t *system,
                                                                   const char *node,
                                                                   const char *endpoint,
                                                                   const char *server_key);

/*
 * Wait until the node is up.
 * Ownership: none. Errors: DCTX_ERR_TIMEOUT; DCTX_ERR_INVALID (from a worker, or no node's name);
 *   DCTX_ERR_NOMEM. Thread-safety: any thread but workers and the I/O actor.
 * Limits and units: milliseconds.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_system_wait_node(dctx_system_t *system,
                                                               const char *node,
                                                               int64_t timeout_ms);

/*
 * The address behind a name: "orders" in this system, "orders@warehouse" on the node of that name.
 * A remote one is resolved when a message is sent; nothing is asked of the node here.
 *
 * Ownership: *ret_ref is a value.
 * Errors: DCTX_ERR_NO_ACTOR (no local actor of that name), DCTX_ERR_INVALID (not a name),
 *   DCTX_ERR_NOMEM.
 * Thread-safety: any thread.
 * Limits and units: actor names 1..56 bytes (so that "remote:NAME" fits a scope name).
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_system_find(dctx_system_t *system, const char *name,
                                                          dctx_ref_t *ret_ref);

/* ---- counters -------------------------------------------------------------------------------- */

/* Monotonic but for the gauges. Once a system is stopped: accepted = handled + dead_lettered. */
typedef struct dctx_system_counters {
    /* messages taken in for an actor of this system: tells, asks, from inside and outside */
    uint64_t accepted;
    uint64_t handled;       /* handlers run to their end, whatever they returned */
    uint64_t dead_lettered; /* of the accepted, by stop, death, deadline, cancelling, or an
                               interceptor */
    uint64_t failed;        /* of the handled: the handler returned an error */
    uint64_t refused;       /* sends that returned an error: not accepted */
    uint64_t asks;          /* asks begun here */
    uint64_t replies;       /* of the asks: answered */
    uint64_t asks_failed;   /* of the asks: timed out, unreachable, rejected, stopped ... */
    uint64_t asks_timed_out;
    uint64_t late_replies; /* replies to an ask that was over: dropped */
    uint64_t remote_sent;  /* messages and replies handed to the link */
    uint64_t remote_received;
    /* accepted for another node, not delivered: each is a dead letter there too */
    uint64_t remote_lost;
    uint64_t context_errors; /* contexts left out under DCTX_ON_ERROR_CONTINUE */
    uint64_t scope_leaks;    /* scopes that callbacks had left open, and the system closed */
    uint64_t actors;         /* gauge: alive now */
    uint64_t asks_in_flight; /* gauge */
    uint64_t asks_expired;   /* of the asks_failed: with DCTX_ERR_DEADLINE */
    /* of the accepted: found past their deadline; handled, or dead letters if that is enforced */
    uint64_t expired;
    /* of the asks_failed: called off, by their scope or by the death of the asker */
    uint64_t asks_cancelled;
    /* skipped because nobody wanted them any more: of the accepted (dead letters), and of those for
     * other nodes that were not sent yet (lost) */
    uint64_t cancelled;
    uint64_t cancels_sent;     /* told other nodes that an ask to them is called off */
    uint64_t remote_in_flight; /* gauge: asks of other nodes, taken in and not answered */
    uint64_t cancels_received; /* was told so; late ones included, which find nothing */
    uint64_t timers_run;       /* runs of timers */
    uint64_t timers_missed;    /* periods of timers that had no run of their own */
    uint64_t blocked;          /* callbacks that kept a worker for longer than handler_warn_ms */
    uint64_t failures;         /* of actors: dctx_self_fail(), and what counts as such */
    uint64_t restarts;         /* of actors */
    uint64_t remote_monitors;  /* gauge: that other nodes have on actors here */
    uint64_t remote_monitors_refused; /* of other nodes: too many, or a number that is in use */
} dctx_system_counters_t;
/*
 * Read them; they are of one moment each, not all of the same. Of NULL all are 0.
 * Ownership: *ret_counters is a value. Errors: none. Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT void dctx_system_counters_read(const dctx_system_t *system,
                                           dctx_system_counters_t *ret_counters);

#ifdef __cplusplus
}
#endif
#endif
