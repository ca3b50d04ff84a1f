#include "extra.h"

#include <dcontext/internal.h>

#include "channel.h"
#include "timer.h"

dctx_extra_t *dctx_extra_get_(dctx_actor_t *actor)
{
    if (actor->extra == NULL) {
        actor->extra = dctx_calloc_(1, sizeof *actor->extra);
        if (actor->extra == NULL)
            (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for what an actor needs");
        else
            actor->extra->actor = actor;
    }
    return actor->extra;
}

void dctx_extra_end_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_extra_t *extra = actor->extra;
    dctx_channels_end_(runner, actor);
    dctx_timers_end_(actor->system, extra);
    dctx_stash_end_(runner, actor);
    actor->extra = NULL;
    dctx_release_(extra->behaviours.below);
    dctx_poll_finish_(&extra->poll);
    dctx_pipeline_finish(&extra->pipeline);
    dctx_release_(extra);
}
