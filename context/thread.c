#include "thread.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "alloc.h"
#include "fail.h"

#define FIRST_FRAMES 16
#define FIRST_SAVED  4
#define FIRST_UNDO   32
#define SERIAL_BLOCK (UINT64_C(1) << 20)

_Thread_local dctx_thread_t *dctx_thread_self_ __attribute__((tls_model("initial-exec")));

/* In .bss and only ever read: it costs address space, not memory. */
dctx_value_t *dctx_no_slots_[DCTX_KEYS_MAX];

/* ---- a thread's beginning and end --------------------------------------------------------------
 */

/* Threads take serials in blocks, so that pushing a scope touches nothing shared. Relaxed: only
 * uniqueness counts. */
static uint64_t next_serial_block = SERIAL_BLOCK;

/* The key's only use is its destructor. Set in the once below, which orders it for all. */
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static pthread_key_t exit_key;
static int exit_error;

static void end_thread(void *thread)
{
    dctx_thread_free_(thread);
}

static void make_exit_key(void)
{
    exit_error = pthread_key_create(&exit_key, end_thread);
}

static void set_table(dctx_thread_t *thread, uint32_t kind, dctx_table_t *table,
                      dctx_sharing_t sharing)
{
    thread->now.table[kind] = table;
    thread->now.sharing[kind] = (uint8_t)sharing;
    thread->now.slots[kind] = table != NULL ? table->slots : dctx_no_slots_;
}

dctx_thread_t *dctx_thread_prepare_(void)
{
    dctx_registry_t *registry = dctx_registry_global();
    if (registry == NULL)
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
    thread->now.registry = registry;
    thread->now.serial = registry->serial;
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++)
        set_table(thread, kind, NULL, DCTX_OWNED);
    if (dctx_thread_grow_frames_(thread) != DCTX_OK || dctx_thread_grow_saved_(thread) != DCTX_OK) {
        dctx_thread_free_(thread);
        return NULL;
    }
    return thread;
}

dctx_thread_t *dctx_thread_make_self_(void)
{
    dctx_thread_t *thread = dctx_thread_prepare_();
    if (thread == NULL)
        return NULL;
    int error = pthread_setspecific(exit_key, thread);
    if (error != 0) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "a thread's context: %s", strerror(error));
        dctx_thread_free_(thread);
        return NULL;
    }
    dctx_thread_self_ = thread;
    return thread;
}

void dctx_thread_adopt_(dctx_thread_t *thread)
{
    /* If this fails, whoever adopts frees the context himself when the thread's work is done, which
     * he does anyway. */
    (void)pthread_setspecific(exit_key, thread);
    dctx_thread_self_ = thread;
}

static void uncache(dctx_thread_t *thread, uint32_t which, dctx_grave_t *grave)
{
    dctx_snapshot_t *cached = thread->now.cached[which];
    thread->now.cached[which] = NULL;
    if (cached != NULL && cached != thread->now.attached)
        dctx_snapshot_drop_(cached, grave);
}

static void drop_extras(dctx_thread_t *thread, dctx_stamp_t *extras, dctx_grave_t *grave)
{
    const dctx_snapshot_t *attached = thread->now.attached;
    if (attached == NULL || extras != attached->extras)
        dctx_stamp_drop_(extras, grave);
}

/* Lets the table go and leaves the field as it is. The memory of one that nobody else has becomes
 * the spare one: popping may rely on that, see share. */
static void let_go(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave)
{
    dctx_table_t *table = thread->now.table[kind];
    if (table == NULL || thread->now.sharing[kind] == DCTX_BORROWED)
        return;
    if (thread->now.sharing[kind] == DCTX_OWNED && thread->now.spare[kind] == NULL) {
        dctx_table_vacate_(table, grave);
        thread->now.spare[kind] = table;
        return;
    }
    dctx_table_drop_(table, grave);
}

/* Lets go all that the present state holds, but for `attached`. */
static void leave_state(dctx_thread_t *thread, dctx_grave_t *grave)
{
    for (uint32_t i = 0; i < DCTX_KINDS; i++) {
        uncache(thread, i, grave);
        let_go(thread, i, grave);
    }
    drop_extras(thread, thread->now.extras, grave);
    dctx_chain_unref_(thread->now.chain);
}

void dctx_thread_free_(dctx_thread_t *thread)
{
    /* Destructors of values run below. Should they call in, they find a thread without a context
     * and make a new one, which is ended in turn: pthreads calls key destructors again when there
     * is something new. */
    if (dctx_thread_self_ == thread) {
        dctx_thread_self_ = NULL;
        (void)pthread_setspecific(exit_key, NULL);
    }
    while (thread->depth > 0)
        dctx_thread_pop_(thread);
    dctx_grave_t grave = {NULL};
    leave_state(thread, &grave);
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++)
        dctx_table_free_(thread->now.spare[kind]);
    dctx_release_(thread->frames);
    dctx_release_(thread->saved);
    dctx_release_(thread->undo);
    dctx_release_(thread);
    dctx_grave_empty_(&grave);
}

/* ---- growing -----------------------------------------------------------------------------------
 */

static uint32_t grown(uint32_t capacity, uint32_t first)
{
    return capacity == 0 ? first : capacity * 2;
}

dctx_error_t dctx_thread_grow_frames_(dctx_thread_t *thread)
{
    uint32_t capacity = grown(thread->frame_capacity, FIRST_FRAMES);
    dctx_frame_t *frames = dctx_alloc_(capacity * (sizeof(*frames) + sizeof(dctx_bytes_t)));
    if (frames == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %u scopes", capacity);
    dctx_bytes_t *names = (dctx_bytes_t *)(frames + capacity);
    if (thread->depth > 0)
        memcpy(frames, thread->frames, thread->depth * sizeof(*frames));
    uint32_t count = 0;
    for (uint32_t i = 0; i < thread->depth; i++)
        if (frames[i].name_size > 0)
            names[count++] = (dctx_bytes_t){frames[i].name, frames[i].name_size};
    dctx_release_(thread->frames);
    thread->frames = frames;
    thread->names = names;
    thread->frame_capacity = capacity;
    return DCTX_OK;
}

dctx_error_t dctx_thread_grow_saved_(dctx_thread_t *thread)
{
    uint32_t capacity = grown(thread->saved_capacity, FIRST_SAVED);
    dctx_state_t *saved = dctx_alloc_(capacity * sizeof(*saved));
    if (saved == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %u attached snapshots", capacity);
    if (thread->saved_count > 0)
        memcpy(saved, thread->saved, thread->saved_count * sizeof(*saved));
    dctx_release_(thread->saved);
    thread->saved = saved;
    thread->saved_capacity = capacity;
    return DCTX_OK;
}

void dctx_thread_refill_serials_(dctx_thread_t *thread)
{
    thread->serial_next = __atomic_fetch_add(&next_serial_block, SERIAL_BLOCK, __ATOMIC_RELAXED);
    thread->serial_end = thread->serial_next + SERIAL_BLOCK;
}

/* ---- writing -----------------------------------------------------------------------------------
 */

/* The scope that has to undo what is written now. NULL where nothing will be: at the bottom, and
 * straight in an attachment, whose whole state goes away with it. */
static dctx_frame_t *undoing_frame(const dctx_thread_t *thread)
{
    if (thread->depth == 0)
        return NULL;
    dctx_frame_t *frame = &thread->frames[thread->depth - 1];
    return frame->attach ? NULL : frame;
}

dctx_error_t dctx_thread_reserve_(dctx_thread_t *thread, size_t count)
{
    size_t needed = thread->undo_count + count;
    if (__builtin_expect(needed <= thread->undo_capacity, 1) || undoing_frame(thread) == NULL)
        return DCTX_OK;
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

/* The present state is about to differ from the cached snapshot. If it is also the state to which
 * the scope will go back, the snapshot is put away for then, even if that is to say there is none.
 */
static void invalidate(dctx_thread_t *thread, dctx_frame_t *frame, uint32_t which,
                       dctx_grave_t *grave)
{
    uint8_t bit = (uint8_t)(DCTX_SAVED_CACHED << which);
    if (frame != NULL && (frame->saved & bit) == 0) {
        frame->saved |= bit;
        frame->cached[which] = thread->now.cached[which];
        thread->now.cached[which] = NULL;
        return;
    }
    uncache(thread, which, grave);
}

static void invalidate_kind(dctx_thread_t *thread, dctx_frame_t *frame, uint32_t kind,
                            dctx_grave_t *grave)
{
    invalidate(thread, frame, DCTX_FORK, grave);
    if (kind == DCTX_KIND_BROADCAST)
        invalidate(thread, frame, DCTX_CAPTURE, grave);
}

/* Memory for a table. The spare one may serve as long as there is nothing to undo. */
static dctx_table_t *fresh_table(dctx_thread_t *thread, uint32_t kind)
{
    dctx_table_t *spare = thread->now.spare[kind];
    if (spare == NULL || thread->undo_count > thread->now.undo_start)
        return dctx_table_new_(thread->now.registry->kind_count[kind]);
    thread->now.spare[kind] = NULL;
    return spare;
}

/* The field is about to hold another table: the old one goes to the frame, if that has none yet,
 * else away. */
static void put_table_away(dctx_thread_t *thread, dctx_frame_t *frame, uint32_t kind,
                           dctx_grave_t *grave)
{
    uint8_t bit = (uint8_t)(DCTX_SAVED_TABLE << kind);
    if (frame == NULL || (frame->saved & bit) != 0) {
        let_go(thread, kind, grave);
        return;
    }
    frame->saved |= bit;
    frame->table[kind] = thread->now.table[kind];
    frame->sharing[kind] = thread->now.sharing[kind];
}

dctx_error_t dctx_thread_writable_(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave)
{
    dctx_frame_t *frame = undoing_frame(thread);
    /* First, as a cached snapshot may be the only other holder of the table. */
    invalidate_kind(thread, frame, kind, grave);
    dctx_table_t *table = thread->now.table[kind];
    if (__builtin_expect(table != NULL, 1)) {
        if (thread->now.sharing[kind] == DCTX_OWNED)
            return DCTX_OK;
        if (thread->now.sharing[kind] == DCTX_SHARED && dctx_refcount_is_unique(&table->refs)) {
            thread->now.sharing[kind] = DCTX_OWNED;
            return DCTX_OK;
        }
    }
    dctx_table_t *copy = fresh_table(thread, kind);
    if (copy == NULL)
        return DCTX_ERR_NOMEM;
    if (table == NULL) {
        dctx_table_blank_(copy);
    } else {
        dctx_table_fill_(copy, table);
        put_table_away(thread, frame, kind, grave);
    }
    set_table(thread, kind, copy, DCTX_OWNED);
    return DCTX_OK;
}

static bool is_logged(const dctx_thread_t *thread, const dctx_frame_t *frame, uint32_t kind,
                      uint32_t index)
{
    if ((frame->logged[kind] >> (index % 64) & 1) == 0)
        return false;
    if (thread->now.registry->kind_count[kind] <= 64)
        return true;
    for (uint32_t i = frame->undo_start; i < thread->undo_count; i++)
        if (thread->undo[i].kind == kind && thread->undo[i].index == index)
            return true;
    return false;
}

void dctx_thread_put_(dctx_thread_t *thread, const dctx_key_t *key, dctx_value_t *value,
                      dctx_grave_t *grave)
{
    uint32_t kind = key->kind;
    uint32_t index = key->index;
    dctx_table_t *table = thread->now.table[kind];
    dctx_value_t *old = table->slots[index];
    table->slots[index] = value;
    table->count += (uint32_t)(value != NULL) - (uint32_t)(old != NULL);
    dctx_frame_t *frame = undoing_frame(thread);
    if (frame != NULL && (frame->saved & (DCTX_SAVED_TABLE << kind)) == 0 &&
        !is_logged(thread, frame, kind, index)) {
        frame->logged[kind] |= UINT64_C(1) << (index % 64);
        thread->undo[thread->undo_count++] = (dctx_undo_t){old, index, kind};
        return;
    }
    dctx_value_drop_(old, grave);
}

dctx_error_t dctx_thread_set_(dctx_thread_t *thread, const dctx_key_t *key, dctx_value_t *value,
                              dctx_grave_t *grave)
{
    if (value == NULL && thread->now.slots[key->kind][key->index] == NULL)
        return DCTX_OK;
    dctx_error_t error = dctx_thread_reserve_(thread, 1);
    if (error == DCTX_OK)
        error = dctx_thread_writable_(thread, key->kind, grave);
    if (error == DCTX_OK)
        dctx_thread_put_(thread, key, value, grave);
    return error;
}

void dctx_thread_put_extras_(dctx_thread_t *thread, dctx_stamp_t *extras, dctx_grave_t *grave)
{
    dctx_frame_t *frame = undoing_frame(thread);
    for (uint32_t which = 0; which < 2; which++)
        invalidate(thread, frame, which, grave);
    if (frame != NULL && (frame->saved & DCTX_SAVED_EXTRAS) == 0) {
        frame->saved |= DCTX_SAVED_EXTRAS;
        frame->extras = thread->now.extras;
    } else {
        drop_extras(thread, thread->now.extras, grave);
    }
    thread->now.extras = extras;
    /* What the attached snapshot has is held by it. */
    if (thread->now.attached != NULL && extras == thread->now.attached->extras)
        dctx_stamp_drop_(extras, grave);
}

void dctx_thread_clear_kind_(dctx_thread_t *thread, uint32_t kind, dctx_grave_t *grave)
{
    dctx_table_t *table = thread->now.table[kind];
    if (table == NULL || table->count == 0)
        return;
    dctx_frame_t *frame = undoing_frame(thread);
    invalidate_kind(thread, frame, kind, grave);
    put_table_away(thread, frame, kind, grave);
    set_table(thread, kind, NULL, DCTX_OWNED);
}

/* ---- sharing -----------------------------------------------------------------------------------
 */

dctx_error_t dctx_thread_prepare_share_(dctx_thread_t *thread, uint32_t kind)
{
    const dctx_table_t *table = thread->now.table[kind];
    if (table == NULL || table->count == 0 || thread->now.sharing[kind] != DCTX_OWNED ||
        thread->undo_count == thread->now.undo_start || thread->now.spare[kind] != NULL)
        return DCTX_OK;
    thread->now.spare[kind] = dctx_table_new_(thread->now.registry->kind_count[kind]);
    return thread->now.spare[kind] != NULL ? DCTX_OK : DCTX_ERR_NOMEM;
}

dctx_table_t *dctx_thread_share_(dctx_thread_t *thread, uint32_t kind)
{
    dctx_table_t *table = thread->now.table[kind];
    if (table == NULL || table->count == 0)
        return NULL;
    if (thread->now.sharing[kind] == DCTX_OWNED)
        thread->now.sharing[kind] = DCTX_SHARED;
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
    dctx_table_t *table = thread->now.table[kind];
    assert(table != NULL && thread->now.sharing[kind] == DCTX_SHARED);
    if (!dctx_refcount_is_unique(&table->refs)) {
        dctx_table_t *spare = thread->now.spare[kind];
        assert(spare != NULL);
        thread->now.spare[kind] = NULL;
        dctx_table_fill_(spare, table);
        dctx_table_drop_(table, grave);
        set_table(thread, kind, spare, DCTX_OWNED);
    }
    thread->now.sharing[kind] = DCTX_OWNED;
}

dctx_error_t dctx_thread_chain_(dctx_thread_t *thread, dctx_chain_t **ret_chain)
{
    dctx_state_t *now = &thread->now;
    if (now->named == 0) {
        *ret_chain = now->attached != NULL ? dctx_chain_ref_(now->attached->chain) : NULL;
        return DCTX_OK;
    }
    if (now->chain == NULL) {
        dctx_error_t error =
            dctx_chain_build_(dctx_thread_base_chain_(thread), thread->names + now->names_start,
                              now->named, &now->registry->limits, &now->chain);
        if (error != DCTX_OK)
            return error;
    }
    *ret_chain = dctx_chain_ref_(now->chain);
    return DCTX_OK;
}

/* ---- popping -----------------------------------------------------------------------------------
 */

static void undo_values(dctx_thread_t *thread, const dctx_frame_t *frame, dctx_grave_t *grave)
{
    while (thread->undo_count > frame->undo_start) {
        dctx_undo_t entry = thread->undo[--thread->undo_count];
        if (thread->now.sharing[entry.kind] != DCTX_OWNED)
            make_owned(thread, entry.kind, grave);
        dctx_table_t *table = thread->now.table[entry.kind];
        dctx_value_t *value = table->slots[entry.index];
        table->slots[entry.index] = entry.old;
        table->count += (uint32_t)(entry.old != NULL) - (uint32_t)(value != NULL);
        dctx_value_drop_(value, grave);
    }
}

static void pop_scope(dctx_thread_t *thread, const dctx_frame_t *frame, dctx_grave_t *grave)
{
    uint8_t saved = frame->saved;
    /* First, as a snapshot of what is undone now may be the only other holder of a table. */
    for (uint32_t which = 0; which < 2; which++)
        if ((saved & (DCTX_SAVED_CACHED << which)) != 0) {
            uncache(thread, which, grave);
            thread->now.cached[which] = frame->cached[which];
        }
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++)
        if ((saved & (DCTX_SAVED_TABLE << kind)) != 0) {
            let_go(thread, kind, grave);
            set_table(thread, kind, frame->table[kind], frame->sharing[kind]);
        }
    undo_values(thread, frame, grave);
    if ((saved & DCTX_SAVED_EXTRAS) != 0) {
        drop_extras(thread, thread->now.extras, grave);
        thread->now.extras = frame->extras;
    }
    if ((saved & DCTX_SAVED_CHAIN) != 0) {
        dctx_chain_unref_(thread->now.chain);
        thread->now.chain = frame->chain;
        thread->now.named--;
    }
}

static dctx_snapshot_t *pop_attachment(dctx_thread_t *thread, dctx_grave_t *grave)
{
    leave_state(thread, grave);
    dctx_snapshot_t *attached = thread->now.attached;
    dctx_state_t *before = &thread->saved[--thread->saved_count];
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++) {
        dctx_table_t *spare = thread->now.spare[kind];
        if (spare == NULL)
            continue;
        if (before->spare[kind] == NULL && before->registry == thread->now.registry)
            before->spare[kind] = spare;
        else
            dctx_table_free_(spare);
    }
    thread->now = *before;
    return attached;
}

void dctx_thread_pop_(dctx_thread_t *thread)
{
    dctx_grave_t grave = {NULL};
    dctx_snapshot_t *attached = NULL;
    const dctx_frame_t *frame = &thread->frames[thread->depth - 1];
    if (frame->attach)
        attached = pop_attachment(thread, &grave);
    else
        pop_scope(thread, frame, &grave);
    thread->depth--;
    /* From here on user code may run. The attached snapshot keeps its registry, and so the types,
     * until the rest is gone. */
    dctx_grave_empty_(&grave);
    dctx_snapshot_unref(&attached);
}
