#include "keys.h"

DCTX_DEFINE_KEY(request_id, "request-id", DCTX_TYPE_STRING, DCTX_BROADCAST);
DCTX_DEFINE_KEY(tenant, "tenant", DCTX_TYPE_STRING, DCTX_BROADCAST);
DCTX_DEFINE_KEY(express, "feature.express", DCTX_TYPE_BOOL, DCTX_BROADCAST);
DCTX_DEFINE_KEY(budget_ms, "budget-ms", DCTX_TYPE_INT64, DCTX_BROADCAST);

dctx_error_t keys_freeze(void)
{
    dctx_error_t error = DCTX_REGISTER_KEYS(NULL, &request_id, &tenant, &express, &budget_ms);
    if (error != DCTX_OK)
        return error;
    return dctx_registry_freeze(NULL);
}
