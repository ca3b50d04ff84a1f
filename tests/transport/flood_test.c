/*
 * One peer floods a socket with bad stamps, another sends good messages on the same socket: every
 * good one arrives with its context, and the library holds no more memory after than before.
 */
#include <criterion/criterion.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/transport.h>

#if defined(__has_feature)
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define ROUNDS 400
#define BAD    50 /* for each good one */
#define SLACK  ((size_t)512 * 1024)
#define SLICES 20
#define SLICE  1000
#define LOAD   0.5 /* of what the receiver can do, that the good peer wants */

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

/* Takes `count` messages; returns how many of them were good. */
static int take(zsock_t *pull, int count)
{
    int good = 0;
    for (int i = 0; i < count; i++) {
        zmsg_t *message;
        dctx_snapshot_t *snapshot;
        cr_assert_eq(dctx_recv(pull, &message, &snapshot), DCTX_OK, "%s", dctx_error_detail());
        bool is_good = zframe_streq(zmsg_first(message), "good");
        const char *value = dctx_snapshot_get(snapshot, tenant);
        cr_assert_eq(value != NULL, is_good);
        good += is_good;
        dctx_snapshot_unref(&snapshot);
        zmsg_destroy(&message);
    }
    return good;
}

typedef struct peers {
    zsock_t *pull;
    zsock_t *friend;
    zsock_t *flooder;
} peers_t;

static peers_t open_peers(void)
{
    static const dctx_allocator_t counting = {counting_allocate, counting_release};
    const dctx_key_options_t options = {.name = "tenant", .type = DCTX_TYPE_STRING};
    dctx_set_allocator(&counting);
    cr_assert_eq(dctx_registry_add(NULL, &options, &tenant), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    peers_t peers = {zsock_new(ZMQ_PULL), zsock_new(ZMQ_PUSH), zsock_new(ZMQ_PUSH)};
    zsock_set_unbounded(peers.pull);
    zsock_set_unbounded(peers.friend);
    zsock_set_unbounded(peers.flooder);
    zsock_set_rcvtimeo(peers.pull, 10000);
    cr_assert_neq(zsock_bind(peers.pull, "tcp://127.0.0.1:*"), -1);
    cr_assert_eq(zsock_connect(peers.friend, "%s", zsock_endpoint(peers.pull)), 0);
    cr_assert_eq(zsock_connect(peers.flooder, "%s", zsock_endpoint(peers.pull)), 0);
    return peers;
}

static void close_peers(peers_t *peers)
{
    zsock_destroy(&peers->pull);
    zsock_destroy(&peers->friend);
    zsock_destroy(&peers->flooder);
}

static void send_good(zsock_t *socket)
{
    zmsg_t *message = zmsg_new();
    zmsg_addstr(message, "good");
    cr_assert_eq(dctx_send(socket, &message), DCTX_OK);
}

/* Bytes of this process in memory. Sanitizers keep what was freed, and are not asked. */
static size_t resident(void)
{
#if SANITIZED
    return 0;
#endif
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    cr_assert_not_null(file);
    cr_assert_eq(fscanf(file, "%*u %zu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

Test(flood, of_bad_stamps_beside_good_ones)
{
    peers_t peers = open_peers();
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
    int good = 0;
    size_t after_warm_up = 0, resident_then = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BAD; i++)
            send_bad(peers.flooder, round * BAD + i);
        send_good(peers.friend);
        good += take(peers.pull, BAD + 1);
        if (round == ROUNDS / 4) {
            after_warm_up = held;
            resident_then = resident();
        }
    }
    cr_assert_eq(good, ROUNDS);
    cr_assert_eq(held, after_warm_up, "%zu bytes after warming up, %zu at the end", after_warm_up,
                 held);
    /* 15,000 messages later. A byte kept of each would be less than the slack; the stamp of each,
     * much more. */
    size_t grown = resident() > resident_then ? resident() - resident_then : 0;
    cr_assert_lt(grown, SLACK, "the process grew by %zu bytes", grown);
    dctx_transport_counters_t counters;
    dctx_transport_counters_read(&counters);
    cr_assert_eq(counters.stamps_refused, ROUNDS * BAD);
    cr_assert_eq(counters.received_stamped, ROUNDS);
    close_peers(&peers);
}

/* ---- what the flood takes from the good one -------------------------------------------------- */

static int64_t own_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * A socket serves its peers in turn, so beside a flood a peer gets a message through for each of
 * the flood's: what it loses is what the receiver's thread spends on those. That is measured in the
 * thread's own processor time, which a busy machine does not take, in alternating slices, and the
 * best of each counts.
 */
Test(flood, takes_little_of_a_good_peers_rate)
{
    peers_t peers = open_peers();
    int64_t alone = INT64_MAX, beside = INT64_MAX;
    DCTX_SCOPE("gateway");
    cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
    for (int slice = 0; slice < SLICES; slice++) {
        for (int i = 0; i < SLICE; i++)
            send_good(peers.friend);
        int64_t began = own_cpu_ns();
        cr_assert_eq(take(peers.pull, SLICE), SLICE);
        int64_t spent = own_cpu_ns() - began;
        alone = spent < alone ? spent : alone;

        for (int i = 0; i < SLICE; i++) {
            send_good(peers.friend);
            send_bad(peers.flooder, i);
        }
        (void)take(peers.pull, SLICE / 4); /* both are there in number then */
        began = own_cpu_ns();
        (void)take(peers.pull, SLICE);
        spent = own_cpu_ns() - began;
        (void)take(peers.pull, SLICE - SLICE / 4);
        beside = spent < beside ? spent : beside;
    }
    /* In the same processor time: good ones alone, and good ones among as many bad. */
    double kept = 0.5 / (double)beside / (LOAD / (double)alone);
    /* What a sanitizer makes of either is its own affair;
     * under one it is enough that all arrived. */
    cr_assert_geq(kept, SANITIZED ? 0 : 0.8, "%.2f is left: %.0f ns a message alone, %.0f beside",
                  kept, (double)alone / SLICE, (double)beside / SLICE);
    close_peers(&peers);
}
