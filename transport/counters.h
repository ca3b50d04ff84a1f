/* The process-wide counters behind dctx_transport_counters_read(). */
#ifndef DCTX_TRANSPORT_COUNTERS_H
#define DCTX_TRANSPORT_COUNTERS_H

/* In the order of dctx_transport_counters_t's fields. */
typedef enum dctx_transport_counter {
    DCTX_TRANSPORT_STAMPED,
    DCTX_TRANSPORT_UNSTAMPED,
    DCTX_TRANSPORT_RECEIVED_STAMPED,
    DCTX_TRANSPORT_RECEIVED_UNSTAMPED,
    DCTX_TRANSPORT_STAMPS_REFUSED,
    DCTX_TRANSPORT_COUNTERS
} dctx_transport_counter_t;

void dctx_transport_count_(dctx_transport_counter_t counter);

#endif
