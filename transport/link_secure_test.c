/* Links under CURVE: who gets in, under which name, and for how long. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <dcontext/transport.h>

#include "link_fixture.h"

static char directory[64];
static zcert_t *house, *alice, *mallory;
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
    fixture_init();
    strcpy(directory, "/tmp/dctx-links-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    house = zcert_new();
    alice = zcert_new();
    mallory = zcert_new();
    admit(alice, "alice");
    cr_assert_eq(dctx_curve_new("shop", directory, &curve), DCTX_OK, "%s", dctx_error_detail());
}

static void fini(void)
{
    dctx_curve_destroy(&curve);
    zcert_destroy(&house);
    zcert_destroy(&alice);
    zcert_destroy(&mallory);
    zdir_t *dir = zdir_new(directory, NULL);
    zdir_remove(dir, true);
    zdir_destroy(&dir);
}

static void open_house(node_t *node)
{
    const dctx_link_options_t options = {.certificate = house, .curve = curve};
    node_open(node, "house", "tcp://127.0.0.1:*", &options);
}

static void dial_house(node_t *node, const char *name, zcert_t *cert, const node_t *to,
                       const char *server_key)
{
    const dctx_link_options_t options = {.certificate = cert};
    node_open(node, name, NULL, &options);
    cr_assert_eq(dctx_link_connect_curve(node->link, "house", to->endpoint, server_key), DCTX_OK,
                 "%s", dctx_error_detail());
}

static bool first_refused(node_t *const *nodes, const void *arg)
{
    (void)arg;
    return find_event(nodes[0], DCTX_PEER_REFUSED) != NULL;
}

static bool first_down(node_t *const *nodes, const void *arg)
{
    (void)arg;
    return find_event(nodes[0], DCTX_PEER_DOWN) != NULL;
}

static bool both_got_one(node_t *const *nodes, const void *arg)
{
    (void)arg;
    return nodes[0]->messages == 1 && nodes[1]->messages == 1;
}

/* Comes up, and each side's message says who the other is. */
static void check_gets_in(node_t *server, const char *name, zcert_t *cert)
{
    node_t client = {0};
    size_t before = server->told_count;
    dial_house(&client, name, cert, server, zcert_public_txt(house));
    const char *names[] = {name, "house"};
    node_t *both[] = {server, &client, NULL};
    cr_assert(run_until(both, all_up, names));
    server->messages = 0;
    dctx_snapshot_t *context = make_context("acme", "gateway");
    cr_assert_eq(tell(&client, "house", "orders", "hello", context), DCTX_OK);
    cr_assert_eq(tell(server, name, "orders", "welcome", NULL), DCTX_OK);
    cr_assert(run_until(both, both_got_one, NULL));
    dctx_snapshot_unref(&context);
    const told_t *told = NULL;
    for (size_t i = before; i < server->told_count; i++)
        if (server->told[i].what == TOLD_MESSAGE)
            told = &server->told[i];
    cr_assert_not_null(told);
    cr_assert_str_eq(told->tenant, "acme");
    cr_assert_str_eq(told->upstream, "127.0.0.1");
    cr_assert_str_eq(told->key, zcert_public_txt(cert));
    told = &client.told[client.told_count - 1];
    cr_assert_str_eq(told->upstream, "127.0.0.1");
    cr_assert_str_eq(told->key, zcert_public_txt(house));
    node_close(&client);
}

Test(link_secure, each_side_knows_the_others_key, .init = init, .fini = fini)
{
    node_t server = {0};
    open_house(&server);
    check_gets_in(&server, "alice", alice);
    node_close(&server);
}

Test(link_secure, nobody_else_gets_in, .init = init, .fini = fini)
{
    node_t server = {0}, unknown = {0}, plain = {0}, thief = {0}, misled = {0};
    open_house(&server);
    /* With a key that is in no directory. */
    dial_house(&unknown, "mallory", mallory, &server, zcert_public_txt(house));
    node_t *strangers[] = {&unknown, &server, NULL};
    cr_assert(run_until(strangers, first_refused, NULL));
    /* Without security. */
    node_open(&plain, "plain", NULL, NULL);
    cr_assert_eq(dctx_link_connect(plain.link, "house", server.endpoint), DCTX_OK);
    node_t *plains[] = {&plain, &server, NULL};
    cr_assert(run_until(plains, first_refused, NULL));
    cr_assert(strstr(find_event(&plain, DCTX_PEER_REFUSED)->reason, "security") != NULL);
    /* With Alice's public key, and not her secret one; and one that expects another server. */
    zcert_t *stolen = zcert_new_from(zcert_public_key(alice), zcert_secret_key(mallory));
    dial_house(&thief, "thief", stolen, &server, zcert_public_txt(house));
    dial_house(&misled, "misled", alice, &server, zcert_public_txt(mallory));
    node_t *thieves[] = {&thief, &server, NULL}, *lost[] = {&misled, &server, NULL};
    cr_assert(run_until(thieves, first_refused, NULL));
    cr_assert(run_until(lost, first_refused, NULL));
    cr_assert_eq(server.told_count, 0);
    check_gets_in(&server, "alice", alice);
    node_close(&unknown);
    node_close(&plain);
    node_close(&thief);
    node_close(&misled);
    zcert_destroy(&stolen);
    node_close(&server);
}

Test(link_secure, a_link_under_curve_does_not_talk_to_one_that_is_not, .init = init, .fini = fini)
{
    node_t server = {0}, client = {0};
    node_open(&server, "house", "tcp://127.0.0.1:*", NULL);
    dial_house(&client, "alice", alice, &server, zcert_public_txt(house));
    node_t *both[] = {&client, &server, NULL};
    cr_assert(run_until(both, first_refused, NULL));
    cr_assert_eq(server.told_count, 0);
    node_close(&client);
    node_close(&server);
}

/* A peer made by hand; its HELLO is the first frame. */
static void *dial_by_hand(const node_t *server, zcert_t *cert, const char *name,
                          uint64_t incarnation)
{
    fake_t fake = {NULL, 0};
    int none = 0;
    fake.socket = zmq_socket(zsys_init(), ZMQ_DEALER);
    zmq_setsockopt(fake.socket, ZMQ_LINGER, &none, sizeof(none));
    zmq_setsockopt(fake.socket, ZMQ_CURVE_PUBLICKEY, zcert_public_key(cert), 32);
    zmq_setsockopt(fake.socket, ZMQ_CURVE_SECRETKEY, zcert_secret_key(cert), 32);
    zmq_setsockopt(fake.socket, ZMQ_CURVE_SERVERKEY, zcert_public_key(house), 32);
    cr_assert_eq(zmq_connect(fake.socket, server->endpoint), 0);
    fake_hello(&fake, name, incarnation, "house", 10);
    return fake.socket;
}

static uint8_t answer_kind(void *socket, node_t *server, char *why, size_t size)
{
    fake_t fake = {socket, 0};
    dctx_record_t record;
    cr_assert(fake_receive_record(&fake, server, &record));
    snprintf(why, size, "%.*s", (int)record.payload.size, (const char *)record.payload.data);
    return record.kind;
}

Test(link_secure, a_key_goes_with_a_name, .init = init, .fini = fini)
{
    node_t server = {0};
    char why[256];
    zcert_set_meta(mallory, "node", "pier");
    admit(mallory, "mallory");
    open_house(&server);
    /* The certificate says which name it is for. */
    void *pier = dial_by_hand(&server, mallory, "alice", 1);
    cr_assert_eq(answer_kind(pier, &server, why, sizeof(why)), DCTX_KIND_REFUSED);
    cr_assert(strstr(why, "another name") != NULL, "%s", why);
    fake_hello(&(fake_t){pier, 0}, "pier", 1, "house", 10);
    cr_assert_eq(answer_kind(pier, &server, why, sizeof(why)), DCTX_KIND_WELCOME);
    /* A name that is in use is not for another key; for the same one it is. */
    void *thief = dial_by_hand(&server, alice, "pier", 2);
    cr_assert_eq(answer_kind(thief, &server, why, sizeof(why)), DCTX_KIND_REFUSED);
    cr_assert(strstr(why, "in use") != NULL, "%s", why);
    cr_assert(dctx_link_peer_is_up(server.link, "pier"));
    void *again = dial_by_hand(&server, mallory, "pier", 3);
    cr_assert_eq(answer_kind(again, &server, why, sizeof(why)), DCTX_KIND_WELCOME);
    /* Nor is one that is dialled, and so is that of a known key. */
    cr_assert_eq(dctx_link_connect_curve(server.link, "shed", "tcp://127.0.0.1:9",
                                         zcert_public_txt(mallory)),
                 DCTX_OK);
    void *shed = dial_by_hand(&server, alice, "shed", 4);
    cr_assert_eq(answer_kind(shed, &server, why, sizeof(why)), DCTX_KIND_REFUSED);
    cr_assert(strstr(why, "another key") != NULL, "%s", why);
    cr_assert_eq(counters_of(&server).handshakes_refused, 3);
    void *sockets[] = {pier, thief, again, shed};
    for (int i = 0; i < 4; i++)
        zmq_close(sockets[i]);
    node_close(&server);
}

/* The connection that is there ends, and no other begins; until the certificate is back. */
Test(link_secure, certificates_go_and_come_back, .init = init, .fini = fini, .timeout = 60)
{
    node_t server = {0}, client = {0};
    const char *names[] = {"alice", "house"};
    open_house(&server);
    dial_house(&client, "alice", alice, &server, zcert_public_txt(house));
    node_t *both[] = {&server, &client, NULL};
    cr_assert(run_until(both, all_up, names));
    take_out("alice");
    cr_assert(run_until(both, first_down, NULL));
    cr_assert(strstr(find_event(&server, DCTX_PEER_DOWN)->reason, "not known") != NULL);
    cr_assert_eq(counters_of(&server).revoked, 1);
    cr_assert_eq(tell(&server, "alice", "orders", "a secret", NULL), DCTX_ERR_UNREACHABLE);
    node_t *other_way[] = {&client, &server, NULL};
    cr_assert(run_until(other_way, first_refused, NULL));
    cr_assert_eq(client.messages, 0);
    admit(alice, "alice");
    cr_assert(run_until(both, all_up, names));
    node_close(&client);
    node_close(&server);
}

Test(link_secure, inproc_is_the_host, .init = init, .fini = fini)
{
    node_t server = {0}, client = {0};
    const char *names[] = {"alice", "house"};
    const dctx_link_options_t options = {.certificate = house, .curve = curve};
    const dctx_link_options_t theirs = {.certificate = alice};
    node_open(&server, "house", "inproc://house-within", &options);
    node_open(&client, "alice", NULL, &theirs);
    cr_assert_eq(dctx_link_connect(client.link, "house", server.endpoint), DCTX_OK);
    node_t *both[] = {&server, &client, NULL};
    cr_assert(run_until(both, all_up, names));
    node_close(&client);
    node_close(&server);
}

Test(link_secure, what_cannot_be_is_refused, .init = init, .fini = fini)
{
    dctx_link_t *link = NULL;
    char path[128];
    path_of("alice", path, sizeof(path));
    zcert_t *half = zcert_load(path);
    dctx_link_options_t options = {.node = "x", .curve = curve};
    cr_assert_eq(dctx_link_new(&options, &link), DCTX_ERR_INVALID);
    options.certificate = half;
    cr_assert_eq(dctx_link_new(&options, &link), DCTX_ERR_INVALID);
    zcert_destroy(&half);
    options.certificate = alice;
    options.curve = NULL;
    cr_assert_eq(dctx_link_new(&options, &link), DCTX_OK);
    const char *key = zcert_public_txt(house), *endpoint = "tcp://127.0.0.1:9";
    cr_assert_eq(dctx_link_bind(link, "tcp://127.0.0.1:*", NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect(link, "house", endpoint), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect_curve(link, "house", endpoint, "short"), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect_curve(link, "house", endpoint, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect_curve(link, "house", NULL, key), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect_curve(link, "no name", endpoint, key), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect_curve(link, "house", "nonsense", key), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect_curve(link, "house", endpoint, key), DCTX_OK);
    dctx_link_destroy(&link);
    options.certificate = NULL;
    cr_assert_eq(dctx_link_new(&options, &link), DCTX_OK);
    cr_assert_eq(dctx_link_connect_curve(link, "house", endpoint, key), DCTX_ERR_INVALID);
    dctx_link_destroy(&link);
}
