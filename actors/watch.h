/*
 * The watch over handlers: notices a worker that is in one callback for long, and says whose it is.
 * The I/O actor keeps it, a few times in `handler_warn_ms`, and only while not all workers sleep: a
 * worker that wakes up sets it going, if it is not; when it finds all asleep it ends. So a busy
 * system pays a few looks a second, an idle one nothing, and a message never anything.
 *
 * `armed` and the scheduler's `sleepers`: a worker takes its bit out, then reads `armed`; the watch
 * resets `armed`, then reads the bits once more. All sequentially consistent, so that one of the
 * two sees the other.
 */
#ifndef DCTX_WATCH_H
#define DCTX_WATCH_H

#include <stdatomic.h>
#include <stdint.h>

#include <dcontext/system.h>

#include "runner.h"
#include "scheduler.h"

typedef struct dctx_watched {
    uint64_t sequence; /* the callback that it was in when we last looked */
    int64_t since;     /* and since when, as far as we know, in real time */
    uint64_t told;     /* the callback that was reported */
} dctx_watched_t;

typedef struct dctx_watch {
    _Atomic(int) armed; /* 1: the I/O actor looks, or is on its way to */
    /* The I/O actor's. */
    int64_t warn_ns; /* 0: no watch */
    int64_t next;    /* when to look again, in real time; 0: just begun */
    dctx_watched_t seen[DCTX_WORKERS_MAX];
} dctx_watch_t;

void dctx_watch_init(dctx_watch_t *watch, const dctx_system_options_t *options);

/* Looks, if it is time to. Runs user code, between begin and end of the given runner, the I/O
 * actor's. Returns in how many milliseconds to come again; -1: when woken. */
long dctx_watch_look_(dctx_watch_t *watch, dctx_runner_t *runner);

/* A worker has woken up. */
void dctx_watch_arm_(dctx_system_t *system);

#endif
