/* Actors on another node, in the same process, over each of the transports. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"

static char directory[] = "/tmp/dctx-node-XXXXXX";

static void set_up(void)
{
    fixture_init();
    cr_assert_not_null(mkdtemp(directory));
}

static void tear_down(void)
{
    cr_assert_eq(rmdir(directory), 0, "a socket file was left behind");
}

static const char *endpoint_of(const char *transport)
{
    static char endpoint[128];
    if (strcmp(transport, "tcp") == 0)
        return "tcp://127.0.0.1:*";
    if (strcmp(transport, "inproc") == 0)
        snprintf(endpoint, sizeof endpoint, "inproc://node-test-%d", (int)getpid());
    else
        snprintf(endpoint, sizeof endpoint, "ipc://%s/socket", directory);
    return endpoint;
}

/* ---- who is on the other node ---------------------------------------------------------------- */

typedef struct seen {
    gate_t gate;
    char chain[256], tenant[32], secret[32];
    bool remote;
} seen_t;

static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    seen_t *seen = state;
    const char *text = dctx_message_get(message, DCTX_TYPE_STRING);
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    strcpy(seen->chain, chain());
    strcpy(seen->tenant, tenant_get_or(""));
    strcpy(seen->secret, secret_get_or(""));
    seen->remote = dctx_message_is_remote(message);
    cr_assert(dctx_ref_is_none(dctx_message_sender(message)));
    dctx_error_t error = DCTX_OK;
    if (dctx_message_is_ask(message) && number != NULL)
        error = dctx_reply(message, DCTX_TYPE_UINT64, number);
    else if (text != NULL && strcmp(text, "error") == 0)
        error = dctx_reply_error(message, DCTX_ERR_REJECTED, "out of stock");
    else if (text != NULL && strcmp(text, "fail") == 0)
        error = DCTX_ERR_CODEC;
    else if (text != NULL && strcmp(text, "stop") == 0)
        dctx_self_stop(self);
    gate_pass(&seen->gate);
    return error;
}

/* Two nodes, the second of which dials the first. */
typedef struct pair {
    dctx_system_t *shop, *store;
    seen_t seen;
    dctx_ref_t stock; /* on the store, as the shop sees it */
    char *endpoint;
} pair_t;

static dctx_system_t *node(const char *name, dctx_system_options_t options)
{
    options.name = name;
    options.workers = 2;
    return start(&options);
}

static void connect_pair(pair_t *pair, const char *transport, dctx_system_options_t options)
{
    *pair = (pair_t){.seen = {.gate = GATE_INIT}};
    pair->shop = node("shop", options);
    pair->store = node("store", options);
    (void)spawn(pair->store, "stock", serve, &pair->seen);
    cr_assert_eq(dctx_system_bind(pair->store, endpoint_of(transport), &pair->endpoint), DCTX_OK,
                 "%s", dctx_error_detail());
    cr_assert_eq(dctx_system_connect(pair->shop, "store", pair->endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(pair->shop, "store", WAIT_MS), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(pair->store, "shop", WAIT_MS), DCTX_OK);
    cr_assert_eq(dctx_system_find(pair->shop, "stock@store", &pair->stock), DCTX_OK);
    cr_assert(dctx_ref_is_remote(pair->stock));
}

static void finish_pair(pair_t *pair)
{
    finish(&pair->shop);
    finish(&pair->store);
    dctx_free(pair->endpoint);
}

static dctx_error_t ask_text(dctx_ref_t to, const char *text, int64_t timeout_ms, char reason[64])
{
    dctx_message_t *reply = NULL;
    dctx_error_t error = dctx_ask_wait(to, DCTX_TYPE_STRING, text, timeout_ms, &reply);
    strcpy(reason, reply != NULL ? dctx_message_reason(reply) : "");
    dctx_message_destroy(&reply);
    return error;
}

static void check_transport(const char *transport)
{
    pair_t pair;
    dctx_message_t *reply = NULL;
    char text[64];
    uint64_t number = 4711;
    connect_pair(&pair, transport, (dctx_system_options_t){0});
    cr_assert_eq(dctx_ref_format(pair.stock, text, sizeof text), 11);
    cr_assert_str_eq(text, "stock@store");
    DCTX_WITH_SCOPE("gateway") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(secret_set("s"), DCTX_OK);
        cr_assert_eq(dctx_ask_wait(pair.stock, DCTX_TYPE_UINT64, &number, 0, &reply), DCTX_OK, "%s",
                     dctx_error_detail());
    }
    cr_assert_eq(*(const uint64_t *)dctx_message_get(reply, DCTX_TYPE_UINT64), 4711);
    cr_assert_null(dctx_message_get(reply, DCTX_TYPE_STRING));
    cr_assert(dctx_message_is_remote(reply));
    dctx_message_destroy(&reply);
    cr_assert_str_eq(pair.seen.chain, "gateway > remote:stock");
    cr_assert_str_eq(pair.seen.tenant, "acme");
    cr_assert_str_eq(pair.seen.secret, "", "a local value left the node");
    cr_assert(pair.seen.remote);

    cr_assert_eq(ask_text(pair.stock, "error", 0, text), DCTX_ERR_REJECTED);
    cr_assert_str_eq(text, "out of stock");
    cr_assert_eq(ask_text(pair.stock, "fail", 0, text), DCTX_ERR_CODEC);
    cr_assert_eq(ask_text(pair.stock, "silent", 0, text), DCTX_ERR_NO_REPLY);
    dctx_ref_t nobody;
    cr_assert_eq(dctx_system_find(pair.shop, "nobody@store", &nobody), DCTX_OK);
    cr_assert_eq(ask_text(nobody, "x", 0, text), DCTX_ERR_NO_ACTOR);
    long before = gate_count(&pair.seen.gate);
    cr_assert_eq(dctx_tell(pair.stock, DCTX_TYPE_STRING, "tell"), DCTX_OK);
    cr_assert(gate_wait(&pair.seen.gate, before + 1));
    cr_assert_eq(dctx_stop(pair.stock), DCTX_ERR_INVALID);
    dctx_system_counters_t c = counters(pair.store);
    cr_assert_eq(c.remote_received, 6);
    cr_assert_eq(counters(pair.shop).remote_sent, 6);
    finish_pair(&pair);
}

Test(node, asks_and_tells_over_tcp, .init = set_up, .fini = tear_down, .timeout = 60)
{
    check_transport("tcp");
}

Test(node, asks_and_tells_over_ipc, .init = set_up, .fini = tear_down, .timeout = 60)
{
    check_transport("ipc");
}

Test(node, asks_and_tells_over_inproc, .init = set_up, .fini = tear_down, .timeout = 60)
{
    check_transport("inproc");
}

/* ---- many at once ---------------------------------------------------------------------------- */

typedef struct asker {
    dctx_ref_t to;
    uint64_t count, answered;
    gate_t done;
} asker_t;

static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    asker_t *asker = state;
    (void)self;
    cr_assert_eq(status, DCTX_OK, "%s", dctx_error_name(status));
    const uint64_t *number = dctx_message_get(reply, DCTX_TYPE_UINT64);
    cr_assert_not_null(number);
    cr_assert_eq(*number, (uintptr_t)arg);
    cr_assert_eq(request_get_or(0), (uintptr_t)arg, "the context of another ask");
    if (++asker->answered == asker->count)
        gate_pass(&asker->done);
}

static dctx_error_t ask_all(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    asker_t *asker = state;
    (void)message;
    for (uint64_t i = 1; i <= asker->count; i++) {
        DCTX_SCOPE("ask");
        cr_assert_eq(request_set(i), DCTX_OK);
        cr_assert_eq(dctx_ask(self, asker->to, DCTX_TYPE_UINT64, &i, WAIT_MS, on_reply,
                              (void *)(uintptr_t)i),
                     DCTX_OK);
    }
    return DCTX_OK;
}

/* Replies with what the context says, so that a mix-up shows at the asker. */
static dctx_error_t say_context(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    uint64_t context = request_get_or(0);
    cr_assert_not_null(number);
    cr_assert_eq(*number, context);
    return dctx_reply(message, DCTX_TYPE_UINT64, &context);
}

Test(node, thousands_of_asks_in_both_directions, .init = set_up, .fini = tear_down, .timeout = 90)
{
    enum { COUNT = 1500 };
    pair_t pair;
    connect_pair(&pair, "tcp", (dctx_system_options_t){0});
    asker_t askers[2] = {{.count = COUNT, .done = GATE_INIT}, {.count = COUNT, .done = GATE_INIT}};
    (void)spawn(pair.store, "echo", say_context, NULL);
    (void)spawn(pair.shop, "echo", say_context, NULL);
    cr_assert_eq(dctx_system_find(pair.shop, "echo@store", &askers[0].to), DCTX_OK);
    cr_assert_eq(dctx_system_find(pair.store, "echo@shop", &askers[1].to), DCTX_OK);
    tell_uint(spawn(pair.shop, NULL, ask_all, &askers[0]), 0);
    tell_uint(spawn(pair.store, NULL, ask_all, &askers[1]), 0);
    cr_assert(gate_wait(&askers[0].done, 1));
    cr_assert(gate_wait(&askers[1].done, 1));
    finish_pair(&pair);
}

/* ---- when it does not work ------------------------------------------------------------------- */

typedef struct losses {
    gate_t gate, down;
    char target[64];
    dctx_error_t reason;
} losses_t;

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    losses_t *losses = arg;
    strcpy(losses->target, letter->target);
    losses->reason = letter->reason;
    gate_pass(&losses->gate);
}

static void on_node(const char *name, dctx_node_event_t event, const char *reason, void *arg)
{
    losses_t *losses = arg;
    (void)name;
    (void)reason;
    if (event == DCTX_NODE_DOWN)
        gate_pass(&losses->down);
}

Test(node, an_unknown_node_is_a_dead_letter_and_an_error, .init = set_up, .fini = tear_down,
     .timeout = 30)
{
    losses_t losses = {.gate = GATE_INIT, .down = GATE_INIT};
    dctx_system_t *system =
        node("alone", (dctx_system_options_t){.on_dead_letter = on_dead_letter, .arg = &losses});
    dctx_ref_t ref;
    char text[64];
    cr_assert_eq(dctx_system_find(system, "x@nowhere", &ref), DCTX_OK);
    cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&losses.gate, 1));
    cr_assert_str_eq(losses.target, "x@nowhere");
    cr_assert_eq(losses.reason, DCTX_ERR_UNREACHABLE);
    cr_assert_eq(ask_text(ref, "x", 0, text), DCTX_ERR_UNREACHABLE);
    cr_assert_eq(counters(system).remote_lost, 2);
    cr_assert_eq(dctx_system_wait_node(system, "nowhere", 1), DCTX_ERR_TIMEOUT);
    cr_assert_eq(dctx_system_connect(system, "no where", "tcp://127.0.0.1:1"), DCTX_ERR_INVALID);
    cr_assert_neq(dctx_system_bind(system, "nonsense", NULL), DCTX_OK);
    finish(&system);
}

Test(node, a_node_that_goes_fails_what_is_in_flight, .init = set_up, .fini = tear_down,
     .timeout = 60)
{
    pair_t pair;
    losses_t losses = {.gate = GATE_INIT, .down = GATE_INIT};
    connect_pair(&pair, "ipc", (dctx_system_options_t){.on_node = on_node, .arg = &losses});
    cr_assert_eq(dctx_tell(pair.stock, DCTX_TYPE_STRING, "x"), DCTX_OK);
    cr_assert(gate_wait(&pair.seen.gate, 1));
    finish(&pair.store);
    cr_assert(gate_wait(&losses.down, 1));
    dctx_message_t *reply = NULL;
    /* Dialled, but away: held until it is back, or until the time is up. */
    cr_assert_eq(dctx_ask_wait(pair.stock, NULL, NULL, 20, &reply), DCTX_ERR_TIMEOUT);
    finish(&pair.shop);
    dctx_free(pair.endpoint);
}

static void never_leaves(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    cr_assert(status == DCTX_ERR_STOPPED || status == DCTX_ERR_UNREACHABLE, "%s",
              dctx_error_name(status));
    gate_pass(arg);
}

static dctx_error_t defer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    dctx_reply_to_t *reply_to = NULL;
    cr_assert_eq(dctx_reply_defer(message, &reply_to), DCTX_OK);
    dctx_reply_to_t **list = state;
    while (*list != NULL)
        list++;
    *list = reply_to;
    return DCTX_OK;
}

Test(node, asks_pending_elsewhere_end_with_this_system, .init = set_up, .fini = tear_down,
     .timeout = 60)
{
    enum { COUNT = 10 };
    pair_t pair;
    gate_t ended = GATE_INIT;
    dctx_reply_to_t *deferred[COUNT + 1] = {NULL};
    connect_pair(&pair, "tcp", (dctx_system_options_t){0});
    (void)spawn(pair.store, "never", defer, deferred);
    dctx_ref_t ref;
    cr_assert_eq(dctx_system_find(pair.shop, "never@store", &ref), DCTX_OK);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(dctx_ask_call(ref, NULL, NULL, WAIT_MS, never_leaves, &ended), DCTX_OK);
    finish(&pair.shop);
    cr_assert_eq(gate_count(&ended), COUNT);
    cr_assert_eq(dctx_system_stop(pair.store, WAIT_MS, NULL), DCTX_OK);
    for (int i = 0; i < COUNT; i++)
        dctx_reply_to_destroy(&deferred[i]);
    finish(&pair.store);
    dctx_free(pair.endpoint);
}

/* ---- what may not leave ---------------------------------------------------------------------- */

static const dctx_type_t dumb_type = {.name = "dumb", .size = 4};

Test(node, what_has_no_encoding_stays, .init = set_up, .fini = tear_down, .timeout = 60)
{
    pair_t pair;
    connect_pair(&pair, "inproc", (dctx_system_options_t){.message_limit = 2000});
    uint32_t dumb = 0;
    static char large[3000];
    memset(large, 'x', sizeof large - 1);
    cr_assert_eq(dctx_tell(pair.stock, &dumb_type, &dumb), DCTX_ERR_TYPE);
    cr_assert_eq(dctx_tell(pair.stock, DCTX_TYPE_STRING, large), DCTX_ERR_LIMIT);
    cr_assert_eq(counters(pair.shop).refused, 2);
    finish_pair(&pair);
}

/* A context over the limits: left out and counted, or an error, as the policy says. */
static void check_policy(dctx_error_policy_t policy)
{
    pair_t pair;
    static char large[9000];
    memset(large, 'x', sizeof large - 1);
    connect_pair(&pair, "inproc", (dctx_system_options_t){.context_policy = policy});
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set(large), DCTX_OK);
        dctx_error_t error = dctx_tell(pair.stock, DCTX_TYPE_STRING, "x");
        cr_assert_eq(error, policy == DCTX_ON_ERROR_REJECT ? DCTX_ERR_LIMIT : DCTX_OK);
    }
    if (policy == DCTX_ON_ERROR_CONTINUE) {
        cr_assert(gate_wait(&pair.seen.gate, 1));
        cr_assert_str_eq(pair.seen.chain, "remote:stock");
        cr_assert_eq(counters(pair.shop).context_errors, 1);
    }
    finish_pair(&pair);
}

Test(node, a_context_that_does_not_encode_is_left_out, .init = set_up, .fini = tear_down,
     .timeout = 60)
{
    check_policy(DCTX_ON_ERROR_CONTINUE);
}

Test(node, a_context_that_does_not_encode_is_an_error, .init = set_up, .fini = tear_down,
     .timeout = 60)
{
    check_policy(DCTX_ON_ERROR_REJECT);
}

Test(node, registries_of_their_own, .init = set_up, .fini = tear_down, .timeout = 60)
{
    pair_t pair;
    dctx_registry_t *registry = fixture_registry();
    connect_pair(&pair, "tcp", (dctx_system_options_t){.registry = registry});
    dctx_snapshot_t *empty = NULL;
    cr_assert_eq(dctx_snapshot_empty(registry, &empty), DCTX_OK);
    DCTX_WITH_SNAPSHOT(empty) {
        DCTX_WITH_SCOPE("gateway") {
            cr_assert_eq(tenant_set("acme"), DCTX_OK);
            cr_assert_eq(dctx_tell(pair.stock, DCTX_TYPE_STRING, "x"), DCTX_OK);
        }
    }
    dctx_snapshot_unref(&empty);
    cr_assert(gate_wait(&pair.seen.gate, 1));
    cr_assert_str_eq(pair.seen.chain, "gateway > remote:stock");
    cr_assert_str_eq(pair.seen.tenant, "acme");
    finish_pair(&pair);
    dctx_registry_destroy(&registry);
}

/* A callback that keeps the I/O actor must not keep the one who stops the system. */
typedef struct keeper {
    int pipe[2];
    gate_t inside, outside;
} keeper_t;

static void keep_io(const char *name, dctx_node_event_t event, const char *reason, void *arg)
{
    keeper_t *keeper = arg;
    char byte;
    (void)name;
    (void)event;
    (void)reason;
    gate_pass(&keeper->inside);
    ssize_t got = read(keeper->pipe[0], &byte, 1);
    (void)got;
    gate_pass(&keeper->outside);
}

Test(node, stop_does_not_wait_for_a_callback_that_blocks, .init = set_up, .timeout = 30)
{
    keeper_t keeper = {.inside = GATE_INIT, .outside = GATE_INIT};
    cr_assert_eq(pipe(keeper.pipe), 0);
    dctx_system_t *kept = node("kept", (dctx_system_options_t){.on_node = keep_io, .arg = &keeper});
    dctx_system_t *other = node("other", (dctx_system_options_t){0});
    char *endpoint = NULL, *report = NULL;
    cr_assert_eq(dctx_system_bind(other, endpoint_of("tcp"), &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(kept, "other", endpoint), DCTX_OK);
    cr_assert(gate_wait(&keeper.inside, 1));
    cr_assert_eq(dctx_system_stop(kept, 50, &report), DCTX_ERR_TIMEOUT);
    cr_assert_eq(strncmp(report, "(system): in handler for ", 25), 0, "%s", report);
    dctx_free(report);
    dctx_system_destroy(&kept);
    close(keeper.pipe[1]);
    cr_assert(gate_wait(&keeper.outside, 1));
    finish(&other);
    dctx_free(endpoint);
    cr_assert_eq(rmdir(directory), 0);
}
