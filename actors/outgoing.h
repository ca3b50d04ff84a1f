/* A message for another node, on its way to the I/O actor. */
#ifndef DCTX_OUTGOING_H
#define DCTX_OUTGOING_H

#include "io.h"

/* Encodes a value for another node. DCTX_ERR_TYPE (no encode), DCTX_ERR_INVALID, DCTX_ERR_CODEC, DCTX_ERR_LIMIT,
 * DCTX_ERR_NOMEM. */
dctx_error_t dctx_outgoing_new_(dctx_system_t *system, dctx_link_kind_t kind,
                                const dctx_type_t *type, const void *value,
                                dctx_outgoing_t **ret_outgoing);

/* An answer without a value yet: an error, until dctx_outgoing_encode_() makes it a reply. */
dctx_error_t dctx_outgoing_answer_(const char *peer, uint64_t correlation,
                                   dctx_outgoing_t **ret_outgoing);
dctx_error_t dctx_outgoing_encode_(dctx_system_t *system, dctx_outgoing_t *outgoing,
                                   const dctx_type_t *type, const void *value);

/* Sets the reason of an error; without memory there is none. */
void dctx_outgoing_set_error_(dctx_outgoing_t *outgoing, dctx_error_t error, const char *reason);

/* How many bytes it takes on the wire. */
dctx_error_t dctx_outgoing_check_size_(dctx_system_t *system, const dctx_outgoing_t *outgoing);

#endif
