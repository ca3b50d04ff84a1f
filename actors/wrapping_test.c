/* Interceptors that wrap, remember, delay and explain; of systems and of single actors. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/testing.h>

#include "fixture.h"

enum { MS = 1000000 };

/* What everybody did, in order. All in one world, so on one thread. */
static char book[1024];
static dctx_test_world_t *world;
static dctx_system_t *system_here;

static void write_down(const char *what, const char *mark)
{
    size_t length = strlen(book);
    snprintf(book + length, sizeof book - length, "%s%s ", what, mark);
}

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    (void)arg;
    write_down("dead:", dctx_error_name(letter->reason));
}

static void open_world(const dctx_interceptor_t *interceptors, size_t count)
{
    cr_assert_eq(dctx_test_world_new(1, &world), DCTX_OK);
    system_here = start(&(dctx_system_options_t){.world = world,
                                                 .interceptors = interceptors,
                                                 .interceptor_count = count,
                                                 .on_dead_letter = on_dead_letter});
}

static void close_world(void)
{
    finish(&system_here);
    dctx_test_world_destroy(&world);
}

static void expect(const char *text)
{
    cr_assert(dctx_test_run(world));
    cr_assert_str_eq(book, text);
    book[0] = '\0';
}

static dctx_error_t handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    char mark[32];
    (void)state;
    snprintf(mark, sizeof mark, "%lu%s", (unsigned long)(value != NULL ? *value : 0),
             tenant_get_or(""));
    write_down(dctx_self_name(self), mark);
    if (dctx_message_is_ask(message))
        return dctx_reply(message, DCTX_TYPE_UINT64, value);
    return value != NULL && *value == 13 ? DCTX_ERR_CODEC : DCTX_OK;
}

static dctx_ref_t spawn_with(const char *name, const dctx_interceptor_t *interceptors, size_t count)
{
    dctx_ref_t ref = DCTX_REF_NONE;
    dctx_actor_options_t options = {
        .name = name, .handler = handle, .interceptors = interceptors, .interceptor_count = count};
    cr_assert_eq(dctx_spawn(system_here, &options, &ref), DCTX_OK, "%s", dctx_error_detail());
    return ref;
}

/* ---- around ---------------------------------------------------------------------------------- */

static dctx_verdict_t begin(const dctx_passage_t *passage, void *arg)
{
    void **slot = dctx_passage_slot(passage);
    cr_assert_null(*slot);
    *slot = strdup(arg);
    write_down(arg, ">");
    return DCTX_CONTINUE;
}

static dctx_error_t around(const dctx_passage_t *passage, dctx_next_t *next, void *arg)
{
    cr_assert_str_eq(*dctx_passage_slot(passage), arg);
    write_down(arg, "(");
    dctx_error_t outcome = dctx_next_run(next);
    cr_assert_eq(dctx_next_run(next), DCTX_ERR_INVALID, "once is enough");
    write_down(arg, ")");
    cr_assert_str_eq(*dctx_passage_slot(passage), arg, "whatever came in between");
    return outcome == DCTX_ERR_CODEC ? DCTX_ERR_ABSENT : outcome;
}

static void end(const dctx_passage_t *passage, dctx_error_t outcome, void *arg)
{
    void **slot = dctx_passage_slot(passage);
    cr_assert_str_eq(*slot, arg);
    free(*slot);
    write_down(arg, outcome == DCTX_OK ? "." : dctx_error_name(outcome));
}

static dctx_interceptor_t wrapper(char *name, int order)
{
    return (dctx_interceptor_t){.name = name,
                                .order = order,
                                .inbound = begin,
                                .around = around,
                                .handled = end,
                                .arg = name};
}

static char name_a[] = "a", name_b[] = "b", name_c[] = "c";

Test(wrapping, goes_around_the_handler_and_may_change_the_outcome, .init = fixture_init)
{
    dctx_interceptor_t two[] = {wrapper(name_b, 2), wrapper(name_a, 1)};
    open_world(two, 2);
    dctx_ref_t ref = spawn_with("x", NULL, 0);
    tell_uint(ref, 7);
    expect("a> b> a( b( x7 b) a) b. a. ");
    tell_uint(ref, 13);
    expect("a> b> a( b( x13 b) a) bDCTX_ERR_ABSENT aDCTX_ERR_ABSENT ");
    close_world();
}

static dctx_error_t stand_in(const dctx_passage_t *passage, dctx_next_t *next, void *arg)
{
    (void)passage;
    (void)next;
    dctx_error_t *outcome = arg;
    return *outcome;
}

Test(wrapping, one_that_does_not_go_on_makes_a_dead_letter, .init = fixture_init)
{
    dctx_error_t outcome = DCTX_ERR_LIMIT;
    dctx_interceptor_t two[] = {wrapper(name_a, 1),
                                {.name = "s", .order = 2, .around = stand_in, .arg = &outcome}};
    open_world(two, 2);
    dctx_ref_t ref = spawn_with("x", NULL, 0);
    tell_uint(ref, 7);
    expect("a> a( a) dead:DCTX_ERR_LIMIT aDCTX_ERR_LIMIT ");
    outcome = DCTX_OK;
    dctx_message_t *reply = NULL;
    uint64_t one = 1;
    cr_assert_eq(dctx_ask_wait(ref, DCTX_TYPE_UINT64, &one, 0, &reply), DCTX_ERR_REJECTED);
    dctx_message_destroy(&reply);
    expect("a> a( a) dead:DCTX_ERR_REJECTED aDCTX_ERR_REJECTED ");
    close_world();
}

/* ---- of one actor ---------------------------------------------------------------------------- */

static dctx_verdict_t out(const dctx_passage_t *passage, void *arg)
{
    cr_assert_null(dctx_passage_slot(passage));
    write_down(arg, "<");
    return DCTX_CONTINUE;
}

static dctx_error_t pass_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    dctx_ref_t *to = state;
    return dctx_tell(*to, DCTX_TYPE_UINT64, dctx_message_get(message, DCTX_TYPE_UINT64));
}

Test(wrapping, an_actors_own_see_what_it_gets_and_what_it_sends, .init = fixture_init)
{
    dctx_interceptor_t all = {.name = "all",
                              .order = 5,
                              .outbound = out,
                              .inbound = begin,
                              .handled = end,
                              .arg = name_a};
    dctx_interceptor_t own[] = {wrapper(name_b, 1), wrapper(name_c, 9)};
    own[0].outbound = own[1].outbound = out;
    open_world(&all, 1);
    dctx_ref_t last = spawn_with("last", NULL, 0), first;
    dctx_actor_options_t options = {.name = "first",
                                    .handler = pass_on,
                                    .state = &last,
                                    .interceptors = own,
                                    .interceptor_count = 2};
    cr_assert_eq(dctx_spawn(system_here, &options, &first), DCTX_OK);
    tell_uint(first, 7);
    expect("a< b> a> c> b( c( c< a< b< c) b) c. a. b. a> last7 a. ");
    tell_uint(last, 8);
    expect("a< a> last8 a. ");
    close_world();
}

Test(wrapping, an_actors_own_are_checked, .init = fixture_init)
{
    dctx_interceptor_t all = {.name = "all"}, many[33];
    dctx_ref_t ref;
    open_world(&all, 1);
    dctx_actor_options_t options = {
        .name = "x", .handler = handle, .interceptors = &all, .interceptor_count = 1};
    cr_assert_eq(dctx_spawn(system_here, &options, &ref), DCTX_ERR_INVALID);
    cr_assert_str_eq(dctx_error_detail(), "two interceptors are named \"all\"");
    options.interceptors = many;
    options.interceptor_count = 32;
    cr_assert_eq(dctx_spawn(system_here, &options, &ref), DCTX_ERR_INVALID);
    cr_assert_str_eq(dctx_error_detail(), "33 interceptors: at most 32");
    options.interceptors = NULL;
    cr_assert_eq(dctx_spawn(system_here, &options, &ref), DCTX_ERR_INVALID);
    options.interceptor_count = 0;
    cr_assert_eq(dctx_spawn(system_here, &options, &ref), DCTX_OK);
    close_world();
}

/* ---- reasons --------------------------------------------------------------------------------- */

static dctx_verdict_t refuse(const dctx_passage_t *passage, void *arg)
{
    (void)arg;
    return dctx_passage_reject(passage, "not on Sundays");
}

Test(wrapping, a_refusal_says_why, .init = fixture_init)
{
    dctx_interceptor_t on_way_in = {.name = "in", .inbound = refuse};
    dctx_interceptor_t on_way_out = {.name = "out", .outbound = refuse};
    dctx_message_t *reply = NULL;
    open_world(NULL, 0);
    dctx_ref_t ref = spawn_with("x", &on_way_in, 1), to;
    cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, 0, &reply), DCTX_ERR_REJECTED);
    cr_assert_str_eq(dctx_message_reason(reply), "not on Sundays");
    dctx_message_destroy(&reply);
    expect("dead:DCTX_ERR_REJECTED ");
    close_world();
    open_world(&on_way_out, 1);
    to = spawn_with("x", NULL, 0);
    cr_assert_eq(dctx_tell(to, NULL, NULL), DCTX_ERR_REJECTED);
    cr_assert_str_eq(dctx_error_detail(), "not on Sundays");
    close_world();
}

static const char sundays[] = "not on Sundays";
static char letter_detail[64];

static dctx_verdict_t drop(const dctx_passage_t *passage, void *arg)
{
    (void)arg;
    return dctx_passage_drop(passage, sundays);
}

static void note_detail(const dctx_dead_letter_t *letter, void *arg)
{
    (void)arg;
    cr_assert_eq(letter->reason, DCTX_ERR_REJECTED);
    snprintf(letter_detail, sizeof letter_detail, "%s", letter->detail);
}

/* To an actor here, or, when `far`, to one on another node. */
static void check_drop(const dctx_interceptor_t *interceptor, bool far)
{
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_test_world_new(1, &world), DCTX_OK);
    system_here = start(&(dctx_system_options_t){.world = world,
                                                 .interceptors = interceptor,
                                                 .interceptor_count = 1,
                                                 .on_dead_letter = note_detail});
    dctx_ref_t to = spawn_with("x", NULL, 0);
    if (far)
        cr_assert_eq(dctx_system_find(system_here, "x@elsewhere", &to), DCTX_OK);
    letter_detail[0] = '\0';
    cr_assert_eq(dctx_tell(to, NULL, NULL), DCTX_OK);
    cr_assert(dctx_test_run(world));
    cr_assert_str_eq(letter_detail, sundays);
    letter_detail[0] = '\0';
    cr_assert_eq(dctx_ask_wait(to, NULL, NULL, 0, &reply), DCTX_ERR_REJECTED);
    cr_assert_str_eq(letter_detail, sundays);
    cr_assert_str_eq(dctx_message_reason(reply), sundays);
    dctx_message_destroy(&reply);
    close_world();
}

Test(wrapping, what_is_dropped_says_why, .init = fixture_init)
{
    check_drop(&(dctx_interceptor_t){.name = "in", .inbound = drop}, false);
    check_drop(&(dctx_interceptor_t){.name = "out", .outbound = drop}, false);
    check_drop(&(dctx_interceptor_t){.name = "out", .outbound = drop}, true);
}

/* ---- delays ---------------------------------------------------------------------------------- */

static int64_t delay_ns;
static unsigned times = 1;

static dctx_verdict_t delay(const dctx_passage_t *passage, void *arg)
{
    (void)arg;
    return passage->delays < times ? dctx_passage_delay(passage, delay_ns) : DCTX_CONTINUE;
}

static void advance(int64_t ms)
{
    cr_assert(dctx_test_advance(world, ms * MS));
}

static void count_reply(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    (void)arg;
    write_down("reply:", dctx_error_name(status));
}

static void check_delay(bool inbound)
{
    uint64_t three = 3;
    dctx_interceptor_t two[] = {wrapper(name_a, 1), {.name = "d", .order = 2}};
    if (inbound)
        two[1].inbound = delay;
    else
        two[1].outbound = delay;
    times = 1;
    delay_ns = 5 * MS;
    open_world(two, 2);
    dctx_ref_t ref = spawn_with("x", NULL, 0);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(ref, 1);
        tell_uint(ref, 2);
        cr_assert_eq(dctx_ask_call(ref, DCTX_TYPE_UINT64, &three, 1000, count_reply, NULL),
                     DCTX_OK);
    }
    expect(inbound ? "a> aDCTX_ERR_AGAIN a> aDCTX_ERR_AGAIN a> aDCTX_ERR_AGAIN " : "");
    advance(4);
    expect("");
    advance(1);
    expect("a> a( x1acme a) a. a> a( x2acme a) a. a> a( x3acme a) a. reply:DCTX_OK ");
    close_world();
}

Test(wrapping, a_delay_on_the_way_out_keeps_context_asker_and_order, .init = fixture_init)
{
    check_delay(false);
}

Test(wrapping, a_delay_on_the_way_in_keeps_context_asker_and_order, .init = fixture_init)
{
    check_delay(true);
}

Test(wrapping, a_message_may_be_delayed_again, .init = fixture_init)
{
    dctx_interceptor_t one = {.name = "d", .inbound = delay};
    times = 255; /* where the count ends */
    delay_ns = MS;
    open_world(&one, 1);
    dctx_ref_t ref = spawn_with("x", NULL, 0);
    tell_uint(ref, 1);
    advance(254);
    expect("");
    advance(1);
    expect("x1 ");
    close_world();
}

/* Left alone it would come again at once, and again, and keep a worker busy for good. */
static dctx_verdict_t delay_without_a_time(const dctx_passage_t *passage, void *arg)
{
    (void)passage;
    (void)arg;
    return DCTX_DELAY;
}

Test(wrapping, a_delay_needs_a_time, .init = fixture_init)
{
    dctx_interceptor_t in = {.name = "in", .inbound = delay_without_a_time};
    dctx_interceptor_t out = {.name = "out", .outbound = delay_without_a_time};
    open_world(NULL, 0);
    dctx_ref_t a = spawn_with("a", &in, 1);
    tell_uint(a, 1);
    expect("dead:DCTX_ERR_REJECTED ");
    close_world();
    open_world(&out, 1);
    a = spawn_with("a", NULL, 0);
    uint64_t value = 1;
    cr_assert_eq(dctx_tell(a, DCTX_TYPE_UINT64, &value), DCTX_ERR_REJECTED);
    cr_assert_not_null(strstr(dctx_error_detail(), "dctx_passage_delay()"));
    close_world();
}

Test(wrapping, no_stop_waits_for_what_is_delayed, .init = fixture_init)
{
    for (int inbound = 0; inbound < 2; inbound++) {
        dctx_interceptor_t one = {.name = "d"};
        times = 1;
        delay_ns = INT64_MAX;
        if (inbound)
            one.inbound = delay;
        else
            one.outbound = delay;
        open_world(&one, 1);
        dctx_ref_t ref = spawn_with("x", NULL, 0);
        tell_uint(ref, 1);
        cr_assert_eq(dctx_ask_call(ref, NULL, NULL, 3600000, count_reply, NULL), DCTX_OK);
        expect("");
        dctx_system_t *stopped = system_here;
        cr_assert_eq(dctx_system_stop(stopped, 0, NULL), DCTX_OK);
        dctx_system_counters_t c = counters(stopped);
        cr_assert_eq(c.accepted, 2);
        cr_assert_eq(c.dead_lettered, 2);
        cr_assert_not_null(strstr(book, "dead:DCTX_ERR_STOPPED dead:DCTX_ERR_STOPPED"), "%s", book);
        cr_assert_not_null(strstr(book, "reply:DCTX_ERR_STOPPED"), "%s", book);
        book[0] = '\0';
        close_world();
    }
}

Test(wrapping, an_actor_that_goes_leaves_what_is_delayed_for_dead, .init = fixture_init)
{
    dctx_interceptor_t one = {.name = "d", .inbound = delay};
    times = 1;
    delay_ns = 5 * MS;
    open_world(&one, 1);
    dctx_ref_t ref = spawn_with("x", NULL, 0);
    tell_uint(ref, 1);
    cr_assert_eq(dctx_ask_call(ref, NULL, NULL, 1000, count_reply, NULL), DCTX_OK);
    expect("");
    cr_assert_eq(dctx_stop_now(ref), DCTX_OK);
    advance(5);
    cr_assert_not_null(strstr(book, "dead:DCTX_ERR_NO_ACTOR dead:DCTX_ERR_NO_ACTOR"), "%s", book);
    cr_assert_not_null(strstr(book, "reply:DCTX_ERR_NO_ACTOR"), "%s", book);
    close_world();
}

/* On threads, between systems, many at once. */
static dctx_verdict_t sometimes(const dctx_passage_t *passage, void *arg)
{
    static _Atomic(unsigned) n;
    (void)arg;
    unsigned k = atomic_fetch_add(&n, 1);
    return passage->delays == 0 && k % 3 == 0
               ? dctx_passage_delay(passage, (int64_t)(k % 7) * MS / 4)
               : DCTX_CONTINUE;
}

static dctx_error_t answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    gate_pass(state);
    cr_assert_str_eq(tenant_get_or(""), "acme");
    return dctx_message_is_ask(message) ? dctx_reply(message, NULL, NULL) : DCTX_OK;
}

static void note_answer(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    cr_assert_eq(status, DCTX_OK);
    gate_pass(arg);
}

Test(wrapping, none_is_lost_on_threads, .init = fixture_init, .timeout = 60)
{
    enum { MANY = 2000 };
    gate_t got = GATE_INIT, answered = GATE_INIT;
    dctx_interceptor_t one = {.name = "s", .inbound = sometimes, .outbound = sometimes};
    dctx_system_t *system = start(&(dctx_system_options_t){
        .workers = 2, .interceptors = &one, .interceptor_count = 1, .metrics = true});
    dctx_ref_t ref = spawn(system, "x", answer, &got);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        for (int i = 0; i < MANY; i++) {
            tell_uint(ref, 1);
            cr_assert_eq(dctx_ask_call(ref, NULL, NULL, WAIT_MS, note_answer, &answered), DCTX_OK);
        }
    }
    cr_assert(gate_wait(&got, 2L * MANY));
    cr_assert(gate_wait(&answered, MANY));
    finish(&system);
}
