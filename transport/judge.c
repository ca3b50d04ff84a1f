#include "judge.h"

#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "claim.h"
#include "counters.h"
#include "prepared.h"
#include "secure.h"
#include "session.h"

typedef struct judging {
    const dctx_arrival_t *arrival;
    dctx_policy_t *policy;
    dctx_origin_t origin;
} judging_t;

static dctx_error_t refuse(const judging_t *judging, dctx_policy_counter_t counter,
                           dctx_error_t error)
{
    dctx_policy_count_(judging->policy, counter, 1);
    return error;
}

/* A key that ZAP let in may have been taken out of the directory since. */
static dctx_error_t vouch(const judging_t *judging, zcert_t **ret_cert)
{
    const dctx_origin_t *origin = &judging->origin;
    if (judging->policy->curve == NULL || !origin->vouched || origin->user_id[0] == '\0')
        return DCTX_OK;
    const dctx_arrival_t *arrival = judging->arrival;
    if (arrival->view->routes != NULL)
        dctx_routes_note_(arrival->view->routes, arrival->id.data, arrival->id.size,
                          origin->user_id);
    dctx_error_t error = dctx_curve_vouch_(judging->policy->curve, origin->user_id, ret_cert);
    return error == DCTX_OK ? DCTX_OK : refuse(judging, DCTX_POLICY_REVOKED, error);
}

static void reject(const judging_t *judging, dctx_error_t error, dctx_verdict_t *verdict)
{
    dctx_policy_count_(judging->policy, DCTX_POLICY_REJECTED, 1);
    verdict->error = error;
    (void)snprintf(verdict->address, sizeof(verdict->address), "%s", judging->origin.address);
}

static inline void report(const dctx_arrival_t *arrival, dctx_error_t error)
{
    if (__builtin_expect(error == DCTX_OK, 1)) {
        dctx_transport_count_(arrival->stamped ? DCTX_TRANSPORT_RECEIVED_STAMPED
                                               : DCTX_TRANSPORT_RECEIVED_UNSTAMPED);
        return;
    }
    dctx_transport_count_(DCTX_TRANSPORT_STAMPS_REFUSED);
    dctx_log(DCTX_LOG_WARNING, "a message's context was refused, its stamp %zu bytes: %s",
             arrival->stamped ? arrival->size : 0, dctx_error_detail());
}

static inline dctx_claimed_t claimed_of(const dctx_arrival_t *arrival, dctx_class_t peer)
{
    dctx_claimed_t claimed = {.registry = arrival->registry,
                              .policy = arrival->view->policy,
                              .peer = peer,
                              .stamped = arrival->stamped};
    if (arrival->stamped) {
        claimed.data = (const uint8_t *)arrival->data + DCTX_MAGIC_SIZE;
        claimed.size = arrival->size - DCTX_MAGIC_SIZE;
    }
    return claimed;
}

/* A stamped message under the default policy, where nobody wants to know of whom it is: the context
 * is all there is to judge. */
static void judge_plainly(const dctx_arrival_t *arrival, dctx_snapshot_t **ret_snapshot,
                          dctx_verdict_t *ret_verdict)
{
    dctx_class_t peer = arrival->view->entering;
    if (peer == DCTX_CLASS_AUTO)
        peer = dctx_socket_entering_(arrival->view, arrival->property, arrival->last);
    ret_verdict->error = DCTX_OK;
    ret_verdict->peer = peer;
    dctx_claimed_t claimed = claimed_of(arrival, peer);
    report(arrival, dctx_claim_take_(&claimed, ret_snapshot));
}

void dctx_judge_(const dctx_arrival_t *arrival, dctx_snapshot_t **ret_snapshot,
                 dctx_verdict_t *ret_verdict)
{
    *ret_snapshot = NULL;
    bool wants_session = dctx_session_wanted_() && !arrival->view->policy->proxied;
    if (!arrival->stamped && !wants_session && arrival->view->policy->serial == 0) {
        /* The default policy has nothing to say of such a message. */
        ret_verdict->error = DCTX_OK;
        ret_verdict->peer = DCTX_CLASS_AUTO;
        dctx_transport_count_(DCTX_TRANSPORT_RECEIVED_UNSTAMPED);
        return;
    }
    if (!wants_session && arrival->view->policy->serial == 0) {
        judge_plainly(arrival, ret_snapshot, ret_verdict);
        return;
    }
    judging_t judging = {.arrival = arrival, .policy = arrival->view->policy};
    dctx_class_t given = arrival->view->entering;
    bool wants_origin = wants_session || judging.policy->curve != NULL;
    if (given == DCTX_CLASS_AUTO ? arrival->stamped || judging.policy->serial != 0 || wants_origin
                                 : wants_origin)
        dctx_socket_origin_(arrival->view, arrival->property, arrival->last, wants_origin,
                            &judging.origin);
    else
        judging.origin = (dctx_origin_t){.peer = given, .address = "", .user_id = ""};
    /* What is added is added to something; the default policy adds nothing. */
    if (wants_session || judging.policy->serial != 0)
        *ret_snapshot = dctx_snapshot_ref(arrival->empty);
    ret_verdict->error = DCTX_OK;
    ret_verdict->peer = judging.origin.peer;
    zcert_t *cert = NULL;
    dctx_error_t revoked = vouch(&judging, &cert);
    dctx_error_t error = revoked;
    dctx_claimed_t claimed = claimed_of(arrival, judging.origin.peer);
    if (error == DCTX_OK)
        error = dctx_claim_take_(&claimed, ret_snapshot);
    if (error == DCTX_OK)
        error = dctx_claim_renew_(&claimed, ret_snapshot);
    report(arrival, error);
    if (error != DCTX_OK &&
        (revoked != DCTX_OK || judging.policy->on_error == DCTX_ON_ERROR_REJECT))
        reject(&judging, error, ret_verdict);
    else if (wants_session)
        dctx_origin_note_(&judging.origin, cert, ret_snapshot);
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
    /* A REP takes the next request when this one is answered, and the caller has nothing to answer.
     */
    int type = 0;
    size_t size = sizeof(type);
    if (zmq_getsockopt(view->handle, ZMQ_TYPE, &type, &size) == 0 && type == ZMQ_REP)
        (void)zmq_send(view->handle, "", 0, ZMQ_DONTWAIT);
    return dctx_fail_(DCTX_ERR_REJECTED, "the message was rejected: %s", detail);
}
