/*
 * Reference counts, the whole story.
 *
 * Taking a reference is relaxed: whoever takes one got hold of the object through a reference that
 * keeps it alive, and that hand-over was ordered by whatever passed the pointer on. Dropping one is
 * a release, so that all this thread did with the object comes before the drop. Whoever drops the
 * last one follows with an acquire of the same counter, and so sees what all the others did before
 * theirs, and may then free. An acquire load instead of a fence, because ThreadSanitizer does not
 * model fences; it costs nothing on the path that is not the last.
 *
 * The counter is as wide as a pointer, so it cannot overflow: each reference is held in memory by
 * someone.
 */
#ifndef DCTX_REFCOUNT_H
#define DCTX_REFCOUNT_H

#include <stdbool.h>
#include <stddef.h>

typedef struct dctx_refcount {
    size_t count_; /* any holder writes it, only through the functions below */
} dctx_refcount_t;

/* Not yet shared: a plain store. */
static inline void dctx_refcount_init(dctx_refcount_t *refs, size_t count)
{
    __atomic_store_n(&refs->count_, count, __ATOMIC_RELAXED);
}

static inline void dctx_refcount_add(dctx_refcount_t *refs, size_t count)
{
    (void)__atomic_fetch_add(&refs->count_, count, __ATOMIC_RELAXED);
}

/* True for the one caller whose drop was the last: it owns the object alone and frees it. Who holds
 * all the references there are needs no atomic subtraction to know it: nobody is left to take
 * another. */
static inline bool dctx_refcount_drop(dctx_refcount_t *refs, size_t count)
{
    if (__atomic_load_n(&refs->count_, __ATOMIC_ACQUIRE) == count)
        return true;
    if (__atomic_fetch_sub(&refs->count_, count, __ATOMIC_RELEASE) != count)
        return false;
    (void)__atomic_load_n(&refs->count_, __ATOMIC_ACQUIRE);
    return true;
}

/* True if the caller's reference is the only one, and so the object may be written in place: nobody
 * else has a reference to copy, and the acquire pairs with the drops of those who had. */
static inline bool dctx_refcount_is_unique(const dctx_refcount_t *refs)
{
    return __atomic_load_n(&refs->count_, __ATOMIC_ACQUIRE) == 1;
}

#endif
