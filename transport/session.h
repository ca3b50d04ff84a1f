/* The contexts that are set on receipt, from the inside. */
#ifndef DCTX_SESSION_INTERNAL_H
#define DCTX_SESSION_INTERNAL_H

#include <stdbool.h>

#include <dcontext/session.h>

/* Whether any registry has the keys. */
bool dctx_session_wanted_(void);

/* The snapshot with the two contexts, as far as its registry has their keys; NULL: not known, and
 * left out. DCTX_ERR_NOMEM. */
dctx_error_t dctx_session_set_(const dctx_snapshot_t *snapshot, const char *address,
                               const dctx_session_t *session, dctx_snapshot_t **ret_snapshot);

#endif
