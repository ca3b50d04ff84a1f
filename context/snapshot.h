/* The snapshot's inside. */
#ifndef DCTX_SNAPSHOT_INTERNAL_H
#define DCTX_SNAPSHOT_INTERNAL_H

#include <dcontext/contexts.h>
#include <dcontext/internal.h>
#include <dcontext/snapshot.h>

#include "chain.h"
#include "known.h"
#include "stamp.h"
#include "table.h"

/* A wire form, once computed. One with a deadline in it goes stale, and is replaced when it is
 * asked for after that; the old one stays, as somebody may still read it. */
typedef struct dctx_wire {
    struct dctx_wire *older;
    int64_t stale_at; /* on the registry's monotonic clock; INT64_MAX: never */
    size_t size;
    uint8_t data[];
} dctx_wire_t;

/* Each pointer but the last three is set when the snapshot is made and never again; NULL stands for
 * "none". */
struct dctx_snapshot {
    dctx_snapshot_due_t due;
    dctx_refcount_t refs;
    dctx_registry_t *registry;
    dctx_owner_t *home;              /* in whose memory it lies, with a reference; NULL: its own */
    dctx_table_t *table[DCTX_KINDS]; /* DCTX_NO_TABLE if no value of that kind is set */
    dctx_chain_t *chain;             /* NULL: the empty one */
    dctx_stamp_t *extras;            /* the entries passing through; NULL if there are none */
    /* All NULL until first needed, then for good: stored by any holder, by compare and exchange
     * with release; loaded with acquire. */
    dctx_wire_t *wire;
    dctx_snapshot_t *broadcast;  /* what of it may leave the process, with a reference */
    dctx_companion_t *companion; /* a library above; see internal.h */
};

/* Frees it with all older ones. NULL is fine. */
void dctx_wire_free_(dctx_wire_t *wire);

/* Makes memory an empty one, with one reference on it and one on the registry. */
static inline void dctx_snapshot_init_(dctx_snapshot_t *snapshot, dctx_registry_t *registry)
{
    /* One by one: compilers clear a whole struct with an instruction that takes longer to begin
     * than all of these. */
    snapshot->due.ns = 0;
    dctx_refcount_init(&snapshot->refs, 1);
    snapshot->registry = registry;
    snapshot->home = NULL;
    snapshot->table[0] = DCTX_NO_TABLE;
    snapshot->table[1] = DCTX_NO_TABLE;
    snapshot->chain = NULL;
    snapshot->extras = NULL;
    snapshot->wire = NULL;
    snapshot->broadcast = NULL;
    snapshot->companion = NULL;
    dctx_registry_ref_(registry);
}

/* Of one that is not shared yet: when it is due, if that takes no more than a look. What
 * dctx_snapshot_expired() would find at its first call. */
static inline void dctx_snapshot_note_due_(dctx_snapshot_t *snapshot)
{
    const dctx_registry_t *registry = snapshot->registry;
    const dctx_table_t *const *table = (const dctx_table_t *const *)snapshot->table;
    if (table[DCTX_KIND_LOCAL]->slots[registry->known[DCTX_KNOWN_CANCEL]->index] != NULL)
        return;
    const dctx_value_t *value = table[DCTX_KIND_BROADCAST]->slots[registry->deadline_index];
    if (__builtin_expect(value == NULL, 1))
        snapshot->due.ns = INT64_MAX;
    else if (registry->clock.wall == NULL && value->size == 0)
        snapshot->due.ns = ((const dctx_deadline_t *)value->data)->due;
}

/* The same in memory of its own. NULL: no memory. */
dctx_snapshot_t *dctx_snapshot_new_(dctx_registry_t *registry);

/* Frees one whose last reference was dropped. Runs user code. */
void dctx_snapshot_bury_(dctx_snapshot_t *snapshot);

/* Drops a reference; what dies of values goes to the grave. The registry must have another
 * reference if the grave gets anything, because types' destructors are found through it. */
void dctx_snapshot_drop_(dctx_snapshot_t *snapshot, dctx_grave_t *grave);

#endif
