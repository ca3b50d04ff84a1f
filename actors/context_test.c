/* Context at each kind of hop inside a process, and that none of it stays behind. */
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* What a handler found, and what it does. */
typedef struct probe {
    dctx_ref_t next; /* told in turn, if any */
    gate_t seen;
    char chain[256], tenant[32], secret[32];
    uint64_t request;
    bool leak;
} probe_t;

static dctx_error_t look(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    probe_t *probe = state;
    (void)self;
    (void)message;
    strcpy(probe->chain, chain());
    strcpy(probe->tenant, tenant_get_or(""));
    strcpy(probe->secret, secret_get_or(""));
    probe->request = request_get_or(0);
    cr_assert_eq(request_set(probe->request + 1), DCTX_OK);
    if (!dctx_ref_is_none(probe->next))
        tell_uint(probe->next, 0);
    if (probe->leak) {
        dctx_scope_t scope;
        cr_assert_eq(dctx_scope_push("leaked", &scope), DCTX_OK);
        cr_assert_eq(tenant_set("leaked"), DCTX_OK);
        cr_assert_eq(dctx_scope_push(NULL, &scope), DCTX_OK);
    }
    gate_pass(&probe->seen);
    return DCTX_OK;
}

static void check_hops(const dctx_system_options_t *options)
{
    probe_t probes[3] = {{.seen = GATE_INIT}, {.seen = GATE_INIT}, {.seen = GATE_INIT}};
    dctx_system_t *system = start(options);
    dctx_ref_t refs[3];
    refs[2] = spawn(system, "third", look, &probes[2]);
    probes[1].next = refs[2];
    refs[1] = spawn(system, "second", look, &probes[1]);
    probes[0].next = refs[1];
    refs[0] = spawn(system, "first", look, &probes[0]);
    dctx_snapshot_t *empty = NULL;
    cr_assert_eq(dctx_snapshot_empty(options->registry, &empty), DCTX_OK);
    DCTX_WITH_SNAPSHOT(empty) {
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(tenant_set("acme"), DCTX_OK);
            cr_assert_eq(secret_set("s3"), DCTX_OK);
            cr_assert_eq(request_set(40), DCTX_OK);
            tell_uint(refs[0], 0);
            cr_assert_eq(request_get_or(0), 40);
        }
    }
    dctx_snapshot_unref(&empty);
    for (int i = 0; i < 3; i++) {
        cr_assert(gate_wait(&probes[i].seen, 1));
        cr_assert_str_eq(probes[i].tenant, "acme");
        cr_assert_str_eq(probes[i].secret, "s3");
        cr_assert_eq(probes[i].request, 40 + (unsigned)i);
    }
    cr_assert_str_eq(probes[0].chain, "edge > actor:first");
    cr_assert_str_eq(probes[1].chain, "edge > actor:first > actor:second");
    cr_assert_str_eq(probes[2].chain, "edge > actor:first > actor:second > actor:third");
    /* And without any: nothing of it is left. */
    tell_uint(refs[2], 0);
    cr_assert(gate_wait(&probes[2].seen, 2));
    cr_assert_str_eq(probes[2].tenant, "");
    cr_assert_str_eq(probes[2].secret, "");
    cr_assert_eq(probes[2].request, 0);
    cr_assert_str_eq(probes[2].chain, "actor:third");
    finish(&system);
}

Test(context, goes_from_hop_to_hop, .init = fixture_init, .timeout = 30)
{
    check_hops(&(dctx_system_options_t){.workers = 2});
}

Test(context, goes_from_hop_to_hop_in_a_registry_of_its_own, .timeout = 30)
{
    /* The process-wide one is not even frozen. */
    dctx_registry_t *registry = fixture_registry();
    check_hops(&(dctx_system_options_t){.workers = 2, .registry = registry});
    dctx_registry_destroy(&registry);
}

Test(context, a_leak_is_caught_closed_counted_and_logged, .init = fixture_init, .timeout = 30)
{
    probe_t leaky = {.seen = GATE_INIT, .leak = true}, next = {.seen = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    dctx_ref_t first = spawn(system, "leaky", look, &leaky);
    dctx_ref_t second = spawn(system, "next", look, &next);
    for (int i = 1; i <= 10; i++) {
        tell_uint(first, 0);
        tell_uint(second, 0);
        cr_assert(gate_wait(&next.seen, i));
        cr_assert_str_eq(next.chain, "actor:next");
        cr_assert_str_eq(next.tenant, "");
        cr_assert_eq(next.request, 0);
    }
    cr_assert_str_eq(leaky.chain, "actor:leaky");
    cr_assert(logged("leaky left 2 scopes open"));
    finish(&system);
}

Test(context, leaks_are_counted, .init = fixture_init, .timeout = 30)
{
    probe_t leaky = {.seen = GATE_INIT, .leak = true};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "leaky", look, &leaky);
    for (int i = 0; i < 5; i++)
        tell_uint(ref, 0);
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(counters(system).scope_leaks, 5);
    finish(&system);
}

/* A handler that closes more than it opened: the frame that the runtime has opened is not its to
 * close. */
static dctx_error_t grab(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    dctx_scope_t scope;
    cr_assert_eq(dctx_scope_push("own", &scope), DCTX_OK);
    dctx_scope_t copy = scope;
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    cr_assert_neq(dctx_scope_pop(&copy), DCTX_OK);
    cr_assert_eq(dctx_clear(), DCTX_OK);
    gate_pass(state);
    return DCTX_OK;
}

Test(context, misuse_does_no_harm_to_the_next, .init = fixture_init, .timeout = 30)
{
    gate_t done = GATE_INIT;
    probe_t next = {.seen = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    cr_assert_eq(tenant_set("acme"), DCTX_OK);
    tell_uint(spawn(system, "grab", grab, &done), 0);
    tell_uint(spawn(system, "next", look, &next), 0);
    cr_assert(gate_wait(&done, 1));
    cr_assert(gate_wait(&next.seen, 1));
    cr_assert_str_eq(next.tenant, "acme");
    cr_assert_str_eq(next.chain, "actor:next");
    cr_assert_str_eq(tenant_get_or(""), "acme");
    finish(&system);
}

Test(context, of_another_registry_crosses_as_on_a_wire, .init = fixture_init, .timeout = 30)
{
    dctx_registry_t *registry = fixture_registry();
    probe_t probe = {.seen = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1, .registry = registry});
    dctx_ref_t ref = spawn(system, "probe", look, &probe);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(secret_set("s"), DCTX_OK);
        tell_uint(ref, 0);
    }
    cr_assert(gate_wait(&probe.seen, 1));
    cr_assert_str_eq(probe.tenant, "acme");
    cr_assert_str_eq(probe.secret, "", "local values do not cross");
    cr_assert_str_eq(probe.chain, "edge > actor:probe");
    finish(&system);
    dctx_registry_destroy(&registry);
}

Test(context, a_system_wants_a_frozen_registry, .timeout = 30)
{
    dctx_registry_t *registry = NULL;
    dctx_system_t *system = NULL;
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    dctx_system_options_t options = {.registry = registry};
    cr_assert_eq(dctx_system_new(&options, &system), DCTX_ERR_NOT_FROZEN);
    cr_assert_eq(dctx_system_new(NULL, &system), DCTX_ERR_NOT_FROZEN);
    dctx_registry_destroy(&registry);
}

/* ---- a burst: messages of one context, handled one after another ---- */

enum { BURST = 600 };

typedef struct burst {
    dctx_ref_t sink;
    gate_t done;
    uint64_t count, wrong;
} burst_t;

/* Each finds the context as it was sent, whatever the one before did in it. */
static dctx_error_t disturb(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    burst_t *burst = state;
    dctx_scope_t scope;
    (void)self;
    uint64_t n = *(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64);
    bool second = n >= BURST / 2; /* of two contexts in turn */
    if (strcmp(tenant_get_or(""), second ? "two" : "one") != 0 || request_get_or(7) != 7 ||
        strcmp(chain(), second ? "again > actor:more > actor:sink" : "actor:burst > actor:sink"))
        burst->wrong++;
    if (n % 3 == 0)
        (void)!request_set(n);
    if (n % 5 == 0)
        (void)!dctx_scope_push("left open", &scope);
    if (n % 7 == 0)
        (void)!tenant_set("other");
    if (++burst->count == BURST)
        gate_pass(&burst->done);
    return DCTX_OK;
}

static dctx_error_t send_burst(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    burst_t *burst = state;
    (void)self;
    (void)message;
    cr_assert_eq(tenant_set("one"), DCTX_OK);
    for (uint64_t i = 0; i < BURST / 2; i++)
        tell_uint(burst->sink, i);
    return DCTX_OK;
}

static dctx_error_t send_more(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    burst_t *burst = state;
    (void)self;
    (void)message;
    cr_assert_eq(tenant_set("two"), DCTX_OK);
    for (uint64_t i = BURST / 2; i < BURST; i++)
        tell_uint(burst->sink, i);
    return DCTX_OK;
}

Test(context, a_burst_of_one_context_is_handled_each_as_if_alone, .init = fixture_init,
     .timeout = 30)
{
    burst_t burst = {.done = GATE_INIT};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
    burst.sink = spawn(system, "sink", disturb, &burst);
    dctx_ref_t first = spawn(system, "burst", send_burst, &burst);
    tell_uint(first, 0);
    dctx_ref_t second = spawn(system, "more", send_more, &burst);
    DCTX_WITH_SCOPE("again") {
        tell_uint(second, 0);
    }
    cr_assert(gate_wait(&burst.done, 1));
    cr_assert_eq(burst.count, BURST);
    cr_assert_eq(burst.wrong, 0);
    finish(&system);
}

/* ---- the context that a message came with ---------------------------------------------------- */

typedef struct taken {
    dctx_ref_t other;
    gate_t seen;
    dctx_snapshot_t *carried, *answered;
} taken_t;

static void on_answer(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                      void *state, void *arg)
{
    taken_t *taken = state;
    (void)self;
    (void)arg;
    cr_assert_eq(status, DCTX_ERR_CODEC);
    cr_assert_eq(dctx_message_context(reply, &taken->answered), DCTX_OK);
    gate_pass(&taken->seen);
}

static dctx_error_t refuse(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_ERR_CODEC;
}

static dctx_error_t take_context(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    taken_t *taken = state;
    cr_assert_eq(tenant_set("the handler's"), DCTX_OK);
    cr_assert_eq(dctx_message_context(message, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_message_context(NULL, &taken->carried), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_message_context(message, &taken->carried), DCTX_OK);
    cr_assert_eq(dctx_ask(self, taken->other, NULL, NULL, 0, on_answer, NULL), DCTX_OK);
    gate_pass(&taken->seen);
    return DCTX_OK;
}

static void expect_context(dctx_snapshot_t *snapshot, const char *who, const char *way)
{
    char text[128];
    (void)dctx_snapshot_chain_format(snapshot, text, sizeof text);
    cr_assert_str_eq(text, way);
    DCTX_WITH_SNAPSHOT(snapshot) {
        cr_assert_str_eq(tenant_get_or(""), who);
    }
    dctx_snapshot_unref(&snapshot);
}

Test(context, a_message_gives_the_one_it_came_with, .init = fixture_init, .timeout = 30)
{
    taken_t taken = {.seen = GATE_INIT};
    dctx_system_t *system = start(NULL);
    taken.other = spawn(system, "refuser", refuse, NULL);
    dctx_ref_t taker = spawn(system, "taker", take_context, &taken);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(taker, 0);
    }
    cr_assert(gate_wait(&taken.seen, 2));
    expect_context(taken.carried, "acme", "edge");
    expect_context(taken.answered, "the handler's", "edge > actor:taker");
    tell_uint(taker, 0);
    cr_assert(gate_wait(&taken.seen, 4));
    expect_context(taken.carried, "", "");
    expect_context(taken.answered, "the handler's", "actor:taker");

    dctx_message_t *reply = NULL;
    dctx_snapshot_t *none = NULL;
    cr_assert_eq(dctx_ask_wait(taken.other, NULL, NULL, 5000, &reply), DCTX_ERR_CODEC);
    if (reply != NULL) {
        cr_assert_eq(dctx_message_context(reply, &none), DCTX_OK);
        expect_context(none, "", "");
    }
    dctx_message_destroy(&reply);
    finish(&system);
}
