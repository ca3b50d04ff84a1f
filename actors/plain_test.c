/* What most messages are, tells and asks between actors of one system with nothing special about
 * them, mixed with each other and with what is special. */
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "message.h"
#include "system.h"

enum { COUNT = 60, CONTEXTS = 3 };

static const char *const tenants[CONTEXTS] = {"acme", "bolt", "cell"};

/* ---- contexts -------------------------------------------------------------------------------- */

/* Tells and asks of several contexts lie in one mailbox, and the ends of the asks in another. */
typedef struct mix {
    dctx_ref_t sink;
    unsigned run; /* so many in a row have the same context */
    unsigned told, asked, ended, back;
    gate_t done;
} mix_t;

static const char *tenant_of(const mix_t *mix, uint64_t number)
{
    return tenants[number / mix->run % CONTEXTS];
}

/* What the next one is not to find. */
static void disturb(uint64_t number)
{
    dctx_scope_t scope;
    if (number % 7 == 3)
        cr_assert_eq(tenant_set("another"), DCTX_OK);
    if (number % 7 == 5)
        cr_assert_eq(dctx_scope_push("left open", &scope), DCTX_OK);
}

static dctx_error_t sink(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    mix_t *mix = state;
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    (void)self;
    cr_assert_not_null(number);
    cr_assert_eq(*number, mix->told + mix->asked, "in order");
    cr_assert_str_eq(tenant_get_or(""), tenant_of(mix, *number));
    cr_assert_str_eq(chain(), "actor:driver > send > actor:sink");
    bool ask = dctx_message_is_ask(message);
    mix->told += !ask;
    mix->asked += ask;
    if (*number % 4 == 1)
        tell_uint(dctx_message_sender(message), *number);
    disturb(*number);
    return ask ? dctx_reply(message, DCTX_TYPE_UINT64, number) : DCTX_OK;
}

static void finish_one(mix_t *mix)
{
    if (mix->ended == COUNT / 2 && mix->back == COUNT / 4)
        gate_pass(&mix->done);
}

static void on_end(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                   void *state, void *arg)
{
    mix_t *mix = state;
    uint64_t number = (uintptr_t)arg;
    const uint64_t *answer = dctx_message_get(reply, DCTX_TYPE_UINT64);
    (void)self;
    cr_assert_eq(status, DCTX_OK);
    cr_assert_eq(*answer, number);
    cr_assert_str_eq(tenant_get_or(""), tenant_of(mix, number));
    cr_assert_str_eq(chain(), "actor:driver > send");
    disturb(number);
    mix->ended++;
    finish_one(mix);
}

static dctx_error_t drive(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    mix_t *mix = state;
    if (!dctx_ref_is_none(dctx_message_sender(message))) {
        const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
        cr_assert_str_eq(tenant_get_or(""), tenant_of(mix, *number));
        mix->back++;
        finish_one(mix);
        return DCTX_OK;
    }
    for (uint64_t first = 0; first < COUNT; first += mix->run) {
        DCTX_SCOPE("send");
        cr_assert_eq(tenant_set(tenant_of(mix, first)), DCTX_OK);
        for (uint64_t i = first; i < first + mix->run && i < COUNT; i++) {
            if (i % 4 < 2)
                tell_uint(mix->sink, i);
            else
                cr_assert_eq(dctx_ask(self, mix->sink, DCTX_TYPE_UINT64, &i, WAIT_MS, on_end,
                                      (void *)(uintptr_t)i),
                             DCTX_OK);
        }
    }
    return DCTX_OK;
}

Test(plain, each_of_a_mix_is_handled_in_its_own_context, .init = fixture_init, .timeout = 60)
{
    for (unsigned run = 1; run <= COUNT; run += run < 8 ? 1 : 13) {
        mix_t mix = {.run = run, .done = GATE_INIT};
        /* Turns that end among those of one context, too. */
        dctx_system_t *system =
            start(&(dctx_system_options_t){.workers = 1, .quantum = run % 2 == 0 ? 5 : 0});
        mix.sink = spawn(system, "sink", sink, &mix);
        tell_uint(spawn(system, "driver", drive, &mix), 0);
        cr_assert(gate_wait(&mix.done, 1));
        cr_assert_eq(mix.told, COUNT / 2);
        finish(&system);
    }
}

/* ---- those that nobody waits for any more ---------------------------------------------------- */

typedef struct tardy {
    dctx_ref_t to;
    unsigned handled, buried;
    bool open; /* a dead letter was told of in somebody's context */
    gate_t ended;
} tardy_t;

enum { TARDY = 5 };

static dctx_error_t take_time(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    tardy_t *tardy = state;
    (void)self;
    (void)message;
    tardy->handled++;
    cr_assert(gate_wait(&tardy->ended, TARDY));
    return DCTX_OK;
}

static void give_up(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                    void *state, void *arg)
{
    (void)self;
    (void)reply;
    (void)arg;
    cr_assert_eq(status, DCTX_ERR_TIMEOUT);
    gate_pass(&((tardy_t *)state)->ended);
}

static dctx_error_t ask_shortly(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    tardy_t *tardy = state;
    (void)message;
    DCTX_SCOPE("send");
    for (uint64_t i = 0; i < TARDY; i++)
        cr_assert_eq(dctx_ask(self, tardy->to, DCTX_TYPE_UINT64, &i, 50, give_up, NULL), DCTX_OK);
    return DCTX_OK;
}

static void bury(const dctx_dead_letter_t *letter, void *arg)
{
    tardy_t *tardy = arg;
    cr_assert_eq(letter->reason, DCTX_ERR_CANCELLED);
    tardy->open = tardy->open || !dctx_is_empty();
    tardy->buried++;
}

Test(plain, asks_that_have_ended_are_not_handled, .init = fixture_init, .timeout = 30)
{
    tardy_t tardy = {.ended = GATE_INIT};
    dctx_system_t *system =
        start(&(dctx_system_options_t){.workers = 2, .on_dead_letter = bury, .arg = &tardy});
    tardy.to = spawn(system, "tardy", take_time, &tardy);
    tell_uint(spawn(system, "asker", ask_shortly, &tardy), 0);
    cr_assert(gate_wait(&tardy.ended, TARDY));
    finish(&system);
    cr_assert_eq(tardy.handled + tardy.buried, TARDY);
    cr_assert_leq(tardy.handled, 1);
    cr_assert_not(tardy.open);
}

/* ---- those who go ---------------------------------------------------------------------------- */

typedef struct leaving {
    dctx_ref_t to;
    unsigned count; /* of what it has handled */
    unsigned answered, failed;
    gate_t done;
} leaving_t;

/* Answers the third it gets, and goes. */
static dctx_error_t go(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    leaving_t *leaving = state;
    if (++leaving->count < 3)
        return dctx_reply(message, DCTX_TYPE_UINT64, dctx_message_get(message, DCTX_TYPE_UINT64));
    dctx_self_stop(self);
    return dctx_reply(message, DCTX_TYPE_UINT64, dctx_message_get(message, DCTX_TYPE_UINT64));
}

static void count_end(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                      void *state, void *arg)
{
    leaving_t *leaving = state;
    (void)self;
    (void)reply;
    (void)arg;
    leaving->answered += status == DCTX_OK;
    leaving->failed += status == DCTX_ERR_STOPPED;
    if (leaving->answered + leaving->failed == 10)
        gate_pass(&leaving->done);
}

static dctx_error_t ask_ten(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    leaving_t *leaving = state;
    (void)message;
    DCTX_SCOPE("send");
    for (uint64_t i = 0; i < 10; i++)
        cr_assert_eq(dctx_ask(self, leaving->to, DCTX_TYPE_UINT64, &i, WAIT_MS, count_end, NULL),
                     DCTX_OK);
    return DCTX_OK;
}

Test(plain, the_asks_of_one_who_goes_end, .init = fixture_init, .timeout = 30)
{
    leaving_t leaving = {.done = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    leaving.to = spawn(system, "leaving", go, &leaving);
    tell_uint(spawn(system, "asker", ask_ten, &leaving), 0);
    cr_assert(gate_wait(&leaving.done, 1));
    cr_assert_eq(leaving.count, 3);
    cr_assert_eq(leaving.answered, 3);
    cr_assert_eq(counters(system).dead_lettered, 7);
    finish(&system);
}

/* One that goes before what it asked for comes. */
static dctx_error_t ask_and_go(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    dctx_error_t error = ask_ten(self, message, state);
    dctx_self_stop(self);
    return error;
}

static dctx_error_t answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    leaving_t *leaving = state;
    leaving->count++;
    return dctx_reply(message, DCTX_TYPE_UINT64, dctx_message_get(message, DCTX_TYPE_UINT64));
}

Test(plain, who_has_gone_hears_of_no_end, .init = fixture_init, .timeout = 30)
{
    leaving_t leaving = {.done = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    leaving.to = spawn(system, "answers", answer, &leaving);
    tell_uint(spawn(system, "asker", ask_and_go, &leaving), 0);
    finish(&system);
    cr_assert_eq(leaving.answered + leaving.failed, 0);
}

/* ---- a cell that was another's --------------------------------------------------------------- */

typedef struct heir {
    gate_t held, go, done;
    unsigned count;
    uint64_t sum;
} heir_t;

static dctx_error_t inherit(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    heir_t *heir = state;
    (void)self;
    uint64_t number = *(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64);
    if (number == 0) {
        gate_pass(&heir->held);
        cr_assert(gate_wait(&heir->go, 1));
    }
    heir->sum += number;
    if (++heir->count == 5)
        gate_pass(&heir->done);
    return DCTX_OK;
}

/* As a sender does that found the actor alive, and was slow. */
static void tell_late(dctx_ref_t to, uint64_t value)
{
    dctx_system_t *system = to.system_;
    dctx_message_t *message = dctx_message_new_(system, NULL, DCTX_NODE_MESSAGE);
    cr_assert_not_null(message);
    message->node.generation = (uint32_t)(to.id_ >> 32) + 1;
    cr_assert_eq(dctx_message_store_(message, DCTX_TYPE_UINT64, &value), DCTX_OK);
    cr_assert_eq(dctx_fork(&message->snapshot), DCTX_OK);
    cr_assert_eq(dctx_accept_(system, NULL), DCTX_OK);
    dctx_post_(system, NULL, dctx_slab_at(&system->actors, (uint32_t)to.id_), &message->node);
}

Test(plain, what_comes_late_for_another_is_not_handled, .init = fixture_init, .timeout = 30)
{
    heir_t heir = {.held = GATE_INIT, .go = GATE_INIT, .done = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    dctx_ref_t ref = spawn(system, "heir", inherit, &heir);
    DCTX_WITH_SCOPE("edge") {
        tell_late(ref, 100);
        tell_uint(ref, 0);
        cr_assert(gate_wait(&heir.held, 1));
        /* One run, which what is late takes apart. */
        tell_uint(ref, 1);
        tell_uint(ref, 2);
        tell_late(ref, 100);
        tell_uint(ref, 3);
        tell_late(ref, 100);
        tell_late(ref, 100);
        tell_uint(ref, 4);
    }
    gate_pass(&heir.go);
    cr_assert(gate_wait(&heir.done, 1));
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(heir.count, 5);
    cr_assert_eq(heir.sum, 10);
    cr_assert_eq(counters(system).dead_lettered, 4);
    finish(&system);
}

/* ---- one that is no more --------------------------------------------------------------------- */

typedef struct last {
    dctx_actor_t *self;
    dctx_ref_t to;
    dctx_error_t asked, told;
    unsigned ends;
    gate_t gone;
} last_t;

static void hear(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply, void *state,
                 void *arg)
{
    (void)self;
    (void)status;
    (void)reply;
    (void)state;
    ((last_t *)arg)->ends++;
}

static dctx_error_t leave(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    ((last_t *)state)->self = self;
    dctx_self_stop(self);
    return DCTX_OK;
}

static void call_from_the_end(void *state)
{
    last_t *last = state;
    uint64_t value = 1;
    DCTX_SCOPE("end");
    last->told = dctx_tell(last->to, DCTX_TYPE_UINT64, &value);
    last->asked = dctx_ask(last->self, last->to, DCTX_TYPE_UINT64, &value, WAIT_MS, hear, last);
    gate_pass(&last->gone);
}

static dctx_error_t look_at_sender(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    cr_assert(dctx_ref_is_none(dctx_message_sender(message)), "nobody is there any more");
    return DCTX_OK;
}

Test(plain, a_state_that_is_destroyed_asks_for_nobody, .init = fixture_init, .timeout = 30)
{
    last_t last = {.gone = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    last.to = spawn(system, "other", look_at_sender, NULL);
    dctx_actor_options_t options = {
        .handler = leave, .state = &last, .destroy_state = call_from_the_end};
    dctx_ref_t ref;
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    tell_uint(ref, 0);
    cr_assert(gate_wait(&last.gone, 1));
    finish(&system);
    cr_assert_eq(last.told, DCTX_OK);
    cr_assert_eq(last.asked, DCTX_ERR_INVALID);
    cr_assert_eq(last.ends, 0);
}

/* ---- one that does not come back in time ----------------------------------------------------- */

typedef struct stuck {
    dctx_ref_t to;
    unsigned count, answered, failed; /* `count`: by its own thread */
    gate_t sent, inside, go, outside;
    dctx_error_t told, replied;
} stuck_t;

/* Does not come back from the third, an ask, in time; then it goes on as if nothing had been. */
static dctx_error_t get_stuck(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    stuck_t *stuck = state;
    uint64_t value = 1;
    bool third = ++stuck->count == 3;
    if (third) {
        gate_pass(&stuck->inside);
        cr_assert(gate_wait(&stuck->go, 1));
        stuck->told = dctx_tell(dctx_self(self), DCTX_TYPE_UINT64, &value);
    }
    dctx_error_t error = dctx_reply(message, DCTX_TYPE_UINT64, &value);
    if (third) {
        stuck->replied = error;
        gate_pass(&stuck->outside);
    }
    return error;
}

static void hear_from_stuck(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                            void *state, void *arg)
{
    stuck_t *stuck = state;
    (void)self;
    (void)reply;
    (void)arg;
    stuck->answered += status == DCTX_OK;
    stuck->failed += status != DCTX_OK;
}

static dctx_error_t ask_six(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    stuck_t *stuck = state;
    (void)message;
    DCTX_SCOPE("send");
    for (uint64_t i = 0; i < 6; i++)
        cr_assert_eq(
            dctx_ask(self, stuck->to, DCTX_TYPE_UINT64, &i, WAIT_MS, hear_from_stuck, NULL),
            DCTX_OK);
    gate_pass(&stuck->sent);
    return DCTX_OK;
}

Test(plain, a_thread_given_up_within_a_run_does_no_harm, .init = fixture_init, .timeout = 30)
{
    stuck_t stuck = {.sent = GATE_INIT, .inside = GATE_INIT, .go = GATE_INIT, .outside = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2});
    stuck.to = spawn(system, "stuck", get_stuck, &stuck);
    tell_uint(spawn(system, "asker", ask_six, &stuck), 0);
    cr_assert(gate_wait(&stuck.sent, 1));
    cr_assert(gate_wait(&stuck.inside, 1));
    cr_assert_eq(dctx_system_stop(system, 100, NULL), DCTX_ERR_TIMEOUT);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.accepted, 7);
    cr_assert_eq(c.handled, 3);
    cr_assert_eq(c.dead_lettered, 4);
    cr_assert_eq(c.asks, c.replies + c.asks_failed);
    dctx_system_destroy(&system);
    gate_pass(&stuck.go);
    cr_assert(gate_wait(&stuck.outside, 1));
    cr_assert_neq(stuck.told, DCTX_OK);
    cr_assert_eq(stuck.replied, DCTX_OK, "too late, which is no error");
    cr_assert_leq(stuck.answered, 2);
}
