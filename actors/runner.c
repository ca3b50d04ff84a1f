#include "runner.h"

#include <linux/membarrier.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "busy.h"
#include "message.h"
#include "system.h"
#include "work.h"

_Thread_local dctx_runner_t *dctx_runner_here;

bool dctx_runner_kernel_barrier_;

bool dctx_runner_barrier_init(void)
{
    dctx_runner_kernel_barrier_ =
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
    return dctx_runner_kernel_barrier_;
}

void dctx_runner_barrier(void)
{
    if (dctx_runner_kernel_barrier_)
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
    dctx_busy_begin(runner, actor, message, message != NULL ? message->type : NULL, context,
                    prefix);
}

bool dctx_runner_end(dctx_runner_t *runner)
{
    return dctx_busy_end(runner);
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
    if (dctx_runner_kernel_barrier_) {
        atomic_store_explicit(&runner->remote_type, NULL, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
    } else {
        atomic_store(&runner->remote_type, NULL);
    }
    (void)dctx_runner_is_given_up(runner); /* waits for who has read it meanwhile */
}

void dctx_runner_keep_type_(dctx_runner_t *runner, const dctx_message_t *message)
{
    runner->moved_type[0] = '\0';
    if (!(message->node.flags & DCTX_MESSAGE_REMOTE))
        return;
    snprintf(runner->moved_type, sizeof runner->moved_type, "%s", message->parcel->type);
    dctx_runner_forget_type_(runner);
}

const char *dctx_runner_type_(const dctx_runner_t *runner)
{
    const dctx_message_t *message = runner->message;
    const char *name = dctx_message_type(message);
    if (message == NULL || name[0] != '\0')
        return name;
    /* A descriptor outlives what is of its type; and what comes encoded has none. */
    const dctx_type_t *type = atomic_load_explicit(&runner->type, memory_order_relaxed);
    if (type == NULL && (message->node.flags & DCTX_MESSAGE_MOVED))
        return runner->moved_type;
    return dctx_type_label_(type);
}

bool dctx_runner_may_wait_(const dctx_runner_t *runner)
{
    if (runner->kind != DCTX_RUNNER_WORLD)
        return runner->kind == DCTX_RUNNER_PINNED;
    const dctx_actor_t *busy = atomic_load_explicit(&runner->busy, memory_order_relaxed);
    return busy != NULL && busy->may_block;
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
