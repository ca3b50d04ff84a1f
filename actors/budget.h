/* Retry budgets: a token bucket, in thousandths of a retry, whose deposits last for a window. */
#ifndef DCTX_BUDGET_H
#define DCTX_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/retry.h>

/* An ask that may be retried. NULL is fine. */
void dctx_budget_deposit_(dctx_budget_t *budget, int64_t now_ns);

/* Takes one retry; false, and counted, if there is none. NULL has no end. */
bool dctx_budget_withdraw_(dctx_budget_t *budget, int64_t now_ns);

#endif
