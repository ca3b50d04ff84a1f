#include "messages.h"

#include <stdlib.h>
#include <string.h>

#include "catalogue.h"
#include "text.h"

enum { HOPS_MAX = ORDER_LINES_MAX + 2 }; /* the lines, pricing, and the order service itself */

const char *outcome_name(outcome_t outcome)
{
    static const char *const names[OUTCOMES] = {"accepted", "out of stock", "unknown sku",
                                                "refused by orders"};
    return outcome < OUTCOMES ? names[outcome] : "?";
}

/* ---- fields: the reader's first error sticks, so they are checked once, at the end ----------- */

static void read_text(dctx_reader_t *reader, char *field, size_t capacity)
{
    dctx_bytes_t text = dctx_read_str(reader);
    if (dctx_reader_error(reader) != DCTX_OK)
        return;
    if (!text_put(field, capacity, text.data, text.size))
        dctx_reader_fail(reader, DCTX_ERR_MALFORMED);
}

static void read_fields(dctx_reader_t *reader, uint32_t count)
{
    if (dctx_read_array(reader) != count)
        dctx_reader_fail(reader, DCTX_ERR_MALFORMED);
}

/* A count is believed only up to `most`: nothing is allocated for what a peer merely claims. */
static uint32_t read_count(dctx_reader_t *reader, uint32_t most)
{
    uint32_t count = dctx_read_array(reader);
    if (count > most)
        dctx_reader_fail(reader, DCTX_ERR_LIMIT);
    return dctx_reader_error(reader) == DCTX_OK ? count : 0;
}

static unsigned read_choice(dctx_reader_t *reader, unsigned choices)
{
    uint64_t choice = dctx_read_uint(reader);
    if (choice >= choices)
        dctx_reader_fail(reader, DCTX_ERR_MALFORMED);
    return choice < choices ? (unsigned)choice : 0;
}

static void write_seen(dctx_writer_t *writer, const seen_t *seen)
{
    dctx_write_array(writer, 5);
    dctx_write_cstr(writer, seen->chain);
    dctx_write_cstr(writer, seen->request_id);
    dctx_write_cstr(writer, seen->tenant);
    dctx_write_bool(writer, seen->express);
    dctx_write_int(writer, seen->budget_ms);
}

static void read_seen(dctx_reader_t *reader, seen_t *seen)
{
    read_fields(reader, 5);
    read_text(reader, seen->chain, sizeof seen->chain);
    read_text(reader, seen->request_id, sizeof seen->request_id);
    read_text(reader, seen->tenant, sizeof seen->tenant);
    seen->express = dctx_read_bool(reader);
    seen->budget_ms = dctx_read_int(reader);
}

static void write_line(dctx_writer_t *writer, const order_line_t *line)
{
    dctx_write_array(writer, 2);
    dctx_write_cstr(writer, line->sku);
    dctx_write_int(writer, line->quantity);
}

static void read_line(dctx_reader_t *reader, order_line_t *line)
{
    read_fields(reader, 2);
    read_text(reader, line->sku, sizeof line->sku);
    line->quantity = dctx_read_int(reader);
}

/* ---- order ----------------------------------------------------------------------------------- */

const char *order_fault(const order_t *order)
{
    if (order->line_count == 0)
        return "it has no lines";
    if (order->line_count > ORDER_LINES_MAX)
        return "it has more than 50 lines";
    if (catalogue_rate(order->currency) == 0)
        return "the shop takes EUR, GBP and USD only";
    for (size_t i = 0; i < order->line_count; i++)
        if (order->lines[i].quantity < 1 || order->lines[i].quantity > ORDER_QUANTITY_MAX)
            return "a quantity is not between 1 and 1000";
    return NULL;
}

dctx_error_t order_copy(order_t *dst, const order_t *src)
{
    order_t copy = *src;
    copy.lines = calloc(src->line_count + 1, sizeof *copy.lines);
    if (copy.lines == NULL)
        return DCTX_ERR_NOMEM;
    if (src->line_count > 0)
        memcpy(copy.lines, src->lines, src->line_count * sizeof *copy.lines);
    *dst = copy;
    return DCTX_OK;
}

void order_finish(order_t *order)
{
    free(order->lines);
    *order = (order_t){0};
}

static dctx_error_t copy_order(void *dst, const void *src)
{
    return order_copy(dst, src);
}

static void destroy_order(void *value)
{
    order_finish(value);
}

static dctx_error_t encode_order(const void *value, dctx_writer_t *writer)
{
    const order_t *order = value;
    dctx_write_array(writer, 4);
    dctx_write_cstr(writer, order->id);
    dctx_write_cstr(writer, order->customer);
    dctx_write_cstr(writer, order->currency);
    dctx_write_array(writer, (uint32_t)order->line_count);
    for (size_t i = 0; i < order->line_count; i++)
        write_line(writer, &order->lines[i]);
    return dctx_writer_error(writer);
}

static dctx_error_t decode_order(void *dst, const void *data, size_t size)
{
    order_t order = {0};
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    read_fields(&reader, 4);
    read_text(&reader, order.id, sizeof order.id);
    read_text(&reader, order.customer, sizeof order.customer);
    read_text(&reader, order.currency, sizeof order.currency);
    order.line_count = read_count(&reader, ORDER_LINES_MAX);
    order.lines = calloc(order.line_count + 1, sizeof *order.lines);
    if (order.lines == NULL)
        return DCTX_ERR_NOMEM;
    for (size_t i = 0; i < order.line_count; i++)
        read_line(&reader, &order.lines[i]);
    dctx_error_t error = dctx_reader_end(&reader);
    if (error != DCTX_OK) {
        order_finish(&order);
        return error;
    }
    *(order_t *)dst = order;
    return DCTX_OK;
}

const dctx_type_t order_type = {
    .name = "shop.order",
    .size = sizeof(order_t),
    .copy = copy_order,
    .destroy = destroy_order,
    .encode = encode_order,
    .decode = decode_order,
};

/* ---- line, stock, price: flat structs, copied as they are ------------------------------------ */

static dctx_error_t encode_line(const void *value, dctx_writer_t *writer)
{
    write_line(writer, value);
    return dctx_writer_error(writer);
}

static dctx_error_t decode_line(void *dst, const void *data, size_t size)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    read_line(&reader, dst);
    return dctx_reader_end(&reader);
}

const dctx_type_t line_type = {
    .name = "shop.line",
    .size = sizeof(order_line_t),
    .encode = encode_line,
    .decode = decode_line,
};

static dctx_error_t encode_stock(const void *value, dctx_writer_t *writer)
{
    const stock_t *stock = value;
    dctx_write_array(writer, 3);
    write_seen(writer, &stock->seen);
    dctx_write_uint(writer, stock->verdict);
    dctx_write_int(writer, stock->on_hand);
    return dctx_writer_error(writer);
}

static dctx_error_t decode_stock(void *dst, const void *data, size_t size)
{
    stock_t *stock = dst;
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    read_fields(&reader, 3);
    read_seen(&reader, &stock->seen);
    stock->verdict = (verdict_t)read_choice(&reader, NOT_LISTED + 1);
    stock->on_hand = dctx_read_int(&reader);
    return dctx_reader_end(&reader);
}

const dctx_type_t stock_type = {
    .name = "shop.stock",
    .size = sizeof(stock_t),
    .encode = encode_stock,
    .decode = decode_stock,
};

static dctx_error_t encode_price(const void *value, dctx_writer_t *writer)
{
    const price_t *price = value;
    dctx_write_array(writer, 2);
    write_seen(writer, &price->seen);
    dctx_write_int(writer, price->cents);
    return dctx_writer_error(writer);
}

static dctx_error_t decode_price(void *dst, const void *data, size_t size)
{
    price_t *price = dst;
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    read_fields(&reader, 2);
    read_seen(&reader, &price->seen);
    price->cents = dctx_read_int(&reader);
    return dctx_reader_end(&reader);
}

const dctx_type_t price_type = {
    .name = "shop.price",
    .size = sizeof(price_t),
    .encode = encode_price,
    .decode = decode_price,
};

/* ---- answer ---------------------------------------------------------------------------------- */

dctx_error_t answer_copy(answer_t *dst, const answer_t *src)
{
    answer_t copy = *src;
    copy.hops = calloc(src->hop_count + 1, sizeof *copy.hops);
    if (copy.hops == NULL)
        return DCTX_ERR_NOMEM;
    if (src->hop_count > 0)
        memcpy(copy.hops, src->hops, src->hop_count * sizeof *copy.hops);
    *dst = copy;
    return DCTX_OK;
}

void answer_finish(answer_t *answer)
{
    free(answer->hops);
    *answer = (answer_t){0};
}

static dctx_error_t copy_answer(void *dst, const void *src)
{
    return answer_copy(dst, src);
}

static void destroy_answer(void *value)
{
    answer_finish(value);
}

static dctx_error_t encode_answer(const void *value, dctx_writer_t *writer)
{
    const answer_t *answer = value;
    dctx_write_array(writer, 5);
    dctx_write_uint(writer, answer->outcome);
    dctx_write_int(writer, answer->cents);
    dctx_write_cstr(writer, answer->reason);
    dctx_write_int(writer, answer->wrong_returns);
    dctx_write_array(writer, (uint32_t)answer->hop_count);
    for (size_t i = 0; i < answer->hop_count; i++) {
        const hop_t *hop = &answer->hops[i];
        dctx_write_array(writer, 3);
        write_seen(writer, &hop->seen);
        dctx_write_int(writer, hop->round_trip_ns);
        dctx_write_cstr(writer, hop->what);
    }
    return dctx_writer_error(writer);
}

static dctx_error_t decode_answer(void *dst, const void *data, size_t size)
{
    answer_t answer = {0};
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    read_fields(&reader, 5);
    answer.outcome = (outcome_t)read_choice(&reader, OUTCOMES);
    answer.cents = dctx_read_int(&reader);
    read_text(&reader, answer.reason, sizeof answer.reason);
    answer.wrong_returns = dctx_read_int(&reader);
    answer.hop_count = read_count(&reader, HOPS_MAX);
    answer.hops = calloc(answer.hop_count + 1, sizeof *answer.hops);
    if (answer.hops == NULL)
        return DCTX_ERR_NOMEM;
    for (size_t i = 0; i < answer.hop_count; i++) {
        hop_t *hop = &answer.hops[i];
        read_fields(&reader, 3);
        read_seen(&reader, &hop->seen);
        hop->round_trip_ns = dctx_read_int(&reader);
        read_text(&reader, hop->what, sizeof hop->what);
    }
    dctx_error_t error = dctx_reader_end(&reader);
    if (error != DCTX_OK) {
        answer_finish(&answer);
        return error;
    }
    *(answer_t *)dst = answer;
    return DCTX_OK;
}

const dctx_type_t answer_type = {
    .name = "shop.answer",
    .size = sizeof(answer_t),
    .copy = copy_answer,
    .destroy = destroy_answer,
    .encode = encode_answer,
    .decode = decode_answer,
};
