/* The laws of flow: bounds hold, streams are whole or end with an error, delays lose nothing. */
#include "conformance.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { SENDERS = 3, EACH = 40 };

/* ---- bounded mailboxes ----------------------------------------------------------------------- */

typedef struct bounded {
    uint64_t next[SENDERS]; /* the least number that may come from each */
    _Atomic(long) sent, refused;
    long handled;
    gate_t done;
} bounded_t;

typedef struct presser {
    uint64_t me;
    dctx_ref_t to;
    bounded_t *bounded;
} presser_t;

static dctx_error_t take(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    bounded_t *bounded = state;
    (void)self;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    check(parcel->number >= bounded->next[parcel->from]);
    bounded->next[parcel->from] = parcel->number + 1;
    bounded->handled++;
    return DCTX_OK;
}

static dctx_error_t press(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    presser_t *presser = state;
    (void)self;
    (void)message;
    for (uint64_t i = 0; i < EACH; i++) {
        dctx_error_t error = tell_parcel(presser->to, presser->me, i);
        check(error == DCTX_OK || error == DCTX_ERR_FULL);
        (void)atomic_fetch_add(
            error == DCTX_OK ? &presser->bounded->sent : &presser->bounded->refused, 1);
    }
    gate_pass(&presser->bounded->done);
    return DCTX_OK;
}

static void press_on(ground_t *ground, dctx_overflow_t overflow)
{
    bounded_t bounded = {.done = GATE_INIT};
    presser_t pressers[SENDERS];
    dctx_ref_t to = DCTX_REF_NONE;
    dctx_actor_options_t options = {.handler = take,
                                    .state = &bounded,
                                    .mailbox_limit = 1 + draw(ground, 20),
                                    .overflow = overflow,
                                    .flags = DCTX_METERED};
    check(dctx_spawn(ground->system, &options, &to) == DCTX_OK);
    long dead = gate_count(&ground->dead);
    for (uint64_t i = 0; i < SENDERS; i++) {
        pressers[i] = (presser_t){.me = i, .to = to, .bounded = &bounded};
        tell_uint(spawn(ground->system, NULL, press, &pressers[i]), 0);
    }
    await(ground, &bounded.done, SENDERS);
    settle(ground);
    dctx_actor_metrics_t metrics;
    check(dctx_actor_metrics_read(to, &metrics) == DCTX_OK);
    check(metrics.depth == 0);
    check(overflow == DCTX_OVERFLOW_DROP_OLDEST || metrics.depth_max <= options.mailbox_limit);
    dead = gate_count(&ground->dead) - dead;
    check(bounded.sent + bounded.refused == (long)SENDERS * EACH);
    check(bounded.handled + dead == bounded.sent);
    check(dead == 0 || overflow >= DCTX_OVERFLOW_DROP_NEWEST);
    check(bounded.refused == 0 || overflow < DCTX_OVERFLOW_DROP_NEWEST);
    check(metrics.handled == (uint64_t)bounded.handled);
}

LAW(a_bounded_mailbox_holds_its_bound_and_loses_nothing_in_silence, 0)
{
    press_on(ground, DCTX_OVERFLOW_REJECT);
    press_on(ground, DCTX_OVERFLOW_BLOCK); /* the senders are actors: it rejects */
    press_on(ground, DCTX_OVERFLOW_DROP_NEWEST);
    press_on(ground, DCTX_OVERFLOW_DROP_OLDEST);
    stop_ground(ground);
    check(parcels_alive() == 0);
}

/* ---- streams --------------------------------------------------------------------------------- */

typedef struct flow {
    bool up;
    dctx_ref_t other;
    uint64_t items, sent, got;
    uint64_t fail_at, stop_at; /* what the receiver does then; 0: nothing */
    uint32_t window;
    int asker_ends, asked_ends;
    dctx_error_t status;
    gate_t over;
} flow_t;

static void send_all(dctx_actor_t *self, dctx_stream_t stream, void *state, void *arg)
{
    flow_t *flow = arg;
    (void)self;
    (void)state;
    while (flow->sent < flow->items) {
        dctx_error_t error = dctx_stream_send(stream, DCTX_TYPE_UINT64, &flow->sent);
        if (error != DCTX_OK) {
            check(error == DCTX_ERR_AGAIN || error == DCTX_ERR_NOT_OPEN);
            return;
        }
        flow->sent++;
    }
    check(dctx_stream_end(stream, NULL, NULL) == DCTX_OK);
}

static void receive(dctx_actor_t *self, dctx_stream_t stream, const dctx_message_t *item,
                    void *state, void *arg)
{
    flow_t *flow = arg;
    (void)state;
    const uint64_t *number = dctx_message_get(item, DCTX_TYPE_UINT64);
    check(number != NULL && *number == flow->got);
    flow->got++;
    if (flow->got == flow->fail_at)
        check(dctx_stream_fail(stream, DCTX_ERR_CANCELLED, "enough") == DCTX_OK);
    if (flow->got == flow->stop_at) {
        dctx_self_stop(self);
        if (!flow->up) /* nobody will be told */
            gate_pass(&flow->over);
    }
}

static void asker_ended(dctx_actor_t *self, dctx_stream_t stream, dctx_error_t status,
                        const dctx_message_t *answer, void *state, void *arg)
{
    flow_t *flow = arg;
    (void)self;
    (void)answer;
    (void)state;
    check(++flow->asker_ends == 1);
    check(dctx_stream_fail(stream, DCTX_ERR_CANCELLED, NULL) == DCTX_ERR_NOT_OPEN);
    flow->status = status;
    gate_pass(&flow->over);
}

static void asked_ended(dctx_actor_t *self, dctx_stream_t stream, dctx_error_t status,
                        const dctx_message_t *answer, void *state, void *arg)
{
    flow_t *flow = arg;
    (void)self;
    (void)state;
    check(answer == NULL);
    check(++flow->asked_ends == 1);
    if (status == DCTX_OK)
        check(dctx_stream_end(stream, NULL, NULL) == DCTX_OK);
}

static dctx_error_t on_asked(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    flow_t *flow = state;
    dctx_stream_t stream;
    dctx_stream_options_t options = {.window = flow->window,
                                     .on_item = receive,
                                     .on_ready = send_all,
                                     .on_end = asked_ended,
                                     .arg = flow};
    if (flow->up)
        return dctx_stream_accept(self, message, &options, &stream);
    dctx_error_t error = dctx_stream_open(self, message, &options, &stream);
    if (error == DCTX_OK)
        send_all(self, stream, state, flow);
    return error;
}

static dctx_error_t on_start(dctx_actor_t *self, void *state)
{
    flow_t *flow = state;
    dctx_stream_options_t options = {.window = flow->window,
                                     .on_item = receive,
                                     .on_ready = send_all,
                                     .on_end = asker_ended,
                                     .arg = flow};
    return flow->up ? dctx_ask_collect(self, flow->other, NULL, NULL, &options, NULL)
                    : dctx_ask_stream(self, flow->other, NULL, NULL, &options, NULL);
}

static dctx_error_t no_handler(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

/* Another node of the ground. */
static dctx_system_t *start_there(ground_t *ground)
{
    static int number;
    char endpoint[64], *bound = NULL;
    dctx_system_t *there =
        start(&(dctx_system_options_t){.name = "there", .world = ground->world, .workers = 2});
    snprintf(endpoint, sizeof endpoint, "inproc://conformance-flow-%d", ++number);
    check(dctx_system_bind(there, endpoint, &bound) == DCTX_OK);
    check(dctx_system_connect(ground->system, "there", bound) == DCTX_OK);
    check(dctx_system_wait_node(ground->system, "there", WAIT_MS) == DCTX_OK);
    dctx_free(bound);
    return there;
}

static dctx_ref_t spawn_asked(ground_t *ground, dctx_system_t *there, flow_t *flow, int number)
{
    char name[32];
    dctx_ref_t ref = DCTX_REF_NONE;
    uint64_t where = draw(ground, 3);
    if (where != 0) /* here, or there, but in this process and without the link */
        return spawn(where == 1 ? ground->system : there, NULL, on_asked, flow);
    snprintf(name, sizeof name, "asked-%d@there", number);
    check(dctx_system_find(ground->system, name, &ref) == DCTX_OK);
    name[strlen(name) - strlen("@there")] = '\0';
    (void)spawn(there, name, on_asked, flow);
    return ref;
}

LAW(a_stream_is_whole_or_ends_with_an_error_and_ends_once, .name = "here")
{
    enum { FLOWS = 4 };
    flow_t flows[FLOWS];
    dctx_system_t *there = start_there(ground);
    for (int i = 0; i < FLOWS; i++) {
        flow_t *flow = &flows[i];
        uint64_t end = draw(ground, 3);
        *flow = (flow_t){.up = draw(ground, 2) == 1,
                         .items = 1 + draw(ground, 60),
                         .window = (uint32_t)(1 + draw(ground, 10)),
                         .over = GATE_INIT};
        flow->fail_at = end == 1 ? 1 + draw(ground, flow->items) : 0;
        flow->stop_at = end == 2 ? 1 + draw(ground, flow->items) : 0;
        flow->other = spawn_asked(ground, there, flow, i);
        dctx_ref_t asker;
        dctx_actor_options_t options = {.handler = no_handler, .on_start = on_start, .state = flow};
        check(dctx_spawn(ground->system, &options, &asker) == DCTX_OK);
    }
    for (int i = 0; i < FLOWS; i++)
        await(ground, &flows[i].over, 1);
    settle(ground);
    stop_ground(ground);
    finish(&there);
    for (int i = 0; i < FLOWS; i++) {
        flow_t *flow = &flows[i];
        check(flow->asker_ends == (flow->stop_at != 0 && !flow->up ? 0 : 1));
        check(flow->got <= flow->sent && flow->sent <= flow->items);
        if (flow->asker_ends > 0 && flow->status == DCTX_OK)
            check(flow->got == flow->items);
        else
            check(flow->fail_at != 0 || flow->stop_at != 0);
    }
    check(parcels_alive() == 0);
}

/* ---- delays ---------------------------------------------------------------------------------- */

enum { MS = 1000000 };

static dctx_verdict_t delay_some(const dctx_passage_t *passage, void *arg)
{
    (void)arg;
    if (passage->delays > 0 || strcmp(passage->type, parcel_type->name) != 0)
        return DCTX_CONTINUE;
    return dctx_passage_delay(passage, 2 * MS);
}

typedef struct late {
    uint64_t next;
    gate_t got;
} late_t;

static dctx_error_t take_late(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    late_t *late = state;
    (void)self;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    check(parcel->number == late->next++);
    gate_pass(&late->got);
    return DCTX_OK;
}

LAW(what_is_delayed_alike_comes_in_order_and_once, 0)
{
    late_t late[2] = {{.got = GATE_INIT}, {.got = GATE_INIT}};
    for (int i = 0; i < 2; i++) {
        dctx_interceptor_t stage = {.name = "delay"};
        if (i == 0)
            stage.inbound = delay_some;
        else
            stage.outbound = delay_some;
        dctx_ref_t to;
        dctx_actor_options_t options = {.handler = take_late,
                                        .state = &late[i],
                                        .interceptors = i == 0 ? &stage : NULL,
                                        .interceptor_count = i == 0};
        check(dctx_spawn(ground->system, &options, &to) == DCTX_OK);
        for (uint64_t n = 0; n < EACH; n++) {
            check(tell_parcel(to, 0, n) == DCTX_OK);
            if (n % 8 == 0)
                linger(ground, (int64_t)draw(ground, 2 * MS));
        }
    }
    await(ground, &late[0].got, EACH);
    await(ground, &late[1].got, EACH);
    stop_ground(ground);
    check(late[0].next == EACH && late[1].next == EACH);
    check(parcels_alive() == 0);
}
