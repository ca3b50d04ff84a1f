/* The laws of what a handler can do with a message beside handling it: keep it, send it on, have
 * another answer; and of futures, groups and cancelling. The context goes along, and each message
 * ends once. */
#include "conformance.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { LETTERS = 30 };

/* The context that a parcel with this number travels in. */
static void set_context(uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "tenant-%d", (int)number);
    check(tenant_set(text) == DCTX_OK);
    check(secret_set(text) == DCTX_OK);
    check(request_set(number) == DCTX_OK);
}

static void check_context(uint64_t number, const char *expected)
{
    char text[24];
    snprintf(text, sizeof text, "tenant-%d", (int)number);
    check(strcmp(tenant_get_or(""), text) == 0);
    check(strcmp(secret_get_or(""), text) == 0);
    check(request_get_or(99) == number);
    cr_assert_str_eq(chain(), expected, "%s, not %s, seed %llu", chain(), expected,
                     (unsigned long long)ground_seed);
}

typedef struct desk {
    ground_t *ground;
    dctx_ref_t other;
    gate_t handled, answered;
    uint64_t next; /* number that has to come next */
    bool open;
    int kept;
} desk_t;

static void send_letter(desk_t *desk, dctx_ref_t to, uint64_t number, dctx_ask_fn call)
{
    parcel_t parcel = a_parcel(0, number);
    DCTX_WITH_SCOPE("edge") {
        set_context(number);
        if (call == NULL)
            check(dctx_tell(to, parcel_type, &parcel) == DCTX_OK);
        else
            check(dctx_ask_call(to, parcel_type, &parcel, 60000, call, desk) == DCTX_OK);
    }
    if (desk->ground->world != NULL && draw(desk->ground, 3) == 0)
        (void)dctx_test_step(desk->ground->world);
}

/* In the asker's context, with the number that it asked with. */
static void hear(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    desk_t *desk = arg;
    const parcel_t *parcel = dctx_message_get(reply, parcel_type);
    check(status == DCTX_OK && parcel != NULL);
    check_context(parcel->number, "edge");
    gate_pass(&desk->answered);
}

/* ---- kept ------------------------------------------------------------------------------------ */

static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state);

/* Keeps all letters until it is told to open, and becomes another then. */
static dctx_error_t keep_until_open(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    if (parcel != NULL) {
        check_context(parcel->number, "edge > actor:desk");
        desk->kept++;
        return dctx_stash(self, message);
    }
    check(dctx_become(self, serve) == DCTX_OK);
    check(dctx_unstash_all(self) == (size_t)desk->kept);
    return DCTX_OK;
}

static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    (void)self;
    check_context(parcel->number, "edge > actor:desk");
    check(parcel->number == desk->next);
    desk->next++;
    gate_pass(&desk->handled);
    return dctx_message_is_ask(message) ? dctx_reply(message, parcel_type, parcel) : DCTX_OK;
}

LAW(what_is_kept_comes_first_and_in_order, 0)
{
    desk_t desk = {.ground = ground, .handled = GATE_INIT, .answered = GATE_INIT};
    dctx_ref_t ref = spawn(ground->system, "desk", keep_until_open, &desk);
    uint64_t opens = draw(ground, LETTERS), asks = 0;
    for (uint64_t i = 0; i < LETTERS; i++) {
        if (i == opens)
            check(dctx_tell(ref, NULL, NULL) == DCTX_OK);
        asks += i % 3 == 0;
        send_letter(&desk, ref, i, i % 3 == 0 ? hear : NULL);
    }
    await(ground, &desk.handled, LETTERS);
    await(ground, &desk.answered, (long)asks);
    check(desk.kept >= (int)opens);
}

LAW(what_is_kept_at_the_end_is_a_dead_letter, 0)
{
    desk_t desk = {.ground = ground, .handled = GATE_INIT, .answered = GATE_INIT};
    dctx_ref_t ref = spawn(ground->system, "desk", keep_until_open, &desk);
    for (uint64_t i = 0; i < LETTERS; i++)
        send_letter(&desk, ref, i, NULL);
    if (draw(ground, 2) == 0)
        check(dctx_stop(ref) == DCTX_OK);
    stop_ground(ground);
    check(gate_count(&ground->dead) == LETTERS);
}

/* ---- sent on --------------------------------------------------------------------------------- */

static dctx_error_t answer_below(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    (void)self;
    check_context(parcel->number, "edge > actor:desk > actor:below");
    gate_pass(&desk->handled);
    return dctx_message_is_ask(message) ? dctx_reply(message, parcel_type, parcel) : DCTX_OK;
}

static dctx_error_t pass_down(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    parcel_t parcel = *(const parcel_t *)dctx_message_get(message, parcel_type);
    check_context(parcel.number, "edge > actor:desk");
    if (parcel.number % 2 == 0 || !dctx_message_is_ask(message)) {
        dctx_error_t error = dctx_forward(self, message, desk->other);
        check(error == DCTX_OK);
        check(dctx_message_get(message, parcel_type) == NULL);
        return error;
    }
    return dctx_delegate(self, message, desk->other, parcel_type, &parcel, 60000);
}

LAW(what_is_sent_on_is_answered_to_who_asked, 0)
{
    desk_t desk = {.ground = ground, .handled = GATE_INIT, .answered = GATE_INIT};
    desk.other = spawn(ground->system, "below", answer_below, &desk);
    dctx_ref_t ref = spawn(ground->system, "desk", pass_down, &desk);
    long asks = 0;
    for (uint64_t i = 0; i < LETTERS; i++) {
        asks += i % 4 != 0;
        send_letter(&desk, ref, i, i % 4 != 0 ? hear : NULL);
    }
    await(ground, &desk.handled, LETTERS);
    await(ground, &desk.answered, asks);
}

/* ---- futures --------------------------------------------------------------------------------- */

static dctx_error_t note_then(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    desk_t *desk = arg;
    const parcel_t *parcel = dctx_result_get(result, parcel_type);
    (void)promise_p;
    check(result->error == DCTX_OK && parcel != NULL);
    check_context(parcel->number, "edge");
    gate_pass(&desk->answered);
    return DCTX_OK;
}

static void note_as_actor(dctx_actor_t *self, const dctx_result_t *result, void *state, void *arg)
{
    desk_t *desk = state;
    const parcel_t *parcel = dctx_result_get(result, parcel_type);
    check(result->error == DCTX_OK && parcel != NULL);
    check(parcel->number == (uintptr_t)arg);
    check_context(parcel->number, "edge > actor:asker");
    check(strcmp(dctx_self_name(self), "asker") == 0);
    gate_pass(&desk->answered);
}

static dctx_error_t echo(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    return dctx_reply(message, parcel_type, dctx_message_get(message, parcel_type));
}

static dctx_error_t ask_for_future(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    dctx_future_t *future = NULL;
    check(dctx_ask_future(desk->other, parcel_type, parcel, parcel_type, 60000, &future) ==
          DCTX_OK);
    check(dctx_future_then_actor(self, future, note_as_actor, (void *)(uintptr_t)parcel->number) ==
          DCTX_OK);
    dctx_future_unref(&future);
    return DCTX_OK;
}

LAW(a_continuation_has_the_context_it_was_attached_in, 0)
{
    desk_t desk = {.ground = ground, .handled = GATE_INIT, .answered = GATE_INIT};
    desk.other = spawn(ground->system, "echo", echo, NULL);
    dctx_ref_t asker = spawn(ground->system, "asker", ask_for_future, &desk);
    for (uint64_t i = 0; i < LETTERS; i++) {
        dctx_future_t *future = NULL, *waited = NULL;
        parcel_t parcel = a_parcel(0, i);
        send_letter(&desk, asker, i, NULL);
        DCTX_WITH_SCOPE("edge") {
            set_context(i);
            check(dctx_ask_future(desk.other, parcel_type, &parcel, parcel_type, 60000, &future) ==
                  DCTX_OK);
            check(dctx_future_then(future, NULL, note_then, &desk, &waited) == DCTX_OK);
        }
        if (i % 5 == 0)
            check(dctx_future_wait(waited, 60000, NULL) == DCTX_OK);
        dctx_future_unref(&future);
        dctx_future_unref(&waited);
    }
    await(ground, &desk.answered, 2L * LETTERS);
}

static void do_task(void *arg)
{
    desk_t *desk = arg;
    check_context(desk->next, "edge > task");
    gate_pass(&desk->handled);
}

LAW(a_task_has_the_context_of_who_submitted_it, 0)
{
    desk_t desk = {.ground = ground, .handled = GATE_INIT, .next = draw(ground, LETTERS)};
    dctx_executor_t *executor = NULL;
    dctx_clock_t clock = {0};
    if (ground->world != NULL)
        clock = dctx_test_clock(ground->world);
    dctx_loop_executor_options_t options = {.clock = ground->world != NULL ? &clock : NULL};
    check((ground->world != NULL ? dctx_loop_executor_new(&options, &executor)
                                 : dctx_taskpool_new(NULL, &executor)) == DCTX_OK);
    DCTX_WITH_SCOPE("edge") {
        set_context(desk.next);
        dctx_work_t work = {.run = do_task, .arg = &desk, .scope = "task"};
        for (int i = 0; i < LETTERS; i++)
            check(dctx_executor_submit(executor, &work, NULL) == DCTX_OK);
    }
    if (ground->world != NULL)
        check(dctx_loop_executor_run(executor) == LETTERS);
    await(ground, &desk.handled, LETTERS);
    check(dctx_is_empty());
    dctx_executor_destroy(&executor);
}

/* ---- groups ---------------------------------------------------------------------------------- */

static dctx_error_t note_member(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    const parcel_t *parcel = dctx_message_get(message, parcel_type);
    char expected[64];
    snprintf(expected, sizeof expected, "edge > actor:%s", dctx_self_name(self));
    check_context(parcel->number, expected);
    gate_pass(&desk->handled);
    if (parcel->number % 7 == 0)
        dctx_self_stop(self);
    return DCTX_OK;
}

LAW(a_group_tells_each_member_once, 0)
{
    enum { MEMBERS = 8 };
    desk_t desk = {.ground = ground, .handled = GATE_INIT};
    size_t delivered = 0;
    for (int i = 0; i < MEMBERS; i++)
        check(dctx_group_join(ground->system, "all",
                              spawn(ground->system, NULL, note_member, &desk)) == DCTX_OK);
    for (uint64_t i = 1; i < LETTERS; i++) {
        parcel_t parcel = a_parcel(0, i);
        dctx_group_sent_t sent = {0};
        DCTX_WITH_SCOPE("edge") {
            set_context(i);
            check(dctx_group_tell(ground->system, "all", parcel_type, &parcel, &sent) == DCTX_OK);
        }
        delivered += sent.delivered;
        for (uint64_t n = draw(ground, 20); ground->world != NULL && n > 0; n--)
            (void)dctx_test_step(ground->world);
    }
    settle(ground);
    stop_ground(ground);
    check(gate_count(&desk.handled) + gate_count(&ground->dead) == (long)delivered);
}

/* ---- called off ------------------------------------------------------------------------------ */

typedef struct chainlink {
    dctx_ref_t next; /* none: the last, who does not answer */
    dctx_reply_to_t *owed;
    gate_t *ended;
} chainlink_t;

static void hear_of_end(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                        void *state, void *arg)
{
    chainlink_t *link = state;
    (void)self;
    (void)reply;
    (void)arg;
    check(status == DCTX_ERR_CANCELLED);
    dctx_reply_to_destroy(&link->owed);
    gate_pass(link->ended);
}

static dctx_error_t ask_down(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    chainlink_t *link = state;
    check(dctx_reply_defer(message, &link->owed) == DCTX_OK);
    gate_pass(link->ended);
    if (dctx_ref_is_none(link->next))
        return DCTX_OK;
    return dctx_ask(self, link->next, NULL, NULL, 600000, hear_of_end, NULL);
}

static void call_it_off(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    check(status == DCTX_ERR_CANCELLED);
    gate_pass(arg);
}

LAW(what_is_called_off_ends_all_the_way_down, 0)
{
    enum { DEEP = 6 };
    gate_t ended = GATE_INIT;
    chainlink_t links[DEEP] = {0};
    dctx_ref_t next = DCTX_REF_NONE;
    for (int i = DEEP - 1; i >= 0; i--) {
        links[i] = (chainlink_t){.next = next, .ended = &ended};
        next = spawn(ground->system, NULL, ask_down, &links[i]);
    }
    dctx_cancel_t *cancel = NULL;
    DCTX_WITH_SCOPE("edge") {
        check(dctx_cancel_new(&cancel) == DCTX_OK);
        check(dctx_cancel_enter(cancel) == DCTX_OK);
        check(dctx_ask_call(next, NULL, NULL, 600000, call_it_off, &ended) == DCTX_OK);
    }
    await(ground, &ended, DEEP);
    check(dctx_cancel(cancel, "not wanted any more"));
    /* Each that asked hears of it, and who called. */
    await(ground, &ended, DEEP + DEEP - 1 + 1);
    dctx_cancel_unref(&cancel);
    for (int i = 0; i < DEEP; i++)
        dctx_reply_to_destroy(&links[i].owed);
}
