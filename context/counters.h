/* The process-wide counters behind dctx_context_counters_read(). */
#ifndef DCTX_COUNTERS_H
#define DCTX_COUNTERS_H

/* In the order of dctx_context_counters_t's fields. */
typedef enum dctx_counter {
    DCTX_COUNT_DECODED,
    DCTX_COUNT_DECODE_REFUSED,
    DCTX_COUNT_ENTRIES_UNDECODABLE,
    DCTX_COUNT_ENCODED,
    DCTX_COUNT_ENCODE_REFUSED,
    DCTX_COUNT_SCOPE_REFUSED,
    DCTX_COUNT_SCOPE_MISUSE,
    DCTX_COUNTERS
} dctx_counter_t;

void dctx_count_(dctx_counter_t counter);

#endif
