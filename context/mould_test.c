#include "mould.h"

#include <pthread.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include "thread.h"

/* Two keys and a name are known here; "other" passes through. */
static const uint8_t stamp[] = "\x93\x01\x91\xa4"
                               "root"
                               "\x93"
                               "\x93\xa5"
                               "count\x01\xc4\x01\x07"
                               "\x93\xa5"
                               "other\x05\xc4\x02\xaa\xbb"
                               "\x93\xa4"
                               "user\x01\xc4\x04\xa3"
                               "ann";
enum { SIZE = sizeof(stamp) - 1, USER_AT = SIZE - 3, COUNT_AT = 19 };

static const dctx_key_t *user, *count;

static void init(void)
{
    const dctx_key_options_t keys[] = {{.name = "user", .type = DCTX_TYPE_STRING},
                                       {.name = "count", .type = DCTX_TYPE_INT64}};
    cr_assert_eq(dctx_registry_add(NULL, &keys[0], &user), DCTX_OK);
    cr_assert_eq(dctx_registry_add(NULL, &keys[1], &count), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    cr_assert_not_null(dctx_thread_());
}

static dctx_snapshot_t *decoded(const uint8_t *bytes, size_t size)
{
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(dctx_snapshot_decode(NULL, bytes, size, &snapshot), DCTX_OK, "%s",
                 dctx_error_detail());
    return snapshot;
}

static void learn(void)
{
    for (int i = 0; i < 2; i++) {
        dctx_snapshot_t *snapshot = decoded(stamp, SIZE);
        dctx_snapshot_unref(&snapshot);
    }
    dctx_mould_t *mould = dctx_mould_place_(dctx_thread_()->moulds, SIZE);
    cr_assert(dctx_mould_fits_(mould, dctx_registry_global(), stamp, SIZE));
}

Test(mould, a_stamp_of_a_known_shape_is_read_as_any_other, .init = init)
{
    learn();
    uint8_t bytes[SIZE];
    dctx_bytes_t again;
    memcpy(bytes, stamp, SIZE);
    memcpy(bytes + USER_AT, "bob", 3);
    bytes[COUNT_AT] = 42;
    cr_assert(dctx_mould_fits_(dctx_mould_place_(dctx_thread_()->moulds, SIZE),
                               dctx_registry_global(), bytes, SIZE));
    dctx_snapshot_t *snapshot = decoded(bytes, SIZE);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, user), "bob");
    cr_assert_eq(*(const int64_t *)dctx_snapshot_get(snapshot, count), 42);
    cr_assert_eq(dctx_snapshot_unknown_count(snapshot), 1);
    cr_assert_eq(dctx_snapshot_unknown_name(snapshot, 0).size, 5);
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    cr_assert_eq(dctx_snapshot_encode(snapshot, &again), DCTX_OK);
    cr_assert_eq(again.size, SIZE);
    cr_assert_arr_eq(again.data, bytes, SIZE);
    dctx_snapshot_unref(&snapshot);
}

typedef struct outcome {
    dctx_error_t error;
    size_t known, unknown;
    size_t size;
    uint8_t bytes[SIZE + 8];
} outcome_t;

static outcome_t outcome_of(const uint8_t *bytes, size_t size)
{
    outcome_t outcome = {.size = 0};
    dctx_snapshot_t *snapshot = NULL;
    dctx_bytes_t again;
    outcome.error = dctx_snapshot_decode(NULL, bytes, size, &snapshot);
    if (outcome.error != DCTX_OK)
        return outcome;
    outcome.known = dctx_snapshot_count(snapshot);
    outcome.unknown = dctx_snapshot_unknown_count(snapshot);
    cr_assert_eq(dctx_snapshot_encode(snapshot, &again), DCTX_OK);
    cr_assert_leq(again.size, sizeof(outcome.bytes));
    outcome.size = again.size;
    memcpy(outcome.bytes, again.data, again.size);
    dctx_snapshot_unref(&snapshot);
    return outcome;
}

/* With each byte of it changed in several ways, a stamp comes out the same whether a mould is there
 * that it nearly fits, or none. */
Test(mould, what_is_wrong_in_a_stamp_is_found_as_without, .init = init)
{
    static const uint8_t flips[] = {0x01, 0x10, 0x1f, 0x60, 0x80, 0xff};
    dctx_thread_t *thread = dctx_thread_();
    for (size_t at = 0; at < SIZE; at++)
        for (size_t i = 0; i < sizeof(flips); i++) {
            uint8_t bytes[SIZE];
            memcpy(bytes, stamp, SIZE);
            bytes[at] ^= flips[i];
            dctx_moulds_free_(thread->moulds);
            thread->moulds = NULL;
            outcome_t expected = outcome_of(bytes, SIZE);
            learn();
            outcome_t actual = outcome_of(bytes, SIZE);
            cr_assert_eq(actual.error, expected.error, "byte %zu ^ %#x", at, flips[i]);
            cr_assert_eq(actual.known, expected.known);
            cr_assert_eq(actual.unknown, expected.unknown);
            cr_assert_eq(actual.size, expected.size);
            cr_assert_arr_eq(actual.bytes, expected.bytes, expected.size);
        }
    for (size_t size = 0; size < SIZE; size++)
        cr_assert_neq(outcome_of(stamp, size).error, DCTX_OK);
}

Test(mould, a_mould_is_of_one_registry, .init = init)
{
    learn();
    dctx_registry_t *registry = NULL;
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
    cr_assert_eq(dctx_snapshot_decode(registry, stamp, SIZE, &snapshot), DCTX_OK);
    cr_assert_eq(dctx_snapshot_count(snapshot), 0);
    cr_assert_eq(dctx_snapshot_unknown_count(snapshot), 3);
    dctx_snapshot_unref(&snapshot);
    dctx_registry_destroy(&registry);
}

Test(mould, shapes_that_take_turns_are_learnt_and_forgotten, .init = init)
{
    uint8_t bytes[SIZE];
    memcpy(bytes, stamp, SIZE);
    memcpy(bytes + 4, "leaf", 4);
    for (int i = 0; i < 20; i++) {
        dctx_snapshot_t *snapshot = decoded(i / 5 % 2 == 0 ? stamp : bytes, SIZE);
        cr_assert_eq(
            memcmp(dctx_snapshot_chain_name(snapshot, 0).data, i / 5 % 2 == 0 ? "root" : "leaf", 4),
            0);
        cr_assert_str_eq(dctx_snapshot_get(snapshot, user), "ann");
        dctx_snapshot_unref(&snapshot);
    }
}

static dctx_stamp_t *spare(void)
{
    return dctx_mould_place_(dctx_thread_()->moulds, SIZE)->spare;
}

static dctx_snapshot_t *decoded_as(const char *name, uint8_t number)
{
    uint8_t bytes[SIZE];
    memcpy(bytes, stamp, SIZE);
    memcpy(bytes + USER_AT, name, 3);
    bytes[COUNT_AT] = number;
    return decoded(bytes, SIZE);
}

static void check_and_drop(dctx_snapshot_t **snapshot_p, const char *name, int64_t number)
{
    const char *text = dctx_snapshot_get(*snapshot_p, user);
    if (name != NULL)
        cr_assert_str_eq(text, name);
    else
        cr_assert_null(text);
    cr_assert_eq(*(const int64_t *)dctx_snapshot_get(*snapshot_p, count), number);
    cr_assert_eq(dctx_snapshot_unknown_count(*snapshot_p), 1);
    cr_assert_eq(dctx_snapshot_chain_length(*snapshot_p), 1);
    dctx_snapshot_unref(snapshot_p);
}

/* What was read, or found bad, of the one before shows in none after it. */
Test(mould, a_stamp_that_died_is_cast_again, .init = init)
{
    learn();
    cr_assert_null(spare());
    dctx_snapshot_t *first = decoded_as("bob", 1), *second = decoded_as("eve", 2);
    check_and_drop(&first, "bob", 1);
    const dctx_stamp_t *again = spare();
    cr_assert_not_null(again);
    first = decoded_as("a\0b", 3);
    cr_assert_null(spare());
    check_and_drop(&first, NULL, 3);
    cr_assert_eq(spare(), again);
    first = decoded_as("ann", 4);
    check_and_drop(&second, "eve", 2);
    cr_assert_neq(spare(), again);
    again = spare();
    check_and_drop(&first, "ann", 4);
    cr_assert_eq(spare(), again, "there is one at most");
    /* The wire form that was made of it is gone as well. */
    for (uint8_t i = 0; i < 2; i++) {
        dctx_bytes_t bytes;
        first = decoded_as("kim", i);
        cr_assert_eq(dctx_snapshot_encode(first, &bytes), DCTX_OK);
        cr_assert_eq(((const uint8_t *)bytes.data)[COUNT_AT], i);
        check_and_drop(&first, "kim", i);
    }
}

/* Somebody else may have its values, what passes through, or its chain. */
Test(mould, a_stamp_comes_back_when_nobody_has_any_of_it, .init = init)
{
    learn();
    dctx_snapshot_t *first = decoded_as("bob", 1), *forked = NULL;
    dctx_scope_t scope;
    cr_assert_eq(dctx_attach(first, &scope), DCTX_OK);
    cr_assert_eq(dctx_set(count, &(int64_t){7}), DCTX_OK);
    cr_assert_eq(dctx_fork(&forked), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    dctx_snapshot_unref(&first);
    cr_assert_null(spare());
    first = decoded_as("eve", 2);
    check_and_drop(&first, "eve", 2);
    cr_assert_not_null(spare());
    check_and_drop(&forked, "bob", 7);
}

static void *drop(void *arg)
{
    dctx_snapshot_t *snapshot = arg;
    cr_assert_not_null(dctx_thread_());
    dctx_snapshot_unref(&snapshot);
    return NULL;
}

Test(mould, a_stamp_comes_back_on_its_own_thread_only, .init = init)
{
    pthread_t thread;
    learn();
    cr_assert_eq(pthread_create(&thread, NULL, drop, decoded_as("bob", 1)), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_null(spare());
    /* One of a shape that was learnt no more is not taken either. */
    dctx_snapshot_t *old = decoded_as("eve", 2);
    uint8_t bytes[SIZE];
    memcpy(bytes, stamp, SIZE);
    memcpy(bytes + 4, "leaf", 4);
    for (int i = 0; i < 3; i++) {
        dctx_snapshot_t *other = decoded(bytes, SIZE);
        dctx_snapshot_unref(&other);
    }
    cr_assert_not_null(spare());
    cr_assert_eq(spare()->shape, dctx_mould_place_(dctx_thread_()->moulds, SIZE)->shape);
    const dctx_stamp_t *one = spare();
    check_and_drop(&old, "eve", 2);
    cr_assert_eq(spare(), one);
}
