/* What is handed nothing says so, and does not fall over it. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <dcontext/actors.h>

#include "fixture.h"

Test(null, an_exit_that_is_none, .init = fixture_init)
{
    char line[8] = "?";
    cr_assert_null(dctx_exit_ref(NULL));
    cr_assert_eq((int)dctx_exit_kind(NULL), 0);
    cr_assert_eq(dctx_exit_error(NULL), DCTX_OK);
    cr_assert_str_eq(dctx_exit_who(NULL), "");
    cr_assert_str_eq(dctx_exit_reason(NULL), "");
    cr_assert_str_eq(dctx_exit_where(NULL), "");
    cr_assert_str_eq(dctx_exit_chain(NULL), "");
    cr_assert_null(dctx_exit_cause(NULL));
    cr_assert(!dctx_exit_is_failure(NULL));
    cr_assert_eq(dctx_exit_format(NULL, line, sizeof line), 0);
    cr_assert_str_eq(line, "");
    cr_assert_eq(dctx_exit_format(NULL, NULL, sizeof line), 0);
}

Test(null, an_actor_or_system_that_is_none, .init = fixture_init)
{
    dctx_system_counters_t c;
    dctx_system_metrics_t metrics;
    memset(&c, 1, sizeof c);
    memset(&metrics, 1, sizeof metrics);
    cr_assert(dctx_ref_is_none(dctx_self(NULL)));
    cr_assert_str_eq(dctx_self_name(NULL), "");
    cr_assert_null(dctx_self_system(NULL));
    cr_assert_eq(dctx_router_size(NULL), 0);
    dctx_system_counters_read(NULL, &c);
    cr_assert_eq(c.accepted, 0);
    cr_assert_str_eq(dctx_system_name(NULL), "");
    dctx_system_metrics_read(NULL, &metrics);
    cr_assert_eq(metrics.handled, 0);
    dctx_system_metrics_each(NULL, NULL, NULL);
    cr_assert_eq(dctx_histogram_quantile(NULL, 0.5), 0);
}

Test(null, a_place_that_is_none, .init = fixture_init)
{
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref;
    dctx_executor_t *executor;
    cr_assert_eq(dctx_system_find(system, "a@elsewhere", &ref), DCTX_OK);
    cr_assert_eq(dctx_ref_format(ref, NULL, 80), strlen("a@elsewhere"));
    dctx_system_counters_read(system, NULL);
    dctx_system_metrics_read(system, NULL);
    dctx_system_metrics_each(system, NULL, NULL);
    cr_assert_eq(dctx_loop_executor_new(NULL, &executor), DCTX_OK);
    dctx_executor_counters_read(executor, NULL);
    dctx_executor_counters_read(NULL, NULL);
    dctx_executor_destroy(&executor);
    finish(&system);
}

Test(null, a_passage_that_is_none)
{
    cr_assert_eq(dctx_passage_reject(NULL, "no"), DCTX_REJECT);
    cr_assert_eq(dctx_passage_drop(NULL, "no"), DCTX_DROP);
    cr_assert_eq(dctx_passage_delay(NULL, 1), DCTX_CONTINUE);
    cr_assert_null(dctx_passage_slot(NULL));
}

Test(null, a_world_that_is_none, .init = fixture_init)
{
    dctx_test_net_counters_t c = {.sent = 1};
    cr_assert(!dctx_test_step(NULL));
    cr_assert(!dctx_test_run(NULL));
    cr_assert(!dctx_test_advance(NULL, 1));
    cr_assert(!dctx_test_await(NULL, NULL, NULL, 1));
    cr_assert_str_neq(dctx_error_detail(), "");
    cr_assert(dctx_test_is_idle(NULL));
    cr_assert_eq(dctx_test_now(NULL), 0);
    cr_assert_eq(dctx_test_steps(NULL), 0);
    cr_assert_eq(dctx_test_trace(NULL), 0);
    cr_assert_null(dctx_test_clocks(NULL));
    cr_assert_null(dctx_test_clock(NULL).now_ns);
    cr_assert_null(dctx_test_ids(NULL).next);
    cr_assert_eq(dctx_test_net_set(NULL, &(dctx_test_net_t){0}), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_test_cut(NULL, "a", "b"), DCTX_ERR_INVALID);
    dctx_test_heal(NULL, "a", "b");
    dctx_test_net_counters_read(NULL, &c);
    cr_assert_eq(c.sent, 0);
    dctx_test_net_counters_read(NULL, NULL);
    cr_assert(dctx_ref_is_none(dctx_test_probe_ref(NULL)));
}

Test(null, a_pool_is_full_in_a_way_that_there_is, .init = fixture_init)
{
    dctx_executor_t *pool = NULL;
    dctx_taskpool_options_t options = {.threads = 1, .when_full = (dctx_when_full_t)9};
    cr_assert_eq(dctx_taskpool_new(&options, &pool), DCTX_ERR_INVALID);
    cr_assert_null(pool);
}

Test(null, a_clock_or_source_without_a_function, .init = fixture_init)
{
    dctx_clock_t clock = {0};
    dctx_id_source_t ids = {0};
    dctx_system_t *system = NULL;
    dctx_executor_t *executor = NULL;
    cr_assert_eq(dctx_system_new(&(dctx_system_options_t){.clock = &clock}, &system),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_new(&(dctx_system_options_t){.ids = &ids}, &system), DCTX_ERR_INVALID);
    cr_assert_null(system);
    cr_assert_eq(dctx_taskpool_new(&(dctx_taskpool_options_t){.clock = &clock}, &executor),
                 DCTX_ERR_INVALID);
    cr_assert_eq(
        dctx_loop_executor_new(&(dctx_loop_executor_options_t){.clock = &clock}, &executor),
        DCTX_ERR_INVALID);
    cr_assert_null(executor);
}

Test(null, a_share_that_is_no_number)
{
    dctx_budget_t *budget = NULL;
    cr_assert_eq(dctx_budget_new(&(dctx_budget_options_t){.share = NAN}, &budget),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_budget_new(&(dctx_budget_options_t){.min_per_second = NAN}, &budget),
                 DCTX_ERR_INVALID);
    cr_assert_null(budget);
}

/* A type whose maker forgot its name. */
static const dctx_type_t nameless = {.size = sizeof(int)};

static gate_t seen = GATE_INIT;
static dctx_error_t look(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    cr_assert_str_eq(dctx_message_type(message), dctx_message_is_remote(message) ? "uint64" : "");
    cr_assert_eq(dctx_message_get(message, &nameless) == NULL, dctx_message_is_remote(message));
    gate_pass(&seen);
    return DCTX_OK;
}

Test(null, a_type_without_a_name, .init = fixture_init)
{
    dctx_system_t *here = start(&(dctx_system_options_t){.name = "here"});
    dctx_system_t *there = start(&(dctx_system_options_t){.name = "there"});
    char *endpoint = NULL;
    dctx_ref_t near, far;
    int value = 7;
    uint64_t number = 7;
    cr_assert_eq(dctx_spawn(there, &(dctx_actor_options_t){.name = "a", .handler = look}, &near),
                 DCTX_OK);
    cr_assert_eq(dctx_tell(near, &nameless, &value), DCTX_OK);
    cr_assert(gate_wait(&seen, 1));
    cr_assert_eq(dctx_system_bind(there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_find(here, "a@there", &far), DCTX_OK);
    cr_assert_eq(dctx_tell(far, &nameless, &value), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_tell(far, DCTX_TYPE_UINT64, &number), DCTX_OK);
    cr_assert(gate_wait(&seen, 2));
    dctx_free(endpoint);
    finish(&here);
    finish(&there);
}
