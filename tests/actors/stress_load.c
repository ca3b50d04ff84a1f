/* Very many actors, very many messages: a million alive, eight senders into one, out to many and in
 * again. */
#include "stress.h"

#include <stdatomic.h>
#include <stdlib.h>

/* ---- a million ------------------------------------------------------------------------------- */

typedef struct crowd {
    atomic_long handled, gone;
    long count;
    gate_t all;
} crowd_t;

static dctx_error_t be_one_of_many(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    crowd_t *crowd = state;
    (void)self;
    (void)message;
    if (atomic_fetch_add(&crowd->handled, 1) + 1 == crowd->count)
        gate_pass(&crowd->all);
    return DCTX_OK;
}

static void leave_the_crowd(void *state)
{
    crowd_t *crowd = state;
    atomic_fetch_add(&crowd->gone, 1);
}

Test(stress, a_million_live_actors, .init = fixture_init, .timeout = 3600)
{
    crowd_t crowd = {.count = stress_size(50000, 1000000), .all = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t *refs = malloc(sizeof *refs * (size_t)crowd.count);
    cr_assert_not_null(refs);
    dctx_actor_options_t options = {
        .handler = be_one_of_many, .state = &crowd, .destroy_state = leave_the_crowd};
    for (long i = 0; i < crowd.count; i++)
        cr_assert_eq(dctx_spawn(system, &options, &refs[i]), DCTX_OK);
    cr_assert_eq(counters(system).actors, (uint64_t)crowd.count);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        for (long i = 0; i < crowd.count; i++)
            tell_uint(refs[i], 1);
    }
    stress_wait(system, &crowd.all, 1);
    /* Every second one goes; the others are the system's to stop. */
    for (long i = 0; i < crowd.count; i += 2)
        cr_assert_eq(dctx_stop(refs[i]), DCTX_OK);
    finish(&system);
    cr_assert_eq(crowd.handled, crowd.count);
    cr_assert_eq(crowd.gone, crowd.count);
    free(refs);
}

/* ---- many into one --------------------------------------------------------------------------- */

enum { SENDERS = 8 };

typedef struct funnel {
    uint64_t next[SENDERS];
    long left;
    gate_t all;
    dctx_ref_t ref;
    long each;
    atomic_int ids;
} funnel_t;

static dctx_error_t check_order(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    funnel_t *funnel = state;
    (void)self;
    uint64_t value = *(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64);
    uint64_t sender = value >> 32, number = value & UINT32_MAX;
    cr_assert_eq(number, funnel->next[sender]);
    cr_assert_eq(request_get_or(99), sender);
    funnel->next[sender]++;
    if (--funnel->left == 0)
        gate_pass(&funnel->all);
    return DCTX_OK;
}

static void *send_all(void *arg)
{
    funnel_t *funnel = arg;
    uint64_t me = (uint64_t)atomic_fetch_add(&funnel->ids, 1);
    DCTX_WITH_SCOPE("sender") {
        cr_assert_eq(request_set(me), DCTX_OK);
        for (uint64_t i = 0; i < (uint64_t)funnel->each; i++)
            tell_uint(funnel->ref, me << 32 | i);
    }
    return NULL;
}

Test(stress, eight_senders_into_one, .init = fixture_init, .timeout = 3600)
{
    funnel_t funnel = {.each = stress_size(20000, 500000), .all = GATE_INIT};
    funnel.left = SENDERS * funnel.each;
    stress_threads_t threads = {0};
    dctx_system_t *system = start(NULL);
    funnel.ref = spawn(system, "funnel", check_order, &funnel);
    for (int i = 0; i < SENDERS; i++)
        stress_thread(&threads, send_all, &funnel);
    stress_wait(system, &funnel.all, 1);
    stress_join(&threads);
    finish(&system);
}

/* ---- out and in ------------------------------------------------------------------------------ */

enum { WIDTH = 200 };

typedef struct fan {
    dctx_ref_t root, leaves[WIDTH];
    long rounds, waits;
    gate_t all;
} fan_t;

static dctx_error_t be_leaf(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const fan_t *fan = state;
    (void)self;
    return dctx_tell(fan->root, DCTX_TYPE_UINT64, dctx_message_get(message, DCTX_TYPE_UINT64));
}

static dctx_error_t be_root(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    fan_t *fan = state;
    (void)self;
    const uint64_t *round = dctx_message_get(message, DCTX_TYPE_UINT64);
    if (round != NULL && (*round != (uint64_t)fan->rounds || --fan->waits > 0))
        return *round == (uint64_t)fan->rounds ? DCTX_OK : DCTX_ERR_INVALID;
    if (--fan->rounds < 0) {
        gate_pass(&fan->all);
        return DCTX_OK;
    }
    fan->waits = WIDTH;
    for (int i = 0; i < WIDTH; i++)
        tell_uint(fan->leaves[i], (uint64_t)fan->rounds);
    return DCTX_OK;
}

Test(stress, out_to_many_and_in_again, .init = fixture_init, .timeout = 3600)
{
    fan_t fan = {.rounds = stress_size(100, 10000), .all = GATE_INIT};
    long rounds = fan.rounds;
    dctx_system_t *system = start(NULL);
    for (int i = 0; i < WIDTH; i++)
        fan.leaves[i] = spawn(system, NULL, be_leaf, &fan);
    fan.root = spawn(system, "root", be_root, &fan);
    cr_assert_eq(dctx_tell(fan.root, NULL, NULL), DCTX_OK);
    stress_wait(system, &fan.all, 1);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.failed, 0);
    finish(&system);
    cr_assert_eq(c.accepted, (uint64_t)(1 + 2 * WIDTH * rounds));
}
