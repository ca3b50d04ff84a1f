/*
 * Values: immutable, shared, counted.
 *
 * What is counted is the owner: the one allocation in which values lie. A value that was set here
 * lies alone in its owner, with its data behind it. Values that came in one stamp share an owner
 * with the stamp's bytes (stamp.h), so that decoding allocates once however many there are.
 *
 * Dropping a reference never runs user code. An owner that has no reference left goes to a grave,
 * which is the dropping function's own; when the store is consistent again the grave is emptied,
 * and only then types' destructors run. So they may call any function.
 */
#ifndef DCTX_VALUE_H
#define DCTX_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "refcount.h"
#include "registry.h"

typedef struct dctx_owner {
    dctx_refcount_t refs;
    struct dctx_owner *next; /* in a grave; else unused */
    uint32_t count;          /* of values */
    bool stamp;              /* a dctx_stamp_t; else a dctx_lone_t */
} dctx_owner_t;

/* An encoded entry, complete, `[key, version, bin]`. */
typedef struct dctx_entry {
    size_t size;
    uint8_t data[];
} dctx_entry_t;

typedef struct dctx_value {
    dctx_owner_t *owner;
    const dctx_key_t *key;
    /* What dctx_get() returns. Of a received value: NULL until it is first read, then either the
     * decoded value or DCTX_VALUE_BAD, for good. Any reader may be the one to store it, by compare
     * and exchange with release; readers load with acquire, so that they see what it points to. */
    const void *data;
    /* The wire entry. Its bytes, if `size` is not 0: received, or a string set here; these may be
     * read in pieces of DCTX_PREFIX_PIECE, past their end. Otherwise as
     * encoded by the key's function: NULL until first needed, then published as `data` is. */
    union {
        const uint8_t *bytes;
        dctx_entry_t *entry;
    } wire;
    uint32_t size;
} dctx_value_t;

/* A value set here, with its data behind it, aligned for any type. */
typedef struct dctx_lone {
    dctx_owner_t owner;
    dctx_value_t value;
    uint8_t data[] __attribute__((aligned(16)));
} dctx_lone_t;

/* The `data` of a received value that does not decode. */
#define DCTX_VALUE_BAD ((const void *)1)

typedef struct dctx_grave {
    dctx_owner_t *first;
} dctx_grave_t;

/* A value for `key` with one reference and room for `size` bytes at lone->data. NULL: no memory. */
dctx_lone_t *dctx_lone_new_(const dctx_key_t *key, size_t size);

/* Gives back a value that was never published, without destroying its data. */
void dctx_lone_discard_(dctx_lone_t *lone);

/* A copy of `value`, as dctx_set() is given it. DCTX_ERR_NOMEM, what the type's copy refuses
 * with. */
dctx_error_t dctx_value_new_(const dctx_key_t *key, const void *value, dctx_value_t **ret_value);

/* True if it is a string set here that is as long as that, so that this would fit in its place. */
static inline bool dctx_value_is_as_long_(const dctx_value_t *value, size_t size)
{
    if (value->owner->stamp)
        return false;
    if (value->size > 0)
        return value->size == (size_t)((const uint8_t *)value->data - value->wire.bytes) + size;
    return value->key->kind == DCTX_KIND_LOCAL && strlen(value->data) == size;
}

static inline void dctx_value_ref_(dctx_value_t *value)
{
    dctx_refcount_add(&value->owner->refs, 1);
}

static inline void dctx_grave_add_(dctx_grave_t *grave, dctx_owner_t *owner)
{
    owner->next = grave->first;
    grave->first = owner;
}

static inline void dctx_owner_drop_(dctx_owner_t *owner, size_t count, dctx_grave_t *grave)
{
    if (dctx_refcount_drop(&owner->refs, count))
        dctx_grave_add_(grave, owner);
}

/* NULL is fine. */
static inline void dctx_value_drop_(dctx_value_t *value, dctx_grave_t *grave)
{
    if (value != NULL)
        dctx_owner_drop_(value->owner, 1, grave);
}

void dctx_grave_empty_slow_(dctx_grave_t *grave);

/* Runs user code: the caller's data is consistent, and it holds no pointers that others may
 * move. */
static inline void dctx_grave_empty_(dctx_grave_t *grave)
{
    if (grave->first != NULL)
        dctx_grave_empty_slow_(grave);
}

const void *dctx_value_resolve_(dctx_value_t *value);

/* True if the calling thread is in the midst of decoding or encoding this value. */
bool dctx_value_is_working_(const dctx_value_t *value);

/* The value's data, decoded now if it came from a peer and was never read; NULL if it does not
 * decode. May run user code. The caller keeps the value alive. */
static inline const void *dctx_value_get_(dctx_value_t *value)
{
    const void *data = __atomic_load_n(&value->data, __ATOMIC_ACQUIRE);
    if (__builtin_expect((uintptr_t)data > (uintptr_t)DCTX_VALUE_BAD, 1))
        return data;
    return data == NULL ? dctx_value_resolve_(value) : NULL;
}

/* The wire entry of a value without bytes, encoded now if it never was; valid as long as the value.
 * May run user code. DCTX_ERR_LIMIT, DCTX_ERR_CODEC, DCTX_ERR_NOMEM. */
dctx_error_t dctx_value_encode_(dctx_value_t *value, dctx_bytes_t *ret_entry);

#endif
