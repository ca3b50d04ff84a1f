#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include <dcontext/adapters.h>
#include <dcontext/internal.h>

/* What the thread says when it ends; so a start that fails has the statuses below. */
#define ENDED 255

struct dctx_worker {
    zsock_t *pipe;  /* the caller's end */
    zsock_t *inner; /* the thread's, once it runs */
    zactor_fn *run;
    void *arg;
    dctx_snapshot_t *context;
    char *name;
    pthread_t thread;
    bool told; /* "$TERM" is in the pipe */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ended; /* under the lock */
};

static void *work(void *arg)
{
    dctx_worker_t *worker = arg;
    dctx_scope_t scope;
    dctx_error_t error = dctx_attach_scope(worker->context, worker->name, &scope);
    if (error == DCTX_OK)
        worker->run(worker->inner, worker->arg);
    (void)dctx_scope_pop(&scope);
    zsock_set_sndtimeo(worker->inner, 0);
    (void)zsock_signal(worker->inner, ENDED);
    zsock_destroy(&worker->inner);
    pthread_mutex_lock(&worker->lock);
    worker->ended = true;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    return NULL;
}

/* Without a high-water mark, so that there is always room for "$TERM". */
static zsock_t *pipe_end(void)
{
    zsock_t *end = zsock_new(ZMQ_PAIR);
    if (end != NULL) {
        zsock_set_sndhwm(end, 0);
        zsock_set_rcvhwm(end, 0);
    }
    return end;
}

static dctx_error_t open_pipe(dctx_worker_t *worker)
{
    static atomic_ullong last;
    unsigned long long number = atomic_fetch_add_explicit(&last, 1, memory_order_relaxed);
    worker->pipe = pipe_end();
    worker->inner = pipe_end();
    if (worker->pipe == NULL || worker->inner == NULL ||
        zsock_bind(worker->pipe, "inproc://dctx-worker-%llu", number) != 0 ||
        zsock_connect(worker->inner, "inproc://dctx-worker-%llu", number) != 0)
        return dctx_fail_(DCTX_ERR_IO, "no pipe for a worker: %s", zmq_strerror(errno));
    return DCTX_OK;
}

/* Everything but the thread, which has ended or never ran. */
static void finish(dctx_worker_t *worker)
{
    zsock_destroy(&worker->pipe);
    zsock_destroy(&worker->inner);
    dctx_snapshot_unref(&worker->context);
    dctx_release_(worker->name);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
    dctx_release_(worker);
}

static dctx_error_t launch(dctx_worker_t *worker, const char *name)
{
    worker->name = dctx_strndup_(name != NULL ? name : "", name != NULL ? strlen(name) : 0);
    if (worker->name == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a worker");
    dctx_scope_t scope;
    dctx_error_t error = dctx_scope_push(name, &scope); /* whether the name can be one */
    (void)dctx_scope_pop(&scope);
    if (error == DCTX_OK)
        error = dctx_fork(&worker->context);
    if (error == DCTX_OK)
        error = open_pipe(worker);
    if (error != DCTX_OK)
        return error;
    int failure = pthread_create(&worker->thread, NULL, work, worker);
    return failure == 0
               ? DCTX_OK
               : dctx_fail_(DCTX_ERR_IO, "no thread for a worker: %s", zmq_strerror(failure));
}

static bool wait_for_end(dctx_worker_t *worker, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&worker->lock);
    int late = 0;
    while (!worker->ended && late == 0)
        late = timeout_ms < 0 ? pthread_cond_wait(&worker->changed, &worker->lock)
                              : pthread_cond_timedwait(&worker->changed, &worker->lock, &until);
    bool ended = worker->ended;
    pthread_mutex_unlock(&worker->lock);
    return ended;
}

dctx_error_t dctx_worker_start(zactor_fn *run, void *arg, const char *name, int timeout_ms,
                               int *ret_status, dctx_worker_t **ret_worker)
{
    pthread_condattr_t attributes;
    if (run == NULL || ret_worker == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nothing to run, or nowhere to put the worker");
    dctx_worker_t *worker = dctx_calloc_(1, sizeof(*worker));
    if (worker == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a worker");
    worker->run = run;
    worker->arg = arg;
    pthread_mutex_init(&worker->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    dctx_error_t error = launch(worker, name);
    if (error != DCTX_OK) {
        finish(worker);
        return error;
    }
    zsock_set_rcvtimeo(worker->pipe, timeout_ms);
    int status = zsock_wait(worker->pipe);
    zsock_set_rcvtimeo(worker->pipe, -1);
    if (status == 0 || status == -1) {
        *ret_worker = worker;
        return status == 0
                   ? DCTX_OK
                   : dctx_fail_(DCTX_ERR_TIMEOUT, "the worker did not start in %d ms", timeout_ms);
    }
    if (ret_status != NULL && status != ENDED)
        *ret_status = status;
    if (dctx_worker_stop(&worker, timeout_ms) != DCTX_OK) {
        *ret_worker = worker;
        return dctx_fail_(DCTX_ERR_TIMEOUT, "the worker failed to start, and does not end");
    }
    return status == ENDED
               ? dctx_fail_(DCTX_ERR_STOPPED, "the worker returned without having started")
               : dctx_fail_(DCTX_ERR_REJECTED, "the worker did not start: status %d", status);
}

zsock_t *dctx_worker_pipe(dctx_worker_t *worker)
{
    return worker != NULL ? worker->pipe : NULL;
}

dctx_error_t dctx_worker_stop(dctx_worker_t **worker_p, int timeout_ms)
{
    if (worker_p == NULL || *worker_p == NULL)
        return DCTX_OK;
    dctx_worker_t *worker = *worker_p;
    if (!worker->told) {
        zsock_set_sndtimeo(worker->pipe, 0);
        worker->told = zstr_send(worker->pipe, "$TERM") == 0;
    }
    if (!wait_for_end(worker, timeout_ms))
        return dctx_fail_(DCTX_ERR_TIMEOUT, "worker '%s' did not end in %d ms", worker->name,
                          timeout_ms);
    *worker_p = NULL;
    pthread_join(worker->thread, NULL);
    finish(worker);
    return DCTX_OK;
}
