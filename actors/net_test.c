/* The network of a test world: nodes that meet, part and lose messages, in virtual time. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

/* Two nodes of one world; "here" dials "there". */
typedef struct nodes {
    dctx_test_world_t *world;
    dctx_system_t *here, *there;
    dctx_ref_t echo; /* as "here" addresses it */
    char *endpoint;
    int ups, downs, refusals; /* that "here" was told of */
    int64_t at;               /* when the last one was */
} nodes_t;

static void on_node(const char *node, dctx_node_event_t event, const char *reason, void *arg)
{
    nodes_t *nodes = arg;
    cr_assert_str_eq(node, "there");
    cr_assert_not_null(reason);
    nodes->at = dctx_test_now(nodes->world);
    nodes->ups += event == DCTX_NODE_UP;
    nodes->downs += event == DCTX_NODE_DOWN;
    nodes->refusals += event == DCTX_NODE_REFUSED;
}

/* What the echo saw last. */
static char seen_tenant[32], seen_secret[32], seen_chain[128];
static uint64_t seen_last, seen_count;

static dctx_error_t echo(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    snprintf(seen_tenant, sizeof seen_tenant, "%s", tenant_get_or(""));
    snprintf(seen_secret, sizeof seen_secret, "%s", secret_get_or(""));
    snprintf(seen_chain, sizeof seen_chain, "%s", chain());
    cr_assert(dctx_message_is_remote(message));
    cr_assert_gt(*value, seen_last, "%lu after %lu", (unsigned long)*value,
                 (unsigned long)seen_last);
    seen_last = *value;
    seen_count++;
    return dctx_message_is_ask(message) ? dctx_reply(message, DCTX_TYPE_UINT64, value) : DCTX_OK;
}

static dctx_system_t *start_there(nodes_t *nodes)
{
    dctx_system_t *there = start(&(dctx_system_options_t){.name = "there", .world = nodes->world});
    (void)spawn(there, "echo", echo, NULL);
    return there;
}

static void meet(nodes_t *nodes, uint64_t seed)
{
    *nodes = (nodes_t){0};
    seen_last = seen_count = 0;
    cr_assert_eq(dctx_test_world_new(seed, &nodes->world), DCTX_OK);
    nodes->here = start(&(dctx_system_options_t){
        .name = "here", .world = nodes->world, .on_node = on_node, .arg = nodes});
    nodes->there = start_there(nodes);
    cr_assert_eq(dctx_system_bind(nodes->there, "tcp://127.0.0.1:*", &nodes->endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(nodes->here, "there", nodes->endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(nodes->here, "there", WAIT_MS), DCTX_OK);
    cr_assert_eq(dctx_system_find(nodes->here, "echo@there", &nodes->echo), DCTX_OK);
    cr_assert_eq(nodes->ups, 1);
}

static void part(nodes_t *nodes)
{
    finish(&nodes->here);
    finish(&nodes->there);
    dctx_free(nodes->endpoint);
    dctx_test_world_destroy(&nodes->world);
}

static void set_net(nodes_t *nodes, dctx_test_net_t net)
{
    cr_assert_eq(dctx_test_net_set(nodes->world, &net), DCTX_OK);
}

Test(net, an_ask_goes_there_and_its_answer_back, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 1);
    set_net(&nodes, (dctx_test_net_t){.delay_ns = 7 * MS});
    dctx_message_t *reply = NULL;
    uint64_t value = 42;
    int64_t begin = dctx_test_now(nodes.world);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(secret_set("s"), DCTX_OK);
        cr_assert_eq(dctx_ask_wait(nodes.echo, DCTX_TYPE_UINT64, &value, 0, &reply), DCTX_OK);
    }
    cr_assert_eq(*(const uint64_t *)dctx_message_get(reply, DCTX_TYPE_UINT64), 42);
    cr_assert_eq(dctx_test_now(nodes.world), begin + 14 * MS);
    cr_assert_str_eq(seen_tenant, "acme");
    cr_assert_str_eq(seen_secret, "", "a local value stays at home");
    cr_assert_str_eq(seen_chain, "edge > remote:echo");
    dctx_message_destroy(&reply);
    dctx_test_net_counters_t c;
    dctx_test_net_counters_read(nodes.world, &c);
    cr_assert_eq(c.sent, 2);
    cr_assert_eq(c.delivered, 2);
    part(&nodes);
}

Test(net, they_notice_when_they_are_parted, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 2);
    dctx_message_t *reply = NULL;
    uint64_t value = 1;
    cr_assert_eq(dctx_test_cut(nodes.world, "there", "here"), DCTX_OK);
    cr_assert_eq(dctx_test_cut(nodes.world, "here", "there"), DCTX_OK);
    int64_t begin = dctx_test_now(nodes.world);
    cr_assert_eq(dctx_ask_wait(nodes.echo, DCTX_TYPE_UINT64, &value, 60000, &reply),
                 DCTX_ERR_UNREACHABLE);
    cr_assert_eq(dctx_test_now(nodes.world), begin + 3 * SECOND, "after three heartbeats");
    cr_assert_eq(nodes.downs, 1);
    /* What is told meanwhile is held, and comes when they meet again. */
    for (value = 2; value < 6; value++)
        cr_assert_eq(dctx_tell(nodes.echo, DCTX_TYPE_UINT64, &value), DCTX_OK);
    cr_assert(dctx_test_advance(nodes.world, 100 * SECOND));
    cr_assert_eq(nodes.ups, 1);
    cr_assert_eq(seen_count, 0);
    dctx_test_heal(nodes.world, "here", "there");
    dctx_test_heal(nodes.world, "here", "there");
    cr_assert(dctx_test_advance(nodes.world, SECOND));
    cr_assert_eq(nodes.ups, 2);
    cr_assert_eq(seen_count, 4);
    part(&nodes);
}

Test(net, a_node_that_stops_says_good_bye_and_may_come_back, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 3);
    dctx_message_t *reply = NULL;
    uint64_t value = 1;
    finish(&nodes.there);
    cr_assert_eq(dctx_ask_wait(nodes.echo, DCTX_TYPE_UINT64, &value, 500, &reply),
                 DCTX_ERR_UNREACHABLE);
    cr_assert_eq(nodes.downs, 1);
    nodes.there = start_there(&nodes);
    cr_assert_eq(dctx_system_bind(nodes.there, nodes.endpoint, NULL), DCTX_OK);
    cr_assert_eq(dctx_system_bind(nodes.here, nodes.endpoint, NULL), DCTX_ERR_IO);
    cr_assert_eq(dctx_system_wait_node(nodes.here, "there", 1000), DCTX_OK);
    cr_assert_eq(nodes.ups, 2);
    cr_assert_eq(dctx_ask_wait(nodes.echo, DCTX_TYPE_UINT64, &value, 500, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
    part(&nodes);
}

Test(net, another_name_than_expected_is_told, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 4);
    char *endpoint = NULL;
    dctx_system_t *third = start(&(dctx_system_options_t){.name = "third", .world = nodes.world});
    cr_assert_eq(dctx_system_bind(third, "ipc://third", &endpoint), DCTX_OK);
    cr_assert_str_eq(endpoint, "ipc://third");
    cr_assert_eq(dctx_system_connect(nodes.here, "there", endpoint), DCTX_OK);
    cr_assert(dctx_test_advance(nodes.world, SECOND));
    cr_assert_eq(nodes.downs, 1, "the old connection is gone");
    cr_assert_eq(nodes.refusals, 1, "once");
    cr_assert_eq(dctx_system_connect(nodes.here, "there", nodes.endpoint), DCTX_OK);
    cr_assert(dctx_test_advance(nodes.world, SECOND));
    cr_assert_eq(nodes.ups, 2);
    cr_assert_eq(dctx_system_wait_node(nodes.here, "third", 50), DCTX_ERR_TIMEOUT);
    dctx_free(endpoint);
    finish(&third);
    part(&nodes);
}

Test(net, what_makes_no_sense_is_refused, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 5);
    cr_assert_eq(dctx_test_cut(nodes.world, "a b", "c"), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_test_cut(nodes.world, "c", NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_test_net_set(nodes.world, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_test_net_set(nodes.world, &(dctx_test_net_t){.delay_ns = -1}),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_test_net_set(nodes.world, &(dctx_test_net_t){.lose = 1000001}),
                 DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_bind(nodes.here, "", NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_connect(nodes.here, "a b", "x"), DCTX_ERR_INVALID);
    part(&nodes);
}

/* ---- a bad network --------------------------------------------------------------------------- */

typedef struct tally {
    int ended;
    int answered;
    uint64_t last;
} tally_t;

static void count_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    tally_t *tally = arg;
    cr_assert(status == DCTX_OK || status == DCTX_ERR_TIMEOUT || status == DCTX_ERR_UNREACHABLE,
              "%s", dctx_error_name(status));
    tally->ended++;
    if (status != DCTX_OK)
        return;
    tally->answered++;
    cr_assert_not_null(dctx_message_get(reply, DCTX_TYPE_UINT64));
}

static uint64_t survive(uint64_t seed, dctx_test_net_t net)
{
    enum { ASKS = 200 };
    nodes_t nodes;
    tally_t tally = {0};
    meet(&nodes, seed);
    set_net(&nodes, net);
    for (uint64_t i = 1; i <= ASKS; i++) {
        cr_assert_eq(dctx_ask_call(nodes.echo, DCTX_TYPE_UINT64, &i, 20000, count_end, &tally),
                     DCTX_OK);
        if (i % 50 == 0)
            cr_assert_eq(dctx_test_cut(nodes.world, "here", "there"), DCTX_OK);
        cr_assert(dctx_test_advance(nodes.world, (int64_t)(i % 7) * MS));
        if (i % 50 == 20)
            dctx_test_heal(nodes.world, "here", "there");
    }
    dctx_test_heal(nodes.world, "here", "there");
    cr_assert(dctx_test_advance(nodes.world, 30 * SECOND));
    cr_assert_eq(tally.ended, ASKS, "%d ended, seed %lu", tally.ended, (unsigned long)seed);
    cr_assert_leq(tally.answered, (int)seen_count);
    cr_assert_leq(nodes.ups - nodes.downs, 1);
    dctx_test_net_counters_t c;
    dctx_test_net_counters_read(nodes.world, &c);
    cr_assert_eq(c.sent, c.delivered + c.lost, "%lu sent, %lu delivered, %lu lost",
                 (unsigned long)c.sent, (unsigned long)c.delivered, (unsigned long)c.lost);
    uint64_t trace = dctx_test_trace(nodes.world);
    part(&nodes);
    return trace;
}

Test(net, every_ask_ends_once_however_bad_it_is, .init = fixture_init, .timeout = 60)
{
    for (uint64_t seed = 0; seed < 30; seed++) {
        dctx_test_net_t net = {.delay_ns = (int64_t)(seed % 3) * MS,
                               .jitter_ns = (int64_t)(seed % 5) * 3 * MS,
                               .lose = seed % 2 == 0 ? 50000 : 0,
                               .sever = seed % 3 == 0 ? 20000 : 0};
        uint64_t trace = survive(seed, net);
        cr_assert_eq(survive(seed, net), trace, "the seed replays the network too");
    }
}
