/*
 * In the steady state reading, scopes, attaching and taking snapshots allocate nothing, and what
 * goes on for long does not grow. Shown by counting.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <stdio.h>

#include "watch.h"

enum { KEYS = 100, ROUNDS = 1000 };

static const dctx_key_t *keys[KEYS]; /* every second one local */

static void init(void)
{
    watch_install();
    for (int i = 0; i < KEYS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "key-%03d", i);
        const dctx_key_options_t options = {
            .name = name, .type = DCTX_TYPE_STRING, .flags = i % 2 ? DCTX_LOCAL : DCTX_BROADCAST};
        cr_assert_eq(dctx_registry_add(NULL, &options, &keys[i]), DCTX_OK);
    }
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

static void set(int i, const char *text)
{
    cr_assert_eq(dctx_set(keys[i], text), DCTX_OK);
}

static void read_all(void)
{
    for (int i = 0; i < KEYS; i++)
        (void)dctx_get(keys[i]);
}

static void push_pop(const char *name)
{
    dctx_scope_t scope;
    cr_assert_eq(dctx_scope_push(name, &scope), DCTX_OK);
    read_all();
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
}

static void take(void)
{
    dctx_snapshot_t *captured = NULL, *forked = NULL;
    cr_assert_eq(dctx_capture(&captured), DCTX_OK);
    cr_assert_eq(dctx_fork(&forked), DCTX_OK);
    dctx_snapshot_unref(&captured);
    dctx_snapshot_unref(&forked);
}

static void attach(const dctx_snapshot_t *snapshot, const char *name)
{
    dctx_scope_t scope;
    cr_assert_eq(dctx_attach_scope(snapshot, name, &scope), DCTX_OK);
    read_all();
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
}

/* A request's worth of what needs no memory, at this depth. */
static void go_about(const dctx_snapshot_t *snapshot)
{
    push_pop("named");
    push_pop(NULL);
    take();
    attach(snapshot, NULL);
    attach(snapshot, "named");
    DCTX_WITH_SCOPE("outer")
        DCTX_WITH_SNAPSHOT(snapshot)
            DCTX_WITH_SCOPE("inner")
                push_pop("innermost");
    DCTX_WITH_SNAPSHOT(snapshot)
        take(); /* what is attached stands for itself */
}

Test(steady, allocates_nothing, .init = init)
{
    dctx_scope_t scopes[64];
    dctx_snapshot_t *snapshot = NULL;
    set(0, "root");
    set(1, "root");
    cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
    for (int depth = 0; depth < 64; depth++) {
        go_about(snapshot); /* the first time may */
        watch_begin();
        for (int round = 0; round < 10; round++)
            go_about(snapshot);
        cr_assert_eq(watch_count(), 0, "%zu allocations at depth %d", watch_count(), depth);
        cr_assert_eq(dctx_scope_push(depth % 3 ? "scope" : NULL, &scopes[depth]), DCTX_OK);
        set(depth, "here");
    }
    for (int depth = 64; depth-- > 0;)
        cr_assert_eq(dctx_scope_pop(&scopes[depth]), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
}

/* A value costs its own block and no more; the scope around it nothing. */
Test(steady, a_value_is_one_block, .init = init)
{
    for (int warm = 2; warm-- > 0;) {
        watch_begin();
        for (int i = 0; i < ROUNDS; i++) {
            dctx_scope_t scope;
            cr_assert_eq(dctx_scope_push("scope", &scope), DCTX_OK);
            set(i % KEYS, "value");
            cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
        }
    }
    cr_assert_eq(watch_count(), ROUNDS);
    cr_assert_leq(watch_peak(), 256);
}

/* One scope that lives for long and sets and captures all the time. */
Test(steady, a_long_scope_does_not_grow, .init = init)
{
    dctx_scope_t outer, scope;
    cr_assert_eq(dctx_scope_push("outer", &outer), DCTX_OK);
    cr_assert_eq(dctx_scope_push("long", &scope), DCTX_OK);
    size_t bytes = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < ROUNDS; i++) {
            dctx_snapshot_t *snapshot = NULL;
            set(i % KEYS, "value");
            cr_assert_eq(i % 2 ? dctx_fork(&snapshot) : dctx_capture(&snapshot), DCTX_OK);
            if (i % 3 == 0) {
                dctx_scope_t inner;
                cr_assert_eq(dctx_attach_scope(snapshot, "inner", &inner), DCTX_OK);
                set((i + 1) % KEYS, "inner");
                cr_assert_eq(dctx_scope_pop(&inner), DCTX_OK);
            }
            if (i % 5 == 0)
                cr_assert_eq(dctx_unset(keys[(i + 7) % KEYS]), DCTX_OK);
            if (i % 7 == 0)
                cr_assert_eq(dctx_merge(snapshot), DCTX_OK);
            if (i % 101 == 0)
                cr_assert_eq(dctx_clear(), DCTX_OK);
            dctx_snapshot_unref(&snapshot);
        }
        if (round == 1)
            bytes = watch_live_bytes();
    }
    cr_assert_leq(watch_live_bytes(), bytes + 64);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&outer), DCTX_OK);
    cr_assert(dctx_is_empty());
}

/* Encoding again what did not change, and what changed in one value. */
Test(steady, encoding_is_kept, .init = init)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_bytes_t first, again;
    dctx_context_counters_t before, after;
    for (int i = 0; i < 20; i += 2)
        set(i, "a value of some length");
    cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
    cr_assert_eq(dctx_snapshot_encode(snapshot, &first), DCTX_OK);
    dctx_context_counters_read(&before);
    watch_begin();
    for (int i = 0; i < ROUNDS; i++) {
        dctx_snapshot_t *same = NULL;
        cr_assert_eq(dctx_capture(&same), DCTX_OK);
        cr_assert_eq(dctx_snapshot_encode(same, &again), DCTX_OK);
        cr_assert_eq(again.data, first.data);
        dctx_snapshot_unref(&same);
    }
    cr_assert_eq(watch_count(), 0);
    dctx_context_counters_read(&after);
    cr_assert_eq(after.encoded, before.encoded);
    /* A local value is no change to what leaves. */
    set(1, "local");
    dctx_snapshot_t *same = NULL;
    cr_assert_eq(dctx_capture(&same), DCTX_OK);
    cr_assert_eq(dctx_snapshot_encode(same, &again), DCTX_OK);
    cr_assert_eq(again.size, first.size);
    cr_assert_arr_eq(again.data, first.data, first.size);
    dctx_snapshot_unref(&same);
    dctx_snapshot_unref(&snapshot);
}
