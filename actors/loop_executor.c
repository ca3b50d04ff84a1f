/* The loop that a thread has anyway, as an executor. */
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/internal.h>

#include "executor.h"

enum { NS_PER_MS = 1000000 };

typedef struct loop_executor {
    dctx_executor_t base;
    int descriptor; /* a timerfd: readable when there is something to run; never changes */

    /* With the base's lock: */
    bool signalled; /* the descriptor is readable, and need not be set for anything else */
    dctx_busy_t busy;

    /* The owner's thread only: */
    bool running;
    zloop_t *zloop;
} loop_executor_t;

static loop_executor_t *loop_of(const dctx_executor_t *executor)
{
    return (loop_executor_t *)(uintptr_t)executor;
}

/* ---- what the base asks for ------------------------------------------------------------------ */

/* Makes the descriptor readable from a time on; INT64_MAX: not. */
static void set(loop_executor_t *self, int64_t due)
{
    struct itimerspec at = {.it_value = {.tv_nsec = 1}};
    if (due == INT64_MAX)
        at.it_value.tv_nsec = 0;
    else if (due > 0)
        at.it_value = (struct timespec){.tv_sec = (time_t)(due / 1000000000),
                                        .tv_nsec = (long)(due % 1000000000)};
    (void)timerfd_settime(self->descriptor, TFD_TIMER_ABSTIME, &at, NULL);
}

/* A clock that is not the descriptor's only the owner can look at: he is woken to do that. */
static void wake(dctx_executor_t *base)
{
    loop_executor_t *self = loop_of(base);
    if (self->signalled)
        return;
    self->signalled = base->first != NULL || !base->own_clock;
    set(self, self->signalled ? 0 : dctx_timers_next(&base->timers));
}

static dctx_error_t make_room(dctx_executor_t *base, int64_t until)
{
    (void)until;
    return dctx_fail_(DCTX_ERR_FULL, "the queue of executor %s is full: %zu tasks wait", base->name,
                      base->limited);
}

static void has_room(dctx_executor_t *base)
{
    (void)base;
}

static dctx_error_t stop(dctx_executor_t *base, int64_t timeout_ms, bool refuse)
{
    (void)timeout_ms;
    (void)refuse;
    pthread_mutex_lock(&base->lock);
    base->phase = DCTX_EXECUTOR_CLOSED;
    pthread_mutex_unlock(&base->lock);
    dctx_executor_drop_timers_(base);
    dctx_executor_drop_jobs_(base);
    dctx_loop_executor_remove(base);
    return DCTX_OK;
}

static void destroy(dctx_executor_t *base)
{
    loop_executor_t *self = loop_of(base);
    close(self->descriptor);
    dctx_executor_finish_(base);
    dctx_release_(self);
}

static const dctx_executor_kind_t loop_kind = {
    .wake = wake, .make_room = make_room, .has_room = has_room, .stop = stop, .free = destroy};

static bool is_loop(const dctx_executor_t *executor)
{
    return executor != NULL && executor->kind == &loop_kind;
}

/* ---- as its owner sees it -------------------------------------------------------------------- */

dctx_error_t dctx_loop_executor_new(const dctx_loop_executor_options_t *options,
                                    dctx_executor_t **ret_executor)
{
    static const dctx_loop_executor_options_t defaults = {0};
    if (options == NULL)
        options = &defaults;
    if (ret_executor == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the executor");
    if (options->clock != NULL && options->clock->now_ns == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a clock needs now_ns");
    loop_executor_t *self = dctx_calloc_(1, sizeof *self);
    if (self == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an executor");
    self->descriptor = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (self->descriptor < 0) {
        dctx_release_(self);
        return dctx_fail_(DCTX_ERR_IO, "timerfd_create: %s", strerror(errno));
    }
    dctx_executor_init_(&self->base, &loop_kind, options->name != NULL ? options->name : "loop",
                        options->queue_limit, options->clock);
    *ret_executor = &self->base;
    return DCTX_OK;
}

int dctx_loop_executor_fd(const dctx_executor_t *executor)
{
    return is_loop(executor) ? loop_of(executor)->descriptor : -1;
}

int dctx_loop_executor_timeout(dctx_executor_t *executor)
{
    if (!is_loop(executor))
        return -1;
    pthread_mutex_lock(&executor->lock);
    int64_t next = executor->first != NULL ? INT64_MIN : dctx_timers_next(&executor->timers);
    pthread_mutex_unlock(&executor->lock);
    if (next == INT64_MAX || next == INT64_MIN)
        return next == INT64_MAX ? -1 : 0;
    int64_t left = next - dctx_executor_now_(executor);
    if (left <= 0)
        return 0;
    int64_t ms = left / NS_PER_MS + (left % NS_PER_MS != 0);
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

size_t dctx_loop_executor_run(dctx_executor_t *executor)
{
    if (!is_loop(executor) || loop_of(executor)->running)
        return 0;
    loop_executor_t *self = loop_of(executor);
    size_t ran = 0;
    /* What runs may destroy the executor. */
    (void)dctx_executor_ref_(executor);
    self->running = true;
    pthread_mutex_lock(&executor->lock);
    self->signalled = false;
    set(self, INT64_MAX);
    uint64_t order = executor->timers.order;
    uint64_t jobs = executor->counters.queued;
    int64_t now = dctx_executor_now_(executor);
    while (dctx_executor_tick_(executor, now, order, &self->busy))
        ran++;
    for (; jobs > 0 && dctx_executor_work_(executor, &self->busy); jobs--)
        ran++;
    if (executor->first != NULL || (executor->own_clock && executor->timers.root != NULL))
        wake(executor);
    pthread_mutex_unlock(&executor->lock);
    self->running = false;
    dctx_executor_unref_(executor);
    return ran;
}

/* ---- in a zloop ------------------------------------------------------------------------------ */

static int on_readable(zloop_t *zloop, zmq_pollitem_t *item, void *arg)
{
    (void)zloop;
    (void)item;
    (void)dctx_loop_executor_run(arg);
    return 0;
}

dctx_error_t dctx_loop_executor_add(dctx_executor_t *executor, zloop_t *loop)
{
    if (!is_loop(executor) || loop == NULL || loop_of(executor)->zloop != NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "an executor made for loops goes into one loop, once");
    loop_executor_t *self = loop_of(executor);
    zmq_pollitem_t item = {.fd = self->descriptor, .events = ZMQ_POLLIN};
    if (zloop_poller(loop, &item, on_readable, executor) != 0)
        return dctx_fail_(DCTX_ERR_NOMEM, "the loop does not take the executor");
    self->zloop = loop;
    return DCTX_OK;
}

void dctx_loop_executor_remove(dctx_executor_t *executor)
{
    if (!is_loop(executor) || loop_of(executor)->zloop == NULL)
        return;
    loop_executor_t *self = loop_of(executor);
    zmq_pollitem_t item = {.fd = self->descriptor, .events = ZMQ_POLLIN};
    zloop_poller_end(self->zloop, &item);
    self->zloop = NULL;
}
