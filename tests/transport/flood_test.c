/*
 * One peer floods a socket with bad stamps, another sends good messages on the same socket: every good one
 * arrives with its context, and the library holds no more memory after than before.
 */
#include <criterion/criterion.h>

#include <malloc.h>
#include <stdlib.h>

#include <czmq.h>

#include <dcontext/transport.h>

#define ROUNDS 400
#define BAD    50 /* for each good one */

/* What the libraries hold. Only this test's thread allocates through it. */
static size_t held;

static void *counting_allocate(size_t size)
{
    void *block = malloc(size);
    held += block != NULL ? malloc_usable_size(block) : 0;
    return block;
}

static void counting_release(void *block)
{
    held -= block != NULL ? malloc_usable_size(block) : 0;
    free(block);
}

static const dctx_key_t *tenant;

static void send_bad(zsock_t *socket, int number)
{
    static const char *const kinds[] = {"", "\x93\x01\x90", "\x93\x02\x90\x90", "\xc1",
                                        "\x93\x01\x90\xdd\xff\xff\xff\xff"};
    char stamp[64];
    zmsg_t *message = zmsg_new();
    int size = snprintf(stamp, sizeof(stamp),
                        "\xd7"
                        "dctx\x01%s%d",
                        kinds[number % 5], number);
    zmsg_addstr(message, "bad");
    zmsg_addmem(message, stamp, (size_t)size);
    cr_assert_eq(zmsg_send(&message, socket), 0);
}

static void receive_round(zsock_t *pull, int *good)
{
    for (int i = 0; i < BAD + 1; i++) {
        zmsg_t *message;
        dctx_snapshot_t *snapshot;
        cr_assert_eq(dctx_recv(pull, &message, &snapshot), DCTX_OK, "%s", dctx_error_detail());
        bool is_good = zframe_streq(zmsg_first(message), "good");
        const char *value = dctx_snapshot_get(snapshot, tenant);
        cr_assert_eq(value != NULL, is_good);
        *good += is_good;
        dctx_snapshot_unref(&snapshot);
        zmsg_destroy(&message);
    }
}

Test(flood, of_bad_stamps_beside_good_ones)
{
    static const dctx_allocator_t counting = {counting_allocate, counting_release};
    const dctx_key_options_t options = {.name = "tenant", .type = DCTX_TYPE_STRING};
    dctx_set_allocator(&counting);
    cr_assert_eq(dctx_registry_add(NULL, &options, &tenant), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    zsock_t *pull = zsock_new(ZMQ_PULL), *friend = zsock_new(ZMQ_PUSH),
            *flooder = zsock_new(ZMQ_PUSH);
    zsock_set_rcvtimeo(pull, 10000);
    cr_assert_neq(zsock_bind(pull, "tcp://127.0.0.1:*"), -1);
    cr_assert_eq(zsock_connect(friend, "%s", zsock_endpoint(pull)), 0);
    cr_assert_eq(zsock_connect(flooder, "%s", zsock_endpoint(pull)), 0);
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
    int good = 0;
    size_t after_warm_up = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BAD; i++)
            send_bad(flooder, round * BAD + i);
        zmsg_t *message = zmsg_new();
        zmsg_addstr(message, "good");
        cr_assert_eq(dctx_send(friend, &message), DCTX_OK);
        receive_round(pull, &good);
        if (round == 10)
            after_warm_up = held;
    }
    cr_assert_eq(good, ROUNDS);
    cr_assert_eq(held, after_warm_up, "%zu bytes after warming up, %zu at the end", after_warm_up,
                 held);
    dctx_transport_counters_t counters;
    dctx_transport_counters_read(&counters);
    cr_assert_eq(counters.stamps_refused, ROUNDS * BAD);
    cr_assert_eq(counters.received_stamped, ROUNDS);
    zsock_destroy(&pull);
    zsock_destroy(&friend);
    zsock_destroy(&flooder);
}
