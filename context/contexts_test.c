/* The well-known contexts: their keys, the trace, and the small ones.
 * Deadlines have a file of their own. */
#include "fixture.h"

static uint64_t count_up(void *arg)
{
    return ++*(uint64_t *)arg;
}

static uint64_t zero(void *arg)
{
    (void)arg;
    return 0;
}

/* ---- keys ---- */

Test(contexts, the_prefix_is_reserved)
{
    static const char *const names[] = {"dctx.", "dctx.mine", "DCTX.mine", "dctx.trace"};
    for (size_t i = 0; i < 4; i++) {
        dctx_key_options_t options = {.name = names[i], .type = DCTX_TYPE_STRING};
        FAILS_SAYING(dctx_registry_add(NULL, &options, NULL), DCTX_ERR_INVALID, "dctx.");
    }
    add_to(NULL, "dctx", DCTX_TYPE_STRING, DCTX_BROADCAST);
    add_to(NULL, "dctxx.a", DCTX_TYPE_STRING, DCTX_BROADCAST);
    OK(dctx_registry_freeze(NULL));
}

Test(contexts, every_registry_has_them_and_lists_only_the_users)
{
    dctx_registry_t *registry = NULL;
    OK(dctx_registry_new(&registry));
    add_to(registry, "mine", DCTX_TYPE_STRING, DCTX_BROADCAST);
    cr_assert_null(dctx_registry_find(registry, DCTX_NAME_TRACE));
    OK(dctx_registry_freeze(registry));
    static const char *const names[] = {DCTX_NAME_TRACE,    DCTX_NAME_TRACESTATE, DCTX_NAME_CLIENT,
                                        DCTX_NAME_DEADLINE, DCTX_NAME_RETRY,      DCTX_NAME_BACKUP};
    for (size_t i = 0; i < 6; i++) {
        const dctx_key_t *key = dctx_registry_find(registry, names[i]);
        cr_assert_not_null(key, "%s", names[i]);
        cr_assert(!dctx_key_is_local(key));
    }
    const dctx_key_t *keys[3];
    cr_assert_eq(dctx_registry_keys(registry, keys, 3), 1);
    cr_assert_str_eq(dctx_key_name(keys[0]), "mine");
    dctx_registry_destroy(&registry);
}

Test(contexts, a_small_limit_on_names_does_not_stop_the_freeze)
{
    OK(dctx_registry_set_limits(NULL, &(dctx_limits_t){.key_bytes = 4}));
    OK(dctx_registry_freeze(NULL));
    OK(dctx_client_set("c"));
    cr_assert_str_eq(dctx_client_get(), "c");
}

Test(contexts, before_the_freeze_they_are_absent_and_cannot_be_set)
{
    dctx_trace_t trace = {.span = 1};
    cr_assert_null(dctx_trace_get());
    cr_assert_null(dctx_client_get());
    cr_assert_eq(dctx_retry_get(), 0);
    cr_assert(!dctx_backup_get());
    FAILS(dctx_trace_set(&trace), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_trace_begin(NULL), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_trace_unset(), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_client_set("c"), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_retry_set(1), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_backup_set(true), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_tracestate_set("a=1"), DCTX_ERR_NOT_FROZEN);
}

/* ---- small ones ---- */

Test(contexts, client_retry_and_backup, .init = set_up)
{
    cr_assert_null(dctx_client_get());
    cr_assert_eq(dctx_retry_get(), 0);
    cr_assert(!dctx_backup_get());
    DCTX_WITH_SCOPE("attempt") {
        OK(dctx_client_set("web"));
        OK(dctx_retry_set(2));
        OK(dctx_backup_set(true));
        cr_assert_str_eq(dctx_client_get(), "web");
        cr_assert_eq(dctx_retry_get(), 2);
        cr_assert(dctx_backup_get());
        DCTX_WITH_SCOPE("first again") {
            OK(dctx_client_set(""));
            OK(dctx_retry_set(0));
            OK(dctx_backup_set(false));
            cr_assert_null(dctx_client_get());
            cr_assert_eq(dctx_retry_get(), 0);
            cr_assert(!dctx_backup_get());
        }
        cr_assert_eq(dctx_retry_get(), 2);
        OK(dctx_retry_set(UINT32_MAX));
        cr_assert_eq(dctx_retry_get(), UINT32_MAX);
        OK(dctx_client_set(NULL));
        cr_assert_null(dctx_client_get());
    }
    cr_assert(dctx_is_empty());
}

Test(contexts, they_travel, .init = set_up)
{
    dctx_snapshot_t *sent = NULL, *received = NULL;
    dctx_bytes_t bytes;
    dctx_trace_t trace = {.trace_high = 1,
                          .trace_low = 2,
                          .span = 3,
                          .parent = 4,
                          .flags = UINT64_C(0x7ffff80000000006),
                          .has_parent = true,
                          .random = true};
    OK(dctx_trace_set(&trace));
    OK(dctx_tracestate_set("a=1"));
    OK(dctx_client_set("web"));
    OK(dctx_retry_set(7));
    OK(dctx_backup_set(true));
    OK(dctx_deadline_set_timeout(INT64_C(3600000000000)));
    OK(dctx_capture(&sent));
    OK(dctx_snapshot_encode(sent, &bytes));
    OK(dctx_snapshot_decode(NULL, bytes.data, bytes.size, &received));
    OK(dctx_clear());
    DCTX_WITH_SNAPSHOT(received) {
        const dctx_trace_t *got = dctx_trace_get();
        cr_assert_not_null(got);
        cr_assert_eq(got->trace_high, 1);
        cr_assert_eq(got->trace_low, 2);
        cr_assert_eq(got->span, 3);
        cr_assert_eq(got->parent, 4);
        cr_assert_eq(got->flags, trace.flags);
        cr_assert(got->has_parent);
        cr_assert(got->random);
        cr_assert_str_eq(dctx_tracestate_get(), "a=1");
        cr_assert_str_eq(dctx_client_get(), "web");
        cr_assert_eq(dctx_retry_get(), 7);
        cr_assert(dctx_backup_get());
        cr_assert_gt(dctx_deadline_left(), INT64_C(3500000000000));
    }
    dctx_snapshot_unref(&sent);
    dctx_snapshot_unref(&received);
}

/* ---- trace ---- */

Test(contexts, a_trace_begins_as_a_root_and_goes_on_as_children, .init = set_up)
{
    uint64_t next = 0;
    const dctx_id_source_t ids = {count_up, &next};
    OK(dctx_trace_begin(&ids));
    const dctx_trace_t root = *dctx_trace_get();
    cr_assert_eq(root.trace_high, 1);
    cr_assert_eq(root.trace_low, 2);
    cr_assert_eq(root.span, 3);
    cr_assert(!root.has_parent);
    cr_assert(root.random);
    cr_assert_eq(dctx_trace_sampled(&root), DCTX_SAMPLED_UNKNOWN);
    DCTX_WITH_SCOPE("call") {
        OK(dctx_trace_begin(&ids));
        const dctx_trace_t *child = dctx_trace_get();
        cr_assert_eq(child->trace_high, 1);
        cr_assert_eq(child->trace_low, 2);
        cr_assert_eq(child->span, 4);
        cr_assert(child->has_parent);
        cr_assert_eq(child->parent, 3);
    }
    cr_assert_eq(dctx_trace_get()->span, 3);
}

Test(contexts, ids_are_never_zero_and_no_source_hangs, .init = set_up)
{
    const dctx_id_source_t ids = {zero, NULL};
    dctx_trace_t root, child;
    dctx_trace_root(&ids, &root);
    cr_assert(dctx_trace_is_valid(&root));
    dctx_trace_child(&root, &ids, &child);
    cr_assert(dctx_trace_is_valid(&child));
    dctx_trace_root(NULL, &root);
    dctx_trace_root(NULL, &child);
    cr_assert_neq(root.trace_low, child.trace_low);
    cr_assert(!dctx_trace_is_valid(NULL));
    cr_assert_eq(dctx_trace_sampled(NULL), DCTX_SAMPLED_UNKNOWN);
}

Test(contexts, another_trace_drops_the_state_of_the_old, .init = set_up)
{
    OK(dctx_trace_begin(NULL));
    OK(dctx_tracestate_set("a=1"));
    OK(dctx_trace_begin(NULL));
    cr_assert_str_eq(dctx_tracestate_get(), "a=1");
    DCTX_WITH_SCOPE("other") {
        dctx_trace_t root;
        dctx_trace_root(NULL, &root);
        OK(dctx_trace_set(&root));
        cr_assert_null(dctx_tracestate_get());
    }
    cr_assert_str_eq(dctx_tracestate_get(), "a=1");
    OK(dctx_trace_unset());
    cr_assert_null(dctx_tracestate_get());
    cr_assert_null(dctx_trace_get());
    OK(dctx_trace_unset());
    FAILS(dctx_trace_set(NULL), DCTX_ERR_INVALID);
}

Test(contexts, a_malformed_trace_is_absent, .init = set_up)
{
    static const uint8_t good[] = {0x95, 0xc4, 16, 0, 0, 0, 0, 0,    0,    0,   0,
                                   0,    0,    0,  0, 0, 0, 0, 1,    0xc4, 8,   0,
                                   0,    0,    0,  0, 0, 0, 2, 0xc0, 0x06, 0xc2};
    const dctx_type_t *type = dctx_key_type(dctx_registry_find(NULL, DCTX_NAME_TRACE));
    dctx_trace_t trace;
    OK(type->decode(&trace, good, sizeof(good)));
    cr_assert_eq(trace.trace_low, 1);
    cr_assert_eq(trace.span, 2);
    for (size_t size = 0; size < sizeof(good); size++)
        cr_assert_neq(type->decode(&trace, good, size), DCTX_OK, "%zu", size);
    static const struct {
        size_t at;
        uint8_t byte;
    } bad[] = {{0, 0x94}, {2, 15}, {20, 7}, {1, 0xd9}, {30, 0xff}, {31, 0x01}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        uint8_t bytes[sizeof(good)];
        memcpy(bytes, good, sizeof(good));
        bytes[bad[i].at] = bad[i].byte;
        cr_assert_neq(type->decode(&trace, bytes, sizeof(bytes)), DCTX_OK, "%zu", i);
    }
}
