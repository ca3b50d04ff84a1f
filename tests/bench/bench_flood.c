/*
 * bench_flood.c - what a flood of bad stamps takes from a good peer on the same socket.
 *
 * A socket serves its peers in turn: a good peer gets a message through for each of the flood's, so
 * what it loses is what the receiving thread spends on those. Both send messages of 64 bytes with a
 * stamp; the flood's stamps are cut, of another version, or claim more than there is. The
 * receiver's own processor time is measured, for good messages alone and for good among as many
 * bad, in turns. `kept` is how much of its rate is left to a peer that wants half of what the
 * receiver can do; it is also how this flood compares to a second good peer as busy.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <czmq.h>

#include <dcontext/transport.h>

#include "bench.h"

enum { SLICE = 2000, ROUNDS = 61, QUICK_ROUNDS = 9, PAYLOAD = 64 };

static zsock_t *pull, *friend, *flooder;

static void send_good(void)
{
    static const char payload[PAYLOAD];
    dctx_frames_t frames;
    dctx_frames_init(&frames);
    BENCH_REQUIRE(dctx_frames_add(&frames, payload, sizeof(payload)) == DCTX_OK);
    BENCH_REQUIRE(dctx_frames_send(friend, &frames) == DCTX_OK);
    dctx_frames_finish(&frames);
}

static void send_bad(int number)
{
    static const char payload[PAYLOAD];
    static const char *const kinds[] = {"", "\x93\x01\x90", "\x93\x02\x90\x90", "\xc1",
                                        "\x93\x01\x90\xdd\xff\xff\xff\xff"};
    char stamp[64];
    int size = snprintf(stamp, sizeof(stamp),
                        "\xd7"
                        "dctx\x01%s%d",
                        kinds[number % 5], number);
    void *socket = zsock_resolve(flooder);
    BENCH_REQUIRE(zmq_send(socket, payload, sizeof(payload), ZMQ_SNDMORE) == PAYLOAD);
    BENCH_REQUIRE(zmq_send(socket, stamp, (size_t)size, 0) == size);
}

/* Takes `count` messages. Nanoseconds of this thread for each. */
static double take(int count)
{
    struct timespec began, ended;
    BENCH_REQUIRE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &began) == 0);
    dctx_frames_t frames;
    dctx_frames_init(&frames);
    for (int i = 0; i < count; i++) {
        dctx_snapshot_t *snapshot;
        BENCH_REQUIRE(dctx_frames_recv(zsock_resolve(pull), &frames, &snapshot) == DCTX_OK);
        dctx_snapshot_unref(&snapshot);
    }
    dctx_frames_finish(&frames);
    BENCH_REQUIRE(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended) == 0);
    return ((double)(ended.tv_sec - began.tv_sec) * 1e9 + (double)(ended.tv_nsec - began.tv_nsec)) /
           count;
}

static zsock_t *open_socket(int type)
{
    zsock_t *socket = zsock_new(type);
    BENCH_REQUIRE(socket != NULL);
    zsock_set_unbounded(socket);
    return socket;
}

int main(int argc, char **argv)
{
    static double alone[ROUNDS], beside[ROUNDS], kept[ROUNDS];
    const dctx_key_t *tenant;
    const dctx_key_options_t options = {.name = "tenant", .type = DCTX_TYPE_STRING};
    bench_init(argc, argv);
    size_t rounds = bench_is_quick() ? QUICK_ROUNDS : ROUNDS;
    if (!bench_wants("transport.flood.kept"))
        return bench_finish();
    BENCH_REQUIRE(dctx_registry_add(NULL, &options, &tenant) == DCTX_OK);
    BENCH_REQUIRE(dctx_registry_freeze(NULL) == DCTX_OK);
    pull = open_socket(ZMQ_PULL);
    friend = open_socket(ZMQ_PUSH);
    flooder = open_socket(ZMQ_PUSH);
    BENCH_REQUIRE(zsock_bind(pull, "tcp://127.0.0.1:*") != -1);
    BENCH_REQUIRE(zsock_connect(friend, "%s", zsock_endpoint(pull)) == 0);
    BENCH_REQUIRE(zsock_connect(flooder, "%s", zsock_endpoint(pull)) == 0);
    DCTX_SCOPE("gateway");
    BENCH_REQUIRE(dctx_set(tenant, "acme") == DCTX_OK);
    for (size_t round = 0; round < rounds; round++) {
        for (int i = 0; i < SLICE; i++)
            send_good();
        alone[round] = take(SLICE);
        for (int i = 0; i < SLICE / 2; i++) {
            send_good();
            send_bad(i);
        }
        beside[round] = take(SLICE);
        double left = alone[round] / beside[round]; /* of it half is the good peer's */
        kept[round] = left < 1 ? left : 1;
    }
    bench_print("transport.flood.alone", bench_median(alone, rounds), "ns");
    bench_print("transport.flood.beside", bench_median(beside, rounds), "ns");
    bench_print("transport.flood.kept", bench_median(kept, rounds), "ratio");
    zsock_destroy(&pull);
    zsock_destroy(&friend);
    zsock_destroy(&flooder);
    return bench_finish();
}
