/* Threads and callbacks that begin with the context of those who made them. */
#include <string.h>

#include <dcontext/runtime.h>

#include "alloc.h"
#include "fail.h"
#include "name.h"
#include "thread.h"

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct start {
    dctx_thread_t *context;
    dctx_snapshot_t *snapshot;
    void *(*run)(void *);
    void *arg;
} start_t;

/* Also when `run` calls pthread_exit() or is cancelled, and even if the thread's own exit handler
 * could not be set. */
static void end_thread(void *unused)
{
    (void)unused;
    dctx_thread_end_();
}

static void *begin_thread(void *arg)
{
    start_t start = *(start_t *)arg;
    dctx_release_(arg);
    dctx_thread_adopt_(start.context);
    void *result;
    pthread_cleanup_push(end_thread, NULL);
    /* In a context that is empty and has its memory, nothing is left that could fail. */
    dctx_scope_t scope;
    (void)dctx_attach(start.snapshot, &scope);
    dctx_snapshot_unref(&start.snapshot);
    result = start.run(start.arg);
    (void)dctx_scope_pop(&scope);
    pthread_cleanup_pop(1);
    return result;
}

static void discard(start_t *start)
{
    if (start->context != NULL)
        dctx_thread_discard_(start->context);
    dctx_snapshot_unref(&start->snapshot);
    dctx_release_(start);
}

dctx_error_t dctx_thread_create(pthread_t *ret_thread, const pthread_attr_t *attributes,
                                void *(*run)(void *), void *arg)
{
    if (ret_thread == NULL || run == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a thread needs a place for its id and a function");
    start_t *start = dctx_alloc_(sizeof(*start));
    if (start == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to start a thread");
    *start = (start_t){NULL, NULL, run, arg};
    dctx_error_t error = dctx_fork(&start->snapshot);
    if (error == DCTX_OK) {
        start->context = dctx_thread_prepare_();
        if (start->context == NULL)
            error = DCTX_ERR_NOMEM;
    }
    if (error == DCTX_OK) {
        int failed = pthread_create(ret_thread, attributes, begin_thread, start);
        if (failed == 0)
            return DCTX_OK;
        error = dctx_fail_(DCTX_ERR_IO, "pthread_create: %s", strerror(failed));
    }
    discard(start);
    return error;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

struct dctx_task {
    dctx_task_fn call;
    void *arg;
    dctx_snapshot_t *snapshot;
    char name[DCTX_NAME_BYTES_MAX + 1];
};

dctx_error_t dctx_task_new(dctx_task_fn call, void *arg, const char *scope_name,
                           dctx_task_t **ret_task)
{
    if (call == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a task needs a function");
    dctx_task_t *task = dctx_alloc_(sizeof(*task));
    if (task == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a task");
    *task = (dctx_task_t){.call = call, .arg = arg};
    dctx_error_t error = dctx_fork(&task->snapshot);
    if (error == DCTX_OK)
        error = dctx_scope_check_name_(task->snapshot->registry, scope_name);
    if (error != DCTX_OK) {
        dctx_task_destroy(&task);
        return error;
    }
    if (scope_name != NULL)
        strcpy(task->name, scope_name);
    *ret_task = task;
    return DCTX_OK;
}

dctx_error_t dctx_task_run(dctx_task_t *task)
{
    if (task == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no task (NULL)");
    dctx_scope_t scope;
    dctx_error_t error = dctx_attach_scope(task->snapshot, task->name, &scope);
    if (error != DCTX_OK)
        return error;
    /* The task may destroy itself in the call. */
    task->call(task->arg);
    (void)dctx_scope_pop(&scope);
    return DCTX_OK;
}

void dctx_task_run_once(void *task)
{
    dctx_task_t *once = task;
    if (once == NULL)
        return;
    dctx_error_t error = dctx_task_run(once);
    if (error != DCTX_OK)
        dctx_log(DCTX_LOG_ERROR, "a task was not run: %s: %s", dctx_strerror(error),
                 dctx_error_detail());
    dctx_task_destroy(&once);
}

void dctx_task_destroy(dctx_task_t **task_p)
{
    if (task_p == NULL || *task_p == NULL)
        return;
    dctx_task_t *task = *task_p;
    *task_p = NULL;
    dctx_snapshot_unref(&task->snapshot);
    dctx_release_(task);
}
