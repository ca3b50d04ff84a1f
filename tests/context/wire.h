/*
 * Wire forms made by hand: a plain growing buffer and msgpack items in whichever form one asks
 * for. Shares nothing with the library, so that it can be held against it.
 */
#ifndef DCTX_TESTS_WIRE_H
#define DCTX_TESTS_WIRE_H

#include <stddef.h>
#include <stdint.h>

typedef struct wire {
    uint8_t *data; /* always a block of its own, also when empty */
    size_t size;
    size_t capacity;
} wire_t;

void wire_init(wire_t *wire);
void wire_finish(wire_t *wire);
void wire_clear(wire_t *wire);

void wire_raw(wire_t *wire, const void *data, size_t size);
void wire_byte(wire_t *wire, unsigned byte);
void wire_big(wire_t *wire, uint64_t value, unsigned bytes); /* big-endian */

/* Heads. `width` is how many bytes the length takes, 0 for the form without; -1: the shortest. */
void wire_array(wire_t *wire, uint64_t count, int width);
void wire_map(wire_t *wire, uint64_t count, int width);
void wire_str_head(wire_t *wire, uint64_t size, int width);
void wire_bin_head(wire_t *wire, uint64_t size, int width);
void wire_uint(wire_t *wire, uint64_t value, int width);

/* Whole items, shortest form. */
void wire_int(wire_t *wire, int64_t value);
void wire_double(wire_t *wire, double value);
void wire_str(wire_t *wire, const void *data, size_t size);
void wire_cstr(wire_t *wire, const char *string);
void wire_bin(wire_t *wire, const void *data, size_t size);

/* [name, version, bin] */
void wire_entry(wire_t *wire, const char *name, uint64_t version, const void *body, size_t size);
/* ... with a body of one msgpack str, as a string value has. */
void wire_string_entry(wire_t *wire, const char *name, const char *value);

#endif
