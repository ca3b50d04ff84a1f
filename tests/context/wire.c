#include "wire.h"

#include <stdlib.h>
#include <string.h>

void wire_init(wire_t *wire)
{
    *wire = (wire_t){malloc(1), 0, 1};
    if (wire->data == NULL)
        abort();
}

void wire_finish(wire_t *wire)
{
    free(wire->data);
    *wire = (wire_t){NULL, 0, 0};
}

void wire_clear(wire_t *wire)
{
    wire->size = 0;
}

void wire_raw(wire_t *wire, const void *data, size_t size)
{
    if (wire->size + size > wire->capacity) {
        wire->capacity = (wire->size + size) * 2;
        wire->data = realloc(wire->data, wire->capacity);
        if (wire->data == NULL)
            abort();
    }
    if (size > 0)
        memcpy(wire->data + wire->size, data, size);
    wire->size += size;
}

void wire_byte(wire_t *wire, unsigned byte)
{
    uint8_t one = (uint8_t)byte;
    wire_raw(wire, &one, 1);
}

void wire_big(wire_t *wire, uint64_t value, unsigned bytes)
{
    while (bytes-- > 0)
        wire_byte(wire, (unsigned)(value >> (8 * bytes)) & 0xff);
}

static int shortest(uint64_t value, uint64_t fix, int narrowest)
{
    if (value <= fix)
        return 0;
    if (value <= UINT8_MAX && narrowest <= 1)
        return 1;
    if (value <= UINT16_MAX)
        return 2;
    return value <= UINT32_MAX ? 4 : 8;
}

static void head(wire_t *wire, unsigned tag, uint64_t value, int width)
{
    wire_byte(wire, tag);
    wire_big(wire, value, (unsigned)width);
}

void wire_array(wire_t *wire, uint64_t count, int width)
{
    if (width < 0)
        width = shortest(count, 15, 2);
    if (width == 0)
        wire_byte(wire, 0x90 | (unsigned)count);
    else
        head(wire, width == 2 ? 0xdc : 0xdd, count, width);
}

void wire_map(wire_t *wire, uint64_t count, int width)
{
    if (width < 0)
        width = shortest(count, 15, 2);
    if (width == 0)
        wire_byte(wire, 0x80 | (unsigned)count);
    else
        head(wire, width == 2 ? 0xde : 0xdf, count, width);
}

void wire_str_head(wire_t *wire, uint64_t size, int width)
{
    if (width < 0)
        width = shortest(size, 31, 1);
    if (width == 0)
        wire_byte(wire, 0xa0 | (unsigned)size);
    else
        head(wire, width == 1 ? 0xd9 : width == 2 ? 0xda : 0xdb, size, width);
}

void wire_bin_head(wire_t *wire, uint64_t size, int width)
{
    if (width <= 0)
        width = size <= UINT8_MAX ? 1 : shortest(size, 0, 1);
    head(wire, width == 1 ? 0xc4 : width == 2 ? 0xc5 : 0xc6, size, width);
}

void wire_uint(wire_t *wire, uint64_t value, int width)
{
    if (width < 0)
        width = shortest(value, 127, 1);
    if (width == 0)
        wire_byte(wire, (unsigned)value);
    else
        head(wire, width == 1 ? 0xcc : width == 2 ? 0xcd : width == 4 ? 0xce : 0xcf, value, width);
}

void wire_int(wire_t *wire, int64_t value)
{
    uint64_t bits = (uint64_t)value;
    if (value >= 0)
        wire_uint(wire, bits, -1);
    else if (value >= -32)
        wire_byte(wire, (unsigned)bits & 0xff);
    else if (value >= INT8_MIN)
        head(wire, 0xd0, bits, 1);
    else if (value >= INT16_MIN)
        head(wire, 0xd1, bits, 2);
    else if (value >= INT32_MIN)
        head(wire, 0xd2, bits, 4);
    else
        head(wire, 0xd3, bits, 8);
}

void wire_double(wire_t *wire, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    head(wire, 0xcb, bits, 8);
}

void wire_str(wire_t *wire, const void *data, size_t size)
{
    wire_str_head(wire, size, -1);
    wire_raw(wire, data, size);
}

void wire_cstr(wire_t *wire, const char *string)
{
    wire_str(wire, string, strlen(string));
}

void wire_bin(wire_t *wire, const void *data, size_t size)
{
    wire_bin_head(wire, size, -1);
    wire_raw(wire, data, size);
}

void wire_entry(wire_t *wire, const char *name, uint64_t version, const void *body, size_t size)
{
    wire_array(wire, 3, -1);
    wire_cstr(wire, name);
    wire_uint(wire, version, -1);
    wire_bin(wire, body, size);
}

void wire_string_entry(wire_t *wire, const char *name, const char *value)
{
    wire_t body;
    wire_init(&body);
    wire_cstr(&body, value);
    wire_entry(wire, name, 1, body.data, body.size);
    wire_finish(&body);
}
