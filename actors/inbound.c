#include "inbound.h"

#include <stdio.h>

#include <dcontext/internal.h>

#include "deadletter.h"
#include "extra.h"
#include "interceptor.h"
#include "stash.h"
#include "system.h"
#include "timer.h"

/* An interceptor wants a message to come later: it moves into a cell of its own, which a timer
 * brings. Until it is handled the cell's outcome counts how often. On an error all is as before. */
static dctx_error_t come_again(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                               int64_t delay_ns)
{
    unsigned flags = message->node.flags, delays = message->node.outcome;
    dctx_message_t *kept = dctx_message_keep_(runner, message);
    if (kept == NULL)
        return DCTX_ERR_NOMEM;
    kept->node.flags |= DCTX_MESSAGE_DELAYED;
    kept->node.outcome = (uint8_t)(delays < UINT8_MAX ? delays + 1 : delays);
    dctx_error_t error = dctx_delay_message_(runner->system, actor, kept, delay_ns, NULL);
    if (error == DCTX_OK) {
        message->node.flags |= DCTX_MESSAGE_DELAYED;
        return DCTX_OK;
    }
    dctx_message_take_content_(message, kept);
    message->node.flags = (uint16_t)flags;
    dctx_message_release_(runner->system, runner, kept);
    return error;
}

/* Tells an asker in words why an interceptor refused his message, if it said so. */
static void give_reason(dctx_message_t *message, const char *reason)
{
    if (reason[0] == '\0' || !dctx_message_is_ask(message) ||
        dctx_reply_error(message, DCTX_ERR_REJECTED, reason) == DCTX_OK)
        return;
    dctx_log(DCTX_LOG_WARNING, "a refusal goes without its reason: %s", dctx_error_detail());
}

void dctx_inbound_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                   dctx_error_t (*handler)(void *arg), void *arg, dctx_error_t *ret_error)
{
    dctx_system_t *system = runner->system;
    char type[256];
    dctx_passage_t passage = {.system = system,
                              .target = actor->scope + DCTX_NAME_AT,
                              .type = dctx_message_type(message),
                              .ask = dctx_message_is_ask(message),
                              .remote = dctx_message_is_remote(message),
                              .delays = message->node.outcome,
                              .snapshot =
                                  message->snapshot != NULL ? message->snapshot : system->empty};
    dctx_transit_t transit;
    dctx_error_t outcome = DCTX_OK;
    /* The name that came with it goes where the handler sends it. */
    if (passage.remote) {
        snprintf(type, sizeof type, "%s", passage.type);
        passage.type = type;
    }
    bool own = actor->extra != NULL && actor->extra->pipeline.count > 0;
    dctx_transit_init(&transit, own ? &actor->extra->pipeline : &system->pipeline, &passage, true);
    dctx_verdict_t verdict = dctx_transit_inbound_(&transit);
    if (dctx_runner_is_given_up(runner))
        return;
    bool dead = verdict != DCTX_CONTINUE;
    if (verdict == DCTX_CONTINUE) {
        outcome = dctx_transit_around_(&transit, handler, arg);
        if (dctx_runner_is_given_up(runner))
            return;
        dead = transit.skipped;
    } else if (verdict == DCTX_DELAY) {
        outcome = come_again(runner, actor, message, transit.delay_ns);
        dead = outcome != DCTX_OK;
    } else {
        outcome = DCTX_ERR_REJECTED;
        give_reason(message, transit.reason);
    }
    if (outcome != DCTX_OK)
        *ret_error = outcome;
    if (dead)
        dctx_message_die_with_(system, passage.target, message, outcome, NULL, transit.reason);
    else if (verdict == DCTX_DELAY)
        outcome = DCTX_ERR_AGAIN;
    if (dctx_runner_is_given_up(runner))
        return;
    dctx_transit_handled_(&transit, outcome);
}
