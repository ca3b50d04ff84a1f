#include "fixture.h"

#include <pthread.h>

DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)
DCTX_KEY_BYTES(blob, "blob", DCTX_BROADCAST)
DCTX_KEY_BOOL(flag, "flag", DCTX_LOCAL)
DCTX_KEY_INT64(budget, "budget", DCTX_LOCAL)
DCTX_KEY_UINT64(size, "size", DCTX_BROADCAST)
DCTX_KEY_DOUBLE(rate, "rate", DCTX_BROADCAST)
DCTX_KEY_STRUCT(letter, "letter", note_t, &note_type, DCTX_BROADCAST)

/* As a header and one file would have them. */
DCTX_DECLARE_KEY_STRING(shared)
DCTX_DECLARE_KEY_STRUCT(versioned, note_t)
DCTX_DEFINE_KEY(shared, "shared", DCTX_TYPE_STRING, DCTX_BROADCAST);
DCTX_DEFINE_KEY_OPTIONS(versioned, {.name = "versioned", .type = &note_type, .version = 3});

static void set_up_typed(void)
{
    OK(DCTX_REGISTER_KEYS(NULL, &request_id, &blob, &flag, &budget, &size, &rate, &letter));
    OK(shared_register(NULL));
    OK(versioned_register(NULL));
    OK(dctx_registry_freeze(NULL));
}

static dctx_error_t add_one(int64_t *value, bool present, void *arg)
{
    *(bool *)arg = present;
    *value += 1;
    return DCTX_OK;
}

static dctx_error_t shout(note_t *value, bool present, void *arg)
{
    (void)arg;
    cr_assert(present);
    value->text[0] = 'X';
    return DCTX_OK;
}

Test(key, each_type_has_functions_of_its_own, .init = set_up_typed)
{
    cr_assert_null(request_id_get());
    cr_assert_str_eq(request_id_get_or("none"), "none");
    cr_assert(!request_id_contains());
    OK(request_id_set("r-1"));
    cr_assert_str_eq(request_id_get(), "r-1");
    cr_assert_str_eq(request_id_get_or("none"), "r-1");
    cr_assert(request_id_contains());
    OK(request_id_unset());
    cr_assert(!request_id_contains());

    OK(blob_set("ab", 2));
    cr_assert_eq(blob_get()->size, 2);
    cr_assert_eq(blob_get_or((dctx_bytes_t){NULL, 0}).size, 2);
    OK(flag_set(true));
    cr_assert(*flag_get());
    cr_assert(flag_get_or(false));
    OK(size_set(UINT64_MAX));
    cr_assert_eq(*size_get(), UINT64_MAX);
    OK(rate_set(0.25));
    cr_assert_eq(rate_get_or(1), 0.25);

    bool present = true;
    cr_assert_eq(budget_get_or(-1), -1);
    OK(budget_update(add_one, &present));
    cr_assert(!present);
    OK(budget_update(add_one, &present));
    cr_assert(present);
    cr_assert_eq(*budget_get(), 2);

    char text[] = "hello";
    const note_t value = {text};
    OK(letter_set(&value));
    OK(letter_update(shout, NULL));
    cr_assert_str_eq(letter_get()->text, "Xello");
    note_t taken = {strdup("taken")};
    notes_alive++;
    OK(letter_take(&taken));
    cr_assert_null(taken.text);
    cr_assert_str_eq(letter_get()->text, "taken");
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
}

Test(key, options_reach_the_registry, .init = set_up_typed)
{
    cr_assert_eq(dctx_key_version(versioned_key()), 3);
    cr_assert(dctx_key_is_local(budget_key()));
    cr_assert(!dctx_key_is_local(size_key()));
    cr_assert_eq(dctx_registry_find(NULL, "SHARED"), shared_key());
    OK(shared_set("s"));
    cr_assert_str_eq(dctx_get(shared_key()), "s");
    cr_assert_eq(dctx_typed_key_find(&shared), shared_key());
}

Test(key, before_the_freeze_there_is_no_key)
{
    OK(request_id_register(NULL));
    cr_assert_null(request_id_key());
    cr_assert_null(request_id_get());
    FAILS(request_id_set("x"), DCTX_ERR_NOT_FROZEN);
    OK(dctx_registry_freeze(NULL));
    OK(request_id_set("x"));
    cr_assert_str_eq(request_id_get(), "x");
    FAILS(request_id_register(NULL), DCTX_ERR_FROZEN);
    FAILS_SAYING(budget_set(1), DCTX_ERR_UNKNOWN_KEY, "budget");
    FAILS(budget_unset(), DCTX_ERR_UNKNOWN_KEY);
    FAILS(budget_update(add_one, NULL), DCTX_ERR_UNKNOWN_KEY);
    FAILS(letter_take(NULL), DCTX_ERR_UNKNOWN_KEY);
    FAILS(dctx_typed_key_set(NULL, "x"), DCTX_ERR_UNKNOWN_KEY);
    cr_assert_null(dctx_typed_key_get(NULL));
    cr_assert_null(dctx_typed_key_find(NULL));
}

Test(key, the_name_with_another_type_is_another_key)
{
    (void)add_to(NULL, "budget", DCTX_TYPE_STRING, 0);
    FAILS(budget_register(NULL), DCTX_ERR_CONFLICT);
    OK(dctx_registry_freeze(NULL));
    OK(dctx_set(dctx_registry_find(NULL, "budget"), "text"));
    cr_assert_null(budget_get());
    FAILS(budget_set(1), DCTX_ERR_TYPE);
}

Test(key, many_are_registered_together_or_not_at_all)
{
    (void)add_to(NULL, "first", DCTX_TYPE_STRING, 0);
    (void)add_to(NULL, "rate", DCTX_TYPE_STRING, 0);
    (void)add_to(NULL, "size", DCTX_TYPE_UINT64, 0);
    FAILS(DCTX_REGISTER_KEYS(NULL, &request_id, &size, &blob, &rate, &flag), DCTX_ERR_CONFLICT);
    cr_assert_eq(dctx_registry_keys(NULL, NULL, 0), 3);
    cr_assert_null(dctx_registry_find(NULL, "request-id"));
    cr_assert_null(dctx_registry_find(NULL, "blob"));
    cr_assert_not_null(dctx_registry_find(NULL, "size"), "it was there before");
    FAILS(DCTX_REGISTER_KEYS(NULL, &request_id, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_registry_keys(NULL, NULL, 0), 3);
    FAILS(dctx_typed_keys_register(NULL, NULL, 1), DCTX_ERR_INVALID);
    OK(dctx_typed_keys_register(NULL, NULL, 0));
    OK(DCTX_REGISTER_KEYS(NULL, &request_id, &size, &blob, &flag));
    cr_assert_eq(dctx_registry_keys(NULL, NULL, 0), 6);
    OK(dctx_registry_freeze(NULL));
    OK(size_set(1));
    FAILS(DCTX_REGISTER_KEYS(NULL, &request_id), DCTX_ERR_FROZEN);
}

static dctx_snapshot_t *empty_of(dctx_registry_t *registry)
{
    dctx_snapshot_t *snapshot = NULL;
    OK(dctx_snapshot_empty(registry, &snapshot));
    return snapshot;
}

Test(key, it_means_the_key_of_that_name_in_the_current_registry, .init = set_up_typed)
{
    OK(request_id_set("global"));
    OK(budget_set(1));
    for (int round = 0; round < 3; round++) {
        dctx_registry_t *other = NULL;
        OK(dctx_registry_new(&other));
        (void)add_to(other, "a", DCTX_TYPE_BOOL, DCTX_LOCAL);
        OK(budget_register(other));
        OK(dctx_registry_freeze(other));
        dctx_snapshot_t *empty = empty_of(other);
        dctx_registry_destroy(&other);
        dctx_scope_t scope = attach(empty);
        dctx_snapshot_unref(&empty);
        cr_assert_null(budget_get());
        OK(budget_set(round));
        cr_assert_eq(*budget_get(), round);
        cr_assert_null(request_id_get());
        FAILS(request_id_set("no"), DCTX_ERR_UNKNOWN_KEY);
        cr_assert_eq(dctx_registry_find(dctx_current_registry(), "budget"), budget_key());
        OK(dctx_scope_pop(&scope));
        /* The other registry is gone, and what was remembered of it does no harm. */
        cr_assert_eq(*budget_get(), 1);
        cr_assert_str_eq(request_id_get(), "global");
    }
}

static void *switch_registries(void *arg)
{
    dctx_snapshot_t *empty = arg;
    for (int64_t i = 0; i < 500; i++) {
        dctx_scope_t scope = attach(empty);
        OK(budget_set(i));
        cr_assert_eq(*budget_get(), i);
        OK(dctx_scope_pop(&scope));
        cr_assert_null(budget_get());
    }
    return NULL;
}

Test(key, threads_may_use_one_in_different_registries_at_once, .init = set_up_typed)
{
    pthread_t threads[3];
    dctx_snapshot_t *empty[3];
    for (int i = 0; i < 3; i++) {
        dctx_registry_t *other = NULL;
        OK(dctx_registry_new(&other));
        OK(budget_register(other));
        OK(dctx_registry_freeze(other));
        empty[i] = empty_of(other);
        dctx_registry_destroy(&other);
        cr_assert_eq(pthread_create(&threads[i], NULL, switch_registries, empty[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        dctx_snapshot_unref(&empty[i]);
    }
}
