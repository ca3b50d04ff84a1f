#include "interceptor.h"

#include <string.h>

#include <dcontext/internal.h>

/* A stage's way on. It lives as long as its `around` runs. */
struct dctx_next {
    dctx_transit_t *transit;
    size_t stage; /* the first that comes after */
    dctx_error_t (*handler)(void *arg);
    void *arg;
    bool ran;
};

/* ---- pipelines ------------------------------------------------------------------------------- */

void dctx_pipeline_finish(dctx_pipeline_t *pipeline)
{
    for (size_t i = 0; i < pipeline->count; i++)
        dctx_release_((void *)(uintptr_t)pipeline->stages[i].name);
    dctx_release_(pipeline->stages);
    *pipeline = (dctx_pipeline_t){0};
}

static bool has(const dctx_interceptor_t *stages, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, stages[i].name) == 0)
            return true;
    }
    return false;
}

static dctx_error_t check(const dctx_pipeline_t *base, const dctx_interceptor_t *interceptors,
                          size_t count)
{
    if (interceptors == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "%zu interceptors at NULL", count);
    if (count > DCTX_STAGES_MAX - base->count)
        return dctx_fail_(DCTX_ERR_INVALID, "%zu interceptors: at most %d", count + base->count,
                          DCTX_STAGES_MAX);
    for (size_t i = 0; i < count; i++) {
        const char *name = interceptors[i].name;
        if (name == NULL || name[0] == '\0')
            return dctx_fail_(DCTX_ERR_INVALID, "interceptor %zu has no name", i);
        if (strcmp(name, "context") == 0)
            return dctx_fail_(DCTX_ERR_INVALID, "interceptor \"context\" is built in");
        if (has(interceptors, i, name) || has(base->stages, base->count, name))
            return dctx_fail_(DCTX_ERR_INVALID, "two interceptors are named \"%s\"", name);
    }
    return DCTX_OK;
}

static dctx_error_t insert(dctx_pipeline_t *pipeline, const dctx_interceptor_t *interceptor)
{
    dctx_interceptor_t stage = *interceptor;
    stage.name = dctx_strndup_(stage.name, strlen(stage.name));
    if (stage.name == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an interceptor's name");
    size_t at = pipeline->count;
    for (; at > 0 && pipeline->stages[at - 1].order > stage.order; at--)
        pipeline->stages[at] = pipeline->stages[at - 1];
    pipeline->stages[at] = stage;
    pipeline->count++;
    return DCTX_OK;
}

dctx_error_t dctx_pipeline_init(dctx_pipeline_t *pipeline, const dctx_pipeline_t *base,
                                const dctx_interceptor_t *interceptors, size_t count)
{
    static const dctx_pipeline_t none;
    *pipeline = none;
    if (count == 0)
        return DCTX_OK;
    if (base == NULL)
        base = &none;
    dctx_error_t error = check(base, interceptors, count);
    if (error != DCTX_OK)
        return error;
    pipeline->stages = dctx_calloc_(base->count + count, sizeof(dctx_interceptor_t));
    if (pipeline->stages == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %zu interceptors", count);
    for (size_t i = 0; i < base->count && error == DCTX_OK; i++)
        error = insert(pipeline, &base->stages[i]);
    for (size_t i = 0; i < count && error == DCTX_OK; i++)
        error = insert(pipeline, &interceptors[i]);
    if (error != DCTX_OK)
        dctx_pipeline_finish(pipeline);
    return error;
}

/* ---- what interceptors say ------------------------------------------------------------------- */

static dctx_transit_t *transit_of(const dctx_passage_t *passage)
{
    return (dctx_transit_t *)(uintptr_t)passage; /* its first member */
}

static void note_reason(const dctx_passage_t *passage, const char *reason)
{
    if (passage == NULL)
        return;
    dctx_transit_t *transit = transit_of(passage);
    strncpy(transit->reason, reason != NULL ? reason : "", sizeof transit->reason - 1);
}

dctx_verdict_t dctx_passage_reject(const dctx_passage_t *passage, const char *reason)
{
    note_reason(passage, reason);
    return DCTX_REJECT;
}

dctx_verdict_t dctx_passage_drop(const dctx_passage_t *passage, const char *reason)
{
    note_reason(passage, reason);
    return DCTX_DROP;
}

dctx_verdict_t dctx_passage_delay(const dctx_passage_t *passage, int64_t delay_ns)
{
    if (passage == NULL)
        return DCTX_CONTINUE;
    dctx_transit_t *transit = transit_of(passage);
    if (delay_ns > transit->delay_ns)
        transit->delay_ns = delay_ns;
    transit->timed = true;
    return DCTX_DELAY;
}

void **dctx_passage_slot(const dctx_passage_t *passage)
{
    if (passage == NULL)
        return NULL;
    dctx_transit_t *transit = transit_of(passage);
    return transit->inbound ? &transit->slots[transit->stage] : NULL;
}

/* ---- transit --------------------------------------------------------------------------------- */

void dctx_transit_init(dctx_transit_t *transit, const dctx_pipeline_t *pipeline,
                       const dctx_passage_t *passage, bool inbound)
{
    transit->passage = *passage;
    transit->pipeline = pipeline;
    transit->inbound = inbound;
    transit->skipped = false;
    transit->timed = false;
    transit->delay_ns = 0;
    transit->passed = 0;
    transit->stage = 0;
    for (size_t i = 0; i < pipeline->count; i++)
        transit->slots[i] = NULL;
    transit->reason[0] = transit->reason[sizeof transit->reason - 1] = '\0';
}

/* DCTX_DELAY that nobody gave a time to would have the message go round and round without a
 * pause. */
static dctx_verdict_t judge(dctx_transit_t *transit,
                            dctx_verdict_t (*ask)(const dctx_passage_t *passage, void *arg),
                            void *arg)
{
    transit->timed = false;
    dctx_verdict_t verdict = ask(&transit->passage, arg);
    if (verdict == DCTX_DELAY && !transit->timed)
        return dctx_passage_reject(&transit->passage,
                                   "an interceptor delays by dctx_passage_delay() only");
    return verdict;
}

dctx_verdict_t dctx_transit_outbound_(dctx_transit_t *transit)
{
    const dctx_pipeline_t *pipeline = transit->pipeline;
    bool delayed = false;
    for (size_t i = pipeline->count; i > 0; i--) {
        const dctx_interceptor_t *stage = &pipeline->stages[i - 1];
        if (stage->outbound == NULL)
            continue;
        dctx_verdict_t verdict = judge(transit, stage->outbound, stage->arg);
        if (verdict == DCTX_DELAY)
            delayed = true;
        else if (verdict != DCTX_CONTINUE)
            return verdict;
    }
    return delayed ? DCTX_DELAY : DCTX_CONTINUE;
}

dctx_verdict_t dctx_transit_inbound_(dctx_transit_t *transit)
{
    const dctx_pipeline_t *pipeline = transit->pipeline;
    for (; transit->passed < pipeline->count; transit->passed++) {
        const dctx_interceptor_t *stage = &pipeline->stages[transit->passed];
        transit->stage = transit->passed;
        dctx_verdict_t verdict = DCTX_CONTINUE;
        if (stage->inbound != NULL)
            verdict = judge(transit, stage->inbound, stage->arg);
        if (verdict != DCTX_CONTINUE)
            return verdict;
    }
    return DCTX_CONTINUE;
}

/* What comes after the stages before this one. */
static dctx_error_t run(dctx_next_t *next)
{
    dctx_transit_t *transit = next->transit;
    const dctx_pipeline_t *pipeline = transit->pipeline;
    size_t at = next->stage;
    while (at < pipeline->count && pipeline->stages[at].around == NULL)
        at++;
    if (at == pipeline->count)
        return next->handler(next->arg);
    const dctx_interceptor_t *stage = &pipeline->stages[at];
    dctx_next_t deeper = {
        .transit = transit, .stage = at + 1, .handler = next->handler, .arg = next->arg};
    transit->stage = at;
    dctx_error_t outcome = stage->around(&transit->passage, &deeper, stage->arg);
    if (!deeper.ran)
        transit->skipped = true;
    return outcome == DCTX_OK && transit->skipped ? DCTX_ERR_REJECTED : outcome;
}

dctx_error_t dctx_next_run(dctx_next_t *next)
{
    if (next == NULL || next->ran)
        return dctx_fail_(DCTX_ERR_INVALID, "what an interceptor wraps is run once");
    size_t stage = next->transit->stage;
    next->ran = true;
    dctx_error_t outcome = run(next);
    next->transit->stage = stage;
    return outcome;
}

dctx_error_t dctx_transit_around_(dctx_transit_t *transit, dctx_error_t (*handler)(void *arg),
                                  void *arg)
{
    dctx_next_t first = {.transit = transit, .handler = handler, .arg = arg};
    return run(&first);
}

void dctx_transit_handled_(dctx_transit_t *transit, dctx_error_t outcome)
{
    for (; transit->passed > 0; transit->passed--) {
        const dctx_interceptor_t *stage = &transit->pipeline->stages[transit->passed - 1];
        transit->stage = transit->passed - 1;
        if (stage->handled != NULL)
            stage->handled(&transit->passage, outcome, stage->arg);
    }
}
