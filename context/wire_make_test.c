#include <criterion/criterion.h>

#include <string.h>

#include <dcontext/dcontext.h>

static dctx_bytes_t encoded_string(dctx_writer_t *writer, const char *string)
{
    dctx_write_cstr(writer, string);
    return dctx_writer_bytes(writer);
}

/* What the library writes for one scope and one value, made by hand: the same bytes. */
Test(wire_make, is_what_a_process_would_send)
{
    dctx_registry_t *registry = NULL;
    dctx_snapshot_t *empty = NULL, *sent = NULL;
    const dctx_key_t *tenant = NULL;
    const dctx_key_options_t options = {.name = "tenant", .type = DCTX_TYPE_STRING};
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    cr_assert_eq(dctx_registry_add(registry, &options, &tenant), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
    cr_assert_eq(dctx_snapshot_empty(registry, &empty), DCTX_OK);
    DCTX_WITH_SNAPSHOT(empty) {
        DCTX_SCOPE("api-gateway");
        cr_assert_eq(dctx_set(tenant, "acme1"), DCTX_OK);
        cr_assert_eq(dctx_capture(&sent), DCTX_OK);
    }
    dctx_bytes_t expected;
    cr_assert_eq(dctx_snapshot_encode(sent, &expected), DCTX_OK);

    dctx_writer_t *value = NULL, *wire = NULL;
    cr_assert_eq(dctx_writer_new(0, &value), DCTX_OK);
    cr_assert_eq(dctx_writer_new(0, &wire), DCTX_OK);
    const char *chain[] = {"api-gateway"};
    const dctx_wire_entry_t entry = {"tenant", 1, encoded_string(value, "acme1")};
    cr_assert_eq(dctx_wire_make(wire, chain, 1, &entry, 1), DCTX_OK);
    dctx_bytes_t made = dctx_writer_bytes(wire);
    cr_assert_eq(made.size, expected.size);
    cr_assert_arr_eq(made.data, expected.data, made.size);

    dctx_writer_destroy(&value);
    dctx_writer_destroy(&wire);
    dctx_snapshot_unref(&sent);
    dctx_snapshot_unref(&empty);
    dctx_registry_destroy(&registry);
}

/* A newer version, an unknown key, names out of order: everything goes out as it was given. */
Test(wire_make, keeps_order_and_versions)
{
    dctx_writer_t *wire = NULL;
    cr_assert_eq(dctx_writer_new(0, &wire), DCTX_OK);
    const dctx_wire_entry_t entries[] = {{"zebra", 7, {"\x01", 1}}, {"ant", 1, {NULL, 0}}};
    cr_assert_eq(dctx_wire_make(wire, NULL, 0, entries, 2), DCTX_OK);
    static const char expected[] = "\x93\x01\x90\x92\x93\xa5zebra\x07\xc4\x01\x01\x93\xa3"
                                   "ant\x01\xc4\x00";
    dctx_bytes_t made = dctx_writer_bytes(wire);
    cr_assert_eq(made.size, sizeof expected - 1);
    cr_assert_arr_eq(made.data, expected, made.size);
    dctx_writer_destroy(&wire);
}

Test(wire_make, refuses_what_is_not_there)
{
    dctx_writer_t *wire = NULL;
    const char *chain[] = {NULL};
    const dctx_wire_entry_t nameless = {NULL, 1, {NULL, 0}};
    cr_assert_eq(dctx_writer_new(4, &wire), DCTX_OK);
    cr_assert_eq(dctx_wire_make(NULL, NULL, 0, NULL, 0), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_wire_make(wire, NULL, 1, NULL, 0), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_wire_make(wire, chain, 1, NULL, 0), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_wire_make(wire, NULL, 0, NULL, 1), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_wire_make(wire, NULL, 0, &nameless, 1), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_writer_bytes(wire).size, 0);
    const dctx_wire_entry_t entry = {"tenant", 1, {"\xa1x", 2}};
    cr_assert_eq(dctx_wire_make(wire, NULL, 0, &entry, 1), DCTX_ERR_LIMIT);
    dctx_writer_destroy(&wire);
}
