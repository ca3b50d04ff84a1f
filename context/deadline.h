/*
 * The deadline on the wire. Its bytes go stale, as they say what remains; so it is the one value
 * whose encoding is not kept with it, that is decoded when it arrives and not when it is first
 * read, and that is written anew when it is sent on.
 */
#ifndef DCTX_DEADLINE_H
#define DCTX_DEADLINE_H

#include <dcontext/contexts.h>

#include "registry.h"
#include "value.h"

extern const dctx_type_t dctx_deadline_type_;

/* What the encoding takes, always: see docs/wire.md. */
#define DCTX_DEADLINE_ENCODED 55

/* How long a wire form with a deadline in it may be sent. Well below the age at which a receiver
 * takes it for that of a host with another idea of the time. */
#define DCTX_DEADLINE_FRESH (INT64_C(20) * 1000000000)

/* Past this age a message is not believed to have been under way, but to come from a wrong
 * clock. */
#define DCTX_DEADLINE_AGE_MAX (INT64_C(60) * 1000000000)

/* Writes the encoding, as of now by the clock; returns DCTX_DEADLINE_ENCODED. */
size_t dctx_deadline_encode_(const dctx_deadline_t *deadline, const dctx_clocks_t *clock,
                             uint8_t *out);

/* The whole entry: its size, and writing it as of now; and when that is too old to be sent. */
static inline size_t dctx_deadline_entry_size_(const dctx_key_t *key)
{
    return key->prefix_size + (size_t)2 + DCTX_DEADLINE_ENCODED;
}
uint8_t *dctx_deadline_entry_put_(uint8_t *out, const dctx_value_t *value);
int64_t dctx_deadline_stale_at_(const dctx_deadline_t *deadline, const dctx_clocks_t *clock);

/* What an encoding means here, as of now by the clock. False: it is malformed. */
bool dctx_deadline_decode_(const void *data, size_t size, const dctx_clocks_t *clock,
                           dctx_deadline_t *ret_deadline);

/* As Finagle has it, two wall times, which may be another host's. */
void dctx_deadline_from_wall_(int64_t timestamp, int64_t deadline, const dctx_clocks_t *clock,
                              dctx_deadline_t *ret_deadline);

/* Puts a value that was decoded now into the slot in the place of one that came with a stamp;
 * leaves that if it does not decode. DCTX_ERR_NOMEM. */
dctx_error_t dctx_deadline_arrive_(const dctx_registry_t *registry, dctx_value_t **slot,
                                   dctx_grave_t *grave);

#endif
