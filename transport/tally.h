/* How often what was stripped: a counter for each key, reason and way. Bounded, since names come
 * from strangers: past the bound all count as one. */
#ifndef DCTX_TALLY_H
#define DCTX_TALLY_H

#include <pthread.h>
#include <stdatomic.h>

#include <dcontext/policy.h>

#define DCTX_TALLIES_MAX     1024
#define DCTX_TALLIES_BUCKETS 256

typedef struct dctx_tally {
    struct dctx_tally *next; /* in the bucket; set before it is published */
    atomic_ullong count;     /* any thread adds and reads; relaxed */
    dctx_strip_t reason;
    bool leaving;
    size_t name_size;
    char name[129];
} dctx_tally_t;

typedef struct dctx_tallies {
    pthread_mutex_t lock; /* of all below; the tallies' counts are not under it */
    size_t used;
    dctx_tally_t *buckets[DCTX_TALLIES_BUCKETS];
    dctx_tally_t others;
} dctx_tallies_t;

#define DCTX_TALLIES_INIT                                                                          \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER                                                          \
    }

/* The tally for an entry; never NULL. Lives as long as the tallies. */
dctx_tally_t *dctx_tally_of_(dctx_tallies_t *tallies, dctx_bytes_t name, dctx_strip_t reason,
                             bool leaving);
void dctx_tallies_each_(dctx_tallies_t *tallies, dctx_stripped_fn call, void *arg);
void dctx_tallies_finish_(dctx_tallies_t *tallies);

#endif
