/* A string told where a number belongs. */
#include "common.h"

dctx_error_t use(dctx_ref_t to);
dctx_error_t use(dctx_ref_t to)
{
#ifdef RIGHT
    return number_tell(to, 7);
#else
    return number_tell(to, "seven"); /* wrong */
#endif
}
