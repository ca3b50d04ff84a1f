/* What the tests of actors share: a gate to wait at, keys, and a system to begin with. */
#ifndef DCTX_ACTORS_FIXTURE_H
#define DCTX_ACTORS_FIXTURE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/actors.h>

enum { WAIT_MS = 20000 }; /* for what is sure to come; so that a broken test ends */

/* A count to wait for. Zeroed, it is ready. */
typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long count;
} gate_t;

#define GATE_INIT                                                                                  \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER                     \
    }

void gate_pass(gate_t *gate);
long gate_count(gate_t *gate);
/* False if it did not get there in WAIT_MS. */
bool gate_wait(gate_t *gate, long count);

DCTX_DECLARE_KEY_STRING(tenant)
DCTX_DECLARE_KEY_STRING(secret) /* local */
DCTX_DECLARE_KEY_UINT64(request)

/* Registers the keys in the process-wide registry and freezes it: a test's init. */
void fixture_init(void);
/* The same in a registry of its own. */
dctx_registry_t *fixture_registry(void);

/* A system that is sure to start. NULL: all defaults, but two workers. */
dctx_system_t *start(const dctx_system_options_t *options);
/* Stops and destroys it, and checks that all stopped and that the counts add up. */
void finish(dctx_system_t **system_p);
dctx_system_counters_t counters(const dctx_system_t *system);

dctx_ref_t spawn(dctx_system_t *system, const char *name, dctx_handler_fn handler, void *state);
void tell_uint(dctx_ref_t to, uint64_t value);

/* The chain of the calling thread, in memory of the calling thread. */
const char *chain(void);

/* What the library logged, for the tests that look at it. */
bool logged(const char *part);

#endif
