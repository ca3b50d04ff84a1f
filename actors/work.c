#include "work.h"

#include "system.h"

bool dctx_work_is_wanted_(dctx_system_t *system, const dctx_message_t *message)
{
    unsigned flags = message->node.flags;
    uint64_t ask = message->u.request.ask;
    if (__builtin_expect((flags & (DCTX_MESSAGE_REMOTE | DCTX_MESSAGE_ELSEWHERE)) == 0, 1))
        return dctx_ask_is_pending_(system, ask);
    if (dctx_message_asker_is_remote_(message))
        return dctx_cancel_status(message->parcel->work) == DCTX_OK;
    dctx_system_t *home = dctx_home_enter_(system, dctx_message_home_(message, system));
    bool wanted = home != NULL && dctx_ask_is_pending_(home, ask);
    dctx_home_leave_(system, home);
    return wanted;
}

static dctx_error_t status(void)
{
    dctx_runner_t *runner = dctx_runner_here;
    if (runner->work != NULL)
        return dctx_cancel_status(runner->work);
    /* Once it is answered nobody can call it off any more. */
    if ((runner->message->node.flags & DCTX_MESSAGE_ANSWERED) ||
        dctx_work_is_wanted_(runner->system, runner->message))
        return DCTX_OK;
    return DCTX_ERR_CANCELLED;
}

static dctx_error_t make(dctx_runner_t *runner, const dctx_message_t *message)
{
    dctx_system_t *system = runner->system;
    dctx_cancel_t *work = NULL;
    dctx_error_t error = dctx_cancel_new_under(dctx_snapshot_cancel(message->snapshot), &work);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *home = dctx_home_enter_(system, dctx_message_home_(message, system));
    runner->work = home != NULL ? dctx_ask_share_work_(home, message->u.request.ask, work) : NULL;
    dctx_home_leave_(system, home);
    if (runner->work != NULL) {
        dctx_cancel_unref(&work);
        return DCTX_OK;
    }
    (void)dctx_cancel_with_(work, DCTX_ERR_CANCELLED, "nobody waits for the answer any more", "");
    runner->work = work;
    return DCTX_OK;
}

dctx_error_t dctx_work_scope_(dctx_cancel_t **ret_scope)
{
    dctx_runner_t *runner = dctx_runner_here;
    const dctx_message_t *message = runner->message;
    dctx_error_t error = DCTX_OK;
    if (runner->work == NULL && !(message->node.flags & DCTX_MESSAGE_ANSWERED)) {
        if (dctx_message_asker_is_remote_(message))
            runner->work = dctx_cancel_ref(message->parcel->work);
        else
            error = make(runner, message);
    }
    *ret_scope = runner->work;
    return error;
}

void dctx_work_init_(dctx_runner_t *runner)
{
    runner->asked = (dctx_asked_t){.status = status, .scope = dctx_work_scope_};
}

void dctx_work_begin_(dctx_runner_t *runner)
{
    dctx_cancel_begin_(&runner->asked);
}

void dctx_work_end_(dctx_runner_t *runner)
{
    dctx_cancel_end_();
    if (__builtin_expect(runner->work != NULL, 0))
        dctx_cancel_unref(&runner->work);
}
