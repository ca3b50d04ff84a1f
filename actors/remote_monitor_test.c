/* Who hears, on another node, of whose end: in a test world, to the millisecond; and of what
 * hostile peers do. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/link.h>

#include "fixture.h"

static const int64_t MS = 1000000, SECOND = 1000000000;

/* ---- in a test world ------------------------------------------------------------------------- */

typedef enum order { ORDER_NOTHING, ORDER_STOP, ORDER_FAIL } order_t;

/* Lives over there, and does as it is told. */
static dctx_error_t obey(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const uint64_t *order = dctx_message_get(message, DCTX_TYPE_UINT64);
    (void)state;
    if (order != NULL && *order == ORDER_STOP)
        dctx_self_stop(self);
    if (order != NULL && *order == ORDER_FAIL)
        dctx_self_fail(self, DCTX_ERR_IO, "disk full");
    return DCTX_OK;
}

/* What a watcher is to do, and what it was told. */
typedef struct watcher {
    dctx_ref_t who;
    dctx_monitor_t *monitor;
    bool keeps; /* the handle */
    int downs;
    int64_t at;
    dctx_exit_kind_t kind;
    dctx_error_t error;
    char text[1024], chain[64];
    dctx_test_world_t *world;
    gate_t *told; /* from another thread */
} watcher_t;

enum { DO_MONITOR = 1, DO_DEMONITOR, DO_STOP };

static void note(watcher_t *watcher, dctx_ref_t who, const dctx_exit_t *exit)
{
    cr_assert(dctx_ref_equal(who, watcher->who));
    watcher->downs++;
    watcher->at = watcher->world != NULL ? dctx_test_now(watcher->world) : 0;
    watcher->kind = dctx_exit_kind(exit);
    watcher->error = dctx_exit_error(exit);
    (void)dctx_exit_format(exit, watcher->text, sizeof watcher->text);
    snprintf(watcher->chain, sizeof watcher->chain, "%s", chain());
    if (watcher->told != NULL)
        gate_pass(watcher->told);
}

static void on_down(dctx_actor_t *self, dctx_ref_t who, const dctx_exit_t *exit, void *state,
                    void *arg)
{
    (void)self;
    cr_assert_eq(state, arg);
    note(state, who, exit);
}

static void on_down_call(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    note(arg, who, exit);
}

static dctx_error_t watch(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    watcher_t *watcher = state;
    const uint64_t *what = dctx_message_get(message, DCTX_TYPE_UINT64);
    if (*what == DO_MONITOR)
        return dctx_monitor(self, watcher->who, on_down, watcher,
                            watcher->keeps ? &watcher->monitor : NULL);
    if (*what == DO_DEMONITOR)
        dctx_demonitor(self, &watcher->monitor);
    else
        dctx_self_stop(self);
    return DCTX_OK;
}

/* Two nodes of one world; "here" dials "there". */
typedef struct nodes {
    dctx_test_world_t *world;
    dctx_system_t *here, *there;
    dctx_ref_t actor;  /* "worker" over there */
    dctx_ref_t worker; /* the same as "here" addresses it */
    dctx_ref_t watching;
    watcher_t watcher;
    char *endpoint;
} nodes_t;

static void begin(nodes_t *nodes, uint64_t seed)
{
    *nodes = (nodes_t){0};
    cr_assert_eq(dctx_test_world_new(seed, &nodes->world), DCTX_OK);
    nodes->here = start(&(dctx_system_options_t){.name = "here", .world = nodes->world});
    nodes->there = start(&(dctx_system_options_t){.name = "there", .world = nodes->world});
    nodes->actor = spawn(nodes->there, "worker", obey, NULL);
    nodes->watcher.world = nodes->world;
    nodes->watching = spawn(nodes->here, "watcher", watch, &nodes->watcher);
    cr_assert_eq(dctx_system_find(nodes->here, "worker@there", &nodes->worker), DCTX_OK);
    nodes->watcher.who = nodes->worker;
    cr_assert_eq(dctx_system_bind(nodes->there, "tcp://127.0.0.1:*", &nodes->endpoint), DCTX_OK);
}

static void meet(nodes_t *nodes, uint64_t seed)
{
    begin(nodes, seed);
    cr_assert_eq(dctx_system_connect(nodes->here, "there", nodes->endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(nodes->here, "there", WAIT_MS), DCTX_OK);
}

static void part(nodes_t *nodes)
{
    finish(&nodes->here);
    if (nodes->there != NULL)
        finish(&nodes->there);
    dctx_free(nodes->endpoint);
    dctx_test_world_destroy(&nodes->world);
}

static void run_for(nodes_t *nodes, int64_t ns)
{
    cr_assert(dctx_test_advance(nodes->world, ns));
}

static uint64_t watched(const nodes_t *nodes)
{
    return counters(nodes->there).remote_monitors;
}

static void monitor(nodes_t *nodes)
{
    tell_uint(nodes->watching, DO_MONITOR);
    run_for(nodes, 10 * MS);
}

Test(remote_monitor, a_failure_comes_over_with_all_that_it_says, .init = fixture_init,
     .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 1);
    DCTX_WITH_SCOPE("set up")
        tell_uint(nodes.watching, DO_MONITOR);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watched(&nodes), 1);
    DCTX_WITH_SCOPE("api")
        tell_uint(nodes.worker, ORDER_FAIL);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(nodes.watcher.downs, 1);
    cr_assert_eq(nodes.watcher.kind, DCTX_EXIT_FAILED);
    cr_assert_eq(nodes.watcher.error, DCTX_ERR_IO);
    cr_assert_str_eq(nodes.watcher.text,
                     "worker@there: failed: DCTX_ERR_IO \"disk full\" in handler of \"uint64\" "
                     "under api > remote:worker");
    cr_assert_str_eq(nodes.watcher.chain, "set up > actor:watcher");
    cr_assert_eq(watched(&nodes), 0);
    part(&nodes);
    cr_assert_eq(nodes.watcher.downs, 1);
}

Test(remote_monitor, its_causes_come_over_too, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 2);
    dctx_ref_t other = spawn(nodes.there, "other", obey, NULL);
    cr_assert_eq(dctx_tie(nodes.actor, other, 0), DCTX_OK);
    monitor(&nodes);
    tell_uint(other, ORDER_FAIL);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(nodes.watcher.downs, 1);
    cr_assert_str_eq(nodes.watcher.text,
                     "worker@there: stopped: tied to other@there: failed: DCTX_ERR_IO \"disk "
                     "full\" in handler of \"uint64\" under actor:other");
    part(&nodes);
}

Test(remote_monitor, one_that_is_told_to_stop_did_not_fail, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 3);
    monitor(&nodes);
    cr_assert_eq(dctx_stop(nodes.actor), DCTX_OK);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(nodes.watcher.downs, 1);
    cr_assert_str_eq(nodes.watcher.text, "worker@there: stopped");
    /* Nobody has the name now. */
    monitor(&nodes);
    cr_assert_eq(nodes.watcher.downs, 2);
    cr_assert_eq(nodes.watcher.kind, DCTX_EXIT_NO_ACTOR);
    cr_assert_str_eq(nodes.watcher.text, "worker@there: gone before: DCTX_ERR_NO_ACTOR");
    cr_assert_eq(watched(&nodes), 0);
    part(&nodes);
}

Test(remote_monitor, one_taken_back_is_not_told, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 4);
    nodes.watcher.keeps = true;
    monitor(&nodes);
    cr_assert_eq(watched(&nodes), 1);
    tell_uint(nodes.watching, DO_DEMONITOR);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watched(&nodes), 0);
    cr_assert_null(nodes.watcher.monitor);
    /* At once, too: the one crosses the other. */
    tell_uint(nodes.watching, DO_MONITOR);
    tell_uint(nodes.watching, DO_DEMONITOR);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watched(&nodes), 0);
    /* And while the news is on its way. */
    monitor(&nodes);
    tell_uint(nodes.actor, ORDER_STOP);
    cr_assert(dctx_test_run(nodes.world));
    tell_uint(nodes.watching, DO_DEMONITOR);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(nodes.watcher.downs, 0);
    part(&nodes);
}

Test(remote_monitor, it_ends_with_the_one_who_set_it_up, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 5);
    monitor(&nodes);
    monitor(&nodes);
    cr_assert_eq(watched(&nodes), 2);
    tell_uint(nodes.watching, DO_STOP);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watched(&nodes), 0);
    tell_uint(nodes.actor, ORDER_STOP);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(nodes.watcher.downs, 0);
    part(&nodes);
}

Test(remote_monitor, a_node_that_stops_says_so_first, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 6);
    monitor(&nodes);
    finish(&nodes.there);
    run_for(&nodes, 10 * SECOND);
    cr_assert_eq(nodes.watcher.downs, 1);
    /* Its last words are lost if the good-bye overtakes them. */
    cr_assert(nodes.watcher.kind == DCTX_EXIT_SYSTEM || nodes.watcher.kind == DCTX_EXIT_NODE_LOST,
              "%s", nodes.watcher.text);
    part(&nodes);
}

Test(remote_monitor, a_node_that_goes_silent_is_lost_once, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 7);
    monitor(&nodes);
    int64_t begin = dctx_test_now(nodes.world);
    cr_assert_eq(dctx_test_cut(nodes.world, "here", "there"), DCTX_OK);
    run_for(&nodes, 2999 * MS);
    cr_assert_eq(nodes.watcher.downs, 0);
    run_for(&nodes, 2 * MS);
    cr_assert_eq(nodes.watcher.downs, 1);
    cr_assert_eq(nodes.watcher.at, begin + 3 * SECOND);
    cr_assert_eq(nodes.watcher.kind, DCTX_EXIT_NODE_LOST);
    cr_assert_eq(nodes.watcher.error, DCTX_ERR_UNREACHABLE);
    cr_assert_str_eq(nodes.watcher.text, "worker@there: lost with its node: DCTX_ERR_UNREACHABLE "
                                         "\"it went silent\"");
    cr_assert_eq(watched(&nodes), 0, "the other side knows as well");
    /* It comes back, and the actor ends there: that was not asked for any more. */
    dctx_test_heal(nodes.world, "here", "there");
    run_for(&nodes, SECOND);
    tell_uint(nodes.actor, ORDER_STOP);
    run_for(&nodes, SECOND);
    cr_assert_eq(nodes.watcher.downs, 1);
    part(&nodes);
}

Test(remote_monitor, a_node_that_nobody_dials_is_lost_at_once, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    begin(&nodes, 8);
    monitor(&nodes);
    cr_assert_eq(nodes.watcher.downs, 1);
    cr_assert_eq(nodes.watcher.kind, DCTX_EXIT_NODE_LOST);
    cr_assert_str_eq(nodes.watcher.text, "worker@there: lost with its node: DCTX_ERR_UNREACHABLE "
                                         "\"no node is dialled, none dials us\"");
    part(&nodes);
}

Test(remote_monitor, a_node_that_does_not_come_up_is_lost_after_a_while, .init = fixture_init,
     .timeout = 30)
{
    nodes_t nodes;
    begin(&nodes, 9);
    cr_assert_eq(dctx_test_cut(nodes.world, "here", "there"), DCTX_OK);
    cr_assert_eq(dctx_system_connect(nodes.here, "there", nodes.endpoint), DCTX_OK);
    int64_t begin = dctx_test_now(nodes.world);
    monitor(&nodes);
    run_for(&nodes, 2 * SECOND);
    cr_assert_eq(nodes.watcher.downs, 0);
    run_for(&nodes, 2 * SECOND);
    cr_assert_eq(nodes.watcher.downs, 1);
    cr_assert_eq(nodes.watcher.at, begin + 3 * SECOND);
    cr_assert_eq(nodes.watcher.kind, DCTX_EXIT_NODE_LOST);
    /* What was held for it is taken back when it comes. */
    dctx_test_heal(nodes.world, "here", "there");
    run_for(&nodes, SECOND);
    cr_assert_eq(dctx_system_wait_node(nodes.here, "there", 0), DCTX_OK);
    cr_assert_eq(watched(&nodes), 0);
    tell_uint(nodes.actor, ORDER_STOP);
    run_for(&nodes, SECOND);
    cr_assert_eq(nodes.watcher.downs, 1);
    part(&nodes);
}

Test(remote_monitor, one_that_comes_up_in_time_is_monitored, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    begin(&nodes, 10);
    cr_assert_eq(dctx_test_cut(nodes.world, "here", "there"), DCTX_OK);
    cr_assert_eq(dctx_system_connect(nodes.here, "there", nodes.endpoint), DCTX_OK);
    monitor(&nodes);
    run_for(&nodes, 2 * SECOND);
    dctx_test_heal(nodes.world, "here", "there");
    run_for(&nodes, 5 * SECOND);
    cr_assert_eq(watched(&nodes), 1);
    cr_assert_eq(nodes.watcher.downs, 0);
    tell_uint(nodes.actor, ORDER_STOP);
    run_for(&nodes, SECOND);
    cr_assert_eq(nodes.watcher.downs, 1);
    cr_assert_str_eq(nodes.watcher.text, "worker@there: stopped by itself");
    part(&nodes);
}

Test(remote_monitor, from_outside_one_is_called_or_waits, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 11);
    watcher_t called = {.who = nodes.worker, .world = nodes.world};
    dctx_exit_t *exit = NULL;
    cr_assert_eq(dctx_monitor_call(nodes.worker, on_down_call, &called), DCTX_OK);
    cr_assert_eq(dctx_await_end(nodes.worker, 50, &exit), DCTX_ERR_TIMEOUT);
    cr_assert_str_eq(dctx_error_detail(), "worker@there did not end within 50 ms");
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watched(&nodes), 1, "who does not wait any more takes it back");
    tell_uint(nodes.worker, ORDER_FAIL);
    cr_assert_eq(dctx_await_end(nodes.worker, 1000, &exit), DCTX_OK);
    cr_assert_str_eq(dctx_exit_who(exit), "worker@there");
    dctx_exit_unref(&exit);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(called.downs, 1);
    cr_assert_eq(called.error, DCTX_ERR_IO);
    /* Until our own system has stopped, at the latest. */
    dctx_ref_t late = spawn(nodes.there, "late", obey, NULL);
    (void)late;
    called.downs = 0;
    cr_assert_eq(dctx_system_find(nodes.here, "late@there", &called.who), DCTX_OK);
    cr_assert_eq(dctx_monitor_call(called.who, on_down_call, &called), DCTX_OK);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watched(&nodes), 1);
    cr_assert_eq(dctx_system_stop(nodes.here, WAIT_MS, NULL), DCTX_OK);
    cr_assert_eq(called.downs, 1);
    cr_assert_eq(called.kind, DCTX_EXIT_NODE_LOST);
    cr_assert_eq(dctx_monitor_call(called.who, on_down_call, &called), DCTX_ERR_STOPPED);
    run_for(&nodes, SECOND);
    cr_assert_eq(watched(&nodes), 0);
    part(&nodes);
    cr_assert_eq(called.downs, 1);
}

Test(remote_monitor, an_actor_of_another_system_may_use_the_address, .init = fixture_init,
     .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 12);
    watcher_t watcher = {.who = nodes.worker, .world = nodes.world};
    dctx_system_t *third = start(&(dctx_system_options_t){.name = "third", .world = nodes.world});
    dctx_ref_t watching = spawn(third, "watcher", watch, &watcher);
    tell_uint(watching, DO_MONITOR);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watched(&nodes), 1);
    tell_uint(nodes.worker, ORDER_STOP);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watcher.downs, 1);
    /* It stays when that system goes; then its node is lost to it. */
    dctx_ref_t late = spawn(nodes.there, "late", obey, NULL);
    (void)late;
    cr_assert_eq(dctx_system_find(nodes.here, "late@there", &watcher.who), DCTX_OK);
    tell_uint(watching, DO_MONITOR);
    run_for(&nodes, 10 * MS);
    finish(&nodes.here);
    run_for(&nodes, 10 * MS);
    cr_assert_eq(watcher.downs, 2);
    cr_assert_eq(watcher.kind, DCTX_EXIT_NODE_LOST);
    finish(&third);
    finish(&nodes.there);
    dctx_free(nodes.endpoint);
    dctx_test_world_destroy(&nodes.world);
}

Test(remote_monitor, a_tie_is_refused_with_what_to_do, .init = fixture_init, .timeout = 30)
{
    nodes_t nodes;
    meet(&nodes, 13);
    cr_assert_eq(dctx_tie(nodes.watching, nodes.worker, 0), DCTX_ERR_INVALID);
    cr_assert_not_null(strstr(dctx_error_detail(), "dctx_monitor()"), "%s", dctx_error_detail());
    cr_assert_eq(dctx_untie(nodes.watching, nodes.worker), DCTX_ERR_INVALID);
    dctx_ref_t none = {.system_ = nodes.here, .id_ = (uint64_t)1 << 63 | 12345};
    cr_assert_eq(dctx_monitor_call(none, on_down_call, NULL), DCTX_ERR_INVALID);
    part(&nodes);
}

typedef struct many {
    int refused, ended;
} many_t;

static void count_many(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    many_t *many = arg;
    (void)who;
    bool full =
        dctx_exit_kind(exit) == DCTX_EXIT_UNWATCHED && dctx_exit_error(exit) == DCTX_ERR_FULL;
    many->refused += full;
    many->ended += dctx_exit_kind(exit) == DCTX_EXIT_SELF;
}

Test(remote_monitor, too_many_of_one_node_are_refused_and_counted, .init = fixture_init,
     .timeout = 60)
{
    enum { MOST = 65536, OVER = 10 };
    nodes_t nodes;
    many_t many = {0};
    meet(&nodes, 14);
    for (int i = 0; i < MOST + OVER; i++)
        cr_assert_eq(dctx_monitor_call(nodes.worker, count_many, &many), DCTX_OK);
    run_for(&nodes, SECOND);
    cr_assert_eq(watched(&nodes), MOST);
    cr_assert_eq(counters(nodes.there).remote_monitors_refused, OVER);
    cr_assert_eq(many.refused, OVER);
    tell_uint(nodes.worker, ORDER_STOP);
    run_for(&nodes, SECOND);
    cr_assert_eq(many.ended, MOST);
    cr_assert_eq(watched(&nodes), 0);
    part(&nodes);
    cr_assert_eq(many.ended + many.refused, MOST + OVER);
}

/* ---- a peer that is not one of ours ---------------------------------------------------------- */

typedef struct stranger {
    dctx_link_t *link;
    int ended, asked; /* ENDED, and WATCH, that came */
    uint64_t number;  /* of the last */
    unsigned char payload[256];
    size_t size;
    bool up;
} stranger_t;

static void on_message(const char *peer, const dctx_link_message_t *message, void *arg)
{
    stranger_t *stranger = arg;
    cr_assert_str_eq(peer, "here");
    stranger->ended += message->kind == DCTX_LINK_ENDED;
    stranger->asked += message->kind == DCTX_LINK_WATCH;
    stranger->number = message->correlation;
    stranger->size = message->payload.size;
    if (message->payload.size <= sizeof stranger->payload && message->payload.size > 0)
        memcpy(stranger->payload, message->payload.data, message->payload.size);
}

static void on_peer(const char *peer, dctx_peer_event_t event, const char *reason, void *arg)
{
    (void)peer;
    (void)reason;
    ((stranger_t *)arg)->up = event == DCTX_PEER_UP;
}

static void turn(stranger_t *stranger)
{
    zmq_pollitem_t items[8];
    size_t count = dctx_link_poll_items(stranger->link, items, 8);
    cr_assert_leq(count, 8);
    (void)zmq_poll(items, (int)count, 10);
    while (dctx_link_process(stranger->link, 0)) {
    }
}

#define turn_until(stranger, condition)                                                            \
    do {                                                                                           \
        int turns_ = 0;                                                                            \
        while (!(condition) && turns_++ < 2000)                                                    \
            turn(stranger);                                                                        \
        cr_assert(condition, "%s", #condition);                                                    \
    } while (0)

static void send_kind(stranger_t *stranger, dctx_link_kind_t kind, uint64_t number,
                      const char *target, const void *payload, size_t size)
{
    dctx_link_message_t message = {.kind = kind,
                                   .correlation = number,
                                   .target = {target, target != NULL ? strlen(target) : 0},
                                   .payload = {payload, size}};
    dctx_error_t error;
    while ((error = dctx_link_send(stranger->link, "here", &message)) == DCTX_ERR_FULL)
        turn(stranger);
    cr_assert_eq(error, DCTX_OK, "%s", dctx_error_detail());
}

static dctx_system_t *start_limited(stranger_t *stranger, uint32_t window, size_t queue_limit)
{
    *stranger = (stranger_t){0};
    char *endpoint = NULL;
    /* Nobody is taken for dead here who is only slow. */
    dctx_system_t *system = start(&(dctx_system_options_t){.name = "here",
                                                           .workers = 2,
                                                           .heartbeat_ms = 60000,
                                                           .link_window = window,
                                                           .link_queue_limit = queue_limit});
    cr_assert_eq(dctx_system_bind(system, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    dctx_link_options_t options = {.node = "stranger",
                                   .on_message = on_message,
                                   .on_peer = on_peer,
                                   .heartbeat_ms = 60000,
                                   .arg = stranger};
    cr_assert_eq(dctx_link_new(&options, &stranger->link), DCTX_OK);
    cr_assert_eq(dctx_link_connect(stranger->link, "here", endpoint), DCTX_OK);
    turn_until(stranger, stranger->up);
    dctx_free(endpoint);
    return system;
}

static dctx_system_t *start_with(stranger_t *stranger)
{
    return start_limited(stranger, 0, 0);
}

/* What there is no room for on the way is told when there is: nobody would ask for it. */
Test(remote_monitor, no_end_is_lost_on_a_peer_that_is_slow, .init = fixture_init, .timeout = 60)
{
    enum { ACTORS = 40 };
    stranger_t stranger;
    char name[32];
    dctx_ref_t actors[ACTORS];
    dctx_system_t *system = start_limited(&stranger, 4, 2);
    for (int i = 0; i < ACTORS; i++) {
        snprintf(name, sizeof name, "worker-%d", i);
        actors[i] = spawn(system, name, obey, NULL);
        send_kind(&stranger, DCTX_LINK_WATCH, (uint64_t)i + 1, name, NULL, 0);
    }
    turn_until(&stranger, counters(system).remote_monitors == ACTORS);
    for (int i = 0; i < ACTORS; i++) {
        tell_uint(actors[i], ORDER_STOP);
        cr_assert_eq(dctx_await_end(actors[i], WAIT_MS, NULL), DCTX_OK);
    }
    turn_until(&stranger, stranger.ended == ACTORS);
    cr_assert_eq(counters(system).remote_monitors, 0);
    dctx_link_destroy(&stranger.link);
    finish(&system);
}

Test(remote_monitor, numbers_that_are_in_use_or_not_do_no_harm, .init = fixture_init, .timeout = 60)
{
    enum { NUMBERS = 1000 };
    stranger_t stranger;
    dctx_system_t *system = start_with(&stranger);
    (void)spawn(system, "worker", obey, NULL);
    for (uint64_t i = 1; i <= NUMBERS; i++)
        send_kind(&stranger, DCTX_LINK_WATCH, i, "worker", NULL, 0);
    send_kind(&stranger, DCTX_LINK_WATCH, 7, "worker", NULL, 0);
    send_kind(&stranger, DCTX_LINK_UNWATCH, NUMBERS + 1, NULL, NULL, 0);
    send_kind(&stranger, DCTX_LINK_UNWATCH, 0, NULL, "\xff", 1);
    send_kind(&stranger, DCTX_LINK_UNWATCH, 7, NULL, NULL, 0);
    send_kind(&stranger, DCTX_LINK_WATCH, 7, "worker", NULL, 0);
    send_kind(&stranger, DCTX_LINK_UNWATCH, 8, NULL, NULL, 0);
    send_kind(&stranger, DCTX_LINK_WATCH, 9999999, "nobody", NULL, 0);
    turn_until(&stranger, stranger.number == 9999999);
    cr_assert_eq(stranger.ended, 1);
    cr_assert_eq(counters(system).remote_monitors, NUMBERS - 1);
    cr_assert_eq(counters(system).remote_monitors_refused, 1);
    /* When the node goes they all go. */
    dctx_link_destroy(&stranger.link);
    for (int i = 0; i < 2000 && counters(system).remote_monitors > 0; i++)
        (void)zmq_poll(NULL, 0, 10);
    cr_assert_eq(counters(system).remote_monitors, 0);
    finish(&system);
}

Test(remote_monitor, targets_that_are_no_names_are_nobody, .init = fixture_init, .timeout = 30)
{
    stranger_t stranger;
    char name[256];
    dctx_system_t *system = start_with(&stranger);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    static const char *const names[] = {"",
                                        "two words",
                                        "\xff\xfe",
                                        "anon-",
                                        "anon-1x",
                                        "anon-99999999999999999999",
                                        "anon-18446744073709551615"};
    int count = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        send_kind(&stranger, DCTX_LINK_WATCH, (uint64_t)++count, names[i], NULL, 0);
    send_kind(&stranger, DCTX_LINK_WATCH, (uint64_t)++count, name, "junk", 4);
    turn_until(&stranger, stranger.ended == count);
    cr_assert_eq(counters(system).remote_monitors, 0);
    dctx_link_destroy(&stranger.link);
    finish(&system);
}

Test(remote_monitor, an_end_that_makes_no_sense_is_one_nevertheless, .init = fixture_init,
     .timeout = 30)
{
    static const struct {
        const char *payload;
        size_t size;
        dctx_exit_kind_t kind;
        dctx_error_t error;
    } cases[] = {
        {"", 0, DCTX_EXIT_FAILED, DCTX_ERR_MALFORMED},
        {"\xc1", 1, DCTX_EXIT_FAILED, DCTX_ERR_MALFORMED},
        {"\x90", 1, DCTX_EXIT_FAILED, DCTX_ERR_MALFORMED},
        {"\xdd\xff\xff\xff\xff", 5, DCTX_EXIT_FAILED, DCTX_ERR_MALFORMED},
        {"\x91\x95\x01\x14\xa1x\xa0\xa0", 8, DCTX_EXIT_FAILED, DCTX_ERR_MALFORMED},
        {"\x91\x96\x01\x14\xa1x\xa0\xa0", 8, DCTX_EXIT_FAILED, DCTX_ERR_MALFORMED},
        {"\x91\x96\x01\x14\xa1x\xa0\xa0\xa0\xc0", 10, DCTX_EXIT_FAILED, DCTX_ERR_MALFORMED},
        {"\x91\x96\xcc\xc8\xcc\xc8\xa0\xa0\xa0\xa0", 10, DCTX_EXIT_FAILED, DCTX_ERR_REJECTED},
        {"\x91\x97\x01\x14\xa1x\xa0\xa0\xa0\xc0", 10, DCTX_EXIT_SELF, DCTX_ERR_STOPPED},
    };
    stranger_t stranger;
    dctx_system_t *system = start_with(&stranger);
    dctx_ref_t far;
    cr_assert_eq(dctx_system_find(system, "worker@stranger", &far), DCTX_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        gate_t told = GATE_INIT;
        watcher_t called = {.who = far, .told = &told};
        cr_assert_eq(dctx_monitor_call(far, on_down_call, &called), DCTX_OK);
        turn_until(&stranger, stranger.asked == (int)i + 1);
        /* Not of this number; and then twice. */
        send_kind(&stranger, DCTX_LINK_ENDED, stranger.number + 1, NULL, NULL, 0);
        send_kind(&stranger, DCTX_LINK_ENDED, stranger.number, NULL, cases[i].payload,
                  cases[i].size);
        send_kind(&stranger, DCTX_LINK_ENDED, stranger.number, NULL, NULL, 0);
        turn_until(&stranger, gate_count(&told) > 0);
        cr_assert_eq(called.kind, cases[i].kind, "%zu: %s", i, called.text);
        cr_assert_eq(called.error, cases[i].error, "%zu: %s", i, called.text);
        cr_assert_eq(called.downs, 1);
    }
    dctx_link_destroy(&stranger.link);
    finish(&system);
}

/* A record by hand: docs/wire.md, section 3. */
static void send_record(void *socket, unsigned char kind, const void *payload, unsigned char size)
{
    unsigned char frame[4 + 40 + 255] = {'D', 'C', 'L', 1};
    frame[7] = (unsigned char)(40 + size);
    frame[8] = kind;
    memcpy(frame + 44, payload, size);
    cr_assert_eq(zmq_send(socket, frame, 44u + size, 0), 44 + size);
}

/* Waits for a frame whose first record is of a kind; others are counted if they are messages. */
static void await_record(void *socket, unsigned char kind, int *messages)
{
    unsigned char frame[4096] = {0};
    do {
        cr_assert_geq(zmq_recv(socket, frame, sizeof frame, 0), 44);
        *messages += frame[8] >= 16;
    } while (frame[8] != kind);
}

/* A node of an older version: it does not say which kinds it knows. */
Test(remote_monitor, an_older_node_is_not_sent_what_it_would_refuse, .init = fixture_init,
     .timeout = 30)
{
    static const char hello[] = "\x83\xa4node\xa3old\xabincarnation\x07\xa6window\x64";
    gate_t told = GATE_INIT;
    int messages = 0, patience = WAIT_MS;
    char *endpoint = NULL;
    dctx_system_t *system = start(&(dctx_system_options_t){.name = "here", .heartbeat_ms = 60000});
    cr_assert_eq(dctx_system_bind(system, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    cr_assert_eq(zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience), 0);
    cr_assert_eq(zmq_connect(socket, endpoint), 0);
    send_record(socket, 1, hello, sizeof hello - 1);
    await_record(socket, 2, &messages);
    watcher_t called = {.told = &told};
    cr_assert_eq(dctx_system_find(system, "worker@old", &called.who), DCTX_OK);
    cr_assert_eq(dctx_monitor_call(called.who, on_down_call, &called), DCTX_OK);
    cr_assert(gate_wait(&told, 1));
    cr_assert_eq(called.kind, DCTX_EXIT_UNWATCHED);
    cr_assert_eq(called.error, DCTX_ERR_VERSION);
    cr_assert_str_eq(called.text, "worker@old: cannot be monitored: DCTX_ERR_VERSION \"peer old "
                                  "knows no messages of kind 27: it is older\"");
    /* It was sent nothing, and is there as before. */
    send_record(socket, 4, "ping", 4);
    await_record(socket, 5, &messages);
    cr_assert_eq(messages, 0);
    zmq_close(socket);
    zmq_ctx_destroy(context);
    finish(&system);
    dctx_free(endpoint);
}
