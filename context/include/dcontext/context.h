/*
 * dcontext/context.h - the calling thread's context: values, scopes, and the chain of scope names.
 *
 * Thread-safety of everything here: each thread has a context of its own and these functions work
 *   on that of the calling thread; no lock is taken. A thread begins with an empty context on the
 *   process-wide registry; attaching a snapshot of another registry makes that one current until
 *   the snapshot is detached. When a thread ends, what it left open is undone and released.
 */
#ifndef DCONTEXT_CONTEXT_H
#define DCONTEXT_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/error.h>
#include <dcontext/inline.h>
#include <dcontext/registry.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dctx_snapshot dctx_snapshot_t;

/* ---- values ---------------------------------------------------------------------------------- */

/*
 * Read a value: O(1) at any scope depth, no lock, no allocation, no copy.
 *
 * Ownership: borrowed. Valid until this thread next sets or unsets the key, or pops the scope in
 *   which the value was set or attached. NULL when there is none, when the key is of another
 *   registry than the thread's current one, or when what came from a peer does not decode (then
 *   logged once).
 * Errors: none.
 * Limits and units: the pointer is what dctx_type_t says for the type: `const char *` for a string,
 *   `const dctx_bytes_t *` for bytes, a pointer to the C type for the others.
 */
DCTX_EXPORT const void *dctx_get(const dctx_key_t *key);
#define dctx_get(key) dctx_get_inline_(key) /* the same without a call; (dctx_get)(key) calls */

/* As dctx_get(), but NULL too when the key is of another type than the one named. */
DCTX_EXPORT const void *dctx_get_typed(const dctx_key_t *key, const dctx_type_t *type);

/* True if dctx_get() would not be NULL. */
DCTX_EXPORT bool dctx_contains(const dctx_key_t *key);

/*
 * Set a value in the current scope; undone when the scope is popped.
 *
 * Ownership: *value is copied (for a string, `value` is the `const char *` itself).
 * Errors: DCTX_ERR_UNKNOWN_KEY (NULL key, or a key of another registry than the current one);
 *   DCTX_ERR_NOT_FROZEN; DCTX_ERR_INVALID (NULL value); DCTX_ERR_NOMEM; what the type's copy
 *   refused with. On an error nothing changed.
 * Limits and units: sizes are checked when a snapshot is encoded, not here.
 */
DCTX_QUICK DCTX_MUST_CHECK dctx_error_t dctx_set(const dctx_key_t *key, const void *value);

/* As dctx_set(), with DCTX_ERR_TYPE when the key is of another type than the one named;
 * DCTX_ERR_INVALID when none is named. */
DCTX_QUICK DCTX_MUST_CHECK dctx_error_t dctx_set_typed(const dctx_key_t *key,
                                                       const dctx_type_t *type, const void *value);

/*
 * Set by taking over what *value owns: bitwise, without a copy; for user types only.
 *
 * Ownership: on success the library owns what *value owned and *value is zeroed; on an error the
 *   caller still does.
 * Errors: as dctx_set_typed(); DCTX_ERR_TYPE for a built-in string or bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_set_take(const dctx_key_t *key,
                                                       const dctx_type_t *type, void *value);

/*
 * Change a value in place of get-copy-set: `update` gets a private copy of the value (zeroed memory
 * and present = false when there is none), changes it and returns DCTX_OK; any other return leaves
 * the context as it was and is passed on. It may call any function, set other keys and even this
 * one; what it set for this key itself is then replaced. User types and the fixed-size built-in
 * ones.
 *
 * Ownership: *value is the library's; on a refusal it is destroyed with the type's destroy if it
 *   was present.
 * Errors: as dctx_set(), DCTX_ERR_INVALID also for no `update`; DCTX_ERR_TYPE for string and bytes;
 *   what `update` returned.
 */
typedef dctx_error_t (*dctx_update_fn)(void *value, bool present, void *arg);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_update(const dctx_key_t *key, dctx_update_fn update,
                                                     void *arg);

/* Make a key absent in the current scope (Finagle's letClear). Errors as dctx_set(). */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_unset(const dctx_key_t *key);

/*
 * Make every key absent in the current scope, entries that only pass through included (Finagle's
 * letClearAll). Scopes and their names stay; popping the scope brings everything back.
 *
 * Ownership: none. Errors: none; it needs no memory. Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_clear(void);

/*
 * Several keys at once: all of them are set, or none. A NULL value unsets; of a key that is named
 * twice the last counts.
 *
 * Ownership: every value is copied, as by dctx_set().
 * Errors: as dctx_set_typed(), but that a binding may name no type; DCTX_ERR_INVALID (no array,
 *   and a count).
 * Limits and units: none.
 */
typedef struct dctx_binding {
    const dctx_key_t *key;
    const dctx_type_t *type; /* NULL: not checked */
    const void *value;
} dctx_binding_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_set_many(const dctx_binding_t *bindings,
                                                       size_t count);

/*
 * Set in the current scope every value that the snapshot has, entries that only pass through
 * included; its chain is ignored. All or nothing.
 *
 * Ownership: values are shared, not copied. Errors: DCTX_ERR_REGISTRY, DCTX_ERR_NOMEM,
 *   DCTX_ERR_INVALID (NULL).
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_merge(const dctx_snapshot_t *snapshot);

/* True if the thread has no value, no scope open, nothing attached. */
DCTX_EXPORT bool dctx_is_empty(void);

/* The registry of the thread's current context. Never NULL once the process-wide one exists. */
DCTX_EXPORT dctx_registry_t *dctx_current_registry(void);

/* ---- scopes ---------------------------------------------------------------------------------- */

/* An open scope or attachment: a token in the caller's memory. Zeroed, it stands for none. */
typedef struct dctx_scope {
    uint64_t serial_; /* private; 0: does nothing */
    const void *owner_;
    dctx_error_t error_;
} dctx_scope_t;

/*
 * Open a scope. With a name it also extends the chain; NULL or "" leaves the chain alone.
 *
 * Ownership: the name is copied. *ret_scope is always set; on an error to a scope that does nothing
 *   and is safe to pop.
 * Errors: DCTX_ERR_LIMIT (deeper than scope_depth, or a name longer than name_bytes),
 *   DCTX_ERR_INVALID (control characters in the name), DCTX_ERR_NOT_FROZEN, DCTX_ERR_NOMEM.
 * Limits and units: dctx_limits_t of the current registry.
 */
DCTX_QUICK dctx_error_t dctx_scope_push(const char *name, dctx_scope_t *ret_scope);

/*
 * Close a scope, or detach what dctx_attach() attached: everything set since is undone.
 *
 * Ownership: the token is zeroed, so a second pop of it does nothing. NULL and zeroed tokens are
 *   fine.
 * Errors: DCTX_ERR_SCOPE_ORDER: a scope opened later is still open; that one is not touched, and
 *   this one closes when it does. DCTX_ERR_WRONG_THREAD: nothing changed, the token stays valid on
 *   its own thread. DCTX_ERR_NOT_OPEN: a copy of the token was popped before. Each is logged and
 *   counted.
 * Limits and units: none. Never allocates, never fails half way.
 */
DCTX_QUICK dctx_error_t dctx_scope_pop(dctx_scope_t *scope);

/* Why the push or attach behind this token failed; DCTX_OK if it did not. */
DCTX_EXPORT dctx_error_t dctx_scope_error(const dctx_scope_t *scope);

/* How many scopes and attachments are open on this thread. */
DCTX_EXPORT size_t dctx_scope_depth(void);

/* The compiler knows the length of a name that stands in the code; so it is taken here, not
 * there. */
DCTX_QUICK dctx_error_t dctx_scope_push_(const char *name, size_t size, dctx_scope_t *ret_scope);
DCTX_QUICK dctx_error_t dctx_attach_(const dctx_snapshot_t *snapshot, const char *name, size_t size,
                                     dctx_scope_t *ret_scope);

static inline dctx_error_t dctx_scope_push_inline_(const char *name, dctx_scope_t *ret_scope)
{
    return dctx_scope_push_(name, name != NULL ? __builtin_strlen(name) : 0, ret_scope);
}
#define dctx_scope_push(name, ret_scope) dctx_scope_push_inline_((name), (ret_scope))

static inline dctx_error_t dctx_attach_inline_(const dctx_snapshot_t *snapshot, const char *name,
                                               dctx_scope_t *ret_scope)
{
    return dctx_attach_(snapshot, name, name != NULL ? __builtin_strlen(name) : 0, ret_scope);
}

/* For the guards below: push, by value; pop, as a cleanup handler. */
static inline dctx_scope_t dctx_scope_guard_(const char *name)
{
    dctx_scope_t scope;
    (void)dctx_scope_push_inline_(name, &scope);
    return scope;
}
static inline dctx_scope_t dctx_attach_guard_(const dctx_snapshot_t *snapshot, const char *name)
{
    dctx_scope_t scope;
    (void)dctx_attach_inline_(snapshot, name, &scope);
    return scope;
}
DCTX_QUICK void dctx_scope_cleanup_(dctx_scope_t *scope);

#define DCTX_JOIN2_(a, b) a##b
#define DCTX_JOIN_(a, b)  DCTX_JOIN2_(a, b)
#define DCTX_GUARD_(init)                                                                          \
    dctx_scope_t DCTX_JOIN_(dctx_guard_, __COUNTER__)                                              \
        __attribute__((cleanup(dctx_scope_cleanup_), unused)) = (init)
/* A for loop that runs once; the loop variable carries the guard, so break, continue and return
 * pop. */
#define DCTX_WITH_(init) DCTX_WITH2_(init, __COUNTER__)
#define DCTX_WITH2_(init, n)                                                                       \
    for (dctx_scope_t DCTX_JOIN_(dctx_guard_, n)                                                   \
             __attribute__((cleanup(dctx_scope_cleanup_))) = (init),                               \
             *DCTX_JOIN_(dctx_once_, n) = &DCTX_JOIN_(dctx_guard_, n);                             \
         DCTX_JOIN_(dctx_once_, n) != NULL; DCTX_JOIN_(dctx_once_, n) = NULL)

/*
 * Guards. A push that fails (too deep, out of memory) makes a scope that does nothing; the block
 * runs. goto past a guard is an error in clang; longjmp over one skips the pop: the scope then
 * stays open, and with it those that enclose it, until the thread ends.
 *
 *     DCTX_SCOPE("checkout");            // until the end of the enclosing block
 *     DCTX_WITH_SCOPE("checkout") {...}  // for this block
 *     DCTX_ATTACH(snapshot);             // until the end of the enclosing block
 *     DCTX_ATTACH_SCOPE(snapshot, "job");  // attach and open a scope in one
 *     DCTX_WITH_SNAPSHOT(snapshot) {...}
 */
#define DCTX_SCOPE(name)                  DCTX_GUARD_(dctx_scope_guard_(name))
#define DCTX_WITH_SCOPE(name)             DCTX_WITH_(dctx_scope_guard_(name))
#define DCTX_ATTACH(snapshot)             DCTX_GUARD_(dctx_attach_guard_((snapshot), NULL))
#define DCTX_ATTACH_SCOPE(snapshot, name) DCTX_GUARD_(dctx_attach_guard_((snapshot), (name)))
#define DCTX_WITH_SNAPSHOT(snapshot)      DCTX_WITH_(dctx_attach_guard_((snapshot), NULL))

/* ---- the scope chain ------------------------------------------------------------------------- */

/*
 * The names of the open scopes, root first, those that came with an attached snapshot included, as
 * one line: "api-gateway > remote:orders > remote:inventory". Elided names show as "[3 more]".
 *
 * Ownership: `buffer` is the caller's; the text is cut to fit and always NUL-terminated (size > 0).
 * Errors: none; returns the length of the whole text, as snprintf does.
 * Limits and units: bytes.
 */
DCTX_EXPORT size_t dctx_chain_format(char *buffer, size_t size);

/* How many names are held; how many were elided between the 4th and the 5th. */
DCTX_EXPORT size_t dctx_chain_length(void);
DCTX_EXPORT uint64_t dctx_chain_elided(void);

#ifdef __cplusplus
}
#endif
#endif
