/*
 * References on a snapshot by the lot. Messages of one context go by the hundred from one thread to
 * another, and a count that both change for each of them would cost more than all the rest. So a
 * thread takes references for several messages at once when it sends the same context again, and
 * drops those of the messages that it has handled together, at the latest when its turn ends.
 */
#ifndef DCTX_LOT_H
#define DCTX_LOT_H

#include <dcontext/internal.h>

enum { DCTX_LOT_GIVEN = 64 };

/* One thread's, and one snapshot's: `count` references. Without any the pointer is no more than
 * what was seen last. */
typedef struct dctx_lot {
    dctx_snapshot_t *snapshot;
    size_t count;
} dctx_lot_t;

static inline void dctx_lot_settle(dctx_lot_t *lot)
{
    size_t count = lot->count;
    lot->count = 0;
    /* Last: it may run destructors. */
    if (count > 0)
        dctx_snapshot_unref_many_(lot->snapshot, count);
}

/* Both; where they are of one snapshot, as they mostly are, at once. */
static inline void dctx_lot_settle_both(dctx_lot_t *given, dctx_lot_t *spent)
{
    if (given->snapshot == spent->snapshot) {
        spent->count += given->count;
        given->count = 0;
    }
    dctx_lot_settle(spent);
    dctx_lot_settle(given);
}

/* The lot is another snapshot's from here on. It is whole before the old references go: their end
 * may run destructors, and these send messages too. */
static inline void dctx_lot_begin(dctx_lot_t *lot, dctx_snapshot_t *snapshot, size_t count)
{
    dctx_lot_t before = *lot;
    *lot = (dctx_lot_t){.snapshot = snapshot, .count = count};
    dctx_lot_settle(&before);
}

/* A reference for a message. */
static inline void dctx_lot_give(dctx_lot_t *lot, dctx_snapshot_t *snapshot)
{
    if (lot->snapshot != snapshot) {
        dctx_snapshot_ref_many_(snapshot, 1);
        dctx_lot_begin(lot, snapshot, 0);
        return;
    }
    if (lot->count == 0) {
        dctx_snapshot_ref_many_(snapshot, DCTX_LOT_GIVEN);
        lot->count = DCTX_LOT_GIVEN;
    }
    lot->count--;
}

/* Takes a message's reference over. */
static inline void dctx_lot_spend(dctx_lot_t *lot, dctx_snapshot_t *snapshot)
{
    if (lot->snapshot == snapshot)
        lot->count++;
    else
        dctx_lot_begin(lot, snapshot, 1);
}

#endif
