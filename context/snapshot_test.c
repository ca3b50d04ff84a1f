#include "fixture.h"

#include <pthread.h>

static const char *text_in(const dctx_snapshot_t *snapshot, const dctx_key_t *key)
{
    const char *text = dctx_snapshot_get(snapshot, key);
    return text != NULL ? text : "-";
}

static const char *chain_in(const dctx_snapshot_t *snapshot)
{
    static char text[1024];
    (void)dctx_snapshot_chain_format(snapshot, text, sizeof(text));
    return text;
}

Test(snapshot, capture_has_broadcast_values_and_fork_has_all, .init = set_up)
{
    OK(dctx_set(user, "u"));
    OK(dctx_set(secret, "s"));
    dctx_scope_t scope = push("here");
    dctx_snapshot_t *captured = capture();
    dctx_snapshot_t *fork = forked();
    cr_assert_str_eq(text_in(captured, user), "u");
    cr_assert_str_eq(text_in(captured, secret), "-");
    cr_assert_eq(dctx_snapshot_count(captured), 1);
    cr_assert_str_eq(text_in(fork, user), "u");
    cr_assert_str_eq(text_in(fork, secret), "s");
    cr_assert_eq(dctx_snapshot_count(fork), 2);
    cr_assert_str_eq(chain_in(captured), "here");
    cr_assert_str_eq(chain_in(fork), "here");
    cr_assert_eq(dctx_snapshot_chain_length(fork), 1);
    cr_assert_eq(dctx_snapshot_chain_name(fork, 0).size, 4);
    cr_assert_null(dctx_snapshot_chain_name(fork, 1).data);
    cr_assert_eq(dctx_snapshot_registry(fork), dctx_registry_global());
    OK(dctx_scope_pop(&scope));
    OK(dctx_clear());
    cr_assert_str_eq(text_in(fork, user), "u", "what the thread does later does not touch it");
    dctx_snapshot_unref(&captured);
    dctx_snapshot_unref(&fork);
    cr_assert_null(fork);
    dctx_snapshot_unref(&fork);
    dctx_snapshot_unref(NULL);
}

Test(snapshot, nothing_changed_gives_the_same_snapshot, .init = set_up)
{
    OK(dctx_set(user, "u"));
    dctx_snapshot_t *first = capture();
    dctx_snapshot_t *second = capture();
    cr_assert_eq(first, second);
    OK(dctx_set(secret, "local values do not matter to a capture"));
    dctx_snapshot_t *third = capture();
    cr_assert_eq(first, third);
    dctx_scope_t unnamed = push(NULL);
    dctx_snapshot_t *in_unnamed = capture();
    cr_assert_eq(first, in_unnamed);
    OK(dctx_set(user, "changed"));
    dctx_snapshot_t *changed = capture();
    cr_assert_neq(first, changed);
    OK(dctx_scope_pop(&unnamed));
    dctx_scope_t named = push("named");
    dctx_snapshot_t *in_named = capture();
    cr_assert_neq(first, in_named);
    OK(dctx_scope_pop(&named));
    dctx_snapshot_t *after = capture();
    cr_assert_eq(first, after, "the state is again what it was");
    dctx_snapshot_t *all[] = {first, second, third, in_unnamed, changed, in_named, after};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        dctx_snapshot_unref(&all[i]);
}

Test(snapshot, attach_replaces_and_detach_brings_back, .init = set_up)
{
    OK(dctx_set(user, "then"));
    OK(dctx_set(secret, "then"));
    dctx_scope_t a = push("a");
    dctx_snapshot_t *fork = forked();
    OK(dctx_scope_pop(&a));
    OK(dctx_set(user, "now"));
    OK(dctx_set(tenant, "now"));
    dctx_scope_t b = push("b");

    dctx_scope_t scope = attach(fork);
    cr_assert_eq(dctx_scope_depth(), 2);
    cr_assert_str_eq(text_of(user), "then");
    cr_assert_str_eq(text_of(secret), "then");
    cr_assert_str_eq(text_of(tenant), "-");
    cr_assert_str_eq(chain(), "a");
    OK(dctx_set(user, "changed"));
    OK(dctx_unset(secret));
    dctx_scope_t c = push("c");
    cr_assert_str_eq(chain(), "a > c");
    OK(dctx_scope_pop(&c));
    cr_assert_str_eq(text_in(fork, user), "then");
    cr_assert_str_eq(text_in(fork, secret), "then");
    OK(dctx_scope_pop(&scope));

    cr_assert_str_eq(text_of(user), "now");
    cr_assert_str_eq(text_of(tenant), "now");
    cr_assert_str_eq(chain(), "b");
    OK(dctx_scope_pop(&b));
    dctx_snapshot_unref(&fork);
}

Test(snapshot, attach_with_a_scope_is_one_thing_to_undo, .init = set_up)
{
    dctx_snapshot_t *fork = forked();
    dctx_scope_t scope;
    OK(dctx_attach_scope(fork, "job", &scope));
    cr_assert_str_eq(chain(), "job");
    cr_assert_eq(dctx_scope_depth(), 1);
    dctx_snapshot_t *inside = forked();
    cr_assert_str_eq(chain_in(inside), "job");
    OK(dctx_scope_pop(&scope));
    cr_assert(dctx_is_empty());
    FAILS(dctx_attach(NULL, &scope), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_scope_error(&scope), DCTX_ERR_INVALID);
    FAILS(dctx_attach_scope(fork, "a\001", &scope), DCTX_ERR_INVALID);
    OK(dctx_scope_pop(&scope));
    dctx_snapshot_unref(&inside);
    dctx_snapshot_unref(&fork);
}

Test(snapshot, the_attachment_keeps_it_alive, .init = set_up)
{
    OK(set_note(note, "kept"));
    dctx_snapshot_t *fork = forked();
    OK(dctx_clear());
    dctx_scope_t scope = attach(fork);
    dctx_snapshot_unref(&fork);
    cr_assert_str_eq(note_text(note), "kept");
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(notes_alive, 0);
}

Test(snapshot, attached_and_unchanged_it_is_what_is_captured, .init = set_up)
{
    OK(dctx_set(user, "u"));
    dctx_snapshot_t *plain = forked();
    OK(dctx_set(secret, "s"));
    dctx_snapshot_t *with_local = forked();
    dctx_scope_t scope = attach(plain);
    dctx_snapshot_t *again = forked();
    cr_assert_eq(again, plain);
    dctx_snapshot_unref(&again);
    again = capture();
    cr_assert_eq(again, plain);
    dctx_snapshot_unref(&again);
    OK(dctx_scope_pop(&scope));

    scope = attach(with_local);
    dctx_snapshot_t *first = capture();
    dctx_snapshot_t *second = capture();
    cr_assert_eq(first, second);
    cr_assert_str_eq(text_in(first, user), "u");
    cr_assert_str_eq(text_in(first, secret), "-");
    dctx_scope_t inner = push(NULL);
    OK(dctx_set(user, "changed"));
    OK(dctx_scope_pop(&inner));
    again = forked();
    cr_assert_eq(again, with_local);
    dctx_snapshot_unref(&again);
    OK(dctx_scope_pop(&scope));
    dctx_snapshot_unref(&first);
    dctx_snapshot_unref(&second);
    dctx_snapshot_unref(&plain);
    dctx_snapshot_unref(&with_local);
}

Test(snapshot, a_fork_of_a_fork_of_a_fork_sees_everything, .init = set_up)
{
    dctx_snapshot_t *fork = NULL;
    const dctx_key_t *keys[] = {user, tenant, secret};
    for (int i = 0; i < 3; i++) {
        dctx_scope_t scope = {0};
        if (fork != NULL)
            scope = attach(fork);
        OK(dctx_set(keys[i], "set"));
        dctx_snapshot_t *next = forked();
        OK(dctx_scope_pop(&scope));
        OK(dctx_clear());
        dctx_snapshot_unref(&fork);
        fork = next;
    }
    for (int i = 0; i < 3; i++)
        cr_assert_str_eq(text_in(fork, keys[i]), "set");
    dctx_snapshot_unref(&fork);
}

Test(snapshot, broadcast_is_what_may_leave, .init = set_up)
{
    OK(dctx_set(user, "u"));
    dctx_snapshot_t *plain = forked();
    dctx_snapshot_t *out = NULL;
    OK(dctx_snapshot_broadcast(plain, &out));
    cr_assert_eq(out, plain);
    dctx_snapshot_unref(&out);
    OK(dctx_set(secret, "s"));
    dctx_snapshot_t *whole = forked();
    OK(dctx_snapshot_broadcast(whole, &out));
    cr_assert_neq(out, whole);
    cr_assert_eq(dctx_snapshot_count(out), 1);
    dctx_snapshot_t *again = NULL;
    OK(dctx_snapshot_broadcast(whole, &again));
    cr_assert_eq(out, again, "made once");
    FAILS(dctx_snapshot_broadcast(NULL, &again), DCTX_ERR_INVALID);
    dctx_snapshot_unref(&again);
    dctx_snapshot_unref(&whole);
    cr_assert_str_eq(text_in(out, user), "u");
    dctx_snapshot_unref(&out);
    dctx_snapshot_unref(&plain);
}

Test(snapshot, an_empty_one_is_empty, .init = set_up)
{
    dctx_snapshot_t *empty = NULL;
    OK(dctx_snapshot_empty(NULL, &empty));
    cr_assert(dctx_snapshot_is_empty(empty));
    cr_assert(dctx_snapshot_is_empty(NULL));
    cr_assert_eq(dctx_snapshot_count(empty), 0);
    cr_assert_eq(dctx_snapshot_unknown_count(empty), 0);
    cr_assert_null(dctx_snapshot_unknown_name(empty, 0).data);
    cr_assert_str_eq(chain_in(empty), "");
    cr_assert_null(dctx_snapshot_get(empty, user));
    cr_assert_null(dctx_snapshot_get(empty, NULL));
    cr_assert_null(dctx_snapshot_get(NULL, user));
    cr_assert_null(dctx_snapshot_ref(NULL));
    dctx_snapshot_t *captured = capture();
    cr_assert(dctx_snapshot_is_empty(captured));
    dctx_scope_t scope = push("name");
    dctx_snapshot_t *named = capture();
    cr_assert(!dctx_snapshot_is_empty(named));
    OK(dctx_scope_pop(&scope));
    dctx_snapshot_unref(&named);
    dctx_snapshot_unref(&captured);
    dctx_snapshot_unref(&empty);
}

Test(snapshot, isolated_registries_stand_beside_each_other, .init = set_up)
{
    dctx_registry_t *other = NULL;
    OK(dctx_registry_new(&other));
    const dctx_key_t *theirs = add_to(other, "user", DCTX_TYPE_INT64, 0);
    OK(dctx_registry_freeze(other));
    dctx_snapshot_t *empty = NULL;
    OK(dctx_snapshot_empty(other, &empty));
    OK(dctx_set(user, "mine"));
    dctx_scope_t scope = attach(empty);
    cr_assert_eq(dctx_current_registry(), other);
    cr_assert_null(dctx_get(user));
    FAILS(dctx_set(user, "no"), DCTX_ERR_UNKNOWN_KEY);
    OK(dctx_set(theirs, &(int64_t){7}));
    dctx_scope_t inner = push(NULL);
    OK(dctx_set(theirs, &(int64_t){8}));
    dctx_snapshot_t *snapshot = forked();
    cr_assert_null(dctx_snapshot_get(snapshot, user));
    cr_assert_eq(*(const int64_t *)dctx_snapshot_get(snapshot, theirs), 8);
    OK(dctx_scope_pop(&inner));
    cr_assert_eq(*(const int64_t *)dctx_get(theirs), 7);
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(dctx_current_registry(), dctx_registry_global());
    cr_assert_str_eq(text_of(user), "mine");
    cr_assert_null(dctx_get(theirs));
    dctx_snapshot_unref(&empty);
    dctx_snapshot_unref(&snapshot);
    dctx_registry_destroy(&other);
}

Test(snapshot, the_last_owner_of_a_registry_may_be_an_attachment)
{
    dctx_registry_t *other = NULL;
    OK(dctx_registry_new(&other));
    const dctx_key_t *theirs = add_to(other, "n", &note_type, DCTX_LOCAL);
    OK(dctx_registry_freeze(other));
    dctx_snapshot_t *empty = NULL;
    OK(dctx_snapshot_empty(other, &empty));
    dctx_scope_t scope = attach(empty);
    dctx_scope_t inner = push(NULL);
    OK(set_note(theirs, "x"));
    dctx_snapshot_t *cached = forked();
    dctx_snapshot_unref(&cached);
    dctx_snapshot_unref(&empty);
    dctx_registry_destroy(&other);
    OK(dctx_scope_pop(&inner));
    OK(set_note(theirs, "y"));
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(notes_alive, 0);
}

/* ---- threads ---- */

typedef struct hand_over {
    dctx_snapshot_t *snapshot;
} hand_over_t;

static void *make_and_end(void *arg)
{
    hand_over_t *over = arg;
    dctx_scope_t scope = push("maker");
    OK(set_note(note, "made elsewhere"));
    over->snapshot = forked();
    OK(dctx_scope_pop(&scope));
    return NULL;
}

Test(snapshot, it_outlives_the_thread_that_made_it, .init = set_up)
{
    hand_over_t over = {NULL};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, make_and_end, &over), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    DCTX_WITH_SNAPSHOT(over.snapshot) {
        cr_assert_str_eq(note_text(note), "made elsewhere");
        cr_assert_str_eq(chain(), "maker");
    }
    dctx_snapshot_unref(&over.snapshot);
    cr_assert_eq(notes_alive, 0);
}

static void *share(void *arg)
{
    dctx_snapshot_t *common = arg;
    for (int i = 0; i < 300; i++) {
        dctx_snapshot_t *mine = dctx_snapshot_ref(common);
        dctx_scope_t scope = attach(mine);
        dctx_snapshot_unref(&mine);
        cr_assert_str_eq(note_text(note), "shared");
        cr_assert_str_eq(text_of(user), "u");
        OK(dctx_set(user, "mine"));
        dctx_snapshot_t *out = capture();
        cr_assert_gt(encoded(out).size, 4);
        dctx_snapshot_unref(&out);
        OK(dctx_scope_pop(&scope));
        OK(dctx_snapshot_broadcast(common, &out));
        cr_assert_gt(encoded(out).size, 4);
        dctx_snapshot_unref(&out);
    }
    return NULL;
}

/* Readers, forks and drops of one snapshot, whose values are decoded, encoded and split off by
 * whoever comes first. */
Test(snapshot, threads_share_one, .init = set_up)
{
    OK(dctx_set(user, "u"));
    OK(set_note(note, "shared"));
    OK(set_note(memo, "local"));
    dctx_snapshot_t *set_here = forked();
    dctx_bytes_t bytes = encoded(set_here);
    dctx_snapshot_t *received = decoded(NULL, bytes.data, bytes.size);
    dctx_snapshot_t *both[] = {set_here, received};
    OK(dctx_clear());
    for (int which = 0; which < 2; which++) {
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            cr_assert_eq(pthread_create(&threads[i], NULL, share, both[which]), 0);
        for (int i = 0; i < 4; i++)
            cr_assert_eq(pthread_join(threads[i], NULL), 0);
        dctx_snapshot_unref(&both[which]);
    }
    cr_assert_eq(notes_alive, 0);
}

/* ---- failing allocations ---- */

Test(snapshot, out_of_memory_takes_nothing, .init = set_up)
{
    OK(dctx_set(user, "u"));
    OK(dctx_set(secret, "s"));
    dctx_scope_t scope = push("name");
    OK(dctx_set(user, "v"));
    OK(dctx_set(secret, "t"));
    count_allocations();
    dctx_snapshot_t *snapshot = NULL;
    size_t rounds = 0;
    dctx_error_t error = DCTX_ERR_NOMEM;
    while (error != DCTX_OK) {
        fail_at = allocations + ++rounds;
        error = dctx_fork(&snapshot);
        fail_at = 0;
        if (error != DCTX_OK) {
            cr_assert_eq(error, DCTX_ERR_NOMEM);
            cr_assert_null(snapshot);
        }
    }
    cr_assert_geq(rounds, 2);
    cr_assert_str_eq(text_in(snapshot, user), "v");
    fail_at = allocations + 1;
    dctx_snapshot_t *none = NULL;
    FAILS(dctx_snapshot_broadcast(snapshot, &none), DCTX_ERR_NOMEM);
    FAILS(dctx_snapshot_empty(NULL, &none), DCTX_ERR_NOMEM);
    OK(dctx_scope_pop(&scope));
    fail_at = 0;
    cr_assert_str_eq(text_of(user), "u");
    cr_assert_str_eq(text_of(secret), "s");
    dctx_snapshot_unref(&snapshot);
}
