/*
 * The children of a supervisor that restarts several together, in the order in which they retire
 * and begin.
 *
 * A child is in one of three heaps by its age, or, when it is to be stopped for good, in none:
 * spared; a member of the round that is up; a member that is down. So each step of a round finds
 * its child at a root, however many children there are, and a failure that concerns all costs only
 * what it makes a member.
 *
 * The parent's turn only.
 */
#ifndef DCTX_ROUND_H
#define DCTX_ROUND_H

#include <stdint.h>

#include "kin.h"
#include "timers.h"

/* All zero: nobody. Must stay where it is. */
typedef struct dctx_round {
    dctx_timers_t heaps[DCTX_BOND_DOWN + 1]; /* by dctx_bond_place_t; that of NOWHERE is empty */
    uint64_t births;
    uint64_t looks; /* at bonds: what it has cost so far, for the tests */
} dctx_round_t;

/* A child that is younger than all others. */
void dctx_round_add_(dctx_round_t *self, dctx_bond_t *bond);
/* It is no child any more. Harmless for one that was never added. */
void dctx_round_remove_(dctx_round_t *self, dctx_bond_t *bond);

/* To be called after a bond's doomed, member or down has changed.
 * Harmless for one that was never added. */
void dctx_round_settle_(dctx_round_t *self, dctx_bond_t *bond);

/* Makes members of all that are spared; with `oldest` of those that are not older than it. */
void dctx_round_widen_(dctx_round_t *self, const dctx_bond_t *oldest);

/* The member that has to retire next, or whose answer is waited for: *ret_wait.
 * NULL: all are down. */
dctx_bond_t *dctx_round_next_up_(dctx_round_t *self, bool *ret_wait);
/* The oldest that is down; NULL: none is. */
dctx_bond_t *dctx_round_oldest_down_(dctx_round_t *self);
/* Any member; NULL: there is none. */
dctx_bond_t *dctx_round_any_(dctx_round_t *self);

#endif
