/* The other process of process_test.c: a node "peer" that says its endpoint, then serves until its
 * standard input ends. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <dcontext/actors.h>

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)

/* Answers with its chain and tenant: what the other process cannot know otherwise. */
static dctx_error_t answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    char text[512];
    (void)self;
    (void)state;
    size_t length = dctx_chain_format(text, sizeof text);
    if (length < sizeof text)
        snprintf(text + length, sizeof text - length, "|%s|%d", tenant_get_or(""), (int)getpid());
    return dctx_reply(message, DCTX_TYPE_STRING, text);
}

/* Never answers, and tells the other node's actor "counter" that it was asked. */
static dctx_error_t hold(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    dctx_ref_t counter;
    dctx_reply_to_t *reply_to = NULL;
    (void)state;
    dctx_error_t error = dctx_reply_defer(message, &reply_to);
    if (error == DCTX_OK)
        error = dctx_system_find(dctx_self_system(self), "counter@tester", &counter);
    if (error == DCTX_OK)
        error = dctx_tell(counter, DCTX_TYPE_STRING, "held");
    return error;
}

/* Fails with what it is told. */
static dctx_error_t fail(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)state;
    dctx_self_fail(self, DCTX_ERR_IO, dctx_message_get(message, DCTX_TYPE_STRING));
    return DCTX_OK;
}

int main(int argc, char **argv)
{
    dctx_system_t *system = NULL;
    char *endpoint = NULL, byte;
    dctx_ref_t ref;
    dctx_system_options_t options = {.name = "peer", .workers = 2, .dead_after_ms = 60000};
    dctx_actor_options_t answers = {.name = "answers", .handler = answer};
    dctx_actor_options_t fails = {.name = "fails", .handler = fail};
    dctx_actor_options_t holds = {.name = "holds", .handler = hold};
    if (argc != 2 || DCTX_REGISTER_KEYS(NULL, &tenant) != DCTX_OK ||
        dctx_registry_freeze(NULL) != DCTX_OK || dctx_system_new(&options, &system) != DCTX_OK ||
        dctx_spawn(system, &answers, &ref) != DCTX_OK ||
        dctx_spawn(system, &holds, &ref) != DCTX_OK ||
        dctx_spawn(system, &fails, &ref) != DCTX_OK ||
        dctx_system_bind(system, argv[1], &endpoint) != DCTX_OK) {
        fprintf(stderr, "process_peer: %s\n", dctx_error_detail());
        return 1;
    }
    printf("%s\n", endpoint);
    fflush(stdout);
    while (read(0, &byte, 1) > 0) {
    }
    dctx_free(endpoint);
    dctx_error_t error = dctx_system_stop(system, 2000, NULL);
    dctx_system_destroy(&system);
    return error == DCTX_OK ? 0 : 2;
}
