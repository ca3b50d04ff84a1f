/*
 * service.h - the services of the shop, each a system of actors of its own.
 *
 * The programs `orders` and `inventory` run one each; `gateway --embedded` runs both beside itself.
 * The code is the same, and so is the way: each is a node, reached by name.
 */
#ifndef ORDERS_SERVICE_H
#define ORDERS_SERVICE_H

#include <dcontext/actors.h>

/* Node names: what the others dial. */
#define SHOP_NODE      "shop"
#define WAREHOUSE_NODE "warehouse"

typedef struct service {
    dctx_system_t *system;
    char *endpoint; /* what to dial */
} service_t;

typedef struct service_options {
    const char *bind;      /* where to listen */
    const char *inventory; /* where the warehouse listens; for orders only */
    int64_t
        dead_after_ms; /* another node is gone when it was silent for so long; 0: as the library has it */
} service_options_t;

/* On an error nothing runs, and dctx_error_detail() says why. */
dctx_error_t inventory_start(const service_options_t *options, service_t *ret_service);
dctx_error_t orders_start(const service_options_t *options, service_t *ret_service);

/* Stop within `timeout_ms` and free. A zeroed service is fine. */
void service_stop(service_t *service, int64_t timeout_ms);

/* ---- what the services are made of ---- */

dctx_error_t inventory_spawn(dctx_system_t *system);
dctx_error_t pricing_spawn(dctx_system_t *system, dctx_ref_t *ret_ref);
dctx_error_t orders_spawn(dctx_system_t *system, dctx_ref_t inventory, dctx_ref_t pricing);

#endif
