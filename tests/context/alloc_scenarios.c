/* The scenarios: every public function that needs memory, alone and in company. */
#include "alloc_world.h"

#include <pthread.h>

static dctx_error_t do_set_string(world_t *world)
{
    return dctx_set(world->keys[NAME], "another name that does not fit where the old one was");
}

static dctx_error_t do_set_bytes(world_t *world)
{
    return dctx_set(world->keys[BLOB], &(dctx_bytes_t){"\0\1\2", 3});
}

static dctx_error_t do_set_scalar(world_t *world)
{
    return dctx_set(world->keys[FLAG], &(bool){true});
}

static dctx_error_t do_set_thing(world_t *world)
{
    return set_thing(world, THING, "another thing");
}

static dctx_error_t do_set_shared(world_t *world)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = dctx_fork(&snapshot);
    if (error == DCTX_OK)
        error = dctx_set(world->keys[LOCAL], "after the fork");
    dctx_snapshot_unref(&snapshot);
    return error;
}

static dctx_error_t do_take(world_t *world)
{
    thing_t thing = thing_make("taken");
    dctx_error_t error = dctx_set_take(world->keys[LOCAL_THING], &thing_type, &thing);
    cr_assert((thing.text == NULL) == (error == DCTX_OK));
    if (error != DCTX_OK)
        thing_type.destroy(&thing);
    return error;
}

static dctx_error_t change_thing(void *value, bool present, void *arg)
{
    thing_t *thing = value;
    cr_assert(present == (thing->text != NULL));
    thing_type.destroy(thing);
    *thing = thing_make(arg);
    return DCTX_OK;
}

static dctx_error_t do_update_present(world_t *world)
{
    char text[] = "updated";
    return dctx_update(world->keys[THING], change_thing, text);
}

/* Of a received value that was never read: it is there,
 * though there may be no memory to decode it. */
static dctx_error_t change_received(void *value, bool present, void *arg)
{
    cr_assert(present, "taken for absent");
    return change_thing(value, present, arg);
}

static dctx_error_t do_update_received(world_t *world)
{
    dctx_scope_t scope;
    char text[] = "updated";
    dctx_error_t error = dctx_attach(world->received, &scope);
    if (error == DCTX_OK)
        error = dctx_update(world->keys[THING], change_received, text);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    return error;
}

static dctx_error_t do_update_absent(world_t *world)
{
    char text[] = "updated";
    dctx_error_t error = dctx_unset(world->keys[LOCAL_THING]);
    /* Undone if the second half fails, so that the whole is all or nothing. */
    if (error == DCTX_OK)
        error = dctx_update(world->keys[LOCAL_THING], change_thing, text);
    if (error != DCTX_OK) {
        watch_relent();
        cr_assert_eq(set_thing(world, LOCAL_THING, "a local thing"), DCTX_OK);
    }
    return error;
}

static dctx_error_t do_unset(world_t *world)
{
    return dctx_unset(world->keys[NAME]);
}

static dctx_error_t do_clear(world_t *world)
{
    (void)world;
    return dctx_clear();
}

static dctx_error_t do_set_many(world_t *world)
{
    char text[] = "one of many";
    const dctx_binding_t bindings[] = {{world->keys[NAME], DCTX_TYPE_STRING, "many"},
                                       {world->keys[LOCAL], NULL, "many, here"},
                                       {world->keys[THING], &thing_type, &(thing_t){text}},
                                       {world->keys[BLOB], NULL, NULL},
                                       {world->keys[FLAG], NULL, &(bool){false}},
                                       {world->keys[NAME], NULL, "the last one counts"}};
    return dctx_set_many(bindings, sizeof(bindings) / sizeof(bindings[0]));
}

/* More than fit an array on the stack. */
static dctx_error_t do_set_very_many(world_t *world)
{
    dctx_binding_t bindings[40];
    for (int i = 0; i < 40; i++)
        bindings[i] =
            (dctx_binding_t){world->keys[i % 2 ? NAME : LOCAL], NULL, i % 3 ? "many" : NULL};
    return dctx_set_many(bindings, 40);
}

static dctx_error_t do_merge(world_t *world)
{
    return dctx_merge(world->received);
}

static dctx_error_t do_merge_fork(world_t *world)
{
    return dctx_merge(world->forked);
}

/* More to undo than there is room for at first. */
static dctx_error_t do_merge_deep(world_t *world)
{
    dctx_scope_t scopes[20];
    dctx_error_t error = DCTX_OK;
    size_t depth = 0;
    for (; depth < 20 && error == DCTX_OK; depth++) {
        error = dctx_scope_push(NULL, &scopes[depth]);
        if (error == DCTX_OK)
            error = dctx_merge(depth % 2 ? world->received : world->forked);
    }
    while (depth-- > 0)
        cr_assert_eq(dctx_scope_pop(&scopes[depth]), DCTX_OK);
    return error;
}

static dctx_error_t do_push(world_t *world)
{
    return dctx_scope_push("a scope", &world->scopes[2]);
}

static dctx_error_t do_push_unnamed(world_t *world)
{
    return dctx_scope_push(NULL, &world->scopes[2]);
}

/* Enough for every array that grows to do so. */
static dctx_error_t do_push_deep(world_t *world)
{
    dctx_scope_t scopes[300];
    dctx_error_t error = DCTX_OK;
    size_t depth = 0;
    for (; depth < 300 && error == DCTX_OK; depth++) {
        error = dctx_scope_push(depth % 3 ? "deep" : NULL, &scopes[depth]);
        if (error == DCTX_OK)
            error = dctx_set(world->keys[FLAG], &(bool){depth % 2});
    }
    while (depth-- > 0)
        cr_assert_eq(dctx_scope_pop(&scopes[depth]), DCTX_OK);
    return error;
}

static dctx_error_t do_push_set_pop(world_t *world)
{
    dctx_scope_t scope;
    dctx_error_t error = dctx_scope_push("a scope", &scope);
    if (error == DCTX_OK)
        error = dctx_set(world->keys[NAME], "inside");
    if (error == DCTX_OK)
        error = dctx_set(world->keys[LOCAL], "inside");
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    return error;
}

/* A capture inside shares what the pop must undo; the pop itself may not need memory. */
static dctx_error_t do_push_set_capture_pop(world_t *world)
{
    dctx_scope_t scope;
    dctx_snapshot_t *captured = NULL, *forked = NULL;
    dctx_error_t error = dctx_scope_push("a scope", &scope);
    if (error == DCTX_OK)
        error = dctx_set(world->keys[NAME], "inside");
    if (error == DCTX_OK)
        error = dctx_set(world->keys[LOCAL_THING], &(thing_t){(char[]){"inside"}});
    if (error == DCTX_OK)
        error = dctx_capture(&captured);
    if (error == DCTX_OK)
        error = dctx_fork(&forked);
    if (error == DCTX_OK)
        error = dctx_unset(world->keys[BLOB]);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    dctx_snapshot_unref(&captured);
    dctx_snapshot_unref(&forked);
    return error;
}

static dctx_error_t do_capture(world_t *world)
{
    dctx_snapshot_t *snapshot = NULL;
    (void)world;
    dctx_error_t error = dctx_capture(&snapshot);
    cr_assert((snapshot != NULL) == (error == DCTX_OK));
    dctx_snapshot_unref(&snapshot);
    return error;
}

static dctx_error_t do_fork(world_t *world)
{
    dctx_snapshot_t *snapshot = NULL;
    (void)world;
    dctx_error_t error = dctx_fork(&snapshot);
    cr_assert((snapshot != NULL) == (error == DCTX_OK));
    dctx_snapshot_unref(&snapshot);
    return error;
}

static dctx_error_t do_broadcast(world_t *world)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = dctx_snapshot_broadcast(world->forked, &snapshot);
    cr_assert((snapshot != NULL) == (error == DCTX_OK));
    dctx_snapshot_unref(&snapshot);
    return error;
}

static dctx_error_t do_empty(world_t *world)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = dctx_snapshot_empty(world->registry, &snapshot);
    cr_assert((snapshot != NULL) == (error == DCTX_OK));
    dctx_snapshot_unref(&snapshot);
    return error;
}

static dctx_error_t do_attach(world_t *world)
{
    dctx_scope_t scope;
    dctx_error_t error = dctx_attach(world->received, &scope);
    cr_assert_eq(dctx_scope_error(&scope), error);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    return error;
}

static dctx_error_t do_attach_work(world_t *world)
{
    dctx_scope_t scope;
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = dctx_attach_scope(world->received, "a job", &scope);
    if (error == DCTX_OK)
        error = dctx_set(world->keys[NAME], "changed");
    if (error == DCTX_OK)
        error = dctx_set(world->keys[LOCAL], "changed");
    if (error == DCTX_OK)
        error = dctx_fork(&snapshot);
    if (error == DCTX_OK)
        error = dctx_clear();
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    return error;
}

static dctx_error_t do_encode(world_t *world)
{
    dctx_bytes_t bytes = {NULL, 0};
    dctx_error_t error = dctx_snapshot_encode(world->forked, &bytes);
    cr_assert((bytes.data != NULL) == (error == DCTX_OK));
    return error;
}

static dctx_error_t do_encode_changed(world_t *world)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_bytes_t bytes = {NULL, 0};
    (void)world;
    dctx_error_t error = dctx_capture(&snapshot);
    if (error == DCTX_OK)
        error = dctx_snapshot_encode(snapshot, &bytes);
    dctx_snapshot_unref(&snapshot);
    return error;
}

/* Encodings that do not fit a buffer on the stack. */
static dctx_error_t do_encode_big(world_t *world)
{
    dctx_scope_t scope;
    char text[600];
    memset(text, 'b', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    dctx_error_t error = dctx_scope_push(NULL, &scope);
    if (error == DCTX_OK)
        error = dctx_set(world->keys[THING], &(thing_t){text});
    if (error == DCTX_OK)
        error = dctx_set(world->keys[BLOB], &(dctx_bytes_t){text, sizeof(text)});
    if (error == DCTX_OK)
        error = do_encode_changed(world);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    return error;
}

static dctx_error_t do_decode(world_t *world)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error =
        dctx_snapshot_decode(world->registry, world->stamp, world->stamp_size, &snapshot);
    cr_assert((snapshot != NULL) == (error == DCTX_OK));
    dctx_snapshot_unref(&snapshot);
    return error;
}

static dctx_error_t do_to_base64(world_t *world)
{
    char *text = NULL;
    dctx_error_t error = dctx_snapshot_to_base64(world->forked, DCTX_BASE64_URL, &text);
    cr_assert((text != NULL) == (error == DCTX_OK));
    dctx_free(text);
    return error;
}

static dctx_error_t do_from_base64(world_t *world)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error =
        dctx_snapshot_from_base64(world->registry, world->text, strlen(world->text), &snapshot);
    cr_assert((snapshot != NULL) == (error == DCTX_OK));
    dctx_snapshot_unref(&snapshot);
    return error;
}

static void run_task(void *arg)
{
    ++*(int *)arg;
}

static dctx_error_t do_task(world_t *world)
{
    dctx_task_t *task = NULL;
    int runs = 0;
    (void)world;
    dctx_error_t error = dctx_task_new(run_task, &runs, "task", &task);
    cr_assert((task != NULL) == (error == DCTX_OK));
    if (error == DCTX_OK) {
        error = dctx_task_run(task);
        cr_assert_eq(runs, error == DCTX_OK);
    }
    dctx_task_destroy(&task);
    return error;
}

static void *run_thread(void *arg)
{
    return arg;
}

static dctx_error_t do_thread(world_t *world)
{
    pthread_t thread;
    dctx_error_t error = dctx_thread_create(&thread, NULL, run_thread, world);
    if (error == DCTX_OK) {
        void *result = NULL;
        cr_assert_eq(pthread_join(thread, &result), 0);
        cr_assert_eq(result, world);
    }
    return error;
}

static dctx_error_t do_registry(world_t *world)
{
    dctx_registry_t *registry = NULL;
    (void)world;
    dctx_error_t error = dctx_registry_new(&registry);
    cr_assert((registry != NULL) == (error == DCTX_OK));
    for (int i = 0; i < 40 && error == DCTX_OK; i++) {
        char name[32];
        const dctx_key_t *key = NULL;
        snprintf(name, sizeof(name), "key-%d", i * 7 % 40);
        dctx_key_options_t o = *key_options(i % KEYS);
        o.name = name;
        error = dctx_registry_add(registry, &o, &key);
        cr_assert((key != NULL) == (error == DCTX_OK));
        cr_assert((dctx_registry_find(registry, name) != NULL) == (error == DCTX_OK));
        cr_assert_eq(dctx_registry_keys(registry, NULL, 0), (size_t)i + (error == DCTX_OK));
    }
    if (error == DCTX_OK) {
        error = dctx_registry_freeze(registry);
        cr_assert_eq(dctx_registry_is_frozen(registry), error == DCTX_OK);
        if (error == DCTX_ERR_NOMEM) {
            watch_relent();
            cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
        }
    }
    dctx_registry_destroy(&registry);
    return error;
}

DCTX_KEY_STRING(first_key, "first", DCTX_BROADCAST)
DCTX_KEY_INT64(second_key, "second", DCTX_LOCAL)
DCTX_KEY_STRUCT(third_key, "third", thing_t, &thing_type, DCTX_BROADCAST)

static dctx_error_t do_typed_keys(world_t *world)
{
    dctx_registry_t *registry = NULL;
    (void)world;
    dctx_error_t error = dctx_registry_new(&registry);
    if (error == DCTX_OK) {
        error = DCTX_REGISTER_KEYS(registry, &first_key, &second_key, &third_key);
        cr_assert_eq(dctx_registry_keys(registry, NULL, 0), error == DCTX_OK ? 3 : 0);
        cr_assert(error == DCTX_OK || dctx_registry_find(registry, "first") == NULL);
    }
    dctx_registry_destroy(&registry);
    return error;
}

static dctx_error_t do_writer(world_t *world)
{
    dctx_writer_t *writer = NULL;
    (void)world;
    dctx_error_t error = dctx_writer_new(100000, &writer);
    cr_assert((writer != NULL) == (error == DCTX_OK));
    if (error != DCTX_OK)
        return error;
    for (int i = 0; i < 3000; i++)
        dctx_write_cstr(writer, "some text of some length");
    error = dctx_writer_error(writer);
    dctx_writer_destroy(&writer);
    return error;
}

const scenario_t scenarios[] = {
    {"set string", do_set_string},
    {"set bytes", do_set_bytes},
    {"set scalar", do_set_scalar},
    {"set thing", do_set_thing},
    {"set shared", do_set_shared},
    {"take", do_take},
    {"update present", do_update_present},
    {"update received", do_update_received},
    {"update absent", do_update_absent},
    {"unset", do_unset},
    {"clear", do_clear},
    {"set many", do_set_many},
    {"set very many", do_set_very_many},
    {"merge", do_merge},
    {"merge fork", do_merge_fork},
    {"merge deep", do_merge_deep},
    {"push", do_push},
    {"push unnamed", do_push_unnamed},
    {"push deep", do_push_deep},
    {"push set pop", do_push_set_pop},
    {"push set capture pop", do_push_set_capture_pop},
    {"capture", do_capture},
    {"fork", do_fork},
    {"broadcast", do_broadcast},
    {"empty", do_empty},
    {"attach", do_attach},
    {"attach and work", do_attach_work},
    {"encode", do_encode},
    {"encode changed", do_encode_changed},
    {"encode big", do_encode_big},
    {"decode", do_decode},
    {"to base64", do_to_base64},
    {"from base64", do_from_base64},
    {"task", do_task},
    {"thread", do_thread},
    {"registry", do_registry},
    {"typed keys", do_typed_keys},
    {"writer", do_writer},
};

const size_t scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);
