/* The keys that the programs beside this one use, rightly and wrongly. */
#ifndef DCTX_TESTS_COMPILE_COMMON_H
#define DCTX_TESTS_COMPILE_COMMON_H

#include <dcontext/dcontext.h>

typedef struct order {
    int64_t id;
} order_t;

typedef struct invoice {
    int64_t id;
} invoice_t;

static const dctx_type_t order_type = {"order", sizeof(order_t), NULL, NULL, NULL, NULL, 0};

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)
DCTX_KEY_BYTES(token, "token", DCTX_BROADCAST)
DCTX_KEY_INT64(budget, "budget", DCTX_BROADCAST)
DCTX_KEY_DOUBLE(ratio, "ratio", DCTX_BROADCAST)
DCTX_KEY_STRUCT(order, "order", order_t, &order_type, DCTX_LOCAL)

#endif
