/* What becomes of children that fail, and in what order. On test worlds, from many seeds. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

enum { SEEDS = 25 };

/* What happened, as "a+ b+ a-": + an on_start, - an on_stop, one letter after the other. */
typedef struct story {
    char text[4096];
    dctx_test_world_t *world;
    dctx_system_t *system;
} story_t;

typedef struct child {
    story_t *story;
    const char *name;
    int starts, handled, refuse_starts;
    dctx_exit_kind_t last; /* dctx_self_exit() in on_stop */
} child_t;

static void note(story_t *story, const char *what, char sign)
{
    size_t length = strlen(story->text);
    snprintf(story->text + length, sizeof story->text - length, "%s%s%c", length > 0 ? " " : "",
             what, sign);
}

static void story_start(story_t *story, uint64_t seed)
{
    *story = (story_t){0};
    cr_assert_eq(dctx_test_world_new(seed, &story->world), DCTX_OK);
    story->system = start(&(dctx_system_options_t){.world = story->world});
}

static void story_finish(story_t *story)
{
    finish(&story->system);
    dctx_test_world_destroy(&story->world);
}

static void run(story_t *story)
{
    cr_assert(dctx_test_run(story->world));
}

static void check_story(story_t *story, const char *expected)
{
    cr_assert_str_eq(story->text, expected);
    story->text[0] = '\0';
}

typedef enum order {
    ORDER_COUNT,
    ORDER_FAIL,
    ORDER_STOP,
    ORDER_ERROR, /* return an error */
    ORDER_REFUSE /* fail, and the next start too */
} order_t;

static dctx_error_t child_start(dctx_actor_t *self, void *state)
{
    child_t *child = state;
    (void)self;
    if (child->refuse_starts > 0) {
        child->refuse_starts--;
        note(child->story, child->name, '!');
        return DCTX_ERR_IO;
    }
    child->starts++;
    note(child->story, child->name, '+');
    return DCTX_OK;
}

static void child_stop(dctx_actor_t *self, void *state)
{
    child_t *child = state;
    const dctx_exit_t *exit = dctx_self_exit(self);
    cr_assert_not_null(exit);
    child->last = dctx_exit_kind(exit);
    note(child->story, child->name, '-');
}

static dctx_error_t child_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    child_t *child = state;
    const uint64_t *order = dctx_message_get(message, DCTX_TYPE_UINT64);
    switch (order != NULL ? (order_t)*order : ORDER_COUNT) {
    case ORDER_REFUSE:
        child->refuse_starts++;
        dctx_self_fail(self, DCTX_ERR_IO, "disk full");
        return DCTX_OK;
    case ORDER_FAIL:
        dctx_self_fail(self, DCTX_ERR_IO, "disk full");
        return DCTX_OK;
    case ORDER_STOP:
        dctx_self_stop(self);
        return DCTX_OK;
    case ORDER_ERROR:
        return DCTX_ERR_IO;
    default:
        child->handled++;
        return dctx_message_is_ask(message) ? dctx_reply(message, NULL, NULL) : DCTX_OK;
    }
}

/* A supervisor with up to four children, which it spawns in its on_start. */
typedef struct family {
    child_t own; /* of the supervisor itself */
    child_t children[4];
    dctx_ref_t refs[4], ref;
    int count;
} family_t;

static const char *const names[] = {"a", "b", "c", "d"};

static void spawn_children(dctx_actor_t *self, family_t *family)
{
    for (int i = 0; i < family->count; i++) {
        child_t *child = &family->children[i];
        child->story = family->own.story;
        child->name = names[i];
        dctx_actor_options_t options = {.name = names[i],
                                        .handler = child_handle,
                                        .state = child,
                                        .on_start = child_start,
                                        .on_stop = child_stop};
        cr_assert_eq(dctx_spawn_child(self, &options, &family->refs[i]), DCTX_OK);
    }
}

static dctx_error_t family_start(dctx_actor_t *self, void *state)
{
    family_t *family = state;
    dctx_error_t error = child_start(self, &family->own);
    if (error == DCTX_OK)
        spawn_children(self, family);
    return error;
}

static void family_stop(dctx_actor_t *self, void *state)
{
    family_t *family = state;
    child_stop(self, &family->own);
}

static dctx_error_t family_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    family_t *family = state;
    return child_handle(self, message, &family->own);
}

static void family_spawn(story_t *story, family_t *family, int count, dctx_ref_t parent,
                         const dctx_supervision_t *supervision)
{
    *family = (family_t){.own = {.story = story, .name = "s"}, .count = count};
    dctx_actor_options_t options = {.name = "s",
                                    .handler = family_handle,
                                    .state = family,
                                    .on_start = family_start,
                                    .on_stop = family_stop,
                                    .parent = parent,
                                    .supervision = supervision};
    dctx_error_t error = dctx_spawn(story->system, &options, &family->ref);
    cr_assert_eq(error, DCTX_OK, "%s", dctx_error_detail());
    run(story);
}

/* The children of one parent are told in any order; what is started in order is sorted here. */
static void check_started(story_t *story, const char *const *any_of, int count)
{
    bool found = false;
    for (int i = 0; i < count; i++)
        found = found || strcmp(story->text, any_of[i]) == 0;
    cr_assert(found, "%s", story->text);
    story->text[0] = '\0';
}

/* The first starts of siblings are their own turns. */
static void check_first_starts(story_t *story, int count)
{
    cr_assert_eq(strlen(story->text), (size_t)(count + 1) * 3 - 1, "%s", story->text);
    cr_assert_eq(strncmp(story->text, "s+", 2), 0, "%s", story->text);
    story->text[0] = '\0';
}

/* ---- the tree -------------------------------------------------------------------------------- */

Test(supervise, children_stop_first_the_youngest_before_the_others, .init = fixture_init,
     .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        family_spawn(&story, &family, 3, DCTX_REF_NONE, NULL);
        check_first_starts(&story, 3);
        switch (seed % 3) {
        case 0:
            cr_assert_eq(dctx_stop(family.ref), DCTX_OK);
            break;
        case 1:
            tell_uint(family.ref, ORDER_STOP);
            break;
        default:
            break; /* the system does it */
        }
        run(&story);
        if (seed % 3 == 2)
            story_finish(&story);
        check_story(&story, "c- b- a- s-");
        for (int i = 0; i < 3; i++)
            cr_assert_eq(family.children[i].last, DCTX_EXIT_PARENT);
        cr_assert_eq(family.own.last, seed % 3 == 0   ? DCTX_EXIT_STOPPED
                                      : seed % 3 == 1 ? DCTX_EXIT_SELF
                                                      : DCTX_EXIT_SYSTEM);
        if (seed % 3 != 2)
            story_finish(&story);
    }
}

Test(supervise, a_parent_takes_no_messages_while_its_children_stop, .init = fixture_init,
     .timeout = 30)
{
    story_t story;
    family_t family;
    story_start(&story, 4);
    family_spawn(&story, &family, 2, DCTX_REF_NONE, NULL);
    tell_uint(family.ref, ORDER_STOP);
    tell_uint(family.ref, ORDER_COUNT);
    tell_uint(family.refs[0], ORDER_COUNT); /* comes before the stop */
    run(&story);
    cr_assert_eq(family.own.handled, 0);
    cr_assert_eq(family.children[0].handled, 1);
    cr_assert_eq(counters(story.system).dead_lettered, 1);
    story_finish(&story);
}

Test(supervise, a_parent_from_elsewhere_takes_its_child_in, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        family_spawn(&story, &family, 0, DCTX_REF_NONE, NULL);
        check_story(&story, "s+");
        child_t *child = &family.children[0];
        *child = (child_t){.story = &story, .name = "a"};
        dctx_actor_options_t options = {.name = "a",
                                        .handler = child_handle,
                                        .state = child,
                                        .on_start = child_start,
                                        .on_stop = child_stop,
                                        .parent = family.ref};
        cr_assert_eq(dctx_spawn(story.system, &options, &family.refs[0]), DCTX_OK);
        tell_uint(family.refs[0], ORDER_COUNT);
        if (seed % 3 == 0)
            cr_assert_eq(dctx_stop(family.ref), DCTX_OK);
        run(&story);
        if (seed % 3 != 0) {
            check_story(&story, "a+");
            cr_assert_eq(child->handled, 1);
            tell_uint(family.refs[0], ORDER_FAIL);
            tell_uint(family.refs[0], ORDER_COUNT);
            run(&story);
            check_story(&story, "a- a+");
            cr_assert_eq(child->handled, 2, "the mailbox stays");
        }
        story_finish(&story);
        cr_assert_eq(dctx_ref_is_none(family.refs[0]), 0);
    }
}

Test(supervise, refuses_parents_that_are_none, .init = fixture_init, .timeout = 30)
{
    story_t story;
    family_t family;
    story_start(&story, 1);
    family_spawn(&story, &family, 0, DCTX_REF_NONE, NULL);
    dctx_ref_t ref, far;
    dctx_actor_options_t options = {.handler = child_handle, .parent = family.ref};
    cr_assert_eq(dctx_spawn_child(NULL, &options, &ref), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_find(story.system, "x@elsewhere", &far), DCTX_OK);
    options.parent = far;
    cr_assert_eq(dctx_spawn(story.system, &options, &ref), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_stop(family.ref), DCTX_OK);
    run(&story);
    options.parent = family.ref;
    cr_assert_eq(dctx_spawn(story.system, &options, &ref), DCTX_ERR_NO_ACTOR);
    options.parent = DCTX_REF_NONE;
    const dctx_supervision_t bad[] = {{.strategy = (dctx_strategy_t)3},
                                      {.on_error = (dctx_directive_t)9},
                                      {.on_failure = (dctx_directive_t)9},
                                      {.max_restarts = 100001},
                                      {.window_ms = -1},
                                      {.backoff_ms = -1},
                                      {.backoff_max_ms = -1},
                                      {.stop_ms = -1},
                                      {.jitter_percent = 101}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        options.supervision = &bad[i];
        cr_assert_eq(dctx_spawn(story.system, &options, &ref), DCTX_ERR_INVALID, "%zu", i);
    }
    story_finish(&story);
}

/* ---- directives ------------------------------------------------------------------------------ */

Test(supervise, a_restart_keeps_all_but_the_state, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        family_spawn(&story, &family, 2, DCTX_REF_NONE, NULL);
        check_first_starts(&story, 2);
        dctx_ref_t found;
        tell_uint(family.refs[0], ORDER_FAIL);
        for (int i = 0; i < 10; i++)
            tell_uint(family.refs[0], ORDER_COUNT);
        run(&story);
        check_story(&story, "a- a+");
        cr_assert_eq(family.children[0].handled, 10);
        cr_assert_eq(family.children[0].last, DCTX_EXIT_FAILED);
        cr_assert_eq(dctx_system_find(story.system, "a", &found), DCTX_OK);
        cr_assert(dctx_ref_equal(found, family.refs[0]));
        cr_assert_eq(counters(story.system).restarts, 1);
        cr_assert_eq(counters(story.system).failures, 1);
        cr_assert_eq(counters(story.system).actors, 3);
        story_finish(&story);
    }
}

Test(supervise, an_asker_gets_the_failure, .init = fixture_init, .timeout = 30)
{
    story_t story;
    family_t family;
    story_start(&story, 2);
    family_spawn(&story, &family, 1, DCTX_REF_NONE, NULL);
    uint64_t order = ORDER_FAIL;
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(family.refs[0], DCTX_TYPE_UINT64, &order, 0, &reply), DCTX_ERR_IO);
    cr_assert_str_eq(dctx_message_reason(reply), "disk full");
    dctx_message_destroy(&reply);
    cr_assert_eq(dctx_ask_wait(family.refs[0], NULL, NULL, 0, &reply), DCTX_OK, "by the new one");
    dctx_message_destroy(&reply);
    story_finish(&story);
}

static void check_directive(dctx_directive_t directive, bool by_error, const char *expected)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        dctx_supervision_t supervision = {.on_failure = by_error ? 0 : directive,
                                          .on_error = by_error ? directive : 0};
        family_spawn(&story, &family, 2, DCTX_REF_NONE, &supervision);
        check_first_starts(&story, 2);
        tell_uint(family.refs[0], by_error ? ORDER_ERROR : ORDER_FAIL);
        tell_uint(family.refs[0], ORDER_COUNT);
        run(&story);
        check_story(&story, expected);
        cr_assert_eq(family.children[0].handled,
                     directive == DCTX_RESUME || directive == DCTX_RESTART);
        story_finish(&story);
    }
}

Test(supervise, resume, .init = fixture_init, .timeout = 30)
{
    check_directive(DCTX_RESUME, false, "");
    check_directive(DCTX_RESUME, true, "");
}

Test(supervise, restart, .init = fixture_init, .timeout = 30)
{
    check_directive(DCTX_RESTART, true, "a- a+");
}

Test(supervise, stop, .init = fixture_init, .timeout = 30)
{
    check_directive(DCTX_STOP, false, "a-");
    check_directive(DCTX_STOP, true, "a-");
}

/* A root passes a failure on to nobody, and ends. */
Test(supervise, escalate_to_nobody, .init = fixture_init, .timeout = 30)
{
    check_directive(DCTX_ESCALATE, false, "b- a- s-");
}

static dctx_directive_t decide(dctx_actor_t *self, const dctx_exit_t *failure, void *arg)
{
    cr_assert_str_eq(dctx_self_name(self), "s");
    cr_assert_eq(dctx_exit_kind(failure), DCTX_EXIT_FAILED);
    return strcmp(dctx_exit_who(failure), "a") == 0 ? *(dctx_directive_t *)arg : 0;
}

Test(supervise, a_callback_can_decide, .init = fixture_init, .timeout = 30)
{
    dctx_directive_t directive = DCTX_STOP;
    dctx_supervision_t supervision = {.decide = decide, .arg = &directive};
    story_t story;
    family_t family;
    story_start(&story, 5);
    family_spawn(&story, &family, 2, DCTX_REF_NONE, &supervision);
    check_first_starts(&story, 2);
    tell_uint(family.refs[1], ORDER_FAIL);
    run(&story);
    check_story(&story, "b- b+");
    tell_uint(family.refs[0], ORDER_FAIL);
    run(&story);
    check_story(&story, "a-");
    story_finish(&story);
}

/* ---- strategies ------------------------------------------------------------------------------ */

static void check_strategy(dctx_strategy_t strategy, dctx_directive_t directive, int failing,
                           const char *expected)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        dctx_supervision_t supervision = {.strategy = strategy, .on_failure = directive};
        family_spawn(&story, &family, 4, DCTX_REF_NONE, &supervision);
        check_first_starts(&story, 4);
        tell_uint(family.refs[failing], ORDER_FAIL);
        run(&story);
        check_story(&story, expected);
        for (int i = 0; i < 4; i++)
            cr_assert_neq(dctx_tell(family.refs[i], NULL, NULL), DCTX_ERR_INVALID);
        run(&story);
        for (int i = 0; i < 4; i++)
            cr_assert_eq(family.children[i].handled,
                         directive != DCTX_STOP || strchr(expected, names[i][0]) == NULL);
        story_finish(&story);
    }
}

Test(supervise, all_for_one, .init = fixture_init, .timeout = 30)
{
    check_strategy(DCTX_ALL_FOR_ONE, DCTX_RESTART, 1, "d- c- b- a- a+ b+ c+ d+");
    check_strategy(DCTX_ALL_FOR_ONE, DCTX_STOP, 1, "d- c- b- a-");
}

Test(supervise, rest_for_one, .init = fixture_init, .timeout = 30)
{
    check_strategy(DCTX_REST_FOR_ONE, DCTX_RESTART, 1, "d- c- b- b+ c+ d+");
    check_strategy(DCTX_REST_FOR_ONE, DCTX_RESTART, 3, "d- d+");
    check_strategy(DCTX_REST_FOR_ONE, DCTX_STOP, 2, "d- c-");
}

Test(supervise, one_for_one, .init = fixture_init, .timeout = 30)
{
    check_strategy(DCTX_ONE_FOR_ONE, DCTX_RESTART, 2, "c- c+");
    check_strategy(DCTX_ONE_FOR_ONE, DCTX_STOP, 2, "c-");
}

/* ---- starts that fail, and intensity --------------------------------------------------------- */

Test(supervise, a_restart_that_does_not_start_is_tried_again, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        dctx_supervision_t supervision = {.strategy = (dctx_strategy_t)(seed % 3)};
        family_spawn(&story, &family, 1, DCTX_REF_NONE, &supervision);
        check_first_starts(&story, 1);
        family.children[0].refuse_starts = 0;
        tell_uint(family.refs[0], ORDER_REFUSE);
        tell_uint(family.refs[0], ORDER_COUNT);
        run(&story);
        check_story(&story, "a- a! a+");
        cr_assert_eq(family.children[0].handled, 1);
        cr_assert_eq(counters(story.system).failures, 2);
        cr_assert_eq(counters(story.system).restarts, 1);
        story_finish(&story);
    }
}

Test(supervise, too_many_restarts_end_the_supervisor, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        dctx_supervision_t supervision = {.max_restarts = 2, .window_ms = 1000};
        family_spawn(&story, &family, 2, DCTX_REF_NONE, &supervision);
        check_first_starts(&story, 2);
        for (int i = 0; i < 2; i++) {
            tell_uint(family.refs[0], ORDER_FAIL);
            run(&story);
            check_story(&story, "a- a+");
        }
        if (seed % 2 == 0) {
            /* The window has passed. */
            cr_assert(dctx_test_advance(story.world, 1001 * 1000000LL));
            tell_uint(family.refs[0], ORDER_FAIL);
            tell_uint(family.refs[1], ORDER_FAIL);
            run(&story);
            cr_assert_eq(strlen(story.text), 11, "%s", story.text);
            story.text[0] = '\0';
        }
        tell_uint(family.refs[0], ORDER_FAIL);
        run(&story);
        check_story(&story, "b- a- s-");
        cr_assert_eq(family.own.last, DCTX_EXIT_INTENSITY);
        story_finish(&story);
    }
}

Test(supervise, a_supervisor_of_supervisors_restarts_whole_branches, .init = fixture_init,
     .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t top, family;
        story_start(&story, seed);
        /* Another name for the one at the top. */
        top = (family_t){.own = {.story = &story, .name = "t"}};
        dctx_actor_options_t options = {.name = "t",
                                        .handler = family_handle,
                                        .state = &top,
                                        .on_start = family_start,
                                        .on_stop = family_stop};
        cr_assert_eq(dctx_spawn(story.system, &options, &top.ref), DCTX_OK);
        run(&story);
        check_story(&story, "t+");
        dctx_supervision_t supervision = {
            .on_failure = seed % 2 == 0 ? DCTX_ESCALATE : DCTX_RESTART, .max_restarts = 1};
        family_spawn(&story, &family, 2, top.ref, &supervision);
        check_first_starts(&story, 2);
        tell_uint(family.refs[0], ORDER_FAIL);
        run(&story);
        if (seed % 2 != 0) {
            check_story(&story, "a- a+");
            tell_uint(family.refs[0], ORDER_FAIL);
            run(&story);
        }
        const char *const orders[] = {"b- a- s- s+ a+ b+", "b- a- s- s+ b+ a+"};
        check_started(&story, orders, 2);
        cr_assert_eq(family.own.last, seed % 2 == 0 ? DCTX_EXIT_ESCALATED : DCTX_EXIT_INTENSITY);
        cr_assert_eq(counters(story.system).actors, 4);
        story_finish(&story);
    }
}

/* ---- back-off -------------------------------------------------------------------------------- */

Test(supervise, backs_off_longer_each_time, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        dctx_supervision_t supervision = {.strategy = (dctx_strategy_t)(seed % 3),
                                          .max_restarts = 10,
                                          .window_ms = 60000,
                                          .backoff_ms = 100,
                                          .backoff_max_ms = 400};
        family_spawn(&story, &family, 1, DCTX_REF_NONE, &supervision);
        check_first_starts(&story, 1);
        const int waits[] = {100, 200, 400, 400};
        for (int i = 0; i < 4; i++) {
            tell_uint(family.refs[0], ORDER_FAIL);
            tell_uint(family.refs[0], ORDER_COUNT);
            cr_assert(dctx_test_advance(story.world, (waits[i] - 1) * 1000000LL));
            check_story(&story, "a-");
            cr_assert_eq(family.children[0].handled, i);
            cr_assert_eq(dctx_tell(family.refs[0], NULL, NULL), DCTX_OK, "it takes messages");
            cr_assert(dctx_test_advance(story.world, 1 * 1000000LL));
            check_story(&story, "a+");
            cr_assert_eq(family.children[0].handled, i + 2);
            family.children[0].handled = i + 1;
        }
        story_finish(&story);
    }
}

Test(supervise, jitter_makes_it_shorter, .init = fixture_init, .timeout = 30)
{
    int earlier = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        dctx_supervision_t supervision = {.backoff_ms = 1000, .jitter_percent = 50};
        family_spawn(&story, &family, 1, DCTX_REF_NONE, &supervision);
        check_first_starts(&story, 1);
        tell_uint(family.refs[0], ORDER_FAIL);
        cr_assert(dctx_test_advance(story.world, 499 * 1000000LL));
        check_story(&story, "a-");
        cr_assert(dctx_test_advance(story.world, 251 * 1000000LL));
        earlier += story.text[0] != '\0';
        cr_assert(dctx_test_advance(story.world, 250 * 1000000LL));
        check_story(&story, "a+");
        story_finish(&story);
    }
    cr_assert(earlier > 0 && earlier < SEEDS, "%d", earlier);
}

/* Whatever it is waiting for, it stops with the system, and what it was sent is accounted for. */
Test(supervise, stops_in_a_back_off, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        story_start(&story, seed);
        dctx_supervision_t supervision = {.strategy = (dctx_strategy_t)(seed % 3),
                                          .backoff_ms = 3600000,
                                          .backoff_max_ms = 3600000};
        family_spawn(&story, &family, 3, DCTX_REF_NONE, &supervision);
        check_first_starts(&story, 3);
        tell_uint(family.refs[1], ORDER_FAIL);
        for (int i = 0; i < 5; i++)
            tell_uint(family.refs[1], ORDER_COUNT);
        run(&story);
        if (seed % 2 == 0)
            cr_assert_eq(dctx_stop(family.refs[1]), DCTX_OK);
        run(&story);
        story_finish(&story);
        cr_assert_eq(strcmp(story.text + strlen(story.text) - 2, "s-"), 0, "%s", story.text);
    }
}

/* ---- states ---------------------------------------------------------------------------------- */

static int states_made, states_destroyed;

static dctx_error_t make_state(void *seed, void **ret_state)
{
    uint64_t *state = malloc(sizeof *state);
    cr_assert_not_null(state);
    *state = *(uint64_t *)seed;
    *ret_state = state;
    states_made++;
    return DCTX_OK;
}

static void destroy_state(void *state)
{
    states_destroyed++;
    free(state);
}

static dctx_error_t add(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    uint64_t *sum = state;
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    if (number == NULL)
        return dctx_reply(message, DCTX_TYPE_UINT64, sum);
    if (*number == 0)
        dctx_self_fail(self, DCTX_ERR_IO, NULL);
    *sum += *number;
    return DCTX_OK;
}

static uint64_t ask_sum(dctx_ref_t ref)
{
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, 0, &reply), DCTX_OK);
    uint64_t sum = *(const uint64_t *)dctx_message_get(reply, DCTX_TYPE_UINT64);
    dctx_message_destroy(&reply);
    return sum;
}

Test(supervise, a_restart_makes_a_new_state, .init = fixture_init, .timeout = 30)
{
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        story_t story;
        family_t family;
        uint64_t first = 1000;
        states_made = states_destroyed = 0;
        story_start(&story, seed);
        family_spawn(&story, &family, 0, DCTX_REF_NONE, NULL);
        dctx_actor_options_t options = {.name = "sum",
                                        .handler = add,
                                        .state = &first,
                                        .new_state = make_state,
                                        .destroy_state = destroy_state,
                                        .parent = seed % 3 == 0 ? DCTX_REF_NONE : family.ref};
        dctx_ref_t sum;
        cr_assert_eq(dctx_spawn(story.system, &options, &sum), DCTX_OK);
        tell_uint(sum, 5);
        cr_assert_eq(ask_sum(sum), 1005);
        if (seed % 3 != 0) {
            tell_uint(sum, 0);
            tell_uint(sum, 7);
            cr_assert_eq(ask_sum(sum), 1007, "what it had counted is forgotten");
        }
        story_finish(&story);
        cr_assert_eq(states_made, seed % 3 != 0 ? 2 : 1);
        cr_assert_eq(states_destroyed, states_made);
    }
}
