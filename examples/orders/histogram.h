/* histogram.h - times, in bounded memory: every value is kept to within two per cent. */
#ifndef ORDERS_HISTOGRAM_H
#define ORDERS_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 64, HISTOGRAM_BUCKETS = 59 * HISTOGRAM_STEPS };

typedef struct histogram {
    uint64_t count;
    int64_t most;
    uint64_t buckets[HISTOGRAM_BUCKETS];
} histogram_t;

void histogram_add(histogram_t *histogram, int64_t ns);

/* The value that `share` (0.5, 0.99) of the values do not exceed; 0 when there is none. */
int64_t histogram_quantile(const histogram_t *histogram, double share);

#endif
