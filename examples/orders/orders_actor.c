/*
 * The order service: checks an order, asks inventory for each line of it and pricing for the whole,
 * all at once, and answers when the last reply has come.
 *
 * The actor is free for the next order meanwhile, so many are under way at the same time. Nothing
 * here hands a request id or a tenant on: the context follows each ask, and is back when its reply
 * comes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "keys.h"
#include "seen.h"
#include "service.h"
#include "text.h"

typedef struct work work_t;

/* The questions that an order's hops 1 and up came from. */
typedef struct question {
    work_t *work;
    hop_t *hop;
    const order_line_t *line; /* NULL: the question to pricing */
    int64_t asked_ns;
} question_t;

/* An order under way. */
struct work {
    work_t *next, **link; /* in the desk's list */
    dctx_reply_to_t *reply_to;
    seen_t seen; /* of the handler that took the order in */
    order_t order;
    answer_t answer;
    question_t *questions;
    size_t pending;      /* questions without a reply */
    dctx_error_t failed; /* the first that failed, and why */
    char why[200];
};

/* The actor's state. */
typedef struct desk {
    dctx_ref_t inventory;
    dctx_ref_t pricing;
    work_t *works;
} desk_t;

/* ---- an order under way ---------------------------------------------------------------------- */

static void work_destroy(work_t *work)
{
    if (work->link != NULL) {
        *work->link = work->next;
        if (work->next != NULL)
            work->next->link = work->link;
    }
    dctx_reply_to_destroy(&work->reply_to);
    order_finish(&work->order);
    answer_finish(&work->answer);
    free(work->questions);
    free(work);
}

static dctx_error_t work_new(const order_t *order, const seen_t *seen, work_t **ret_work)
{
    work_t *work = calloc(1, sizeof *work);
    if (work == NULL)
        return DCTX_ERR_NOMEM;
    size_t questions = order->line_count + 1;
    work->questions = calloc(questions, sizeof *work->questions);
    work->answer.hops = calloc(questions + 1, sizeof *work->answer.hops);
    if (work->questions == NULL || work->answer.hops == NULL ||
        order_copy(&work->order, order) != DCTX_OK) {
        work_destroy(work);
        return DCTX_ERR_NOMEM;
    }
    work->seen = *seen;
    work->pending = questions;
    work->answer.hop_count = questions + 1;
    work->answer.hops[0].seen = *seen;
    text_cut(work->answer.hops[0].what, sizeof work->answer.hops[0].what, order->id);
    for (size_t i = 0; i < questions; i++)
        work->questions[i] = (question_t){
            .work = work,
            .hop = &work->answer.hops[i + 1],
            .line = i < order->line_count ? &work->order.lines[i] : NULL,
        };
    *ret_work = work;
    return DCTX_OK;
}

static void finish(work_t *work)
{
    dctx_error_t error = work->failed != DCTX_OK
                             ? dctx_reply_to_error(&work->reply_to, work->failed, work->why)
                             : dctx_reply_to_send(&work->reply_to, &answer_type, &work->answer);
    if (error != DCTX_OK)
        dctx_log(DCTX_LOG_WARNING, "orders: no answer to %s: %s", work->seen.request_id,
                 dctx_strerror(error));
    work_destroy(work);
}

/* ---- replies --------------------------------------------------------------------------------- */

/* The worst verdict decides, and the first line that has it is the reason. */
static void worsen(answer_t *answer, outcome_t outcome, const char *reason)
{
    if (outcome <= answer->outcome)
        return;
    answer->outcome = outcome;
    text_cut(answer->reason, sizeof answer->reason, reason);
}

static void take_stock(question_t *question, const stock_t *stock)
{
    const order_line_t *line = question->line;
    answer_t *answer = &question->work->answer;
    hop_t *hop = question->hop;
    hop->seen = stock->seen;
    switch (stock->verdict) {
    case IN_STOCK:
        snprintf(hop->what, sizeof hop->what, "%s x %" PRId64 ": in stock", line->sku,
                 line->quantity);
        break;
    case TOO_FEW:
        if (stock->on_hand > 0)
            snprintf(hop->what, sizeof hop->what, "%s x %" PRId64 ": only %" PRId64 " on hand",
                     line->sku, line->quantity, stock->on_hand);
        else
            snprintf(hop->what, sizeof hop->what, "%s x %" PRId64 ": none on hand", line->sku,
                     line->quantity);
        worsen(answer, OUT_OF_STOCK, hop->what);
        break;
    case NOT_LISTED:
        snprintf(hop->what, sizeof hop->what, "%s: not in the catalogue", line->sku);
        worsen(answer, UNKNOWN_SKU, hop->what);
        break;
    }
}

static void take_price(question_t *question, const price_t *price)
{
    char money[TEXT_MONEY_SIZE];
    question->hop->seen = price->seen;
    question->work->answer.cents = price->cents;
    text_cut(question->hop->what, sizeof question->hop->what,
             text_money(money, question->work->order.currency, price->cents));
}

static void fail(question_t *question, dctx_error_t error, const char *reason)
{
    work_t *work = question->work;
    if (work->failed != DCTX_OK)
        return;
    work->failed = error;
    snprintf(work->why, sizeof work->why, "%s: %.100s",
             question->line != NULL ? "inventory" : "pricing",
             reason[0] != '\0' ? reason : dctx_strerror(error));
}

/* Runs in the context in which the question was asked: the request's own, as in handle(). */
static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    (void)self;
    (void)state;
    question_t *question = arg;
    work_t *work = question->work;
    question->hop->round_trip_ns = clock_now_ns() - question->asked_ns;
    if (!seen_matches(&work->seen))
        work->answer.wrong_returns++;

    const stock_t *stock = NULL;
    const price_t *price = NULL;
    if (status != DCTX_OK)
        fail(question, status, dctx_message_reason(reply));
    else if (question->line != NULL && (stock = dctx_message_get(reply, &stock_type)) != NULL)
        take_stock(question, stock);
    else if (question->line == NULL && (price = dctx_message_get(reply, &price_type)) != NULL)
        take_price(question, price);
    else
        fail(question, DCTX_ERR_TYPE, "");
    if (--work->pending == 0)
        finish(work);
}

/* ---- asks ------------------------------------------------------------------------------------ */

static void ask_all(dctx_actor_t *self, desk_t *desk, work_t *work, int64_t timeout_ms)
{
    size_t questions = work->pending;
    for (size_t i = 0; i < questions; i++) {
        question_t *question = &work->questions[i];
        question->asked_ns = clock_now_ns();
        dctx_error_t error = question->line != NULL
                                 ? dctx_ask(self, desk->inventory, &line_type, question->line,
                                            timeout_ms, on_reply, question)
                                 : dctx_ask(self, desk->pricing, &order_type, &work->order,
                                            timeout_ms, on_reply, question);
        if (error != DCTX_OK) {
            fail(question, error, dctx_error_detail());
            work->pending--;
        }
    }
    if (work->pending == 0)
        finish(work);
}

static dctx_error_t refuse(const dctx_message_t *message, const seen_t *seen, const char *fault)
{
    hop_t hop = {.seen = *seen};
    answer_t answer = {.outcome = REFUSED, .hops = &hop, .hop_count = 1};
    text_cut(answer.reason, sizeof answer.reason, fault);
    return dctx_reply(message, &answer_type, &answer);
}

static dctx_error_t handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    const order_t *order = dctx_message_get(message, &order_type);
    if (order == NULL)
        return dctx_reply_error(message, DCTX_ERR_TYPE, "orders is asked with a shop.order");
    seen_t seen;
    if (seen_here(&seen) != DCTX_OK)
        return dctx_reply_error(message, DCTX_ERR_REJECTED,
                                "orders: the context names no request and tenant");
    const char *fault = order_fault(order);
    if (fault != NULL)
        return refuse(message, &seen, fault);

    work_t *work = NULL;
    dctx_error_t error = work_new(order, &seen, &work);
    if (error != DCTX_OK)
        return error;
    error = dctx_reply_defer(message, &work->reply_to);
    if (error != DCTX_OK) {
        work_destroy(work);
        return error;
    }
    work->next = desk->works;
    work->link = &desk->works;
    if (work->next != NULL)
        work->next->link = &work->next;
    desk->works = work;

    /* A tenth of the time budget is kept for the way back, so that a late reply further on is
     * answered with words. What is set here goes with the asks, and is undone when this handler
     * returns. */
    int64_t left_ms = budget_ms_get_or(5000) * 9 / 10;
    error = budget_ms_set(left_ms);
    if (error != DCTX_OK)
        dctx_log(DCTX_LOG_WARNING, "orders: budget not passed on: %s", dctx_strerror(error));
    ask_all(self, desk, work, left_ms);
    return DCTX_OK;
}

/* Orders that are still under way get the answer that nobody is left to give one. */
static void destroy_desk(void *state)
{
    desk_t *desk = state;
    while (desk->works != NULL)
        work_destroy(desk->works);
    free(desk);
}

dctx_error_t orders_spawn(dctx_system_t *system, dctx_ref_t inventory, dctx_ref_t pricing)
{
    desk_t *desk = calloc(1, sizeof *desk);
    if (desk == NULL)
        return DCTX_ERR_NOMEM;
    *desk = (desk_t){.inventory = inventory, .pricing = pricing};
    dctx_ref_t ref;
    const dctx_actor_options_t options = {
        .name = "orders",
        .handler = handle,
        .state = desk,
        .destroy_state = destroy_desk,
    };
    dctx_error_t error = dctx_spawn(system, &options, &ref);
    if (error != DCTX_OK)
        free(desk);
    return error;
}
