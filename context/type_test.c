#include <criterion/criterion.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "type.h"
#include "writer.h"

static dctx_writer_t writer;
static uint8_t buffer[256];

static void encode(const dctx_type_t *type, const void *value)
{
    dctx_writer_init_(&writer, buffer, sizeof(buffer), 4096);
    cr_assert_eq(type->encode(value, &writer), DCTX_OK);
}

/* Encodes, decodes into memory of just the right size, and returns that. */
static void *round_trip(const dctx_type_t *type, const void *value)
{
    size_t size = 0;
    encode(type, value);
    cr_assert_eq(dctx_type_decoded_size_(type, writer.data, writer.size, &size), DCTX_OK);
    cr_assert_eq(size, dctx_type_stored_size_(type, value));
    void *back = malloc(size);
    cr_assert_eq(dctx_type_decode_(type, back, writer.data, writer.size), DCTX_OK);
    dctx_writer_finish_(&writer);
    return back;
}

static void *copy(const dctx_type_t *type, const void *value)
{
    size_t size = dctx_type_stored_size_(type, value);
    void *stored = malloc(size);
    cr_assert_eq(dctx_type_store_(type, stored, size, value), DCTX_OK);
    return stored;
}

Test(type, strings)
{
    char longer[2000];
    memset(longer, 's', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    const char *const strings[] = {"", "a", "gr\xc3\xbc\xc3\x9f", longer};
    for (size_t i = 0; i < 4; i++) {
        char *back = round_trip(DCTX_TYPE_STRING, strings[i]);
        cr_assert_str_eq(back, strings[i]);
        free(back);
        back = copy(DCTX_TYPE_STRING, strings[i]);
        cr_assert_str_eq(back, strings[i]);
        free(back);
    }
    char direct[8];
    cr_assert_eq(dctx_type_string.copy(direct, "direct"), DCTX_OK);
    cr_assert_str_eq(direct, "direct");
}

Test(type, bytes)
{
    static const uint8_t content[300] = {0, 1, 2, 255};
    const size_t sizes[] = {0, 1, 4, 300};
    for (size_t i = 0; i < 4; i++) {
        dctx_bytes_t value = {sizes[i] > 0 ? content : NULL, sizes[i]};
        for (int direct = 0; direct < 3; direct++) {
            dctx_bytes_t *back;
            if (direct == 2) {
                back = malloc(dctx_type_stored_size_(DCTX_TYPE_BYTES, &value));
                cr_assert_eq(dctx_type_bytes.copy(back, &value), DCTX_OK);
            } else {
                back = direct ? copy(DCTX_TYPE_BYTES, &value) : round_trip(DCTX_TYPE_BYTES, &value);
            }
            cr_assert_eq(back->size, sizes[i]);
            cr_assert_eq(back->data, back + 1);
            cr_assert_eq(memcmp(back->data, content, sizes[i]), 0);
            free(back);
        }
    }
}

Test(type, bytes_that_cannot_be)
{
    dctx_bytes_t nowhere = {NULL, 5};
    uint8_t room[64];
    cr_assert_eq(dctx_type_store_(DCTX_TYPE_BYTES, room,
                                  dctx_type_stored_size_(DCTX_TYPE_BYTES, &nowhere), &nowhere),
                 DCTX_ERR_INVALID);
    dctx_bytes_t endless = {room, SIZE_MAX};
    cr_assert_eq(dctx_type_stored_size_(DCTX_TYPE_BYTES, &endless), SIZE_MAX);
    dctx_writer_init_(&writer, buffer, sizeof(buffer), 4096);
    cr_assert_eq(dctx_type_bytes.encode(&nowhere, &writer), DCTX_ERR_INVALID);
    dctx_writer_reset_(&writer);
    cr_assert_eq(dctx_type_bytes.encode(&endless, &writer), DCTX_ERR_LIMIT);
    dctx_writer_finish_(&writer);
}

#define CHECK_FIXED(descriptor, type, ...)                                                         \
    do {                                                                                           \
        const type values[] = {__VA_ARGS__};                                                       \
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {                          \
            type *back = round_trip(descriptor, &values[i]);                                       \
            cr_assert_eq(memcmp(back, &values[i], sizeof(type)), 0);                               \
            free(back);                                                                            \
            back = copy(descriptor, &values[i]);                                                   \
            cr_assert_eq(memcmp(back, &values[i], sizeof(type)), 0);                               \
            free(back);                                                                            \
        }                                                                                          \
        cr_assert_eq((descriptor)->size, sizeof(type));                                            \
    } while (0)

Test(type, fixed_sizes)
{
    CHECK_FIXED(DCTX_TYPE_BOOL, bool, false, true);
    CHECK_FIXED(DCTX_TYPE_INT64, int64_t, 0, 1, -1, 127, 128, -32, -33, 70000, INT64_MIN,
                INT64_MAX);
    CHECK_FIXED(DCTX_TYPE_UINT64, uint64_t, 0, 127, 128, UINT32_MAX, UINT64_MAX);
    CHECK_FIXED(DCTX_TYPE_DOUBLE, double, 0.0, -0.0, 1.5, INFINITY, 5e-324, -1e300);
}

static void refuse(const dctx_type_t *type, const char *data, size_t size, dctx_error_t expected)
{
    /* Heap blocks of just the right size: a sanitizer sees what is read or written past them. */
    char *exact = malloc(size > 0 ? size : 1);
    memcpy(exact, data, size);
    uint8_t room[64];
    memset(room, 0x5a, sizeof(room));
    size_t ret_size = 4711;
    cr_assert_eq(dctx_type_decode_(type, room, exact, size), expected);
    for (size_t i = 0; i < sizeof(room); i++)
        cr_assert_eq(room[i], 0x5a);
    if (dctx_type_is_variable_(type)) {
        cr_assert_eq(dctx_type_decoded_size_(type, exact, size, &ret_size), expected);
        cr_assert_eq(ret_size, 4711);
    }
    cr_assert_str_neq(dctx_error_detail(), "");
    free(exact);
}

#define REFUSE(type, literal, expected) refuse(type, literal, sizeof(literal) - 1, expected)

Test(type, decoding_is_strict)
{
    static const dctx_type_t *const all[] = {DCTX_TYPE_STRING, DCTX_TYPE_BYTES,  DCTX_TYPE_BOOL,
                                             DCTX_TYPE_INT64,  DCTX_TYPE_UINT64, DCTX_TYPE_DOUBLE};
    for (size_t i = 0; i < 6; i++) {
        REFUSE(all[i], "", DCTX_ERR_MALFORMED);
        REFUSE(all[i], "\xc1", DCTX_ERR_MALFORMED);
        REFUSE(all[i], "\xc0", DCTX_ERR_TYPE);
        REFUSE(all[i], "\x90", DCTX_ERR_TYPE);
        REFUSE(all[i], "\x80", DCTX_ERR_TYPE);
        REFUSE(all[i], "\xd4\x01x", DCTX_ERR_TYPE);
        if (all[i] != DCTX_TYPE_STRING)
            REFUSE(all[i], "\xa1x", DCTX_ERR_TYPE);
        if (all[i] != DCTX_TYPE_BYTES)
            REFUSE(all[i], "\xc4\x01x", DCTX_ERR_TYPE);
        if (all[i] != DCTX_TYPE_BOOL)
            REFUSE(all[i], "\xc3", DCTX_ERR_TYPE);
        if (i < 3)
            REFUSE(all[i], "\x01", DCTX_ERR_TYPE);
        if (i < 5)
            REFUSE(all[i], "\xcb\0\0\0\0\0\0\0\0", DCTX_ERR_TYPE);
    }
    REFUSE(DCTX_TYPE_STRING,
           "\xa3"
           "ab",
           DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_STRING,
           "\xa2"
           "abc",
           DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_STRING,
           "\xa3"
           "a\0b",
           DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_STRING, "\xa1\0", DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_STRING, "\xdb\xff\xff\xff\xff", DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_BYTES, "\xc6\xff\xff\xff\xff", DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_BYTES, "\xc4\x01xy", DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_BOOL, "\xc3\xc3", DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_INT64, "\xcf\x80\0\0\0\0\0\0\0", DCTX_ERR_TYPE);
    REFUSE(DCTX_TYPE_INT64, "\x01\x01", DCTX_ERR_MALFORMED);
    REFUSE(DCTX_TYPE_UINT64, "\xff", DCTX_ERR_TYPE);
    REFUSE(DCTX_TYPE_UINT64, "\xd3\x80\0\0\0\0\0\0\0", DCTX_ERR_TYPE);
    REFUSE(DCTX_TYPE_DOUBLE, "\xca\0\0\0", DCTX_ERR_MALFORMED);
}

Test(type, wider_forms_than_needed_are_read)
{
    int64_t number = 0;
    uint64_t natural = 0;
    double real = 0;
    char string[8];
    cr_assert_eq(dctx_type_int64.decode(&number, "\xd3\xff\xff\xff\xff\xff\xff\xff\xfe", 9),
                 DCTX_OK);
    cr_assert_eq(number, -2);
    cr_assert_eq(dctx_type_uint64.decode(&natural, "\xd2\0\0\0\x09", 5), DCTX_OK);
    cr_assert_eq(natural, 9);
    cr_assert_eq(dctx_type_double.decode(&real, "\x03", 1), DCTX_OK);
    cr_assert_float_eq(real, 3, 0);
    cr_assert_eq(dctx_type_string.decode(string, "\xdb\0\0\0\x02hi", 7), DCTX_OK);
    cr_assert_str_eq(string, "hi");
}

Test(type, a_view_lies_within_the_encoding)
{
    static const char encoded[] = "\xa5hello";
    dctx_bytes_t view = {NULL, 0};
    cr_assert_eq(dctx_builtin_view_(DCTX_BUILTIN_STRING, encoded, 6, &view), DCTX_OK);
    cr_assert_eq(view.data, encoded + 1);
    cr_assert_eq(view.size, 5);
    cr_assert_eq(dctx_builtin_view_(DCTX_BUILTIN_INT64, encoded, 6, &view), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_builtin_view_(DCTX_BUILTIN_BYTES, encoded, 6, &view), DCTX_ERR_TYPE);
    cr_assert_eq(view.data, encoded + 1);
}

/* ---- a user's type --------------------------------------------------------------------------- */

typedef struct name {
    char *text;
} name_t;

static int destroyed;

static dctx_error_t name_copy(void *dst, const void *src)
{
    const name_t *from = src;
    name_t *to = dst;
    if (from->text[0] == '!')
        return DCTX_ERR_REJECTED;
    to->text = strdup(from->text);
    return DCTX_OK;
}

static void name_destroy(void *value)
{
    free(((name_t *)value)->text);
    destroyed++;
}

Test(type, a_users_callbacks_are_called)
{
    static const dctx_type_t type = {
        .name = "name", .size = sizeof(name_t), .copy = name_copy, .destroy = name_destroy};
    char text[] = "abc", bad[] = "!";
    name_t value = {text}, refused = {bad}, stored;
    destroyed = 0;
    cr_assert_eq(dctx_type_stored_size_(&type, &value), sizeof(name_t));
    cr_assert_eq(dctx_type_store_(&type, &stored, sizeof(stored), &refused), DCTX_ERR_REJECTED);
    cr_assert_eq(dctx_type_store_(&type, &stored, sizeof(stored), &value), DCTX_OK);
    cr_assert_str_eq(stored.text, "abc");
    cr_assert_neq(stored.text, value.text);
    dctx_type_destroy_(&type, &stored);
    cr_assert_eq(destroyed, 1);
    dctx_type_destroy_(DCTX_TYPE_INT64, &value);
    cr_assert_eq(dctx_type_decode_(&type, &stored, "\xc0", 1), DCTX_ERR_CODEC);
    size_t size = 0;
    cr_assert_eq(dctx_type_decoded_size_(&type, "", 0, &size), DCTX_OK);
    cr_assert_eq(size, sizeof(name_t));
}
