/*
 * What other nodes have asked of this one and has not been answered: so that a cancel from there,
 * or the loss of the node, finds the scope of the work. The I/O actor's own, as all that comes and
 * goes does so by its hands.
 */
#ifndef DCTX_INFLIGHT_H
#define DCTX_INFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/cancel.h>

typedef struct dctx_flight {
    struct dctx_flight *next; /* in its bucket */
    uint64_t correlation;
    dctx_cancel_t *work; /* with a reference */
    char peer[64];
} dctx_flight_t;

typedef struct dctx_inflight {
    dctx_flight_t **buckets; /* NULL as long as there was none */
    size_t capacity;         /* a power of two */
    size_t count;
} dctx_inflight_t;

void dctx_inflight_finish(dctx_inflight_t *inflight);

/* Makes a scope for an ask, with a reference for the caller; NULL without memory. */
dctx_cancel_t *dctx_inflight_add(dctx_inflight_t *inflight, const char *peer, uint64_t correlation);

/* The scope of an ask; borrowed until it is removed. NULL: there is no such ask. */
dctx_cancel_t *dctx_inflight_find(dctx_inflight_t *inflight, const char *peer,
                                  uint64_t correlation);

/* It is answered. False: it is not there. */
bool dctx_inflight_remove(dctx_inflight_t *inflight, const char *peer, uint64_t correlation);

/* Takes out all of a peer, linked by `next`: cancel and dctx_flight_free() each. */
dctx_flight_t *dctx_inflight_take_peer(dctx_inflight_t *inflight, const char *peer);
void dctx_flight_free(dctx_flight_t *flight);

#endif
