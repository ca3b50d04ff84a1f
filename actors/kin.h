/*
 * Parents and children: the bond between the two, and what an actor that is either has of it.
 *
 * A bond is made with the child and shared by the two, who talk by signals: the child reports, the
 * parent orders. The parent has at most one order out that the child has to answer; beside that, a
 * stop, which is the same as anybody's. A child that fails, or is told to retire, is suspended
 * until the parent has it go on; so all that follows from a failure is decided in the parent's
 * turn, in order.
 */
#ifndef DCTX_KIN_H
#define DCTX_KIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/supervise.h>

#include "alarm.h"
#include "cell.h"
#include "life_signal.h"
#include "timers.h"

/* Of a child, as its parent sees it. */
typedef enum dctx_bond_state {
    DCTX_BOND_NEW = 0,
    DCTX_BOND_RUNNING,
    DCTX_BOND_FAILED,    /* it waits, and so far nothing has been decided */
    DCTX_BOND_RETIRING,  /* an order is out */
    DCTX_BOND_RETIRED,   /* it waits to begin anew */
    DCTX_BOND_BEGINNING, /* an order is out */
    DCTX_BOND_STOPPING   /* a stop is out */
} dctx_bond_state_t;

/* Among the children that are restarted together: see round.h. */
typedef enum dctx_bond_place {
    DCTX_BOND_NOWHERE = 0,
    DCTX_BOND_SPARED,
    DCTX_BOND_UP,
    DCTX_BOND_DOWN
} dctx_bond_place_t;

enum {
    DCTX_BOND_REPORTS = 4, /* of a child that its parent may not have come past yet: at most 3 */
    DCTX_BOND_ORDERS = 4,
    DCTX_BOND_WAKES = 2 /* the alarm can be set anew while the last one is in hand */
};

typedef struct dctx_bond {
    _Atomic(uint32_t) references; /* relaxed up, acq_rel down */
    dctx_ref_t parent, child;     /* never change */
    dctx_signal_t adopt, ended;
    dctx_signal_t reports[DCTX_BOND_REPORTS];
    dctx_signal_t orders[DCTX_BOND_ORDERS];
    dctx_extra_t *spare; /* for a parent that has none; gone once it has taken `adopt` */

    /* The parent's turn only. */
    struct dctx_bond *older, *younger;
    struct dctx_bond *before, *after; /* among those that wait to be stopped */
    bool queued;                      /* it is one of these */
    uint8_t place;                    /* dctx_bond_place_t */
    dctx_timer_node_t node;           /* in the heap of that place */
    uint64_t born;                    /* a number among siblings, rising; 0: it is not counted */
    dctx_bond_state_t state;
    bool listed;
    bool gone;                            /* it has ended */
    bool doomed;                          /* to be stopped */
    bool member;                          /* to be restarted */
    bool down;                            /* it has retired, and not begun since */
    bool returned;                        /* it failed by an error that it returned */
    bool late;                            /* it did not stop in time, and was told to at once */
    dctx_exit_t *failure;                 /* of one that failed */
    unsigned failures;                    /* in a row, for the back-off */
    int64_t failed_at;                    /* the last time */
    uint8_t alarm_for;                    /* dctx_bond_alarm_t */
    dctx_alarm_t alarm;                   /* while it is set it has a reference */
    dctx_signal_t wakes[DCTX_BOND_WAKES]; /* from the alarm to the parent */

    /* From the child to the parent, by way of the report that is posted after it is written. */
    dctx_exit_t *report;  /* with FAILED */
    bool report_returned; /* with FAILED: by an error that it returned */

    /* From the parent to the child. */
    bool errors_are_failures;  /* at spawn, or with BEGIN */
    dctx_exit_t *retire_cause; /* before RETIRE */
    dctx_exit_t *stop_cause;   /* why the parent stops it; before stop_why */
    _Atomic(int)
        stop_why; /* dctx_stop_why_t; release by the parent, acquire by the child at its stop */
} dctx_bond_t;

typedef enum dctx_bond_alarm {
    DCTX_BOND_QUIET = 0,
    DCTX_BOND_BACKOFF, /* to begin anew */
    DCTX_BOND_PATIENCE /* to wait for its stop no longer */
} dctx_bond_alarm_t;

typedef enum dctx_stop_why {
    DCTX_STOP_ANYBODY = 0,
    DCTX_STOP_PARENT, /* it ends, or is retired: stop_cause */
    DCTX_STOP_DECIDED /* for its failure: the child knows it */
} dctx_stop_why_t;

/* What an actor has of all this, in its extra. */
typedef struct dctx_kin {
    dctx_bond_t *bond; /* NULL: it has no parent */

    /* How it begins, for the second time. */
    dctx_error_t (*new_state)(void *seed, void **ret_state);
    void *seed;
    dctx_error_t (*on_start)(dctx_actor_t *self, void *state);
    dctx_snapshot_t *start_context;
    dctx_handler_fn handler;
    bool unborn;    /* it has never begun */
    bool down;      /* it is to begin: on_stop has run, or there was nothing to stop */
    bool has_state; /* made by new_state */
    bool beginning; /* it is in new_state or on_start */
    uint8_t ending; /* dctx_kin_ending_t */

    dctx_exit_t *failure; /* dctx_self_fail() in this callback; not acted upon yet */
    bool returned;        /* `failure`: by an error that was returned */
    dctx_exit_t *exit;    /* why it ends, or is suspended */

    /* As a parent. */
    dctx_bond_t *oldest, *youngest;
    struct dctx_supervisor *supervisor; /* NULL: it has no children, and no options for them */
} dctx_kin_t;

/* What it does once its children have ended. */
typedef enum dctx_kin_ending {
    DCTX_ENDING_NOT = 0,
    DCTX_ENDING_RETIRE, /* retire, and wait */
    DCTX_ENDING_END
} dctx_kin_ending_t;

/* With one reference, the child's. NULL without memory. */
dctx_bond_t *dctx_bond_new_(dctx_ref_t parent, dctx_ref_t child);
void dctx_bond_ref_(dctx_bond_t *bond);
void dctx_bond_unref_(dctx_bond_t *bond);

/* Reports to the parent. */
void dctx_bond_report_(dctx_runner_t *runner, dctx_bond_t *bond, dctx_signal_kind_t kind);
/* Orders the child. */
void dctx_bond_order_(dctx_runner_t *runner, dctx_bond_t *bond, dctx_signal_kind_t kind);
/* Stops the child, with a cause, of which it keeps a reference. */
void dctx_bond_stop_(dctx_runner_t *runner, dctx_bond_t *bond, dctx_stop_why_t why,
                     const dctx_exit_t *cause);

/*
 * A spawn's part, in order: what can fail, for an actor without an extra that is not given out;
 * what undoes it; what cannot fail; and, once the actor is given out, the message to a parent that
 * has to take it in.
 *
 * dctx_kin_open_() adds to `life` and `serving`. The bond it returns, unless it is NULL, is for
 * dctx_kin_offer_(): a reference, as the actor may be gone by then.
 */
dctx_error_t dctx_kin_prepare_(dctx_actor_t *actor, const dctx_actor_options_t *options,
                               dctx_ref_t ref);
void dctx_kin_discard_(dctx_actor_t *actor);
dctx_bond_t *dctx_kin_open_(dctx_actor_t *actor, uint64_t *life, uint32_t *serving);
void dctx_kin_offer_(dctx_runner_t *runner, dctx_bond_t *bond);

/* Takes a bond's signal in the receiver's turn; `living`: it is for the actor that lives in the
 * cell. False: abandoned. */
bool dctx_bond_take_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_signal_t *signal,
                     bool living);

#endif
