/* Asking. */
#include <string.h>

#include <dcontext/internal.h>

#include "errand.h"
#include "plain.h"
#include "sending.h"

enum { TIMEOUT_MS = 5000, NS_PER_MS = 1000000 };

static dctx_message_t *new_record(dctx_system_t *home, dctx_node_kind_t kind)
{
    if (kind != DCTX_NODE_WAIT)
        return dctx_message_new_(home, dctx_runner_of(home), kind);
    /* dctx_ask_wait() hands it to its caller, who may keep it longer than the system lives. */
    dctx_message_t *record = dctx_calloc_(1, sizeof *record);
    if (record == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for an ask");
        return NULL;
    }
    record->node.kind = (unsigned)kind & 0x7fu;
    record->node.flags = DCTX_MESSAGE_OWN;
    return record;
}

/* Begins an ask of `home`: it ends by its timeout or by the context's deadline,
 * whichever comes first. */
static dctx_error_t begin_ask(dctx_sending_t *sending, dctx_system_t *home, int64_t timeout_ms)
{
    if (timeout_ms <= 0)
        timeout_ms = TIMEOUT_MS;
    int64_t timeout = timeout_ms > INT64_MAX / NS_PER_MS ? INT64_MAX : timeout_ms * NS_PER_MS;
    dctx_error_t error = dctx_cancel_join_();
    if (error != DCTX_OK)
        return dctx_sending_refuse_(sending, error);
    sending->scope = dctx_cancel_entered_();
    int64_t left = dctx_is_empty() ? DCTX_NO_DEADLINE : dctx_deadline_left();
    if (__builtin_expect(left <= 0, 0))
        return dctx_sending_refuse_(sending,
                                    dctx_fail_(DCTX_ERR_DEADLINE, "the deadline passed %lld us ago",
                                               (long long)-(left / 1000)));
    if (sending->scope != NULL && dctx_cancel_status(sending->scope) != DCTX_OK)
        return dctx_sending_refuse_(sending, dctx_cancel_explain_(sending->scope));
    bool by_deadline = left != DCTX_NO_DEADLINE && left <= timeout;
    if (by_deadline)
        timeout = left;
    sending->home = home;
    if (__builtin_add_overflow(dctx_now_(home), timeout, &sending->deadline) ||
        sending->deadline == INT64_MAX)
        sending->deadline = INT64_MAX - 1;
    sending->patience = sending->deadline;
    sending->late = by_deadline ? DCTX_ERR_DEADLINE : DCTX_ERR_TIMEOUT;
    return DCTX_OK;
}

static void for_actor(dctx_message_t *record, dctx_actor_t *self, dctx_reply_fn on_reply, void *arg)
{
    dctx_ref_t me = dctx_self(self);
    record->node.generation = (uint32_t)(me.id_ >> 32);
    record->u.done.run.on_reply = on_reply;
    record->u.done.arg = arg;
    record->u.done.actor = self->slot.index;
}

static void for_caller(dctx_message_t *record, dctx_system_t *home, dctx_ask_fn call, void *arg)
{
    unsigned turn = atomic_fetch_add_explicit(&home->caller_next, 1, memory_order_relaxed);
    uint64_t caller = home->callers[turn % home->caller_count].id_;
    record->node.generation = (uint32_t)(caller >> 32);
    record->u.done.run.call = call;
    record->u.done.arg = arg;
    record->u.done.actor = (uint32_t)caller;
}

/* Sends an ask whose record the caller has filled in but for the context and the status. On an
 * error the record is released. */
static dctx_error_t ask(dctx_sending_t *sending, dctx_message_t *record)
{
    dctx_error_t error = DCTX_OK;
    dctx_runner_t *here = record->node.kind == DCTX_NODE_REPLY ? dctx_runner_here : NULL;
    sending->record = record;
    record->u.done.status = sending->late;
    /* The asker's own context comes back to him as it is: no registry's border is crossed. */
    if (record->node.kind != DCTX_NODE_WAIT && !dctx_is_empty())
        error = dctx_fork(&record->snapshot);
    if (error == DCTX_OK && dctx_ref_is_none(sending->to))
        error = dctx_sending_open_ask_(sending, NULL);
    else if (error == DCTX_OK)
        error = dctx_sending_deliver_(sending);
    else
        error = dctx_sending_refuse_(sending, error);
    if (error != DCTX_OK)
        dctx_message_release_(sending->home, dctx_runner_of(sending->home), record);
    else
        dctx_count_(sending->home, dctx_runner_of(sending->home), DCTX_TALLY_ASKS);
    if (error == DCTX_OK && here != NULL)
        here->actor->asks++;
    return error;
}

dctx_error_t dctx_ask_with_(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                            const void *value, int64_t timeout_ms, dctx_reply_fn on_reply,
                            void *arg, dctx_channel_t *channel)
{
    dctx_sending_t sending;
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || on_reply == NULL || here == NULL || here->actor != self)
        return dctx_fail_(DCTX_ERR_INVALID, "only an actor can ask so, in its own callbacks");
    dctx_error_t error = dctx_sending_begin_(&sending, to, type, value);
    if (error == DCTX_OK)
        error = begin_ask(&sending, self->system, timeout_ms);
    if (error != DCTX_OK)
        return error;
    dctx_message_t *record = new_record(sending.home, DCTX_NODE_REPLY);
    if (record == NULL)
        return dctx_sending_refuse_(&sending, DCTX_ERR_NOMEM);
    for_actor(record, self, on_reply, arg);
    sending.channel = channel;
    return ask(&sending, record);
}

/* When an ask that may take so long is late. A clock that is cheap to read, and behind by up to its
 * grain, is good enough for long ones. */
static inline int64_t plain_deadline(dctx_system_t *system, int64_t timeout_ms)
{
    enum { LONG_MS = 1000, GRAIN_NS = 10 * NS_PER_MS };
    int64_t timeout = timeout_ms * NS_PER_MS, deadline;
    if (timeout_ms >= LONG_MS && system->own_clock)
        return dctx_now_coarse_(system) + GRAIN_NS + timeout;
    return __builtin_add_overflow(dctx_now_(system), timeout, &deadline) || deadline == INT64_MAX
               ? INT64_MAX - 1
               : deadline;
}

static inline bool ask_plainly(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                               const void *value, int64_t timeout_ms, dctx_reply_fn on_reply,
                               void *arg)
{
    enum { MOST_MS = 1 << 30 };
    dctx_runner_t *here = dctx_runner_here;
    dctx_actor_t *actor = dctx_plain_find(here, to);
    if (actor == NULL || here->actor != self || on_reply == NULL || timeout_ms <= 0 ||
        timeout_ms > MOST_MS || !dctx_plain_value(type, value) || dctx_hot_.asked != NULL)
        return false;
    dctx_system_t *system = here->system;
    dctx_snapshot_t *fork = dctx_forked_();
    if (fork == NULL || !dctx_snapshot_never_ends_(fork))
        return false;
    dctx_message_t *record = dctx_pool_take_(&system->pool, &here->cells);
    dctx_message_t *message = record != NULL ? dctx_pool_take_(&system->pool, &here->cells) : NULL;
    uint64_t ask = 0;
    bool open = false;
    if (message != NULL) {
        dctx_node_set_word(&record->node, dctx_node_make_word(0, DCTX_NODE_REPLY, 0));
        record->type = NULL;
        record->value = NULL;
        record->snapshot = fork;
        for_actor(record, self, on_reply, arg);
        record->u.done.status = DCTX_ERR_TIMEOUT;
        /* Both before it is open: whoever ends the ask may release the record as soon as it is. */
        dctx_lot_give(&here->given, fork);
        dctx_lot_give(&here->given, fork);
        open = dctx_ask_open_(system, record, plain_deadline(system, timeout_ms), NULL, NULL,
                              &ask) == DCTX_OK;
        for (int i = 0; !open && i < 2; i++)
            dctx_lot_spend(&here->spent, fork);
    }
    if (!open) {
        if (message != NULL)
            dctx_pool_give_(&system->pool, &here->cells, message);
        if (record != NULL)
            dctx_pool_give_(&system->pool, &here->cells, record);
        return false;
    }
    self->asks++;
    dctx_tally_own(&here->tallies, DCTX_TALLY_ASKS);
    dctx_plain_fill(message, type, value);
    dctx_plain_send(here, actor, to, message, fork, DCTX_MESSAGE_ASK, ask);
    return true;
}

dctx_error_t dctx_ask(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type, const void *value,
                      int64_t timeout_ms, dctx_reply_fn on_reply, void *arg)
{
    if (self != NULL && ask_plainly(self, to, type, value, timeout_ms, on_reply, arg))
        return DCTX_OK;
    return dctx_ask_with_(self, to, type, value, timeout_ms, on_reply, arg, NULL);
}

dctx_error_t dctx_ask_for_(dctx_system_t *home, dctx_ref_t to, const dctx_type_t *type,
                           const void *value, dctx_message_t *content, int64_t timeout_ms,
                           dctx_ask_fn call, void *arg, uint64_t *ret_ask)
{
    dctx_sending_t sending;
    dctx_error_t error = dctx_sending_begin_(&sending, to, type, value);
    if (error == DCTX_OK)
        error = begin_ask(&sending, home, timeout_ms);
    if (error != DCTX_OK)
        return error;
    sending.content = content;
    dctx_message_t *record = new_record(home, DCTX_NODE_CALL);
    if (record == NULL)
        return dctx_sending_refuse_(&sending, DCTX_ERR_NOMEM);
    for_caller(record, home, call, arg);
    error = ask(&sending, record);
    if (error == DCTX_OK && ret_ask != NULL)
        *ret_ask = sending.ask;
    return error;
}

dctx_error_t dctx_ask_own_(dctx_system_t *home, int64_t timeout_ms,
                           const dctx_errand_asker_t *asker, uint64_t *ret_ask,
                           int64_t *ret_deadline)
{
    dctx_sending_t sending = {.system = home, .runner = dctx_runner_of(home)};
    dctx_error_t error = begin_ask(&sending, home, timeout_ms);
    if (error != DCTX_OK)
        return error;
    dctx_node_kind_t kind = asker->self != NULL ? DCTX_NODE_REPLY : DCTX_NODE_CALL;
    dctx_message_t *record = new_record(home, kind);
    if (record == NULL)
        return dctx_sending_refuse_(&sending, DCTX_ERR_NOMEM);
    if (asker->self != NULL)
        for_actor(record, asker->self, asker->on_reply, asker->arg);
    else
        for_caller(record, home, asker->call, asker->arg);
    error = ask(&sending, record);
    if (error == DCTX_OK) {
        *ret_ask = sending.ask;
        *ret_deadline = sending.deadline;
    }
    return error;
}

dctx_error_t dctx_ask_call(dctx_ref_t to, const dctx_type_t *type, const void *value,
                           int64_t timeout_ms, dctx_ask_fn call, void *arg)
{
    if (call == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "an ask needs somebody to call");
    return dctx_ask_for_(to.system_, to, type, value, NULL, timeout_ms, call, arg, NULL);
}

static bool is_done(void *arg)
{
    dctx_waiter_t *waiter = arg;
    return atomic_load(&waiter->done) != 0;
}

/* Waits for the end of the ask until its time is up, by the system's clock,
 * and then ends it itself. */
static dctx_error_t wait_end(dctx_sending_t *sending, dctx_waiter_t *waiter, int64_t deadline)
{
    dctx_test_world_t *world = sending->home->stage.world;
    if (world != NULL)
        (void)dctx_world_wait_(world, is_done, waiter, deadline);
    while (atomic_load_explicit(&waiter->done, memory_order_acquire) == 0) {
        int64_t left = deadline - dctx_now_(sending->home);
        if (left > 0) {
            dctx_futex_wait(&waiter->done, 0, left);
            continue;
        }
        if (!dctx_ask_give_up_(sending->home, NULL, sending->ask, sending->late))
            /* somebody else is about to */
            dctx_futex_wait(&waiter->done, 0, NS_PER_MS);
    }
    dctx_error_t status = sending->record->u.done.status;
    dctx_error_t scope = status != DCTX_OK ? dctx_cancel_status(sending->scope) : DCTX_OK;
    return scope != DCTX_OK ? scope : status;
}

dctx_error_t dctx_ask_wait(dctx_ref_t to, const dctx_type_t *type, const void *value,
                           int64_t timeout_ms, dctx_message_t **ret_reply)
{
    dctx_sending_t sending;
    dctx_runner_t *here = dctx_runner_here;
    if (ret_reply == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the reply");
    *ret_reply = NULL;
    if (here != NULL && !dctx_runner_may_wait_(here))
        return dctx_fail_(DCTX_ERR_INVALID, "a worker must not wait: use dctx_ask()");
    dctx_error_t error = dctx_sending_begin_(&sending, to, type, value);
    if (error == DCTX_OK)
        error = begin_ask(&sending, sending.system, timeout_ms);
    if (error != DCTX_OK)
        return error;
    dctx_message_t *record = new_record(sending.home, DCTX_NODE_WAIT);
    if (record == NULL)
        return dctx_sending_refuse_(&sending, DCTX_ERR_NOMEM);
    dctx_waiter_t waiter = {.done = 0};
    record->u.done.arg = &waiter;
    int64_t deadline = sending.deadline;
    sending.deadline = INT64_MAX; /* we keep the time ourselves */
    error = ask(&sending, record);
    if (error != DCTX_OK)
        return error;
    error = wait_end(&sending, &waiter, deadline);
    if (error == DCTX_OK || dctx_message_reason(record)[0] != '\0') {
        *ret_reply = record;
    } else {
        dctx_message_destroy(&record);
    }
    if (error != DCTX_OK && *ret_reply != NULL)
        return dctx_fail_(error, "%s", dctx_message_reason(*ret_reply));
    if (error != DCTX_OK) {
        char target[128];
        (void)dctx_ref_format(to, target, sizeof target);
        return dctx_fail_(error, "asking %s: %s", target[0] != '\0' ? target : "one who has gone",
                          dctx_strerror(error));
    }
    return DCTX_OK;
}
