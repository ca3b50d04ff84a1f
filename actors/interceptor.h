/* The interceptors of a system, in the order of their numbers. */
#ifndef DCTX_INTERCEPTOR_H
#define DCTX_INTERCEPTOR_H

#include <stdbool.h>
#include <stddef.h>

#include <dcontext/system.h>

/*
 * What stands in the pipeline beside the built-in "context", whose two moments are fork and attach: they come
 * before all others by contract, so the code that sends and handles has them in place, and an empty
 * pipeline costs nothing.
 */
typedef struct dctx_pipeline {
    dctx_interceptor_t *stages; /* ascending by order; equal ones as they were given */
    size_t count;
} dctx_pipeline_t;

/* DCTX_ERR_INVALID (no name, "context", a name twice), DCTX_ERR_NOMEM. */
dctx_error_t dctx_pipeline_init(dctx_pipeline_t *pipeline, const dctx_interceptor_t *interceptors,
                                size_t count);
void dctx_pipeline_finish(dctx_pipeline_t *pipeline);

dctx_verdict_t dctx_pipeline_outbound(const dctx_pipeline_t *pipeline,
                                      const dctx_passage_t *passage);

/* *ret_passed: how many let it through, for handled(). */
dctx_verdict_t dctx_pipeline_inbound(const dctx_pipeline_t *pipeline, const dctx_passage_t *passage,
                                     size_t *ret_passed);
void dctx_pipeline_handled(const dctx_pipeline_t *pipeline, const dctx_passage_t *passage,
                           size_t passed, dctx_error_t outcome);

#endif
