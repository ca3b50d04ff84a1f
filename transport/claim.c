#include "claim.h"

#include <dcontext/contexts.h>
#include <dcontext/internal.h>

#include "recall.h"

static dctx_error_t refuse(const dctx_claimed_t *claimed, dctx_policy_counter_t counter,
                           dctx_error_t error)
{
    dctx_policy_count_(claimed->policy, counter, 1);
    return error;
}

static const dctx_class_rules_t *rules_of(const dctx_claimed_t *claimed)
{
    return &claimed->policy->rules[claimed->peer];
}

static dctx_error_t restart_chain(const dctx_claimed_t *claimed, dctx_snapshot_t **snapshot_p)
{
    const dctx_class_rules_t *rules = rules_of(claimed);
    if (rules->chain != DCTX_CLAIM_RESTART)
        return DCTX_OK;
    dctx_scope_t scope;
    dctx_snapshot_t *renamed;
    dctx_error_t error = dctx_attach_scope(*snapshot_p, rules->chain_name, &scope);
    if (error == DCTX_OK)
        error = dctx_fork(&renamed);
    (void)dctx_scope_pop(&scope);
    if (error != DCTX_OK)
        return error;
    dctx_snapshot_unref(snapshot_p);
    *snapshot_p = renamed;
    return DCTX_OK;
}

dctx_error_t dctx_claim_renew_(const dctx_claimed_t *claimed, dctx_snapshot_t **snapshot_p)
{
    const dctx_class_rules_t *rules = rules_of(claimed);
    const dctx_registry_t *registry = claimed->registry;
    dctx_binding_t bindings[2];
    dctx_trace_t trace;
    dctx_deadline_t deadline;
    size_t count = 0;
    if (rules->trace == DCTX_CLAIM_RESTART) {
        dctx_trace_root(NULL, &trace);
        bindings[count++] =
            (dctx_binding_t){dctx_registry_find(registry, DCTX_NAME_TRACE), NULL, &trace};
    }
    if (rules->deadline == DCTX_CLAIM_RESTART) {
        dctx_deadline_after(NULL, rules->timeout, &deadline);
        bindings[count++] =
            (dctx_binding_t){dctx_registry_find(registry, DCTX_NAME_DEADLINE), NULL, &deadline};
    }
    if (count == 0)
        return DCTX_OK;
    dctx_snapshot_t *renewed;
    dctx_error_t error = dctx_snapshot_with_(*snapshot_p, bindings, count, &renewed);
    if (error != DCTX_OK)
        return error;
    dctx_snapshot_unref(snapshot_p);
    *snapshot_p = renewed;
    return DCTX_OK;
}

/* Where the message goes on without its context, only a log tells why. */
static dctx_error_t decode_in_flood(const dctx_claimed_t *claimed, const uint8_t *data, size_t size,
                                    dctx_snapshot_t **ret_snapshot)
{
    bool quiet = claimed->policy->on_error == DCTX_ON_ERROR_CONTINUE && !dctx_log_is_read_();
    quiet = dctx_fail_quietly_(quiet);
    dctx_error_t error = dctx_snapshot_decode(claimed->registry, data, size, ret_snapshot);
    (void)dctx_fail_quietly_(quiet);
    return error;
}

#define WARY_FOR 1000

static dctx_error_t decode_bytes(const dctx_claimed_t *claimed, const uint8_t *data, size_t size,
                                 dctx_snapshot_t **ret_snapshot)
{
    /* So many more stamps of this thread's are expected to be refused, as one was. */
    static _Thread_local unsigned wary __attribute__((tls_model("initial-exec")));
    if (__builtin_expect(wary > 0, 0)) {
        wary--;
        return decode_in_flood(claimed, data, size, ret_snapshot);
    }
    dctx_error_t error = dctx_snapshot_decode(claimed->registry, data, size, ret_snapshot);
    if (__builtin_expect(error != DCTX_OK, 0))
        wary = WARY_FOR;
    return error;
}

static dctx_error_t decode(const dctx_claimed_t *claimed, const uint8_t *data, size_t size,
                           dctx_stripped_t *ret_stripped, dctx_snapshot_t **ret_snapshot)
{
    const dctx_class_rules_t *rules = rules_of(claimed);
    dctx_snapshot_t *decoded;
    if (size > rules->enter.stamp_bytes) {
        (void)dctx_fail_(DCTX_ERR_LIMIT, "the stamp is %zu bytes; the policy's stamp_bytes is %zu",
                         size, rules->enter.stamp_bytes);
        return refuse(claimed, DCTX_POLICY_OVERSIZED, DCTX_ERR_LIMIT);
    }
    dctx_error_t error = decode_bytes(claimed, data, size, &decoded);
    if (error != DCTX_OK)
        return refuse(claimed, DCTX_POLICY_REFUSED, error);
    if (rules->enter.chain_names != SIZE_MAX &&
        dctx_snapshot_chain_length(decoded) > rules->enter.chain_names) {
        (void)dctx_fail_(DCTX_ERR_LIMIT, "the chain has %zu names; the policy's chain_names is %zu",
                         dctx_snapshot_chain_length(decoded), rules->enter.chain_names);
        dctx_snapshot_unref(&decoded);
        return refuse(claimed, DCTX_POLICY_OVERSIZED, DCTX_ERR_LIMIT);
    }
    if (dctx_policy_passes_whole_(claimed->policy, claimed->peer, false, decoded)) {
        *ret_snapshot = decoded;
        return restart_chain(claimed, ret_snapshot);
    }
    error = dctx_policy_sieve_(claimed->policy, claimed->peer, false, decoded, ret_stripped,
                               ret_snapshot);
    dctx_snapshot_unref(&decoded);
    return error == DCTX_OK ? restart_chain(claimed, ret_snapshot) : error;
}

static dctx_error_t accept_stamp(const dctx_claimed_t *claimed, dctx_snapshot_t **snapshot_p)
{
    const uint8_t *data = claimed->data;
    size_t size = claimed->size;
    dctx_class_t peer = claimed->peer;
    bool keep;
    const dctx_recalled_t *known =
        dctx_recall_(claimed->registry, claimed->policy, peer, data, size, &keep);
    if (known != NULL) {
        dctx_policy_count_stripped_(claimed->policy, false, &known->stripped);
        dctx_snapshot_unref(snapshot_p);
        *snapshot_p = dctx_snapshot_ref(known->snapshot);
        return DCTX_OK;
    }
    dctx_snapshot_t *made = NULL;
    dctx_stripped_t stripped;
    stripped.count = 0; /* and no more: the rest is large */
    dctx_error_t error = decode(claimed, data, size, &stripped, &made);
    if (error != DCTX_OK) {
        dctx_snapshot_unref(&made);
        return error;
    }
    dctx_policy_count_stripped_(claimed->policy, false, &stripped);
    dctx_snapshot_unref(snapshot_p);
    *snapshot_p = made;
    if (keep)
        dctx_recall_keep_(made, claimed->policy, peer, &stripped, data, size);
    return DCTX_OK;
}

dctx_error_t dctx_claim_take_(const dctx_claimed_t *claimed, dctx_snapshot_t **snapshot_p)
{
    dctx_stamp_rule_t rule = rules_of(claimed)->stamp;
    if (!claimed->stamped) {
        if (rule != DCTX_STAMP_REQUIRED)
            return restart_chain(claimed, snapshot_p);
        (void)dctx_fail_(DCTX_ERR_ABSENT, "the policy requires a stamp, and there is none");
        return refuse(claimed, DCTX_POLICY_MISSING, DCTX_ERR_ABSENT);
    }
    if (rule == DCTX_STAMP_FORBIDDEN) {
        (void)dctx_fail_(DCTX_ERR_REJECTED, "the policy forbids a stamp, and there is one");
        return refuse(claimed, DCTX_POLICY_FORBIDDEN, DCTX_ERR_REJECTED);
    }
    return accept_stamp(claimed, snapshot_p);
}
