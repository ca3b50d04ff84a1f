#include "system.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <dcontext/internal.h>
#include <dcontext/retry.h>

#include "actor.h"
#include "aligned.h"
#include "ask.h"
#include "gauge.h"
#include "pinned.h"
#include "stop.h"
#include "worker.h"
#include "zmq_life.h"

enum {
    QUANTUM = 64,
    MESSAGE_LIMIT = 1 << 20,
    DESTROY_MS = 5000,
    CALLERS_MAX = 8,
    NS_PER_MS = 1000000
};

/* All systems of the process that are alive; and those that were left behind with a thread in them,
 * so that their memory has an owner. */
static pthread_mutex_t systems_lock = PTHREAD_MUTEX_INITIALIZER;
static dctx_system_t *systems;
static dctx_system_t *left_behind;
static uint64_t last_serial;

dctx_system_t *dctx_systems_lock_(const void *system)
{
    pthread_mutex_lock(&systems_lock);
    for (dctx_system_t *each = systems; each != NULL; each = each->next) {
        if (each == system)
            return each;
    }
    pthread_mutex_unlock(&systems_lock);
    return NULL;
}

void dctx_systems_unlock_(void)
{
    pthread_mutex_unlock(&systems_lock);
}

static void list(dctx_system_t **head, dctx_system_t *system)
{
    pthread_mutex_lock(&systems_lock);
    if (system->serial == 0)
        system->serial = ++last_serial;
    system->next = *head;
    *head = system;
    pthread_mutex_unlock(&systems_lock);
}

static void unlist(dctx_system_t *system)
{
    pthread_mutex_lock(&systems_lock);
    dctx_system_t **place = &systems;
    while (*place != NULL && *place != system)
        place = &(*place)->next;
    if (*place != NULL)
        *place = system->next;
    pthread_mutex_unlock(&systems_lock);
}

/* ---- what is asked of every send ------------------------------------------------------------- */

dctx_tallies_t *dctx_outside_(dctx_system_t *system)
{
    /* Any spread will do: threads' own storage is at least a page apart. */
    static _Thread_local char here;
    return &system->outside[((uintptr_t)&here >> 12) * 2654435761u >> 16 &
                            (DCTX_OUTSIDE_TALLIES - 1)];
}

static dctx_error_t refuse_to_accept(dctx_system_t *system)
{
    return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
}

dctx_error_t dctx_accept_(dctx_system_t *system, dctx_runner_t *runner)
{
    if (runner != NULL) {
        if (__builtin_expect(dctx_phase_(system) >= DCTX_PHASE_CLOSING, 0))
            return refuse_to_accept(system);
        dctx_tally_own(&runner->tallies, DCTX_TALLY_ACCEPTED);
        return DCTX_OK;
    }
    dctx_tallies_t *tallies = dctx_outside_(system);
    dctx_tally_shared(tallies, DCTX_TALLY_ACCEPTED, 1);
    if (__builtin_expect(dctx_phase_(system) == DCTX_PHASE_RUNNING, 1))
        return DCTX_OK;
    dctx_tally_shared(tallies, DCTX_TALLY_ACCEPTED, (uint64_t)-1);
    dctx_system_stirred_(system);
    return refuse_to_accept(system);
}

void dctx_post_(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor,
                dctx_node_t *node)
{
    if (dctx_mailbox_push(&actor->in, node))
        dctx_run_(system, runner, actor);
}

void dctx_run_(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_pinned_t *pinned = atomic_load_explicit(&actor->pinned, memory_order_acquire);
    if (__builtin_expect(pinned != NULL, 0))
        dctx_pinned_wake_(pinned);
    else
        dctx_schedule_(&system->scheduler, dctx_worker_of(runner), actor);
}

void dctx_system_worker_idle_(dctx_system_t *system)
{
    dctx_system_stirred_(system);
}

/* ---- counters -------------------------------------------------------------------------------- */

uint64_t dctx_system_sum_(dctx_system_t *system, dctx_tally_t what)
{
    uint64_t sum = dctx_tally_read(&system->io.runner.tallies, what);
    for (unsigned i = 0; i < system->scheduler.worker_count; i++)
        sum += dctx_tally_read(&system->scheduler.workers[i].runner.tallies, what);
    pthread_mutex_lock(&system->pinned_lock);
    for (int i = 0; i < DCTX_OUTSIDE_TALLIES; i++)
        sum += dctx_tally_read(&system->outside[i], what);
    for (dctx_pinned_t *pinned = system->pinned; pinned != NULL; pinned = pinned->next)
        sum += dctx_tally_read(&pinned->runner.tallies, what);
    pthread_mutex_unlock(&system->pinned_lock);
    return sum;
}

bool dctx_system_is_quiet_(dctx_system_t *system)
{
    /* What went out is read first. Each message is counted in before it can be counted out, and
     * none is counted twice; so if the two are equal now, they were when the first was read. */
    uint64_t out = dctx_system_sum_(system, DCTX_TALLY_HANDLED) +
                   dctx_system_sum_(system, DCTX_TALLY_DEAD) +
                   dctx_system_sum_(system, DCTX_TALLY_CONSUMED);
    uint64_t in =
        dctx_system_sum_(system, DCTX_TALLY_ACCEPTED) + dctx_system_sum_(system, DCTX_TALLY_POSTED);
    return in == out;
}

void dctx_system_counters_read(const dctx_system_t *self, dctx_system_counters_t *ret_counters)
{
    if (ret_counters == NULL)
        return;
    dctx_system_t *system = (dctx_system_t *)(uintptr_t)self;
    dctx_system_counters_t c = {0};
    if (system == NULL) {
        *ret_counters = c;
        return;
    }
    /* Ends before beginnings, so that no gauge goes below zero but by what is counted late. */
    c.handled = dctx_system_sum_(system, DCTX_TALLY_HANDLED);
    c.dead_lettered = dctx_system_sum_(system, DCTX_TALLY_DEAD);
    c.expired = dctx_system_sum_(system, DCTX_TALLY_EXPIRED);
    c.accepted = dctx_system_sum_(system, DCTX_TALLY_ACCEPTED);
    c.failed = dctx_system_sum_(system, DCTX_TALLY_FAILED);
    c.refused = dctx_system_sum_(system, DCTX_TALLY_REFUSED);
    c.replies = dctx_system_sum_(system, DCTX_TALLY_REPLIES);
    c.asks_failed = dctx_system_sum_(system, DCTX_TALLY_ASKS_FAILED);
    c.asks_timed_out = dctx_system_sum_(system, DCTX_TALLY_ASKS_TIMED_OUT);
    c.asks_expired = dctx_system_sum_(system, DCTX_TALLY_ASKS_EXPIRED);
    c.asks_cancelled = dctx_system_sum_(system, DCTX_TALLY_ASKS_CANCELLED);
    c.cancelled = dctx_system_sum_(system, DCTX_TALLY_CANCELLED);
    c.cancels_sent = dctx_system_sum_(system, DCTX_TALLY_CANCELS_SENT);
    c.cancels_received = dctx_system_sum_(system, DCTX_TALLY_CANCELS_RECEIVED);
    uint64_t landed = dctx_system_sum_(system, DCTX_TALLY_FLIGHTS_ENDED);
    c.remote_in_flight = dctx_system_sum_(system, DCTX_TALLY_FLIGHTS_BEGUN) - landed;
    uint64_t unwatched = dctx_system_sum_(system, DCTX_TALLY_WATCHED_ENDED);
    c.remote_monitors = dctx_system_sum_(system, DCTX_TALLY_WATCHED_BEGUN) - unwatched;
    c.remote_monitors_refused = dctx_system_sum_(system, DCTX_TALLY_WATCHES_REFUSED);
    c.asks = dctx_system_sum_(system, DCTX_TALLY_ASKS);
    c.late_replies = dctx_system_sum_(system, DCTX_TALLY_LATE);
    c.remote_sent = dctx_system_sum_(system, DCTX_TALLY_REMOTE_SENT);
    c.remote_received = dctx_system_sum_(system, DCTX_TALLY_REMOTE_RECEIVED);
    c.remote_lost = dctx_system_sum_(system, DCTX_TALLY_REMOTE_LOST);
    c.context_errors = dctx_system_sum_(system, DCTX_TALLY_CONTEXT_ERRORS);
    c.blocked = dctx_system_sum_(system, DCTX_TALLY_BLOCKED);
    c.scope_leaks = dctx_system_sum_(system, DCTX_TALLY_LEAKS);
    c.failures = dctx_system_sum_(system, DCTX_TALLY_FAILURES);
    c.restarts = dctx_system_sum_(system, DCTX_TALLY_RESTARTS);
    uint64_t gone = dctx_system_sum_(system, DCTX_TALLY_GONE);
    uint64_t spawned = dctx_system_sum_(system, DCTX_TALLY_SPAWNED);
    c.timers_run = dctx_system_sum_(system, DCTX_TALLY_TIMERS_RUN);
    c.timers_missed = dctx_system_sum_(system, DCTX_TALLY_TIMERS_MISSED);
    c.actors = spawned > gone ? spawned - gone : 0;
    uint64_t over = c.replies + c.asks_failed;
    c.asks_in_flight = c.asks > over ? c.asks - over : 0;
    *ret_counters = c;
}

const char *dctx_system_name(const dctx_system_t *system)
{
    return system != NULL ? system->name : "";
}

/* ---- making ---------------------------------------------------------------------------------- */

static int64_t monotonic(void *arg)
{
    (void)arg;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t seed_number(void)
{
    uint64_t number = 0;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number)
        number = (uint64_t)monotonic(NULL);
    return number;
}

uint64_t dctx_system_random_(dctx_system_t *system)
{
    static _Thread_local dctx_random_t random;
    static _Thread_local bool seeded;
    if (system->stage.world != NULL)
        return dctx_world_random_(system->stage.world);
    if (!seeded)
        dctx_random_seed(&random, seed_number());
    seeded = true;
    return dctx_random_next(&random);
}

static int64_t world_clock(void *arg)
{
    return dctx_world_now_(arg);
}

static unsigned core_count(void)
{
    cpu_set_t cores;
    int count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    return count < 1 ? 1 : count > DCTX_WORKERS_MAX ? DCTX_WORKERS_MAX : (unsigned)count;
}

static uint64_t world_id(void *arg)
{
    return dctx_world_random_(arg);
}

static dctx_error_t check(const dctx_system_options_t *options, const dctx_registry_t *registry)
{
    if (registry == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the process-wide registry");
    if (!dctx_registry_is_frozen(registry))
        return dctx_fail_(DCTX_ERR_NOT_FROZEN, "freeze the registry before a system uses it");
    if (options->name != NULL && !dctx_node_name_is_valid(options->name, strlen(options->name)))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a node's name is 1 to 63 of A-Z a-z 0-9 _ . -, not \"%s\"",
                          options->name);
    if (options->workers > DCTX_WORKERS_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "%u workers: at most %d", options->workers,
                          DCTX_WORKERS_MAX);
    if (options->heartbeat_ms < 0 || options->dead_after_ms < 0)
        return dctx_fail_(DCTX_ERR_INVALID, "a heartbeat is not negative");
    if (options->world != NULL && options->clock != NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a test world has the clock: leave out the other");
    if (options->clock != NULL && options->clock->now_ns == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a clock needs now_ns");
    if (options->ids != NULL && options->ids->next == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a source of ids needs next");
    if (options->context_policy != DCTX_ON_ERROR_CONTINUE &&
        options->context_policy != DCTX_ON_ERROR_REJECT)
        return dctx_fail_(DCTX_ERR_INVALID, "no such context_policy");
    if (options->curve != NULL && options->certificate == NULL)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a system that demands CURVE needs a certificate of its own");
    if (options->deadline_policy != DCTX_DEADLINE_OBSERVE &&
        options->deadline_policy != DCTX_DEADLINE_OFF &&
        options->deadline_policy != DCTX_DEADLINE_ENFORCE)
        return dctx_fail_(DCTX_ERR_INVALID, "no such deadline_policy");
    return DCTX_OK;
}

static void take_options(dctx_system_t *system, const dctx_system_options_t *options,
                         dctx_registry_t *registry)
{
    static const dctx_clock_t own_clock = {.now_ns = monotonic};
    system->options = *options;
    system->options.interceptors = NULL;
    system->options.name = system->name;
    if (system->options.message_limit == 0)
        system->options.message_limit = MESSAGE_LIMIT;
    if (options->world != NULL)
        dctx_world_enter_(options->world, system);
    if (options->name != NULL)
        strcpy(system->name, options->name);
    else
        snprintf(system->name, sizeof system->name, "node-%016llx",
                 (unsigned long long)dctx_system_random_(system));
    system->registry = registry;
    system->global = registry == dctx_registry_global();
    system->own_clock = options->clock == NULL && options->world == NULL;
    system->clock = options->clock != NULL ? *options->clock : own_clock;
    if (options->world != NULL)
        system->clock = (dctx_clock_t){.now_ns = world_clock, .arg = options->world};
    system->options.clock = NULL;
    if (options->ids != NULL)
        system->ids = *options->ids;
    else if (options->world != NULL)
        system->ids = (dctx_id_source_t){.next = world_id, .arg = options->world};
    system->span_ids = system->ids.next != NULL ? &system->ids : NULL;
    system->options.ids = NULL;
    system->self.scope = "actor:(system)";
    system->self.system = system;
    system->self.internal = true;
    atomic_store(&system->due, INT64_MAX);
}

/* Callers are sent no messages: nobody has their address. */
static dctx_error_t no_handler(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    (void)state;
    return DCTX_ERR_REJECTED;
}

static dctx_error_t spawn_callers(dctx_system_t *system)
{
    unsigned count = system->scheduler.worker_count;
    count = count < CALLERS_MAX ? count : CALLERS_MAX;
    system->callers = dctx_calloc_(count, sizeof(dctx_ref_t));
    if (system->callers == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a system");
    while (system->caller_count < count) {
        dctx_actor_options_t options = {.handler = no_handler};
        dctx_error_t error =
            dctx_spawn_(system, &options, true, &system->callers[system->caller_count]);
        if (error != DCTX_OK)
            return error;
        system->caller_count++;
    }
    return DCTX_OK;
}

static dctx_error_t start_threads(dctx_system_t *system)
{
    unsigned workers = system->scheduler.worker_count;
    dctx_error_t error = dctx_zactors_check_(workers + 1);
    if (error != DCTX_OK)
        return error;
    system->io.thread = dctx_zactor_new_(dctx_io_run, &system->io);
    bool started = system->io.thread != NULL;
    for (unsigned i = 0; i < workers && started; i++) {
        dctx_worker_t *worker = &system->scheduler.workers[i];
        worker->thread = dctx_zactor_new_(dctx_worker_run, worker);
        started = worker->thread != NULL;
    }
    return started ? DCTX_OK : dctx_fail_(DCTX_ERR_NOMEM, "no memory for a system's threads");
}

/* What cannot fail; so that what can may be undone as a whole. */
static void init(dctx_system_t *system)
{
    dctx_slab_init(&system->actors, sizeof(dctx_actor_t), dctx_actor_init_);
    dctx_slab_init(&system->asks, sizeof(dctx_ask_slot_t), dctx_ask_slot_init_);
    dctx_alarms_init(&system->alarms);
    dctx_timer_table_init(&system->timers);
    dctx_pool_init(&system->pool);
    dctx_names_init(&system->names);
    dctx_groups_init(&system->groups);
    dctx_peers_init(&system->peers);
    pthread_mutex_init(&system->meter_lock, NULL);
    dctx_channels_init(&system->channels);
    pthread_mutex_init(&system->pinned_lock, NULL);
    pthread_mutex_init(&system->stop_lock, NULL);
    pthread_mutex_init(&system->report_lock, NULL);
}

static void finish(dctx_system_t *system)
{
    dctx_world_leave_(system);
    dctx_io_finish(&system->io);
    dctx_scheduler_finish(&system->scheduler);
    dctx_release_(system->callers);
    dctx_gauges_finish_(&system->actors);
    dctx_slab_finish(&system->actors);
    dctx_slab_finish(&system->asks);
    dctx_alarms_finish(&system->alarms);
    dctx_timer_table_finish(&system->timers);
    dctx_names_finish(&system->names);
    dctx_groups_finish(&system->groups);
    dctx_peers_finish(&system->peers);
    dctx_pool_finish(&system->pool);
    dctx_pipeline_finish(&system->pipeline);
    dctx_snapshot_unref(&system->empty);
    dctx_budget_unref(&system->budget);
    dctx_policy_unref(&system->options.policy);
    zcert_destroy(&system->options.certificate);
    dctx_release_(system->left_behind);
    pthread_mutex_destroy(&system->meter_lock);
    dctx_channels_finish(&system->channels);
    pthread_mutex_destroy(&system->pinned_lock);
    pthread_mutex_destroy(&system->stop_lock);
    pthread_mutex_destroy(&system->report_lock);
    dctx_release_aligned_(system);
}

/* The certificate and the policy become the system's own. */
static dctx_error_t take_security(dctx_system_t *system, const dctx_system_options_t *options)
{
    (void)dctx_policy_ref(system->options.policy);
    if (options->certificate == NULL)
        return DCTX_OK;
    system->options.certificate = zcert_dup(options->certificate);
    return system->options.certificate != NULL
               ? DCTX_OK
               : dctx_fail_(DCTX_ERR_NOMEM, "no memory for a certificate");
}

static dctx_error_t build(dctx_system_t *system, const dctx_system_options_t *options)
{
    bool threads = system->stage.world == NULL;
    unsigned workers = options->workers != 0 ? options->workers : core_count();
    workers = threads ? workers : 1;
    unsigned quantum = options->quantum != 0 ? options->quantum : QUANTUM;
    dctx_error_t error = take_security(system, options);
    if (error == DCTX_OK)
        error = dctx_snapshot_empty(system->registry, &system->empty);
    if (error == DCTX_OK)
        error = dctx_budget_new(NULL, &system->budget);
    if (error == DCTX_OK)
        error = dctx_pipeline_init(&system->pipeline, NULL, options->interceptors,
                                   options->interceptor_count);
    if (error == DCTX_OK)
        atomic_store(&system->intercepted, system->pipeline.count > 0);
    if (error == DCTX_OK)
        error = dctx_scheduler_init(&system->scheduler, system, workers, quantum);
    if (error == DCTX_OK && !threads)
        system->scheduler.workers[0].runner.kind = DCTX_RUNNER_WORLD;
    if (error == DCTX_OK && threads)
        error = dctx_zmq_start_();
    if (error == DCTX_OK)
        error = dctx_io_init(&system->io, system);
    if (error == DCTX_OK)
        error = spawn_callers(system);
    if (error == DCTX_OK && threads)
        error = start_threads(system);
    system->started = error == DCTX_OK;
    return error;
}

dctx_error_t dctx_system_new(const dctx_system_options_t *options, dctx_system_t **ret_system)
{
    static const dctx_system_options_t none;
    if (ret_system == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the system");
    if (options == NULL)
        options = &none;
    dctx_registry_t *registry =
        options->registry != NULL ? options->registry : dctx_registry_global();
    dctx_error_t error = check(options, registry);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = dctx_calloc_aligned_(sizeof *system);
    if (system == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a system");
    take_options(system, options, registry);
    init(system);
    list(&systems, system);
    error = build(system, options);
    if (error != DCTX_OK) {
        dctx_system_destroy(&system);
        return error;
    }
    *ret_system = system;
    return DCTX_OK;
}

/* ---- stopping -------------------------------------------------------------------------------- */

dctx_error_t dctx_system_stop(dctx_system_t *system, int64_t timeout_ms, char **ret_report)
{
    if (system == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no system to stop");
    if (dctx_runner_of(system) != NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a thread of the system cannot stop it");
    pthread_mutex_lock(&system->stop_lock);
    dctx_error_t error = DCTX_OK;
    if (dctx_phase_(system) != DCTX_PHASE_STOPPED)
        error = dctx_system_stop_(system, timeout_ms);
    else if (system->left_behind != NULL)
        error = DCTX_ERR_TIMEOUT;
    if (error != DCTX_OK)
        (void)dctx_fail_(error, "%s", system->left_behind);
    if (ret_report != NULL) {
        const char *text = system->left_behind != NULL ? system->left_behind : "";
        *ret_report = dctx_strndup_(text, strlen(text));
    }
    pthread_mutex_unlock(&system->stop_lock);
    return error;
}

void dctx_system_destroy(dctx_system_t **system_p)
{
    if (system_p == NULL || *system_p == NULL)
        return;
    dctx_system_t *system = *system_p;
    if (dctx_runner_of(system) != NULL) {
        dctx_log(DCTX_LOG_ERROR, "system %s: a thread of the system cannot destroy it",
                 system->name);
        return;
    }
    *system_p = NULL;
    (void)dctx_system_stop(system, DESTROY_MS, NULL);
    unlist(system);
    if (system->abandoned)
        list(&left_behind, system);
    else
        finish(system);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

dctx_error_t dctx_system_bind(dctx_system_t *system, const char *endpoint, char **ret_endpoint)
{
    if (system == NULL || endpoint == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, or no endpoint");
    return dctx_io_command_(&system->io, DCTX_COMMAND_BIND, endpoint, NULL, NULL, ret_endpoint);
}

dctx_error_t dctx_system_connect(dctx_system_t *system, const char *node, const char *endpoint)
{
    if (system == NULL || node == NULL || endpoint == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, no node, or no endpoint");
    return dctx_io_command_(&system->io, DCTX_COMMAND_CONNECT, node, endpoint, NULL, NULL);
}

dctx_error_t dctx_system_connect_curve(dctx_system_t *system, const char *node,
                                       const char *endpoint, const char *server_key)
{
    if (system == NULL || node == NULL || endpoint == NULL || server_key == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, no node, no endpoint, or no key");
    return dctx_io_command_(&system->io, DCTX_COMMAND_CONNECT, node, endpoint, server_key, NULL);
}

static bool is_up(void *arg)
{
    return ((const dctx_peer_t *)arg)->up;
}

static bool wait_up_in_world(dctx_system_t *system, const dctx_peer_t *peer, int64_t timeout_ms)
{
    return dctx_world_wait_(system->stage.world, is_up, (void *)(uintptr_t)peer,
                            dctx_now_(system) + timeout_ms * NS_PER_MS);
}

dctx_error_t dctx_system_wait_node(dctx_system_t *system, const char *node, int64_t timeout_ms)
{
    if (system == NULL || node == NULL || !dctx_node_name_is_valid(node, strlen(node)))
        return dctx_fail_(DCTX_ERR_INVALID, "no system, or no node's name");
    dctx_runner_t *here = dctx_runner_here;
    if (here != NULL && !dctx_runner_may_wait_(here))
        return dctx_fail_(DCTX_ERR_INVALID, "a worker must not wait");
    const dctx_peer_t *peer = dctx_peers_get(&system->peers, node, strlen(node));
    if (peer == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to wait for a node");
    /* It may have come up before anybody knew its name here. */
    dctx_error_t error = dctx_io_command_(&system->io, DCTX_COMMAND_IS_UP, node, NULL, NULL, NULL);
    if (error != DCTX_OK)
        return error;
    timeout_ms = timeout_ms < 0 ? 0 : timeout_ms > INT32_MAX ? INT32_MAX : timeout_ms;
    bool up = system->stage.world != NULL
                  ? wait_up_in_world(system, peer, timeout_ms)
                  : dctx_peers_wait_up(&system->peers, peer, timeout_ms * NS_PER_MS);
    if (!up)
        return dctx_fail_(DCTX_ERR_TIMEOUT, "node %s was not up within %lld ms", node,
                          (long long)timeout_ms);
    return DCTX_OK;
}
