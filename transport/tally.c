#include "tally.h"

#include <string.h>
#include <strings.h>

#include <dcontext/internal.h>

static bool is(const dctx_tally_t *tally, dctx_bytes_t name, dctx_strip_t reason, bool leaving)
{
    return tally->reason == reason && tally->leaving == leaving && tally->name_size == name.size &&
           strncasecmp(tally->name, name.data, name.size) == 0;
}

/* Names come from strangers who may choose them to collide; the bound on all tallies bounds that.
 */
static size_t bucket_of(dctx_bytes_t name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.size; i++)
        hash = (hash ^ (((const uint8_t *)name.data)[i] & 0xdfu)) * 16777619u;
    return (hash ^ hash >> 16) % DCTX_TALLIES_BUCKETS;
}

dctx_tally_t *dctx_tally_of_(dctx_tallies_t *tallies, dctx_bytes_t name, dctx_strip_t reason,
                             bool leaving)
{
    dctx_tally_t **bucket = &tallies->buckets[bucket_of(name)];
    pthread_mutex_lock(&tallies->lock);
    dctx_tally_t *tally = *bucket;
    while (tally != NULL && !is(tally, name, reason, leaving))
        tally = tally->next;
    if (tally == NULL) {
        if (tallies->used < DCTX_TALLIES_MAX && name.size < sizeof(tally->name))
            tally = dctx_calloc_(1, sizeof(*tally));
        if (tally == NULL) {
            tally = &tallies->others;
        } else {
            tally->reason = reason;
            tally->leaving = leaving;
            tally->name_size = name.size;
            memcpy(tally->name, name.data, name.size);
            tally->next = *bucket;
            *bucket = tally;
            tallies->used++;
        }
    }
    pthread_mutex_unlock(&tallies->lock);
    return tally;
}

static void report(const dctx_tally_t *tally, dctx_stripped_fn call, void *arg)
{
    uint64_t count = atomic_load_explicit(&tally->count, memory_order_relaxed);
    if (count > 0)
        call(tally->name, tally->reason, tally->leaving, count, arg);
}

/* The lock is not held while the callback runs: it may send, and that may strip. Tallies are never
 * taken out, and new ones come in front. */
void dctx_tallies_each_(dctx_tallies_t *tallies, dctx_stripped_fn call, void *arg)
{
    for (size_t i = 0; i < DCTX_TALLIES_BUCKETS; i++) {
        pthread_mutex_lock(&tallies->lock);
        const dctx_tally_t *first = tallies->buckets[i];
        pthread_mutex_unlock(&tallies->lock);
        for (; first != NULL; first = first->next)
            report(first, call, arg);
    }
    report(&tallies->others, call, arg);
}

void dctx_tallies_finish_(dctx_tallies_t *tallies)
{
    for (size_t i = 0; i < DCTX_TALLIES_BUCKETS; i++)
        while (tallies->buckets[i] != NULL) {
            dctx_tally_t *tally = tallies->buckets[i];
            tallies->buckets[i] = tally->next;
            dctx_release_(tally);
        }
    pthread_mutex_destroy(&tallies->lock);
}
