/*
 * Alarms: what a system has to do when a time has come. The I/O actor rings them, as it is the one
 * thread of a system that waits for time.
 *
 * Whoever sets an alarm owns its memory, most often as part of a struct of its own. From then on
 * there are two ways: dctx_alarm_cancel_() returns true, and the alarm is its owner's again; or
 * `ring` is called once, and the alarm is the ring's from its first moment: to be set again, or
 * freed. So who is told false by cancel leaves the memory alone: the ring has it, or is about to.
 *
 * When a system begins to stop, those for which messages wait ring early, or else the stop would
 * wait for them. When it closes, those that are left ring at once with `over`, on the I/O actor's
 * thread or on that of the one who stops the system; none can be set after that. An alarm that is
 * set holds up nothing.
 */
#ifndef DCTX_ALARM_H
#define DCTX_ALARM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/system.h>

#include "runner.h"
#include "timers.h"

typedef struct dctx_alarm dctx_alarm_t;

/*
 * Runs on the I/O actor's thread, with nothing locked, and must not block. While it runs the system
 * is not quiet. It may post nodes (counted POSTED, as ever), set alarms and send. User code in it
 * wants dctx_runner_begin() and dctx_runner_end() around it; if end returns false it must return at
 * once. `runner`: the calling thread's; NULL when the one who stops the system clears up, then
 * `over` is true.
 */
typedef void (*dctx_ring_fn)(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner,
                             bool over);

struct dctx_alarm {
    dctx_timer_node_t node; /* under the lock of the alarms */
    dctx_ring_fn ring;
    /* Messages wait for it: once the system stops it rings at once.
     * Its owner's while it is not set. */
    bool pressing;
};

typedef struct dctx_alarms {
    pthread_mutex_t lock;
    dctx_timers_t timers;
    dctx_timers_t pressing;
    bool hastened; /* pressing ones are due as soon as they are set */
    bool closed;   /* none may be set */
    _Atomic(int64_t)
        due; /* of the first one; written under the lock, read by the I/O actor without */
} dctx_alarms_t;

void dctx_alarms_init(dctx_alarms_t *alarms);
void dctx_alarms_finish(dctx_alarms_t *alarms);

/* Sets an alarm that is not set, by the system's clock; a time that has passed rings soon. Any
 * thread. Needs no memory. DCTX_ERR_STOPPED: it is not set. */
dctx_error_t dctx_alarm_set_(dctx_system_t *system, dctx_alarm_t *alarm, int64_t due_ns);

/* True: it was set, and will not ring. Any thread. */
bool dctx_alarm_cancel_(dctx_system_t *system, dctx_alarm_t *alarm);

/* Rings those that are due, and returns when to come back; INT64_MAX: not. For the I/O actor. */
int64_t dctx_alarms_ring_(dctx_system_t *system, dctx_runner_t *runner);

/* From now on pressing alarms ring at once, those that are set too: the system is stopping.
 * Any thread. */
void dctx_alarms_hasten_(dctx_system_t *system);

/* Rings those that are left with `over`, and lets none be set any more. */
void dctx_alarms_close_(dctx_system_t *system, dctx_runner_t *runner);

#endif
