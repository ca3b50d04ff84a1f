#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <dcontext/internal.h>

#include "link_state.h"
#include "secure.h"
#include "socket.h"

#define HEARTBEAT_MS  1000
#define HEARTBEATS    3
#define WINDOW        4096
#define QUEUE_LIMIT   65536
#define MESSAGE_LIMIT ((size_t)1 << 20)
#define MESSAGE_MAX   ((size_t)1 << 30)
#define MESSAGES_MOST 256
#define GIVE_UP_MS    5000
/* The longest frame of many records that a sender makes. */
#define FRAME_LIMIT ((size_t)32 * 1024)
/* Frames that ZeroMQ may hold beyond the window: records that have no sequence number. */
#define CONTROL_FRAMES 128
#define RECEIVE_FRAMES 1000
#define ROUNDS         4
#define GOODBYE_LINGER 500

static int64_t monotonic(void *arg)
{
    struct timespec now;
    (void)arg;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 * DCTX_LINK_NS_PER_MS + now.tv_nsec;
}

static uint64_t random_number(const dctx_link_t *link)
{
    uint64_t number = 0;
    if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != (ssize_t)sizeof(number))
        number = (uint64_t)monotonic(NULL) ^ (uint64_t)getpid() << 32 ^ (uintptr_t)link;
    return number != 0 ? number : 1;
}

/* ---- a link's life --------------------------------------------------------------------------- */

static dctx_error_t check_options(const dctx_link_options_t *options)
{
    if (options == NULL || options->node == NULL ||
        !dctx_node_name_is_valid_(options->node, strlen(options->node)))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a node's name has 1 to 63 characters of A-Z a-z 0-9 _ . -");
    if (options->heartbeat_ms < 0 || options->dead_after_ms < 0 ||
        options->heartbeat_ms > INT32_MAX || options->dead_after_ms > INT32_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "heartbeat_ms and dead_after_ms are 0 to 2147483647");
    int64_t heartbeat = options->heartbeat_ms > 0 ? options->heartbeat_ms : HEARTBEAT_MS;
    if (options->dead_after_ms > 0 && options->dead_after_ms < heartbeat)
        return dctx_fail_(DCTX_ERR_INVALID, "dead_after_ms is less than a heartbeat");
    if (options->window > INT32_MAX - CONTROL_FRAMES)
        return dctx_fail_(DCTX_ERR_INVALID, "window is over %d", INT32_MAX - CONTROL_FRAMES);
    if (options->message_limit > MESSAGE_MAX ||
        (options->message_limit > 0 && options->message_limit < DCTX_RECORD_HEAD))
        return dctx_fail_(DCTX_ERR_INVALID, "message_limit is not within %d and %zu",
                          DCTX_RECORD_HEAD, MESSAGE_MAX);
    return DCTX_OK;
}

/* All zeroes is what zcert_load() gives for the half that a file does not have. */
static bool has_secret(zcert_t *cert)
{
    static const uint8_t none[32] = {0};
    return memcmp(zcert_secret_key(cert), none, sizeof(none)) != 0;
}

static dctx_error_t check_security(const dctx_link_options_t *options)
{
    if (options->curve != NULL && options->certificate == NULL)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a link that demands CURVE needs a certificate of its own");
    if (options->certificate != NULL && !has_secret(options->certificate))
        return dctx_fail_(DCTX_ERR_INVALID, "a link's certificate needs its secret half");
    if (options->certificate != NULL && !zsys_has_curve())
        return dctx_fail_(DCTX_ERR_INVALID, "this libzmq has no CURVE");
    return DCTX_OK;
}

static void fill_in(dctx_link_t *link, const dctx_link_options_t *options)
{
    dctx_link_options_t *own = &link->options;
    *own = *options;
    strcpy(link->node, options->node);
    own->node = link->node;
    if (own->registry == NULL)
        own->registry = dctx_registry_global();
    if (own->heartbeat_ms == 0)
        own->heartbeat_ms = HEARTBEAT_MS;
    if (own->dead_after_ms == 0)
        own->dead_after_ms = HEARTBEATS * own->heartbeat_ms;
    if (own->window == 0)
        own->window = WINDOW;
    if (own->queue_limit == 0)
        own->queue_limit = QUEUE_LIMIT;
    if (own->message_limit == 0)
        own->message_limit = MESSAGE_LIMIT;
    if (own->clock == NULL)
        own->clock = monotonic;
    int64_t give_up = own->dead_after_ms > GIVE_UP_MS ? own->dead_after_ms : GIVE_UP_MS;
    link->heartbeat = own->heartbeat_ms * DCTX_LINK_NS_PER_MS;
    link->dead_after = own->dead_after_ms * DCTX_LINK_NS_PER_MS;
    link->give_up = give_up * DCTX_LINK_NS_PER_MS;
    size_t frame = own->message_limit > FRAME_LIMIT ? own->message_limit : FRAME_LIMIT;
    link->sockets.message_bytes = (int64_t)(DCTX_FRAME_HEAD + frame);
    /* So that our window is what holds a sender back, and a peer that answers nothing to a flood of
     * PINGs cannot make us store the PONGs. */
    link->sockets.send_frames = (int)own->window + CONTROL_FRAMES;
    link->sockets.receive_frames = RECEIVE_FRAMES;
}

static dctx_error_t take_certificate(dctx_link_t *link)
{
    zcert_t *given = link->options.certificate;
    link->options.certificate = NULL;
    if (given == NULL)
        return DCTX_OK;
    link->sockets.certificate = zcert_dup(given);
    if (link->sockets.certificate == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the certificate of link %s", link->node);
    if (link->options.curve != NULL)
        link->sockets.domain = dctx_curve_domain_(link->options.curve);
    return DCTX_OK;
}

dctx_error_t dctx_link_new(const dctx_link_options_t *options, dctx_link_t **ret_link)
{
    dctx_error_t error = check_options(options);
    if (error == DCTX_OK)
        error = check_security(options);
    if (error != DCTX_OK)
        return error;
    dctx_link_t *link = dctx_calloc_(1, sizeof(*link));
    if (link == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for link %s", options->node);
    fill_in(link, options);
    TAILQ_INIT(&link->peers);
    TAILQ_INIT(&link->dialled);
    link->losses_end = &link->losses;
    link->due = INT64_MAX;
    link->incarnation = random_number(link);
    link->policy = dctx_policy_ref(dctx_policy_or_default_(options->policy));
    error = take_certificate(link);
    if (error == DCTX_OK)
        error = dctx_snapshot_empty(link->options.registry, &link->empty);
    for (int peer = DCTX_CLASS_HOST; peer < DCTX_CLASSES && error == DCTX_OK; peer++)
        link->whole[peer] = dctx_link_leaves_whole_(link, (dctx_class_t)peer);
    if (error == DCTX_OK)
        error = dctx_lookup_init_(&link->by_name, random_number(link));
    if (error == DCTX_OK)
        error = dctx_lookup_init_(&link->by_id, random_number(link));
    if (error == DCTX_OK)
        error = dctx_socket_open_(ZMQ_ROUTER, &link->sockets, NULL, &link->router);
    if (error != DCTX_OK) {
        dctx_link_destroy(&link);
        return error;
    }
    *ret_link = link;
    return DCTX_OK;
}

void dctx_link_destroy(dctx_link_t **link_p)
{
    dctx_link_t *link = link_p != NULL ? *link_p : NULL;
    if (link == NULL)
        return;
    dctx_link_forget_delivery_(link);
    while (!TAILQ_EMPTY(&link->peers))
        dctx_link_let_go_(link, TAILQ_FIRST(&link->peers));
    link->options.on_peer = NULL;
    link->options.on_undelivered = NULL;
    dctx_link_settle_(link);
    dctx_socket_close_(&link->router, GOODBYE_LINGER);
    while (link->listeners != NULL) {
        dctx_listener_t *listener = link->listeners;
        link->listeners = listener->next;
        dctx_listener_destroy_(&listener);
    }
    dctx_lookup_finish_(&link->by_name);
    dctx_lookup_finish_(&link->by_id);
    dctx_snapshot_unref(&link->empty);
    dctx_policy_unref(&link->policy);
    zcert_destroy(&link->sockets.certificate);
    dctx_release_(link);
    *link_p = NULL;
}

/* ---- endpoints and peers --------------------------------------------------------------------- */

static bool is_inproc(const char *endpoint)
{
    return strncmp(endpoint, "inproc://", strlen("inproc://")) == 0;
}

dctx_error_t dctx_link_bind(dctx_link_t *link, const char *endpoint, const char **ret_endpoint)
{
    if (link == NULL || endpoint == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no link, or no endpoint");
    if (link->sockets.certificate != NULL && link->sockets.domain == NULL && !is_inproc(endpoint))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a link that has a certificate and no dctx_curve_t lets nobody in");
    dctx_listener_t *listener;
    dctx_socket_look_(link->router);
    dctx_error_t error = dctx_listener_bind_(link->router, endpoint, &listener);
    if (error != DCTX_OK)
        return error;
    dctx_socket_look_(link->router);
    listener->next = link->listeners;
    link->listeners = listener;
    if (ret_endpoint != NULL)
        *ret_endpoint = listener->endpoint;
    return DCTX_OK;
}

static dctx_error_t check_peer(const dctx_link_t *link, const char *peer)
{
    if (link == NULL || peer == NULL || !dctx_node_name_is_valid_(peer, strlen(peer)))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "no link, or not a node's name (1 to 63 of A-Z a-z 0-9 _ . -)");
    return DCTX_OK;
}

static dctx_error_t dial(dctx_link_t *link, const char *peer_name, const char *endpoint,
                         const char *server_key)
{
    dctx_peer_t *peer;
    dctx_connection_t *connection;
    dctx_error_t error;
    const char *key = server_key != NULL ? server_key : "";
    peer = dctx_link_find_(link, peer_name);
    if (peer != NULL && peer->endpoint != NULL && strcmp(peer->endpoint, endpoint) == 0 &&
        strcmp(peer->server_key, key) == 0)
        return DCTX_OK;
    char *copy = dctx_strndup_(endpoint, strlen(endpoint));
    if (copy == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for peer %s", peer_name);
    error =
        dctx_connection_dial_(endpoint, server_key, &link->sockets, &link->counters, &connection);
    if (error == DCTX_OK) {
        error = dctx_link_obtain_(link, peer_name, &peer);
        if (error != DCTX_OK)
            dctx_connection_free_(connection);
    }
    if (error != DCTX_OK) {
        dctx_release_(copy);
        return error;
    }
    link->now = dctx_link_clock_(link);
    dctx_link_set_endpoint_(link, peer, copy, key);
    if (peer->out != NULL)
        dctx_link_part_(link, peer->out, "dialled elsewhere");
    dctx_link_begin_(link, peer, connection);
    return DCTX_OK;
}

dctx_error_t dctx_link_connect(dctx_link_t *link, const char *peer, const char *endpoint)
{
    dctx_error_t error = check_peer(link, peer);
    if (error != DCTX_OK)
        return error;
    if (endpoint == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no endpoint for peer %s", peer);
    if (link->sockets.certificate != NULL && !is_inproc(endpoint))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "this link is under CURVE: dial %s with dctx_link_connect_curve()", peer);
    return dial(link, peer, endpoint, NULL);
}

dctx_error_t dctx_link_connect_curve(dctx_link_t *link, const char *peer, const char *endpoint,
                                     const char *server_key)
{
    uint8_t key[DCTX_KEY_TEXT];
    dctx_error_t error = check_peer(link, peer);
    if (error != DCTX_OK)
        return error;
    if (endpoint == NULL || server_key == NULL || strlen(server_key) != DCTX_KEY_TEXT ||
        zmq_z85_decode(key, server_key) == NULL)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "no endpoint for peer %s, or not a key of %d characters", peer,
                          DCTX_KEY_TEXT);
    if (link->sockets.certificate == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "to dial %s under CURVE this link needs a certificate",
                          peer);
    return dial(link, peer, endpoint, server_key);
}

dctx_error_t dctx_link_disconnect(dctx_link_t *link, const char *peer_name)
{
    dctx_error_t error = check_peer(link, peer_name);
    if (error != DCTX_OK)
        return error;
    dctx_peer_t *peer = dctx_link_find_(link, peer_name);
    if (peer == NULL)
        return dctx_fail_(DCTX_ERR_ABSENT, "no peer %s is dialled or connected", peer_name);
    link->now = dctx_link_clock_(link);
    dctx_link_let_go_(link, peer);
    return DCTX_OK;
}

bool dctx_link_peer_is_up(const dctx_link_t *link, const char *peer_name)
{
    if (link == NULL || peer_name == NULL)
        return false;
    const dctx_peer_t *peer = dctx_link_find_(link, peer_name);
    return peer != NULL && dctx_peer_is_up_(peer);
}

/* ---- messages -------------------------------------------------------------------------------- */

dctx_error_t dctx_link_send(dctx_link_t *link, const char *peer_name,
                            const dctx_link_message_t *message)
{
    if (link == NULL || peer_name == NULL || message == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no link, no peer, or no message");
    dctx_peer_t *peer = dctx_link_find_(link, peer_name);
    if (peer == NULL)
        return dctx_fail_(DCTX_ERR_UNREACHABLE, "no peer %.63s is dialled or connected", peer_name);
    dctx_record_t record;
    zmq_msg_t stamp;
    bool put = false;
    dctx_connection_t *via = peer->via;
    dctx_error_t error = dctx_link_record_(link, via, message, &record, &stamp);
    if (error == DCTX_OK && via != NULL && peer->held.first == NULL &&
        dctx_connection_has_room_(via)) {
        put = dctx_connection_put_(via, &record);
        dctx_link_mark_dirty_(link, via);
    }
    (void)zmq_msg_close(&stamp);
    if (error != DCTX_OK || put)
        return error;
    if (peer->held.count >= link->options.queue_limit)
        return dctx_fail_(DCTX_ERR_FULL, "%zu messages are held for peer %s", peer->held.count,
                          peer_name);
    return dctx_held_push_(&peer->held, message);
}

/* ---- the round of work ----------------------------------------------------------------------- */

static size_t add_item(void *socket, zmq_pollitem_t *items, size_t capacity, size_t count)
{
    if (count < capacity)
        items[count] = (zmq_pollitem_t){.socket = socket, .events = ZMQ_POLLIN};
    return count + 1;
}

size_t dctx_link_poll_items(dctx_link_t *link, zmq_pollitem_t *ret_items, size_t capacity)
{
    size_t count = 0;
    /* Each item costs the caller two system calls a poll; and nothing comes to a ROUTER that is not
     * bound. */
    if (link->listeners != NULL)
        count = add_item(link->router, ret_items, capacity, count);
    const dctx_peer_t *peer;
    TAILQ_FOREACH(peer, &link->dialled, dialled)
    {
        if (peer->out == NULL)
            continue;
        count = add_item(peer->out->socket, ret_items, capacity, count);
        count = add_item(peer->out->monitor, ret_items, capacity, count);
    }
    return count;
}

long dctx_link_timeout_ms(const dctx_link_t *link)
{
    if (link->more || link->dirty != NULL || link->losses != NULL)
        return 0;
    if (link->due == INT64_MAX)
        return -1;
    int64_t left = link->due - dctx_link_clock_(link);
    if (left <= 0)
        return 0;
    /* Rounded up: too early would mean a round of work for nothing. */
    int64_t ms = (left + DCTX_LINK_NS_PER_MS - 1) / DCTX_LINK_NS_PER_MS;
    return ms < INT32_MAX ? (long)ms : INT32_MAX;
}

bool dctx_link_process(dctx_link_t *link, size_t most)
{
    if (link->busy)
        return false;
    link->busy = true;
    link->now = dctx_link_clock_(link);
    dctx_link_settle_(link);
    link->more = dctx_link_receive_(link, most > 0 ? most : MESSAGES_MOST);
    dctx_link_settle_(link);
    if (link->now >= link->due)
        dctx_link_run_timers_(link);
    /* What is lost while sending is reported at once; what those reports sent is left for the next
     * round when this goes on. */
    for (int round = 0; round < ROUNDS && (link->dirty != NULL || link->losses != NULL); round++) {
        while (link->dirty != NULL)
            dctx_link_pump_(link, link->dirty);
        dctx_link_settle_(link);
    }
    link->busy = false;
    return link->more;
}

void dctx_link_counters_read(const dctx_link_t *link, dctx_link_counters_t *ret_counters)
{
    *ret_counters = link->counters;
}
