/* Whom a round has retire and begin next: the same as by looking at all,
 * but not by looking at all. */
#include "round.h"

#include <string.h>

#include <criterion/criterion.h>

#include "extra.h"
#include "fixture.h"
#include "supervisor.h"
#include "system.h"

/* ---- against a model ------------------------------------------------------------------------- */

enum { BONDS = 40, STEPS = 400, SEEDS = 60 };

typedef struct family {
    dctx_round_t round;
    dctx_bond_t bonds[BONDS]; /* the oldest first */
    int count;
} family_t;

static bool is_listed(const dctx_bond_t *bond)
{
    return bond->listed;
}

static dctx_bond_t *model_next_up(family_t *family, bool *ret_wait)
{
    *ret_wait = false;
    for (int i = family->count - 1; i >= 0; i--) {
        dctx_bond_t *bond = &family->bonds[i];
        if (!is_listed(bond) || !bond->member)
            continue;
        *ret_wait = bond->state == DCTX_BOND_RETIRING || bond->state == DCTX_BOND_BEGINNING;
        if (*ret_wait || !bond->down)
            return bond;
    }
    return NULL;
}

static dctx_bond_t *model_oldest(family_t *family)
{
    for (int i = 0; i < family->count; i++) {
        if (is_listed(&family->bonds[i]) && family->bonds[i].member)
            return &family->bonds[i];
    }
    return NULL;
}

static void model_widen(family_t *family, const dctx_bond_t *oldest)
{
    dctx_round_widen_(&family->round, oldest);
    for (int i = 0; i < family->count; i++) {
        dctx_bond_t *bond = &family->bonds[i];
        if (is_listed(bond) && !bond->doomed && (oldest == NULL || bond >= oldest))
            cr_assert(bond->member);
        else if (!is_listed(bond) || bond->doomed)
            cr_assert(!bond->member);
    }
}

/* What a supervisor does in a round: the one who is next retires or begins,
 * and answers some time. */
static void go(family_t *family)
{
    bool wait = false, expected_wait = false;
    dctx_bond_t *expected = model_next_up(family, &expected_wait);
    dctx_bond_t *bond = dctx_round_next_up_(&family->round, &wait);
    cr_assert_eq(wait, expected_wait);
    cr_assert_eq(bond, expected);
    if (wait) {
        bond->down = bond->state == DCTX_BOND_RETIRING;
        bond->member = bond->down;
        bond->state = bond->down ? DCTX_BOND_RETIRED : DCTX_BOND_RUNNING;
        dctx_round_settle_(&family->round, bond);
    } else if (bond != NULL) {
        bond->state = DCTX_BOND_RETIRING;
    } else {
        bond = dctx_round_oldest_down_(&family->round);
        cr_assert_eq(bond, model_oldest(family));
        cr_assert_eq(bond, dctx_round_any_(&family->round));
        if (bond != NULL)
            bond->state = DCTX_BOND_BEGINNING;
    }
}

/* One that failed to begin is down, and to begin once more. */
static void fail_to_begin(family_t *family, dctx_bond_t *bond)
{
    if (bond->state != DCTX_BOND_BEGINNING)
        return;
    bond->state = DCTX_BOND_FAILED;
    dctx_round_settle_(&family->round, bond);
}

static void doom(family_t *family, dctx_bond_t *bond)
{
    bond->doomed = true;
    bond->member = false;
    dctx_round_settle_(&family->round, bond);
}

static void leave(family_t *family, dctx_bond_t *bond)
{
    dctx_round_remove_(&family->round, bond);
    bond->listed = bond->member = false;
}

static void enter(family_t *family)
{
    if (family->count == BONDS)
        return;
    dctx_bond_t *bond = &family->bonds[family->count++];
    *bond = (dctx_bond_t){.listed = true, .state = DCTX_BOND_RUNNING};
    dctx_round_add_(&family->round, bond);
}

static void step(family_t *family, dctx_random_t *random)
{
    uint64_t what = dctx_random_next(random) % 40;
    dctx_bond_t *bond = &family->bonds[dctx_random_next(random) % (uint64_t)family->count];
    if (what < 3)
        enter(family);
    else if (!bond->listed || what > 8)
        go(family);
    else if (what == 3)
        leave(family, bond);
    else if (what == 4)
        doom(family, bond);
    else if (what == 5)
        fail_to_begin(family, bond);
    else if (!bond->doomed)
        model_widen(family, what == 6 ? NULL : bond);
}

Test(round, is_what_looking_at_all_would_find, .timeout = 60)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        family_t family = {0};
        dctx_random_t random;
        dctx_random_seed(&random, seed);
        for (int i = 0; i < 5; i++)
            enter(&family);
        for (int i = 0; i < STEPS; i++)
            step(&family, &random);
    }
}

/* ---- very many ------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MANY = 4000 };
#else
enum { MANY = 20000 };
#endif

/* Looks at a child, for each restart of one and each failure;
 * all of the children are one more each. */
enum { LOOKS = 6 };

typedef struct crowd {
    dctx_system_t *system;
    dctx_ref_t parent, refs[MANY];
    dctx_supervision_t supervision;
    gate_t started, failed, inside, leave, handled;
} crowd_t;

static dctx_error_t member_start(dctx_actor_t *self, void *state)
{
    (void)self;
    gate_pass(&((crowd_t *)state)->started);
    return DCTX_OK;
}

static dctx_error_t member_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    crowd_t *crowd = state;
    if (dctx_message_get(message, DCTX_TYPE_UINT64) != NULL) {
        dctx_self_fail(self, DCTX_ERR_IO, NULL);
        gate_pass(&crowd->failed);
    } else {
        gate_pass(&crowd->handled);
    }
    return DCTX_OK;
}

/* Keeps the parent busy until all have failed, on a message with a value. */
static dctx_error_t parent_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    crowd_t *crowd = state;
    (void)self;
    if (dctx_message_get(message, DCTX_TYPE_UINT64) == NULL)
        return dctx_reply(message, NULL, NULL);
    gate_pass(&crowd->inside);
    (void)gate_wait(&crowd->leave, 1);
    return DCTX_OK;
}

static dctx_error_t parent_start(dctx_actor_t *self, void *state)
{
    crowd_t *crowd = state;
    dctx_actor_options_t options = {
        .handler = member_handle, .on_start = member_start, .state = crowd};
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(dctx_spawn_child(self, &options, &crowd->refs[i]), DCTX_OK);
    return DCTX_OK;
}

static crowd_t *crowd_new(dctx_strategy_t strategy)
{
    crowd_t *crowd = calloc(1, sizeof *crowd);
    cr_assert_not_null(crowd);
    *crowd = (crowd_t){.started = GATE_INIT,
                       .failed = GATE_INIT,
                       .inside = GATE_INIT,
                       .leave = GATE_INIT,
                       .handled = GATE_INIT};
    crowd->supervision =
        (dctx_supervision_t){.strategy = strategy, .max_restarts = 100000, .window_ms = 600000};
    crowd->system = start(&(dctx_system_options_t){.workers = 2});
    dctx_actor_options_t options = {.name = "parent",
                                    .handler = parent_handle,
                                    .on_start = parent_start,
                                    .state = crowd,
                                    .supervision = &crowd->supervision};
    cr_assert_eq(dctx_spawn(crowd->system, &options, &crowd->parent), DCTX_OK);
    cr_assert(gate_wait(&crowd->started, MANY));
    return crowd;
}

/* Once all children have handled a message more, and the parent has come past what they
 * reported. */
static void check_looks(crowd_t *crowd, uint64_t restarts, long handled)
{
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(dctx_tell(crowd->refs[i], NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&crowd->handled, handled));
    cr_assert(gate_wait(&crowd->started, MANY + (long)restarts));
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(crowd->parent, NULL, NULL, WAIT_MS, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
    dctx_system_counters_t c = counters(crowd->system);
    cr_assert_eq(c.restarts, restarts, "%lu restarts", (unsigned long)c.restarts);
    const dctx_actor_t *parent = dctx_slab_at(&crowd->system->actors, (uint32_t)crowd->parent.id_);
    uint64_t looks = dctx_supervisor_looks_(&parent->extra->kin);
    cr_assert_leq(looks, LOOKS * (c.restarts + c.failures + MANY), "%lu looks for %lu restarts",
                  (unsigned long)looks, (unsigned long)c.restarts);
}

static void crowd_destroy(crowd_t *crowd)
{
    finish(&crowd->system);
    free(crowd);
}

static void check_one_failure(dctx_strategy_t strategy)
{
    crowd_t *crowd = crowd_new(strategy);
    tell_uint(crowd->refs[0], 0);
    check_looks(crowd, MANY, MANY);
    crowd_destroy(crowd);
}

Test(round, all_for_one_looks_at_each_a_few_times, .init = fixture_init, .timeout = 100)
{
    check_one_failure(DCTX_ALL_FOR_ONE);
}

Test(round, rest_for_one_looks_at_each_a_few_times, .init = fixture_init, .timeout = 100)
{
    check_one_failure(DCTX_REST_FOR_ONE);
}

/* All fail while the parent is busy, and so are one round. */
static void check_all_fail(dctx_strategy_t strategy)
{
    crowd_t *crowd = crowd_new(strategy);
    tell_uint(crowd->parent, 0);
    cr_assert(gate_wait(&crowd->inside, 1));
    for (int i = 0; i < MANY; i++)
        tell_uint(crowd->refs[i], 0);
    cr_assert(gate_wait(&crowd->failed, MANY));
    gate_pass(&crowd->leave);
    check_looks(crowd, MANY, MANY);
    crowd_destroy(crowd);
}

Test(round, all_for_one_takes_many_failures, .init = fixture_init, .timeout = 100)
{
    check_all_fail(DCTX_ALL_FOR_ONE);
}

Test(round, rest_for_one_takes_many_failures, .init = fixture_init, .timeout = 100)
{
    check_all_fail(DCTX_REST_FOR_ONE);
}

/* What concerns only the youngest does not look at those that are older. */
Test(round, rest_for_one_leaves_the_older_alone, .init = fixture_init, .timeout = 100)
{
    enum { TIMES = 2000 };
    crowd_t *crowd = crowd_new(DCTX_REST_FOR_ONE);
    for (int i = 0; i < TIMES; i++)
        tell_uint(crowd->refs[MANY - 1], 0);
    check_looks(crowd, TIMES, MANY);
    crowd_destroy(crowd);
}
