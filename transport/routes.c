#include "routes.h"

#include <string.h>
#include <sys/random.h>

#include <dcontext/internal.h>

#include "lookup.h"
#include "secure.h"

#define KEY_TEXT 40
/* Past it all are forgotten, and remembered again as they say something. */
#define ROUTES_MAX 4096

typedef struct route {
    dctx_lookup_entry_t entry;
    struct route *next;
    char key[KEY_TEXT + 1];
    uint8_t id[];
} route_t;

struct dctx_routes {
    dctx_policy_t *policy;
    dctx_lookup_t by_id;
    route_t *all;
};

dctx_error_t dctx_routes_new_(dctx_policy_t *policy, dctx_routes_t **ret_routes)
{
    uint64_t seed = 0;
    dctx_routes_t *routes = dctx_calloc_(1, sizeof(*routes));
    if (routes == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a port");
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
        seed = (uintptr_t)routes;
    dctx_error_t error = dctx_lookup_init_(&routes->by_id, seed);
    if (error != DCTX_OK) {
        dctx_release_(routes);
        return error;
    }
    routes->policy = policy;
    *ret_routes = routes;
    return DCTX_OK;
}

static void forget_all(dctx_routes_t *routes)
{
    while (routes->all != NULL) {
        route_t *route = routes->all;
        routes->all = route->next;
        dctx_lookup_remove_(&routes->by_id, &route->entry);
        dctx_release_(route);
    }
}

void dctx_routes_destroy_(dctx_routes_t **routes_p)
{
    dctx_routes_t *routes = *routes_p;
    if (routes == NULL)
        return;
    forget_all(routes);
    dctx_lookup_finish_(&routes->by_id);
    dctx_release_(routes);
    *routes_p = NULL;
}

static route_t *find(const dctx_routes_t *routes, const void *id, size_t size)
{
    dctx_lookup_entry_t *entry = dctx_lookup_find_(&routes->by_id, id, size);
    return entry != NULL ? (route_t *)((char *)entry - offsetof(route_t, entry)) : NULL;
}

void dctx_routes_note_(dctx_routes_t *routes, const void *id, size_t size, const char *key)
{
    if (size == 0 || strlen(key) > KEY_TEXT)
        return;
    route_t *route = find(routes, id, size);
    if (route == NULL) {
        if (routes->by_id.count >= ROUTES_MAX)
            forget_all(routes);
        route = dctx_calloc_(1, sizeof(*route) + size);
        if (route == NULL)
            return;
        memcpy(route->id, id, size);
        route->next = routes->all;
        routes->all = route;
        dctx_lookup_insert_(&routes->by_id, &route->entry, route->id, size);
    }
    strcpy(route->key, key);
}

dctx_error_t dctx_routes_check_(const dctx_routes_t *routes, const void *id, size_t size)
{
    const route_t *route = find(routes, id, size);
    zcert_t *cert = NULL;
    if (route == NULL)
        return DCTX_OK;
    dctx_error_t error = dctx_curve_vouch_(routes->policy->curve, route->key, &cert);
    zcert_destroy(&cert);
    if (error != DCTX_OK)
        dctx_policy_count_(routes->policy, DCTX_POLICY_REVOKED, 1);
    return error;
}
