/* A zloop's readers, timers and tickets, each in the context it is for. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include <czmq.h>

#include <dcontext/transport.h>

static const dctx_key_t *tenant;
static char seen[256]; /* what the handlers saw, in order */
static zloop_t *zloop;
static dctx_loop_t *loop;

static void init(void)
{
    const dctx_key_options_t options = {.name = "tenant", .type = DCTX_TYPE_STRING};
    cr_assert_eq(dctx_registry_add(NULL, &options, &tenant), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    zloop = zloop_new();
    zloop_set_ticket_delay(zloop, 1);
    cr_assert_eq(dctx_loop_new(zloop, &loop), DCTX_OK);
}

static void fini(void)
{
    dctx_loop_destroy(&loop);
    zloop_destroy(&zloop);
}

static void note(void)
{
    char chain[64];
    size_t used = strlen(seen);
    const char *value = dctx_get(tenant);
    dctx_chain_format(chain, sizeof(chain));
    snprintf(seen + used, sizeof(seen) - used, "%s(%s) ", chain, value != NULL ? value : "-");
}

static int on_message(dctx_loop_t *from, void *socket, zmsg_t **message_p, void *arg)
{
    int *left = arg;
    cr_assert_eq(from, loop);
    cr_assert_not_null(socket);
    cr_assert_eq(zmsg_size(*message_p), 1);
    note();
    return --*left == 0 ? -1 : 0;
}

Test(loop, a_reader_runs_in_the_messages_context, .init = init, .fini = fini)
{
    zsock_t *push = zsock_new_push("@inproc://loop"), *pull = zsock_new_pull(">inproc://loop");
    int left = 3;
    for (int i = 0; i < 3; i++) {
        DCTX_SCOPE(i == 1 ? NULL : "gateway");
        if (i == 0)
            cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
        zmsg_t *message = zmsg_new();
        zmsg_addstr(message, "x");
        cr_assert_eq(dctx_send(push, &message), DCTX_OK);
    }
    cr_assert_eq(dctx_loop_reader(loop, pull, NULL, "reader", on_message, &left, NULL), DCTX_OK);
    zloop_start(zloop);
    cr_assert_str_eq(seen, "gateway > reader(acme) reader(-) gateway > reader(-) ");
    cr_assert(dctx_is_empty());
    dctx_loop_destroy(&loop);
    zsock_destroy(&push);
    zsock_destroy(&pull);
}

static int on_time(dctx_loop_t *from, void *arg)
{
    int *left = arg;
    cr_assert_eq(from, loop);
    note();
    return --*left == 0 ? -1 : 0;
}

Test(loop, timers_and_tickets_run_in_the_context_they_were_set_in, .init = init, .fini = fini)
{
    int left = 3;
    DCTX_WITH_SCOPE("request") {
        cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
        cr_assert_eq(dctx_loop_ticket(loop, "ticket", on_time, &left, NULL), DCTX_OK);
        cr_assert_eq(dctx_loop_timer(loop, 40, 2, "timer", on_time, &left, NULL), DCTX_OK);
    }
    zloop_start(zloop);
    cr_assert_str_eq(seen, "request > ticket(acme) request > timer(acme) request > timer(acme) ");
    cr_assert(dctx_is_empty());
}

static dctx_loop_entry_t *self;

static int end_myself(dctx_loop_t *from, void *arg)
{
    int *count = arg;
    ++*count;
    dctx_loop_end(from, &self);
    return 0;
}

static int stop(dctx_loop_t *from, void *arg)
{
    (void)from;
    (void)arg;
    return -1;
}

Test(loop, an_entry_can_end_itself_and_others, .init = init, .fini = fini)
{
    int ran = 0, never = 0;
    dctx_loop_entry_t *timer, *ticket;
    cr_assert_eq(dctx_loop_timer(loop, 1, 0, "endless", end_myself, &ran, &self), DCTX_OK);
    cr_assert_eq(dctx_loop_timer(loop, 1, 1, "never", on_time, &never, &timer), DCTX_OK);
    cr_assert_eq(dctx_loop_ticket(loop, "never", on_time, &never, &ticket), DCTX_OK);
    dctx_loop_end(loop, &timer);
    dctx_loop_end(loop, &ticket);
    cr_assert_eq(dctx_loop_timer(loop, 60, 1, "stop", stop, NULL, NULL), DCTX_OK);
    zloop_start(zloop);
    cr_assert_eq(ran, 1);
    cr_assert_eq(never, 0);
    cr_assert_null(self);
    dctx_loop_end(loop, &self);
}

/* A loop that was ended by a ticket can be started again, and the ticket is not there any more. */
Test(loop, a_ticket_fires_once, .init = init, .fini = fini)
{
    int left = 1;
    cr_assert_eq(dctx_loop_ticket(loop, "ticket", on_time, &left, NULL), DCTX_OK);
    zloop_start(zloop);
    left = 100;
    cr_assert_eq(dctx_loop_timer(loop, 30, 1, "stop", stop, NULL, NULL), DCTX_OK);
    zloop_start(zloop);
    cr_assert_eq(left, 100);
    cr_assert_str_eq(seen, "ticket(-) ");
}

Test(loop, what_cannot_be_is_refused, .init = init, .fini = fini)
{
    dctx_loop_t *none = NULL;
    cr_assert_eq(dctx_loop_new(NULL, &none), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_loop_timer(loop, 1, 1, "x", NULL, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_loop_timer(NULL, 1, 1, "x", stop, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_loop_ticket(loop, "two\nlines", stop, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_loop_reader(loop, NULL, NULL, "x", on_message, NULL, NULL), DCTX_ERR_INVALID);
    dctx_loop_destroy(&none);
    dctx_loop_destroy(NULL);
}

/* ---- spans ----------------------------------------------------------------------------------- */

static dctx_trace_t spans[3];

static int note_span(dctx_loop_t *from, void *socket, zmsg_t **message_p, void *arg)
{
    int *left = arg;
    (void)socket;
    (void)message_p;
    if (dctx_trace_get() != NULL)
        spans[3 - *left] = *dctx_trace_get();
    if (*left == 2)
        dctx_loop_set_spans(from, false, NULL);
    return --*left == 0 ? -1 : 0;
}

Test(loop, a_reader_may_run_in_a_span_of_its_own, .init = init, .fini = fini)
{
    zsock_t *push = zsock_new_push("@inproc://spans"), *pull = zsock_new_pull(">inproc://spans");
    dctx_random_t random, same;
    dctx_random_seed(&random, 7);
    dctx_random_seed(&same, 7);
    dctx_trace_t sent;
    int left = 3;
    dctx_trace_root(NULL, &sent);
    for (int i = 0; i < 3; i++) {
        DCTX_SCOPE(NULL);
        if (i > 0)
            cr_assert_eq(dctx_trace_set(&sent), DCTX_OK);
        zmsg_t *message = zmsg_new();
        zmsg_addstr(message, "x");
        cr_assert_eq(dctx_send(push, &message), DCTX_OK);
    }
    dctx_loop_set_spans(NULL, true, NULL);
    dctx_loop_set_spans(loop, true, &(dctx_id_source_t){dctx_random_next, &random});
    cr_assert_eq(dctx_loop_reader(loop, pull, NULL, "in", note_span, &left, NULL), DCTX_OK);
    (void)zloop_start(zloop);
    cr_assert(!dctx_trace_is_valid(&spans[0]), "no trace, no span");
    cr_assert_eq(spans[1].trace_low, sent.trace_low);
    cr_assert_eq(spans[1].trace_high, sent.trace_high);
    cr_assert_eq(spans[1].parent, sent.span);
    cr_assert_eq(spans[1].span, dctx_random_next(&same));
    cr_assert_eq(spans[2].span, sent.span, "switched off");
    dctx_loop_destroy(&loop);
    zsock_destroy(&push);
    zsock_destroy(&pull);
}
