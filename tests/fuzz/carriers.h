/*
 * What the fuzz targets of the carriers share: headers from lines of text, extracted, injected, and
 * extracted again. Whatever comes in, extracting succeeds, what came out of it fits a stamp, and
 * what is injected is clean and stays the same from then on.
 */
#ifndef DCTX_FUZZ_CARRIERS_H
#define DCTX_FUZZ_CARRIERS_H

#include "keys.h"

/* A registry with clocks that stand still, and keys that appear in baggage. */
dctx_registry_t *fuzz_carrier_registry(void);

/* Lines "name: value", through the propagators of those names. */
void fuzz_carrier(const char *names, const uint8_t *data, size_t size);

#endif
