/*
 * A test world: the scheduler, the threads and the clock of systems that have none of their own.
 *
 * To the rest of the library such a system has one worker, whose runner is of a kind of its own. So
 * what becomes runnable goes where it goes for threads from outside, on the scheduler's stack; the
 * world takes it from there and decides. A system without a world pays nothing for that.
 */
#ifndef DCTX_WORLD_H
#define DCTX_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/testing.h>

#include "cell.h"
#include "wire.h"

/* A system's part of its world. */
typedef struct dctx_stage {
    dctx_test_world_t *world; /* NULL: it has threads and the machine's time */
    dctx_system_t *next;      /* in the world, in the order in which they were made */
    unsigned number;
    dctx_actor_t **runnable; /* grows; what finds no memory waits in `spilled` */
    size_t count;
    size_t capacity;
    dctx_actor_t *spilled;
} dctx_stage_t;

/* Puts a system into its world and takes it out. */
void dctx_world_enter_(dctx_test_world_t *world, dctx_system_t *system);
void dctx_world_leave_(dctx_system_t *system);

int64_t dctx_world_now_(dctx_test_world_t *world);
uint64_t dctx_world_random_(dctx_test_world_t *world);

/* Where code of the library waits, in a world it drives instead, from inside callbacks too: until
 * the predicate (NULL: never) says true, at `until` at the latest (INT64_MAX: as long as anything
 * is due); true if it did. Time passes only when there is nothing else to do. */
bool dctx_world_wait_(dctx_test_world_t *world, dctx_test_predicate_fn predicate, void *arg,
                      int64_t until);

/* A system's wire in its world. Errors: as dctx_net_wire_(). */
dctx_error_t dctx_world_wire_(dctx_system_t *system, const dctx_link_options_t *options,
                              dctx_wire_t **ret_wire);

/* The world that the calling thread is in, or has made, and would wait in vain for without driving
 * it; or NULL. */
dctx_test_world_t *dctx_world_here_(void);

/* Runs all that there is to do now. */
void dctx_world_settle_(dctx_test_world_t *world);

#endif
