/* A table: one slot for each key of a kind, shared by snapshots and threads once it does not change
 * any more. */
#ifndef DCTX_TABLE_H
#define DCTX_TABLE_H

#include "value.h"

/*
 * One that came in a stamp lies in the stamp's memory, with a reference on it that stands for all
 * values in it but the guest: they have none of their own. Such a table is never written to.
 */
typedef struct dctx_table {
    dctx_refcount_t refs;
    uint32_t capacity;
    uint32_t count;      /* slots that are not NULL */
    dctx_owner_t *home;  /* in whose memory it lies; NULL: its own */
    dctx_value_t *guest; /* in such a table, the value that is not of the stamp; NULL: none */
    dctx_value_t *slots[];
} dctx_table_t;

static inline size_t dctx_table_size_(size_t capacity)
{
    return sizeof(dctx_table_t) + capacity * sizeof(dctx_value_t *);
}

/* The table of those that have no value: longer than any registry, never written, not counted. It
 * lies in .bss, so it costs address space and not memory. */
struct dctx_no_table {
    dctx_refcount_t refs;
    uint32_t capacity;
    uint32_t count;
    dctx_owner_t *home;
    dctx_value_t *guest;
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

/* Makes memory of dctx_table_size_() bytes, in a stamp, a table of nothing. The reference on `home`
 * is the caller's to count. */
dctx_table_t *dctx_table_place_(void *memory, uint32_t capacity, dctx_owner_t *home);

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
        if (table->home != NULL) {
            dctx_value_drop_(table->guest, grave);
            dctx_owner_drop_(table->home, 1, grave);
            return;
        }
        dctx_table_vacate_(table, grave);
        dctx_table_free_(table);
    }
}

#endif
