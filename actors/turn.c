#include "turn.h"

#include <assert.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "actor.h"
#include "ask.h"
#include "deadletter.h"
#include "extra.h"
#include "future.h"
#include "handle.h"
#include "life.h"
#include "life_signal.h"
#include "gauge.h"
#include "pinned.h"
#include "system.h"
#include "timer.h"
#include "urgent.h"
#include "work.h"

/* ---- what is in a mailbox -------------------------------------------------------------------- */

/* A message that is not handled. False: abandoned. */
static bool bury(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                 dctx_error_t reason)
{
    const char *target = dctx_target_name_(actor, &message->node);
    dctx_handle_cool_(runner);
    dctx_runner_begin(runner, &runner->system->self, message, message->snapshot, NULL);
    dctx_message_die_with_(runner->system, target, message, reason,
                           dctx_life_why_(actor, &message->node), "");
    message->node.outcome = (uint8_t)reason;
    dctx_handle_clear_(runner, message);
    return dctx_runner_end(runner);
}

/* Why a message for an actor that is not the living one is not handled. */
static dctx_error_t death_of(dctx_actor_t *actor, const dctx_node_t *node)
{
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_acquire);
    bool last =
        life & DCTX_LIFE_DEAD && dctx_life_generation(life) == (uint64_t)node->generation + 1;
    /* Or it waits for its children's ends, and serves nobody. */
    bool ending = life & DCTX_LIFE_ALIVE && dctx_life_generation(life) == node->generation;
    return last || ending ? actor->death : DCTX_ERR_NO_ACTOR;
}

/* The end of an ask whose asker has gone. */
static bool drop_reply(dctx_runner_t *runner, dctx_message_t *record)
{
    dctx_runner_begin(runner, &runner->system->self, record, NULL, NULL);
    dctx_message_clear_(record);
    return dctx_runner_end(runner);
}

/* The end of an ask that this actor, or a caller of the system, made. */
static bool run_reply(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *record)
{
    dctx_scope_t scope;
    dctx_runner_begin(runner, actor, record, record->snapshot, NULL);
    dctx_handle_enter_(runner, record->snapshot, NULL, &scope);
    void *arg = record->u.done.arg;
    dctx_error_t status = record->u.done.status;
    if (record->node.kind == DCTX_NODE_REPLY) {
        actor->asks--;
        record->u.done.run.on_reply(actor, status, record, actor->state, arg);
    } else if (record->node.kind == DCTX_NODE_CALL) {
        record->u.done.run.call(status, record, arg);
    } else {
        actor->asks--;
        dctx_future_run_actor_(actor, record);
    }
    dctx_handle_leave_(runner, actor, &scope);
    dctx_message_clear_(record);
    return dctx_runner_end(runner);
}

/* A timer of this actor has come up. */
static bool run_timer(dctx_runner_t *runner, dctx_actor_t *actor, dctx_node_t *node, bool living)
{
    living = living && dctx_phase_(runner->system) < DCTX_PHASE_CLOSING;
    dctx_timer_slot_t *timer = dctx_timer_begin_(runner->system, node, living);
    if (timer == NULL)
        return true;
    dctx_scope_t scope;
    dctx_tally_own(&runner->tallies, DCTX_TALLY_TIMERS_RUN);
    dctx_runner_begin(runner, actor, NULL, timer->snapshot, "actor:");
    dctx_handle_enter_(runner, timer->snapshot, actor->scope, &scope);
    runner->callback = "a timer";
    timer->run(actor, timer->missed, actor->state, timer->arg);
    runner->callback = NULL;
    dctx_handle_leave_(runner, actor, &scope);
    return dctx_runner_end(runner);
}

/* All that there is to do for one end of a stream: not more than its window. False: abandoned. */
static bool run_stream(dctx_runner_t *runner, dctx_actor_t *actor, dctx_node_t *node)
{
    dctx_channel_event_t event;
    while (!actor->stopping && dctx_channel_next_(runner->system, node, &event)) {
        dctx_scope_t scope;
        bool own = !event.channel->asker;
        /* An item that is sent on goes in the context of the ask. */
        if (event.item != NULL && event.snapshot != NULL)
            event.item->snapshot = dctx_snapshot_ref(event.snapshot);
        dctx_runner_begin(runner, actor, event.item, event.snapshot, own ? "actor:" : NULL);
        dctx_handle_enter_(runner, event.snapshot, own ? actor->scope : NULL, &scope);
        runner->callback = "a stream";
        dctx_channel_call_(&event, actor);
        runner->callback = NULL;
        dctx_handle_leave_(runner, actor, &scope);
        if (event.item != NULL)
            dctx_message_clear_(event.item);
        if (!dctx_runner_end(runner))
            return false;
        dctx_channel_ran_(runner, &event);
    }
    return true;
}

/* A message for a living actor of a system that is closing. */
static bool bury_or_end(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message)
{
    dctx_handle_cool_(runner);
    if (atomic_load(&runner->system->hurry) && !dctx_life_stop_(runner, actor))
        return false;
    return bury(runner, actor, message, DCTX_ERR_STOPPED);
}

static dctx_error_t count_over(dctx_runner_t *runner, const dctx_message_t *message)
{
    dctx_deadline_policy_t policy = runner->system->options.deadline_policy;
    dctx_error_t over = policy == DCTX_DEADLINE_OFF
                            ? dctx_cancel_status(dctx_snapshot_cancel(message->snapshot))
                            : dctx_snapshot_over(message->snapshot);
    if (over == DCTX_ERR_DEADLINE) {
        dctx_tally_own(&runner->tallies, DCTX_TALLY_EXPIRED);
        return policy == DCTX_DEADLINE_ENFORCE ? over : DCTX_OK;
    }
    if (over != DCTX_OK)
        dctx_tally_own(&runner->tallies, DCTX_TALLY_CANCELLED);
    return over;
}

/* Why a message is not to be handled: its request was cancelled, nobody waits for its answer, or
 * its deadline has passed. Counts it; DCTX_OK: it is to be handled. */
static inline dctx_error_t over(dctx_runner_t *runner, const dctx_message_t *message)
{
    if (message->snapshot != NULL && dctx_snapshot_looks_due_(message->snapshot)) {
        dctx_error_t error = count_over(runner, message);
        if (error != DCTX_OK)
            return error;
    }
    if (!(message->node.flags & DCTX_MESSAGE_ASK) ||
        __builtin_expect(dctx_work_is_wanted_(runner->system, message), 1))
        return DCTX_OK;
    dctx_tally_own(&runner->tallies, DCTX_TALLY_CANCELLED);
    return DCTX_ERR_CANCELLED;
}

/* Counts a message out of the gauge. True: it is the oldest of too many. */
static bool is_pushed_out(dctx_actor_t *actor, const dctx_node_t *node)
{
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_relaxed);
    return dctx_gauge_leave_(gauge, node->generation);
}

/* A message for the living actor. False: abandoned. */
static inline bool serve(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message)
{
    if (__builtin_expect(dctx_phase_(runner->system) >= DCTX_PHASE_CLOSING, 0))
        return bury_or_end(runner, actor, message);
    dctx_error_t reason = over(runner, message);
    if (__builtin_expect(reason != DCTX_OK, 0))
        return bury(runner, actor, message, reason);
    if (__builtin_expect(message->node.flags & DCTX_MESSAGE_METERED, 0))
        return dctx_handle_measured_(runner, actor, message);
    return dctx_handle_(runner, actor, message);
}

/* The one who lives in the cell may serve nobody, and yet be meant. */
static bool take_stop(dctx_runner_t *runner, dctx_actor_t *actor, const dctx_node_t *node)
{
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_acquire);
    bool alive = (life & DCTX_LIFE_ALIVE) && dctx_life_generation(life) == node->generation;
    return !alive || dctx_life_stop_(runner, actor);
}

/* Takes one node. False: abandoned; the node and all else is another's. */
static bool take(dctx_runner_t *runner, dctx_actor_t *actor, dctx_node_t *node)
{
    uint32_t serving = atomic_load_explicit(&actor->serving, memory_order_acquire);
    bool living = serving == node->generation;
    if (living && __builtin_expect(actor->start != NULL, 0)) {
        if (!dctx_life_start_(runner, actor))
            return false;
        living = atomic_load_explicit(&actor->serving, memory_order_relaxed) == node->generation;
    }
    switch ((dctx_node_kind_t)node->kind) {
    case DCTX_NODE_MESSAGE:
        if (__builtin_expect(node->flags & DCTX_MESSAGE_COUNTED, 0) && is_pushed_out(actor, node))
            return bury(runner, actor, dctx_message_of(node), DCTX_ERR_FULL);
        if (__builtin_expect(!living, 0))
            return bury(runner, actor, dctx_message_of(node), death_of(actor, node));
        return serve(runner, actor, dctx_message_of(node));
    case DCTX_NODE_START:
    case DCTX_NODE_NUDGE:
        return true; /* it has brought the actor here, that is all */
    case DCTX_NODE_CALL:
        /* Whoever asked is promised to hear of the end,
         * also from an actor that stops with its system. */
        return run_reply(runner, actor, dctx_message_of(node));
    case DCTX_NODE_REPLY:
    case DCTX_NODE_RESULT:
        return living ? run_reply(runner, actor, dctx_message_of(node))
                      : drop_reply(runner, dctx_message_of(node));
    case DCTX_NODE_TIMER:
        return run_timer(runner, actor, node, living);
    case DCTX_NODE_STREAM:
        return !living || run_stream(runner, actor, node);
    case DCTX_NODE_SIGNAL:
        return dctx_signal_take_(runner, actor, dctx_signal_of(node));
    case DCTX_NODE_STOP:
        if (!take_stop(runner, actor, node))
            return false;
        (void)atomic_fetch_and_explicit(&actor->life, ~DCTX_LIFE_STOP_POSTED, memory_order_relaxed);
        return true;
    default:
        assert(false && "a node that is not for actors");
        return true;
    }
}

/* Stops an actor that was told to at once. It may not even have started. */
static bool stop_now(dctx_runner_t *runner, dctx_actor_t *actor)
{
    uint64_t life = atomic_load(&actor->life);
    if ((life & (DCTX_LIFE_ALIVE | DCTX_LIFE_STOP_NOW)) != (DCTX_LIFE_ALIVE | DCTX_LIFE_STOP_NOW))
        return true;
    return dctx_life_stop_(runner, actor);
}

static void dispose(dctx_system_t *system, dctx_runner_t *runner, dctx_node_t *node,
                    dctx_node_kind_t kind);

/* Takes what overtakes the mailbox, at most so many nodes: IDLE when that was all there was, AGAIN
 * when a part was put back. ABANDONED: what is in the runner's hands is another's. */
static dctx_turn_t take_urgent(dctx_runner_t *runner, dctx_actor_t *actor, unsigned most)
{
    bool stop = false;
    dctx_handle_cool_(runner);
    runner->at_urgent = true;
    runner->urgent_rest = dctx_urgent_take_(actor, &stop);
    if (stop && !stop_now(runner, actor))
        return DCTX_TURN_ABANDONED;
    for (unsigned n = 0; runner->urgent_rest.oldest != NULL; n++) {
        if (n >= most && dctx_urgent_put_back_(actor, runner->urgent_rest)) {
            runner->at_urgent = false;
            return DCTX_TURN_AGAIN;
        }
        /* Most of these run no user code, which is where else one sees that. */
        if (dctx_runner_is_given_up(runner))
            return DCTX_TURN_ABANDONED;
        dctx_node_t *node = dctx_urgent_next_(&runner->urgent_rest);
        runner->urgent_hand = node;
        if (!take(runner, actor, node))
            return DCTX_TURN_ABANDONED;
        if (actor->stopping && !dctx_life_settle_(runner, actor))
            return DCTX_TURN_ABANDONED;
        runner->urgent_hand = NULL;
        dispose(runner->system, runner, node, (dctx_node_kind_t)node->kind);
    }
    runner->at_urgent = false;
    return DCTX_TURN_IDLE;
}

/* Moves past a spent node. *ret_gone: the cell is free, and given back to the slab. */
static dctx_advance_t advance(dctx_actor_t *actor, dctx_node_t *node, bool *ret_gone)
{
    *ret_gone = false;
    if (dctx_mailbox_has_next(node))
        return dctx_mailbox_advance(&actor->in, &actor->out, node);
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_relaxed);
    if (__builtin_expect((life & (DCTX_LIFE_DEAD | DCTX_LIFE_STOP_POSTED)) != DCTX_LIFE_DEAD, 1))
        return dctx_mailbox_advance(&actor->in, &actor->out, node);
    /* As soon as the mailbox is idle a late message can bring in another receiver: he must not find
     * the cell DEAD, and free it too. Nobody but us writes these fields of a DEAD cell. */
    dctx_system_t *system = actor->system;
    dctx_name_t *named = atomic_load_explicit(&actor->named, memory_order_relaxed);
    dctx_pinned_t *pinned = atomic_load_explicit(&actor->pinned, memory_order_relaxed);
    dctx_exit_t *last = actor->last;
    atomic_store_explicit(&actor->pinned, NULL, memory_order_relaxed);
    atomic_store_explicit(&actor->life, life & ~DCTX_LIFE_DEAD, memory_order_release);
    dctx_advance_t result = dctx_mailbox_advance(&actor->in, &actor->out, node);
    if (result == DCTX_ADVANCE_IDLE) {
        dctx_release_(named);
        dctx_exit_unref(&last);
        dctx_slab_give(&system->actors, actor);
        *ret_gone = true;
    } else {
        atomic_store_explicit(&actor->pinned, pinned, memory_order_relaxed);
        atomic_store_explicit(&actor->life, life, memory_order_release);
    }
    return result;
}

/* Releases a node that is out of the mailbox. What was handled counts only now: an ask's end that
 * comes of it has been counted before, so that nothing looks quiet in between. `kind`: the node's,
 * read before it went out of the mailbox: a stop is part of the cell, which may be another actor's
 * by now, and be stopping that. */
static void dispose(dctx_system_t *system, dctx_runner_t *runner, dctx_node_t *node,
                    dctx_node_kind_t kind)
{
    dctx_tally_t tally = DCTX_TALLY_CONSUMED;
    if (kind == DCTX_NODE_MESSAGE) {
        unsigned flags = node->flags;
        /* One that was kept is still to be handled, in another cell. */
        if (__builtin_expect(!(flags & DCTX_MESSAGE_KEPT), 1))
            tally = flags & DCTX_MESSAGE_HANDLED ? DCTX_TALLY_HANDLED : DCTX_TALLY_DEAD;
        dctx_message_finish_(system, runner, dctx_message_of(node), node->outcome);
    } else if (kind == DCTX_NODE_NUDGE) {
        dctx_urgent_renew_(system, runner, node);
    } else if (kind == DCTX_NODE_TIMER) {
        dctx_timer_done_(system, node);
    } else if (kind == DCTX_NODE_STREAM) {
        dctx_channel_done_(system, node);
    } else if (kind == DCTX_NODE_SIGNAL) {
        dctx_signal_release_(dctx_signal_of(node));
    } else if (kind != DCTX_NODE_STOP) {
        dctx_message_release_(system, runner, dctx_message_of(node));
    }
    dctx_count_(system, runner, tally);
}

/* Handles what was put back, while a spent node keeps the mailbox ours:
 * DCTX_TURN_IDLE when that is done. */
static dctx_turn_t replay(dctx_runner_t *runner, dctx_actor_t *actor, unsigned *n, unsigned most)
{
    while (actor->unstashed && !dctx_life_is_suspended_(actor)) {
        if (*n >= most)
            return DCTX_TURN_AGAIN;
        ++*n;
        if (dctx_urgent_waits_(actor)) {
            /* The whole of it: only while a node waits in the mailbox is a part sure to be come
             * back for. */
            if (take_urgent(runner, actor, UINT_MAX) == DCTX_TURN_ABANDONED)
                return DCTX_TURN_ABANDONED;
            continue; /* that may have changed all */
        }
        dctx_message_t *message = dctx_stash_next_(actor);
        if (!serve(runner, actor, message))
            return DCTX_TURN_ABANDONED;
        if (actor->stopping && !dctx_life_settle_(runner, actor))
            return DCTX_TURN_ABANDONED;
        dctx_stash_done_(actor);
        dispose(runner->system, runner, &message->node, DCTX_NODE_MESSAGE);
    }
    return DCTX_TURN_IDLE;
}

static void settle(dctx_runner_t *runner)
{
    dctx_handle_cool_(runner);
    runner->in_turn = false;
    dctx_lot_settle_both(&runner->given, &runner->spent);
}

/* Whether a node that is done with can be released without a call of anybody's: a handled message
 * that wants no answer any more, or the end of an ask, without a value that has to be destroyed. */
static inline bool is_light(const dctx_node_t *node, dctx_node_kind_t kind)
{
    const unsigned asked = DCTX_MESSAGE_ASK | DCTX_MESSAGE_ANSWERED;
    unsigned flags = node->flags & (unsigned)~DCTX_MESSAGE_HANDLED;
    bool handled = kind == DCTX_NODE_MESSAGE && flags != node->flags;
    if (!(handled && (flags == 0 || flags == asked)) && !(kind == DCTX_NODE_REPLY && flags == 0))
        return false;
    const dctx_message_t *message = dctx_message_of((dctx_node_t *)(uintptr_t)node);
    return message->type == NULL || message->type->destroy == NULL;
}

/* A node that is out of the mailbox. With the last one counted all may be quiet: by then nothing of
 * the others is left. */
static inline void let_go(dctx_runner_t *runner, dctx_node_t *node, dctx_node_kind_t kind,
                          bool last)
{
    if (!is_light(node, kind)) {
        if (last)
            settle(runner);
        dispose(runner->system, runner, node, kind);
        return;
    }
    dctx_message_t *message = dctx_message_of(node);
    if (message->snapshot != NULL)
        dctx_lot_spend(&runner->spent, message->snapshot);
    if (last)
        settle(runner);
    dctx_pool_give_(&runner->system->pool, &runner->cells, message);
    dctx_tally_own(&runner->tallies,
                   kind == DCTX_NODE_MESSAGE ? DCTX_TALLY_HANDLED : DCTX_TALLY_CONSUMED);
}

static dctx_turn_t turn(dctx_runner_t *runner, dctx_actor_t *actor, unsigned most)
{
    for (unsigned n = 0;; n++) {
        dctx_node_t *node = dctx_mailbox_peek(&actor->out);
        if (node == NULL)
            return DCTX_TURN_AGAIN;
        if (!node->spent) {
            if (n >= most)
                return DCTX_TURN_AGAIN;
            dctx_pinned_t *pinned = atomic_load_explicit(&actor->pinned, memory_order_acquire);
            if (__builtin_expect(pinned != NULL, 0) && !dctx_pinned_is_(pinned, runner)) {
                dctx_pinned_wake_(pinned);
                return DCTX_TURN_IDLE;
            }
            if (__builtin_expect(dctx_urgent_waits_(actor), 0)) {
                dctx_turn_t urgent = take_urgent(runner, actor, most);
                if (urgent != DCTX_TURN_IDLE)
                    return urgent;
            }
            if (dctx_life_is_suspended_(actor) && dctx_life_waits_(actor, node)) {
                if (dctx_urgent_park_(actor))
                    return DCTX_TURN_IDLE;
                continue;
            }
            /* Put back before it was suspended, or for a restart. */
            if (__builtin_expect(actor->unstashed, 0) && !dctx_life_is_suspended_(actor)) {
                dctx_turn_t turn = replay(runner, actor, &n, most);
                if (turn != DCTX_TURN_IDLE)
                    return turn;
                continue;
            }
            dctx_plain_t plain = dctx_handle_plain_(runner, actor, &n, most);
            if (plain == DCTX_PLAIN_ABANDONED)
                return DCTX_TURN_ABANDONED;
            if (plain == DCTX_PLAIN_LOOK && actor->out.tail != node) {
                n--; /* each was counted; the loop counts one more */
                continue;
            }
            node = actor->out.tail;
            if (plain == DCTX_PLAIN_LOOK && !take(runner, actor, node))
                return DCTX_TURN_ABANDONED;
            if (__builtin_expect(actor->stopping, 0) && !dctx_life_settle_(runner, actor))
                return DCTX_TURN_ABANDONED;
            node->spent = 1;
        }
        if (__builtin_expect(actor->unstashed, 0) && !dctx_life_is_suspended_(actor)) {
            dctx_turn_t turn = replay(runner, actor, &n, most);
            if (turn != DCTX_TURN_IDLE)
                return turn;
        }
        bool gone = false;
        dctx_node_kind_t kind = (dctx_node_kind_t)node->kind;
        dctx_advance_t next = advance(actor, node, &gone);
        if (next == DCTX_ADVANCE_BUSY)
            return DCTX_TURN_AGAIN;
        let_go(runner, node, kind, next == DCTX_ADVANCE_IDLE);
        if (next == DCTX_ADVANCE_IDLE)
            return gone ? DCTX_TURN_GONE : DCTX_TURN_IDLE;
    }
}

dctx_turn_t dctx_turn_(dctx_runner_t *runner, dctx_actor_t *actor, unsigned most)
{
    dctx_runner_turn(runner, actor);
    if (dctx_runner_is_given_up(runner))
        return DCTX_TURN_ABANDONED;
    runner->in_turn = true;
    dctx_turn_t result = turn(runner, actor, most);
    /* One that was given up keeps what it has: it is not to touch anything of the system's. */
    if (result == DCTX_TURN_ABANDONED)
        return result;
    settle(runner);
    return result;
}

bool dctx_turn_outside_(dctx_runner_t *runner, dctx_actor_t *actor,
                        void (*call)(dctx_actor_t *actor, void *arg), void *arg)
{
    dctx_scope_t scope;
    runner->outside = true;
    dctx_runner_turn(runner, actor);
    if (dctx_runner_is_given_up(runner))
        return false;
    dctx_runner_begin(runner, actor, NULL, NULL, "actor:");
    dctx_handle_enter_(runner, NULL, actor->scope, &scope);
    runner->callback = "on_ready";
    call(actor, arg);
    runner->callback = NULL;
    dctx_handle_leave_(runner, actor, &scope);
    if (!dctx_runner_end(runner))
        return false;
    if (actor->stopping) {
        /* The stop in the mailbox has the cell cleared away by a turn, once we have ended here. */
        if (dctx_life_will_end_(actor))
            (void)dctx_actor_stop_(runner->system, runner, dctx_self(actor).id_);
        if (!dctx_life_settle_(runner, actor))
            return false;
    }
    unsigned n = 0;
    if (replay(runner, actor, &n, UINT_MAX) == DCTX_TURN_ABANDONED)
        return false;
    runner->outside = false;
    return true;
}

/* The end of an ask made from outside, which no thread of the system was left to tell of. */
static void call_late(dctx_message_t *record)
{
    dctx_scope_t scope;
    bool entered =
        record->snapshot != NULL && dctx_enter_(record->snapshot, NULL, &scope) == DCTX_OK;
    record->u.done.run.call(record->u.done.status, record, record->u.done.arg);
    if (entered)
        (void)dctx_leave_(&scope);
}

/* What the stopper does with a node in the place of take(). */
static void clear_node(dctx_system_t *system, dctx_actor_t *actor, dctx_node_t *node, bool quietly)
{
    if (node->kind == DCTX_NODE_STOP)
        (void)atomic_fetch_and(&actor->life, ~DCTX_LIFE_STOP_POSTED);
    if (node->kind == DCTX_NODE_CALL)
        call_late(dctx_message_of(node));
    if (node->kind != DCTX_NODE_MESSAGE)
        return;
    dctx_error_t reason = death_of(actor, node);
    if (!quietly)
        dctx_message_die_with_(system, dctx_target_name_(actor, node), dctx_message_of(node),
                               reason, dctx_life_why_(actor, node), "");
    node->outcome = (uint8_t)reason;
}

/* The node that a thread which never came back is busy with. It may use it again at any time, so it
 * stays as it is, and we look at nothing in it that changes. */
static void pass_stuck(dctx_system_t *system, dctx_actor_t *actor, dctx_node_t *node,
                       dctx_runner_t *runner, bool quietly)
{
    bool message = node->kind == DCTX_NODE_MESSAGE;
    const dctx_type_t *type = atomic_load_explicit(&runner->type, memory_order_relaxed);
    if (message && !quietly)
        dctx_dead_letter_(system, dctx_target_name_(actor, node), dctx_type_label_(type),
                          DCTX_ERR_STOPPED, dctx_message_of(node)->snapshot,
                          dctx_message_of(node)->u.request.ask != 0);
    dctx_count_(system, NULL, message ? DCTX_TALLY_DEAD : DCTX_TALLY_CONSUMED);
}

static void clear_urgent(dctx_system_t *system, dctx_actor_t *actor, dctx_urgent_list_t list,
                         bool quietly)
{
    for (dctx_node_t *node; (node = dctx_urgent_next_(&list)) != NULL;) {
        clear_node(system, actor, node, quietly);
        dispose(system, NULL, node, (dctx_node_kind_t)node->kind);
    }
}

void dctx_turn_clear_(dctx_system_t *system, dctx_actor_t *actor, dctx_runner_t *stuck,
                      bool quietly)
{
    bool keep = stuck != NULL && !stuck->passed && !stuck->outside;
    dctx_urgent_list_t urgent = {0};
    if (keep && stuck->at_urgent) {
        if (stuck->urgent_hand != NULL)
            pass_stuck(system, actor, stuck->urgent_hand, stuck, quietly);
        urgent = stuck->urgent_rest;
        keep = false;
    }
    if (stuck != NULL)
        stuck->passed = true;
    bool ignored = false;
    /* A part of these may be in the extra, which goes with the actor. */
    dctx_urgent_list_t waiting = dctx_urgent_take_(actor, &ignored);
    if (atomic_load(&actor->life) & DCTX_LIFE_ALIVE)
        dctx_life_cut_(system, actor, stuck != NULL);
    clear_urgent(system, actor, urgent, quietly);
    clear_urgent(system, actor, waiting, quietly);
    clear_urgent(system, actor, dctx_urgent_take_(actor, &ignored), quietly);
    while (!(atomic_load(&actor->in.head) & DCTX_MAILBOX_IDLE)) {
        dctx_node_t *node = dctx_mailbox_peek(&actor->out);
        if (node == NULL)
            continue;
        keep = keep && !node->spent;
        if (keep)
            pass_stuck(system, actor, node, stuck, quietly);
        else if (!node->spent)
            clear_node(system, actor, node, quietly);
        dctx_node_kind_t kind = (dctx_node_kind_t)node->kind;
        while (dctx_mailbox_advance(&actor->in, &actor->out, node) == DCTX_ADVANCE_BUSY)
            sched_yield();
        if (!keep)
            dispose(system, NULL, node, kind);
        keep = false;
    }
    if (stuck != NULL || !(atomic_fetch_and(&actor->life, ~DCTX_LIFE_DEAD) & DCTX_LIFE_DEAD))
        return;
    dctx_release_(atomic_exchange(&actor->named, NULL));
    dctx_exit_unref(&actor->last);
}
