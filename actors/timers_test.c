#include "timers.h"

#include <stdlib.h>

#include <criterion/criterion.h>

/* xorshift: the same programs each time */
static uint64_t seed;

static uint64_t chance(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % below;
}

Test(timers, none_is_never_due)
{
    dctx_timers_t timers;
    dctx_timers_init(&timers);
    cr_assert_eq(dctx_timers_next(&timers), INT64_MAX);
    cr_assert_null(dctx_timers_pop(&timers, INT64_MAX));
    cr_assert_eq(dctx_timers_count(&timers), 0);
    dctx_timer_node_t node = {0};
    cr_assert(!dctx_timer_is_set(&node));
    cr_assert(!dctx_timers_remove(&timers, &node));
    dctx_timers_finish(&timers);
}

Test(timers, due_is_due_at_its_time_and_not_before)
{
    dctx_timers_t timers;
    dctx_timer_node_t node = {0};
    dctx_timers_init(&timers);
    dctx_timers_add(&timers, &node, 100);
    cr_assert(dctx_timer_is_set(&node));
    cr_assert_eq(dctx_timers_next(&timers), 100);
    cr_assert_null(dctx_timers_pop(&timers, 99));
    cr_assert_eq(dctx_timers_pop(&timers, 100), &node);
    cr_assert(!dctx_timer_is_set(&node));
    cr_assert_null(dctx_timers_pop(&timers, INT64_MAX));
    dctx_timers_finish(&timers);
}

Test(timers, equals_come_in_the_order_they_were_added)
{
    enum { COUNT = 1000 };
    static dctx_timer_node_t nodes[COUNT];
    dctx_timers_t timers;
    dctx_timers_init(&timers);
    for (int i = 0; i < COUNT; i++)
        dctx_timers_add(&timers, &nodes[i], 7);
    for (int i = 0; i < COUNT; i += 3)
        cr_assert(dctx_timers_remove(&timers, &nodes[i]));
    for (int i = 0; i < COUNT; i++) {
        if (i % 3 != 0)
            cr_assert_eq(dctx_timers_pop(&timers, 7), &nodes[i]);
    }
    cr_assert_eq(dctx_timers_count(&timers), 0);
    dctx_timers_finish(&timers);
}

Test(timers, all_can_be_taken_at_once)
{
    enum { COUNT = 100 };
    static dctx_timer_node_t nodes[COUNT];
    dctx_timers_t timers;
    dctx_timers_init(&timers);
    for (int i = 0; i < COUNT; i++)
        dctx_timers_add(&timers, &nodes[i], i * 7 % COUNT);
    for (int64_t due = 0; due < 10; due++)
        cr_assert_eq(dctx_timers_pop(&timers, due)->due, due);
    int taken = 0;
    for (dctx_timer_node_t *node = dctx_timers_take_all(&timers); node != NULL; node = node->next) {
        cr_assert(!dctx_timer_is_set(node));
        cr_assert_leq(10, node->due);
        taken++;
    }
    cr_assert_eq(taken, COUNT - 10);
    cr_assert_eq(dctx_timers_count(&timers), 0);
    cr_assert_null(dctx_timers_take_all(&timers));
    dctx_timers_finish(&timers);
}

/* ---- against a model: an array that is searched ------------------------------------------ */

enum { PEOPLE = 40 };

typedef struct model {
    uint64_t added;
    bool set[PEOPLE];
    int64_t due[PEOPLE];
    uint64_t order[PEOPLE];
} model_t;

static int first_of(const model_t *model)
{
    int first = -1;
    for (int i = 0; i < PEOPLE; i++) {
        if (model->set[i] &&
            (first < 0 || model->due[i] < model->due[first] ||
             (model->due[i] == model->due[first] && model->order[i] < model->order[first])))
            first = i;
    }
    return first;
}

static size_t count_of(const model_t *model)
{
    size_t count = 0;
    for (int i = 0; i < PEOPLE; i++)
        count += model->set[i];
    return count;
}

static void step(dctx_timers_t *timers, dctx_timer_node_t *nodes, model_t *model)
{
    int who = (int)chance(PEOPLE);
    int first;
    int64_t now;
    switch (chance(8)) {
    case 0:
    case 1:
    case 2:
    case 3:
        if (model->set[who])
            break;
        model->set[who] = true;
        model->due[who] = (int64_t)chance(20) - 10;
        model->order[who] = model->added++;
        dctx_timers_add(timers, &nodes[who], model->due[who]);
        break;
    case 4:
    case 5:
        cr_assert_eq(dctx_timers_remove(timers, &nodes[who]), model->set[who]);
        model->set[who] = false;
        break;
    case 6:
        now = (int64_t)chance(20) - 10;
        first = first_of(model);
        if (first >= 0 && model->due[first] <= now) {
            cr_assert_eq(dctx_timers_pop(timers, now), &nodes[first]);
            model->set[first] = false;
        } else {
            cr_assert_null(dctx_timers_pop(timers, now));
        }
        break;
    default:
        if (chance(100) > 0)
            break;
        dctx_timers_finish(timers);
        *model = (model_t){0};
        break;
    }
}

Test(timers, random_programs_do_as_the_model_does, .timeout = 60)
{
    for (uint64_t run = 1; run <= 200; run++) {
        dctx_timers_t timers;
        dctx_timer_node_t nodes[PEOPLE] = {{0}};
        model_t model = {0};
        seed = run * 0x9e3779b97f4a7c15u;
        dctx_timers_init(&timers);
        for (int i = 0; i < 1000; i++) {
            step(&timers, nodes, &model);
            int first = first_of(&model);
            cr_assert_eq(dctx_timers_next(&timers), first < 0 ? INT64_MAX : model.due[first]);
            cr_assert_eq(dctx_timers_count(&timers), count_of(&model));
            for (int who = 0; who < PEOPLE; who++)
                cr_assert_eq(dctx_timer_is_set(&nodes[who]), model.set[who]);
        }
        dctx_timers_finish(&timers);
    }
}

/* ---- many -------------------------------------------------------------------------------- */

Test(timers, a_million_go_in_and_come_out_in_order, .timeout = 100)
{
    enum { MANY = 1000000 };
    dctx_timer_node_t *nodes = calloc(MANY, sizeof *nodes);
    cr_assert_not_null(nodes);
    dctx_timers_t timers;
    dctx_timers_init(&timers);
    seed = 42;
    for (int i = 0; i < MANY; i++)
        dctx_timers_add(&timers, &nodes[i], (int64_t)chance(MANY));
    for (int i = 0; i < MANY; i += 2)
        cr_assert(dctx_timers_remove(&timers, &nodes[i]));
    cr_assert_eq(dctx_timers_count(&timers), MANY / 2);
    int64_t last = -1;
    size_t popped = 0;
    for (dctx_timer_node_t *node; popped < MANY / 4; popped++, last = node->due) {
        node = dctx_timers_pop(&timers, MANY);
        cr_assert_not_null(node);
        cr_assert_leq(last, node->due);
    }
    dctx_timers_finish(&timers);
    for (int i = 0; i < MANY; i++)
        cr_assert(!dctx_timer_is_set(&nodes[i]));
    free(nodes);
}
