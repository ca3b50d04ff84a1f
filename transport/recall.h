/*
 * What a thread received lately: a stamp's bytes, and the snapshot that was made of them. Peers
 * send the same context with many messages; each but the first is then one comparison and one
 * reference.
 *
 * Bounded: a few stamps a thread, of a bounded size, replaced by those that come. Only stamps that
 * were accepted are kept, so a flood of bad ones does not get in; and where stamp after stamp was
 * kept for nothing, only some are kept and looked for.
 */
#ifndef DCTX_RECALL_H
#define DCTX_RECALL_H

#include "policy.h"

#define DCTX_RECALL_BYTES 8192

typedef struct dctx_recalled {
    dctx_snapshot_t *snapshot; /* with a reference, which also keeps its registry; NULL: nothing */
    uint64_t policy;
    dctx_class_t peer;
    dctx_stripped_t stripped;
    size_t size;
    size_t capacity;
    uint8_t *bytes;
    bool found;       /* since it was kept */
    unsigned in_vain; /* how many in a row were kept and never found */
    unsigned passed;  /* over, since then */
} dctx_recalled_t;

/* NULL: not received lately, or not looked for; then *ret_keep says whether it is worth keeping.
 * Valid until the thread's next call of either. */
const dctx_recalled_t *dctx_recall_(const dctx_registry_t *registry, const dctx_policy_t *policy,
                                    dctx_class_t peer, const void *data, size_t size,
                                    bool *ret_keep);

/*
 * The registry's empty snapshot, for a message that is yet to be received: most do not need it, so
 * it is mostly just kept in place, without a reference, between hold and let_go. These are called
 * in pairs, on one thread.
 */
typedef struct dctx_at_hand {
    dctx_snapshot_t *snapshot;
    bool counted; /* with a reference; else the thread keeps it */
} dctx_at_hand_t;

/* DCTX_ERR_NOT_FROZEN, DCTX_ERR_NOMEM; then there is nothing to let go. */
dctx_error_t dctx_recall_hold_(dctx_registry_t *registry, dctx_at_hand_t *ret_hand);
void dctx_recall_let_go_(dctx_at_hand_t *hand);

/* Runs destructors of values that nobody else holds. */
void dctx_recall_keep_(dctx_snapshot_t *snapshot, const dctx_policy_t *policy, dctx_class_t peer,
                       const dctx_stripped_t *stripped, const void *data, size_t size);

#endif
