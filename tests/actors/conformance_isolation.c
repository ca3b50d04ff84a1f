/* The laws of isolation: whatever an actor does to its state and its context in a callback, nobody
 * else sees it, nor does it itself in the next one; and whoever ends takes nothing of the others
 * along. */
#include "conformance.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SEATS = 8, FROMS = 3, EACH = 8 };

struct seat;

/* An actor's state, one for each life of it. */
typedef struct life {
    struct seat *seat;
    int number;
    uint64_t handled; /* in this life */
} life_t;

typedef struct hall hall_t;

/* What the law knows of an actor. But for `inside` nothing in it is atomic:
 * it is the actor's own, as its state. */
typedef struct seat {
    hall_t *hall;
    int number;
    dctx_ref_t ref;
    atomic_int inside; /* callbacks at work on it */
    dctx_random_t random;
    life_t *now;
    int lives;
    uint64_t next[FROMS];
} seat_t;

struct hall {
    ground_t *ground;
    seat_t seats[SEATS];
    dctx_supervision_t supervision;
    gate_t ready, seen, heard;
    atomic_long gossips, failed, begun;
};

static void enter(seat_t *seat, const void *state)
{
    check(atomic_fetch_add(&seat->inside, 1) == 0);
    check(state == seat->now);
}

static void leave(seat_t *seat)
{
    check(atomic_fetch_sub(&seat->inside, 1) == 1);
}

/* ---- contexts -------------------------------------------------------------------------------- */

/* That of a message: "from-2-7"; and what an actor makes of its own: "mess-2". */
static void set_context(const char *what, uint64_t from, int64_t number)
{
    char text[32];
    snprintf(text, sizeof text, number < 0 ? "%s-%d" : "%s-%d-%d", what, (int)from, (int)number);
    check(tenant_set(text) == DCTX_OK);
    check(secret_set(text) == DCTX_OK);
    check(request_set(from) == DCTX_OK);
}

static void check_context(const char *what, uint64_t from, int64_t number)
{
    char text[32];
    snprintf(text, sizeof text, number < 0 ? "%s-%d" : "%s-%d-%d", what, (int)from, (int)number);
    cr_assert_str_eq(tenant_get_or(""), text, "seed %llu", (unsigned long long)ground_seed);
    check(strcmp(secret_get_or(""), text) == 0);
    check(request_get_or(99) == from);
}

static void check_no_context(void)
{
    check(tenant_get_or(NULL) == NULL && secret_get_or(NULL) == NULL && request_get_or(99) == 99);
}

static void check_chain(const char *before, const seat_t *seat)
{
    char expected[64];
    snprintf(expected, sizeof expected, "%sactor:seat-%d", before, seat->number);
    cr_assert_str_eq(chain(), expected, "seed %llu", (unsigned long long)ground_seed);
}

/* Nobody may find any of this but by a message that is sent from here on. */
static void make_a_mess(seat_t *seat)
{
    static _Thread_local dctx_scope_t scopes[3];
    uint64_t depth = dctx_random_next(&seat->random) % 4;
    for (uint64_t i = 0; i < depth; i++)
        check(dctx_scope_push("mess", &scopes[i]) == DCTX_OK);
    set_context("mess", (uint64_t)seat->number, -1);
}

/* ---- who sits there -------------------------------------------------------------------------- */

static dctx_error_t begin_life(void *seed, void **ret_state)
{
    seat_t *seat = seed;
    check(atomic_load(&seat->inside) == 0 && seat->now == NULL);
    life_t *life = calloc(1, sizeof *life);
    cr_assert_not_null(life);
    *life = (life_t){.seat = seat, .number = ++seat->lives};
    seat->now = life;
    *ret_state = life;
    return DCTX_OK;
}

static void end_life(void *state)
{
    life_t *life = state;
    check(life->seat->now == life && atomic_load(&life->seat->inside) == 0);
    life->seat->now = NULL;
    free(life);
}

/* In the context in which it was spawned, also the second time. */
static dctx_error_t sit_down(dctx_actor_t *self, void *state)
{
    seat_t *seat = ((life_t *)state)->seat;
    enter(seat, state);
    check((dctx_self_exit(self) != NULL) == (seat->now->number > 1));
    check_context("spawn", (uint64_t)seat->number, -1);
    check_chain("hall > actor:parent > ", seat);
    make_a_mess(seat);
    leave(seat);
    atomic_fetch_add(&seat->hall->begun, 1);
    gate_pass(&seat->hall->ready);
    return DCTX_OK;
}

static void stand_up(dctx_actor_t *self, void *state)
{
    seat_t *seat = ((life_t *)state)->seat;
    enter(seat, state);
    check(dctx_self_exit(self) != NULL);
    check_no_context();
    check_chain("", seat);
    make_a_mess(seat);
    leave(seat);
}

static void hear(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply, void *state,
                 void *arg)
{
    seat_t *seat = arg;
    (void)reply;
    check(dctx_ref_equal(dctx_self(self), seat->ref) && status == DCTX_OK);
    enter(seat, state);
    check_context("mess", (uint64_t)seat->number, -1);
    make_a_mess(seat);
    leave(seat);
    gate_pass(&seat->hall->heard);
}

static dctx_error_t handle(dctx_actor_t *self, const dctx_message_t *message, void *state);

/* Another behaviour, the same law. */
static dctx_error_t handle_too(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    return handle(self, message, state);
}

/* What a neighbour is asked in the middle of a mess comes in that mess: it was sent from there. */
static void gossip(dctx_actor_t *self, seat_t *seat)
{
    uint64_t me = (uint64_t)seat->number;
    dctx_ref_t to = seat->hall->seats[dctx_random_next(&seat->random) % SEATS].ref;
    check(dctx_ask(self, to, DCTX_TYPE_UINT64, &me, 600000, hear, seat) == DCTX_OK);
    atomic_fetch_add(&seat->hall->gossips, 1);
}

static dctx_error_t take_letter(dctx_actor_t *self, const parcel_t *parcel, life_t *life)
{
    seat_t *seat = life->seat;
    check_context("from", parcel->from, (int64_t)parcel->number);
    check_chain("edge > ", seat);
    check(parcel->number == seat->next[parcel->from]);
    seat->next[parcel->from]++;
    make_a_mess(seat);
    if (dctx_random_next(&seat->random) % 3 == 0)
        (void)sched_yield();
    switch (dctx_random_next(&seat->random) % 8) {
    case 0:
        atomic_fetch_add(&seat->hall->failed, 1);
        dctx_self_fail(self, DCTX_ERR_IO, "at random");
        return DCTX_OK;
    case 1:
        return DCTX_ERR_ABSENT;
    case 2:
        check(dctx_become(self, handle_too) == DCTX_OK);
        return DCTX_OK;
    case 3:
        check(dctx_become(self, handle) == DCTX_OK);
        return DCTX_OK;
    case 4:
        gossip(self, seat);
        return DCTX_OK;
    default:
        return DCTX_OK;
    }
}

static dctx_error_t handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    life_t *life = state;
    seat_t *seat = life->seat;
    enter(seat, state);
    check(dctx_ref_equal(dctx_self(self), seat->ref));
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    dctx_error_t error = DCTX_OK;
    if (parcel != NULL) {
        error = take_letter(self, parcel, life);
    } else {
        check_context("mess", *(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64), -1);
        make_a_mess(seat);
        error = dctx_reply(message, NULL, NULL);
    }
    /* Of this life, and of nobody else's. */
    life->handled++;
    leave(seat);
    if (parcel != NULL)
        gate_pass(&seat->hall->seen);
    return error;
}

static dctx_error_t no_letters(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_ERR_INVALID;
}

static dctx_error_t open_hall(dctx_actor_t *self, void *state)
{
    hall_t *hall = state;
    for (int i = 0; i < SEATS; i++) {
        seat_t *seat = &hall->seats[i];
        char name[16];
        snprintf(name, sizeof name, "seat-%d", i);
        dctx_actor_options_t options = {.name = name,
                                        .handler = handle,
                                        .state = seat,
                                        .new_state = begin_life,
                                        .destroy_state = end_life,
                                        .on_start = sit_down,
                                        .on_stop = stand_up,
                                        .flags = i == 0 ? DCTX_PINNED : 0};
        set_context("spawn", (uint64_t)i, -1);
        check(dctx_spawn_child(self, &options, &seat->ref) == DCTX_OK);
    }
    return DCTX_OK;
}

static void hall_start(hall_t *hall, ground_t *ground)
{
    *hall = (hall_t){.ground = ground,
                     .ready = GATE_INIT,
                     .seen = GATE_INIT,
                     .heard = GATE_INIT,
                     .supervision = {.strategy = (dctx_strategy_t)draw(ground, 3),
                                     .max_restarts = 100000,
                                     .backoff_ms = (int64_t)draw(ground, 2),
                                     .backoff_max_ms = 2}};
    for (int i = 0; i < SEATS; i++) {
        hall->seats[i] = (seat_t){.hall = hall, .number = i};
        dctx_random_seed(&hall->seats[i].random, ground->seed * SEATS + (uint64_t)i);
    }
    dctx_actor_options_t options = {.name = "parent",
                                    .handler = no_letters,
                                    .state = hall,
                                    .on_start = open_hall,
                                    .supervision = &hall->supervision};
    dctx_ref_t ref;
    DCTX_WITH_SCOPE("hall")
        check(dctx_spawn(ground->system, &options, &ref) == DCTX_OK);
    await(ground, &hall->ready, SEATS);
}

static void send_letter(ground_t *ground, dctx_ref_t to, uint64_t from, uint64_t number)
{
    DCTX_WITH_SCOPE("edge") {
        set_context("from", from, (int64_t)number);
        check(tell_parcel(to, from, number) == DCTX_OK);
    }
    check_no_context();
    if (ground->world != NULL && draw(ground, 3) == 0)
        (void)dctx_test_step(ground->world);
}

LAW(what_one_does_in_a_callback_no_other_sees, 0)
{
    hall_t hall;
    hall_start(&hall, ground);
    for (uint64_t number = 0; number < EACH; number++) {
        for (int i = 0; i < SEATS; i++) {
            for (uint64_t from = 0; from < FROMS; from++)
                send_letter(ground, hall.seats[i].ref, from, number);
        }
    }
    await(ground, &hall.seen, (long)SEATS * FROMS * EACH);
    await(ground, &hall.heard, hall.gossips);
    check(dctx_is_empty());
    stop_ground(ground);
    check(hall.failed > 0 && hall.begun > SEATS);
    for (int i = 0; i < SEATS; i++)
        check(hall.seats[i].now == NULL && hall.seats[i].lives > 0);
}

/* ---- the end of one -------------------------------------------------------------------------- */

enum { GUESTS = 8, SENDERS = 2, ROUNDS = 30, OUTSIDE = SENDERS };

typedef enum fate { FATE_STAY, FATE_STOP, FATE_STOP_NOW, FATE_SELF, FATE_FAIL, FATES } fate_t;

typedef struct guest {
    atomic_int inside;
    fate_t fate;
    uint64_t ends_at; /* the number from outside after which it ends by itself */
    uint64_t next[SENDERS + 1];
    struct party *party;
} guest_t;

typedef struct party {
    ground_t *ground;
    guest_t guests[GUESTS];
    dctx_ref_t refs[GUESTS];
    uint64_t sent[SENDERS];
    atomic_long told, handled;
    gate_t stayed, done;
} party_t;

static dctx_error_t attend(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    guest_t *guest = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    check(atomic_fetch_add(&guest->inside, 1) == 0);
    check_context("from", parcel->from, (int64_t)parcel->number);
    check(parcel->number == guest->next[parcel->from]);
    guest->next[parcel->from]++;
    atomic_fetch_add(&guest->party->handled, 1);
    bool over = parcel->from == OUTSIDE && parcel->number == guest->ends_at;
    if (over && guest->fate == FATE_SELF)
        dctx_self_stop(self);
    else if (over && guest->fate == FATE_FAIL)
        dctx_self_fail(self, DCTX_ERR_IO, NULL);
    check(atomic_fetch_sub(&guest->inside, 1) == 1);
    if (guest->fate == FATE_STAY)
        gate_pass(&guest->party->stayed);
    return DCTX_OK;
}

/* One round to all guests, those that have gone as well. */
static void send_round(party_t *party, uint64_t from, uint64_t number)
{
    for (int i = 0; i < GUESTS; i++) {
        DCTX_WITH_SCOPE("edge") {
            set_context("from", from, (int64_t)number);
            dctx_error_t error = tell_parcel(party->refs[i], from, number);
            check(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR);
            check(error == DCTX_OK || party->guests[i].fate != FATE_STAY);
            if (error == DCTX_OK)
                atomic_fetch_add(&party->told, 1);
        }
    }
}

static dctx_error_t send_rounds(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    party_t *party = state;
    uint64_t me = *(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64);
    send_round(party, me, party->sent[me]++);
    if (party->sent[me] < ROUNDS)
        return dctx_tell(dctx_self(self), DCTX_TYPE_UINT64, &me);
    gate_pass(&party->done);
    return DCTX_OK;
}

static void party_start(party_t *party, ground_t *ground)
{
    *party = (party_t){.ground = ground, .stayed = GATE_INIT, .done = GATE_INIT};
    for (int i = 0; i < GUESTS; i++) {
        guest_t *guest = &party->guests[i];
        guest->party = party;
        guest->fate = i % 2 == 0 ? FATE_STAY : (fate_t)(1 + draw(ground, FATES - 1));
        guest->ends_at = draw(ground, ROUNDS);
        party->refs[i] = spawn(ground->system, NULL, attend, guest);
    }
    for (uint64_t i = 0; i < SENDERS; i++)
        tell_uint(spawn(ground->system, NULL, send_rounds, party), i);
}

static void end_from_outside(party_t *party, uint64_t round)
{
    for (int i = 0; i < GUESTS; i++) {
        const guest_t *guest = &party->guests[i];
        if (guest->ends_at != round)
            continue;
        if (guest->fate == FATE_STOP)
            check(dctx_stop(party->refs[i]) == DCTX_OK);
        else if (guest->fate == FATE_STOP_NOW)
            check(dctx_stop_now(party->refs[i]) == DCTX_OK);
    }
}

LAW(the_end_of_one_leaves_the_mail_of_the_others_in_order, 0)
{
    party_t party;
    party_start(&party, ground);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        send_round(&party, OUTSIDE, round);
        end_from_outside(&party, round);
        for (uint64_t steps = draw(ground, 20); ground->world != NULL && steps > 0; steps--)
            (void)dctx_test_step(ground->world);
    }
    await(ground, &party.done, SENDERS);
    await(ground, &party.stayed, (long)GUESTS / 2 * ROUNDS * (SENDERS + 1));
    stop_ground(ground);
    check(party.handled + gate_count(&ground->dead) == party.told);
    for (int i = 0; i < GUESTS; i += 2) {
        for (int from = 0; from <= SENDERS; from++)
            check(party.guests[i].next[from] == ROUNDS);
    }
}
