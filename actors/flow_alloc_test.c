/* Streams and delays when there is no memory: each allocation fails once, in turn,
 * in a world where all repeats. */
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/testing.h>

#include "fixture.h"

enum { ITEMS = 10, MS = 1000000 };

static long fails_at = -1, made;
static char text_200[201];

static void *fail_one(size_t size)
{
    return ++made == fails_at ? NULL : malloc(size);
}

static void set_up(void)
{
    static const dctx_allocator_t allocator = {.allocate = fail_one, .release = free};
    dctx_set_allocator(&allocator);
    memset(text_200, 'x', sizeof text_200 - 1);
    fixture_init();
}

static void arm(long nth)
{
    made = 0;
    fails_at = nth;
}

static bool disarm(void)
{
    bool reached = made >= fails_at;
    fails_at = -1;
    return reached;
}

/* ---- streams --------------------------------------------------------------------------------- */

typedef struct side {
    dctx_ref_t to;
    int sent, got, ends, begun;
    bool up, offered;
    dctx_error_t status, refused;
} side_t;

static side_t asker, asked;

static void pump(dctx_actor_t *self, dctx_stream_t stream, void *state, void *arg)
{
    side_t *side = arg;
    dctx_error_t error = DCTX_OK;
    (void)self;
    (void)state;
    while (side->sent < ITEMS && error == DCTX_OK) {
        error = dctx_stream_send(stream, DCTX_TYPE_STRING, text_200);
        side->sent += error == DCTX_OK;
    }
    if (error == DCTX_OK)
        error =
            dctx_stream_end(stream, side->up ? NULL : DCTX_TYPE_STRING, side->up ? NULL : text_200);
    if (error != DCTX_OK && error != DCTX_ERR_AGAIN)
        side->refused = dctx_stream_fail(stream, error, "no memory");
}

static void on_item(dctx_actor_t *self, dctx_stream_t stream, const dctx_message_t *item,
                    void *state, void *arg)
{
    (void)self;
    (void)stream;
    (void)state;
    cr_assert_str_eq(dctx_message_get(item, DCTX_TYPE_STRING), text_200);
    ((side_t *)arg)->got++;
}

static void on_end(dctx_actor_t *self, dctx_stream_t stream, dctx_error_t status,
                   const dctx_message_t *answer, void *state, void *arg)
{
    side_t *side = arg;
    (void)self;
    (void)answer;
    (void)state;
    side->ends++;
    side->status = status;
    if (side == &asked && status == DCTX_OK &&
        dctx_stream_end(stream, DCTX_TYPE_STRING, text_200) != DCTX_OK)
        side->refused = dctx_stream_fail(stream, DCTX_ERR_NOMEM, NULL);
}

static dctx_error_t on_asked(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    side_t *side = state;
    dctx_stream_t stream;
    dctx_stream_options_t options = {
        .window = 3, .on_item = on_item, .on_ready = pump, .on_end = on_end, .arg = side};
    if (side->up)
        return dctx_stream_accept(self, message, &options, &stream);
    dctx_error_t error = dctx_stream_open(self, message, &options, &stream);
    if (error == DCTX_OK)
        pump(self, stream, state, side);
    return error;
}

static dctx_error_t on_start(dctx_actor_t *self, void *state)
{
    side_t *side = state;
    dctx_stream_options_t options = {
        .window = 3, .on_item = on_item, .on_ready = pump, .on_end = on_end, .arg = side};
    dctx_error_t error =
        side->up ? dctx_ask_collect(self, side->to, DCTX_TYPE_STRING, text_200, &options, NULL)
                 : dctx_ask_stream(self, side->to, DCTX_TYPE_STRING, text_200, &options, NULL);
    side->begun += error == DCTX_OK;
    return error;
}

static dctx_error_t no_handler(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

static void check_stream(bool up)
{
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 400);
        dctx_test_world_t *world = NULL;
        cr_assert_eq(dctx_test_world_new(1, &world), DCTX_OK);
        dctx_system_t *system = start(&(dctx_system_options_t){.world = world});
        asker = (side_t){.up = up};
        asked = (side_t){.up = up};
        asker.to = spawn(system, NULL, on_asked, &asked);
        dctx_actor_options_t options = {
            .handler = no_handler, .on_start = on_start, .state = &asker};
        dctx_ref_t ref;
        arm(nth);
        dctx_error_t error = DCTX_ERR_NOMEM;
        DCTX_WITH_SCOPE("edge") {
            error = tenant_set("acme");
            if (error == DCTX_OK)
                error = dctx_spawn(system, &options, &ref);
        }
        cr_assert(dctx_test_run(world));
        reached = disarm();
        cr_assert(dctx_test_run(world));
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
        cr_assert_eq(asker.ends, asker.begun, "it ends once, in whatever way: %ld", nth);
        if (asker.begun > 0 && asker.status == DCTX_OK)
            cr_assert_eq(up ? asked.got : asker.got, ITEMS, "none is lost");
        if (!reached)
            cr_assert_eq(asker.status, DCTX_OK);
        finish(&system);
        dctx_test_world_destroy(&world);
    }
}

Test(flow_alloc, each_allocation_of_a_stream_down, .init = set_up, .timeout = 120)
{
    check_stream(false);
}

Test(flow_alloc, each_allocation_of_a_stream_up, .init = set_up, .timeout = 120)
{
    check_stream(true);
}

/* ---- delays ---------------------------------------------------------------------------------- */

static dctx_verdict_t delay(const dctx_passage_t *passage, void *arg)
{
    (void)arg;
    return passage->delays == 0 ? dctx_passage_delay(passage, MS) : DCTX_CONTINUE;
}

static int replies, last_status;

static void on_reply(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    (void)arg;
    last_status = status;
    replies++;
}

static dctx_error_t answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    cr_assert_str_eq(dctx_message_get(message, DCTX_TYPE_STRING), text_200);
    return dctx_message_is_ask(message) ? dctx_reply(message, NULL, NULL) : DCTX_OK;
}

static void check_delay(bool inbound)
{
    dctx_interceptor_t stage = {.name = "delay"};
    if (inbound)
        stage.inbound = delay;
    else
        stage.outbound = delay;
    bool reached = true;
    for (long nth = 1; reached; nth++) {
        cr_assert_lt(nth, 400);
        dctx_test_world_t *world = NULL;
        cr_assert_eq(dctx_test_world_new(1, &world), DCTX_OK);
        dctx_system_t *system = start(&(dctx_system_options_t){.world = world});
        dctx_ref_t ref = DCTX_REF_NONE;
        replies = 0;
        dctx_actor_options_t options = {.handler = answer,
                                        .interceptors = &stage,
                                        .interceptor_count = 1,
                                        .flags = DCTX_METERED};
        dctx_error_t error = DCTX_OK, told = DCTX_OK;
        arm(nth);
        DCTX_WITH_SCOPE("edge") {
            error = tenant_set("acme");
            if (error == DCTX_OK)
                error = dctx_spawn(system, &options, &ref);
            if (error == DCTX_OK)
                told = dctx_tell(ref, DCTX_TYPE_STRING, text_200);
            if (error == DCTX_OK)
                error = dctx_ask_call(ref, DCTX_TYPE_STRING, text_200, 0, on_reply, NULL);
        }
        cr_assert(dctx_test_advance(world, 2 * MS));
        reached = disarm();
        cr_assert(dctx_test_advance(world, 10000LL * MS));
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM, "%s", dctx_error_name(error));
        cr_assert(told == DCTX_OK || told == DCTX_ERR_NOMEM, "%s", dctx_error_name(told));
        cr_assert_eq(replies, error == DCTX_OK, "%ld", nth);
        if (!reached)
            cr_assert_eq(last_status, DCTX_OK);
        finish(&system);
        dctx_test_world_destroy(&world);
    }
}

Test(flow_alloc, each_allocation_of_a_delay_on_the_way_in, .init = set_up, .timeout = 120)
{
    check_delay(true);
}

Test(flow_alloc, each_allocation_of_a_delay_on_the_way_out, .init = set_up, .timeout = 120)
{
    check_delay(false);
}
