#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "claim.h"
#include "handover.h"
#include "link_state.h"
#include "secure.h"
#include "session.h"
#include "socket.h"

/* Inbound connections at most; a stranger past it is refused. Those that fall silent make room. */
#define INBOUND_MAX 4096
#define ID_MAX      255
#define LOOK_EVERY  (5 * DCTX_LINK_NS_PER_MS)

/* ---- messages -------------------------------------------------------------------------------- */

/* Section 4 of docs/wire.md: what an asker may see, and what all else reads as. */
static dctx_error_t code_of(uint8_t code)
{
    switch ((dctx_error_t)code) {
    case DCTX_ERR_TYPE:
    case DCTX_ERR_CODEC:
    case DCTX_ERR_TIMEOUT:
    case DCTX_ERR_UNREACHABLE:
    case DCTX_ERR_NO_ACTOR:
    case DCTX_ERR_STOPPED:
    case DCTX_ERR_FULL:
    case DCTX_ERR_NO_REPLY:
    case DCTX_ERR_CANCELLED:
    case DCTX_ERR_DEADLINE:
        return (dctx_error_t)code;
    default:
        return DCTX_ERR_REJECTED;
    }
}

/* Judges the context of the record at hand, once for all records that share it. */
static void judge(dctx_link_t *link, dctx_connection_t *connection, const dctx_claimed_t *claimed)
{
    dctx_delivery_t *delivery = &link->delivery;
    dctx_snapshot_t *snapshot = dctx_snapshot_ref(connection->base), *more;
    delivery->refused = dctx_claim_take_(claimed, &snapshot);
    if (delivery->refused == DCTX_OK && claimed->stamped && dctx_session_wanted_() &&
        dctx_session_set_(snapshot, dctx_snapshot_upstream_address(connection->base),
                          dctx_snapshot_security_session(connection->base), &more) == DCTX_OK) {
        dctx_snapshot_unref(&snapshot);
        snapshot = more;
    }
    delivery->snapshot = snapshot;
    if (delivery->refused != DCTX_OK && !connection->stamp_reported) {
        connection->stamp_reported = true;
        dctx_log(DCTX_LOG_WARNING, "link %s: a context from %s was refused: %s", link->node,
                 connection->peer->name, dctx_error_detail());
    }
}

/* The context of the record at hand, and why it is refused, if it is. *ret_own: a new one of this
 * message's, with a reference for the caller, else NULL. */
static dctx_error_t context_of(dctx_link_t *link, dctx_connection_t *connection, bool asked,
                               const dctx_snapshot_t **ret_snapshot, dctx_snapshot_t **ret_own)
{
    dctx_delivery_t *delivery = &link->delivery;
    const dctx_class_rules_t *rules = &link->policy->rules[connection->entering];
    const dctx_claimed_t claimed = {.registry = link->options.registry,
                                    .policy = link->policy,
                                    .peer = connection->entering,
                                    .stamped = delivery->stamp.size > 0,
                                    .data = delivery->stamp.data,
                                    .size = delivery->stamp.size};
    dctx_error_t refused = DCTX_OK;
    *ret_snapshot = connection->base;
    *ret_own = NULL;
    /* Answers carry no context, and need none. */
    if (claimed.stamped ||
        (asked && (rules->stamp == DCTX_STAMP_REQUIRED || rules->chain == DCTX_CLAIM_RESTART))) {
        if (delivery->snapshot == NULL)
            judge(link, connection, &claimed);
        *ret_snapshot = delivery->snapshot;
        refused = delivery->refused;
    }
    if (refused == DCTX_OK && asked &&
        (rules->trace == DCTX_CLAIM_RESTART || rules->deadline == DCTX_CLAIM_RESTART)) {
        *ret_own = dctx_snapshot_ref(*ret_snapshot);
        refused = dctx_claim_renew_(&claimed, ret_own);
        *ret_snapshot = *ret_own;
    }
    return refused;
}

static void reject(dctx_link_t *link, dctx_connection_t *connection,
                   const dctx_link_message_t *message, dctx_error_t why)
{
    static const char text[] = "its context was rejected";
    const char *peer = connection->peer->name;
    link->counters.rejected++;
    dctx_policy_count_(link->policy, DCTX_POLICY_REJECTED, 1);
    if (link->options.on_rejected != NULL) {
        link->options.on_rejected(peer, message, why, link->options.arg);
    } else if (message->kind == DCTX_LINK_ASK) {
        const dctx_link_message_t answer = {.kind = DCTX_LINK_ERROR,
                                            .code = DCTX_ERR_REJECTED,
                                            .correlation = message->correlation,
                                            .payload = {text, strlen(text)}};
        if (dctx_link_send(link, peer, &answer) != DCTX_OK)
            dctx_log(DCTX_LOG_INFO, "link %s: a refusal to %s is lost", link->node, peer);
    }
}

/* True if it was given on. */
static bool take_message(dctx_link_t *link, dctx_connection_t *connection,
                         const dctx_record_t *record)
{
    if (record->sequence <= connection->received) {
        link->counters.duplicated++;
        return false;
    }
    link->counters.lost += record->sequence - connection->received - 1;
    connection->received = record->sequence;
    if ((connection->received - connection->told) * 2 >= connection->window)
        dctx_link_mark_dirty_(link, connection);
    bool asked = record->kind == DCTX_LINK_TELL || record->kind == DCTX_LINK_ASK;
    dctx_link_message_t message = {.kind = (dctx_link_kind_t)record->kind,
                                   .correlation = record->correlation,
                                   .target = record->target,
                                   .type = record->type,
                                   .payload = record->payload};
    if (message.kind == DCTX_LINK_ERROR)
        message.code = code_of(record->code);
    dctx_snapshot_t *own;
    dctx_error_t refused = context_of(link, connection, asked, &message.snapshot, &own);
    if (refused != DCTX_OK)
        link->counters.stamps_refused++;
    if (refused != DCTX_OK && asked && link->policy->on_error == DCTX_ON_ERROR_REJECT) {
        reject(link, connection, &message, refused);
    } else {
        link->counters.received++;
        if (link->options.on_message != NULL)
            link->options.on_message(connection->peer->name, &message, link->options.arg);
    }
    dctx_snapshot_unref(&own);
    return true;
}

/* ---- the handshake --------------------------------------------------------------------------- */

static void refuse(dctx_link_t *link, const void *id, size_t id_size, const char *why)
{
    dctx_record_t record = {.kind = DCTX_KIND_REFUSED, .payload = {why, strlen(why)}};
    dctx_connection_answer_(link->router, id, id_size, &record);
}

static const char *property(void *frame, const char *name)
{
    return zmq_msg_gets(frame, name);
}

static dctx_origin_t origin_of(const dctx_link_t *link, void *socket, zmq_msg_t *frame)
{
    const dctx_view_t view = {.handle = socket,
                              .policy = link->policy,
                              .leaving = link->policy->peer,
                              .entering = link->policy->peer};
    dctx_origin_t origin;
    dctx_socket_origin_(&view, property, frame, true, &origin);
    return origin;
}

/* Why a node may not come in under the name that it says; NULL: it may. *ret_cert is the caller's
 * to destroy. */
static const char *check_identity(const dctx_link_t *link, zmq_msg_t *frame,
                                  const dctx_origin_t *origin, const char *name, zcert_t **ret_cert)
{
    /* inproc is under no security: there is no ZAP handler to have called it anything. */
    if (link->options.curve != NULL &&
        (origin->address[0] != '\0' || property(frame, "User-Id") != NULL)) {
        if (origin->user_id[0] == '\0' || strlen(origin->user_id) > DCTX_KEY_TEXT ||
            dctx_curve_vouch_(link->options.curve, origin->user_id, ret_cert) != DCTX_OK)
            return "its key is not known here";
        const char *node = zcert_meta(*ret_cert, "node");
        if (node != NULL && strcmp(node, name) != 0)
            return "its key is that of a node with another name";
    }
    const dctx_peer_t *peer = dctx_link_find_(link, name);
    if (peer == NULL)
        return NULL;
    if (peer->server_key[0] != '\0' && strcmp(peer->server_key, origin->user_id) != 0)
        return "its name is that of a node with another key";
    if (peer->in != NULL &&
        (strcmp(peer->in->key, origin->user_id) != 0 || origin->peer > peer->in->entering))
        return "its name is in use by a node that is trusted more";
    return NULL;
}

/* Who is there, as the connection itself shows. */
static void know(dctx_link_t *link, dctx_connection_t *connection, const dctx_origin_t *origin,
                 zcert_t *cert)
{
    connection->entering = origin->peer;
    snprintf(connection->address, sizeof(connection->address), "%s", origin->address);
    snprintf(connection->key, sizeof(connection->key), "%s", origin->user_id);
    if (dctx_connection_is_inbound_(connection)) {
        connection->leaving = origin->peer;
        connection->whole = link->whole[origin->peer];
        connection->vouched = link->now;
        connection->base = dctx_snapshot_ref(link->empty);
    }
    if (dctx_session_wanted_())
        dctx_origin_note_(origin, cert, &connection->base);
}

/* Whether a frame came over the very connection that the routing id had when hands were shaken.
 * When that has gone another peer may take its id. */
static bool is_of(const dctx_link_t *link, const dctx_connection_t *connection, zmq_msg_t *frame)
{
    const char *address = property(frame, "Peer-Address");
    if (strncmp(address != NULL ? address : "", connection->address,
                sizeof(connection->address) - 1) != 0)
        return false;
    if (link->options.curve == NULL)
        return true;
    const char *key = property(frame, "User-Id");
    return strcmp(key != NULL ? key : "", connection->key) == 0;
}

/* Lets a dialler in, or refuses it. */
static void admit(dctx_link_t *link, const void *id, size_t id_size, dctx_bytes_t payload,
                  zmq_msg_t *frame)
{
    dctx_hello_t hello;
    dctx_peer_t *peer;
    dctx_connection_t *connection;
    const char *why = NULL;
    zcert_t *cert = NULL;
    dctx_origin_t origin = origin_of(link, link->router, frame);
    if (dctx_hello_decode_(payload, &hello) != DCTX_OK)
        why = "this HELLO is not as the protocol has it";
    else if (hello.to[0] != '\0' && strcmp(hello.to, link->node) != 0)
        why = "this node has another name";
    else if (link->inbound >= INBOUND_MAX)
        why = "too many peers";
    else
        why = check_identity(link, frame, &origin, hello.node, &cert);
    if (why != NULL) {
        link->counters.handshakes_refused++;
        refuse(link, id, id_size, why);
        zcert_destroy(&cert);
        return;
    }
    peer = dctx_link_find_(link, hello.node);
    if (peer != NULL && peer->in != NULL) {
        dctx_link_lose_(link, peer->in, "it connected anew", 0);
        dctx_link_settle_(link);
    }
    /* Without memory nothing is answered: HELLO comes again. */
    if (dctx_connection_accept_(link->router, id, id_size, &link->counters, &connection) !=
        DCTX_OK) {
        zcert_destroy(&cert);
        return;
    }
    know(link, connection, &origin, cert);
    zcert_destroy(&cert);
    if (dctx_link_obtain_(link, hello.node, &peer) != DCTX_OK) {
        dctx_connection_free_(connection);
        return;
    }
    connection->peer = peer;
    connection->incarnation = hello.incarnation;
    peer->in = connection;
    peer->pins++;
    link->inbound++;
    dctx_lookup_insert_(&link->by_id, &connection->entry, connection->id, connection->id_size);
    dctx_link_say_welcome_(link, connection);
    dctx_link_up_(link, connection, &hello);
}

/* HELLO on an inbound connection that is up. */
static void greet_again(dctx_link_t *link, dctx_connection_t *connection,
                        const dctx_record_t *record)
{
    dctx_hello_t hello;
    if (dctx_hello_decode_(record->payload, &hello) != DCTX_OK ||
        strcmp(hello.node, connection->peer->name) != 0) {
        link->counters.malformed++;
        return;
    }
    if (hello.incarnation == connection->incarnation) {
        dctx_link_say_welcome_(link, connection);
        return;
    }
    uint8_t id[ID_MAX];
    size_t id_size = connection->id_size;
    memcpy(id, connection->id, id_size);
    dctx_link_lose_(link, connection, "it began anew", 0);
    dctx_link_settle_(link);
    admit(link, id, id_size, record->payload, &link->delivery.frame);
}

static void report_refused(dctx_link_t *link, dctx_connection_t *connection, const char *why)
{
    link->counters.handshakes_refused++;
    dctx_link_lose_(link, connection, "refused", 0);
    if (link->options.on_peer != NULL)
        link->options.on_peer(connection->peer->name, DCTX_PEER_REFUSED, why, link->options.arg);
}

/* A record on a dialled connection whose handshake is not done. */
static void take_answer(dctx_link_t *link, dctx_connection_t *connection,
                        const dctx_record_t *record)
{
    char why[DCTX_REASON_MAX + 1];
    dctx_hello_t hello;
    if (record->kind == DCTX_KIND_REFUSED) {
        size_t size =
            record->payload.size < DCTX_REASON_MAX ? record->payload.size : DCTX_REASON_MAX;
        const uint8_t *text = record->payload.data;
        for (size_t i = 0; i < size; i++)
            why[i] = text[i] < 0x20 || text[i] == 0x7f ? '?' : (char)text[i];
        why[size] = '\0';
        report_refused(link, connection, why);
    } else if (record->kind != DCTX_KIND_WELCOME) {
        link->counters.malformed++;
    } else if (dctx_hello_decode_(record->payload, &hello) != DCTX_OK) {
        link->counters.malformed++;
        report_refused(link, connection, "its WELCOME is not as the protocol has it");
    } else if (strcmp(hello.node, connection->peer->name) != 0) {
        static const dctx_record_t bye = {.kind = DCTX_KIND_BYE};
        (void)dctx_connection_put_(connection, &bye);
        dctx_connection_flush_(connection);
        snprintf(why, sizeof(why), "the node there is named %s", hello.node);
        report_refused(link, connection, why);
    } else {
        dctx_origin_t origin = origin_of(link, connection->socket, &link->delivery.frame);
        origin.vouched = connection->peer->server_key[0] != '\0';
        origin.user_id = connection->peer->server_key;
        know(link, connection, &origin, NULL);
        dctx_link_up_(link, connection, &hello);
    }
}

/* ---- records and frames ---------------------------------------------------------------------- */

/* True if a message was given on. */
static bool take_record(dctx_link_t *link, dctx_connection_t *connection,
                        const dctx_record_t *record)
{
    if (connection->state == DCTX_CONNECTION_HANDSHAKE) {
        take_answer(link, connection, record);
        return false;
    }
    if (record->acknowledged > connection->flushed) {
        link->counters.malformed++;
    } else if (record->acknowledged > connection->acknowledged) {
        connection->acknowledged = record->acknowledged;
        if (connection->peer->held.first != NULL)
            dctx_link_mark_dirty_(link, connection);
    }
    if (dctx_record_is_message_(record))
        return take_message(link, connection, record);
    bool inbound = dctx_connection_is_inbound_(connection);
    switch (record->kind) {
    case DCTX_KIND_PING: {
        dctx_record_t pong = {.kind = DCTX_KIND_PONG, .payload = record->payload};
        if (dctx_connection_put_(connection, &pong))
            dctx_link_mark_dirty_(link, connection);
        break;
    }
    case DCTX_KIND_BYE:
        dctx_link_lose_(link, connection, "it said goodbye", 0);
        break;
    case DCTX_KIND_REFUSED:
        if (inbound)
            link->counters.malformed++;
        else
            dctx_link_lose_(link, connection, "it does not know this connection", 0);
        break;
    case DCTX_KIND_HELLO:
        if (inbound)
            greet_again(link, connection, record);
        else
            link->counters.malformed++;
        break;
    case DCTX_KIND_WELCOME:
        if (inbound)
            link->counters.malformed++;
        break;
    default: /* PONG, ACK, and kinds to be skipped: a sign of life, and what the head says */
        break;
    }
    return false;
}

void dctx_link_forget_delivery_(dctx_link_t *link)
{
    dctx_delivery_t *delivery = &link->delivery;
    if (!delivery->active)
        return;
    dctx_snapshot_unref(&delivery->snapshot);
    (void)zmq_msg_close(&delivery->frame);
    delivery->active = false;
    delivery->connection = NULL;
}

/* Gives on the frame in delivery. A frame costs at least one of `budget`. */
static void deliver(dctx_link_t *link, size_t *budget)
{
    dctx_delivery_t *delivery = &link->delivery;
    size_t given = 0;
    while (delivery->at < delivery->end && given < *budget) {
        dctx_connection_t *connection = delivery->connection;
        dctx_record_t record;
        if (connection == NULL || connection->state == DCTX_CONNECTION_LOST) {
            delivery->at = delivery->end;
            break;
        }
        delivery->at += dctx_record_read_(delivery->at, &record);
        if ((record.flags & DCTX_SAME_CONTEXT) == 0) {
            dctx_snapshot_unref(&delivery->snapshot);
            delivery->stamp = record.stamp;
        }
        given += take_record(link, connection, &record);
        if (link->losses != NULL)
            dctx_link_settle_(link);
    }
    if (delivery->at >= delivery->end) {
        dctx_link_forget_delivery_(link);
        given += given == 0;
    }
    *budget -= given;
}

static dctx_error_t check(const dctx_link_t *link, const void *data, size_t size)
{
    return dctx_frame_check_(data, size, link->options.message_limit);
}

/* A frame from a routing id that has no connection. */
static void meet_stranger(dctx_link_t *link, const void *id, size_t id_size, zmq_msg_t *frame)
{
    const uint8_t *data = zmq_msg_data(frame);
    size_t size = zmq_msg_size(frame);
    dctx_record_t record;
    switch (check(link, data, size)) {
    case DCTX_OK:
        break;
    case DCTX_ERR_VERSION:
        link->counters.handshakes_refused++;
        refuse(link, id, id_size, "this node speaks version 1 of the protocol");
        return;
    default:
        link->counters.malformed++;
        return;
    }
    size_t length = dctx_record_read_(data + DCTX_FRAME_HEAD, &record);
    if (record.kind == DCTX_KIND_HELLO && DCTX_FRAME_HEAD + length == size)
        admit(link, id, id_size, record.payload, frame);
    else if (record.kind != DCTX_KIND_BYE)
        refuse(link, id, id_size, "say HELLO first, alone in its frame");
}

/* Takes link->delivery.frame, just received. */
static void take_frame(dctx_link_t *link, dctx_connection_t *connection, size_t *budget)
{
    dctx_delivery_t *delivery = &link->delivery;
    const uint8_t *data = zmq_msg_data(&delivery->frame);
    size_t size = zmq_msg_size(&delivery->frame);
    delivery->active = true;
    delivery->connection = connection;
    dctx_error_t error = check(link, data, size);
    if (error != DCTX_OK) {
        link->counters.malformed++;
        dctx_link_forget_delivery_(link);
        if (error == DCTX_ERR_VERSION && connection->state == DCTX_CONNECTION_HANDSHAKE) {
            report_refused(link, connection, "it speaks another version of the protocol");
            dctx_link_settle_(link);
        }
        --*budget;
        return;
    }
    connection->heard = link->now;
    connection->pinged_first = INT64_MIN;
    delivery->at = data + DCTX_FRAME_HEAD;
    delivery->end = data + size;
    delivery->stamp = (dctx_bytes_t){NULL, 0};
    deliver(link, budget);
}

/* ---- sockets --------------------------------------------------------------------------------- */

/* Receives a message that should have one frame more; false if it has others, which are taken
 * off. */
static bool receive_last(void *socket, zmq_msg_t *frame)
{
    bool right = zmq_msg_more(frame) == 0;
    dctx_handover_take_(zmq_msg_data(frame));
    while (zmq_msg_more(frame) != 0)
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0)
            return false;
    return right;
}

/* True if there was something. */
static bool read_router(dctx_link_t *link, size_t *budget)
{
    zmq_msg_t *frame = &link->delivery.frame;
    uint8_t id[ID_MAX];
    int id_size = zmq_recv(link->router, id, sizeof(id), ZMQ_DONTWAIT);
    if (id_size < 0) {
        link->router_drained = true;
        return false;
    }
    link->counters.frames_received++;
    (void)zmq_msg_init(frame);
    if (zmq_msg_recv(frame, link->router, ZMQ_DONTWAIT) < 0 || !receive_last(link->router, frame)) {
        link->counters.malformed++;
        --*budget;
        (void)zmq_msg_close(frame);
        return true;
    }
    dctx_lookup_entry_t *entry = dctx_lookup_find_(&link->by_id, id, (size_t)id_size);
    dctx_connection_t *connection =
        entry != NULL ? (dctx_connection_t *)((char *)entry - offsetof(dctx_connection_t, entry))
                      : NULL;
    if (connection != NULL && is_of(link, connection, frame)) {
        take_frame(link, connection, budget);
        return true;
    }
    if (connection != NULL)
        dctx_link_lose_(link, connection, "another peer has its place", 0);
    meet_stranger(link, id, (size_t)id_size, frame);
    (void)zmq_msg_close(frame);
    --*budget;
    return true;
}

/* Nothing more comes, if the monitor said that it has ended. */
static void end_dialled(dctx_link_t *link, dctx_connection_t *connection)
{
    bool curve = connection->peer->server_key[0] != '\0';
    bool denied = connection->ending == DCTX_ENDING_DENIED ||
                  (connection->ending == DCTX_ENDING_CUT && curve);
    if (connection->ending == DCTX_ENDING_NONE)
        return;
    if (denied && connection->state == DCTX_CONNECTION_HANDSHAKE)
        report_refused(link, connection,
                       curve ? "no security session: the node does not know our key, has another "
                               "key itself, or is not under CURVE"
                             : "no security session: the node is under CURVE");
    else
        dctx_link_lose_(link, connection, "the connection broke", 0);
}

static bool read_dealer(dctx_link_t *link, dctx_connection_t *connection, size_t *budget)
{
    zmq_msg_t *frame = &link->delivery.frame;
    (void)zmq_msg_init(frame);
    if (zmq_msg_recv(frame, connection->socket, ZMQ_DONTWAIT) < 0) {
        (void)zmq_msg_close(frame);
        connection->drained = true;
        /* Only now: what the peer sent before it went was still worth reading. */
        end_dialled(link, connection);
        if (link->losses != NULL)
            dctx_link_settle_(link);
        return false;
    }
    link->counters.frames_received++;
    if (!receive_last(connection->socket, frame)) {
        link->counters.malformed++;
        --*budget;
        (void)zmq_msg_close(frame);
        return true;
    }
    take_frame(link, connection, budget);
    return true;
}

/* One frame of each dialled connection that has one. */
static bool read_dealers(dctx_link_t *link, size_t *budget)
{
    bool any = false;
    uint64_t unchanged = link->dialled_changed;
    dctx_peer_t *peer;
    TAILQ_FOREACH(peer, &link->dialled, dialled)
    {
        if (peer->out == NULL || peer->out->drained)
            continue;
        any |= read_dealer(link, peer->out, budget);
        /* A callback may have taken this very peer away: begin again, those drained are passed
         * over. */
        if (link->dialled_changed != unchanged)
            return true;
        if (*budget == 0) {
            TAILQ_REMOVE(&link->dialled, peer, dialled);
            TAILQ_INSERT_TAIL(&link->dialled, peer, dialled);
            return true;
        }
    }
    return any;
}

/* A frame from the ROUTER and one from each DEALER in turn. Where the budget ends, the next call
 * goes on with the others, so that a flood on one socket does not silence the rest. */
static void read_all(dctx_link_t *link, size_t *budget)
{
    bool any = true;
    while (any && *budget > 0) {
        any = link->dealers_turn;
        if (!link->dealers_turn) {
            link->dealers_turn = true;
            any = !link->router_drained && read_router(link, budget);
            if (*budget == 0)
                break;
        }
        any |= read_dealers(link, budget);
        link->dealers_turn = *budget == 0;
    }
}

/* True if a connection has ended. Each is then to be read once more, because what the peer sent
 * last may have come since it was drained. */
static bool look_for_ends(dctx_link_t *link)
{
    bool any = false;
    link->looked = link->now;
    dctx_peer_t *peer;
    TAILQ_FOREACH(peer, &link->dialled, dialled)
    {
        dctx_ending_t ending =
            peer->out != NULL ? dctx_monitor_read_(peer->out->monitor) : DCTX_ENDING_NONE;
        if (ending == DCTX_ENDING_NONE)
            continue;
        if (peer->out->ending < ending)
            peer->out->ending = ending;
        peer->out->drained = false;
        any = true;
    }
    return any;
}

bool dctx_link_receive_(dctx_link_t *link, size_t most)
{
    size_t budget = most;
    /* Nothing comes to a ROUTER that is not bound. */
    link->router_drained = link->listeners == NULL;
    dctx_peer_t *peer;
    TAILQ_FOREACH(peer, &link->dialled, dialled)
    {
        if (peer->out != NULL)
            peer->out->drained = false;
    }
    if (link->delivery.active)
        deliver(link, &budget);
    read_all(link, &budget);
    /* To look at a monitor costs as much as to read a frame. When nothing was read it may be what
     * woke the caller; else it can wait. */
    if ((budget == most || link->now - link->looked >= LOOK_EVERY) && look_for_ends(link))
        read_all(link, &budget);
    return budget == 0;
}
