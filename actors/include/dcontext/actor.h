/*
 * dcontext/actor.h - spawn, tell, ask, reply.
 *
 * Every message carries the sender's context: a fork inside the process, a capture (broadcast
 * values and chain) between processes. Around every handler that context is attached under the
 * scope "actor:NAME", or "remote:NAME" when the message crossed a process boundary, and taken off
 * again afterwards.
 */
#ifndef DCONTEXT_ACTOR_H
#define DCONTEXT_ACTOR_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/system.h>

#ifdef __cplusplus
extern "C" {
#endif

/* an actor from the inside: valid in its own callbacks */
typedef struct dctx_actor dctx_actor_t;
/* a received message: valid during the callback it came to */
typedef struct dctx_message dctx_message_t;

/*
 * Handles one message at a time; never two at once for one actor. It must not block, unless the
 * actor is pinned. An error returned for an ask that was not answered is the answer; for a tell it
 * is counted and logged.
 */
typedef dctx_error_t (*dctx_handler_fn)(dctx_actor_t *self, const dctx_message_t *message,
                                        void *state);

enum {
    DCTX_PINNED = 1,  /* a thread of its own: may block, may own sockets */
    DCTX_COUNTED = 2, /* the messages that wait for it are counted; as with a mailbox_limit */
    DCTX_METERED = 4  /* and measured: see metrics.h */
};

/*
 * What becomes of a message for an actor whose mailbox is full. Only tells and asks count and are
 * subject to it; what the system itself has for an actor (starts, stops, replies to its own asks,
 * timers, notices) never is. From another node, REJECT and BLOCK are as DROP_NEWEST.
 */
typedef enum dctx_overflow {
    DCTX_OVERFLOW_REJECT = 0, /* the send returns DCTX_ERR_FULL */
    /* The sender waits for room: until overflow_wait_ms are over (DCTX_ERR_FULL) or its context's
     * deadline has come (DCTX_ERR_DEADLINE). Only threads from outside and pinned actors wait; a
     * worker's thread, which other actors need, and the actor itself get DCTX_ERR_FULL at once. */
    DCTX_OVERFLOW_BLOCK = 1,
    /* The message itself is a dead letter, with DCTX_ERR_FULL;
     * the sender is not told, an asker is. */
    DCTX_OVERFLOW_DROP_NEWEST = 2,
    /* The oldest waiting one is, once the actor is done with what it has in hand; when by then as
     * many again (and 1024 at least) have come, the newest. */
    DCTX_OVERFLOW_DROP_OLDEST = 3
} dctx_overflow_t;

/* How an actor supervises its children: see dcontext/supervise.h. */
typedef struct dctx_supervision dctx_supervision_t;

/* One that the actor is tied to has ended: see dctx_tie(). On the actor's own turn. */
typedef void (*dctx_tied_fn)(dctx_actor_t *self, dctx_ref_t who, const dctx_exit_t *exit,
                             void *state);

/* `handler` is required. */
typedef struct dctx_actor_options {
    const char *name; /* unique among the system's living actors, 1..56 bytes of [A-Za-z0-9_.:/-];
                          NULL: the system makes one, "anon-N" */
    dctx_handler_fn handler;
    void *state; /* handed to every callback */
    /* Runs before the first message, on the actor's own turn, in the spawner's context under
     * "actor:NAME". An error stops the actor: what was sent to it becomes dead letters with this
     * error. */
    dctx_error_t (*on_start)(dctx_actor_t *self, void *state);
    /* Runs after the last message, with an empty context but for the scope "actor:NAME". */
    void (*on_stop)(dctx_actor_t *self, void *state);
    void (*destroy_state)(void *state); /* after everything else; also when on_start refused */
    unsigned flags;
    size_t mailbox_limit; /* messages that may wait; 0: any number */
    dctx_overflow_t overflow;
    int64_t overflow_wait_ms;               /* of DCTX_OVERFLOW_BLOCK; 0: 1000 */
    size_t stash_limit;                     /* messages that dctx_stash() keeps; 0: 1024 */
    const dctx_interceptor_t *interceptors; /* copied; see dctx_interceptor_t */
    size_t interceptor_count;
    /* Who stops it before it ends itself, and decides when it fails: an actor of the same system.
     * Given by another than that actor itself, it starts once that one has taken it in, and is
     * stopped if it has gone by then. DCTX_REF_NONE: nobody; then it ends when it fails. */
    dctx_ref_t parent;
    const dctx_supervision_t *supervision; /* of its own children; copied; NULL: all defaults */
    /* Makes its state, on its own turn, before on_start, at each restart anew; then `state` above
     * is what it is made from (the caller's), and destroy_state is for each that was made. An error
     * is as one of on_start. NULL: `state` is the state, through all restarts. */
    dctx_error_t (*new_state)(void *seed, void **ret_state);
    dctx_tied_fn on_tied; /* NULL: it stops with the one it is tied to */
} dctx_actor_options_t;

/*
 * Spawn an actor. It lives until it stops itself, is stopped, or the system stops.
 *
 * Ownership: `state` is the actor's from here on (destroy_state is called once in its life); on an
 *   error it stays the caller's. Strings are copied.
 * Errors: DCTX_ERR_INVALID (no handler, bad name), DCTX_ERR_CONFLICT (the name is taken),
 *   DCTX_ERR_NO_ACTOR (the parent has gone), DCTX_ERR_STOPPED (or the parent stops),
 *   DCTX_ERR_NOMEM, DCTX_ERR_IO (no thread for a pinned one).
 * Thread-safety: any thread, handlers included.
 * Limits and units: name 56 bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_spawn(dctx_system_t *system,
                                                    const dctx_actor_options_t *options,
                                                    dctx_ref_t *ret_ref);

/*
 * From the inside: its address, its name, its system. Of NULL none, "" and NULL.
 * Ownership: borrowed for the life of the actor. Errors: none.
 * Thread-safety: the actor's callbacks.
 * Limits and units: none.
 */
DCTX_EXPORT dctx_ref_t dctx_self(const dctx_actor_t *self);
DCTX_EXPORT const char *dctx_self_name(const dctx_actor_t *self);
DCTX_EXPORT dctx_system_t *dctx_self_system(const dctx_actor_t *self);

/*
 * Stop after the current message: the rest of the mailbox becomes dead letters.
 * Ownership: none. Errors: none; NULL is fine. Thread-safety: the actor's callbacks.
 * Limits and units: none.
 */
DCTX_EXPORT void dctx_self_stop(dctx_actor_t *self);

/*
 * Stop another actor after the messages that this thread sent it before.
 * Ownership: none. Errors: DCTX_ERR_NO_ACTOR (it has gone); DCTX_ERR_INVALID (none, or a remote
 *   one).
 * Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_stop(dctx_ref_t ref);

/*
 * Stop another actor before its next message: it overtakes whatever is in the mailbox, which
 * becomes dead letters. The callback that it is in runs to its end. on_stop runs, unless on_start
 * has not.
 * Ownership: none. Errors, Thread-safety: as dctx_stop(). Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_stop_now(dctx_ref_t ref);

/*
 * Looking at an address. DCTX_REF_NONE is no actor's. Remote: of another node's actor.
 * Ownership: none. Errors: none. Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT bool dctx_ref_equal(dctx_ref_t a, dctx_ref_t b);
DCTX_EXPORT bool dctx_ref_is_none(dctx_ref_t ref);
DCTX_EXPORT bool dctx_ref_is_remote(dctx_ref_t ref);
/*
 * "orders" or "orders@warehouse", NUL-terminated, cut to fit; returns the whole length, as
 * snprintf.
 * Ownership: none. Errors: "" and 0 when the actor has gone. Thread-safety: any thread.
 * Limits and units: bytes; without the NUL at most 120.
 */
DCTX_EXPORT size_t dctx_ref_format(dctx_ref_t ref, char *buffer, size_t size);

/* ---- sending --------------------------------------------------------------------------------- */

/*
 * Tell: send and forget. The value is what dctx_type_t says for its type: `const char *` for
 * DCTX_TYPE_STRING, a pointer to the C type otherwise. NULL type and value: a message without
 * content. Messages from one sender to one receiver arrive in order.
 *
 * Ownership: *value is copied; dctx_tell_take() takes over what *value owns (user types) and zeroes
 *   it on success; on an error the caller still owns it.
 * Errors: DCTX_ERR_NO_ACTOR (it has gone), DCTX_ERR_STOPPED, DCTX_ERR_INVALID, DCTX_ERR_NOMEM,
 *   DCTX_ERR_REJECTED (an interceptor), DCTX_ERR_FULL and DCTX_ERR_DEADLINE (see dctx_overflow_t),
 *   DCTX_ERR_TYPE (a remote one, and the type has no encode);
 *   for a remote one DCTX_ERR_CODEC and DCTX_ERR_LIMIT; a node that is away or unknown is no error
 *   here but a dead letter later.
 * Thread-safety: any thread.
 * Limits and units: message_limit between nodes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_tell(dctx_ref_t to, const dctx_type_t *type,
                                                   const void *value);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_tell_take(dctx_ref_t to, const dctx_type_t *type,
                                                        void *value);

/*
 * Ask, from inside an actor: `on_reply` runs once, on this actor's own turn and in the context in
 * which the ask was made, with DCTX_OK and the reply, or with an error and a message that has only
 * a reason. Whatever happens (timeout, deadline, cancel, death of the other, loss of the node, stop
 * of the system) it runs, unless this actor itself is gone before.
 *
 * Ownership: as dctx_tell(); `arg` is the caller's.
 * Errors: as dctx_tell(), and DCTX_ERR_DEADLINE or DCTX_ERR_CANCELLED when the context's deadline
 *   has passed, or its cancel scope was cancelled, already: then nothing is sent and on_reply does
 *   not run. What on_reply sees: what the other's handler returned or replied with,
 *   DCTX_ERR_TIMEOUT, DCTX_ERR_DEADLINE, DCTX_ERR_UNREACHABLE, DCTX_ERR_NO_ACTOR,
 *   DCTX_ERR_NO_REPLY, DCTX_ERR_REJECTED, DCTX_ERR_STOPPED, DCTX_ERR_CANCELLED. An ask that ends
 *   without an answer is called off: what the other does for it is cancelled, and it is not handled
 *   if its turn has not come.
 * Thread-safety: the actor's callbacks.
 * Limits and units: timeout in milliseconds; 0 and less: 5000. One of a second or more may come up
 *   to 10 ms late, never early. Where the context's deadline comes first it ends the ask, with
 *   DCTX_ERR_DEADLINE.
 */
typedef void (*dctx_reply_fn)(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                              void *state, void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask(dctx_actor_t *self, dctx_ref_t to,
                                                  const dctx_type_t *type, const void *value,
                                                  int64_t timeout_ms, dctx_reply_fn on_reply,
                                                  void *arg);

/*
 * Ask, from anywhere: `call` runs once, on a worker thread, in the context in which the ask was
 * made, until dctx_system_stop() has returned at the latest. It must not block.
 * Ownership, Errors, Limits and units: as dctx_ask(). Thread-safety: any thread.
 */
typedef void (*dctx_ask_fn)(dctx_error_t status, const dctx_message_t *reply, void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_call(dctx_ref_t to, const dctx_type_t *type,
                                                       const void *value, int64_t timeout_ms,
                                                       dctx_ask_fn call, void *arg);

/*
 * Ask and wait, from outside the system or from a pinned actor.
 *
 * Ownership: the caller owns *ret_reply, also set (to a message that has only a reason) when the
 *   other answered with an error, else NULL; give it back with dctx_message_destroy().
 * Errors: as dctx_ask(), returned; DCTX_ERR_INVALID from a worker thread, which it would block.
 * Thread-safety: any thread but workers and the I/O actor.
 * Limits and units: milliseconds.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_wait(dctx_ref_t to, const dctx_type_t *type,
                                                       const void *value, int64_t timeout_ms,
                                                       dctx_message_t **ret_reply);
/*
 * Give back what dctx_ask_wait() gave, and only that.
 * Ownership: it is freed, and *message_p NULL; NULL is fine. Errors: none.
 * Thread-safety: one at a time. Limits and units: none.
 */
DCTX_EXPORT void dctx_message_destroy(dctx_message_t **message_p);

/* ---- messages -------------------------------------------------------------------------------- */

/*
 * The content of a message as a type: NULL when it is of another type, or does not decode (then
 * logged). Inside a process types are the same when the descriptors are; between processes when
 * their names are.
 *
 * Ownership: borrowed for the life of the message; may be changed by nobody.
 * Errors: NULL. Thread-safety: the callback it came to. Limits and units: none.
 */
DCTX_EXPORT const void *dctx_message_get(const dctx_message_t *message, const dctx_type_t *type);
#define dctx_message_get(message, type)                                                            \
    dctx_message_get_inline_(message,                                                              \
                             type) /* the same without a call; (dctx_message_get)() calls */
/*
 * Looking at a message: its type's name, "" for none; whether it is an ask; whether it came from
 * another node; why an ask failed, in words, as the other side gave them, "" when it gave none; and
 * the actor that sent it, when one did and the message is from this process, else DCTX_REF_NONE.
 * Ownership: borrowed for the life of the message. Errors: none; of NULL "", false or none.
 * Thread-safety: as dctx_message_get(). Limits and units: none.
 */
DCTX_EXPORT const char *dctx_message_type(const dctx_message_t *message);
DCTX_EXPORT bool dctx_message_is_ask(const dctx_message_t *message);
DCTX_EXPORT bool dctx_message_is_remote(const dctx_message_t *message);
DCTX_EXPORT const char *dctx_message_reason(const dctx_message_t *message);
DCTX_EXPORT dctx_ref_t dctx_message_sender(const dctx_message_t *message);

/*
 * The context that a message came with, whatever the handler has set meanwhile and without this
 * actor's scope: to give it to a sub-task (dctx_work_t), to compare, to keep. What the handler sees
 * now is dctx_fork(). Of a reply, and of an item of a stream, it is that of the ask; where there is
 * none, the empty one.
 *
 * Ownership: the caller owns a reference: dctx_snapshot_unref().
 * Errors: DCTX_ERR_INVALID; of what is read on a thread of no system, also those of
 *   dctx_snapshot_empty(). Thread-safety: as dctx_message_get(). Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_message_context(const dctx_message_t *message,
                                                              dctx_snapshot_t **ret_snapshot);

/*
 * Answer an ask: once; a reply to what is no ask, or a second one, is DCTX_ERR_INVALID. Replies
 * carry no context back. With dctx_reply_error() the asker sees `error` (not DCTX_OK) and the
 * reason; on another node DCTX_ERR_REJECTED and the reason, unless `error` is one that the runtime
 * itself ends asks with (docs/wire.md has them).
 *
 * Ownership, Errors: as dctx_tell(); an asker that has gone is no error.
 * Thread-safety: the callback the message came to.
 * Limits and units: a reason of at most 255 bytes; longer ones are cut.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_reply(const dctx_message_t *message,
                                                    const dctx_type_t *type, const void *value);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_reply_error(const dctx_message_t *message,
                                                          dctx_error_t error, const char *reason);

/*
 * Answer later: takes the right to answer out of the message, to be used once, from any thread.
 *
 * Ownership: the caller owns it; the send functions consume it (NULL afterwards) on success;
 *   destroying it unused answers DCTX_ERR_NO_REPLY.
 * Errors: DCTX_ERR_INVALID (no ask, or answered already), DCTX_ERR_NOMEM.
 * Thread-safety: defer in the callback; the rest on one thread at a time. May outlive the actor,
 *   not the system.
 * Limits and units: as dctx_reply().
 */
typedef struct dctx_reply_to dctx_reply_to_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_reply_defer(const dctx_message_t *message,
                                                          dctx_reply_to_t **ret_reply_to);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_reply_to_send(dctx_reply_to_t **reply_to_p,
                                                            const dctx_type_t *type,
                                                            const void *value);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_reply_to_error(dctx_reply_to_t **reply_to_p,
                                                             dctx_error_t error,
                                                             const char *reason);
DCTX_EXPORT void dctx_reply_to_destroy(dctx_reply_to_t **reply_to_p);

/* ---- private --------------------------------------------------------------------------------- */

/* What is in most messages is there as it is. This is the beginning of the library's struct, and
 * part of its ABI; message.c asserts that it is true. */
typedef struct __attribute__((may_alias)) dctx_message_head {
    uint64_t node_[2];
    const dctx_type_t *type; /* of what `value` points to; NULL: it is not so simple */
    const void *value;
} dctx_message_head_t;

static inline const void *dctx_message_get_inline_(const dctx_message_t *message,
                                                   const dctx_type_t *type)
{
    const dctx_message_head_t *head = (const dctx_message_head_t *)(const void *)message;
    return message != NULL && type != NULL && head->type == type
               ? head->value
               : (dctx_message_get)(message, type);
}

#ifdef __cplusplus
}
#endif
#endif
