/*
 * A tree of 1,000 asks, three levels deep, over three processes: this one asks "a" 10 times, which
 * asks "b" 9 times for each, which asks "a" 10 times for each of those. Cancelled at the root it
 * stops everywhere within one round trip. DCTX_TEST_PEER is cancel_peer.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"

enum { TREE = 0, PROBE = 1, FIRST = 10, SECOND = 90, THIRD = 900, ROUND_TRIPS = 51 };

typedef struct peer {
    pid_t pid;
    int input;
    char endpoint[256];
} peer_t;

static peer_t start_peer(const char *name, const char *to, const char *width, const char *node,
                         const char *its_endpoint)
{
    int in[2], out[2];
    peer_t peer = {0};
    cr_assert_eq(pipe(in), 0);
    cr_assert_eq(pipe(out), 0);
    peer.pid = fork();
    cr_assert_geq(peer.pid, 0);
    if (peer.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl(DCTX_TEST_PEER, "cancel_peer", name, "tcp://127.0.0.1:*", to, width, node,
              its_endpoint, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    peer.input = in[1];
    FILE *text = fdopen(out[0], "r");
    cr_assert_not_null(fgets(peer.endpoint, sizeof peer.endpoint, text));
    peer.endpoint[strcspn(peer.endpoint, "\n")] = '\0';
    fclose(text);
    return peer;
}

static void stop_peer(const peer_t *peer)
{
    int status = 0;
    close(peer->input);
    cr_assert_eq(waitpid(peer->pid, &status, 0), peer->pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The whole way down and back, with one ask a level. */
static double round_trip_us(dctx_ref_t fan)
{
    uint64_t what = PROBE;
    dctx_message_t *reply = NULL;
    double begin = now_us();
    cr_assert_eq(dctx_ask_wait(fan, DCTX_TYPE_UINT64, &what, WAIT_MS, &reply), DCTX_OK, "%s",
                 dctx_error_detail());
    double us = now_us() - begin;
    dctx_message_destroy(&reply);
    return us;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_round_trip_us(dctx_ref_t fan)
{
    double us[ROUND_TRIPS];
    for (int i = 0; i < ROUND_TRIPS; i++)
        us[i] = round_trip_us(fan);
    qsort(us, ROUND_TRIPS, sizeof us[0], by_size);
    return us[ROUND_TRIPS / 2];
}

static dctx_system_counters_t counters_of(dctx_system_t *system, const char *actor)
{
    dctx_ref_t ref;
    dctx_message_t *reply = NULL;
    dctx_system_counters_t counters;
    cr_assert_eq(dctx_system_find(system, actor, &ref), DCTX_OK);
    cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, WAIT_MS, &reply), DCTX_OK, "%s",
                 dctx_error_detail());
    const dctx_bytes_t *bytes = dctx_message_get(reply, DCTX_TYPE_BYTES);
    cr_assert(bytes != NULL && bytes->size == sizeof counters);
    memcpy(&counters, bytes->data, sizeof counters);
    dctx_message_destroy(&reply);
    return counters;
}

static dctx_error_t count_leaf(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_pass(state);
    return DCTX_OK;
}

static void count_cancelled(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    if (status == DCTX_ERR_CANCELLED && strcmp(dctx_message_reason(reply), "enough of it") == 0)
        gate_pass(arg);
}

static void ask_tree(dctx_ref_t fan, dctx_cancel_t *cancel, gate_t *ended)
{
    uint64_t what = TREE;
    DCTX_WITH_SCOPE("request") {
        cr_assert_eq(dctx_cancel_enter(cancel), DCTX_OK);
        for (int i = 0; i < FIRST; i++)
            cr_assert_eq(dctx_ask_call(fan, DCTX_TYPE_UINT64, &what, 60000, count_cancelled, ended),
                         DCTX_OK);
    }
}

static void check_all_in_flight(dctx_system_t *system)
{
    cr_assert_eq(counters(system).asks_in_flight, FIRST);
    dctx_system_counters_t a = counters_of(system, "report@a"), b = counters_of(system, "report@b");
    cr_assert_eq(a.asks_in_flight, SECOND);
    cr_assert_eq(b.asks_in_flight, THIRD);
    /* And the one for the report. */
    cr_assert_eq(a.remote_in_flight, FIRST + THIRD + 1);
    cr_assert_eq(b.remote_in_flight, SECOND + 1);
}

/* The asks are over at once; those who answer them even so take a moment longer. */
static void check_none_in_flight(dctx_system_t *system)
{
    dctx_system_counters_t a = counters_of(system, "report@a"), b = counters_of(system, "report@b");
    cr_assert_eq(counters(system).asks_cancelled, FIRST);
    cr_assert_eq(a.asks_in_flight, 0);
    cr_assert_eq(b.asks_in_flight, 0);
    cr_assert_eq(a.asks_cancelled, SECOND);
    cr_assert_eq(b.asks_cancelled, THIRD);
    cr_assert_eq(counters(system).cancels_sent, FIRST);
    cr_assert_eq(a.cancels_received, FIRST + THIRD);
    cr_assert_eq(b.cancels_received, SECOND);
    while (counters_of(system, "report@a").remote_in_flight > 1 ||
           counters_of(system, "report@b").remote_in_flight > 1) {
    }
    cr_assert_eq(counters(system).asks_in_flight, 0);
}

Test(cancel_tree, a_thousand_asks_stop_within_one_round_trip, .init = fixture_init, .timeout = 100)
{
    gate_t leaves = GATE_INIT, ended = GATE_INIT;
    dctx_ref_t fan;
    dctx_cancel_t *cancel = NULL;
    peer_t b = start_peer("b", "leaf@a", "10", NULL, NULL);
    peer_t a = start_peer("a", "fan@b", "9", "b", b.endpoint);
    dctx_system_t *system =
        start(&(dctx_system_options_t){.name = "root", .workers = 2, .dead_after_ms = 60000});
    (void)spawn(system, "counter", count_leaf, &leaves);
    cr_assert_eq(dctx_system_connect(system, "a", a.endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(system, "b", b.endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(system, "a", WAIT_MS), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(system, "b", WAIT_MS), DCTX_OK);
    cr_assert_eq(dctx_system_find(system, "fan@a", &fan), DCTX_OK);
    double plain = median_round_trip_us(fan);

    cr_assert_eq(dctx_cancel_new_under(NULL, &cancel), DCTX_OK);
    ask_tree(fan, cancel, &ended);
    cr_assert(gate_wait(&leaves, THIRD));
    check_all_in_flight(system);

    double begin = now_us();
    DCTX_WITH_SCOPE("user") {
        cr_assert(dctx_cancel(cancel, "enough of it"));
    }
    cr_assert_eq(counters(system).asks_in_flight, 0);
    /* An ask that follows the cancel down the tree finds all done wherever it comes; so when its
     * answer is back, one round trip after the cancel, nothing is left. */
    (void)round_trip_us(fan);
    double took = now_us() - begin;
    check_none_in_flight(system);
    cr_assert(gate_wait(&ended, FIRST));
    printf("cancel.tree %.0f us, a plain round trip %.0f us, ratio %.1f\n", took, plain,
           took / plain);

    cr_assert(!dctx_cancel(cancel, "again"));
    dctx_cancel_unref(&cancel);
    finish(&system);
    stop_peer(&a);
    stop_peer(&b);
}
