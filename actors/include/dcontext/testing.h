/*
 * dcontext/testing.h - systems of actors on one thread, in virtual time, from a seed.
 *
 * A system that is made with `.world` in its options has no threads. The calling thread plays its
 * workers and its I/O actor while it is in one of the functions below, in dctx_ask_wait(),
 * dctx_future_wait(), or dctx_system_stop(); between these calls nothing moves. The world has the
 * clock, which stands still until it is moved; it decides which actor runs next and for how many
 * messages, anew at every step; and it has the random source. All of that comes from the seed: the
 * same program with the same seed does the same, step by step, which dctx_test_trace() shows.
 *
 *     dctx_test_world_new(seed, &world);
 *     dctx_system_new(&(dctx_system_options_t){.world = world}, &system);
 *     dctx_spawn(system, ...); dctx_tell(...);
 *     dctx_test_advance(world, 5 * 1000000000LL);
 */
#ifndef DCONTEXT_TESTING_H
#define DCONTEXT_TESTING_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>
#include <dcontext/clock.h>
#include <dcontext/system.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Make a world: one thread and one time for any number of systems. In it pinned actors run as the
 * others do, though they may still wait in dctx_ask_wait(); a system's `clock` option is refused,
 * and so are `policy` and CURVE: there are no sockets.
 *
 * Ownership: the caller owns it. Destroy its systems first: a world with systems in it is logged
 *   about, and stays the caller's.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM.
 * Thread-safety: a world, its systems and all that is sent to their actors belong to one thread.
 * Limits and units: the clock begins at one hour.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_test_world_new(uint64_t seed,
                                                             dctx_test_world_t **ret_world);
DCTX_EXPORT void dctx_test_world_destroy(dctx_test_world_t **world_p);

/*
 * The world's time, as contexts want it, for dctx_registry_set_clocks(): then deadlines go by it
 * too; and as executors want it. And its random source, for dctx_trace_begin() and its like.
 *
 * Ownership: borrowed; what is made with them must not be used after the world.
 * Errors: none. Thread-safety: the world's thread. Limits and units: nanoseconds.
 */
DCTX_EXPORT const dctx_clocks_t *dctx_test_clocks(const dctx_test_world_t *world);
DCTX_EXPORT dctx_clock_t dctx_test_clock(dctx_test_world_t *world);
DCTX_EXPORT dctx_id_source_t dctx_test_ids(dctx_test_world_t *world);

/*
 * Run one step: a turn of one actor, or a round of one I/O actor. False: there was nothing to do.
 * dctx_test_run() runs until there is nothing to do at this time; false: there was no end of it, 10
 * million steps long. Neither moves the clock.
 *
 * Ownership: none.
 * Errors: false, with a detail, also when called from an actor's callback.
 * Thread-safety: the world's thread, not from inside.
 * Limits and units: none.
 */
DCTX_EXPORT bool dctx_test_step(dctx_test_world_t *world);
DCTX_EXPORT bool dctx_test_run(dctx_test_world_t *world);

/*
 * True when a step would do nothing.
 * Ownership: none. Errors: true for NULL. Thread-safety: the world's thread.
 * Limits and units: none.
 */
DCTX_EXPORT bool dctx_test_is_idle(dctx_test_world_t *world);

/*
 * Run, and let time pass: from one thing that is due to the next, each as exactly as it was set,
 * running until idle in between; at the end the clock has moved by `ns`. False: as dctx_test_run().
 * Ownership, Errors, Thread-safety: as dctx_test_run().
 * Limits and units: nanoseconds.
 */
DCTX_EXPORT bool dctx_test_advance(dctx_test_world_t *world, int64_t ns);

/*
 * Run, and let time pass, until `predicate` says true, which is asked after every step; but for
 * `timeout_ns` at most. False if it did not.
 * Ownership, Errors, Thread-safety: as dctx_test_run().
 * Limits and units: nanoseconds of the world's time.
 */
typedef bool (*dctx_test_predicate_fn)(void *arg);
DCTX_EXPORT bool dctx_test_await(dctx_test_world_t *world, dctx_test_predicate_fn predicate,
                                 void *arg, int64_t timeout_ns);

/* ---- probes ---------------------------------------------------------------------------------- */

typedef struct dctx_test_probe dctx_test_probe_t;

/* A message as a probe has kept it, with the context that its handler had. */
typedef struct dctx_test_letter {
    dctx_message_t *message;
    dctx_snapshot_t *context;
    dctx_ref_t sender;         /* as dctx_message_sender() */
    dctx_reply_to_t *reply_to; /* of an ask; NULL: of a tell, or it was used */
} dctx_test_letter_t;

/*
 * An actor that stands for others in a test: it keeps what it is sent, in order, for the test to
 * look at, and to answer.
 *
 * Ownership: the caller owns the probe; destroying it stops its actor, and answers what was not
 *   taken with DCTX_ERR_NO_REPLY. After its system it can only be destroyed.
 * Errors: DCTX_ERR_INVALID (a system without a world), and as dctx_spawn().
 * Thread-safety: the world's thread. Limits and units: names as of actors; NULL: made.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_test_probe_new(dctx_system_t *system,
                                                             const char *name,
                                                             dctx_test_probe_t **ret_probe);
DCTX_EXPORT void dctx_test_probe_destroy(dctx_test_probe_t **probe_p);
DCTX_EXPORT dctx_ref_t dctx_test_probe_ref(const dctx_test_probe_t *probe);

/*
 * The next message of a probe: runs, and lets time pass, until there is one.
 *
 * Ownership: *ret_letter is the caller's, for dctx_test_letter_clear().
 * Errors: DCTX_ERR_TIMEOUT, DCTX_ERR_NO_ACTOR (the probe was stopped), DCTX_ERR_INVALID.
 * Thread-safety: the world's thread, not from inside.
 * Limits and units: nanoseconds of the world's time.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_test_probe_await(dctx_test_probe_t *probe,
                                                               int64_t timeout_ns,
                                                               dctx_test_letter_t *ret_letter);
DCTX_EXPORT void dctx_test_letter_clear(dctx_test_letter_t *letter);

/* ---- the network ----------------------------------------------------------------------------- */

/*
 * Systems of one world reach each other as nodes do: dctx_system_bind(), dctx_system_connect(),
 * with any endpoint; a '*' at its end becomes a number. Nothing leaves the process, and the world
 * says what becomes of a message. What a link promises holds: messages of one direction arrive in
 * order, at most once, and who loses a connection is told. Values are encoded, and only broadcast
 * values go.
 */
typedef struct dctx_test_net {
    int64_t delay_ns;  /* what a message takes at least */
    int64_t jitter_ns; /* and what at most in addition, drawn for each */
    unsigned lose;     /* of a million messages, that many vanish */
    /* Of a million messages, at that many the connection breaks: what is on its way is lost, both
     * nodes are told that the other is down, and the one that dialled dials again. */
    unsigned sever;
} dctx_test_net_t;

/*
 * How the network of a world is from now on. At first: 0.5 ms and up to 0.5 ms more, nothing lost.
 *
 * Ownership: *net is copied.
 * Errors: DCTX_ERR_INVALID (a negative time, more than a million of a million).
 * Thread-safety: the world's thread. Limits and units: nanoseconds.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_test_net_set(dctx_test_world_t *world,
                                                           const dctx_test_net_t *net);

/*
 * Part two nodes: nothing gets through, though nobody says so; each notices when it has heard
 * nothing for `dead_after_ms`. Let them meet again: a dialler finds the other within 0.1 s.
 *
 * Ownership: names are copied.
 * Errors: DCTX_ERR_INVALID (not a name), DCTX_ERR_NOMEM. To part them again, or to let meet who was
 *   not parted, is fine.
 * Thread-safety: the world's thread. Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_test_cut(dctx_test_world_t *world, const char *node,
                                                       const char *other);
DCTX_EXPORT void dctx_test_heal(dctx_test_world_t *world, const char *node, const char *other);

/* What the network did. sent = delivered + lost + what is on its way. The world's thread. */
typedef struct dctx_test_net_counters {
    uint64_t sent;
    uint64_t delivered;
    uint64_t lost;
} dctx_test_net_counters_t;
/*
 * Read them. Of NULL all are 0.
 * Ownership: *ret_counters is a value. Errors: none. Thread-safety: the world's thread.
 * Limits and units: messages.
 */
DCTX_EXPORT void dctx_test_net_counters_read(const dctx_test_world_t *world,
                                             dctx_test_net_counters_t *ret_counters);

/*
 * What time it is there; how many steps were run; a hash of all that the world decided and when.
 * Any two runs of one program with equal seeds have equal traces.
 * Ownership: none. Errors: 0 for NULL. Thread-safety: the world's thread.
 * Limits and units: nanoseconds; steps.
 */
DCTX_EXPORT int64_t dctx_test_now(const dctx_test_world_t *world);
DCTX_EXPORT uint64_t dctx_test_steps(const dctx_test_world_t *world);
DCTX_EXPORT uint64_t dctx_test_trace(const dctx_test_world_t *world);

#ifdef __cplusplus
}
#endif
#endif
