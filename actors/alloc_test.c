/* Each allocation of the library fails once, in turn: what was asked for then fails whole, and can
 * be asked for again. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/retry.h>
#include <dcontext/testing.h>

#include "fixture.h"

/* The allocation that fails; others work. Atomic, as threads of the system allocate as well. */
static long fails_at = -1, made;

static void *fail_one(size_t size)
{
    long number = __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
    return number == __atomic_load_n(&fails_at, __ATOMIC_RELAXED) ? NULL : malloc(size);
}

static void set_up(void)
{
    static const dctx_allocator_t allocator = {.allocate = fail_one, .release = free};
    dctx_set_allocator(&allocator);
    fixture_init();
}

/* Makes the nth allocation from now on fail. */
static void arm(long nth)
{
    __atomic_store_n(&made, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&fails_at, nth, __ATOMIC_RELAXED);
}

static bool disarm(void)
{
    long at = __atomic_exchange_n(&fails_at, -1, __ATOMIC_RELAXED);
    return __atomic_load_n(&made, __ATOMIC_RELAXED) >= at;
}

static const char text_200[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                               "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

static dctx_error_t reply_big(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    gate_pass(state);
    if (!dctx_message_is_ask(message))
        return DCTX_OK;
    return dctx_reply(message, DCTX_TYPE_STRING, text_200);
}

static void tell_once(dctx_system_t *system, dctx_ref_t ref, long nth, bool *ret_reached)
{
    dctx_error_t error = DCTX_OK;
    (void)system;
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        arm(nth);
        error = dctx_tell(ref, DCTX_TYPE_STRING, text_200);
        *ret_reached = disarm();
    }
    cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
    if (error != DCTX_OK)
        cr_assert_str_neq(dctx_error_detail(), "");
}

Test(alloc, each_allocation_of_a_tell, .init = set_up, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 100);
        /* A new system each time: later ones live on what the first left in the pool. */
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        dctx_ref_t ref = spawn(system, "x", reply_big, &gate);
        tell_once(system, ref, nth, &reached);
        dctx_system_counters_t c = counters(system);
        cr_assert_eq(c.accepted + c.refused, 1);
        cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_OK, "it works again");
        finish(&system);
    }
}

/* The allocation of a timer's start that fails, and what came of it. */
typedef struct attempt {
    long nth;
    bool reached;
    dctx_error_t error;
    gate_t set, ran;
} attempt_t;

static void run(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    (void)self;
    (void)missed;
    attempt_t *attempt = state;
    cr_assert_eq(arg, attempt);
    gate_pass(&attempt->ran);
}

static dctx_error_t set_timer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    attempt_t *attempt = state;
    dctx_timer_options_t options = {.run = run, .arg = attempt};
    dctx_timer_t timer = DCTX_TIMER_NONE;
    /* So that there is a context to take along. */
    DCTX_WITH_SCOPE("inside") {
        cr_assert_eq(request_set(1), DCTX_OK);
        arm(attempt->nth);
        attempt->error = dctx_timer_start(self, &options, &timer);
        attempt->reached = disarm();
    }
    cr_assert_eq(timer.system_ != NULL, attempt->error == DCTX_OK);
    if (attempt->error != DCTX_OK)
        cr_assert_eq(dctx_timer_start(self, &options, &timer), DCTX_OK, "it works again");
    gate_pass(&attempt->set);
    return DCTX_OK;
}

Test(alloc, each_allocation_of_a_timer, .init = set_up, .timeout = 60)
{
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 100);
        attempt_t attempt = {.nth = nth, .set = GATE_INIT, .ran = GATE_INIT};
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        tell_uint(spawn(system, NULL, set_timer, &attempt), 1);
        cr_assert(gate_wait(&attempt.set, 1));
        cr_assert(attempt.error == DCTX_OK || attempt.error == DCTX_ERR_NOMEM, "%s",
                  dctx_error_name(attempt.error));
        cr_assert(gate_wait(&attempt.ran, 1));
        finish(&system);
        cr_assert_eq(gate_count(&attempt.ran), 1);
        reached = attempt.reached;
    }
}

Test(alloc, each_allocation_of_a_delayed_message, .init = set_up, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 100);
        dctx_error_t error = DCTX_OK;
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        dctx_ref_t to = spawn(system, "x", reply_big, &gate), there;
        cr_assert_eq(dctx_system_find(system, "x@elsewhere", &there), DCTX_OK);
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(tenant_set("acme"), DCTX_OK);
            arm(nth);
            error =
                dctx_tell_after(nth % 2 == 0 ? there : to, 1000, DCTX_TYPE_STRING, text_200, NULL);
            reached = disarm();
        }
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
        long before = gate_count(&gate);
        cr_assert_eq(dctx_tell_after(to, 0, NULL, NULL, NULL), DCTX_OK, "it works again");
        cr_assert(gate_wait(&gate, before + 1));
        finish(&system);
    }
}

Test(alloc, each_allocation_of_a_spawn, .init = set_up, .timeout = 60)
{
    bool reached = true;
    gate_t gate = GATE_INIT;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 100);
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        dctx_actor_options_t options = {.name = "orders",
                                        .handler = reply_big,
                                        .state = &gate,
                                        .mailbox_limit = 4,
                                        .flags = nth % 2 == 0 ? DCTX_PINNED : 0};
        dctx_ref_t ref = DCTX_REF_NONE;
        arm(nth);
        dctx_error_t error = dctx_spawn(system, &options, &ref);
        reached = disarm();
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
        cr_assert_eq(dctx_ref_is_none(ref), error != DCTX_OK);
        if (error != DCTX_OK)
            cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK, "the name is free again");
        cr_assert_eq(counters(system).actors, 1);
        finish(&system);
    }
}

Test(alloc, each_allocation_of_an_ask_and_its_reply, .init = set_up, .timeout = 120)
{
    gate_t gate = GATE_INIT;
    int quiet = 0;
    /* The reply is made on another thread, so the last ones may be reached in one run and not in
     * the next. */
    for (long nth = 1; quiet < 3; nth++) {
        cr_assert_lt(nth, 200);
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        dctx_ref_t ref = spawn(system, "x", reply_big, &gate);
        dctx_message_t *reply = NULL;
        arm(nth);
        dctx_error_t error = dctx_ask_wait(ref, DCTX_TYPE_STRING, text_200, 0, &reply);
        quiet = disarm() ? 0 : quiet + 1;
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
        if (error == DCTX_OK)
            cr_assert_str_eq(dctx_message_get(reply, DCTX_TYPE_STRING), text_200);
        dctx_message_destroy(&reply);
        cr_assert_eq(dctx_ask_wait(ref, DCTX_TYPE_STRING, "again", 0, &reply), DCTX_OK);
        dctx_message_destroy(&reply);
        finish(&system);
    }
}

Test(alloc, each_allocation_of_a_system, .init = set_up, .timeout = 120)
{
    bool reached = true;
    dctx_interceptor_t stage = {.name = "stage"};
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 200);
        dctx_system_t *system = NULL;
        dctx_system_options_t options = {
            .workers = 2, .interceptors = &stage, .interceptor_count = 1};
        arm(nth);
        dctx_error_t error = dctx_system_new(&options, &system);
        reached = disarm();
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
        cr_assert_eq(system != NULL, error == DCTX_OK);
        if (system != NULL)
            finish(&system);
    }
}

Test(alloc, each_allocation_between_nodes, .init = set_up, .timeout = 240)
{
    gate_t gate = GATE_INIT;
    int quiet = 0;
    for (long nth = 1; quiet < 3; nth += 1) {
        cr_assert_lt(nth, 400);
        dctx_system_t *here = start(&(dctx_system_options_t){.workers = 1, .name = "here"});
        dctx_system_t *there = start(&(dctx_system_options_t){.workers = 1, .name = "there"});
        char *endpoint = NULL;
        dctx_ref_t ref;
        (void)spawn(there, "x", reply_big, &gate);
        cr_assert_eq(dctx_system_bind(there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
        cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
        cr_assert_eq(dctx_system_wait_node(here, "there", WAIT_MS), DCTX_OK);
        cr_assert_eq(dctx_system_find(here, "x@there", &ref), DCTX_OK);
        dctx_message_t *reply = NULL;
        dctx_error_t error = DCTX_OK;
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(tenant_set("acme"), DCTX_OK);
            arm(nth);
            /* Where the other node has no memory for it the ask may be lost;
             * its time ends it then. */
            error = dctx_ask_wait(ref, DCTX_TYPE_STRING, text_200, 1000, &reply);
            quiet = disarm() ? 0 : quiet + 1;
        }
        dctx_message_destroy(&reply);
        if (error != DCTX_OK)
            cr_assert(error == DCTX_ERR_NOMEM || error == DCTX_ERR_TIMEOUT ||
                          error == DCTX_ERR_REJECTED || error == DCTX_ERR_UNREACHABLE,
                      "%s", dctx_error_name(error));
        finish(&here);
        finish(&there);
        dctx_free(endpoint);
    }
}

/* ---- from within a handler ------------------------------------------------------------------- */

/* Tells and asks another in a context that was forked before. */
typedef struct sender {
    dctx_ref_t to;
    long nth;
    bool reached;
    unsigned told, asked;
    unsigned came, ended; /* at the other; back here */
    gate_t sent;
} sender_t;

static dctx_error_t take_it(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    sender_t *sender = state;
    (void)self;
    sender->came++;
    if (!dctx_message_is_ask(message))
        return DCTX_OK;
    return dctx_reply(message, DCTX_TYPE_UINT64, dctx_message_get(message, DCTX_TYPE_UINT64));
}

static void hear_of_it(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                       void *state, void *arg)
{
    (void)self;
    (void)arg;
    cr_assert_eq(status, DCTX_OK);
    cr_assert_not_null(dctx_message_get(reply, DCTX_TYPE_UINT64));
    cr_assert_str_eq(tenant_get_or(""), "acme");
    ((sender_t *)state)->ended++;
}

static dctx_error_t send_some(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    sender_t *sender = state;
    uint64_t value = 1;
    (void)message;
    DCTX_SCOPE("send");
    cr_assert_eq(tenant_set("acme"), DCTX_OK);
    dctx_snapshot_t *fork = NULL;
    cr_assert_eq(dctx_fork(&fork), DCTX_OK);
    dctx_snapshot_unref(&fork);
    arm(sender->nth);
    for (int i = 0; i < 6; i++) {
        dctx_error_t error = i % 2 == 0 ? dctx_tell(sender->to, DCTX_TYPE_UINT64, &value)
                                        : dctx_ask(self, sender->to, DCTX_TYPE_UINT64, &value,
                                                   WAIT_MS, hear_of_it, NULL);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
        unsigned *count = i % 2 == 0 ? &sender->told : &sender->asked;
        *count += error == DCTX_OK;
    }
    sender->reached = disarm();
    gate_pass(&sender->sent);
    return DCTX_OK;
}

Test(alloc, each_allocation_of_sends_within_a_handler, .init = set_up, .timeout = 60)
{
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 100);
        sender_t sender = {.nth = nth, .sent = GATE_INIT};
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        sender.to = spawn(system, "taker", take_it, &sender);
        tell_uint(spawn(system, "sender", send_some, &sender), 0);
        cr_assert(gate_wait(&sender.sent, 1));
        finish(&system);
        cr_assert_eq(sender.came, sender.told + sender.asked);
        cr_assert_eq(sender.ended, sender.asked);
        reached = sender.reached;
    }
}

/* ---- cancelling ------------------------------------------------------------------------------ */

/* Asks the next one, who never answers, and leaves its own asker to its fate. */
typedef struct relay {
    dctx_ref_t next;
    gate_t passed, ended;
} relay_t;

static void relay_end(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                      void *state, void *arg)
{
    (void)self;
    (void)reply;
    (void)arg;
    cr_assert_neq(status, DCTX_OK);
    gate_pass(&((relay_t *)state)->ended);
}

static dctx_error_t relay(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    relay_t *here = state;
    (void)message;
    DCTX_SCOPE("relay");
    dctx_error_t error = dctx_ask(self, here->next, NULL, NULL, 0, relay_end, NULL);
    gate_pass(&here->passed);
    if (error != DCTX_OK)
        gate_pass(&here->ended);
    return error;
}

static dctx_error_t keep_waiting(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    while (!dctx_cancelled())
        (void)sched_yield();
    return dctx_cancel_check();
}

static void count_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)status;
    (void)reply;
    gate_pass(arg);
}

Test(alloc, each_allocation_of_a_cancelled_ask, .init = set_up, .timeout = 120)
{
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 100);
        relay_t state = {.passed = GATE_INIT, .ended = GATE_INIT};
        gate_t ended = GATE_INIT;
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2});
        state.next = spawn(system, "last", keep_waiting, NULL);
        dctx_ref_t ref = spawn(system, "relay", relay, &state);
        dctx_cancel_t *cancel = NULL;
        arm(nth);
        dctx_error_t error = dctx_cancel_new_under(NULL, &cancel);
        if (error == DCTX_OK) {
            DCTX_WITH_SCOPE("edge") {
                error = dctx_cancel_enter(cancel);
                if (error == DCTX_OK)
                    error = dctx_ask_call(ref, NULL, NULL, 0, count_end, &ended);
                if (error == DCTX_OK)
                    cr_assert(gate_wait(&state.passed, 1) || gate_count(&ended) > 0);
                (void)dctx_cancel(cancel, "enough");
            }
        }
        reached = disarm();
        if (error == DCTX_OK)
            cr_assert(gate_wait(&ended, 1));
        else
            cr_assert_eq(error, DCTX_ERR_NOMEM);
        dctx_cancel_unref(&cancel);
        cr_assert(error != DCTX_OK || gate_wait(&state.ended, 1));
        cr_assert_eq(counters(system).asks_in_flight, 0);
        finish(&system);
    }
}

/* ---- retries and hedges ---------------------------------------------------------------------- */

static dctx_error_t refuse_twice(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    int *count = state;
    (void)self;
    return ++*count < 3 ? DCTX_ERR_FULL : dctx_reply(message, DCTX_TYPE_STRING, text_200);
}

static void ask_in_pieces(long nth, bool hedged, bool *ret_reached)
{
    int count = 0;
    gate_t ended = GATE_INIT;
    dctx_test_world_t *world = NULL;
    dctx_hedge_t *hedge = NULL;
    cr_assert_eq(dctx_test_world_new(3, &world), DCTX_OK);
    dctx_system_t *system = start(&(dctx_system_options_t){.world = world});
    dctx_ref_t ref = spawn(system, "x", refuse_twice, &count);
    count = hedged ? 2 : 0;
    arm(nth);
    dctx_error_t error = DCTX_OK;
    DCTX_WITH_SCOPE("edge") {
        if (hedged)
            error = dctx_hedge_new(&(dctx_hedge_options_t){.delay_ms = 1}, &hedge);
        if (hedged && error == DCTX_OK)
            error =
                dctx_ask_hedged_call(ref, DCTX_TYPE_STRING, text_200, 0, hedge, count_end, &ended);
        else if (error == DCTX_OK)
            error =
                dctx_ask_retry_call(ref, DCTX_TYPE_STRING, text_200, 0, NULL, count_end, &ended);
    }
    (void)dctx_test_advance(world, 1000000000);
    *ret_reached = disarm();
    cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
    (void)dctx_test_advance(world, 10000000000);
    cr_assert_eq(gate_count(&ended), error == DCTX_OK);
    cr_assert_eq(counters(system).asks_in_flight, 0);
    dctx_hedge_unref(&hedge);
    finish(&system);
    dctx_test_world_destroy(&world);
}

Test(alloc, each_allocation_of_a_retried_ask, .init = set_up, .timeout = 60)
{
    bool reached = true;
    for (long nth = 1; reached; nth++)
        ask_in_pieces(nth, false, &reached);
}

Test(alloc, each_allocation_of_a_hedged_ask, .init = set_up, .timeout = 60)
{
    bool reached = true;
    for (long nth = 1; reached; nth++)
        ask_in_pieces(nth, true, &reached);
}

static dctx_error_t fail_on_message(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    gate_pass(state);
    if (dctx_message_get(message, DCTX_TYPE_STRING) != NULL)
        dctx_self_fail(self, DCTX_ERR_IO, text_200);
    return DCTX_OK;
}

static void count_down(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    (void)who;
    cr_assert_not_null(exit);
    gate_pass(arg);
}

/* A parent, a child, a monitor, a tie, a failure and a restart: each fails whole, or goes on. */
Test(alloc, each_allocation_of_a_family, .init = set_up, .timeout = 120)
{
    int quiet = 0;
    for (long nth = 1; quiet < 3; nth++) {
        cr_assert_lt(nth, 300);
        gate_t gate = GATE_INIT, ends = GATE_INIT;
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        dctx_ref_t other = spawn(system, "other", reply_big, &gate);
        dctx_ref_t parent = DCTX_REF_NONE, child = DCTX_REF_NONE;
        dctx_supervision_t supervision = {.on_error = DCTX_RESTART};
        dctx_actor_options_t options = {
            .name = "parent", .handler = reply_big, .state = &gate, .supervision = &supervision};
        arm(nth);
        dctx_error_t errors[6] = {dctx_spawn(system, &options, &parent)};
        if (errors[0] == DCTX_OK) {
            options = (dctx_actor_options_t){
                .name = "child", .handler = fail_on_message, .state = &gate, .parent = parent};
            errors[1] = dctx_spawn(system, &options, &child);
        }
        if (errors[0] == DCTX_OK && errors[1] == DCTX_OK) {
            errors[2] = dctx_monitor_call(child, count_down, &ends);
            errors[3] = dctx_tie(child, other, 0);
            errors[4] = dctx_tell(child, DCTX_TYPE_STRING, "fail");
            errors[5] = dctx_tell(child, NULL, NULL);
        }
        bool whole = errors[0] == DCTX_OK && errors[1] == DCTX_OK;
        long told = whole ? (errors[4] == DCTX_OK) + (errors[5] == DCTX_OK) : 0;
        cr_assert(gate_wait(&gate, told) || gate_count(&ends) > 0);
        quiet = disarm() ? 0 : quiet + 1;
        /* A child that was not taken in, for want of memory, has ended or refuses. */
        for (int i = 0; i < 6; i++)
            cr_assert(errors[i] == DCTX_OK || errors[i] == DCTX_ERR_NOMEM ||
                          errors[i] == DCTX_ERR_NO_ACTOR,
                      "%d: %s", i, dctx_error_name(errors[i]));
        finish(&system);
        cr_assert_eq(gate_count(&ends), whole && errors[2] == DCTX_OK);
    }
}

/* A monitor on another node, and the end that it is told of, once, whatever failed;
 * with what is known of it then. */
Test(alloc, each_allocation_of_a_monitor_between_nodes, .init = set_up, .timeout = 120)
{
    int quiet = 0;
    for (long nth = 1; quiet < 3; nth++) {
        cr_assert_lt(nth, 300);
        gate_t gate = GATE_INIT, ends = GATE_INIT;
        dctx_test_world_t *world = NULL;
        char *endpoint = NULL;
        dctx_ref_t far;
        cr_assert_eq(dctx_test_world_new((uint64_t)nth, &world), DCTX_OK);
        dctx_system_t *here = start(&(dctx_system_options_t){.name = "here", .world = world});
        dctx_system_t *there = start(&(dctx_system_options_t){.name = "there", .world = world});
        dctx_ref_t actor = spawn(there, "worker", fail_on_message, &gate);
        cr_assert_eq(dctx_system_bind(there, "tcp://*", &endpoint), DCTX_OK);
        cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
        cr_assert_eq(dctx_system_wait_node(here, "there", 1000), DCTX_OK);
        cr_assert_eq(dctx_system_find(here, "worker@there", &far), DCTX_OK);
        arm(nth);
        dctx_error_t error = dctx_monitor_call(far, count_down, &ends);
        cr_assert(dctx_test_advance(world, 10000000));
        dctx_error_t told = dctx_tell(actor, DCTX_TYPE_STRING, "fail");
        cr_assert(dctx_test_advance(world, 1000000000));
        quiet = disarm() ? 0 : quiet + 1;
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
        cr_assert(told == DCTX_OK || told == DCTX_ERR_NOMEM);
        if (error != DCTX_OK)
            cr_assert_eq(gate_count(&ends), 0);
        else if (told == DCTX_OK)
            cr_assert_eq(gate_count(&ends), 1, "%ld", nth);
        finish(&here);
        cr_assert(dctx_test_advance(world, 10000000000));
        cr_assert_eq(counters(there).remote_monitors, 0);
        finish(&there);
        cr_assert_eq(gate_count(&ends), error == DCTX_OK);
        dctx_free(endpoint);
        dctx_test_world_destroy(&world);
    }
}
