/*
 * A thread's context: where dctx_get() and all the others find what they work on.
 *
 * Only the thread itself touches it, so nothing here is atomic. User code (types' functions, update
 * callbacks, log sinks) may call back in: it is called only while this is consistent, and pointers
 * into `frames`, `names`, `undo` and `states` do not survive such a call, as these arrays move when
 * they grow.
 */
#ifndef DCTX_THREAD_H
#define DCTX_THREAD_H

#include <dcontext/context.h>

#include "mould.h"
#include "name.h"
#include "snapshot.h"

/* Who else has a hand on a table. */
typedef enum dctx_sharing {
    DCTX_OWNED = 0, /* nobody: it is written in place */
    DCTX_SHARED =
        1, /* snapshots: the thread has one reference of several, or the one that is left */
    DCTX_BORROWED = 2 /* it is that of the attached snapshot; the thread has no reference */
} dctx_sharing_t;

/* Which snapshot of the present state. */
enum { DCTX_CAPTURE = 0, DCTX_FORK = 1 };

/* dctx_hot_, what a thread's every read needs, is in <dcontext/inline.h>. Its tables are
 * DCTX_NO_TABLE where no value of that kind is set. */

/* What was made of the present state and stays true as long as it does not change. NULL: not made
 * yet. */
typedef struct dctx_kept {
    dctx_snapshot_t *cached[2]; /* the snapshots equal to it */
    dctx_chain_t *chain;        /* the whole chain, if scopes here have names; with a reference */
} dctx_kept_t;

/* Field by field: what is stored in pieces and loaded whole, or the other way round, has to wait
 * for the cache. */
static inline void dctx_kept_move_(dctx_kept_t *dst, dctx_kept_t *src)
{
    dst->cached[0] = src->cached[0];
    dst->cached[1] = src->cached[1];
    dst->chain = src->chain;
    src->cached[0] = NULL;
    src->cached[1] = NULL;
    src->chain = NULL;
}

/*
 * What attaching replaces and detaching brings back; with dctx_hot_, which has the present one's
 * registry and tables.
 *
 * `extras` and `cached` are held with a reference of the thread's own, unless they are those of
 * `attached`: it holds them as long as it is attached, and so attaching costs one count and no
 * more.
 */
typedef struct dctx_state {
    dctx_registry_t *registry; /* while another state is above this one */
    dctx_table_t *table[DCTX_KINDS];
    dctx_snapshot_t *attached; /* with a reference, unless `lent`; NULL at the bottom */
    uint32_t names_start;      /* in names[]: those that follow the attached snapshot's chain */
    uint32_t undo_start;       /* in undo[] */
    /* Attached, and only read since: what follows `lent` is not filled in. See
     * dctx_thread_state_(). */
    bool pristine;
    bool lent; /* whoever attached holds the snapshot until after the end */
    /* It was encoded for one message, without a snapshot: should it be sent again, it is worth one.
     * Cleared when values, chain or what passes through change. */
    bool sent;
    uint8_t sharing[DCTX_KINDS];
    dctx_table_t *spare[DCTX_KINDS]; /* memory for a table, holding nothing, or NULL; see share */
    dctx_stamp_t *extras;
    dctx_kept_t kept;
} dctx_state_t;

/* What is special about a frame: which of its fields are set, to be brought back when it ends. */
enum {
    DCTX_SAVED_TABLE = 1,  /* << kind */
    DCTX_SAVED_CACHED = 4, /* << DCTX_CAPTURE or DCTX_FORK */
    DCTX_SAVED_EXTRAS = 16,
    DCTX_SAVED_CHAIN = 32,
    DCTX_FRAME_ATTACH = 64,  /* an attachment: what is written straight in it goes away with it */
    DCTX_FRAME_CLOSING = 128 /* popped while others were above it: ends when they have */
};

/*
 * An open scope or attachment. A value's way back is one of two. While the table is owned, the old
 * value goes to the undo log, once for a key. When a write finds the table shared and must copy it
 * anyway, the shared one is put away whole, and from then on nothing of that kind is logged:
 * bringing it back undoes all later writes at once.
 */
typedef struct dctx_frame {
    uint64_t serial;
    uint32_t undo_start;
    uint8_t flags;
    uint8_t name_size;
    uint8_t sharing[DCTX_KINDS];
    dctx_kept_t kept;
    char name[DCTX_NAME_BYTES_MAX];
    dctx_table_t *table[DCTX_KINDS];
    dctx_stamp_t *extras;
    /* Bit (index % 64): a key with such an index may be in the log. Set when the frame's first
     * entry is logged. */
    uint64_t logged[DCTX_KINDS];
} dctx_frame_t;

typedef struct dctx_undo {
    dctx_value_t *old; /* NULL: the key was absent */
    uint32_t index;
    uint32_t kind;
} dctx_undo_t;

typedef struct dctx_thread {
    /* frames[depth], and the last that can be opened without asking whether it is too deep or there
     * is no memory. */
    dctx_frame_t *top;
    dctx_frame_t *limit;
    uint64_t serial; /* the last one given; unique in the process, so a token means one frame */
    /* The present one, and the last there is memory for; they lie one behind the other. */
    dctx_state_t *state;
    dctx_state_t *state_limit;
    dctx_bytes_t *names; /* of the frames that have one, bottom first; behind frames[] */
    uint32_t name_count;
    uint32_t undo_count;
    uint32_t undo_capacity;
    uint32_t frame_capacity;
    uint32_t state_capacity;
    /* Frames up to this one that wait to be ended are those of a pop that is under way. */
    uint32_t floor;
    dctx_mould_t *moulds; /* of stamps that it decoded; NULL: none yet */
    dctx_undo_t *undo;
    dctx_frame_t *frames; /* the first stands for the thread itself: an attachment without end */
    dctx_state_t *states;
} dctx_thread_t;

/* Threads take serials in blocks, so that pushing a scope touches nothing shared. */
#define DCTX_SERIAL_BLOCK (UINT64_C(1) << 20)

/* The calling thread's, made if need be. NULL (with a detail): no memory. */
dctx_thread_t *dctx_thread_make_self_(void);

static inline dctx_thread_t *dctx_thread_(void)
{
    dctx_thread_t *self = dctx_hot_.thread;
    return __builtin_expect(self != NULL, 1) ? self : dctx_thread_make_self_();
}

/* For a thread that is yet to start: made by the starter, who learns of a failure; adopted by the
 * new one. */
dctx_thread_t *dctx_thread_prepare_(void);
void dctx_thread_adopt_(dctx_thread_t *thread);

/* Frees what was prepared and not adopted. */
void dctx_thread_discard_(dctx_thread_t *thread);

/* Ends the calling thread's context, if it has one: undoes and frees everything. Runs user code. */
void dctx_thread_end_(void);

void dctx_thread_open_state_(dctx_thread_t *thread);

/* The present state, with all its fields. */
static inline dctx_state_t *dctx_thread_state_(dctx_thread_t *thread)
{
    if (__builtin_expect(thread->state->pristine, 0))
        dctx_thread_open_state_(thread);
    return thread->state;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static inline uint32_t dctx_thread_depth_(const dctx_thread_t *thread)
{
    return (uint32_t)(thread->top - thread->frames);
}

/* A frame can be opened in that registry. DCTX_ERR_LIMIT, DCTX_ERR_NOT_FROZEN, DCTX_ERR_NOMEM. */
dctx_error_t dctx_thread_make_room_(dctx_thread_t *thread, const dctx_registry_t *registry);

/* After the present registry became another. */
void dctx_thread_set_limit_(dctx_thread_t *thread);

dctx_error_t dctx_thread_grow_states_(dctx_thread_t *thread);
uint64_t dctx_thread_new_serials_(void);

/* Whether a scope may have that name in that registry; NULL and "" may. DCTX_ERR_LIMIT,
 * DCTX_ERR_INVALID. */
dctx_error_t dctx_scope_check_name_(const dctx_registry_t *registry, const char *name);

/* Ends the top frame and frees what it held. Runs user code. */
void dctx_thread_pop_(dctx_thread_t *thread);

/* Goes back to the state before the present one, which holds nothing any more but the attached
 * snapshot: that is the caller's now; NULL if it was lent. */
static inline dctx_snapshot_t *dctx_thread_leave_(dctx_thread_t *thread)
{
    dctx_state_t *state = thread->state;
    dctx_state_t *before = state - 1;
    dctx_hot_.table[0] = before->table[0];
    dctx_hot_.table[1] = before->table[1];
    thread->name_count = state->names_start;
    thread->state = before;
    thread->top--;
    if (__builtin_expect(dctx_hot_.registry != before->registry, 0)) {
        dctx_hot_.registry = before->registry;
        dctx_thread_set_limit_(thread);
    }
    return state->lent ? NULL : state->attached;
}

/* ---- writing --------------------------------------------------------------------------------- */

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

/* True if a scope is to undo what is written now, and nothing was logged for it yet. */
static inline bool dctx_thread_undoes_first_(const dctx_thread_t *thread)
{
    const dctx_frame_t *top = thread->top;
    return thread->undo_count == top->undo_start &&
           (top->flags & (DCTX_FRAME_ATTACH | DCTX_SAVED_TABLE | DCTX_SAVED_TABLE << 1)) == 0;
}

/* True if the key's value, which was set here, may be written over: nobody else has it, and no
 * scope wants it back. Then it is as if the write had happened. */
bool dctx_thread_yields_(dctx_thread_t *thread, const dctx_key_t *key, const dctx_value_t *value,
                         dctx_grave_t *grave);

/* Replaces what passes through; takes the reference on `extras`. Cannot fail. */
void dctx_thread_put_extras_(dctx_thread_t *thread, dctx_stamp_t *extras, dctx_grave_t *grave);

/* No value of that kind any more. Cannot fail. */
void dctx_thread_clear_kind_(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave);

/* ---- sharing --------------------------------------------------------------------------------- */

/*
 * Another reference on the table of that kind, for a snapshot; DCTX_NO_TABLE if no value is set.
 *
 * Popping a scope writes to the table, and must not fail. So a table is shared only after memory
 * for its copy was put aside, if there is anything to undo: prepare_share does that.
 * DCTX_ERR_NOMEM.
 */
dctx_error_t dctx_thread_prepare_share_(dctx_thread_t *thread, uint32_t kind);
dctx_table_t *dctx_thread_share_(dctx_thread_t *thread, uint32_t kind);

/* The whole chain with a reference; NULL is the empty one. DCTX_ERR_NOMEM. */
dctx_error_t dctx_thread_chain_(dctx_thread_t *thread, dctx_chain_t **ret_chain);

/* The chain is that of the attached snapshot, and then those names. */
static inline dctx_chain_t *dctx_thread_base_chain_(const dctx_thread_t *thread)
{
    const dctx_snapshot_t *attached = thread->state->attached;
    return attached != NULL ? attached->chain : NULL;
}

static inline const dctx_bytes_t *dctx_thread_names_(const dctx_thread_t *thread)
{
    return thread->names + thread->state->names_start;
}

static inline uint32_t dctx_thread_named_(const dctx_thread_t *thread)
{
    return thread->name_count - thread->state->names_start;
}

#endif
