/* Another struct, even one that looks the same. */
#include "common.h"

static dctx_error_t use(void)
{
    order_t right = {1};
    invoice_t wrong = {1};
    (void)right;
    (void)wrong;
#ifdef RIGHT
    return order_set(&right);
#else
    return order_set(&wrong); /* wrong */
#endif
}

int main(void)
{
    return use() == DCTX_OK ? 0 : 1;
}
