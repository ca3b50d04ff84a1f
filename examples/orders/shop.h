/* shop.h - the services that the gateway talks to, in whichever way they are there: started by it,
 * in its own process, or running already. */
#ifndef ORDERS_SHOP_H
#define ORDERS_SHOP_H

#include "console.h"
#include "launch.h"
#include "options.h"
#include "service.h"

typedef struct shop {
    const options_t *options;
    console_t *console;
    int signal_fd;
    char endpoint[ENDPOINT_SIZE]; /* of the order service */
    service_t services[2];        /* embedded: inventory, orders */
    child_t children[2];          /* started: inventory, orders */
    int child_count;
} shop_t;

/* 0: the shop is there, or will be. Else what to exit with: 2 when it is not and why was said, 128
 * and the signal when one came meanwhile. Call shop_stop() in any case. */
int shop_start(shop_t *shop, const options_t *options, console_t *console, int signal_fd);

/* SIGCHLD came: say which service ended, and start it again if that is wanted. */
void shop_children(shop_t *shop);

/* Within two seconds, whatever the services do. */
void shop_stop(shop_t *shop);

#endif
