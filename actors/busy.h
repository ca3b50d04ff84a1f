/*
 * dctx_runner_begin() and dctx_runner_end() without a call, for where that is a good part of what a
 * message costs. See runner.h.
 */
#ifndef DCTX_BUSY_H
#define DCTX_BUSY_H

#include "runner.h"
#include "system.h"

static inline void dctx_busy_begin(dctx_runner_t *runner, dctx_actor_t *actor,
                                   dctx_message_t *message, const dctx_type_t *type,
                                   const dctx_snapshot_t *context, const char *prefix)
{
    runner->actor = actor;
    runner->message = message;
    atomic_store_explicit(&runner->context, context, memory_order_relaxed);
    atomic_store_explicit(&runner->type, type, memory_order_relaxed);
    atomic_store_explicit(&runner->prefix, prefix, memory_order_relaxed);
    atomic_store_explicit(&runner->sequence,
                          atomic_load_explicit(&runner->sequence, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    /* Release: whoever sees us busy sees with what. */
    atomic_store_explicit(&runner->busy, actor, memory_order_release);
}

/* The store must be out before the load of `attention`. Either the kernel's barrier sees to that,
 * on the rare occasion, or the store does, each time. */
static inline bool dctx_busy_end(dctx_runner_t *runner)
{
    if (__builtin_expect(dctx_runner_kernel_barrier_, 1)) {
        atomic_store_explicit(&runner->busy, NULL, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
    } else {
        atomic_store(&runner->busy, NULL);
    }
    runner->actor = NULL;
    return __builtin_expect(atomic_load(&runner->system->attention) == 0, 1) ||
           !dctx_runner_is_given_up(runner);
}

#endif
