#include "future.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* ---- asking ---------------------------------------------------------------------------------- */

/* Answers with one more; keeps the right to answer what is 0. */
typedef struct server {
    gate_t asked;
    dctx_reply_to_t *kept;
} server_t;

static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    server_t *server = state;
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    const char *text = dctx_message_get(message, DCTX_TYPE_STRING);
    (void)self;
    if (text != NULL)
        return strcmp(text, "fail") == 0 ? dctx_reply_error(message, DCTX_ERR_FULL, "no room")
                                         : dctx_reply(message, DCTX_TYPE_STRING, text);
    if (value == NULL)
        return DCTX_OK;
    if (*value == 0) {
        dctx_error_t error = dctx_reply_defer(message, &server->kept);
        gate_pass(&server->asked);
        return error;
    }
    uint64_t more = *value + 1;
    return dctx_reply(message, DCTX_TYPE_UINT64, &more);
}

static dctx_future_t *ask(dctx_ref_t to, const dctx_type_t *type, const void *value,
                          const dctx_type_t *reply_type)
{
    dctx_future_t *future = NULL;
    dctx_error_t error = dctx_ask_future(to, type, value, reply_type, WAIT_MS, &future);
    cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), dctx_error_detail());
    return future;
}

static dctx_result_t wait_for(dctx_future_t *future)
{
    dctx_result_t result;
    cr_assert_eq(dctx_future_wait(future, WAIT_MS, &result), DCTX_OK);
    return result;
}

static dctx_error_t add_one(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    uint64_t more = *(const uint64_t *)result->value + 1;
    cr_assert_str_eq(tenant_get_or("nobody"), arg);
    return dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, &more);
}

Test(future_actor, a_reply_is_a_future, .init = fixture_init, .timeout = 60)
{
    server_t server = {.asked = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t to = spawn(system, "server", serve, &server);
    uint64_t one = 1;
    static char long_text[300], acme[] = "acme";
    memset(long_text, 'x', sizeof long_text - 1);
    dctx_future_t *value = ask(to, DCTX_TYPE_UINT64, &one, DCTX_TYPE_UINT64), *mapped = NULL;
    DCTX_WITH_SCOPE("mapping") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_future_map(value, NULL, add_one, acme, &mapped), DCTX_OK);
    }
    cr_assert_eq(*(const uint64_t *)wait_for(value).value, 2);
    cr_assert_eq(*(const uint64_t *)wait_for(mapped).value, 3);
    dctx_future_unref(&value);
    dctx_future_unref(&mapped);
    value = ask(to, DCTX_TYPE_STRING, long_text, DCTX_TYPE_STRING);
    cr_assert_str_eq(wait_for(value).value, long_text);
    dctx_future_unref(&value);
    value = ask(to, DCTX_TYPE_STRING, "hello", NULL);
    cr_assert_eq(wait_for(value).error, DCTX_OK);
    cr_assert_null(wait_for(value).value);
    dctx_future_unref(&value);
    value = ask(to, DCTX_TYPE_STRING, "hello", DCTX_TYPE_UINT64);
    cr_assert_eq(wait_for(value).error, DCTX_ERR_TYPE);
    cr_assert_str_eq(wait_for(value).reason, "the reply is of type \"string\", not \"uint64\"");
    dctx_future_unref(&value);
    value = ask(to, DCTX_TYPE_STRING, "fail", DCTX_TYPE_STRING);
    cr_assert_eq(wait_for(value).error, DCTX_ERR_FULL);
    cr_assert_str_eq(wait_for(value).reason, "no room");
    dctx_future_unref(&value);
    value = ask(to, NULL, NULL, NULL);
    cr_assert_eq(wait_for(value).error, DCTX_ERR_NO_REPLY);
    dctx_future_unref(&value);
    finish(&system);
}

Test(future_actor, an_ask_that_fails_at_once_leaves_nothing, .init = fixture_init, .timeout = 60)
{
    dctx_system_t *system = start(NULL);
    server_t server = {.asked = GATE_INIT};
    dctx_future_t *future = NULL;
    dctx_ref_t to = spawn(system, "server", serve, &server);
    cr_assert_eq(dctx_ask_future(DCTX_REF_NONE, NULL, NULL, NULL, 0, &future), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_ask_future(to, NULL, NULL, NULL, 0, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_ask_future(to, DCTX_TYPE_UINT64, NULL, NULL, 0, &future), DCTX_ERR_INVALID);
    cr_assert_null(future);
    finish(&system);
}

Test(future_actor, cancelling_ends_the_ask, .init = fixture_init, .timeout = 60)
{
    server_t server = {.asked = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t to = spawn(system, "server", serve, &server);
    uint64_t zero = 0;
    static char nobody[] = "nobody";
    dctx_future_t *future = ask(to, DCTX_TYPE_UINT64, &zero, DCTX_TYPE_UINT64), *mapped = NULL;
    cr_assert_eq(dctx_future_map(future, NULL, add_one, nobody, &mapped), DCTX_OK);
    cr_assert(gate_wait(&server.asked, 1));
    cr_assert_eq(counters(system).asks_in_flight, 1);
    dctx_future_cancel(mapped, "changed my mind");
    cr_assert_eq(counters(system).asks_in_flight, 0);
    cr_assert_eq(wait_for(mapped).error, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(wait_for(mapped).reason, "changed my mind");
    cr_assert_eq(wait_for(future).error, DCTX_ERR_CANCELLED);
    /* What comes late is nobody's. */
    cr_assert_eq(dctx_reply_to_send(&server.kept, DCTX_TYPE_UINT64, &zero), DCTX_OK);
    dctx_future_cancel(future, "again");
    dctx_future_unref(&future);
    dctx_future_unref(&mapped);
    finish(&system);
}

Test(future_actor, a_future_may_outlive_its_system, .init = fixture_init, .timeout = 60)
{
    server_t server = {.asked = GATE_INIT};
    uint64_t zero = 0;
    dctx_system_t *system = start(NULL);
    dctx_ref_t to = spawn(system, "server", serve, &server);
    dctx_future_t *future = ask(to, DCTX_TYPE_UINT64, &zero, DCTX_TYPE_UINT64);
    cr_assert(gate_wait(&server.asked, 1));
    dctx_reply_to_destroy(&server.kept);
    cr_assert_eq(wait_for(future).error, DCTX_ERR_NO_REPLY);
    dctx_future_unref(&future);
    future = ask(to, DCTX_TYPE_UINT64, &zero, DCTX_TYPE_UINT64);
    cr_assert(gate_wait(&server.asked, 2));
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    dctx_reply_to_destroy(&server.kept);
    finish(&system);
    cr_assert_eq(wait_for(future).error, DCTX_ERR_STOPPED);
    dctx_future_cancel(future, "late");
    dctx_future_unref(&future);
}

Test(future_actor, waiting_drives_a_test_world, .init = fixture_init, .timeout = 60)
{
    server_t server = {.asked = GATE_INIT};
    dctx_test_world_t *world = NULL;
    dctx_future_t *future = NULL, *mapped = NULL;
    uint64_t one = 1, zero = 0;
    static char nobody[] = "nobody";
    cr_assert_eq(dctx_test_world_new(7, &world), DCTX_OK);
    dctx_system_t *system = start(&(dctx_system_options_t){.world = world});
    dctx_ref_t to = spawn(system, "server", serve, &server);
    future = ask(to, DCTX_TYPE_UINT64, &one, DCTX_TYPE_UINT64);
    cr_assert_eq(dctx_future_map(future, NULL, add_one, nobody, &mapped), DCTX_OK);
    cr_assert_eq(*(const uint64_t *)wait_for(mapped).value, 3);
    dctx_future_unref(&future);
    dctx_future_unref(&mapped);
    /* By the world's time: an hour is over at once. */
    cr_assert_eq(dctx_ask_future(to, DCTX_TYPE_UINT64, &zero, NULL, 2 * 3600000, &future), DCTX_OK);
    cr_assert_eq(dctx_future_wait(future, 3600000, NULL), DCTX_ERR_TIMEOUT);
    dctx_result_t result;
    cr_assert_eq(dctx_future_wait(future, -1, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_TIMEOUT);
    dctx_reply_to_destroy(&server.kept);
    dctx_future_unref(&future);
    finish(&system);
    dctx_test_world_destroy(&world);
}

/* ---- going on as an actor -------------------------------------------------------------------- */

typedef struct going_on {
    dctx_future_t *future;
    gate_t attached, done;
    uint64_t value;
    dctx_error_t error, waited;
    char chain[128], tenant[32], reason[64];
    bool own_turn;
} going_on_t;

static void on_result(dctx_actor_t *self, const dctx_result_t *result, void *state, void *arg)
{
    going_on_t *on = arg;
    const uint64_t *value = dctx_result_get(result, DCTX_TYPE_UINT64);
    on->value = value == NULL ? 0 : *value;
    on->error = result->error;
    on->own_turn = state == on && strcmp(dctx_self_name(self), "worker") == 0;
    snprintf(on->chain, sizeof on->chain, "%s", chain());
    snprintf(on->tenant, sizeof on->tenant, "%s", tenant_get_or("nobody"));
    snprintf(on->reason, sizeof on->reason, "%s", result->reason);
    gate_pass(&on->done);
}

static dctx_error_t go_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    going_on_t *on = state;
    (void)message;
    on->waited = dctx_future_wait(on->future, 0, NULL);
    dctx_error_t error = dctx_future_then_actor(self, on->future, on_result, on);
    gate_pass(&on->attached);
    return error;
}

static void tell_go_on(dctx_system_t *system, going_on_t *on)
{
    dctx_ref_t to = spawn(system, "worker", go_on, on);
    DCTX_WITH_SCOPE("shop") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_tell(to, NULL, NULL), DCTX_OK);
    }
    cr_assert(gate_wait(&on->attached, 1));
}

Test(future_actor, an_actor_goes_on_in_its_own_turn_and_context, .init = fixture_init,
     .timeout = 60)
{
    going_on_t on = {.attached = GATE_INIT, .done = GATE_INIT};
    dctx_promise_t *promise = NULL;
    uint64_t value = 12;
    dctx_system_t *system = start(NULL);
    cr_assert_eq(dctx_promise_new(&promise, &on.future), DCTX_OK);
    tell_go_on(system, &on);
    DCTX_WITH_SCOPE("elsewhere") {
        cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_UINT64, &value), DCTX_OK);
    }
    cr_assert(gate_wait(&on.done, 1));
    cr_assert_eq(on.waited, DCTX_ERR_INVALID, "a worker must not wait");
    cr_assert_eq(on.error, DCTX_OK);
    cr_assert_eq(on.value, 12);
    cr_assert(on.own_turn);
    cr_assert_str_eq(on.chain, "shop > actor:worker");
    cr_assert_str_eq(on.tenant, "acme");
    dctx_future_unref(&on.future);
    cr_assert_eq(counters(system).asks, 0, "it is no ask");
    finish(&system);
}

Test(future_actor, an_actor_hears_of_what_has_ended_already, .init = fixture_init, .timeout = 60)
{
    going_on_t on = {.attached = GATE_INIT, .done = GATE_INIT};
    dctx_promise_t *promise = NULL;
    dctx_system_t *system = start(NULL);
    cr_assert_eq(dctx_promise_new(&promise, &on.future), DCTX_OK);
    cr_assert_eq(dctx_promise_fail(&promise, DCTX_ERR_IO, "broken"), DCTX_OK);
    tell_go_on(system, &on);
    cr_assert(gate_wait(&on.done, 1));
    cr_assert_eq(on.error, DCTX_ERR_IO);
    cr_assert_str_eq(on.reason, "broken");
    dctx_future_unref(&on.future);
    finish(&system);
}

Test(future_actor, an_actor_hears_that_the_system_stops, .init = fixture_init, .timeout = 60)
{
    going_on_t on = {.attached = GATE_INIT, .done = GATE_INIT};
    dctx_promise_t *promise = NULL;
    dctx_system_t *system = start(NULL);
    cr_assert_eq(dctx_promise_new(&promise, &on.future), DCTX_OK);
    tell_go_on(system, &on);
    finish(&system);
    cr_assert_eq(gate_count(&on.done), 1);
    cr_assert_eq(on.error, DCTX_ERR_STOPPED);
    /* The next system may have the address of the one that is gone, and the first ask its
     * number. */
    server_t server = {.asked = GATE_INIT};
    uint64_t zero = 0;
    system = start(NULL);
    dctx_ref_t to = spawn(system, "server", serve, &server);
    dctx_future_t *other = ask(to, DCTX_TYPE_UINT64, &zero, DCTX_TYPE_UINT64);
    cr_assert(gate_wait(&server.asked, 1));
    dctx_promise_destroy(&promise);
    cr_assert_eq(counters(system).asks_in_flight, 1);
    dctx_future_unref(&on.future);
    dctx_future_unref(&other);
    dctx_reply_to_destroy(&server.kept);
    finish(&system);
}

static dctx_error_t stop_self(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    dctx_error_t error = go_on(self, message, state);
    dctx_self_stop(self);
    return error;
}

Test(future_actor, an_actor_that_has_gone_hears_nothing, .init = fixture_init, .timeout = 60)
{
    going_on_t on = {.attached = GATE_INIT, .done = GATE_INIT};
    dctx_promise_t *promise = NULL;
    uint64_t value = 1;
    dctx_system_t *system = start(NULL);
    cr_assert_eq(dctx_promise_new(&promise, &on.future), DCTX_OK);
    dctx_ref_t to = spawn(system, "worker", stop_self, &on);
    cr_assert_eq(dctx_tell(to, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&on.attached, 1));
    cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_UINT64, &value), DCTX_OK);
    dctx_future_unref(&on.future);
    finish(&system);
    cr_assert_eq(gate_count(&on.done), 0);
}

static void pass(void *arg)
{
    gate_pass(arg);
}

Test(future_actor, what_only_an_actor_waited_for_is_cancelled_with_it, .init = fixture_init,
     .timeout = 60)
{
    going_on_t on = {.attached = GATE_INIT, .done = GATE_INIT};
    gate_t told = GATE_INIT;
    dctx_promise_t *promise = NULL;
    dctx_result_t result;
    dctx_system_t *system = start(NULL);
    cr_assert_eq(dctx_promise_new(&promise, &on.future), DCTX_OK);
    cr_assert_eq(dctx_promise_on_cancel(promise, pass, &told), DCTX_OK);
    dctx_ref_t to = spawn(system, "worker", stop_self, &on);
    cr_assert_eq(dctx_tell(to, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&told, 1));
    dctx_promise_destroy(&promise);
    cr_assert_eq(dctx_future_result(on.future, &result), DCTX_OK);
    cr_assert_eq(result.error, DCTX_ERR_CANCELLED);
    dctx_future_unref(&on.future);
    finish(&system);
    cr_assert_eq(gate_count(&on.done), 0);
}

/* Asks and pools together: each request is an ask, then work on a pool, then a turn of the
 * actor. */
typedef struct load {
    dctx_ref_t server;
    dctx_executor_t *pool;
    gate_t done;
    _Atomic(unsigned) wrong;
} load_t;

static dctx_error_t on_pool(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    load_t *load = arg;
    const uint64_t *value = dctx_result_get(result, DCTX_TYPE_UINT64);
    if (value == NULL || *value != request_get_or(0) + 1)
        load->wrong++;
    return dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, value);
}

static void on_turn(dctx_actor_t *self, const dctx_result_t *result, void *state, void *arg)
{
    load_t *load = state;
    const uint64_t *value = dctx_result_get(result, DCTX_TYPE_UINT64);
    (void)self;
    (void)arg;
    if (value == NULL || *value != request_get_or(0) + 1)
        load->wrong++;
    gate_pass(&load->done);
}

static dctx_error_t begin_request(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    load_t *load = state;
    uint64_t number = request_get_or(0);
    dctx_future_t *reply = NULL, *mapped = NULL;
    (void)message;
    dctx_error_t error =
        dctx_ask_future(load->server, DCTX_TYPE_UINT64, &number, DCTX_TYPE_UINT64, WAIT_MS, &reply);
    if (error == DCTX_OK)
        error = dctx_future_map(reply, load->pool, on_pool, load, &mapped);
    if (error == DCTX_OK)
        error = dctx_future_then_actor(self, mapped, on_turn, NULL);
    dctx_future_unref(&reply);
    dctx_future_unref(&mapped);
    return error;
}

Test(future_actor, asks_pools_and_turns_keep_their_contexts_apart, .init = fixture_init,
     .timeout = 100)
{
    enum { MANY = 2000 };
    load_t load = {.done = GATE_INIT};
    server_t server = {.asked = GATE_INIT};
    dctx_system_t *system = start(NULL);
    cr_assert_eq(dctx_taskpool_new(&(dctx_taskpool_options_t){.threads = 2}, &load.pool), DCTX_OK);
    load.server = spawn(system, "server", serve, &server);
    dctx_ref_t worker = spawn(system, "worker", begin_request, &load);
    for (uint64_t i = 1; i <= MANY; i++) {
        DCTX_WITH_SCOPE("request") {
            cr_assert_eq(request_set(i), DCTX_OK);
            cr_assert_eq(dctx_tell(worker, NULL, NULL), DCTX_OK);
        }
    }
    cr_assert(gate_wait(&load.done, MANY));
    cr_assert_eq(load.wrong, 0);
    finish(&system);
    cr_assert_eq(dctx_executor_stop(load.pool, WAIT_MS, NULL), DCTX_OK);
    dctx_executor_destroy(&load.pool);
}
