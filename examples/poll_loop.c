/* A plain poll() loop, as libuv and others are inside: the socket's descriptor says that something
 * changed, and then everything that is there is read, each message in its own context. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <czmq.h>
#include <dcontext/transport.h>

#include "must.h"

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)

static dctx_error_t on_order(zmsg_t **message_p, void *arg)
{
    char chain[64];
    int *left = arg;
    char *order = zmsg_popstr(*message_p);
    dctx_chain_format(chain, sizeof(chain));
    printf("%s for %s in %s\n", order, tenant_get_or("nobody"), chain);
    zstr_free(&order);
    --*left;
    return DCTX_OK;
}

static void send_order(zsock_t *to, const char *order)
{
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, order);
    must(dctx_send(to, &message));
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &tenant));
    must(dctx_registry_freeze(NULL));
    zsock_t *out = zsock_new_push("@inproc://orders"), *in = zsock_new_pull(">inproc://orders");
    DCTX_WITH_SCOPE("shop") {
        must(tenant_set("acme"));
        send_order(out, "apples");
        must(tenant_set("umbrella"));
        send_order(out, "pears");
    }

    int left = 2;
    struct pollfd ready = {.fd = (int)zsock_fd(in), .events = POLLIN};
    /* The descriptor tells of changes only: look at the socket before each wait. */
    while (left > 0) {
        while (zsock_events(in) & ZMQ_POLLIN)
            must(dctx_recv_call(in, "worker", on_order, &left));
        if (left > 0)
            poll(&ready, 1, -1);
    }
    zsock_destroy(&in);
    zsock_destroy(&out);
    return 0;
}
