/* An order read as an invoice. */
#include "common.h"

int use(const dctx_message_t *message);
int use(const dctx_message_t *message)
{
#ifdef RIGHT
    const order_t *order = order_get(message);
    return order->count;
#else
    const invoice_t *invoice = order_get(message); /* wrong */
    return invoice->total;
#endif
}
