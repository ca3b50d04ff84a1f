/*
 * Peers that are half open, slow, or gone without a word: raw TCP connections that speak as much of
 * ZMTP as suits the test. Nothing hangs, nothing grows, and good peers are served beside them.
 */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dcontext/transport.h>

#include "link_fixture.h"

#define MANY    30
#define WAIT_MS 10000 /* only a failure takes that long */

/* ---- a connection of our own ----------------------------------------------------------------- */

static int raw_connect(const char *endpoint)
{
    const char *colon = strrchr(endpoint, ':');
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(colon + 1))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void put(int fd, const void *data, size_t size)
{
    cr_assert_eq(send(fd, data, size, MSG_NOSIGNAL), (ssize_t)size);
}

static const char greeting[64] = "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL";

/* The command that follows the greeting. */
static size_t ready(uint8_t *out, const char *type)
{
    size_t size = strlen(type);
    memcpy(out, "\4\0\5READY\13Socket-Type\0\0\0", 23);
    out[23] = (uint8_t)size;
    memcpy(out + 24, type, size);
    out[1] = (uint8_t)(22 + size);
    return 24 + size;
}

/* Greeting and READY both ways. */
static int raw_open(const char *endpoint, const char *type)
{
    uint8_t bytes[64], theirs[256];
    int fd = raw_connect(endpoint);
    put(fd, greeting, sizeof(greeting));
    put(fd, bytes, ready(bytes, type));
    cr_assert_eq(recv(fd, theirs, 64, MSG_WAITALL), 64);
    cr_assert_eq(recv(fd, theirs, 2, MSG_WAITALL), 2);
    cr_assert_eq(recv(fd, theirs + 2, theirs[1], MSG_WAITALL), theirs[1]);
    return fd;
}

/* The other side ends the connection; whatever it says before. */
static void check_ends(int fd)
{
    char scrap[4096];
    int64_t until = zclock_mono() + WAIT_MS;
    for (;;) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        int64_t left = until - zclock_mono();
        cr_assert_gt(left, 0, "it does not end");
        if (poll(&item, 1, (int)left) == 1 && recv(fd, scrap, sizeof(scrap), 0) <= 0)
            break;
    }
    close(fd);
}

/* Ends it with a RST. */
static void slam(int fd)
{
    const struct linger none = {1, 0};
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
    close(fd);
}

static size_t open_files(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

/* ---- sockets --------------------------------------------------------------------------------- */

static zsock_t *server, *good;

static void open_sockets(int type, int good_type, const dctx_socket_settings_t *settings)
{
    fixture_init();
    cr_assert_eq(dctx_insecure_server(type, "tcp://127.0.0.1:*", settings, &server), DCTX_OK);
    cr_assert_eq(dctx_insecure_client(good_type, zsock_endpoint(server), NULL, &good), DCTX_OK);
    zsock_set_rcvtimeo(server, WAIT_MS);
    zsock_set_rcvtimeo(good, WAIT_MS);
}

static void close_sockets(void)
{
    zsock_destroy(&server);
    zsock_destroy(&good);
}

/* A message of the good peer's comes, with its context, and is the next. */
static void check_served(void)
{
    zmsg_t *message = zmsg_new();
    dctx_snapshot_t *snapshot, *context = make_context("acme", "gateway");
    zmsg_addstr(message, "good");
    cr_assert_eq(dctx_send_snapshot(good, &message, context), DCTX_OK);
    cr_assert_eq(dctx_recv(server, &message, &snapshot), DCTX_OK, "%s", dctx_error_detail());
    cr_assert(zframe_streq(zmsg_last(message), "good"));
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    dctx_snapshot_unref(&snapshot);
    dctx_snapshot_unref(&context);
    zmsg_destroy(&message);
}

/* Until the process has no more files open than it had. */
static void check_nothing_stays(size_t files)
{
    int64_t until = zclock_mono() + WAIT_MS;
    while (open_files() > files && zclock_mono() < until)
        check_served();
    cr_assert_leq(open_files(), files);
}

Test(slow, who_says_half_a_greeting_is_given_up)
{
    int fds[MANY];
    open_sockets(ZMQ_PULL, ZMQ_PUSH, &(dctx_socket_settings_t){.handshake_ms = 200});
    check_served();
    size_t files = open_files();
    for (int i = 0; i < MANY; i++) {
        fds[i] = raw_connect(zsock_endpoint(server));
        put(fds[i], greeting, (size_t)(i % 3 == 0 ? 1 : i % 3 == 1 ? 10 : 64));
        check_served();
    }
    for (int i = 0; i < MANY; i++) {
        check_ends(fds[i]);
        check_served();
    }
    check_nothing_stays(files);
    close_sockets();
}

Test(slow, one_byte_at_a_time_is_as_good_as_all_at_once)
{
    uint8_t bytes[256];
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    static const char stamp[] = "\xd7"
                                "dctx\x01\x93\x01\x91\xa4slow\x90";
    open_sockets(ZMQ_PULL, ZMQ_PUSH, NULL);
    memcpy(bytes, greeting, 64);
    size_t size = 64 + ready(bytes + 64, "PUSH");
    bytes[size++] = 1; /* more frames follow */
    bytes[size++] = 4;
    memcpy(bytes + size, "drip", 4);
    size += 4;
    bytes[size++] = 0;
    bytes[size++] = sizeof(stamp) - 1;
    memcpy(bytes + size, stamp, sizeof(stamp) - 1);
    size += sizeof(stamp) - 1;
    int fd = raw_connect(zsock_endpoint(server));
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof(on));
    for (size_t i = 0; i < size - 1; i++) {
        put(fd, bytes + i, 1);
        check_served();
    }
    put(fd, bytes + size - 1, 1);
    cr_assert_eq(dctx_recv(server, &message, &snapshot), DCTX_OK);
    cr_assert(zframe_streq(zmsg_first(message), "drip"));
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    close(fd);
    close_sockets();
}

/* Of a message that is cut nothing comes, not even its first frames. */
Test(slow, who_breaks_off_in_a_frame_leaves_nothing)
{
    open_sockets(ZMQ_PULL, ZMQ_PUSH, NULL);
    check_served();
    size_t files = open_files();
    for (int i = 0; i < MANY; i++) {
        int fd = raw_open(zsock_endpoint(server), "PUSH");
        put(fd, "\1\3one", 5);             /* the first of two */
        put(fd, "\0\100half", 6);          /* 64 bytes are announced */
        put(fd, "", (size_t)(i % 2 == 0)); /* not all at the same place */
        check_served();
        slam(fd);
        check_served();
    }
    check_nothing_stays(files);
    close_sockets();
}

/* It takes the handshake, and then nothing: sending to it ends, in the time that was said. */
Test(slow, who_never_reads_does_not_hold_up_a_send, .timeout = 60)
{
    static char bulk[4096];
    dctx_error_t error = DCTX_OK;
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    open_sockets(ZMQ_ROUTER, ZMQ_DEALER,
                 &(dctx_socket_settings_t){.send_ms = 100, .heartbeat_ms = -1});
    int fd = raw_open(zsock_endpoint(server), "DEALER");
    put(fd, "\0\2hi", 4);
    cr_assert_eq(dctx_recv(server, &message, &snapshot), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    zframe_t *id = zmsg_pop(message);
    zmsg_destroy(&message);
    int sent = 0;
    for (; error == DCTX_OK && sent < 100000; sent++) {
        message = zmsg_new();
        zframe_t *to = zframe_dup(id);
        zmsg_append(message, &to);
        zmsg_addmem(message, bulk, sizeof(bulk));
        error = dctx_send(server, &message);
        zmsg_destroy(&message);
    }
    cr_assert_eq(error, DCTX_ERR_AGAIN, "%d were taken", sent);
    check_served();
    zmsg_t *request = zmsg_new();
    zmsg_addstr(request, "answer me");
    cr_assert_eq(dctx_send(good, &request), DCTX_OK);
    cr_assert_eq(dctx_recv(server, &request, &snapshot), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(dctx_send(server, &request), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(dctx_recv(good, &request, &snapshot), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&request);
    zframe_destroy(&id);
    close(fd);
    close_sockets();
}

/* It does not answer a heartbeat: the connection is given up, though TCP sees nothing wrong. */
Test(slow, who_vanishes_is_given_up)
{
    open_sockets(ZMQ_PULL, ZMQ_PUSH, &(dctx_socket_settings_t){.heartbeat_ms = 300});
    check_served();
    int fd = raw_open(zsock_endpoint(server), "PUSH");
    check_ends(fd);
    check_served();
    close_sockets();
}

/* ---- links ----------------------------------------------------------------------------------- */

#define SECOND INT64_C(1000000000)

/* HELLO as a ZMTP frame. */
static size_t raw_hello(uint8_t *out, const char *name, uint64_t window)
{
    uint8_t map[256];
    dctx_record_t record = {.kind = DCTX_KIND_HELLO};
    record.payload.size = hello_bytes(map, name, 1, NULL, window);
    record.payload.data = map;
    size_t size = DCTX_FRAME_HEAD + dctx_record_size_(&record);
    cr_assert_lt(size, 256);
    out[0] = 0;
    out[1] = (uint8_t)size;
    dctx_frame_begin_(out + 2);
    dctx_record_write_(&record, out + 2 + DCTX_FRAME_HEAD);
    return 2 + size;
}

typedef struct served {
    node_t node;
    node_t good;
    uint64_t sent;
} served_t;

static void open_served(served_t *served, const dctx_link_options_t *options)
{
    static const char *const names[] = {"good", "node"};
    fixture_init();
    memset(served, 0, sizeof(*served));
    served->node.virtual_clock = true;
    served->node.virtual_now = SECOND;
    served->node.forgetful = served->good.forgetful = true;
    node_open(&served->node, "node", "tcp://127.0.0.1:*", options);
    node_open(&served->good, "good", NULL, NULL);
    cr_assert_eq(dctx_link_connect(served->good.link, "node", served->node.endpoint), DCTX_OK);
    node_t *both[] = {&served->node, &served->good, NULL};
    cr_assert(run_until(both, all_up, names));
}

static void close_served(served_t *served)
{
    node_close(&served->good);
    node_close(&served->node);
}

static bool has_come(node_t *const *nodes, const void *count)
{
    return nodes[0]->messages >= *(const uint64_t *)count;
}

/* The good one's message comes. */
static void check_link_serves(served_t *served)
{
    node_t *both[] = {&served->node, &served->good, NULL};
    uint64_t wanted = served->node.messages + 1;
    cr_assert_eq(tell(&served->good, "node", "orders", "good", NULL), DCTX_OK);
    cr_assert(run_until(both, has_come, &wanted));
}

static bool counts_up(node_t *const *nodes, const void *count)
{
    return counters_of(nodes[0]).peers_up >= *(const uint64_t *)count;
}

static bool counts_down(node_t *const *nodes, const void *count)
{
    return counters_of(nodes[0]).peers_down >= *(const uint64_t *)count;
}

Test(slow, a_link_serves_beside_half_open_connections)
{
    served_t served;
    int fds[MANY];
    uint8_t bytes[512];
    open_served(&served, NULL);
    for (int i = 0; i < MANY; i++) {
        fds[i] = raw_connect(served.node.endpoint);
        put(fds[i], greeting, (size_t)(i % 2 == 0 ? 10 : 64));
        check_link_serves(&served);
    }
    /* And some that say half of HELLO, and are gone in the midst of it. */
    for (int i = 0; i < MANY; i++) {
        int fd = raw_open(served.node.endpoint, "DEALER");
        put(fd, bytes, raw_hello(bytes, "half", 10) / 2);
        check_link_serves(&served);
        slam(fd);
        check_link_serves(&served);
    }
    dctx_link_counters_t counters = counters_of(&served.node);
    cr_assert_eq(counters.peers_up, 1);
    cr_assert_eq(counters.peers_down, 0);
    cr_assert_eq(counters.malformed, 0, "nothing of it came");
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    close_served(&served);
}

Test(slow, a_link_takes_a_peer_byte_by_byte)
{
    served_t served;
    uint8_t bytes[512];
    uint64_t two = 2;
    open_served(&served, NULL);
    int fd = raw_open(served.node.endpoint, "DEALER");
    size_t size = raw_hello(bytes, "drip", 10);
    for (size_t i = 0; i < size; i++) {
        put(fd, bytes + i, 1);
        if (i % 8 == 0)
            check_link_serves(&served);
    }
    node_t *both[] = {&served.node, &served.good, NULL};
    cr_assert(run_until(both, counts_up, &two));
    cr_assert(dctx_link_peer_is_up(served.node.link, "drip"));
    close(fd);
    close_served(&served);
}

/* It shook hands, and is silent: pinged, and given up; while the good one stays. */
Test(slow, a_link_gives_up_who_vanishes)
{
    served_t served;
    uint8_t bytes[512];
    uint64_t two = 2;
    node_t *both[] = {&served.node, &served.good, NULL};
    const dctx_link_options_t options = {.heartbeat_ms = 1000};
    open_served(&served, &options);
    int fd = raw_open(served.node.endpoint, "DEALER");
    put(fd, bytes, raw_hello(bytes, "ghost", 10));
    cr_assert(run_until(both, counts_up, &two));
    for (int i = 0; i < 6 && counters_of(&served.node).peers_down == 0; i++) {
        served.node.virtual_now += SECOND;
        check_link_serves(&served);
    }
    cr_assert(run_until(both, counts_down, &(uint64_t){1}));
    cr_assert(!dctx_link_peer_is_up(served.node.link, "ghost"));
    cr_assert(dctx_link_peer_is_up(served.node.link, "good"));
    close(fd);
    close_served(&served);
}

/* It says that it takes four thousand messages, and takes none: they are held, and then refused;
 * and when it is given up they come back. */
Test(slow, a_link_holds_no_more_for_who_never_reads, .timeout = 60)
{
    static char bulk[2000];
    served_t served;
    uint8_t bytes[512];
    node_t *both[] = {&served.node, &served.good, NULL};
    const dctx_link_options_t options = {.heartbeat_ms = 1000, .queue_limit = 100, .window = 4000};
    memset(bulk, 'x', sizeof(bulk) - 1);
    open_served(&served, &options);
    int fd = raw_open(served.node.endpoint, "DEALER");
    put(fd, bytes, raw_hello(bytes, "deaf", 4000));
    cr_assert(run_until(both, counts_up, &(uint64_t){2}));
    dctx_error_t error = DCTX_OK;
    int taken = 0;
    for (; error == DCTX_OK && taken < 100000; taken++) {
        error = tell(&served.node, "deaf", "orders", bulk, NULL);
        if (taken % 100 == 0)
            check_link_serves(&served);
    }
    cr_assert_eq(error, DCTX_ERR_FULL);
    cr_assert_leq(taken, 4000 + 100 + 1, "the window, and what is held");
    for (int i = 0; i < 6 && counters_of(&served.node).peers_down == 0; i++) {
        served.node.virtual_now += SECOND;
        check_link_serves(&served);
    }
    cr_assert(run_until(both, counts_down, &(uint64_t){1}));
    dctx_link_counters_t counters = counters_of(&served.node);
    cr_assert_gt(counters.unacknowledged, 0);
    cr_assert_eq(counters.unacknowledged + counters.undelivered, (uint64_t)(taken - 1),
                 "each is accounted for");
    check_link_serves(&served);
    close(fd);
    close_served(&served);
}
