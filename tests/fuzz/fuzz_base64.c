/*
 * Any text as base64: what is accepted is, but for its alphabet and padding, exactly what encoding
 * gives for the bytes that came out; and any bytes come back from either form.
 */
#include "base64.h"
#include "keys.h"
#include "watch.h"

/* The standard alphabet, no padding. */
static size_t normal(const char *text, size_t size, char *ret_text)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++)
        if (text[i] != '=')
            ret_text[n++] = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
    return n;
}

static void *block(size_t size)
{
    void *memory = malloc(size + (size == 0));
    MUST(memory != NULL);
    return memory;
}

static void from_text(const char *text, size_t size)
{
    size_t bound = dctx_base64_bound_(size), length = 0;
    uint8_t *data = block(bound);
    if (dctx_base64_decode_(text, size, data, &length) == DCTX_OK) {
        MUST(length <= bound);
        size_t room = dctx_base64_length_(DCTX_BASE64, length) + 1;
        char *again = block(room), *is = block(room), *was = block(size);
        dctx_base64_encode_(DCTX_BASE64, data, length, again);
        MUST(strlen(again) == room - 1);
        size_t n = normal(again, room - 1, is);
        MUST(normal(text, size, was) == n && memcmp(is, was, n) == 0);
        free(again);
        free(is);
        free(was);
    }
    free(data);
}

static void from_bytes(const uint8_t *data, size_t size)
{
    for (int form = 0; form < 2; form++) {
        size_t length = dctx_base64_length_((dctx_base64_t)form, size), back = 0;
        char *text = block(length + 1);
        dctx_base64_encode_((dctx_base64_t)form, data, size, text);
        MUST(strlen(text) == length);
        uint8_t *again = block(dctx_base64_bound_(length));
        MUST(dctx_base64_decode_(text, length, again, &back) == DCTX_OK);
        MUST(back == size && (size == 0 || memcmp(again, data, size) == 0));
        free(text);
        free(again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const fuzz_keys_t *keys = fuzz_keys();
    dctx_snapshot_t *snapshot = NULL;
    from_text((const char *)data, size);
    from_bytes(data, size);
    watch_begin();
    dctx_error_t error =
        dctx_snapshot_from_base64(keys->registry, (const char *)data, size, &snapshot);
    MUST(watch_total() <= 16384 + 4 * size);
    MUST((error == DCTX_OK) == (snapshot != NULL));
    dctx_snapshot_unref(&snapshot);
    return 0;
}
