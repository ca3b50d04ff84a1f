/* Random programs of promises and futures, against a model that does the same with arrays and one
 * queue. */
#include "future.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

enum { MOST = 60, PARTS = 4, EDGES = MOST * PARTS, MS = 1000000 };

static uint64_t seed;

static unsigned chance(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % below);
}

/* ---- the model ------------------------------------------------------------------------------- */

typedef enum kind { PROMISE, THEN, MAP, RECOVER, ALL, ANY, TIMEOUT } kind_t;

typedef struct edge {
    int source, target; /* numbers of futures */
    bool listed, on_loop;
} edge_t;

typedef struct one {
    kind_t kind;
    bool done, has_promise, from_outside;
    dctx_error_t error;
    uint64_t value;  /* with DCTX_OK; of ALL the sum */
    int told, calls; /* and a thousand times each error that a call saw */
    int parts, pending;
    int part[PARTS];
    int64_t due; /* of a TIMEOUT; INT64_MAX: its timer is no more */
} one_t;

static struct {
    one_t ones[MOST];
    int count;
    edge_t edges[EDGES];
    int edge_count;
    int queue[EDGES], queue_first, queue_last; /* of edges: inline */
    int jobs[EDGES], jobs_first, jobs_last;    /* on the loop */
    int64_t now;
} model;

static dctx_error_t model_call(const one_t *source, kind_t kind, uint64_t *ret_value)
{
    *ret_value = source->error == DCTX_OK ? source->value + 1 : (uint64_t)source->error;
    if (kind != THEN && *ret_value % 5 == 0)
        return DCTX_ERR_REJECTED;
    return DCTX_OK;
}

static bool to_be_called(const edge_t *edge)
{
    const one_t *target = &model.ones[edge->target], *source = &model.ones[edge->source];
    if (target->kind == THEN)
        return true;
    if (target->done || (target->kind != MAP && target->kind != RECOVER))
        return false;
    return (source->error == DCTX_OK) == (target->kind == MAP);
}

static void model_dispatch(int edge)
{
    if (model.edges[edge].on_loop && to_be_called(&model.edges[edge]))
        model.jobs[model.jobs_last++] = edge;
    else
        model.queue[model.queue_last++] = edge;
}

static bool is_awaited(int source)
{
    for (int i = 0; i < model.edge_count; i++) {
        if (model.edges[i].listed && model.edges[i].source == source)
            return true;
    }
    return false;
}

static void model_end(int number, dctx_error_t error, uint64_t value, bool from_outside)
{
    one_t *one = &model.ones[number];
    if (one->done)
        return;
    one->done = true;
    one->error = error;
    one->value = value;
    one->from_outside = from_outside;
    one->due = INT64_MAX;
    for (int i = 0; i < model.edge_count; i++) {
        if (model.edges[i].listed && model.edges[i].source == number) {
            model.edges[i].listed = false;
            model_dispatch(i);
        }
    }
    for (int i = 0; i < model.edge_count; i++) {
        edge_t *edge = &model.edges[i];
        if (!edge->listed || edge->target != number)
            continue;
        edge->listed = false;
        if (!is_awaited(edge->source))
            model_end(edge->source, DCTX_ERR_CANCELLED, 0, true);
        model_dispatch(i);
    }
    if (from_outside && one->kind == PROMISE && one->has_promise)
        one->told++;
}

static void model_run_edge(const edge_t *edge)
{
    one_t *target = &model.ones[edge->target];
    const one_t *source = &model.ones[edge->source];
    uint64_t value = 0;
    if (to_be_called(edge)) {
        const one_t *seen = target->done ? target : source;
        dctx_error_t error = model_call(seen, target->kind, &value);
        target->calls += 1 + 1000 * (int)seen->error;
        model_end(edge->target, error, value, false);
        return;
    }
    if (target->done)
        return;
    if (target->kind != ALL && target->kind != ANY) {
        model_end(edge->target, source->error, source->value, false);
        return;
    }
    bool good = source->error == DCTX_OK, last = --target->pending == 0;
    if (good == (target->kind == ANY) || (last && !good)) {
        model_end(edge->target, source->error, source->value, false);
    } else if (last) {
        for (int i = 0; i < target->parts; i++)
            value += model.ones[target->part[i]].value;
        model_end(edge->target, DCTX_OK, value, false);
    }
}

static void model_drain(void)
{
    while (model.queue_first < model.queue_last)
        model_run_edge(&model.edges[model.queue[model.queue_first++]]);
    model.queue_first = model.queue_last = 0;
}

static void model_attach(int source, int target, bool on_loop)
{
    model.edges[model.edge_count] =
        (edge_t){.source = source, .target = target, .on_loop = on_loop};
    int edge = model.edge_count++;
    if (model.ones[source].done) {
        model_dispatch(edge);
    } else if (!model.ones[target].done) {
        model.edges[edge].listed = true;
    } else {
        if (!is_awaited(source))
            model_end(source, DCTX_ERR_CANCELLED, 0, true);
        model_dispatch(edge);
    }
    model_drain();
}

static void model_run_loop(void)
{
    int jobs = model.jobs_last - model.jobs_first;
    for (;;) {
        int first = -1;
        for (int i = 0; i < model.count; i++) {
            if (model.ones[i].due <= model.now &&
                (first < 0 || model.ones[i].due < model.ones[first].due))
                first = i;
        }
        if (first < 0)
            break;
        model_end(first, DCTX_ERR_TIMEOUT, 0, true);
        model_drain();
    }
    while (jobs-- > 0) {
        model_run_edge(&model.edges[model.jobs[model.jobs_first++]]);
        model_drain();
    }
}

/* ---- the real ones --------------------------------------------------------------------------- */

static struct {
    dctx_future_t *futures[MOST];
    dctx_promise_t *promises[MOST];
    int told[MOST], calls[MOST];
    dctx_executor_t *loop;
} real;

static int64_t read_clock(void *arg)
{
    (void)arg;
    return model.now;
}

static uint64_t number_of(const dctx_result_t *result)
{
    if (result->error != DCTX_OK)
        return (uint64_t)result->error;
    const dctx_results_t *results = dctx_result_get(result, DCTX_TYPE_RESULTS);
    if (results == NULL)
        return *(const uint64_t *)dctx_result_get(result, DCTX_TYPE_UINT64);
    uint64_t sum = 0;
    for (size_t i = 0; i < results->count; i++)
        sum += number_of(&results->results[i]);
    return sum;
}

static dctx_error_t answer(const dctx_result_t *result, dctx_promise_t **promise_p, bool then)
{
    uint64_t value = number_of(result) + (result->error == DCTX_OK);
    if (!then && value % 5 == 0)
        return DCTX_ERR_REJECTED;
    return dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, &value);
}

static dctx_error_t on_then(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    *(int *)arg += 1 + 1000 * (int)result->error;
    return answer(result, promise_p, true);
}

static dctx_error_t on_value(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    *(int *)arg += 1 + 1000 * (int)result->error;
    return answer(result, promise_p, false);
}

static void on_cancel(void *arg)
{
    ++*(int *)arg;
}

/* ---- what a program does --------------------------------------------------------------------- */

static int add_one(kind_t kind)
{
    model.ones[model.count] = (one_t){.kind = kind, .due = INT64_MAX};
    return model.count++;
}

static void make_promise(void)
{
    int number = add_one(PROMISE);
    model.ones[number].has_promise = true;
    cr_assert_eq(dctx_promise_new(&real.promises[number], &real.futures[number]), DCTX_OK);
    cr_assert_eq(dctx_promise_on_cancel(real.promises[number], on_cancel, &real.told[number]),
                 DCTX_OK);
}

static void use_promise(void)
{
    int number = (int)chance((unsigned)model.count), other = (int)chance((unsigned)model.count);
    one_t *one = &model.ones[number];
    uint64_t value = chance(20);
    if (!one->has_promise)
        return;
    dctx_promise_t **promise_p = &real.promises[number];
    unsigned what = chance(4);
    if (what == 3 && other >= number)
        what = 2; /* futures follow older ones only: no circles */
    one->has_promise = false;
    switch (what) {
    case 0:
        cr_assert_eq(dctx_promise_fail(promise_p, DCTX_ERR_IO, "no"), DCTX_OK);
        model_end(number, DCTX_ERR_IO, 0, false);
        break;
    case 1:
        dctx_promise_destroy(promise_p);
        model_end(number, DCTX_ERR_NO_REPLY, 0, false);
        break;
    case 2:
        cr_assert_eq(dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, &value), DCTX_OK);
        model_end(number, DCTX_OK, value, false);
        break;
    default:
        cr_assert_eq(dctx_promise_follow(promise_p, real.futures[other]), DCTX_OK);
        model_attach(other, number, false);
        break;
    }
    model_drain();
    cr_assert_null(*promise_p);
}

static void attach(kind_t kind)
{
    int source = (int)chance((unsigned)model.count), number = add_one(kind);
    dctx_executor_t *loop = chance(3) == 0 ? real.loop : NULL;
    dctx_future_t *future = real.futures[source], **place = &real.futures[number];
    int *calls = &real.calls[number];
    dctx_error_t error = kind == THEN  ? dctx_future_then(future, loop, on_then, calls, place)
                         : kind == MAP ? dctx_future_map(future, loop, on_value, calls, place)
                                       : dctx_future_recover(future, loop, on_value, calls, place);
    cr_assert_eq(error, DCTX_OK);
    model_attach(source, number, loop != NULL);
}

static void combine(kind_t kind)
{
    dctx_future_t *futures[PARTS];
    int number = add_one(kind);
    one_t *one = &model.ones[number];
    one->parts = one->pending = 1 + (int)chance(PARTS);
    for (int i = 0; i < one->parts; i++) {
        one->part[i] = (int)chance((unsigned)number);
        futures[i] = real.futures[one->part[i]];
    }
    cr_assert_eq(kind == ALL ? dctx_future_all(futures, (size_t)one->parts, &real.futures[number])
                             : dctx_future_any(futures, (size_t)one->parts, &real.futures[number]),
                 DCTX_OK);
    for (int i = 0; i < one->parts; i++)
        model_attach(one->part[i], number, false);
}

static void set_timeout(void)
{
    int source = (int)chance((unsigned)model.count), number = add_one(TIMEOUT);
    int64_t ms = 1 + chance(30);
    cr_assert_eq(dctx_future_timeout(real.futures[source], real.loop, ms, &real.futures[number]),
                 DCTX_OK);
    model.ones[number].due = model.now + ms * MS;
    model_attach(source, number, false);
}

static void cancel(void)
{
    int number = (int)chance((unsigned)model.count);
    dctx_future_cancel(real.futures[number], "model");
    model_end(number, DCTX_ERR_CANCELLED, 0, true);
    model_drain();
}

static void step(void)
{
    unsigned what = model.count == 0 ? 0 : chance(16);
    bool full = model.count == MOST;
    if (what <= 2 && !full)
        make_promise();
    else if (what <= 6 && !full)
        attach((kind_t[]){THEN, MAP, MAP, RECOVER}[what - 3]);
    else if (what <= 8 && !full)
        combine(what == 7 ? ALL : ANY);
    else if (what == 9 && !full)
        set_timeout();
    else if (what == 10)
        cancel();
    else if (what == 11) {
        model.now += chance(5) * MS;
    } else if (what <= 13) {
        (void)dctx_loop_executor_run(real.loop);
        model_run_loop();
    } else {
        use_promise();
    }
}

static void compare(uint64_t program)
{
    for (int i = 0; i < model.count; i++) {
        const one_t *one = &model.ones[i];
        dctx_result_t result;
        cr_assert_eq(dctx_future_is_done(real.futures[i]), one->done, "program %lu, future %d",
                     (unsigned long)program, i);
        cr_assert_eq(real.told[i], one->told, "program %lu, future %d", (unsigned long)program, i);
        cr_assert_eq(real.calls[i], one->calls, "program %lu, future %d", (unsigned long)program,
                     i);
        if (!one->done)
            continue;
        cr_assert_eq(dctx_future_result(real.futures[i], &result), DCTX_OK);
        cr_assert_eq(result.error, one->error, "program %lu, future %d", (unsigned long)program, i);
        if (one->error == DCTX_OK)
            cr_assert_eq(number_of(&result), one->value, "program %lu, future %d",
                         (unsigned long)program, i);
    }
}

static void run_program(uint64_t program)
{
    static const dctx_clock_t clock = {.now_ns = read_clock};
    memset(&model, 0, sizeof model);
    memset(&real, 0, sizeof real);
    seed = program * 0x9e3779b97f4a7c15u;
    cr_assert_eq(
        dctx_loop_executor_new(&(dctx_loop_executor_options_t){.clock = &clock}, &real.loop),
        DCTX_OK);
    int steps = 30 + (int)chance(120);
    for (int i = 0; i < steps; i++) {
        step();
        compare(program);
    }
    for (int i = 0; i < model.count; i++) {
        dctx_promise_destroy(&real.promises[i]);
        if (i % 2 == 0)
            dctx_future_unref(&real.futures[i]);
    }
    dctx_executor_destroy(&real.loop);
    for (int i = 0; i < model.count; i++) {
        cr_assert(real.futures[i] == NULL || dctx_future_is_done(real.futures[i]),
                  "program %lu: nothing could end it any more", (unsigned long)program);
        dctx_future_unref(&real.futures[i]);
    }
}

Test(future_model, random_programs_do_as_the_model_does, .init = fixture_init, .timeout = 100)
{
    for (uint64_t program = 1; program <= 2000; program++)
        run_program(program);
}
