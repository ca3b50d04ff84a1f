/* An extraction at work, what the carriers count, and the library's own propagators. */
#ifndef DCTX_EXTRACTION_H
#define DCTX_EXTRACTION_H

#include <dcontext/carrier.h>
#include <dcontext/contexts.h>

#include "known.h"

struct dctx_extraction {
    dctx_registry_t *registry;
    dctx_carrier_report_t report;
    size_t room;        /* bytes of a stamp that may still be filled */
    size_t entries;     /* that may still be added */
    dctx_error_t error; /* DCTX_ERR_NOMEM sticks */
};

/* As dctx_extraction_set(), for a value whose encoding is known to take at most `encoded` bytes.
 * True if it is set. */
bool dctx_extraction_put_(dctx_extraction_t *extraction, const dctx_key_t *key, const void *value,
                          size_t encoded);
void dctx_extraction_over_limit_(dctx_extraction_t *extraction);

/* What an encoding may take for dctx_extraction_put_() to have room for it. */
size_t dctx_extraction_room_(const dctx_extraction_t *extraction, const dctx_key_t *key);

typedef enum dctx_carrier_counter {
    DCTX_CARRIER_MALFORMED,
    DCTX_CARRIER_OVER_LIMIT,
    DCTX_CARRIER_IMPLAUSIBLE,
    DCTX_CARRIER_COUNTERS
} dctx_carrier_counter_t;

void dctx_carrier_count_(dctx_carrier_counter_t counter, uint64_t by);

extern const dctx_propagator_t dctx_propagator_b3_;
extern const dctx_propagator_t dctx_propagator_b3multi_;
extern const dctx_propagator_t dctx_propagator_baggage_;
extern const dctx_propagator_t dctx_propagator_finagle_http_;
extern const dctx_propagator_t dctx_propagator_finagle_mux_;
extern const dctx_propagator_t dctx_propagator_tracecontext_;

/* Sets an extracted trace. What another format told of the same span,
 * and this one cannot tell, stays. */
void dctx_extraction_trace_(dctx_extraction_t *extraction, const dctx_trace_t *trace);

/* ---- header text ---- */

static inline dctx_bytes_t dctx_trim_(dctx_bytes_t value)
{
    const char *at = value.data;
    size_t size = value.size;
    while (size > 0 && (*at == ' ' || *at == '\t')) {
        at++;
        size--;
    }
    while (size > 0 && (at[size - 1] == ' ' || at[size - 1] == '\t'))
        size--;
    return (dctx_bytes_t){at, size};
}

/* The one header of a name. `count` says how many there were; *value is the last, trimmed. */
typedef struct dctx_single {
    dctx_bytes_t value;
    unsigned count;
} dctx_single_t;

bool dctx_single_visit_(dctx_bytes_t name, dctx_bytes_t value, void *single);

static inline dctx_single_t dctx_single_(const dctx_carrier_t *carrier, const char *name)
{
    dctx_single_t single = {{NULL, 0}, 0};
    carrier->each(carrier->headers, name, dctx_single_visit_, &single);
    return single;
}

/* Decimal digits and nothing else. */
bool dctx_decimal_read_(const char *text, size_t size, uint64_t *ret_value);

/* Writes at most DCTX_DECIMAL_MAX digits, without a NUL; returns the place behind them. */
#define DCTX_DECIMAL_MAX 20
char *dctx_decimal_write_(char *out, uint64_t value);

/* As dctx_extract(), with one propagator; *ret_report is required. */
dctx_error_t dctx_extract_with_(const dctx_propagator_t *propagator, dctx_registry_t *registry,
                                const dctx_carrier_t *carrier, dctx_snapshot_t **ret_snapshot,
                                dctx_carrier_report_t *ret_report);

#endif
