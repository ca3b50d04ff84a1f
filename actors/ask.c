#include "ask.h"

#include <string.h>

#include <dcontext/internal.h>

#include "system.h"

enum { EXPIRE_GRAIN_NS = 1000000 }; /* asks are not looked at more often than this */

static const uint64_t generation_mask = 0x7fffffff;

void dctx_ask_slot_init_(void *slot)
{
    dctx_ask_slot_t *self = slot;
    atomic_init(&self->state, (uint64_t)1 << 1);
    atomic_init(&self->deadline, INT64_MAX);
    atomic_init(&self->peer, NULL);
}

static uint64_t next_state(uint64_t state)
{
    uint64_t generation = ((state >> 1) + 1) & generation_mask;
    return (generation == 0 ? 1 : generation) << 1;
}

/* Frees a slot whose ask is pending in the given state. True for the one caller who ended it. */
static bool take(dctx_ask_slot_t *slot, uint64_t state)
{
    /* Acquire: we see the record as it was filled in. */
    return atomic_compare_exchange_strong_explicit(&slot->state, &state, next_state(state),
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* Says that the ask which ends at `deadline` is there, to whom it may be news. */
static void note_deadline(dctx_system_t *system, int64_t deadline)
{
    /* Sequentially consistent, after the slot was, and dctx_asks_expire_() resets `due` before it reads the
     * slots: so it reads ours, or we read what it has set. */
    int64_t due = atomic_load(&system->due);
    while (deadline < due) {
        if (atomic_compare_exchange_weak(&system->due, &due, deadline)) {
            dctx_io_wake_(&system->io);
            return;
        }
    }
}

dctx_error_t dctx_ask_open_(dctx_system_t *system, dctx_message_t *record, int64_t deadline,
                            const dctx_peer_t *peer, uint64_t *ret_ask)
{
    dctx_ask_slot_t *slot = dctx_slab_take(&system->asks);
    if (slot == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an ask");
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed) | 1;
    slot->record = record;
    atomic_store_explicit(&slot->deadline, deadline, memory_order_relaxed);
    atomic_store_explicit(&slot->peer, peer, memory_order_relaxed);
    atomic_store(&slot->state, state);
    /* Stop closes the phase before it ends what is pending; if it did that before our store it has
     * not seen us. */
    if (dctx_phase_(system) >= DCTX_PHASE_CLOSING && take(slot, state)) {
        dctx_slab_give(&system->asks, slot);
        return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
    }
    if (deadline != INT64_MAX)
        note_deadline(system, deadline);
    *ret_ask = dctx_id_make(state >> 1, slot->slot.index);
    return DCTX_OK;
}

/* From here to dctx_ask_end_() or the return without a record, a thread from outside is counted as one that
 * may put something into a mailbox: see dctx_accept_(). */
static void count_posted(dctx_system_t *system, dctx_runner_t *runner, bool posted)
{
    if (runner == NULL) {
        dctx_tally_shared(dctx_outside_(system), DCTX_TALLY_POSTED, posted ? 1 : (uint64_t)-1);
        if (!posted)
            dctx_system_stirred_(system);
    } else if (posted) {
        dctx_tally_own(&runner->tallies, DCTX_TALLY_POSTED);
    }
}

static dctx_message_t *claim(dctx_system_t *system, dctx_runner_t *runner, dctx_ask_slot_t *slot,
                             uint64_t state)
{
    if (runner == NULL)
        count_posted(system, NULL, true);
    if (!take(slot, state)) {
        if (runner == NULL)
            count_posted(system, NULL, false);
        return NULL;
    }
    dctx_message_t *record = slot->record;
    dctx_slab_give(&system->asks, slot);
    bool posted = record->node.kind != DCTX_NODE_WAIT;
    if (posted != (runner == NULL))
        count_posted(system, runner, posted);
    return record;
}

static dctx_ask_slot_t *find(dctx_system_t *system, uint64_t ask, uint64_t *ret_state)
{
    *ret_state = (ask >> 32) << 1 | 1;
    return dctx_slab_at(&system->asks, (uint32_t)ask);
}

dctx_message_t *dctx_ask_claim_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                                const dctx_peer_t *from)
{
    uint64_t state = 0;
    dctx_ask_slot_t *slot = find(system, ask, &state);
    if (slot == NULL || atomic_load_explicit(&slot->state, memory_order_acquire) != state ||
        atomic_load_explicit(&slot->peer, memory_order_relaxed) != from)
        return NULL;
    return claim(system, runner, slot, state);
}

bool dctx_ask_withdraw_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                        const dctx_peer_t *peer)
{
    dctx_message_t *record = dctx_ask_claim_(system, runner, ask, peer);
    if (record == NULL)
        return false;
    if (record->node.kind != DCTX_NODE_WAIT && runner == NULL)
        count_posted(system, NULL, false);
    else if (record->node.kind != DCTX_NODE_WAIT)
        dctx_tally_own(&runner->tallies, DCTX_TALLY_CONSUMED);
    return true;
}

bool dctx_ask_is_pending_(dctx_system_t *system, uint64_t ask)
{
    uint64_t state = 0;
    dctx_ask_slot_t *slot = find(system, ask, &state);
    return slot != NULL && atomic_load_explicit(&slot->state, memory_order_acquire) == state;
}

void dctx_ask_end_(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *record,
                   dctx_error_t status)
{
    record->u.done.status = status;
    dctx_count_(system, runner, status == DCTX_OK ? DCTX_TALLY_REPLIES : DCTX_TALLY_ASKS_FAILED);
    if (status == DCTX_ERR_TIMEOUT)
        dctx_count_(system, runner, DCTX_TALLY_ASKS_TIMED_OUT);
    else if (status == DCTX_ERR_DEADLINE)
        dctx_count_(system, runner, DCTX_TALLY_ASKS_EXPIRED);
    if (record->node.kind == DCTX_NODE_WAIT) {
        dctx_waiter_t *waiter = record->u.done.arg;
        atomic_store_explicit(&waiter->done, 1, memory_order_release);
        /* The waiter may be gone by now; a wake-up on a word that is no more does no harm. */
        dctx_futex_wake_one(&waiter->done);
        return;
    }
    dctx_post_(system, runner, dctx_slab_at(&system->actors, record->u.done.actor), &record->node);
}

static void fail(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *record,
                 dctx_error_t error, const char *reason)
{
    if (reason != NULL)
        dctx_message_set_reason_(record, reason, strlen(reason));
    dctx_ask_end_(system, runner, record, error);
}

bool dctx_ask_fail_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask, dctx_error_t error,
                    const char *reason)
{
    uint64_t state = 0;
    dctx_ask_slot_t *slot = find(system, ask, &state);
    dctx_message_t *record = slot == NULL ? NULL : claim(system, runner, slot, state);
    if (record != NULL)
        fail(system, runner, record, error, reason);
    return record != NULL;
}

void dctx_asks_fail_(dctx_system_t *system, dctx_runner_t *runner, const dctx_peer_t *peer,
                     dctx_error_t error)
{
    uint32_t count = dctx_slab_count(&system->asks);
    for (uint32_t i = 0; i < count; i++) {
        dctx_ask_slot_t *slot = dctx_slab_at(&system->asks, i);
        uint64_t state = atomic_load(&slot->state);
        if (!(state & 1) ||
            (peer != NULL && atomic_load_explicit(&slot->peer, memory_order_relaxed) != peer))
            continue;
        /* That the swap succeeds shows that the peer we read was of this ask. */
        dctx_message_t *record = claim(system, runner, slot, state);
        if (record != NULL)
            fail(system, runner, record, error, NULL);
    }
}

int64_t dctx_asks_expire_(dctx_system_t *system, dctx_runner_t *runner)
{
    int64_t due = atomic_load(&system->due);
    if (due == INT64_MAX)
        return due;
    int64_t now = dctx_now_(system);
    if (due > now)
        return due;
    atomic_store(&system->due, INT64_MAX);
    int64_t earliest = INT64_MAX;
    uint32_t count = dctx_slab_count(&system->asks);
    for (uint32_t i = 0; i < count; i++) {
        dctx_ask_slot_t *slot = dctx_slab_at(&system->asks, i);
        uint64_t state = atomic_load(&slot->state);
        if (!(state & 1))
            continue;
        int64_t deadline = atomic_load_explicit(&slot->deadline, memory_order_relaxed);
        if (deadline > now) {
            earliest = deadline < earliest ? deadline : earliest;
            continue;
        }
        dctx_message_t *record = claim(system, runner, slot, state);
        if (record != NULL)
            fail(system, runner, record, record->u.done.status, NULL);
    }
    if (earliest != INT64_MAX && earliest < now + EXPIRE_GRAIN_NS && system->stage.world == NULL)
        earliest = now + EXPIRE_GRAIN_NS;
    due = atomic_load(&system->due);
    while (earliest < due && !atomic_compare_exchange_weak(&system->due, &due, earliest)) {
    }
    return earliest < due ? earliest : due;
}
