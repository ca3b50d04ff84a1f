/* An update callback for another type. */
#include "common.h"

#ifdef RIGHT
static dctx_error_t more(int64_t *value, bool present, void *arg)
#else
static dctx_error_t more(double *value, bool present, void *arg)
#endif
{
    (void)present;
    (void)arg;
    ++*value;
    return DCTX_OK;
}

int main(void)
{
    return budget_update(more, NULL) == DCTX_OK ? 0 : 1; /* wrong */
}
