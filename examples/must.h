/*
 * must.h - what a sample does about an error: say it and end. A server would answer the request
 * with it.
 */
#ifndef EXAMPLES_MUST_H
#define EXAMPLES_MUST_H

#include <stdio.h>
#include <stdlib.h>

#include <dcontext/dcontext.h>

static inline void must(dctx_error_t error)
{
    if (error != DCTX_OK) {
        fprintf(stderr, "%s (%s)\n", dctx_strerror(error), dctx_error_detail());
        exit(EXIT_FAILURE);
    }
}

#endif
