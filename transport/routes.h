/* The keys of the peers of a ROUTER under CURVE, by routing id, as their messages told: so that
 * what is sent to one whose key was taken out of the directory does not leave. Bounded; of one
 * thread, the socket's. */
#ifndef DCTX_ROUTES_H
#define DCTX_ROUTES_H

#include <stddef.h>

#include "policy.h"

typedef struct dctx_routes dctx_routes_t;

/* DCTX_ERR_NOMEM. The policy has a dctx_curve_t, and outlives it. */
dctx_error_t dctx_routes_new_(dctx_policy_t *policy, dctx_routes_t **ret_routes);
void dctx_routes_destroy_(dctx_routes_t **routes_p);

/* A message came from a peer whose key the handler knows. Without memory it is not remembered. */
void dctx_routes_note_(dctx_routes_t *routes, const void *id, size_t size, const char *key);

/* DCTX_ERR_REJECTED: the key is known no more. Of a peer that never said anything nothing is known.
 */
dctx_error_t dctx_routes_check_(const dctx_routes_t *routes, const void *id, size_t size);

#endif
