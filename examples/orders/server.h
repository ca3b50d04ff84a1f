/* server.h - what the programs `orders` and `inventory` have in common. */
#ifndef ORDERS_SERVER_H
#define ORDERS_SERVER_H

#include "service.h"

typedef struct server_options {
    service_options_t service;
    bool tied; /* ends with its standard input; Ctrl-C is left to whoever started it */
    bool verbose;
} server_options_t;

typedef struct server {
    const char *help;
    bool needs_inventory; /* --inventory must be given; else it must not */
    dctx_error_t (*start)(const service_options_t *options, service_t *ret_service);
} server_t;

/*
 * Parse the options, start the service, print "listening ENDPOINT", wait until it shall end.
 * Returns the exit status: 0 stopped as asked, 2 usage or start-up failure.
 */
int server_main(const server_t *server, int argc, char **argv);

/* A sink for dctx_set_log(): warnings and errors, or everything when *arg, a bool, is true. */
void server_log(dctx_log_level_t level, const char *line, void *arg);

#endif
