/* The stamp as the last frame of a message on any ZeroMQ socket. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include <czmq.h>

#include <dcontext/stamp.h>

static const dctx_key_t *tenant_key;
static const dctx_key_t *secret_key;
static const char magic[] = "\xd7"
                            "dctx\x01";

static void init(void)
{
    const dctx_key_options_t tenant = {.name = "tenant", .type = DCTX_TYPE_STRING};
    const dctx_key_options_t secret = {
        .name = "secret", .type = DCTX_TYPE_STRING, .flags = DCTX_LOCAL};
    cr_assert_eq(dctx_registry_add(NULL, &tenant, &tenant_key), DCTX_OK);
    cr_assert_eq(dctx_registry_add(NULL, &secret, &secret_key), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

typedef struct pair {
    zsock_t *left;
    zsock_t *right;
} pair_t;

static pair_t make_pair(int left, int right, const char *endpoint)
{
    pair_t pair = {zsock_new(left), zsock_new(right)};
    cr_assert_not_null(pair.left);
    cr_assert_not_null(pair.right);
    zsock_set_rcvtimeo(pair.left, 5000);
    zsock_set_rcvtimeo(pair.right, 5000);
    cr_assert_neq(zsock_bind(pair.right, "%s", endpoint), -1);
    char *bound = zsock_last_endpoint(pair.right);
    cr_assert_eq(zsock_connect(pair.left, "%s", bound), 0);
    zstr_free(&bound);
    return pair;
}

static void drop_pair(pair_t *pair)
{
    zsock_destroy(&pair->left);
    zsock_destroy(&pair->right);
}

static zmsg_t *message_of(const char *first, const char *second)
{
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, first);
    if (second != NULL)
        zmsg_addstr(message, second);
    return message;
}

static bool frame_is(zframe_t *frame, const char *text)
{
    return frame != NULL && zframe_streq(frame, text);
}

static dctx_transport_counters_t counters(void)
{
    dctx_transport_counters_t read;
    dctx_transport_counters_read(&read);
    return read;
}

/* Sends with the present context and receives; checks that the frames are as they were. */
static dctx_snapshot_t *exchange(void *from, void *to)
{
    zmsg_t *message = message_of("one", "two");
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(dctx_send(from, &message), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_null(message);
    cr_assert_eq(dctx_recv(to, &message, &snapshot), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(zmsg_size(message), 2);
    cr_assert(frame_is(zmsg_first(message), "one"));
    cr_assert(frame_is(zmsg_next(message), "two"));
    zmsg_destroy(&message);
    return snapshot;
}

Test(stamp, carries_broadcast_values_and_the_chain, .init = init)
{
    char chain[64];
    pair_t pair = make_pair(ZMQ_PUSH, ZMQ_PULL, "inproc://carries");
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_set(tenant_key, "acme"), DCTX_OK);
    cr_assert_eq(dctx_set(secret_key, "hush"), DCTX_OK);
    dctx_snapshot_t *snapshot = exchange(pair.left, pair.right);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, tenant_key), "acme");
    cr_assert_null(dctx_snapshot_get(snapshot, secret_key));
    dctx_snapshot_chain_format(snapshot, chain, sizeof(chain));
    cr_assert_str_eq(chain, "gateway");
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(counters().stamped, 1);
    cr_assert_eq(counters().received_stamped, 1);
    drop_pair(&pair);
}

Test(stamp, an_empty_context_adds_no_frame, .init = init)
{
    pair_t pair = make_pair(ZMQ_PUSH, ZMQ_PULL, "inproc://empty");
    zmsg_t *message = message_of("one", NULL);
    cr_assert_eq(dctx_send(pair.left, &message), DCTX_OK);
    message = zmsg_recv(pair.right);
    cr_assert_eq(zmsg_size(message), 1);
    zmsg_destroy(&message);
    dctx_snapshot_t *snapshot = exchange(pair.left, pair.right);
    cr_assert(dctx_snapshot_is_empty(snapshot));
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(counters().unstamped, 2);
    cr_assert_eq(counters().received_unstamped, 1);
    /* A context of local values only is empty where the process ends. */
    DCTX_WITH_SCOPE(NULL) {
        cr_assert_eq(dctx_set(secret_key, "hush"), DCTX_OK);
        message = message_of("one", NULL);
        cr_assert_eq(dctx_send(pair.left, &message), DCTX_OK);
        message = zmsg_recv(pair.right);
        cr_assert_eq(zmsg_size(message), 1);
        zmsg_destroy(&message);
    }
    drop_pair(&pair);
}

Test(stamp, is_what_the_format_says, .init = init)
{
    static const char wire[] = "\xd7"
                               "dctx\x01\x93\x01\x91\xab"
                               "api-gateway\x91\x93\xa6tenant\x01\xc4\x06\xa5"
                               "acme1";
    pair_t pair = make_pair(ZMQ_PUSH, ZMQ_PULL, "inproc://format");
    zmsg_t *message = message_of("x", NULL);
    DCTX_WITH_SCOPE("api-gateway") {
        cr_assert_eq(dctx_set(tenant_key, "acme1"), DCTX_OK);
        cr_assert_eq(dctx_send(pair.left, &message), DCTX_OK);
    }
    message = zmsg_recv(pair.right);
    cr_assert_eq(zmsg_size(message), 2);
    zframe_t *last = zmsg_last(message);
    cr_assert_eq(zframe_size(last), sizeof(wire) - 1);
    cr_assert_arr_eq(zframe_data(last), wire, sizeof(wire) - 1);
    zmsg_destroy(&message);
    drop_pair(&pair);
}

/* ---- sockets --------------------------------------------------------------------------------- */

static void exchange_with_context(void *from, void *to)
{
    DCTX_SCOPE("sender");
    cr_assert_eq(dctx_set(tenant_key, "acme"), DCTX_OK);
    dctx_snapshot_t *snapshot = exchange(from, to);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, tenant_key), "acme");
    dctx_snapshot_unref(&snapshot);
}

Test(stamp, over_each_transport_and_pattern, .init = init)
{
    static const char *const endpoints[] = {NULL, "tcp://127.0.0.1:*", "ipc://*"};
    static const int patterns[][2] = {
        {ZMQ_PAIR, ZMQ_PAIR}, {ZMQ_PUSH, ZMQ_PULL}, {ZMQ_REQ, ZMQ_REP}, {ZMQ_DEALER, ZMQ_DEALER}};
    for (size_t i = 0; i < 12; i++) {
        char endpoint[64];
        if (endpoints[i % 3] != NULL)
            snprintf(endpoint, sizeof(endpoint), "%s", endpoints[i % 3]);
        else /* closing is not at once: each its own name */
            snprintf(endpoint, sizeof(endpoint), "inproc://patterns-%zu", i);
        pair_t pair = make_pair(patterns[i / 3][0], patterns[i / 3][1], endpoint);
        exchange_with_context(pair.left, pair.right);
        if (patterns[i / 3][0] != ZMQ_PUSH)
            exchange_with_context(pair.right, pair.left);
        drop_pair(&pair);
    }
}

Test(stamp, routing_ids_and_topics_stay_in_front, .init = init)
{
    pair_t pair = make_pair(ZMQ_DEALER, ZMQ_ROUTER, "inproc://routing");
    zmsg_t *message = message_of("hello", NULL);
    dctx_snapshot_t *snapshot;
    DCTX_SCOPE("sender");
    cr_assert_eq(dctx_send(pair.left, &message), DCTX_OK);
    cr_assert_eq(dctx_recv(pair.right, &message, &snapshot), DCTX_OK);
    cr_assert_eq(zmsg_size(message), 2, "routing id and hello");
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    /* Back the same way, with the context that came. */
    cr_assert_eq(dctx_send_snapshot(pair.right, &message, snapshot), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(dctx_recv(pair.left, &message, &snapshot), DCTX_OK);
    cr_assert_eq(zmsg_size(message), 1);
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    drop_pair(&pair);

    /* XPUB, because it tells when the subscription is there. */
    pair = make_pair(ZMQ_SUB, ZMQ_XPUB, "inproc://topics");
    zsock_set_subscribe(pair.left, "prices");
    message = zmsg_recv(pair.right);
    zmsg_destroy(&message);
    message = message_of("weather", "rain");
    cr_assert_eq(dctx_send(pair.right, &message), DCTX_OK);
    message = message_of("prices", "42");
    cr_assert_eq(dctx_send(pair.right, &message), DCTX_OK);
    cr_assert_eq(dctx_recv(pair.left, &message, &snapshot), DCTX_OK);
    cr_assert(frame_is(zmsg_first(message), "prices"));
    cr_assert_eq(zmsg_size(message), 2);
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 1);
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    drop_pair(&pair);
}

static void echo_actor(zsock_t *pipe, void *arg)
{
    (void)arg;
    zsock_signal(pipe, 0);
    for (;;) {
        zmsg_t *message;
        dctx_snapshot_t *snapshot;
        if (dctx_recv(pipe, &message, &snapshot) != DCTX_OK)
            return;
        bool end = frame_is(zmsg_first(message), "$TERM");
        if (!end && dctx_send_snapshot(pipe, &message, snapshot) != DCTX_OK)
            end = true;
        dctx_snapshot_unref(&snapshot);
        zmsg_destroy(&message);
        if (end)
            return;
    }
}

Test(stamp, to_an_actor_and_to_a_raw_handle, .init = init)
{
    zactor_t *actor = zactor_new(echo_actor, NULL);
    cr_assert_not_null(actor);
    exchange_with_context(actor, actor);
    zactor_destroy(&actor);

    void *context = zmq_ctx_new();
    void *left = zmq_socket(context, ZMQ_PAIR), *right = zmq_socket(context, ZMQ_PAIR);
    cr_assert_eq(zmq_bind(right, "inproc://raw"), 0);
    cr_assert_eq(zmq_connect(left, "inproc://raw"), 0);
    exchange_with_context(left, right);
    zmq_close(left);
    zmq_close(right);
    zmq_ctx_term(context);
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

Test(stamp, a_stream_socket_is_refused, .init = init)
{
    zsock_t *stream = zsock_new(ZMQ_STREAM);
    zmsg_t *message = message_of("one", NULL), *received = NULL;
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(dctx_send(stream, &message), DCTX_ERR_INVALID);
    cr_assert_not_null(message);
    cr_assert_eq(dctx_recv(stream, &received, &snapshot), DCTX_ERR_INVALID);
    void *handle = zsock_resolve(stream);
    cr_assert_eq(dctx_send(handle, &message), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_recv(handle, &received, &snapshot), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_send(NULL, &message), DCTX_ERR_INVALID);
    zmsg_destroy(&message);
    cr_assert_eq(dctx_send(stream, &message), DCTX_ERR_INVALID, "no message");
    message = zmsg_new();
    cr_assert_eq(dctx_send(stream, &message), DCTX_ERR_INVALID, "no frames");
    zmsg_destroy(&message);
    zsock_destroy(&stream);
}

/* The message is still the caller's, as it was. */
static void check_kept(zmsg_t **message_p)
{
    cr_assert_not_null(*message_p);
    cr_assert_eq(zmsg_size(*message_p), 2);
    cr_assert_eq(zmsg_content_size(*message_p), 8);
    cr_assert(frame_is(zmsg_first(*message_p), "nobody"));
    cr_assert(frame_is(zmsg_next(*message_p), "hi"));
    zmsg_destroy(message_p);
}

Test(stamp, a_send_that_fails_leaves_the_message, .init = init)
{
    DCTX_SCOPE("sender");
    zsock_t *push = zsock_new(ZMQ_PUSH), *router = zsock_new(ZMQ_ROUTER),
            *pull = zsock_new(ZMQ_PULL);
    zsock_set_sndtimeo(push, 0);
    zmsg_t *message = message_of("nobody", "hi");
    cr_assert_eq(dctx_send(push, &message), DCTX_ERR_AGAIN);
    check_kept(&message);
    zsock_set_router_mandatory(router, 1);
    message = message_of("nobody", "hi");
    cr_assert_eq(dctx_send(router, &message), DCTX_ERR_UNREACHABLE);
    check_kept(&message);
    message = message_of("nobody", "hi");
    cr_assert_eq(dctx_send(pull, &message), DCTX_ERR_IO);
    check_kept(&message);
    /* A context that does not encode. */
    static char long_text[5000];
    memset(long_text, 'x', sizeof(long_text) - 1);
    cr_assert_eq(dctx_set(tenant_key, long_text), DCTX_OK);
    message = message_of("nobody", "hi");
    cr_assert_eq(dctx_send(push, &message), DCTX_ERR_LIMIT);
    check_kept(&message);
    zsock_set_rcvtimeo(pull, 0);
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(dctx_recv(pull, &message, &snapshot), DCTX_ERR_AGAIN);
    cr_assert_null(message);
    cr_assert_null(snapshot);
    zsock_destroy(&push);
    zsock_destroy(&router);
    zsock_destroy(&pull);
}

Test(stamp, a_refused_one_is_taken_off, .init = init)
{
    static const char *const forged[] = {"",
                                         "\xc1",
                                         "\x93\x01\x90",
                                         "\x93\x02\x90\x90",
                                         "\x93\x01\x90\xdd\xff\xff\xff\xff",
                                         "\x93\x01\x90\x90\x90"};
    pair_t pair = make_pair(ZMQ_PUSH, ZMQ_PULL, "inproc://refused");
    for (size_t i = 0; i < 6; i++) {
        char frame[64];
        int size = snprintf(frame, sizeof(frame), "%s%s", magic, forged[i]);
        zmsg_t *message = message_of("one", "two");
        zmsg_addmem(message, frame, (size_t)size);
        cr_assert_eq(zmsg_send(&message, pair.left), 0);
        dctx_snapshot_t *snapshot;
        cr_assert_eq(dctx_recv(pair.right, &message, &snapshot), DCTX_OK);
        cr_assert_eq(zmsg_size(message), 2);
        cr_assert(dctx_snapshot_is_empty(snapshot));
        dctx_snapshot_unref(&snapshot);
        zmsg_destroy(&message);
        cr_assert_eq(counters().stamps_refused, i + 1);
    }
    cr_assert_eq(counters().received_stamped + counters().received_unstamped, 0);
    drop_pair(&pair);
}

Test(stamp, content_that_looks_like_one_is_not_taken_for_one, .init = init)
{
    pair_t pair = make_pair(ZMQ_PUSH, ZMQ_PULL, "inproc://looks-like");
    for (int way = 0; way < 2; way++) {
        char content[64];
        int size = snprintf(content, sizeof(content),
                            "%s\x93\x01\x91\xa5"
                            "false\x90",
                            magic);
        zmsg_t *message = message_of("one", NULL);
        dctx_snapshot_t *snapshot;
        zmsg_addmem(message, content, (size_t)size);
        cr_assert_eq(way == 0 ? dctx_send(pair.left, &message)
                              : dctx_send_snapshot(pair.left, &message, NULL),
                     DCTX_OK);
        cr_assert_eq(dctx_recv(pair.right, &message, &snapshot), DCTX_OK);
        cr_assert(dctx_snapshot_is_empty(snapshot));
        cr_assert_eq(zmsg_size(message), 2);
        cr_assert_eq(zframe_size(zmsg_last(message)), (size_t)size);
        cr_assert_arr_eq(zframe_data(zmsg_last(message)), content, (size_t)size);
        dctx_snapshot_unref(&snapshot);
        zmsg_destroy(&message);
    }
    drop_pair(&pair);
}

/* ---- attaching ------------------------------------------------------------------------------- */

Test(stamp, receive_and_attach, .init = init)
{
    pair_t pair = make_pair(ZMQ_PUSH, ZMQ_PULL, "inproc://attach");
    char chain[64];
    dctx_scope_t scope;
    zmsg_t *message = message_of("one", NULL);
    DCTX_WITH_SCOPE("gateway") {
        cr_assert_eq(dctx_set(tenant_key, "acme"), DCTX_OK);
        cr_assert_eq(dctx_send(pair.left, &message), DCTX_OK);
    }
    cr_assert(dctx_is_empty());
    cr_assert_eq(dctx_recv_attach(pair.right, "worker", &message, &scope), DCTX_OK);
    cr_assert_str_eq(dctx_get(tenant_key), "acme");
    dctx_chain_format(chain, sizeof(chain));
    cr_assert_str_eq(chain, "gateway > worker");
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    cr_assert(dctx_is_empty());
    zmsg_destroy(&message);
    /* A name that is refused takes no message off the socket, and attaches nothing. */
    message = message_of("still there", NULL);
    cr_assert_eq(dctx_send(pair.left, &message), DCTX_OK);
    cr_assert_eq(dctx_recv_attach(pair.right, "two\nlines", &message, &scope), DCTX_ERR_INVALID);
    cr_assert(dctx_is_empty());
    cr_assert_eq(dctx_recv_attach(pair.right, NULL, &message, &scope), DCTX_OK);
    cr_assert(frame_is(zmsg_first(message), "still there"));
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    zmsg_destroy(&message);
    drop_pair(&pair);
}

Test(stamp, before_the_freeze_no_message_is_taken)
{
    zsock_t *pull = zsock_new(ZMQ_PULL);
    zmsg_t *message = NULL;
    dctx_snapshot_t *snapshot = NULL;
    zsock_set_rcvtimeo(pull, 0);
    cr_assert_eq(dctx_recv(pull, &message, &snapshot), DCTX_ERR_NOT_FROZEN);
    zsock_destroy(&pull);
}
