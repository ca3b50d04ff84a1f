/*
 * A thread's context: where dctx_get() and all the others find what they work on.
 *
 * Only the thread itself touches it, so nothing here is atomic. User code (types' functions, update
 * callbacks, log sinks) may call back in: it is called only while this is consistent, and pointers
 * into `frames`, `names`, `undo` and `saved` do not survive such a call, as these arrays move when
 * they grow.
 */
#ifndef DCTX_THREAD_H
#define DCTX_THREAD_H

#include <dcontext/context.h>

#include "snapshot.h"

/* Who else has a hand on a table. */
typedef enum dctx_sharing {
    DCTX_OWNED = 0, /* nobody: it is written in place */
    DCTX_SHARED =
        1, /* the thread has one reference of several (or of one again, after the others went) */
    DCTX_BORROWED = 2 /* it is that of the attached snapshot; the thread has no reference */
} dctx_sharing_t;

/* Which snapshot of the present state. */
enum { DCTX_CAPTURE = 0, DCTX_FORK = 1 };

/*
 * What attaching replaces and detaching brings back.
 *
 * `extras` and `cached` are held with a reference of the thread's own, unless they are those of
 * `attached`: it holds them as long as it is attached, and so attaching costs one count and no
 * more.
 */
typedef struct dctx_state {
    dctx_registry_t *registry;
    uint64_t serial; /* the registry's */
    dctx_value_t *const
        *slots[DCTX_KINDS]; /* what dctx_get() looks at: never NULL, long enough for any key */
    dctx_table_t *table[DCTX_KINDS]; /* NULL: no value */
    uint8_t sharing[DCTX_KINDS];
    dctx_table_t
        *spare[DCTX_KINDS]; /* memory for a table, holding nothing; see dctx_thread_share_() */
    dctx_stamp_t *extras;
    dctx_snapshot_t *cached[2]; /* the snapshots equal to the present state, if they are made */
    dctx_snapshot_t *attached;  /* with a reference; NULL at the bottom */
    dctx_chain_t *chain;  /* the whole chain, if `named` > 0 and it was needed; with a reference */
    uint32_t names_start; /* in names[]: those that follow the attached snapshot's chain */
    uint32_t named;       /* how many */
    uint32_t undo_start;  /* in undo[] */
} dctx_state_t;

/* What a frame has put away, to be brought back when it ends. */
enum {
    DCTX_SAVED_TABLE = 1,  /* << kind */
    DCTX_SAVED_CACHED = 4, /* << DCTX_CAPTURE or DCTX_FORK */
    DCTX_SAVED_EXTRAS = 16,
    DCTX_SAVED_CHAIN = 32
};

/*
 * An open scope or attachment. A value's way back is one of two. While the table is owned, the old
 * value goes to the undo log, once for a key. When a write finds the table shared and must copy it
 * anyway, the shared one is put away whole, and from then on nothing of that kind is logged:
 * bringing it back undoes all later writes at once.
 */
typedef struct dctx_frame {
    uint64_t serial;
    uint64_t logged[DCTX_KINDS]; /* bit (index % 64): a key with such an index may be in the log */
    uint32_t undo_start;
    uint8_t saved; /* which of the fields below are set */
    uint8_t sharing[DCTX_KINDS];
    uint8_t name_size;
    bool attach;
    bool closing; /* popped while others were above it: ends when they have */
    dctx_table_t *table[DCTX_KINDS];
    dctx_snapshot_t *cached[2];
    dctx_stamp_t *extras;
    dctx_chain_t *chain;
    char name[64];
} dctx_frame_t;

typedef struct dctx_undo {
    dctx_value_t *old; /* NULL: the key was absent */
    uint32_t index;
    uint32_t kind;
} dctx_undo_t;

typedef struct dctx_thread {
    dctx_state_t now;
    uint32_t depth; /* frames in use */
    uint32_t frame_capacity;
    dctx_frame_t *frames;
    dctx_bytes_t
        *names; /* of the frames that have one, bottom first; as long as frames[], behind it */
    uint32_t saved_count;
    uint32_t saved_capacity;
    dctx_state_t *saved; /* what was `now` before each attachment */
    uint32_t undo_count;
    uint32_t undo_capacity;
    dctx_undo_t *undo;
    uint64_t
        serial_next; /* serials are unique in the process, so no token is ever taken for another */
    uint64_t serial_end;
} dctx_thread_t;

/* The calling thread's; NULL if it has none yet. In the static TLS block, so that reading it is one
 * instruction. */
extern _Thread_local dctx_thread_t *dctx_thread_self_ __attribute__((tls_model("initial-exec")));

/* The slots of an empty context. Never written. */
extern dctx_value_t *dctx_no_slots_[DCTX_KEYS_MAX];

/* The calling thread's, made if need be. NULL (with a detail): no memory. */
dctx_thread_t *dctx_thread_make_self_(void);

static inline dctx_thread_t *dctx_thread_(void)
{
    dctx_thread_t *self = dctx_thread_self_;
    return __builtin_expect(self != NULL, 1) ? self : dctx_thread_make_self_();
}

/* For a thread that is yet to start: made by the starter, who learns of a failure; adopted by the
 * new one. */
dctx_thread_t *dctx_thread_prepare_(void);
void dctx_thread_adopt_(dctx_thread_t *thread);

/* Undoes and frees everything. If it is the calling thread's, that has none afterwards. */
void dctx_thread_free_(dctx_thread_t *thread);

/* ---- frames -------------------------------------------------------------------------------------
 */

dctx_error_t dctx_thread_grow_frames_(dctx_thread_t *thread);
dctx_error_t dctx_thread_grow_saved_(dctx_thread_t *thread);
void dctx_thread_refill_serials_(dctx_thread_t *thread);

/* Whether a scope may have that name in that registry; NULL and "" may. DCTX_ERR_LIMIT,
 * DCTX_ERR_INVALID. */
dctx_error_t dctx_scope_check_name_(const dctx_registry_t *registry, const char *name);

/* Ends the top frame and frees what it held. Runs user code. */
void dctx_thread_pop_(dctx_thread_t *thread);

/* ---- writing ------------------------------------------------------------------------------------
 */

/* Room in the undo log for `count` writes. DCTX_ERR_NOMEM. */
dctx_error_t dctx_thread_reserve_(dctx_thread_t *thread, size_t count);

/* Makes the table of that kind owned, and the present state one that no cached snapshot stands for.
 * DCTX_ERR_NOMEM, with the values as they were. */
dctx_error_t dctx_thread_writable_(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave);

/* After those two: puts `value` (NULL: none), whose reference it takes, in the key's slot. Cannot
 * fail. */
void dctx_thread_put_(dctx_thread_t *thread, const dctx_key_t *key, dctx_value_t *value,
                      dctx_grave_t *grave);

/* All three. On failure the reference on `value` stays the caller's. */
dctx_error_t dctx_thread_set_(dctx_thread_t *thread, const dctx_key_t *key, dctx_value_t *value,
                              dctx_grave_t *grave);

/* Replaces what passes through; takes the reference on `extras`. Cannot fail. */
void dctx_thread_put_extras_(dctx_thread_t *thread, dctx_stamp_t *extras, dctx_grave_t *grave);

/* No value of that kind any more. Cannot fail. */
void dctx_thread_clear_kind_(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave);

/* ---- sharing ------------------------------------------------------------------------------------
 */

/*
 * Another reference on the table of that kind, for a snapshot; NULL if no value is set.
 *
 * Popping a scope writes to the table, and must not fail. So a table is shared only after memory
 * for its copy was put aside, if there is anything to undo: prepare_share does that.
 * DCTX_ERR_NOMEM.
 */
dctx_error_t dctx_thread_prepare_share_(dctx_thread_t *thread, uint32_t kind);
dctx_table_t *dctx_thread_share_(dctx_thread_t *thread, uint32_t kind);

/* The whole chain with a reference; NULL is the empty one. DCTX_ERR_NOMEM. */
dctx_error_t dctx_thread_chain_(dctx_thread_t *thread, dctx_chain_t **ret_chain);

static inline dctx_chain_t *dctx_thread_base_chain_(const dctx_thread_t *thread)
{
    return thread->now.attached != NULL ? thread->now.attached->chain : NULL;
}

#endif
