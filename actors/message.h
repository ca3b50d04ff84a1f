/*
 * A message cell: what is told or asked, on its way and while it is handled; also the end of an ask
 * on its way to who asked. Small values are inside it.
 */
#ifndef DCTX_MESSAGE_H
#define DCTX_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/actor.h>
#include <dcontext/cancel.h>
#include <dcontext/future.h>

#include "mailbox.h"
#include "pool.h"
#include "runner.h"

enum { DCTX_MESSAGE_INLINE = 64 };

enum dctx_message_flag {
    DCTX_MESSAGE_ASK = 1,       /* somebody wants an answer */
    DCTX_MESSAGE_ANSWERED = 2,  /* the right to answer was used, or taken out */
    DCTX_MESSAGE_REMOTE = 4,    /* it came from another node: see `parcel` */
    DCTX_MESSAGE_BLOCK = 8,     /* `value` is a block of its own */
    DCTX_MESSAGE_REASON = 16,   /* `value` is a text: why the ask failed */
    DCTX_MESSAGE_OWN = 32,      /* the cell itself is a block of its own, not the pool's */
    DCTX_MESSAGE_HANDLED = 128, /* a handler has run */
    DCTX_MESSAGE_COUNTED = 256, /* in its actor's gauge */
    DCTX_MESSAGE_ELSEWHERE =
        64,                   /* the ask is in the table of the sender's system, which is another */
    DCTX_MESSAGE_MOVED = 512, /* the handler sent it on or kept it: there is nothing left in it */
    DCTX_MESSAGE_KEPT = 1024, /* moved into a cell that is counted in its place */
    DCTX_MESSAGE_FORWARDED = 2048, /* sent on by an actor here: it has not crossed a border since */
    DCTX_MESSAGE_RELAYED = 4096, /* though it came from another node, who asks is in this process */
    DCTX_MESSAGE_METERED = 8192, /* `sent_at` is set, and the value leaves room for it */
    DCTX_MESSAGE_SHARED = 16384, /* `value` is in a dctx_share_t, with a reference */
    DCTX_MESSAGE_DELAYED = 32768, /* by an interceptor, on its way in: accepted already */
    /* Of the end of an ask: nobody has handled it. No message that is moved is one. */
    DCTX_MESSAGE_UNTOUCHED = DCTX_MESSAGE_MOVED
};

/* A type's name; "" of none, and of one that its maker gave no name. */
static inline const char *dctx_type_label_(const dctx_type_t *type)
{
    return type != NULL && type->name != NULL ? type->name : "";
}

/* A value as it was decoded, for each descriptor that somebody looked through. */
typedef struct dctx_decoded {
    struct dctx_decoded *next;
    const dctx_type_t *type;
    max_align_t value[];
} dctx_decoded_t;

/* What came from another node, in one block. Only the thread that handles the message uses it. */
typedef struct dctx_parcel {
    dctx_bytes_t payload;
    const char *node;
    const char *type;
    dctx_decoded_t *decoded;
    const dctx_type_t *refused; /* a type that did not decode: said once */
    dctx_cancel_t *work;        /* of an ask: the scope of what is done for it, with a reference */
    char text[];
} dctx_parcel_t;

struct dctx_message {
    dctx_node_t node;
    const dctx_type_t *type;   /* of `value`; NULL: there is none, or it is a reason or a parcel */
    void *value;               /* as dctx_type_t says: in `inline_` or in a block; NULL: none */
    dctx_snapshot_t *snapshot; /* its context, with a reference; NULL: the system's empty one */
    union {
        struct {
            uint64_t ask; /* its number at the asker; 0 for a tell */
            dctx_ref_t sender;
        } request;
        struct {
            union {
                dctx_reply_fn on_reply;                           /* NODE_REPLY */
                dctx_ask_fn call;                                 /* NODE_CALL */
                dctx_result_fn on_result;                         /* NODE_RESULT */
                dctx_error_t (*on_start)(dctx_actor_t *, void *); /* NODE_START */
            } run;
            void *arg;
            dctx_error_t status; /* how it ended; while pending: how it ends when its time is up */
            uint32_t actor;      /* whose: the cell's number; node.generation has the rest */
        } done;
    } u;
    union {
        dctx_parcel_t *parcel;
        max_align_t alignment_;
        unsigned char inline_[DCTX_MESSAGE_INLINE];
        struct {
            unsigned char metered_[DCTX_MESSAGE_INLINE - sizeof(int64_t)];
            int64_t sent_at; /* with DCTX_MESSAGE_METERED, which is set before a value is stored */
        };
    };
};

_Static_assert(sizeof(struct dctx_message) == DCTX_POOL_CELL, "a message fills a cell of the pool");

static inline dctx_message_t *dctx_message_of(dctx_node_t *node)
{
    return (dctx_message_t *)(void *)((unsigned char *)node - offsetof(dctx_message_t, node));
}

/* Whether who asked is on another node, and so gets his answer there. */
static inline bool dctx_message_asker_is_remote_(const dctx_message_t *message)
{
    return (message->node.flags & (DCTX_MESSAGE_REMOTE | DCTX_MESSAGE_RELAYED)) ==
           DCTX_MESSAGE_REMOTE;
}

/* The runtime's own view of a message that users must not change. */
static inline dctx_message_t *dctx_message_own(const dctx_message_t *message)
{
    return (dctx_message_t *)(uintptr_t)message;
}

/* The address of the system that has the ask, for a message from this process;
 * `system` is that of its receiver. */
static inline void *dctx_message_home_(const dctx_message_t *message, dctx_system_t *system)
{
    return message->node.flags & DCTX_MESSAGE_ELSEWHERE ? message->u.request.sender.system_
                                                        : system;
}

/* A cell of a system's pool, all fields but `inline_` cleared; NULL without memory. `runner` is the
 * calling thread's dctx_runner_of() the system. */
dctx_message_t *dctx_message_new_(dctx_system_t *system, dctx_runner_t *runner,
                                  dctx_node_kind_t kind);

/* Destroys the value, which runs user code, and leaves the rest. */
void dctx_message_clear_(dctx_message_t *message);

/* Releases context, value and cell. */
void dctx_message_release_(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *message);

/* Copies a value in. On an error the message has none, and dctx_error_detail() says why. */
dctx_error_t dctx_message_store_(dctx_message_t *message, const dctx_type_t *type,
                                 const void *value);

/* Moves a value in, bitwise; the caller zeroes or forgets his.
 * DCTX_ERR_TYPE for strings and bytes. */
dctx_error_t dctx_message_move_(dctx_message_t *message, const dctx_type_t *type,
                                const void *value);

/* Sets a reason: at most 255 bytes, cut at a whole UTF-8 character; less without memory.
 * NULL is "". */
void dctx_message_set_reason_(dctx_message_t *message, const char *reason, size_t length);

/* Makes a parcel; NULL without memory. */
dctx_parcel_t *dctx_parcel_new_(const char *node, dctx_bytes_t type, dctx_bytes_t payload);

/* Frees what was decoded of a parcel, which runs user code. NULL is fine. */
void dctx_decoded_destroy_(dctx_decoded_t *decoded);

/* Frees a parcel, with what was decoded of it, which runs user code. NULL is fine. */
void dctx_parcel_destroy_(dctx_parcel_t *parcel);

/* Takes the parcel out of a message that came from another node,
 * and puts it into one without content. */
dctx_parcel_t *dctx_message_take_parcel_(dctx_message_t *message);
void dctx_message_put_parcel_(dctx_message_t *message, dctx_parcel_t *parcel);

/* True if there is room for `sent_at` beside the content. */
bool dctx_message_has_room_(const dctx_message_t *message);

/* Hands a message on: its content and flags of content move, `from` has none afterwards. */
void dctx_message_take_content_(dctx_message_t *message, dctx_message_t *from);

#endif
