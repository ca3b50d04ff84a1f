/* The registry's inside: keys, their dense indexes, and the look-up table. */
#ifndef DCTX_REGISTRY_INTERNAL_H
#define DCTX_REGISTRY_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/registry.h>

#include <dcontext/clock.h>

#include "known.h"
#include "refcount.h"

/* The two kinds of key; each kind has slots of its own. Also the index of a key's table. */
enum { DCTX_KIND_BROADCAST = 0, DCTX_KIND_LOCAL = 1, DCTX_KINDS = 2 };

/* What users may register, and with it the library's own. */
#define DCTX_KEYS_MAX  65535
#define DCTX_SLOTS_MAX (DCTX_KEYS_MAX + DCTX_KNOWN_COUNT)

/* A key's prefix may be read in pieces of this size, past its end. */
#define DCTX_PREFIX_PIECE 16

/* One allocation: the arrays and names follow the struct. Nothing changes after the freeze. */
struct dctx_key {
    dctx_registry_t *registry;
    uint32_t
        index; /* among the keys of its kind, in the order of folded names; 0 before the freeze */
    uint32_t kind;
    uint32_t next; /* of a broadcast key: the index of the next that is not the library's own */
    const dctx_type_t *type;
    dctx_error_t (*encode)(const void *value,
                           dctx_writer_t *writer); /* the codec's or the type's */
    dctx_error_t (*decode)(void *dst, const void *data, size_t size);
    const dctx_codec_t *codec;
    const char *name;
    const uint8_t *prefix; /* the wire entry up to the value: array head, name, version */
    uint32_t name_size;
    uint32_t prefix_size;
    uint32_t version;
    uint32_t hash;
    unsigned flags;
    dctx_reach_t reach;
    uint32_t sequence; /* how many were registered before it */
    enum dctx_known known;
    uint32_t migration_count;
    uint32_t metadata_count;
    const dctx_migration_t *migrations;
    const dctx_metadata_t *metadata;
};

struct dctx_registry {
    dctx_refcount_t refs; /* unused in the process-wide one, which is never freed */
    uint64_t serial;      /* of all registries ever made; unlike the address never used again */
    bool immortal;
    bool frozen;   /* written once, with release; read with acquire by any thread */
    bool unsorted; /* `keys` is not in the order of names; before the freeze only */
    uint32_t count;
    uint32_t capacity;
    uint32_t kind_count[DCTX_KINDS]; /* set by the freeze */
    uint32_t first_user; /* the index of the first broadcast key not the library's own */
    dctx_key_t **keys;   /* sorted by the freeze: broadcast keys, then local ones, each by name */
    dctx_key_t **sorted; /* all by name; NULL before the freeze */
    dctx_key_t **index;  /* open addressing by hash; NULL for a free place */
    uint32_t index_mask;
    dctx_limits_t limits;
    dctx_clocks_t clock;     /* its functions are NULL: the system's */
    uint32_t deadline_index; /* this and what follows is set by the freeze */
    uint32_t claim_count;
    dctx_claim_t *claims; /* keys that appear in baggage */
    const dctx_key_t *known[DCTX_KNOWN_COUNT];
};

static inline bool dctx_registry_frozen_(const dctx_registry_t *registry)
{
    return __atomic_load_n(&registry->frozen, __ATOMIC_ACQUIRE);
}

/* NULL stands for the process-wide one; NULL if memory ran out for that. */
static inline dctx_registry_t *dctx_registry_or_global_(dctx_registry_t *registry)
{
    return registry != NULL ? registry : dctx_registry_global();
}

static inline void dctx_registry_ref_(dctx_registry_t *registry)
{
    /* The process-wide registry is not counted: all threads would fight for its cache line. */
    if (!registry->immortal)
        dctx_refcount_add(&registry->refs, 1);
}

void dctx_registry_free_(dctx_registry_t *registry);

static inline void dctx_registry_unref_(dctx_registry_t *registry)
{
    if (!registry->immortal && dctx_refcount_drop(&registry->refs, 1))
        dctx_registry_free_(registry);
}

/* The key of that name, ASCII case ignored; NULL if there is none. */
const dctx_key_t *dctx_registry_lookup_(const dctx_registry_t *registry, const char *name,
                                        size_t size);

/* Registers a key of the library's own, which no limit on keys is about. DCTX_ERR_NOMEM. */
dctx_error_t dctx_registry_add_known_(dctx_registry_t *registry, const dctx_key_options_t *options,
                                      enum dctx_known known);

/* Takes out what was registered since there were `count` keys. Not frozen yet. */
void dctx_registry_truncate_(dctx_registry_t *registry, uint32_t count);

#endif
