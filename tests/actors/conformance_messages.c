/* The laws of messages: order, none lost, none twice, one at a time. */
#include "conformance.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { SENDERS = 4, RECEIVERS = 3, EACH = 60, OUTSIDE = SENDERS };

typedef struct receiver {
    atomic_int inside; /* handlers at work on it */
    uint64_t next[SENDERS + 1];
    uint64_t count;
    gate_t *gate;
} receiver_t;

typedef struct sender {
    uint64_t me;
    dctx_ref_t *to;
    uint64_t sent;
} sender_t;

static dctx_error_t receive(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    receiver_t *receiver = state;
    (void)self;
    check(atomic_fetch_add(&receiver->inside, 1) == 0);
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    check(parcel != NULL && parcel->owned != NULL);
    check(parcel->number == receiver->next[parcel->from]);
    receiver->next[parcel->from]++;
    receiver->count++;
    if (parcel->number % 7 == 0)
        (void)sched_yield();
    check(atomic_fetch_sub(&receiver->inside, 1) == 1);
    gate_pass(receiver->gate);
    if (dctx_message_is_ask(message))
        return dctx_reply(message, parcel_type, parcel);
    return DCTX_OK;
}

static void check_answer(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                         void *state, void *arg)
{
    const sender_t *sender = state;
    const parcel_t *parcel = dctx_message_get(reply, parcel_type);
    (void)self;
    check(status == DCTX_OK);
    check(parcel != NULL && parcel->from == sender->me && parcel->number == (uintptr_t)arg);
}

/* Sends one round to all, by tell, by tell_take and by ask, and itself the next round. */
static dctx_error_t send_round(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    sender_t *sender = state;
    (void)message;
    for (int i = 0; i < RECEIVERS; i++) {
        parcel_t parcel = a_parcel(sender->me, sender->sent);
        dctx_error_t error = DCTX_OK;
        if ((sender->sent + i) % 3 == 0)
            error = dctx_ask(self, sender->to[i], parcel_type, &parcel, 60000, check_answer,
                             (void *)(uintptr_t)sender->sent);
        else
            error = dctx_tell(sender->to[i], parcel_type, &parcel);
        check(error == DCTX_OK);
    }
    if (++sender->sent < EACH)
        check(dctx_tell(dctx_self(self), NULL, NULL) == DCTX_OK);
    return DCTX_OK;
}

LAW(each_sender_is_heard_in_order_and_whole, 0)
{
    gate_t gate = GATE_INIT;
    receiver_t receivers[RECEIVERS] = {0};
    sender_t senders[SENDERS];
    dctx_ref_t to[RECEIVERS];
    for (int i = 0; i < RECEIVERS; i++) {
        receivers[i].gate = &gate;
        to[i] = spawn(ground->system, NULL, receive, &receivers[i]);
    }
    for (uint64_t i = 0; i < SENDERS; i++) {
        senders[i] = (sender_t){.me = i, .to = to};
        check(dctx_tell(spawn(ground->system, NULL, send_round, &senders[i]), NULL, NULL) ==
              DCTX_OK);
    }
    for (uint64_t number = 0; number < EACH; number++) {
        for (int i = 0; i < RECEIVERS; i++)
            check(tell_parcel(to[i], OUTSIDE, number) == DCTX_OK);
        if (ground->world != NULL && draw(ground, 3) == 0)
            (void)dctx_test_step(ground->world);
    }
    await(ground, &gate, (SENDERS + 1) * RECEIVERS * EACH);
    stop_ground(ground);
    for (int i = 0; i < RECEIVERS; i++) {
        check(receivers[i].count == (SENDERS + 1) * EACH);
        for (int s = 0; s <= SENDERS; s++)
            check(receivers[i].next[s] == EACH);
    }
}

/* ---- a ring: each message makes one more ----------------------------------------------------- */

enum { RING = 7, TOKENS = 5, LAPS = 30 };

typedef struct link {
    dctx_ref_t next;
    atomic_int inside;
    gate_t *gate;
} link_t;

static dctx_error_t hand_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    link_t *link = state;
    (void)self;
    check(atomic_fetch_add(&link->inside, 1) == 0);
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    if (parcel->number == 0)
        gate_pass(link->gate);
    else
        check(tell_parcel(link->next, parcel->from, parcel->number - 1) == DCTX_OK);
    (void)atomic_fetch_sub(&link->inside, 1);
    return DCTX_OK;
}

LAW(tokens_go_round_and_none_is_lost, 0)
{
    gate_t gate = GATE_INIT;
    link_t links[RING] = {0};
    dctx_ref_t refs[RING];
    for (int i = 0; i < RING; i++) {
        links[i].gate = &gate;
        refs[i] = spawn(ground->system, NULL, hand_on, &links[i]);
    }
    for (int i = 0; i < RING; i++)
        links[i].next = refs[(i + 1) % RING];
    for (int i = 0; i < TOKENS; i++)
        check(tell_parcel(refs[i], 0, RING * LAPS + i) == DCTX_OK);
    await(ground, &gate, TOKENS);
    stop_ground(ground);
}

/* ---- sent later ------------------------------------------------------------------------------ */

enum { LATER = 12 };

typedef struct mailman {
    uint64_t came[LATER];
    int count;
    gate_t gate;
} mailman_t;

static dctx_error_t note_order(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    mailman_t *mailman = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    (void)self;
    check(mailman->count < LATER);
    mailman->came[mailman->count++] = parcel->number;
    gate_pass(&mailman->gate);
    return DCTX_OK;
}

/* In a world it stands still. */
static int64_t clock_now(const ground_t *ground)
{
    struct timespec now;
    if (ground->world != NULL)
        return dctx_test_now(ground->world);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

LAW(what_is_sent_later_comes_in_the_order_of_its_times, 0)
{
    static const int64_t apart = 3000000;
    mailman_t mailman = {.gate = GATE_INIT};
    dctx_timer_t timers[LATER + 1];
    /* Between what a letter's time lies: its sender may be held up before the system reads the
     * clock, or after. */
    int64_t earliest[LATER + 1], latest[LATER + 1];
    dctx_ref_t ref = spawn(ground->system, NULL, note_order, &mailman);
    int taken_back = 0;
    uint64_t first = 1 + draw(ground, LATER);
    for (uint64_t i = 0; i < LATER; i++) {
        uint64_t number = 1 + (first + i * 5) % LATER;
        int64_t delay = (int64_t)number * apart;
        parcel_t parcel = a_parcel(0, number);
        earliest[number] = clock_now(ground) + delay;
        check(dctx_tell_after(ref, delay, parcel_type, &parcel, &timers[number]) == DCTX_OK);
        latest[number] = clock_now(ground) + delay;
    }
    for (uint64_t i = 1; i <= LATER; i += 3)
        taken_back += dctx_timer_cancel(timers[i]);
    await(ground, &mailman.gate, LATER - taken_back);
    linger(ground, 2 * apart);
    check(mailman.count == LATER - taken_back);
    for (int i = 1; i < mailman.count; i++) {
        for (int before = 0; before < i; before++)
            check(earliest[mailman.came[before]] <= latest[mailman.came[i]]);
    }
    check(ground->world == NULL || taken_back == LATER / 3);
}
