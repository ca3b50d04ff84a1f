/* A send from its making into a mailbox, or to the I/O actor. */
#include "sending.h"

#include <string.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "deadletter.h"
#include "extra.h"
#include "gauge.h"
#include "message.h"
#include "outgoing.h"
#include "system.h"
#include "timer.h"

/* ---- context --------------------------------------------------------------------------------- */

/* Applies the error policy to a context that does not go where it should. */
static dctx_error_t without_context(dctx_system_t *system, dctx_error_t error)
{
    bool refused = error == DCTX_ERR_LIMIT || error == DCTX_ERR_CODEC ||
                   error == DCTX_ERR_MALFORMED || error == DCTX_ERR_VERSION;
    if (!refused || system->options.context_policy == DCTX_ON_ERROR_REJECT)
        return error;
    dctx_count_(system, dctx_runner_of(system), DCTX_TALLY_CONTEXT_ERRORS);
    dctx_log(DCTX_LOG_WARNING, "a message goes without its context: %s", dctx_error_detail());
    return DCTX_OK;
}

/* Into another registry. *snapshot_p is used up. */
static dctx_error_t translate(dctx_system_t *system, dctx_snapshot_t **snapshot_p)
{
    dctx_bytes_t bytes;
    dctx_snapshot_t *translated = NULL;
    dctx_error_t error = dctx_snapshot_encode(*snapshot_p, &bytes);
    if (error == DCTX_OK)
        error = dctx_snapshot_decode(system->registry, bytes.data, bytes.size, &translated);
    dctx_snapshot_unref(snapshot_p);
    if (error != DCTX_OK)
        return without_context(system, error);
    *snapshot_p = translated;
    return DCTX_OK;
}

dctx_error_t dctx_fork_for_(dctx_system_t *system, dctx_snapshot_t **ret_snapshot)
{
    *ret_snapshot = NULL;
    if (dctx_is_empty())
        return DCTX_OK;
    dctx_runner_t *here = dctx_runner_here;
    dctx_snapshot_t *fork = here != NULL && here->in_turn ? dctx_forked_() : NULL;
    if (fork != NULL && dctx_snapshot_registry(fork) == system->registry) {
        dctx_lot_give(&here->given, fork);
        *ret_snapshot = fork;
        return DCTX_OK;
    }
    dctx_error_t error = dctx_fork(&fork);
    if (error != DCTX_OK)
        return error;
    if (__builtin_expect(dctx_snapshot_registry(fork) != system->registry, 0)) {
        if (dctx_snapshot_is_empty(fork))
            dctx_snapshot_unref(&fork);
        else
            error = translate(system, &fork);
    }
    *ret_snapshot = fork;
    return error;
}

/* For another node, encoded once so that a refusal is the sender's to see. */
static dctx_error_t capture_for(dctx_system_t *system, dctx_snapshot_t **ret_snapshot)
{
    *ret_snapshot = NULL;
    if (dctx_is_empty())
        return DCTX_OK;
    dctx_snapshot_t *capture = NULL;
    dctx_error_t error = dctx_capture(&capture);
    if (error != DCTX_OK)
        return error;
    dctx_bytes_t bytes;
    error = dctx_snapshot_encode(capture, &bytes);
    if (error != DCTX_OK) {
        dctx_snapshot_unref(&capture);
        return without_context(system, error);
    }
    *ret_snapshot = capture;
    return DCTX_OK;
}

/* ---- a send in the making -------------------------------------------------------------------- */

dctx_error_t dctx_sending_refuse_(const dctx_sending_t *sending, dctx_error_t error)
{
    dctx_count_(sending->system, sending->runner, DCTX_TALLY_REFUSED);
    return error;
}

static const char *type_name(const dctx_sending_t *sending)
{
    if (sending->content != NULL)
        return dctx_message_type(sending->content);
    return dctx_type_label_(sending->type);
}

/* Whether somebody hears of its end. */
static bool is_ask(const dctx_sending_t *sending)
{
    if (!sending->on)
        return sending->record != NULL;
    unsigned flags = sending->content->node.flags & (DCTX_MESSAGE_ASK | DCTX_MESSAGE_ANSWERED);
    return flags == DCTX_MESSAGE_ASK;
}

/* Takes an ask back that was opened, so that it can be refused: false if it is over already, and
 * its asker will hear of it. */
static bool close_ask(dctx_sending_t *sending, const dctx_peer_t *peer)
{
    if (sending->record == NULL || sending->ask == 0)
        return true;
    return dctx_ask_withdraw_(sending->home, dctx_runner_of(sending->home), sending->ask, peer);
}

dctx_error_t dctx_sending_open_ask_(dctx_sending_t *sending, const dctx_peer_t *peer)
{
    if (sending->record == NULL)
        return DCTX_OK;
    dctx_error_t error = dctx_ask_open_(sending->home, sending->record, sending->deadline, peer,
                                        sending->scope, &sending->ask);
    if (__builtin_expect(sending->channel == NULL, 1) || error != DCTX_OK)
        return error;
    error = dctx_channel_asked_(sending->home, sending->channel, sending->ask,
                                peer != NULL ? peer->name : NULL);
    /* One that is over meanwhile goes all the same; its asker will hear of the end. */
    return error != DCTX_OK && close_ask(sending, peer) ? error : DCTX_OK;
}

/* The pipeline of the actor that sends, if it has one of its own. */
static const dctx_pipeline_t *own_pipeline(const dctx_runner_t *here)
{
    const dctx_extra_t *extra = here != NULL && here->actor != NULL ? here->actor->extra : NULL;
    return extra != NULL && extra->pipeline.count > 0 ? &extra->pipeline : NULL;
}

static inline bool is_intercepted(const dctx_sending_t *sending)
{
    const dctx_runner_t *here = dctx_runner_here;
    return atomic_load_explicit(&sending->system->intercepted, memory_order_relaxed) ||
           (sending->runner == NULL && here != NULL &&
            atomic_load_explicit(&here->system->intercepted, memory_order_relaxed));
}

static dctx_error_t pass_through(dctx_sending_t *sending, const dctx_pipeline_t *pipeline,
                                 const dctx_passage_t *passage, bool *ret_drop, char *words)
{
    dctx_transit_t transit;
    dctx_transit_init(&transit, pipeline, passage, false);
    dctx_verdict_t verdict = dctx_transit_outbound_(&transit);
    if (verdict == DCTX_REJECT && transit.reason[0] != '\0')
        return dctx_fail_(DCTX_ERR_REJECTED, "%s", transit.reason);
    if (verdict == DCTX_REJECT)
        return dctx_fail_(DCTX_ERR_REJECTED, "an interceptor refused a message for %s",
                          passage->target);
    *ret_drop = verdict == DCTX_DROP;
    if (*ret_drop)
        memcpy(words, transit.reason, sizeof transit.reason);
    if (verdict == DCTX_DELAY) {
        if (!sending->later || sending->delay < transit.delay_ns)
            sending->delay = transit.delay_ns;
        sending->later = true;
    }
    return DCTX_OK;
}

/* The interceptors' word. *ret_drop: pretend it went, and why is in `words`.
 * They may also have it go later. */
static dctx_error_t pass_outbound(dctx_sending_t *sending, const char *target, bool remote,
                                  const dctx_snapshot_t *snapshot, bool *ret_drop, char *words)
{
    dctx_system_t *system = sending->system;
    const dctx_runner_t *here = dctx_runner_here;
    *ret_drop = false;
    if (__builtin_expect(!is_intercepted(sending), 1))
        return DCTX_OK;
    dctx_passage_t passage = {.system = system,
                              .target = target,
                              .type = type_name(sending),
                              .ask = is_ask(sending),
                              .remote = remote,
                              .snapshot = snapshot != NULL ? snapshot : system->empty};
    const dctx_pipeline_t *own = own_pipeline(here);
    dctx_error_t error = DCTX_OK;
    if (own != NULL)
        error = pass_through(sending, own, &passage, ret_drop, words);
    /* The actor's own has those of its system in it. */
    if (error == DCTX_OK && !*ret_drop && (own == NULL || here->system != system))
        error = pass_through(sending, &system->pipeline, &passage, ret_drop, words);
    return error;
}

/* ---- to an actor of this process ------------------------------------------------------------- */

static void hold(dctx_sending_t *sending, dctx_message_t *message)
{
    message->type = sending->type;
    message->value = sending->share->value;
    message->node.flags |= DCTX_MESSAGE_SHARED;
    sending->held = true;
}

static dctx_error_t fill(dctx_sending_t *sending, dctx_message_t *message)
{
    dctx_error_t error = DCTX_OK;
    if (sending->take)
        error = dctx_message_move_(message, sending->type, sending->value);
    else if (__builtin_expect(sending->share != NULL, 0))
        hold(sending, message);
    else if (sending->content == NULL)
        error = dctx_message_store_(message, sending->type, sending->value);
    if (__builtin_expect(sending->snapshot != NULL, 0))
        message->snapshot = dctx_snapshot_ref(sending->snapshot);
    else if (error == DCTX_OK)
        error = dctx_fork_for_(sending->system, &message->snapshot);
    return error;
}

/* A moved value is still the caller's when a send fails. */
static void discard(const dctx_sending_t *sending, dctx_message_t *message)
{
    if (sending->take && message->value != NULL) {
        if (message->node.flags & DCTX_MESSAGE_BLOCK)
            dctx_release_(message->value);
        message->type = NULL;
        message->value = NULL;
        message->node.flags &= (uint16_t)~DCTX_MESSAGE_BLOCK;
    }
    dctx_message_release_(sending->system, sending->runner, message);
}

/* Who asked and who sent it stay. The asker's system is found by the sender's address, so where
 * another system sent it than asked, or nobody did, that is an address without an actor. */
static void address_on(const dctx_sending_t *sending, dctx_message_t *message)
{
    dctx_message_t *from = sending->content;
    dctx_system_t *here = dctx_runner_here->system;
    message->u.request = from->u.request;
    if (!is_ask(sending))
        return;
    message->node.flags |= (uint16_t)(DCTX_MESSAGE_ASK | (from->node.flags & DCTX_MESSAGE_RELAYED));
    void *home = from->node.flags & DCTX_MESSAGE_ELSEWHERE ? from->u.request.sender.system_ : here;
    if (home == sending->system)
        return;
    message->node.flags |= DCTX_MESSAGE_ELSEWHERE;
    if (from->u.request.sender.system_ != home)
        message->u.request.sender = (dctx_ref_t){.system_ = home};
}

static void address(const dctx_sending_t *sending, dctx_message_t *message)
{
    dctx_runner_t *here = dctx_runner_here;
    message->node.generation = (uint32_t)(sending->to.id_ >> 32);
    if (sending->content != NULL) {
        message->node.flags |= DCTX_MESSAGE_FORWARDED;
        if (sending->on)
            address_on(sending, message);
        else
            message->node.flags |= DCTX_MESSAGE_RELAYED;
        dctx_message_take_content_(message, sending->content);
    }
    if (sending->on)
        return;
    if (here != NULL && here->actor != NULL && here->actor != &here->system->self &&
        !here->actor->internal)
        message->u.request.sender = dctx_self(here->actor);
    if (sending->record != NULL) {
        message->u.request.ask = sending->ask;
        message->node.flags |= DCTX_MESSAGE_ASK;
        if (sending->home != sending->system)
            message->node.flags |= DCTX_MESSAGE_ELSEWHERE;
    }
}

/* Counts a message in. *ret_full: it is to be a dead letter. */
static dctx_error_t admit(const dctx_sending_t *sending, dctx_actor_t *actor,
                          dctx_message_t *message, bool *ret_full)
{
    int64_t left = INT64_MAX;
    message->node.generation = (uint32_t)(sending->to.id_ >> 32);
    if (sending->record != NULL)
        left = sending->patience - dctx_now_(sending->home);
    dctx_error_t error = dctx_gauge_admit_(actor, sending->to.id_, left, ret_full);
    if (error != DCTX_OK || *ret_full)
        return error;
    message->node.flags |= DCTX_MESSAGE_COUNTED;
    dctx_gauge_stamp_(atomic_load_explicit(&actor->gauge, memory_order_relaxed), sending->system,
                      message);
    return DCTX_OK;
}

/* The message does not go into the mailbox after all. */
static void uncount(dctx_actor_t *actor, dctx_message_t *message)
{
    if (!(message->node.flags & DCTX_MESSAGE_COUNTED))
        return;
    message->node.flags &= (uint16_t)~DCTX_MESSAGE_COUNTED;
    (void)dctx_gauge_leave_(atomic_load_explicit(&actor->gauge, memory_order_relaxed),
                            message->node.generation);
}

/* Accepted, but no further: an interceptor dropped it, or the mailbox is full. */
static void drop(const dctx_sending_t *sending, const char *target, dctx_message_t *message,
                 dctx_error_t reason, const char *words)
{
    dctx_system_t *system = sending->system;
    dctx_message_die_with_(system, target, message, reason, NULL, words);
    if (words[0] != '\0' && sending->record != NULL &&
        dctx_ask_fail_(sending->home, dctx_runner_of(sending->home), sending->ask, reason, words))
        message->node.flags |= DCTX_MESSAGE_ANSWERED;
    dctx_message_finish_(system, sending->runner, message, reason);
    dctx_count_(system, sending->runner, DCTX_TALLY_DEAD);
    dctx_system_stirred_(system);
}

/* It is accepted, and counted in, when it goes. */
static dctx_error_t send_later(dctx_sending_t *sending, dctx_actor_t *actor,
                               dctx_message_t *message)
{
    uncount(actor, message);
    dctx_error_t error = dctx_sending_open_ask_(sending, NULL);
    if (error != DCTX_OK)
        return error;
    address(sending, message);
    error = dctx_delay_message_(sending->system, actor, message, sending->delay, sending->timer);
    if (error == DCTX_OK)
        return DCTX_OK;
    if (!close_ask(sending, NULL)) { /* it has ended meanwhile, and its asker will hear of it */
        dctx_message_release_(sending->system, sending->runner, message);
        return DCTX_OK;
    }
    if (sending->content != NULL)
        dctx_message_take_content_(sending->content, message);
    return error;
}

/* `full`: it does not go into the mailbox. */
static dctx_error_t send_message(dctx_sending_t *sending, dctx_actor_t *actor,
                                 dctx_message_t *message, bool full)
{
    dctx_system_t *system = sending->system;
    char target[DCTX_NAME_MAX + 1] = "";
    bool dropped = false;
    char words[sizeof((dctx_transit_t *)NULL)->reason];
    words[0] = '\0';
    dctx_error_t error = DCTX_OK;
    if (__builtin_expect(is_intercepted(sending) || full, 0)) {
        (void)dctx_ref_format(sending->to, target, sizeof target);
        error = pass_outbound(sending, target, false, message->snapshot, &dropped, words);
        if (error != DCTX_OK)
            return error;
    }
    if (__builtin_expect(sending->later, 0) && !dropped)
        return send_later(sending, actor, message);
    error = dctx_sending_open_ask_(sending, NULL);
    if (error != DCTX_OK)
        return error;
    error = dctx_accept_(system, sending->runner);
    if (error != DCTX_OK) {
        if (close_ask(sending, NULL))
            return error;
        /* The ask has ended meanwhile, and its end is on its way to the asker. */
        uncount(actor, message);
        dctx_message_release_(system, sending->runner, message);
        return DCTX_OK;
    }
    address(sending, message);
    if (__builtin_expect(dropped || full, 0)) {
        uncount(actor, message);
        drop(sending, target, message, dropped ? DCTX_ERR_REJECTED : DCTX_ERR_FULL, words);
    } else {
        dctx_post_(system, sending->runner, actor, &message->node);
    }
    return DCTX_OK;
}

static dctx_error_t send_local(dctx_sending_t *sending)
{
    dctx_system_t *system = sending->system;
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)sending->to.id_);
    uint64_t life = actor == NULL ? 0 : atomic_load_explicit(&actor->life, memory_order_acquire);
    if (__builtin_expect(!(life & DCTX_LIFE_ALIVE) || life >> 32 != sending->to.id_ >> 32, 0))
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the actor has gone");
    dctx_message_t *message = dctx_message_new_(system, sending->runner, DCTX_NODE_MESSAGE);
    if (message == NULL)
        return DCTX_ERR_NOMEM;
    bool full = false;
    dctx_error_t error = DCTX_OK;
    /* One that goes later is counted in then. */
    if (__builtin_expect(atomic_load_explicit(&actor->gauge, memory_order_relaxed) != NULL, 0) &&
        !sending->later)
        error = admit(sending, actor, message, &full);
    if (error == DCTX_OK)
        error = fill(sending, message);
    if (error == DCTX_OK)
        error = send_message(sending, actor, message, full);
    if (error != DCTX_OK) {
        uncount(actor, message);
        discard(sending, message);
    }
    return error;
}

/* ---- to an actor on another node ------------------------------------------------------------- */

static void drop_outgoing(const dctx_sending_t *sending, const dctx_remote_t *remote,
                          dctx_outgoing_t *outgoing, const char *words)
{
    dctx_system_t *system = sending->system;
    dctx_dead_letter_with_(system, remote->label, outgoing->type, DCTX_ERR_REJECTED,
                           outgoing->snapshot, sending->record != NULL, NULL, words);
    dctx_count_(system, sending->runner, DCTX_TALLY_REMOTE_LOST);
    if (sending->record != NULL)
        (void)dctx_ask_fail_(sending->home, dctx_runner_of(sending->home), sending->ask,
                             DCTX_ERR_REJECTED, words[0] != '\0' ? words : NULL);
    dctx_outgoing_destroy_(outgoing);
}

static dctx_error_t send_outgoing(dctx_sending_t *sending, const dctx_remote_t *remote,
                                  dctx_outgoing_t *outgoing)
{
    dctx_system_t *system = sending->system;
    bool dropped = false;
    char words[sizeof((dctx_transit_t *)NULL)->reason];
    words[0] = '\0';
    dctx_error_t error =
        pass_outbound(sending, remote->label, true, outgoing->snapshot, &dropped, words);
    if (error == DCTX_OK)
        error = dctx_outgoing_check_size_(system, outgoing);
    if (error == DCTX_OK)
        error = dctx_sending_open_ask_(sending, remote->peer);
    if (error != DCTX_OK)
        return error;
    outgoing->correlation = sending->ask;
    if (sending->later && !dropped) {
        error = dctx_delay_outgoing_(system, outgoing, sending->delay, sending->timer);
        if (error == DCTX_OK || close_ask(sending, remote->peer))
            return error;
        dctx_outgoing_destroy_(outgoing);
        return DCTX_OK;
    }
    if (dropped)
        drop_outgoing(sending, remote, outgoing, words);
    else
        dctx_io_post_(&system->io, &outgoing->node);
    return DCTX_OK;
}

static dctx_error_t send_remote(dctx_sending_t *sending)
{
    dctx_system_t *system = sending->system;
    const dctx_remote_t *remote = dctx_peers_remote(&system->peers, sending->to.id_);
    if (remote == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "not an address of this system");
    if (sending->home != NULL && sending->home != system)
        return dctx_fail_(DCTX_ERR_INVALID, "another system's address of a node");
    uint32_t limit = sending->runner != NULL ? DCTX_PHASE_CLOSING : DCTX_PHASE_STOPPING;
    if (dctx_phase_(system) >= limit)
        return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
    dctx_outgoing_t *outgoing = NULL;
    dctx_link_kind_t kind = sending->record != NULL ? DCTX_LINK_ASK : DCTX_LINK_TELL;
    dctx_message_t *content = sending->content;
    bool parcel = content != NULL && (content->node.flags & DCTX_MESSAGE_REMOTE);
    dctx_error_t error = DCTX_OK;
    if (parcel)
        error = dctx_outgoing_relay_(kind, content->parcel, &outgoing);
    else if (content != NULL)
        error = dctx_outgoing_new_(system, kind, content->type, content->value, &outgoing);
    else
        error = dctx_outgoing_new_(system, kind, sending->type, sending->value, &outgoing);
    if (error != DCTX_OK)
        return error;
    dctx_decoded_t *decoded = NULL;
    if (parcel) {
        dctx_parcel_t *taken = dctx_message_take_parcel_(content);
        decoded = taken->decoded;
        taken->decoded = NULL;
    }
    outgoing->remote = remote;
    error = dctx_cancel_join_();
    if (error == DCTX_OK)
        error = capture_for(system, &outgoing->snapshot);
    outgoing->scope = sending->record == NULL ? dctx_cancel_ref(dctx_cancel_entered_()) : NULL;
    if (error == DCTX_OK)
        error = send_outgoing(sending, remote, outgoing);
    if (error != DCTX_OK) {
        if (parcel) {
            dctx_message_put_parcel_(content, dctx_outgoing_take_parcel_(outgoing));
            content->parcel->decoded = decoded;
        }
        dctx_outgoing_destroy_(outgoing);
        return error;
    }
    dctx_decoded_destroy_(decoded);
    if (content != NULL)
        dctx_message_clear_(content);
    if (sending->take)
        dctx_type_destroy_(sending->type, (void *)(uintptr_t)sending->value);
    return DCTX_OK;
}

dctx_error_t dctx_sending_deliver_(dctx_sending_t *sending)
{
    dctx_error_t error = __builtin_expect(dctx_id_is_remote(sending->to.id_), 0)
                             ? send_remote(sending)
                             : send_local(sending);
    return error == DCTX_OK ? DCTX_OK : dctx_sending_refuse_(sending, error);
}

dctx_error_t dctx_sending_begin_(dctx_sending_t *sending, dctx_ref_t to, const dctx_type_t *type,
                                 const void *value)
{
    if (dctx_ref_is_none(to))
        return dctx_fail_(DCTX_ERR_INVALID, "there is nobody to send to");
    *sending = (dctx_sending_t){.system = to.system_, .to = to, .type = type, .value = value};
    sending->runner = dctx_runner_of(sending->system);
    return DCTX_OK;
}
