/* Futures and actors: the reply to an ask as a future, and a future's result as a turn of an
 * actor. */
#include <string.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "future.h"
#include "message.h"
#include "retry_room.h"
#include "runner.h"
#include "send.h"
#include "system.h"

/* A system that a future knows by its address only, kept alive until leave(); NULL if it is
 * gone. */
static dctx_system_t *enter(const dctx_future_t *future)
{
    dctx_runner_t *here = dctx_runner_here;
    dctx_system_t *system = future->home;
    if (here != NULL && here->system == system)
        return system->serial == future->home_serial ? system : NULL;
    system = dctx_systems_lock_(system);
    if (system == NULL || system->serial == future->home_serial)
        return system;
    dctx_systems_unlock_();
    return NULL;
}

static void set_home(dctx_future_t *future, dctx_system_t *system)
{
    future->home = system;
    future->home_serial = system->serial;
}

static void leave(const dctx_system_t *system)
{
    if (system != NULL && dctx_runner_of(system) == NULL)
        dctx_systems_unlock_();
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* The system is there: it tells us of the answer before it stops, and that waits for our return. */
static void on_cancel(void *arg)
{
    dctx_future_t *future = arg;
    dctx_system_t *system = future->home;
    (void)dctx_ask_give_up_(system, dctx_runner_of(system), future->ask, DCTX_ERR_CANCELLED);
}

/* Moves the value of a message of this process, else copies it. */
static dctx_error_t take_value(dctx_promise_t **promise_p, const dctx_type_t *type,
                               const dctx_message_t *reply, const void *value)
{
    if (dctx_message_is_remote(reply) || type->size == 0)
        return dctx_promise_complete(promise_p, type, value);
    dctx_message_t *message = dctx_message_own(reply);
    /* No destructor runs on it any more, whatever becomes of the promise. */
    message->type = NULL;
    dctx_error_t error = dctx_promise_complete_take(promise_p, type, message->value);
    if (error != DCTX_OK)
        message->type = type;
    return error;
}

static void on_answer(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    dctx_promise_t *promise = arg;
    const dctx_type_t *wanted = dctx_promise_future_(promise)->wanted;
    const void *value = dctx_message_get(reply, wanted);
    if (status != DCTX_OK) {
        (void)dctx_promise_fail(&promise, status, dctx_message_reason(reply));
    } else if (wanted == NULL) {
        dctx_promise_settle_(&promise, DCTX_OK);
    } else if (value == NULL) {
        (void)dctx_fail_(DCTX_ERR_TYPE, "the reply is of type \"%s\", not \"%s\"",
                         dctx_message_type(reply), wanted->name);
        (void)dctx_promise_fail(&promise, DCTX_ERR_TYPE, dctx_error_detail());
    } else {
        dctx_error_t error = take_value(&promise, wanted, reply, value);
        if (error != DCTX_OK)
            (void)dctx_promise_fail(&promise, error, dctx_error_detail());
    }
}

/* An ask in the making, and how it is put: with the promise as the one to hear of its end. */
typedef struct question {
    dctx_ref_t to;
    const dctx_type_t *type;
    const void *value;
    int64_t timeout_ms;
    const dctx_retry_t *retry;
    dctx_hedge_t *hedge;
} question_t;
typedef dctx_error_t (*put_fn)(const question_t *question, dctx_promise_t *promise,
                               uint64_t *ret_ask);

static dctx_error_t put_plain(const question_t *question, dctx_promise_t *promise,
                              uint64_t *ret_ask)
{
    return dctx_ask_for_(question->to.system_, question->to, question->type, question->value, NULL,
                         question->timeout_ms, on_answer, promise, ret_ask);
}

static dctx_error_t put_retry(const question_t *question, dctx_promise_t *promise,
                              uint64_t *ret_ask)
{
    dctx_errand_asker_t asker = {.call = on_answer, .arg = promise, .ret_ask = ret_ask};
    return dctx_ask_retry_(question->to, question->type, question->value, question->timeout_ms,
                           question->retry, &asker);
}

static dctx_error_t put_hedged(const question_t *question, dctx_promise_t *promise,
                               uint64_t *ret_ask)
{
    dctx_errand_asker_t asker = {.call = on_answer, .arg = promise, .ret_ask = ret_ask};
    return dctx_ask_hedged_(question->to, question->type, question->value, question->timeout_ms,
                            question->hedge, &asker);
}

static dctx_error_t ask_future(put_fn put, const question_t *question,
                               const dctx_type_t *reply_type, dctx_future_t **ret_future)
{
    dctx_promise_t *promise = NULL;
    dctx_future_t *future = NULL;
    if (ret_future == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the future");
    dctx_error_t error = dctx_promise_new(&promise, &future);
    if (error != DCTX_OK)
        return error;
    future->wanted = reply_type;
    if (!dctx_ref_is_none(question->to))
        set_home(future, question->to.system_);
    error = put(question, promise, &future->ask);
    if (error != DCTX_OK) {
        dctx_promise_settle_(&promise, error);
        dctx_future_unref(&future);
        return error;
    }
    /* The promise is the answer's now; if that has come already this does nothing. */
    dctx_future_set_cancel_(future, on_cancel, future);
    *ret_future = future;
    return DCTX_OK;
}

dctx_error_t dctx_ask_future(dctx_ref_t to, const dctx_type_t *type, const void *value,
                             const dctx_type_t *reply_type, int64_t timeout_ms,
                             dctx_future_t **ret_future)
{
    question_t question = {.to = to, .type = type, .value = value, .timeout_ms = timeout_ms};
    return ask_future(put_plain, &question, reply_type, ret_future);
}

dctx_error_t dctx_ask_retry_future(dctx_ref_t to, const dctx_type_t *type, const void *value,
                                   const dctx_type_t *reply_type, int64_t timeout_ms,
                                   const dctx_retry_t *retry, dctx_future_t **ret_future)
{
    question_t question = {
        .to = to, .type = type, .value = value, .timeout_ms = timeout_ms, .retry = retry};
    return ask_future(put_retry, &question, reply_type, ret_future);
}

dctx_error_t dctx_ask_hedged_future(dctx_ref_t to, const dctx_type_t *type, const void *value,
                                    const dctx_type_t *reply_type, int64_t timeout_ms,
                                    dctx_hedge_t *hedge, dctx_future_t **ret_future)
{
    question_t question = {
        .to = to, .type = type, .value = value, .timeout_ms = timeout_ms, .hedge = hedge};
    return ask_future(put_hedged, &question, reply_type, ret_future);
}

/* ---- going on as an actor -------------------------------------------------------------------- */

static void destroy_future(void *value)
{
    dctx_future_unref((dctx_future_t **)value);
}

/* The actor does not wait any more; if it was the last one to, the future is cancelled. */
static void stop_waiting(void *value)
{
    dctx_future_conclude_(*(dctx_future_t **)value,
                          &(dctx_ending_t){.error = DCTX_ERR_CANCELLED, .from_outside = true});
    destroy_future(value);
}

/* What the record of an actor that waits for a future has as its value: what stands for the actor
 * among those attached to the future; and, once that has ended, the future itself. */
static const dctx_type_t waiting_type = {
    .name = "dctx.future", .size = sizeof(dctx_future_t *), .destroy = stop_waiting};
static const dctx_type_t future_type = {
    .name = "dctx.future", .size = sizeof(dctx_future_t *), .destroy = destroy_future};

static void set_value(dctx_message_t *record, const dctx_type_t *type, dctx_future_t *future)
{
    (void)dctx_future_ref(future);
    memcpy(record->inline_, &future, sizeof(dctx_future_t *));
    record->value = record->inline_;
    record->type = type;
}

void dctx_future_tell_actor_(const dctx_future_t *waiting, dctx_future_t *source)
{
    dctx_system_t *system = enter(waiting);
    if (system == NULL)
        return;
    dctx_runner_t *runner = dctx_runner_of(system);
    dctx_message_t *record = dctx_ask_claim_(system, runner, waiting->ask, NULL);
    if (record != NULL) {
        /* `waiting` has ended, so that this tells nobody. */
        dctx_message_clear_(record);
        set_value(record, &future_type, source);
        dctx_ask_end_(system, runner, record, source->result.error);
    }
    leave(system);
}

void dctx_future_run_actor_(dctx_actor_t *actor, const dctx_message_t *record)
{
    dctx_result_t result = {.error = record->u.done.status, .reason = ""};
    if (record->type == &future_type)
        result = (*(dctx_future_t *const *)record->value)->result;
    record->u.done.run.on_result(actor, &result, actor->state, record->u.done.arg);
}

static dctx_error_t new_record(dctx_actor_t *self, dctx_future_t *waiting, dctx_result_fn call,
                               void *arg, dctx_message_t **ret_record)
{
    dctx_runner_t *runner = dctx_runner_here;
    dctx_message_t *record = dctx_message_new_(self->system, runner, DCTX_NODE_RESULT);
    if (record == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = dctx_is_empty() ? DCTX_OK : dctx_fork(&record->snapshot);
    if (error != DCTX_OK) {
        dctx_message_release_(self->system, runner, record);
        return error;
    }
    record->node.generation = (uint32_t)(dctx_self(self).id_ >> 32);
    record->u.done.run.on_result = call;
    record->u.done.arg = arg;
    record->u.done.status = DCTX_ERR_STOPPED;
    record->u.done.actor = self->slot.index;
    set_value(record, &waiting_type, waiting);
    *ret_record = record;
    return DCTX_OK;
}

dctx_error_t dctx_future_then_actor(dctx_actor_t *self, dctx_future_t *future, dctx_result_fn call,
                                    void *arg)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || here == NULL || here->actor != self)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "only an actor can go on so, in its own callbacks: dctx_future_then()");
    if (future == NULL || call == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no future, or nothing to do when it has ended");
    dctx_message_t *record = NULL;
    dctx_future_t *target = dctx_future_new_(1, 0);
    if (target == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = new_record(self, target, call, arg, &record);
    if (error == DCTX_OK) {
        error = dctx_ask_open_(self->system, record, INT64_MAX, NULL, NULL, &target->ask);
        if (error != DCTX_OK)
            dctx_message_release_(self->system, here, record);
    }
    if (error == DCTX_OK) {
        self->asks++;
        set_home(target, self->system);
        target->edges[1].kind = DCTX_EDGE_ACTOR;
        dctx_edge_attach_(&target->edges[1], future, target);
    }
    dctx_future_unref(&target);
    return error;
}
