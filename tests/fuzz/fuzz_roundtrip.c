/*
 * Decode, encode, decode, encode: from the first encoding on nothing changes. msgpack-c is the
 * judge: of what is accepted (it must be one well-formed item), of what comes out (of the form that
 * docs/wire.md gives), and of what built-in types make of a value.
 */
#include <msgpack.h>
#include <strings.h>

#include "keys.h"

/* msgpack-c reserves what a header claims: only for bytes that are known to be well-formed, or that
 * hold no array or map. */
static bool parse(msgpack_unpacked *item, const void *data, size_t size)
{
    size_t offset = 0;
    return msgpack_unpack_next(item, data, size, &offset) == MSGPACK_UNPACK_SUCCESS &&
           offset == size;
}

static int fold(int c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static int compare(const msgpack_object_str *a, const msgpack_object_str *b)
{
    for (uint32_t i = 0; i < a->size && i < b->size; i++) {
        int order = fold((unsigned char)a->ptr[i]) - fold((unsigned char)b->ptr[i]);
        if (order != 0)
            return order;
    }
    return (a->size > b->size) - (a->size < b->size);
}

static void judge_chain(const msgpack_object *chain)
{
    unsigned marks = 0;
    MUST(chain->type == MSGPACK_OBJECT_ARRAY);
    for (uint32_t i = 0; i < chain->via.array.size; i++) {
        const msgpack_object *name = &chain->via.array.ptr[i];
        if (name->type == MSGPACK_OBJECT_STR)
            MUST(name->via.str.size > 0 && name->via.str.size <= 64);
        else
            MUST(name->type == MSGPACK_OBJECT_POSITIVE_INTEGER && name->via.u64 > 0 &&
                 ++marks == 1);
    }
}

static void judge_form(const dctx_bytes_t *bytes)
{
    msgpack_unpacked item;
    msgpack_unpacked_init(&item);
    MUST(parse(&item, bytes->data, bytes->size));
    const msgpack_object *root = &item.data;
    MUST(root->type == MSGPACK_OBJECT_ARRAY && root->via.array.size == 3);
    const msgpack_object *parts = root->via.array.ptr;
    MUST(parts[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER && parts[0].via.u64 == 1);
    judge_chain(&parts[1]);
    MUST(parts[2].type == MSGPACK_OBJECT_ARRAY);
    const msgpack_object_str *before = NULL;
    for (uint32_t i = 0; i < parts[2].via.array.size; i++) {
        const msgpack_object *entry = &parts[2].via.array.ptr[i];
        MUST(entry->type == MSGPACK_OBJECT_ARRAY && entry->via.array.size >= 3);
        const msgpack_object *fields = entry->via.array.ptr;
        MUST(fields[0].type == MSGPACK_OBJECT_STR);
        MUST(fields[1].type == MSGPACK_OBJECT_POSITIVE_INTEGER);
        MUST(fields[1].via.u64 >= 1 && fields[1].via.u64 <= UINT32_MAX);
        MUST(fields[2].type == MSGPACK_OBJECT_BIN);
        MUST(before == NULL || compare(before, &fields[0].via.str) < 0);
        before = &fields[0].via.str;
    }
    msgpack_unpacked_destroy(&item);
}

/* ---- values ---- */

static bool is_text(const msgpack_object *object)
{
    return object->type == MSGPACK_OBJECT_STR &&
           memchr(object->via.str.ptr, 0, object->via.str.size) == NULL;
}

static bool is_number(const msgpack_object *object)
{
    return object->type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
           object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
}

static bool same_double(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0 || (a != a && b != b);
}

/* What the library has for a body of version 1, against what msgpack-c says is in it. */
static void judge_value(int key, const void *got, const msgpack_object *object)
{
    const dctx_bytes_t *blob = got;
    switch (key) {
    case KEY_NAME:
        MUST((got != NULL) == is_text(object));
        MUST(got == NULL || (strlen(got) == object->via.str.size &&
                             memcmp(got, object->via.str.ptr, object->via.str.size) == 0));
        break;
    case KEY_BLOB:
        MUST((got != NULL) == (object->type == MSGPACK_OBJECT_BIN));
        MUST(got == NULL ||
             (blob->size == object->via.bin.size &&
              (blob->size == 0 || memcmp(blob->data, object->via.bin.ptr, blob->size) == 0)));
        break;
    case KEY_FLAG:
        MUST((got != NULL) == (object->type == MSGPACK_OBJECT_BOOLEAN));
        MUST(got == NULL || *(const bool *)got == object->via.boolean);
        break;
    case KEY_INT:
        MUST((got != NULL) ==
             (is_number(object) &&
              (object->via.u64 <= INT64_MAX || object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)));
        MUST(got == NULL || *(const int64_t *)got == object->via.i64);
        break;
    case KEY_UINT:
        MUST((got != NULL) == (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER));
        MUST(got == NULL || *(const uint64_t *)got == object->via.u64);
        break;
    default:
        /* An integer may be read as a double, or not; a double must be. */
        MUST(got != NULL ||
             (object->type != MSGPACK_OBJECT_FLOAT32 && object->type != MSGPACK_OBJECT_FLOAT64));
        MUST(got == NULL || is_number(object) ||
             ((object->type == MSGPACK_OBJECT_FLOAT32 || object->type == MSGPACK_OBJECT_FLOAT64) &&
              same_double(*(const double *)got, object->via.f64)));
        break;
    }
}

static void judge_body(int key, const void *got, const msgpack_object_bin *body)
{
    msgpack_unpacked item;
    msgpack_unpacked_init(&item);
    uint8_t first = body->size > 0 ? (uint8_t)body->ptr[0] : 0xc1;
    bool holds_others = (first >= 0x80 && first <= 0x9f) || (first >= 0xdc && first <= 0xdf);
    if (!holds_others && parse(&item, body->ptr, body->size))
        judge_value(key, got, &item.data);
    else
        MUST(got == NULL);
    msgpack_unpacked_destroy(&item);
}

static void judge_values(const fuzz_keys_t *keys, const dctx_snapshot_t *snapshot,
                         const dctx_bytes_t *bytes)
{
    msgpack_unpacked item;
    msgpack_unpacked_init(&item);
    MUST(parse(&item, bytes->data, bytes->size));
    const msgpack_object_array *entries = &item.data.via.array.ptr[2].via.array;
    for (uint32_t i = 0; i < entries->size; i++) {
        const msgpack_object *fields = entries->ptr[i].via.array.ptr;
        const msgpack_object_str *name = &fields[0].via.str;
        for (int key = KEY_NAME; key <= KEY_DOUBLE; key++) {
            const char *known = dctx_key_name(keys->keys[key]);
            if (strlen(known) != name->size || strncasecmp(known, name->ptr, name->size) != 0)
                continue;
            const void *got = dctx_snapshot_get(snapshot, keys->keys[key]);
            if (fields[1].via.u64 == 1)
                judge_body(key, got, &fields[2].via.bin);
            else
                MUST(got == NULL);
        }
    }
    msgpack_unpacked_destroy(&item);
}

static dctx_bytes_t encode(const dctx_snapshot_t *snapshot)
{
    dctx_bytes_t bytes, again;
    MUST(dctx_snapshot_encode(snapshot, &bytes) == DCTX_OK);
    MUST(dctx_snapshot_encode(snapshot, &again) == DCTX_OK);
    MUST(again.data == bytes.data && again.size == bytes.size);
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const fuzz_keys_t *keys = fuzz_keys();
    dctx_snapshot_t *first = NULL, *second = NULL;
    if (dctx_snapshot_decode(keys->registry, data, size, &first) != DCTX_OK)
        return 0;
    msgpack_unpacked item;
    msgpack_unpacked_init(&item);
    MUST(parse(&item, data, size));
    msgpack_unpacked_destroy(&item);

    dctx_bytes_t a = encode(first);
    judge_form(&a);
    judge_values(keys, first, &a);
    MUST(dctx_snapshot_decode(keys->registry, a.data, a.size, &second) == DCTX_OK);
    judge_values(keys, second, &a);
    dctx_bytes_t b = encode(second);
    MUST(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
    dctx_snapshot_unref(&first);
    dctx_snapshot_unref(&second);
    return 0;
}
