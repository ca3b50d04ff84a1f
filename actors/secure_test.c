/* Nodes under CURVE and under policies: who is there, what may cross, and for how long. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include <dcontext/transport.h>

#include "fixture.h"

static char directory[64];
static zcert_t *house, *alice, *mallory;
static dctx_curve_t *curve;
static gate_t refused = GATE_INIT, down = GATE_INIT, dead = GATE_INIT;

static void admit(zcert_t *cert, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    cr_assert_eq(zcert_save_public(cert, path), 0);
}

static void set_up(void)
{
    cr_assert_eq(dctx_session_register(NULL), DCTX_OK);
    fixture_init();
    strcpy(directory, "/tmp/dctx-nodes-XXXXXX");
    cr_assert_not_null(mkdtemp(directory));
    house = zcert_new();
    alice = zcert_new();
    mallory = zcert_new();
    zcert_set_meta(alice, "node", "alice");
    zcert_set_meta(alice, "role", "clerk");
    admit(alice, "alice");
    cr_assert_eq(dctx_curve_new("shop", directory, &curve), DCTX_OK, "%s", dctx_error_detail());
}

static void tear_down(void)
{
    dctx_curve_destroy(&curve);
    zcert_destroy(&house);
    zcert_destroy(&alice);
    zcert_destroy(&mallory);
    zdir_t *dir = zdir_new(directory, NULL);
    zdir_remove(dir, true);
    zdir_destroy(&dir);
}

/* What the handler saw of who sent the message. */
typedef struct seen {
    gate_t gate;
    char upstream[64], key[48], role[16], tenant[32], chain[128];
} seen_t;

static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    seen_t *seen = state;
    (void)self;
    const dctx_session_t *session = dctx_security_session();
    const char *upstream = dctx_upstream_address();
    const char *role = dctx_peer_certificate_metadata("role");
    snprintf(seen->upstream, sizeof seen->upstream, "%s", upstream != NULL ? upstream : "");
    snprintf(seen->key, sizeof seen->key, "%s", session != NULL ? session->public_key : "");
    snprintf(seen->role, sizeof seen->role, "%s", role != NULL ? role : "");
    snprintf(seen->tenant, sizeof seen->tenant, "%s", tenant_get_or(""));
    snprintf(seen->chain, sizeof seen->chain, "%s", chain());
    dctx_error_t error = DCTX_OK;
    if (dctx_message_is_ask(message))
        error = dctx_reply(message, DCTX_TYPE_STRING, "done");
    gate_pass(&seen->gate);
    return error;
}

static void on_node(const char *node, dctx_node_event_t event, const char *reason, void *arg)
{
    (void)node;
    (void)reason;
    (void)arg;
    if (event == DCTX_NODE_REFUSED)
        gate_pass(&refused);
    if (event == DCTX_NODE_DOWN)
        gate_pass(&down);
}

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    (void)arg;
    if (letter->reason == DCTX_ERR_REJECTED)
        gate_pass(&dead);
}

static dctx_system_t *node(const char *name, dctx_system_options_t options)
{
    options.name = name;
    options.workers = 2;
    options.on_node = on_node;
    options.on_dead_letter = on_dead_letter;
    return start(&options);
}

static dctx_error_t ask(dctx_system_t *from, const char *whom)
{
    dctx_ref_t to;
    dctx_message_t *reply = NULL;
    cr_assert_eq(dctx_system_find(from, whom, &to), DCTX_OK);
    dctx_error_t error = dctx_ask_wait(to, DCTX_TYPE_STRING, "please", WAIT_MS, &reply);
    dctx_message_destroy(&reply);
    return error;
}

Test(secure, a_handler_knows_who_sent_it, .init = set_up, .fini = tear_down)
{
    seen_t at_house = {.gate = GATE_INIT}, at_alice = {.gate = GATE_INIT};
    char *endpoint;
    dctx_system_t *server =
        node("house", (dctx_system_options_t){.certificate = house, .curve = curve});
    dctx_system_t *client = node("alice", (dctx_system_options_t){.certificate = alice});
    (void)spawn(server, "stock", serve, &at_house);
    (void)spawn(client, "desk", serve, &at_alice);
    cr_assert_eq(dctx_system_bind(server, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(client, "house", endpoint), DCTX_ERR_INVALID, "without a key");
    cr_assert_eq(dctx_system_connect_curve(client, "house", endpoint, "short"), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_connect_curve(client, "house", endpoint, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_connect_curve(client, "house", endpoint, zcert_public_txt(house)),
                 DCTX_OK, "%s", dctx_error_detail());
    DCTX_WITH_SCOPE("gateway") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(ask(client, "stock@house"), DCTX_OK, "%s", dctx_error_detail());
    }
    /* Through the gate, as what a reply over the network comes after is not for memory to know. */
    cr_assert(gate_wait(&at_house.gate, 1));
    cr_assert_str_eq(at_house.upstream, "127.0.0.1");
    cr_assert_str_eq(at_house.key, zcert_public_txt(alice));
    cr_assert_str_eq(at_house.role, "clerk");
    cr_assert_str_eq(at_house.tenant, "acme");
    cr_assert_str_eq(at_house.chain, "gateway > remote:stock");
    /* Also of a message that brings no context, and the other way. */
    cr_assert_eq(ask(client, "stock@house"), DCTX_OK);
    cr_assert(gate_wait(&at_house.gate, 2));
    cr_assert_str_eq(at_house.key, zcert_public_txt(alice));
    cr_assert_str_eq(at_house.tenant, "");
    cr_assert_eq(ask(server, "desk@alice"), DCTX_OK);
    cr_assert(gate_wait(&at_alice.gate, 1));
    cr_assert_str_eq(at_alice.upstream, "127.0.0.1");
    cr_assert_str_eq(at_alice.key, zcert_public_txt(house));
    finish(&client);
    finish(&server);
    dctx_free(endpoint);
}

Test(secure, who_is_not_known_gets_nothing, .init = set_up, .fini = tear_down)
{
    seen_t seen = {.gate = GATE_INIT};
    char *endpoint;
    dctx_system_t *server =
        node("house", (dctx_system_options_t){.certificate = house, .curve = curve});
    dctx_system_t *unknown = node("unknown", (dctx_system_options_t){.certificate = mallory});
    dctx_system_t *plain = node("plain", (dctx_system_options_t){0});
    (void)spawn(server, "stock", serve, &seen);
    cr_assert_eq(dctx_system_bind(server, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect_curve(unknown, "house", endpoint, zcert_public_txt(house)),
                 DCTX_OK);
    cr_assert_eq(dctx_system_connect_curve(plain, "house", endpoint, zcert_public_txt(house)),
                 DCTX_ERR_INVALID, "it has no certificate");
    cr_assert(gate_wait(&refused, 1));
    long so_far = gate_count(&refused);
    cr_assert_eq(dctx_system_connect(plain, "house", endpoint), DCTX_OK);
    cr_assert(gate_wait(&refused, so_far + 2));
    cr_assert_eq(gate_count(&seen.gate), 0);
    /* It becomes known, without a restart. */
    admit(mallory, "mallory");
    cr_assert_eq(dctx_system_wait_node(unknown, "house", WAIT_MS), DCTX_OK);
    cr_assert_eq(ask(unknown, "stock@house"), DCTX_OK);
    cr_assert(gate_wait(&seen.gate, 1));
    cr_assert_str_eq(seen.key, zcert_public_txt(mallory));
    /* And is forgotten again. */
    char path[128];
    snprintf(path, sizeof path, "%s/mallory", directory);
    cr_assert_eq(unlink(path), 0);
    /* On both sides; one that was slow may have been down before, and have come back. */
    for (long downs = gate_count(&down); dctx_system_wait_node(unknown, "house", 0) == DCTX_OK ||
                                         dctx_system_wait_node(server, "unknown", 0) == DCTX_OK;
         downs++)
        cr_assert(gate_wait(&down, downs + 1));
    finish(&unknown);
    finish(&plain);
    finish(&server);
    dctx_free(endpoint);
}

Test(secure, a_policy_says_what_crosses, .init = set_up, .fini = tear_down)
{
    seen_t seen = {.gate = GATE_INIT};
    char *endpoint;
    dctx_policy_t *stranger, *strict;
    cr_assert_eq(dctx_policy_new(&(dctx_policy_options_t){.peer = DCTX_CLASS_STRANGER}, &stranger),
                 DCTX_OK);
    dctx_policy_options_t options = {.on_error = DCTX_ON_ERROR_REJECT};
    options.rules[DCTX_CLASS_HOST].stamp = DCTX_STAMP_REQUIRED;
    cr_assert_eq(dctx_policy_new(&options, &strict), DCTX_OK);
    dctx_system_t *server = node("house", (dctx_system_options_t){.policy = strict});
    dctx_system_t *open = node("open", (dctx_system_options_t){0});
    dctx_system_t *shy = node("shy", (dctx_system_options_t){.policy = stranger});
    dctx_policy_unref(&strict);
    dctx_policy_unref(&stranger);
    (void)spawn(server, "stock", serve, &seen);
    cr_assert_eq(dctx_system_bind(server, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(open, "house", endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(shy, "house", endpoint), DCTX_OK);
    DCTX_WITH_SCOPE("gateway") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(ask(open, "stock@house"), DCTX_OK);
        cr_assert(gate_wait(&seen.gate, 1));
        cr_assert_str_eq(seen.tenant, "acme");
        /* Nothing of it leaves; and without a stamp it is not taken. */
        cr_assert_eq(ask(shy, "stock@house"), DCTX_ERR_REJECTED);
    }
    cr_assert_eq(ask(open, "stock@house"), DCTX_ERR_REJECTED);
    cr_assert(gate_wait(&dead, 2));
    cr_assert_eq(gate_count(&seen.gate), 1);
    finish(&open);
    finish(&shy);
    finish(&server);
    dctx_free(endpoint);
}

Test(secure, what_cannot_be_is_refused, .init = set_up, .fini = tear_down)
{
    dctx_system_t *system = NULL;
    const dctx_system_options_t without = {.curve = curve};
    cr_assert_eq(dctx_system_new(&without, &system), DCTX_ERR_INVALID);
    system = node("half", (dctx_system_options_t){.certificate = alice});
    cr_assert_eq(dctx_system_bind(system, "tcp://127.0.0.1:*", NULL), DCTX_ERR_INVALID);
    finish(&system);
}
