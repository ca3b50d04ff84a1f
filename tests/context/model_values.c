/* Steps of a run: setting, changing and unsetting values. */
#include "model_run.h"

void step_set(run_t *run)
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
void step_set_from_itself(run_t *run)
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

void step_set_wrongly(run_t *run)
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

void step_take(run_t *run)
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

void step_update(run_t *run)
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

void step_unset(run_t *run)
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

void step_set_many(run_t *run)
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

void step_clear(run_t *run)
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
