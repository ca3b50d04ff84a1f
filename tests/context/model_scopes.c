/* Steps of a run: scopes and snapshots. */
#include "model_run.h"

/* ---- steps: scopes ---- */

/* The model's half of a frame that opens. */
static mframe_t *open_frame(run_t *run, const dctx_scope_t *token)
{
    mthread_t *thread = run->thread;
    mframe_t *frame = &thread->frames[thread->depth++];
    frame->before = thread->state;
    frame->serial = ++thread->serials;
    frame->token = *token;
    frame->closing = false;
    return frame;
}

static void check_inert(run_t *run, dctx_scope_t *token, dctx_error_t error)
{
    CHECK(run, dctx_scope_error(token) == error);
    CHECK(run, dctx_scope_pop(token) == DCTX_OK);
    CHECK(run, dctx_scope_pop(token) == DCTX_OK);
}

void step_push(run_t *run)
{
    char buffer[NAME_LIMIT + 4];
    const char *name = one_in(run, 8) ? "" : one_in(run, 4) ? NULL : buffer;
    any_name(run, buffer);
    dctx_error_t expected = DCTX_OK;
    if (name == buffer && one_in(run, 20)) {
        strcpy(buffer, "seventeen letters");
        expected = DCTX_ERR_LIMIT;
    } else if (name == buffer && one_in(run, 20)) {
        buffer[0] = one_in(run, 2) ? '\n' : 0x7f;
        expected = DCTX_ERR_INVALID;
    }
    if (run->thread->depth == DEPTH_LIMIT)
        expected = DCTX_ERR_LIMIT;
    dctx_scope_t token;
    memset(&token, 0x5a, sizeof(token));
    begin_trouble(run);
    dctx_error_t error = dctx_scope_push(name, &token);
    if (troubled(run, error)) {
        check_inert(run, &token, error);
        return;
    }
    CHECK(run, error == expected || (run->thread->depth == DEPTH_LIMIT && error != DCTX_OK), "%s",
          dctx_error_name(error));
    if (error != DCTX_OK) {
        check_inert(run, &token, error);
        return;
    }
    CHECK(run, dctx_scope_error(&token) == DCTX_OK);
    open_frame(run, &token);
    if (name != NULL && name[0] != '\0')
        mchain_push(&run->thread->state.chain, name);
}

static void spend(run_t *run, const dctx_scope_t *token)
{
    run->spent[below(run, SPENT)] = *token;
}

static void close_frames(run_t *run)
{
    mthread_t *thread = run->thread;
    do {
        mframe_t *top = &thread->frames[--thread->depth];
        end_loans_of_frame(run, top->serial);
        thread->state = top->before;
    } while (thread->depth > 0 && thread->frames[thread->depth - 1].closing);
}

void pop_frame(run_t *run, size_t at)
{
    mthread_t *thread = run->thread;
    mframe_t *frame = &thread->frames[at];
    bool on_top = at + 1 == thread->depth;
    dctx_scope_t copy = frame->token;
    /* It never needs memory. */
    if (one_in(run, 4))
        watch_fail(1, true);
    dctx_error_t error = dctx_scope_pop(&frame->token);
    watch_relent();
    CHECK(run, error == (on_top ? DCTX_OK : DCTX_ERR_SCOPE_ORDER), "%s", dctx_error_name(error));
    CHECK(run, dctx_scope_pop(&frame->token) == DCTX_OK, "not zeroed");
    frame->closing = true;
    spend(run, &copy);
    if (on_top)
        close_frames(run);
}

void step_pop(run_t *run)
{
    if (run->thread->depth > 0)
        pop_frame(run, run->thread->depth - 1);
}

void step_pop_any(run_t *run)
{
    mthread_t *thread = run->thread;
    if (thread->depth == 0)
        return;
    size_t at = below(run, (unsigned)thread->depth);
    if (!thread->frames[at].closing)
        pop_frame(run, at);
}

void step_pop_spent(run_t *run)
{
    dctx_scope_t copy = run->spent[below(run, SPENT)];
    bool real = copy.serial_ != 0;
    dctx_error_t error = dctx_scope_pop(&copy);
    CHECK(run, error == (real ? DCTX_ERR_NOT_OPEN : DCTX_OK), "%s", dctx_error_name(error));
    CHECK(run, dctx_scope_pop(NULL) == DCTX_OK);
}

/* ---- steps: snapshots ---- */

void drop(held_t *held)
{
    dctx_snapshot_unref(&held->snapshot);
    free(held->model);
    held->model = NULL;
}

void hold(run_t *run, dctx_snapshot_t *snapshot, const mstate_t *model)
{
    held_t *held = &run->held[below(run, HELD)];
    drop(held);
    held->snapshot = snapshot;
    held->model = malloc(sizeof(*model));
    CHECK(run, held->model != NULL);
    *held->model = *model;
    if (one_in(run, 2))
        check_snapshot(run, snapshot, model);
}

held_t *any_held(run_t *run)
{
    held_t *held = &run->held[below(run, HELD)];
    return held->snapshot != NULL ? held : NULL;
}

void step_capture(run_t *run)
{
    bool fork = one_in(run, 2);
    dctx_snapshot_t *snapshot = NULL;
    begin_trouble(run);
    dctx_error_t error = fork ? dctx_fork(&snapshot) : dctx_capture(&snapshot);
    if (troubled(run, error)) {
        CHECK(run, snapshot == NULL);
        return;
    }
    CHECK(run, error == DCTX_OK);
    mstate_t model = *now(run);
    mstate_shorten_chain(&model);
    if (!fork)
        mstate_drop_locals(&model);
    hold(run, snapshot, &model);
}

void step_broadcast(run_t *run)
{
    held_t *held = any_held(run);
    if (held == NULL)
        return;
    mstate_t model = *held->model;
    mstate_drop_locals(&model);
    dctx_snapshot_t *snapshot = NULL;
    begin_trouble(run);
    dctx_error_t error = dctx_snapshot_broadcast(held->snapshot, &snapshot);
    if (troubled(run, error))
        return;
    CHECK(run, error == DCTX_OK);
    hold(run, snapshot, &model);
}

void step_empty(run_t *run)
{
    int r = (int)below(run, REGISTRIES);
    dctx_snapshot_t *snapshot = NULL;
    mstate_t model;
    mstate_init(&model, r);
    begin_trouble(run);
    dctx_registry_t *registry = r == 0 && one_in(run, 2) ? NULL : model_registries[r];
    dctx_error_t error = dctx_snapshot_empty(registry, &snapshot);
    if (troubled(run, error))
        return;
    CHECK(run, error == DCTX_OK);
    hold(run, snapshot, &model);
}

void step_attach(run_t *run)
{
    held_t *held = any_held(run);
    char name[NAME_LIMIT + 4];
    any_name(run, name);
    if (held == NULL)
        return;
    bool named = one_in(run, 2), full = run->thread->depth == DEPTH_LIMIT;
    dctx_error_t expected = full ? DCTX_ERR_LIMIT : DCTX_OK;
    if (named && one_in(run, 16)) {
        name[0] = 0x1f;
        expected = DCTX_ERR_INVALID;
    }
    dctx_scope_t token;
    memset(&token, 0x5a, sizeof(token));
    begin_trouble(run);
    dctx_error_t error = named ? dctx_attach_scope(held->snapshot, name, &token)
                               : dctx_attach(held->snapshot, &token);
    if (troubled(run, error)) {
        check_inert(run, &token, error);
        return;
    }
    CHECK(run, error == expected || (full && error != DCTX_OK), "%s", dctx_error_name(error));
    if (error != DCTX_OK) {
        check_inert(run, &token, error);
        return;
    }
    mframe_t *frame = open_frame(run, &token);
    run->thread->state = *held->model;
    for (int i = 0; i < NAMES; i++)
        run->thread->state.slots[i].frame = frame->serial;
    if (named)
        mchain_push(&run->thread->state.chain, name);
    /* What it was may go: the thread holds it. */
    if (one_in(run, 2))
        drop(held);
}

void step_merge(run_t *run)
{
    held_t *held = any_held(run);
    if (held == NULL)
        return;
    begin_trouble(run);
    dctx_error_t error = dctx_merge(held->snapshot);
    if (troubled(run, error))
        return;
    if (held->model->registry != now(run)->registry) {
        CHECK(run, error == DCTX_ERR_REGISTRY);
        return;
    }
    CHECK(run, error == DCTX_OK);
    mstate_merge(&run->thread->state, held->model, top_serial(run));
    for (int i = 0; i < NAMES; i++)
        if (held->model->slots[i].present)
            end_loan(run, i);
}

void step_inspect(run_t *run)
{
    held_t *held = any_held(run);
    if (held != NULL)
        check_snapshot(run, held->snapshot, held->model);
}

void step_drop(run_t *run)
{
    held_t *held = any_held(run);
    if (held != NULL)
        drop(held);
}
