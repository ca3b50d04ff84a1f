/* What overtakes the mailbox: in order, never lost, counted, whoever else is about. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "message.h"
#include "system.h"
#include "urgent.h"

enum { MANY = 100 };

/* An actor that waits in its first handler, and what it did. */
typedef struct slow {
    gate_t inside, stopped, overtook;
    int pipe[2];
    long handled;
    long order[MANY];
    long handled_then; /* when the first urgent one came */
    long overtaken;    /* how many had come when another actor had its turn */
} slow_t;

static gate_t dead = GATE_INIT;
static _Atomic(int) reason;

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    (void)arg;
    atomic_store(&reason, letter->reason);
    gate_pass(&dead);
}

static dctx_error_t wait_once(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    slow_t *slow = state;
    char byte;
    if (slow->handled++ == 0) {
        gate_pass(&slow->inside);
        ssize_t got = read(slow->pipe[0], &byte, 1);
        (void)got;
    }
    return DCTX_OK;
}

static void on_stop(dctx_actor_t *self, void *state)
{
    (void)self;
    gate_pass(&((slow_t *)state)->stopped);
}

static dctx_ref_t spawn_slow(dctx_system_t *system, slow_t *slow, unsigned flags)
{
    *slow = (slow_t){.inside = GATE_INIT, .stopped = GATE_INIT, .overtook = GATE_INIT};
    cr_assert_eq(pipe(slow->pipe), 0);
    dctx_ref_t ref;
    dctx_actor_options_t options = {
        .name = "slow", .handler = wait_once, .on_stop = on_stop, .state = slow, .flags = flags};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    tell_uint(ref, 0);
    cr_assert(gate_wait(&slow->inside, 1));
    return ref;
}

static void let_on(slow_t *slow)
{
    close(slow->pipe[1]);
}

static void done_with(slow_t *slow)
{
    close(slow->pipe[0]);
}

static void check_stop_now(unsigned flags, bool stop_too)
{
    slow_t slow;
    dctx_system_t *system =
        start(&(dctx_system_options_t){.workers = 1, .on_dead_letter = on_dead_letter});
    dctx_ref_t ref = spawn_slow(system, &slow, flags);
    for (int i = 0; i < MANY; i++)
        tell_uint(ref, 0);
    if (stop_too)
        cr_assert_eq(dctx_stop(ref), DCTX_OK);
    cr_assert_eq(dctx_stop_now(ref), DCTX_OK);
    cr_assert_eq(dctx_stop_now(ref), DCTX_OK, "again is harmless");
    let_on(&slow);
    cr_assert(gate_wait(&dead, MANY));
    cr_assert_eq(atomic_load(&reason), DCTX_ERR_STOPPED);
    cr_assert_eq(gate_count(&slow.stopped), 1);
    cr_assert_eq(slow.handled, 1);
    cr_assert_eq(dctx_stop_now(ref), DCTX_ERR_NO_ACTOR);
    finish(&system);
    done_with(&slow);
}

Test(urgent, stop_now_overtakes_the_mailbox, .init = fixture_init)
{
    check_stop_now(0, false);
}

Test(urgent, stop_now_overtakes_a_stop_on_a_pinned_actor, .init = fixture_init)
{
    check_stop_now(DCTX_PINNED, true);
}

Test(urgent, stop_now_of_an_idle_actor_and_of_nobody, .init = fixture_init)
{
    gate_t ended = GATE_INIT;
    slow_t slow = {.stopped = ended};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref;
    dctx_actor_options_t options = {.handler = wait_once, .on_stop = on_stop, .state = &slow};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    cr_assert_eq(dctx_stop_now(ref), DCTX_OK);
    cr_assert(gate_wait(&slow.stopped, 1));
    cr_assert_eq(dctx_stop_now(DCTX_REF_NONE), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_find(system, "slow@elsewhere", &ref), DCTX_OK);
    cr_assert_eq(dctx_stop_now(ref), DCTX_ERR_INVALID);
    finish(&system);
}

static dctx_error_t on_start(dctx_actor_t *self, void *state)
{
    (void)self;
    ((slow_t *)state)->handled = 1000;
    return DCTX_OK;
}

static void destroyed(void *state)
{
    gate_pass(&((slow_t *)state)->overtook);
}

Test(urgent, one_stopped_before_it_started_runs_neither_hook, .init = fixture_init)
{
    slow_t slow, other = {.stopped = GATE_INIT, .overtook = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    (void)spawn_slow(system, &slow, 0);
    dctx_ref_t ref;
    dctx_actor_options_t options = {.handler = wait_once,
                                    .on_start = on_start,
                                    .on_stop = on_stop,
                                    .destroy_state = destroyed,
                                    .state = &other};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    cr_assert_eq(dctx_stop_now(ref), DCTX_OK);
    let_on(&slow);
    cr_assert(gate_wait(&other.overtook, 1));
    cr_assert_eq(other.handled, 0);
    cr_assert_eq(gate_count(&other.stopped), 0);
    finish(&system);
    done_with(&slow);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void note(dctx_error_t status, const dctx_message_t *record, void *arg)
{
    (void)record;
    slow_t *slow = arg;
    long n = gate_count(&slow->overtook);
    if (n < MANY)
        slow->order[n] = status;
    if (n == 0)
        slow->handled_then = slow->handled;
    gate_pass(&slow->overtook);
}

static void post_call(dctx_ref_t ref, dctx_ask_fn call, void *arg, int number)
{
    dctx_system_t *system = ref.system_;
    dctx_message_t *message = dctx_message_new_(system, dctx_runner_of(system), DCTX_NODE_CALL);
    cr_assert_not_null(message);
    message->node.generation = (uint32_t)(ref.id_ >> 32);
    message->u.done.run.call = call;
    message->u.done.arg = arg;
    message->u.done.status = (dctx_error_t)number;
    dctx_count_(system, dctx_runner_of(system), DCTX_TALLY_POSTED);
    dctx_post_urgent_(system, dctx_runner_of(system),
                      dctx_slab_at(&system->actors, (uint32_t)ref.id_), &message->node);
}

Test(urgent, what_is_urgent_comes_first_and_in_order, .init = fixture_init)
{
    slow_t slow;
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2});
    dctx_ref_t ref = spawn_slow(system, &slow, 0);
    for (int i = 0; i < MANY; i++) {
        tell_uint(ref, 0);
        post_call(ref, note, &slow, i);
    }
    let_on(&slow);
    cr_assert(gate_wait(&slow.overtook, MANY));
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(slow.order[i], i);
    cr_assert_eq(slow.handled_then, 1);
    finish(&system);
    cr_assert_eq(slow.handled, 1 + MANY);
    done_with(&slow);
}

typedef struct storm {
    dctx_system_t *system;
    gate_t sent;
    _Atomic(long) ran;
} storm_t;

static void count_call(dctx_error_t status, const dctx_message_t *record, void *arg)
{
    (void)status;
    (void)record;
    (void)atomic_fetch_add(&((storm_t *)arg)->ran, 1);
}

static dctx_error_t ignore(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

static dctx_ref_t shared_ref;
static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;

/* Tells, urgent ones, and now and then an end and a successor in what is likely the same cell. */
static void *rage(void *arg)
{
    storm_t *storm = arg;
    uint64_t value = 1;
    for (int i = 0; i < 4000; i++) {
        pthread_mutex_lock(&shared_lock);
        dctx_ref_t ref = shared_ref;
        pthread_mutex_unlock(&shared_lock);
        (void)!dctx_tell(ref, DCTX_TYPE_UINT64, &value);
        post_call(ref, count_call, storm, 0);
        if (i % 16 != 0)
            continue;
        pthread_mutex_lock(&shared_lock);
        (void)!dctx_stop_now(shared_ref);
        shared_ref = spawn(storm->system, NULL, ignore, NULL);
        pthread_mutex_unlock(&shared_lock);
    }
    gate_pass(&storm->sent);
    return NULL;
}

Test(urgent, nothing_is_lost_when_actors_come_and_go, .init = fixture_init, .timeout = 120)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    dctx_system_t *system = start(NULL);
    storm_t storm = {.system = system, .sent = GATE_INIT};
    shared_ref = spawn(system, NULL, ignore, NULL);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, rage, &storm), 0);
    cr_assert(gate_wait(&storm.sent, THREADS));
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    long before = atomic_load(&storm.ran);
    post_call(shared_ref, count_call, &storm, 0);
    finish(&system);
    cr_assert_gt(atomic_load(&storm.ran), before);
}

static void block_call(dctx_error_t status, const dctx_message_t *record, void *arg)
{
    (void)status;
    (void)record;
    slow_t *slow = arg;
    char byte;
    gate_pass(&slow->overtook);
    ssize_t got = read(slow->pipe[0], &byte, 1);
    (void)got;
    gate_pass(&slow->stopped);
}

Test(urgent, a_thread_that_never_comes_back_from_one_leaves_the_counts_whole, .init = fixture_init)
{
    slow_t slow = {.overtook = GATE_INIT, .stopped = GATE_INIT};
    cr_assert_eq(pipe(slow.pipe), 0);
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    dctx_ref_t ref = spawn(system, "stuck", ignore, NULL);
    post_call(ref, block_call, &slow, 0);
    cr_assert(gate_wait(&slow.overtook, 1));
    for (int i = 0; i < MANY; i++) {
        tell_uint(ref, 0);
        post_call(ref, note, &slow, i);
    }
    char *report = NULL;
    cr_assert_eq(dctx_system_stop(system, 50, &report), DCTX_ERR_TIMEOUT);
    cr_assert_not_null(strstr(report, "stuck: in handler"), "%s", report);
    dctx_free(report);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.accepted, c.handled + c.dead_lettered);
    cr_assert_eq(dctx_system_sum_(system, DCTX_TALLY_POSTED),
                 dctx_system_sum_(system, DCTX_TALLY_CONSUMED));
    cr_assert_eq(gate_count(&slow.overtook), 1 + MANY, "the end of an ask is owed");
    dctx_system_destroy(&system);
    let_on(&slow);
    cr_assert(gate_wait(&slow.stopped, 1));
    done_with(&slow);
}

static void fail_call(dctx_error_t status, const dctx_message_t *record, void *arg)
{
    (void)status;
    (void)record;
    (void)arg;
    dctx_self_fail(dctx_runner_here->actor, DCTX_ERR_IO, "to be logged");
}

/* A log that does not come back from that one line:
 * the thread is in the library's own code meanwhile. */
static void block_log(dctx_log_level_t level, const char *line, void *arg)
{
    (void)level;
    if (strstr(line, "to be logged") == NULL)
        return;
    slow_t *slow = arg;
    char byte;
    gate_pass(&slow->inside);
    ssize_t got = read(slow->pipe[0], &byte, 1);
    (void)got;
    gate_pass(&slow->inside);
}

Test(urgent, what_a_thread_of_the_library_may_use_is_left_alone, .init = fixture_init,
     .timeout = 60)
{
    slow_t slow, log = {.inside = GATE_INIT};
    cr_assert_eq(pipe(log.pipe), 0);
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    dctx_ref_t ref = spawn_slow(system, &slow, 0);
    post_call(ref, fail_call, &slow, 0);
    for (int i = 0; i < MANY; i++)
        post_call(ref, note, &slow, i);
    dctx_set_log(block_log, &log);
    let_on(&slow); /* its handler, and then it is at the first of these, with the others in hand */
    cr_assert(gate_wait(&log.inside, 1));
    char *report = NULL;
    cr_assert_eq(dctx_system_stop(system, 50, &report), DCTX_ERR_TIMEOUT);
    cr_assert_not_null(strstr(report, "a thread does not get on"), "%s", report);
    dctx_free(report);
    cr_assert_eq(gate_count(&slow.overtook), 0, "the stop took what the thread has in hand");
    dctx_system_destroy(&system);
    let_on(&log);
    cr_assert(gate_wait(&log.inside, 2));
    cr_assert_eq(gate_count(&slow.stopped), 0, "it runs no code of the application");
}

/* ---- fairness -------------------------------------------------------------------------------- */

static dctx_error_t note_overtaken(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    slow_t *slow = state;
    slow->overtaken = gate_count(&slow->overtook);
    gate_pass(&slow->stopped);
    return DCTX_OK;
}

/* Others have their turn while one actor takes very much that is urgent. */
static void check_a_long_list(unsigned flags)
{
    enum { LONG = 3000 };
    slow_t slow;
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1, .quantum = 4});
    dctx_supervision_t supervision = {0};
    slow = (slow_t){.inside = GATE_INIT, .stopped = GATE_INIT, .overtook = GATE_INIT};
    cr_assert_eq(pipe(slow.pipe), 0);
    dctx_ref_t ref, witness;
    dctx_actor_options_t options = {.handler = wait_once,
                                    .on_stop = on_stop,
                                    .state = &slow,
                                    .flags = flags,
                                    .supervision = &supervision};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    tell_uint(ref, 0);
    cr_assert(gate_wait(&slow.inside, 1));
    for (int i = 0; i < LONG; i++)
        post_call(ref, note, &slow, i);
    witness = spawn(system, NULL, note_overtaken, &slow);
    tell_uint(witness, 0);
    tell_uint(ref, 0);
    let_on(&slow);
    cr_assert(gate_wait(&slow.stopped, 1));
    if (flags == 0)
        cr_assert_lt(slow.overtaken, LONG);
    cr_assert(gate_wait(&slow.overtook, LONG));
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(slow.order[i], i);
    finish(&system);
    cr_assert_eq(gate_count(&slow.overtook), LONG);
    cr_assert_eq(slow.handled, 2);
    done_with(&slow);
}

Test(urgent, a_long_list_lets_others_have_their_turn, .init = fixture_init, .timeout = 60)
{
    check_a_long_list(0);
}

Test(urgent, a_pinned_actor_takes_a_long_list_in_order, .init = fixture_init, .timeout = 60)
{
    check_a_long_list(DCTX_PINNED);
}
