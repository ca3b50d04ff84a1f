/* intake.h - an order as it comes in: one JSON object a line. */
#ifndef ORDERS_INTAKE_H
#define ORDERS_INTAKE_H

#include "messages.h"

typedef struct intake {
    order_t order;   /* owned: what goes into the message */
    char tenant[40]; /* what goes into the context */
    bool express;
} intake_t;

/*
 * {"id": "A-1001", "tenant": "acme", "customer": "Ada Lovelace", "currency": "EUR",
 *  "lines": [{"sku": "BULB-E27", "quantity": 4}], "express": true}
 *
 * `express` may be left out; fields not named here are ignored. False when the line is not such an
 * object, with the reason in words in `why`, `why_size` bytes.
 */
bool intake_parse(const char *text, size_t size, intake_t *ret_intake, char *why, size_t why_size);
void intake_finish(intake_t *intake);

#endif
