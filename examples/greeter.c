/*
 * greeter.c - the smallest program of two processes: one has an actor, the other asks it over tcp.
 *
 * The asker sets a request id. Nothing hands it on, and the actor in the other process reads it.
 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dcontext/actors.h>

#include "must.h"

DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)

static dctx_error_t on_name(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    const char *name = dctx_message_get(message, DCTX_TYPE_STRING);
    if (name == NULL)
        return dctx_reply_error(message, DCTX_ERR_TYPE, "a name is wanted");
    char chain[128], text[256];
    dctx_chain_format(chain, sizeof(chain));
    snprintf(text, sizeof(text), "hello %s, for request %s, by way of %s", name,
             request_id_get_or("?"), chain);
    return dctx_reply(message, DCTX_TYPE_STRING, text);
}

/* Tells where it listens, and serves until its input ends. */
static int serve(int input, int output)
{
    dctx_system_options_t options = {.name = "greeters"};
    dctx_actor_options_t greeter = {.name = "greeter", .handler = on_name};
    dctx_system_t *system;
    dctx_ref_t ref;
    char *endpoint;
    must(dctx_system_new(&options, &system));
    must(dctx_spawn(system, &greeter, &ref));
    must(dctx_system_bind(system, "tcp://127.0.0.1:*", &endpoint));
    dprintf(output, "%s", endpoint);
    close(output);
    dctx_free(endpoint);

    char byte;
    while (read(input, &byte, 1) > 0)
        continue;
    dctx_system_destroy(&system);
    return 0;
}

static void ask(const char *endpoint)
{
    dctx_system_t *system;
    dctx_ref_t greeter;
    must(dctx_system_new(NULL, &system));
    must(dctx_system_connect(system, "greeters", endpoint));
    must(dctx_system_wait_node(system, "greeters", 10000));
    must(dctx_system_find(system, "greeter@greeters", &greeter));
    DCTX_WITH_SCOPE("front-door") {
        must(request_id_set("r-17"));
        dctx_message_t *reply;
        must(dctx_ask_wait(greeter, DCTX_TYPE_STRING, "Ada", 10000, &reply));
        const char *text = dctx_message_get(reply, DCTX_TYPE_STRING);
        puts(text != NULL ? text : "the answer is of another type");
        dctx_message_destroy(&reply);
    }
    dctx_system_destroy(&system);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &request_id));
    must(dctx_registry_freeze(NULL));

    int to_server[2], from_server[2];
    if (pipe(to_server) != 0 || pipe(from_server) != 0)
        return 1;
    pid_t server = fork(); /* before there is a thread */
    if (server < 0)
        return 1;
    if (server == 0) {
        close(to_server[1]);
        close(from_server[0]);
        return serve(to_server[0], from_server[1]);
    }
    close(to_server[0]);
    close(from_server[1]);

    char endpoint[128] = "";
    size_t size = 0;
    for (ssize_t more;
         size < sizeof(endpoint) - 1 &&
         (more = read(from_server[0], endpoint + size, sizeof(endpoint) - 1 - size)) > 0;)
        size += (size_t)more;
    close(from_server[0]);
    ask(endpoint);
    close(to_server[1]); /* its input ends */
    int status;
    return waitpid(server, &status, 0) == server ? status : 1;
}
