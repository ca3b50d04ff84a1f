/* Actors in another process: reached by name, killed, and started again.
 * DCTX_TEST_PEER is process_peer.c. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"

typedef struct peer {
    pid_t pid;
    int input; /* to close */
    char endpoint[256];
} peer_t;

static char directory[] = "/tmp/dctx-process-XXXXXX";

static void set_up(void)
{
    fixture_init();
    cr_assert_not_null(mkdtemp(directory));
}

static peer_t start_peer(const char *endpoint)
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
        execl(DCTX_TEST_PEER, "process_peer", endpoint, (char *)NULL);
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

static void kill_peer(peer_t *peer)
{
    int status = 0;
    cr_assert_eq(kill(peer->pid, SIGKILL), 0);
    cr_assert_eq(waitpid(peer->pid, &status, 0), peer->pid);
    close(peer->input);
}

static void stop_peer(peer_t *peer)
{
    int status = 0;
    close(peer->input);
    cr_assert_eq(waitpid(peer->pid, &status, 0), peer->pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

typedef struct tester {
    gate_t held, failed, up, down;
    dctx_error_t unexpected;
} tester_t;

static void on_node(const char *name, dctx_node_event_t event, const char *reason, void *arg)
{
    tester_t *tester = arg;
    (void)reason;
    cr_assert_str_eq(name, "peer");
    if (event == DCTX_NODE_UP)
        gate_pass(&tester->up);
    else if (event == DCTX_NODE_DOWN)
        gate_pass(&tester->down);
}

static dctx_error_t count_held(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    cr_assert(dctx_message_is_remote(message));
    cr_assert_str_eq(dctx_message_get(message, DCTX_TYPE_STRING), "held");
    cr_assert_str_eq(chain(), "edge > remote:holds > remote:counter");
    gate_pass(&((tester_t *)state)->held);
    return DCTX_OK;
}

static void on_failure(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    tester_t *tester = arg;
    (void)reply;
    if (status != DCTX_ERR_UNREACHABLE)
        __atomic_store_n(&tester->unexpected, status, __ATOMIC_RELAXED);
    gate_pass(&tester->failed);
}

static void check_answer(dctx_system_t *system, const peer_t *peer)
{
    dctx_ref_t ref;
    dctx_message_t *reply = NULL;
    char expected[128];
    cr_assert_eq(dctx_system_wait_node(system, "peer", WAIT_MS), DCTX_OK, "%s",
                 dctx_error_detail());
    cr_assert_eq(dctx_system_find(system, "answers@peer", &ref), DCTX_OK);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, WAIT_MS, &reply), DCTX_OK, "%s",
                     dctx_error_detail());
    }
    snprintf(expected, sizeof expected, "edge > remote:answers|acme|%d", (int)peer->pid);
    cr_assert_str_eq(dctx_message_get(reply, DCTX_TYPE_STRING), expected);
    dctx_message_destroy(&reply);
}

static void check_kill(const char *endpoint)
{
    enum { IN_FLIGHT = 500 };
    tester_t tester = {.held = GATE_INIT, .failed = GATE_INIT, .up = GATE_INIT, .down = GATE_INIT};
    peer_t peer = start_peer(endpoint);
    dctx_system_t *system = start(&(dctx_system_options_t){.name = "tester",
                                                           .workers = 2,
                                                           .dead_after_ms = 60000,
                                                           .on_node = on_node,
                                                           .arg = &tester});
    dctx_ref_t ref;
    (void)spawn(system, "counter", count_held, &tester);
    cr_assert_eq(dctx_system_connect(system, "peer", peer.endpoint), DCTX_OK);
    check_answer(system, &peer);

    /* All of them are in the other process when it dies. */
    cr_assert_eq(dctx_system_find(system, "holds@peer", &ref), DCTX_OK);
    DCTX_WITH_SCOPE("edge") {
        for (int i = 0; i < IN_FLIGHT; i++)
            cr_assert_eq(dctx_ask_call(ref, NULL, NULL, WAIT_MS, on_failure, &tester), DCTX_OK);
    }
    cr_assert(gate_wait(&tester.held, IN_FLIGHT));
    cr_assert_eq(gate_count(&tester.failed), 0);
    kill_peer(&peer);
    cr_assert(gate_wait(&tester.failed, IN_FLIGHT));
    cr_assert_eq(tester.unexpected, DCTX_OK, "%s", dctx_error_name(tester.unexpected));
    cr_assert(gate_wait(&tester.down, 1));
    cr_assert_eq(counters(system).asks_failed, IN_FLIGHT);

    /* Started again it is reached again; over ipc at the same place, over tcp at another. */
    peer = start_peer(endpoint);
    cr_assert_eq(dctx_system_connect(system, "peer", peer.endpoint), DCTX_OK);
    cr_assert(gate_wait(&tester.up, 2));
    check_answer(system, &peer);
    stop_peer(&peer);
    finish(&system);
}

/* ---- its actors are monitored ---------------------------------------------------------------- */

typedef struct ends {
    gate_t told;
    dctx_exit_kind_t kind; /* of the last */
    char text[512];
} ends_t;

static void on_end(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    ends_t *ends = arg;
    (void)who;
    ends->kind = dctx_exit_kind(exit);
    (void)dctx_exit_format(exit, ends->text, sizeof ends->text);
    gate_pass(&ends->told);
}

Test(process, actors_of_a_killed_one_are_lost_once, .init = set_up, .timeout = 60)
{
    enum { MONITORS = 100 };
    ends_t ends = {.told = GATE_INIT}, failed = {.told = GATE_INIT};
    dctx_exit_t *exit = NULL;
    dctx_ref_t answers, fails;
    peer_t peer = start_peer("tcp://127.0.0.1:*");
    dctx_system_t *system = start(&(dctx_system_options_t){
        .name = "tester", .workers = 2, .heartbeat_ms = 60000, .dead_after_ms = 120000});
    cr_assert_eq(dctx_system_find(system, "answers@peer", &answers), DCTX_OK);
    cr_assert_eq(dctx_system_find(system, "fails@peer", &fails), DCTX_OK);
    cr_assert_eq(dctx_system_connect(system, "peer", peer.endpoint), DCTX_OK);
    /* Set before it is up; one that ends there first. */
    for (int i = 0; i < MONITORS; i++)
        cr_assert_eq(dctx_monitor_call(answers, on_end, &ends), DCTX_OK);
    cr_assert_eq(dctx_monitor_call(fails, on_end, &failed), DCTX_OK);
    DCTX_WITH_SCOPE("edge")
        cr_assert_eq(dctx_tell(fails, DCTX_TYPE_STRING, "now"), DCTX_OK);
    cr_assert(gate_wait(&failed.told, 1));
    cr_assert_str_eq(failed.text,
                     "fails@peer: failed: DCTX_ERR_IO \"now\" in handler of \"string\" "
                     "under edge > remote:fails");
    cr_assert_eq(gate_count(&ends.told), 0);
    kill_peer(&peer);
    cr_assert(gate_wait(&ends.told, MONITORS));
    cr_assert_eq(ends.kind, DCTX_EXIT_NODE_LOST, "%s", ends.text);
    /* It is dialled still, so another monitor waits for it to come. */
    cr_assert_eq(dctx_await_end(answers, 20, &exit), DCTX_ERR_TIMEOUT);
    finish(&system);
    cr_assert_eq(gate_count(&ends.told), MONITORS);
    cr_assert_eq(gate_count(&failed.told), 1);
    cr_assert_eq(rmdir(directory), 0);
}

Test(process, a_killed_one_over_tcp, .init = set_up, .timeout = 60)
{
    check_kill("tcp://127.0.0.1:*");
    cr_assert_eq(rmdir(directory), 0);
}

Test(process, a_killed_one_over_ipc, .init = set_up, .timeout = 60)
{
    char endpoint[128];
    snprintf(endpoint, sizeof endpoint, "ipc://%s/socket", directory);
    check_kill(endpoint);
    cr_assert_eq(rmdir(directory), 0, "the socket file is still there");
}
