/*
 * supervision.c - actors that fail, and what their supervisor makes of it.
 *
 * A till takes payments; on a card that it cannot read it fails. Its supervisor restarts it: with a new
 * state, but the same address, name and mailbox, so that whoever sends to it notices nothing. When it
 * fails too often the supervisor gives up, and somebody who watches hears why, to the very first cause.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <dcontext/actors.h>

#include "must.h"

/* ---- a till: counts what it took since it was started ---- */

static dctx_error_t new_till(void *seed, void **ret_state)
{
    (void)seed;
    *ret_state = calloc(1, sizeof(uint64_t));
    return *ret_state != NULL ? DCTX_OK : DCTX_ERR_NOMEM;
}

static dctx_error_t open_till(dctx_actor_t *self, void *state)
{
    (void)state;
    printf("%s opens\n", dctx_self_name(self));
    return DCTX_OK;
}

static void close_till(dctx_actor_t *self, void *state)
{
    const uint64_t *taken = state;
    char why[256];
    dctx_exit_format(dctx_self_exit(self), why, sizeof(why));
    printf("%s closes with %" PRIu64 " taken (%s)\n", dctx_self_name(self), *taken, why);
}

static dctx_error_t on_payment(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    uint64_t *taken = state;
    const uint64_t *amount = dctx_message_get(message, DCTX_TYPE_UINT64);
    if (amount == NULL)
        return dctx_reply_error(message, DCTX_ERR_TYPE, "an amount is wanted");
    if (*amount == 0) {
        dctx_self_fail(self, DCTX_ERR_IO, "the card cannot be read");
        return DCTX_OK;
    }
    *taken += *amount;
    return dctx_reply(message, DCTX_TYPE_UINT64, taken);
}

/* ---- its supervisor: at most two restarts in a minute ---- */

static dctx_error_t start_till(dctx_actor_t *self, void *state)
{
    dctx_actor_options_t till = {.name = "till",
                                 .handler = on_payment,
                                 .new_state = new_till,
                                 .destroy_state = free,
                                 .on_start = open_till,
                                 .on_stop = close_till};
    return dctx_spawn_child(self, &till, state);
}

static dctx_error_t no_messages(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    return dctx_reply_error(message, DCTX_ERR_REJECTED, "supervisors take no messages");
}

/* ---- a customer, from outside ---- */

static void pay(dctx_ref_t till, uint64_t amount)
{
    dctx_message_t *reply;
    must(dctx_ask_wait(till, DCTX_TYPE_UINT64, &amount, 10000, &reply));
    printf("paid %" PRIu64 ", in all %" PRIu64 "\n", amount,
           *(const uint64_t *)dctx_message_get(reply, DCTX_TYPE_UINT64));
    dctx_message_destroy(&reply);
}

/* With a card that cannot be read. Who asked would get the failure as the answer. */
static void try_to_pay(dctx_ref_t till)
{
    static const uint64_t nothing = 0;
    DCTX_WITH_SCOPE("shop")
        must(dctx_tell(till, DCTX_TYPE_UINT64, &nothing));
}

int main(void)
{
    dctx_system_t *system;
    dctx_ref_t supervisor, till;
    dctx_exit_t *why;
    must(dctx_registry_freeze(NULL));
    must(dctx_system_new(NULL, &system));

    dctx_supervision_t spec = {.max_restarts = 2, .window_ms = 60000};
    dctx_actor_options_t options = {.name = "manager",
                                    .handler = no_messages,
                                    .state = &till,
                                    .on_start = start_till,
                                    .supervision = &spec};
    must(dctx_spawn(system, &options, &supervisor));
    /* It refuses, but by then it has started, and the till is known. */
    dctx_message_t *reply;
    if (dctx_ask_wait(supervisor, NULL, NULL, 10000, &reply) != DCTX_ERR_REJECTED)
        return 1;
    dctx_message_destroy(&reply);

    pay(till, 5);
    pay(till, 7);
    for (int i = 0; i < 2; i++) {
        try_to_pay(till);
        pay(till, 3); /* waits for the new one */
    }
    try_to_pay(till);
    must(dctx_await_end(supervisor, 10000, &why));
    char text[512];
    dctx_exit_format(why, text, sizeof(text));
    printf("%s\n", text);
    dctx_exit_unref(&why);
    dctx_system_destroy(&system);
    return 0;
}
