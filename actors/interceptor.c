#include "interceptor.h"

#include <string.h>

#include <dcontext/internal.h>

void dctx_pipeline_finish(dctx_pipeline_t *pipeline)
{
    for (size_t i = 0; i < pipeline->count; i++)
        dctx_release_((void *)(uintptr_t)pipeline->stages[i].name);
    dctx_release_(pipeline->stages);
    *pipeline = (dctx_pipeline_t){0};
}

static dctx_error_t check(const dctx_interceptor_t *interceptors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = interceptors[i].name;
        if (name == NULL || name[0] == '\0')
            return dctx_fail_(DCTX_ERR_INVALID, "interceptor %zu has no name", i);
        if (strcmp(name, "context") == 0)
            return dctx_fail_(DCTX_ERR_INVALID, "interceptor \"context\" is built in");
        for (size_t j = 0; j < i; j++) {
            if (strcmp(name, interceptors[j].name) == 0)
                return dctx_fail_(DCTX_ERR_INVALID, "two interceptors are named \"%s\"", name);
        }
    }
    return DCTX_OK;
}

dctx_error_t dctx_pipeline_init(dctx_pipeline_t *pipeline, const dctx_interceptor_t *interceptors,
                                size_t count)
{
    *pipeline = (dctx_pipeline_t){0};
    if (count == 0)
        return DCTX_OK;
    if (interceptors == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "%zu interceptors at NULL", count);
    dctx_error_t error = check(interceptors, count);
    if (error != DCTX_OK)
        return error;
    pipeline->stages = dctx_calloc_(count, sizeof(dctx_interceptor_t));
    if (pipeline->stages == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %zu interceptors", count);
    for (size_t i = 0; i < count; i++) {
        dctx_interceptor_t stage = interceptors[i];
        stage.name = dctx_strndup_(stage.name, strlen(stage.name));
        if (stage.name == NULL) {
            dctx_pipeline_finish(pipeline);
            return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an interceptor's name");
        }
        size_t at = pipeline->count;
        for (; at > 0 && pipeline->stages[at - 1].order > stage.order; at--)
            pipeline->stages[at] = pipeline->stages[at - 1];
        pipeline->stages[at] = stage;
        pipeline->count++;
    }
    return DCTX_OK;
}

dctx_verdict_t dctx_pipeline_outbound(const dctx_pipeline_t *pipeline,
                                      const dctx_passage_t *passage)
{
    dctx_verdict_t verdict = DCTX_CONTINUE;
    for (size_t i = pipeline->count; i > 0 && verdict == DCTX_CONTINUE; i--) {
        const dctx_interceptor_t *stage = &pipeline->stages[i - 1];
        if (stage->outbound != NULL)
            verdict = stage->outbound(passage, stage->arg);
    }
    return verdict;
}

dctx_verdict_t dctx_pipeline_inbound(const dctx_pipeline_t *pipeline, const dctx_passage_t *passage,
                                     size_t *ret_passed)
{
    dctx_verdict_t verdict = DCTX_CONTINUE;
    size_t passed = 0;
    while (passed < pipeline->count) {
        const dctx_interceptor_t *stage = &pipeline->stages[passed];
        if (stage->inbound != NULL)
            verdict = stage->inbound(passage, stage->arg);
        if (verdict != DCTX_CONTINUE)
            break;
        passed++;
    }
    *ret_passed = passed;
    return verdict;
}

void dctx_pipeline_handled(const dctx_pipeline_t *pipeline, const dctx_passage_t *passage,
                           size_t passed, dctx_error_t outcome)
{
    for (; passed > 0; passed--) {
        const dctx_interceptor_t *stage = &pipeline->stages[passed - 1];
        if (stage->handled != NULL)
            stage->handled(passage, outcome, stage->arg);
    }
}
