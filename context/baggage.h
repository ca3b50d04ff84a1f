/* Which names and types can appear in W3C baggage. */
#ifndef DCTX_BAGGAGE_H
#define DCTX_BAGGAGE_H

#include <stdbool.h>
#include <stddef.h>

#include <dcontext/type.h>

/* A token of RFC 7230, at least one character. */
bool dctx_baggage_is_token_(const char *text, size_t size);

bool dctx_baggage_has_text_(const dctx_type_t *type);

#endif
