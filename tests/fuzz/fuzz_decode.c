/*
 * Any bytes as a wire form: decode, then do all that can be done with what came out. Memory stays
 * within 16 KiB + 4 * input, and all of it comes back.
 */
#include "keys.h"
#include "watch.h"

static void read_all(const fuzz_keys_t *keys, const dctx_snapshot_t *snapshot)
{
    for (int i = 0; i < KEYS; i++) {
        const void *first = dctx_snapshot_get(snapshot, keys->keys[i]);
        MUST(dctx_snapshot_get(snapshot, keys->keys[i]) == first);
        MUST(dctx_get(keys->keys[i]) == first);
    }
    MUST(dctx_get(keys->keys[KEY_LOCAL]) == NULL);
}

static void look_at(const dctx_snapshot_t *snapshot)
{
    char text[64];
    size_t whole = dctx_snapshot_chain_format(snapshot, text, sizeof(text));
    MUST(strlen(text) == (whole < sizeof(text) ? whole : sizeof(text) - 1));
    for (size_t room = 1; room < 8; room++)
        MUST(dctx_snapshot_chain_format(snapshot, text, room) == whole && strlen(text) < room);
    size_t names = dctx_snapshot_chain_length(snapshot);
    for (size_t i = 0; i < names; i++)
        MUST(dctx_snapshot_chain_name(snapshot, i).size > 0);
    MUST(dctx_snapshot_chain_name(snapshot, names).data == NULL);
    size_t unknown = dctx_snapshot_unknown_count(snapshot);
    for (size_t i = 0; i < unknown; i++)
        MUST(dctx_snapshot_unknown_name(snapshot, i).size > 0);
    MUST(dctx_snapshot_unknown_name(snapshot, unknown).data == NULL);
    MUST(dctx_snapshot_is_empty(snapshot) ==
         (unknown == 0 && names == 0 && dctx_snapshot_chain_elided(snapshot) == 0 &&
          dctx_snapshot_count(snapshot) == 0));
}

static void as_text(const fuzz_keys_t *keys, const dctx_snapshot_t *snapshot)
{
    for (int form = 0; form < 2; form++) {
        char *text = NULL;
        dctx_snapshot_t *again = NULL;
        MUST(dctx_snapshot_to_base64(snapshot, (dctx_base64_t)form, &text) == DCTX_OK);
        MUST(dctx_snapshot_from_base64(keys->registry, text, strlen(text), &again) == DCTX_OK);
        dctx_snapshot_unref(&again);
        dctx_free(text);
    }
}

/* As a handler would: attach, work in a scope, set things, send on. */
static void work(const fuzz_keys_t *keys, const dctx_snapshot_t *snapshot)
{
    DCTX_ATTACH_SCOPE(snapshot, "fuzz");
    read_all(keys, snapshot);
    dctx_snapshot_t *captured = NULL;
    dctx_bytes_t bytes;
    {
        DCTX_SCOPE("inner");
        MUST(dctx_set(keys->keys[KEY_NAME], "set here") == DCTX_OK);
        MUST(dctx_set(keys->keys[KEY_LOCAL], "stays here") == DCTX_OK);
        MUST(dctx_unset(keys->keys[KEY_INT]) == DCTX_OK);
        MUST(dctx_capture(&captured) == DCTX_OK);
        MUST(dctx_merge(snapshot) == DCTX_OK);
        MUST(dctx_clear() == DCTX_OK);
    }
    /* What was within the limits may not be with one value more. */
    dctx_error_t error = dctx_snapshot_encode(captured, &bytes);
    MUST(error == DCTX_OK || error == DCTX_ERR_LIMIT);
    if (error == DCTX_OK) {
        dctx_snapshot_t *again = NULL;
        MUST(dctx_snapshot_decode(keys->registry, bytes.data, bytes.size, &again) == DCTX_OK);
        MUST(strcmp(dctx_snapshot_get(again, keys->keys[KEY_NAME]), "set here") == 0);
        MUST(dctx_snapshot_unknown_count(again) == dctx_snapshot_unknown_count(snapshot));
        dctx_snapshot_unref(&again);
    }
    dctx_snapshot_unref(&captured);
    read_all(keys, snapshot);
}

static void decode(const fuzz_keys_t *keys, const uint8_t *data, size_t size)
{
    dctx_snapshot_t *snapshot = NULL;
    size_t blocks = watch_live_blocks();
    watch_begin();
    dctx_error_t error = dctx_snapshot_decode(keys->registry, data, size, &snapshot);
    MUST(watch_total() <= 16384 + 4 * size);
    MUST((error == DCTX_OK) == (snapshot != NULL));
    if (error != DCTX_OK) {
        MUST(error == DCTX_ERR_MALFORMED || error == DCTX_ERR_VERSION || error == DCTX_ERR_LIMIT);
        MUST(dctx_error_detail()[0] != '\0');
        MUST(watch_live_blocks() == blocks);
        return;
    }
    look_at(snapshot);
    work(keys, snapshot);
    as_text(keys, snapshot);
    dctx_snapshot_unref(&snapshot);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode(fuzz_keys(), data, size);
    decode(fuzz_keys_wide(), data, size);
    MUST(dctx_is_empty());
    return 0;
}
