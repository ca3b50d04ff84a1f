#include "seen.h"

#include <string.h>

#include "keys.h"
#include "text.h"

dctx_error_t seen_here(seen_t *ret_seen)
{
    const char *request = request_id_get();
    const char *who = tenant_get();
    seen_t seen = {.express = express_get_or(false), .budget_ms = budget_ms_get_or(0)};
    if (request == NULL || who == NULL)
        return DCTX_ERR_ABSENT;
    if (!text_put(seen.request_id, sizeof seen.request_id, request, strlen(request)) ||
        !text_put(seen.tenant, sizeof seen.tenant, who, strlen(who)))
        return DCTX_ERR_MALFORMED;
    char chain[sizeof seen.chain];
    size_t length = dctx_chain_format(chain, sizeof chain);
    if (length >= sizeof chain)
        length = sizeof chain - 1;
    if (!text_put(seen.chain, sizeof seen.chain, chain, length))
        return DCTX_ERR_MALFORMED;
    *ret_seen = seen;
    return DCTX_OK;
}

bool seen_matches(const seen_t *seen)
{
    seen_t now;
    return seen_here(&now) == DCTX_OK && strcmp(now.request_id, seen->request_id) == 0 &&
           strcmp(now.tenant, seen->tenant) == 0 && strcmp(now.chain, seen->chain) == 0;
}
