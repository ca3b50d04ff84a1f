/* The laws of context: the right one at every kind of hop, and none left behind. */
#include "conformance.h"

#include <stdio.h>
#include <string.h>

enum { WALKERS = 6 };

/* One request on its way, from hop to hop. Each has a context of its own, so that one that goes
 * astray shows. */
typedef struct walk {
    uint64_t id;
    char tenant[24];
    dctx_ref_t second;
    dctx_reply_to_t *deferred;
    gate_t *ends; /* passed at the end of each of the two branches */
} walk_t;

/* It has the request's values, local ones too, and exactly this chain. */
static void check_here(const walk_t *walk, const char *expected)
{
    check(strcmp(tenant_get_or(""), walk->tenant) == 0);
    check(strcmp(secret_get_or(""), walk->tenant) == 0);
    check(request_get_or(0) == walk->id);
    cr_assert_str_eq(chain(), expected, "%s, not %s, seed %llu", chain(), expected,
                     (unsigned long long)ground_seed);
}

static walk_t *walk_of(const dctx_message_t *message)
{
    const uint64_t *address = dctx_message_get(message, DCTX_TYPE_UINT64);
    check(address != NULL);
    return (walk_t *)(uintptr_t)*address;
}

static uint64_t address_of(walk_t *walk)
{
    return (uint64_t)(uintptr_t)walk;
}

/* ---- hop by hop, the last first -------------------------------------------------------------- */

static void child_stops(dctx_actor_t *self, void *state)
{
    walk_t *walk = state;
    char expected[64];
    snprintf(expected, sizeof expected, "actor:%s", dctx_self_name(self));
    check(tenant_get_or(NULL) == NULL && secret_get_or(NULL) == NULL);
    cr_assert_str_eq(chain(), expected);
    gate_pass(walk->ends);
}

static dctx_error_t child_starts(dctx_actor_t *self, void *state)
{
    char expected[128];
    snprintf(expected, sizeof expected, "edge > actor:first > actor:first > actor:%s",
             dctx_self_name(self));
    check_here(state, expected);
    dctx_self_stop(self);
    return DCTX_OK;
}

static dctx_error_t child_handles(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

static void first_later(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    (void)missed;
    (void)state;
    check_here(arg, "edge > actor:first > actor:first");
    dctx_actor_options_t options = {
        .handler = child_handles, .state = arg, .on_start = child_starts, .on_stop = child_stops};
    dctx_ref_t child;
    check(dctx_spawn(dctx_self_system(self), &options, &child) == DCTX_OK);
}

static void first_hears(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                        void *state, void *arg)
{
    (void)state;
    check(status == DCTX_OK);
    check(strcmp(dctx_message_get(reply, DCTX_TYPE_STRING), "deferred") == 0);
    check_here(arg, "edge > actor:first");
    dctx_timer_options_t options = {.delay_ns = 1000, .run = first_later, .arg = arg};
    check(dctx_timer_start(self, &options, NULL) == DCTX_OK);
}

static dctx_error_t second_handles(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    walk_t *walk = walk_of(message);
    (void)state;
    uint64_t address = address_of(walk);
    if (dctx_message_is_ask(message)) {
        check_here(walk, "edge > actor:first > actor:second");
        check(dctx_reply_defer(message, &walk->deferred) == DCTX_OK);
        return dctx_tell_after(dctx_self(self), 1000, DCTX_TYPE_UINT64, &address, NULL);
    }
    check_here(walk, "edge > actor:first > actor:second > actor:second");
    /* A reply carries no context: this does not get to the asker. */
    check(tenant_set("astray") == DCTX_OK);
    return dctx_reply_to_send(&walk->deferred, DCTX_TYPE_STRING, "deferred");
}

static dctx_error_t first_handles(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    walk_t *walk = walk_of(message);
    (void)state;
    uint64_t address = address_of(walk);
    check_here(walk, "edge > actor:first");
    if (dctx_message_is_ask(message))
        return dctx_reply(message, DCTX_TYPE_UINT64, &address);
    return dctx_ask(self, walk->second, DCTX_TYPE_UINT64, &address, 0, first_hears, walk);
}

static void edge_hears(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    walk_t *walk = arg;
    check(status == DCTX_OK && walk_of(reply) == walk);
    check_here(walk, "edge");
    gate_pass(walk->ends);
}

LAW(each_hop_has_the_context_of_its_request, 0)
{
    gate_t ends = GATE_INIT;
    walk_t walks[WALKERS];
    dctx_ref_t first = spawn(ground->system, "first", first_handles, NULL);
    dctx_ref_t second = spawn(ground->system, "second", second_handles, NULL);
    for (uint64_t i = 0; i < WALKERS; i++) {
        walks[i] = (walk_t){.id = 100 + i, .second = second, .ends = &ends};
        snprintf(walks[i].tenant, sizeof walks[i].tenant, "tenant-%d", (int)i);
        uint64_t address = address_of(&walks[i]);
        DCTX_WITH_SCOPE("edge") {
            check(tenant_set(walks[i].tenant) == DCTX_OK);
            check(secret_set(walks[i].tenant) == DCTX_OK);
            check(request_set(walks[i].id) == DCTX_OK);
            check(dctx_tell(first, DCTX_TYPE_UINT64, &address) == DCTX_OK);
            check(dctx_ask_call(first, DCTX_TYPE_UINT64, &address, 0, edge_hears, &walks[i]) ==
                  DCTX_OK);
            if (ground->world != NULL && draw(ground, 2) == 0)
                (void)dctx_test_step(ground->world);
        }
        check(dctx_is_empty());
    }
    await(ground, &ends, 2 * WALKERS);
}

/* ---- what a handler leaves behind ------------------------------------------------------------ */

typedef struct slovenly {
    gate_t gate;
    unsigned mess; /* what it left open, and has to have found clean: by bits */
    int kinds;
} slovenly_t;

static void leave_a_mess(slovenly_t *slovenly, uint64_t how)
{
    static _Thread_local dctx_scope_t scopes[4];
    check(tenant_get_or(NULL) == NULL && request_get_or(0) == 0);
    check(strncmp(chain(), "actor:", 6) == 0 && strchr(chain(), '>') == NULL);
    check(tenant_set("left behind") == DCTX_OK);
    for (uint64_t i = 0; i < how % 4; i++)
        check(dctx_scope_push("left open", &scopes[i]) == DCTX_OK);
    check(request_set(1) == DCTX_OK);
    gate_pass(&slovenly->gate);
}

static void mess_in_a_timer(dctx_actor_t *self, uint64_t missed, void *state, void *arg)
{
    (void)self;
    (void)missed;
    leave_a_mess(state, (uintptr_t)arg);
}

static void mess_in_a_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                            void *state, void *arg)
{
    (void)self;
    (void)status;
    (void)reply;
    /* Here the chain is the asker's, without a scope of its own: the handler's. */
    leave_a_mess(state, (uintptr_t)arg);
}

static dctx_error_t mess_in_a_handler(dctx_actor_t *self, const dctx_message_t *message,
                                      void *state)
{
    const uint64_t *how = dctx_message_get(message, DCTX_TYPE_UINT64);
    if (how == NULL)
        return dctx_reply(message, NULL, NULL);
    dctx_timer_options_t options = {
        .run = mess_in_a_timer, .arg = (void *)(uintptr_t)*how, .flags = DCTX_TIMER_NO_CONTEXT};
    check(dctx_timer_start(self, &options, NULL) == DCTX_OK);
    check(dctx_ask(self, dctx_self(self), NULL, NULL, 0, mess_in_a_reply,
                   (void *)(uintptr_t)*how) == DCTX_OK);
    leave_a_mess(state, *how);
    return DCTX_OK;
}

LAW(what_a_callback_leaves_behind_is_gone_before_the_next, 0)
{
    enum { MESSES = 24 };
    slovenly_t slovenly = {.gate = GATE_INIT};
    uint64_t leaks = 0;
    dctx_ref_t refs[3];
    for (int i = 0; i < 3; i++)
        refs[i] = spawn(ground->system, NULL, mess_in_a_handler, &slovenly);
    for (uint64_t i = 0; i < MESSES; i++) {
        uint64_t how = draw(ground, 4);
        leaks += how > 0 ? 3 : 0;
        tell_uint(refs[i % 3], how);
    }
    await(ground, &slovenly.gate, 3L * MESSES);
    check(dctx_is_empty());
    check(dctx_system_stop(ground->system, WAIT_MS, NULL) == DCTX_OK);
    check(counters(ground->system).scope_leaks == leaks);
}
