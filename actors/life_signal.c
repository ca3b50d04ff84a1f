#include "life_signal.h"

#include <dcontext/internal.h>

#include "kin.h"
#include "monitor.h"
#include "system.h"
#include "urgent.h"

static void ref(dctx_signal_kind_t kind, void *record)
{
    if (kind <= DCTX_SIGNAL_DOWN)
        dctx_monitor_ref_(record);
    else if (kind == DCTX_SIGNAL_UNTIE)
        dctx_untie_ref_(record);
    else
        dctx_bond_ref_(record);
}

static void unref(dctx_signal_kind_t kind, void *record)
{
    if (kind <= DCTX_SIGNAL_DOWN)
        dctx_monitor_unref_(record);
    else if (kind == DCTX_SIGNAL_UNTIE)
        dctx_untie_unref_(record);
    else
        dctx_bond_unref_(record);
}

/* To the I/O actor, of whose system another node's actor is an address. */
static bool post_far(dctx_system_t *system, dctx_runner_t *runner, dctx_signal_t *signal,
                     dctx_signal_kind_t kind)
{
    dctx_count_(system, runner, DCTX_TALLY_POSTED);
    if (runner == NULL && dctx_phase_(system) >= DCTX_PHASE_CLOSING) {
        dctx_count_(system, runner, DCTX_TALLY_CONSUMED);
        dctx_system_stirred_(system);
        return false;
    }
    ref(kind, signal->record);
    signal->node.kind = DCTX_NODE_SIGNAL;
    signal->node.flags = (uint16_t)kind;
    atomic_store_explicit(&signal->out, true, memory_order_relaxed);
    dctx_io_post_(&system->io, &signal->node);
    return true;
}

/* `runner` is of this system, or NULL. */
static bool post(dctx_system_t *system, dctx_runner_t *runner, dctx_ref_t to, dctx_signal_t *signal,
                 dctx_signal_kind_t kind)
{
    if (dctx_id_is_remote(to.id_))
        return post_far(system, runner, signal, kind);
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)to.id_);
    if (actor == NULL)
        return false;
    /* Counted first, as dctx_accept_() does. A thread of the system has left before it is closed
     * for good. */
    dctx_count_(system, runner, DCTX_TALLY_POSTED);
    if (runner == NULL && dctx_phase_(system) >= DCTX_PHASE_CLOSING) {
        dctx_count_(system, runner, DCTX_TALLY_CONSUMED);
        dctx_system_stirred_(system);
        return false;
    }
    ref(kind, signal->record);
    signal->node.generation = (uint32_t)(to.id_ >> 32);
    signal->node.kind = DCTX_NODE_SIGNAL;
    signal->node.flags = (uint16_t)kind;
    signal->node.spent = 0;
    atomic_store_explicit(&signal->out, true, memory_order_relaxed);
    if (kind == DCTX_SIGNAL_DOWN)
        dctx_post_(system, runner, actor, &signal->node);
    else
        dctx_post_urgent_(system, runner, actor, &signal->node);
    return true;
}

bool dctx_signal_tell_(dctx_runner_t *runner, dctx_ref_t to, uint64_t serial, dctx_signal_t *signal,
                       dctx_signal_kind_t kind)
{
    dctx_system_t *own = runner != NULL && runner->system == to.system_ ? runner->system : NULL;
    if (own != NULL)
        return (serial == 0 || own->serial == serial) && post(own, runner, to, signal, kind);
    dctx_system_t *system = dctx_systems_lock_(to.system_);
    if (system == NULL)
        return false;
    bool same = serial == 0 || system->serial == serial;
    bool posted = same && post(system, dctx_runner_of(system), to, signal, kind);
    dctx_systems_unlock_();
    return posted;
}

bool dctx_signal_post_(dctx_runner_t *runner, dctx_ref_t to, dctx_signal_t *signal,
                       dctx_signal_kind_t kind)
{
    return dctx_signal_tell_(runner, to, 0, signal, kind);
}

bool dctx_signal_take_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_signal_t *signal)
{
    /* A suspended actor serves nobody, but it lives: so `serving` cannot tell. Who posted this had
     * the id of an actor of the cell, so if it is the one of its generation it is all there. */
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_acquire);
    bool living = (life & DCTX_LIFE_ALIVE) && dctx_life_generation(life) == signal->node.generation;
    if (signal->node.flags <= DCTX_SIGNAL_UNTIE)
        return dctx_monitor_take_(runner, actor, signal, living);
    return dctx_bond_take_(runner, actor, signal, living);
}

void dctx_signal_release_(dctx_signal_t *signal)
{
    dctx_signal_kind_t kind = (dctx_signal_kind_t)signal->node.flags;
    void *record = signal->record;
    atomic_store_explicit(&signal->out, false, memory_order_release);
    unref(kind, record);
}
