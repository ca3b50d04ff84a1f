/* What a peer written by hand, careless or malicious, does to a link: it is counted, and does no
 * harm. */
#include <criterion/criterion.h>

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "link_fixture.h"
#include "link_state.h"

static bool is_up(node_t *const *nodes, const void *peer)
{
    return dctx_link_peer_is_up(nodes[0]->link, peer);
}

static void open_node(node_t *node, fake_t *fake, const dctx_link_options_t *options)
{
    node_t *nodes[] = {node, NULL};
    dctx_record_t record;
    /* These fakes do not keep up the heartbeat. */
    dctx_link_options_t patient = options != NULL ? *options : (dctx_link_options_t){.node = NULL};
    patient.heartbeat_ms = 600000;
    node_open(node, "back", "tcp://127.0.0.1:*", &patient);
    fake_dial(fake, node->endpoint);
    fake_hello(fake, "front", 7, "back", 100);
    cr_assert(run_until(nodes, is_up, "front"));
    cr_assert(fake_receive_record(fake, node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_WELCOME);
}

static void close_node(node_t *node, fake_t *fake)
{
    fake_close(fake);
    node_close(node);
}

/* What comes next is of this kind. */
static void expect_kind(fake_t *fake, node_t *node, uint8_t kind)
{
    dctx_record_t record;
    cr_assert(fake_receive_record(fake, node, &record), "nothing came");
    cr_assert_eq(record.kind, kind, "kind %u came", record.kind);
}

/* The link still talks with this peer: a PING with this sign comes back. */
static void expect_alive(fake_t *fake, node_t *node, const char *sign)
{
    dctx_record_t record = {.kind = DCTX_KIND_PING, .payload = {sign, strlen(sign)}};
    fake_send_record(fake, &record);
    do
        cr_assert(fake_receive_record(fake, node, &record), "it does not answer %s", sign);
    while (record.kind != DCTX_KIND_PONG);
    cr_assert_eq(record.payload.size, strlen(sign));
    cr_assert_arr_eq(record.payload.data, sign, strlen(sign));
}

/* ---- the handshake --------------------------------------------------------------------------- */

Test(hostile, a_stranger_must_say_hello_first, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    dctx_record_t record;
    node_open(&node, "back", "tcp://127.0.0.1:*", NULL);
    fake_dial(&fake, node.endpoint);
    fake_tell(&fake, 1, "let me in");
    cr_assert(fake_receive_record(&fake, &node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_REFUSED);
    cr_assert_gt(record.payload.size, 0);
    cr_assert_eq(node.told_count, 0);
    /* HELLO that is not alone is no HELLO. */
    uint8_t frame[1024], map[512];
    dctx_record_t hello = {.kind = DCTX_KIND_HELLO};
    hello.payload = (dctx_bytes_t){map, hello_bytes(map, "front", 7, NULL, 10)};
    dctx_record_t more = {.kind = DCTX_LINK_TELL, .sequence = 1};
    dctx_frame_begin_(frame);
    size_t size = DCTX_FRAME_HEAD;
    dctx_record_write_(&hello, frame + size);
    size += dctx_record_size_(&hello);
    dctx_record_write_(&more, frame + size);
    fake_send(&fake, frame, size + dctx_record_size_(&more));
    expect_kind(&fake, &node, DCTX_KIND_REFUSED);
    cr_assert_eq(node.told_count, 0);
    close_node(&node, &fake);
}

Test(hostile, hello_that_is_not_right_is_refused, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    node_open(&node, "back", "tcp://127.0.0.1:*", NULL);
    fake_dial(&fake, node.endpoint);
    fake_hello(&fake, "front", 7, "stock", 100);
    expect_kind(&fake, &node, DCTX_KIND_REFUSED);
    fake_hello(&fake, "front", 0, "back", 100);
    expect_kind(&fake, &node, DCTX_KIND_REFUSED);
    fake_hello(&fake, "fr ont", 7, "back", 100);
    expect_kind(&fake, &node, DCTX_KIND_REFUSED);
    dctx_record_t bomb = {.kind = DCTX_KIND_HELLO, .payload = {"\xdf\xff\xff\xff\xff", 5}};
    fake_send_record(&fake, &bomb);
    expect_kind(&fake, &node, DCTX_KIND_REFUSED);
    fake_send(&fake, "DCL\x02what then?", 14);
    expect_kind(&fake, &node, DCTX_KIND_REFUSED);
    cr_assert_eq(counters_of(&node).handshakes_refused, 5);
    cr_assert_eq(node.told_count, 0);
    /* And then, done right, it is let in. */
    fake_hello(&fake, "front", 7, "back", 100);
    expect_kind(&fake, &node, DCTX_KIND_WELCOME);
    cr_assert_eq(node.told[0].event, DCTX_PEER_UP);
    close_node(&node, &fake);
}

Test(hostile, hello_again_is_welcomed_again_and_changes_nothing, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    open_node(&node, &fake, NULL);
    fake_tell(&fake, 1, "one");
    fake_hello(&fake, "front", 7, "back", 100);
    expect_kind(&fake, &node, DCTX_KIND_WELCOME);
    fake_tell(&fake, 2, "two");
    size_t two = 2;
    node_t *nodes[] = {&node, NULL};
    cr_assert(run_until(nodes, first_got, &two));
    cr_assert_eq(counters_of(&node).lost + counters_of(&node).duplicated, 0);
    cr_assert_eq(count_told(&node, TOLD_PEER), 1);
    /* Another name on the same connection is not believed. */
    fake_hello(&fake, "someone", 7, "back", 100);
    expect_alive(&fake, &node, "after another name");
    cr_assert(!dctx_link_peer_is_up(node.link, "someone"));
    cr_assert_eq(counters_of(&node).malformed, 1);
    /* Another run of the process on the same connection: the older one is down. */
    fake_hello(&fake, "front", 8, "back", 100);
    expect_kind(&fake, &node, DCTX_KIND_WELCOME);
    cr_assert_eq(count_told(&node, TOLD_PEER), 3);
    fake_tell(&fake, 1, "anew");
    size_t three = 3;
    cr_assert(run_until(nodes, first_got, &three));
    cr_assert_eq(counters_of(&node).duplicated, 0);
    close_node(&node, &fake);
}

Test(hostile, a_newer_connection_replaces_the_older, .init = fixture_init)
{
    node_t node = {.link = NULL};
    node_t *nodes[] = {&node, NULL};
    fake_t old, new;
    open_node(&node, &old, NULL);
    fake_dial(&new, node.endpoint);
    fake_hello(&new, "front", 8, "back", 100);
    expect_kind(&new, &node, DCTX_KIND_WELCOME);
    cr_assert_eq(node.told_count, 3);
    cr_assert_eq(node.told[1].event, DCTX_PEER_DOWN);
    cr_assert_eq(node.told[2].event, DCTX_PEER_UP);
    fake_tell(&old, 1, "still here");
    expect_kind(&old, &node, DCTX_KIND_REFUSED);
    fake_tell(&new, 1, "new");
    size_t one = 1;
    cr_assert(run_until(nodes, first_got, &one));
    cr_assert_str_eq(node.told[3].payload, "new");
    fake_close(&old);
    close_node(&node, &new);
}

static bool heard_frames(node_t *const *nodes, const void *arg)
{
    return counters_of(nodes[0]).frames_received >= *(const uint64_t *)arg;
}

Test(hostile, one_routing_id_cannot_be_two_peers, .init = fixture_init)
{
    node_t node = {.link = NULL};
    node_t *nodes[] = {&node, NULL};
    fake_t fake, twin;
    int none = 0;
    node_open(&node, "back", "tcp://127.0.0.1:*", NULL);
    for (fake_t *each = &fake;; each = &twin) {
        each->socket = zmq_socket(zsys_init(), ZMQ_DEALER);
        zmq_setsockopt(each->socket, ZMQ_ROUTING_ID, "twin", 4);
        zmq_setsockopt(each->socket, ZMQ_LINGER, &none, sizeof(none));
        cr_assert_eq(zmq_connect(each->socket, node.endpoint), 0);
        fake_hello(each, each == &fake ? "front" : "other", 7, NULL, 10);
        if (each == &twin)
            break;
        cr_assert(run_until(nodes, is_up, "front"));
        expect_kind(&fake, &node, DCTX_KIND_WELCOME);
    }
    expect_alive(&fake, &node, "the first one stays");
    cr_assert(!dctx_link_peer_is_up(node.link, "other"));
    fake_close(&twin);
    close_node(&node, &fake);
}

/* ---- frames ---------------------------------------------------------------------------------- */

Test(hostile, garbage_is_counted_and_the_peer_stays, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    open_node(&node, &fake, NULL);
    fake_send(&fake, "", 0);
    fake_send(&fake, "x", 1);
    fake_send(&fake, "DCL\x01", 4);
    fake_send(&fake, "DCL\x02", 4);
    char zeros[100] = "DCL\x01";
    fake_send(&fake, zeros, sizeof(zeros));
    char ones[100] = "DCL\x01";
    memset(ones + 4, 0xff, sizeof(ones) - 4);
    fake_send(&fake, ones, sizeof(ones));
    /* More than one frame is not of this form either. */
    cr_assert_eq(zmq_send(fake.socket, "DCL\x01", 4, ZMQ_SNDMORE), 4);
    cr_assert_eq(zmq_send(fake.socket, "two", 3, ZMQ_SNDMORE), 3);
    cr_assert_eq(zmq_send(fake.socket, "three", 5, 0), 5);
    /* Kinds that belong to the other direction. */
    dctx_record_t record = {.kind = DCTX_KIND_WELCOME};
    fake_send_record(&fake, &record);
    record.kind = DCTX_KIND_REFUSED;
    fake_send_record(&fake, &record);
    /* An acknowledgement of what was never sent. */
    record = (dctx_record_t){.kind = DCTX_KIND_ACK, .acknowledged = 1000};
    fake_send_record(&fake, &record);
    expect_alive(&fake, &node, "garbage");
    cr_assert_eq(counters_of(&node).malformed, 10);
    cr_assert_eq(counters_of(&node).received, 0);
    close_node(&node, &fake);
}

Test(hostile, a_frame_with_one_bad_record_is_dropped_whole, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    uint8_t frame[256];
    open_node(&node, &fake, NULL);
    dctx_record_t good = {.kind = DCTX_LINK_TELL, .sequence = 1};
    dctx_record_t bad = {.kind = 99};
    dctx_frame_begin_(frame);
    dctx_record_write_(&good, frame + 4);
    dctx_record_write_(&bad, frame + 44);
    fake_send(&fake, frame, 84);
    expect_alive(&fake, &node, "a bad record");
    cr_assert_eq(counters_of(&node).malformed, 1);
    cr_assert_eq(counters_of(&node).received, 0);
    /* A kind of 128 and up in its place is skipped, with its context. */
    bad = (dctx_record_t){.kind = 130, .stamp = {"\x93\x01\x91\xa3one\x90", 8}};
    dctx_record_write_(&bad, frame + 4);
    good.flags = DCTX_SAME_CONTEXT;
    dctx_record_write_(&good, frame + 4 + 48);
    fake_send(&fake, frame, 4 + 48 + 40);
    expect_alive(&fake, &node, "an unknown record");
    cr_assert_eq(counters_of(&node).received, 1);
    cr_assert_str_eq(node.told[1].chain, "one");
    close_node(&node, &fake);
}

Test(hostile, cut_at_each_byte, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    uint8_t frame[256];
    open_node(&node, &fake, NULL);
    dctx_record_t record = {.kind = DCTX_LINK_ASK,
                            .sequence = 1,
                            .correlation = 5,
                            .target = {"orders", 6},
                            .type = {"text", 4},
                            .stamp = {"\x93\x01\x91\xa3one\x90", 8},
                            .payload = {"payload", 7}};
    dctx_frame_begin_(frame);
    dctx_record_write_(&record, frame + 4);
    size_t size = 4 + dctx_record_size_(&record);
    for (size_t cut = 0; cut < size; cut++)
        fake_send(&fake, frame, cut);
    expect_alive(&fake, &node, "cut frames");
    /* Those that keep "DCL" but not the version byte are garbage as well. */
    cr_assert_eq(counters_of(&node).malformed, size);
    cr_assert_eq(counters_of(&node).received, 0);
    fake_send(&fake, frame, size);
    expect_alive(&fake, &node, "the whole frame");
    cr_assert_eq(counters_of(&node).received, 1);
    close_node(&node, &fake);
}

Test(hostile, a_frame_over_the_limit_ends_the_connection_and_no_more, .init = fixture_init)
{
    node_t node = {.link = NULL};
    node_t *nodes[] = {&node, NULL};
    fake_t fake;
    dctx_link_options_t options = {.message_limit = 50000};
    open_node(&node, &fake, &options);
    uint8_t *frame = calloc(1, 60000);
    cr_assert_not_null(frame);
    fake_send(&fake, frame, 60000);
    /* The fake's ZeroMQ connects again, by itself, and is a stranger then. */
    fake_tell(&fake, 1, "and now?");
    uint64_t frames = 2;
    cr_assert(run_until(nodes, heard_frames, &frames));
    cr_assert_eq(counters_of(&node).received, 0);
    free(frame);
    close_node(&node, &fake);
}

/* ---- messages -------------------------------------------------------------------------------- */

Test(hostile, gaps_and_repetitions_are_counted, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    open_node(&node, &fake, NULL);
    fake_tell(&fake, 1, "one");
    fake_tell(&fake, 1, "one again");
    fake_tell(&fake, 2, "two");
    fake_tell(&fake, 5, "five");
    fake_tell(&fake, 4, "four, late");
    fake_tell(&fake, 6, "six");
    expect_alive(&fake, &node, "numbers");
    dctx_link_counters_t counters = counters_of(&node);
    cr_assert_eq(counters.received, 4);
    cr_assert_eq(counters.lost, 2);
    cr_assert_eq(counters.duplicated, 2);
    static const char *const texts[] = {"one", "two", "five", "six"};
    for (size_t i = 0; i < 4; i++)
        cr_assert_str_eq(node.told[1 + i].payload, texts[i]);
    close_node(&node, &fake);
}

Test(hostile, a_refused_stamp_leaves_the_message, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    static char big[9000];
    open_node(&node, &fake, NULL);
    static const char cut[] = "\x93\x01\x91\xab"
                              "api";
    static const char version[] = "\x93\x02\x90\x90";
    static const char bomb[] = "\x93\x01\x90\xdd\xff\xff\xff\xff";
    const dctx_bytes_t stamps[] = {{cut, sizeof(cut) - 1},
                                   {version, sizeof(version) - 1},
                                   {bomb, sizeof(bomb) - 1},
                                   {"\xc1", 1}};
    for (uint64_t i = 0; i < 4; i++) {
        dctx_record_t record = {.kind = DCTX_LINK_ASK,
                                .sequence = i + 1,
                                .correlation = i,
                                .stamp = stamps[i],
                                .payload = {"all the same", 12}};
        fake_send_record(&fake, &record);
    }
    expect_alive(&fake, &node, "stamps");
    cr_assert_eq(counters_of(&node).stamps_refused, 4);
    cr_assert_eq(counters_of(&node).received, 4);
    cr_assert_eq(counters_of(&node).malformed, 0);
    for (size_t i = 1; i <= 4; i++) {
        cr_assert_str_eq(node.told[i].payload, "all the same");
        cr_assert_str_eq(node.told[i].tenant, "");
        cr_assert_str_eq(node.told[i].chain, "");
    }
    /* Over a limit, and shared by two records: refused for both. */
    uint8_t frame[9400];
    dctx_record_t first = {.kind = DCTX_LINK_TELL, .sequence = 5, .stamp = {big, sizeof(big)}};
    dctx_record_t second = {.kind = DCTX_LINK_TELL, .flags = DCTX_SAME_CONTEXT, .sequence = 6};
    dctx_frame_begin_(frame);
    dctx_record_write_(&first, frame + 4);
    dctx_record_write_(&second, frame + 4 + dctx_record_size_(&first));
    fake_send(&fake, frame, 4 + dctx_record_size_(&first) + dctx_record_size_(&second));
    expect_alive(&fake, &node, "a shared stamp");
    cr_assert_eq(counters_of(&node).stamps_refused, 6);
    cr_assert_eq(counters_of(&node).received, 6);
    close_node(&node, &fake);
}

Test(hostile, error_codes_that_nobody_knows_read_as_rejected, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    open_node(&node, &fake, NULL);
    static const uint8_t codes[] = {0, 1, 19, 17, 27, 28, 255};
    static const dctx_error_t read[] = {DCTX_ERR_REJECTED, DCTX_ERR_REJECTED, DCTX_ERR_NO_ACTOR,
                                        DCTX_ERR_TIMEOUT,  DCTX_ERR_DEADLINE, DCTX_ERR_REJECTED,
                                        DCTX_ERR_REJECTED};
    for (size_t i = 0; i < sizeof(codes); i++) {
        dctx_record_t record = {
            .kind = DCTX_LINK_ERROR, .code = codes[i], .sequence = i + 1, .payload = {"why", 3}};
        fake_send_record(&fake, &record);
    }
    expect_alive(&fake, &node, "codes");
    for (size_t i = 0; i < sizeof(codes); i++) {
        cr_assert_eq(node.told[1 + i].code, read[i], "code %u", codes[i]);
        cr_assert_str_eq(node.told[1 + i].payload, "why");
    }
    close_node(&node, &fake);
}

Test(hostile, half_a_window_is_acknowledged, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    dctx_record_t record;
    dctx_link_options_t options = {.window = 10};
    open_node(&node, &fake, &options);
    for (uint64_t i = 1; i <= 5; i++)
        fake_tell(&fake, i, "x");
    cr_assert(fake_receive_record(&fake, &node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_ACK);
    cr_assert_eq(record.acknowledged, 5);
    cr_assert_eq(record.sequence, 0);
    close_node(&node, &fake);
}

/* ---- floods ---------------------------------------------------------------------------------- */

static size_t heap_in_use(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

Test(hostile, a_flood_of_garbage_costs_no_memory, .init = fixture_init)
{
    enum { FRAMES = 20000 };
    node_t node = {.forgetful = true};
    node_t *nodes[] = {&node, NULL};
    fake_t fake;
    open_node(&node, &fake, NULL);
    char garbage[200];
    memset(garbage, 0xd7, sizeof(garbage));
    size_t before = 0;
    uint64_t frames = 1;
    for (uint64_t round = 0; round < 20; round++) {
        for (int i = 0; i < FRAMES / 20 / 2; i++) {
            fake_send(&fake, garbage, sizeof(garbage));
            fake_send(&fake, "DCL\x01\xff\xff\xff\xff", 8);
            frames += 2;
        }
        cr_assert(run_until(nodes, heard_frames, &frames));
        if (round == 1)
            before = heap_in_use();
    }
    cr_assert_eq(counters_of(&node).malformed, FRAMES);
    size_t after = heap_in_use();
    cr_assert(after < before + 1000000, "from %zu to %zu bytes", before, after);
    expect_alive(&fake, &node, "a flood");
    close_node(&node, &fake);
}

Test(hostile, a_peer_that_never_reads_is_not_stored_for, .init = fixture_init)
{
    enum { PINGS = 30000 };
    node_t node = {.forgetful = true};
    node_t *nodes[] = {&node, NULL};
    fake_t fake;
    static char sign[64];
    int small = 1, unlimited = 0;
    node_open(&node, "back", "inproc://never-reads", NULL);
    fake.socket = zmq_socket(zsys_init(), ZMQ_DEALER);
    zmq_setsockopt(fake.socket, ZMQ_RCVHWM, &small, sizeof(small));
    zmq_setsockopt(fake.socket, ZMQ_SNDHWM, &unlimited, sizeof(unlimited));
    cr_assert_eq(zmq_connect(fake.socket, node.endpoint), 0);
    fake_hello(&fake, "front", 7, NULL, 10);
    uint64_t frames = 1;
    for (int i = 0; i < PINGS; i++) {
        dctx_record_t ping = {.kind = DCTX_KIND_PING, .payload = {sign, sizeof(sign)}};
        fake_send_record(&fake, &ping);
        frames++;
        if (i % 500 == 499)
            cr_assert(run_until(nodes, heard_frames, &frames));
    }
    cr_assert_lt(counters_of(&node).frames_sent, 5000);
    close_node(&node, &fake);
}

static bool heard_from_other(const node_t *node)
{
    for (size_t i = 0; i < node->told_count; i++)
        if (node->told[i].what == TOLD_MESSAGE && strcmp(node->told[i].peer, "other") == 0)
            return true;
    return false;
}

Test(hostile, a_flood_from_one_does_not_silence_another, .init = fixture_init)
{
    node_t node = {.link = NULL}, other = {.link = NULL};
    node_t *nodes[] = {&node, &other, NULL};
    fake_t fake;
    open_node(&node, &fake, NULL);
    node_open(&other, "other", "tcp://127.0.0.1:*", NULL);
    cr_assert_eq(dctx_link_connect(node.link, "other", other.endpoint), DCTX_OK);
    cr_assert(run_until(nodes, is_up, "other"));
    for (uint64_t i = 1; i <= 500; i++)
        fake_tell(&fake, i, "flood");
    cr_assert_eq(tell(&other, "back", "a", "a word", NULL), DCTX_OK);
    (void)dctx_link_process(other.link, 0);
    zmq_pollitem_t items[3];
    cr_assert_eq(dctx_link_poll_items(node.link, items, 3), 3);
    cr_assert_eq(zmq_poll(items, 1, 5000), 1, "the ROUTER");
    cr_assert_eq(zmq_poll(items + 1, 1, 5000), 1, "the DEALER");
    (void)dctx_link_process(node.link, 1);
    (void)dctx_link_process(node.link, 1);
    cr_assert(heard_from_other(&node));
    node_close(&other);
    close_node(&node, &fake);
}

static bool none_up(node_t *const *nodes, const void *arg)
{
    (void)arg;
    dctx_link_counters_t counters = counters_of(nodes[0]);
    return counters.peers_down == counters.peers_up;
}

/* Many that say HELLO and nothing more: they are let go when they fall silent, and nothing of them
 * stays. */
Test(hostile, those_who_only_say_hello_are_let_go, .init = fixture_init)
{
    enum { COUNT = 60 };
    node_t node = {.virtual_clock = true, .virtual_now = 1};
    node_t *nodes[] = {&node, NULL};
    fake_t fakes[COUNT];
    dctx_record_t record;
    node_open(&node, "back", "tcp://127.0.0.1:*", NULL);
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof(name), "peer-%d", i);
        fake_dial(&fakes[i], node.endpoint);
        fake_hello(&fakes[i], name, 7, NULL, 10);
        cr_assert(fake_receive_record(&fakes[i], &node, &record));
        cr_assert_eq(record.kind, DCTX_KIND_WELCOME);
    }
    cr_assert_eq(counters_of(&node).peers_up, COUNT);
    for (int i = 0; i < 3; i++) {
        node.virtual_now += INT64_C(1000000000);
        (void)dctx_link_process(node.link, 0);
    }
    cr_assert(run_until(nodes, none_up, NULL));
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof(name), "peer-%d", i);
        cr_assert_eq(tell(&node, name, "a", "b", NULL), DCTX_ERR_UNREACHABLE);
        fake_close(&fakes[i]);
    }
    node_close(&node);
}

Test(hostile, there_are_not_too_many_inbound_peers, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake, late;
    open_node(&node, &fake, NULL);
    node.link->inbound = 4096; /* as if there were so many */
    fake_dial(&late, node.endpoint);
    fake_hello(&late, "late", 7, NULL, 10);
    expect_kind(&late, &node, DCTX_KIND_REFUSED);
    node.link->inbound = 1;
    fake_hello(&late, "late", 7, NULL, 10);
    expect_kind(&late, &node, DCTX_KIND_WELCOME);
    fake_close(&late);
    close_node(&node, &fake);
}

/* ---- a listener that does not keep the protocol ---------------------------------------------- */

static bool was_refused(node_t *const *nodes, const void *count)
{
    size_t refused = 0;
    for (size_t i = 0; i < nodes[0]->told_count; i++)
        refused +=
            nodes[0]->told[i].what == TOLD_PEER && nodes[0]->told[i].event == DCTX_PEER_REFUSED;
    return refused >= *(const size_t *)count;
}

static bool readable(node_t *const *nodes, const void *socket)
{
    (void)nodes;
    zmq_pollitem_t item = {.socket = *(void *const *)socket, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, 0) == 1;
}

Test(hostile, a_listener_that_answers_wrongly_is_refused_and_dialled_again, .init = fixture_init)
{
    node_t node = {.link = NULL};
    node_t *nodes[] = {&node, NULL};
    char endpoint[64];
    size_t size = sizeof(endpoint);
    int none = 0;
    void *router = zmq_socket(zsys_init(), ZMQ_ROUTER);
    zmq_setsockopt(router, ZMQ_LINGER, &none, sizeof(none));
    cr_assert_eq(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
    cr_assert_eq(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    node_open(&node, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(node.link, "back", endpoint), DCTX_OK);
    uint8_t map[512], frame[1024];
    for (size_t answer = 0; answer < 5; answer++) {
        uint8_t id[256], hello[1024];
        cr_assert(run_until(nodes, readable, &router));
        int id_size = zmq_recv(router, id, sizeof(id), 0);
        cr_assert_gt(zmq_recv(router, hello, sizeof(hello), 0), 0);
        if (memcmp(hello + 8, "\x01", 1) != 0) { /* BYE of the one before, not HELLO */
            answer--;
            continue;
        }
        dctx_record_t record = {.kind = DCTX_KIND_WELCOME};
        switch (answer) {
        case 0: /* another name */
            record.payload = (dctx_bytes_t){map, hello_bytes(map, "stock", 9, NULL, 10)};
            break;
        case 1: /* no map */
            record.payload = (dctx_bytes_t){"\xc0", 1};
            break;
        case 2:
            record = (dctx_record_t){.kind = DCTX_KIND_REFUSED, .payload = {"go\n away", 8}};
            break;
        case 3: /* messages before WELCOME are not taken; then another version */
            record = (dctx_record_t){.kind = DCTX_LINK_TELL, .sequence = 1};
            break;
        default:
            record.payload = (dctx_bytes_t){map, hello_bytes(map, "back", 9, NULL, 10)};
            break;
        }
        dctx_frame_begin_(frame);
        dctx_record_write_(&record, frame + DCTX_FRAME_HEAD);
        size = DCTX_FRAME_HEAD + dctx_record_size_(&record);
        zmq_send(router, id, (size_t)id_size, ZMQ_SNDMORE);
        zmq_send(router, frame, size, 0);
        if (answer == 3) {
            zmq_send(router, id, (size_t)id_size, ZMQ_SNDMORE);
            zmq_send(router, "DCL\x02", 4, 0);
        }
        size_t refused = answer + 1;
        cr_assert(run_until(nodes, answer < 4 ? was_refused : is_up,
                            answer < 4 ? (const void *)&refused : "back"),
                  "answer %zu", answer);
    }
    cr_assert_eq(counters_of(&node).handshakes_refused, 4);
    cr_assert_eq(counters_of(&node).received, 0);
    cr_assert_str_eq(node.told[2].reason, "go? away");
    zmq_close(router);
    node_close(&node);
}

/* ---- an older peer --------------------------------------------------------------------------- */

static bool has_undelivered(node_t *const *nodes, const void *arg)
{
    (void)arg;
    return count_told(nodes[0], TOLD_UNDELIVERED) > 0;
}

/* One that does not say which kinds it knows is sent no newer ones: it would refuse the frame. */
Test(hostile, an_older_peer_is_not_sent_newer_kinds, .init = fixture_init)
{
    node_t node = {.link = NULL};
    fake_t fake;
    open_node(&node, &fake, NULL);
    for (int kind = DCTX_LINK_WATCH; kind <= DCTX_LINK_ENDED; kind++) {
        cr_assert_eq(send_kind(&node, "front", (dctx_link_kind_t)kind, 1, "", NULL),
                     DCTX_ERR_VERSION);
        cr_assert(strstr(dctx_error_detail(), "front knows no messages of kind") != NULL);
    }
    cr_assert_eq(send_kind(&node, "front", (dctx_link_kind_t)(DCTX_LINK_ENDED + 1), 1, "", NULL),
                 DCTX_ERR_INVALID);
    cr_assert_eq(send_kind(&node, "front", DCTX_LINK_DONE, 1, "", NULL), DCTX_OK);
    expect_kind(&fake, &node, DCTX_LINK_DONE);
    expect_alive(&fake, &node, "after newer kinds");
    /* But what it sends is taken, whatever it said. */
    dctx_record_t record = {.kind = DCTX_LINK_WATCH, .sequence = 1, .correlation = 5};
    fake_send_record(&fake, &record);
    expect_alive(&fake, &node, "after a watch");
    cr_assert_eq(counters_of(&node).received, 1);
    close_node(&node, &fake);
}

/* What was held while that was not known comes back. */
Test(hostile, newer_kinds_held_for_an_older_peer_come_back, .init = fixture_init)
{
    node_t node = {.link = NULL};
    node_t *nodes[] = {&node, NULL};
    char endpoint[64];
    size_t size = sizeof(endpoint);
    int none = 0;
    uint8_t id[256], hello[1024], map[512], frame[1024];
    void *router = zmq_socket(zsys_init(), ZMQ_ROUTER);
    zmq_setsockopt(router, ZMQ_LINGER, &none, sizeof(none));
    cr_assert_eq(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
    cr_assert_eq(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    node_open(&node, "front", NULL, NULL);
    cr_assert_eq(dctx_link_connect(node.link, "back", endpoint), DCTX_OK);
    cr_assert_eq(send_kind(&node, "back", DCTX_LINK_WATCH, 77, "", NULL), DCTX_OK);
    cr_assert(run_until(nodes, readable, &router));
    int id_size = zmq_recv(router, id, sizeof(id), 0);
    cr_assert_gt(zmq_recv(router, hello, sizeof(hello), 0), 0);
    dctx_record_t record = {.kind = DCTX_KIND_WELCOME,
                            .payload = {map, hello_bytes(map, "back", 9, NULL, 10)}};
    dctx_frame_begin_(frame);
    dctx_record_write_(&record, frame + DCTX_FRAME_HEAD);
    zmq_send(router, id, (size_t)id_size, ZMQ_SNDMORE);
    zmq_send(router, frame, DCTX_FRAME_HEAD + dctx_record_size_(&record), 0);
    cr_assert(run_until(nodes, has_undelivered, NULL));
    for (size_t i = 0; i < node.told_count; i++) {
        if (node.told[i].what != TOLD_UNDELIVERED)
            continue;
        cr_assert_eq(node.told[i].code, DCTX_ERR_VERSION);
        cr_assert_eq(node.told[i].correlation, 77);
    }
    cr_assert(dctx_link_peer_is_up(node.link, "back"));
    zmq_close(router);
    node_close(&node);
}
