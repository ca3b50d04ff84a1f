/* A string read as a number. */
#include "common.h"

static dctx_error_t use(void)
{
#ifdef RIGHT
    const char *value = tenant_get();
    return value != NULL ? DCTX_OK : DCTX_ERR_ABSENT;
#else
    const int64_t *value = tenant_get(); /* wrong */
    return value != NULL ? DCTX_OK : DCTX_ERR_ABSENT;
#endif
}

int main(void)
{
    return use() == DCTX_OK ? 0 : 1;
}
