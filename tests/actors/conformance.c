#include "conformance.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEEDS = 200, ROUNDS = 5 };

uint64_t ground_seed;

/* ---- values that are counted ----------------------------------------------------------------- */

static atomic_long alive;

long parcels_alive(void)
{
    return atomic_load(&alive);
}

static dctx_error_t copy_parcel(void *dst, const void *src)
{
    parcel_t *to = dst;
    *to = *(const parcel_t *)src;
    to->owned = malloc(16);
    if (to->owned == NULL)
        return DCTX_ERR_NOMEM;
    atomic_fetch_add(&alive, 1);
    return DCTX_OK;
}

static void destroy_parcel(void *value)
{
    parcel_t *parcel = value;
    cr_assert_not_null(parcel->owned, "it was destroyed before");
    free(parcel->owned);
    parcel->owned = NULL;
    atomic_fetch_sub(&alive, 1);
}

static const dctx_type_t counted = {
    .name = "parcel", .size = sizeof(parcel_t), .copy = copy_parcel, .destroy = destroy_parcel};
const dctx_type_t *const parcel_type = &counted;

parcel_t a_parcel(uint64_t from, uint64_t number)
{
    return (parcel_t){.from = from, .number = number};
}

dctx_error_t tell_parcel(dctx_ref_t to, uint64_t from, uint64_t number)
{
    parcel_t parcel = a_parcel(from, number);
    return dctx_tell(to, parcel_type, &parcel);
}

/* ---- the two grounds ------------------------------------------------------------------------- */

static void count_dead(const dctx_dead_letter_t *letter, void *arg)
{
    ground_t *ground = arg;
    cr_assert_neq(letter->reason, DCTX_OK);
    gate_pass(&ground->dead);
}

static void run_law(law_fn law, const dctx_system_options_t *options, ground_t *ground)
{
    dctx_system_options_t all = *options;
    ground_seed = ground->seed;
    ground->dead = (gate_t)GATE_INIT;
    dctx_random_seed(&ground->random, ground->seed + 1);
    all.world = ground->world;
    all.on_dead_letter = count_dead;
    all.arg = ground;
    ground->system = start(&all);
    law(ground);
    if (ground->system != NULL)
        stop_ground(ground);
    cr_assert_eq(parcels_alive(), 0, "%ld values were lost, or destroyed twice, seed %llu",
                 parcels_alive(), (unsigned long long)ground->seed);
}

void stop_ground(ground_t *ground)
{
    finish(&ground->system);
}

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

void in_worlds(law_fn law, const dctx_system_options_t *options)
{
    uint64_t first = number_of("DCTX_SEED", 0);
    uint64_t count = getenv("DCTX_SEED") != NULL ? 1 : number_of("DCTX_SEEDS", SEEDS);
    for (uint64_t i = 0; i < count; i++) {
        ground_t ground = {.seed = first + i};
        cr_assert_eq(dctx_test_world_new(ground.seed, &ground.world), DCTX_OK);
        run_law(law, options, &ground);
        dctx_test_world_destroy(&ground.world);
    }
}

void on_threads(law_fn law, const dctx_system_options_t *options)
{
    for (uint64_t round = 0; round < ROUNDS; round++) {
        dctx_system_options_t with = *options;
        ground_t ground = {.seed = round};
        with.workers = 1 + (unsigned)round % 3;
        with.quantum = round % 2 == 0 ? 0 : 2;
        run_law(law, &with, &ground);
    }
}

/* ---- what a law may do ----------------------------------------------------------------------- */

typedef struct awaited {
    gate_t *gate;
    long count;
} awaited_t;

static bool is_passed(void *arg)
{
    const awaited_t *awaited = arg;
    return gate_count(awaited->gate) >= awaited->count;
}

void await(ground_t *ground, gate_t *gate, long count)
{
    awaited_t awaited = {.gate = gate, .count = count};
    bool there = ground->world != NULL
                     ? dctx_test_await(ground->world, is_passed, &awaited, INT64_MAX)
                     : gate_wait(gate, count);
    cr_assert(there, "%ld of %ld came, seed %llu", gate_count(gate), count,
              (unsigned long long)ground->seed);
}

static dctx_error_t pass_gate(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    gate_pass(state);
    dctx_self_stop(self);
    return DCTX_OK;
}

void linger(ground_t *ground, int64_t ns)
{
    if (ground->world != NULL) {
        cr_assert(dctx_test_advance(ground->world, ns));
        return;
    }
    gate_t gate = GATE_INIT;
    dctx_ref_t ref = spawn(ground->system, NULL, pass_gate, &gate);
    cr_assert_eq(dctx_tell_after(ref, ns, NULL, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&gate, 1));
}

void settle(ground_t *ground)
{
    if (ground->world != NULL) {
        cr_assert(dctx_test_run(ground->world));
        return;
    }
    for (int i = 0; i < 20000; i++) {
        dctx_system_counters_t c = counters(ground->system);
        if (c.accepted == c.handled + c.dead_lettered)
            return;
        linger(ground, 100000);
    }
    cr_assert_fail("it does not come to rest");
}

uint64_t draw(ground_t *ground, uint64_t below)
{
    return dctx_random_next(&ground->random) % below;
}
