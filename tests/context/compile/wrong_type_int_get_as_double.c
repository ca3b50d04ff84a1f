/* A whole number read as a double. */
#include "common.h"

static dctx_error_t use(void)
{
#ifdef RIGHT
    const int64_t *value = budget_get();
    return value != NULL ? DCTX_OK : DCTX_ERR_ABSENT;
#else
    const double *value = budget_get(); /* wrong */
    return value != NULL ? DCTX_OK : DCTX_ERR_ABSENT;
#endif
}

int main(void)
{
    return use() == DCTX_OK ? 0 : 1;
}
