/* Random trees of actors that fail at random, against a model that says who lives,
 * and in which life. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

enum { ACTORS = 24, STEPS = 120, SEEDS = 40 };

/* ---- the model ------------------------------------------------------------------------------- */

typedef struct person {
    bool alive;
    int parent; /* -1: none */
    int born;   /* the order among siblings */
    int lives;  /* starts so far */
    dctx_supervision_t options;
    int64_t restarts[8]; /* the last max_restarts, the oldest first */
    unsigned count;
} person_t;

typedef struct model {
    person_t people[ACTORS];
    int births;
    uint64_t failures, restarts;
} model_t;

/* The next child of a parent in the order of birth, after `before`; -1: there is none. */
static int next_child(const model_t *model, int parent, int before)
{
    int best = -1;
    for (int i = 0; i < ACTORS; i++) {
        const person_t *each = &model->people[i];
        if (each->alive && each->parent == parent && each->born > before &&
            (best < 0 || each->born < model->people[best].born))
            best = i;
    }
    return best;
}

static void end(model_t *model, int who)
{
    for (int i = 0; i < ACTORS; i++) {
        if (model->people[i].alive && model->people[i].parent == who)
            end(model, i);
    }
    model->people[who].alive = false;
}

static void end_children(model_t *model, int who)
{
    for (int i = 0; i < ACTORS; i++) {
        if (model->people[i].alive && model->people[i].parent == who)
            end(model, i);
    }
}

static void restart(model_t *model, int who)
{
    end_children(model, who);
    model->people[who].lives++;
    model->people[who].count = 0;
    model->restarts++;
}

static bool may_restart(person_t *parent, int64_t now)
{
    unsigned most = parent->options.max_restarts;
    if (parent->count == most) {
        if (now - parent->restarts[0] <= parent->options.window_ms * 1000000)
            return false;
        memmove(parent->restarts, parent->restarts + 1, (most - 1) * sizeof parent->restarts[0]);
        parent->count--;
    }
    parent->restarts[parent->count++] = now;
    return true;
}

static void fail(model_t *model, int who, bool by_error, int64_t now)
{
    int up = model->people[who].parent;
    model->failures++;
    if (up < 0) {
        end(model, who);
        return;
    }
    person_t *parent = &model->people[up];
    dctx_directive_t directive = by_error ? parent->options.on_error : parent->options.on_failure;
    if (directive == DCTX_RESUME)
        return;
    if (directive == DCTX_ESCALATE) {
        fail(model, up, false, now);
        return;
    }
    if (directive == DCTX_RESTART && !may_restart(parent, now)) {
        end_children(model, up);
        fail(model, up, false, now);
        return;
    }
    int born = parent->options.strategy == DCTX_ALL_FOR_ONE ? -1 : model->people[who].born - 1;
    for (int i = next_child(model, up, born); i >= 0; i = next_child(model, up, born)) {
        born = model->people[i].born;
        if (directive == DCTX_RESTART)
            restart(model, i);
        else
            end(model, i);
        if (parent->options.strategy == DCTX_ONE_FOR_ONE)
            break;
    }
}

/* ---- the real ones --------------------------------------------------------------------------- */

typedef struct actor {
    dctx_ref_t ref;
    int starts, stops, downs;
} actor_t;

typedef struct run {
    model_t model;
    actor_t actors[ACTORS];
    dctx_test_world_t *world;
    dctx_system_t *system;
    dctx_random_t random;
} run_t;

static uint64_t draw(run_t *run, uint64_t below)
{
    return dctx_random_next(&run->random) % below;
}

static dctx_error_t on_start(dctx_actor_t *self, void *state)
{
    actor_t *actor = state;
    (void)self;
    actor->starts++;
    return DCTX_OK;
}

static void on_stop(dctx_actor_t *self, void *state)
{
    actor_t *actor = state;
    cr_assert_not_null(dctx_self_exit(self));
    actor->stops++;
}

typedef enum order { ORDER_FAIL, ORDER_ERROR, ORDER_STOP, ORDER_SPAWN, ORDERS } order_t;

/* What an actor is to spawn, for the next ORDER_SPAWN. */
static dctx_actor_options_t to_spawn;
static dctx_ref_t spawned;

static dctx_error_t obey(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const uint64_t *order = dctx_message_get(message, DCTX_TYPE_UINT64);
    (void)state;
    switch ((order_t)*order) {
    case ORDER_FAIL:
        dctx_self_fail(self, DCTX_ERR_IO, "told to");
        return DCTX_OK;
    case ORDER_ERROR:
        return DCTX_ERR_IO;
    case ORDER_STOP:
        dctx_self_stop(self);
        return DCTX_OK;
    default:
        cr_assert_eq(dctx_spawn_child(self, &to_spawn, &spawned), DCTX_OK);
        return DCTX_OK;
    }
}

static void on_down(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    actor_t *actor = arg;
    cr_assert(dctx_ref_equal(who, actor->ref));
    cr_assert_not_null(exit);
    actor->downs++;
}

static void settle(run_t *run)
{
    cr_assert(dctx_test_run(run->world));
}

/* A place that is free, or -1. */
static int pick(run_t *run, bool alive)
{
    for (int tries = 0; tries < 50; tries++) {
        int i = (int)draw(run, ACTORS);
        if (run->model.people[i].alive == alive)
            return i;
    }
    return -1;
}

static void spawn_one(run_t *run)
{
    int who = pick(run, false), parent = draw(run, 4) == 0 ? -1 : pick(run, true);
    if (who < 0)
        return;
    person_t *person = &run->model.people[who];
    actor_t *actor = &run->actors[who];
    *actor = (actor_t){0};
    *person = (person_t){.alive = true,
                         .parent = parent,
                         .born = run->model.births++,
                         .lives = 1,
                         .options = {.strategy = (dctx_strategy_t)draw(run, 3),
                                     .on_error = (dctx_directive_t)(1 + draw(run, 4)),
                                     .on_failure = (dctx_directive_t)(1 + draw(run, 4)),
                                     .max_restarts = 1 + (unsigned)draw(run, 3),
                                     .window_ms = 1000}};
    if (draw(run, 2) == 0)
        person->options.on_failure = DCTX_RESTART;
    to_spawn = (dctx_actor_options_t){.handler = obey,
                                      .state = actor,
                                      .on_start = on_start,
                                      .on_stop = on_stop,
                                      .supervision = &person->options};
    if (parent >= 0 && draw(run, 2) == 0) {
        tell_uint(run->actors[parent].ref, ORDER_SPAWN);
        settle(run);
        actor->ref = spawned;
    } else {
        if (parent >= 0)
            to_spawn.parent = run->actors[parent].ref;
        cr_assert_eq(dctx_spawn(run->system, &to_spawn, &actor->ref), DCTX_OK);
    }
    cr_assert_eq(dctx_monitor_call(actor->ref, on_down, actor), DCTX_OK);
}

static void disturb_one(run_t *run)
{
    int who = pick(run, true);
    if (who < 0)
        return;
    int64_t now = dctx_test_now(run->world);
    person_t *person = &run->model.people[who];
    bool root = person->parent < 0;
    switch (draw(run, 6)) {
    case 0:
        tell_uint(run->actors[who].ref, ORDER_STOP);
        end(&run->model, who);
        break;
    case 1:
        cr_assert_eq(draw(run, 2) == 0 ? dctx_stop(run->actors[who].ref)
                                       : dctx_stop_now(run->actors[who].ref),
                     DCTX_OK);
        end(&run->model, who);
        break;
    case 2:
        tell_uint(run->actors[who].ref, ORDER_ERROR);
        /* Resume is the same as no failure, and is not counted as one. */
        if (!root && run->model.people[person->parent].options.on_error != DCTX_RESUME)
            fail(&run->model, who, true, now);
        break;
    default:
        tell_uint(run->actors[who].ref, ORDER_FAIL);
        fail(&run->model, who, false, now);
        break;
    }
}

static void compare(run_t *run, uint64_t seed, int step)
{
    uint64_t alive = 0;
    for (int i = 0; i < ACTORS; i++) {
        const person_t *person = &run->model.people[i];
        const actor_t *actor = &run->actors[i];
        char name[64];
        alive += person->alive;
        cr_assert_eq(actor->starts, person->lives, "seed %lu, step %d, actor %d: %d starts, not %d",
                     (unsigned long)seed, step, i, actor->starts, person->lives);
        cr_assert_eq(actor->stops, person->lives - person->alive, "seed %lu, step %d, actor %d",
                     (unsigned long)seed, step, i);
        cr_assert_eq(actor->downs, person->lives > 0 && !person->alive,
                     "seed %lu, step %d, actor %d", (unsigned long)seed, step, i);
        if (person->lives > 0)
            cr_assert_eq(dctx_ref_format(actor->ref, name, sizeof name) > 0, person->alive);
    }
    dctx_system_counters_t c = counters(run->system);
    cr_assert_eq(c.actors, alive);
    cr_assert_eq(c.failures, run->model.failures);
    cr_assert_eq(c.restarts, run->model.restarts);
}

Test(supervise_model, lives_as_the_model_does, .init = fixture_init, .timeout = 100)
{
    static run_t run;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        memset(&run, 0, sizeof run);
        dctx_random_seed(&run.random, seed);
        cr_assert_eq(dctx_test_world_new(seed, &run.world), DCTX_OK);
        run.system = start(&(dctx_system_options_t){.world = run.world});
        for (int step = 0; step < STEPS; step++) {
            if (draw(&run, 2) == 0)
                spawn_one(&run);
            else
                disturb_one(&run);
            settle(&run);
            compare(&run, seed, step);
            if (draw(&run, 4) == 0)
                cr_assert(dctx_test_advance(run.world, 400 * 1000000LL));
        }
        finish(&run.system);
        for (int i = 0; i < ACTORS; i++)
            cr_assert_eq(run.actors[i].downs, run.model.people[i].lives > 0);
        dctx_test_world_destroy(&run.world);
    }
}
