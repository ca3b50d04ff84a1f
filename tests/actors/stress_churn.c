/* Actors are killed and made anew, or fail and are restarted by supervisors of all strategies, at
 * random, under tells, asks, timers and delayed messages: nothing is lost, each ask ends once, and
 * the counts add up. */
#include "stress.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { PLACES = 48, KILLERS = 2, TALKERS = 3, STRATEGIES = DCTX_REST_FOR_ONE + 1 };

/* What all know of one another. */
typedef struct town {
    dctx_system_t *system;
    dctx_ref_t mayors[STRATEGIES]; /* each restarts one of four */
    atomic_long restarted[STRATEGIES], mayors_restarted;
    pthread_mutex_t lock;
    dctx_ref_t refs[PLACES]; /* under the lock */
    atomic_long born, buried, asked, ended, fired, values;
    atomic_bool over;
    stress_time_t time;
} town_t;

static town_t town;

static dctx_ref_t someone(dctx_random_t *random)
{
    pthread_mutex_lock(&town.lock);
    dctx_ref_t ref = town.refs[dctx_random_next(random) % PLACES];
    pthread_mutex_unlock(&town.lock);
    return ref;
}

/* ---- messages with a value that must be freed once ------------------------------------------- */

typedef struct burden {
    uint64_t hops;
    void *block;
} burden_t;

static dctx_error_t copy_burden(void *dst, const void *src)
{
    burden_t *to = dst;
    *to = *(const burden_t *)src;
    to->block = malloc(24);
    if (to->block == NULL)
        return DCTX_ERR_NOMEM;
    atomic_fetch_add(&town.values, 1);
    return DCTX_OK;
}

static void destroy_burden(void *value)
{
    burden_t *burden = value;
    free(burden->block);
    burden->block = NULL;
    atomic_fetch_sub(&town.values, 1);
}

static const dctx_type_t burden_type = {
    .name = "burden", .size = sizeof(burden_t), .copy = copy_burden, .destroy = destroy_burden};

/* ---- who lives there ------------------------------------------------------------------------- */

typedef struct citizen {
    dctx_random_t random;
    dctx_reply_to_t *owed;
    int place;
} citizen_t;

/* Whose child it is; STRATEGIES: nobody's. */
static int group_of(int place)
{
    return place % (STRATEGIES + 1);
}

static void ended(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply, void *state,
                  void *arg)
{
    (void)self;
    (void)status;
    (void)reply;
    (void)state;
    (void)arg;
    atomic_fetch_add(&town.ended, 1);
}

static void fire(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    citizen_t *citizen = state;
    (void)missed;
    (void)arg;
    atomic_fetch_add(&town.fired, 1);
    if (dctx_random_next(&citizen->random) % 64 == 0)
        dctx_self_stop(self);
}

/* A send may fail only because the other has gone, the system stops, or nobody waits for what it is
 * part of. */
static void may_fail(dctx_error_t error)
{
    cr_assert(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR || error == DCTX_ERR_STOPPED ||
                  error == DCTX_ERR_CANCELLED,
              "%s: %s", dctx_error_name(error), dctx_error_detail());
}

static void send_on(dctx_actor_t *self, citizen_t *citizen, uint64_t hops)
{
    burden_t burden = {.hops = hops};
    uint64_t what = dctx_random_next(&citizen->random);
    dctx_ref_t to = someone(&citizen->random);
    dctx_timer_options_t options = {.delay_ns = (int64_t)(what >> 32) % 3000000,
                                    .period_ns = what % 5 == 0 ? 700000 : 0,
                                    .run = fire};
    switch (what % 8) {
    case 0:
    case 1: {
        dctx_error_t error =
            dctx_ask(self, to, &burden_type, &burden, 1 + (int64_t)(what % 30), ended, NULL);
        if (error == DCTX_OK)
            atomic_fetch_add(&town.asked, 1);
        may_fail(error);
        break;
    }
    case 2:
        may_fail(dctx_tell_after(to, (int64_t)(what >> 32) % 2000000, &burden_type, &burden, NULL));
        break;
    case 3:
        may_fail(dctx_timer_start(self, &options, NULL));
        break;
    case 4:
        if ((what >> 3) % 8 == 0)
            dctx_self_stop(self);
        else
            dctx_self_fail(self, DCTX_ERR_ABSENT, "at random");
        break;
    default:
        may_fail(dctx_tell(to, &burden_type, &burden));
        break;
    }
}

static dctx_error_t live(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    citizen_t *citizen = state;
    const burden_t *burden = dctx_message_get(message, &burden_type);
    cr_assert(burden == NULL || burden->block != NULL);
    if (burden != NULL && burden->hops > 0 && !atomic_load(&town.over))
        send_on(self, citizen, burden->hops - 1);
    if (!dctx_message_is_ask(message))
        return DCTX_OK;
    switch (dctx_random_next(&citizen->random) % 4) {
    case 0:
        return DCTX_ERR_ABSENT;
    case 1:
        dctx_reply_to_destroy(&citizen->owed);
        return dctx_reply_defer(message, &citizen->owed);
    default:
        return dctx_reply(message, &burden_type, burden);
    }
}

/* The first start, or one more, which does not always come off. */
static dctx_error_t come(dctx_actor_t *self, void *state)
{
    citizen_t *citizen = state;
    if (dctx_self_exit(self) == NULL)
        return DCTX_OK;
    if (dctx_random_next(&citizen->random) % 8 == 0)
        return DCTX_ERR_ABSENT;
    atomic_fetch_add(&town.restarted[group_of(citizen->place)], 1);
    return DCTX_OK;
}

static citizen_t *raise_citizen(int place, uint64_t seed)
{
    citizen_t *citizen = calloc(1, sizeof *citizen);
    cr_assert_not_null(citizen);
    dctx_random_seed(&citizen->random, seed);
    citizen->place = place;
    atomic_fetch_add(&town.born, 1);
    return citizen;
}

/* A new one for each life. The seed is the place. */
static dctx_error_t be_born(void *seed, void **ret_state)
{
    static atomic_ulong lives;
    *ret_state = raise_citizen((int)((dctx_ref_t *)seed - town.refs), atomic_fetch_add(&lives, 1));
    return DCTX_OK;
}

static void bury(void *state)
{
    citizen_t *citizen = state;
    dctx_reply_to_destroy(&citizen->owed);
    free(citizen);
    atomic_fetch_add(&town.buried, 1);
}

static void settle_in(int place, uint64_t seed)
{
    int group = group_of(place);
    bool anew = place % 8 < 4;
    citizen_t *citizen = anew ? NULL : raise_citizen(place, seed);
    char name[32];
    snprintf(name, sizeof name, "place-%d", place);
    dctx_actor_options_t options = {.name = place % 3 == 0 ? name : NULL,
                                    .handler = live,
                                    .state = anew ? (void *)&town.refs[place] : citizen,
                                    .new_state = anew ? be_born : NULL,
                                    .destroy_state = bury,
                                    .on_start = come,
                                    .parent =
                                        group < STRATEGIES ? town.mayors[group] : DCTX_REF_NONE,
                                    .flags = place % 16 == 0 ? DCTX_PINNED : 0};
    dctx_ref_t ref;
    dctx_error_t error = dctx_spawn(town.system, &options, &ref);
    /* The one before may not have got to its end yet: then the place stays empty for a while. */
    if (error != DCTX_OK) {
        cr_assert(error == DCTX_ERR_CONFLICT, "%s", dctx_error_name(error));
        if (citizen != NULL)
            bury(citizen);
        return;
    }
    pthread_mutex_lock(&town.lock);
    town.refs[place] = ref;
    pthread_mutex_unlock(&town.lock);
}

/* A mayor that is told anything fails, and all its children end. */
static dctx_error_t govern(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    (void)state;
    dctx_self_fail(self, DCTX_ERR_ABSENT, "voted out");
    return DCTX_OK;
}

static dctx_error_t take_office(dctx_actor_t *self, void *state)
{
    (void)state;
    if (dctx_self_exit(self) != NULL)
        atomic_fetch_add(&town.mayors_restarted, 1);
    return DCTX_OK;
}

static void elect(void)
{
    dctx_supervision_t often = {
        .max_restarts = 100000, .backoff_ms = 1, .backoff_max_ms = 4, .jitter_percent = 50};
    dctx_actor_options_t options = {.name = "crown", .handler = govern, .supervision = &often};
    dctx_ref_t crown;
    cr_assert_eq(dctx_spawn(town.system, &options, &crown), DCTX_OK);
    options.parent = crown;
    options.on_start = take_office;
    for (int i = 0; i < STRATEGIES; i++) {
        often.strategy = (dctx_strategy_t)i;
        options.name = NULL;
        cr_assert_eq(dctx_spawn(town.system, &options, &town.mayors[i]), DCTX_OK);
    }
}

/* ---- who comes from outside ------------------------------------------------------------------ */

static void *kill_and_settle(void *arg)
{
    dctx_random_t random;
    dctx_random_seed(&random, (uint64_t)(uintptr_t)arg);
    while (!atomic_load(&town.over)) {
        uint64_t what = dctx_random_next(&random);
        int place = (int)(what % PLACES);
        pthread_mutex_lock(&town.lock);
        dctx_ref_t ref = town.refs[place];
        pthread_mutex_unlock(&town.lock);
        if (dctx_stop(ref) == DCTX_OK && what % 3 == 0)
            continue; /* it is made anew when somebody finds it gone */
        if ((what >> 32) % 512 == 0)
            may_fail(dctx_tell(town.mayors[place % STRATEGIES], NULL, NULL));
        /* No faster than they can die: their parent has each of them in hand. */
        while (counters(town.system).actors > 3 * PLACES && !atomic_load(&town.over))
            (void)sched_yield();
        settle_in(place, what);
    }
    return NULL;
}

/* Until the time is up, and each strategy has restarted somebody by then. */
static bool goes_on(void)
{
    bool all = town.mayors_restarted > 0;
    for (int i = 0; i < STRATEGIES; i++)
        all = all && town.restarted[i] > 0;
    return stress_goes_on(&town.time) || !all;
}

static void *talk(void *arg)
{
    dctx_random_t random;
    dctx_random_seed(&random, (uint64_t)(uintptr_t)arg);
    while (goes_on()) {
        burden_t burden = {.hops = dctx_random_next(&random) % 30};
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(request_set(burden.hops), DCTX_OK);
            may_fail(dctx_tell(someone(&random), &burden_type, &burden));
            if (burden.hops % 8 == 0) {
                dctx_message_t *reply = NULL;
                (void)!dctx_ask_wait(someone(&random), &burden_type, &burden, 5, &reply);
                dctx_message_destroy(&reply);
            }
        }
    }
    return NULL;
}

Test(stress, kill_and_restart_at_random, .init = fixture_init, .timeout = 36000)
{
    stress_threads_t killers = {0}, talkers = {0};
    town.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    town.system = start(NULL);
    elect();
    for (int i = 0; i < PLACES; i++)
        settle_in(i, (uint64_t)i);
    (void)stress_goes_on(&town.time);
    for (uintptr_t i = 1; i <= TALKERS; i++)
        stress_thread(&talkers, talk, (void *)i);
    for (uintptr_t i = 1; i <= KILLERS; i++)
        stress_thread(&killers, kill_and_settle, (void *)(i << 8));
    stress_join(&talkers);
    atomic_store(&town.over, true);
    stress_join(&killers);
    dctx_system_t *system = town.system;
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    long restarted = town.mayors_restarted;
    for (int i = 0; i < STRATEGIES; i++)
        restarted += town.restarted[i];
    cr_assert_eq(counters(system).restarts, (uint64_t)restarted);
    finish(&system);
    cr_assert_eq(town.born, town.buried);
    cr_assert_leq(town.ended, town.asked, "an ask ended twice");
    cr_assert_eq(town.values, 0, "%ld values are left", (long)town.values);
    cr_assert_gt(town.fired, 0);
}
