#include "mould.h"

#include <string.h>

#include "alloc.h"
#include "msgpack_scan.h"

typedef uint64_t piece_t __attribute__((vector_size(16)));

static inline piece_t load(const uint8_t *at)
{
    piece_t piece;
    memcpy(&piece, at, sizeof(piece));
    return piece;
}

bool dctx_mould_fits_(const dctx_mould_t *mould, const dctx_registry_t *registry,
                      const uint8_t *data, size_t size)
{
    if (mould->registry != registry->serial || mould->size != size || size < sizeof(piece_t))
        return false;
    /* The last piece overlaps the one before it. */
    size_t at = size - sizeof(piece_t);
    piece_t differs = (load(data + at) ^ load(mould->bytes + at)) & load(mould->mask + at);
    for (at = 0; at + sizeof(piece_t) < size; at += sizeof(piece_t))
        differs |= (load(data + at) ^ load(mould->bytes + at)) & load(mould->mask + at);
    return (differs[0] | differs[1]) == 0;
}

/* Leaves open what is in the value of the entry at that place. It is well-formed. */
static void open_value(dctx_mould_t *mould, const uint8_t *bytes, uint32_t offset, uint32_t size)
{
    const uint8_t *at = bytes + offset;
    const uint8_t *end = at + size;
    dctx_head_t head;
    for (int part = 0; dctx_head_read_(at, end, &head); part++) {
        at += head.size;
        if (part == 3) { /* array, key, version, value */
            memset(mould->mask + (at - bytes), 0, (size_t)head.value);
            return;
        }
        if (head.item == DCTX_ITEM_STR)
            at += head.value;
    }
}

static void free_spare(dctx_mould_t *mould)
{
    if (mould->spare == NULL)
        return;
    dctx_chain_unref_(mould->spare->chain);
    dctx_release_(mould->spare);
    mould->spare = NULL;
}

/* Its remainder says where the mould is. Relaxed: only uniqueness counts. */
static uint64_t new_shape(size_t place)
{
    static uint64_t last;
    return (__atomic_add_fetch(&last, 1, __ATOMIC_RELAXED)) * DCTX_MOULDS + place;
}

static void learn(dctx_mould_t *mould, size_t place, const dctx_registry_t *registry,
                  const dctx_stamp_t *stamp, size_t size, dctx_chain_t *chain)
{
    dctx_chain_t *gone = mould->chain;
    free_spare(mould);
    mould->shape = new_shape(place);
    mould->registry = registry->serial;
    mould->size = (uint32_t)size;
    mould->missed = 0;
    mould->chain = dctx_chain_ref_(chain);
    dctx_chain_unref_(gone);
    memcpy(mould->bytes, stamp->bytes, size);
    memset(mould->mask, 0xff, sizeof(mould->mask));
    mould->reaches = stamp->reaches;
    mould->value_count = stamp->owner.count;
    for (uint32_t i = 0; i < stamp->owner.count; i++) {
        const dctx_value_t *value = &stamp->values[i];
        uint32_t offset = (uint32_t)(value->wire.bytes - stamp->bytes);
        mould->values[i] = (dctx_mould_value_t){value->key, offset, value->size};
        /* Its place in the table is taken by another on arrival. */
        if (value->key->known == DCTX_KNOWN_DEADLINE)
            mould->shape = 0;
        open_value(mould, stamp->bytes, offset, value->size);
    }
    mould->extra_count = stamp->extra_count;
    for (uint32_t i = 0; i < stamp->extra_count; i++) {
        mould->extras[i] = stamp->extras[i];
        open_value(mould, stamp->bytes, stamp->extras[i].offset, stamp->extras[i].size);
    }
}

void dctx_mould_learn_(dctx_mould_t **moulds_p, const dctx_registry_t *registry,
                       const dctx_stamp_t *stamp, size_t size, dctx_chain_t *chain)
{
    if (size > DCTX_MOULD_BYTES ||
        (size_t)stamp->owner.count + stamp->extra_count > DCTX_MOULD_ENTRIES)
        return;
    if (*moulds_p == NULL)
        *moulds_p = dctx_calloc_(DCTX_MOULDS, sizeof(**moulds_p));
    dctx_mould_t *mould = dctx_mould_place_(*moulds_p, size);
    if (mould != NULL && ++mould->missed > 1)
        learn(mould, (size_t)(mould - *moulds_p), registry, stamp, size, chain);
}

void dctx_moulds_free_(dctx_mould_t *moulds)
{
    for (size_t i = 0; moulds != NULL && i < DCTX_MOULDS; i++) {
        free_spare(&moulds[i]);
        dctx_chain_unref_(moulds[i].chain);
    }
    dctx_release_(moulds);
}
