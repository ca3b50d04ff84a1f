/*
 * Context through every kind of socket, over every transport, with CURVE and without; through
 * proxies, and to peers that know nothing of it. Through the public headers only.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/transport.h>

#define WAIT 10000 /* ms; only a failure takes that long */

static const dctx_key_t *tenant;
static char directory[] = "/tmp/dctx-matrix-XXXXXX";
static zactor_t *auth;
static zcert_t *server_cert, *client_cert;

typedef struct way {
    const char *transport;
    bool curve;
} way_t;

/* Who the receiver should see at the other end; NULL: what stands between hides it. */
static const way_t *expected;

static void init(void)
{
    const dctx_key_options_t options = {.name = "tenant", .type = DCTX_TYPE_STRING};
    cr_assert_eq(dctx_registry_add(NULL, &options, &tenant), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    cr_assert_not_null(mkdtemp(directory));
}

/* With the contexts that say who sent a message. */
static void init_senders(void)
{
    cr_assert_eq(dctx_session_register(NULL), DCTX_OK);
    init();
}

static void fini(void)
{
    rmdir(directory);
}

/* ---- sockets --------------------------------------------------------------------------------- */

static void secure(zsock_t *bound, zsock_t *connected)
{
    zsock_set_zap_domain(bound, "test");
    zcert_apply(server_cert, bound);
    zsock_set_curve_server(bound, 1);
    zcert_apply(client_cert, connected);
    zsock_set_curve_serverkey(connected, zcert_public_txt(server_cert));
}

static zsock_t *new_socket(int type)
{
    zsock_t *socket = zsock_new(type);
    cr_assert_not_null(socket);
    zsock_set_rcvtimeo(socket, WAIT);
    zsock_set_sndtimeo(socket, WAIT);
    zsock_set_linger(socket, 0);
    return socket;
}

static void join(way_t way, zsock_t *bound, zsock_t *connected)
{
    static int number;
    char endpoint[128];
    if (way.curve)
        secure(bound, connected);
    if (strcmp(way.transport, "tcp") == 0)
        snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:*");
    else if (strcmp(way.transport, "ipc") == 0)
        snprintf(endpoint, sizeof(endpoint), "ipc://%s/%d", directory, ++number);
    else
        snprintf(endpoint, sizeof(endpoint), "inproc://matrix-%d", ++number);
    cr_assert_neq(zsock_bind(bound, "%s", endpoint), -1, "%s", endpoint);
    cr_assert_eq(zsock_connect(connected, "%s", zsock_endpoint(bound)), 0);
}

/* ---- exchanges ------------------------------------------------------------------------------- */

/* Every kind of socket knows whose connection a message came over, but over inproc. */
static void check_sender(const dctx_snapshot_t *snapshot, const char *who)
{
    const char *address = dctx_snapshot_upstream_address(snapshot);
    const dctx_session_t *session = dctx_snapshot_security_session(snapshot);
    const char *start = strcmp(expected->transport, "tcp") == 0   ? "127.0.0.1"
                        : strcmp(expected->transport, "ipc") == 0 ? "localhost:"
                                                                  : NULL;
    if (start == NULL)
        cr_assert_null(address, "%s", who);
    else
        cr_assert(address != NULL && strncmp(address, start, strlen(start)) == 0, "%s", who);
    cr_assert_eq(session != NULL, expected->curve, "%s", who);
    if (session != NULL)
        cr_assert_eq(session->mechanism, DCTX_MECHANISM_CURVE, "%s", who);
}

static void check_context(const dctx_snapshot_t *snapshot, const char *who)
{
    if (expected != NULL)
        check_sender(snapshot, who);
    char chain[64];
    const char *value = dctx_snapshot_get(snapshot, tenant);
    cr_assert_not_null(value, "%s: no context", who);
    cr_assert_str_eq(value, "acme");
    dctx_snapshot_chain_format(snapshot, chain, sizeof(chain));
    cr_assert_str_eq(chain, "gateway");
}

static zmsg_t *topic_and_body(void)
{
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, "topic");
    zmsg_addstr(message, "body");
    return message;
}

/* The content is as it was sent, with `ahead` frames of routing in front. */
static void check_content(zmsg_t *message, size_t ahead)
{
    cr_assert_eq(zmsg_size(message), ahead + 2);
    zframe_t *frame = zmsg_first(message);
    for (size_t i = 0; i < ahead; i++)
        frame = zmsg_next(message);
    cr_assert(zframe_streq(frame, "topic"));
    cr_assert(zframe_streq(zmsg_next(message), "body"));
}

/* One message by each of the two ways to send and to receive. */
static void pass(zsock_t *from, zsock_t *to, size_t ahead, const char *who)
{
    dctx_snapshot_t *snapshot;
    zmsg_t *message = topic_and_body();
    cr_assert_eq(dctx_send(from, &message), DCTX_OK, "%s: %s", who, dctx_error_detail());
    dctx_frames_t frames;
    dctx_frames_init(&frames);
    cr_assert_eq(dctx_frames_recv(to, &frames, &snapshot), DCTX_OK, "%s: %s", who,
                 dctx_error_detail());
    check_context(snapshot, who);
    cr_assert_eq(frames.count, ahead + 2, "%s", who);
    cr_assert_eq(zmq_msg_size(&frames.at[ahead]), 5);
    cr_assert_eq(memcmp(zmq_msg_data(&frames.at[ahead + 1]), "body", 4), 0);
    dctx_snapshot_unref(&snapshot);
    dctx_frames_finish(&frames);
}

static void pass_frames(zsock_t *from, zsock_t *to, size_t ahead, const char *who)
{
    dctx_snapshot_t *snapshot;
    dctx_frames_t frames;
    zmsg_t *message = NULL;
    dctx_frames_init(&frames);
    cr_assert_eq(dctx_frames_add(&frames, "topic", 5), DCTX_OK);
    cr_assert_eq(dctx_frames_add(&frames, "body", 4), DCTX_OK);
    cr_assert_eq(dctx_frames_send(from, &frames), DCTX_OK, "%s: %s", who, dctx_error_detail());
    cr_assert_eq(frames.count, 0);
    cr_assert_eq(dctx_recv(to, &message, &snapshot), DCTX_OK, "%s: %s", who, dctx_error_detail());
    check_context(snapshot, who);
    check_content(message, ahead);
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    dctx_frames_finish(&frames);
}

static void one_way(way_t way, int from, int to, const char *who)
{
    zsock_t *sender = new_socket(from), *receiver = new_socket(to);
    join(way, receiver, sender);
    pass(sender, receiver, 0, who);
    pass_frames(sender, receiver, 0, who);
    zsock_destroy(&sender);
    zsock_destroy(&receiver);
}

static void there_and_back(way_t way, int from, int to, const char *who)
{
    zsock_t *asker = new_socket(from), *answerer = new_socket(to);
    join(way, answerer, asker);
    pass(asker, answerer, 0, who);
    pass_frames(answerer, asker, 0, who);
    pass_frames(asker, answerer, 0, who);
    pass(answerer, asker, 0, who);
    zsock_destroy(&asker);
    zsock_destroy(&answerer);
}

/* What a ROUTER got goes back to whom it came from: its first frame says who. */
static void routed(way_t way)
{
    zsock_t *dealer = new_socket(ZMQ_DEALER), *router = new_socket(ZMQ_ROUTER);
    join(way, router, dealer);
    pass(dealer, router, 1, "DEALER to ROUTER");
    zmsg_t *message = topic_and_body();
    dctx_snapshot_t *snapshot;
    cr_assert_eq(dctx_send(dealer, &message), DCTX_OK);
    cr_assert_eq(dctx_recv(router, &message, &snapshot), DCTX_OK);
    check_content(message, 1);
    cr_assert_eq(dctx_send_snapshot(router, &message, snapshot), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(dctx_recv(dealer, &message, &snapshot), DCTX_OK);
    check_context(snapshot, "ROUTER to DEALER");
    check_content(message, 0);
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    zsock_destroy(&dealer);
    zsock_destroy(&router);
}

/* The first message that is about the topic; the one that is not was filtered. XPUB says when a
 * subscription is there. */
static void published(way_t way, int publisher_type, int subscriber_type)
{
    zsock_t *publisher = new_socket(publisher_type), *subscriber = new_socket(subscriber_type);
    join(way, publisher, subscriber);
    if (subscriber_type == ZMQ_SUB)
        zsock_set_subscribe(subscriber, "topic");
    else
        cr_assert_eq(zsock_send(subscriber, "b", "\1topic", (size_t)6), 0);
    zsock_t *answer = subscriber;
    if (publisher_type == ZMQ_XPUB) {
        zmsg_t *subscription = zmsg_recv(publisher);
        cr_assert_not_null(subscription);
        zmsg_destroy(&subscription);
    } else {
        /* A PUB does not tell: publish until something comes. */
        zsock_set_rcvtimeo(subscriber, 20);
        zmsg_t *message = NULL;
        for (int i = 0; message == NULL && i < WAIT / 20; i++) {
            zstr_send(publisher, "topic");
            message = zmsg_recv(subscriber);
        }
        cr_assert_not_null(message);
        zmsg_destroy(&message);
        while ((message = zmsg_recv(subscriber)) != NULL)
            zmsg_destroy(&message);
        zsock_set_rcvtimeo(subscriber, WAIT);
    }
    zmsg_t *other = zmsg_new();
    zmsg_addstr(other, "weather");
    cr_assert_eq(dctx_send(publisher, &other), DCTX_OK);
    pass(publisher, answer, 0, "publisher");
    pass_frames(publisher, answer, 0, "publisher");
    zsock_destroy(&publisher);
    zsock_destroy(&subscriber);
}

static void every_pattern(way_t way)
{
    expected = &way;
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
    there_and_back(way, ZMQ_PAIR, ZMQ_PAIR, "PAIR");
    there_and_back(way, ZMQ_REQ, ZMQ_REP, "REQ/REP");
    there_and_back(way, ZMQ_DEALER, ZMQ_DEALER, "DEALER");
    one_way(way, ZMQ_PUSH, ZMQ_PULL, "PUSH/PULL");
    routed(way);
    published(way, ZMQ_PUB, ZMQ_SUB);
    published(way, ZMQ_XPUB, ZMQ_SUB);
    published(way, ZMQ_PUB, ZMQ_XSUB);
    published(way, ZMQ_XPUB, ZMQ_XSUB);
    expected = NULL;
}

static void start_auth(void)
{
    server_cert = zcert_new();
    client_cert = zcert_new();
    auth = zactor_new(zauth, NULL);
    cr_assert_not_null(auth);
    zstr_sendx(auth, "CURVE", CURVE_ALLOW_ANY, NULL);
    zsock_wait(auth);
}

static void stop_auth(void)
{
    zactor_destroy(&auth);
    zcert_destroy(&server_cert);
    zcert_destroy(&client_cert);
}

Test(matrix, inproc, .init = init_senders, .fini = fini)
{
    every_pattern((way_t){"inproc", false});
}

Test(matrix, ipc, .init = init_senders, .fini = fini)
{
    every_pattern((way_t){"ipc", false});
}

Test(matrix, tcp, .init = init_senders, .fini = fini)
{
    every_pattern((way_t){"tcp", false});
}

Test(matrix, ipc_under_curve, .init = init_senders, .fini = fini)
{
    start_auth();
    every_pattern((way_t){"ipc", true});
    stop_auth();
}

Test(matrix, tcp_under_curve, .init = init_senders, .fini = fini)
{
    start_auth();
    every_pattern((way_t){"tcp", true});
    stop_auth();
}

/* ---- what stands between --------------------------------------------------------------------- */

Test(matrix, through_czmqs_proxy, .init = init, .fini = fini)
{
    zactor_t *proxy = zactor_new(zproxy, NULL);
    cr_assert_not_null(proxy);
    zstr_sendx(proxy, "FRONTEND", "PULL", "inproc://matrix-front", NULL);
    zsock_wait(proxy);
    zstr_sendx(proxy, "BACKEND", "PUSH", "inproc://matrix-back", NULL);
    zsock_wait(proxy);
    zsock_t *sender = new_socket(ZMQ_PUSH), *receiver = new_socket(ZMQ_PULL);
    cr_assert_eq(zsock_connect(sender, "inproc://matrix-front"), 0);
    cr_assert_eq(zsock_connect(receiver, "inproc://matrix-back"), 0);
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
    pass(sender, receiver, 0, "zproxy");
    pass_frames(sender, receiver, 0, "zproxy");
    zsock_destroy(&sender);
    zsock_destroy(&receiver);
    zactor_destroy(&proxy);
}

/* ROUTER in front, DEALER behind, ended by its context: what libzmq's own proxy is for. */
static void run_proxy(zsock_t *pipe, void *arg)
{
    zsock_t **ends = arg;
    zsock_t *control = zsock_new_pull("inproc://matrix-control");
    zsock_signal(pipe, control != NULL ? 0 : 1);
    (void)zmq_proxy_steerable(zsock_resolve(ends[0]), zsock_resolve(ends[1]), NULL,
                              zsock_resolve(control));
    zsock_destroy(&ends[0]);
    zsock_destroy(&ends[1]);
    zsock_destroy(&control);
    zstr_free(&(char *){zstr_recv(pipe)});
}

Test(matrix, through_libzmqs_proxy, .init = init, .fini = fini)
{
    zsock_t *ends[2] = {new_socket(ZMQ_ROUTER), new_socket(ZMQ_DEALER)};
    zsock_t *asker = new_socket(ZMQ_REQ), *answerer = new_socket(ZMQ_REP);
    join((way_t){"tcp", false}, ends[0], asker);
    join((way_t){"ipc", false}, ends[1], answerer);
    zactor_t *proxy = zactor_new(run_proxy, ends);
    cr_assert_not_null(proxy);
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
    pass(asker, answerer, 0, "there");
    pass_frames(answerer, asker, 0, "back");
    zsock_t *control = zsock_new_push("inproc://matrix-control");
    zstr_send(control, "TERMINATE");
    zactor_destroy(&proxy);
    zsock_destroy(&control);
    zsock_destroy(&asker);
    zsock_destroy(&answerer);
}

Test(matrix, a_peer_that_knows_nothing_sees_one_frame_more, .init = init, .fini = fini)
{
    zsock_t *asker = new_socket(ZMQ_REQ), *foreign = new_socket(ZMQ_REP);
    join((way_t){"tcp", false}, foreign, asker);
    zmsg_t *message = topic_and_body();
    dctx_snapshot_t *snapshot;
    DCTX_WITH_SCOPE("gateway") {
        cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
        cr_assert_eq(dctx_send(asker, &message), DCTX_OK);
    }
    message = zmsg_recv(foreign);
    cr_assert_eq(zmsg_size(message), 3);
    cr_assert(zframe_streq(zmsg_first(message), "topic"));
    cr_assert(zframe_streq(zmsg_next(message), "body"));
    zmsg_destroy(&message);
    zstr_send(foreign, "fine");
    cr_assert_eq(dctx_recv(asker, &message, &snapshot), DCTX_OK);
    cr_assert(zframe_streq(zmsg_first(message), "fine"));
    cr_assert_eq(zmsg_size(message), 1);
    cr_assert(dctx_snapshot_is_empty(snapshot));
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    zsock_destroy(&asker);
    zsock_destroy(&foreign);
}

Test(matrix, stamped_and_unstamped_messages_on_one_socket, .init = init, .fini = fini)
{
    zsock_t *sender = new_socket(ZMQ_PUSH), *receiver = new_socket(ZMQ_PULL);
    join((way_t){"tcp", false}, receiver, sender);
    for (int i = 0; i < 6; i++) {
        DCTX_SCOPE(i % 2 == 0 ? "gateway" : NULL);
        if (i % 2 == 0)
            cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
        zmsg_t *message = topic_and_body();
        if (i % 3 == 0)
            cr_assert_eq(dctx_send(sender, &message), DCTX_OK);
        else
            cr_assert_eq(zmsg_send(&message, sender), 0);
    }
    for (int i = 0; i < 6; i++) {
        zmsg_t *message;
        dctx_snapshot_t *snapshot;
        cr_assert_eq(dctx_recv(receiver, &message, &snapshot), DCTX_OK);
        check_content(message, 0);
        cr_assert_eq(dctx_snapshot_is_empty(snapshot), i % 2 != 0 || i % 3 != 0);
        zmsg_destroy(&message);
        dctx_snapshot_unref(&snapshot);
    }
    zsock_destroy(&sender);
    zsock_destroy(&receiver);
}

/* ---- frames ---------------------------------------------------------------------------------- */

Test(matrix, frames_grow_and_move, .init = init, .fini = fini)
{
    zsock_t *sender = new_socket(ZMQ_PUSH), *receiver = new_socket(ZMQ_PULL);
    join((way_t){"inproc", false}, receiver, sender);
    dctx_frames_t frames, received;
    dctx_snapshot_t *snapshot;
    dctx_frames_init(&frames);
    dctx_frames_init(&received);
    for (int i = 0; i < 20; i++) {
        char text[100];
        memset(text, 'a' + i, sizeof(text));
        cr_assert_eq(dctx_frames_add(&frames, text, (size_t)(i * 5)), DCTX_OK);
    }
    zmq_msg_t own;
    zmq_msg_init_size(&own, 3);
    memcpy(zmq_msg_data(&own), "own", 3);
    cr_assert_eq(dctx_frames_move(&frames, &own), DCTX_OK);
    cr_assert_eq(zmq_msg_size(&own), 0);
    zmq_msg_close(&own);
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_frames_send(sender, &frames), DCTX_OK);
    cr_assert_eq(dctx_frames_recv(receiver, &received, &snapshot), DCTX_OK);
    cr_assert_eq(received.count, 21);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(zmq_msg_size(&received.at[i]), (size_t)(i * 5));
        if (i > 0)
            cr_assert_eq(*(char *)zmq_msg_data(&received.at[i]), 'a' + i);
    }
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(dctx_frames_send(sender, &frames), DCTX_ERR_INVALID, "no frames");
    dctx_frames_finish(&frames);
    dctx_frames_finish(&received);
    dctx_frames_finish(NULL);
    zsock_destroy(&sender);
    zsock_destroy(&receiver);
}

Test(matrix, frames_of_a_failed_send_are_still_there, .init = init, .fini = fini)
{
    zsock_t *push = new_socket(ZMQ_PUSH), *router = new_socket(ZMQ_ROUTER);
    dctx_frames_t frames;
    zsock_set_sndtimeo(push, 0);
    zsock_set_router_mandatory(router, 1);
    dctx_frames_init(&frames);
    cr_assert_eq(dctx_frames_add(&frames, "nobody", 6), DCTX_OK);
    cr_assert_eq(dctx_frames_add(&frames, "a frame that is not short enough to be inside", 45),
                 DCTX_OK);
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_frames_send(push, &frames), DCTX_ERR_AGAIN);
    cr_assert_eq(dctx_frames_send(router, &frames), DCTX_ERR_UNREACHABLE);
    cr_assert_eq(frames.count, 2);
    cr_assert_eq(memcmp(zmq_msg_data(&frames.at[0]), "nobody", 6), 0);
    cr_assert_eq(zmq_msg_size(&frames.at[1]), 45);
    cr_assert_eq(memcmp(zmq_msg_data(&frames.at[1]), "a frame", 7), 0);
    dctx_frames_finish(&frames);
    zsock_destroy(&push);
    zsock_destroy(&router);
}

/* The stamp of a context that does not change is made once: the receiver in this process sees the
 * very bytes. */
Test(matrix, a_stamp_is_made_once_for_many_messages, .init = init, .fini = fini)
{
    zsock_t *sender = new_socket(ZMQ_PUSH), *receiver = new_socket(ZMQ_PULL);
    join((way_t){"inproc", false}, receiver, sender);
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_set(tenant, "a value that makes the stamp long enough to be shared"),
                 DCTX_OK);
    const void *first = NULL;
    zmq_msg_t stamps[4];
    for (int i = 0; i < 4; i++) {
        dctx_frames_t frames;
        dctx_frames_init(&frames);
        cr_assert_eq(dctx_frames_add(&frames, "x", 1), DCTX_OK);
        cr_assert_eq(dctx_frames_send(sender, &frames), DCTX_OK);
        dctx_frames_finish(&frames);
        zmq_msg_init(&stamps[i]);
        cr_assert_eq(zmq_msg_recv(&stamps[i], zsock_resolve(receiver), 0), 1);
        cr_assert_gt(zmq_msg_recv(&stamps[i], zsock_resolve(receiver), 0), 0);
        if (i == 1)
            first = zmq_msg_data(&stamps[i]);
        if (i > 1)
            cr_assert_eq(zmq_msg_data(&stamps[i]), first);
    }
    for (int i = 0; i < 4; i++)
        zmq_msg_close(&stamps[i]);
    zsock_destroy(&sender);
    zsock_destroy(&receiver);
}

/* ---- attaching ------------------------------------------------------------------------------- */

static dctx_error_t note_context(zmsg_t **message_p, void *arg)
{
    char *chain = arg;
    check_content(*message_p, 0);
    cr_assert_str_eq(dctx_get(tenant), "acme");
    dctx_chain_format(chain, 64);
    return DCTX_ERR_REJECTED;
}

Test(matrix, for_the_length_of_a_callback_or_a_block, .init = init, .fini = fini)
{
    char chain[64];
    zsock_t *sender = new_socket(ZMQ_PUSH), *receiver = new_socket(ZMQ_PULL);
    join((way_t){"tcp", false}, receiver, sender);
    DCTX_WITH_SCOPE("gateway") {
        cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
        for (int i = 0; i < 2; i++) {
            zmsg_t *message = topic_and_body();
            cr_assert_eq(dctx_send(sender, &message), DCTX_OK);
        }
    }
    cr_assert_eq(dctx_recv_call(receiver, "worker", note_context, chain), DCTX_ERR_REJECTED);
    cr_assert_str_eq(chain, "gateway > worker");
    cr_assert(dctx_is_empty());
    {
        zmsg_t *message;
        DCTX_RECEIVED(scope);
        cr_assert_eq(dctx_recv_attach(receiver, "block", &message, &scope), DCTX_OK);
        cr_assert_str_eq(dctx_get(tenant), "acme");
        zmsg_destroy(&message);
    }
    cr_assert(dctx_is_empty());
    zsock_destroy(&sender);
    zsock_destroy(&receiver);
}
