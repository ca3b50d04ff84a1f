/*
 * actor_propagation.c - a request goes through three actors, the last on another node, and its context goes
 * with it. No actor hands it on.
 *
 * Inside the process an actor sees all that the sender saw; between nodes only what is for others travels.
 * Two requests that are under way at the same time do not see each other's, and between requests an actor
 * has no context at all.
 */
#include <stdio.h>

#include <dcontext/actors.h>

#include "must.h"

DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)
DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)
DCTX_KEY_STRING(session, "session", DCTX_LOCAL) /* stays in the process */

/* What this place sees. */
static void look(const char *who, char *text, size_t size)
{
    char chain[256];
    dctx_chain_format(chain, sizeof(chain));
    snprintf(text, size, "%-8s request %s, tenant %s, session %s\n         by way of %s\n", who,
             request_id_get_or("-"), tenant_get_or("-"), session_get_or("-"), chain);
}

/* ---- the three: each looks, asks the next one, and adds what that saw ---- */

typedef struct stage {
    const char *name;
    dctx_ref_t next; /* none: the last */
} stage_t;

/* What is to be done when the next one has answered. */
typedef struct pending {
    dctx_reply_to_t *asker;
    char seen[512];
} pending_t;

static void on_answer(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                      void *state, void *arg)
{
    (void)self;
    (void)state;
    pending_t *pending = arg;
    char text[2048];
    if (status == DCTX_OK) {
        snprintf(text, sizeof(text), "%s%s", pending->seen,
                 (const char *)dctx_message_get(reply, DCTX_TYPE_STRING));
        must(dctx_reply_to_send(&pending->asker, DCTX_TYPE_STRING, text));
    } else {
        must(dctx_reply_to_error(&pending->asker, status, dctx_message_reason(reply)));
    }
    free(pending);
}

static dctx_error_t on_request(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const stage_t *stage = state;
    pending_t *pending = calloc(1, sizeof(*pending));
    if (pending == NULL)
        return DCTX_ERR_NOMEM;
    look(stage->name, pending->seen, sizeof(pending->seen));
    dctx_error_t error = dctx_ref_is_none(stage->next)
                             ? dctx_reply(message, DCTX_TYPE_STRING, pending->seen)
                             : dctx_reply_defer(message, &pending->asker);
    if (error == DCTX_OK && pending->asker != NULL) {
        error = dctx_ask(self, stage->next, NULL, NULL, 10000, on_answer, pending);
        if (error == DCTX_OK)
            return DCTX_OK; /* the answer has it now */
        must(dctx_reply_to_error(&pending->asker, error, NULL));
    }
    free(pending);
    return error;
}

static dctx_ref_t spawn(dctx_system_t *system, stage_t *stage)
{
    dctx_ref_t ref;
    dctx_actor_options_t options = {.name = stage->name, .handler = on_request, .state = stage};
    must(dctx_spawn(system, &options, &ref));
    return ref;
}

/* ---- two requests, both under way before either is answered ---- */

static dctx_future_t *request(dctx_ref_t gateway, const char *id, const char *who)
{
    dctx_future_t *answer = NULL;
    DCTX_WITH_SCOPE("front-door") {
        must(request_id_set(id));
        must(tenant_set(who));
        must(session_set("s-17"));
        must(dctx_ask_future(gateway, NULL, NULL, DCTX_TYPE_STRING, 10000, &answer));
    }
    return answer;
}

static void show(dctx_future_t *answer)
{
    dctx_result_t result;
    must(dctx_future_wait(answer, 10000, &result));
    must(result.error);
    fputs(result.value, stdout);
    dctx_future_unref(&answer);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &request_id, &tenant, &session));
    must(dctx_registry_freeze(NULL));

    dctx_system_t *shop, *warehouse;
    must(dctx_system_new(&(dctx_system_options_t){.name = "shop"}, &shop));
    must(dctx_system_new(&(dctx_system_options_t){.name = "warehouse"}, &warehouse));
    char *endpoint;
    must(dctx_system_bind(warehouse, "tcp://127.0.0.1:*", &endpoint));
    must(dctx_system_connect(shop, "warehouse", endpoint));
    must(dctx_system_wait_node(shop, "warehouse", 10000));
    dctx_free(endpoint);

    stage_t stock = {.name = "stock"}, orders = {.name = "orders"}, gateway = {.name = "gateway"};
    (void)spawn(warehouse, &stock);
    must(dctx_system_find(shop, "stock@warehouse", &orders.next));
    gateway.next = spawn(shop, &orders);
    dctx_ref_t first = spawn(shop, &gateway);

    dctx_future_t *a = request(first, "r-1", "acme"), *b = request(first, "r-2", "globex");
    show(a);
    show(b);

    puts("and without a context:");
    dctx_message_t *reply;
    must(dctx_ask_wait(first, NULL, NULL, 10000, &reply));
    fputs(dctx_message_get(reply, DCTX_TYPE_STRING), stdout);
    dctx_message_destroy(&reply);

    dctx_system_destroy(&shop);
    dctx_system_destroy(&warehouse);
    return 0;
}
