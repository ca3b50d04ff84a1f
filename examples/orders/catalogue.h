/* catalogue.h - what the shop sells. */
#ifndef ORDERS_CATALOGUE_H
#define ORDERS_CATALOGUE_H

#include <stdint.h>

typedef struct article {
    const char *sku;
    int64_t cents;   /* price in euro cents */
    int64_t on_hand; /* 0: listed, but not to be had */
} article_t;

/* NULL: the shop does not know it. */
const article_t *catalogue_find(const char *sku);

/* What one euro is worth, in thousandths; 0: the shop does not take that currency. */
int64_t catalogue_rate(const char *currency);

/* A tenant's discount in percent. */
int64_t catalogue_discount(const char *tenant_name);

#endif
