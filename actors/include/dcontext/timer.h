/*
 * dcontext/timer.h - timers of actors, and messages sent later.
 *
 * A timer runs on its actor's own turn, between messages, so it needs no lock. Both carry the
 * context in which they were set: it is attached when the time comes, under "actor:NAME".
 */
#ifndef DCONTEXT_TIMER_H
#define DCONTEXT_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A timer or a delayed message. A plain value, safe to use after its timer is over, until its
 * system is destroyed. */
typedef struct dctx_timer {
    void *system_;
    uint64_t id_;
} dctx_timer_t;

#define DCTX_TIMER_NONE ((dctx_timer_t){0})

enum {
    DCTX_TIMER_NO_CONTEXT = 1 /* it runs in an empty context but for "actor:NAME" */
};

/* `missed`: periods that had passed unheeded before this run, because the actor was busy or the
 * machine was; this one run stands for them too. It must not block, unless the actor is pinned. */
typedef void (*dctx_timer_fn)(dctx_actor_t *self, uint64_t missed, void *state, void *arg);

/* `run` is required. */
typedef struct dctx_timer_options {
    int64_t delay_ns;  /* until it first runs; 0 and less: as soon as may be */
    int64_t period_ns; /* from then on; 0: it runs once */
    dctx_timer_fn run;
    void *arg; /* the caller's: handed to run */
    unsigned flags;
} dctx_timer_options_t;

/*
 * Set a timer of this actor. A periodic one is due at the first time plus a whole number of
 * periods, whatever the runs take: it does not drift, and never has two runs waiting. Timers end
 * with their actor, and when the system stops.
 *
 * Ownership: *ret_timer, when not NULL, is a value. `arg` must last until the timer is over.
 * Errors: DCTX_ERR_INVALID (nothing to run, a negative period), DCTX_ERR_STOPPED, DCTX_ERR_NOMEM.
 * Thread-safety: the actor's callbacks.
 * Limits and units: nanoseconds by the system's clock. It runs a millisecond late as a rule, never
 *   early.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_timer_start(dctx_actor_t *self,
                                                          const dctx_timer_options_t *options,
                                                          dctx_timer_t *ret_timer);

/*
 * End a timer, or take a delayed message back. True: it would have run, or been sent, and now will
 * not; of a periodic one, not again. False: it is over, or is running (a timer that runs once) or
 * being sent at this moment.
 *
 * Ownership: a value that was taken back is destroyed here.
 * Errors: none; DCTX_TIMER_NONE and timers long over are fine.
 * Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT bool dctx_timer_cancel(dctx_timer_t timer);

/*
 * True while it has yet to run, or to be sent.
 * Ownership: none. Errors: none. Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT bool dctx_timer_is_pending(dctx_timer_t timer);

/*
 * Tell, later: the message carries the context and the value of now, and goes when its time has
 * come. Outbound interceptors see it now. It is accepted, as the counters have it, when it goes; if
 * the system stops before, it is accepted and a dead letter at once (DCTX_ERR_STOPPED). No stop
 * waits for it.
 *
 * Ownership: *value is copied; *ret_timer, when not NULL, is a value.
 * Errors: as dctx_tell(). An actor that goes before the time has come is no error here but a dead
 *   letter later.
 * Thread-safety: any thread.
 * Limits and units: nanoseconds by the receiver's system's clock, for a remote one by this node's;
 *   0 and less: as soon as may be. As precise as a timer.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_tell_after(dctx_ref_t to, int64_t delay_ns,
                                                         const dctx_type_t *type, const void *value,
                                                         dctx_timer_t *ret_timer);

#ifdef __cplusplus
}
#endif
#endif
