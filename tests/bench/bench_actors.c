/*
 * bench_actors.c - what stamped tells and asks cost beside the same exchanges in plain libzmq.
 *
 * Each message has a payload of 8 bytes and a context of 5 keys and a chain of 2 names; the handler
 * reads one key. Lines named .vs_zmq are rates beside plain libzmq: more is faster. Between
 * processes its messages have the same bytes; inside one they are 8 bytes without any context
 * (.vs_zmq) and with the bytes of a stamp (.vs_zmq_stamped). Lines named .context_cost are the cost
 * of a message with context, to one without; .bounded_cost and .metered_cost of one to an actor
 * with a mailbox_limit, and to one that is measured, to one to an actor with neither.
 */
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/actors.h>

#include "actors_lines.h"
#include "actors_peers.h"
#include "bench.h"

enum { KEYS = 5, STAMP_MOST = 512, ENDPOINT = 128, TIMEOUT_MS = 10000 };

static const char *const key_names[KEYS] = {"request-id", "tenant", "user-id", "session-id",
                                            "region"};
static const char value_text[] = "7f3a9c1e-42d0-b1a";
static const dctx_key_t *keys[KEYS];

static char stamp[STAMP_MOST]; /* what plain messages carry in the place of a stamp */
static size_t stamp_size;

static void register_keys(void)
{
    for (unsigned i = 0; i < KEYS; i++)
        BENCH_REQUIRE(
            dctx_registry_add(NULL,
                              &(dctx_key_options_t){.name = key_names[i], .type = DCTX_TYPE_STRING},
                              &keys[i]) == DCTX_OK);
    BENCH_REQUIRE(dctx_registry_freeze(NULL) == DCTX_OK);
}

/* The rate of one beside the other, from the cost of both. The line `name` itself goes with the
 * first of several references. */
static void rate_line(const char *name, const char *suffix, bench_fn run, void *arg,
                      bench_fn reference, void *reference_arg)
{
    char full[128], reference_name[160];
    double ns, reference_ns;
    snprintf(full, sizeof(full), "%s.%s", name, suffix);
    if (!bench_wants(name) && !bench_wants(full))
        return;
    double cost = bench_in_turns(run, arg, reference, reference_arg, &ns, &reference_ns);
    snprintf(reference_name, sizeof(reference_name), "%s.reference", full);
    if (strcmp(suffix, "vs_zmq") == 0)
        bench_print(name, ns, "ns");
    bench_print(reference_name, reference_ns, "ns");
    bench_print(full, 1 / cost, "ratio");
}

/* ---- tell, one way, inside the process ---- */

/* The sender keeps at most this many messages under way, and sleeps until half of them are handled:
 * libzmq's high-water marks do the same to it. */
enum { TELLS_MOST = 2000, TELLS_LOOK = 128 };

typedef struct sink {
    dctx_ref_t ref;
    bool bare;       /* no context is sent */
    uint64_t target; /* written by the sender before its first message, which orders it */
    sem_t done;
    sem_t room;
    /* At how many messages the receiver is to post `room`; 0: it need not. Whoever takes the number
     * out has settled it, so the sender is woken exactly once, or never went to sleep. Sequentially
     * consistent, as each side writes one of the two and then reads the other. */
    uint64_t wake_at __attribute__((aligned(64)));
    uint64_t handled __attribute__((aligned(64))); /* written by the receiver, now and then */
    uint64_t count __attribute__((aligned(64)));   /* handled in all; the receiver's own */
} sink_t;

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        BENCH_REQUIRE(errno == EINTR);
}

static dctx_error_t sink_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    sink_t *sink = state;
    (void)self;
    const char *value = dctx_get(keys[3]);
    BENCH_REQUIRE((value == NULL) == sink->bare);
    BENCH_REQUIRE(dctx_message_get(message, DCTX_TYPE_UINT64) != NULL);
    if (++sink->count % TELLS_LOOK == 0) {
        __atomic_store_n(&sink->handled, sink->count, __ATOMIC_SEQ_CST);
        uint64_t wake_at = __atomic_load_n(&sink->wake_at, __ATOMIC_SEQ_CST);
        if (wake_at != 0 && sink->count >= wake_at &&
            __atomic_exchange_n(&sink->wake_at, 0, __ATOMIC_SEQ_CST) != 0)
            sem_post(&sink->room);
    }
    if (sink->count == sink->target)
        sem_post(&sink->done);
    return DCTX_OK;
}

/* `sent` messages in all were sent. */
static void wait_for_room(sink_t *sink, uint64_t sent)
{
    if (sent - __atomic_load_n(&sink->handled, __ATOMIC_SEQ_CST) < TELLS_MOST)
        return;
    uint64_t wake_at = sent - TELLS_MOST / 2;
    __atomic_store_n(&sink->wake_at, wake_at, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&sink->handled, __ATOMIC_SEQ_CST) >= wake_at &&
        __atomic_exchange_n(&sink->wake_at, 0, __ATOMIC_SEQ_CST) != 0)
        return;
    wait_for(&sink->room);
}

static void tell_many(void *arg, uint64_t count)
{
    sink_t *sink = arg;
    uint64_t sent = sink->target;
    sink->target = sent + count;
    for (uint64_t i = 0; i < count; i++) {
        BENCH_REQUIRE(dctx_tell(sink->ref, DCTX_TYPE_UINT64, &i) == DCTX_OK);
        if (++sent % TELLS_LOOK == 0)
            wait_for_room(sink, sent);
    }
    wait_for(&sink->done);
}

/* The same in an empty context. */
static void tell_many_bare(void *arg, uint64_t count)
{
    dctx_snapshot_t *empty;
    BENCH_REQUIRE(dctx_snapshot_empty(NULL, &empty) == DCTX_OK);
    DCTX_WITH_SNAPSHOT(empty) {
        tell_many(arg, count);
    }
    dctx_snapshot_unref(&empty);
}

static void sink_open(sink_t *sink, dctx_system_t *system, bool bare, unsigned flags, size_t limit)
{
    *sink = (sink_t){.bare = bare};
    BENCH_REQUIRE(sem_init(&sink->done, 0, 0) == 0 && sem_init(&sink->room, 0, 0) == 0);
    BENCH_REQUIRE(dctx_spawn(system,
                             &(dctx_actor_options_t){.handler = sink_handle,
                                                     .state = sink,
                                                     .flags = flags,
                                                     .mailbox_limit = limit},
                             &sink->ref) == DCTX_OK);
}

/* PUSH and PULL over inproc. */

typedef struct pipeline {
    void *context, *push, *pull;
    size_t size; /* of a message */
    pthread_t thread;
    uint64_t target; /* as in sink_t */
    sem_t done;
} pipeline_t;

static void *pipeline_run(void *arg)
{
    pipeline_t *pipeline = arg;
    zmq_msg_t message;
    uint64_t handled = 0;
    BENCH_REQUIRE(zmq_msg_init(&message) == 0);
    while (zmq_msg_recv(&message, pipeline->pull, 0) >= 0) {
        BENCH_REQUIRE(zmq_msg_size(&message) == pipeline->size);
        if (++handled == pipeline->target)
            sem_post(&pipeline->done);
    }
    BENCH_REQUIRE(zmq_errno() == ETERM);
    zmq_msg_close(&message);
    zmq_close(pipeline->pull);
    return NULL;
}

static void send_plain(void *socket, uint64_t payload, size_t size)
{
    zmq_msg_t message;
    BENCH_REQUIRE(zmq_msg_init_size(&message, size) == 0);
    char *data = zmq_msg_data(&message);
    memcpy(data, &payload, sizeof(payload));
    memcpy(data + sizeof(payload), stamp, size - sizeof(payload));
    BENCH_REQUIRE(zmq_msg_send(&message, socket, 0) >= 0);
}

static void push_many(void *arg, uint64_t count)
{
    pipeline_t *pipeline = arg;
    pipeline->target += count;
    for (uint64_t i = 0; i < count; i++)
        send_plain(pipeline->push, i, pipeline->size);
    wait_for(&pipeline->done);
}

static void pipeline_open(pipeline_t *pipeline, size_t size)
{
    *pipeline = (pipeline_t){.size = size, .context = zmq_ctx_new()};
    BENCH_REQUIRE(pipeline->context != NULL && sem_init(&pipeline->done, 0, 0) == 0);
    pipeline->push = zmq_socket(pipeline->context, ZMQ_PUSH);
    pipeline->pull = zmq_socket(pipeline->context, ZMQ_PULL);
    BENCH_REQUIRE(pipeline->push != NULL && pipeline->pull != NULL);
    BENCH_REQUIRE(zmq_bind(pipeline->pull, "inproc://pipeline") == 0);
    BENCH_REQUIRE(zmq_connect(pipeline->push, "inproc://pipeline") == 0);
    BENCH_REQUIRE(pthread_create(&pipeline->thread, NULL, pipeline_run, pipeline) == 0);
}

static void pipeline_close(pipeline_t *pipeline)
{
    zmq_ctx_shutdown(pipeline->context);
    pthread_join(pipeline->thread, NULL);
    zmq_close(pipeline->push);
    zmq_ctx_term(pipeline->context);
    sem_destroy(&pipeline->done);
}

static void sink_cost(const char *name, sink_t *sink, sink_t *reference)
{
    double ns, reference_ns;
    if (!bench_wants(name))
        return;
    double ratio =
        bench_in_turns(tell_many_bare, sink, tell_many_bare, reference, &ns, &reference_ns);
    bench_print(name, ratio, "ratio");
}

static void measure_tell(dctx_system_t *system)
{
    static const char name[] = "actors.tell.inproc", cost[] = "actors.tell.inproc.context_cost";
    static sink_t sink, bare_sink, bounded, metered;
    static pipeline_t small, stamped;
    sink_open(&sink, system, false, 0, 0);
    sink_open(&bare_sink, system, true, 0, 0);
    sink_open(&bounded, system, true, 0, 2 * TELLS_MOST);
    sink_open(&metered, system, true, DCTX_METERED, 0);
    pipeline_open(&small, sizeof(uint64_t));
    pipeline_open(&stamped, sizeof(uint64_t) + stamp_size);
    rate_line(name, "vs_zmq", tell_many, &sink, push_many, &small);
    rate_line(name, "vs_zmq_stamped", tell_many, &sink, push_many, &stamped);
    if (bench_wants(cost)) {
        double ns, bare_ns;
        double ratio = bench_in_turns(tell_many, &sink, tell_many_bare, &bare_sink, &ns, &bare_ns);
        bench_print(cost, ratio, "ratio");
    }
    /* Of a message without context, as that is the least there is to compare with. */
    sink_cost("actors.tell.inproc.bounded_cost", &bounded, &bare_sink);
    sink_cost("actors.tell.inproc.metered_cost", &metered, &bare_sink);
    pipeline_close(&small);
    pipeline_close(&stamped);
}

/* ---- ask, between two processes over tcp ---- */

typedef struct server {
    pid_t pid;
    int control; /* closed: the server ends */
    char actors[ENDPOINT], plain[ENDPOINT];
} server_t;

static dctx_error_t echo_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    const char *value = dctx_get(keys[3]);
    BENCH_REQUIRE(value != NULL && strcmp(value, value_text) == 0);
    const uint64_t *payload = dctx_message_get(message, DCTX_TYPE_UINT64);
    BENCH_REQUIRE(payload != NULL);
    return dctx_reply(message, DCTX_TYPE_UINT64, payload);
}

/* Answers each request with its first 8 bytes until the control pipe is closed. */
static void serve_plain(void *router, int control)
{
    zmq_pollitem_t items[] = {{router, 0, ZMQ_POLLIN, 0}, {NULL, control, ZMQ_POLLIN, 0}};
    for (;;) {
        BENCH_REQUIRE(zmq_poll(items, 2, -1) >= 0 || zmq_errno() == EINTR);
        if (items[1].revents != 0)
            return;
        zmq_msg_t identity, request;
        zmq_msg_init(&identity);
        zmq_msg_init(&request);
        while (zmq_msg_recv(&identity, router, ZMQ_DONTWAIT) >= 0) {
            BENCH_REQUIRE(zmq_msg_recv(&request, router, 0) >= 0);
            uint64_t payload;
            BENCH_REQUIRE(zmq_msg_size(&request) >= sizeof(payload));
            memcpy(&payload, zmq_msg_data(&request), sizeof(payload));
            BENCH_REQUIRE(zmq_msg_send(&identity, router, ZMQ_SNDMORE) >= 0);
            send_plain(router, payload, sizeof(payload));
        }
        zmq_msg_close(&identity);
        zmq_msg_close(&request);
    }
}

static void serve(int control, int announce)
{
    dctx_system_t *system;
    dctx_ref_t ref;
    char *endpoint;
    char endpoints[2][ENDPOINT] = {{0}};
    register_keys();
    BENCH_REQUIRE(dctx_system_new(&(dctx_system_options_t){.name = "server", .workers = 2},
                                  &system) == DCTX_OK);
    BENCH_REQUIRE(dctx_spawn(system,
                             &(dctx_actor_options_t){.name = "echo", .handler = echo_handle},
                             &ref) == DCTX_OK);
    BENCH_REQUIRE(dctx_system_bind(system, "tcp://127.0.0.1:*", &endpoint) == DCTX_OK);
    snprintf(endpoints[0], ENDPOINT, "%s", endpoint);
    dctx_free(endpoint);

    size_t size = ENDPOINT;
    void *context = zmq_ctx_new();
    void *router = context != NULL ? zmq_socket(context, ZMQ_ROUTER) : NULL;
    BENCH_REQUIRE(router != NULL && zmq_bind(router, "tcp://127.0.0.1:*") == 0);
    BENCH_REQUIRE(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoints[1], &size) == 0);

    BENCH_REQUIRE(write(announce, endpoints, sizeof(endpoints)) == sizeof(endpoints));
    serve_plain(router, control);
    zmq_close(router);
    zmq_ctx_term(context);
    dctx_system_destroy(&system);
}

/* Before the first thread: a child process has none of its parent's. */
static void server_start(server_t *server)
{
    int control[2], announce[2];
    char endpoints[2][ENDPOINT];
    BENCH_REQUIRE(pipe2(control, O_CLOEXEC) == 0 && pipe2(announce, O_CLOEXEC) == 0);
    server->pid = fork();
    BENCH_REQUIRE(server->pid >= 0);
    if (server->pid == 0) {
        close(control[1]);
        close(announce[0]);
        serve(control[0], announce[1]);
        _exit(0);
    }
    close(control[0]);
    close(announce[1]);
    server->control = control[1];
    BENCH_REQUIRE(read(announce[0], endpoints, sizeof(endpoints)) == sizeof(endpoints));
    close(announce[0]);
    memcpy(server->actors, endpoints[0], ENDPOINT);
    memcpy(server->plain, endpoints[1], ENDPOINT);
}

static void server_stop(server_t *server)
{
    int status;
    close(server->control);
    BENCH_REQUIRE(waitpid(server->pid, &status, 0) == server->pid && status == 0);
}

/* An actor that asks `count` times, `window` asks at a time. */
typedef struct asker {
    dctx_ref_t ref, server;
    uint64_t window;
    uint64_t to_ask, to_get; /* the actor's own */
    sem_t done;
} asker_t;

static void asker_next(dctx_actor_t *self, asker_t *asker);

static void asker_on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                           void *state, void *arg)
{
    asker_t *asker = state;
    (void)arg;
    BENCH_REQUIRE(status == DCTX_OK && dctx_message_get(reply, DCTX_TYPE_UINT64) != NULL);
    if (--asker->to_get == 0)
        sem_post(&asker->done);
    else
        asker_next(self, asker);
}

static void asker_next(dctx_actor_t *self, asker_t *asker)
{
    if (asker->to_ask == 0)
        return;
    asker->to_ask--;
    BENCH_REQUIRE(dctx_ask(self, asker->server, DCTX_TYPE_UINT64, &asker->to_ask, TIMEOUT_MS,
                           asker_on_reply, NULL) == DCTX_OK);
}

static dctx_error_t asker_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    asker_t *asker = state;
    const uint64_t *count = dctx_message_get(message, DCTX_TYPE_UINT64);
    BENCH_REQUIRE(count != NULL);
    asker->to_ask = asker->to_get = *count;
    for (uint64_t i = 0; i < asker->window; i++)
        asker_next(self, asker);
    return DCTX_OK;
}

static void ask_many(void *arg, uint64_t count)
{
    asker_t *asker = arg;
    BENCH_REQUIRE(dctx_tell(asker->ref, DCTX_TYPE_UINT64, &count) == DCTX_OK);
    wait_for(&asker->done);
}

/* The same by hand: DEALER here, ROUTER there. */
typedef struct dealer {
    void *socket;
    uint64_t window;
} dealer_t;

static void deal_many(void *arg, uint64_t count)
{
    dealer_t *dealer = arg;
    uint64_t to_ask = count;
    zmq_msg_t reply;
    BENCH_REQUIRE(zmq_msg_init(&reply) == 0);
    for (uint64_t i = 0; i < dealer->window && to_ask > 0; i++)
        send_plain(dealer->socket, to_ask--, sizeof(uint64_t) + stamp_size);
    for (uint64_t i = 0; i < count; i++) {
        BENCH_REQUIRE(zmq_msg_recv(&reply, dealer->socket, 0) == sizeof(uint64_t));
        if (to_ask > 0)
            send_plain(dealer->socket, to_ask--, sizeof(uint64_t) + stamp_size);
    }
    zmq_msg_close(&reply);
}

static void measure_ask(dctx_system_t *system, const server_t *server)
{
    static asker_t askers[2];
    static const uint64_t windows[2] = {1, 64};
    static const char *const names[2] = {"actors.ask.remote", "actors.ask.remote.pipelined"};
    dctx_ref_t echo;
    BENCH_REQUIRE(dctx_system_connect(system, "server", server->actors) == DCTX_OK);
    BENCH_REQUIRE(dctx_system_wait_node(system, "server", TIMEOUT_MS) == DCTX_OK);
    BENCH_REQUIRE(dctx_system_find(system, "echo@server", &echo) == DCTX_OK);

    int linger = 0;
    void *context = zmq_ctx_new();
    void *socket = context != NULL ? zmq_socket(context, ZMQ_DEALER) : NULL;
    BENCH_REQUIRE(socket != NULL && zmq_connect(socket, server->plain) == 0);
    BENCH_REQUIRE(zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)) == 0);

    for (int i = 0; i < 2; i++) {
        dealer_t dealer = {socket, windows[i]};
        askers[i] = (asker_t){.server = echo, .window = windows[i]};
        BENCH_REQUIRE(sem_init(&askers[i].done, 0, 0) == 0);
        BENCH_REQUIRE(
            dctx_spawn(system,
                       &(dctx_actor_options_t){.handler = asker_handle, .state = &askers[i]},
                       &askers[i].ref) == DCTX_OK);
        rate_line(names[i], "vs_zmq", ask_many, &askers[i], deal_many, &dealer);
    }
    zmq_close(socket);
    zmq_ctx_term(context);
}

/* ---- all of it ---- */

static void prepare_stamp(void)
{
    dctx_snapshot_t *snapshot;
    dctx_bytes_t bytes;
    DCTX_SCOPE("actor:asker");
    BENCH_REQUIRE(dctx_capture(&snapshot) == DCTX_OK);
    BENCH_REQUIRE(dctx_snapshot_encode(snapshot, &bytes) == DCTX_OK);
    BENCH_REQUIRE(bytes.size <= STAMP_MOST);
    stamp_size = bytes.size;
    memcpy(stamp, bytes.data, bytes.size);
    dctx_snapshot_unref(&snapshot);
}

int main(int argc, char **argv)
{
    server_t server;
    dctx_system_t *system;
    bench_init(argc, argv);
    bench_set_round(20);
    server_start(&server);
    peers_start();
    register_keys();

    DCTX_SCOPE("api-gateway");
    for (unsigned i = 0; i < KEYS; i++)
        BENCH_REQUIRE(dctx_set(keys[i], value_text) == DCTX_OK);
    prepare_stamp();
    BENCH_REQUIRE(dctx_system_new(&(dctx_system_options_t){.name = "client", .workers = 2},
                                  &system) == DCTX_OK);
    {
        DCTX_SCOPE("order"); /* the second name of the chain of a tell */
        measure_tell(system);
        measure_lines(system, keys[3]);
    }
    measure_ask(system, &server);
    dctx_system_destroy(&system);
    server_stop(&server);
    peers_stop();
    return bench_finish();
}
