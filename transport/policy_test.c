/* What may leave and enter on a socket. The class is the policy's, so that one process is enough.
 */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <czmq.h>

#include <dcontext/transport.h>

static const dctx_key_t *any, *domain, *host, *shop_a, *shop_b;

static const dctx_key_t *add(const char *name, dctx_reach_t reach)
{
    const dctx_key_t *key;
    const dctx_key_options_t options = {.name = name, .type = DCTX_TYPE_STRING, .reach = reach};
    cr_assert_eq(dctx_registry_add(NULL, &options, &key), DCTX_OK);
    return key;
}

static void init(void)
{
    any = add("any", DCTX_REACH_ANY);
    domain = add("domain", DCTX_REACH_DOMAIN);
    host = add("host", DCTX_REACH_HOST);
    shop_a = add("shop.a", DCTX_REACH_ANY);
    shop_b = add("Shop.B", DCTX_REACH_ANY);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

typedef struct line {
    zsock_t *left;
    zsock_t *right;
    dctx_port_t *from;
    dctx_port_t *to;
} line_t;

static dctx_policy_t *make(const dctx_policy_options_t *options)
{
    dctx_policy_t *policy;
    cr_assert_eq(dctx_policy_new(options, &policy), DCTX_OK, "%s", dctx_error_detail());
    return policy;
}

static line_t open_line(dctx_policy_t *sends, dctx_policy_t *receives)
{
    line_t line = {zsock_new(ZMQ_PUSH), zsock_new(ZMQ_PULL), NULL, NULL};
    zsock_set_rcvtimeo(line.right, 10000);
    static int number;
    cr_assert_neq(zsock_bind(line.right, "inproc://policy-%d", ++number), -1);
    cr_assert_eq(zsock_connect(line.left, "inproc://policy-%d", number), 0);
    cr_assert_eq(dctx_port_new(line.left, sends, &line.from), DCTX_OK);
    cr_assert_eq(dctx_port_new(line.right, receives, &line.to), DCTX_OK);
    return line;
}

static void close_line(line_t *line)
{
    dctx_port_destroy(&line->from);
    dctx_port_destroy(&line->to);
    zsock_destroy(&line->left);
    zsock_destroy(&line->right);
}

static dctx_policy_t *class_policy(dctx_class_t peer)
{
    return make(&(dctx_policy_options_t){.peer = peer});
}

static void set_all(void)
{
    cr_assert_eq(dctx_set(any, "1"), DCTX_OK);
    cr_assert_eq(dctx_set(domain, "2"), DCTX_OK);
    cr_assert_eq(dctx_set(host, "3"), DCTX_OK);
    cr_assert_eq(dctx_set(shop_a, "4"), DCTX_OK);
    cr_assert_eq(dctx_set(shop_b, "5"), DCTX_OK);
}

static zmsg_t *message_of(const char *text)
{
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, text);
    return message;
}

static dctx_error_t receive(line_t *line, dctx_snapshot_t **ret_snapshot)
{
    zmsg_t *message = NULL;
    dctx_error_t error = dctx_recv(line->to, &message, ret_snapshot);
    zmsg_destroy(&message);
    return error;
}

static dctx_snapshot_t *exchange(line_t *line)
{
    zmsg_t *message = message_of("hello");
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(dctx_send(line->from, &message), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(receive(line, &snapshot), DCTX_OK, "%s", dctx_error_detail());
    return snapshot;
}

/* Which of the five keys are there: "adhAB". */
static const char *present(const dctx_snapshot_t *snapshot)
{
    static char text[8];
    const dctx_key_t *keys[] = {any, domain, host, shop_a, shop_b};
    char *at = text;
    for (int i = 0; i < 5; i++)
        if (dctx_snapshot_get(snapshot, keys[i]) != NULL)
            *at++ = "adhAB"[i];
    *at = '\0';
    return text;
}

static dctx_policy_counters_t counters(const dctx_policy_t *policy)
{
    dctx_policy_counters_t read;
    dctx_policy_counters_read(policy, &read);
    return read;
}

typedef struct found {
    const char *key;
    dctx_strip_t reason;
    bool leaving;
    uint64_t count;
} found_t;

static void look(const char *key, dctx_strip_t reason, bool leaving, uint64_t count, void *arg)
{
    found_t *found = arg;
    if (strcmp(key, found->key) == 0 && reason == found->reason && leaving == found->leaving)
        found->count += count;
}

static uint64_t stripped(const dctx_policy_t *policy, const char *key, dctx_strip_t reason,
                         bool leaving)
{
    found_t found = {key, reason, leaving, 0};
    dctx_policy_stripped(policy, look, &found);
    return found.count;
}

/* ---- reach ----------------------------------------------------------------------------------- */

Test(policy, a_key_goes_as_far_as_its_reach, .init = init)
{
    static const struct {
        dctx_class_t peer;
        const char *keys;
    } cases[] = {
        {DCTX_CLASS_HOST, "adhAB"}, {DCTX_CLASS_DOMAIN, "adAB"}, {DCTX_CLASS_STRANGER, "aAB"}};
    dctx_policy_t *trusting = class_policy(DCTX_CLASS_HOST);
    set_all();
    for (int i = 0; i < 3; i++) {
        dctx_policy_t *policy = class_policy(cases[i].peer);
        for (int way = 0; way < 2; way++) {
            line_t line = open_line(way == 0 ? policy : trusting, way == 0 ? trusting : policy);
            for (int again = 0; again < 3; again++) {
                dctx_snapshot_t *snapshot = exchange(&line);
                cr_assert_str_eq(present(snapshot), cases[i].keys);
                dctx_snapshot_unref(&snapshot);
            }
            close_line(&line);
        }
        cr_assert_eq(stripped(policy, "host", DCTX_STRIP_REACH, true), i > 0 ? 3 : 0);
        cr_assert_eq(stripped(policy, "host", DCTX_STRIP_REACH, false), i > 0 ? 3 : 0);
        cr_assert_eq(counters(policy).stripped_leaving, (unsigned)i * 3);
        cr_assert_eq(counters(policy).stripped_entering, (unsigned)i * 3);
        dctx_policy_unref(&policy);
    }
    dctx_policy_unref(&trusting);
}

Test(policy, the_default_goes_by_the_endpoint, .init = init)
{
    zsock_t *socket = zsock_new(ZMQ_PUSH);
    cr_assert_neq(zsock_bind(socket, "tcp://127.0.0.1:*"), -1);
    cr_assert_eq(dctx_socket_class(socket), DCTX_CLASS_HOST);
    cr_assert_neq(zsock_bind(socket, "tcp://0.0.0.0:*"), -1);
    cr_assert_eq(dctx_socket_class(socket), DCTX_CLASS_STRANGER);
    zsock_destroy(&socket);
    static const struct {
        const char *endpoint;
        dctx_class_t peer;
    } cases[] = {{"tcp://localhost:9", DCTX_CLASS_HOST},
                 {"tcp://[::1]:9", DCTX_CLASS_HOST},
                 {"tcp://127.example.invalid:9", DCTX_CLASS_STRANGER},
                 {"inproc://not-bound-yet", DCTX_CLASS_HOST}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        socket = zsock_new(ZMQ_PUSH);
        cr_assert_eq(zsock_connect(socket, "%s", cases[i].endpoint), 0);
        cr_assert_eq(dctx_socket_class(socket), cases[i].peer, "%s", cases[i].endpoint);
        zsock_destroy(&socket);
    }
    cr_assert_eq(dctx_socket_class(NULL), DCTX_CLASS_AUTO);
    /* Encrypted for a server that was named is as good as named. */
    socket = zsock_new(ZMQ_DEALER);
    zcert_t *cert = zcert_new();
    zcert_apply(cert, socket);
    zsock_set_curve_serverkey(socket, zcert_public_txt(cert));
    cr_assert_eq(zsock_connect(socket, "tcp://192.0.2.1:9"), 0);
    cr_assert_eq(dctx_socket_class(socket), DCTX_CLASS_DOMAIN);
    zsock_destroy(&socket);
    /* A CURVE server whose clients nobody looks at. */
    socket = zsock_new(ZMQ_ROUTER);
    zcert_apply(cert, socket);
    zsock_set_curve_server(socket, 1);
    cr_assert_neq(zsock_bind(socket, "tcp://0.0.0.0:*"), -1);
    cr_assert_eq(dctx_socket_class(socket), DCTX_CLASS_STRANGER);
    zsock_destroy(&socket);
    socket = zsock_new(ZMQ_ROUTER);
    zsock_set_zap_domain(socket, "test");
    zcert_apply(cert, socket);
    zsock_set_curve_server(socket, 1);
    cr_assert_neq(zsock_bind(socket, "tcp://0.0.0.0:*"), -1);
    cr_assert_eq(dctx_socket_class(socket), DCTX_CLASS_STRANGER, "not enforced");
    int on = 1; /* czmq's own function for it does nothing where libzmq's drafts are off */
    cr_assert_eq(zmq_setsockopt(zsock_resolve(socket), 93, &on, sizeof(on)), 0);
    cr_assert_eq(dctx_socket_class(socket), DCTX_CLASS_DOMAIN);
    zsock_destroy(&socket);
    zcert_destroy(&cert);
}

/* A message may go to any of them, and to the least trusted. */
Test(policy, of_several_endpoints_the_least_trusted_counts, .init = init)
{
    zsock_t *socket = zsock_new(ZMQ_DEALER), *untouched = zsock_new(ZMQ_DEALER);
    void *raw = zmq_socket(zsys_init(), ZMQ_PUSH);
    dctx_port_t *port;
    void *sockets[3] = {socket, raw, NULL};
    zsock_t *ported = zsock_new(ZMQ_PUSH);
    cr_assert_eq(dctx_port_new(ported, NULL, &port), DCTX_OK);
    sockets[2] = port;
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(dctx_socket_bind(sockets[i], "tcp://127.0.0.1:*"), DCTX_OK);
        cr_assert_eq(dctx_socket_class(sockets[i]), DCTX_CLASS_HOST);
        cr_assert_eq(dctx_socket_connect(sockets[i], "tcp://192.0.2.1:9"), DCTX_OK);
        cr_assert_eq(dctx_socket_connect(sockets[i], "inproc://not-there"), DCTX_OK);
        cr_assert_eq(dctx_socket_class(sockets[i]), DCTX_CLASS_STRANGER);
        cr_assert_eq(dctx_socket_connect(sockets[i], NULL), DCTX_ERR_INVALID);
        cr_assert_eq(dctx_socket_connect(sockets[i], "nonsense"), DCTX_ERR_INVALID);
        cr_assert_eq(dctx_socket_bind(sockets[i], "tcp://192.0.2.1:9"), DCTX_ERR_IO);
        cr_assert_eq(dctx_socket_class(sockets[i]), DCTX_CLASS_STRANGER);
    }
    cr_assert_not_null(zsock_endpoint(socket), "czmq knows where it is bound");
    cr_assert_not_null(zsock_endpoint(ported));
    cr_assert_eq(dctx_socket_bind(NULL, "inproc://x"), DCTX_ERR_INVALID);
    /* One by czmq's own function before one by ours is not missed; nor is one that was there when
     * something was sent. */
    cr_assert_eq(zsock_connect(untouched, "tcp://192.0.2.1:9"), 0);
    cr_assert_eq(dctx_socket_connect(untouched, "inproc://not-there"), DCTX_OK);
    cr_assert_eq(dctx_socket_class(untouched), DCTX_CLASS_STRANGER);
    zsock_destroy(&untouched);
    untouched = zsock_new(ZMQ_DEALER);
    cr_assert_eq(dctx_socket_class(untouched), DCTX_CLASS_HOST, "the mark went with the socket");
    cr_assert_eq(zsock_connect(untouched, "tcp://192.0.2.1:9"), 0);
    zmsg_t *message = message_of("hello");
    set_all();
    cr_assert_eq(dctx_send(untouched, &message), DCTX_OK);
    cr_assert_eq(zsock_connect(untouched, "inproc://not-there"), 0);
    cr_assert_eq(dctx_socket_class(untouched), DCTX_CLASS_STRANGER);
    zsock_set_linger(untouched, 0);
    dctx_port_destroy(&port);
    zsock_destroy(&ported);
    zsock_destroy(&socket);
    zsock_destroy(&untouched);
    zmq_close(raw);
}

Test(policy, what_leaves_by_several_endpoints_is_fit_for_a_stranger, .init = init)
{
    zsock_t *push = zsock_new(ZMQ_PUSH), *pull = zsock_new(ZMQ_PULL);
    zsock_set_rcvtimeo(pull, 10000);
    /* Nobody is ever there: but somebody might have been. */
    zsock_set_immediate(push, 1);
    cr_assert_eq(dctx_socket_connect(push, "tcp://192.0.2.1:9"), DCTX_OK);
    cr_assert_neq(zsock_bind(pull, "inproc://beside-a-stranger"), -1);
    cr_assert_eq(dctx_socket_connect(push, "inproc://beside-a-stranger"), DCTX_OK);
    set_all();
    zmsg_t *message = message_of("hello");
    dctx_snapshot_t *snapshot;
    cr_assert_eq(dctx_send(push, &message), DCTX_OK);
    cr_assert_eq(dctx_recv(pull, &message, &snapshot), DCTX_OK);
    cr_assert_str_eq(present(snapshot), "aAB");
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    zsock_destroy(&push);
    zsock_destroy(&pull);
}

Test(policy, strangers_learn_only_what_may_go_anywhere, .init = init)
{
    zsock_t *push = zsock_new(ZMQ_PUSH), *pull = zsock_new(ZMQ_PULL);
    int port = zsock_bind(push, "tcp://0.0.0.0:*");
    cr_assert_neq(port, -1);
    cr_assert_eq(zsock_connect(pull, "tcp://127.0.0.1:%d", port), 0);
    zsock_set_rcvtimeo(pull, 10000);
    set_all();
    zmsg_t *message = message_of("hello");
    dctx_snapshot_t *snapshot;
    DCTX_SCOPE("internal-name");
    cr_assert_eq(dctx_send(push, &message), DCTX_OK);
    cr_assert_eq(dctx_recv(pull, &message, &snapshot), DCTX_OK);
    cr_assert_str_eq(present(snapshot), "aAB");
    cr_assert_eq(dctx_snapshot_chain_length(snapshot), 0);
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    zsock_destroy(&push);
    zsock_destroy(&pull);
}

/* ---- lists ----------------------------------------------------------------------------------- */

Test(policy, lists_allow_and_deny_with_prefixes, .init = init)
{
    static const char *const shop[] = {"SHOP.*", "domain", NULL};
    static const char *const not_b[] = {"shop.b", NULL};
    static const char *const none[] = {NULL};
    dctx_policy_options_t options = {.peer = DCTX_CLASS_DOMAIN};
    options.rules[DCTX_CLASS_DOMAIN].leave.allow = shop;
    options.rules[DCTX_CLASS_DOMAIN].enter.deny = not_b;
    dctx_policy_t *policy = make(&options);
    line_t line = open_line(policy, policy);
    set_all();
    dctx_snapshot_t *snapshot = exchange(&line);
    cr_assert_str_eq(present(snapshot), "dA");
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(stripped(policy, "any", DCTX_STRIP_LISTED, true), 1);
    cr_assert_eq(stripped(policy, "Shop.B", DCTX_STRIP_LISTED, false), 1);
    cr_assert_eq(stripped(policy, "host", DCTX_STRIP_REACH, true), 1);
    close_line(&line);
    dctx_policy_unref(&policy);
    options.rules[DCTX_CLASS_DOMAIN].leave.allow = none;
    policy = make(&options);
    line = open_line(policy, policy);
    snapshot = exchange(&line);
    cr_assert(dctx_snapshot_is_empty(snapshot));
    dctx_snapshot_unref(&snapshot);
    close_line(&line);
    dctx_policy_unref(&policy);
}

static const char passing[] = "\x93\x01\x90\x93\x93\xa3"
                              "any\x01\xc4\x02\xa1v\x93\xa5other\x01\xc4\x01\xc0\x93\xa7"
                              "x-trace\x01\xc4\x01\xc0";

Test(policy, entries_passing_through_have_lists_of_their_own, .init = init)
{
    static const char *const prefix[] = {"x-*", NULL};
    dctx_snapshot_t *snapshot, *received;
    cr_assert_eq(dctx_snapshot_decode(NULL, passing, sizeof(passing) - 1, &snapshot), DCTX_OK);
    for (int i = 0; i < 4; i++) {
        dctx_policy_options_t options = {.peer = i < 3 ? DCTX_CLASS_HOST : DCTX_CLASS_STRANGER};
        if (i == 1)
            options.rules[DCTX_CLASS_HOST].leave.pass_allow = prefix;
        if (i == 2)
            options.rules[DCTX_CLASS_HOST].enter.pass_deny = prefix;
        dctx_policy_t *policy = make(&options);
        line_t line = open_line(policy, policy);
        zmsg_t *message = message_of("hello");
        cr_assert_eq(dctx_send_snapshot(line.from, &message, snapshot), DCTX_OK);
        cr_assert_eq(receive(&line, &received), DCTX_OK);
        cr_assert_eq(dctx_snapshot_unknown_count(received), i == 0 ? 2 : i == 3 ? 0 : 1);
        cr_assert_str_eq(present(received), "a");
        cr_assert_eq(stripped(policy, "other", DCTX_STRIP_UNKNOWN, true), i == 1 || i == 3);
        cr_assert_eq(stripped(policy, "x-trace", DCTX_STRIP_UNKNOWN, false), i == 2);
        dctx_snapshot_unref(&received);
        close_line(&line);
        dctx_policy_unref(&policy);
    }
    dctx_snapshot_unref(&snapshot);
}

/* Names come from strangers: what is counted for each is bounded. */
Test(policy, strangers_cannot_fill_the_counters, .init = init)
{
    dctx_policy_t *policy = class_policy(DCTX_CLASS_STRANGER);
    line_t line = open_line(policy, policy);
    for (int i = 0; i < 1500; i++) {
        uint8_t stamp[64];
        char name[16];
        snprintf(name, sizeof(name), "made-up-%04d", i);
        int size = snprintf((char *)stamp, sizeof(stamp),
                            "\xd7"
                            "dctx\x01\x93\x01\x90\x91\x93\xac%s\x01\xc4\x01\xc0",
                            name);
        zmsg_t *message = message_of("hello");
        dctx_snapshot_t *snapshot;
        zmsg_addmem(message, stamp, (size_t)size);
        cr_assert_eq(zmsg_send(&message, line.left), 0);
        cr_assert_eq(receive(&line, &snapshot), DCTX_OK);
        cr_assert(dctx_snapshot_is_empty(snapshot));
        dctx_snapshot_unref(&snapshot);
    }
    cr_assert_eq(counters(policy).stripped_entering, 1500);
    cr_assert_eq(stripped(policy, "made-up-0000", DCTX_STRIP_UNKNOWN, false), 1);
    cr_assert_eq(stripped(policy, "", DCTX_STRIP_REACH, false), 1500 - 1024);
    close_line(&line);
    dctx_policy_unref(&policy);
}

/* ---- errors ---------------------------------------------------------------------------------- */

typedef struct letters {
    int count;
    dctx_error_t why;
    char detail[256];
    char content[32];
    zmsg_t *kept;
} letters_t;

static void on_dead(const dctx_dead_stamp_t *letter, void *arg)
{
    letters_t *letters = arg;
    letters->count++;
    letters->why = letter->why;
    cr_assert_eq(letter->peer, DCTX_CLASS_DOMAIN);
    cr_assert_str_eq(letter->address, "");
    snprintf(letters->detail, sizeof(letters->detail), "%s", letter->detail);
    cr_assert_eq(zmsg_size(*letter->message_p), 1, "the stamp is off");
    char *text = zframe_strdup(zmsg_first(*letter->message_p));
    snprintf(letters->content, sizeof(letters->content), "%s", text);
    free(text);
    letters->kept = *letter->message_p;
    *letter->message_p = NULL;
}

static void send_raw(line_t *line, const void *stamp, size_t size)
{
    zmsg_t *message = message_of("hello");
    if (size > 0)
        zmsg_addmem(message, stamp, size);
    cr_assert_eq(zmsg_send(&message, line->left), 0);
}

static const char good[] = "\xd7"
                           "dctx\x01\x93\x01\x91\xa1x\x91\x93\xa3"
                           "any\x01\xc4\x02\xa1v";
static const char cut[] = "\xd7"
                          "dctx\x01\x93\x01\x91\xa1x\x91\x93\xa3";

Test(policy, a_context_error_rejects_or_is_passed_over, .init = init)
{
    static const struct {
        dctx_stamp_rule_t rule;
        const char *stamp;
        size_t size;
        size_t cap, names;
        dctx_error_t why;
    } cases[] = {
        {DCTX_STAMP_REQUIRED, "", 0, 0, 0, DCTX_ERR_ABSENT},
        {DCTX_STAMP_FORBIDDEN, good, sizeof(good) - 1, 0, 0, DCTX_ERR_REJECTED},
        {DCTX_STAMP_OPTIONAL, cut, sizeof(cut) - 1, 0, 0, DCTX_ERR_MALFORMED},
        {DCTX_STAMP_OPTIONAL, good, sizeof(good) - 1, 8, 0, DCTX_ERR_LIMIT},
        {DCTX_STAMP_OPTIONAL,
         "\xd7"
         "dctx\x01\x93\x01\x92\xa1x\xa1y\x90",
         14, 0, 1, DCTX_ERR_LIMIT},
        {DCTX_STAMP_OPTIONAL,
         "\xd7"
         "dctx\x01\x93\x02\x90\x90",
         10, 0, 0, DCTX_ERR_VERSION},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (int on_error = 0; on_error < 2; on_error++)
            for (int frames_way = 0; frames_way < 2; frames_way++) {
                letters_t letters = {0};
                dctx_policy_options_t options = {.peer = DCTX_CLASS_DOMAIN,
                                                 .on_error = (dctx_on_error_t)on_error,
                                                 .dead_stamp = on_dead,
                                                 .arg = &letters};
                dctx_rules_t *rules = &options.rules[DCTX_CLASS_DOMAIN];
                rules->stamp = cases[i].rule;
                rules->enter.stamp_bytes = cases[i].cap;
                rules->enter.chain_names = cases[i].names;
                dctx_policy_t *policy = make(&options);
                line_t line = open_line(policy, policy);
                send_raw(&line, cases[i].stamp, cases[i].size);
                dctx_snapshot_t *snapshot = NULL;
                dctx_error_t error;
                if (frames_way) {
                    dctx_frames_t frames;
                    dctx_frames_init(&frames);
                    error = dctx_frames_recv(line.to, &frames, &snapshot);
                    cr_assert_eq(frames.count, on_error == 0 ? 1 : 0);
                    dctx_frames_finish(&frames);
                } else {
                    error = receive(&line, &snapshot);
                }
                cr_assert_eq(error, on_error == 0 ? DCTX_OK : DCTX_ERR_REJECTED);
                cr_assert_eq(letters.count, on_error);
                dctx_policy_counters_t read = counters(policy);
                cr_assert_eq(read.missing + read.forbidden + read.oversized + read.refused, 1);
                cr_assert_eq(read.rejected, (unsigned)on_error);
                if (on_error == 0) {
                    cr_assert(dctx_snapshot_is_empty(snapshot));
                } else {
                    cr_assert_eq(letters.why, cases[i].why, "case %zu: %s", i, letters.detail);
                    cr_assert_str_eq(letters.content, "hello");
                    cr_assert_str_neq(letters.detail, "");
                    zmsg_destroy(&letters.kept);
                }
                dctx_snapshot_unref(&snapshot);
                close_line(&line);
                dctx_policy_unref(&policy);
            }
}

Test(policy, without_a_callback_a_rejected_message_is_gone, .init = init)
{
    dctx_policy_options_t options = {.peer = DCTX_CLASS_HOST, .on_error = DCTX_ON_ERROR_REJECT};
    dctx_policy_t *policy = make(&options);
    line_t line = open_line(policy, policy);
    dctx_snapshot_t *snapshot = NULL;
    send_raw(&line, cut, sizeof(cut) - 1);
    send_raw(&line, good, sizeof(good) - 1);
    cr_assert_eq(receive(&line, &snapshot), DCTX_ERR_REJECTED);
    cr_assert_eq(receive(&line, &snapshot), DCTX_OK);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, any), "v");
    dctx_snapshot_unref(&snapshot);
    close_line(&line);
    dctx_policy_unref(&policy);
}

Test(policy, what_leaves_has_caps_too, .init = init)
{
    dctx_policy_options_t options = {.peer = DCTX_CLASS_HOST};
    options.rules[DCTX_CLASS_HOST].leave.stamp_bytes = 30;
    options.rules[DCTX_CLASS_HOST].leave.chain_names = 1;
    dctx_policy_t *policy = make(&options);
    line_t line = open_line(policy, policy);
    zmsg_t *message = message_of("hello");
    DCTX_WITH_SCOPE(NULL) {
        cr_assert_eq(dctx_set(any, "a value of more than thirty bytes"), DCTX_OK);
        cr_assert_eq(dctx_send(line.from, &message), DCTX_ERR_LIMIT);
        cr_assert_not_null(message);
    }
    DCTX_WITH_SCOPE("one") {
        DCTX_SCOPE("two");
        cr_assert_eq(dctx_send(line.from, &message), DCTX_ERR_LIMIT);
        cr_assert_not_null(message);
    }
    DCTX_WITH_SCOPE("one")
        cr_assert_eq(dctx_send(line.from, &message), DCTX_OK);
    close_line(&line);
    dctx_policy_unref(&policy);
}

/* ---- claims ---------------------------------------------------------------------------------- */

Test(policy, the_chain_is_believed_restarted_or_dropped, .init = init)
{
    static const struct {
        dctx_claim_rule_t rule;
        const char *chain;
    } cases[] = {{DCTX_CLAIM_DEFAULT, "gateway"},
                 {DCTX_CLAIM_BELIEVE, "gateway"},
                 {DCTX_CLAIM_RESTART, "edge"},
                 {DCTX_CLAIM_DROP, ""}};
    for (int i = 0; i < 4; i++) {
        char chain[64];
        dctx_policy_options_t options = {.peer = DCTX_CLASS_DOMAIN};
        options.rules[DCTX_CLASS_DOMAIN].chain = cases[i].rule;
        options.rules[DCTX_CLASS_DOMAIN].chain_name = "edge";
        dctx_policy_t *policy = make(&options);
        line_t line = open_line(NULL, policy);
        DCTX_SCOPE("gateway");
        cr_assert_eq(dctx_set(any, "1"), DCTX_OK);
        for (int again = 0; again < 2; again++) {
            dctx_snapshot_t *snapshot = exchange(&line);
            dctx_snapshot_chain_format(snapshot, chain, sizeof(chain));
            cr_assert_str_eq(chain, cases[i].chain);
            cr_assert_str_eq(present(snapshot), "a");
            dctx_snapshot_unref(&snapshot);
        }
        close_line(&line);
        dctx_policy_unref(&policy);
    }
}

Test(policy, trace_and_deadline_are_believed_restarted_or_dropped, .init = init)
{
    for (int rule = DCTX_CLAIM_DEFAULT; rule <= DCTX_CLAIM_DROP; rule++) {
        dctx_policy_options_t options = {.peer = DCTX_CLASS_DOMAIN};
        options.rules[DCTX_CLASS_DOMAIN].trace = (dctx_claim_rule_t)rule;
        options.rules[DCTX_CLASS_DOMAIN].deadline = (dctx_claim_rule_t)rule;
        options.rules[DCTX_CLASS_DOMAIN].timeout = INT64_C(5000000000);
        dctx_policy_t *policy = make(&options);
        line_t line = open_line(NULL, policy);
        DCTX_SCOPE("gateway");
        cr_assert_eq(dctx_trace_begin(NULL), DCTX_OK);
        cr_assert_eq(dctx_deadline_set_timeout(INT64_C(3600000000000)), DCTX_OK);
        cr_assert_eq(dctx_set(any, "1"), DCTX_OK);
        uint64_t ours = dctx_trace_get()->trace_low, last = 0;
        for (int again = 0; again < 2; again++) {
            dctx_snapshot_t *snapshot = exchange(&line);
            DCTX_ATTACH(snapshot);
            const dctx_trace_t *trace = dctx_trace_get();
            cr_assert_str_eq(present(snapshot), "a");
            if (rule <= DCTX_CLAIM_BELIEVE) {
                cr_assert_eq(trace->trace_low, ours);
                cr_assert_gt(dctx_deadline_left(), INT64_C(3000000000000));
            } else if (rule == DCTX_CLAIM_RESTART) {
                cr_assert(dctx_trace_is_valid(trace));
                cr_assert_neq(trace->trace_low, ours);
                cr_assert_neq(trace->trace_low, last, "each message has its own");
                last = trace->trace_low;
                cr_assert_leq(dctx_deadline_left(), INT64_C(5000000000));
            } else {
                cr_assert_null(trace);
                cr_assert_null(dctx_deadline_get());
            }
            dctx_snapshot_unref(&snapshot);
        }
        cr_assert_eq(stripped(policy, "dctx.trace", DCTX_STRIP_CLAIM, false),
                     rule >= DCTX_CLAIM_RESTART ? 2 : 0);
        close_line(&line);
        dctx_policy_unref(&policy);
    }
}

/* ---- making ---------------------------------------------------------------------------------- */

Test(policy, impossible_options_are_refused, .init = init)
{
    static const char *const bad[] = {"a*b", NULL}, *const empty[] = {"", NULL};
    dctx_policy_t *policy = NULL;
    dctx_policy_options_t options = {.peer = (dctx_class_t)9};
    cr_assert_eq(dctx_policy_new(&options, &policy), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_policy_new(NULL, &policy), DCTX_ERR_INVALID);
    options = (dctx_policy_options_t){.on_error = (dctx_on_error_t)2};
    cr_assert_eq(dctx_policy_new(&options, &policy), DCTX_ERR_INVALID);
    options = (dctx_policy_options_t){0};
    options.rules[DCTX_CLASS_STRANGER].leave.allow = bad;
    cr_assert_eq(dctx_policy_new(&options, &policy), DCTX_ERR_INVALID);
    options.rules[DCTX_CLASS_STRANGER].leave.allow = empty;
    cr_assert_eq(dctx_policy_new(&options, &policy), DCTX_ERR_INVALID);
    options = (dctx_policy_options_t){0};
    options.rules[DCTX_CLASS_HOST].chain = (dctx_claim_rule_t)7;
    cr_assert_eq(dctx_policy_new(&options, &policy), DCTX_ERR_INVALID);
    cr_assert_null(policy);
    dctx_policy_unref(&policy);
    dctx_policy_unref(NULL);
    dctx_port_t *port = NULL;
    cr_assert_eq(dctx_port_new(NULL, NULL, &port), DCTX_ERR_INVALID);
    zsock_t *stream = zsock_new(ZMQ_STREAM);
    cr_assert_eq(dctx_port_new(stream, NULL, &port), DCTX_ERR_INVALID);
    zsock_destroy(&stream);
    dctx_port_destroy(&port);
    dctx_port_destroy(NULL);
}

/* What is rejected is answered, or the socket would never take another. */
Test(policy, a_rep_takes_the_next_after_one_it_rejected, .init = init)
{
    dctx_policy_options_t options = {.on_error = DCTX_ON_ERROR_REJECT};
    options.rules[DCTX_CLASS_HOST].stamp = DCTX_STAMP_REQUIRED;
    dctx_policy_t *policy = make(&options);
    zsock_t *rep = zsock_new(ZMQ_REP), *req = zsock_new(ZMQ_REQ);
    dctx_port_t *port;
    zsock_set_rcvtimeo(rep, 10000);
    zsock_set_rcvtimeo(req, 10000);
    cr_assert_neq(zsock_bind(rep, "inproc://a-rep"), -1);
    cr_assert_eq(zsock_connect(req, "inproc://a-rep"), 0);
    cr_assert_eq(dctx_port_new(rep, policy, &port), DCTX_OK);
    for (int i = 0; i < 2; i++) {
        zmsg_t *message = message_of("without");
        dctx_snapshot_t *snapshot;
        cr_assert_eq(dctx_send(req, &message), DCTX_OK);
        cr_assert_eq(dctx_recv(port, &message, &snapshot), DCTX_ERR_REJECTED);
        message = zmsg_recv(req);
        cr_assert_not_null(message);
        cr_assert_eq(zmsg_content_size(message), 0);
        zmsg_destroy(&message);
    }
    set_all();
    zmsg_t *message = message_of("with");
    dctx_snapshot_t *snapshot;
    cr_assert_eq(dctx_send(req, &message), DCTX_OK);
    cr_assert_eq(dctx_recv(port, &message, &snapshot), DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    zmsg_destroy(&message);
    dctx_port_destroy(&port);
    dctx_policy_unref(&policy);
    zsock_destroy(&req);
    zsock_destroy(&rep);
}

static size_t allocations, fail_at;

static void *counting_allocate(size_t size)
{
    return ++allocations == fail_at ? NULL : malloc(size);
}

Test(policy, every_allocation_may_fail)
{
    static const dctx_allocator_t counting = {counting_allocate, free};
    static const char *const list[] = {"shop.*", "x", NULL};
    dctx_set_allocator(&counting);
    init();
    dctx_policy_options_t options = {.peer = DCTX_CLASS_STRANGER};
    options.rules[DCTX_CLASS_STRANGER].leave.allow = list;
    options.rules[DCTX_CLASS_STRANGER].enter.pass_deny = list;
    dctx_policy_t *policy = NULL;
    for (size_t nth = 1; policy == NULL; nth++) {
        allocations = 0;
        fail_at = nth;
        dctx_error_t error = dctx_policy_new(&options, &policy);
        cr_assert_eq(error, policy == NULL ? DCTX_ERR_NOMEM : DCTX_OK);
    }
    fail_at = 0;
    line_t line = open_line(policy, policy);
    set_all();
    for (size_t nth = 1, done = 0; !done; nth++) {
        zmsg_t *message = message_of("hello");
        dctx_snapshot_t *snapshot = NULL;
        fail_at = 0;
        cr_assert_eq(dctx_set(any, "changed, so that nothing is at hand"), DCTX_OK);
        allocations = 0;
        fail_at = nth;
        dctx_error_t error = dctx_send(line.from, &message);
        if (error == DCTX_OK) {
            error = receive(&line, &snapshot);
            if (error == DCTX_OK)
                done = allocations < nth;
            else
                done = 0;
        }
        fail_at = 0;
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
        dctx_snapshot_unref(&snapshot);
        if (message == NULL && error != DCTX_OK) {
            /* It was sent, and is still to be had. */
            cr_assert_eq(receive(&line, &snapshot), DCTX_OK);
            dctx_snapshot_unref(&snapshot);
        }
        zmsg_destroy(&message);
    }
    close_line(&line);
    dctx_policy_unref(&policy);
}
