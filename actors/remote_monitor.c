#include "remote_monitor.h"

#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "actor.h"
#include "exit.h"
#include "exit_wire.h"
#include "monitor.h"
#include "system.h"

enum {
    PER_NODE_MAX = 65536, /* monitors of one node on actors here */
    ENDED_MAX = 65536,    /* bytes of what we say of an end */
    HEARTBEAT_MS = 1000,
    RETRY_MS = 100,
    NS_PER_MS = 1000000
};

static dctx_system_t *system_of(const dctx_io_t *io)
{
    return io->runner.system;
}

static bool is_up(dctx_io_t *io, const char *node)
{
    return io->wire != NULL && io->wire->class->is_up(io->wire, node);
}

/* A record about the monitor of a number. The payload may be empty. */
static dctx_error_t say(dctx_io_t *io, const char *node, dctx_link_kind_t kind, uint64_t number,
                        const char *target, dctx_bytes_t payload)
{
    dctx_link_message_t message = {.kind = kind, .correlation = number, .payload = payload};
    if (target != NULL)
        message.target = (dctx_bytes_t){.data = target, .size = strlen(target)};
    return dctx_io_send_(io, node, &message);
}

static void unsaid(const char *node, const char *what, dctx_error_t why)
{
    dctx_log(DCTX_LOG_INFO, "%s is lost on its way to %s: %s", what, node, dctx_error_name(why));
}

/*
 * Around what posts to an actor of this system. Counted first, and the phase looked at then, as in
 * dctx_accept_(): while it is counted nothing is quiet, so that whoever clears the mailboxes away
 * waits for us. False: the actors end anyway, and nothing may be posted. Between these two in any
 * case.
 */
static bool begin_post(dctx_io_t *io)
{
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_POSTED);
    return dctx_phase_(system_of(io)) < DCTX_PHASE_CLOSING;
}

static void end_post(dctx_io_t *io)
{
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_CONSUMED);
}

/* ---- alarms ---------------------------------------------------------------------------------- */

static dctx_far_t *far_of(dctx_alarm_t *alarm)
{
    return (dctx_far_t *)(void *)((unsigned char *)alarm - offsetof(dctx_far_t, alarm));
}

/* None is set on one that is stopping: nobody waits for it any more. */
static void set_alarm(dctx_io_t *io, dctx_far_t *far, dctx_ring_fn ring, int64_t ms)
{
    dctx_monitor_ref_(far->watch);
    far->alarm.ring = ring;
    if (dctx_alarm_set_(system_of(io), &far->alarm, dctx_now_(system_of(io)) + ms * NS_PER_MS) !=
        DCTX_OK)
        dctx_monitor_unref_(far->watch);
}

/* Out of the table, which had a reference. */
static void forget(dctx_io_t *io, dctx_far_table_t *table, dctx_far_t *far)
{
    dctx_monitor_t *watch = far->watch;
    dctx_far_remove(table, far);
    if (dctx_alarm_cancel_(system_of(io), &far->alarm))
        dctx_monitor_unref_(watch);
    if (table == &io->watched)
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_WATCHED_ENDED);
    dctx_monitor_unref_(watch);
}

/* ---- ours, on actors elsewhere --------------------------------------------------------------- */

/* Tells whoever monitors, who does so once as it is in no table any more. */
static void tell(dctx_io_t *io, dctx_monitor_t *watch, const dctx_exit_t *exit)
{
    dctx_system_t *system = system_of(io);
    bool open = begin_post(io);
    bool own = watch->kind == DCTX_MONITOR_ACTOR && watch->watcher.system_ == system;
    if ((open || !own) && !dctx_monitor_tell_(&io->runner, system, watch, exit)) {
        io->abandoned = true;
        return;
    }
    end_post(io);
}

static void end_far(dctx_io_t *io, dctx_far_t *far, const dctx_exit_t *exit)
{
    dctx_monitor_t *watch = far->watch;
    dctx_monitor_ref_(watch);
    forget(io, &io->watching, far);
    tell(io, watch, exit);
    if (!io->abandoned)
        dctx_monitor_unref_(watch);
}

static const char *label_of(dctx_io_t *io, const dctx_monitor_t *watch)
{
    return dctx_peers_remote(&system_of(io)->peers, watch->target.id_)->label;
}

/* An exit that says why nobody can say whether the actor lives. */
static dctx_exit_t *new_loss(const char *who, dctx_error_t error, const char *reason)
{
    dctx_exit_words_t words = {.who = who, .reason = reason};
    return dctx_exit_new_(error == DCTX_ERR_UNREACHABLE ? DCTX_EXIT_NODE_LOST : DCTX_EXIT_UNWATCHED,
                          error, &words, NULL);
}

static void lose(dctx_io_t *io, dctx_far_t *far, dctx_error_t error, const char *reason)
{
    dctx_exit_t *exit = new_loss(label_of(io, far->watch), error, reason);
    end_far(io, far, exit);
    dctx_exit_unref(&exit);
}

static void unwatch_there(dctx_io_t *io, dctx_far_t *far)
{
    /* What is not known there any more is no error there. */
    dctx_error_t error =
        say(io, far->node->name, DCTX_LINK_UNWATCH, far->number, NULL, (dctx_bytes_t){0});
    if (error != DCTX_OK)
        unsaid(far->node->name, "the end of a monitor", error);
}

/* The node was not up when the monitor was set, and it has had as long as a silent one has. */
static void ring_away(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner, bool over)
{
    dctx_far_t *far = far_of(alarm);
    dctx_monitor_t *watch = far->watch;
    dctx_io_t *io = &system->io;
    (void)runner;
    if (!over && far->node != NULL && !is_up(io, far->node->name)) {
        unwatch_there(io, far); /* it comes to it once it is up, right after the monitor */
        lose(io, far, DCTX_ERR_UNREACHABLE, "its node has not come up");
    }
    if (over || !io->abandoned) /* when it is over this may be another thread */
        dctx_monitor_unref_(watch);
}

static int64_t patience_ms(const dctx_system_t *system)
{
    const dctx_system_options_t *options = &system->options;
    int64_t heartbeat = options->heartbeat_ms > 0 ? options->heartbeat_ms : HEARTBEAT_MS;
    return options->dead_after_ms > 0 ? options->dead_after_ms : 3 * heartbeat;
}

static void watch_there(dctx_io_t *io, dctx_monitor_t *watch)
{
    const dctx_remote_t *remote = dctx_peers_remote(
        &system_of(io)->peers, watch->target.id_); /* never NULL, it was checked */
    const char *node = remote->peer->name;
    dctx_far_t *far = watch->far;
    if (!dctx_far_add(&io->watching, node, ++io->last_number, far)) {
        dctx_exit_t *exit = new_loss(remote->label, DCTX_ERR_NOMEM, "no memory to monitor it");
        tell(io, watch, exit);
        dctx_exit_unref(&exit);
        return;
    }
    dctx_monitor_ref_(watch);
    dctx_error_t error =
        say(io, node, DCTX_LINK_WATCH, far->number, remote->actor, (dctx_bytes_t){0});
    if (error != DCTX_OK)
        lose(io, far, error, dctx_error_detail());
    else if (!is_up(io, node))
        set_alarm(io, far, ring_away, patience_ms(system_of(io)));
}

static void take_ended(dctx_io_t *io, const char *node, const dctx_link_message_t *incoming)
{
    dctx_far_t *far = dctx_far_find(&io->watching, node, incoming->correlation);
    if (far == NULL)
        return; /* it was taken back meanwhile, or told that the node was lost */
    dctx_exit_t *exit = dctx_exit_read_(incoming->payload, label_of(io, far->watch), node);
    end_far(io, far, exit);
    dctx_exit_unref(&exit);
}

/* ---- others', on actors here ----------------------------------------------------------------- */

/* Says how an actor ended; in fewer words, where all of them are too much for the node. */
static dctx_error_t say_ended(dctx_io_t *io, const char *node, uint64_t number,
                              const dctx_exit_t *exit)
{
    static const size_t most[] = {DCTX_EXIT_TEXT_MAX, 255, 0};
    dctx_error_t error = DCTX_ERR_LIMIT;
    for (size_t i = 0; i < sizeof most / sizeof most[0] && error == DCTX_ERR_LIMIT; i++) {
        dctx_writer_t *writer = NULL;
        error = dctx_writer_new(ENDED_MAX, &writer);
        if (error != DCTX_OK)
            return error;
        dctx_exit_write_(exit, most[i], writer);
        error = dctx_writer_error(writer);
        if (error == DCTX_OK)
            error = say(io, node, DCTX_LINK_ENDED, number, NULL, dctx_writer_bytes(writer));
        dctx_writer_destroy(&writer);
    }
    if (error == DCTX_ERR_LIMIT)
        error = say(io, node, DCTX_LINK_ENDED, number, NULL, (dctx_bytes_t){0});
    return error;
}

static void ring_owed(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner, bool over);

/* The actor has ended, as the monitor's exit says: the other node is told, later if that cannot be
 * now. */
static void answer(dctx_io_t *io, dctx_far_t *far)
{
    dctx_error_t error = say_ended(io, far->node->name, far->number, far->watch->exit);
    if (error == DCTX_ERR_FULL || error == DCTX_ERR_NOMEM) {
        set_alarm(io, far, ring_owed, RETRY_MS);
        return;
    }
    /* If the node is lost it knows that of us, and so all that it monitors here. */
    if (error != DCTX_OK)
        unsaid(far->node->name, "the end of an actor", error);
    forget(io, &io->watched, far);
}

static void ring_owed(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner, bool over)
{
    dctx_far_t *far = far_of(alarm);
    dctx_monitor_t *watch = far->watch;
    (void)runner;
    if (!over && far->node != NULL)
        answer(&system->io, far);
    dctx_monitor_unref_(watch);
}

static void answer_with(dctx_io_t *io, dctx_far_t *far, dctx_exit_kind_t kind, dctx_error_t error,
                        const char *who)
{
    dctx_exit_words_t words = {.who = who};
    far->watch->exit = dctx_exit_new_(kind, error, &words, NULL);
    answer(io, far);
}

/* One that is not taken in at all. */
static void turn_away(dctx_io_t *io, const char *node, uint64_t number, const char *who,
                      dctx_error_t error, const char *reason)
{
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_WATCHES_REFUSED);
    dctx_exit_t *exit = new_loss(who, error, reason);
    error = say_ended(io, node, number, exit);
    if (error != DCTX_OK)
        unsaid(node, "the refusal of a monitor", error);
    dctx_exit_unref(&exit);
}

static void take_watch(dctx_io_t *io, const char *node, const dctx_link_message_t *incoming)
{
    dctx_system_t *system = system_of(io);
    uint64_t number = incoming->correlation;
    char who[DCTX_NAME_MAX + 1];
    snprintf(who, sizeof who, "%.*s", (int)incoming->target.size,
             incoming->target.size > 0 ? (const char *)incoming->target.data : "");
    if (dctx_far_find(&io->watched, node, number) != NULL) {
        dctx_tally_own(&io->runner.tallies, DCTX_TALLY_WATCHES_REFUSED);
        dctx_log(DCTX_LOG_INFO, "node %s uses the number of a monitor twice", node);
        return;
    }
    if (dctx_far_count(&io->watched, node) >= PER_NODE_MAX) {
        turn_away(io, node, number, who, DCTX_ERR_FULL, "the node has too many monitors there");
        return;
    }
    uint64_t id = incoming->target.size == 0
                      ? 0
                      : dctx_actor_find_(system, incoming->target.data, incoming->target.size);
    dctx_ref_t target = {.system_ = system, .id_ = id};
    dctx_monitor_t *watch = dctx_monitor_of_node_(target);
    if (watch == NULL || !dctx_far_add(&io->watched, node, number, watch->far)) {
        if (watch != NULL)
            dctx_monitor_unref_(watch);
        turn_away(io, node, number, who, DCTX_ERR_NOMEM, "no memory there to monitor it");
        return;
    }
    dctx_tally_own(&io->runner.tallies, DCTX_TALLY_WATCHED_BEGUN);
    bool open = begin_post(io);
    bool posted =
        open && id != 0 && dctx_signal_post_(&io->runner, target, &watch->enter, DCTX_SIGNAL_WATCH);
    end_post(io);
    if (id == 0)
        answer_with(io, watch->far, DCTX_EXIT_NO_ACTOR, DCTX_ERR_NO_ACTOR, who);
    else if (!posted)
        answer_with(io, watch->far, DCTX_EXIT_SYSTEM, DCTX_ERR_STOPPED, who);
}

/* The other node does not want to be told any more, or cannot be. */
static void withdraw(dctx_io_t *io, dctx_far_t *far)
{
    dctx_monitor_t *watch = far->watch;
    /* Of one that ends anyway the monitor goes with it, and is in no table then. */
    if (begin_post(io) && watch->target.id_ != 0)
        (void)dctx_signal_post_(&io->runner, watch->target, &watch->leave, DCTX_SIGNAL_UNWATCH);
    end_post(io);
    forget(io, &io->watched, far);
}

static void take_unwatch(dctx_io_t *io, const char *node, const dctx_link_message_t *incoming)
{
    dctx_far_t *far = dctx_far_find(&io->watched, node, incoming->correlation);
    if (far != NULL)
        withdraw(io, far);
}

/* ---- for the I/O actor ----------------------------------------------------------------------- */

void dctx_far_take_(dctx_io_t *io, dctx_signal_t *signal)
{
    dctx_monitor_t *watch = signal->record;
    dctx_far_t *far = watch->far;
    switch ((dctx_signal_kind_t)signal->node.flags) {
    case DCTX_SIGNAL_WATCH:
        watch_there(io, watch);
        break;
    case DCTX_SIGNAL_UNWATCH:
        if (far->node != NULL) {
            unwatch_there(io, far);
            forget(io, &io->watching, far);
        }
        break;
    case DCTX_SIGNAL_DOWN:
        if (far->node != NULL)
            answer(io, far);
        break;
    default:
        break;
    }
}

void dctx_far_receive_(dctx_io_t *io, const char *node, const dctx_link_message_t *incoming)
{
    if (incoming->kind == DCTX_LINK_WATCH)
        take_watch(io, node, incoming);
    else if (incoming->kind == DCTX_LINK_UNWATCH)
        take_unwatch(io, node, incoming);
    else
        take_ended(io, node, incoming);
}

void dctx_far_undelivered_(dctx_io_t *io, const char *node, const dctx_link_message_t *message,
                           dctx_error_t why)
{
    dctx_far_t *far = message->kind == DCTX_LINK_WATCH
                          ? dctx_far_find(&io->watching, node, message->correlation)
                          : NULL;
    if (far != NULL)
        lose(io, far, why,
             why == DCTX_ERR_VERSION ? "its node is too old to be asked" : "its node is away");
    else if (message->kind == DCTX_LINK_ENDED)
        unsaid(node, "the end of an actor", why);
}

void dctx_far_down_(dctx_io_t *io, const char *node, const char *reason)
{
    dctx_far_t *far;
    while (!io->abandoned && (far = dctx_far_any(&io->watching, node)) != NULL)
        lose(io, far, DCTX_ERR_UNREACHABLE, reason != NULL ? reason : "");
    /* Of two connections the other one may be there still, and the node have set some of these by
     * that, after it lost the first: it is told of all, and knows which it still has. */
    bool up = is_up(io, node);
    while (!io->abandoned && (far = dctx_far_any(&io->watched, node)) != NULL) {
        if (up) {
            dctx_exit_t *exit =
                new_loss(NULL, DCTX_ERR_UNREACHABLE, "a connection of its node was lost");
            (void)say_ended(io, node, far->number, exit);
            dctx_exit_unref(&exit);
        }
        withdraw(io, far);
    }
}

void dctx_far_close_(dctx_io_t *io)
{
    dctx_far_t *far;
    while (!io->abandoned && (far = dctx_far_any(&io->watching, NULL)) != NULL)
        lose(io, far, DCTX_ERR_UNREACHABLE, "the system that monitored it has stopped");
    while (!io->abandoned && (far = dctx_far_any(&io->watched, NULL)) != NULL)
        forget(io, &io->watched, far);
}

void dctx_far_discard_(dctx_io_t *io, dctx_signal_t *signal)
{
    dctx_monitor_t *watch = signal->record;
    if (signal->node.flags == DCTX_SIGNAL_WATCH && watch->kind != DCTX_MONITOR_ACTOR) {
        dctx_exit_t *exit = new_loss(label_of(io, watch), DCTX_ERR_UNREACHABLE,
                                     "the system that monitored it has stopped");
        (void)dctx_monitor_tell_(NULL, system_of(io), watch, exit);
        dctx_exit_unref(&exit);
    }
    dctx_signal_release_(signal);
}
