/* The trace: its type, and the hexadecimal that headers are written in. */
#ifndef DCTX_TRACE_H
#define DCTX_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/contexts.h>

extern const dctx_type_t dctx_trace_type_;

/* The calling thread's own source of ids, seeded by the system. */
const dctx_id_source_t *dctx_id_source_of_thread_(void);

/* At most this many bytes in a stamp, as a value. */
#define DCTX_TRACE_ENCODED_MAX 48

/* Reads 2 * bytes hexadecimal digits, big-endian, 16 at most.
 * False if one is none; `upper`: A to F count too. */
bool dctx_hex_read_(const char *text, size_t digits, bool upper, uint64_t *ret_value);

/* Writes that many lower-case digits, without a NUL; returns the place behind them. */
char *dctx_hex_write_(char *out, uint64_t value, size_t digits);

#endif
