/* report.h - requests and summary as JSON, for programs to read. */
#ifndef ORDERS_REPORT_H
#define ORDERS_REPORT_H

#include <stdio.h>

#include "tally.h"

/* One request with what every hop saw, as one line. False when it was not written. */
bool report_request(FILE *out, const request_t *request);

bool report_summary(FILE *out, const char *source, const tally_t *tally);

#endif
