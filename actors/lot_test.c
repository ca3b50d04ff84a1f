#include "lot.h"

#include <criterion/criterion.h>

static int destroyed;
static void (*on_destroy)(void); /* what the next destructor does */

static dctx_error_t copy(void *dst, const void *src)
{
    *(int *)dst = *(const int *)src;
    return DCTX_OK;
}

static void destroy(void *value)
{
    (void)value;
    destroyed++;
    void (*call)(void) = on_destroy;
    on_destroy = NULL;
    if (call != NULL)
        call();
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

/* A message that a destructor sends, in a context of its own. */
static dctx_lot_t busy;
static dctx_snapshot_t *inner;

static void give_inner(void)
{
    for (int i = 0; i < 3; i++)
        dctx_lot_give(&busy, inner);
}

static void spend_inner(void)
{
    dctx_lot_spend(&busy, inner);
}

Test(lot, a_destructor_may_send_while_one_lot_follows_another, .init = init)
{
    dctx_snapshot_t *first = make(), *second = make();
    inner = make();
    dctx_lot_give(&busy, first);
    dctx_lot_give(&busy, first);
    /* All that is left of it is what the lot has. */
    dctx_snapshot_unref_many_(first, 3); /* mine, and the two that were given */
    on_destroy = give_inner;
    dctx_lot_give(&busy, second);
    cr_assert_eq(destroyed, 1);
    dctx_lot_settle(&busy);
    dctx_snapshot_unref_many_(inner, 3);
    dctx_snapshot_unref_many_(second, 1);
    cr_assert_eq(destroyed, 1, "neither has lost one that it did not give");
    dctx_snapshot_unref(&inner);
    dctx_snapshot_unref(&second);
    cr_assert_eq(destroyed, 3);
}

Test(lot, a_destructor_may_take_back_while_one_lot_follows_another, .init = init)
{
    dctx_snapshot_t *first = make(), *second = make();
    inner = make();
    dctx_snapshot_ref_many_(second, 1);
    dctx_snapshot_ref_many_(inner, 1);
    dctx_lot_spend(&busy, first);
    on_destroy = spend_inner;
    dctx_lot_spend(&busy, second);
    cr_assert_eq(destroyed, 1);
    dctx_lot_settle(&busy);
    cr_assert_eq(destroyed, 1, "neither has lost one that was not spent");
    dctx_snapshot_unref(&inner);
    dctx_snapshot_unref(&second);
    cr_assert_eq(destroyed, 3);
}
