/* A number where a string belongs. */
#include "common.h"

static dctx_error_t use(void)
{
    int64_t number = 1;
    (void)number;
#ifdef RIGHT
    return tenant_set("acme");
#else
    return tenant_set(&number); /* wrong */
#endif
}

int main(void)
{
    return use() == DCTX_OK ? 0 : 1;
}
