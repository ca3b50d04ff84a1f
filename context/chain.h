/*
 * The scope chain, materialised: an immutable, reference counted run of names in wire form, so that
 * encoding it is one memcpy. NULL stands for the empty chain everywhere.
 *
 * At most limits->chain_names names are held: the first 4 and the newest. What was dropped between
 * is counted, and stands in the wire form as a positive integer, the mark. A chain received with
 * its mark elsewhere keeps it there; when more must go, names next to the mark go, so what is shown
 * stays true.
 */
#ifndef DCTX_CHAIN_H
#define DCTX_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/registry.h>

#include "envelope.h"
#include "refcount.h"

typedef struct dctx_chain {
    dctx_refcount_t refs;
    uint64_t elided;
    uint32_t count; /* names held */
    uint32_t mark;  /* how many names come before the mark; 0 if elided is */
    uint32_t wire_size;
    uint8_t wire[]; /* the msgpack array, head included */
} dctx_chain_t;

/*
 * `parent` with `count` more names, newest last. Names are clean and within limits->name_bytes
 * (checked where scopes are pushed). With count 0 it is another reference on the parent.
 * DCTX_ERR_NOMEM.
 */
dctx_error_t dctx_chain_build_(dctx_chain_t *parent, const dctx_bytes_t *names, size_t count,
                               const dctx_limits_t *limits, dctx_chain_t **ret_chain);

/* The chain of an opened envelope. DCTX_ERR_NOMEM. */
dctx_error_t dctx_chain_from_envelope_(const dctx_envelope_t *envelope, dctx_chain_t **ret_chain);

static inline dctx_chain_t *dctx_chain_ref_(dctx_chain_t *chain)
{
    if (chain != NULL)
        dctx_refcount_add(&chain->refs, 1);
    return chain;
}

void dctx_chain_free_(dctx_chain_t *chain);

static inline void dctx_chain_unref_(dctx_chain_t *chain)
{
    if (chain != NULL && dctx_refcount_drop(&chain->refs, 1))
        dctx_chain_free_(chain);
}

/* The bytes for the encoder: never empty. */
static inline dctx_bytes_t dctx_chain_wire_(const dctx_chain_t *chain)
{
    static const uint8_t empty[1] = {0x90};
    return chain != NULL ? (dctx_bytes_t){chain->wire, chain->wire_size}
                         : (dctx_bytes_t){empty, sizeof(empty)};
}

/* The name at index, root first; {NULL, 0} past the end. Walks: O(index). */
dctx_bytes_t dctx_chain_name_(const dctx_chain_t *chain, size_t index);

/*
 * What dctx_chain_build_() would make of it, without making it: names [0, head) stay, then the
 * mark, then names [tail, all) stay. Indexes count the parent's names, then the new ones.
 */
typedef struct dctx_chain_plan {
    size_t head;
    size_t tail;
    size_t all;
    uint64_t elided; /* 0: no mark; then head == tail */
} dctx_chain_plan_t;

dctx_chain_plan_t dctx_chain_plan_(const dctx_chain_t *parent, size_t count,
                                   const dctx_limits_t *limits);

static inline size_t dctx_chain_plan_count_(const dctx_chain_plan_t *plan)
{
    return plan->head + (plan->all - plan->tail);
}

/* The text of what build would make, "a > b > [3 more] > c", cut to fit and NUL-terminated (if size
 * > 0). Returns the length of the whole text. count 0: names may be NULL. */
size_t dctx_chain_format_(const dctx_chain_t *parent, const dctx_bytes_t *names, size_t count,
                          const dctx_limits_t *limits, char *buffer, size_t size);

#endif
