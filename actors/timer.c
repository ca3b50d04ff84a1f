#include "timer.h"

#include <string.h>

#include <dcontext/internal.h>

#include "deadletter.h"
#include "gauge.h"
#include "outgoing.h"
#include "send.h"
#include "system.h"

static void init_slot(void *slot)
{
    dctx_timer_slot_t *self = slot;
    self->generation = 1;
}

void dctx_timer_table_init(dctx_timer_table_t *table)
{
    pthread_mutex_init(&table->lock, NULL);
    dctx_slab_init(&table->slots, sizeof(dctx_timer_slot_t), init_slot);
}

void dctx_timer_table_finish(dctx_timer_table_t *table)
{
    dctx_slab_finish(&table->slots);
    pthread_mutex_destroy(&table->lock);
}

static dctx_timer_slot_t *slot_of(dctx_node_t *node)
{
    return (dctx_timer_slot_t *)(void *)((unsigned char *)node - offsetof(dctx_timer_slot_t, node));
}

static dctx_timer_slot_t *slot_of_alarm(dctx_alarm_t *alarm)
{
    return (dctx_timer_slot_t *)(void *)((unsigned char *)alarm -
                                         offsetof(dctx_timer_slot_t, alarm));
}

static int64_t due_after(dctx_system_t *system, int64_t delay_ns)
{
    int64_t due = 0;
    if (__builtin_add_overflow(dctx_now_(system), delay_ns < 0 ? 0 : delay_ns, &due))
        due = INT64_MAX;
    return due;
}

static void lock(dctx_system_t *system)
{
    pthread_mutex_lock(&system->timers.lock);
}

static void unlock(dctx_system_t *system)
{
    pthread_mutex_unlock(&system->timers.lock);
}

/* ---- under the lock -------------------------------------------------------------------------- */

static void unlink_slot(dctx_timer_slot_t *slot)
{
    if (slot->link == NULL)
        return;
    *slot->link = slot->next;
    if (slot->next != NULL)
        slot->next->link = slot->link;
    slot->link = NULL;
}

/* The slot's value is no more: nobody finds it by its number. What it held is the caller's to
 * release, and then the slot is his to give back. */
static void retire(dctx_timer_slot_t *slot)
{
    unlink_slot(slot);
    slot->state = DCTX_TIMER_FREE;
    if (++slot->generation == 0)
        slot->generation = 1;
}

/* ---- without it ------------------------------------------------------------------------------ */

static void give_back(dctx_system_t *system, dctx_timer_slot_t *slot)
{
    dctx_snapshot_unref(&slot->snapshot);
    dctx_slab_give(&system->timers.slots, slot);
}

static dctx_timer_slot_t *new_slot(dctx_system_t *system, dctx_ring_fn ring)
{
    dctx_timer_slot_t *slot = dctx_slab_take(&system->timers.slots);
    if (slot == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a timer");
        return NULL;
    }
    slot->alarm.ring = ring;
    slot->cancelled = false;
    slot->actor = NULL;
    slot->message = NULL;
    slot->outgoing = NULL;
    slot->run = NULL;
    slot->arg = NULL;
    slot->snapshot = NULL;
    slot->period = 0;
    slot->missed = 0;
    slot->link = NULL;
    return slot;
}

static void tell_value(dctx_system_t *system, const dctx_timer_slot_t *slot,
                       dctx_timer_t *ret_timer)
{
    if (ret_timer != NULL)
        *ret_timer = (dctx_timer_t){.system_ = system,
                                    .id_ = dctx_id_make(slot->generation, slot->slot.index)};
}

/* ---- a timer's life -------------------------------------------------------------------------- */

/* The time has come: the timer's node goes into its actor's mailbox. */
static void ring_timer(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner, bool over)
{
    dctx_timer_slot_t *slot = slot_of_alarm(alarm);
    lock(system);
    bool cancelled = slot->cancelled;
    if (cancelled)
        retire(slot);
    else
        slot->state = over ? DCTX_TIMER_STILL : DCTX_TIMER_WAITING;
    unlock(system);
    if (cancelled) {
        give_back(system, slot);
    } else if (!over) {
        /* Nobody touches a WAITING timer's node but who brings it to the mailbox, and then its
         * actor. */
        slot->node.spent = 0;
        dctx_count_(system, runner, DCTX_TALLY_POSTED);
        dctx_post_(system, runner, slot->actor, &slot->node);
    }
}

dctx_timer_slot_t *dctx_timer_begin_(dctx_system_t *system, dctx_node_t *node, bool living)
{
    dctx_timer_slot_t *slot = slot_of(node);
    lock(system);
    bool runs = living && !slot->cancelled;
    if (runs)
        slot->state = DCTX_TIMER_RUNNING;
    unlock(system);
    return runs ? slot : NULL;
}

/* The next time, which may have passed: then one run stands for all that were missed. */
static void reckon_next(dctx_system_t *system, dctx_timer_slot_t *slot, int64_t now)
{
    int64_t periods = now > slot->due ? (now - slot->due) / slot->period : 0;
    slot->missed = periods > 1 ? (uint64_t)periods - 1 : 0;
    if (slot->missed > 0)
        dctx_tally_shared(dctx_outside_(system), DCTX_TALLY_TIMERS_MISSED, slot->missed);
    if (__builtin_mul_overflow(periods > 1 ? periods : 1, slot->period, &periods) ||
        __builtin_add_overflow(slot->due, periods, &slot->due))
        slot->due = INT64_MAX;
}

void dctx_timer_done_(dctx_system_t *system, dctx_node_t *node)
{
    dctx_timer_slot_t *slot = slot_of(node);
    int64_t now = slot->period > 0 ? dctx_now_(system) : 0;
    lock(system);
    bool over = slot->cancelled || slot->period == 0;
    if (over) {
        retire(slot);
    } else {
        reckon_next(system, slot, now);
        bool set = dctx_alarm_set_(system, &slot->alarm, slot->due) == DCTX_OK;
        slot->state = set ? DCTX_TIMER_SET : DCTX_TIMER_STILL;
    }
    unlock(system);
    if (over)
        give_back(system, slot);
}

/* Ends one, whatever it is doing. True: its slot is the caller's to release. Under the lock. */
static bool end_slot(dctx_system_t *system, dctx_timer_slot_t *slot)
{
    unlink_slot(slot);
    bool ours = slot->state == DCTX_TIMER_STILL ||
                (slot->state == DCTX_TIMER_SET && dctx_alarm_cancel_(system, &slot->alarm));
    if (ours)
        retire(slot);
    else /* a ring, or the node in the mailbox, will find out */
        slot->cancelled = true;
    return ours;
}

void dctx_timers_end_(dctx_system_t *system, dctx_extra_t *extra)
{
    lock(system);
    dctx_timer_slot_t *slot;
    while ((slot = extra->timers) != NULL) {
        bool ours = end_slot(system, slot);
        unlock(system);
        if (ours)
            give_back(system, slot);
        lock(system);
    }
    unlock(system);
}

static dctx_error_t check(const dctx_actor_t *self, const dctx_timer_options_t *options)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || here == NULL || here->actor != self)
        return dctx_fail_(DCTX_ERR_INVALID, "only an actor can set its timers, in its callbacks");
    if (options == NULL || options->run == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a timer needs something to run");
    if (options->period_ns < 0)
        return dctx_fail_(DCTX_ERR_INVALID, "a timer's period is not negative: %lld",
                          (long long)options->period_ns);
    if (options->flags & ~(unsigned)DCTX_TIMER_NO_CONTEXT)
        return dctx_fail_(DCTX_ERR_INVALID, "unknown flags %#x for a timer", options->flags);
    return DCTX_OK;
}

static dctx_error_t set_timer(dctx_system_t *system, dctx_extra_t *extra, dctx_timer_slot_t *slot,
                              dctx_timer_t *ret_timer)
{
    lock(system);
    dctx_error_t error = dctx_alarm_set_(system, &slot->alarm, slot->due);
    if (error == DCTX_OK) {
        slot->state = DCTX_TIMER_SET;
        slot->next = extra->timers;
        slot->link = &extra->timers;
        if (slot->next != NULL)
            slot->next->link = &slot->next;
        extra->timers = slot;
        tell_value(system, slot, ret_timer);
    }
    unlock(system);
    return error;
}

dctx_error_t dctx_timer_start(dctx_actor_t *self, const dctx_timer_options_t *options,
                              dctx_timer_t *ret_timer)
{
    dctx_error_t error = check(self, options);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = self->system;
    dctx_extra_t *extra = dctx_extra_get_(self);
    dctx_timer_slot_t *slot = extra == NULL ? NULL : new_slot(system, ring_timer);
    if (slot == NULL)
        return DCTX_ERR_NOMEM;
    slot->actor = self;
    slot->node.kind = DCTX_NODE_TIMER;
    slot->node.generation = (uint32_t)(dctx_self(self).id_ >> 32);
    slot->node.flags = 0;
    slot->run = options->run;
    slot->arg = options->arg;
    slot->period = options->period_ns;
    slot->due = due_after(system, options->delay_ns);
    if (!(options->flags & DCTX_TIMER_NO_CONTEXT))
        error = dctx_fork_for_(system, &slot->snapshot);
    if (error == DCTX_OK)
        error = set_timer(system, extra, slot, ret_timer);
    if (error != DCTX_OK)
        give_back(system, slot);
    return error;
}

/* ---- delayed messages ------------------------------------------------------------------------ */

/* Accepted only now, as it goes; or once more in a mailbox, if it has come out of one. */
static void count_going(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *message)
{
    bool again = (message->node.flags & DCTX_MESSAGE_DELAYED) != 0;
    message->node.flags &= (uint16_t)~DCTX_MESSAGE_DELAYED;
    dctx_count_(system, runner, again ? DCTX_TALLY_POSTED : DCTX_TALLY_ACCEPTED);
}

/* Accepted only to become a dead letter: the system stops first, or the mailbox is full. */
static void bury_message(dctx_system_t *system, dctx_runner_t *runner, dctx_timer_slot_t *slot,
                         dctx_error_t reason)
{
    dctx_message_t *message = slot->message;
    char target[DCTX_NAME_MAX + 1];
    dctx_ref_t to = {.system_ = system,
                     .id_ = dctx_id_make(message->node.generation, slot->actor->slot.index)};
    /* We are not its receiver, so its name may go while we look, unless we do so from outside. */
    if (dctx_ref_format(to, target, sizeof target) == 0)
        memcpy(target, "(gone)", sizeof "(gone)");
    count_going(system, runner, message);
    dctx_count_(system, runner, DCTX_TALLY_DEAD);
    if (runner != NULL)
        dctx_runner_begin(runner, &system->self, message, message->snapshot, NULL);
    dctx_message_die_(system, target, message, reason);
    /* Of a remote ask the parcel says whom to answer: it goes with the refusal. */
    unsigned asked = DCTX_MESSAGE_REMOTE | DCTX_MESSAGE_ASK;
    if ((message->node.flags & asked) != asked)
        dctx_message_clear_(message);
    if (runner == NULL || dctx_runner_end(runner))
        dctx_message_finish_(system, runner, message, reason);
}

static void bury_outgoing(dctx_system_t *system, dctx_runner_t *runner, dctx_outgoing_t *outgoing)
{
    dctx_count_(system, runner, DCTX_TALLY_REMOTE_LOST);
    if (runner != NULL)
        dctx_runner_begin(runner, &system->self, NULL, outgoing->snapshot, NULL);
    dctx_dead_letter_(system, outgoing->remote->label, outgoing->type, DCTX_ERR_STOPPED,
                      outgoing->snapshot, false);
    if (runner == NULL || dctx_runner_end(runner))
        dctx_outgoing_destroy_(outgoing);
}

static void send_delayed(dctx_system_t *system, dctx_runner_t *runner, dctx_timer_slot_t *slot,
                         bool over)
{
    dctx_error_t error = DCTX_ERR_STOPPED;
    if (!over && dctx_phase_(system) < DCTX_PHASE_CLOSING)
        error = dctx_gauge_take_(slot->actor, slot->message);
    if (error != DCTX_OK) {
        bury_message(system, runner, slot, error);
        return;
    }
    /* Should the system begin to close now, the actor finds out. */
    count_going(system, runner, slot->message);
    dctx_post_(system, runner, slot->actor, &slot->message->node);
}

static void ring_delayed(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner,
                         bool over)
{
    dctx_timer_slot_t *slot = slot_of_alarm(alarm);
    lock(system);
    retire(slot);
    unlock(system);
    if (slot->outgoing != NULL && over)
        bury_outgoing(system, runner, slot->outgoing);
    else if (slot->outgoing != NULL)
        dctx_io_post_(&system->io, &slot->outgoing->node);
    else
        send_delayed(system, runner, slot, over);
    give_back(system, slot);
}

static dctx_error_t delay(dctx_system_t *system, dctx_timer_slot_t *slot, int64_t delay_ns,
                          dctx_timer_t *ret_timer)
{
    /* Who stops the system sees to it that actors still get their messages out, but no one else. */
    uint32_t limit = dctx_runner_of(system) != NULL ? DCTX_PHASE_CLOSING : DCTX_PHASE_STOPPING;
    int64_t due = due_after(system, delay_ns);
    dctx_error_t error = DCTX_ERR_STOPPED;
    lock(system);
    if (dctx_phase_(system) < limit)
        error = dctx_alarm_set_(system, &slot->alarm, due);
    else
        (void)dctx_fail_(error, "system %s is stopping", system->name);
    if (error == DCTX_OK) {
        slot->state = DCTX_TIMER_SET;
        tell_value(system, slot, ret_timer);
    }
    unlock(system);
    if (error != DCTX_OK)
        give_back(system, slot);
    return error;
}

dctx_error_t dctx_delay_message_(dctx_system_t *system, dctx_actor_t *actor,
                                 dctx_message_t *message, int64_t delay_ns, dctx_timer_t *ret_timer)
{
    dctx_timer_slot_t *slot = new_slot(system, ring_delayed);
    if (slot == NULL)
        return DCTX_ERR_NOMEM;
    slot->actor = actor;
    slot->message = message;
    return delay(system, slot, delay_ns, ret_timer);
}

dctx_error_t dctx_delay_outgoing_(dctx_system_t *system, dctx_outgoing_t *outgoing,
                                  int64_t delay_ns, dctx_timer_t *ret_timer)
{
    dctx_timer_slot_t *slot = new_slot(system, ring_delayed);
    if (slot == NULL)
        return DCTX_ERR_NOMEM;
    slot->outgoing = outgoing;
    return delay(system, slot, delay_ns, ret_timer);
}

/* ---- by their number ------------------------------------------------------------------------- */

/* The slot of a timer that is not over. Under the lock. */
static dctx_timer_slot_t *find(dctx_system_t *system, dctx_timer_t timer)
{
    dctx_timer_slot_t *slot = dctx_slab_at(&system->timers.slots, (uint32_t)timer.id_);
    bool found = slot != NULL && slot->generation == timer.id_ >> 32 && !slot->cancelled &&
                 slot->state != DCTX_TIMER_FREE && slot->state != DCTX_TIMER_STILL &&
                 (slot->state != DCTX_TIMER_RUNNING || slot->period > 0);
    return found ? slot : NULL;
}

bool dctx_timer_is_pending(dctx_timer_t timer)
{
    dctx_system_t *system = timer.system_;
    if (system == NULL)
        return false;
    lock(system);
    bool set = find(system, timer) != NULL;
    unlock(system);
    return set;
}

bool dctx_timer_cancel(dctx_timer_t timer)
{
    dctx_system_t *system = timer.system_;
    if (system == NULL)
        return false;
    lock(system);
    dctx_timer_slot_t *slot = find(system, timer);
    bool found = slot != NULL, ours = false;
    if (found && slot->run == NULL) {
        found = ours = dctx_alarm_cancel_(system, &slot->alarm);
        if (ours)
            retire(slot);
    } else if (found) {
        ours = end_slot(system, slot);
    }
    unlock(system);
    if (ours) {
        if (slot->message != NULL)
            dctx_message_release_(system, dctx_runner_of(system), slot->message);
        dctx_outgoing_destroy_(slot->outgoing);
        give_back(system, slot);
    }
    return found;
}
