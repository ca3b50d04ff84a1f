/*
 * dcontext/inline.h - reading a value without a call. Private: include <dcontext/context.h>.
 *
 * A call into a shared library costs more than the read itself, so dctx_get() and the typed keys'
 * get are done here as far as they are plain loads; what is not (a value still to be decoded, a
 * typed key met for the first time) is left to the functions of the same names. What stands here of
 * the library's structs is the beginning of them, and part of its ABI; thread.c asserts that it is
 * true.
 */
#ifndef DCONTEXT_INLINE_H
#define DCONTEXT_INLINE_H

#include <stddef.h>
#include <stdint.h>

#include <dcontext/error.h>
#include <dcontext/registry.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dctx_table;
struct dctx_thread;

/* What a thread's every read needs, in the static TLS block itself: no pointer to follow, and
 * nothing to test, as a thread without a context has a registry that no key is of. Its own thread
 * alone writes and reads it. */
typedef struct dctx_hot {
    dctx_registry_t *registry;   /* NULL if there is no context yet */
    struct dctx_table *table[2]; /* broadcast, local */
    struct dctx_thread *thread;
    const struct dctx_asked *asked; /* see <dcontext/internal.h>; NULL nearly always */
} dctx_hot_t;

DCTX_EXPORT extern __thread dctx_hot_t dctx_hot_ __attribute__((tls_model("initial-exec")));

typedef struct __attribute__((may_alias)) dctx_registry_head {
    size_t refs;
    uint64_t serial;
} dctx_registry_head_t;

typedef struct __attribute__((may_alias)) dctx_key_head {
    const dctx_registry_t *registry;
    uint32_t index;
    uint32_t kind;
} dctx_key_head_t;

typedef struct __attribute__((may_alias)) dctx_value_head {
    const void *owner;
    const void *key;
    const void *data; /* NULL: not decoded yet; 1: does not decode; published with release */
} dctx_value_head_t;

typedef struct __attribute__((may_alias)) dctx_table_head {
    size_t refs;
    uint32_t capacity;
    uint32_t count;
    const void *home;
    const void *guest;
    const dctx_value_head_t *slots[1]; /* in truth `capacity` of them */
} dctx_table_head_t;

/* A typed key's bound_: the registry's serial, one bit for the kind, the index. */
#define DCTX_BOUND_INDEX_BITS_ 17

DCTX_EXPORT const void *dctx_get_slowly_(const dctx_key_t *key);

/* The data of a value that needs no decoding; NULL where there is none or it is not so simple. */
static inline const void *dctx_slot_data_(uint32_t kind, uint32_t index, int *ret_simple)
{
    const dctx_table_head_t *table = (const dctx_table_head_t *)(const void *)dctx_hot_.table[kind];
    const dctx_value_head_t *value = *(table->slots + index);
    *ret_simple = 1;
    if (value == NULL)
        return NULL;
    const void *data = __atomic_load_n(&value->data, __ATOMIC_ACQUIRE);
    if (__builtin_expect((uintptr_t)data > 1, 1))
        return data;
    *ret_simple = 0;
    return NULL;
}

static inline const void *dctx_get_inline_(const dctx_key_t *key)
{
    const dctx_key_head_t *head = (const dctx_key_head_t *)(const void *)key;
    if (__builtin_expect(head == NULL || head->registry != dctx_hot_.registry, 0))
        return NULL;
    int simple;
    const void *data = dctx_slot_data_(head->kind, head->index, &simple);
    return __builtin_expect(simple, 1) ? data : dctx_get_slowly_(key);
}

#ifdef __cplusplus
}
#endif
#endif
