/*
 * bench_carriers.c - what other systems' headers cost, in M: one malloc(17) + memcpy + free in the
 * same run.
 *
 * The headers are those of one HTTP request: a traceparent, a tracestate of 3 members, a baggage of
 * 5. `claimed`: the members are values of five keys; otherwise nobody here knows them, and they
 * pass through.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/dcontext.h>
#include <dcontext/internal.h>

#include "bench.h"

static const char traceparent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
static const char tracestate[] = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,vendor@system=42f1a";
static const char passing[] =
    "userId=alice,serverNode=DF28,isProduction=false,region=eu-west-1,build=2209";
static const char claimed[] =
    "tenant=acme-corp,user=u-1984221,session=7f3a9c1e42d0,region=eu-west-1,ring=canary";

static const char *const claims[] = {"tenant", "user", "session", "region-of", "ring"};
static const char *const members[] = {"tenant", "user", "session", "region", "ring"};
enum { CLAIMS = 5 };

static dctx_headers_t *headers_in, *headers_out;
static dctx_registry_t *plain, *claiming;
static dctx_snapshot_t *snapshot;

static dctx_registry_t *make_registry(bool with_claims)
{
    dctx_registry_t *registry = NULL;
    BENCH_REQUIRE(dctx_registry_new(&registry) == DCTX_OK);
    for (int i = 0; i < CLAIMS; i++) {
        dctx_metadata_t metadata = {&dctx_baggage_name, members[i]};
        dctx_key_options_t options = {.name = claims[i],
                                      .type = DCTX_TYPE_STRING,
                                      .metadata = &metadata,
                                      .metadata_count = with_claims};
        BENCH_REQUIRE(dctx_registry_add(registry, &options, NULL) == DCTX_OK);
    }
    BENCH_REQUIRE(dctx_registry_freeze(registry) == DCTX_OK);
    return registry;
}

static void fill(const char *baggage)
{
    dctx_headers_clear(headers_in);
    const char *const all[][2] = {
        {"Host", "shop.example"},       {"User-Agent", "curl/7.88.1"}, {"Accept", "*/*"},
        {"traceparent", traceparent},   {"tracestate", tracestate},    {"baggage", baggage},
        {"Content-Type", "text/plain"}, {"Content-Length", "12"}};
    for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
        BENCH_REQUIRE(dctx_headers_add(headers_in, all[i][0], all[i][1], strlen(all[i][1])) ==
                      DCTX_OK);
}

static void extract(void *registry, uint64_t count)
{
    const dctx_carrier_t carrier = dctx_headers_carrier(headers_in);
    unsigned errors = 0;
    for (uint64_t i = 0; i < count; i++) {
        dctx_snapshot_t *extracted = NULL;
        dctx_carrier_report_t report;
        errors |= dctx_extract(NULL, registry, &carrier, &extracted, &report);
        errors |= report.malformed | report.over_limit;
        dctx_snapshot_unref(&extracted);
    }
    BENCH_REQUIRE(errors == 0);
}

static void inject(void *arg, uint64_t count)
{
    const dctx_carrier_t carrier = dctx_headers_carrier(headers_out);
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_headers_clear(headers_out);
        errors |= dctx_inject(NULL, snapshot, &carrier);
    }
    BENCH_REQUIRE(errors == 0 && dctx_headers_count(headers_out) == 3);
}

static double measure(const char *name, bench_fn run, dctx_registry_t *registry,
                      const char *baggage)
{
    if (!bench_wants(name))
        return NAN;
    const dctx_carrier_t carrier = dctx_headers_carrier(headers_in);
    fill(baggage);
    BENCH_REQUIRE(dctx_extract(NULL, registry, &carrier, &snapshot, NULL) == DCTX_OK);
    double ratio = bench_against_m(name, run, registry);
    dctx_snapshot_unref(&snapshot);
    return ratio;
}

/* ---- deadlines ---- */

static dctx_deadline_t far;
static dctx_snapshot_t *dequeued[64];
enum { DEQUEUED = sizeof(dequeued) / sizeof(*dequeued) };

/* What a worker does with each message it takes from its mailbox, less the mailbox. */
static void dequeue(void *arg, uint64_t count)
{
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        const dctx_snapshot_t *message = dequeued[i % DEQUEUED];
        BENCH_KEEP(message);
    }
}

static void dequeue_checked(void *arg, uint64_t count)
{
    unsigned expired = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        const dctx_snapshot_t *message = dequeued[i % DEQUEUED];
        BENCH_KEEP(message);
        expired += dctx_snapshot_expired_(message);
    }
    BENCH_REQUIRE(expired == 0);
}

/* Messages whose deadline nobody has looked at before: each was captured for itself. What is timed
 * is the dequeuing. */
static void dequeue_new(uint64_t count, bench_fn run)
{
    uint64_t took = 0;
    for (uint64_t i = 0; i < count; i += DEQUEUED) {
        for (int j = 0; j < DEQUEUED; j++) {
            dctx_snapshot_unref(&dequeued[j]);
            DCTX_WITH_SCOPE("request") {
                BENCH_REQUIRE(dctx_deadline_set(&far) == DCTX_OK);
                BENCH_REQUIRE(dctx_capture(&dequeued[j]) == DCTX_OK);
            }
        }
        uint64_t begin = bench_now();
        run(NULL, DEQUEUED);
        took += bench_now() - begin;
    }
    /* So much of it as there were to be. */
    uint64_t done = (count + DEQUEUED - 1) / DEQUEUED * DEQUEUED;
    bench_took(took * count / done);
}

static void dequeue_fresh(void *arg, uint64_t count)
{
    (void)arg;
    dequeue_new(count, dequeue);
}

static void dequeue_fresh_checked(void *arg, uint64_t count)
{
    (void)arg;
    dequeue_new(count, dequeue_checked);
}

/* M, the yardstick, beside which both are measured. */
static void run_m(void *arg, uint64_t count)
{
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        char *copy = malloc(17);
        BENCH_REQUIRE(copy != NULL);
        memcpy(copy, "0123456789abcdef", 17);
        BENCH_KEEP(copy);
        free(copy);
    }
}

/* The difference to no check at all. */
static double measure_check(const char *name, int64_t timeout, bool coarse, bool fresh)
{
    if (!bench_wants(name))
        return NAN;
    dctx_deadline_after(NULL, timeout, &far);
    for (int i = 0; i < DEQUEUED; i++) {
        dctx_snapshot_t *message = NULL;
        DCTX_WITH_SCOPE("request") {
            if (timeout > 0)
                BENCH_REQUIRE(dctx_deadline_set_timeout(timeout) == DCTX_OK);
            BENCH_REQUIRE(dctx_capture(&message) == DCTX_OK);
        }
        dequeued[i] = message;
    }
    if (coarse)
        BENCH_REQUIRE(dctx_coarse_clock_start() == DCTX_OK);
    double with_ns, without_ns, m;
    double with = bench_in_turns(fresh ? dequeue_fresh_checked : dequeue_checked, NULL, run_m, NULL,
                                 &with_ns, &m);
    double without =
        bench_in_turns(fresh ? dequeue_fresh : dequeue, NULL, run_m, NULL, &without_ns, &m);
    if (coarse)
        dctx_coarse_clock_stop();
    for (int i = 0; i < DEQUEUED; i++)
        dctx_snapshot_unref(&dequeued[i]);
    bench_print(name, with_ns - without_ns, "ns");
    bench_print(name, with - without, "ratio");
    return with - without;
}

/* at_most 0: there is no limit. */
static void tell(const char *name, double ratio, double at_most)
{
    if (isnan(ratio))
        return;
    printf("# %-28s %8.2f M", name, ratio);
    if (at_most > 0)
        printf(", at most %5.2f%s", at_most, ratio <= at_most ? "" : "  OVER");
    printf("\n");
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    BENCH_REQUIRE(dctx_registry_freeze(NULL) == DCTX_OK);
    BENCH_REQUIRE(dctx_headers_new(&headers_in) == DCTX_OK);
    BENCH_REQUIRE(dctx_headers_new(&headers_out) == DCTX_OK);
    plain = make_registry(false);
    claiming = make_registry(true);
    double extract_plain = measure("carriers.extract", extract, plain, passing);
    double extract_claimed = measure("carriers.extract.claimed", extract, claiming, claimed);
    double inject_plain = measure("carriers.inject", inject, plain, passing);
    double inject_claimed = measure("carriers.inject.claimed", inject, claiming, claimed);
    double check = measure_check("carriers.deadline_check", INT64_C(3600000000000), true, false);
    double check_first =
        measure_check("carriers.deadline_check.first", INT64_C(3600000000000), true, true);
    double check_none = measure_check("carriers.deadline_check.none", 0, true, false);
    double check_precise =
        measure_check("carriers.deadline_check.precise", INT64_C(3600000000000), false, false);
    dctx_registry_destroy(&plain);
    dctx_registry_destroy(&claiming);
    dctx_headers_destroy(&headers_in);
    dctx_headers_destroy(&headers_out);
    tell("extract", extract_plain, 80);
    tell("extract, claimed by keys", extract_claimed, 0);
    tell("inject", inject_plain, 60);
    tell("inject, claimed by keys", inject_claimed, 0);
    tell("deadline_check", check, 0.25);
    tell("deadline_check, the first", check_first, 0.25);
    tell("deadline_check, no deadline", check_none, 0.25);
    tell("deadline_check, precise", check_precise, 0);
    return bench_finish();
}
