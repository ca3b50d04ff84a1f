/* A string read as a pointer to one, which it is not. */
#include "common.h"

const char *use(const dctx_message_t *message);
const char *use(const dctx_message_t *message)
{
#ifdef RIGHT
    const char *name = dctx_message_string(message);
    return name;
#else
    const char *const *name = dctx_message_string(message); /* wrong */
    return *name;
#endif
}
