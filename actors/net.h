/*
 * The network of a test world: connections between its systems, in memory, by the world's clock and
 * chance.
 *
 * A connection has two ends, the dialler's and the listener's. All that comes to an end, messages
 * and the news that it is up or down, comes in one queue, each with the time at which it arrives,
 * which never goes back: that is the order that a link promises. What arrives is handed over in the
 * round of the receiver's I/O actor. A connection that breaks loses what is on its way both ways;
 * what was not on its way yet, because the peer was away, is held.
 */
#ifndef DCTX_NET_H
#define DCTX_NET_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/testing.h>

#include "wire.h"

typedef struct dctx_port dctx_port_t;
typedef struct dctx_cable dctx_cable_t;

typedef struct dctx_net {
    dctx_test_world_t *world;
    dctx_test_net_t manners;
    dctx_port_t *ports;
    dctx_cable_t *cables;
    struct dctx_cut *cuts;
    unsigned endpoints; /* made up so far */
    dctx_test_net_counters_t counters;
} dctx_net_t;

void dctx_net_init(dctx_net_t *net, dctx_test_world_t *world);
void dctx_net_finish(dctx_net_t *net); /* once there are no systems left */

/* A system's port. DCTX_ERR_NOMEM, and DCTX_ERR_INVALID for CURVE and policies. */
dctx_error_t dctx_net_wire_(dctx_net_t *net, dctx_system_t *system,
                            const dctx_link_options_t *options, dctx_wire_t **ret_wire);

/* Parts two nodes, and lets them meet again. Names as valid names are. DCTX_ERR_NOMEM. */
dctx_error_t dctx_net_cut_(dctx_net_t *net, const char *one, const char *other);
void dctx_net_heal_(dctx_net_t *net, const char *one, const char *other);

/* When a wire of such a kind has something to do next; INT64_MAX: it has not. */
int64_t dctx_net_due_(const dctx_wire_t *wire);

#endif
