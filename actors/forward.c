/* Messages that are sent on, and asks that others answer. */
#include <dcontext/handling.h>
#include <dcontext/internal.h>

#include "message.h"
#include "reply.h"
#include "send.h"
#include "system.h"
#include "handle.h"
#include "work.h"

/* For an ask that is sent on to another node without a deadline:
 * how long its asker waits is his affair. */
enum { RELAY_MS = 3600 * 1000 };

static dctx_error_t check(const dctx_actor_t *self, const dctx_message_t *message)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || message == NULL || here == NULL || here->actor != self ||
        here->message != message || message->node.kind != DCTX_NODE_MESSAGE)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "an actor sends on the message in hand, in its handler");
    if (message->node.flags & DCTX_MESSAGE_MOVED)
        return dctx_fail_(DCTX_ERR_INVALID, "the message is sent on, or kept, already");
    return DCTX_OK;
}

/* The end of an ask that was put for another's. */
static void relay(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    dctx_reply_to_t *reply_to = arg;
    dctx_reply_to_relay_(&reply_to, status, dctx_message_own(reply));
}

/* The context the message came in, with the scope it is handled in. */
static dctx_error_t enter(const dctx_actor_t *self, const dctx_message_t *message,
                          dctx_scope_t *scope)
{
    char buffer[DCTX_SCOPE_NAME];
    const char *name = dctx_handle_scope_(self, message, buffer);
    const dctx_snapshot_t *snapshot =
        message->snapshot != NULL ? message->snapshot : self->system->empty;
    dctx_error_t error = dctx_attach_scope(snapshot, name, scope);
    /* The handler runs without a name that is over the registry's limit; so does this. */
    return error == DCTX_ERR_LIMIT ? dctx_attach(snapshot, scope) : error;
}

static bool is_open_ask(const dctx_message_t *message)
{
    unsigned flags = message->node.flags & (DCTX_MESSAGE_ASK | DCTX_MESSAGE_ANSWERED);
    return flags == DCTX_MESSAGE_ASK;
}

/* Where nobody there can answer our asker, we ask there ourselves. */
static bool needs_relay(const dctx_actor_t *self, const dctx_message_t *message, dctx_ref_t to)
{
    if (!is_open_ask(message))
        return false;
    return dctx_ref_is_remote(to) ||
           (dctx_message_asker_is_remote_(message) && to.system_ != self->system);
}

static dctx_error_t send_relayed(const dctx_actor_t *self, dctx_message_t *message, dctx_ref_t to)
{
    dctx_reply_to_t *reply_to = NULL;
    dctx_error_t error = dctx_reply_defer(message, &reply_to);
    if (error != DCTX_OK)
        return error;
    /* In the context that it came in, entered anew, the ask at hand is not known. */
    dctx_cancel_t *work = NULL;
    error = dctx_work_scope_(&work);
    if (error == DCTX_OK && work != NULL)
        error = dctx_cancel_enter(work);
    if (error == DCTX_OK)
        error =
            dctx_ask_for_(self->system, to, NULL, NULL, message, RELAY_MS, relay, reply_to, NULL);
    if (error != DCTX_OK)
        dctx_reply_undefer_(message, &reply_to);
    return error;
}

dctx_error_t dctx_forward(dctx_actor_t *self, const dctx_message_t *message, dctx_ref_t to)
{
    dctx_error_t error = check(self, message);
    if (error != DCTX_OK)
        return error;
    if (dctx_ref_is_none(to))
        return dctx_fail_(DCTX_ERR_INVALID, "there is nobody to send to");
    dctx_scope_t scope;
    error = enter(self, message, &scope);
    if (error != DCTX_OK)
        return error;
    dctx_message_t *from = dctx_message_own(message);
    dctx_runner_keep_type_(dctx_runner_here, from);
    error = needs_relay(self, message, to) ? send_relayed(self, from, to) : dctx_send_on_(to, from);
    (void)dctx_scope_pop(&scope);
    if (error == DCTX_OK)
        from->node.flags |= DCTX_MESSAGE_MOVED | DCTX_MESSAGE_ANSWERED;
    return error;
}

dctx_error_t dctx_delegate(dctx_actor_t *self, const dctx_message_t *message, dctx_ref_t to,
                           const dctx_type_t *type, const void *value, int64_t timeout_ms)
{
    dctx_error_t error = check(self, message);
    if (error != DCTX_OK)
        return error;
    dctx_reply_to_t *reply_to = NULL;
    error = dctx_reply_defer(message, &reply_to);
    if (error != DCTX_OK)
        return error;
    error = dctx_ask_for_(self->system, to, type, value, NULL, timeout_ms, relay, reply_to, NULL);
    if (error != DCTX_OK)
        dctx_reply_undefer_(message, &reply_to);
    return error;
}
