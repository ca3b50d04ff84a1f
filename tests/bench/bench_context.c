/*
 * bench_context.c - what the context core costs, in M: one malloc(17) + memcpy + free in the same
 * run.
 *
 * Each operation runs in a context like that of a real handler: four named scopes, n keys with
 * strings of 17 bytes. Lines starting with # are for people; the others are `name value unit`.
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dcontext/dcontext.h>

#include "bench.h"

enum { KEYS = 10, NAMES = 4, DEPTH_MOST = 64, SIZE = 17 };

static const char *const key_names[KEYS] = {"request-id", "tenant",        "user-id", "session-id",
                                            "region",     "feature-flags", "client",  "deploy-ring",
                                            "locale",     "experiment"};
static const char *const scope_names[NAMES] = {"api-gateway", "remote:orders", "actor:pricing",
                                               "remote:inventory"};
/* Two values of equal length, so that a set always changes something. */
static const char *const values[2] = {"7f3a9c1e-42d0-b1a", "0c55e8d2-91aa-f04"};

static const dctx_key_t *keys[KEYS];

/* ---- the context that an operation finds ---- */

/* What an operation finds on its thread. */
static _Thread_local struct {
    dctx_scope_t scopes[DEPTH_MOST];
    unsigned depth;
    dctx_snapshot_t *snapshot; /* a fork of the context, for operations that want one */
    dctx_bytes_t stamp;        /* its wire form */
} here;

typedef struct op {
    const char *name;
    bench_fn run;
    unsigned depth;   /* open scopes; 0 stands for NAMES */
    unsigned keys;    /* set in the outermost one */
    bool between;     /* every inner scope sets a key too */
    bool snapshot;    /* there is one of the context, so the next write has to copy */
    bool bare;        /* there is one, and the thread's own context is empty */
    bool attached;    /* there is one, and it is the thread's context, as in a handler */
    double at_most;   /* the limit, in M; 0: none */
    const char *rust; /* what the Rust library of the same name costs, in M */
} op_t;

static void leave(void)
{
    while (here.depth > 0)
        BENCH_REQUIRE(dctx_scope_pop(&here.scopes[--here.depth]) == DCTX_OK);
}

static void enter(const op_t *op)
{
    unsigned depth = op->depth != 0 ? op->depth : NAMES;
    for (unsigned i = 0; i < depth; i++) {
        dctx_scope_t *scope = &here.scopes[here.depth++];
        BENCH_REQUIRE(dctx_scope_push(scope_names[i % NAMES], scope) == DCTX_OK);
        for (unsigned key = 0; i == 0 && key < op->keys; key++)
            BENCH_REQUIRE(dctx_set(keys[key], values[0]) == DCTX_OK);
        if (i > 0 && op->between)
            BENCH_REQUIRE(dctx_set(keys[1 + i % (KEYS - 1)], values[1]) == DCTX_OK);
    }
    if (!op->snapshot && !op->bare && !op->attached)
        return;
    BENCH_REQUIRE(dctx_fork(&here.snapshot) == DCTX_OK);
    BENCH_REQUIRE(dctx_snapshot_encode(here.snapshot, &here.stamp) == DCTX_OK);
    if (op->bare || op->attached)
        leave();
    if (op->attached)
        BENCH_REQUIRE(dctx_attach_scope(here.snapshot, "actor:pricing",
                                        &here.scopes[here.depth++]) == DCTX_OK);
}

static void finish(void)
{
    leave();
    dctx_snapshot_unref(&here.snapshot);
    BENCH_REQUIRE(dctx_is_empty());
}

/* ---- the operations ---- */

/* Errors are gathered and looked at once: the check is not what is measured. */
static void get(void *arg, uint64_t count)
{
    const dctx_key_t *key = keys[0];
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        const void *value = dctx_get(key);
        BENCH_KEEP(value);
    }
    BENCH_REQUIRE(dctx_get(key) != NULL);
}

static void set(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++)
        errors |= dctx_set(keys[3], values[i & 1]);
    BENCH_REQUIRE(errors == 0);
}

static void push_pop(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_scope_t scope;
        errors |= dctx_scope_push("check-stock", &scope);
        errors |= dctx_scope_pop(&scope);
    }
    BENCH_REQUIRE(errors == 0);
}

static void push_pop_unnamed(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_scope_t scope;
        errors |= dctx_scope_push(NULL, &scope);
        errors |= dctx_scope_pop(&scope);
    }
    BENCH_REQUIRE(errors == 0);
}

static void push_set_pop(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_scope_t scope;
        errors |= dctx_scope_push("check-stock", &scope);
        errors |= dctx_set(keys[3], values[i & 1]);
        errors |= dctx_scope_pop(&scope);
    }
    BENCH_REQUIRE(errors == 0);
}

static void capture(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_snapshot_t *snapshot = NULL;
        errors |= dctx_capture(&snapshot);
        dctx_snapshot_unref(&snapshot);
    }
    BENCH_REQUIRE(errors == 0);
}

static void fork_context(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_snapshot_t *snapshot = NULL;
        errors |= dctx_fork(&snapshot);
        dctx_snapshot_unref(&snapshot);
    }
    BENCH_REQUIRE(errors == 0);
}

static void attach_one(const dctx_snapshot_t *snapshot, uint64_t count)
{
    unsigned errors = 0;
    for (uint64_t i = 0; i < count; i++) {
        dctx_scope_t scope;
        errors |= dctx_attach(snapshot, &scope);
        errors |= dctx_scope_pop(&scope);
    }
    BENCH_REQUIRE(errors == 0);
}

static void attach(void *arg, uint64_t count)
{
    (void)arg;
    attach_one(here.snapshot, count);
}

static void attach_scope(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_scope_t scope;
        errors |= dctx_attach_scope(here.snapshot, "actor:pricing", &scope);
        errors |= dctx_scope_pop(&scope);
    }
    BENCH_REQUIRE(errors == 0);
}

/* What sending a message does: capture, encode, drop. */
static unsigned send_context(void)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_bytes_t stamp = {0};
    unsigned errors = dctx_capture(&snapshot);
    errors |= dctx_snapshot_encode(snapshot, &stamp);
    BENCH_KEEP(stamp.data);
    dctx_snapshot_unref(&snapshot);
    return errors;
}

static void encode_changed(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        errors |= dctx_set(keys[3], values[i & 1]);
        errors |= send_context();
    }
    BENCH_REQUIRE(errors == 0);
}

static void encode_unchanged(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++)
        errors |= send_context();
    BENCH_REQUIRE(errors == 0);
}

static void decode(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_snapshot_t *snapshot = NULL;
        errors |= dctx_snapshot_decode(NULL, here.stamp.data, here.stamp.size, &snapshot);
        dctx_snapshot_unref(&snapshot);
    }
    BENCH_REQUIRE(errors == 0);
}

static void decode_read_all(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_snapshot_t *snapshot = NULL;
        errors |= dctx_snapshot_decode(NULL, here.stamp.data, here.stamp.size, &snapshot);
        for (unsigned key = 0; key < KEYS; key++)
            errors |= dctx_snapshot_get(snapshot, keys[key]) == NULL;
        dctx_snapshot_unref(&snapshot);
    }
    BENCH_REQUIRE(errors == 0);
}

static void hop(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_snapshot_t *snapshot = NULL;
        dctx_scope_t attached, scope;
        errors |= dctx_snapshot_decode(NULL, here.stamp.data, here.stamp.size, &snapshot);
        errors |= dctx_attach(snapshot, &attached);
        errors |= dctx_scope_push("remote:x", &scope);
        const void *value = dctx_get(keys[3]);
        BENCH_KEEP(value);
        errors |= value == NULL;
        errors |= send_context();
        errors |= dctx_scope_pop(&scope);
        errors |= dctx_scope_pop(&attached);
        dctx_snapshot_unref(&snapshot);
    }
    BENCH_REQUIRE(errors == 0);
}

static const op_t ops[] = {
    {"context.get.d1", get, .depth = 1, .keys = KEYS, .between = true, .at_most = 0.25,
     .rust = "6"},
    {"context.get.d8", get, .depth = 8, .keys = KEYS, .between = true, .at_most = 0.25,
     .rust = "18"},
    {"context.get.d64", get, .depth = 64, .keys = KEYS, .between = true, .at_most = 0.25,
     .rust = "109"},
    {"context.set", set, .keys = KEYS, .at_most = 3, .rust = "6"},
    {"context.push_pop", push_pop, .keys = KEYS, .at_most = 1, .rust = "9"},
    {"context.push_pop_unnamed", push_pop_unnamed, .keys = KEYS},
    {"context.push_set_pop", push_set_pop, .keys = KEYS, .at_most = 6, .rust = "17"},
    {"context.push_set_pop.attached", push_set_pop, .keys = KEYS, .attached = true},
    {"context.capture.n1", capture, .keys = 1, .at_most = 1},
    {"context.capture.n5", capture, .keys = 5, .at_most = 1},
    {"context.capture.n10", capture, .keys = KEYS, .at_most = 1, .rust = "135"},
    {"context.fork.n1", fork_context, .keys = 1, .at_most = 1},
    {"context.fork.n5", fork_context, .keys = 5, .at_most = 1},
    {"context.fork.n10", fork_context, .keys = KEYS, .at_most = 1, .rust = "37"},
    {"context.attach.n1", attach, .keys = 1, .snapshot = true, .at_most = 1},
    {"context.attach.n5", attach, .keys = 5, .snapshot = true, .at_most = 1},
    {"context.attach.n10", attach, .keys = KEYS, .snapshot = true, .at_most = 1, .rust = "111"},
    {"context.attach_scope.n10", attach_scope, .keys = KEYS, .bare = true},
    {"context.encode_changed.n10", encode_changed, .keys = KEYS, .at_most = 20, .rust = "300"},
    {"context.encode_unchanged.n1", encode_unchanged, .keys = 1, .at_most = 1},
    {"context.encode_unchanged.n5", encode_unchanged, .keys = 5, .at_most = 1},
    {"context.encode_unchanged.n10", encode_unchanged, .keys = KEYS, .at_most = 1, .rust = "300"},
    {"context.decode.n10", decode, .keys = KEYS, .bare = true, .at_most = 20, .rust = "275"},
    {"context.decode_read_all.n10", decode_read_all, .keys = KEYS, .bare = true},
    {"context.hop.n10", hop, .keys = KEYS, .bare = true, .at_most = 50, .rust = "800"},
};
enum { OPS = sizeof(ops) / sizeof(ops[0]) };

static const op_t *op_named(const char *name)
{
    for (size_t i = 0; i < OPS; i++)
        if (strcmp(ops[i].name, name) == 0)
            return &ops[i];
    bench_fail(__FILE__, __LINE__, name);
}

/* ---- lines ---- */

static double ratios[OPS]; /* NaN: not measured */

static void measure(void)
{
    for (size_t i = 0; i < OPS; i++) {
        ratios[i] = NAN;
        if (!bench_wants(ops[i].name))
            continue;
        enter(&ops[i]);
        ratios[i] = bench_against_m(ops[i].name, ops[i].run, NULL);
        finish();
    }
}

static double stamp_ratio = NAN;

static void measure_stamp(void)
{
    static const char name[] = "context.stamp_size.n5";
    if (!bench_wants(name))
        return;
    size_t content = 0;
    for (unsigned i = 0; i < 5; i++)
        content += strlen(key_names[i]) + SIZE;
    for (unsigned i = 0; i < NAMES; i++)
        content += strlen(scope_names[i]);
    enter(&(op_t){.keys = 5, .bare = true});
    stamp_ratio = (double)here.stamp.size / (double)content;
    bench_print(name, (double)here.stamp.size, "bytes");
    bench_print(name, stamp_ratio, "ratio");
    finish();
}

/* ---- allocations, counted in a process of their own: counting would slow the timed runs ---- */

static uint64_t allocations;

static void *count_allocate(size_t size)
{
    allocations++;
    return malloc(size);
}

static void count_allocations(void)
{
    static const struct {
        const char *name, *op;
    } lines[] = {
        {"context.get.allocations", "context.get.d8"},
        {"context.push_pop.allocations", "context.push_pop"},
        {"context.attach.allocations", "context.attach.n10"},
        {"context.attach_scope.allocations", "context.attach_scope.n10"},
        {"context.fork.allocations", "context.fork.n10"},
        {"context.capture.allocations", "context.capture.n10"},
        {"context.encode_unchanged.allocations", "context.encode_unchanged.n10"},
        {"context.set.allocations", "context.set"},
        {"context.push_set_pop.allocations", "context.push_set_pop"},
        {"context.encode_changed.allocations", "context.encode_changed.n10"},
        {"context.decode.allocations", "context.decode.n10"},
        {"context.hop.allocations", "context.hop.n10"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (!bench_wants(lines[i].name))
            continue;
        const op_t *op = op_named(lines[i].op);
        enter(op);
        op->run(NULL, 100);
        uint64_t before = allocations;
        op->run(NULL, 10000);
        bench_print(lines[i].name, (double)(allocations - before) / 10000, "per_op");
        finish();
    }
}

static void register_keys(void)
{
    for (unsigned i = 0; i < KEYS; i++)
        BENCH_REQUIRE(
            dctx_registry_add(NULL,
                              &(dctx_key_options_t){.name = key_names[i], .type = DCTX_TYPE_STRING},
                              &keys[i]) == DCTX_OK);
    BENCH_REQUIRE(dctx_registry_freeze(NULL) == DCTX_OK);
}

static void measure_allocations(void)
{
    int status;
    pid_t pid = fork();
    BENCH_REQUIRE(pid >= 0);
    if (pid == 0) {
        dctx_set_allocator(&(dctx_allocator_t){count_allocate, free});
        register_keys();
        count_allocations();
        fflush(stdout);
        _exit(0);
    }
    BENCH_REQUIRE(waitpid(pid, &status, 0) == pid && status == 0);
}

/* ---- two threads ---- */

/* Both threads work in every paired round, one of them alone in the others. They wait for each
 * other by spinning, so that waking up is not measured, and yield, in case there is but one core.
 */
typedef struct duel {
    const op_t *op;
    dctx_snapshot_t *shared;
    uint64_t count;
    /* Written by main, read by the helper: acquire and release, for the fields above. Odd: run. */
    uint64_t turn;
    uint64_t done;         /* by the helper: the turn that it has finished */
    uint64_t began, ended; /* of the helper's last run; published by `done` */
} duel_t;

static _Thread_local dctx_snapshot_t *shared;

static void attach_shared(void *arg, uint64_t count)
{
    (void)arg;
    attach_one(shared, count);
}

static void get_shared(void *arg, uint64_t count)
{
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        const void *value = dctx_snapshot_get(shared, keys[3]);
        BENCH_KEEP(value);
    }
}

static void ref_shared(void *arg, uint64_t count)
{
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_snapshot_t *snapshot = dctx_snapshot_ref(shared);
        dctx_snapshot_unref(&snapshot);
    }
}

static void encode_shared(void *arg, uint64_t count)
{
    unsigned errors = 0;
    (void)arg;
    for (uint64_t i = 0; i < count; i++) {
        dctx_bytes_t stamp = {0};
        errors |= dctx_snapshot_encode(shared, &stamp);
        BENCH_KEEP(stamp.data);
    }
    BENCH_REQUIRE(errors == 0);
}

/* Nothing shared, nothing but registers and the thread's own stack: what two threads get on this
 * machine at this moment. */
static void spin(void *arg, uint64_t count)
{
    (void)arg;
    for (uint64_t i = 0; i < count; i++)
        BENCH_KEEP(i);
}

/* The n-th core that this process may use. Left to itself the scheduler now and then keeps two
 * threads that yield to each other on one. */
static void stay_on_core(unsigned n)
{
    static cpu_set_t allowed; /* as it was before the first call, which is made alone */
    static bool known;
    cpu_set_t one;
    CPU_ZERO(&one);
    if (!known && sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
        return;
    known = true;
    for (size_t core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &allowed) && n-- == 0)
            CPU_SET(core, &one);
    if (CPU_COUNT(&one) > 0)
        (void)sched_setaffinity(0, sizeof(one), &one);
}

static void *duel_helper(void *arg)
{
    stay_on_core(1);
    duel_t *duel = arg;
    shared = duel->shared;
    enter(duel->op);
    for (uint64_t turn = 1;; turn++) {
        while (__atomic_load_n(&duel->turn, __ATOMIC_ACQUIRE) < turn)
            sched_yield();
        if (duel->count == 0)
            break;
        duel->began = bench_now();
        duel->op->run(NULL, duel->count);
        duel->ended = bench_now();
        __atomic_store_n(&duel->done, turn, __ATOMIC_RELEASE);
    }
    finish();
    return NULL;
}

static double alone(const op_t *op, uint64_t count)
{
    uint64_t begin = bench_now();
    op->run(NULL, count);
    return (double)(bench_now() - begin);
}

static double together(duel_t *duel, uint64_t count)
{
    duel->count = count;
    uint64_t turn = duel->turn + 1;
    __atomic_store_n(&duel->turn, turn, __ATOMIC_RELEASE);
    if (count == 0)
        return 0;
    uint64_t began = bench_now();
    duel->op->run(NULL, count);
    uint64_t ended = bench_now();
    while (__atomic_load_n(&duel->done, __ATOMIC_ACQUIRE) < turn)
        sched_yield();
    began = began < duel->began ? began : duel->began;
    ended = ended > duel->ended ? ended : duel->ended;
    return (double)(ended - began);
}

/*
 * The machine is shared: at most moments somebody else has a core. So the rounds are short, and of
 * many the best one of each kind counts: that in which nobody came in between.
 */
static double scale(const char *name, const op_t *op)
{
    enum { ROUNDS = 300, QUICK_ROUNDS = 60 };
    static const double round = 4e5;
    if (!bench_wants(name))
        return NAN;
    enter(op);
    shared = here.snapshot;
    duel_t duel = {.op = op, .shared = shared};
    pthread_t helper;
    BENCH_REQUIRE(pthread_create(&helper, NULL, duel_helper, &duel) == 0);

    uint64_t count = 64;
    while (alone(op, count) < round)
        count *= 2;
    double best_alone = INFINITY, best_together = INFINITY;
    int rounds = bench_is_quick() ? QUICK_ROUNDS : ROUNDS;
    for (int i = 0; i < rounds; i++) {
        best_alone = fmin(best_alone, alone(op, count));
        best_together = fmin(best_together, together(&duel, count));
    }
    together(&duel, 0);
    pthread_join(helper, NULL);
    shared = NULL;
    finish();
    double ratio = 2 * best_alone / best_together;
    bench_print(name, ratio, "ratio");
    return ratio;
}

/* Each thread on its own; the rate is to double. */
static const struct {
    const char *name, *op;
} scalings[] = {
    {"context.two_threads.get", "context.get.d8"},
    {"context.two_threads.set", "context.set"},
    {"context.two_threads.push_pop", "context.push_pop"},
    {"context.two_threads.push_set_pop", "context.push_set_pop"},
    {"context.two_threads.capture", "context.capture.n10"},
    {"context.two_threads.fork", "context.fork.n10"},
    {"context.two_threads.attach", "context.attach.n10"},
    {"context.two_threads.encode_changed", "context.encode_changed.n10"},
    {"context.two_threads.encode_unchanged", "context.encode_unchanged.n10"},
    {"context.two_threads.decode", "context.decode.n10"},
    {"context.two_threads.hop", "context.hop.n10"},
};
enum { SCALINGS = sizeof(scalings) / sizeof(scalings[0]) };

static double machine = NAN; /* what two threads get that share nothing at all */
static double scaled[SCALINGS];

static void measure_scaling(void)
{
    static const op_t sharing[] = {
        {"context.two_threads.shared.get", get_shared, .keys = KEYS, .snapshot = true},
        {"context.two_threads.shared.encode", encode_shared, .keys = KEYS, .snapshot = true},
        {"context.two_threads.shared.ref", ref_shared, .keys = KEYS, .snapshot = true},
        {"context.two_threads.shared.attach", attach_shared, .keys = KEYS, .snapshot = true},
    };
    stay_on_core(0);
    machine = scale("context.two_threads.machine", &(op_t){.run = spin, .keys = 1});
    for (size_t i = 0; i < SCALINGS; i++)
        scaled[i] = scale(scalings[i].name, op_named(scalings[i].op));
    for (size_t i = 0; i < sizeof(sharing) / sizeof(sharing[0]); i++)
        scale(sharing[i].name, &sharing[i]);
}

/* ---- the table at the end ---- */

static void judge(const char *name, double ratio, double at_most, const char *rust)
{
    if (isnan(ratio) || at_most == 0)
        return;
    printf("# %-30s %7.2f %9.2f  %-8s %s\n", name, ratio, at_most, rust != NULL ? rust : "-",
           ratio <= at_most ? "met" : "MISSED");
}

static void print_scaling(void)
{
    bool any = false;
    for (size_t i = 0; i < SCALINGS; i++)
        any = any || !isnan(scaled[i]);
    if (!any)
        return;
    printf("# %-36s %7s %9s   the machine itself: %.2f\n", "two threads to one", "here", "at least",
           machine);
    for (size_t i = 0; i < SCALINGS; i++)
        if (!isnan(scaled[i]))
            printf("# %-36s %7.2f %9.2f   %s\n", scalings[i].name, scaled[i], 1.8,
                   scaled[i] >= 1.8 ? "met" : "MISSED");
}

static void print_table(void)
{
    bool any = !isnan(stamp_ratio);
    for (size_t i = 0; i < OPS; i++)
        any = any || !isnan(ratios[i]);
    if (!any)
        return;
    printf("# %-30s %7s %9s  %-8s\n", "in M", "here", "at most", "rust");
    for (size_t i = 0; i < OPS; i++)
        judge(ops[i].name, ratios[i], ops[i].at_most, ops[i].rust);
    judge("context.stamp_size.n5", stamp_ratio, 1.25, "2.0");
}

int main(int argc, char **argv)
{
    bench_init(argc, argv);
    measure_allocations(); /* first: it starts from a process that has not touched the library */
    register_keys();
    measure();
    measure_stamp();
    measure_scaling();
    print_table();
    print_scaling();
    return bench_finish();
}
