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

/* ---- asks ------------------------------------------------------------------------------------ */

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

/* Asks twice with a time that is up after `least`, of a timeout and a deadline:
 * it is over then, not before. */
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
        cr_assert_not_null(strstr(dctx_error_detail(), dctx_strerror(DCTX_ERR_TIMEOUT)));
    }
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.asks_expired, 1);
    cr_assert_eq(c.asks_timed_out, 1);
    dctx_reply_to_destroy(&keeper.kept);
    finish(&system);
}

/* ---- messages in a mailbox ------------------------------------------------------------------- */

/* An actor that its first message keeps until the gate opens,
 * and whatever becomes of the others. */
typedef struct busy {
    gate_t holding, release;
    uint64_t handled[8];
    int handled_count;
    int letter_count;
    int asks_among_letters;
    dctx_error_t reason;
    char target[32], chain[32];
    int inbound_count;
} busy_t;

static dctx_error_t note(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    busy_t *busy = state;
    if (busy->handled_count == 0) {
        gate_pass(&busy->holding);
        cr_assert(gate_wait(&busy->release, 1));
    }
    cr_assert_lt(busy->handled_count, 8);
    busy->handled[busy->handled_count++] =
        *(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64);
    return DCTX_OK;
}

static void note_letter(const dctx_dead_letter_t *letter, void *arg)
{
    busy_t *busy = arg;
    busy->letter_count++;
    busy->asks_among_letters += letter->ask;
    busy->reason = letter->reason;
    strcpy(busy->target, letter->target);
    strcpy(busy->chain, letter->chain);
    cr_assert_not_null(dctx_snapshot_deadline(letter->snapshot));
}

static dctx_verdict_t note_inbound(const dctx_passage_t *passage, void *arg)
{
    (void)passage;
    busy_t *busy = arg;
    busy->inbound_count++;
    return DCTX_CONTINUE;
}

/* Sends messages with and without deadlines to a busy actor,
 * and lets an hour pass before it gets to them. */
static void send_before_an_hour(busy_t *busy, dctx_deadline_policy_t policy, heard_t *heard,
                                dctx_system_counters_t *ret_counters)
{
    uint64_t number = 1;
    dctx_interceptor_t interceptor = {
        .name = "counts", .order = 1, .inbound = note_inbound, .arg = busy};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2,
                                                           .interceptors = &interceptor,
                                                           .interceptor_count = 1,
                                                           .on_dead_letter = note_letter,
                                                           .arg = busy,
                                                           .deadline_policy = policy});
    dctx_ref_t to = spawn(system, "busy", note, busy);
    tell_uint(to, 0);
    cr_assert(gate_wait(&busy->holding, 1));
    DCTX_WITH_SCOPE("edge") {
        set_timeout(HOUR);
        tell_uint(to, number);
        /* By the system's own clock no time passes: only the one who is asked can end this. */
        cr_assert_eq(
            dctx_ask_call(to, DCTX_TYPE_UINT64, &number, (int64_t)2 * HOUR_MS, on_call, heard),
            DCTX_OK);
    }
    DCTX_WITH_SCOPE("patient") {
        set_timeout(HOUR + 1);
        tell_uint(to, 2);
    }
    DCTX_WITH_SCOPE("whenever") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(to, 3);
    }
    tell_uint(to, 4);
    pass(HOUR);
    gate_pass(&busy->release);
    cr_assert(gate_wait(&heard->gate, 1));
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    *ret_counters = counters(system);
    finish(&system);
}

#define BUSY_INIT                                                                                  \
    {                                                                                              \
        .holding = GATE_INIT, .release = GATE_INIT                                                 \
    }

static void check_all_handled(dctx_deadline_policy_t policy, uint64_t expired)
{
    busy_t busy = BUSY_INIT;
    heard_t heard = {.gate = GATE_INIT};
    dctx_system_counters_t c;
    send_before_an_hour(&busy, policy, &heard, &c);
    cr_assert_eq(heard.status, DCTX_ERR_NO_REPLY);
    cr_assert_eq(busy.handled_count, 6);
    cr_assert_arr_eq(busy.handled, ((uint64_t[]){0, 1, 1, 2, 3, 4}), 6 * sizeof(uint64_t));
    cr_assert_eq(busy.inbound_count, 6);
    cr_assert_eq(busy.letter_count, 0);
    cr_assert_eq(c.handled, 6);
    cr_assert_eq(c.dead_lettered, 0);
    cr_assert_eq(c.expired, expired);
    cr_assert_eq(c.asks_expired, 0);
}

Test(actor_deadline, by_default_late_messages_are_counted_only, .init = set_up, .timeout = 30)
{
    dctx_system_options_t none = {0};
    check_all_handled(none.deadline_policy, 2);
}

Test(actor_deadline, off_nobody_looks_at_it, .init = set_up, .timeout = 30)
{
    check_all_handled(DCTX_DEADLINE_OFF, 0);
}

Test(actor_deadline, enforced_late_messages_are_dead_letters, .init = set_up, .timeout = 30)
{
    busy_t busy = BUSY_INIT;
    heard_t heard = {.gate = GATE_INIT};
    dctx_system_counters_t c;
    send_before_an_hour(&busy, DCTX_DEADLINE_ENFORCE, &heard, &c);
    cr_assert_eq(heard.status, DCTX_ERR_DEADLINE);
    cr_assert(heard.expired);
    cr_assert_eq(busy.handled_count, 4);
    cr_assert_arr_eq(busy.handled, ((uint64_t[]){0, 2, 3, 4}), 4 * sizeof(uint64_t));
    cr_assert_eq(busy.inbound_count, 4, "interceptors do not see what is skipped");
    cr_assert_eq(busy.letter_count, 2);
    cr_assert_eq(busy.asks_among_letters, 1);
    cr_assert_eq(busy.reason, DCTX_ERR_DEADLINE);
    cr_assert_str_eq(busy.target, "busy");
    cr_assert_str_eq(busy.chain, "edge");
    cr_assert_eq(c.accepted, 6);
    cr_assert_eq(c.handled, 4);
    cr_assert_eq(c.dead_lettered, 2);
    cr_assert_eq(c.expired, 2);
    cr_assert_eq(c.asks_expired, 1);
    cr_assert_eq(c.asks_timed_out, 0);
}

Test(actor_deadline, another_node_says_that_it_was_too_late, .init = set_up, .timeout = 30)
{
    busy_t busy = BUSY_INIT;
    gate_t handled = GATE_INIT;
    heard_t heard = {.gate = GATE_INIT}, after = {.gate = GATE_INIT};
    dctx_ref_t far, last;
    uint64_t number = 1;
    dctx_system_t *shop = start(&(dctx_system_options_t){.name = "shop", .workers = 2});
    dctx_system_t *store =
        start(&(dctx_system_options_t){.name = "store",
                                       .workers = 2,
                                       .on_dead_letter = note_letter,
                                       .arg = &busy,
                                       .deadline_policy = DCTX_DEADLINE_ENFORCE});
    dctx_ref_t near = spawn(store, "busy", note, &busy);
    (void)spawn(store, "last", count, &handled);
    cr_assert_eq(dctx_system_bind(store, "inproc://actor-deadline-test", NULL), DCTX_OK);
    cr_assert_eq(dctx_system_connect(shop, "store", "inproc://actor-deadline-test"), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(shop, "store", WAIT_MS), DCTX_OK);
    cr_assert_eq(dctx_system_find(shop, "busy@store", &far), DCTX_OK);
    cr_assert_eq(dctx_system_find(shop, "last@store", &last), DCTX_OK);
    tell_uint(near, 0);
    cr_assert(gate_wait(&busy.holding, 1));
    DCTX_WITH_SCOPE("edge") {
        set_timeout(HOUR);
        cr_assert_eq(
            dctx_ask_call(far, DCTX_TYPE_UINT64, &number, (int64_t)2 * HOUR_MS, on_call, &heard),
            DCTX_OK);
    }
    /* Messages between two nodes keep their order:
     * once this is handled the ask is in its mailbox. */
    cr_assert_eq(dctx_ask_call(last, NULL, NULL, 0, on_call, &after), DCTX_OK);
    cr_assert(gate_wait(&handled, 1));
    pass(HOUR);
    gate_pass(&busy.release);
    cr_assert(gate_wait(&heard.gate, 1));
    cr_assert_eq(heard.status, DCTX_ERR_DEADLINE, "%s", dctx_error_name(heard.status));
    cr_assert_eq(counters(shop).asks_expired, 1);
    cr_assert(gate_wait(&after.gate, 1));
    finish(&shop);
    cr_assert_eq(counters(store).expired, 1);
    finish(&store);
    cr_assert_eq(busy.handled_count, 1);
    cr_assert_eq(busy.letter_count, 1);
    cr_assert_str_eq(busy.chain, "edge");
}

Test(actor_deadline, a_policy_that_there_is_not_is_refused, .init = set_up, .timeout = 30)
{
    dctx_system_t *system = NULL;
    dctx_system_options_t options = {.deadline_policy = (dctx_deadline_policy_t)3};
    cr_assert_eq(dctx_system_new(&options, &system), DCTX_ERR_INVALID);
    cr_assert_null(system);
}
