#include <criterion/criterion.h>

#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/runtime.h>

#include "writer.h"

static dctx_writer_t *writer;

static void begin(void)
{
    if (dctx_writer_new(0, &writer) != DCTX_OK)
        abort();
}

static void end(void)
{
    dctx_writer_destroy(&writer);
    cr_assert_null(writer);
    dctx_writer_destroy(&writer);
    dctx_writer_destroy(NULL);
}

/* What was written must be one item for msgpack-c, to the last byte. */
static msgpack_object unpack(msgpack_unpacked *unpacked)
{
    size_t offset = 0;
    dctx_bytes_t bytes = dctx_writer_bytes(writer);
    cr_assert_eq(dctx_writer_error(writer), DCTX_OK);
    cr_assert_eq(msgpack_unpack_next(unpacked, bytes.data, bytes.size, &offset),
                 MSGPACK_UNPACK_SUCCESS);
    cr_assert_eq(offset, bytes.size);
    return unpacked->data;
}

static void again(void)
{
    dctx_writer_reset_(writer);
}

Test(writer, integers_in_their_shortest_form, .init = begin, .fini = end)
{
    static const struct {
        int64_t value;
        size_t size;
    } cases[] = {
        {0, 1},      {127, 1},    {128, 2},        {255, 2},         {256, 3},
        {65535, 3},  {65536, 5},  {UINT32_MAX, 5}, {4294967296, 9},  {INT64_MAX, 9},
        {-1, 1},     {-32, 1},    {-33, 2},        {-128, 2},        {-129, 3},
        {-32768, 3}, {-32769, 5}, {INT32_MIN, 5},  {-2147483649, 9}, {INT64_MIN, 9},
    };
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        again();
        dctx_write_int(writer, cases[i].value);
        cr_assert_eq(dctx_writer_bytes(writer).size, cases[i].size);
        msgpack_object object = unpack(&unpacked);
        if (cases[i].value < 0) {
            cr_assert_eq(object.type, MSGPACK_OBJECT_NEGATIVE_INTEGER);
            cr_assert_eq(object.via.i64, cases[i].value);
            continue;
        }
        cr_assert_eq(object.type, MSGPACK_OBJECT_POSITIVE_INTEGER);
        cr_assert_eq(object.via.u64, (uint64_t)cases[i].value);
        again();
        dctx_write_uint(writer, (uint64_t)cases[i].value);
        cr_assert_eq(dctx_writer_bytes(writer).size, cases[i].size);
        cr_assert_eq(unpack(&unpacked).via.u64, (uint64_t)cases[i].value);
    }
    again();
    dctx_write_uint(writer, UINT64_MAX);
    cr_assert_eq(unpack(&unpacked).via.u64, UINT64_MAX);
    msgpack_unpacked_destroy(&unpacked);
}

Test(writer, nil_booleans_and_doubles, .init = begin, .fini = end)
{
    static const double values[] = {0.0, -0.0, 0.1, -1e308, 5e-324, INFINITY, -INFINITY};
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    dctx_write_nil(writer);
    cr_assert_eq(unpack(&unpacked).type, MSGPACK_OBJECT_NIL);
    again();
    dctx_write_bool(writer, true);
    cr_assert(unpack(&unpacked).via.boolean);
    again();
    dctx_write_bool(writer, false);
    cr_assert_eq(unpack(&unpacked).type, MSGPACK_OBJECT_BOOLEAN);
    cr_assert(!unpacked.data.via.boolean);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        again();
        dctx_write_double(writer, values[i]);
        double back = unpack(&unpacked).via.f64;
        cr_assert_eq(memcmp(&back, &values[i], sizeof(back)), 0);
    }
    again();
    dctx_write_double(writer, NAN);
    cr_assert(isnan(unpack(&unpacked).via.f64));
    msgpack_unpacked_destroy(&unpacked);
}

Test(writer, strings_and_binary_at_every_head_size)
{
    static const size_t sizes[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 100000};
    static const size_t str_heads[] = {1, 1, 1, 2, 2, 3, 3, 5, 5};
    static const size_t bin_heads[] = {2, 2, 2, 2, 2, 3, 3, 5, 5};
    char *text = malloc(100000);
    memset(text, 't', 100000);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        cr_assert_eq(dctx_writer_new(200000, &writer), DCTX_OK);
        dctx_write_str(writer, text, sizes[i]);
        cr_assert_eq(dctx_writer_bytes(writer).size, sizes[i] + str_heads[i]);
        msgpack_object object = unpack(&unpacked);
        cr_assert_eq(object.type, MSGPACK_OBJECT_STR);
        cr_assert_eq(object.via.str.size, sizes[i]);
        again();
        dctx_write_bin(writer, text, sizes[i]);
        cr_assert_eq(dctx_writer_bytes(writer).size, sizes[i] + bin_heads[i]);
        object = unpack(&unpacked);
        cr_assert_eq(object.type, MSGPACK_OBJECT_BIN);
        cr_assert_eq(object.via.bin.size, sizes[i]);
        cr_assert_eq(memcmp(object.via.bin.ptr, text, sizes[i]), 0);
        dctx_writer_destroy(&writer);
    }
    msgpack_unpacked_destroy(&unpacked);
    free(text);
}

Test(writer, cstr_and_empty_runs, .init = begin, .fini = end)
{
    dctx_write_array(writer, 5);
    dctx_write_cstr(writer, NULL);
    dctx_write_cstr(writer, "abc");
    dctx_write_bin(writer, NULL, 0);
    dctx_write_str(writer, NULL, 0);
    dctx_write_map(writer, 1);
    dctx_write_cstr(writer, "k");
    dctx_write_int(writer, -5);
    cr_assert_arr_eq(dctx_writer_bytes(writer).data,
                     "\x95\xc0\xa3"
                     "abc\xc4\x00\xa0\x81\xa1k\xfb",
                     13);
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    cr_assert_eq(unpack(&unpacked).via.array.size, 5);
    msgpack_unpacked_destroy(&unpacked);
}

Test(writer, array_and_map_heads, .init = begin, .fini = end)
{
    static const uint32_t counts[] = {0, 15, 16, 65535, 65536, UINT32_MAX};
    static const size_t sizes[] = {1, 1, 3, 3, 5, 5};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        again();
        dctx_write_array(writer, counts[i]);
        cr_assert_eq(dctx_writer_bytes(writer).size, sizes[i]);
        again();
        dctx_write_map(writer, counts[i]);
        cr_assert_eq(dctx_writer_bytes(writer).size, sizes[i]);
    }
}

Test(writer, it_grows_to_its_limit_and_no_further)
{
    char bytes[100];
    memset(bytes, 'b', sizeof(bytes));
    cr_assert_eq(dctx_writer_new(1000, &writer), DCTX_OK);
    for (int i = 0; i < 10; i++)
        dctx_writer_put(writer, bytes, 100);
    cr_assert_eq(dctx_writer_error(writer), DCTX_OK);
    cr_assert_eq(dctx_writer_bytes(writer).size, 1000);
    dctx_write_nil(writer);
    cr_assert_eq(dctx_writer_error(writer), DCTX_ERR_LIMIT);
    cr_assert_str_eq(dctx_error_detail(), "1 bytes after 1000 would pass the limit of 1000 bytes");
    cr_assert_eq(dctx_writer_bytes(writer).size, 1000);
    dctx_writer_fail(writer, DCTX_ERR_CODEC); /* the first error stays */
    cr_assert_eq(dctx_writer_error(writer), DCTX_ERR_LIMIT);
    dctx_writer_destroy(&writer);
}

Test(writer, a_limit_of_zero_stands_for_4096, .init = begin, .fini = end)
{
    char bytes[4096];
    memset(bytes, 0, sizeof(bytes));
    dctx_writer_put(writer, bytes, 4096);
    cr_assert_eq(dctx_writer_error(writer), DCTX_OK);
    dctx_writer_put(writer, bytes, 1);
    cr_assert_eq(dctx_writer_error(writer), DCTX_ERR_LIMIT);
}

Test(writer, hostile_sizes_are_refused_before_anything_is_read, .init = begin, .fini = end)
{
    volatile size_t sizes[] = {SIZE_MAX, SIZE_MAX - 4, (size_t)UINT32_MAX + 1, UINT32_MAX, 4097};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        again();
        dctx_write_nil(writer);
        dctx_write_str(writer, "x", sizes[i]);
        cr_assert_eq(dctx_writer_error(writer), DCTX_ERR_LIMIT);
        again();
        dctx_write_bin(writer, "x", sizes[i]);
        cr_assert_eq(dctx_writer_error(writer), DCTX_ERR_LIMIT);
        again();
        dctx_writer_put(writer, "x", sizes[i]);
        cr_assert_eq(dctx_writer_error(writer), DCTX_ERR_LIMIT);
        cr_assert_eq(dctx_writer_bytes(writer).size, 0);
    }
    dctx_writer_t *wide;
    cr_assert_eq(dctx_writer_new(SIZE_MAX, &wide), DCTX_OK);
    dctx_write_str(wide, "x", sizes[2]);
    cr_assert_eq(dctx_writer_error(wide), DCTX_ERR_LIMIT);
    dctx_writer_destroy(&wide);
}

Test(writer, bytes_at_null_are_refused, .init = begin, .fini = end)
{
    dctx_writer_put(writer, NULL, 0);
    cr_assert_eq(dctx_writer_error(writer), DCTX_OK);
    dctx_writer_put(writer, NULL, 1);
    cr_assert_eq(dctx_writer_error(writer), DCTX_ERR_INVALID);
}

Test(writer, it_is_a_sink_for_msgpack_c, .init = begin, .fini = end)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, writer, dctx_writer_msgpack);
    cr_assert_eq(msgpack_pack_array(&packer, 2), 0);
    cr_assert_eq(msgpack_pack_int(&packer, 7), 0);
    cr_assert_eq(msgpack_pack_str_with_body(&packer, "hi", 2), 0);
    cr_assert_arr_eq(dctx_writer_bytes(writer).data, "\x92\x07\xa2hi", 5);
    dctx_writer_fail(writer, DCTX_ERR_REJECTED);
    cr_assert_eq(msgpack_pack_nil(&packer), -1);
    cr_assert_eq(dctx_writer_error(writer), DCTX_ERR_REJECTED);
    cr_assert_eq(dctx_writer_bytes(writer).size, 5);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static int allocations;
static int fail_from;

static void *limited_allocate(size_t size)
{
    return ++allocations >= fail_from ? NULL : malloc(size);
}

static void limited_release(void *block)
{
    free(block);
}

static void limit_allocations(int from)
{
    static const dctx_allocator_t limited = {limited_allocate, limited_release};
    allocations = 0;
    fail_from = from;
    dctx_set_allocator(&limited);
}

static void unlimited(void)
{
    dctx_set_allocator(NULL);
}

Test(writer, on_the_stack_nothing_is_allocated, .fini = unlimited)
{
    uint8_t buffer[32];
    dctx_writer_t stack;
    limit_allocations(1);
    dctx_writer_init_(&stack, buffer, sizeof(buffer), 100);
    for (int i = 0; i < 32; i++)
        dctx_write_int(&stack, i);
    cr_assert_eq(dctx_writer_error(&stack), DCTX_OK);
    cr_assert_eq(allocations, 0);
    cr_assert_eq(dctx_writer_bytes(&stack).data, buffer);
    dctx_write_nil(&stack);
    cr_assert_eq(dctx_writer_error(&stack), DCTX_ERR_NOMEM);
    cr_assert_eq(stack.size, 32);
    dctx_writer_finish_(&stack);
}

Test(writer, from_the_stack_it_moves_to_the_heap)
{
    uint8_t buffer[8];
    dctx_writer_t stack;
    dctx_writer_init_(&stack, buffer, sizeof(buffer), 1000);
    for (int i = 0; i < 1000; i++)
        dctx_write_int(&stack, i % 100);
    cr_assert_eq(dctx_writer_error(&stack), DCTX_OK);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(stack.data[i], i % 100);
    cr_assert_null(dctx_writer_reserve_(&stack, 1));
    cr_assert_eq(dctx_writer_error(&stack), DCTX_ERR_LIMIT);
    dctx_writer_finish_(&stack);
}

Test(writer, a_buffer_larger_than_the_limit_does_not_lift_it)
{
    uint8_t buffer[64];
    dctx_writer_t stack;
    dctx_writer_init_(&stack, buffer, sizeof(buffer), 4);
    cr_assert_not_null(dctx_writer_reserve_(&stack, 4));
    cr_assert_null(dctx_writer_reserve_(&stack, 1));
    dctx_writer_finish_(&stack);
}

Test(writer, every_allocation_may_fail, .fini = unlimited)
{
    int failures = 0;
    for (int from = 1;; from++) {
        limit_allocations(from);
        dctx_writer_t *w = NULL;
        dctx_error_t error = dctx_writer_new(4096, &w);
        if (error == DCTX_OK) {
            for (int i = 0; i < 500; i++)
                dctx_write_int(w, 1000);
            error = dctx_writer_error(w);
            cr_assert_leq(dctx_writer_bytes(w).size, 1500);
        }
        dctx_writer_destroy(&w);
        if (error == DCTX_OK)
            break;
        cr_assert_eq(error, DCTX_ERR_NOMEM);
        failures++;
    }
    cr_assert_gt(failures, 3);
}
