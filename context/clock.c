#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "registry.h"
#include "trace.h"

/* ---- the system's ---- */

static int64_t now(clockid_t id)
{
    struct timespec time;
    (void)clock_gettime(id, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t system_wall(void *arg)
{
    (void)arg;
    return now(CLOCK_REALTIME);
}

static int64_t system_monotonic(void *arg)
{
    (void)arg;
    return now(CLOCK_MONOTONIC);
}

/* "fd7c9f3e-...": 32 digits and four dashes. */
static void read_boot_id(uint8_t boot_id[16])
{
    char text[36] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t size = read(fd, text, sizeof(text));
    (void)close(fd);
    uint8_t id[16];
    size_t at = 0;
    for (ssize_t i = 0; i + 1 < size && at < 16; i++) {
        uint64_t byte;
        if (text[i] == '-')
            continue;
        if (!dctx_hex_read_(text + i++, 2, true, &byte))
            return;
        id[at++] = (uint8_t)byte;
    }
    if (at == 16)
        memcpy(boot_id, id, 16);
}

static dctx_clocks_t system_clock = {.wall = system_wall, .monotonic = system_monotonic};
static pthread_once_t system_once = PTHREAD_ONCE_INIT;

static void init_system(void)
{
    int saved_errno = errno;
    read_boot_id(system_clock.boot_id);
    errno = saved_errno;
}

const dctx_clocks_t *dctx_clocks_system(void)
{
    (void)pthread_once(&system_once, init_system);
    return &system_clock;
}

/* ---- a registry's ---- */

dctx_error_t dctx_registry_set_clocks(dctx_registry_t *registry, const dctx_clocks_t *clock)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return DCTX_ERR_NOMEM;
    if (dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_FROZEN, "the registry is frozen: set its clock before");
    if (clock == NULL) {
        registry->clock = (dctx_clocks_t){.wall = NULL};
        return DCTX_OK;
    }
    if (clock->wall == NULL || clock->monotonic == NULL || clock->skew < 0)
        return dctx_fail_(DCTX_ERR_INVALID, "a clock needs both functions, and no negative skew");
    registry->clock = *clock;
    return DCTX_OK;
}

const dctx_clocks_t *dctx_registry_clocks(const dctx_registry_t *registry)
{
    if (registry == NULL)
        registry = dctx_current_registry();
    return registry != NULL && registry->clock.wall != NULL ? &registry->clock
                                                            : dctx_clocks_system();
}

const dctx_clocks_t *dctx_clock_or_current_(const dctx_clocks_t *clock)
{
    return clock != NULL ? clock : dctx_registry_clocks(NULL);
}

/* ---- the coarse one ---- */

#define COARSE_PERIOD 500000 /* ns */

int64_t dctx_coarse_reading_ = DCTX_COARSE_STOPPED;

/* Held over a whole start or stop, the join included, so that no start meets a thread that is
 * ending. Guards the users (how many starts want a stop) and the thread. */
static pthread_mutex_t coarse_control = PTHREAD_MUTEX_INITIALIZER;
static unsigned coarse_users;
static bool coarse_running;
static pthread_t coarse_thread;

/* What the thread sleeps with. Guards coarse_stop. */
static pthread_mutex_t coarse_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t coarse_wake;
static bool coarse_stop;

static int64_t coarse_read(void)
{
    int64_t reading = now(CLOCK_MONOTONIC);
    __atomic_store_n(&dctx_coarse_reading_, reading, __ATOMIC_RELAXED);
    return reading;
}

static void *coarse_run(void *arg)
{
    (void)arg;
    (void)pthread_mutex_lock(&coarse_lock);
    while (!coarse_stop) {
        int64_t next = coarse_read() + COARSE_PERIOD;
        struct timespec until = {.tv_sec = next / 1000000000, .tv_nsec = next % 1000000000};
        (void)pthread_cond_timedwait(&coarse_wake, &coarse_lock, &until);
    }
    /* Nobody may take an old reading for the time. */
    __atomic_store_n(&dctx_coarse_reading_, DCTX_COARSE_STOPPED, __ATOMIC_RELAXED);
    (void)pthread_mutex_unlock(&coarse_lock);
    return NULL;
}

static int coarse_begin(void)
{
    static bool made;
    if (!made) {
        pthread_condattr_t attributes;
        int error = pthread_condattr_init(&attributes);
        if (error != 0)
            return error;
        (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        error = pthread_cond_init(&coarse_wake, &attributes);
        (void)pthread_condattr_destroy(&attributes);
        if (error != 0)
            return error;
        made = true;
    }
    /* Signals are the program's, not this thread's. */
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    coarse_stop = false;
    int error = pthread_create(&coarse_thread, NULL, coarse_run, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

dctx_error_t dctx_coarse_clock_start(void)
{
    (void)pthread_mutex_lock(&coarse_control);
    int error = 0;
    if (!coarse_running) {
        (void)coarse_read();
        error = coarse_begin();
        coarse_running = error == 0;
        if (!coarse_running)
            __atomic_store_n(&dctx_coarse_reading_, DCTX_COARSE_STOPPED, __ATOMIC_RELAXED);
    }
    coarse_users++;
    (void)pthread_mutex_unlock(&coarse_control);
    return error == 0
               ? DCTX_OK
               : dctx_fail_(DCTX_ERR_IO, "no thread for the coarse clock: %s", strerror(error));
}

void dctx_coarse_clock_stop(void)
{
    (void)pthread_mutex_lock(&coarse_control);
    if (coarse_users > 0 && --coarse_users == 0 && coarse_running) {
        (void)pthread_mutex_lock(&coarse_lock);
        coarse_stop = true;
        (void)pthread_cond_signal(&coarse_wake);
        (void)pthread_mutex_unlock(&coarse_lock);
        (void)pthread_join(coarse_thread, NULL);
        coarse_running = false;
    }
    (void)pthread_mutex_unlock(&coarse_control);
}

int64_t dctx_coarse_clock_now(void)
{
    int64_t reading = __atomic_load_n(&dctx_coarse_reading_, __ATOMIC_RELAXED);
    return reading != DCTX_COARSE_STOPPED ? reading : now(CLOCK_MONOTONIC);
}

/* ---- chance ---- */

/* splitmix64, which makes good state of any seed. */
static uint64_t mix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void dctx_random_seed(dctx_random_t *random, uint64_t seed)
{
    if (random == NULL)
        return;
    for (int i = 0; i < 4; i++)
        random->state_[i] = mix(&seed);
}

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

/* xoshiro256**. */
uint64_t dctx_random_next(void *random)
{
    uint64_t *s = ((dctx_random_t *)random)->state_;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

const dctx_id_source_t *dctx_id_source_of_thread_(void)
{
    static _Thread_local dctx_random_t random;
    static _Thread_local dctx_id_source_t source;
    /* A forked child must not draw its parent's ids. */
    static _Thread_local pid_t seeded_in;
    pid_t here = getpid();
    if (seeded_in != here) {
        uint64_t seed[4];
        if (getentropy(seed, sizeof(seed)) != 0) {
            seed[0] = (uint64_t)now(CLOCK_REALTIME);
            seed[1] = (uint64_t)now(CLOCK_MONOTONIC);
            seed[2] = (uint64_t)here;
            seed[3] = (uint64_t)(uintptr_t)&random;
        }
        for (int i = 0; i < 4; i++)
            random.state_[i] = mix(&seed[i]);
        source = (dctx_id_source_t){dctx_random_next, &random};
        seeded_in = here;
    }
    return &source;
}
