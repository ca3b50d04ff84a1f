/* Asks that are made again. */
#include <dcontext/internal.h>
#include <dcontext/retry.h>

#include "budget.h"
#include "errand.h"
#include "retry_room.h"

enum { ATTEMPTS = 3, BACKOFF_MS = 10, BACKOFF_MAX_MS = 1000, NS_PER_MS = 1000000 };

typedef struct retry {
    dctx_errand_t errand;
    dctx_retry_t options; /* with a reference on the budget; `random`: NULL or `ids` */
    dctx_id_source_t ids;
    /* The one under way, or to come; from 0. Of the thread that has the errand in hand. */
    unsigned attempt;
    dctx_alarm_t alarm;
} retry_t;

static retry_t *of_errand(dctx_errand_t *errand)
{
    return (retry_t *)(void *)errand; /* its first member */
}

static void destroy(dctx_errand_t *errand)
{
    retry_t *retry = of_errand(errand);
    dctx_budget_unref(&retry->options.budget);
    dctx_release_(retry);
}

/* ---- what is tried again, and when ----------------------------------------------------------- */

static bool is_untouched(const dctx_message_t *reply)
{
    return reply == NULL || (reply->node.flags & DCTX_MESSAGE_UNTOUCHED) != 0;
}

static bool may_retry(const dctx_retry_t *options, dctx_error_t status, const dctx_message_t *reply)
{
    if (options->may_retry != NULL)
        return options->may_retry(status, reply, options->arg);
    switch (status) {
    case DCTX_ERR_FULL:
    case DCTX_ERR_NO_ACTOR:
        return true;
    case DCTX_ERR_UNREACHABLE:
    case DCTX_ERR_STOPPED:
        return options->idempotent || is_untouched(reply);
    case DCTX_ERR_TIMEOUT:
    case DCTX_ERR_NO_REPLY:
        return options->idempotent;
    default:
        return false;
    }
}

/* Between 0 and the whole, so that those who failed together do not come back together. */
static int64_t draw_delay(retry_t *retry)
{
    const dctx_retry_t *options = &retry->options;
    int64_t most = options->backoff_max_ms, whole = options->backoff_ms;
    for (unsigned i = 1; i < retry->attempt && whole < most; i++)
        whole = whole > most / 2 ? most : whole * 2;
    whole = (whole < most ? whole : most) * NS_PER_MS;
    uint64_t random = options->random != NULL ? options->random->next(options->random->arg)
                                              : dctx_system_random_(retry->errand.system);
    return (int64_t)(random % ((uint64_t)whole + 1));
}

/* ---- the attempts ---------------------------------------------------------------------------- */

static void settle(retry_t *retry, dctx_error_t status, const dctx_message_t *reply);

static void on_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    settle(arg, status, reply);
}

/* The errand's reference goes along. */
static void attempt(retry_t *retry)
{
    dctx_errand_t *errand = &retry->errand;
    int64_t left = errand->deadline - dctx_now_(errand->system);
    int64_t left_ms = left > 0 ? (left + NS_PER_MS - 1) / NS_PER_MS : 1;
    int64_t limit = retry->options.attempt_timeout_ms;
    /* Where the whole is over first that ends this too. */
    dctx_errand_leg_t leg = {.to = errand->to,
                             .attempt = retry->attempt,
                             .timeout_ms = limit > 0 && limit < left_ms ? limit : left_ms + 1,
                             .call = on_end,
                             .arg = retry};
    dctx_error_t error = dctx_errand_ask_(errand, &leg);
    if (error != DCTX_OK)
        settle(retry, error, NULL);
}

static void ring(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner, bool over)
{
    retry_t *retry = (retry_t *)(void *)((unsigned char *)alarm - offsetof(retry_t, alarm));
    if (over) {
        (void)dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
        dctx_errand_end_(&retry->errand, DCTX_ERR_STOPPED, NULL);
        dctx_errand_unref_(&retry->errand);
        return;
    }
    /* The value is copied, and what is sent passes interceptors. */
    dctx_runner_begin(runner, &system->self, NULL, NULL, NULL);
    if (dctx_errand_is_open_(&retry->errand))
        attempt(retry);
    else
        dctx_errand_unref_(&retry->errand);
    (void)dctx_runner_end(runner);
}

/* True: it is tried again, and the alarm has the reference. */
static bool try_again(retry_t *retry, dctx_error_t status, const dctx_message_t *reply)
{
    dctx_errand_t *errand = &retry->errand;
    if (status == DCTX_OK || retry->attempt + 1 >= retry->options.attempts ||
        !may_retry(&retry->options, status, reply) || !dctx_errand_is_open_(errand))
        return false;
    retry->attempt++;
    int64_t now = dctx_now_(errand->system);
    int64_t delay = draw_delay(retry);
    if (delay >= errand->deadline - now || !dctx_budget_withdraw_(retry->options.budget, now))
        return false;
    retry->alarm.ring = ring;
    return dctx_alarm_set_(errand->system, &retry->alarm, now + delay) == DCTX_OK;
}

static void settle(retry_t *retry, dctx_error_t status, const dctx_message_t *reply)
{
    if (try_again(retry, status, reply))
        return;
    dctx_errand_end_(&retry->errand, status, reply);
    dctx_errand_unref_(&retry->errand);
}

/* ---- for askers ------------------------------------------------------------------------------ */

static dctx_error_t check(const dctx_retry_t *options)
{
    if (options->backoff_ms < 0 || options->backoff_max_ms < 0 || options->attempt_timeout_ms < 0 ||
        options->backoff_ms > INT32_MAX || options->backoff_max_ms > INT32_MAX)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "times of a retry are not negative, back-offs at most 24 days");
    if (options->random != NULL && options->random->next == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a random source needs a function");
    return DCTX_OK;
}

static void take_options(retry_t *retry, const dctx_retry_t *options, dctx_system_t *system)
{
    retry->options = *options;
    if (options->attempts == 0)
        retry->options.attempts = ATTEMPTS;
    if (options->backoff_ms == 0)
        retry->options.backoff_ms = BACKOFF_MS;
    if (options->backoff_max_ms == 0)
        retry->options.backoff_max_ms = BACKOFF_MAX_MS;
    if (options->random != NULL) {
        retry->ids = *options->random;
        retry->options.random = &retry->ids;
    }
    retry->options.budget =
        dctx_budget_ref(options->budget != NULL ? options->budget : system->budget);
}

dctx_error_t dctx_ask_retry_(dctx_ref_t to, const dctx_type_t *type, const void *value,
                             int64_t timeout_ms, const dctx_retry_t *options,
                             const dctx_errand_asker_t *asker)
{
    static const dctx_retry_t defaults;
    if (options == NULL)
        options = &defaults;
    if (dctx_ref_is_none(to))
        return dctx_fail_(DCTX_ERR_INVALID, "there is nobody to ask");
    dctx_error_t error = check(options);
    if (error != DCTX_OK)
        return error;
    retry_t *retry = dctx_calloc_(1, sizeof *retry);
    if (retry == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an ask");
    retry->errand.destroy = destroy;
    take_options(retry, options, to.system_);
    error = dctx_errand_begin_(&retry->errand, to, type, value, timeout_ms, asker);
    if (error != DCTX_OK) {
        destroy(&retry->errand);
        return error;
    }
    dctx_budget_deposit_(retry->options.budget, dctx_now_(retry->errand.system));
    attempt(retry);
    return DCTX_OK;
}

dctx_error_t dctx_ask_retry(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                            const void *value, int64_t timeout_ms, const dctx_retry_t *retry,
                            dctx_reply_fn on_reply, void *arg)
{
    dctx_errand_asker_t asker = {.self = self, .on_reply = on_reply, .arg = arg};
    return dctx_ask_retry_(to, type, value, timeout_ms, retry, &asker);
}

dctx_error_t dctx_ask_retry_call(dctx_ref_t to, const dctx_type_t *type, const void *value,
                                 int64_t timeout_ms, const dctx_retry_t *retry, dctx_ask_fn call,
                                 void *arg)
{
    dctx_errand_asker_t asker = {.call = call, .arg = arg};
    return dctx_ask_retry_(to, type, value, timeout_ms, retry, &asker);
}
