/* Asks that get a second chance: in virtual time. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/internal.h>
#include <dcontext/retry.h>
#include <dcontext/testing.h>

#include "fixture.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

enum { SEEN_MAX = 256 };

/* Answers each ask after a time of its own, by a timer. */
typedef struct slow {
    dctx_test_world_t *world;
    int64_t delay_ms[SEEN_MAX];
    dctx_error_t error[SEEN_MAX];
    int count, backups;
    struct job {
        struct slow *slow;
        int number;
        dctx_reply_to_t *reply_to;
        dctx_cancel_t *scope;
        int64_t at;
        bool backup;
    } jobs[SEEN_MAX];
} slow_t;

static void answer(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    struct job *job = arg;
    uint64_t number = (uint64_t)job->number;
    (void)self;
    (void)missed;
    (void)state;
    if (job->slow->error[job->number] != DCTX_OK)
        cr_assert_eq(dctx_reply_to_error(&job->reply_to, job->slow->error[job->number], "no"),
                     DCTX_OK);
    else
        cr_assert_eq(dctx_reply_to_send(&job->reply_to, DCTX_TYPE_UINT64, &number), DCTX_OK);
}

static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    slow_t *slow = state;
    int n = slow->count++;
    struct job *job = &slow->jobs[n];
    *job = (struct job){.slow = slow,
                        .number = n,
                        .scope = dctx_cancel_ref(dctx_cancel_get()),
                        .at = dctx_test_now(slow->world),
                        .backup = dctx_backup_get()};
    slow->backups += job->backup;
    dctx_timer_options_t timer = {.delay_ns = slow->delay_ms[n] * MS, .run = answer, .arg = job};
    cr_assert_eq(dctx_reply_defer(message, &job->reply_to), DCTX_OK);
    return dctx_timer_start(self, &timer, NULL);
}

typedef struct asker {
    gate_t ended;
    dctx_test_world_t *world;
    dctx_error_t status;
    uint64_t answer;
    int64_t at;
} asker_t;

static void on_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    asker_t *asker = arg;
    const uint64_t *number = dctx_message_get(reply, DCTX_TYPE_UINT64);
    asker->status = status;
    asker->answer = number != NULL ? *number : UINT64_MAX;
    asker->at = dctx_test_now(asker->world);
    cr_assert(!dctx_backup_get());
    gate_pass(&asker->ended);
}

typedef struct scene {
    dctx_test_world_t *world;
    dctx_system_t *system;
    slow_t slow;
    asker_t asker;
    dctx_ref_t ref;
    dctx_hedge_t *hedge;
    int64_t begin;
} scene_t;

static void open_scene(scene_t *scene, const dctx_hedge_options_t *options)
{
    *scene = (scene_t){.asker = {.ended = GATE_INIT}};
    cr_assert_eq(dctx_test_world_new(1, &scene->world), DCTX_OK);
    scene->slow.world = scene->asker.world = scene->world;
    scene->system = start(&(dctx_system_options_t){.world = scene->world});
    scene->ref = spawn(scene->system, "slow", serve, &scene->slow);
    scene->begin = dctx_test_now(scene->world);
    cr_assert_eq(dctx_hedge_new(options, &scene->hedge), DCTX_OK, "%s", dctx_error_detail());
}

static void close_scene(scene_t *scene)
{
    cr_assert_eq(counters(scene->system).asks_in_flight, 0);
    for (int i = 0; i < scene->slow.count; i++) {
        dctx_cancel_unref(&scene->slow.jobs[i].scope);
        dctx_reply_to_destroy(&scene->slow.jobs[i].reply_to);
    }
    finish(&scene->system);
    dctx_test_world_destroy(&scene->world);
    dctx_hedge_unref(&scene->hedge);
}

static void ask(scene_t *scene, int64_t timeout_ms)
{
    cr_assert_eq(dctx_ask_hedged_call(scene->ref, DCTX_TYPE_STRING, "x", timeout_ms, scene->hedge,
                                      on_end, &scene->asker),
                 DCTX_OK, "%s", dctx_error_detail());
}

static dctx_error_t fate(const scene_t *scene, int job)
{
    return dctx_cancel_status(scene->slow.jobs[job].scope);
}

Test(hedge, a_quick_answer_needs_no_backup, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 100});
    scene.slow.delay_ms[0] = 99;
    ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(scene.asker.status, DCTX_OK);
    cr_assert_eq(scene.slow.count, 1);
    cr_assert_eq(dctx_hedge_sent(scene.hedge), 0);
    cr_assert_eq(fate(&scene, 0), DCTX_OK);
    close_scene(&scene);
}

Test(hedge, the_first_answer_counts_and_the_other_is_cancelled, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 100});
    scene.slow.delay_ms[0] = 3000;
    scene.slow.delay_ms[1] = 20;
    ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(scene.asker.status, DCTX_OK);
    cr_assert_eq(scene.asker.answer, 1);
    cr_assert_eq(scene.asker.at, scene.begin + 120 * MS);
    cr_assert_eq(scene.slow.jobs[1].at, scene.begin + 100 * MS);
    cr_assert(!scene.slow.jobs[0].backup && scene.slow.jobs[1].backup);
    cr_assert_eq(fate(&scene, 0), DCTX_ERR_CANCELLED);
    cr_assert_str_eq(dctx_cancel_reason(scene.slow.jobs[0].scope), "the other answer came first");
    cr_assert_eq(fate(&scene, 1), DCTX_OK);
    cr_assert_eq(dctx_hedge_sent(scene.hedge), 1);
    cr_assert_eq(dctx_hedge_won(scene.hedge), 1);
    cr_assert(dctx_test_advance(scene.world, 5 * SECOND));
    close_scene(&scene);

    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 100});
    scene.slow.delay_ms[0] = 150;
    scene.slow.delay_ms[1] = 3000;
    ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(scene.asker.answer, 0);
    cr_assert_eq(fate(&scene, 0), DCTX_OK);
    cr_assert_eq(fate(&scene, 1), DCTX_ERR_CANCELLED);
    cr_assert_eq(dctx_hedge_won(scene.hedge), 0);
    cr_assert(dctx_test_advance(scene.world, 5 * SECOND));
    close_scene(&scene);
}

Test(hedge, an_error_waits_for_the_other, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 100});
    scene.slow.delay_ms[0] = 150;
    scene.slow.error[0] = DCTX_ERR_REJECTED;
    scene.slow.delay_ms[1] = 300;
    ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(scene.asker.status, DCTX_OK);
    cr_assert_eq(scene.asker.answer, 1);
    close_scene(&scene);

    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 100});
    scene.slow.delay_ms[0] = 50;
    scene.slow.error[0] = DCTX_ERR_REJECTED;
    ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(scene.asker.status, DCTX_ERR_REJECTED, "nothing else is under way");
    cr_assert_eq(scene.asker.at, scene.begin + 50 * MS);
    cr_assert_eq(scene.slow.count, 1);
    close_scene(&scene);
}

Test(hedge, the_timeout_ends_both, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 100});
    scene.slow.delay_ms[0] = scene.slow.delay_ms[1] = 60000;
    ask(&scene, 1000);
    cr_assert(dctx_test_advance(scene.world, 2 * SECOND));
    cr_assert_eq(scene.asker.status, DCTX_ERR_TIMEOUT);
    cr_assert_eq(scene.asker.at, scene.begin + SECOND);
    cr_assert_eq(fate(&scene, 0), DCTX_ERR_CANCELLED);
    cr_assert_eq(fate(&scene, 1), DCTX_ERR_CANCELLED);
    cr_assert(dctx_test_advance(scene.world, 60 * SECOND));
    close_scene(&scene);
}

Test(hedge, the_delay_goes_by_a_percentile, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, &(dctx_hedge_options_t){.percentile = 0.9, .samples = 50});
    cr_assert_eq(dctx_hedge_delay(scene.hedge), INT64_MAX);
    for (int i = 0; i < 50; i++)
        scene.slow.delay_ms[i] = i < 45 ? 10 : 500;
    for (int i = 0; i < 50; i++)
        ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(gate_count(&scene.asker.ended), 50);
    cr_assert_eq(dctx_hedge_sent(scene.hedge), 0, "it was not known yet");
    int64_t delay = dctx_hedge_delay(scene.hedge);
    cr_assert(delay >= 10 * MS && delay <= 13 * MS, "%lld", (long long)delay);
    scene.slow.delay_ms[50] = 900;
    scene.slow.delay_ms[51] = 10;
    int64_t begin = dctx_test_now(scene.world);
    ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(scene.slow.backups, 1);
    cr_assert_eq(scene.asker.answer, 51);
    cr_assert_eq(scene.asker.at, begin + delay + 10 * MS);
    close_scene(&scene);
}

Test(hedge, what_was_long_ago_is_forgotten, .init = fixture_init, .timeout = 60)
{
    scene_t scene;
    open_scene(&scene, &(dctx_hedge_options_t){.percentile = 0.5});
    for (int round = 0; round < 40; round++) {
        scene.slow.count = 0;
        for (int i = 0; i < 100; i++)
            scene.slow.delay_ms[i] = round < 10 ? 100 : 1;
        for (int i = 0; i < 100; i++) {
            ask(&scene, 5000);
            cr_assert(dctx_test_advance(scene.world, SECOND));
            for (int j = 0; j < scene.slow.count; j++)
                dctx_cancel_unref(&scene.slow.jobs[j].scope);
            scene.slow.count = 0;
        }
        if (round == 9)
            cr_assert_gt(dctx_hedge_delay(scene.hedge), 90 * MS);
    }
    cr_assert_lt(dctx_hedge_delay(scene.hedge), 2 * MS);
    close_scene(&scene);
}

Test(hedge, a_budget_limits_it_and_another_may_be_asked, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    dctx_budget_t *budget = NULL;
    slow_t spare = {.count = 0};
    dctx_budget_options_t few = {.share = 0.2, .min_per_second = -1};
    cr_assert_eq(dctx_budget_new(&few, &budget), DCTX_OK);
    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 10, .budget = budget});
    for (int i = 0; i < SEEN_MAX; i++)
        scene.slow.delay_ms[i] = 100;
    for (int i = 0; i < 50; i++)
        ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(dctx_hedge_sent(scene.hedge), 10);
    cr_assert_eq(gate_count(&scene.asker.ended), 50);
    dctx_hedge_unref(&scene.hedge);
    dctx_budget_unref(&budget);

    spare.world = scene.world;
    dctx_hedge_options_t options = {.delay_ms = 10,
                                    .backup = spawn(scene.system, "spare", serve, &spare)};
    cr_assert_eq(dctx_hedge_new(&options, &scene.hedge), DCTX_OK);
    scene.slow.delay_ms[scene.slow.count] = 1000;
    ask(&scene, 5000);
    cr_assert(dctx_test_advance(scene.world, 2 * SECOND));
    cr_assert_eq(spare.count, 1);
    cr_assert(spare.jobs[0].backup);
    dctx_cancel_unref(&spare.jobs[0].scope);
    close_scene(&scene);
}

/* ---- from inside, and as futures ------------------------------------------------------------- */

typedef struct client {
    scene_t *scene;
    bool stops;
} client_t;

static void client_end(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                       void *state, void *arg)
{
    (void)arg;
    cr_assert_str_eq(dctx_self_name(self), "client");
    on_end(status, reply, &((client_t *)state)->scene->asker);
}

static dctx_error_t client(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    client_t *here = state;
    (void)message;
    if (here->stops)
        dctx_self_stop(self);
    else
        cr_assert_eq(dctx_ask_hedged(self, here->scene->ref, NULL, NULL, 60000, here->scene->hedge,
                                     client_end, NULL),
                     DCTX_OK);
    return DCTX_OK;
}

Test(hedge, an_actor_asks_and_may_go, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 100});
    client_t here = {.scene = &scene};
    dctx_ref_t ref = spawn(scene.system, "client", client, &here);
    scene.slow.delay_ms[0] = 1000;
    scene.slow.delay_ms[2] = scene.slow.delay_ms[3] = 60000;
    tell_uint(ref, 0);
    cr_assert(dctx_test_advance(scene.world, 2 * SECOND));
    cr_assert_eq(scene.asker.answer, 1);
    tell_uint(ref, 0);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    here.stops = true;
    tell_uint(ref, 0);
    cr_assert(dctx_test_run(scene.world));
    cr_assert_eq(scene.slow.count, 4);
    cr_assert_eq(fate(&scene, 2), DCTX_ERR_CANCELLED);
    cr_assert_eq(fate(&scene, 3), DCTX_ERR_CANCELLED);
    cr_assert_eq(gate_count(&scene.asker.ended), 1);
    cr_assert(dctx_test_advance(scene.world, 60 * SECOND));
    close_scene(&scene);
}

Test(hedge, as_a_future, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    dctx_future_t *future = NULL;
    dctx_result_t result;
    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 100});
    scene.slow.delay_ms[0] = 1000;
    cr_assert_eq(dctx_ask_hedged_future(scene.ref, NULL, NULL, DCTX_TYPE_UINT64, 60000, scene.hedge,
                                        &future),
                 DCTX_OK);
    cr_assert(dctx_test_advance(scene.world, 2 * SECOND));
    cr_assert_eq(dctx_future_result(future, &result), DCTX_OK);
    cr_assert_eq(*(const uint64_t *)dctx_result_get(&result, DCTX_TYPE_UINT64), 1);
    dctx_future_unref(&future);
    close_scene(&scene);
}

Test(hedge, wrong_ones_are_refused, .init = fixture_init, .timeout = 30)
{
    dctx_hedge_t *hedge = NULL;
    cr_assert_eq(dctx_hedge_new(NULL, &hedge), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_hedge_new(&(dctx_hedge_options_t){.delay_ms = 0}, &hedge), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_hedge_new(&(dctx_hedge_options_t){.percentile = 1}, &hedge),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_hedge_new(&(dctx_hedge_options_t){.delay_ms = -1}, &hedge), DCTX_ERR_INVALID);
    cr_assert_null(hedge);
    cr_assert_null(dctx_hedge_ref(NULL));
    dctx_hedge_unref(NULL);
    cr_assert_eq(dctx_hedge_delay(NULL), INT64_MAX);
    cr_assert_eq(dctx_hedge_sent(NULL) + dctx_hedge_won(NULL), 0);
    scene_t scene;
    open_scene(&scene, &(dctx_hedge_options_t){.delay_ms = 1});
    cr_assert_eq(dctx_ask_hedged_call(scene.ref, NULL, NULL, 0, NULL, on_end, NULL),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_ask_hedged_call(DCTX_REF_NONE, NULL, NULL, 0, scene.hedge, on_end, NULL),
                 DCTX_ERR_INVALID);
    close_scene(&scene);
}

/* ---- on threads ------------------------------------------------------------------------------ */

static dctx_error_t sometimes_slow(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    static _Atomic(unsigned) count;
    (void)self;
    (void)state;
    while (++count % 7 == 0 && !dctx_cancelled()) {
    }
    return dctx_reply(message, NULL, NULL);
}

static void count_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    cr_assert_eq(status, DCTX_OK, "%s", dctx_error_name(status));
    gate_pass(arg);
}

Test(hedge, many_at_once_on_threads, .init = fixture_init, .timeout = 60)
{
    enum { ASKS = 3000 };
    gate_t ended = GATE_INIT;
    dctx_hedge_t *hedge = NULL;
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 3});
    dctx_ref_t refs[4];
    for (int i = 0; i < 4; i++)
        refs[i] = spawn(system, NULL, sometimes_slow, NULL);
    cr_assert_eq(dctx_hedge_new(&(dctx_hedge_options_t){.delay_ms = 1, .percentile = 0.5}, &hedge),
                 DCTX_OK);
    for (int i = 0; i < ASKS; i++) {
        cr_assert_eq(
            dctx_ask_hedged_call(refs[i % 4], NULL, NULL, WAIT_MS, hedge, count_end, &ended),
            DCTX_OK);
        if (i % 50 == 49)
            cr_assert(gate_wait(&ended, i - 20));
    }
    cr_assert(gate_wait(&ended, ASKS));
    dctx_hedge_unref(&hedge);
    finish(&system);
}
