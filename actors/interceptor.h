/* The interceptors of a system, or of one of its actors, in the order of their numbers. */
#ifndef DCTX_INTERCEPTOR_H
#define DCTX_INTERCEPTOR_H

#include <stdbool.h>
#include <stddef.h>

#include <dcontext/system.h>

enum { DCTX_STAGES_MAX = 32 };

/*
 * What stands in the pipeline beside the built-in "context", whose two moments are fork and attach:
 * they come before all others by contract, so the code that sends and handles has them in place,
 * and an empty pipeline costs nothing.
 */
typedef struct dctx_pipeline {
    dctx_interceptor_t *stages; /* ascending by order; equal ones as they were given */
    size_t count;
} dctx_pipeline_t;

/* A passage with what interceptors say of it. On the stack of who passes the message on. */
typedef struct dctx_transit {
    dctx_passage_t passage; /* first: it is what interceptors hold */
    const dctx_pipeline_t *pipeline;
    bool inbound;
    bool skipped; /* an interceptor around the handler did not run it */
    bool timed;   /* the stage at work said for how long it delays */
    int64_t delay_ns;
    size_t passed; /* how many let it in, for handled() */
    size_t stage;  /* whose turn it is */
    void *slots[DCTX_STAGES_MAX];
    char reason[256]; /* "": none was given */
} dctx_transit_t;

/*
 * Those of `base`, where that is not NULL, and these. DCTX_ERR_INVALID (no name, "context", a name
 * twice, too many), DCTX_ERR_NOMEM.
 */
dctx_error_t dctx_pipeline_init(dctx_pipeline_t *pipeline, const dctx_pipeline_t *base,
                                const dctx_interceptor_t *interceptors, size_t count);
void dctx_pipeline_finish(dctx_pipeline_t *pipeline);

void dctx_transit_init(dctx_transit_t *transit, const dctx_pipeline_t *pipeline,
                       const dctx_passage_t *passage, bool inbound);

/* DCTX_DELAY: as much as `delay_ns`, after all have seen it. */
dctx_verdict_t dctx_transit_outbound_(dctx_transit_t *transit);

dctx_verdict_t dctx_transit_inbound_(dctx_transit_t *transit);

/* Runs the handler inside of what is around it. Returns the outcome;
 * `skipped` says whether it ran. */
dctx_error_t dctx_transit_around_(dctx_transit_t *transit, dctx_error_t (*handler)(void *arg),
                                  void *arg);
void dctx_transit_handled_(dctx_transit_t *transit, dctx_error_t outcome);

#endif
