#include "extra.h"

#include <dcontext/internal.h>

#include "channel.h"
#include "supervisor.h"
#include "timer.h"

dctx_extra_t *dctx_extra_new_(void)
{
    dctx_extra_t *extra = dctx_calloc_(1, sizeof *extra);
    if (extra == NULL)
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for what an actor needs");
    return extra;
}

void dctx_extra_adopt_(dctx_actor_t *actor, dctx_extra_t *extra)
{
    extra->actor = actor;
    actor->extra = extra;
}

dctx_extra_t *dctx_extra_get_(dctx_actor_t *actor)
{
    if (actor->extra == NULL) {
        dctx_extra_t *extra = dctx_extra_new_();
        if (extra != NULL)
            dctx_extra_adopt_(actor, extra);
    }
    return actor->extra;
}

void dctx_extra_clear_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_channels_end_(runner, actor);
    dctx_timers_end_(actor->system, actor->extra);
    dctx_stash_end_(runner, actor);
}

bool dctx_extra_end_(dctx_runner_t *runner, dctx_actor_t *actor, const dctx_exit_t *exit)
{
    dctx_extra_t *extra = actor->extra;
    actor->extra = NULL;
    dctx_release_(extra->behaviours.below);
    dctx_poll_finish_(&extra->poll);
    dctx_pipeline_finish(&extra->pipeline);
    dctx_monitors_withdraw_(runner, &extra->monitors);
    dctx_kin_end_(runner, actor->system, &extra->kin, exit);
    if (!dctx_monitors_tell_(runner, actor->system, &extra->monitors, exit))
        return false;
    dctx_release_(extra);
    return true;
}
