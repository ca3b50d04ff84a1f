/*
 * Threads that end: with scopes open and snapshots attached, with destructors that are busy and
 * with thread-specific data of the application whose destructors use the context, before ours and
 * after.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "watch.h"

DCTX_KEY_STRING(text_key, "text", DCTX_BROADCAST)
DCTX_KEY_STRUCT(thing_key, "thing", thing_t, &thing_type, DCTX_LOCAL)

static dctx_registry_t *isolated;

static void init(void)
{
    watch_install();
    cr_assert_eq(DCTX_REGISTER_KEYS(NULL, &text_key, &thing_key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    cr_assert_eq(dctx_registry_new(&isolated), DCTX_OK);
    cr_assert_eq(DCTX_REGISTER_KEYS(isolated, &text_key, &thing_key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(isolated), DCTX_OK);
}

static void fini(void)
{
    dctx_registry_destroy(&isolated);
}

static void on_a_thread(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    size_t blocks = watch_live_blocks();
    cr_assert_eq(pthread_create(&thread, NULL, run, arg), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(watch_live_blocks(), blocks, "%zd blocks left",
                 (ssize_t)(watch_live_blocks() - blocks));
    cr_assert_eq(things_alive(), 0, "%zu values left", things_alive());
}

static void set_thing(const char *text)
{
    thing_t thing = thing_make(text);
    cr_assert_eq(thing_key_take(&thing), DCTX_OK);
}

/* Leaves much open. The tokens are gone with the function. */
static void leave_open(void)
{
    dctx_scope_t scope;
    dctx_snapshot_t *snapshot = NULL, *other = NULL;
    for (int i = 0; i < 50; i++) {
        cr_assert_eq(dctx_scope_push(i % 2 ? "open" : NULL, &scope), DCTX_OK);
        cr_assert_eq(text_key_set("open"), DCTX_OK);
        set_thing("open");
    }
    cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
    cr_assert_eq(dctx_attach_scope(snapshot, "attached", &scope), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(text_key_set("changed"), DCTX_OK);
    cr_assert_eq(dctx_snapshot_empty(isolated, &other), DCTX_OK);
    cr_assert_eq(dctx_attach(other, &scope), DCTX_OK);
    dctx_snapshot_unref(&other);
    set_thing("of the other registry");
    cr_assert_eq(dctx_scope_push("last", &scope), DCTX_OK);
    cr_assert_eq(text_key_set("last"), DCTX_OK);
}

static void *return_with_all_open(void *arg)
{
    leave_open();
    return arg;
}

static void *exit_with_all_open(void *arg)
{
    leave_open();
    DCTX_SCOPE("guarded");
    set_thing("guarded");
    pthread_exit(arg);
}

Test(exit, with_all_open, .init = init, .fini = fini)
{
    on_a_thread(return_with_all_open, NULL);
    on_a_thread(exit_with_all_open, NULL);
}

/* The isolated registry is gone before the thread that still has it attached. */
static void *outlive_registry(void *arg)
{
    dctx_registry_t *registry = NULL;
    dctx_snapshot_t *empty = NULL;
    dctx_scope_t scope;
    (void)arg;
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    cr_assert_eq(DCTX_REGISTER_KEYS(registry, &text_key, &thing_key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
    cr_assert_eq(dctx_snapshot_empty(registry, &empty), DCTX_OK);
    dctx_registry_destroy(&registry);
    cr_assert_null(registry);
    cr_assert_eq(dctx_attach(empty, &scope), DCTX_OK);
    dctx_snapshot_unref(&empty);
    set_thing("of a registry that nobody holds");
    cr_assert_str_eq(thing_key_get()->text, "of a registry that nobody holds");
    return NULL;
}

Test(exit, with_a_registry_nobody_holds, .init = init, .fini = fini)
{
    on_a_thread(outlive_registry, NULL);
}

/* ---- the application's own thread-specific data ---- */

typedef struct data {
    pthread_key_t key;
    int again; /* how often its destructor asks for another turn */
    int turns;
    bool leaves_open;
} data_t;

static void use_context(data_t *data)
{
    dctx_scope_t scope;
    dctx_snapshot_t *snapshot = NULL;
    data->turns++;
    (void)text_key_get();
    cr_assert_eq(dctx_scope_push("at the end", &scope), DCTX_OK);
    cr_assert_eq(text_key_set("at the end"), DCTX_OK);
    set_thing("at the end");
    cr_assert_str_eq(text_key_get(), "at the end");
    cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
    DCTX_WITH_SNAPSHOT(snapshot) {
        cr_assert_str_eq(thing_key_get()->text, "at the end");
    }
    dctx_snapshot_unref(&snapshot);
    if (!data->leaves_open)
        cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    if (data->again-- > 0)
        cr_assert_eq(pthread_setspecific(data->key, data), 0);
}

static void at_thread_exit(void *value)
{
    use_context(value);
}

static void *end_with_data(void *arg)
{
    data_t *data = arg;
    cr_assert_eq(pthread_setspecific(data[0].key, &data[0]), 0);
    leave_open();
    cr_assert_eq(pthread_setspecific(data[1].key, &data[1]), 0);
    return NULL;
}

/* Never used the context before its end. */
static void *begin_at_the_end(void *arg)
{
    data_t *data = arg;
    cr_assert_eq(pthread_setspecific(data[0].key, &data[0]), 0);
    cr_assert_eq(pthread_setspecific(data[1].key, &data[1]), 0);
    return NULL;
}

static data_t data[2];

static void make_first_key(void)
{
    /* Before the library makes its own, so that this one's destructor comes first; whichever order
     * the system has, there is one on each side. */
    cr_assert_eq(pthread_key_create(&data[0].key, at_thread_exit), 0);
    init();
}

Test(exit, application_destructors, .init = make_first_key, .fini = fini)
{
    dctx_scope_t scope;
    cr_assert_eq(dctx_scope_push("main", &scope), DCTX_OK);
    cr_assert_eq(pthread_key_create(&data[1].key, at_thread_exit), 0);
    for (int again = 0; again < 2; again++) {
        for (int leaves_open = 0; leaves_open < 2; leaves_open++) {
            for (int i = 0; i < 2; i++)
                data[i] = (data_t){data[i].key, again, 0, leaves_open};
            on_a_thread(end_with_data, data);
            cr_assert_eq(data[0].turns, again + 1);
            cr_assert_eq(data[1].turns, again + 1);
            for (int i = 0; i < 2; i++)
                data[i] = (data_t){data[i].key, again, 0, leaves_open};
            on_a_thread(begin_at_the_end, data);
            cr_assert_eq(data[1].turns, again + 1);
        }
    }
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
}

/* ---- tokens of threads that are gone ---- */

static void *leave_a_token(void *arg)
{
    cr_assert_eq(dctx_scope_push("gone", arg), DCTX_OK);
    return NULL;
}

static void *pop_what_is_not_mine(void *arg)
{
    dctx_scope_t mine, theirs = *(dctx_scope_t *)arg;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(dctx_scope_push("mine", &mine), DCTX_OK);
    dctx_error_t error = dctx_scope_pop(&theirs);
    /* Its thread is gone, and this one may live in its memory. */
    cr_assert(error == DCTX_ERR_WRONG_THREAD || error == DCTX_ERR_NOT_OPEN, "%s",
              dctx_error_name(error));
    cr_assert_eq(dctx_scope_depth(), 3);
    return NULL;
}

Test(exit, tokens_of_dead_threads, .init = init, .fini = fini)
{
    dctx_scope_t tokens[20];
    for (int i = 0; i < 20; i++)
        on_a_thread(leave_a_token, &tokens[i]);
    for (int i = 0; i < 20; i++) {
        on_a_thread(pop_what_is_not_mine, &tokens[i]);
        cr_assert_neq(dctx_scope_pop(&tokens[i]), DCTX_OK);
    }
    cr_assert_eq(dctx_scope_depth(), 0);
}

/* Many threads in a row: nothing adds up. */
static void *come_and_go(void *arg)
{
    if (arg != NULL)
        leave_open();
    else
        (void)dctx_get(text_key_key());
    return NULL;
}

Test(exit, many_threads, .init = init, .fini = fini)
{
    for (int i = 0; i < 300; i++)
        on_a_thread(come_and_go, i % 3 ? &data : NULL);
}
