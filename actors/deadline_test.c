/* Deadlines, in virtual time: of asks, and of messages that wait in a mailbox. */
#include <stdatomic.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

#define MS     INT64_C(1000000)
#define SECOND INT64_C(1000000000)
#define HOUR   (3600 * SECOND)

enum { HOUR_MS = 3600 * 1000 };

/* What time it is, for the contexts' deadlines and, where a test says so, for its systems. */
static _Atomic(int64_t) now = 1700000000 * SECOND;

static int64_t now_ns(void *arg)
{
    (void)arg;
    return atomic_load(&now);
}

static void pass(int64_t ns)
{
    (void)atomic_fetch_add(&now, ns);
}

static const dctx_clock_t virtual_clock = {.now_ns = now_ns};

static void set_up(void)
{
    static const dctx_clocks_t clocks = {.wall = now_ns, .monotonic = now_ns};
    cr_assert_eq(dctx_registry_set_clocks(dctx_registry_global(), &clocks), DCTX_OK);
    fixture_init();
}

/* Once this has returned the I/O actor has looked at the clock since it was called before. */
static void have_asks_looked_at(dctx_system_t *system)
{
    cr_assert_eq(dctx_system_wait_node(system, "nobody", 0), DCTX_ERR_TIMEOUT);
    cr_assert_eq(dctx_system_wait_node(system, "nobody", 0), DCTX_ERR_TIMEOUT);
}

static void set_timeout(int64_t ns)
{
    cr_assert_eq(dctx_deadline_set_timeout(ns), DCTX_OK);
}

/* ---- asks -------------------------------------------------------------------------------------- */

typedef struct heard {
    gate_t gate;
    dctx_error_t status;
    bool expired; /* the deadline of the context in which it was heard */
} heard_t;

static void hear(heard_t *heard, dctx_error_t status)
{
    heard->status = status;
    heard->expired = dctx_deadline_expired();
    gate_pass(&heard->gate);
}

static void on_call(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    hear(arg, status);
}

static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    (void)self;
    (void)reply;
    (void)state;
    hear(arg, status);
}

/* Keeps the right to answer the last ask. */
typedef struct keeper {
    dctx_reply_to_t *kept;
    gate_t has;
} keeper_t;

static dctx_error_t keep(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    keeper_t *keeper = state;
    dctx_reply_to_destroy(&keeper->kept);
    cr_assert_eq(dctx_reply_defer(message, &keeper->kept), DCTX_OK);
    gate_pass(&keeper->has);
    return DCTX_OK;
}

/* An actor that asks, with a timeout that is longer than the deadline of its message or not. */
typedef struct asker {
    dctx_ref_t to;
    int64_t timeout_ms;
    dctx_error_t returned;
    heard_t heard;
    gate_t asked;
} asker_t;

static dctx_error_t ask(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    asker_t *asker = state;
    asker->returned =
        dctx_ask(self, asker->to, NULL, NULL, asker->timeout_ms, on_reply, &asker->heard);
    gate_pass(&asker->asked);
    return DCTX_OK;
}

static dctx_error_t count(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_pass(state);
    return DCTX_OK;
}

Test(actor_deadline, an_ask_that_comes_too_late_fails_at_once, .init = set_up, .timeout = 30)
{
    gate_t handled = GATE_INIT;
    asker_t asker = {.heard = {.gate = GATE_INIT}, .asked = GATE_INIT};
    heard_t heard = {.gate = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t to = asker.to = spawn(system, NULL, count, &handled);
    dctx_ref_t from = spawn(system, NULL, ask, &asker);
    dctx_message_t *reply = NULL;
    DCTX_WITH_SCOPE("late") {
        set_timeout(SECOND);
        pass(SECOND);
        cr_assert_eq(dctx_ask_wait(to, NULL, NULL, 0, &reply), DCTX_ERR_DEADLINE);
        cr_assert_str_eq(dctx_error_detail(), "the deadline passed 0 us ago");
        cr_assert_null(reply);
        pass(MS);
        cr_assert_eq(dctx_ask_call(to, NULL, NULL, 0, on_call, &heard), DCTX_ERR_DEADLINE);
        cr_assert_str_eq(dctx_error_detail(), "the deadline passed 1000 us ago");
        cr_assert_eq(dctx_tell(from, NULL, NULL), DCTX_OK, "a tell is not refused");
    }
    cr_assert(gate_wait(&asker.asked, 1));
    cr_assert_eq(asker.returned, DCTX_ERR_DEADLINE);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.refused, 3);
    cr_assert_eq(c.asks, 0);
    finish(&system);
    cr_assert_eq(gate_count(&handled), 0);
    cr_assert_eq(gate_count(&heard.gate) + gate_count(&asker.heard.gate), 0);
}

/* Asks twice with a time that is up after `least`, of a timeout and a deadline: it is over then, not before. */
static void check_end(int64_t timeout_ms, int64_t deadline, int64_t least, dctx_error_t status)
{
    keeper_t keepers[2] = {{.has = GATE_INIT}, {.has = GATE_INIT}};
    asker_t asker = {.timeout_ms = timeout_ms, .heard = {.gate = GATE_INIT}, .asked = GATE_INIT};
    heard_t heard = {.gate = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2, .clock = &virtual_clock});
    dctx_ref_t to = spawn(system, NULL, keep, &keepers[0]);
    asker.to = spawn(system, NULL, keep, &keepers[1]);
    dctx_ref_t from = spawn(system, NULL, ask, &asker);
    DCTX_WITH_SCOPE("edge") {
        set_timeout(deadline);
        cr_assert_eq(dctx_ask_call(to, NULL, NULL, timeout_ms, on_call, &heard), DCTX_OK);
        cr_assert_eq(dctx_tell(from, NULL, NULL), DCTX_OK);
    }
    cr_assert(gate_wait(&keepers[0].has, 1));
    cr_assert(gate_wait(&keepers[1].has, 1));
    cr_assert(gate_wait(&asker.asked, 1));
    pass(least - 1);
    have_asks_looked_at(system);
    cr_assert_eq(counters(system).asks_in_flight, 2);
    pass(1);
    have_asks_looked_at(system);
    cr_assert(gate_wait(&heard.gate, 1));
    cr_assert(gate_wait(&asker.heard.gate, 1));
    cr_assert_eq(heard.status, status, "%s", dctx_error_name(heard.status));
    cr_assert_eq(asker.heard.status, status, "%s", dctx_error_name(asker.heard.status));
    cr_assert_eq(heard.expired, status == DCTX_ERR_DEADLINE);
    cr_assert_eq(asker.heard.expired, status == DCTX_ERR_DEADLINE);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.asks_failed, 2);
    cr_assert_eq(c.asks_expired, status == DCTX_ERR_DEADLINE ? 2 : 0);
    cr_assert_eq(c.asks_timed_out, status == DCTX_ERR_DEADLINE ? 0 : 2);
    dctx_reply_to_destroy(&keepers[0].kept);
    dctx_reply_to_destroy(&keepers[1].kept);
    finish(&system);
}

Test(actor_deadline, the_deadline_ends_an_ask_with_a_longer_timeout, .init = set_up, .timeout = 30)
{
    check_end(HOUR_MS, 600 * SECOND, 600 * SECOND, DCTX_ERR_DEADLINE);
    check_end(INT64_MAX, 600 * SECOND, 600 * SECOND, DCTX_ERR_DEADLINE);
}

Test(actor_deadline, a_timeout_ends_an_ask_with_a_later_deadline, .init = set_up, .timeout = 30)
{
    check_end(600 * 1000, HOUR, 600 * SECOND, DCTX_ERR_TIMEOUT);
    /* As the one that is taken for 0 does. */
    check_end(0, HOUR, 5 * SECOND, DCTX_ERR_TIMEOUT);
}

/* Lets time pass, and does not answer. */
static dctx_error_t dawdle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    pass(MS);
    return keep(self, message, state);
}

Test(actor_deadline, who_waits_waits_no_longer_than_the_deadline, .init = set_up, .timeout = 30)
{
    keeper_t keeper = {.has = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2, .clock = &virtual_clock});
    dctx_ref_t to = spawn(system, NULL, dawdle, &keeper);
    dctx_message_t *reply = NULL;
    DCTX_WITH_SCOPE("edge") {
        set_timeout(MS);
        cr_assert_eq(dctx_ask_wait(to, NULL, NULL, HOUR_MS, &reply), DCTX_ERR_DEADLINE);
        cr_assert_null(reply);
    }
    DCTX_WITH_SCOPE("patient") {
        set_timeout(HOUR);
        cr_assert_eq(dctx_ask_wait(to, NULL, NULL, 1, &reply), DCTX_ERR_TIMEOUT);
    }
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.asks_expired, 1);
    cr_assert_eq(c.asks_timed_out, 1);
    dctx_reply_to_destroy(&keeper.kept);
    finish(&system);
}
