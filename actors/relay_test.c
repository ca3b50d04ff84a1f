/* Forward and delegate across nodes, over real sockets, and without memory. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* What the last handler saw, and what it is to do. */
typedef struct seen {
    gate_t gate;
    char chain[256], tenant[32], text[256];
    bool remote, deadline;
} seen_t;

static void look(seen_t *seen, const dctx_message_t *message)
{
    const char *text = dctx_message_get(message, DCTX_TYPE_STRING);
    strcpy(seen->chain, chain());
    strcpy(seen->tenant, tenant_get_or(""));
    strcpy(seen->text, text != NULL ? text : "");
    seen->remote = dctx_message_is_remote(message);
    seen->deadline = dctx_deadline_left() != DCTX_NO_DEADLINE;
}

static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    seen_t *seen = state;
    (void)self;
    look(seen, message);
    dctx_error_t error = DCTX_OK;
    if (dctx_message_is_ask(message) && strcmp(seen->text, "error") == 0)
        error = dctx_reply_error(message, DCTX_ERR_FULL, "out of stock");
    else if (dctx_message_is_ask(message) && strcmp(seen->text, "silent") != 0)
        error = dctx_reply(message, DCTX_TYPE_STRING, seen->text);
    gate_pass(&seen->gate);
    return error;
}

typedef struct front {
    dctx_ref_t to;
    bool blind; /* sends on what it has not read */
} front_t;

static dctx_error_t send_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const front_t *front = state;
    if (!front->blind)
        cr_assert_not_null(dctx_message_get(message, DCTX_TYPE_STRING));
    dctx_error_t error = dctx_forward(self, message, front->to);
    if (error == DCTX_OK)
        cr_assert_null(dctx_message_get(message, DCTX_TYPE_STRING));
    else if (error != DCTX_ERR_NOMEM)
        cr_assert_not_null(dctx_message_get(message, DCTX_TYPE_STRING));
    return error;
}

static dctx_error_t delegate(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const front_t *front = state;
    return dctx_delegate(self, message, front->to, DCTX_TYPE_STRING,
                         dctx_message_get(message, DCTX_TYPE_STRING), 0);
}

static _Atomic(int) passed;

static void count_passage(const dctx_passage_t *passage, dctx_error_t outcome, void *arg)
{
    (void)arg;
    if (outcome == DCTX_OK && strcmp(passage->type, DCTX_TYPE_STRING->name) == 0)
        passed++;
}

typedef struct pair {
    dctx_system_t *shop, *store;
    seen_t seen;
    front_t front;
    char *endpoint;
} pair_t;

static void connect_pair(pair_t *pair)
{
    static const dctx_interceptor_t counter = {.name = "counter", .handled = count_passage};
    dctx_system_options_t options = {
        .workers = 2, .interceptors = &counter, .interceptor_count = 1};
    *pair = (pair_t){.seen = {.gate = GATE_INIT}};
    options.name = "shop";
    pair->shop = start(&options);
    options.name = "store";
    pair->store = start(&options);
    cr_assert_eq(dctx_system_bind(pair->store, "tcp://127.0.0.1:*", &pair->endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(pair->shop, "store", pair->endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(pair->shop, "store", WAIT_MS), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(pair->store, "shop", WAIT_MS), DCTX_OK);
}

static void finish_pair(pair_t *pair)
{
    finish(&pair->shop);
    finish(&pair->store);
    dctx_free(pair->endpoint);
}

static dctx_ref_t find(dctx_system_t *system, const char *name)
{
    dctx_ref_t ref = DCTX_REF_NONE;
    cr_assert_eq(dctx_system_find(system, name, &ref), DCTX_OK, "%s", dctx_error_detail());
    return ref;
}

static dctx_error_t ask_text(dctx_ref_t to, const char *text, char answer[256])
{
    dctx_message_t *reply = NULL;
    dctx_error_t error = dctx_ask_wait(to, DCTX_TYPE_STRING, text, WAIT_MS, &reply);
    const char *got =
        error == DCTX_OK ? dctx_message_get(reply, DCTX_TYPE_STRING) : dctx_message_reason(reply);
    strcpy(answer, got != NULL ? got : "");
    dctx_message_destroy(&reply);
    return error;
}

/* Asks and tells `to`, and looks at what came where the message ended. */
static void check_way(pair_t *pair, dctx_ref_t to, const char *expected_chain, bool remote)
{
    char answer[256];
    long before = gate_count(&pair->seen.gate);
    DCTX_SCOPE("edge");
    cr_assert_eq(tenant_set("acme"), DCTX_OK);
    cr_assert_eq(dctx_deadline_set_timeout(INT64_C(1000000) * WAIT_MS), DCTX_OK);
    cr_assert_eq(ask_text(to, "hello", answer), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_str_eq(answer, "hello");
    cr_assert_str_eq(pair->seen.chain, expected_chain);
    cr_assert_str_eq(pair->seen.tenant, "acme");
    cr_assert_eq(pair->seen.remote, remote);
    cr_assert(pair->seen.deadline);
    cr_assert_eq(ask_text(to, "error", answer), DCTX_ERR_FULL);
    cr_assert_str_eq(answer, "out of stock");
    cr_assert_eq(ask_text(to, "silent", answer), DCTX_ERR_NO_REPLY);
    cr_assert_eq(dctx_tell(to, DCTX_TYPE_STRING, "told"), DCTX_OK);
    cr_assert(gate_wait(&pair->seen.gate, before + 4));
    cr_assert_str_eq(pair->seen.text, "told");
    cr_assert_str_eq(pair->seen.chain, expected_chain);
}

static void check_forward(bool blind)
{
    pair_t pair;
    connect_pair(&pair);
    pair.front.blind = blind;
    (void)spawn(pair.store, "front", send_on, &pair.front);
    dctx_ref_t local = spawn(pair.shop, "front", send_on, &pair.front);
    dctx_ref_t back = spawn(pair.store, "back", serve, &pair.seen);
    (void)spawn(pair.shop, "desk", serve, &pair.seen);
    dctx_ref_t front = find(pair.shop, "front@store");

    /* From another node to an actor here: it has crossed one border only. */
    pair.front.to = back;
    check_way(&pair, front, "edge > remote:front > actor:back", true);
    /* From another node to another node, which is the asker's. */
    pair.front.to = find(pair.store, "desk@shop");
    check_way(&pair, front, "edge > remote:front > remote:desk", true);
    /* From here to another node. */
    pair.front.to = find(pair.shop, "back@store");
    check_way(&pair, local, "edge > actor:front > remote:back", true);
    /* To a node that nobody knows: the asker hears of it. */
    char answer[256];
    pair.front.to = find(pair.shop, "back@nowhere");
    cr_assert_eq(ask_text(local, "x", answer), DCTX_ERR_UNREACHABLE);
    pair.front.to = find(pair.store, "back@nowhere");
    cr_assert_eq(ask_text(front, "x", answer), DCTX_ERR_UNREACHABLE);
    cr_assert_eq(dctx_tell(front, DCTX_TYPE_STRING, "x"), DCTX_OK);
    cr_assert_gt(passed, 6, "the passages kept their types");
    finish_pair(&pair);
}

Test(relay, what_came_from_a_node_goes_anywhere, .init = fixture_init, .timeout = 60)
{
    check_forward(false);
}

Test(relay, what_was_not_read_goes_too, .init = fixture_init, .timeout = 60)
{
    check_forward(true);
}

Test(relay, delegates_to_other_nodes, .init = fixture_init, .timeout = 60)
{
    pair_t pair;
    connect_pair(&pair);
    (void)spawn(pair.store, "front", delegate, &pair.front);
    dctx_ref_t local = spawn(pair.shop, "front", delegate, &pair.front);
    dctx_ref_t back = spawn(pair.store, "back", serve, &pair.seen);
    (void)spawn(pair.shop, "desk", serve, &pair.seen);
    dctx_ref_t front = find(pair.shop, "front@store");
    dctx_ref_t targets[] = {back, find(pair.store, "desk@shop"), find(pair.shop, "back@store")};
    const char *chains[] = {"edge > remote:front > actor:back", "edge > remote:front > remote:desk",
                            "edge > actor:front > remote:back"};
    for (int i = 0; i < 3; i++) {
        char answer[256];
        DCTX_SCOPE("edge");
        pair.front.to = targets[i];
        dctx_ref_t to = i < 2 ? front : local;
        cr_assert_eq(ask_text(to, "hello", answer), DCTX_OK, "%s", dctx_error_detail());
        cr_assert_str_eq(answer, "hello");
        cr_assert_str_eq(pair.seen.chain, chains[i]);
        cr_assert_eq(ask_text(to, "error", answer), DCTX_ERR_FULL);
        cr_assert_str_eq(answer, "out of stock");
    }
    finish_pair(&pair);
}

Test(relay, from_a_node_into_another_system_here, .init = fixture_init, .timeout = 60)
{
    pair_t pair;
    connect_pair(&pair);
    dctx_system_t *third = start(NULL);
    (void)spawn(pair.store, "front", send_on, &pair.front);
    pair.front.to = spawn(third, "back", serve, &pair.seen);
    check_way(&pair, find(pair.shop, "front@store"), "edge > remote:front > actor:back", true);
    finish(&third);
    finish_pair(&pair);
}

/* A type that cannot leave the process: forwarding it to a node fails,
 * and the message is as before. */
static const dctx_type_t private_type = {.name = "private", .size = sizeof(int)};

static dctx_error_t send_private(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const front_t *front = state;
    cr_assert_eq(dctx_forward(self, message, front->to), DCTX_ERR_TYPE);
    cr_assert_eq(*(const int *)dctx_message_get(message, &private_type), 7);
    return dctx_reply(message, NULL, NULL);
}

static dctx_error_t reply_private(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    return dctx_reply(message, &private_type, &(int){7});
}

Test(relay, says_what_cannot_leave_the_process, .init = fixture_init, .timeout = 60)
{
    pair_t pair;
    char answer[256];
    dctx_message_t *reply = NULL;
    connect_pair(&pair);
    pair.front.to = find(pair.shop, "back@store");
    dctx_ref_t ref = spawn(pair.shop, NULL, send_private, &pair.front);
    cr_assert_eq(dctx_ask_wait(ref, &private_type, &(int){7}, 0, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
    /* An answer that does not go back to the asker's node is an error there. */
    (void)spawn(pair.store, "front", delegate, &pair.front);
    pair.front.to = spawn(pair.store, "private", reply_private, NULL);
    cr_assert_eq(ask_text(find(pair.shop, "front@store"), "x", answer), DCTX_ERR_TYPE);
    cr_assert_not_null(strstr(answer, "has no encode"));
    finish_pair(&pair);
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
    fixture_init();
}

static void arm(long nth)
{
    __atomic_store_n(&made, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&fails_at, nth, __ATOMIC_RELAXED);
}

static bool disarm(void)
{
    long at = __atomic_exchange_n(&fails_at, -1, __ATOMIC_RELAXED);
    return __atomic_load_n(&made, __ATOMIC_RELAXED) >= at;
}

static dctx_error_t stash_once(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    bool *kept = state;
    if (*kept)
        return dctx_reply(message, NULL, NULL);
    dctx_error_t error = dctx_become_push(self, stash_once);
    if (error == DCTX_OK)
        error = dctx_stash(self, message);
    *kept = error == DCTX_OK;
    if (*kept)
        cr_assert_eq(dctx_unstash_all(self), 1);
    return error;
}

static void sweep(const char *target, dctx_handler_fn handler)
{
    static const char text_200[] =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    int quiet = 0;
    for (long nth = 1; quiet < 3; nth++) {
        cr_assert_lt(nth, 400);
        pair_t pair;
        connect_pair(&pair);
        bool kept = false;
        (void)spawn(pair.store, "back", serve, &pair.seen);
        (void)spawn(pair.shop, "back", serve, &pair.seen);
        void *state = handler == stash_once ? (void *)&kept : (void *)&pair.front;
        dctx_ref_t ref = spawn(pair.shop, "front", handler, state);
        pair.front.to = find(pair.shop, target);
        char answer[256];
        dctx_error_t error = DCTX_OK;
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(tenant_set("acme"), DCTX_OK);
            arm(nth);
            dctx_message_t *reply = NULL;
            error = dctx_ask_wait(ref, DCTX_TYPE_STRING, text_200, 1000, &reply);
            quiet = disarm() ? 0 : quiet + 1;
            dctx_message_destroy(&reply);
        }
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM || error == DCTX_ERR_REJECTED ||
                      error == DCTX_ERR_TIMEOUT || error == DCTX_ERR_UNREACHABLE,
                  "%s", dctx_error_name(error));
        if (error != DCTX_OK && handler != stash_once)
            cr_assert_eq(ask_text(ref, "again", answer), DCTX_OK);
        finish_pair(&pair);
    }
}

Test(relay, each_allocation_of_a_forward, .init = set_up_sweep, .timeout = 120)
{
    sweep("back", send_on);
}

Test(relay, each_allocation_of_a_forward_to_a_node, .init = set_up_sweep, .timeout = 120)
{
    sweep("back@store", send_on);
}

Test(relay, each_allocation_of_a_delegation, .init = set_up_sweep, .timeout = 120)
{
    sweep("back@store", delegate);
}

Test(relay, each_allocation_of_a_stash, .init = set_up_sweep, .timeout = 120)
{
    sweep("back", stash_once);
}
