/* A table: one slot for each key of a kind, shared by snapshots and threads once it does not change
 * any more. */
#ifndef DCTX_TABLE_H
#define DCTX_TABLE_H

#include "value.h"

typedef struct dctx_table {
    dctx_refcount_t refs;
    uint32_t capacity;
    uint32_t count; /* slots that are not NULL */
    dctx_value_t *slots[];
} dctx_table_t;

/* The table of those that have no value: longer than any registry, never written, not counted. It
 * lies in .bss, so it costs address space and not memory. */
struct dctx_no_table {
    dctx_refcount_t refs;
    uint32_t capacity;
    uint32_t count;
    dctx_value_t *slots[DCTX_SLOTS_MAX];
};
extern struct dctx_no_table dctx_no_table_;
#define DCTX_NO_TABLE ((dctx_table_t *)&dctx_no_table_)

/* With one reference; the slots are not filled. NULL: no memory. */
dctx_table_t *dctx_table_new_(uint32_t capacity);

/* Every slot NULL. */
void dctx_table_blank_(dctx_table_t *table);

/* Makes `table`, whose slots hold nothing, equal to `from`, taking references of its own. */
void dctx_table_fill_(dctx_table_t *table, const dctx_table_t *from);

/* Drops what the slots hold; leaves them as rubbish. */
void dctx_table_vacate_(dctx_table_t *table, dctx_grave_t *grave);

/* Frees a table whose slots hold nothing. NULL is fine. */
void dctx_table_free_(dctx_table_t *table);

static inline dctx_table_t *dctx_table_ref_(dctx_table_t *table)
{
    if (table != DCTX_NO_TABLE)
        dctx_refcount_add(&table->refs, 1);
    return table;
}

static inline void dctx_table_drop_(dctx_table_t *table, dctx_grave_t *grave)
{
    if (table != DCTX_NO_TABLE && dctx_refcount_drop(&table->refs, 1)) {
        dctx_table_vacate_(table, grave);
        dctx_table_free_(table);
    }
}

#endif
