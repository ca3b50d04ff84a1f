/*
 * dcontext/snapshot.h - an immutable capture of a context, to hold, hand on, attach, or put on the
 * wire.
 *
 * Thread-safety of everything here: a snapshot may be used by any number of threads at once; each
 *   that keeps one holds a reference of its own.
 */
#ifndef DCONTEXT_SNAPSHOT_H
#define DCONTEXT_SNAPSHOT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/context.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Capture: the broadcast values and the chain, for crossing a process boundary.
 * Fork: local values as well, for work in the same process. O(1) while nothing changed.
 *
 * Ownership: the caller owns a reference; give it back with dctx_snapshot_unref().
 * Errors: DCTX_ERR_NOMEM, DCTX_ERR_NOT_FROZEN.
 * Limits and units: none.
 */
DCTX_QUICK DCTX_MUST_CHECK dctx_error_t dctx_capture(dctx_snapshot_t **ret_snapshot);
DCTX_QUICK DCTX_MUST_CHECK dctx_error_t dctx_fork(dctx_snapshot_t **ret_snapshot);

/* The empty snapshot of a registry (NULL: the process-wide one). As above. */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_snapshot_empty(dctx_registry_t *registry,
                                                             dctx_snapshot_t **ret_snapshot);

/* What of a snapshot may leave the process: itself with another reference when it holds no local
 * value, else one without them. As dctx_capture(). */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_snapshot_broadcast(const dctx_snapshot_t *snapshot,
                                                                 dctx_snapshot_t **ret_snapshot);

/* One more reference, and one less. NULL gives NULL; unref takes it too. */
DCTX_QUICK dctx_snapshot_t *dctx_snapshot_ref(const dctx_snapshot_t *snapshot);
DCTX_QUICK void dctx_snapshot_unref(dctx_snapshot_t **snapshot_p);

/*
 * Make a snapshot the thread's context until the token is popped with dctx_scope_pop(); then put
 * back what was there. With a name, a scope of that name is opened in the same step and closed in
 * the same pop, so the two cannot be undone in the wrong order. What is set meanwhile does not
 * touch the snapshot.
 *
 * Ownership: the thread holds a reference of its own meanwhile. *ret_scope is always set.
 * Errors: as dctx_scope_push(); DCTX_ERR_INVALID for NULL. On an error the context stays as it was
 *   and the token does nothing.
 * Limits and units: an attachment counts as one scope.
 */
DCTX_QUICK dctx_error_t dctx_attach(const dctx_snapshot_t *snapshot, dctx_scope_t *ret_scope);
DCTX_QUICK dctx_error_t dctx_attach_scope(const dctx_snapshot_t *snapshot, const char *name,
                                          dctx_scope_t *ret_scope);
#define dctx_attach_scope(snapshot, name, ret_scope)                                               \
    dctx_attach_inline_((snapshot), (name), (ret_scope))

/* ---- looking inside -------------------------------------------------------------------------- */

/* The value of a key in a snapshot, as dctx_get(); borrowed for the life of the snapshot. */
DCTX_EXPORT const void *dctx_snapshot_get(const dctx_snapshot_t *snapshot, const dctx_key_t *key);
DCTX_EXPORT dctx_registry_t *dctx_snapshot_registry(const dctx_snapshot_t *snapshot);

/* No value, no entry passing through, no chain. */
DCTX_EXPORT bool dctx_snapshot_is_empty(const dctx_snapshot_t *snapshot);

/* How many values are set; how many entries pass through because this process does not know
 * their key. */
DCTX_EXPORT size_t dctx_snapshot_count(const dctx_snapshot_t *snapshot);
DCTX_EXPORT size_t dctx_snapshot_unknown_count(const dctx_snapshot_t *snapshot);

/* Names of entries passing through: borrowed, not NUL-terminated. {NULL, 0} past the end. */
DCTX_EXPORT dctx_bytes_t dctx_snapshot_unknown_name(const dctx_snapshot_t *snapshot, size_t index);

/* The chain, as dctx_chain_format() and the others. A name: borrowed, not NUL-terminated. */
DCTX_EXPORT size_t dctx_snapshot_chain_format(const dctx_snapshot_t *snapshot, char *buffer,
                                              size_t size);
DCTX_EXPORT size_t dctx_snapshot_chain_length(const dctx_snapshot_t *snapshot);
DCTX_EXPORT uint64_t dctx_snapshot_chain_elided(const dctx_snapshot_t *snapshot);
DCTX_EXPORT dctx_bytes_t dctx_snapshot_chain_name(const dctx_snapshot_t *snapshot, size_t index);

/* ---- the wire -------------------------------------------------------------------------------- */

/*
 * The wire form of what may leave the process (docs/wire.md). Computed once and kept in the
 * snapshot; equal snapshots give equal bytes, but for a deadline, of which they say how much is
 * left: with one it is computed anew after 20 s. An empty snapshot has a wire form of four bytes.
 *
 * Ownership: the bytes are the snapshot's and live as long as it.
 * Errors: DCTX_ERR_LIMIT (the detail names limit, size and key), DCTX_ERR_CODEC (the detail names
 *   the key), DCTX_ERR_NOMEM.
 * Limits and units: bytes; dctx_limits_t of its registry.
 */
DCTX_QUICK DCTX_MUST_CHECK dctx_error_t dctx_snapshot_encode(const dctx_snapshot_t *snapshot,
                                                             dctx_bytes_t *ret_bytes);

/*
 * A snapshot from its wire form. Values stay encoded until they are first read. Entries whose key
 * the registry does not know, or has as a local key, are kept byte for byte and travel on.
 *
 * Ownership: `data` is copied; the caller owns the snapshot.
 * Errors: DCTX_ERR_MALFORMED, DCTX_ERR_VERSION, DCTX_ERR_LIMIT, DCTX_ERR_NOT_FROZEN,
 *   DCTX_ERR_NOMEM.
 * Limits and units: dctx_limits_t of the registry; allocates at most 16 KiB + 4 * size, and a
 *   pointer for each broadcast key of the registry past the thousandth.
 */
DCTX_QUICK DCTX_MUST_CHECK dctx_error_t dctx_snapshot_decode(dctx_registry_t *registry,
                                                             const void *data, size_t size,
                                                             dctx_snapshot_t **ret_snapshot);

/*
 * Wire bytes made by hand, for tests: what an older or newer process would send, or what none ought
 * to. Names, order and values go out as they are given, without a check and without a limit but the
 * writer's.
 *
 * Ownership: everything is copied to the writer.
 * Errors: those of the writer, which stick to it as well; DCTX_ERR_INVALID (no writer, an array
 *   that is NULL though its count is not 0, a chain or entry without a name).
 * Thread-safety: one thread at a time for one writer.
 * Limits and units: bytes.
 */
typedef struct dctx_wire_entry {
    const char *name;
    uint32_t version;
    dctx_bytes_t
        value; /* encoded: for a string key one msgpack str, as dctx_write_cstr() makes it */
} dctx_wire_entry_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_wire_make(dctx_writer_t *writer,
                                                        const char *const *chain,
                                                        size_t chain_count,
                                                        const dctx_wire_entry_t *entries,
                                                        size_t entry_count);

/* The wire form as text. */
typedef enum dctx_base64 {
    DCTX_BASE64 = 0,    /* RFC 4648 section 4, padded */
    DCTX_BASE64_URL = 1 /* RFC 4648 section 5, not padded */
} dctx_base64_t;

/*
 * Ownership: the caller frees *ret_text with dctx_free().
 * Errors: as encode and decode; DCTX_ERR_MALFORMED for text that is not base64. Both alphabets,
 *   padded or not, are read.
 * Limits and units: text length in bytes, without NUL.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_snapshot_to_base64(const dctx_snapshot_t *snapshot,
                                                                 dctx_base64_t form,
                                                                 char **ret_text);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_snapshot_from_base64(dctx_registry_t *registry,
                                                                   const char *text, size_t length,
                                                                   dctx_snapshot_t **ret_snapshot);

/* ---- carrying context to other threads and to later ------------------------------------------ */

/*
 * pthread_create() whose thread begins with a fork of the caller's context.
 *
 * Ownership: the fork is released when `run` returns or the thread ends.
 * Errors: DCTX_ERR_NOMEM; DCTX_ERR_NOT_FROZEN; DCTX_ERR_IO with errno's words in the detail.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_thread_create(pthread_t *ret_thread,
                                                            const pthread_attr_t *attributes,
                                                            void *(*run)(void *), void *arg);

/*
 * A callback with the context in which it was made: for event loops, pools and queues of any kind.
 * Run it any number of times, on any thread, with an optional scope name; each run attaches, calls,
 * detaches.
 *
 * Ownership: the caller owns the task and what `arg` points to. Destroy takes NULL. A task may
 *   destroy itself while it runs.
 * Errors: DCTX_ERR_NOMEM, DCTX_ERR_NOT_FROZEN, and for the name as dctx_scope_push() from new; run
 *   passes on an attach that failed, without calling.
 * Thread-safety: new, then run on one thread at a time or on several at once; destroy when none
 *   runs.
 * Limits and units: none.
 */
typedef struct dctx_task dctx_task_t;
typedef void (*dctx_task_fn)(void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_task_new(dctx_task_fn call, void *arg,
                                                       const char *scope_name,
                                                       dctx_task_t **ret_task);
DCTX_EXPORT dctx_error_t dctx_task_run(dctx_task_t *task);
/* run, then destroy: fits void (*)(void *) slots */
DCTX_EXPORT void dctx_task_run_once(void *task);
DCTX_EXPORT void dctx_task_destroy(dctx_task_t **task_p);

#ifdef __cplusplus
}
#endif
#endif
