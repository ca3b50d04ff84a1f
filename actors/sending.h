/* A send in the making: what telling and asking have in common. */
#ifndef DCTX_SENDING_H
#define DCTX_SENDING_H

#include "ask.h"
#include "send.h"
#include "system.h"

/* What is sent, to whom, by whom. */
typedef struct dctx_sending {
    dctx_system_t *system; /* the receiver's */
    dctx_runner_t *runner; /* the calling thread's, if it is of that system */
    dctx_ref_t to;
    const dctx_type_t *type;
    const void *value;
    bool take;  /* the value is moved, not copied */
    bool later; /* it goes after `delay` */
    int64_t delay;
    dctx_timer_t *timer; /* where its number goes, or NULL */
    dctx_message_t
        *content;        /* not NULL: what it holds is sent, and moves, in the place of a value */
    bool on;             /* with the sender and the asker that `content` has */
    dctx_share_t *share; /* not NULL: the value is in it; a reference goes with the message */
    dctx_snapshot_t *snapshot; /* the fork, if it is made; a reference to it goes along */
    bool held;                 /* a message has the reference to `share` */

    /* Of an ask: */
    dctx_system_t *home;     /* that has the ask: the asking actor's, else `system` */
    dctx_message_t *record;  /* ours until the ask is open; NULL: this is a tell */
    int64_t deadline;        /* by the home's clock */
    int64_t patience;        /* until then its sender may be kept waiting for room */
    dctx_error_t late;       /* how it ends then */
    dctx_channel_t *channel; /* of a stream: it opens with the ask; NULL: none */
    dctx_cancel_t *scope;    /* that it is made in, the context's; NULL: none */
    uint64_t ask;
} dctx_sending_t;

/* DCTX_ERR_INVALID when there is nobody to send to. */
dctx_error_t dctx_sending_begin_(dctx_sending_t *sending, dctx_ref_t to, const dctx_type_t *type,
                                 const void *value);

/* Sends it, and an ask with it. On an error, which is counted, all is still the caller's. */
dctx_error_t dctx_sending_deliver_(dctx_sending_t *sending);

/* Opens the ask, if it is one. `peer`: the node that is asked, or NULL. */
dctx_error_t dctx_sending_open_ask_(dctx_sending_t *sending, const dctx_peer_t *peer);

/* Counts a send that goes nowhere; returns the error. */
dctx_error_t dctx_sending_refuse_(const dctx_sending_t *sending, dctx_error_t error);

#endif
