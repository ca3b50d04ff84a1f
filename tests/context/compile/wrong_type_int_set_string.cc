/* A string where a number belongs. */
#include "common.h"

static dctx_error_t use(void)
{
#ifdef RIGHT
    return budget_set(7);
#else
    return budget_set("seven"); /* wrong */
#endif
}

int main(void)
{
    return use() == DCTX_OK ? 0 : 1;
}
