/* Cancelling what asks and tells have started: in this process, in another system,
 * on another node. */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* ---- who works, and who asks ----------------------------------------------------------------- */

enum { WORKERS_MAX = 64 };

/* An actor that puts its answers off and watches whether they are still wanted. */
typedef struct worker {
    gate_t began, called_off;
    int count;
    struct job {
        dctx_reply_to_t *reply_to;
        dctx_cancel_t *cancel;
        dctx_cancel_watch_t watch;
        struct worker *worker;
    } jobs[WORKERS_MAX];
} worker_t;

#define WORKER_INIT                                                                                \
    {                                                                                              \
        .began = GATE_INIT, .called_off = GATE_INIT                                                \
    }

static void on_cancel(dctx_cancel_t *cancel, void *arg)
{
    struct job *job = arg;
    (void)cancel;
    gate_pass(&job->worker->called_off);
}

static dctx_error_t work(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    worker_t *worker = state;
    struct job *job = &worker->jobs[worker->count++];
    (void)self;
    job->worker = worker;
    job->cancel = dctx_cancel_ref(dctx_cancel_get());
    (void)dctx_cancel_watch(job->cancel, &job->watch, on_cancel, job);
    dctx_error_t error = dctx_reply_defer(message, &job->reply_to);
    gate_pass(&worker->began);
    return error;
}

static void dismiss(worker_t *worker)
{
    for (int i = 0; i < worker->count; i++) {
        dctx_cancel_unwatch(&worker->jobs[i].watch);
        dctx_cancel_unref(&worker->jobs[i].cancel);
        dctx_reply_to_destroy(&worker->jobs[i].reply_to);
    }
}

typedef struct asker {
    gate_t ended;
    dctx_error_t status;
    char reason[256];
} asker_t;

static void on_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    asker_t *asker = arg;
    asker->status = status;
    snprintf(asker->reason, sizeof asker->reason, "%s", dctx_message_reason(reply));
    gate_pass(&asker->ended);
}

static void ask(dctx_ref_t to, int64_t timeout_ms, asker_t *asker)
{
    cr_assert_eq(dctx_ask_call(to, NULL, NULL, timeout_ms, on_end, asker), DCTX_OK, "%s",
                 dctx_error_detail());
}

static void ask_in(dctx_cancel_t *cancel, dctx_ref_t to, asker_t *asker)
{
    DCTX_WITH_SCOPE("front") {
        cr_assert_eq(dctx_cancel_enter(cancel), DCTX_OK);
        ask(to, WAIT_MS, asker);
    }
}

static dctx_cancel_t *new_cancel(void)
{
    dctx_cancel_t *cancel = NULL;
    cr_assert_eq(dctx_cancel_new(&cancel), DCTX_OK);
    return cancel;
}

static void cancel_and_drop(dctx_cancel_t **cancel_p, const char *reason)
{
    DCTX_WITH_SCOPE("user") {
        cr_assert(dctx_cancel(*cancel_p, reason));
    }
    dctx_cancel_unref(cancel_p);
}

static void check_called_off(const worker_t *worker, int job, const char *reason, const char *by)
{
    const dctx_cancel_t *cancel = worker->jobs[job].cancel;
    cr_assert_eq(dctx_cancel_status(cancel), DCTX_ERR_CANCELLED);
    cr_assert_str_eq(dctx_cancel_reason(cancel), reason);
    cr_assert_str_eq(dctx_cancel_chain(cancel), by);
}

/* ---- in one system --------------------------------------------------------------------------- */

Test(cancel, ends_the_ask_and_the_work_for_it, .init = fixture_init, .timeout = 30)
{
    worker_t worker = WORKER_INIT;
    asker_t mine = {.ended = GATE_INIT}, other = {.ended = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "worker", work, &worker);
    dctx_cancel_t *cancel = new_cancel();
    ask_in(cancel, ref, &mine);
    ask(ref, WAIT_MS, &other);
    cr_assert(gate_wait(&worker.began, 2));
    cancel_and_drop(&cancel, "enough");
    cr_assert(gate_wait(&mine.ended, 1));
    cr_assert_eq(mine.status, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(mine.reason, "enough");
    cr_assert_eq(gate_count(&worker.called_off), 1);
    check_called_off(&worker, 0, "enough", "user");
    cr_assert_eq(dctx_cancel_status(worker.jobs[1].cancel), DCTX_OK, "not what does not belong");
    cr_assert_eq(dctx_reply_to_send(&worker.jobs[0].reply_to, NULL, NULL), DCTX_OK,
                 "late, harmless");
    cr_assert_eq(dctx_reply_to_send(&worker.jobs[1].reply_to, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&other.ended, 1));
    cr_assert_eq(other.status, DCTX_OK);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.asks_cancelled, 1);
    cr_assert_eq(c.asks_in_flight, 0);
    cr_assert_eq(c.late_replies, 1);
    dismiss(&worker);
    finish(&system);
}

Test(cancel, a_wait_ends_too_and_a_cancelled_scope_asks_nothing, .init = fixture_init,
     .timeout = 30)
{
    worker_t worker = WORKER_INIT;
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "worker", work, &worker);
    dctx_cancel_t *cancel = new_cancel();
    dctx_message_t *reply = NULL;
    (void)dctx_cancel(cancel, "before");
    DCTX_WITH_SCOPE("front") {
        cr_assert_eq(dctx_cancel_enter(cancel), DCTX_OK);
        cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, WAIT_MS, &reply), DCTX_ERR_CANCELLED);
        cr_assert_not_null(strstr(dctx_error_detail(), "before"));
        cr_assert_null(reply);
    }
    cr_assert_eq(counters(system).refused, 1);
    cr_assert_eq(counters(system).accepted, 0);
    dctx_cancel_unref(&cancel);
    finish(&system);
}

static dctx_error_t block(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_wait(state, 1);
    return DCTX_OK;
}

typedef struct letters {
    gate_t gate;
    char chain[128];
    dctx_error_t reason;
} letters_t;

static void on_letter(const dctx_dead_letter_t *letter, void *arg)
{
    letters_t *letters = arg;
    snprintf(letters->chain, sizeof letters->chain, "%s", letter->chain);
    letters->reason = letter->reason;
    gate_pass(&letters->gate);
}

Test(cancel, what_is_queued_is_skipped, .init = fixture_init, .timeout = 30)
{
    gate_t gate = GATE_INIT;
    letters_t letters = {.gate = GATE_INIT};
    asker_t asker = {.ended = GATE_INIT};
    dctx_system_t *system =
        start(&(dctx_system_options_t){.workers = 1, .on_dead_letter = on_letter, .arg = &letters});
    dctx_ref_t ref = spawn(system, "busy", block, &gate);
    dctx_cancel_t *cancel = new_cancel();
    tell_uint(ref, 0); /* keeps it busy */
    ask_in(cancel, ref, &asker);
    DCTX_WITH_SCOPE("front") {
        cr_assert_eq(dctx_cancel_enter(cancel), DCTX_OK);
        tell_uint(ref, 1);
        DCTX_WITH_SCOPE("accounting") {
            cr_assert_eq(dctx_cancel_detach(), DCTX_OK);
            tell_uint(ref, 2); /* is done even so */
        }
    }
    cancel_and_drop(&cancel, "enough");
    cr_assert_eq(gate_count(&asker.ended), 0, "the only worker is busy");
    gate_pass(&gate);
    cr_assert(gate_wait(&asker.ended, 1));
    cr_assert_eq(asker.status, DCTX_ERR_CANCELLED);
    cr_assert(gate_wait(&letters.gate, 2));
    cr_assert_eq(letters.reason, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(letters.chain, "front");
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.cancelled, 2);
    cr_assert_eq(c.dead_lettered, 2);
    cr_assert_eq(c.handled, 2);
    finish(&system);
}

Test(cancel, a_timeout_calls_the_work_off, .init = fixture_init, .timeout = 30)
{
    worker_t worker = WORKER_INIT;
    asker_t asker = {.ended = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "worker", work, &worker);
    ask(ref, 1, &asker);
    cr_assert(gate_wait(&asker.ended, 1));
    cr_assert_eq(asker.status, DCTX_ERR_TIMEOUT);
    /* Either it had begun and was called off, or it was skipped. */
    cr_assert(gate_count(&worker.began) == 0 || gate_wait(&worker.called_off, 1));
    dismiss(&worker);
    finish(&system);
}

/* ---- to any depth ---------------------------------------------------------------------------- */

typedef struct hop {
    dctx_ref_t next;
    gate_t began, ended;
    dctx_error_t status;
    dctx_reply_to_t *reply_to;
} hop_t;

static void hop_end(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                    void *state, void *arg)
{
    hop_t *hop = state;
    (void)self;
    (void)arg;
    hop->status = status;
    if (status == DCTX_ERR_CANCELLED) {
        cr_assert(dctx_cancelled());
        cr_assert_eq(dctx_cancel_check(), DCTX_ERR_CANCELLED);
        cr_assert_not_null(strstr(dctx_error_detail(), dctx_message_reason(reply)));
    }
    dctx_reply_to_destroy(&hop->reply_to);
    gate_pass(&hop->ended);
}

/* Asks the next one, and answers when that has. */
static dctx_error_t pass_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    hop_t *hop = state;
    dctx_error_t error = DCTX_OK;
    if (dctx_message_is_ask(message))
        error = dctx_reply_defer(message, &hop->reply_to);
    DCTX_SCOPE("inner");
    if (error == DCTX_OK)
        error = dctx_ask(self, hop->next, NULL, NULL, WAIT_MS, hop_end, NULL);
    gate_pass(&hop->began);
    return error;
}

Test(cancel, reaches_down_a_chain_of_asks, .init = fixture_init, .timeout = 30)
{
    enum { DEPTH = 8 };
    worker_t worker = WORKER_INIT;
    asker_t asker = {.ended = GATE_INIT};
    hop_t hops[DEPTH];
    dctx_system_t *system = start(NULL);
    dctx_ref_t next = spawn(system, "worker", work, &worker);
    for (int i = 0; i < DEPTH; i++) {
        hops[i] = (hop_t){.next = next, .began = GATE_INIT, .ended = GATE_INIT};
        next = spawn(system, NULL, pass_on, &hops[i]);
    }
    dctx_cancel_t *cancel = new_cancel();
    ask_in(cancel, next, &asker);
    cr_assert(gate_wait(&worker.began, 1));
    cancel_and_drop(&cancel, "enough");
    cr_assert_eq(gate_count(&worker.called_off), 1, "when cancel returns");
    check_called_off(&worker, 0, "enough", "user");
    cr_assert(gate_wait(&asker.ended, 1));
    for (int i = 0; i < DEPTH; i++) {
        cr_assert(gate_wait(&hops[i].ended, 1));
        cr_assert_eq(hops[i].status, DCTX_ERR_CANCELLED);
    }
    dismiss(&worker);
    cr_assert_eq(counters(system).asks_in_flight, 0);
    cr_assert_eq(counters(system).asks_cancelled, DEPTH + 1);
    finish(&system);
}

Test(cancel, a_timeout_far_up_reaches_down, .init = fixture_init, .timeout = 30)
{
    worker_t worker = WORKER_INIT;
    asker_t asker = {.ended = GATE_INIT};
    dctx_system_t *system = start(NULL);
    hop_t hop = {
        .next = spawn(system, "worker", work, &worker), .began = GATE_INIT, .ended = GATE_INIT};
    dctx_ref_t ref = spawn(system, "hop", pass_on, &hop);
    ask(ref, 100, &asker);
    cr_assert(gate_wait(&asker.ended, 1));
    cr_assert_eq(asker.status, DCTX_ERR_TIMEOUT);
    if (gate_count(&hop.began) > 0) {
        cr_assert(gate_wait(&hop.ended, 1));
        cr_assert_eq(hop.status, DCTX_ERR_CANCELLED);
    }
    dismiss(&worker);
    finish(&system);
}

static dctx_error_t ask_or_stop(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    if (*(const uint64_t *)dctx_message_get(message, DCTX_TYPE_UINT64) == 0)
        return pass_on(self, message, state);
    dctx_self_stop(self);
    return DCTX_OK;
}

Test(cancel, the_death_of_the_asker_calls_off, .init = fixture_init, .timeout = 30)
{
    worker_t worker = WORKER_INIT;
    dctx_system_t *system = start(NULL);
    hop_t hop = {
        .next = spawn(system, "worker", work, &worker), .began = GATE_INIT, .ended = GATE_INIT};
    dctx_ref_t asker = spawn(system, "asker", ask_or_stop, &hop);
    tell_uint(asker, 0);
    cr_assert(gate_wait(&worker.began, 1));
    tell_uint(asker, 1);
    cr_assert(gate_wait(&worker.called_off, 1));
    cr_assert_str_eq(dctx_cancel_reason(worker.jobs[0].cancel), "the asker has gone");
    cr_assert_eq(gate_count(&hop.ended), 0);
    dismiss(&worker);
    finish(&system);
}

typedef struct told {
    gate_t gate;
    bool cancelled;
} told_t;

static dctx_error_t be_told(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    told_t *told = state;
    (void)self;
    (void)message;
    told->cancelled = dctx_cancelled();
    gate_pass(&told->gate);
    return DCTX_OK;
}

/* Tells, and then answers: what it told goes on. */
static dctx_error_t answer_and_tell(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    tell_uint(*(dctx_ref_t *)state, 1);
    cr_assert(!dctx_cancelled());
    cr_assert_eq(dctx_reply(message, NULL, NULL), DCTX_OK);
    cr_assert(!dctx_cancelled());
    tell_uint(*(dctx_ref_t *)state, 2);
    return DCTX_OK;
}

Test(cancel, what_is_answered_is_not_cancelled, .init = fixture_init, .timeout = 30)
{
    told_t told = {.gate = GATE_INIT};
    asker_t asker = {.ended = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t to = spawn(system, "told", be_told, &told);
    dctx_ref_t ref = spawn(system, "teller", answer_and_tell, &to);
    ask(ref, WAIT_MS, &asker);
    cr_assert(gate_wait(&told.gate, 2));
    cr_assert(gate_wait(&asker.ended, 1));
    cr_assert(!told.cancelled);
    cr_assert_eq(asker.status, DCTX_OK);
    cr_assert_eq(counters(system).cancelled, 0);
    finish(&system);
}

static dctx_error_t look(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    worker_t *worker = state;
    (void)self;
    (void)message;
    gate_pass(&worker->began);
    /* Without a scope of its own: the ask itself tells. */
    while (!dctx_cancelled())
        (void)sched_yield();
    cr_assert_eq(dctx_cancel_check(), DCTX_ERR_CANCELLED);
    gate_pass(&worker->called_off);
    return dctx_cancel_check();
}

Test(cancel, a_handler_that_only_looks_sees_it, .init = fixture_init, .timeout = 30)
{
    worker_t worker = WORKER_INIT;
    asker_t asker = {.ended = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "looker", look, &worker);
    ask(ref, 50, &asker);
    cr_assert(gate_wait(&asker.ended, 1));
    cr_assert(gate_count(&worker.began) == 0 || gate_wait(&worker.called_off, 1));
    finish(&system);
}

/* ---- another system of the process ----------------------------------------------------------- */

Test(cancel, crosses_to_another_system, .init = fixture_init, .timeout = 30)
{
    worker_t worker = WORKER_INIT;
    dctx_system_t *here = start(NULL), *there = start(NULL);
    hop_t hop = {
        .next = spawn(there, "worker", work, &worker), .began = GATE_INIT, .ended = GATE_INIT};
    asker_t asker = {.ended = GATE_INIT};
    dctx_ref_t ref = spawn(here, "hop", pass_on, &hop);
    dctx_cancel_t *cancel = new_cancel();
    ask_in(cancel, ref, &asker);
    cr_assert(gate_wait(&worker.began, 1));
    cancel_and_drop(&cancel, "enough");
    cr_assert_eq(gate_count(&worker.called_off), 1);
    cr_assert(gate_wait(&hop.ended, 1));
    cr_assert(gate_wait(&asker.ended, 1));
    dismiss(&worker);
    finish(&here);
    finish(&there);
}

/* ---- another node ---------------------------------------------------------------------------- */

typedef struct nodes {
    dctx_system_t *here, *there;
    worker_t worker;
    dctx_ref_t ref; /* of the worker, from here */
} nodes_t;

static void start_nodes(nodes_t *nodes)
{
    char *endpoint = NULL;
    dctx_error_t error;
    *nodes = (nodes_t){.worker = WORKER_INIT};
    nodes->here = start(&(dctx_system_options_t){.name = "here", .workers = 1});
    nodes->there = start(&(dctx_system_options_t){.name = "there", .workers = 1});
    (void)spawn(nodes->there, "worker", work, &nodes->worker);
    error = dctx_system_bind(nodes->there, "tcp://127.0.0.1:*", &endpoint);
    if (error == DCTX_OK)
        error = dctx_system_connect(nodes->here, "there", endpoint);
    if (error == DCTX_OK)
        error = dctx_system_wait_node(nodes->here, "there", WAIT_MS);
    if (error == DCTX_OK)
        error = dctx_system_find(nodes->here, "worker@there", &nodes->ref);
    cr_assert_eq(error, DCTX_OK, "%s", dctx_error_detail());
    dctx_free(endpoint);
}

Test(cancel, reaches_another_node_with_reason_and_chain, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    asker_t mine = {.ended = GATE_INIT}, other = {.ended = GATE_INIT};
    start_nodes(&nodes);
    dctx_cancel_t *cancel = new_cancel();
    ask_in(cancel, nodes.ref, &mine);
    ask(nodes.ref, WAIT_MS, &other);
    cr_assert(gate_wait(&nodes.worker.began, 2));
    cancel_and_drop(&cancel, "enough");
    cr_assert(gate_wait(&mine.ended, 1));
    cr_assert_str_eq(mine.reason, "enough");
    cr_assert(gate_wait(&nodes.worker.called_off, 1));
    int job = dctx_cancel_status(nodes.worker.jobs[0].cancel) == DCTX_OK;
    check_called_off(&nodes.worker, job, "enough", "user");
    cr_assert_eq(dctx_cancel_status(nodes.worker.jobs[!job].cancel), DCTX_OK);
    cr_assert_eq(dctx_reply_to_send(&nodes.worker.jobs[!job].reply_to, NULL, NULL), DCTX_OK);
    cr_assert(gate_wait(&other.ended, 1));
    cr_assert_eq(other.status, DCTX_OK);
    dismiss(&nodes.worker);
    cr_assert_eq(counters(nodes.here).cancels_sent, 1);
    cr_assert_eq(counters(nodes.there).cancels_received, 1);
    finish(&nodes.here);
    finish(&nodes.there);
}

Test(cancel, what_is_queued_on_another_node_is_skipped, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    gate_t gate = GATE_INIT;
    asker_t asker = {.ended = GATE_INIT}, marker = {.ended = GATE_INIT};
    start_nodes(&nodes);
    dctx_ref_t busy;
    (void)spawn(nodes.there, "busy", block, &gate);
    cr_assert_eq(dctx_system_find(nodes.here, "busy@there", &busy), DCTX_OK);
    dctx_cancel_t *cancel = new_cancel();
    tell_uint(busy, 0);
    ask_in(cancel, busy, &asker);
    cancel_and_drop(&cancel, "enough");
    /* In order: when this was refused, the cancel has arrived. */
    dctx_ref_t nobody;
    cr_assert_eq(dctx_system_find(nodes.here, "nobody@there", &nobody), DCTX_OK);
    ask(nobody, WAIT_MS, &marker);
    cr_assert(gate_wait(&marker.ended, 1));
    cr_assert_eq(marker.status, DCTX_ERR_NO_ACTOR);
    gate_pass(&gate);
    cr_assert(gate_wait(&asker.ended, 1));
    finish(&nodes.here);
    cr_assert_eq(dctx_system_stop(nodes.there, WAIT_MS, NULL), DCTX_OK);
    /* Cancelled before it was sent, or skipped over there. */
    dctx_system_counters_t c = counters(nodes.there);
    cr_assert(c.handled == 1 && c.cancelled == c.accepted - 2, "%d of %d", (int)c.cancelled,
              (int)c.accepted);
    finish(&nodes.there);
}

Test(cancel, the_loss_of_the_asking_node_calls_off, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    asker_t asker = {.ended = GATE_INIT};
    start_nodes(&nodes);
    ask(nodes.ref, WAIT_MS, &asker);
    cr_assert(gate_wait(&nodes.worker.began, 1));
    (void)dctx_system_stop(nodes.here, 0, NULL);
    cr_assert(gate_wait(&asker.ended, 1));
    cr_assert(gate_wait(&nodes.worker.called_off, 1));
    check_called_off(&nodes.worker, 0, "the node that asked has gone", "");
    dismiss(&nodes.worker);
    finish(&nodes.here);
    finish(&nodes.there);
}

Test(cancel, a_timeout_calls_off_on_another_node, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    asker_t asker = {.ended = GATE_INIT};
    start_nodes(&nodes);
    dctx_ref_t hop_ref;
    hop_t hop = {.next = nodes.ref, .began = GATE_INIT, .ended = GATE_INIT};
    hop_ref = spawn(nodes.here, "hop", pass_on, &hop);
    ask(hop_ref, 200, &asker);
    cr_assert(gate_wait(&asker.ended, 1));
    cr_assert_eq(asker.status, DCTX_ERR_TIMEOUT);
    if (gate_count(&nodes.worker.began) > 0) {
        cr_assert(gate_wait(&nodes.worker.called_off, 1));
        check_called_off(&nodes.worker, 0, dctx_strerror(DCTX_ERR_TIMEOUT), "");
    }
    dismiss(&nodes.worker);
    finish(&nodes.here);
    finish(&nodes.there);
}

static dctx_error_t send_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    /* The first to need a scope is not the one who does the work. */
    cr_assert_not_null(dctx_cancel_get());
    return dctx_forward(self, message, *(dctx_ref_t *)state);
}

static void check_sent_on(nodes_t *nodes, dctx_ref_t to, worker_t *worker)
{
    asker_t asker = {.ended = GATE_INIT};
    dctx_ref_t ref = spawn(nodes->here, NULL, send_on, &to);
    dctx_cancel_t *cancel = new_cancel();
    ask_in(cancel, ref, &asker);
    cr_assert(gate_wait(&worker->began, 1));
    cancel_and_drop(&cancel, "enough");
    cr_assert(gate_wait(&asker.ended, 1));
    cr_assert_eq(asker.status, DCTX_ERR_CANCELLED);
    cr_assert(gate_wait(&worker->called_off, 1));
    check_called_off(worker, 0, "enough", "user");
}

Test(cancel, an_ask_that_was_sent_on_is_called_off_where_it_went, .init = fixture_init,
     .timeout = 30)
{
    nodes_t nodes;
    worker_t local = WORKER_INIT;
    start_nodes(&nodes);
    check_sent_on(&nodes, spawn(nodes.here, "local", work, &local), &local);
    check_sent_on(&nodes, nodes.ref, &nodes.worker);
    dismiss(&local);
    dismiss(&nodes.worker);
    finish(&nodes.here);
    finish(&nodes.there);
}

/* ---- all at once ----------------------------------------------------------------------------- */

static dctx_error_t sometimes(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    return dctx_cancelled() ? DCTX_ERR_CANCELLED : dctx_reply(message, NULL, NULL);
}

static void on_any_end(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)reply;
    cr_assert(status == DCTX_OK || status == DCTX_ERR_CANCELLED, "%s", dctx_error_name(status));
    gate_pass(arg);
}

static void *cancel_late(void *arg)
{
    dctx_cancel_t *cancel = arg;
    (void)dctx_cancel(cancel, "now");
    dctx_cancel_unref(&cancel);
    return NULL;
}

Test(cancel, races_with_answers_and_neither_is_lost, .init = fixture_init, .timeout = 60)
{
    enum { ROUNDS = 200, ASKS = 16 };
    gate_t ended = GATE_INIT;
    dctx_system_t *system = start(NULL);
    dctx_ref_t to[4];
    long expected = 0;
    for (int i = 0; i < 4; i++)
        to[i] = spawn(system, NULL, sometimes, NULL);
    for (long round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        dctx_cancel_t *cancel = new_cancel();
        long asked = 0;
        DCTX_WITH_SCOPE("round") {
            cr_assert_eq(dctx_cancel_enter(cancel), DCTX_OK);
            for (int i = 0; i < ASKS; i++) {
                if (i == ASKS / 2)
                    cr_assert_eq(
                        pthread_create(&thread, NULL, cancel_late, dctx_cancel_ref(cancel)), 0);
                dctx_error_t error =
                    dctx_ask_call(to[i % 4], NULL, NULL, WAIT_MS, on_any_end, &ended);
                cr_assert(error == DCTX_OK || error == DCTX_ERR_CANCELLED);
                asked += error == DCTX_OK;
            }
        }
        pthread_join(thread, NULL);
        dctx_cancel_unref(&cancel);
        expected += asked;
        cr_assert(gate_wait(&ended, expected));
    }
    cr_assert_eq(counters(system).asks_in_flight, 0);
    finish(&system);
}
