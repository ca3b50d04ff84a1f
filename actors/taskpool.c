/* A pool of threads as an executor. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <dcontext/internal.h>

#include "executor.h"

enum { MOST_THREADS = 1024, MOST_BY_DEFAULT = 64, GRACE_MS = 200, NS_PER_MS = 1000000 };

typedef struct taskpool taskpool_t;

typedef struct pool_thread {
    taskpool_t *pool; /* with a reference, until it has left */
    pthread_t thread;
    bool left; /* under the lock */
    dctx_busy_t busy;
} pool_thread_t;

struct taskpool {
    dctx_executor_t base;
    dctx_when_full_t when_full;

    /* With the base's lock: */
    pthread_cond_t work; /* for threads without any */
    pthread_cond_t room; /* for submitters */
    pthread_cond_t calm; /* for those who wait for all to be done, or for an end */
    unsigned idle;       /* threads without work */
    bool timekeeper;     /* one of them waits for the first timer */
    bool stop_running;
    bool stopped;
    unsigned count;
    pool_thread_t threads[];
};

static taskpool_t *pool_of(const dctx_executor_t *executor)
{
    return (taskpool_t *)(uintptr_t)executor;
}

/* How long we wait is real time, whatever clock the timers have: see stop.c. */
static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t real_after(int64_t ms)
{
    int64_t now = real_now();
    int64_t most = (INT64_MAX - now) / NS_PER_MS - 1;
    return now + (ms < 0 ? 0 : ms > most ? most : ms) * NS_PER_MS;
}

/* False: it is later than `until`. */
static bool wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, int64_t until)
{
    struct timespec t = {.tv_sec = (time_t)(until / 1000000000),
                         .tv_nsec = (long)(until % 1000000000)};
    return pthread_cond_timedwait(condition, lock, &t) == 0;
}

/* ---- the threads ----------------------------------------------------------------------------- */

static bool is_calm(dctx_executor_t *base)
{
    if (base->counters.queued > 0 || base->counters.running > 0)
        return false;
    int64_t next = dctx_timers_next(&base->timers);
    return next == INT64_MAX || next > dctx_executor_now_(base);
}

static bool run_one(taskpool_t *pool, pool_thread_t *self)
{
    dctx_executor_t *base = &pool->base;
    bool ran = (base->timers.root != NULL &&
                dctx_executor_tick_(base, dctx_executor_now_(base), UINT64_MAX, &self->busy)) ||
               dctx_executor_work_(base, &self->busy);
    if (ran && base->counters.running == 0 && base->counters.queued == 0)
        pthread_cond_broadcast(&pool->calm);
    return ran;
}

/*
 * Waits for something to do. One of the idle threads keeps the time: it sleeps until the first
 * timer is due. When it gets other work meanwhile it hands that on to one that is still idle.
 */
static void wait_for_work(taskpool_t *pool)
{
    dctx_executor_t *base = &pool->base;
    int64_t next = dctx_timers_next(&base->timers);
    pool->idle++;
    if (next == INT64_MAX || pool->timekeeper) {
        pthread_cond_wait(&pool->work, &base->lock);
        pool->idle--;
        return;
    }
    pool->timekeeper = true;
    int64_t left = next - dctx_executor_now_(base);
    if (left > 0) {
        const int64_t hour = INT64_C(3600000000000);
        (void)wait_until(&pool->work, &base->lock, real_now() + (left < hour ? left : hour));
    }
    pool->timekeeper = false;
    pool->idle--;
    if (pool->idle > 0 && dctx_timers_next(&base->timers) != INT64_MAX)
        pthread_cond_signal(&pool->work);
}

static void *work(void *arg)
{
    pool_thread_t *self = arg;
    taskpool_t *pool = self->pool;
    dctx_executor_t *base = &pool->base;
    dctx_scope_t scope;
    dctx_executor_here = base;
    /* So that the thread has its memory for contexts before it needs it. */
    (void)dctx_scope_push("pool", &scope);
    (void)dctx_scope_pop(&scope);
    pthread_mutex_lock(&base->lock);
    while (base->phase != DCTX_EXECUTOR_CLOSED) {
        if (!run_one(pool, self))
            wait_for_work(pool);
    }
    self->left = true;
    pthread_cond_broadcast(&pool->calm);
    pthread_mutex_unlock(&base->lock);
    dctx_executor_here = NULL;
    dctx_executor_unref_(base);
    return NULL;
}

/* ---- what the base asks for ------------------------------------------------------------------ */

static void wake(dctx_executor_t *base)
{
    taskpool_t *pool = pool_of(base);
    /* With timers one idle thread may be the timekeeper, who has to look again: a signal might go
     * to another, who then would sleep on. */
    if (pool->timekeeper)
        pthread_cond_broadcast(&pool->work);
    else if (pool->idle > 0)
        pthread_cond_signal(&pool->work);
}

static dctx_error_t make_room(dctx_executor_t *base, int64_t until)
{
    taskpool_t *pool = pool_of(base);
    if (pool->when_full == DCTX_WHEN_FULL_REJECT || dctx_executor_here == base)
        return dctx_fail_(DCTX_ERR_FULL, "the queue of executor %s is full: %zu tasks wait",
                          base->name, base->limited);
    if (until == INT64_MAX)
        pthread_cond_wait(&pool->room, &base->lock);
    else if (!wait_until(&pool->room, &base->lock, until))
        return dctx_fail_(DCTX_ERR_DEADLINE, "there was no room in executor %s before the deadline",
                          base->name);
    return DCTX_OK;
}

static void has_room(dctx_executor_t *base)
{
    pthread_cond_broadcast(&pool_of(base)->room);
}

static void destroy(dctx_executor_t *base)
{
    taskpool_t *pool = pool_of(base);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->room);
    pthread_cond_destroy(&pool->calm);
    dctx_executor_finish_(base);
    dctx_release_(pool);
}

/* ---- stopping -------------------------------------------------------------------------------- */

static bool have_left(const taskpool_t *pool)
{
    for (unsigned i = 0; i < pool->count; i++) {
        if (!pool->threads[i].left)
            return false;
    }
    return true;
}

/* Parts from a thread: joined if it has left, else left behind and, if `report`, named. */
static void part(taskpool_t *pool, pool_thread_t *thread, bool report)
{
    dctx_busy_t busy = {0};
    pthread_mutex_lock(&pool->base.lock);
    bool left = thread->left;
    if (!left && report) {
        busy = thread->busy;
        if (busy.context != NULL)
            busy.context = dctx_snapshot_ref(busy.context);
    }
    pthread_mutex_unlock(&pool->base.lock);
    if (left)
        pthread_join(thread->thread, NULL);
    else
        pthread_detach(thread->thread);
    if (!left && report)
        dctx_executor_report_(&pool->base, &busy);
}

/* `deadline` 0: without waiting for anybody. */
static void stop_threads(taskpool_t *pool, int64_t deadline)
{
    dctx_executor_t *base = &pool->base;
    pthread_mutex_lock(&base->lock);
    base->phase = DCTX_EXECUTOR_STOPPING;
    pthread_cond_broadcast(&pool->room);
    pthread_mutex_unlock(&base->lock);
    dctx_executor_drop_timers_(base);
    pthread_mutex_lock(&base->lock);
    while (!is_calm(base) && deadline > 0 && wait_until(&pool->calm, &base->lock, deadline)) {
    }
    base->phase = DCTX_EXECUTOR_CLOSED;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&base->lock);
    dctx_executor_drop_jobs_(base);

    int64_t grace = real_after(GRACE_MS);
    pthread_mutex_lock(&base->lock);
    while (!have_left(pool) && deadline > 0 &&
           wait_until(&pool->calm, &base->lock, deadline > grace ? deadline : grace)) {
    }
    pthread_mutex_unlock(&base->lock);
    for (unsigned i = 0; i < pool->count; i++)
        part(pool, &pool->threads[i], deadline > 0);
}

static dctx_error_t stop(dctx_executor_t *base, int64_t timeout_ms, bool refuse)
{
    taskpool_t *pool = pool_of(base);
    bool inside = dctx_executor_here == base;
    if (inside && refuse)
        return dctx_fail_(DCTX_ERR_INVALID, "a thread of executor %s cannot stop it", base->name);
    pthread_mutex_lock(&base->lock);
    while (pool->stop_running && !inside)
        pthread_cond_wait(&pool->calm, &base->lock);
    bool first = !pool->stopped && !pool->stop_running;
    pool->stop_running = pool->stop_running || first;
    pthread_mutex_unlock(&base->lock);
    if (first) {
        stop_threads(pool, inside ? 0 : real_after(timeout_ms));
        pthread_mutex_lock(&base->lock);
        pool->stop_running = false;
        pool->stopped = true;
        pthread_cond_broadcast(&pool->calm);
        pthread_mutex_unlock(&base->lock);
    }
    pthread_mutex_lock(&base->lock);
    bool all = base->left_behind == NULL;
    pthread_mutex_unlock(&base->lock);
    return all ? DCTX_OK : dctx_fail_(DCTX_ERR_TIMEOUT, "executor %s did not stop", base->name);
}

/* ---- making one ------------------------------------------------------------------------------ */

static const dctx_executor_kind_t taskpool_kind = {
    .wake = wake, .make_room = make_room, .has_room = has_room, .stop = stop, .free = destroy};

dctx_error_t dctx_executor_wait_idle(dctx_executor_t *executor, int64_t timeout_ms)
{
    if (executor == NULL || executor->kind != &taskpool_kind || dctx_executor_here == executor)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "waiting for idleness is for pools, and not for their own threads");
    taskpool_t *pool = pool_of(executor);
    int64_t deadline = real_after(timeout_ms);
    bool in_time = true;
    pthread_mutex_lock(&executor->lock);
    while (!is_calm(executor) && in_time)
        in_time = wait_until(&pool->calm, &executor->lock, deadline);
    bool calm = is_calm(executor);
    pthread_mutex_unlock(&executor->lock);
    return calm ? DCTX_OK
                : dctx_fail_(DCTX_ERR_TIMEOUT, "executor %s is still busy", executor->name);
}

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

static unsigned count_cores(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > MOST_BY_DEFAULT ? MOST_BY_DEFAULT : (unsigned)cores;
}

static dctx_error_t start(taskpool_t *pool, unsigned count)
{
    for (; pool->count < count; pool->count++) {
        pool_thread_t *thread = &pool->threads[pool->count];
        thread->pool = pool;
        (void)dctx_executor_ref_(&pool->base);
        int failed = pthread_create(&thread->thread, NULL, work, thread);
        if (failed != 0) {
            dctx_executor_unref_(&pool->base);
            return dctx_fail_(DCTX_ERR_IO, "pthread_create: %s", strerror(failed));
        }
    }
    return DCTX_OK;
}

dctx_error_t dctx_taskpool_new(const dctx_taskpool_options_t *options,
                               dctx_executor_t **ret_executor)
{
    static const dctx_taskpool_options_t defaults = {0};
    if (options == NULL)
        options = &defaults;
    if (ret_executor == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the pool");
    unsigned count = options->threads == 0 ? count_cores() : options->threads;
    if (count > MOST_THREADS)
        return dctx_fail_(DCTX_ERR_INVALID, "a pool has at most %d threads, not %u", MOST_THREADS,
                          count);
    if (options->when_full > DCTX_WHEN_FULL_BLOCK)
        return dctx_fail_(DCTX_ERR_INVALID, "no such thing to do when the queue is full: %d",
                          (int)options->when_full);
    if (options->clock != NULL && options->clock->now_ns == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a clock needs now_ns");
    taskpool_t *pool = dctx_calloc_(1, sizeof *pool + count * sizeof pool->threads[0]);
    if (pool == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a pool of %u threads", count);
    dctx_executor_init_(&pool->base, &taskpool_kind, options->name != NULL ? options->name : "pool",
                        options->queue_limit, options->clock);
    pool->when_full = options->when_full;
    init_condition(&pool->work);
    init_condition(&pool->room);
    init_condition(&pool->calm);
    dctx_error_t error = start(pool, count);
    dctx_executor_t *executor = &pool->base;
    if (error != DCTX_OK) {
        dctx_executor_destroy(&executor);
        return error;
    }
    *ret_executor = executor;
    return DCTX_OK;
}
