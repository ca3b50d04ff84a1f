/* What becomes of a message's stamp on receipt. */
#ifndef DCTX_JUDGE_H
#define DCTX_JUDGE_H

#include "socket.h"

/* A message that came. */
typedef struct dctx_arrival {
    const dctx_view_t *view;
    dctx_registry_t *registry;
    dctx_snapshot_t *empty; /* the registry's; borrowed */
    dctx_property_fn property;
    void *last;       /* its last frame */
    const void *data; /* the last frame's */
    size_t size;
    bool stamped;    /* the last frame is a stamp */
    dctx_bytes_t id; /* who it came from, where the view has routes */
} dctx_arrival_t;

typedef struct dctx_verdict {
    dctx_error_t error; /* why the message is rejected; DCTX_OK: it is not */
    dctx_class_t peer;
    char address[128]; /* of a rejected message's peer */
} dctx_verdict_t;

/*
 * The context that a message came with, with a reference; NULL if it is the empty one. Counts and
 * logs. If the policy rejects the message the verdict says why, and so does dctx_error_detail();
 * *ret_snapshot is to be dropped nonetheless.
 */
void dctx_judge_(const dctx_arrival_t *arrival, dctx_snapshot_t **ret_snapshot,
                 dctx_verdict_t *ret_verdict);

/* Gives a rejected message to the dead-letter callback, and destroys what it leaves. Returns
 * DCTX_ERR_REJECTED. */
dctx_error_t dctx_judge_bury_(const dctx_view_t *view, const dctx_verdict_t *verdict,
                              zmsg_t **message_p);

#endif
