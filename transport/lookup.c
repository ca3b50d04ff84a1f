#include "lookup.h"

#include <string.h>

#include <dcontext/internal.h>

#define BUCKETS_FIRST 32

static uint64_t hash_of(const dctx_lookup_t *table, const void *key, size_t size)
{
    const uint8_t *p = key;
    uint64_t hash = table->seed ^ size;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 29;
    }
    uint64_t rest = 0;
    memcpy(&rest, p, size);
    hash = (hash ^ rest) * UINT64_C(0xbf58476d1ce4e5b9);
    hash ^= hash >> 32;
    hash *= UINT64_C(0x94d049bb133111eb);
    return hash ^ hash >> 29;
}

dctx_error_t dctx_lookup_init_(dctx_lookup_t *table, uint64_t seed)
{
    dctx_lookup_entry_t **buckets = dctx_calloc_(BUCKETS_FIRST, sizeof(*buckets));
    if (buckets == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a table of peers");
    *table = (dctx_lookup_t){buckets, BUCKETS_FIRST - 1, 0, seed};
    return DCTX_OK;
}

void dctx_lookup_finish_(dctx_lookup_t *table)
{
    dctx_release_(table->buckets);
    *table = (dctx_lookup_t){NULL, 0, 0, 0};
}

dctx_lookup_entry_t *dctx_lookup_find_(const dctx_lookup_t *table, const void *key, size_t size)
{
    uint64_t hash = hash_of(table, key, size);
    for (dctx_lookup_entry_t *entry = table->buckets[hash & table->mask]; entry != NULL;
         entry = entry->next)
        if (entry->hash == hash && entry->size == size && memcmp(entry->key, key, size) == 0)
            return entry;
    return NULL;
}

static void grow(dctx_lookup_t *table)
{
    size_t mask = table->mask * 2 + 1;
    dctx_lookup_entry_t **buckets = dctx_calloc_(mask + 1, sizeof(*buckets));
    if (buckets == NULL)
        return;
    for (size_t i = 0; i <= table->mask; i++) {
        dctx_lookup_entry_t *next;
        for (dctx_lookup_entry_t *entry = table->buckets[i]; entry != NULL; entry = next) {
            next = entry->next;
            entry->next = buckets[entry->hash & mask];
            buckets[entry->hash & mask] = entry;
        }
    }
    dctx_release_(table->buckets);
    table->buckets = buckets;
    table->mask = mask;
}

void dctx_lookup_insert_(dctx_lookup_t *table, dctx_lookup_entry_t *entry, const void *key,
                         size_t size)
{
    if (table->count > table->mask)
        grow(table);
    entry->hash = hash_of(table, key, size);
    entry->key = key;
    entry->size = size;
    entry->next = table->buckets[entry->hash & table->mask];
    table->buckets[entry->hash & table->mask] = entry;
    table->count++;
}

void dctx_lookup_remove_(dctx_lookup_t *table, dctx_lookup_entry_t *entry)
{
    dctx_lookup_entry_t **at = &table->buckets[entry->hash & table->mask];
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    table->count--;
}
