/*
 * Waiting on a word. The word itself carries all the ordering (whoever wakes has stored it with
 * release, whoever waits loads it with acquire); the system call only sleeps and wakes.
 */
#ifndef DCTX_FUTEX_H
#define DCTX_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef _Atomic(uint32_t) dctx_futex_t;

/* Sleeps while *word == expected, at most `ns` nanoseconds (negative: no limit).
 * May return early. */
static inline void dctx_futex_wait(dctx_futex_t *word, uint32_t expected, int64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, ns < 0 ? NULL : &t, NULL, 0);
}

static inline void dctx_futex_wake_one(dctx_futex_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static inline void dctx_futex_wake_all(dctx_futex_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* A hint to the processor that this is a spin loop. */
static inline void dctx_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#endif
