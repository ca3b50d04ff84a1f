/* A message for another node, on its way to the I/O actor. */
#ifndef DCTX_OUTGOING_H
#define DCTX_OUTGOING_H

#include "io.h"

/* Encodes a value for another node. DCTX_ERR_TYPE (no encode), DCTX_ERR_INVALID, DCTX_ERR_CODEC,
 * DCTX_ERR_LIMIT, DCTX_ERR_NOMEM. */
dctx_error_t dctx_outgoing_new_(dctx_system_t *system, dctx_link_kind_t kind,
                                const dctx_type_t *type, const void *value,
                                dctx_outgoing_t **ret_outgoing);

/* An answer without a value yet: an error, until dctx_outgoing_encode_() makes it a reply. */
dctx_error_t dctx_outgoing_answer_(const char *peer, uint64_t correlation,
                                   dctx_outgoing_t **ret_outgoing);
dctx_error_t dctx_outgoing_encode_(dctx_system_t *system, dctx_outgoing_t *outgoing,
                                   const dctx_type_t *type, const void *value);

/* A message of what came from another node, as it is; the parcel is its own on success. It has
 * nothing decoded in it: to destroy that is user code. */
dctx_error_t dctx_outgoing_relay_(dctx_link_kind_t kind, dctx_parcel_t *parcel,
                                  dctx_outgoing_t **ret_outgoing);

/* Gives a message the content of a parcel, and takes it back. */
void dctx_outgoing_set_parcel_(dctx_outgoing_t *outgoing, dctx_parcel_t *parcel);
dctx_parcel_t *dctx_outgoing_take_parcel_(dctx_outgoing_t *outgoing);
/* Tells a node that nobody waits for the answer to an ask any more. NULL without memory. */
dctx_outgoing_t *dctx_outgoing_cancel_(const char *peer, uint64_t correlation, dctx_error_t why,
                                       const char *reason, const char *chain);

/* Sets the reason of an error; without memory there is none. */
void dctx_outgoing_set_error_(dctx_outgoing_t *outgoing, dctx_error_t error, const char *reason);

/* How many bytes it takes on the wire. */
dctx_error_t dctx_outgoing_check_size_(dctx_system_t *system, const dctx_outgoing_t *outgoing);

#endif
