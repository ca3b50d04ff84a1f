/*
 * Long random sequences of every operation, held against the reference model after each step, on
 * one thread and on several that exchange snapshots; every now and then an allocation fails, and
 * then nothing may have changed.
 *
 * DCTX_SEED repeats a failure (of the single-threaded test exactly; with several threads the order
 * of exchanges is the machine's), DCTX_STEPS makes it longer.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"
#include "watch.h"

enum { HELD = 24, BOARD = 8, THREADS = 4, STEPS = 20000, SPENT = 16 };

typedef struct held {
    dctx_snapshot_t *snapshot;
    mstate_t *model;
} held_t;

/* A borrowed pointer, and what it must go on saying. */
typedef struct borrowed {
    const void *got;
    int registry;
    uint64_t frame;
    mview_t view;
} borrowed_t;

typedef struct board {
    pthread_mutex_t lock;
    pthread_barrier_t end;
    held_t held[BOARD];
    dctx_scope_t tokens[BOARD]; /* copies, of scopes that may be open on some thread */
    pthread_t owners[BOARD];
} board_t;

typedef struct run {
    uint64_t seed;
    uint64_t random;
    unsigned steps, step;
    const char *doing;
    board_t *board; /* NULL: alone */
    mthread_t *thread;
    held_t held[HELD];
    borrowed_t borrowed[NAMES];
    dctx_scope_t spent[SPENT]; /* copies of tokens that were popped */
    wire_t wire;
} run_t;

#define CHECK(run, condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            differs((run), __LINE__, #condition, " " __VA_ARGS__);                                 \
    } while (0)

/* Any thread may find a difference, and only the main one could fail by an assertion. */
__attribute__((noreturn, format(printf, 4, 5))) static void
differs(const run_t *run, int line, const char *condition, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "model_test.c:%d: DCTX_SEED=%llu step %u, %s: %s:", line,
            (unsigned long long)run->seed, run->step, run->doing, condition);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (%s)\n", dctx_error_detail());
    abort();
}

/* ---- chance
 * -------------------------------------------------------------------------------------- */

static uint64_t chance(run_t *run)
{
    /* splitmix64 */
    uint64_t z = run->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static unsigned below(run_t *run, unsigned bound)
{
    return (unsigned)(chance(run) % bound);
}

static bool one_in(run_t *run, unsigned odds)
{
    return below(run, odds) == 0;
}

/* ---- the library against the model
 * --------------------------------------------------------------- */

static const mstate_t *now(const run_t *run)
{
    return &run->thread->state;
}

static uint64_t top_serial(const run_t *run)
{
    return run->thread->depth > 0 ? run->thread->frames[run->thread->depth - 1].serial : 0;
}

static void check_chain(run_t *run, const mstate_t *expected, size_t length, uint64_t elided,
                        size_t (*format)(const void *, char *, size_t), const void *arg)
{
    char text[CHAIN_LIMIT * (NAME_LIMIT + 3) + 64], want[sizeof(text)], cut[32];
    CHECK(run, length == expected->chain.count, "%zu, not %zu", length, expected->chain.count);
    CHECK(run, elided == expected->chain.elided);
    size_t size = mchain_format(&expected->chain, want, sizeof(want));
    CHECK(run, format(arg, text, sizeof(text)) == size);
    CHECK(run, strcmp(text, want) == 0, "chain '%s', not '%s'", text, want);
    size_t room = 1 + below(run, sizeof(cut));
    CHECK(run, format(arg, cut, room) == size);
    CHECK(run, strlen(cut) < room && strncmp(cut, want, strlen(cut)) == 0);
}

static size_t format_thread(const void *arg, char *buffer, size_t size)
{
    (void)arg;
    return dctx_chain_format(buffer, size);
}

static size_t format_snapshot(const void *arg, char *buffer, size_t size)
{
    return dctx_snapshot_chain_format(arg, buffer, size);
}

static void check_value(run_t *run, const mstate_t *state, int r, int i, const void *got)
{
    mview_t view = {.readable = false};
    if (r == state->registry)
        mstate_read(state, i, &view);
    CHECK(run, mview_matches(&view, model_type(r, i), got), "%s of registry %d, depth %zu: %s",
          model_name(i), r, run->thread->depth, got == NULL ? "absent" : "wrong");
}

static void borrow(run_t *run, int i, const void *got)
{
    if (got == NULL)
        return;
    borrowed_t *borrowed = &run->borrowed[i];
    borrowed->got = got;
    borrowed->registry = now(run)->registry;
    borrowed->frame = now(run)->slots[i].frame;
    mstate_read(now(run), i, &borrowed->view);
}

/* The thread's own doing ended the loan: this key was set or unset. */
static void end_loan(run_t *run, int i)
{
    run->borrowed[i].got = NULL;
}

static void end_loans_of_frame(run_t *run, uint64_t serial)
{
    for (int i = 0; i < NAMES; i++)
        if (run->borrowed[i].frame == serial)
            end_loan(run, i);
}

static void check_loans(run_t *run)
{
    for (int i = 0; i < NAMES; i++) {
        const borrowed_t *borrowed = &run->borrowed[i];
        CHECK(run,
              borrowed->got == NULL ||
                  mview_matches(&borrowed->view, model_type(borrowed->registry, i), borrowed->got),
              "a borrowed %s changed", model_name(i));
    }
}

static void check_thread(run_t *run)
{
    const mstate_t *state = now(run);
    bool values = false;
    for (int r = 0; r < REGISTRIES; r++) {
        for (int i = 0; i < NAMES; i++) {
            const dctx_key_t *key = model_key(r, i);
            if (key == NULL)
                continue;
            const void *got = dctx_get(key);
            check_value(run, state, r, i, got);
            values |= got != NULL;
            if (r == state->registry && run->borrowed[i].got == NULL)
                borrow(run, i, got);
        }
    }
    check_loans(run);
    mstate_t shown = *state;
    mstate_shorten_chain(&shown);
    check_chain(run, &shown, dctx_chain_length(), dctx_chain_elided(), format_thread, NULL);
    CHECK(run, dctx_scope_depth() == run->thread->depth);
    CHECK(run, dctx_current_registry() == model_registries[state->registry]);
    if (values || run->thread->depth > 0 || !mstate_has_entries(state))
        CHECK(run, dctx_is_empty() == (!values && run->thread->depth == 0));
}

static void check_encoding(run_t *run, const dctx_snapshot_t *snapshot, const mstate_t *model)
{
    dctx_bytes_t bytes = {NULL, 0};
    mencoding_t expected = mstate_encode(model, &run->wire);
    dctx_error_t error = dctx_snapshot_encode(snapshot, &bytes);
    if (expected.over_limit || expected.refused) {
        CHECK(run,
              (expected.over_limit && error == DCTX_ERR_LIMIT) ||
                  (expected.refused && error == DCTX_ERR_CODEC),
              "%s, %zu bytes", dctx_error_name(error), run->wire.size);
        CHECK(run, bytes.data == NULL && dctx_error_detail()[0] != '\0');
        return;
    }
    CHECK(run, error == DCTX_OK, "%s", dctx_error_name(error));
    CHECK(run, bytes.size == run->wire.size && memcmp(bytes.data, run->wire.data, bytes.size) == 0,
          "%zu bytes, not %zu, or others", bytes.size, run->wire.size);
}

static void check_snapshot(run_t *run, const dctx_snapshot_t *snapshot, const mstate_t *model)
{
    size_t values = 0, unknown = 0;
    for (int r = 0; r < REGISTRIES; r++) {
        for (int i = 0; i < NAMES; i++) {
            if (model_key(r, i) != NULL)
                check_value(run, model, r, i, dctx_snapshot_get(snapshot, model_key(r, i)));
        }
    }
    for (int i = 0; i < NAMES; i++) {
        values += model->slots[i].present;
        unknown += model->extras[i].present;
    }
    CHECK(run, dctx_snapshot_count(snapshot) == values);
    CHECK(run, dctx_snapshot_unknown_count(snapshot) == unknown);
    for (int i = 0; i < NAMES; i++) {
        bool found = false;
        for (size_t n = 0; n < unknown; n++) {
            dctx_bytes_t name = dctx_snapshot_unknown_name(snapshot, n);
            found |= name.size == strlen(model_name(i)) &&
                     strncasecmp(name.data, model_name(i), name.size) == 0;
        }
        CHECK(run, found == model->extras[i].present, "%s", model_name(i));
    }
    CHECK(run, dctx_snapshot_unknown_name(snapshot, unknown).data == NULL);
    CHECK(run, dctx_snapshot_registry(snapshot) == model_registries[model->registry]);
    CHECK(run, dctx_snapshot_is_empty(snapshot) ==
                   (!mstate_has_entries(model) && model->chain.count == 0));
    check_chain(run, model, dctx_snapshot_chain_length(snapshot),
                dctx_snapshot_chain_elided(snapshot), format_snapshot, snapshot);
    for (size_t i = 0; i < model->chain.count; i++) {
        dctx_bytes_t name = dctx_snapshot_chain_name(snapshot, i);
        CHECK(run, name.size == strlen(model->chain.names[i]) &&
                       memcmp(name.data, model->chain.names[i], name.size) == 0);
    }
    CHECK(run, dctx_snapshot_chain_name(snapshot, model->chain.count).data == NULL);
    check_encoding(run, snapshot, model);
}

/* ---- making things
 * ------------------------------------------------------------------------------- */

static int any_key(run_t *run, int registry)
{
    for (;;) {
        int i = (int)below(run, NAMES);
        if (model_key(registry, i) != NULL)
            return i;
    }
}

static kind_t kind_of(const dctx_type_t *type)
{
    return type == DCTX_TYPE_STRING   ? KIND_STR
           : type == DCTX_TYPE_BYTES  ? KIND_BIN
           : type == DCTX_TYPE_BOOL   ? KIND_BOOL
           : type == DCTX_TYPE_INT64  ? KIND_INT
           : type == DCTX_TYPE_UINT64 ? KIND_HUGE
           : type == DCTX_TYPE_DOUBLE ? KIND_DOUBLE
                                      : KIND_THING;
}

static void put_number(mvalue_t *value, uint64_t bits)
{
    memcpy(value->content, &bits, sizeof(bits));
    value->size = sizeof(bits);
}

static void fill(run_t *run, mvalue_t *value, kind_t kind)
{
    static const char *const junk[] = {"", "\xc1", "\xc0", "\xa5ke", "\xc4\x05x", "\xa1xy"};
    *value = (mvalue_t){.kind = kind, .version = 1};
    size_t size = one_in(run, 12) ? below(run, CONTENT_MAX) : below(run, 40);
    double real = (double)below(run, 1000) / 8;
    switch (kind) {
    case KIND_STR:
    case KIND_BIN:
    case KIND_THING:
        value->size = size;
        for (size_t i = 0; i < size; i++)
            value->content[i] = (uint8_t)(kind == KIND_BIN ? chance(run) : 'a' + below(run, 26));
        if (kind == KIND_THING && size > 0 && one_in(run, 16))
            value->content[0] = '!';
        break;
    case KIND_BOOL:
        value->content[0] = one_in(run, 2);
        value->size = 1;
        break;
    case KIND_INT:
        put_number(value, (uint64_t)((int64_t)below(run, 200001) - 100000));
        break;
    case KIND_HUGE:
        put_number(value, UINT64_MAX - below(run, 1000));
        break;
    case KIND_DOUBLE:
        memcpy(value->content, &real, sizeof(real));
        value->size = sizeof(real);
        break;
    case KIND_NONE:
    case KIND_JUNK:
        value->kind = KIND_JUNK;
        const char *body = junk[below(run, sizeof(junk) / sizeof(junk[0]))];
        value->size = strlen(body);
        memcpy(value->content, body, value->size);
        break;
    }
}

/* A value for this key as set; `arg` is what to give the library, in memory of the caller. */
typedef struct giving {
    char text[CONTENT_MAX + 1];
    dctx_bytes_t bytes;
    uint64_t number;
    thing_t thing;
    const void *value;
} giving_t;

static void make_value(run_t *run, int i, mvalue_t *value, giving_t *giving)
{
    int r = now(run)->registry;
    const dctx_type_t *type = model_type(r, i);
    fill(run, value, kind_of(type));
    if (type == DCTX_TYPE_UINT64 && one_in(run, 2)) {
        value->kind = KIND_INT;
        put_number(value, below(run, 70000));
    }
    mvalue_own(value, r, i);
    memcpy(giving->text, value->content, value->size);
    giving->text[value->size] = '\0';
    giving->bytes = (dctx_bytes_t){value->size > 0 ? value->content : NULL, value->size};
    memcpy(&giving->number, value->content, sizeof(giving->number));
    giving->thing.text = giving->text;
    giving->value = type == DCTX_TYPE_STRING  ? (const void *)giving->text
                    : type == DCTX_TYPE_BYTES ? (const void *)&giving->bytes
                    : type == &thing_type     ? (const void *)&giving->thing
                                              : (const void *)&giving->number;
}

static void put(run_t *run, int i, const mvalue_t *value)
{
    mvalue_t *slot = &run->thread->state.slots[i];
    *slot = *value;
    slot->frame = top_serial(run);
    end_loan(run, i);
}

static void take_out(run_t *run, int i)
{
    run->thread->state.slots[i].present = false;
    end_loan(run, i);
}

/* Lets an allocation fail, sometimes. The step is then tried as often as it takes: true if `error`
 * means that it failed for it, so nothing may have changed. */
static void begin_trouble(run_t *run)
{
    if (one_in(run, 6))
        watch_fail(1 + below(run, 4), one_in(run, 2));
}

static bool troubled(run_t *run, dctx_error_t error)
{
    bool refused = watch_relent() > 0;
    CHECK(run, error != DCTX_ERR_NOMEM || refused, "out of memory, but none was refused");
    return error == DCTX_ERR_NOMEM;
}

/* ---- steps: values
 * ------------------------------------------------------------------------------- */

static void step_set(run_t *run)
{
    int r = now(run)->registry;
    int i = any_key(run, r);
    mvalue_t value;
    giving_t giving;
    make_value(run, i, &value, &giving);
    begin_trouble(run);
    dctx_error_t error = one_in(run, 2)
                             ? dctx_set(model_key(r, i), giving.value)
                             : dctx_set_typed(model_key(r, i), model_type(r, i), giving.value);
    if (troubled(run, error))
        return;
    CHECK(run, error == DCTX_OK, "%s", dctx_error_name(error));
    put(run, i, &value);
}

/* From the context itself: the value that is given lives in what the call replaces. */
static void step_set_from_itself(run_t *run)
{
    int r = now(run)->registry;
    int from = any_key(run, r), to = any_key(run, r);
    const void *got = dctx_get(model_key(r, from));
    if (got == NULL || model_type(r, from) != model_type(r, to))
        return;
    mvalue_t value = now(run)->slots[from];
    mview_t view;
    mstate_read(now(run), from, &view);
    value.size = view.size;
    memcpy(value.content, view.content, view.size);
    mvalue_own(&value, r, to);
    begin_trouble(run);
    dctx_error_t error = dctx_set(model_key(r, to), got);
    if (troubled(run, error))
        return;
    CHECK(run, error == DCTX_OK);
    put(run, to, &value);
}

static void step_set_wrongly(run_t *run)
{
    int r = now(run)->registry;
    int i = any_key(run, r), other = any_key(run, 1 - r);
    int64_t number = 1;
    const dctx_type_t *wrong =
        model_type(r, i) == DCTX_TYPE_INT64 ? DCTX_TYPE_STRING : DCTX_TYPE_INT64;
    const void *value = wrong == DCTX_TYPE_STRING ? (const void *)"text" : &number;
    CHECK(run, dctx_set_typed(model_key(r, i), wrong, value) == DCTX_ERR_TYPE);
    CHECK(run, dctx_get_typed(model_key(r, i), wrong) == NULL);
    CHECK(run, dctx_set(NULL, value) == DCTX_ERR_UNKNOWN_KEY);
    CHECK(run, dctx_set(model_key(r, i), NULL) == DCTX_ERR_INVALID);
    CHECK(run, dctx_set_typed(model_key(1 - r, other), model_type(1 - r, other), value) ==
                   DCTX_ERR_UNKNOWN_KEY);
    CHECK(run, dctx_unset(model_key(1 - r, other)) == DCTX_ERR_UNKNOWN_KEY);
    CHECK(run, dctx_unset(NULL) == DCTX_ERR_UNKNOWN_KEY);
    CHECK(run, !dctx_contains(NULL) && dctx_get(NULL) == NULL);
}

static void step_take(run_t *run)
{
    int r = now(run)->registry;
    int i = any_key(run, r);
    mvalue_t value;
    giving_t giving;
    make_value(run, i, &value, &giving);
    if (model_type(r, i) == DCTX_TYPE_STRING || model_type(r, i) == DCTX_TYPE_BYTES) {
        CHECK(run,
              dctx_set_take(model_key(r, i), model_type(r, i), &giving.bytes) == DCTX_ERR_TYPE);
        return;
    }
    if (model_type(r, i) != &thing_type)
        return;
    thing_t thing = thing_make(giving.text);
    const char *text = thing.text;
    begin_trouble(run);
    const dctx_key_t *key = one_in(run, 8) ? NULL : model_key(r, i);
    dctx_error_t error = dctx_set_take(key, &thing_type, &thing);
    if (troubled(run, error) || key == NULL) {
        CHECK(run, error == DCTX_ERR_NOMEM || error == DCTX_ERR_UNKNOWN_KEY);
        CHECK(run, thing.text == text, "the caller's no more");
        thing_type.destroy(&thing);
        return;
    }
    CHECK(run, error == DCTX_OK);
    CHECK(run, thing.text == NULL, "not zeroed");
    put(run, i, &value);
}

typedef struct updating {
    run_t *run;
    int index;
    bool refuse;
    mview_t before;
    mvalue_t value;
    giving_t giving;
} updating_t;

static dctx_error_t update(void *value, bool present, void *arg)
{
    updating_t *u = arg;
    run_t *run = u->run;
    const dctx_type_t *type = model_type(now(run)->registry, u->index);
    CHECK(run, present == u->before.readable);
    CHECK(run, !present || mview_matches(&u->before, type, value));
    if (type == &thing_type) {
        thing_t *thing = value;
        CHECK(run, present || thing->text == NULL, "not zeroed");
        type->destroy(thing);
        *thing = thing_make(u->giving.text);
    } else {
        memcpy(value, u->giving.value, type->size);
    }
    if (u->refuse) {
        if (!present && type->destroy != NULL)
            type->destroy(value);
        return DCTX_ERR_REJECTED;
    }
    /* It may set others, and even this one, which is then replaced. */
    if (one_in(run, 3)) {
        watch_relent();
        step_set(run);
    }
    return DCTX_OK;
}

static void step_update(run_t *run)
{
    int r = now(run)->registry;
    int i = any_key(run, r);
    updating_t u = {.run = run, .index = i, .refuse = one_in(run, 4)};
    make_value(run, i, &u.value, &u.giving);
    mstate_read(now(run), i, &u.before);
    if (model_type(r, i) == DCTX_TYPE_STRING || model_type(r, i) == DCTX_TYPE_BYTES) {
        CHECK(run, dctx_update(model_key(r, i), update, &u) == DCTX_ERR_TYPE);
        return;
    }
    begin_trouble(run);
    dctx_error_t error = dctx_update(model_key(r, i), update, &u);
    if (troubled(run, error))
        return;
    if (u.refuse) {
        CHECK(run, error == DCTX_ERR_REJECTED);
        return;
    }
    CHECK(run, error == DCTX_OK, "%s", dctx_error_name(error));
    put(run, i, &u.value);
}

static void step_unset(run_t *run)
{
    int r = now(run)->registry;
    int i = any_key(run, r);
    begin_trouble(run);
    dctx_error_t error = dctx_unset(model_key(r, i));
    if (troubled(run, error))
        return;
    CHECK(run, error == DCTX_OK);
    take_out(run, i);
}

static void step_set_many(run_t *run)
{
    enum { MANY = 6 };
    int r = now(run)->registry;
    int index[MANY];
    mvalue_t values[MANY];
    giving_t givings[MANY];
    dctx_binding_t bindings[MANY];
    size_t count = below(run, MANY + 1);
    for (size_t n = 0; n < count; n++) {
        index[n] = any_key(run, r);
        make_value(run, index[n], &values[n], &givings[n]);
        if (one_in(run, 4)) {
            values[n].present = false;
            givings[n].value = NULL;
        }
        bindings[n] =
            (dctx_binding_t){model_key(r, index[n]),
                             one_in(run, 2) ? model_type(r, index[n]) : NULL, givings[n].value};
    }
    dctx_error_t wrong = DCTX_OK;
    if (count > 0 && one_in(run, 5)) {
        size_t n = below(run, (unsigned)count);
        if (one_in(run, 2)) {
            bindings[n].key = one_in(run, 2) ? NULL : model_key(1 - r, any_key(run, 1 - r));
            wrong = DCTX_ERR_UNKNOWN_KEY;
        } else {
            bindings[n].type =
                model_type(r, index[n]) == DCTX_TYPE_INT64 ? DCTX_TYPE_BOOL : DCTX_TYPE_INT64;
            wrong = DCTX_ERR_TYPE;
        }
    }
    begin_trouble(run);
    dctx_error_t error = dctx_set_many(bindings, count);
    if (troubled(run, error))
        return;
    CHECK(run, error == wrong, "%s, not %s", dctx_error_name(error), dctx_error_name(wrong));
    for (size_t n = 0; n < count && wrong == DCTX_OK; n++)
        put(run, index[n], &values[n]);
}

static void step_clear(run_t *run)
{
    begin_trouble(run);
    dctx_error_t error = dctx_clear();
    if (troubled(run, error))
        return;
    CHECK(run, error == DCTX_OK);
    mstate_clear(&run->thread->state);
    for (int i = 0; i < NAMES; i++)
        end_loan(run, i);
}

/* ---- steps: scopes
 * ------------------------------------------------------------------------------- */

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

static void any_name(run_t *run, char name[NAME_LIMIT + 4])
{
    size_t size = 1 + below(run, NAME_LIMIT);
    for (size_t i = 0; i < size; i++)
        name[i] = (char)('a' + below(run, 26));
    name[size] = '\0';
}

static void step_push(run_t *run)
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

static void pop_frame(run_t *run, size_t at)
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

static void step_pop(run_t *run)
{
    if (run->thread->depth > 0)
        pop_frame(run, run->thread->depth - 1);
}

static void step_pop_any(run_t *run)
{
    mthread_t *thread = run->thread;
    if (thread->depth == 0)
        return;
    size_t at = below(run, (unsigned)thread->depth);
    if (!thread->frames[at].closing)
        pop_frame(run, at);
}

static void step_pop_spent(run_t *run)
{
    dctx_scope_t copy = run->spent[below(run, SPENT)];
    bool real = copy.serial_ != 0;
    dctx_error_t error = dctx_scope_pop(&copy);
    CHECK(run, error == (real ? DCTX_ERR_NOT_OPEN : DCTX_OK), "%s", dctx_error_name(error));
    CHECK(run, dctx_scope_pop(NULL) == DCTX_OK);
}

/* ---- steps: snapshots
 * ---------------------------------------------------------------------------- */

static void drop(held_t *held)
{
    dctx_snapshot_unref(&held->snapshot);
    free(held->model);
    held->model = NULL;
}

static void hold(run_t *run, dctx_snapshot_t *snapshot, const mstate_t *model)
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

static held_t *any_held(run_t *run)
{
    held_t *held = &run->held[below(run, HELD)];
    return held->snapshot != NULL ? held : NULL;
}

static void step_capture(run_t *run)
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

static void step_broadcast(run_t *run)
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

static void step_empty(run_t *run)
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

static void step_attach(run_t *run)
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

static void step_merge(run_t *run)
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

static void step_inspect(run_t *run)
{
    held_t *held = any_held(run);
    if (held != NULL)
        check_snapshot(run, held->snapshot, held->model);
}

static void step_drop(run_t *run)
{
    held_t *held = any_held(run);
    if (held != NULL)
        drop(held);
}

/* ---- steps: the wire
 * ----------------------------------------------------------------------------- */

static void step_hop(run_t *run)
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

/* A stamp from elsewhere: any order, any form of an item, any spelling, things of later versions.
 */
static void step_receive(run_t *run)
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
static void step_send(run_t *run)
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

/* ---- steps: other threads
 * ------------------------------------------------------------------------ */

static void step_exchange(run_t *run)
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
static void step_share(run_t *run)
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

static void step_wrong_thread(run_t *run)
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

/* ---- running
 * ------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*step)(run_t *run);
    unsigned weight;
} steps[] = {
    {"set", step_set, 14},
    {"set from itself", step_set_from_itself, 4},
    {"set wrongly", step_set_wrongly, 1},
    {"take", step_take, 5},
    {"update", step_update, 6},
    {"unset", step_unset, 6},
    {"set many", step_set_many, 6},
    {"clear", step_clear, 1},
    {"push", step_push, 16},
    {"pop", step_pop, 16},
    {"pop any", step_pop_any, 3},
    {"pop spent", step_pop_spent, 2},
    {"capture or fork", step_capture, 9},
    {"broadcast", step_broadcast, 3},
    {"empty", step_empty, 1},
    {"attach", step_attach, 9},
    {"merge", step_merge, 3},
    {"inspect", step_inspect, 4},
    {"drop", step_drop, 4},
    {"hop", step_hop, 6},
    {"receive", step_receive, 5},
    {"send", step_send, 5},
    {"exchange", step_exchange, 3},
    {"share", step_share, 3},
    {"wrong thread", step_wrong_thread, 2},
};

static void any_step(run_t *run)
{
    unsigned all = 0, i = 0;
    for (size_t n = 0; n < sizeof(steps) / sizeof(steps[0]); n++)
        all += steps[n].weight;
    unsigned at = below(run, all);
    while (at >= steps[i].weight)
        at -= steps[i++].weight;
    run->doing = steps[i].name;
    steps[i].step(run);
}

static void *run_thread(void *arg)
{
    run_t *run = arg;
    run->doing = "begin";
    run->random = run->seed;
    run->thread = calloc(1, sizeof(*run->thread));
    CHECK(run, run->thread != NULL);
    wire_init(&run->wire);
    mstate_init(&run->thread->state, 0);
    check_thread(run);
    for (run->step = 0; run->step < run->steps; run->step++) {
        any_step(run);
        check_thread(run);
    }
    run->doing = "end";
    if (run->board != NULL)
        (void)pthread_barrier_wait(
            &run->board->end); /* tokens on the board are of living threads */
    for (int i = 0; i < HELD; i++)
        drop(&run->held[i]);
    /* Half the time the thread ends with everything open. */
    while (run->seed % 2 == 0 && run->thread->depth > 0) {
        pop_frame(run, run->thread->depth - 1);
        check_thread(run);
    }
    wire_finish(&run->wire);
    free(run->thread);
    return NULL;
}

static unsigned long setting(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 0) : otherwise;
}

static uint64_t any_seed(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return setting("DCTX_SEED", (unsigned long)t.tv_nsec / 1000 * 2);
}

static void init(void)
{
    watch_install();
    model_open(false);
}

static void init_padded(void)
{
    watch_install();
    model_open(true);
}

/* Each seed on a thread of its own, one after the other, so that what thread exit releases counts. */
static void one_after_the_other(void)
{
    uint64_t seed = any_seed();
    for (unsigned i = 0; i < 3; i++) {
        size_t blocks = watch_live_blocks();
        pthread_t thread;
        run_t run = {.seed = seed + i, .steps = (unsigned)setting("DCTX_STEPS", STEPS)};
        cr_assert_eq(pthread_create(&thread, NULL, run_thread, &run), 0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_eq(watch_live_blocks(), blocks, "DCTX_SEED=%llu: %zu blocks left",
                     (unsigned long long)run.seed, watch_live_blocks() - blocks);
        cr_assert_eq(things_alive(), 0, "DCTX_SEED=%llu: %zu values left",
                     (unsigned long long)run.seed, things_alive());
        if (getenv("DCTX_SEED") != NULL)
            break;
    }
    model_close();
}

Test(model, alone, .init = init, .timeout = 600)
{
    one_after_the_other();
}

Test(model, alone_among_many_keys, .init = init_padded, .timeout = 600)
{
    one_after_the_other();
}

Test(model, together, .init = init, .timeout = 600)
{
    static run_t runs[THREADS];
    static board_t board;
    pthread_t threads[THREADS];
    uint64_t seed = any_seed();
    size_t blocks = watch_live_blocks();
    cr_assert_eq(pthread_mutex_init(&board.lock, NULL), 0);
    cr_assert_eq(pthread_barrier_init(&board.end, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        runs[i] = (run_t){.seed = seed + i * 1000003,
                          .board = &board,
                          .steps = (unsigned)setting("DCTX_STEPS", STEPS / 2)};
        cr_assert_eq(pthread_create(&threads[i], NULL, run_thread, &runs[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    for (unsigned i = 0; i < BOARD; i++)
        drop(&board.held[i]);
    pthread_barrier_destroy(&board.end);
    cr_assert_eq(watch_live_blocks(), blocks, "DCTX_SEED=%llu: %zu blocks left",
                 (unsigned long long)seed, watch_live_blocks() - blocks);
    cr_assert_eq(things_alive(), 0, "DCTX_SEED=%llu", (unsigned long long)seed);
    model_close();
}
