/* Ports that are settled: the same passes as through others, and libzmq is not asked. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/transport.h>

static const dctx_key_t *any, *host;

static void init(void)
{
    const dctx_key_options_t keys[] = {
        {.name = "any", .type = DCTX_TYPE_STRING, .reach = DCTX_REACH_ANY},
        {.name = "host", .type = DCTX_TYPE_STRING, .reach = DCTX_REACH_HOST}};
    cr_assert_eq(dctx_registry_add(NULL, &keys[0], &any), DCTX_OK);
    cr_assert_eq(dctx_registry_add(NULL, &keys[1], &host), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

typedef struct end {
    zsock_t *socket;
    dctx_port_t *port;
} end_t;

static end_t open_end(int type)
{
    end_t end = {zsock_new(type), NULL};
    zsock_set_rcvtimeo(end.socket, 10000);
    zsock_set_linger(end.socket, 0);
    cr_assert_eq(dctx_port_new(end.socket, NULL, &end.port), DCTX_OK);
    return end;
}

static void close_end(end_t *end)
{
    dctx_port_destroy(&end->port);
    zsock_destroy(&end->socket);
}

static void send_both(void *socket)
{
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, "hello");
    cr_assert_eq(dctx_set(any, "a"), DCTX_OK);
    cr_assert_eq(dctx_set(host, "h"), DCTX_OK);
    cr_assert_eq(dctx_send(socket, &message), DCTX_OK, "%s", dctx_error_detail());
}

/* What came of the two: "ah", "a" or "". */
static const char *receive(void *socket)
{
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    cr_assert_eq(dctx_recv(socket, &message, &snapshot), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(zmsg_size(message), 1);
    bool has_any = dctx_snapshot_get(snapshot, any) != NULL;
    bool has_host = dctx_snapshot_get(snapshot, host) != NULL;
    zmsg_destroy(&message);
    dctx_snapshot_unref(&snapshot);
    cr_assert(has_any || !has_host);
    return has_host ? "ah" : has_any ? "a" : "";
}

Test(socket, a_settled_port_exchanges_what_others_do, .init = init)
{
    char directory[] = "/tmp/dctx-settled-XXXXXX", ipc[64];
    cr_assert_not_null(mkdtemp(directory));
    snprintf(ipc, sizeof(ipc), "ipc://%s/port", directory);
    const char *const endpoints[] = {"tcp://127.0.0.1:*", "inproc://settled", ipc};
    for (int i = 0; i < 3; i++) {
        const char *endpoint = endpoints[i];
        end_t left = open_end(ZMQ_PUSH), right = open_end(ZMQ_PULL);
        cr_assert_eq(dctx_socket_bind(right.port, endpoint), DCTX_OK);
        cr_assert_eq(dctx_socket_connect(left.port, zsock_endpoint(right.socket)), DCTX_OK);
        for (int settled = 0; settled < 2; settled++) {
            send_both(left.port);
            cr_assert_str_eq(receive(right.port), "ah");
            cr_assert_eq(dctx_socket_class(left.port), DCTX_CLASS_HOST);
            cr_assert_eq(dctx_port_settle(left.port), DCTX_OK);
            cr_assert_eq(dctx_port_settle(right.port), DCTX_OK);
        }
        close_end(&left);
        close_end(&right);
    }
    rmdir(directory);
}

/* Its class follows each endpoint that is given through it, and is that of the least trusted. */
Test(socket, a_settled_port_is_judged_by_its_endpoints, .init = init)
{
    end_t left = open_end(ZMQ_PUSH), right = open_end(ZMQ_PULL);
    cr_assert_eq(dctx_port_settle(NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_port_settle((dctx_port_t *)left.socket), DCTX_ERR_INVALID, "a socket");
    cr_assert_eq(dctx_port_settle(left.port), DCTX_ERR_INVALID, "nobody to talk to yet");
    cr_assert_not_null(strstr(dctx_error_detail(), "neither bound nor connected"));
    cr_assert_eq(dctx_socket_bind(right.port, "tcp://127.0.0.1:*"), DCTX_OK);
    cr_assert_eq(dctx_socket_connect(left.port, zsock_endpoint(right.socket)), DCTX_OK);
    cr_assert_eq(dctx_port_settle(left.port), DCTX_OK);
    cr_assert_eq(dctx_socket_class(left.port), DCTX_CLASS_HOST);
    cr_assert_eq(dctx_socket_connect(left.port, "inproc://settled-to"), DCTX_OK);
    cr_assert_eq(dctx_socket_class(left.port), DCTX_CLASS_HOST);
    /* An address for documentation: nobody is there. */
    cr_assert_eq(dctx_socket_connect(left.port, "tcp://192.0.2.1:9"), DCTX_OK);
    cr_assert_eq(dctx_socket_class(left.port), DCTX_CLASS_STRANGER);
    cr_assert_eq(dctx_socket_connect(left.port, "inproc://settled-too"), DCTX_OK);
    cr_assert_eq(dctx_socket_class(left.port), DCTX_CLASS_STRANGER, "the least trusted");
    send_both(left.port);
    cr_assert_str_eq(receive(right.port), "a");
    close_end(&left);
    close_end(&right);
}

/* It is another thing where messages come from: that of a port which was made late is still
 * asked. */
Test(socket, a_policy_has_the_last_word, .init = init)
{
    dctx_policy_t *policy;
    const dctx_policy_options_t options = {.peer = DCTX_CLASS_STRANGER};
    cr_assert_eq(dctx_policy_new(&options, &policy), DCTX_OK);
    zsock_t *push = zsock_new(ZMQ_PUSH), *pull = zsock_new(ZMQ_PULL);
    dctx_port_t *plain, *strict, *late;
    zsock_set_rcvtimeo(pull, 10000);
    cr_assert_eq(dctx_port_new(push, policy, &strict), DCTX_OK);
    cr_assert_eq(dctx_port_new(push, NULL, &plain), DCTX_OK);
    cr_assert_neq(zsock_bind(pull, "tcp://127.0.0.1:*"), -1);
    cr_assert_eq(dctx_port_new(pull, NULL, &late), DCTX_OK);
    cr_assert_eq(dctx_socket_connect(strict, zsock_endpoint(pull)), DCTX_OK);
    cr_assert_eq(dctx_port_settle(strict), DCTX_OK);
    cr_assert_eq(dctx_port_settle(plain), DCTX_OK);
    cr_assert_eq(dctx_port_settle(late), DCTX_OK);
    cr_assert_eq(dctx_socket_class(strict), DCTX_CLASS_STRANGER);
    send_both(strict);
    cr_assert_str_eq(receive(late), "a");
    send_both(plain);
    cr_assert_str_eq(receive(late), "ah");
    dctx_port_destroy(&strict);
    dctx_port_destroy(&plain);
    dctx_port_destroy(&late);
    dctx_policy_unref(&policy);
    zsock_destroy(&push);
    zsock_destroy(&pull);
}
