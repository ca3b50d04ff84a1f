/*
 * dcontext/internal.h - what the transport and actor libraries need of the context library. Not
 * API: names here end in an underscore, may change in any release, and are no business of
 * applications.
 */
#ifndef DCONTEXT_INTERNAL_H
#define DCONTEXT_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include <dcontext/cancel.h>
#include <dcontext/context.h>
#include <dcontext/contexts.h>
#include <dcontext/error.h>
#include <dcontext/registry.h>
#include <dcontext/type.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Every allocation of the three libraries goes through these, so that dctx_set_allocator() sees
 * each one and a test can fail each one. NULL when there is no memory; release takes NULL. A size
 * of 0 gives a block. */
DCTX_EXPORT void *dctx_alloc_(size_t size) __attribute__((malloc, alloc_size(1)));
DCTX_EXPORT void *dctx_calloc_(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2)));
DCTX_EXPORT void dctx_release_(void *block);
DCTX_EXPORT char *dctx_strndup_(const char *data, size_t size); /* size bytes and a NUL */

/* Sets this thread's dctx_error_detail() and returns `error`. Allocates nothing, keeps errno, and
 * the arguments may point into the present detail, so that a caller can put words in front of it. A
 * NULL format clears the detail. Control characters of the text become '?'. */
DCTX_EXPORT dctx_error_t dctx_fail_(dctx_error_t error, const char *format, ...)
    __attribute__((cold, format(printf, 2, 3)));

/* Errors of this thread have no detail from now on, or have one again; returns how it was. For what
 * nobody would read: to put a flood's errors into words costs more than to find them. */
DCTX_EXPORT bool dctx_fail_quietly_(bool yes);

/* Whether anybody reads what is logged. */
DCTX_EXPORT bool dctx_log_is_read_(void);

/*
 * Values of any type in memory of the caller, built-in strings and bytes included. These two vary
 * in size: a stored string is its characters and a NUL, stored bytes are a dctx_bytes_t followed by
 * what it points to. For every type a pointer to the stored form is what dctx_get() returns.
 *
 * To copy: stored_size, allocate, store (which gets that size again). To decode: decoded_size,
 * allocate, decode. destroy releases what the value owns and leaves the memory to the caller. A
 * refusal by a user's callback is passed on, its detail is the callback's own.
 */
DCTX_EXPORT size_t dctx_type_stored_size_(const dctx_type_t *type, const void *value);
DCTX_EXPORT dctx_error_t dctx_type_store_(const dctx_type_t *type, void *dst, size_t stored_size,
                                          const void *value);
DCTX_EXPORT dctx_error_t dctx_type_decoded_size_(const dctx_type_t *type, const void *data,
                                                 size_t size, size_t *ret_size);
DCTX_EXPORT dctx_error_t dctx_type_decode_(const dctx_type_t *type, void *dst, const void *data,
                                           size_t size);
DCTX_EXPORT void dctx_type_destroy_(const dctx_type_t *type, void *value);

/* dctx_registry_add() for the keys of the libraries above, whose names begin with "dctx.". */
DCTX_EXPORT dctx_error_t dctx_registry_add_reserved_(dctx_registry_t *registry,
                                                     const dctx_key_options_t *options,
                                                     const dctx_key_t **ret_key);

/*
 * A snapshot without what `keep` says no to: it is asked once for each broadcast value, with its
 * key, and for each entry passing through, with a NULL key. Local values stay; the chain goes if
 * keep_chain is false. When all is kept it is the same snapshot with one more reference.
 * DCTX_ERR_NOMEM.
 */
typedef bool (*dctx_keep_fn)(const dctx_key_t *key, dctx_bytes_t name, void *arg);
DCTX_EXPORT dctx_error_t dctx_snapshot_filter_(const dctx_snapshot_t *snapshot, dctx_keep_fn keep,
                                               void *arg, bool keep_chain,
                                               dctx_snapshot_t **ret_snapshot);

/* What passes without being asked for by name, and how much of it. */
typedef struct dctx_passing {
    unsigned reaches; /* the reaches of keys that may, a bit for each dctx_reach_t */
    bool unknown;     /* entries passing through may */
    size_t stamp_bytes;
    size_t chain_names;
} dctx_passing_t;

/* True if all broadcast values and entries passing through may pass. */
DCTX_EXPORT bool dctx_snapshot_passes_(const dctx_snapshot_t *snapshot,
                                       const dctx_passing_t *passing);

/* True if there is anything in the thread's context that a message would carry. */
DCTX_EXPORT bool dctx_travels_(void);

/* What dctx_capture() would give if it was called before and nothing changed since; else NULL. Not
 * counted: valid until the thread's context changes. */
DCTX_EXPORT const dctx_snapshot_t *dctx_captured_(void);

/*
 * The wire form of what dctx_capture() would take, without taking it: most contexts travel with one
 * message and no more, and for these a snapshot would be made only to be thrown away. `room` gives
 * the memory, NULL if there is none.
 *
 * Where a capture is the way nothing happens: AGAIN if the same context was encoded so before and
 * is better shared; NOT if it is empty, not all of it may pass, or something in it wants a codec or
 * an error in words.
 */
typedef void *(*dctx_room_fn)(size_t size, void *arg);
typedef enum dctx_once {
    DCTX_ONCE_DONE,
    DCTX_ONCE_NOMEM,
    DCTX_ONCE_AGAIN,
    DCTX_ONCE_NOT
} dctx_once_t;
DCTX_EXPORT dctx_once_t dctx_context_encode_(const dctx_passing_t *passing, dctx_room_fn room,
                                             void *arg);

/* A snapshot with these values in addition; a NULL value makes its key absent. DCTX_ERR_NOMEM,
 * DCTX_ERR_UNKNOWN_KEY, and what a type's copy refuses with. */
DCTX_EXPORT dctx_error_t dctx_snapshot_with_(const dctx_snapshot_t *snapshot,
                                             const dctx_binding_t *bindings, size_t count,
                                             dctx_snapshot_t **ret_snapshot);

/*
 * What a library above keeps with a snapshot, such as the frame it travels in. There is one place:
 * read with acquire, set by compare and exchange (`expected` NULL: none yet), so any thread may.
 * The snapshot destroys it when it dies; whoever replaces one hands it on inside the new one.
 */
typedef struct dctx_companion {
    void (*destroy)(struct dctx_companion *companion);
} dctx_companion_t;
DCTX_EXPORT dctx_companion_t *dctx_snapshot_companion_(const dctx_snapshot_t *snapshot);
DCTX_EXPORT bool dctx_snapshot_set_companion_(const dctx_snapshot_t *snapshot,
                                              dctx_companion_t *expected,
                                              dctx_companion_t *companion);

/*
 * dctx_snapshot_expired(), for who asks it of every message: two loads and a comparison as long as
 * the coarse clock runs and the snapshot's deadline is far, or it has none.
 *
 * What a snapshot begins with: when it is due by the system's clock, INT64_MAX if it has neither a
 * deadline nor a cancel scope, 0 if that is not known, or it has a cancel scope. All who find out
 * find the same, so relaxed is enough. And the coarse clock's last reading; while it is stopped, a
 * time later than any due.
 */
typedef struct dctx_snapshot_due {
    int64_t ns;
} dctx_snapshot_due_t;
DCTX_EXPORT extern int64_t dctx_coarse_reading_;
#define DCTX_COARSE_ERROR_ 1000000

static inline bool dctx_snapshot_looks_due_(const dctx_snapshot_t *snapshot)
{
    const dctx_snapshot_due_t *due = (const dctx_snapshot_due_t *)(const void *)snapshot;
    int64_t now = __atomic_load_n(&dctx_coarse_reading_, __ATOMIC_RELAXED);
    return __builtin_expect(__atomic_load_n(&due->ns, __ATOMIC_RELAXED) <= now + DCTX_COARSE_ERROR_,
                            0);
}

/* True if it has neither a deadline nor a cancel scope, as far as that is known. */
static inline bool dctx_snapshot_never_ends_(const dctx_snapshot_t *snapshot)
{
    const dctx_snapshot_due_t *due = (const dctx_snapshot_due_t *)(const void *)snapshot;
    return __atomic_load_n(&due->ns, __ATOMIC_RELAXED) == INT64_MAX;
}

static inline bool dctx_snapshot_expired_(const dctx_snapshot_t *snapshot)
{
    return dctx_snapshot_looks_due_(snapshot) && dctx_snapshot_expired(snapshot);
}

/*
 * What a cancel scope is made for when it is needed: the thread works for somebody who may stop
 * waiting. Set and cleared by the library above, around a callback; used on that thread only.
 *
 * status: whether that has happened, and how, without making anything. scope: the scope, borrowed,
 * made by the first call; *ret_scope NULL if there is none any more. DCTX_ERR_NOMEM.
 */
typedef struct dctx_asked {
    dctx_error_t (*status)(void);
    dctx_error_t (*scope)(dctx_cancel_t **ret_scope);
    const dctx_snapshot_t *attached_; /* when it began */
} dctx_asked_t;
DCTX_EXPORT void dctx_cancel_begin_(dctx_asked_t *asked);
static inline void dctx_cancel_end_(void)
{
    dctx_hot_.asked = NULL;
}

/* Enters the scope of what the thread is asked for, unless the context is in another or left it;
 * whoever forks a context that was not forked before does that. DCTX_ERR_NOMEM. */
DCTX_EXPORT dctx_error_t dctx_cancel_join_(void);

/* dctx_cancel_get() without joining. */
DCTX_EXPORT dctx_cancel_t *dctx_cancel_entered_(void);

/* dctx_cancel() with another status, and another chain than this thread's (NULL: this thread's). */
DCTX_EXPORT bool dctx_cancel_with_(dctx_cancel_t *cancel, dctx_error_t status, const char *reason,
                                   const char *chain);

/* dctx_cancel_watch(), but that `call` does not run at once: false then. */
DCTX_EXPORT bool dctx_cancel_watch_(dctx_cancel_t *cancel, dctx_cancel_watch_t *watch,
                                    dctx_cancel_fn call, void *arg);

/* The status of a scope that is cancelled, with the reason and the chain as the detail. */
DCTX_EXPORT dctx_error_t dctx_cancel_explain_(const dctx_cancel_t *cancel);

/* dctx_attach_scope() without a reference: the caller holds the snapshot until the attachment has
 * ended, dctx_scope_unwind_(). A name of `size` 0 is none. */
DCTX_EXPORT dctx_error_t dctx_attach_lent_(const dctx_snapshot_t *snapshot, const char *name,
                                           size_t size, dctx_scope_t *ret_scope);

/* dctx_attach_scope() that takes the caller's reference over, unless it fails. */
DCTX_EXPORT dctx_error_t dctx_attach_taken_(dctx_snapshot_t *snapshot, const char *name,
                                            size_t size, dctx_scope_t *ret_scope);

/* Whether a snapshot of the current registry could be attached now under that name, and the room
 * for it: what dctx_attach_scope() would refuse, this refuses. */
DCTX_EXPORT dctx_error_t dctx_attach_ready_(const char *name, size_t size);

/* So many references at once. */
DCTX_EXPORT void dctx_snapshot_ref_many_(const dctx_snapshot_t *snapshot, size_t count);
DCTX_EXPORT void dctx_snapshot_unref_many_(dctx_snapshot_t *snapshot, size_t count);

/*
 * Two questions that are asked for every message, without a call. What stands here of the context
 * library's structs is the beginning of them; thread.c asserts that it is true.
 */
typedef struct __attribute__((may_alias)) dctx_frame_head {
    uint64_t serial;
    uint32_t undo_start;
    uint8_t flags;
} dctx_frame_head_t;
typedef struct __attribute__((may_alias)) dctx_state_head {
    dctx_registry_t *registry;
    struct dctx_table *table[2];
    dctx_snapshot_t *attached;
    uint32_t names_start;
    uint32_t undo_start;
    bool pristine;
} dctx_state_head_t;
typedef struct __attribute__((may_alias)) dctx_thread_head {
    const dctx_frame_head_t *top;
    const void *limit;
    uint64_t serial;
    const dctx_state_head_t *state;
    const void *state_limit;
    const void *names;
    uint32_t name_count;
} dctx_thread_head_t;
#define DCTX_FRAME_ATTACHED_ 64

/* True if the attachment is the innermost and nothing was done in it but reading, so that ending it
 * and attaching the same again would come to the same. */
static inline bool dctx_scope_is_fresh_(const dctx_scope_t *scope)
{
    const dctx_thread_head_t *thread = (const dctx_thread_head_t *)(const void *)dctx_hot_.thread;
    return thread != NULL && thread->top->serial == scope->serial_ &&
           thread->top->flags == DCTX_FRAME_ATTACHED_ && thread->state->pristine;
}

/* What dctx_fork() would give, as dctx_captured_(). */
DCTX_EXPORT dctx_snapshot_t *dctx_forked_before_(void);
static inline dctx_snapshot_t *dctx_forked_(void)
{
    const dctx_thread_head_t *thread = (const dctx_thread_head_t *)(const void *)dctx_hot_.thread;
    /* That is what is attached, if nothing was done in it and it goes by no name of its own. */
    if (thread != NULL && thread->state->pristine && dctx_hot_.asked == NULL &&
        thread->name_count == thread->state->names_start)
        return thread->state->attached;
    return dctx_forked_before_();
}

/*
 * Closes the scope or attachment behind the token and all that were opened after it and are still
 * open, and undoes what they set. Zeroes the token. Returns how many there were above it. Never
 * allocates, never logs; nothing of it counts as misuse. 0 for a token that stands for none.
 */
DCTX_EXPORT size_t dctx_scope_unwind_(dctx_scope_t *scope);

#ifdef __cplusplus
}
#endif
#endif
