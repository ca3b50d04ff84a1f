#include "round.h"

/* The first of a heap is the youngest, but of those that are down the oldest. */
static int64_t key_of(const dctx_bond_t *bond, dctx_bond_place_t place)
{
    return place == DCTX_BOND_DOWN ? (int64_t)bond->born : -(int64_t)bond->born;
}

static dctx_bond_t *bond_of(dctx_round_t *self, dctx_timer_node_t *node)
{
    if (node == NULL)
        return NULL;
    self->looks++;
    return (dctx_bond_t *)(void *)((unsigned char *)node - offsetof(dctx_bond_t, node));
}

static dctx_bond_t *first(dctx_round_t *self, dctx_bond_place_t place)
{
    return bond_of(self, self->heaps[place].root);
}

static void put(dctx_round_t *self, dctx_bond_t *bond, dctx_bond_place_t place)
{
    (void)dctx_timers_remove(&self->heaps[bond->place], &bond->node);
    bond->place = (uint8_t)place;
    if (place != DCTX_BOND_NOWHERE)
        dctx_timers_add(&self->heaps[place], &bond->node, key_of(bond, place));
}

void dctx_round_add_(dctx_round_t *self, dctx_bond_t *bond)
{
    bond->born = ++self->births;
    dctx_round_settle_(self, bond);
}

void dctx_round_remove_(dctx_round_t *self, dctx_bond_t *bond)
{
    put(self, bond, DCTX_BOND_NOWHERE);
    bond->born = 0;
}

void dctx_round_settle_(dctx_round_t *self, dctx_bond_t *bond)
{
    dctx_bond_place_t place = bond->doomed    ? DCTX_BOND_NOWHERE
                              : !bond->member ? DCTX_BOND_SPARED
                              : bond->down    ? DCTX_BOND_DOWN
                                              : DCTX_BOND_UP;
    if (bond->born == 0 || bond->place == place)
        return;
    self->looks++;
    put(self, bond, place);
}

void dctx_round_widen_(dctx_round_t *self, const dctx_bond_t *oldest)
{
    dctx_timers_t *spared = &self->heaps[DCTX_BOND_SPARED];
    int64_t last = oldest != NULL ? key_of(oldest, DCTX_BOND_SPARED) : INT64_MAX;
    for (dctx_bond_t *bond; (bond = bond_of(self, dctx_timers_pop(spared, last))) != NULL;) {
        bond->member = true;
        dctx_round_settle_(self, bond);
    }
}

static bool is_ordered(const dctx_bond_t *bond)
{
    return bond->state == DCTX_BOND_RETIRING || bond->state == DCTX_BOND_BEGINNING;
}

dctx_bond_t *dctx_round_next_up_(dctx_round_t *self, bool *ret_wait)
{
    dctx_bond_t *up = first(self, DCTX_BOND_UP), *down = first(self, DCTX_BOND_DOWN);
    /* One that is beginning is the oldest that is down.
     * Those that are younger need not wait for it. */
    if (down != NULL && is_ordered(down) && (up == NULL || up->born < down->born))
        up = down;
    *ret_wait = up != NULL && is_ordered(up);
    return up;
}

dctx_bond_t *dctx_round_oldest_down_(dctx_round_t *self)
{
    return first(self, DCTX_BOND_DOWN);
}

dctx_bond_t *dctx_round_any_(dctx_round_t *self)
{
    dctx_bond_t *down = first(self, DCTX_BOND_DOWN);
    return down != NULL ? down : first(self, DCTX_BOND_UP);
}
