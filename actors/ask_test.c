/* Asks: every way in which one can end, and that it ends once. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* What the one who is asked does; the number of the ask says which. */
enum { REPLY = 0, ERROR, RETURN_ERROR, NOTHING, DEFER, DROP, STOP, TWICE, MANNERS_COUNT };

typedef struct answerer {
    dctx_reply_to_t *deferred;
    gate_t has_deferred;
} answerer_t;

static dctx_error_t answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    answerer_t *answerer = state;
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    cr_assert_not_null(number);
    cr_assert(dctx_message_is_ask(message));
    switch (*number % MANNERS_COUNT) {
    case REPLY:
        return dctx_reply(message, DCTX_TYPE_UINT64, number);
    case ERROR:
        return dctx_reply_error(message, DCTX_ERR_ABSENT, "no such order");
    case RETURN_ERROR:
        return DCTX_ERR_CODEC;
    case NOTHING:
        return DCTX_OK;
    case DEFER:
        cr_assert_eq(dctx_reply_defer(message, &answerer->deferred), DCTX_OK);
        cr_assert_eq(dctx_reply(message, NULL, NULL), DCTX_ERR_INVALID);
        gate_pass(&answerer->has_deferred);
        return DCTX_OK;
    case DROP: {
        dctx_reply_to_t *dropped = NULL;
        cr_assert_eq(dctx_reply_defer(message, &dropped), DCTX_OK);
        dctx_reply_to_destroy(&dropped);
        cr_assert_null(dropped);
        return DCTX_OK;
    }
    case STOP:
        dctx_self_stop(self);
        return dctx_reply(message, DCTX_TYPE_STRING, "good-bye");
    default:
        cr_assert_eq(dctx_reply_error(message, DCTX_OK, NULL), DCTX_ERR_INVALID);
        cr_assert_eq(dctx_reply(message, NULL, NULL), DCTX_OK);
        cr_assert_eq(dctx_reply(message, NULL, NULL), DCTX_ERR_INVALID);
        cr_assert_eq(dctx_reply_error(message, DCTX_ERR_ABSENT, NULL), DCTX_ERR_INVALID);
        return DCTX_OK;
    }
}

static dctx_error_t ask_and_wait(dctx_ref_t to, uint64_t number, int64_t timeout_ms,
                                 dctx_message_t **ret_reply)
{
    return dctx_ask_wait(to, DCTX_TYPE_UINT64, &number, timeout_ms, ret_reply);
}

Test(ask, from_outside_each_outcome_is_returned, .init = fixture_init, .timeout = 30)
{
    answerer_t answerer = {.has_deferred = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "answers", answer, &answerer);
    dctx_message_t *reply = NULL;
    cr_assert_eq(ask_and_wait(ref, REPLY + 8, 0, &reply), DCTX_OK);
    cr_assert_eq(*(const uint64_t *)dctx_message_get(reply, DCTX_TYPE_UINT64), REPLY + 8);
    cr_assert(!dctx_message_is_ask(reply));
    cr_assert(dctx_ref_is_none(dctx_message_sender(reply)));
    dctx_message_destroy(&reply);
    cr_assert_null(reply);

    cr_assert_eq(ask_and_wait(ref, ERROR, 0, &reply), DCTX_ERR_ABSENT);
    cr_assert_str_eq(dctx_message_reason(reply), "no such order");
    cr_assert_str_eq(dctx_error_detail(), "no such order");
    dctx_message_destroy(&reply);
    cr_assert_eq(ask_and_wait(ref, RETURN_ERROR, 0, &reply), DCTX_ERR_CODEC);
    cr_assert_null(reply);
    cr_assert_eq(ask_and_wait(ref, NOTHING, 0, &reply), DCTX_ERR_NO_REPLY);
    cr_assert_eq(ask_and_wait(ref, DROP, 0, &reply), DCTX_ERR_NO_REPLY);
    cr_assert_eq(ask_and_wait(ref, TWICE, 0, &reply), DCTX_OK);
    cr_assert_null(dctx_message_get(reply, DCTX_TYPE_UINT64));
    cr_assert_str_eq(dctx_message_type(reply), "");
    dctx_message_destroy(&reply);
    cr_assert_eq(ask_and_wait(ref, STOP, 0, &reply), DCTX_OK);
    cr_assert_str_eq(dctx_message_get(reply, DCTX_TYPE_STRING), "good-bye");
    /* A reply is its caller's, even when the system has gone. */
    finish(&system);
    cr_assert_str_eq(dctx_message_get(reply, DCTX_TYPE_STRING), "good-bye");
    dctx_message_destroy(&reply);
}

Test(ask, a_timeout_ends_it_and_a_late_reply_is_counted, .init = fixture_init, .timeout = 30)
{
    answerer_t answerer = {.has_deferred = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, answer, &answerer);
    dctx_message_t *reply = NULL;
    cr_assert_eq(ask_and_wait(ref, DEFER, 20, &reply), DCTX_ERR_TIMEOUT);
    cr_assert_null(reply);
    cr_assert(gate_wait(&answerer.has_deferred, 1));
    cr_assert_eq(dctx_reply_to_send(&answerer.deferred, NULL, NULL), DCTX_OK);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.late_replies, 1);
    cr_assert_eq(c.asks_timed_out, 1);
    cr_assert_eq(c.asks_failed, 1);
    finish(&system);
}

/* ---- with a callback ------------------------------------------------------------------------- */

typedef struct called {
    gate_t gate;
    dctx_error_t status;
    char reason[300];
    char tenant[16], secret[16], chain[64];
    uint64_t number;
} called_t;

static void call(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    called_t *called = arg;
    const uint64_t *number = dctx_message_get(reply, DCTX_TYPE_UINT64);
    pthread_mutex_lock(&lock);
    called->status = status;
    strcpy(called->reason, dctx_message_reason(reply));
    called->number = number != NULL ? *number : 0;
    strcpy(called->tenant, tenant_get_or(""));
    strcpy(called->secret, secret_get_or(""));
    strcpy(called->chain, chain());
    pthread_mutex_unlock(&lock);
    dctx_message_t *none = NULL;
    cr_assert_eq(ask_and_wait(DCTX_REF_NONE, 0, 0, &none), DCTX_ERR_INVALID);
    gate_pass(&called->gate);
}

Test(ask, a_callback_runs_in_the_askers_context, .init = fixture_init, .timeout = 30)
{
    answerer_t answerer = {.has_deferred = GATE_INIT};
    called_t called = {.gate = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, answer, &answerer);
    uint64_t number = REPLY + 16;
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(secret_set("s"), DCTX_OK);
        cr_assert_eq(dctx_ask_call(ref, DCTX_TYPE_UINT64, &number, 0, call, &called), DCTX_OK);
    }
    cr_assert(gate_wait(&called.gate, 1));
    cr_assert_eq(called.status, DCTX_OK);
    cr_assert_eq(called.number, number);
    cr_assert_str_eq(called.tenant, "acme");
    cr_assert_str_eq(called.secret, "s");
    cr_assert_str_eq(called.chain, "edge");
    number = DEFER;
    cr_assert_eq(dctx_ask_call(ref, DCTX_TYPE_UINT64, &number, 10, call, &called), DCTX_OK);
    cr_assert(gate_wait(&called.gate, 2));
    cr_assert_eq(called.status, DCTX_ERR_TIMEOUT);
    cr_assert_str_eq(called.chain, "");
    cr_assert(gate_wait(&answerer.has_deferred, 1));
    dctx_reply_to_destroy(&answerer.deferred);

    /* What is pending when the system stops is called, too. */
    number = DEFER;
    cr_assert_eq(dctx_ask_call(ref, DCTX_TYPE_UINT64, &number, 0, call, &called), DCTX_OK);
    cr_assert(gate_wait(&answerer.has_deferred, 2));
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(gate_count(&called.gate), 3);
    cr_assert_eq(called.status, DCTX_ERR_STOPPED);
    dctx_reply_to_destroy(&answerer.deferred);
    cr_assert_eq(counters(system).late_replies, 2);
    finish(&system);
}

Test(ask, a_long_reason_is_cut_at_a_character, .init = fixture_init, .timeout = 30)
{
    answerer_t answerer = {.has_deferred = GATE_INIT};
    called_t called = {.gate = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, answer, &answerer);
    uint64_t number = DEFER;
    /* 255 bytes end in the middle of a character of two. */
    char reason[301] = "";
    for (int i = 0; i < 300; i += 2)
        memcpy(reason + i, "\xc3\xa9", 2);
    cr_assert_eq(dctx_ask_call(ref, DCTX_TYPE_UINT64, &number, 0, call, &called), DCTX_OK);
    cr_assert(gate_wait(&answerer.has_deferred, 1));
    cr_assert_eq(dctx_reply_to_error(&answerer.deferred, DCTX_ERR_ABSENT, reason), DCTX_OK);
    cr_assert_null(answerer.deferred);
    cr_assert(gate_wait(&called.gate, 1));
    cr_assert_eq(called.status, DCTX_ERR_ABSENT);
    reason[254] = '\0';
    cr_assert_str_eq(called.reason, reason);
    finish(&system);
}

/* ---- from an actor --------------------------------------------------------------------------- */

/* Asks with each number in turn, in a context of its own for each,
 * and checks what comes back in it. */
typedef struct asker {
    dctx_ref_t to;
    uint64_t first, step, count, answered;
    int64_t timeout_ms;
    dctx_error_t expected[MANNERS_COUNT];
    gate_t done;
} asker_t;

static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    asker_t *asker = state;
    uint64_t number = (uintptr_t)arg;
    cr_assert_eq(status, asker->expected[number % MANNERS_COUNT], "%lu: %s", (unsigned long)number,
                 dctx_error_name(status));
    const uint64_t *value = dctx_message_get(reply, DCTX_TYPE_UINT64);
    if (number % MANNERS_COUNT == REPLY) {
        cr_assert_not_null(value);
        cr_assert_eq(*value, number);
    }
    const uint64_t *context = request_get();
    cr_assert_not_null(context);
    cr_assert_eq(*context, number, "the context of another ask");
    cr_assert_str_eq(secret_get_or(""), "mine");
    char expected[64];
    snprintf(expected, sizeof expected, "actor:%s > ask", dctx_self_name(self));
    cr_assert_str_eq(chain(), expected);
    if (++asker->answered == asker->count)
        gate_pass(&asker->done);
}

static dctx_error_t ask_all(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    asker_t *asker = state;
    (void)message;
    for (uint64_t i = 0; i < asker->count; i++) {
        uint64_t number = asker->first + i * asker->step;
        DCTX_SCOPE("ask");
        cr_assert_eq(request_set(number), DCTX_OK);
        cr_assert_eq(secret_set("mine"), DCTX_OK);
        cr_assert_eq(dctx_ask(self, asker->to, DCTX_TYPE_UINT64, &number, asker->timeout_ms,
                              on_reply, (void *)(uintptr_t)number),
                     DCTX_OK);
    }
    return DCTX_OK;
}

Test(ask, an_actor_hears_each_outcome_in_its_own_context, .init = fixture_init, .timeout = 60)
{
    /* One for each manner, so that STOP ends only itself;
     * and last one that is not there to answer. */
    dctx_system_t *system = start(NULL);
    asker_t askers[MANNERS_COUNT];
    answerer_t answerers[MANNERS_COUNT];
    for (unsigned i = 0; i < MANNERS_COUNT; i++) {
        answerer_t *answerer = &answerers[i];
        *answerer = (answerer_t){.has_deferred = GATE_INIT};
        askers[i] =
            (asker_t){.to = spawn(system, NULL, answer, answerer),
                      .first = i,
                      .step = 1,
                      .count = 1,
                      .timeout_ms = i == DEFER ? 20 : 0,
                      .expected = {DCTX_OK, DCTX_ERR_ABSENT, DCTX_ERR_CODEC, DCTX_ERR_NO_REPLY,
                                   DCTX_ERR_TIMEOUT, DCTX_ERR_NO_REPLY, DCTX_OK, DCTX_OK},
                      .done = GATE_INIT};
        tell_uint(spawn(system, NULL, ask_all, &askers[i]), 0);
        cr_assert(gate_wait(&askers[i].done, 1));
        if (i == DEFER) {
            cr_assert(gate_wait(&answerer->has_deferred, 1));
            dctx_reply_to_destroy(&answerer->deferred);
        }
        cr_assert_eq(dctx_stop(askers[i].to) == DCTX_OK, i != STOP);
    }
    finish(&system);
}

Test(ask, thousands_at_once_are_not_mixed_up, .init = fixture_init, .timeout = 60)
{
    enum { ASKERS = 4, EACH = 2000 };
    asker_t askers[ASKERS];
    answerer_t answerer = {.has_deferred = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, answer, &answerer);
    for (unsigned i = 0; i < ASKERS; i++) {
        /* All of them numbers that mean REPLY. */
        askers[i] = (asker_t){.to = ref,
                              .first = (uint64_t)i * EACH * MANNERS_COUNT + REPLY,
                              .step = MANNERS_COUNT,
                              .count = EACH,
                              .done = GATE_INIT};
        tell_uint(spawn(system, NULL, ask_all, &askers[i]), 0);
    }
    for (unsigned i = 0; i < ASKERS; i++)
        cr_assert(gate_wait(&askers[i].done, 1));
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.replies, ASKERS * EACH);
    cr_assert_eq(c.asks_failed, 0);
    finish(&system);
}

/* ---- those who are not there ----------------------------------------------------------------- */

static dctx_error_t hold(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    cr_assert(gate_wait(state, 1));
    return DCTX_OK;
}

static void count_timeout(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    cr_assert_eq(status, DCTX_ERR_TIMEOUT);
    cr_assert_str_eq(dctx_message_reason(reply), "");
    gate_pass(arg);
}

Test(ask, thousands_time_out, .init = fixture_init, .timeout = 60)
{
    enum { COUNT = 2000 };
    gate_t held = GATE_INIT, over = GATE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, hold, &held);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(dctx_ask_call(ref, NULL, NULL, 1 + i % 30, count_timeout, &over), DCTX_OK);
    cr_assert(gate_wait(&over, COUNT));
    cr_assert_eq(counters(system).asks_timed_out, COUNT);
    gate_pass(&held);
    finish(&system);
}

Test(ask, the_dying_answer_with_an_error, .init = fixture_init, .timeout = 30)
{
    enum { COUNT = 50 };
    gate_t held = GATE_INIT;
    called_t called = {.gate = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, hold, &held);
    tell_uint(ref, 0);
    cr_assert_eq(dctx_stop(ref), DCTX_OK);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(dctx_ask_call(ref, NULL, NULL, 0, call, &called), DCTX_OK);
    gate_pass(&held);
    cr_assert(gate_wait(&called.gate, COUNT));
    cr_assert_eq(called.status, DCTX_ERR_STOPPED);
    dctx_message_t *reply = NULL;
    cr_assert_eq(ask_and_wait(ref, 0, 0, &reply), DCTX_ERR_NO_ACTOR);
    cr_assert_null(reply);
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(counters(system).dead_lettered, COUNT);
    finish(&system);
}

/* An asker that goes before its answer comes: the answer is dropped, nothing breaks. */
static void never(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply, void *state,
                  void *arg)
{
    (void)self;
    (void)status;
    (void)reply;
    (void)state;
    (void)arg;
    cr_assert_fail("the asker is gone");
}

static dctx_error_t ask_and_go(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    dctx_ref_t *to = state;
    uint64_t number = DEFER;
    if (*(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64) == 0)
        cr_assert_eq(dctx_ask(self, *to, DCTX_TYPE_UINT64, &number, 0, never, NULL), DCTX_OK);
    else
        dctx_self_stop(self);
    return DCTX_OK;
}

Test(ask, an_answer_for_one_who_has_gone_is_no_error, .init = fixture_init, .timeout = 30)
{
    answerer_t answerer = {.has_deferred = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t to = spawn(system, NULL, answer, &answerer);
    dctx_ref_t asker = spawn(system, NULL, ask_and_go, &to);
    tell_uint(asker, 0);
    cr_assert(gate_wait(&answerer.has_deferred, 1));
    tell_uint(asker, 1);
    cr_assert_eq(dctx_reply_to_send(&answerer.deferred, DCTX_TYPE_STRING, "late"), DCTX_OK);
    finish(&system);
}

static dctx_error_t try_to_wait(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    dctx_message_t *reply = NULL;
    cr_assert_eq(ask_and_wait(dctx_self(self), 0, 0, &reply), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_wait_node(dctx_self_system(self), "x", 0), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_stop(dctx_self_system(self), 0, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_reply(message, NULL, NULL), DCTX_ERR_INVALID);
    gate_pass(state);
    return DCTX_OK;
}

Test(ask, a_worker_is_not_let_wait, .init = fixture_init, .timeout = 30)
{
    gate_t done = GATE_INIT;
    dctx_system_t *system = start(NULL);
    tell_uint(spawn(system, NULL, try_to_wait, &done), 0);
    cr_assert(gate_wait(&done, 1));
    finish(&system);
}

/* ---- pinned actors, and two systems ---------------------------------------------------------- */

static dctx_error_t ask_from_pinned(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    dctx_message_t *reply = NULL;
    cr_assert_eq(ask_and_wait(*(dctx_ref_t *)state, REPLY, 0, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
    return dctx_reply(message, DCTX_TYPE_UINT64, number);
}

Test(ask, a_pinned_actor_may_wait, .init = fixture_init, .timeout = 30)
{
    answerer_t answerer = {.has_deferred = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t to = spawn(system, NULL, answer, &answerer), pinned[4];
    dctx_actor_options_t options = {.handler = ask_from_pinned, .state = &to, .flags = DCTX_PINNED};
    dctx_message_t *reply = NULL;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 4; i++)
            cr_assert_eq(dctx_spawn(system, &options, &pinned[i]), DCTX_OK);
        for (int i = 0; i < 4; i++) {
            cr_assert_eq(ask_and_wait(pinned[i], 7, 0, &reply), DCTX_OK);
            dctx_message_destroy(&reply);
            cr_assert_eq(dctx_stop(pinned[i]), DCTX_OK);
        }
    }
    finish(&system);
}

Test(ask, between_two_systems_of_a_process, .init = fixture_init, .timeout = 60)
{
    enum { COUNT = 200 };
    answerer_t answerer = {.has_deferred = GATE_INIT};
    dctx_system_t *here = start(NULL), *there = start(NULL);
    dctx_ref_t to = spawn(there, NULL, answer, &answerer);
    asker_t asker = {.to = to, .step = MANNERS_COUNT, .count = COUNT, .done = GATE_INIT};
    tell_uint(spawn(here, NULL, ask_all, &asker), 0);
    cr_assert(gate_wait(&asker.done, 1));
    cr_assert_eq(counters(here).replies, COUNT);
    cr_assert_eq(counters(there).asks, 0);
    /* The asker's system goes while it is asked. */
    asker_t last = {.to = to, .first = DEFER, .count = 1, .done = GATE_INIT};
    last.expected[DEFER] = DCTX_ERR_STOPPED;
    tell_uint(spawn(here, NULL, ask_all, &last), 0);
    cr_assert(gate_wait(&answerer.has_deferred, 1));
    finish(&here);
    cr_assert_eq(gate_count(&last.done), 1);
    cr_assert_eq(dctx_reply_to_send(&answerer.deferred, NULL, NULL), DCTX_OK);
    finish(&there);
}
