/*
 * futures.c - a poll() loop that has its work done by a pool of threads, and goes on when the
 * results are there: each step in the context of the request that it belongs to. No actors.
 */
#include <poll.h>
#include <stdio.h>

#include <dcontext/actors.h>

#include "must.h"

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)

/* ---- what the pool does ---- */

/* The price and the stock of what the tenant sells. */
static dctx_error_t find_price(dctx_promise_t **promise_p, void *arg)
{
    int64_t price = tenant_get_or("")[0] == 'a' ? 3 : 5;
    (void)arg;
    return dctx_promise_complete(promise_p, DCTX_TYPE_INT64, &price);
}

static dctx_error_t find_stock(dctx_promise_t **promise_p, void *arg)
{
    int64_t stock = 7;
    (void)arg;
    if (tenant_get_or("")[0] == 'u')
        return dctx_promise_fail(promise_p, DCTX_ERR_ABSENT, "no such shelf");
    return dctx_promise_complete(promise_p, DCTX_TYPE_INT64, &stock);
}

/* ---- what the loop does when that is done ---- */

static dctx_error_t multiply(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    const dctx_results_t *both = dctx_result_get(result, DCTX_TYPE_RESULTS);
    const int64_t *price = dctx_result_get(&both->results[0], DCTX_TYPE_INT64);
    const int64_t *stock = dctx_result_get(&both->results[1], DCTX_TYPE_INT64);
    int64_t worth = *price * *stock;
    (void)arg;
    return dctx_promise_complete(promise_p, DCTX_TYPE_INT64, &worth);
}

static dctx_error_t print(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    char chain[64];
    int *left = arg;
    (void)promise_p;
    dctx_chain_format(chain, sizeof chain);
    if (result->error == DCTX_OK)
        printf("%s: worth %lld (%s)\n", tenant_get_or("nobody"),
               (long long)*(const int64_t *)result->value, chain);
    else
        printf("%s: %s, %s (%s)\n", tenant_get_or("nobody"), dctx_error_name(result->error),
               result->reason, chain);
    --*left;
    return DCTX_OK;
}

/* ---- a request ---- */

static void appraise(const char *whose, dctx_executor_t *pool, dctx_executor_t *loop, int *left)
{
    DCTX_SCOPE("appraise");
    must(tenant_set(whose));
    dctx_future_t *parts[2], *both, *worth, *in_time;
    must(dctx_executor_submit(pool, &(dctx_work_t){.call = find_price, .scope = "price"},
                              &parts[0]));
    must(dctx_executor_submit(pool, &(dctx_work_t){.call = find_stock, .scope = "stock"},
                              &parts[1]));
    must(dctx_future_all(parts, 2, &both));
    must(dctx_future_map(both, loop, multiply, NULL, &worth));
    must(dctx_future_timeout(worth, loop, 10000, &in_time));
    must(dctx_future_then(in_time, loop, print, left, NULL));
    ++*left;
    /* What is attached stays: the references were only needed to attach it. */
    dctx_future_unref(&parts[0]);
    dctx_future_unref(&parts[1]);
    dctx_future_unref(&both);
    dctx_future_unref(&worth);
    dctx_future_unref(&in_time);
}

static void run(dctx_executor_t *loop, const int *left)
{
    struct pollfd ready = {.fd = dctx_loop_executor_fd(loop), .events = POLLIN};
    while (*left > 0) {
        poll(&ready, 1, -1);
        dctx_loop_executor_run(loop);
    }
}

/* ---- two that nobody answers ---- */

static void hang_up(void *arg)
{
    printf("%s hangs up\n", tenant_get_or("nobody"));
    dctx_promise_destroy(arg);
}

/* A promise that is not kept; `what` is attached to its future, and that is what we get. */
static dctx_future_t *call_nobody(const char *whose, dctx_promise_t **promise_p,
                                  dctx_executor_t *loop, int *left)
{
    DCTX_SCOPE("call");
    must(tenant_set(whose));
    dctx_future_t *answer, *in_time, *printed;
    must(dctx_promise_new(promise_p, &answer));
    must(dctx_promise_on_cancel(*promise_p, hang_up, promise_p));
    must(dctx_future_timeout(answer, loop, 20, &in_time));
    must(dctx_future_then(in_time, loop, print, left, &printed));
    ++*left;
    dctx_future_unref(&answer);
    dctx_future_unref(&in_time);
    return printed;
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &tenant));
    must(dctx_registry_freeze(NULL));
    dctx_executor_t *pool, *loop;
    must(dctx_taskpool_new(&(dctx_taskpool_options_t){.threads = 2}, &pool));
    must(dctx_loop_executor_new(NULL, &loop));

    int left = 0;
    appraise("acme", pool, loop, &left);
    run(loop, &left);
    appraise("umbrella", pool, loop, &left);
    run(loop, &left);

    dctx_promise_t *promise;
    dctx_future_t *late = call_nobody("late", &promise, loop, &left);
    run(loop, &left);
    dctx_future_unref(&late);
    dctx_future_t *bored = call_nobody("bored", &promise, loop, &left);
    dctx_future_cancel(bored, "changed my mind");
    run(loop, &left);
    dctx_future_unref(&bored);

    must(dctx_executor_stop(pool, 5000, NULL));
    dctx_executor_destroy(&pool);
    dctx_executor_destroy(&loop);
    return 0;
}
