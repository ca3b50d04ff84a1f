#include "model_run.h"

void differs(const run_t *run, const char *file, int line, const char *condition,
             const char *format, ...)
{
    va_list args;
    fprintf(stderr, "%s:%d: DCTX_SEED=%llu step %u, %s: %s:", file, line,
            (unsigned long long)run->seed, run->step, run->doing, condition);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, " (%s)\n", dctx_error_detail());
    abort();
}

/* ---- chance ---- */

uint64_t chance(run_t *run)
{
    /* splitmix64 */
    uint64_t z = run->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

unsigned below(run_t *run, unsigned bound)
{
    return (unsigned)(chance(run) % bound);
}

bool one_in(run_t *run, unsigned odds)
{
    return below(run, odds) == 0;
}

/* ---- the library against the model ---- */

const mstate_t *now(const run_t *run)
{
    return &run->thread->state;
}

uint64_t top_serial(const run_t *run)
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
void end_loan(run_t *run, int i)
{
    run->borrowed[i].got = NULL;
}

void end_loans_of_frame(run_t *run, uint64_t serial)
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

void check_thread(run_t *run)
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

void check_encoding(run_t *run, const dctx_snapshot_t *snapshot, const mstate_t *model)
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

void check_snapshot(run_t *run, const dctx_snapshot_t *snapshot, const mstate_t *model)
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

/* ---- making things ---- */

int any_key(run_t *run, int registry)
{
    for (;;) {
        int i = (int)below(run, NAMES);
        if (model_key(registry, i) != NULL)
            return i;
    }
}

void any_name(run_t *run, char name[NAME_LIMIT + 4])
{
    size_t size = 1 + below(run, NAME_LIMIT);
    for (size_t i = 0; i < size; i++)
        name[i] = (char)('a' + below(run, 26));
    name[size] = '\0';
}

kind_t kind_of(const dctx_type_t *type)
{
    return type == DCTX_TYPE_STRING   ? KIND_STR
           : type == DCTX_TYPE_BYTES  ? KIND_BIN
           : type == DCTX_TYPE_BOOL   ? KIND_BOOL
           : type == DCTX_TYPE_INT64  ? KIND_INT
           : type == DCTX_TYPE_UINT64 ? KIND_HUGE
           : type == DCTX_TYPE_DOUBLE ? KIND_DOUBLE
                                      : KIND_THING;
}

void put_number(mvalue_t *value, uint64_t bits)
{
    memcpy(value->content, &bits, sizeof(bits));
    value->size = sizeof(bits);
}

void fill(run_t *run, mvalue_t *value, kind_t kind)
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

void make_value(run_t *run, int i, mvalue_t *value, giving_t *giving)
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

void put(run_t *run, int i, const mvalue_t *value)
{
    mvalue_t *slot = &run->thread->state.slots[i];
    *slot = *value;
    slot->frame = top_serial(run);
    end_loan(run, i);
}

void take_out(run_t *run, int i)
{
    run->thread->state.slots[i].present = false;
    end_loan(run, i);
}

/* Lets an allocation fail, sometimes. The step is then tried as often as it takes: true if `error`
 * means that it failed for it, so nothing may have changed. */
void begin_trouble(run_t *run)
{
    if (one_in(run, 6))
        watch_fail(1 + below(run, 4), one_in(run, 2));
}

bool troubled(run_t *run, dctx_error_t error)
{
    bool refused = watch_relent() > 0;
    CHECK(run, error != DCTX_ERR_NOMEM || refused, "out of memory, but none was refused");
    return error == DCTX_ERR_NOMEM;
}
