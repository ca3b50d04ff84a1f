#include "io_receive.h"

#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "actor.h"
#include "ask.h"
#include "deadletter.h"
#include "gauge.h"
#include "io_send.h"
#include "remote_monitor.h"
#include "system.h"

static dctx_system_t *system_of(dctx_io_t *io)
{
    return io->runner.system;
}

/* ---- messages -------------------------------------------------------------------------------- */

static bool is_peer(const dctx_peer_t *peer, const char *name)
{
    return peer != NULL && strcmp(peer->name, name) == 0;
}

static const dctx_peer_t *find_peer(dctx_io_t *io, const char *name)
{
    if (!is_peer(io->last_peer, name))
        io->last_peer = dctx_peers_find(&system_of(io)->peers, name);
    return io->last_peer;
}

/* Counts the stamps that the link refused since we last looked; true if there were any. */
static bool stamps_refused(dctx_io_t *io)
{
    uint64_t refused = io->wire->class->stamps_refused(io->wire);
    bool any = refused != io->refused;
    for (; io->refused != refused; io->refused++)
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_CONTEXT_ERRORS);
    return any;
}

static dctx_actor_t *find_target(dctx_system_t *system, const dctx_link_message_t *incoming,
                                 uint32_t *ret_generation)
{
    uint64_t id = incoming->target.size == 0
                      ? 0
                      : dctx_actor_find_(system, incoming->target.data, incoming->target.size);
    dctx_actor_t *actor = id == 0 ? NULL : dctx_slab_at(&system->actors, (uint32_t)id);
    *ret_generation = (uint32_t)(id >> 32);
    return actor;
}

/* Taken in, but not handled. */
static void bury(dctx_io_t *io, const char *peer, const dctx_link_message_t *incoming,
                 dctx_error_t why)
{
    char target[256], type[256];
    snprintf(target, sizeof target, "%.*s", (int)incoming->target.size,
             (const char *)incoming->target.data);
    snprintf(type, sizeof type, "%.*s", (int)incoming->type.size,
             (const char *)incoming->type.data);
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_ACCEPTED);
    dctx_io_begin_(io);
    dctx_dead_letter_(system_of(io), target, type, why, incoming->snapshot,
                      incoming->kind == DCTX_LINK_ASK);
    dctx_io_end_(io);
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_DEAD);
    if (incoming->kind == DCTX_LINK_ASK)
        dctx_io_refuse_(io, peer, incoming->correlation, why);
}

static dctx_message_t *make_message(dctx_io_t *io, const char *peer,
                                    const dctx_link_message_t *incoming)
{
    dctx_message_t *message = dctx_message_new_(system_of(io), &io->runner, DCTX_NODE_MESSAGE);
    if (message == NULL)
        return NULL;
    message->parcel = dctx_parcel_new_(peer, incoming->type, incoming->payload);
    if (message->parcel == NULL) {
        dctx_message_release_(system_of(io), &io->runner, message);
        return NULL;
    }
    message->node.flags = DCTX_MESSAGE_REMOTE;
    if (incoming->kind == DCTX_LINK_ASK) {
        message->parcel->work = dctx_inflight_add(&io->inflight, peer, incoming->correlation);
        if (message->parcel->work == NULL) {
            dctx_message_release_(system_of(io), &io->runner, message);
            return NULL;
        }
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_FLIGHTS_BEGUN);
        message->node.flags |= DCTX_MESSAGE_ASK;
    }
    message->u.request.ask = incoming->correlation;
    if (!dctx_snapshot_is_empty(incoming->snapshot))
        message->snapshot = dctx_snapshot_ref(incoming->snapshot);
    return message;
}

static void take_request(dctx_io_t *io, const char *peer, const dctx_link_message_t *incoming,
                         bool reject)
{
    dctx_system_t *system = system_of(io);
    uint32_t generation = 0;
    dctx_actor_t *actor = find_target(system, incoming, &generation);
    if (dctx_phase_(system) >= DCTX_PHASE_STOPPING) {
        bury(io, peer, incoming, DCTX_ERR_STOPPED);
    } else if (reject) {
        bury(io, peer, incoming, DCTX_ERR_REJECTED);
    } else if (actor == NULL) {
        bury(io, peer, incoming, DCTX_ERR_NO_ACTOR);
    } else {
        dctx_message_t *message = make_message(io, peer, incoming);
        if (message == NULL) {
            bury(io, peer, incoming, DCTX_ERR_NOMEM);
            return;
        }
        message->node.generation = generation;
        dctx_error_t error = dctx_gauge_take_(actor, message);
        if (error != DCTX_OK) {
            dctx_message_release_(system, &io->runner, message);
            bury(io, peer, incoming, error);
            return;
        }
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_ACCEPTED);
        dctx_post_(system, &io->runner, actor, &message->node);
    }
}

/* The codes that a peer may send; others read as a refusal. */
static dctx_error_t read_code(dctx_error_t code)
{
    switch (code) {
    case DCTX_ERR_TYPE:
    case DCTX_ERR_CODEC:
    case DCTX_ERR_TIMEOUT:
    case DCTX_ERR_UNREACHABLE:
    case DCTX_ERR_NO_ACTOR:
    case DCTX_ERR_STOPPED:
    case DCTX_ERR_FULL:
    case DCTX_ERR_REJECTED:
    case DCTX_ERR_NO_REPLY:
    case DCTX_ERR_CANCELLED:
    case DCTX_ERR_DEADLINE:
        return code;
    default:
        return DCTX_ERR_REJECTED;
    }
}

static void take_answer(dctx_io_t *io, const char *peer, const dctx_link_message_t *incoming)
{
    dctx_system_t *system = system_of(io);
    const dctx_peer_t *from = find_peer(io, peer);
    /* Only the node that was asked can answer; a guess by another finds nothing. */
    dctx_message_t *record =
        from == NULL ? NULL : dctx_ask_claim_(system, &io->runner, incoming->correlation, from);
    if (record == NULL) {
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_LATE);
        return;
    }
    dctx_error_t status = DCTX_OK;
    if (incoming->kind == DCTX_LINK_ERROR) {
        status = read_code(incoming->code);
        if (incoming->payload.size > 0)
            dctx_message_set_reason_(record, incoming->payload.data, incoming->payload.size);
    } else {
        dctx_parcel_t *parcel = dctx_parcel_new_(peer, incoming->type, incoming->payload);
        if (parcel != NULL) {
            record->parcel = parcel;
            record->node.flags |= DCTX_MESSAGE_REMOTE;
        } else {
            status = DCTX_ERR_NOMEM;
        }
    }
    dctx_ask_end_(system, &io->runner, record, status);
}

/* Calls off what is done for a peer's ask; user code hears of it. */
static void call_off(dctx_io_t *io, dctx_cancel_t *work, dctx_error_t why, const char *reason,
                     const char *chain)
{
    dctx_io_begin_(io);
    (void)dctx_cancel_with_(work, why, reason, chain);
    dctx_io_end_(io);
}

/* [code, reason, chain, ...], or nothing: docs/wire.md. What is not of this form has no words. */
static void take_cancel(dctx_io_t *io, const char *peer, const dctx_link_message_t *incoming)
{
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_CANCELS_RECEIVED);
    dctx_channels_close_(system_of(io), &io->runner, peer, incoming->correlation,
                         DCTX_ERR_CANCELLED);
    dctx_cancel_t *work = dctx_inflight_find(&io->inflight, peer, incoming->correlation);
    if (work == NULL)
        return; /* it was answered meanwhile */
    dctx_reader_t reader;
    dctx_reader_init(&reader, incoming->payload.data, incoming->payload.size);
    uint32_t count = dctx_read_array(&reader);
    uint64_t code = dctx_read_uint(&reader);
    dctx_bytes_t reason = dctx_read_str(&reader), chain = dctx_read_str(&reader);
    bool words = count >= 3 && dctx_reader_error(&reader) == DCTX_OK;
    char *reason_text = words ? dctx_strndup_(reason.data, reason.size) : NULL;
    char *chain_text = words ? dctx_strndup_(chain.data, chain.size) : NULL;
    call_off(io, work, words && code == DCTX_ERR_DEADLINE ? DCTX_ERR_DEADLINE : DCTX_ERR_CANCELLED,
             reason_text, chain_text != NULL ? chain_text : "");
    dctx_release_(reason_text);
    dctx_release_(chain_text);
}

/* A node that has gone waits for nothing any more. */
static void call_off_all(dctx_io_t *io, const char *peer)
{
    dctx_flight_t *flight = dctx_inflight_take_peer(&io->inflight, peer);
    while (flight != NULL) {
        dctx_flight_t *next = flight->next;
        call_off(io, flight->work, DCTX_ERR_CANCELLED, "the node that asked has gone", "");
        dctx_flight_free(flight);
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_FLIGHTS_ENDED);
        flight = next;
    }
}

static void on_message(const char *peer, const dctx_link_message_t *incoming, void *arg)
{
    dctx_io_t *io = arg;
    if (io->abandoned)
        return;
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_REMOTE_RECEIVED);
    bool refused = stamps_refused(io);
    switch (incoming->kind) {
    case DCTX_LINK_TELL:
    case DCTX_LINK_ASK:
        take_request(io, peer, incoming,
                     refused && system_of(io)->options.context_policy == DCTX_ON_ERROR_REJECT);
        break;
    case DCTX_LINK_REPLY:
    case DCTX_LINK_ERROR:
        take_answer(io, peer, incoming);
        break;
    case DCTX_LINK_CANCEL:
        take_cancel(io, peer, incoming);
        break;
    case DCTX_LINK_ITEM:
    case DCTX_LINK_WINDOW:
    case DCTX_LINK_CREDIT:
    case DCTX_LINK_PUT:
    case DCTX_LINK_ROOM:
    case DCTX_LINK_DONE:
        dctx_channels_receive_(system_of(io), &io->runner, peer, incoming);
        break;
    case DCTX_LINK_WATCH:
    case DCTX_LINK_UNWATCH:
    case DCTX_LINK_ENDED:
        dctx_far_receive_(io, peer, incoming);
        break;
    default:
        break;
    }
}

static void on_peer(const char *name, dctx_peer_event_t event, const char *reason, void *arg)
{
    dctx_io_t *io = arg;
    dctx_system_t *system = system_of(io);
    if (io->abandoned)
        return;
    const dctx_peer_t *peer = dctx_peers_find(&system->peers, name);
    if (peer != NULL && event != DCTX_PEER_REFUSED)
        dctx_peers_set_up(&system->peers, peer, event == DCTX_PEER_UP);
    if (event == DCTX_PEER_DOWN) {
        dctx_channels_close_(system, &io->runner, name, 0, DCTX_ERR_UNREACHABLE);
        call_off_all(io, name);
    }
    if (io->abandoned)
        return;
    if (peer != NULL && event == DCTX_PEER_DOWN)
        dctx_asks_fail_(system, &io->runner, peer, DCTX_ERR_UNREACHABLE);
    if (event == DCTX_PEER_DOWN)
        dctx_far_down_(io, name, reason);
    if (io->abandoned)
        return;
    if (system->options.on_node == NULL)
        return;
    dctx_node_event_t told = event == DCTX_PEER_UP     ? DCTX_NODE_UP
                             : event == DCTX_PEER_DOWN ? DCTX_NODE_DOWN
                                                       : DCTX_NODE_REFUSED;
    dctx_io_begin_(io);
    system->options.on_node(name, told, reason != NULL ? reason : "", system->options.arg);
    dctx_io_end_(io);
}

static void on_undelivered(const char *peer, const dctx_link_message_t *message, dctx_error_t why,
                           void *arg)
{
    dctx_io_t *io = arg;
    char target[256 + 64], type[256];
    if (io->abandoned)
        return;
    snprintf(target, sizeof target, "%.*s@%s", (int)message->target.size,
             message->target.size > 0 ? (const char *)message->target.data : "", peer);
    snprintf(type, sizeof type, "%.*s", (int)message->type.size,
             message->type.size > 0 ? (const char *)message->type.data : "");
    dctx_io_undeliverable_(io, peer, target, message, type, why, message->snapshot);
}

/* By the policy; where the system's own is to reject, on_message() does. */
static void on_rejected(const char *peer, const dctx_link_message_t *incoming, dctx_error_t why,
                        void *arg)
{
    dctx_io_t *io = arg;
    (void)why;
    if (io->abandoned)
        return;
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_REMOTE_RECEIVED);
    (void)stamps_refused(io);
    bury(io, peer, incoming, DCTX_ERR_REJECTED);
}

/* ---- the wire -------------------------------------------------------------------------------- */

static int64_t link_clock(void *arg)
{
    return dctx_now_(arg);
}

dctx_error_t dctx_io_need_wire_(dctx_io_t *io)
{
    dctx_system_t *system = system_of(io);
    if (io->wire != NULL)
        return DCTX_OK;
    dctx_link_options_t options = {.node = system->name,
                                   .registry = system->registry,
                                   .heartbeat_ms = system->options.heartbeat_ms,
                                   .dead_after_ms = system->options.dead_after_ms,
                                   .window = system->options.link_window,
                                   .queue_limit = system->options.link_queue_limit,
                                   .message_limit = system->options.message_limit,
                                   .clock = link_clock,
                                   .clock_arg = system,
                                   .on_message = on_message,
                                   .on_peer = on_peer,
                                   .on_undelivered = on_undelivered,
                                   .on_rejected = on_rejected,
                                   .policy = system->options.policy,
                                   .certificate = system->options.certificate,
                                   .curve = system->options.curve,
                                   .arg = io};
    if (system->stage.world != NULL)
        return dctx_world_wire_(system, &options, &io->wire);
    return dctx_wire_over_zmq_(&options, &io->wire);
}
