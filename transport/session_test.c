/* Who sent it: the contexts that are set on receipt, for the sockets that can know. */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/transport.h>

static void init(void)
{
    cr_assert_eq(dctx_session_register(NULL), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

static zsock_t *new_socket(int type)
{
    zsock_t *socket = zsock_new(type);
    cr_assert_not_null(socket);
    zsock_set_rcvtimeo(socket, 10000);
    return socket;
}

static dctx_snapshot_t *receive(void *socket)
{
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    cr_assert_eq(dctx_recv(socket, &message, &snapshot), DCTX_OK, "%s", dctx_error_detail());
    zmsg_destroy(&message);
    return snapshot;
}

static dctx_snapshot_t *receive_frames(void *socket)
{
    dctx_frames_t frames;
    dctx_snapshot_t *snapshot;
    dctx_frames_init(&frames);
    cr_assert_eq(dctx_frames_recv(socket, &frames, &snapshot), DCTX_OK, "%s", dctx_error_detail());
    dctx_frames_finish(&frames);
    return snapshot;
}

Test(session, the_upstream_address_is_the_connections, .init = init)
{
    char directory[] = "/tmp/dctx-session-XXXXXX", endpoint[64], start[32];
    cr_assert_not_null(mkdtemp(directory));
    snprintf(endpoint, sizeof(endpoint), "ipc://%s/x", directory);
    snprintf(start, sizeof(start), "localhost:%d:", (int)getuid());
    const char *const cases[][2] = {
        {"tcp://127.0.0.1:*", "127.0.0.1"}, {endpoint, start}, {"inproc://session", NULL}};
    for (int i = 0; i < 3; i++) {
        zsock_t *pull = new_socket(ZMQ_PULL), *push = new_socket(ZMQ_PUSH);
        cr_assert_neq(zsock_bind(pull, "%s", cases[i][0]), -1);
        cr_assert_eq(zsock_connect(push, "%s", zsock_endpoint(pull)), 0);
        for (int way = 0; way < 4; way++) {
            DCTX_SCOPE(way % 2 == 0 ? "stamped" : NULL);
            zmsg_t *message = zmsg_new();
            zmsg_addstr(message, "hello");
            cr_assert_eq(dctx_send(push, &message), DCTX_OK);
            dctx_snapshot_t *snapshot = way < 2 ? receive(pull) : receive_frames(pull);
            const char *address = dctx_snapshot_upstream_address(snapshot);
            if (cases[i][1] == NULL)
                cr_assert_null(address);
            else
                cr_assert(address != NULL &&
                              strncmp(address, cases[i][1], strlen(cases[i][1])) == 0,
                          "%s", address);
            cr_assert_null(dctx_snapshot_security_session(snapshot));
            cr_assert_eq(dctx_snapshot_chain_length(snapshot), (size_t)(way % 2 == 0));
            dctx_snapshot_unref(&snapshot);
        }
        zsock_destroy(&push);
        zsock_destroy(&pull);
    }
    rmdir(directory);
}

Test(session, is_read_from_the_thread_and_stays_in_the_process, .init = init)
{
    zsock_t *pull = new_socket(ZMQ_PULL), *push = new_socket(ZMQ_PUSH);
    cr_assert_neq(zsock_bind(pull, "tcp://127.0.0.1:*"), -1);
    cr_assert_eq(zsock_connect(push, "%s", zsock_endpoint(pull)), 0);
    zstr_send(push, "hello");
    zmsg_t *message;
    dctx_scope_t scope;
    cr_assert_null(dctx_upstream_address());
    cr_assert_eq(dctx_recv_attach(pull, NULL, &message, &scope), DCTX_OK);
    cr_assert_str_eq(dctx_upstream_address(), "127.0.0.1");
    cr_assert_null(dctx_security_session());
    cr_assert_null(dctx_peer_certificate_key());
    cr_assert_null(dctx_peer_certificate_metadata("role"));
    /* Sent on: nothing of it leaves, so there is no stamp. */
    cr_assert_eq(dctx_send(push, &message), DCTX_OK);
    message = zmsg_recv(pull);
    cr_assert_eq(zmsg_size(message), 1);
    zmsg_destroy(&message);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    cr_assert_null(dctx_upstream_address());
    zsock_destroy(&push);
    zsock_destroy(&pull);
}

/* A peer's word for itself is not taken. */
Test(session, cannot_be_claimed_in_a_stamp, .init = init)
{
    static const char stamp[] = "\xd7"
                                "dctx\x01\x93\x01\x90\x91\x93\xad"
                                "dctx.upstream\x01\xc4\x05\xa4root";
    zsock_t *pull = new_socket(ZMQ_PULL), *push = new_socket(ZMQ_PUSH);
    cr_assert_neq(zsock_bind(pull, "inproc://claimed"), -1);
    cr_assert_eq(zsock_connect(push, "inproc://claimed"), 0);
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, "hello");
    zmsg_addmem(message, stamp, sizeof(stamp) - 1);
    cr_assert_eq(zmsg_send(&message, push), 0);
    dctx_snapshot_t *snapshot = receive(pull);
    cr_assert_null(dctx_snapshot_upstream_address(snapshot));
    dctx_snapshot_unref(&snapshot);
    zsock_destroy(&push);
    zsock_destroy(&pull);
}

Test(session, behind_a_proxy_it_is_absent, .init = init)
{
    /* What a proxy does, step by step. */
    zsock_t *push = new_socket(ZMQ_PUSH), *pull = new_socket(ZMQ_PULL);
    cr_assert_neq(zsock_bind(pull, "inproc://behind"), -1);
    zsock_t *front = new_socket(ZMQ_PULL), *back = new_socket(ZMQ_PUSH);
    cr_assert_neq(zsock_bind(front, "tcp://127.0.0.1:*"), -1);
    cr_assert_eq(zsock_connect(push, "%s", zsock_endpoint(front)), 0);
    cr_assert_eq(zsock_connect(back, "inproc://behind"), 0);
    DCTX_SCOPE("gateway");
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, "hello");
    cr_assert_eq(dctx_send(push, &message), DCTX_OK);
    message = zmsg_recv(front);
    cr_assert_eq(zmsg_send(&message, back), 0);
    dctx_snapshot_t *snapshot = receive(pull);
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    cr_assert_null(dctx_snapshot_upstream_address(snapshot));
    cr_assert_null(dctx_snapshot_security_session(snapshot));
    dctx_snapshot_unref(&snapshot);
    zsock_destroy(&push);
    zsock_destroy(&pull);
    zsock_destroy(&front);
    zsock_destroy(&back);
}

/* A proxy that runs, between sockets of all kinds of transport. Over inproc nothing is known by
 * itself; over tcp the connection is the proxy's, and only a policy can say so. */
Test(session, behind_a_running_proxy_it_is_absent, .init = init)
{
    static const char *const backs[] = {"inproc://session-back", "tcp://127.0.0.1:*"};
    dctx_policy_t *policy;
    char directory[] = "/tmp/dctx-session-XXXXXX";
    cr_assert_not_null(mkdtemp(directory));
    cr_assert_eq(dctx_policy_new(&(dctx_policy_options_t){.proxied = true}, &policy), DCTX_OK);
    for (int i = 0; i < 2; i++) {
        zsock_t *pull = new_socket(ZMQ_PULL), *push = new_socket(ZMQ_PUSH);
        cr_assert_neq(zsock_bind(pull, "%s", backs[i]), -1);
        zactor_t *proxy = zactor_new(zproxy, NULL);
        char endpoint[80];
        snprintf(endpoint, sizeof(endpoint), "@ipc://%s/front%d", directory, i);
        zstr_sendx(proxy, "FRONTEND", "PULL", endpoint, NULL);
        cr_assert_eq(zsock_wait(proxy), 0);
        cr_assert_eq(zsock_connect(push, "%s", endpoint + 1), 0);
        snprintf(endpoint, sizeof(endpoint), ">%s", zsock_endpoint(pull));
        zstr_sendx(proxy, "BACKEND", "PUSH", endpoint, NULL);
        cr_assert_eq(zsock_wait(proxy), 0);
        dctx_port_t *behind;
        cr_assert_eq(dctx_port_new(pull, policy, &behind), DCTX_OK);
        for (int way = 0; way < 4; way++) {
            DCTX_SCOPE(way % 2 == 0 ? "gateway" : NULL);
            zmsg_t *message = zmsg_new();
            zmsg_addstr(message, "hello");
            cr_assert_eq(dctx_send(push, &message), DCTX_OK);
            void *socket = i == 0 ? (void *)pull : (void *)behind;
            dctx_snapshot_t *snapshot = way < 2 ? receive(socket) : receive_frames(socket);
            cr_assert_null(dctx_snapshot_upstream_address(snapshot));
            cr_assert_null(dctx_snapshot_security_session(snapshot));
            /* Who is behind a proxy is a stranger, whose chain is not believed. */
            cr_assert_eq(dctx_snapshot_chain_length(snapshot), (size_t)(i == 0 && way % 2 == 0));
            dctx_snapshot_unref(&snapshot);
        }
        cr_assert_eq(dctx_socket_class(behind), DCTX_CLASS_STRANGER);
        dctx_port_destroy(&behind);
        zsock_destroy(&push);
        zactor_destroy(&proxy);
        zsock_destroy(&pull);
        snprintf(endpoint, sizeof(endpoint), "%s/front%d", directory, i);
        unlink(endpoint);
    }
    rmdir(directory);
    dctx_policy_unref(&policy);
}

/* ---- under CURVE ----------------------------------------------------------------------------- */

typedef struct secured {
    zactor_t *auth;
    zcert_t *server;
    zcert_t *client;
    zsock_t *router;
    zsock_t *dealer;
    char directory[32];
    char file[64];
} secured_t;

static secured_t secure(bool enforced)
{
    secured_t all = {zactor_new(zauth, NULL),
                     zcert_new(),
                     zcert_new(),
                     new_socket(ZMQ_ROUTER),
                     new_socket(ZMQ_DEALER),
                     "/tmp/dctx-session-XXXXXX",
                     ""};
    int on = 1;
    cr_assert_not_null(mkdtemp(all.directory));
    snprintf(all.file, sizeof(all.file), "%s/client", all.directory);
    zcert_set_meta(all.client, "name", "warehouse");
    cr_assert_eq(zcert_save_public(all.client, all.file), 0);
    zstr_sendx(all.auth, "CURVE", all.directory, NULL);
    zsock_wait(all.auth);
    zsock_set_zap_domain(all.router, "test");
    if (enforced)
        cr_assert_eq(zmq_setsockopt(zsock_resolve(all.router), 93, &on, sizeof(on)), 0);
    zcert_apply(all.server, all.router);
    zsock_set_curve_server(all.router, 1);
    zcert_apply(all.client, all.dealer);
    zsock_set_curve_serverkey(all.dealer, zcert_public_txt(all.server));
    cr_assert_neq(zsock_bind(all.router, "tcp://127.0.0.1:*"), -1);
    cr_assert_eq(zsock_connect(all.dealer, "%s", zsock_endpoint(all.router)), 0);
    return all;
}

static void drop(secured_t *all)
{
    zsock_destroy(&all->router);
    zsock_destroy(&all->dealer);
    zactor_destroy(&all->auth);
    zcert_destroy(&all->server);
    zcert_destroy(&all->client);
    unlink(all->file);
    rmdir(all->directory);
}

Test(session, under_curve_the_server_knows_the_clients_key, .init = init)
{
    secured_t all = secure(true);
    zstr_send(all.dealer, "hello");
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    cr_assert_eq(dctx_recv(all.router, &message, &snapshot), DCTX_OK);
    const dctx_session_t *session = dctx_snapshot_security_session(snapshot);
    cr_assert_not_null(session);
    cr_assert_eq(session->mechanism, DCTX_MECHANISM_CURVE);
    cr_assert_str_eq(session->public_key, zcert_public_txt(all.client));
    cr_assert_str_eq(session->user_id, zcert_public_txt(all.client));
    cr_assert_null(dctx_session_metadata(session, "role"));
    dctx_snapshot_unref(&snapshot);
    /* The client knows that it is encrypted; the server's key is its own to know. */
    cr_assert_eq(zmsg_send(&message, all.router), 0);
    snapshot = receive(all.dealer);
    session = dctx_snapshot_security_session(snapshot);
    cr_assert_not_null(session);
    cr_assert_str_eq(session->public_key, "");
    dctx_snapshot_unref(&snapshot);
    drop(&all);
}

/* Without enforcing, libzmq lets clients in when no handler is there, and then repeats what they
 * call themselves. */
Test(session, what_nobody_vouches_for_is_not_told, .init = init)
{
    secured_t all = secure(false);
    zstr_send(all.dealer, "hello");
    dctx_snapshot_t *snapshot = receive(all.router);
    const dctx_session_t *session = dctx_snapshot_security_session(snapshot);
    cr_assert_not_null(session);
    cr_assert_str_eq(session->public_key, "");
    cr_assert_str_eq(session->user_id, "");
    dctx_snapshot_unref(&snapshot);
    drop(&all);
}

/* ---- a peer that lies in the handshake ------------------------------------------------------- */

static void put(int fd, const void *data, size_t size)
{
    cr_assert_eq(write(fd, data, size), (ssize_t)size);
}

static size_t property(char *out, const char *name, const char *value)
{
    size_t n = strlen(name), v = strlen(value), at = 0;
    out[at++] = (char)n;
    memcpy(out + at, name, n);
    at += n;
    uint32_t size = htonl((uint32_t)v);
    memcpy(out + at, &size, 4);
    at += 4;
    memcpy(out + at, value, v);
    return at + v;
}

/* ZMTP 3.0 with the NULL mechanism, and properties that are libzmq's to set. */
Test(session, a_claim_in_the_handshake_is_not_believed, .init = init)
{
    zsock_t *pull = new_socket(ZMQ_PULL);
    int port = zsock_bind(pull, "tcp://127.0.0.1:*");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    char greeting[64] = "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL";
    put(fd, greeting, sizeof(greeting));
    char theirs[64];
    cr_assert_eq(recv(fd, theirs, sizeof(theirs), MSG_WAITALL), (ssize_t)sizeof(theirs));
    char ready[256] = "\4\0\5READY";
    size_t size = 8;
    size += property(ready + size, "Socket-Type", "PUSH");
    size += property(ready + size, "Peer-Address", "203.0.113.9");
    size += property(ready + size, "User-Id", "root");
    ready[1] = (char)(size - 2);
    put(fd, ready, size);
    put(fd, "\0\5hello", 7);
    dctx_snapshot_t *snapshot = receive(pull);
    cr_assert_str_eq(dctx_snapshot_upstream_address(snapshot), "127.0.0.1");
    cr_assert_null(dctx_snapshot_security_session(snapshot));
    dctx_snapshot_unref(&snapshot);
    close(fd);
    zsock_destroy(&pull);
}
