/*
 * bench.h - measuring in turns. Machines are shared and noisy, so a figure is a ratio to a
 * reference that runs beside it: rounds of the candidate and of the reference alternate, each round
 * gives a ratio, and the median of those is what counts.
 *
 * Lines on standard output: `name value unit` and `name value ratio`.
 */
#ifndef DCTX_TESTS_BENCH_H
#define DCTX_TESTS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does the operation `count` times. */
typedef void (*bench_fn)(void *arg, uint64_t count);

/* Keeps the compiler from dropping a value nobody uses, or from moving memory accesses across. */
#define BENCH_KEEP(value) __asm__ volatile("" : : "g"(value) : "memory")

/*
 * Reads the arguments: [--quick] [PATTERN...]; a pattern is a shell pattern of names, and other
 * lines are not measured. Exits with 2 on anything else. Call it first.
 */
void bench_init(int argc, char **argv);

/* Short runs asked for: measure less where you choose counts yourself. */
bool bench_is_quick(void);

/* True if lines of this name are wanted: for what costs time to prepare. */
bool bench_wants(const char *name);

/* Nanoseconds of the monotonic clock. */
uint64_t bench_now(void);

/* Median; reorders the values. NaN without any. And the value below which `percent` of them lie. */
double bench_median(double *values, size_t count);
double bench_percentile(double *values, size_t count, double percent);

/*
 * M, one malloc(17) + memcpy + free: the yardstick for things that cost about as much as an
 * allocation. Measures the operation in turns with M and prints `name ns` and `name ratio`.
 * bench_finish() prints M itself. Returns the ratio; NaN if the line is not wanted.
 */
double bench_against_m(const char *name, bench_fn run, void *arg);

/* Measures two ways to do the same thing in turns; prints the ns of both and their ratio. */
void bench_compare(const char *name, bench_fn run, void *arg, const char *reference_name,
                   bench_fn reference, void *reference_arg);

/*
 * The parts of the above, for figures of other kinds. An operation's count is chosen so that a
 * round takes a fifth of a millisecond, or what bench_set_round() said (--quick: a seventh of
 * that); *ret_ns are medians, nanoseconds per operation; returns the median ratio.
 */
void bench_set_round(uint64_t milliseconds);
double bench_in_turns(bench_fn run, void *arg, bench_fn reference, void *reference_arg,
                      double *ret_ns, double *ret_reference_ns);
void bench_print(const char *name, double value, const char *unit);

/* For an operation that is done elsewhere, as by another process that keeps the time itself: called
 * from the operation, says how long all of it took. */
void bench_took(uint64_t nanoseconds);

/* Prints M if it was used. Returns the exit status: 1 if nothing was measured, as when no name
 * matched. */
int bench_finish(void);

/* Ends the program with a message: what a benchmark does when the code under it refuses. */
#define BENCH_REQUIRE(condition)                                                                   \
    do {                                                                                           \
        if (!(condition))                                                                          \
            bench_fail(__FILE__, __LINE__, #condition);                                            \
    } while (0)
void bench_fail(const char *file, int line, const char *condition) __attribute__((noreturn));

#endif
