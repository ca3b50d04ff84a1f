/*
 * dcontext/router.h - a pool of actors behind one address: who gets the next message.
 *
 * A router chooses where a message is sent, in the sender's thread: what is told goes to the chosen
 * actor's mailbox at once, with no hop in between. With a name it has an address as well, for
 * senders who know no router, also on other nodes: an actor that forwards, so that asks are
 * answered by whom they reach. What comes to the address while no member is alive is a dead letter,
 * with DCTX_ERR_NO_ACTOR.
 */
#ifndef DCONTEXT_ROUTER_H
#define DCONTEXT_ROUTER_H

#include <stddef.h>
#include <stdint.h>

#include <dcontext/actor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dctx_router dctx_router_t;

typedef enum dctx_route {
    DCTX_ROUTE_ROUND_ROBIN = 0, /* each in turn */
    /* whom the fewest messages wait for: of up to 8 members exactly, of more the best of 4. Members
     * that the router spawns are DCTX_COUNTED; of others only whether they are busy is known, and
     * of those on other nodes nothing. */
    DCTX_ROUTE_LEAST_LOADED = 1,
    /* the same key the same member, for as long as it lives; when members come or go only the keys
     * of those move. A message that is not of `key_type` goes to each in turn. */
    DCTX_ROUTE_BY_KEY = 2,
    DCTX_ROUTE_RANDOM = 3,
    DCTX_ROUTE_BROADCAST = 4 /* all of them; not for asks */
} dctx_route_t;

/* All but one of `member_count` and `workers` may be zero. */
typedef struct dctx_router_options {
    dctx_route_t route;
    const dctx_ref_t *members; /* who is there; addresses of the router's system */
    size_t member_count;
    /* Who is spawned: as `worker` says, named "NAME-1" and so on if that has a name; with the state
     * that `worker_state` makes for each (NULL: it has no memory), or, without it, all with
     * `worker`'s. */
    const dctx_actor_options_t *worker;
    size_t workers;
    void *(*worker_state)(size_t number, void *arg);
    /* of DCTX_ROUTE_BY_KEY: the key of a value of this type; on the sender's thread */
    const dctx_type_t *key_type;
    uint64_t (*key)(const void *value, void *arg);
    void *arg;        /* for the functions */
    const char *name; /* of its address; NULL: it has none */
} dctx_router_options_t;

/*
 * Make a router. Destroying it stops the workers that it spawned, after what was sent to them
 * before, and its address; members that were given go on.
 *
 * Ownership: the caller owns it, and destroys it before its system. Options are copied; what their
 *   strings, types and functions point to must last.
 * Errors: DCTX_ERR_INVALID (nobody to route to, no worker, no key, a member of another system),
 *   DCTX_ERR_NOMEM, and those of dctx_spawn(); then nothing was spawned that goes on.
 * Thread-safety: any thread; destroy when nobody uses it.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_router_new(dctx_system_t *system,
                                                         const dctx_router_options_t *options,
                                                         dctx_router_t **ret_router);
DCTX_EXPORT void dctx_router_destroy(dctx_router_t **router_p);

/*
 * The member for a message, to be told or asked: dctx_ask(self, ref, ...). Members that have gone
 * are taken out when they are met, and never given.
 *
 * Ownership: a value; type and value are looked at only.
 * Errors: DCTX_ERR_NO_ACTOR (no member is alive), DCTX_ERR_INVALID (a broadcast).
 * Thread-safety: any thread. Limits and units: no lock is taken.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_router_pick(dctx_router_t *router,
                                                          const dctx_type_t *type,
                                                          const void *value, dctx_ref_t *ret_ref);

/*
 * Tell the member for this message, or all of them by DCTX_ROUTE_BROADCAST.
 *
 * Ownership, Limits and units: as dctx_tell(), or dctx_group_tell(). Thread-safety: any thread.
 * Errors: as dctx_tell(); a member that ends at this moment is passed over. DCTX_ERR_NO_ACTOR: none
 *   is alive.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_router_tell(dctx_router_t *router,
                                                          const dctx_type_t *type,
                                                          const void *value);

/*
 * Members come and go: given ones, or those that the router spawns, of which it then has `workers`.
 * Who is removed gets no more messages; a worker that is one too many stops after what was sent to
 * it.
 *
 * Ownership: values.
 * Errors: DCTX_ERR_INVALID (another system's, or the router's own address; resize: there is no
 *   worker to spawn), DCTX_ERR_NO_ACTOR, DCTX_ERR_ABSENT (remove: no member), DCTX_ERR_NOMEM, and
 *   those of dctx_spawn(): what was spawned before it failed stays.
 * Thread-safety: any thread. Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_router_add(dctx_router_t *router, dctx_ref_t member);
DCTX_EXPORT dctx_error_t dctx_router_remove(dctx_router_t *router, dctx_ref_t member);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_router_resize(dctx_router_t *router, size_t workers);

/*
 * How many members are alive; and its address, DCTX_REF_NONE if it has no name.
 * Ownership: values. Errors: none; of NULL 0 and DCTX_REF_NONE. Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT size_t dctx_router_size(dctx_router_t *router);
DCTX_EXPORT dctx_ref_t dctx_router_ref(const dctx_router_t *router);

#ifdef __cplusplus
}
#endif
#endif
