#include "watch.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <dcontext/internal.h>

#include "message.h"
#include "names.h"
#include "system.h"

enum { NS_PER_MS = 1000000, WARN_MS = 1000, LOOKS = 4, CHAIN_MAX = 4096, TYPE_MAX = 256 };

/* What a thread was found in, copied: it goes on meanwhile. */
typedef struct finding {
    char name[DCTX_NAME_MAX + 1];
    char type[TYPE_MAX];
    char chain[CHAIN_MAX + DCTX_NAME_MAX + 16];
} finding_t;

static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void dctx_watch_init(dctx_watch_t *watch, const dctx_system_options_t *options)
{
    int64_t ms = options->handler_warn_ms == 0 ? WARN_MS : options->handler_warn_ms;
    if (ms > INT64_MAX / NS_PER_MS / 2)
        ms = INT64_MAX / NS_PER_MS / 2;
    watch->warn_ns = ms < 0 ? 0 : ms * NS_PER_MS;
    /* The workers start awake. */
    atomic_store(&watch->armed, watch->warn_ns > 0);
}

void dctx_watch_arm_(dctx_system_t *system)
{
    dctx_watch_t *watch = &system->io.watch;
    if (watch->warn_ns > 0 && atomic_load(&watch->armed) == 0 &&
        atomic_exchange(&watch->armed, 1) == 0)
        dctx_io_wake_(&system->io);
}

/* ---- what a thread is in --------------------------------------------------------------------- */

static void copy(dctx_system_t *system, dctx_runner_t *runner, const dctx_actor_t *busy,
                 finding_t *ret_finding)
{
    const dctx_snapshot_t *context = atomic_load_explicit(&runner->context, memory_order_relaxed);
    const char *prefix = atomic_load_explicit(&runner->prefix, memory_order_relaxed);
    const dctx_type_t *type = atomic_load_explicit(&runner->type, memory_order_relaxed);
    const char *remote = atomic_load_explicit(&runner->remote_type, memory_order_acquire);
    snprintf(ret_finding->name, sizeof ret_finding->name, "%s", busy->scope + DCTX_NAME_AT);
    snprintf(ret_finding->type, sizeof ret_finding->type, "%s",
             remote != NULL ? remote : dctx_type_label_(type));
    size_t length = dctx_snapshot_chain_format(context != NULL ? context : system->empty,
                                               ret_finding->chain, CHAIN_MAX);
    if (length >= CHAIN_MAX)
        length = CHAIN_MAX - 1;
    if (prefix != NULL)
        snprintf(ret_finding->chain + length, sizeof ret_finding->chain - length, "%s%s%s",
                 length > 0 ? " > " : "", prefix, ret_finding->name);
}

/*
 * True if the thread is still in that callback. It runs on; but with `attention` up, and after the
 * barrier, it cannot leave the callback without our lock, as when a system stops (see runner.h): so
 * all that it is busy with stays alive while we copy.
 */
static bool find(dctx_system_t *system, dctx_runner_t *runner, uint64_t sequence,
                 finding_t *ret_finding)
{
    (void)atomic_fetch_add(&system->attention, 1);
    dctx_runner_barrier();
    pthread_mutex_lock(&runner->lock);
    dctx_actor_t *busy = atomic_load_explicit(&runner->busy, memory_order_acquire);
    bool there =
        busy != NULL && atomic_load_explicit(&runner->sequence, memory_order_relaxed) == sequence;
    if (there)
        copy(system, runner, busy, ret_finding);
    pthread_mutex_unlock(&runner->lock);
    (void)atomic_fetch_sub(&system->attention, 1);
    return there;
}

static void tell(dctx_runner_t *io, const finding_t *finding, int64_t ns)
{
    dctx_system_t *system = io->system;
    dctx_blocked_t blocked = {.actor = finding->name,
                              .type = finding->type,
                              .chain = finding->chain,
                              .ms = ns / NS_PER_MS};
    dctx_tally_own(&io->tallies, DCTX_TALLY_BLOCKED);
    dctx_log(DCTX_LOG_WARNING, "%s blocks a worker for %lld ms, type \"%s\": %s", blocked.actor,
             (long long)blocked.ms, blocked.type, blocked.chain);
    if (system->options.on_blocked != NULL)
        system->options.on_blocked(&blocked, system->options.arg);
}

/* ---- looking --------------------------------------------------------------------------------- */

/* Since when a thread is in the callback that we see it in for the first time: exactly if that is
 * the first of its turn, and the system's clock is the real one. */
static int64_t began(dctx_system_t *system, dctx_runner_t *runner, uint64_t sequence, int64_t now)
{
    int64_t since = atomic_load_explicit(&runner->since, memory_order_relaxed);
    bool first =
        sequence == atomic_load_explicit(&runner->since_sequence, memory_order_relaxed) + 1;
    return system->own_clock && first && since < now ? since : now;
}

static void look_at(dctx_watch_t *watch, dctx_runner_t *io, dctx_runner_t *runner,
                    dctx_watched_t *seen, int64_t now)
{
    dctx_system_t *system = io->system;
    finding_t finding;
    if (atomic_load_explicit(&runner->busy, memory_order_acquire) == NULL)
        return;
    uint64_t sequence = atomic_load_explicit(&runner->sequence, memory_order_relaxed);
    if (sequence != seen->sequence) {
        seen->sequence = sequence;
        seen->since = began(system, runner, sequence, now);
    }
    if (now - seen->since < watch->warn_ns || seen->told == sequence)
        return;
    seen->told = sequence;
    if (find(system, runner, sequence, &finding))
        tell(io, &finding, now - seen->since);
}

static bool all_sleep(dctx_scheduler_t *scheduler)
{
    return atomic_load(&scheduler->sleepers) == dctx_scheduler_all_bits_(scheduler);
}

long dctx_watch_look_(dctx_watch_t *watch, dctx_runner_t *runner)
{
    dctx_scheduler_t *scheduler = &runner->system->scheduler;
    if (atomic_load(&watch->armed) == 0)
        return -1;
    int64_t now = real_now();
    if (watch->next == 0)
        watch->next = now + watch->warn_ns / LOOKS;
    if (now >= watch->next) {
        for (unsigned i = 0; i < scheduler->worker_count; i++)
            look_at(watch, runner, &scheduler->workers[i].runner, &watch->seen[i], now);
        if (all_sleep(scheduler)) {
            watch->next = 0;
            atomic_store(&watch->armed, 0);
            if (all_sleep(scheduler))
                return -1;
            atomic_store(&watch->armed, 1);
        }
        watch->next = now + watch->warn_ns / LOOKS;
    }
    int64_t ms = (watch->next - now + NS_PER_MS - 1) / NS_PER_MS;
    return ms > 1000000 ? 1000000 : (long)ms;
}
