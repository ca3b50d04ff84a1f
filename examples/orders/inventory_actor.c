/* The inventory: is there enough of an article? */
#include "catalogue.h"
#include "seen.h"
#include "service.h"

static dctx_error_t handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    const order_line_t *line = dctx_message_get(message, &line_type);
    if (line == NULL)
        return dctx_reply_error(message, DCTX_ERR_TYPE, "inventory is asked with a shop.line");
    stock_t stock = {0};
    if (seen_here(&stock.seen) != DCTX_OK)
        return dctx_reply_error(message, DCTX_ERR_REJECTED,
                                "inventory: the context names no request and tenant");
    const article_t *article = catalogue_find(line->sku);
    if (article != NULL)
        stock.on_hand = article->on_hand;
    stock.verdict = article == NULL                  ? NOT_LISTED
                    : line->quantity > stock.on_hand ? TOO_FEW
                                                     : IN_STOCK;
    return dctx_reply(message, &stock_type, &stock);
}

dctx_error_t inventory_spawn(dctx_system_t *system)
{
    dctx_ref_t ref;
    const dctx_actor_options_t options = {.name = "inventory", .handler = handle};
    return dctx_spawn(system, &options, &ref);
}
