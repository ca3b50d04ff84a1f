/*
 * An errand: an ask that is answered by other asks, made on its behalf one after the other or side
 * by side.
 *
 * To its asker it is an ask like any, with a slot and a record, a timeout and a scope. Below the
 * asker's scope it has one of its own, known to the slot as the scope of the work: so when it ends
 * by itself (timeout, cancel, death of the asker) the asks under way end too. It is shared by these
 * and by alarms, each with a reference; the last one destroys it. They run on any thread of the
 * target's system.
 */
#ifndef DCTX_ERRAND_H
#define DCTX_ERRAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>
#include <dcontext/internal.h>

#include "message.h"
#include "system.h"

typedef struct dctx_errand {
    _Atomic(unsigned) refs; /* relaxed up, acq_rel down */
    dctx_system_t *system;  /* the target's, which makes the asks: they keep it */
    void *home;             /* the address of the system that has the errand's own ask */
    uint64_t ask;
    int64_t deadline; /* of the whole, by the target's system's clock */
    dctx_ref_t to;
    dctx_message_t *value;                       /* a cell of its own, only for its content */
    dctx_cancel_t *scope;                        /* with a reference */
    dctx_snapshot_t *context;                    /* the asker's, in `scope` */
    void (*destroy)(struct dctx_errand *errand); /* what follows it, and the memory */
} dctx_errand_t;

/* Who makes an errand, and who hears of its end: an actor, or whoever is called. */
typedef struct dctx_errand_asker {
    dctx_actor_t *self; /* NULL: `call` */
    dctx_reply_fn on_reply;
    dctx_ask_fn call;
    void *arg;
    uint64_t *ret_ask; /* NULL, or where the number of the errand's ask goes before it can end */
} dctx_errand_asker_t;

/* Begins an errand in memory of the caller, zeroed but for `destroy`, which becomes its own on
 * success. One reference. Errors as dctx_ask_retry(). */
dctx_error_t dctx_errand_begin_(dctx_errand_t *errand, dctx_ref_t to, const dctx_type_t *type,
                                const void *value, int64_t timeout_ms,
                                const dctx_errand_asker_t *asker);

static inline void dctx_errand_ref_(dctx_errand_t *errand)
{
    (void)atomic_fetch_add_explicit(&errand->refs, 1, memory_order_relaxed);
}
void dctx_errand_unref_(dctx_errand_t *errand);

/* How one of its asks differs from the others. */
typedef struct dctx_errand_leg {
    dctx_ref_t to;
    uint32_t attempt; /* 0: the first, as it is */
    bool backup;
    dctx_cancel_t *scope; /* below the errand's; NULL: that */
    int64_t timeout_ms;
    dctx_ask_fn call;
    void *arg;
} dctx_errand_leg_t;

/* Makes an ask, in the errand's context. Any thread. On an error `call` does not run. */
dctx_error_t dctx_errand_ask_(dctx_errand_t *errand, const dctx_errand_leg_t *leg);

/* False once nobody waits for it any more. */
bool dctx_errand_is_open_(dctx_errand_t *errand);

/* Ends it as an ask of its has ended, whose content moves; `reply` NULL: with the reason in
 * dctx_error_detail(). One that is over already stays as it is. */
void dctx_errand_end_(dctx_errand_t *errand, dctx_error_t status, const dctx_message_t *reply);

#endif
