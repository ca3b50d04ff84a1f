/* Sockets under CURVE: who gets in, who does not, and what is set that is easy to forget. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/transport.h>

static char directory[64];
static zcert_t *server_cert, *alice, *mallory;
static dctx_curve_t *curve;

static void path_of(const char *name, char *ret, size_t size)
{
    snprintf(ret, size, "%s/%s", directory, name);
}

static void admit(zcert_t *cert, const char *name)
{
    char path[128];
    path_of(name, path, sizeof(path));
    cr_assert_eq(zcert_save_public(cert, path), 0);
}

static void take_out(const char *name)
{
    char path[128];
    path_of(name, path, sizeof(path));
    cr_assert_eq(unlink(path), 0);
}

static void init(void)
{
    cr_assert_eq(dctx_session_register(NULL), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    strcpy(directory, "/tmp/dctx-secure-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    server_cert = zcert_new();
    alice = zcert_new();
    mallory = zcert_new();
    zcert_set_meta(alice, "name", "alice");
    zcert_set_meta(alice, "role", "clerk");
    admit(alice, "alice");
    cr_assert_eq(dctx_curve_new("shop", directory, &curve), DCTX_OK, "%s", dctx_error_detail());
}

static void fini(void)
{
    dctx_curve_destroy(&curve);
    zcert_destroy(&server_cert);
    zcert_destroy(&alice);
    zcert_destroy(&mallory);
    zdir_t *dir = zdir_new(directory, NULL);
    zdir_remove(dir, true);
    zdir_destroy(&dir);
}

static zsock_t *server(int type)
{
    zsock_t *socket;
    cr_assert_eq(dctx_curve_server(curve, type, "tcp://127.0.0.1:*", server_cert, NULL, &socket),
                 DCTX_OK, "%s", dctx_error_detail());
    zsock_set_rcvtimeo(socket, 10000);
    return socket;
}

static zsock_t *client(zsock_t *to, zcert_t *cert)
{
    zsock_t *socket;
    cr_assert_eq(dctx_curve_client(ZMQ_DEALER, zsock_endpoint(to), cert,
                                   zcert_public_txt(server_cert), NULL, &socket),
                 DCTX_OK, "%s", dctx_error_detail());
    zsock_set_rcvtimeo(socket, 10000);
    return socket;
}

static int option(zsock_t *socket, int name)
{
    int value = -2;
    size_t size = sizeof(value);
    cr_assert_eq(zmq_getsockopt(zsock_resolve(socket), name, &value, &size), 0);
    return value;
}

/* The connection ended in the handshake: waits for libzmq to say so. */
static void check_kept_out(zsock_t *from, zsock_t *at)
{
    zactor_t *monitor = zactor_new(zmonitor, from);
    zstr_sendx(monitor, "LISTEN", "DISCONNECTED", "HANDSHAKE_FAILED_NO_DETAIL",
               "HANDSHAKE_FAILED_PROTOCOL", "HANDSHAKE_FAILED_AUTH", "CLOSED", NULL);
    zstr_send(monitor, "START");
    zsock_wait(monitor);
    cr_assert_eq(zsock_connect(from, "%s", zsock_endpoint(at)), 0);
    zstr_send(from, "let me in");
    zsock_set_rcvtimeo(monitor, 10000);
    char *event = zstr_recv(monitor);
    cr_assert_not_null(event, "nothing happened");
    zstr_free(&event);
    zactor_destroy(&monitor);
}

/* After the others were kept out, the only message that came is Alice's. */
static void check_only_alice(zsock_t *at)
{
    zsock_t *friend = client(at, alice);
    zstr_send(friend, "it is me");
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    cr_assert_eq(dctx_recv(at, &message, &snapshot), DCTX_OK, "%s", dctx_error_detail());
    cr_assert(zframe_streq(zmsg_last(message), "it is me"));
    const dctx_session_t *session = dctx_snapshot_security_session(snapshot);
    cr_assert_not_null(session);
    cr_assert_str_eq(session->public_key, zcert_public_txt(alice));
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    zsock_destroy(&friend);
}

Test(secure, a_client_in_the_directory_gets_in, .init = init, .fini = fini)
{
    zsock_t *router = server(ZMQ_ROUTER);
    check_only_alice(router);
    zsock_destroy(&router);
}

Test(secure, what_is_easy_to_forget_is_set, .init = init, .fini = fini)
{
    zsock_t *router = server(ZMQ_ROUTER), *dealer = client(router, alice);
    zsock_t *both[] = {router, dealer};
    for (int i = 0; i < 2; i++) {
        int64_t bytes = 0;
        size_t size = sizeof(bytes);
        cr_assert_eq(zmq_getsockopt(zsock_resolve(both[i]), ZMQ_MAXMSGSIZE, &bytes, &size), 0);
        cr_assert_eq(bytes, 1 << 20);
        cr_assert_eq(option(both[i], ZMQ_HEARTBEAT_IVL), 1000);
        cr_assert_eq(option(both[i], ZMQ_HEARTBEAT_TIMEOUT), 3000);
        cr_assert_eq(option(both[i], ZMQ_HANDSHAKE_IVL), 10000);
        cr_assert_eq(option(both[i], ZMQ_LINGER), 1000);
        cr_assert_eq(option(both[i], ZMQ_SNDTIMEO), 5000);
        cr_assert_eq(option(both[i], ZMQ_MECHANISM), ZMQ_CURVE);
    }
    cr_assert_eq(option(router, ZMQ_CURVE_SERVER), 1);
    cr_assert_eq(option(router, 93), 1, "the domain is enforced");
    char domain[64];
    size_t size = sizeof(domain);
    cr_assert_eq(zmq_getsockopt(zsock_resolve(router), ZMQ_ZAP_DOMAIN, domain, &size), 0);
    cr_assert_str_eq(domain, "shop");
    zsock_destroy(&router);
    zsock_destroy(&dealer);
    const dctx_socket_settings_t own = {.message_bytes = 100,
                                        .heartbeat_ms = -1,
                                        .handshake_ms = 50,
                                        .linger_ms = -1,
                                        .send_ms = 7};
    cr_assert_eq(dctx_insecure_server(ZMQ_PULL, "inproc://own", &own, &router), DCTX_OK);
    cr_assert_eq(option(router, ZMQ_HEARTBEAT_IVL), 0);
    cr_assert_eq(option(router, ZMQ_HANDSHAKE_IVL), 50);
    cr_assert_eq(option(router, ZMQ_LINGER), -1);
    cr_assert_eq(option(router, ZMQ_SNDTIMEO), 7);
    zsock_destroy(&router);
}

Test(secure, nobody_else_gets_anything, .init = init, .fini = fini)
{
    zsock_t *router = server(ZMQ_ROUTER);
    /* Without security. */
    zsock_t *null = zsock_new(ZMQ_DEALER);
    check_kept_out(null, router);
    /* With a password. */
    zsock_t *plain = zsock_new(ZMQ_DEALER);
    zsock_set_plain_username(plain, "alice");
    zsock_set_plain_password(plain, "secret");
    check_kept_out(plain, router);
    /* With a key that nobody knows. */
    zsock_t *unknown = zsock_new(ZMQ_DEALER);
    zcert_apply(mallory, unknown);
    zsock_set_curve_serverkey(unknown, zcert_public_txt(server_cert));
    check_kept_out(unknown, router);
    /* With Alice's public key, and not her secret one. */
    zsock_t *thief = zsock_new(ZMQ_DEALER);
    zsock_set_curve_publickey(thief, zcert_public_txt(alice));
    zsock_set_curve_secretkey(thief, zcert_secret_txt(mallory));
    zsock_set_curve_serverkey(thief, zcert_public_txt(server_cert));
    check_kept_out(thief, router);
    check_only_alice(router);
    zsock_destroy(&null);
    zsock_destroy(&plain);
    zsock_destroy(&unknown);
    zsock_destroy(&thief);
    zsock_destroy(&router);
}

Test(secure, certificates_come_and_go_without_a_restart, .init = init, .fini = fini)
{
    zsock_t *router = server(ZMQ_ROUTER);
    admit(mallory, "mallory");
    zsock_t *admitted = client(router, mallory);
    zstr_send(admitted, "now I may");
    zmsg_t *message = zmsg_recv(router);
    cr_assert_not_null(message);
    zmsg_destroy(&message);
    zsock_destroy(&admitted);
    take_out("mallory");
    zsock_t *revoked = zsock_new(ZMQ_DEALER);
    zcert_apply(mallory, revoked);
    zsock_set_curve_serverkey(revoked, zcert_public_txt(server_cert));
    check_kept_out(revoked, router);
    check_only_alice(router);
    zsock_destroy(&revoked);
    zsock_destroy(&router);
}

Test(secure, a_policy_knows_metadata_and_who_was_revoked, .init = init, .fini = fini)
{
    zsock_t *router = server(ZMQ_ROUTER), *dealer = client(router, alice);
    dctx_policy_t *policy;
    dctx_port_t *port;
    cr_assert_eq(dctx_policy_new(&(dctx_policy_options_t){.curve = curve}, &policy), DCTX_OK);
    cr_assert_eq(dctx_port_new(router, policy, &port), DCTX_OK);
    zmsg_t *message = NULL;
    dctx_snapshot_t *snapshot;
    zstr_send(dealer, "hello");
    cr_assert_eq(dctx_recv(port, &message, &snapshot), DCTX_OK, "%s", dctx_error_detail());
    const dctx_session_t *session = dctx_snapshot_security_session(snapshot);
    cr_assert_str_eq(dctx_session_metadata(session, "name"), "alice");
    cr_assert_str_eq(dctx_session_metadata(session, "role"), "clerk");
    cr_assert_null(dctx_session_metadata(session, "rank"));
    cr_assert_null(dctx_session_metadata(NULL, "name"));
    cr_assert_null(dctx_session_metadata(session, NULL));
    DCTX_WITH_SNAPSHOT(snapshot) {
        cr_assert_str_eq(dctx_peer_certificate_key(), zcert_public_txt(alice));
        cr_assert_str_eq(dctx_peer_certificate_metadata("role"), "clerk");
        cr_assert_null(dctx_peer_certificate_metadata("rank"));
    }
    dctx_snapshot_unref(&snapshot);
    zmsg_t *answer = zmsg_new();
    zframe_t *id = zmsg_pop(message);
    zmsg_append(answer, &id);
    zmsg_destroy(&message);
    /* On the connection that is there. What the directory said holds for a second. */
    take_out("alice");
    dctx_error_t error = DCTX_OK;
    int64_t until = zclock_mono() + 10000;
    while (error == DCTX_OK && zclock_mono() < until) {
        zstr_send(dealer, "still here");
        error = dctx_recv(port, &message, &snapshot);
        if (error == DCTX_OK)
            dctx_snapshot_unref(&snapshot);
        zmsg_destroy(&message);
    }
    cr_assert_eq(error, DCTX_ERR_REJECTED);
    dctx_policy_counters_t read;
    dctx_policy_counters_read(policy, &read);
    cr_assert_eq(read.revoked, 1);
    cr_assert_eq(read.rejected, 1);
    /* Nor is anything sent to it. */
    zmsg_append(answer, &(zframe_t *){zframe_from("a secret")});
    cr_assert_eq(dctx_send(port, &answer), DCTX_ERR_REJECTED);
    cr_assert_not_null(answer);
    dctx_frames_t frames;
    dctx_frames_init(&frames);
    for (zframe_t *frame = zmsg_first(answer); frame != NULL; frame = zmsg_next(answer))
        cr_assert_eq(dctx_frames_add(&frames, zframe_data(frame), zframe_size(frame)), DCTX_OK);
    cr_assert_eq(dctx_frames_send(port, &frames), DCTX_ERR_REJECTED);
    cr_assert_eq(frames.count, 2);
    admit(alice, "alice");
    do
        error = dctx_send(port, &answer);
    while (error == DCTX_ERR_REJECTED && zclock_mono() < until + 10000);
    cr_assert_eq(error, DCTX_OK);
    dctx_frames_finish(&frames);
    dctx_port_destroy(&port);
    dctx_policy_unref(&policy);
    zsock_destroy(&dealer);
    zsock_destroy(&router);
}

Test(secure, what_cannot_be_is_refused, .init = init, .fini = fini)
{
    dctx_curve_t *second = NULL;
    zsock_t *socket = NULL;
    char path[128];
    path_of("alice", path, sizeof(path));
    cr_assert_eq(dctx_curve_new("shop", directory, &second), DCTX_ERR_CONFLICT);
    cr_assert_eq(dctx_curve_new("", directory, &second), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_curve_new("shop", path, &second), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_curve_new("shop", NULL, &second), DCTX_ERR_INVALID);
    cr_assert_null(second);
    cr_assert_eq(
        dctx_curve_server(curve, ZMQ_STREAM, "tcp://127.0.0.1:*", server_cert, NULL, &socket),
        DCTX_ERR_INVALID);
    cr_assert_eq(dctx_curve_server(curve, ZMQ_PULL, "nonsense", server_cert, NULL, &socket),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_curve_server(NULL, ZMQ_PULL, "tcp://127.0.0.1:*", server_cert, NULL, &socket),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_curve_server(curve, ZMQ_PULL, "tcp://127.0.0.1:*", NULL, NULL, &socket),
                 DCTX_ERR_INVALID);
    zcert_t *half = zcert_load(path);
    cr_assert_not_null(half);
    cr_assert_eq(dctx_curve_server(curve, ZMQ_PULL, "tcp://127.0.0.1:*", half, NULL, &socket),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_curve_client(ZMQ_PUSH, "tcp://127.0.0.1:9", half, zcert_public_txt(alice),
                                   NULL, &socket),
                 DCTX_ERR_INVALID);
    zcert_destroy(&half);
    cr_assert_eq(dctx_curve_client(ZMQ_PUSH, "tcp://127.0.0.1:9", alice, "short", NULL, &socket),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_insecure_client(99, "tcp://127.0.0.1:9", NULL, &socket), DCTX_ERR_INVALID);
    cr_assert_null(socket);
}
