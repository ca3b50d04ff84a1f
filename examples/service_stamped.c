/* A CZMQ service and its client: service_plain.c as they were, service_stamped.c with context. */
#include <czmq.h>
#include <dcontext/transport.h>
#include <stdio.h>

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)

static void price(zsock_t *pipe, void *endpoint)
{
    zsock_t *socket = zsock_new_rep(endpoint);
    zsock_signal(pipe, socket == NULL);
    zmsg_t *message;
    DCTX_RECEIVED(request);
    if (dctx_recv_attach(socket, "price", &message, &request) == DCTX_OK) {
        printf("pricing %s for %s\n", (char *)zframe_data(zmsg_first(message)), tenant_get());
        zmsg_addstr(message, "42");
        zmsg_send(&message, socket);
    }
    char *term = zstr_recv(pipe);
    zstr_free(&term);
    zsock_destroy(&socket);
}

static char endpoint[] = "@inproc://prices";

int main(void)
{
    if (DCTX_REGISTER_KEYS(NULL, &tenant) != DCTX_OK || dctx_registry_freeze(NULL) != DCTX_OK ||
        tenant_set("acme") != DCTX_OK)
        return 1;
    zactor_t *service = zactor_new(price, endpoint);
    zsock_t *socket = zsock_new_req(">inproc://prices");
    zmsg_t *message = zmsg_new();
    zmsg_addmem(message, "apples", sizeof("apples"));
    if (dctx_send(socket, &message) != DCTX_OK)
        return 1;
    message = zmsg_recv(socket);
    printf("got %zu frames\n", zmsg_size(message));
    zmsg_destroy(&message);
    zsock_destroy(&socket);
    zactor_destroy(&service);
    return 0;
}
