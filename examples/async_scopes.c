/*
 * async_scopes.c - scopes of work that runs in steps.
 *
 * An order is handled in steps that a queue runs later, interleaved with those of another order.
 * Each step has a scope and sets values of its own; what it starts continues from where it was
 * started; branches do not see each other; and whoever joins them continues in the context from
 * before they split.
 */
#include <stdio.h>

#include <dcontext/dcontext.h>

#include "must.h"

DCTX_KEY_STRING(order_id, "order-id", DCTX_BROADCAST)
DCTX_KEY_STRING(warehouse, "warehouse", DCTX_BROADCAST)

/* ---- first in, first out: any event loop's "run this soon" ---- */

static dctx_task_t *queue[16];
static size_t queue_begin, queue_end;

static void soon(dctx_task_t *task)
{
    if (queue_end == sizeof(queue) / sizeof(queue[0]))
        exit(EXIT_FAILURE);
    queue[queue_end++] = task;
}

static void run_queue(void)
{
    while (queue_begin < queue_end)
        dctx_task_run_once(queue[queue_begin++]);
}

/* ---- the steps ---- */

struct order {
    const char *id;
    int branches;        /* still running */
    dctx_task_t *joined; /* what follows when the last branch is done */
};

static void step(const char *what)
{
    char chain[128];
    dctx_chain_format(chain, sizeof(chain));
    printf("%-16s order=%s warehouse=%-6s %s\n", what, order_id_get_or("-"), warehouse_get_or("-"),
           chain);
}

static void then(dctx_task_fn call, struct order *order, const char *scope)
{
    dctx_task_t *task;
    must(dctx_task_new(call, order, scope, &task));
    soon(task);
}

static void branch_done(struct order *order)
{
    if (--order->branches == 0)
        soon(order->joined);
}

static void pick(void *arg)
{
    step("picked");
    branch_done(arg);
}

static void reserve(void *arg)
{
    must(warehouse_set("north"));
    step("reserved");
    then(pick, arg, "pick"); /* a child of this step: it sees the warehouse */
}

static void price(void *arg)
{
    step("priced"); /* a sibling: it does not */
    branch_done(arg);
}

static void ship(void *arg)
{
    struct order *order = arg;
    step("shipped");
    printf("order %s is done\n", order->id);
}

static void accept_order(struct order *order)
{
    DCTX_SCOPE("order");
    must(order_id_set(order->id));
    step("accepted");
    order->branches = 2;
    must(dctx_task_new(ship, order, "ship", &order->joined));
    then(reserve, order, "reserve");
    then(price, order, "price");
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &order_id, &warehouse));
    must(dctx_registry_freeze(NULL));

    struct order first = {.id = "A"}, second = {.id = "B"};
    accept_order(&first);
    accept_order(&second);
    run_queue();
    return 0;
}
