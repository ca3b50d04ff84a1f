/* Scopes, attachments, and the chain of their names. */
#include <string.h>

#include <dcontext/runtime.h>

#include "counters.h"
#include "fail.h"
#include "name.h"
#include "thread.h"

/* ---- opening --------------------------------------------------------------------------------- */

static __attribute__((noinline)) dctx_error_t refused(dctx_error_t error, dctx_scope_t *ret_scope)
{
    dctx_count_(DCTX_COUNT_SCOPE_REFUSED);
    *ret_scope = (dctx_scope_t){0, NULL, error};
    return error;
}

static __attribute__((noinline)) dctx_error_t check_name(const dctx_limits_t *limits,
                                                         const char *name, size_t size)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    if (size > limits->name_bytes)
        return dctx_fail_(DCTX_ERR_LIMIT, "scope '%s': the name is %zu bytes; name_bytes is %zu",
                          dctx_name_show_(name, size, shown), size, limits->name_bytes);
    if (!dctx_name_is_clean_(name, size))
        return dctx_fail_(DCTX_ERR_INVALID, "scope '%s': control characters in the name",
                          dctx_name_show_(name, size, shown));
    return DCTX_OK;
}

dctx_error_t dctx_scope_check_name_(const dctx_registry_t *registry, const char *name)
{
    return name == NULL ? DCTX_OK : check_name(&registry->limits, name, strlen(name));
}

typedef uint8_t v16_t __attribute__((vector_size(16)));
typedef uint64_t v2x64_t __attribute__((vector_size(16)));

/* Copies a name, and says whether it is clean. Most are of these sizes, and this is most of what a
 * push does. */
static inline bool take_name(char *dst, const char *src, size_t size)
{
    if (size < 8 || size > 16) {
        memcpy(dst, src, size);
        return dctx_name_is_clean_(src, size);
    }
    uint64_t head, tail;
    memcpy(&head, src, 8);
    memcpy(&tail, src + size - 8, 8);
    memcpy(dst, &head, 8);
    memcpy(dst + size - 8, &tail, 8);
    v16_t bytes = (v16_t)(v2x64_t){head, tail};
    v2x64_t controls = (v2x64_t)((bytes < 0x20) | (bytes == 0x7f));
    return (controls[0] | controls[1]) == 0;
}

/* Opens the frame after the top one, whose name, if any, is there already. Cannot fail. */
static inline void open_frame(dctx_thread_t *thread, size_t size, unsigned flags,
                              dctx_scope_t *ret_scope)
{
    uint64_t serial = thread->serial + 1;
    if (__builtin_expect(serial % DCTX_SERIAL_BLOCK <= 1, 0))
        serial = dctx_thread_new_serials_() + 1;
    thread->serial = serial;
    dctx_frame_t *frame = ++thread->top;
    frame->serial = serial;
    frame->undo_start = thread->undo_count;
    frame->flags = (uint8_t)flags;
    frame->name_size = (uint8_t)size;
    if (size > 0)
        thread->names[thread->name_count++] = (dctx_bytes_t){frame->name, size};
    *ret_scope = (dctx_scope_t){serial, thread, DCTX_OK};
}

/* What a named frame puts away at once: the chain is another from there on, and at the pop it is
 * the old one again. */
#define NAMED                                                                                      \
    (DCTX_SAVED_CHAIN | DCTX_SAVED_CACHED << DCTX_CAPTURE | DCTX_SAVED_CACHED << DCTX_FORK)

/* Puts a name where the next frame will find it. */
static inline bool place_name(const dctx_thread_t *thread, const dctx_registry_t *registry,
                              const char *name, size_t size)
{
    return __builtin_expect(size <= registry->limits.name_bytes, 1) &&
           __builtin_expect(take_name(thread->top[1].name, name, size), 1);
}

dctx_error_t dctx_scope_push_(const char *name, size_t size, dctx_scope_t *ret_scope)
{
    dctx_thread_t *thread = dctx_thread_();
    if (__builtin_expect(thread == NULL, 0))
        return refused(DCTX_ERR_NOMEM, ret_scope);
    const dctx_registry_t *registry = dctx_hot_.registry;
    if (__builtin_expect(thread->top == thread->limit, 0)) {
        dctx_error_t error = dctx_thread_make_room_(thread, registry);
        if (error != DCTX_OK)
            return refused(error, ret_scope);
    }
    if (size == 0) {
        open_frame(thread, 0, 0, ret_scope);
        return DCTX_OK;
    }
    if (!place_name(thread, registry, name, size))
        return refused(check_name(&registry->limits, name, size), ret_scope);
    dctx_state_t *state = dctx_thread_state_(thread);
    dctx_kept_move_(&thread->top[1].kept, &state->kept);
    state->sent = false;
    open_frame(thread, size, NAMED, ret_scope);
    return DCTX_OK;
}

/* ---- attaching ------------------------------------------------------------------------------- */

/* Whose reference an attachment lives by. */
typedef enum keeping {
    KEEPS_ONE,  /* one of its own, besides the caller's */
    KEEPS_THAT, /* the caller's, which is taken over */
    KEEPS_NONE  /* the caller's, which stays his until after the end */
} keeping_t;

/* A new state, with just what reading needs. */
static inline void enter(dctx_thread_t *thread, dctx_snapshot_t *snapshot, keeping_t keeping)
{
    dctx_state_t *before = thread->state;
    before->registry = dctx_hot_.registry;
    before->table[0] = dctx_hot_.table[0];
    before->table[1] = dctx_hot_.table[1];
    if (keeping == KEEPS_ONE)
        dctx_refcount_add(&snapshot->refs, 1);
    dctx_hot_.table[0] = snapshot->table[0];
    dctx_hot_.table[1] = snapshot->table[1];
    dctx_state_t *state = before + 1;
    state->attached = snapshot;
    state->names_start = thread->name_count;
    state->undo_start = thread->undo_count;
    state->pristine = true;
    state->lent = keeping == KEEPS_NONE;
    state->sent = false;
    thread->state = state;
    if (__builtin_expect(dctx_hot_.registry != snapshot->registry, 0)) {
        dctx_hot_.registry = snapshot->registry;
        dctx_thread_set_limit_(thread);
    }
}

static __attribute__((noinline)) dctx_error_t make_room(dctx_thread_t *thread,
                                                        const dctx_registry_t *registry)
{
    dctx_error_t error = dctx_thread_make_room_(thread, registry);
    if (error == DCTX_OK && thread->state == thread->state_limit)
        error = dctx_thread_grow_states_(thread);
    return error;
}

static inline dctx_error_t attach(const dctx_snapshot_t *snapshot, const char *name, size_t size,
                                  keeping_t keeping, dctx_scope_t *ret_scope)
{
    if (__builtin_expect(snapshot == NULL, 0))
        return refused(dctx_fail_(DCTX_ERR_INVALID, "no snapshot to attach"), ret_scope);
    dctx_thread_t *thread = dctx_thread_();
    if (__builtin_expect(thread == NULL, 0))
        return refused(DCTX_ERR_NOMEM, ret_scope);
    if (__builtin_expect(thread->top == thread->limit, 0) ||
        __builtin_expect(snapshot->registry != dctx_hot_.registry, 0) ||
        __builtin_expect(thread->state == thread->state_limit, 0)) {
        dctx_error_t error = make_room(thread, snapshot->registry);
        if (error != DCTX_OK)
            return refused(error, ret_scope);
    }
    if (size > 0 && !place_name(thread, snapshot->registry, name, size))
        return refused(check_name(&snapshot->registry->limits, name, size), ret_scope);
    enter(thread, (dctx_snapshot_t *)(uintptr_t)snapshot, keeping);
    open_frame(thread, size, DCTX_FRAME_ATTACH, ret_scope);
    return DCTX_OK;
}

dctx_error_t dctx_attach_(const dctx_snapshot_t *snapshot, const char *name, size_t size,
                          dctx_scope_t *ret_scope)
{
    return attach(snapshot, name, size, KEEPS_ONE, ret_scope);
}

dctx_error_t dctx_attach_lent_(const dctx_snapshot_t *snapshot, const char *name, size_t size,
                               dctx_scope_t *ret_scope)
{
    return attach(snapshot, name, size, KEEPS_NONE, ret_scope);
}

dctx_error_t dctx_attach_taken_(dctx_snapshot_t *snapshot, const char *name, size_t size,
                                dctx_scope_t *ret_scope)
{
    return attach(snapshot, name, size, KEEPS_THAT, ret_scope);
}

dctx_error_t dctx_attach_ready_(const char *name, size_t size)
{
    dctx_scope_t none;
    const dctx_thread_t *thread = dctx_thread_();
    if (__builtin_expect(thread == NULL, 0))
        return refused(DCTX_ERR_NOMEM, &none);
    const dctx_registry_t *registry = dctx_hot_.registry;
    if (__builtin_expect(thread->top == thread->limit, 0) ||
        __builtin_expect(thread->state == thread->state_limit, 0)) {
        dctx_error_t error = make_room(dctx_hot_.thread, registry);
        if (error != DCTX_OK)
            return refused(error, &none);
    }
    if (size > 0 && !place_name(thread, registry, name, size))
        return refused(check_name(&registry->limits, name, size), &none);
    return DCTX_OK;
}

dctx_error_t dctx_attach(const dctx_snapshot_t *snapshot, dctx_scope_t *ret_scope)
{
    return attach(snapshot, NULL, 0, KEEPS_ONE, ret_scope);
}

/* What the header does without a call to find the length. */
dctx_error_t(dctx_scope_push)(const char *name, dctx_scope_t *ret_scope)
{
    return dctx_scope_push(name, ret_scope);
}

dctx_error_t(dctx_attach_scope)(const dctx_snapshot_t *snapshot, const char *name,
                                dctx_scope_t *ret_scope)
{
    return dctx_attach_scope(snapshot, name, ret_scope);
}

/* ---- closing --------------------------------------------------------------------------------- */

/* Serials grow from the bottom to the top. */
static dctx_frame_t *find_frame(const dctx_thread_t *thread, uint64_t serial)
{
    uint32_t low = 1;
    uint32_t high = dctx_thread_depth_(thread) + 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        dctx_frame_t *frame = &thread->frames[middle];
        if (frame->serial == serial)
            return frame;
        if (frame->serial < serial)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static dctx_error_t misused(dctx_error_t error)
{
    dctx_count_(DCTX_COUNT_SCOPE_MISUSE);
    dctx_log(DCTX_LOG_WARNING, "scope misuse: %s", dctx_error_detail());
    return error;
}

static const char *kind_of(const dctx_frame_t *frame)
{
    return (frame->flags & DCTX_FRAME_ATTACH) != 0 ? "attachment" : "scope";
}

static dctx_error_t close_out_of_order(dctx_thread_t *thread, uint64_t serial)
{
    dctx_frame_t *frame = find_frame(thread, serial);
    if (frame == NULL || (frame->flags & DCTX_FRAME_CLOSING) != 0)
        return misused(dctx_fail_(DCTX_ERR_NOT_OPEN, "the scope was popped before"));
    frame->flags |= DCTX_FRAME_CLOSING;
    const dctx_frame_t *top = thread->top;
    return misused(dctx_fail_(
        DCTX_ERR_SCOPE_ORDER, "%s '%.*s' is popped while %s '%.*s', opened later, is still open",
        kind_of(frame), frame->name_size, frame->name, kind_of(top), top->name_size, top->name));
}

/* Every token but that of the top frame. */
static dctx_error_t pop_odd(dctx_scope_t *scope)
{
    if (scope == NULL)
        return DCTX_OK;
    uint64_t serial = scope->serial_;
    dctx_thread_t *thread = dctx_hot_.thread;
    if (serial != 0 && (thread == NULL || scope->owner_ != thread))
        return misused(dctx_fail_(DCTX_ERR_WRONG_THREAD,
                                  "the scope was opened on another thread; it stays open there"));
    *scope = (dctx_scope_t){0, NULL, DCTX_OK};
    return serial != 0 ? close_out_of_order(thread, serial) : DCTX_OK;
}

/* A frame that was popped too early, and only had to wait for those above it. */
static inline bool waits(const dctx_thread_t *thread)
{
    return (thread->top->flags & DCTX_FRAME_CLOSING) != 0;
}

/* Ends the top frame if nothing was done in it that needs undoing or releasing, as
 * dctx_thread_pop_() would. */
static inline bool pop_quickly(dctx_thread_t *thread)
{
    const dctx_frame_t *frame = thread->top;
    dctx_state_t *state = thread->state;
    if (thread->undo_count != frame->undo_start)
        return false;
    if (frame->flags == NAMED) {
        if (((uintptr_t)state->kept.chain | (uintptr_t)state->kept.cached[0] |
             (uintptr_t)state->kept.cached[1]) != 0)
            return false;
        dctx_kept_move_(&state->kept, &thread->top->kept);
        state->sent = false;
        thread->name_count--;
    } else if (frame->flags == DCTX_FRAME_ATTACH && state->pristine) {
        dctx_snapshot_t *attached = dctx_thread_leave_(thread);
        if (attached != NULL && dctx_refcount_drop(&attached->refs, 1))
            dctx_snapshot_bury_(attached);
        return true;
    } else if (frame->flags != 0) {
        return false;
    }
    thread->top--;
    return true;
}

/*
 * Ends the top frame, and those below it that were popped too early. Destructors run in between.
 * They may push and pop scopes of their own, and would find scopes gone if such a pop ended what
 * waits below: so it leaves everything down to the floor to us.
 */
static void pop_with_waiting(dctx_thread_t *thread)
{
    uint32_t floor = thread->floor;
    do {
        thread->floor = dctx_thread_depth_(thread) - 1;
        dctx_thread_pop_(thread);
    } while (waits(thread) && dctx_thread_depth_(thread) > floor);
    thread->floor = floor;
}

dctx_error_t dctx_scope_pop(dctx_scope_t *scope)
{
    dctx_thread_t *thread = dctx_hot_.thread;
    if (__builtin_expect(scope == NULL || thread == NULL || scope->owner_ != thread, 0) ||
        __builtin_expect(thread->top->serial != scope->serial_, 0) ||
        __builtin_expect((thread->top->flags & DCTX_FRAME_CLOSING) != 0, 0))
        return pop_odd(scope);
    *scope = (dctx_scope_t){0, NULL, DCTX_OK};
    if (__builtin_expect((thread->top[-1].flags & DCTX_FRAME_CLOSING) != 0, 0))
        pop_with_waiting(thread);
    else if (!pop_quickly(thread))
        dctx_thread_pop_(thread);
    return DCTX_OK;
}

size_t dctx_scope_unwind_(dctx_scope_t *scope)
{
    dctx_thread_t *thread = dctx_hot_.thread;
    if (scope == NULL || thread == NULL || scope->owner_ != thread)
        return 0;
    uint64_t serial = scope->serial_;
    if (__builtin_expect(thread->top->serial == serial && serial != 0, 1)) {
        (void)dctx_scope_pop(scope);
        return 0;
    }
    const dctx_frame_t *frame = find_frame(thread, serial);
    *scope = (dctx_scope_t){0, NULL, DCTX_OK};
    if (frame == NULL)
        return 0;
    size_t above = (size_t)(thread->top - frame);
    /* By serial: popping runs user code, and frames[] may move meanwhile. */
    while (find_frame(thread, serial) != NULL || waits(thread))
        dctx_thread_pop_(thread);
    return above;
}

dctx_error_t dctx_scope_error(const dctx_scope_t *scope)
{
    return scope != NULL ? scope->error_ : DCTX_OK;
}

size_t dctx_scope_depth(void)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    return thread != NULL ? dctx_thread_depth_(thread) : 0;
}

/* ---- guards ---------------------------------------------------------------------------------- */

void dctx_scope_cleanup_(dctx_scope_t *scope)
{
    (void)dctx_scope_pop(scope);
}

/* ---- the chain ------------------------------------------------------------------------------- */

size_t dctx_chain_format(char *buffer, size_t size)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    if (thread == NULL) {
        if (size > 0)
            buffer[0] = '\0';
        return 0;
    }
    return dctx_chain_format_(dctx_thread_base_chain_(thread), dctx_thread_names_(thread),
                              dctx_thread_named_(thread), &dctx_hot_.registry->limits, buffer,
                              size);
}

static dctx_chain_plan_t plan(const dctx_thread_t *thread)
{
    return dctx_chain_plan_(dctx_thread_base_chain_(thread), dctx_thread_named_(thread),
                            &dctx_hot_.registry->limits);
}

size_t dctx_chain_length(void)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    if (thread == NULL)
        return 0;
    dctx_chain_plan_t made = plan(thread);
    return dctx_chain_plan_count_(&made);
}

uint64_t dctx_chain_elided(void)
{
    const dctx_thread_t *thread = dctx_hot_.thread;
    return thread != NULL ? plan(thread).elided : 0;
}
