#include "world.h"

#include <string.h>

#include <dcontext/internal.h>

#include "net.h"
#include "system.h"
#include "turn.h"

enum {
    STEPS_MAX = 10000000,
    RUNNABLE_MIN = 64,
    TASTE = 4 /* how many of the runnable a ranked choice looks at */
};

static const int64_t first_moment = (int64_t)3600 * 1000000000;
static const int64_t wall_ahead = (int64_t)1700000000 * 1000000000;

/* How the next actor is chosen. Each finds other mistakes, so a world changes its mind now and
 * then. */
typedef enum manner {
    MANNER_ANY,    /* all alike */
    MANNER_NEWEST, /* mostly who became runnable last: long chains first */
    MANNER_RANKED, /* each actor has a rank for a while: some starve, others race ahead */
    MANNERS
} manner_t;

/* The world that this thread made last, for what waits without saying for which system. */
static _Thread_local dctx_test_world_t *latest;

struct dctx_test_world {
    int64_t now;
    dctx_random_t random;
    dctx_clocks_t clocks;
    manner_t manner;
    uint64_t ranks; /* changes when the ranks do */
    uint64_t steps;
    uint64_t trace;
    dctx_system_t *systems;
    unsigned numbers; /* given out so far */
    dctx_net_t net;
};

/* ---- time and chance ------------------------------------------------------------------------- */

static int64_t monotonic(void *arg)
{
    dctx_test_world_t *world = arg;
    return world->now;
}

static int64_t wall(void *arg)
{
    return monotonic(arg) + wall_ahead;
}

int64_t dctx_world_now_(dctx_test_world_t *world)
{
    return world->now;
}

uint64_t dctx_world_random_(dctx_test_world_t *world)
{
    return dctx_random_next(&world->random);
}

static uint64_t draw(dctx_test_world_t *world, uint64_t below)
{
    return dctx_random_next(&world->random) % below;
}

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

static void note(dctx_test_world_t *world, uint64_t what)
{
    world->trace = mix(world->trace ^ what) + 0x9e3779b97f4a7c15u;
}

/* ---- making and unmaking --------------------------------------------------------------------- */

dctx_error_t dctx_test_world_new(uint64_t seed, dctx_test_world_t **ret_world)
{
    if (ret_world == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the world");
    dctx_test_world_t *world = dctx_calloc_(1, sizeof *world);
    if (world == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a test world");
    world->now = first_moment;
    world->clocks = (dctx_clocks_t){
        .wall = wall, .monotonic = monotonic, .arg = world, .boot_id = "test world"};
    dctx_random_seed(&world->random, seed);
    world->manner = (manner_t)draw(world, MANNERS);
    dctx_net_init(&world->net, world);
    latest = world;
    *ret_world = world;
    return DCTX_OK;
}

void dctx_test_world_destroy(dctx_test_world_t **world_p)
{
    if (world_p == NULL || *world_p == NULL)
        return;
    dctx_test_world_t *world = *world_p;
    if (world->systems != NULL) {
        dctx_log(DCTX_LOG_ERROR, "a test world stays: system %s is still in it",
                 world->systems->name);
        return;
    }
    *world_p = NULL;
    if (latest == world)
        latest = NULL;
    dctx_net_finish(&world->net);
    dctx_release_(world);
}

void dctx_world_enter_(dctx_test_world_t *world, dctx_system_t *system)
{
    dctx_system_t **place = &world->systems;
    while (*place != NULL)
        place = &(*place)->stage.next;
    *place = system;
    /* As a worker does: a thread makes room for its context at its first scope. */
    dctx_scope_t scope;
    if (dctx_scope_push(NULL, &scope) == DCTX_OK)
        (void)dctx_scope_pop(&scope);
    system->stage.world = world;
    system->stage.number = ++world->numbers;
}

void dctx_world_leave_(dctx_system_t *system)
{
    if (system->stage.world == NULL)
        return;
    dctx_system_t **place = &system->stage.world->systems;
    while (*place != NULL && *place != system)
        place = &(*place)->stage.next;
    if (*place != NULL)
        *place = system->stage.next;
    dctx_release_(system->stage.runnable);
    system->stage.runnable = NULL;
}

/* ---- who may run ----------------------------------------------------------------------------- */

static bool make_room(dctx_stage_t *stage)
{
    if (stage->count < stage->capacity)
        return true;
    size_t capacity = stage->capacity == 0 ? RUNNABLE_MIN : stage->capacity * 2;
    dctx_actor_t **runnable = dctx_alloc_(capacity * sizeof *runnable);
    if (runnable == NULL)
        return false;
    for (size_t i = 0; i < stage->count; i++)
        runnable[i] = stage->runnable[i];
    dctx_release_(stage->runnable);
    stage->runnable = runnable;
    stage->capacity = capacity;
    return true;
}

static void add(dctx_stage_t *stage, dctx_actor_t *actor)
{
    if (make_room(stage)) {
        stage->runnable[stage->count++] = actor;
    } else {
        actor->run_next = stage->spilled;
        stage->spilled = actor;
    }
}

/* Takes over whoever became runnable since. */
static void gather(dctx_system_t *system)
{
    dctx_stage_t *stage = &system->stage;
    dctx_actor_t *spilled = stage->spilled;
    stage->spilled = NULL;
    for (dctx_actor_t *next; spilled != NULL; spilled = next) {
        next = spilled->run_next;
        add(stage, spilled);
    }
    dctx_actor_t *newest = atomic_exchange(&system->scheduler.outside, NULL), *oldest = NULL;
    for (dctx_actor_t *next; newest != NULL; newest = next) {
        next = newest->run_next;
        newest->run_next = oldest;
        oldest = newest;
    }
    for (dctx_actor_t *next; oldest != NULL; oldest = next) {
        next = oldest->run_next;
        add(stage, oldest);
    }
}

static int64_t due_next(dctx_system_t *system)
{
    int64_t asks = atomic_load(&system->due), alarms = atomic_load(&system->alarms.due);
    int64_t wire = system->io.wire != NULL ? dctx_net_due_(system->io.wire) : INT64_MAX;
    int64_t due = asks < alarms ? asks : alarms;
    return due < wire ? due : wire;
}

static bool io_is_ready(dctx_system_t *system)
{
    if (!system->started)
        return false;
    bool mail = !(atomic_load(&system->io.in.head) & DCTX_MAILBOX_IDLE);
    bool over =
        dctx_phase_(system) >= DCTX_PHASE_CLOSING && atomic_load(&system->alarms.due) != INT64_MAX;
    return mail || over || due_next(system) <= system->stage.world->now;
}

/* How many could run: actors, and I/O actors. If memory is short some wait, but never all. */
static size_t count_ready(dctx_test_world_t *world)
{
    size_t count = 0;
    for (dctx_system_t *each = world->systems; each != NULL; each = each->stage.next) {
        gather(each);
        count += each->stage.count + (each->stage.count == 0 && each->stage.spilled != NULL);
        count += io_is_ready(each);
    }
    return count;
}

static uint64_t rank(const dctx_test_world_t *world, const dctx_actor_t *actor)
{
    return mix(world->ranks ^ actor->slot.index);
}

/* Which of the runnable actors. One was drawn from among all; here that may be thought over. */
static size_t choose(dctx_test_world_t *world, const dctx_stage_t *stage, size_t drawn)
{
    if (world->manner == MANNER_NEWEST)
        return draw(world, 8) != 0 ? stage->count - 1 : drawn;
    if (world->manner == MANNER_RANKED) {
        for (int i = 1; i < TASTE; i++) {
            size_t other = draw(world, stage->count);
            if (rank(world, stage->runnable[other]) > rank(world, stage->runnable[drawn]))
                drawn = other;
        }
    }
    return drawn;
}

static dctx_actor_t *take(dctx_test_world_t *world, dctx_stage_t *stage, size_t drawn)
{
    if (stage->count == 0) {
        dctx_actor_t *actor = stage->spilled;
        stage->spilled = actor->run_next;
        return actor;
    }
    size_t chosen = choose(world, stage, drawn);
    dctx_actor_t *actor = stage->runnable[chosen];
    stage->runnable[chosen] = stage->runnable[--stage->count];
    return actor;
}

/* ---- running --------------------------------------------------------------------------------- */

/* What a thread is in the middle of when it drives a world: a callback, or nothing. */
typedef struct aside {
    dctx_runner_t *here;
    dctx_actor_t *actor, *busy;
    dctx_message_t *message;
    const dctx_snapshot_t *context;
    const dctx_type_t *type;
    const char *prefix, *callback;
    struct dctx_end *end;
    bool in_turn, at_urgent;
    dctx_node_t *urgent_hand;
    dctx_urgent_list_t urgent_rest;
    /* Of the ask in hand: what others start meanwhile is not done for it. */
    const dctx_asked_t *working;
    dctx_asked_t asked;
    dctx_cancel_t *work;
} aside_t;

static aside_t put_aside(void)
{
    dctx_runner_t *here = dctx_runner_here;
    if (here == NULL)
        return (aside_t){0};
    aside_t aside = {.here = here,
                     .actor = here->actor,
                     .busy = atomic_load(&here->busy),
                     .message = here->message,
                     .context = atomic_load(&here->context),
                     .type = atomic_load(&here->type),
                     .prefix = atomic_load(&here->prefix),
                     .callback = here->callback,
                     .end = here->end,
                     .in_turn = here->in_turn,
                     .at_urgent = here->at_urgent,
                     .urgent_hand = here->urgent_hand,
                     .urgent_rest = here->urgent_rest,
                     .working = dctx_hot_.asked,
                     .asked = here->asked,
                     .work = here->work};
    here->callback = NULL;
    here->end = NULL;
    here->at_urgent = false;
    here->urgent_hand = NULL;
    here->urgent_rest = (dctx_urgent_list_t){0};
    here->work = NULL;
    dctx_cancel_end_();
    return aside;
}

static void take_up(const aside_t *aside)
{
    dctx_runner_t *here = dctx_runner_here = aside->here;
    if (here == NULL)
        return;
    here->actor = aside->actor;
    here->message = aside->message;
    here->callback = aside->callback;
    here->end = aside->end;
    here->in_turn = aside->in_turn;
    here->at_urgent = aside->at_urgent;
    here->urgent_hand = aside->urgent_hand;
    here->urgent_rest = aside->urgent_rest;
    here->asked = aside->asked;
    here->work = aside->work;
    dctx_hot_.asked = aside->working;
    atomic_store(&here->context, aside->context);
    atomic_store(&here->type, aside->type);
    atomic_store(&here->prefix, aside->prefix);
    atomic_store(&here->busy, aside->busy);
}

static void run_actor(dctx_test_world_t *world, dctx_system_t *system, dctx_actor_t *actor)
{
    unsigned most = 1;
    if (draw(world, 2) == 0)
        most += (unsigned)draw(world, system->scheduler.quantum);
    note(world, (uint64_t)system->stage.number << 56 ^ (uint64_t)actor->slot.index << 24 ^ most);
    dctx_runner_t *runner = &system->scheduler.workers[0].runner;
    dctx_runner_here = runner;
    if (dctx_turn_(runner, actor, most) == DCTX_TURN_AGAIN)
        add(&system->stage, actor);
}

static void run_io(dctx_test_world_t *world, dctx_system_t *system)
{
    note(world, (uint64_t)system->stage.number << 56 ^ (uint64_t)world->now);
    dctx_runner_here = &system->io.runner;
    int64_t due = INT64_MAX;
    (void)dctx_io_round_(&system->io, &due);
}

/* Runs the drawn one of those that are ready, in an empty context of its system's registry. */
static bool run_drawn(dctx_test_world_t *world, size_t drawn)
{
    for (dctx_system_t *each = world->systems; each != NULL; each = each->stage.next) {
        dctx_stage_t *stage = &each->stage;
        size_t actors = stage->count > 0 ? stage->count : stage->spilled != NULL;
        size_t here = actors + io_is_ready(each);
        if (drawn >= here) {
            drawn -= here;
            continue;
        }
        dctx_scope_t scope = {0};
        bool nested = !dctx_is_empty();
        if (nested && dctx_attach(each->empty, &scope) != DCTX_OK)
            return false;
        aside_t aside = put_aside();
        bool before = each->scheduler.workers[0].runner.nested;
        each->scheduler.workers[0].runner.nested = nested;
        if (drawn < actors)
            run_actor(world, each, take(world, stage, drawn));
        else
            run_io(world, each);
        each->scheduler.workers[0].runner.nested = before;
        take_up(&aside);
        if (nested)
            (void)dctx_scope_unwind_(&scope);
        return true;
    }
    return false;
}

static bool step(dctx_test_world_t *world)
{
    size_t count = count_ready(world);
    if (count == 0)
        return false;
    if (draw(world, 64) == 0) {
        world->manner = (manner_t)draw(world, MANNERS);
        world->ranks = dctx_random_next(&world->random);
    }
    world->steps++;
    return run_drawn(world, draw(world, count));
}

static bool run(dctx_test_world_t *world)
{
    for (int i = 0; i < STEPS_MAX; i++) {
        if (!step(world))
            return true;
    }
    return false;
}

void dctx_world_settle_(dctx_test_world_t *world)
{
    (void)run(world);
}

/* Moves the clock to what is due next, but not past `until`. False: there is nothing before that,
 * and it is `until`; but for INT64_MAX, then it stays. */
static bool pass_time(dctx_test_world_t *world, int64_t until)
{
    int64_t next = INT64_MAX;
    for (dctx_system_t *each = world->systems; each != NULL; each = each->stage.next) {
        int64_t due = due_next(each);
        next = due < next ? due : next;
    }
    bool found = next <= until && next != INT64_MAX;
    int64_t then = found ? next : until == INT64_MAX ? world->now : until;
    world->now = then > world->now ? then : world->now;
    note(world, (uint64_t)world->now);
    return found;
}

bool dctx_world_wait_(dctx_test_world_t *world, dctx_test_predicate_fn predicate, void *arg,
                      int64_t until)
{
    for (int i = 0; i < STEPS_MAX; i++) {
        if (predicate != NULL && predicate(arg))
            return true;
        if (!step(world) && !pass_time(world, until))
            return predicate != NULL && predicate(arg);
    }
    return false;
}

dctx_test_world_t *dctx_world_here_(void)
{
    dctx_runner_t *here = dctx_runner_here;
    return here != NULL ? here->system->stage.world : latest;
}

/* ---- as users see it ------------------------------------------------------------------------- */

/* Nobody may drive it now, for the reason in the detail. */
static bool is_undrivable(const dctx_test_world_t *world)
{
    if (world == NULL) {
        (void)dctx_fail_(DCTX_ERR_INVALID, "no world (NULL)");
        return true;
    }
    dctx_runner_t *here = dctx_runner_here;
    if (here == NULL || here->system->stage.world != world)
        return false;
    (void)dctx_fail_(DCTX_ERR_INVALID, "a test world cannot be driven from inside");
    return true;
}

static int64_t later(const dctx_test_world_t *world, int64_t ns)
{
    int64_t then = 0;
    return __builtin_add_overflow(world->now, ns > 0 ? ns : 0, &then) ? INT64_MAX : then;
}

const dctx_clocks_t *dctx_test_clocks(const dctx_test_world_t *world)
{
    return world != NULL ? &world->clocks : NULL;
}

dctx_clock_t dctx_test_clock(dctx_test_world_t *world)
{
    if (world == NULL)
        return (dctx_clock_t){0};
    return (dctx_clock_t){.now_ns = monotonic, .arg = world};
}

dctx_id_source_t dctx_test_ids(dctx_test_world_t *world)
{
    if (world == NULL)
        return (dctx_id_source_t){0};
    return (dctx_id_source_t){.next = dctx_random_next, .arg = &world->random};
}

bool dctx_test_step(dctx_test_world_t *world)
{
    return !is_undrivable(world) && step(world);
}

bool dctx_test_run(dctx_test_world_t *world)
{
    return !is_undrivable(world) && run(world);
}

bool dctx_test_is_idle(dctx_test_world_t *world)
{
    return world == NULL || count_ready(world) == 0;
}

bool dctx_test_advance(dctx_test_world_t *world, int64_t ns)
{
    if (is_undrivable(world))
        return false;
    int64_t until = later(world, ns);
    do {
        if (!run(world))
            return false;
    } while (pass_time(world, until));
    return run(world);
}

bool dctx_test_await(dctx_test_world_t *world, dctx_test_predicate_fn predicate, void *arg,
                     int64_t timeout_ns)
{
    return !is_undrivable(world) &&
           dctx_world_wait_(world, predicate, arg, later(world, timeout_ns));
}

dctx_error_t dctx_world_wire_(dctx_system_t *system, const dctx_link_options_t *options,
                              dctx_wire_t **ret_wire)
{
    return dctx_net_wire_(&system->stage.world->net, system, options, ret_wire);
}

dctx_error_t dctx_test_net_set(dctx_test_world_t *world, const dctx_test_net_t *net)
{
    if (world == NULL || net == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no world, or no network to set");
    if (net->delay_ns < 0 || net->jitter_ns < 0 || net->lose > 1000000 || net->sever > 1000000)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a network has times that are not negative, and loses at most all");
    world->net.manners = *net;
    return DCTX_OK;
}

dctx_error_t dctx_test_cut(dctx_test_world_t *world, const char *node, const char *other)
{
    if (world == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no world (NULL)");
    if (node == NULL || other == NULL || !dctx_node_name_is_valid(node, strlen(node)) ||
        !dctx_node_name_is_valid(other, strlen(other)))
        return dctx_fail_(DCTX_ERR_INVALID, "no names of nodes");
    return dctx_net_cut_(&world->net, node, other);
}

void dctx_test_heal(dctx_test_world_t *world, const char *node, const char *other)
{
    if (world != NULL && node != NULL && other != NULL)
        dctx_net_heal_(&world->net, node, other);
}

void dctx_test_net_counters_read(const dctx_test_world_t *world,
                                 dctx_test_net_counters_t *ret_counters)
{
    if (ret_counters != NULL)
        *ret_counters = world != NULL ? world->net.counters : (dctx_test_net_counters_t){0};
}

int64_t dctx_test_now(const dctx_test_world_t *world)
{
    return world != NULL ? world->now : 0;
}

uint64_t dctx_test_steps(const dctx_test_world_t *world)
{
    return world != NULL ? world->steps : 0;
}

uint64_t dctx_test_trace(const dctx_test_world_t *world)
{
    return world != NULL ? world->trace : 0;
}
