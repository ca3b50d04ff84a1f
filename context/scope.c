/* Scopes, attachments, and the chain of their names. */
#include <string.h>

#include <dcontext/runtime.h>

#include "counters.h"
#include "fail.h"
#include "name.h"
#include "thread.h"

/* ---- opening -----------------------------------------------------------------------------------
 */

static dctx_error_t refused(dctx_error_t error, dctx_scope_t *ret_scope)
{
    dctx_count_(DCTX_COUNT_SCOPE_REFUSED);
    ret_scope->error_ = error;
    return error;
}

static dctx_error_t check_name(const dctx_limits_t *limits, const char *name, size_t size)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    if (size > limits->name_bytes)
        return dctx_fail_(DCTX_ERR_LIMIT, "scope '%s': the name is %zu bytes; name_bytes is %zu",
                          dctx_name_show_(name, size, shown), strlen(name), limits->name_bytes);
    if (!dctx_name_is_clean_(name, size))
        return dctx_fail_(DCTX_ERR_INVALID, "scope '%s': control characters in the name",
                          dctx_name_show_(name, size, shown));
    return DCTX_OK;
}

dctx_error_t dctx_scope_check_name_(const dctx_registry_t *registry, const char *name)
{
    return name == NULL
               ? DCTX_OK
               : check_name(&registry->limits, name, strnlen(name, DCTX_NAME_BYTES_MAX + 1));
}

/* All that can fail in opening a frame with that name in that registry. */
static dctx_error_t prepare(dctx_thread_t *thread, const dctx_limits_t *limits, const char *name,
                            size_t size)
{
    if (__builtin_expect(thread->depth >= limits->scope_depth, 0))
        return dctx_fail_(DCTX_ERR_LIMIT, "%u scopes are open; scope_depth is %zu", thread->depth,
                          limits->scope_depth);
    if (size > 0) {
        dctx_error_t error = check_name(limits, name, size);
        if (__builtin_expect(error != DCTX_OK, 0))
            return error;
    }
    if (__builtin_expect(thread->depth == thread->frame_capacity, 0))
        return dctx_thread_grow_frames_(thread);
    return DCTX_OK;
}

/* Cannot fail. The state is the one in which the frame is to be. */
static dctx_frame_t *open_frame(dctx_thread_t *thread, const char *name, size_t size,
                                dctx_scope_t *ret_scope)
{
    if (__builtin_expect(thread->serial_next == thread->serial_end, 0))
        dctx_thread_refill_serials_(thread);
    dctx_frame_t *frame = &thread->frames[thread->depth++];
    frame->serial = thread->serial_next++;
    frame->logged[0] = 0;
    frame->logged[1] = 0;
    frame->undo_start = thread->undo_count;
    frame->saved = 0;
    frame->closing = false;
    frame->name_size = (uint8_t)size;
    if (size > 0) {
        memcpy(frame->name, name, size);
        thread->names[thread->now.names_start + thread->now.named++] =
            (dctx_bytes_t){frame->name, size};
    }
    *ret_scope = (dctx_scope_t){frame->serial, thread, DCTX_OK};
    return frame;
}

static size_t name_length(const char *name)
{
    return name != NULL ? strnlen(name, DCTX_NAME_BYTES_MAX + 1) : 0;
}

dctx_error_t dctx_scope_push(const char *name, dctx_scope_t *ret_scope)
{
    *ret_scope = (dctx_scope_t){0, NULL, DCTX_OK};
    dctx_thread_t *thread = dctx_thread_();
    if (thread == NULL)
        return refused(DCTX_ERR_NOMEM, ret_scope);
    const dctx_registry_t *registry = thread->now.registry;
    if (__builtin_expect(!dctx_registry_frozen_(registry), 0))
        return refused(dctx_fail_(DCTX_ERR_NOT_FROZEN, "freeze the registry before opening scopes"),
                       ret_scope);
    size_t size = name_length(name);
    dctx_error_t error = prepare(thread, &registry->limits, name, size);
    if (__builtin_expect(error != DCTX_OK, 0))
        return refused(error, ret_scope);
    dctx_frame_t *frame = open_frame(thread, name, size, ret_scope);
    frame->attach = false;
    if (size > 0) {
        /* The chain is another from here on, and at the pop it is this one again. */
        frame->saved =
            DCTX_SAVED_CHAIN | DCTX_SAVED_CACHED << DCTX_CAPTURE | DCTX_SAVED_CACHED << DCTX_FORK;
        frame->chain = thread->now.chain;
        frame->cached[0] = thread->now.cached[0];
        frame->cached[1] = thread->now.cached[1];
        thread->now.chain = NULL;
        thread->now.cached[0] = NULL;
        thread->now.cached[1] = NULL;
    }
    return DCTX_OK;
}

/* ---- attaching ---------------------------------------------------------------------------------
 */

static void enter(dctx_thread_t *thread, dctx_snapshot_t *snapshot, bool named)
{
    dctx_state_t *before = &thread->saved[thread->saved_count++];
    *before = thread->now;
    dctx_state_t *now = &thread->now;
    now->registry = snapshot->registry;
    now->serial = snapshot->registry->serial;
    for (uint32_t kind = 0; kind < DCTX_KINDS; kind++) {
        dctx_table_t *table = snapshot->table[kind];
        now->table[kind] = table;
        now->sharing[kind] = table != NULL ? DCTX_BORROWED : DCTX_OWNED;
        now->slots[kind] = table != NULL ? table->slots : dctx_no_slots_;
        /* Spare memory is lent to the new state, unless the old one may need it. */
        if (now->spare[kind] != NULL) {
            if (before->registry == now->registry && before->undo_start == thread->undo_count)
                before->spare[kind] = NULL;
            else
                now->spare[kind] = NULL;
        }
    }
    now->attached = dctx_snapshot_ref(snapshot);
    now->extras = snapshot->extras;
    bool whole = !named;
    now->cached[DCTX_FORK] = whole ? snapshot : NULL;
    now->cached[DCTX_CAPTURE] =
        whole && dctx_snapshot_kind_count_(snapshot, DCTX_KIND_LOCAL) == 0 ? snapshot : NULL;
    now->chain = NULL;
    now->names_start = before->names_start + before->named;
    now->named = 0;
    now->undo_start = thread->undo_count;
}

dctx_error_t dctx_attach_scope(const dctx_snapshot_t *snapshot, const char *name,
                               dctx_scope_t *ret_scope)
{
    *ret_scope = (dctx_scope_t){0, NULL, DCTX_OK};
    if (snapshot == NULL)
        return refused(dctx_fail_(DCTX_ERR_INVALID, "no snapshot to attach"), ret_scope);
    dctx_thread_t *thread = dctx_thread_();
    if (thread == NULL)
        return refused(DCTX_ERR_NOMEM, ret_scope);
    size_t size = name_length(name);
    dctx_error_t error = prepare(thread, &snapshot->registry->limits, name, size);
    if (error == DCTX_OK && __builtin_expect(thread->saved_count == thread->saved_capacity, 0))
        error = dctx_thread_grow_saved_(thread);
    if (__builtin_expect(error != DCTX_OK, 0))
        return refused(error, ret_scope);
    enter(thread, (dctx_snapshot_t *)(uintptr_t)snapshot, size > 0);
    open_frame(thread, name, size, ret_scope)->attach = true;
    return DCTX_OK;
}

dctx_error_t dctx_attach(const dctx_snapshot_t *snapshot, dctx_scope_t *ret_scope)
{
    return dctx_attach_scope(snapshot, NULL, ret_scope);
}

/* ---- closing -----------------------------------------------------------------------------------
 */

/* Serials grow from the bottom to the top. */
static dctx_frame_t *find_frame(const dctx_thread_t *thread, uint64_t serial)
{
    uint32_t low = 0;
    uint32_t high = thread->depth;
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

static dctx_error_t close_out_of_order(dctx_thread_t *thread, uint64_t serial)
{
    dctx_frame_t *frame = find_frame(thread, serial);
    if (frame == NULL || frame->closing)
        return misused(dctx_fail_(DCTX_ERR_NOT_OPEN, "the scope was popped before"));
    frame->closing = true;
    const dctx_frame_t *top = &thread->frames[thread->depth - 1];
    return misused(dctx_fail_(DCTX_ERR_SCOPE_ORDER,
                              "%s '%.*s' is popped while %s '%.*s', opened later, is still open",
                              frame->attach ? "attachment" : "scope", frame->name_size, frame->name,
                              top->attach ? "attachment" : "scope", top->name_size, top->name));
}

dctx_error_t dctx_scope_pop(dctx_scope_t *scope)
{
    if (scope == NULL)
        return DCTX_OK;
    uint64_t serial = scope->serial_;
    dctx_thread_t *thread = dctx_thread_self_;
    if (serial != 0 && __builtin_expect(thread == NULL || scope->owner_ != thread, 0))
        return misused(dctx_fail_(DCTX_ERR_WRONG_THREAD,
                                  "the scope was opened on another thread; it stays open there"));
    *scope = (dctx_scope_t){0, NULL, DCTX_OK};
    if (serial == 0)
        return DCTX_OK;
    if (__builtin_expect(thread->depth == 0 || thread->frames[thread->depth - 1].serial != serial ||
                             thread->frames[thread->depth - 1].closing,
                         0))
        return close_out_of_order(thread, serial);
    dctx_thread_pop_(thread);
    /* Those that were popped too early, and had to wait for this one. */
    while (thread->depth > 0 && __builtin_expect(thread->frames[thread->depth - 1].closing, 0))
        dctx_thread_pop_(thread);
    return DCTX_OK;
}

dctx_error_t dctx_scope_error(const dctx_scope_t *scope)
{
    return scope != NULL ? scope->error_ : DCTX_OK;
}

size_t dctx_scope_depth(void)
{
    const dctx_thread_t *thread = dctx_thread_self_;
    return thread != NULL ? thread->depth : 0;
}

/* ---- guards ------------------------------------------------------------------------------------
 */

dctx_scope_t dctx_scope_guard_(const char *name)
{
    dctx_scope_t scope;
    (void)dctx_scope_push(name, &scope);
    return scope;
}

dctx_scope_t dctx_attach_guard_(const dctx_snapshot_t *snapshot, const char *name)
{
    dctx_scope_t scope;
    (void)dctx_attach_scope(snapshot, name, &scope);
    return scope;
}

void dctx_scope_cleanup_(dctx_scope_t *scope)
{
    (void)dctx_scope_pop(scope);
}

/* ---- the chain ---------------------------------------------------------------------------------
 */

size_t dctx_chain_format(char *buffer, size_t size)
{
    const dctx_thread_t *thread = dctx_thread_self_;
    if (thread == NULL) {
        if (size > 0)
            buffer[0] = '\0';
        return 0;
    }
    return dctx_chain_format_(dctx_thread_base_chain_(thread),
                              thread->names + thread->now.names_start, thread->now.named,
                              &thread->now.registry->limits, buffer, size);
}

static dctx_chain_plan_t plan(const dctx_thread_t *thread)
{
    return dctx_chain_plan_(dctx_thread_base_chain_(thread), thread->now.named,
                            &thread->now.registry->limits);
}

size_t dctx_chain_length(void)
{
    const dctx_thread_t *thread = dctx_thread_self_;
    if (thread == NULL)
        return 0;
    dctx_chain_plan_t made = plan(thread);
    return dctx_chain_plan_count_(&made);
}

uint64_t dctx_chain_elided(void)
{
    const dctx_thread_t *thread = dctx_thread_self_;
    return thread != NULL ? plan(thread).elided : 0;
}
