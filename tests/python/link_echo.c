/*
 * A node for tests in other languages: it answers what it is asked and says what it saw. Ends when
 * its standard input does.
 *
 *     link_echo [heartbeat-ms [window [peer endpoint]]]
 *     link_echo curve DIRECTORY    under CURVE, for who is in the directory
 *
 * Prints the endpoint to dial; under CURVE the key that it proves to have, too. Asked as
 *     see       replies "CHAIN|TENANT|UNKNOWN ENTRIES|TEXT"
 *     back      tells the asker's "back" the same text, in the context of the ask; then replies
 *     many      tells the asker's "many" the text as often as the text says, in the context of
 *               the ask; no reply
 *     count     replies how many messages it was told
 *     who       replies the asker's key
 * and all else with the error "no actor". When a peer comes up that it dialled, it asks it "hello?"
 * for "world".
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/transport.h>

#define PEERS_MAX 32

static dctx_link_t *link_;
static const dctx_key_t *tenant_key;
static const char *dialled = "";
static uint64_t told;

static void must(dctx_error_t error, const char *what)
{
    if (error == DCTX_OK)
        return;
    fprintf(stderr, "link_echo: %s: %s: %s\n", what, dctx_strerror(error), dctx_error_detail());
    exit(1);
}

/* A string message, as its type encodes it: one msgpack str. */
static void send_text(const char *peer, dctx_link_kind_t kind, uint64_t correlation,
                      const char *target, const char *text, const dctx_snapshot_t *snapshot)
{
    dctx_writer_t *writer;
    must(dctx_writer_new(65536, &writer), "writer");
    dctx_write_cstr(writer, text);
    dctx_link_message_t message = {.kind = kind,
                                   .correlation = correlation,
                                   .target = {target, strlen(target)},
                                   .type = {"string", 6},
                                   .payload = dctx_writer_bytes(writer),
                                   .snapshot = snapshot};
    must(dctx_link_send(link_, peer, &message), "send");
    dctx_writer_destroy(&writer);
}

static void send_error(const char *peer, uint64_t correlation, dctx_error_t code,
                       const char *reason)
{
    dctx_link_message_t message = {.kind = DCTX_LINK_ERROR,
                                   .code = code,
                                   .correlation = correlation,
                                   .payload = {reason, strlen(reason)}};
    must(dctx_link_send(link_, peer, &message), "send");
}

static bool is_for(const dctx_link_message_t *message, const char *target)
{
    return message->target.size == strlen(target) &&
           memcmp(message->target.data, target, message->target.size) == 0;
}

static void read_text(const dctx_link_message_t *message, char *text, size_t size)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, message->payload.data, message->payload.size);
    dctx_bytes_t string = dctx_read_str(&reader);
    if (dctx_reader_end(&reader) == DCTX_OK)
        snprintf(text, size, "%.*s", (int)string.size, (const char *)string.data);
    else
        snprintf(text, size, "(no text)");
}

static void answer(const char *peer, const dctx_link_message_t *ask)
{
    char chain[512], text[1024], seen[2048];
    const char *tenant = dctx_snapshot_get(ask->snapshot, tenant_key);
    dctx_snapshot_chain_format(ask->snapshot, chain, sizeof(chain));
    read_text(ask, text, sizeof(text));
    snprintf(seen, sizeof(seen), "%s|%s|%zu|%s", chain, tenant != NULL ? tenant : "",
             dctx_snapshot_unknown_count(ask->snapshot), text);
    if (is_for(ask, "see")) {
        send_text(peer, DCTX_LINK_REPLY, ask->correlation, "", seen, NULL);
    } else if (is_for(ask, "back")) {
        send_text(peer, DCTX_LINK_TELL, 0, "back", text, ask->snapshot);
        send_text(peer, DCTX_LINK_REPLY, ask->correlation, "", seen, NULL);
    } else if (is_for(ask, "many")) {
        for (int i = atoi(text); i > 0; i--)
            send_text(peer, DCTX_LINK_TELL, 0, "many", text, ask->snapshot);
    } else if (is_for(ask, "count")) {
        snprintf(seen, sizeof(seen), "%" PRIu64, told);
        send_text(peer, DCTX_LINK_REPLY, ask->correlation, "", seen, NULL);
    } else if (is_for(ask, "who")) {
        const dctx_session_t *session = dctx_snapshot_security_session(ask->snapshot);
        send_text(peer, DCTX_LINK_REPLY, ask->correlation, "",
                  session != NULL ? session->public_key : "", NULL);
    } else {
        send_error(peer, ask->correlation, DCTX_ERR_NO_ACTOR, "nobody of that name");
    }
}

static void on_message(const char *peer, const dctx_link_message_t *message, void *arg)
{
    char text[1024];
    (void)arg;
    switch (message->kind) {
    case DCTX_LINK_ASK:
        answer(peer, message);
        break;
    case DCTX_LINK_TELL:
        told++;
        break;
    case DCTX_LINK_REPLY:
        read_text(message, text, sizeof(text));
        printf("reply %s\n", text);
        break;
    default:
        printf("kind %d code %d\n", (int)message->kind, (int)message->code);
        break;
    }
    fflush(stdout);
}

static void on_peer(const char *peer, dctx_peer_event_t event, const char *reason, void *arg)
{
    static const char *const words[] = {"?", "up", "down", "refused"};
    (void)arg;
    printf("%s %s%s%s\n", words[event], peer, reason[0] != '\0' ? ": " : "", reason);
    fflush(stdout);
    if (event == DCTX_PEER_UP && strcmp(peer, dialled) == 0) {
        dctx_scope_t scope;
        dctx_snapshot_t *snapshot;
        must(dctx_scope_push("link-echo", &scope), "scope");
        must(dctx_set(tenant_key, "acme"), "set");
        must(dctx_capture(&snapshot), "capture");
        must(dctx_scope_pop(&scope), "pop");
        send_text(peer, DCTX_LINK_ASK, 99, "world", "hello?", snapshot);
        dctx_snapshot_unref(&snapshot);
    }
}

int main(int argc, char **argv)
{
    const dctx_key_options_t tenant = {.name = "tenant", .type = DCTX_TYPE_STRING};
    dctx_link_options_t options = {.node = "echo", .on_message = on_message, .on_peer = on_peer};
    const char *endpoint;
    bool secured = argc > 2 && strcmp(argv[1], "curve") == 0;
    if (argc > 1 && !secured)
        options.heartbeat_ms = atol(argv[1]);
    if (argc > 2 && !secured)
        options.window = (uint32_t)atol(argv[2]);
    zsys_handler_set(NULL);
    must(dctx_registry_add(NULL, &tenant, &tenant_key), "register");
    if (secured) {
        options.heartbeat_ms = 60000;
        options.certificate = zcert_new();
        must(dctx_session_register(NULL), "register");
        must(dctx_curve_new("test", argv[2], &options.curve), "directory");
    }
    must(dctx_registry_freeze(NULL), "freeze");
    must(dctx_link_new(&options, &link_), "link");
    must(dctx_link_bind(link_, "tcp://127.0.0.1:*", &endpoint), "bind");
    printf("%s\n", endpoint);
    if (secured)
        printf("%s\n", zcert_public_txt(options.certificate));
    fflush(stdout);
    if (argc > 4) {
        dialled = argv[3];
        must(dctx_link_connect(link_, dialled, argv[4]), "connect");
    }
    for (;;) {
        zmq_pollitem_t items[1 + PEERS_MAX] = {{.fd = 0, .events = ZMQ_POLLIN}};
        size_t count = dctx_link_poll_items(link_, items + 1, PEERS_MAX);
        if (zmq_poll(items, (int)count + 1, dctx_link_timeout_ms(link_)) < 0 && errno != EINTR)
            break;
        if (items[0].revents != 0) /* the end shows as POLLIN or as POLLERR */
            break;
        (void)dctx_link_process(link_, 0);
    }
    dctx_link_destroy(&link_);
    dctx_curve_destroy(&options.curve);
    zcert_destroy(&options.certificate);
    return 0;
}
