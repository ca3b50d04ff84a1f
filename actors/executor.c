#include "executor.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <dcontext/internal.h>

#include "future.h"

enum { NS_PER_MS = 1000000, CHAIN_MAX = 4096, QUEUE_LIMIT = 65536 };

_Thread_local const dctx_executor_t *dctx_executor_here;

/* ---- in and out of a context ----------------------------------------------------------------- */

dctx_error_t dctx_enter_(const dctx_snapshot_t *context, const char *scope, dctx_scope_t *ret_scope)
{
    dctx_error_t error = dctx_attach_scope(context, scope, ret_scope);
    if (error == DCTX_OK || scope == NULL || error == DCTX_ERR_NOMEM)
        return error;
    dctx_log(DCTX_LOG_WARNING, "the scope \"%s\" is left out: %s", scope, dctx_error_detail());
    return dctx_attach(context, ret_scope);
}

size_t dctx_leave_(dctx_scope_t *scope)
{
    size_t leaked = dctx_scope_unwind_(scope);
    if (leaked > 0)
        dctx_log(DCTX_LOG_WARNING, "a callback left %zu scopes open; they are closed", leaked);
    return leaked;
}

/* True if a scope can have the name. */
static dctx_error_t check_scope(const char *name)
{
    dctx_scope_t scope;
    if (name == NULL)
        return DCTX_OK;
    dctx_error_t error = dctx_scope_push(name, &scope);
    (void)dctx_scope_pop(&scope);
    return error;
}

/* Times to come, which are not to overflow. */
static int64_t add(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX - 1 : sum;
}

/* ---- making and ending ----------------------------------------------------------------------- */

static int64_t read_monotonic(void *arg)
{
    struct timespec t;
    (void)arg;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void dctx_executor_init_(dctx_executor_t *self, const dctx_executor_kind_t *kind, const char *name,
                         size_t queue_limit, const dctx_clock_t *clock)
{
    static const dctx_clock_t monotonic = {.now_ns = read_monotonic};
    atomic_init(&self->refs, 1);
    self->kind = kind;
    snprintf(self->name, sizeof self->name, "%s", name);
    self->clock = clock != NULL ? *clock : monotonic;
    self->own_clock = clock == NULL;
    self->queue_limit = queue_limit == 0 ? QUEUE_LIMIT : queue_limit;
    pthread_mutex_init(&self->lock, NULL);
    dctx_timers_init(&self->timers);
}

void dctx_executor_finish_(dctx_executor_t *self)
{
    dctx_release_(self->left_behind);
    pthread_mutex_destroy(&self->lock);
}

dctx_executor_t *dctx_executor_ref_(dctx_executor_t *self)
{
    (void)atomic_fetch_add_explicit(&self->refs, 1, memory_order_relaxed);
    return self;
}

/* Release, and acquire by the last: it sees all that the others did before theirs. */
void dctx_executor_unref_(dctx_executor_t *self)
{
    if (atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) == 1)
        self->kind->free(self);
}

/* ---- the queue ------------------------------------------------------------------------------- */

static void push(dctx_executor_t *self, dctx_job_t *job)
{
    job->next = NULL;
    job->previous = self->last;
    job->queued = true;
    job->queued_at = dctx_executor_now_(self);
    if (self->last != NULL)
        self->last->next = job;
    else
        self->first = job;
    self->last = job;
    self->counters.submitted++;
    if (++self->counters.queued > self->counters.queued_max)
        self->counters.queued_max = self->counters.queued;
    self->kind->wake(self);
}

static void take_out(dctx_executor_t *self, dctx_job_t *job)
{
    if (job->previous != NULL)
        job->previous->next = job->next;
    else
        self->first = job->next;
    if (job->next != NULL)
        job->next->previous = job->previous;
    else
        self->last = job->previous;
    job->queued = false;
    self->counters.queued--;
    if (job->limited && self->limited-- == self->queue_limit)
        self->kind->has_room(self);
}

bool dctx_executor_post_(dctx_executor_t *self, dctx_job_t *job)
{
    pthread_mutex_lock(&self->lock);
    bool open = self->phase != DCTX_EXECUTOR_CLOSED;
    if (open)
        push(self, job);
    pthread_mutex_unlock(&self->lock);
    return open;
}

bool dctx_executor_withdraw_(dctx_executor_t *self, dctx_job_t *job)
{
    pthread_mutex_lock(&self->lock);
    bool queued = job->queued;
    if (queued) {
        take_out(self, job);
        self->counters.cancelled++;
    }
    pthread_mutex_unlock(&self->lock);
    return queued;
}

/* ---- running --------------------------------------------------------------------------------- */

static void begin(dctx_executor_t *self, dctx_busy_t *busy, const char *scope,
                  const dctx_snapshot_t *context)
{
    self->counters.running++;
    busy->active = true;
    busy->context = context == NULL ? NULL : dctx_snapshot_ref(context);
    busy->since = dctx_executor_now_(self);
    snprintf(busy->scope, sizeof busy->scope, "%s", scope != NULL ? scope : "");
    pthread_mutex_unlock(&self->lock);
}

static void finish(dctx_executor_t *self, dctx_busy_t *busy)
{
    /* The busy thread alone writes its context; whoever reads it has the lock. */
    pthread_mutex_lock(&self->lock);
    dctx_snapshot_t *context = busy->context;
    busy->context = NULL;
    busy->active = false;
    if (context != NULL) {
        /* Its end may run destructors of users' values. */
        pthread_mutex_unlock(&self->lock);
        dctx_snapshot_unref(&context);
        pthread_mutex_lock(&self->lock);
    }
    self->counters.running--;
}

bool dctx_executor_work_(dctx_executor_t *self, dctx_busy_t *busy)
{
    dctx_job_t *job = self->first;
    if (job == NULL)
        return false;
    take_out(self, job);
    begin(self, busy, job->scope, job->context);
    const dctx_executor_t *before = dctx_executor_here;
    int64_t waited = busy->since - job->queued_at;
    dctx_executor_here = self;
    bool ran = job->run(job, DCTX_OK);
    dctx_executor_here = before;
    int64_t took = dctx_executor_now_(self) - busy->since;
    finish(self, busy);
    *(ran ? &self->counters.run : &self->counters.cancelled) += 1;
    if (!ran)
        return true;
    self->counters.wait_ns += waited > 0 ? (uint64_t)waited : 0;
    self->counters.run_ns += took > 0 ? (uint64_t)took : 0;
    return true;
}

void dctx_executor_drop_jobs_(dctx_executor_t *self)
{
    pthread_mutex_lock(&self->lock);
    for (dctx_job_t *job; (job = self->first) != NULL;) {
        take_out(self, job);
        self->counters.dropped++;
        pthread_mutex_unlock(&self->lock);
        (void)job->run(job, DCTX_ERR_STOPPED);
        pthread_mutex_lock(&self->lock);
    }
    pthread_mutex_unlock(&self->lock);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

typedef struct task {
    dctx_job_t job;
    dctx_executor_t *executor; /* with a reference, as the next two */
    dctx_snapshot_t *context;
    dctx_promise_t *promise; /* NULL: nobody wants to know */
    dctx_task_fn run;
    dctx_call_fn call;
    void *arg;
    void (*release)(void *arg);
    char scope[];
} task_t;

static task_t *task_of(dctx_job_t *job)
{
    return (task_t *)(void *)((unsigned char *)job - offsetof(task_t, job));
}

static void free_task(task_t *task)
{
    dctx_snapshot_unref(&task->context);
    dctx_executor_unref_(task->executor);
    dctx_release_(task);
}

/* Its future has been cancelled. */
static void on_cancel(void *arg)
{
    task_t *task = arg;
    if (dctx_executor_withdraw_(task->executor, &task->job))
        (void)task->job.run(&task->job, DCTX_ERR_CANCELLED);
}

static dctx_error_t call_task(task_t *task)
{
    dctx_scope_t scope;
    dctx_error_t error = dctx_enter_(task->context, task->scope, &scope);
    if (error != DCTX_OK) {
        dctx_log(DCTX_LOG_ERROR, "a task was not run: %s", dctx_error_detail());
        return error;
    }
    if (task->call != NULL)
        error = task->call(&task->promise, task->arg);
    else
        task->run(task->arg);
    size_t leaked = dctx_leave_(&scope);
    if (leaked > 0) {
        pthread_mutex_lock(&task->executor->lock);
        task->executor->counters.scope_leaks += leaked;
        pthread_mutex_unlock(&task->executor->lock);
    }
    return error;
}

static bool run_task(dctx_job_t *job, dctx_error_t verdict)
{
    task_t *task = task_of(job);
    const dctx_cancel_t *scope = dctx_snapshot_cancel(task->context);
    /* It can be withdrawn no more; whoever is trying to has found that out when this returns. */
    if (task->promise != NULL)
        dctx_promise_forget_cancel_(task->promise);
    if (verdict == DCTX_OK && task->promise != NULL && dctx_promise_is_cancelled(task->promise))
        verdict = DCTX_ERR_CANCELLED;
    if (verdict == DCTX_OK)
        verdict = dctx_cancel_status(scope);
    bool runs = verdict == DCTX_OK;
    if (runs)
        verdict = call_task(task);
    if (task->release != NULL)
        task->release(task->arg);
    if (verdict == DCTX_ERR_CANCELLED && !runs && task->promise != NULL)
        (void)dctx_promise_fail(&task->promise, verdict, dctx_cancel_reason(scope));
    dctx_promise_settle_(&task->promise, verdict);
    free_task(task);
    return runs;
}

static dctx_error_t new_task(dctx_executor_t *executor, const dctx_work_t *work, task_t **ret_task)
{
    size_t length = work->scope == NULL ? 0 : strlen(work->scope);
    task_t *task = dctx_calloc_(1, sizeof *task + length + 1);
    if (task == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a task");
    if (length > 0)
        memcpy(task->scope, work->scope, length);
    task->run = work->run;
    task->call = work->call;
    task->arg = work->arg;
    task->release = work->release;
    dctx_error_t error = DCTX_OK;
    if (work->snapshot != NULL)
        task->context = dctx_snapshot_ref(work->snapshot);
    else
        error = dctx_fork(&task->context);
    if (error != DCTX_OK) {
        dctx_release_(task);
        return error;
    }
    task->executor = dctx_executor_ref_(executor);
    task->job = (dctx_job_t){.run = run_task, .scope = task->scope, .context = task->context};
    *ret_task = task;
    return DCTX_OK;
}

static dctx_error_t stopped(const dctx_executor_t *self)
{
    return dctx_fail_(DCTX_ERR_STOPPED, "executor %s is stopping", self->name);
}

static dctx_error_t submit(dctx_executor_t *self, task_t *task)
{
    dctx_error_t error = DCTX_OK;
    int64_t left = dctx_is_empty() ? DCTX_NO_DEADLINE : dctx_deadline_left();
    int64_t until = left == DCTX_NO_DEADLINE ? INT64_MAX : add(read_monotonic(NULL), left);
    pthread_mutex_lock(&self->lock);
    while (error == DCTX_OK && self->phase == DCTX_EXECUTOR_RUNNING &&
           self->limited >= self->queue_limit)
        error = self->kind->make_room(self, until);
    if (error == DCTX_OK && self->phase != DCTX_EXECUTOR_RUNNING)
        error = stopped(self);
    if (error == DCTX_OK) {
        task->job.limited = true;
        self->limited++;
        push(self, &task->job);
    } else {
        self->counters.refused++;
    }
    pthread_mutex_unlock(&self->lock);
    return error;
}

static dctx_error_t check_work(const dctx_executor_t *executor, const dctx_work_t *work,
                               bool wants_future)
{
    if (executor == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no executor (NULL)");
    if (work == NULL || (work->run == NULL) == (work->call == NULL))
        return dctx_fail_(DCTX_ERR_INVALID, "a task is one of two functions: run or call");
    if (work->call != NULL && !wants_future)
        return dctx_fail_(DCTX_ERR_INVALID, "nobody asks for the result: use run, not call");
    return check_scope(work->scope);
}

dctx_error_t dctx_executor_submit(dctx_executor_t *executor, const dctx_work_t *work,
                                  dctx_future_t **ret_future)
{
    task_t *task = NULL;
    dctx_future_t *future = NULL;
    dctx_error_t error = check_work(executor, work, ret_future != NULL);
    if (error == DCTX_OK)
        error = new_task(executor, work, &task);
    if (error != DCTX_OK)
        return error;
    if (ret_future != NULL)
        error = dctx_promise_new(&task->promise, &future);
    if (error == DCTX_OK && ret_future != NULL)
        dctx_future_set_cancel_(future, on_cancel, task);
    if (error == DCTX_OK)
        error = submit(executor, task);
    if (error != DCTX_OK) {
        dctx_promise_settle_(&task->promise, error);
        dctx_future_unref(&future);
        free_task(task);
        return error;
    }
    if (ret_future != NULL)
        *ret_future = future;
    return DCTX_OK;
}

/* ---- timers ---------------------------------------------------------------------------------- */

struct dctx_executor_timer {
    dctx_timer_node_t node;
    _Atomic(unsigned) holders; /* who set it; and the executor, while it is set or running */
    dctx_executor_t *executor; /* with a reference, as the next */
    dctx_snapshot_t *context;  /* NULL: called in whatever context there is */
    dctx_tick_fn call;
    void *arg;
    void (*release)(void *arg);
    int64_t period;
    bool cancelled; /* while it was running; under the executor's lock */
    char scope[];
};

static dctx_executor_timer_t *timer_of(dctx_timer_node_t *node)
{
    return (dctx_executor_timer_t *)(void *)((unsigned char *)node -
                                             offsetof(dctx_executor_timer_t, node));
}

static void let_go(dctx_executor_timer_t *timer)
{
    if (atomic_fetch_sub_explicit(&timer->holders, 1, memory_order_acq_rel) > 1)
        return;
    dctx_executor_unref_(timer->executor);
    dctx_release_(timer);
}

/* It is not called any more: by the one who took it out, or ran it last. */
static void end_timer(dctx_executor_timer_t *timer)
{
    if (timer->release != NULL)
        timer->release(timer->arg);
    dctx_snapshot_unref(&timer->context);
    let_go(timer);
}

static int64_t nanoseconds(int64_t ms)
{
    return ms <= 0 ? 0 : ms > INT64_MAX / NS_PER_MS ? INT64_MAX - 1 : ms * NS_PER_MS;
}

/* Whoever waits for the first timer must hear of a new first one. */
static void set_timer(dctx_executor_t *self, dctx_executor_timer_t *timer, int64_t due)
{
    bool first = due < dctx_timers_next(&self->timers);
    dctx_timers_add(&self->timers, &timer->node, due);
    if (first)
        self->kind->wake(self);
}

static size_t call_timer(dctx_executor_timer_t *timer, uint64_t missed)
{
    dctx_scope_t scope;
    if (timer->context == NULL) {
        timer->call(missed, timer->arg);
        return 0;
    }
    if (dctx_enter_(timer->context, timer->scope, &scope) != DCTX_OK) {
        dctx_log(DCTX_LOG_ERROR, "a timer was not called: %s", dctx_error_detail());
        return 0;
    }
    timer->call(missed, timer->arg);
    return dctx_leave_(&scope);
}

bool dctx_executor_tick_(dctx_executor_t *self, int64_t now_ns, uint64_t order, dctx_busy_t *busy)
{
    if (self->timers.root == NULL || self->timers.root->order >= order)
        return false;
    dctx_timer_node_t *node = dctx_timers_pop(&self->timers, now_ns);
    if (node == NULL)
        return false;
    dctx_executor_timer_t *timer = timer_of(node);
    int64_t due = node->due;
    uint64_t missed = timer->period > 0 ? (uint64_t)((now_ns - due) / timer->period) : 0;
    self->counters.timer_calls++;
    self->counters.timer_missed += missed;
    begin(self, busy, timer->scope, timer->context);
    const dctx_executor_t *before = dctx_executor_here;
    dctx_executor_here = self;
    size_t leaked = call_timer(timer, missed);
    dctx_executor_here = before;
    finish(self, busy);
    self->counters.scope_leaks += leaked;
    if (timer->period > 0 && !timer->cancelled && self->phase == DCTX_EXECUTOR_RUNNING) {
        /* In two steps: what was missed ends before now, so only the last one can overflow. */
        set_timer(self, timer, add(due + (int64_t)missed * timer->period, timer->period));
        return true;
    }
    pthread_mutex_unlock(&self->lock);
    end_timer(timer);
    pthread_mutex_lock(&self->lock);
    return true;
}

void dctx_executor_drop_timers_(dctx_executor_t *self)
{
    pthread_mutex_lock(&self->lock);
    dctx_timer_node_t *list = dctx_timers_take_all(&self->timers);
    pthread_mutex_unlock(&self->lock);
    /* Whoever cancels one of them now finds that it is not set, and leaves it to us. */
    for (dctx_timer_node_t *next; list != NULL; list = next) {
        next = list->next;
        end_timer(timer_of(list));
    }
}

static dctx_error_t new_timer(dctx_executor_t *executor,
                              const dctx_executor_timer_options_t *options, bool bare,
                              dctx_executor_timer_t **ret_timer)
{
    size_t length = options->scope == NULL ? 0 : strlen(options->scope);
    dctx_executor_timer_t *timer = dctx_calloc_(1, sizeof *timer + length + 1);
    if (timer == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a timer");
    if (length > 0)
        memcpy(timer->scope, options->scope, length);
    timer->call = options->call;
    timer->arg = options->arg;
    timer->release = options->release;
    timer->period = nanoseconds(options->period_ms);
    dctx_error_t error = bare                       ? DCTX_OK
                         : options->without_context ? dctx_snapshot_empty(NULL, &timer->context)
                                                    : dctx_fork(&timer->context);
    if (error != DCTX_OK) {
        dctx_release_(timer);
        return error;
    }
    timer->executor = dctx_executor_ref_(executor);
    atomic_init(&timer->holders, 2);
    *ret_timer = timer;
    return DCTX_OK;
}

/* The timer is used up on an error. */
static dctx_error_t start_timer(dctx_executor_t *executor, dctx_executor_timer_t *timer,
                                int64_t delay, dctx_executor_timer_t **ret_timer)
{
    dctx_error_t error = DCTX_OK;
    pthread_mutex_lock(&executor->lock);
    if (executor->phase != DCTX_EXECUTOR_RUNNING) {
        error = stopped(executor);
    } else {
        int64_t due = add(dctx_executor_now_(executor), delay);
        set_timer(executor, timer, due);
        executor->counters.timers_set++;
    }
    pthread_mutex_unlock(&executor->lock);
    if (error != DCTX_OK) {
        timer->release = NULL;
        end_timer(timer);
        let_go(timer);
        return error;
    }
    if (ret_timer != NULL)
        *ret_timer = timer;
    else
        let_go(timer);
    return DCTX_OK;
}

dctx_error_t dctx_executor_timer_set(dctx_executor_t *executor,
                                     const dctx_executor_timer_options_t *options,
                                     dctx_executor_timer_t **ret_timer)
{
    if (executor == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no executor (NULL)");
    if (options == NULL || options->call == NULL || options->period_ms < 0)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a timer needs a function, and a period that is not negative");
    dctx_executor_timer_t *timer = NULL;
    dctx_error_t error = check_scope(options->scope);
    if (error == DCTX_OK)
        error = new_timer(executor, options, false, &timer);
    if (error != DCTX_OK)
        return error;
    return start_timer(executor, timer, nanoseconds(options->delay_ms), ret_timer);
}

dctx_error_t dctx_executor_timer_set_bare_(dctx_executor_t *executor, dctx_tick_fn call, void *arg,
                                           void (*release)(void *arg), int64_t delay_ns,
                                           dctx_executor_timer_t **ret_timer)
{
    dctx_executor_timer_options_t options = {.call = call, .arg = arg, .release = release};
    dctx_executor_timer_t *timer = NULL;
    dctx_error_t error = new_timer(executor, &options, true, &timer);
    if (error != DCTX_OK)
        return error;
    return start_timer(executor, timer, delay_ns > 0 ? delay_ns : 0, ret_timer);
}

bool dctx_executor_timer_cancel(dctx_executor_timer_t **timer_p)
{
    if (timer_p == NULL || *timer_p == NULL)
        return false;
    dctx_executor_timer_t *timer = *timer_p;
    *timer_p = NULL;
    pthread_mutex_lock(&timer->executor->lock);
    timer->cancelled = true;
    bool set = dctx_timers_remove(&timer->executor->timers, &timer->node);
    pthread_mutex_unlock(&timer->executor->lock);
    if (set)
        end_timer(timer);
    let_go(timer);
    return set;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Appends a line to the report; without memory it is in the log at least. */
static void append(dctx_executor_t *self, const char *line)
{
    size_t before = self->left_behind == NULL ? 0 : strlen(self->left_behind);
    size_t size = strlen(line);
    char *text = dctx_alloc_(before + size + 2);
    if (text == NULL)
        return;
    if (before > 0)
        memcpy(text, self->left_behind, before);
    memcpy(text + before, line, size);
    memcpy(text + before + size, "\n", 2);
    dctx_release_(self->left_behind);
    self->left_behind = text;
}

void dctx_executor_report_(dctx_executor_t *self, dctx_busy_t *busy)
{
    char chain[CHAIN_MAX] = "", line[CHAIN_MAX + 256];
    int64_t ms = (dctx_executor_now_(self) - busy->since) / NS_PER_MS;
    if (busy->context != NULL) {
        size_t length = dctx_snapshot_chain_format(busy->context, chain, sizeof chain);
        if (busy->scope[0] != '\0' && length < sizeof chain)
            snprintf(chain + length, sizeof chain - length, "%s%s", length > 0 ? " > " : "",
                     busy->scope);
    }
    if (busy->active)
        snprintf(line, sizeof line, "%s: %s: running for %lld ms: %s", self->name,
                 busy->scope[0] != '\0' ? busy->scope : "(task)", (long long)(ms > 0 ? ms : 0),
                 chain);
    else
        snprintf(line, sizeof line, "%s: a thread does not get on", self->name);
    dctx_log(DCTX_LOG_WARNING, "did not stop: %s", line);
    dctx_snapshot_unref(&busy->context);
    pthread_mutex_lock(&self->lock);
    append(self, line);
    pthread_mutex_unlock(&self->lock);
}

dctx_error_t dctx_executor_stop(dctx_executor_t *executor, int64_t timeout_ms, char **ret_report)
{
    if (executor == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no executor (NULL)");
    dctx_error_t error = executor->kind->stop(executor, timeout_ms, true);
    if (error == DCTX_ERR_INVALID || ret_report == NULL)
        return error;
    pthread_mutex_lock(&executor->lock);
    const char *report = executor->left_behind != NULL ? executor->left_behind : "";
    char *copy = dctx_strndup_(report, strlen(report));
    pthread_mutex_unlock(&executor->lock);
    if (copy == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the report");
    *ret_report = copy;
    return error;
}

void dctx_executor_destroy(dctx_executor_t **executor_p)
{
    if (executor_p == NULL || *executor_p == NULL)
        return;
    dctx_executor_t *executor = *executor_p;
    *executor_p = NULL;
    (void)executor->kind->stop(executor, 5000, false);
    dctx_executor_unref_(executor);
}

void dctx_executor_poke(dctx_executor_t *executor)
{
    if (executor == NULL)
        return;
    pthread_mutex_lock(&executor->lock);
    executor->kind->wake(executor);
    pthread_mutex_unlock(&executor->lock);
}

void dctx_executor_counters_read(dctx_executor_t *executor, dctx_executor_counters_t *ret_counters)
{
    if (ret_counters == NULL)
        return;
    if (executor == NULL) {
        *ret_counters = (dctx_executor_counters_t){0};
        return;
    }
    pthread_mutex_lock(&executor->lock);
    *ret_counters = executor->counters;
    ret_counters->timers = dctx_timers_count(&executor->timers);
    pthread_mutex_unlock(&executor->lock);
}
