/* The system, as the rooms of this library see it. */
#ifndef DCTX_SYSTEM_INTERNAL_H
#define DCTX_SYSTEM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actors.h>

#include "alarm.h"
#include "cell.h"
#include "channel.h"
#include "futex.h"
#include "groups.h"
#include "interceptor.h"
#include "io.h"
#include "meter.h"
#include "names.h"
#include "peers.h"
#include "pool.h"
#include "scheduler.h"
#include "slab.h"
#include "tally.h"
#include "timer.h"
#include "world.h"

/* How far a system is from its end. Only goes up. */
enum dctx_phase {
    DCTX_PHASE_RUNNING = 0,
    DCTX_PHASE_STOPPING = 1, /* nothing more from outside; actors go on */
    DCTX_PHASE_CLOSING = 2,  /* nothing more at all; actors stop, messages become dead letters */
    DCTX_PHASE_STOPPED = 3
};

enum { DCTX_OUTSIDE_TALLIES = 8 };

struct dctx_system {
    char name[64];
    dctx_system_options_t options; /* what it points to is not ours, but for what is copied below */
    dctx_registry_t *registry;
    bool global;            /* the registry is the process-wide one */
    dctx_snapshot_t *empty; /* of the registry */
    dctx_clock_t clock;
    bool own_clock; /* the clock is CLOCK_MONOTONIC */
    dctx_id_source_t ids;
    struct dctx_budget *budget;       /* for retries that have no other; with a reference */
    const dctx_id_source_t *span_ids; /* for the spans of hops; NULL: each thread has its own */
    dctx_pipeline_t pipeline;
    dctx_channels_t channels;
    _Atomic(bool)
        intercepted; /* it has stages, or an actor's has, or had; set before that is given out */

    _Alignas(64) _Atomic(uint32_t) phase; /* enum dctx_phase; dctx_system_stop() writes it */
    _Atomic(bool)
        hurry; /* once closing: actors stop at once, not after what lies before their stop */
    _Atomic(uint32_t)
        attention;      /* how many want callbacks not to end behind their back: see runner.h */
    dctx_futex_t quiet; /* goes up when something may have come to rest, once stopping has begun */

    dctx_slab_t actors;   /* dctx_actor_t */
    dctx_slab_t asks;     /* dctx_ask_slot_t */
    _Atomic(int64_t) due; /* no pending ask ends before this; see ask.c */
    dctx_alarms_t alarms;
    dctx_timer_table_t timers;
    dctx_pool_t pool;
    dctx_names_t names;
    dctx_groups_t groups;
    dctx_peers_t peers;
    dctx_scheduler_t scheduler;
    dctx_io_t io;
    dctx_actor_t self;   /* stands for the system where its own code calls the application's */
    dctx_ref_t *callers; /* actors of the system's own that run the callbacks of dctx_ask_call() */
    unsigned caller_count;
    _Atomic(unsigned) caller_next;

    dctx_stage_t stage;
    pthread_mutex_t meter_lock;
    dctx_meter_t gone; /* under meter_lock: what was measured of actors that have ended */

    pthread_mutex_t pinned_lock;
    dctx_pinned_t *pinned; /* under pinned_lock: all threads of pinned actors not joined yet */

    pthread_mutex_t stop_lock; /* one stop at a time; guards what follows */
    bool started;   /* all threads are; before that nobody but its maker knows the system */
    bool abandoned; /* a thread never came back: the memory stays */
    pthread_mutex_t report_lock;
    /* The report so far, NULL while it is empty; under report_lock while there are threads. */
    char *left_behind;
    size_t left_behind_length, left_behind_capacity;
    uint64_t serial;          /* its own, as an address can be another system's later */
    struct dctx_system *next; /* among the living, or the abandoned; under a lock of system.c */

    dctx_tallies_t
        outside[DCTX_OUTSIDE_TALLIES]; /* counts of threads from outside, and of those gone */
};

static inline int64_t dctx_now_(dctx_system_t *system)
{
    return system->clock.now_ns(system->clock.arg);
}

/* 64 random bits, for what is spread or jittered; in a test world they come from its seed.
 * Any thread. */
uint64_t dctx_system_random_(dctx_system_t *system);

/* To a few milliseconds, and cheap, where that is good enough. */
static inline int64_t dctx_now_coarse_(dctx_system_t *system)
{
    if (!system->own_clock)
        return dctx_now_(system);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline uint32_t dctx_phase_(dctx_system_t *system)
{
    return atomic_load(&system->phase);
}

/* The tallies for threads from outside. */
dctx_tallies_t *dctx_outside_(dctx_system_t *system);

static inline void dctx_count_(dctx_system_t *system, dctx_runner_t *runner, dctx_tally_t what)
{
    if (runner != NULL)
        dctx_tally_own(&runner->tallies, what);
    else
        dctx_tally_shared(dctx_outside_(system), what, 1);
}

/*
 * To be called before a message goes into a mailbox; DCTX_ERR_STOPPED says that it must not.
 *
 * A thread of the system has left before what is left in mailboxes is cleared away. One from
 * outside may be anywhere: so it counts first and looks at the phase then; stop sets the phase
 * first and then looks at the count. One of the two sees the other: either the thread turns back,
 * or stop waits for the message.
 */
dctx_error_t dctx_accept_(dctx_system_t *system, dctx_runner_t *runner);

/* Tells stop, if there is one, to look again. */
static inline void dctx_system_stirred_(dctx_system_t *system)
{
    if (atomic_load(&system->phase) == DCTX_PHASE_RUNNING)
        return;
    (void)atomic_fetch_add(&system->quiet, 1);
    dctx_futex_wake_all(&system->quiet);
}

/* Puts a node, counted before, into an actor's mailbox and gets the actor running if it was
 * idle. */
void dctx_post_(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor,
                dctx_node_t *node);

/* Gets an actor running, for who has the right to. */
void dctx_run_(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor);

/* Sum over all threads. */
uint64_t dctx_system_sum_(dctx_system_t *system, dctx_tally_t what);

/* True if there was a moment, after this was called,
 * without a message in a mailbox or a handler. */
bool dctx_system_is_quiet_(dctx_system_t *system);

/* A system of this process by its address, kept alive until dctx_systems_unlock_();
 * NULL if it is gone. */
dctx_system_t *dctx_systems_lock_(const void *system);
void dctx_systems_unlock_(void);

#endif
