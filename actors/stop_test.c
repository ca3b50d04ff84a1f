/* The end of a system: bounded, and every message accounted for, whoever stands in the way. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Blocks until the test closes the other end. */
typedef struct blocker {
    int pipe[2];
    gate_t inside, outside;
} blocker_t;

static void blocker_init(blocker_t *blocker)
{
    *blocker = (blocker_t){.inside = GATE_INIT, .outside = GATE_INIT};
    cr_assert_eq(pipe(blocker->pipe), 0);
}

static void block(blocker_t *blocker)
{
    char byte;
    gate_pass(&blocker->inside);
    ssize_t got = read(blocker->pipe[0], &byte, 1);
    (void)got;
    gate_pass(&blocker->outside);
}

static dctx_error_t block_on_message(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    block(state);
    return DCTX_OK;
}

static dctx_error_t count(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_pass(state);
    return DCTX_OK;
}

static void check_blocked(unsigned flags, unsigned workers)
{
    enum { WAITING = 100 };
    gate_t counted = GATE_INIT;
    blocker_t blocker;
    blocker_init(&blocker);
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = workers});
    dctx_actor_options_t options = {
        .name = "orders", .handler = block_on_message, .state = &blocker, .flags = flags};
    dctx_ref_t ref, other = spawn(system, "other", count, &counted);
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    DCTX_WITH_SCOPE("api-gateway")
        tell_uint(ref, 0);
    cr_assert(gate_wait(&blocker.inside, 1));
    for (int i = 0; i < WAITING; i++) {
        tell_uint(ref, 0);
        tell_uint(other, 0);
    }
    char *report = NULL;
    int64_t begin = now_ms();
    cr_assert_eq(dctx_system_stop(system, 150, &report), DCTX_ERR_TIMEOUT);
    int64_t took = now_ms() - begin;
    cr_assert_lt(took, 5000, "stop took %ld ms", (long)took);
    cr_assert_eq(strncmp(report, "orders: in handler for ", 23), 0, "%s", report);
    cr_assert_not_null(strstr(report, " ms: api-gateway > actor:orders\n"), "%s", report);
    long ms = strtol(report + 23, NULL, 10);
    cr_assert_geq(ms, 100, "%s", report);
    cr_assert_leq(ms, took + 10000);
    dctx_free(report);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.accepted, 1 + 2 * WAITING);
    cr_assert_eq(c.accepted, c.handled + c.dead_lettered);
    if (workers > 1 || flags != 0)
        cr_assert_eq(gate_count(&counted), WAITING, "the others were not kept");
    /* Again is harmless, and says the same. */
    cr_assert_eq(dctx_system_stop(system, 0, NULL), DCTX_ERR_TIMEOUT);
    dctx_system_destroy(&system);
    cr_assert_null(system);
    /* It comes back when the system has gone: nothing crashes. */
    close(blocker.pipe[1]);
    cr_assert(gate_wait(&blocker.outside, 1));
}

Test(stop, names_a_handler_that_blocks, .init = fixture_init, .timeout = 30)
{
    check_blocked(0, 2);
}

Test(stop, names_a_pinned_handler_that_blocks, .init = fixture_init, .timeout = 30)
{
    check_blocked(DCTX_PINNED, 1);
}

Test(stop, does_not_need_a_free_worker, .init = fixture_init, .timeout = 30)
{
    check_blocked(0, 1);
}

static atomic_size_t allocated;

static void *count_bytes(size_t size)
{
    atomic_fetch_add(&allocated, size);
    return malloc(size);
}

/* The report names each of them, and costs no more for the last one than for the first. */
Test(stop, very_many_that_are_left_are_named_in_time, .init = fixture_init, .timeout = 60)
{
    enum { MANY = 5000 };
    static const dctx_allocator_t allocator = {.allocate = count_bytes, .release = free};
    gate_t counted = GATE_INIT;
    blocker_t blocker;
    blocker_init(&blocker);
    dctx_set_allocator(&allocator);
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    tell_uint(spawn(system, "orders", block_on_message, &blocker), 0);
    cr_assert(gate_wait(&blocker.inside, 1));
    for (int i = 0; i < MANY; i++)
        (void)spawn(system, NULL, count, &counted);
    char *report = NULL;
    size_t before = atomic_load(&allocated), lines = 0;
    cr_assert_eq(dctx_system_stop(system, 0, &report), DCTX_ERR_TIMEOUT);
    size_t bytes = atomic_load(&allocated) - before;
    for (const char *line = report; (line = strchr(line, '\n')) != NULL; line++)
        lines++;
    cr_assert_eq(lines, MANY + 1);
    cr_assert_lt(bytes, 64 * strlen(report), "%zu bytes for a report of %zu", bytes,
                 strlen(report));
    dctx_free(report);
    dctx_system_destroy(&system);
    close(blocker.pipe[1]);
    cr_assert(gate_wait(&blocker.outside, 1));
}

Test(stop, waits_for_a_handler_that_comes_back, .init = fixture_init, .timeout = 30)
{
    blocker_t blocker;
    blocker_init(&blocker);
    dctx_system_t *system = start(NULL);
    tell_uint(spawn(system, "slow", block_on_message, &blocker), 0);
    cr_assert(gate_wait(&blocker.inside, 1));
    close(blocker.pipe[1]);
    finish(&system);
    cr_assert_eq(gate_count(&blocker.outside), 1);
}

static void block_in_stop(dctx_actor_t *self, void *state)
{
    (void)self;
    block(state);
}

Test(stop, names_an_on_stop_that_blocks, .init = fixture_init, .timeout = 30)
{
    blocker_t blocker;
    blocker_init(&blocker);
    dctx_system_t *system = start(NULL);
    dctx_actor_options_t options = {
        .name = "orders", .handler = count, .state = &blocker, .on_stop = block_in_stop};
    dctx_ref_t ref;
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    char *report = NULL;
    cr_assert_eq(dctx_system_stop(system, 50, &report), DCTX_ERR_TIMEOUT);
    cr_assert_eq(strncmp(report, "orders: in handler for ", 23), 0, "%s", report);
    dctx_free(report);
    dctx_system_destroy(&system);
    close(blocker.pipe[1]);
    cr_assert(gate_wait(&blocker.outside, 1));
}

/* ---- while full ------------------------------------------------------------------------------ */

/* Tells itself and another for ever, until it is told that all is over. */
static dctx_error_t flood(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    for (int i = 0; i < 2; i++) {
        dctx_error_t error = dctx_tell(i == 0 ? dctx_self(self) : *(dctx_ref_t *)state, NULL, NULL);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_STOPPED || error == DCTX_ERR_NO_ACTOR);
    }
    return DCTX_OK;
}

typedef struct teller {
    dctx_ref_t to;
    gate_t began;
    uint64_t accepted;
} teller_t;

static void *tell_until_stopped(void *arg)
{
    teller_t *teller = arg;
    uint64_t value = 0;
    dctx_error_t error;
    while ((error = dctx_tell(teller->to, DCTX_TYPE_UINT64, &value)) == DCTX_OK) {
        teller->accepted++;
        gate_pass(&teller->began);
    }
    cr_assert(error == DCTX_ERR_STOPPED || error == DCTX_ERR_NO_ACTOR);
    return NULL;
}

static dctx_error_t ignore(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

static void check_full(int64_t timeout_ms)
{
    enum { THREADS = 2 };
    teller_t tellers[THREADS];
    pthread_t threads[THREADS];
    dctx_system_t *system = start(NULL);
    dctx_ref_t sink = spawn(system, "sink", ignore, NULL);
    dctx_ref_t flooder = spawn(system, "flood", flood, &sink);
    cr_assert_eq(dctx_tell(flooder, NULL, NULL), DCTX_OK);
    for (int i = 0; i < THREADS; i++) {
        tellers[i] = (teller_t){.to = sink, .began = GATE_INIT};
        cr_assert_eq(pthread_create(&threads[i], NULL, tell_until_stopped, &tellers[i]), 0);
        cr_assert(gate_wait(&tellers[i].began, 100));
    }
    int64_t begin = now_ms();
    char *report = NULL;
    cr_assert_eq(dctx_system_stop(system, timeout_ms, &report), DCTX_OK, "%s", report);
    cr_assert_lt(now_ms() - begin, timeout_ms + 5000);
    dctx_free(report);
    uint64_t told = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        told += tellers[i].accepted;
    }
    dctx_system_counters_t c = counters(system);
    cr_assert_geq(c.accepted, told);
    cr_assert_eq(c.accepted, c.handled + c.dead_lettered);
    finish(&system);
}

Test(stop, while_full_adds_up, .init = fixture_init, .timeout = 60)
{
    check_full(100);
}

Test(stop, at_once_while_full_adds_up, .init = fixture_init, .timeout = 60)
{
    check_full(0);
}

/* ---- what it says to those who come late ----------------------------------------------------- */

Test(stop, afterwards_everything_is_refused, .init = fixture_init, .timeout = 30)
{
    gate_t counted = GATE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "x", count, &counted), more;
    for (int i = 0; i < 1000; i++)
        tell_uint(ref, 0);
    char *report = NULL;
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, &report), DCTX_OK);
    cr_assert_str_eq(report, "");
    dctx_free(report);
    cr_assert_eq(gate_count(&counted), 1000, "what was in the mailbox is handled");
    dctx_message_t *reply = NULL;
    dctx_actor_options_t options = {.name = "x", .handler = count};
    dctx_error_t error = dctx_tell(ref, NULL, NULL);
    cr_assert(error == DCTX_ERR_NO_ACTOR || error == DCTX_ERR_STOPPED);
    error = dctx_ask_wait(ref, NULL, NULL, 0, &reply);
    cr_assert(error == DCTX_ERR_NO_ACTOR || error == DCTX_ERR_STOPPED);
    cr_assert_eq(dctx_spawn(system, &options, &more), DCTX_ERR_STOPPED);
    cr_assert_eq(dctx_system_bind(system, "inproc://late", NULL), DCTX_ERR_STOPPED);
    cr_assert_eq(dctx_system_find(system, "x", &more), DCTX_ERR_NO_ACTOR);
    finish(&system);
}

typedef struct letters {
    gate_t gate;
    dctx_dead_letter_t last;
    char target[64], chain[64], tenant[32];
} letters_t;

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    letters_t *letters = arg;
    letters->last = *letter;
    strcpy(letters->target, letter->target);
    strcpy(letters->chain, letter->chain);
    const char *value = dctx_snapshot_get(letter->snapshot, tenant_key());
    strcpy(letters->tenant, value != NULL ? value : "");
    gate_pass(&letters->gate);
}

Test(stop, a_dead_letter_tells_its_story, .init = fixture_init, .timeout = 30)
{
    letters_t letters = {.gate = GATE_INIT};
    blocker_t blocker;
    blocker_init(&blocker);
    dctx_system_t *system = start(
        &(dctx_system_options_t){.workers = 1, .on_dead_letter = on_dead_letter, .arg = &letters});
    dctx_ref_t ref = spawn(system, "orders", block_on_message, &blocker);
    tell_uint(ref, 0);
    cr_assert(gate_wait(&blocker.inside, 1));
    cr_assert_eq(dctx_stop(ref), DCTX_OK);
    cr_assert_eq(dctx_stop(ref), DCTX_OK, "again is harmless");
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_tell(ref, DCTX_TYPE_STRING, "too late"), DCTX_OK);
    }
    close(blocker.pipe[1]);
    cr_assert(gate_wait(&letters.gate, 1));
    cr_assert_str_eq(letters.target, "orders");
    cr_assert_str_eq(letters.last.type, DCTX_TYPE_STRING->name);
    cr_assert_eq(letters.last.reason, DCTX_ERR_STOPPED);
    cr_assert_str_eq(letters.chain, "edge");
    cr_assert_str_eq(letters.tenant, "acme");
    cr_assert(!letters.last.ask);
    finish(&system);
}

Test(stop, a_system_that_did_nothing_stops, .init = fixture_init, .timeout = 30)
{
    for (int i = 0; i < 20; i++) {
        dctx_system_t *system = start(NULL);
        dctx_system_destroy(&system);
        cr_assert_null(system);
    }
    dctx_system_destroy(NULL);
}
