/* The laws of ends: of actors, asks, timers and the system, each in the middle of things. */
#include "conformance.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const int64_t MS = 1000000;

/* ---- stop while full ------------------------------------------------------------------------- */

static dctx_error_t handle_and_spread(dctx_actor_t *self, const dctx_message_t *message,
                                      void *state)
{
    const dctx_ref_t *others = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    (void)self;
    if (parcel->number > 0) {
        /* Whoever it is for may have gone. */
        dctx_error_t error =
            tell_parcel(others[parcel->number % 3], parcel->from, parcel->number - 1);
        check(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR || error == DCTX_ERR_STOPPED);
    }
    return DCTX_OK;
}

LAW(a_stop_finds_a_place_for_what_is_in_full_mailboxes, 0)
{
    static dctx_ref_t refs[3];
    for (int i = 0; i < 3; i++)
        refs[i] = spawn(ground->system, NULL, handle_and_spread, refs);
    for (uint64_t i = 0; i < 200; i++)
        check(tell_parcel(refs[i % 3], i, i % 11) == DCTX_OK);
    uint64_t steps = draw(ground, 100);
    for (uint64_t i = 0; ground->world != NULL && i < steps; i++)
        (void)dctx_test_step(ground->world);
    /* Some are stopped by name first, with messages before and after them. */
    if (draw(ground, 2) == 0)
        check(dctx_stop(refs[0]) == DCTX_OK);
    for (uint64_t i = 0; i < 20; i++) {
        dctx_error_t error = tell_parcel(refs[0], i, 5);
        check(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR);
    }
    int64_t ms = draw(ground, 2) == 0 ? 0 : WAIT_MS;
    char *report = NULL;
    check(dctx_system_stop(ground->system, ms, &report) == DCTX_OK);
    dctx_free(report);
    dctx_system_counters_t c = counters(ground->system);
    check(c.accepted == c.handled + c.dead_lettered);
    check(c.dead_lettered == (uint64_t)gate_count(&ground->dead));
    check(parcels_alive() == 0);
    check(tell_parcel(refs[1], 0, 0) != DCTX_OK);
}

/* ---- asks of the dying ----------------------------------------------------------------------- */

typedef struct mortal {
    uint64_t lives; /* messages until it dies */
    dctx_reply_to_t *deferred;
} mortal_t;

static dctx_error_t answer_or_die(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    mortal_t *mortal = state;
    if (mortal->lives-- == 0) {
        dctx_self_stop(self);
        return DCTX_OK;
    }
    switch (mortal->lives % 4) {
    case 0:
        return DCTX_ERR_CODEC;
    case 1:
        /* Thrown away later: by the next one, or at the end. */
        dctx_reply_to_destroy(&mortal->deferred);
        return dctx_reply_defer(message, &mortal->deferred);
    case 2:
        return DCTX_OK;
    default:
        return dctx_reply(message, parcel_type, dctx_message_get(message, parcel_type));
    }
}

static void throw_away(void *state)
{
    mortal_t *mortal = state;
    dctx_reply_to_destroy(&mortal->deferred);
}

typedef struct survivor {
    dctx_ref_t mortal;
    gate_t ended;
    int asked;
    int heard[64]; /* how often each ask ended */
} survivor_t;

static void hear(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply, void *state,
                 void *arg)
{
    survivor_t *survivor = state;
    (void)self;
    survivor->heard[(uintptr_t)arg]++;
    check(status == DCTX_OK || status == DCTX_ERR_NO_ACTOR || status == DCTX_ERR_STOPPED ||
          status == DCTX_ERR_NO_REPLY || status == DCTX_ERR_CODEC);
    check((status == DCTX_OK) == (dctx_message_get(reply, parcel_type) != NULL));
    gate_pass(&survivor->ended);
}

static dctx_error_t ask_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    survivor_t *survivor = state;
    (void)message;
    parcel_t parcel = a_parcel(0, (uint64_t)survivor->asked);
    dctx_error_t error = dctx_ask(self, survivor->mortal, parcel_type, &parcel, 600000, hear,
                                  (void *)(uintptr_t)survivor->asked);
    check(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR);
    if (error != DCTX_OK) {
        survivor->heard[survivor->asked]++;
        gate_pass(&survivor->ended);
    }
    if (++survivor->asked < 64)
        check(dctx_tell(dctx_self(self), NULL, NULL) == DCTX_OK);
    return DCTX_OK;
}

LAW(an_ask_of_the_dying_ends_once, 0)
{
    mortal_t *mortal = &(mortal_t){.lives = draw(ground, 64)};
    survivor_t survivor = {.ended = GATE_INIT};
    dctx_actor_options_t options = {
        .handler = answer_or_die, .state = mortal, .destroy_state = throw_away};
    check(dctx_spawn(ground->system, &options, &survivor.mortal) == DCTX_OK);
    check(dctx_tell(spawn(ground->system, NULL, ask_on, &survivor), NULL, NULL) == DCTX_OK);
    await(ground, &survivor.ended, 60);
    if (draw(ground, 2) == 0)
        settle(ground);
    dctx_error_t error = dctx_stop(survivor.mortal);
    check(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR);
    await(ground, &survivor.ended, 64);
    stop_ground(ground);
    for (int i = 0; i < 64; i++)
        check(survivor.heard[i] == 1);
}

/* ---- asks that nobody answers ---------------------------------------------------------------- */

enum { UNHEARD = 40 };

typedef struct unheard {
    ground_t *ground;
    int64_t begin;
    gate_t ended;
    dctx_reply_to_t *owed[UNHEARD];
    int owes;
} unheard_t;

typedef struct question {
    unheard_t *unheard;
    int64_t timeout_ms;
    int ended;
} question_t;

static dctx_error_t say_nothing(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    unheard_t *unheard = state;
    (void)self;
    return dctx_reply_defer(message, &unheard->owed[unheard->owes++]);
}

static void note_timeout(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    question_t *question = arg;
    unheard_t *unheard = question->unheard;
    (void)reply;
    check(status == DCTX_ERR_TIMEOUT);
    question->ended++;
    if (unheard->ground->world != NULL)
        check(dctx_test_now(unheard->ground->world) == unheard->begin + question->timeout_ms * MS);
    gate_pass(&unheard->ended);
}

LAW(an_ask_without_an_answer_ends_at_its_time, 0)
{
    unheard_t unheard = {.ground = ground, .ended = GATE_INIT};
    question_t questions[UNHEARD];
    dctx_ref_t ref = spawn(ground->system, NULL, say_nothing, &unheard);
    if (ground->world != NULL)
        unheard.begin = dctx_test_now(ground->world);
    for (int i = 0; i < UNHEARD; i++) {
        questions[i] =
            (question_t){.unheard = &unheard, .timeout_ms = 1 + (int64_t)draw(ground, 30)};
        check(dctx_ask_call(ref, NULL, NULL, questions[i].timeout_ms, note_timeout,
                            &questions[i]) == DCTX_OK);
    }
    await(ground, &unheard.ended, UNHEARD);
    settle(ground);
    /* Too late, all of them. */
    for (int i = 0; i < unheard.owes; i++)
        check(dctx_reply_to_send(&unheard.owed[i], NULL, NULL) == DCTX_OK);
    check(counters(ground->system).late_replies == (uint64_t)unheard.owes);
    stop_ground(ground);
    for (int i = 0; i < UNHEARD; i++)
        check(questions[i].ended == 1);
}

/* ---- many that come and go ------------------------------------------------------------------- */

typedef struct family {
    atomic_long born, buried, started;
} family_t;

typedef struct member {
    family_t *family;
    uint64_t depth;
} member_t;

static member_t *a_member(family_t *family, uint64_t depth)
{
    member_t *member = malloc(sizeof *member);
    check(member != NULL);
    *member = (member_t){.family = family, .depth = depth};
    atomic_fetch_add(&family->born, 1);
    return member;
}

static void bury_member(void *state)
{
    member_t *member = state;
    atomic_fetch_add(&member->family->buried, 1);
    free(member);
}

static dctx_error_t spawn_children(dctx_actor_t *self, void *state);

static dctx_error_t leave_on_message(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    (void)state;
    dctx_self_stop(self);
    return DCTX_OK;
}

static void spawn_member(dctx_system_t *system, family_t *family, uint64_t depth)
{
    member_t *member = a_member(family, depth);
    dctx_ref_t ref;
    dctx_actor_options_t options = {.handler = leave_on_message,
                                    .state = member,
                                    .on_start = spawn_children,
                                    .destroy_state = bury_member};
    dctx_error_t error = dctx_spawn(system, &options, &ref);
    check(error == DCTX_OK || error == DCTX_ERR_STOPPED);
    if (error != DCTX_OK)
        bury_member(member);
    else if (depth % 2 == 0)
        error = dctx_tell(ref, NULL, NULL);
    check(error == DCTX_OK || error == DCTX_ERR_STOPPED || error == DCTX_ERR_NO_ACTOR);
}

static dctx_error_t spawn_children(dctx_actor_t *self, void *state)
{
    member_t *member = state;
    atomic_fetch_add(&member->family->started, 1);
    for (int i = 0; member->depth > 0 && i < 3; i++)
        spawn_member(dctx_self_system(self), member->family, member->depth - 1);
    return member->depth == 1 ? DCTX_ERR_ABSENT : DCTX_OK;
}

LAW(whoever_is_born_is_buried, 0)
{
    family_t family = {0};
    for (int i = 0; i < 4; i++)
        spawn_member(ground->system, &family, 4);
    if (draw(ground, 3) > 0)
        settle(ground);
    stop_ground(ground);
    check(family.born == family.buried);
    check(family.started <= family.born);
}

/* ---- timers ---------------------------------------------------------------------------------- */

enum { TIMERS = 24 };

typedef struct planner {
    ground_t *ground;
    dctx_timer_t timers[TIMERS];
    long runs[TIMERS];
    uint64_t missed[TIMERS];
    bool cancelled[TIMERS];
    uint64_t periodic, stops_at;
    int64_t begin;
    gate_t set, ran;
} planner_t;

static void plan_comes_true(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    planner_t *planner = state;
    uintptr_t i = (uintptr_t)arg;
    check(!planner->cancelled[i]);
    planner->runs[i]++;
    planner->missed[i] += missed;
    if (planner->ground->world != NULL && i != planner->periodic)
        check(dctx_test_now(planner->ground->world) == planner->begin + (int64_t)(i / 2) * MS);
    if (i == planner->stops_at)
        dctx_self_stop(self);
    gate_pass(&planner->ran);
}

static dctx_error_t plan(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    planner_t *planner = state;
    (void)message;
    if (planner->ground->world != NULL)
        planner->begin = dctx_test_now(planner->ground->world);
    for (uintptr_t i = 0; i < TIMERS; i++) {
        dctx_timer_options_t options = {.delay_ns = (int64_t)(i / 2) * MS,
                                        .period_ns = i == planner->periodic ? 2 * MS : 0,
                                        .run = plan_comes_true,
                                        .arg = (void *)i};
        check(dctx_timer_start(self, &options, &planner->timers[i]) == DCTX_OK);
    }
    for (int i = 0; i < TIMERS; i += 5)
        planner->cancelled[i] = dctx_timer_cancel(planner->timers[i]);
    gate_pass(&planner->set);
    return DCTX_OK;
}

LAW(a_timer_runs_once_or_was_cancelled, 0)
{
    planner_t planner = {.ground = ground,
                         .periodic = draw(ground, TIMERS),
                         .stops_at = TIMERS,
                         .set = GATE_INIT,
                         .ran = GATE_INIT};
    dctx_ref_t ref = spawn(ground->system, NULL, plan, &planner);
    check(dctx_tell(ref, NULL, NULL) == DCTX_OK);
    await(ground, &planner.set, 1);
    linger(ground, TIMERS * MS);
    /* Those that the clock has passed may still be on their way, on threads. */
    for (int i = 0; i < TIMERS; i++) {
        for (int wait = 0; wait < 1000 && dctx_timer_is_pending(planner.timers[i]) &&
                           (uint64_t)i != planner.periodic;
             wait++)
            linger(ground, MS);
    }
    (void)dctx_timer_cancel(planner.timers[planner.periodic]);
    stop_ground(ground);
    for (uint64_t i = 0; i < TIMERS; i++) {
        check(planner.cancelled[i] ? planner.runs[i] == 0 : planner.runs[i] >= 1);
        if (i != planner.periodic)
            check(planner.runs[i] + planner.cancelled[i] == 1 && planner.missed[i] == 0);
        else if (ground->world != NULL && !planner.cancelled[i])
            check((uint64_t)planner.runs[i] + planner.missed[i] == (TIMERS - i / 2) / 2 + 1);
    }
}

LAW(no_timer_outlives_its_actor, 0)
{
    planner_t planner = {.ground = ground,
                         .periodic = TIMERS,
                         .stops_at = draw(ground, TIMERS),
                         .set = GATE_INIT,
                         .ran = GATE_INIT};
    dctx_ref_t ref = spawn(ground->system, NULL, plan, &planner);
    check(dctx_tell(ref, NULL, NULL) == DCTX_OK);
    await(ground, &planner.set, 1);
    linger(ground, 2 * TIMERS * MS);
    bool stops = !planner.cancelled[planner.stops_at];
    if (ground->world != NULL && stops)
        check(dctx_tell(ref, NULL, NULL) == DCTX_ERR_NO_ACTOR);
    for (int i = 0; i < TIMERS && ground->world != NULL && stops; i++)
        check(!dctx_timer_cancel(planner.timers[i]));
    stop_ground(ground);
    for (int i = 0; i < TIMERS; i++)
        check(planner.runs[i] <= 1);
}

/* ---- full mailboxes -------------------------------------------------------------------------- */

typedef struct pit {
    gate_t gate;
    uint64_t last;
    long handled;
} pit_t;

static dctx_error_t fall_in(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    pit_t *pit = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    (void)self;
    check(parcel->number > pit->last);
    pit->last = parcel->number;
    pit->handled++;
    gate_pass(&pit->gate);
    return DCTX_OK;
}

LAW(a_bounded_mailbox_loses_nothing_unseen, 0)
{
    static const dctx_overflow_t policies[] = {DCTX_OVERFLOW_REJECT, DCTX_OVERFLOW_BLOCK,
                                               DCTX_OVERFLOW_DROP_NEWEST,
                                               DCTX_OVERFLOW_DROP_OLDEST};
    dctx_overflow_t policy = policies[draw(ground, 4)];
    pit_t pit = {.gate = GATE_INIT};
    dctx_ref_t ref;
    dctx_actor_options_t options = {.handler = fall_in,
                                    .state = &pit,
                                    .mailbox_limit = 1 + draw(ground, 5),
                                    .overflow = policy,
                                    .overflow_wait_ms = WAIT_MS};
    check(dctx_spawn(ground->system, &options, &ref) == DCTX_OK);
    long sent = 0;
    for (uint64_t i = 1; i <= 100; i++) {
        dctx_error_t error = tell_parcel(ref, 0, i);
        check(error == DCTX_OK || (error == DCTX_ERR_FULL && policy == DCTX_OVERFLOW_REJECT));
        sent += error == DCTX_OK;
        if (ground->world != NULL && draw(ground, 3) == 0)
            (void)dctx_test_step(ground->world);
    }
    check(sent == 100 || policy == DCTX_OVERFLOW_REJECT);
    settle(ground);
    stop_ground(ground);
    check(pit.handled + gate_count(&ground->dead) == sent);
    check(gate_count(&ground->dead) == 0 || policy == DCTX_OVERFLOW_DROP_NEWEST ||
          policy == DCTX_OVERFLOW_DROP_OLDEST);
}
