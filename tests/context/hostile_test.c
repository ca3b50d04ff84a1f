/*
 * Wire forms from an enemy: claimed lengths, input cut short or changed anywhere, nesting,
 * duplicates, a hundred thousand names. No decode may allocate more than 16 KiB + 4 times its
 * input, a refused one leaves no trace but a counter and words, and one that is taken travels on as
 * it was.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "watch.h"
#include "wire.h"

DCTX_KEY_STRING(name_key, "name", DCTX_BROADCAST)
DCTX_KEY_BYTES(blob_key, "blob", DCTX_BROADCAST)
DCTX_KEY_BOOL(flag_key, "flag", DCTX_BROADCAST)
DCTX_KEY_INT64(int_key, "int", DCTX_BROADCAST)
DCTX_KEY_UINT64(uint_key, "uint", DCTX_BROADCAST)
DCTX_KEY_DOUBLE(double_key, "double", DCTX_BROADCAST)
DCTX_KEY_STRUCT(thing_key, "thing", thing_t, &thing_type, DCTX_BROADCAST)
DCTX_KEY_STRING(local_key, "local", DCTX_LOCAL)

/* With the default limits, and with limits so wide that only the bytes themselves limit. */
static dctx_registry_t *strict, *wide;
static dctx_scope_t open_scope;
static char chain_before[128];

static void make_registry(dctx_registry_t **registry, const dctx_limits_t *limits)
{
    cr_assert_eq(dctx_registry_new(registry), DCTX_OK);
    cr_assert_eq(DCTX_REGISTER_KEYS(*registry, &name_key, &blob_key, &flag_key, &int_key, &uint_key,
                                    &double_key, &thing_key, &local_key),
                 DCTX_OK);
    cr_assert_eq(dctx_registry_set_limits(*registry, limits), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(*registry), DCTX_OK);
}

static void init(void)
{
    watch_install();
    make_registry(&strict, &(dctx_limits_t){0});
    make_registry(&wide, &(dctx_limits_t){.stamp_bytes = (size_t)1 << 28,
                                          .entries = 1000000,
                                          .value_bytes = (size_t)1 << 27,
                                          .chain_names = 255});
    /* The thread is at work meanwhile. */
    dctx_snapshot_t *empty = NULL;
    cr_assert_eq(dctx_snapshot_empty(strict, &empty), DCTX_OK);
    cr_assert_eq(dctx_attach_scope(empty, "work", &open_scope), DCTX_OK);
    dctx_snapshot_unref(&empty);
    cr_assert_eq(name_key_set("before"), DCTX_OK);
    cr_assert_eq(local_key_set("here"), DCTX_OK);
    dctx_chain_format(chain_before, sizeof(chain_before));
}

static void check_untouched(void)
{
    char chain[128];
    cr_assert_str_eq(name_key_get(), "before");
    cr_assert_str_eq(local_key_get(), "here");
    cr_assert_null(blob_key_get());
    dctx_chain_format(chain, sizeof(chain));
    cr_assert_str_eq(chain, chain_before);
    cr_assert_eq(dctx_scope_depth(), 1);
}

/* The end of each test, and part of it: Criterion does not count what fails in a .fini. */
static void done(void)
{
    check_untouched();
    cr_assert_eq(dctx_scope_pop(&open_scope), DCTX_OK);
    dctx_registry_destroy(&strict);
    dctx_registry_destroy(&wide);
    cr_assert_eq(things_alive(), 0);
}

/* Decodes a copy of its exact size, under watch. */
static dctx_error_t decode(dctx_registry_t *registry, const void *data, size_t size,
                           dctx_snapshot_t **ret_snapshot)
{
    dctx_context_counters_t before, after;
    uint8_t *copy = malloc(size + (size == 0));
    cr_assert_not_null(copy);
    if (size > 0)
        memcpy(copy, data, size);
    dctx_context_counters_read(&before);
    size_t blocks = watch_live_blocks(), bound = 16384 + 4 * size;
    watch_begin();
    dctx_error_t error = dctx_snapshot_decode(registry, size > 0 ? copy : NULL, size, ret_snapshot);
    cr_assert_leq(watch_peak(), bound, "%zu bytes held for %zu of input", watch_peak(), size);
    cr_assert_leq(watch_total(), bound, "%zu bytes allocated for %zu of input", watch_total(),
                  size);
    dctx_context_counters_read(&after);
    free(copy);
    if (error == DCTX_OK) {
        cr_assert_eq(after.decoded, before.decoded + 1);
        cr_assert_eq(after.decode_refused, before.decode_refused);
    } else {
        cr_assert_eq(after.decoded, before.decoded);
        cr_assert_eq(after.decode_refused, before.decode_refused + 1);
        cr_assert_eq(watch_live_blocks(), blocks, "a refused input left something behind");
        cr_assert(dctx_error_detail()[0] != '\0', "%s has no detail", dctx_error_name(error));
    }
    return error;
}

static dctx_snapshot_t *const untouched = (dctx_snapshot_t *)(uintptr_t)0x5a5a;

static void refuses(dctx_registry_t *registry, const wire_t *wire, dctx_error_t expected)
{
    dctx_snapshot_t *snapshot = untouched;
    dctx_error_t error = decode(registry, wire->data, wire->size, &snapshot);
    cr_assert_eq(error, expected, "%s, not %s: %s", dctx_error_name(error),
                 dctx_error_name(expected), dctx_error_detail());
    cr_assert_eq(snapshot, untouched);
    check_untouched();
}

static void refuses_naming(dctx_registry_t *registry, const wire_t *wire, dctx_error_t expected,
                           const char *a, const char *b, const char *c)
{
    const char *parts[] = {a, b, c};
    refuses(registry, wire, expected);
    for (int i = 0; i < 3; i++)
        cr_assert(parts[i] == NULL || strcasestr(dctx_error_detail(), parts[i]) != NULL,
                  "'%s' does not say '%s'", dctx_error_detail(), parts[i]);
}

/* Takes it, reads everything in it, and sees that it travels on as it is. */
static void use(const dctx_snapshot_t *snapshot, dctx_registry_t *registry)
{
    dctx_scope_t scope;
    char text[256];
    dctx_bytes_t first, second;
    dctx_snapshot_t *again = NULL;
    cr_assert_eq(dctx_attach(snapshot, &scope), DCTX_OK);
    const char *name = name_key_get();
    const thing_t *thing = thing_key_get();
    const dctx_bytes_t *blob = blob_key_get();
    size_t sum = (name != NULL ? strlen(name) : 0) + (blob != NULL ? blob->size : 0) +
                 (thing != NULL ? strlen(thing->text) : 0) + flag_key_get_or(false) +
                 (int_key_get() != NULL) + (uint_key_get() != NULL) + (double_key_get() != NULL);
    cr_assert_leq(sum, (size_t)1 << 28);
    cr_assert_null(local_key_get());
    cr_assert_gt(dctx_chain_format(text, sizeof(text)) + 1, 0);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    cr_assert_eq(dctx_snapshot_encode(snapshot, &first), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(dctx_snapshot_decode(registry, first.data, first.size, &again), DCTX_OK);
    cr_assert_eq(dctx_snapshot_encode(again, &second), DCTX_OK);
    cr_assert_eq(first.size, second.size);
    cr_assert_arr_eq(first.data, second.data, first.size);
    dctx_snapshot_unref(&again);
}

static void takes(dctx_registry_t *registry, const wire_t *wire)
{
    size_t blocks = 0;
    /* Up to the third time the thread learns the stamp's shape, and may keep a chain with it. */
    for (int i = 0; i < 4; i++) {
        dctx_snapshot_t *snapshot = NULL;
        blocks = watch_live_blocks();
        dctx_error_t error = decode(registry, wire->data, wire->size, &snapshot);
        cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), dctx_error_detail());
        use(snapshot, registry);
        dctx_snapshot_unref(&snapshot);
    }
    cr_assert_eq(watch_live_blocks(), blocks);
    check_untouched();
}

/* Either, as long as it is clean. */
static dctx_error_t survives(dctx_registry_t *registry, const wire_t *wire)
{
    dctx_snapshot_t *snapshot = untouched;
    dctx_error_t error = decode(registry, wire->data, wire->size, &snapshot);
    if (error == DCTX_OK) {
        use(snapshot, registry);
        dctx_snapshot_unref(&snapshot);
    } else {
        cr_assert(error == DCTX_ERR_MALFORMED || error == DCTX_ERR_VERSION ||
                      error == DCTX_ERR_LIMIT,
                  "%s", dctx_error_name(error));
        cr_assert_eq(snapshot, untouched);
    }
    check_untouched();
    return error;
}

/* ---- a rich stamp, any item of which can be replaced ---- */

typedef struct rich {
    wire_t *wire;
    int item;    /* the next one */
    int replace; /* this one's head by ... */
    const wire_t *by;
} rich_t;

static bool replaced(rich_t *rich)
{
    if (rich->item++ != rich->replace)
        return false;
    wire_raw(rich->wire, rich->by->data, rich->by->size);
    return true;
}

static void rich_array(rich_t *rich, uint64_t count)
{
    if (!replaced(rich))
        wire_array(rich->wire, count, -1);
}

static void rich_uint(rich_t *rich, uint64_t value)
{
    if (!replaced(rich))
        wire_uint(rich->wire, value, -1);
}

static void rich_str(rich_t *rich, const char *text)
{
    if (!replaced(rich))
        wire_str_head(rich->wire, strlen(text), -1);
    wire_raw(rich->wire, text, strlen(text));
}

static void rich_entry(rich_t *rich, const char *name, uint64_t version, const char *body,
                       size_t size)
{
    rich_array(rich, 3);
    rich_str(rich, name);
    rich_uint(rich, version);
    if (!replaced(rich))
        wire_bin_head(rich->wire, size, -1);
    wire_raw(rich->wire, body, size);
}

/* Returns how many items there are. */
static int make_rich(wire_t *wire, int replace, const wire_t *by)
{
    rich_t rich = {wire, 0, replace, by};
    wire_clear(wire);
    rich_array(&rich, 4);
    rich_uint(&rich, 1);
    rich_array(&rich, 7);
    rich_str(&rich, "gateway");
    rich_str(&rich, "remote:orders");
    rich_str(&rich, "c");
    rich_str(&rich, "d");
    rich_uint(&rich, 300);
    rich_str(&rich, "e");
    rich_str(&rich, "a name of more than thirty-two letters");
    rich_array(&rich, 9);
    rich_entry(&rich, "blob", 1, "\xc4\x03\x00\x01\x02", 5);
    rich_entry(&rich, "double", 1, "\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", 9);
    rich_entry(&rich, "flag", 1, "\xc3", 1);
    rich_entry(&rich, "int", 1, "\xd1\xff\x00", 3);
    rich_entry(&rich, "local", 1, "\xa1x", 2);
    rich_entry(&rich, "name", 1,
               "\xa5"
               "alice",
               6);
    rich_entry(&rich, "thing", 1, "Tthing", 6);
    rich_entry(&rich, "uint", 2, "\xcc\xff", 2);
    rich_entry(&rich, "unknown", 70000, "\xc1\xc1", 2);
    rich_array(&rich, 2); /* what a later version might add */
    rich_str(&rich, "later");
    rich_uint(&rich, 7);
    return rich.item;
}

Test(hostile, rich_stamp_itself, .init = init)
{
    wire_t wire;
    dctx_snapshot_t *snapshot = NULL;
    wire_init(&wire);
    make_rich(&wire, -1, NULL);
    takes(strict, &wire);
    takes(wide, &wire);
    cr_assert_eq(decode(strict, wire.data, wire.size, &snapshot), DCTX_OK);
    cr_assert_eq(dctx_snapshot_unknown_count(snapshot), 2); /* "local" and "unknown" */
    DCTX_WITH_SNAPSHOT(snapshot) {
        cr_assert_str_eq(name_key_get(), "alice");
        cr_assert_eq(blob_key_get()->size, 3);
        cr_assert_float_eq(double_key_get_or(0), 1.0, 0);
        cr_assert(flag_key_get_or(false));
        cr_assert_eq(int_key_get_or(0), -256);
        cr_assert_str_eq(thing_key_get()->text, "thing");
        cr_assert_null(uint_key_get()); /* of a later version */
    }
    dctx_snapshot_unref(&snapshot);
    wire_finish(&wire);
    done();
}

Test(hostile, claimed_lengths, .init = init, .timeout = 60)
{
    static const unsigned heads[] = {0xdb, 0xc6, 0xdd, 0xdf, 0xc9, 0xcf, 0xda, 0xc5,
                                     0xdc, 0xde, 0xc8, 0xd9, 0xc4, 0xc7, 0xd3, 0xcb};
    static const uint64_t claims[] = {UINT64_MAX, 0x0f000000, 0x7fffffff, 0x80000000, 0x10000, 300};
    wire_t wire, by;
    wire_init(&wire);
    wire_init(&by);
    int items = make_rich(&wire, -1, NULL);
    for (int at = 0; at < items; at++) {
        for (size_t h = 0; h < sizeof(heads) / sizeof(heads[0]); h++) {
            for (size_t c = 0; c < sizeof(claims) / sizeof(claims[0]); c++) {
                bool number = heads[h] == 0xcf || heads[h] == 0xd3 || heads[h] == 0xcb;
                unsigned width = number ? 8 : h < 6 ? 4 : h < 11 ? 2 : 1;
                wire_clear(&by);
                wire_byte(&by, heads[h]);
                wire_big(&by, claims[c], width);
                make_rich(&wire, at, &by);
                dctx_error_t a = survives(strict, &wire), b = survives(wide, &wire);
                /* More is claimed than there is. */
                if (!number && width == 4 && c < 5) {
                    cr_assert_neq(a, DCTX_OK, "item %d, head %02x", at, heads[h]);
                    cr_assert_neq(b, DCTX_OK, "item %d, head %02x", at, heads[h]);
                }
            }
        }
    }
    wire_finish(&by);
    wire_finish(&wire);
    done();
}

/* The same inside values, which are not looked at before they are read. */
Test(hostile, claimed_lengths_in_values, .init = init)
{
    static const char *const bodies[] = {"\xdb\xff\xff\xff\xff",
                                         "\xc6\xff\xff\xff\xff",
                                         "\xdd\xff\xff\xff\xff",
                                         "\xdf\xff\xff\xff\xff",
                                         "\xc9\xff\xff\xff\xff\x01",
                                         "\xdd\x0f\xff\xff\xff",
                                         "\xdf\x0f\xff\xff\xff",
                                         "\xda\xff\xff",
                                         "\xc5\xff\xff",
                                         "\xdc\xff\xff",
                                         "\xc1"};
    static const char *const names[] = {"name", "blob", "flag", "int", "uint", "double", "thing"};
    wire_t wire;
    wire_init(&wire);
    for (size_t b = 0; b < sizeof(bodies) / sizeof(bodies[0]); b++) {
        dctx_context_counters_t before, after;
        dctx_snapshot_t *snapshot = NULL;
        dctx_bytes_t bytes;
        wire_clear(&wire);
        wire_raw(&wire, "\x93\x01\x90\x97", 4);
        for (int i = 0; i < 7; i++)
            wire_entry(&wire, names[(i * 3 + 1) % 7], 1, bodies[b], strlen(bodies[b]));
        dctx_context_counters_read(&before);
        cr_assert_eq(decode(strict, wire.data, wire.size, &snapshot), DCTX_OK);
        watch_begin();
        for (int i = 0; i < 7; i++)
            for (int twice = 0; twice < 2; twice++)
                cr_assert_null(dctx_snapshot_get(snapshot, dctx_registry_find(strict, names[i])));
        cr_assert_leq(watch_total(), 16384 + 4 * wire.size);
        dctx_context_counters_read(&after);
        cr_assert_eq(after.entries_undecodable, before.entries_undecodable + 7);
        cr_assert_eq(dctx_snapshot_encode(snapshot, &bytes), DCTX_OK);
        cr_assert_eq(bytes.size, wire.size);
        dctx_snapshot_unref(&snapshot);
    }
    wire_finish(&wire);
    done();
}

Test(hostile, cut_at_each_byte, .init = init)
{
    wire_t wire;
    wire_init(&wire);
    make_rich(&wire, -1, NULL);
    for (size_t size = wire.size; size-- > 0;) {
        wire.size = size;
        refuses(strict, &wire, DCTX_ERR_MALFORMED);
        refuses(wide, &wire, DCTX_ERR_MALFORMED);
    }
    wire_finish(&wire);
    done();
}

Test(hostile, each_byte_changed, .init = init, .timeout = 60)
{
    wire_t wire;
    wire_init(&wire);
    make_rich(&wire, -1, NULL);
    for (size_t at = 0; at < wire.size; at++) {
        uint8_t was = wire.data[at];
        for (unsigned change = 0; change < 12; change++) {
            static const uint8_t others[] = {0x00, 0xc1, 0xff, 0x7f};
            wire.data[at] = (uint8_t)(change < 8 ? was ^ 1u << change : others[change - 8]);
            survives(strict, &wire);
        }
        wire.data[at] = was;
    }
    wire_finish(&wire);
    done();
}

Test(hostile, bytes_after_it, .init = init)
{
    wire_t wire;
    wire_init(&wire);
    for (unsigned byte = 0; byte < 256; byte++) {
        make_rich(&wire, -1, NULL);
        wire_byte(&wire, byte);
        refuses(strict, &wire, DCTX_ERR_MALFORMED);
    }
    wire_clear(&wire);
    wire_raw(&wire, "\x93\x01\x90\x90\x93\x01\x90\x90", 8);
    refuses(strict, &wire, DCTX_ERR_MALFORMED);
    wire_finish(&wire);
    done();
}

Test(hostile, empty_input, .init = init)
{
    wire_t wire;
    wire_init(&wire);
    refuses(strict, &wire, DCTX_ERR_MALFORMED);
    for (unsigned byte = 0; byte < 256; byte++) {
        wire_clear(&wire);
        wire_byte(&wire, byte);
        refuses(strict, &wire, DCTX_ERR_MALFORMED);
    }
    wire_finish(&wire);
    done();
}

Test(hostile, versions, .init = init)
{
    wire_t wire;
    wire_init(&wire);
    static const uint64_t others[] = {0, 2, 77, 128, 65536, UINT64_MAX};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        char number[32];
        snprintf(number, sizeof(number), "%llu", (unsigned long long)others[i]);
        wire_clear(&wire);
        wire_array(&wire, 3, -1);
        wire_uint(&wire, others[i], -1);
        wire_raw(&wire, "\x90\x90", 2);
        refuses_naming(strict, &wire, DCTX_ERR_VERSION, number, NULL, NULL);
    }
    /* Another version may look any other way from there on. */
    wire_clear(&wire);
    wire_raw(&wire, "\x92\x02\xa3new", 6);
    refuses(strict, &wire, DCTX_ERR_VERSION);
    wire_finish(&wire);
    done();
}

/* ---- nesting ---- */

static void nested(wire_t *wire, unsigned depth, bool maps)
{
    for (unsigned i = 0; i < depth; i++) {
        if (maps)
            wire_raw(wire, "\x81\xa1k", 3);
        else
            wire_byte(wire, 0x91);
    }
    wire_byte(wire, 0xc0);
}

Test(hostile, nesting, .init = init)
{
    wire_t wire;
    wire_init(&wire);
    for (int maps = 0; maps < 2; maps++) {
        for (int in_entry = 0; in_entry < 2; in_entry++) {
            for (unsigned depth = 0; depth < 100000; depth = depth < 40 ? depth + 1 : depth * 3) {
                wire_clear(&wire);
                wire_raw(&wire,
                         in_entry ? "\x93\x01\x90\x91\x94\xa1k\x01\xc4\x00" : "\x94\x01\x90\x90",
                         in_entry ? 10 : 4);
                nested(&wire, depth, maps);
                if (depth <= 12)
                    takes(wide, &wire);
                else if (depth >= 17)
                    refuses_naming(wide, &wire, DCTX_ERR_LIMIT, "16", NULL, NULL);
                else
                    survives(wide, &wire);
            }
        }
    }
    /* Where an item is not skipped but must be of a kind. */
    for (int at = 0; at < 6; at++) {
        static const char *const before[] = {
            "", "\x93", "\x93\x01", "\x93\x01\x91", "\x93\x01\x90", "\x93\x01\x90\x91"};
        wire_clear(&wire);
        wire_raw(&wire, before[at], strlen(before[at]));
        nested(&wire, 20000, false);
        cr_assert_neq(survives(wide, &wire), DCTX_OK);
    }
    /* In a value: absent, and on it goes. */
    wire_t body;
    wire_init(&body);
    nested(&body, 3000, false);
    wire_clear(&wire);
    wire_raw(&wire, "\x93\x01\x90\x91", 4);
    wire_entry(&wire, "name", 1, body.data, body.size);
    takes(strict, &wire);
    wire_finish(&body);
    wire_finish(&wire);
    done();
}

/* ---- names ---- */

static void entries_head(wire_t *wire, size_t count)
{
    wire_clear(wire);
    wire_raw(wire, "\x93\x01\x90", 3);
    wire_array(wire, count, -1);
}

static void two_entries(wire_t *wire, const char *a, const char *b)
{
    entries_head(wire, 2);
    wire_string_entry(wire, a, "1");
    wire_string_entry(wire, b, "2");
}

Test(hostile, duplicates, .init = init)
{
    static const char *const pairs[][2] = {
        {"name", "name"},        {"name", "NAME"},
        {"other", "other"},      {"other", "oTher"},
        {"local", "Local"},      {"z-long-name-of-a-key", "Z-LONG-NAME-OF-A-KEY"},
        {"\xc3\xa9", "\xc3\xa9"}};
    wire_t wire;
    wire_init(&wire);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        two_entries(&wire, pairs[i][0], pairs[i][1]);
        refuses_naming(strict, &wire, DCTX_ERR_MALFORMED, pairs[i][0][0] > 0 ? pairs[i][1] : NULL,
                       NULL, NULL);
        /* Far apart, and out of order. */
        entries_head(&wire, 22);
        wire_string_entry(&wire, pairs[i][1], "1");
        for (int n = 0; n < 20; n++) {
            char name[8];
            snprintf(name, sizeof(name), "k%d", (n * 7) % 20);
            wire_string_entry(&wire, name, "x");
        }
        wire_string_entry(&wire, pairs[i][0], "2");
        refuses(strict, &wire, DCTX_ERR_MALFORMED);
    }
    /* Not the same: only ASCII letters fold. */
    two_entries(&wire, "\xc3\xa9", "\xc3\x89");
    takes(strict, &wire);
    two_entries(&wire, "a[", "a{");
    takes(strict, &wire);
    two_entries(&wire, "a@", "a`");
    takes(strict, &wire);
    two_entries(&wire, "name", "name ");
    takes(strict, &wire);
    two_entries(&wire, "\xe1", "\xc1");
    takes(strict, &wire);
    wire_finish(&wire);
    done();
}

static unsigned shuffled(unsigned n, unsigned order, unsigned count)
{
    return order == 0 ? n : order == 1 ? count - 1 - n : (unsigned)((uint64_t)n * 77773 % count);
}

Test(hostile, a_hundred_thousand_names, .init = init, .timeout = 30)
{
    const unsigned count = 100000;
    wire_t wire;
    wire_init(&wire);
    for (unsigned order = 0; order < 3; order++) {
        for (unsigned twice = 0; twice < 2; twice++) {
            char name[32];
            entries_head(&wire, count + twice);
            for (unsigned n = 0; n < count; n++) {
                snprintf(name, sizeof(name), "n%06u", shuffled(n, order, count));
                wire_entry(&wire, name, 1, "", 0);
            }
            if (twice)
                wire_entry(&wire, "N050000", 1, "", 0);
            refuses_naming(strict, &wire, DCTX_ERR_LIMIT, "8192", NULL, NULL);
            if (twice) {
                refuses_naming(wide, &wire, DCTX_ERR_MALFORMED, "050000", NULL, NULL);
                continue;
            }
            dctx_snapshot_t *snapshot = NULL;
            cr_assert_eq(decode(wide, wire.data, wire.size, &snapshot), DCTX_OK, "%s",
                         dctx_error_detail());
            cr_assert_eq(dctx_snapshot_unknown_count(snapshot), count);
            use(snapshot, wide);
            dctx_snapshot_unref(&snapshot);
        }
    }
    /* One letter each: what the library notes of an entry is more than the entry. */
    entries_head(&wire, 0x7f - 0x20 - 26);
    for (unsigned c = 0x20; c < 0x7f; c++) {
        char name[2] = {(char)c, 0};
        if (c < 'a' || c > 'z')
            wire_entry(&wire, name, 1, "", 0);
    }
    takes(wide, &wire);
    refuses_naming(strict, &wire, DCTX_ERR_LIMIT, "64", "69", NULL);
    wire_finish(&wire);
    done();
}

Test(hostile, a_hundred_thousand_scopes, .init = init)
{
    wire_t wire;
    wire_init(&wire);
    wire_raw(&wire, "\x93\x01", 2);
    wire_array(&wire, 100000, -1);
    for (unsigned n = 0; n < 100000; n++)
        wire_raw(&wire, "\xa1s", 2);
    wire_raw(&wire, "\x90", 1);
    refuses_naming(wide, &wire, DCTX_ERR_LIMIT, "255", NULL, NULL);
    refuses(strict, &wire, DCTX_ERR_LIMIT);
    wire_finish(&wire);
    done();
}

static void key_entry(wire_t *wire, const void *name, size_t size)
{
    entries_head(wire, 1);
    wire_array(wire, 3, -1);
    wire_str(wire, name, size);
    wire_raw(wire, "\x01\xc4\x00", 3);
}

static void chain_of(wire_t *wire, const void *name, size_t size)
{
    wire_clear(wire);
    wire_raw(wire, "\x93\x01\x91", 3);
    wire_str(wire, name, size);
    wire_raw(wire, "\x90", 1);
}

Test(hostile, names, .init = init)
{
    wire_t wire;
    char name[200];
    wire_init(&wire);
    memset(name, 'n', sizeof(name));
    key_entry(&wire, name, 0);
    refuses(strict, &wire, DCTX_ERR_MALFORMED);
    chain_of(&wire, name, 0);
    refuses(strict, &wire, DCTX_ERR_MALFORMED);
    key_entry(&wire, name, 128);
    takes(strict, &wire);
    key_entry(&wire, name, 129);
    refuses_naming(strict, &wire, DCTX_ERR_LIMIT, "128", "129", "nnnnnnnn");
    refuses_naming(wide, &wire, DCTX_ERR_LIMIT, "128", "129", NULL);
    chain_of(&wire, name, 64);
    takes(strict, &wire);
    chain_of(&wire, name, 65);
    refuses_naming(strict, &wire, DCTX_ERR_LIMIT, "64", "65", NULL);
    for (unsigned byte = 0; byte < 256; byte++) {
        bool control = byte < 0x20 || byte == 0x7f;
        for (size_t size = 1; size < 20; size++) {
            for (size_t at = 0; at < size; at++) {
                name[at] = (char)byte;
                key_entry(&wire, name, size);
                control ? refuses(strict, &wire, DCTX_ERR_MALFORMED) : takes(strict, &wire);
                chain_of(&wire, name, size);
                control ? refuses(strict, &wire, DCTX_ERR_MALFORMED) : takes(strict, &wire);
                name[at] = 'n';
                if (!control)
                    break; /* one place will do */
            }
        }
    }
    wire_finish(&wire);
    done();
}

Test(hostile, wrong_kinds, .init = init)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
#define BAD(bytes) {bytes, sizeof(bytes) - 1}
        BAD("\x80"), /* no array */
        BAD("\x90"),
        BAD("\x91\x01"),
        BAD("\x92\x01\x90"), /* too few elements */
        BAD("\x93\xa1"
            "1\x90\x90"),
        BAD("\x93\xff\x90\x90"),
        BAD("\x93\xc0\x90\x90"), /* version */
        BAD("\x93\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00\x90\x90"),
        BAD("\x93\x01\xc0\x90"),
        BAD("\x93\x01\x80\x90"),
        BAD("\x93\x01\xa0\x90"), /* chain */
        BAD("\x93\x01\x90\xc0"),
        BAD("\x93\x01\x90\x80"),
        BAD("\x93\x01\x90\xc4\x00"), /* entries */
        BAD("\x93\x01\x91\xc4\x01x\x90"),
        BAD("\x93\x01\x91\xc0\x90"),
        BAD("\x93\x01\x91\x91\xa1x\x90"),
        BAD("\x93\x01\x91\x00\x90"),      /* a mark of none */
        BAD("\x93\x01\x92\xa1x\xff\x90"), /* less than none */
        BAD("\x93\x01\x92\x01\x02\x90"),  /* two marks */
        BAD("\x93\x01\x93\x01\xa1x\x02\x90"),
        BAD("\x93\x01\x90\x91\xc0"),
        BAD("\x93\x01\x90\x91\x80"),
        BAD("\x93\x01\x90\x91\x90"),
        BAD("\x93\x01\x90\x91\x91\xa1k"),
        BAD("\x93\x01\x90\x91\x92\xa1k\x01"),
        BAD("\x93\x01\x90\x91\x93\xc4\x01k\x01\xc4\x00"), /* key as bin */
        BAD("\x93\x01\x90\x91\x93\x01\x01\xc4\x00"),
        BAD("\x93\x01\x90\x91\x93\xa1k\xa1"
            "1\xc4\x00"), /* version as str */
        BAD("\x93\x01\x90\x91\x93\xa1k\xff\xc4\x00"),
        BAD("\x93\x01\x90\x91\x93\xa1k\x00\xc4\x00"), /* there is no version 0 */
        BAD("\x93\x01\x90\x91\x93\xa1k\xcf\x00\x00\x00\x01\x00\x00\x00\x00\xc4\x00"),
        BAD("\x93\x01\x90\x91\x93\xa1k\x01\xa0"), /* value as str */
        BAD("\x93\x01\x90\x91\x93\xa1k\x01\x90"),
        BAD("\x93\x01\x90\x91\x93\xa1k\x01\xc0"),
        BAD("\x94\x01\x90\x90\xc1"),
        BAD("\x94\x01\x90\x90\x92\x01\xc1"),
        BAD("\x93\x01\x90\x91\x94\xa1k\x01\xc4\x00\xc1"),
#undef BAD
    };
    wire_t wire;
    wire_init(&wire);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        wire_clear(&wire);
        wire_raw(&wire, bad[i].bytes, bad[i].size);
        dctx_error_t error = survives(strict, &wire);
        cr_expect_eq(error, DCTX_ERR_MALFORMED, "case %zu: %s", i, dctx_error_name(error));
    }
    /* A chain of a mark alone is odd, but nothing in it is wrong. */
    wire_clear(&wire);
    wire_raw(&wire, "\x93\x01\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x90", 13);
    takes(strict, &wire);
    wire_finish(&wire);
    done();
}

/* A mark near 2^64, and more names elided on top: it must not come out small. */
Test(hostile, elided_does_not_wrap, .init = init)
{
    wire_t wire;
    wire_init(&wire);
    wire_raw(&wire, "\x93\x01", 2);
    wire_array(&wire, 33, -1);
    for (int i = 0; i < 32; i++) {
        if (i == 4)
            wire_uint(&wire, UINT64_MAX - 1, -1);
        wire_raw(&wire, "\xa1s", 2);
    }
    wire_raw(&wire, "\x90", 1);
    dctx_snapshot_t *snapshot = NULL, *captured = NULL;
    cr_assert_eq(decode(strict, wire.data, wire.size, &snapshot), DCTX_OK);
    DCTX_WITH_SNAPSHOT(snapshot) {
        dctx_scope_t scopes[5];
        for (int i = 0; i < 5; i++)
            cr_assert_eq(dctx_scope_push("more", &scopes[i]), DCTX_OK);
        cr_assert_geq(dctx_chain_elided(), UINT64_MAX - 1);
        cr_assert_eq(dctx_chain_length(), 32);
        cr_assert_eq(dctx_capture(&captured), DCTX_OK);
        for (int i = 5; i-- > 0;)
            cr_assert_eq(dctx_scope_pop(&scopes[i]), DCTX_OK);
    }
    cr_assert_geq(dctx_snapshot_chain_elided(captured), UINT64_MAX - 1);
    use(captured, strict);
    dctx_snapshot_unref(&captured);
    dctx_snapshot_unref(&snapshot);
    wire_finish(&wire);
    done();
}

/* A thousand keys of its own cost a registry's snapshots no more than the bound allows. */
Test(hostile, many_keys_of_ones_own, .init = init)
{
    dctx_registry_t *registry = NULL;
    dctx_snapshot_t *snapshot = NULL;
    wire_t wire;
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "key-%03d", i);
        const dctx_key_options_t options = {.name = name, .type = DCTX_TYPE_STRING};
        cr_assert_eq(dctx_registry_add(registry, &options, NULL), DCTX_OK);
    }
    cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
    wire_init(&wire);
    entries_head(&wire, 1);
    wire_string_entry(&wire, "KEY-999", "x");
    cr_assert_eq(decode(registry, wire.data, wire.size, &snapshot), DCTX_OK);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, dctx_registry_find(registry, "key-999")), "x");
    dctx_snapshot_unref(&snapshot);
    wire_finish(&wire);
    dctx_registry_destroy(&registry);
    done();
}
