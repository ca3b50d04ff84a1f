/* The laws of failing: a restart loses no message and no more than the one in hand is unhandled;
 * each end is told once; who is born under a parent ends before it. */
#include "conformance.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LETTERS = 60, CHILDREN = 5 };

/* ---- restarts -------------------------------------------------------------------------------- */

typedef struct clinic {
    dctx_ref_t child;
    gate_t ready, seen;
    atomic_long made, destroyed, failed, handled;
    uint64_t next;
    dctx_supervision_t supervision;
} clinic_t;

/* A child's state, new with each restart. */
typedef struct patient {
    clinic_t *clinic;
    long handled;
} patient_t;

static dctx_error_t make_patient(void *seed, void **ret_state)
{
    clinic_t *clinic = seed;
    patient_t *patient = calloc(1, sizeof *patient);
    if (patient == NULL)
        return DCTX_ERR_NOMEM;
    patient->clinic = clinic;
    atomic_fetch_add(&clinic->made, 1);
    *ret_state = patient;
    return DCTX_OK;
}

static void destroy_patient(void *state)
{
    patient_t *patient = state;
    atomic_fetch_add(&patient->clinic->destroyed, 1);
    free(patient);
}

static void never(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    (void)self;
    (void)missed;
    (void)state;
    check(arg == NULL); /* the timer of a life that is over */
}

static dctx_error_t treat(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    patient_t *patient = state;
    clinic_t *clinic = patient->clinic;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    char tenant_now[24];
    check(parcel->number == clinic->next);
    clinic->next++;
    snprintf(tenant_now, sizeof tenant_now, "tenant-%d", (int)parcel->number);
    check(strcmp(tenant_get_or(""), tenant_now) == 0);
    cr_assert_str_eq(chain(), "edge > actor:patient");
    patient->handled++;
    if (parcel->number % 4 == 3) {
        dctx_timer_options_t options = {.delay_ns = 1000000, .run = never, .arg = patient};
        check(dctx_timer_start(self, &options, NULL) == DCTX_OK);
        atomic_fetch_add(&clinic->failed, 1);
        dctx_self_fail(self, DCTX_ERR_IO, "it hurts");
    } else {
        check(patient->handled <= 3); /* none of an earlier life */
        atomic_fetch_add(&clinic->handled, 1);
    }
    gate_pass(&clinic->seen);
    return DCTX_OK;
}

static dctx_error_t open_clinic(dctx_actor_t *self, void *state)
{
    clinic_t *clinic = state;
    dctx_actor_options_t options = {.name = "patient",
                                    .handler = treat,
                                    .state = clinic,
                                    .new_state = make_patient,
                                    .destroy_state = destroy_patient};
    check(dctx_spawn_child(self, &options, &clinic->child) == DCTX_OK);
    gate_pass(&clinic->ready);
    return DCTX_OK;
}

static dctx_error_t no_letters(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_ERR_INVALID;
}

LAW(a_restart_loses_nothing_from_the_mailbox, 0)
{
    clinic_t clinic = {.ready = GATE_INIT,
                       .seen = GATE_INIT,
                       .supervision = {.max_restarts = 1000,
                                       .backoff_ms = draw(ground, 2) == 0 ? 0 : 1,
                                       .backoff_max_ms = 2,
                                       .jitter_percent = 50}};
    dctx_actor_options_t options = {.name = "clinic",
                                    .handler = no_letters,
                                    .state = &clinic,
                                    .on_start = open_clinic,
                                    .supervision = &clinic.supervision};
    dctx_ref_t ref;
    check(dctx_spawn(ground->system, &options, &ref) == DCTX_OK);
    await(ground, &clinic.ready, 1);
    for (uint64_t i = 0; i < LETTERS; i++) {
        char tenant_now[24];
        snprintf(tenant_now, sizeof tenant_now, "tenant-%d", (int)i);
        DCTX_WITH_SCOPE("edge") {
            check(tenant_set(tenant_now) == DCTX_OK);
            check(tell_parcel(clinic.child, 0, i) == DCTX_OK);
        }
        if (ground->world != NULL && draw(ground, 3) == 0)
            (void)dctx_test_step(ground->world);
    }
    await(ground, &clinic.seen, LETTERS);
    linger(ground, 5000000);
    stop_ground(ground);
    check(clinic.failed == LETTERS / 4);
    check(clinic.handled == LETTERS - LETTERS / 4);
    check(clinic.made == clinic.destroyed);
    check(clinic.made == LETTERS / 4 + 1);
}

/* ---- ends, told once ------------------------------------------------------------------------- */

typedef struct watcher {
    ground_t *ground;
    dctx_ref_t mortals[CHILDREN];
    int told[CHILDREN];
    gate_t set, heard;
} watcher_t;

static void note_end(dctx_actor_t *self, dctx_ref_t who, const dctx_exit_t *exit, void *state,
                     void *arg)
{
    watcher_t *watcher = state;
    uintptr_t which = (uintptr_t)arg;
    (void)self;
    check(dctx_ref_equal(who, watcher->mortals[which]));
    check(exit != NULL);
    cr_assert_str_eq(chain(), "actor:watcher");
    watcher->told[which]++;
    gate_pass(&watcher->heard);
}

static dctx_error_t watch_all(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    watcher_t *watcher = state;
    (void)message;
    for (uintptr_t i = 0; i < CHILDREN; i++)
        check(dctx_monitor(self, watcher->mortals[i], note_end, (void *)i, NULL) == DCTX_OK);
    gate_pass(&watcher->set);
    return DCTX_OK;
}

static dctx_error_t die_somehow(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const uint64_t *how = dctx_message_get(message, DCTX_TYPE_UINT64);
    (void)state;
    if (*how == 0)
        dctx_self_stop(self);
    else if (*how == 1)
        dctx_self_fail(self, DCTX_ERR_ABSENT, "no reason to go on");
    return DCTX_OK;
}

LAW(an_end_is_told_once_to_who_watches, 0)
{
    watcher_t watcher = {.ground = ground, .set = GATE_INIT, .heard = GATE_INIT};
    for (int i = 0; i < CHILDREN; i++)
        watcher.mortals[i] = spawn(ground->system, NULL, die_somehow, NULL);
    dctx_ref_t ref = spawn(ground->system, "watcher", watch_all, &watcher);
    /* Some die before they are watched, some meanwhile, some after. */
    uint64_t when = draw(ground, CHILDREN + 1);
    for (uint64_t i = 0; i < CHILDREN; i++) {
        if (i == when)
            check(dctx_tell(ref, NULL, NULL) == DCTX_OK);
        if (draw(ground, 3) == 0)
            check(dctx_stop(watcher.mortals[i]) == DCTX_OK);
        else
            tell_uint(watcher.mortals[i], draw(ground, 2));
        if (ground->world != NULL && draw(ground, 2) == 0)
            (void)dctx_test_step(ground->world);
    }
    if (when == CHILDREN)
        check(dctx_tell(ref, NULL, NULL) == DCTX_OK);
    await(ground, &watcher.heard, CHILDREN);
    settle(ground);
    stop_ground(ground);
    for (int i = 0; i < CHILDREN; i++)
        check(watcher.told[i] == 1);
}

/* ---- trees ----------------------------------------------------------------------------------- */

typedef struct forest {
    atomic_long started, stopped, destroyed;
} forest_t;

typedef struct tree {
    forest_t *forest;
    struct tree *parent;
    int depth;
    atomic_int children; /* that are alive */
} tree_t;

static dctx_error_t grow(dctx_actor_t *self, void *state);

static void wither(dctx_actor_t *self, void *state)
{
    tree_t *tree = state;
    (void)self;
    atomic_fetch_add(&tree->forest->stopped, 1);
}

/* Whoever has children ends after them. */
static void fell(void *state)
{
    tree_t *tree = state;
    check(atomic_load(&tree->children) == 0);
    atomic_fetch_add(&tree->forest->destroyed, 1);
    if (tree->parent != NULL)
        atomic_fetch_sub(&tree->parent->children, 1);
    free(tree);
}

static dctx_actor_options_t a_tree(forest_t *forest, tree_t *parent, int depth)
{
    tree_t *tree = calloc(1, sizeof *tree);
    check(tree != NULL);
    tree->forest = forest;
    tree->parent = parent;
    tree->depth = depth;
    return (dctx_actor_options_t){.handler = die_somehow,
                                  .state = tree,
                                  .on_start = grow,
                                  .on_stop = wither,
                                  .destroy_state = fell};
}

static dctx_error_t grow(dctx_actor_t *self, void *state)
{
    tree_t *tree = state;
    atomic_fetch_add(&tree->forest->started, 1);
    for (int i = 0; tree->depth > 0 && i < 3; i++) {
        dctx_ref_t ref;
        dctx_actor_options_t options = a_tree(tree->forest, tree, tree->depth - 1);
        atomic_fetch_add(&tree->children, 1);
        dctx_error_t error = dctx_spawn_child(self, &options, &ref);
        if (error != DCTX_OK) {
            check(error == DCTX_ERR_STOPPED);
            atomic_fetch_sub(&tree->children, 1);
            free(options.state);
        }
    }
    return DCTX_OK;
}

LAW(children_end_before_their_parent, 0)
{
    forest_t forest = {0};
    dctx_ref_t root;
    dctx_actor_options_t options = a_tree(&forest, NULL, 3);
    check(dctx_spawn(ground->system, &options, &root) == DCTX_OK);
    for (uint64_t n = draw(ground, 200); ground->world != NULL && n > 0; n--)
        (void)dctx_test_step(ground->world);
    uint64_t how = draw(ground, 3);
    if (how == 0)
        check(dctx_stop(root) == DCTX_OK);
    else if (how == 1)
        tell_uint(root, 1);
    if (draw(ground, 2) == 0)
        settle(ground);
    stop_ground(ground);
    check(forest.started == forest.stopped);
    check(forest.destroyed >= forest.started);
}
