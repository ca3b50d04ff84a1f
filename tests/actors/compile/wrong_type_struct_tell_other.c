/* An invoice told where an order belongs. */
#include "common.h"

dctx_error_t use(dctx_ref_t to, const order_t *order, const invoice_t *invoice);
dctx_error_t use(dctx_ref_t to, const order_t *order, const invoice_t *invoice)
{
#ifdef RIGHT
    return invoice != NULL ? order_tell(to, order) : DCTX_OK;
#else
    return order != NULL ? order_tell(to, invoice) : DCTX_OK; /* wrong */
#endif
}
