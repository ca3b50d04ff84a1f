#include "link_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <criterion/criterion.h>

#define PATIENCE_NS INT64_C(30000000000)
#define ITEMS_MAX   64

static const dctx_key_t *tenant_key;

static int64_t real_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void fixture_init(void)
{
    const dctx_key_options_t tenant = {.name = "tenant", .type = DCTX_TYPE_STRING};
    cr_assert_eq(dctx_registry_add(NULL, &tenant, &tenant_key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

dctx_snapshot_t *make_context(const char *tenant, const char *scope_name)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_scope_t scope;
    cr_assert_eq(dctx_scope_push(scope_name, &scope), DCTX_OK);
    cr_assert_eq(dctx_set(tenant_key, tenant), DCTX_OK);
    cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    return snapshot;
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static told_t *record_told(node_t *node, int what, const char *peer)
{
    if (node->told_count == node->told_capacity) {
        node->told_capacity = node->told_capacity > 0 ? node->told_capacity * 2 : 64;
        node->told = realloc(node->told, node->told_capacity * sizeof(*node->told));
        cr_assert_not_null(node->told);
    }
    told_t *told = &node->told[node->told_count++];
    memset(told, 0, sizeof(*told));
    told->what = what;
    snprintf(told->peer, sizeof(told->peer), "%s", peer);
    return told;
}

static void copy_text(char *to, size_t size, dctx_bytes_t bytes)
{
    size_t length = bytes.size < size - 1 ? bytes.size : size - 1;
    if (length > 0)
        memcpy(to, bytes.data, length);
    to[length] = '\0';
}

static void copy_message(told_t *told, const dctx_link_message_t *message)
{
    told->kind = message->kind;
    told->code = message->code;
    told->correlation = message->correlation;
    told->payload_size = message->payload.size;
    copy_text(told->target, sizeof(told->target), message->target);
    copy_text(told->type, sizeof(told->type), message->type);
    copy_text(told->payload, sizeof(told->payload), message->payload);
    cr_assert_not_null(message->snapshot);
    const char *tenant = dctx_snapshot_get(message->snapshot, tenant_key);
    snprintf(told->tenant, sizeof(told->tenant), "%s", tenant != NULL ? tenant : "");
    const char *upstream = dctx_snapshot_upstream_address(message->snapshot);
    const dctx_session_t *session = dctx_snapshot_security_session(message->snapshot);
    snprintf(told->upstream, sizeof(told->upstream), "%s", upstream != NULL ? upstream : "");
    snprintf(told->key, sizeof(told->key), "%s", session != NULL ? session->public_key : "");
    dctx_snapshot_chain_format(message->snapshot, told->chain, sizeof(told->chain));
}

static void on_message(const char *peer, const dctx_link_message_t *message, void *arg)
{
    node_t *node = arg;
    node->messages++;
    node->in_order = node->in_order && message->correlation == node->next;
    node->next = message->correlation + 1;
    if (node->echo && message->kind == DCTX_LINK_ASK) {
        dctx_link_message_t reply = {.kind = DCTX_LINK_REPLY,
                                     .correlation = message->correlation,
                                     .type = message->type,
                                     .payload = message->payload};
        cr_assert_eq(dctx_link_send(node->link, peer, &reply), DCTX_OK);
    }
    if (node->forgetful)
        return;
    told_t *told = record_told(node, TOLD_MESSAGE, peer);
    copy_message(told, message);
    if (node->hook != NULL)
        node->hook(node, told);
}

static void on_peer(const char *peer, dctx_peer_event_t event, const char *reason, void *arg)
{
    node_t *node = arg;
    told_t *told = record_told(node, TOLD_PEER, peer);
    told->event = event;
    cr_assert_not_null(reason);
    snprintf(told->reason, sizeof(told->reason), "%s", reason);
    if (node->hook != NULL)
        node->hook(node, told);
}

static void on_undelivered(const char *peer, const dctx_link_message_t *message, dctx_error_t why,
                           void *arg)
{
    node_t *node = arg;
    told_t *told = record_told(node, TOLD_UNDELIVERED, peer);
    copy_message(told, message);
    told->code = why;
    if (node->hook != NULL)
        node->hook(node, told);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static int64_t virtual_clock(void *arg)
{
    return ((node_t *)arg)->virtual_now;
}

void node_open(node_t *node, const char *name, const char *endpoint,
               const dctx_link_options_t *options)
{
    dctx_link_options_t own = options != NULL ? *options : (dctx_link_options_t){.node = NULL};
    own.node = name;
    own.on_message = on_message;
    own.on_peer = on_peer;
    own.on_undelivered = on_undelivered;
    own.arg = node;
    if (node->virtual_clock) {
        own.clock = virtual_clock;
        own.clock_arg = node;
    } else if (own.heartbeat_ms == 0) {
        own.heartbeat_ms = 600000; /* on a busy machine nobody is dead that is only slow */
    }
    node->in_order = true;
    cr_assert_eq(dctx_link_new(&own, &node->link), DCTX_OK, "%s", dctx_error_detail());
    if (endpoint != NULL)
        cr_assert_eq(dctx_link_bind(node->link, endpoint, &node->endpoint), DCTX_OK, "%s",
                     dctx_error_detail());
}

void node_rebind(node_t *node, const char *endpoint)
{
    int64_t end = real_now() + PATIENCE_NS;
    dctx_error_t error;
    do
        error = dctx_link_bind(node->link, endpoint, &node->endpoint);
    while (error == DCTX_ERR_IO && real_now() < end);
    cr_assert_eq(error, DCTX_OK, "%s", dctx_error_detail());
}

void node_close(node_t *node)
{
    dctx_link_destroy(&node->link);
    cr_assert_null(node->link);
    free(node->told);
    node->told = NULL;
}

dctx_link_counters_t counters_of(const node_t *node)
{
    dctx_link_counters_t counters;
    dctx_link_counters_read(node->link, &counters);
    return counters;
}

const told_t *find_event(const node_t *node, dctx_peer_event_t event)
{
    for (size_t i = 0; i < node->told_count; i++)
        if (node->told[i].what == TOLD_PEER && node->told[i].event == event)
            return &node->told[i];
    return NULL;
}

size_t count_told(const node_t *node, int what)
{
    size_t count = 0;
    for (size_t i = 0; i < node->told_count; i++)
        count += (int)node->told[i].what == what;
    return count;
}

dctx_error_t send_kind(node_t *node, const char *peer, dctx_link_kind_t kind, uint64_t correlation,
                       const char *payload, const dctx_snapshot_t *snapshot)
{
    dctx_link_message_t message = {.kind = kind,
                                   .correlation = correlation,
                                   .target = {"orders", 6},
                                   .type = {"text", 4},
                                   .payload = {payload, strlen(payload)},
                                   .snapshot = snapshot};
    return dctx_link_send(node->link, peer, &message);
}

dctx_error_t tell(node_t *node, const char *peer, const char *target, const char *payload,
                  const dctx_snapshot_t *snapshot)
{
    dctx_link_message_t message = {.kind = DCTX_LINK_TELL,
                                   .target = {target, strlen(target)},
                                   .type = {"text", 4},
                                   .payload = {payload, strlen(payload)},
                                   .snapshot = snapshot};
    return dctx_link_send(node->link, peer, &message);
}

static void wait_for_any(node_t *const *nodes)
{
    zmq_pollitem_t items[ITEMS_MAX];
    size_t count = 0;
    /* A condition may be met by what no socket of these shows (virtual time, a raw socket): so not
     * long. */
    long timeout = 5;
    for (; *nodes != NULL; nodes++) {
        if ((*nodes)->link == NULL)
            continue;
        long wanted = dctx_link_timeout_ms((*nodes)->link);
        if (wanted >= 0 && wanted < timeout)
            timeout = wanted;
        count += dctx_link_poll_items((*nodes)->link, items + count, ITEMS_MAX - count);
        cr_assert_leq(count, ITEMS_MAX);
    }
    (void)zmq_poll(items, (int)count, timeout);
}

bool run_until(node_t *const *nodes, condition_fn done, const void *arg)
{
    int64_t end = real_now() + PATIENCE_NS;
    for (;;) {
        for (node_t *const *node = nodes; *node != NULL; node++)
            if ((*node)->link != NULL)
                (void)dctx_link_process((*node)->link, 0);
        if (done(nodes, arg))
            return true;
        if (real_now() > end)
            return false;
        wait_for_any(nodes);
    }
}

bool all_up(node_t *const *nodes, const void *peer_names)
{
    const char *const *names = peer_names;
    for (size_t i = 0; nodes[i] != NULL; i++)
        if (!dctx_link_peer_is_up(nodes[i]->link, names[i]))
            return false;
    return true;
}

bool first_got(node_t *const *nodes, const void *count)
{
    return nodes[0]->messages >= *(const size_t *)count;
}

bool first_told(node_t *const *nodes, const void *count)
{
    return nodes[0]->told_count >= *(const size_t *)count;
}

bool first_malformed(node_t *const *nodes, const void *count)
{
    return counters_of(nodes[0]).malformed >= *(const uint64_t *)count;
}

/* ---- a peer made by hand --------------------------------------------------------------------- */

void fake_dial(fake_t *fake, const char *endpoint)
{
    int none = 0;
    fake->socket = zmq_socket(zsys_init(), ZMQ_DEALER);
    fake->sequence = 0;
    cr_assert_not_null(fake->socket);
    zmq_setsockopt(fake->socket, ZMQ_LINGER, &none, sizeof(none));
    zmq_setsockopt(fake->socket, ZMQ_SNDHWM, &none, sizeof(none)); /* no limit */
    cr_assert_eq(zmq_connect(fake->socket, endpoint), 0);
}

void fake_close(fake_t *fake)
{
    zmq_close(fake->socket);
    fake->socket = NULL;
}

void fake_send(fake_t *fake, const void *frame, size_t size)
{
    cr_assert_eq(zmq_send(fake->socket, frame, size, ZMQ_DONTWAIT), (int)size);
}

void fake_send_record(fake_t *fake, const dctx_record_t *record)
{
    uint8_t frame[4096];
    size_t size = DCTX_FRAME_HEAD + dctx_record_size_(record);
    cr_assert_leq(size, sizeof(frame));
    dctx_frame_begin_(frame);
    dctx_record_write_(record, frame + DCTX_FRAME_HEAD);
    fake_send(fake, frame, size);
}

static uint8_t *put_text(uint8_t *out, const char *text)
{
    size_t size = strlen(text);
    *out++ = 0xd9;
    *out++ = (uint8_t)size;
    memcpy(out, text, size);
    return out + size;
}

static uint8_t *put_number(uint8_t *out, uint64_t number)
{
    *out++ = 0xcf;
    for (int shift = 56; shift >= 0; shift -= 8)
        *out++ = (uint8_t)(number >> shift);
    return out;
}

size_t hello_bytes(uint8_t *out, const char *name, uint64_t incarnation, const char *to,
                   uint64_t window)
{
    uint8_t *at = out;
    *at++ = (uint8_t)(0x80 | (to != NULL ? 5 : 4));
    at = put_text(at, "node");
    at = put_text(at, name);
    at = put_text(at, "colour"); /* a key that nobody knows */
    at = put_text(at, "green");
    at = put_text(at, "window");
    at = put_number(at, window);
    at = put_text(at, "incarnation");
    at = put_number(at, incarnation);
    if (to != NULL) {
        at = put_text(at, "to");
        at = put_text(at, to);
    }
    return (size_t)(at - out);
}

void fake_hello(fake_t *fake, const char *name, uint64_t incarnation, const char *to,
                uint64_t window)
{
    uint8_t map[512];
    dctx_record_t record = {.kind = DCTX_KIND_HELLO};
    record.payload.size = hello_bytes(map, name, incarnation, to, window);
    record.payload.data = map;
    fake_send_record(fake, &record);
}

void fake_tell(fake_t *fake, uint64_t sequence, const char *payload)
{
    dctx_record_t record = {.kind = DCTX_LINK_TELL,
                            .sequence = sequence,
                            .target = {"orders", 6},
                            .payload = {payload, strlen(payload)}};
    fake_send_record(fake, &record);
}

static bool is_readable(node_t *const *nodes, const void *arg)
{
    (void)nodes;
    zmq_pollitem_t item = {.socket = *(void *const *)arg, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, 0) == 1;
}

size_t fake_receive(fake_t *fake, node_t *node, uint8_t *frame, size_t capacity)
{
    node_t *nodes[] = {node, NULL};
    if (!run_until(nodes, is_readable, &fake->socket))
        return 0;
    int size = zmq_recv(fake->socket, frame, capacity, ZMQ_DONTWAIT);
    cr_assert_leq(size, (int)capacity);
    return size > 0 ? (size_t)size : 0;
}

bool fake_receive_record(fake_t *fake, node_t *node, dctx_record_t *ret_record)
{
    static uint8_t frame[65536];
    size_t size = fake_receive(fake, node, frame, sizeof(frame));
    if (dctx_frame_check_(frame, size, sizeof(frame)) != DCTX_OK)
        return false;
    dctx_record_read_(frame + DCTX_FRAME_HEAD, ret_record);
    return true;
}
