/* What is believed of the context that a message claims to have: the policy's rules on what enters.
 */
#ifndef DCTX_CLAIM_H
#define DCTX_CLAIM_H

#include "policy.h"

typedef struct dctx_claimed {
    dctx_registry_t *registry;
    dctx_policy_t *policy;
    dctx_class_t peer;
    bool stamped;
    const void *data; /* the stamp's wire form */
    size_t size;
} dctx_claimed_t;

/*
 * What may enter, in the place of *snapshot_p; of a message without a stamp that itself. (It may be
 * NULL under the default policy, which adds nothing to it.) By the rule on stamps first. Counts,
 * but what becomes of the message is up to the caller. On an error, which is why the context is
 * refused, *snapshot_p stays.
 */
dctx_error_t dctx_claim_take_(const dctx_claimed_t *claimed, dctx_snapshot_t **snapshot_p);

/* A new trace and a new deadline, each message's own, if the rules want them. DCTX_ERR_NOMEM. */
dctx_error_t dctx_claim_renew_(const dctx_claimed_t *claimed, dctx_snapshot_t **snapshot_p);

#endif
