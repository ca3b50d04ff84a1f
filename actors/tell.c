/* Telling. */
#include <string.h>

#include "plain.h"
#include "sending.h"

static inline bool tell_plainly(dctx_ref_t to, const dctx_type_t *type, const void *value)
{
    dctx_runner_t *here = dctx_runner_here;
    dctx_actor_t *actor = dctx_plain_find(here, to);
    if (actor == NULL || !dctx_plain_value(type, value))
        return false;
    dctx_snapshot_t *fork = dctx_forked_();
    if (fork == NULL)
        return false;
    dctx_message_t *message = dctx_pool_take_(&here->system->pool, &here->cells);
    if (message == NULL)
        return false;
    dctx_plain_fill(message, type, value);
    dctx_lot_give(&here->given, fork);
    dctx_plain_send(here, actor, to, message, fork, 0, 0);
    return true;
}

/* From a thread of no system. */
static bool tell_from_outside(dctx_ref_t to, const dctx_type_t *type, const void *value)
{
    dctx_system_t *system = to.system_;
    dctx_actor_t *actor = system != NULL ? dctx_plain_actor(system, to.id_) : NULL;
    if (actor == NULL || !dctx_plain_value(type, value))
        return false;
    dctx_snapshot_t *fork = dctx_forked_();
    dctx_message_t *message = fork != NULL ? dctx_pool_take(&system->pool, NULL) : NULL;
    if (message == NULL)
        return false;
    if (dctx_accept_(system, NULL) != DCTX_OK) {
        dctx_pool_give(&system->pool, NULL, message);
        return false;
    }
    dctx_plain_fill(message, type, value);
    dctx_plain_make(message, to.id_, dctx_snapshot_ref(fork), 0, 0, DCTX_REF_NONE);
    dctx_post_(system, NULL, actor, &message->node);
    return true;
}

static __attribute__((noinline)) dctx_error_t tell(dctx_ref_t to, const dctx_type_t *type,
                                                   const void *value)
{
    dctx_sending_t sending;
    dctx_error_t error = dctx_sending_begin_(&sending, to, type, value);
    return error == DCTX_OK ? dctx_sending_deliver_(&sending) : error;
}

dctx_error_t dctx_tell(dctx_ref_t to, const dctx_type_t *type, const void *value)
{
    if (__builtin_expect(tell_plainly(to, type, value), 1))
        return DCTX_OK;
    if (dctx_runner_here == NULL && tell_from_outside(to, type, value))
        return DCTX_OK;
    return tell(to, type, value);
}

dctx_error_t dctx_tell_take(dctx_ref_t to, const dctx_type_t *type, void *value)
{
    dctx_sending_t sending;
    dctx_error_t error = dctx_sending_begin_(&sending, to, type, value);
    if (error != DCTX_OK)
        return error;
    if (type == NULL || value == NULL)
        error = dctx_fail_(DCTX_ERR_INVALID, "there is no value to take over");
    else if (type->size == 0)
        error = dctx_fail_(DCTX_ERR_TYPE, "a value of type \"%s\" can be copied, not taken over",
                           type->name);
    if (error != DCTX_OK)
        return dctx_sending_refuse_(&sending, error);
    sending.take = true;
    error = dctx_sending_deliver_(&sending);
    if (error == DCTX_OK)
        memset(value, 0, type->size);
    return error;
}

dctx_error_t dctx_tell_after(dctx_ref_t to, int64_t delay_ns, const dctx_type_t *type,
                             const void *value, dctx_timer_t *ret_timer)
{
    dctx_sending_t sending;
    dctx_error_t error = dctx_sending_begin_(&sending, to, type, value);
    if (error != DCTX_OK)
        return error;
    sending.later = true;
    sending.delay = delay_ns;
    sending.timer = ret_timer;
    if (ret_timer != NULL)
        *ret_timer = DCTX_TIMER_NONE;
    return dctx_sending_deliver_(&sending);
}

dctx_error_t dctx_tell_shared_(dctx_ref_t to, const dctx_type_t *type, const void *value,
                               dctx_share_t *share, dctx_snapshot_t *snapshot, bool *ret_held)
{
    dctx_sending_t sending;
    dctx_error_t error = dctx_sending_begin_(&sending, to, type, value);
    if (error != DCTX_OK)
        return error;
    sending.share = share;
    sending.snapshot = snapshot;
    error = dctx_sending_deliver_(&sending);
    *ret_held = sending.held;
    return error;
}

dctx_error_t dctx_send_on_(dctx_ref_t to, dctx_message_t *message)
{
    dctx_sending_t sending;
    dctx_error_t error = dctx_sending_begin_(&sending, to, NULL, NULL);
    sending.content = message;
    sending.on = true;
    return error == DCTX_OK ? dctx_sending_deliver_(&sending) : error;
}
