#include "worker.h"

#include "system.h"
#include "turn.h"

/* A thread's context makes room for itself at its first scope; here it may still fail for want of
 * memory without a message in hand. */
static void prepare_context(void)
{
    dctx_scope_t scope;
    if (dctx_scope_push(NULL, &scope) == DCTX_OK)
        (void)dctx_scope_pop(&scope);
}

void dctx_worker_run(zsock_t *pipe, void *arg)
{
    dctx_worker_t *self = arg;
    dctx_system_t *system = self->runner.system;
    dctx_scheduler_t *scheduler = &system->scheduler;
    dctx_runner_here = &self->runner;
    self->pipe = pipe;
    prepare_context();
    zsock_signal(pipe, 0);
    dctx_actor_t *actor;
    while ((actor = dctx_scheduler_next_(scheduler, self)) != NULL) {
        dctx_turn_t turn = dctx_turn_(&self->runner, actor, scheduler->quantum);
        if (turn == DCTX_TURN_AGAIN)
            dctx_scheduler_again_(scheduler, self, actor);
        else if (turn == DCTX_TURN_ABANDONED)
            dctx_runner_park();
    }
    dctx_runner_here = NULL;
    /* Our end of the pipe is closed if we were given up, and CZMQ would use it when we return. */
    if (!dctx_runner_leave_(&self->runner, &self->left))
        dctx_runner_park();
}
