/* Supervision on real threads: pinned children, those that do not stop, and very many of them. */
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* Pinned actors too keep what they are, their thread included. */
static dctx_error_t note_thread(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    static pthread_t first;
    static bool known;
    (void)message;
    if (!known)
        first = pthread_self();
    known = true;
    cr_assert(pthread_equal(first, pthread_self()));
    gate_pass(state);
    if (gate_count(state) % 2 == 1)
        dctx_self_fail(self, DCTX_ERR_IO, NULL);
    return DCTX_OK;
}

static dctx_error_t idle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

Test(supervise_threads, a_pinned_actor_keeps_its_thread, .init = fixture_init, .timeout = 30)
{
    gate_t gate = GATE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_supervision_t supervision = {.max_restarts = 1000};
    dctx_actor_options_t options = {.handler = idle, .supervision = &supervision};
    dctx_ref_t parent, child;
    cr_assert_eq(dctx_spawn(system, &options, &parent), DCTX_OK);
    options = (dctx_actor_options_t){
        .handler = note_thread, .state = &gate, .flags = DCTX_PINNED, .parent = parent};
    cr_assert_eq(dctx_spawn(system, &options, &child), DCTX_OK);
    for (int i = 0; i < 20; i++)
        tell_uint(child, 0);
    cr_assert(gate_wait(&gate, 20));
    finish(&system);
    cr_assert_eq(gate_count(&gate), 20);
}

typedef struct stuck {
    gate_t inside, leave, outside;
} stuck_t;

static dctx_error_t block(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    stuck_t *stuck = state;
    (void)self;
    (void)message;
    gate_pass(&stuck->inside);
    (void)gate_wait(&stuck->leave, 1);
    gate_pass(&stuck->outside);
    return DCTX_OK;
}

Test(supervise_threads, stop_says_who_waits_for_whom, .init = fixture_init, .timeout = 60)
{
    stuck_t stuck = {.inside = GATE_INIT, .leave = GATE_INIT, .outside = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_actor_options_t options = {.name = "parent", .handler = idle};
    dctx_ref_t parent, child;
    cr_assert_eq(dctx_spawn(system, &options, &parent), DCTX_OK);
    options = (dctx_actor_options_t){
        .name = "child", .handler = block, .state = &stuck, .parent = parent};
    cr_assert_eq(dctx_spawn(system, &options, &child), DCTX_OK);
    tell_uint(child, 0);
    cr_assert(gate_wait(&stuck.inside, 1));
    char *report = NULL;
    cr_assert_eq(dctx_system_stop(system, 50, &report), DCTX_ERR_TIMEOUT);
    cr_assert_not_null(strstr(report, "parent: waiting for its child child\n"), "%s", report);
    cr_assert_not_null(strstr(report, "child: in handler for "), "%s", report);
    dctx_free(report);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.accepted, c.handled + c.dead_lettered);
    dctx_system_destroy(&system);
    gate_pass(&stuck.leave);
    cr_assert(gate_wait(&stuck.outside, 1));
}

/* A child that does not stop does not hold its parent for ever. */
Test(supervise_threads, a_parent_waits_so_long_and_no_longer, .init = fixture_init, .timeout = 60)
{
    stuck_t stuck = {.inside = GATE_INIT, .leave = GATE_INIT, .outside = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_supervision_t supervision = {.stop_ms = 20};
    dctx_actor_options_t options = {.name = "parent", .handler = idle, .supervision = &supervision};
    dctx_ref_t parent, child;
    cr_assert_eq(dctx_spawn(system, &options, &parent), DCTX_OK);
    options = (dctx_actor_options_t){
        .name = "child", .handler = block, .state = &stuck, .parent = parent};
    cr_assert_eq(dctx_spawn(system, &options, &child), DCTX_OK);
    tell_uint(child, 0);
    cr_assert(gate_wait(&stuck.inside, 1));
    cr_assert_eq(dctx_stop(parent), DCTX_OK);
    cr_assert_eq(dctx_await_end(parent, WAIT_MS, NULL), DCTX_OK);
    cr_assert(logged("parent does not wait for its child child to stop any longer"));
    gate_pass(&stuck.leave);
    cr_assert_eq(dctx_await_end(child, WAIT_MS, NULL), DCTX_OK);
    finish(&system);
}

/* ---- very many children ---------------------------------------------------------------------- */

/* More than anybody can look at one by one for each of them. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { VERY_MANY = 10000 };
#else
enum { VERY_MANY = 100000 };
#endif

typedef struct crowd {
    gate_t spawned, gone;
    bool by_themselves; /* the children end as soon as they have begun */
} crowd_t;

static dctx_error_t crowd_child_start(dctx_actor_t *self, void *state)
{
    if (((crowd_t *)state)->by_themselves)
        dctx_self_stop(self);
    return DCTX_OK;
}

static void crowd_child_stop(dctx_actor_t *self, void *state)
{
    (void)self;
    gate_pass(&((crowd_t *)state)->gone);
}

static dctx_error_t spawn_crowd(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    crowd_t *crowd = state;
    (void)message;
    dctx_actor_options_t options = {.handler = idle,
                                    .on_start = crowd_child_start,
                                    .on_stop = crowd_child_stop,
                                    .state = crowd,
                                    .parent = dctx_self(self)};
    for (int i = 0; i < VERY_MANY; i++) {
        dctx_ref_t ref;
        cr_assert_eq(dctx_spawn(dctx_self_system(self), &options, &ref), DCTX_OK);
    }
    gate_pass(&crowd->spawned);
    return DCTX_OK;
}

static void check_crowd(bool by_themselves)
{
    crowd_t crowd = {.spawned = GATE_INIT, .gone = GATE_INIT, .by_themselves = by_themselves};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2});
    dctx_ref_t parent = spawn(system, "parent", spawn_crowd, &crowd);
    tell_uint(parent, 0);
    cr_assert(gate_wait(&crowd.spawned, 1));
    char *report = NULL;
    cr_assert_eq(dctx_system_stop(system, 20000, &report), DCTX_OK, "%s", report);
    dctx_free(report);
    cr_assert_eq(gate_count(&crowd.gone), VERY_MANY);
    finish(&system);
}

Test(supervise_threads, very_many_children_are_stopped_in_time, .init = fixture_init, .timeout = 60)
{
    check_crowd(false);
}

Test(supervise_threads, very_many_children_that_end_are_forgotten_in_time, .init = fixture_init,
     .timeout = 60)
{
    check_crowd(true);
}

/* No time at all: whatever the parent is at, nothing is cleared away beneath it,
 * and all is accounted for. */
Test(supervise_threads, a_stop_without_time_leaves_a_busy_parent_its_own, .init = fixture_init,
     .timeout = 120)
{
    for (int round = 0; round < 4; round++) {
        crowd_t crowd = {.spawned = GATE_INIT, .gone = GATE_INIT, .by_themselves = round % 2 == 0};
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2});
        dctx_ref_t parent = spawn(system, "parent", spawn_crowd, &crowd);
        tell_uint(parent, 0);
        cr_assert(gate_wait(&crowd.spawned, 1));
        (void)dctx_system_stop(system, 0, NULL);
        dctx_system_counters_t c = counters(system);
        cr_assert_eq(c.accepted, c.handled + c.dead_lettered);
        cr_assert_eq(c.actors, 0);
        dctx_system_destroy(&system);
    }
}
