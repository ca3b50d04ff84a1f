/* keys.h - what front, backend and client agree on. */
#ifndef EXAMPLES_HTTP_KEYS_H
#define EXAMPLES_HTTP_KEYS_H

#include <dcontext/dcontext.h>

/* Tells this program's registry about the keys, and freezes it. */
dctx_error_t keys_register(void);

/* The tenant, which appears in HTTP as a member of the baggage; NULL: none. */
const char *tenant_get(void);
dctx_error_t tenant_set(const char *name);

#endif
