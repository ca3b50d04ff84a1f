#include "supervisor.h"

#include <stdio.h>

#include <dcontext/internal.h>

#include "actor.h"
#include "exit.h"
#include "life.h"
#include "round.h"
#include "system.h"
#include "handle.h"

enum {
    RESTARTS = 3,
    RESTARTS_MAX = 100000,
    WINDOW_MS = 5000,
    BACKOFF_MAX_MS = 30000,
    STOP_MS = 5000,
    NOW_MS = 1000, /* for one that was told to stop at once, at most */
    NS_PER_MS = 1000000
};

typedef struct dctx_supervisor {
    dctx_supervision_t options;
    dctx_bond_t *stopping; /* whose end is waited for, one at a time; NULL: nobody's */
    /* Those that are to be stopped after that, in this order: so that the end of one of very many
     * children does not need a look at all of them. All are listed. */
    dctx_bond_t *first, *last;
    dctx_bond_t *round;     /* whose failure began the round that goes on; NULL: none does */
    bool rested;            /* the round's back-off is over */
    dctx_round_t members;   /* and the other children; but for one for one, where nobody is in it */
    unsigned newest, count; /* of `restarts`, a ring */
    int64_t restarts[];     /* when they were: options.max_restarts */
} dctx_supervisor_t;

static dctx_kin_t *kin_of(dctx_actor_t *actor)
{
    return &actor->extra->kin;
}

static bool for_one(const dctx_supervisor_t *self)
{
    return self->options.strategy == DCTX_ONE_FOR_ONE;
}

/* ---- making ---------------------------------------------------------------------------------- */

static bool is_directive(dctx_directive_t directive)
{
    return (unsigned)directive <= DCTX_ESCALATE;
}

static dctx_error_t check(const dctx_supervision_t *options)
{
    if ((unsigned)options->strategy > DCTX_REST_FOR_ONE)
        return dctx_fail_(DCTX_ERR_INVALID, "no such strategy to supervise by");
    if (!is_directive(options->on_error) || !is_directive(options->on_failure))
        return dctx_fail_(DCTX_ERR_INVALID, "no such directive for a failure");
    if (options->max_restarts > RESTARTS_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "%u restarts in a window: at most %d",
                          options->max_restarts, RESTARTS_MAX);
    if (options->window_ms < 0 || options->backoff_ms < 0 || options->backoff_max_ms < 0 ||
        options->stop_ms < 0)
        return dctx_fail_(DCTX_ERR_INVALID, "a time to supervise by is not negative");
    if (options->jitter_percent > 100)
        return dctx_fail_(DCTX_ERR_INVALID, "a jitter of %u percent: at most 100",
                          options->jitter_percent);
    return DCTX_OK;
}

dctx_error_t dctx_supervisor_make_(dctx_kin_t *kin, const dctx_supervision_t *options)
{
    static const dctx_supervision_t none;
    if (kin->supervisor != NULL)
        return DCTX_OK;
    dctx_supervision_t own = options != NULL ? *options : none;
    dctx_error_t error = check(&own);
    if (error != DCTX_OK)
        return error;
    own.on_error = own.on_error != 0 ? own.on_error : DCTX_RESUME;
    own.on_failure = own.on_failure != 0 ? own.on_failure : DCTX_RESTART;
    own.max_restarts = own.max_restarts != 0 ? own.max_restarts : RESTARTS;
    own.window_ms = own.window_ms != 0 ? own.window_ms : WINDOW_MS;
    own.backoff_max_ms = own.backoff_max_ms != 0 ? own.backoff_max_ms : BACKOFF_MAX_MS;
    own.stop_ms = own.stop_ms != 0 ? own.stop_ms : STOP_MS;
    dctx_supervisor_t *self =
        dctx_calloc_(1, sizeof *self + own.max_restarts * sizeof self->restarts[0]);
    if (self == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a supervisor");
    self->options = own;
    kin->supervisor = self;
    return DCTX_OK;
}

uint64_t dctx_supervisor_looks_(const dctx_kin_t *kin)
{
    return kin->supervisor->members.looks;
}

void dctx_supervisor_reset_(dctx_kin_t *kin)
{
    dctx_supervisor_t *self = kin->supervisor;
    if (self == NULL)
        return;
    self->stopping = self->round = NULL;
    self->count = 0;
}

/* ---- the list -------------------------------------------------------------------------------- */

static void enlist(dctx_kin_t *kin, dctx_bond_t *bond)
{
    dctx_bond_ref_(bond);
    bond->listed = true;
    bond->errors_are_failures = kin->supervisor->options.on_error != DCTX_RESUME;
    bond->older = kin->youngest;
    bond->younger = NULL;
    if (kin->youngest != NULL)
        kin->youngest->younger = bond;
    else
        kin->oldest = bond;
    kin->youngest = bond;
    if (!for_one(kin->supervisor))
        dctx_round_add_(&kin->supervisor->members, bond);
}

/* Takes a bond out of those that wait to be stopped, if it is there. */
static void unqueue(dctx_supervisor_t *self, dctx_bond_t *bond)
{
    if (!bond->queued)
        return;
    bond->queued = false;
    *(bond->before != NULL ? &bond->before->after : &self->first) = bond->after;
    *(bond->after != NULL ? &bond->after->before : &self->last) = bond->before;
}

static void queue_first(dctx_supervisor_t *self, dctx_bond_t *bond)
{
    unqueue(self, bond);
    bond->queued = true;
    bond->before = NULL;
    bond->after = self->first;
    *(self->first != NULL ? &self->first->before : &self->last) = bond;
    self->first = bond;
}

static void queue_last(dctx_supervisor_t *self, dctx_bond_t *bond)
{
    bond->queued = true;
    bond->before = self->last;
    bond->after = NULL;
    *(self->last != NULL ? &self->last->after : &self->first) = bond;
    self->last = bond;
}

static void delist(dctx_kin_t *kin, dctx_bond_t *bond)
{
    if (!bond->listed)
        return;
    unqueue(kin->supervisor, bond);
    dctx_round_remove_(&kin->supervisor->members, bond);
    bond->listed = false;
    *(bond->older != NULL ? &bond->older->younger : &kin->oldest) = bond->younger;
    *(bond->younger != NULL ? &bond->younger->older : &kin->youngest) = bond->older;
    dctx_bond_unref_(bond);
}

void dctx_supervisor_add_(dctx_actor_t *parent, dctx_bond_t *bond)
{
    enlist(kin_of(parent), bond);
    bond->state = DCTX_BOND_RUNNING;
}

static void set_exit(dctx_exit_t **place, dctx_exit_t *exit)
{
    dctx_exit_unref(place);
    *place = exit;
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Without an alarm, as the system is closing, it rings at once: false. */
static bool set_alarm(dctx_system_t *system, dctx_bond_t *bond, dctx_bond_alarm_t what, int64_t ms)
{
    int64_t due = 0;
    if (__builtin_mul_overflow(ms, (int64_t)NS_PER_MS, &due) ||
        __builtin_add_overflow(due, dctx_now_(system), &due))
        due = INT64_MAX;
    dctx_bond_ref_(bond);
    bond->alarm_for = (uint8_t)what;
    /* The child is suspended meanwhile, and what it is sent waits. */
    bond->alarm.pressing = what == DCTX_BOND_BACKOFF;
    if (dctx_alarm_set_(system, &bond->alarm, due) == DCTX_OK)
        return true;
    bond->alarm_for = DCTX_BOND_QUIET;
    dctx_bond_unref_(bond);
    return false;
}

/* False: it is ringing already, and will wake us. */
static bool cancel_alarm(dctx_system_t *system, dctx_bond_t *bond)
{
    if (bond->alarm_for == DCTX_BOND_QUIET)
        return true;
    if (!dctx_alarm_cancel_(system, &bond->alarm))
        return false;
    bond->alarm_for = DCTX_BOND_QUIET;
    dctx_bond_unref_(bond);
    return true;
}

/* How long to wait before a restart: doubled with each failure in a row, less a random part. */
static int64_t backoff_of(dctx_system_t *system, const dctx_supervisor_t *self,
                          const dctx_bond_t *bond)
{
    int64_t ms = self->options.backoff_ms;
    for (unsigned i = 1; i < bond->failures && ms < self->options.backoff_max_ms; i++)
        ms *= 2;
    ms = ms < self->options.backoff_max_ms ? ms : self->options.backoff_max_ms;
    int64_t part = ms * (int64_t)self->options.jitter_percent / 100;
    if (part > 0)
        ms -= (int64_t)(dctx_system_random_(system) % ((uint64_t)part + 1));
    return dctx_phase_(system) == DCTX_PHASE_RUNNING ? ms : 0;
}

/* ---- stopping -------------------------------------------------------------------------------- */

/* Stops the next of those that are to be stopped, unless one is on its way. */
static void stop_next(dctx_runner_t *runner, dctx_kin_t *kin)
{
    dctx_supervisor_t *self = kin->supervisor;
    dctx_bond_t *bond = self->stopping == NULL ? self->first : NULL;
    if (bond == NULL)
        return;
    unqueue(self, bond);
    self->stopping = bond;
    bond->state = DCTX_BOND_STOPPING;
    bool decided = bond->failure != NULL && bond->stop_cause == NULL;
    dctx_exit_t *cause = bond->stop_cause;
    bond->stop_cause = NULL;
    dctx_bond_stop_(runner, bond, decided ? DCTX_STOP_DECIDED : DCTX_STOP_PARENT, cause);
    dctx_exit_unref(&cause);
    if (cancel_alarm(runner->system, bond))
        (void)set_alarm(runner->system, bond, DCTX_BOND_PATIENCE, self->options.stop_ms);
}

/* NULL: for its own failure. True if it was not to be stopped before. */
static bool doom(dctx_supervisor_t *self, dctx_bond_t *bond, const dctx_exit_t *why)
{
    if (bond->doomed)
        return false;
    bond->doomed = true;
    bond->member = false;
    dctx_round_settle_(&self->members, bond);
    /* It says so until the stop is sent; see dctx_bond_stop_(). */
    bond->stop_cause = dctx_exit_ref(why);
    return true;
}

/* Has a child and all that are younger stopped, the youngest first, before any that wait for that
 * already. `why`: but `failed`, which it is for. */
static void doom_from(dctx_supervisor_t *self, dctx_bond_t *oldest, const dctx_bond_t *failed,
                      const dctx_exit_t *why)
{
    for (dctx_bond_t *bond = oldest; bond != NULL; bond = bond->younger) {
        self->members.looks++;
        if (doom(self, bond, bond == failed ? NULL : why) || bond->queued)
            queue_first(self, bond);
    }
}

bool dctx_supervisor_stop_all_(dctx_runner_t *runner, dctx_actor_t *actor, const dctx_exit_t *why)
{
    dctx_kin_t *kin = kin_of(actor);
    if (kin->supervisor != NULL) {
        doom_from(kin->supervisor, kin->oldest, NULL, why);
        kin->supervisor->round = NULL;
    }
    if (kin->oldest == NULL)
        return dctx_life_alone_(runner, actor);
    stop_next(runner, kin);
    return true;
}

/* ---- restarting ------------------------------------------------------------------------------ */

static void order(dctx_runner_t *runner, dctx_bond_t *bond, dctx_signal_kind_t kind,
                  dctx_bond_state_t state)
{
    bond->state = state;
    dctx_bond_order_(runner, bond, kind);
}

static void order_begin(dctx_runner_t *runner, dctx_bond_t *bond)
{
    order(runner, bond, DCTX_SIGNAL_BEGIN, DCTX_BOND_BEGINNING);
}

static void order_retire(dctx_runner_t *runner, dctx_bond_t *bond, const dctx_exit_t *cause)
{
    set_exit(&bond->retire_cause, dctx_exit_ref(cause));
    order(runner, bond, DCTX_SIGNAL_RETIRE, DCTX_BOND_RETIRING);
}

/* Waits before it has the bond's child, or the round, begin;
 * false: there is nothing to wait for. */
static bool rest(dctx_runner_t *runner, dctx_supervisor_t *self, dctx_bond_t *bond)
{
    if (bond->alarm_for != DCTX_BOND_QUIET)
        return true;
    int64_t ms = backoff_of(runner->system, self, bond);
    return ms > 0 && set_alarm(runner->system, bond, DCTX_BOND_BACKOFF, ms);
}

/* One for one: what comes next for a child that is down. */
static void begin_one(dctx_runner_t *runner, dctx_supervisor_t *self, dctx_bond_t *bond)
{
    bond->state = DCTX_BOND_RETIRED;
    if (!rest(runner, self, bond))
        order_begin(runner, bond);
}

/* The next step of a round. */
static void go_round(dctx_runner_t *runner, dctx_kin_t *kin)
{
    dctx_supervisor_t *self = kin->supervisor;
    if (self->round == NULL)
        return;
    bool wait = false;
    dctx_bond_t *bond = dctx_round_next_up_(&self->members, &wait);
    if (wait)
        return;
    if (bond != NULL) {
        order_retire(runner, bond, self->round->failure);
        return;
    }
    if (!self->rested && rest(runner, self, self->round))
        return;
    self->rested = true;
    bond = dctx_round_oldest_down_(&self->members);
    if (bond != NULL) {
        order_begin(runner, bond);
    } else {
        set_exit(&self->round->failure, NULL);
        self->round = NULL;
    }
}

static void restart(dctx_runner_t *runner, dctx_kin_t *kin, dctx_bond_t *bond)
{
    dctx_supervisor_t *self = kin->supervisor;
    if (for_one(self)) {
        if (bond->down)
            begin_one(runner, self, bond);
        else
            order_retire(runner, bond, NULL);
        return;
    }
    dctx_round_widen_(&self->members, self->options.strategy == DCTX_REST_FOR_ONE ? bond : NULL);
    self->round = bond;
    self->rested = false;
    go_round(runner, kin);
}

/* ---- deciding -------------------------------------------------------------------------------- */

/* Notes a restart. False: there have been too many. */
static bool may_restart(dctx_system_t *system, dctx_supervisor_t *self, dctx_bond_t *bond)
{
    unsigned most = self->options.max_restarts;
    int64_t now = dctx_now_(system), window = self->options.window_ms * NS_PER_MS;
    if (bond->failures > 0 && now - bond->failed_at > window)
        bond->failures = 0;
    bond->failures++;
    bond->failed_at = now;
    /* The oldest of a full ring comes after the newest. */
    unsigned next = (self->newest + 1) % most;
    if (self->count == most && now - self->restarts[next] <= window)
        return false;
    self->newest = next;
    self->restarts[next] = now;
    self->count += self->count < most;
    return true;
}

/* The supervisor itself fails, and its children with it. */
static bool fail_self(dctx_runner_t *runner, dctx_actor_t *actor, dctx_exit_kind_t kind,
                      const dctx_exit_t *cause)
{
    char reason[96] = "";
    dctx_kin_t *kin = kin_of(actor);
    const dctx_supervision_t *options = &kin->supervisor->options;
    if (kind == DCTX_EXIT_INTENSITY)
        snprintf(reason, sizeof reason, "more than %u in %lld ms", options->max_restarts,
                 (long long)options->window_ms);
    dctx_exit_words_t words = {.who = actor->scope + DCTX_NAME_AT, .reason = reason};
    dctx_exit_t *exit = dctx_exit_new_(kind, dctx_exit_error(cause), &words, cause);
    /* It may be suspended for a failure before this one: then that is decided upon. */
    if (dctx_life_is_suspended_(actor) || kin->ending != DCTX_ENDING_NOT) {
        dctx_exit_unref(&exit);
        return true;
    }
    if (kind == DCTX_EXIT_INTENSITY && kin->bond != NULL)
        (void)dctx_supervisor_stop_all_(runner, actor, exit);
    return dctx_life_fail_(runner, actor, exit, false);
}

/* Asks the application. False: abandoned. */
static bool ask(dctx_runner_t *runner, dctx_actor_t *actor, const dctx_bond_t *bond,
                dctx_directive_t *ret_directive)
{
    const dctx_supervision_t *options = &kin_of(actor)->supervisor->options;
    *ret_directive = bond->returned ? options->on_error : options->on_failure;
    if (options->decide == NULL)
        return true;
    dctx_scope_t scope;
    dctx_runner_begin(runner, actor, NULL, NULL, "actor:");
    dctx_handle_enter_(runner, NULL, actor->scope, &scope);
    runner->callback = "decide";
    dctx_directive_t directive = options->decide(actor, bond->failure, options->arg);
    runner->callback = NULL;
    dctx_handle_leave_(runner, actor, &scope);
    if (directive != 0 && is_directive(directive))
        *ret_directive = directive;
    return dctx_runner_end(runner);
}

/* Stops the child that failed, and by the strategy the others with it. */
static void stop_for(dctx_runner_t *runner, dctx_kin_t *kin, dctx_bond_t *bond)
{
    dctx_supervisor_t *self = kin->supervisor;
    bool all = self->options.strategy == DCTX_ALL_FOR_ONE;
    if (!for_one(self))
        doom_from(self, all ? kin->oldest : bond, bond, bond->failure);
    else if (doom(self, bond, NULL))
        queue_last(self, bond);
    stop_next(runner, kin);
    go_round(runner, kin);
}

static bool decide(dctx_runner_t *runner, dctx_actor_t *actor, dctx_bond_t *bond)
{
    dctx_kin_t *kin = kin_of(actor);
    dctx_directive_t directive = DCTX_STOP;
    if (dctx_phase_(runner->system) < DCTX_PHASE_CLOSING && !ask(runner, actor, bond, &directive))
        return false;
    /* What did not begin has nothing to go on with. */
    if (directive == DCTX_RESUME && bond->down)
        directive = DCTX_RESTART;
    switch (directive) {
    case DCTX_RESUME:
        set_exit(&bond->failure, NULL);
        order(runner, bond, DCTX_SIGNAL_RESUME, DCTX_BOND_RUNNING);
        return true;
    case DCTX_RESTART:
        if (!may_restart(runner->system, kin->supervisor, bond))
            return fail_self(runner, actor, DCTX_EXIT_INTENSITY, bond->failure);
        restart(runner, kin, bond);
        return true;
    case DCTX_ESCALATE:
        return fail_self(runner, actor, DCTX_EXIT_ESCALATED, bond->failure);
    default:
        stop_for(runner, kin, bond);
        return true;
    }
}

bool dctx_supervisor_resume_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    for (dctx_bond_t *bond = kin_of(actor)->oldest, *younger; bond != NULL; bond = younger) {
        younger = bond->younger;
        if (bond->state != DCTX_BOND_FAILED || bond->doomed)
            continue;
        /* Resuming a supervisor resumes its children: of those that failed it passed one on. */
        if (!bond->down) {
            set_exit(&bond->failure, NULL);
            order(runner, bond, DCTX_SIGNAL_RESUME, DCTX_BOND_RUNNING);
        } else if (!decide(runner, actor, bond)) {
            return false;
        }
    }
    return true;
}

/* ---- what children report -------------------------------------------------------------------- */

static bool take_child(dctx_runner_t *runner, dctx_actor_t *actor, dctx_bond_t *bond)
{
    dctx_extra_t *spare = bond->spare;
    bond->spare = NULL;
    if (actor->extra == NULL) {
        dctx_extra_adopt_(actor, spare);
        spare = NULL;
    }
    dctx_release_(spare);
    dctx_kin_t *kin = kin_of(actor);
    if (bond->gone)
        return true;
    if (kin->ending != DCTX_ENDING_NOT || dctx_supervisor_make_(kin, NULL) != DCTX_OK) {
        dctx_bond_stop_(runner, bond, DCTX_STOP_PARENT, kin->exit);
        return true;
    }
    enlist(kin, bond);
    order_begin(runner, bond);
    return true;
}

static bool take_failure(dctx_runner_t *runner, dctx_actor_t *actor, dctx_bond_t *bond)
{
    set_exit(&bond->failure, bond->report);
    bond->report = NULL;
    bond->returned = bond->report_returned;
    if (bond->doomed || !bond->listed)
        return true;
    /* It was told to retire meanwhile, and will. */
    if (bond->state == DCTX_BOND_RETIRING)
        return true;
    bond->down = bond->state == DCTX_BOND_BEGINNING;
    bond->state = DCTX_BOND_FAILED;
    dctx_round_settle_(&kin_of(actor)->supervisor->members, bond);
    if (dctx_life_is_suspended_(actor))
        return true;
    return decide(runner, actor, bond);
}

static void take_retired(dctx_runner_t *runner, dctx_kin_t *kin, dctx_bond_t *bond)
{
    bond->down = true;
    dctx_round_settle_(&kin->supervisor->members, bond);
    if (bond->doomed)
        return;
    if (for_one(kin->supervisor)) {
        begin_one(runner, kin->supervisor, bond);
    } else {
        bond->state = DCTX_BOND_RETIRED;
        go_round(runner, kin);
    }
}

static void take_begun(dctx_runner_t *runner, dctx_kin_t *kin, dctx_bond_t *bond)
{
    bond->down = bond->member = false;
    dctx_round_settle_(&kin->supervisor->members, bond);
    if (bond->doomed)
        return;
    bond->state = DCTX_BOND_RUNNING;
    if (bond != kin->supervisor->round)
        set_exit(&bond->failure, NULL);
    go_round(runner, kin);
}

/* Its child is no more, or is waited for no longer. */
static bool forget(dctx_runner_t *runner, dctx_actor_t *actor, dctx_bond_t *bond)
{
    dctx_kin_t *kin = kin_of(actor);
    dctx_supervisor_t *self = kin->supervisor;
    if (!bond->listed)
        return true;
    (void)cancel_alarm(runner->system, bond);
    if (self->stopping == bond)
        self->stopping = NULL;
    if (self->round == bond) {
        /* Another stands for the round; nothing is waited for any more. */
        dctx_round_remove_(&self->members, bond);
        self->round = dctx_round_any_(&self->members);
        self->rested = true;
    }
    delist(kin, bond);
    stop_next(runner, kin);
    go_round(runner, kin);
    if (kin->ending != DCTX_ENDING_NOT && kin->oldest == NULL)
        return dctx_life_alone_(runner, actor);
    return true;
}

/* The time for a child to stop is over: first it is told to at once, then it is left to itself. */
static bool lose_patience(dctx_runner_t *runner, dctx_actor_t *actor, dctx_bond_t *bond)
{
    char name[DCTX_NAME_MAX + 1];
    dctx_system_t *system = runner->system;
    dctx_supervisor_t *self = kin_of(actor)->supervisor;
    int64_t ms = self->options.stop_ms < NOW_MS ? self->options.stop_ms : NOW_MS;
    if (!bond->late) {
        bond->late = true;
        (void)dctx_actor_stop_now_(system, runner, bond->child.id_);
        (void)set_alarm(system, bond, DCTX_BOND_PATIENCE, ms);
        return true;
    }
    (void)dctx_ref_format(bond->child, name, sizeof name);
    dctx_log(DCTX_LOG_WARNING, "%s does not wait for its child %s to stop any longer",
             actor->scope + DCTX_NAME_AT, name);
    return forget(runner, actor, bond);
}

static bool take_wake(dctx_runner_t *runner, dctx_actor_t *actor, dctx_bond_t *bond)
{
    dctx_kin_t *kin = kin_of(actor);
    dctx_supervisor_t *self = kin->supervisor;
    uint8_t what = bond->alarm_for;
    bond->alarm_for = DCTX_BOND_QUIET;
    if (!bond->listed)
        return true;
    if (bond->state == DCTX_BOND_STOPPING) {
        if (what == DCTX_BOND_PATIENCE)
            return lose_patience(runner, actor, bond);
        (void)set_alarm(runner->system, bond, DCTX_BOND_PATIENCE, self->options.stop_ms);
        return true;
    }
    if (bond->doomed)
        return true;
    if (for_one(self) && bond->state == DCTX_BOND_RETIRED) {
        order_begin(runner, bond);
    } else if (self->round == bond) {
        self->rested = true;
        go_round(runner, kin);
    }
    return true;
}

bool dctx_supervisor_take_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_bond_t *bond,
                           dctx_signal_kind_t kind)
{
    if (kind == DCTX_SIGNAL_ADOPT)
        return take_child(runner, actor, bond);
    if (kind == DCTX_SIGNAL_ENDED) {
        bond->gone = true;
        return forget(runner, actor, bond);
    }
    /* What is not in the list was let go. */
    if (!bond->listed)
        return true;
    dctx_kin_t *kin = kin_of(actor);
    switch (kind) {
    case DCTX_SIGNAL_FAILED:
        return take_failure(runner, actor, bond);
    case DCTX_SIGNAL_RETIRED:
        take_retired(runner, kin, bond);
        return true;
    case DCTX_SIGNAL_BEGUN:
        take_begun(runner, kin, bond);
        return true;
    case DCTX_SIGNAL_WAKE:
        return take_wake(runner, actor, bond);
    default:
        return true;
    }
}
