/*
 * messages.h - what the services say to each other, and how it is put on the wire.
 *
 * No message says for which request or tenant it is: that is in the context. Answers tell what each
 * handler saw there, so that the gateway can prove that nothing was mixed up.
 *
 * On the wire each message is one msgpack array with the fields in the order of the struct; `seen`
 * is an array of [chain, request id, tenant, express, budget in ms].
 */
#ifndef ORDERS_MESSAGES_H
#define ORDERS_MESSAGES_H

#include <dcontext/dcontext.h>

enum { ORDER_LINES_MAX = 50, ORDER_QUANTITY_MAX = 1000 };

typedef struct order_line {
    char sku[32];
    int64_t quantity;
} order_line_t;

typedef struct order {
    char id[40];
    char customer[80];
    char currency[8];
    order_line_t *lines; /* owned */
    size_t line_count;
} order_t;

/* What a handler saw in its context. */
typedef struct seen {
    char chain[512];
    char request_id[40];
    char tenant[40];
    bool express;
    int64_t budget_ms;
} seen_t;

typedef enum verdict { IN_STOCK = 0, TOO_FEW = 1, NOT_LISTED = 2 } verdict_t;

/* Inventory's answer to a line. */
typedef struct stock {
    seen_t seen;
    verdict_t verdict;
    int64_t on_hand;
} stock_t;

/* Pricing's answer to an order. */
typedef struct price {
    seen_t seen;
    int64_t cents;
} price_t;

typedef enum outcome {
    ACCEPTED = 0,
    OUT_OF_STOCK = 1,
    UNKNOWN_SKU = 2,
    REFUSED = 3, /* by the order service's own check */
    OUTCOMES = 4
} outcome_t;
const char *outcome_name(outcome_t outcome);

/* One handler that worked for the request. */
typedef struct hop {
    seen_t seen;
    int64_t round_trip_ns; /* as its asker measured it; 0 for the order service itself, whose asker
                              is the gateway */
    char what[80];         /* what it was asked and what came of it */
} hop_t;

/* The order service's answer: hops[0] is itself. */
typedef struct answer {
    outcome_t outcome;
    int64_t cents;
    char reason[128];      /* why it was not accepted */
    int64_t wrong_returns; /* replies that ran in another context than that of their ask: never */
    hop_t *hops;           /* owned */
    size_t hop_count;
} answer_t;

extern const dctx_type_t order_type;  /* order_t: asks orders, and pricing */
extern const dctx_type_t line_type;   /* order_line_t: asks inventory */
extern const dctx_type_t stock_type;  /* stock_t */
extern const dctx_type_t price_type;  /* price_t */
extern const dctx_type_t answer_type; /* answer_t */

/* What is wrong with an order in itself, in words; NULL: nothing. */
const char *order_fault(const order_t *order);

dctx_error_t order_copy(order_t *dst, const order_t *src);
void order_finish(order_t *order);
dctx_error_t answer_copy(answer_t *dst, const answer_t *src);
void answer_finish(answer_t *answer);

#endif
