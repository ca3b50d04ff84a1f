/* Futures that come of others. */
#include <dcontext/internal.h>

#include "future.h"

enum { NS_PER_MS = 1000000 };

/* ---- one of one ------------------------------------------------------------------------------ */

static dctx_error_t attach(dctx_edge_kind_t kind, dctx_future_t *future, dctx_executor_t *executor,
                           dctx_then_fn call, void *arg, dctx_future_t **ret_future)
{
    if (future == NULL || call == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no future, or nothing to do when it has ended");
    dctx_future_t *target = dctx_future_new_(1, 0);
    if (target == NULL)
        return DCTX_ERR_NOMEM;
    dctx_edge_t *edge = &target->edges[1];
    dctx_error_t error = dctx_fork(&edge->context);
    if (error != DCTX_OK) {
        dctx_future_unref(&target);
        return error;
    }
    edge->kind = kind;
    edge->call = call;
    edge->arg = arg;
    edge->executor = executor == NULL ? NULL : dctx_executor_ref_(executor);
    /* Set before: what runs now may look for it there. */
    if (ret_future != NULL)
        *ret_future = dctx_future_ref(target);
    dctx_edge_attach_(edge, future, target);
    dctx_future_unref(&target);
    return DCTX_OK;
}

dctx_error_t dctx_future_then(dctx_future_t *future, dctx_executor_t *executor, dctx_then_fn call,
                              void *arg, dctx_future_t **ret_future)
{
    return attach(DCTX_EDGE_THEN, future, executor, call, arg, ret_future);
}

dctx_error_t dctx_future_map(dctx_future_t *future, dctx_executor_t *executor, dctx_then_fn call,
                             void *arg, dctx_future_t **ret_future)
{
    return attach(DCTX_EDGE_MAP, future, executor, call, arg, ret_future);
}

dctx_error_t dctx_future_recover(dctx_future_t *future, dctx_executor_t *executor,
                                 dctx_then_fn call, void *arg, dctx_future_t **ret_future)
{
    return attach(DCTX_EDGE_RECOVER, future, executor, call, arg, ret_future);
}

/* ---- one of many ----------------------------------------------------------------------------- */

/* The results belong to one future; a copy of the pointer would outlive it. */
static dctx_error_t refuse_copy(void *dst, const void *src)
{
    (void)dst;
    (void)src;
    return dctx_fail_(DCTX_ERR_TYPE, "results are borrowed from their future: keep a reference");
}

const dctx_type_t dctx_type_results = {
    .name = "dctx.results", .size = sizeof(dctx_results_t), .copy = refuse_copy};

static dctx_error_t check(dctx_future_t *const *futures, size_t count, dctx_future_t **ret_future)
{
    if (ret_future == NULL || (futures == NULL && count > 0))
        return dctx_fail_(DCTX_ERR_INVALID, "no futures, or no place for the one of them");
    for (size_t i = 0; i < count; i++) {
        if (futures[i] == NULL)
            return dctx_fail_(DCTX_ERR_INVALID, "future %zu of %zu is none (NULL)", i, count);
    }
    return DCTX_OK;
}

static void attach_all(dctx_future_t *target, dctx_edge_kind_t kind, dctx_future_t *const *futures,
                       size_t count)
{
    target->pending = count;
    for (size_t i = 0; i < count; i++) {
        target->edges[i + 1].kind = kind;
        dctx_edge_attach_(&target->edges[i + 1], futures[i], target);
    }
}

dctx_error_t dctx_future_all(dctx_future_t *const *futures, size_t count,
                             dctx_future_t **ret_future)
{
    dctx_error_t error = check(futures, count, ret_future);
    if (error != DCTX_OK)
        return error;
    size_t each = sizeof(dctx_result_t) + sizeof(dctx_future_t *), size = 0;
    if (__builtin_mul_overflow(each, count, &size))
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %zu results", count);
    dctx_future_t *target = dctx_future_new_(count, size);
    if (target == NULL)
        return DCTX_ERR_NOMEM;
    dctx_result_t *results = (dctx_result_t *)(void *)&target->edges[target->edge_count];
    target->results = (dctx_results_t){.count = count, .results = results};
    target->parts = (dctx_future_t **)(void *)&results[count];
    for (size_t i = 0; i < count; i++)
        target->parts[i] = dctx_future_ref(futures[i]);
    *ret_future = dctx_future_ref(target);
    attach_all(target, DCTX_EDGE_ALL, futures, count);
    if (count == 0)
        dctx_future_conclude_(
            target, &(dctx_ending_t){.type = DCTX_TYPE_RESULTS, .value = &target->results});
    dctx_future_unref(&target);
    return DCTX_OK;
}

dctx_error_t dctx_future_any(dctx_future_t *const *futures, size_t count,
                             dctx_future_t **ret_future)
{
    dctx_error_t error = check(futures, count, ret_future);
    if (error != DCTX_OK)
        return error;
    dctx_future_t *target = dctx_future_new_(count, 0);
    if (target == NULL)
        return DCTX_ERR_NOMEM;
    *ret_future = dctx_future_ref(target);
    attach_all(target, DCTX_EDGE_ANY, futures, count);
    if (count == 0)
        dctx_future_conclude_(
            target, &(dctx_ending_t){.error = DCTX_ERR_ABSENT, .text = "there were no futures"});
    dctx_future_unref(&target);
    return DCTX_OK;
}

/* ---- in time --------------------------------------------------------------------------------- */

static void on_late(uint64_t missed, void *arg)
{
    dctx_future_t *target = arg;
    (void)missed;
    const char *text = target->late == DCTX_ERR_DEADLINE ? "the deadline has passed"
                                                         : "it took longer than it was given";
    dctx_future_conclude_(
        target, &(dctx_ending_t){.error = target->late, .text = text, .from_outside = true});
}

/* The timer is no more. Had it not fired, nobody would end the future in time: so it ends now. */
static void release(void *arg)
{
    dctx_future_t *target = arg;
    dctx_future_conclude_(target, &(dctx_ending_t){.error = DCTX_ERR_STOPPED,
                                                   .text = "the executor of its timer has stopped",
                                                   .from_outside = true});
    dctx_future_unref(&target);
}

static dctx_error_t set_timer(dctx_future_t *target, dctx_executor_t *executor, int64_t timeout_ms)
{
    int64_t timeout = timeout_ms <= 0                      ? 0
                      : timeout_ms > INT64_MAX / NS_PER_MS ? INT64_MAX
                                                           : timeout_ms * NS_PER_MS;
    int64_t left = dctx_is_empty() ? DCTX_NO_DEADLINE : dctx_deadline_left();
    bool by_deadline = left != DCTX_NO_DEADLINE && left <= timeout;
    target->late = by_deadline ? DCTX_ERR_DEADLINE : DCTX_ERR_TIMEOUT;
    dctx_executor_timer_t *timer = NULL;
    dctx_future_t *reference = dctx_future_ref(target);
    dctx_error_t error = dctx_executor_timer_set_bare_(executor, on_late, reference, release,
                                                       by_deadline ? left : timeout, &timer);
    if (error != DCTX_OK) {
        dctx_future_unref(&reference);
        return error;
    }
    pthread_mutex_lock(&target->lock);
    if (!dctx_future_done_(target)) {
        target->timer = timer;
        timer = NULL;
    }
    pthread_mutex_unlock(&target->lock);
    (void)dctx_executor_timer_cancel(&timer);
    return DCTX_OK;
}

dctx_error_t dctx_future_timeout(dctx_future_t *future, dctx_executor_t *executor,
                                 int64_t timeout_ms, dctx_future_t **ret_future)
{
    if (future == NULL || ret_future == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no future, or no place for the one that ends in time");
    if (executor == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a timeout needs an executor, for its timers");
    dctx_future_t *target = dctx_future_new_(1, 0);
    if (target == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = set_timer(target, executor, timeout_ms);
    if (error == DCTX_OK) {
        *ret_future = dctx_future_ref(target);
        target->edges[1].kind = DCTX_EDGE_PASS;
        dctx_edge_attach_(&target->edges[1], future, target);
    }
    dctx_future_unref(&target);
    return error;
}
