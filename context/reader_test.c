#include <criterion/criterion.h>

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "msgpack_scan.h"
#include "writer.h"

static dctx_reader_t reader;

#define READ(literal) dctx_reader_init(&reader, literal, sizeof(literal) - 1)

static void fails_with(dctx_error_t error)
{
    cr_assert_eq(dctx_reader_error(&reader), error);
    cr_assert_eq(dctx_reader_end(&reader), error);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_END);
    cr_assert_str_neq(dctx_error_detail(), "");
    /* Sticky, and zero from here on. */
    cr_assert_eq(dctx_read_int(&reader), 0);
    cr_assert_eq(dctx_read_uint(&reader), 0);
    cr_assert(!dctx_read_bool(&reader));
    cr_assert_null(dctx_read_str(&reader).data);
    cr_assert_eq(dctx_read_array(&reader), 0);
    dctx_read_skip(&reader);
    dctx_reader_fail(&reader, DCTX_ERR_REJECTED);
    cr_assert_eq(dctx_reader_error(&reader), error);
}

/* Criterion's cr_assert_float_eq() looks at its arguments twice. */
static void reads_double(double expected)
{
    double value = dctx_read_double(&reader);
    cr_assert_float_eq(value, expected, 0);
}

Test(reader, items_in_turn)
{
    READ("\xc0\xc3\xc2\x05\xe0\xa3"
         "abc\xc4\x02xy\x92\x01\x02\x81\xa1k\xcb\x3f\xe0\0\0\0\0\0\0\xd4\x07z");
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_NIL);
    dctx_read_nil(&reader);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_BOOL);
    cr_assert(dctx_read_bool(&reader));
    cr_assert(!dctx_read_bool(&reader));
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_INT);
    cr_assert_eq(dctx_read_uint(&reader), 5);
    cr_assert_eq(dctx_read_int(&reader), -32);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_STR);
    dctx_bytes_t run = dctx_read_str(&reader);
    cr_assert_eq(run.size, 3);
    cr_assert_arr_eq(run.data, "abc", 3);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_BIN);
    run = dctx_read_bin(&reader);
    cr_assert_arr_eq(run.data, "xy", 2);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_ARRAY);
    cr_assert_eq(dctx_read_array(&reader), 2);
    cr_assert_eq(dctx_read_int(&reader), 1);
    cr_assert_eq(dctx_read_int(&reader), 2);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_MAP);
    cr_assert_eq(dctx_read_map(&reader), 1);
    dctx_read_skip(&reader);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_DOUBLE);
    reads_double(0.5);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_EXT);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_ERR_MALFORMED);
    cr_assert_eq(dctx_reader_error(&reader), DCTX_OK);
    dctx_read_skip(&reader);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_END);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_OK);
}

Test(reader, integers_of_any_width)
{
    READ("\xcc\x01\xcd\0\x02\xce\0\0\0\x03\xcf\0\0\0\0\0\0\0\x04"
         "\xd0\x05\xd1\0\x06\xd2\0\0\0\x07\xd3\0\0\0\0\0\0\0\x08");
    for (int i = 1; i <= 8; i++) {
        dctx_reader_t copy = reader;
        cr_assert_eq(dctx_read_int(&reader), i);
        cr_assert_eq(dctx_read_uint(&copy), (uint64_t)i);
    }
    cr_assert_eq(dctx_reader_end(&reader), DCTX_OK);
    READ("\xff\xd0\xff\xd1\xff\xff\xd2\xff\xff\xff\xff\xd3\xff\xff\xff\xff\xff\xff\xff\xff");
    for (int i = 0; i < 5; i++)
        cr_assert_eq(dctx_read_int(&reader), -1);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_OK);
    READ("\xd3\x80\0\0\0\0\0\0\0\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    cr_assert_eq(dctx_read_int(&reader), INT64_MIN);
    cr_assert_eq(dctx_read_uint(&reader), UINT64_MAX);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_OK);
}

Test(reader, integers_out_of_range)
{
    READ("\xcf\x80\0\0\0\0\0\0\0");
    cr_assert_eq(dctx_read_int(&reader), 0);
    fails_with(DCTX_ERR_TYPE);
    READ("\xff");
    cr_assert_eq(dctx_read_uint(&reader), 0);
    fails_with(DCTX_ERR_TYPE);
}

Test(reader, doubles_from_floats_and_integers)
{
    READ("\xca\x3f\xc0\0\0\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a\x03\xfd"
         "\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xca\x7f\xc0\0\0");
    reads_double(1.5);
    reads_double(0.1);
    reads_double(3);
    reads_double(-3);
    reads_double(18446744073709551615.0);
    cr_assert(isnan(dctx_read_double(&reader)));
    cr_assert_eq(dctx_reader_end(&reader), DCTX_OK);
    READ("\xc3");
    reads_double(0);
    fails_with(DCTX_ERR_TYPE);
}

Test(reader, another_type_than_asked_for)
{
    READ("\xa1x");
    (void)dctx_read_bin(&reader);
    cr_assert_str_eq(dctx_error_detail(), "msgpack has a string where binary is expected");
    fails_with(DCTX_ERR_TYPE);
    READ("\xc4\x01x");
    (void)dctx_read_str(&reader);
    fails_with(DCTX_ERR_TYPE);
    READ("\x01");
    (void)dctx_read_bool(&reader);
    fails_with(DCTX_ERR_TYPE);
    READ("\x80");
    (void)dctx_read_array(&reader);
    fails_with(DCTX_ERR_TYPE);
    READ("\x90");
    (void)dctx_read_map(&reader);
    fails_with(DCTX_ERR_TYPE);
    READ("\xc2");
    dctx_read_nil(&reader);
    fails_with(DCTX_ERR_TYPE);
    READ("\xca\0\0\0\0");
    (void)dctx_read_int(&reader);
    fails_with(DCTX_ERR_TYPE);
    READ("\xc7\x00\x01");
    (void)dctx_read_uint(&reader);
    fails_with(DCTX_ERR_TYPE);
}

Test(reader, nothing_at_all)
{
    dctx_reader_init(&reader, NULL, 0);
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_END);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_OK);
    dctx_read_skip(&reader);
    fails_with(DCTX_ERR_MALFORMED);
}

Test(reader, an_undefined_byte)
{
    READ("\xc1");
    cr_assert_eq(dctx_reader_peek(&reader), DCTX_ITEM_END);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_ERR_MALFORMED);
    dctx_read_skip(&reader);
    fails_with(DCTX_ERR_MALFORMED);
}

Test(reader, claimed_lengths_are_not_trusted)
{
    static const char *const claims[] = {
        "\xdb\xff\xff\xff\xff", "\xc6\xff\xff\xff\xff", "\xdd\xff\xff\xff\xff",
        "\xdf\xff\xff\xff\xff", "\xdf\x80\0\0\0",       "\xc9\xff\xff\xff\xff",
        "\xdd\x0f\0\0\0",       "\xc5\xff\xff..",       "\xdc\0\x03..",
        "\xde\0\x02..",         "\xda\0\x03..",         "\xd9\x04..."};
    for (size_t i = 0; i < sizeof(claims) / sizeof(claims[0]); i++) {
        dctx_reader_init(&reader, claims[i], 5);
        switch (dctx_reader_peek(&reader)) {
        case DCTX_ITEM_STR:
            cr_assert_null(dctx_read_str(&reader).data);
            break;
        case DCTX_ITEM_BIN:
            cr_assert_null(dctx_read_bin(&reader).data);
            break;
        case DCTX_ITEM_ARRAY:
            cr_assert_eq(dctx_read_array(&reader), 0);
            break;
        case DCTX_ITEM_MAP:
            cr_assert_eq(dctx_read_map(&reader), 0);
            break;
        default:
            dctx_read_skip(&reader);
        }
        fails_with(DCTX_ERR_MALFORMED);
        dctx_reader_init(&reader, claims[i], 5);
        dctx_read_skip(&reader);
        fails_with(DCTX_ERR_MALFORMED);
    }
}

static size_t nest(uint8_t *out, unsigned depth, uint8_t tag)
{
    memset(out, tag, depth);
    out[depth] = 0x01;
    return depth + 1;
}

Test(reader, nesting_ends_at_16)
{
    uint8_t bytes[64];
    dctx_reader_init(&reader, bytes, nest(bytes, 16, 0x91));
    dctx_read_skip(&reader);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_OK);
    dctx_reader_init(&reader, bytes, nest(bytes, 17, 0x91));
    dctx_read_skip(&reader);
    fails_with(DCTX_ERR_LIMIT);
}

Test(reader, deep_hostile_nesting_is_cheap)
{
    static uint8_t bytes[1 << 20];
    memset(bytes, 0x91, sizeof(bytes));
    cr_assert_eq(dctx_msgpack_check(bytes, sizeof(bytes), 1000000), DCTX_ERR_LIMIT);
    dctx_reader_init(&reader, bytes, sizeof(bytes));
    dctx_read_skip(&reader);
    fails_with(DCTX_ERR_LIMIT);
}

Test(reader, skip_steps_over_the_whole_item)
{
    READ("\x93\x81\xa1k\x92\x01\xc4\x01z\xc7\x03\x01zzz\xdc\0\x02\xc0\xc0\x2a");
    dctx_read_skip(&reader);
    cr_assert_eq(dctx_read_int(&reader), 42);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_OK);
}

Test(reader, a_failure_of_the_callers_own)
{
    READ("\x01\x02");
    dctx_reader_fail(&reader, DCTX_OK);
    cr_assert_eq(dctx_read_int(&reader), 1);
    dctx_reader_fail(&reader, DCTX_ERR_VERSION);
    cr_assert_eq(dctx_read_int(&reader), 0);
    cr_assert_eq(dctx_reader_end(&reader), DCTX_ERR_VERSION);
}

/* ---- one item exactly ------------------------------------------------------------------------ */

static dctx_bytes_t sample(dctx_writer_t *writer)
{
    dctx_write_array(writer, 9);
    dctx_write_nil(writer);
    dctx_write_int(writer, -70000);
    dctx_write_uint(writer, UINT64_MAX);
    dctx_write_double(writer, 2.5);
    dctx_write_cstr(writer, "a string that is longer than a fixstr can be");
    dctx_write_bin(writer, "bin", 3);
    dctx_write_map(writer, 2);
    dctx_write_cstr(writer, "k");
    dctx_write_array(writer, 0);
    dctx_write_bool(writer, true);
    dctx_write_map(writer, 0);
    dctx_writer_put(writer, "\xc7\x02\x05yy\xd5\x01zz", 9);
    cr_assert_eq(dctx_writer_error(writer), DCTX_OK);
    return dctx_writer_bytes(writer);
}

Test(msgpack_check, truncation_at_each_byte)
{
    dctx_writer_t *writer;
    cr_assert_eq(dctx_writer_new(0, &writer), DCTX_OK);
    dctx_bytes_t bytes = sample(writer);
    cr_assert_eq(dctx_msgpack_check(bytes.data, bytes.size, 0), DCTX_OK);
    for (size_t size = 0; size < bytes.size; size++) {
        /* A heap block of just that size, so that a read past it is seen by a sanitizer. */
        uint8_t *cut = malloc(size > 0 ? size : 1);
        memcpy(cut, bytes.data, size);
        cr_assert_eq(dctx_msgpack_check(cut, size, 0), DCTX_ERR_MALFORMED);
        free(cut);
    }
    dctx_writer_put(writer, "\0", 1);
    bytes = dctx_writer_bytes(writer);
    cr_assert_eq(dctx_msgpack_check(bytes.data, bytes.size, 0), DCTX_ERR_MALFORMED);
    dctx_writer_destroy(&writer);
}

Test(msgpack_check, depth)
{
    uint8_t bytes[64];
    cr_assert_eq(dctx_msgpack_check(bytes, nest(bytes, 0, 0x91), 1), DCTX_OK);
    for (unsigned depth = 1; depth < 40; depth++) {
        size_t size = nest(bytes, depth, 0x91);
        for (unsigned max = 1; max < 40; max++) {
            dctx_error_t expected = depth <= (max < 31 ? max : 31) ? DCTX_OK : DCTX_ERR_LIMIT;
            cr_assert_eq(dctx_msgpack_check(bytes, size, max), expected);
        }
        cr_assert_eq(dctx_msgpack_check(bytes, size, 0), depth <= 16 ? DCTX_OK : DCTX_ERR_LIMIT);
    }
    cr_assert_eq(dctx_msgpack_check("\x91\x90", 2, 1), DCTX_ERR_LIMIT);
}

Test(msgpack_check, what_it_passes_at_full_depth_msgpack_c_can_read)
{
    uint8_t bytes[64];
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    for (unsigned depth = 1; depth <= 31; depth++) {
        size_t offset = 0;
        size_t size = nest(bytes, depth, 0x91);
        cr_assert_eq(dctx_msgpack_check(bytes, size, 31), DCTX_OK);
        cr_assert_eq(msgpack_unpack_next(&unpacked, (const char *)bytes, size, &offset),
                     MSGPACK_UNPACK_SUCCESS);
    }
    msgpack_unpacked_destroy(&unpacked);
}

/* Any two bytes followed by one of each kind: the check and msgpack-c call the same texts one whole
 * item. */
Test(msgpack_check, agrees_with_msgpack_c, .timeout = 60)
{
    static const uint8_t kinds[] = {0x00, 0x01, 0x7f, 0x80, 0x81, 0x90, 0x91, 0xa0, 0xa1, 0xc0,
                                    0xc1, 0xc2, 0xc4, 0xc7, 0xca, 0xcc, 0xd4, 0xd9, 0xdc, 0xff};
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    unsigned accepted = 0;
    for (unsigned n = 0; n < 65536 * sizeof(kinds); n++) {
        unsigned head = n / sizeof(kinds);
        uint8_t bytes[3] = {(uint8_t)(head >> 8), (uint8_t)head, kinds[n % sizeof(kinds)]};
        /* A one-byte item first leaves two bytes over whatever they are: a few of those are
         * enough. */
        if ((bytes[0] < 0x80 || bytes[0] >= 0xe0) && bytes[1] % 64 != 0)
            continue;
        size_t offset = 0;
        bool ours = dctx_msgpack_check(bytes, 3, 31) == DCTX_OK;
        bool theirs = msgpack_unpack_next(&unpacked, (const char *)bytes, 3, &offset) ==
                          MSGPACK_UNPACK_SUCCESS &&
                      offset == 3;
        cr_assert_eq(ours, theirs, "%02x %02x %02x", bytes[0], bytes[1], bytes[2]);
        accepted += ours;
    }
    cr_assert_gt(accepted, 1000);
    msgpack_unpacked_destroy(&unpacked);
}

Test(msgpack_check, canonical_is_what_msgpack_c_writes)
{
    static const struct {
        const char *bytes;
        size_t size;
        bool canonical;
    } cases[] = {
        {"\x05", 1, true},
        {"\xcc\x7f", 2, false},
        {"\xcc\x80", 2, true},
        {"\xcd\0\xff", 3, false},
        {"\xcd\x01\0", 3, true},
        {"\xce\0\0\xff\xff", 5, false},
        {"\xce\0\x01\0\0", 5, true},
        {"\xd0\x05", 2, false},
        {"\xd0\xe0", 2, false},
        {"\xd0\xdf", 2, true},
        {"\xd1\xff\x80", 3, false},
        {"\xd1\xff\x7f", 3, true},
        {"\xd9\x1f", 2, false},
        {"\xd9\x20", 2, true},
        {"\xda\0\xff", 3, false},
        {"\xda\x01\0", 3, true},
        {"\xdb\0\0\xff\xff", 5, false},
        {"\xc4\0", 2, true},
        {"\xc5\0\xff", 3, false},
        {"\xc5\x01\0", 3, true},
        {"\xdc\0\x0f", 3, false},
        {"\xdc\0\x10", 3, true},
        {"\xdd\0\0\xff\xff", 5, false},
        {"\xdd\0\x01\0\0", 5, true},
        {"\xde\0\x0f", 3, false},
        {"\xcf\0\0\0\0\xff\xff\xff\xff", 9, false},
        {"\xcf\0\0\0\x01\0\0\0\0", 9, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint8_t *at = (const uint8_t *)cases[i].bytes;
        dctx_head_t head;
        cr_assert(dctx_head_read_(at, at + cases[i].size, &head));
        cr_assert_eq(head.size, cases[i].size);
        cr_assert_eq(head.canonical, cases[i].canonical, "case %zu", i);
        cr_assert(!dctx_head_read_(at, at + cases[i].size - 1, &head));
    }
}
