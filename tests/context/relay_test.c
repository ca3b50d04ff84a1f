/*
 * What a process does not know travels on, byte for byte: three relays that register nothing, each
 * with its own registry, attach what they receive, do some work in a scope, and send it on. The
 * entries arrive as they left, and the chain has grown by the relays' scopes and nothing else.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "watch.h"
#include "wire.h"

DCTX_KEY_STRING(tenant_key, "tenant", DCTX_BROADCAST)
DCTX_KEY_INT64(budget_key, "budget", DCTX_BROADCAST)
DCTX_KEY_STRUCT(thing_key, "thing", thing_t, &thing_type, DCTX_BROADCAST)
DCTX_KEY_STRING(own_key, "own", DCTX_LOCAL)

/* The entries in the order of the wire, in every form that a reader must accept and a relay may not
 * touch. */
static void strange_entries(wire_t *wire)
{
    static const uint8_t body[300] = {0};
    wire_array(wire, 9, -1);
    /* Longer heads than needed. */
    wire_array(wire, 3, 4);
    wire_str_head(wire, 6, 4);
    wire_raw(wire, "Budget", 6);
    wire_uint(wire, 1, 8);
    wire_bin_head(wire, 2, 4);
    wire_raw(wire, "\xcc\x07", 2);
    /* More elements. */
    wire_array(wire, 5, 2);
    wire_cstr(wire, "extended");
    wire_uint(wire, 3, 2);
    wire_bin(wire, "x", 1);
    wire_raw(wire, "\x81\xc0\x93\x01\x02\x03\xcb\x00\x00\x00\x00\x00\x00\x00\x00", 15);
    /* A value that no type decodes; one of a far version; an empty one; a long one. */
    wire_entry(wire, "rubbish", 1, "\xc1\xc1\xff", 3);
    wire_entry(wire, "tenant", UINT32_MAX,
               "\xa5"
               "later",
               6);
    wire_entry(wire, "THING", 1, "no thing at all", 15);
    wire_entry(wire, "umlaut-\xc3\xa4", 1, "", 0);
    wire_entry(wire, "v", 127, body, sizeof(body));
    wire_entry(wire, "w_x", 128, body, 1);
    wire_entry(wire, "wax", 65536, body, 255);
}

static dctx_registry_t *make_registry(dctx_typed_key_t *const *keys, size_t count)
{
    dctx_registry_t *registry = NULL;
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    cr_assert_eq(dctx_typed_keys_register(registry, keys, count), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
    return registry;
}

/* One process: takes the bytes in `wire`, leaves what it sends on in their place. */
static void relay(dctx_registry_t *registry, const char *name, wire_t *wire, bool work)
{
    dctx_snapshot_t *received = NULL, *sent = NULL;
    dctx_bytes_t bytes;
    dctx_scope_t scope;
    cr_assert_eq(dctx_snapshot_decode(registry, wire->data, wire->size, &received), DCTX_OK, "%s",
                 dctx_error_detail());
    cr_assert_eq(dctx_attach_scope(received, name, &scope), DCTX_OK);
    dctx_snapshot_unref(&received);
    if (work) {
        DCTX_WITH_SCOPE("work") {
            (void)tenant_key_get();
            (void)thing_key_get();
            (void)budget_key_get();
            cr_assert_eq(own_key_key() != NULL ? own_key_set("here only") : DCTX_OK, DCTX_OK);
        }
    }
    cr_assert_eq(dctx_capture(&sent), DCTX_OK);
    cr_assert_eq(dctx_snapshot_encode(sent, &bytes), DCTX_OK, "%s", dctx_error_detail());
    wire_clear(wire);
    wire_raw(wire, bytes.data, bytes.size);
    dctx_snapshot_unref(&sent);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
}

static void init(void)
{
    watch_install();
    cr_assert_not_null(dctx_registry_global());
}

static void through_relays(dctx_typed_key_t *const *keys, size_t count)
{
    wire_t wire, expected;
    wire_init(&wire);
    wire_init(&expected);
    wire_raw(&wire,
             "\x93\x01\x91\xa4"
             "edge",
             8);
    strange_entries(&wire);
    for (int i = 1; i <= 3; i++) {
        char name[16];
        dctx_registry_t *registry = make_registry(keys, count);
        snprintf(name, sizeof(name), "relay:%d", i);
        relay(registry, name, &wire, true);
        dctx_registry_destroy(&registry);
        wire_clear(&expected);
        wire_raw(&expected, "\x93\x01", 2);
        wire_array(&expected, (uint64_t)i + 1, -1);
        wire_cstr(&expected, "edge");
        for (int n = 1; n <= i; n++) {
            snprintf(name, sizeof(name), "relay:%d", n);
            wire_cstr(&expected, name);
        }
        strange_entries(&expected);
        cr_assert_eq(wire.size, expected.size, "relay %d", i);
        cr_assert_arr_eq(wire.data, expected.data, expected.size, "relay %d", i);
    }
    wire_finish(&wire);
    wire_finish(&expected);
    cr_assert_eq(things_alive(), 0);
}

Test(relay, that_knows_nothing, .init = init)
{
    through_relays(NULL, 0);
}

/* It knows some, cannot decode some of those, and has the name of another as a local key. */
Test(relay, that_knows_some, .init = init)
{
    dctx_typed_key_t local = DCTX_KEY_OPTIONS_("rubbish", DCTX_TYPE_STRING, DCTX_LOCAL);
    dctx_typed_key_t *const keys[] = {&tenant_key, &budget_key, &thing_key, &own_key, &local};
    through_relays(keys, 5);
}

/* Sorted on the way, once; from then on as it is. */
Test(relay, unsorted_input_is_sorted, .init = init)
{
    dctx_registry_t *registry = make_registry(NULL, 0);
    wire_t wire, expected;
    static const char *const sorted[] = {"a",  "A_", "aa", "B",    "b.",       "b/",  "b_",
                                         "bA", "bb", "z",  "\x80", "\xc3\xa4", "\xff"};
    enum { COUNT = sizeof(sorted) / sizeof(sorted[0]) };
    wire_init(&wire);
    wire_init(&expected);
    wire_raw(&expected, "\x93\x01\x90", 3);
    wire_array(&expected, COUNT, -1);
    for (int i = 0; i < COUNT; i++)
        wire_string_entry(&expected, sorted[i], sorted[COUNT - 1 - i]);
    for (int step = 1; step < COUNT; step++) {
        wire_clear(&wire);
        wire_raw(&wire, "\x93\x01\x90", 3);
        wire_array(&wire, COUNT, -1);
        for (int n = 0; n < COUNT; n++) {
            int i = (n * step + 5) % COUNT;
            wire_string_entry(&wire, sorted[i], sorted[COUNT - 1 - i]);
        }
        dctx_snapshot_t *snapshot = NULL;
        dctx_bytes_t bytes;
        cr_assert_eq(dctx_snapshot_decode(registry, wire.data, wire.size, &snapshot), DCTX_OK);
        cr_assert_eq(dctx_snapshot_encode(snapshot, &bytes), DCTX_OK);
        cr_assert_eq(bytes.size, expected.size);
        cr_assert_arr_eq(bytes.data, expected.data, bytes.size);
        dctx_snapshot_unref(&snapshot);
    }
    wire_finish(&wire);
    wire_finish(&expected);
    dctx_registry_destroy(&registry);
}

/* Forty relays: the first four names and the newest are kept, the rest counted. */
Test(relay, long_chain, .init = init)
{
    dctx_registry_t *registry = make_registry(NULL, 0);
    wire_t wire, expected;
    wire_init(&wire);
    wire_init(&expected);
    wire_raw(&wire, "\x93\x01\x90", 3);
    strange_entries(&wire);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof(name), "r%d", i);
        relay(registry, name, &wire, false);
    }
    wire_raw(&expected, "\x93\x01", 2);
    wire_array(&expected, 33, -1);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof(name), "r%d", i);
        if (i < 4 || i >= 12)
            wire_cstr(&expected, name);
        else if (i == 4)
            wire_uint(&expected, 8, -1);
    }
    strange_entries(&expected);
    cr_assert_eq(wire.size, expected.size);
    cr_assert_arr_eq(wire.data, expected.data, expected.size);
    wire_finish(&wire);
    wire_finish(&expected);
    dctx_registry_destroy(&registry);
}

/* What is set on the way stands beside what passes through, in its place. */
Test(relay, adds_its_own, .init = init)
{
    dctx_typed_key_t *const keys[] = {&tenant_key, &budget_key, &own_key};
    dctx_registry_t *registry = make_registry(keys, 3);
    wire_t wire, expected;
    dctx_snapshot_t *received = NULL, *sent = NULL;
    dctx_bytes_t bytes;
    wire_init(&wire);
    wire_init(&expected);
    wire_raw(&wire, "\x93\x01\x90\x93", 4);
    wire_entry(&wire, "a", 1, "1", 1);
    wire_string_entry(&wire, "TENANT", "old spelling");
    wire_entry(&wire, "u", 1, "2", 1);
    wire_raw(&expected, "\x93\x01\x90\x94", 4);
    wire_entry(&expected, "a", 1, "1", 1);
    wire_entry(&expected, "budget", 1, "\xd1\xff\x38", 3);
    wire_string_entry(&expected, "tenant", "new");
    wire_entry(&expected, "u", 1, "2", 1);
    cr_assert_eq(dctx_snapshot_decode(registry, wire.data, wire.size, &received), DCTX_OK);
    DCTX_WITH_SNAPSHOT(received) {
        cr_assert_str_eq(tenant_key_get(), "old spelling");
        cr_assert_eq(tenant_key_set("new"), DCTX_OK);
        cr_assert_eq(budget_key_set(-200), DCTX_OK);
        cr_assert_eq(own_key_set("stays"), DCTX_OK);
        cr_assert_eq(dctx_capture(&sent), DCTX_OK);
    }
    cr_assert_eq(dctx_snapshot_encode(sent, &bytes), DCTX_OK);
    cr_assert_eq(bytes.size, expected.size);
    cr_assert_arr_eq(bytes.data, expected.data, bytes.size);
    dctx_snapshot_unref(&sent);
    dctx_snapshot_unref(&received);
    wire_finish(&wire);
    wire_finish(&expected);
    dctx_registry_destroy(&registry);
}
