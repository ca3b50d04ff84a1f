/* A value that several messages hold: copied once, changed by nobody,
 * destroyed with the last of them. */
#ifndef DCTX_SHARE_H
#define DCTX_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include <dcontext/type.h>

typedef struct dctx_share {
    /* One for each message and one for who made it, all taken when it is made. Released with
     * acq_rel, so that who destroys the value sees what the others did with it. */
    _Atomic(size_t) refs;
    const dctx_type_t *type;
    max_align_t value[];
} dctx_share_t;

/* Whether a value of this type is better shared than copied. */
bool dctx_share_suits_(const dctx_type_t *type);

/* Copies a value for `refs` holders. DCTX_ERR_NOMEM, or what the copy says. */
dctx_error_t dctx_share_new_(const dctx_type_t *type, const void *value, size_t refs,
                             dctx_share_t **ret_share);

/* Gives references back. */
void dctx_share_unref_(dctx_share_t *share, size_t refs);

/* The share that a message's value is in. */
static inline dctx_share_t *dctx_share_of_(void *value)
{
    return (dctx_share_t *)(void *)((unsigned char *)value - offsetof(dctx_share_t, value));
}

#endif
