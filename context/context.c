/* Reading and changing the values of the calling thread's context. */
#include <dcontext/context.h>

#include <string.h>

#include "alloc.h"
#include "fail.h"
#include "thread.h"
#include "type.h"

/* ---- reading --------------------------------------------------------------------------------- */

static inline dctx_value_t *find_value(const dctx_key_t *key)
{
    if (__builtin_expect(key == NULL, 0) ||
        __builtin_expect(key->registry != dctx_hot_.registry, 0))
        return NULL;
    return dctx_hot_.table[key->kind]->slots[key->index];
}

const void *(dctx_get)(const dctx_key_t *key)
{
    dctx_value_t *value = find_value(key);
    return value != NULL ? dctx_value_get_(value) : NULL;
}

const void *dctx_get_typed(const dctx_key_t *key, const dctx_type_t *type)
{
    return key != NULL && key->type == type ? dctx_get(key) : NULL;
}

bool dctx_contains(const dctx_key_t *key)
{
    return dctx_get(key) != NULL;
}

const void *dctx_get_slowly_(const dctx_key_t *key)
{
    return (dctx_get)(key);
}

/* ---- who may be written ---------------------------------------------------------------------- */

static const char *type_name(const dctx_type_t *type)
{
    return type->name != NULL ? type->name : "?";
}

/* The calling thread's context, if the key may be set in it; `type` NULL is any. */
static inline dctx_error_t check(const dctx_key_t *key, const dctx_type_t *type,
                                 dctx_thread_t **ret_thread)
{
    if (__builtin_expect(key == NULL, 0))
        return dctx_fail_(DCTX_ERR_UNKNOWN_KEY, "no key (NULL)");
    if (__builtin_expect(!dctx_registry_frozen_(key->registry), 0))
        return dctx_fail_(DCTX_ERR_NOT_FROZEN, "key '%s': its registry is not frozen yet",
                          key->name);
    dctx_thread_t *thread = dctx_thread_();
    if (__builtin_expect(thread == NULL, 0))
        return DCTX_ERR_NOMEM;
    if (__builtin_expect(key->registry != dctx_hot_.registry, 0))
        return dctx_fail_(DCTX_ERR_UNKNOWN_KEY,
                          "key '%s' is not of the registry of this thread's context", key->name);
    if (__builtin_expect(type != NULL && type != key->type, 0))
        return dctx_fail_(DCTX_ERR_TYPE, "key '%s' is of type %s, not %s", key->name,
                          type_name(key->type), type_name(type));
    *ret_thread = thread;
    return DCTX_OK;
}

/* ---- one key --------------------------------------------------------------------------------- */

static inline dctx_error_t put_in(dctx_thread_t *thread, const dctx_key_t *key, dctx_value_t *value)
{
    dctx_grave_t grave = {NULL};
    dctx_error_t error = dctx_thread_set_(thread, key, value, &grave);
    if (__builtin_expect(error != DCTX_OK, 0))
        dctx_value_drop_(value, &grave);
    dctx_grave_empty_(&grave);
    return error;
}

/* Puts in a value that was made for the key; takes the reference also on failure. User code has run
 * since the key was checked, so that is done again. */
static dctx_error_t install(const dctx_key_t *key, dctx_value_t *value)
{
    dctx_thread_t *thread = NULL;
    dctx_error_t error = check(key, NULL, &thread);
    if (error == DCTX_OK)
        return put_in(thread, key, value);
    dctx_grave_t grave = {NULL};
    dctx_value_drop_(value, &grave);
    dctx_grave_empty_(&grave);
    return error;
}

/* Strings mostly are as long as the one before, if they are names and numbers of something. True if
 * it was written over that one. */
static inline bool write_over(dctx_thread_t *thread, const dctx_key_t *key, const char *text)
{
    const dctx_value_t *value = dctx_hot_.table[key->kind]->slots[key->index];
    if (value == NULL || key->type->builtin_ != DCTX_BUILTIN_STRING ||
        dctx_thread_undoes_first_(thread))
        return false;
    size_t size = strlen(text);
    dctx_grave_t grave = {NULL};
    if (!dctx_value_is_as_long_(value, size) || !dctx_thread_yields_(thread, key, value, &grave))
        return false;
    /* It may be the very same one. */
    memmove((char *)(uintptr_t)value->data, text, size);
    dctx_grave_empty_(&grave);
    return true;
}

static inline dctx_error_t set(const dctx_key_t *key, const dctx_type_t *type, const void *value)
{
    dctx_thread_t *thread = NULL;
    dctx_error_t error = check(key, type, &thread);
    if (__builtin_expect(error != DCTX_OK, 0))
        return error;
    if (__builtin_expect(value == NULL, 0))
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': no value (NULL); unset makes it absent",
                          key->name);
    if (write_over(thread, key, value))
        return DCTX_OK;
    dctx_value_t *made = NULL;
    error = dctx_value_new_(key, value, &made);
    if (__builtin_expect(error != DCTX_OK, 0))
        return error;
    /* Copying a built-in type runs no user code, so what was checked still holds. */
    return key->type->copy == NULL || key->type->builtin_ != DCTX_BUILTIN_NONE
               ? put_in(thread, key, made)
               : install(key, made);
}

dctx_error_t dctx_set(const dctx_key_t *key, const void *value)
{
    return set(key, NULL, value);
}

dctx_error_t dctx_set_typed(const dctx_key_t *key, const dctx_type_t *type, const void *value)
{
    if (type == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no type (NULL)");
    return set(key, type, value);
}

dctx_error_t dctx_set_take(const dctx_key_t *key, const dctx_type_t *type, void *value)
{
    dctx_thread_t *thread = NULL;
    if (type == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no type (NULL)");
    dctx_error_t error = check(key, type, &thread);
    if (error != DCTX_OK)
        return error;
    if (value == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': no value (NULL)", key->name);
    if (dctx_type_is_variable_(type))
        return dctx_fail_(DCTX_ERR_TYPE, "key '%s': a %s cannot be taken over", key->name,
                          type_name(type));
    dctx_lone_t *lone = dctx_lone_new_(key, type->size);
    if (lone == NULL)
        return DCTX_ERR_NOMEM;
    memcpy(lone->data, value, type->size);
    dctx_grave_t grave = {NULL};
    error = dctx_thread_set_(thread, key, &lone->value, &grave);
    if (error == DCTX_OK)
        memset(value, 0, type->size);
    else
        dctx_lone_discard_(lone);
    dctx_grave_empty_(&grave);
    return error;
}

dctx_error_t dctx_unset(const dctx_key_t *key)
{
    dctx_thread_t *thread = NULL;
    dctx_error_t error = check(key, NULL, &thread);
    if (error != DCTX_OK)
        return error;
    dctx_grave_t grave = {NULL};
    error = dctx_thread_set_(thread, key, NULL, &grave);
    dctx_grave_empty_(&grave);
    return error;
}

/* A received value that could not be decoded for want of memory: it is not absent, though it cannot
 * be read. */
static bool is_undecided(const dctx_value_t *value)
{
    return __atomic_load_n(&value->data, __ATOMIC_RELAXED) == NULL &&
           !dctx_value_is_working_(value);
}

/* A private copy of what the key has now, or zeroes. */
static dctx_error_t copy_present(const dctx_key_t *key, bool *ret_present, dctx_lone_t **ret_lone)
{
    /* Decoding, and the type's copy, may set the key: the value must outlive that. */
    dctx_grave_t grave = {NULL};
    dctx_value_t *present = find_value(key);
    if (present != NULL)
        dctx_value_ref_(present);
    const void *data = present != NULL ? dctx_value_get_(present) : NULL;
    dctx_error_t error = DCTX_ERR_NOMEM;
    dctx_lone_t *lone = NULL;
    if (present != NULL && data == NULL && is_undecided(present))
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory to decode key '%s'", key->name);
    else
        lone = dctx_lone_new_(key, key->type->size);
    if (lone != NULL) {
        error = DCTX_OK;
        if (data != NULL)
            error = dctx_type_store_(key->type, lone->data, key->type->size, data);
        else
            memset(lone->data, 0, key->type->size);
        if (error != DCTX_OK)
            dctx_lone_discard_(lone);
    }
    dctx_value_drop_(present, &grave);
    dctx_grave_empty_(&grave);
    if (error != DCTX_OK)
        return error;
    *ret_present = data != NULL;
    *ret_lone = lone;
    return DCTX_OK;
}

dctx_error_t dctx_update(const dctx_key_t *key, dctx_update_fn update, void *arg)
{
    dctx_thread_t *thread = NULL;
    dctx_error_t error = check(key, NULL, &thread);
    if (error != DCTX_OK)
        return error;
    if (update == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': no update function", key->name);
    if (dctx_type_is_variable_(key->type))
        return dctx_fail_(DCTX_ERR_TYPE, "key '%s': a %s cannot be updated in place", key->name,
                          type_name(key->type));
    bool present = false;
    dctx_lone_t *lone = NULL;
    error = copy_present(key, &present, &lone);
    if (error != DCTX_OK)
        return error;
    error = update(lone->data, present, arg);
    if (error == DCTX_OK)
        return install(key, &lone->value);
    if (present)
        dctx_type_destroy_(key->type, lone->data);
    dctx_lone_discard_(lone);
    return error;
}

/* ---- many keys ------------------------------------------------------------------------------- */

dctx_error_t dctx_clear(void)
{
    dctx_thread_t *thread = dctx_hot_.thread;
    if (thread == NULL)
        return DCTX_OK;
    dctx_grave_t grave = {NULL};
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++)
        dctx_thread_clear_kind_(thread, kind, &grave);
    if (dctx_thread_state_(thread)->extras != NULL)
        dctx_thread_put_extras_(thread, NULL, &grave);
    dctx_grave_empty_(&grave);
    return DCTX_OK;
}

static dctx_error_t make_values(const dctx_binding_t *bindings, size_t count, dctx_value_t **values,
                                size_t *ret_made)
{
    for (*ret_made = 0; *ret_made < count; ++*ret_made) {
        const dctx_binding_t *binding = &bindings[*ret_made];
        dctx_thread_t *thread = NULL;
        dctx_error_t error = check(binding->key, binding->type, &thread);
        values[*ret_made] = NULL;
        if (error == DCTX_OK && binding->value != NULL)
            error = dctx_value_new_(binding->key, binding->value, &values[*ret_made]);
        if (error != DCTX_OK)
            return error;
    }
    return DCTX_OK;
}

/* Everything that can fail comes first; values are NULL once they are in. */
static dctx_error_t install_all(const dctx_binding_t *bindings, size_t count, dctx_value_t **values,
                                dctx_grave_t *grave)
{
    dctx_thread_t *thread = NULL;
    bool kinds[DCTX_KINDS] = {false, false};
    for (size_t i = 0; i < count; i++) {
        dctx_error_t error = check(bindings[i].key, bindings[i].type, &thread);
        if (error != DCTX_OK)
            return error;
        kinds[bindings[i].key->kind] = true;
    }
    dctx_error_t error = dctx_thread_reserve_(thread, count);
    for (uint32_t kind = 0; kind < DCTX_KINDS && error == DCTX_OK; kind++)
        if (kinds[kind])
            error = dctx_thread_writable_(thread, kind, grave);
    if (error != DCTX_OK)
        return error;
    for (size_t i = 0; i < count; i++) {
        dctx_thread_put_(thread, bindings[i].key, values[i], grave);
        values[i] = NULL;
    }
    return DCTX_OK;
}

dctx_error_t dctx_set_many(const dctx_binding_t *bindings, size_t count)
{
    if (count == 0)
        return DCTX_OK;
    if (bindings == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no bindings (NULL)");
    dctx_value_t *few[16];
    dctx_value_t **values = few;
    if (count > sizeof(few) / sizeof(*few)) {
        values = count <= UINT32_MAX ? dctx_alloc_(count * sizeof(*values)) : NULL;
        if (values == NULL)
            return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %zu values", count);
    }
    dctx_grave_t grave = {NULL};
    size_t made = 0;
    dctx_error_t error = make_values(bindings, count, values, &made);
    if (error == DCTX_OK)
        error = install_all(bindings, count, values, &grave);
    for (size_t i = 0; i < made; i++)
        dctx_value_drop_(values[i], &grave);
    if (values != few)
        dctx_release_(values);
    dctx_grave_empty_(&grave);
    return error;
}

dctx_error_t dctx_merge(const dctx_snapshot_t *snapshot)
{
    if (snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no snapshot (NULL)");
    dctx_thread_t *thread = dctx_thread_();
    if (thread == NULL)
        return DCTX_ERR_NOMEM;
    if (snapshot->registry != dctx_hot_.registry)
        return dctx_fail_(DCTX_ERR_REGISTRY,
                          "the snapshot is of another registry than this thread's context");
    dctx_grave_t grave = {NULL};
    dctx_stamp_t *extras = NULL;
    dctx_error_t error = dctx_thread_reserve_(thread, dctx_snapshot_count(snapshot));
    for (uint32_t kind = 0; kind < DCTX_KINDS && error == DCTX_OK; kind++)
        if (snapshot->table[kind]->count > 0)
            error = dctx_thread_writable_(thread, kind, &grave);
    if (error == DCTX_OK && snapshot->extras != NULL)
        error = dctx_stamp_merge_(dctx_thread_state_(thread)->extras, snapshot->extras, &extras);
    if (error != DCTX_OK) {
        dctx_grave_empty_(&grave);
        return error;
    }
    if (extras != NULL)
        dctx_thread_put_extras_(thread, extras, &grave);
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++) {
        const dctx_table_t *table = snapshot->table[kind];
        for (uint32_t i = 0, left = table->count; left > 0; i++) {
            dctx_value_t *value = table->slots[i];
            if (value == NULL)
                continue;
            left--;
            dctx_value_ref_(value);
            dctx_thread_put_(thread, value->key, value, &grave);
        }
    }
    dctx_grave_empty_(&grave);
    return DCTX_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

bool dctx_is_empty(void)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    return thread == NULL || (thread->top == thread->frames && thread->state->extras == NULL &&
                              dctx_hot_.table[DCTX_KIND_BROADCAST]->count == 0 &&
                              dctx_hot_.table[DCTX_KIND_LOCAL]->count == 0);
}

dctx_registry_t *dctx_current_registry(void)
{
    return dctx_hot_.thread != NULL ? dctx_hot_.registry : dctx_registry_global();
}
