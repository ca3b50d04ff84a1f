#include "pinned.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <dcontext/internal.h>

#include "aligned.h"
#include "sockets.h"
#include "system.h"
#include "turn.h"

enum { MOST = 1024 }; /* nobody else waits for this thread */

static void wait_for_mail(dctx_pinned_t *self)
{
    while (atomic_load_explicit(&self->wake, memory_order_acquire) == 0)
        dctx_futex_wait(&self->wake, 0, -1);
    atomic_store_explicit(&self->wake, 0, memory_order_relaxed);
}

static void *run(void *arg)
{
    dctx_pinned_t *self = arg;
    dctx_runner_here = &self->runner;
    for (;;) {
        bool mail = true;
        if (self->event == 0)
            wait_for_mail(self);
        else if (!dctx_poll_wait_(self, &mail))
            return NULL;
        if (!mail)
            continue;
        dctx_turn_t turn;
        while ((turn = dctx_turn_(&self->runner, self->actor, MOST)) == DCTX_TURN_AGAIN)
            sched_yield(); /* more, or a sender is half way */
        if (turn == DCTX_TURN_ABANDONED)
            return NULL;
        dctx_system_stirred_(self->runner.system);
        if (turn == DCTX_TURN_GONE)
            break;
    }
    dctx_runner_here = NULL;
    dctx_pool_cache_finish(&self->runner.cells);
    if (self->event != 0)
        close(self->event - 1);
    (void)dctx_runner_leave_(&self->runner, &self->left);
    return NULL;
}

dctx_error_t dctx_pinned_new_(dctx_system_t *system, dctx_actor_t *actor,
                              dctx_pinned_t **ret_pinned)
{
    dctx_pinned_reap_(system);
    dctx_pinned_t *self = dctx_calloc_aligned_(sizeof *self);
    if (self == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a pinned actor's thread");
    dctx_runner_init(&self->runner, system, DCTX_RUNNER_PINNED);
    self->actor = actor;
    /* The application's signals are for the application's threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&self->thread, NULL, run, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        dctx_runner_finish(&self->runner);
        dctx_release_aligned_(self);
        return dctx_fail_(DCTX_ERR_IO, "no thread for a pinned actor: %s", strerror(error));
    }
    pthread_mutex_lock(&system->pinned_lock);
    self->next = system->pinned;
    system->pinned = self;
    pthread_mutex_unlock(&system->pinned_lock);
    *ret_pinned = self;
    return DCTX_OK;
}

void dctx_pinned_wake_(dctx_pinned_t *pinned)
{
    int event = pinned->event;
    if (event != 0) {
        /* The thread may leave as soon as it is written.
         * It can only fail when the count is full. */
        uint64_t one = 1;
        ssize_t written = write(event - 1, &one, sizeof one);
        (void)written;
        return;
    }
    atomic_store_explicit(&pinned->wake, 1, memory_order_release);
    dctx_futex_wake_one(&pinned->wake);
}

void dctx_pinned_reap_(dctx_system_t *system)
{
    pthread_mutex_lock(&system->pinned_lock);
    dctx_pinned_t **place = &system->pinned;
    while (*place != NULL) {
        dctx_pinned_t *pinned = *place;
        if (atomic_load_explicit(&pinned->left, memory_order_acquire) == 0) {
            place = &pinned->next;
            continue;
        }
        *place = pinned->next;
        pthread_join(pinned->thread, NULL);
        for (int i = 0; i < DCTX_TALLY_COUNT; i++)
            dctx_tally_shared(&system->outside[0], (dctx_tally_t)i,
                              dctx_tally_read(&pinned->runner.tallies, (dctx_tally_t)i));
        dctx_runner_finish(&pinned->runner);
        dctx_release_aligned_(pinned);
    }
    pthread_mutex_unlock(&system->pinned_lock);
}
