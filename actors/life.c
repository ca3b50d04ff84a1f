#include "life.h"

#include <stdio.h>
#include <string.h>

#include <dcontext/handling.h>
#include <dcontext/internal.h>

#include "ask.h"
#include "channel.h"
#include "gauge.h"
#include "stash.h"
#include "stop.h"
#include "supervisor.h"
#include "system.h"
#include "timer.h"
#include "handle.h"

enum { CHAIN_MAX = 1024, WHERE_MAX = 320, LINE_MAX_ = 1024 };

static const uint32_t generation_mask = 0x7fffffff;

static dctx_kin_t *kin_of(const dctx_actor_t *actor)
{
    return actor->extra != NULL ? &actor->extra->kin : NULL;
}

/* ---- who it is ------------------------------------------------------------------------------- */

dctx_ref_t dctx_life_ref_(dctx_actor_t *actor)
{
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_relaxed);
    return (dctx_ref_t){.system_ = actor->system,
                        .id_ = dctx_id_make(dctx_life_generation(life), actor->slot.index)};
}

bool dctx_life_is_alive_(dctx_ref_t ref)
{
    dctx_system_t *system = ref.system_;
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)ref.id_);
    uint64_t life = actor == NULL ? 0 : atomic_load(&actor->life);
    return (life & DCTX_LIFE_ALIVE) && life >> 32 == ref.id_ >> 32;
}

bool dctx_life_is_ending_(const dctx_actor_t *actor)
{
    const dctx_kin_t *kin = kin_of(actor);
    return kin != NULL && kin->ending == DCTX_ENDING_END;
}

bool dctx_life_serves_(const dctx_actor_t *actor)
{
    uint32_t serving = atomic_load_explicit(&actor->serving, memory_order_acquire);
    return serving != 0 && !(serving & DCTX_SERVING_SUSPENDED);
}

bool dctx_life_waits_(dctx_actor_t *actor, const dctx_node_t *node)
{
    uint32_t serving = atomic_load_explicit(&actor->serving, memory_order_acquire);
    return node->generation == (serving & generation_mask) && node->kind != DCTX_NODE_START &&
           node->kind != DCTX_NODE_STOP;
}

dctx_exit_t *dctx_life_last_exit_(dctx_actor_t *actor, uint32_t generation)
{
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_acquire);
    bool last = (life & DCTX_LIFE_DEAD) && dctx_life_generation(life) == (uint64_t)generation + 1;
    if (last && !(life & DCTX_LIFE_STUCK) && actor->last != NULL)
        return dctx_exit_ref(actor->last);
    dctx_exit_words_t words = {.who = last ? actor->scope + DCTX_NAME_AT : NULL};
    return dctx_exit_new_(DCTX_EXIT_NO_ACTOR, DCTX_ERR_NO_ACTOR, &words, NULL);
}

const dctx_exit_t *dctx_life_why_(dctx_actor_t *actor, const dctx_node_t *node)
{
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_acquire);
    uint64_t generation = dctx_life_generation(life);
    if (life & DCTX_LIFE_DEAD && generation == (uint64_t)node->generation + 1)
        return life & DCTX_LIFE_STUCK ? NULL : actor->last;
    bool here = life & DCTX_LIFE_ALIVE && generation == node->generation;
    return here && dctx_life_is_ending_(actor) ? kin_of(actor)->exit : NULL;
}

static dctx_exit_t *exit_of(dctx_end_t *end, const dctx_actor_t *actor)
{
    dctx_exit_words_t words = {.who = actor->scope + DCTX_NAME_AT};
    if (end->exit == NULL)
        end->exit = dctx_exit_new_(end->kind, end->error, &words, end->cause);
    return end->exit;
}

const dctx_exit_t *dctx_self_exit(dctx_actor_t *self)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || here == NULL || here->actor != self)
        return NULL;
    if (here->end != NULL)
        return exit_of(here->end, self);
    dctx_kin_t *kin = kin_of(self);
    return kin != NULL && (kin->down || dctx_life_is_suspended_(self)) ? kin->exit : NULL;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* No message is served any more and no new one taken; the name is free. */
static void close_life(dctx_system_t *system, dctx_actor_t *actor, dctx_error_t reason)
{
    actor->death = reason;
    atomic_store_explicit(&actor->serving, 0, memory_order_relaxed);
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_relaxed);
    uint64_t closed;
    do {
        uint64_t generation = (dctx_life_generation(life) + 1) & generation_mask;
        if (generation == 0)
            generation = 1;
        closed = generation << 32 | DCTX_LIFE_DEAD | (life & DCTX_LIFE_STOP_POSTED);
    } while (!atomic_compare_exchange_weak_explicit(&actor->life, &life, closed,
                                                    memory_order_acq_rel, memory_order_relaxed));
    dctx_gauge_close_(actor);
    if (life & DCTX_LIFE_GROUPED)
        dctx_groups_forget_(&system->groups,
                            dctx_id_make(dctx_life_generation(life), actor->slot.index));
    dctx_name_t *named = atomic_load_explicit(&actor->named, memory_order_relaxed);
    if (named != NULL)
        dctx_names_remove(&system->names, named);
}

/* Runs on_stop. False: given up in it. The runner is in user code. */
static bool run_stop(dctx_runner_t *runner, dctx_actor_t *actor, dctx_end_t *end)
{
    if (actor->on_stop == NULL)
        return true;
    dctx_scope_t scope;
    dctx_handle_enter_(runner, NULL, actor->scope, &scope);
    runner->end = end;
    actor->on_stop(actor, actor->state);
    runner->end = NULL;
    dctx_handle_leave_(runner, actor, &scope);
    return !dctx_runner_is_given_up(runner);
}

/* True if on_start has run, or there was none, and on_stop has not. */
static bool is_up(const dctx_actor_t *actor, const dctx_kin_t *kin)
{
    return actor->start == NULL && (kin == NULL || !kin->down);
}

static void destroy_state(dctx_actor_t *actor)
{
    dctx_kin_t *kin = kin_of(actor);
    bool made = kin == NULL || kin->new_state == NULL || kin->has_state;
    if (actor->destroy_state != NULL && made)
        actor->destroy_state(actor->state);
    if (kin != NULL)
        kin->has_state = false;
}

/* True if there is somebody who may want to know how it ended. */
static bool is_told(const dctx_actor_t *actor)
{
    return actor->extra != NULL || actor->system->options.on_dead_letter != NULL;
}

/* Ends an actor without children. `up`: its on_stop runs. */
static bool finish(dctx_runner_t *runner, dctx_actor_t *actor, dctx_end_t *end, bool up)
{
    dctx_system_t *system = runner->system;
    /* No application's code runs on a thread that was given up in ours. */
    if (dctx_runner_is_given_up(runner)) {
        dctx_exit_unref(&end->exit);
        return false;
    }
    /* In its last callbacks it is what it was. */
    uint64_t id = dctx_life_ref_(actor).id_;
    atomic_store_explicit(&actor->serving, (uint32_t)(id >> 32), memory_order_relaxed);
    actor->start = NULL;
    dctx_runner_begin(runner, actor, NULL, NULL, "actor:");
    if (up && !run_stop(runner, actor, end))
        return false;
    dctx_exit_t *exit = is_told(actor) ? exit_of(end, actor) : end->exit;
    dctx_error_t reason = end->kind == DCTX_EXIT_START_FAILED ? end->error : DCTX_ERR_STOPPED;
    close_life(system, actor, reason);
    /* What is called from here on is called by nobody: an ask of one who is gone would have nobody
     * to end for. */
    runner->actor = &system->self;
    destroy_state(actor);
    actor->last = exit;
    actor->stopping = false;
    if (actor->extra != NULL)
        dctx_extra_clear_(runner, actor);
    if (actor->asks != 0)
        dctx_asks_abandon_(system, runner, id);
    if (!dctx_runner_end(runner))
        return false;
    if (!actor->internal)
        dctx_tally_own(&runner->tallies, DCTX_TALLY_GONE);
    return actor->extra == NULL || dctx_extra_end_(runner, actor, exit);
}

void dctx_life_cut_(dctx_system_t *system, dctx_actor_t *actor, bool stuck)
{
    dctx_end_t end = {.kind = DCTX_EXIT_SYSTEM, .error = DCTX_ERR_STOPPED};
    close_life(system, actor, DCTX_ERR_STOPPED);
    if (!actor->internal)
        dctx_count_(system, NULL, DCTX_TALLY_GONE);
    if (stuck) {
        /* The thread may look at anything that is in the cell. */
        (void)atomic_fetch_or(&actor->life, DCTX_LIFE_STUCK);
        if (actor->extra != NULL)
            dctx_stash_lose_(actor);
        return;
    }
    destroy_state(actor);
    actor->stopping = false;
    actor->last = is_told(actor) ? exit_of(&end, actor) : NULL;
    if (actor->extra == NULL)
        return;
    dctx_extra_clear_(NULL, actor);
    (void)dctx_extra_end_(NULL, actor, actor->last);
}

/* Keeps how the actor ends until its children have. */
static void keep_exit(dctx_actor_t *actor, dctx_kin_t *kin, dctx_end_t *end)
{
    dctx_exit_t *exit = exit_of(end, actor);
    if (kin->exit != exit)
        dctx_exit_unref(&kin->exit);
    kin->exit = exit;
}

/* Takes the end's exit over. */
static bool end_with(dctx_runner_t *runner, dctx_actor_t *actor, dctx_end_t *end)
{
    dctx_kin_t *kin = kin_of(actor);
    bool hurry = atomic_load(&runner->system->hurry);
    if (kin == NULL || kin->oldest == NULL || hurry)
        return finish(runner, actor, end, is_up(actor, kin));
    keep_exit(actor, kin, end);
    kin->ending = DCTX_ENDING_END;
    actor->stopping = false;
    actor->death = DCTX_ERR_STOPPED;
    atomic_store_explicit(&actor->serving, 0, memory_order_relaxed);
    /* What it has put back for itself finds it gone, as what is in the mailbox will. */
    dctx_runner_begin(runner, &runner->system->self, NULL, NULL, NULL);
    dctx_extra_clear_(runner, actor);
    if (!dctx_runner_end(runner))
        return false;
    return dctx_supervisor_stop_all_(runner, actor, kin->exit);
}

bool dctx_life_end_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_exit_kind_t kind,
                    dctx_error_t error, const dctx_exit_t *cause)
{
    dctx_end_t end = {.kind = kind, .error = error, .cause = cause};
    if (kind == DCTX_EXIT_STOPPED && dctx_phase_(runner->system) >= DCTX_PHASE_CLOSING)
        end.kind = DCTX_EXIT_SYSTEM;
    return end_with(runner, actor, &end);
}

/* How it ends that is stopped: its parent may have said why. */
static void read_stop(dctx_actor_t *actor, dctx_kin_t *kin, dctx_end_t *end)
{
    dctx_bond_t *bond = kin != NULL ? kin->bond : NULL;
    int why = bond != NULL ? atomic_load_explicit(&bond->stop_why, memory_order_acquire)
                           : DCTX_STOP_ANYBODY;
    if (why == DCTX_STOP_DECIDED && kin->exit != NULL && dctx_life_is_suspended_(actor)) {
        end->exit = kin->exit;
        kin->exit = NULL;
    } else if (why != DCTX_STOP_ANYBODY) {
        end->kind = DCTX_EXIT_PARENT;
        end->cause = bond->stop_cause;
    }
}

/* The stop of the system has no more time: the actor does not wait for its children. */
static bool end_at_once(dctx_runner_t *runner, dctx_actor_t *actor, dctx_kin_t *kin)
{
    char name[DCTX_NAME_MAX + 1], line[2 * DCTX_NAME_MAX + 64];
    if (kin->youngest != NULL) {
        (void)dctx_ref_format(kin->youngest->child, name, sizeof name);
        snprintf(line, sizeof line, "%s: waiting for its child %s", actor->scope + DCTX_NAME_AT,
                 name[0] != '\0' ? name : "(gone)");
        dctx_stop_report_(runner->system, line);
    }
    dctx_end_t end = {.kind = DCTX_EXIT_SYSTEM, .error = DCTX_ERR_STOPPED, .exit = kin->exit};
    kin->exit = NULL;
    return finish(runner, actor, &end, is_up(actor, kin));
}

bool dctx_life_stop_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_kin_t *kin = kin_of(actor);
    bool hurry = atomic_load(&runner->system->hurry);
    if (kin != NULL && kin->ending == DCTX_ENDING_END)
        return !hurry || end_at_once(runner, actor, kin);
    dctx_end_t end = {.kind = DCTX_EXIT_STOPPED, .error = DCTX_ERR_STOPPED};
    if (dctx_phase_(runner->system) >= DCTX_PHASE_CLOSING)
        end.kind = DCTX_EXIT_SYSTEM;
    read_stop(actor, kin, &end);
    return end_with(runner, actor, &end);
}

bool dctx_life_alone_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_kin_t *kin = kin_of(actor);
    if (kin->ending == DCTX_ENDING_RETIRE) {
        kin->ending = DCTX_ENDING_NOT;
        return dctx_life_retire_(runner, actor);
    }
    dctx_end_t end = {.kind = DCTX_EXIT_STOPPED, .error = DCTX_ERR_STOPPED, .exit = kin->exit};
    kin->exit = NULL;
    return finish(runner, actor, &end, is_up(actor, kin));
}

/* ---- failing --------------------------------------------------------------------------------- */

/* Where the callback is in which it failed. */
static void format_where(const dctx_runner_t *runner, const dctx_kin_t *kin, char *where)
{
    const dctx_message_t *message = runner->message;
    where[0] = '\0';
    if (runner->end != NULL)
        snprintf(where, WHERE_MAX, "on_stop");
    else if ((kin != NULL && kin->beginning) ||
             (message != NULL && message->node.kind == DCTX_NODE_START))
        snprintf(where, WHERE_MAX, "on_start");
    else if (runner->callback != NULL)
        snprintf(where, WHERE_MAX, "%s", runner->callback);
    else if (message != NULL && message->node.kind == DCTX_NODE_MESSAGE)
        snprintf(where, WHERE_MAX, "handler of \"%s\"", dctx_runner_type_(runner));
    else if (message != NULL)
        snprintf(where, WHERE_MAX, "on_reply");
}

static dctx_exit_t *new_failure(const dctx_runner_t *runner, dctx_actor_t *actor,
                                dctx_exit_kind_t kind, dctx_error_t error, const char *reason)
{
    char chain[CHAIN_MAX], where[WHERE_MAX];
    (void)dctx_chain_format(chain, sizeof chain);
    format_where(runner, kin_of(actor), where);
    dctx_exit_words_t words = {
        .who = actor->scope + DCTX_NAME_AT, .reason = reason, .where = where, .chain = chain};
    return dctx_exit_new_(kind, error, &words, NULL);
}

static void note_failure(const dctx_runner_t *runner, dctx_actor_t *actor, dctx_error_t error,
                         const char *reason, bool returned)
{
    dctx_extra_t *extra = dctx_extra_get_(actor);
    actor->stopping = true;
    /* Without memory: it has no parent then, and so the error is all that is needed. */
    actor->death = error;
    if (extra == NULL || extra->kin.failure != NULL)
        return;
    extra->kin.failure = new_failure(runner, actor, DCTX_EXIT_FAILED, error, reason);
    extra->kin.returned = returned;
}

void dctx_self_fail(dctx_actor_t *self, dctx_error_t error, const char *reason)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || here == NULL || here->actor != self || here->end != NULL)
        return;
    note_failure(here, self, error == DCTX_OK ? DCTX_ERR_INVALID : error, reason, false);
}

void dctx_life_handled_(dctx_actor_t *actor, dctx_message_t *message, dctx_error_t returned,
                        dctx_error_t *error_p)
{
    dctx_kin_t *kin = kin_of(actor);
    if (kin == NULL)
        return;
    if (kin->failure == NULL && returned != DCTX_OK && kin->bond != NULL &&
        kin->bond->errors_are_failures)
        note_failure(dctx_runner_here, actor, returned, NULL, true);
    if (kin->failure == NULL)
        return;
    if (returned == DCTX_OK)
        *error_p = dctx_exit_error(kin->failure);
    const char *reason = dctx_exit_reason(kin->failure);
    bool waits = dctx_message_is_ask(message) && !(message->node.flags & DCTX_MESSAGE_ANSWERED);
    if (waits && reason[0] != '\0' && dctx_reply_error(message, *error_p, reason) != DCTX_OK)
        dctx_log(DCTX_LOG_WARNING, "an asker gets no reason: %s", dctx_error_detail());
}

/* True if it is suspended; false if it was told to stop already, and so is to end. */
static bool suspend(dctx_actor_t *actor)
{
    uint32_t serving = atomic_load_explicit(&actor->serving, memory_order_relaxed);
    atomic_store_explicit(&actor->serving, serving | DCTX_SERVING_SUSPENDED, memory_order_relaxed);
    uint64_t life = atomic_fetch_or(&actor->life, DCTX_LIFE_SUSPENDED);
    return !(life & DCTX_LIFE_STOP_POSTED);
}

static void unsuspend(dctx_actor_t *actor, dctx_kin_t *kin)
{
    uint32_t serving = atomic_load_explicit(&actor->serving, memory_order_relaxed);
    atomic_store_explicit(&actor->serving, serving & generation_mask, memory_order_relaxed);
    (void)atomic_fetch_and(&actor->life, ~DCTX_LIFE_SUSPENDED);
    dctx_exit_unref(&kin->exit);
}

bool dctx_life_fail_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_exit_t *exit, bool returned)
{
    char line[LINE_MAX_];
    dctx_kin_t *kin = kin_of(actor);
    dctx_tally_own(&runner->tallies, DCTX_TALLY_FAILURES);
    (void)dctx_exit_format(exit, line, sizeof line);
    dctx_log(DCTX_LOG_WARNING, "%s", line);
    dctx_bond_t *bond = kin != NULL ? kin->bond : NULL;
    bool alone = bond == NULL || dctx_phase_(runner->system) >= DCTX_PHASE_CLOSING;
    if (alone || !suspend(actor)) {
        dctx_end_t end = {.kind = DCTX_EXIT_FAILED, .error = DCTX_ERR_STOPPED, .exit = exit};
        return end_with(runner, actor, &end);
    }
    if (kin->exit != NULL)
        dctx_exit_unref(&kin->exit);
    kin->exit = exit;
    bond->report = dctx_exit_ref(exit);
    bond->report_returned = returned;
    dctx_bond_report_(runner, bond, DCTX_SIGNAL_FAILED);
    return true;
}

bool dctx_life_will_end_(dctx_actor_t *actor)
{
    dctx_kin_t *kin = kin_of(actor);
    bool suspends = kin != NULL && kin->failure != NULL && kin->bond != NULL &&
                    dctx_phase_(actor->system) < DCTX_PHASE_CLOSING;
    return actor->stopping && !suspends;
}

bool dctx_life_settle_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_kin_t *kin = kin_of(actor);
    dctx_error_t error = actor->death;
    actor->stopping = false;
    actor->death = DCTX_OK;
    if (kin != NULL && kin->failure != NULL) {
        dctx_exit_t *failure = kin->failure;
        kin->failure = NULL;
        return dctx_life_fail_(runner, actor, failure, kin->returned);
    }
    if (error != DCTX_OK)
        return dctx_life_fail_(runner, actor, dctx_exit_new_(DCTX_EXIT_FAILED, error, NULL, NULL),
                               false);
    return dctx_life_end_(runner, actor, DCTX_EXIT_SELF, DCTX_ERR_STOPPED, NULL);
}

/* ---- beginning ------------------------------------------------------------------------------- */

/* Makes the state, if that is the actor's to do, and runs on_start. */
static dctx_error_t call_start(dctx_actor_t *actor, dctx_kin_t *kin,
                               dctx_error_t (*on_start)(dctx_actor_t *, void *))
{
    if (kin != NULL && kin->new_state != NULL) {
        void *state = NULL;
        dctx_error_t error = kin->new_state(kin->seed, &state);
        if (error != DCTX_OK || dctx_runner_is_given_up(dctx_runner_here))
            return error;
        actor->state = state;
        kin->has_state = true;
    }
    return on_start != NULL ? on_start(actor, actor->state) : DCTX_OK;
}

/* The same in its context. False: abandoned. *ret_failure: why it did not start. */
static bool run_start(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                      const dctx_snapshot_t *context,
                      dctx_error_t (*on_start)(dctx_actor_t *, void *), dctx_exit_t **ret_failure)
{
    dctx_scope_t scope;
    dctx_kin_t *kin = kin_of(actor);
    dctx_runner_begin(runner, actor, message, context, "actor:");
    dctx_handle_enter_(runner, context, actor->scope, &scope);
    if (kin != NULL)
        kin->beginning = true;
    dctx_error_t error = call_start(actor, kin, on_start);
    if (dctx_runner_is_given_up(runner))
        return false;
    kin = kin_of(actor); /* it may have got that only now */
    if (error != DCTX_OK)
        *ret_failure = new_failure(runner, actor, DCTX_EXIT_START_FAILED, error, NULL);
    else if (kin != NULL && kin->failure != NULL)
        *ret_failure = dctx_exit_ref(kin->failure);
    if (kin != NULL) {
        dctx_exit_unref(&kin->failure);
        kin->beginning = false;
    }
    if (*ret_failure != NULL)
        actor->stopping = false;
    dctx_handle_leave_(runner, actor, &scope);
    return dctx_runner_end(runner);
}

bool dctx_life_start_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_message_t *start = actor->start;
    dctx_exit_t *failure = NULL;
    actor->start = NULL;
    if (!run_start(runner, actor, start, start->snapshot, start->u.done.run.on_start, &failure))
        return false;
    if (failure == NULL)
        return true;
    char line[LINE_MAX_];
    (void)dctx_exit_format(failure, line, sizeof line);
    dctx_log(DCTX_LOG_WARNING, "%s", line);
    dctx_extra_t *extra = actor->extra;
    if (extra != NULL)
        extra->kin.down = true;
    dctx_end_t end = {
        .kind = DCTX_EXIT_START_FAILED, .error = dctx_exit_error(failure), .exit = failure};
    if (extra != NULL)
        return end_with(runner, actor, &end);
    return finish(runner, actor, &end, false);
}

/* ---- a parent's orders ----------------------------------------------------------------------- */

bool dctx_life_resume_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_kin_t *kin = kin_of(actor);
    if (!dctx_life_is_suspended_(actor) || kin->down)
        return true;
    unsuspend(actor, kin);
    return dctx_supervisor_resume_(runner, actor);
}

/* Clears up what the actor was until now. */
static bool clear_up(dctx_runner_t *runner, dctx_actor_t *actor, dctx_kin_t *kin)
{
    dctx_end_t end = {.kind = DCTX_EXIT_PARENT,
                      .error = DCTX_ERR_STOPPED,
                      .cause = kin->bond->retire_cause,
                      .exit = kin->exit};
    kin->exit = exit_of(&end, actor);
    bool up = is_up(actor, kin);
    actor->start = NULL;
    dctx_runner_begin(runner, actor, NULL, NULL, "actor:");
    if (up && !run_stop(runner, actor, &end))
        return false;
    if (kin->new_state != NULL)
        destroy_state(actor);
    if (dctx_runner_is_given_up(runner))
        return false;
    dctx_channels_end_(runner, actor);
    /* What it kept for later is the new one's to look at. */
    (void)dctx_unstash_all(actor);
    if (!dctx_runner_end(runner))
        return false;
    actor->handler = kin->handler;
    actor->extra->behaviours.count = 0;
    actor->extra->poll.count = 0;
    actor->extra->poll.changes++;
    dctx_timers_end_(actor->system, actor->extra);
    dctx_monitors_withdraw_(runner, &actor->extra->monitors);
    kin->down = true;
    return true;
}

bool dctx_life_retire_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_kin_t *kin = kin_of(actor);
    if (!dctx_life_is_suspended_(actor) && !suspend(actor))
        return dctx_life_stop_(runner, actor);
    if (kin->oldest != NULL) {
        kin->ending = DCTX_ENDING_RETIRE;
        return dctx_supervisor_stop_all_(runner, actor, kin->exit);
    }
    if (!kin->down && !clear_up(runner, actor, kin))
        return false;
    dctx_supervisor_reset_(kin);
    dctx_bond_report_(runner, kin->bond, DCTX_SIGNAL_RETIRED);
    return true;
}

/* It did not begin. The first time that is its end, later a failure. */
static bool fail_to_begin(dctx_runner_t *runner, dctx_actor_t *actor, dctx_kin_t *kin,
                          dctx_exit_t *failure)
{
    if (kin->has_state) {
        dctx_runner_begin(runner, actor, NULL, NULL, NULL);
        destroy_state(actor);
        if (!dctx_runner_end(runner))
            return false;
    }
    if (!kin->unborn)
        return dctx_life_fail_(runner, actor, failure, false);
    dctx_end_t end = {
        .kind = DCTX_EXIT_START_FAILED, .error = dctx_exit_error(failure), .exit = failure};
    return end_with(runner, actor, &end);
}

bool dctx_life_begin_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_kin_t *kin = kin_of(actor);
    dctx_exit_t *failure = NULL;
    if (!kin->down)
        return true;
    if (!run_start(runner, actor, NULL, kin->start_context, kin->on_start, &failure))
        return false;
    if (failure != NULL)
        return fail_to_begin(runner, actor, kin, failure);
    if (!kin->unborn)
        dctx_tally_own(&runner->tallies, DCTX_TALLY_RESTARTS);
    kin->unborn = kin->down = false;
    unsuspend(actor, kin);
    dctx_bond_report_(runner, kin->bond, DCTX_SIGNAL_BEGUN);
    return true;
}
