/* The contexts that are no more than a value; and how all of them find their key. */
#include <dcontext/contexts.h>

#include "fail.h"
#include "known.h"
#include "registry.h"
#include "thread.h"

/* ---- keys ---- */

const dctx_key_t *dctx_known_key_(enum dctx_known known)
{
    const dctx_registry_t *registry = dctx_current_registry();
    return registry != NULL && dctx_registry_frozen_(registry) ? registry->known[known] : NULL;
}

static dctx_error_t no_key(void)
{
    return dctx_fail_(DCTX_ERR_NOT_FROZEN, "freeze the registry before setting contexts");
}

dctx_error_t dctx_known_set_(enum dctx_known known, const void *value)
{
    const dctx_key_t *key = dctx_known_key_(known);
    return key != NULL ? dctx_set(key, value) : no_key();
}

dctx_error_t dctx_known_unset_(enum dctx_known known)
{
    const dctx_key_t *key = dctx_known_key_(known);
    if (key == NULL)
        return no_key();
    return dctx_get(key) != NULL ? dctx_unset(key) : DCTX_OK;
}

/* ---- client ---- */

const char *dctx_client_get(void)
{
    const char *name = dctx_get(dctx_known_key_(DCTX_KNOWN_CLIENT));
    return name != NULL && name[0] != '\0' ? name : NULL;
}

dctx_error_t dctx_client_set(const char *name)
{
    return name != NULL && name[0] != '\0' ? dctx_known_set_(DCTX_KNOWN_CLIENT, name)
                                           : dctx_known_unset_(DCTX_KNOWN_CLIENT);
}

/* ---- retry and backup ---- */

uint32_t dctx_retry_get(void)
{
    const uint64_t *attempt = dctx_get(dctx_known_key_(DCTX_KNOWN_RETRY));
    if (attempt == NULL)
        return 0;
    return *attempt <= UINT32_MAX ? (uint32_t)*attempt : UINT32_MAX;
}

dctx_error_t dctx_retry_set(uint32_t attempt)
{
    return attempt != 0 ? dctx_known_set_(DCTX_KNOWN_RETRY, &(uint64_t){attempt})
                        : dctx_known_unset_(DCTX_KNOWN_RETRY);
}

bool dctx_backup_get(void)
{
    const bool *backup = dctx_get(dctx_known_key_(DCTX_KNOWN_BACKUP));
    return backup != NULL && *backup;
}

dctx_error_t dctx_backup_set(bool backup)
{
    return backup ? dctx_known_set_(DCTX_KNOWN_BACKUP, &backup)
                  : dctx_known_unset_(DCTX_KNOWN_BACKUP);
}
