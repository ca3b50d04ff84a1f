#include "lot.h"

#include <criterion/criterion.h>

static int destroyed;

static dctx_error_t copy(void *dst, const void *src)
{
    *(int *)dst = *(const int *)src;
    return DCTX_OK;
}

static void destroy(void *value)
{
    (void)value;
    destroyed++;
}

static const dctx_type_t counted = {
    .name = "counted", .size = sizeof(int), .copy = copy, .destroy = destroy};
static const dctx_key_t *key;

static void init(void)
{
    const dctx_key_options_t options = {.name = "counted", .type = &counted, .flags = DCTX_LOCAL};
    cr_assert_eq(dctx_registry_add(NULL, &options, &key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

/* One with a value of its own, whose end is seen. */
static dctx_snapshot_t *make(void)
{
    const int value = 1;
    dctx_scope_t scope;
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(dctx_scope_push(NULL, &scope), DCTX_OK);
    cr_assert_eq(dctx_set(key, &value), DCTX_OK);
    cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    return snapshot;
}

Test(lot, what_is_given_and_spent_adds_up, .init = init)
{
    dctx_lot_t given = {NULL, 0}, spent = {NULL, 0};
    dctx_snapshot_t *snapshots[2] = {make(), make()};
    /* In runs of several lengths, and past a lot's size. */
    for (int run = 1; run < 3 * DCTX_LOT_GIVEN; run += 17)
        for (int i = 0; i < run; i++) {
            dctx_snapshot_t *snapshot = snapshots[run % 2];
            dctx_lot_give(&given, snapshot);
            dctx_lot_spend(&spent, snapshot);
        }
    cr_assert_eq(destroyed, 0);
    dctx_lot_settle(&given);
    dctx_lot_settle(&spent);
    dctx_lot_settle(&spent);
    cr_assert_eq(destroyed, 0);
    dctx_snapshot_unref(&snapshots[0]);
    cr_assert_eq(destroyed, 1);
    dctx_snapshot_unref(&snapshots[1]);
    cr_assert_eq(destroyed, 2);
}

Test(lot, the_last_reference_may_be_among_the_spent, .init = init)
{
    dctx_lot_t given = {NULL, 0}, spent = {NULL, 0};
    dctx_snapshot_t *snapshot = make(), *mine = snapshot;
    for (int i = 0; i < 10; i++)
        dctx_lot_give(&given, snapshot);
    dctx_snapshot_unref(&mine);
    for (int i = 0; i < 10; i++)
        dctx_lot_spend(&spent, snapshot);
    dctx_lot_settle(&spent);
    cr_assert_eq(destroyed, 0);
    dctx_lot_settle(&given);
    cr_assert_eq(destroyed, 1);
}
