/*
 * dcontext/runtime.h - process-wide services: allocator, log sink, counters, version.
 */
#ifndef DCONTEXT_RUNTIME_H
#define DCONTEXT_RUNTIME_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DCTX_VERSION_MAJOR 0
#define DCTX_VERSION_MINOR 1
#define DCTX_VERSION_PATCH 0

/* "0.1.0", of the library that is running. */
DCTX_EXPORT const char *dctx_version(void);

/*
 * Replace the allocator of all three libraries. realloc-like rules: allocate(size) returns NULL
 * when it cannot.
 *
 * Ownership: *allocator is copied. NULL brings malloc and free back.
 * Errors: none.
 * Thread-safety: before any other dcontext call, or when no dcontext object is alive and no other
 *   thread is inside the library.
 * Limits and units: bytes; blocks must be aligned for any object, as malloc's are.
 */
typedef struct dctx_allocator {
    void *(*allocate)(size_t size);
    void (*release)(void *block);
} dctx_allocator_t;
DCTX_EXPORT void dctx_set_allocator(const dctx_allocator_t *allocator);

/* Free what a function said to free with dctx_free(). NULL is fine. Any thread. */
DCTX_EXPORT void dctx_free(void *block);

/*
 * Where the library's log lines go. Without a sink it says nothing at all.
 *
 * Ownership: `line` is valid during the call; `arg` is yours. NULL removes the sink.
 * Errors: none.
 * Thread-safety: set from any thread; the sink is called from any thread, may be called from
 *   several at once, and may call any dcontext function. A thread may still be in the old sink for
 *   a moment.
 * Limits and units: lines of at most 511 bytes, no newline. Never a value's content.
 */
typedef enum dctx_log_level {
    DCTX_LOG_DEBUG = 0,
    DCTX_LOG_INFO = 1,
    DCTX_LOG_WARNING = 2,
    DCTX_LOG_ERROR = 3
} dctx_log_level_t;
typedef void (*dctx_log_fn)(dctx_log_level_t level, const char *line, void *arg);
DCTX_EXPORT void dctx_set_log(dctx_log_fn sink, void *arg);

/*
 * Write a line to the sink, for the libraries above and for applications that want the same sink.
 * The current scope chain is not added; put it in yourself when it helps.
 */
DCTX_EXPORT void dctx_log(dctx_log_level_t level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* What the context library counted since the process began. Monotonic; any thread. Here and in all
 * such functions NULL is no place for the figures, and nothing happens. */
typedef struct dctx_context_counters {
    uint64_t decoded;        /* snapshots decoded */
    uint64_t decode_refused; /* wire forms refused, whole */
    /* entries that read as absent because their value did not decode */
    uint64_t entries_undecodable;
    uint64_t encoded; /* wire forms computed (not those served from a snapshot's cache) */
    uint64_t encode_refused;
    uint64_t scope_refused; /* pushes and attaches that became scopes that do nothing */
    uint64_t scope_misuse;  /* pops out of order, on another thread, or twice */
} dctx_context_counters_t;
DCTX_EXPORT void dctx_context_counters_read(dctx_context_counters_t *ret_counters);

#ifdef __cplusplus
}
#endif
#endif
