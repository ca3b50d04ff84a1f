/* Two links, talking: over each transport, with context, in batches, within the window. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "handover.h"
#include "link_fixture.h"

static const char *const front_and_back[] = {"back", "front"};

static void ipc_endpoint(char *directory, char *endpoint, size_t size)
{
    cr_assert_not_null(mkdtemp(directory));
    snprintf(endpoint, size, "ipc://%s/link", directory);
}

/* front dials back; ask, answer, tell, with context, both ways. */
static void converse(const char *endpoint)
{
    node_t front = {.link = NULL}, back = {.echo = true};
    node_t *nodes[] = {&front, &back, NULL};
    node_t *backwards[] = {&back, &front, NULL};
    size_t one = 1, two = 2;
    node_open(&back, "back", endpoint, NULL);
    node_open(&front, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    cr_assert(!dctx_link_peer_is_up(front.link, "back"));
    cr_assert(run_until(nodes, all_up, front_and_back));
    cr_assert_eq(front.told[0].event, DCTX_PEER_UP);
    cr_assert_str_eq(front.told[0].peer, "back");
    cr_assert_eq(back.told[0].event, DCTX_PEER_UP);
    cr_assert_str_eq(back.told[0].peer, "front");

    dctx_snapshot_t *context = make_context("acme", "api-gateway");
    cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, 42, "how much?", context), DCTX_OK);
    cr_assert(run_until(nodes, first_got, &one));
    cr_assert_eq(back.told_count, 2);
    const told_t *asked = &back.told[1], *answered = &front.told[1];
    cr_assert_eq(asked->kind, DCTX_LINK_ASK);
    cr_assert_eq(asked->correlation, 42);
    cr_assert_str_eq(asked->target, "orders");
    cr_assert_str_eq(asked->type, "text");
    cr_assert_str_eq(asked->payload, "how much?");
    cr_assert_str_eq(asked->tenant, "acme");
    cr_assert_str_eq(asked->chain, "api-gateway");
    cr_assert_eq(answered->kind, DCTX_LINK_REPLY);
    cr_assert_eq(answered->correlation, 42);
    cr_assert_str_eq(answered->payload, "how much?");
    cr_assert_str_eq(answered->tenant, "");
    cr_assert_str_eq(answered->chain, "");

    cr_assert_eq(tell(&back, "front", "gateway", "by the way", context), DCTX_OK);
    cr_assert(run_until(nodes, first_got, &two));
    cr_assert_str_eq(front.told[2].payload, "by the way");
    cr_assert_str_eq(front.told[2].target, "gateway");
    cr_assert_str_eq(front.told[2].tenant, "acme");
    dctx_snapshot_unref(&context);

    dctx_link_counters_t counters = counters_of(&front);
    cr_assert_eq(counters.sent, 1);
    cr_assert_eq(counters.received, 2);
    cr_assert_eq(counters.peers_up, 1);
    cr_assert_eq(counters.malformed + counters.lost + counters.duplicated, 0);
    counters = counters_of(&back);
    cr_assert_eq(counters.malformed + counters.lost + counters.duplicated, 0);
    cr_assert_eq(counters.sent, 2);

    /* Goodbye is heard. */
    size_t told = back.told_count + 1;
    dctx_link_destroy(&front.link);
    cr_assert(run_until(backwards, first_told, &told));
    cr_assert_eq(back.told[told - 1].event, DCTX_PEER_DOWN);
    cr_assert_eq(counters_of(&back).peers_down, 1);
    cr_assert(!dctx_link_peer_is_up(back.link, "front"));
    cr_assert_eq(tell(&back, "front", "gateway", "?", NULL), DCTX_ERR_UNREACHABLE);
    node_close(&front);
    node_close(&back);
}

Test(link, over_tcp, .init = fixture_init)
{
    converse("tcp://127.0.0.1:*");
}

Test(link, over_inproc, .init = fixture_init)
{
    converse("inproc://link-test");
}

Test(link, over_ipc_and_the_socket_file_goes, .init = fixture_init)
{
    char directory[] = "/tmp/dctx-link-XXXXXX", endpoint[64];
    ipc_endpoint(directory, endpoint, sizeof(endpoint));
    converse(endpoint);
    cr_assert_eq(rmdir(directory), 0, "something was left in it");
}

Test(link, an_ipc_wildcard_leaves_nothing, .init = fixture_init)
{
    node_t node = {.link = NULL};
    struct stat file;
    node_open(&node, "node", "ipc://*", NULL);
    char path[256];
    snprintf(path, sizeof(path), "%s", node.endpoint + strlen("ipc://"));
    cr_assert_eq(stat(path, &file), 0);
    node_close(&node);
    cr_assert_neq(stat(path, &file), 0);
    *strrchr(path, '/') = '\0';
    cr_assert_neq(stat(path, &file), 0);
}

Test(link, an_ipc_path_in_use_is_not_taken_away, .init = fixture_init)
{
    char directory[] = "/tmp/dctx-link-XXXXXX", endpoint[64];
    node_t first = {.link = NULL}, second = {.link = NULL};
    struct stat file;
    ipc_endpoint(directory, endpoint, sizeof(endpoint));
    node_open(&first, "first", endpoint, NULL);
    node_open(&second, "second", NULL, NULL);
    cr_assert_eq(dctx_link_bind(second.link, endpoint, NULL), DCTX_ERR_IO);
    node_close(&second);
    cr_assert_eq(stat(endpoint + strlen("ipc://"), &file), 0, "the first one's file has gone");
    node_close(&first);

    /* What a killed process left behind is no hindrance. */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", endpoint + strlen("ipc://"));
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    close(dead);
    node_t third = {.link = NULL};
    node_open(&third, "third", endpoint, NULL);
    /* A file that somebody else put in its place stays. */
    cr_assert_eq(unlink(endpoint + strlen("ipc://")), 0);
    FILE *other = fopen(endpoint + strlen("ipc://"), "w");
    cr_assert_not_null(other);
    fclose(other);
    node_close(&third);
    cr_assert_eq(unlink(endpoint + strlen("ipc://")), 0, "another's file was removed");
    cr_assert_eq(rmdir(directory), 0);
}

Test(link, bad_arguments_are_refused, .init = fixture_init)
{
    node_t node = {.link = NULL};
    char path[300];
    dctx_link_t *link = NULL;
    const char *names[] = {NULL, "", "a b", "a@b", "a/b"};
    for (size_t i = 0; i < 5; i++) {
        dctx_link_options_t options = {.node = names[i]};
        cr_assert_eq(dctx_link_new(&options, &link), DCTX_ERR_INVALID);
        cr_assert_null(link);
    }
    dctx_link_options_t hasty = {.node = "n", .heartbeat_ms = 100, .dead_after_ms = 50};
    cr_assert_eq(dctx_link_new(&hasty, &link), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_new(NULL, &link), DCTX_ERR_INVALID);

    node_open(&node, "node", NULL, NULL);
    memset(path, 'x', sizeof(path));
    memcpy(path, "ipc:///tmp/", 11);
    path[sizeof(path) - 1] = '\0';
    cr_assert_eq(dctx_link_bind(node.link, path, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_bind(node.link, "carrier-pigeon://coop", NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_bind(node.link, "nonsense", NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_bind(node.link, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_bind(node.link, "ipc:///no/such/folder/socket", NULL), DCTX_ERR_IO);
    cr_assert_str_neq(dctx_error_detail(), "");
    cr_assert_eq(dctx_link_connect(node.link, "peer", "nonsense"), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect(node.link, "peer", path), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect(node.link, "no peer", "tcp://127.0.0.1:1"), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_connect(node.link, "peer", NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_link_disconnect(node.link, "peer"), DCTX_ERR_ABSENT);
    cr_assert_eq(tell(&node, "peer", "a", "b", NULL), DCTX_ERR_UNREACHABLE);
    cr_assert_eq(dctx_link_timeout_ms(node.link), -1);
    node_close(&node);
    dctx_link_destroy(&link);
    dctx_link_destroy(NULL);
}

Test(link, messages_that_cannot_travel_are_refused, .init = fixture_init)
{
    dctx_link_options_t options = {.message_limit = 1000};
    node_t node = {.link = NULL};
    char text[2000];
    memset(text, 'x', sizeof(text));
    node_open(&node, "node", NULL, &options);
    cr_assert_eq(dctx_link_connect(node.link, "peer", "inproc://nobody"), DCTX_OK);
    dctx_link_message_t message = {.kind = DCTX_LINK_TELL, .payload = {text, 961}};
    cr_assert_eq(dctx_link_send(node.link, "peer", &message), DCTX_ERR_LIMIT);
    message.payload.size = 960;
    cr_assert_eq(dctx_link_send(node.link, "peer", &message), DCTX_OK);
    message.payload.size = 1;
    message.target = (dctx_bytes_t){text, 256};
    cr_assert_eq(dctx_link_send(node.link, "peer", &message), DCTX_ERR_LIMIT);
    message.target.size = 255;
    cr_assert_eq(dctx_link_send(node.link, "peer", &message), DCTX_OK);
    message.type = (dctx_bytes_t){text, 256};
    cr_assert_eq(dctx_link_send(node.link, "peer", &message), DCTX_ERR_LIMIT);
    message = (dctx_link_message_t){.kind = DCTX_LINK_ERROR, .payload = {text, 256}};
    cr_assert_eq(dctx_link_send(node.link, "peer", &message), DCTX_ERR_LIMIT);
    message.kind = (dctx_link_kind_t)7;
    cr_assert_eq(dctx_link_send(node.link, "peer", &message), DCTX_ERR_INVALID);
    node_close(&node);
}

/* ---- batches --------------------------------------------------------------------------------- */

Test(link, messages_sent_together_travel_together, .init = fixture_init)
{
    enum { COUNT = 300 };
    node_t front = {.link = NULL}, back = {.link = NULL};
    node_t *nodes[] = {&back, &front, NULL};
    const char *names[] = {"front", "back"};
    node_open(&back, "back", "tcp://127.0.0.1:*", NULL);
    node_open(&front, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    cr_assert(run_until(nodes, all_up, names));
    dctx_snapshot_t *contexts[] = {make_context("acme", "one"), make_context("globex", "two"),
                                   NULL};
    uint64_t frames = counters_of(&front).frames_sent;
    for (size_t i = 0; i < COUNT; i++) {
        char text[16];
        snprintf(text, sizeof(text), "%zu", i);
        /* Runs of equal contexts, of different ones, and of none. */
        cr_assert_eq(tell(&front, "back", "a", text, contexts[i / 10 % 3]), DCTX_OK);
    }
    size_t count = COUNT;
    cr_assert(run_until(nodes, first_got, &count));
    for (size_t i = 0; i < COUNT; i++) {
        static const char *const tenants[] = {"acme", "globex", ""}, *const chains[] = {"one",
                                                                                        "two", ""};
        const told_t *told = &back.told[1 + i];
        cr_assert_eq((size_t)atoi(told->payload), i);
        cr_assert_str_eq(told->tenant, tenants[i / 10 % 3], "message %zu", i);
        cr_assert_str_eq(told->chain, chains[i / 10 % 3], "message %zu", i);
    }
    frames = counters_of(&front).frames_sent - frames;
    cr_assert_leq(frames, 3, "300 small messages took %llu frames", (unsigned long long)frames);
    dctx_snapshot_unref(&contexts[0]);
    dctx_snapshot_unref(&contexts[1]);
    node_close(&front);
    node_close(&back);
}

/* ThreadSanitizer looks at each byte of a long frame many times, as libzmq, which it does not see
 * into, hands it over. There it is just longer than two buffers. */
#ifdef DCTX_TSAN_
enum { LONG = 40000 };
#else
enum { LONG = 300000 };
#endif

Test(link, long_messages_arrive_among_short_ones, .init = fixture_init)
{
    static char text[LONG];
    node_t front = {.link = NULL}, back = {.link = NULL};
    node_t *nodes[] = {&back, &front, NULL};
    const char *names[] = {"front", "back"};
    dctx_snapshot_t *context = make_context("acme", "one");
    memset(text, 'x', sizeof(text));
    node_open(&back, "back", "tcp://127.0.0.1:*", NULL);
    node_open(&front, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    cr_assert(run_until(nodes, all_up, names));
    static const size_t sizes[] = {0, 10, 16000, 10, 16384, LONG, 1, 16300, 16350, 5, LONG - 1};
    size_t count = sizeof(sizes) / sizeof(*sizes);
    for (size_t i = 0; i < count; i++) {
        dctx_link_message_t message = {
            .kind = DCTX_LINK_TELL, .payload = {text, sizes[i]}, .snapshot = context};
        cr_assert_eq(dctx_link_send(front.link, "back", &message), DCTX_OK);
    }
    cr_assert(run_until(nodes, first_got, &count));
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(back.told[1 + i].payload_size, sizes[i]);
        cr_assert_str_eq(back.told[1 + i].tenant, "acme");
    }
    cr_assert_eq(counters_of(&back).malformed, 0);
    cr_assert_eq(counters_of(&back).lost, 0);
    dctx_snapshot_unref(&context);
    node_close(&front);
    node_close(&back);
}

/* ---- flow control ---------------------------------------------------------------------------- */

static bool held_back(node_t *const *nodes, const void *arg)
{
    (void)arg;
    return counters_of(nodes[0]).sent >= 8;
}

Test(link, a_slow_peer_slows_its_sender_and_nothing_is_lost, .init = fixture_init)
{
    enum { COUNT = 1000 };
    dctx_link_options_t options = {.window = 8};
    node_t front = {.link = NULL}, back = {.forgetful = true};
    node_t *both[] = {&back, &front, NULL}, *front_only[] = {&front, NULL};
    const char *names[] = {"front", "back"};
    node_open(&back, "back", "tcp://127.0.0.1:*", &options);
    node_open(&front, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    cr_assert(run_until(both, all_up, names));
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", NULL), DCTX_OK);
    /* While back reads nothing, front sends one window and no more. */
    cr_assert(run_until(front_only, held_back, NULL));
    for (int i = 0; i < 10; i++)
        (void)dctx_link_process(front.link, 0);
    cr_assert_eq(counters_of(&front).sent, 8);
    size_t count = COUNT;
    cr_assert(run_until(both, first_got, &count));
    cr_assert(back.in_order);
    cr_assert_eq(counters_of(&back).lost, 0);
    cr_assert_eq(counters_of(&back).duplicated, 0);
    cr_assert_eq(counters_of(&front).sent, COUNT);
    node_close(&front);
    node_close(&back);
}

/* A side keeps to its own window too, so the other one, whose is larger, acknowledges by that. */
Test(link, windows_that_differ_do_not_wait_for_a_heartbeat, .init = fixture_init)
{
    node_t front = {.link = NULL}, back = {.link = NULL};
    dctx_link_options_t small = {.window = 4, .heartbeat_ms = 600000};
    dctx_link_options_t large = {.heartbeat_ms = 600000};
    node_open(&back, "back", "tcp://127.0.0.1:*", &large);
    node_open(&front, "front", NULL, &small);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(tell(&front, "back", "orders", "x", NULL), DCTX_OK);
    node_t *nodes[] = {&back, &front, NULL};
    cr_assert(run_until(nodes, first_got, &(size_t){100}));
    node_close(&front);
    node_close(&back);
}

Test(link, what_is_held_is_limited, .init = fixture_init)
{
    dctx_link_options_t options = {.queue_limit = 5};
    node_t front = {.link = NULL}, back = {.link = NULL};
    node_t *nodes[] = {&back, &front, NULL};
    dctx_snapshot_t *context = make_context("acme", "one");
    node_open(&back, "back", "tcp://127.0.0.1:*", NULL);
    node_open(&front, "front", NULL, &options);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    for (uint64_t i = 0; i < 5; i++)
        cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, i, "early", context), DCTX_OK);
    cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, 5, "early", context), DCTX_ERR_FULL);
    dctx_snapshot_unref(&context);
    size_t count = 5;
    cr_assert(run_until(nodes, first_got, &count));
    cr_assert(back.in_order);
    cr_assert_str_eq(back.told[1].tenant, "acme");
    cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, 5, "now there is room", NULL), DCTX_OK);
    node_close(&front);
    node_close(&back);
}

/* Each round trip shares the wire with the stream: neither starves the other. */
Test(link, both_directions_at_full_window, .init = fixture_init)
{
    enum { COUNT = 5000 };
    dctx_link_options_t options = {.window = 64};
    node_t front = {.forgetful = true}, back = {.echo = true, .forgetful = true};
    node_t *nodes[] = {&front, &back, NULL};
    node_open(&back, "back", "tcp://127.0.0.1:*", &options);
    node_open(&front, "front", NULL, &options);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", NULL), DCTX_OK);
    size_t count = COUNT;
    cr_assert(run_until(nodes, first_got, &count));
    cr_assert(front.in_order);
    cr_assert_eq(counters_of(&front).lost + counters_of(&back).lost, 0);
    node_close(&front);
    node_close(&back);
}

Test(link, process_stops_where_it_was_told_to, .init = fixture_init)
{
    enum { COUNT = 100 };
    node_t front = {.link = NULL}, back = {.forgetful = true};
    node_t *nodes[] = {&back, &front, NULL};
    const char *names[] = {"front", "back"};
    node_open(&back, "back", "inproc://process-stops", NULL);
    node_open(&front, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    cr_assert(run_until(nodes, all_up, names));
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", NULL), DCTX_OK);
    cr_assert_eq(dctx_link_timeout_ms(front.link), 0, "there is a batch to send");
    (void)dctx_link_process(front.link, 0);
    while (dctx_link_process(back.link, 1) || back.messages < COUNT) {
        cr_assert_leq(back.messages, COUNT);
        static uint64_t before;
        cr_assert_leq(back.messages - before, 1);
        before = back.messages;
    }
    cr_assert(back.in_order);
    node_close(&front);
    node_close(&back);
}

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct server {
    node_t node;
    size_t asks;
} server_t;

static void *serve(void *arg)
{
    server_t *server = arg;
    node_t *nodes[] = {&server->node, NULL};
    bool done = run_until(nodes, first_got, &server->asks);
    /* The last answers leave with the goodbye. */
    node_close(&server->node);
    return done ? server : NULL;
}

static void two_threads(const char *endpoint)
{
    enum { COUNT = 3000 };
    server_t server = {.node = {.echo = true, .forgetful = true}, .asks = COUNT};
    node_t front = {.forgetful = true};
    node_t *nodes[] = {&front, NULL};
    pthread_t thread;
    void *result;
    dctx_snapshot_t *context = make_context("acme", "one");
    node_open(&server.node, "back", endpoint, NULL);
    node_open(&front, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", server.node.endpoint), DCTX_OK);
    cr_assert_eq(pthread_create(&thread, NULL, serve, &server), 0);
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", context), DCTX_OK);
    size_t count = COUNT;
    cr_assert(run_until(nodes, first_got, &count));
    cr_assert(front.in_order);
    pthread_join(thread, &result);
    cr_assert_not_null(result);
    dctx_snapshot_unref(&context);
    node_close(&front);
}

Test(link, two_threads_over_tcp, .init = fixture_init)
{
    two_threads("tcp://127.0.0.1:*");
}

Test(link, two_threads_over_inproc, .init = fixture_init)
{
    two_threads("inproc://two-threads");
}

/* ---- limits of the process ------------------------------------------------------------------- */

Test(link, out_of_sockets_is_an_error, .init = fixture_init)
{
    enum { LIMIT = 40 };
    void *sockets[LIMIT + 1];
    size_t count = 0;
    dctx_link_t *link = NULL;
    dctx_link_options_t options = {.node = "node"};
    zsys_set_max_sockets(LIMIT);
    while (count <= LIMIT && (sockets[count] = zmq_socket(zsys_init(), ZMQ_PAIR)) != NULL)
        count++;
    cr_assert_leq(count, LIMIT);
    cr_assert_eq(dctx_link_new(&options, &link), DCTX_ERR_IO);
    cr_assert_null(link);
    zmq_close(sockets[--count]);
    /* One for the ROUTER; closing is not at once. */
    dctx_error_t error;
    do
        error = dctx_link_new(&options, &link);
    while (error == DCTX_ERR_IO);
    cr_assert_eq(error, DCTX_OK);
    cr_assert_eq(dctx_link_connect(link, "peer", "tcp://127.0.0.1:1"), DCTX_ERR_IO);
    cr_assert_eq(dctx_link_disconnect(link, "peer"), DCTX_ERR_ABSENT, "nothing was half made");
    dctx_link_destroy(&link);
    while (count > 0)
        zmq_close(sockets[--count]);
}
