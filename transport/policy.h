/* A policy from the inside. All but the counters and tallies is set when it is made. */
#ifndef DCTX_POLICY_INTERNAL_H
#define DCTX_POLICY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <dcontext/internal.h>
#include <dcontext/policy.h>

#include "tally.h"

typedef struct dctx_names dctx_names_t;

typedef struct dctx_sieve_rules {
    dctx_names_t *allow;
    dctx_names_t *deny;
    dctx_names_t *pass_allow;
    dctx_names_t *pass_deny;
    size_t stamp_bytes; /* SIZE_MAX: no limit of its own */
    size_t chain_names;
} dctx_sieve_rules_t;

typedef struct dctx_class_rules {
    dctx_sieve_rules_t leave;
    dctx_sieve_rules_t enter;
    dctx_stamp_rule_t stamp;
    dctx_claim_rule_t chain; /* none is DEFAULT any more */
    dctx_claim_rule_t trace;
    dctx_claim_rule_t deadline;
    char *chain_name;
    int64_t timeout;
} dctx_class_rules_t;

typedef enum dctx_policy_counter {
    DCTX_POLICY_MISSING,
    DCTX_POLICY_FORBIDDEN,
    DCTX_POLICY_OVERSIZED,
    DCTX_POLICY_REFUSED,
    DCTX_POLICY_REVOKED,
    DCTX_POLICY_REJECTED,
    DCTX_POLICY_STRIPPED_LEAVING,
    DCTX_POLICY_STRIPPED_ENTERING,
    DCTX_POLICY_COUNTERS
} dctx_policy_counter_t;

struct dctx_policy {
    atomic_size_t refs;
    uint64_t serial; /* never used again, unlike the address: what caches go by */
    dctx_class_t peer;
    dctx_class_rules_t rules[DCTX_CLASSES];
    dctx_on_error_t on_error;
    dctx_dead_stamp_fn dead_stamp;
    void *arg;
    bool log;
    dctx_curve_t *curve;
    bool proxied;
    /* Any thread adds, any thread reads; each stands for itself, so relaxed. */
    atomic_ullong counters[DCTX_POLICY_COUNTERS];
    dctx_tallies_t tallies;
};

/* The policy itself, or the default one for NULL. */
dctx_policy_t *dctx_policy_or_default_(const dctx_policy_t *policy);

static inline void dctx_policy_count_(dctx_policy_t *policy, dctx_policy_counter_t counter,
                                      uint64_t count)
{
    atomic_fetch_add_explicit(&policy->counters[counter], count, memory_order_relaxed);
}

/* Whether a key's value may go to, and come from, a class of peers. */
bool dctx_reaches_(dctx_reach_t reach, dctx_class_t peer);

/* True if nothing but their reach keeps entries from leaving to a class, nor anything the chain. */
bool dctx_policy_leaves_whole_(const dctx_policy_t *policy, dctx_class_t peer);

/* How many of the stripped entries of one message are remembered, to be counted again when the same
 * context passes again. */
#define DCTX_STRIPPED_MAX 16

typedef struct dctx_stripped {
    size_t count; /* all */
    dctx_tally_t *tallies[DCTX_STRIPPED_MAX];
} dctx_stripped_t;

/* Counts them for one more message. */
void dctx_policy_count_stripped_(dctx_policy_t *policy, bool leaving,
                                 const dctx_stripped_t *stripped);

/* False if the policy asks for names, or for more than names. */
bool dctx_policy_passing_(const dctx_policy_t *policy, dctx_class_t peer, bool leaving,
                          dctx_passing_t *ret_passing);

/* True if all of the snapshot may pass, as far as that can be said without asking by name. */
bool dctx_policy_passes_whole_(const dctx_policy_t *policy, dctx_class_t peer, bool leaving,
                               const dctx_snapshot_t *snapshot);

/*
 * What of a snapshot may pass, itself with a reference if that is all of it; what may not is noted
 * in *ret_stripped, and not yet counted. DCTX_ERR_NOMEM.
 */
dctx_error_t dctx_policy_sieve_(dctx_policy_t *policy, dctx_class_t peer, bool leaving,
                                const dctx_snapshot_t *snapshot, dctx_stripped_t *ret_stripped,
                                dctx_snapshot_t **ret_snapshot);

#endif
