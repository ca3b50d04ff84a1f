/*
 * Every allocation of a busy scene fails once, in turn. A test world makes the scene the same each
 * time, so that none is missed: what fails is told to somebody, each ask ends once, and the counts
 * add up.
 */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

static long fails_at = -1, made, alive;

static void *fail_one(size_t size)
{
    if (++made == fails_at)
        return NULL;
    alive++;
    return malloc(size);
}

static void let_go(void *block)
{
    alive -= block != NULL;
    free(block);
}

/* Of the calling program: asks begun and ended, timers set and run, and so on. */
static struct {
    long asked, ended, futures, continued;
} scene;

static const char text_200[] = "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                               "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                               "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"
                               "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";

static void may_fail(dctx_error_t error)
{
    cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM || error == DCTX_ERR_NO_ACTOR ||
                  error == DCTX_ERR_UNREACHABLE || error == DCTX_ERR_INVALID,
              "%s: %s", dctx_error_name(error), dctx_error_detail());
}

static void on_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)status;
    (void)reply;
    (void)arg;
    scene.ended++;
}

static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    (void)self;
    (void)state;
    on_end(status, reply, arg);
}

static dctx_error_t answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    return dctx_message_is_ask(message) ? dctx_reply(message, DCTX_TYPE_STRING, text_200) : DCTX_OK;
}

static void tick(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    const dctx_ref_t *other = state;
    (void)missed;
    (void)arg;
    may_fail(dctx_tell(*other, DCTX_TYPE_STRING, "tick"));
    if (dctx_ask(self, *other, DCTX_TYPE_STRING, text_200, 1000, on_reply, NULL) == DCTX_OK)
        scene.asked++;
}

static void on_result(dctx_actor_t *self, const dctx_result_t *result, void *state, void *arg)
{
    (void)self;
    (void)result;
    (void)state;
    (void)arg;
    scene.continued++;
}

static dctx_error_t do_all(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const dctx_ref_t *other = state;
    const char *text = dctx_message_get(message, DCTX_TYPE_STRING);
    dctx_timer_options_t timer = {.delay_ns = 1000, .run = tick};
    dctx_future_t *future = NULL;
    dctx_ref_t child = DCTX_REF_NONE;
    dctx_actor_options_t options = {.handler = answer};
    if (text == NULL || strcmp(text, "all") != 0) {
        (void)dctx_unstash_all(self);
        return DCTX_OK;
    }
    if (dctx_message_is_ask(message)) {
        may_fail(dctx_stash(self, message));
        return DCTX_OK;
    }
    may_fail(dctx_timer_start(self, &timer, NULL));
    may_fail(dctx_tell_after(dctx_self(self), 2000000, DCTX_TYPE_STRING, "later", NULL));
    may_fail(dctx_spawn(dctx_self_system(self), &options, &child));
    if (!dctx_ref_is_none(child))
        may_fail(dctx_group_join(dctx_self_system(self), "children", child));
    may_fail(dctx_group_tell(dctx_self_system(self), "children", DCTX_TYPE_STRING, text_200, NULL));
    if (dctx_ask_future(*other, DCTX_TYPE_STRING, "x", DCTX_TYPE_STRING, 1000, &future) ==
        DCTX_OK) {
        if (dctx_future_then_actor(self, future, on_result, NULL) == DCTX_OK)
            scene.futures++;
        dctx_future_unref(&future);
    }
    return DCTX_OK;
}

/* Two nodes; what happens between the two calls of arm is what has to bear it. */
static bool play(uint64_t seed, long nth)
{
    dctx_test_world_t *world = NULL;
    dctx_ref_t local, remote, busy[2];
    char *endpoint = NULL;
    memset(&scene, 0, sizeof scene);
    cr_assert_eq(dctx_test_world_new(seed, &world), DCTX_OK);
    dctx_system_t *here = start(&(dctx_system_options_t){.name = "here", .world = world});
    dctx_system_t *there = start(&(dctx_system_options_t){.name = "there", .world = world});
    cr_assert_eq(dctx_system_bind(there, "test://there", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(here, "there", 1000), DCTX_OK);
    local = spawn(here, "local", answer, NULL);
    (void)spawn(there, "remote", answer, NULL);
    cr_assert_eq(dctx_system_find(here, "remote@there", &remote), DCTX_OK);
    busy[0] = spawn(here, "busy", do_all, &local);
    busy[1] = spawn(here, "busy-afar", do_all, &remote);

    made = 0;
    fails_at = nth;
    dctx_scope_t scope = {0};
    if (dctx_scope_push("edge", &scope) == DCTX_OK) {
        dctx_error_t error = tenant_set("acme");
        may_fail(error);
    }
    for (int i = 0; i < 2; i++) {
        may_fail(dctx_tell(busy[i], DCTX_TYPE_STRING, "all"));
        if (dctx_ask_call(busy[i], DCTX_TYPE_STRING, "all", 500, on_end, NULL) == DCTX_OK)
            scene.asked++;
    }
    cr_assert(dctx_test_advance(world, 3000000000LL));
    (void)dctx_scope_pop(&scope);
    fails_at = -1;
    bool reached = made >= nth;

    finish(&here);
    finish(&there);
    cr_assert_eq(scene.ended, scene.asked, "%ld asked, %ld ended, allocation %ld", scene.asked,
                 scene.ended, nth);
    cr_assert_eq(scene.continued, scene.futures, "%ld futures, %ld went on, allocation %ld",
                 scene.futures, scene.continued, nth);
    dctx_free(endpoint);
    dctx_test_world_destroy(&world);
    return reached;
}

Test(memory, every_allocation_of_a_scene_may_fail, .timeout = 300)
{
    static const dctx_allocator_t allocator = {.allocate = fail_one, .release = let_go};
    dctx_set_allocator(&allocator);
    fixture_init();
    cr_assert(!play(0, 1000000), "with all the memory it wants");
    long before = alive;
    for (uint64_t seed = 0; seed < 20; seed++) {
        long nth = 1;
        while (play(seed, nth))
            nth++;
        cr_assert_gt(nth, 50, "the scene was short: %ld", nth);
    }
    /* What is kept for later use may differ a little; what leaks grows with each of hundreds. */
    cr_assert_leq(alive, before + 20, "%ld blocks before, %ld after", before, alive);
}
