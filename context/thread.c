#include "thread.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "fail.h"

#define FIRST_FRAMES 16
#define FIRST_STATES 4
#define FIRST_UNDO   32

__thread dctx_hot_t dctx_hot_ __attribute__((tls_model("initial-exec")));

/* What <dcontext/inline.h> and <dcontext/internal.h> have their callers believe. */
#define SAME_PLACE(ours, field, theirs, name)                                                      \
    _Static_assert(offsetof(ours, field) == offsetof(theirs, name), "the ABI of inline reads")
SAME_PLACE(struct dctx_registry, serial, dctx_registry_head_t, serial);
SAME_PLACE(struct dctx_key, registry, dctx_key_head_t, registry);
SAME_PLACE(struct dctx_key, index, dctx_key_head_t, index);
SAME_PLACE(struct dctx_key, kind, dctx_key_head_t, kind);
SAME_PLACE(dctx_value_t, data, dctx_value_head_t, data);
SAME_PLACE(dctx_table_t, slots, dctx_table_head_t, slots);
SAME_PLACE(dctx_frame_t, serial, dctx_frame_head_t, serial);
SAME_PLACE(dctx_frame_t, flags, dctx_frame_head_t, flags);
SAME_PLACE(dctx_state_t, attached, dctx_state_head_t, attached);
SAME_PLACE(dctx_state_t, names_start, dctx_state_head_t, names_start);
SAME_PLACE(dctx_state_t, pristine, dctx_state_head_t, pristine);
SAME_PLACE(dctx_thread_t, top, dctx_thread_head_t, top);
SAME_PLACE(dctx_thread_t, state, dctx_thread_head_t, state);
SAME_PLACE(dctx_thread_t, name_count, dctx_thread_head_t, name_count);
_Static_assert(DCTX_FRAME_ATTACH == DCTX_FRAME_ATTACHED_, "the ABI of inline reads");
_Static_assert(DCTX_KINDS == 2 && DCTX_KIND_BROADCAST == 0, "the ABI of inline reads");
_Static_assert(DCTX_SLOTS_MAX < 1 << DCTX_BOUND_INDEX_BITS_, "an index fits in bound_");

/* ---- a thread's beginning and end ------------------------------------------------------------ */

/* Relaxed: only uniqueness counts. */
static uint64_t next_serial_block = DCTX_SERIAL_BLOCK;

uint64_t dctx_thread_new_serials_(void)
{
    return __atomic_fetch_add(&next_serial_block, DCTX_SERIAL_BLOCK, __ATOMIC_RELAXED);
}

static dctx_error_t grow_frames(dctx_thread_t *thread);

/* The key's only use is its destructor. Set in the once below, which orders it for all. */
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static int exit_error;

static void end_at_exit(void *thread)
{
    (void)thread;
    dctx_thread_end_();
}

static void make_exit_key(void)
{
    exit_error = pthread_key_create(&exit_key, end_at_exit);
}

void dctx_thread_discard_(dctx_thread_t *thread)
{
    dctx_release_(thread->frames);
    dctx_release_(thread->states);
    dctx_release_(thread->undo);
    dctx_moulds_free_(thread->moulds);
    dctx_release_(thread);
}

dctx_thread_t *dctx_thread_prepare_(void)
{
    if (dctx_registry_global() == NULL)
        return NULL;
    (void)pthread_once(&exit_once, make_exit_key);
    if (exit_error != 0) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no thread-specific key: %s", strerror(exit_error));
        return NULL;
    }
    dctx_thread_t *thread = dctx_calloc_(1, sizeof(*thread));
    if (thread == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a thread's context");
        return NULL;
    }
    if (grow_frames(thread) != DCTX_OK || dctx_thread_grow_states_(thread) != DCTX_OK) {
        dctx_thread_discard_(thread);
        return NULL;
    }
    thread->states[0] = (dctx_state_t){.attached = NULL};
    return thread;
}

static void enter(dctx_thread_t *thread)
{
    dctx_hot_ = (dctx_hot_t){dctx_registry_global(), {DCTX_NO_TABLE, DCTX_NO_TABLE}, thread, NULL};
    dctx_thread_set_limit_(thread);
}

dctx_thread_t *dctx_thread_make_self_(void)
{
    dctx_thread_t *thread = dctx_thread_prepare_();
    if (thread == NULL)
        return NULL;
    int error = pthread_setspecific(exit_key, thread);
    if (error != 0) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "a thread's context: %s", strerror(error));
        dctx_thread_discard_(thread);
        return NULL;
    }
    enter(thread);
    return thread;
}

void dctx_thread_adopt_(dctx_thread_t *thread)
{
    /* If this fails, whoever adopts ends the context himself when the thread's work is done, which
     * he does anyway. */
    (void)pthread_setspecific(exit_key, thread);
    enter(thread);
}

static void set_table(dctx_thread_t *thread, uint32_t kind, dctx_table_t *table,
                      dctx_sharing_t sharing)
{
    dctx_hot_.table[kind] = table;
    thread->state->sharing[kind] = (uint8_t)sharing;
}

static void uncache(dctx_state_t *state, uint32_t which, dctx_grave_t *grave)
{
    dctx_snapshot_t *cached = state->kept.cached[which];
    if (cached == NULL)
        return;
    state->kept.cached[which] = NULL;
    if (cached != state->attached)
        dctx_snapshot_drop_(cached, grave);
}

static void drop_extras(const dctx_state_t *state, dctx_stamp_t *extras, dctx_grave_t *grave)
{
    if (extras != NULL && (state->attached == NULL || extras != state->attached->extras))
        dctx_stamp_drop_(extras, grave);
}

/* Lets the table go and leaves the field as it is. The memory of one that nobody else has becomes
 * the spare one: popping may rely on that, see share. */
static void let_go(dctx_state_t *state, uint32_t kind, dctx_grave_t *grave)
{
    dctx_table_t *table = dctx_hot_.table[kind];
    if (table == DCTX_NO_TABLE || state->sharing[kind] == DCTX_BORROWED)
        return;
    if (state->sharing[kind] == DCTX_OWNED && state->spare[kind] == NULL) {
        dctx_table_vacate_(table, grave);
        state->spare[kind] = table;
        return;
    }
    dctx_table_drop_(table, grave);
}

/* Lets go all that the present state holds, but for `attached` and the spare tables. */
static void leave_state(dctx_state_t *state, dctx_grave_t *grave)
{
    for (uint32_t i = 0; i < DCTX_KINDS; i++) {
        uncache(state, i, grave);
        let_go(state, i, grave);
    }
    drop_extras(state, state->extras, grave);
    dctx_chain_unref_(state->kept.chain);
}

void dctx_thread_end_(void)
{
    dctx_thread_t *thread = dctx_hot_.thread;
    if (thread == NULL)
        return;
    while (thread->top != thread->frames)
        dctx_thread_pop_(thread);
    dctx_grave_t grave = {NULL};
    leave_state(thread->state, &grave);
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++)
        dctx_table_free_(thread->state->spare[kind]);
    dctx_thread_discard_(thread);
    dctx_hot_ = (dctx_hot_t){NULL, {NULL, NULL}, NULL, NULL};
    (void)pthread_setspecific(exit_key, NULL);
    /* Should destructors call in, they find a thread without a context and make a new one, which is
     * ended in turn: pthreads calls key destructors again when there is something new. */
    dctx_grave_empty_(&grave);
}

/* ---- growing --------------------------------------------------------------------------------- */

static uint32_t grown(uint32_t capacity, uint32_t first)
{
    return capacity == 0 ? first : capacity * 2;
}

void dctx_thread_set_limit_(dctx_thread_t *thread)
{
    const dctx_registry_t *registry = dctx_hot_.registry;
    size_t limit = dctx_registry_frozen_(registry) ? registry->limits.scope_depth : 0;
    if (limit > thread->frame_capacity - 1)
        limit = thread->frame_capacity - 1;
    thread->limit = thread->frames + limit;
}

static dctx_error_t grow_frames(dctx_thread_t *thread)
{
    uint32_t capacity = grown(thread->frame_capacity, FIRST_FRAMES);
    dctx_frame_t *frames = dctx_alloc_(capacity * (sizeof(*frames) + sizeof(dctx_bytes_t)));
    if (frames == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %u scopes", capacity);
    dctx_bytes_t *names = (dctx_bytes_t *)(frames + capacity);
    uint32_t depth = 0;
    if (thread->frames != NULL) {
        depth = dctx_thread_depth_(thread);
        memcpy(frames, thread->frames, (depth + 1) * sizeof(*frames));
    } else {
        frames[0] = (dctx_frame_t){.flags = DCTX_FRAME_ATTACH};
    }
    uint32_t count = 0;
    for (uint32_t i = 1; i <= depth; i++)
        if (frames[i].name_size > 0)
            names[count++] = (dctx_bytes_t){frames[i].name, frames[i].name_size};
    dctx_release_(thread->frames);
    thread->frames = frames;
    thread->top = frames + depth;
    thread->names = names;
    thread->frame_capacity = capacity;
    return DCTX_OK;
}

dctx_error_t dctx_thread_make_room_(dctx_thread_t *thread, const dctx_registry_t *registry)
{
    uint32_t depth = dctx_thread_depth_(thread);
    if (!dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_NOT_FROZEN, "freeze the registry before opening scopes");
    if (depth >= registry->limits.scope_depth)
        return dctx_fail_(DCTX_ERR_LIMIT, "%u scopes are open; scope_depth is %zu", depth,
                          registry->limits.scope_depth);
    dctx_error_t error = depth + 1 < thread->frame_capacity ? DCTX_OK : grow_frames(thread);
    if (error == DCTX_OK)
        dctx_thread_set_limit_(thread);
    return error;
}

dctx_error_t dctx_thread_grow_states_(dctx_thread_t *thread)
{
    uint32_t capacity = grown(thread->state_capacity, FIRST_STATES);
    dctx_state_t *states = dctx_alloc_(capacity * sizeof(*states));
    if (states == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %u attached snapshots", capacity);
    size_t at = 0;
    if (thread->states != NULL) {
        at = (size_t)(thread->state - thread->states);
        memcpy(states, thread->states, (at + 1) * sizeof(*states));
    }
    dctx_release_(thread->states);
    thread->states = states;
    thread->state = &states[at];
    thread->state_limit = &states[capacity - 1];
    thread->state_capacity = capacity;
    return DCTX_OK;
}

static bool undoes_something(const dctx_thread_t *thread)
{
    return thread->undo_count > thread->state->undo_start;
}

void dctx_thread_open_state_(dctx_thread_t *thread)
{
    dctx_state_t *state = thread->state;
    dctx_state_t *before = state - 1;
    dctx_snapshot_t *attached = state->attached;
    state->pristine = false;
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++) {
        state->sharing[kind] = DCTX_BORROWED;
        state->spare[kind] = NULL;
        /* Spare memory is lent to the new state, unless the old one may need it. */
        if (!before->pristine && before->registry == dctx_hot_.registry &&
            before->undo_start == state->undo_start) {
            state->spare[kind] = before->spare[kind];
            before->spare[kind] = NULL;
        }
    }
    state->extras = attached->extras;
    /* With a name of its own the attachment has another chain than the snapshot. */
    bool same = dctx_thread_named_(thread) == 0;
    state->kept.cached[DCTX_FORK] = same ? attached : NULL;
    state->kept.cached[DCTX_CAPTURE] =
        same && attached->table[DCTX_KIND_LOCAL]->count == 0 ? attached : NULL;
    state->kept.chain = NULL;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* The scope that has to undo what is written now. NULL where nothing will be: at the bottom, and
 * straight in an attachment, whose whole state goes away with it. */
static inline dctx_frame_t *undoing_frame(const dctx_thread_t *thread)
{
    return (thread->top->flags & DCTX_FRAME_ATTACH) != 0 ? NULL : thread->top;
}

static __attribute__((noinline)) dctx_error_t grow_undo(dctx_thread_t *thread, size_t needed)
{
    size_t capacity = thread->undo_capacity == 0 ? FIRST_UNDO : thread->undo_capacity;
    while (capacity < needed)
        capacity *= 2;
    dctx_undo_t *undo = capacity <= UINT32_MAX ? dctx_alloc_(capacity * sizeof(*undo)) : NULL;
    if (undo == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to undo %zu changes", capacity);
    if (thread->undo_count > 0)
        memcpy(undo, thread->undo, thread->undo_count * sizeof(*undo));
    dctx_release_(thread->undo);
    thread->undo = undo;
    thread->undo_capacity = (uint32_t)capacity;
    return DCTX_OK;
}

static inline dctx_error_t reserve(dctx_thread_t *thread, size_t count)
{
    size_t needed = thread->undo_count + count;
    if (__builtin_expect(needed <= thread->undo_capacity, 1) || undoing_frame(thread) == NULL)
        return DCTX_OK;
    return grow_undo(thread, needed);
}

/* The present state is about to differ from the cached snapshot. If it is also the state to which
 * the scope will go back, the snapshot is put away for then, even if that is to say there is
 * none. */
static inline void invalidate(dctx_state_t *state, dctx_frame_t *frame, uint32_t which,
                              dctx_grave_t *grave)
{
    uint8_t bit = (uint8_t)(DCTX_SAVED_CACHED << which);
    if (frame != NULL && (frame->flags & bit) == 0) {
        frame->flags |= bit;
        frame->kept.cached[which] = state->kept.cached[which];
        state->kept.cached[which] = NULL;
        return;
    }
    uncache(state, which, grave);
}

static inline void invalidate_kind(dctx_state_t *state, dctx_frame_t *frame, uint32_t kind,
                                   dctx_grave_t *grave)
{
    invalidate(state, frame, DCTX_FORK, grave);
    if (kind == DCTX_KIND_BROADCAST) {
        invalidate(state, frame, DCTX_CAPTURE, grave);
        state->sent = false;
    }
}

/* Memory for a table. The spare one may serve as long as there is nothing to undo. */
static dctx_table_t *fresh_table(const dctx_thread_t *thread, uint32_t kind)
{
    dctx_table_t *spare = thread->state->spare[kind];
    if (spare == NULL || undoes_something(thread))
        return dctx_table_new_(dctx_hot_.registry->kind_count[kind]);
    thread->state->spare[kind] = NULL;
    return spare;
}

/* The field is about to hold another table: the old one goes to the frame, if that has none yet,
 * else away. */
static void put_table_away(dctx_state_t *state, dctx_frame_t *frame, uint32_t kind,
                           dctx_grave_t *grave)
{
    uint8_t bit = (uint8_t)(DCTX_SAVED_TABLE << kind);
    if (frame == NULL || (frame->flags & bit) != 0) {
        let_go(state, kind, grave);
        return;
    }
    frame->flags |= bit;
    frame->table[kind] = dctx_hot_.table[kind];
    frame->sharing[kind] = state->sharing[kind];
}

static __attribute__((noinline)) dctx_error_t make_writable(dctx_thread_t *thread, uint32_t kind,
                                                            dctx_grave_t *grave)
{
    dctx_state_t *state = thread->state;
    dctx_table_t *table = dctx_hot_.table[kind];
    if (table != DCTX_NO_TABLE && state->sharing[kind] == DCTX_SHARED && table->home == NULL &&
        dctx_refcount_is_unique(&table->refs)) {
        state->sharing[kind] = DCTX_OWNED;
        return DCTX_OK;
    }
    dctx_table_t *copy = fresh_table(thread, kind);
    if (copy == NULL)
        return DCTX_ERR_NOMEM;
    if (table == DCTX_NO_TABLE) {
        dctx_table_blank_(copy);
    } else {
        dctx_table_fill_(copy, table);
        put_table_away(state, undoing_frame(thread), kind, grave);
    }
    set_table(thread, kind, copy, DCTX_OWNED);
    return DCTX_OK;
}

static inline dctx_error_t writable(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave)
{
    dctx_state_t *state = dctx_thread_state_(thread);
    /* First, as a cached snapshot may be the only other holder of the table. */
    invalidate_kind(state, undoing_frame(thread), kind, grave);
    if (__builtin_expect(state->sharing[kind] == DCTX_OWNED, 1) &&
        __builtin_expect(dctx_hot_.table[kind] != DCTX_NO_TABLE, 1))
        return DCTX_OK;
    return make_writable(thread, kind, grave);
}

static bool is_logged(const dctx_thread_t *thread, const dctx_frame_t *frame, uint32_t kind,
                      uint32_t index)
{
    if ((frame->logged[kind] >> (index % 64) & 1) == 0)
        return false;
    if (dctx_hot_.registry->kind_count[kind] <= 64)
        return true;
    for (uint32_t i = frame->undo_start; i < thread->undo_count; i++)
        if (thread->undo[i].kind == kind && thread->undo[i].index == index)
            return true;
    return false;
}

/* True if the old value is in the log now, and not to be dropped. */
static inline bool log_old(dctx_thread_t *thread, dctx_frame_t *frame, uint32_t kind,
                           uint32_t index, dctx_value_t *old)
{
    if ((frame->flags & (DCTX_SAVED_TABLE << kind)) != 0)
        return false;
    if (thread->undo_count == frame->undo_start) {
        frame->logged[0] = 0;
        frame->logged[1] = 0;
    } else if (is_logged(thread, frame, kind, index)) {
        return false;
    }
    frame->logged[kind] |= UINT64_C(1) << (index % 64);
    thread->undo[thread->undo_count++] = (dctx_undo_t){old, index, kind};
    return true;
}

static inline void put(dctx_thread_t *thread, const dctx_key_t *key, dctx_value_t *value,
                       dctx_grave_t *grave)
{
    uint32_t kind = key->kind;
    uint32_t index = key->index;
    dctx_table_t *table = dctx_hot_.table[kind];
    dctx_value_t *old = table->slots[index];
    table->slots[index] = value;
    table->count += (uint32_t)(value != NULL) - (uint32_t)(old != NULL);
    dctx_frame_t *frame = undoing_frame(thread);
    if (frame == NULL || !log_old(thread, frame, kind, index, old))
        dctx_value_drop_(old, grave);
}

dctx_error_t dctx_thread_set_(dctx_thread_t *thread, const dctx_key_t *key, dctx_value_t *value,
                              dctx_grave_t *grave)
{
    if (value == NULL && dctx_hot_.table[key->kind]->slots[key->index] == NULL)
        return DCTX_OK;
    dctx_error_t error = reserve(thread, 1);
    if (__builtin_expect(error == DCTX_OK, 1))
        error = writable(thread, key->kind, grave);
    if (__builtin_expect(error == DCTX_OK, 1))
        put(thread, key, value, grave);
    return error;
}

bool dctx_thread_yields_(dctx_thread_t *thread, const dctx_key_t *key, const dctx_value_t *value,
                         dctx_grave_t *grave)
{
    uint32_t kind = key->kind;
    dctx_state_t *state = thread->state;
    dctx_frame_t *frame = undoing_frame(thread);
    if (state->pristine || state->sharing[kind] != DCTX_OWNED ||
        !dctx_refcount_is_unique(&value->owner->refs))
        return false;
    if (frame != NULL && (frame->flags & (DCTX_SAVED_TABLE << kind)) == 0 &&
        (thread->undo_count == frame->undo_start || !is_logged(thread, frame, kind, key->index)))
        return false;
    invalidate_kind(state, frame, kind, grave);
    return true;
}

dctx_error_t dctx_thread_reserve_(dctx_thread_t *thread, size_t count)
{
    return reserve(thread, count);
}

dctx_error_t dctx_thread_writable_(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave)
{
    return writable(thread, kind, grave);
}

void dctx_thread_put_(dctx_thread_t *thread, const dctx_key_t *key, dctx_value_t *value,
                      dctx_grave_t *grave)
{
    put(thread, key, value, grave);
}

void dctx_thread_put_extras_(dctx_thread_t *thread, dctx_stamp_t *extras, dctx_grave_t *grave)
{
    dctx_state_t *state = dctx_thread_state_(thread);
    dctx_frame_t *frame = undoing_frame(thread);
    for (uint32_t which = 0; which < 2; which++)
        invalidate(state, frame, which, grave);
    state->sent = false;
    if (frame != NULL && (frame->flags & DCTX_SAVED_EXTRAS) == 0) {
        frame->flags |= DCTX_SAVED_EXTRAS;
        frame->extras = state->extras;
    } else {
        drop_extras(state, state->extras, grave);
    }
    state->extras = extras;
    /* What the attached snapshot has is held by it. */
    if (state->attached != NULL && extras == state->attached->extras)
        dctx_stamp_drop_(extras, grave);
}

void dctx_thread_clear_kind_(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave)
{
    if (dctx_hot_.table[kind]->count == 0)
        return;
    dctx_state_t *state = dctx_thread_state_(thread);
    dctx_frame_t *frame = undoing_frame(thread);
    invalidate_kind(state, frame, kind, grave);
    put_table_away(state, frame, kind, grave);
    set_table(thread, kind, DCTX_NO_TABLE, DCTX_OWNED);
}

/* ---- sharing --------------------------------------------------------------------------------- */

dctx_error_t dctx_thread_prepare_share_(dctx_thread_t *thread, uint32_t kind)
{
    dctx_state_t *state = dctx_thread_state_(thread);
    if (dctx_hot_.table[kind]->count == 0 || state->sharing[kind] != DCTX_OWNED ||
        !undoes_something(thread) || state->spare[kind] != NULL)
        return DCTX_OK;
    state->spare[kind] = dctx_table_new_(dctx_hot_.registry->kind_count[kind]);
    return state->spare[kind] != NULL ? DCTX_OK : DCTX_ERR_NOMEM;
}

dctx_table_t *dctx_thread_share_(dctx_thread_t *thread, uint32_t kind)
{
    dctx_table_t *table = dctx_hot_.table[kind];
    if (table->count == 0)
        return DCTX_NO_TABLE;
    if (thread->state->sharing[kind] == DCTX_OWNED)
        thread->state->sharing[kind] = DCTX_SHARED;
    return dctx_table_ref_(table);
}

/*
 * For popping: makes the table owned without needing memory. The values to undo were logged while
 * it was owned; it was shared later, and then prepare_share made sure of a spare table. That has
 * been used since only if the table became owned again by it, and when such a table was let go it
 * became the spare one again.
 */
static void make_owned(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave)
{
    dctx_table_t *table = dctx_hot_.table[kind];
    assert(table != DCTX_NO_TABLE && table->home == NULL &&
           thread->state->sharing[kind] == DCTX_SHARED);
    if (!dctx_refcount_is_unique(&table->refs)) {
        dctx_table_t *spare = thread->state->spare[kind];
        assert(spare != NULL);
        thread->state->spare[kind] = NULL;
        dctx_table_fill_(spare, table);
        dctx_table_drop_(table, grave);
        dctx_hot_.table[kind] = spare;
    }
    thread->state->sharing[kind] = DCTX_OWNED;
}

dctx_error_t dctx_thread_chain_(dctx_thread_t *thread, dctx_chain_t **ret_chain)
{
    dctx_state_t *state = dctx_thread_state_(thread);
    dctx_chain_t *base = dctx_thread_base_chain_(thread);
    uint32_t named = dctx_thread_named_(thread);
    if (named > 0 && state->kept.chain == NULL) {
        dctx_error_t error = dctx_chain_build_(base, dctx_thread_names_(thread), named,
                                               &dctx_hot_.registry->limits, &state->kept.chain);
        if (error != DCTX_OK)
            return error;
    }
    *ret_chain = dctx_chain_ref_(named > 0 ? state->kept.chain : base);
    return DCTX_OK;
}

/* ---- popping --------------------------------------------------------------------------------- */

static void undo_values(dctx_thread_t *thread, const dctx_frame_t *frame, dctx_grave_t *grave)
{
    while (thread->undo_count > frame->undo_start) {
        dctx_undo_t entry = thread->undo[--thread->undo_count];
        if (thread->state->sharing[entry.kind] != DCTX_OWNED)
            make_owned(thread, entry.kind, grave);
        dctx_table_t *table = dctx_hot_.table[entry.kind];
        dctx_value_t *value = table->slots[entry.index];
        table->slots[entry.index] = entry.old;
        table->count += (uint32_t)(entry.old != NULL) - (uint32_t)(value != NULL);
        dctx_value_drop_(value, grave);
    }
}

static void bring_back(dctx_thread_t *thread, const dctx_frame_t *frame, dctx_grave_t *grave)
{
    dctx_state_t *state = thread->state;
    uint8_t flags = frame->flags;
    state->sent = false;
    /* First, as a snapshot of what is undone now may be the only other holder of a table. */
    for (uint32_t which = 0; which < 2; which++)
        if ((flags & (DCTX_SAVED_CACHED << which)) != 0) {
            uncache(state, which, grave);
            state->kept.cached[which] = frame->kept.cached[which];
        }
    if ((flags & DCTX_SAVED_CHAIN) != 0) {
        dctx_chain_unref_(state->kept.chain);
        state->kept.chain = frame->kept.chain;
        thread->name_count--;
    }
    if ((flags & (DCTX_SAVED_TABLE << 0 | DCTX_SAVED_TABLE << 1 | DCTX_SAVED_EXTRAS)) == 0)
        return;
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++)
        if ((flags & (DCTX_SAVED_TABLE << kind)) != 0) {
            let_go(state, kind, grave);
            set_table(thread, kind, frame->table[kind], frame->sharing[kind]);
        }
    if ((flags & DCTX_SAVED_EXTRAS) != 0) {
        drop_extras(state, state->extras, grave);
        state->extras = frame->extras;
    }
}

/* The spare memory goes back to the state that lent it, or could have. */
static void return_spares(const dctx_state_t *state, dctx_state_t *before)
{
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++) {
        dctx_table_t *spare = state->spare[kind];
        if (spare == NULL)
            continue;
        if (!before->pristine && before->spare[kind] == NULL &&
            before->registry == dctx_hot_.registry)
            before->spare[kind] = spare;
        else
            dctx_table_free_(spare);
    }
}

static void pop_attachment(dctx_thread_t *thread)
{
    dctx_grave_t grave = {NULL};
    dctx_state_t *state = thread->state;
    if (!state->pristine) {
        leave_state(state, &grave);
        return_spares(state, state - 1);
    }
    dctx_snapshot_t *attached = dctx_thread_leave_(thread);
    /* From here on user code may run. The attached snapshot keeps its registry, and so the types,
     * until the rest is gone. */
    dctx_grave_empty_(&grave);
    dctx_snapshot_unref(&attached);
}

void dctx_thread_pop_(dctx_thread_t *thread)
{
    const dctx_frame_t *frame = thread->top;
    if ((frame->flags & DCTX_FRAME_ATTACH) != 0) {
        pop_attachment(thread);
        return;
    }
    dctx_grave_t grave = {NULL};
    if (frame->flags != 0)
        bring_back(thread, frame, &grave);
    undo_values(thread, frame, &grave);
    thread->top--;
    dctx_grave_empty_(&grave);
}
