#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "fail.h"
#include "name.h"
#include "writer.h"

static const dctx_limits_t limits = {8192, 64, 128, 4096, 32, 64, 1024};

#define MOST 256

static dctx_envelope_t envelope;
static dctx_envelope_entry_t entries[MOST];

/* Walks a whole stamp, in a heap block of just its size so that a read past it is seen by a
 * sanitizer, and checks that what comes out lies within. */
static dctx_error_t scan_with(const dctx_limits_t *with, const void *data, size_t size)
{
    static uint8_t *block;
    free(block);
    block = malloc(size > 0 ? size : 1);
    memcpy(block, data, size);
    (void)dctx_fail_(DCTX_OK, NULL);
    dctx_error_t error = dctx_envelope_open_(&envelope, with, block, size);
    if (error == DCTX_OK) {
        cr_assert_leq(envelope.entry_count, MOST);
        const uint8_t *from = envelope.chain + envelope.chain_size;
        for (size_t i = 0; error == DCTX_OK && i < envelope.entry_count; i++) {
            error = dctx_envelope_next_(&envelope, &entries[i]);
            if (error != DCTX_OK)
                break;
            const dctx_envelope_entry_t *e = &entries[i];
            cr_assert(e->raw >= from && e->raw + e->raw_size <= block + size);
            cr_assert((const uint8_t *)e->name > e->raw &&
                      (const uint8_t *)e->name + e->name_size < e->body &&
                      e->body + e->body_size <= e->raw + e->raw_size);
            from = e->raw + e->raw_size;
        }
    }
    dctx_envelope_entry_t none;
    if (error == DCTX_OK)
        cr_assert_eq(dctx_envelope_next_(&envelope, &none), DCTX_ERR_ABSENT);
    if (error == DCTX_OK)
        error = dctx_envelope_close_(&envelope);
    if (error != DCTX_OK)
        cr_assert_str_neq(dctx_error_detail(), "");
    return error;
}

static dctx_error_t scan(const void *data, size_t size)
{
    return scan_with(&limits, data, size);
}

#define SCAN(literal) scan(literal, sizeof(literal) - 1)

static void detail_has(const char *words)
{
    cr_assert_not_null(strstr(dctx_error_detail(), words), "'%s' is not in '%s'", words,
                       dctx_error_detail());
}

#define REFUSE(literal, error, words)                                                              \
    do {                                                                                           \
        cr_assert_eq(SCAN(literal), error);                                                        \
        detail_has(words);                                                                         \
    } while (0)

Test(envelope, the_empty_stamp_has_four_bytes)
{
    cr_assert_eq(SCAN("\x93\x01\x90\x90"), DCTX_OK);
    cr_assert_eq(envelope.entry_count, 0);
    cr_assert_eq(envelope.chain_count, 0);
    cr_assert_eq(envelope.chain_size, 1);
}

Test(envelope, a_whole_stamp)
{
    cr_assert_eq(SCAN("\x93\x01\x93\xa1"
                      "a\x07\xa2"
                      "bc\x92\x93\xa1k\x01\xc4\x02\xa1v\x93\xa2kk\xcd\x01\x00\xc5\x00\x01\xc3"),
                 DCTX_OK);
    cr_assert_eq(envelope.chain_count, 2);
    cr_assert_eq(envelope.chain_elided, 7);
    cr_assert_eq(envelope.chain_mark, 1);
    cr_assert(envelope.chain_canonical);
    cr_assert_eq(envelope.chain_size, 7);
    cr_assert_eq(envelope.entry_count, 2);
    cr_assert_eq(entries[0].raw_size, 8);
    cr_assert_eq(entries[0].version, 1);
    cr_assert_eq(entries[0].body_size, 2);
    cr_assert_arr_eq(entries[0].body, "\xa1v", 2);
    cr_assert_arr_eq(entries[0].name, "k", 1);
    cr_assert_eq(entries[1].version, 256);
    cr_assert_eq(entries[1].name_size, 2);
    cr_assert_arr_eq(entries[1].raw, "\x93\xa2kk\xcd\x01\x00\xc5\x00\x01\xc3", 11);
}

Test(envelope, further_elements_are_stepped_over)
{
    cr_assert_eq(SCAN("\x95\x01\x90\x90\x81\xa1k\x92\x01\x02\xc0"), DCTX_OK);
    cr_assert_eq(SCAN("\xdc\x00\x04\x01\x90\x90\xc0"), DCTX_OK);
    REFUSE("\x94\x01\x90\x90\xc1", DCTX_ERR_MALFORMED, "further element");
    REFUSE("\x94\x01\x90\x90", DCTX_ERR_MALFORMED, "cut short");
    REFUSE("\x94\x01\x90\x90\xdd\xff\xff\xff\xff", DCTX_ERR_MALFORMED, "further element");
    REFUSE(
        "\x94\x01\x90\x90\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01",
        DCTX_ERR_LIMIT, "nested deeper than the limit of 16");
    /* In an entry as well, and they are part of what travels on. */
    cr_assert_eq(SCAN("\x93\x01\x90\x91\x95\xa1k\x01\xc4\x00\xc0\x91\x2a"), DCTX_OK);
    cr_assert_eq(entries[0].raw_size, 9);
    REFUSE("\x93\x01\x90\x91\x94\xa1k\x01\xc4\x00\xc1", DCTX_ERR_MALFORMED, "an entry");
}

Test(envelope, another_version_is_refused_by_name)
{
    REFUSE("\x93\x02\x90\x90", DCTX_ERR_VERSION, "wire version 2; this library reads version 1");
    REFUSE("\x91\x02", DCTX_ERR_VERSION, "wire version 2");
    REFUSE("\x93\x00\x90\x90", DCTX_ERR_VERSION, "wire version 0");
    REFUSE("\x93\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x90\x90", DCTX_ERR_VERSION,
           "wire version 18446744073709551615");
    cr_assert_eq(SCAN("\x93\xcc\x01\x90\x90"), DCTX_OK);
    REFUSE("\x93\xff\x90\x90", DCTX_ERR_MALFORMED, "version");
    REFUSE("\x93\xa1"
           "1\x90\x90",
           DCTX_ERR_MALFORMED, "version");
    REFUSE("\x93\xcb\x3f\xf0\0\0\0\0\0\0\x90\x90", DCTX_ERR_MALFORMED, "version");
}

Test(envelope, not_a_stamp)
{
    cr_assert_eq(scan("", 0), DCTX_ERR_MALFORMED);
    REFUSE("\xc0", DCTX_ERR_MALFORMED, "not an array");
    REFUSE("\x90", DCTX_ERR_MALFORMED, "not an array of version");
    REFUSE("\x91\x01", DCTX_ERR_MALFORMED, "not an array of version");
    REFUSE("\x92\x01\x90", DCTX_ERR_MALFORMED, "not an array of version");
    REFUSE("\x80", DCTX_ERR_MALFORMED, "not an array");
    REFUSE("\xc1", DCTX_ERR_MALFORMED, "cut short");
    REFUSE("hello", DCTX_ERR_MALFORMED, "not an array");
    REFUSE("\x93\x01\xc0\x90", DCTX_ERR_MALFORMED, "the chain");
    REFUSE("\x93\x01\x90\xc0", DCTX_ERR_MALFORMED, "the entries");
    REFUSE("\x93\x01\x90\x90\x00", DCTX_ERR_MALFORMED, "1 bytes after the end");
    REFUSE("\x93\x01\x90\x90\xc1\xc1", DCTX_ERR_MALFORMED, "2 bytes after the end");
}

Test(envelope, claimed_counts_are_not_trusted)
{
    REFUSE("\xdd\xff\xff\xff\xff\x01\x90\x90", DCTX_ERR_MALFORMED, "beginning");
    REFUSE("\x93\x01\xdd\xff\xff\xff\xff", DCTX_ERR_MALFORMED, "the chain");
    REFUSE("\x93\x01\x90\xdd\xff\xff\xff\xff", DCTX_ERR_MALFORMED, "the entries");
    REFUSE("\x93\x01\x90\x91\xdd\xff\xff\xff\xff", DCTX_ERR_MALFORMED, "an entry");
    REFUSE("\x93\x01\x91\xdb\xff\xff\xff\xff", DCTX_ERR_MALFORMED, "the chain");
    REFUSE("\x93\x01\x90\x91\x93\xdb\xff\xff\xff\xff\x01\xc4\0", DCTX_ERR_MALFORMED, "a key");
    REFUSE("\x93\x01\x90\x91\x93\xa1k\x01\xc6\xff\xff\xff\xff", DCTX_ERR_MALFORMED, "key 'k'");
    REFUSE("\x93\x01\x90\x91\x93\xa1k\x01\xc4\xff", DCTX_ERR_MALFORMED, "key 'k'");
}

Test(envelope, malformed_chains)
{
    REFUSE("\x93\x01\x91\xa0\x90", DCTX_ERR_MALFORMED, "empty name");
    REFUSE("\x93\x01\x91\xa2"
           "a\n\x90",
           DCTX_ERR_MALFORMED, "'a?'");
    REFUSE("\x93\x01\x91\xa1\x7f\x90", DCTX_ERR_MALFORMED, "control characters");
    REFUSE("\x93\x01\x91\x00\x90", DCTX_ERR_MALFORMED, "neither a name nor");
    REFUSE("\x93\x01\x91\xff\x90", DCTX_ERR_MALFORMED, "neither a name nor");
    REFUSE("\x93\x01\x91\xc0\x90", DCTX_ERR_MALFORMED, "neither a name nor");
    REFUSE("\x93\x01\x91\xc4\x01x\x90", DCTX_ERR_MALFORMED, "neither a name nor");
    REFUSE("\x93\x01\x92\x01\x02\x90", DCTX_ERR_MALFORMED, "two counts");
    /* The mark may stand anywhere. */
    cr_assert_eq(SCAN("\x93\x01\x91\x05\x90"), DCTX_OK);
    cr_assert_eq(envelope.chain_elided, 5);
    cr_assert_eq(envelope.chain_count, 0);
    cr_assert_eq(SCAN("\x93\x01\x92\xa1x\xcf\xff\xff\xff\xff\xff\xff\xff\xff\x90"), DCTX_OK);
    cr_assert_eq(envelope.chain_elided, UINT64_MAX);
    cr_assert_eq(envelope.chain_mark, 1);
}

Test(envelope, chain_heads_that_are_not_the_shortest_are_noticed)
{
    cr_assert_eq(SCAN("\x93\x01\x91\xd9\x01x\x90"), DCTX_OK);
    cr_assert(!envelope.chain_canonical);
    cr_assert_eq(SCAN("\x93\x01\xdc\0\x01\xa1x\x90"), DCTX_OK);
    cr_assert(!envelope.chain_canonical);
    cr_assert_eq(SCAN("\x93\x01\x91\xcc\x05\x90"), DCTX_OK);
    cr_assert(!envelope.chain_canonical);
}

Test(envelope, malformed_entries)
{
    REFUSE("\x93\x01\x90\x91\xc0", DCTX_ERR_MALFORMED, "an entry");
    REFUSE("\x93\x01\x90\x91\x92\xa1k\x01", DCTX_ERR_MALFORMED, "an entry");
    REFUSE("\x93\x01\x90\x91\x93\xa0\x01\xc4\0", DCTX_ERR_MALFORMED, "a key");
    REFUSE("\x93\x01\x90\x91\x93\xa0\x01\xc4\x02vv", DCTX_ERR_MALFORMED, "a key");
    REFUSE("\x93\x01\x90\x91\x93\xc4\x01k\x01\xc4\0", DCTX_ERR_MALFORMED, "a key");
    REFUSE("\x93\x01\x90\x91\x93\xa2k\x1b\x01\xc4\0", DCTX_ERR_MALFORMED, "key 'k?'");
    REFUSE("\x93\x01\x90\x91\x93\xa1\0\x01\xc4\0", DCTX_ERR_MALFORMED, "key '?'");
    REFUSE("\x93\x01\x90\x91\x93\xa1k\xff\xc4\0", DCTX_ERR_MALFORMED, "key 'k'");
    REFUSE("\x93\x01\x90\x91\x93\xa1k\xa1v\xc4\0", DCTX_ERR_MALFORMED, "key 'k'");
    REFUSE("\x93\x01\x90\x91\x93\xa1k\x01\xa1v", DCTX_ERR_MALFORMED, "not binary, of key 'k'");
    REFUSE("\x93\x01\x90\x91\x93\xa1k\x01\xc0", DCTX_ERR_MALFORMED, "not binary, of key 'k'");
    /* Versions begin with 1 and end with what 32 bits hold. */
    REFUSE("\x93\x01\x90\x91\x93\xa1k\0\xc4\x01x", DCTX_ERR_MALFORMED, "of key 'k'");
    REFUSE("\x93\x01\x90\x91\x93\xa1k\xcc\0\xc4\0", DCTX_ERR_MALFORMED, "of key 'k'");
    REFUSE("\x93\x01\x90\x91\x93\xa1k\xcf\0\0\0\x01\0\0\0\0\xc4\0", DCTX_ERR_MALFORMED,
           "of key 'k'");
    cr_assert_eq(SCAN("\x93\x01\x90\x91\x93\xa1k\xce\xff\xff\xff\xff\xc4\0"), DCTX_OK);
    cr_assert_eq(entries[0].version, UINT32_MAX);
    cr_assert_eq(SCAN("\x93\x01\x90\x91\x93\xd9\x01k\x01\xc6\0\0\0\0"), DCTX_OK);
    cr_assert_eq(entries[0].body_size, 0);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static char filler[5000];

static dctx_writer_t *stamp_begin(void)
{
    dctx_writer_t *writer;
    memset(filler, 'f', sizeof(filler));
    cr_assert_eq(dctx_writer_new(1 << 22, &writer), DCTX_OK);
    dctx_write_array(writer, 3);
    dctx_write_uint(writer, 1);
    return writer;
}

static void entry(dctx_writer_t *writer, size_t name_size, size_t body_size)
{
    dctx_write_array(writer, 3);
    dctx_write_str(writer, filler, name_size);
    dctx_write_uint(writer, 1);
    dctx_write_bin(writer, filler, body_size);
}

static dctx_error_t stamp_scan(dctx_writer_t *writer, const dctx_limits_t *with)
{
    cr_assert_eq(dctx_writer_error(writer), DCTX_OK);
    dctx_bytes_t bytes = dctx_writer_bytes(writer);
    dctx_error_t error = scan_with(with, bytes.data, bytes.size);
    dctx_writer_destroy(&writer);
    return error;
}

static dctx_error_t scan_entry_of(size_t name_size, size_t body_size, const dctx_limits_t *with)
{
    dctx_writer_t *writer = stamp_begin();
    dctx_write_array(writer, 0);
    dctx_write_array(writer, 1);
    entry(writer, name_size, body_size);
    return stamp_scan(writer, with);
}

Test(envelope, key_and_value_limits)
{
    cr_assert_eq(scan_entry_of(128, 4096, &limits), DCTX_OK);
    cr_assert_eq(entries[0].name_size, 128);
    cr_assert_eq(entries[0].body_size, 4096);
    cr_assert_eq(scan_entry_of(129, 1, &limits), DCTX_ERR_LIMIT);
    detail_has("129 bytes; the limit key_bytes is 128");
    detail_has("key 'ffff");
    cr_assert_eq(scan_entry_of(3, 4097, &limits), DCTX_ERR_LIMIT);
    detail_has("the value of key 'fff' is 4097 bytes; the limit value_bytes is 4096");
    /* Small limits, where the usual path has to leave the words to the other. */
    dctx_limits_t small = limits;
    small.key_bytes = 4;
    small.value_bytes = 8;
    cr_assert_eq(scan_entry_of(4, 8, &small), DCTX_OK);
    cr_assert_eq(scan_entry_of(5, 8, &small), DCTX_ERR_LIMIT);
    detail_has("key_bytes is 4");
    cr_assert_eq(scan_entry_of(4, 9, &small), DCTX_ERR_LIMIT);
    detail_has("value_bytes is 8");
}

static dctx_error_t scan_entries(size_t count, const dctx_limits_t *with)
{
    dctx_writer_t *writer = stamp_begin();
    dctx_write_array(writer, 0);
    dctx_write_array(writer, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        entry(writer, 5, 5);
    return stamp_scan(writer, with);
}

Test(envelope, entry_limit)
{
    dctx_limits_t wide = limits;
    wide.stamp_bytes = 1 << 24;
    cr_assert_eq(scan_entries(64, &limits), DCTX_OK);
    cr_assert_eq(envelope.entry_count, 64);
    cr_assert_eq(scan_entries(65, &limits), DCTX_ERR_LIMIT);
    detail_has("65 entries; the limit entries is 64");
    cr_assert_eq(scan_entries(100000, &wide), DCTX_ERR_LIMIT);
    cr_assert_eq(scan_entries(100000, &limits), DCTX_ERR_LIMIT);
    detail_has("the limit stamp_bytes is 8192");
}

static dctx_error_t scan_names(size_t count, size_t size, bool mark, const dctx_limits_t *with)
{
    dctx_writer_t *writer = stamp_begin();
    dctx_write_array(writer, (uint32_t)(count + mark));
    for (size_t i = 0; i < count; i++) {
        if (mark && i == 4)
            dctx_write_uint(writer, 1000);
        dctx_write_str(writer, filler, size);
    }
    dctx_write_array(writer, 0);
    return stamp_scan(writer, with);
}

Test(envelope, chain_limits)
{
    cr_assert_eq(scan_names(32, 64, false, &limits), DCTX_OK);
    cr_assert_eq(scan_names(32, 64, true, &limits), DCTX_OK);
    cr_assert_eq(envelope.chain_count, 32);
    cr_assert_eq(envelope.chain_mark, 4);
    cr_assert_eq(scan_names(33, 5, false, &limits), DCTX_ERR_LIMIT);
    detail_has("the limit chain_names is 32");
    cr_assert_eq(scan_names(33, 5, true, &limits), DCTX_ERR_LIMIT);
    cr_assert_eq(scan_names(1, 65, false, &limits), DCTX_ERR_LIMIT);
    detail_has("65 bytes; the limit name_bytes is 64");
    dctx_limits_t wide = limits;
    wide.stamp_bytes = 1 << 24;
    cr_assert_eq(scan_names(100000, 5, false, &wide), DCTX_ERR_LIMIT);
}

Test(envelope, stamp_limit)
{
    dctx_limits_t small = limits;
    small.stamp_bytes = 4;
    cr_assert_eq(scan_with(&small, "\x93\x01\x90\x90", 4), DCTX_OK);
    cr_assert_eq(scan_with(&small, "\x93\x01\x90\x90\x00", 5), DCTX_ERR_LIMIT);
    detail_has("the stamp is 5 bytes; the limit stamp_bytes is 4");
}

/* ---- systematic damage ----------------------------------------------------------------------- */

static dctx_writer_t *sample(void)
{
    dctx_writer_t *writer;
    cr_assert_eq(dctx_writer_new(0, &writer), DCTX_OK);
    memset(filler, 'f', sizeof(filler));
    dctx_write_array(writer, 4);
    dctx_write_uint(writer, 1);
    dctx_write_array(writer, 4);
    dctx_write_cstr(writer, "api-gateway");
    dctx_write_uint(writer, 300);
    dctx_write_cstr(writer, "remote:orders with a name over 31 bytes");
    dctx_write_cstr(writer, "remote:inventory");
    dctx_write_array(writer, 4);
    entry(writer, 10, 17);
    entry(writer, 40, 20);
    entry(writer, 2, 300);
    dctx_write_array(writer, 4);
    dctx_write_cstr(writer, "more");
    dctx_write_uint(writer, 70000);
    dctx_write_bin(writer, "", 0);
    dctx_write_map(writer, 1);
    dctx_write_int(writer, -1);
    dctx_write_nil(writer);
    dctx_write_array(writer, 0);
    return writer;
}

Test(envelope, truncation_at_each_byte)
{
    dctx_writer_t *writer = sample();
    dctx_bytes_t bytes = dctx_writer_bytes(writer);
    cr_assert_eq(scan(bytes.data, bytes.size), DCTX_OK);
    cr_assert_eq(envelope.entry_count, 4);
    for (size_t size = 0; size < bytes.size; size++)
        cr_assert_eq(scan(bytes.data, size), DCTX_ERR_MALFORMED, "cut at %zu", size);
    dctx_writer_destroy(&writer);
}

Test(envelope, any_value_at_any_byte, .timeout = 60)
{
    dctx_writer_t *writer = sample();
    dctx_bytes_t bytes = dctx_writer_bytes(writer);
    uint8_t *damaged = malloc(bytes.size);
    for (size_t i = 0; i < bytes.size; i++)
        for (int value = 0; value < 256; value++) {
            memcpy(damaged, bytes.data, bytes.size);
            damaged[i] = (uint8_t)value;
            dctx_error_t error = scan(damaged, bytes.size);
            cr_assert(error == DCTX_OK || error == DCTX_ERR_MALFORMED || error == DCTX_ERR_LIMIT ||
                      error == DCTX_ERR_VERSION);
        }
    free(damaged);
    dctx_writer_destroy(&writer);
}

Test(envelope, random_bytes)
{
    uint64_t state = 42;
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[64];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            bytes[i] = (uint8_t)(state >> 56);
            /* Mostly bytes that mean something here. */
            if ((state >> 40) % 3 != 0)
                bytes[i] = (uint8_t) "\x90\x91\x92\x93\x94\x01\xa1\xa2k\xc4\x00\x02\xdc\xd9\xc0\x05"
                    [bytes[i] % 16];
        }
        bytes[0] = 0x93;
        bytes[1] = 0x01;
        (void)scan(bytes, 2 + (size_t)(state >> 33) % 62);
    }
}

Test(envelope, closing_too_early_is_refused)
{
    dctx_envelope_t open;
    cr_assert_eq(dctx_envelope_open_(&open, &limits, "\x93\x01\x90\x91\x93\xa1k\x01\xc4\0", 10),
                 DCTX_OK);
    cr_assert_eq(dctx_envelope_close_(&open), DCTX_ERR_INVALID);
}

/* ---- names ----------------------------------------------------------------------------------- */

Test(name, control_characters_are_found_at_any_place)
{
    char name[40];
    for (size_t size = 0; size <= sizeof(name); size++) {
        for (int filling = 0; filling < 3; filling++) {
            memset(name, filling == 0 ? ' ' : filling == 1 ? 0x7e : 0xff, sizeof(name));
            cr_assert(dctx_name_is_clean_(name, size));
            for (size_t at = 0; at < size; at++) {
                char kept = name[at];
                for (int c = 0; c < 256; c++) {
                    name[at] = (char)c;
                    cr_assert_eq(dctx_name_is_clean_(name, size), c >= 0x20 && c != 0x7f);
                }
                name[at] = kept;
            }
        }
    }
}

Test(name, shown_names_are_printable_and_short)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    char longer[200];
    cr_assert_str_eq(dctx_name_show_("tenant", 6, shown), "tenant");
    cr_assert_str_eq(dctx_name_show_("a\nb\0c\x7f\xc3", 7, shown), "a?b?c??");
    cr_assert_str_eq(dctx_name_show_(NULL, 0, shown), "");
    memset(longer, 'n', sizeof(longer));
    dctx_name_show_(longer, 48, shown);
    cr_assert_eq(strlen(shown), 48);
    dctx_name_show_(longer, 200, shown);
    cr_assert_eq(strlen(shown), 51);
    cr_assert_str_eq(shown + 48, "...");
}
