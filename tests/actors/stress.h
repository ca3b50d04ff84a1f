/*
 * What the stress tests share. In the suite they are short: `./dev stress SECONDS` has them run for
 * so long each, and at their full sizes, by way of DCTX_STRESS_SECONDS.
 */
#ifndef DCTX_STRESS_H
#define DCTX_STRESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <criterion/criterion.h>

#include <dcontext/actors.h>

#include "fixture.h"

/* True until the time for stress is up, counted from the first call with this. */
typedef struct stress_time {
    int64_t end; /* 0: not begun */
} stress_time_t;
bool stress_goes_on(stress_time_t *time);

/* One of two sizes; the full one is a fifth of that where ThreadSanitizer makes all so much
 * slower. */
long stress_size(long in_suite, long in_full);

/* Starts and joins threads. */
enum { STRESS_THREADS_MAX = 16 };
typedef struct stress_threads {
    pthread_t threads[STRESS_THREADS_MAX];
    int count;
} stress_threads_t;
void stress_thread(stress_threads_t *threads, void *(*run)(void *), void *arg);
void stress_join(stress_threads_t *threads);

/* As gate_wait(), for as long as the system handles anything at all. */
void stress_wait(const dctx_system_t *system, gate_t *gate, long count);

#endif
