/* Who hears of whose end, and of what. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/handling.h>

#include "fixture.h"

/* An actor does as it is told. */
typedef enum order { ORDER_NOTHING, ORDER_STOP, ORDER_FAIL, ORDER_KEEP } order_t;

static dctx_error_t obey(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const uint64_t *order = dctx_message_get(message, DCTX_TYPE_UINT64);
    (void)state;
    if (order != NULL && *order == ORDER_STOP)
        dctx_self_stop(self);
    if (order != NULL && *order == ORDER_FAIL)
        dctx_self_fail(self, DCTX_ERR_IO, "disk full");
    return order != NULL && *order == ORDER_KEEP ? dctx_stash(self, message) : DCTX_OK;
}

static void check_format(const dctx_exit_t *exit, const char *expected)
{
    char text[1024];
    size_t length = dctx_exit_format(exit, text, sizeof text);
    cr_assert_str_eq(text, expected);
    cr_assert_eq(length, strlen(expected));
    char cut[8];
    cr_assert_eq(dctx_exit_format(exit, cut, sizeof cut), length);
    cr_assert_eq(strncmp(cut, expected, 7), 0);
    cr_assert_eq(dctx_exit_format(exit, NULL, 0), length);
}

Test(monitor, waits_for_an_end, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    dctx_ref_t a = spawn(system, "a", obey, NULL), b = spawn(system, "b", obey, NULL);
    dctx_exit_t *exit = NULL;
    cr_assert_eq(dctx_await_end(a, 0, &exit), DCTX_ERR_TIMEOUT);
    cr_assert_null(exit);
    tell_uint(a, ORDER_STOP);
    cr_assert_eq(dctx_await_end(a, WAIT_MS, &exit), DCTX_OK);
    if (dctx_exit_kind(exit) != DCTX_EXIT_NO_ACTOR) { /* it may be gone before we ask */
        check_format(exit, "a: stopped by itself");
        cr_assert_not(dctx_exit_is_failure(exit));
        cr_assert_eq(dctx_exit_error(exit), DCTX_ERR_STOPPED);
    }
    dctx_exit_unref(&exit);
    cr_assert_null(exit);
    cr_assert_eq(dctx_await_end(a, WAIT_MS, &exit), DCTX_OK);
    /* How it ended is known until its cell is free. */
    cr_assert(dctx_exit_kind(exit) == DCTX_EXIT_NO_ACTOR || dctx_exit_kind(exit) == DCTX_EXIT_SELF);
    dctx_exit_unref(&exit);
    cr_assert_eq(dctx_stop(b), DCTX_OK);
    cr_assert_eq(dctx_await_end(b, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(counters(system).actors, 0);
    finish(&system);
}

Test(monitor, an_actor_without_a_parent_that_fails_ends, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    dctx_ref_t payments = spawn(system, "payments", obey, NULL);
    DCTX_WITH_SCOPE("api")
        tell_uint(payments, ORDER_FAIL);
    dctx_exit_t *exit = NULL;
    cr_assert_eq(dctx_await_end(payments, WAIT_MS, &exit), DCTX_OK);
    if (dctx_exit_kind(exit) != DCTX_EXIT_NO_ACTOR) {
        check_format(exit, "payments: failed: DCTX_ERR_IO \"disk full\" in handler of \"uint64\" "
                           "under api > actor:payments");
        cr_assert_eq(dctx_exit_error(exit), DCTX_ERR_IO);
        cr_assert_str_eq(dctx_exit_who(exit), "payments");
        cr_assert_str_eq(dctx_exit_reason(exit), "disk full");
        cr_assert_str_eq(dctx_exit_where(exit), "handler of \"uint64\"");
        cr_assert_str_eq(dctx_exit_chain(exit), "api > actor:payments");
        cr_assert_null(dctx_exit_cause(exit));
        cr_assert(dctx_exit_is_failure(exit));
    }
    dctx_exit_unref(&exit);
    cr_assert_eq(counters(system).failures, 1);
    finish(&system);
}

/* A watcher, and what it heard. */
typedef struct watcher {
    dctx_ref_t targets[4];
    dctx_monitor_t *monitors[4];
    int downs[4];
    int failures;
    char last[512];
    const char *tenant;
} watcher_t;

static void on_down(dctx_actor_t *self, dctx_ref_t who, const dctx_exit_t *exit, void *state,
                    void *arg)
{
    watcher_t *watcher = state;
    int *count = arg;
    ++*count;
    watcher->failures += dctx_exit_is_failure(exit);
    (void)dctx_exit_format(exit, watcher->last, sizeof watcher->last);
    cr_assert(dctx_ref_equal(who, watcher->targets[count - watcher->downs]));
    cr_assert_eq(strncmp(dctx_self_name(self), "watcher", 7), 0);
    if (tenant_get() != NULL)
        cr_assert_str_eq(tenant_get(), "acme");
    watcher->tenant = tenant_get() != NULL ? "acme" : "";
}

/* uint64: monitor all; a string: take back the monitor of number 1. */
static dctx_error_t watch(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    watcher_t *watcher = state;
    if (dctx_message_get(message, DCTX_TYPE_STRING) != NULL) {
        dctx_demonitor(self, &watcher->monitors[1]);
        cr_assert_null(watcher->monitors[1]);
        return DCTX_OK;
    }
    for (int i = 0; i < 4; i++) {
        if (!dctx_ref_is_none(watcher->targets[i]))
            cr_assert_eq(dctx_monitor(self, watcher->targets[i], on_down, &watcher->downs[i],
                                      i == 1 ? &watcher->monitors[i] : NULL),
                         DCTX_OK);
    }
    return DCTX_OK;
}

typedef struct world {
    dctx_test_world_t *world;
    dctx_system_t *system;
} world_t;

static world_t world_start(uint64_t seed)
{
    world_t w = {0};
    cr_assert_eq(dctx_test_world_new(seed, &w.world), DCTX_OK);
    w.system = start(&(dctx_system_options_t){.world = w.world});
    return w;
}

static void world_finish(world_t *w)
{
    finish(&w->system);
    dctx_test_world_destroy(&w->world);
}

Test(monitor, tells_each_end_once, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        world_t w = world_start(seed);
        watcher_t watcher = {0};
        dctx_ref_t ref = spawn(w.system, "watcher", watch, &watcher);
        for (int i = 0; i < 4; i++)
            watcher.targets[i] = spawn(w.system, NULL, obey, NULL);
        dctx_ref_t gone = watcher.targets[3];
        tell_uint(gone, ORDER_STOP);
        cr_assert(dctx_test_run(w.world));
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(tenant_set("acme"), DCTX_OK);
            tell_uint(ref, 0);
        }
        cr_assert(dctx_test_run(w.world));
        cr_assert_eq(watcher.downs[3], 1, "one that is gone is told at once");
        cr_assert_str_eq(watcher.last, "gone before: DCTX_ERR_NO_ACTOR");
        cr_assert_str_eq(watcher.tenant, "acme");
        tell_uint(watcher.targets[0], ORDER_FAIL);
        cr_assert_eq(dctx_tell(ref, DCTX_TYPE_STRING, "demonitor"), DCTX_OK);
        cr_assert(dctx_test_run(w.world));
        cr_assert_eq(watcher.failures, 2);
        tell_uint(watcher.targets[1], ORDER_STOP);
        tell_uint(watcher.targets[2], ORDER_STOP);
        cr_assert(dctx_test_run(w.world));
        cr_assert_eq(watcher.downs[0], 1);
        cr_assert_eq(watcher.downs[1], 0, "it was taken back");
        cr_assert_eq(watcher.downs[2], 1);
        cr_assert_eq(watcher.failures, 2);
        world_finish(&w);
    }
}

Test(monitor, ends_with_the_watcher, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        world_t w = world_start(seed);
        watcher_t watcher = {0};
        dctx_ref_t ref = spawn(w.system, "watcher", watch, &watcher);
        for (int i = 0; i < 4; i++)
            watcher.targets[i] = spawn(w.system, NULL, obey, NULL);
        tell_uint(ref, 0);
        cr_assert(dctx_test_run(w.world));
        cr_assert_eq(dctx_stop(ref), DCTX_OK);
        if (seed % 2 == 0)
            cr_assert(dctx_test_run(w.world));
        for (int i = 0; i < 4; i++)
            tell_uint(watcher.targets[i], ORDER_STOP);
        cr_assert(dctx_test_run(w.world));
        world_finish(&w);
    }
}

static void count_call(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    (void)who;
    cr_assert_not_null(exit);
    gate_pass(arg);
}

Test(monitor, calls_from_outside_until_the_system_has_stopped, .init = fixture_init, .timeout = 30)
{
    enum { COUNT = 200 };
    gate_t gate = GATE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_ref_t refs[COUNT];
    for (int i = 0; i < COUNT; i++) {
        refs[i] = spawn(system, NULL, obey, NULL);
        cr_assert_eq(dctx_monitor_call(refs[i], count_call, &gate), DCTX_OK);
        cr_assert_eq(dctx_monitor_call(refs[i], count_call, &gate), DCTX_OK);
        tell_uint(refs[i], i % 3);
    }
    finish(&system);
    cr_assert_eq(gate_count(&gate), 2 * COUNT);
}

Test(monitor, refuses_what_makes_no_sense, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    dctx_ref_t a = spawn(system, "a", obey, NULL), far;
    cr_assert_eq(dctx_monitor(NULL, a, on_down, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_monitor_call(a, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_monitor_call(DCTX_REF_NONE, count_call, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_await_end(DCTX_REF_NONE, 0, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_find(system, "a@elsewhere", &far), DCTX_OK);
    cr_assert_eq(dctx_tie(a, far, 0), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_tie(a, a, 0), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_tie(a, DCTX_REF_NONE, 0), DCTX_ERR_INVALID);
    dctx_demonitor(NULL, NULL);
    dctx_exit_unref(NULL);
    cr_assert_null(dctx_self_exit(NULL));
    dctx_ref_t b = spawn(system, "b", obey, NULL);
    cr_assert_eq(dctx_tie(a, b, 8), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_stop(b), DCTX_OK);
    cr_assert_eq(dctx_await_end(b, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(dctx_tie(a, b, 0), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(dctx_untie(a, b), DCTX_ERR_NO_ACTOR);
    finish(&system);
}

/* ---- ties ------------------------------------------------------------------------------------ */

static dctx_exit_t *end_of(const world_t *w, dctx_ref_t ref)
{
    (void)w;
    dctx_exit_t *exit = NULL;
    cr_assert_eq(dctx_await_end(ref, WAIT_MS, &exit), DCTX_OK);
    return exit;
}

static void keep_down(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    (void)who;
    dctx_exit_t **place = arg;
    *place = dctx_exit_ref(exit);
}

Test(monitor, ties_end_lives_together_when_one_fails, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        world_t w = world_start(seed);
        dctx_ref_t orders = spawn(w.system, "orders", obey, NULL);
        dctx_ref_t payments = spawn(w.system, "payments", obey, NULL);
        dctx_ref_t third = spawn(w.system, "third", obey, NULL);
        dctx_exit_t *exits[3] = {0};
        cr_assert_eq(dctx_tie(orders, payments, 0), DCTX_OK);
        cr_assert_eq(dctx_tie(orders, third, 0), DCTX_OK);
        cr_assert_eq(dctx_monitor_call(orders, keep_down, &exits[0]), DCTX_OK);
        cr_assert_eq(dctx_monitor_call(third, keep_down, &exits[1]), DCTX_OK);
        DCTX_WITH_SCOPE("api")
            tell_uint(payments, ORDER_FAIL);
        cr_assert(dctx_test_run(w.world));
        check_format(exits[0], "orders: stopped: tied to payments: failed: DCTX_ERR_IO \"disk "
                               "full\" in handler of \"uint64\" under api > actor:payments");
        cr_assert_eq(dctx_exit_kind(exits[1]), DCTX_EXIT_TIED);
        cr_assert_str_eq(dctx_exit_who(dctx_exit_cause(exits[1])), "orders");
        dctx_exit_unref(&exits[0]);
        dctx_exit_unref(&exits[1]);
        cr_assert_eq(counters(w.system).actors, 0);
        world_finish(&w);
    }
}

Test(monitor, ties_do_not_mind_a_plain_end, .init = fixture_init, .timeout = 30)
{
    world_t w = world_start(1);
    dctx_ref_t a = spawn(w.system, "a", obey, NULL), b = spawn(w.system, "b", obey, NULL);
    dctx_ref_t c = spawn(w.system, "c", obey, NULL);
    cr_assert_eq(dctx_tie(a, b, 0), DCTX_OK);
    cr_assert_eq(dctx_tie(b, c, DCTX_TIE_ANY_END), DCTX_OK);
    cr_assert(dctx_test_run(w.world));
    tell_uint(a, ORDER_STOP);
    cr_assert(dctx_test_run(w.world));
    cr_assert_eq(counters(w.system).actors, 2);
    tell_uint(b, ORDER_STOP);
    dctx_exit_t *exit = end_of(&w, c);
    check_format(exit, "c: stopped: tied to b: stopped by itself");
    dctx_exit_unref(&exit);
    world_finish(&w);
}

Test(monitor, a_tie_can_be_undone, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        world_t w = world_start(seed);
        dctx_ref_t a = spawn(w.system, "a", obey, NULL), b = spawn(w.system, "b", obey, NULL);
        cr_assert_eq(dctx_tie(a, b, 0), DCTX_OK);
        cr_assert_eq(dctx_tie(b, a, 0), DCTX_OK);
        cr_assert_eq(dctx_untie(b, a), DCTX_OK);
        cr_assert(dctx_test_run(w.world));
        tell_uint(a, ORDER_FAIL);
        cr_assert(dctx_test_run(w.world));
        cr_assert_eq(counters(w.system).actors, 1);
        world_finish(&w);
    }
}

static void trap(dctx_actor_t *self, dctx_ref_t who, const dctx_exit_t *exit, void *state)
{
    (void)who;
    watcher_t *watcher = state;
    cr_assert_str_eq(dctx_self_name(self), "trapper");
    watcher->failures += dctx_exit_is_failure(exit);
}

Test(monitor, a_tie_can_be_trapped, .init = fixture_init, .timeout = 30)
{
    world_t w = world_start(3);
    watcher_t watcher = {0};
    dctx_actor_options_t options = {
        .name = "trapper", .handler = obey, .state = &watcher, .on_tied = trap};
    dctx_ref_t trapper, a = spawn(w.system, "a", obey, NULL);
    cr_assert_eq(dctx_spawn(w.system, &options, &trapper), DCTX_OK);
    cr_assert_eq(dctx_tie(a, trapper, 0), DCTX_OK);
    tell_uint(a, ORDER_FAIL);
    cr_assert(dctx_test_run(w.world));
    cr_assert_eq(watcher.failures, 1);
    cr_assert_eq(counters(w.system).actors, 1);
    world_finish(&w);
}

/* Each of a long ring ends by the one before; the causes stay few. */
Test(monitor, a_ring_of_ties_falls_as_one, .init = fixture_init, .timeout = 60)
{
    enum { RING = 300 };
    dctx_system_t *system = start(NULL);
    dctx_ref_t refs[RING];
    gate_t gate = GATE_INIT;
    for (int i = 0; i < RING; i++) {
        refs[i] = spawn(system, NULL, obey, NULL);
        cr_assert_eq(dctx_monitor_call(refs[i], count_call, &gate), DCTX_OK);
        if (i > 0)
            cr_assert_eq(dctx_tie(refs[i - 1], refs[i], 0), DCTX_OK);
    }
    cr_assert_eq(dctx_tie(refs[RING - 1], refs[0], 0), DCTX_OK);
    tell_uint(refs[RING / 2], ORDER_FAIL);
    cr_assert(gate_wait(&gate, RING));
    cr_assert_eq(counters(system).actors, 0);
    finish(&system);
}

/* Between two systems of one process: either may go first. */
Test(monitor, reaches_other_systems_of_the_process, .init = fixture_init, .timeout = 30)
{
    for (int first = 0; first < 2; first++) {
        gate_t gate = GATE_INIT;
        dctx_system_t *here = start(NULL), *there = start(NULL);
        dctx_ref_t a = spawn(here, "a", obey, NULL), b = spawn(there, "b", obey, NULL);
        cr_assert_eq(dctx_tie(a, b, DCTX_TIE_ANY_END), DCTX_OK);
        cr_assert_eq(dctx_monitor_call(b, count_call, &gate), DCTX_OK);
        finish(first == 0 ? &here : &there);
        cr_assert(gate_wait(&gate, 1));
        finish(first == 0 ? &there : &here);
    }
}

/* ---- dead letters say why -------------------------------------------------------------------- */

static char letter_text[512];

static void on_letter(const dctx_dead_letter_t *letter, void *arg)
{
    (void)arg;
    letter_text[0] = '\0';
    if (letter->exit != NULL)
        (void)dctx_exit_format(letter->exit, letter_text, sizeof letter_text);
}

Test(monitor, dead_letters_say_how_their_target_ended, .init = fixture_init, .timeout = 30)
{
    world_t w = {0};
    cr_assert_eq(dctx_test_world_new(9, &w.world), DCTX_OK);
    w.system = start(&(dctx_system_options_t){.world = w.world, .on_dead_letter = on_letter});
    dctx_ref_t a = spawn(w.system, "a", obey, NULL);
    tell_uint(a, ORDER_FAIL);
    tell_uint(a, ORDER_NOTHING);
    cr_assert(dctx_test_run(w.world));
    cr_assert_str_eq(letter_text, "a: failed: DCTX_ERR_IO \"disk full\" in handler of \"uint64\" "
                                  "under actor:a");
    world_finish(&w);
}

Test(monitor, so_do_those_that_it_had_kept, .init = fixture_init, .timeout = 30)
{
    world_t w = {0};
    cr_assert_eq(dctx_test_world_new(9, &w.world), DCTX_OK);
    w.system = start(&(dctx_system_options_t){.world = w.world, .on_dead_letter = on_letter});
    dctx_ref_t a = spawn(w.system, "a", obey, NULL);
    tell_uint(a, ORDER_KEEP);
    tell_uint(a, ORDER_FAIL);
    cr_assert(dctx_test_run(w.world));
    cr_assert_str_eq(letter_text, "a: failed: DCTX_ERR_IO \"disk full\" in handler of \"uint64\" "
                                  "under actor:a");
    world_finish(&w);
}

/* ---- where it failed ------------------------------------------------------------------------- */

static void fail_late(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    (void)missed;
    (void)state;
    (void)arg;
    dctx_self_fail(self, DCTX_ERR_IO, "late");
}

static void fail_after(dctx_actor_t *self, dctx_ref_t who, const dctx_exit_t *exit, void *state,
                       void *arg)
{
    (void)who;
    (void)exit;
    fail_late(self, 0, state, arg);
}

static dctx_error_t wait_in_vain(dctx_actor_t *self, void *state)
{
    const dctx_ref_t *who = state;
    if (who != NULL)
        return dctx_monitor(self, *who, fail_after, NULL, NULL);
    return dctx_timer_start(self, &(dctx_timer_options_t){.run = fail_late}, NULL);
}

Test(monitor, an_exit_names_the_callback, .init = fixture_init, .timeout = 30)
{
    world_t w = {0};
    cr_assert_eq(dctx_test_world_new(9, &w.world), DCTX_OK);
    w.system = start(&(dctx_system_options_t){.world = w.world});
    dctx_ref_t a, b;
    dctx_actor_options_t options = {.name = "a", .handler = obey, .on_start = wait_in_vain};
    cr_assert_eq(dctx_spawn(w.system, &options, &a), DCTX_OK);
    options.name = "b";
    options.state = &a;
    cr_assert_eq(dctx_spawn(w.system, &options, &b), DCTX_OK);
    dctx_exit_t *exits[2] = {NULL, NULL};
    cr_assert_eq(dctx_monitor_call(a, keep_down, &exits[0]), DCTX_OK);
    cr_assert_eq(dctx_monitor_call(b, keep_down, &exits[1]), DCTX_OK);
    cr_assert(dctx_test_advance(w.world, 1000));
    cr_assert_str_eq(dctx_exit_where(exits[0]), "a timer");
    cr_assert_str_eq(dctx_exit_where(exits[1]), "on_down");
    dctx_exit_unref(&exits[0]);
    dctx_exit_unref(&exits[1]);
    world_finish(&w);
}
