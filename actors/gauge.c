#include "gauge.h"

#include <limits.h>
#include <time.h>

#include <dcontext/internal.h>

#include "aligned.h"
#include "pinned.h"
#include "runner.h"
#include "system.h"

enum { NS_PER_MS = 1000000, WAIT_MS = 1000, SPARE = 1024 };

/* ---- making ---------------------------------------------------------------------------------- */

static bool is_metered(const dctx_system_t *system, const dctx_actor_options_t *options,
                       bool internal)
{
    return (options->flags & DCTX_METERED) || (system->options.metrics && !internal);
}

static bool is_needed(const dctx_actor_options_t *options)
{
    return options->mailbox_limit > 0 || (options->flags & DCTX_COUNTED);
}

static dctx_error_t check(const dctx_actor_options_t *options)
{
    if (options->mailbox_limit > INT_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "a mailbox_limit of %zu: at most %d, or 0 for none",
                          options->mailbox_limit, INT_MAX);
    if ((unsigned)options->overflow > DCTX_OVERFLOW_DROP_OLDEST)
        return dctx_fail_(DCTX_ERR_INVALID, "no such overflow policy: %d", (int)options->overflow);
    if (options->mailbox_limit == 0 && options->overflow != DCTX_OVERFLOW_REJECT)
        return dctx_fail_(DCTX_ERR_INVALID, "an overflow policy needs a mailbox_limit");
    if (options->overflow_wait_ms < 0)
        return dctx_fail_(DCTX_ERR_INVALID, "overflow_wait_ms is not negative; 0 is the default");
    return DCTX_OK;
}

dctx_error_t dctx_gauge_prepare_(dctx_actor_t *actor, const dctx_actor_options_t *options,
                                 bool internal)
{
    bool metered = is_metered(actor->system, options, internal);
    dctx_error_t error = check(options);
    if (error != DCTX_OK || (!metered && !is_needed(options)))
        return error;
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_relaxed);
    if (gauge == NULL)
        gauge = dctx_calloc_aligned_(sizeof *gauge);
    if (gauge == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to count an actor's messages");
    atomic_store_explicit(&actor->gauge, gauge, memory_order_release);
    if (metered && gauge->meter == NULL)
        gauge->meter = dctx_calloc_(1, sizeof *gauge->meter);
    if (metered && gauge->meter == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to measure an actor");
    return DCTX_OK;
}

void dctx_gauge_open_(dctx_actor_t *actor, const dctx_actor_options_t *options, bool internal,
                      uint32_t generation)
{
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_relaxed);
    if (gauge == NULL)
        return;
    uint32_t limit = (uint32_t)options->mailbox_limit;
    int64_t wait_ms = options->overflow_wait_ms > 0 ? options->overflow_wait_ms : WAIT_MS;
    if (wait_ms > INT64_MAX / NS_PER_MS)
        wait_ms = INT64_MAX / NS_PER_MS;
    atomic_store_explicit(&gauge->limit, limit, memory_order_relaxed);
    atomic_store_explicit(&gauge->hard, limit + (limit > SPARE ? limit : SPARE),
                          memory_order_relaxed);
    atomic_store_explicit(&gauge->policy, (uint32_t)options->overflow, memory_order_relaxed);
    atomic_store_explicit(&gauge->wait_ns, wait_ms * NS_PER_MS, memory_order_relaxed);
    atomic_store_explicit(&gauge->most, 0, memory_order_relaxed);
    atomic_store_explicit(&gauge->overflowed, 0, memory_order_relaxed);
    bool metered = is_metered(actor->system, options, internal);
    atomic_store_explicit(&gauge->metered, metered ? gauge->meter : NULL, memory_order_release);
    /* Release: who finds our generation finds the above. */
    atomic_store(&gauge->state, (uint64_t)generation << 32);
}

void dctx_gauge_close_(dctx_actor_t *actor)
{
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_relaxed);
    if (gauge == NULL)
        return;
    dctx_meter_t *meter = atomic_load_explicit(&gauge->metered, memory_order_relaxed);
    if (meter == NULL) {
        atomic_store(&gauge->state, 0);
    } else {
        dctx_system_t *system = actor->system;
        pthread_mutex_lock(&system->meter_lock);
        atomic_store(&gauge->state, 0);
        atomic_store_explicit(&gauge->metered, NULL, memory_order_relaxed);
        dctx_meter_fold_(&system->gone, meter);
        pthread_mutex_unlock(&system->meter_lock);
    }
    (void)atomic_fetch_add(&gauge->room, 1);
    if (atomic_load(&gauge->waiters) > 0)
        dctx_futex_wake_all(&gauge->room);
}

void dctx_gauges_finish_(dctx_slab_t *actors)
{
    uint32_t count = dctx_slab_count(actors);
    for (uint32_t i = 0; i < count; i++) {
        dctx_actor_t *actor = dctx_slab_at(actors, i);
        dctx_gauge_t *gauge = atomic_load(&actor->gauge);
        if (gauge != NULL)
            dctx_release_(gauge->meter);
        dctx_release_aligned_(gauge);
    }
}

/* ---- counting -------------------------------------------------------------------------------- */

static void count_overflow(dctx_gauge_t *gauge)
{
    (void)atomic_fetch_add_explicit(&gauge->overflowed, 1, memory_order_relaxed);
}

static void note_most(dctx_gauge_t *gauge, uint32_t depth)
{
    uint32_t most = atomic_load_explicit(&gauge->most, memory_order_relaxed);
    while (depth > most &&
           !atomic_compare_exchange_weak_explicit(&gauge->most, &most, depth, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}

dctx_admission_t dctx_gauge_enter_(dctx_gauge_t *gauge, uint32_t generation)
{
    uint64_t state = atomic_load(&gauge->state);
    uint32_t depth;
    do {
        if (state >> 32 != generation)
            return DCTX_ADMISSION_GONE;
        depth = (uint32_t)state;
        uint32_t limit = atomic_load_explicit(&gauge->limit, memory_order_relaxed);
        if (limit == 0 || depth < limit)
            continue;
        uint32_t policy = atomic_load_explicit(&gauge->policy, memory_order_relaxed);
        if (policy == DCTX_OVERFLOW_DROP_OLDEST &&
            depth < atomic_load_explicit(&gauge->hard, memory_order_relaxed))
            continue;
        bool drop = policy == DCTX_OVERFLOW_DROP_OLDEST || policy == DCTX_OVERFLOW_DROP_NEWEST;
        if (policy != DCTX_OVERFLOW_BLOCK) /* who waits tries more than once */
            count_overflow(gauge);
        return drop ? DCTX_ADMISSION_DROP : DCTX_ADMISSION_FULL;
    } while (!atomic_compare_exchange_weak(&gauge->state, &state, state + 1));
    note_most(gauge, depth + 1);
    return DCTX_ADMISSION_IN;
}

void dctx_gauge_stamp_(dctx_gauge_t *gauge, dctx_system_t *system, dctx_message_t *message)
{
    dctx_meter_t *meter = atomic_load_explicit(&gauge->metered, memory_order_acquire);
    if (meter == NULL || !dctx_message_has_room_(message))
        return;
    message->node.flags |= DCTX_MESSAGE_METERED;
    message->sent_at = dctx_now_(system);
    if ((uint32_t)atomic_load_explicit(&gauge->state, memory_order_relaxed) == 1)
        atomic_store_explicit(&meter->oldest, message->sent_at, memory_order_relaxed);
}

dctx_error_t dctx_gauge_take_(dctx_actor_t *actor, dctx_message_t *message)
{
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_acquire);
    if (gauge == NULL)
        return DCTX_OK;
    dctx_admission_t admission = dctx_gauge_enter_(gauge, message->node.generation);
    if (admission != DCTX_ADMISSION_IN)
        return admission == DCTX_ADMISSION_GONE ? DCTX_ERR_NO_ACTOR : DCTX_ERR_FULL;
    message->node.flags |= DCTX_MESSAGE_COUNTED;
    dctx_gauge_stamp_(gauge, actor->system, message);
    return DCTX_OK;
}

bool dctx_gauge_leave_(dctx_gauge_t *gauge, uint32_t generation)
{
    uint64_t state = atomic_load(&gauge->state);
    do {
        if (state >> 32 != generation || (uint32_t)state == 0)
            return false;
    } while (!atomic_compare_exchange_weak(&gauge->state, &state, state - 1));
    if (__builtin_expect(atomic_load(&gauge->waiters) > 0, 0)) {
        (void)atomic_fetch_add(&gauge->room, 1);
        dctx_futex_wake_all(&gauge->room);
    }
    uint32_t limit = atomic_load_explicit(&gauge->limit, memory_order_relaxed);
    bool over = limit != 0 && (uint32_t)state > limit;
    if (over)
        count_overflow(gauge);
    return over;
}

int64_t dctx_actor_depth_(dctx_ref_t ref)
{
    if (dctx_ref_is_none(ref) || dctx_ref_is_remote(ref))
        return -1;
    dctx_system_t *system = ref.system_;
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)ref.id_);
    if (actor == NULL)
        return 0;
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_acquire);
    if (gauge == NULL)
        return -1;
    uint64_t state = atomic_load_explicit(&gauge->state, memory_order_relaxed);
    return state >> 32 == ref.id_ >> 32 ? (int64_t)(uint32_t)state : 0;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Real time, as it is a real thread that waits; but in a test world. */
static int64_t now_for(dctx_system_t *system)
{
    if (system->stage.world != NULL)
        return dctx_now_(system);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Only a thread that no other actor needs may wait, and not for itself. */
static bool may_wait(const dctx_actor_t *actor)
{
    dctx_runner_t *here = dctx_runner_here;
    if (here == NULL)
        return true;
    if (here->kind == DCTX_RUNNER_WORLD)
        return here->actor != actor && dctx_runner_may_wait_(here);
    dctx_pinned_t *pinned = atomic_load_explicit(&actor->pinned, memory_order_acquire);
    return here->kind == DCTX_RUNNER_PINNED && (pinned == NULL || !dctx_pinned_is_(pinned, here));
}

static dctx_error_t say_full(dctx_actor_t *actor, uint64_t id, const char *words)
{
    char name[DCTX_NAME_MAX + 1];
    (void)dctx_ref_format((dctx_ref_t){.system_ = actor->system, .id_ = id}, name, sizeof name);
    return dctx_fail_(DCTX_ERR_FULL, "the mailbox of %s is full (%u messages)%s",
                      name[0] != '\0' ? name : "one who has gone",
                      (unsigned)atomic_load_explicit(&actor->gauge, memory_order_relaxed)->limit,
                      words);
}

/* What a sender that waits in a test world has seen. */
typedef struct seen {
    dctx_gauge_t *gauge;
    uint32_t room;
} seen_t;

static bool has_changed(void *arg)
{
    const seen_t *seen = arg;
    return atomic_load(&seen->gauge->room) != seen->room;
}

static dctx_error_t wait_for_room(dctx_actor_t *actor, dctx_gauge_t *gauge, uint64_t id, int64_t ns)
{
    int64_t wait_ns = atomic_load_explicit(&gauge->wait_ns, memory_order_relaxed);
    int64_t end = now_for(actor->system) + (ns < wait_ns ? ns : wait_ns);
    for (;;) {
        uint32_t room = atomic_load(&gauge->room);
        dctx_admission_t admission = dctx_gauge_enter_(gauge, (uint32_t)(id >> 32));
        if (admission == DCTX_ADMISSION_IN)
            return DCTX_OK;
        if (admission == DCTX_ADMISSION_GONE)
            return dctx_fail_(DCTX_ERR_NO_ACTOR, "the actor has gone");
        int64_t left = end - now_for(actor->system);
        if (left <= 0)
            return say_full(actor, id, ", and has been all the time that a sender waits");
        int64_t due = dctx_is_empty() ? DCTX_NO_DEADLINE : dctx_deadline_left();
        if (due <= 0)
            return dctx_fail_(DCTX_ERR_DEADLINE, "the deadline passed while a mailbox was full");
        left = due < left ? due : left;
        seen_t seen = {.gauge = gauge, .room = room};
        if (actor->system->stage.world == NULL)
            dctx_futex_wait(&gauge->room, room, left);
        else
            (void)dctx_world_wait_(actor->system->stage.world, has_changed, &seen,
                                   dctx_now_(actor->system) + left);
    }
}

dctx_error_t dctx_gauge_admit_(dctx_actor_t *actor, uint64_t id, int64_t ns, bool *ret_drop)
{
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_acquire);
    dctx_admission_t admission = dctx_gauge_enter_(gauge, (uint32_t)(id >> 32));
    *ret_drop = admission == DCTX_ADMISSION_DROP;
    if (admission == DCTX_ADMISSION_IN || admission == DCTX_ADMISSION_DROP)
        return DCTX_OK;
    if (admission == DCTX_ADMISSION_GONE)
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the actor has gone");
    if (atomic_load_explicit(&gauge->policy, memory_order_relaxed) != DCTX_OVERFLOW_BLOCK)
        return say_full(actor, id, "");
    count_overflow(gauge);
    if (!may_wait(actor))
        return say_full(actor, id, "; a worker's thread, or its own, must not wait for room");
    (void)atomic_fetch_add(&gauge->waiters, 1);
    dctx_error_t error = wait_for_room(actor, gauge, id, ns);
    (void)atomic_fetch_sub(&gauge->waiters, 1);
    return error;
}
