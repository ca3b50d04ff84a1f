/*
 * The receive path: a message of one or two frames, the last of which is the input, with magic
 * bytes in front or without, received under a strict policy and under the default one. What is
 * accepted must be sent on and received again.
 */
#include <stdint.h>
#include <stdlib.h>

#include <dcontext/transport.h>

static zsock_t *out, *in;
static dctx_port_t *strict;

static void set_up(void)
{
    static const char *const names[] = {"tenant", "shop.*", NULL};
    static const dctx_key_options_t keys[] = {
        {.name = "tenant", .type = DCTX_TYPE_STRING},
        {.name = "shop.count", .type = DCTX_TYPE_INT64, .reach = DCTX_REACH_ANY},
        {.name = "blob", .type = DCTX_TYPE_BYTES, .reach = DCTX_REACH_HOST}};
    dctx_policy_options_t options = {.peer = DCTX_CLASS_DOMAIN, .on_error = DCTX_ON_ERROR_REJECT};
    dctx_rules_t *rules = &options.rules[DCTX_CLASS_DOMAIN];
    rules->stamp = DCTX_STAMP_REQUIRED;
    rules->chain = DCTX_CLAIM_RESTART;
    rules->trace = DCTX_CLAIM_RESTART;
    rules->deadline = DCTX_CLAIM_DROP;
    rules->enter.allow = names;
    rules->enter.pass_deny = names;
    rules->enter.stamp_bytes = 512;
    rules->enter.chain_names = 3;
    dctx_policy_t *policy;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (dctx_registry_add(NULL, &keys[i], NULL) != DCTX_OK)
            abort();
    if (dctx_session_register(NULL) != DCTX_OK || dctx_registry_freeze(NULL) != DCTX_OK ||
        dctx_policy_new(&options, &policy) != DCTX_OK)
        abort();
    out = zsock_new_pair("@inproc://fuzz");
    in = zsock_new_pair(">inproc://fuzz");
    if (out == NULL || in == NULL || dctx_port_new(in, policy, &strict) != DCTX_OK)
        abort();
    dctx_policy_unref(&policy);
}

static void send_input(const uint8_t *data, size_t size, unsigned form)
{
    static const uint8_t magic[] = {0xd7, 'd', 'c', 't', 'x', 0x01};
    zmsg_t *message = zmsg_new();
    if (form & 1)
        zmsg_addstr(message, "content");
    zmsg_addmem(message, data, size);
    if (form & 2) {
        zframe_t *last = zmsg_last(message);
        uint8_t *stamp = malloc(sizeof(magic) + size);
        memcpy(stamp, magic, sizeof(magic));
        memcpy(stamp + sizeof(magic), data, size);
        zframe_reset(last, stamp, sizeof(magic) + size);
        free(stamp);
    }
    if (zmsg_send(&message, out) != 0)
        abort();
}

static void send_on(const dctx_snapshot_t *snapshot)
{
    zmsg_t *message = zmsg_new();
    dctx_snapshot_t *again;
    zmsg_addstr(message, "again");
    /* What one side accepts the other encodes, and takes back. */
    if (dctx_send_snapshot(out, &message, snapshot) != DCTX_OK ||
        dctx_recv(in, &message, &again) != DCTX_OK)
        abort();
    if (zmsg_size(message) != 1 ||
        dctx_snapshot_chain_length(again) != dctx_snapshot_chain_length(snapshot))
        abort();
    zmsg_destroy(&message);
    dctx_snapshot_unref(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (out == NULL)
        set_up();
    if (size == 0)
        return 0;
    unsigned form = data[0] & 3;
    for (int way = 0; way < 2; way++) {
        dctx_snapshot_t *snapshot = NULL;
        send_input(data + 1, size - 1, form);
        dctx_frames_t frames;
        dctx_frames_init(&frames);
        zmsg_t *message = NULL;
        dctx_error_t error = way == 0 ? dctx_recv(in, &message, &snapshot)
                                      : dctx_frames_recv(strict, &frames, &snapshot);
        if (error != DCTX_OK && error != DCTX_ERR_REJECTED)
            abort();
        if (error == DCTX_OK && way == 0)
            send_on(snapshot);
        dctx_snapshot_unref(&snapshot);
        zmsg_destroy(&message);
        dctx_frames_finish(&frames);
    }
    return 0;
}
