#include "known.h"

#include <string.h>

#include <dcontext/carrier.h>
#include <dcontext/contexts.h>

#include "alloc.h"
#include "baggage.h"
#include "cancel.h"
#include "deadline.h"
#include "fail.h"
#include "fold.h"
#include "name.h"
#include "registry.h"
#include "trace.h"
#include "type.h"

#define PREFIX      "dctx."
#define PREFIX_SIZE (sizeof(PREFIX) - 1)

const char dctx_baggage_name = 0;

static const dctx_key_options_t known_keys[DCTX_KNOWN_COUNT] = {
    [DCTX_KNOWN_BACKUP] = {.name = DCTX_NAME_BACKUP, .type = DCTX_TYPE_BOOL},
    [DCTX_KNOWN_BAGGAGE] = {.name = PREFIX "baggage", .type = DCTX_TYPE_STRING},
    [DCTX_KNOWN_BAGGAGE_REST] = {.name = PREFIX "baggage-rest",
                                 .type = DCTX_TYPE_STRING,
                                 .flags = DCTX_LOCAL},
    [DCTX_KNOWN_CANCEL] = {.name = DCTX_NAME_CANCEL,
                           .type = &dctx_cancel_type_,
                           .flags = DCTX_LOCAL},
    [DCTX_KNOWN_CLIENT] = {.name = DCTX_NAME_CLIENT, .type = DCTX_TYPE_STRING},
    [DCTX_KNOWN_DEADLINE] = {.name = DCTX_NAME_DEADLINE, .type = &dctx_deadline_type_},
    [DCTX_KNOWN_FINAGLE_HTTP] = {.name = PREFIX "finagle-http", .type = DCTX_TYPE_BYTES},
    [DCTX_KNOWN_FINAGLE_MUX] = {.name = PREFIX "finagle-mux", .type = DCTX_TYPE_BYTES},
    [DCTX_KNOWN_RETRY] = {.name = DCTX_NAME_RETRY, .type = DCTX_TYPE_UINT64},
    [DCTX_KNOWN_TRACE] = {.name = DCTX_NAME_TRACE, .type = &dctx_trace_type_},
    [DCTX_KNOWN_TRACESTATE] = {.name = DCTX_NAME_TRACESTATE, .type = DCTX_TYPE_STRING},
};

dctx_error_t dctx_known_add_(dctx_registry_t *registry)
{
    for (int known = DCTX_KNOWN_NONE + 1; known < DCTX_KNOWN_COUNT; known++) {
        dctx_error_t error =
            dctx_registry_add_known_(registry, &known_keys[known], (enum dctx_known)known);
        if (error != DCTX_OK)
            return error;
    }
    return DCTX_OK;
}

static dctx_error_t check_baggage_name(const dctx_key_options_t *options, const char *name)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    const char *key = dctx_name_show_(options->name, strlen(options->name), shown);
    if (name == NULL || !dctx_baggage_is_token_(name, strlen(name)))
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': its baggage name is not a token", key);
    if (!dctx_baggage_has_text_(options->type))
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': its type has no text for baggage", key);
    if ((options->flags & DCTX_LOCAL) != 0 || options->reach == DCTX_REACH_LOCAL)
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s' is local, and baggage leaves the process",
                          key);
    return DCTX_OK;
}

dctx_error_t dctx_known_check_(const dctx_key_options_t *options)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    size_t size = strlen(options->name);
    if (size >= PREFIX_SIZE && dctx_fold_equal_(options->name, PREFIX, PREFIX_SIZE))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "key '%s': names that begin with '%s' are the library's",
                          dctx_name_show_(options->name, size, shown), PREFIX);
    for (size_t i = 0; i < options->metadata_count; i++) {
        if (options->metadata[i].tag != &dctx_baggage_name)
            continue;
        dctx_error_t error = check_baggage_name(options, options->metadata[i].data);
        if (error != DCTX_OK)
            return error;
    }
    return DCTX_OK;
}

dctx_error_t dctx_known_claims_(const dctx_registry_t *registry, dctx_claim_t **ret_claims,
                                uint32_t *ret_count)
{
    size_t count = dctx_registry_keys_with(registry, &dctx_baggage_name, NULL, 0);
    *ret_claims = NULL;
    *ret_count = (uint32_t)count;
    if (count == 0)
        return DCTX_OK;
    const dctx_key_t **keys = dctx_alloc_(count * sizeof(*keys));
    dctx_claim_t *claims = dctx_alloc_(count * sizeof(*claims));
    if (keys == NULL || claims == NULL) {
        dctx_release_(keys);
        dctx_release_(claims);
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %zu baggage names", count);
    }
    dctx_registry_keys_with(registry, &dctx_baggage_name, keys, count);
    for (size_t i = 0; i < count; i++) {
        const char *name = dctx_key_metadata(keys[i], &dctx_baggage_name);
        claims[i] = (dctx_claim_t){keys[i], name, strlen(name)};
    }
    dctx_release_(keys);
    *ret_claims = claims;
    return DCTX_OK;
}
