/* Telling and asking. */
#include "send.h"

#include <string.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "deadletter.h"
#include "errand.h"
#include "extra.h"
#include "gauge.h"
#include "message.h"
#include "outgoing.h"
#include "system.h"
#include "timer.h"

enum { TIMEOUT_MS = 5000, NS_PER_MS = 1000000 };

/* ---- context ----------------------------------------------------------------------------------- */

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

/* ---- a send in the making ---------------------------------------------------------------------- */

/* What is sent, to whom, by whom. */
typedef struct sending {
    dctx_system_t *system; /* the receiver's */
    dctx_runner_t *runner; /* the calling thread's, if it is of that system */
    dctx_ref_t to;
    const dctx_type_t *type;
    const void *value;
    bool take;  /* the value is moved, not copied */
    bool later; /* it goes after `delay` */
    int64_t delay;
    dctx_timer_t *timer; /* where its number goes, or NULL */
    dctx_message_t
        *content;        /* not NULL: what it holds is sent, and moves, in the place of a value */
    bool on;             /* with the sender and the asker that `content` has */
    dctx_share_t *share; /* not NULL: the value is in it; a reference goes with the message */
    dctx_snapshot_t *snapshot; /* the fork, if it is made; a reference to it goes along */
    bool held;                 /* a message has the reference to `share` */

    /* Of an ask: */
    dctx_system_t *home;     /* that has the ask: the asking actor's, else `system` */
    dctx_message_t *record;  /* ours until the ask is open; NULL: this is a tell */
    int64_t deadline;        /* by the home's clock */
    int64_t patience;        /* until then its sender may be kept waiting for room */
    dctx_error_t late;       /* how it ends then */
    dctx_channel_t *channel; /* of a stream: it opens with the ask; NULL: none */
    dctx_cancel_t *scope;    /* that it is made in, the context's; NULL: none */
    uint64_t ask;
} sending_t;

static dctx_error_t refuse(const sending_t *sending, dctx_error_t error)
{
    dctx_count_(sending->system, sending->runner, DCTX_TALLY_REFUSED);
    return error;
}

static const char *type_name(const sending_t *sending)
{
    if (sending->content != NULL)
        return dctx_message_type(sending->content);
    return dctx_type_label_(sending->type);
}

/* Whether somebody hears of its end. */
static bool is_ask(const sending_t *sending)
{
    if (!sending->on)
        return sending->record != NULL;
    unsigned flags = sending->content->node.flags & (DCTX_MESSAGE_ASK | DCTX_MESSAGE_ANSWERED);
    return flags == DCTX_MESSAGE_ASK;
}

/* Takes an ask back that was opened, so that it can be refused: false if it is over already, and its
 * asker will hear of it. */
static bool close_ask(sending_t *sending, const dctx_peer_t *peer)
{
    if (sending->record == NULL || sending->ask == 0)
        return true;
    return dctx_ask_withdraw_(sending->home, dctx_runner_of(sending->home), sending->ask, peer);
}

static dctx_error_t open_ask(sending_t *sending, const dctx_peer_t *peer)
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

static inline bool is_intercepted(const sending_t *sending)
{
    const dctx_runner_t *here = dctx_runner_here;
    return atomic_load_explicit(&sending->system->intercepted, memory_order_relaxed) ||
           (sending->runner == NULL && here != NULL &&
            atomic_load_explicit(&here->system->intercepted, memory_order_relaxed));
}

static dctx_error_t pass_through(sending_t *sending, const dctx_pipeline_t *pipeline,
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

/* The interceptors' word. *ret_drop: pretend it went, and why is in `words`. They may also have it go later. */
static dctx_error_t pass_outbound(sending_t *sending, const char *target, bool remote,
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

/* ---- to an actor of this process --------------------------------------------------------------- */

static void hold(sending_t *sending, dctx_message_t *message)
{
    message->type = sending->type;
    message->value = sending->share->value;
    message->node.flags |= DCTX_MESSAGE_SHARED;
    sending->held = true;
}

static dctx_error_t fill(sending_t *sending, dctx_message_t *message)
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
static void discard(const sending_t *sending, dctx_message_t *message)
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

/* Who asked and who sent it stay. The asker's system is found by the sender's address, so where another
 * system sent it than asked, or nobody did, that is an address without an actor. */
static void address_on(const sending_t *sending, dctx_message_t *message)
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

static void address(const sending_t *sending, dctx_message_t *message)
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
static dctx_error_t admit(const sending_t *sending, dctx_actor_t *actor, dctx_message_t *message,
                          bool *ret_full)
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
static void drop(const sending_t *sending, const char *target, dctx_message_t *message,
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
static dctx_error_t send_later(sending_t *sending, dctx_actor_t *actor, dctx_message_t *message)
{
    uncount(actor, message);
    dctx_error_t error = open_ask(sending, NULL);
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
static dctx_error_t send_message(sending_t *sending, dctx_actor_t *actor, dctx_message_t *message,
                                 bool full)
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
    error = open_ask(sending, NULL);
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

static dctx_error_t send_local(sending_t *sending)
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

/* ---- to an actor on another node --------------------------------------------------------------- */

static void drop_outgoing(const sending_t *sending, const dctx_remote_t *remote,
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

static dctx_error_t send_outgoing(sending_t *sending, const dctx_remote_t *remote,
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
        error = open_ask(sending, remote->peer);
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

static dctx_error_t send_remote(sending_t *sending)
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

static dctx_error_t deliver(sending_t *sending)
{
    dctx_error_t error = __builtin_expect(dctx_id_is_remote(sending->to.id_), 0)
                             ? send_remote(sending)
                             : send_local(sending);
    return error == DCTX_OK ? DCTX_OK : refuse(sending, error);
}

static dctx_error_t begin(sending_t *sending, dctx_ref_t to, const dctx_type_t *type,
                          const void *value)
{
    if (dctx_ref_is_none(to))
        return dctx_fail_(DCTX_ERR_INVALID, "there is nobody to send to");
    *sending = (sending_t){.system = to.system_, .to = to, .type = type, .value = value};
    sending->runner = dctx_runner_of(sending->system);
    return DCTX_OK;
}

/* ---- tell -------------------------------------------------------------------------------------- */

/*
 * What most messages are: a small value of a type without functions, to a living actor of the handler's own system, in
 * a context that was forked before. It goes as any other would, without the questions whose answer is known. All of
 * these say no before anything has happened, and then it has to be asked.
 */

static inline bool is_plain_value(const dctx_type_t *type, const void *value)
{
    return type != NULL && value != NULL && type->copy == NULL &&
           type->size - 1 < DCTX_MESSAGE_INLINE;
}

static inline void fill_plainly(dctx_message_t *message, const dctx_type_t *type, const void *value)
{
    message->type = type;
    message->value = message->inline_;
    if (type->size == sizeof(uint64_t))
        memcpy(message->inline_, value, sizeof(uint64_t));
    else
        memcpy(message->inline_, value, type->size);
}

/* The actor behind a ref; NULL also where something is special about it, the system or the sender. */
static inline dctx_actor_t *find_plainly(const dctx_runner_t *here, dctx_ref_t to)
{
    if (here == NULL || !here->in_turn || here->system != to.system_ || here->actor == NULL ||
        here->actor->internal || here->actor == &here->system->self)
        return NULL;
    dctx_system_t *system = here->system;
    if (atomic_load_explicit(&system->intercepted, memory_order_relaxed) ||
        dctx_phase_(system) >= DCTX_PHASE_CLOSING || dctx_hot_.registry != system->registry)
        return NULL;
    /* An id of another node has no generation of ours. */
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)to.id_);
    uint64_t life = actor == NULL ? 0 : atomic_load_explicit(&actor->life, memory_order_acquire);
    return (life & DCTX_LIFE_ALIVE) && life >> 32 == to.id_ >> 32 &&
                   atomic_load_explicit(&actor->gauge, memory_order_relaxed) == NULL
               ? actor
               : NULL;
}

/* Makes a cell a message, and puts it into the mailbox. */
static inline void send_plainly(dctx_runner_t *here, dctx_actor_t *actor, dctx_ref_t to,
                                dctx_message_t *message, dctx_snapshot_t *fork, unsigned flags,
                                uint64_t ask)
{
    dctx_lot_give(&here->given, fork);
    dctx_node_set_word(&message->node,
                       dctx_node_make_word((uint32_t)(to.id_ >> 32), DCTX_NODE_MESSAGE, flags));
    message->snapshot = fork;
    message->u.request.ask = ask;
    message->u.request.sender = dctx_cell_ref(here->actor);
    dctx_tally_own(&here->tallies, DCTX_TALLY_ACCEPTED);
    if (dctx_mailbox_push(&actor->in, &message->node))
        dctx_run_(here->system, here, actor);
}

static inline bool tell_plainly(dctx_ref_t to, const dctx_type_t *type, const void *value)
{
    dctx_runner_t *here = dctx_runner_here;
    dctx_actor_t *actor = find_plainly(here, to);
    if (actor == NULL || !is_plain_value(type, value))
        return false;
    dctx_snapshot_t *fork = dctx_forked_();
    if (fork == NULL)
        return false;
    dctx_message_t *message = dctx_pool_take_(&here->system->pool, &here->cells);
    if (message == NULL)
        return false;
    fill_plainly(message, type, value);
    send_plainly(here, actor, to, message, fork, 0, 0);
    return true;
}

static __attribute__((noinline)) dctx_error_t tell(dctx_ref_t to, const dctx_type_t *type,
                                                   const void *value)
{
    sending_t sending;
    dctx_error_t error = begin(&sending, to, type, value);
    return error == DCTX_OK ? deliver(&sending) : error;
}

dctx_error_t dctx_tell(dctx_ref_t to, const dctx_type_t *type, const void *value)
{
    return __builtin_expect(tell_plainly(to, type, value), 1) ? DCTX_OK : tell(to, type, value);
}

dctx_error_t dctx_tell_take(dctx_ref_t to, const dctx_type_t *type, void *value)
{
    sending_t sending;
    dctx_error_t error = begin(&sending, to, type, value);
    if (error != DCTX_OK)
        return error;
    if (type == NULL || value == NULL)
        error = dctx_fail_(DCTX_ERR_INVALID, "there is no value to take over");
    else if (type->size == 0)
        error = dctx_fail_(DCTX_ERR_TYPE, "a value of type \"%s\" can be copied, not taken over",
                           type->name);
    if (error != DCTX_OK)
        return refuse(&sending, error);
    sending.take = true;
    error = deliver(&sending);
    if (error == DCTX_OK)
        memset(value, 0, type->size);
    return error;
}

dctx_error_t dctx_tell_after(dctx_ref_t to, int64_t delay_ns, const dctx_type_t *type,
                             const void *value, dctx_timer_t *ret_timer)
{
    sending_t sending;
    dctx_error_t error = begin(&sending, to, type, value);
    if (error != DCTX_OK)
        return error;
    sending.later = true;
    sending.delay = delay_ns;
    sending.timer = ret_timer;
    if (ret_timer != NULL)
        *ret_timer = DCTX_TIMER_NONE;
    return deliver(&sending);
}

dctx_error_t dctx_tell_shared_(dctx_ref_t to, const dctx_type_t *type, const void *value,
                               dctx_share_t *share, dctx_snapshot_t *snapshot, bool *ret_held)
{
    sending_t sending;
    dctx_error_t error = begin(&sending, to, type, value);
    if (error != DCTX_OK)
        return error;
    sending.share = share;
    sending.snapshot = snapshot;
    error = deliver(&sending);
    *ret_held = sending.held;
    return error;
}

dctx_error_t dctx_send_on_(dctx_ref_t to, dctx_message_t *message)
{
    sending_t sending;
    dctx_error_t error = begin(&sending, to, NULL, NULL);
    sending.content = message;
    sending.on = true;
    return error == DCTX_OK ? deliver(&sending) : error;
}

/* ---- ask --------------------------------------------------------------------------------------- */

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

/* Begins an ask of `home`: it ends by its timeout or by the context's deadline, whichever comes first. */
static dctx_error_t begin_ask(sending_t *sending, dctx_system_t *home, int64_t timeout_ms)
{
    if (timeout_ms <= 0)
        timeout_ms = TIMEOUT_MS;
    int64_t timeout = timeout_ms > INT64_MAX / NS_PER_MS ? INT64_MAX : timeout_ms * NS_PER_MS;
    dctx_error_t error = dctx_cancel_join_();
    if (error != DCTX_OK)
        return refuse(sending, error);
    sending->scope = dctx_cancel_entered_();
    int64_t left = dctx_is_empty() ? DCTX_NO_DEADLINE : dctx_deadline_left();
    if (__builtin_expect(left <= 0, 0))
        return refuse(sending, dctx_fail_(DCTX_ERR_DEADLINE, "the deadline passed %lld us ago",
                                          (long long)-(left / 1000)));
    if (sending->scope != NULL && dctx_cancel_status(sending->scope) != DCTX_OK)
        return refuse(sending, dctx_cancel_explain_(sending->scope));
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

/* Sends an ask whose record the caller has filled in but for the context and the status. On an error the record is
 * released. */
static dctx_error_t ask(sending_t *sending, dctx_message_t *record)
{
    dctx_error_t error = DCTX_OK;
    dctx_runner_t *here = record->node.kind == DCTX_NODE_REPLY ? dctx_runner_here : NULL;
    sending->record = record;
    record->u.done.status = sending->late;
    /* The asker's own context comes back to him as it is: no registry's border is crossed. */
    if (record->node.kind != DCTX_NODE_WAIT && !dctx_is_empty())
        error = dctx_fork(&record->snapshot);
    if (error == DCTX_OK && dctx_ref_is_none(sending->to))
        error = open_ask(sending, NULL);
    else if (error == DCTX_OK)
        error = deliver(sending);
    else
        error = refuse(sending, error);
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
    sending_t sending;
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || on_reply == NULL || here == NULL || here->actor != self)
        return dctx_fail_(DCTX_ERR_INVALID, "only an actor can ask so, in its own callbacks");
    dctx_error_t error = begin(&sending, to, type, value);
    if (error == DCTX_OK)
        error = begin_ask(&sending, self->system, timeout_ms);
    if (error != DCTX_OK)
        return error;
    dctx_message_t *record = new_record(sending.home, DCTX_NODE_REPLY);
    if (record == NULL)
        return refuse(&sending, DCTX_ERR_NOMEM);
    for_actor(record, self, on_reply, arg);
    sending.channel = channel;
    return ask(&sending, record);
}

/* When an ask that may take so long is late. A clock that is cheap to read, and behind by up to its grain, is good
 * enough for long ones. */
static inline int64_t plain_deadline(dctx_system_t *system, int64_t timeout_ms)
{
    enum { LONG_MS = 1000, GRAIN_NS = 10 * NS_PER_MS };
    int64_t timeout = timeout_ms * NS_PER_MS;
    return timeout_ms >= LONG_MS && system->own_clock
               ? dctx_now_coarse_(system) + GRAIN_NS + timeout
               : dctx_now_(system) + timeout;
}

static inline bool ask_plainly(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                               const void *value, int64_t timeout_ms, dctx_reply_fn on_reply,
                               void *arg)
{
    enum { MOST_MS = 1 << 30 };
    dctx_runner_t *here = dctx_runner_here;
    dctx_actor_t *actor = find_plainly(here, to);
    if (actor == NULL || here->actor != self || on_reply == NULL || timeout_ms <= 0 ||
        timeout_ms > MOST_MS || !is_plain_value(type, value) || dctx_hot_.asked != NULL)
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
        /* Whoever ends the ask may release the record as soon as it is open. */
        dctx_lot_give(&here->given, fork);
        open = dctx_ask_open_(system, record, plain_deadline(system, timeout_ms), NULL, NULL,
                              &ask) == DCTX_OK;
        if (!open)
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
    fill_plainly(message, type, value);
    send_plainly(here, actor, to, message, fork, DCTX_MESSAGE_ASK, ask);
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
    sending_t sending;
    dctx_error_t error = begin(&sending, to, type, value);
    if (error == DCTX_OK)
        error = begin_ask(&sending, home, timeout_ms);
    if (error != DCTX_OK)
        return error;
    sending.content = content;
    dctx_message_t *record = new_record(home, DCTX_NODE_CALL);
    if (record == NULL)
        return refuse(&sending, DCTX_ERR_NOMEM);
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
    sending_t sending = {.system = home, .runner = dctx_runner_of(home)};
    dctx_error_t error = begin_ask(&sending, home, timeout_ms);
    if (error != DCTX_OK)
        return error;
    dctx_node_kind_t kind = asker->self != NULL ? DCTX_NODE_REPLY : DCTX_NODE_CALL;
    dctx_message_t *record = new_record(home, kind);
    if (record == NULL)
        return refuse(&sending, DCTX_ERR_NOMEM);
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

/* Waits for the end of the ask until its time is up, by the system's clock, and then ends it itself. */
static dctx_error_t wait_end(sending_t *sending, dctx_waiter_t *waiter, int64_t deadline)
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
    sending_t sending;
    dctx_runner_t *here = dctx_runner_here;
    if (ret_reply == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the reply");
    *ret_reply = NULL;
    if (here != NULL && !dctx_runner_may_wait_(here))
        return dctx_fail_(DCTX_ERR_INVALID, "a worker must not wait: use dctx_ask()");
    dctx_error_t error = begin(&sending, to, type, value);
    if (error == DCTX_OK)
        error = begin_ask(&sending, sending.system, timeout_ms);
    if (error != DCTX_OK)
        return error;
    dctx_message_t *record = new_record(sending.home, DCTX_NODE_WAIT);
    if (record == NULL)
        return refuse(&sending, DCTX_ERR_NOMEM);
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
