/* Spawning, telling, ordering, names, refs and the end of actors, in one process. */
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

static uint64_t number(const dctx_message_t *message)
{
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    cr_assert_not_null(value);
    return *value;
}

/* Checks that the numbers of each sender come in order;
 * the upper half of a number is the sender. */
typedef struct sink {
    uint64_t next[16];
    uint64_t total;
    uint64_t expected;
    bool in_order;
    gate_t done;
} sink_t;

static dctx_error_t collect(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    sink_t *sink = state;
    uint64_t value = number(message);
    uint64_t *next = &sink->next[value >> 32];
    if ((uint32_t)value != *next)
        sink->in_order = false;
    (*next)++;
    if (++sink->total == sink->expected)
        gate_pass(&sink->done);
    return DCTX_OK;
}

Test(actor, messages_of_one_sender_come_in_order, .init = fixture_init, .timeout = 30)
{
    sink_t sink = {.expected = 10000, .in_order = true, .done = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "sink", collect, &sink);
    for (uint64_t i = 0; i < sink.expected; i++)
        tell_uint(ref, i);
    cr_assert(gate_wait(&sink.done, 1));
    cr_assert(sink.in_order);
    finish(&system);
    cr_assert_eq(sink.total, sink.expected);
}

typedef struct sender {
    dctx_ref_t to;
    uint64_t number;
    uint64_t count;
} sender_t;

static void *send_all(void *arg)
{
    sender_t *sender = arg;
    for (uint64_t i = 0; i < sender->count; i++)
        tell_uint(sender->to, sender->number << 32 | i);
    return NULL;
}

static dctx_error_t send_all_as_actor(dctx_actor_t *self, const dctx_message_t *message,
                                      void *state)
{
    (void)self;
    (void)message;
    send_all(state);
    return DCTX_OK;
}

Test(actor, eight_senders_lose_and_mix_up_nothing, .init = fixture_init, .timeout = 60)
{
    enum { THREADS = 4, ACTORS = 4, EACH = 5000 };
    sink_t sink = {.expected = (THREADS + ACTORS) * EACH, .in_order = true, .done = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "sink", collect, &sink);
    sender_t senders[THREADS + ACTORS];
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS + ACTORS; i++) {
        senders[i] = (sender_t){.to = ref, .number = i, .count = EACH};
        if (i < THREADS)
            cr_assert_eq(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
        else
            tell_uint(spawn(system, NULL, send_all_as_actor, &senders[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert(gate_wait(&sink.done, 1));
    cr_assert(sink.in_order);
    finish(&system);
}

/* Passes a token on until it is down to 0. */
typedef struct link {
    dctx_ref_t next;
    gate_t *done;
} link_t;

static dctx_error_t pass_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    link_t *link = state;
    uint64_t left = number(message);
    if (left == 0)
        gate_pass(link->done);
    else
        tell_uint(link->next, left - 1);
    return DCTX_OK;
}

static void run_ring(unsigned size, uint64_t hops)
{
    gate_t done = GATE_INIT;
    link_t links[128] = {{{0}, NULL}};
    dctx_ref_t refs[128];
    dctx_system_t *system = start(NULL);
    for (unsigned i = 0; i < size; i++) {
        links[i].done = &done;
        refs[i] = spawn(system, NULL, pass_on, &links[i]);
    }
    for (unsigned i = 0; i < size; i++)
        links[i].next = refs[(i + 1) % size];
    tell_uint(refs[0], hops);
    cr_assert(gate_wait(&done, 1));
    cr_assert_eq(counters(system).accepted, hops + 1);
    finish(&system);
}

Test(actor, two_play_ping_pong, .init = fixture_init, .timeout = 30)
{
    run_ring(2, 20000);
}

Test(actor, a_token_goes_round_a_ring, .init = fixture_init, .timeout = 30)
{
    run_ring(101, 20000);
}

/* ---- names and refs -------------------------------------------------------------------------- */

static dctx_error_t ignore(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

static dctx_error_t stop_self(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    (void)state;
    dctx_self_stop(self);
    return DCTX_OK;
}

static void destroyed(void *state)
{
    gate_pass(state);
}

static dctx_ref_t spawn_with(dctx_system_t *system, const dctx_actor_options_t *options)
{
    dctx_ref_t ref = DCTX_REF_NONE;
    cr_assert_eq(dctx_spawn(system, options, &ref), DCTX_OK, "%s", dctx_error_detail());
    return ref;
}

Test(actor, names_find_the_living, .init = fixture_init, .timeout = 30)
{
    gate_t gone = GATE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_ref_t found = DCTX_REF_NONE;
    char text[64];
    dctx_actor_options_t options = {
        .name = "orders", .handler = stop_self, .state = &gone, .destroy_state = destroyed};
    dctx_ref_t ref = spawn_with(system, &options);
    cr_assert_eq(dctx_system_find(system, "orders", &found), DCTX_OK);
    cr_assert(dctx_ref_equal(ref, found));
    cr_assert_eq(dctx_ref_format(ref, text, sizeof text), 6);
    cr_assert_str_eq(text, "orders");
    cr_assert_eq(dctx_ref_format(ref, text, 4), 6);
    cr_assert_str_eq(text, "ord");
    dctx_ref_t twin;
    cr_assert_eq(dctx_spawn(system, &options, &twin), DCTX_ERR_CONFLICT);
    cr_assert_eq(dctx_system_find(system, "ordersx", &found), DCTX_ERR_NO_ACTOR);

    tell_uint(ref, 1);
    cr_assert(gate_wait(&gone, 1));
    cr_assert_eq(dctx_system_find(system, "orders", &found), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(dctx_stop(ref), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(dctx_ref_format(ref, text, sizeof text), 0);
    cr_assert_str_eq(text, "");

    dctx_ref_t again = spawn_with(system, &options);
    cr_assert(!dctx_ref_equal(ref, again));
    cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_ERR_NO_ACTOR,
                 "a stale ref reached the successor");
    finish(&system);
    cr_assert_eq(gate_count(&gone), 2);
}

Test(actor, the_system_names_those_without_a_name, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, NULL, ignore, NULL), found;
    char name[64];
    cr_assert_gt(dctx_ref_format(ref, name, sizeof name), 5);
    cr_assert_eq(strncmp(name, "anon-", 5), 0);
    cr_assert_eq(dctx_system_find(system, name, &found), DCTX_OK);
    cr_assert(dctx_ref_equal(ref, found));
    dctx_actor_options_t options = {.name = "anon-7", .handler = ignore};
    cr_assert_eq(dctx_spawn(system, &options, &found), DCTX_ERR_INVALID);
    finish(&system);
}

Test(actor, bad_arguments_are_refused, .init = fixture_init, .timeout = 30)
{
    static const char *const bad[] = {"", "a b", "a@b", "a\n",
                                      "123456789012345678901234567890123456789012345678901234567"};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = DCTX_REF_NONE;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dctx_actor_options_t options = {.name = bad[i], .handler = ignore};
        cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_ERR_INVALID, "%s", bad[i]);
    }
    dctx_actor_options_t none = {.name = "x"};
    cr_assert_eq(dctx_spawn(system, &none, &ref), DCTX_ERR_INVALID);
    cr_assert(dctx_ref_is_none(ref));
    cr_assert_eq(dctx_tell(DCTX_REF_NONE, NULL, NULL), DCTX_ERR_INVALID);
    ref = spawn(system, "x", ignore, NULL);
    uint64_t one = 1;
    cr_assert_eq(dctx_tell(ref, NULL, &one), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_UINT64, NULL), DCTX_ERR_INVALID);
    char *string = NULL;
    cr_assert_eq(dctx_tell_take(ref, DCTX_TYPE_STRING, &string), DCTX_ERR_TYPE);
    cr_assert_eq(dctx_system_find(system, "x@", &ref), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_find(system, "x@no node", &ref), DCTX_ERR_INVALID);
    cr_assert_eq(counters(system).refused, 3);
    finish(&system);
}

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct owned {
    char *text;
    int tag;
} owned_t;

static int owned_alive; /* atomic */

static dctx_error_t owned_copy(void *dst, const void *src)
{
    const owned_t *from = src;
    *(owned_t *)dst = (owned_t){.text = strdup(from->text), .tag = from->tag};
    __atomic_add_fetch(&owned_alive, 1, __ATOMIC_SEQ_CST);
    return DCTX_OK;
}

static void owned_destroy(void *value)
{
    free(((owned_t *)value)->text);
    __atomic_sub_fetch(&owned_alive, 1, __ATOMIC_SEQ_CST);
}

static const dctx_type_t owned_type = {
    .name = "owned", .size = sizeof(owned_t), .copy = owned_copy, .destroy = owned_destroy};

typedef struct big {
    char bytes[5000];
} big_t;

static const dctx_type_t big_type = {.name = "big", .size = sizeof(big_t)};

static dctx_error_t look_at(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    const char *string = dctx_message_get(message, DCTX_TYPE_STRING);
    const dctx_bytes_t *bytes = dctx_message_get(message, DCTX_TYPE_BYTES);
    const owned_t *owned = dctx_message_get(message, &owned_type);
    const big_t *big = dctx_message_get(message, &big_type);
    const char *type = dctx_message_type(message);
    cr_assert((string != NULL) == (strcmp(type, DCTX_TYPE_STRING->name) == 0));
    cr_assert((bytes != NULL) == (strcmp(type, DCTX_TYPE_BYTES->name) == 0));
    cr_assert((owned != NULL) == (strcmp(type, "owned") == 0));
    cr_assert((big != NULL) == (strcmp(type, "big") == 0));
    if (string != NULL)
        cr_assert(strlen(string) == 5 || strlen(string) == 300);
    if (bytes != NULL)
        cr_assert_arr_eq(bytes->data, "a\0b", 3);
    if (owned != NULL)
        cr_assert_str_eq(owned->text, "mine");
    if (big != NULL)
        cr_assert_eq(big->bytes[4999], 'z');
    cr_assert(!dctx_message_is_ask(message));
    cr_assert(!dctx_message_is_remote(message));
    cr_assert_str_eq(dctx_message_reason(message), "");
    cr_assert(dctx_ref_is_none(dctx_message_sender(message)));
    gate_pass(state);
    return DCTX_OK;
}

Test(actor, values_of_all_kinds_arrive, .init = fixture_init, .timeout = 30)
{
    gate_t seen = GATE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "look", look_at, &seen);
    char text[301];
    memset(text, 'x', 300);
    text[300] = '\0';
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_STRING, "hello"), DCTX_OK);
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_STRING, text), DCTX_OK);
    dctx_bytes_t bytes = {.data = "a\0b", .size = 3};
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_BYTES, &bytes), DCTX_OK);
    owned_t owned = {.text = strdup("mine"), .tag = 1};
    owned_alive = 1;
    cr_assert_eq(dctx_tell(ref, &owned_type, &owned), DCTX_OK);
    cr_assert_not_null(owned.text);
    cr_assert_eq(dctx_tell_take(ref, &owned_type, &owned), DCTX_OK);
    cr_assert_null(owned.text);
    big_t big;
    memset(&big, 'z', sizeof big);
    cr_assert_eq(dctx_tell(ref, &big_type, &big), DCTX_OK);
    cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&seen, 7));
    finish(&system);
    cr_assert_eq(owned_alive, 0);
}

Test(actor, a_refused_value_stays_the_callers, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "x", ignore, NULL);
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    owned_t owned = {.text = strdup("mine")};
    owned_alive = 1;
    cr_assert_neq(dctx_tell_take(ref, &owned_type, &owned), DCTX_OK);
    cr_assert_str_eq(owned.text, "mine");
    owned_destroy(&owned);
    cr_assert_eq(owned_alive, 0);
    finish(&system);
}

static dctx_error_t say_sender(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    dctx_ref_t *me = state;
    if (dctx_message_get(message, DCTX_TYPE_UINT64) != NULL) {
        cr_assert(dctx_ref_equal(dctx_message_sender(message), *me));
        gate_pass((gate_t *)(void *)(me + 1));
        return DCTX_OK;
    }
    cr_assert(dctx_ref_equal(dctx_self(self), *me));
    cr_assert_str_eq(dctx_self_name(self), "me");
    tell_uint(dctx_self(self), 1);
    return DCTX_OK;
}

Test(actor, a_message_knows_its_sender, .init = fixture_init, .timeout = 30)
{
    struct {
        dctx_ref_t me;
        gate_t seen;
    } state = {.seen = GATE_INIT};
    dctx_system_t *system = start(NULL);
    state.me = spawn(system, "me", say_sender, &state);
    cr_assert_eq(dctx_tell(state.me, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&state.seen, 1));
    finish(&system);
}

/* ---- life ------------------------------------------------------------------------------------ */

typedef struct life {
    gate_t started, stopped, gone, handled;
    dctx_error_t start_result;
    char start_chain[64], stop_chain[64], start_tenant[16];
} life_t;

static dctx_error_t life_start(dctx_actor_t *self, void *state)
{
    (void)self;
    life_t *life = state;
    cr_assert_eq(gate_count(&life->handled), 0);
    strcpy(life->start_chain, chain());
    strcpy(life->start_tenant, tenant_get_or(""));
    gate_pass(&life->started);
    return life->start_result;
}

static void life_stop(dctx_actor_t *self, void *state)
{
    (void)self;
    life_t *life = state;
    strcpy(life->stop_chain, chain());
    cr_assert_null(tenant_get());
    gate_pass(&life->stopped);
}

static void life_gone(void *state)
{
    gate_pass(&((life_t *)state)->gone);
}

static dctx_error_t life_handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_pass(&((life_t *)state)->handled);
    return DCTX_OK;
}

static dctx_actor_options_t life_options(life_t *life)
{
    return (dctx_actor_options_t){.name = "life",
                                  .handler = life_handle,
                                  .state = life,
                                  .on_start = life_start,
                                  .on_stop = life_stop,
                                  .destroy_state = life_gone};
}

#define LIFE_INIT                                                                                  \
    {                                                                                              \
        .started = GATE_INIT, .stopped = GATE_INIT, .gone = GATE_INIT, .handled = GATE_INIT        \
    }

Test(actor, starts_and_stops_in_the_right_contexts, .init = fixture_init, .timeout = 30)
{
    life_t life = LIFE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_actor_options_t options = life_options(&life);
    dctx_ref_t ref = DCTX_REF_NONE;
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        ref = spawn_with(system, &options);
    }
    for (int i = 0; i < 3; i++)
        tell_uint(ref, 0);
    cr_assert_eq(dctx_stop(ref), DCTX_OK);
    cr_assert(gate_wait(&life.gone, 1));
    cr_assert_eq(gate_count(&life.handled), 3);
    cr_assert_str_eq(life.start_chain, "edge > actor:life");
    cr_assert_str_eq(life.start_tenant, "acme");
    cr_assert_str_eq(life.stop_chain, "actor:life");
    cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_ERR_NO_ACTOR);
    finish(&system);
    cr_assert_eq(gate_count(&life.stopped), 1);
    cr_assert_eq(gate_count(&life.gone), 1);
}

static dctx_error_t last_reason; /* under the gate's lock, in effect */
static gate_t dead = GATE_INIT;

static void on_dead(const dctx_dead_letter_t *letter, void *arg)
{
    (void)arg;
    last_reason = letter->reason;
    gate_pass(&dead);
}

Test(actor, one_that_does_not_start_ends, .init = fixture_init, .timeout = 30)
{
    life_t life = LIFE_INIT;
    life.start_result = DCTX_ERR_ABSENT;
    dctx_system_options_t with = {.workers = 1, .on_dead_letter = on_dead};
    dctx_system_t *system = start(&with);
    dctx_actor_options_t options = life_options(&life);
    dctx_ref_t ref = spawn_with(system, &options);
    dctx_error_t error = dctx_tell(ref, NULL, NULL);
    cr_assert(gate_wait(&life.gone, 1));
    if (error == DCTX_OK) {
        cr_assert(gate_wait(&dead, 1));
        cr_assert_eq(last_reason, DCTX_ERR_ABSENT);
    }
    cr_assert_eq(gate_count(&life.handled), 0);
    finish(&system);
    cr_assert_eq(gate_count(&life.stopped), 0);
    cr_assert_eq(gate_count(&life.gone), 1);
}

/* Spawns, uses and stops actors, over and over, with refs that are stale. */
static void *churn(void *arg)
{
    dctx_system_t *system = arg;
    dctx_ref_t old[8] = {{0}};
    for (unsigned i = 0; i < 2000; i++) {
        dctx_ref_t *place = &old[i % 8];
        if (!dctx_ref_is_none(*place)) {
            (void)!dctx_tell(*place, NULL, NULL);
            (void)!dctx_stop(*place);
            (void)!dctx_tell(*place, NULL, NULL);
        }
        *place = spawn(system, NULL, i % 3 == 0 ? stop_self : ignore, NULL);
        tell_uint(*place, i);
        (void)!dctx_stop(old[(i + 5) % 8]);
    }
    return NULL;
}

Test(actor, spawn_and_stop_churn_adds_up, .init = fixture_init, .timeout = 60)
{
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    dctx_system_t *system = start(NULL);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, churn, system), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    finish(&system);
}

Test(actor, actors_in_thousands, .init = fixture_init, .timeout = 60)
{
    enum { COUNT = 5000 };
    static dctx_ref_t refs[COUNT];
    gate_t seen = GATE_INIT;
    dctx_system_t *system = start(NULL);
    for (int i = 0; i < COUNT; i++)
        refs[i] = spawn(system, NULL, look_at, &seen);
    cr_assert_eq(counters(system).actors, COUNT);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(dctx_tell(refs[i], NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&seen, COUNT));
    finish(&system);
}
