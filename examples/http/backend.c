/*
 * backend - a node with one actor, "greeter", that answers with what its context tells it.
 *
 * Prints "listening ENDPOINT"; ends with its standard input.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include <dcontext/actors.h>

#include "keys.h"

static json_t *describe(const char *name)
{
    char chain[256], trace_id[33] = "";
    const dctx_trace_t *trace = dctx_trace_get();
    if (trace != NULL)
        snprintf(trace_id, sizeof(trace_id), "%016llx%016llx",
                 (unsigned long long)trace->trace_high, (unsigned long long)trace->trace_low);
    dctx_chain_format(chain, sizeof(chain));
    int64_t left = dctx_deadline_left();
    return json_pack("{s:s, s:s*, s:s, s:s, s:b}", "hello", name, "tenant", tenant_get(), "trace",
                     trace_id, "path", chain, "has_deadline", left != DCTX_NO_DEADLINE);
}

static dctx_error_t greet(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    const char *name = dctx_message_get(message, DCTX_TYPE_STRING);
    if (name == NULL)
        return DCTX_ERR_TYPE;
    json_t *answer = describe(name);
    char *text = answer != NULL ? json_dumps(answer, JSON_SORT_KEYS) : NULL;
    json_decref(answer);
    if (text == NULL)
        return DCTX_ERR_INVALID; /* a name that is not UTF-8 */
    dctx_error_t error = dctx_reply(message, DCTX_TYPE_STRING, text);
    free(text);
    return error;
}

int main(void)
{
    dctx_system_t *system = NULL;
    dctx_ref_t greeter;
    char *endpoint = NULL;
    dctx_error_t error = keys_register();
    if (error == DCTX_OK)
        error = dctx_system_new(&(dctx_system_options_t){.name = "backend"}, &system);
    if (error == DCTX_OK)
        error = dctx_spawn(system, &(dctx_actor_options_t){.name = "greeter", .handler = greet},
                           &greeter);
    if (error == DCTX_OK)
        error = dctx_system_bind(system, "tcp://127.0.0.1:*", &endpoint);
    if (error == DCTX_OK) {
        printf("listening %s\n", endpoint);
        fflush(stdout);
        while (getchar() != EOF)
            continue;
    } else {
        fprintf(stderr, "backend: %s (%s)\n", dctx_strerror(error), dctx_error_detail());
    }
    dctx_free(endpoint);
    dctx_system_destroy(&system);
    return error == DCTX_OK ? 0 : 1;
}
