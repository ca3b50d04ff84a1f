/* Asks that get a second chance. */
#include <pthread.h>
#include <stdatomic.h>

#include <dcontext/internal.h>
#include <dcontext/metrics.h>
#include <dcontext/retry.h>

#include "budget.h"
#include "errand.h"
#include "meter.h"
#include "retry_room.h"

enum { SAMPLES = 20, FORGET = 1024, NS_PER_MS = 1000000, LEGS = 2 };

/* ---- when to hedge --------------------------------------------------------------------------- */

struct dctx_hedge {
    _Atomic(size_t) refs; /* relaxed up, acq_rel down */
    dctx_hedge_options_t options;
    pthread_mutex_t lock;     /* guards the latencies */
    dctx_histogram_t latency; /* of each ask that was answered, or called off late */
    _Atomic(uint64_t) sent;   /* relaxed, both */
    _Atomic(uint64_t) won;
};

dctx_error_t dctx_hedge_new(const dctx_hedge_options_t *options, dctx_hedge_t **ret_hedge)
{
    if (options == NULL || ret_hedge == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a hedge needs options, and a place");
    bool in_range = options->percentile >= 0 && options->percentile < 1 && options->delay_ms >= 0 &&
                    options->delay_ms <= INT32_MAX;
    if (!in_range || (options->percentile <= 0 && options->delay_ms == 0))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a hedge needs a percentile between 0 and 1, or a delay");
    dctx_hedge_t *hedge = dctx_calloc_(1, sizeof *hedge);
    if (hedge == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a hedge");
    atomic_init(&hedge->refs, 1);
    pthread_mutex_init(&hedge->lock, NULL);
    hedge->options = *options;
    if (options->samples == 0)
        hedge->options.samples = SAMPLES;
    (void)dctx_budget_ref(options->budget);
    *ret_hedge = hedge;
    return DCTX_OK;
}

dctx_hedge_t *dctx_hedge_ref(dctx_hedge_t *hedge)
{
    if (hedge != NULL)
        (void)atomic_fetch_add_explicit(&hedge->refs, 1, memory_order_relaxed);
    return hedge;
}

void dctx_hedge_unref(dctx_hedge_t **hedge_p)
{
    if (hedge_p == NULL || *hedge_p == NULL)
        return;
    dctx_hedge_t *hedge = *hedge_p;
    *hedge_p = NULL;
    if (atomic_fetch_sub_explicit(&hedge->refs, 1, memory_order_acq_rel) > 1)
        return;
    dctx_budget_unref(&hedge->options.budget);
    pthread_mutex_destroy(&hedge->lock);
    dctx_release_(hedge);
}

static void record(dctx_hedge_t *hedge, int64_t ns)
{
    dctx_histogram_t *latency = &hedge->latency;
    uint64_t time = ns > 0 ? (uint64_t)ns : 0;
    pthread_mutex_lock(&hedge->lock);
    if (latency->count >= FORGET) {
        latency->count = 0;
        for (int i = 0; i < DCTX_HISTOGRAM_BUCKETS; i++)
            latency->count += latency->buckets[i] /= 2;
    }
    latency->buckets[dctx_timing_bucket_(time)]++;
    latency->count++;
    if (time > latency->max_ns)
        latency->max_ns = time;
    pthread_mutex_unlock(&hedge->lock);
}

int64_t dctx_hedge_delay(dctx_hedge_t *hedge)
{
    if (hedge == NULL)
        return INT64_MAX;
    int64_t delay = hedge->options.delay_ms > 0 ? hedge->options.delay_ms * NS_PER_MS : INT64_MAX;
    if (hedge->options.percentile <= 0)
        return delay;
    pthread_mutex_lock(&hedge->lock);
    if (hedge->latency.count >= hedge->options.samples)
        delay = (int64_t)dctx_histogram_quantile(&hedge->latency, hedge->options.percentile);
    pthread_mutex_unlock(&hedge->lock);
    return delay;
}

uint64_t dctx_hedge_sent(dctx_hedge_t *hedge)
{
    return hedge == NULL ? 0 : atomic_load_explicit(&hedge->sent, memory_order_relaxed);
}

uint64_t dctx_hedge_won(dctx_hedge_t *hedge)
{
    return hedge == NULL ? 0 : atomic_load_explicit(&hedge->won, memory_order_relaxed);
}

/* ---- one ask --------------------------------------------------------------------------------- */

typedef struct leg {
    struct hedged *hedged;
    dctx_cancel_t *scope; /* with a reference; NULL: it was not sent. Locked, with the next */
    int64_t began;
    bool over; /* locked */
} leg_t;

/* A reference of the errand for each leg that is under way, and for the alarm. */
typedef struct hedged {
    dctx_errand_t errand;
    dctx_hedge_t *hedge; /* with a reference */
    dctx_alarm_t alarm;
    pthread_mutex_t lock;
    leg_t legs[LEGS]; /* the first ask, the backup */
    int under_way;    /* locked, as this one */
    bool decided;     /* the errand has its end */
} hedged_t;

static void destroy(dctx_errand_t *errand)
{
    hedged_t *hedged = (hedged_t *)(void *)errand; /* its first member */
    for (int i = 0; i < LEGS; i++)
        dctx_cancel_unref(&hedged->legs[i].scope);
    dctx_hedge_unref(&hedged->hedge);
    pthread_mutex_destroy(&hedged->lock);
    dctx_release_(hedged);
}

/* The winner, whose answer it is, is known: nothing else is needed any more. */
static void call_off_others(hedged_t *hedged, const leg_t *winner)
{
    if (dctx_alarm_cancel_(hedged->errand.system, &hedged->alarm))
        dctx_errand_unref_(&hedged->errand);
    int64_t now = dctx_now_(hedged->errand.system);
    for (int i = 0; i < LEGS; i++) {
        leg_t *leg = &hedged->legs[i];
        pthread_mutex_lock(&hedged->lock);
        bool open = leg != winner && leg->scope != NULL && !leg->over;
        pthread_mutex_unlock(&hedged->lock);
        if (!open)
            continue;
        /* It took at least that long; to leave it out would make the others look slow. */
        record(hedged->hedge, now - leg->began);
        (void)dctx_cancel(leg->scope, "the other answer came first");
    }
}

/* A leg has ended, or could not be sent (`reply` NULL). Uses up its reference. */
static void settle(leg_t *leg, dctx_error_t status, const dctx_message_t *reply)
{
    hedged_t *hedged = leg->hedged;
    pthread_mutex_lock(&hedged->lock);
    leg->over = true;
    hedged->under_way--;
    bool decides = !hedged->decided && (status == DCTX_OK || hedged->under_way == 0);
    hedged->decided = hedged->decided || decides;
    pthread_mutex_unlock(&hedged->lock);
    if (decides) {
        if (status == DCTX_OK) {
            record(hedged->hedge, dctx_now_(hedged->errand.system) - leg->began);
            if (leg != hedged->legs)
                (void)atomic_fetch_add_explicit(&hedged->hedge->won, 1, memory_order_relaxed);
        }
        dctx_errand_end_(&hedged->errand, status, reply);
        call_off_others(hedged, leg);
    }
    dctx_errand_unref_(&hedged->errand);
}

static void on_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    settle(arg, status, reply);
}

/* Counted as under way, with a reference. */
static void set_out(leg_t *leg)
{
    hedged_t *hedged = leg->hedged;
    dctx_errand_t *errand = &hedged->errand;
    bool backup = leg != hedged->legs;
    int64_t left = errand->deadline - dctx_now_(errand->system);
    dctx_ref_t other = hedged->hedge->options.backup;
    dctx_errand_leg_t options = {.to = backup && !dctx_ref_is_none(other) ? other : errand->to,
                                 .backup = backup,
                                 .scope = leg->scope,
                                 .timeout_ms = (left > 0 ? left : 0) / NS_PER_MS + 2,
                                 .call = on_end,
                                 .arg = leg};
    dctx_error_t error = dctx_errand_ask_(errand, &options);
    if (error != DCTX_OK)
        settle(leg, error, NULL);
}

/* Makes the leg one that is under way. False: there is no need any more, or no memory. */
static bool open_leg(leg_t *leg)
{
    hedged_t *hedged = leg->hedged;
    dctx_cancel_t *scope = NULL;
    if (dctx_cancel_new_under(hedged->errand.scope, &scope) != DCTX_OK)
        return false;
    pthread_mutex_lock(&hedged->lock);
    bool needed = !hedged->decided;
    if (needed) {
        leg->scope = scope;
        leg->began = dctx_now_(hedged->errand.system);
        hedged->under_way++;
    }
    pthread_mutex_unlock(&hedged->lock);
    if (!needed)
        dctx_cancel_unref(&scope);
    return needed;
}

static void ring(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner, bool over)
{
    hedged_t *hedged = (hedged_t *)(void *)((unsigned char *)alarm - offsetof(hedged_t, alarm));
    leg_t *leg = &hedged->legs[1];
    if (over || !dctx_errand_is_open_(&hedged->errand) ||
        !dctx_budget_withdraw_(hedged->hedge->options.budget, dctx_now_(system)) ||
        !open_leg(leg)) {
        dctx_errand_unref_(&hedged->errand);
        return;
    }
    (void)atomic_fetch_add_explicit(&hedged->hedge->sent, 1, memory_order_relaxed);
    /* The value is copied, and what is sent passes interceptors. */
    dctx_runner_begin(runner, &system->self, NULL, NULL, NULL);
    set_out(leg);
    (void)dctx_runner_end(runner);
}

dctx_error_t dctx_ask_hedged_(dctx_ref_t to, const dctx_type_t *type, const void *value,
                              int64_t timeout_ms, dctx_hedge_t *hedge,
                              const dctx_errand_asker_t *asker)
{
    if (hedge == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a hedged ask needs a hedge");
    dctx_ref_t other = hedge->options.backup;
    if (!dctx_ref_is_none(other) && other.system_ != to.system_)
        return dctx_fail_(DCTX_ERR_INVALID, "the backup is of another system");
    hedged_t *hedged = dctx_calloc_(1, sizeof *hedged);
    if (hedged == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an ask");
    pthread_mutex_init(&hedged->lock, NULL);
    hedged->errand.destroy = destroy;
    hedged->hedge = dctx_hedge_ref(hedge);
    for (int i = 0; i < LEGS; i++)
        hedged->legs[i].hedged = hedged;
    hedged->alarm.ring = ring;
    dctx_error_t error = dctx_errand_begin_(&hedged->errand, to, type, value, timeout_ms, asker);
    if (error != DCTX_OK) {
        destroy(&hedged->errand);
        return error;
    }
    dctx_errand_t *errand = &hedged->errand;
    dctx_budget_deposit_(hedge->options.budget, dctx_now_(errand->system));
    int64_t delay = dctx_hedge_delay(hedge);
    if (!open_leg(&hedged->legs[0])) {
        dctx_errand_end_(errand, DCTX_ERR_NOMEM, NULL);
        dctx_errand_unref_(errand);
        return DCTX_OK;
    }
    dctx_errand_ref_(errand);
    int64_t now = dctx_now_(errand->system);
    if (delay < errand->deadline - now) {
        dctx_errand_ref_(errand);
        if (dctx_alarm_set_(errand->system, &hedged->alarm, now + delay) != DCTX_OK)
            dctx_errand_unref_(errand);
    }
    set_out(&hedged->legs[0]);
    dctx_errand_unref_(errand);
    return DCTX_OK;
}

dctx_error_t dctx_ask_hedged(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                             const void *value, int64_t timeout_ms, dctx_hedge_t *hedge,
                             dctx_reply_fn on_reply, void *arg)
{
    dctx_errand_asker_t asker = {.self = self, .on_reply = on_reply, .arg = arg};
    return dctx_ask_hedged_(to, type, value, timeout_ms, hedge, &asker);
}

dctx_error_t dctx_ask_hedged_call(dctx_ref_t to, const dctx_type_t *type, const void *value,
                                  int64_t timeout_ms, dctx_hedge_t *hedge, dctx_ask_fn call,
                                  void *arg)
{
    dctx_errand_asker_t asker = {.call = call, .arg = arg};
    return dctx_ask_hedged_(to, type, value, timeout_ms, hedge, &asker);
}
