#include "bench.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * A round is short, so that on a busy machine most rounds run without being scheduled away, and
 * long enough that the clock's own cost does not show. What crosses threads or processes needs
 * longer ones, and gets fewer.
 */
enum { ROUNDS = 201, QUICK_ROUNDS = 41, LONG_ROUNDS = 31, QUICK_LONG_ROUNDS = 7, QUICK_SHARE = 7 };
static const double short_round_ns = 2e5;
static double long_round_ns; /* 0: rounds are short */

static bool quick;
static char **patterns;
static int pattern_count;
static unsigned printed;
static double m_rounds[256];
static size_t m_count;

void bench_init(int argc, char **argv)
{
    patterns = calloc((size_t)argc, sizeof *patterns);
    BENCH_REQUIRE(patterns != NULL);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            quick = true;
        } else if (argv[i][0] == '-') {
            fprintf(stderr, "usage: %s [--quick] [PATTERN...]\n", argv[0]);
            exit(2);
        } else {
            patterns[pattern_count++] = argv[i];
        }
    }
    /* Lines are for people who wait, and for pipes. */
    setvbuf(stdout, NULL, _IOLBF, 0);
}

bool bench_is_quick(void)
{
    return quick;
}

bool bench_wants(const char *name)
{
    for (int i = 0; i < pattern_count; i++) {
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    }
    return pattern_count == 0;
}

uint64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_percentile(double *values, size_t count, double percent)
{
    if (count == 0)
        return NAN;
    qsort(values, count, sizeof *values, by_value);
    double at = percent / 100 * (double)(count - 1);
    size_t below = (size_t)at;
    size_t above = below + 1 < count ? below + 1 : below;
    return values[below] + (values[above] - values[below]) * (at - (double)below);
}

double bench_median(double *values, size_t count)
{
    return bench_percentile(values, count, 50);
}

static uint64_t took_elsewhere; /* 0: the operation was here */

void bench_took(uint64_t nanoseconds)
{
    took_elsewhere = nanoseconds;
}

static double time_round(bench_fn run, void *arg, uint64_t count)
{
    took_elsewhere = 0;
    uint64_t begin = bench_now();
    run(arg, count);
    uint64_t ns = bench_now() - begin;
    return (double)(took_elsewhere != 0 ? took_elsewhere : ns) / (double)count;
}

/* How many operations fill a round; the trial runs also warm caches and pools. The best of three
 * trials counts: one that was scheduled away in the middle would make all rounds too short. */
static uint64_t fit_round(bench_fn run, void *arg)
{
    double want = long_round_ns == 0 ? short_round_ns
                  : quick            ? long_round_ns / QUICK_SHARE
                                     : long_round_ns;
    uint64_t count = 1;
    for (;;) {
        double best = INFINITY;
        for (int i = 0; i < 3; i++)
            best = fmin(best, time_round(run, arg, count));
        double took = best * (double)count;
        if (took >= want / 2)
            return took > want * 2 && count > 1 ? count / 2 : count;
        count = took > want / 64 ? (uint64_t)((double)count * want / took) + 1 : count * 8;
    }
}

void bench_set_round(uint64_t milliseconds)
{
    long_round_ns = (double)milliseconds * 1e6;
}

double bench_in_turns(bench_fn run, void *arg, bench_fn reference, void *reference_arg,
                      double *ret_ns, double *ret_reference_ns)
{
    double ns[ROUNDS], reference_ns[ROUNDS], ratio[ROUNDS];
    size_t rounds = long_round_ns != 0 ? (quick ? QUICK_LONG_ROUNDS : LONG_ROUNDS)
                                       : (quick ? QUICK_ROUNDS : ROUNDS);
    uint64_t count = fit_round(run, arg), reference_count = fit_round(reference, reference_arg);
    for (size_t i = 0; i < rounds; i++) {
        /* Whichever comes second finds the machine as the first left it: so they change places. */
        if (i % 2 == 0)
            ns[i] = time_round(run, arg, count);
        reference_ns[i] = time_round(reference, reference_arg, reference_count);
        if (i % 2 == 1)
            ns[i] = time_round(run, arg, count);
        ratio[i] = ns[i] / reference_ns[i];
    }
    *ret_ns = bench_median(ns, rounds);
    *ret_reference_ns = bench_median(reference_ns, rounds);
    return bench_median(ratio, rounds);
}

void bench_print(const char *name, double value, const char *unit)
{
    /* Three digits that mean something, whatever the size. */
    int digits = fabs(value) >= 100 ? 0 : fabs(value) >= 10 ? 1 : fabs(value) >= 1 ? 2 : 3;
    printf("%s %.*f %s\n", name, digits, value, unit);
    printed++;
}

/* The yardstick. The size is that of a 17-byte string, as the library's values are in these
 * benchmarks. */
static void run_m(void *arg, uint64_t count)
{
    const char *text = arg;
    for (uint64_t i = 0; i < count; i++) {
        char *copy = malloc(17);
        if (copy == NULL)
            abort();
        memcpy(copy, text, 17);
        BENCH_KEEP(copy);
        free(copy);
    }
}

double bench_against_m(const char *name, bench_fn run, void *arg)
{
    static char text[17] = "0123456789abcdef";
    double ns, m;
    if (!bench_wants(name))
        return NAN;
    double ratio = bench_in_turns(run, arg, run_m, text, &ns, &m);
    if (m_count < sizeof m_rounds / sizeof *m_rounds)
        m_rounds[m_count++] = m;
    bench_print(name, ns, "ns");
    bench_print(name, ratio, "ratio");
    return ratio;
}

void bench_compare(const char *name, bench_fn run, void *arg, const char *reference_name,
                   bench_fn reference, void *reference_arg)
{
    double ns, reference_ns;
    if (!bench_wants(name))
        return;
    double ratio = bench_in_turns(run, arg, reference, reference_arg, &ns, &reference_ns);
    bench_print(name, ns, "ns");
    bench_print(reference_name, reference_ns, "ns");
    bench_print(name, ratio, "ratio");
}

int bench_finish(void)
{
    if (m_count > 0)
        bench_print("M", bench_median(m_rounds, m_count), "ns");
    free(patterns);
    if (printed == 0)
        fprintf(stderr, "no benchmark of that name\n");
    return printed > 0 ? 0 : 1;
}

void bench_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: %s is false\n", file, line, condition);
    exit(1);
}
