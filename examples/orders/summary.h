/* summary.h - what became of a run, for a person to read. */
#ifndef ORDERS_SUMMARY_H
#define ORDERS_SUMMARY_H

#include <stdio.h>

#include "tally.h"

/* In colour when `out` is a terminal and NO_COLOR is not set; with line drawing when the locale is
 * UTF-8's. Sorts the numbers in the tally. */
void summary_print(FILE *out, const char *source, tally_t *tally);

#endif
