/*
 * dcontext/key.h - typed keys: functions of a key's own, with its C type, so that a wrong type is
 * an error at compile time, in C and in C++.
 *
 * In one .c file:
 *
 *     DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)
 *     DCTX_KEY_INT64(budget_ms, "budget-ms", DCTX_LOCAL)
 *     DCTX_KEY_STRUCT(order, "order", order_t, &order_type, DCTX_BROADCAST)
 *
 * Shared by several: DCTX_DECLARE_KEY_STRING(request_id) in a header and
 * DCTX_DEFINE_KEY(request_id, "request-id", DCTX_TYPE_STRING, DCTX_BROADCAST) in one .c file.
 *
 * Each makes, for a key `K` of C type `T`:
 *
 *     const T *K_get(void)                 borrowed, as dctx_get(); `const char *` for a string
 *     T K_get_or(T fallback)               by value; for strings borrowed
 *     bool K_contains(void)
 *     dctx_error_t K_set(const T *value)   by value for scalars; `const char *` for a string
 *     dctx_error_t K_unset(void)
 *     dctx_error_t K_register(dctx_registry_t *registry)      NULL: the process-wide one
 *     const dctx_key_t *K_key(void)        the key in the thread's current registry, or NULL
 *   and for scalars and structs
 *     dctx_error_t K_update(dctx_error_t (*update)(T *value, bool present, void *arg), void *arg)
 *   and for structs
 *     dctx_error_t K_take(T *value)        as dctx_set_take()
 *
 * A typed key is a description, not tied to one registry: it can be registered in several, and
 * means on each thread the key of that name and type in the thread's current registry.
 */
#ifndef DCONTEXT_KEY_H
#define DCONTEXT_KEY_H

#include <dcontext/context.h>
#include <dcontext/registry.h>

/*
 * In C a pointer of another type breaks the language's rules, but gcc before 14 and clang before 16
 * only warn. A file that includes this header has it as the error that it is, for all of the file;
 * DCTX_LENIENT_TYPES, defined before, leaves the compiler as it was.
 */
#if !defined(__cplusplus) && !defined(DCTX_LENIENT_TYPES)
#pragma GCC diagnostic error "-Wincompatible-pointer-types"
#pragma GCC diagnostic error "-Wint-conversion"
#ifdef __clang__
#pragma GCC diagnostic error "-Wincompatible-function-pointer-types"
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dctx_typed_key {
    dctx_key_options_t options;
    uint64_t bound_; /* private: where it was last found; written and read atomically; 0: nowhere */
} dctx_typed_key_t;

/*
 * Register a typed key, or `count` of them at once (all or nothing: on an error those added by
 * this call are taken out again).
 *
 * Ownership, Errors, Thread-safety, Limits and units: as dctx_registry_add().
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_typed_key_register(dctx_registry_t *registry,
                                                                 dctx_typed_key_t *key);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_typed_keys_register(dctx_registry_t *registry,
                                                                  dctx_typed_key_t *const *keys,
                                                                  size_t count);

/* Register many: DCTX_REGISTER_KEYS(NULL, &request_id, &tenant, &budget_ms). An expression. */
#ifdef __cplusplus
} /* extern "C" */
template <typename... Keys>
static inline dctx_error_t dctx_register_keys_(dctx_registry_t *registry, Keys... keys)
{
    dctx_typed_key_t *const list[] = {keys...};
    return dctx_typed_keys_register(registry, list, sizeof...(keys));
}
#define DCTX_REGISTER_KEYS(registry, ...) dctx_register_keys_((registry), __VA_ARGS__)
extern "C" {
#else
#define DCTX_REGISTER_KEYS(registry, ...)                                                          \
    dctx_typed_keys_register((registry), (dctx_typed_key_t *const[]){__VA_ARGS__},                 \
                             sizeof((dctx_typed_key_t *const[]){__VA_ARGS__}) /                    \
                                 sizeof(dctx_typed_key_t *))
#endif

/* The key in the thread's current registry; NULL if it has none of that name and type. Any
 * thread. */
DCTX_EXPORT const dctx_key_t *dctx_typed_key_find(dctx_typed_key_t *key);

/* What the generated functions call. As their namesakes without typed_key. */
DCTX_EXPORT const void *dctx_typed_key_get(dctx_typed_key_t *key);
DCTX_QUICK DCTX_MUST_CHECK dctx_error_t dctx_typed_key_set(dctx_typed_key_t *key,
                                                           const void *value);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_typed_key_take(dctx_typed_key_t *key, void *value);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_typed_key_unset(dctx_typed_key_t *key);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_typed_key_update(dctx_typed_key_t *key,
                                                               dctx_update_fn update, void *arg);

/* dctx_typed_key_get() without a call: see inline.h. */
static inline const void *dctx_typed_key_get_inline_(dctx_typed_key_t *key)
{
    const dctx_registry_head_t *registry =
        (const dctx_registry_head_t *)(const void *)dctx_hot_.registry;
    if (__builtin_expect(registry == NULL, 0))
        return NULL;
    uint64_t bound = __atomic_load_n(&key->bound_, __ATOMIC_RELAXED);
    if (__builtin_expect(bound >> (DCTX_BOUND_INDEX_BITS_ + 1) != registry->serial, 0))
        return dctx_typed_key_get(key);
    int simple;
    const void *data =
        dctx_slot_data_((uint32_t)(bound >> DCTX_BOUND_INDEX_BITS_ & 1),
                        (uint32_t)(bound & ((UINT64_C(1) << DCTX_BOUND_INDEX_BITS_) - 1)), &simple);
    return __builtin_expect(simple, 1) ? data : dctx_typed_key_get(key);
}
#ifdef __cplusplus
}
#endif

#define DCTX_KEY_COMMON_(K)                                                                        \
    __attribute__((unused)) static inline bool K##_contains(void)                                  \
    {                                                                                              \
        return dctx_typed_key_get_inline_(&K) != NULL;                                             \
    }                                                                                              \
    __attribute__((unused)) DCTX_MUST_CHECK static inline dctx_error_t K##_unset(void)             \
    {                                                                                              \
        return dctx_typed_key_unset(&K);                                                           \
    }                                                                                              \
    __attribute__((unused))                                                                        \
    DCTX_MUST_CHECK static inline dctx_error_t K##_register(dctx_registry_t *registry)             \
    {                                                                                              \
        return dctx_typed_key_register(registry, &K);                                              \
    }                                                                                              \
    __attribute__((unused)) static inline const dctx_key_t *K##_key(void)                          \
    {                                                                                              \
        return dctx_typed_key_find(&K);                                                            \
    }

#define DCTX_KEY_STRING_FUNCTIONS_(K)                                                              \
    DCTX_KEY_COMMON_(K)                                                                            \
    __attribute__((unused)) static inline const char *K##_get(void)                                \
    {                                                                                              \
        return (const char *)dctx_typed_key_get_inline_(&K);                                       \
    }                                                                                              \
    __attribute__((unused)) static inline const char *K##_get_or(const char *fallback)             \
    {                                                                                              \
        const char *value = (const char *)dctx_typed_key_get_inline_(&K);                          \
        return value != NULL ? value : fallback;                                                   \
    }                                                                                              \
    __attribute__((unused)) DCTX_MUST_CHECK static inline dctx_error_t K##_set(const char *value)  \
    {                                                                                              \
        return dctx_typed_key_set(&K, value);                                                      \
    }

/* What scalars, bytes and structs share. */
#define DCTX_KEY_VALUE_FUNCTIONS_(K, T)                                                            \
    DCTX_KEY_COMMON_(K)                                                                            \
    __attribute__((unused)) static inline const T *K##_get(void)                                   \
    {                                                                                              \
        return (const T *)dctx_typed_key_get_inline_(&K);                                          \
    }                                                                                              \
    __attribute__((unused)) static inline T K##_get_or(T fallback)                                 \
    {                                                                                              \
        const T *value = (const T *)dctx_typed_key_get_inline_(&K);                                \
        return value != NULL ? *value : fallback;                                                  \
    }

#define DCTX_KEY_UPDATE_(K, T)                                                                     \
    struct K##_update_thunk_ {                                                                     \
        dctx_error_t (*update)(T * value, bool present, void *arg);                                \
        void *arg;                                                                                 \
    };                                                                                             \
    __attribute__((unused)) static inline dctx_error_t K##_update_call_(void *value, bool present, \
                                                                        void *thunk)               \
    {                                                                                              \
        struct K##_update_thunk_ *t = (struct K##_update_thunk_ *)thunk;                           \
        return t->update((T *)value, present, t->arg);                                             \
    }                                                                                              \
    __attribute__((unused)) DCTX_MUST_CHECK static inline dctx_error_t K##_update(                 \
        dctx_error_t (*update)(T * value, bool present, void *arg), void *arg)                     \
    {                                                                                              \
        struct K##_update_thunk_ thunk = {update, arg};                                            \
        return dctx_typed_key_update(&K, K##_update_call_, &thunk);                                \
    }

#define DCTX_KEY_SCALAR_FUNCTIONS_(K, T)                                                           \
    DCTX_KEY_VALUE_FUNCTIONS_(K, T)                                                                \
    DCTX_KEY_UPDATE_(K, T)                                                                         \
    __attribute__((unused)) DCTX_MUST_CHECK static inline dctx_error_t K##_set(T value)            \
    {                                                                                              \
        return dctx_typed_key_set(&K, &value);                                                     \
    }

#define DCTX_KEY_BYTES_FUNCTIONS_(K)                                                               \
    DCTX_KEY_VALUE_FUNCTIONS_(K, dctx_bytes_t)                                                     \
    __attribute__((unused))                                                                        \
    DCTX_MUST_CHECK static inline dctx_error_t K##_set(const void *data, size_t size)              \
    {                                                                                              \
        dctx_bytes_t value = {data, size};                                                         \
        return dctx_typed_key_set(&K, &value);                                                     \
    }

#define DCTX_KEY_STRUCT_FUNCTIONS_(K, T)                                                           \
    DCTX_KEY_VALUE_FUNCTIONS_(K, T)                                                                \
    DCTX_KEY_UPDATE_(K, T)                                                                         \
    __attribute__((unused)) DCTX_MUST_CHECK static inline dctx_error_t K##_set(const T *value)     \
    {                                                                                              \
        return dctx_typed_key_set(&K, value);                                                      \
    }                                                                                              \
    __attribute__((unused)) DCTX_MUST_CHECK static inline dctx_error_t K##_take(T *value)          \
    {                                                                                              \
        return dctx_typed_key_take(&K, value);                                                     \
    }

#define DCTX_KEY_OPTIONS_(wire_name, type_, flags_)                                                \
    {                                                                                              \
        {(wire_name), (type_), (flags_), 0, NULL, NULL, 0, NULL, 0, DCTX_REACH_DOMAIN}, 0          \
    }

/* One file's key: handle and functions. */
#define DCTX_KEY_STRING(K, wire_name, flags)                                                       \
    static dctx_typed_key_t K = DCTX_KEY_OPTIONS_(wire_name, DCTX_TYPE_STRING, flags);             \
    DCTX_KEY_STRING_FUNCTIONS_(K)
#define DCTX_KEY_BYTES(K, wire_name, flags)                                                        \
    static dctx_typed_key_t K = DCTX_KEY_OPTIONS_(wire_name, DCTX_TYPE_BYTES, flags);              \
    DCTX_KEY_BYTES_FUNCTIONS_(K)
#define DCTX_KEY_BOOL(K, wire_name, flags)                                                         \
    static dctx_typed_key_t K = DCTX_KEY_OPTIONS_(wire_name, DCTX_TYPE_BOOL, flags);               \
    DCTX_KEY_SCALAR_FUNCTIONS_(K, bool)
#define DCTX_KEY_INT64(K, wire_name, flags)                                                        \
    static dctx_typed_key_t K = DCTX_KEY_OPTIONS_(wire_name, DCTX_TYPE_INT64, flags);              \
    DCTX_KEY_SCALAR_FUNCTIONS_(K, int64_t)
#define DCTX_KEY_UINT64(K, wire_name, flags)                                                       \
    static dctx_typed_key_t K = DCTX_KEY_OPTIONS_(wire_name, DCTX_TYPE_UINT64, flags);             \
    DCTX_KEY_SCALAR_FUNCTIONS_(K, uint64_t)
#define DCTX_KEY_DOUBLE(K, wire_name, flags)                                                       \
    static dctx_typed_key_t K = DCTX_KEY_OPTIONS_(wire_name, DCTX_TYPE_DOUBLE, flags);             \
    DCTX_KEY_SCALAR_FUNCTIONS_(K, double)
#define DCTX_KEY_STRUCT(K, wire_name, T, type, flags)                                              \
    static dctx_typed_key_t K = DCTX_KEY_OPTIONS_(wire_name, type, flags);                         \
    DCTX_KEY_STRUCT_FUNCTIONS_(K, T)

/* A key shared by several files: one of these in a header ... */
#define DCTX_DECLARE_KEY_STRING(K)                                                                 \
    extern dctx_typed_key_t K;                                                                     \
    DCTX_KEY_STRING_FUNCTIONS_(K)
#define DCTX_DECLARE_KEY_BYTES(K)                                                                  \
    extern dctx_typed_key_t K;                                                                     \
    DCTX_KEY_BYTES_FUNCTIONS_(K)
#define DCTX_DECLARE_KEY_BOOL(K)                                                                   \
    extern dctx_typed_key_t K;                                                                     \
    DCTX_KEY_SCALAR_FUNCTIONS_(K, bool)
#define DCTX_DECLARE_KEY_INT64(K)                                                                  \
    extern dctx_typed_key_t K;                                                                     \
    DCTX_KEY_SCALAR_FUNCTIONS_(K, int64_t)
#define DCTX_DECLARE_KEY_UINT64(K)                                                                 \
    extern dctx_typed_key_t K;                                                                     \
    DCTX_KEY_SCALAR_FUNCTIONS_(K, uint64_t)
#define DCTX_DECLARE_KEY_DOUBLE(K)                                                                 \
    extern dctx_typed_key_t K;                                                                     \
    DCTX_KEY_SCALAR_FUNCTIONS_(K, double)
#define DCTX_DECLARE_KEY_STRUCT(K, T)                                                              \
    extern dctx_typed_key_t K;                                                                     \
    DCTX_KEY_STRUCT_FUNCTIONS_(K, T)

/* ... and this in one .c file. For every option use the second form with a dctx_key_options_t
 * initialiser:
 *
 *     DCTX_DEFINE_KEY_OPTIONS(order, {.name = "order", .type = &order_type, .version = 3})
 */
#define DCTX_DEFINE_KEY(K, wire_name, type, flags)                                                 \
    dctx_typed_key_t K = DCTX_KEY_OPTIONS_(wire_name, type, flags)
#define DCTX_DEFINE_KEY_OPTIONS(K, ...) dctx_typed_key_t K = {__VA_ARGS__, 0}

#endif
