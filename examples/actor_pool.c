/*
 * actor_pool.c - a pool of actors that keep accounts: all orders of one customer go to the same one.
 *
 * So each account is touched by one actor only, and needs no lock. The pool's router chooses in the
 * sender's thread: an order goes straight into its worker's mailbox, with its context, and the worker can
 * say for which request it was.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/actors.h>

#include "must.h"

DCTX_KEY_UINT64(request, "request", DCTX_BROADCAST)

enum { CUSTOMERS_MAX = 16, WORKERS = 4 };

typedef struct order {
    char customer[16];
    int amount; /* 0: only tell how the account stands */
} order_t;

typedef struct account {
    char customer[16];
    int orders, total;
    uint64_t last_request;
    char worker[64];
} account_t;

/* Plain structs: copied by memcpy, and never leave the process. */
static const dctx_type_t order_type = {.name = "order", .size = sizeof(order_t)};
static const dctx_type_t account_type = {.name = "account", .size = sizeof(account_t)};

typedef struct ledger {
    account_t accounts[CUSTOMERS_MAX];
    int count;
} ledger_t;

static void *new_ledger(size_t number, void *arg)
{
    (void)number;
    (void)arg;
    return calloc(1, sizeof(ledger_t));
}

static account_t *find_account(ledger_t *ledger, const char *customer)
{
    for (int i = 0; i < ledger->count; i++) {
        if (strcmp(ledger->accounts[i].customer, customer) == 0)
            return &ledger->accounts[i];
    }
    if (ledger->count == CUSTOMERS_MAX)
        return NULL;
    account_t *account = &ledger->accounts[ledger->count++];
    snprintf(account->customer, sizeof(account->customer), "%s", customer);
    return account;
}

static dctx_error_t on_order(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const order_t *order = dctx_message_get(message, &order_type);
    account_t *account = order != NULL ? find_account(state, order->customer) : NULL;
    if (account == NULL)
        return DCTX_ERR_REJECTED;
    if (order->amount > 0) {
        account->orders++;
        account->total += order->amount;
        account->last_request = request_get_or(0);
    }
    snprintf(account->worker, sizeof(account->worker), "%s", dctx_self_name(self));
    return dctx_message_is_ask(message) ? dctx_reply(message, &account_type, account) : DCTX_OK;
}

/* FNV-1a of the customer's name. */
static uint64_t customer_key(const void *value, void *arg)
{
    const order_t *order = value;
    uint64_t hash = 14695981039346656037u;
    (void)arg;
    for (const char *at = order->customer; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211u;
    return hash;
}

static void print_account(dctx_router_t *router, const char *customer)
{
    order_t question = {0};
    dctx_ref_t worker;
    dctx_message_t *reply;
    snprintf(question.customer, sizeof(question.customer), "%s", customer);
    must(dctx_router_pick(router, &order_type, &question, &worker));
    must(dctx_ask_wait(worker, &order_type, &question, 10000, &reply));
    const account_t *account = dctx_message_get(reply, &account_type);
    printf("%s: %d orders, %d in all, the last for request %d, kept by %s\n", account->customer,
           account->orders, account->total, (int)account->last_request, account->worker);
    dctx_message_destroy(&reply);
}

/* How many of a thousand customers have another worker when there is one worker more. */
static int moved_by_one_more(dctx_router_t *router)
{
    dctx_ref_t before[1000], after;
    int moved = 0;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++) {
            order_t order = {0};
            snprintf(order.customer, sizeof(order.customer), "customer-%d", i);
            must(dctx_router_pick(router, &order_type, &order, round == 0 ? &before[i] : &after));
            if (round == 1 && !dctx_ref_equal(before[i], after))
                moved++;
        }
        must(dctx_router_resize(router, WORKERS + 1));
    }
    return moved;
}

int main(void)
{
    static const char *const customers[] = {"acme", "globex", "initech", "umbrella"};
    must(DCTX_REGISTER_KEYS(NULL, &request));
    must(dctx_registry_freeze(NULL));
    dctx_system_t *system;
    must(dctx_system_new(NULL, &system));

    dctx_actor_options_t worker = {.name = "accounts", .handler = on_order, .destroy_state = free};
    dctx_router_options_t options = {.route = DCTX_ROUTE_BY_KEY,
                                     .worker = &worker,
                                     .workers = WORKERS,
                                     .worker_state = new_ledger,
                                     .key_type = &order_type,
                                     .key = customer_key};
    dctx_router_t *router;
    must(dctx_router_new(system, &options, &router));

    for (int i = 0; i < 20; i++) {
        DCTX_SCOPE("shop");
        order_t order = {.amount = 10 * (i + 1)};
        snprintf(order.customer, sizeof(order.customer), "%s", customers[i % 4]);
        must(request_set(100 + (uint64_t)i));
        must(dctx_router_tell(router, &order_type, &order));
    }
    /* An order was told before the question is asked, to the same worker by the same sender: so it is
     * handled before. */
    for (int i = 0; i < 4; i++)
        print_account(router, customers[i]);

    printf("%d of 1000 customers move when a worker joins the %d\n", moved_by_one_more(router),
           WORKERS);
    dctx_router_destroy(&router);
    dctx_system_destroy(&system);
    return 0;
}
