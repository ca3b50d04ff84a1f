#include "io.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include <dcontext/internal.h>

#include "actor.h"
#include "ask.h"
#include "deadletter.h"
#include "gauge.h"
#include "message.h"
#include "outgoing.h"
#include "remote_monitor.h"
#include "system.h"

enum {
    COMMAND_WAIT_MS =
        10000,    /* longer than the I/O actor is ever away, unless a callback keeps it */
    BATCH = 1024, /* sends between two looks at the sockets */
    NS_PER_MS = 1000000
};

/* A command, shared by who waits and the I/O actor; the last of the two frees it. */
typedef struct command {
    dctx_node_t node;
    dctx_command_kind_t kind;
    dctx_error_t error;
    char *first;
    char *second;
    char *third;
    char *text;
    char detail[256];
    dctx_futex_t done;    /* release by the I/O actor */
    _Atomic(int) holders; /* acq_rel */
} command_t;

static dctx_system_t *system_of(dctx_io_t *io)
{
    return io->runner.system;
}

/* ---- from other threads ------------------------------------------------------------------------ */

dctx_error_t dctx_io_init(dctx_io_t *io, dctx_system_t *system)
{
    *io = (dctx_io_t){.event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (io->event < 0)
        return dctx_fail_(DCTX_ERR_IO, "no eventfd: %s", strerror(errno));
    dctx_watch_init(&io->watch, &system->options);
    io->item_capacity = 4;
    io->items = dctx_calloc_(io->item_capacity, sizeof *io->items);
    if (io->items == NULL) {
        close(io->event);
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the I/O actor");
    }
    dctx_runner_init(&io->runner, system, DCTX_RUNNER_IO);
    dctx_mailbox_init(&io->in, &io->out);
    io->ready = true;
    return DCTX_OK;
}

void dctx_io_wake_(dctx_io_t *io)
{
    uint64_t one = 1;
    /* It can only fail when the count is full, and then it is awake. */
    ssize_t written = write(io->event, &one, sizeof one);
    (void)written;
}

void dctx_io_post_(dctx_io_t *io, dctx_node_t *node)
{
    if (dctx_mailbox_push(&io->in, node))
        dctx_io_wake_(io);
}

void dctx_io_call_off_(dctx_io_t *io, const dctx_peer_t *peer, uint64_t ask, dctx_error_t why,
                       const char *reason, const char *chain)
{
    dctx_outgoing_t *outgoing = dctx_outgoing_cancel_(peer->name, ask, why, reason, chain);
    if (outgoing != NULL)
        dctx_io_post_(io, &outgoing->node);
}

static void let_go(command_t *command)
{
    if (atomic_fetch_sub(&command->holders, 1) > 1)
        return;
    dctx_release_(command->first);
    dctx_release_(command->second);
    dctx_release_(command->third);
    dctx_release_(command->text);
    dctx_release_(command);
}

/* False: no memory. */
static bool take_text(char **to, const char *text)
{
    *to = text == NULL ? NULL : dctx_strndup_(text, strlen(text));
    return text == NULL || *to != NULL;
}

static command_t *new_command(dctx_command_kind_t kind, const char *first, const char *second,
                              const char *third)
{
    command_t *command = dctx_calloc_(1, sizeof *command);
    if (command == NULL)
        return NULL;
    command->node.kind = DCTX_NODE_COMMAND;
    command->kind = kind;
    atomic_store(&command->holders, 1);
    if (!take_text(&command->first, first) || !take_text(&command->second, second) ||
        !take_text(&command->third, third)) {
        let_go(command);
        return NULL;
    }
    return command;
}

dctx_error_t dctx_io_command_(dctx_io_t *io, dctx_command_kind_t kind, const char *first,
                              const char *second, const char *third, char **ret_text)
{
    dctx_system_t *system = system_of(io);
    if (dctx_runner_of(system) == &io->runner)
        return dctx_fail_(DCTX_ERR_INVALID, "not from the I/O actor's own callbacks");
    if (dctx_phase_(system) >= DCTX_PHASE_STOPPING)
        return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
    command_t *command = new_command(kind, first, second, third);
    if (command == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a command");
    atomic_store(&command->holders, 2);
    dctx_io_post_(io, &command->node);
    if (system->stage.world != NULL)
        dctx_world_settle_(system->stage.world);
    for (int ms = 0; ms < COMMAND_WAIT_MS && atomic_load(&command->done) == 0; ms += 100)
        dctx_futex_wait(&command->done, 0, (int64_t)100 * NS_PER_MS);
    dctx_error_t error = DCTX_ERR_TIMEOUT;
    if (atomic_load_explicit(&command->done, memory_order_acquire) != 0) {
        error = command->error;
        if (error != DCTX_OK)
            (void)dctx_fail_(error, "%s", command->detail);
        if (error == DCTX_OK && ret_text != NULL) {
            *ret_text = command->text;
            command->text = NULL;
        }
    } else {
        (void)dctx_fail_(error, "the I/O actor does not come back from a callback");
    }
    let_go(command);
    return error;
}

void dctx_io_quit_(dctx_io_t *io)
{
    atomic_store(&io->quit, true);
    dctx_io_wake_(io);
}

/* ---- user code --------------------------------------------------------------------------------- */

/* All of this thread's user code runs between these two. */
static void begin(dctx_io_t *io)
{
    dctx_runner_begin(&io->runner, &system_of(io)->self, NULL, NULL, NULL);
}

static void end(dctx_io_t *io)
{
    if (!dctx_runner_end(&io->runner))
        io->abandoned = true;
}

static void lose(dctx_io_t *io, const char *target, const char *type, dctx_error_t why,
                 const dctx_snapshot_t *snapshot, bool ask)
{
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_REMOTE_LOST);
    begin(io);
    dctx_dead_letter_(system_of(io), target, type, why, snapshot, ask);
    end(io);
}

/* ---- out --------------------------------------------------------------------------------------- */

/* What the message was for hears that it did not go. */
static void undeliverable(dctx_io_t *io, const char *peer, const char *target,
                          const dctx_link_message_t *message, const char *type, dctx_error_t why,
                          const dctx_snapshot_t *snapshot)
{
    bool ask = message->kind == DCTX_LINK_ASK;
    if (ask || message->kind == DCTX_LINK_TELL)
        lose(io, target, type, why, snapshot, ask);
    else if (message->kind >= DCTX_LINK_WATCH)
        dctx_far_undelivered_(io, peer, message, why);
    else if (message->kind >= DCTX_LINK_ITEM)
        dctx_channels_undelivered_(system_of(io), &io->runner, peer, message, why);
    else if (message->kind != DCTX_LINK_CANCEL)
        dctx_log(DCTX_LOG_INFO, "an answer to %s is lost: %s", target, dctx_error_name(why));
    if (ask)
        (void)dctx_ask_return_(system_of(io), &io->runner, message->correlation, why, NULL);
}

dctx_error_t dctx_io_send_(dctx_io_t *io, const char *peer, const dctx_link_message_t *message)
{
    if (io->wire == NULL)
        return dctx_fail_(DCTX_ERR_UNREACHABLE, "no node is dialled, none dials us");
    dctx_error_t error = io->wire->class->send(io->wire, peer, message);
    if (error == DCTX_OK)
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_REMOTE_SENT);
    return error;
}

static dctx_bytes_t text(const char *string)
{
    return (dctx_bytes_t){.data = string, .size = string == NULL ? 0 : strlen(string)};
}

/* An ask of another node is answered. */
static void land(dctx_io_t *io, const char *peer, uint64_t correlation)
{
    if (atomic_load_explicit(&system_of(io)->channels.pending, memory_order_relaxed) > 0)
        dctx_channels_close_(system_of(io), &io->runner, peer, correlation, DCTX_ERR_CANCELLED);
    if (dctx_inflight_remove(&io->inflight, peer, correlation))
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_FLIGHTS_ENDED);
}

static void send_outgoing(dctx_io_t *io, dctx_outgoing_t *outgoing)
{
    const dctx_remote_t *remote = outgoing->remote;
    /* Nobody waits for the answer any more: then the question is not put. */
    if (outgoing->kind == DCTX_LINK_ASK &&
        !dctx_ask_is_pending_(system_of(io), outgoing->correlation)) {
        lose(io, remote->label, outgoing->type, DCTX_ERR_CANCELLED, outgoing->snapshot, true);
        dctx_outgoing_destroy_(outgoing);
        return;
    }
    if (dctx_cancel_status(outgoing->scope) != DCTX_OK) {
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_CANCELLED);
        lose(io, remote->label, outgoing->type, DCTX_ERR_CANCELLED, outgoing->snapshot, false);
        dctx_outgoing_destroy_(outgoing);
        return;
    }
    dctx_link_message_t message = {.kind = outgoing->kind,
                                   .code = outgoing->code,
                                   .correlation = outgoing->correlation,
                                   .target = text(remote != NULL ? remote->actor : NULL),
                                   .type = text(outgoing->type),
                                   .payload = text(outgoing->reason),
                                   .snapshot = outgoing->snapshot};
    if (outgoing->writer != NULL)
        message.payload = dctx_writer_bytes(outgoing->writer);
    else if (outgoing->parcel != NULL)
        message.payload = outgoing->parcel->payload;
    const char *peer = remote != NULL ? remote->peer->name : outgoing->peer;
    if (outgoing->kind == DCTX_LINK_REPLY || outgoing->kind == DCTX_LINK_ERROR)
        land(io, peer, outgoing->correlation);
    dctx_error_t error = dctx_io_send_(io, peer, &message);
    if (error != DCTX_OK)
        undeliverable(io, peer, remote != NULL ? remote->label : peer, &message, outgoing->type,
                      error, outgoing->snapshot);
    else if (outgoing->kind == DCTX_LINK_CANCEL)
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_CANCELS_SENT);
    dctx_outgoing_destroy_(outgoing);
}

static void refuse(dctx_io_t *io, const char *peer, uint64_t correlation, dctx_error_t error)
{
    dctx_link_message_t message = {
        .kind = DCTX_LINK_ERROR, .code = error, .correlation = correlation};
    if (atomic_load_explicit(&system_of(io)->channels.pending, memory_order_relaxed) > 0)
        dctx_channels_close_(system_of(io), &io->runner, peer, correlation, error);
    dctx_error_t failed = dctx_io_send_(io, peer, &message);
    if (failed != DCTX_OK)
        dctx_log(DCTX_LOG_INFO, "a refusal to %s is lost: %s", peer, dctx_error_name(failed));
}

static void send_refusal(dctx_io_t *io, dctx_message_t *request)
{
    land(io, request->parcel->node, request->u.request.ask);
    refuse(io, request->parcel->node, request->u.request.ask, request->node.outcome);
    /* What was decoded of it is destroyed by user code. */
    begin(io);
    dctx_message_clear_(request);
    end(io);
    if (!io->abandoned)
        dctx_message_release_(system_of(io), &io->runner, request);
}

/* ---- in ---------------------------------------------------------------------------------------- */

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
    begin(io);
    dctx_dead_letter_(system_of(io), target, type, why, incoming->snapshot,
                      incoming->kind == DCTX_LINK_ASK);
    end(io);
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_DEAD);
    if (incoming->kind == DCTX_LINK_ASK)
        refuse(io, peer, incoming->correlation, why);
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
    begin(io);
    (void)dctx_cancel_with_(work, why, reason, chain);
    end(io);
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
    begin(io);
    system->options.on_node(name, told, reason != NULL ? reason : "", system->options.arg);
    end(io);
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
    undeliverable(io, peer, target, message, type, why, message->snapshot);
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

/* ---- commands ---------------------------------------------------------------------------------- */

static int64_t link_clock(void *arg)
{
    return dctx_now_(arg);
}

static dctx_error_t need_wire(dctx_io_t *io)
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

static dctx_error_t execute(dctx_io_t *io, command_t *command)
{
    dctx_system_t *system = system_of(io);
    dctx_error_t error = need_wire(io);
    if (error != DCTX_OK)
        return error;
    switch (command->kind) {
    case DCTX_COMMAND_BIND: {
        const char *endpoint = NULL;
        error = io->wire->class->bind(io->wire, command->first, &endpoint);
        if (error != DCTX_OK)
            return error;
        command->text = dctx_strndup_(endpoint, strlen(endpoint));
        return command->text != NULL ? DCTX_OK
                                     : dctx_fail_(DCTX_ERR_NOMEM, "no memory for an endpoint");
    }
    case DCTX_COMMAND_CONNECT:
        return io->wire->class->connect(io->wire, command->first, command->second, command->third);
    case DCTX_COMMAND_IS_UP: {
        const dctx_peer_t *peer = dctx_peers_find(&system->peers, command->first);
        if (peer != NULL)
            dctx_peers_set_up(&system->peers, peer,
                              io->wire->class->is_up(io->wire, command->first));
        return DCTX_OK;
    }
    default:
        return DCTX_ERR_INVALID;
    }
}

static void finish_command(command_t *command, dctx_error_t error)
{
    command->error = error;
    if (error != DCTX_OK)
        strncpy(command->detail, dctx_error_detail(), sizeof command->detail - 1);
    atomic_store_explicit(&command->done, 1, memory_order_release);
    dctx_futex_wake_all(&command->done);
    let_go(command);
}

/* ---- the loop ---------------------------------------------------------------------------------- */

static void take_node(dctx_io_t *io, dctx_node_t *node)
{
    switch ((dctx_node_kind_t)node->kind) {
    case DCTX_NODE_OUTGOING:
        send_outgoing(io, (dctx_outgoing_t *)(void *)node);
        break;
    case DCTX_NODE_REFUSAL:
        send_refusal(io, dctx_message_of(node));
        break;
    case DCTX_NODE_COMMAND: {
        command_t *command = (command_t *)(void *)node;
        finish_command(command, execute(io, command));
        break;
    }
    case DCTX_NODE_SIGNAL:
        dctx_far_take_(io, dctx_signal_of(node));
        if (!io->abandoned) {
            dctx_signal_release_(dctx_signal_of(node));
            dctx_tally_own(&io->runner.tallies, DCTX_TALLY_CONSUMED);
        }
        break;
    default:
        break;
    }
}

/* Takes what is in the mailbox; true if there may be more. */
static bool drain(dctx_io_t *io)
{
    for (int i = 0; i < BATCH && !io->abandoned; i++) {
        if (atomic_load(&io->in.head) & DCTX_MAILBOX_IDLE)
            return false;
        dctx_node_t *node = dctx_mailbox_peek(&io->out);
        if (node == NULL)
            return true;
        /* Out of the mailbox first: what becomes of the node is not ours to know. */
        dctx_advance_t next = dctx_mailbox_advance(&io->in, &io->out, node);
        if (next == DCTX_ADVANCE_BUSY)
            return true;
        take_node(io, node);
        if (next == DCTX_ADVANCE_IDLE)
            return false;
    }
    return true;
}

/* Fills in what to wait for: the eventfd, then the link's sockets. */
static size_t poll_items(dctx_io_t *io)
{
    io->items[0] = (zmq_pollitem_t){.fd = io->event, .events = ZMQ_POLLIN};
    if (io->wire == NULL)
        return 1;
    size_t count = dctx_link_poll_items(io->wire->link, io->items + 1, io->item_capacity - 1);
    if (count < io->item_capacity)
        return 1 + count;
    zmq_pollitem_t *items = dctx_calloc_(count * 2 + 1, sizeof *items);
    if (items == NULL)
        return io
            ->item_capacity; /* those that fit; the link's own timeout brings us to the others */
    dctx_release_(io->items);
    io->items = items;
    io->item_capacity = count * 2 + 1;
    return poll_items(io);
}

static long sooner(long a, long b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

/* Looks for handlers that do not return. */
static long watch(dctx_io_t *io)
{
    begin(io);
    long timeout = dctx_watch_look_(&io->watch, &io->runner);
    end(io);
    return timeout;
}

static void wait_for_work(dctx_io_t *io, bool more, int64_t due, long timeout)
{
    if (due != INT64_MAX) {
        int64_t left = (due - dctx_now_(system_of(io)) + NS_PER_MS - 1) / NS_PER_MS;
        timeout = sooner(timeout, left <= 0 ? 0 : left > 1000000 ? 1000000 : (long)left);
    }
    if (io->wire != NULL)
        timeout = sooner(timeout, dctx_link_timeout_ms(io->wire->link));
    size_t count = poll_items(io);
    (void)zmq_poll(io->items, (int)count, more ? 0 : timeout);
    uint64_t bell;
    if (io->items[0].revents & ZMQ_POLLIN) {
        ssize_t got = read(io->event, &bell, sizeof bell);
        (void)got;
    }
}

void dctx_io_unplug_(dctx_io_t *io)
{
    dctx_far_close_(io);
    if (io->wire != NULL)
        io->wire->class->destroy(io->wire);
    io->wire = NULL;
}

bool dctx_io_round_(dctx_io_t *io, int64_t *ret_due)
{
    bool more = drain(io);
    int64_t due = dctx_asks_expire_(system_of(io), &io->runner);
    int64_t rings = dctx_alarms_ring_(system_of(io), &io->runner);
    io->abandoned = io->abandoned || dctx_runner_is_given_up(&io->runner);
    if (io->wire != NULL && io->wire->class->process(io->wire))
        more = true;
    dctx_system_stirred_(system_of(io));
    *ret_due = rings < due ? rings : due;
    return more;
}

void dctx_io_run(zsock_t *pipe, void *arg)
{
    dctx_io_t *io = arg;
    dctx_runner_here = &io->runner;
    zsock_signal(pipe, 0);
    while (!io->abandoned) {
        bool quit = atomic_load(&io->quit);
        int64_t due = INT64_MAX;
        bool more = dctx_io_round_(io, &due);
        if (quit && !more)
            break;
        long timeout = watch(io);
        if (!io->abandoned)
            wait_for_work(io, more, due, timeout);
    }
    dctx_io_unplug_(io);
    if (io->abandoned)
        dctx_runner_park();
    dctx_runner_here = NULL;
    if (!dctx_runner_leave_(&io->runner, &io->left))
        dctx_runner_park();
}

void dctx_io_finish(dctx_io_t *io)
{
    if (!io->ready)
        return;
    /* What came after it had left. Nobody may still be sending. */
    while (!(atomic_load(&io->in.head) & DCTX_MAILBOX_IDLE)) {
        dctx_node_t *node = dctx_mailbox_peek(&io->out);
        if (node == NULL || dctx_mailbox_advance(&io->in, &io->out, node) == DCTX_ADVANCE_BUSY)
            continue;
        if (node->kind == DCTX_NODE_OUTGOING)
            dctx_outgoing_destroy_((dctx_outgoing_t *)(void *)node);
        else if (node->kind == DCTX_NODE_REFUSAL)
            dctx_message_release_(system_of(io), NULL, dctx_message_of(node));
        else if (node->kind == DCTX_NODE_SIGNAL)
            dctx_far_discard_(io, dctx_signal_of(node));
        else
            finish_command((command_t *)(void *)node,
                           dctx_fail_(DCTX_ERR_STOPPED, "the system is stopped"));
    }
    dctx_inflight_finish(&io->inflight);
    dctx_far_table_finish(&io->watching);
    dctx_far_table_finish(&io->watched);
    dctx_runner_finish(&io->runner);
    dctx_release_(io->items);
    close(io->event);
}
