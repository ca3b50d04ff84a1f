#include "alarm.h"

#include <dcontext/internal.h>

#include "io.h"
#include "system.h"

enum { BATCH = 1024 }; /* alarms rung between two looks at the sockets */

/* Before any time that a clock shows; and far enough from the ends to reckon with. */
static const int64_t at_once = INT64_MIN / 2;

void dctx_alarms_init(dctx_alarms_t *alarms)
{
    pthread_mutex_init(&alarms->lock, NULL);
    dctx_timers_init(&alarms->timers);
    dctx_timers_init(&alarms->pressing);
    alarms->hastened = alarms->closed = false;
    atomic_init(&alarms->due, INT64_MAX);
}

void dctx_alarms_finish(dctx_alarms_t *alarms)
{
    dctx_timers_finish(&alarms->timers);
    dctx_timers_finish(&alarms->pressing);
    pthread_mutex_destroy(&alarms->lock);
}

static dctx_timers_t *heap_of(dctx_alarms_t *alarms, const dctx_alarm_t *alarm)
{
    return alarm->pressing ? &alarms->pressing : &alarms->timers;
}

static int64_t next_pressing(const dctx_alarms_t *alarms)
{
    int64_t due = dctx_timers_next(&alarms->pressing);
    return alarms->hastened && due != INT64_MAX ? at_once : due;
}

/* Under the lock: the first one due, of both kinds. */
static dctx_timer_node_t *pop(dctx_alarms_t *alarms, int64_t now)
{
    if (next_pressing(alarms) < dctx_timers_next(&alarms->timers))
        return dctx_timers_pop(&alarms->pressing, alarms->hastened ? INT64_MAX : now);
    return dctx_timers_pop(&alarms->timers, now);
}

/* To be called under the lock after a change. True if the first one is now due earlier than before.
 */
static bool note_due(dctx_alarms_t *alarms)
{
    int64_t before = atomic_load_explicit(&alarms->due, memory_order_relaxed);
    int64_t plain = dctx_timers_next(&alarms->timers), pressing = next_pressing(alarms);
    int64_t now = plain < pressing ? plain : pressing;
    if (now != before)
        atomic_store(&alarms->due, now);
    return now < before;
}

dctx_error_t dctx_alarm_set_(dctx_system_t *system, dctx_alarm_t *alarm, int64_t due_ns)
{
    dctx_alarms_t *alarms = &system->alarms;
    pthread_mutex_lock(&alarms->lock);
    bool closed = alarms->closed, earlier = false;
    if (!closed) {
        /* INT64_MAX says that there is none. */
        dctx_timers_add(heap_of(alarms, alarm), &alarm->node,
                        due_ns < INT64_MAX ? due_ns : INT64_MAX - 1);
        earlier = note_due(alarms);
    }
    pthread_mutex_unlock(&alarms->lock);
    if (closed)
        return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
    if (earlier && dctx_runner_here != &system->io.runner)
        dctx_io_wake_(&system->io);
    return DCTX_OK;
}

bool dctx_alarm_cancel_(dctx_system_t *system, dctx_alarm_t *alarm)
{
    dctx_alarms_t *alarms = &system->alarms;
    pthread_mutex_lock(&alarms->lock);
    bool was_set = dctx_timers_remove(heap_of(alarms, alarm), &alarm->node);
    (void)note_due(alarms);
    pthread_mutex_unlock(&alarms->lock);
    return was_set;
}

/* Takes out the first one due by `now`. It is counted as posted: the system has something in hand.
 */
static dctx_alarm_t *take_due(dctx_system_t *system, dctx_runner_t *runner, int64_t now, bool close)
{
    dctx_alarms_t *alarms = &system->alarms;
    pthread_mutex_lock(&alarms->lock);
    alarms->closed = alarms->closed || close;
    dctx_timer_node_t *node = pop(alarms, now);
    if (node != NULL)
        dctx_count_(system, runner, DCTX_TALLY_POSTED);
    (void)note_due(alarms);
    pthread_mutex_unlock(&alarms->lock);
    return (dctx_alarm_t *)(void *)node; /* its first member */
}

static void ring(dctx_system_t *system, dctx_runner_t *runner, dctx_alarm_t *alarm, bool over)
{
    alarm->ring(alarm, system, runner, over);
    dctx_count_(system, runner, DCTX_TALLY_CONSUMED);
}

int64_t dctx_alarms_ring_(dctx_system_t *system, dctx_runner_t *runner)
{
    dctx_alarms_t *alarms = &system->alarms;
    if (dctx_phase_(system) >= DCTX_PHASE_CLOSING)
        dctx_alarms_close_(system, runner);
    int64_t due = atomic_load(&alarms->due);
    if (due == INT64_MAX)
        return due;
    /* One reading for all, so that an alarm that is set again and again at once does not keep us.
     */
    int64_t now = dctx_now_(system);
    for (int i = 0; i < BATCH && atomic_load(&alarms->due) <= now; i++) {
        dctx_alarm_t *alarm = take_due(system, runner, now, false);
        if (alarm == NULL)
            break;
        ring(system, runner, alarm, false);
        if (dctx_runner_is_given_up(runner))
            break;
    }
    return atomic_load(&alarms->due);
}

void dctx_alarms_hasten_(dctx_system_t *system)
{
    dctx_alarms_t *alarms = &system->alarms;
    pthread_mutex_lock(&alarms->lock);
    alarms->hastened = true;
    bool earlier = note_due(alarms);
    pthread_mutex_unlock(&alarms->lock);
    if (earlier)
        dctx_io_wake_(&system->io);
}

void dctx_alarms_close_(dctx_system_t *system, dctx_runner_t *runner)
{
    dctx_alarm_t *alarm;
    while ((alarm = take_due(system, runner, INT64_MAX, true)) != NULL) {
        ring(system, runner, alarm, true);
        if (runner != NULL && dctx_runner_is_given_up(runner))
            return;
    }
}
