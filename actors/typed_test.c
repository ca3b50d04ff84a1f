/* Messages with a C type. What must not compile is tested where that is tested:
 * tests/actors/compile. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

typedef struct order {
    char item[32];
    int count;
} order_t;

static const dctx_type_t order_type = {.name = "shop.order", .size = sizeof(order_t)};

static void free_text(void *value)
{
    free(*(char **)value);
}

typedef char *text_t;
static const dctx_type_t text_type = {
    .name = "shop.text", .size = sizeof(text_t), .destroy = free_text};

DCTX_MESSAGE(order, order_t, &order_type)
DCTX_MESSAGE(text, text_t, &text_type)
DCTX_MESSAGE_STRING(name)
DCTX_MESSAGE_BYTES(blob)
DCTX_MESSAGE_BOOL(flag)
DCTX_MESSAGE_INT64(balance)
DCTX_MESSAGE_UINT64(number)
DCTX_MESSAGE_DOUBLE(price)

typedef struct seen {
    gate_t gate;
    char log[512], chain[128];
} seen_t;

static dctx_error_t answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    seen_t *seen = state;
    (void)self;
    strcpy(seen->chain, chain());
    dctx_error_t error = DCTX_OK;
    text_t mine = NULL;
    if (text_take(message, &mine) == DCTX_OK) {
        strcat(seen->log, mine);
        free(mine);
    } else if (order_get(message) != NULL) {
        order_t twice = *order_get(message);
        twice.count *= 2;
        strcat(seen->log, twice.item);
        error = dctx_message_is_ask(message) ? order_reply(message, &twice) : DCTX_OK;
    } else if (name_get(message) != NULL) {
        cr_assert_eq(name_get(message), dctx_message_string(message));
        error = name_reply(message, name_get(message));
    } else if (blob_get(message) != NULL) {
        cr_assert_eq(blob_get(message), dctx_message_bytes(message));
        error = blob_reply(message, blob_get(message));
    } else if (flag_get(message) != NULL) {
        cr_assert_eq(flag_get(message), dctx_message_bool(message));
        error = flag_reply(message, !*flag_get(message));
    } else if (balance_get(message) != NULL) {
        cr_assert_eq(balance_get(message), dctx_message_int64(message));
        error = balance_reply(message, -*balance_get(message));
    } else if (number_get(message) != NULL) {
        cr_assert_eq(number_get(message), dctx_message_uint64(message));
        error = number_reply(message, *number_get(message) + 1);
    } else if (price_get(message) != NULL) {
        cr_assert_eq(price_get(message), dctx_message_double(message));
        error = price_reply(message, *price_get(message) / 2);
    }
    gate_pass(&seen->gate);
    return error;
}

Test(typed, goes_and_comes_back_as_what_it_is, .init = fixture_init, .timeout = 30)
{
    seen_t seen = {.gate = GATE_INIT};
    dctx_message_t *reply = NULL;
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "shop", answer, &seen);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(order_ask_wait(ref, &(order_t){"tea", 2}, 0, &reply), DCTX_OK);
        cr_assert_eq(order_get(reply)->count, 4);
        cr_assert_null(name_get(reply));
        dctx_message_destroy(&reply);
    }
    cr_assert_str_eq(seen.chain, "edge > actor:shop");
    cr_assert_eq(name_ask_wait(ref, "ada", 0, &reply), DCTX_OK);
    cr_assert_str_eq(name_get(reply), "ada");
    cr_assert_null(order_get(reply));
    dctx_message_destroy(&reply);
    cr_assert_eq(blob_ask_wait(ref, &(dctx_bytes_t){"abc", 3}, 0, &reply), DCTX_OK);
    cr_assert_eq(blob_get(reply)->size, 3);
    dctx_message_destroy(&reply);
    cr_assert_eq(flag_ask_wait(ref, true, 0, &reply), DCTX_OK);
    cr_assert(!*flag_get(reply));
    dctx_message_destroy(&reply);
    cr_assert_eq(balance_ask_wait(ref, -7, 0, &reply), DCTX_OK);
    cr_assert_eq(*balance_get(reply), 7);
    dctx_message_destroy(&reply);
    cr_assert_eq(number_ask_wait(ref, 41, 0, &reply), DCTX_OK);
    cr_assert_eq(*number_get(reply), 42);
    dctx_message_destroy(&reply);
    cr_assert_eq(price_ask_wait(ref, 0.5, 0, &reply), DCTX_OK);
    cr_assert_float_eq(*price_get(reply), 0.25, 1e-9);
    dctx_message_destroy(&reply);

    text_t text = strdup("+text");
    cr_assert_eq(text_tell_take(ref, &text), DCTX_OK);
    cr_assert_null(text);
    dctx_group_sent_t sent;
    cr_assert_eq(dctx_group_join(system, "shops", ref), DCTX_OK);
    cr_assert_eq(order_group_tell(system, "shops", &(order_t){"+milk", 1}, &sent), DCTX_OK);
    cr_assert_eq(sent.delivered, 1);
    cr_assert_eq(order_tell(ref, &(order_t){"+cups", 6}), DCTX_OK);
    cr_assert(gate_wait(&seen.gate, 10));
    cr_assert_str_eq(seen.log, "tea+text+milk+cups");
    finish(&system);
}

static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    seen_t *seen = arg;
    (void)self;
    (void)state;
    cr_assert_eq(status, DCTX_OK);
    cr_assert_eq(*number_get(reply), 8);
    gate_pass(&seen->gate);
}

static dctx_error_t ask_seven(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    dctx_ref_t shop;
    cr_assert_eq(dctx_system_find(dctx_self_system(self), "shop", &shop), DCTX_OK);
    return number_ask(self, shop, 7, 0, on_reply, state);
}

Test(typed, actors_ask_each_other, .init = fixture_init, .timeout = 30)
{
    seen_t seen = {.gate = GATE_INIT};
    dctx_system_t *system = start(NULL);
    (void)spawn(system, "shop", answer, &seen);
    cr_assert_eq(name_tell(spawn(system, NULL, ask_seven, &seen), "go"), DCTX_OK);
    cr_assert(gate_wait(&seen.gate, 2));
    finish(&system);
}
