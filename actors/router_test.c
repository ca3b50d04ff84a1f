/* Routers: who gets the next message, and that it costs no hop. */
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

enum { MOST = 64 };

/* What the workers of a test did. */
typedef struct work {
    _Atomic(long) counts[MOST];
    gate_t gate, hold; /* a worker that is told 666 waits at `hold` */
    char chain[128], tenant[16];
} work_t;

typedef struct worker {
    work_t *work;
    size_t number;
} worker_t;

static work_t work;
static _Atomic(int) states;

static void *make_state(size_t number, void *arg)
{
    worker_t *worker = malloc(sizeof *worker);
    cr_assert_not_null(worker);
    *worker = (worker_t){.work = arg, .number = number};
    states++;
    return worker;
}

static void destroy_state(void *state)
{
    free(state);
    states--;
}

/* Answers with its number. */
static dctx_error_t do_work(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    worker_t *worker = state;
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    uint64_t number = worker->number;
    (void)self;
    worker->work->counts[number]++;
    if (value != NULL && *value == 666)
        cr_assert(gate_wait(&worker->work->hold, 1));
    if (value != NULL && *value == 13)
        dctx_self_stop(self);
    if (dctx_message_is_ask(message)) {
        strcpy(worker->work->chain, chain());
        strcpy(worker->work->tenant, tenant_get_or(""));
    }
    dctx_error_t error =
        dctx_message_is_ask(message) ? dctx_reply(message, DCTX_TYPE_UINT64, &number) : DCTX_OK;
    gate_pass(&worker->work->gate);
    return error;
}

static const dctx_actor_options_t worker_options = {
    .name = "w", .handler = do_work, .destroy_state = destroy_state};

static void set_up(void)
{
    fixture_init();
    work = (work_t){.gate = GATE_INIT, .hold = GATE_INIT};
}

static dctx_router_t *route(dctx_system_t *system, dctx_route_t how, size_t workers,
                            const char *name)
{
    dctx_router_t *router = NULL;
    dctx_router_options_t options = {.route = how,
                                     .worker = &worker_options,
                                     .workers = workers,
                                     .worker_state = make_state,
                                     .arg = &work,
                                     .name = name};
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_OK, "%s", dctx_error_detail());
    return router;
}

static uint64_t ask_number(dctx_ref_t to, const dctx_type_t *type, const void *value)
{
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(to, type, value, WAIT_MS, &reply), DCTX_OK, "%s",
                 dctx_error_detail());
    uint64_t number = *(const uint64_t *)dctx_message_get(reply, DCTX_TYPE_UINT64);
    dctx_message_destroy(&reply);
    return number;
}

static dctx_ref_t pick(dctx_router_t *router, const dctx_type_t *type, const void *value)
{
    dctx_ref_t ref = DCTX_REF_NONE;
    cr_assert_eq(dctx_router_pick(router, type, value, &ref), DCTX_OK, "%s", dctx_error_detail());
    return ref;
}

static void tell_number(dctx_router_t *router, uint64_t value)
{
    cr_assert_eq(dctx_router_tell(router, DCTX_TYPE_UINT64, &value), DCTX_OK, "%s",
                 dctx_error_detail());
}

static void wait_size(dctx_router_t *router, size_t size)
{
    while (dctx_router_size(router) != size)
        sched_yield();
}

/* ---- ways ------------------------------------------------------------------------------------ */

Test(router, round_robin_gives_each_its_turn_without_a_hop, .init = set_up, .timeout = 60)
{
    dctx_system_t *system = start(NULL);
    dctx_router_t *router = route(system, DCTX_ROUTE_ROUND_ROBIN, 4, NULL);
    cr_assert_eq(dctx_router_size(router), 4);
    cr_assert(dctx_ref_is_none(dctx_router_ref(router)));
    for (int i = 0; i < 400; i++)
        tell_number(router, 1);
    cr_assert(gate_wait(&work.gate, 400));
    for (int i = 1; i <= 4; i++)
        cr_assert_eq(work.counts[i], 100);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        char expected[64];
        snprintf(expected, sizeof expected, "edge > actor:w-%d",
                 (int)ask_number(pick(router, NULL, NULL), NULL, NULL));
        cr_assert_str_eq(work.chain, expected);
        cr_assert_str_eq(work.tenant, "acme");
    }
    cr_assert_eq(counters(system).accepted, 401, "a message is one message");
    dctx_router_destroy(&router);
    cr_assert_null(router);
    dctx_router_destroy(&router);
    finish(&system);
    cr_assert_eq(states, 0);
}

Test(router, random_reaches_all, .init = set_up, .timeout = 60)
{
    dctx_system_t *system = start(NULL);
    dctx_router_t *router = route(system, DCTX_ROUTE_RANDOM, 4, NULL);
    for (int i = 0; i < 4000; i++)
        tell_number(router, 1);
    cr_assert(gate_wait(&work.gate, 4000));
    for (int i = 1; i <= 4; i++)
        cr_assert(work.counts[i] > 800 && work.counts[i] < 1200, "%ld", work.counts[i]);
    dctx_router_destroy(&router);
    finish(&system);
}

/* Keeps a member busy, with mail waiting. */
static dctx_ref_t occupy(dctx_router_t *router)
{
    dctx_ref_t ref = pick(router, NULL, NULL);
    tell_uint(ref, 666);
    tell_uint(ref, 1);
    return ref;
}

Test(router, least_loaded_passes_the_busy_by, .init = set_up, .timeout = 60)
{
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 3});
    dctx_router_t *router = route(system, DCTX_ROUTE_LEAST_LOADED, 3, NULL);
    dctx_ref_t first = occupy(router), second = occupy(router);
    cr_assert(!dctx_ref_equal(first, second));
    for (int i = 0; i < 100; i++) {
        dctx_ref_t third = pick(router, NULL, NULL);
        cr_assert(!dctx_ref_equal(third, first) && !dctx_ref_equal(third, second));
        (void)ask_number(third, NULL, NULL);
    }
    gate_pass(&work.hold);
    dctx_router_destroy(&router);
    finish(&system);
}

Test(router, least_loaded_knows_how_much_waits, .init = set_up, .timeout = 60)
{
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 3});
    dctx_router_t *router = route(system, DCTX_ROUTE_LEAST_LOADED, 2, NULL);
    dctx_ref_t first = pick(router, NULL, NULL);
    tell_uint(first, 666);
    dctx_ref_t second = pick(router, NULL, NULL);
    cr_assert(!dctx_ref_equal(first, second));
    tell_uint(second, 666);
    for (int i = 0; i < 10; i++)
        tell_uint(first, 1);
    for (int i = 0; i < 8; i++) {
        cr_assert(dctx_ref_equal(pick(router, NULL, NULL), second));
        tell_uint(second, 1);
    }
    gate_pass(&work.hold);
    cr_assert(gate_wait(&work.gate, 20));
    dctx_router_destroy(&router);
    finish(&system);
}

static uint64_t key_of(const void *value, void *arg)
{
    (void)arg;
    return *(const uint64_t *)value;
}

static dctx_router_t *route_by_key(dctx_system_t *system, size_t workers, const char *name)
{
    dctx_router_t *router = NULL;
    dctx_router_options_t options = {.route = DCTX_ROUTE_BY_KEY,
                                     .worker = &worker_options,
                                     .workers = workers,
                                     .worker_state = make_state,
                                     .key_type = DCTX_TYPE_UINT64,
                                     .key = key_of,
                                     .arg = &work,
                                     .name = name};
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_OK, "%s", dctx_error_detail());
    return router;
}

enum { KEYS = 4000 };

static void map_keys(dctx_router_t *router, dctx_ref_t refs[KEYS])
{
    for (uint64_t key = 0; key < KEYS; key++)
        refs[key] = pick(router, DCTX_TYPE_UINT64, &key);
}

static int differing(const dctx_ref_t *a, const dctx_ref_t *b)
{
    int count = 0;
    for (int i = 0; i < KEYS; i++)
        count += !dctx_ref_equal(a[i], b[i]);
    return count;
}

Test(router, a_key_stays_with_its_member, .init = set_up, .timeout = 60)
{
    static dctx_ref_t before[KEYS], after[KEYS];
    dctx_system_t *system = start(NULL);
    dctx_router_t *router = route_by_key(system, 8, NULL);
    map_keys(router, before);
    map_keys(router, after);
    cr_assert_eq(differing(before, after), 0);
    /* One more gets its share, and nothing else moves. */
    cr_assert_eq(dctx_router_resize(router, 9), DCTX_OK);
    map_keys(router, after);
    int moved = differing(before, after);
    cr_assert(moved > KEYS / 18 && moved < KEYS / 5, "%d moved", moved);
    dctx_ref_t newest = DCTX_REF_NONE;
    cr_assert_eq(dctx_system_find(system, "w-9", &newest), DCTX_OK);
    for (int i = 0; i < KEYS; i++)
        cr_assert(dctx_ref_equal(before[i], after[i]) || dctx_ref_equal(after[i], newest));
    /* It goes: all is as it was. */
    cr_assert_eq(dctx_router_resize(router, 8), DCTX_OK);
    cr_assert_eq(dctx_router_size(router), 8);
    map_keys(router, after);
    cr_assert_eq(differing(before, after), 0);
    /* One in the middle dies: its keys move, to all others, and no others do. */
    dctx_ref_t victim = before[0];
    tell_uint(victim, 13);
    wait_size(router, 7);
    map_keys(router, after);
    int took_over = 0;
    for (int i = 0; i < KEYS; i++) {
        cr_assert(!dctx_ref_equal(after[i], victim));
        cr_assert(dctx_ref_equal(before[i], after[i]) || dctx_ref_equal(before[i], victim));
        if (dctx_ref_equal(before[i], victim) && !dctx_ref_equal(after[i], after[0]))
            took_over++;
    }
    cr_assert_gt(took_over, 0, "not to one alone");
    /* Another comes into its place, and gets its keys. */
    cr_assert_eq(dctx_router_resize(router, 8), DCTX_OK);
    map_keys(router, after);
    for (int i = 0; i < KEYS; i++)
        cr_assert_eq(dctx_ref_equal(before[i], after[i]), !dctx_ref_equal(before[i], victim));
    /* What has no key goes round. */
    dctx_ref_t one = pick(router, DCTX_TYPE_STRING, "x"), two = pick(router, NULL, NULL);
    cr_assert(!dctx_ref_equal(one, two));
    dctx_router_destroy(&router);
    finish(&system);
}

Test(router, broadcast_tells_all, .init = set_up, .timeout = 60)
{
    dctx_system_t *system = start(NULL);
    dctx_router_t *router = route(system, DCTX_ROUTE_BROADCAST, 5, NULL);
    for (int i = 0; i < 10; i++)
        cr_assert_eq(dctx_router_tell(router, DCTX_TYPE_STRING, "to all"), DCTX_OK);
    cr_assert(gate_wait(&work.gate, 50));
    for (int i = 1; i <= 5; i++)
        cr_assert_eq(work.counts[i], 10);
    dctx_ref_t ref;
    cr_assert_eq(dctx_router_pick(router, NULL, NULL, &ref), DCTX_ERR_INVALID);
    dctx_router_destroy(&router);
    finish(&system);
}

/* ---- members --------------------------------------------------------------------------------- */

Test(router, members_that_are_given_come_and_go, .init = set_up, .timeout = 60)
{
    dctx_system_t *system = start(NULL), *other = start(NULL);
    worker_t workers[3];
    dctx_ref_t refs[3];
    for (size_t i = 0; i < 3; i++) {
        workers[i] = (worker_t){.work = &work, .number = i};
        refs[i] = spawn(system, NULL, do_work, &workers[i]);
    }
    dctx_router_t *router = NULL;
    dctx_router_options_t options = {.members = refs, .member_count = 2};
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_OK);
    cr_assert_eq(dctx_router_add(router, refs[2]), DCTX_OK);
    cr_assert_eq(dctx_router_add(router, refs[2]), DCTX_OK);
    cr_assert_eq(dctx_router_size(router), 3);
    cr_assert_eq(dctx_router_remove(router, refs[0]), DCTX_OK);
    cr_assert_eq(dctx_router_remove(router, refs[0]), DCTX_ERR_ABSENT);
    for (int i = 0; i < 100; i++)
        tell_number(router, 1);
    cr_assert(gate_wait(&work.gate, 100));
    cr_assert_eq(work.counts[0], 0);
    cr_assert_eq(work.counts[1], 50);
    cr_assert_eq(work.counts[2], 50);
    /* They die: then there is nobody. */
    tell_uint(refs[1], 13);
    tell_uint(refs[2], 13);
    wait_size(router, 0);
    dctx_ref_t ref;
    uint64_t value = 1;
    cr_assert_eq(dctx_router_pick(router, NULL, NULL, &ref), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(dctx_router_tell(router, DCTX_TYPE_UINT64, &value), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(dctx_router_add(router, refs[1]), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(dctx_router_add(router, refs[0]), DCTX_OK);
    tell_number(router, 1);
    dctx_router_destroy(&router);
    cr_assert_eq(ask_number(refs[0], NULL, NULL), 0, "who was given goes on");

    dctx_ref_t stranger = spawn(other, NULL, do_work, &workers[0]);
    options.members = &stranger;
    options.member_count = 1;
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_ERR_INVALID);
    options.member_count = 0;
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_ERR_INVALID, "nobody");
    options.workers = 2;
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_ERR_INVALID, "no worker");
    options.worker = &worker_options;
    options.route = DCTX_ROUTE_BY_KEY;
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_ERR_INVALID, "no key");
    options.route = (dctx_route_t)9;
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_ERR_INVALID);
    cr_assert_null(router);
    finish(&system);
    finish(&other);
}

/* The last one moves to the place of one who has gone, before those who look for it. */
Test(router, who_lives_is_found_behind_who_has_gone, .init = set_up, .timeout = 60)
{
    static const dctx_route_t ways[] = {DCTX_ROUTE_ROUND_ROBIN, DCTX_ROUTE_LEAST_LOADED,
                                        DCTX_ROUTE_RANDOM, DCTX_ROUTE_BROADCAST};
    dctx_system_t *system = start(NULL);
    worker_t worker = {.work = &work};
    long told = 0;
    for (size_t i = 0; i < 8; i++) {
        dctx_ref_t refs[3];
        for (size_t k = 0; k < 3; k++)
            refs[k] = spawn(system, NULL, do_work, &worker);
        dctx_router_options_t options = {.route = ways[i / 2], .members = refs, .member_count = 3};
        dctx_router_t *router = NULL;
        cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_OK);
        for (size_t k = 0; k < 2; k++) {
            cr_assert_eq(dctx_stop(refs[k]), DCTX_OK);
            while (dctx_tell(refs[k], NULL, NULL) != DCTX_ERR_NO_ACTOR)
                sched_yield();
        }
        if (i % 2 == 0)
            cr_assert_eq(dctx_router_size(router), 1);
        tell_number(router, 1);
        cr_assert_eq(dctx_router_size(router), 1);
        told++;
        dctx_router_destroy(&router);
    }
    cr_assert(gate_wait(&work.gate, told));
    finish(&system);
}

/* Tells while others change who is there. */
static void *tell_many(void *arg)
{
    dctx_router_t *router = arg;
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t value = i % 100 == 50 ? 13 : 1;
        dctx_error_t error = dctx_router_tell(router, DCTX_TYPE_UINT64, &value);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR, "%s", dctx_error_name(error));
    }
    return NULL;
}

static void check_changes(bool keys)
{
    dctx_system_t *system = start(NULL);
    static const dctx_actor_options_t plain = {.handler = do_work, .destroy_state = destroy_state};
    dctx_router_options_t options = {.route = keys ? DCTX_ROUTE_BY_KEY : DCTX_ROUTE_LEAST_LOADED,
                                     .worker = &plain,
                                     .workers = 4,
                                     .worker_state = make_state,
                                     .key_type = DCTX_TYPE_UINT64,
                                     .key = key_of,
                                     .arg = &work};
    dctx_router_t *router = NULL;
    cr_assert_eq(dctx_router_new(system, &options, &router), DCTX_OK);
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, tell_many, router), 0);
    /* Fewer numbers than there are counts. */
    for (size_t i = 0; i < 12; i++)
        cr_assert_eq(dctx_router_resize(router, 1 + i * 7 % 5), DCTX_OK);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(dctx_router_resize(router, 3), DCTX_OK);
    cr_assert_leq(dctx_router_size(router), 3);
    dctx_router_destroy(&router);
    finish(&system);
    cr_assert_eq(states, 0);
}

Test(router, may_change_while_it_routes, .init = set_up, .timeout = 60)
{
    check_changes(false);
    check_changes(true);
}

/* ---- its address ----------------------------------------------------------------------------- */

Test(router, has_an_address_here_and_on_other_nodes, .init = set_up, .timeout = 60)
{
    dctx_system_t *here = start(&(dctx_system_options_t){.workers = 1, .name = "here"});
    dctx_system_t *there = start(&(dctx_system_options_t){.workers = 2, .name = "there"});
    char *endpoint = NULL, expected[64];
    cr_assert_eq(dctx_system_bind(there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
    dctx_router_t *router = route_by_key(there, 4, "pool");
    dctx_ref_t near = dctx_router_ref(router), far;
    cr_assert_eq(dctx_router_add(router, near), DCTX_ERR_INVALID, "it would go round for ever");
    cr_assert_eq(dctx_system_find(here, "pool@there", &far), DCTX_OK);
    for (uint64_t key = 0; key < 40; key++) {
        uint64_t number = ask_number(pick(router, DCTX_TYPE_UINT64, &key), DCTX_TYPE_UINT64, &key);
        if (key == 13) /* who got that is not there any more */
            continue;
        DCTX_SCOPE("edge");
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(ask_number(near, DCTX_TYPE_UINT64, &key), number);
        snprintf(expected, sizeof expected, "edge > actor:pool > actor:w-%d", (int)number);
        cr_assert_str_eq(work.chain, expected);
        cr_assert_eq(ask_number(far, DCTX_TYPE_UINT64, &key), number, "the key is the same there");
        snprintf(expected, sizeof expected, "edge > remote:pool > actor:w-%d", (int)number);
        cr_assert_str_eq(work.chain, expected);
        cr_assert_str_eq(work.tenant, "acme");
    }
    (void)ask_number(far, DCTX_TYPE_STRING, "of no key");
    dctx_router_destroy(&router);
    finish(&here);
    finish(&there);
    dctx_free(endpoint);
    cr_assert_eq(states, 0);
}

Test(router, broadcasts_what_comes_to_its_address, .init = set_up, .timeout = 60)
{
    dctx_system_t *here = start(&(dctx_system_options_t){.workers = 1, .name = "here"});
    dctx_system_t *there = start(&(dctx_system_options_t){.workers = 2, .name = "there"});
    char *endpoint = NULL;
    cr_assert_eq(dctx_system_bind(there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
    dctx_router_t *router = route(there, DCTX_ROUTE_BROADCAST, 3, "all");
    dctx_ref_t far;
    cr_assert_eq(dctx_system_find(here, "all@there", &far), DCTX_OK);
    cr_assert_eq(dctx_tell(dctx_router_ref(router), DCTX_TYPE_STRING, "near"), DCTX_OK);
    cr_assert(gate_wait(&work.gate, 3));
    cr_assert_eq(dctx_tell(far, DCTX_TYPE_STRING, "far"), DCTX_OK);
    cr_assert(gate_wait(&work.gate, 6));
    for (int i = 1; i <= 3; i++)
        cr_assert_eq(work.counts[i], 2);
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_ask_wait(dctx_router_ref(router), NULL, NULL, 0, &reply), DCTX_ERR_INVALID);
    dctx_message_destroy(&reply);
    dctx_router_destroy(&router);
    finish(&here);
    finish(&there);
    dctx_free(endpoint);
}

/* What the last dead letter said. */
typedef struct last_letter {
    gate_t gate;
    dctx_error_t reason;
    bool ask;
    char target[32], type[32], chain[64], detail[64];
} last_letter_t;

static void keep_letter(const dctx_dead_letter_t *letter, void *arg)
{
    last_letter_t *last = arg;
    last->reason = letter->reason;
    last->ask = letter->ask;
    snprintf(last->target, sizeof last->target, "%s", letter->target);
    snprintf(last->type, sizeof last->type, "%s", letter->type);
    snprintf(last->chain, sizeof last->chain, "%s", letter->chain);
    snprintf(last->detail, sizeof last->detail, "%s", letter->detail);
    gate_pass(&last->gate);
}

static void check_letter(last_letter_t *last, long count, bool ask)
{
    cr_assert(gate_wait(&last->gate, count), "%ld of %ld", gate_count(&last->gate), count);
    cr_assert_eq(last->reason, DCTX_ERR_NO_ACTOR);
    cr_assert_eq(last->ask, ask);
    cr_assert_str_eq(last->target, "pool");
    cr_assert_str_eq(last->type, "uint64");
    cr_assert_str_eq(last->chain, "edge");
    cr_assert_str_eq(last->detail, "no member of the router is alive");
}

/* Told and asked, from this node and from another, once nobody is left. */
static void check_deserted(dctx_route_t how, const dctx_ref_t *froms, last_letter_t *last)
{
    uint64_t value = 1;
    for (int i = 0; i < 2; i++) {
        DCTX_SCOPE("edge");
        long before = gate_count(&last->gate);
        cr_assert_eq(dctx_tell(froms[i], DCTX_TYPE_UINT64, &value), DCTX_OK);
        check_letter(last, before + 1, false);
        dctx_message_t *reply = NULL;
        dctx_error_t error = dctx_ask_wait(froms[i], DCTX_TYPE_UINT64, &value, WAIT_MS, &reply);
        dctx_message_destroy(&reply);
        bool all = how == DCTX_ROUTE_BROADCAST;
        /* Which argument was invalid over there is not told on the way back. */
        dctx_error_t refused = i == 0 ? DCTX_ERR_INVALID : DCTX_ERR_REJECTED;
        cr_assert_eq(error, all ? refused : DCTX_ERR_NO_ACTOR, "%s", dctx_error_name(error));
        if (!all)
            check_letter(last, before + 2, true);
    }
}

Test(router, what_comes_to_its_address_and_finds_nobody_is_a_dead_letter, .init = set_up,
     .timeout = 60)
{
    last_letter_t last = {.gate = GATE_INIT};
    dctx_system_t *here = start(&(dctx_system_options_t){.workers = 1, .name = "here"});
    dctx_system_t *there = start(&(dctx_system_options_t){
        .workers = 2, .name = "there", .on_dead_letter = keep_letter, .arg = &last});
    char *endpoint = NULL;
    cr_assert_eq(dctx_system_bind(there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
    for (dctx_route_t how = DCTX_ROUTE_ROUND_ROBIN; how <= DCTX_ROUTE_BROADCAST; how++) {
        worker_t worker = {.work = &work};
        dctx_ref_t member = spawn(there, NULL, do_work, &worker), froms[2];
        dctx_router_options_t options = {.route = how,
                                         .members = &member,
                                         .member_count = 1,
                                         .key_type = DCTX_TYPE_UINT64,
                                         .key = key_of,
                                         .name = "pool"};
        dctx_router_t *router = NULL;
        cr_assert_eq(dctx_router_new(there, &options, &router), DCTX_OK);
        froms[0] = dctx_router_ref(router);
        cr_assert_eq(dctx_system_find(here, "pool@there", &froms[1]), DCTX_OK);
        cr_assert_eq(dctx_stop(member), DCTX_OK);
        wait_size(router, 0);
        uint64_t failed = counters(there).failed;
        check_deserted(how, froms, &last);
        cr_assert_eq(counters(there).failed, failed, "no handler has failed");
        dctx_router_destroy(&router);
        cr_assert_eq(dctx_await_end(froms[0], WAIT_MS, NULL), DCTX_OK, "the name is free");
    }
    uint64_t dead = (uint64_t)gate_count(&last.gate);
    cr_assert_eq(counters(there).dead_lettered, dead);
    finish(&here);
    finish(&there);
    dctx_free(endpoint);
}

Test(router, what_was_sent_before_its_end_is_handled, .init = set_up, .timeout = 60)
{
    enum { COUNT = 2000 };
    dctx_system_t *system = start(NULL);
    for (int named = 0; named < 2; named++) {
        dctx_router_t *router = route(system, DCTX_ROUTE_ROUND_ROBIN, 4, named ? "pool" : NULL);
        for (int i = 0; i < COUNT; i++) {
            if (named)
                tell_uint(dctx_router_ref(router), 1);
            else
                tell_number(router, 1);
        }
        dctx_router_destroy(&router);
        cr_assert(gate_wait(&work.gate, (named + 1) * COUNT));
        while (counters(system).actors > 0)
            sched_yield();
        cr_assert_eq(states, 0);
    }
    cr_assert_eq(counters(system).dead_lettered, 0);
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
    set_up();
}

Test(router, each_allocation, .init = set_up_sweep, .timeout = 120)
{
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 400);
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        dctx_router_t *router = NULL;
        dctx_router_options_t options = {.route = DCTX_ROUTE_BROADCAST,
                                         .worker = &worker_options,
                                         .workers = 10,
                                         .worker_state = make_state,
                                         .arg = &work,
                                         .name = "pool"};
        __atomic_store_n(&made, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&fails_at, nth, __ATOMIC_RELAXED);
        dctx_error_t error = dctx_router_new(system, &options, &router);
        if (error == DCTX_OK)
            error = dctx_router_tell(router, DCTX_TYPE_STRING, "x");
        reached = __atomic_load_n(&made, __ATOMIC_RELAXED) >=
                  __atomic_exchange_n(&fails_at, -1, __ATOMIC_RELAXED);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
        dctx_router_destroy(&router);
        finish(&system);
        cr_assert_eq(states, 0);
    }
}
