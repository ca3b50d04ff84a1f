/* Timers and delayed messages on threads: that they run, in which context, that each ends once. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

enum { MS = 1000000 };

/* What an actor with timers does, and saw. */
typedef struct clockmaker {
    dctx_timer_options_t options;
    dctx_timer_t timer;
    int runs_wanted; /* of a periodic one; it is cancelled then */
    int runs;
    uint64_t missed;
    bool cancelled; /* what cancel said */
    char chain[64], tenant[16], secret[16];
    gate_t ran, told;
} clockmaker_t;

static void tick(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    clockmaker_t *maker = state;
    cr_assert_not_null(self);
    cr_assert_eq(arg, maker);
    maker->runs++;
    maker->missed += missed;
    strcpy(maker->chain, chain());
    strcpy(maker->tenant, tenant_get_or(""));
    strcpy(maker->secret, secret_get_or(""));
    if (maker->runs >= maker->runs_wanted)
        maker->cancelled = dctx_timer_cancel(maker->timer);
    gate_pass(&maker->ran);
}

static dctx_error_t set_timer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    clockmaker_t *maker = state;
    if (dctx_message_get(message, DCTX_TYPE_UINT64) != NULL) {
        maker->options.run = tick;
        maker->options.arg = maker;
        cr_assert_eq(dctx_timer_start(self, &maker->options, &maker->timer), DCTX_OK);
        cr_assert(dctx_timer_is_pending(maker->timer));
    } else {
        snprintf(maker->chain, sizeof maker->chain, "%s", chain());
        snprintf(maker->tenant, sizeof maker->tenant, "%s", tenant_get_or(""));
    }
    gate_pass(&maker->told);
    return DCTX_OK;
}

static dctx_ref_t spawn_maker(dctx_system_t *system, clockmaker_t *maker)
{
    maker->ran = maker->told = (gate_t)GATE_INIT;
    return spawn(system, "clocks", set_timer, maker);
}

Test(timer, it_runs_once_in_the_context_it_was_set_in, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    clockmaker_t maker = {.options = {.delay_ns = 2 * MS}, .runs_wanted = 1};
    dctx_ref_t ref = spawn_maker(system, &maker);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(secret_set("s"), DCTX_OK);
        tell_uint(ref, 1);
    }
    cr_assert(gate_wait(&maker.ran, 1));
    cr_assert_str_eq(maker.tenant, "acme");
    cr_assert_str_eq(maker.secret, "s", "it stays in the process, so local values stay too");
    cr_assert_str_eq(maker.chain, "edge > actor:clocks > actor:clocks");
    cr_assert(!maker.cancelled, "one that runs is over");
    cr_assert(!dctx_timer_is_pending(maker.timer));
    cr_assert(!dctx_timer_cancel(maker.timer));
    cr_assert_eq(counters(system).timers_run, 1);
    finish(&system);
}

Test(timer, without_context_by_option, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    clockmaker_t maker = {.options = {.flags = DCTX_TIMER_NO_CONTEXT}, .runs_wanted = 1};
    dctx_ref_t ref = spawn_maker(system, &maker);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(ref, 1);
    }
    cr_assert(gate_wait(&maker.ran, 1));
    cr_assert_str_eq(maker.tenant, "");
    cr_assert_str_eq(maker.chain, "actor:clocks");
    finish(&system);
}

Test(timer, a_periodic_one_runs_until_it_is_cancelled, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    clockmaker_t maker = {.options = {.delay_ns = MS, .period_ns = MS}, .runs_wanted = 5};
    tell_uint(spawn_maker(system, &maker), 1);
    cr_assert(gate_wait(&maker.ran, 5));
    cr_assert(maker.cancelled, "of a periodic one: it will not run again");
    cr_assert_eq(counters(system).timers_missed, maker.missed);
    finish(&system);
    cr_assert_eq(maker.runs, 5);
}

Test(timer, what_cannot_be_is_refused, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    clockmaker_t maker = {.runs_wanted = 1};
    dctx_timer_options_t options = {.run = tick};
    dctx_timer_t timer;
    (void)spawn_maker(system, &maker);
    cr_assert_eq(dctx_timer_start(NULL, &options, &timer), DCTX_ERR_INVALID);
    cr_assert(!dctx_timer_cancel(DCTX_TIMER_NONE));
    cr_assert(!dctx_timer_is_pending(DCTX_TIMER_NONE));
    cr_assert_eq(dctx_tell_after(DCTX_REF_NONE, 0, NULL, NULL, NULL), DCTX_ERR_INVALID);
    finish(&system);
}

static dctx_error_t refuse_some(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    dctx_timer_options_t options = {0};
    cr_assert_eq(dctx_timer_start(self, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_timer_start(self, &options, NULL), DCTX_ERR_INVALID);
    options.run = tick;
    options.period_ns = -1;
    cr_assert_eq(dctx_timer_start(self, &options, NULL), DCTX_ERR_INVALID);
    options.period_ns = 0;
    options.flags = 1u << 9;
    cr_assert_eq(dctx_timer_start(self, &options, NULL), DCTX_ERR_INVALID);
    options.flags = 0;
    options.delay_ns = INT64_MAX;
    cr_assert_eq(dctx_timer_start(self, &options, NULL), DCTX_OK);
    gate_pass(state);
    return DCTX_OK;
}

Test(timer, what_is_wrong_with_one_is_said, .init = fixture_init, .timeout = 30)
{
    gate_t gate = GATE_INIT;
    dctx_system_t *system = start(NULL);
    tell_uint(spawn(system, NULL, refuse_some, &gate), 1);
    cr_assert(gate_wait(&gate, 1));
    finish(&system);
}

/* ---- the end of an actor, and of the system -------------------------------------------------- */

static void never(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    (void)missed;
    (void)arg;
    cr_assert_neq(self, NULL);
    gate_pass(state);
}

static dctx_error_t set_many(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    (void)state;
    for (int i = 0; i < 200; i++) {
        dctx_timer_options_t options = {.delay_ns = (int64_t)(i % 4) * MS / 2,
                                        .period_ns = i % 3 == 0 ? MS / 4 : 0,
                                        .run = never};
        cr_assert_eq(dctx_timer_start(self, &options, NULL), DCTX_OK);
    }
    return DCTX_OK;
}

Test(timer, they_end_with_their_actor_whatever_they_are_at, .init = fixture_init, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    dctx_system_t *system = start(NULL);
    for (int round = 0; round < 50; round++) {
        dctx_ref_t ref = spawn(system, NULL, set_many, &gate);
        tell_uint(ref, 1);
        if (round % 2 == 0)
            cr_assert(gate_wait(&gate, gate_count(&gate) + 20));
        cr_assert_eq(dctx_stop(ref), DCTX_OK);
    }
    /* And some that the system's own stop finds alive. */
    for (int i = 0; i < 4; i++)
        tell_uint(spawn(system, NULL, set_many, &gate), 1);
    finish(&system);
}

/* ---- delayed messages ------------------------------------------------------------------------ */

Test(tell_after, it_comes_with_the_context_of_the_telling, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    clockmaker_t maker = {.runs_wanted = 1};
    dctx_timer_t timer = DCTX_TIMER_NONE;
    dctx_ref_t ref = spawn_maker(system, &maker);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_tell_after(ref, 2 * MS, DCTX_TYPE_STRING, "later", &timer), DCTX_OK);
    }
    cr_assert(gate_wait(&maker.told, 1));
    cr_assert_str_eq(maker.tenant, "acme");
    cr_assert_str_eq(maker.chain, "edge > actor:clocks");
    cr_assert(!dctx_timer_cancel(timer));
    finish(&system);
}

Test(tell_after, it_can_be_taken_back, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    clockmaker_t maker = {.runs_wanted = 1};
    dctx_timer_t timer = DCTX_TIMER_NONE;
    dctx_ref_t ref = spawn_maker(system, &maker);
    cr_assert_eq(dctx_tell_after(ref, (int64_t)3600 * 1000 * MS, DCTX_TYPE_STRING, "x", &timer),
                 DCTX_OK);
    cr_assert(dctx_timer_is_pending(timer));
    cr_assert(dctx_timer_cancel(timer));
    cr_assert(!dctx_timer_cancel(timer));
    cr_assert_eq(counters(system).accepted, 0, "it was never accepted");
    finish(&system);
}

typedef struct grave {
    gate_t gate;
    dctx_error_t reason;
    char target[32], chain[64];
} grave_t;

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    grave_t *grave = arg;
    grave->reason = letter->reason;
    snprintf(grave->target, sizeof grave->target, "%s", letter->target);
    snprintf(grave->chain, sizeof grave->chain, "%s", letter->chain);
    gate_pass(&grave->gate);
}

Test(tell_after, one_that_a_stop_overtakes_is_a_dead_letter, .init = fixture_init, .timeout = 30)
{
    grave_t grave = {.gate = GATE_INIT};
    clockmaker_t maker = {.runs_wanted = 1};
    dctx_system_t *system = start(
        &(dctx_system_options_t){.workers = 1, .on_dead_letter = on_dead_letter, .arg = &grave});
    dctx_ref_t ref = spawn_maker(system, &maker), there;
    cr_assert_eq(dctx_system_find(system, "x@elsewhere", &there), DCTX_OK);
    DCTX_WITH_SCOPE("edge") {
        for (int i = 0; i < 10; i++)
            cr_assert_eq(dctx_tell_after(ref, (int64_t)3600 * 1000 * MS, NULL, NULL, NULL),
                         DCTX_OK);
    }
    cr_assert_eq(dctx_tell_after(there, (int64_t)3600 * 1000 * MS, NULL, NULL, NULL), DCTX_OK);
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(gate_count(&grave.gate), 11);
    cr_assert_eq(grave.reason, DCTX_ERR_STOPPED);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.accepted, 10);
    cr_assert_eq(c.dead_lettered, 10);
    cr_assert_eq(c.remote_lost, 1);
    cr_assert_eq(dctx_tell_after(ref, 0, NULL, NULL, NULL), DCTX_ERR_NO_ACTOR);
    finish(&system);
}

Test(tell_after, one_for_who_has_gone_is_a_dead_letter, .init = fixture_init, .timeout = 30)
{
    grave_t grave = {.gate = GATE_INIT};
    clockmaker_t maker = {.runs_wanted = 1};
    dctx_system_t *system = start(
        &(dctx_system_options_t){.workers = 1, .on_dead_letter = on_dead_letter, .arg = &grave});
    dctx_ref_t ref = spawn_maker(system, &maker), there;
    cr_assert_eq(dctx_system_find(system, "x@elsewhere", &there), DCTX_OK);
    cr_assert_eq(dctx_tell_after(ref, 2 * MS, NULL, NULL, NULL), DCTX_OK);
    cr_assert_eq(dctx_stop(ref), DCTX_OK);
    cr_assert(gate_wait(&grave.gate, 1));
    cr_assert(grave.reason == DCTX_ERR_NO_ACTOR || grave.reason == DCTX_ERR_STOPPED);
    cr_assert_eq(dctx_tell_after(there, MS, NULL, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&grave.gate, 2));
    cr_assert_eq(grave.reason, DCTX_ERR_UNREACHABLE, "it went to the link when its time had come");
    cr_assert_str_eq(grave.target, "x@elsewhere");
    finish(&system);
}
