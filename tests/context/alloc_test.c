/*
 * Memory runs out at every single point: each scenario is run with its first allocation failing,
 * then its second, and so on until none is left to fail; and again with that one and all later ones
 * failing. Whatever fails, the thread's context is as it was, to the byte, and nothing is left over
 * at the end. A step that never needs memory succeeds.
 *
 * Every round has a thread and a registry of its own, so what is made at first use fails too.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "watch.h"
#include "wire.h"

enum { STAMP_MAX = 512, STATE_MAX = 2048 };

static const char tag;

/* Long enough for the writer to need memory. */
static dctx_error_t migrate(const void *data, size_t size, dctx_writer_t *writer)
{
    (void)data;
    (void)size;
    dctx_writer_put(writer, "T", 1);
    for (int i = 0; i < 100; i++)
        dctx_writer_put(writer, "x", 1);
    for (int i = 0; i < 300; i++)
        dctx_writer_put(writer, "", 1);
    return DCTX_OK;
}

/* What came out of the migration: its size. */
typedef struct old {
    size_t size;
} old_t;

static dctx_error_t old_encode(const void *value, dctx_writer_t *writer)
{
    dctx_write_uint(writer, ((const old_t *)value)->size);
    return DCTX_OK;
}

static dctx_error_t old_decode(void *dst, const void *data, size_t size)
{
    (void)data;
    ((old_t *)dst)->size = size;
    return DCTX_OK;
}

static const dctx_type_t old_type = {"old", sizeof(old_t), NULL, NULL, old_encode, old_decode, 0};
static const dctx_migration_t migrations[] = {{1, 2, migrate}};

static const dctx_key_options_t options[] = {
    {.name = "name", .type = DCTX_TYPE_STRING},
    {.name = "blob", .type = DCTX_TYPE_BYTES},
    {.name = "flag", .type = DCTX_TYPE_BOOL},
    {.name = "int",
     .type = DCTX_TYPE_INT64,
     .metadata = &(dctx_metadata_t){&tag, "m"},
     .metadata_count = 1},
    {.name = "thing", .type = &thing_type},
    {.name = "local", .type = DCTX_TYPE_STRING, .flags = DCTX_LOCAL},
    {.name = "old",
     .type = &old_type,
     .version = 2,
     .migrations = migrations,
     .migration_count = 1},
    {.name = "local-thing", .type = &thing_type, .flags = DCTX_LOCAL},
};
enum { NAME, BLOB, FLAG, INT, THING, LOCAL, OLD, LOCAL_THING, KEYS };

typedef struct world {
    dctx_registry_t *registry;
    const dctx_key_t *keys[KEYS];
    dctx_snapshot_t *received; /* lazy values, an undecodable one, a stranger, a chain */
    dctx_snapshot_t *forked;
    uint8_t stamp[STAMP_MAX];
    size_t stamp_size;
    char *text;
    dctx_scope_t scopes[4];
    size_t depth;
} world_t;

/* ---- what can be seen of a thread's context
 * ------------------------------------------------------ */

typedef struct state {
    char text[STATE_MAX];
    size_t size;
} state_t;

static void add(state_t *state, const void *data, size_t size)
{
    cr_assert_leq(state->size + size, STATE_MAX);
    if (size > 0)
        memcpy(state->text + state->size, data, size);
    state->size += size;
}

static void add_value(state_t *state, const dctx_type_t *type, const void *value)
{
    const dctx_bytes_t *bytes = value;
    const thing_t *thing = value;
    if (value == NULL)
        add(state, "-", 1);
    else if (type == DCTX_TYPE_STRING)
        add(state, value, strlen(value) + 1);
    else if (type == DCTX_TYPE_BYTES)
        add(state, bytes->data, bytes->size);
    else if (type == &thing_type)
        add(state, thing->text, strlen(thing->text));
    else
        add(state, value, type->size);
    add(state, ";", 1);
}

static void observe_snapshot(state_t *state, const world_t *world, const dctx_snapshot_t *snapshot)
{
    dctx_bytes_t bytes;
    for (int i = 0; i < KEYS; i++)
        add_value(state, options[i].type, dctx_snapshot_get(snapshot, world->keys[i]));
    cr_assert_eq(dctx_snapshot_encode(snapshot, &bytes), DCTX_OK, "%s", dctx_error_detail());
    add(state, bytes.data, bytes.size);
}

static void observe(state_t *state, const world_t *world)
{
    char chain[256];
    size_t depth = dctx_scope_depth();
    bool empty = dctx_is_empty();
    state->size = 0;
    for (int i = 0; i < KEYS; i++)
        add_value(state, options[i].type, dctx_get(world->keys[i]));
    dctx_chain_format(chain, sizeof(chain));
    add(state, chain, strlen(chain));
    add(state, &depth, sizeof(depth));
    add(state, &empty, sizeof(empty));
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
    observe_snapshot(state, world, snapshot);
    dctx_snapshot_unref(&snapshot);
}

/* ---- the world before each round
 * ----------------------------------------------------------------- */

static dctx_error_t set_thing(const world_t *world, int key, const char *text)
{
    char copy[64];
    snprintf(copy, sizeof(copy), "%s", text);
    return dctx_set(world->keys[key], &(thing_t){copy});
}

static void make_stamp(world_t *world)
{
    wire_t wire;
    wire_init(&wire);
    wire_raw(&wire, "\x93\x01\x92\xa2in\x05\x98", 8);
    wire_entry(&wire, "blob", 1, "\xc4\x03xyz", 5);
    wire_entry(&wire, "flag", 9, "\xc3", 1);
    wire_entry(&wire, "int", 1, "\x07", 1);
    wire_string_entry(&wire, "local", "stranger");
    wire_string_entry(&wire, "NAME", "received");
    wire_entry(&wire, "old", 1, "?", 1);
    wire_entry(&wire, "other", 1, "\xff", 1);
    wire_entry(&wire, "thing", 1, "Treceived", 9);
    cr_assert_leq(wire.size, STAMP_MAX);
    memcpy(world->stamp, wire.data, wire.size);
    world->stamp_size = wire.size;
    wire_finish(&wire);
}

static void open_registry(world_t *world)
{
    cr_assert_eq(dctx_registry_new(&world->registry), DCTX_OK);
    for (int i = 0; i < KEYS; i++)
        cr_assert_eq(dctx_registry_add(world->registry, &options[i], &world->keys[i]), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(world->registry), DCTX_OK);
}

static void open_world(world_t *world)
{
    open_registry(world);
    make_stamp(world);
    cr_assert_eq(
        dctx_snapshot_decode(world->registry, world->stamp, world->stamp_size, &world->received),
        DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(dctx_snapshot_to_base64(world->received, DCTX_BASE64, &world->text), DCTX_OK);
    dctx_snapshot_t *empty = NULL;
    cr_assert_eq(dctx_snapshot_empty(world->registry, &empty), DCTX_OK);
    cr_assert_eq(dctx_attach_scope(empty, "root", &world->scopes[0]), DCTX_OK);
    dctx_snapshot_unref(&empty);
    cr_assert_eq(dctx_set(world->keys[NAME], "outer"), DCTX_OK);
    cr_assert_eq(dctx_set(world->keys[LOCAL], "outer local"), DCTX_OK);
    cr_assert_eq(dctx_scope_push("inner", &world->scopes[1]), DCTX_OK);
    cr_assert_eq(dctx_set(world->keys[INT], &(int64_t){1}), DCTX_OK);
    cr_assert_eq(set_thing(world, THING, "a thing"), DCTX_OK);
    cr_assert_eq(set_thing(world, LOCAL_THING, "a local thing"), DCTX_OK);
    cr_assert_eq(dctx_fork(&world->forked), DCTX_OK);
    cr_assert_eq(dctx_set(world->keys[BLOB], &(dctx_bytes_t){"bytes", 5}), DCTX_OK);
}

static void close_world(world_t *world)
{
    for (int i = 4; i-- > 0;)
        cr_assert_eq(dctx_scope_pop(&world->scopes[i]), DCTX_OK);
    cr_assert(dctx_is_empty());
    dctx_snapshot_unref(&world->received);
    dctx_snapshot_unref(&world->forked);
    dctx_free(world->text);
    dctx_registry_destroy(&world->registry);
}

/* ---- scenarios: DCTX_OK or why not; nothing may stay behind but what they did to the context
 * ------ */

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

/* Of a received value that was never read: it is there, though there may be no memory to decode it. */
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
        dctx_key_options_t o = options[i % KEYS];
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

typedef struct scenario {
    const char *name;
    dctx_error_t (*run)(world_t *world);
} scenario_t;

static const scenario_t scenarios[] = {
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

/* ---- the sweep
 * ----------------------------------------------------------------------------------- */

typedef struct round {
    const scenario_t *scenario;
    unsigned nth;
    bool later;
    bool over; /* out: nothing was refused */
    state_t after;
} round_t;

static void *run_round(void *arg)
{
    round_t *round = arg;
    const scenario_t *scenario = round->scenario;
    state_t before;
    world_t world = {0};
    open_world(&world);
    observe(&before, &world);
    watch_fail(round->nth, round->later);
    dctx_error_t error = scenario->run(&world);
    unsigned refused = watch_relent();
    round->over = refused == 0;
    observe(&round->after, &world);
    cr_assert(error == DCTX_OK || (error == DCTX_ERR_NOMEM && refused > 0),
              "%s, allocation %u%s: %s", scenario->name, round->nth,
              round->later ? " and later" : "", dctx_error_name(error));
    if (error != DCTX_OK) {
        cr_assert_eq(round->after.size, before.size, "%s, allocation %u: the context changed",
                     scenario->name, round->nth);
        cr_assert_arr_eq(round->after.text, before.text, before.size,
                         "%s, allocation %u: the context changed", scenario->name, round->nth);
        /* And it is not broken for good. */
        error = scenario->run(&world);
        cr_assert_eq(error, DCTX_OK, "%s, after allocation %u: %s", scenario->name, round->nth,
                     dctx_error_name(error));
        observe(&round->after, &world);
    }
    close_world(&world);
    return NULL;
}

static void on_a_thread(void *(*run)(void *), void *arg, const char *name, unsigned nth)
{
    pthread_t thread;
    size_t blocks = watch_live_blocks(), things = things_alive();
    cr_assert_eq(pthread_create(&thread, NULL, run, arg), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(watch_live_blocks(), blocks, "%s, allocation %u: %zd blocks left", name, nth,
                 (ssize_t)(watch_live_blocks() - blocks));
    cr_assert_eq(things_alive(), things, "%s, allocation %u: values left", name, nth);
}

static void sweep(const scenario_t *scenario, bool later)
{
    static round_t plain, round;
    plain = (round_t){.scenario = scenario, .nth = 1000000};
    on_a_thread(run_round, &plain, scenario->name, 0);
    cr_assert(plain.over);
    round.over = false;
    for (unsigned nth = 1; !round.over; nth++) {
        cr_assert_lt(nth, 1000);
        round = (round_t){.scenario = scenario, .nth = nth, .later = later};
        on_a_thread(run_round, &round, scenario->name, nth);
        /* Whether it was taken in its stride, or done at the second try: the same came out. */
        cr_assert_eq(round.after.size, plain.after.size, "%s, allocation %u", scenario->name, nth);
        cr_assert_arr_eq(round.after.text, plain.after.text, plain.after.size, "%s, allocation %u",
                         scenario->name, nth);
    }
}

static void init(void)
{
    watch_install();
    cr_assert_not_null(dctx_registry_global());
}

Test(alloc, each_fails_once, .init = init, .timeout = 120)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        sweep(&scenarios[i], false);
}

Test(alloc, each_and_all_later_fail, .init = init, .timeout = 120)
{
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        sweep(&scenarios[i], true);
}

/* ---- what needs its own way of looking
 * ----------------------------------------------------------- */

/* Reading is no failure: a value that could not be decoded for want of memory is there the next
 * time, and is not taken for one that does not decode. */
static void *read_lazily(void *arg)
{
    round_t *round = arg;
    dctx_context_counters_t before, after;
    state_t missed, whole, expected;
    world_t world = {0};
    dctx_scope_t scope;
    old_t old = {401};
    open_world(&world);
    cr_assert_eq(dctx_attach(world.received, &scope), DCTX_OK);
    dctx_context_counters_read(&before);
    watch_fail(round->nth, round->later);
    missed.size = 0;
    for (int i = 0; i < KEYS; i++)
        add_value(&missed, options[i].type, dctx_get(world.keys[i]));
    round->over = watch_relent() == 0;
    whole.size = 0;
    for (int i = 0; i < KEYS; i++)
        add_value(&whole, options[i].type, dctx_get(world.keys[i]));
    expected.size = 0;
    add_value(&expected, DCTX_TYPE_STRING, "received");
    add_value(&expected, DCTX_TYPE_BYTES, &(dctx_bytes_t){"xyz", 3});
    add_value(&expected, DCTX_TYPE_BOOL, NULL); /* of a later version */
    add_value(&expected, DCTX_TYPE_INT64, &(int64_t){7});
    add_value(&expected, &thing_type, &(thing_t){(char[]){"received"}});
    add_value(&expected, DCTX_TYPE_STRING, NULL);
    add_value(&expected, &old_type, &old);
    add_value(&expected, &thing_type, NULL);
    cr_assert_eq(whole.size, expected.size, "allocation %u: a value is lost", round->nth);
    cr_assert_arr_eq(whole.text, expected.text, expected.size);
    dctx_context_counters_read(&after);
    cr_assert_eq(after.entries_undecodable, before.entries_undecodable + 1);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    close_world(&world);
    return NULL;
}

Test(alloc, lazy_values_come_back, .init = init)
{
    for (int later = 0; later < 2; later++) {
        round_t *round = calloc(1, sizeof(*round));
        cr_assert_not_null(round);
        for (unsigned nth = 1; !round->over; nth++) {
            round->nth = nth;
            round->later = later;
            on_a_thread(read_lazily, round, "read", nth);
        }
        free(round);
    }
}

/* A thread's very first call, whichever it is. */
typedef struct first {
    world_t *world;
    int call;
    unsigned nth;
    bool over;
} first_t;

static dctx_error_t first_call(first_t *first)
{
    dctx_scope_t scope = {0};
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = DCTX_OK;
    char chain[32];
    switch (first->call) {
    case 0:
        error = dctx_scope_push("first", &scope);
        break;
    case 1:
        error = dctx_attach(first->world->received, &scope);
        break;
    case 2:
        error = dctx_attach_scope(first->world->received, "first", &scope);
        break;
    case 3:
        error = dctx_capture(&snapshot);
        break;
    case 4:
        error = dctx_fork(&snapshot);
        break;
    case 5:
        error = first_key_set("first");
        break;
    case 6:
        error = first_key_unset();
        break;
    case 7:
        error = dctx_clear();
        break;
    case 8:
        error = dctx_snapshot_decode(first->world->registry, first->world->stamp,
                                     first->world->stamp_size, &snapshot);
        break;
    default:
        cr_assert_null(first_key_get());
        cr_assert(dctx_is_empty());
        cr_assert_eq(dctx_scope_depth(), 0);
        cr_assert_eq(dctx_chain_format(chain, sizeof(chain)), 0);
        cr_assert_eq(dctx_current_registry(), dctx_registry_global());
        cr_assert_eq(dctx_scope_pop(NULL), DCTX_OK);
    }
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    return error;
}

static void *run_first(void *arg)
{
    first_t *first = arg;
    watch_fail(first->nth, false);
    dctx_error_t error = first_call(first);
    first->over = watch_relent() == 0;
    cr_assert(error == DCTX_OK || (error == DCTX_ERR_NOMEM && !first->over), "call %d: %s",
              first->call, dctx_error_name(error));
    cr_assert_eq(dctx_scope_depth(), 0);
    if (error != DCTX_OK)
        cr_assert(dctx_is_empty());
    cr_assert_eq(first_call(first), DCTX_OK);
    return NULL;
}

Test(alloc, first_call_of_a_thread, .init = init)
{
    world_t world = {0};
    cr_assert_eq(DCTX_REGISTER_KEYS(NULL, &first_key, &second_key, &third_key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    open_world(&world);
    for (int call = 0; call < 10; call++) {
        first_t first = {&world, call, 0, false};
        while (!first.over) {
            first.nth++;
            cr_assert_lt(first.nth, 100);
            on_a_thread(run_first, &first, "first call", first.nth);
            cr_assert(call != 9 || first.over, "looking at nothing needs memory");
        }
    }
    close_world(&world);
}
