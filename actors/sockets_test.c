/* Pinned actors that own sockets, and zmsg_t as messages. */
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <czmq.h>

#include <dcontext/transport.h>

#include "fixture.h"

/* ---- a pinned actor between a socket and actors ---------------------------------------------- */

enum { ROUNDS = 50 };

/* Receives on a socket, tells what came to `to`, and sends what it is told. */
typedef struct bridge {
    dctx_ref_t to;
    zsock_t *socket;
    char endpoint[128];
    gate_t ready, told, gone;
    /* What it saw each time; a place is written once, as sockets say nothing to a race detector. */
    char chain[ROUNDS][64], outer[ROUNDS][64], tenant[ROUNDS][16];
    pthread_t thread;
    bool strayed; /* something ran on another thread */
    int received, stop_at;
    void (*on_input)(dctx_actor_t *self, struct bridge *bridge);
} bridge_t;

static void check_thread(bridge_t *bridge)
{
    if (!pthread_equal(bridge->thread, pthread_self()))
        bridge->strayed = true;
}

static void on_ready(dctx_actor_t *self, void *socket, void *state)
{
    bridge_t *bridge = state;
    zmsg_t *message = NULL;
    dctx_scope_t scope;
    check_thread(bridge);
    int round = bridge->received < ROUNDS ? bridge->received : ROUNDS - 1;
    strcpy(bridge->outer[round], chain());
    cr_assert_eq(dctx_recv_attach(socket, "input", &message, &scope), DCTX_OK);
    strcpy(bridge->chain[round], chain());
    strcpy(bridge->tenant[round], tenant_get_or(""));
    if (!dctx_ref_is_none(bridge->to))
        cr_assert_eq(dctx_tell_take(bridge->to, DCTX_TYPE_ZMSG, &message), DCTX_OK);
    zmsg_destroy(&message);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    bridge->received++;
    if (bridge->on_input != NULL)
        bridge->on_input(self, bridge);
    if (bridge->received == bridge->stop_at)
        dctx_self_stop(self);
    gate_pass(&bridge->told);
}

static dctx_error_t open_socket(dctx_actor_t *self, void *state)
{
    bridge_t *bridge = state;
    bridge->thread = pthread_self();
    bridge->socket = zsock_new_dealer(NULL);
    cr_assert_not_null(bridge->socket);
    cr_assert_neq(zsock_bind(bridge->socket, "tcp://127.0.0.1:*"), -1);
    strcpy(bridge->endpoint, zsock_endpoint(bridge->socket));
    cr_assert_eq(dctx_socket_watch(self, bridge->socket, on_ready), DCTX_OK, "%s",
                 dctx_error_detail());
    gate_pass(&bridge->ready);
    return DCTX_OK;
}

static void close_socket(dctx_actor_t *self, void *state)
{
    bridge_t *bridge = state;
    (void)self;
    check_thread(bridge);
    zsock_destroy(&bridge->socket);
    gate_pass(&bridge->gone);
}

/* Sends out what it is told. */
static dctx_error_t send_out(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    bridge_t *bridge = state;
    zmsg_t *out = NULL;
    (void)self;
    check_thread(bridge);
    if (dctx_message_take(message, DCTX_TYPE_ZMSG, &out) != DCTX_OK)
        return DCTX_OK;
    cr_assert_null(dctx_message_get(message, DCTX_TYPE_ZMSG));
    dctx_error_t error = dctx_send(bridge->socket, &out);
    zmsg_destroy(&out);
    return error;
}

static dctx_ref_t spawn_bridge(dctx_system_t *system, bridge_t *bridge)
{
    dctx_ref_t ref = DCTX_REF_NONE;
    dctx_actor_options_t options = {.name = "bridge",
                                    .handler = send_out,
                                    .state = bridge,
                                    .on_start = open_socket,
                                    .on_stop = close_socket,
                                    .flags = DCTX_PINNED};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    cr_assert(gate_wait(&bridge->ready, 1));
    return ref;
}

#define BRIDGE_INIT                                                                                \
    {                                                                                              \
        .ready = GATE_INIT, .told = GATE_INIT, .gone = GATE_INIT                                   \
    }

typedef struct answerer {
    dctx_ref_t to;
    gate_t gate;
    int round;
    char chain[ROUNDS][64], tenant[ROUNDS][16];
} answerer_t;

/* Tells back what it was told, as it is: nothing is copied. */
static dctx_error_t tell_back(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    answerer_t *answerer = state;
    strcpy(answerer->chain[answerer->round], chain());
    strcpy(answerer->tenant[answerer->round++], tenant_get_or(""));
    dctx_error_t error = dctx_forward(self, message, answerer->to);
    gate_pass(&answerer->gate);
    return error;
}

static zsock_t *connect_to(const bridge_t *bridge)
{
    zsock_t *socket = zsock_new_dealer(NULL);
    cr_assert_not_null(socket);
    zsock_set_rcvtimeo(socket, WAIT_MS);
    cr_assert_eq(zsock_connect(socket, "%s", bridge->endpoint), 0);
    return socket;
}

static void send_word(zsock_t *socket, const char *word)
{
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, word);
    cr_assert_eq(dctx_send(socket, &message), DCTX_OK);
}

Test(sockets, a_pinned_actor_has_mail_and_input, .init = fixture_init, .timeout = 60)
{
    bridge_t bridge = BRIDGE_INIT;
    answerer_t answerer = {.gate = GATE_INIT};
    dctx_system_t *system = start(NULL);
    bridge.to = spawn(system, "answerer", tell_back, &answerer);
    answerer.to = spawn_bridge(system, &bridge);
    zsock_t *client = connect_to(&bridge);
    for (int i = 0; i < ROUNDS; i++) {
        char word[16];
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(tenant_set(i % 2 == 0 ? "acme" : "umbrella"), DCTX_OK);
            snprintf(word, sizeof word, "%d", i);
            send_word(client, word);
        }
        zmsg_t *answer = NULL;
        dctx_snapshot_t *snapshot = NULL;
        cr_assert_eq(dctx_recv(client, &answer, &snapshot), DCTX_OK);
        char *text = zmsg_popstr(answer);
        cr_assert_str_eq(text, word);
        zstr_free(&text);
        zmsg_destroy(&answer);
        /* The context went all the way: socket, actor, actor, socket. */
        char back[256];
        (void)dctx_snapshot_chain_format(snapshot, back, sizeof back);
        cr_assert_str_eq(back, "edge > input > actor:answerer > actor:bridge");
        dctx_snapshot_unref(&snapshot);
    }
    zsock_destroy(&client);
    finish(&system);
    for (int i = 0; i < ROUNDS; i++) {
        cr_assert_str_eq(bridge.outer[i], "actor:bridge");
        cr_assert_str_eq(bridge.chain[i], "edge > input");
        cr_assert_str_eq(bridge.tenant[i], i % 2 == 0 ? "acme" : "umbrella");
        cr_assert_str_eq(answerer.chain[i], "edge > input > actor:answerer");
        cr_assert_str_eq(answerer.tenant[i], bridge.tenant[i]);
    }
    cr_assert_eq(gate_count(&bridge.gone), 1);
    cr_assert(!bridge.strayed, "the socket's actor ran on two threads");
}

/* Input without end must not keep the mailbox waiting, nor the stop. */
static _Atomic(bool) enough;

static void *flood(void *arg)
{
    zsock_t *socket = connect_to(arg);
    zsock_set_sndtimeo(socket, 10);
    while (!atomic_load(&enough))
        (void)zstr_send(socket, "x");
    zsock_set_linger(socket, 0);
    zsock_destroy(&socket);
    return NULL;
}

static dctx_error_t count(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_pass(state);
    return DCTX_OK;
}

Test(sockets, a_flood_keeps_neither_the_mailbox_nor_the_stop, .init = fixture_init, .timeout = 60)
{
    bridge_t bridge = BRIDGE_INIT;
    pthread_t thread;
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn_bridge(system, &bridge);
    cr_assert_eq(pthread_create(&thread, NULL, flood, &bridge), 0);
    cr_assert(gate_wait(&bridge.told, 100));
    for (int i = 0; i < 100; i++) {
        dctx_message_t *reply = NULL;
        cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, WAIT_MS, &reply), DCTX_ERR_NO_REPLY);
        dctx_message_destroy(&reply);
    }
    finish(&system);
    atomic_store(&enough, true);
    pthread_join(thread, NULL);
    cr_assert_eq(gate_count(&bridge.gone), 1);
}

Test(sockets, the_actor_may_end_in_a_callback_for_its_socket, .init = fixture_init, .timeout = 60)
{
    dctx_system_t *system = start(NULL);
    for (int i = 1; i <= 20; i++) {
        bridge_t bridge = BRIDGE_INIT;
        bridge.stop_at = 3;
        dctx_ref_t ref = spawn_bridge(system, &bridge);
        zsock_t *client = connect_to(&bridge);
        for (int n = 0; n < 5; n++)
            send_word(client, "x");
        /* It may have ended already. */
        dctx_error_t error = i % 2 == 0 ? dctx_tell(ref, NULL, NULL) : DCTX_OK;
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR);
        cr_assert(gate_wait(&bridge.gone, 1));
        cr_assert_eq(bridge.received, 3);
        zsock_set_linger(client, 0);
        zsock_destroy(&client);
        dctx_ref_t found;
        while (dctx_system_find(system, "bridge", &found) == DCTX_OK)
            sched_yield();
    }
    finish(&system);
}

/* ---- a zactor behind an actor ---------------------------------------------------------------- */

/* As CZMQ programs have them: says back what it is told, until $TERM. */
static void echo(zsock_t *pipe, void *args)
{
    (void)args;
    zsock_signal(pipe, 0);
    for (;;) {
        zmsg_t *message = zmsg_recv(pipe);
        if (message == NULL || zframe_streq(zmsg_first(message), "$TERM")) {
            zmsg_destroy(&message);
            return;
        }
        zmsg_send(&message, pipe);
    }
}

typedef struct keeper {
    zactor_t *worker;
    dctx_reply_to_t *asker;
} keeper_t;

/* What the zactor says answers the ask. */
static void on_echo(dctx_actor_t *self, void *socket, void *state)
{
    keeper_t *keeper = state;
    (void)self;
    zmsg_t *message = zmsg_recv(socket);
    cr_assert_eq(dctx_reply_to_send(&keeper->asker, DCTX_TYPE_ZMSG, &message), DCTX_OK);
    zmsg_destroy(&message);
}

static dctx_error_t open_worker(dctx_actor_t *self, void *state)
{
    keeper_t *keeper = state;
    keeper->worker = zactor_new(echo, NULL);
    cr_assert_not_null(keeper->worker);
    return dctx_socket_watch(self, keeper->worker, on_echo);
}

static void close_worker(dctx_actor_t *self, void *state)
{
    keeper_t *keeper = state;
    (void)self;
    zactor_destroy(&keeper->worker);
}

static dctx_error_t ask_worker(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    keeper_t *keeper = state;
    zmsg_t *question = NULL;
    (void)self;
    cr_assert_eq(dctx_message_take(message, DCTX_TYPE_ZMSG, &question), DCTX_OK);
    cr_assert_eq(dctx_reply_defer(message, &keeper->asker), DCTX_OK);
    return zmsg_send(&question, keeper->worker) == 0 ? DCTX_OK : DCTX_ERR_IO;
}

Test(sockets, a_zactor_may_stand_behind_an_actor, .init = fixture_init, .timeout = 60)
{
    keeper_t keeper = {0};
    dctx_system_t *system = start(NULL);
    dctx_actor_options_t options = {.name = "keeper",
                                    .handler = ask_worker,
                                    .state = &keeper,
                                    .on_start = open_worker,
                                    .on_stop = close_worker,
                                    .flags = DCTX_PINNED};
    dctx_ref_t ref;
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    for (int i = 0; i < 20; i++) {
        dctx_message_t *reply = NULL;
        zmsg_t *question = zmsg_new(), *answer = NULL;
        zmsg_addstrf(question, "%d", i);
        cr_assert_eq(dctx_ask_wait(ref, DCTX_TYPE_ZMSG, &question, WAIT_MS, &reply), DCTX_OK);
        cr_assert_eq(dctx_message_take(reply, DCTX_TYPE_ZMSG, &answer), DCTX_OK);
        cr_assert(zmsg_eq(answer, question));
        zmsg_destroy(&answer);
        zmsg_destroy(&question);
        dctx_message_destroy(&reply);
    }
    finish(&system);
}

/* ---- who does not come back ------------------------------------------------------------------ */

typedef struct stuck {
    int watched[2], held[2];
    gate_t inside, outside;
} stuck_t;

static void never_return(dctx_actor_t *self, int fd, void *state)
{
    stuck_t *stuck = state;
    char byte;
    (void)self;
    (void)fd;
    gate_pass(&stuck->inside);
    ssize_t got = read(stuck->held[0], &byte, 1);
    (void)got;
    gate_pass(&stuck->outside);
}

static dctx_error_t watch_and_wait(dctx_actor_t *self, void *state)
{
    stuck_t *stuck = state;
    return dctx_fd_watch(self, stuck->watched[0], never_return);
}

Test(sockets, a_callback_that_never_returns_holds_no_stop, .init = fixture_init, .timeout = 60)
{
    stuck_t stuck = {.inside = GATE_INIT, .outside = GATE_INIT};
    gate_t counted = GATE_INIT;
    cr_assert_eq(pipe(stuck.watched), 0);
    cr_assert_eq(pipe(stuck.held), 0);
    dctx_system_t *system = start(NULL);
    dctx_actor_options_t options = {.name = "stuck",
                                    .handler = count,
                                    .state = &stuck,
                                    .on_start = watch_and_wait,
                                    .flags = DCTX_PINNED};
    dctx_ref_t ref;
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    tell_uint(spawn(system, NULL, count, &counted), 0);
    cr_assert_eq(write(stuck.watched[1], "x", 1), 1);
    cr_assert(gate_wait(&stuck.inside, 1));
    tell_uint(ref, 0);
    char *report = NULL;
    cr_assert_eq(dctx_system_stop(system, 50, &report), DCTX_ERR_TIMEOUT);
    cr_assert_eq(strncmp(report, "stuck: in handler for ", 22), 0, "%s", report);
    cr_assert_not_null(strstr(report, "actor:stuck"), "%s", report);
    dctx_free(report);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.accepted, 2);
    cr_assert_eq(c.accepted, c.handled + c.dead_lettered);
    dctx_system_destroy(&system);
    close(stuck.held[1]);
    cr_assert(gate_wait(&stuck.outside, 1));
}

/* ---- watching, unwatching, misuse ------------------------------------------------------------ */

static void unwatch(dctx_actor_t *self, bridge_t *bridge)
{
    cr_assert_eq(dctx_socket_unwatch(self, bridge->socket), DCTX_OK);
    cr_assert_eq(dctx_socket_unwatch(self, bridge->socket), DCTX_ERR_INVALID);
}

/* Watches again when told a number, and says what became of it. */
static dctx_error_t watch_again(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    bridge_t *bridge = state;
    dctx_error_t error = dctx_socket_watch(self, bridge->socket, on_ready);
    return dctx_message_is_ask(message) ? dctx_reply(message, NULL, NULL) : error;
}

static void ask_and_drop(dctx_ref_t to)
{
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(to, NULL, NULL, WAIT_MS, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
}

Test(sockets, what_is_unwatched_is_left_alone, .init = fixture_init, .timeout = 60)
{
    bridge_t bridge = BRIDGE_INIT;
    bridge.on_input = unwatch;
    dctx_system_t *system = start(NULL);
    dctx_actor_options_t options = {.name = "bridge",
                                    .handler = watch_again,
                                    .state = &bridge,
                                    .on_start = open_socket,
                                    .on_stop = close_socket,
                                    .flags = DCTX_PINNED};
    dctx_ref_t ref;
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    cr_assert(gate_wait(&bridge.ready, 1));
    zsock_t *client = connect_to(&bridge);
    for (int i = 1; i <= 3; i++)
        send_word(client, "x");
    for (int i = 1; i <= 3; i++) {
        cr_assert(gate_wait(&bridge.told, i));
        cr_assert_eq(gate_count(&bridge.told), i);
        ask_and_drop(ref);
    }
    zsock_destroy(&client);
    finish(&system);
    cr_assert_eq(bridge.received, 3);
}

typedef struct pipes {
    int pipe[2];
    gate_t read, told;
    dctx_error_t errors[4];
    char bytes[8];
} pipes_t;

static void on_readable(dctx_actor_t *self, int fd, void *state)
{
    pipes_t *pipes = state;
    char byte = 0;
    cr_assert_eq(read(fd, &byte, 1), 1);
    strncat(pipes->bytes, &byte, 1);
    if (byte == 'c') {
        pipes->errors[2] = dctx_fd_unwatch(self, fd);
        pipes->errors[3] = dctx_fd_unwatch(self, fd);
    }
    gate_pass(&pipes->read);
}

static dctx_error_t watch_pipe(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    pipes_t *pipes = state;
    (void)message;
    pipes->errors[0] = dctx_fd_watch(self, -1, on_readable);
    pipes->errors[1] = dctx_fd_watch(self, pipes->pipe[0], on_readable);
    gate_pass(&pipes->told);
    return DCTX_OK;
}

Test(sockets, descriptors_too, .init = fixture_init, .timeout = 60)
{
    pipes_t pipes = {.read = GATE_INIT, .told = GATE_INIT};
    cr_assert_eq(pipe(pipes.pipe), 0);
    dctx_system_t *system = start(NULL);
    dctx_actor_options_t options = {
        .name = "pipes", .handler = watch_pipe, .state = &pipes, .flags = DCTX_PINNED};
    dctx_ref_t ref;
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&pipes.told, 1));
    cr_assert_eq(pipes.errors[0], DCTX_ERR_INVALID);
    cr_assert_eq(pipes.errors[1], DCTX_OK);
    cr_assert_eq(write(pipes.pipe[1], "abcd", 4), 4);
    cr_assert(gate_wait(&pipes.read, 3));
    finish(&system);
    cr_assert_str_eq(pipes.bytes, "abc");
    cr_assert_eq(pipes.errors[2], DCTX_OK);
    cr_assert_eq(pipes.errors[3], DCTX_ERR_INVALID);
    close(pipes.pipe[0]);
    close(pipes.pipe[1]);
}

Test(sockets, only_a_pinned_actor_waits_for_them, .init = fixture_init, .timeout = 60)
{
    pipes_t pipes = {.read = GATE_INIT, .told = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, watch_pipe, &pipes);
    cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&pipes.told, 1));
    cr_assert_eq(pipes.errors[1], DCTX_ERR_INVALID);
    cr_assert_eq(dctx_socket_watch(NULL, NULL, on_ready), DCTX_ERR_INVALID);
    finish(&system);
}

/* ---- without memory -------------------------------------------------------------------------- */

static long fails_at = -1, made;

static void *fail_one(size_t size)
{
    long number = __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
    return number == __atomic_load_n(&fails_at, __ATOMIC_RELAXED) ? NULL : malloc(size);
}

static void set_up_sweep(void)
{
    static const dctx_allocator_t allocator = {.allocate = fail_one, .release = free};
    dctx_set_allocator(&allocator);
    fixture_init();
}

enum { PIPES = 10 };

typedef struct sweep {
    int pipes[PIPES][2];
    long nth;
    bool reached;
    gate_t read;
} sweep_t;

static void on_byte(dctx_actor_t *self, int fd, void *state)
{
    sweep_t *sweep = state;
    char byte;
    cr_assert_eq(read(fd, &byte, 1), 1);
    cr_assert_eq(dctx_fd_unwatch(self, fd), DCTX_OK);
    gate_pass(&sweep->read);
}

static dctx_error_t watch_all(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    sweep_t *sweep = state;
    int failed = 0;
    __atomic_store_n(&made, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&fails_at, sweep->nth, __ATOMIC_RELAXED);
    for (int i = 0; i < PIPES; i++) {
        dctx_error_t error = dctx_fd_watch(self, sweep->pipes[i][0], on_byte);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
        failed += error != DCTX_OK;
        if (error != DCTX_OK)
            cr_assert_eq(dctx_fd_watch(self, sweep->pipes[i][0], on_byte), DCTX_OK);
    }
    sweep->reached = __atomic_load_n(&made, __ATOMIC_RELAXED) >= sweep->nth;
    __atomic_store_n(&fails_at, -1, __ATOMIC_RELAXED);
    cr_assert_eq(failed, sweep->reached);
    return dctx_reply(message, NULL, NULL);
}

Test(sockets, each_allocation, .init = set_up_sweep, .timeout = 60)
{
    sweep_t sweep = {.reached = true};
    for (long nth = 1; sweep.reached; nth++) {
        cr_assert_lt(nth, 50);
        sweep = (sweep_t){.nth = nth, .read = GATE_INIT};
        for (int i = 0; i < PIPES; i++)
            cr_assert_eq(pipe(sweep.pipes[i]), 0);
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        dctx_actor_options_t options = {
            .handler = watch_all, .state = &sweep, .flags = DCTX_PINNED};
        dctx_ref_t ref;
        cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
        ask_and_drop(ref);
        for (int i = 0; i < PIPES; i++)
            cr_assert_eq(write(sweep.pipes[i][1], "x", 1), 1);
        cr_assert(gate_wait(&sweep.read, PIPES));
        finish(&system);
        for (int i = 0; i < PIPES; i++) {
            close(sweep.pipes[i][0]);
            close(sweep.pipes[i][1]);
        }
    }
}

/* ---- zmsg_t ---------------------------------------------------------------------------------- */

typedef struct taker {
    gate_t gate;
    zmsg_t *taken;
    size_t size, frames;
} taker_t;

static dctx_error_t take(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    taker_t *taker = state;
    (void)self;
    zmsg_t *wrong = NULL;
    cr_assert_eq(dctx_message_take(message, DCTX_TYPE_STRING, &wrong), DCTX_ERR_TYPE);
    cr_assert_eq(dctx_message_take(message, DCTX_TYPE_UINT64, &wrong), DCTX_ERR_TYPE);
    zmsg_destroy(&taker->taken);
    cr_assert_eq(dctx_message_take(message, DCTX_TYPE_ZMSG, &taker->taken), DCTX_OK, "%s",
                 dctx_error_detail());
    cr_assert_eq(dctx_message_take(message, DCTX_TYPE_ZMSG, &wrong), DCTX_ERR_TYPE);
    taker->frames = taker->taken != NULL ? zmsg_size(taker->taken) : 0;
    taker->size = taker->taken != NULL ? zmsg_content_size(taker->taken) : 0;
    gate_pass(&taker->gate);
    return dctx_message_is_ask(message) ? dctx_reply(message, DCTX_TYPE_ZMSG, &taker->taken)
                                        : DCTX_OK;
}

static zmsg_t *three_frames(void)
{
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, "orders");
    zmsg_addmem(message, "\0\1\2", 3);
    zmsg_addmem(message, "", 0);
    return message;
}

Test(zmsg, is_moved_inside_a_process, .init = fixture_init, .timeout = 60)
{
    taker_t taker = {.gate = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, take, &taker);
    zmsg_t *message = three_frames(), *before = message;
    cr_assert_eq(dctx_tell_take(ref, DCTX_TYPE_ZMSG, &message), DCTX_OK);
    cr_assert_null(message);
    cr_assert(gate_wait(&taker.gate, 1));
    cr_assert_eq(taker.taken, before);
    cr_assert_eq(taker.frames, 3);
    message = three_frames();
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_ZMSG, &message), DCTX_OK);
    cr_assert(gate_wait(&taker.gate, 2));
    cr_assert_neq(taker.taken, message);
    cr_assert_eq(taker.size, 9);
    zmsg_destroy(&message);
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_ZMSG, &message), DCTX_OK, "none at all");
    cr_assert(gate_wait(&taker.gate, 3));
    cr_assert_null(taker.taken);
    /* One that nobody takes is destroyed with its message. */
    message = three_frames();
    gate_t counted = GATE_INIT;
    cr_assert_eq(dctx_tell_take(spawn(system, NULL, count, &counted), DCTX_TYPE_ZMSG, &message),
                 DCTX_OK);
    cr_assert(gate_wait(&counted, 1));
    finish(&system);
    zmsg_destroy(&taker.taken);
}

Test(zmsg, travels_between_processes_frame_by_frame, .init = fixture_init, .timeout = 60)
{
    taker_t taker = {.gate = GATE_INIT};
    dctx_system_t *here = start(&(dctx_system_options_t){.workers = 1, .name = "here"});
    dctx_system_t *there = start(&(dctx_system_options_t){.workers = 1, .name = "there"});
    char *endpoint = NULL;
    dctx_ref_t ref;
    (void)spawn(there, "taker", take, &taker);
    cr_assert_eq(dctx_system_bind(there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_find(here, "taker@there", &ref), DCTX_OK);
    zmsg_t *messages[] = {three_frames(), zmsg_new(), NULL};
    for (int i = 0; i < 3; i++) {
        dctx_message_t *reply = NULL;
        zmsg_t *back = NULL;
        cr_assert_eq(dctx_ask_wait(ref, DCTX_TYPE_ZMSG, &messages[i], 0, &reply), DCTX_OK);
        cr_assert_eq(dctx_message_take(reply, DCTX_TYPE_ZMSG, &back), DCTX_OK);
        cr_assert_eq(back != NULL, messages[i] != NULL);
        if (back != NULL)
            cr_assert_eq(zmsg_size(back), zmsg_size(messages[i]));
        if (i == 0)
            cr_assert(zmsg_eq(back, messages[i]));
        zmsg_destroy(&back);
        dctx_message_destroy(&reply);
        zmsg_destroy(&messages[i]);
    }
    finish(&here);
    finish(&there);
    dctx_free(endpoint);
    zmsg_destroy(&taker.taken);
}

Test(zmsg, that_is_none_does_not_decode, .init = fixture_init, .timeout = 60)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {{"", 0},          {"\x91", 1},         {"\x91\x05", 2}, {"\xdd\xff\xff\xff\xff", 5},
               {"\x90\x90", 2},  {"\xc0\xc0", 2},     {"\x80", 1},     {"\x92\xc4\x01x", 4},
               {"\x91\xa1x", 3}, {"\x91\xc4\x05x", 4}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        zmsg_t *message = NULL;
        cr_assert_neq(DCTX_TYPE_ZMSG->decode(&message, bad[i].bytes, bad[i].size), DCTX_OK,
                      "number %zu", i);
        cr_assert_null(message);
    }
}
