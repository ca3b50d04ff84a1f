/* Sealed identities: nobody without the key can make one, or move it to another request. */
#include <criterion/criterion.h>

#include <string.h>

#include <dcontext/transport.h>

static const dctx_key_t *request_id, *other, *sealed;
static const char *const bound[] = {"request-id", NULL};
static const uint8_t first[DCTX_SEAL_KEY_SIZE] = {1}, second[DCTX_SEAL_KEY_SIZE] = {2};
static char who[DCTX_SEAL_IDENTITY_MAX + 1];

static void init(void)
{
    const dctx_key_options_t a = {.name = "request-id", .type = DCTX_TYPE_STRING};
    const dctx_key_options_t b = {.name = "other", .type = DCTX_TYPE_STRING};
    cr_assert_eq(dctx_registry_add(NULL, &a, &request_id), DCTX_OK);
    cr_assert_eq(dctx_registry_add(NULL, &b, &other), DCTX_OK);
    cr_assert_eq(dctx_seal_register(NULL), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    sealed = dctx_registry_find(dctx_registry_global(), "dctx.sealed");
    cr_assert_not_null(sealed);
}

static dctx_seals_t *keys(const uint8_t *key, uint32_t id, int64_t lifetime)
{
    dctx_seals_t *seals;
    cr_assert_eq(dctx_seals_new(bound, lifetime, &seals), DCTX_OK);
    cr_assert_eq(dctx_seals_add(seals, id, key), DCTX_OK);
    cr_assert_eq(dctx_seals_use(seals, id), DCTX_OK);
    return seals;
}

static void set_request(const char *id)
{
    cr_assert_eq(dctx_set(request_id, id), DCTX_OK);
}

Test(seal, is_read_in_another_process, .init = init)
{
    dctx_seals_t *edge = keys(first, 1, 0), *reader = keys(first, 1, 0);
    dctx_snapshot_t *sent, *received;
    dctx_bytes_t wire;
    DCTX_SCOPE("edge");
    set_request("r-1");
    cr_assert_eq(dctx_seal_verify(reader, who, sizeof(who)), DCTX_ERR_ABSENT);
    cr_assert_eq(dctx_seal(edge, "alice"), DCTX_OK, "%s", dctx_error_detail());
    /* What is not tied to it may change on the way. */
    cr_assert_eq(dctx_set(other, "changed"), DCTX_OK);
    cr_assert_eq(dctx_capture(&sent), DCTX_OK);
    cr_assert_eq(dctx_snapshot_encode(sent, &wire), DCTX_OK);
    cr_assert_eq(dctx_snapshot_decode(NULL, wire.data, wire.size, &received), DCTX_OK);
    DCTX_WITH_SNAPSHOT(received) {
        DCTX_SCOPE("somewhere else");
        cr_assert_eq(dctx_seal_verify(reader, who, sizeof(who)), DCTX_OK, "%s",
                     dctx_error_detail());
        cr_assert_str_eq(who, "alice");
    }
    dctx_snapshot_unref(&sent);
    dctx_snapshot_unref(&received);
    dctx_seals_destroy(&edge);
    dctx_seals_destroy(&reader);
}

Test(seal, does_not_fit_another_request, .init = init)
{
    dctx_seals_t *seals = keys(first, 1, 0);
    DCTX_SCOPE("edge");
    set_request("r-1");
    cr_assert_eq(dctx_seal(seals, "alice"), DCTX_OK);
    set_request("r-2");
    cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who)), DCTX_ERR_REJECTED);
    cr_assert_str_eq(who, "");
    cr_assert_eq(dctx_unset(request_id), DCTX_OK);
    cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who)), DCTX_ERR_REJECTED);
    cr_assert_eq(dctx_seal(seals, "alice"), DCTX_ERR_ABSENT, "nothing to tie it to");
    set_request("r-1");
    cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who)), DCTX_OK);
    dctx_seals_destroy(&seals);
}

Test(seal, no_byte_of_it_can_change, .init = init)
{
    dctx_seals_t *seals = keys(first, 1, 0);
    uint8_t copy[512];
    DCTX_SCOPE("edge");
    set_request("r-1");
    cr_assert_eq(dctx_seal(seals, "alice"), DCTX_OK);
    const dctx_bytes_t *seal = dctx_get(sealed);
    size_t size = seal->size;
    memcpy(copy, seal->data, size);
    for (size_t at = 0; at < size; at++)
        for (int bit = 0; bit < 8; bit++) {
            copy[at] ^= (uint8_t)(1 << bit);
            cr_assert_eq(dctx_set(sealed, &(dctx_bytes_t){copy, size}), DCTX_OK);
            cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who)), DCTX_ERR_REJECTED,
                         "byte %zu bit %d", at, bit);
            copy[at] ^= (uint8_t)(1 << bit);
        }
    for (size_t less = 0; less < size; less++) {
        cr_assert_eq(dctx_set(sealed, &(dctx_bytes_t){copy, less}), DCTX_OK);
        cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who)), DCTX_ERR_REJECTED);
    }
    cr_assert_eq(dctx_set(sealed, &(dctx_bytes_t){copy, size}), DCTX_OK);
    cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who)), DCTX_OK);
    dctx_seals_destroy(&seals);
}

Test(seal, needs_the_key, .init = init)
{
    dctx_seals_t *forger = keys(second, 1, 0), *reader = keys(first, 1, 0);
    DCTX_SCOPE("edge");
    set_request("r-1");
    cr_assert_eq(dctx_seal(forger, "alice"), DCTX_OK);
    cr_assert_eq(dctx_seal_verify(reader, who, sizeof(who)), DCTX_ERR_REJECTED);
    dctx_seals_destroy(&forger);
    dctx_seals_destroy(&reader);
}

Test(seal, keys_rotate_without_a_pause, .init = init)
{
    dctx_seals_t *edge = keys(first, 1, 0), *reader = keys(first, 1, 0);
    DCTX_SCOPE("edge");
    set_request("r-1");
    cr_assert_eq(dctx_seal(edge, "alice"), DCTX_OK);
    cr_assert_eq(dctx_seals_add(reader, 2, second), DCTX_OK);
    cr_assert_eq(dctx_seals_add(edge, 2, second), DCTX_OK);
    cr_assert_eq(dctx_seals_use(edge, 2), DCTX_OK);
    cr_assert_eq(dctx_seal_verify(reader, who, sizeof(who)), DCTX_OK, "under the old one");
    DCTX_WITH_SCOPE(NULL) {
        cr_assert_eq(dctx_seal(edge, "bob"), DCTX_OK);
        cr_assert_eq(dctx_seal_verify(reader, who, sizeof(who)), DCTX_OK, "under the new one");
        cr_assert_str_eq(who, "bob");
        cr_assert_eq(dctx_seals_remove(reader, 1), DCTX_OK);
        cr_assert_eq(dctx_seal_verify(reader, who, sizeof(who)), DCTX_OK);
    }
    cr_assert_eq(dctx_seal_verify(reader, who, sizeof(who)), DCTX_ERR_REJECTED,
                 "the old one is gone");
    cr_assert_eq(dctx_seals_remove(edge, 2), DCTX_OK);
    cr_assert_eq(dctx_seal(edge, "bob"), DCTX_ERR_ABSENT, "none is in use");
    cr_assert_eq(dctx_seals_add(edge, 3, second), DCTX_OK);
    cr_assert_eq(dctx_seal(edge, "bob"), DCTX_ERR_ABSENT, "until one is");
    dctx_seals_destroy(&edge);
    dctx_seals_destroy(&reader);
}

Test(seal, runs_out, .init = init)
{
    dctx_seals_t *seals = keys(first, 1, 1);
    DCTX_SCOPE("edge");
    set_request("r-1");
    cr_assert_eq(dctx_seal(seals, "alice"), DCTX_OK);
    cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who)), DCTX_ERR_REJECTED);
    dctx_seals_destroy(&seals);
}

Test(seal, what_cannot_be_is_refused, .init = init)
{
    static const char *const none[] = {NULL};
    dctx_seals_t *seals = NULL;
    cr_assert_eq(dctx_seals_new(none, 0, &seals), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_seals_new(NULL, 0, &seals), DCTX_ERR_INVALID);
    cr_assert_null(seals);
    seals = keys(first, 1, 0);
    cr_assert_eq(dctx_seals_add(seals, 1, second), DCTX_ERR_CONFLICT);
    cr_assert_eq(dctx_seals_add(seals, 1, first), DCTX_OK);
    cr_assert_eq(dctx_seals_use(seals, 9), DCTX_ERR_ABSENT);
    cr_assert_eq(dctx_seals_remove(seals, 9), DCTX_ERR_ABSENT);
    for (uint32_t id = 2; id <= 16; id++)
        cr_assert_eq(dctx_seals_add(seals, id, second), DCTX_OK);
    cr_assert_eq(dctx_seals_add(seals, 17, second), DCTX_ERR_FULL);
    char most[DCTX_SEAL_IDENTITY_MAX + 2];
    memset(most, 'x', sizeof(most));
    most[sizeof(most) - 1] = '\0';
    DCTX_SCOPE("edge");
    set_request("r-1");
    cr_assert_eq(dctx_seal(seals, most), DCTX_ERR_INVALID);
    most[sizeof(most) - 2] = '\0';
    cr_assert_eq(dctx_seal(seals, most), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who) - 1), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_seal_verify(seals, who, sizeof(who)), DCTX_OK);
    cr_assert_str_eq(who, most);
    cr_assert_eq(dctx_seal(seals, ""), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_seal_caller(seals), DCTX_ERR_ABSENT);
    dctx_seals_destroy(&seals);
    dctx_seals_destroy(&seals);
    dctx_seals_destroy(NULL);
}
