/* The tables of monitors between nodes. */
#include <stdlib.h>

#include <criterion/criterion.h>

#include "far.h"

Test(far, each_is_found_until_it_is_removed)
{
    enum { COUNT = 3000 };
    dctx_far_table_t table = {0};
    dctx_far_t *all = calloc(COUNT, sizeof *all);
    cr_assert_null(dctx_far_find(&table, "a", 1));
    cr_assert_null(dctx_far_any(&table, "a"));
    cr_assert_null(dctx_far_any(&table, NULL));
    for (uint64_t i = 0; i < COUNT; i++)
        cr_assert(dctx_far_add(&table, i % 3 == 0 ? "a" : "b", i / 3, &all[i]));
    cr_assert_eq(table.count, COUNT);
    cr_assert_eq(dctx_far_count(&table, "a"), COUNT / 3);
    cr_assert_eq(dctx_far_count(&table, "b"), COUNT / 3 * 2);
    cr_assert_eq(dctx_far_count(&table, "c"), 0);
    cr_assert_eq(dctx_far_find(&table, "a", 5), &all[15]);
    cr_assert_null(dctx_far_find(&table, "c", 5));
    for (uint64_t i = 0; i < COUNT; i += 3) {
        dctx_far_remove(&table, &all[i]);
        cr_assert_null(all[i].node);
        cr_assert_null(dctx_far_find(&table, "a", i / 3));
        cr_assert_not_null(dctx_far_find(&table, "b", i / 3));
    }
    cr_assert_null(dctx_far_any(&table, "a"), "a node without any is forgotten");
    cr_assert_eq(dctx_far_count(&table, "a"), 0);
    dctx_far_t *far;
    size_t left = COUNT / 3 * 2;
    while ((far = dctx_far_any(&table, left % 2 ? "b" : NULL)) != NULL) {
        dctx_far_remove(&table, far);
        cr_assert_eq(table.count, --left);
    }
    cr_assert_eq(left, 0);
    cr_assert_null(table.nodes);
    dctx_far_table_finish(&table);
    free(all);
}
