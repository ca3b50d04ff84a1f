/* Pricing: what an order costs. Discount and delivery depend on who asks and how, which the context
 * tells. */
#include "catalogue.h"
#include "keys.h"
#include "seen.h"
#include "service.h"

enum { EXPRESS_CENTS = 750 };

/* Articles that the shop does not know cost nothing here: inventory says that they are unknown. */
static int64_t price_of(const order_t *order)
{
    int64_t cents = 0;
    for (size_t i = 0; i < order->line_count; i++) {
        const article_t *article = catalogue_find(order->lines[i].sku);
        if (article != NULL)
            cents += article->cents * order->lines[i].quantity;
    }
    cents -= cents * catalogue_discount(tenant_get_or("")) / 100;
    if (express_get_or(false))
        cents += EXPRESS_CENTS;
    return cents * catalogue_rate(order->currency) / 1000;
}

static dctx_error_t handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    const order_t *order = dctx_message_get(message, &order_type);
    if (order == NULL)
        return dctx_reply_error(message, DCTX_ERR_TYPE, "pricing is asked with a shop.order");
    if (order_fault(order) != NULL)
        return dctx_reply_error(message, DCTX_ERR_REJECTED, order_fault(order));
    price_t price = {0};
    if (seen_here(&price.seen) != DCTX_OK)
        return dctx_reply_error(message, DCTX_ERR_REJECTED,
                                "pricing: the context names no request and tenant");
    price.cents = price_of(order);
    return dctx_reply(message, &price_type, &price);
}

dctx_error_t pricing_spawn(dctx_system_t *system, dctx_ref_t *ret_ref)
{
    const dctx_actor_options_t options = {.name = "pricing", .handler = handle};
    return dctx_spawn(system, &options, ret_ref);
}
