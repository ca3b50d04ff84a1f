/* Spawning, stopping and naming actors, for the rooms of this library. */
#ifndef DCTX_ACTOR_INTERNAL_H
#define DCTX_ACTOR_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actor.h>

#include "runner.h"

/* Makes a new cell ready for its first actor; for the slab. */
void dctx_actor_init_(void *slot);

/* dctx_spawn(); `internal`: one of the system's own, which is not counted. */
dctx_error_t dctx_spawn_(dctx_system_t *system, const dctx_actor_options_t *options, bool internal,
                         dctx_ref_t *ret_ref);

/* Has an actor stop after what is in its mailbox. False if it was gone. Needs no memory. */
bool dctx_actor_stop_(dctx_system_t *system, dctx_runner_t *runner, uint64_t id);

/* Has an actor stop before its next message. False if it was gone. Needs no memory. */
bool dctx_actor_stop_now_(dctx_system_t *system, dctx_runner_t *runner, uint64_t id);

/* The id behind a name, also of the kind that the system makes; 0 if there is none. */
uint64_t dctx_actor_find_(dctx_system_t *system, const char *name, size_t length);

#endif
