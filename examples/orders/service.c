#include "service.h"

static dctx_error_t start(const char *node, const service_options_t *wanted, service_t *ret_service)
{
    *ret_service = (service_t){0};
    const dctx_system_options_t options = {.name = node, .dead_after_ms = wanted->dead_after_ms};
    return dctx_system_new(&options, &ret_service->system);
}

dctx_error_t inventory_start(const service_options_t *options, service_t *ret_service)
{
    service_t service;
    dctx_error_t error = start(WAREHOUSE_NODE, options, &service);
    if (error == DCTX_OK)
        error = inventory_spawn(service.system);
    /* Bound last: who can reach the node finds its actors there. */
    if (error == DCTX_OK)
        error = dctx_system_bind(service.system, options->bind, &service.endpoint);
    if (error != DCTX_OK) {
        service_stop(&service, 0);
        return error;
    }
    *ret_service = service;
    return DCTX_OK;
}

dctx_error_t orders_start(const service_options_t *options, service_t *ret_service)
{
    service_t service;
    dctx_ref_t inventory = DCTX_REF_NONE;
    dctx_ref_t pricing = DCTX_REF_NONE;
    dctx_error_t error = start(SHOP_NODE, options, &service);
    if (error == DCTX_OK)
        error = dctx_system_connect(service.system, WAREHOUSE_NODE, options->inventory);
    if (error == DCTX_OK)
        error = dctx_system_find(service.system, "inventory@" WAREHOUSE_NODE, &inventory);
    if (error == DCTX_OK)
        error = pricing_spawn(service.system, &pricing);
    if (error == DCTX_OK)
        error = orders_spawn(service.system, inventory, pricing);
    if (error == DCTX_OK)
        error = dctx_system_bind(service.system, options->bind, &service.endpoint);
    if (error != DCTX_OK) {
        service_stop(&service, 0);
        return error;
    }
    *ret_service = service;
    return DCTX_OK;
}

void service_stop(service_t *service, int64_t timeout_ms)
{
    if (service->system != NULL)
        dctx_system_stop(service->system, timeout_ms, NULL);
    dctx_system_destroy(&service->system);
    dctx_free(service->endpoint);
    service->endpoint = NULL;
}
