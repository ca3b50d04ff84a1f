/*
 * A parent's side of its children's lives: what it decides when one fails, how it restarts them,
 * and how it stops them. All in the parent's turn.
 *
 * What is restarted retires first (on_stop), waits for the back-off, and begins. One for one, each
 * child goes through that by itself. For the other strategies there is a round: its members retire
 * one after the other, the youngest first, wait, and begin one after the other, the oldest first. A
 * failure meanwhile makes it a new round, of those that have not begun and those that the failure
 * concerns.
 */
#ifndef DCTX_SUPERVISOR_H
#define DCTX_SUPERVISOR_H

#include <stdbool.h>

#include <dcontext/supervise.h>

#include "cell.h"
#include "kin.h"
#include "runner.h"

/* An actor that may have children; with options (NULL: all defaults).
 * DCTX_ERR_INVALID, DCTX_ERR_NOMEM. */
dctx_error_t dctx_supervisor_make_(dctx_kin_t *kin, const dctx_supervision_t *options);

/* A bond between a parent, in whose turn this is, and a child that is not given out yet. */
void dctx_supervisor_add_(dctx_actor_t *parent, dctx_bond_t *bond);

/* Stops all children, one after the other, the youngest first; `why` is the cause of their ends.
 * With none left, dctx_life_alone_(). False: abandoned. */
bool dctx_supervisor_stop_all_(dctx_runner_t *runner, dctx_actor_t *actor, const dctx_exit_t *why);

/* The actor goes on after a failure of its own: decides what has come up meanwhile.
 * False: abandoned. */
bool dctx_supervisor_resume_(dctx_runner_t *runner, dctx_actor_t *actor);

/* It begins anew: forgets what its children did. */
void dctx_supervisor_reset_(dctx_kin_t *kin);

/* How often it has looked at a child to restart or stop several together: what that costs. */
uint64_t dctx_supervisor_looks_(const dctx_kin_t *kin);

/* Signals to a parent. False: abandoned. */
bool dctx_supervisor_take_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_bond_t *bond,
                           dctx_signal_kind_t kind);

/* The actor has ended: tells its parent, lets go of children that it did not wait for.
 * See extra.h. */
void dctx_kin_end_(dctx_runner_t *runner, dctx_system_t *system, dctx_kin_t *kin,
                   const dctx_exit_t *exit);

#endif
