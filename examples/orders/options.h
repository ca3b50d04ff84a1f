/* options.h - the gateway's command line. */
#ifndef ORDERS_OPTIONS_H
#define ORDERS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct options {
    const char *file;   /* "-": standard input */
    const char *orders; /* endpoint of a shop that runs already; NULL: start one */
    const char *trace;  /* file for what every hop saw; NULL: none */
    bool embedded;
    bool restart;
    bool json;
    bool quiet;
    bool verbose;
    uint64_t repeat;
    size_t concurrency;
    int64_t timeout_ms;
    int64_t dead_after_ms; /* 0: as the library has it */
} options_t;

/* True: go on. False: *ret_status is what to exit with. */
bool options_parse(int argc, char **argv, options_t *ret_options, int *ret_status);

#endif
