/* Streams: in order, whole, within the window, and over exactly once; here and between nodes. */
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "channel.h"
#include "fixture.h"
#include "system.h"

enum { ITEMS = 2000, WINDOW = 8 };

/* Who sends, be it asked or asking, and who receives. */
typedef struct sender {
    dctx_stream_t stream;
    uint64_t sent, items;
    uint64_t most; /* sent before the receiver had handled any */
    bool stay;     /* it does not end the stream */
    gate_t opened, ended, full;
    dctx_error_t status;
    dctx_error_t refused; /* what a send said that was not AGAIN */
    uint64_t answer;
    char tenant[16];
} sender_t;

typedef struct receiver {
    dctx_ref_t to;
    dctx_stream_t stream;
    uint64_t got, sum;
    uint64_t cancel_at, stop_at;
    bool stuck; /* it cancels nothing, and lets the first item wait for `go` */
    gate_t begun, go, ended;
    dctx_error_t status;
    char reason[64];
    uint64_t answer;
    uint32_t window;
    int64_t timeout_ms;
    bool wrong;
} receiver_t;

static void note_tenant(char *place, size_t size)
{
    snprintf(place, size, "%s", tenant_get_or(""));
}

/* ---- sending --------------------------------------------------------------------------------- */

static void pump(dctx_actor_t *self, dctx_stream_t stream, void *state, void *arg)
{
    sender_t *sender = arg;
    (void)self;
    (void)state;
    while (sender->sent < sender->items) {
        dctx_error_t error = dctx_stream_send(stream, DCTX_TYPE_UINT64, &sender->sent);
        if (error == DCTX_ERR_AGAIN) {
            gate_pass(&sender->full);
            return;
        }
        if (error != DCTX_OK) {
            sender->refused = error;
            return;
        }
        sender->sent++;
    }
    if (!sender->stay)
        cr_assert_eq(dctx_stream_end(stream, DCTX_TYPE_UINT64, &sender->sent), DCTX_OK);
}

static void sender_ended(dctx_actor_t *self, dctx_stream_t stream, dctx_error_t status,
                         const dctx_message_t *answer, void *state, void *arg)
{
    sender_t *sender = arg;
    (void)self;
    (void)state;
    const uint64_t *value = dctx_message_get(answer, DCTX_TYPE_UINT64);
    sender->status = status;
    sender->answer = value != NULL ? *value : 0;
    cr_assert_eq(dctx_stream_send(stream, NULL, NULL), DCTX_ERR_NOT_OPEN);
    gate_pass(&sender->ended);
}

static dctx_error_t on_request(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    sender_t *sender = state;
    dctx_stream_options_t options = {.on_ready = pump, .on_end = sender_ended, .arg = sender};
    if (dctx_message_get(message, DCTX_TYPE_BOOL) != NULL) /* the end */
        return dctx_stream_end(sender->stream, DCTX_TYPE_UINT64, &sender->sent);
    dctx_error_t error = dctx_stream_open(self, message, &options, &sender->stream);
    if (error != DCTX_OK)
        return error;
    note_tenant(sender->tenant, sizeof sender->tenant);
    pump(self, sender->stream, state, sender);
    sender->most = sender->sent;
    gate_pass(&sender->opened);
    return DCTX_OK;
}

/* ---- receiving ------------------------------------------------------------------------------- */

static void on_item(dctx_actor_t *self, dctx_stream_t stream, const dctx_message_t *item,
                    void *state, void *arg)
{
    receiver_t *receiver = arg;
    (void)state;
    const uint64_t *value = dctx_message_get(item, DCTX_TYPE_UINT64);
    receiver->wrong |=
        value == NULL || *value != receiver->got || strcmp(tenant_get_or(""), "acme") != 0;
    receiver->got++;
    receiver->sum += value != NULL ? *value : 0;
    gate_pass(&receiver->begun);
    if (receiver->stuck && receiver->got == 1)
        cr_assert(gate_wait(&receiver->go, 1));
    if (receiver->got == receiver->cancel_at)
        cr_assert_eq(dctx_stream_fail(stream, DCTX_ERR_CANCELLED, "enough"), DCTX_OK);
    if (receiver->got == receiver->stop_at)
        dctx_self_stop(self);
}

static void receiver_ended(dctx_actor_t *self, dctx_stream_t stream, dctx_error_t status,
                           const dctx_message_t *answer, void *state, void *arg)
{
    receiver_t *receiver = arg;
    (void)self;
    (void)stream;
    (void)state;
    const uint64_t *value = dctx_message_get(answer, DCTX_TYPE_UINT64);
    receiver->status = status;
    receiver->answer = value != NULL ? *value : 0;
    snprintf(receiver->reason, sizeof receiver->reason, "%s", dctx_message_reason(answer));
    receiver->wrong |= strcmp(tenant_get_or(""), "acme") != 0;
    gate_pass(&receiver->ended);
}

static dctx_stream_options_t receiving(receiver_t *receiver)
{
    return (dctx_stream_options_t){.window = receiver->window,
                                   .timeout_ms = receiver->timeout_ms,
                                   .on_item = on_item,
                                   .on_end = receiver_ended,
                                   .arg = receiver};
}

/* Asks for a stream when it is told to. */
static dctx_error_t on_ask(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    receiver_t *receiver = state;
    dctx_stream_options_t options = receiving(receiver);
    (void)message;
    return dctx_ask_stream(self, receiver->to, DCTX_TYPE_STRING, "go", &options, &receiver->stream);
}

/* ---- the ground ------------------------------------------------------------------------------ */

typedef struct ground {
    dctx_system_t *here, *there; /* the same, two without a link, or two nodes */
    bool linked;
    sender_t sender;
    receiver_t receiver;
    dctx_ref_t asker, asked;
} ground_t;

enum { HERE, NODES, SYSTEMS };

static void open_ground(ground_t *ground, int where)
{
    *ground = (ground_t){
        .sender = {.items = ITEMS, .opened = GATE_INIT, .ended = GATE_INIT, .full = GATE_INIT},
        .receiver = {.begun = GATE_INIT, .go = GATE_INIT, .ended = GATE_INIT, .window = WINDOW}};
    ground->here = start(&(dctx_system_options_t){.name = "here", .workers = 2});
    ground->there = ground->here;
    if (where == HERE)
        return;
    char *endpoint = NULL;
    ground->linked = where == NODES;
    ground->there = start(&(dctx_system_options_t){.name = "there", .workers = 2});
    if (!ground->linked)
        return;
    cr_assert_eq(dctx_system_bind(ground->there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(ground->here, "there", endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(ground->here, "there", WAIT_MS), DCTX_OK);
    dctx_free(endpoint);
}

static dctx_ref_t address(ground_t *ground, dctx_ref_t ref, const char *name)
{
    char full[64];
    if (!ground->linked)
        return ref;
    snprintf(full, sizeof full, "%s@there", name);
    cr_assert_eq(dctx_system_find(ground->here, full, &ref), DCTX_OK);
    return ref;
}

static void begin_down(ground_t *ground)
{
    ground->asked = spawn(ground->there, "source", on_request, &ground->sender);
    ground->receiver.to = address(ground, ground->asked, "source");
    ground->asker = spawn(ground->here, "sink", on_ask, &ground->receiver);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(ground->asker, 0);
    }
}

static long streams_open(dctx_system_t *system)
{
    long open = 0;
    dctx_channels_lock_();
    for (uint32_t i = 0; i < dctx_slab_count(&system->channels.slots); i++) {
        dctx_channel_t *channel = dctx_slab_at(&system->channels.slots, i);
        open += channel->state != DCTX_CHANNEL_FREE;
    }
    dctx_channels_unlock_();
    return open;
}

static void close_ground(ground_t *ground)
{
    cr_assert(!ground->receiver.wrong);
    dctx_system_t *here = ground->here, *there = ground->there;
    if (there != here) {
        cr_assert_eq(dctx_system_stop(there, WAIT_MS, NULL), DCTX_OK);
        cr_assert_eq(streams_open(there), 0);
        finish(&there);
    }
    cr_assert_eq(dctx_system_stop(here, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(streams_open(here), 0);
    finish(&here);
}

#define EACH(name)                                                                                 \
    static void name(int where);                                                                   \
    Test(stream, name##_here, .init = fixture_init, .timeout = 60)                                 \
    {                                                                                              \
        name(HERE);                                                                                \
    }                                                                                              \
    Test(stream, name##_between_nodes, .init = fixture_init, .timeout = 60)                        \
    {                                                                                              \
        name(NODES);                                                                               \
    }                                                                                              \
    Test(stream, name##_between_systems, .init = fixture_init, .timeout = 60)                      \
    {                                                                                              \
        name(SYSTEMS);                                                                             \
    }                                                                                              \
    static void name(int where)

/* ---- one to many ----------------------------------------------------------------------------- */

EACH(items_come_in_order_and_then_the_answer)
{
    ground_t ground;
    open_ground(&ground, where);
    begin_down(&ground);
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert_eq(ground.receiver.status, DCTX_OK);
    cr_assert_eq(ground.receiver.got, ITEMS);
    cr_assert_eq(ground.receiver.answer, ITEMS);
    cr_assert_str_eq(ground.sender.tenant, "acme");
    cr_assert_gt(gate_count(&ground.sender.full), 0);
    close_ground(&ground);
    cr_assert_eq(gate_count(&ground.receiver.ended), 1);
    cr_assert_eq(gate_count(&ground.sender.ended), 0, "it ended it itself");
}

EACH(no_more_than_the_window_is_under_way)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.receiver.stuck = true;
    begin_down(&ground);
    cr_assert(gate_wait(&ground.receiver.begun, 1));
    cr_assert(gate_wait(&ground.sender.opened, 1));
    cr_assert(gate_wait(&ground.sender.full, 1));
    cr_assert_eq(ground.sender.most, WINDOW);
    gate_pass(&ground.receiver.go);
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert_eq(ground.receiver.got, ITEMS);
    close_ground(&ground);
}

EACH(the_receiver_may_call_it_off)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.receiver.cancel_at = 10;
    begin_down(&ground);
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert(gate_wait(&ground.sender.ended, 1));
    cr_assert_eq(ground.receiver.status, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(ground.receiver.reason, "enough");
    cr_assert_eq(ground.sender.status, DCTX_ERR_CANCELLED);
    cr_assert_lt(ground.receiver.got, ITEMS);
    close_ground(&ground);
    cr_assert_eq(gate_count(&ground.receiver.ended), 1);
    cr_assert_eq(gate_count(&ground.sender.ended), 1);
}

EACH(it_ends_with_its_time)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.sender.items = 3;
    ground.sender.stay = true;
    ground.receiver.timeout_ms =
        1000; /* in which the three have come, however busy the machine is */
    begin_down(&ground);
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert(gate_wait(&ground.sender.ended, 1));
    cr_assert_eq(ground.receiver.status, DCTX_ERR_TIMEOUT);
    cr_assert_eq(ground.receiver.got, 3);
    close_ground(&ground);
}

EACH(a_receiver_that_stops_ends_it)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.receiver.stop_at = 10;
    begin_down(&ground);
    cr_assert(gate_wait(&ground.sender.ended, 1));
    cr_assert_eq(ground.sender.status, DCTX_ERR_CANCELLED);
    cr_assert_eq(gate_count(&ground.receiver.ended), 0);
    close_ground(&ground);
}

EACH(a_sender_that_stops_ends_it)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.sender.items = 3;
    ground.sender.stay = true;
    begin_down(&ground);
    cr_assert(gate_wait(&ground.receiver.begun, 3));
    cr_assert_eq(dctx_stop(ground.asked), DCTX_OK);
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert_eq(ground.receiver.status, DCTX_ERR_STOPPED);
    cr_assert_eq(gate_count(&ground.sender.ended), 0);
    close_ground(&ground);
}

EACH(a_system_that_stops_ends_it)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.sender.items = 3;
    ground.sender.stay = true;
    begin_down(&ground);
    cr_assert(gate_wait(&ground.receiver.begun, 3));
    close_ground(&ground);
    cr_assert_eq(gate_count(&ground.receiver.ended), 1);
}

Test(stream, a_node_that_is_lost_ends_it_on_both_sides, .init = fixture_init, .timeout = 60)
{
    for (int round = 0; round < 4; round++) {
        ground_t ground;
        int i = round % 2;
        open_ground(&ground, round < 2 ? NODES : SYSTEMS);
        ground.sender.items = 3;
        ground.sender.stay = true;
        begin_down(&ground);
        cr_assert(gate_wait(&ground.receiver.begun, 3));
        cr_assert_eq(dctx_system_stop(i == 0 ? ground.here : ground.there, 100, NULL), DCTX_OK);
        if (i == 0) {
            cr_assert(gate_wait(&ground.sender.ended, 1));
            cr_assert(ground.sender.status == DCTX_ERR_UNREACHABLE ||
                      ground.sender.status == DCTX_ERR_CANCELLED);
        } else {
            cr_assert(gate_wait(&ground.receiver.ended, 1));
            cr_assert(ground.receiver.status == DCTX_ERR_UNREACHABLE ||
                      ground.receiver.status == DCTX_ERR_STOPPED);
        }
        close_ground(&ground);
    }
}

/* Without waiting for anything, and with the memory of the system that goes. */
Test(stream, a_system_that_goes_while_items_are_under_way, .init = fixture_init, .timeout = 60)
{
    for (int round = 0; round < 40; round++) {
        ground_t ground;
        open_ground(&ground, SYSTEMS);
        ground.sender.items = 1000000;
        begin_down(&ground);
        cr_assert(gate_wait(&ground.receiver.begun, 1 + round));
        finish(round % 2 == 0 ? &ground.here : &ground.there);
        if (round % 2 == 0)
            cr_assert(gate_wait(&ground.sender.ended, 1));
        else
            cr_assert(gate_wait(&ground.receiver.ended, 1));
        cr_assert(!ground.receiver.wrong);
        dctx_system_t *other = round % 2 == 0 ? ground.there : ground.here;
        finish(&other);
        cr_assert_leq(gate_count(&ground.receiver.ended), 1);
        cr_assert_leq(gate_count(&ground.sender.ended), 1);
    }
}

static dctx_error_t just_answer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    uint64_t value = 42;
    dctx_stream_options_t options = {.on_item = on_item, .arg = state};
    cr_assert_eq(dctx_stream_accept(self, message, &options, NULL), DCTX_ERR_INVALID,
                 "items are wanted, not offered");
    cr_assert_eq(dctx_stream_open(NULL, message, &options, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_stream_open(self, message, NULL, NULL), DCTX_ERR_INVALID);
    return dctx_reply(message, DCTX_TYPE_UINT64, &value);
}

EACH(a_plain_answer_is_a_stream_without_items)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.asked = spawn(ground.there, "plain", just_answer, NULL);
    ground.receiver.to = address(&ground, ground.asked, "plain");
    ground.asker = spawn(ground.here, "sink", on_ask, &ground.receiver);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(ground.asker, 0);
    }
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert_eq(ground.receiver.status, DCTX_OK);
    cr_assert_eq(ground.receiver.answer, 42);
    close_ground(&ground);
}

Test(stream, one_asked_of_nobody_leaves_nothing_behind, .init = fixture_init, .timeout = 60)
{
    ground_t ground;
    open_ground(&ground, NODES);
    ground.receiver.to = address(&ground, DCTX_REF_NONE, "nobody");
    ground.asker = spawn(ground.here, "sink", on_ask, &ground.receiver);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(ground.asker, 0);
    }
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert_eq(ground.receiver.status, DCTX_ERR_NO_ACTOR);
    cr_assert_eq(streams_open(ground.there), 0);
    close_ground(&ground);
}

EACH(a_plain_ask_cannot_be_answered_with_a_stream)
{
    ground_t ground;
    dctx_message_t *reply = NULL;
    open_ground(&ground, where);
    ground.asked = spawn(ground.there, "source", on_request, &ground.sender);
    dctx_ref_t to = address(&ground, ground.asked, "source");
    cr_assert_eq(dctx_ask_wait(to, DCTX_TYPE_STRING, "go", WAIT_MS, &reply),
                 where == NODES ? DCTX_ERR_REJECTED : DCTX_ERR_INVALID);
    dctx_message_destroy(&reply);
    close_ground(&ground);
}

/* ---- many to one ----------------------------------------------------------------------------- */

static void collected(dctx_actor_t *self, dctx_stream_t stream, dctx_error_t status,
                      const dctx_message_t *answer, void *state, void *arg)
{
    receiver_t *receiver = arg;
    receiver_ended(self, stream, status, answer, state, arg);
    if (status == DCTX_OK)
        cr_assert_eq(dctx_stream_end(stream, DCTX_TYPE_UINT64, &receiver->sum), DCTX_OK);
}

static dctx_error_t on_offer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    receiver_t *receiver = state;
    dctx_stream_options_t options = receiving(receiver);
    options.on_end = collected;
    cr_assert_eq(dctx_stream_open(self, message, &options, NULL), DCTX_ERR_INVALID,
                 "items are offered, not wanted");
    return dctx_stream_accept(self, message, &options, &receiver->stream);
}

static void offer(dctx_actor_t *self, dctx_stream_t stream, void *state, void *arg)
{
    sender_t *sender = arg;
    bool stay = sender->stay;
    sender->stay = true;
    pump(self, stream, state, arg);
    sender->stay = stay;
    if (sender->sent == sender->items && !stay)
        cr_assert_eq(dctx_stream_end(stream, NULL, NULL), DCTX_OK);
}

typedef struct client {
    dctx_ref_t to;
    sender_t *sender;
} client_t;

static dctx_error_t on_start_offer(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    client_t *client = state;
    dctx_stream_options_t options = {
        .on_ready = offer, .on_end = sender_ended, .arg = client->sender};
    (void)message;
    return dctx_ask_collect(self, client->to, DCTX_TYPE_STRING, "take", &options,
                            &client->sender->stream);
}

static client_t client;

static void begin_up(ground_t *ground)
{
    ground->asked = spawn(ground->there, "collector", on_offer, &ground->receiver);
    client =
        (client_t){.to = address(ground, ground->asked, "collector"), .sender = &ground->sender};
    ground->asker = spawn(ground->here, "client", on_start_offer, &client);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(ground->asker, 0);
    }
}

EACH(a_collector_takes_all_and_then_answers)
{
    ground_t ground;
    open_ground(&ground, where);
    begin_up(&ground);
    cr_assert(gate_wait(&ground.sender.ended, 1));
    cr_assert_eq(ground.sender.status, DCTX_OK);
    cr_assert_eq(ground.receiver.got, ITEMS);
    cr_assert_eq(ground.receiver.status, DCTX_OK);
    cr_assert_eq(ground.sender.answer, (uint64_t)ITEMS * (ITEMS - 1) / 2);
    cr_assert_gt(gate_count(&ground.sender.full), 0);
    close_ground(&ground);
    cr_assert_eq(gate_count(&ground.receiver.ended), 1);
}

EACH(a_collector_may_stop_in_the_middle)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.receiver.stop_at = 10;
    begin_up(&ground);
    cr_assert(gate_wait(&ground.sender.ended, 1));
    cr_assert_eq(ground.sender.status, DCTX_ERR_STOPPED);
    close_ground(&ground);
    cr_assert_eq(gate_count(&ground.receiver.ended), 0);
}

EACH(a_collector_may_refuse_in_the_middle)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.receiver.cancel_at = 10; /* from its end it is an error for the asker */
    begin_up(&ground);
    cr_assert(gate_wait(&ground.sender.ended, 1));
    cr_assert_eq(ground.sender.status, DCTX_ERR_CANCELLED);
    close_ground(&ground);
    cr_assert_eq(gate_count(&ground.receiver.ended), 0);
}

EACH(a_client_that_stops_is_missed_by_the_collector)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.sender.items = 3;
    ground.sender.stay = true;
    begin_up(&ground);
    cr_assert(gate_wait(&ground.receiver.begun, 3));
    cr_assert_eq(dctx_stop(ground.asker), DCTX_OK);
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert_eq(ground.receiver.status, DCTX_ERR_CANCELLED);
    close_ground(&ground);
    cr_assert_eq(gate_count(&ground.sender.ended), 0);
}

/* ---- many at once ---------------------------------------------------------------------------- */

Test(stream, many_at_once_between_the_same_two, .init = fixture_init, .timeout = 60)
{
    enum { MANY = 50, EACH = 200 };
    static sender_t senders[MANY];
    static receiver_t receivers[MANY];
    ground_t ground;
    open_ground(&ground, NODES);
    for (int i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof name, "source-%d", i);
        senders[i] =
            (sender_t){.items = EACH, .opened = GATE_INIT, .ended = GATE_INIT, .full = GATE_INIT};
        receivers[i] = (receiver_t){.begun = GATE_INIT,
                                    .go = GATE_INIT,
                                    .ended = GATE_INIT,
                                    .window = (uint32_t)(1 + i % 5),
                                    .cancel_at = i % 7 == 0 ? 20u : 0u};
        dctx_ref_t source = spawn(ground.there, name, on_request, &senders[i]);
        receivers[i].to = address(&ground, source, name);
        dctx_ref_t sink = spawn(ground.here, NULL, on_ask, &receivers[i]);
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(tenant_set("acme"), DCTX_OK);
            tell_uint(sink, 0);
        }
    }
    for (int i = 0; i < MANY; i++) {
        cr_assert(gate_wait(&receivers[i].ended, 1));
        cr_assert(!receivers[i].wrong);
        if (i % 7 != 0)
            cr_assert_eq(receivers[i].got, EACH);
    }
    close_ground(&ground);
}

static dctx_error_t misuse(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    receiver_t *receiver = state;
    dctx_stream_options_t options = receiving(receiver), none = {0};
    (void)message;
    cr_assert_eq(dctx_ask_stream(self, receiver->to, NULL, NULL, &none, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_ask_stream(self, DCTX_REF_NONE, NULL, NULL, &options, NULL),
                 DCTX_ERR_INVALID);
    dctx_ref_t far;
    dctx_system_t *other = start(&(dctx_system_options_t){.name = "other", .workers = 1});
    cr_assert_eq(dctx_system_find(other, "x@there", &far), DCTX_OK);
    cr_assert_eq(dctx_ask_stream(self, far, NULL, NULL, &options, NULL), DCTX_ERR_INVALID);
    cr_assert_not_null(strstr(dctx_error_detail(), "dctx_system_find()"));
    finish(&other);
    dctx_error_t error =
        dctx_ask_stream(self, receiver->to, DCTX_TYPE_STRING, "go", &options, &receiver->stream);
    cr_assert_eq(dctx_stream_send(receiver->stream, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_stream_end(receiver->stream, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_stream_fail(receiver->stream, DCTX_OK, NULL), DCTX_ERR_INVALID);
    return error;
}

Test(stream, misuse_is_told_in_words, .init = fixture_init, .timeout = 60)
{
    ground_t ground;
    open_ground(&ground, HERE);
    dctx_stream_t nobody = {0};
    cr_assert_eq(dctx_stream_send(nobody, NULL, NULL), DCTX_ERR_INVALID);
    ground.sender.items = 1;
    ground.asked = spawn(ground.here, "source", on_request, &ground.sender);
    ground.receiver.to = ground.asked;
    ground.asker = spawn(ground.here, "sink", misuse, &ground.receiver);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        tell_uint(ground.asker, 0);
    }
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert_eq(dctx_stream_send(ground.receiver.stream, NULL, NULL), DCTX_ERR_INVALID,
                 "from outside");
    close_ground(&ground);
}

/* ---- an item in the hands of who handles it -------------------------------------------------- */

static void pass_item_on(dctx_actor_t *self, dctx_stream_t stream, const dctx_message_t *item,
                         void *state, void *arg)
{
    receiver_t *receiver = arg;
    dctx_snapshot_t *context = NULL;
    (void)stream;
    (void)state;
    receiver->wrong |= dctx_stash(self, item) != DCTX_ERR_INVALID || dctx_stash_size(self) != 0 ||
                       dctx_reply(item, NULL, NULL) != DCTX_ERR_INVALID ||
                       dctx_message_context(item, &context) != DCTX_OK;
    DCTX_WITH_SNAPSHOT(context) {
        receiver->wrong |= strcmp(tenant_get_or(""), "acme") != 0;
    }
    dctx_snapshot_unref(&context);
    receiver->wrong |= tenant_set("the callback's") != DCTX_OK ||
                       dctx_forward(self, item, dctx_self(self)) != DCTX_OK ||
                       dctx_message_get(item, DCTX_TYPE_UINT64) != NULL;
    gate_pass(&receiver->begun);
}

static dctx_error_t ask_or_take(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    receiver_t *receiver = state;
    dctx_stream_options_t options = receiving(receiver);
    options.on_item = pass_item_on;
    if (dctx_message_get(message, DCTX_TYPE_STRING) != NULL)
        return dctx_ask_stream(self, receiver->to, NULL, NULL, &options, &receiver->stream);
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    receiver->wrong |=
        value == NULL || *value != receiver->got || strcmp(tenant_get_or(""), "acme") != 0;
    receiver->got++;
    gate_pass(&receiver->go);
    return DCTX_OK;
}

EACH(an_item_goes_on_in_its_context_and_is_not_kept)
{
    ground_t ground;
    open_ground(&ground, where);
    ground.sender.items = 20;
    ground.asked = spawn(ground.there, "source", on_request, &ground.sender);
    ground.receiver.to = address(&ground, ground.asked, "source");
    ground.asker = spawn(ground.here, "sink", ask_or_take, &ground.receiver);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_tell(ground.asker, DCTX_TYPE_STRING, "ask"), DCTX_OK);
    }
    cr_assert(gate_wait(&ground.receiver.ended, 1));
    cr_assert(gate_wait(&ground.receiver.go, 20));
    cr_assert_eq(gate_count(&ground.receiver.begun), 20);
    cr_assert(!ground.receiver.wrong);
    close_ground(&ground);
}
