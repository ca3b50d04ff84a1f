/* The laws between nodes: over the network of a test world, and over ZeroMQ. */
#include "conformance.h"

#include <stdio.h>
#include <string.h>

enum { LETTERS = 40 };

typedef struct far {
    ground_t *ground;
    dctx_system_t *there;
    dctx_ref_t desk; /* as "here" addresses it */
    char *endpoint;
    uint64_t next; /* number that has to come next */
    gate_t handled, answered;
    dctx_reply_to_t *owed[LETTERS];
    int owes;
} far_t;

static dctx_system_t *start_there(far_t *far, dctx_handler_fn handler)
{
    dctx_system_t *there =
        start(&(dctx_system_options_t){.name = "there", .world = far->ground->world, .workers = 2});
    (void)spawn(there, "desk", handler, far);
    return there;
}

static void meet(ground_t *ground, far_t *far, dctx_handler_fn handler)
{
    static int number;
    char endpoint[64];
    *far = (far_t){.ground = ground, .handled = GATE_INIT, .answered = GATE_INIT};
    snprintf(endpoint, sizeof endpoint, "inproc://conformance-%d", ++number);
    far->there = start_there(far, handler);
    check(dctx_system_bind(far->there, endpoint, &far->endpoint) == DCTX_OK);
    check(dctx_system_connect(ground->system, "there", far->endpoint) == DCTX_OK);
    check(dctx_system_wait_node(ground->system, "there", WAIT_MS) == DCTX_OK);
    check(dctx_system_find(ground->system, "desk@there", &far->desk) == DCTX_OK);
}

static void part(far_t *far)
{
    stop_ground(far->ground);
    if (far->there != NULL)
        finish(&far->there);
    dctx_free(far->endpoint);
}

/* ---- there and back -------------------------------------------------------------------------- */

static dctx_error_t take_letter(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    far_t *far = state;
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    char whose[24];
    (void)self;
    check(number != NULL && *number == far->next);
    far->next++;
    snprintf(whose, sizeof whose, "tenant-%d", (int)*number);
    check(strcmp(tenant_get_or(""), whose) == 0);
    check(request_get_or(99) == *number);
    check(secret_get_or(NULL) == NULL);
    cr_assert_str_eq(chain(), "edge > remote:desk");
    gate_pass(&far->handled);
    return dctx_message_is_ask(message) ? dctx_reply(message, DCTX_TYPE_UINT64, number) : DCTX_OK;
}

static void hear(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    far_t *far = arg;
    const uint64_t *number = dctx_message_get(reply, DCTX_TYPE_UINT64);
    check(status == DCTX_OK && number != NULL);
    /* The asker's context is as it was, with what stayed at home. */
    check(request_get_or(99) == *number);
    check(secret_get_or(NULL) != NULL);
    cr_assert_str_eq(chain(), "edge");
    gate_pass(&far->answered);
}

LAW(a_letter_goes_there_once_in_order_and_in_its_context, .name = "here")
{
    far_t far;
    meet(ground, &far, take_letter);
    long asks = 0;
    for (uint64_t i = 0; i < LETTERS; i++) {
        char whose[24];
        snprintf(whose, sizeof whose, "tenant-%d", (int)i);
        DCTX_WITH_SCOPE("edge") {
            check(tenant_set(whose) == DCTX_OK);
            check(secret_set(whose) == DCTX_OK);
            check(request_set(i) == DCTX_OK);
            if (draw(ground, 3) == 0) {
                asks++;
                check(dctx_ask_call(far.desk, DCTX_TYPE_UINT64, &i, 60000, hear, &far) == DCTX_OK);
            } else {
                check(dctx_tell(far.desk, DCTX_TYPE_UINT64, &i) == DCTX_OK);
            }
        }
        if (ground->world != NULL && draw(ground, 4) == 0)
            check(dctx_test_advance(ground->world, (int64_t)draw(ground, 1000000)));
    }
    await(ground, &far.handled, LETTERS);
    await(ground, &far.answered, asks);
    part(&far);
    check(gate_count(&ground->dead) == 0);
}

/* ---- a node that goes ------------------------------------------------------------------------ */

static dctx_error_t answer_some(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    far_t *far = state;
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    (void)self;
    gate_pass(&far->handled);
    if (*number % 3 == 0)
        return dctx_reply_defer(message, &far->owed[far->owes++]);
    return dctx_reply(message, DCTX_TYPE_UINT64, number);
}

static void count_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    far_t *far = arg;
    (void)reply;
    check(status == DCTX_OK || status == DCTX_ERR_UNREACHABLE || status == DCTX_ERR_STOPPED ||
          status == DCTX_ERR_NO_ACTOR || status == DCTX_ERR_NO_REPLY ||
          status == DCTX_ERR_CANCELLED || status == DCTX_ERR_TIMEOUT);
    gate_pass(&far->answered);
}

LAW(when_a_node_goes_each_ask_of_it_ends_once, .name = "here")
{
    far_t far;
    meet(ground, &far, answer_some);
    long asked = 0;
    uint64_t goes = 1 + draw(ground, LETTERS - 1);
    for (uint64_t i = 0; i < LETTERS; i++) {
        if (i == goes) {
            for (int owed = 0; ground->world != NULL && owed < far.owes; owed += 2)
                dctx_reply_to_destroy(&far.owed[owed]);
            /* While it still answers, or not. */
            if (draw(ground, 2) == 0)
                linger(ground, 2000000);
            check(dctx_system_stop(far.there, WAIT_MS, NULL) == DCTX_OK);
            for (int owed = 0; owed < far.owes; owed++)
                dctx_reply_to_destroy(&far.owed[owed]);
            finish(&far.there);
        }
        dctx_error_t error = dctx_ask_call(far.desk, DCTX_TYPE_UINT64, &i, 700, count_end, &far);
        check(error == DCTX_OK || error == DCTX_ERR_UNREACHABLE);
        asked += error == DCTX_OK;
    }
    await(ground, &far.answered, asked);
    linger(ground, 5000000);
    check(gate_count(&far.answered) == asked);
    part(&far);
}

/* ---- ends over there ------------------------------------------------------------------------- */

enum { WORKERS = 12, MONITORS = 60 };

typedef struct ends {
    gate_t told;
    _Atomic(int) times[MONITORS];
    dctx_ref_t workers[WORKERS]; /* as "here" addresses them */
} ends_t;

/* One monitor of many. */
typedef struct one {
    ends_t *ends;
    int number;
} one_t;

static dctx_error_t fail_or_stop(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const uint64_t *fails = dctx_message_get(message, DCTX_TYPE_UINT64);
    (void)state;
    if (*fails)
        dctx_self_fail(self, DCTX_ERR_IO, "told to");
    else
        dctx_self_stop(self);
    return DCTX_OK;
}

static void hear_end(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    one_t *one = arg;
    char name[128];
    dctx_exit_kind_t kind = dctx_exit_kind(exit);
    check(dctx_ref_format(who, name, sizeof name) > 0);
    cr_assert_str_eq(dctx_exit_who(exit), name);
    check(kind == DCTX_EXIT_SELF || kind == DCTX_EXIT_FAILED || kind == DCTX_EXIT_SYSTEM ||
          kind == DCTX_EXIT_NO_ACTOR || kind == DCTX_EXIT_NODE_LOST);
    if (kind == DCTX_EXIT_FAILED) {
        cr_assert_str_eq(dctx_exit_reason(exit), "told to");
        cr_assert_str_eq(dctx_exit_where(exit), "handler of \"uint64\"");
        check(strstr(dctx_exit_chain(exit), "edge > remote:w") != NULL);
    }
    one->ends->times[one->number]++;
    gate_pass(&one->ends->told);
}

/* They end, the connection breaks, their node goes: in any order; and our own system at last. */
LAW(the_end_of_each_actor_elsewhere_is_told_once, .name = "here")
{
    far_t far;
    ends_t ends = {.told = GATE_INIT};
    one_t all[MONITORS];
    meet(ground, &far, answer_some);
    for (int i = 0; i < WORKERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "w%d@there", i);
        check(dctx_system_find(ground->system, name, &ends.workers[i]) == DCTX_OK);
        name[strlen(name) - 6] = '\0';
        if (i != 3) /* who has never been */
            (void)spawn(far.there, name, fail_or_stop, NULL);
    }
    if (ground->world != NULL && draw(ground, 2) == 0)
        check(dctx_test_net_set(ground->world, &(dctx_test_net_t){.delay_ns = 300000,
                                                                  .jitter_ns = 500000,
                                                                  .sever = 30000}) == DCTX_OK);
    uint64_t goes = draw(ground, MONITORS + 20);
    for (int i = 0; i < MONITORS; i++) {
        dctx_ref_t worker = ends.workers[draw(ground, WORKERS)];
        all[i] = (one_t){.ends = &ends, .number = i};
        check(dctx_monitor_call(worker, hear_end, &all[i]) == DCTX_OK);
        if (draw(ground, 6) == 0) {
            uint64_t fails = draw(ground, 2);
            DCTX_WITH_SCOPE("edge")
                check(dctx_tell(worker, DCTX_TYPE_UINT64, &fails) == DCTX_OK);
        }
        if (draw(ground, 3) == 0)
            linger(ground, (int64_t)draw(ground, 3000000));
        if ((uint64_t)i == goes)
            finish(&far.there);
    }
    linger(ground, (int64_t)draw(ground, 20) * 1000000);
    part(&far);
    check(gate_count(&ends.told) == MONITORS);
    for (int i = 0; i < MONITORS; i++)
        check(ends.times[i] == 1);
}
