/* A link when memory runs out: any one allocation fails, or all from one on. Errors are told,
 * nothing is lost that was accepted, nothing leaks (the sanitizers look). */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link_fixture.h"

#define MS          INT64_C(1000000)
#define SWEEP_LIMIT 2000

static long allocations; /* since armed */
static long fail_from = -1;
static long fail_to = -1;

static void *allocate(size_t size)
{
    long number = allocations++;
    return number >= fail_from && number < fail_to ? NULL : malloc(size);
}

static void init(void)
{
    static const dctx_allocator_t failing = {allocate, free};
    dctx_set_allocator(&failing);
    fixture_init();
}

static void arm(long from, long to)
{
    allocations = 0;
    fail_from = from;
    fail_to = to;
}

/* Calls again what failed for want of memory; with one failure armed the second call must do. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        dctx_error_t try_error_ = (call);                                                          \
        if (try_error_ == DCTX_ERR_NOMEM)                                                          \
            try_error_ = (call);                                                                   \
        cr_assert_eq(try_error_, DCTX_OK, "%s", dctx_error_detail());                              \
    } while (0)

static void on_message(const char *peer, const dctx_link_message_t *message, void *arg)
{
    node_t *node = arg;
    node->messages++;
    node->in_order = node->in_order && message->correlation == node->next++;
    dctx_link_message_t reply = {.kind = DCTX_LINK_REPLY, .correlation = message->correlation};
    if (message->kind == DCTX_LINK_ASK)
        TRY(dctx_link_send(node->link, peer, &reply));
}

static int64_t clock_of(void *arg)
{
    return ((node_t *)arg)->virtual_now;
}

static bool got_all(node_t *const *nodes, const void *arg)
{
    (void)arg;
    for (int i = 0; i < 2; i++)
        nodes[i]->virtual_now += 20 * MS; /* what is repeated is repeated soon */
    return nodes[0]->messages == 6;
}

/* One round of everything. Returns how many allocations it took. */
static long work(const dctx_snapshot_t *context, long fail)
{
    node_t front = {.in_order = true}, back = {.in_order = true};
    node_t *nodes[] = {&front, &back, NULL};
    dctx_link_options_t options = {
        .heartbeat_ms = 600000, .window = 2, .on_message = on_message, .clock = clock_of};
    arm(fail, fail + 1);
    options.node = "front";
    options.arg = options.clock_arg = &front;
    TRY(dctx_link_new(&options, &front.link));
    options.node = "back";
    options.arg = options.clock_arg = &back;
    TRY(dctx_link_new(&options, &back.link));
    TRY(dctx_link_bind(back.link, "tcp://127.0.0.1:*", &back.endpoint));
    TRY(dctx_link_connect(front.link, "back", back.endpoint));
    for (uint64_t i = 0; i < 6; i++)
        TRY(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", context));
    cr_assert(run_until(nodes, got_all, NULL), "failing allocation %ld", fail);
    cr_assert(front.in_order);
    cr_assert(back.in_order);
    cr_assert_eq(back.messages, 6);
    dctx_link_destroy(&front.link);
    dctx_link_destroy(&back.link);
    return allocations;
}

Test(memory, any_one_allocation_may_fail, .init = init, .timeout = 60)
{
    dctx_snapshot_t *context = make_context("acme", "gateway");
    long fail = 0;
    while (work(context, fail) > fail) {
        fail++;
        cr_assert_lt(fail, SWEEP_LIMIT);
    }
    cr_assert_gt(fail, 10, "the sweep met only %ld allocations", fail);
    arm(-1, -1);
    dctx_snapshot_unref(&context);
}

/* Everything may be refused, but with the right word, and destroy needs no memory. */
static bool refused(dctx_error_t error)
{
    cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM || error == DCTX_ERR_UNREACHABLE, "%s",
              dctx_error_name(error));
    return error != DCTX_OK;
}

static long work_without(const dctx_snapshot_t *context, long from)
{
    node_t front = {.in_order = true}, back = {.in_order = true};
    dctx_link_options_t options = {.heartbeat_ms = 600000, .window = 2, .clock = clock_of};
    const char *endpoint = NULL;
    char name[64];
    snprintf(name, sizeof(name), "inproc://without-%ld", from);
    arm(from, SWEEP_LIMIT * 1000);
    options.node = "front";
    options.clock_arg = &front;
    if (!refused(dctx_link_new(&options, &front.link))) {
        options.node = "back";
        options.clock_arg = &back;
        if (!refused(dctx_link_new(&options, &back.link))) {
            if (!refused(dctx_link_bind(back.link, name, &endpoint)))
                (void)refused(dctx_link_connect(front.link, "back", endpoint));
            for (uint64_t i = 0; i < 6; i++)
                (void)refused(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", context));
            for (int i = 0; i < 50; i++) {
                front.virtual_now += 100 * MS;
                back.virtual_now += 100 * MS;
                (void)dctx_link_process(front.link, 0);
                (void)dctx_link_process(back.link, 0);
            }
        }
    }
    dctx_link_destroy(&front.link);
    dctx_link_destroy(&back.link);
    return allocations;
}

Test(memory, all_from_one_on_may_fail, .init = init, .timeout = 60)
{
    dctx_snapshot_t *context = make_context("acme", "gateway");
    for (long from = 0; from < 60; from++)
        (void)work_without(context, from);
    arm(-1, -1);
    dctx_snapshot_unref(&context);
}
