/* A child span for each hop, by option. */
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/testing.h>

#include "fixture.h"

enum { HOPS = 3 };

typedef struct hop {
    dctx_ref_t next;
    gate_t seen;
    dctx_trace_t trace;
    bool traced;
} hop_t;

static dctx_error_t look(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    hop_t *hop = state;
    (void)self;
    hop->traced = dctx_trace_get() != NULL;
    if (hop->traced)
        hop->trace = *dctx_trace_get();
    if (!dctx_ref_is_none(hop->next))
        tell_uint(hop->next, 0);
    gate_pass(&hop->seen);
    return dctx_message_is_ask(message) ? dctx_reply(message, NULL, NULL) : DCTX_OK;
}

static void spawn_hops(dctx_system_t *system, hop_t hops[HOPS])
{
    dctx_ref_t next = DCTX_REF_NONE;
    for (int i = HOPS; i-- > 0;) {
        hops[i] = (hop_t){.next = next, .seen = GATE_INIT};
        next = spawn(system, i == 0 ? "first" : NULL, look, &hops[i]);
    }
}

static void check_child(const hop_t *hop, const dctx_trace_t *of)
{
    cr_assert(hop->traced);
    cr_assert_eq(hop->trace.trace_high, of->trace_high);
    cr_assert_eq(hop->trace.trace_low, of->trace_low);
    cr_assert(hop->trace.has_parent);
    cr_assert_eq(hop->trace.parent, of->span);
    cr_assert_neq(hop->trace.span, of->span);
    cr_assert_eq(hop->trace.flags, of->flags);
}

static void tell_traced(dctx_system_t *system, const dctx_trace_t *trace)
{
    dctx_ref_t first;
    cr_assert_eq(dctx_system_find(system, "first", &first), DCTX_OK);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(dctx_trace_set(trace), DCTX_OK);
        tell_uint(first, 0);
        cr_assert_eq(dctx_trace_get()->span, trace->span, "the sender's own stays");
    }
}

Test(span, each_hop_is_a_child_of_the_one_before, .init = fixture_init, .timeout = 30)
{
    hop_t hops[HOPS];
    dctx_trace_t root;
    dctx_system_t *system = start(&(dctx_system_options_t){.hop_spans = true});
    spawn_hops(system, hops);
    dctx_trace_root(NULL, &root);
    dctx_trace_decide(&root, DCTX_SAMPLED_YES);
    tell_traced(system, &root);
    cr_assert(gate_wait(&hops[HOPS - 1].seen, 1));
    for (int i = 0; i < HOPS; i++)
        check_child(&hops[i], i == 0 ? &root : &hops[i - 1].trace);
    finish(&system);
}

Test(span, no_option_or_no_trace_and_there_is_none, .init = fixture_init, .timeout = 30)
{
    hop_t hops[HOPS];
    dctx_trace_t root;
    dctx_system_t *system = start(NULL);
    spawn_hops(system, hops);
    dctx_trace_root(NULL, &root);
    tell_traced(system, &root);
    cr_assert(gate_wait(&hops[HOPS - 1].seen, 1));
    cr_assert_eq(hops[HOPS - 1].trace.span, root.span);
    finish(&system);
    system = start(&(dctx_system_options_t){.hop_spans = true});
    spawn_hops(system, hops);
    tell_uint(spawn(system, NULL, look, &hops[0]), 0);
    cr_assert(gate_wait(&hops[HOPS - 1].seen, 1));
    cr_assert(!hops[HOPS - 1].traced);
    finish(&system);
}

Test(span, crosses_to_another_node, .init = fixture_init, .timeout = 30)
{
    hop_t hops[HOPS];
    dctx_trace_t root;
    char *endpoint = NULL;
    dctx_ref_t ref;
    dctx_message_t *reply = NULL;
    dctx_system_t *here = start(NULL);
    dctx_system_t *there =
        start(&(dctx_system_options_t){.name = "there", .workers = 1, .hop_spans = true});
    spawn_hops(there, hops);
    cr_assert_eq(dctx_system_bind(there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(here, "there", WAIT_MS), DCTX_OK);
    cr_assert_eq(dctx_system_find(here, "first@there", &ref), DCTX_OK);
    dctx_trace_root(NULL, &root);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(dctx_trace_set(&root), DCTX_OK);
        cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, WAIT_MS, &reply), DCTX_OK);
    }
    dctx_message_destroy(&reply);
    cr_assert(gate_wait(&hops[0].seen, 1));
    check_child(&hops[0], &root);
    dctx_free(endpoint);
    finish(&here);
    finish(&there);
}

static void run_in_world(uint64_t seed, hop_t hops[HOPS], const dctx_trace_t *root)
{
    dctx_test_world_t *world = NULL;
    dctx_system_t *system = NULL;
    cr_assert_eq(dctx_test_world_new(seed, &world), DCTX_OK);
    cr_assert_eq(
        dctx_system_new(&(dctx_system_options_t){.world = world, .hop_spans = true}, &system),
        DCTX_OK);
    spawn_hops(system, hops);
    tell_traced(system, root);
    cr_assert(dctx_test_run(world));
    dctx_system_destroy(&system);
    dctx_test_world_destroy(&world);
}

Test(span, in_a_test_world_the_seed_says_the_ids, .init = fixture_init, .timeout = 30)
{
    hop_t first[HOPS], second[HOPS];
    dctx_trace_t root;
    dctx_trace_root(NULL, &root);
    run_in_world(1, first, &root);
    run_in_world(1, second, &root);
    for (int i = 0; i < HOPS; i++)
        cr_assert_eq(first[i].trace.span, second[i].trace.span);
}

static _Atomic(uint64_t) drawn = 100;

static uint64_t draw(void *arg)
{
    (void)arg;
    return ++drawn;
}

Test(span, ids_come_from_a_source_of_ones_own, .init = fixture_init, .timeout = 30)
{
    hop_t hops[HOPS];
    dctx_trace_t root;
    dctx_id_source_t ids = {.next = draw};
    dctx_system_t *system = start(&(dctx_system_options_t){.hop_spans = true, .ids = &ids});
    spawn_hops(system, hops);
    dctx_trace_root(NULL, &root);
    tell_traced(system, &root);
    cr_assert(gate_wait(&hops[HOPS - 1].seen, 1));
    for (int i = 0; i < HOPS; i++)
        cr_assert_eq(hops[i].trace.span, (uint64_t)(101 + i));
    finish(&system);
}
