/*
 * What the two kinds of executors have in common: a queue, timers, counters, and how a piece of
 * work is run in its context. A kind adds who does the running, and how he is woken.
 */
#ifndef DCTX_EXECUTOR_H
#define DCTX_EXECUTOR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/executor.h>

#include "timers.h"

/* Something to run, as part of its owner's struct: queueing it needs no memory. */
typedef struct dctx_job {
    struct dctx_job *next;
    struct dctx_job *previous;
    /* Called once, without a lock; the job is the callee's then. DCTX_OK: run; false: it was not,
     * as it is of no use any more. Else it will not run, for that reason, and the thread may be
     * any. */
    bool (*run)(struct dctx_job *job, dctx_error_t verdict);
    const char *scope;              /* for reports, as the next: they stay until `run` is called */
    const dctx_snapshot_t *context; /* NULL: unknown */
    int64_t queued_at;
    bool queued;  /* under the executor's lock, as all above while it is */
    bool limited; /* the queue's limit applies to it */
} dctx_job_t;

/* What a thread is at, for the report of those who did not stop. Under the lock. */
typedef struct dctx_busy {
    bool active;
    char scope[65];
    dctx_snapshot_t *context;
    int64_t since;
} dctx_busy_t;

typedef enum dctx_executor_phase {
    DCTX_EXECUTOR_RUNNING = 0,
    DCTX_EXECUTOR_STOPPING, /* nothing more from users; but what comes of what runs */
    DCTX_EXECUTOR_CLOSED    /* nothing more */
} dctx_executor_phase_t;

/* What a kind adds. The first three are called under the lock. */
typedef struct dctx_executor_kind {
    void (*wake)(dctx_executor_t *executor); /* for a job or a timer, and to look at the clock */
    /* The queue is full: refuse, or wait, by CLOCK_MONOTONIC until then. */
    dctx_error_t (*make_room)(dctx_executor_t *executor, int64_t until);
    void (*has_room)(dctx_executor_t *executor); /* again */
    dctx_error_t (*stop)(dctx_executor_t *executor, int64_t timeout_ms, bool refuse);
    void (*free)(dctx_executor_t *executor);
} dctx_executor_kind_t;

struct dctx_executor {
    _Atomic(size_t) refs;
    const dctx_executor_kind_t *kind;
    char name[32];
    dctx_clock_t clock;
    bool own_clock; /* it is CLOCK_MONOTONIC */
    size_t queue_limit;

    pthread_mutex_t lock; /* guards all below; no user code runs under it */
    dctx_executor_phase_t phase;
    dctx_job_t *first, *last;
    size_t limited; /* of the queued: those to whom the limit applies */
    dctx_timers_t timers;
    dctx_executor_counters_t counters;
    char *left_behind; /* the report of a stop, or NULL */
};

/* The executor that runs something on the calling thread, and nests if that runs another's. */
extern
    __attribute__((visibility("hidden"))) _Thread_local const dctx_executor_t *dctx_executor_here;

/* A kind's constructor and its `free` begin and end with these. The one reference is the
 * caller's. */
void dctx_executor_init_(dctx_executor_t *self, const dctx_executor_kind_t *kind, const char *name,
                         size_t queue_limit, const dctx_clock_t *clock);
void dctx_executor_finish_(dctx_executor_t *self);

dctx_executor_t *dctx_executor_ref_(dctx_executor_t *self);
void dctx_executor_unref_(dctx_executor_t *self);

static inline int64_t dctx_executor_now_(const dctx_executor_t *self)
{
    return self->clock.now_ns(self->clock.arg);
}

/* Queues a job, whatever the limit. False: it is closed, and the job still the caller's. */
bool dctx_executor_post_(dctx_executor_t *self, dctx_job_t *job);

/* Takes a job out again; false: it is running, or has run. */
bool dctx_executor_withdraw_(dctx_executor_t *self, dctx_job_t *job);

/*
 * To be called under the lock, which they leave and take again: run the first timer due by `now_ns`
 * that was set before `order`, or the first job. False: there is none.
 */
bool dctx_executor_tick_(dctx_executor_t *self, int64_t now_ns, uint64_t order, dctx_busy_t *busy);
bool dctx_executor_work_(dctx_executor_t *self, dctx_busy_t *busy);

/* Without the lock: end the timers; end the jobs that are left, with DCTX_ERR_STOPPED. */
void dctx_executor_drop_timers_(dctx_executor_t *self);
void dctx_executor_drop_jobs_(dctx_executor_t *self);

/* Without the lock: adds a line on a thread that did not stop, and drops the context in *busy, a
 * copy. */
void dctx_executor_report_(dctx_executor_t *self, dctx_busy_t *busy);

/* Makes a context the thread's for a callback. A name over the registry's limit is left out. After
 * an error there is nothing to leave. */
dctx_error_t dctx_enter_(const dctx_snapshot_t *context, const char *scope,
                         dctx_scope_t *ret_scope);
/* And back, whatever the callback left open; how many scopes that were. */
size_t dctx_leave_(dctx_scope_t *scope);

#endif
