#include "intake.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Where the reason goes. The parsers below return false when they wrote one. */
typedef struct why {
    char *text;
    size_t size;
} why_t;

static bool because(why_t *why, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool because(why_t *why, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    text_cut(why->text, why->size, text);
    return false;
}

static bool parse_text(const json_t *object, const char *name, char *field, size_t capacity,
                       why_t *why)
{
    const json_t *value = json_object_get(object, name);
    if (value == NULL)
        return because(why, "no field \"%s\"", name);
    if (!json_is_string(value))
        return because(why, "\"%s\" is not a string", name);
    size_t size = json_string_length(value);
    if (size == 0)
        return because(why, "\"%s\" is empty", name);
    if (size >= capacity)
        return because(why, "\"%s\" is longer than %zu bytes", name, capacity - 1);
    if (!text_put(field, capacity, json_string_value(value), size))
        return because(why, "\"%s\" has control characters", name);
    return true;
}

static bool parse_line(const json_t *object, order_line_t *line, why_t *why)
{
    if (!json_is_object(object))
        return because(why, "an element of \"lines\" is not an object");
    if (!parse_text(object, "sku", line->sku, sizeof line->sku, why))
        return false;
    const json_t *quantity = json_object_get(object, "quantity");
    if (quantity == NULL)
        return because(why, "no field \"quantity\" in a line");
    if (!json_is_integer(quantity))
        return because(why, "\"quantity\" is not an integer");
    line->quantity = json_integer_value(quantity);
    return true;
}

static bool parse_lines(const json_t *object, order_t *order, why_t *why)
{
    const json_t *lines = json_object_get(object, "lines");
    if (lines == NULL)
        return because(why, "no field \"lines\"");
    if (!json_is_array(lines))
        return because(why, "\"lines\" is not an array");
    size_t count = json_array_size(lines);
    if (count > ORDER_LINES_MAX)
        return because(why, "%zu lines, at most %d are taken", count, ORDER_LINES_MAX);
    order->lines = calloc(count + 1, sizeof *order->lines);
    if (order->lines == NULL)
        return because(why, "out of memory");
    order->line_count = count;
    for (size_t i = 0; i < count; i++)
        if (!parse_line(json_array_get(lines, i), &order->lines[i], why))
            return false;
    return true;
}

static bool parse_express(const json_t *object, bool *ret_express, why_t *why)
{
    const json_t *flag = json_object_get(object, "express");
    if (flag != NULL && !json_is_boolean(flag))
        return because(why, "\"express\" is not true or false");
    *ret_express = json_is_true(flag);
    return true;
}

bool intake_parse(const char *text, size_t size, intake_t *ret_intake, char *why_text,
                  size_t why_size)
{
    why_t why = {why_text, why_size};
    json_error_t fault;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &fault);
    if (object == NULL)
        /* Without jansson's excerpt of the line, which may hold anything. */
        return because(&why, "not JSON, at byte %d", fault.position);
    intake_t intake = {0};
    order_t *order = &intake.order;
    bool good = (json_is_object(object) || because(&why, "not a JSON object")) &&
                parse_text(object, "id", order->id, sizeof order->id, &why) &&
                parse_text(object, "tenant", intake.tenant, sizeof intake.tenant, &why) &&
                parse_text(object, "customer", order->customer, sizeof order->customer, &why) &&
                parse_text(object, "currency", order->currency, sizeof order->currency, &why) &&
                parse_lines(object, order, &why) && parse_express(object, &intake.express, &why);
    json_decref(object);
    if (!good) {
        intake_finish(&intake);
        return false;
    }
    *ret_intake = intake;
    return true;
}

void intake_finish(intake_t *intake)
{
    order_finish(&intake->order);
}
