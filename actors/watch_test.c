/* Handlers that block a worker are named, once; nobody else is,
 * and an idle system is left alone. */
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "system.h"

enum { WARN_MS = 20 };

typedef struct blocker {
    int pipe[2];
    gate_t inside, outside;
} blocker_t;

/* What on_blocked was told last. */
static gate_t told = GATE_INIT;
static char told_actor[64], told_type[64], told_chain[256];
static int64_t told_ms;

static void on_blocked(const dctx_blocked_t *blocked, void *arg)
{
    (void)arg;
    strncpy(told_actor, blocked->actor, sizeof told_actor - 1);
    strncpy(told_type, blocked->type, sizeof told_type - 1);
    strncpy(told_chain, blocked->chain, sizeof told_chain - 1);
    told_ms = blocked->ms;
    gate_pass(&told);
}

static dctx_error_t block(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    blocker_t *blocker = state;
    char byte;
    gate_pass(&blocker->inside);
    ssize_t got = read(blocker->pipe[0], &byte, 1);
    (void)got;
    gate_pass(&blocker->outside);
    return DCTX_OK;
}

static void open_blocker(blocker_t *blocker)
{
    *blocker = (blocker_t){.inside = GATE_INIT, .outside = GATE_INIT};
    cr_assert_eq(pipe(blocker->pipe), 0);
}

static void let_one_on(blocker_t *blocker)
{
    cr_assert_eq(write(blocker->pipe[1], "", 1), 1);
}

static dctx_system_t *start_watched(int64_t warn_ms, unsigned workers, const char *name)
{
    return start(&(dctx_system_options_t){
        .name = name, .workers = workers, .handler_warn_ms = warn_ms, .on_blocked = on_blocked});
}

Test(watch, names_who_blocks_a_worker, .init = fixture_init)
{
    blocker_t blocker;
    open_blocker(&blocker);
    dctx_system_t *system = start_watched(WARN_MS, 1, NULL);
    dctx_ref_t ref = spawn(system, "orders", block, &blocker);
    for (int i = 1; i <= 2; i++) {
        DCTX_WITH_SCOPE("api-gateway")
            tell_uint(ref, 0);
        cr_assert(gate_wait(&told, i));
        cr_assert_str_eq(told_actor, "orders");
        cr_assert_str_eq(told_type, "uint64");
        cr_assert_str_eq(told_chain, "api-gateway > actor:orders");
        cr_assert_geq(told_ms, WARN_MS);
        cr_assert_lt(told_ms, WAIT_MS);
        let_one_on(&blocker);
        cr_assert(gate_wait(&blocker.outside, i));
    }
    cr_assert(logged("orders blocks a worker for"));
    finish(&system);
    cr_assert_eq(gate_count(&told), 2, "once for each time");
}

Test(watch, counts_and_goes_on_while_the_handler_does, .init = fixture_init)
{
    enum { BLOCKED = 3 };
    blocker_t blocker;
    open_blocker(&blocker);
    dctx_system_t *system = start_watched(WARN_MS, BLOCKED, NULL);
    for (int i = 0; i < BLOCKED; i++)
        tell_uint(spawn(system, NULL, block, &blocker), 0);
    cr_assert(gate_wait(&told, BLOCKED));
    cr_assert_eq(counters(system).blocked, BLOCKED);
    for (int i = 0; i < BLOCKED; i++)
        let_one_on(&blocker);
    finish(&system);
    cr_assert_eq(gate_count(&told), BLOCKED);
}

Test(watch, names_the_type_of_what_came_from_another_node, .init = fixture_init)
{
    blocker_t blocker;
    open_blocker(&blocker);
    char *endpoint = NULL;
    dctx_ref_t far;
    dctx_system_t *system = start_watched(WARN_MS, 2, "a");
    dctx_system_t *other = start_watched(-1, 1, "b");
    cr_assert_eq(dctx_system_bind(system, "inproc://watch-test", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(other, "a", endpoint), DCTX_OK);
    dctx_free(endpoint);
    (void)spawn(system, "orders", block, &blocker);
    cr_assert_eq(dctx_system_find(other, "orders@a", &far), DCTX_OK);
    tell_uint(far, 0);
    cr_assert(gate_wait(&told, 1));
    cr_assert_str_eq(told_type, "uint64");
    cr_assert_str_eq(told_chain, "remote:orders");
    let_one_on(&blocker);
    finish(&other);
    finish(&system);
}

static void block_call(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)status;
    (void)block(NULL, reply, arg);
}

static dctx_error_t say_nothing(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

Test(watch, names_the_callback_of_an_ask_from_outside, .init = fixture_init)
{
    blocker_t blocker;
    open_blocker(&blocker);
    dctx_system_t *system = start_watched(WARN_MS, 2, NULL);
    dctx_ref_t ref = spawn(system, "orders", say_nothing, NULL);
    DCTX_WITH_SCOPE("api-gateway")
        cr_assert_eq(dctx_ask_call(ref, NULL, NULL, 0, block_call, &blocker), DCTX_OK);
    cr_assert(gate_wait(&told, 1));
    cr_assert_str_eq(told_actor, "(asks)");
    cr_assert_str_eq(told_chain, "api-gateway");
    let_one_on(&blocker);
    finish(&system);
}

Test(watch, is_off_where_it_is_not_wanted, .init = fixture_init)
{
    dctx_system_t *system = start_watched(-1, 2, NULL);
    cr_assert_eq(atomic_load(&system->io.watch.armed), 0);
    blocker_t blocker;
    open_blocker(&blocker);
    tell_uint(spawn(system, "orders", block, &blocker), 0);
    cr_assert(gate_wait(&blocker.inside, 1));
    cr_assert_eq(atomic_load(&system->io.watch.armed), 0);
    let_one_on(&blocker);
    finish(&system);
    cr_assert_eq(gate_count(&told), 0);
}

static bool ends(dctx_system_t *system)
{
    struct timespec begin, now;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    do {
        if (atomic_load(&system->io.watch.armed) == 0)
            return true;
        sched_yield();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - begin.tv_sec < WAIT_MS / 1000);
    return false;
}

Test(watch, ends_when_all_sleep_and_begins_again, .init = fixture_init)
{
    blocker_t blocker;
    open_blocker(&blocker);
    dctx_system_t *system = start_watched(WARN_MS, 2, NULL);
    dctx_ref_t ref = spawn(system, NULL, block, &blocker);
    for (int i = 1; i <= 3; i++) {
        cr_assert(ends(system));
        tell_uint(ref, 0);
        cr_assert(gate_wait(&told, i));
        cr_assert_eq(atomic_load(&system->io.watch.armed), 1);
        let_one_on(&blocker);
    }
    cr_assert(ends(system));
    finish(&system);
}

static dctx_error_t work(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    _Atomic(long) *left = state;
    if (atomic_fetch_sub(left, 1) > 0)
        return dctx_tell(dctx_self(self), NULL, NULL);
    return DCTX_OK;
}

Test(watch, a_busy_actor_blocks_nobody, .init = fixture_init)
{
    _Atomic(long) left = 200000;
    dctx_system_t *system = start_watched(1000, 1, NULL);
    cr_assert_eq(dctx_tell(spawn(system, NULL, work, &left), NULL, NULL), DCTX_OK);
    finish(&system);
    cr_assert_leq(atomic_load(&left), 0);
    cr_assert_eq(gate_count(&told), 0);
}
