#include "actors_lines.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zmq.h>

#include "actors_peers.h"
#include "bench.h"

enum {
    BATCH = 512, /* messages that all senders together send for a credit each */
    CREDITS = 4, /* that a sender has to begin with: so 2048 are under way, as in Go's channel */
    SENDERS = 8,
    RING = 503,
    WINDOW = 64,
    ASK_MS = 10000
};

static const dctx_key_t *key;
static dctx_system_t *the_system;

/* The context of a message: of 5 keys and 2 names, or empty. Each sender attaches it anew, so that
 * chains do not grow with each hop. */
typedef struct carried {
    dctx_snapshot_t *snapshot;
    bool bare;
} carried_t;

static carried_t with, without;

static void check(const carried_t *carried)
{
    BENCH_REQUIRE((dctx_get(key) == NULL) == carried->bare);
}

static void tell(dctx_ref_t to, uint64_t value)
{
    BENCH_REQUIRE(dctx_tell(to, DCTX_TYPE_UINT64, &value) == DCTX_OK);
}

static uint64_t number(const dctx_message_t *message)
{
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    BENCH_REQUIRE(value != NULL);
    return *value;
}

static void wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0)
        BENCH_REQUIRE(errno == EINTR);
}

static dctx_ref_t spawn(dctx_handler_fn handler, void *state)
{
    dctx_ref_t ref;
    BENCH_REQUIRE(dctx_spawn(the_system,
                             &(dctx_actor_options_t){.handler = handler, .state = state},
                             &ref) == DCTX_OK);
    return ref;
}

/* ---- a number that goes round: between two, and round a ring ---- */

typedef struct hopper {
    dctx_ref_t next;
    const carried_t *carried;
    sem_t *done;
} hopper_t;

static dctx_error_t hop(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    hopper_t *hopper = state;
    (void)self;
    uint64_t left = number(message);
    check(hopper->carried);
    if (left == 0) {
        sem_post(hopper->done);
        return DCTX_OK;
    }
    DCTX_WITH_SNAPSHOT(hopper->carried->snapshot) {
        tell(hopper->next, left - 1);
    }
    return DCTX_OK;
}

typedef struct round {
    hopper_t *hoppers;
    dctx_ref_t first;
    unsigned hops; /* an operation is so many */
    const carried_t *carried;
    sem_t done;
} round_t;

static void go_round(void *arg, uint64_t count)
{
    round_t *round = arg;
    DCTX_WITH_SNAPSHOT(round->carried->snapshot) {
        tell(round->first, count * round->hops);
    }
    wait_for(&round->done);
}

static void *round_open(const carried_t *carried, unsigned actors, unsigned hops)
{
    round_t *round = calloc(1, sizeof *round);
    hopper_t *hoppers = calloc(actors, sizeof *hoppers);
    BENCH_REQUIRE(round != NULL && hoppers != NULL && sem_init(&round->done, 0, 0) == 0);
    *round = (round_t){.hoppers = hoppers, .hops = hops, .carried = carried, .done = round->done};
    dctx_ref_t next = DCTX_REF_NONE;
    for (unsigned i = 0; i < actors; i++) {
        hoppers[i] = (hopper_t){.next = next, .carried = carried, .done = &round->done};
        next = spawn(hop, &hoppers[i]);
    }
    hoppers[0].next = next;
    round->first = next;
    return round;
}

static void *open_pingpong(const carried_t *carried)
{
    return round_open(carried, 2, 2);
}

static void *open_ring(const carried_t *carried)
{
    return round_open(carried, RING, 1);
}

/* ---- senders with credit, one receiver ---- */

typedef struct flow flow_t;

typedef struct source {
    _Alignas(64) flow_t *flow;
    uint64_t index;
    uint64_t left; /* to send: its own */
    dctx_ref_t ref;
} source_t;

struct flow {
    const carried_t *carried;
    unsigned senders;
    uint64_t batch; /* for a credit */
    dctx_ref_t sink;
    source_t sources[SENDERS];
    /* The sink's own, and on cache lines of its own: got of each since its last credit,
     * and in all. */
    _Alignas(64) uint64_t since[SENDERS];
    uint64_t got, target;
    sem_t done;
};

/* What a sender is told: to send so many, or that it has one credit more. What it is told late,
 * when it has nothing left to send, changes nothing. */
static uint64_t next_batch(uint64_t *left, uint64_t told, uint64_t batch)
{
    if (told > 0)
        *left = told;
    uint64_t credit = told > 0 ? CREDITS * batch : batch;
    uint64_t count = *left < credit ? *left : credit;
    *left -= count;
    return count;
}

static dctx_error_t send_batches(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    source_t *source = state;
    (void)self;
    uint64_t count = next_batch(&source->left, number(message), source->flow->batch);
    DCTX_WITH_SNAPSHOT(source->flow->carried->snapshot) {
        for (; count > 0; count--)
            tell(source->flow->sink, source->index);
    }
    return DCTX_OK;
}

static dctx_error_t sink(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    flow_t *flow = state;
    (void)self;
    uint64_t index = number(message);
    check(flow->carried);
    if (++flow->since[index] == flow->batch) {
        flow->since[index] = 0;
        tell(flow->sources[index].ref, 0);
    }
    if (++flow->got == flow->target)
        sem_post(&flow->done);
    return DCTX_OK;
}

static void flow_many(void *arg, uint64_t count)
{
    flow_t *flow = arg;
    uint64_t each = (count + flow->senders - 1) / flow->senders;
    flow->got = 0;
    flow->target = each * flow->senders;
    memset(flow->since, 0, sizeof flow->since);
    for (unsigned i = 0; i < flow->senders; i++)
        tell(flow->sources[i].ref, each);
    wait_for(&flow->done);
}

static void *flow_open(const carried_t *carried, unsigned senders)
{
    flow_t *flow = aligned_alloc(_Alignof(flow_t), sizeof *flow);
    BENCH_REQUIRE(flow != NULL);
    memset(flow, 0, sizeof *flow);
    BENCH_REQUIRE(sem_init(&flow->done, 0, 0) == 0);
    flow->carried = carried;
    flow->senders = senders;
    flow->batch = BATCH / senders;
    flow->sink = spawn(sink, flow);
    for (unsigned i = 0; i < senders; i++) {
        flow->sources[i] = (source_t){.flow = flow, .index = i};
        flow->sources[i].ref = spawn(send_batches, &flow->sources[i]);
    }
    return flow;
}

static void *open_oneway(const carried_t *carried)
{
    return flow_open(carried, 1);
}

static void *open_many(const carried_t *carried)
{
    return flow_open(carried, SENDERS);
}

/* ---- asks in flight ---- */

typedef struct asker {
    const carried_t *carried;
    dctx_ref_t echo, ref;
    uint64_t window;
    uint64_t to_ask, to_get;
    sem_t done;
} asker_t;

static dctx_error_t echo(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    uint64_t value = number(message);
    check(state);
    return dctx_reply(message, DCTX_TYPE_UINT64, &value);
}

static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg);

static void ask(dctx_actor_t *self, asker_t *asker)
{
    if (asker->to_ask == 0)
        return;
    asker->to_ask--;
    BENCH_REQUIRE(dctx_ask(self, asker->echo, DCTX_TYPE_UINT64, &asker->to_ask, ASK_MS, on_reply,
                           NULL) == DCTX_OK);
}

static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    asker_t *asker = state;
    (void)arg;
    BENCH_REQUIRE(status == DCTX_OK);
    (void)number(reply);
    if (--asker->to_get == 0)
        sem_post(&asker->done);
    else
        ask(self, asker);
}

static dctx_error_t begin_asking(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    asker_t *asker = state;
    asker->to_ask = asker->to_get = number(message);
    DCTX_WITH_SNAPSHOT(asker->carried->snapshot) {
        for (uint64_t i = 0; i < asker->window; i++)
            ask(self, asker);
    }
    return DCTX_OK;
}

static void ask_many(void *arg, uint64_t count)
{
    asker_t *asker = arg;
    tell(asker->ref, count);
    wait_for(&asker->done);
}

static void *asker_open(const carried_t *carried, uint64_t window)
{
    asker_t *asker = calloc(1, sizeof *asker);
    BENCH_REQUIRE(asker != NULL && sem_init(&asker->done, 0, 0) == 0);
    asker->carried = carried;
    asker->window = window;
    asker->echo = spawn(echo, (void *)(uintptr_t)carried);
    asker->ref = spawn(begin_asking, asker);
    return asker;
}

static void *open_ask1(const carried_t *carried)
{
    return asker_open(carried, 1);
}

static void *open_ask64(const carried_t *carried)
{
    return asker_open(carried, WINDOW);
}

/* ---- spawn, one message, stop ---- */

typedef struct spawner {
    const carried_t *carried;
    dctx_ref_t ref;
    uint64_t left,
        target;        /* the spawner's own; `target` is stable while children of a batch live */
    uint64_t finished; /* by children, atomic */
    sem_t done;
} spawner_t;

static dctx_error_t live_shortly(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    spawner_t *spawner = state;
    uint64_t one = number(message);
    check(spawner->carried);
    dctx_self_stop(self);
    if (__atomic_add_fetch(&spawner->finished, one, __ATOMIC_ACQ_REL) == spawner->target)
        tell(spawner->ref, 1);
    return DCTX_OK;
}

static dctx_error_t spawn_batch(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    spawner_t *spawner = state;
    (void)self;
    (void)message;
    uint64_t count = spawner->left < BATCH ? spawner->left : BATCH;
    if (count == 0) {
        sem_post(&spawner->done);
        return DCTX_OK;
    }
    spawner->left -= count;
    spawner->target += count;
    DCTX_WITH_SNAPSHOT(spawner->carried->snapshot) {
        for (; count > 0; count--)
            tell(spawn(live_shortly, spawner), 1);
    }
    return DCTX_OK;
}

static void spawn_many(void *arg, uint64_t count)
{
    spawner_t *spawner = arg;
    spawner->left = count;
    tell(spawner->ref, 1);
    wait_for(&spawner->done);
}

static void *open_spawn(const carried_t *carried)
{
    spawner_t *spawner = calloc(1, sizeof *spawner);
    BENCH_REQUIRE(spawner != NULL && sem_init(&spawner->done, 0, 0) == 0);
    spawner->carried = carried;
    spawner->ref = spawn(spawn_batch, spawner);
    return spawner;
}

/* ---- the same over libzmq: inproc, a thread for each end ---- */

typedef struct sockets {
    void *context, *pull, *push[SENDERS];
    unsigned senders;
    uint64_t each;
} sockets_t;

typedef struct pusher {
    void *socket;
    uint64_t count;
} pusher_t;

static void push(void *socket, uint64_t value)
{
    zmq_msg_t message;
    BENCH_REQUIRE(zmq_msg_init_size(&message, sizeof value) == 0);
    memcpy(zmq_msg_data(&message), &value, sizeof value);
    BENCH_REQUIRE(zmq_msg_send(&message, socket, 0) >= 0);
}

static void *push_all(void *arg)
{
    pusher_t *pusher = arg;
    while (pusher->count-- > 0)
        push(pusher->socket, pusher->count);
    return NULL;
}

static void push_many(void *arg, uint64_t count)
{
    sockets_t *sockets = arg;
    pthread_t threads[SENDERS];
    pusher_t pushers[SENDERS];
    zmq_msg_t message;
    uint64_t each = (count + sockets->senders - 1) / sockets->senders;
    for (unsigned i = 0; i < sockets->senders; i++) {
        pushers[i] = (pusher_t){sockets->push[i], each};
        BENCH_REQUIRE(pthread_create(&threads[i], NULL, push_all, &pushers[i]) == 0);
    }
    BENCH_REQUIRE(zmq_msg_init(&message) == 0);
    for (uint64_t i = each * sockets->senders; i > 0; i--)
        BENCH_REQUIRE(zmq_msg_recv(&message, sockets->pull, 0) == sizeof(uint64_t));
    zmq_msg_close(&message);
    for (unsigned i = 0; i < sockets->senders; i++)
        pthread_join(threads[i], NULL);
}

static void *bounce(void *socket)
{
    zmq_msg_t message;
    BENCH_REQUIRE(zmq_msg_init(&message) == 0);
    uint64_t left = 1;
    while (left > 0) {
        BENCH_REQUIRE(zmq_msg_recv(&message, socket, 0) == sizeof left);
        memcpy(&left, zmq_msg_data(&message), sizeof left);
        BENCH_REQUIRE(zmq_msg_send(&message, socket, 0) >= 0);
    }
    zmq_msg_close(&message);
    return NULL;
}

static void bounce_many(void *arg, uint64_t count)
{
    sockets_t *sockets = arg;
    pthread_t thread;
    zmq_msg_t message;
    BENCH_REQUIRE(pthread_create(&thread, NULL, bounce, sockets->pull) == 0);
    BENCH_REQUIRE(zmq_msg_init(&message) == 0);
    while (count-- > 0) {
        push(sockets->push[0], count);
        BENCH_REQUIRE(zmq_msg_recv(&message, sockets->push[0], 0) == sizeof count);
    }
    zmq_msg_close(&message);
    pthread_join(thread, NULL);
}

static void sockets_open(sockets_t *sockets, int in, int out, unsigned senders)
{
    *sockets = (sockets_t){.context = zmq_ctx_new(), .senders = senders};
    BENCH_REQUIRE(sockets->context != NULL);
    sockets->pull = zmq_socket(sockets->context, in);
    BENCH_REQUIRE(sockets->pull != NULL && zmq_bind(sockets->pull, "inproc://line") == 0);
    for (unsigned i = 0; i < senders; i++) {
        sockets->push[i] = zmq_socket(sockets->context, out);
        BENCH_REQUIRE(sockets->push[i] != NULL);
        BENCH_REQUIRE(zmq_connect(sockets->push[i], "inproc://line") == 0);
    }
}

static void sockets_close(sockets_t *sockets)
{
    for (unsigned i = 0; i < sockets->senders; i++)
        zmq_close(sockets->push[i]);
    zmq_close(sockets->pull);
    zmq_ctx_term(sockets->context);
}

/* ---- how much an idle actor takes, and what many of them make of a message's cost ---- */

static uint64_t resident(void)
{
    unsigned long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    BENCH_REQUIRE(file != NULL && fscanf(file, "%lu %lu", &size, &pages) == 2);
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

typedef struct crowd {
    dctx_ref_t *refs;
    uint64_t size, at;
    uint64_t left; /* to send: the crowd's driver's own */
    uint64_t got;  /* by members, atomic */
    uint64_t target;
    dctx_ref_t driver;
    sem_t done;
} crowd_t;

static dctx_error_t stand(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    crowd_t *crowd = state;
    (void)self;
    (void)number(message);
    check(&with);
    uint64_t got = __atomic_add_fetch(&crowd->got, 1, __ATOMIC_ACQ_REL);
    if (got == crowd->target)
        sem_post(&crowd->done);
    else if (got % BATCH == 0)
        tell(crowd->driver, 0);
    return DCTX_OK;
}

/* Tells members all over the place: a stride that has no factor in common with the size. */
static dctx_error_t drive(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    crowd_t *crowd = state;
    (void)self;
    uint64_t count = next_batch(&crowd->left, number(message), BATCH);
    DCTX_WITH_SNAPSHOT(with.snapshot) {
        for (; count > 0; count--) {
            crowd->at = (crowd->at + 611953) % crowd->size;
            tell(crowd->refs[crowd->at], 1);
        }
    }
    return DCTX_OK;
}

static void drive_many(void *arg, uint64_t count)
{
    crowd_t *crowd = arg;
    crowd->target = count;
    crowd->got = 0;
    tell(crowd->driver, count);
    wait_for(&crowd->done);
}

static void crowd_open(crowd_t *crowd, uint64_t size)
{
    crowd->refs = calloc(size, sizeof *crowd->refs);
    BENCH_REQUIRE(crowd->refs != NULL && sem_init(&crowd->done, 0, 0) == 0);
    memset(crowd->refs, 1, size * sizeof *crowd->refs); /* ours, not the actors' */
    crowd->size = size;
    crowd->driver = spawn(drive, crowd);
    uint64_t before = resident();
    for (uint64_t i = 0; i < size; i++)
        crowd->refs[i] = spawn(stand, crowd);
    uint64_t bytes = (resident() - before) / size;
    if (size < 1000 || !bench_wants("actors.actor_bytes"))
        return;
    bench_print("actors.actor_bytes", (double)bytes, "bytes");
    for (int i = 0; i < PEER_COUNT; i++) {
        char name[64];
        if (peers[i].pid == 0)
            continue;
        snprintf(name, sizeof name, "actors.actor_bytes.%s", peers[i].suffix);
        uint64_t theirs = peer_ask(&peers[i], "actor_bytes", size);
        if (theirs != PEER_GONE)
            bench_print(name, (double)bytes / (double)theirs, "ratio");
    }
}

static void measure_crowd(void)
{
    static crowd_t few, crowd;
    double ns, few_ns;
    if (!bench_wants("actors.scale") && !bench_wants("actors.actor_bytes"))
        return;
    crowd_open(&few, 2);
    crowd_open(&crowd, bench_is_quick() ? 100000 : 1000000);
    if (bench_wants("actors.scale")) {
        double ratio = bench_in_turns(drive_many, &crowd, drive_many, &few, &ns, &few_ns);
        bench_print("actors.scale", ns, "ns");
        bench_print("actors.scale", ratio, "ratio");
    }
}

/* ---- all of it ---- */

typedef struct line {
    const char *name;
    void *(*open)(const carried_t *carried);
    bench_fn run;
    bench_fn zmq; /* NULL: not done with libzmq */
    int in, out;
    unsigned senders;
} line_t;

static const line_t lines[] = {
    {"pingpong", open_pingpong, go_round, bounce_many, ZMQ_PAIR, ZMQ_PAIR, 1},
    {"oneway", open_oneway, flow_many, push_many, ZMQ_PULL, ZMQ_PUSH, 1},
    {"many", open_many, flow_many, push_many, ZMQ_PULL, ZMQ_PUSH, SENDERS},
    {"ring", open_ring, go_round, NULL, 0, 0, 0},
    {"ask1", open_ask1, ask_many, NULL, 0, 0, 0},
    {"ask64", open_ask64, ask_many, NULL, 0, 0, 0},
    {"spawn", open_spawn, spawn_many, NULL, 0, 0, 0},
};
enum { LINES = sizeof lines / sizeof *lines };

static void compare(const char *name, const char *suffix, bench_fn run, void *arg,
                    bench_fn reference, void *reference_arg, bool cost)
{
    char full[96];
    double ns, reference_ns;
    snprintf(full, sizeof full, "%s.%s", name, suffix);
    if (!bench_wants(name) && !bench_wants(full))
        return;
    double ratio = bench_in_turns(run, arg, reference, reference_arg, &ns, &reference_ns);
    if (cost)
        bench_print(name, ns, "ns");
    bench_print(full, cost ? ratio : 1 / ratio, "ratio");
}

static void compare_peer(const char *name, peer_t *peer, const line_t *line, void *self)
{
    char full[96];
    double ns, peer_ns;
    peer_line_t theirs = {peer, line->name};
    snprintf(full, sizeof full, "%s.%s", name, peer->suffix);
    if (peer->pid == 0 || (!bench_wants(name) && !bench_wants(full)))
        return;
    double ratio = bench_in_turns(line->run, self, peer_run, &theirs, &ns, &peer_ns);
    if (peer->pid != 0)
        bench_print(full, 1 / ratio, "ratio");
}

static void measure_line(const line_t *line, void *self, void *bare, bool one_core)
{
    char name[64];
    snprintf(name, sizeof name, "actors.%s%s", line->name, one_core ? ".onecore" : "");
    compare(name, "context_cost", line->run, self, line->run, bare, true);
    for (int i = 0; i < PEER_COUNT; i++)
        compare_peer(name, &peers[i], line, self);
    if (line->zmq != NULL) {
        sockets_t sockets;
        sockets_open(&sockets, line->in, line->out, line->senders);
        cores_use_one(one_core); /* libzmq has begun a thread */
        compare(name, "vs_zmq", line->run, self, line->zmq, &sockets, false);
        sockets_close(&sockets);
    }
}

void measure_lines(dctx_system_t *system, const dctx_key_t *read)
{
    void *opened[LINES][2];
    the_system = system;
    key = read;
    without.bare = true;
    BENCH_REQUIRE(dctx_fork(&with.snapshot) == DCTX_OK);
    BENCH_REQUIRE(dctx_snapshot_empty(NULL, &without.snapshot) == DCTX_OK);
    for (int i = 0; i < LINES; i++) {
        opened[i][0] = lines[i].open(&with);
        opened[i][1] = lines[i].open(&without);
    }
    for (int one_core = 0; one_core < 2; one_core++) {
        cores_use_one(one_core);
        for (int i = 0; i < LINES; i++)
            measure_line(&lines[i], opened[i][0], opened[i][1], one_core);
    }
    cores_use_one(false);
    measure_crowd();
}
