#include "snapshot.h"

#include "alloc.h"
#include "fail.h"
#include "thread.h"

/* ---- life ------------------------------------------------------------------------------------ */

dctx_snapshot_t *dctx_snapshot_new_(dctx_registry_t *registry)
{
    dctx_snapshot_t *snapshot = dctx_alloc_(sizeof(*snapshot));
    if (snapshot == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a snapshot");
        return NULL;
    }
    dctx_snapshot_init_(snapshot, registry);
    return snapshot;
}

/*
 * What a snapshot that lies in a stamp's memory holds. Its table, what passes through and itself
 * have a reference on the stamp each: mostly they are the last, and go as one. The chain is the
 * stamp's if that has one.
 */
static inline void drop_home(const dctx_snapshot_t *snapshot, dctx_grave_t *grave)
{
    dctx_owner_t *home = snapshot->home;
    dctx_table_t *table = snapshot->table[DCTX_KIND_BROADCAST];
    size_t count = 1 + (snapshot->extras != NULL);
    if (table != DCTX_NO_TABLE && dctx_refcount_drop(&table->refs, 1)) {
        dctx_value_drop_(table->guest, grave);
        count++;
    }
    if (((const dctx_stamp_t *)home)->chain == NULL)
        dctx_chain_unref_(snapshot->chain);
    dctx_owner_drop_(home, count, grave);
}

/* Frees a snapshot without references; its one on the registry goes to the caller. */
static dctx_registry_t *take_apart(dctx_snapshot_t *snapshot, dctx_grave_t *grave)
{
    dctx_registry_t *registry = snapshot->registry;
    if (snapshot->home == NULL) {
        for (uint32_t kind = 0; kind < DCTX_KINDS; kind++)
            dctx_table_drop_(snapshot->table[kind], grave);
        dctx_stamp_drop_(snapshot->extras, grave);
        dctx_chain_unref_(snapshot->chain);
    }
    dctx_wire_free_(snapshot->wire);
    if (snapshot->broadcast != NULL)
        dctx_snapshot_drop_(snapshot->broadcast, grave);
    if (snapshot->companion != NULL)
        snapshot->companion->destroy(snapshot->companion);
    if (snapshot->home != NULL)
        drop_home(snapshot, grave);
    else
        dctx_release_(snapshot);
    return registry;
}

void dctx_snapshot_drop_(dctx_snapshot_t *snapshot, dctx_grave_t *grave)
{
    if (dctx_refcount_drop(&snapshot->refs, 1))
        dctx_registry_unref_(take_apart(snapshot, grave));
}

dctx_snapshot_t *dctx_snapshot_ref(const dctx_snapshot_t *snapshot)
{
    /* Counting is not a change that anyone sees. */
    dctx_snapshot_t *counted = (dctx_snapshot_t *)(uintptr_t)snapshot;
    if (counted != NULL)
        dctx_refcount_add(&counted->refs, 1);
    return counted;
}

void dctx_snapshot_bury_(dctx_snapshot_t *snapshot)
{
    dctx_grave_t grave = {NULL};
    dctx_registry_t *registry = take_apart(snapshot, &grave);
    dctx_grave_empty_(&grave);
    dctx_registry_unref_(registry);
}

void dctx_snapshot_unref(dctx_snapshot_t **snapshot_p)
{
    if (snapshot_p == NULL || *snapshot_p == NULL)
        return;
    dctx_snapshot_t *snapshot = *snapshot_p;
    *snapshot_p = NULL;
    if (dctx_refcount_drop(&snapshot->refs, 1))
        dctx_snapshot_bury_(snapshot);
}

void dctx_snapshot_ref_many_(const dctx_snapshot_t *snapshot, size_t count)
{
    dctx_refcount_add(&((dctx_snapshot_t *)(uintptr_t)snapshot)->refs, count);
}

void dctx_snapshot_unref_many_(dctx_snapshot_t *snapshot, size_t count)
{
    if (dctx_refcount_drop(&snapshot->refs, count))
        dctx_snapshot_bury_(snapshot);
}

/* ---- taking ---------------------------------------------------------------------------------- */

static dctx_error_t make(dctx_thread_t *thread, uint32_t which, dctx_snapshot_t **ret_snapshot)
{
    uint32_t kinds = which == DCTX_FORK ? DCTX_KINDS : 1;
    for (uint32_t kind = 0; kind < kinds; kind++) {
        dctx_error_t error = dctx_thread_prepare_share_(thread, kind);
        if (error != DCTX_OK)
            return error;
    }
    dctx_chain_t *chain = NULL;
    dctx_error_t error = dctx_thread_chain_(thread, &chain);
    if (error != DCTX_OK)
        return error;
    dctx_snapshot_t *snapshot = dctx_snapshot_new_(dctx_hot_.registry);
    if (snapshot == NULL) {
        dctx_chain_unref_(chain);
        return DCTX_ERR_NOMEM;
    }
    snapshot->chain = chain;
    snapshot->extras = dctx_stamp_ref_(thread->state->extras);
    for (uint32_t kind = 0; kind < kinds; kind++)
        snapshot->table[kind] = dctx_thread_share_(thread, kind);
    dctx_snapshot_note_due_(snapshot);
    *ret_snapshot = snapshot;
    return DCTX_OK;
}

static __attribute__((noinline)) dctx_error_t take_slow(uint32_t which,
                                                        dctx_snapshot_t **ret_snapshot)
{
    dctx_thread_t *thread = dctx_thread_();
    if (thread == NULL)
        return DCTX_ERR_NOMEM;
    if (!dctx_registry_frozen_(dctx_hot_.registry))
        return dctx_fail_(DCTX_ERR_NOT_FROZEN, "freeze the registry before taking snapshots");
    /* A fork is work for whoever the thread works for, and shares its fate. */
    if (which == DCTX_FORK && __builtin_expect(dctx_hot_.asked != NULL, 0)) {
        dctx_error_t joined = dctx_cancel_join_();
        if (joined != DCTX_OK)
            return joined;
    }
    dctx_state_t *state = dctx_thread_state_(thread);
    if (state->kept.cached[which] != NULL) {
        *ret_snapshot = dctx_snapshot_ref(state->kept.cached[which]);
        return DCTX_OK;
    }
    dctx_snapshot_t *snapshot = NULL;
    /* What stands for the whole state says what of it may leave, and keeps that. */
    dctx_error_t error = which == DCTX_CAPTURE && state->kept.cached[DCTX_FORK] != NULL
                             ? dctx_snapshot_broadcast(state->kept.cached[DCTX_FORK], &snapshot)
                             : make(thread, which, &snapshot);
    if (error != DCTX_OK)
        return error;
    state->kept.cached[which] = snapshot;
    /* The attached one is in the cache without a reference. */
    *ret_snapshot = snapshot != state->attached ? dctx_snapshot_ref(snapshot) : snapshot;
    return DCTX_OK;
}

/* What is attached, if it is what a snapshot of the pristine state would be,
 * and its registry is frozen as it must. */
static inline dctx_snapshot_t *attached_for(const dctx_thread_t *thread, uint32_t which)
{
    dctx_snapshot_t *attached = thread->state->attached;
    if (dctx_thread_named_(thread) > 0 ||
        (which == DCTX_CAPTURE && attached->table[DCTX_KIND_LOCAL]->count > 0))
        return NULL;
    return attached;
}

static inline dctx_error_t take(uint32_t which, dctx_snapshot_t **ret_snapshot)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    if (__builtin_expect(thread == NULL, 0) ||
        (which == DCTX_FORK && __builtin_expect(dctx_hot_.asked != NULL, 0)))
        return take_slow(which, ret_snapshot);
    dctx_snapshot_t *cached =
        thread->state->pristine ? attached_for(thread, which) : thread->state->kept.cached[which];
    if (__builtin_expect(cached == NULL, 0))
        return take_slow(which, ret_snapshot);
    dctx_refcount_add(&cached->refs, 1);
    *ret_snapshot = cached;
    return DCTX_OK;
}

bool dctx_travels_(void)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    if (thread == NULL)
        return false;
    const dctx_state_t *state = thread->state;
    return dctx_hot_.table[DCTX_KIND_BROADCAST]->count > 0 || dctx_thread_named_(thread) > 0 ||
           dctx_thread_base_chain_(thread) != NULL ||
           (state->pristine ? state->attached->extras : state->extras) != NULL;
}

const dctx_snapshot_t *dctx_captured_(void)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    return thread != NULL && !thread->state->pristine ? thread->state->kept.cached[DCTX_CAPTURE]
                                                      : NULL;
}

dctx_snapshot_t *dctx_forked_before_(void)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    return thread != NULL && !thread->state->pristine ? thread->state->kept.cached[DCTX_FORK]
                                                      : NULL;
}

dctx_error_t dctx_capture(dctx_snapshot_t **ret_snapshot)
{
    return take(DCTX_CAPTURE, ret_snapshot);
}

dctx_error_t dctx_fork(dctx_snapshot_t **ret_snapshot)
{
    return take(DCTX_FORK, ret_snapshot);
}

dctx_error_t dctx_snapshot_empty(dctx_registry_t *registry, dctx_snapshot_t **ret_snapshot)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return DCTX_ERR_NOMEM;
    if (!dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_NOT_FROZEN, "freeze the registry before taking snapshots");
    dctx_snapshot_t *snapshot = dctx_snapshot_new_(registry);
    if (snapshot == NULL)
        return DCTX_ERR_NOMEM;
    *ret_snapshot = snapshot;
    return DCTX_OK;
}

dctx_error_t dctx_snapshot_broadcast(const dctx_snapshot_t *snapshot,
                                     dctx_snapshot_t **ret_snapshot)
{
    if (snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no snapshot");
    if (snapshot->table[DCTX_KIND_LOCAL]->count == 0) {
        *ret_snapshot = dctx_snapshot_ref(snapshot);
        return DCTX_OK;
    }
    dctx_snapshot_t *whole = (dctx_snapshot_t *)(uintptr_t)snapshot;
    dctx_snapshot_t *known = __atomic_load_n(&whole->broadcast, __ATOMIC_ACQUIRE);
    if (known == NULL) {
        dctx_snapshot_t *made = dctx_snapshot_new_(whole->registry);
        if (made == NULL)
            return DCTX_ERR_NOMEM;
        made->table[DCTX_KIND_BROADCAST] = dctx_table_ref_(whole->table[DCTX_KIND_BROADCAST]);
        made->chain = dctx_chain_ref_(whole->chain);
        made->extras = dctx_stamp_ref_(whole->extras);
        dctx_snapshot_note_due_(made);
        if (__atomic_compare_exchange_n(&whole->broadcast, &known, made, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            known = made;
        else
            dctx_snapshot_unref(&made);
    }
    *ret_snapshot = dctx_snapshot_ref(known);
    return DCTX_OK;
}

/* ---- looking inside -------------------------------------------------------------------------- */

const void *dctx_snapshot_get(const dctx_snapshot_t *snapshot, const dctx_key_t *key)
{
    if (snapshot == NULL || key == NULL || key->registry != snapshot->registry)
        return NULL;
    dctx_value_t *value = snapshot->table[key->kind]->slots[key->index];
    return value != NULL ? dctx_value_get_(value) : NULL;
}

dctx_registry_t *dctx_snapshot_registry(const dctx_snapshot_t *snapshot)
{
    return snapshot != NULL ? snapshot->registry : NULL;
}

bool dctx_snapshot_is_empty(const dctx_snapshot_t *snapshot)
{
    return snapshot == NULL || (dctx_snapshot_count(snapshot) == 0 && snapshot->extras == NULL &&
                                snapshot->chain == NULL);
}

size_t dctx_snapshot_count(const dctx_snapshot_t *snapshot)
{
    return snapshot != NULL ? (size_t)snapshot->table[DCTX_KIND_BROADCAST]->count +
                                  snapshot->table[DCTX_KIND_LOCAL]->count
                            : 0;
}

size_t dctx_snapshot_unknown_count(const dctx_snapshot_t *snapshot)
{
    return snapshot != NULL && snapshot->extras != NULL ? snapshot->extras->extra_count : 0;
}

dctx_bytes_t dctx_snapshot_unknown_name(const dctx_snapshot_t *snapshot, size_t index)
{
    if (index >= dctx_snapshot_unknown_count(snapshot))
        return (dctx_bytes_t){NULL, 0};
    return dctx_extra_name_(snapshot->extras, &snapshot->extras->extras[index]);
}

size_t dctx_snapshot_chain_format(const dctx_snapshot_t *snapshot, char *buffer, size_t size)
{
    if (snapshot == NULL) {
        if (size > 0)
            buffer[0] = '\0';
        return 0;
    }
    return dctx_chain_format_(snapshot->chain, NULL, 0, &snapshot->registry->limits, buffer, size);
}

size_t dctx_snapshot_chain_length(const dctx_snapshot_t *snapshot)
{
    return snapshot != NULL && snapshot->chain != NULL ? snapshot->chain->count : 0;
}

uint64_t dctx_snapshot_chain_elided(const dctx_snapshot_t *snapshot)
{
    return snapshot != NULL && snapshot->chain != NULL ? snapshot->chain->elided : 0;
}

dctx_bytes_t dctx_snapshot_chain_name(const dctx_snapshot_t *snapshot, size_t index)
{
    return snapshot != NULL ? dctx_chain_name_(snapshot->chain, index) : (dctx_bytes_t){NULL, 0};
}
