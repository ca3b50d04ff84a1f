#include "runner.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "message.h"
#include "system.h"
#include "work.h"

_Thread_local dctx_runner_t *dctx_runner_here;

/* The kernel has a barrier for all threads at once. Set before the first system's threads start. */
static bool kernel_barrier;

bool dctx_runner_barrier_init(void)
{
    kernel_barrier = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    return kernel_barrier;
}

void dctx_runner_barrier(void)
{
    if (kernel_barrier)
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

void dctx_runner_init(dctx_runner_t *runner, dctx_system_t *system, dctx_runner_kind_t kind)
{
    *runner = (dctx_runner_t){.system = system, .kind = kind};
    dctx_work_init_(runner);
    pthread_mutex_init(&runner->lock, NULL);
}

void dctx_runner_finish(dctx_runner_t *runner)
{
    dctx_pool_cache_finish(&runner->cells);
    pthread_mutex_destroy(&runner->lock);
}

void dctx_runner_turn(dctx_runner_t *runner, dctx_actor_t *actor)
{
    atomic_store_explicit(&runner->turn, actor, memory_order_relaxed);
    atomic_store_explicit(&runner->since, dctx_now_coarse_(runner->system), memory_order_relaxed);
    atomic_store_explicit(&runner->since_sequence,
                          atomic_load_explicit(&runner->sequence, memory_order_relaxed),
                          memory_order_relaxed);
}

void dctx_runner_begin(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                       const dctx_snapshot_t *context, const char *prefix)
{
    runner->actor = actor;
    runner->message = message;
    atomic_store_explicit(&runner->context, context, memory_order_relaxed);
    atomic_store_explicit(&runner->type, message != NULL ? message->type : NULL,
                          memory_order_relaxed);
    atomic_store_explicit(&runner->prefix, prefix, memory_order_relaxed);
    atomic_store_explicit(&runner->sequence,
                          atomic_load_explicit(&runner->sequence, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    /* Release: whoever sees us busy sees with what. */
    atomic_store_explicit(&runner->busy, actor, memory_order_release);
}

bool dctx_runner_end(dctx_runner_t *runner)
{
    /* The store must be out before the load of `attention`. Either the kernel's barrier sees to that, on
     * the rare occasion, or the store does, each time. */
    if (kernel_barrier) {
        atomic_store_explicit(&runner->busy, NULL, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
    } else {
        atomic_store(&runner->busy, NULL);
    }
    runner->actor = NULL;
    return !dctx_runner_is_given_up(runner);
}

bool dctx_runner_is_given_up(dctx_runner_t *runner)
{
    if (__builtin_expect(atomic_load(&runner->system->attention) == 0, 1))
        return false;
    pthread_mutex_lock(&runner->lock);
    bool abandoned = runner->abandoned;
    pthread_mutex_unlock(&runner->lock);
    return abandoned;
}

void dctx_runner_forget_type_(dctx_runner_t *runner)
{
    if (kernel_barrier) {
        atomic_store_explicit(&runner->remote_type, NULL, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
    } else {
        atomic_store(&runner->remote_type, NULL);
    }
    (void)dctx_runner_is_given_up(runner); /* waits for who has read it meanwhile */
}

bool dctx_runner_may_wait_(const dctx_runner_t *runner)
{
    bool world = runner->kind == DCTX_RUNNER_WORLD;
    return runner->kind == DCTX_RUNNER_PINNED ||
           (world && runner->actor != NULL && runner->actor->may_block);
}

bool dctx_runner_leave_(dctx_runner_t *runner, dctx_futex_t *left)
{
    /* Under the lock: either we are given up, or who would give us up finds that we have left. */
    pthread_mutex_lock(&runner->lock);
    bool leaves = !runner->abandoned;
    if (leaves)
        atomic_store_explicit(left, 1, memory_order_release);
    pthread_mutex_unlock(&runner->lock);
    if (leaves)
        dctx_futex_wake_all(left);
    return leaves;
}

void dctx_runner_park(void)
{
    for (;;)
        (void)pause();
}
