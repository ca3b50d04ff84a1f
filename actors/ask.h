/*
 * The pending asks of a system, and how each of them ends exactly once.
 *
 * An ask has a slot while it is pending, and a record: the message cell that will tell the asker
 * how it ended, made when the ask is, so that an end needs no memory. Whoever ends an ask, by
 * reply, error, timeout, loss of a node or stop, first claims it by its number; one succeeds, and
 * owns the record.
 *
 * An ask that ends without an answer takes with it what is done for it: a scope in this process,
 * which whoever works for it makes when it is first needed, or a message to the node that was
 * asked. And the scope in which it was made ends it, by a watch in the slot. An ask with neither
 * pays for neither.
 *
 * A pending ask costs its timeout nothing: `due` says when the first one can be over, and only an
 * ask that ends before that wakes the I/O actor. When `due` has come the I/O actor goes through the
 * slots once, ends those that are over, and sets `due` to the earliest of the others. Asks with
 * like timeouts come in order, so that happens once in a timeout's time, however many asks there
 * are.
 */
#ifndef DCTX_ASK_H
#define DCTX_ASK_H

#include <stdatomic.h>
#include <stdint.h>

#include <dcontext/actor.h>
#include <dcontext/cancel.h>

#include "futex.h"
#include "message.h"
#include "peers.h"
#include "runner.h"
#include "slab.h"

/* The low bits of a slot's state; the others are the generation, 31 bits, never 0. */
enum {
    DCTX_ASK_PENDING = 1,
    /* Somebody is about to set one of the next two, and holds nothing else: wait for that. */
    DCTX_ASK_LOCKED = 2,
    DCTX_ASK_WATCHED = 4, /* `watch` is registered with the scope that the ask was made in */
    DCTX_ASK_WORK = 8,    /* `work` is there */
    DCTX_ASK_BITS = 4
};

typedef struct dctx_ask_slot {
    _Alignas(64) dctx_slab_slot_t slot;
    /* Who opens the ask stores it with all else filled in; who claims it swaps it for the next
     * generation. What follows is stable for as long as that did not change. */
    _Atomic(uint64_t) state;
    _Atomic(int64_t) deadline;
    _Atomic(const dctx_peer_t *) peer; /* the node that is asked; NULL: this one */
    _Atomic(uint64_t) asker;           /* the id of the actor that goes on when it ends; 0: none */
    dctx_message_t *record;
    dctx_cancel_t *work; /* the scope of what is done for it in this process, with a reference */
    dctx_system_t *home;
    dctx_cancel_watch_t watch; /* ends the ask when the asker's scope is cancelled */
} dctx_ask_slot_t;

/* Whom dctx_ask_wait() waits with. On its stack: nobody touches it once `done` is set. */
typedef struct dctx_waiter {
    dctx_futex_t done; /* release by who ended the ask */
} dctx_waiter_t;

void dctx_ask_slot_init_(void *slot);

/* Opens an ask made in a cancel scope, or in none (NULL). The record is the ask's from here on, if
 * it succeeds; its status says how the ask ends when its time is up. DCTX_ERR_NOMEM,
 * DCTX_ERR_STOPPED, and what the scope says if it is cancelled. */
dctx_error_t dctx_ask_open_(dctx_system_t *system, dctx_message_t *record, int64_t deadline,
                            const dctx_peer_t *peer, dctx_cancel_t *scope, uint64_t *ret_ask);

/*
 * For an answer: the record of a pending ask, which is pending no more; NULL if it was over.
 * `from`: only if it was this peer that was asked. Then: dctx_ask_end_(). What is done for the ask
 * is not called off.
 */
dctx_message_t *dctx_ask_claim_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                                const dctx_peer_t *from);

/* Takes an ask back that went nowhere: its record is the caller's again. False if it was over. */
bool dctx_ask_withdraw_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                        const dctx_peer_t *peer);

/* True while it is pending. */
bool dctx_ask_is_pending_(dctx_system_t *system, uint64_t ask);

/* The scope that is cancelled when the ask ends in another way than by an answer, with a reference
 * for the caller: `work`, if none was given before; an ask that was sent on has one. NULL if it is
 * over. */
dctx_cancel_t *dctx_ask_share_work_(dctx_system_t *system, uint64_t ask, dctx_cancel_t *work);

/* Hands a claimed record to the asker. */
void dctx_ask_end_(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *record,
                   dctx_error_t status);

/* Claims and ends with the other's error and a reason (may be NULL).
 * False if it was over: not counted as late. */
bool dctx_ask_fail_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask, dctx_error_t error,
                    const char *reason);

/* The same for an ask that nobody has handled, so that it may be made again. */
bool dctx_ask_return_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                      dctx_error_t error, const char *reason);

/* As the next, with a reason (may be NULL). */
bool dctx_ask_call_off_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                        dctx_error_t error, const char *reason);

/* Claims and ends because the asker does not wait any more, and calls off what is done for it. */
bool dctx_ask_give_up_(dctx_system_t *system, dctx_runner_t *runner, uint64_t ask,
                       dctx_error_t error);

/* As dctx_ask_give_up_(), for all that wait for a node, or for all that there are (NULL). */
void dctx_asks_fail_(dctx_system_t *system, dctx_runner_t *runner, const dctx_peer_t *peer,
                     dctx_error_t error);

/* The same for those of an actor that has gone, with DCTX_ERR_CANCELLED. In user code. */
void dctx_asks_abandon_(dctx_system_t *system, dctx_runner_t *runner, uint64_t asker);

/* Gives up those whose time is up and returns when to come back; INT64_MAX: not.
 * For the I/O actor. */
int64_t dctx_asks_expire_(dctx_system_t *system, dctx_runner_t *runner);

/* The system that has an ask, kept alive until dctx_home_leave_(); NULL if it is gone.
 * `system`: that of the one who was asked; `home`: its address, which may be stale. */
dctx_system_t *dctx_home_enter_(dctx_system_t *system, const void *home);
void dctx_home_leave_(const dctx_system_t *system, const dctx_system_t *home);

#endif
