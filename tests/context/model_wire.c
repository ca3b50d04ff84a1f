/* Steps of a run: the wire, and other threads. */
#include "model_run.h"

/* ---- steps: the wire ---- */

void step_hop(run_t *run)
{
    held_t *held = any_held(run);
    if (held == NULL)
        return;
    dctx_bytes_t bytes = {NULL, 0};
    mencoding_t expected = mstate_encode(held->model, &run->wire);
    begin_trouble(run);
    dctx_error_t error = dctx_snapshot_encode(held->snapshot, &bytes);
    if (troubled(run, error))
        return;
    CHECK(run, (error == DCTX_OK) == (!expected.over_limit && !expected.refused), "%s",
          dctx_error_name(error));
    if (error != DCTX_OK)
        return;
    int r = (int)below(run, REGISTRIES);
    mstate_t model;
    mstate_rehome(held->model, r, &model);
    dctx_snapshot_t *snapshot = NULL;
    char *text = NULL;
    begin_trouble(run);
    if (one_in(run, 3)) {
        error = dctx_snapshot_to_base64(held->snapshot,
                                        one_in(run, 2) ? DCTX_BASE64 : DCTX_BASE64_URL, &text);
        if (error == DCTX_OK)
            error = dctx_snapshot_from_base64(model_registries[r], text, strlen(text), &snapshot);
        dctx_free(text);
    } else {
        /* A copy of its exact size that goes at once: nothing may point into it. */
        void *copy = malloc(bytes.size);
        CHECK(run, copy != NULL);
        memcpy(copy, bytes.data, bytes.size);
        error = dctx_snapshot_decode(model_registries[r], copy, bytes.size, &snapshot);
        memset(copy, 0xee, bytes.size);
        free(copy);
    }
    if (troubled(run, error))
        return;
    CHECK(run, error == DCTX_OK, "%s", dctx_error_name(error));
    hold(run, snapshot, &model);
}

/* A name in another spelling of the same key. */
static void respell(run_t *run, const char *name, char *ret_name)
{
    size_t i = 0;
    for (; name[i] != '\0'; i++) {
        bool letter = (name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z');
        ret_name[i] = letter && one_in(run, 3) ? (char)(name[i] ^ 0x20) : name[i];
    }
    ret_name[i] = '\0';
}

static void any_received(run_t *run, int i, mvalue_t *value)
{
    static const int widths[] = {-1, 1, 2, 4};
    char name[64];
    respell(run, model_name(i), name);
    const dctx_type_t *type = model_type(below(run, REGISTRIES), i);
    kind_t kind = type == NULL || one_in(run, 6) ? KIND_JUNK : kind_of(type);
    do
        fill(run, value, kind);
    while (value->size > VALUE_LIMIT - 4 || (kind == KIND_THING && value->size == 0));
    value->present = true;
    value->version = 1 + below(run, 4) * below(run, 2);
    if (value->kind != KIND_INT && one_in(run, 3))
        value->version = UINT32_MAX;
    mvalue_entry(value, &(mstyle_t){name, widths[below(run, 4)],
                                    value->version < 128 ? widths[below(run, 4)] : -1,
                                    widths[below(run, 4)], one_in(run, 6)});
}

static void any_chain(run_t *run, mchain_t *chain, wire_t *wire)
{
    *chain = (mchain_t){.count = below(run, CHAIN_LIMIT + 1)};
    for (size_t i = 0; i < chain->count; i++) {
        char name[NAME_LIMIT + 4];
        any_name(run, name);
        strcpy(chain->names[i], name);
    }
    if (chain->count > 0 && one_in(run, 3)) {
        chain->elided = 1 + below(run, 100000);
        chain->mark = below(run, (unsigned)chain->count + 1);
    }
    wire_array(wire, chain->count + (chain->elided > 0), one_in(run, 4) ? 4 : -1);
    for (size_t i = 0; i <= chain->count; i++) {
        if (chain->elided > 0 && chain->mark == i)
            wire_uint(wire, chain->elided, one_in(run, 4) ? 8 : -1);
        if (i == chain->count)
            break;
        size_t size = strlen(chain->names[i]);
        wire_str_head(wire, size, one_in(run, 4) ? 2 : -1);
        wire_raw(wire, chain->names[i], size);
    }
}

/* A stamp from elsewhere: any order, any form of an item, any spelling, things of later
 * versions. */
void step_receive(run_t *run)
{
    static mvalue_t none;
    int r = (int)below(run, REGISTRIES);
    int order[NAMES];
    mvalue_t values[ENTRY_LIMIT];
    size_t count = below(run, ENTRY_LIMIT);
    bool more = one_in(run, 5);
    mstate_t model;
    mstate_init(&model, r);
    for (int i = 0; i < NAMES; i++)
        order[i] = i;
    wire_t wire;
    wire_init(&wire);
    wire_array(&wire, more ? 5 : 3, one_in(run, 4) ? 2 : -1);
    wire_uint(&wire, 1, one_in(run, 4) ? 8 : -1);
    any_chain(run, &model.chain, &wire);
    wire_array(&wire, count, one_in(run, 4) ? 2 : -1);
    for (size_t n = 0; n < count; n++) {
        size_t pick = n + below(run, (unsigned)(NAMES - n));
        int i = order[pick];
        order[pick] = order[n];
        values[n] = none;
        any_received(run, i, &values[n]);
        wire_raw(&wire, values[n].raw, values[n].raw_size);
        mstate_place(&model, i, &values[n]);
    }
    if (more)
        wire_raw(&wire, "\x81\xa1k\x92\x01\xc0\xc0", 7);
    dctx_snapshot_t *snapshot = NULL;
    begin_trouble(run);
    dctx_error_t error =
        dctx_snapshot_decode(r == 0 ? NULL : model_registries[r], wire.data, wire.size, &snapshot);
    bool over = wire.size > STAMP_LIMIT;
    wire_finish(&wire);
    if (troubled(run, error))
        return;
    CHECK(run, error == (over ? DCTX_ERR_LIMIT : DCTX_OK), "%s", dctx_error_name(error));
    if (error == DCTX_OK)
        hold(run, snapshot, &model);
}

/* What the thread has now, as it would leave: also shows that capturing and encoding change
 * nothing. */
void step_send(run_t *run)
{
    dctx_snapshot_t *snapshot = NULL;
    CHECK(run, dctx_capture(&snapshot) == DCTX_OK);
    mstate_t model = *now(run);
    mstate_shorten_chain(&model);
    mstate_drop_locals(&model);
    check_encoding(run, snapshot, &model);
    dctx_snapshot_unref(&snapshot);
    CHECK(run, snapshot == NULL);
}

/* ---- steps: other threads ---- */

void step_exchange(run_t *run)
{
    if (run->board == NULL)
        return;
    unsigned slot = below(run, BOARD);
    held_t *mine = &run->held[below(run, HELD)];
    (void)pthread_mutex_lock(&run->board->lock);
    held_t theirs = run->board->held[slot];
    run->board->held[slot] = *mine;
    *mine = theirs;
    (void)pthread_mutex_unlock(&run->board->lock);
    if (mine->snapshot != NULL)
        check_snapshot(run, mine->snapshot, mine->model);
}

/* The same snapshot on several threads. */
void step_share(run_t *run)
{
    held_t *held = any_held(run);
    if (held == NULL || run->board == NULL)
        return;
    held_t copy = {dctx_snapshot_ref(held->snapshot), malloc(sizeof(mstate_t))};
    CHECK(run, copy.model != NULL && copy.snapshot != NULL);
    *copy.model = *held->model;
    unsigned slot = below(run, BOARD);
    (void)pthread_mutex_lock(&run->board->lock);
    held_t old = run->board->held[slot];
    run->board->held[slot] = copy;
    (void)pthread_mutex_unlock(&run->board->lock);
    drop(&old);
}

void step_wrong_thread(run_t *run)
{
    if (run->board == NULL)
        return;
    mthread_t *thread = run->thread;
    unsigned slot = below(run, BOARD);
    (void)pthread_mutex_lock(&run->board->lock);
    dctx_scope_t theirs = run->board->tokens[slot];
    pthread_t owner = run->board->owners[slot];
    if (thread->depth > 0) {
        run->board->tokens[slot] = thread->frames[thread->depth - 1].token;
        run->board->owners[slot] = pthread_self();
    }
    (void)pthread_mutex_unlock(&run->board->lock);
    if (theirs.serial_ == 0 || pthread_equal(owner, pthread_self()))
        return;
    dctx_scope_t copy = theirs;
    CHECK(run, dctx_scope_pop(&copy) == DCTX_ERR_WRONG_THREAD);
    CHECK(run, memcmp(&copy, &theirs, sizeof(copy)) == 0, "the token changed");
}
