#include "kin.h"

#include <assert.h>

#include <dcontext/internal.h>

#include "actor.h"
#include "exit.h"
#include "extra.h"
#include "life.h"
#include "supervisor.h"
#include "system.h"

/* One of the signals that is not on its way. There is one: see DCTX_BOND_REPORTS. */
static dctx_signal_t *pick(dctx_signal_t *signals, int count)
{
    for (int i = 0; i < count; i++) {
        if (!atomic_load_explicit(&signals[i].out, memory_order_acquire))
            return &signals[i];
    }
    assert(false && "more is on its way than there can be");
    return NULL;
}

static void ring(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner, bool over)
{
    dctx_bond_t *bond =
        (dctx_bond_t *)(void *)((unsigned char *)alarm - offsetof(dctx_bond_t, alarm));
    (void)system;
    dctx_signal_t *wake = over ? NULL : pick(bond->wakes, DCTX_BOND_WAKES);
    if (wake != NULL)
        (void)dctx_signal_post_(runner, bond->parent, wake, DCTX_SIGNAL_WAKE);
    dctx_bond_unref_(bond);
}

dctx_bond_t *dctx_bond_new_(dctx_ref_t parent, dctx_ref_t child)
{
    dctx_bond_t *bond = dctx_calloc_(1, sizeof *bond);
    dctx_extra_t *spare = bond != NULL ? dctx_extra_new_() : NULL;
    if (spare == NULL) {
        dctx_release_(bond);
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for the bond between two actors");
        return NULL;
    }
    atomic_init(&bond->references, 1);
    bond->parent = parent;
    bond->child = child;
    bond->spare = spare;
    bond->alarm.ring = ring;
    bond->adopt.record = bond->ended.record = bond;
    for (int i = 0; i < DCTX_BOND_WAKES; i++)
        bond->wakes[i].record = bond;
    for (int i = 0; i < DCTX_BOND_REPORTS; i++)
        bond->reports[i].record = bond;
    for (int i = 0; i < DCTX_BOND_ORDERS; i++)
        bond->orders[i].record = bond;
    return bond;
}

void dctx_bond_ref_(dctx_bond_t *bond)
{
    (void)atomic_fetch_add_explicit(&bond->references, 1, memory_order_relaxed);
}

void dctx_bond_unref_(dctx_bond_t *bond)
{
    if (atomic_fetch_sub_explicit(&bond->references, 1, memory_order_acq_rel) > 1)
        return;
    dctx_exit_unref(&bond->failure);
    dctx_exit_unref(&bond->report);
    dctx_exit_unref(&bond->retire_cause);
    dctx_exit_unref(&bond->stop_cause);
    dctx_release_(bond->spare);
    dctx_release_(bond);
}

void dctx_bond_report_(dctx_runner_t *runner, dctx_bond_t *bond, dctx_signal_kind_t kind)
{
    dctx_signal_t *signal = pick(bond->reports, DCTX_BOND_REPORTS);
    if (signal != NULL)
        (void)dctx_signal_post_(runner, bond->parent, signal, kind);
}

void dctx_bond_order_(dctx_runner_t *runner, dctx_bond_t *bond, dctx_signal_kind_t kind)
{
    dctx_signal_t *signal = pick(bond->orders, DCTX_BOND_ORDERS);
    if (signal != NULL)
        (void)dctx_signal_post_(runner, bond->child, signal, kind);
}

void dctx_bond_stop_(dctx_runner_t *runner, dctx_bond_t *bond, dctx_stop_why_t why,
                     const dctx_exit_t *cause)
{
    /* Once: the child may be reading it. */
    if (atomic_load_explicit(&bond->stop_why, memory_order_relaxed) == DCTX_STOP_ANYBODY) {
        dctx_exit_unref(&bond->stop_cause);
        bond->stop_cause = dctx_exit_ref(cause);
        atomic_store_explicit(&bond->stop_why, (int)why, memory_order_release);
    }
    (void)dctx_actor_stop_(bond->child.system_, runner, bond->child.id_);
}

/* A report for a parent that has gone: nobody will decide. */
static void turn_away(dctx_runner_t *runner, dctx_bond_t *bond, dctx_signal_kind_t kind)
{
    if (kind == DCTX_SIGNAL_ADOPT || kind == DCTX_SIGNAL_FAILED || kind == DCTX_SIGNAL_RETIRED)
        dctx_bond_stop_(runner, bond, DCTX_STOP_PARENT, NULL);
}

bool dctx_bond_take_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_signal_t *signal, bool living)
{
    dctx_bond_t *bond = signal->record;
    dctx_signal_kind_t kind = (dctx_signal_kind_t)signal->node.flags;
    bool order = kind >= DCTX_SIGNAL_RESUME;
    if (!living && !order)
        turn_away(runner, bond, kind);
    if (!living)
        return true;
    if (!order)
        return dctx_supervisor_take_(runner, actor, bond, kind);
    if (actor->extra->kin.ending == DCTX_ENDING_END)
        return true;
    switch (kind) {
    case DCTX_SIGNAL_RESUME:
        return dctx_life_resume_(runner, actor);
    case DCTX_SIGNAL_RETIRE:
        return dctx_life_retire_(runner, actor);
    default:
        return dctx_life_begin_(runner, actor);
    }
}

void dctx_kin_end_(dctx_runner_t *runner, dctx_system_t *system, dctx_kin_t *kin,
                   const dctx_exit_t *exit)
{
    for (dctx_bond_t *bond = kin->oldest, *younger; bond != NULL; bond = younger) {
        younger = bond->younger;
        bond->listed = false;
        if (bond->alarm_for != DCTX_BOND_QUIET && dctx_alarm_cancel_(system, &bond->alarm))
            dctx_bond_unref_(bond);
        /* The one who stops the system ends them himself. */
        if (runner != NULL)
            dctx_bond_stop_(runner, bond, DCTX_STOP_PARENT, exit);
        dctx_bond_unref_(bond);
    }
    if (kin->bond != NULL) {
        if (runner != NULL)
            (void)dctx_signal_post_(runner, kin->bond->parent, &kin->bond->ended,
                                    DCTX_SIGNAL_ENDED);
        dctx_bond_unref_(kin->bond);
    }
    dctx_snapshot_unref(&kin->start_context);
    dctx_exit_unref(&kin->failure);
    dctx_exit_unref(&kin->exit);
    dctx_release_(kin->supervisor);
}

/* ---- spawning -------------------------------------------------------------------------------- */

/* The parent, if the calling thread is in its turn. */
static dctx_actor_t *parent_here(dctx_ref_t parent)
{
    dctx_runner_t *here = dctx_runner_here;
    dctx_actor_t *actor = here != NULL ? here->actor : NULL;
    bool it = actor != NULL && actor != &actor->system->self &&
              dctx_ref_equal(dctx_life_ref_(actor), parent) && dctx_life_is_alive_(parent);
    return it ? actor : NULL;
}

static dctx_error_t check_parent(dctx_ref_t parent, dctx_ref_t child)
{
    if (dctx_ref_is_remote(parent) || parent.system_ != child.system_)
        return dctx_fail_(DCTX_ERR_INVALID, "a parent is an actor of the same system");
    if (!dctx_life_is_alive_(parent))
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the parent has gone");
    dctx_actor_t *here = parent_here(parent);
    if (here == NULL)
        return DCTX_OK;
    dctx_extra_t *extra = dctx_extra_get_(here);
    if (extra == NULL)
        return DCTX_ERR_NOMEM;
    if (extra->kin.ending != DCTX_ENDING_NOT || dctx_runner_here->end != NULL)
        return dctx_fail_(DCTX_ERR_STOPPED, "%s is stopping, and has no more children",
                          dctx_self_name(here));
    return dctx_supervisor_make_(&extra->kin, NULL);
}

static dctx_error_t prepare_child(dctx_actor_t *actor, dctx_kin_t *kin, dctx_ref_t parent,
                                  dctx_ref_t ref)
{
    dctx_error_t error = check_parent(parent, ref);
    if (error != DCTX_OK)
        return error;
    kin->bond = dctx_bond_new_(parent, ref);
    if (kin->bond == NULL)
        return DCTX_ERR_NOMEM;
    if (actor->start != NULL && actor->start->snapshot != NULL)
        kin->start_context = dctx_snapshot_ref(actor->start->snapshot);
    return DCTX_OK;
}

dctx_error_t dctx_kin_prepare_(dctx_actor_t *actor, const dctx_actor_options_t *options,
                               dctx_ref_t ref)
{
    bool child = !dctx_ref_is_none(options->parent);
    if (!child && options->supervision == NULL && options->new_state == NULL &&
        options->on_tied == NULL)
        return DCTX_OK;
    dctx_extra_t *extra = dctx_extra_get_(actor);
    if (extra == NULL)
        return DCTX_ERR_NOMEM;
    dctx_kin_t *kin = &extra->kin;
    extra->monitors.on_tied = options->on_tied;
    kin->new_state = options->new_state;
    kin->seed = options->state;
    kin->on_start = options->on_start;
    kin->handler = options->handler;
    if (options->supervision != NULL) {
        dctx_error_t error = dctx_supervisor_make_(kin, options->supervision);
        if (error != DCTX_OK)
            return error;
    }
    return child ? prepare_child(actor, kin, options->parent, ref) : DCTX_OK;
}

void dctx_kin_discard_(dctx_actor_t *actor)
{
    dctx_extra_t *extra = actor->extra;
    actor->extra = NULL;
    if (extra->kin.bond != NULL)
        dctx_bond_unref_(extra->kin.bond);
    dctx_snapshot_unref(&extra->kin.start_context);
    dctx_release_(extra->kin.supervisor);
    dctx_pipeline_finish(&extra->pipeline);
    dctx_release_(extra);
}

dctx_bond_t *dctx_kin_open_(dctx_actor_t *actor, uint64_t *life, uint32_t *serving)
{
    dctx_kin_t *kin = actor->extra != NULL ? &actor->extra->kin : NULL;
    if (kin == NULL || kin->bond == NULL)
        return NULL;
    *life |= DCTX_LIFE_CHILD;
    dctx_actor_t *parent = parent_here(kin->bond->parent);
    if (parent != NULL) {
        dctx_supervisor_add_(parent, kin->bond);
        return NULL;
    }
    /* It begins when its parent says so. */
    *life |= DCTX_LIFE_SUSPENDED;
    *serving |= DCTX_SERVING_SUSPENDED;
    kin->unborn = kin->down = true;
    dctx_bond_ref_(kin->bond);
    return kin->bond;
}

void dctx_kin_offer_(dctx_runner_t *runner, dctx_bond_t *bond)
{
    if (!dctx_signal_post_(runner, bond->parent, &bond->adopt, DCTX_SIGNAL_ADOPT))
        dctx_bond_stop_(runner, bond, DCTX_STOP_PARENT, NULL);
    dctx_bond_unref_(bond);
}
