/* Snapshots made from snapshots: with less, for a peer who may not see all of it; with more, for
 * what a receiver knows of the sender. */
#include <string.h>

#include <dcontext/internal.h>

#include "fail.h"
#include "snapshot.h"

/* A snapshot with the same contents, to be changed before anyone else sees it. */
static dctx_snapshot_t *copy_of(const dctx_snapshot_t *snapshot)
{
    dctx_snapshot_t *copy = dctx_snapshot_new_(snapshot->registry);
    if (copy == NULL)
        return NULL;
    for (int kind = 0; kind < DCTX_KINDS; kind++)
        copy->table[kind] = dctx_table_ref_(snapshot->table[kind]);
    copy->chain = dctx_chain_ref_(snapshot->chain);
    copy->extras = dctx_stamp_ref_(snapshot->extras);
    return copy;
}

/* Makes the copy's table of that kind one that only it has, with all its values. */
static dctx_error_t own_table(dctx_snapshot_t *copy, int kind)
{
    dctx_table_t *shared = copy->table[kind];
    dctx_table_t *table = dctx_table_new_(copy->registry->kind_count[kind]);
    if (table == NULL)
        return DCTX_ERR_NOMEM;
    dctx_table_blank_(table);
    copy->table[kind] = table;
    if (shared == DCTX_NO_TABLE)
        return DCTX_OK;
    dctx_table_fill_(table, shared);
    dctx_grave_t grave = {NULL};
    dctx_table_drop_(shared, &grave);
    /* Each value has a reference of the new table's, so nothing of the old one died. */
    return DCTX_OK;
}

/* ---- with less ------------------------------------------------------------------------------- */

static dctx_error_t copy_once(const dctx_snapshot_t *snapshot, dctx_snapshot_t **copy_p)
{
    if (*copy_p == NULL)
        *copy_p = copy_of(snapshot);
    return *copy_p != NULL ? DCTX_OK : DCTX_ERR_NOMEM;
}

static dctx_error_t filter_values(const dctx_snapshot_t *whole, dctx_keep_fn keep, void *arg,
                                  dctx_grave_t *grave, dctx_snapshot_t **copy_p)
{
    const dctx_table_t *all = whole->table[DCTX_KIND_BROADCAST];
    dctx_table_t *table = NULL;
    for (uint32_t i = 0, left = all->count; left > 0; i++) {
        if (all->slots[i] == NULL)
            continue;
        left--;
        const dctx_key_t *key = all->slots[i]->key;
        if (keep(key, (dctx_bytes_t){key->name, key->name_size}, arg))
            continue;
        if (table == NULL) {
            dctx_error_t error = copy_once(whole, copy_p);
            if (error == DCTX_OK)
                error = own_table(*copy_p, DCTX_KIND_BROADCAST);
            if (error != DCTX_OK)
                return error;
            table = (*copy_p)->table[DCTX_KIND_BROADCAST];
        }
        dctx_value_drop_(table->slots[i], grave);
        table->slots[i] = NULL;
        table->count--;
    }
    return DCTX_OK;
}

static size_t extra_bytes(const dctx_stamp_t *stamp)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < stamp->extra_count; i++)
        bytes += stamp->extras[i].size;
    return bytes;
}

static dctx_error_t filter_extras(const dctx_snapshot_t *whole, dctx_keep_fn keep, void *arg,
                                  dctx_grave_t *grave, dctx_snapshot_t **copy_p)
{
    const dctx_stamp_t *all = whole->extras;
    dctx_stamp_t *kept = dctx_stamp_new_(0, all->extra_count, extra_bytes(all));
    if (kept == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for entries passing through");
    uint32_t used = 0;
    for (uint32_t i = 0; i < all->extra_count; i++) {
        const dctx_extra_t *extra = &all->extras[i];
        if (!keep(NULL, dctx_extra_name_(all, extra), arg))
            continue;
        memcpy(kept->bytes + used, all->bytes + extra->offset, extra->size);
        kept->extras[kept->extra_count] = *extra;
        kept->extras[kept->extra_count++].offset = used;
        used += extra->size;
    }
    dctx_error_t error = DCTX_OK;
    if (kept->extra_count < all->extra_count)
        error = copy_once(whole, copy_p);
    if (error != DCTX_OK || kept->extra_count == all->extra_count) {
        dctx_stamp_drop_(kept, grave);
        return error;
    }
    dctx_stamp_drop_((*copy_p)->extras, grave);
    (*copy_p)->extras = kept;
    if (kept->extra_count == 0) {
        dctx_stamp_drop_(kept, grave);
        (*copy_p)->extras = NULL;
    }
    return DCTX_OK;
}

dctx_error_t dctx_snapshot_filter_(const dctx_snapshot_t *snapshot, dctx_keep_fn keep, void *arg,
                                   bool keep_chain, dctx_snapshot_t **ret_snapshot)
{
    if (snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no snapshot");
    dctx_snapshot_t *copy = NULL;
    dctx_grave_t grave = {NULL};
    dctx_error_t error = filter_values(snapshot, keep, arg, &grave, &copy);
    if (error == DCTX_OK && snapshot->extras != NULL)
        error = filter_extras(snapshot, keep, arg, &grave, &copy);
    if (error == DCTX_OK && !keep_chain && snapshot->chain != NULL) {
        error = copy_once(snapshot, &copy);
        if (error == DCTX_OK) {
            dctx_chain_unref_(copy->chain);
            copy->chain = NULL;
        }
    }
    dctx_grave_empty_(&grave);
    if (error == DCTX_OK)
        *ret_snapshot = dctx_snapshot_ref(copy != NULL ? copy : snapshot);
    dctx_snapshot_unref(&copy);
    return error;
}

bool dctx_snapshot_passes_(const dctx_snapshot_t *snapshot, const dctx_passing_t *passing)
{
    if (snapshot->extras != NULL && !passing->unknown)
        return false;
    const dctx_table_t *table = snapshot->table[DCTX_KIND_BROADCAST];
    if (table->home != NULL)
        return (((const dctx_stamp_t *)table->home)->reaches & ~passing->reaches) == 0;
    for (uint32_t i = 0, left = table->count; left > 0; i++) {
        if (table->slots[i] == NULL)
            continue;
        left--;
        if ((passing->reaches >> table->slots[i]->key->reach & 1) == 0)
            return false;
    }
    return true;
}

/* ---- with more ------------------------------------------------------------------------------- */

static dctx_error_t add_value(dctx_snapshot_t *copy, const dctx_binding_t *binding,
                              dctx_grave_t *grave)
{
    const dctx_key_t *key = binding->key;
    if (key == NULL || key->registry != copy->registry)
        return dctx_fail_(DCTX_ERR_UNKNOWN_KEY, "a key of another registry");
    dctx_value_t *value = NULL;
    dctx_error_t error =
        binding->value != NULL ? dctx_value_new_(key, binding->value, &value) : DCTX_OK;
    if (error != DCTX_OK)
        return error;
    dctx_value_t **slot = &copy->table[key->kind]->slots[key->index];
    copy->table[key->kind]->count += (value != NULL) - (*slot != NULL);
    dctx_value_drop_(*slot, grave);
    *slot = value;
    return DCTX_OK;
}

dctx_error_t dctx_snapshot_with_(const dctx_snapshot_t *snapshot, const dctx_binding_t *bindings,
                                 size_t count, dctx_snapshot_t **ret_snapshot)
{
    if (snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no snapshot");
    dctx_snapshot_t *copy = copy_of(snapshot);
    if (copy == NULL)
        return DCTX_ERR_NOMEM;
    dctx_grave_t grave = {NULL};
    dctx_error_t error = DCTX_OK;
    for (int kind = 0; kind < DCTX_KINDS && error == DCTX_OK; kind++)
        for (size_t i = 0; i < count; i++)
            if (bindings[i].key != NULL && (int)bindings[i].key->kind == kind) {
                error = own_table(copy, kind);
                break;
            }
    for (size_t i = 0; i < count && error == DCTX_OK; i++)
        error = add_value(copy, &bindings[i], &grave);
    dctx_grave_empty_(&grave);
    if (error == DCTX_OK)
        *ret_snapshot = dctx_snapshot_ref(copy);
    dctx_snapshot_unref(&copy);
    return error;
}

/* ---- companions ------------------------------------------------------------------------------ */

dctx_companion_t *dctx_snapshot_companion_(const dctx_snapshot_t *snapshot)
{
    return __atomic_load_n(&snapshot->companion, __ATOMIC_ACQUIRE);
}

bool dctx_snapshot_set_companion_(const dctx_snapshot_t *snapshot, dctx_companion_t *expected,
                                  dctx_companion_t *companion)
{
    dctx_snapshot_t *keeper = (dctx_snapshot_t *)(uintptr_t)snapshot;
    return __atomic_compare_exchange_n(&keeper->companion, &expected, companion, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}
