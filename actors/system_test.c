/* Making a system: what is refused, and that the application's own things stay as they were. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

Test(system, options_are_checked, .init = fixture_init, .timeout = 30)
{
    static const dctx_system_options_t bad[] = {
        {.name = ""},
        {.name = "a node"},
        {.name = "1234567890123456789012345678901234567890123456789012345678901234"},
        {.workers = 65},
        {.heartbeat_ms = -1},
        {.dead_after_ms = -1},
        {.context_policy = (dctx_error_policy_t)7},
        {.interceptor_count = 1},
    };
    dctx_system_t *system = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_assert_eq(dctx_system_new(&bad[i], &system), DCTX_ERR_INVALID, "%zu", i);
        cr_assert_str_neq(dctx_error_detail(), "");
    }
    cr_assert_eq(dctx_system_new(NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_null(system);
    cr_assert_eq(dctx_system_new(NULL, &system), DCTX_OK);
    cr_assert_eq(strncmp(dctx_system_name(system), "node-", 5), 0);
    finish(&system);
}

static void on_signal(int number)
{
    (void)number;
}

Test(system, the_applications_signal_handlers_stay, .init = fixture_init, .timeout = 30)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, found;
    sigset_t before, after;
    cr_assert_eq(sigaction(SIGINT, &action, NULL), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    dctx_system_t *system = start(NULL);
    finish(&system);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(sigaction(numbers[i], NULL, &found), 0);
        cr_assert(found.sa_handler == (i == 0 ? on_signal : SIG_DFL));
    }
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    cr_assert_eq(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
}

/* Says which signals its thread takes. */
static dctx_error_t look_at_mask(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    cr_assert(sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM));
    gate_pass(state);
    return DCTX_OK;
}

Test(system, signals_are_for_the_applications_threads, .init = fixture_init, .timeout = 30)
{
    gate_t gate = GATE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_actor_options_t pinned = {.handler = look_at_mask, .state = &gate, .flags = DCTX_PINNED};
    dctx_ref_t ref;
    cr_assert_eq(dctx_spawn(system, &pinned, &ref), DCTX_OK);
    tell_uint(ref, 0);
    tell_uint(spawn(system, NULL, look_at_mask, &gate), 0);
    cr_assert(gate_wait(&gate, 2));
    finish(&system);
}

Test(system, without_sockets_there_is_an_error_and_no_abort, .init = fixture_init, .timeout = 30)
{
    cr_assert_eq(setenv("ZSYS_MAX_SOCKETS", "20", 1), 0);
    dctx_system_options_t options = {.workers = 16};
    dctx_system_t *system = NULL;
    cr_assert_eq(dctx_system_new(&options, &system), DCTX_ERR_IO);
    cr_assert_null(system);
    cr_assert_not_null(strstr(dctx_error_detail(), "sockets"), "%s", dctx_error_detail());
}

Test(system, several_live_side_by_side, .init = fixture_init, .timeout = 60)
{
    dctx_system_t *systems[6];
    for (int i = 0; i < 6; i++)
        systems[i] = start(NULL);
    for (int i = 0; i < 6; i++)
        finish(&systems[i]);
}

/* A clock that the test moves. */
static int64_t hand; /* atomic */

static int64_t read_hand(void *arg)
{
    return __atomic_load_n((int64_t *)arg, __ATOMIC_SEQ_CST);
}

static dctx_error_t keep(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    return dctx_reply_defer(message, state);
}

static void over(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    cr_assert_eq(status, DCTX_ERR_TIMEOUT);
    gate_pass(arg);
}

Test(system, asks_end_by_its_own_clock, .init = fixture_init, .timeout = 30)
{
    dctx_clock_t clock = {.now_ns = read_hand, .arg = &hand};
    gate_t ended = GATE_INIT;
    dctx_reply_to_t *kept = NULL;
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1, .clock = &clock});
    dctx_ref_t ref = spawn(system, NULL, keep, &kept);
    /* An hour, which has passed when the I/O actor next has a reason to look at the clock. */
    cr_assert_eq(dctx_ask_call(ref, NULL, NULL, 3600000, over, &ended), DCTX_OK);
    __atomic_store_n(&hand, INT64_C(3601) * 1000000000, __ATOMIC_SEQ_CST);
    cr_assert_eq(dctx_system_bind(system, "inproc://system-test-clock", NULL), DCTX_OK);
    cr_assert(gate_wait(&ended, 1));
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    dctx_reply_to_destroy(&kept);
    finish(&system);
}
