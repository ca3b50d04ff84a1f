#include "handle.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "busy.h"
#include "deadletter.h"
#include "extra.h"
#include "gauge.h"
#include "inbound.h"
#include "life.h"
#include "stash.h"
#include "system.h"
#include "urgent.h"
#include "work.h"

/* ---- in and out of a context ----------------------------------------------------------------- */

/* The snapshot is lent: what is handled, or the system, holds it until after the leave. */
static dctx_error_t enter_named(dctx_system_t *system, const dctx_snapshot_t *snapshot,
                                const char *name, dctx_scope_t *scope)
{
    if (snapshot == NULL && system->global)
        return dctx_scope_push(name, scope);
    if (snapshot == NULL)
        snapshot = system->empty;
    return dctx_attach_lent_(snapshot, name, name != NULL ? strlen(name) : 0, scope);
}

/* Makes a message's context the thread's. A name over the registry's limit is left out,
 * and counted. */
static dctx_error_t enter(dctx_runner_t *runner, const dctx_snapshot_t *snapshot, const char *name,
                          dctx_scope_t *scope)
{
    dctx_system_t *system = runner->system;
    dctx_error_t error = enter_named(system, snapshot, name, scope);
    if (error != DCTX_ERR_LIMIT || name == NULL)
        return error;
    dctx_count_(system, runner, DCTX_TALLY_CONTEXT_ERRORS);
    dctx_log(DCTX_LOG_WARNING, "the scope \"%s\" is left out: %s", name, dctx_error_detail());
    return enter_named(system, snapshot, NULL, scope);
}

/* Back to the empty context, whatever the callback left open. */
static void leave(dctx_runner_t *runner, dctx_actor_t *actor, dctx_scope_t *scope)
{
    size_t leaked = dctx_scope_unwind_(scope);
    if (__builtin_expect(leaked > 0, 0)) {
        dctx_tally_own(&runner->tallies, DCTX_TALLY_LEAKS);
        dctx_log(DCTX_LOG_WARNING, "%s left %zu scopes open; they are closed",
                 actor->scope + DCTX_NAME_AT, leaked);
    }
    assert(dctx_is_empty() || runner->nested);
}

void dctx_handle_cool_(dctx_runner_t *runner)
{
    if (runner->warm == NULL)
        return;
    runner->warm = NULL;
    (void)dctx_scope_unwind_(&runner->warm_scope);
    assert(dctx_is_empty() || runner->nested);
}

/* True if the next message has the same context as this one, which is about to be handled. Only now
 * may that be looked at: once user code runs, the thread can be given up, and the mailbox be
 * another's. */
static bool is_one_of_many(const dctx_runner_t *runner, const dctx_actor_t *actor,
                           const dctx_message_t *message)
{
    if (!runner->in_turn || runner->at_urgent || actor->unstashed || message->snapshot == NULL ||
        message->node.flags != 0 ||
        atomic_load_explicit(&runner->system->intercepted, memory_order_relaxed) ||
        (message->type != NULL && message->type->destroy != NULL))
        return false;
    const dctx_node_t *next = atomic_load_explicit(&message->node.next, memory_order_acquire);
    return next != NULL && next->kind == DCTX_NODE_MESSAGE && next->flags == 0 &&
           next->generation == message->node.generation &&
           dctx_message_of((dctx_node_t *)(uintptr_t)next)->snapshot == message->snapshot;
}

/* After a message, one of many, was handled: its context is left open for the next one, if nothing
 * is to come in between. Messages of one sender mostly come so, and attaching is a good part of
 * what one costs. */
static void keep_warm(dctx_runner_t *runner, const dctx_actor_t *actor,
                      const dctx_message_t *message, dctx_scope_t *scope)
{
    if (actor->unstashed || actor->stopping) {
        (void)dctx_scope_unwind_(scope);
        return;
    }
    runner->warm = message->snapshot;
    runner->warm_scope = *scope;
}

/* For callbacks that have to run whether or not there is memory for their context. */
static void enter_anyhow(dctx_runner_t *runner, const dctx_snapshot_t *snapshot, const char *name,
                         dctx_scope_t *scope)
{
    dctx_error_t error = enter(runner, snapshot, name, scope);
    if (error == DCTX_OK)
        return;
    dctx_count_(runner->system, runner, DCTX_TALLY_CONTEXT_ERRORS);
    dctx_log(DCTX_LOG_ERROR, "a callback runs without its context: %s", dctx_error_name(error));
    (void)dctx_scope_push(NULL, scope);
}

const char *dctx_handle_scope_(const dctx_actor_t *actor, const dctx_message_t *message,
                               char buffer[DCTX_SCOPE_NAME])
{
    unsigned flags = message->node.flags & (DCTX_MESSAGE_REMOTE | DCTX_MESSAGE_FORWARDED);
    if (flags != DCTX_MESSAGE_REMOTE)
        return actor->scope;
    snprintf(buffer, DCTX_SCOPE_NAME, "remote:%s", actor->scope + DCTX_NAME_AT);
    return buffer;
}

void dctx_handle_enter_(dctx_runner_t *runner, const dctx_snapshot_t *snapshot, const char *name,
                        dctx_scope_t *scope)
{
    dctx_handle_cool_(runner);
    enter_anyhow(runner, snapshot, name, scope);
}

void dctx_handle_leave_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_scope_t *scope)
{
    leave(runner, actor, scope);
}

/* ---- a message ------------------------------------------------------------------------------- */

/* After the handler. */
static void note_outcome(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                         dctx_error_t error, dctx_error_t *ret_error)
{
    message->node.flags |= DCTX_MESSAGE_HANDLED;
    if (__builtin_expect(error != DCTX_OK, 0) && runner->unhandled) {
        message->node.flags &= (uint16_t)~DCTX_MESSAGE_HANDLED;
        runner->unhandled = false;
        *ret_error = error;
    } else if (__builtin_expect(error != DCTX_OK, 0)) {
        dctx_tally_own(&runner->tallies, DCTX_TALLY_FAILED);
        dctx_log(DCTX_LOG_WARNING, "%s failed on a message of type \"%s\": %s",
                 actor->scope + DCTX_NAME_AT, dctx_runner_type_(runner), dctx_error_name(error));
        *ret_error = error;
    }
    if (__builtin_expect(actor->extra != NULL, 0) && !dctx_runner_is_given_up(runner))
        dctx_life_handled_(actor, message, error, ret_error);
}

static void call_handler(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                         dctx_error_t *ret_error)
{
    dctx_error_t error = actor->handler(actor, message, actor->state);
    note_outcome(runner, actor, message, error, ret_error);
}

typedef struct handling {
    dctx_runner_t *runner;
    dctx_actor_t *actor;
    dctx_message_t *message;
} handling_t;

static dctx_error_t run_handler(void *arg)
{
    handling_t *handling = arg;
    dctx_error_t outcome = DCTX_OK;
    call_handler(handling->runner, handling->actor, handling->message, &outcome);
    return outcome;
}

static void call_through_pipeline(dctx_runner_t *runner, dctx_actor_t *actor,
                                  dctx_message_t *message, dctx_error_t *ret_error)
{
    handling_t handling = {.runner = runner, .actor = actor, .message = message};
    dctx_inbound_(runner, actor, message, run_handler, &handling, ret_error);
}

void dctx_handle_clear_(dctx_runner_t *runner, dctx_message_t *message)
{
    unsigned flags = message->node.flags;
    if (flags & DCTX_MESSAGE_REMOTE)
        dctx_runner_forget_type_(runner);
    bool kept = dctx_message_asker_is_remote_(message) && (flags & DCTX_MESSAGE_ASK) &&
                !(flags & DCTX_MESSAGE_ANSWERED);
    if (!kept)
        dctx_message_clear_(message);
}

/* A span of its own for the message in hand, if it came with a trace. */
static void begin_span(dctx_runner_t *runner)
{
    dctx_system_t *system = runner->system;
    if (!dctx_trace_is_valid(dctx_trace_get()) || dctx_trace_begin(system->span_ids) == DCTX_OK)
        return;
    dctx_count_(system, runner, DCTX_TALLY_CONTEXT_ERRORS);
    dctx_log(DCTX_LOG_WARNING, "a message is handled in its sender's span: %s",
             dctx_error_detail());
}

/* The value goes, and the thread is done with the message. */
static bool conclude(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                     dctx_error_t error)
{
    message->node.outcome = (uint8_t)error;
    dctx_handle_clear_(runner, message);
    if (!dctx_runner_end(runner))
        return false;
    unsigned kept = message->node.flags & (DCTX_MESSAGE_KEPT | DCTX_MESSAGE_DELAYED);
    if (__builtin_expect(kept == DCTX_MESSAGE_KEPT, 0))
        dctx_stash_settle_(actor);
    return true;
}

/* `many`: the context may stay open for the next message. */
static bool leave_handled(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message,
                          dctx_scope_t *scope, dctx_error_t error, bool many)
{
    const unsigned plain = DCTX_MESSAGE_HANDLED | DCTX_MESSAGE_BLOCK;
    many = many && error == DCTX_ERR_NO_REPLY && (message->node.flags & ~plain) == 0 &&
           dctx_scope_is_fresh_(scope);
    if (!many)
        leave(runner, actor, scope);
    if (!conclude(runner, actor, message, error))
        return false;
    if (many)
        keep_warm(runner, actor, message, scope);
    return true;
}

bool dctx_handle_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message)
{
    char buffer[DCTX_SCOPE_NAME];
    const char *name = dctx_handle_scope_(actor, message, buffer);
    dctx_scope_t scope;
    if (message->node.flags & DCTX_MESSAGE_REMOTE)
        atomic_store_explicit(&runner->remote_type, message->parcel->type, memory_order_relaxed);
    bool many = is_one_of_many(runner, actor, message);
    dctx_runner_begin(runner, actor, message, message->snapshot,
                      name == buffer ? "remote:" : "actor:");
    dctx_error_t error = DCTX_OK;
    if (runner->warm != NULL && runner->warm == message->snapshot && message->node.flags == 0) {
        scope = runner->warm_scope;
        runner->warm = NULL;
    } else {
        dctx_handle_cool_(runner);
        error = enter(runner, message->snapshot, name, &scope);
    }
    if (__builtin_expect(error != DCTX_OK, 0)) {
        dctx_message_die_(runner->system, actor->scope + DCTX_NAME_AT, message, error);
    } else {
        error = DCTX_ERR_NO_REPLY;
        bool ask = (message->node.flags & DCTX_MESSAGE_ASK) != 0;
        if (__builtin_expect(runner->system->options.hop_spans, 0))
            begin_span(runner);
        if (ask)
            dctx_work_begin_(runner);
        if (__builtin_expect(
                !atomic_load_explicit(&runner->system->intercepted, memory_order_relaxed), 1))
            call_handler(runner, actor, message, &error);
        else
            call_through_pipeline(runner, actor, message, &error);
        if (ask)
            dctx_work_end_(runner);
        return leave_handled(runner, actor, message, &scope, error, many);
    }
    return conclude(runner, actor, message, error);
}

/* The time at which the message after this one was sent; `now` if there is none yet. */
static int64_t next_sent_at(const dctx_message_t *message, int64_t now)
{
    dctx_node_t *next = atomic_load_explicit(&message->node.next, memory_order_acquire);
    bool stamped = next != NULL && next->kind == DCTX_NODE_MESSAGE &&
                   (next->flags & DCTX_MESSAGE_METERED) != 0;
    return stamped ? dctx_message_of(next)->sent_at : now;
}

bool dctx_handle_measured_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message)
{
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_relaxed);
    dctx_meter_t *meter = atomic_load_explicit(&gauge->metered, memory_order_relaxed);
    int64_t begin = dctx_now_(runner->system);
    uint64_t failed = dctx_tally_read(&runner->tallies, DCTX_TALLY_FAILED);
    int64_t sent_at = message->sent_at;
    atomic_store_explicit(&meter->oldest, next_sent_at(message, begin), memory_order_relaxed);
    if (!dctx_handle_(runner, actor, message))
        return false;
    dctx_timing_record_(&meter->run, dctx_now_(runner->system) - begin);
    bool kept = (message->node.flags & DCTX_MESSAGE_KEPT) != 0;
    if (!kept) /* one that is kept for later waits on */
        dctx_timing_record_(&meter->wait, begin - sent_at);
    if (!kept && (message->node.flags & DCTX_MESSAGE_HANDLED))
        dctx_meter_add_(&meter->handled, 1);
    dctx_meter_add_(&meter->failed, dctx_tally_read(&runner->tallies, DCTX_TALLY_FAILED) - failed);
    return true;
}

/* ---- one plain message after the other ------------------------------------------------------- */

/* Whether nothing is special about the actor that this thread alone would change. */
static inline bool is_plain(const dctx_actor_t *actor)
{
    return !actor->unstashed && !actor->stopping && actor->extra == NULL;
}

/* Whether nothing has come up that others bring up at any time. */
static inline bool is_undisturbed(dctx_system_t *system, dctx_actor_t *actor, uint32_t generation)
{
    return atomic_load_explicit(&actor->serving, memory_order_relaxed) == generation &&
           !dctx_urgent_waits_(actor) && dctx_phase_(system) < DCTX_PHASE_CLOSING &&
           !atomic_load_explicit(&system->intercepted, memory_order_relaxed);
}

/* What is the same for all messages of a run. */
typedef struct run {
    dctx_runner_t *runner;
    dctx_actor_t *actor;
    uint32_t generation;
    uint64_t tell, ask, answered, reply; /* what plain ones say of themselves */
    const dctx_snapshot_t *open; /* the context that was left open for the next; NULL: none */
    bool named;                  /* under the actor's name */
    dctx_scope_t scope;
} run_t;

static inline void close_context(run_t *run)
{
    if (run->open != NULL)
        (void)dctx_scope_unwind_(&run->scope);
    run->open = NULL;
}

/* The context of the message, in the scope of the actor, or as the asker left it. */
static inline dctx_error_t open_context(run_t *run, const dctx_snapshot_t *snapshot, bool named)
{
    run->runner->warm = NULL;
    if (run->open == snapshot && run->named == named) {
        run->open = NULL;
        return DCTX_OK;
    }
    close_context(run);
    run->named = named;
    return enter(run->runner, snapshot, named ? run->actor->scope : NULL, &run->scope);
}

/* Whether the message after this one has the same context. To be asked before the message is
 * handled: once user code runs, the thread can be given up, and the mailbox be another's. */
static inline bool is_followed(const dctx_node_t *node, uint64_t word,
                               const dctx_snapshot_t *snapshot)
{
    dctx_node_t *next = atomic_load_explicit(&node->next, memory_order_acquire);
    return next != NULL && dctx_node_word(next) == word &&
           dctx_message_of(next)->snapshot == snapshot;
}

/* After user code, in which nothing special has happened. False: abandoned. */
static inline bool end_plainly(run_t *run, const dctx_snapshot_t *snapshot, bool followed)
{
    run->open = followed && dctx_scope_is_fresh_(&run->scope) ? snapshot : NULL;
    if (run->open == NULL)
        leave(run->runner, run->actor, &run->scope);
    return dctx_busy_end(run->runner);
}

static dctx_plain_t refuse(run_t *run, dctx_message_t *message, dctx_error_t error)
{
    dctx_message_die_(run->runner->system, run->actor->scope + DCTX_NAME_AT, message, error);
    return conclude(run->runner, run->actor, message, error) ? DCTX_PLAIN_TAKEN
                                                             : DCTX_PLAIN_ABANDONED;
}

/* DCTX_PLAIN_LOOK: it is handled, and nothing is left to do but to release it. */
static inline __attribute__((always_inline)) dctx_plain_t
handle_plainly(run_t *run, dctx_message_t *message, bool is_ask)
{
    dctx_runner_t *runner = run->runner;
    dctx_actor_t *actor = run->actor;
    const dctx_snapshot_t *snapshot = message->snapshot;
    uint64_t word = is_ask ? run->ask : run->tell;
    bool followed = is_followed(&message->node, word, snapshot);
    dctx_busy_begin(runner, actor, message, message->type, snapshot, "actor:");
    dctx_error_t error = open_context(run, snapshot, true);
    if (__builtin_expect(error != DCTX_OK, 0))
        return refuse(run, message, error);
    if (is_ask)
        dctx_work_begin_(runner);
    error = actor->handler(actor, message, actor->state);
    dctx_error_t outcome = DCTX_ERR_NO_REPLY;
    bool plain = error == DCTX_OK && is_plain(actor) &&
                 dctx_node_word(&message->node) == (is_ask ? run->answered : run->tell);
    if (__builtin_expect(!plain, 0))
        note_outcome(runner, actor, message, error, &outcome);
    if (is_ask)
        dctx_work_end_(runner);
    if (__builtin_expect(!plain, 0)) {
        return leave_handled(runner, actor, message, &run->scope, outcome, followed)
                   ? DCTX_PLAIN_TAKEN
                   : DCTX_PLAIN_ABANDONED;
    }
    return end_plainly(run, snapshot, followed) ? DCTX_PLAIN_LOOK : DCTX_PLAIN_ABANDONED;
}

/* The same for the end of an ask that this actor made. */
static inline dctx_plain_t reply_plainly(run_t *run, dctx_message_t *record)
{
    dctx_runner_t *runner = run->runner;
    dctx_actor_t *actor = run->actor;
    const dctx_snapshot_t *snapshot = record->snapshot;
    bool followed = is_followed(&record->node, run->reply, snapshot);
    dctx_busy_begin(runner, actor, record, record->type, snapshot, NULL);
    if (__builtin_expect(open_context(run, snapshot, false) != DCTX_OK, 0))
        enter_anyhow(runner, snapshot, NULL, &run->scope);
    actor->asks--;
    record->u.done.run.on_reply(actor, record->u.done.status, record, actor->state,
                                record->u.done.arg);
    if (!end_plainly(run, snapshot, followed))
        return DCTX_PLAIN_ABANDONED;
    return is_plain(actor) && dctx_node_word(&record->node) == run->reply ? DCTX_PLAIN_LOOK
                                                                          : DCTX_PLAIN_TAKEN;
}

/* One that is done with, whose value nobody needs to destroy. */
static inline void dispose_plainly(dctx_runner_t *runner, dctx_message_t *message,
                                   dctx_tally_t tally)
{
    dctx_lot_spend(&runner->spent, message->snapshot);
    dctx_pool_give_(&runner->system->pool, &runner->cells, message);
    dctx_tally_own(&runner->tallies, tally);
}

/* Handles the oldest node if it is plain, as long as there is one; TAKEN also for the last one. */
static dctx_plain_t handle_run(run_t *run, unsigned *n, unsigned most)
{
    dctx_runner_t *runner = run->runner;
    dctx_actor_t *actor = run->actor;
    dctx_system_t *system = runner->system;
    dctx_node_t *node = actor->out.tail;
    while (*n < most && is_undisturbed(system, actor, run->generation)) {
        dctx_message_t *message = dctx_message_of(node);
        uint64_t word = dctx_node_word(node);
        if ((word != run->tell && word != run->ask && word != run->reply) ||
            message->snapshot == NULL || (message->type != NULL && message->type->destroy != NULL))
            return DCTX_PLAIN_LOOK;
        bool is_reply = word == run->reply;
        bool is_ask = word == run->ask;
        if (!is_reply && (dctx_snapshot_looks_due_(message->snapshot) ||
                          (is_ask && !dctx_ask_is_pending_(system, message->u.request.ask))))
            return DCTX_PLAIN_LOOK;
        dctx_plain_t plain = is_reply ? reply_plainly(run, message)
                             : is_ask ? handle_plainly(run, message, true)
                                      : handle_plainly(run, message, false);
        if (plain != DCTX_PLAIN_LOOK)
            return plain;
        dctx_node_t *next = atomic_load_explicit(&node->next, memory_order_acquire);
        if (next == NULL) {
            if (!is_reply)
                node->flags |= DCTX_MESSAGE_HANDLED;
            node->outcome = (uint8_t)DCTX_ERR_NO_REPLY;
            return DCTX_PLAIN_TAKEN;
        }
        actor->out.tail = next;
        dispose_plainly(runner, message, is_reply ? DCTX_TALLY_CONSUMED : DCTX_TALLY_HANDLED);
        node = next;
        ++*n;
    }
    return DCTX_PLAIN_LOOK;
}

dctx_plain_t dctx_handle_plain_(dctx_runner_t *runner, dctx_actor_t *actor, unsigned *n,
                                unsigned most)
{
    uint32_t generation = atomic_load_explicit(&actor->serving, memory_order_acquire);
    /* First: what comes late for an actor that is gone says nothing about who has the cell now. */
    if (actor->out.tail->generation != generation || !is_plain(actor) || actor->start != NULL ||
        runner->system->options.hop_spans)
        return DCTX_PLAIN_LOOK;
    run_t run = {.runner = runner,
                 .actor = actor,
                 .generation = generation,
                 .tell = dctx_node_make_word(generation, DCTX_NODE_MESSAGE, 0),
                 .ask = dctx_node_make_word(generation, DCTX_NODE_MESSAGE, DCTX_MESSAGE_ASK),
                 .answered = dctx_node_make_word(generation, DCTX_NODE_MESSAGE,
                                                 DCTX_MESSAGE_ASK | DCTX_MESSAGE_ANSWERED),
                 .reply = dctx_node_make_word(generation, DCTX_NODE_REPLY, 0),
                 .open = runner->warm,
                 .named = true};
    if (run.open != NULL)
        run.scope = runner->warm_scope;
    dctx_plain_t plain = handle_run(&run, n, most);
    if (plain == DCTX_PLAIN_LOOK && run.open != NULL && run.named) {
        runner->warm = run.open;
        runner->warm_scope = run.scope;
    } else if (plain != DCTX_PLAIN_ABANDONED && run.open != NULL) {
        close_context(&run);
        runner->warm = NULL;
    }
    return plain;
}
