#include "deadletter.h"

#include "ask.h"
#include "system.h"

enum { CHAIN_MAX = 4096 };

void dctx_dead_letter_with_(dctx_system_t *system, const char *target, const char *type,
                            dctx_error_t reason, const dctx_snapshot_t *snapshot, bool ask,
                            const dctx_exit_t *exit, const char *words)
{
    dctx_log(DCTX_LOG_INFO, "dead letter for %s, type \"%s\": %s", target, type,
             dctx_error_name(reason));
    if (system->options.on_dead_letter == NULL)
        return;
    char chain[CHAIN_MAX];
    const dctx_snapshot_t *context = snapshot != NULL ? snapshot : system->empty;
    (void)dctx_snapshot_chain_format(context, chain, sizeof chain);
    dctx_dead_letter_t letter = {.target = target,
                                 .type = type,
                                 .reason = reason,
                                 .chain = chain,
                                 .snapshot = context,
                                 .ask = ask,
                                 .exit = exit,
                                 .detail = words};
    system->options.on_dead_letter(&letter, system->options.arg);
}

void dctx_dead_letter_(dctx_system_t *system, const char *target, const char *type,
                       dctx_error_t reason, const dctx_snapshot_t *snapshot, bool ask)
{
    dctx_dead_letter_with_(system, target, type, reason, snapshot, ask, NULL, "");
}

void dctx_message_die_with_(dctx_system_t *system, const char *target, dctx_message_t *message,
                            dctx_error_t reason, const dctx_exit_t *exit, const char *words)
{
    dctx_dead_letter_with_(system, target, dctx_message_type(message), reason, message->snapshot,
                           dctx_message_is_ask(message), exit, words);
}

void dctx_message_die_(dctx_system_t *system, const char *target, dctx_message_t *message,
                       dctx_error_t reason)
{
    dctx_message_die_with_(system, target, message, reason, NULL, "");
}

dctx_error_t dctx_message_turn_away_(dctx_runner_t *runner, const dctx_message_t *message,
                                     dctx_error_t reason, const char *words)
{
    dctx_message_die_with_(runner->system, runner->actor->scope + DCTX_NAME_AT,
                           dctx_message_own(message), reason, NULL, words);
    runner->unhandled = true;
    return reason;
}

const char *dctx_target_name_(dctx_actor_t *actor, const dctx_node_t *node)
{
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_acquire);
    uint64_t generation = dctx_life_generation(life);
    /* Death has moved the generation on; until the cell is free the name stays. */
    bool here = (life & DCTX_LIFE_ALIVE && generation == node->generation) ||
                (life & DCTX_LIFE_DEAD && generation == (uint64_t)node->generation + 1);
    return here ? actor->scope + DCTX_NAME_AT : "(gone)";
}

static void refuse_here(dctx_system_t *system, dctx_message_t *message, dctx_error_t error)
{
    uint64_t ask = message->u.request.ask;
    bool (*end)(dctx_system_t *, dctx_runner_t *, uint64_t, dctx_error_t, const char *) =
        message->node.flags & DCTX_MESSAGE_HANDLED ? dctx_ask_fail_ : dctx_ask_return_;
    const char *reason = error == DCTX_ERR_CANCELLED
                             ? dctx_cancel_reason(dctx_snapshot_cancel(message->snapshot))
                             : NULL;
    if (!(message->node.flags & DCTX_MESSAGE_ELSEWHERE)) {
        (void)end(system, dctx_runner_of(system), ask, error, reason);
        return;
    }
    dctx_system_t *asker = dctx_systems_lock_(message->u.request.sender.system_);
    if (asker != NULL) {
        (void)end(asker, dctx_runner_of(asker), ask, error, reason);
        dctx_systems_unlock_();
    }
}

void dctx_message_finish_(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *message,
                          dctx_error_t error)
{
    unsigned flags = message->node.flags;
    if ((flags & DCTX_MESSAGE_ASK) && !(flags & DCTX_MESSAGE_ANSWERED)) {
        message->node.flags |= DCTX_MESSAGE_ANSWERED;
        if (dctx_message_asker_is_remote_(message)) {
            /* The message itself carries the answer out, so that answering needs no memory. */
            message->node.kind = DCTX_NODE_REFUSAL;
            message->node.outcome = (uint8_t)error;
            dctx_io_post_(&system->io, &message->node);
            return;
        }
        refuse_here(system, message, error);
    }
    dctx_message_release_(system, runner, message);
}
