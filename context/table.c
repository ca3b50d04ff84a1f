#include "table.h"

#include <string.h>

#include "alloc.h"
#include "fail.h"

_Static_assert(offsetof(struct dctx_no_table, slots) == offsetof(dctx_table_t, slots),
               "the table of no values is a table");

struct dctx_no_table dctx_no_table_;

dctx_table_t *dctx_table_new_(uint32_t capacity)
{
    dctx_table_t *table = dctx_alloc_(dctx_table_size_(capacity));
    if (table == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for the slots of %u keys", capacity);
        return NULL;
    }
    dctx_refcount_init(&table->refs, 1);
    table->capacity = capacity;
    table->count = 0;
    table->home = NULL;
    table->guest = NULL;
    return table;
}

dctx_table_t *dctx_table_place_(void *memory, uint32_t capacity, dctx_owner_t *home)
{
    dctx_table_t *table = memory;
    dctx_refcount_init(&table->refs, 1);
    table->capacity = capacity;
    table->count = 0;
    table->home = home;
    table->guest = NULL;
    for (uint32_t i = 0; i < capacity; i++)
        table->slots[i] = NULL;
    return table;
}

void dctx_table_blank_(dctx_table_t *table)
{
    memset(table->slots, 0, table->capacity * sizeof(table->slots[0]));
    table->count = 0;
}

/* Values that came in one stamp have one owner and mostly lie side by side: one count for a run of
 * them. */
void dctx_table_fill_(dctx_table_t *table, const dctx_table_t *from)
{
    memcpy(table->slots, from->slots, from->capacity * sizeof(table->slots[0]));
    table->count = from->count;
    dctx_owner_t *owner = NULL;
    size_t run = 0;
    for (uint32_t i = 0; i < table->capacity; i++) {
        if (table->slots[i] == NULL)
            continue;
        if (table->slots[i]->owner != owner) {
            if (run > 0)
                dctx_refcount_add(&owner->refs, run);
            owner = table->slots[i]->owner;
            run = 0;
        }
        run++;
    }
    if (run > 0)
        dctx_refcount_add(&owner->refs, run);
}

void dctx_table_vacate_(dctx_table_t *table, dctx_grave_t *grave)
{
    dctx_owner_t *owner = NULL;
    size_t run = 0;
    uint32_t left = table->count;
    for (uint32_t i = 0; left > 0; i++) {
        if (table->slots[i] == NULL)
            continue;
        left--;
        /* This slot's reference is not dropped yet, so the value and its owner are there to be
         * read. */
        if (table->slots[i]->owner != owner) {
            if (run > 0)
                dctx_owner_drop_(owner, run, grave);
            owner = table->slots[i]->owner;
            run = 0;
        }
        run++;
    }
    if (run > 0)
        dctx_owner_drop_(owner, run, grave);
    table->count = 0;
}

void dctx_table_free_(dctx_table_t *table)
{
    dctx_release_(table);
}
