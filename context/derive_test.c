/* Snapshots made from snapshots: for a peer who may see less, with what a receiver knows more. */
#include "fixture.h"

#include <dcontext/internal.h>

static bool not_named(const dctx_key_t *key, dctx_bytes_t name, void *arg)
{
    (void)key;
    return !(name.size == strlen(arg) && memcmp(name.data, arg, name.size) == 0);
}

static bool only_known(const dctx_key_t *key, dctx_bytes_t name, void *arg)
{
    (void)name;
    (void)arg;
    return key != NULL;
}

/* Values of two keys, a local one, one entry passing through, a chain of one name. */
static dctx_snapshot_t *full(void)
{
    static const char wire[] = "\x93\x01\x90\x93\x93\xa6tenant\x01\xc4\x05\xa4"
                               "acme\x93\xa4user\x01\xc4\x03\xa2us\x93\xa7unknown\x01\xc4\x01\xc0";
    dctx_snapshot_t *received = decoded(NULL, wire, sizeof(wire) - 1);
    dctx_scope_t attached = attach(received);
    dctx_scope_t named = push("gateway");
    OK(dctx_set(secret, "hush"));
    dctx_snapshot_t *snapshot = forked();
    OK(dctx_scope_pop(&named));
    OK(dctx_scope_pop(&attached));
    dctx_snapshot_unref(&received);
    return snapshot;
}

Test(derive, a_filtered_one_lacks_what_was_refused, .init = set_up)
{
    char word[] = "tenant";
    dctx_snapshot_t *snapshot = full(), *less = NULL;
    OK(dctx_snapshot_filter_(snapshot, not_named, word, true, &less));
    cr_assert_null(dctx_snapshot_get(less, tenant));
    cr_assert_str_eq(dctx_snapshot_get(less, user), "us");
    cr_assert_str_eq(dctx_snapshot_get(less, secret), "hush");
    cr_assert_eq(dctx_snapshot_unknown_count(less), 1);
    cr_assert_eq(dctx_snapshot_chain_length(less), 1);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, tenant), "acme", "the first is as it was");
    dctx_snapshot_unref(&snapshot);
    cr_assert_str_eq(dctx_snapshot_get(less, user), "us", "and may go first");
    dctx_snapshot_unref(&less);
}

Test(derive, entries_passing_through_and_the_chain_go_too, .init = set_up)
{
    dctx_snapshot_t *snapshot = full(), *less = NULL;
    OK(dctx_snapshot_filter_(snapshot, only_known, NULL, false, &less));
    cr_assert_eq(dctx_snapshot_unknown_count(less), 0);
    cr_assert_eq(dctx_snapshot_count(less), 3);
    cr_assert_eq(dctx_snapshot_chain_length(less), 0);
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    dctx_snapshot_unref(&less);
    dctx_snapshot_unref(&snapshot);
}

Test(derive, of_several_passing_through_some_stay, .init = set_up)
{
    static const char wire[] = "\x93\x01\x90\x93\x93\xa1"
                               "a\x01\xc4\x01\xc0\x93\xa1"
                               "b\x01\xc4\x01\xc2\x93\xa1"
                               "c\x01\xc4\x01\xc3";
    static const char rest[] = "\x93\x01\x90\x92\x93\xa1"
                               "a\x01\xc4\x01\xc0\x93\xa1"
                               "c\x01\xc4\x01\xc3";
    char word[] = "b";
    dctx_snapshot_t *snapshot = decoded(NULL, wire, sizeof(wire) - 1), *less = NULL;
    OK(dctx_snapshot_filter_(snapshot, not_named, word, true, &less));
    cr_assert_eq(encoded(less).size, sizeof(rest) - 1);
    cr_assert_arr_eq(encoded(less).data, rest, sizeof(rest) - 1);
    dctx_snapshot_unref(&less);
    dctx_snapshot_unref(&snapshot);
}

Test(derive, when_all_is_kept_it_is_the_same, .init = set_up)
{
    char word[] = "no such";
    dctx_snapshot_t *snapshot = full(), *same = NULL;
    OK(dctx_snapshot_filter_(snapshot, not_named, word, true, &same));
    cr_assert_eq(same, snapshot);
    dctx_snapshot_unref(&same);
    dctx_snapshot_unref(&snapshot);
}

Test(derive, values_can_be_added_and_taken_away, .init = set_up)
{
    dctx_snapshot_t *snapshot = full(), *more = NULL;
    dctx_binding_t bindings[] = {
        {secret, NULL, "other"}, {tenant, NULL, "umbrella"}, {user, NULL, NULL}};
    OK(dctx_snapshot_with_(snapshot, bindings, 3, &more));
    cr_assert_str_eq(dctx_snapshot_get(more, secret), "other");
    cr_assert_str_eq(dctx_snapshot_get(more, tenant), "umbrella");
    cr_assert_null(dctx_snapshot_get(more, user));
    cr_assert_eq(dctx_snapshot_count(more), 2);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, secret), "hush");
    dctx_snapshot_unref(&more);
    bindings[0].key = NULL;
    FAILS(dctx_snapshot_with_(snapshot, bindings, 1, &more), DCTX_ERR_UNKNOWN_KEY);
    cr_assert_null(more);
    dctx_snapshot_unref(&snapshot);
}

Test(derive, a_failed_allocation_leaves_nothing_behind)
{
    char word[] = "tenant";
    count_allocations();
    set_up();
    dctx_snapshot_t *snapshot = full(), *made = NULL;
    dctx_binding_t binding = {secret, NULL, "other"};
    for (size_t nth = 1; made == NULL; nth++) {
        allocations = 0;
        fail_at = nth;
        dctx_error_t error = dctx_snapshot_filter_(snapshot, not_named, word, true, &made);
        fail_at = 0;
        cr_assert_eq(error, made == NULL ? DCTX_ERR_NOMEM : DCTX_OK);
    }
    dctx_snapshot_unref(&made);
    for (size_t nth = 1; made == NULL; nth++) {
        allocations = 0;
        fail_at = nth;
        dctx_error_t error = dctx_snapshot_with_(snapshot, &binding, 1, &made);
        fail_at = 0;
        cr_assert_eq(error, made == NULL ? DCTX_ERR_NOMEM : DCTX_OK);
    }
    dctx_snapshot_unref(&made);
    dctx_snapshot_unref(&snapshot);
}

static int destroyed;

static void destroy_companion(dctx_companion_t *companion)
{
    (void)companion;
    destroyed++;
}

Test(derive, a_companion_dies_with_its_snapshot, .init = set_up)
{
    dctx_companion_t first = {destroy_companion}, second = {destroy_companion};
    dctx_snapshot_t *snapshot = full();
    cr_assert_null(dctx_snapshot_companion_(snapshot));
    cr_assert(dctx_snapshot_set_companion_(snapshot, NULL, &first));
    cr_assert(!dctx_snapshot_set_companion_(snapshot, NULL, &second));
    cr_assert_eq(dctx_snapshot_companion_(snapshot), &first);
    cr_assert(dctx_snapshot_set_companion_(snapshot, &first, &second));
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(destroyed, 1);
}
