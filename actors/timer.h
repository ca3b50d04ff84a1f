/*
 * Timers of actors and delayed messages.
 *
 * Each is a slot of a slab, with an alarm in it. A delayed message is SET, and gone when it rang. A
 * timer is SET, or WAITING: its node is in its actor's mailbox, or on the way there; or RUNNING: in
 * its actor's turn. It is set anew only when its node has left the mailbox, so there is never a
 * second run waiting, and no one but its actor reckons what was missed.
 *
 * All that changes in a slot does so under the lock of the timers, which is not held while user
 * code runs. Locks are taken in this order: the timers', the alarms'.
 */
#ifndef DCTX_TIMER_ROOM_H
#define DCTX_TIMER_ROOM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/timer.h>

#include "alarm.h"
#include "cell.h"
#include "extra.h"
#include "io.h"
#include "message.h"
#include "runner.h"
#include "slab.h"

typedef enum dctx_timer_state {
    DCTX_TIMER_FREE = 0,
    DCTX_TIMER_SET,
    DCTX_TIMER_WAITING,
    DCTX_TIMER_RUNNING,
    DCTX_TIMER_STILL /* the system is closing: it will not run again, but its actor still has it */
} dctx_timer_state_t;

typedef struct dctx_timer_slot {
    _Alignas(64) dctx_slab_slot_t slot;
    uint32_t generation; /* goes up when the slot becomes free; never 0 */
    uint8_t state;       /* dctx_timer_state_t */
    bool cancelled;      /* it is over, but for a ring or a node on its way */
    dctx_alarm_t alarm;
    dctx_actor_t *actor;       /* whose, or the receiver; NULL: on another node */
    dctx_message_t *message;   /* that is delayed; NULL: none */
    dctx_outgoing_t *outgoing; /* as `message`, to another node */
    dctx_node_t node;          /* DCTX_NODE_TIMER */
    dctx_timer_fn run;         /* NULL: a delayed message */
    void *arg;
    dctx_snapshot_t *snapshot;
    int64_t due;
    int64_t period;
    uint64_t missed;
    struct dctx_timer_slot *next;  /* of the same actor's */
    struct dctx_timer_slot **link; /* what points here; NULL: nothing */
} dctx_timer_slot_t;

typedef struct dctx_timer_table {
    pthread_mutex_t lock;
    dctx_slab_t slots;
} dctx_timer_table_t;

void dctx_timer_table_init(dctx_timer_table_t *table);
void dctx_timer_table_finish(dctx_timer_table_t *table);

/* A timer's node came up in its actor's turn. `living`: it may run. NULL: it is not to run. */
dctx_timer_slot_t *dctx_timer_begin_(dctx_system_t *system, dctx_node_t *node, bool living);

/* The node has left the mailbox: the timer is set anew, or over. */
void dctx_timer_done_(dctx_system_t *system, dctx_node_t *node);

/* Ends all timers of an actor: those that are in its `timers`. In its turn, or when it has ended.
 */
void dctx_timers_end_(dctx_system_t *system, dctx_extra_t *extra);

/* Sends a message later that is ready to be posted, but not accepted. On an error it is the
 * caller's. */
dctx_error_t dctx_delay_message_(dctx_system_t *system, dctx_actor_t *actor,
                                 dctx_message_t *message, int64_t delay_ns,
                                 dctx_timer_t *ret_timer);
dctx_error_t dctx_delay_outgoing_(dctx_system_t *system, dctx_outgoing_t *outgoing,
                                  int64_t delay_ns, dctx_timer_t *ret_timer);

#endif
