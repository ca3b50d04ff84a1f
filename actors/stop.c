#include "stop.h"

#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "actor.h"
#include "ask.h"
#include "pinned.h"
#include "system.h"
#include "turn.h"

enum {
    GRACE_MS = 200, /* what each step has at least, even if the time is up */
    NS_PER_MS = 1000000,
    PATIENCE =
        20, /* looks at a thread in no user code that does nothing, a quarter of that apart */
    PATIENCE_MOST = 200, /* and at one that does something */
    CHAIN_MAX = 4096
};

/* How long we wait is real time, whatever clock the system has:
 * nobody should hang for a clock that stands. */
static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t at_least_grace(int64_t deadline)
{
    int64_t grace = real_now() + (int64_t)GRACE_MS * NS_PER_MS;
    return deadline > grace ? deadline : grace;
}

static void enter_phase(dctx_system_t *system, uint32_t phase)
{
    if (atomic_exchange(&system->phase, phase) == DCTX_PHASE_RUNNING)
        (void)atomic_fetch_add(&system->attention, 1);
    dctx_runner_barrier();
}

static bool wait_quiet(dctx_system_t *system, int64_t deadline)
{
    if (system->stage.world != NULL) {
        dctx_world_settle_(system->stage.world);
        return dctx_system_is_quiet_(system);
    }
    for (;;) {
        uint32_t seen = atomic_load(&system->quiet);
        if (dctx_system_is_quiet_(system))
            return true;
        int64_t left = deadline - real_now();
        if (left <= 0)
            return false;
        dctx_futex_wait(&system->quiet, seen, left);
    }
}

static bool wait_left(dctx_futex_t *left, int64_t deadline)
{
    while (atomic_load_explicit(left, memory_order_acquire) == 0) {
        int64_t ns = deadline - real_now();
        if (ns <= 0)
            return false;
        dctx_futex_wait(left, 0, ns);
    }
    return true;
}

/* ---- those who do not come back -------------------------------------------------------------- */

/* Notes what each thread is busy with, to tell later for how long it has been. */
static void note(dctx_system_t *system, dctx_runner_t *runner)
{
    runner->seen = atomic_load_explicit(&runner->sequence, memory_order_relaxed);
    runner->seen_at = dctx_now_(system);
}

static void note_all(dctx_system_t *system)
{
    for (unsigned i = 0; i < system->scheduler.worker_count; i++)
        note(system, &system->scheduler.workers[i].runner);
    note(system, &system->io.runner);
    pthread_mutex_lock(&system->pinned_lock);
    for (dctx_pinned_t *pinned = system->pinned; pinned != NULL; pinned = pinned->next)
        note(system, &pinned->runner);
    pthread_mutex_unlock(&system->pinned_lock);
}

/* Room for so much more in the report, and a NUL; false without memory. As there may be a line for
 * each of very many actors it grows by doubling. */
static bool make_room(dctx_system_t *system, size_t size)
{
    size_t length = system->left_behind_length, capacity = system->left_behind_capacity;
    if (length + size + 1 <= capacity)
        return true;
    capacity = 2 * capacity > length + size + 1 ? 2 * capacity : length + size + 1;
    char *text = dctx_alloc_(capacity);
    if (text == NULL)
        return false;
    if (length > 0)
        memcpy(text, system->left_behind, length);
    dctx_release_(system->left_behind);
    system->left_behind = text;
    system->left_behind_capacity = capacity;
    return true;
}

/* Under the lock of the report. */
static void append(dctx_system_t *system, const char *line)
{
    size_t size = strlen(line);
    if (!make_room(system, size + 1))
        return;
    char *end = system->left_behind + system->left_behind_length;
    memcpy(end, line, size);
    memcpy(end + size, "\n", 2);
    system->left_behind_length += size + 1;
}

void dctx_stop_report_(dctx_system_t *system, const char *line)
{
    dctx_log(DCTX_LOG_WARNING, "system %s: did not stop: %s", system->name, line);
    pthread_mutex_lock(&system->report_lock);
    append(system, line);
    pthread_mutex_unlock(&system->report_lock);
}

/* Since when the thread has been in the callback it is in: exactly if it was the first of the turn,
 * else since we saw it there. */
static int64_t busy_ms(dctx_system_t *system, dctx_runner_t *runner)
{
    uint64_t sequence = atomic_load_explicit(&runner->sequence, memory_order_relaxed);
    int64_t since = atomic_load_explicit(&runner->since, memory_order_relaxed);
    bool first =
        sequence == atomic_load_explicit(&runner->since_sequence, memory_order_relaxed) + 1;
    if (!first && sequence == runner->seen && runner->seen_at > since)
        since = runner->seen_at;
    int64_t now = dctx_now_(system);
    return now > since ? (now - since) / NS_PER_MS : 0;
}

static void describe(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor)
{
    char chain[CHAIN_MAX], line[CHAIN_MAX + 256];
    const dctx_snapshot_t *context = atomic_load_explicit(&runner->context, memory_order_relaxed);
    const char *prefix = atomic_load_explicit(&runner->prefix, memory_order_relaxed);
    const char *name = actor->scope + DCTX_NAME_AT;
    size_t length =
        dctx_snapshot_chain_format(context != NULL ? context : system->empty, chain, sizeof chain);
    if (prefix != NULL && length < sizeof chain)
        snprintf(chain + length, sizeof chain - length, "%s%s%s", length > 0 ? " > " : "", prefix,
                 name);
    snprintf(line, sizeof line, "%s: in handler for %lld ms: %s", name,
             (long long)busy_ms(system, runner), chain);
    dctx_stop_report_(system, line);
}

/* Gives a thread up, if it is in user code; false if it is not, and will leave by itself. */
static bool abandon(dctx_system_t *system, dctx_runner_t *runner)
{
    pthread_mutex_lock(&runner->lock);
    dctx_actor_t *busy = atomic_load_explicit(&runner->busy, memory_order_acquire);
    if (busy != NULL) {
        runner->abandoned = true;
        describe(system, runner, busy);
    }
    pthread_mutex_unlock(&runner->lock);
    if (busy != NULL)
        system->abandoned = true;
    return busy != NULL;
}

/* What tells of a thread in no user code that it gets on. */
static uint64_t progress_of(dctx_runner_t *runner)
{
    uint64_t sum = atomic_load_explicit(&runner->sequence, memory_order_relaxed);
    for (int i = 0; i < DCTX_TALLY_COUNT; i++)
        sum += dctx_tally_read(&runner->tallies, (dctx_tally_t)i);
    return sum;
}

/* Gives a thread up that is in no user code; false if it has left now. What it is at work on can
 * not be told: so the actor whose turn it is in is left alone, and of the system's it comes back to
 * see that it was given up. */
static bool cast_adrift(dctx_system_t *system, dctx_runner_t *runner, dctx_futex_t *left)
{
    pthread_mutex_lock(&runner->lock);
    bool here = atomic_load_explicit(left, memory_order_acquire) == 0;
    runner->abandoned = runner->adrift = here;
    pthread_mutex_unlock(&runner->lock);
    if (!here)
        return false;
    system->abandoned = true;
    dctx_stop_report_(system, "(system): a thread does not get on");
    return true;
}

/* True if the thread has left by then, and also the lock under which it said so: that may be
 * freed next. */
static bool has_left(dctx_runner_t *runner, dctx_futex_t *left, int64_t deadline)
{
    if (!wait_left(left, deadline))
        return false;
    pthread_mutex_lock(&runner->lock);
    pthread_mutex_unlock(&runner->lock);
    return true;
}

/* True if the thread has left. It has until `deadline`; and after that, as it is in no user code,
 * it leaves in a moment: but we do not bet our own return on that. */
static bool part(dctx_system_t *system, dctx_runner_t *runner, dctx_futex_t *left, int64_t deadline)
{
    if (has_left(runner, left, deadline))
        return true;
    if (abandon(system, runner))
        return false;
    uint64_t progress = progress_of(runner);
    for (int tries = 0, all = 0; tries < PATIENCE && all < PATIENCE_MOST; tries++, all++) {
        if (has_left(runner, left, real_now() + (int64_t)GRACE_MS / 4 * NS_PER_MS))
            return true;
        if (abandon(system, runner))
            return false;
        uint64_t before = progress;
        progress = progress_of(runner);
        tries = progress != before ? 0 : tries;
    }
    return !cast_adrift(system, runner, left);
}

/* Ends a zactor whose thread has left, and waits, not for ever, for its good-bye,
 * which is on its way. */
static void let_go(zactor_t **actor_p)
{
    zsock_set_rcvtimeo(zactor_sock(*actor_p), GRACE_MS);
    zactor_destroy(actor_p);
}

/* Closes both ends of the pipe to a worker that was given up, as CZMQ reports sockets that are left
 * at exit. Its thread has not used its end since it started, and parks when it comes back. */
static void close_pipe(dctx_worker_t *worker)
{
    zsock_set_rcvtimeo(zactor_sock(worker->thread), 0);
    zactor_destroy(&worker->thread);
    zsock_destroy(&worker->pipe);
}

/* ---- the steps ------------------------------------------------------------------------------- */

/* `all`: also those whose parents are to stop them. */
static void stop_actors(dctx_system_t *system, bool all)
{
    uint32_t count = dctx_slab_count(&system->actors);
    for (uint32_t i = 0; i < count; i++) {
        dctx_actor_t *actor = dctx_slab_at(&system->actors, i);
        uint64_t life = atomic_load(&actor->life);
        if (life & DCTX_LIFE_ALIVE && (all || !(life & DCTX_LIFE_CHILD)))
            (void)dctx_actor_stop_(system, NULL, dctx_id_make(life >> 32, i));
    }
}

static void part_from_threads(dctx_system_t *system, int64_t deadline)
{
    dctx_scheduler_quit_(&system->scheduler);
    for (unsigned i = 0; i < system->scheduler.worker_count; i++) {
        dctx_worker_t *worker = &system->scheduler.workers[i];
        if (worker->thread == NULL)
            continue;
        if (part(system, &worker->runner, &worker->left, deadline))
            let_go(&worker->thread);
        else
            close_pipe(worker);
    }
    for (dctx_pinned_t *pinned = system->pinned; pinned != NULL; pinned = pinned->next) {
        if (!pinned->runner.abandoned && !part(system, &pinned->runner, &pinned->left, deadline))
            pthread_detach(pinned->thread);
    }
    dctx_pinned_reap_(system);
}

/* The abandoned thread in whose turn an actor is, if any. */
static dctx_runner_t *stuck_in(dctx_system_t *system, const dctx_actor_t *actor)
{
    for (unsigned i = 0; i < system->scheduler.worker_count; i++) {
        dctx_runner_t *runner = &system->scheduler.workers[i].runner;
        if (runner->abandoned && atomic_load(&runner->turn) == actor)
            return runner;
    }
    for (dctx_pinned_t *pinned = system->pinned; pinned != NULL; pinned = pinned->next) {
        if (pinned->runner.abandoned && atomic_load(&pinned->runner.turn) == actor)
            return &pinned->runner;
    }
    return NULL;
}

/* A thread that is stuck in on_dead_letter must not take us with it. */
static bool must_be_quiet(dctx_system_t *system)
{
    bool quiet = false;
    for (unsigned i = 0; i < system->scheduler.worker_count; i++) {
        dctx_runner_t *runner = &system->scheduler.workers[i].runner;
        quiet = quiet || (runner->abandoned && atomic_load(&runner->busy) == &system->self);
    }
    return quiet;
}

static void clear_mailboxes(dctx_system_t *system, bool first)
{
    bool quietly = must_be_quiet(system);
    uint32_t count = dctx_slab_count(&system->actors);
    for (uint32_t i = 0; i < count; i++) {
        dctx_actor_t *actor = dctx_slab_at(&system->actors, i);
        dctx_runner_t *runner = stuck_in(system, actor);
        if (runner != NULL && runner->adrift)
            continue;
        bool alive = (atomic_load(&actor->life) & DCTX_LIFE_ALIVE) != 0;
        if (first && alive && runner == NULL && !actor->internal) {
            char line[DCTX_NAME_MAX + 64];
            snprintf(line, sizeof line, "%s: no thread was free to stop it",
                     actor->scope + DCTX_NAME_AT);
            dctx_stop_report_(system, line);
        }
        dctx_turn_clear_(system, actor, runner, quietly);
    }
}

static void stop_io(dctx_system_t *system, int64_t deadline)
{
    if (system->stage.world != NULL)
        dctx_io_unplug_(&system->io);
    if (system->io.thread == NULL)
        return;
    dctx_io_quit_(&system->io);
    /* If it is given up its sockets stay open, and so must its pipe:
     * CZMQ then does not wait for them at exit. */
    if (part(system, &system->io.runner, &system->io.left, deadline))
        let_go(&system->io.thread);
}

static void close_actors(dctx_system_t *system, int64_t deadline)
{
    dctx_asks_fail_(system, NULL, NULL, DCTX_ERR_STOPPED);
    dctx_io_wake_(&system->io); /* it rings what alarms are left */
    stop_actors(system, false);
    if (wait_quiet(system, at_least_grace(deadline)))
        return;
    /* No time for what lies before an actor's stop: that is cleared away later. Nor for one to wait
     * for its children, which it then says. */
    atomic_store(&system->hurry, true);
    stop_actors(system, true);
    (void)wait_quiet(system, at_least_grace(0));
}

dctx_error_t dctx_system_stop_(dctx_system_t *system, int64_t timeout_ms)
{
    int64_t limit = (INT64_MAX - real_now()) / NS_PER_MS - 1;
    timeout_ms = timeout_ms < 0 ? 0 : timeout_ms > limit ? limit : timeout_ms;
    int64_t deadline = real_now() + timeout_ms * NS_PER_MS;
    enter_phase(system, DCTX_PHASE_STOPPING);
    note_all(system);
    dctx_alarms_hasten_(system);
    if (system->started)
        (void)wait_quiet(system, deadline);
    enter_phase(system, DCTX_PHASE_CLOSING);
    if (system->started)
        close_actors(system, deadline);
    part_from_threads(system, at_least_grace(deadline));

    /* Nobody is at work any more but threads from outside that have just been let in: see
     * dctx_accept_(). They are not kept by anything, so a moment is all they get. */
    dctx_alarms_close_(system, NULL);
    clear_mailboxes(system, true);
    for (int tries = 0; tries < 10 && !wait_quiet(system, real_now() + 10 * NS_PER_MS); tries++)
        clear_mailboxes(system, false);
    dctx_asks_fail_(system, NULL, NULL, DCTX_ERR_STOPPED);
    stop_io(system, at_least_grace(deadline));
    atomic_store(&system->phase, DCTX_PHASE_STOPPED);
    return system->left_behind == NULL ? DCTX_OK : DCTX_ERR_TIMEOUT;
}
