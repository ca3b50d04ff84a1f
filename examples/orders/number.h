/* number.h - numbers on a command line. */
#ifndef ORDERS_NUMBER_H
#define ORDERS_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

enum { NUMBER_MS_MAX = 3600000 }; /* an hour, for options in milliseconds */

/* A decimal number from 1 to `most`, for the option `--name`. False, and said on standard error, when it is not. */
bool number_parse(const char *name, const char *text, uint64_t most, uint64_t *ret_number);

#endif
