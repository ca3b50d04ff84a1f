/* The ZAP handler from the inside. */
#ifndef DCTX_SECURE_INTERNAL_H
#define DCTX_SECURE_INTERNAL_H

#include <dcontext/secure.h>

/* The certificate of a client, a copy that the caller destroys. DCTX_ERR_REJECTED: there is none,
 * or none any more. */
dctx_error_t dctx_curve_vouch_(dctx_curve_t *curve, const char *key, zcert_t **ret_cert);

/* The ZAP domain; lives as long as the handler. */
const char *dctx_curve_domain_(const dctx_curve_t *curve);

#endif
