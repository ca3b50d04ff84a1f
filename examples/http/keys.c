#include "keys.h"

static const dctx_metadata_t in_baggage = {&dctx_baggage_name, "tenant"};
static const dctx_key_t *tenant;

dctx_error_t keys_register(void)
{
    const dctx_key_options_t options = {
        .name = "tenant", .type = DCTX_TYPE_STRING, .metadata = &in_baggage, .metadata_count = 1};
    dctx_error_t error = dctx_registry_add(NULL, &options, &tenant);
    return error == DCTX_OK ? dctx_registry_freeze(NULL) : error;
}

const char *tenant_get(void)
{
    return dctx_get(tenant);
}

dctx_error_t tenant_set(const char *name)
{
    return dctx_set(tenant, name);
}
