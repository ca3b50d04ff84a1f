/* The asks of other nodes: found, answered, lost with their node. */
#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include <dcontext/runtime.h>

#include "inflight.h"

static void add(dctx_inflight_t *inflight, const char *peer, uint64_t correlation)
{
    dctx_cancel_t *work = dctx_inflight_add(inflight, peer, correlation);
    cr_assert_not_null(work);
    cr_assert_eq(dctx_inflight_find(inflight, peer, correlation), work);
    dctx_cancel_unref(&work);
}

Test(inflight, each_is_found_until_it_is_removed)
{
    enum { COUNT = 2000 };
    dctx_inflight_t inflight = {0};
    cr_assert_null(dctx_inflight_find(&inflight, "a", 1));
    cr_assert(!dctx_inflight_remove(&inflight, "a", 1));
    for (uint64_t i = 0; i < COUNT; i++)
        add(&inflight, i % 2 ? "a" : "b", i);
    cr_assert_eq(inflight.count, COUNT);
    cr_assert_null(dctx_inflight_find(&inflight, "b", 1));
    for (uint64_t i = 0; i < COUNT; i += 2) {
        cr_assert_not_null(dctx_inflight_find(&inflight, "b", i));
        cr_assert(dctx_inflight_remove(&inflight, "b", i));
        cr_assert_null(dctx_inflight_find(&inflight, "b", i));
        cr_assert(!dctx_inflight_remove(&inflight, "b", i));
    }
    cr_assert_eq(inflight.count, COUNT / 2);
    dctx_inflight_finish(&inflight);
}

Test(inflight, a_peer_is_taken_whole)
{
    dctx_inflight_t inflight = {0};
    cr_assert_null(dctx_inflight_take_peer(&inflight, "a"));
    for (uint64_t i = 0; i < 100; i++)
        add(&inflight, i % 4 ? "a" : "b", i);
    int taken = 0;
    for (dctx_flight_t *flight = dctx_inflight_take_peer(&inflight, "a"), *next; flight != NULL;
         flight = next, taken++) {
        next = flight->next;
        cr_assert_neq(flight->correlation % 4, 0);
        dctx_flight_free(flight);
    }
    cr_assert_eq(taken, 75);
    cr_assert_eq(inflight.count, 25);
    cr_assert_not_null(dctx_inflight_find(&inflight, "b", 96));
    cr_assert_null(dctx_inflight_find(&inflight, "a", 97));
    dctx_inflight_finish(&inflight);
}

static int fails_in; /* this many allocations from now one fails; 0: none does */

static void *allocate(size_t size)
{
    return fails_in > 0 && --fails_in == 0 ? NULL : malloc(size);
}

Test(inflight, without_memory_nothing_changes)
{
    static const dctx_allocator_t scarce = {.allocate = allocate, .release = free};
    dctx_inflight_t inflight = {0};
    dctx_set_allocator(&scarce);
    fails_in = 1;
    cr_assert_null(dctx_inflight_add(&inflight, "a", 1), "no bucket");
    fails_in = 2;
    cr_assert_null(dctx_inflight_add(&inflight, "a", 1));
    fails_in = 2;
    cr_assert_null(dctx_inflight_add(&inflight, "a", 1), "no scope");
    cr_assert_eq(inflight.count, 0);
    /* More buckets are but a convenience. */
    for (uint64_t i = 1; i <= 200; i++) {
        fails_in = inflight.count == inflight.capacity ? 1 : 0;
        add(&inflight, "a", i);
    }
    cr_assert_eq(inflight.count, 200);
    dctx_inflight_finish(&inflight);
    dctx_set_allocator(NULL);
}
