#include "share.h"

#include <stdbool.h>

#include <dcontext/internal.h>
#include <dcontext/sockets.h>

#include "message.h"

bool dctx_share_suits_(const dctx_type_t *type)
{
    /* What czmq reads has a cursor in it that reading moves: one reader each. */
    if (type == NULL || type == DCTX_TYPE_ZMSG)
        return false;
    return type->copy != NULL || type->size == 0 || type->size > DCTX_MESSAGE_INLINE;
}

dctx_error_t dctx_share_new_(const dctx_type_t *type, const void *value, size_t refs,
                             dctx_share_t **ret_share)
{
    if (value == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a message of type \"%s\" needs a value", type->name);
    size_t size = dctx_type_stored_size_(type, value);
    dctx_share_t *share = dctx_alloc_(sizeof *share + size);
    if (share == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a message of type \"%s\", %zu bytes",
                          type->name, size);
    dctx_error_t error = dctx_type_store_(type, share->value, size, value);
    if (error != DCTX_OK) {
        dctx_release_(share);
        return error;
    }
    atomic_init(&share->refs, refs);
    share->type = type;
    *ret_share = share;
    return DCTX_OK;
}

void dctx_share_unref_(dctx_share_t *share, size_t refs)
{
    if (refs == 0 || atomic_fetch_sub_explicit(&share->refs, refs, memory_order_acq_rel) != refs)
        return;
    dctx_type_destroy_(share->type, share->value);
    dctx_release_(share);
}
