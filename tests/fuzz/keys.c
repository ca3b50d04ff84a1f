#include "keys.h"

#include "watch.h"

typedef struct point {
    int32_t *x_y; /* memory of its own, so that a leak or a double release shows */
} point_t;

static dctx_error_t point_copy(void *dst, const void *src)
{
    point_t *point = dst;
    point->x_y = malloc(2 * sizeof(int32_t));
    MUST(point->x_y != NULL);
    memcpy(point->x_y, ((const point_t *)src)->x_y, 2 * sizeof(int32_t));
    return DCTX_OK;
}

static void point_destroy(void *value)
{
    free(((point_t *)value)->x_y);
}

static dctx_error_t point_encode(const void *value, dctx_writer_t *writer)
{
    const point_t *point = value;
    dctx_write_array(writer, 2);
    dctx_write_int(writer, point->x_y[0]);
    dctx_write_int(writer, point->x_y[1]);
    return DCTX_OK;
}

static dctx_error_t point_decode(void *dst, const void *data, size_t size)
{
    dctx_reader_t reader;
    int64_t x_y[2] = {0, 0};
    dctx_reader_init(&reader, data, size);
    if (dctx_read_array(&reader) != 2)
        return DCTX_ERR_CODEC;
    for (int i = 0; i < 2; i++) {
        x_y[i] = dctx_read_int(&reader);
        if (x_y[i] < INT32_MIN || x_y[i] > INT32_MAX)
            return DCTX_ERR_CODEC;
    }
    if (dctx_reader_end(&reader) != DCTX_OK)
        return DCTX_ERR_CODEC;
    point_t *point = dst;
    point->x_y = malloc(2 * sizeof(int32_t));
    MUST(point->x_y != NULL);
    for (int i = 0; i < 2; i++)
        point->x_y[i] = (int32_t)x_y[i];
    return DCTX_OK;
}

static const dctx_type_t point_type = {"point",      sizeof(point_t), point_copy, point_destroy,
                                       point_encode, point_decode,    0};

/* Version 1 had one coordinate, version 2 strings, version 3 two numbers. */
static dctx_error_t migrate_1_2(const void *data, size_t size, dctx_writer_t *writer)
{
    char text[24];
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    int64_t x = dctx_read_int(&reader);
    if (dctx_reader_end(&reader) != DCTX_OK)
        return DCTX_ERR_CODEC;
    snprintf(text, sizeof(text), "%lld", (long long)x);
    dctx_write_cstr(writer, text);
    return DCTX_OK;
}

static dctx_error_t migrate_2_3(const void *data, size_t size, dctx_writer_t *writer)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    dctx_bytes_t text = dctx_read_str(&reader);
    if (dctx_reader_end(&reader) != DCTX_OK)
        return DCTX_ERR_CODEC;
    dctx_write_array(writer, 2);
    dctx_write_uint(writer, text.size);
    dctx_write_int(writer, text.size > 0 ? ((const uint8_t *)text.data)[0] : -1);
    return DCTX_OK;
}

static const dctx_migration_t migrations[] = {{1, 2, migrate_1_2}, {2, 3, migrate_2_3}};

static const dctx_key_options_t options[KEYS] = {
    [KEY_NAME] = {.name = "name", .type = DCTX_TYPE_STRING},
    [KEY_BLOB] = {.name = "blob", .type = DCTX_TYPE_BYTES},
    [KEY_FLAG] = {.name = "flag", .type = DCTX_TYPE_BOOL},
    [KEY_INT] = {.name = "int", .type = DCTX_TYPE_INT64},
    [KEY_UINT] = {.name = "uint", .type = DCTX_TYPE_UINT64},
    [KEY_DOUBLE] = {.name = "double", .type = DCTX_TYPE_DOUBLE},
    [KEY_POINT] = {.name = "point", .type = &point_type},
    [KEY_OLD] = {.name = "old",
                 .type = &point_type,
                 .version = 3,
                 .migrations = migrations,
                 .migration_count = 2},
    [KEY_LOCAL] = {.name = "local", .type = DCTX_TYPE_STRING, .flags = DCTX_LOCAL},
};

static int64_t stands_still(void *arg)
{
    return *(const int64_t *)arg;
}

const dctx_clocks_t *fuzz_clocks(void)
{
    static int64_t now = INT64_C(1700000000000000000);
    static dctx_clocks_t clocks = {
        .wall = stands_still, .monotonic = stands_still, .arg = &now, .boot_id = "fuzz"};
    return &clocks;
}

static void open_keys(fuzz_keys_t *keys, const dctx_limits_t *limits)
{
    MUST(dctx_registry_new(&keys->registry) == DCTX_OK);
    for (int i = 0; i < KEYS; i++)
        MUST(dctx_registry_add(keys->registry, &options[i], &keys->keys[i]) == DCTX_OK);
    MUST(dctx_registry_set_limits(keys->registry, limits) == DCTX_OK);
    MUST(dctx_registry_set_clocks(keys->registry, fuzz_clocks()) == DCTX_OK);
    MUST(dctx_registry_freeze(keys->registry) == DCTX_OK);
}

static fuzz_keys_t strict, wide;

static void open_once(void)
{
    if (strict.registry != NULL)
        return;
    watch_install();
    open_keys(&strict, &(dctx_limits_t){0});
    open_keys(&wide, &(dctx_limits_t){.stamp_bytes = 1 << 24,
                                      .entries = 100000,
                                      .value_bytes = 1 << 20,
                                      .chain_names = 255});
}

const fuzz_keys_t *fuzz_keys(void)
{
    open_once();
    return &strict;
}

const fuzz_keys_t *fuzz_keys_wide(void)
{
    open_once();
    return &wide;
}
