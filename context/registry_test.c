#include "fixture.h"

#include <pthread.h>

static dctx_error_t nothing(const void *data, size_t size, dctx_writer_t *writer)
{
    dctx_writer_put(writer, data, size);
    return DCTX_OK;
}

static dctx_registry_t *fresh(void)
{
    dctx_registry_t *registry = NULL;
    OK(dctx_registry_new(&registry));
    return registry;
}

Test(registry, the_same_registration_twice_is_one_key)
{
    dctx_registry_t *registry = fresh();
    const dctx_key_t *first = add_to(registry, "a", DCTX_TYPE_STRING, 0);
    const dctx_key_t *second = add_to(registry, "a", DCTX_TYPE_STRING, 0);
    const dctx_key_t *third = add_to(registry, "A", DCTX_TYPE_STRING, 0);
    cr_assert_eq(first, second);
    cr_assert_eq(first, third);
    cr_assert_eq(dctx_registry_keys(registry, NULL, 0), 1);
    dctx_registry_destroy(&registry);
    cr_assert_null(registry);
    dctx_registry_destroy(&registry);
    dctx_registry_destroy(NULL);
}

Test(registry, another_registration_of_the_name_conflicts)
{
    static const dctx_codec_t codec = {note_encode, note_decode};
    dctx_registry_t *registry = fresh();
    dctx_key_options_t options = {.name = "a", .type = &note_type};
    OK(dctx_registry_add(registry, &options, NULL));
    dctx_key_options_t others[5] = {options, options, options, options, options};
    others[0].type = DCTX_TYPE_INT64;
    others[1].flags = DCTX_LOCAL;
    others[2].version = 2;
    others[3].codec = &codec;
    others[4].reach = DCTX_REACH_ANY;
    for (int i = 0; i < 5; i++)
        FAILS_SAYING(dctx_registry_add(registry, &others[i], NULL), DCTX_ERR_CONFLICT, "'a'");
    options.version = 1; /* what 0 stands for */
    OK(dctx_registry_add(registry, &options, NULL));
    dctx_registry_destroy(&registry);
}

Test(registry, options_are_checked)
{
    static const dctx_type_t mute = {.name = "mute", .size = 1};
    static const dctx_type_t huge = {.name = "huge", .size = DCTX_TYPE_SIZE_MAX + 1};
    static const dctx_codec_t half = {note_encode, NULL};
    static const dctx_codec_t codec = {note_encode, note_decode};
    char long_name[130];
    memset(long_name, 'x', sizeof(long_name));
    long_name[129] = '\0';
    const dctx_key_options_t invalid[] = {
        {.name = NULL, .type = DCTX_TYPE_BOOL},
        {.name = "", .type = DCTX_TYPE_BOOL},
        {.name = "a\n", .type = DCTX_TYPE_BOOL},
        {.name = "a\x7f", .type = DCTX_TYPE_BOOL},
        {.name = "a", .type = NULL},
        {.name = "a", .type = &mute},
        {.name = "a", .type = &huge, .flags = DCTX_LOCAL},
        {.name = "a", .type = DCTX_TYPE_BOOL, .flags = 64},
        {.name = "a", .type = DCTX_TYPE_BOOL, .reach = (dctx_reach_t)9},
        {.name = "a", .type = &note_type, .codec = &half},
        {.name = "a", .type = DCTX_TYPE_STRING, .codec = &codec},
        {.name = "a", .type = DCTX_TYPE_BOOL, .migration_count = 1},
        {.name = "a", .type = DCTX_TYPE_BOOL, .metadata_count = 1},
    };
    dctx_registry_t *registry = fresh();
    for (size_t i = 0; i < sizeof(invalid) / sizeof(*invalid); i++)
        cr_expect_eq(dctx_registry_add(registry, &invalid[i], NULL), DCTX_ERR_INVALID, "row %zu",
                     i);
    FAILS(dctx_registry_add(registry, NULL, NULL), DCTX_ERR_INVALID);
    const dctx_key_options_t too_long = {.name = long_name, .type = DCTX_TYPE_BOOL};
    FAILS_SAYING(dctx_registry_add(registry, &too_long, NULL), DCTX_ERR_LIMIT, "129");
    cr_assert_eq(dctx_registry_keys(registry, NULL, 0), 0);
    /* What is refused for a broadcast key is fine for a local one. */
    (void)add_to(registry, "a", &mute, DCTX_LOCAL);
    const dctx_key_options_t stays = {.name = "b", .type = &mute, .reach = DCTX_REACH_LOCAL};
    OK(dctx_registry_add(registry, &stays, NULL));
    cr_assert(dctx_key_is_local(dctx_registry_find(registry, "b")));
    dctx_registry_destroy(&registry);
}

Test(registry, migrations_go_up_and_end_at_the_version)
{
    const dctx_migration_t good[] = {{1, 2, nothing}, {2, 4, nothing}, {1, 4, nothing}};
    const dctx_migration_t down[] = {{2, 1, nothing}};
    const dctx_migration_t past[] = {{1, 5, nothing}};
    const dctx_migration_t short_of[] = {{1, 2, nothing}};
    const dctx_migration_t empty[] = {{1, 4, NULL}};
    const dctx_migration_t *bad[] = {down, past, short_of, empty};
    dctx_registry_t *registry = fresh();
    dctx_key_options_t options = {.name = "a", .type = &note_type, .version = 4};
    for (int i = 0; i < 4; i++) {
        options.migrations = bad[i];
        options.migration_count = 1;
        FAILS(dctx_registry_add(registry, &options, NULL), DCTX_ERR_INVALID);
    }
    options.migrations = good;
    options.migration_count = 3;
    OK(dctx_registry_add(registry, &options, NULL));
    dctx_registry_destroy(&registry);
}

Test(registry, frozen_once_and_for_all)
{
    dctx_registry_t *registry = fresh();
    (void)add_to(registry, "a", DCTX_TYPE_STRING, 0);
    cr_assert(!dctx_registry_is_frozen(registry));
    OK(dctx_registry_freeze(registry));
    cr_assert(dctx_registry_is_frozen(registry));
    FAILS_SAYING(dctx_registry_freeze(registry), DCTX_ERR_FROZEN, "frozen already");
    const dctx_key_options_t options = {.name = "b", .type = DCTX_TYPE_STRING};
    FAILS(dctx_registry_add(registry, &options, NULL), DCTX_ERR_FROZEN);
    const dctx_limits_t limits = {.entries = 5};
    FAILS(dctx_registry_set_limits(registry, &limits), DCTX_ERR_FROZEN);
    dctx_registry_destroy(&registry);
}

Test(registry, an_empty_one_can_be_frozen)
{
    dctx_registry_t *registry = fresh();
    OK(dctx_registry_freeze(registry));
    cr_assert_null(dctx_registry_find(registry, "a"));
    cr_assert_eq(dctx_registry_keys(registry, NULL, 0), 0);
    dctx_registry_destroy(&registry);
}

Test(registry, keys_are_found_by_name_without_case_and_listed_in_order)
{
    enum { COUNT = 500 };
    dctx_registry_t *registry = fresh();
    for (int i = 0; i < COUNT; i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "%s-%03d", i % 2 ? "Key" : "kEY", (i * 77) % COUNT);
        (void)add_to(registry, name, DCTX_TYPE_INT64, i % 3 == 0 ? DCTX_LOCAL : DCTX_BROADCAST);
    }
    for (int frozen = 0; frozen < 2; frozen++) {
        const dctx_key_t *keys[COUNT];
        cr_assert_eq(dctx_registry_keys(registry, keys, COUNT), COUNT);
        for (int i = 0; i < COUNT; i++) {
            char name[32];
            (void)snprintf(name, sizeof(name), "KEY-%03d", i);
            cr_assert_eq(dctx_registry_find(registry, name), keys[i], "%s", name);
        }
        cr_assert_eq(dctx_registry_keys(registry, keys, 3), COUNT, "tells all, writes three");
        if (!frozen)
            OK(dctx_registry_freeze(registry));
    }
    cr_assert_null(dctx_registry_find(registry, "key-500"));
    cr_assert_null(dctx_registry_find(registry, ""));
    cr_assert_null(dctx_registry_find(registry, NULL));
    dctx_registry_destroy(&registry);
}

Test(registry, a_key_says_what_it_is)
{
    static const int tag_a, tag_b, datum;
    const dctx_metadata_t metadata[] = {{&tag_a, &datum}, {&tag_b, NULL}};
    dctx_registry_t *registry = fresh();
    const dctx_key_options_t options = {.name = "Order-Id",
                                        .type = &note_type,
                                        .flags = DCTX_CACHED,
                                        .version = 7,
                                        .metadata = metadata,
                                        .metadata_count = 2,
                                        .reach = DCTX_REACH_HOST};
    const dctx_key_t *key = NULL;
    OK(dctx_registry_add(registry, &options, &key));
    const dctx_key_t *local = add_to(registry, "z", &note_type, DCTX_LOCAL);
    OK(dctx_registry_freeze(registry));
    cr_assert_str_eq(dctx_key_name(key), "Order-Id");
    cr_assert_eq(dctx_key_type(key), &note_type);
    cr_assert(!dctx_key_is_local(key));
    cr_assert_eq(dctx_key_version(key), 7);
    cr_assert_eq(dctx_key_reach(key), DCTX_REACH_HOST);
    cr_assert_eq(dctx_key_metadata(key, &tag_a), &datum);
    cr_assert_null(dctx_key_metadata(key, &tag_b));
    cr_assert_null(dctx_key_metadata(local, &tag_a));
    cr_assert_eq(dctx_key_version(local), 1);
    cr_assert(dctx_key_is_local(local));
    cr_assert_eq(dctx_key_reach(local), DCTX_REACH_LOCAL);

    const dctx_key_t *with[2] = {NULL, NULL};
    cr_assert_eq(dctx_registry_keys_with(registry, &tag_b, with, 2), 1);
    cr_assert_eq(with[0], key);
    cr_assert_eq(dctx_registry_keys_with(registry, &datum, NULL, 0), 0);
    dctx_registry_destroy(&registry);
}

Test(registry, limits_have_defaults_and_ranges)
{
    dctx_registry_t *registry = fresh();
    dctx_limits_t limits;
    dctx_registry_limits(registry, &limits);
    cr_assert_eq(limits.stamp_bytes, 8192);
    cr_assert_eq(limits.entries, 64);
    cr_assert_eq(limits.key_bytes, 128);
    cr_assert_eq(limits.value_bytes, 4096);
    cr_assert_eq(limits.chain_names, 32);
    cr_assert_eq(limits.name_bytes, 64);
    cr_assert_eq(limits.scope_depth, 1024);

    const dctx_limits_t bad[] = {{.key_bytes = 129},        {.chain_names = 4},
                                 {.chain_names = 256},      {.name_bytes = 65},
                                 {.stamp_bytes = SIZE_MAX}, {.scope_depth = SIZE_MAX},
                                 {.entries = SIZE_MAX},     {.value_bytes = SIZE_MAX}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_expect_eq(dctx_registry_set_limits(registry, &bad[i]), DCTX_ERR_INVALID, "row %zu", i);
    FAILS(dctx_registry_set_limits(registry, NULL), DCTX_ERR_INVALID);

    const dctx_limits_t some = {.stamp_bytes = 100, .scope_depth = 3};
    OK(dctx_registry_set_limits(registry, &some));
    dctx_registry_limits(registry, &limits);
    cr_assert_eq(limits.stamp_bytes, 100);
    cr_assert_eq(limits.scope_depth, 3);
    cr_assert_eq(limits.entries, 64);

    (void)add_to(registry, "eleven-long", DCTX_TYPE_BOOL, 0);
    const dctx_limits_t shorter = {.key_bytes = 10};
    FAILS_SAYING(dctx_registry_set_limits(registry, &shorter), DCTX_ERR_INVALID, "eleven-long");
    dctx_registry_destroy(&registry);
}

Test(registry, the_process_wide_one_is_one)
{
    dctx_registry_t *global = dctx_registry_global();
    cr_assert_not_null(global);
    cr_assert_eq(global, dctx_registry_global());
    const dctx_key_t *key = add_to(NULL, "a", DCTX_TYPE_BOOL, 0);
    cr_assert_eq(dctx_registry_find(global, "a"), key);
    cr_assert_eq(dctx_registry_find(NULL, "a"), key);
    cr_assert(!dctx_registry_is_frozen(NULL));
    OK(dctx_registry_freeze(NULL));
    cr_assert(dctx_registry_is_frozen(global));
    dctx_registry_destroy(&global);
    cr_assert_not_null(dctx_registry_find(NULL, "a"), "it is never freed");
}

static void *race_for_global(void *arg)
{
    (void)arg;
    return dctx_registry_global();
}

Test(registry, threads_that_race_for_the_first_use_find_the_same)
{
    pthread_t threads[4];
    void *found[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, race_for_global, NULL), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_join(threads[i], &found[i]), 0);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(found[i], (void *)dctx_registry_global());
}

Test(registry, out_of_memory_changes_nothing)
{
    dctx_registry_t *registry = fresh();
    (void)add_to(registry, "a", DCTX_TYPE_BOOL, 0);
    count_allocations();
    fail_at = 1;
    const dctx_key_options_t options = {.name = "b", .type = DCTX_TYPE_BOOL};
    FAILS(dctx_registry_add(registry, &options, NULL), DCTX_ERR_NOMEM);
    cr_assert_null(dctx_registry_find(registry, "b"));
    FAILS(dctx_registry_freeze(registry), DCTX_ERR_NOMEM);
    cr_assert(!dctx_registry_is_frozen(registry));
    dctx_registry_t *other = NULL;
    FAILS(dctx_registry_new(&other), DCTX_ERR_NOMEM);
    cr_assert_null(dctx_registry_global());
    fail_at = 0;
    OK(dctx_registry_add(registry, &options, NULL));
    OK(dctx_registry_freeze(registry));
    cr_assert_not_null(dctx_registry_global());
    dctx_registry_destroy(&registry);
}

Test(registry, it_holds_65535_keys)
{
    dctx_registry_t *registry = fresh();
    char name[16];
    for (int i = 0; i < 65535; i++) {
        (void)snprintf(name, sizeof(name), "k%d", i);
        const dctx_key_options_t options = {.name = name, .type = DCTX_TYPE_BOOL};
        if (dctx_registry_add(registry, &options, NULL) != DCTX_OK)
            cr_assert_fail("key %d: %s", i, dctx_error_detail());
    }
    const dctx_key_options_t one_more = {.name = "k65535", .type = DCTX_TYPE_BOOL};
    FAILS_SAYING(dctx_registry_add(registry, &one_more, NULL), DCTX_ERR_LIMIT, "65535");
    OK(dctx_registry_freeze(registry));
    /* The last index is usable: by a snapshot with no table, and by one with. */
    const dctx_key_t *keys[2];
    cr_assert_eq(dctx_registry_keys(registry, keys, 2), 65535);
    const dctx_key_t *last = dctx_registry_find(registry, "k9999");
    dctx_snapshot_t *empty = NULL;
    OK(dctx_snapshot_empty(registry, &empty));
    dctx_scope_t scope = attach(empty);
    bool yes = true;
    cr_assert(!dctx_contains(last));
    OK(dctx_set(last, &yes));
    cr_assert(dctx_contains(last));
    OK(dctx_scope_pop(&scope));
    dctx_snapshot_unref(&empty);
    dctx_registry_destroy(&registry);
}

Test(registry, it_lives_as_long_as_its_snapshots)
{
    dctx_registry_t *registry = fresh();
    const dctx_key_t *key = add_to(registry, "a", &note_type, 0);
    OK(dctx_registry_freeze(registry));
    dctx_snapshot_t *empty = NULL;
    OK(dctx_snapshot_empty(registry, &empty));
    dctx_registry_destroy(&registry);
    dctx_scope_t scope = attach(empty);
    dctx_snapshot_unref(&empty);
    OK(set_note(key, "still here"));
    dctx_snapshot_t *full = capture();
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(dctx_snapshot_count(full), 1);
    cr_assert_str_eq(dctx_key_name(dctx_registry_find(dctx_snapshot_registry(full), "A")), "a");
    dctx_snapshot_unref(&full);
    cr_assert_eq(notes_alive, 0);
}
