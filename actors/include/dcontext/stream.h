/*
 * dcontext/stream.h - an ask with many items: one to many, and many to one, with back-pressure.
 *
 * A stream is an ask. Downwards (dctx_ask_stream()) the one who is asked sends items, and its
 * answer ends the stream. Upwards (dctx_ask_collect()) the asker sends items, and is answered at
 * the end. As the ask does, the stream ends exactly once, whatever happens: by the answer, an
 * error, its time, the deadline, cancelling, the end of either actor, the loss of the node.
 *
 * The receiver of the items grants the sender a window: so many items are under way or wait, and no
 * more. Items stay in order, none is lost or doubled, and each is handled on the receiver's own
 * turn, in the context of the ask. It is the same between systems and between processes.
 */
#ifndef DCONTEXT_STREAM_H
#define DCONTEXT_STREAM_H

#include <stdint.h>

#include <dcontext/actor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One end of a stream. A plain value, safe to use after the stream is over, until the system is
 * destroyed. */
typedef struct dctx_stream {
    void *system_;
    uint64_t id_;
} dctx_stream_t;

/* An item has come. Borrowed during the call. It must not block, as no callback of an actor. */
typedef void (*dctx_item_fn)(dctx_actor_t *self, dctx_stream_t stream, const dctx_message_t *item,
                             void *state, void *arg);
/* There is room again, after dctx_stream_send() said DCTX_ERR_AGAIN; also once, when a collector
 * has accepted. */
typedef void (*dctx_ready_fn)(dctx_actor_t *self, dctx_stream_t stream, void *state, void *arg);
/*
 * The stream has ended, after the last item. At the asker: once, with the answer, or with an error
 * and a message that has only a reason. At the one who is asked: with DCTX_OK when a collector has
 * all items, and is to answer; with an error when the asker has gone or does not wait any more.
 * `answer` is NULL there. Who ends a stream himself by answering is not told.
 */
typedef void (*dctx_end_fn)(dctx_actor_t *self, dctx_stream_t stream, dctx_error_t status,
                            const dctx_message_t *answer, void *state, void *arg);

typedef struct dctx_stream_options {
    uint32_t window;      /* items, of who receives them; 0: 64 */
    int64_t timeout_ms;   /* of the asker, for the whole stream; 0: none but the deadline */
    dctx_item_fn on_item; /* required of who receives */
    dctx_ready_fn on_ready;
    dctx_end_fn on_end;
    void *arg; /* the caller's: handed to all */
} dctx_stream_options_t;

/*
 * Ask for a stream of items: the other calls dctx_stream_open() in its handler. Where it answers
 * the ask as any other, that is a stream without items.
 *
 * Ownership: *value is copied; *ret_stream, when not NULL, is a value. `arg` must last until
 *   on_end.
 * Errors: as dctx_ask(); DCTX_ERR_INVALID without on_item, and for an actor of another node that
 *   another system than this actor's has found.
 * Thread-safety: the actor's callbacks.
 * Limits and units: milliseconds; items. The actor may be of any system of the process, or of
 *   another node.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_stream(dctx_actor_t *self, dctx_ref_t to,
                                                         const dctx_type_t *type, const void *value,
                                                         const dctx_stream_options_t *options,
                                                         dctx_stream_t *ret_stream);

/*
 * Ask to take a stream of items in: the other calls dctx_stream_accept() in its handler, on_ready
 * runs, and dctx_stream_send() sends; dctx_stream_end() says that this was all. The answer comes to
 * on_end.
 *
 * Ownership, Errors, Thread-safety, Limits and units: as dctx_ask_stream(); on_item is not needed.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_ask_collect(dctx_actor_t *self, dctx_ref_t to,
                                                          const dctx_type_t *type,
                                                          const void *value,
                                                          const dctx_stream_options_t *options,
                                                          dctx_stream_t *ret_stream);

/*
 * Answer an ask with a stream: now items can be sent, in this and in later callbacks.
 *
 * Ownership: the right to answer is the stream's. *ret_stream is a value.
 * Errors: DCTX_ERR_INVALID (nobody asked for a stream, or it is answered), DCTX_ERR_NOMEM.
 * Thread-safety: the callback the message came to.
 * Limits and units: a message that was forwarded to another node since is a plain ask there.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_stream_open(dctx_actor_t *self,
                                                          const dctx_message_t *message,
                                                          const dctx_stream_options_t *options,
                                                          dctx_stream_t *ret_stream);

/*
 * Take a stream of items in, which an ask has announced.
 *
 * Ownership, Errors, Thread-safety: as dctx_stream_open(); DCTX_ERR_INVALID without on_item.
 * Limits and units: items.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_stream_accept(dctx_actor_t *self,
                                                            const dctx_message_t *message,
                                                            const dctx_stream_options_t *options,
                                                            dctx_stream_t *ret_stream);

/*
 * Send an item.
 *
 * Ownership: *value is copied.
 * Errors: DCTX_ERR_AGAIN: the receiver's window is used up; on_ready runs when there is room.
 *   DCTX_ERR_NOT_OPEN: the stream is over. DCTX_ERR_INVALID (not the sending end, not this actor's,
 *   after dctx_stream_end()), DCTX_ERR_NOMEM; for a remote one DCTX_ERR_TYPE, DCTX_ERR_CODEC,
 *   DCTX_ERR_LIMIT.
 * Thread-safety: the actor's callbacks.
 * Limits and units: message_limit between nodes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_stream_send(dctx_stream_t stream,
                                                          const dctx_type_t *type,
                                                          const void *value);

/*
 * The one who is asked: answer, which ends the stream. The asker of dctx_ask_collect(): that was
 * the last item; type and value are NULL.
 *
 * Ownership: *value is copied.
 * Errors: DCTX_ERR_NOT_OPEN, DCTX_ERR_INVALID (the asker of dctx_ask_stream(): dctx_stream_fail()
 *   is for him), DCTX_ERR_AGAIN (the asker of dctx_ask_collect(), when nobody has accepted yet:
 *   on_ready tells), DCTX_ERR_NOMEM and as dctx_reply().
 * Thread-safety: the actor's callbacks. Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_stream_end(dctx_stream_t stream,
                                                         const dctx_type_t *type,
                                                         const void *value);

/*
 * End it with an error, from any end: DCTX_ERR_CANCELLED, for an asker who wants no more. No
 * further item is handled. The asker's on_end sees the error, with the reason unless an answer was
 * there already; the other's, if it has not answered, sees DCTX_ERR_CANCELLED.
 *
 * Ownership: the reason is copied. Errors: DCTX_ERR_NOT_OPEN, DCTX_ERR_INVALID (DCTX_OK is none).
 * Thread-safety: the actor's callbacks. Limits and units: a reason of at most 255 bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_stream_fail(dctx_stream_t stream, dctx_error_t error,
                                                          const char *reason);

#ifdef __cplusplus
}
#endif
#endif
