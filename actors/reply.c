/* Answering asks, at once or later. */
#include <string.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "message.h"
#include "outgoing.h"
#include "plain.h"
#include "reply.h"
#include "system.h"
#include "work.h"

/* The right to answer an ask. */
struct dctx_reply_to {
    dctx_system_t *system; /* of the actor that was asked */
    void *home;            /* of who asked; for another system its address, which may be stale */
    uint64_t ask;
    dctx_outgoing_t
        *outgoing; /* to another node: made beforehand, so that giving up needs no memory */
};

/* ---- to an asker in this process ------------------------------------------------------------- */

/* Ends the ask with the content of a message that stands for it;
 * an ask that is over is no error. */
void dctx_ask_answer_(dctx_system_t *system, void *home_address, uint64_t ask,
                      dctx_message_t *content, dctx_error_t status)
{
    dctx_system_t *home = dctx_home_enter_(system, home_address);
    if (home != NULL) {
        dctx_runner_t *runner = dctx_runner_of(home);
        dctx_message_t *record = dctx_ask_claim_(home, runner, ask, NULL);
        if (record != NULL) {
            dctx_message_take_content_(record, content);
            dctx_ask_end_(home, runner, record, status);
        } else {
            dctx_count_(home, runner, DCTX_TALLY_LATE);
        }
    }
    dctx_home_leave_(system, home);
    dctx_message_clear_(content);
}

static dctx_error_t answer_here(dctx_system_t *system, void *home, uint64_t ask,
                                const dctx_type_t *type, const void *value)
{
    /* All that can fail comes before the ask is claimed. */
    dctx_message_t content;
    memset(&content, 0, offsetof(dctx_message_t, inline_));
    dctx_error_t error = dctx_message_store_(&content, type, value);
    if (error == DCTX_OK)
        dctx_ask_answer_(system, home, ask, &content, DCTX_OK);
    return error;
}

static void refuse_here(dctx_system_t *system, void *home, uint64_t ask, dctx_error_t error,
                        const char *reason)
{
    dctx_message_t content;
    memset(&content, 0, offsetof(dctx_message_t, inline_));
    if (reason != NULL && reason[0] != '\0')
        dctx_message_set_reason_(&content, reason, strlen(reason));
    dctx_ask_answer_(system, home, ask, &content, error);
}

/* ---- in the callback ------------------------------------------------------------------------- */

/* The message as an ask that can be answered now. */
static dctx_error_t check(const dctx_message_t *message)
{
    dctx_runner_t *here = dctx_runner_here;
    if (message == NULL || here == NULL || here->message != message || here->actor == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a message is answered in the callback it came to");
    if (!(message->node.flags & DCTX_MESSAGE_ASK) || message->node.kind != DCTX_NODE_MESSAGE)
        return dctx_fail_(DCTX_ERR_INVALID, "nobody asked");
    if (message->node.flags & DCTX_MESSAGE_ANSWERED)
        return dctx_fail_(DCTX_ERR_INVALID, "the ask is answered already");
    return DCTX_OK;
}

/* A small value of a type without functions, to an asker of this system who still waits: what most
 * answers are. The record takes it without a copy in between. False: nothing has happened. */
static inline bool reply_plainly(const dctx_message_t *message, const dctx_type_t *type,
                                 const void *value)
{
    dctx_runner_t *here = dctx_runner_here;
    if (here == NULL || message == NULL || here->message != message || here->actor == NULL ||
        message->node.kind != DCTX_NODE_MESSAGE || message->node.flags != DCTX_MESSAGE_ASK ||
        !dctx_plain_value(type, value))
        return false;
    dctx_message_t *record = dctx_ask_claim_(here->system, here, message->u.request.ask, NULL);
    if (record == NULL)
        return false;
    dctx_plain_fill(record, type, value);
    dctx_message_own(message)->node.flags = DCTX_MESSAGE_ASK | DCTX_MESSAGE_ANSWERED;
    dctx_ask_end_(here->system, here, record, DCTX_OK);
    return true;
}

dctx_error_t dctx_reply(const dctx_message_t *message, const dctx_type_t *type, const void *value)
{
    if (reply_plainly(message, type, value))
        return DCTX_OK;
    dctx_error_t error = check(message);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = dctx_runner_here->system;
    uint64_t ask = message->u.request.ask;
    if (dctx_message_asker_is_remote_(message)) {
        dctx_outgoing_t *outgoing = NULL;
        error = dctx_outgoing_answer_(message->parcel->node, ask, &outgoing);
        if (error == DCTX_OK)
            error = dctx_outgoing_encode_(system, outgoing, type, value);
        if (error == DCTX_OK)
            error = dctx_outgoing_check_size_(system, outgoing);
        if (error != DCTX_OK) {
            dctx_outgoing_destroy_(outgoing);
            return error;
        }
        dctx_io_post_(&system->io, &outgoing->node);
    } else {
        error = answer_here(system, dctx_message_home_(message, system), ask, type, value);
        if (error != DCTX_OK)
            return error;
    }
    dctx_message_own(message)->node.flags |= DCTX_MESSAGE_ANSWERED;
    return DCTX_OK;
}

dctx_error_t dctx_reply_error(const dctx_message_t *message, dctx_error_t error, const char *reason)
{
    dctx_error_t failed = check(message);
    if (failed == DCTX_OK && error == DCTX_OK)
        failed = dctx_fail_(DCTX_ERR_INVALID, "DCTX_OK is no error to answer with");
    if (failed != DCTX_OK)
        return failed;
    dctx_system_t *system = dctx_runner_here->system;
    uint64_t ask = message->u.request.ask;
    if (dctx_message_asker_is_remote_(message)) {
        dctx_outgoing_t *outgoing = NULL;
        failed = dctx_outgoing_answer_(message->parcel->node, ask, &outgoing);
        if (failed != DCTX_OK)
            return failed;
        dctx_outgoing_set_error_(outgoing, error, reason);
        dctx_io_post_(&system->io, &outgoing->node);
    } else {
        refuse_here(system, dctx_message_home_(message, system), ask, error, reason);
    }
    dctx_message_own(message)->node.flags |= DCTX_MESSAGE_ANSWERED;
    return DCTX_OK;
}

/* ---- later ----------------------------------------------------------------------------------- */

dctx_error_t dctx_reply_defer(const dctx_message_t *message, dctx_reply_to_t **ret_reply_to)
{
    dctx_error_t error = check(message);
    if (error == DCTX_OK && ret_reply_to == NULL)
        error = dctx_fail_(DCTX_ERR_INVALID, "there is no place for the right to answer");
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = dctx_runner_here->system;
    /* Now: from here on nobody can tell from the message whether the ask is still wanted. */
    dctx_cancel_t *work = NULL;
    error = dctx_work_scope_(&work);
    if (error != DCTX_OK)
        return error;
    dctx_reply_to_t *self = dctx_alloc_(sizeof *self);
    if (self == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to answer later");
    *self = (dctx_reply_to_t){.system = system, .ask = message->u.request.ask};
    if (dctx_message_asker_is_remote_(message))
        error = dctx_outgoing_answer_(message->parcel->node, self->ask, &self->outgoing);
    else
        self->home = dctx_message_home_(message, system);
    if (error != DCTX_OK) {
        dctx_release_(self);
        return error;
    }
    dctx_message_own(message)->node.flags |= DCTX_MESSAGE_ANSWERED;
    *ret_reply_to = self;
    return DCTX_OK;
}

dctx_error_t dctx_reply_to_send(dctx_reply_to_t **reply_to_p, const dctx_type_t *type,
                                const void *value)
{
    if (reply_to_p == NULL || *reply_to_p == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is nobody to answer");
    dctx_reply_to_t *self = *reply_to_p;
    dctx_error_t error;
    if (self->outgoing == NULL) {
        error = answer_here(self->system, self->home, self->ask, type, value);
    } else {
        error = dctx_outgoing_encode_(self->system, self->outgoing, type, value);
        if (error == DCTX_OK)
            error = dctx_outgoing_check_size_(self->system, self->outgoing);
        if (error != DCTX_OK)
            dctx_writer_destroy(&self->outgoing->writer);
        else
            dctx_io_post_(&self->system->io, &self->outgoing->node);
    }
    if (error != DCTX_OK)
        return error;
    dctx_release_(self);
    *reply_to_p = NULL;
    return DCTX_OK;
}

static void answer_error(dctx_reply_to_t *self, dctx_error_t error, const char *reason)
{
    if (self->outgoing == NULL) {
        refuse_here(self->system, self->home, self->ask, error, reason);
    } else {
        dctx_outgoing_set_error_(self->outgoing, error, reason);
        dctx_io_post_(&self->system->io, &self->outgoing->node);
    }
    dctx_release_(self);
}

void dctx_reply_undefer_(const dctx_message_t *message, dctx_reply_to_t **reply_to_p)
{
    dctx_message_own(message)->node.flags &= (uint16_t)~DCTX_MESSAGE_ANSWERED;
    dctx_outgoing_destroy_((*reply_to_p)->outgoing);
    dctx_release_(*reply_to_p);
    *reply_to_p = NULL;
}

/* Fills an answer to another node with what came as an answer to us. */
static dctx_error_t relay_content(dctx_reply_to_t *self, dctx_message_t *end)
{
    if (!(end->node.flags & DCTX_MESSAGE_REMOTE)) {
        dctx_error_t error =
            dctx_outgoing_encode_(self->system, self->outgoing, end->type, end->value);
        return error != DCTX_OK ? error : dctx_outgoing_check_size_(self->system, self->outgoing);
    }
    dctx_parcel_t *parcel = dctx_message_take_parcel_(end);
    dctx_decoded_t *decoded = parcel->decoded;
    parcel->decoded = NULL;
    dctx_decoded_destroy_(decoded);
    dctx_outgoing_set_parcel_(self->outgoing, parcel);
    return dctx_outgoing_check_size_(self->system, self->outgoing);
}

void dctx_reply_to_relay_(dctx_reply_to_t **reply_to_p, dctx_error_t status, dctx_message_t *end)
{
    dctx_reply_to_t *self = *reply_to_p;
    *reply_to_p = NULL;
    if (self->outgoing == NULL) {
        dctx_ask_answer_(self->system, self->home, self->ask, end, status);
        dctx_release_(self);
        return;
    }
    if (status == DCTX_OK) {
        status = relay_content(self, end);
        if (status == DCTX_OK) {
            dctx_io_post_(&self->system->io, &self->outgoing->node);
            dctx_release_(self);
            return;
        }
        dctx_writer_destroy(&self->outgoing->writer);
        if (self->outgoing->parcel != NULL)
            dctx_parcel_destroy_(dctx_outgoing_take_parcel_(self->outgoing));
        answer_error(self, status, dctx_error_detail());
        return;
    }
    answer_error(self, status, dctx_message_reason(end));
}

dctx_error_t dctx_reply_to_error(dctx_reply_to_t **reply_to_p, dctx_error_t error,
                                 const char *reason)
{
    if (reply_to_p == NULL || *reply_to_p == NULL || error == DCTX_OK)
        return dctx_fail_(DCTX_ERR_INVALID, "there is nobody to answer, or no error");
    answer_error(*reply_to_p, error, reason);
    *reply_to_p = NULL;
    return DCTX_OK;
}

void dctx_reply_to_destroy(dctx_reply_to_t **reply_to_p)
{
    if (reply_to_p == NULL || *reply_to_p == NULL)
        return;
    answer_error(*reply_to_p, DCTX_ERR_NO_REPLY, NULL);
    *reply_to_p = NULL;
}
