#include <string.h>

#include <dcontext/internal.h>

#include "link_state.h"
#include "prepared.h"
#include "secure.h"
#include "socket.h"

#define BACKOFF_FIRST  (50 * DCTX_LINK_NS_PER_MS)
#define BACKOFF_LAST   (1000 * DCTX_LINK_NS_PER_MS)
#define HELLO_EVERY    (1000 * DCTX_LINK_NS_PER_MS)
#define BLOCKED_EVERY  (10 * DCTX_LINK_NS_PER_MS)
#define HELLO_LIMIT    512
#define GOODBYE_LINGER 500
#define MANY_PEERS     64
#define VOUCH_EVERY    (1000 * DCTX_LINK_NS_PER_MS)

/* ---- the list of peers ----------------------------------------------------------------------- */

dctx_peer_t *dctx_link_find_(const dctx_link_t *link, const char *name)
{
    dctx_lookup_entry_t *entry = dctx_lookup_find_(&link->by_name, name, strlen(name));
    return entry != NULL ? (dctx_peer_t *)((char *)entry - offsetof(dctx_peer_t, entry)) : NULL;
}

void dctx_link_set_endpoint_(dctx_link_t *link, dctx_peer_t *peer, char *endpoint,
                             const char *server_key)
{
    strcpy(peer->server_key, server_key);
    if (peer->endpoint == NULL && endpoint != NULL)
        TAILQ_INSERT_TAIL(&link->dialled, peer, dialled);
    else if (peer->endpoint != NULL && endpoint == NULL)
        TAILQ_REMOVE(&link->dialled, peer, dialled);
    dctx_release_(peer->endpoint);
    peer->endpoint = endpoint;
    link->dialled_changed++;
}

dctx_error_t dctx_link_obtain_(dctx_link_t *link, const char *name, dctx_peer_t **ret_peer)
{
    dctx_peer_t *peer = dctx_link_find_(link, name);
    if (peer == NULL) {
        dctx_error_t error = dctx_peer_new_(name, &peer);
        if (error != DCTX_OK)
            return error;
        peer->backoff = BACKOFF_FIRST;
        peer->listed = true;
        TAILQ_INSERT_TAIL(&link->peers, peer, all);
        dctx_lookup_insert_(&link->by_name, &peer->entry, peer->name, strlen(peer->name));
    }
    *ret_peer = peer;
    return DCTX_OK;
}

void dctx_link_unlist_if_idle_(dctx_link_t *link, dctx_peer_t *peer)
{
    if (!peer->listed || peer->endpoint != NULL || peer->out != NULL || peer->in != NULL)
        return;
    peer->listed = false;
    TAILQ_REMOVE(&link->peers, peer, all);
    dctx_lookup_remove_(&link->by_name, &peer->entry);
    if (peer->held.first != NULL) {
        peer->loss = (dctx_loss_t){.peer = peer, .held = peer->held, .reason = ""};
        peer->held = (dctx_held_queue_t){NULL, NULL, 0};
        peer->pins++;
        *link->losses_end = &peer->loss;
        link->losses_end = &peer->loss.next;
    } else if (peer->pins == 0) {
        dctx_peer_free_(peer);
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

void dctx_link_mark_dirty_(dctx_link_t *link, dctx_connection_t *connection)
{
    if (connection->dirty || connection->state == DCTX_CONNECTION_LOST)
        return;
    connection->dirty = true;
    connection->dirty_next = link->dirty;
    connection->dirty_prev = &link->dirty;
    if (link->dirty != NULL)
        link->dirty->dirty_prev = &connection->dirty_next;
    link->dirty = connection;
}

static void unmark_dirty(dctx_connection_t *connection)
{
    if (!connection->dirty)
        return;
    *connection->dirty_prev = connection->dirty_next;
    if (connection->dirty_next != NULL)
        connection->dirty_next->dirty_prev = connection->dirty_prev;
    connection->dirty = false;
}

bool dctx_link_leaves_whole_(const dctx_link_t *link, dctx_class_t peer)
{
    size_t count = dctx_registry_keys(link->options.registry, NULL, 0);
    const dctx_key_t **keys = dctx_calloc_(count + 1, sizeof(*keys));
    bool whole = keys != NULL && dctx_policy_leaves_whole_(link->policy, peer);
    if (whole)
        count = dctx_registry_keys(link->options.registry, keys, count);
    for (size_t i = 0; i < count && whole; i++)
        whole = dctx_key_is_local(keys[i]) || dctx_reaches_(dctx_key_reach(keys[i]), peer);
    dctx_release_(keys);
    return whole;
}

/* What of a context may leave over a connection. */
static dctx_error_t stamp_of(dctx_link_t *link, const dctx_connection_t *connection,
                             const dctx_snapshot_t *snapshot, dctx_bytes_t *ret_bytes,
                             zmq_msg_t *stamp)
{
    if (connection == NULL ||
        (connection->whole && dctx_snapshot_registry(snapshot) == link->options.registry))
        return dctx_snapshot_encode(snapshot, ret_bytes);
    zmq_msg_t made;
    bool stamped;
    dctx_error_t error =
        dctx_prepare_(snapshot, link->policy, connection->leaving, false, &made, &stamped);
    if (error != DCTX_OK)
        return error;
    (void)zmq_msg_move(stamp, &made);
    (void)zmq_msg_close(&made);
    if (stamped)
        *ret_bytes = (dctx_bytes_t){(const uint8_t *)zmq_msg_data(stamp) + DCTX_MAGIC_SIZE,
                                    zmq_msg_size(stamp) - DCTX_MAGIC_SIZE};
    return DCTX_OK;
}

dctx_error_t dctx_link_record_(dctx_link_t *link, const dctx_connection_t *connection,
                               const dctx_link_message_t *message, dctx_record_t *ret_record,
                               zmq_msg_t *ret_stamp)
{
    (void)zmq_msg_init(ret_stamp);
    if (message->kind < DCTX_LINK_TELL || message->kind > DCTX_LINK_ENDED)
        return dctx_fail_(DCTX_ERR_INVALID, "a link sends no messages of kind %d",
                          (int)message->kind);
    if (connection != NULL && message->kind > connection->kinds)
        return dctx_fail_(DCTX_ERR_VERSION, "peer %s knows no messages of kind %d: it is older",
                          connection->peer->name, (int)message->kind);
    if (message->target.size > DCTX_TARGET_MAX || message->type.size > DCTX_TARGET_MAX)
        return dctx_fail_(DCTX_ERR_LIMIT, "target and type have at most %d bytes, not %zu and %zu",
                          DCTX_TARGET_MAX, message->target.size, message->type.size);
    if (message->kind == DCTX_LINK_ERROR && message->payload.size > DCTX_REASON_MAX)
        return dctx_fail_(DCTX_ERR_LIMIT, "a reason has at most %d bytes, not %zu", DCTX_REASON_MAX,
                          message->payload.size);
    *ret_record = (dctx_record_t){.kind = (uint8_t)message->kind,
                                  .correlation = message->correlation,
                                  .target = message->target,
                                  .type = message->type,
                                  .payload = message->payload};
    if (message->kind == DCTX_LINK_ERROR)
        ret_record->code = (uint8_t)message->code;
    if (message->snapshot != NULL && !dctx_snapshot_is_empty(message->snapshot)) {
        dctx_error_t error =
            stamp_of(link, connection, message->snapshot, &ret_record->stamp, ret_stamp);
        if (error != DCTX_OK)
            return error;
    }
    size_t size = dctx_record_size_(ret_record);
    if (message->payload.size > link->options.message_limit || size > link->options.message_limit)
        return dctx_fail_(DCTX_ERR_LIMIT, "a message of %zu bytes is over message_limit, %zu", size,
                          link->options.message_limit);
    if (connection != NULL && size > connection->limit)
        return dctx_fail_(DCTX_ERR_LIMIT, "a message of %zu bytes is over what peer %s takes, %zu",
                          size, connection->peer->name, connection->limit);
    return DCTX_OK;
}

/* What was held cannot be sent after all: it is given back by settle. */
static void refuse_held(dctx_link_t *link, dctx_peer_t *peer, dctx_error_t why)
{
    dctx_held_t *held = dctx_held_pop_(&peer->held);
    held->why = why;
    dctx_held_append_(&peer->refusal.held, held);
    if (peer->refused)
        return;
    peer->refused = true;
    peer->refusal.peer = peer;
    peer->refusal.next = NULL;
    peer->refusal.reason = "";
    peer->pins++;
    *link->losses_end = &peer->refusal;
    link->losses_end = &peer->refusal.next;
}

/* Moves held messages to the connection while it has room. */
static void drain_held(dctx_link_t *link, dctx_peer_t *peer, dctx_connection_t *connection)
{
    while (peer->held.first != NULL && dctx_connection_has_room_(connection)) {
        dctx_record_t record;
        zmq_msg_t stamp;
        dctx_error_t error =
            dctx_link_record_(link, connection, &peer->held.first->message, &record, &stamp);
        bool put = error == DCTX_OK && dctx_connection_put_(connection, &record);
        (void)zmq_msg_close(&stamp);
        if (put)
            dctx_held_free_(dctx_held_pop_(&peer->held));
        else if (error == DCTX_OK)
            return;
        else
            refuse_held(link, peer, error);
    }
}

/* By the smaller of the two windows: the other side may not send past its own either,
 * and would wait for us. */
static bool owes_acknowledgement(const dctx_connection_t *connection)
{
    return (connection->received - connection->told) * 2 >= connection->window;
}

void dctx_link_pump_(dctx_link_t *link, dctx_connection_t *connection)
{
    static const dctx_record_t acknowledgement = {.kind = DCTX_KIND_ACK};
    unmark_dirty(connection);
    connection->blocked = false;
    dctx_connection_flush_(connection);
    if (connection->state == DCTX_CONNECTION_UP) {
        if (connection->peer->via == connection)
            drain_held(link, connection->peer, connection);
        dctx_connection_flush_(connection);
        if (owes_acknowledgement(connection) && connection->received > connection->told)
            (void)dctx_connection_put_(connection, &acknowledgement);
        dctx_connection_flush_(connection);
    }
    if (connection->broken)
        dctx_link_lose_(link, connection, "the connection broke", 0);
    else if (connection->blocked)
        dctx_link_note_due_(link, link->now + BLOCKED_EVERY);
}

/* A record of the handshake or the heartbeat, at once and in a frame of its own. */
static void say(dctx_link_t *link, dctx_connection_t *connection, uint8_t kind,
                dctx_bytes_t payload)
{
    dctx_record_t record = {.kind = kind, .payload = payload};
    dctx_connection_flush_(connection);
    (void)dctx_connection_put_(connection, &record);
    dctx_connection_flush_(connection);
    if (connection->broken || connection->blocked)
        dctx_link_mark_dirty_(link, connection);
}

static void say_who(dctx_link_t *link, dctx_connection_t *connection, uint8_t kind)
{
    dctx_writer_t *writer;
    if (dctx_writer_new(HELLO_LIMIT, &writer) != DCTX_OK)
        return; /* HELLO is repeated, and so brings another WELCOME */
    dctx_hello_t hello = {.incarnation = link->incarnation,
                          .window = link->options.window,
                          .limit = link->options.message_limit,
                          .kinds = DCTX_KIND_MESSAGE_LAST};
    strcpy(hello.node, link->node);
    if (kind == DCTX_KIND_HELLO)
        strcpy(hello.to, connection->peer->name);
    dctx_hello_encode_(&hello, writer);
    if (dctx_writer_error(writer) == DCTX_OK)
        say(link, connection, kind, dctx_writer_bytes(writer));
    dctx_writer_destroy(&writer);
}

void dctx_link_say_hello_(dctx_link_t *link, dctx_connection_t *connection)
{
    connection->said = link->now;
    say_who(link, connection, DCTX_KIND_HELLO);
    dctx_link_note_due_(link, link->now + HELLO_EVERY);
}

void dctx_link_say_welcome_(dctx_link_t *link, dctx_connection_t *connection)
{
    say_who(link, connection, DCTX_KIND_WELCOME);
}

/* ---- coming ---------------------------------------------------------------------------------- */

void dctx_link_begin_(dctx_link_t *link, dctx_peer_t *peer, dctx_connection_t *connection)
{
    const dctx_view_t view = {.handle = connection->socket,
                              .policy = link->policy,
                              .leaving = link->policy->peer,
                              .entering = link->policy->peer};
    connection->peer = peer;
    connection->leaving = dctx_socket_leaving_(&view);
    connection->whole = link->whole[connection->leaving];
    connection->base = dctx_snapshot_ref(link->empty);
    connection->state = DCTX_CONNECTION_HANDSHAKE;
    connection->began = link->now;
    peer->pins++;
    peer->out = connection;
    link->dialled_changed++;
    dctx_link_say_hello_(link, connection);
}

static void tell(dctx_link_t *link, dctx_peer_t *peer, dctx_peer_event_t event, const char *reason)
{
    if (link->options.on_peer != NULL)
        link->options.on_peer(peer->name, event, reason, link->options.arg);
}

void dctx_link_up_(dctx_link_t *link, dctx_connection_t *connection, const dctx_hello_t *hello)
{
    dctx_peer_t *peer = connection->peer;
    connection->state = DCTX_CONNECTION_UP;
    connection->began = link->now;
    connection->heard = link->now;
    connection->window =
        hello->window < link->options.window ? hello->window : link->options.window;
    connection->limit =
        hello->limit == 0 || hello->limit > SIZE_MAX ? SIZE_MAX : (size_t)hello->limit;
    connection->kinds = hello->kinds == 0 ? DCTX_KIND_UNSAID : hello->kinds;
    link->counters.peers_up++;
    dctx_link_note_due_(link, link->now + link->heartbeat);
    if (link->options.curve != NULL)
        dctx_link_note_due_(link, link->now + VOUCH_EVERY);
    dctx_peer_choose_(peer);
    if (peer->held.first != NULL)
        dctx_link_mark_dirty_(link, connection);
    if (!peer->reported) {
        peer->reported = true;
        tell(link, peer, DCTX_PEER_UP, "");
    }
}

/* ---- going ----------------------------------------------------------------------------------- */

static void plan_redial(dctx_link_t *link, dctx_peer_t *peer, const dctx_connection_t *connection)
{
    /* Only a connection that lasted shows that the next one may be tried soon. */
    if (connection->state == DCTX_CONNECTION_UP && link->now - connection->began >= BACKOFF_LAST)
        peer->backoff = BACKOFF_FIRST;
    peer->redial_at = link->now + peer->backoff;
    peer->backoff = peer->backoff * 2 < BACKOFF_LAST ? peer->backoff * 2 : BACKOFF_LAST;
    dctx_link_note_due_(link, peer->redial_at);
}

void dctx_link_lose_(dctx_link_t *link, dctx_connection_t *connection, const char *reason,
                     int linger_ms)
{
    if (connection->state == DCTX_CONNECTION_LOST)
        return;
    dctx_peer_t *peer = connection->peer;
    connection->loss = (dctx_loss_t){.peer = peer,
                                     .connection = connection,
                                     .reason = reason,
                                     .was_up = connection->state == DCTX_CONNECTION_UP};
    if (connection->loss.was_up) {
        connection->loss.held = peer->held;
        peer->held = (dctx_held_queue_t){NULL, NULL, 0};
        link->counters.peers_down++;
        link->counters.unacknowledged += connection->flushed - connection->acknowledged;
    }
    if (peer->out == connection) {
        peer->out = NULL;
        plan_redial(link, peer, connection);
    } else if (peer->in == connection) {
        peer->in = NULL;
        dctx_lookup_remove_(&link->by_id, &connection->entry);
        link->inbound--;
    }
    unmark_dirty(connection);
    connection->state = DCTX_CONNECTION_LOST;
    dctx_connection_close_(connection, linger_ms);
    dctx_peer_choose_(peer);
    link->dialled_changed++;
    *link->losses_end = &connection->loss;
    link->losses_end = &connection->loss.next;
    dctx_link_unlist_if_idle_(link, peer);
}

void dctx_link_part_(dctx_link_t *link, dctx_connection_t *connection, const char *reason)
{
    say(link, connection, DCTX_KIND_BYE, (dctx_bytes_t){NULL, 0});
    dctx_link_lose_(link, connection, reason, GOODBYE_LINGER);
}

void dctx_link_let_go_(dctx_link_t *link, dctx_peer_t *peer)
{
    dctx_connection_t *connections[2] = {peer->out, peer->in};
    dctx_link_set_endpoint_(link, peer, NULL, "");
    peer->pins++; /* losing the last connection may unlist it */
    for (int i = 0; i < 2; i++) {
        if (connections[i] != NULL)
            dctx_link_part_(link, connections[i], "disconnected by this side");
    }
    dctx_link_unlist_if_idle_(link, peer);
    if (--peer->pins == 0)
        dctx_peer_free_(peer);
}

static void give_back(dctx_link_t *link, const char *peer, const dctx_link_message_t *message,
                      dctx_error_t why)
{
    dctx_link_message_t copy = *message;
    if (copy.snapshot == NULL)
        copy.snapshot = link->empty;
    link->counters.undelivered++;
    if (link->options.on_undelivered != NULL)
        link->options.on_undelivered(peer, &copy, why, link->options.arg);
}

typedef struct batch_return {
    dctx_link_t *link;
    const char *peer;
} batch_return_t;

static void give_back_record(const dctx_record_t *record, dctx_bytes_t stamp, void *arg)
{
    const batch_return_t *to = arg;
    dctx_snapshot_t *snapshot = NULL;
    dctx_link_message_t message = {.kind = (dctx_link_kind_t)record->kind,
                                   .code = (dctx_error_t)record->code,
                                   .correlation = record->correlation,
                                   .target = record->target,
                                   .type = record->type,
                                   .payload = record->payload};
    if (stamp.size > 0 && dctx_snapshot_decode(to->link->options.registry, stamp.data, stamp.size,
                                               &snapshot) == DCTX_OK)
        message.snapshot = snapshot;
    give_back(to->link, to->peer, &message, DCTX_ERR_UNREACHABLE);
    dctx_snapshot_unref(&snapshot);
}

static void report(dctx_link_t *link, dctx_loss_t *loss)
{
    dctx_peer_t *peer = loss->peer;
    batch_return_t to = {link, peer->name};
    dctx_held_t *held;
    if (loss->was_up && loss->connection != NULL)
        dctx_connection_visit_batch_(loss->connection, give_back_record, &to);
    while ((held = dctx_held_pop_(&loss->held)) != NULL) {
        give_back(link, peer->name, &held->message, held->why);
        dctx_held_free_(held);
    }
    if (loss->was_up && peer->reported) {
        peer->reported = false;
        tell(link, peer, DCTX_PEER_DOWN, loss->reason);
    }
    /* The other of two connections is still there: what was in flight is lost, but the peer is
     * not. */
    if (peer->listed && !peer->reported && dctx_peer_is_up_(peer)) {
        peer->reported = true;
        tell(link, peer, DCTX_PEER_UP, "");
    }
}

void dctx_link_settle_(dctx_link_t *link)
{
    dctx_loss_t *loss;
    while ((loss = link->losses) != NULL) {
        dctx_peer_t *peer = loss->peer;
        dctx_connection_t *connection = loss->connection;
        link->losses = loss->next;
        if (link->losses == NULL)
            link->losses_end = &link->losses;
        if (loss == &peer->refusal)
            peer->refused = false;
        report(link, loss);
        if (connection != NULL) {
            if (link->delivery.connection == connection)
                link->delivery.connection = NULL;
            dctx_connection_free_(connection);
        }
        if (--peer->pins == 0 && !peer->listed)
            dctx_peer_free_(peer);
    }
}

/* ---- timers ---------------------------------------------------------------------------------- */

static void redial(dctx_link_t *link, dctx_peer_t *peer)
{
    if (link->now < peer->redial_at) {
        dctx_link_note_due_(link, peer->redial_at);
        return;
    }
    dctx_connection_t *connection;
    const char *key = peer->server_key[0] != '\0' ? peer->server_key : NULL;
    if (dctx_connection_dial_(peer->endpoint, key, &link->sockets, &link->counters, &connection) ==
        DCTX_OK) {
        dctx_link_begin_(link, peer, connection);
        return;
    }
    dctx_log(DCTX_LOG_WARNING, "link %s: peer %s: %s", link->node, peer->name, dctx_error_detail());
    peer->redial_at = link->now + BACKOFF_LAST;
    dctx_link_note_due_(link, peer->redial_at);
}

static void shake_hands(dctx_link_t *link, dctx_connection_t *connection)
{
    if (link->now - connection->began >= link->give_up) {
        dctx_link_lose_(link, connection, "no answer", 0);
        return;
    }
    if (link->now - connection->said >= HELLO_EVERY)
        dctx_link_say_hello_(link, connection);
    dctx_link_note_due_(link, connection->said + HELLO_EVERY);
    dctx_link_note_due_(link, connection->began + link->give_up);
}

/* `drained`: everything that came was read, so that silence is the peer's and not ours. For the
 * same reason a peer is only given up some time after it was pinged: this thread may have slept. */
static void listen_for_life(dctx_link_t *link, dctx_connection_t *connection, bool drained)
{
    int64_t silent = link->now - connection->heard;
    bool pinged = connection->pinged_first != INT64_MIN;
    if (silent < link->heartbeat) {
        dctx_link_note_due_(link, connection->heard + link->heartbeat);
        return;
    }
    if (drained && pinged && silent >= link->dead_after &&
        link->now - connection->pinged_first >= link->heartbeat) {
        dctx_link_lose_(link, connection, "it fell silent", 0);
        return;
    }
    if (!pinged || link->now - connection->pinged_last >= link->heartbeat) {
        connection->pinged_last = link->now;
        if (!pinged)
            connection->pinged_first = link->now;
        say(link, connection, DCTX_KIND_PING, (dctx_bytes_t){NULL, 0});
    }
    int64_t dead = connection->heard + link->dead_after;
    if (dead <= link->now)
        dead = link->now + link->heartbeat;
    dctx_link_note_due_(link, connection->pinged_last + link->heartbeat);
    dctx_link_note_due_(link, dead);
}

/* False: the connection is over, because the key that it was let in with is known no more. */
static bool is_vouched_for(dctx_link_t *link, dctx_connection_t *connection)
{
    static const char why[] = "its key is not known any more";
    zcert_t *cert = NULL;
    if (link->options.curve == NULL || connection->key[0] == '\0' ||
        !dctx_connection_is_inbound_(connection))
        return true;
    if (link->now - connection->vouched >= VOUCH_EVERY) {
        connection->vouched = link->now;
        if (dctx_curve_vouch_(link->options.curve, connection->key, &cert) != DCTX_OK) {
            link->counters.revoked++;
            say(link, connection, DCTX_KIND_REFUSED, (dctx_bytes_t){why, strlen(why)});
            dctx_link_lose_(link, connection, why, 0);
            return false;
        }
        zcert_destroy(&cert);
    }
    dctx_link_note_due_(link, connection->vouched + VOUCH_EVERY);
    return true;
}

static void run_timer(dctx_link_t *link, dctx_connection_t *connection, bool drained)
{
    if (!is_vouched_for(link, connection))
        return;
    if (connection->blocked)
        dctx_link_mark_dirty_(link, connection);
    if (connection->state == DCTX_CONNECTION_HANDSHAKE)
        shake_hands(link, connection);
    else
        listen_for_life(link, connection, drained);
}

void dctx_link_run_timers_(dctx_link_t *link)
{
    link->due = INT64_MAX;
    dctx_peer_t *next;
    for (dctx_peer_t *peer = TAILQ_FIRST(&link->peers); peer != NULL; peer = next) {
        next = TAILQ_NEXT(peer, all); /* losing its last connection takes this one out, no other */
        peer->pins++;
        if (peer->out != NULL)
            run_timer(link, peer->out, peer->out->drained);
        else if (peer->endpoint != NULL)
            redial(link, peer);
        if (peer->in != NULL)
            run_timer(link, peer->in, link->router_drained);
        peer->pins--;
    }
    /* Each peer has its own times. To walk all of many for each of them would be quadratic. */
    int64_t soonest = link->now + link->heartbeat / MANY_PEERS;
    if (link->by_name.count > MANY_PEERS && link->due < soonest)
        link->due = soonest;
}
