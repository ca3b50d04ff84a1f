#include "alloc_world.h"

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

const dctx_type_t old_type = {"old", sizeof(old_t), NULL, NULL, old_encode, old_decode, 0};
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
/* ---- what can be seen of a thread's context ---- */

static void add(state_t *state, const void *data, size_t size)
{
    cr_assert_leq(state->size + size, STATE_MAX);
    if (size > 0)
        memcpy(state->text + state->size, data, size);
    state->size += size;
}

void add_value(state_t *state, const dctx_type_t *type, const void *value)
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

void observe(state_t *state, const world_t *world)
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

/* ---- the world before each round ---- */

dctx_error_t set_thing(const world_t *world, int key, const char *text)
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

void open_world(world_t *world)
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

void close_world(world_t *world)
{
    for (int i = 4; i-- > 0;)
        cr_assert_eq(dctx_scope_pop(&world->scopes[i]), DCTX_OK);
    cr_assert(dctx_is_empty());
    dctx_snapshot_unref(&world->received);
    dctx_snapshot_unref(&world->forked);
    dctx_free(world->text);
    dctx_registry_destroy(&world->registry);
}

const dctx_key_options_t *key_options(int key)
{
    return &options[key];
}
