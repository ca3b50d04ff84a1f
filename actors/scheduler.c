#include "scheduler.h"

#include "aligned.h"
#include "system.h"

enum {
    LOOK_EVERY = 61,   /* turns between two looks at the stack from outside */
    STREAK_MAX = 16,   /* turns from the slot before those in the ring have one */
    SPIN_NS = 20000,   /* how long a worker without work looks around before it sleeps */
    WATCH_NS = 1000000 /* how often a watcher looks at slots */
};

/* ---- making and unmaking --------------------------------------------------------------------- */

dctx_error_t dctx_scheduler_init(dctx_scheduler_t *scheduler, dctx_system_t *system,
                                 unsigned workers, unsigned quantum)
{
    *scheduler = (dctx_scheduler_t){.quantum = quantum};
    scheduler->workers = dctx_calloc_aligned_(workers * sizeof(dctx_worker_t));
    if (scheduler->workers == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %u workers", workers);
    scheduler->worker_count = workers;
    for (unsigned i = 0; i < workers; i++) {
        dctx_worker_t *worker = &scheduler->workers[i];
        dctx_runner_init(&worker->runner, system, DCTX_RUNNER_WORKER);
        worker->index = i;
        worker->seed = i * 2654435761u + 1;
    }
    return DCTX_OK;
}

void dctx_scheduler_finish(dctx_scheduler_t *scheduler)
{
    for (unsigned i = 0; i < scheduler->worker_count; i++)
        dctx_runner_finish(&scheduler->workers[i].runner);
    dctx_release_aligned_(scheduler->workers);
}

/* ---- waking ---------------------------------------------------------------------------------- */

static bool has_work(dctx_scheduler_t *scheduler)
{
    if (atomic_load(&scheduler->outside) != NULL)
        return true;
    for (unsigned i = 0; i < scheduler->worker_count; i++) {
        dctx_worker_t *worker = &scheduler->workers[i];
        if (atomic_load(&worker->ring_head) != atomic_load(&worker->ring_tail))
            return true;
    }
    return false;
}

/* True if there was a sleeper: it is awake now, and counted as looking. */
static bool wake_sleeper(dctx_scheduler_t *scheduler)
{
    uint64_t sleepers;
    while ((sleepers = atomic_load(&scheduler->sleepers)) != 0) {
        uint64_t bit = sleepers & -sleepers;
        if (atomic_fetch_and(&scheduler->sleepers, ~bit) & bit) {
            dctx_worker_t *worker = &scheduler->workers[__builtin_ctzll(bit)];
            atomic_store_explicit(&worker->wake, 1, memory_order_release);
            dctx_futex_wake_one(&worker->wake);
            return true;
        }
    }
    return false;
}

/*
 * Wakes a sleeper, unless somebody is looking already. Where there is none we have been counted as
 * looking for a moment ourselves: who made work meanwhile, and saw a worker fall asleep, has left
 * it to us to wake that one. So we look again until there is no work, or nobody asleep.
 */
static void wake_one(dctx_scheduler_t *scheduler)
{
    do {
        int none = 0;
        if (!atomic_compare_exchange_strong(&scheduler->looking, &none, 1) ||
            wake_sleeper(scheduler))
            return;
    } while (atomic_fetch_sub(&scheduler->looking, 1) == 1 &&
             atomic_load(&scheduler->sleepers) != 0 && has_work(scheduler));
}

/* To be called after work was stored, sequentially consistent, where any worker can take it. */
static inline void wake_for_work(dctx_scheduler_t *scheduler)
{
    if (atomic_load(&scheduler->sleepers) != 0 && atomic_load(&scheduler->looking) == 0)
        wake_one(scheduler);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static bool ring_put(dctx_worker_t *worker, dctx_actor_t *actor)
{
    uint32_t tail = atomic_load_explicit(&worker->ring_tail, memory_order_relaxed);
    /* Acquire pairs with the takers' swap: they have read the place before it is filled anew. */
    uint32_t head = atomic_load_explicit(&worker->ring_head, memory_order_acquire);
    if (tail - head == DCTX_RING)
        return false;
    atomic_store_explicit(&worker->ring[tail % DCTX_RING], actor, memory_order_relaxed);
    atomic_store(&worker->ring_tail, tail + 1);
    return true;
}

static void queue_put(dctx_worker_t *worker, dctx_actor_t *actor)
{
    if (worker->overflow == NULL && ring_put(worker, actor))
        return;
    actor->run_next = NULL;
    if (worker->overflow == NULL)
        worker->overflow = actor;
    else
        worker->overflow_last->run_next = actor;
    worker->overflow_last = actor;
}

/*
 * Where there are many actors their cells are not in the cache, and what a message costs is waiting
 * for them. So while one is at work the memory of those that come next is fetched: the cells of
 * one, and the newest message of the one before it, whose cell should be there by now. A place may
 * hold another actor meanwhile, or none that is still there; cells keep their memory, and fetching
 * what nobody needs harms nobody.
 */
static inline void fetch_ahead(dctx_worker_t *worker, uint32_t at)
{
    enum { LINE = 64, USED = 3 * LINE, FAR = 8 };
    uint32_t left = atomic_load_explicit(&worker->ring_tail, memory_order_relaxed) - at;
    if (left <= FAR || left > DCTX_RING)
        return;
    const dctx_actor_t *actor =
        atomic_load_explicit(&worker->ring[(at + FAR) % DCTX_RING], memory_order_relaxed);
    for (size_t line = 0; line < USED; line += LINE)
        __builtin_prefetch((const char *)actor + line, 1);
    actor = atomic_load_explicit(&worker->ring[(at + 1) % DCTX_RING], memory_order_relaxed);
    uintptr_t node = atomic_load_explicit(&actor->in.head, memory_order_relaxed);
    node &= ~DCTX_MAILBOX_IDLE;
    __builtin_prefetch((const void *)node, 1);
    __builtin_prefetch((const void *)(node + LINE), 1);
}

static dctx_actor_t *ring_take(dctx_worker_t *worker)
{
    uint32_t head = atomic_load_explicit(&worker->ring_head, memory_order_acquire);
    while (head != atomic_load_explicit(&worker->ring_tail, memory_order_relaxed)) {
        dctx_actor_t *actor =
            atomic_load_explicit(&worker->ring[head % DCTX_RING], memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&worker->ring_head, &head, head + 1,
                                                  memory_order_acq_rel, memory_order_acquire)) {
            fetch_ahead(worker, head + 1);
            return actor;
        }
    }
    return NULL;
}

static dctx_actor_t *queue_take(dctx_worker_t *worker)
{
    dctx_actor_t *actor = ring_take(worker);
    while (worker->overflow != NULL) {
        dctx_actor_t *oldest = worker->overflow;
        dctx_actor_t *rest = oldest->run_next;
        if (actor == NULL)
            actor = oldest;
        else if (!ring_put(worker, oldest))
            break;
        worker->overflow = rest;
    }
    return actor;
}

/* Takes the stack from outside: returns the oldest and queues the others. */
static dctx_actor_t *outside_take(dctx_scheduler_t *scheduler, dctx_worker_t *worker)
{
    worker->since_look = 0;
    if (atomic_load(&scheduler->outside) == NULL)
        return NULL;
    dctx_actor_t *actor = atomic_exchange_explicit(&scheduler->outside, NULL, memory_order_acquire);
    dctx_actor_t *oldest = NULL;
    while (actor != NULL) {
        dctx_actor_t *next = actor->run_next;
        actor->run_next = oldest;
        oldest = actor;
        actor = next;
    }
    if (oldest == NULL)
        return NULL;
    bool more = oldest->run_next != NULL;
    for (dctx_actor_t *rest = oldest->run_next; rest != NULL; rest = actor) {
        actor = rest->run_next;
        queue_put(worker, rest);
    }
    if (more)
        wake_for_work(scheduler);
    return oldest;
}

/* Takes half of the victim's ring: returns one and queues the others. */
static dctx_actor_t *steal_from(dctx_worker_t *worker, dctx_worker_t *victim)
{
    uint32_t tail = atomic_load_explicit(&worker->ring_tail, memory_order_relaxed);
    uint32_t head = atomic_load(&victim->ring_head);
    for (;;) {
        /* Acquire pairs with ring_put(): the places up to the tail are filled. */
        uint32_t end = atomic_load(&victim->ring_tail);
        uint32_t count = end - head;
        if (count == 0)
            return NULL;
        count -= count / 2;
        if (count > DCTX_RING / 2) { /* head and tail are of different moments */
            head = atomic_load(&victim->ring_head);
            continue;
        }
        /* Our ring is empty, so there is room; what we copy counts only if the swap succeeds. */
        dctx_actor_t *first =
            atomic_load_explicit(&victim->ring[head % DCTX_RING], memory_order_relaxed);
        for (uint32_t i = 1; i < count; i++) {
            dctx_actor_t *actor =
                atomic_load_explicit(&victim->ring[(head + i) % DCTX_RING], memory_order_relaxed);
            atomic_store_explicit(&worker->ring[(tail + i - 1) % DCTX_RING], actor,
                                  memory_order_relaxed);
        }
        if (!atomic_compare_exchange_weak_explicit(&victim->ring_head, &head, head + count,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        if (count > 1)
            atomic_store(&worker->ring_tail, tail + count - 1);
        return first;
    }
}

static dctx_actor_t *steal(dctx_scheduler_t *scheduler, dctx_worker_t *worker)
{
    unsigned count = scheduler->worker_count;
    worker->seed = worker->seed * 1664525u + 1013904223u;
    unsigned first = (worker->seed >> 16) % count;
    for (unsigned i = 0; i < count; i++) {
        dctx_worker_t *victim = &scheduler->workers[(first + i) % count];
        dctx_actor_t *actor = victim == worker ? NULL : steal_from(worker, victim);
        if (actor != NULL)
            return actor;
    }
    return NULL;
}

static dctx_actor_t *slot_take(dctx_worker_t *worker)
{
    if (atomic_load_explicit(&worker->next, memory_order_relaxed) == NULL)
        return NULL;
    return atomic_exchange_explicit(&worker->next, NULL, memory_order_acquire);
}

/* Anything that this worker may run, but for what is in the others' slots. */
static dctx_actor_t *find(dctx_scheduler_t *scheduler, dctx_worker_t *worker)
{
    dctx_actor_t *actor = NULL;
    if (++worker->since_look >= LOOK_EVERY)
        actor = outside_take(scheduler, worker);
    if (actor == NULL && worker->streak < STREAK_MAX) {
        actor = slot_take(worker);
        if (actor != NULL) {
            worker->streak++;
            return actor;
        }
    }
    worker->streak = 0;
    if (actor == NULL)
        actor = queue_take(worker);
    if (actor == NULL)
        actor = slot_take(worker);
    if (actor == NULL)
        actor = outside_take(scheduler, worker);
    if (actor == NULL)
        actor = steal(scheduler, worker);
    return actor;
}

static bool ring_is_empty(dctx_worker_t *worker)
{
    return atomic_load(&worker->ring_head) == atomic_load(&worker->ring_tail);
}

/* ---- sleeping -------------------------------------------------------------------------------- */

static int64_t monotonic_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A worker is looking no more. Work made meanwhile woke nobody, because we were looking: look
 * whether there is more than what we found, and if so wake the next. */
static void stop_looking(dctx_scheduler_t *scheduler)
{
    if (atomic_fetch_sub(&scheduler->looking, 1) == 1 && has_work(scheduler))
        wake_for_work(scheduler);
}

static dctx_actor_t *look_around(dctx_scheduler_t *scheduler, dctx_worker_t *worker)
{
    int64_t end = monotonic_ns() + SPIN_NS;
    do {
        for (int i = 0; i < 16; i++) {
            dctx_actor_t *actor = find(scheduler, worker);
            if (actor != NULL || atomic_load_explicit(&scheduler->quit, memory_order_relaxed))
                return actor;
            dctx_pause();
        }
    } while (monotonic_ns() < end);
    return NULL;
}

static uint64_t own_bit(const dctx_worker_t *worker)
{
    return (uint64_t)1 << worker->index;
}

uint64_t dctx_scheduler_all_bits_(const dctx_scheduler_t *scheduler)
{
    return scheduler->worker_count == 64 ? UINT64_MAX
                                         : ((uint64_t)1 << scheduler->worker_count) - 1;
}

/* One look of the watcher. Takes an actor that waits in the slot of a worker which has begun no
 * turn since the last look. *ret_stir: something moves, or waits; it is worth another look. */
static dctx_actor_t *watch(dctx_scheduler_t *scheduler, dctx_worker_t *worker, bool *ret_stir)
{
    *ret_stir = false;
    for (unsigned i = 0; i < scheduler->worker_count; i++) {
        dctx_worker_t *other = &scheduler->workers[i];
        if (other == worker)
            continue;
        uint64_t turns = atomic_load_explicit(&other->turns, memory_order_relaxed);
        dctx_actor_t *actor = atomic_load(&other->next);
        bool stuck =
            actor != NULL && worker->seen_turns[i] == turns && worker->seen_next[i] == actor;
        if (stuck && atomic_compare_exchange_strong_explicit(
                         &other->next, &actor, NULL, memory_order_acquire, memory_order_relaxed))
            return actor;
        if (actor != NULL || worker->seen_turns[i] != turns)
            *ret_stir = true;
        worker->seen_turns[i] = turns;
        worker->seen_next[i] = actor;
    }
    return NULL;
}

/* Sleeps as watcher. An actor it took, or NULL: it was woken, or there is nothing left to watch. */
static dctx_actor_t *sleep_watching(dctx_scheduler_t *scheduler, dctx_worker_t *worker)
{
    bool stir = true;
    dctx_actor_t *actor = watch(scheduler, worker, &stir);
    stir = true; /* whatever the first look found is what the second is compared with */
    while (actor == NULL && stir && atomic_load(&worker->wake) == 0) {
        dctx_futex_wait(&worker->wake, 0, WATCH_NS);
        if (atomic_load_explicit(&worker->wake, memory_order_acquire) == 0)
            actor = watch(scheduler, worker, &stir);
    }
    atomic_store(&scheduler->watching, 0);
    return actor;
}

/* Takes our bit back, or waits for whoever has taken it: the wake-up is then ours to use up. True
 * if we were being woken, and so are counted as looking. */
static bool wake_up(dctx_scheduler_t *scheduler, dctx_worker_t *worker)
{
    if (atomic_fetch_and(&scheduler->sleepers, ~own_bit(worker)) & own_bit(worker))
        return false;
    while (atomic_load_explicit(&worker->wake, memory_order_acquire) == 0)
        dctx_futex_wait(&worker->wake, 0, -1);
    atomic_store_explicit(&worker->wake, 0, memory_order_relaxed);
    return true;
}

/* Sleeps until there may be work. *ret_looking: we are counted as looking. */
static dctx_actor_t *sleep_well(dctx_scheduler_t *scheduler, dctx_worker_t *worker,
                                bool *ret_looking)
{
    dctx_system_worker_idle_(worker->runner.system);
    (void)atomic_fetch_or(&scheduler->sleepers, own_bit(worker));
    dctx_actor_t *actor = find(scheduler, worker);
    while (actor == NULL && !atomic_load(&scheduler->quit)) {
        int none = 0;
        bool busy = atomic_load(&scheduler->sleepers) != dctx_scheduler_all_bits_(scheduler);
        if (busy && atomic_compare_exchange_strong(&scheduler->watching, &none, 1)) {
            actor = sleep_watching(scheduler, worker);
            if (actor != NULL || atomic_load(&worker->wake) != 0)
                break;
            /* Somebody may have put an actor into its slot, and relied on our watch,
             * while it ended. */
            bool stir = false;
            actor = watch(scheduler, worker, &stir);
            if (stir)
                continue;
        }
        if (actor != NULL)
            break;
        while (atomic_load_explicit(&worker->wake, memory_order_acquire) == 0)
            dctx_futex_wait(&worker->wake, 0, -1);
        break;
    }
    *ret_looking = wake_up(scheduler, worker);
    dctx_watch_arm_(worker->runner.system);
    return actor;
}

/* ---- for the worker -------------------------------------------------------------------------- */

dctx_actor_t *dctx_scheduler_next_(dctx_scheduler_t *scheduler, dctx_worker_t *worker)
{
    bool looking = false;
    dctx_actor_t *actor = NULL;
    while (!atomic_load_explicit(&scheduler->quit, memory_order_acquire)) {
        actor = find(scheduler, worker);
        if (actor != NULL)
            break;
        int none = 0;
        if (!looking)
            looking = atomic_compare_exchange_strong(&scheduler->looking, &none, 1);
        if (looking) {
            actor = look_around(scheduler, worker);
            stop_looking(scheduler);
            looking = false;
            if (actor != NULL)
                break;
        }
        actor = sleep_well(scheduler, worker, &looking);
        if (actor != NULL)
            break;
    }
    if (looking)
        stop_looking(scheduler);
    uint64_t turns = atomic_load_explicit(&worker->turns, memory_order_relaxed);
    atomic_store_explicit(&worker->turns, turns + 1, memory_order_relaxed);
    return actor;
}

void dctx_scheduler_again_(dctx_scheduler_t *scheduler, dctx_worker_t *worker, dctx_actor_t *actor)
{
    /* The only work there is need not wake others: we take it ourselves next. */
    bool more = !ring_is_empty(worker) || atomic_load(&worker->next) != NULL;
    queue_put(worker, actor);
    if (more)
        wake_for_work(scheduler);
}

void dctx_schedule_(dctx_scheduler_t *scheduler, dctx_worker_t *worker, dctx_actor_t *actor)
{
    if (worker == NULL) {
        dctx_actor_t *top = atomic_load_explicit(&scheduler->outside, memory_order_relaxed);
        do
            actor->run_next = top;
        while (!atomic_compare_exchange_weak(&scheduler->outside, &top, actor));
        wake_for_work(scheduler);
        return;
    }
    dctx_actor_t *before = atomic_exchange(&worker->next, actor);
    if (before != NULL) {
        queue_put(worker, before);
        wake_for_work(scheduler);
    } else if (atomic_load(&scheduler->sleepers) != 0 && atomic_load(&scheduler->watching) == 0) {
        /* Nobody else may take it, but somebody has to watch over it. */
        wake_for_work(scheduler);
    }
}

void dctx_scheduler_quit_(dctx_scheduler_t *scheduler)
{
    atomic_store(&scheduler->quit, 1);
    for (unsigned i = 0; i < scheduler->worker_count; i++) {
        dctx_worker_t *worker = &scheduler->workers[i];
        /* Its bit is ours now, or another's who will wake it anyway,
         * or it is awake and sees `quit`. */
        if (atomic_fetch_and(&scheduler->sleepers, ~own_bit(worker)) & own_bit(worker)) {
            (void)atomic_fetch_add(&scheduler->looking, 1);
            atomic_store_explicit(&worker->wake, 1, memory_order_release);
            dctx_futex_wake_one(&worker->wake);
        }
    }
}
