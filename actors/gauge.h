/*
 * How many messages wait for an actor, and what becomes of one more. Only actors with a bound, or
 * that are counted, have one; the others' senders pay a look at a NULL pointer.
 *
 * A gauge belongs to a cell, once made until the system ends, so that a sender may look at it
 * whenever it finds it. `state` says whose it is now: a sender with the ref of another actor, and a
 * receiver with a message for one, find another generation there and change nothing. What else is
 * in it is set before the actor is given out.
 *
 * Full and who waits for room: a sender that waits counts itself in `waiters`, reads `room`, and
 * looks once more; a receiver that has made room looks at `waiters`. All sequentially consistent,
 * so that one sees the other.
 */
#ifndef DCTX_GAUGE_H
#define DCTX_GAUGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>

#include "cell.h"
#include "futex.h"
#include "message.h"
#include "meter.h"

struct dctx_gauge {
    _Alignas(64) _Atomic(uint64_t) state; /* the actor's generation << 32 | messages that wait */
    _Atomic(uint32_t) limit;              /* 0: none */
    _Atomic(uint32_t) hard;               /* what even DCTX_OVERFLOW_DROP_OLDEST does not go over */
    _Atomic(uint32_t) policy;             /* dctx_overflow_t */
    _Atomic(uint32_t) most;               /* that ever waited at once */
    _Atomic(uint64_t) overflowed;         /* messages that found no room, or had to go */
    _Atomic(int64_t) wait_ns;
    _Atomic(uint32_t) waiters;       /* senders that wait for room */
    dctx_futex_t room;               /* goes up when there may be some */
    _Atomic(dctx_meter_t *) metered; /* `meter`, while the actor is measured; else NULL */
    dctx_meter_t *meter;             /* made by spawn, for good */
};

typedef enum dctx_admission {
    DCTX_ADMISSION_IN = 0, /* counted: the message has DCTX_MESSAGE_COUNTED */
    DCTX_ADMISSION_FULL,   /* not counted; `policy` says what becomes of it */
    DCTX_ADMISSION_DROP,   /* not counted: it is accepted as a dead letter */
    DCTX_ADMISSION_GONE    /* the actor has */
} dctx_admission_t;

/* Checks the options and makes the gauge if they need one. DCTX_ERR_INVALID, DCTX_ERR_NOMEM.
 * For spawn. */
dctx_error_t dctx_gauge_prepare_(dctx_actor_t *actor, const dctx_actor_options_t *options,
                                 bool internal);

/* The actor takes messages from now on; no more. The second wakes who waits.
 * For spawn and the receiver. */
void dctx_gauge_open_(dctx_actor_t *actor, const dctx_actor_options_t *options, bool internal,
                      uint32_t generation);
void dctx_gauge_close_(dctx_actor_t *actor);

/* Counts a message in, by DCTX_OVERFLOW_BLOCK without waiting. Any thread. */
dctx_admission_t dctx_gauge_enter_(dctx_gauge_t *gauge, uint32_t generation);

/* The same for a message on its way to an actor, who may have none; the I/O actor waits for nobody.
 * DCTX_ERR_NO_ACTOR, DCTX_ERR_FULL: it is to be a dead letter with that reason. Without words. */
dctx_error_t dctx_gauge_take_(dctx_actor_t *actor, dctx_message_t *message);

/*
 * The same for a sender, who may have to wait: until there is room, its time is up, the context's
 * deadline has come, or `ns` have passed. DCTX_OK with *ret_drop: it is to be a dead letter; else
 * it was counted. DCTX_ERR_FULL, DCTX_ERR_DEADLINE, DCTX_ERR_NO_ACTOR, all with words.
 */
dctx_error_t dctx_gauge_admit_(dctx_actor_t *actor, uint64_t id, int64_t ns, bool *ret_drop);

/* Marks a message that was counted in with the time,
 * if its actor is measured and there is room for it. Any thread. */
void dctx_gauge_stamp_(dctx_gauge_t *gauge, dctx_system_t *system, dctx_message_t *message);

/* Counts a message out, as it is taken, or when it does not go after all. True: it is over the
 * bound, and so the oldest of too many. Any thread. */
bool dctx_gauge_leave_(dctx_gauge_t *gauge, uint32_t generation);

/* How many messages wait for an actor: 0 when it has gone,
 * -1 when they are not counted (see DCTX_COUNTED). Cheap. */
int64_t dctx_actor_depth_(dctx_ref_t ref);

/* Frees the gauges of all cells, at the system's end. */
void dctx_gauges_finish_(dctx_slab_t *actors);

#endif
