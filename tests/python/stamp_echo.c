/*
 * A socket for tests in other languages.
 *
 *     stamp_echo                  a REP; prints the endpoint to dial
 *     stamp_echo curve DIRECTORY  the same under CURVE, for who is in the directory; prints the
 *                                 endpoint, then the key that it proves to have
 *     stamp_echo ask ENDPOINT [KEY]  a REQ, under CURVE if there is the server's key; prints
 *                                 "CHAIN|TENANT|UNKNOWN ENTRIES" of the answer, and each frame
 *                                 of it in a line
 *
 * A REP answers each message with "CHAIN|TENANT|UNKNOWN ENTRIES|KEY OF THE PEER" and the message's
 * own frames, stamped with the context that came, under the scope "echo"; and ends when told "end".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/transport.h>

static const dctx_key_t *tenant_key;

static void must(dctx_error_t error, const char *what)
{
    if (error == DCTX_OK)
        return;
    fprintf(stderr, "stamp_echo: %s: %s: %s\n", what, dctx_strerror(error), dctx_error_detail());
    exit(1);
}

static char *describe(const dctx_snapshot_t *snapshot)
{
    static char text[1024];
    char chain[512];
    const char *tenant = dctx_snapshot_get(snapshot, tenant_key);
    dctx_snapshot_chain_format(snapshot, chain, sizeof(chain));
    snprintf(text, sizeof(text), "%s|%s|%zu", chain, tenant != NULL ? tenant : "",
             dctx_snapshot_unknown_count(snapshot));
    return text;
}

static void serve(zsock_t *socket)
{
    for (bool end = false; !end;) {
        zmsg_t *message;
        dctx_snapshot_t *snapshot;
        dctx_scope_t scope;
        if (dctx_recv(socket, &message, &snapshot) != DCTX_OK)
            break;
        const dctx_session_t *session = dctx_snapshot_security_session(snapshot);
        zmsg_pushstrf(message, "%s|%s", describe(snapshot),
                      session != NULL ? session->public_key : "");
        zframe_t *last = zmsg_last(message);
        end = zframe_streq(last, "end");
        must(dctx_attach(snapshot, &scope), "attach");
        /* An empty context stays empty: a scope of our own would make one. Who sent it is no
         * context of the sender's. */
        if (dctx_snapshot_chain_length(snapshot) + dctx_snapshot_unknown_count(snapshot) == 0 &&
            dctx_get(tenant_key) == NULL) {
            must(dctx_send(socket, &message), "send");
        } else {
            DCTX_SCOPE("echo");
            must(dctx_send(socket, &message), "send");
        }
        must(dctx_scope_pop(&scope), "detach");
        dctx_snapshot_unref(&snapshot);
    }
}

static void ask(zsock_t *socket)
{
    zmsg_t *message = zmsg_new();
    dctx_snapshot_t *snapshot;
    zmsg_addstr(message, "question");
    DCTX_WITH_SCOPE("asker") {
        must(dctx_set(tenant_key, "acme"), "set");
        must(dctx_send(socket, &message), "send");
    }
    must(dctx_recv(socket, &message, &snapshot), "receive");
    printf("%s\n", describe(snapshot));
    for (zframe_t *frame = zmsg_first(message); frame != NULL; frame = zmsg_next(message))
        printf("%.*s\n", (int)zframe_size(frame), (const char *)zframe_data(frame));
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
}

int main(int argc, char **argv)
{
    const dctx_key_options_t tenant = {.name = "tenant", .type = DCTX_TYPE_STRING};
    const char *mode = argc > 2 ? argv[1] : "";
    zcert_t *own = zcert_new();
    dctx_curve_t *curve = NULL;
    zsock_t *socket = NULL;
    zsys_handler_set(NULL);
    must(dctx_registry_add(NULL, &tenant, &tenant_key), "register");
    if (strcmp(mode, "curve") == 0)
        must(dctx_session_register(NULL), "register");
    must(dctx_registry_freeze(NULL), "freeze");
    if (strcmp(mode, "ask") == 0) {
        if (argc > 3)
            must(dctx_curve_client(ZMQ_REQ, argv[2], own, argv[3], NULL, &socket), "connect");
        else
            must(dctx_insecure_client(ZMQ_REQ, argv[2], NULL, &socket), "connect");
        zsock_set_rcvtimeo(socket, 10000);
        ask(socket);
    } else {
        if (strcmp(mode, "curve") == 0) {
            must(dctx_curve_new("test", argv[2], &curve), "directory");
            must(dctx_curve_server(curve, ZMQ_REP, "tcp://127.0.0.1:*", own, NULL, &socket),
                 "bind");
        } else {
            must(dctx_insecure_server(ZMQ_REP, "tcp://127.0.0.1:*", NULL, &socket), "bind");
        }
        printf("%s\n%s\n", zsock_endpoint(socket), curve != NULL ? zcert_public_txt(own) : "");
        fflush(stdout);
        serve(socket);
    }
    zsock_destroy(&socket);
    dctx_curve_destroy(&curve);
    zcert_destroy(&own);
    return 0;
}
