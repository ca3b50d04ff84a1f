#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "messages.h"

typedef union value {
    order_t order;
    order_line_t line;
    stock_t stock;
    price_t price;
    answer_t answer;
} value_t;

#define SEEN                                                                                       \
    {                                                                                              \
        "api-gateway > remote:orders", "req-000001", "acme", true, 1800                            \
    }
static order_line_t lines[] = {{"BULB-E27", 4}, {"MUG-ENAMEL", -1}};
static hop_t hops[] = {{SEEN, 1234567, "A-1"}, {SEEN, 7, "BULB-E27 x 4: in stock"}};

typedef struct sample {
    const dctx_type_t *type;
    value_t value;
} sample_t;

static const sample_t samples[] = {
    {&order_type, {.order = {"A-1", "Zoë", "EUR", lines, 2}}},
    {&order_type, {.order = {"A-2", "", "", NULL, 0}}},
    {&line_type, {.line = {"BULB-E27", INT64_MAX}}},
    {&stock_type, {.stock = {SEEN, NOT_LISTED, 17}}},
    {&price_type, {.price = {SEEN, 12990}}},
    {&answer_type, {.answer = {OUT_OF_STOCK, 12990, "too few", 0, hops, 2}}},
};
enum { SAMPLES = sizeof samples / sizeof *samples };

static dctx_writer_t *encoded(const dctx_type_t *type, const void *value)
{
    dctx_writer_t *writer = NULL;
    cr_assert_eq(dctx_writer_new(65536, &writer), DCTX_OK);
    cr_assert_eq(type->encode(value, writer), DCTX_OK);
    return writer;
}

static void destroy(const dctx_type_t *type, void *value)
{
    if (type->destroy != NULL)
        type->destroy(value);
}

static void expect_same_bytes(const dctx_type_t *type, const void *value, dctx_bytes_t bytes)
{
    dctx_writer_t *again = encoded(type, value);
    dctx_bytes_t other = dctx_writer_bytes(again);
    cr_assert_eq(other.size, bytes.size);
    cr_assert_eq(memcmp(other.data, bytes.data, bytes.size), 0);
    dctx_writer_destroy(&again);
}

Test(messages, come_back_as_they_went)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        const dctx_type_t *type = samples[i].type;
        dctx_writer_t *writer = encoded(type, &samples[i].value);
        dctx_bytes_t bytes = dctx_writer_bytes(writer);
        value_t back, copy;
        cr_assert_eq(type->decode(&back, bytes.data, bytes.size), DCTX_OK);
        expect_same_bytes(type, &back, bytes);
        if (type->copy != NULL) {
            cr_assert_eq(type->copy(&copy, &back), DCTX_OK);
            destroy(type, &back);
            expect_same_bytes(type, &copy, bytes);
            destroy(type, &copy);
        }
        dctx_writer_destroy(&writer);
    }
}

Test(messages, refuse_what_is_cut_or_has_more)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        const dctx_type_t *type = samples[i].type;
        dctx_writer_t *writer = encoded(type, &samples[i].value);
        dctx_bytes_t bytes = dctx_writer_bytes(writer);
        for (size_t size = 0; size <= bytes.size + 1; size++) {
            /* Of exactly this size, so that a sanitizer sees a byte read too much. */
            char *cut = calloc(1, size + (size == 0));
            memcpy(cut, bytes.data, size < bytes.size ? size : bytes.size);
            value_t back;
            dctx_error_t error = type->decode(&back, cut, size);
            cr_assert_eq(error == DCTX_OK, size == bytes.size, "%s, %zu of %zu bytes", type->name,
                         size, bytes.size);
            if (error == DCTX_OK)
                destroy(type, &back);
            free(cut);
        }
        dctx_writer_destroy(&writer);
    }
}

/* Each byte changed to each of some values: read or refused, but never beyond the bytes, and nothing leaks. */
Test(messages, survive_any_changed_byte)
{
    static const unsigned char changes[] = {0x00, 0x01, 0x7f, 0x80, 0x90, 0x9f, 0xa0,
                                            0xc0, 0xc1, 0xc4, 0xc6, 0xcf, 0xd3, 0xd9,
                                            0xdb, 0xdc, 0xdd, 0xdf, 0xff};
    for (size_t i = 0; i < SAMPLES; i++) {
        const dctx_type_t *type = samples[i].type;
        dctx_writer_t *writer = encoded(type, &samples[i].value);
        dctx_bytes_t bytes = dctx_writer_bytes(writer);
        unsigned char *changed = malloc(bytes.size);
        for (size_t at = 0; at < bytes.size; at++) {
            for (size_t c = 0; c < sizeof changes; c++) {
                value_t back;
                memcpy(changed, bytes.data, bytes.size);
                changed[at] = changes[c];
                if (type->decode(&back, changed, bytes.size) == DCTX_OK)
                    destroy(type, &back);
            }
        }
        free(changed);
        dctx_writer_destroy(&writer);
    }
}

Test(messages, believe_no_claimed_count_and_no_unclean_text)
{
    value_t back;
    /* An order of 4 fields whose lines are said to be 2^32 - 1, and one of 51. */
    static const unsigned char claimed[] = {0x94, 0xa1, 'A',  0xa0, 0xa0,
                                            0xdd, 0xff, 0xff, 0xff, 0xff};
    cr_assert_neq(order_type.decode(&back, claimed, sizeof claimed), DCTX_OK);
    static const unsigned char many[8 + ORDER_LINES_MAX + 1] = {
        0x94, 0xa1, 'A', 0xa0, 0xa0, 0xdc, 0, ORDER_LINES_MAX + 1};
    cr_assert_eq(order_type.decode(&back, many, sizeof many), DCTX_ERR_LIMIT);
    static const unsigned char escape[] = {0x92, 0xa2, 0x1b, 'c', 1};
    cr_assert_eq(line_type.decode(&back, escape, sizeof escape), DCTX_ERR_MALFORMED);
    static const unsigned char not_utf8[] = {0x92, 0xa2, 0xc0, 0x80, 1};
    cr_assert_eq(line_type.decode(&back, not_utf8, sizeof not_utf8), DCTX_ERR_MALFORMED);
}

Test(messages, name_what_is_wrong_with_an_order)
{
    order_line_t good = {"BULB-E27", 1}, none = {"BULB-E27", 0},
                 most = {"X", ORDER_QUANTITY_MAX + 1};
    cr_assert_null(order_fault(&(order_t){"A", "B", "EUR", &good, 1}));
    cr_assert_not_null(order_fault(&(order_t){"A", "B", "EUR", &good, 0}));
    cr_assert_not_null(order_fault(&(order_t){"A", "B", "DKK", &good, 1}));
    cr_assert_not_null(order_fault(&(order_t){"A", "B", "EUR", &none, 1}));
    cr_assert_not_null(order_fault(&(order_t){"A", "B", "EUR", &most, 1}));
    cr_assert_not_null(order_fault(&(order_t){"A", "B", "EUR", lines, ORDER_LINES_MAX + 1}));
}
