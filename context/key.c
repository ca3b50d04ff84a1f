#include <dcontext/key.h>

#include "fail.h"
#include "thread.h"

/*
 * What a typed key was last found as, packed: the registry's serial, and in it kind and index. Not
 * a pointer: the registry it points into may be gone, and then even looking at it would be an
 * error; a serial is never used again. 0 is nothing, as serials begin with 1. Any thread may store
 * it and load it, relaxed: the number is all there is.
 */
#define INDEX_BITS DCTX_BOUND_INDEX_BITS_

static inline uint64_t pack(const dctx_key_t *key)
{
    return key->registry->serial << (INDEX_BITS + 1) | (uint64_t)key->kind << INDEX_BITS |
           key->index;
}

/* The thread has a context. */
static inline bool is_bound(uint64_t bound)
{
    return bound >> (INDEX_BITS + 1) == dctx_hot_.registry->serial;
}

static inline uint32_t bound_kind(uint64_t bound)
{
    return (uint32_t)(bound >> INDEX_BITS & 1);
}

static inline uint32_t bound_index(uint64_t bound)
{
    return (uint32_t)(bound & ((1u << INDEX_BITS) - 1));
}

static const dctx_key_t *find_in(const dctx_registry_t *registry, dctx_typed_key_t *key)
{
    if (registry == NULL || !dctx_registry_frozen_(registry))
        return NULL;
    const dctx_key_t *found = dctx_registry_find(registry, key->options.name);
    if (found == NULL || found->type != key->options.type)
        return NULL;
    __atomic_store_n(&key->bound_, pack(found), __ATOMIC_RELAXED);
    return found;
}

const dctx_key_t *dctx_typed_key_find(dctx_typed_key_t *key)
{
    if (key == NULL)
        return NULL;
    const dctx_registry_t *registry = dctx_hot_.registry;
    if (registry == NULL)
        return find_in(dctx_registry_global(), key);
    uint64_t bound = __atomic_load_n(&key->bound_, __ATOMIC_RELAXED);
    if (__builtin_expect(!is_bound(bound), 0))
        return find_in(registry, key);
    return registry->keys[bound_index(bound) +
                          (bound_kind(bound) == DCTX_KIND_LOCAL ? registry->kind_count[0] : 0)];
}

const void *(dctx_typed_key_get)(dctx_typed_key_t *key)
{
    const dctx_registry_t *registry = dctx_hot_.registry;
    if (__builtin_expect(registry == NULL || key == NULL, 0))
        return NULL;
    uint64_t bound = __atomic_load_n(&key->bound_, __ATOMIC_RELAXED);
    if (__builtin_expect(!is_bound(bound), 0))
        return dctx_get(find_in(registry, key));
    dctx_value_t *value = dctx_hot_.table[bound_kind(bound)]->slots[bound_index(bound)];
    return value != NULL ? dctx_value_get_(value) : NULL;
}

/* The key, or why there is none. */
static dctx_error_t resolve(dctx_typed_key_t *key, const dctx_key_t **ret_key)
{
    *ret_key = dctx_typed_key_find(key);
    if (*ret_key != NULL)
        return DCTX_OK;
    dctx_registry_t *registry = dctx_current_registry();
    if (key == NULL || key->options.name == NULL)
        return dctx_fail_(DCTX_ERR_UNKNOWN_KEY, "no key (NULL)");
    if (registry == NULL)
        return DCTX_ERR_NOMEM;
    if (!dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_NOT_FROZEN, "key '%s': the registry is not frozen yet",
                          key->options.name);
    if (dctx_registry_find(registry, key->options.name) != NULL)
        return dctx_fail_(DCTX_ERR_TYPE, "key '%s' is registered with another type",
                          key->options.name);
    return dctx_fail_(DCTX_ERR_UNKNOWN_KEY,
                      "key '%s' is not registered in the registry of this thread's context",
                      key->options.name);
}

dctx_error_t dctx_typed_key_set(dctx_typed_key_t *key, const void *value)
{
    const dctx_key_t *found = NULL;
    dctx_error_t error = resolve(key, &found);
    return error == DCTX_OK ? dctx_set(found, value) : error;
}

dctx_error_t dctx_typed_key_take(dctx_typed_key_t *key, void *value)
{
    const dctx_key_t *found = NULL;
    dctx_error_t error = resolve(key, &found);
    return error == DCTX_OK ? dctx_set_take(found, found->type, value) : error;
}

dctx_error_t dctx_typed_key_unset(dctx_typed_key_t *key)
{
    const dctx_key_t *found = NULL;
    dctx_error_t error = resolve(key, &found);
    return error == DCTX_OK ? dctx_unset(found) : error;
}

dctx_error_t dctx_typed_key_update(dctx_typed_key_t *key, dctx_update_fn update, void *arg)
{
    const dctx_key_t *found = NULL;
    dctx_error_t error = resolve(key, &found);
    return error == DCTX_OK ? dctx_update(found, update, arg) : error;
}

dctx_error_t dctx_typed_key_register(dctx_registry_t *registry, dctx_typed_key_t *key)
{
    return dctx_typed_keys_register(registry, &key, 1);
}

dctx_error_t dctx_typed_keys_register(dctx_registry_t *registry, dctx_typed_key_t *const *keys,
                                      size_t count)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return DCTX_ERR_NOMEM;
    if (keys == NULL && count > 0)
        return dctx_fail_(DCTX_ERR_INVALID, "no keys (NULL)");
    uint32_t before = registry->count;
    for (size_t i = 0; i < count; i++) {
        dctx_error_t error = keys[i] != NULL ? dctx_registry_add(registry, &keys[i]->options, NULL)
                                             : dctx_fail_(DCTX_ERR_INVALID, "key %zu is NULL", i);
        if (error == DCTX_OK)
            continue;
        if (!dctx_registry_frozen_(registry))
            dctx_registry_truncate_(registry, before);
        return error;
    }
    return DCTX_OK;
}
