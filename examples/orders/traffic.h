/*
 * traffic.h - the requests under way.
 *
 * The gateway's main thread asks and takes what is done; the answers arrive on the system's worker
 * threads. In between stand a list under a lock and a descriptor to poll.
 */
#ifndef ORDERS_TRAFFIC_H
#define ORDERS_TRAFFIC_H

#include <pthread.h>

#include <dcontext/actors.h>

#include "request.h"

typedef struct traffic {
    dctx_ref_t orders;
    int64_t timeout_ms;
    int wake_fd; /* an eventfd: readable when something is done; others may write to it too */
    uint64_t asked;
    size_t in_flight;
    size_t most_in_flight;
    pthread_mutex_t lock; /* for the list of requests that are done */
    request_t *first, **last;
} traffic_t;

/* wake_fd stays the caller's. */
void traffic_init(traffic_t *traffic, dctx_ref_t orders, int64_t timeout_ms, int wake_fd);
void traffic_finish(traffic_t *traffic);

/* Ask for an order, in a scope and with a context of its own. Takes over *intake. False only when
 * out of memory; whatever else goes wrong comes out of traffic_take(). */
bool traffic_ask(traffic_t *traffic, intake_t *intake, uint64_t line);

/* The next request that is done, the caller's to destroy; NULL if there is none now. */
request_t *traffic_take(traffic_t *traffic);

#endif
