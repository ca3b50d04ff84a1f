#include "traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "clock.h"
#include "keys.h"
#include "seen.h"
#include "text.h"

void traffic_init(traffic_t *traffic, dctx_ref_t orders, int64_t timeout_ms, int wake_fd)
{
    *traffic = (traffic_t){.orders = orders, .timeout_ms = timeout_ms, .wake_fd = wake_fd};
    pthread_mutex_init(&traffic->lock, NULL);
    traffic->last = &traffic->first;
}

void traffic_finish(traffic_t *traffic)
{
    for (request_t *request; (request = traffic_take(traffic)) != NULL;)
        request_destroy(&request);
    pthread_mutex_destroy(&traffic->lock);
}

static void put_done(traffic_t *traffic, request_t *request)
{
    request->took_ns = clock_now_ns() - request->asked_ns;
    request->next = NULL;
    pthread_mutex_lock(&traffic->lock);
    bool was_empty = traffic->first == NULL;
    *traffic->last = request;
    traffic->last = &request->next;
    pthread_mutex_unlock(&traffic->lock);
    if (was_empty)
        eventfd_write(traffic->wake_fd, 1);
}

/* The other side's words, when it had any. */
static void explain(request_t *request, dctx_error_t status, const char *reason)
{
    request->status = status;
    if (reason[0] != '\0' && text_is_clean(reason, strlen(reason)))
        text_cut(request->reason, sizeof request->reason, reason);
    else
        snprintf(request->reason, sizeof request->reason, "orders: %s", dctx_strerror(status));
}

/* On a worker thread, in the context in which the request was asked. */
static void on_answer(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    request_t *request = arg;
    request->returned_right = seen_matches(&request->asked);
    if (status == DCTX_OK) {
        const answer_t *answer = dctx_message_get(reply, &answer_type);
        status = answer != NULL ? answer_copy(&request->answer, answer) : DCTX_ERR_TYPE;
        if (status == DCTX_OK && request->answer.hop_count == 0)
            status = DCTX_ERR_MALFORMED;
        explain(request, status, "");
    } else {
        explain(request, status, dctx_message_reason(reply));
    }
    put_done(request->traffic, request);
}

/* Everything the request's handlers will know about whom they work for is set here, once. */
static dctx_error_t ask(traffic_t *traffic, request_t *request)
{
    char id[REQUEST_ID_SIZE];
    request_id_format(request->number, id);

    DCTX_SCOPE("api-gateway");
    dctx_error_t error = request_id_set(id);
    if (error == DCTX_OK)
        error = tenant_set(request->intake.tenant);
    if (error == DCTX_OK)
        error = express_set(request->intake.express);
    if (error == DCTX_OK)
        error = budget_ms_set(traffic->timeout_ms);
    if (error == DCTX_OK)
        error = seen_here(&request->asked);
    if (error == DCTX_OK)
        error = dctx_ask_call(traffic->orders, &order_type, &request->intake.order,
                              traffic->timeout_ms, on_answer, request);
    return error;
}

bool traffic_ask(traffic_t *traffic, intake_t *intake, uint64_t line)
{
    request_t *request = calloc(1, sizeof *request);
    if (request == NULL)
        return false;
    request->traffic = traffic;
    request->number = ++traffic->asked;
    request->line = line;
    request->intake = *intake;
    *intake = (intake_t){0};
    if (++traffic->in_flight > traffic->most_in_flight)
        traffic->most_in_flight = traffic->in_flight;
    request->asked_ns = clock_now_ns();
    dctx_error_t error = ask(traffic, request);
    if (error != DCTX_OK) {
        explain(request, error, dctx_error_detail());
        put_done(traffic, request);
    }
    return true;
}

static fate_t fate_of(request_t *request)
{
    switch (request->status) {
    case DCTX_OK:
        break;
    case DCTX_ERR_TIMEOUT:
        return TIMED_OUT;
    case DCTX_ERR_UNREACHABLE:
        return UNREACHABLE;
    default:
        return FAILED;
    }
    request->answer.hops[0].round_trip_ns = request->took_ns;
    const char *fault = request_fault(request);
    if (fault == NULL)
        return ANSWERED;
    text_cut(request->reason, sizeof request->reason, fault);
    return MIXED_UP;
}

request_t *traffic_take(traffic_t *traffic)
{
    pthread_mutex_lock(&traffic->lock);
    request_t *request = traffic->first;
    if (request != NULL) {
        traffic->first = request->next;
        if (traffic->first == NULL)
            traffic->last = &traffic->first;
    }
    pthread_mutex_unlock(&traffic->lock);
    if (request == NULL)
        return NULL;
    traffic->in_flight--;
    request->fate = fate_of(request);
    return request;
}
