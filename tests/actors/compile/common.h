/* What the programs that must not compile have in common. */
#include <dcontext/actors.h>

typedef struct order {
    int count;
} order_t;

typedef struct invoice {
    int total;
} invoice_t;

static const dctx_type_t order_type = {"shop.order", sizeof(order_t), NULL, NULL, NULL, NULL, 0};

DCTX_MESSAGE(order, order_t, &order_type)
DCTX_MESSAGE_STRING(name)
DCTX_MESSAGE_UINT64(number)
