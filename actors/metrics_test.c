/* What is measured of actors, against what they did. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "meter.h"

static _Atomic(int64_t) time_ns = 1000000000;

static int64_t now(void *arg)
{
    (void)arg;
    return atomic_load(&time_ns);
}

static const dctx_clock_t by_hand = {.now_ns = now};

enum { MS = 1000000 };

static void advance(int64_t ns)
{
    (void)atomic_fetch_add(&time_ns, ns);
}

/* An actor that takes so many nanoseconds for each message, and waits in its first. */
typedef struct slow {
    gate_t inside, handled;
    int pipe[2];
    long count;
} slow_t;

static dctx_error_t take(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    slow_t *slow = state;
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    char byte;
    if (slow->count++ == 0) {
        gate_pass(&slow->inside);
        ssize_t got = read(slow->pipe[0], &byte, 1);
        (void)got;
    }
    advance((int64_t)*value);
    return *value % 2 == 0 ? DCTX_OK : DCTX_ERR_CODEC;
}

static void open_slow(slow_t *slow)
{
    *slow = (slow_t){.inside = GATE_INIT, .handled = GATE_INIT};
    cr_assert_eq(pipe(slow->pipe), 0);
}

static dctx_ref_t spawn_slow(dctx_system_t *system, slow_t *slow, unsigned flags)
{
    dctx_ref_t ref;
    open_slow(slow);
    dctx_actor_options_t options = {.name = "slow",
                                    .handler = take,
                                    .state = slow,
                                    .mailbox_limit = 3,
                                    .overflow = DCTX_OVERFLOW_DROP_NEWEST,
                                    .flags = flags};
    cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    return ref;
}

Test(metrics, buckets_hold_what_their_bounds_say)
{
    cr_assert_eq(dctx_timing_bucket_(0), 0);
    cr_assert_eq(dctx_histogram_bound(0), 64);
    cr_assert_eq(dctx_histogram_bound(DCTX_HISTOGRAM_BUCKETS - 1), UINT64_MAX);
    for (unsigned i = 0; i < DCTX_HISTOGRAM_BUCKETS - 1; i++) {
        uint64_t bound = dctx_histogram_bound(i);
        cr_assert_eq(dctx_timing_bucket_(bound - 1), i);
        cr_assert_eq(dctx_timing_bucket_(bound), i + 1);
    }
    cr_assert_eq(dctx_timing_bucket_(UINT64_MAX), DCTX_HISTOGRAM_BUCKETS - 1);
}

Test(metrics, quantiles_are_at_most_a_quarter_too_high)
{
    dctx_timing_t timing;
    memset(&timing, 0, sizeof timing);
    for (int64_t i = 1; i <= 1000; i++)
        dctx_timing_record_(&timing, i * 1000);
    dctx_timing_record_(&timing, -5);
    dctx_histogram_t histogram = {0};
    cr_assert_eq(dctx_histogram_quantile(&histogram, 0.5), 0);
    dctx_timing_read_(&timing, &histogram);
    cr_assert_eq(histogram.count, 1001);
    cr_assert_eq(histogram.max_ns, 1000000);
    cr_assert_eq(histogram.sum_ns, 500500000);
    cr_assert_eq(dctx_histogram_quantile(&histogram, 1), 1000000);
    for (int percent = 10; percent < 100; percent += 10) {
        uint64_t ns = dctx_histogram_quantile(&histogram, percent / 100.0);
        cr_assert_geq(ns, (uint64_t)percent * 10000 - 1000);
        cr_assert_leq(ns, (uint64_t)percent * 10000 * 5 / 4 + 1000);
    }
}

Test(metrics, of_an_actor_are_what_it_did, .init = fixture_init)
{
    slow_t slow;
    dctx_actor_metrics_t m;
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1, .clock = &by_hand});
    dctx_ref_t ref = spawn_slow(system, &slow, DCTX_METERED);
    tell_uint(ref, 10 * MS);
    cr_assert(gate_wait(&slow.inside, 1));
    for (int i = 0; i < 4; i++) { /* one does not fit */
        advance(MS);
        tell_uint(ref, (uint64_t)MS + (i == 1));
    }
    cr_assert_eq(dctx_actor_metrics_read(ref, &m), DCTX_OK);
    cr_assert_str_eq(m.name, "slow");
    cr_assert(dctx_ref_equal(m.ref, ref));
    cr_assert(m.counted && m.metered);
    cr_assert_eq(m.depth, 3);
    cr_assert_eq(m.depth_max, 3);
    cr_assert_eq(m.mailbox_limit, 3);
    cr_assert_eq(m.overflowed, 1);
    cr_assert_eq(m.handled, 0);
    cr_assert_eq(m.oldest_ns, 3 * MS, "%ld", (long)m.oldest_ns);
    close(slow.pipe[1]);
    dctx_message_t *reply = NULL;
    uint64_t none = 0;
    while (dctx_ask_wait(ref, DCTX_TYPE_UINT64, &none, WAIT_MS, &reply) == DCTX_ERR_FULL)
        dctx_message_destroy(&reply);
    dctx_message_destroy(&reply);
    cr_assert_eq(dctx_stop(ref), DCTX_OK);
    while (dctx_actor_metrics_read(ref, &m) == DCTX_OK) {
    }
    cr_assert_eq(dctx_actor_metrics_read(ref, &m), DCTX_ERR_NO_ACTOR);
    dctx_system_metrics_t all;
    dctx_system_metrics_read(system, &all);
    cr_assert_eq(all.handled, 5);
    cr_assert_eq(all.failed, 1);
    cr_assert_eq(all.run.count, 5);
    cr_assert_eq(all.run.max_ns, 14 * MS);
    cr_assert_eq(all.run.sum_ns, 17 * MS + 1);
    cr_assert_eq(all.wait.count, 5);
    /* The first three that waited did so while the others were sent, and for the first handler. */
    cr_assert_geq(all.wait.max_ns, 13 * MS);
    cr_assert_eq(all.metered, 0);
    finish(&system);
}

static dctx_error_t check_text(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    size_t *length = state;
    const char *text = dctx_message_get(message, DCTX_TYPE_STRING);
    cr_assert_eq(strlen(text), *length);
    cr_assert_eq(strspn(text, "x"), *length);
    return dctx_reply(message, NULL, NULL);
}

Test(metrics, text_of_any_length_arrives_whole, .init = fixture_init)
{
    size_t length = 0;
    char text[81] = "";
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1, .metrics = true});
    dctx_ref_t ref = spawn(system, "texts", check_text, &length);
    for (; length < sizeof text - 1; length++) {
        dctx_message_t *reply = NULL;
        cr_assert_eq(dctx_ask_wait(ref, DCTX_TYPE_STRING, text, WAIT_MS, &reply), DCTX_OK);
        dctx_message_destroy(&reply);
        text[length] = 'x';
    }
    finish(&system);
}

/* ---- all of them ----------------------------------------------------------------------------- */

typedef struct seen {
    int actors, counted, metered;
} seen_t;

static void see(const dctx_actor_metrics_t *metrics, void *arg)
{
    seen_t *seen = arg;
    seen->actors++;
    seen->counted += metrics->counted;
    seen->metered += metrics->metered;
}

static dctx_error_t ignore(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_OK;
}

Test(metrics, each_actor_is_seen_once, .init = fixture_init)
{
    seen_t seen = {0};
    dctx_ref_t ref;
    dctx_actor_metrics_t m;
    dctx_system_t *system = start(NULL);
    for (unsigned i = 0; i < 6; i++) {
        dctx_actor_options_t options = {.handler = ignore,
                                        .flags = i == 0   ? DCTX_COUNTED
                                                 : i == 1 ? DCTX_METERED
                                                          : 0u};
        cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
    }
    dctx_system_metrics_each(system, see, &seen);
    cr_assert_eq(seen.actors, 6);
    cr_assert_eq(seen.counted, 2);
    cr_assert_eq(seen.metered, 1);
    dctx_system_metrics_t all;
    dctx_system_metrics_read(system, &all);
    cr_assert_eq(all.counted, 2);
    cr_assert_eq(all.metered, 1);
    cr_assert_eq(all.counters.actors, 6);
    cr_assert_eq(dctx_actor_metrics_read(ref, &m), DCTX_OK);
    cr_assert(!m.counted);
    cr_assert_eq(dctx_actor_metrics_read(DCTX_REF_NONE, &m), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_system_find(system, "x@far", &ref), DCTX_OK);
    cr_assert_eq(dctx_actor_metrics_read(ref, &m), DCTX_ERR_INVALID);
    finish(&system);
}

Test(metrics, as_text_for_prometheus, .init = fixture_init)
{
    char *text = NULL;
    dctx_message_t *reply = NULL;
    dctx_system_t *system = start(
        &(dctx_system_options_t){.name = "shop", .workers = 1, .clock = &by_hand, .metrics = true});
    dctx_ref_t ref = spawn(system, "orders", ignore, NULL);
    cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, WAIT_MS, &reply), DCTX_ERR_NO_REPLY);
    dctx_message_destroy(&reply);
    cr_assert_eq(dctx_system_metrics_format(system, &text), DCTX_OK);
    static const char *const parts[] = {
        "# TYPE dcontext_messages_accepted_total counter\n"
        "dcontext_messages_accepted_total{system=\"shop\"} 1\n",
        "# TYPE dcontext_mailbox_depth gauge\n"
        "dcontext_mailbox_depth{system=\"shop\",actor=\"orders\"} 0\n",
        "dcontext_handled_total{system=\"shop\",actor=\"orders\"} 1\n",
        "dcontext_run_seconds_bucket{system=\"shop\",actor=\"orders\",le=\"2.56e-07\"} 1\n",
        "dcontext_run_seconds_bucket{system=\"shop\",actor=\"orders\",le=\"+Inf\"} 1\n"
        "dcontext_run_seconds_sum{system=\"shop\",actor=\"orders\"} 0\n"
        "dcontext_run_seconds_count{system=\"shop\",actor=\"orders\"} 1\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        cr_assert_not_null(strstr(text, parts[i]), "%s\nis not in\n%s", parts[i], text);
    dctx_free(text);
    cr_assert_eq(dctx_system_metrics_format(NULL, &text), DCTX_ERR_INVALID);
    finish(&system);
}

/* ---- while all changes ----------------------------------------------------------------------- */

static _Atomic(bool) over;

static void *read_all(void *arg)
{
    dctx_system_t *system = arg;
    dctx_system_metrics_t all;
    uint64_t before = 0;
    while (!atomic_load(&over)) {
        seen_t seen = {0};
        dctx_system_metrics_each(system, see, &seen);
        dctx_system_metrics_read(system, &all);
        cr_assert_geq(all.handled, before, "nothing is counted twice, nor forgotten");
        before = all.handled;
    }
    return NULL;
}

Test(metrics, can_be_read_while_actors_come_and_go, .init = fixture_init, .timeout = 120)
{
    enum { ROUNDS = 300, TELLS = 20 };
    pthread_t thread;
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 2, .metrics = true});
    cr_assert_eq(pthread_create(&thread, NULL, read_all, system), 0);
    for (int i = 0; i < ROUNDS; i++) {
        char name[32];
        snprintf(name, sizeof name, "worker-%d", i);
        dctx_ref_t ref = spawn(system, i % 3 == 0 ? name : NULL, ignore, NULL);
        for (int j = 0; j < TELLS; j++)
            tell_uint(ref, 1);
        cr_assert_eq(dctx_stop(ref), DCTX_OK);
        dctx_actor_metrics_t m;
        while (dctx_actor_metrics_read(ref, &m) == DCTX_OK)
            sched_yield();
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    dctx_system_metrics_t all;
    dctx_system_metrics_read(system, &all);
    cr_assert_eq(all.handled, ROUNDS * TELLS);
    cr_assert_eq(all.wait.count, ROUNDS * TELLS);
    finish(&system);
}
