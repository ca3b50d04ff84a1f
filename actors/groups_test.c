/* Groups: who is in them, who leaves by dying, and what all of them are told. */
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* A value that owns something. */
static _Atomic(long) copies, destroyed;

static dctx_error_t copy_text(void *dst, const void *src)
{
    *(char **)dst = strdup(*(char *const *)src);
    copies++;
    return DCTX_OK;
}

static void destroy_text(void *value)
{
    free(*(char **)value);
    destroyed++;
}

static const dctx_type_t text_type = {
    .name = "text", .size = sizeof(char *), .copy = copy_text, .destroy = destroy_text};

typedef struct member {
    gate_t *gate;
    dctx_ref_t to; /* sends on, if it is somebody */
    char chain[64], tenant[16], text[128];
    const void *value;
    bool take;
} member_t;

static dctx_error_t see(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    member_t *member = state;
    char *const *text = dctx_message_get(message, &text_type);
    const char *string = dctx_message_get(message, DCTX_TYPE_STRING);
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    strcpy(member->chain, chain());
    strcpy(member->tenant, tenant_get_or(""));
    if (text != NULL)
        snprintf(member->text, sizeof member->text, "%s", *text);
    else if (string != NULL)
        snprintf(member->text, sizeof member->text, "%s", string);
    else if (number != NULL)
        snprintf(member->text, sizeof member->text, "%d", (int)*number);
    member->value = text;
    dctx_error_t error = DCTX_OK;
    if (text != NULL && member->take) {
        char *mine = NULL;
        error = dctx_message_take(message, &text_type, &mine);
        cr_assert_str_eq(mine, member->text);
        cr_assert_null(dctx_message_get(message, &text_type));
        free(mine);
        destroyed++;
    } else if (!dctx_ref_is_none(member->to)) {
        error = dctx_forward(self, message, member->to);
    }
    gate_pass(member->gate);
    return error;
}

static void join(dctx_system_t *system, const char *group, dctx_ref_t ref)
{
    cr_assert_eq(dctx_group_join(system, group, ref), DCTX_OK, "%s", dctx_error_detail());
}

/* ---- telling all ----------------------------------------------------------------------------- */

Test(groups, all_members_are_told_in_the_senders_context, .init = fixture_init, .timeout = 60)
{
    enum { COUNT = 1000 };
    gate_t gate = GATE_INIT, second = GATE_INIT;
    static member_t members[COUNT], last;
    last = (member_t){.gate = &second};
    dctx_system_t *system = start(NULL);
    dctx_ref_t end = spawn(system, "end", see, &last);
    for (int i = 0; i < COUNT; i++) {
        members[i] = (member_t){.gate = &gate, .take = i == 7};
        if (i == 3)
            members[i].to = end;
        dctx_ref_t ref = spawn(system, i == 0 ? "first" : NULL, see, &members[i]);
        join(system, "all", ref);
        join(system, "all", ref);
    }
    cr_assert_eq(dctx_group_size(system, "all"), COUNT, "who joins again is in it once");
    char *text = strdup("hello");
    dctx_group_sent_t sent = {0};
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_group_tell(system, "all", &text_type, &text, &sent), DCTX_OK);
    }
    cr_assert_eq(sent.delivered, COUNT);
    cr_assert_eq(sent.failed, 0);
    cr_assert(gate_wait(&gate, COUNT));
    cr_assert(gate_wait(&second, 1));
    for (int i = 0; i < COUNT; i++) {
        cr_assert_str_eq(members[i].text, "hello");
        cr_assert_str_eq(members[i].tenant, "acme");
        cr_assert_eq(members[i].value, members[0].value, "it is shared");
    }
    cr_assert_str_eq(members[0].chain, "edge > actor:first");
    cr_assert_eq(last.value, members[0].value, "sent on it is shared still");
    /* Small and plain: a copy for each. Large: shared. None: nothing. */
    cr_assert_eq(dctx_group_tell(system, "all", DCTX_TYPE_UINT64, &(uint64_t){42}, NULL), DCTX_OK);
    cr_assert(gate_wait(&gate, 2 * COUNT));
    cr_assert_str_eq(members[COUNT - 1].text, "42");
    cr_assert_str_eq(members[COUNT - 1].tenant, "");
    cr_assert_eq(dctx_group_tell(system, "all", DCTX_TYPE_STRING, "a string of any length", &sent),
                 DCTX_OK);
    cr_assert(gate_wait(&gate, 3 * COUNT));
    cr_assert_str_eq(members[5].text, "a string of any length");
    cr_assert_eq(dctx_group_tell(system, "all", NULL, NULL, &sent), DCTX_OK);
    cr_assert(gate_wait(&gate, 4 * COUNT));
    finish(&system);
    free(text);
    cr_assert_eq(copies, 2, "one for all, one for who took it");
    cr_assert_eq(destroyed, 2);
}

Test(groups, what_is_told_to_nobody_or_by_mistake, .init = fixture_init, .timeout = 60)
{
    dctx_system_t *system = start(NULL), *other = start(NULL);
    gate_t gate = GATE_INIT;
    member_t member = {.gate = &gate};
    dctx_group_sent_t sent = {.delivered = 7};
    dctx_ref_t *members = (dctx_ref_t *)&member;
    size_t count = 7;
    dctx_ref_t ref = spawn(system, NULL, see, &member), stranger = spawn(other, NULL, see, &member);
    cr_assert_eq(dctx_group_tell(system, "none", DCTX_TYPE_STRING, "x", &sent), DCTX_OK);
    cr_assert_eq(sent.delivered + sent.failed, 0);
    cr_assert_eq(dctx_group_members(system, "none", &members, &count), DCTX_OK);
    cr_assert_null(members);
    cr_assert_eq(count, 0);
    cr_assert_eq(dctx_group_tell(system, "bad name", NULL, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_group_tell(system, "none", DCTX_TYPE_STRING, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_group_tell(NULL, "none", NULL, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_group_join(system, "", ref), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_group_join(system, "g", stranger), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_group_join(system, "g", DCTX_REF_NONE), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_group_leave(system, "g", ref), DCTX_ERR_ABSENT);
    join(system, "g", ref);
    join(system, "h", ref);
    cr_assert_eq(dctx_group_members(system, "g", &members, &count), DCTX_OK);
    cr_assert_eq(count, 1);
    cr_assert(dctx_ref_equal(members[0], ref));
    dctx_free(members);
    cr_assert_eq(dctx_group_leave(system, "g", ref), DCTX_OK);
    cr_assert_eq(dctx_group_leave(system, "g", ref), DCTX_ERR_ABSENT);
    cr_assert_eq(dctx_group_size(system, "g"), 0);
    cr_assert_eq(dctx_group_size(system, "h"), 1);
    finish(&system);
    finish(&other);
}

static dctx_verdict_t reject_some(const dctx_passage_t *passage, void *arg)
{
    (void)arg;
    return strcmp(passage->target, "barred") == 0 ? DCTX_REJECT : DCTX_CONTINUE;
}

Test(groups, who_cannot_be_told_is_counted, .init = fixture_init, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    member_t members[2] = {{.gate = &gate}, {.gate = &gate}};
    dctx_interceptor_t bar = {.name = "bar", .outbound = reject_some};
    dctx_system_t *system =
        start(&(dctx_system_options_t){.workers = 1, .interceptors = &bar, .interceptor_count = 1});
    join(system, "g", spawn(system, "barred", see, &members[0]));
    join(system, "g", spawn(system, "free", see, &members[1]));
    dctx_group_sent_t sent;
    char *text = strdup("hello");
    cr_assert_eq(dctx_group_tell(system, "g", &text_type, &text, &sent), DCTX_OK);
    free(text);
    cr_assert_eq(sent.delivered, 1);
    cr_assert_eq(sent.failed, 1);
    cr_assert(gate_wait(&gate, 1));
    cr_assert_str_eq(members[0].text, "");
    cr_assert_str_eq(members[1].text, "hello");
    finish(&system);
    cr_assert_eq(destroyed, copies);
}

/* ---- death ----------------------------------------------------------------------------------- */

static dctx_error_t end_self(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    (void)state;
    dctx_self_stop(self);
    return DCTX_OK;
}

/* Puts whatever lives into groups while it dies. */
typedef struct joiner {
    dctx_system_t *system;
    dctx_ref_t *refs;
    int count, joined;
} joiner_t;

static void *join_all(void *arg)
{
    joiner_t *joiner = arg;
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < joiner->count; i++) {
        dctx_error_t error = dctx_group_join(joiner->system, names[i % 3], joiner->refs[i]);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NO_ACTOR, "%s", dctx_error_name(error));
        if (error == DCTX_OK)
            joiner->joined++;
        (void)dctx_group_size(joiner->system, names[i % 3]);
    }
    return NULL;
}

Test(groups, the_dead_are_in_none_whoever_joins_them, .init = fixture_init, .timeout = 60)
{
    enum { COUNT = 3000 };
    static dctx_ref_t refs[COUNT];
    dctx_system_t *system = start(NULL);
    for (int i = 0; i < COUNT; i++)
        refs[i] = spawn(system, NULL, end_self, NULL);
    joiner_t joiners[2] = {{.system = system, .refs = refs, .count = COUNT},
                           {.system = system, .refs = refs, .count = COUNT}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, join_all, &joiners[i]), 0);
    for (int i = 0; i < COUNT; i++)
        tell_uint(refs[i], 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    while (counters(system).actors > 0)
        sched_yield();
    cr_assert_eq(dctx_group_size(system, "a"), 0);
    cr_assert_eq(dctx_group_size(system, "b"), 0);
    cr_assert_eq(dctx_group_size(system, "c"), 0);
    /* And a member is not one in the next life of its cell. */
    dctx_ref_t again = spawn(system, NULL, end_self, NULL);
    cr_assert_eq(dctx_group_leave(system, "a", again), DCTX_ERR_ABSENT);
    cr_assert_eq(dctx_group_join(system, "a", refs[0]), DCTX_ERR_NO_ACTOR);
    join(system, "a", again);
    finish(&system);
}

/* ---- other nodes ----------------------------------------------------------------------------- */

Test(groups, members_may_be_on_other_nodes, .init = fixture_init, .timeout = 60)
{
    gate_t gate = GATE_INIT;
    member_t local = {.gate = &gate}, remote = {.gate = &gate};
    dctx_system_t *here = start(&(dctx_system_options_t){.workers = 1, .name = "here"});
    dctx_system_t *there = start(&(dctx_system_options_t){.workers = 1, .name = "there"});
    char *endpoint = NULL;
    dctx_ref_t ref;
    (void)spawn(there, "far", see, &remote);
    cr_assert_eq(dctx_system_bind(there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(here, "there", endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_find(here, "far@there", &ref), DCTX_OK);
    join(here, "g", ref);
    join(here, "g", spawn(here, "near", see, &local));
    dctx_group_sent_t sent;
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_group_tell(here, "g", DCTX_TYPE_STRING, "hello", &sent), DCTX_OK);
    }
    cr_assert_eq(sent.delivered, 2);
    cr_assert(gate_wait(&gate, 2));
    cr_assert_str_eq(remote.text, "hello");
    cr_assert_str_eq(remote.tenant, "acme");
    cr_assert_str_eq(remote.chain, "edge > remote:far");
    cr_assert_str_eq(local.chain, "edge > actor:near");
    cr_assert_eq(dctx_group_leave(here, "g", ref), DCTX_OK);
    /* What was shared may be sent on to another node. */
    local.to = ref;
    cr_assert_eq(dctx_group_tell(here, "g", DCTX_TYPE_STRING, "sent on", &sent), DCTX_OK);
    cr_assert_eq(sent.delivered, 1);
    cr_assert(gate_wait(&gate, 4));
    cr_assert_str_eq(remote.text, "sent on");
    cr_assert_str_eq(remote.chain, "actor:near > remote:far");
    finish(&here);
    finish(&there);
    dctx_free(endpoint);
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

static bool disarm(void)
{
    long at = __atomic_exchange_n(&fails_at, -1, __ATOMIC_RELAXED);
    return __atomic_load_n(&made, __ATOMIC_RELAXED) >= at;
}

Test(groups, each_allocation, .init = set_up_sweep, .timeout = 120)
{
    enum { COUNT = 40 };
    static member_t members[COUNT];
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 400);
        gate_t gate = GATE_INIT;
        dctx_ref_t refs[COUNT];
        dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1});
        for (int i = 0; i < COUNT; i++) {
            members[i] = (member_t){.gate = &gate};
            refs[i] = spawn(system, NULL, see, &members[i]);
        }
        __atomic_store_n(&made, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&fails_at, nth, __ATOMIC_RELAXED);
        int failed = 0;
        char name[16];
        for (int i = 0; i < COUNT; i++) {
            snprintf(name, sizeof name, "g%d", i);
            const char *names[2] = {"all", name};
            for (int n = 0; n < 2; n++) {
                dctx_error_t error = dctx_group_join(system, names[n], refs[i]);
                cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
                failed += error != DCTX_OK;
                if (error != DCTX_OK)
                    join(system, names[n], refs[i]);
            }
        }
        dctx_group_sent_t sent = {0};
        char *text = strdup("hello");
        dctx_error_t error = dctx_group_tell(system, "all", &text_type, &text, &sent);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
        reached = disarm();
        free(text);
        failed += error != DCTX_OK || sent.failed > 0;
        cr_assert_leq(failed, 1);
        cr_assert(gate_wait(&gate, (long)sent.delivered));
        cr_assert_eq(dctx_group_size(system, "all"), COUNT);
        finish(&system);
        cr_assert_eq(copies, destroyed);
    }
}
