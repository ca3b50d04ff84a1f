/*
 * bench_transport.c - what stamped messages cost beside plain libzmq with the same bytes.
 *
 * Between two threads, each with a ZeroMQ context of its own but for inproc: payloads of 64 bytes
 * under a context of 5 keys and 2 names. A stamped message is sent with the thread's context, and
 * on receipt restored and checked; the plain one has two zmq_msg_t frames of the same sizes. The
 * lines of a link are those of two nodes with all that a link does: handshake, sequence numbers,
 * flow control, batches. Ratios are rates: 1 is as fast as the reference, more is faster. Beside
 * each stands that of the processor's time, which all threads took together, libzmq's own and the
 * kernel's included: it says what the work was where a busy machine says when it was done.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/transport.h>

#include "bench.h"

enum { KEYS = 5, PAYLOAD = 64, MAGIC = 6, FRAME_MOST = 512 };

static const char *const key_names[KEYS] = {"request-id", "tenant", "user-id", "session-id",
                                            "region"};
static const char *const values[2] = {"7f3a9c1e-42d0-b1a", "0c55e8d2-91aa-f04"};
static const dctx_key_t *keys[KEYS];

static char payload[PAYLOAD] = "an order of ordinary size";
static char stamp[FRAME_MOST]; /* what plain messages carry in the place of a stamp */
static size_t stamp_size;

/* ---- ways to send and to receive ---- */

/* `send` sends the i-th message; `receive` takes one, checks it and, if it should, answers it. Both
 * return false when the socket's context was shut down. */
typedef struct way {
    bool (*send)(void *socket, uint64_t i);
    bool (*receive)(void *socket, bool answer);
    bool settled; /* the sockets are settled ports */
} way_t;

static bool ended(int result)
{
    BENCH_REQUIRE(result >= 0 || zmq_errno() == ETERM);
    return result < 0;
}

/* zmq_msg_t, two frames. */

static bool plain_frame(void *socket, const void *data, size_t size, int flags)
{
    zmq_msg_t frame;
    BENCH_REQUIRE(zmq_msg_init_size(&frame, size) == 0);
    memcpy(zmq_msg_data(&frame), data, size);
    return !ended(zmq_msg_send(&frame, socket, flags));
}

static bool plain_send(void *socket, uint64_t i)
{
    (void)i;
    return plain_frame(socket, payload, PAYLOAD, ZMQ_SNDMORE) &&
           plain_frame(socket, stamp, stamp_size, 0);
}

static bool plain_receive(void *socket, bool answer)
{
    zmq_msg_t frames[2];
    for (int i = 0; i < 2; i++) {
        BENCH_REQUIRE(zmq_msg_init(&frames[i]) == 0);
        if (ended(zmq_msg_recv(&frames[i], socket, 0)))
            return false;
        BENCH_REQUIRE((zmq_msg_more(&frames[i]) != 0) == (i == 0));
    }
    BENCH_REQUIRE(zmq_msg_size(&frames[0]) == PAYLOAD && zmq_msg_size(&frames[1]) == stamp_size);
    for (int i = 0; i < 2; i++)
        zmq_msg_close(&frames[i]);
    return !answer || plain_send(socket, 0);
}

/* czmq's zmsg_t, two frames. */

static bool zmsg_send_frames(void *socket, uint64_t i)
{
    (void)i;
    zmsg_t *message = zmsg_new();
    zmsg_addmem(message, payload, PAYLOAD);
    zmsg_addmem(message, stamp, stamp_size);
    return !ended(zmsg_send(&message, socket));
}

static bool zmsg_receive_frames(void *socket, bool answer)
{
    zmsg_t *message = zmsg_recv(socket);
    if (message == NULL)
        return false;
    BENCH_REQUIRE(zmsg_size(message) == 2);
    zmsg_destroy(&message);
    return !answer || zmsg_send_frames(socket, 0);
}

/* czmq's zmsg_t, one frame: no stamp, and no thought of one. */

static bool zmsg_send_bare(void *socket, uint64_t i)
{
    (void)i;
    zmsg_t *message = zmsg_new();
    zmsg_addmem(message, payload, PAYLOAD);
    return !ended(zmsg_send(&message, socket));
}

static bool zmsg_receive_bare(void *socket, bool answer)
{
    zmsg_t *message = zmsg_recv(socket);
    if (message == NULL)
        return false;
    BENCH_REQUIRE(zmsg_size(message) == 1);
    zmsg_destroy(&message);
    return !answer || zmsg_send_bare(socket, 0);
}

/* dctx_frames_send() and dctx_frames_recv_attach(). */

static bool stamped_send(void *socket, uint64_t i)
{
    (void)i;
    dctx_frames_t message;
    dctx_frames_init(&message);
    dctx_error_t error = dctx_frames_add(&message, payload, PAYLOAD);
    if (error == DCTX_OK)
        error = dctx_frames_send(socket, &message);
    dctx_frames_finish(&message);
    return error == DCTX_OK;
}

/* A context that no message before had. */
static bool stamped_send_fresh(void *socket, uint64_t i)
{
    char value[17] = "7f3a9c1e-42d0-b1";
    for (int digit = 15; digit >= 0 && i > 0; digit--, i >>= 4)
        value[digit] = "0123456789abcdef"[i & 15];
    BENCH_REQUIRE(dctx_set(keys[0], value) == DCTX_OK);
    return stamped_send(socket, 0);
}

static bool stamped_take(void *socket, bool answer, bool has_context)
{
    dctx_frames_t message;
    dctx_scope_t scope;
    dctx_frames_init(&message);
    if (dctx_frames_recv_attach(socket, NULL, &message, &scope) != DCTX_OK)
        return false;
    const char *value = dctx_get(keys[3]);
    BENCH_REQUIRE(has_context ? value != NULL && strcmp(value, values[0]) == 0 : value == NULL);
    BENCH_REQUIRE(message.count == 1 && zmq_msg_size(&message.at[0]) == PAYLOAD);
    dctx_frames_finish(&message);
    bool alive = !answer || stamped_send(socket, 0);
    BENCH_REQUIRE(dctx_scope_pop(&scope) == DCTX_OK);
    return alive;
}

static bool stamped_receive(void *socket, bool answer)
{
    return stamped_take(socket, answer, true);
}

static bool stamped_receive_empty(void *socket, bool answer)
{
    return stamped_take(socket, answer, false);
}

/* One frame of zmq_msg_t. */

static bool single_send(void *socket, uint64_t i)
{
    (void)i;
    return plain_frame(socket, payload, PAYLOAD, 0);
}

static bool single_receive(void *socket, bool answer)
{
    zmq_msg_t frame;
    BENCH_REQUIRE(zmq_msg_init(&frame) == 0);
    if (ended(zmq_msg_recv(&frame, socket, 0)))
        return false;
    BENCH_REQUIRE(zmq_msg_size(&frame) == PAYLOAD && zmq_msg_more(&frame) == 0);
    zmq_msg_close(&frame);
    return !answer || single_send(socket, 0);
}

/* dctx_send() and dctx_recv() where zmsg_send() and zmsg_recv() stood. */

static bool zmsg_send_empty(void *socket, uint64_t i)
{
    (void)i;
    zmsg_t *message = zmsg_new();
    zmsg_addmem(message, payload, PAYLOAD);
    if (dctx_send(socket, &message) == DCTX_OK)
        return true;
    zmsg_destroy(&message);
    return false;
}

static bool zmsg_receive_empty(void *socket, bool answer)
{
    zmsg_t *message;
    dctx_snapshot_t *snapshot;
    if (dctx_recv(socket, &message, &snapshot) != DCTX_OK)
        return false;
    BENCH_REQUIRE(zmsg_size(message) == 1 && dctx_snapshot_is_empty(snapshot));
    zmsg_destroy(&message);
    dctx_snapshot_unref(&snapshot);
    return !answer || zmsg_send_empty(socket, 0);
}

static const way_t way_plain = {plain_send, plain_receive, false};
static const way_t way_zmsg = {zmsg_send_frames, zmsg_receive_frames, false};
static const way_t way_bare = {zmsg_send_bare, zmsg_receive_bare, false};
static const way_t way_stamped = {stamped_send, stamped_receive, false};
static const way_t way_fresh = {stamped_send_fresh, stamped_receive, false};
static const way_t way_settled = {stamped_send, stamped_receive, true};
static const way_t way_fresh_settled = {stamped_send_fresh, stamped_receive, true};
static const way_t way_single = {single_send, single_receive, false};
static const way_t way_empty = {stamped_send, stamped_receive_empty, false};
static const way_t way_zmsg_empty = {zmsg_send_empty, zmsg_receive_empty, false};
static const way_t way_zmsg_empty_settled = {zmsg_send_empty, zmsg_receive_empty, true};

/* ---- two threads and a connection between them ---- */

typedef struct pair {
    const way_t *way;
    bool round_trip;
    void *contexts[2]; /* the same one twice for inproc */
    void *sockets[2];
    dctx_port_t *ports[2]; /* of those, if the way is one of ports */
    pthread_t thread;
    uint64_t target; /* written by the sender before it begins, read by the receiver; relaxed: the
                        messages order it */
} pair_t;

/* What the way is given for a socket. */
static void *end_of(const pair_t *pair, int i)
{
    return pair->ports[i] != NULL ? (void *)pair->ports[i] : pair->sockets[i];
}

static void *receiver(void *arg)
{
    pair_t *pair = arg;
    void *socket = pair->sockets[1];
    uint64_t received = 0;
    while (pair->way->receive(end_of(pair, 1), pair->round_trip)) {
        if (pair->round_trip || ++received < __atomic_load_n(&pair->target, __ATOMIC_RELAXED))
            continue;
        received = 0;
        if (zmq_send(socket, "", 0, 0) < 0)
            break;
    }
    dctx_port_destroy(&pair->ports[1]);
    zmq_close(socket);
    return NULL;
}

static void *new_socket(void *context)
{
    int linger = 0;
    void *socket = zmq_socket(context, ZMQ_PAIR);
    BENCH_REQUIRE(socket != NULL);
    BENCH_REQUIRE(zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)) == 0);
    return socket;
}

static void pair_open(pair_t *pair, const way_t *way, bool round_trip, const char *endpoint)
{
    char bound[256];
    size_t size = sizeof(bound);
    bool inproc = strncmp(endpoint, "inproc:", 7) == 0;
    *pair = (pair_t){.way = way, .round_trip = round_trip};
    pair->contexts[0] = zmq_ctx_new();
    pair->contexts[1] = inproc ? pair->contexts[0] : zmq_ctx_new();
    BENCH_REQUIRE(pair->contexts[0] != NULL && pair->contexts[1] != NULL);
    for (int i = 0; i < 2; i++)
        pair->sockets[i] = new_socket(pair->contexts[i]);
    for (int i = 0; way->settled && i < 2; i++)
        BENCH_REQUIRE(dctx_port_new(pair->sockets[i], NULL, &pair->ports[i]) == DCTX_OK);
    BENCH_REQUIRE(dctx_socket_bind(end_of(pair, 1), endpoint) == DCTX_OK);
    BENCH_REQUIRE(zmq_getsockopt(pair->sockets[1], ZMQ_LAST_ENDPOINT, bound, &size) == 0);
    BENCH_REQUIRE(dctx_socket_connect(end_of(pair, 0), bound) == DCTX_OK);
    for (int i = 0; way->settled && i < 2; i++)
        BENCH_REQUIRE(dctx_port_settle(pair->ports[i]) == DCTX_OK);
    BENCH_REQUIRE(pthread_create(&pair->thread, NULL, receiver, pair) == 0);
}

static void pair_close(pair_t *pair)
{
    zmq_ctx_shutdown(pair->contexts[1]);
    pthread_join(pair->thread, NULL);
    dctx_port_destroy(&pair->ports[0]);
    zmq_close(pair->sockets[0]);
    zmq_ctx_term(pair->contexts[0]);
    if (pair->contexts[1] != pair->contexts[0])
        zmq_ctx_term(pair->contexts[1]);
}

static void exchange(void *arg, uint64_t count)
{
    pair_t *pair = arg;
    void *socket = end_of(pair, 0);
    __atomic_store_n(&pair->target, count, __ATOMIC_RELAXED);
    for (uint64_t i = 0; i < count; i++) {
        BENCH_REQUIRE(pair->way->send(socket, i));
        if (pair->round_trip)
            BENCH_REQUIRE(pair->way->receive(socket, false));
    }
    if (!pair->round_trip)
        BENCH_REQUIRE(zmq_recv(pair->sockets[0], NULL, 0, 0) == 0);
}

/* ---- two threads and a link between them ---- */

enum { BATCH = 64, ITEMS = 8 };

typedef struct nodes {
    bool round_trip;
    bool fresh; /* each message has a context that the one before had not */
    dctx_link_t *links[2];
    int stop[2]; /* a pipe; closed at the writing end: the receiver ends */
    pthread_t thread;
    uint64_t target;   /* as in pair_t */
    uint64_t received; /* the receiver's */
    bool answered;     /* the sender's */
} nodes_t;

static dctx_link_message_t tell(const char *target, const dctx_snapshot_t *snapshot)
{
    return (dctx_link_message_t){.kind = DCTX_LINK_TELL,
                                 .target = {target, strlen(target)},
                                 .type = {"order", 5},
                                 .payload = {payload, PAYLOAD},
                                 .snapshot = snapshot};
}

static void on_tell(const char *peer, const dctx_link_message_t *message, void *arg)
{
    nodes_t *nodes = arg;
    BENCH_REQUIRE(message->payload.size == PAYLOAD);
    DCTX_ATTACH(message->snapshot);
    const char *value = dctx_get(keys[3]);
    BENCH_REQUIRE(value != NULL && strcmp(value, values[0]) == 0);
    nodes->received++;
    if (!nodes->round_trip && nodes->received < __atomic_load_n(&nodes->target, __ATOMIC_RELAXED))
        return;
    nodes->received = 0;
    dctx_link_message_t answer = tell("client", message->snapshot);
    BENCH_REQUIRE(dctx_link_send(nodes->links[1], peer, &answer) == DCTX_OK);
}

static void on_answer(const char *peer, const dctx_link_message_t *message, void *arg)
{
    nodes_t *nodes = arg;
    (void)peer;
    const char *value = dctx_snapshot_get(message->snapshot, keys[3]);
    BENCH_REQUIRE(value != NULL && strcmp(value, values[0]) == 0);
    nodes->answered = true;
}

/* Waits until there is something to do, and does it; false when `stop` is readable. */
static bool turn(dctx_link_t *link, int stop)
{
    zmq_pollitem_t items[ITEMS + 1];
    items[0] = (zmq_pollitem_t){NULL, stop, ZMQ_POLLIN, 0};
    size_t count = dctx_link_poll_items(link, items + 1, ITEMS);
    BENCH_REQUIRE(count <= ITEMS);
    BENCH_REQUIRE(zmq_poll(items, (int)count + 1, dctx_link_timeout_ms(link)) >= 0);
    bool more = true;
    while (more && items[0].revents == 0)
        more = dctx_link_process(link, 0);
    return items[0].revents == 0;
}

static void *node(void *arg)
{
    nodes_t *nodes = arg;
    while (turn(nodes->links[1], nodes->stop[0]))
        continue;
    dctx_link_destroy(&nodes->links[1]);
    return NULL;
}

static void nodes_open(nodes_t *nodes, bool round_trip, bool fresh)
{
    static const char *const names[2] = {"client", "server"};
    const char *endpoint;
    *nodes = (nodes_t){.round_trip = round_trip, .fresh = fresh};
    BENCH_REQUIRE(pipe(nodes->stop) == 0);
    for (int i = 0; i < 2; i++)
        BENCH_REQUIRE(
            dctx_link_new(&(dctx_link_options_t){.node = names[i],
                                                 .on_message = i == 0 ? on_answer : on_tell,
                                                 .arg = nodes},
                          &nodes->links[i]) == DCTX_OK);
    BENCH_REQUIRE(dctx_link_bind(nodes->links[1], "tcp://127.0.0.1:*", &endpoint) == DCTX_OK);
    BENCH_REQUIRE(dctx_link_connect(nodes->links[0], names[1], endpoint) == DCTX_OK);
    BENCH_REQUIRE(pthread_create(&nodes->thread, NULL, node, nodes) == 0);
    while (!dctx_link_peer_is_up(nodes->links[0], names[1]))
        (void)turn(nodes->links[0], nodes->stop[0]);
}

static void nodes_close(nodes_t *nodes)
{
    close(nodes->stop[1]);
    pthread_join(nodes->thread, NULL);
    dctx_link_destroy(&nodes->links[0]);
    close(nodes->stop[0]);
}

static void wait_for_answer(nodes_t *nodes)
{
    while (!nodes->answered)
        (void)turn(nodes->links[0], nodes->stop[0]);
}

static void link_send(nodes_t *nodes, uint64_t i)
{
    dctx_snapshot_t *snapshot;
    nodes->answered = false;
    if (nodes->fresh)
        BENCH_REQUIRE(dctx_set(keys[0], values[i & 1]) == DCTX_OK);
    BENCH_REQUIRE(dctx_capture(&snapshot) == DCTX_OK);
    dctx_link_message_t message = tell("orders", snapshot);
    dctx_error_t error;
    while ((error = dctx_link_send(nodes->links[0], "server", &message)) == DCTX_ERR_FULL)
        (void)turn(nodes->links[0], nodes->stop[0]);
    BENCH_REQUIRE(error == DCTX_OK);
    dctx_snapshot_unref(&snapshot);
}

static void link_exchange(void *arg, uint64_t count)
{
    nodes_t *nodes = arg;
    __atomic_store_n(&nodes->target, count, __ATOMIC_RELAXED);
    for (uint64_t i = 0; i < count; i++) {
        link_send(nodes, i);
        if (nodes->round_trip)
            wait_for_answer(nodes);
        else if (i % BATCH == BATCH - 1)
            (void)dctx_link_process(nodes->links[0], 0);
    }
    if (!nodes->round_trip)
        wait_for_answer(nodes);
}

/* ---- lines ---- */

static char directory[] = "/tmp/bench-transport-XXXXXX";

/* An endpoint that no other pair uses. */
static void endpoint_of(const char *transport, char *ret, size_t size)
{
    static unsigned number;
    number++;
    if (strcmp(transport, "tcp") == 0)
        snprintf(ret, size, "tcp://127.0.0.1:*");
    else if (strcmp(transport, "ipc") == 0)
        snprintf(ret, size, "ipc://%s/%u", directory, number);
    else
        snprintf(ret, size, "inproc://bench-%u", number);
}

enum { ROUNDS = 61, QUICK_ROUNDS = 9 };

/* What of a run counts. */
typedef struct side {
    bench_fn run;
    void *arg;
    uint64_t count; /* of messages a round */
    double wall[ROUNDS];
    double cpu[ROUNDS];
} side_t;

static uint64_t cpu_now(void)
{
    struct timespec t;
    BENCH_REQUIRE(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void run_round(side_t *side, size_t round)
{
    uint64_t wall = bench_now(), cpu = cpu_now();
    side->run(side->arg, side->count);
    side->cpu[round] = (double)(cpu_now() - cpu) / (double)side->count;
    side->wall[round] = (double)(bench_now() - wall) / (double)side->count;
}

/* The two take turns in short rounds, and change places: what a neighbour on the machine does meets
 * both. The ratio is the median of the rounds' ratios. */
static void compare(const char *name, bool round_trip, bench_fn run, void *arg, bench_fn reference,
                    void *reference_arg)
{
    static side_t ours, theirs;
    char longer[128];
    double wall[ROUNDS], cpu[ROUNDS];
    size_t rounds = bench_is_quick() ? QUICK_ROUNDS : ROUNDS;
    /* The same for both, and some milliseconds: what it costs to wake the other side is in each. */
    uint64_t count = round_trip ? 100 : 10000;
    ours = (side_t){.run = run, .arg = arg, .count = count};
    theirs = (side_t){.run = reference, .arg = reference_arg, .count = count};
    run_round(&ours, 0);
    run_round(&theirs, 0);
    for (size_t i = 0; i < rounds; i++) {
        run_round(i % 2 == 0 ? &ours : &theirs, i);
        run_round(i % 2 == 0 ? &theirs : &ours, i);
        wall[i] = theirs.wall[i] / ours.wall[i];
        cpu[i] = theirs.cpu[i] / ours.cpu[i];
    }
    bench_print(name, bench_median(ours.wall, rounds), "ns");
    snprintf(longer, sizeof(longer), "%s.reference", name);
    bench_print(longer, bench_median(theirs.wall, rounds), "ns");
    bench_print(name, bench_median(wall, rounds), "ratio");
    snprintf(longer, sizeof(longer), "%s.cpu", name);
    bench_print(longer, bench_median(cpu, rounds), "ratio");
}

static void line(const char *name, const char *transport, bool round_trip, const way_t *way,
                 const way_t *reference)
{
    if (!bench_wants(name))
        return;
    char endpoint[128];
    pair_t pair, reference_pair;
    endpoint_of(transport, endpoint, sizeof(endpoint));
    pair_open(&pair, way, round_trip, endpoint);
    endpoint_of(transport, endpoint, sizeof(endpoint));
    pair_open(&reference_pair, reference, round_trip, endpoint);

    /* The way in which no context is sent, but looked for, is told by the empty context of its
     * thread. */
    dctx_scope_t scope = {0};
    dctx_snapshot_t *empty = NULL;
    if (way == &way_empty || way->send == zmsg_send_empty) {
        BENCH_REQUIRE(dctx_snapshot_empty(NULL, &empty) == DCTX_OK);
        BENCH_REQUIRE(dctx_attach(empty, &scope) == DCTX_OK);
    }
    compare(name, round_trip, exchange, &pair, exchange, &reference_pair);
    BENCH_REQUIRE(dctx_scope_pop(&scope) == DCTX_OK);
    dctx_snapshot_unref(&empty);
    pair_close(&pair);
    pair_close(&reference_pair);
}

static void link_line(const char *name, bool round_trip, bool fresh)
{
    if (!bench_wants(name))
        return;
    nodes_t nodes;
    pair_t reference;
    nodes_open(&nodes, round_trip, fresh);
    pair_open(&reference, &way_plain, round_trip, "tcp://127.0.0.1:*");
    compare(name, round_trip, link_exchange, &nodes, exchange, &reference);
    nodes_close(&nodes);
    pair_close(&reference);
}

static void measure(void)
{
    line("transport.tcp.oneway", "tcp", false, &way_stamped, &way_plain);
    line("transport.tcp.oneway.fresh", "tcp", false, &way_fresh, &way_plain);
    /* libzmq is not asked what it has told before. */
    line("transport.tcp.oneway.settled", "tcp", false, &way_settled, &way_plain);
    line("transport.tcp.oneway.fresh.settled", "tcp", false, &way_fresh_settled, &way_plain);
    line("transport.tcp.oneway.vs_zmsg", "tcp", false, &way_stamped, &way_zmsg);
    /* What the best of them could do: plain libzmq's own. */
    line("transport.tcp.oneway.vs_zmsg.plain", "tcp", false, &way_plain, &way_zmsg);
    line("transport.tcp.oneway.empty", "tcp", false, &way_zmsg_empty, &way_bare);
    line("transport.tcp.oneway.empty.settled", "tcp", false, &way_zmsg_empty_settled, &way_bare);
    line("transport.tcp.oneway.empty.frames", "tcp", false, &way_empty, &way_single);
    line("transport.tcp.roundtrip", "tcp", true, &way_stamped, &way_plain);
    line("transport.tcp.roundtrip.fresh", "tcp", true, &way_fresh, &way_plain);
    line("transport.ipc.oneway", "ipc", false, &way_stamped, &way_plain);
    line("transport.ipc.oneway.fresh", "ipc", false, &way_fresh, &way_plain);
    line("transport.ipc.oneway.settled", "ipc", false, &way_settled, &way_plain);
    line("transport.ipc.oneway.fresh.settled", "ipc", false, &way_fresh_settled, &way_plain);
    line("transport.inproc.oneway", "inproc", false, &way_stamped, &way_plain);
    line("transport.inproc.oneway.fresh", "inproc", false, &way_fresh, &way_plain);
    line("transport.inproc.oneway.settled", "inproc", false, &way_settled, &way_plain);
    line("transport.inproc.oneway.fresh.settled", "inproc", false, &way_fresh_settled, &way_plain);
    line("transport.inproc.oneway.vs_zmsg", "inproc", false, &way_stamped, &way_zmsg);
    line("transport.inproc.oneway.empty", "inproc", false, &way_zmsg_empty, &way_bare);
    line("transport.inproc.oneway.empty.settled", "inproc", false, &way_zmsg_empty_settled,
         &way_bare);
    line("transport.inproc.oneway.empty.frames", "inproc", false, &way_empty, &way_single);
    link_line("transport.link.tcp.oneway", false, false);
    link_line("transport.link.tcp.oneway.fresh", false, true);
    link_line("transport.link.tcp.roundtrip", true, false);
}

static void prepare_context(void)
{
    dctx_snapshot_t *snapshot;
    dctx_bytes_t bytes;
    for (unsigned i = 0; i < KEYS; i++)
        BENCH_REQUIRE(dctx_set(keys[i], values[0]) == DCTX_OK);
    BENCH_REQUIRE(dctx_capture(&snapshot) == DCTX_OK);
    BENCH_REQUIRE(dctx_snapshot_encode(snapshot, &bytes) == DCTX_OK);
    stamp_size = MAGIC + bytes.size;
    BENCH_REQUIRE(stamp_size <= FRAME_MOST);
    memcpy(stamp + MAGIC, bytes.data, bytes.size);
    dctx_snapshot_unref(&snapshot);
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    BENCH_REQUIRE(mkdtemp(directory) != NULL);
    for (unsigned i = 0; i < KEYS; i++)
        BENCH_REQUIRE(
            dctx_registry_add(NULL,
                              &(dctx_key_options_t){.name = key_names[i], .type = DCTX_TYPE_STRING},
                              &keys[i]) == DCTX_OK);
    BENCH_REQUIRE(dctx_registry_freeze(NULL) == DCTX_OK);
    DCTX_SCOPE("api-gateway");
    DCTX_SCOPE("remote:orders");
    prepare_context();
    measure();
    rmdir(directory);
    return bench_finish();
}
