/* A child that waits to be restarted, when what it waits for is not to be: the system stops, or its
 * parent does. Nothing waits for the back-off's time, and every message is accounted for. On a test
 * world and on threads. */
#include <string.h>

#include <criterion/criterion.h>

#include "alarm.h"
#include "fixture.h"
#include "system.h"

enum { SEEDS = 15, HELD = 5, HOUR_MS = 3600000 };

typedef enum order { ORDER_COUNT, ORDER_FAIL } order_t;

typedef struct child {
    gate_t stopped, handled;
    bool broken; /* it fails on whatever it is told */
} child_t;

/* What the dead letters said; on threads one at a time, as there is one worker. */
typedef struct letters {
    gate_t gate;
    dctx_error_t reason;
    dctx_exit_kind_t kind;
    char type[32], chain[64], exit[512];
} letters_t;

typedef struct scene {
    dctx_test_world_t *world; /* NULL: on threads */
    dctx_system_t *system;
    dctx_ref_t parent, child, sibling;
    child_t state, other;
    letters_t letters;
} scene_t;

static void keep_letter(const dctx_dead_letter_t *letter, void *arg)
{
    letters_t *letters = arg;
    letters->reason = letter->reason;
    letters->kind = dctx_exit_kind(letter->exit);
    (void)dctx_exit_format(letter->exit, letters->exit, sizeof letters->exit);
    strncpy(letters->type, letter->type, sizeof letters->type - 1);
    strncpy(letters->chain, letter->chain, sizeof letters->chain - 1);
    gate_pass(&letters->gate);
}

static dctx_error_t child_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    child_t *child = state;
    const uint64_t *order = dctx_message_get(message, DCTX_TYPE_UINT64);
    if (child->broken || (order != NULL && *order == ORDER_FAIL))
        dctx_self_fail(self, DCTX_ERR_IO, "disk full");
    else
        gate_pass(&child->handled);
    return DCTX_OK;
}

static void child_stop(dctx_actor_t *self, void *state)
{
    (void)self;
    gate_pass(&((child_t *)state)->stopped);
}

static dctx_error_t answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    return dctx_reply(message, NULL, NULL);
}

static dctx_ref_t spawn_child(scene_t *scene, const char *name, child_t *state)
{
    dctx_ref_t ref = DCTX_REF_NONE;
    dctx_actor_options_t options = {.name = name,
                                    .handler = child_handle,
                                    .on_stop = child_stop,
                                    .state = state,
                                    .parent = scene->parent};
    cr_assert_eq(dctx_spawn(scene->system, &options, &ref), DCTX_OK, "%s", dctx_error_detail());
    return ref;
}

static void ask_parent(scene_t *scene)
{
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(scene->parent, NULL, NULL, WAIT_MS, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
}

/* With one worker what the child does in one turn comes before the parent's next one; so an answer
 * says that the parent has come past the child's report, and that the back-off has begun. */
static void fail_child(scene_t *scene)
{
    tell_uint(scene->child, ORDER_FAIL);
    DCTX_WITH_SCOPE("shop") {
        for (int i = 0; i < HELD; i++)
            tell_uint(scene->child, ORDER_COUNT);
    }
    if (scene->world != NULL)
        cr_assert(dctx_test_run(scene->world));
    cr_assert(gate_wait(&scene->state.stopped, 1));
    ask_parent(scene);
    cr_assert_neq(dctx_timers_count(&scene->system->alarms.pressing), 0, "it waits");
    cr_assert_eq(gate_count(&scene->state.handled), 0);
}

/* `seed` < 0: on threads. The child, and its younger sibling, have begun. */
static void scene_start(scene_t *scene, int seed, dctx_strategy_t strategy)
{
    *scene = (scene_t){.state = {.stopped = GATE_INIT, .handled = GATE_INIT},
                       .other = {.stopped = GATE_INIT, .handled = GATE_INIT},
                       .letters = {.gate = GATE_INIT}};
    if (seed >= 0)
        cr_assert_eq(dctx_test_world_new((uint64_t)seed, &scene->world), DCTX_OK);
    scene->system = start(&(dctx_system_options_t){.workers = 1,
                                                   .world = scene->world,
                                                   .on_dead_letter = keep_letter,
                                                   .arg = &scene->letters});
    dctx_supervision_t supervision = {
        .strategy = strategy, .backoff_ms = HOUR_MS, .backoff_max_ms = HOUR_MS};
    dctx_actor_options_t options = {
        .name = "parent", .handler = answer, .supervision = &supervision};
    cr_assert_eq(dctx_spawn(scene->system, &options, &scene->parent), DCTX_OK);
    scene->child = spawn_child(scene, "child", &scene->state);
    scene->sibling = spawn_child(scene, "sibling", &scene->other);
}

static void scene_finish(scene_t *scene)
{
    finish(&scene->system);
    dctx_test_world_destroy(&scene->world);
}

/* Each of the strategies, on worlds and on threads. */
static void for_each_scene(void (*check)(scene_t *scene))
{
    for (int seed = -3; seed < SEEDS; seed++) {
        scene_t scene;
        scene_start(&scene, seed, (dctx_strategy_t)((seed + 3) % 3));
        check(&scene);
        scene_finish(&scene);
    }
}

/* What was accepted before the stop is handled, as it would be by any other actor. */
static void stop_system(scene_t *scene)
{
    fail_child(scene);
    DCTX_WITH_SCOPE("late")
        tell_uint(scene->sibling, ORDER_COUNT);
    cr_assert_eq(dctx_system_stop(scene->system, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(gate_count(&scene->state.handled), HELD);
    cr_assert_eq(gate_count(&scene->other.handled), 1);
    cr_assert_eq(gate_count(&scene->letters.gate), 0);
    cr_assert_eq(counters(scene->system).restarts,
                 (uint64_t)(gate_count(&scene->state.stopped) + gate_count(&scene->other.stopped)) -
                     2,
                 "each on_stop but the last ones was for a restart");
}

Test(backoff, a_system_that_stops_does_not_wait_for_it, .init = fixture_init, .timeout = 120)
{
    for_each_scene(stop_system);
}

/* Then restarts follow at once upon one another, until there were too many. */
static void stop_system_with_a_broken_child(scene_t *scene)
{
    fail_child(scene);
    scene->state.broken = true;
    cr_assert_eq(dctx_system_stop(scene->system, WAIT_MS, NULL), DCTX_OK);
    dctx_system_counters_t c = counters(scene->system);
    cr_assert_eq(c.accepted, c.handled + c.dead_lettered);
    /* Three restarts in a window: the fourth failure, of which the first came before the stop,
     * is one too many. */
    cr_assert_eq(gate_count(&scene->letters.gate), HELD - 3);
    cr_assert_eq(scene->letters.reason, DCTX_ERR_STOPPED);
    cr_assert_str_eq(scene->letters.type, "uint64");
    cr_assert_str_eq(scene->letters.chain, "shop");
    cr_assert_eq(scene->letters.kind, DCTX_EXIT_PARENT);
    cr_assert_not_null(strstr(scene->letters.exit, "more than 3 in 5000 ms"), "%s",
                       scene->letters.exit);
}

Test(backoff, a_child_that_goes_on_failing_is_given_up, .init = fixture_init, .timeout = 120)
{
    for_each_scene(stop_system_with_a_broken_child);
}

/* A parent that ends does not have it begin any more. */
static void stop_parent(scene_t *scene)
{
    fail_child(scene);
    cr_assert_eq(dctx_stop(scene->parent), DCTX_OK);
    if (scene->world != NULL)
        cr_assert(dctx_test_run(scene->world));
    else
        cr_assert_eq(dctx_await_end(scene->parent, WAIT_MS, NULL), DCTX_OK);
    cr_assert(gate_wait(&scene->letters.gate, HELD));
    cr_assert_eq(gate_count(&scene->state.handled), 0);
    cr_assert_eq(gate_count(&scene->state.stopped), 1, "it was down");
    cr_assert_eq(scene->letters.reason, DCTX_ERR_STOPPED);
    cr_assert_str_eq(scene->letters.type, "uint64");
    cr_assert_str_eq(scene->letters.chain, "shop");
    cr_assert_eq(scene->letters.kind, DCTX_EXIT_PARENT);
    cr_assert_not_null(strstr(scene->letters.exit, "parent: stopped"), "%s", scene->letters.exit);
    cr_assert_eq(dctx_timers_count(&scene->system->alarms.pressing), 0);
}

Test(backoff, a_parent_that_ends_does_not_wait_for_it, .init = fixture_init, .timeout = 120)
{
    for_each_scene(stop_parent);
}

/* Nor does the child, when it is told to stop by anybody. */
static void stop_child(scene_t *scene)
{
    fail_child(scene);
    cr_assert_eq(dctx_stop(scene->child), DCTX_OK);
    if (scene->world != NULL)
        cr_assert(dctx_test_run(scene->world));
    cr_assert(gate_wait(&scene->letters.gate, HELD));
    cr_assert_eq(scene->letters.kind, DCTX_EXIT_STOPPED);
    cr_assert_str_eq(scene->letters.chain, "shop");
}

Test(backoff, a_child_can_be_stopped_in_it, .init = fixture_init, .timeout = 120)
{
    for_each_scene(stop_child);
}
