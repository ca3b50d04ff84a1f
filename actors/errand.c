#include "errand.h"

#include <string.h>

#include "ask.h"
#include "reply.h"
#include "send.h"

static dctx_error_t store(dctx_errand_t *errand, const dctx_type_t *type, const void *value)
{
    errand->value = dctx_calloc_(1, sizeof *errand->value);
    if (errand->value == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an ask");
    errand->value->node.flags = DCTX_MESSAGE_OWN;
    return dctx_message_store_(errand->value, type, value);
}

static dctx_error_t enter(dctx_errand_t *errand)
{
    dctx_scope_t scope;
    dctx_error_t error = dctx_cancel_new(&errand->scope);
    if (error != DCTX_OK)
        return error;
    (void)dctx_scope_push(NULL, &scope);
    error = dctx_scope_error(&scope);
    if (error == DCTX_OK)
        error = dctx_cancel_enter(errand->scope);
    if (error == DCTX_OK)
        error = dctx_fork(&errand->context);
    (void)dctx_scope_pop(&scope);
    return error;
}

static void drop(dctx_errand_t *errand)
{
    dctx_message_destroy(&errand->value);
    dctx_cancel_unref(&errand->scope);
    dctx_snapshot_unref(&errand->context);
}

dctx_error_t dctx_errand_begin_(dctx_errand_t *errand, dctx_ref_t to, const dctx_type_t *type,
                                const void *value, int64_t timeout_ms,
                                const dctx_errand_asker_t *asker)
{
    dctx_runner_t *here = dctx_runner_here;
    if (asker->self != NULL ? asker->on_reply == NULL || here == NULL || here->actor != asker->self
                            : asker->call == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "an actor asks in its own callbacks, and somebody has "
                                            "to hear of the end");
    if (dctx_ref_is_none(to))
        return dctx_fail_(DCTX_ERR_INVALID, "there is nobody to ask");
    errand->system = to.system_;
    errand->to = to;
    atomic_init(&errand->refs, 1);
    dctx_error_t error = store(errand, type, value);
    if (error == DCTX_OK)
        error = enter(errand);
    dctx_system_t *home = asker->self != NULL ? asker->self->system : errand->system;
    errand->home = home;
    if (error == DCTX_OK)
        error = dctx_ask_own_(home, timeout_ms, asker, &errand->ask, &errand->deadline);
    if (error != DCTX_OK) {
        drop(errand);
        return error;
    }
    if (asker->ret_ask != NULL)
        *asker->ret_ask = errand->ask;
    /* By the clock of those who make the asks. */
    errand->deadline += dctx_now_(errand->system) - dctx_now_(home);
    dctx_cancel_t *known = dctx_ask_share_work_(home, errand->ask, errand->scope);
    if (known == NULL)
        (void)dctx_cancel(errand->scope, "nobody waits for the answer any more");
    dctx_cancel_unref(&known);
    return DCTX_OK;
}

void dctx_errand_unref_(dctx_errand_t *errand)
{
    if (atomic_fetch_sub_explicit(&errand->refs, 1, memory_order_acq_rel) > 1)
        return;
    drop(errand);
    errand->destroy(errand);
}

static dctx_error_t set(const dctx_errand_leg_t *leg)
{
    dctx_error_t error = leg->attempt > 0 ? dctx_retry_set(leg->attempt) : DCTX_OK;
    if (error == DCTX_OK && leg->backup)
        error = dctx_backup_set(true);
    if (error == DCTX_OK && leg->scope != NULL)
        error = dctx_cancel_enter(leg->scope);
    return error;
}

dctx_error_t dctx_errand_ask_(dctx_errand_t *errand, const dctx_errand_leg_t *leg)
{
    dctx_scope_t scope;
    dctx_error_t error = dctx_attach(errand->context, &scope);
    if (error == DCTX_OK)
        error = set(leg);
    if (error == DCTX_OK)
        error = dctx_ask_for_(leg->to.system_, leg->to, errand->value->type, errand->value->value,
                              NULL, leg->timeout_ms, leg->call, leg->arg, NULL);
    (void)dctx_scope_pop(&scope);
    return error;
}

bool dctx_errand_is_open_(dctx_errand_t *errand)
{
    dctx_system_t *home = dctx_home_enter_(errand->system, errand->home);
    bool open = home != NULL && dctx_ask_is_pending_(home, errand->ask);
    dctx_home_leave_(errand->system, home);
    return open;
}

void dctx_errand_end_(dctx_errand_t *errand, dctx_error_t status, const dctx_message_t *reply)
{
    if (!dctx_errand_is_open_(errand))
        return;
    dctx_message_t content;
    memset(&content, 0, offsetof(dctx_message_t, inline_));
    const char *why = dctx_error_detail();
    if (reply == NULL)
        dctx_message_set_reason_(&content, why, strlen(why));
    dctx_ask_answer_(errand->system, errand->home, errand->ask,
                     reply != NULL ? dctx_message_own(reply) : &content, status);
}
