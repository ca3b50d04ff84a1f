#include "executor.h"

#include <sys/poll.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>
#include <czmq.h>

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

static void advance_ms(int64_t ms)
{
    fake_now += ms * 1000000;
}

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

typedef struct submitter {
    dctx_executor_t *pool;
    gate_t *gate;
    dctx_error_t error;
} submitter_t;

/* ---- timers, in time that only we move ------------------------------------------------------ */

typedef struct ticks {
    int calls, released;
    uint64_t missed;
    char tenant[32], chain[128];
    dctx_executor_timer_t *cancel; /* in the call */
    bool cancelled;
} ticks_t;

static void tick(uint64_t missed, void *arg)
{
    ticks_t *ticks = arg;
    ticks->calls++;
    ticks->missed += missed;
    snprintf(ticks->tenant, sizeof ticks->tenant, "%s", tenant_get_or("nobody"));
    snprintf(ticks->chain, sizeof ticks->chain, "%s", chain());
    if (ticks->cancel != NULL)
        ticks->cancelled = dctx_executor_timer_cancel(&ticks->cancel);
}

static void release_ticks(void *arg)
{
    ((ticks_t *)arg)->released++;
}

static dctx_executor_timer_t *set(dctx_executor_t *executor, ticks_t *ticks, int64_t delay_ms,
                                  int64_t period_ms)
{
    dctx_executor_timer_t *timer = NULL;
    dctx_executor_timer_options_t options = {.call = tick,
                                             .arg = ticks,
                                             .release = release_ticks,
                                             .delay_ms = delay_ms,
                                             .period_ms = period_ms,
                                             .scope = "tick"};
    cr_assert_eq(dctx_executor_timer_set(executor, &options, &timer), DCTX_OK);
    return timer;
}

Test(executor, a_timer_is_called_once_when_it_is_due, .init = fixture_init)
{
    ticks_t ticks = {0};
    dctx_executor_t *loop = new_loop();
    cr_assert_eq(dctx_loop_executor_timeout(loop), -1);
    dctx_executor_timer_t *timer = NULL;
    DCTX_WITH_SCOPE("setting") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        timer = set(loop, &ticks, 100, 0);
    }
    cr_assert_eq(dctx_loop_executor_timeout(loop), 100);
    fake_now += 1;
    cr_assert_eq(dctx_loop_executor_timeout(loop), 100, "rounded up");
    fake_now += 99999998;
    cr_assert_eq(dctx_loop_executor_run(loop), 0);
    cr_assert_eq(dctx_loop_executor_timeout(loop), 1);
    fake_now += 1;
    cr_assert_eq(dctx_loop_executor_timeout(loop), 0);
    cr_assert_eq(dctx_loop_executor_run(loop), 1);
    cr_assert_eq(ticks.calls, 1);
    cr_assert_eq(ticks.released, 1);
    cr_assert_str_eq(ticks.tenant, "acme");
    cr_assert_str_eq(ticks.chain, "setting > tick");
    cr_assert(!dctx_executor_timer_cancel(&timer), "too late");
    cr_assert_null(timer);
    cr_assert_eq(end(&loop).timer_calls, 1);
}

Test(executor, a_timer_may_be_without_the_context, .init = fixture_init)
{
    ticks_t ticks = {0};
    dctx_executor_t *loop = new_loop();
    DCTX_WITH_SCOPE("setting") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        dctx_executor_timer_options_t options = {
            .call = tick, .arg = &ticks, .without_context = true};
        cr_assert_eq(dctx_executor_timer_set(loop, &options, NULL), DCTX_OK);
        cr_assert_eq(dctx_loop_executor_run(loop), 1);
        cr_assert_str_eq(ticks.tenant, "nobody");
        cr_assert_str_eq(ticks.chain, "");
        cr_assert_str_eq(chain(), "setting");
    }
    (void)end(&loop);
}

Test(executor, a_period_does_not_drift_and_missed_ones_are_counted, .init = fixture_init)
{
    ticks_t ticks = {0};
    dctx_executor_t *loop = new_loop();
    dctx_executor_timer_t *timer = set(loop, &ticks, 10, 10);
    advance_ms(10);
    cr_assert_eq(dctx_loop_executor_run(loop), 1);
    advance_ms(14); /* 4 ms late */
    cr_assert_eq(dctx_loop_executor_run(loop), 1);
    cr_assert_eq(dctx_loop_executor_timeout(loop), 6, "due when it would have been");
    cr_assert_eq(ticks.missed, 0);
    advance_ms(36); /* at 60: 30, 40, 50 and 60 in one */
    cr_assert_eq(dctx_loop_executor_run(loop), 1);
    cr_assert_eq(ticks.missed, 3);
    cr_assert_eq(dctx_loop_executor_timeout(loop), 10);
    cr_assert(dctx_executor_timer_cancel(&timer));
    cr_assert_eq(ticks.released, 1);
    cr_assert_eq(dctx_loop_executor_timeout(loop), -1);
    advance_ms(100);
    cr_assert_eq(dctx_loop_executor_run(loop), 0);
    dctx_executor_counters_t c = end(&loop);
    cr_assert_eq(c.timer_calls, 3);
    cr_assert_eq(c.timer_missed, 3);
    cr_assert_eq(ticks.calls, 3);
}

Test(executor, a_timer_can_be_cancelled_in_its_call, .init = fixture_init)
{
    ticks_t ticks = {0};
    dctx_executor_t *loop = new_loop();
    ticks.cancel = set(loop, &ticks, 10, 10);
    advance_ms(1000);
    cr_assert_eq(dctx_loop_executor_run(loop), 1);
    cr_assert(!ticks.cancelled, "it is running");
    cr_assert_eq(ticks.released, 1);
    advance_ms(1000);
    cr_assert_eq(dctx_loop_executor_run(loop), 0);
    cr_assert_eq(ticks.calls, 1);
    (void)end(&loop);
}

Test(executor, timers_go_with_the_executor, .init = fixture_init)
{
    ticks_t ticks[3] = {{0}};
    dctx_executor_t *loop = new_loop();
    dctx_executor_timer_t *timer = set(loop, &ticks[0], 10, 0);
    dctx_executor_timer_t *second = set(loop, &ticks[1], 10, 10);
    dctx_executor_timer_options_t options = {
        .call = tick, .arg = &ticks[2], .release = release_ticks, .delay_ms = INT64_MAX};
    cr_assert_eq(dctx_executor_timer_set(loop, &options, NULL), DCTX_OK);
    cr_assert_eq(read_counters(loop).timers, 3);
    dctx_executor_timer_t *leaked = NULL;
    cr_assert_eq(dctx_executor_stop(loop, 0, NULL), DCTX_OK);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(ticks[i].calls, 0);
        cr_assert_eq(ticks[i].released, 1);
    }
    cr_assert_eq(dctx_executor_timer_set(loop, &options, &leaked), DCTX_ERR_STOPPED);
    cr_assert_null(leaked);
    dctx_executor_destroy(&loop);
    cr_assert(!dctx_executor_timer_cancel(&second));
    cr_assert(!dctx_executor_timer_cancel(&timer), "the handle may be the last to go");
}

/* Sets a timer that is due at once, each time it is called. */
typedef struct again {
    dctx_executor_t *executor;
    int calls;
} again_t;

static void set_again(uint64_t missed, void *arg)
{
    again_t *again = arg;
    (void)missed;
    again->calls++;
    cr_assert_eq(dctx_executor_timer_set(
                     again->executor,
                     &(dctx_executor_timer_options_t){.call = set_again, .arg = again}, NULL),
                 DCTX_OK);
}

static void submit_again(void *arg)
{
    again_t *again = arg;
    again->calls++;
    submit(again->executor, submit_again, again);
}

Test(executor, a_loop_has_its_turn_in_between, .init = fixture_init, .timeout = 60)
{
    dctx_executor_t *loop = new_loop();
    again_t timer = {.executor = loop}, task = {.executor = loop};
    set_again(0, &timer);
    submit_again(&task);
    for (int i = 2; i < 10; i++) {
        cr_assert_eq(dctx_loop_executor_timeout(loop), 0);
        cr_assert_eq(dctx_loop_executor_run(loop), 2);
        cr_assert_eq(timer.calls, i);
        cr_assert_eq(task.calls, i);
    }
    (void)end(&loop);
}

Test(executor, a_pool_keeps_time_by_the_clock_it_is_given, .init = fixture_init, .timeout = 60)
{
    ticks_t once = {0}, periodic = {0}, far = {0};
    dctx_executor_t *pool =
        new_pool(&(dctx_taskpool_options_t){.threads = 2, .clock = &fake_clock});
    dctx_executor_timer_t *timer = set(pool, &far, 1000000, 0);
    dctx_executor_timer_t *second = set(pool, &periodic, 20, 20);
    dctx_executor_timer_t *third = set(pool, &once, 10, 0);
    for (int i = 0; i < 10; i++) {
        advance_ms(10);
        dctx_executor_poke(pool);
        cr_assert_eq(dctx_executor_wait_idle(pool, WAIT_MS), DCTX_OK);
        cr_assert_eq(once.calls, 1);
        cr_assert_eq(periodic.calls, (i + 1) / 2);
    }
    cr_assert_eq(far.calls, 0);
    cr_assert(dctx_executor_timer_cancel(&timer));
    cr_assert(dctx_executor_timer_cancel(&second));
    cr_assert(!dctx_executor_timer_cancel(&third));
    cr_assert_eq(end(&pool).timer_calls, 6);
}

static void tick_gate(uint64_t missed, void *arg)
{
    (void)missed;
    gate_pass(arg);
}

Test(executor, a_pool_keeps_real_time, .init = fixture_init, .timeout = 60)
{
    gate_t far = GATE_INIT, near = GATE_INIT;
    dctx_executor_t *pool = new_pool(&(dctx_taskpool_options_t){.threads = 2});
    dctx_executor_timer_options_t options = {.call = tick_gate, .arg = &far, .delay_ms = 3600000};
    cr_assert_eq(dctx_executor_timer_set(pool, &options, NULL), DCTX_OK);
    /* Due before what the timekeeper waits for by now. */
    options = (dctx_executor_timer_options_t){.call = tick_gate, .arg = &near, .period_ms = 2};
    cr_assert_eq(dctx_executor_timer_set(pool, &options, NULL), DCTX_OK);
    cr_assert(gate_wait(&near, 5));
    cr_assert_eq(gate_count(&far), 0);
    (void)end(&pool);
}

/* ---- loops ----------------------------------------------------------------------------------- */

static void *submit_from_thread(void *arg)
{
    submitter_t *self = arg;
    for (int i = 0; i < 100 && self->error == DCTX_OK; i++)
        self->error =
            dctx_executor_submit(self->pool, &(dctx_work_t){.run = pass, .arg = self->gate}, NULL);
    return NULL;
}

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    return poll(&item, 1, timeout_ms) == 1;
}

Test(executor, a_poll_loop_runs_tasks_and_timers, .init = fixture_init, .timeout = 60)
{
    gate_t tasks = GATE_INIT, ticks = GATE_INIT;
    pthread_t thread;
    dctx_executor_t *loop = NULL;
    cr_assert_eq(dctx_loop_executor_new(NULL, &loop), DCTX_OK);
    submitter_t submitter = {.pool = loop, .gate = &tasks};
    int fd = dctx_loop_executor_fd(loop);
    cr_assert(!is_readable(fd, 0));
    dctx_executor_timer_options_t options = {.call = tick_gate, .arg = &ticks, .period_ms = 1};
    cr_assert_eq(dctx_executor_timer_set(loop, &options, NULL), DCTX_OK);
    cr_assert_eq(pthread_create(&thread, NULL, submit_from_thread, &submitter), 0);
    while (gate_count(&tasks) < 100 || gate_count(&ticks) < 5) {
        cr_assert(is_readable(fd, WAIT_MS), "the descriptor tells of timers as well");
        (void)dctx_loop_executor_run(loop);
    }
    pthread_join(thread, NULL);
    cr_assert_eq(submitter.error, DCTX_OK);
    (void)end(&loop);
}

typedef struct looping {
    zloop_t *zloop;
    dctx_executor_t *executor;
    int ticks;
    seen_t seen;
    bool done;
} looping_t;

static void remove_in_loop(uint64_t missed, void *arg)
{
    looping_t *self = arg;
    (void)missed;
    if (++self->ticks == 3) {
        self->done = true;
        dctx_executor_destroy(&self->executor);
    }
}

static int end_loop(zloop_t *zloop, int id, void *arg)
{
    looping_t *self = arg;
    (void)zloop;
    (void)id;
    return self->done ? -1 : 0;
}

Test(executor, a_zloop_runs_it, .init = fixture_init, .timeout = 60)
{
    looping_t self = {.zloop = zloop_new()};
    cr_assert_eq(dctx_loop_executor_new(NULL, &self.executor), DCTX_OK);
    cr_assert_eq(dctx_loop_executor_add(self.executor, self.zloop), DCTX_OK);
    cr_assert_eq(dctx_loop_executor_add(self.executor, self.zloop), DCTX_ERR_INVALID, "once");
    DCTX_WITH_SCOPE("shop") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        submit(self.executor, look, &self.seen);
    }
    /* Which destroys the executor, inside the loop and itself. */
    dctx_executor_timer_options_t options = {.call = remove_in_loop, .arg = &self, .period_ms = 2};
    cr_assert_eq(dctx_executor_timer_set(self.executor, &options, NULL), DCTX_OK);
    zloop_timer(self.zloop, 1, 0, end_loop, &self);
    cr_assert_eq(zloop_start(self.zloop), -1);
    cr_assert_eq(self.ticks, 3);
    cr_assert_str_eq(self.seen.tenant, "acme");
    cr_assert_str_eq(self.seen.chain, "shop");
    cr_assert_null(self.executor);
    zloop_destroy(&self.zloop);
}

/* ---- futures on executors -------------------------------------------------------------------- */

static dctx_error_t note_all(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    (void)result;
    (void)promise_p;
    look(arg);
    return result->error;
}

Test(executor, what_is_attached_runs_on_its_executor, .init = fixture_init)
{
    seen_t seen = {0};
    dctx_promise_t *promise = NULL;
    dctx_future_t *future = NULL, *after = NULL;
    dctx_executor_t *loop = new_loop();
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    DCTX_WITH_SCOPE("attaching") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_future_then(future, loop, note_all, &seen, &after), DCTX_OK);
    }
    cr_assert_eq(dctx_promise_complete(&promise, NULL, NULL), DCTX_OK);
    cr_assert_eq(seen.runs, 0);
    cr_assert_eq(dctx_loop_executor_run(loop), 1);
    cr_assert_eq(seen.runs, 1);
    cr_assert_str_eq(seen.tenant, "acme");
    cr_assert_str_eq(seen.chain, "attaching");
    cr_assert(dctx_future_is_done(after));
    dctx_future_unref(&future);
    dctx_future_unref(&after);
    (void)end(&loop);
}

Test(executor, what_is_attached_hears_that_its_executor_stopped, .init = fixture_init)
{
    seen_t seen[3] = {0};
    dctx_promise_t *promise = NULL;
    dctx_future_t *future = NULL, *after[3] = {NULL};
    dctx_result_t result;
    dctx_executor_t *loop = new_loop();
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    cr_assert_eq(dctx_future_then(future, loop, note_all, &seen[0], &after[0]), DCTX_OK);
    cr_assert_eq(dctx_promise_complete(&promise, NULL, NULL), DCTX_OK);
    dctx_future_unref(&future);
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    cr_assert_eq(dctx_future_then(future, loop, note_all, &seen[1], &after[1]), DCTX_OK);
    cr_assert_eq(dctx_future_map(future, loop, note_all, &seen[2], &after[2]), DCTX_OK);
    cr_assert_eq(dctx_executor_stop(loop, 0, NULL), DCTX_OK);
    dctx_executor_destroy(&loop);
    cr_assert_eq(seen[0].runs, 1, "it was queued");
    cr_assert_eq(dctx_promise_complete(&promise, NULL, NULL), DCTX_OK);
    cr_assert_eq(seen[1].runs, 1);
    cr_assert_eq(seen[2].runs, 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(dctx_future_result(after[i], &result), DCTX_OK);
        cr_assert_eq(result.error, DCTX_ERR_STOPPED);
        dctx_future_unref(&after[i]);
    }
    dctx_future_unref(&future);
}

static void count_cancel(void *arg)
{
    ++*(int *)arg;
}

Test(executor, a_timeout_ends_what_takes_too_long, .init = fixture_init)
{
    int told = 0;
    dctx_promise_t *promise = NULL;
    dctx_future_t *future = NULL, *bounded = NULL;
    dctx_result_t result;
    dctx_executor_t *loop = new_loop();
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    cr_assert_eq(dctx_promise_on_cancel(promise, count_cancel, &told), DCTX_OK);
    cr_assert_eq(dctx_future_timeout(future, loop, 100, &bounded), DCTX_OK);
    advance_ms(99);
    (void)dctx_loop_executor_run(loop);
    cr_assert(!dctx_future_is_done(bounded));
    advance_ms(1);
    (void)dctx_loop_executor_run(loop);
    cr_assert_eq(dctx_future_result(bounded, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_TIMEOUT);
    cr_assert_eq(told, 1);
    dctx_promise_destroy(&promise);
    dctx_future_unref(&future);
    dctx_future_unref(&bounded);

    /* In time: the timer goes. */
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    cr_assert_eq(dctx_future_timeout(future, loop, 100, &bounded), DCTX_OK);
    cr_assert_eq(read_counters(loop).timers, 1);
    cr_assert_eq(dctx_promise_fail(&promise, DCTX_ERR_IO, "quick"), DCTX_OK);
    cr_assert_eq(dctx_future_result(bounded, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_IO);
    cr_assert_str_eq(result.reason, "quick");
    cr_assert_eq(read_counters(loop).timers, 0);
    dctx_future_unref(&future);
    dctx_future_unref(&bounded);

    /* Nobody would end it in time any more. */
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    cr_assert_eq(dctx_future_timeout(future, loop, 100, &bounded), DCTX_OK);
    cr_assert_eq(dctx_executor_stop(loop, 0, NULL), DCTX_OK);
    cr_assert_eq(dctx_future_result(bounded, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_STOPPED);
    dctx_future_unref(&bounded);
    cr_assert_eq(dctx_future_timeout(future, loop, 100, &bounded), DCTX_ERR_STOPPED);
    cr_assert_null(bounded);
    dctx_promise_destroy(&promise);
    dctx_future_unref(&future);
    dctx_executor_destroy(&loop);
}

Test(executor, a_timeout_ends_at_the_deadline_if_that_is_first, .init = fixture_init)
{
    dctx_promise_t *promise = NULL;
    dctx_future_t *future = NULL, *bounded = NULL, *passed = NULL;
    dctx_result_t result;
    dctx_executor_t *loop = new_loop();
    cr_assert_eq(dctx_promise_new(&promise, &future), DCTX_OK);
    DCTX_WITH_SCOPE("request") {
        cr_assert_eq(dctx_deadline_set_timeout(INT64_C(50000000)), DCTX_OK);
        cr_assert_eq(dctx_future_timeout(future, loop, 1000, &bounded), DCTX_OK);
        cr_assert_eq(dctx_future_timeout(future, loop, 10, &passed), DCTX_OK);
    }
    advance_ms(50);
    (void)dctx_loop_executor_run(loop);
    cr_assert_eq(dctx_future_result(bounded, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_DEADLINE);
    cr_assert_eq(dctx_future_result(passed, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_TIMEOUT);
    dctx_promise_destroy(&promise);
    dctx_future_unref(&future);
    dctx_future_unref(&bounded);
    dctx_future_unref(&passed);
    (void)end(&loop);
}
