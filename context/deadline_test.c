/* Deadlines, in virtual time: between threads of one host, hosts of one clock, and hosts whose
 * clocks are apart. */
#include <sched.h>

#include "fixture.h"

#include <dcontext/internal.h>

#include "deadline.h"

#define MS     INT64_C(1000000)
#define SECOND INT64_C(1000000000)
#define EPOCH  (INT64_C(1700000000) * SECOND)

typedef struct host {
    int64_t wall, monotonic;
    uint8_t boot;
    dctx_registry_t *registry;
    dctx_snapshot_t *empty;
} host_t;

static int64_t wall(void *arg)
{
    return ((const host_t *)arg)->wall;
}

static int64_t monotonic(void *arg)
{
    return ((const host_t *)arg)->monotonic;
}

static host_t here = {.wall = EPOCH, .monotonic = 77 * SECOND, .boot = 1};
static host_t there = {.wall = EPOCH, .monotonic = 5 * SECOND, .boot = 2};
static host_t third = {.wall = EPOCH, .monotonic = 900 * SECOND, .boot = 3};

static void start(host_t *host)
{
    dctx_clocks_t clocks = {.wall = wall, .monotonic = monotonic, .arg = host};
    clocks.boot_id[5] = host->boot;
    OK(dctx_registry_new(&host->registry));
    OK(dctx_registry_set_clocks(host->registry, &clocks));
    OK(dctx_registry_freeze(host->registry));
    OK(dctx_snapshot_empty(host->registry, &host->empty));
}

static void start_hosts(void)
{
    start(&here);
    start(&there);
    start(&third);
}

static void stop(host_t *host)
{
    dctx_snapshot_unref(&host->empty);
    dctx_registry_destroy(&host->registry);
}

static void stop_hosts(void)
{
    stop(&here);
    stop(&there);
    stop(&third);
}

static void pass(int64_t time)
{
    host_t *const hosts[] = {&here, &there, &third};
    for (int i = 0; i < 3; i++) {
        hosts[i]->wall += time;
        hosts[i]->monotonic += time;
    }
}

/* A snapshot on a host with a deadline that much from now. */
static dctx_snapshot_t *with_timeout(host_t *host, int64_t timeout)
{
    dctx_snapshot_t *snapshot = NULL;
    DCTX_WITH_SNAPSHOT(host->empty) {
        OK(dctx_deadline_set_timeout(timeout));
        OK(dctx_capture(&snapshot));
    }
    return snapshot;
}

typedef struct message {
    uint8_t bytes[256];
    size_t size;
} message_t;

static message_t encode(const dctx_snapshot_t *snapshot)
{
    message_t message;
    dctx_bytes_t bytes;
    OK(dctx_snapshot_encode(snapshot, &bytes));
    cr_assert_leq(bytes.size, sizeof(message.bytes));
    message.size = bytes.size;
    memcpy(message.bytes, bytes.data, bytes.size);
    return message;
}

static dctx_snapshot_t *receive(host_t *host, const message_t *message)
{
    dctx_snapshot_t *snapshot = NULL;
    OK(dctx_snapshot_decode(host->registry, message->bytes, message->size, &snapshot));
    return snapshot;
}

static int64_t left(const dctx_snapshot_t *snapshot)
{
    return dctx_deadline_remaining(dctx_snapshot_deadline(snapshot),
                                   dctx_registry_clocks(dctx_snapshot_registry(snapshot)));
}

static uint64_t implausible(void)
{
    dctx_carrier_counters_t counters;
    dctx_carrier_counters_read(&counters);
    return counters.deadlines_implausible;
}

/* What is left after a hop that took `way`. */
static int64_t left_after(host_t *from, host_t *to, int64_t timeout, int64_t way)
{
    dctx_snapshot_t *sent = with_timeout(from, timeout);
    message_t message = encode(sent);
    pass(way);
    dctx_snapshot_t *received = receive(to, &message);
    int64_t result = left(received);
    cr_assert_eq(dctx_snapshot_expired(received), result <= 0);
    dctx_snapshot_unref(&sent);
    dctx_snapshot_unref(&received);
    return result;
}

/* ---- one host ---- */

Test(deadline, none_is_no_deadline, .init = start_hosts, .fini = stop_hosts)
{
    DCTX_WITH_SNAPSHOT(here.empty) {
        cr_assert_null(dctx_deadline_get());
        cr_assert_eq(dctx_deadline_left(), DCTX_NO_DEADLINE);
        cr_assert(!dctx_deadline_expired());
    }
    cr_assert_eq(left(here.empty), DCTX_NO_DEADLINE);
    cr_assert(!dctx_snapshot_expired(here.empty));
    cr_assert(!dctx_snapshot_expired(NULL));
    cr_assert_null(dctx_snapshot_deadline(NULL));
}

Test(deadline, a_timeout_runs_out, .init = start_hosts, .fini = stop_hosts)
{
    DCTX_WITH_SNAPSHOT(here.empty) {
        OK(dctx_deadline_set_timeout(100 * MS));
        cr_assert_eq(dctx_deadline_get()->timestamp, EPOCH);
        cr_assert_eq(dctx_deadline_get()->deadline, EPOCH + 100 * MS);
        pass(99 * MS);
        cr_assert_eq(dctx_deadline_left(), MS);
        cr_assert(!dctx_deadline_expired());
        pass(MS);
        cr_assert_eq(dctx_deadline_left(), 0);
        cr_assert(dctx_deadline_expired());
        pass(MS);
        cr_assert_eq(dctx_deadline_left(), -MS);
    }
}

Test(deadline, steps_of_the_wall_clock_do_not_matter_here, .init = start_hosts, .fini = stop_hosts)
{
    DCTX_WITH_SNAPSHOT(here.empty) {
        OK(dctx_deadline_set_timeout(100 * MS));
        here.wall -= 3600 * SECOND;
        cr_assert_eq(dctx_deadline_left(), 100 * MS);
        here.wall += 7200 * SECOND;
        cr_assert_eq(dctx_deadline_left(), 100 * MS);
    }
}

Test(deadline, is_never_extended, .init = start_hosts, .fini = stop_hosts)
{
    DCTX_WITH_SNAPSHOT(here.empty) {
        OK(dctx_deadline_set_timeout(100 * MS));
        pass(10 * MS);
        OK(dctx_deadline_set_timeout(SECOND));
        cr_assert_eq(dctx_deadline_left(), 90 * MS);
        cr_assert_eq(dctx_deadline_get()->timestamp, EPOCH + 10 * MS, "the later timestamp");
        cr_assert_eq(dctx_deadline_get()->deadline, EPOCH + 100 * MS);
        DCTX_WITH_SCOPE("inner") {
            OK(dctx_deadline_set_timeout(5 * MS));
            cr_assert_eq(dctx_deadline_left(), 5 * MS);
        }
        cr_assert_eq(dctx_deadline_left(), 90 * MS);
        OK(dctx_deadline_unset());
        cr_assert_eq(dctx_deadline_left(), DCTX_NO_DEADLINE);
        OK(dctx_deadline_unset());
        FAILS(dctx_deadline_set(NULL), DCTX_ERR_INVALID);
    }
}

Test(deadline, combining, .init = start_hosts, .fini = stop_hosts)
{
    const dctx_deadline_t a = {.timestamp = 10, .deadline = 200, .due = 20};
    const dctx_deadline_t b = {.timestamp = 15, .deadline = 300, .due = 30};
    dctx_deadline_t both = {.due = 99};
    cr_assert(!dctx_deadline_combine(NULL, NULL, &both));
    cr_assert_eq(both.due, 99);
    cr_assert(dctx_deadline_combine(&a, NULL, &both));
    cr_assert_eq(both.due, 20);
    cr_assert(dctx_deadline_combine(NULL, &b, &both));
    cr_assert_eq(both.due, 30);
    for (int turn = 0; turn < 2; turn++) {
        cr_assert(dctx_deadline_combine(turn ? &a : &b, turn ? &b : &a, &both));
        cr_assert_eq(both.timestamp, 15);
        cr_assert_eq(both.deadline, 200);
        cr_assert_eq(both.due, 20);
    }
    dctx_deadline_t aliased = b;
    cr_assert(dctx_deadline_combine(&a, &aliased, &aliased));
    cr_assert_eq(aliased.due, 20);
}

Test(deadline, extremes_saturate, .init = start_hosts, .fini = stop_hosts)
{
    const dctx_clocks_t *clocks = dctx_registry_clocks(here.registry);
    dctx_deadline_t deadline;
    dctx_deadline_after(clocks, INT64_MAX, &deadline);
    cr_assert_eq(deadline.due, INT64_MAX);
    cr_assert_gt(dctx_deadline_remaining(&deadline, clocks), 0);
    dctx_deadline_after(clocks, INT64_MIN, &deadline);
    cr_assert_lt(dctx_deadline_remaining(&deadline, clocks), 0);
    dctx_deadline_from_wall_(INT64_MIN, INT64_MAX, clocks, &deadline);
    cr_assert_lt(dctx_deadline_remaining(&deadline, clocks), INT64_MAX);
    dctx_deadline_from_wall_(INT64_MAX, INT64_MIN, clocks, &deadline);
    cr_assert_lt(dctx_deadline_remaining(&deadline, clocks), 0);
}

/* ---- one boot: by the monotonic clock, exactly ---- */

Test(deadline, on_one_boot_it_is_exact, .init = start_hosts, .fini = stop_hosts)
{
    there.boot = here.boot;
    stop(&there);
    start(&there);
    there.monotonic = here.monotonic;
    cr_assert_eq(left_after(&here, &there, SECOND, 300 * MS), 700 * MS);
    /* Whatever the wall clock says. */
    there.wall += 3600 * SECOND;
    cr_assert_eq(left_after(&here, &there, SECOND, 300 * MS), 700 * MS);
    cr_assert_eq(left_after(&here, &there, 600 * SECOND, 300 * SECOND), 300 * SECOND);
    cr_assert_eq(implausible(), 0);
    /* A peer that claims a later moment than what remained allows gets no more than that. */
    there.monotonic -= 50 * SECOND;
    cr_assert_eq(left_after(&here, &there, SECOND, 0), SECOND);
}

/* ---- two boots ---- */

Test(deadline, between_hosts_the_age_is_taken_off, .init = start_hosts, .fini = stop_hosts)
{
    /* Less 10 ms, by which the clocks may be apart. */
    cr_assert_eq(left_after(&here, &there, SECOND, 300 * MS), 710 * MS);
    cr_assert_eq(left_after(&here, &there, SECOND, 5 * MS), SECOND);
    cr_assert_eq(left_after(&here, &there, SECOND, 2 * SECOND), -990 * MS);
    cr_assert_eq(left_after(&here, &there, 300 * SECOND, 60 * SECOND), 240 * SECOND + 10 * MS);
    cr_assert_eq(implausible(), 0);
}

Test(deadline, skew_within_the_allowance_costs_nothing, .init = start_hosts, .fini = stop_hosts)
{
    for (int64_t skew = -10 * MS; skew <= 10 * MS; skew += 5 * MS) {
        there.wall = here.wall + skew;
        int64_t result = left_after(&here, &there, SECOND, 0);
        cr_assert_eq(result, SECOND, "skew %lld", (long long)skew);
    }
    cr_assert_eq(implausible(), 0);
}

Test(deadline, a_clock_that_is_ahead_takes_time_off, .init = start_hosts, .fini = stop_hosts)
{
    there.wall = here.wall + 500 * MS;
    cr_assert_eq(left_after(&here, &there, SECOND, 100 * MS), 410 * MS);
    cr_assert_eq(implausible(), 0);
}

Test(deadline, an_implausible_age_is_not_believed, .init = start_hosts, .fini = stop_hosts)
{
    /* The receiver is far ahead, or behind. */
    there.wall = here.wall + 3600 * SECOND;
    cr_assert_eq(left_after(&here, &there, SECOND, 100 * MS), SECOND);
    cr_assert_eq(implausible(), 1);
    there.wall = here.wall - 11 * MS;
    cr_assert_eq(left_after(&here, &there, SECOND, 0), SECOND);
    cr_assert_eq(implausible(), 2);
    there.wall = here.wall - 3600 * SECOND;
    cr_assert_eq(left_after(&here, &there, SECOND, 100 * MS), SECOND);
    cr_assert_eq(implausible(), 3);
}

Test(deadline, more_never_comes_out_than_went_in, .init = start_hosts, .fini = stop_hosts)
{
    uint64_t state = 7;
    for (int i = 0; i < 2000; i++) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        int64_t skew = (int64_t)(state >> 20) % (200 * SECOND);
        int64_t timeout = (int64_t)(state >> 8 & 0xffffffff);
        int64_t way = (int64_t)(state >> 40) * 100;
        there.wall = here.wall + skew;
        cr_assert_leq(left_after(&here, &there, timeout, way), timeout);
    }
}

Test(deadline, where_it_is_set_it_is_kept_over_a_stop_and_three_hops, .init = start_hosts,
     .fini = stop_hosts)
{
    /* Clocks that are seconds apart, so that what the last hop sees must not depend on the
     * first's. */
    there.wall -= 3 * SECOND;
    third.wall -= 90 * SECOND;
    dctx_snapshot_t *first = with_timeout(&here, 10 * SECOND);
    message_t message = encode(first);
    pass(SECOND);
    dctx_snapshot_t *second = receive(&there, &message);
    cr_assert_eq(left(second), 10 * SECOND, "3 s behind: implausible");
    /* It lies in a queue there, unread. */
    pass(4 * SECOND);
    cr_assert_eq(left(second), 6 * SECOND);
    message = encode(second);
    dctx_snapshot_t *last = receive(&third, &message);
    cr_assert_eq(left(last), 6 * SECOND, "not ten again");
    dctx_snapshot_unref(&first);
    dctx_snapshot_unref(&second);
    dctx_snapshot_unref(&last);
}

Test(deadline, it_counts_from_its_arrival_not_from_its_first_reading, .init = start_hosts,
     .fini = stop_hosts)
{
    there.wall = here.wall - 3600 * SECOND;
    dctx_snapshot_t *sent = with_timeout(&here, SECOND);
    message_t message = encode(sent);
    dctx_snapshot_t *received = receive(&there, &message);
    pass(600 * MS);
    cr_assert_eq(left(received), 400 * MS);
    pass(400 * MS);
    cr_assert(dctx_snapshot_expired(received));
    dctx_snapshot_unref(&sent);
    dctx_snapshot_unref(&received);
}

/* ---- the wire form, over time ---- */

Test(deadline, a_wire_form_is_kept_while_it_is_fresh, .init = start_hosts, .fini = stop_hosts)
{
    dctx_bytes_t first, second, third_form;
    dctx_snapshot_t *sent = with_timeout(&here, 600 * SECOND);
    OK(dctx_snapshot_encode(sent, &first));
    pass(19 * SECOND);
    OK(dctx_snapshot_encode(sent, &second));
    cr_assert_eq(first.data, second.data);
    message_t message = encode(sent);
    dctx_snapshot_t *received = receive(&there, &message);
    cr_assert_eq(left(received), 581 * SECOND + 10 * MS, "although it is 19 s old");
    dctx_snapshot_unref(&received);
    pass(SECOND);
    OK(dctx_snapshot_encode(sent, &third_form));
    cr_assert_neq(first.data, third_form.data);
    cr_assert_eq(first.size, third_form.size);
    cr_assert_arr_eq(first.data, message.bytes, first.size, "the old one is still there");
    dctx_snapshot_unref(&sent);
}

Test(deadline, held_for_minutes_it_is_still_right, .init = start_hosts, .fini = stop_hosts)
{
    dctx_snapshot_t *sent = with_timeout(&here, 600 * SECOND);
    (void)encode(sent);
    for (int64_t minute = 1; minute < 10; minute++) {
        pass(60 * SECOND);
        message_t message = encode(sent);
        dctx_snapshot_t *received = receive(&there, &message);
        cr_assert_eq(left(received), (600 - 60 * minute) * SECOND);
        dctx_snapshot_unref(&received);
    }
    pass(60 * SECOND);
    message_t message = encode(sent);
    dctx_snapshot_t *received = receive(&there, &message);
    cr_assert_leq(left(received), 0);
    dctx_snapshot_unref(&received);
    dctx_snapshot_unref(&sent);
    cr_assert_eq(implausible(), 0);
}

Test(deadline, one_that_passed_is_encoded_once, .init = start_hosts, .fini = stop_hosts)
{
    dctx_bytes_t first, second;
    dctx_snapshot_t *sent = with_timeout(&here, -SECOND);
    OK(dctx_snapshot_encode(sent, &first));
    pass(3600 * SECOND);
    OK(dctx_snapshot_encode(sent, &second));
    cr_assert_eq(first.data, second.data);
    dctx_snapshot_unref(&sent);
}

/* ---- malformed ---- */

/* The entry's bin begins behind array, chain, array, entry, name, version: see docs/wire.md. */
static size_t body_at(const message_t *message)
{
    for (size_t i = 0; i + 3 < message->size; i++)
        if (message->bytes[i] == 0xc4 && message->bytes[i + 1] == DCTX_DEADLINE_ENCODED)
            return i + 2;
    cr_assert_fail("no deadline in the wire form");
    return 0;
}

Test(deadline, a_malformed_one_is_absent_and_travels_on, .init = start_hosts, .fini = stop_hosts)
{
    dctx_snapshot_t *sent = with_timeout(&here, SECOND);
    const message_t good = encode(sent);
    size_t at = body_at(&good);
    dctx_snapshot_unref(&sent);
    static const struct {
        size_t offset;
        uint8_t byte;
    } bad[] = {
        {0, 0x94},          /* four elements, and one over */
        {1, 0xcb},          /* a double */
        {2, 0x80},          /* a negative remainder */
        {1 + 18 + 1, 0xff}, /* set after it was sent */
        {1 + 27 + 1, 15},   /* a boot id of 15 bytes */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        message_t message = good;
        message.bytes[at + bad[i].offset] = bad[i].byte;
        dctx_snapshot_t *received = receive(&there, &message);
        cr_assert_null(dctx_snapshot_deadline(received), "%zu", i);
        cr_assert(!dctx_snapshot_expired(received));
        message_t again = encode(received);
        cr_assert_eq(again.size, message.size);
        cr_assert_arr_eq(again.bytes, message.bytes, message.size);
        dctx_snapshot_unref(&received);
    }
}

Test(deadline, extreme_ones_do_no_harm, .init = start_hosts, .fini = stop_hosts)
{
    dctx_snapshot_t *sent = with_timeout(&here, SECOND);
    message_t message = encode(sent);
    size_t at = body_at(&message);
    dctx_snapshot_unref(&sent);
    static const uint8_t values[] = {0x00, 0x7f, 0x80, 0xff};
    for (unsigned i = 0; i < 256; i++) {
        static const size_t ints[] = {1, 10, 19, 46};
        for (int field = 0; field < 4; field++)
            memset(message.bytes + at + ints[field] + 1, values[i >> (2 * field) & 3], 8);
        dctx_snapshot_t *received = receive(&there, &message);
        if (dctx_snapshot_deadline(received) != NULL) {
            (void)left(received);
            message_t again = encode(received);
            cr_assert_eq(again.size, message.size);
        }
        dctx_snapshot_unref(&received);
    }
}

/* ---- the system's clocks ---- */

static int64_t due_of(const dctx_snapshot_t *snapshot)
{
    return ((const dctx_snapshot_due_t *)(const void *)snapshot)->ns;
}

/* Who asks first need not look for it, where it is known when the snapshot is made. */
Test(deadline, a_snapshot_knows_when_it_is_due)
{
    dctx_snapshot_t *made = NULL, *forked = NULL, *decoded = NULL;
    dctx_bytes_t bytes;
    const dctx_key_t *key = add_to(NULL, "local", DCTX_TYPE_STRING, DCTX_LOCAL);
    OK(dctx_registry_freeze(NULL));
    OK(dctx_set(key, "x"));
    OK(dctx_fork(&made));
    cr_assert_eq(due_of(made), INT64_MAX, "it has none");
    dctx_snapshot_unref(&made);
    OK(dctx_deadline_set_timeout(3600 * SECOND));
    int64_t due = dctx_deadline_get()->due;
    OK(dctx_fork(&forked));
    OK(dctx_snapshot_broadcast(forked, &made));
    cr_assert_eq(due_of(forked), due);
    cr_assert_eq(due_of(made), due);
    OK(dctx_snapshot_encode(made, &bytes));
    OK(dctx_snapshot_decode(NULL, bytes.data, bytes.size, &decoded));
    cr_assert_eq(due_of(decoded), dctx_snapshot_deadline(decoded)->due);
    dctx_snapshot_unref(&decoded);
    dctx_snapshot_unref(&made);
    dctx_snapshot_unref(&forked);
    /* A cancel scope is asked every time. */
    dctx_cancel_t *cancel = NULL;
    OK(dctx_cancel_new(&cancel));
    DCTX_WITH_SCOPE(NULL) {
        OK(dctx_cancel_enter(cancel));
        OK(dctx_fork(&forked));
        OK(dctx_capture(&made));
        cr_assert_eq(due_of(forked), 0);
        cr_assert_eq(due_of(made), due);
    }
    dctx_cancel_unref(&cancel);
    dctx_snapshot_unref(&made);
    dctx_snapshot_unref(&forked);
    /* And so is a clock that is not the system's. */
    start_hosts();
    DCTX_WITH_SNAPSHOT(here.empty) {
        OK(dctx_deadline_set_timeout(SECOND));
        OK(dctx_fork(&forked));
        cr_assert_eq(due_of(forked), 0);
        here.monotonic += SECOND;
        cr_assert(dctx_snapshot_expired_(forked));
    }
    dctx_snapshot_unref(&forked);
    stop_hosts();
}

Test(deadline, by_the_coarse_clock, .timeout = 30)
{
    dctx_snapshot_t *late = NULL, *early = NULL;
    OK(dctx_registry_freeze(NULL));
    for (int started = 0; started < 2; started++) {
        if (started)
            OK(dctx_coarse_clock_start());
        DCTX_WITH_SCOPE(NULL) {
            OK(dctx_deadline_set_timeout(3600 * SECOND));
            OK(dctx_capture(&late));
        }
        DCTX_WITH_SCOPE(NULL) {
            OK(dctx_deadline_set_timeout(0));
            OK(dctx_capture(&early));
        }
        cr_assert(!dctx_snapshot_expired(late));
        /* The ticker may be kept from a busy machine's cores for a while;
         * the test's time limit bounds this. */
        while (!dctx_snapshot_expired(early)) {
            cr_assert(started, "the precise clock is right at once");
            sched_yield();
        }
        dctx_snapshot_unref(&late);
        dctx_snapshot_unref(&early);
    }
    dctx_coarse_clock_stop();
}

Test(deadline, before_the_freeze_there_is_none)
{
    FAILS(dctx_deadline_set_timeout(SECOND), DCTX_ERR_NOT_FROZEN);
    cr_assert_null(dctx_deadline_get());
    cr_assert_eq(dctx_deadline_left(), DCTX_NO_DEADLINE);
}
