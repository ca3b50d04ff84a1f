/*
 * The pending asks of a system, and how each of them ends exactly once.
 *
 * An ask has a slot while it is pending, and a record: the message cell that will tell the asker how it
 * ended, made when the ask is, so that an end needs no memory. Whoever ends an ask, by reply, error,
 * timeout, loss of a node or stop, first claims it by its number; one succeeds, and owns the record.
 *
 * A pending ask costs its timeout nothing: `due` says when the first one can be over, and only an ask that
 * ends before that wakes the I/O actor. When `due` has come the I/O actor goes through the slots once, ends
 * those that are over, and sets `due` to the earliest of the others. Asks with like timeouts
 * come in order, so that happens once in a timeout's time, however many asks there are.
 */
#ifndef DCTX_ASK_H
#define DCTX_ASK_H

#include <stdatomic.h>
#include <stdint.h>

#include <dcontext/actor.h>

#include "futex.h"
#include "message.h"
#include "peers.h"
#include "runner.h"
#include "slab.h"

typedef struct dctx_ask_slot {
    _Alignas(64) dctx_slab_slot_t slot;
    /* generation << 1 | 1 while pending. Who opens the ask stores it with all else filled in; who claims it
     * swaps it for the next generation. What follows is stable for as long as it did not change. */
    _Atomic(uint64_t) state;
    _Atomic(int64_t) deadline;
    _Atomic(const dctx_peer_t *) peer; /* the node that is asked; NULL: this one */
    dctx_message_t *record;
} dctx_ask_slot_t;

/* Whom dctx_ask_wait() waits with. On its stack: nobody touches it once `done` is set. */
typedef struct dctx_waiter {
    dctx_futex_t done; /* release by who ended the ask */
} dctx_waiter_t;

void dctx_ask_slot_init_(void *slot);

/* Opens an ask. The record is the ask's from here on, if it succeeds; its status says how the ask ends when its time is
 * up. DCTX_ERR_NOMEM, DCTX_ERR_STOPPED. */
dctx_error_t dctx_ask_open_(dctx_system_t *system, dctx_message_t *record, int64_t deadline,
                            const dctx_peer_t *peer, uint64_t *ret_ask);

/* The record of a pending ask, which is pending no more; NULL if it was over. `from`: only if it was this
 * node that was asked (NULL: this system). */
dctx_message_t *dctx_ask_claim_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                                const dctx_peer_t *from);

/* Takes an ask back that was opened; the record is the caller's again. False if it was over. */
bool dctx_ask_withdraw_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                        const dctx_peer_t *peer);

/* True while it is pending. */
bool dctx_ask_is_pending_(dctx_system_t *system, uint64_t ask);

/* Hands a claimed record to the asker. */
void dctx_ask_end_(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *record,
                   dctx_error_t status);

/* Claims and ends with an error and a reason (may be NULL). False if it was over: not counted as late. */
bool dctx_ask_fail_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask, dctx_error_t error,
                    const char *reason);

/* As dctx_ask_fail_(), for all that wait for a node, or for all that there are (NULL). */
void dctx_asks_fail_(dctx_system_t *system, dctx_runner_t *runner, const dctx_peer_t *peer,
                     dctx_error_t error);

/* Ends those whose time is up and returns when to come back; INT64_MAX: not. For the I/O actor. */
int64_t dctx_asks_expire_(dctx_system_t *system, dctx_runner_t *runner);

#endif
