/* Another struct, taken over. */
#include "common.h"

static dctx_error_t use(void)
{
    order_t right = {1};
    invoice_t wrong = {1};
    (void)right;
    (void)wrong;
#ifdef RIGHT
    return order_take(&right);
#else
    return order_take(&wrong); /* wrong */
#endif
}

int main(void)
{
    return use() == DCTX_OK ? 0 : 1;
}
