/*
 * The library's own keys, under the reserved prefix "dctx.". Every registry gets them when it is
 * frozen, so that those of all processes agree and no program has to ask for them.
 */
#ifndef DCTX_KNOWN_H
#define DCTX_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/registry.h>

enum dctx_known {
    DCTX_KNOWN_NONE = 0, /* a user's key */
    DCTX_KNOWN_BACKUP,
    DCTX_KNOWN_BAGGAGE,      /* members that no key claims, as text */
    DCTX_KNOWN_BAGGAGE_REST, /* those that do not fit a stamp; local */
    DCTX_KNOWN_CANCEL,       /* the scope; local */
    DCTX_KNOWN_CLIENT,
    DCTX_KNOWN_DEADLINE,
    DCTX_KNOWN_FINAGLE_HTTP, /* Finagle-Ctx- headers that nobody here knows, as pairs */
    DCTX_KNOWN_FINAGLE_MUX,  /* pairs that nobody here knows or can read */
    DCTX_KNOWN_RETRY,
    DCTX_KNOWN_TRACE,
    DCTX_KNOWN_TRACESTATE,
    DCTX_KNOWN_COUNT
};

/* A key that appears in baggage, and as what. */
typedef struct dctx_claim {
    const dctx_key_t *key;
    const char *name;
    size_t size;
} dctx_claim_t;

/* Whether a user may register this: DCTX_ERR_INVALID for the reserved prefix, and for a baggage
 * name that cannot be one. */
dctx_error_t dctx_known_check_(const dctx_key_options_t *options);

/* At the freeze: adds the library's keys; after it: gathers what is looked up through them.
 * DCTX_ERR_NOMEM. */
dctx_error_t dctx_known_add_(dctx_registry_t *registry);
dctx_error_t dctx_known_claims_(const dctx_registry_t *registry, dctx_claim_t **ret_claims,
                                uint32_t *ret_count);

/* The key in the registry of the thread's context; NULL while that is not frozen. */
const dctx_key_t *dctx_known_key_(enum dctx_known known);

/* As dctx_set() and dctx_unset(). */
dctx_error_t dctx_known_set_(enum dctx_known known, const void *value);
dctx_error_t dctx_known_unset_(enum dctx_known known);

#endif
