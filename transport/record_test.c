/* Frames and records: what is written is what docs/wire.md says, and what is not of that form is
 * refused. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"
#include "lookup.h"
#include "record.h"

#define LIMIT ((size_t)1 << 20)

static const dctx_record_t sample = {.kind = 17,
                                     .sequence = 0x0102030405060708,
                                     .acknowledged = 0x1112131415161718,
                                     .correlation = 0x2122232425262728,
                                     .target = {"orders", 6},
                                     .type = {"text", 4},
                                     .stamp = {"STAMP", 5},
                                     .payload = {"payload", 7}};

/* By hand, from the table in docs/wire.md. */
static const uint8_t sample_frame[] = {
    'D',  'C',  'L',  1,                         /* magic */
    0,    0,    0,    62,   17,   0,    0,    0, /* head */
    1,    2,    3,    4,    5,    6,    7,    8, /* sequence */
    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24,
    0x25, 0x26, 0x27, 0x28, 0,    6,    0,    4,    0,    0,    0,    5, /* sizes */
    'o',  'r',  'd',  'e',  'r',  's',  't',  'e',  'x',  't',  'S',  'T',
    'A',  'M',  'P',  'p',  'a',  'y',  'l',  'o',  'a',  'd'};

/* A copy in memory of exactly that size, so that a sanitizer sees the first byte read beyond it. */
static dctx_error_t check_exactly(const uint8_t *frame, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    cr_assert_not_null(copy);
    memcpy(copy, frame, size);
    dctx_error_t error = dctx_frame_check_(copy, size, LIMIT);
    free(copy);
    return error;
}

Test(record, is_written_as_the_protocol_has_it)
{
    uint8_t out[sizeof(sample_frame)];
    cr_assert_eq(DCTX_FRAME_HEAD + dctx_record_size_(&sample), sizeof(sample_frame));
    dctx_frame_begin_(out);
    dctx_record_write_(&sample, out + DCTX_FRAME_HEAD);
    cr_assert_arr_eq(out, sample_frame, sizeof(sample_frame));
}

Test(record, is_read_as_it_was_written)
{
    dctx_record_t record;
    cr_assert_eq(check_exactly(sample_frame, sizeof(sample_frame)), DCTX_OK);
    cr_assert_eq(dctx_record_read_(sample_frame + DCTX_FRAME_HEAD, &record), 62);
    cr_assert_eq(record.kind, 17);
    cr_assert_eq(record.flags, 0);
    cr_assert_eq(record.code, 0);
    cr_assert_eq(record.sequence, sample.sequence);
    cr_assert_eq(record.acknowledged, sample.acknowledged);
    cr_assert_eq(record.correlation, sample.correlation);
    cr_assert_eq(record.target.size, 6);
    cr_assert_arr_eq(record.target.data, "orders", 6);
    cr_assert_eq(record.type.size, 4);
    cr_assert_arr_eq(record.type.data, "text", 4);
    cr_assert_eq(record.stamp.size, 5);
    cr_assert_arr_eq(record.stamp.data, "STAMP", 5);
    cr_assert_eq(record.payload.size, 7);
    cr_assert_arr_eq(record.payload.data, "payload", 7);
}

Test(record, cut_at_any_byte_is_refused)
{
    for (size_t size = 0; size < sizeof(sample_frame); size++)
        cr_assert_eq(check_exactly(sample_frame, size), DCTX_ERR_MALFORMED, "%zu bytes", size);
    /* And as the second record, where the first is whole. */
    uint8_t two[2 * sizeof(sample_frame)];
    memcpy(two, sample_frame, sizeof(sample_frame));
    memcpy(two + sizeof(sample_frame), sample_frame + 4, sizeof(sample_frame) - 4);
    for (size_t size = 1; size < sizeof(sample_frame) - 4; size++)
        cr_assert_eq(check_exactly(two, sizeof(sample_frame) + size), DCTX_ERR_MALFORMED,
                     "%zu bytes more", size);
    cr_assert_eq(check_exactly(two, 2 * sizeof(sample_frame) - 4), DCTX_OK);
}

Test(record, another_version_is_told_from_garbage)
{
    uint8_t frame[sizeof(sample_frame)];
    memcpy(frame, sample_frame, sizeof(frame));
    frame[3] = 2;
    cr_assert_eq(check_exactly(frame, sizeof(frame)), DCTX_ERR_VERSION);
    cr_assert_eq(check_exactly(frame, 4), DCTX_ERR_VERSION);
    frame[0] = 'X';
    cr_assert_eq(check_exactly(frame, sizeof(frame)), DCTX_ERR_MALFORMED);
}

static dctx_error_t check_with(size_t at, uint8_t byte)
{
    uint8_t frame[sizeof(sample_frame)];
    memcpy(frame, sample_frame, sizeof(frame));
    frame[DCTX_FRAME_HEAD + at] = byte;
    return check_exactly(frame, sizeof(frame));
}

Test(record, lengths_that_claim_too_much_are_refused)
{
    for (size_t at = 0; at < 4; at++)
        cr_assert_eq(check_with(at, 0xff), DCTX_ERR_MALFORMED, "length, byte %zu", at);
    cr_assert_eq(check_with(3, 39), DCTX_ERR_MALFORMED, "shorter than its head");
    cr_assert_eq(check_with(3, 54), DCTX_ERR_MALFORMED, "shorter than its parts");
    cr_assert_eq(check_with(32, 1), DCTX_ERR_MALFORMED, "target over 255");
    cr_assert_eq(check_with(33, 19), DCTX_ERR_MALFORMED, "target beyond the record");
    cr_assert_eq(check_with(34, 1), DCTX_ERR_MALFORMED, "type over 255");
    cr_assert_eq(check_with(35, 17), DCTX_ERR_MALFORMED, "type beyond the record");
    for (size_t at = 36; at < 39; at++)
        cr_assert_eq(check_with(at, 0xff), DCTX_ERR_MALFORMED, "stamp, byte %zu", at);
    cr_assert_eq(check_with(39, 13), DCTX_ERR_MALFORMED, "stamp beyond the record");
    cr_assert_eq(check_with(39, 12), DCTX_OK, "all of the rest is stamp");
}

Test(record, over_the_limit_is_refused)
{
    cr_assert_eq(dctx_frame_check_(sample_frame, sizeof(sample_frame), 62), DCTX_OK);
    cr_assert_eq(dctx_frame_check_(sample_frame, sizeof(sample_frame), 61), DCTX_ERR_MALFORMED);
}

Test(record, kinds_that_are_unknown_are_refused_or_skipped)
{
    for (int kind = 0; kind < 256; kind++) {
        bool known = (kind >= 1 && kind <= 7) || (kind >= 16 && kind <= 29) || kind >= 128;
        cr_assert_eq(check_with(4, (uint8_t)kind), known ? DCTX_OK : DCTX_ERR_MALFORMED, "kind %d",
                     kind);
    }
}

Test(record, flags_mean_what_they_say)
{
    cr_assert_eq(check_with(5, 1), DCTX_ERR_MALFORMED, "nothing came before");
    for (int bit = 1; bit < 8; bit++)
        cr_assert_eq(check_with(5, (uint8_t)(1 << bit)), DCTX_ERR_MALFORMED, "bit %d", bit);
    cr_assert_eq(check_with(7, 0xff), DCTX_OK, "the reserved byte is ignored");

    uint8_t frame[256];
    dctx_record_t second = {.kind = 16, .flags = DCTX_SAME_CONTEXT, .sequence = 2};
    memcpy(frame, sample_frame, sizeof(sample_frame));
    dctx_record_write_(&second, frame + sizeof(sample_frame));
    size_t size = sizeof(sample_frame) + dctx_record_size_(&second);
    cr_assert_eq(check_exactly(frame, size), DCTX_OK);
    second.stamp = (dctx_bytes_t){"x", 1};
    dctx_record_write_(&second, frame + sizeof(sample_frame));
    cr_assert_eq(check_exactly(frame, size + 1), DCTX_ERR_MALFORMED, "the same, and a stamp");
}

Test(record, a_message_has_a_sequence_number)
{
    uint8_t frame[sizeof(sample_frame)];
    memcpy(frame, sample_frame, sizeof(frame));
    memset(frame + DCTX_FRAME_HEAD + 8, 0, 8);
    cr_assert_eq(check_exactly(frame, sizeof(frame)), DCTX_ERR_MALFORMED);
}

static dctx_error_t check_payload(uint8_t kind, size_t size)
{
    static const uint8_t zeros[300];
    uint8_t frame[400];
    dctx_record_t record = {.kind = kind, .sequence = 1, .payload = {zeros, size}};
    dctx_frame_begin_(frame);
    dctx_record_write_(&record, frame + DCTX_FRAME_HEAD);
    return check_exactly(frame, DCTX_FRAME_HEAD + dctx_record_size_(&record));
}

Test(record, short_payloads_are_held_to_be_short)
{
    cr_assert_eq(check_payload(DCTX_KIND_PING, 64), DCTX_OK);
    cr_assert_eq(check_payload(DCTX_KIND_PING, 65), DCTX_ERR_MALFORMED);
    cr_assert_eq(check_payload(DCTX_KIND_PONG, 65), DCTX_ERR_MALFORMED);
    cr_assert_eq(check_payload(19, 255), DCTX_OK);
    cr_assert_eq(check_payload(19, 256), DCTX_ERR_MALFORMED);
}

Test(record, random_bytes_do_no_harm)
{
    uint8_t frame[sizeof(sample_frame)];
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        memcpy(frame, sample_frame, sizeof(frame));
        for (int change = 0; change < 4; change++) {
            seed = seed * 1664525 + 1013904223;
            frame[4 + (seed >> 8) % 40] = (uint8_t)(seed >> 24);
        }
        if (check_exactly(frame, sizeof(frame)) != DCTX_OK)
            continue;
        dctx_record_t record;
        for (size_t at = DCTX_FRAME_HEAD; at < sizeof(frame);) {
            at += dctx_record_read_(frame + at, &record);
            cr_assert_leq(at, sizeof(frame));
        }
    }
}

/* ---- the handshake's map --------------------------------------------------------------------- */

static dctx_error_t decode(const char *bytes, size_t size, dctx_hello_t *ret_hello)
{
    return dctx_hello_decode_((dctx_bytes_t){bytes, size}, ret_hello);
}

Test(hello, is_read_as_it_was_written)
{
    dctx_hello_t hello = {
        .node = "orders-1", .to = "stock", .incarnation = UINT64_MAX, .window = 7};
    dctx_hello_t read;
    dctx_writer_t *writer;
    cr_assert_eq(dctx_writer_new(512, &writer), DCTX_OK);
    dctx_hello_encode_(&hello, writer);
    cr_assert_eq(dctx_writer_error(writer), DCTX_OK);
    dctx_bytes_t bytes = dctx_writer_bytes(writer);
    cr_assert_eq(dctx_hello_decode_(bytes, &read), DCTX_OK);
    cr_assert_str_eq(read.node, "orders-1");
    cr_assert_str_eq(read.to, "stock");
    cr_assert_eq(read.incarnation, UINT64_MAX);
    cr_assert_eq(read.window, 7);
    for (size_t size = 0; size < bytes.size; size++) {
        bytes.size = size;
        cr_assert_eq(dctx_hello_decode_(bytes, &read), DCTX_ERR_MALFORMED, "%zu bytes", size);
        bytes = dctx_writer_bytes(writer);
    }
    dctx_writer_destroy(&writer);
}

Test(hello, what_must_be_there_must_be_there)
{
    dctx_hello_t hello;
    static const char whole[] = "\x83\xa4node\xa1n\xabincarnation\x05\xa6window\x09";
    cr_assert_eq(decode(whole, sizeof(whole) - 1, &hello), DCTX_OK);
    cr_assert_str_eq(hello.node, "n");
    cr_assert_str_eq(hello.to, "");
    static const char no_node[] = "\x82\xabincarnation\x05\xa6window\x09";
    static const char no_incarnation[] = "\x82\xa4node\xa1n\xa6window\x09";
    static const char no_window[] = "\x82\xa4node\xa1n\xabincarnation\x05";
    static const char zero[] = "\x83\xa4node\xa1n\xabincarnation\x00\xa6window\x09";
    static const char negative[] = "\x83\xa4node\xa1n\xabincarnation\xff\xa6window\x09";
    static const char bad_name[] = "\x83\xa4node\xa3n/m\xabincarnation\x05\xa6window\x09";
    static const char twice[] = "\x84\xa4node\xa1n\xa4node\xa1n\xabincarnation\x05\xa6window\x09";
    static const char more[] = "\x83\xa4node\xa1n\xabincarnation\x05\xa6window\x09\xc0";
    static const char bomb[] = "\xdf\xff\xff\xff\xff";
    cr_expect_eq(decode(no_node, sizeof(no_node) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode(no_incarnation, sizeof(no_incarnation) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode(no_window, sizeof(no_window) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode(zero, sizeof(zero) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode(negative, sizeof(negative) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode(bad_name, sizeof(bad_name) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode(twice, sizeof(twice) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode(more, sizeof(more) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode(bomb, sizeof(bomb) - 1, &hello), DCTX_ERR_MALFORMED);
    cr_expect_eq(decode("", 0, &hello), DCTX_ERR_MALFORMED);
}

Test(hello, keys_that_nobody_knows_are_ignored)
{
    dctx_hello_t hello;
    static const char extra[] = "\x85\x2a\xc0\xa1x\x92\x01\x02\xa4node\xa1n\xabincarnation\x05\xa6w"
                                "indow\xcf\0\0\0\1\0\0\0\0";
    cr_assert_eq(decode(extra, sizeof(extra) - 1, &hello), DCTX_OK);
    cr_assert_eq(hello.window, UINT32_MAX, "more than we could send");
}

Test(hello, node_names_are_of_one_alphabet)
{
    char name[65];
    memset(name, 'n', sizeof(name));
    cr_assert(dctx_node_name_is_valid_("A-Z_a.z09", 9));
    cr_assert(dctx_node_name_is_valid_(name, 63));
    cr_assert(!dctx_node_name_is_valid_(name, 64));
    cr_assert(!dctx_node_name_is_valid_("", 0));
    cr_assert(!dctx_node_name_is_valid_("a b", 3));
    cr_assert(!dctx_node_name_is_valid_("a\0b", 3));
    cr_assert(!dctx_node_name_is_valid_("a@b", 3));
}

/* ---- the table ------------------------------------------------------------------------------- */

Test(lookup, finds_what_was_inserted_and_not_what_was_removed)
{
    enum { COUNT = 500 };
    static dctx_lookup_entry_t entries[COUNT];
    static char keys[COUNT][16];
    dctx_lookup_t table;
    cr_assert_eq(dctx_lookup_init_(&table, 42), DCTX_OK);
    for (int i = 0; i < COUNT; i++) {
        int size = snprintf(keys[i], sizeof(keys[i]), "key %d", i);
        cr_assert_null(dctx_lookup_find_(&table, keys[i], (size_t)size));
        dctx_lookup_insert_(&table, &entries[i], keys[i], (size_t)size);
    }
    for (int i = 0; i < COUNT; i += 2)
        dctx_lookup_remove_(&table, &entries[i]);
    cr_assert_eq(table.count, COUNT / 2);
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(dctx_lookup_find_(&table, keys[i], strlen(keys[i])),
                     i % 2 == 1 ? &entries[i] : NULL);
    dctx_lookup_finish_(&table);
}
