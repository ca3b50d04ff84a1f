/*
 * User code is called in the middle of the library's, and calls back: copy, destroy, encode,
 * decode, migrate, update callbacks and log sinks that set, read, push, pop, capture, attach,
 * encode and decode themselves; and threads that end with everything open.
 *
 * What they see is consistent: never a value that was destroyed. What they do holds.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"
#include "wire.h"

enum { IDS = 100000 };

/* A value that calls a hook whenever something is done to it. */
typedef struct hook {
    unsigned id; /* 0: owns nothing */
} hook_t;

typedef enum moment { COPY, DESTROY, ENCODE, DECODE, MIGRATE, MOMENTS } moment_t;

static void (*hooks[MOMENTS])(unsigned id);
static unsigned calls[MOMENTS];
static unsigned next_id;           /* atomic */
static unsigned char living[IDS];  /* atomic bytes */
static unsigned living_count;      /* atomic */
static _Thread_local int encoding; /* encode functions this thread is in */

static void called(moment_t moment, unsigned id)
{
    (void)__atomic_add_fetch(&calls[moment], 1, __ATOMIC_RELAXED);
    void (*hook)(unsigned) = __atomic_load_n(&hooks[moment], __ATOMIC_ACQUIRE);
    if (hook != NULL)
        hook(id);
}

static hook_t make(void)
{
    unsigned id = __atomic_add_fetch(&next_id, 1, __ATOMIC_RELAXED);
    cr_assert_lt(id, IDS);
    __atomic_store_n(&living[id], 1, __ATOMIC_RELEASE);
    (void)__atomic_add_fetch(&living_count, 1, __ATOMIC_RELAXED);
    return (hook_t){id};
}

static bool alive(unsigned id)
{
    return id < IDS && __atomic_load_n(&living[id], __ATOMIC_ACQUIRE);
}

static dctx_error_t hook_copy(void *dst, const void *src)
{
    const hook_t *from = src;
    called(COPY, from->id);
    *(hook_t *)dst = from->id != 0 ? make() : (hook_t){0};
    return DCTX_OK;
}

static void hook_destroy(void *value)
{
    hook_t *hook = value;
    if (hook->id == 0)
        return;
    cr_assert(alive(hook->id), "destroyed twice");
    __atomic_store_n(&living[hook->id], 0, __ATOMIC_RELEASE);
    (void)__atomic_sub_fetch(&living_count, 1, __ATOMIC_RELAXED);
    called(DESTROY, hook->id);
}

static dctx_error_t hook_encode(const void *value, dctx_writer_t *writer)
{
    const hook_t *hook = value;
    cr_assert(hook->id == 0 || alive(hook->id));
    encoding++;
    called(ENCODE, hook->id);
    encoding--;
    cr_assert(hook->id == 0 || alive(hook->id));
    dctx_write_cstr(writer, "hook");
    return DCTX_OK;
}

static dctx_error_t hook_decode(void *dst, const void *data, size_t size)
{
    uint8_t before[64], after[64];
    cr_assert_leq(size, sizeof(before));
    memcpy(before, data, size);
    called(DECODE, 0);
    memcpy(after, data, size); /* the input is still there */
    cr_assert_arr_eq(before, after, size);
    *(hook_t *)dst = make();
    return DCTX_OK;
}

static dctx_error_t hook_migrate(const void *data, size_t size, dctx_writer_t *writer)
{
    called(MIGRATE, 0);
    dctx_writer_put(writer, data, size);
    return DCTX_OK;
}

static const dctx_type_t hook_type = {"hook",      sizeof(hook_t), hook_copy, hook_destroy,
                                      hook_encode, hook_decode,    0};
static const dctx_migration_t migrations[] = {{1, 2, hook_migrate}};

static const dctx_key_t *main_key, *side_key, *local_key, *text_key, *old_key, *number_key;
static dctx_registry_t *isolated;
static const dctx_key_t *isolated_key;

static void init(void)
{
    const struct {
        const dctx_key_t **key;
        dctx_key_options_t options;
    } keys[] = {
        {&main_key, {.name = "main", .type = &hook_type}},
        {&side_key, {.name = "side", .type = &hook_type}},
        {&local_key, {.name = "local", .type = &hook_type, .flags = DCTX_LOCAL}},
        {&text_key, {.name = "text", .type = DCTX_TYPE_STRING}},
        {&number_key, {.name = "number", .type = DCTX_TYPE_INT64}},
        {&old_key,
         {.name = "old",
          .type = &hook_type,
          .version = 2,
          .migrations = migrations,
          .migration_count = 1}},
    };
    watch_install();
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        cr_assert_eq(dctx_registry_add(NULL, &keys[i].options, keys[i].key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    cr_assert_eq(dctx_registry_new(&isolated), DCTX_OK);
    cr_assert_eq(dctx_registry_add(isolated, &keys[0].options, &isolated_key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(isolated), DCTX_OK);
}

static void fini(void)
{
    dctx_registry_destroy(&isolated);
}

/* On a thread of its own, whose end releases everything. */
static void on_a_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    size_t blocks = watch_live_blocks();
    cr_assert_eq(pthread_create(&thread, NULL, run, arg), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(watch_live_blocks(), blocks, "%zd blocks left",
                 (ssize_t)(watch_live_blocks() - blocks));
    cr_assert_eq(living_count, 0, "%u values left", living_count);
}

static void hook_on(moment_t moment, void (*hook)(unsigned id))
{
    __atomic_store_n(&hooks[moment], hook, __ATOMIC_RELEASE);
}

static void set_hook(const dctx_key_t *key)
{
    hook_t hook = make();
    cr_assert_eq(dctx_set(key, &hook), DCTX_OK);
    hook_destroy(&hook);
}

/* ---- something to do in a hook ---- */

/* Whatever can be read is alive. */
static void look(void)
{
    const dctx_key_t *keys[] = {main_key, side_key, local_key, old_key, isolated_key};
    char chain[4096];
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const hook_t *hook = dctx_get(keys[i]);
        cr_assert(hook == NULL || hook->id == 0 || alive(hook->id),
                  "a value can be read that is destroyed");
    }
    (void)dctx_chain_format(chain, sizeof(chain));
    (void)dctx_get(text_key);
}

static _Thread_local int level;

/* Everything at once, undone at the end, deep enough to make arrays grow. */
static void work(unsigned id)
{
    (void)id;
    if (level >= 2)
        return;
    level++;
    look();
    size_t depth = dctx_scope_depth();
    dctx_scope_t scopes[40], attached;
    dctx_snapshot_t *forked = NULL, *captured = NULL, *again = NULL;
    dctx_bytes_t bytes;
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(dctx_scope_push(i % 2 ? "work" : NULL, &scopes[i]), DCTX_OK);
        if (dctx_current_registry() == dctx_registry_global()) {
            cr_assert_eq(dctx_set(text_key, i % 3 ? "working" : "on it"), DCTX_OK);
            cr_assert_eq(dctx_set(number_key, &(int64_t){i}), DCTX_OK);
        }
    }
    if (dctx_current_registry() == dctx_registry_global()) {
        hook_t hook = make();
        cr_assert_eq(dctx_set(side_key, &hook), DCTX_OK);
        cr_assert_eq(dctx_set(main_key, &hook), DCTX_OK);
        hook_destroy(&hook);
        cr_assert_eq(dctx_unset(main_key), DCTX_OK);
    }
    cr_assert_eq(dctx_fork(&forked), DCTX_OK);
    cr_assert_eq(dctx_capture(&captured), DCTX_OK);
    /* A value cannot be had encoded while its own encode function is at it. */
    dctx_error_t error = dctx_snapshot_encode(captured, &bytes);
    cr_assert(error == DCTX_OK || (error == DCTX_ERR_CODEC && encoding > 0), "%s",
              dctx_error_detail());
    if (error == DCTX_OK)
        error = dctx_snapshot_decode(dctx_current_registry(), bytes.data, bytes.size, &again);
    else
        error = dctx_snapshot_empty(dctx_current_registry(), &again);
    cr_assert_eq(error, DCTX_OK);
    cr_assert_eq(dctx_attach_scope(again, "again", &attached), DCTX_OK);
    look();
    cr_assert_eq(dctx_merge(forked), DCTX_OK);
    cr_assert_eq(dctx_clear(), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&attached), DCTX_OK);
    for (int i = 40; i-- > 0;)
        cr_assert_eq(dctx_scope_pop(&scopes[i]), DCTX_OK);
    dctx_snapshot_unref(&forked);
    dctx_snapshot_unref(&captured);
    dctx_snapshot_unref(&again);
    cr_assert_eq(dctx_scope_depth(), depth);
    look();
    level--;
}

/* ---- the whole life of values, with every hook at work ---- */

static dctx_error_t replace(void *value, bool present, void *arg)
{
    hook_t *hook = value;
    cr_assert(present == (hook->id != 0));
    work(0);
    hook_destroy(hook);
    *hook = make();
    work(0);
    return *(dctx_error_t *)arg;
}

static void *live(void *arg)
{
    (void)arg;
    dctx_scope_t outer, inner, attached;
    dctx_snapshot_t *snapshot = NULL, *again = NULL;
    dctx_bytes_t bytes;
    dctx_error_t refusal = DCTX_ERR_REJECTED, fine = DCTX_OK;
    set_hook(main_key);
    set_hook(main_key); /* replaces */
    cr_assert_eq(dctx_scope_push("outer", &outer), DCTX_OK);
    set_hook(main_key);
    set_hook(local_key);
    cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
    set_hook(old_key);
    set_hook(main_key);
    cr_assert_eq(dctx_update(main_key, replace, &fine), DCTX_OK);
    cr_assert_eq(dctx_update(side_key, replace, &fine), DCTX_OK);
    cr_assert_eq(dctx_update(main_key, replace, &refusal), DCTX_ERR_REJECTED);
    hook_t taken = make();
    cr_assert_eq(dctx_set_take(main_key, &hook_type, &taken), DCTX_OK);
    cr_assert_eq(taken.id, 0);
    hook_t one = make(), two = make();
    const dctx_binding_t many[] = {{main_key, NULL, &one},
                                   {side_key, NULL, &two},
                                   {main_key, NULL, &two},
                                   {local_key, NULL, NULL},
                                   {text_key, NULL, "many"}};
    cr_assert_eq(dctx_set_many(many, 5), DCTX_OK);
    hook_destroy(&one);
    hook_destroy(&two);
    cr_assert_str_eq(dctx_get(text_key), "many");
    cr_assert_eq(dctx_unset(main_key), DCTX_OK);
    cr_assert_eq(dctx_merge(snapshot), DCTX_OK);
    cr_assert_not_null(dctx_get(main_key));
    cr_assert_eq(dctx_scope_push("inner", &inner), DCTX_OK);
    set_hook(main_key);
    cr_assert_eq(dctx_clear(), DCTX_OK);
    cr_assert_null(dctx_get(main_key));
    cr_assert_eq(dctx_scope_pop(&inner), DCTX_OK);
    cr_assert_not_null(dctx_get(main_key));
    dctx_snapshot_unref(&snapshot);
    set_hook(old_key);
    cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
    cr_assert_eq(dctx_snapshot_encode(snapshot, &bytes), DCTX_OK);
    cr_assert_eq(dctx_snapshot_decode(NULL, bytes.data, bytes.size, &again), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(dctx_attach(again, &attached), DCTX_OK);
    dctx_snapshot_unref(&again);
    const hook_t *read = dctx_get(main_key);
    cr_assert_not_null(read);
    cr_assert(alive(read->id));
    cr_assert_eq(dctx_get(main_key), read);
    cr_assert_not_null(dctx_get(old_key));
    set_hook(side_key);
    cr_assert_eq(dctx_scope_pop(&attached), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&outer), DCTX_OK);
    look();
    cr_assert_not_null(dctx_get(main_key));
    cr_assert_null(dctx_get(side_key));
    cr_assert_null(dctx_get(text_key));
    return NULL; /* with main set, at the root */
}

Test(reentrancy, each_hook_at_work, .init = init, .fini = fini)
{
    for (int m = 0; m < MIGRATE; m++) {
        hook_on((moment_t)m, work);
        on_a_thread(live, NULL);
        hook_on((moment_t)m, NULL);
        cr_assert_gt(calls[m], 0);
    }
}

Test(reentrancy, all_hooks_at_work, .init = init, .fini = fini, .timeout = 60)
{
    for (int m = 0; m < MOMENTS; m++)
        hook_on((moment_t)m, work);
    on_a_thread(live, NULL);
}

/* ---- destructors ---- */

/* Sets the very key that is being let go of, once. */
static _Thread_local int resets;

static void set_again(unsigned id)
{
    const hook_t *now = dctx_get(main_key);
    cr_assert(now == NULL || now->id != id);
    if (resets == 0)
        return;
    resets--;
    set_hook(main_key);
    set_hook(side_key);
}

static void *let_go(void *arg)
{
    (void)arg;
    dctx_scope_t scope;
    set_hook(main_key);
    resets = 3;
    set_hook(main_key);
    cr_assert_not_null(dctx_get(main_key));
    resets = 3;
    cr_assert_eq(dctx_unset(main_key), DCTX_OK);
    /* What the destructor set came after. */
    cr_assert_not_null(dctx_get(main_key));
    cr_assert_not_null(dctx_get(side_key));
    cr_assert_eq(dctx_scope_push("scope", &scope), DCTX_OK);
    set_hook(main_key);
    resets = 3;
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    cr_assert_eq(dctx_scope_depth(), 0);
    cr_assert_not_null(dctx_get(main_key));
    look();
    resets = 3;
    cr_assert_eq(dctx_clear(), DCTX_OK);
    look();
    resets = 2; /* and at the thread's end */
    return NULL;
}

Test(reentrancy, destructors_set_what_was_let_go, .init = init, .fini = fini)
{
    hook_on(DESTROY, set_again);
    on_a_thread(let_go, NULL);
}

/* While it runs for a pop, the scope is closed or open, not half. */
static void count_scopes(unsigned id)
{
    (void)id;
    if (level > 0) /* work's scopes are not all named */
        return;
    cr_assert_eq(dctx_scope_depth(), dctx_chain_length());
    work(0);
    cr_assert_eq(dctx_scope_depth(), dctx_chain_length());
}

static void *pop_in_and_out_of_order(void *arg)
{
    (void)arg;
    enum { DEEP = 30 };
    dctx_scope_t scopes[DEEP];
    for (int i = 0; i < DEEP; i++) {
        cr_assert_eq(dctx_scope_push("s", &scopes[i]), DCTX_OK);
        set_hook(main_key);
        set_hook(i % 2 ? side_key : local_key);
    }
    for (int i = 0; i < DEEP - 1; i += 3)
        cr_assert_eq(dctx_scope_pop(&scopes[i]), DCTX_ERR_SCOPE_ORDER);
    for (int i = DEEP; i-- > 0;)
        if (i % 3 != 0 || i == DEEP - 1)
            cr_assert_eq(dctx_scope_pop(&scopes[i]), DCTX_OK);
    cr_assert_eq(dctx_scope_depth(), 0);
    cr_assert(dctx_is_empty());
    return NULL;
}

Test(reentrancy, destructors_at_pop, .init = init, .fini = fini)
{
    hook_on(DESTROY, count_scopes);
    on_a_thread(pop_in_and_out_of_order, NULL);
}

/* The last reference goes on a thread that had nothing to do with it. */
static void *drop_there(void *arg)
{
    dctx_snapshot_t *snapshot = arg;
    dctx_scope_t scope;
    cr_assert_eq(dctx_scope_push("there", &scope), DCTX_OK);
    cr_assert_eq(dctx_set(text_key, "there"), DCTX_OK);
    unsigned before = calls[DESTROY];
    dctx_snapshot_unref(&snapshot);
    cr_assert_gt(calls[DESTROY], before);
    cr_assert_str_eq(dctx_get(text_key), "there");
    cr_assert_eq(dctx_scope_depth(), 1);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    return NULL;
}

static void *drop_elsewhere(void *arg)
{
    (void)arg;
    dctx_snapshot_t *snapshot = NULL;
    pthread_t thread;
    dctx_scope_t scope;
    cr_assert_eq(dctx_scope_push("here", &scope), DCTX_OK);
    set_hook(main_key);
    set_hook(local_key);
    cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    cr_assert_eq(pthread_create(&thread, NULL, drop_there, snapshot), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    return NULL;
}

Test(reentrancy, last_reference_goes_elsewhere, .init = init, .fini = fini)
{
    hook_on(DESTROY, work);
    on_a_thread(drop_elsewhere, NULL);
}

/* ---- hooks that pull the rug ---- */

static _Thread_local dctx_scope_t rug;
static _Thread_local dctx_snapshot_t *rug_snapshot;

static void pull(unsigned id)
{
    (void)id;
    cr_assert_eq(dctx_scope_pop(&rug), DCTX_OK);
    dctx_snapshot_unref(&rug_snapshot);
    look();
}

static dctx_error_t pull_in_update(void *value, bool present, void *arg)
{
    (void)present;
    (void)arg;
    pull(0);
    hook_destroy(value);
    *(hook_t *)value = make();
    return DCTX_OK;
}

/* The scope that a set happens in is popped by the value's copy function. */
static void *pull_scope_in_copy(void *arg)
{
    (void)arg;
    hook_t hook = make();
    for (int with_value = 0; with_value < 2; with_value++) {
        cr_assert_eq(dctx_scope_push("rug", &rug), DCTX_OK);
        if (with_value)
            set_hook(main_key);
        hook_on(COPY, pull);
        dctx_error_t error = dctx_set(main_key, &hook);
        hook_on(COPY, NULL);
        cr_assert_eq(error, DCTX_OK);
        cr_assert_eq(dctx_scope_depth(), 0);
        look();
        cr_assert_eq(dctx_unset(main_key), DCTX_OK);
    }
    for (int with_value = 0; with_value < 2; with_value++) {
        cr_assert_eq(dctx_scope_push("rug", &rug), DCTX_OK);
        if (with_value)
            set_hook(main_key);
        cr_assert_eq(dctx_update(main_key, pull_in_update, NULL), DCTX_OK);
        cr_assert_eq(dctx_scope_depth(), 0);
        look();
        cr_assert_eq(dctx_unset(main_key), DCTX_OK);
    }
    hook_destroy(&hook);
    cr_assert(dctx_is_empty());
    return NULL;
}

Test(reentrancy, scope_popped_while_setting, .init = init, .fini = fini)
{
    on_a_thread(pull_scope_in_copy, NULL);
}

/* The snapshot whose registry the key belongs to is detached meanwhile,
 * so it is no key any more. */
static void *pull_registry(void *arg)
{
    (void)arg;
    hook_t hook = make();
    for (int how = 0; how < 4; how++) {
        dctx_error_t error = DCTX_OK;
        cr_assert_eq(dctx_snapshot_empty(isolated, &rug_snapshot), DCTX_OK);
        cr_assert_eq(dctx_attach(rug_snapshot, &rug), DCTX_OK);
        set_hook(isolated_key);
        const dctx_binding_t many[] = {{isolated_key, NULL, &hook}};
        hook_on(COPY, how == 0 || how == 2 ? pull : NULL);
        if (how == 0)
            error = dctx_set(isolated_key, &hook);
        else if (how == 1)
            error = dctx_update(isolated_key, pull_in_update, NULL);
        else if (how == 2)
            error = dctx_set_many(many, 1);
        else
            pull(0);
        hook_on(COPY, NULL);
        cr_assert(how == 3 || error == DCTX_ERR_UNKNOWN_KEY, "way %d: %s", how,
                  dctx_error_name(error));
        cr_assert_eq(dctx_scope_depth(), 0);
        cr_assert(dctx_is_empty());
        cr_assert_eq(dctx_current_registry(), dctx_registry_global());
        look();
    }
    hook_destroy(&hook);
    return NULL;
}

Test(reentrancy, registry_changes_while_setting, .init = init, .fini = fini)
{
    on_a_thread(pull_registry, NULL);
}

static void one_entry(wire_t *wire, const char *name, unsigned version)
{
    wire_init(wire);
    wire_raw(wire, "\x93\x01\x90\x91", 4);
    wire_entry(wire, name, version, "\xa4hook", 5);
}

/* The snapshot goes for good while one of its values is being decoded. */
static void *pull_while_decoding(void *arg)
{
    (void)arg;
    for (int old = 0; old < 2; old++) {
        wire_t wire;
        one_entry(&wire, old ? "old" : "main", 1);
        cr_assert_eq(dctx_snapshot_decode(NULL, wire.data, wire.size, &rug_snapshot), DCTX_OK);
        wire_finish(&wire);
        cr_assert_eq(dctx_attach(rug_snapshot, &rug), DCTX_OK);
        moment_t moment = old ? MIGRATE : DECODE;
        hook_on(moment, pull);
        (void)dctx_get(old ? old_key : main_key); /* what it returns went with its scope */
        hook_on(moment, NULL);
        cr_assert(dctx_is_empty());
        cr_assert_eq(living_count, 0);
    }
    return NULL;
}

Test(reentrancy, snapshot_goes_while_decoding, .init = init, .fini = fini)
{
    on_a_thread(pull_while_decoding, NULL);
}

static void change_the_text(unsigned id)
{
    (void)id;
    cr_assert_eq(dctx_unset(main_key), DCTX_OK);
    cr_assert_eq(dctx_clear(), DCTX_OK);
    cr_assert_eq(dctx_set(text_key, "changed"), DCTX_OK);
}

/* The key that is being read is unset, and so on. */
static void *change_while_decoding(void *arg)
{
    (void)arg;
    wire_t wire;
    dctx_snapshot_t *snapshot = NULL;
    dctx_scope_t scope;
    one_entry(&wire, "main", 1);
    cr_assert_eq(dctx_snapshot_decode(NULL, wire.data, wire.size, &snapshot), DCTX_OK);
    wire_finish(&wire);
    cr_assert_eq(dctx_attach(snapshot, &scope), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    hook_on(DECODE, change_the_text);
    (void)dctx_get(main_key);
    hook_on(DECODE, NULL);
    cr_assert_null(dctx_get(main_key));
    cr_assert_str_eq(dctx_get(text_key), "changed");
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    cr_assert(dctx_is_empty());
    return NULL;
}

Test(reentrancy, value_goes_while_decoding, .init = init, .fini = fini)
{
    on_a_thread(change_while_decoding, NULL);
}

/* ---- encoding and decoding within themselves: no end of it, so no value ---- */

static _Thread_local dctx_snapshot_t *subject;

static void encode_the_same(unsigned id)
{
    dctx_bytes_t bytes;
    (void)id;
    if (level > 0)
        return;
    level++;
    cr_assert_eq(dctx_snapshot_encode(subject, &bytes), DCTX_ERR_CODEC);
    level--;
}

static void read_the_same(unsigned id)
{
    (void)id;
    if (level > 0)
        return;
    level++;
    cr_assert_null(dctx_snapshot_get(subject, main_key));
    cr_assert_not_null(dctx_snapshot_get(subject, side_key));
    level--;
}

static void *within_itself(void *arg)
{
    dctx_bytes_t first, second;
    dctx_snapshot_t *again = NULL;
    (void)arg;
    set_hook(main_key);
    set_hook(side_key);
    cr_assert_eq(dctx_capture(&subject), DCTX_OK);
    hook_on(ENCODE, encode_the_same);
    cr_assert_eq(dctx_snapshot_encode(subject, &first), DCTX_OK);
    hook_on(ENCODE, NULL);
    cr_assert_eq(dctx_snapshot_encode(subject, &second), DCTX_OK);
    cr_assert_eq(first.data, second.data, "bytes that were given out are not the snapshot's");
    cr_assert_eq(dctx_snapshot_decode(NULL, first.data, first.size, &again), DCTX_OK);
    dctx_snapshot_unref(&subject);
    subject = again;
    hook_on(DECODE, read_the_same);
    const hook_t *hook = dctx_snapshot_get(subject, main_key);
    hook_on(DECODE, NULL);
    cr_assert_not_null(hook);
    cr_assert(alive(hook->id));
    cr_assert_eq(dctx_snapshot_get(subject, main_key), hook);
    dctx_snapshot_unref(&subject);
    return NULL;
}

Test(reentrancy, codecs_within_themselves, .init = init, .fini = fini)
{
    on_a_thread(within_itself, NULL);
}

/* An update within an update of the same key: the outer one is the last. */
static dctx_error_t nested_update(void *value, bool present, void *arg)
{
    int *left = arg;
    (void)present;
    if (--*left > 0)
        cr_assert_eq(dctx_update(number_key, nested_update, left), DCTX_OK);
    *(int64_t *)value += 1;
    return DCTX_OK;
}

static void *update_within_update(void *arg)
{
    int left = 5;
    (void)arg;
    cr_assert_eq(dctx_set(number_key, &(int64_t){10}), DCTX_OK);
    cr_assert_eq(dctx_update(number_key, nested_update, &left), DCTX_OK);
    cr_assert_eq(left, 0);
    cr_assert_eq(*(const int64_t *)dctx_get(number_key), 11); /* each had a copy of the ten */
    return NULL;
}

Test(reentrancy, update_within_update, .init = init, .fini = fini)
{
    on_a_thread(update_within_update, NULL);
}

/* ---- log sinks ---- */

static unsigned lines;

static void busy_sink(dctx_log_level_t log_level, const char *line, void *arg)
{
    (void)log_level;
    (void)arg;
    cr_assert_not_null(line);
    lines++;
    if (level > 0)
        return;
    level++;
    dctx_scope_t scope, below;
    cr_assert_eq(dctx_scope_push("sink", &below), DCTX_OK);
    cr_assert_eq(dctx_scope_push("sink", &scope), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&below), DCTX_ERR_SCOPE_ORDER); /* logs again */
    cr_assert_eq(dctx_set(text_key, "logged"), DCTX_OK);
    level--;
    work(0);
    level++;
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    dctx_log(DCTX_LOG_INFO, "and one of its own");
    level--;
}

/* Takes itself away, and pops what the caller is just popping out of order. */
static void rude_sink(dctx_log_level_t log_level, const char *line, void *arg)
{
    (void)log_level;
    (void)line;
    lines++;
    dctx_set_log(NULL, NULL);
    cr_assert_eq(dctx_scope_pop(arg), DCTX_OK);
}

static void *misuse(void *arg)
{
    dctx_scope_t outer, inner, copy;
    (void)arg;
    for (int rude = 0; rude < 2; rude++) {
        lines = 0;
        cr_assert_eq(dctx_scope_push("outer", &outer), DCTX_OK);
        set_hook(main_key);
        cr_assert_eq(dctx_scope_push("inner", &inner), DCTX_OK);
        set_hook(main_key);
        copy = outer;
        dctx_set_log(rude ? rude_sink : busy_sink, &inner);
        cr_assert_eq(dctx_scope_pop(&outer), DCTX_ERR_SCOPE_ORDER);
        cr_assert_gt(lines, 0);
        if (rude) {
            cr_assert_eq(inner.serial_, 0);
            dctx_set_log(busy_sink, NULL);
        } else {
            cr_assert_eq(dctx_scope_depth(), 2);
            cr_assert_not_null(dctx_get(main_key));
            cr_assert_eq(dctx_scope_pop(&inner), DCTX_OK);
        }
        cr_assert_eq(dctx_scope_depth(), 0);
        cr_assert(dctx_is_empty());
        cr_assert_eq(dctx_scope_pop(&copy), DCTX_ERR_NOT_OPEN);
        cr_assert(dctx_is_empty());
    }
    /* A value that does not decode is logged from within a get. */
    wire_t wire;
    dctx_snapshot_t *snapshot = NULL;
    wire_init(&wire);
    wire_raw(&wire, "\x93\x01\x90\x91", 4);
    wire_entry(&wire, "text", 1, "\xc1", 1);
    cr_assert_eq(dctx_snapshot_decode(NULL, wire.data, wire.size, &snapshot), DCTX_OK);
    wire_finish(&wire);
    lines = 0;
    DCTX_WITH_SNAPSHOT(snapshot) {
        dctx_snapshot_unref(&snapshot);
        cr_assert_null(dctx_get(text_key));
        cr_assert_null(dctx_get(text_key));
    }
    cr_assert_gt(lines, 0);
    dctx_set_log(NULL, NULL);
    return NULL;
}

Test(reentrancy, log_sinks, .init = init, .fini = fini)
{
    on_a_thread(misuse, NULL);
}
