#include "judge.h"

#include <stdio.h>
#include <string.h>

#include <dcontext/contexts.h>
#include <dcontext/internal.h>

#include "counters.h"
#include "prepared.h"
#include "recall.h"
#include "secure.h"
#include "session.h"

typedef struct judging {
    const dctx_arrival_t *arrival;
    dctx_policy_t *policy;
    const dctx_class_rules_t *rules;
    dctx_origin_t origin;
} judging_t;

static dctx_error_t refuse(const judging_t *judging, dctx_policy_counter_t counter,
                           dctx_error_t error)
{
    dctx_policy_count_(judging->policy, counter, 1);
    return error;
}

static dctx_error_t restart_chain(const judging_t *judging, dctx_snapshot_t **snapshot_p)
{
    if (judging->rules->chain != DCTX_CLAIM_RESTART)
        return DCTX_OK;
    dctx_scope_t scope;
    dctx_snapshot_t *renamed;
    dctx_error_t error = dctx_attach_scope(*snapshot_p, judging->rules->chain_name, &scope);
    if (error == DCTX_OK)
        error = dctx_fork(&renamed);
    (void)dctx_scope_pop(&scope);
    if (error != DCTX_OK)
        return error;
    dctx_snapshot_unref(snapshot_p);
    *snapshot_p = renamed;
    return DCTX_OK;
}

/* A new trace and a new deadline, each message's own. */
static dctx_error_t restart_request(const judging_t *judging, dctx_snapshot_t **snapshot_p)
{
    const dctx_registry_t *registry = judging->arrival->registry;
    dctx_binding_t bindings[2];
    dctx_trace_t trace;
    dctx_deadline_t deadline;
    size_t count = 0;
    if (judging->rules->trace == DCTX_CLAIM_RESTART) {
        dctx_trace_root(NULL, &trace);
        bindings[count++] =
            (dctx_binding_t){dctx_registry_find(registry, DCTX_NAME_TRACE), NULL, &trace};
    }
    if (judging->rules->deadline == DCTX_CLAIM_RESTART) {
        dctx_deadline_after(NULL, judging->rules->timeout, &deadline);
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

static dctx_error_t decode(const judging_t *judging, const uint8_t *data, size_t size,
                           dctx_stripped_t *ret_stripped, dctx_snapshot_t **ret_snapshot)
{
    const dctx_class_rules_t *rules = judging->rules;
    dctx_snapshot_t *decoded;
    if (size > rules->enter.stamp_bytes) {
        (void)dctx_fail_(DCTX_ERR_LIMIT, "the stamp is %zu bytes; the policy's stamp_bytes is %zu",
                         size, rules->enter.stamp_bytes);
        return refuse(judging, DCTX_POLICY_OVERSIZED, DCTX_ERR_LIMIT);
    }
    dctx_error_t error = dctx_snapshot_decode(judging->arrival->registry, data, size, &decoded);
    if (error != DCTX_OK)
        return refuse(judging, DCTX_POLICY_REFUSED, error);
    if (rules->enter.chain_names != SIZE_MAX &&
        dctx_snapshot_chain_length(decoded) > rules->enter.chain_names) {
        (void)dctx_fail_(DCTX_ERR_LIMIT, "the chain has %zu names; the policy's chain_names is %zu",
                         dctx_snapshot_chain_length(decoded), rules->enter.chain_names);
        dctx_snapshot_unref(&decoded);
        return refuse(judging, DCTX_POLICY_OVERSIZED, DCTX_ERR_LIMIT);
    }
    error = dctx_policy_sieve_(judging->policy, judging->origin.peer, false, decoded, ret_stripped,
                               ret_snapshot);
    dctx_snapshot_unref(&decoded);
    return error == DCTX_OK ? restart_chain(judging, ret_snapshot) : error;
}

static dctx_error_t accept_stamp(const judging_t *judging, dctx_snapshot_t **snapshot_p)
{
    const dctx_arrival_t *arrival = judging->arrival;
    const uint8_t *data = (const uint8_t *)arrival->data + DCTX_MAGIC_SIZE;
    size_t size = arrival->size - DCTX_MAGIC_SIZE;
    dctx_class_t peer = judging->origin.peer;
    const dctx_recalled_t *known =
        dctx_recall_(arrival->registry, judging->policy, peer, data, size);
    if (known != NULL) {
        dctx_policy_count_stripped_(judging->policy, false, &known->stripped);
        dctx_snapshot_unref(snapshot_p);
        *snapshot_p = dctx_snapshot_ref(known->snapshot);
        return DCTX_OK;
    }
    dctx_snapshot_t *made = NULL;
    dctx_stripped_t stripped;
    stripped.count = 0;
    dctx_error_t error = decode(judging, data, size, &stripped, &made);
    if (error != DCTX_OK) {
        dctx_snapshot_unref(&made);
        return error;
    }
    dctx_policy_count_stripped_(judging->policy, false, &stripped);
    dctx_snapshot_unref(snapshot_p);
    *snapshot_p = made;
    dctx_recall_keep_(made, judging->policy, peer, &stripped, data, size);
    return DCTX_OK;
}

/* By the rule on stamps, and then by the stamp itself. */
static dctx_error_t take(const judging_t *judging, dctx_snapshot_t **snapshot_p)
{
    dctx_stamp_rule_t rule = judging->rules->stamp;
    if (!judging->arrival->stamped) {
        if (rule != DCTX_STAMP_REQUIRED)
            return restart_chain(judging, snapshot_p);
        (void)dctx_fail_(DCTX_ERR_ABSENT, "the policy requires a stamp, and there is none");
        return refuse(judging, DCTX_POLICY_MISSING, DCTX_ERR_ABSENT);
    }
    if (rule == DCTX_STAMP_FORBIDDEN) {
        (void)dctx_fail_(DCTX_ERR_REJECTED, "the policy forbids a stamp, and there is one");
        return refuse(judging, DCTX_POLICY_FORBIDDEN, DCTX_ERR_REJECTED);
    }
    return accept_stamp(judging, snapshot_p);
}

static bool is_known(const dctx_origin_t *origin)
{
    return origin->mechanism != DCTX_MECHANISM_NULL && origin->address[0] != '\0';
}

#define METADATA_MAX 32

/* Out of memory here is no reason to refuse the message: what is not known is absent. */
static void add_session(const judging_t *judging, zcert_t *cert, dctx_snapshot_t **snapshot_p)
{
    const dctx_origin_t *origin = &judging->origin;
    bool has_key = origin->vouched && origin->mechanism == DCTX_MECHANISM_CURVE;
    dctx_session_pair_t pairs[METADATA_MAX];
    size_t count = 0;
    zlist_t *names = cert != NULL ? zcert_meta_keys(cert) : NULL;
    const char *name = names != NULL ? zlist_first(names) : NULL;
    for (; name != NULL && count < METADATA_MAX; name = zlist_next(names))
        pairs[count++] = (dctx_session_pair_t){name, zcert_meta(cert, name)};
    const dctx_session_t session = {.mechanism = origin->mechanism,
                                    .public_key = has_key ? origin->user_id : "",
                                    .user_id = origin->user_id,
                                    .metadata = pairs,
                                    .count = count};
    dctx_snapshot_t *more;
    if (dctx_session_set_(*snapshot_p, origin->address[0] != '\0' ? origin->address : NULL,
                          is_known(origin) ? &session : NULL, &more) == DCTX_OK) {
        dctx_snapshot_unref(snapshot_p);
        *snapshot_p = more;
    }
    zlist_destroy(&names);
}

/* A key that ZAP let in may have been taken out of the directory since. */
static dctx_error_t vouch(const judging_t *judging, zcert_t **ret_cert)
{
    const dctx_origin_t *origin = &judging->origin;
    if (judging->policy->curve == NULL || !origin->vouched || origin->user_id[0] == '\0')
        return DCTX_OK;
    dctx_error_t error = dctx_curve_vouch_(judging->policy->curve, origin->user_id, ret_cert);
    return error == DCTX_OK ? DCTX_OK : refuse(judging, DCTX_POLICY_REVOKED, error);
}

static void reject(const judging_t *judging, dctx_error_t error, dctx_verdict_t *verdict)
{
    dctx_policy_count_(judging->policy, DCTX_POLICY_REJECTED, 1);
    verdict->error = error;
    (void)snprintf(verdict->address, sizeof(verdict->address), "%s", judging->origin.address);
}

void dctx_judge_(const dctx_arrival_t *arrival, dctx_snapshot_t **snapshot_p,
                 dctx_verdict_t *ret_verdict)
{
    judging_t judging = {.arrival = arrival, .policy = arrival->view->policy};
    bool wants_session = dctx_session_wanted_();
    dctx_class_t given = judging.policy->peer;
    bool wants_origin = wants_session || judging.policy->curve != NULL;
    if (given == DCTX_CLASS_AUTO ? arrival->stamped || judging.policy->serial != 0 || wants_origin
                                 : wants_origin)
        dctx_socket_origin_(arrival->view, arrival->property, arrival->last, &judging.origin);
    else
        judging.origin = (dctx_origin_t){.peer = given, .address = "", .user_id = ""};
    judging.rules = &judging.policy->rules[judging.origin.peer];
    ret_verdict->error = DCTX_OK;
    ret_verdict->peer = judging.origin.peer;
    zcert_t *cert = NULL;
    dctx_error_t revoked = vouch(&judging, &cert);
    dctx_error_t error = revoked;
    if (error == DCTX_OK)
        error = take(&judging, snapshot_p);
    if (error == DCTX_OK)
        error = restart_request(&judging, snapshot_p);
    if (error == DCTX_OK) {
        dctx_transport_count_(arrival->stamped ? DCTX_TRANSPORT_RECEIVED_STAMPED
                                               : DCTX_TRANSPORT_RECEIVED_UNSTAMPED);
    } else {
        dctx_transport_count_(DCTX_TRANSPORT_STAMPS_REFUSED);
        dctx_log(DCTX_LOG_WARNING, "a message's context was refused, its stamp %zu bytes: %s",
                 arrival->stamped ? arrival->size : 0, dctx_error_detail());
    }
    if (error != DCTX_OK &&
        (revoked != DCTX_OK || judging.policy->on_error == DCTX_ON_ERROR_REJECT))
        reject(&judging, error, ret_verdict);
    else if (wants_session)
        add_session(&judging, cert, snapshot_p);
    zcert_destroy(&cert);
}

dctx_error_t dctx_judge_bury_(const dctx_view_t *view, const dctx_verdict_t *verdict,
                              zmsg_t **message_p)
{
    char detail[256];
    (void)snprintf(detail, sizeof(detail), "%s", dctx_error_detail());
    const dctx_dead_stamp_t letter = {message_p, verdict->error, detail, verdict->peer,
                                      verdict->address};
    if (view->policy->dead_stamp != NULL)
        view->policy->dead_stamp(&letter, view->policy->arg);
    zmsg_destroy(message_p);
    return dctx_fail_(DCTX_ERR_REJECTED, "the message was rejected: %s", detail);
}
