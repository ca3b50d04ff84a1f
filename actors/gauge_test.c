/* Bounded mailboxes: each policy, whoever sends, and nothing lost or counted twice. */
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "gauge.h"

enum { LIMIT = 4 };

/* An actor that waits in its first handler, and what it was told after that. */
typedef struct slow {
    gate_t inside, handled;
    int pipe[2];
    uint64_t seen[64];
    long count;
} slow_t;

static gate_t dead = GATE_INIT;
static _Atomic(int) reason;

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    (void)arg;
    atomic_store(&reason, letter->reason);
    gate_pass(&dead);
}

static dctx_error_t take(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    slow_t *slow = state;
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    char byte;
    if (slow->count == 0) {
        gate_pass(&slow->inside);
        ssize_t got = read(slow->pipe[0], &byte, 1);
        (void)got;
    }
    if (slow->count < 64)
        slow->seen[slow->count] = *value;
    slow->count++;
    gate_pass(&slow->handled);
    return dctx_message_is_ask(message) ? dctx_reply(message, DCTX_TYPE_UINT64, value) : DCTX_OK;
}

static void open_slow(slow_t *slow)
{
    *slow = (slow_t){.inside = GATE_INIT, .handled = GATE_INIT};
    cr_assert_eq(pipe(slow->pipe), 0);
}

static void let_on(slow_t *slow)
{
    close(slow->pipe[1]);
}

static dctx_system_t *start_system(unsigned workers)
{
    return start(&(dctx_system_options_t){.workers = workers, .on_dead_letter = on_dead_letter});
}

static dctx_ref_t spawn_bounded(dctx_system_t *system, slow_t *slow, dctx_overflow_t overflow,
                                int64_t wait_ms)
{
    dctx_ref_t ref;
    open_slow(slow);
    dctx_actor_options_t options = {.name = "slow",
                                    .handler = take,
                                    .state = slow,
                                    .mailbox_limit = LIMIT,
                                    .overflow = overflow,
                                    .overflow_wait_ms = wait_ms};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    return ref;
}

/* In its handler with 0, and 1 to LIMIT waiting. */
static void fill(slow_t *slow, dctx_ref_t ref)
{
    tell_uint(ref, 0);
    cr_assert(gate_wait(&slow->inside, 1));
    for (uint64_t i = 1; i <= LIMIT; i++)
        tell_uint(ref, i);
    cr_assert_eq(dctx_actor_depth_(ref), LIMIT);
}

static void check_seen(const slow_t *slow, uint64_t from)
{
    cr_assert_eq(slow->count, 1 + LIMIT);
    for (uint64_t i = 0; i < LIMIT; i++)
        cr_assert_eq(slow->seen[1 + i], from + i);
}

Test(gauge, reject_tells_the_sender, .init = fixture_init)
{
    slow_t slow;
    uint64_t value = 9;
    dctx_message_t *reply = NULL;
    dctx_system_t *system = start_system(2);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_REJECT, 0);
    fill(&slow, ref);
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_UINT64, &value), DCTX_ERR_FULL);
    cr_assert_str_eq(dctx_error_detail(), "the mailbox of slow is full (4 messages)");
    cr_assert_eq(dctx_ask_wait(ref, DCTX_TYPE_UINT64, &value, 0, &reply), DCTX_ERR_FULL);
    cr_assert_null(reply);
    cr_assert_eq(counters(system).refused, 2);
    cr_assert_eq(dctx_actor_depth_(ref), LIMIT);
    let_on(&slow);
    cr_assert(gate_wait(&slow.handled, 1 + LIMIT));
    finish(&system);
    check_seen(&slow, 1);
    cr_assert_eq(gate_count(&dead), 0);
}

Test(gauge, drop_newest_makes_a_dead_letter_and_answers_an_asker, .init = fixture_init)
{
    slow_t slow;
    uint64_t value = 9;
    dctx_message_t *reply = NULL;
    dctx_system_t *system = start_system(2);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_DROP_NEWEST, 0);
    fill(&slow, ref);
    tell_uint(ref, 9);
    cr_assert_eq(gate_count(&dead), 1);
    cr_assert_eq(atomic_load(&reason), DCTX_ERR_FULL);
    cr_assert_eq(dctx_ask_wait(ref, DCTX_TYPE_UINT64, &value, 0, &reply), DCTX_ERR_FULL);
    cr_assert_eq(gate_count(&dead), 2);
    dctx_message_destroy(&reply);
    let_on(&slow);
    finish(&system);
    check_seen(&slow, 1);
}

Test(gauge, drop_oldest_keeps_the_newest, .init = fixture_init)
{
    slow_t slow;
    dctx_system_t *system = start_system(2);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_DROP_OLDEST, 0);
    fill(&slow, ref);
    for (uint64_t i = 1; i <= 10; i++)
        tell_uint(ref, LIMIT + i);
    let_on(&slow);
    cr_assert(gate_wait(&slow.handled, 1 + LIMIT));
    finish(&system);
    check_seen(&slow, 11);
    cr_assert_eq(gate_count(&dead), 10);
    cr_assert_eq(atomic_load(&reason), DCTX_ERR_FULL);
}

Test(gauge, drop_oldest_has_a_bound_of_its_own, .init = fixture_init)
{
    slow_t slow;
    dctx_system_t *system = start_system(2);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_DROP_OLDEST, 0);
    fill(&slow, ref);
    for (uint64_t i = 0; i < 2000; i++)
        tell_uint(ref, i);
    cr_assert_eq(dctx_actor_depth_(ref), LIMIT + 1024);
    cr_assert_eq(gate_count(&dead), LIMIT + 2000 - (LIMIT + 1024));
    let_on(&slow);
    finish(&system);
    cr_assert_eq(slow.count, 1 + LIMIT);
    cr_assert_eq(gate_count(&dead), 2000);
}

/* ---- block ----------------------------------------------------------------------------------- */

typedef struct sender {
    dctx_ref_t to;
    gate_t begun, done;
    dctx_error_t error;
    char detail[256];
} sender_t;

static void *send_one(void *arg)
{
    sender_t *sender = arg;
    uint64_t value = 5;
    gate_pass(&sender->begun);
    sender->error = dctx_tell(sender->to, DCTX_TYPE_UINT64, &value);
    gate_pass(&sender->done);
    return NULL;
}

Test(gauge, block_waits_for_room, .init = fixture_init)
{
    slow_t slow;
    pthread_t thread;
    dctx_system_t *system = start_system(2);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_BLOCK, WAIT_MS);
    sender_t sender = {.to = ref, .begun = GATE_INIT, .done = GATE_INIT};
    fill(&slow, ref);
    cr_assert_eq(pthread_create(&thread, NULL, send_one, &sender), 0);
    cr_assert(gate_wait(&sender.begun, 1));
    let_on(&slow);
    cr_assert(gate_wait(&sender.done, 1));
    pthread_join(thread, NULL);
    cr_assert_eq(sender.error, DCTX_OK);
    finish(&system);
    cr_assert_eq(slow.count, 2 + LIMIT);
    cr_assert_eq(slow.seen[1 + LIMIT], 5);
}

Test(gauge, block_ends_with_its_time_the_deadline_and_the_ask, .init = fixture_init)
{
    slow_t slow, patient;
    uint64_t value = 9;
    dctx_message_t *reply = NULL;
    dctx_system_t *system = start_system(3);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_BLOCK, 20);
    fill(&slow, ref);
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_UINT64, &value), DCTX_ERR_FULL);
    cr_assert_str_eq(dctx_error_detail(), "the mailbox of slow is full (4 messages), and has been "
                                          "all the time that a sender waits");
    dctx_ref_t other;
    open_slow(&patient);
    dctx_actor_options_t options = {.handler = take,
                                    .state = &patient,
                                    .mailbox_limit = LIMIT,
                                    .overflow = DCTX_OVERFLOW_BLOCK,
                                    .overflow_wait_ms = WAIT_MS};
    cr_assert_eq(dctx_spawn(system, &options, &other), DCTX_OK);
    fill(&patient, other);
    cr_assert_eq(dctx_ask_wait(other, DCTX_TYPE_UINT64, &value, 20, &reply), DCTX_ERR_FULL);
    cr_assert_null(reply);
    DCTX_WITH_SCOPE("request") {
        cr_assert_eq(dctx_deadline_set_timeout((int64_t)20 * 1000000), DCTX_OK);
        cr_assert_eq(dctx_tell(other, DCTX_TYPE_UINT64, &value), DCTX_ERR_DEADLINE);
    }
    let_on(&slow);
    let_on(&patient);
    finish(&system);
}

Test(gauge, who_waits_for_an_actor_that_ends_hears_of_it, .init = fixture_init)
{
    slow_t slow;
    pthread_t thread;
    dctx_system_t *system = start_system(2);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_BLOCK, WAIT_MS);
    sender_t sender = {.to = ref, .begun = GATE_INIT, .done = GATE_INIT};
    fill(&slow, ref);
    cr_assert_eq(dctx_stop_now(ref), DCTX_OK);
    cr_assert_eq(pthread_create(&thread, NULL, send_one, &sender), 0);
    cr_assert(gate_wait(&sender.begun, 1));
    let_on(&slow);
    cr_assert(gate_wait(&sender.done, 1));
    pthread_join(thread, NULL);
    cr_assert_eq(sender.error, DCTX_ERR_NO_ACTOR);
    finish(&system);
    cr_assert_eq(slow.count, 1);
}

/* Sends what does not fit any more, and says what came of it. */
static dctx_error_t send_from_inside(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    sender_t *sender = state;
    uint64_t value = 5;
    dctx_ref_t to = dctx_ref_is_none(sender->to) ? dctx_self(self) : sender->to;
    for (int i = 0; i <= LIMIT && sender->error == DCTX_OK; i++)
        sender->error = dctx_tell(to, DCTX_TYPE_UINT64, &value);
    strncpy(sender->detail, dctx_error_detail(), sizeof sender->detail - 1);
    gate_pass(&sender->done);
    return DCTX_OK;
}

Test(gauge, a_worker_never_waits_nor_an_actor_for_itself, .init = fixture_init)
{
    slow_t slow;
    dctx_system_t *system = start_system(2);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_BLOCK, WAIT_MS);
    fill(&slow, ref);
    sender_t worker = {.to = ref, .done = GATE_INIT}, alone = {.done = GATE_INIT};
    tell_uint(spawn(system, NULL, send_from_inside, &worker), 0);
    cr_assert(gate_wait(&worker.done, 1));
    cr_assert_eq(worker.error, DCTX_ERR_FULL);
    cr_assert_not_null(strstr(worker.detail, "must not wait"), "%s", worker.detail);
    dctx_ref_t self;
    dctx_actor_options_t options = {.handler = send_from_inside,
                                    .state = &alone,
                                    .flags = DCTX_PINNED,
                                    .mailbox_limit = LIMIT,
                                    .overflow = DCTX_OVERFLOW_BLOCK};
    cr_assert_eq(dctx_spawn(system, &options, &self), DCTX_OK);
    tell_uint(self, 0);
    cr_assert(gate_wait(&alone.done, 1));
    cr_assert_eq(alone.error, DCTX_ERR_FULL);
    cr_assert_eq(dctx_stop_now(self), DCTX_OK);
    let_on(&slow);
    finish(&system);
}

/* ---- many, and elsewhere --------------------------------------------------------------------- */

typedef struct crowd {
    dctx_ref_t to;
    _Atomic(long) sent, full;
} crowd_t;

static void *press(void *arg)
{
    crowd_t *crowd = arg;
    uint64_t value = 1;
    for (int i = 0; i < 20000; i++) {
        dctx_error_t error = dctx_tell(crowd->to, DCTX_TYPE_UINT64, &value);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_FULL);
        (void)atomic_fetch_add(error == DCTX_OK ? &crowd->sent : &crowd->full, 1);
    }
    return NULL;
}

static dctx_error_t count(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_pass(state);
    return DCTX_OK;
}

static void check_crowd(dctx_overflow_t overflow)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    gate_t handled = GATE_INIT;
    dctx_system_t *system = start_system(2);
    crowd_t crowd = {0};
    dctx_actor_options_t options = {.handler = count,
                                    .state = &handled,
                                    .mailbox_limit = 16,
                                    .overflow = overflow,
                                    .overflow_wait_ms = WAIT_MS};
    cr_assert_eq(dctx_spawn(system, &options, &crowd.to), DCTX_OK);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, press, &crowd), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    dctx_ref_t to = crowd.to;
    cr_assert_leq(dctx_actor_depth_(to), 16 + 1024);
    finish(&system);
    long lost = gate_count(&dead);
    cr_assert_eq(gate_count(&handled) + lost, atomic_load(&crowd.sent));
    if (overflow == DCTX_OVERFLOW_BLOCK)
        cr_assert_eq(gate_count(&handled), THREADS * 20000);
    if (overflow == DCTX_OVERFLOW_REJECT)
        cr_assert_eq(lost, 0);
}

Test(gauge, many_senders_by_block, .init = fixture_init, .timeout = 120)
{
    check_crowd(DCTX_OVERFLOW_BLOCK);
}

Test(gauge, many_senders_by_reject, .init = fixture_init, .timeout = 120)
{
    check_crowd(DCTX_OVERFLOW_REJECT);
}

Test(gauge, many_senders_by_drop_oldest, .init = fixture_init, .timeout = 120)
{
    check_crowd(DCTX_OVERFLOW_DROP_OLDEST);
}

Test(gauge, a_sender_on_another_node_hears_that_it_is_full, .init = fixture_init)
{
    slow_t slow;
    uint64_t value = 9;
    char *endpoint = NULL;
    dctx_message_t *reply = NULL;
    dctx_system_t *system = start(
        &(dctx_system_options_t){.name = "a", .workers = 2, .on_dead_letter = on_dead_letter});
    dctx_system_t *other = start(&(dctx_system_options_t){.name = "b", .workers = 1});
    cr_assert_eq(dctx_system_bind(system, "inproc://gauge-test", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(other, "a", endpoint), DCTX_OK);
    dctx_free(endpoint);
    dctx_ref_t ref = spawn_bounded(system, &slow, DCTX_OVERFLOW_BLOCK, WAIT_MS), far;
    fill(&slow, ref);
    cr_assert_eq(dctx_system_find(other, "slow@a", &far), DCTX_OK);
    cr_assert_eq(dctx_ask_wait(far, DCTX_TYPE_UINT64, &value, WAIT_MS, &reply), DCTX_ERR_FULL);
    dctx_message_destroy(&reply);
    tell_uint(far, 9);
    cr_assert(gate_wait(&dead, 2));
    cr_assert_eq(atomic_load(&reason), DCTX_ERR_FULL);
    let_on(&slow);
    cr_assert(gate_wait(&slow.handled, 1 + LIMIT));
    tell_uint(far, 7);
    cr_assert(gate_wait(&slow.handled, 2 + LIMIT));
    finish(&other);
    finish(&system);
}

Test(gauge, wrong_options_are_refused_in_words, .init = fixture_init)
{
    dctx_system_t *system = start(NULL);
    gate_t gate = GATE_INIT;
    dctx_ref_t ref;
    dctx_actor_options_t options = {
        .handler = count, .state = &gate, .overflow = DCTX_OVERFLOW_BLOCK};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_ERR_INVALID);
    cr_assert_str_eq(dctx_error_detail(), "an overflow policy needs a mailbox_limit");
    options = (dctx_actor_options_t){
        .handler = count, .mailbox_limit = 1, .overflow = (dctx_overflow_t)4};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_ERR_INVALID);
    options = (dctx_actor_options_t){.handler = count, .mailbox_limit = 1, .overflow_wait_ms = -1};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_ERR_INVALID);
    options = (dctx_actor_options_t){.handler = count, .mailbox_limit = SIZE_MAX};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_ERR_INVALID);
    options = (dctx_actor_options_t){.handler = count, .state = &gate, .flags = DCTX_COUNTED};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    cr_assert_eq(dctx_actor_depth_(ref), 0);
    cr_assert_eq(dctx_actor_depth_(spawn(system, NULL, count, &gate)), -1);
    finish(&system);
}
