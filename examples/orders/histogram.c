#include "histogram.h"

#include <stddef.h>

/* Values below HISTOGRAM_STEPS have a bucket each; above, each power of two is cut into
 * HISTOGRAM_STEPS equal buckets, so that none is wider than 1/64 of its values. */
static size_t bucket_of(uint64_t value)
{
    if (value < HISTOGRAM_STEPS)
        return (size_t)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - 6u;
    return (size_t)(shift + 1) * HISTOGRAM_STEPS + (size_t)((value >> shift) - HISTOGRAM_STEPS);
}

static int64_t middle_of(size_t bucket)
{
    if (bucket < HISTOGRAM_STEPS)
        return (int64_t)bucket;
    unsigned shift = (unsigned)(bucket / HISTOGRAM_STEPS) - 1;
    uint64_t low = (uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << shift;
    return (int64_t)(low + ((1ull << shift) >> 1));
}

void histogram_add(histogram_t *histogram, int64_t ns)
{
    if (ns < 0)
        ns = 0;
    histogram->buckets[bucket_of((uint64_t)ns)]++;
    histogram->count++;
    if (ns > histogram->most)
        histogram->most = ns;
}

int64_t histogram_quantile(const histogram_t *histogram, double share)
{
    if (histogram->count == 0)
        return 0;
    uint64_t rank = (uint64_t)(share * (double)(histogram->count - 1));
    uint64_t passed = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        passed += histogram->buckets[i];
        if (passed > rank) {
            int64_t value = middle_of(i);
            return value < histogram->most ? value : histogram->most;
        }
    }
    return histogram->most;
}
