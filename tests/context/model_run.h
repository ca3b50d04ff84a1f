/*
 * A run of random steps: a thread of the library, the reference model of it, and the comparison of
 * the two. What a run knows, what may happen to it by chance, and how it is checked.
 */
#ifndef DCTX_TESTS_MODEL_RUN_H
#define DCTX_TESTS_MODEL_RUN_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "watch.h"

enum { HELD = 24, BOARD = 8, SPENT = 16 };

typedef struct held {
    dctx_snapshot_t *snapshot;
    mstate_t *model;
} held_t;

/* A borrowed pointer, and what it must go on saying. */
typedef struct borrowed {
    const void *got;
    int registry;
    uint64_t frame;
    mview_t view;
} borrowed_t;

typedef struct board {
    pthread_mutex_t lock;
    pthread_barrier_t end;
    held_t held[BOARD];
    dctx_scope_t tokens[BOARD]; /* copies, of scopes that may be open on some thread */
    pthread_t owners[BOARD];
} board_t;

typedef struct run {
    uint64_t seed;
    uint64_t random;
    unsigned steps, step;
    const char *doing;
    board_t *board; /* NULL: alone */
    mthread_t *thread;
    held_t held[HELD];
    borrowed_t borrowed[NAMES];
    dctx_scope_t spent[SPENT]; /* copies of tokens that were popped */
    wire_t wire;
} run_t;

#define CHECK(run, condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            differs((run), __FILE__, __LINE__, #condition, " " __VA_ARGS__);                       \
    } while (0)

/* Any thread may find a difference, and only the main one could fail by an assertion. */
__attribute__((noreturn, format(printf, 5, 6))) void differs(const run_t *run, const char *file,
                                                             int line, const char *condition,
                                                             const char *format, ...);

/* A value for this key as set; `arg` is what to give the library, in memory of the caller. */
typedef struct giving {
    char text[CONTENT_MAX + 1];
    dctx_bytes_t bytes;
    uint64_t number;
    thing_t thing;
    const void *value;
} giving_t;

/* Chance, from the seed. */
uint64_t chance(run_t *run);
unsigned below(run_t *run, unsigned bound);
bool one_in(run_t *run, unsigned odds);
int any_key(run_t *run, int registry);
void any_name(run_t *run, char name[NAME_LIMIT + 4]);

/* The model now; the serial of its top frame, 0 at the root. */
const mstate_t *now(const run_t *run);
uint64_t top_serial(const run_t *run);

/* The library against the model. */
void check_thread(run_t *run);
void check_encoding(run_t *run, const dctx_snapshot_t *snapshot, const mstate_t *model);
void check_snapshot(run_t *run, const dctx_snapshot_t *snapshot, const mstate_t *model);

/* Loans: pointers from dctx_get() that must go on saying what they said, until these. */
void end_loan(run_t *run, int i);
void end_loans_of_frame(run_t *run, uint64_t serial);

/* Values: by kind, or as the key at index would be set. */
kind_t kind_of(const dctx_type_t *type);
void fill(run_t *run, mvalue_t *value, kind_t kind);
void put_number(mvalue_t *value, uint64_t bits);
void make_value(run_t *run, int i, mvalue_t *value, giving_t *giving);

/* The model's half of a set and an unset. */
void put(run_t *run, int i, const mvalue_t *value);
void take_out(run_t *run, int i);

/* Lets an allocation fail, sometimes. True from troubled() if the step failed for it, so that
 * nothing may have changed. */
void begin_trouble(run_t *run);
bool troubled(run_t *run, dctx_error_t error);

/* Snapshots that the run holds, each with its model. */
void drop(held_t *held);
void hold(run_t *run, dctx_snapshot_t *snapshot, const mstate_t *model);
held_t *any_held(run_t *run);

/* Pops the frame at that depth, in or out of order. */
void pop_frame(run_t *run, size_t at);

/* The steps: model_values.c, model_scopes.c, model_wire.c. */
void step_set(run_t *run);
void step_set_from_itself(run_t *run);
void step_set_wrongly(run_t *run);
void step_take(run_t *run);
void step_update(run_t *run);
void step_unset(run_t *run);
void step_set_many(run_t *run);
void step_clear(run_t *run);
void step_push(run_t *run);
void step_pop(run_t *run);
void step_pop_any(run_t *run);
void step_pop_spent(run_t *run);
void step_capture(run_t *run);
void step_broadcast(run_t *run);
void step_empty(run_t *run);
void step_attach(run_t *run);
void step_merge(run_t *run);
void step_inspect(run_t *run);
void step_drop(run_t *run);
void step_hop(run_t *run);
void step_receive(run_t *run);
void step_send(run_t *run);
void step_exchange(run_t *run);
void step_share(run_t *run);
void step_wrong_thread(run_t *run);

#endif
