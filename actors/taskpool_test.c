#include "executor.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "future.h"

/* ---- helpers -------------------------------------------------------------------------------- */

/* A clock that stands until it is moved. */
static _Atomic(int64_t) fake_now;

static int64_t read_fake(void *arg)
{
    (void)arg;
    return fake_now;
}

static const dctx_clock_t fake_clock = {.now_ns = read_fake};

static dctx_executor_t *new_pool(const dctx_taskpool_options_t *options)
{
    dctx_executor_t *pool = NULL;
    dctx_error_t error = dctx_taskpool_new(options, &pool);
    cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), dctx_error_detail());
    return pool;
}

static dctx_executor_t *new_loop(void)
{
    dctx_executor_t *loop = NULL;
    cr_assert_eq(
        dctx_loop_executor_new(&(dctx_loop_executor_options_t){.clock = &fake_clock}, &loop),
        DCTX_OK);
    return loop;
}

static dctx_executor_counters_t read_counters(dctx_executor_t *executor)
{
    dctx_executor_counters_t counters;
    dctx_executor_counters_read(executor, &counters);
    return counters;
}

/* Stops it, and checks that all stopped and that the counts add up. */
static dctx_executor_counters_t end(dctx_executor_t **executor_p)
{
    char *report = NULL;
    dctx_error_t error = dctx_executor_stop(*executor_p, WAIT_MS, &report);
    cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), report);
    cr_assert_str_eq(report, "");
    dctx_free(report);
    dctx_executor_counters_t c = read_counters(*executor_p);
    cr_assert_eq(c.submitted, c.run + c.cancelled + c.dropped);
    cr_assert_eq(c.queued + c.running + c.timers, 0);
    dctx_executor_destroy(executor_p);
    cr_assert_null(*executor_p);
    return c;
}

static void submit(dctx_executor_t *executor, dctx_task_fn run, void *arg)
{
    dctx_error_t error =
        dctx_executor_submit(executor, &(dctx_work_t){.run = run, .arg = arg}, NULL);
    cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), dctx_error_detail());
}

static void pass(void *arg)
{
    gate_pass(arg);
}

typedef struct block {
    gate_t entered, leave;
} block_t;

#define BLOCK_INIT                                                                                 \
    {                                                                                              \
        .entered = GATE_INIT, .leave = GATE_INIT                                                   \
    }

static void block(void *arg)
{
    block_t *self = arg;
    gate_pass(&self->entered);
    (void)gate_wait(&self->leave, 1);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

Test(taskpool, a_pool_runs_what_is_submitted, .init = fixture_init, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){.threads = 3});
    for (int i = 0; i < 1000; i++)
        submit(pool, pass, &gate);
    cr_assert(gate_wait(&gate, 1000));
    cr_assert_eq(dctx_executor_wait_idle(pool, WAIT_MS), DCTX_OK);
    dctx_executor_counters_t c = end(&pool);
    cr_assert_eq(c.run, 1000);
    cr_assert_leq(1, c.queued_max);
}

Test(taskpool, stopping_runs_what_is_queued_first, .init = fixture_init, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){.threads = 1});
    for (int i = 0; i < 1000; i++)
        submit(pool, pass, &gate);
    cr_assert_eq(end(&pool).run, 1000);
    cr_assert_eq(gate_count(&gate), 1000);
}

typedef struct seen {
    char tenant[32], chain[128];
    uint64_t request;
    int runs, released;
} seen_t;

static void look(void *arg)
{
    seen_t *seen = arg;
    snprintf(seen->tenant, sizeof seen->tenant, "%s", tenant_get_or("nobody"));
    snprintf(seen->chain, sizeof seen->chain, "%s", chain());
    seen->request = request_get_or(0);
    seen->runs++;
    cr_assert_eq(tenant_set("left behind"), DCTX_OK);
}

static void release(void *arg)
{
    ((seen_t *)arg)->released++;
}

Test(taskpool, a_task_sees_its_submitters_context, .init = fixture_init, .timeout = 60)
{
    seen_t seen = {0}, other = {0};
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){.threads = 1});
    dctx_snapshot_t *snapshot = NULL;
    DCTX_WITH_SCOPE("shop") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(request_set(1), DCTX_OK);
        cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
        cr_assert_eq(request_set(2), DCTX_OK);
        dctx_work_t work = {.run = look, .arg = &seen, .release = release, .scope = "render"};
        cr_assert_eq(dctx_executor_submit(pool, &work, NULL), DCTX_OK);
    }
    /* A sub-task with a context of its own. */
    dctx_work_t work = {.run = look, .arg = &other, .release = release, .snapshot = snapshot};
    cr_assert_eq(dctx_executor_submit(pool, &work, NULL), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    (void)end(&pool);
    cr_assert_str_eq(seen.tenant, "acme");
    cr_assert_str_eq(seen.chain, "shop > render");
    cr_assert_eq(seen.request, 2);
    cr_assert_str_eq(other.tenant, "acme");
    cr_assert_str_eq(other.chain, "shop");
    cr_assert_eq(other.request, 1);
    cr_assert_eq(seen.runs + seen.released + other.runs + other.released, 4);
}

static void leak(void *arg)
{
    dctx_scope_t scope;
    (void)arg;
    cr_assert_eq(dctx_scope_push("forgotten", &scope), DCTX_OK);
}

static void expect_empty(void *arg)
{
    gate_t *gate = arg;
    if (chain()[0] == '\0')
        gate_pass(gate);
}

Test(taskpool, what_a_task_leaves_open_is_closed, .init = fixture_init, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){.threads = 1});
    submit(pool, leak, NULL);
    submit(pool, expect_empty, &gate);
    dctx_executor_counters_t c = end(&pool);
    cr_assert_eq(gate_count(&gate), 1);
    cr_assert_eq(c.scope_leaks, 1);
    cr_assert(logged("left 1 scopes open"));
}

static dctx_error_t compute(dctx_promise_t **promise_p, void *arg)
{
    uint64_t value = *(uint64_t *)arg * 2;
    return dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, &value);
}

static dctx_error_t fail(dctx_promise_t **promise_p, void *arg)
{
    (void)promise_p;
    (void)arg;
    return DCTX_ERR_REJECTED;
}

Test(taskpool, a_task_has_a_result, .init = fixture_init, .timeout = 60)
{
    uint64_t n = 21;
    dctx_future_t *value = NULL, *error = NULL, *nothing = NULL;
    gate_t gate = GATE_INIT;
    dctx_result_t result;
    dctx_executor_t *pool = new_pool(NULL);
    cr_assert_eq(dctx_executor_submit(pool, &(dctx_work_t){.call = compute, .arg = &n}, &value),
                 DCTX_OK);
    cr_assert_eq(dctx_executor_submit(pool, &(dctx_work_t){.call = fail}, &error), DCTX_OK);
    cr_assert_eq(dctx_executor_submit(pool, &(dctx_work_t){.run = pass, .arg = &gate}, &nothing),
                 DCTX_OK);
    cr_assert_eq(dctx_future_wait(value, WAIT_MS, &result), DCTX_OK);
    cr_assert_eq(*(const uint64_t *)dctx_result_get(&result, DCTX_TYPE_UINT64), 42);
    cr_assert_eq(dctx_future_wait(error, WAIT_MS, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_REJECTED);
    cr_assert_eq(dctx_future_wait(nothing, WAIT_MS, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_OK);
    cr_assert_null(result.type);
    dctx_future_unref(&value);
    dctx_future_unref(&error);
    dctx_future_unref(&nothing);
    (void)end(&pool);
}

Test(taskpool, a_task_that_has_not_begun_can_be_cancelled, .init = fixture_init, .timeout = 60)
{
    block_t blocked = BLOCK_INIT;
    seen_t seen = {0};
    dctx_future_t *first = NULL, *second = NULL;
    dctx_result_t result;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){.threads = 1});
    cr_assert_eq(dctx_executor_submit(pool, &(dctx_work_t){.run = block, .arg = &blocked}, &first),
                 DCTX_OK);
    dctx_work_t work = {.run = look, .arg = &seen, .release = release};
    cr_assert_eq(dctx_executor_submit(pool, &work, &second), DCTX_OK);
    cr_assert(gate_wait(&blocked.entered, 1));
    dctx_future_cancel(first, NULL);
    dctx_future_cancel(second, "not needed");
    cr_assert_eq(seen.released, 1);
    cr_assert_eq(dctx_future_result(second, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(result.reason, "not needed");
    gate_pass(&blocked.leave);
    dctx_executor_counters_t c = end(&pool);
    cr_assert_eq(c.run, 1);
    cr_assert_eq(c.cancelled, 1);
    cr_assert_eq(seen.runs, 0);
    dctx_future_unref(&first);
    dctx_future_unref(&second);
}

Test(taskpool, a_task_of_a_cancelled_request_does_not_run, .init = fixture_init, .timeout = 60)
{
    block_t blocked = BLOCK_INIT;
    seen_t seen = {0};
    dctx_cancel_t *cancel = NULL;
    dctx_future_t *future = NULL;
    dctx_result_t result;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){.threads = 1});
    submit(pool, block, &blocked);
    cr_assert(gate_wait(&blocked.entered, 1));
    DCTX_WITH_SCOPE("request") {
        cr_assert_eq(dctx_cancel_new(&cancel), DCTX_OK);
        cr_assert_eq(dctx_cancel_enter(cancel), DCTX_OK);
        dctx_work_t work = {.run = look, .arg = &seen, .release = release};
        cr_assert_eq(dctx_executor_submit(pool, &work, &future), DCTX_OK);
    }
    cr_assert(dctx_cancel(cancel, "called off"));
    gate_pass(&blocked.leave);
    cr_assert_eq(dctx_future_wait(future, WAIT_MS, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(result.reason, "called off");
    dctx_executor_counters_t c = end(&pool);
    cr_assert_eq(c.run, 1);
    cr_assert_eq(c.cancelled, 1);
    cr_assert_eq(seen.runs, 0);
    cr_assert_eq(seen.released, 1);
    dctx_future_unref(&future);
    dctx_cancel_unref(&cancel);
}

Test(taskpool, a_full_queue_rejects, .init = fixture_init, .timeout = 60)
{
    block_t blocked = BLOCK_INIT;
    gate_t gate = GATE_INIT;
    dctx_executor_t *pool =
        new_pool(&(dctx_taskpool_options_t){.name = "small", .threads = 1, .queue_limit = 2});
    submit(pool, block, &blocked);
    cr_assert(gate_wait(&blocked.entered, 1));
    submit(pool, pass, &gate);
    submit(pool, pass, &gate);
    dctx_future_t *future = NULL;
    dctx_work_t work = {.run = pass, .arg = &gate};
    cr_assert_eq(dctx_executor_submit(pool, &work, &future), DCTX_ERR_FULL);
    cr_assert_null(future);
    cr_assert_str_eq(dctx_error_detail(), "the queue of executor small is full: 2 tasks wait");
    gate_pass(&blocked.leave);
    cr_assert(gate_wait(&gate, 2));
    submit(pool, pass, &gate);
    dctx_executor_counters_t c = end(&pool);
    cr_assert_eq(c.refused, 1);
    cr_assert_eq(c.run, 4);
    cr_assert_eq(c.queued_max, 2);
}

typedef struct submitter {
    dctx_executor_t *pool;
    gate_t *gate;
    dctx_error_t error;
} submitter_t;

static void *submit_many(void *arg)
{
    submitter_t *self = arg;
    for (int i = 0; i < 200 && self->error == DCTX_OK; i++)
        self->error =
            dctx_executor_submit(self->pool, &(dctx_work_t){.run = pass, .arg = self->gate}, NULL);
    return NULL;
}

Test(taskpool, a_full_queue_can_block_submitters, .init = fixture_init, .timeout = 60)
{
    enum { THREADS = 3 };
    gate_t gate = GATE_INIT;
    pthread_t threads[THREADS];
    submitter_t submitters[THREADS];
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){
        .threads = 2, .queue_limit = 1, .when_full = DCTX_WHEN_FULL_BLOCK});
    for (int i = 0; i < THREADS; i++) {
        submitters[i] = (submitter_t){.pool = pool, .gate = &gate};
        cr_assert_eq(pthread_create(&threads[i], NULL, submit_many, &submitters[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(submitters[i].error, DCTX_OK);
    }
    dctx_executor_counters_t c = end(&pool);
    cr_assert_eq(c.run, THREADS * 200);
    cr_assert_eq(c.queued_max, 1);
}

Test(taskpool, who_waits_for_room_waits_until_his_deadline, .init = fixture_init, .timeout = 60)
{
    block_t blocked = BLOCK_INIT;
    gate_t gate = GATE_INIT;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){
        .threads = 1, .queue_limit = 1, .when_full = DCTX_WHEN_FULL_BLOCK});
    dctx_work_t work = {.run = pass, .arg = &gate};
    submit(pool, block, &blocked);
    cr_assert(gate_wait(&blocked.entered, 1));
    DCTX_WITH_SCOPE("request") {
        cr_assert_eq(dctx_deadline_set_timeout(INT64_C(20000000)), DCTX_OK);
        cr_assert_eq(dctx_executor_submit(pool, &work, NULL), DCTX_OK, "there is room");
        cr_assert_eq(dctx_executor_submit(pool, &work, NULL), DCTX_ERR_DEADLINE);
    }
    gate_pass(&blocked.leave);
    cr_assert_eq(end(&pool).refused, 1);
}

/* Submits to its own full pool: it would wait for itself. */
static void submit_to_self(void *arg)
{
    submitter_t *self = arg;
    dctx_work_t work = {.run = pass, .arg = self->gate};
    self->error = dctx_executor_submit(self->pool, &work, NULL);
    if (self->error == DCTX_OK)
        self->error = dctx_executor_submit(self->pool, &work, NULL);
}

Test(taskpool, a_thread_of_the_pool_does_not_wait_for_room, .init = fixture_init, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){
        .threads = 1, .queue_limit = 1, .when_full = DCTX_WHEN_FULL_BLOCK});
    submitter_t self = {.pool = pool, .gate = &gate};
    submit(pool, submit_to_self, &self);
    cr_assert(gate_wait(&gate, 1));
    (void)end(&pool);
    cr_assert_eq(self.error, DCTX_ERR_FULL);
}

Test(taskpool, stopping_lets_blocked_submitters_go, .init = fixture_init, .timeout = 60)
{
    static block_t blocked = BLOCK_INIT; /* the thread that is left behind uses it later */
    gate_t gate = GATE_INIT;
    pthread_t thread;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){
        .threads = 1, .queue_limit = 1, .when_full = DCTX_WHEN_FULL_BLOCK});
    submitter_t submitter = {.pool = pool, .gate = &gate};
    submit(pool, block, &blocked);
    cr_assert(gate_wait(&blocked.entered, 1));
    cr_assert_eq(pthread_create(&thread, NULL, submit_many, &submitter), 0);
    char *report = NULL;
    cr_assert_eq(dctx_executor_stop(pool, 0, &report), DCTX_ERR_TIMEOUT);
    pthread_join(thread, NULL);
    cr_assert_eq(submitter.error, DCTX_ERR_STOPPED);
    dctx_free(report);
    gate_pass(&blocked.leave);
    dctx_executor_destroy(&pool);
}

Test(taskpool, stopping_is_bounded_and_names_who_did_not_stop, .init = fixture_init, .timeout = 60)
{
    /* The thread that is left behind uses it after the test. */
    static block_t blocked = BLOCK_INIT;
    seen_t seen = {0};
    char *report = NULL;
    dctx_result_t result;
    dctx_future_t *future = NULL;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){.name = "jobs", .threads = 2});
    DCTX_WITH_SCOPE("shop") {
        dctx_work_t work = {.run = block, .arg = &blocked, .scope = "render"};
        cr_assert_eq(dctx_executor_submit(pool, &work, NULL), DCTX_OK);
        cr_assert_eq(dctx_executor_submit(pool, &work, NULL), DCTX_OK);
    }
    cr_assert(gate_wait(&blocked.entered, 2));
    dctx_work_t work = {.run = look, .arg = &seen, .release = release};
    cr_assert_eq(dctx_executor_submit(pool, &work, &future), DCTX_OK);
    cr_assert_eq(dctx_executor_stop(pool, 1, &report), DCTX_ERR_TIMEOUT);
    cr_assert_not_null(strstr(report, "jobs: render: running for "));
    cr_assert_not_null(strstr(report, " ms: shop > render\n"));
    cr_assert_not_null(strstr(strchr(report, '\n') + 1, "jobs: render: running for "), "two lines");
    dctx_free(report);
    cr_assert_eq(seen.runs, 0);
    cr_assert_eq(seen.released, 1);
    cr_assert_eq(dctx_future_result(future, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_STOPPED);
    dctx_future_unref(&future);
    cr_assert_eq(dctx_executor_submit(pool, &work, NULL), DCTX_ERR_STOPPED);
    cr_assert_eq(dctx_executor_stop(pool, 1, NULL), DCTX_ERR_TIMEOUT, "again is harmless");
    dctx_executor_counters_t c = read_counters(pool);
    cr_assert_eq(c.submitted, 3);
    cr_assert_eq(c.dropped, 1);
    dctx_executor_destroy(&pool);
    gate_pass(&blocked.leave);
}

/* The pool goes from inside: nobody waits for anybody, and the rest is dropped. */
static void destroy_pool(void *arg)
{
    submitter_t *self = arg;
    self->error = dctx_executor_stop(self->pool, 0, NULL);
    dctx_executor_destroy(&self->pool);
    gate_pass(self->gate);
}

Test(taskpool, a_pool_can_be_destroyed_from_inside, .init = fixture_init, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    submitter_t self = {.gate = &gate};
    self.pool = new_pool(&(dctx_taskpool_options_t){.threads = 2});
    submit(self.pool, destroy_pool, &self);
    cr_assert(gate_wait(&gate, 1));
    cr_assert_eq(self.error, DCTX_ERR_INVALID);
    cr_assert_null(self.pool);
}

Test(taskpool, mistakes_are_said, .init = fixture_init, .timeout = 60)
{
    static char long_name[100];
    memset(long_name, 'n', sizeof long_name - 1);
    gate_t gate = GATE_INIT;
    dctx_future_t *future = NULL;
    dctx_executor_timer_t *timer = NULL;
    dctx_executor_t *none = NULL, *pool = new_pool(NULL), *loop = new_loop();
    dctx_work_t work = {.run = pass, .arg = &gate};
    cr_assert_eq(dctx_taskpool_new(NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_taskpool_new(&(dctx_taskpool_options_t){.threads = 100000}, &none),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_loop_executor_new(NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_executor_submit(NULL, &work, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_executor_submit(pool, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_executor_submit(pool, &(dctx_work_t){0}, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_executor_submit(pool, &(dctx_work_t){.run = pass, .call = compute}, &future),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_executor_submit(pool, &(dctx_work_t){.call = compute}, NULL),
                 DCTX_ERR_INVALID);
    work.scope = long_name;
    cr_assert_eq(dctx_executor_submit(pool, &work, NULL), DCTX_ERR_LIMIT);
    cr_assert_eq(dctx_executor_timer_set(NULL, NULL, &timer), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_executor_timer_set(pool, &(dctx_executor_timer_options_t){0}, &timer),
                 DCTX_ERR_INVALID);
    cr_assert(!dctx_executor_timer_cancel(&timer));
    cr_assert(!dctx_executor_timer_cancel(NULL));
    cr_assert_eq(dctx_executor_stop(NULL, 0, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_executor_wait_idle(loop, 0), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_loop_executor_fd(pool), -1);
    cr_assert_eq(dctx_loop_executor_timeout(pool), -1);
    cr_assert_eq(dctx_loop_executor_run(pool), 0);
    cr_assert_eq(dctx_loop_executor_add(pool, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_loop_executor_add(loop, NULL), DCTX_ERR_INVALID);
    dctx_loop_executor_remove(loop);
    dctx_executor_poke(NULL);
    dctx_executor_destroy(&none);
    dctx_executor_destroy(NULL);
    (void)end(&pool);
    (void)end(&loop);
}
