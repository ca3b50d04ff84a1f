#include "io_send.h"

#include <string.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "deadletter.h"
#include "outgoing.h"
#include "remote_monitor.h"
#include "system.h"

static dctx_system_t *system_of(dctx_io_t *io)
{
    return io->runner.system;
}

static void lose(dctx_io_t *io, const char *target, const char *type, dctx_error_t why,
                 const dctx_snapshot_t *snapshot, bool ask)
{
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_REMOTE_LOST);
    dctx_io_begin_(io);
    dctx_dead_letter_(system_of(io), target, type, why, snapshot, ask);
    dctx_io_end_(io);
}

void dctx_io_undeliverable_(dctx_io_t *io, const char *peer, const char *target,
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

void dctx_io_send_outgoing_(dctx_io_t *io, dctx_outgoing_t *outgoing)
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
        dctx_io_undeliverable_(io, peer, remote != NULL ? remote->label : peer, &message,
                               outgoing->type, error, outgoing->snapshot);
    else if (outgoing->kind == DCTX_LINK_CANCEL)
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_CANCELS_SENT);
    dctx_outgoing_destroy_(outgoing);
}

void dctx_io_refuse_(dctx_io_t *io, const char *peer, uint64_t correlation, dctx_error_t error)
{
    dctx_link_message_t message = {
        .kind = DCTX_LINK_ERROR, .code = error, .correlation = correlation};
    if (atomic_load_explicit(&system_of(io)->channels.pending, memory_order_relaxed) > 0)
        dctx_channels_close_(system_of(io), &io->runner, peer, correlation, error);
    dctx_error_t failed = dctx_io_send_(io, peer, &message);
    if (failed != DCTX_OK)
        dctx_log(DCTX_LOG_INFO, "a refusal to %s is lost: %s", peer, dctx_error_name(failed));
}

void dctx_io_send_refusal_(dctx_io_t *io, dctx_message_t *request)
{
    land(io, request->parcel->node, request->u.request.ask);
    dctx_io_refuse_(io, request->parcel->node, request->u.request.ask, request->node.outcome);
    /* What was decoded of it is destroyed by user code. */
    dctx_io_begin_(io);
    dctx_message_clear_(request);
    dctx_io_end_(io);
    if (!io->abandoned)
        dctx_message_release_(system_of(io), &io->runner, request);
}
