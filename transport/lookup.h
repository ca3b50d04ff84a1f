/*
 * A hash table of entries that live inside other things; it owns nothing but its buckets. The hash
 * is seeded, so that a stranger who chooses keys cannot choose collisions.
 */
#ifndef DCTX_LOOKUP_H
#define DCTX_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

#include <dcontext/error.h>

typedef struct dctx_lookup_entry {
    struct dctx_lookup_entry *next;
    uint64_t hash;
    const void *key; /* not copied: lives as long as the entry is in the table */
    size_t size;
} dctx_lookup_entry_t;

typedef struct dctx_lookup {
    dctx_lookup_entry_t **buckets;
    size_t mask;
    size_t count;
    uint64_t seed;
} dctx_lookup_t;

/* DCTX_ERR_NOMEM. */
dctx_error_t dctx_lookup_init_(dctx_lookup_t *table, uint64_t seed);
void dctx_lookup_finish_(dctx_lookup_t *table); /* a zeroed table is fine */

dctx_lookup_entry_t *dctx_lookup_find_(const dctx_lookup_t *table, const void *key, size_t size);

/* The key must not be in the table. Cannot fail: when there is no memory to grow, chains get
 * longer. */
void dctx_lookup_insert_(dctx_lookup_t *table, dctx_lookup_entry_t *entry, const void *key,
                         size_t size);
void dctx_lookup_remove_(dctx_lookup_t *table, dctx_lookup_entry_t *entry);

#endif
