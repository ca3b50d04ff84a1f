/*
 * An allocator that watches: counts and sizes of what the library has, the most it ever had, and
 * failure on demand. Blocks are filled with rubbish when they are handed out and when they come
 * back, and a block released twice or written in front of ends the test.
 */
#ifndef DCTX_TESTS_WATCH_H
#define DCTX_TESTS_WATCH_H

#include <stdbool.h>
#include <stddef.h>

/* Before any other dcontext call. */
void watch_install(void);

/* What the library holds now, all threads. */
size_t watch_live_blocks(void);
size_t watch_live_bytes(void);

/* From here on: the most bytes held above what is held now, and the sum and number of all
 * allocations. One thread at a time. */
void watch_begin(void);
size_t watch_peak(void);
size_t watch_total(void);
size_t watch_count(void);

/*
 * Make the nth allocation of this thread fail, counting from 1 and from now; with `later` all after
 * it as well. watch_relent() ends it and says how many were refused.
 */
void watch_fail(unsigned nth, bool later);
unsigned watch_relent(void);

#endif
