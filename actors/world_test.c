/* Test worlds: virtual time to the nanosecond, orders that come from a seed, and waiting from
 * inside. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "system.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

static dctx_test_world_t *new_world(uint64_t seed)
{
    dctx_test_world_t *world = NULL;
    cr_assert_eq(dctx_test_world_new(seed, &world), DCTX_OK);
    return world;
}

static dctx_system_t *start_in(dctx_test_world_t *world)
{
    return start(&(dctx_system_options_t){.world = world});
}

static void end(dctx_test_world_t **world_p, dctx_system_t **system_p)
{
    finish(system_p);
    dctx_test_world_destroy(world_p);
    cr_assert_null(*world_p);
}

/* ---- time ------------------------------------------------------------------------------------ */

typedef struct ticker {
    dctx_test_world_t *world;
    dctx_timer_options_t options;
    dctx_timer_t timer;
    int64_t at[64]; /* when it ran */
    uint64_t missed[64];
    int count;
    int64_t busy; /* what each run takes, by a clock that it moves itself */
} ticker_t;

static void tick(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    ticker_t *ticker = state;
    cr_assert_str_eq(dctx_self_name(self), "ticker");
    cr_assert_eq(arg, state);
    ticker->at[ticker->count] = dctx_test_now(ticker->world);
    ticker->missed[ticker->count++] = missed;
}

static dctx_error_t set_ticker(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    ticker_t *ticker = state;
    ticker->options.run = tick;
    ticker->options.arg = ticker;
    return dctx_timer_start(self, &ticker->options, &ticker->timer);
}

Test(world, a_timer_runs_at_its_time_exactly, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(1);
    dctx_system_t *system = start_in(world);
    ticker_t ticker = {.world = world, .options = {.delay_ns = 5 * SECOND}};
    tell_uint(spawn(system, "ticker", set_ticker, &ticker), 1);
    int64_t begin = dctx_test_now(world);
    cr_assert(dctx_test_advance(world, 5 * SECOND - 1));
    cr_assert_eq(ticker.count, 0);
    cr_assert(dctx_timer_is_pending(ticker.timer));
    cr_assert(dctx_test_advance(world, 1));
    cr_assert_eq(ticker.count, 1);
    cr_assert_eq(ticker.at[0], begin + 5 * SECOND);
    cr_assert(!dctx_timer_is_pending(ticker.timer));
    cr_assert(dctx_test_advance(world, 1000 * SECOND));
    cr_assert_eq(ticker.count, 1);
    end(&world, &system);
}

Test(world, a_periodic_timer_does_not_drift, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(2);
    dctx_system_t *system = start_in(world);
    ticker_t ticker = {.world = world, .options = {.delay_ns = 3 * MS, .period_ns = 7 * MS}};
    int64_t begin = dctx_test_now(world);
    tell_uint(spawn(system, "ticker", set_ticker, &ticker), 1);
    cr_assert(dctx_test_advance(world, 3 * MS + 20 * 7 * MS));
    cr_assert_eq(ticker.count, 21);
    for (int i = 0; i < 21; i++) {
        cr_assert_eq(ticker.at[i], begin + 3 * MS + i * 7 * MS);
        cr_assert_eq(ticker.missed[i], 0);
    }
    cr_assert(dctx_timer_cancel(ticker.timer));
    cr_assert(dctx_test_advance(world, SECOND));
    cr_assert_eq(ticker.count, 21);
    cr_assert(!dctx_timer_cancel(ticker.timer));
    end(&world, &system);
}

/* Its handler takes long: time passes while a pinned actor waits in it. */
static dctx_error_t never_answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    return dctx_reply_defer(message, state);
}

typedef struct slow {
    ticker_t ticker;
    dctx_ref_t mute;
    int64_t waits_ms;
} slow_t;

static void slow_tick(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    slow_t *slow = state;
    ticker_t *ticker = &slow->ticker;
    (void)arg;
    (void)self;
    ticker->at[ticker->count] = dctx_test_now(ticker->world);
    ticker->missed[ticker->count++] = missed;
    if (ticker->count > 1)
        return;
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(slow->mute, NULL, NULL, slow->waits_ms, &reply), DCTX_ERR_TIMEOUT);
    cr_assert_eq(dctx_test_now(ticker->world), ticker->at[ticker->count - 1] + slow->waits_ms * MS);
}

static dctx_error_t set_slow(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    slow_t *slow = state;
    (void)message;
    slow->ticker.options.run = slow_tick;
    return dctx_timer_start(self, &slow->ticker.options, &slow->ticker.timer);
}

Test(world, missed_periods_are_one_run_and_counted, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(3);
    dctx_system_t *system = start_in(world);
    dctx_reply_to_t *unanswered[8] = {0};
    dctx_ref_t ref;
    slow_t slow = {.ticker = {.world = world, .options = {.delay_ns = 0, .period_ns = 10 * MS}},
                   .waits_ms = 35};
    slow.mute = spawn(system, "mute", never_answer, &unanswered[0]);
    dctx_actor_options_t options = {
        .name = "slow", .handler = set_slow, .state = &slow, .flags = DCTX_PINNED};
    int64_t begin = dctx_test_now(world);
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    tell_uint(ref, 1);
    cr_assert(dctx_test_run(world));
    dctx_reply_to_destroy(&unanswered[0]);
    /* It ran at 0 until 35: due were 10, 20 and 30. One run for the three, at once, and in step
     * again. */
    cr_assert_eq(slow.ticker.count, 2);
    cr_assert_eq(slow.ticker.at[0], begin);
    cr_assert_eq(slow.ticker.at[1], begin + 35 * MS);
    cr_assert_eq(slow.ticker.missed[1], 2);
    cr_assert(dctx_test_advance(world, 25 * MS));
    cr_assert_eq(slow.ticker.count, 5);
    cr_assert_eq(slow.ticker.at[2], begin + 40 * MS);
    cr_assert_eq(counters(system).timers_missed, 2);
    end(&world, &system);
}

/* ---- asks ------------------------------------------------------------------------------------ */

static void note_status(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    *(dctx_error_t *)arg = status;
}

Test(world, an_ask_ends_at_its_time_exactly, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(4);
    dctx_system_t *system = start_in(world);
    dctx_reply_to_t *unanswered = NULL;
    dctx_ref_t mute = spawn(system, "mute", never_answer, &unanswered);
    dctx_error_t status = DCTX_OK;
    cr_assert_eq(dctx_ask_call(mute, NULL, NULL, 250, note_status, &status), DCTX_OK);
    cr_assert(dctx_test_advance(world, 250 * MS - 1));
    cr_assert_eq(status, DCTX_OK);
    cr_assert(dctx_test_advance(world, 1));
    cr_assert_eq(status, DCTX_ERR_TIMEOUT);
    dctx_reply_to_destroy(&unanswered);
    /* A blocking one moves the clock as far as it has to. */
    int64_t before = dctx_test_now(world);
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(mute, NULL, NULL, 5000, &reply), DCTX_ERR_TIMEOUT);
    cr_assert_eq(dctx_test_now(world), before + 5000 * MS);
    dctx_reply_to_destroy(&unanswered);
    end(&world, &system);
}

static dctx_error_t echo(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    if (!dctx_message_is_ask(message))
        return DCTX_OK;
    return dctx_reply(message, DCTX_TYPE_UINT64, dctx_message_get(message, DCTX_TYPE_UINT64));
}

/* Asks on in its handler, and waits there. */
static dctx_error_t relay(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const dctx_ref_t *next = state;
    dctx_message_t *reply = NULL;
    char before[64];
    snprintf(before, sizeof before, "%s", chain());
    dctx_error_t error = dctx_ask_wait(*next, DCTX_TYPE_UINT64,
                                       dctx_message_get(message, DCTX_TYPE_UINT64), 0, &reply);
    cr_assert_str_eq(chain(), before, "its context is what it was");
    if (strcmp(dctx_self_name(self), "blocked") == 0)
        cr_assert_eq(error, DCTX_ERR_INVALID);
    else
        cr_assert_eq(error, DCTX_OK);
    if (error == DCTX_OK)
        error = dctx_reply(message, DCTX_TYPE_UINT64, dctx_message_get(reply, DCTX_TYPE_UINT64));
    dctx_message_destroy(&reply);
    return error;
}

Test(world, pinned_actors_may_wait_and_no_others, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(5);
    dctx_system_t *system = start_in(world);
    dctx_ref_t refs[3];
    refs[0] = spawn(system, "echo", echo, NULL);
    const char *names[] = {"one", "two"};
    for (int i = 1; i < 3; i++) {
        dctx_actor_options_t options = {
            .name = names[i - 1], .handler = relay, .state = &refs[i - 1], .flags = DCTX_PINNED};
        cr_assert_eq(dctx_spawn(system, &options, &refs[i]), DCTX_OK);
    }
    uint64_t number = 7;
    dctx_message_t *reply = NULL;
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_ask_wait(refs[2], DCTX_TYPE_UINT64, &number, 0, &reply), DCTX_OK);
        cr_assert_str_eq(tenant_get_or(""), "acme");
        cr_assert_str_eq(chain(), "edge");
    }
    cr_assert_eq(*(const uint64_t *)dctx_message_get(reply, DCTX_TYPE_UINT64), 7);
    dctx_message_destroy(&reply);
    dctx_ref_t blocked = spawn(system, "blocked", relay, &refs[0]);
    cr_assert_eq(dctx_ask_wait(blocked, DCTX_TYPE_UINT64, &number, 0, &reply), DCTX_ERR_INVALID);
    end(&world, &system);
}

/* Two asks under way at once on one thread, one from within the other. */
typedef struct works {
    dctx_ref_t to;
    dctx_cancel_t *outer, *inner;
} works_t;

static dctx_error_t work_inside(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    works_t *works = state;
    (void)self;
    works->inner = dctx_cancel_ref(dctx_cancel_get());
    return dctx_reply(message, NULL, NULL);
}

static dctx_error_t work_outside(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    works_t *works = state;
    dctx_message_t *reply = NULL;
    (void)self;
    works->outer = dctx_cancel_ref(dctx_cancel_get());
    cr_assert_eq(dctx_ask_wait(works->to, NULL, NULL, 0, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
    cr_assert_eq(dctx_cancel_get(), works->outer, "it is still at work for its own asker");
    return dctx_reply(message, NULL, NULL);
}

Test(world, what_is_done_for_one_ask_is_not_done_for_another, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(1);
    dctx_system_t *system = start_in(world);
    works_t works = {.outer = NULL};
    works.to = spawn(system, "inside", work_inside, &works);
    dctx_actor_options_t options = {
        .name = "outside", .handler = work_outside, .state = &works, .flags = DCTX_PINNED};
    dctx_ref_t ref;
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, 0, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
    cr_assert_not_null(works.inner);
    cr_assert_neq(works.inner, works.outer);
    dctx_cancel_unref(&works.inner);
    dctx_cancel_unref(&works.outer);
    end(&world, &system);
}

/* ---- seeds ----------------------------------------------------------------------------------- */

enum { CROWD = 12, HOPS = 40 };

typedef struct crowd {
    dctx_ref_t refs[CROWD];
    unsigned char order[4096]; /* who handled something, in order */
    size_t count;
    dctx_test_world_t *world;
} crowd_t;

static dctx_error_t pass_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    crowd_t *crowd = state;
    const uint64_t *left = dctx_message_get(message, DCTX_TYPE_UINT64);
    unsigned me = 0;
    while (!dctx_ref_equal(crowd->refs[me], dctx_self(self)))
        me++;
    cr_assert_lt(crowd->count, sizeof crowd->order);
    crowd->order[crowd->count++] = (unsigned char)me;
    if (*left > 0) {
        uint64_t next = dctx_system_random_(dctx_self_system(self)) % CROWD;
        tell_uint(crowd->refs[next], *left - 1);
    }
    return DCTX_OK;
}

static uint64_t run_crowd(uint64_t seed, crowd_t *crowd)
{
    *crowd = (crowd_t){.world = new_world(seed)};
    dctx_system_t *system = start_in(crowd->world);
    for (int i = 0; i < CROWD; i++)
        crowd->refs[i] = spawn(system, NULL, pass_on, crowd);
    for (int i = 0; i < CROWD; i++)
        tell_uint(crowd->refs[i], HOPS);
    cr_assert(!dctx_test_is_idle(crowd->world));
    cr_assert(dctx_test_run(crowd->world));
    cr_assert(dctx_test_is_idle(crowd->world));
    cr_assert(!dctx_test_step(crowd->world));
    cr_assert_eq(crowd->count, CROWD * (HOPS + 1));
    cr_assert_leq(dctx_test_steps(crowd->world), CROWD * (HOPS + 1) + CROWD);
    uint64_t trace = dctx_test_trace(crowd->world);
    end(&crowd->world, &system);
    return trace;
}

Test(world, a_seed_replays_the_same_order, .init = fixture_init, .timeout = 60)
{
    static crowd_t first, second;
    uint64_t before = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        uint64_t trace = run_crowd(seed, &first);
        cr_assert_eq(run_crowd(seed, &second), trace);
        cr_assert_arr_eq(first.order, second.order, first.count);
        cr_assert_neq(trace, before, "another seed, another order");
        before = trace;
    }
}

typedef struct race {
    char first;
    dctx_ref_t to;
} race_t;

static dctx_error_t note_first(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    race_t *race = state;
    (void)self;
    const uint64_t *who = dctx_message_get(message, DCTX_TYPE_UINT64);
    if (race->first == 0)
        race->first = (char)('a' + *who);
    return DCTX_OK;
}

static dctx_error_t run_race(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    race_t *race = state;
    (void)self;
    tell_uint(race->to, *(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64));
    return DCTX_OK;
}

Test(world, seeds_find_every_order, .init = fixture_init, .timeout = 60)
{
    int won[3] = {0};
    for (uint64_t seed = 0; seed < 60; seed++) {
        dctx_test_world_t *world = new_world(seed);
        dctx_system_t *system = start_in(world);
        race_t race = {0};
        race.to = spawn(system, NULL, note_first, &race);
        for (uint64_t i = 0; i < 3; i++)
            tell_uint(spawn(system, NULL, run_race, &race), i);
        cr_assert(dctx_test_run(world));
        won[race.first - 'a']++;
        end(&world, &system);
    }
    for (int i = 0; i < 3; i++)
        cr_assert_geq(won[i], 5, "racer %d won %d times", i, won[i]);
}

/* ---- the world itself ------------------------------------------------------------------------ */

static bool has_come(void *arg)
{
    return ((race_t *)arg)->first != 0;
}

Test(world, await_returns_at_once_when_it_is_so, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(6);
    dctx_system_t *system = start_in(world);
    race_t race = {0};
    dctx_ref_t ref = spawn(system, NULL, note_first, &race);
    uint64_t value = 0;
    int64_t begin = dctx_test_now(world);
    cr_assert(!dctx_test_await(world, has_come, &race, SECOND));
    cr_assert_eq(dctx_test_now(world), begin + SECOND);
    cr_assert_eq(dctx_tell_after(ref, 90 * SECOND, DCTX_TYPE_UINT64, &value, NULL), DCTX_OK);
    cr_assert(dctx_test_await(world, has_come, &race, 1000 * SECOND));
    cr_assert_eq(dctx_test_now(world), begin + 91 * SECOND);
    end(&world, &system);
}

static dctx_error_t drive(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    cr_assert(!dctx_test_step(state));
    cr_assert(!dctx_test_run(state));
    cr_assert(!dctx_test_advance(state, 1));
    cr_assert(!dctx_test_await(state, has_come, NULL, 1));
    return DCTX_OK;
}

Test(world, what_makes_no_sense_is_refused, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(7);
    dctx_system_t *system = NULL;
    dctx_clock_t clock = {0};
    dctx_system_options_t options = {.world = world, .clock = &clock};
    cr_assert_eq(dctx_test_world_new(1, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_new(&options, &system), DCTX_ERR_INVALID);
    system = start_in(world);
    tell_uint(spawn(system, NULL, drive, world), 1);
    cr_assert(dctx_test_run(world));
    dctx_test_world_destroy(&world);
    cr_assert(logged("a test world stays"));
    cr_assert_not_null(world);
    end(&world, &system);
    dctx_test_world_destroy(&world);
    dctx_test_world_destroy(NULL);
}

static uint64_t draw_trace(dctx_test_world_t *world)
{
    uint64_t trace = 0;
    dctx_id_source_t ids = dctx_test_ids(world);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(dctx_trace_begin(&ids), DCTX_OK);
        trace = dctx_trace_get()->trace_low;
    }
    return trace;
}

Test(world, deadlines_go_by_its_time_and_ids_by_its_seed, .timeout = 30)
{
    dctx_test_world_t *world = new_world(8), *same = new_world(8);
    cr_assert_eq(dctx_registry_set_clocks(NULL, dctx_test_clocks(world)), DCTX_OK);
    fixture_init();
    cr_assert_eq(draw_trace(world), draw_trace(same));
    dctx_system_t *system =
        start(&(dctx_system_options_t){.world = world, .deadline_policy = DCTX_DEADLINE_ENFORCE});
    race_t race = {0};
    dctx_ref_t ref = spawn(system, NULL, note_first, &race);
    uint64_t value = 1;
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(dctx_deadline_set_timeout(10 * MS), DCTX_OK);
        cr_assert_eq(dctx_tell_after(ref, 10 * MS + 1, DCTX_TYPE_UINT64, &value, NULL), DCTX_OK);
        cr_assert_eq(dctx_tell_after(ref, 9 * MS, DCTX_TYPE_UINT64, &value, NULL), DCTX_OK);
    }
    cr_assert(dctx_test_advance(world, SECOND));
    cr_assert_eq(counters(system).expired, 1);
    cr_assert_eq(counters(system).handled, 1);
    end(&world, &system);
    dctx_test_world_destroy(&same);
}

Test(world, two_systems_share_its_time, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(9);
    dctx_system_t *one = start_in(world), *two = start_in(world);
    dctx_ref_t ref = spawn(two, "echo", echo, NULL), asker;
    dctx_actor_options_t options = {
        .name = "relay", .handler = relay, .state = &ref, .flags = DCTX_PINNED};
    cr_assert_eq(dctx_spawn(one, &options, &asker), DCTX_OK);
    uint64_t value = 3;
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(asker, DCTX_TYPE_UINT64, &value, 0, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
    finish(&two);
    end(&world, &one);
}

/* ---- probes ---------------------------------------------------------------------------------- */

static dctx_error_t ask_probe(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const dctx_ref_t *probe = state;
    (void)message;
    cr_assert_eq(dctx_tell(*probe, DCTX_TYPE_STRING, "a tell"), DCTX_OK);
    return dctx_delegate(self, message, *probe, DCTX_TYPE_STRING, "an ask", 1000);
}

Test(world, a_probe_keeps_what_it_is_sent, .init = fixture_init, .timeout = 30)
{
    dctx_test_world_t *world = new_world(11);
    dctx_system_t *system = start_in(world);
    dctx_test_probe_t *probe = NULL, *idle = NULL;
    dctx_test_letter_t letter;
    cr_assert_eq(dctx_test_probe_new(system, "probe", &probe), DCTX_OK);
    cr_assert_eq(dctx_test_probe_new(system, "probe", &idle), DCTX_ERR_CONFLICT);
    cr_assert_eq(dctx_test_probe_new(system, NULL, &idle), DCTX_OK);
    dctx_ref_t to = dctx_test_probe_ref(probe), asker = spawn(system, "asker", ask_probe, &to);
    dctx_error_t status = DCTX_ERR_INVALID;
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_ask_call(asker, NULL, NULL, 0, note_status, &status), DCTX_OK);
    }
    cr_assert_eq(dctx_test_probe_await(probe, SECOND, &letter), DCTX_OK);
    cr_assert_str_eq(dctx_message_get(letter.message, DCTX_TYPE_STRING), "a tell");
    cr_assert(dctx_ref_equal(letter.sender, asker));
    cr_assert_null(letter.reply_to);
    dctx_scope_t scope;
    cr_assert_eq(dctx_attach(letter.context, &scope), DCTX_OK);
    cr_assert_str_eq(tenant_get_or(""), "acme");
    cr_assert_str_eq(chain(), "edge > actor:asker > actor:probe");
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    dctx_test_letter_clear(&letter);
    cr_assert_eq(dctx_test_probe_await(probe, SECOND, &letter), DCTX_OK);
    cr_assert_str_eq(dctx_message_get(letter.message, DCTX_TYPE_STRING), "an ask");
    cr_assert_eq(dctx_reply_to_send(&letter.reply_to, NULL, NULL), DCTX_OK);
    dctx_test_letter_clear(&letter);
    cr_assert(dctx_test_run(world));
    cr_assert_eq(status, DCTX_OK);

    int64_t begin = dctx_test_now(world);
    cr_assert_eq(dctx_test_probe_await(probe, SECOND, &letter), DCTX_ERR_TIMEOUT);
    cr_assert_eq(dctx_test_now(world), begin + SECOND);
    cr_assert_eq(dctx_stop(to), DCTX_OK);
    cr_assert(dctx_test_run(world));
    cr_assert_eq(dctx_test_probe_await(probe, SECOND, &letter), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(dctx_test_probe_await(NULL, SECOND, &letter), DCTX_ERR_INVALID);
    /* One that was never asked for, and one that outlives its system. */
    status = DCTX_OK;
    cr_assert_eq(dctx_ask_call(dctx_test_probe_ref(idle), NULL, NULL, 0, note_status, &status),
                 DCTX_OK);
    cr_assert(dctx_test_run(world));
    dctx_test_probe_destroy(&idle);
    cr_assert(dctx_test_run(world));
    cr_assert_eq(status, DCTX_ERR_NO_REPLY);
    finish(&system);
    dctx_test_probe_destroy(&probe);
    cr_assert_null(probe);
    dctx_test_world_destroy(&world);
}

/* ---- without memory -------------------------------------------------------------------------- */

static bool out_of_memory;

static void *allocate(size_t size)
{
    return out_of_memory ? NULL : malloc(size);
}

static dctx_error_t count_one(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    ++*(int *)state;
    return DCTX_OK;
}

Test(world, all_run_even_if_there_is_no_memory_to_choose_among_them, .timeout = 30)
{
    static const dctx_allocator_t allocator = {.allocate = allocate, .release = free};
    dctx_set_allocator(&allocator);
    fixture_init();
    dctx_test_world_t *world = new_world(10);
    dctx_system_t *system = start_in(world);
    int count = 0;
    for (int i = 0; i < 100; i++) {
        tell_uint(spawn(system, NULL, count_one, &count), 1);
        out_of_memory = i % 2 == 0;
        cr_assert(i % 10 != 0 || dctx_test_step(world));
        out_of_memory = false;
    }
    out_of_memory = true;
    cr_assert(dctx_test_run(world));
    out_of_memory = false;
    cr_assert_eq(count, 100);
    end(&world, &system);
}
