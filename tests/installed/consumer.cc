/*
 * The same from C++. A user's program against the installed library: only what pkg-config says,
 * only public headers. Built once for each package, with CONSUME_CONTEXT, CONSUME_TRANSPORT or
 * CONSUME_ACTORS defined.
 */
#include <cstdio>
#include <cstring>

#include <dcontext/dcontext.h>
#ifdef CONSUME_TRANSPORT
#include <dcontext/transport.h>
#endif
#ifdef CONSUME_ACTORS
#include <dcontext/actors.h>
#endif

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s is false: %s\n", __FILE__, __LINE__, #condition,            \
                    dctx_error_detail());                                                          \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)
DCTX_KEY_INT64(budget_ms, "budget-ms", DCTX_LOCAL)

static int use_context()
{
    dctx_snapshot_t *snapshot = nullptr, *received = nullptr;
    dctx_bytes_t stamp;
    DCTX_SCOPE("consumer");
    REQUIRE(request_id_set("r-1") == DCTX_OK);
    REQUIRE(budget_ms_set(250) == DCTX_OK);
    REQUIRE(dctx_capture(&snapshot) == DCTX_OK);
    REQUIRE(dctx_snapshot_encode(snapshot, &stamp) == DCTX_OK);
    REQUIRE(dctx_snapshot_decode(nullptr, stamp.data, stamp.size, &received) == DCTX_OK);
    REQUIRE(request_id_unset() == DCTX_OK);
    REQUIRE(!request_id_contains());
    DCTX_WITH_SNAPSHOT(received) {
        char chain[64];
        REQUIRE(strcmp(request_id_get(), "r-1") == 0);
        REQUIRE(budget_ms_get_or(-1) == -1);
        dctx_chain_format(chain, sizeof chain);
        REQUIRE(strcmp(chain, "consumer") == 0);
    }
    dctx_snapshot_unref(&snapshot);
    dctx_snapshot_unref(&received);
    return 0;
}

#ifdef CONSUME_TRANSPORT
static int use_transport()
{
    zsock_t *in = zsock_new_pull("@inproc://consumer");
    zsock_t *out = zsock_new_push(">inproc://consumer");
    REQUIRE(in != nullptr && out != nullptr);
    DCTX_WITH_SCOPE("sender") {
        zmsg_t *message = zmsg_new();
        REQUIRE(message != nullptr && zmsg_addstr(message, "hello") == 0);
        REQUIRE(request_id_set("r-2") == DCTX_OK);
        REQUIRE(dctx_send(out, &message) == DCTX_OK);
    }
    zmsg_t *message = nullptr;
    dctx_scope_t scope;
    REQUIRE(dctx_recv_attach(in, "receiver", &message, &scope) == DCTX_OK);
    REQUIRE(zmsg_size(message) == 1);
    REQUIRE(request_id_contains() && strcmp(request_id_get(), "r-2") == 0);
    REQUIRE(dctx_scope_pop(&scope) == DCTX_OK);
    zmsg_destroy(&message);
    zsock_destroy(&out);
    zsock_destroy(&in);
    return 0;
}
#endif

#ifdef CONSUME_ACTORS
static dctx_error_t whose(dctx_actor_t *, const dctx_message_t *message, void *)
{
    return dctx_reply(message, DCTX_TYPE_STRING, request_id_get_or("nobody's"));
}

static int use_actors()
{
    dctx_system_t *system = nullptr;
    dctx_message_t *reply = nullptr;
    dctx_ref_t actor;
    dctx_system_options_t options = {};
    dctx_actor_options_t actor_options = {};
    options.workers = 1;
    actor_options.name = "whose";
    actor_options.handler = whose;
    REQUIRE(dctx_system_new(&options, &system) == DCTX_OK);
    REQUIRE(dctx_spawn(system, &actor_options, &actor) == DCTX_OK);
    DCTX_WITH_SCOPE("asker") {
        REQUIRE(request_id_set("r-3") == DCTX_OK);
        REQUIRE(dctx_ask_wait(actor, nullptr, nullptr, 10000, &reply) == DCTX_OK);
    }
    auto text = static_cast<const char *>(dctx_message_get(reply, DCTX_TYPE_STRING));
    REQUIRE(text != nullptr && strcmp(text, "r-3") == 0);
    dctx_message_destroy(&reply);
    dctx_system_destroy(&system);
    return 0;
}
#endif

int main()
{
    REQUIRE(DCTX_REGISTER_KEYS(nullptr, &request_id, &budget_ms) == DCTX_OK);
    REQUIRE(dctx_registry_freeze(nullptr) == DCTX_OK);
    int failed = use_context();
#ifdef CONSUME_TRANSPORT
    failed += use_transport();
#endif
#ifdef CONSUME_ACTORS
    failed += use_actors();
#endif
    return failed;
}
