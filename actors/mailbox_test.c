#include "mailbox.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include <criterion/criterion.h>

typedef struct item {
    dctx_node_t node;
    unsigned sender;
    unsigned number;
} item_t;

typedef struct box {
    dctx_mailbox_in_t in;
    _Alignas(64) dctx_mailbox_out_t out;
} box_t;

static item_t *next_item(box_t *box)
{
    return (item_t *)(void *)dctx_mailbox_peek(&box->out);
}

Test(mailbox, first_in_first_out_and_idle_in_between)
{
    box_t box;
    item_t items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    dctx_mailbox_init(&box.in, &box.out);
    for (int round = 0; round < 3; round++) {
        cr_assert(dctx_mailbox_push(&box.in, &items[0].node), "the first has to wake the receiver");
        cr_assert(!dctx_mailbox_push(&box.in, &items[1].node));
        cr_assert(!dctx_mailbox_push(&box.in, &items[2].node));
        for (unsigned i = 0; i < 3; i++) {
            item_t *item = next_item(&box);
            cr_assert_eq(item, &items[i]);
            cr_assert_eq(next_item(&box), item, "peek takes nothing out");
            cr_assert_eq(dctx_mailbox_has_next(&item->node), i < 2);
            cr_assert_eq(dctx_mailbox_advance(&box.in, &box.out, &item->node),
                         i < 2 ? DCTX_ADVANCE_MORE : DCTX_ADVANCE_IDLE);
        }
    }
}

Test(mailbox, a_node_that_comes_while_the_last_is_handled_needs_no_waking)
{
    box_t box;
    item_t first = {.number = 0}, second = {.number = 1};
    dctx_mailbox_init(&box.in, &box.out);
    cr_assert(dctx_mailbox_push(&box.in, &first.node));
    cr_assert_eq(next_item(&box), &first);
    cr_assert(!dctx_mailbox_push(&box.in, &second.node), "the receiver is at work");
    cr_assert_eq(dctx_mailbox_advance(&box.in, &box.out, &first.node), DCTX_ADVANCE_MORE);
    cr_assert_eq(dctx_mailbox_advance(&box.in, &box.out, &second.node), DCTX_ADVANCE_IDLE);
    cr_assert(dctx_mailbox_push(&box.in, &first.node));
}

Test(mailbox, a_sender_half_way_makes_the_receiver_come_back)
{
    box_t box;
    item_t first = {.number = 0}, second = {.number = 1};
    dctx_mailbox_init(&box.in, &box.out);
    cr_assert(dctx_mailbox_push(&box.in, &first.node));
    cr_assert_eq(next_item(&box), &first);
    /* What a sender does first, and no more of it yet. */
    atomic_store(&second.node.next, NULL);
    uintptr_t before = atomic_exchange(&box.in.head, (uintptr_t)&second.node);
    cr_assert_eq(before, (uintptr_t)&first.node);
    cr_assert_eq(dctx_mailbox_advance(&box.in, &box.out, &first.node), DCTX_ADVANCE_BUSY);
    cr_assert_eq(next_item(&box), &first, "it stays where it is");
    atomic_store(&first.node.next, &second.node);
    cr_assert_eq(dctx_mailbox_advance(&box.in, &box.out, &first.node), DCTX_ADVANCE_MORE);
    cr_assert_eq(dctx_mailbox_advance(&box.in, &box.out, &second.node), DCTX_ADVANCE_IDLE);
}

/* Several senders, and whoever finds the mailbox idle is the receiver for as long as it is not. */
enum { SENDERS = 4, EACH = 20000 };

typedef struct crowd {
    box_t box;
    unsigned next[SENDERS]; /* the receiver's */
    unsigned total;
    _Atomic(int) receivers;
    item_t *items;
} crowd_t;

typedef struct member {
    crowd_t *crowd;
    unsigned number;
} member_t;

static void receive(crowd_t *crowd)
{
    cr_assert_eq(atomic_fetch_add(&crowd->receivers, 1), 0, "two receivers at once");
    dctx_advance_t next;
    do {
        item_t *item;
        while ((item = next_item(&crowd->box)) == NULL)
            sched_yield();
        if (!item->node.spent) {
            cr_assert_eq(item->number, crowd->next[item->sender]);
            crowd->next[item->sender]++;
            crowd->total++;
            item->node.spent = 1;
        }
        /* As soon as it is idle the next one may come in. */
        if (!dctx_mailbox_has_next(&item->node))
            atomic_store(&crowd->receivers, 0);
        next = dctx_mailbox_advance(&crowd->box.in, &crowd->box.out, &item->node);
        if (next != DCTX_ADVANCE_IDLE)
            atomic_store(&crowd->receivers, 1);
    } while (next != DCTX_ADVANCE_IDLE);
}

static void *send_all(void *arg)
{
    member_t *member = arg;
    crowd_t *crowd = member->crowd;
    for (unsigned i = 0; i < EACH; i++) {
        item_t *item = &crowd->items[member->number * EACH + i];
        *item = (item_t){.sender = member->number, .number = i};
        if (dctx_mailbox_push(&crowd->box.in, &item->node))
            receive(crowd);
    }
    return NULL;
}

Test(mailbox, one_receiver_at_a_time_and_each_sender_in_order, .timeout = 60)
{
    crowd_t *crowd = aligned_alloc(64, sizeof *crowd);
    cr_assert_not_null(crowd);
    *crowd = (crowd_t){0};
    crowd->items = calloc(SENDERS * EACH, sizeof(item_t));
    cr_assert_not_null(crowd->items);
    dctx_mailbox_init(&crowd->box.in, &crowd->box.out);
    pthread_t threads[SENDERS];
    member_t members[SENDERS];
    for (unsigned i = 0; i < SENDERS; i++) {
        members[i] = (member_t){.crowd = crowd, .number = i};
        cr_assert_eq(pthread_create(&threads[i], NULL, send_all, &members[i]), 0);
    }
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(crowd->total, SENDERS * EACH);
    free(crowd->items);
    free(crowd);
}
