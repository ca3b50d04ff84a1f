#include "future.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <dcontext/internal.h>

#include "runner.h"
#include "world.h"

enum { REASON_MAX = 255, NS_PER_MS = 1000000 };

/* What this thread has yet to do: fire edges, bury futures. `running`: further down its stack
 * somebody does it already. */
static _Thread_local struct {
    dctx_edge_t *first, *last;
    bool running;
    dctx_future_t *dead;
    bool burying;
} todo;

/* ---- life and death -------------------------------------------------------------------------- */

dctx_future_t *dctx_future_new_(size_t edges, size_t extra)
{
    size_t own = 0, size = 0;
    dctx_future_t *self = NULL;
    if (!__builtin_mul_overflow(edges + 1, sizeof(dctx_edge_t), &own) &&
        !__builtin_add_overflow(own, sizeof *self + extra, &size))
        self = dctx_calloc_(1, size);
    if (self == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a future");
        return NULL;
    }
    atomic_init(&self->refs, 1);
    pthread_mutex_init(&self->lock, NULL);
    self->descriptor = -1;
    self->result.reason = "";
    self->edge_count = edges + 1;
    return self;
}

static void bury(dctx_future_t *self)
{
    if (self->root == NULL && self->result.value != NULL && self->result.type->destroy != NULL)
        self->result.type->destroy((void *)(uintptr_t)self->result.value);
    for (size_t i = 0; i < self->results.count; i++)
        dctx_future_unref(&self->parts[i]);
    dctx_future_unref(&self->root);
    dctx_release_(self->block);
    dctx_release_(self->reason);
    if (self->descriptor >= 0)
        close(self->descriptor);
    dctx_snapshot_unref(&self->on_cancel_context);
    pthread_mutex_destroy(&self->lock);
    dctx_release_(self);
}

dctx_future_t *dctx_future_ref(dctx_future_t *future)
{
    if (future != NULL)
        (void)atomic_fetch_add_explicit(&future->refs, 1, memory_order_relaxed);
    return future;
}

void dctx_future_unref(dctx_future_t **future_p)
{
    if (future_p == NULL || *future_p == NULL)
        return;
    dctx_future_t *self = *future_p;
    *future_p = NULL;
    /* Release, and acquire by the last: it sees all that the others did before theirs. */
    if (atomic_fetch_sub_explicit(&self->refs, 1, memory_order_acq_rel) > 1)
        return;
    self->next_dead = todo.dead;
    todo.dead = self;
    if (todo.burying)
        return;
    todo.burying = true;
    while ((self = todo.dead) != NULL) {
        todo.dead = self->next_dead;
        bury(self);
    }
    todo.burying = false;
}

static void unref(dctx_future_t *future)
{
    dctx_future_unref(&future);
}

/* ---- firing edges ---------------------------------------------------------------------------- */

/* The source has a result to look at if the target has none: see the head of future.h. */
static bool is_to_be_called(const dctx_edge_t *edge, const dctx_future_t *source)
{
    if (edge->kind == DCTX_EDGE_THEN)
        return true;
    if (edge->call == NULL || dctx_future_done_(edge->target))
        return false;
    return (source->result.error == DCTX_OK) == (edge->kind == DCTX_EDGE_MAP);
}

static void run(dctx_edge_t *edge);

static bool run_job(dctx_job_t *job, dctx_error_t verdict)
{
    dctx_edge_t *edge = (dctx_edge_t *)(void *)((unsigned char *)job - offsetof(dctx_edge_t, job));
    edge->verdict = verdict;
    run(edge);
    return true;
}

/* Sends an edge, which we have, where it is to be run. `source` has ended, or the target has. */
static void dispatch(dctx_edge_t *edge, const dctx_future_t *source)
{
    if (edge->executor != NULL && is_to_be_called(edge, source)) {
        edge->job = (dctx_job_t){.run = run_job, .context = edge->context};
        if (dctx_executor_post_(edge->executor, &edge->job))
            return;
        edge->verdict = DCTX_ERR_STOPPED;
    }
    edge->next = NULL;
    if (todo.last != NULL)
        todo.last->next = edge;
    else
        todo.first = edge;
    todo.last = edge;
}

/* Runs what is queued on this thread, even if it is running already: for who is about to wait. */
static void drain_nested(void)
{
    bool before = todo.running;
    todo.running = true;
    while (todo.first != NULL) {
        dctx_edge_t *edge = todo.first;
        todo.first = edge->next;
        if (todo.first == NULL)
            todo.last = NULL;
        run(edge);
    }
    todo.running = before;
}

static void drain(void)
{
    if (!todo.running)
        drain_nested();
}

/* ---- the end of a future --------------------------------------------------------------------- */

static void discard(dctx_ending_t *ending)
{
    if (ending->value != NULL && ending->type->destroy != NULL)
        ending->type->destroy(ending->value);
    dctx_release_(ending->block);
    dctx_release_(ending->reason);
}

static void set_result(dctx_future_t *self, const dctx_ending_t *ending)
{
    dctx_future_t *as = ending->as;
    self->from_outside = ending->from_outside;
    if (as != NULL) {
        self->result = as->result;
        self->root = dctx_future_ref(as->root != NULL ? as->root : as);
        return;
    }
    const char *text = ending->reason != NULL ? ending->reason : ending->text;
    self->result = (dctx_result_t){.error = ending->error,
                                   .reason = text != NULL ? text : "",
                                   .type = ending->type,
                                   .value = ending->value};
    self->reason = ending->reason;
    self->block = ending->block;
}

static void signal_descriptor(const dctx_future_t *self)
{
    while (eventfd_write(self->descriptor, 1) != 0 && errno == EINTR) {
    }
}

/*
 * Ends it for all its readers; false: it had ended. Its edges are on their way then, but none runs
 * before drain(). Who ends it has a reference.
 */
static bool end(dctx_future_t *self, const dctx_ending_t *ending)
{
    pthread_mutex_lock(&self->lock);
    if (dctx_future_done_(self)) {
        pthread_mutex_unlock(&self->lock);
        return false;
    }
    set_result(self, ending);
    dctx_edge_t *edges = self->first;
    self->first = self->last = NULL;
    for (dctx_edge_t *edge = edges; edge != NULL; edge = edge->next)
        edge->listed = false;
    if (!ending->from_outside)
        self->on_cancel = NULL;
    bool awaited = self->waiters > 0;
    atomic_store_explicit(&self->done, 1, memory_order_release);
    if (self->descriptor >= 0)
        signal_descriptor(self);
    pthread_mutex_unlock(&self->lock);
    if (awaited)
        dctx_futex_wake_all(&self->done);
    for (dctx_edge_t *next; edges != NULL; edges = next) {
        next = edges->next;
        dispatch(edges, self);
    }
    return true;
}

/* Takes an edge back whose target has ended. If nobody else waits for its source, that is
 * cancelled, and put before *list. */
static void take_back(dctx_edge_t *edge, dctx_future_t *target, dctx_future_t **list)
{
    static const dctx_ending_t of_no_use = {
        .error = DCTX_ERR_CANCELLED, .text = "nobody waits for it any more", .from_outside = true};
    pthread_mutex_lock(&target->lock);
    dctx_future_t *source = dctx_future_ref(edge->source);
    pthread_mutex_unlock(&target->lock);
    if (source == NULL)
        return;
    bool alone = false;
    pthread_mutex_lock(&source->lock);
    bool ours = edge->listed;
    if (ours) {
        edge->listed = false;
        *(edge->previous != NULL ? &edge->previous->next : &source->first) = edge->next;
        *(edge->next != NULL ? &edge->next->previous : &source->last) = edge->previous;
        alone = source->first == NULL && source->waiters == 0 && source->descriptor < 0;
    }
    pthread_mutex_unlock(&source->lock);
    if (alone && end(source, &of_no_use)) {
        source->next_ended = *list;
        *list = dctx_future_ref(source);
    }
    if (ours)
        dispatch(edge, source);
    unref(source);
}

static void call_on_cancel(dctx_future_t *self)
{
    dctx_scope_t scope;
    if (self->on_cancel_context == NULL) {
        self->on_cancel(self->on_cancel_arg);
    } else {
        dctx_error_t error = dctx_enter_(self->on_cancel_context, NULL, &scope);
        if (error != DCTX_OK)
            dctx_log(DCTX_LOG_ERROR, "on_cancel runs without its context: %s", dctx_error_detail());
        self->on_cancel(self->on_cancel_arg);
        if (error == DCTX_OK)
            (void)dctx_leave_(&scope);
    }
}

/* Sees to what follows from an end but is no edge of it. */
static void look_after(dctx_future_t *self, dctx_future_t **list)
{
    pthread_mutex_lock(&self->lock);
    dctx_executor_timer_t *timer = self->timer;
    self->timer = NULL;
    bool cancelling = self->on_cancel != NULL;
    if (cancelling) {
        self->cancelling_thread = pthread_self();
        atomic_store_explicit(&self->cancelling, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&self->lock);
    (void)dctx_executor_timer_cancel(&timer);
    for (size_t i = 0; i < self->edge_count; i++)
        take_back(&self->edges[i], self, list);
    if (!cancelling)
        return;
    call_on_cancel(self);
    atomic_store_explicit(&self->cancelling, 0, memory_order_release);
    dctx_futex_wake_all(&self->cancelling);
}

static void look_after_all(dctx_future_t *list)
{
    while (list != NULL) {
        dctx_future_t *ended = list;
        list = ended->next_ended;
        look_after(ended, &list);
        unref(ended);
    }
}

void dctx_future_conclude_(dctx_future_t *self, dctx_ending_t *ending)
{
    if (!end(self, ending)) {
        discard(ending);
        return;
    }
    self->next_ended = NULL;
    look_after_all(dctx_future_ref(self));
    drain();
}

static void conclude_as(dctx_future_t *self, dctx_future_t *as)
{
    dctx_future_conclude_(self, &(dctx_ending_t){.as = as});
}

/* ---- what edges do --------------------------------------------------------------------------- */

static void call_attached(dctx_edge_t *edge, dctx_future_t *source)
{
    dctx_future_t *target = edge->target;
    dctx_result_t result = {.error = edge->verdict, .reason = ""};
    dctx_scope_t scope;
    dctx_error_t entered = dctx_enter_(edge->context, NULL, &scope);
    if (result.error == DCTX_OK && entered != DCTX_OK)
        result.error = entered;
    if (result.error == DCTX_OK && edge->kind == DCTX_EDGE_THEN && dctx_future_done_(target))
        result = target->result;
    else if (result.error == DCTX_OK)
        result = source->result;
    dctx_promise_t *promise = (dctx_promise_t *)(void *)dctx_future_ref(target);
    dctx_error_t error = result.error;
    /* The others run only if they can run as they should. */
    if (edge->kind == DCTX_EDGE_THEN || (edge->verdict == DCTX_OK && entered == DCTX_OK))
        error = edge->call(&result, &promise, edge->arg);
    if (entered == DCTX_OK)
        (void)dctx_leave_(&scope);
    dctx_promise_settle_(&promise, error);
}

static void run_part(dctx_edge_t *edge, dctx_future_t *source)
{
    dctx_future_t *target = edge->target;
    bool good = source->result.error == DCTX_OK;
    bool decides = good == (edge->kind == DCTX_EDGE_ANY);
    pthread_mutex_lock(&target->lock);
    bool last = --target->pending == 0;
    pthread_mutex_unlock(&target->lock);
    if (decides || (last && !good)) {
        conclude_as(target, source);
    } else if (last) {
        dctx_result_t *results = (dctx_result_t *)(uintptr_t)target->results.results;
        for (size_t i = 0; i < target->results.count; i++)
            results[i] = target->parts[i]->result;
        dctx_future_conclude_(
            target, &(dctx_ending_t){.type = DCTX_TYPE_RESULTS, .value = &target->results});
    }
}

/* Runs an edge, which we have, and gives up what it holds. Its memory is its target's. */
static void run(dctx_edge_t *edge)
{
    dctx_future_t *target = edge->target;
    pthread_mutex_lock(&target->lock);
    dctx_future_t *source = edge->source;
    edge->source = NULL;
    pthread_mutex_unlock(&target->lock);
    if (is_to_be_called(edge, source)) {
        call_attached(edge, source);
    } else if (!dctx_future_done_(target)) {
        if (edge->kind == DCTX_EDGE_ALL || edge->kind == DCTX_EDGE_ANY)
            run_part(edge, source);
        else
            conclude_as(target, source);
    }
    if (edge->kind == DCTX_EDGE_ACTOR)
        dctx_future_tell_actor_(target, source);
    dctx_snapshot_unref(&edge->context);
    if (edge->executor != NULL)
        dctx_executor_unref_(edge->executor);
    edge->executor = NULL;
    unref(source);
    unref(target);
}

void dctx_edge_attach_(dctx_edge_t *edge, dctx_future_t *source, dctx_future_t *target)
{
    pthread_mutex_lock(&target->lock);
    edge->target = dctx_future_ref(target);
    edge->source = dctx_future_ref(source);
    pthread_mutex_unlock(&target->lock);
    pthread_mutex_lock(&source->lock);
    bool done = dctx_future_done_(source);
    if (!done) {
        edge->listed = true;
        edge->next = NULL;
        edge->previous = source->last;
        *(source->last != NULL ? &source->last->next : &source->first) = edge;
        source->last = edge;
    }
    pthread_mutex_unlock(&source->lock);
    if (done) {
        dispatch(edge, source);
    } else if (dctx_future_done_(target)) {
        /* Who ended it may have looked for this edge too early. */
        dctx_future_t *list = NULL;
        take_back(edge, target, &list);
        look_after_all(list);
    }
    drain();
}

/* ---- promises -------------------------------------------------------------------------------- */

dctx_error_t dctx_promise_new(dctx_promise_t **ret_promise, dctx_future_t **ret_future)
{
    if (ret_promise == NULL || ret_future == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a promise needs a place, and so does its future");
    dctx_future_t *future = dctx_future_new_(0, 0);
    if (future == NULL)
        return DCTX_ERR_NOMEM;
    *ret_promise = (dctx_promise_t *)(void *)dctx_future_ref(future);
    *ret_future = future;
    return DCTX_OK;
}

/* Takes on_cancel back, and waits until it is not running, unless this is called from in there. */
void dctx_promise_forget_cancel_(dctx_promise_t *promise)
{
    dctx_future_t *self = dctx_promise_future_(promise);
    dctx_snapshot_t *context = NULL;
    pthread_mutex_lock(&self->lock);
    /* Acquire: it ends without the lock, and what it used is then ours. */
    bool running = atomic_load_explicit(&self->cancelling, memory_order_acquire) != 0;
    bool inside = running && pthread_equal(self->cancelling_thread, pthread_self());
    if (!running) {
        self->on_cancel = NULL;
        context = self->on_cancel_context;
        self->on_cancel_context = NULL;
    }
    pthread_mutex_unlock(&self->lock);
    dctx_snapshot_unref(&context);
    while (!inside && atomic_load_explicit(&self->cancelling, memory_order_acquire) != 0)
        dctx_futex_wait(&self->cancelling, 1, -1);
}

static void use(dctx_promise_t *promise, dctx_ending_t *ending)
{
    dctx_future_t *self = dctx_promise_future_(promise);
    dctx_future_conclude_(self, ending);
    dctx_promise_forget_cancel_(promise);
    unref(self);
}

static dctx_error_t check(dctx_promise_t *const *promise_p)
{
    if (promise_p == NULL || *promise_p == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no promise (NULL): it was used, or taken over");
    return DCTX_OK;
}

/* Where a value of `size` bytes goes; nobody but the promise's owner touches that before the
 * end. */
static void *place(dctx_future_t *self, size_t size, dctx_ending_t *ending)
{
    if (size <= DCTX_FUTURE_INLINE)
        return self->value;
    ending->block = dctx_alloc_(size);
    if (ending->block == NULL)
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a result, %zu bytes", size);
    return ending->block;
}

static dctx_error_t store(dctx_future_t *self, const dctx_type_t *type, const void *value,
                          dctx_ending_t *ending)
{
    size_t size = dctx_type_stored_size_(type, value);
    void *to = place(self, size, ending);
    if (to == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = dctx_type_store_(type, to, size, value);
    if (error != DCTX_OK) {
        dctx_release_(ending->block);
        return error;
    }
    ending->type = type;
    ending->value = to;
    return DCTX_OK;
}

dctx_error_t dctx_promise_complete(dctx_promise_t **promise_p, const dctx_type_t *type,
                                   const void *value)
{
    dctx_error_t error = check(promise_p);
    if (error != DCTX_OK)
        return error;
    if ((type == NULL) != (value == NULL))
        return dctx_fail_(DCTX_ERR_INVALID, "a result has a type and a value, or neither");
    dctx_ending_t ending = {.error = DCTX_OK};
    dctx_promise_t *promise = *promise_p;
    if (type != NULL && !dctx_future_done_(dctx_promise_future_(promise)))
        error = store(dctx_promise_future_(promise), type, value, &ending);
    if (error != DCTX_OK)
        return error;
    /* What is run now may free where the promise was kept. */
    *promise_p = NULL;
    use(promise, &ending);
    return DCTX_OK;
}

dctx_error_t dctx_promise_complete_take(dctx_promise_t **promise_p, const dctx_type_t *type,
                                        void *value)
{
    dctx_error_t error = check(promise_p);
    if (error != DCTX_OK)
        return error;
    if (type == NULL || value == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no value to take over");
    if (type->size == 0)
        return dctx_fail_(DCTX_ERR_TYPE, "a value of type \"%s\" can be copied, not taken over",
                          type->name);
    dctx_promise_t *promise = *promise_p;
    dctx_ending_t ending = {.type = type};
    ending.value = place(dctx_promise_future_(promise), type->size, &ending);
    if (ending.value == NULL)
        return DCTX_ERR_NOMEM;
    memcpy(ending.value, value, type->size);
    memset(value, 0, type->size);
    *promise_p = NULL;
    use(promise, &ending);
    return DCTX_OK;
}

/* A copy that ends with a whole character; NULL for "" and without memory. */
static char *copy_reason(const char *reason)
{
    size_t length = reason == NULL ? 0 : strlen(reason);
    if (length > REASON_MAX) {
        length = REASON_MAX;
        while (length > 0 && ((unsigned char)reason[length] & 0xc0) == 0x80)
            length--;
    }
    return length == 0 ? NULL : dctx_strndup_(reason, length);
}

dctx_error_t dctx_promise_fail(dctx_promise_t **promise_p, dctx_error_t error, const char *reason)
{
    dctx_error_t wrong = check(promise_p);
    if (wrong == DCTX_OK && error == DCTX_OK)
        wrong = dctx_fail_(DCTX_ERR_INVALID, "DCTX_OK is no error to fail with");
    if (wrong != DCTX_OK)
        return wrong;
    dctx_promise_t *promise = *promise_p;
    *promise_p = NULL;
    use(promise, &(dctx_ending_t){.error = error, .reason = copy_reason(reason)});
    return DCTX_OK;
}

dctx_error_t dctx_promise_follow(dctx_promise_t **promise_p, dctx_future_t *future)
{
    dctx_error_t error = check(promise_p);
    if (error != DCTX_OK)
        return error;
    dctx_promise_t *promise = *promise_p;
    dctx_future_t *self = dctx_promise_future_(promise);
    if (future == NULL || future == self)
        return dctx_fail_(DCTX_ERR_INVALID, "a promise follows another future than its own");
    *promise_p = NULL;
    dctx_promise_forget_cancel_(promise);
    self->edges[0].kind = DCTX_EDGE_PASS;
    dctx_edge_attach_(&self->edges[0], future, self);
    unref(self);
    return DCTX_OK;
}

void dctx_promise_settle_(dctx_promise_t **promise_p, dctx_error_t error)
{
    dctx_promise_t *promise = *promise_p;
    *promise_p = NULL;
    if (promise != NULL)
        use(promise, &(dctx_ending_t){.error = error});
}

void dctx_promise_destroy(dctx_promise_t **promise_p)
{
    if (promise_p == NULL || *promise_p == NULL)
        return;
    dctx_promise_t *promise = *promise_p;
    *promise_p = NULL;
    use(promise, &(dctx_ending_t){.error = DCTX_ERR_NO_REPLY,
                                  .text = "the promise was dropped without a result"});
}

/* True: it is too late, and `call` is to be called now. The context is the future's. */
static bool set_cancel(dctx_future_t *self, dctx_on_cancel_fn call, void *arg,
                       dctx_snapshot_t *context)
{
    pthread_mutex_lock(&self->lock);
    bool done = dctx_future_done_(self);
    if (!done) {
        self->on_cancel = call;
        self->on_cancel_arg = arg;
        self->on_cancel_context = context;
    }
    bool late = done && self->from_outside;
    pthread_mutex_unlock(&self->lock);
    if (done)
        dctx_snapshot_unref(&context);
    return late;
}

void dctx_future_set_cancel_(dctx_future_t *self, dctx_on_cancel_fn call, void *arg)
{
    if (set_cancel(self, call, arg, NULL))
        call(arg);
}

dctx_error_t dctx_promise_on_cancel(dctx_promise_t *promise, dctx_on_cancel_fn call, void *arg)
{
    dctx_snapshot_t *context = NULL;
    if (promise == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no promise (NULL)");
    dctx_error_t error = call == NULL ? DCTX_OK : dctx_fork(&context);
    if (error != DCTX_OK)
        return error;
    dctx_promise_forget_cancel_(promise);
    if (call != NULL && set_cancel(dctx_promise_future_(promise), call, arg, context))
        call(arg);
    return DCTX_OK;
}

bool dctx_promise_is_cancelled(const dctx_promise_t *promise)
{
    const dctx_future_t *self = (const dctx_future_t *)(const void *)promise;
    return self != NULL && dctx_future_done_(self);
}

/* ---- readers --------------------------------------------------------------------------------- */

const void *dctx_result_get(const dctx_result_t *result, const dctx_type_t *type)
{
    return result != NULL && type != NULL && result->type == type ? result->value : NULL;
}

bool dctx_future_is_done(const dctx_future_t *future)
{
    return future != NULL && dctx_future_done_(future);
}

dctx_error_t dctx_future_result(const dctx_future_t *future, dctx_result_t *ret_result)
{
    if (future == NULL || ret_result == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no future, or no place for its result");
    if (!dctx_future_done_(future))
        return dctx_fail_(DCTX_ERR_AGAIN, "the future has not ended yet");
    *ret_result = future->result;
    return DCTX_OK;
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool is_done(void *future)
{
    return dctx_future_done_(future);
}

/* Lets a test world get on, by its own time, until the future has ended. */
static void drive(dctx_test_world_t *world, dctx_future_t *self, int64_t timeout_ms)
{
    int64_t now_there = dctx_world_now_(world);
    bool bounded = timeout_ms >= 0 && timeout_ms < (INT64_MAX - now_there) / NS_PER_MS;
    (void)dctx_world_wait_(world, is_done, self,
                           bounded ? now_there + timeout_ms * NS_PER_MS : INT64_MAX);
}

/* Counts as waiting meanwhile, so that it is not cancelled for want of interest. */
static bool sleep_until_done(dctx_future_t *self, int64_t timeout_ms)
{
    int64_t begin = now(), left = -1;
    bool bounded = timeout_ms >= 0 && timeout_ms < (INT64_MAX - begin) / NS_PER_MS;
    pthread_mutex_lock(&self->lock);
    self->waiters++;
    pthread_mutex_unlock(&self->lock);
    dctx_test_world_t *world = dctx_world_here_();
    if (world != NULL)
        drive(world, self, timeout_ms);
    while (world == NULL && !dctx_future_done_(self)) {
        if (bounded && (left = begin + timeout_ms * NS_PER_MS - now()) <= 0)
            break;
        dctx_futex_wait(&self->done, 0, left);
    }
    pthread_mutex_lock(&self->lock);
    self->waiters--;
    pthread_mutex_unlock(&self->lock);
    return dctx_future_done_(self);
}

dctx_error_t dctx_future_wait(dctx_future_t *future, int64_t timeout_ms, dctx_result_t *ret_result)
{
    dctx_runner_t *here = dctx_runner_here;
    if (future == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no future (NULL)");
    if (here != NULL && !dctx_runner_may_wait_(here))
        return dctx_fail_(DCTX_ERR_INVALID, "a worker must not wait: use dctx_future_then_actor()");
    /* From inside something attached: what it waits for may be next in this thread's own queue. */
    if (!dctx_future_done_(future))
        drain_nested();
    if (!dctx_future_done_(future) && !sleep_until_done(future, timeout_ms))
        return dctx_fail_(DCTX_ERR_TIMEOUT, "the future did not end in %lld ms",
                          (long long)timeout_ms);
    if (ret_result != NULL)
        *ret_result = future->result;
    return DCTX_OK;
}

dctx_error_t dctx_future_fd(dctx_future_t *future, int *ret_fd)
{
    if (future == NULL || ret_fd == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no future, or no place for its descriptor");
    int failed = 0;
    pthread_mutex_lock(&future->lock);
    if (future->descriptor < 0) {
        future->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        failed = future->descriptor < 0 ? errno : 0;
        if (failed == 0 && dctx_future_done_(future))
            signal_descriptor(future);
    }
    int descriptor = future->descriptor;
    pthread_mutex_unlock(&future->lock);
    if (failed != 0)
        return dctx_fail_(DCTX_ERR_IO, "eventfd: %s", strerror(failed));
    *ret_fd = descriptor;
    return DCTX_OK;
}

void dctx_future_cancel(dctx_future_t *future, const char *reason)
{
    if (future == NULL || dctx_future_done_(future))
        return;
    /* What runs because of it may drop the caller's reference. */
    (void)dctx_future_ref(future);
    dctx_future_conclude_(future, &(dctx_ending_t){.error = DCTX_ERR_CANCELLED,
                                                   .reason = copy_reason(reason),
                                                   .from_outside = true});
    unref(future);
}
