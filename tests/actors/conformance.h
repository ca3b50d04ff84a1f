/*
 * What every runtime of actors has to keep to, written once. A law is run in many test worlds, one
 * a seed, and on threads. It works only with what its ground gives it: it waits by await(), and
 * lets time pass by linger(); what may differ, as how late a timer is, it asks of the ground.
 */
#ifndef DCTX_CONFORMANCE_H
#define DCTX_CONFORMANCE_H

#include <criterion/criterion.h>

#include <dcontext/actors.h>

#include "fixture.h"

typedef struct ground {
    dctx_system_t *system;
    dctx_test_world_t *world; /* NULL: threads */
    uint64_t seed;            /* of the world, and for what the law draws itself */
    dctx_random_t random;
    gate_t dead; /* dead letters so far */
} ground_t;

typedef void (*law_fn)(ground_t *ground);

/* Runs a law in as many worlds as DCTX_SEEDS says (200), or from DCTX_SEED alone; and on threads.
 * Afterwards all has stopped and the counts add up. The options may be NULL; `world` and the dead
 * letters are the ground's. */
void in_worlds(law_fn law, const dctx_system_options_t *options);
void on_threads(law_fn law, const dctx_system_options_t *options);

/* Says the seed when it fails. */
#define check(condition)                                                                           \
    cr_assert(condition, "%s, seed %llu", #condition, (unsigned long long)ground_seed)
extern uint64_t ground_seed;

#define LAW(name, ...)                                                                             \
    static void name(ground_t *ground);                                                            \
    Test(in_worlds, name, .init = fixture_init, .timeout = 120)                                    \
    {                                                                                              \
        in_worlds(name, &(dctx_system_options_t){__VA_ARGS__});                                    \
    }                                                                                              \
    Test(on_threads, name, .init = fixture_init, .timeout = 120)                                   \
    {                                                                                              \
        on_threads(name, &(dctx_system_options_t){__VA_ARGS__});                                   \
    }                                                                                              \
    static void name(ground_t *ground)

/* Waits until the gate has been passed so often. */
void await(ground_t *ground, gate_t *gate, long count);
/* Lets as much time pass as it says, in a world exactly. */
void linger(ground_t *ground, int64_t ns);
/* Waits until no message is in a mailbox or a handler. */
void settle(ground_t *ground);
uint64_t draw(ground_t *ground, uint64_t below);
/* Ends the system as finish() does, though the law goes on. */
void stop_ground(ground_t *ground);

/* A message whose value counts its births and deaths. */
typedef struct parcel {
    uint64_t from;
    uint64_t number;
    void *owned;
} parcel_t;
extern const dctx_type_t *const parcel_type;
long parcels_alive(void);
parcel_t a_parcel(uint64_t from, uint64_t number);
dctx_error_t tell_parcel(dctx_ref_t to, uint64_t from, uint64_t number);

#endif
