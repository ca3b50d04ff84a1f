/* Peers that come, go, change, and never were there. */
#include <criterion/criterion.h>

#include <string.h>

#include "link_fixture.h"

#define MS INT64_C(1000000)

static const char *const front_and_back[] = {"back", "front"};

static bool is_up(node_t *const *nodes, const void *peer)
{
    return dctx_link_peer_is_up(nodes[0]->link, peer);
}

static bool is_down(node_t *const *nodes, const void *peer)
{
    return !dctx_link_peer_is_up(nodes[0]->link, peer);
}

static bool was_refused(node_t *const *nodes, const void *arg)
{
    (void)arg;
    return find_event(nodes[0], DCTX_PEER_REFUSED) != NULL;
}

static bool was_down(node_t *const *nodes, const void *arg)
{
    (void)arg;
    return find_event(nodes[0], DCTX_PEER_DOWN) != NULL;
}

static void open_pair(node_t *front, node_t *back, const dctx_link_options_t *options)
{
    node_t *nodes[] = {front, back, NULL};
    node_open(back, "back", "tcp://127.0.0.1:*", options);
    node_open(front, "front", NULL, options);
    cr_assert_eq(dctx_link_connect(front->link, "back", back->endpoint), DCTX_OK);
    cr_assert(run_until(nodes, all_up, front_and_back));
}

/* ---- the handshake --------------------------------------------------------------------------- */

Test(life, another_name_is_refused, .init = fixture_init)
{
    node_t front = {.link = NULL}, back = {.link = NULL};
    node_t *nodes[] = {&front, &back, NULL};
    node_open(&back, "back", "tcp://127.0.0.1:*", NULL);
    node_open(&front, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "stock", back.endpoint), DCTX_OK);
    cr_assert_eq(tell(&front, "stock", "a", "held", NULL), DCTX_OK);
    cr_assert(run_until(nodes, was_refused, NULL));
    cr_assert_str_eq(front.told[0].peer, "stock");
    cr_assert_str_neq(front.told[0].reason, "");
    cr_assert(!dctx_link_peer_is_up(front.link, "stock"));
    cr_assert_eq(back.told_count, 0);
    cr_assert_eq(counters_of(&back).handshakes_refused, 1);
    cr_assert_eq(counters_of(&front).handshakes_refused, 1);
    cr_assert_eq(counters_of(&front).peers_down, 0);
    /* It goes on dialling: the name may yet come. What was held still is, until it is let go. */
    cr_assert_eq(count_told(&front, TOLD_UNDELIVERED), 0);
    cr_assert_eq(dctx_link_disconnect(front.link, "stock"), DCTX_OK);
    cr_assert_eq(count_told(&front, TOLD_UNDELIVERED), 0, "callbacks come from process only");
    (void)dctx_link_process(front.link, 0);
    cr_assert_eq(count_told(&front, TOLD_UNDELIVERED), 1);
    cr_assert_eq(counters_of(&front).undelivered, 1);
    node_close(&front);
    node_close(&back);
}

Test(life, a_peer_that_is_not_there_yet_is_dialled_until_it_is, .init = fixture_init)
{
    node_t front = {.link = NULL}, back = {.link = NULL}, gone = {.link = NULL};
    node_t *nodes[] = {&front, &back, NULL}, *alone[] = {&front, NULL};
    char endpoint[64];
    /* A port that nobody listens on now. */
    node_open(&gone, "gone", "tcp://127.0.0.1:*", NULL);
    snprintf(endpoint, sizeof(endpoint), "%s", gone.endpoint);
    node_close(&gone);
    node_open(&front, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", endpoint), DCTX_OK);
    cr_assert_eq(tell(&front, "back", "a", "early", NULL), DCTX_OK);
    for (int i = 0; i < 6; i++) {
        (void)dctx_link_process(front.link, 0);
        zmq_pollitem_t items[8];
        size_t count = dctx_link_poll_items(front.link, items, 8);
        zmq_poll(items, (int)count, dctx_link_timeout_ms(front.link));
    }
    cr_assert(is_down(alone, "back"));
    cr_assert_eq(front.told_count, 0, "it never was up, so it cannot go down");
    node_open(&back, "back", NULL, NULL);
    node_rebind(&back, endpoint);
    cr_assert(run_until(nodes, is_up, "back"));
    size_t one = 1;
    node_t *backwards[] = {&back, &front, NULL};
    cr_assert(run_until(backwards, first_got, &one));
    cr_assert_str_eq(back.told[1].payload, "early");
    node_close(&front);
    node_close(&back);
}

Test(life, a_restarted_peer_is_reached_again, .init = fixture_init)
{
    node_t front = {.link = NULL}, back = {.link = NULL}, again = {.link = NULL};
    char endpoint[64];
    open_pair(&front, &back, NULL);
    snprintf(endpoint, sizeof(endpoint), "%s", back.endpoint);
    node_t *alone[] = {&front, NULL}, *nodes[] = {&again, &front, NULL};
    node_close(&back);
    cr_assert(run_until(alone, is_down, "back"));
    cr_assert_eq(front.told[1].event, DCTX_PEER_DOWN);
    cr_assert_eq(tell(&front, "back", "a", "to the new one", NULL), DCTX_OK);
    node_open(&again, "back", NULL, NULL);
    node_rebind(&again, endpoint);
    size_t one = 1;
    cr_assert(run_until(nodes, first_got, &one));
    cr_assert_str_eq(again.told[1].payload, "to the new one");
    cr_assert_eq(counters_of(&again).lost, 0, "numbers begin anew on each connection");
    cr_assert_eq(counters_of(&front).peers_up, 2);
    node_close(&front);
    node_close(&again);
}

Test(life, dialling_again_replaces_the_endpoint, .init = fixture_init)
{
    node_t front = {.link = NULL}, back = {.link = NULL}, other = {.link = NULL};
    node_t *nodes[] = {&other, &front, &back, NULL};
    open_pair(&front, &back, NULL);
    node_open(&other, "back", "tcp://127.0.0.1:*", NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    cr_assert(dctx_link_peer_is_up(front.link, "back"), "the same endpoint changes nothing");
    cr_assert_eq(dctx_link_connect(front.link, "back", other.endpoint), DCTX_OK);
    cr_assert_eq(tell(&front, "back", "a", "moved", NULL), DCTX_OK);
    size_t one = 1;
    cr_assert(run_until(nodes, first_got, &one));
    cr_assert_str_eq(other.told[1].payload, "moved");
    node_t *old[] = {&back, NULL};
    cr_assert(run_until(old, was_down, NULL));
    cr_assert_not_null(find_event(&front, DCTX_PEER_DOWN));
    node_close(&front);
    node_close(&back);
    node_close(&other);
}

Test(life, a_bad_endpoint_keeps_the_one_there_was, .init = fixture_init)
{
    node_t front = {.link = NULL}, back = {.link = NULL};
    open_pair(&front, &back, NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", "nonsense"), DCTX_ERR_INVALID);
    cr_assert(dctx_link_peer_is_up(front.link, "back"));
    node_close(&front);
    node_close(&back);
}

Test(life, two_nodes_that_dial_each_other, .init = fixture_init)
{
    enum { COUNT = 100 };
    node_t front = {.link = NULL}, back = {.link = NULL};
    node_t *nodes[] = {&front, &back, NULL}, *backwards[] = {&back, &front, NULL};
    node_open(&front, "front", "tcp://127.0.0.1:*", NULL);
    node_open(&back, "back", "tcp://127.0.0.1:*", NULL);
    cr_assert_eq(dctx_link_connect(front.link, "back", back.endpoint), DCTX_OK);
    cr_assert_eq(dctx_link_connect(back.link, "front", front.endpoint), DCTX_OK);
    size_t count = COUNT;
    for (uint64_t i = 0; i < COUNT; i++) {
        cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", NULL), DCTX_OK);
        cr_assert_eq(send_kind(&back, "front", DCTX_LINK_ASK, i, "x", NULL), DCTX_OK);
        (void)dctx_link_process(front.link, 0);
        (void)dctx_link_process(back.link, 0);
    }
    cr_assert(run_until(nodes, first_got, &count));
    cr_assert(run_until(backwards, first_got, &count));
    cr_assert(front.in_order);
    cr_assert(back.in_order);
    node_t *all[] = {&front, &back, NULL};
    while (counters_of(&front).peers_up < 2)
        cr_assert(run_until(all, all_up, front_and_back));
    cr_assert_eq(count_told(&front, TOLD_PEER), 1, "up is told once");
    /* One of the two connections ends: what was on it is lost, the peer is still there. */
    cr_assert_eq(dctx_link_disconnect(back.link, "front"), DCTX_OK);
    cr_assert(run_until(nodes, was_down, NULL));
    node_close(&front);
    node_close(&back);
}

/* ---- death ----------------------------------------------------------------------------------- */

typedef struct listening_fake {
    void *socket;
    uint8_t id[256]; /* of whom it welcomed */
    size_t id_size;
    char endpoint[64];
} listening_fake_t;

static void listening_open(listening_fake_t *fake)
{
    size_t size = sizeof(fake->endpoint);
    int none = 0;
    fake->socket = zmq_socket(zsys_init(), ZMQ_ROUTER);
    zmq_setsockopt(fake->socket, ZMQ_LINGER, &none, sizeof(none));
    cr_assert_eq(zmq_bind(fake->socket, "tcp://127.0.0.1:*"), 0);
    cr_assert_eq(zmq_getsockopt(fake->socket, ZMQ_LAST_ENDPOINT, fake->endpoint, &size), 0);
}

static bool socket_readable(node_t *const *nodes, const void *socket)
{
    (void)nodes;
    zmq_pollitem_t item = {.socket = *(void *const *)socket, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, 0) == 1;
}

/* Answers the HELLO that comes with a WELCOME of this name and window. */
static void listening_welcome(listening_fake_t *fake, node_t *node, const char *name,
                              uint64_t window)
{
    node_t *nodes[] = {node, NULL};
    uint8_t frame[1024], map[512];
    dctx_record_t record;
    cr_assert(run_until(nodes, socket_readable, &fake->socket));
    int id_size = zmq_recv(fake->socket, fake->id, sizeof(fake->id), 0);
    cr_assert_gt(id_size, 0);
    fake->id_size = (size_t)id_size;
    int size = zmq_recv(fake->socket, frame, sizeof(frame), 0);
    cr_assert_eq(dctx_frame_check_(frame, (size_t)size, sizeof(frame)), DCTX_OK);
    dctx_record_read_(frame + DCTX_FRAME_HEAD, &record);
    cr_assert_eq(record.kind, DCTX_KIND_HELLO);
    record = (dctx_record_t){.kind = DCTX_KIND_WELCOME};
    record.payload = (dctx_bytes_t){map, hello_bytes(map, name, 77, NULL, window)};
    dctx_frame_begin_(frame);
    dctx_record_write_(&record, frame + DCTX_FRAME_HEAD);
    cr_assert_eq(zmq_send(fake->socket, fake->id, fake->id_size, ZMQ_SNDMORE), id_size);
    zmq_send(fake->socket, frame, DCTX_FRAME_HEAD + dctx_record_size_(&record), 0);
}

Test(life, a_killed_peer_is_missed_and_what_it_did_not_take_comes_back, .init = fixture_init)
{
    listening_fake_t fake;
    node_t front = {.link = NULL};
    node_t *nodes[] = {&front, NULL};
    dctx_snapshot_t *context = make_context("acme", "one");
    /* Without heartbeats to speak of: only the broken connection can tell in time. */
    dctx_link_options_t options = {.heartbeat_ms = 600000};
    listening_open(&fake);
    node_open(&front, "front", NULL, &options);
    cr_assert_eq(dctx_link_connect(front.link, "back", fake.endpoint), DCTX_OK);
    listening_welcome(&fake, &front, "back", 2);
    cr_assert(run_until(nodes, is_up, "back"));
    for (uint64_t i = 0; i < 5; i++)
        cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", context), DCTX_OK);
    (void)dctx_link_process(front.link, 0);
    cr_assert_eq(counters_of(&front).sent, 2);
    zmq_close(fake.socket);
    cr_assert(run_until(nodes, was_down, NULL));
    /* The two that left are counted; the three that did not come back, in order, before DOWN. */
    cr_assert_eq(counters_of(&front).unacknowledged, 2);
    cr_assert_eq(counters_of(&front).undelivered, 3);
    cr_assert_eq(front.told_count, 5);
    for (size_t i = 0; i < 3; i++) {
        const told_t *back = &front.told[1 + i];
        cr_assert_eq((int)back->what, TOLD_UNDELIVERED);
        cr_assert_eq(back->code, DCTX_ERR_UNREACHABLE);
        cr_assert_eq(back->correlation, 2 + i);
        cr_assert_str_eq(back->tenant, "acme");
    }
    cr_assert_eq(front.told[4].event, DCTX_PEER_DOWN);
    dctx_snapshot_unref(&context);
    node_close(&front);
}

/* Nobody reads until the connection has ended. */
Test(life, what_a_peer_said_before_it_went_is_heard, .init = fixture_init)
{
    enum { COUNT = 600 };
    listening_fake_t fake;
    node_t front = {.in_order = true, .forgetful = true};
    node_t *nodes[] = {&front, NULL};
    dctx_link_options_t options = {.heartbeat_ms = 600000};
    listening_open(&fake);
    node_open(&front, "front", NULL, &options);
    cr_assert_eq(dctx_link_connect(front.link, "back", fake.endpoint), DCTX_OK);
    listening_welcome(&fake, &front, "back", 2);
    cr_assert(run_until(nodes, is_up, "back"));
    for (uint64_t i = 0; i < COUNT; i++) {
        uint8_t frame[64];
        dctx_record_t record = {.kind = DCTX_LINK_REPLY, .sequence = i + 1, .correlation = i};
        dctx_frame_begin_(frame);
        dctx_record_write_(&record, frame + DCTX_FRAME_HEAD);
        zmq_send(fake.socket, fake.id, fake.id_size, ZMQ_SNDMORE);
        zmq_send(fake.socket, frame, DCTX_FRAME_HEAD + dctx_record_size_(&record), 0);
    }
    int linger = 5000;
    zmq_setsockopt(fake.socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_close(fake.socket);
    /* The DEALER, and what watches it. */
    zmq_pollitem_t items[2];
    cr_assert_eq(dctx_link_poll_items(front.link, items, 2), 2);
    cr_assert_eq(zmq_poll(&items[1], 1, 10000), 1);
    cr_assert(run_until(nodes, was_down, NULL));
    cr_assert_eq(front.messages, COUNT);
    cr_assert(front.in_order);
    node_close(&front);
}

Test(life, a_batch_that_never_left_comes_back, .init = fixture_init)
{
    node_t front = {.link = NULL}, back = {.link = NULL};
    dctx_snapshot_t *context = make_context("acme", "one");
    open_pair(&front, &back, NULL);
    for (uint64_t i = 0; i < 3; i++)
        cr_assert_eq(send_kind(&back, "front", DCTX_LINK_ASK, i, "x", context), DCTX_OK);
    dctx_snapshot_unref(&context);
    /* The goodbye is read before the batch is sent: the round of work begins with reading. */
    node_t *nodes[] = {&back, NULL};
    zmq_pollitem_t items[4];
    dctx_link_destroy(&front.link);
    size_t count = dctx_link_poll_items(back.link, items, 4);
    cr_assert_eq(count, 1);
    cr_assert_eq(zmq_poll(items, 1, 5000), 1);
    cr_assert(run_until(nodes, was_down, NULL));
    cr_assert_eq(counters_of(&back).undelivered, 3);
    cr_assert_eq(counters_of(&back).unacknowledged, 0);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(back.told[1 + i].correlation, i);
        cr_assert_str_eq(back.told[1 + i].tenant, "acme");
    }
    node_close(&front);
    node_close(&back);
}

Test(life, a_dead_dialler_is_noticed_by_sending_to_it, .init = fixture_init)
{
    /* Messages to send before the window is full; then nothing would be noticed but by heartbeat.
     */
    enum { ROOM = 1000000 };
    node_t back = {.link = NULL};
    node_t *nodes[] = {&back, NULL};
    fake_t fake;
    dctx_link_options_t options = {.heartbeat_ms = 600000, .window = ROOM};
    node_open(&back, "back", "tcp://127.0.0.1:*", &options);
    fake_dial(&fake, back.endpoint);
    fake_hello(&fake, "front", 7, "back", ROOM);
    cr_assert(run_until(nodes, is_up, "front"));
    fake_close(&fake);
    /* How soon the ROUTER knows is the kernel's business; until then messages vanish with the
     * connection. */
    uint64_t accepted = 0;
    while (dctx_link_peer_is_up(back.link, "front")) {
        if (send_kind(&back, "front", DCTX_LINK_ASK, accepted, "x", NULL) == DCTX_OK)
            accepted++;
        zmq_pollitem_t item;
        dctx_link_poll_items(back.link, &item, 1);
        zmq_poll(&item, 1, 1);
        (void)dctx_link_process(back.link, 0);
    }
    dctx_link_counters_t counters = counters_of(&back);
    cr_assert_eq(counters.unacknowledged + counters.undelivered, accepted);
    cr_assert_not_null(find_event(&back, DCTX_PEER_DOWN));
    node_close(&back);
}

/* ---- heartbeats, in virtual time ------------------------------------------------------------- */

static void virtual_node(node_t *node, fake_t *fake)
{
    node_t *nodes[] = {node, NULL};
    dctx_record_t record;
    node->virtual_clock = true;
    node->virtual_now = 1000000 * MS;
    node_open(node, "back", "tcp://127.0.0.1:*", NULL);
    fake_dial(fake, node->endpoint);
    fake_hello(fake, "front", 7, NULL, 100);
    cr_assert(run_until(nodes, is_up, "front"));
    cr_assert(fake_receive_record(fake, node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_WELCOME);
}

Test(life, silence_is_answered_with_a_ping_and_then_with_death, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    dctx_record_t record;
    virtual_node(&node, &fake);
    cr_assert_eq(dctx_link_timeout_ms(node.link), 1000);
    node.virtual_now += 999 * MS;
    (void)dctx_link_process(node.link, 0);
    cr_assert_eq(counters_of(&node).frames_sent, 1, "too early for a PING");
    cr_assert_eq(dctx_link_timeout_ms(node.link), 1);
    node.virtual_now += 1 * MS;
    cr_assert(fake_receive_record(&fake, &node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_PING);
    node.virtual_now += 1000 * MS;
    cr_assert(fake_receive_record(&fake, &node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_PING, "again after another heartbeat");
    node.virtual_now += 999 * MS;
    (void)dctx_link_process(node.link, 0);
    cr_assert(dctx_link_peer_is_up(node.link, "front"));
    node.virtual_now += 1 * MS;
    (void)dctx_link_process(node.link, 0);
    cr_assert(!dctx_link_peer_is_up(node.link, "front"));
    cr_assert_eq(node.told[1].event, DCTX_PEER_DOWN);
    cr_assert_eq(dctx_link_timeout_ms(node.link), -1, "nobody is left to wait for");
    /* What it says now is said by a stranger. */
    fake_tell(&fake, 1, "I was asleep");
    do
        cr_assert(fake_receive_record(&fake, &node, &record));
    while (record.kind == DCTX_KIND_PING);
    cr_assert_eq(record.kind, DCTX_KIND_REFUSED);
    fake_close(&fake);
    node_close(&node);
}

static bool heard_ten_frames(node_t *const *nodes, const void *arg)
{
    return counters_of(nodes[0]).frames_received >= *(const uint64_t *)arg;
}

Test(life, any_record_is_a_sign_of_life, .init = fixture_init)
{
    node_t node = {.link = NULL};
    node_t *nodes[] = {&node, NULL};
    fake_t fake;
    virtual_node(&node, &fake);
    static const uint8_t kinds[] = {DCTX_KIND_PONG, DCTX_KIND_ACK, DCTX_KIND_PING, 200,
                                    DCTX_LINK_TELL};
    for (size_t i = 0; i < 10; i++) {
        dctx_record_t record = {.kind = kinds[i % 5]};
        if (record.kind == DCTX_LINK_TELL)
            record.sequence = ++fake.sequence;
        node.virtual_now += 900 * MS;
        fake_send_record(&fake, &record);
        uint64_t frames = 2 + i;
        cr_assert(run_until(nodes, heard_ten_frames, &frames));
    }
    cr_assert(dctx_link_peer_is_up(node.link, "front"));
    cr_assert_eq(counters_of(&node).malformed, 0);
    fake_close(&fake);
    node_close(&node);
}

Test(life, a_thread_that_slept_does_not_blame_its_peers, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    dctx_record_t record;
    virtual_node(&node, &fake);
    node.virtual_now += 60000 * MS;
    cr_assert(fake_receive_record(&fake, &node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_PING, "first it asks");
    cr_assert(dctx_link_peer_is_up(node.link, "front"));
    node.virtual_now += 1000 * MS;
    (void)dctx_link_process(node.link, 0);
    cr_assert(!dctx_link_peer_is_up(node.link, "front"));
    fake_close(&fake);
    node_close(&node);
}

Test(life, redialling_backs_off_to_a_second, .init = fixture_init)
{
    node_t node = {.virtual_clock = true, .virtual_now = 5 * MS};
    char endpoint[64];
    node_t gone = {.link = NULL};
    node_open(&gone, "gone", "tcp://127.0.0.1:*", NULL);
    snprintf(endpoint, sizeof(endpoint), "%s", gone.endpoint);
    node_close(&gone);
    node_open(&node, "node", NULL, NULL);
    cr_assert_eq(dctx_link_connect(node.link, "back", endpoint), DCTX_OK);
    static const long waits[] = {50, 100, 200, 400, 800, 1000, 1000};
    for (size_t i = 0; i < sizeof(waits) / sizeof(*waits); i++) {
        /* The dialled sockets are polled while there are any. */
        zmq_pollitem_t items[8];
        while (dctx_link_poll_items(node.link, items, 8) != 0) {
            zmq_poll(items, 2, 1000);
            (void)dctx_link_process(node.link, 0);
        }
        cr_assert_eq(dctx_link_timeout_ms(node.link), waits[i], "attempt %zu", i);
        node.virtual_now += waits[i] * MS;
        (void)dctx_link_process(node.link, 0);
    }
    node_close(&node);
}

/* ---- destroying ------------------------------------------------------------------------------ */

Test(life, destroy_does_not_hang_whatever_the_peers_do, .init = fixture_init, .timeout = 10)
{
    listening_fake_t mute, full;
    node_t node = {.link = NULL}, good = {.link = NULL};
    node_t *nodes[] = {&node, &good, NULL};
    static char text[100000];
    memset(text, 'x', sizeof(text) - 1);
    listening_open(&mute);
    listening_open(&full);
    node_open(&good, "good", "tcp://127.0.0.1:*", NULL);
    node_open(&node, "node", "tcp://127.0.0.1:*", NULL);
    cr_assert_eq(dctx_link_connect(node.link, "mute", mute.endpoint), DCTX_OK);
    cr_assert_eq(dctx_link_connect(node.link, "nobody", "tcp://127.0.0.1:1"), DCTX_OK);
    cr_assert_eq(dctx_link_connect(node.link, "nowhere", "inproc://nowhere"), DCTX_OK);
    cr_assert_eq(dctx_link_connect(node.link, "full", full.endpoint), DCTX_OK);
    cr_assert_eq(dctx_link_connect(node.link, "good", good.endpoint), DCTX_OK);
    listening_welcome(&full, &node, "full", 1000000);
    cr_assert(run_until(nodes, is_up, "full"));
    cr_assert(run_until(nodes, is_up, "good"));
    fake_t dialled;
    fake_dial(&dialled, node.endpoint);
    fake_hello(&dialled, "dialled", 3, NULL, 10);
    cr_assert(run_until(nodes, is_up, "dialled"));
    const char *peers[] = {"mute", "nobody", "nowhere", "full", "good", "dialled"};
    for (size_t i = 0; i < 6; i++)
        for (int n = 0; n < 50; n++)
            cr_assert_eq(tell(&node, peers[i], "a", text, NULL), DCTX_OK);
    (void)dctx_link_process(node.link, 0);
    node_close(&node);
    fake_close(&dialled);
    zmq_close(mute.socket);
    zmq_close(full.socket);
    node_close(&good);
}

/* ---- callbacks that change things ------------------------------------------------------------ */

static void let_go(node_t *node, const told_t *told)
{
    if (told->what == TOLD_MESSAGE) {
        cr_assert(!dctx_link_process(node->link, 0), "not from inside itself");
        cr_assert_eq(dctx_link_disconnect(node->link, told->peer), DCTX_OK);
    }
}

Test(life, a_callback_may_let_its_peer_go, .init = fixture_init)
{
    node_t front = {.link = NULL}, back = {.hook = let_go};
    node_t *nodes[] = {&front, &back, NULL};
    open_pair(&front, &back, NULL);
    for (uint64_t i = 0; i < 10; i++)
        cr_assert_eq(send_kind(&front, "back", DCTX_LINK_ASK, i, "x", NULL), DCTX_OK);
    cr_assert(run_until(nodes, was_down, NULL));
    cr_assert_eq(back.messages, 1, "after it let go it hears no more");
    cr_assert_not_null(find_event(&back, DCTX_PEER_DOWN));
    node_close(&front);
    node_close(&back);
}

static void dial_again(node_t *node, const told_t *told)
{
    if (told->what == TOLD_PEER && told->event == DCTX_PEER_DOWN) {
        cr_assert_eq(dctx_link_disconnect(node->link, told->peer), DCTX_OK);
        cr_assert_eq(tell(node, told->peer, "a", "b", NULL), DCTX_ERR_UNREACHABLE);
        cr_assert_eq(dctx_link_connect(node->link, told->peer, "inproc://elsewhere"), DCTX_OK);
        cr_assert_eq(tell(node, told->peer, "a", "b", NULL), DCTX_OK);
    }
}

Test(life, a_callback_may_dial_anew, .init = fixture_init)
{
    node_t front = {.hook = dial_again}, back = {.link = NULL}, elsewhere = {.link = NULL};
    node_t *nodes[] = {&elsewhere, &front, NULL};
    node_open(&elsewhere, "back", "inproc://elsewhere", NULL);
    open_pair(&front, &back, NULL);
    node_close(&back);
    size_t one = 1;
    cr_assert(run_until(nodes, first_got, &one));
    node_close(&front);
    node_close(&elsewhere);
}
