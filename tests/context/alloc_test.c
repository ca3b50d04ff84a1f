/*
 * Memory runs out at every single point: each scenario is run with its first allocation failing,
 * then its second, and so on until none is left to fail; and again with that one and all later ones
 * failing. Whatever fails, the thread's context is as it was, to the byte, and nothing is left over
 * at the end. A step that never needs memory succeeds.
 *
 * Every round has a thread and a registry of its own, so what is made at first use fails too.
 */
#include "alloc_world.h"

#include <pthread.h>

/* ---- the sweep ---- */

typedef struct round {
    const scenario_t *scenario;
    unsigned nth;
    bool later;
    bool over; /* out: nothing was refused */
    state_t after;
} round_t;

static void *run_round(void *arg)
{
    round_t *round = arg;
    const scenario_t *scenario = round->scenario;
    state_t before;
    world_t world = {0};
    open_world(&world);
    observe(&before, &world);
    watch_fail(round->nth, round->later);
    dctx_error_t error = scenario->run(&world);
    unsigned refused = watch_relent();
    round->over = refused == 0;
    observe(&round->after, &world);
    cr_assert(error == DCTX_OK || (error == DCTX_ERR_NOMEM && refused > 0),
              "%s, allocation %u%s: %s", scenario->name, round->nth,
              round->later ? " and later" : "", dctx_error_name(error));
    if (error != DCTX_OK) {
        cr_assert_eq(round->after.size, before.size, "%s, allocation %u: the context changed",
                     scenario->name, round->nth);
        cr_assert_arr_eq(round->after.text, before.text, before.size,
                         "%s, allocation %u: the context changed", scenario->name, round->nth);
        /* And it is not broken for good. */
        error = scenario->run(&world);
        cr_assert_eq(error, DCTX_OK, "%s, after allocation %u: %s", scenario->name, round->nth,
                     dctx_error_name(error));
        observe(&round->after, &world);
    }
    close_world(&world);
    return NULL;
}

static void on_a_thread(void *(*run)(void *), void *arg, const char *name, unsigned nth)
{
    pthread_t thread;
    size_t blocks = watch_live_blocks(), things = things_alive();
    cr_assert_eq(pthread_create(&thread, NULL, run, arg), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(watch_live_blocks(), blocks, "%s, allocation %u: %zd blocks left", name, nth,
                 (ssize_t)(watch_live_blocks() - blocks));
    cr_assert_eq(things_alive(), things, "%s, allocation %u: values left", name, nth);
}

static void sweep(const scenario_t *scenario, bool later)
{
    static round_t plain, round;
    plain = (round_t){.scenario = scenario, .nth = 1000000};
    on_a_thread(run_round, &plain, scenario->name, 0);
    cr_assert(plain.over);
    round.over = false;
    for (unsigned nth = 1; !round.over; nth++) {
        cr_assert_lt(nth, 1000);
        round = (round_t){.scenario = scenario, .nth = nth, .later = later};
        on_a_thread(run_round, &round, scenario->name, nth);
        /* Whether it was taken in its stride, or done at the second try: the same came out. */
        cr_assert_eq(round.after.size, plain.after.size, "%s, allocation %u", scenario->name, nth);
        cr_assert_arr_eq(round.after.text, plain.after.text, plain.after.size, "%s, allocation %u",
                         scenario->name, nth);
    }
}

static void init(void)
{
    watch_install();
    cr_assert_not_null(dctx_registry_global());
}

Test(alloc, each_fails_once, .init = init, .timeout = 120)
{
    for (size_t i = 0; i < scenario_count; i++)
        sweep(&scenarios[i], false);
}

Test(alloc, each_and_all_later_fail, .init = init, .timeout = 120)
{
    for (size_t i = 0; i < scenario_count; i++)
        sweep(&scenarios[i], true);
}

/* ---- what needs its own way of looking ---- */

/* Reading is no failure: a value that could not be decoded for want of memory is there the next
 * time, and is not taken for one that does not decode. */
static void *read_lazily(void *arg)
{
    round_t *round = arg;
    dctx_context_counters_t before, after;
    state_t missed, whole, expected;
    world_t world = {0};
    dctx_scope_t scope;
    old_t old = {401};
    open_world(&world);
    cr_assert_eq(dctx_attach(world.received, &scope), DCTX_OK);
    dctx_context_counters_read(&before);
    watch_fail(round->nth, round->later);
    missed.size = 0;
    for (int i = 0; i < KEYS; i++)
        add_value(&missed, key_options(i)->type, dctx_get(world.keys[i]));
    round->over = watch_relent() == 0;
    whole.size = 0;
    for (int i = 0; i < KEYS; i++)
        add_value(&whole, key_options(i)->type, dctx_get(world.keys[i]));
    expected.size = 0;
    add_value(&expected, DCTX_TYPE_STRING, "received");
    add_value(&expected, DCTX_TYPE_BYTES, &(dctx_bytes_t){"xyz", 3});
    add_value(&expected, DCTX_TYPE_BOOL, NULL); /* of a later version */
    add_value(&expected, DCTX_TYPE_INT64, &(int64_t){7});
    add_value(&expected, &thing_type, &(thing_t){(char[]){"received"}});
    add_value(&expected, DCTX_TYPE_STRING, NULL);
    add_value(&expected, &old_type, &old);
    add_value(&expected, &thing_type, NULL);
    cr_assert_eq(whole.size, expected.size, "allocation %u: a value is lost", round->nth);
    cr_assert_arr_eq(whole.text, expected.text, expected.size);
    dctx_context_counters_read(&after);
    cr_assert_eq(after.entries_undecodable, before.entries_undecodable + 1);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    close_world(&world);
    return NULL;
}

Test(alloc, lazy_values_come_back, .init = init)
{
    for (int later = 0; later < 2; later++) {
        round_t *round = calloc(1, sizeof(*round));
        cr_assert_not_null(round);
        for (unsigned nth = 1; !round->over; nth++) {
            round->nth = nth;
            round->later = later;
            on_a_thread(read_lazily, round, "read", nth);
        }
        free(round);
    }
}

DCTX_KEY_STRING(first_key, "first", DCTX_BROADCAST)
DCTX_KEY_INT64(second_key, "second", DCTX_LOCAL)
DCTX_KEY_STRUCT(third_key, "third", thing_t, &thing_type, DCTX_BROADCAST)

/* A thread's very first call, whichever it is. */
typedef struct first {
    world_t *world;
    int call;
    unsigned nth;
    bool over;
} first_t;

static dctx_error_t first_call(first_t *first)
{
    dctx_scope_t scope = {0};
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = DCTX_OK;
    char chain[32];
    switch (first->call) {
    case 0:
        error = dctx_scope_push("first", &scope);
        break;
    case 1:
        error = dctx_attach(first->world->received, &scope);
        break;
    case 2:
        error = dctx_attach_scope(first->world->received, "first", &scope);
        break;
    case 3:
        error = dctx_capture(&snapshot);
        break;
    case 4:
        error = dctx_fork(&snapshot);
        break;
    case 5:
        error = first_key_set("first");
        break;
    case 6:
        error = first_key_unset();
        break;
    case 7:
        error = dctx_clear();
        break;
    case 8:
        error = dctx_snapshot_decode(first->world->registry, first->world->stamp,
                                     first->world->stamp_size, &snapshot);
        break;
    default:
        cr_assert_null(first_key_get());
        cr_assert(dctx_is_empty());
        cr_assert_eq(dctx_scope_depth(), 0);
        cr_assert_eq(dctx_chain_format(chain, sizeof(chain)), 0);
        cr_assert_eq(dctx_current_registry(), dctx_registry_global());
        cr_assert_eq(dctx_scope_pop(NULL), DCTX_OK);
    }
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    return error;
}

static void *run_first(void *arg)
{
    first_t *first = arg;
    watch_fail(first->nth, false);
    dctx_error_t error = first_call(first);
    first->over = watch_relent() == 0;
    cr_assert(error == DCTX_OK || (error == DCTX_ERR_NOMEM && !first->over), "call %d: %s",
              first->call, dctx_error_name(error));
    cr_assert_eq(dctx_scope_depth(), 0);
    if (error != DCTX_OK)
        cr_assert(dctx_is_empty());
    cr_assert_eq(first_call(first), DCTX_OK);
    return NULL;
}

Test(alloc, first_call_of_a_thread, .init = init)
{
    world_t world = {0};
    cr_assert_eq(DCTX_REGISTER_KEYS(NULL, &first_key, &second_key, &third_key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    open_world(&world);
    for (int call = 0; call < 10; call++) {
        first_t first = {&world, call, 0, false};
        while (!first.over) {
            first.nth++;
            cr_assert_lt(first.nth, 100);
            on_a_thread(run_first, &first, "first call", first.nth);
            cr_assert(call != 9 || first.over, "looking at nothing needs memory");
        }
    }
    close_world(&world);
}
