#include "ask.h"

#include <sched.h>
#include <string.h>

#include <dcontext/internal.h>

#include "system.h"

enum { EXPIRE_GRAIN_NS = 1000000 }; /* asks are not looked at more often than this */

static const uint64_t generation_mask = 0x7fffffff;

void dctx_ask_slot_init_(void *slot)
{
    dctx_ask_slot_t *self = slot;
    atomic_init(&self->state, (uint64_t)1 << DCTX_ASK_BITS);
    atomic_init(&self->deadline, INT64_MAX);
    atomic_init(&self->peer, NULL);
    atomic_init(&self->asker, 0);
}

static uint64_t generation_of(uint64_t state)
{
    return state >> DCTX_ASK_BITS;
}

static bool is_pending(uint64_t state, uint64_t generation)
{
    return (state & DCTX_ASK_PENDING) && generation_of(state) == generation;
}

static uint64_t next_state(uint64_t state)
{
    uint64_t generation = (generation_of(state) + 1) & generation_mask;
    return (generation == 0 ? 1 : generation) << DCTX_ASK_BITS;
}

/* The state, once nobody is changing it but by claiming. Who has it locked is about to unlock
 * it. */
static uint64_t settled(dctx_ask_slot_t *slot)
{
    uint64_t state;
    unsigned spins = 0;
    while ((state = atomic_load(&slot->state)) & DCTX_ASK_LOCKED) {
        if (++spins % 64 == 0)
            (void)sched_yield();
        else
            dctx_pause();
    }
    return state;
}

/* What was in the slot of an ask that is pending no more. */
typedef struct taken {
    dctx_message_t *record;
    dctx_cancel_t *work; /* with the reference; NULL: none */
    const dctx_peer_t *peer;
    uint64_t ask;
} taken_t;

/* Frees a slot whose ask is pending in the given generation. True for the one caller who ended
 * it. */
static bool take(dctx_system_t *system, dctx_ask_slot_t *slot, uint64_t generation,
                 taken_t *ret_taken)
{
    uint64_t state;
    do {
        state = settled(slot);
        if (!is_pending(state, generation))
            return false;
        /* Acquire: we see the record as it was filled in. */
    } while (!atomic_compare_exchange_weak_explicit(&slot->state, &state, next_state(state),
                                                    memory_order_acq_rel, memory_order_relaxed));
    *ret_taken = (taken_t){.record = slot->record,
                           .peer = atomic_load_explicit(&slot->peer, memory_order_relaxed),
                           .ask = dctx_id_make(generation, slot->slot.index)};
    if (state & DCTX_ASK_WORK)
        ret_taken->work = slot->work;
    /* Afterwards nobody comes by the watch any more, and the slot may be another ask's. */
    if (state & DCTX_ASK_WATCHED)
        dctx_cancel_unwatch(&slot->watch);
    dctx_slab_give(&system->asks, slot);
    return true;
}

/* Says that the ask which ends at `deadline` is there, to whom it may be news. */
static void note_deadline(dctx_system_t *system, int64_t deadline)
{
    /* Sequentially consistent, after the slot was, and dctx_asks_expire_() resets `due` before it
     * reads the slots: so it reads ours, or we read what it has set. */
    int64_t due = atomic_load(&system->due);
    while (deadline < due) {
        if (atomic_compare_exchange_weak(&system->due, &due, deadline)) {
            dctx_io_wake_(&system->io);
            return;
        }
    }
}

static void on_scope(dctx_cancel_t *scope, void *arg);

/*
 * A slot of a new system. Another system may be at this one's address before long, or may have been
 * there, and who was asked by it know it by that alone (dctx_home_enter_()): so the numbers of no
 * two of them begin near each other, and an answer to one finds nothing in the other. By the golden
 * ratio, which spreads any count of systems evenly.
 */
static void begin(dctx_system_t *system, dctx_ask_slot_t *slot)
{
    uint64_t generation = system->serial * UINT64_C(0x4f1bbcdd) & generation_mask;
    slot->home = system;
    atomic_store(&slot->state, (generation == 0 ? 1 : generation) << DCTX_ASK_BITS);
}

/* Has the scope end the ask that is about to open; false, and it does not open, if it is
 * cancelled. */
static bool watch(dctx_system_t *system, dctx_ask_slot_t *slot, uint64_t state,
                  dctx_cancel_t *scope)
{
    /* On its first call the watch waits until the ask is open. */
    atomic_store(&slot->state, state | DCTX_ASK_LOCKED);
    if (dctx_cancel_watch_(scope, &slot->watch, on_scope, slot)) {
        atomic_store(&slot->state, state | DCTX_ASK_WATCHED);
        return true;
    }
    atomic_store(&slot->state, next_state(state));
    dctx_slab_give(&system->asks, slot);
    return false;
}

dctx_error_t dctx_ask_open_(dctx_system_t *system, dctx_message_t *record, int64_t deadline,
                            const dctx_peer_t *peer, dctx_cancel_t *scope, uint64_t *ret_ask)
{
    dctx_ask_slot_t *slot = dctx_slab_take(&system->asks);
    if (slot == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an ask");
    if (__builtin_expect(slot->home == NULL, 0))
        begin(system, slot);
    uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed) | DCTX_ASK_PENDING;
    bool by_actor = record->node.kind == DCTX_NODE_REPLY || record->node.kind == DCTX_NODE_RESULT;
    uint64_t asker = by_actor ? dctx_id_make(record->node.generation, record->u.done.actor) : 0;
    slot->record = record;
    atomic_store_explicit(&slot->deadline, deadline, memory_order_relaxed);
    atomic_store_explicit(&slot->peer, peer, memory_order_relaxed);
    atomic_store_explicit(&slot->asker, asker, memory_order_relaxed);
    if (__builtin_expect(scope == NULL, 1))
        atomic_store(&slot->state, state);
    else if (!watch(system, slot, state, scope))
        return dctx_cancel_explain_(scope);
    /* Stop closes the phase before it ends what is pending; if it did that before our store it has
     * not seen us. */
    taken_t taken;
    if (dctx_phase_(system) >= DCTX_PHASE_CLOSING &&
        take(system, slot, generation_of(state), &taken)) {
        dctx_cancel_unref(&taken.work);
        return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
    }
    if (deadline != INT64_MAX)
        note_deadline(system, deadline);
    *ret_ask = dctx_id_make(generation_of(state), slot->slot.index);
    return DCTX_OK;
}

dctx_cancel_t *dctx_ask_share_work_(dctx_system_t *system, uint64_t ask, dctx_cancel_t *work)
{
    dctx_ask_slot_t *slot = dctx_slab_at(&system->asks, (uint32_t)ask);
    uint64_t state;
    do {
        if (slot == NULL || !is_pending(state = settled(slot), ask >> 32))
            return NULL;
    } while (!atomic_compare_exchange_weak(&slot->state, &state, state | DCTX_ASK_LOCKED));
    if (!(state & DCTX_ASK_WORK))
        slot->work = dctx_cancel_ref(work);
    dctx_cancel_t *shared = dctx_cancel_ref(slot->work);
    atomic_store(&slot->state, state | DCTX_ASK_WORK);
    return shared;
}

/* From here to dctx_ask_end_() or the return without a record, a thread from outside is counted as
 * one that may put something into a mailbox: see dctx_accept_(). */
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

static bool claim(dctx_system_t *system, dctx_runner_t *runner, dctx_ask_slot_t *slot,
                  uint64_t generation, taken_t *ret_taken)
{
    if (runner == NULL)
        count_posted(system, NULL, true);
    if (!take(system, slot, generation, ret_taken)) {
        if (runner == NULL)
            count_posted(system, NULL, false);
        return false;
    }
    bool posted = ret_taken->record->node.kind != DCTX_NODE_WAIT;
    if (posted != (runner == NULL))
        count_posted(system, runner, posted);
    return true;
}

/* Claims an ask by its number. */
static bool find_and_claim(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                           taken_t *ret_taken)
{
    dctx_ask_slot_t *slot = dctx_slab_at(&system->asks, (uint32_t)ask);
    return slot != NULL && claim(system, runner, slot, ask >> 32, ret_taken);
}

dctx_message_t *dctx_ask_claim_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                                const dctx_peer_t *from)
{
    dctx_ask_slot_t *slot = dctx_slab_at(&system->asks, (uint32_t)ask);
    taken_t taken;
    if (slot == NULL ||
        !is_pending(atomic_load_explicit(&slot->state, memory_order_acquire), ask >> 32) ||
        atomic_load_explicit(&slot->peer, memory_order_relaxed) != from ||
        !claim(system, runner, slot, ask >> 32, &taken))
        return NULL;
    dctx_cancel_unref(&taken.work);
    return taken.record;
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
    dctx_ask_slot_t *slot = dctx_slab_at(&system->asks, (uint32_t)ask);
    return slot != NULL &&
           is_pending(atomic_load_explicit(&slot->state, memory_order_acquire), ask >> 32);
}

/* An ask of a cancelled scope ends as cancelled, even if those who heard of it first have failed it
 * already. */
static dctx_error_t cancelled_or(dctx_message_t *record, dctx_error_t status)
{
    const dctx_cancel_t *scope = dctx_snapshot_cancel(record->snapshot);
    if (dctx_cancel_status(scope) == DCTX_OK)
        return status;
    const char *reason = dctx_cancel_reason(scope);
    dctx_message_clear_(record);
    dctx_message_set_reason_(record, reason, strlen(reason));
    return dctx_cancel_status(scope);
}

static inline void count_end(dctx_system_t *system, dctx_runner_t *runner, dctx_error_t status)
{
    dctx_count_(system, runner, status == DCTX_OK ? DCTX_TALLY_REPLIES : DCTX_TALLY_ASKS_FAILED);
    if (status == DCTX_ERR_TIMEOUT)
        dctx_count_(system, runner, DCTX_TALLY_ASKS_TIMED_OUT);
    else if (status == DCTX_ERR_DEADLINE)
        dctx_count_(system, runner, DCTX_TALLY_ASKS_EXPIRED);
    else if (status == DCTX_ERR_CANCELLED)
        dctx_count_(system, runner, DCTX_TALLY_ASKS_CANCELLED);
}

void dctx_ask_end_(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *record,
                   dctx_error_t status)
{
    if (record->node.kind != DCTX_NODE_RESULT) {
        if (status != DCTX_OK)
            status = cancelled_or(record, status);
        count_end(system, runner, status);
    }
    record->u.done.status = status;
    if (record->node.kind == DCTX_NODE_WAIT) {
        dctx_waiter_t *waiter = record->u.done.arg;
        atomic_store_explicit(&waiter->done, 1, memory_order_release);
        /* The waiter may be gone by now; a wake-up on a word that is no more does no harm. */
        dctx_futex_wake_one(&waiter->done);
        return;
    }
    dctx_post_(system, runner, dctx_slab_at(&system->actors, record->u.done.actor), &record->node);
}

static bool fail(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask, dctx_error_t error,
                 const char *reason, unsigned flags)
{
    taken_t taken;
    if (!find_and_claim(system, runner, ask, &taken))
        return false;
    dctx_cancel_unref(&taken.work);
    if (reason != NULL)
        dctx_message_set_reason_(taken.record, reason, strlen(reason));
    taken.record->node.flags |= (uint16_t)flags;
    dctx_ask_end_(system, runner, taken.record, error);
    return true;
}

bool dctx_ask_fail_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask, dctx_error_t error,
                    const char *reason)
{
    return fail(system, runner, ask, error, reason, 0);
}

bool dctx_ask_return_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                      dctx_error_t error, const char *reason)
{
    return fail(system, runner, ask, error, reason, DCTX_MESSAGE_UNTOUCHED);
}

/* ---- without an answer ----------------------------------------------------------------------- */

/* Why, by whom: what is told to those who work for the ask. */
typedef struct why {
    dctx_error_t error; /* how the ask ends */
    const char *reason; /* NULL: the error in words, for them; the asker knows */
    const char *chain;  /* NULL: the calling thread's */
} why_t;

/* Cancels what is done for an ask in this process, which may run user code. */
static void call_off_work(dctx_system_t *system, dctx_runner_t *runner, dctx_cancel_t *work,
                          const why_t *why)
{
    bool bare = runner == &system->io.runner && atomic_load(&runner->busy) == NULL;
    if (bare)
        dctx_runner_begin(runner, &system->self, NULL, NULL, NULL);
    (void)dctx_cancel_with_(
        work, why->error == DCTX_ERR_DEADLINE ? DCTX_ERR_DEADLINE : DCTX_ERR_CANCELLED,
        why->reason != NULL ? why->reason : dctx_strerror(why->error), why->chain);
    dctx_cancel_unref(&work);
    /* The I/O actor looks at that by itself when it is done with what called us. */
    if (bare && !dctx_runner_end(runner))
        system->io.abandoned = true;
}

static void give_up(dctx_system_t *system, dctx_runner_t *runner, taken_t *taken, const why_t *why)
{
    /* A node that is lost, or that we say goodbye to, knows. */
    bool tells =
        taken->peer != NULL && why->error != DCTX_ERR_UNREACHABLE && why->error != DCTX_ERR_STOPPED;
    if (tells)
        dctx_io_call_off_(&system->io, taken->peer, taken->ask, why->error, why->reason,
                          why->chain);
    /* An actor that waits for a future has that as its record's value, and what the future says. */
    if (why->reason != NULL && taken->record->node.kind != DCTX_NODE_RESULT)
        dctx_message_set_reason_(taken->record, why->reason, strlen(why->reason));
    /* The asker first: whoever is called below may take his time. */
    dctx_ask_end_(system, runner, taken->record, why->error);
    if (taken->work != NULL)
        call_off_work(system, runner, taken->work, why);
}

/* The scope in which an ask was made is cancelled. */
static void on_scope(dctx_cancel_t *scope, void *arg)
{
    dctx_ask_slot_t *slot = arg;
    dctx_system_t *system = slot->home;
    dctx_runner_t *runner = dctx_runner_of(system);
    why_t why = {.error = dctx_cancel_status(scope),
                 .reason = dctx_cancel_reason(scope),
                 .chain = dctx_cancel_chain(scope)};
    taken_t taken;
    /* As long as the watch is not taken back the slot is that of our ask, or of none. */
    if (claim(system, runner, slot, generation_of(settled(slot)), &taken))
        give_up(system, runner, &taken, &why);
}

bool dctx_ask_call_off_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                        dctx_error_t error, const char *reason)
{
    taken_t taken;
    if (!find_and_claim(system, runner, ask, &taken))
        return false;
    give_up(system, runner, &taken, &(why_t){.error = error, .reason = reason});
    return true;
}

bool dctx_ask_give_up_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                       dctx_error_t error)
{
    taken_t taken;
    if (!find_and_claim(system, runner, ask, &taken))
        return false;
    give_up(system, runner, &taken, &(why_t){.error = error});
    return true;
}

void dctx_asks_fail_(dctx_system_t *system, dctx_runner_t *runner, const dctx_peer_t *peer,
                     dctx_error_t error)
{
    uint32_t count = dctx_slab_count(&system->asks);
    for (uint32_t i = 0; i < count; i++) {
        dctx_ask_slot_t *slot = dctx_slab_at(&system->asks, i);
        uint64_t state = settled(slot);
        if (!(state & DCTX_ASK_PENDING) ||
            (peer != NULL && atomic_load_explicit(&slot->peer, memory_order_relaxed) != peer))
            continue;
        /* That the claim succeeds shows that the peer we read was of this ask. */
        taken_t taken;
        if (claim(system, runner, slot, generation_of(state), &taken))
            give_up(system, runner, &taken, &(why_t){.error = error});
    }
}

void dctx_asks_abandon_(dctx_system_t *system, dctx_runner_t *runner, uint64_t asker)
{
    uint32_t count = dctx_slab_count(&system->asks);
    for (uint32_t i = 0; i < count; i++) {
        dctx_ask_slot_t *slot = dctx_slab_at(&system->asks, i);
        if (atomic_load_explicit(&slot->asker, memory_order_relaxed) != asker)
            continue;
        uint64_t state = settled(slot);
        taken_t taken;
        if ((state & DCTX_ASK_PENDING) &&
            atomic_load_explicit(&slot->asker, memory_order_relaxed) == asker &&
            claim(system, runner, slot, generation_of(state), &taken))
            give_up(system, runner, &taken,
                    &(why_t){.error = DCTX_ERR_CANCELLED, .reason = "the asker has gone"});
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
        uint64_t state = settled(slot);
        if (!(state & DCTX_ASK_PENDING))
            continue;
        int64_t deadline = atomic_load_explicit(&slot->deadline, memory_order_relaxed);
        if (deadline > now) {
            earliest = deadline < earliest ? deadline : earliest;
            continue;
        }
        taken_t taken;
        if (claim(system, runner, slot, generation_of(state), &taken))
            give_up(system, runner, &taken, &(why_t){.error = taken.record->u.done.status});
    }
    if (earliest != INT64_MAX && earliest < now + EXPIRE_GRAIN_NS && system->stage.world == NULL)
        earliest = now + EXPIRE_GRAIN_NS;
    due = atomic_load(&system->due);
    while (earliest < due && !atomic_compare_exchange_weak(&system->due, &due, earliest)) {
    }
    return earliest < due ? earliest : due;
}

/* ---- another system's ------------------------------------------------------------------------ */

dctx_system_t *dctx_home_enter_(dctx_system_t *system, const void *home)
{
    return home == system ? system : dctx_systems_lock_(home);
}

void dctx_home_leave_(const dctx_system_t *system, const dctx_system_t *home)
{
    if (home != NULL && home != system)
        dctx_systems_unlock_();
}
