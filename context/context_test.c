#include "fixture.h"

Test(context, a_thread_begins_empty, .init = set_up)
{
    cr_assert(dctx_is_empty());
    cr_assert_null(dctx_get(user));
    cr_assert(!dctx_contains(user));
    cr_assert_eq(dctx_current_registry(), dctx_registry_global());
    OK(dctx_clear());
    OK(dctx_unset(user));
    cr_assert(dctx_is_empty());
}

Test(context, values_of_every_built_in_type_are_set_and_read)
{
    const dctx_key_t *s = add_to(NULL, "s", DCTX_TYPE_STRING, 0);
    const dctx_key_t *b = add_to(NULL, "b", DCTX_TYPE_BYTES, 0);
    const dctx_key_t *t = add_to(NULL, "t", DCTX_TYPE_BOOL, 0);
    const dctx_key_t *i = add_to(NULL, "i", DCTX_TYPE_INT64, DCTX_LOCAL);
    const dctx_key_t *u = add_to(NULL, "u", DCTX_TYPE_UINT64, 0);
    const dctx_key_t *d = add_to(NULL, "d", DCTX_TYPE_DOUBLE, DCTX_LOCAL);
    OK(dctx_registry_freeze(NULL));
    OK(dctx_set(s, "text"));
    OK(dctx_set(b, &(dctx_bytes_t){"\0\1\2", 3}));
    OK(dctx_set(t, &(bool){true}));
    OK(dctx_set(i, &(int64_t){INT64_MIN}));
    OK(dctx_set(u, &(uint64_t){UINT64_MAX}));
    OK(dctx_set(d, &(double){-0.5}));
    cr_assert_str_eq(dctx_get(s), "text");
    const dctx_bytes_t *bytes = dctx_get(b);
    cr_assert_eq(bytes->size, 3);
    cr_assert_arr_eq(bytes->data, "\0\1\2", 3);
    cr_assert(*(const bool *)dctx_get(t));
    cr_assert_eq(*(const int64_t *)dctx_get(i), INT64_MIN);
    cr_assert_eq(*(const uint64_t *)dctx_get(u), UINT64_MAX);
    cr_assert_eq(*(const double *)dctx_get(d), -0.5);
    cr_assert(!dctx_is_empty());
    OK(dctx_set(s, ""));
    cr_assert_str_eq(dctx_get(s), "");
}

Test(context, what_may_not_be_set_is_refused, .init = set_up)
{
    dctx_registry_t *other = NULL;
    OK(dctx_registry_new(&other));
    const dctx_key_t *young = add_to(other, "user", DCTX_TYPE_STRING, 0);
    FAILS(dctx_set(NULL, "x"), DCTX_ERR_UNKNOWN_KEY);
    FAILS(dctx_set(user, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_set(young, "x"), DCTX_ERR_NOT_FROZEN);
    OK(dctx_registry_freeze(other));
    FAILS_SAYING(dctx_set(young, "x"), DCTX_ERR_UNKNOWN_KEY, "user");
    FAILS(dctx_unset(young), DCTX_ERR_UNKNOWN_KEY);
    FAILS(dctx_unset(NULL), DCTX_ERR_UNKNOWN_KEY);
    cr_assert_null(dctx_get(young));
    cr_assert_null(dctx_get(NULL));
    FAILS(dctx_set_typed(user, DCTX_TYPE_INT64, &(int64_t){1}), DCTX_ERR_TYPE);
    FAILS(dctx_set_typed(user, NULL, "x"), DCTX_ERR_INVALID);
    cr_assert(dctx_is_empty());
    OK(dctx_set_typed(user, DCTX_TYPE_STRING, "x"));
    cr_assert_str_eq(dctx_get_typed(user, DCTX_TYPE_STRING), "x");
    cr_assert_null(dctx_get_typed(user, DCTX_TYPE_BYTES));
    cr_assert_null(dctx_get_typed(NULL, DCTX_TYPE_BYTES));
    dctx_registry_destroy(&other);
}

Test(context, nothing_is_usable_before_the_freeze, .init = set_up_keys)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_scope_t scope;
    FAILS(dctx_set(user, "x"), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_unset(user), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_capture(&snapshot), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_fork(&snapshot), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_snapshot_empty(NULL, &snapshot), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_snapshot_decode(NULL, "\x93\x01\x90\x90", 4, &snapshot), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_scope_push("a", &scope), DCTX_ERR_NOT_FROZEN);
    OK(dctx_scope_pop(&scope));
    cr_assert_null(dctx_get(secret));
    cr_assert_null(snapshot);
    /* The thread's context exists by now, and finds the registry frozen later. */
    OK(dctx_registry_freeze(NULL));
    OK(dctx_set(user, "x"));
    cr_assert_str_eq(text_of(user), "x");
}

Test(context, a_set_copies_and_a_new_one_releases_the_old, .init = set_up)
{
    char buffer[] = "one";
    note_t value = {buffer};
    OK(dctx_set(note, &value));
    buffer[0] = 'X';
    cr_assert_str_eq(note_text(note), "one");
    cr_assert_eq(notes_alive, 1);
    OK(set_note(note, "two"));
    cr_assert_eq(notes_alive, 1);
    /* Even from itself. */
    OK(dctx_set(note, dctx_get(note)));
    cr_assert_str_eq(note_text(note), "two");
    OK(dctx_unset(note));
    cr_assert_eq(notes_alive, 0);
    cr_assert_null(dctx_get(note));
}

Test(context, what_a_copy_refuses_changes_nothing, .init = set_up)
{
    OK(set_note(note, "kept"));
    note_refusal = DCTX_ERR_REJECTED;
    FAILS(set_note(note, "new"), DCTX_ERR_REJECTED);
    note_refusal = DCTX_OK;
    cr_assert_str_eq(note_text(note), "kept");
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
}

Test(context, take_owns_on_success_only, .init = set_up)
{
    note_t value = {strdup("mine")};
    notes_alive++;
    FAILS(dctx_set_take(note, DCTX_TYPE_INT64, &value), DCTX_ERR_TYPE);
    FAILS(dctx_set_take(note, NULL, &value), DCTX_ERR_INVALID);
    FAILS(dctx_set_take(note, &note_type, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_set_take(NULL, &note_type, &value), DCTX_ERR_UNKNOWN_KEY);
    FAILS(dctx_set_take(user, DCTX_TYPE_STRING, &value), DCTX_ERR_TYPE);
    count_allocations();
    fail_at = allocations + 1;
    FAILS(dctx_set_take(note, &note_type, &value), DCTX_ERR_NOMEM);
    fail_at = 0;
    cr_assert_str_eq(value.text, "mine");
    OK(dctx_set_take(note, &note_type, &value));
    cr_assert_null(value.text);
    cr_assert_str_eq(note_text(note), "mine");
    OK(dctx_unset(note));
    cr_assert_eq(notes_alive, 0);
    int64_t number = 5;
    OK(dctx_set_take(total, DCTX_TYPE_INT64, &number));
    cr_assert_eq(*(const int64_t *)dctx_get(total), 5);
}

/* ---- update ---- */

static dctx_error_t increment(void *value, bool present, void *arg)
{
    int64_t *number = value;
    *(bool *)arg = present;
    *number += 1;
    return DCTX_OK;
}

Test(context, update_changes_a_private_copy, .init = set_up)
{
    bool present = true;
    OK(dctx_update(total, increment, &present));
    cr_assert(!present);
    OK(dctx_update(total, increment, &present));
    cr_assert(present);
    cr_assert_eq(*(const int64_t *)dctx_get(total), 2);
    dctx_snapshot_t *before = capture();
    OK(dctx_update(total, increment, &present));
    cr_assert_eq(*(const int64_t *)dctx_snapshot_get(before, total), 2);
    cr_assert_eq(*(const int64_t *)dctx_get(total), 3);
    dctx_snapshot_unref(&before);
    FAILS(dctx_update(user, increment, &present), DCTX_ERR_TYPE);
    FAILS(dctx_update(NULL, increment, &present), DCTX_ERR_UNKNOWN_KEY);
    FAILS(dctx_update(total, NULL, &present), DCTX_ERR_INVALID);
}

static dctx_error_t refuse(void *value, bool present, void *arg)
{
    (void)value;
    (void)present;
    (void)arg;
    return DCTX_ERR_CANCELLED;
}

Test(context, an_update_that_refuses_changes_nothing, .init = set_up)
{
    FAILS(dctx_update(note, refuse, NULL), DCTX_ERR_CANCELLED);
    cr_assert_null(dctx_get(note));
    OK(set_note(note, "kept"));
    FAILS(dctx_update(note, refuse, NULL), DCTX_ERR_CANCELLED);
    cr_assert_str_eq(note_text(note), "kept");
    cr_assert_eq(notes_alive, 1);
    OK(dctx_unset(note));
}

static dctx_error_t replace_everything(void *value, bool present, void *arg)
{
    note_t *mine = value;
    (void)arg;
    cr_assert(present);
    OK(dctx_set(user, "set in update"));
    OK(set_note(note, "lost"));
    OK(set_note(note, "lost too"));
    dctx_scope_t scope = push("inner");
    OK(set_note(note, "undone"));
    OK(dctx_scope_pop(&scope));
    cr_assert_str_eq(note_text(note), "lost too");
    cr_assert_str_eq(mine->text, "old");
    mine->text[0] = 'O';
    return DCTX_OK;
}

Test(context, an_update_may_set_any_key_and_its_own, .init = set_up)
{
    OK(set_note(note, "old"));
    OK(dctx_update(note, replace_everything, NULL));
    cr_assert_str_eq(note_text(note), "Old");
    cr_assert_str_eq(text_of(user), "set in update");
    cr_assert_eq(notes_alive, 1);
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
}

/* ---- several keys ---- */

Test(context, many_keys_are_bound_together_or_not_at_all, .init = set_up)
{
    OK(dctx_set(tenant, "old"));
    char text[] = "new";
    note_t value = {text};
    dctx_binding_t bindings[] = {{user, DCTX_TYPE_STRING, "u"},
                                 {tenant, NULL, NULL},
                                 {note, &note_type, &value},
                                 {secret, NULL, "s"}};
    bindings[3].type = DCTX_TYPE_BOOL;
    FAILS(dctx_set_many(bindings, 4), DCTX_ERR_TYPE);
    bindings[3].type = NULL;
    bindings[3].key = NULL;
    FAILS(dctx_set_many(bindings, 4), DCTX_ERR_UNKNOWN_KEY);
    cr_assert_eq(notes_alive, 0);
    cr_assert_str_eq(text_of(user), "-");
    cr_assert_str_eq(text_of(tenant), "old");
    bindings[3].key = secret;
    OK(dctx_set_many(bindings, 4));
    cr_assert_str_eq(text_of(user), "u");
    cr_assert_null(dctx_get(tenant));
    cr_assert_str_eq(note_text(note), "new");
    cr_assert_str_eq(text_of(secret), "s");
    OK(dctx_set_many(NULL, 0));
    FAILS(dctx_set_many(NULL, 1), DCTX_ERR_INVALID);
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
}

Test(context, of_a_key_bound_twice_the_last_counts, .init = set_up)
{
    dctx_scope_t scope = push(NULL);
    dctx_binding_t bindings[40];
    static char texts[40][8];
    for (int i = 0; i < 40; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "t%d", i);
        bindings[i] = (dctx_binding_t){user, NULL, texts[i]};
    }
    OK(dctx_set_many(bindings, 40));
    cr_assert_str_eq(text_of(user), "t39");
    OK(dctx_scope_pop(&scope));
    cr_assert(dctx_is_empty());
}

Test(context, clear_makes_all_absent_until_the_scope_ends, .init = set_up)
{
    OK(dctx_set(user, "u"));
    OK(dctx_set(secret, "s"));
    dctx_scope_t outer = push("outer");
    OK(dctx_set(tenant, "t"));
    dctx_scope_t inner = push("inner");
    OK(dctx_set(user, "inner"));
    OK(dctx_clear());
    cr_assert_null(dctx_get(user));
    cr_assert_null(dctx_get(tenant));
    cr_assert_null(dctx_get(secret));
    cr_assert_str_eq(chain(), "outer > inner");
    OK(dctx_set(tenant, "again"));
    OK(dctx_clear());
    cr_assert_null(dctx_get(tenant));
    OK(dctx_set(user, "last"));
    OK(dctx_scope_pop(&inner));
    cr_assert_str_eq(text_of(user), "u");
    cr_assert_str_eq(text_of(tenant), "t");
    cr_assert_str_eq(text_of(secret), "s");
    OK(dctx_scope_pop(&outer));
    cr_assert_null(dctx_get(tenant));
    OK(dctx_clear());
    cr_assert(dctx_is_empty());
}

Test(context, merge_sets_what_the_snapshot_has, .init = set_up)
{
    OK(dctx_set(user, "theirs"));
    OK(dctx_set(secret, "theirs"));
    OK(set_note(note, "theirs"));
    dctx_snapshot_t *snapshot = forked();
    OK(dctx_clear());
    OK(dctx_set(user, "mine"));
    OK(dctx_set(tenant, "mine"));
    dctx_scope_t scope = push("here");
    OK(dctx_merge(snapshot));
    cr_assert_str_eq(text_of(user), "theirs");
    cr_assert_str_eq(text_of(tenant), "mine");
    cr_assert_str_eq(text_of(secret), "theirs");
    cr_assert_str_eq(note_text(note), "theirs");
    cr_assert_eq(notes_alive, 1, "shared, not copied");
    cr_assert_str_eq(chain(), "here");
    OK(dctx_scope_pop(&scope));
    cr_assert_str_eq(text_of(user), "mine");
    cr_assert_null(dctx_get(note));
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(notes_alive, 0);
    FAILS(dctx_merge(NULL), DCTX_ERR_INVALID);
}

Test(context, a_snapshot_of_another_registry_is_not_merged, .init = set_up)
{
    dctx_registry_t *other = NULL;
    OK(dctx_registry_new(&other));
    OK(dctx_registry_freeze(other));
    dctx_snapshot_t *snapshot = NULL;
    OK(dctx_snapshot_empty(other, &snapshot));
    FAILS(dctx_merge(snapshot), DCTX_ERR_REGISTRY);
    dctx_snapshot_unref(&snapshot);
    dctx_registry_destroy(&other);
}

/* ---- user code that comes back ---- */

static int destroyed;

/* Reads, writes, opens, captures: all while its value goes away. */
static void busy_destroy(void *value)
{
    (void)value;
    destroyed++;
    (void)dctx_get(user);
    OK(dctx_set(user, "from a destructor"));
    dctx_scope_t scope = push("destructor");
    OK(dctx_set(tenant, "undone"));
    dctx_snapshot_t *snapshot = forked();
    dctx_scope_t attached = attach(snapshot);
    OK(dctx_set(secret, "undone"));
    OK(dctx_scope_pop(&attached));
    dctx_snapshot_unref(&snapshot);
    OK(dctx_scope_pop(&scope));
}

static const dctx_type_t busy_type = {.name = "busy", .size = 8, .destroy = busy_destroy};

Test(context, destructors_may_call_anything)
{
    set_up_keys();
    const dctx_key_t *busy[3] = {add_to(NULL, "busy0", &busy_type, DCTX_LOCAL),
                                 add_to(NULL, "busy1", &busy_type, DCTX_LOCAL),
                                 add_to(NULL, "busy2", &busy_type, DCTX_LOCAL)};
    OK(dctx_registry_freeze(NULL));
    const uint64_t value = 1;
    for (int i = 0; i < 3; i++)
        OK(dctx_set(busy[i], &value));
    OK(dctx_set(busy[0], &value));
    cr_assert_eq(destroyed, 1);
    OK(dctx_unset(busy[0]));
    cr_assert_eq(destroyed, 2);
    dctx_scope_t scope = push("s");
    for (int i = 0; i < 3; i++)
        OK(dctx_set(busy[i], &value));
    OK(dctx_unset(user));
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(destroyed, 5);
    cr_assert_str_eq(text_of(user), "from a destructor", "the store was consistent again by then");
    cr_assert_null(dctx_get(tenant));
    cr_assert_eq(dctx_scope_depth(), 0);
    OK(dctx_clear());
    cr_assert_eq(destroyed, 7);
}

/* ---- failing allocations ---- */

static dctx_error_t mixed_writes(void)
{
    char text[] = "n";
    note_t value = {text};
    const dctx_binding_t bindings[] = {
        {user, NULL, "new"}, {note, NULL, &value}, {memo, NULL, &value}, {tenant, NULL, NULL}};
    return dctx_set_many(bindings, 4);
}

Test(context, a_failed_allocation_anywhere_changes_nothing, .init = set_up)
{
    OK(dctx_set(user, "old"));
    OK(dctx_set(tenant, "old"));
    dctx_snapshot_t *held = forked();
    dctx_scope_t scope = push("scope");
    count_allocations();
    dctx_error_t error = DCTX_ERR_NOMEM;
    size_t rounds = 0;
    for (; error != DCTX_OK; rounds++) {
        allocations = 0;
        fail_at = rounds + 1;
        error = mixed_writes();
        fail_at = 0;
        if (error == DCTX_OK)
            break;
        cr_assert_eq(error, DCTX_ERR_NOMEM);
        cr_assert_str_eq(text_of(user), "old");
        cr_assert_str_eq(text_of(tenant), "old");
        cr_assert_null(dctx_get(note));
        cr_assert_eq(notes_alive, 0);
    }
    cr_assert_geq(rounds, 4);
    cr_assert_str_eq(text_of(user), "new");
    cr_assert_null(dctx_get(tenant));
    fail_at = 1;
    OK(dctx_scope_pop(&scope));
    fail_at = 0;
    cr_assert_str_eq(text_of(user), "old");
    cr_assert_str_eq(text_of(tenant), "old");
    cr_assert_eq(notes_alive, 0);
    dctx_snapshot_unref(&held);
}

Test(context, the_steady_state_allocates_nothing, .init = set_up)
{
    OK(dctx_set(user, "u"));
    dctx_snapshot_t *snapshot = forked();
    count_allocations();
    for (int i = 0; i < 3; i++) {
        size_t before = allocations;
        dctx_scope_t scope = push("named");
        (void)dctx_get(user);
        dctx_scope_t attached = attach(snapshot);
        dctx_snapshot_t *again = forked();
        dctx_snapshot_unref(&again);
        OK(dctx_scope_pop(&attached));
        OK(dctx_scope_pop(&scope));
        cr_assert_eq(allocations, before);
    }
    dctx_snapshot_unref(&snapshot);
}

/* A string that is as long as the one before takes its place, where nobody else has that. */
Test(context, what_is_written_over_was_nobody_elses, .init = set_up)
{
    const dctx_key_t *keys[] = {user, secret};
    for (int i = 0; i < 2; i++) {
        const dctx_key_t *key = keys[i];
        dctx_snapshot_t *before = NULL, *after = NULL;
        OK(dctx_set(key, "one"));
        const void *place = dctx_get(key);
        OK(dctx_set(key, "two"));
        cr_assert_eq(dctx_get(key), place);
        cr_assert_str_eq(text_of(key), "two");
        OK(dctx_set(key, dctx_get(key)));
        cr_assert_str_eq(text_of(key), "two", "itself");
        OK(dctx_fork(&before));
        OK(dctx_set(key, "six"));
        cr_assert_str_eq(text_of(key), "six");
        OK(dctx_fork(&after));
        OK(dctx_set(key, "ten"));
        OK(dctx_set(key, "and"));
        cr_assert_str_eq(dctx_snapshot_get(before, key), "two");
        cr_assert_str_eq(dctx_snapshot_get(after, key), "six");
        DCTX_WITH_SCOPE("a") {
            OK(dctx_set(key, "sea"));
            OK(dctx_set(key, "sky"));
            DCTX_WITH_SCOPE(NULL) {
                OK(dctx_set(key, "sun"));
                cr_assert_str_eq(text_of(key), "sun");
            }
            cr_assert_str_eq(text_of(key), "sky");
            DCTX_WITH_SNAPSHOT(before) {
                OK(dctx_set(key, "new"));
                OK(dctx_set(key, "old"));
                cr_assert_str_eq(text_of(key), "old");
            }
            cr_assert_str_eq(text_of(key), "sky");
        }
        cr_assert_str_eq(text_of(key), "and");
        cr_assert_str_eq(dctx_snapshot_get(before, key), "two");
        OK(dctx_set(key, "longer"));
        OK(dctx_set(key, (const char *)dctx_get(key) + 3));
        cr_assert_str_eq(text_of(key), "ger");
        dctx_snapshot_unref(&before);
        dctx_snapshot_unref(&after);
    }
}

/* What was encoded, or captured, of the old one is not taken for the new one's. */
Test(context, what_is_written_over_is_encoded_anew, .init = set_up)
{
    dctx_snapshot_t *first = NULL, *second = NULL;
    dctx_bytes_t one, two;
    OK(dctx_set(user, "one"));
    OK(dctx_capture(&first));
    OK(dctx_snapshot_encode(first, &one));
    OK(dctx_set(user, "two"));
    OK(dctx_set(user, "six"));
    OK(dctx_capture(&second));
    OK(dctx_snapshot_encode(second, &two));
    cr_assert_eq(one.size, two.size);
    cr_assert_arr_eq((const char *)one.data + one.size - 3, "one", 3);
    cr_assert_arr_eq((const char *)two.data + two.size - 3, "six", 3);
    dctx_snapshot_unref(&first);
    dctx_snapshot_unref(&second);
}
