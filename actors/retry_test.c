/* Asks that are made again, and budgets: in virtual time. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/internal.h>
#include <dcontext/retry.h>
#include <dcontext/testing.h>

#include "budget.h"
#include "fixture.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

/* ---- budgets --------------------------------------------------------------------------------- */

static dctx_budget_t *new_budget(double share, double per_second, int64_t window_ms)
{
    dctx_budget_t *budget = NULL;
    dctx_budget_options_t options = {
        .share = share, .min_per_second = per_second, .window_ms = window_ms};
    cr_assert_eq(dctx_budget_new(&options, &budget), DCTX_OK, "%s", dctx_error_detail());
    return budget;
}

Test(budget, asks_earn_retries_and_they_do_not_keep, .init = fixture_init)
{
    dctx_budget_t *budget = new_budget(0.2, -1, 1000);
    int64_t now = 3600 * SECOND;
    cr_assert(!dctx_budget_withdraw_(budget, now));
    for (int i = 0; i < 100; i++)
        dctx_budget_deposit_(budget, now);
    cr_assert_eq(dctx_budget_balance(budget, now), 20);
    for (int i = 0; i < 15; i++)
        cr_assert(dctx_budget_withdraw_(budget, now));
    cr_assert_eq(dctx_budget_balance(budget, now + 899 * MS), 5);
    cr_assert_eq(dctx_budget_balance(budget, now + 1000 * MS), 0, "the window is over");
    cr_assert(!dctx_budget_withdraw_(budget, now + SECOND));
    cr_assert_eq(dctx_budget_refusals(budget), 2);
    cr_assert_eq(dctx_budget_balance(budget, now - SECOND), 0, "a clock that was set back");
    dctx_budget_unref(&budget);
}

Test(budget, some_a_second_are_there_in_any_case, .init = fixture_init)
{
    dctx_budget_t *budget = new_budget(-1, 10, 2000);
    int64_t now = 10 * SECOND;
    for (int second = 0; second < 20; second += 2) {
        int given = 0;
        while (dctx_budget_withdraw_(budget, now + second * SECOND))
            given++;
        cr_assert_eq(given, 20, "%d", given);
    }
    dctx_budget_unref(&budget);
}

Test(budget, wrong_ones_are_refused, .init = fixture_init)
{
    dctx_budget_t *budget = NULL;
    dctx_budget_options_t options = {.share = 2000};
    cr_assert_eq(dctx_budget_new(&options, &budget), DCTX_ERR_INVALID);
    options = (dctx_budget_options_t){.window_ms = 1};
    cr_assert_eq(dctx_budget_new(&options, &budget), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_budget_new(NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_null(budget);
    cr_assert_eq(dctx_budget_new(NULL, &budget), DCTX_OK);
    cr_assert_eq(dctx_budget_balance(budget, 0), 100, "10 a second for 10 s");
    dctx_budget_t *same = dctx_budget_ref(budget);
    dctx_budget_unref(&budget);
    dctx_budget_unref(&same);
    dctx_budget_unref(NULL);
    cr_assert_null(dctx_budget_ref(NULL));
    cr_assert_eq(dctx_budget_balance(NULL, 0), 0);
}

/* ---- a world with somebody who fails --------------------------------------------------------- */

enum { SEEN_MAX = 64 };

typedef struct flaky {
    dctx_test_world_t *world;
    int failures;       /* that many asks fail, then they are answered */
    dctx_error_t error; /* with this; DCTX_OK: not at all */
    int count;
    int64_t at[SEEN_MAX];
    uint32_t attempt[SEEN_MAX];
    int64_t left[SEEN_MAX];
    dctx_reply_to_t *kept[SEEN_MAX];
    dctx_cancel_t *scope[SEEN_MAX];
} flaky_t;

static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    flaky_t *flaky = state;
    int n = flaky->count++;
    (void)self;
    flaky->at[n] = dctx_test_now(flaky->world);
    flaky->attempt[n] = dctx_retry_get();
    flaky->left[n] = dctx_deadline_left();
    flaky->scope[n] = dctx_cancel_ref(dctx_cancel_get());
    if (n >= flaky->failures)
        return dctx_reply(message, DCTX_TYPE_STRING, "at last");
    return flaky->error != DCTX_OK ? flaky->error : dctx_reply_defer(message, &flaky->kept[n]);
}

typedef struct asker {
    gate_t ended;
    dctx_error_t status;
    char text[64];
    int64_t at;
    dctx_test_world_t *world;
} asker_t;

static void on_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    asker_t *asker = arg;
    const char *text =
        status == DCTX_OK ? dctx_message_get(reply, DCTX_TYPE_STRING) : dctx_message_reason(reply);
    asker->status = status;
    asker->at = dctx_test_now(asker->world);
    snprintf(asker->text, sizeof asker->text, "%s", text != NULL ? text : "");
    cr_assert_eq(dctx_retry_get(), 0, "the asker's context is his own");
    gate_pass(&asker->ended);
}

typedef struct scene {
    dctx_test_world_t *world;
    dctx_system_t *system;
    flaky_t flaky;
    asker_t asker;
    dctx_ref_t ref;
    int64_t begin;
} scene_t;

static void open_world(scene_t *scene, uint64_t seed)
{
    *scene = (scene_t){.asker = {.ended = GATE_INIT}};
    cr_assert_eq(dctx_test_world_new(seed, &scene->world), DCTX_OK);
}

static void open_system(scene_t *scene, int failures, dctx_error_t error)
{
    scene->flaky = (flaky_t){.failures = failures, .error = error};
    scene->flaky.world = scene->asker.world = scene->world;
    scene->system = start(&(dctx_system_options_t){.world = scene->world});
    scene->ref = spawn(scene->system, "flaky", serve, &scene->flaky);
    scene->begin = dctx_test_now(scene->world);
}

static void open_scene(scene_t *scene, uint64_t seed, int failures, dctx_error_t error)
{
    open_world(scene, seed);
    open_system(scene, failures, error);
}

static void close_scene(scene_t *scene)
{
    for (int i = 0; i < scene->flaky.count; i++) {
        dctx_cancel_unref(&scene->flaky.scope[i]);
        dctx_reply_to_destroy(&scene->flaky.kept[i]);
    }
    cr_assert_eq(counters(scene->system).asks_in_flight, 0);
    finish(&scene->system);
    dctx_test_world_destroy(&scene->world);
}

static void ask(scene_t *scene, int64_t timeout_ms, const dctx_retry_t *retry)
{
    cr_assert_eq(dctx_ask_retry_call(scene->ref, DCTX_TYPE_STRING, "x", timeout_ms, retry, on_end,
                                     &scene->asker),
                 DCTX_OK, "%s", dctx_error_detail());
}

/* ---- retries --------------------------------------------------------------------------------- */

Test(retry, it_is_asked_until_it_is_answered, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, 1, 2, DCTX_ERR_FULL);
    dctx_retry_t retry = {.attempts = 5, .backoff_ms = 100, .backoff_max_ms = 10000};
    ask(&scene, 60000, &retry);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(gate_count(&scene.asker.ended), 1);
    cr_assert_eq(scene.asker.status, DCTX_OK);
    cr_assert_str_eq(scene.asker.text, "at last");
    cr_assert_eq(scene.flaky.count, 3);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(scene.flaky.attempt[i], i);
    cr_assert_eq(scene.flaky.at[0], scene.begin);
    cr_assert_leq(scene.flaky.at[1] - scene.flaky.at[0], 100 * MS);
    cr_assert_leq(scene.flaky.at[2] - scene.flaky.at[1], 200 * MS);
    close_scene(&scene);
}

Test(retry, the_back_off_doubles_to_its_limit_and_is_jittered, .init = fixture_init, .timeout = 60)
{
    enum { ATTEMPTS = 8, SEEDS = 40 };
    int64_t longest[ATTEMPTS] = {0}, shortest[ATTEMPTS];
    memset(shortest, 0x7f, sizeof shortest);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        scene_t scene;
        open_scene(&scene, seed, ATTEMPTS, DCTX_ERR_FULL);
        dctx_retry_t retry = {.attempts = ATTEMPTS, .backoff_ms = 100, .backoff_max_ms = 1000};
        ask(&scene, 600000, &retry);
        cr_assert(dctx_test_advance(scene.world, 60 * SECOND));
        cr_assert_eq(scene.asker.status, DCTX_ERR_FULL);
        cr_assert_eq(scene.flaky.count, ATTEMPTS);
        for (int i = 1; i < ATTEMPTS; i++) {
            int64_t delay = scene.flaky.at[i] - scene.flaky.at[i - 1];
            longest[i] = delay > longest[i] ? delay : longest[i];
            shortest[i] = delay < shortest[i] ? delay : shortest[i];
        }
        close_scene(&scene);
    }
    for (int i = 1; i < ATTEMPTS; i++) {
        int64_t most = (i <= 4 ? 100 << (i - 1) : 1000) * MS;
        cr_assert_leq(longest[i], most);
        cr_assert_gt(longest[i], most * 3 / 4);
        cr_assert_lt(shortest[i], most / 4);
    }
}

static uint64_t no_jitter(void *arg)
{
    (void)arg;
    return 0;
}

Test(retry, the_random_source_is_a_parameter, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, 1, 9, DCTX_ERR_FULL);
    dctx_id_source_t random = {.next = no_jitter};
    ask(&scene, 1000, &(dctx_retry_t){.attempts = 9, .random = &random});
    cr_assert(dctx_test_run(scene.world));
    cr_assert_eq(scene.flaky.count, 9);
    cr_assert_eq(scene.asker.at, scene.begin);
    close_scene(&scene);
}

static void check_attempts(dctx_error_t error, bool idempotent, int expected)
{
    scene_t scene;
    open_scene(&scene, 7, SEEN_MAX, error);
    ask(&scene, 60000, &(dctx_retry_t){.attempts = 4, .idempotent = idempotent});
    cr_assert(dctx_test_advance(scene.world, 10 * SECOND));
    cr_assert_eq(gate_count(&scene.asker.ended), 1);
    cr_assert_eq(scene.asker.status, error);
    cr_assert_eq(scene.flaky.count, expected, "%s: %d", dctx_error_name(error), scene.flaky.count);
    close_scene(&scene);
}

Test(retry, only_what_is_safe_is_tried_again, .init = fixture_init, .timeout = 30)
{
    check_attempts(DCTX_ERR_FULL, false, 4);
    check_attempts(DCTX_ERR_NO_ACTOR, false, 4);
    check_attempts(DCTX_ERR_REJECTED, true, 1);
    check_attempts(DCTX_ERR_TYPE, true, 1);
    check_attempts(DCTX_ERR_NO_REPLY, false, 1);
    check_attempts(DCTX_ERR_NO_REPLY, true, 4);
    check_attempts(DCTX_ERR_UNREACHABLE, false, 1);
    check_attempts(DCTX_ERR_UNREACHABLE, true, 4);
    check_attempts(DCTX_ERR_DEADLINE, true, 1);
}

static bool only_rejected(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    ++*(int *)arg;
    return status == DCTX_ERR_REJECTED;
}

Test(retry, the_caller_may_know_better, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    int asked = 0;
    open_scene(&scene, 7, 1, DCTX_ERR_REJECTED);
    ask(&scene, 60000, &(dctx_retry_t){.may_retry = only_rejected, .arg = &asked});
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(scene.asker.status, DCTX_OK);
    cr_assert_eq(asked, 1);
    close_scene(&scene);
}

Test(retry, an_actor_that_is_gone_is_asked_for_again, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, 3, 0, DCTX_OK);
    cr_assert_eq(dctx_stop(scene.ref), DCTX_OK);
    cr_assert(dctx_test_run(scene.world));
    ask(&scene, 60000, NULL);
    cr_assert_eq(counters(scene.system).refused, 1);
    cr_assert(dctx_test_advance(scene.world, 10 * SECOND));
    cr_assert_eq(scene.asker.status, DCTX_ERR_NO_ACTOR);
    cr_assert_str_neq(scene.asker.text, "");
    cr_assert_eq(counters(scene.system).refused, 3);
    close_scene(&scene);
}

Test(retry, an_attempt_has_a_timeout_of_its_own_and_is_called_off, .init = fixture_init,
     .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, 5, 2, DCTX_OK);
    ask(&scene, 60000, &(dctx_retry_t){.attempt_timeout_ms = 300, .idempotent = true});
    cr_assert(dctx_test_advance(scene.world, 10 * SECOND));
    cr_assert_eq(scene.asker.status, DCTX_OK);
    cr_assert_eq(scene.flaky.count, 3);
    cr_assert_geq(scene.asker.at - scene.begin, 600 * MS);
    cr_assert_eq(dctx_cancel_status(scene.flaky.scope[0]), DCTX_ERR_CANCELLED);
    cr_assert_eq(dctx_cancel_status(scene.flaky.scope[1]), DCTX_ERR_CANCELLED);
    cr_assert_eq(dctx_cancel_status(scene.flaky.scope[2]), DCTX_OK);
    close_scene(&scene);
}

Test(retry, the_timeout_is_that_of_the_whole, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, 5, SEEN_MAX, DCTX_OK);
    ask(&scene, 1000,
        &(dctx_retry_t){.attempts = 50, .attempt_timeout_ms = 300, .idempotent = true});
    cr_assert(dctx_test_advance(scene.world, 10 * SECOND));
    cr_assert_eq(gate_count(&scene.asker.ended), 1);
    cr_assert_eq(scene.asker.status, DCTX_ERR_TIMEOUT);
    cr_assert_leq(scene.asker.at - scene.begin, 1001 * MS);
    cr_assert_leq(scene.flaky.count, 4);
    for (int i = 0; i < scene.flaky.count; i++)
        cr_assert_neq(dctx_cancel_status(scene.flaky.scope[i]), DCTX_OK);
    close_scene(&scene);
}

Test(retry, the_deadline_too_is_that_of_the_whole, .timeout = 30)
{
    scene_t scene;
    open_world(&scene, 11);
    cr_assert_eq(dctx_registry_set_clocks(NULL, dctx_test_clocks(scene.world)), DCTX_OK);
    fixture_init();
    open_system(&scene, SEEN_MAX, DCTX_OK);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(dctx_deadline_set_timeout(SECOND), DCTX_OK);
        ask(&scene, 60000,
            &(dctx_retry_t){.attempts = 50, .attempt_timeout_ms = 300, .idempotent = true});
    }
    cr_assert(dctx_test_advance(scene.world, 10 * SECOND));
    cr_assert_eq(gate_count(&scene.asker.ended), 1);
    cr_assert_eq(scene.asker.status, DCTX_ERR_DEADLINE);
    cr_assert_eq(scene.asker.at, scene.begin + SECOND);
    cr_assert(scene.flaky.count > 1 && scene.flaky.count <= 4);
    for (int i = 0; i < scene.flaky.count; i++)
        cr_assert_eq(scene.flaky.left[i], scene.begin + SECOND - scene.flaky.at[i]);
    close_scene(&scene);
}

Test(retry, a_cancel_ends_it_between_attempts, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    dctx_cancel_t *cancel = NULL;
    open_scene(&scene, 5, SEEN_MAX, DCTX_ERR_FULL);
    cr_assert_eq(dctx_cancel_new(&cancel), DCTX_OK);
    DCTX_WITH_SCOPE(NULL) {
        cr_assert_eq(dctx_cancel_enter(cancel), DCTX_OK);
        ask(&scene, 60000, &(dctx_retry_t){.attempts = 50, .backoff_ms = 5000});
    }
    cr_assert(dctx_test_run(scene.world));
    (void)dctx_cancel(cancel, "enough");
    cr_assert(dctx_test_run(scene.world));
    cr_assert_eq(scene.asker.status, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(scene.asker.text, "enough");
    int count = scene.flaky.count;
    cr_assert(dctx_test_advance(scene.world, 60 * SECOND));
    cr_assert_eq(scene.flaky.count, count);
    dctx_cancel_unref(&cancel);
    close_scene(&scene);
}

Test(retry, a_budget_keeps_retries_from_multiplying_a_failure, .init = fixture_init, .timeout = 60)
{
    enum { ASKS = 50 };
    scene_t scene;
    dctx_budget_t *budget = new_budget(0.2, -1, 10000);
    open_scene(&scene, 5, SEEN_MAX, DCTX_ERR_FULL);
    for (int i = 0; i < ASKS; i++)
        ask(&scene, 60000, &(dctx_retry_t){.attempts = 10, .budget = budget});
    cr_assert(dctx_test_advance(scene.world, 5 * SECOND));
    cr_assert_eq(gate_count(&scene.asker.ended), ASKS);
    cr_assert_eq(scene.flaky.count, ASKS + ASKS / 5);
    cr_assert_gt(dctx_budget_refusals(budget), 0);
    dctx_budget_unref(&budget);
    close_scene(&scene);
}

/* ---- from inside, and as futures ------------------------------------------------------------- */

typedef struct client {
    dctx_ref_t to;
    asker_t *asker;
    bool stops;
} client_t;

static void client_end(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                       void *state, void *arg)
{
    (void)arg;
    cr_assert_str_eq(dctx_self_name(self), "client");
    cr_assert_str_eq(tenant_get_or(""), "acme");
    on_end(status, reply, ((client_t *)state)->asker);
}

static dctx_error_t client(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    client_t *here = state;
    (void)message;
    if (here->stops) {
        dctx_self_stop(self);
        return DCTX_OK;
    }
    dctx_retry_t retry = {.attempts = 9, .backoff_ms = 1000};
    cr_assert_eq(tenant_set("acme"), DCTX_OK);
    cr_assert_eq(dctx_ask_retry(self, here->to, NULL, NULL, 60000, &retry, client_end, NULL),
                 DCTX_OK);
    return DCTX_OK;
}

Test(retry, an_actor_hears_of_the_end_on_its_turn, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, 5, 3, DCTX_ERR_FULL);
    client_t here = {.to = scene.ref, .asker = &scene.asker};
    tell_uint(spawn(scene.system, "client", client, &here), 0);
    cr_assert(dctx_test_advance(scene.world, 30 * SECOND));
    cr_assert_eq(scene.asker.status, DCTX_OK);
    cr_assert_eq(scene.flaky.count, 4);
    close_scene(&scene);
}

Test(retry, it_ends_with_its_asker, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, 5, SEEN_MAX, DCTX_OK);
    client_t here = {.to = scene.ref, .asker = &scene.asker};
    dctx_ref_t ref = spawn(scene.system, "client", client, &here);
    tell_uint(ref, 0);
    cr_assert(dctx_test_run(scene.world));
    here.stops = true;
    tell_uint(ref, 0);
    cr_assert(dctx_test_advance(scene.world, 30 * SECOND));
    cr_assert_eq(gate_count(&scene.asker.ended), 0);
    cr_assert_eq(scene.flaky.count, 1);
    cr_assert_eq(dctx_cancel_status(scene.flaky.scope[0]), DCTX_ERR_CANCELLED);
    close_scene(&scene);
}

Test(retry, as_a_future, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    dctx_future_t *future = NULL, *other = NULL;
    dctx_result_t result;
    open_scene(&scene, 5, 2, DCTX_ERR_FULL);
    cr_assert_eq(
        dctx_ask_retry_future(scene.ref, NULL, NULL, DCTX_TYPE_STRING, 60000, NULL, &future),
        DCTX_OK);
    cr_assert(dctx_test_advance(scene.world, SECOND));
    cr_assert_eq(dctx_future_result(future, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_OK);
    cr_assert_str_eq(dctx_result_get(&result, DCTX_TYPE_STRING), "at last");
    scene.flaky.failures = SEEN_MAX;
    scene.flaky.error = DCTX_OK;
    cr_assert_eq(dctx_ask_retry_future(scene.ref, NULL, NULL, NULL, 60000, NULL, &other), DCTX_OK);
    cr_assert(dctx_test_run(scene.world));
    dctx_future_cancel(other, "no need");
    cr_assert(dctx_test_run(scene.world));
    cr_assert_eq(dctx_cancel_status(scene.flaky.scope[3]), DCTX_ERR_CANCELLED);
    dctx_future_unref(&future);
    dctx_future_unref(&other);
    close_scene(&scene);
}

Test(retry, wrong_ones_are_refused, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    dctx_future_t *future = NULL;
    open_scene(&scene, 5, 0, DCTX_OK);
    cr_assert_eq(dctx_ask_retry_call(DCTX_REF_NONE, NULL, NULL, 0, NULL, on_end, NULL),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_ask_retry_call(scene.ref, NULL, NULL, 0, NULL, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_ask_retry_call(scene.ref, NULL, NULL, 0, &(dctx_retry_t){.backoff_ms = -1},
                                     on_end, NULL),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_ask_retry(NULL, scene.ref, NULL, NULL, 0, NULL, client_end, NULL),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_ask_retry_future(DCTX_REF_NONE, NULL, NULL, NULL, 0, NULL, &future),
                 DCTX_ERR_INVALID);
    cr_assert_null(future);
    close_scene(&scene);
}

Test(retry, a_stop_in_between_ends_it, .init = fixture_init, .timeout = 30)
{
    scene_t scene;
    open_scene(&scene, 5, SEEN_MAX, DCTX_ERR_FULL);
    ask(&scene, 600000,
        &(dctx_retry_t){.attempts = 50, .backoff_ms = 100000, .backoff_max_ms = 100000});
    cr_assert(dctx_test_run(scene.world));
    cr_assert_eq(dctx_system_stop(scene.system, 0, NULL), DCTX_OK);
    cr_assert_eq(scene.asker.status, DCTX_ERR_STOPPED);
    close_scene(&scene);
}
