/* Actors that change their behaviour. */
#include <string.h>

#include <dcontext/handling.h>
#include <dcontext/internal.h>

#include "extra.h"

enum { BEHAVIOURS_MAX = 256, BEHAVIOURS_FIRST = 4 };

/* Whether the calling thread is in a callback of this actor. */
static dctx_error_t check(const dctx_actor_t *self)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || here == NULL || here->actor != self)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "an actor changes its behaviour itself, in its own callbacks");
    return DCTX_OK;
}

dctx_error_t dctx_become(dctx_actor_t *self, dctx_handler_fn handler)
{
    dctx_error_t error = check(self);
    if (error == DCTX_OK && handler == NULL)
        error = dctx_fail_(DCTX_ERR_INVALID, "an actor needs a handler");
    if (error == DCTX_OK)
        self->handler = handler;
    return error;
}

static dctx_error_t grow(dctx_behaviours_t *behaviours)
{
    size_t capacity =
        behaviours->capacity == 0 ? BEHAVIOURS_FIRST : (size_t)behaviours->capacity * 2;
    dctx_handler_fn *below = dctx_alloc_(capacity * sizeof(dctx_handler_fn));
    if (below == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for another behaviour");
    if (behaviours->count > 0)
        memcpy(below, behaviours->below, behaviours->count * sizeof(dctx_handler_fn));
    dctx_release_(behaviours->below);
    behaviours->below = below;
    behaviours->capacity = (unsigned)capacity;
    return DCTX_OK;
}

dctx_error_t dctx_become_push(dctx_actor_t *self, dctx_handler_fn handler)
{
    dctx_error_t error = check(self);
    if (error == DCTX_OK && handler == NULL)
        error = dctx_fail_(DCTX_ERR_INVALID, "an actor needs a handler");
    if (error != DCTX_OK)
        return error;
    dctx_extra_t *extra = dctx_extra_get_(self);
    if (extra == NULL)
        return DCTX_ERR_NOMEM;
    dctx_behaviours_t *behaviours = &extra->behaviours;
    if (behaviours->count == BEHAVIOURS_MAX)
        return dctx_fail_(DCTX_ERR_LIMIT, "%s has %d behaviours below this one: unbecome some",
                          dctx_self_name(self), BEHAVIOURS_MAX);
    if (behaviours->count == behaviours->capacity)
        error = grow(behaviours);
    if (error != DCTX_OK)
        return error;
    behaviours->below[behaviours->count++] = self->handler;
    self->handler = handler;
    return DCTX_OK;
}

dctx_error_t dctx_unbecome(dctx_actor_t *self)
{
    dctx_error_t error = check(self);
    if (error != DCTX_OK)
        return error;
    dctx_extra_t *extra = self->extra;
    if (extra == NULL || extra->behaviours.count == 0)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no behaviour below: push one first");
    self->handler = extra->behaviours.below[--extra->behaviours.count];
    return DCTX_OK;
}
