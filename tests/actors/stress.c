#include "stress.h"

#include <stdlib.h>
#include <time.h>

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

bool stress_goes_on(stress_time_t *time)
{
    const char *text = getenv("DCTX_STRESS_SECONDS");
    if (time->end == 0)
        time->end = now() + (text != NULL ? strtoll(text, NULL, 10) : 1) * 1000000000;
    return now() < time->end;
}

long stress_size(long in_suite, long in_full)
{
#if defined(__SANITIZE_THREAD__)
    in_full = in_full / 5 > in_suite ? in_full / 5 : in_suite;
#endif
    return getenv("DCTX_STRESS_SECONDS") != NULL ? in_full : in_suite;
}

void stress_thread(stress_threads_t *threads, void *(*run)(void *), void *arg)
{
    cr_assert_lt(threads->count, STRESS_THREADS_MAX);
    cr_assert_eq(pthread_create(&threads->threads[threads->count], NULL, run, arg), 0);
    threads->count++;
}

void stress_join(stress_threads_t *threads)
{
    while (threads->count > 0)
        pthread_join(threads->threads[--threads->count], NULL);
}

void stress_wait(const dctx_system_t *system, gate_t *gate, long count)
{
    uint64_t before = 0;
    while (!gate_wait(gate, count)) {
        uint64_t handled = counters(system).handled;
        cr_assert_gt(handled, before, "%ld of %ld, and nothing moves", gate_count(gate), count);
        before = handled;
    }
}
