/*
 * A REP socket for tests in other languages: it answers each message with "CHAIN|TENANT|UNKNOWN ENTRIES" and the
 * message's own frames, stamped with the context that came, under the scope "echo". Prints the endpoint
 * to dial; ends when told "end".
 */
#include <stdio.h>
#include <stdlib.h>

#include <dcontext/transport.h>

static void must(dctx_error_t error, const char *what)
{
    if (error == DCTX_OK)
        return;
    fprintf(stderr, "stamp_echo: %s: %s: %s\n", what, dctx_strerror(error), dctx_error_detail());
    exit(1);
}

int main(void)
{
    const dctx_key_options_t tenant = {.name = "tenant", .type = DCTX_TYPE_STRING};
    const dctx_key_t *tenant_key;
    must(dctx_registry_add(NULL, &tenant, &tenant_key), "register");
    must(dctx_registry_freeze(NULL), "freeze");
    zsock_t *socket = zsock_new_rep("tcp://127.0.0.1:*");
    if (socket == NULL)
        return 1;
    printf("%s\n", zsock_endpoint(socket));
    fflush(stdout);
    for (bool end = false; !end;) {
        zmsg_t *message;
        dctx_snapshot_t *snapshot;
        dctx_scope_t scope;
        char chain[512];
        if (dctx_recv(socket, &message, &snapshot) != DCTX_OK)
            break;
        must(dctx_attach(snapshot, &scope), "attach");
        dctx_chain_format(chain, sizeof(chain));
        const char *value = dctx_get(tenant_key);
        zmsg_pushstrf(message, "%s|%s|%zu", chain, value != NULL ? value : "",
                      dctx_snapshot_unknown_count(snapshot));
        zframe_t *last = zmsg_last(message);
        end = zframe_streq(last, "end");
        /* An empty context stays empty: a scope of our own would make one. */
        if (dctx_snapshot_is_empty(snapshot)) {
            must(dctx_send(socket, &message), "send");
        } else {
            DCTX_SCOPE("echo");
            must(dctx_send(socket, &message), "send");
        }
        must(dctx_scope_pop(&scope), "detach");
        dctx_snapshot_unref(&snapshot);
    }
    zsock_destroy(&socket);
    return 0;
}
