#include "monitor.h"

#include <string.h>
#include <time.h>

#include <dcontext/internal.h>

#include "exit.h"
#include "far.h"
#include "life.h"
#include "message.h"
#include "send.h"
#include "system.h"
#include "handle.h"

/* Undoes ties: a signal for either side. */
typedef struct untie {
    _Atomic(uint32_t) references;
    dctx_ref_t a, b;
    dctx_signal_t to_a, to_b;
} untie_t;

/* A tie is two monitors in one block, that counts for both. */
typedef struct tie {
    dctx_monitor_t ways[2];
} tie_t;

/* ---- records --------------------------------------------------------------------------------- */

/* What counts the references of a watch. */
static dctx_monitor_t *counted(dctx_monitor_t *watch)
{
    return watch->twin != NULL && watch->twin < watch ? watch->twin : watch;
}

void dctx_monitor_ref_(dctx_monitor_t *watch)
{
    (void)atomic_fetch_add_explicit(&counted(watch)->references, 1, memory_order_relaxed);
}

static void finish(dctx_monitor_t *watch)
{
    dctx_snapshot_unref(&watch->snapshot);
    dctx_exit_unref(&watch->exit);
    dctx_release_(watch->spare);
}

void dctx_monitor_unref_(dctx_monitor_t *watch)
{
    watch = counted(watch);
    if (atomic_fetch_sub_explicit(&watch->references, 1, memory_order_acq_rel) > 1)
        return;
    finish(watch);
    if (watch->twin != NULL)
        finish(watch->twin);
    dctx_release_(watch);
}

void dctx_untie_ref_(void *record)
{
    untie_t *untie = record;
    (void)atomic_fetch_add_explicit(&untie->references, 1, memory_order_relaxed);
}

void dctx_untie_unref_(void *record)
{
    untie_t *untie = record;
    if (atomic_fetch_sub_explicit(&untie->references, 1, memory_order_acq_rel) == 1)
        dctx_release_(untie);
}

/* The target may have no place for its watchers, and no memory for one when it hears of this. */
static bool fill(dctx_monitor_t *watch, dctx_monitor_kind_t kind, dctx_ref_t target)
{
    watch->kind = kind;
    watch->target = target;
    watch->enter.record = watch->leave.record = watch->down.record = watch;
    if (dctx_id_is_remote(target.id_))
        return true;
    watch->spare = dctx_extra_new_();
    return watch->spare != NULL;
}

/* With one reference, for the caller. */
static dctx_monitor_t *new_watch(dctx_monitor_kind_t kind, dctx_ref_t target)
{
    bool far = kind == DCTX_MONITOR_NODE || dctx_id_is_remote(target.id_);
    dctx_monitor_t *watch = dctx_calloc_(1, sizeof *watch + (far ? sizeof *watch->far : 0));
    if (watch != NULL && far) {
        watch->far = (struct dctx_far *)(void *)(watch + 1);
        watch->far->watch = watch;
    }
    if (watch != NULL && fill(watch, kind, target)) {
        atomic_init(&watch->references, 1);
        return watch;
    }
    dctx_release_(watch);
    (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a monitor");
    return NULL;
}

/* Of a system that is there now. */
static void set_watcher(dctx_monitor_t *watch, dctx_ref_t watcher)
{
    dctx_system_t *system = watcher.system_;
    watch->watcher = watcher;
    watch->serial = system->serial;
}

dctx_monitor_t *dctx_monitor_of_node_(dctx_ref_t target)
{
    dctx_monitor_t *watch = new_watch(DCTX_MONITOR_NODE, target);
    if (watch != NULL)
        set_watcher(watch, (dctx_ref_t){.system_ = target.system_, .id_ = DCTX_ID_REMOTE});
    return watch;
}

/* ---- the watcher's own list ------------------------------------------------------------------ */

static void own(dctx_monitors_t *monitors, dctx_monitor_t *watch)
{
    dctx_monitor_ref_(watch);
    watch->own_next = monitors->own;
    watch->own_place = &monitors->own;
    if (monitors->own != NULL)
        monitors->own->own_place = &watch->own_next;
    monitors->own = watch;
}

static void disown(dctx_monitor_t *watch)
{
    if (watch->own_place == NULL)
        return;
    *watch->own_place = watch->own_next;
    if (watch->own_next != NULL)
        watch->own_next->own_place = watch->own_place;
    watch->own_place = NULL;
    dctx_monitor_unref_(watch);
}

/* No more on_down; and the target need not keep it. */
static void take_back(dctx_runner_t *runner, dctx_monitor_t *watch)
{
    if (!watch->over)
        (void)dctx_signal_post_(runner, watch->target, &watch->leave, DCTX_SIGNAL_UNWATCH);
    watch->over = true;
    disown(watch);
}

void dctx_monitors_withdraw_(dctx_runner_t *runner, dctx_monitors_t *monitors)
{
    while (monitors->own != NULL) {
        dctx_monitor_t *watch = monitors->own;
        /* For the one who stops the system there is nobody left to tell in it. */
        if (runner == NULL && watch->target.system_ == watch->watcher.system_)
            watch->over = true;
        take_back(runner, watch);
    }
}

/* ---- the target's list ----------------------------------------------------------------------- */

static void enlist(dctx_monitors_t *monitors, dctx_monitor_t *watch)
{
    dctx_monitor_ref_(watch);
    watch->next = monitors->watchers;
    watch->place = &monitors->watchers;
    if (monitors->watchers != NULL)
        monitors->watchers->place = &watch->next;
    monitors->watchers = watch;
}

/* The list's reference is the caller's now. False: it was not there. */
static bool delist(dctx_monitor_t *watch)
{
    if (watch->place == NULL)
        return false;
    *watch->place = watch->next;
    if (watch->next != NULL)
        watch->next->place = watch->place;
    watch->place = NULL;
    return true;
}

bool dctx_monitor_tell_(dctx_runner_t *runner, dctx_system_t *system, dctx_monitor_t *watch,
                        const dctx_exit_t *exit)
{
    switch (watch->kind) {
    case DCTX_MONITOR_ACTOR:
    case DCTX_MONITOR_TIE:
    case DCTX_MONITOR_NODE:
        watch->exit = dctx_exit_ref(exit);
        /* For the one who stops the system, its own actors have ended as well. */
        if (runner != NULL || watch->watcher.system_ != system)
            (void)dctx_signal_tell_(runner, watch->watcher, watch->serial, &watch->down,
                                    DCTX_SIGNAL_DOWN);
        return true;
    case DCTX_MONITOR_WAIT:
        watch->exit = dctx_exit_ref(exit);
        atomic_store_explicit(&watch->done, 1, memory_order_release);
        dctx_futex_wake_all(&watch->done);
        return true;
    case DCTX_MONITOR_CALL:
    default:
        if (runner != NULL)
            dctx_runner_begin(runner, &system->self, NULL, NULL, NULL);
        watch->run.call(watch->target, exit, watch->arg);
        return runner == NULL || dctx_runner_end(runner);
    }
}

bool dctx_monitors_tell_(dctx_runner_t *runner, dctx_system_t *system, dctx_monitors_t *monitors,
                         const dctx_exit_t *exit)
{
    while (monitors->watchers != NULL) {
        dctx_monitor_t *watch = monitors->watchers;
        (void)delist(watch);
        if (!dctx_monitor_tell_(runner, system, watch, exit))
            return false;
        dctx_monitor_unref_(watch);
    }
    return true;
}

/* ---- signals --------------------------------------------------------------------------------- */

/* The target is asked to keep a watch. */
static bool take_enter(dctx_runner_t *runner, dctx_actor_t *actor, dctx_monitor_t *watch,
                       bool living)
{
    dctx_extra_t *spare = watch->spare;
    watch->spare = NULL;
    if (living && actor->extra == NULL) {
        dctx_extra_adopt_(actor, spare);
        spare = NULL;
    }
    dctx_release_(spare);
    if (living) {
        enlist(&actor->extra->monitors, watch);
        return true;
    }
    dctx_exit_t *exit = dctx_life_last_exit_(actor, watch->enter.node.generation);
    bool on = dctx_monitor_tell_(runner, actor->system, watch, exit);
    dctx_exit_unref(&exit);
    return on;
}

static bool run_down(dctx_runner_t *runner, dctx_actor_t *actor, dctx_monitor_t *watch)
{
    if (watch->over)
        return true;
    watch->over = true;
    dctx_scope_t scope;
    dctx_runner_begin(runner, actor, NULL, watch->snapshot, NULL);
    dctx_handle_enter_(runner, watch->snapshot, NULL, &scope);
    runner->callback = "on_down";
    watch->run.on_down(actor, watch->target, watch->exit, actor->state, watch->arg);
    runner->callback = NULL;
    dctx_handle_leave_(runner, actor, &scope);
    if (!dctx_runner_end(runner))
        return false;
    /* One whose handle is out stays in the list, so that the handle stays good. */
    if (!watch->handle)
        disown(watch);
    return true;
}

/* One that this actor is tied to has ended. */
static bool run_tied(dctx_runner_t *runner, dctx_actor_t *actor, dctx_monitor_t *watch)
{
    /* The tie is over for us too: the one the other way is in our list. */
    if (delist(watch->twin))
        dctx_monitor_unref_(watch);
    if (!watch->any_end && !dctx_exit_is_failure(watch->exit))
        return true;
    dctx_tied_fn on_tied = actor->extra != NULL ? actor->extra->monitors.on_tied : NULL;
    if (on_tied == NULL)
        return dctx_life_end_(runner, actor, DCTX_EXIT_TIED, DCTX_ERR_STOPPED, watch->exit);
    dctx_scope_t scope;
    dctx_runner_begin(runner, actor, NULL, NULL, "actor:");
    dctx_handle_enter_(runner, NULL, actor->scope, &scope);
    runner->callback = "on_tied";
    on_tied(actor, watch->target, watch->exit, actor->state);
    runner->callback = NULL;
    dctx_handle_leave_(runner, actor, &scope);
    return dctx_runner_end(runner);
}

static void take_untie(dctx_actor_t *actor, const untie_t *untie, bool living)
{
    if (!living || actor->extra == NULL)
        return;
    dctx_ref_t me = dctx_life_ref_(actor);
    dctx_ref_t other = dctx_ref_equal(me, untie->a) ? untie->b : untie->a;
    dctx_monitor_t *next;
    for (dctx_monitor_t *watch = actor->extra->monitors.watchers; watch != NULL; watch = next) {
        next = watch->next;
        if (watch->kind == DCTX_MONITOR_TIE && dctx_ref_equal(watch->watcher, other) &&
            delist(watch))
            dctx_monitor_unref_(watch);
    }
}

bool dctx_monitor_take_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_signal_t *signal,
                        bool living)
{
    dctx_monitor_t *watch = signal->record;
    switch ((dctx_signal_kind_t)signal->node.flags) {
    case DCTX_SIGNAL_WATCH:
        return take_enter(runner, actor, watch, living);
    case DCTX_SIGNAL_UNWATCH:
        if (living && delist(watch))
            dctx_monitor_unref_(watch);
        return true;
    case DCTX_SIGNAL_DOWN:
        /* One that is ending serves nobody any more. */
        if (!living || dctx_life_is_ending_(actor))
            return true;
        return watch->kind == DCTX_MONITOR_TIE ? run_tied(runner, actor, watch)
                                               : run_down(runner, actor, watch);
    case DCTX_SIGNAL_UNTIE:
        take_untie(actor, signal->record, living);
        return true;
    default:
        return true;
    }
}

/* ---- for users ------------------------------------------------------------------------------- */

static dctx_error_t check(dctx_ref_t who)
{
    if (dctx_ref_is_none(who))
        return dctx_fail_(DCTX_ERR_INVALID, "there is nobody to watch");
    dctx_system_t *system = who.system_;
    if (dctx_ref_is_remote(who) && dctx_peers_remote(&system->peers, who.id_) == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "the address is none of this process");
    return DCTX_OK;
}

static dctx_error_t refuse_stopped(dctx_ref_t who)
{
    dctx_system_t *system = who.system_;
    return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
}

dctx_error_t dctx_monitor(dctx_actor_t *self, dctx_ref_t who, dctx_down_fn on_down, void *arg,
                          dctx_monitor_t **ret_monitor)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || on_down == NULL || here == NULL || here->actor != self)
        return dctx_fail_(DCTX_ERR_INVALID, "only an actor monitors so, in its own callbacks");
    dctx_error_t error = check(who);
    if (error != DCTX_OK)
        return error;
    dctx_extra_t *extra = dctx_extra_get_(self);
    dctx_monitor_t *watch = extra != NULL ? new_watch(DCTX_MONITOR_ACTOR, who) : NULL;
    if (watch == NULL)
        return DCTX_ERR_NOMEM;
    set_watcher(watch, dctx_life_ref_(self));
    watch->run.on_down = on_down;
    watch->arg = arg;
    if (!dctx_is_empty())
        error = dctx_fork(&watch->snapshot);
    if (error == DCTX_OK && !dctx_signal_post_(here, who, &watch->enter, DCTX_SIGNAL_WATCH))
        error = refuse_stopped(who);
    if (error == DCTX_OK) {
        own(&extra->monitors, watch);
        watch->handle = ret_monitor != NULL;
        if (ret_monitor != NULL)
            *ret_monitor = watch;
    }
    dctx_monitor_unref_(watch);
    return error;
}

void dctx_demonitor(dctx_actor_t *self, dctx_monitor_t **monitor_p)
{
    dctx_runner_t *here = dctx_runner_here;
    if (monitor_p == NULL || *monitor_p == NULL || here == NULL || here->actor != self)
        return;
    dctx_monitor_t *watch = *monitor_p;
    *monitor_p = NULL;
    take_back(here, watch);
}

dctx_error_t dctx_monitor_call(dctx_ref_t who, dctx_down_call_fn call, void *arg)
{
    if (call == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a monitor needs somebody to call");
    dctx_error_t error = check(who);
    if (error != DCTX_OK)
        return error;
    dctx_monitor_t *watch = new_watch(DCTX_MONITOR_CALL, who);
    if (watch == NULL)
        return DCTX_ERR_NOMEM;
    watch->run.call = call;
    watch->arg = arg;
    if (!dctx_signal_post_(dctx_runner_here, who, &watch->enter, DCTX_SIGNAL_WATCH))
        error = refuse_stopped(who);
    dctx_monitor_unref_(watch);
    return error;
}

static int64_t real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool is_told(void *arg)
{
    dctx_monitor_t *watch = arg;
    return atomic_load_explicit(&watch->done, memory_order_acquire) != 0;
}

static void wait_told(dctx_system_t *system, dctx_monitor_t *watch, int64_t timeout_ms)
{
    int64_t ns = timeout_ms * 1000000;
    if (system->stage.world != NULL) {
        (void)dctx_world_wait_(system->stage.world, is_told, watch, dctx_now_(system) + ns);
        return;
    }
    int64_t end = real_now() + ns;
    while (!is_told(watch)) {
        int64_t left = end - real_now();
        if (left <= 0)
            break;
        dctx_futex_wait(&watch->done, 0, left);
    }
}

dctx_error_t dctx_await_end(dctx_ref_t who, int64_t timeout_ms, dctx_exit_t **ret_exit)
{
    dctx_runner_t *here = dctx_runner_here;
    if (here != NULL && !dctx_runner_may_wait_(here))
        return dctx_fail_(DCTX_ERR_INVALID, "a worker must not wait: use dctx_monitor()");
    dctx_error_t error = check(who);
    if (error != DCTX_OK)
        return error;
    dctx_monitor_t *watch = new_watch(DCTX_MONITOR_WAIT, who);
    if (watch == NULL)
        return DCTX_ERR_NOMEM;
    timeout_ms = timeout_ms < 0 ? 0 : timeout_ms > INT32_MAX ? INT32_MAX : timeout_ms;
    if (!dctx_signal_post_(here, who, &watch->enter, DCTX_SIGNAL_WATCH)) {
        dctx_monitor_unref_(watch);
        return refuse_stopped(who);
    }
    wait_told(who.system_, watch, timeout_ms);
    if (!is_told(watch)) {
        char name[128];
        (void)dctx_signal_post_(here, who, &watch->leave, DCTX_SIGNAL_UNWATCH);
        (void)dctx_ref_format(who, name, sizeof name);
        error = dctx_fail_(DCTX_ERR_TIMEOUT, "%s did not end within %lld ms", name,
                           (long long)timeout_ms);
    } else if (ret_exit != NULL) {
        *ret_exit = dctx_exit_ref(watch->exit);
    }
    dctx_monitor_unref_(watch);
    return error;
}

static dctx_error_t check_two(dctx_ref_t a, dctx_ref_t b, unsigned flags)
{
    if (dctx_ref_is_none(a) || dctx_ref_is_none(b) || dctx_ref_equal(a, b))
        return dctx_fail_(DCTX_ERR_INVALID, "a tie needs two actors");
    if (dctx_ref_is_remote(a) || dctx_ref_is_remote(b))
        return dctx_fail_(DCTX_ERR_INVALID, "an actor on another node cannot be tied: monitor it "
                                            "(dctx_monitor()), and stop when it has ended");
    if (flags & ~(unsigned)DCTX_TIE_ANY_END)
        return dctx_fail_(DCTX_ERR_INVALID, "unknown flags %#x for a tie", flags);
    if (!dctx_life_is_alive_(a) || !dctx_life_is_alive_(b))
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "one of the two actors has gone");
    return DCTX_OK;
}

static tie_t *new_tie(dctx_ref_t a, dctx_ref_t b, unsigned flags)
{
    tie_t *tie = dctx_calloc_(1, sizeof *tie);
    if (tie == NULL)
        return NULL;
    dctx_monitor_t *of_a = &tie->ways[0], *of_b = &tie->ways[1];
    atomic_init(&of_a->references, 1);
    of_a->twin = of_b;
    of_b->twin = of_a;
    set_watcher(of_a, b);
    set_watcher(of_b, a);
    of_a->any_end = of_b->any_end = (flags & DCTX_TIE_ANY_END) != 0;
    bool whole = fill(of_a, DCTX_MONITOR_TIE, a);
    whole = fill(of_b, DCTX_MONITOR_TIE, b) && whole;
    if (whole)
        return tie;
    dctx_monitor_unref_(of_a);
    return NULL;
}

dctx_error_t dctx_tie(dctx_ref_t a, dctx_ref_t b, unsigned flags)
{
    dctx_error_t error = check_two(a, b, flags);
    if (error != DCTX_OK)
        return error;
    tie_t *tie = new_tie(a, b, flags);
    if (tie == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a tie");
    dctx_runner_t *here = dctx_runner_here;
    dctx_monitor_t *of_a = &tie->ways[0], *of_b = &tie->ways[1];
    if (!dctx_signal_post_(here, a, &of_a->enter, DCTX_SIGNAL_WATCH)) {
        error = refuse_stopped(a);
    } else if (!dctx_signal_post_(here, b, &of_b->enter, DCTX_SIGNAL_WATCH)) {
        (void)dctx_signal_post_(here, a, &of_a->leave, DCTX_SIGNAL_UNWATCH);
        error = refuse_stopped(b);
    }
    dctx_monitor_unref_(of_a);
    return error;
}

dctx_error_t dctx_untie(dctx_ref_t a, dctx_ref_t b)
{
    dctx_error_t error = check_two(a, b, 0);
    if (error != DCTX_OK)
        return error;
    untie_t *untie = dctx_calloc_(1, sizeof *untie);
    if (untie == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to undo a tie");
    atomic_init(&untie->references, 1);
    untie->a = a;
    untie->b = b;
    untie->to_a.record = untie->to_b.record = untie;
    dctx_runner_t *here = dctx_runner_here;
    bool posted = dctx_signal_post_(here, a, &untie->to_a, DCTX_SIGNAL_UNTIE);
    posted = dctx_signal_post_(here, b, &untie->to_b, DCTX_SIGNAL_UNTIE) && posted;
    dctx_untie_unref_(untie);
    return posted ? DCTX_OK : refuse_stopped(a);
}
