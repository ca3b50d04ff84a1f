#include "budget.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

#include <dcontext/internal.h>

enum { SLICES = 10, TOKEN = 1000, NS_PER_MS = 1000000 };

struct dctx_budget {
    _Atomic(size_t) refs; /* relaxed up, acq_rel down */
    pthread_mutex_t lock; /* guards what follows but the first three */
    int64_t deposit;      /* by an ask */
    int64_t reserve;      /* there in any case, for one window */
    int64_t slice_ns;
    int64_t slice;       /* the number of the newest one */
    int64_t in[SLICES];  /* deposits, by number modulo SLICES */
    int64_t out[SLICES]; /* withdrawals */
    uint64_t refusals;
};

dctx_error_t dctx_budget_new(const dctx_budget_options_t *options, dctx_budget_t **ret_budget)
{
    static const dctx_budget_options_t defaults;
    if (ret_budget == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the budget");
    if (options == NULL)
        options = &defaults;
    double share = options->share > 0 ? options->share : options->share < 0 ? 0 : 0.2;
    double least = options->min_per_second > 0   ? options->min_per_second
                   : options->min_per_second < 0 ? 0
                                                 : 10;
    int64_t window = options->window_ms != 0 ? options->window_ms : 10000;
    if (isnan(options->share) || isnan(options->min_per_second) || share > 1000 || least > 1e6 ||
        window < SLICES || window > 86400000)
        return dctx_fail_(DCTX_ERR_INVALID, "no budget: a share is at most 1000, a window 10 ms to "
                                            "a day, and a million a second are the most");
    dctx_budget_t *budget = dctx_calloc_(1, sizeof *budget);
    if (budget == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a retry budget");
    atomic_init(&budget->refs, 1);
    pthread_mutex_init(&budget->lock, NULL);
    budget->deposit = (int64_t)(share * TOKEN);
    budget->reserve = (int64_t)(least * (double)window / 1000 * TOKEN);
    budget->slice_ns = window * NS_PER_MS / SLICES;
    *ret_budget = budget;
    return DCTX_OK;
}

dctx_budget_t *dctx_budget_ref(dctx_budget_t *budget)
{
    if (budget != NULL)
        (void)atomic_fetch_add_explicit(&budget->refs, 1, memory_order_relaxed);
    return budget;
}

void dctx_budget_unref(dctx_budget_t **budget_p)
{
    if (budget_p == NULL || *budget_p == NULL)
        return;
    dctx_budget_t *budget = *budget_p;
    *budget_p = NULL;
    if (atomic_fetch_sub_explicit(&budget->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_mutex_destroy(&budget->lock);
    dctx_release_(budget);
}

/* Locked. Forgets what is older than the window. A clock that was set back stands until it is there
 * again. */
static int64_t balance(dctx_budget_t *budget, int64_t now_ns)
{
    int64_t slice = now_ns / budget->slice_ns, sum = budget->reserve;
    for (int i = 0; i < SLICES && budget->slice < slice; i++) {
        budget->slice = slice - budget->slice > SLICES ? slice - SLICES + 1 : budget->slice + 1;
        budget->in[budget->slice % SLICES] = 0;
        budget->out[budget->slice % SLICES] = 0;
    }
    for (int i = 0; i < SLICES; i++)
        sum += budget->in[i] - budget->out[i];
    return sum;
}

void dctx_budget_deposit_(dctx_budget_t *budget, int64_t now_ns)
{
    if (budget == NULL)
        return;
    pthread_mutex_lock(&budget->lock);
    (void)balance(budget, now_ns);
    budget->in[budget->slice % SLICES] += budget->deposit;
    pthread_mutex_unlock(&budget->lock);
}

bool dctx_budget_withdraw_(dctx_budget_t *budget, int64_t now_ns)
{
    if (budget == NULL)
        return true;
    pthread_mutex_lock(&budget->lock);
    bool allowed = balance(budget, now_ns) >= TOKEN;
    if (allowed)
        budget->out[budget->slice % SLICES] += TOKEN;
    else
        budget->refusals++;
    pthread_mutex_unlock(&budget->lock);
    return allowed;
}

uint64_t dctx_budget_balance(dctx_budget_t *budget, int64_t now_ns)
{
    if (budget == NULL)
        return 0;
    pthread_mutex_lock(&budget->lock);
    int64_t sum = balance(budget, now_ns);
    pthread_mutex_unlock(&budget->lock);
    return sum > 0 ? (uint64_t)sum / TOKEN : 0;
}

uint64_t dctx_budget_refusals(dctx_budget_t *budget)
{
    if (budget == NULL)
        return 0;
    pthread_mutex_lock(&budget->lock);
    uint64_t refusals = budget->refusals;
    pthread_mutex_unlock(&budget->lock);
    return refusals;
}
