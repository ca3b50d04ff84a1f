#include "fixture.h"

#include <pthread.h>

#include <dcontext/internal.h>

#include "thread.h"

static void *run_on_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    void *result = NULL;
    cr_assert_eq(pthread_create(&thread, NULL, run, arg), 0);
    cr_assert_eq(pthread_join(thread, &result), 0);
    return result;
}

Test(scope, what_is_set_in_it_is_undone, .init = set_up)
{
    OK(dctx_set(user, "outer"));
    dctx_scope_t scope = push("a");
    cr_assert_eq(dctx_scope_depth(), 1);
    cr_assert_str_eq(text_of(user), "outer", "inherited");
    OK(dctx_set(user, "one"));
    OK(dctx_set(user, "two"));
    OK(dctx_set(secret, "s"));
    OK(set_note(note, "n"));
    dctx_scope_t inner = push(NULL);
    OK(dctx_unset(user));
    OK(set_note(note, "m"));
    cr_assert_null(dctx_get(user));
    OK(dctx_scope_pop(&inner));
    cr_assert_str_eq(text_of(user), "two");
    cr_assert_str_eq(note_text(note), "n");
    OK(dctx_scope_pop(&scope));
    cr_assert_str_eq(text_of(user), "outer");
    cr_assert_null(dctx_get(secret));
    cr_assert_eq(notes_alive, 0);
    cr_assert_eq(dctx_scope_depth(), 0);
}

Test(scope, names_make_the_chain_and_unnamed_scopes_do_not_show, .init = set_up)
{
    cr_assert_str_eq(chain(), "");
    dctx_scope_t a = push("api-gateway");
    dctx_scope_t b = push(NULL);
    dctx_scope_t c = push("");
    dctx_scope_t d = push("remote:orders");
    cr_assert_str_eq(chain(), "api-gateway > remote:orders");
    cr_assert_eq(dctx_chain_length(), 2);
    cr_assert_eq(dctx_chain_elided(), 0);
    char small[8];
    cr_assert_eq(dctx_chain_format(small, sizeof(small)), strlen("api-gateway > remote:orders"));
    cr_assert_str_eq(small, "api-gat");
    cr_assert_eq(dctx_chain_format(NULL, 0), strlen("api-gateway > remote:orders"));
    OK(dctx_scope_pop(&d));
    cr_assert_str_eq(chain(), "api-gateway");
    OK(dctx_scope_pop(&c));
    OK(dctx_scope_pop(&b));
    OK(dctx_scope_pop(&a));
    cr_assert_str_eq(chain(), "");
}

Test(scope, a_long_chain_keeps_the_first_four_and_the_newest, .init = set_up)
{
    dctx_scope_t scopes[40];
    for (int i = 0; i < 40; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "n%d", i);
        scopes[i] = push(name);
    }
    cr_assert_eq(dctx_chain_length(), 32);
    cr_assert_eq(dctx_chain_elided(), 8);
    cr_assert_not_null(strstr(chain(), "n0 > n1 > n2 > n3 > [8 more] > n12 > n13"));
    dctx_snapshot_t *snapshot = capture();
    char text[1024];
    (void)dctx_snapshot_chain_format(snapshot, text, sizeof(text));
    cr_assert_str_eq(text, chain());
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 32);
    cr_assert_eq(dctx_snapshot_chain_elided(snapshot), 8);
    dctx_snapshot_unref(&snapshot);
    for (int i = 40; i-- > 0;)
        OK(dctx_scope_pop(&scopes[i]));
}

Test(scope, names_are_checked, .init = set_up)
{
    char name[66];
    memset(name, 'x', sizeof(name));
    name[65] = '\0';
    dctx_scope_t scope;
    FAILS_SAYING(dctx_scope_push(name, &scope), DCTX_ERR_LIMIT, "name_bytes");
    cr_assert_eq(dctx_scope_error(&scope), DCTX_ERR_LIMIT);
    OK(dctx_scope_pop(&scope));
    FAILS(dctx_scope_push("a\tb", &scope), DCTX_ERR_INVALID);
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(counters().scope_refused, 2);
    cr_assert_eq(dctx_scope_depth(), 0);
    name[64] = '\0';
    scope = push(name);
    cr_assert_eq(dctx_scope_error(&scope), DCTX_OK);
    cr_assert_str_eq(chain(), name);
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(dctx_scope_error(NULL), DCTX_OK);
}

Test(scope, deeper_than_the_limit_is_a_scope_that_does_nothing, .init = set_up)
{
    static dctx_scope_t scopes[1024];
    for (int i = 0; i < 1024; i++) {
        scopes[i] = push(i % 2 ? "named" : NULL);
        OK(set_total(i));
    }
    dctx_scope_t extra;
    FAILS_SAYING(dctx_scope_push("one more", &extra), DCTX_ERR_LIMIT, "1024");
    OK(dctx_set(user, "in the deepest real one"));
    OK(dctx_scope_pop(&extra));
    cr_assert_str_eq(text_of(user), "in the deepest real one");
    dctx_snapshot_t *snapshot = forked();
    FAILS(dctx_attach(snapshot, &extra), DCTX_ERR_LIMIT);
    OK(dctx_scope_pop(&extra));
    dctx_snapshot_unref(&snapshot);
    for (int i = 1024; i-- > 0;) {
        cr_assert_eq(*(const int64_t *)dctx_get(total), i);
        OK(dctx_scope_pop(&scopes[i]));
    }
    cr_assert(dctx_is_empty());
}

Test(scope, popped_twice_or_zeroed_it_does_nothing, .init = set_up)
{
    dctx_scope_t scope = push("a");
    dctx_scope_t copy = scope;
    OK(dctx_scope_pop(&scope));
    OK(dctx_scope_pop(&scope));
    FAILS(dctx_scope_pop(&copy), DCTX_ERR_NOT_OPEN);
    OK(dctx_scope_pop(&copy));
    cr_assert_eq(counters().scope_misuse, 1);
    dctx_scope_t zero = {0};
    OK(dctx_scope_pop(&zero));
    OK(dctx_scope_pop(NULL));
}

Test(scope, popped_out_of_order_it_closes_when_those_above_have, .init = set_up)
{
    dctx_set_log(log_sink, NULL);
    dctx_scope_t a = push("a");
    OK(dctx_set(user, "in a"));
    dctx_scope_t b = push("b");
    OK(dctx_set(user, "in b"));
    dctx_scope_t c = push("c");
    OK(dctx_set(user, "in c"));
    dctx_scope_t b_copy = b;
    FAILS_SAYING(dctx_scope_pop(&b), DCTX_ERR_SCOPE_ORDER, "'c'");
    cr_assert_eq(log_lines, 1);
    cr_assert_not_null(strstr(log_text, "'b'"));
    FAILS(dctx_scope_pop(&b_copy), DCTX_ERR_NOT_OPEN);
    FAILS(dctx_scope_pop(&a), DCTX_ERR_SCOPE_ORDER);
    cr_assert_str_eq(text_of(user), "in c", "the others are not touched");
    cr_assert_str_eq(chain(), "a > b > c");
    cr_assert_eq(dctx_scope_depth(), 3);
    OK(dctx_scope_pop(&c));
    cr_assert_eq(dctx_scope_depth(), 0);
    cr_assert_null(dctx_get(user));
    cr_assert_eq(counters().scope_misuse, 3);
    dctx_set_log(NULL, NULL);
}

Test(scope, one_that_waits_does_not_close_those_below, .init = set_up)
{
    dctx_scope_t a = push("a");
    OK(dctx_set(user, "in a"));
    dctx_scope_t b = push("b");
    dctx_scope_t c = push("c");
    FAILS(dctx_scope_pop(&b), DCTX_ERR_SCOPE_ORDER);
    OK(dctx_scope_pop(&c));
    cr_assert_eq(dctx_scope_depth(), 1);
    cr_assert_str_eq(text_of(user), "in a");
    OK(dctx_scope_pop(&a));
}

static void *pop_here(void *scope)
{
    dctx_error_t first = dctx_scope_pop(scope);
    dctx_scope_t mine = push("mine");
    dctx_error_t second = dctx_scope_pop(scope);
    OK(dctx_scope_pop(&mine));
    return (void *)(uintptr_t)(first == DCTX_ERR_WRONG_THREAD && second == DCTX_ERR_WRONG_THREAD);
}

Test(scope, another_thread_cannot_pop_it, .init = set_up)
{
    dctx_scope_t scope = push("a");
    OK(dctx_set(user, "u"));
    cr_assert_not_null(run_on_thread(pop_here, &scope));
    cr_assert_eq(counters().scope_misuse, 2);
    cr_assert_str_eq(text_of(user), "u");
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(dctx_scope_depth(), 0);
}

static void *leave_open(void *arg)
{
    dctx_scope_t *token = arg;
    OK(set_note(memo, "at the bottom"));
    *token = push("left open");
    OK(set_note(note, "in a scope"));
    dctx_snapshot_t *snapshot = forked();
    (void)attach(snapshot);
    OK(set_note(note, "in an attachment"));
    dctx_scope_t scope;
    OK(dctx_attach_scope(snapshot, "again", &scope));
    (void)push(NULL);
    OK(set_note(note, "deeper"));
    OK(dctx_clear());
    OK(set_note(note, "deepest"));
    dctx_snapshot_unref(&snapshot);
    return NULL;
}

Test(scope, a_thread_may_end_with_scopes_and_attachments_open, .init = set_up)
{
    dctx_scope_t token = {0};
    (void)run_on_thread(leave_open, &token);
    cr_assert_eq(notes_alive, 0);
    FAILS(dctx_scope_pop(&token), DCTX_ERR_WRONG_THREAD);
    /* The ended thread's memory may well be ours now: its token is still nobody's. */
    for (int i = 0; i < 3; i++) {
        dctx_scope_t scope = push("mine");
        dctx_scope_t copy = token;
        dctx_error_t error = dctx_scope_pop(&copy);
        cr_assert(error == DCTX_ERR_WRONG_THREAD || error == DCTX_ERR_NOT_OPEN);
        OK(dctx_scope_pop(&scope));
    }
}

static pthread_key_t late_key;

static void late_destructor(void *arg)
{
    (void)arg;
    OK(set_note(memo, "after the context's own end"));
    (void)push("late");
    OK(set_note(note, "late"));
    (void)dctx_get(note);
}

static void *set_late(void *arg)
{
    OK(set_note(note, "early"));
    cr_assert_eq(pthread_setspecific(late_key, &late_key), 0);
    return arg;
}

Test(scope, other_thread_exit_handlers_may_still_call_in, .init = set_up)
{
    OK(dctx_set(user, "u")); /* so that the library's own handler is registered first */
    cr_assert_eq(pthread_key_create(&late_key, late_destructor), 0);
    (void)run_on_thread(set_late, NULL);
    cr_assert_eq(notes_alive, 0);
}

/* ---- undo, with snapshots taken meanwhile ---- */

Test(scope, what_was_shared_by_a_capture_is_undone_without_memory, .init = set_up)
{
    OK(dctx_set(user, "u0"));
    OK(dctx_set(tenant, "t0"));
    dctx_scope_t a = push("a");
    OK(dctx_set(user, "u1"));
    dctx_snapshot_t *in_a = forked();
    dctx_scope_t b = push(NULL);
    OK(dctx_set(tenant, "t2"));
    dctx_scope_t c = push(NULL);
    OK(dctx_set(user, "u3"));
    dctx_snapshot_t *in_c = capture();
    OK(dctx_set(tenant, "t3"));
    dctx_snapshot_t *later_in_c = capture();
    count_allocations();
    fail_at = 1;
    OK(dctx_scope_pop(&c));
    cr_assert_str_eq(text_of(user), "u1");
    cr_assert_str_eq(text_of(tenant), "t2");
    OK(dctx_scope_pop(&b));
    cr_assert_str_eq(text_of(tenant), "t0");
    OK(dctx_scope_pop(&a));
    cr_assert_str_eq(text_of(user), "u0");
    cr_assert_str_eq(text_of(tenant), "t0");
    fail_at = 0;
    cr_assert_str_eq(dctx_snapshot_get(in_a, user), "u1");
    cr_assert_str_eq(dctx_snapshot_get(in_a, tenant), "t0");
    cr_assert_str_eq(dctx_snapshot_get(in_c, user), "u3");
    cr_assert_str_eq(dctx_snapshot_get(in_c, tenant), "t2");
    cr_assert_str_eq(dctx_snapshot_get(later_in_c, tenant), "t3");
    dctx_snapshot_unref(&in_a);
    dctx_snapshot_unref(&in_c);
    dctx_snapshot_unref(&later_in_c);
}

Test(scope, an_attachment_inside_does_not_use_up_what_undoing_needs, .init = set_up)
{
    OK(dctx_set(user, "u0"));
    dctx_scope_t a = push("a");
    OK(dctx_set(user, "u1"));
    dctx_snapshot_t *held = forked(); /* sharing with something to undo */
    dctx_scope_t inside = attach(held);
    dctx_scope_t b = push("b");
    OK(dctx_set(user, "u2"));
    OK(dctx_set(tenant, "t2"));
    dctx_snapshot_t *held_too = forked();
    OK(dctx_set(tenant, "t3"));
    dctx_snapshot_t *held_also = forked();
    count_allocations();
    fail_at = 1;
    OK(dctx_scope_pop(&b));
    OK(dctx_scope_pop(&inside));
    OK(dctx_scope_pop(&a));
    fail_at = 0;
    cr_assert_str_eq(text_of(user), "u0");
    cr_assert_str_eq(dctx_snapshot_get(held_too, tenant), "t2");
    cr_assert_str_eq(dctx_snapshot_get(held_also, tenant), "t3");
    dctx_snapshot_unref(&held);
    dctx_snapshot_unref(&held_too);
    dctx_snapshot_unref(&held_also);
}

Test(scope, a_clear_after_logged_changes_and_a_capture_is_undone, .init = set_up)
{
    OK(set_note(note, "n0"));
    OK(dctx_set(user, "u0"));
    dctx_scope_t a = push("a");
    OK(set_note(note, "n1")); /* logged */
    dctx_snapshot_t *held = forked();
    OK(dctx_clear()); /* put away whole */
    OK(set_note(note, "n2"));
    OK(dctx_scope_pop(&a));
    cr_assert_str_eq(note_text(note), "n0");
    cr_assert_str_eq(text_of(user), "u0");
    dctx_snapshot_unref(&held);
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
}

Test(scope, a_long_lived_scope_does_not_grow, .init = set_up)
{
    dctx_scope_t scope = push("server");
    char text[16];
    for (int i = 0; i < 3; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        OK(dctx_set(user, text));
        OK(set_total(i));
        dctx_snapshot_t *snapshot = capture();
        dctx_snapshot_unref(&snapshot);
    }
    cr_assert_leq(dctx_hot_.thread->undo_count, 2);
    uint32_t before = dctx_hot_.thread->undo_count;
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        OK(dctx_set(user, text));
        dctx_snapshot_t *snapshot = i % 3 == 0 ? forked() : capture();
        OK(set_total(i));
        dctx_snapshot_unref(&snapshot);
    }
    cr_assert_eq(dctx_hot_.thread->undo_count, before);
    OK(dctx_scope_pop(&scope));
    cr_assert(dctx_is_empty());
}

Test(scope, with_more_than_64_keys_each_is_undone)
{
    enum { COUNT = 200 };
    const dctx_key_t *keys[COUNT];
    char name[16];
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof(name), "key%d", i);
        keys[i] = add_to(NULL, name, DCTX_TYPE_INT64, i % 5 == 0 ? DCTX_LOCAL : 0);
    }
    OK(dctx_registry_freeze(NULL));
    for (int64_t i = 0; i < COUNT; i++)
        OK(dctx_set(keys[i], &i));
    dctx_scope_t scope = push(NULL);
    for (int round = 0; round < 3; round++)
        for (int64_t i = 0, value = 1000 + round; i < COUNT; i++)
            OK(dctx_set(keys[i], &value));
    cr_assert_eq(dctx_hot_.thread->undo_count, COUNT);
    OK(dctx_scope_pop(&scope));
    for (int64_t i = 0; i < COUNT; i++)
        cr_assert_eq(*(const int64_t *)dctx_get(keys[i]), i);
}

/* ---- guards ---- */

static int leave_by_return(void)
{
    DCTX_WITH_SCOPE("returns") {
        OK(dctx_set(user, "inside"));
        return (int)dctx_scope_depth();
    }
    return -1;
}

Test(scope, guards_pop_however_the_block_is_left, .init = set_up)
{
    cr_assert_eq(leave_by_return(), 1);
    cr_assert_eq(dctx_scope_depth(), 0);
    for (int i = 0; i < 3; i++) {
        DCTX_SCOPE("loop");
        DCTX_SCOPE(NULL);
        OK(dctx_set(user, "x"));
        cr_assert_eq(dctx_scope_depth(), 2);
        if (i == 1)
            continue;
    }
    cr_assert_eq(dctx_scope_depth(), 0);
    DCTX_WITH_SCOPE("broken") {
        DCTX_WITH_SCOPE("inner") {
            break;
        }
        cr_assert_eq(dctx_scope_depth(), 1);
        cr_assert_str_eq(chain(), "broken");
        break;
    }
    cr_assert_eq(dctx_scope_depth(), 0);
    dctx_snapshot_t *snapshot = capture();
    DCTX_WITH_SNAPSHOT(snapshot) {
        DCTX_ATTACH_SCOPE(snapshot, "job");
        DCTX_ATTACH(snapshot);
        cr_assert_eq(dctx_scope_depth(), 3);
    }
    cr_assert(dctx_is_empty());
    dctx_snapshot_unref(&snapshot);
}

Test(scope, a_guard_whose_push_fails_runs_the_block, .init = set_up)
{
    int ran = 0;
    DCTX_WITH_SCOPE("bad\nname") {
        ran++;
        cr_assert_eq(dctx_scope_depth(), 0);
    }
    DCTX_WITH_SNAPSHOT(NULL)
        ran++;
    cr_assert_eq(ran, 2);
}

Test(scope, out_of_memory_opens_nothing, .init = set_up)
{
    count_allocations();
    fail_at = 1;
    dctx_scope_t scope;
    FAILS(dctx_scope_push("a", &scope), DCTX_ERR_NOMEM);
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(dctx_scope_depth(), 0);
    fail_at = 0;
    dctx_scope_t scopes[64];
    size_t depth = 0;
    for (; depth < 64; depth++) {
        fail_at = depth < 16 ? 0 : allocations + 1;
        if (dctx_scope_push("a", &scopes[depth]) != DCTX_OK)
            break;
    }
    cr_assert_lt(depth, 64, "at some depth the frames must grow");
    cr_assert_eq(dctx_scope_error(&scopes[depth]), DCTX_ERR_NOMEM);
    cr_assert_eq(dctx_scope_depth(), depth);
    while (depth-- > 0)
        OK(dctx_scope_pop(&scopes[depth]));
    fail_at = 0;
    cr_assert(dctx_is_empty());
}

Test(scope, unwinding_closes_what_was_left_open, .init = set_up)
{
    dctx_context_counters_t before, after;
    dctx_context_counters_read(&before);
    OK(dctx_set(user, "outer"));
    dctx_scope_t base = push("base");
    OK(dctx_set(user, "base"));
    dctx_scope_t leaked = push("leaked");
    OK(set_note(note, "n"));
    (void)push(NULL);
    dctx_scope_t copy = leaked;
    cr_assert_eq(dctx_scope_unwind_(&base), 2);
    cr_assert_eq(base.serial_, 0);
    cr_assert_eq(dctx_scope_depth(), 0);
    cr_assert_str_eq(text_of(user), "outer");
    cr_assert_eq(notes_alive, 0);
    cr_assert_eq(dctx_scope_unwind_(&base), 0, "a zeroed token");
    cr_assert_eq(dctx_scope_unwind_(&copy), 0, "a token whose scope is gone");
    cr_assert_eq(dctx_scope_unwind_(NULL), 0);
    base = push("base");
    cr_assert_eq(dctx_scope_unwind_(&base), 0, "nothing was left open");
    cr_assert_eq(dctx_scope_depth(), 0);
    dctx_context_counters_read(&after);
    cr_assert_eq(before.scope_misuse, after.scope_misuse);
}

/* An attachment with a name, of a snapshot that stays the caller's: only read,
 * and then written to. */
Test(scope, a_lent_snapshot_is_held_by_who_lent_it, .init = set_up)
{
    dctx_snapshot_t *snapshot = NULL, *inside = NULL;
    OK(dctx_set(user, "u"));
    OK(dctx_fork(&snapshot));
    OK(dctx_clear());
    for (int round = 0; round < 3; round++) {
        dctx_scope_t scope;
        char text[64];
        OK(dctx_attach_lent_(snapshot, "lent", 4, &scope));
        cr_assert_str_eq(text_of(user), "u");
        cr_assert(dctx_scope_is_fresh_(&scope));
        dctx_chain_format(text, sizeof(text));
        cr_assert_str_eq(text, "lent");
        if (round > 0) {
            OK(dctx_fork(&inside));
            cr_assert_neq(inside, snapshot, "its chain is another");
            cr_assert_eq(dctx_snapshot_chain_length(inside), 1);
            cr_assert_not(dctx_scope_is_fresh_(&scope));
        }
        if (round > 1)
            OK(dctx_set(user, "v"));
        cr_assert_eq(dctx_scope_unwind_(&scope), 0);
        cr_assert_null(dctx_get(user));
        if (inside != NULL) {
            cr_assert_str_eq(dctx_snapshot_get(inside, user), "u");
            dctx_snapshot_unref(&inside);
        }
        cr_assert_str_eq(dctx_snapshot_get(snapshot, user), "u");
    }
    cr_assert(dctx_refcount_is_unique(&snapshot->refs));
    dctx_snapshot_unref(&snapshot);
}

/* What is refused leaves the reference where it was, and was refused by the question before. */
Test(scope, a_reference_is_taken_over_by_an_attachment, .init = set_up)
{
    char long_name[DCTX_NAME_BYTES_MAX + 1];
    dctx_snapshot_t *snapshot = NULL;
    dctx_scope_t scope;
    memset(long_name, 'x', sizeof(long_name));
    OK(dctx_set(user, "u"));
    OK(dctx_fork(&snapshot));
    OK(dctx_clear());
    FAILS(dctx_attach_ready_(long_name, sizeof(long_name)), DCTX_ERR_LIMIT);
    FAILS(dctx_attach_ready_("a\n", 2), DCTX_ERR_INVALID);
    FAILS(dctx_attach_taken_(snapshot, "a\n", 2, &scope), DCTX_ERR_INVALID);
    cr_assert(dctx_refcount_is_unique(&snapshot->refs));
    OK(dctx_attach_ready_("taken", 5));
    OK(dctx_attach_ready_(NULL, 0));
    cr_assert_eq(dctx_scope_depth(), 0);
    cr_assert_str_eq(chain(), "");
    OK(dctx_attach_taken_(dctx_snapshot_ref(snapshot), "taken", 5, &scope));
    cr_assert_str_eq(text_of(user), "u");
    cr_assert_str_eq(chain(), "taken");
    OK(dctx_scope_pop(&scope));
    cr_assert(dctx_refcount_is_unique(&snapshot->refs), "it went with the attachment");
    dctx_scope_t scopes[2000];
    size_t open = 0;
    while (dctx_attach_ready_(NULL, 0) == DCTX_OK) {
        cr_assert_lt(open, sizeof(scopes) / sizeof(scopes[0]));
        OK(dctx_attach(snapshot, &scopes[open++]));
    }
    FAILS(dctx_attach(snapshot, &scope), DCTX_ERR_LIMIT);
    while (open > 0)
        OK(dctx_scope_pop(&scopes[--open]));
    dctx_snapshot_unref(&snapshot);
}

/* A context that was written for one message is worth a snapshot when it is sent again,
 * until it changes. */
static void *take_room(size_t size, void *arg)
{
    static uint8_t room[2048];
    dctx_bytes_t *bytes = arg;
    cr_assert_leq(size, sizeof(room));
    *bytes = (dctx_bytes_t){room, size};
    return room;
}

Test(scope, a_context_is_encoded_once_without_a_snapshot, .init = set_up)
{
    const dctx_passing_t all = {
        .reaches = ~0u, .unknown = true, .stamp_bytes = SIZE_MAX, .chain_names = SIZE_MAX};
    const dctx_passing_t few = {
        .reaches = 1u << DCTX_REACH_ANY, .stamp_bytes = SIZE_MAX, .chain_names = SIZE_MAX};
    dctx_bytes_t bytes = {NULL, 0}, expected;
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_not(dctx_travels_());
    cr_assert_eq(dctx_context_encode_(&all, take_room, &bytes), DCTX_ONCE_NOT, "nothing there");
    OK(dctx_set(secret, "s"));
    cr_assert_not(dctx_travels_());
    dctx_scope_t outer = push("root");
    for (int i = 0; i < 4; i++) {
        dctx_scope_t scope = push(i % 2 == 0 ? "name" : NULL);
        OK(dctx_set(user, i < 2 ? "u" : "another"));
        cr_assert(dctx_travels_());
        cr_assert_null(dctx_captured_());
        cr_assert_eq(dctx_context_encode_(&few, take_room, &bytes), DCTX_ONCE_NOT, "its reach");
        cr_assert_eq(dctx_context_encode_(&all, take_room, &bytes), DCTX_ONCE_DONE);
        cr_assert_eq(dctx_context_encode_(&all, take_room, &bytes), DCTX_ONCE_AGAIN);
        OK(dctx_capture(&snapshot));
        cr_assert_eq(dctx_captured_(), snapshot);
        OK(dctx_snapshot_encode(snapshot, &expected));
        cr_assert_eq(bytes.size, expected.size);
        cr_assert_arr_eq(bytes.data, expected.data, bytes.size);
        dctx_snapshot_unref(&snapshot);
        OK(dctx_scope_pop(&scope));
        cr_assert_eq(dctx_context_encode_(&all, take_room, &bytes), DCTX_ONCE_DONE, "as it was");
    }
    OK(dctx_scope_pop(&outer));
}
