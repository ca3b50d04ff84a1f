/*
 * dcontext/typed.h - messages with a C type: a wrong one is a compile error.
 *
 *     typedef struct order { char item[32]; int count; } order_t;
 *     static const dctx_type_t order_type = {.name = "shop.order", .size = sizeof(order_t)};
 *     DCTX_MESSAGE(order, order_t, &order_type)          at file scope, in a header too
 *
 *     order_tell(shop, &(order_t){"tea", 2});
 *     const order_t *order = order_get(message);         NULL: it is of another type
 *
 * Each makes, for a message `M` of C type `T`:
 *
 *     const T *M_get(const dctx_message_t *message)      borrowed; `const char *` for a string
 *     dctx_error_t M_tell(dctx_ref_t to, const T *value)
 *     dctx_error_t M_reply(const dctx_message_t *message, const T *value)
 *     dctx_error_t M_ask(dctx_actor_t *self, dctx_ref_t to, const T *value, int64_t timeout_ms,
 *                        dctx_reply_fn on_reply, void *arg)
 *     dctx_error_t M_ask_wait(dctx_ref_t to, const T *value, int64_t timeout_ms,
 *                             dctx_message_t **ret_reply)
 *     dctx_error_t M_group_tell(dctx_system_t *system, const char *group, const T *value,
 *                               dctx_group_sent_t *ret_sent)
 *   and with DCTX_MESSAGE
 *     dctx_error_t M_tell_take(dctx_ref_t to, T *value)
 *     dctx_error_t M_take(const dctx_message_t *message, T *ret_value)
 *
 * DCTX_MESSAGE_STRING, _BYTES, _BOOL, _INT64, _UINT64 and _DOUBLE are of the built-in types;
 * strings are given as `const char *`, bytes by pointer, numbers by value.
 *
 * Ownership, Errors, Thread-safety, Limits and units: as of the functions they stand for.
 */
#ifndef DCONTEXT_TYPED_H
#define DCONTEXT_TYPED_H

#include <dcontext/actor.h>
#include <dcontext/group.h>
#include <dcontext/handling.h>

/*
 * The content of a message of a built-in type, with the C type that it has. NULL: it is of another.
 *
 * Ownership: borrowed, as dctx_message_get(). Errors: NULL. Thread-safety: as dctx_message_get().
 * Limits and units: none.
 */
static inline const char *dctx_message_string(const dctx_message_t *message)
{
    return (const char *)dctx_message_get(message, DCTX_TYPE_STRING);
}
static inline const dctx_bytes_t *dctx_message_bytes(const dctx_message_t *message)
{
    return (const dctx_bytes_t *)dctx_message_get(message, DCTX_TYPE_BYTES);
}
static inline const bool *dctx_message_bool(const dctx_message_t *message)
{
    return (const bool *)dctx_message_get(message, DCTX_TYPE_BOOL);
}
static inline const int64_t *dctx_message_int64(const dctx_message_t *message)
{
    return (const int64_t *)dctx_message_get(message, DCTX_TYPE_INT64);
}
static inline const uint64_t *dctx_message_uint64(const dctx_message_t *message)
{
    return (const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64);
}
static inline const double *dctx_message_double(const dctx_message_t *message)
{
    return (const double *)dctx_message_get(message, DCTX_TYPE_DOUBLE);
}

#define DCTX_MADE_ __attribute__((unused)) static inline

/* T: what is read; V: what is given; P: how a pointer to it is made of `value`. */
#define DCTX_MESSAGE_COMMON_(M, T, V, P, DESCRIPTOR)                                               \
    DCTX_MADE_ const T *M##_get(const dctx_message_t *message)                                     \
    {                                                                                              \
        return (const T *)dctx_message_get(message, (DESCRIPTOR));                                 \
    }                                                                                              \
    DCTX_MUST_CHECK DCTX_MADE_ dctx_error_t M##_tell(dctx_ref_t to, V value)                       \
    {                                                                                              \
        return dctx_tell(to, (DESCRIPTOR), P value);                                               \
    }                                                                                              \
    DCTX_MUST_CHECK DCTX_MADE_ dctx_error_t M##_reply(const dctx_message_t *message, V value)      \
    {                                                                                              \
        return dctx_reply(message, (DESCRIPTOR), P value);                                         \
    }                                                                                              \
    DCTX_MUST_CHECK DCTX_MADE_ dctx_error_t M##_ask(dctx_actor_t *self, dctx_ref_t to, V value,    \
                                                    int64_t timeout_ms, dctx_reply_fn on_reply,    \
                                                    void *arg)                                     \
    {                                                                                              \
        return dctx_ask(self, to, (DESCRIPTOR), P value, timeout_ms, on_reply, arg);               \
    }                                                                                              \
    DCTX_MUST_CHECK DCTX_MADE_ dctx_error_t M##_ask_wait(                                          \
        dctx_ref_t to, V value, int64_t timeout_ms, dctx_message_t **ret_reply)                    \
    {                                                                                              \
        return dctx_ask_wait(to, (DESCRIPTOR), P value, timeout_ms, ret_reply);                    \
    }                                                                                              \
    DCTX_MUST_CHECK DCTX_MADE_ dctx_error_t M##_group_tell(                                        \
        dctx_system_t *system, const char *group, V value, dctx_group_sent_t *ret_sent)            \
    {                                                                                              \
        return dctx_group_tell(system, group, (DESCRIPTOR), P value, ret_sent);                    \
    }

#define DCTX_MESSAGE(M, T, DESCRIPTOR)                                                             \
    DCTX_MESSAGE_COMMON_(M, T, const T *, , DESCRIPTOR)                                            \
    DCTX_MUST_CHECK DCTX_MADE_ dctx_error_t M##_tell_take(dctx_ref_t to, T *value)                 \
    {                                                                                              \
        return dctx_tell_take(to, (DESCRIPTOR), value);                                            \
    }                                                                                              \
    DCTX_MUST_CHECK DCTX_MADE_ dctx_error_t M##_take(const dctx_message_t *message, T *ret_value)  \
    {                                                                                              \
        return dctx_message_take(message, (DESCRIPTOR), ret_value);                                \
    }

#define DCTX_MESSAGE_STRING(M) DCTX_MESSAGE_COMMON_(M, char, const char *, , DCTX_TYPE_STRING)
#define DCTX_MESSAGE_BYTES(M)                                                                      \
    DCTX_MESSAGE_COMMON_(M, dctx_bytes_t, const dctx_bytes_t *, , DCTX_TYPE_BYTES)
#define DCTX_MESSAGE_BOOL(M)   DCTX_MESSAGE_COMMON_(M, bool, bool, &, DCTX_TYPE_BOOL)
#define DCTX_MESSAGE_INT64(M)  DCTX_MESSAGE_COMMON_(M, int64_t, int64_t, &, DCTX_TYPE_INT64)
#define DCTX_MESSAGE_UINT64(M) DCTX_MESSAGE_COMMON_(M, uint64_t, uint64_t, &, DCTX_TYPE_UINT64)
#define DCTX_MESSAGE_DOUBLE(M) DCTX_MESSAGE_COMMON_(M, double, double, &, DCTX_TYPE_DOUBLE)

#endif
