/* What may leave and enter on a link, and how long a message may be. */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/transport.h>

#include "link_fixture.h"

static const dctx_key_t *colour, *desk;

static void init(void)
{
    const dctx_key_options_t any = {
        .name = "colour", .type = DCTX_TYPE_STRING, .reach = DCTX_REACH_ANY};
    const dctx_key_options_t host = {
        .name = "desk", .type = DCTX_TYPE_STRING, .reach = DCTX_REACH_HOST};
    cr_assert_eq(dctx_registry_add(NULL, &any, &colour), DCTX_OK);
    cr_assert_eq(dctx_registry_add(NULL, &host, &desk), DCTX_OK);
    fixture_init();
}

static dctx_policy_t *make(const dctx_policy_options_t *options)
{
    dctx_policy_t *policy;
    cr_assert_eq(dctx_policy_new(options, &policy), DCTX_OK, "%s", dctx_error_detail());
    return policy;
}

/* "colour tenant desk > chain" of what came, "-" for what did not. */
typedef struct seen {
    char text[256];
    size_t count;
    bool has_trace;
    dctx_trace_t trace;
    dctx_error_t rejected;
} seen_t;

static const char *or_dash(const char *text)
{
    return text != NULL ? text : "-";
}

static void look(const char *peer, const dctx_link_message_t *message, void *arg)
{
    seen_t *seen = arg;
    char chain[128];
    (void)peer;
    const dctx_key_t *tenant = dctx_registry_find(NULL, "tenant");
    dctx_snapshot_chain_format(message->snapshot, chain, sizeof(chain));
    snprintf(seen->text, sizeof(seen->text), "%s %s %s > %s",
             or_dash(dctx_snapshot_get(message->snapshot, colour)),
             or_dash(dctx_snapshot_get(message->snapshot, tenant)),
             or_dash(dctx_snapshot_get(message->snapshot, desk)), chain);
    const dctx_trace_t *trace =
        dctx_snapshot_get(message->snapshot, dctx_registry_find(NULL, DCTX_NAME_TRACE));
    seen->has_trace = trace != NULL;
    if (trace != NULL)
        seen->trace = *trace;
    seen->count++;
}

static void note_rejected(const char *peer, const dctx_link_message_t *message, dctx_error_t why,
                          void *arg)
{
    seen_t *seen = arg;
    look(peer, message, arg);
    seen->rejected = why;
}

typedef struct pair {
    dctx_link_t *from;
    dctx_link_t *to;
    seen_t seen; /* by `to` */
} pair_t;

static void drive(pair_t *pair)
{
    zmq_pollitem_t items[8];
    (void)dctx_link_process(pair->from, 0);
    (void)dctx_link_process(pair->to, 0);
    size_t count = dctx_link_poll_items(pair->from, items, 4);
    count += dctx_link_poll_items(pair->to, items + count, 4);
    (void)zmq_poll(items, (int)count, 5);
}

static void open_pair(pair_t *pair, dctx_policy_t *sends, dctx_policy_t *takes, bool rejects,
                      const char *endpoint)
{
    const char *dial;
    dctx_link_options_t options = {.node = "from", .policy = sends, .heartbeat_ms = 600000};
    cr_assert_eq(dctx_link_new(&options, &pair->from), DCTX_OK);
    options = (dctx_link_options_t){.node = "to",
                                    .policy = takes,
                                    .heartbeat_ms = 600000,
                                    .on_message = look,
                                    .on_rejected = rejects ? note_rejected : NULL,
                                    .arg = &pair->seen};
    cr_assert_eq(dctx_link_new(&options, &pair->to), DCTX_OK);
    cr_assert_eq(dctx_link_bind(pair->to, endpoint, &dial), DCTX_OK, "%s", dctx_error_detail());
    cr_assert_eq(dctx_link_connect(pair->from, "to", dial), DCTX_OK);
    int64_t until = zclock_mono() + 10000;
    while ((!dctx_link_peer_is_up(pair->from, "to") || !dctx_link_peer_is_up(pair->to, "from")) &&
           zclock_mono() < until)
        drive(pair);
    cr_assert(dctx_link_peer_is_up(pair->from, "to"));
}

static void close_pair(pair_t *pair)
{
    dctx_link_destroy(&pair->from);
    dctx_link_destroy(&pair->to);
}

static dctx_error_t send_current(pair_t *pair, dctx_link_kind_t kind)
{
    dctx_snapshot_t *snapshot;
    cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
    const dctx_link_message_t message = {.kind = kind,
                                         .correlation = kind == DCTX_LINK_TELL ? 0 : 7,
                                         .target = {"orders", 6},
                                         .payload = {"x", 1},
                                         .snapshot = snapshot};
    dctx_error_t error = dctx_link_send(pair->from, "to", &message);
    dctx_snapshot_unref(&snapshot);
    return error;
}

/* What came of the thread's context, sent three times: a stamp that repeats goes another way. */
static const char *exchange(pair_t *pair)
{
    int64_t until = zclock_mono() + 10000;
    size_t wanted = pair->seen.count + 3;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(send_current(pair, DCTX_LINK_TELL), DCTX_OK, "%s", dctx_error_detail());
    while (pair->seen.count < wanted && zclock_mono() < until)
        drive(pair);
    cr_assert_eq(pair->seen.count, wanted);
    return pair->seen.text;
}

static void set_all(void)
{
    cr_assert_eq(dctx_set(colour, "red"), DCTX_OK);
    cr_assert_eq(dctx_set(dctx_registry_find(NULL, "tenant"), "acme"), DCTX_OK);
    cr_assert_eq(dctx_set(desk, "7"), DCTX_OK);
}

Test(link_policy, the_class_says_what_leaves_and_enters, .init = init)
{
    static const char *const expected[DCTX_CLASSES] = {
        [DCTX_CLASS_AUTO] = "red acme 7 > gateway", /* it is on this host */
        [DCTX_CLASS_HOST] = "red acme 7 > gateway",
        [DCTX_CLASS_DOMAIN] = "red acme - > gateway",
        [DCTX_CLASS_STRANGER] = "red - - > "};
    DCTX_SCOPE("gateway");
    set_all();
    for (int peer = DCTX_CLASS_AUTO; peer < DCTX_CLASSES; peer++)
        for (int way = 0; way < 2; way++) {
            pair_t pair = {0};
            dctx_policy_t *policy = make(&(dctx_policy_options_t){.peer = (dctx_class_t)peer});
            open_pair(&pair, way == 0 ? policy : NULL, way == 0 ? NULL : policy, false,
                      "tcp://127.0.0.1:*");
            cr_assert_str_eq(exchange(&pair), expected[peer], "class %d way %d", peer, way);
            dctx_policy_counters_t read;
            dctx_policy_counters_read(policy, &read);
            size_t stripped = peer == DCTX_CLASS_STRANGER ? 2 : peer == DCTX_CLASS_DOMAIN ? 1 : 0;
            /* Three messages that leave; what enters is counted for each stamp. */
            if (way == 0)
                cr_assert_eq(read.stripped_leaving, 3 * stripped);
            else
                cr_assert_eq(read.stripped_entering > 0, stripped > 0);
            close_pair(&pair);
            dctx_policy_unref(&policy);
        }
}

/* An address of this machine that others can reach too; false: it has none. */
static bool find_address(char *ret, size_t size)
{
    struct ifaddrs *all = NULL;
    bool found = false;
    if (getifaddrs(&all) != 0)
        return false;
    for (const struct ifaddrs *each = all; each != NULL && !found; each = each->ifa_next) {
        if (each->ifa_addr == NULL || each->ifa_addr->sa_family != AF_INET)
            continue;
        char text[INET_ADDRSTRLEN];
        const struct sockaddr_in *address = (const void *)each->ifa_addr;
        inet_ntop(AF_INET, &address->sin_addr, text, sizeof(text));
        found = strncmp(text, "127.", 4) != 0;
        snprintf(ret, size, "tcp://%s:*", text);
    }
    freeifaddrs(all);
    return found;
}

Test(link_policy, without_a_policy_another_host_is_a_stranger, .init = init)
{
    char endpoint[64];
    if (!find_address(endpoint, sizeof(endpoint)))
        return;
    pair_t pair = {0};
    DCTX_SCOPE("gateway");
    set_all();
    open_pair(&pair, NULL, NULL, false, endpoint);
    cr_assert_str_eq(exchange(&pair), "red - - > ");
    close_pair(&pair);
}

Test(link_policy, lists_caps_and_claims, .init = init)
{
    static const char *const allowed[] = {"tenant", "dctx.*", NULL};
    pair_t pair = {0};
    dctx_policy_options_t options = {.peer = DCTX_CLASS_HOST};
    options.rules[DCTX_CLASS_HOST].leave.allow = allowed;
    options.rules[DCTX_CLASS_HOST].leave.chain_names = 2;
    options.rules[DCTX_CLASS_HOST].chain = DCTX_CLAIM_RESTART;
    options.rules[DCTX_CLASS_HOST].chain_name = "from-outside";
    options.rules[DCTX_CLASS_HOST].trace = DCTX_CLAIM_RESTART;
    dctx_policy_t *policy = make(&options);
    open_pair(&pair, policy, policy, false, "tcp://127.0.0.1:*");
    DCTX_SCOPE("gateway");
    set_all();
    cr_assert_eq(dctx_trace_begin(NULL), DCTX_OK);
    cr_assert_str_eq(exchange(&pair), "- acme - > from-outside");
    cr_assert(pair.seen.has_trace);
    dctx_trace_t first = pair.seen.trace;
    exchange(&pair);
    cr_assert_neq(memcmp(&first, &pair.seen.trace, sizeof(first)), 0, "each message's own");
    DCTX_WITH_SCOPE("second") {
        DCTX_SCOPE("third");
        cr_assert_eq(send_current(&pair, DCTX_LINK_TELL), DCTX_ERR_LIMIT);
    }
    close_pair(&pair);
    dctx_policy_unref(&policy);
}

Test(link_policy, a_context_in_error_can_be_rejected, .init = init)
{
    dctx_policy_options_t options = {.on_error = DCTX_ON_ERROR_REJECT};
    options.rules[DCTX_CLASS_HOST].stamp = DCTX_STAMP_REQUIRED;
    for (int rejects = 0; rejects < 2; rejects++) {
        pair_t pair = {0};
        dctx_policy_t *policy = make(&options);
        open_pair(&pair, NULL, policy, rejects != 0, "tcp://127.0.0.1:*");
        /* Without context; then with, which goes through. */
        cr_assert_eq(send_current(&pair, DCTX_LINK_ASK), DCTX_OK);
        DCTX_SCOPE("gateway");
        cr_assert_eq(send_current(&pair, DCTX_LINK_TELL), DCTX_OK);
        dctx_link_counters_t counters, theirs;
        int64_t until = zclock_mono() + 10000;
        do {
            drive(&pair);
            dctx_link_counters_read(pair.to, &counters);
            dctx_link_counters_read(pair.from, &theirs);
        } while ((counters.received < 1 || (rejects == 0 && theirs.received < 1)) &&
                 zclock_mono() < until);
        cr_assert_eq(counters.received, 1);
        cr_assert_eq(counters.rejected, 1);
        cr_assert_eq(theirs.received, (uint64_t)(rejects == 0), "an ask is answered all the same");
        cr_assert_eq(pair.seen.rejected, rejects != 0 ? DCTX_ERR_ABSENT : DCTX_OK);
        dctx_policy_counters_t read;
        dctx_policy_counters_read(policy, &read);
        cr_assert_eq(read.missing, 1);
        cr_assert_eq(read.rejected, 1);
        close_pair(&pair);
        dctx_policy_unref(&policy);
    }
}

/* ---- how long a message may be --------------------------------------------------------------- */

static char long_text[5000];

Test(link_policy, what_the_peer_does_not_take_is_refused_here, .init = fixture_init)
{
    node_t small = {0}, large = {0};
    const dctx_link_options_t limits = {.message_limit = 1000};
    memset(long_text, 'x', sizeof(long_text) - 1);
    node_open(&small, "small", "tcp://127.0.0.1:*", &limits);
    node_open(&large, "large", NULL, NULL);
    cr_assert_eq(dctx_link_connect(large.link, "small", small.endpoint), DCTX_OK);
    /* While its limit is not known it is held; and given back. */
    cr_assert_eq(tell(&large, "small", "orders", long_text, NULL), DCTX_OK);
    cr_assert_eq(tell(&large, "small", "orders", "short", NULL), DCTX_OK);
    node_t *both[] = {&small, &large, NULL};
    cr_assert(run_until(both, first_got, &(size_t){1}));
    node_t *other_way[] = {&large, &small, NULL};
    cr_assert(run_until(other_way, first_told, &(size_t){2}));
    cr_assert_eq(count_told(&large, TOLD_UNDELIVERED), 1);
    for (size_t i = 0; i < large.told_count; i++)
        if (large.told[i].what == TOLD_UNDELIVERED) {
            cr_assert_eq(large.told[i].code, DCTX_ERR_LIMIT);
            cr_assert_eq(large.told[i].payload_size, sizeof(long_text) - 1);
        }
    cr_assert_eq(tell(&large, "small", "orders", long_text, NULL), DCTX_ERR_LIMIT);
    cr_assert(strstr(dctx_error_detail(), "small takes, 1000") != NULL, "%s", dctx_error_detail());
    cr_assert_eq(tell(&large, "small", "orders", "short again", NULL), DCTX_OK);
    cr_assert(run_until(both, first_got, &(size_t){2}));
    cr_assert(dctx_link_peer_is_up(large.link, "small"), "the connection is the first one");
    cr_assert_eq(counters_of(&large).peers_up, 1);
    node_close(&small);
    node_close(&large);
}

static void dial_as_same(fake_t *fake, const char *endpoint)
{
    int none = 0;
    fake->socket = zmq_socket(zsys_init(), ZMQ_DEALER);
    zmq_setsockopt(fake->socket, ZMQ_LINGER, &none, sizeof(none));
    zmq_setsockopt(fake->socket, ZMQ_ROUTING_ID, "same", 4);
    cr_assert_eq(zmq_connect(fake->socket, endpoint), 0);
}

/* A routing id does not make a peer: that is over when its connection is. */
Test(link_policy, a_routing_id_is_not_inherited, .init = fixture_init)
{
    node_t node = {0};
    fake_t first, second;
    dctx_record_t record;
    char endpoint[128];
    node_open(&node, "node", "tcp://127.0.0.1:*", NULL);
    dial_as_same(&first, node.endpoint);
    fake_hello(&first, "peer", 1, "node", 10);
    cr_assert(fake_receive_record(&first, &node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_WELCOME);
    fake_close(&first);
    /* From another address of the same host. The ROUTER is deaf to it until it knows that the first
     * has gone. */
    snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.2:0;%s", node.endpoint + strlen("tcp://"));
    bool answered = false;
    int64_t until = zclock_mono() + 10000;
    while (!answered && zclock_mono() < until) {
        dial_as_same(&second, endpoint);
        fake_tell(&second, 1, "it is still me");
        zmq_pollitem_t item = {.socket = second.socket, .events = ZMQ_POLLIN};
        for (int i = 0; i < 20 && !answered; i++) {
            (void)dctx_link_process(node.link, 0);
            answered = zmq_poll(&item, 1, 5) == 1;
        }
        if (!answered)
            fake_close(&second);
    }
    cr_assert(answered);
    cr_assert(fake_receive_record(&second, &node, &record));
    cr_assert_eq(record.kind, DCTX_KIND_REFUSED);
    cr_assert_eq(node.messages, 0);
    cr_assert(!dctx_link_peer_is_up(node.link, "peer"));
    fake_close(&second);
    node_close(&node);
}
