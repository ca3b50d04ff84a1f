/*
 * One snapshot on many threads: readers, forks and drops; values that several read first at the
 * same moment; encodings that several ask for; threads, tasks and hand-offs. Most telling under
 * ThreadSanitizer.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "watch.h"
#include "wire.h"

enum { THREADS = 4, ROUNDS = 300 };

DCTX_KEY_STRING(text_key, "text", DCTX_BROADCAST)
DCTX_KEY_BYTES(blob_key, "blob", DCTX_BROADCAST)
DCTX_KEY_STRUCT(thing_key, "thing", thing_t, &thing_type, DCTX_BROADCAST)
DCTX_KEY_INT64(int_key, "int", DCTX_BROADCAST)
DCTX_KEY_STRING(bad_key, "bad", DCTX_BROADCAST)
DCTX_KEY_STRING(local_key, "local", DCTX_LOCAL)

static size_t blocks_before;

static void init(void)
{
    watch_install();
    cr_assert_eq(
        DCTX_REGISTER_KEYS(NULL, &text_key, &blob_key, &thing_key, &int_key, &bad_key, &local_key),
        DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
    /* This thread has all its state from here on. */
    DCTX_WITH_SCOPE("warm") {
        dctx_snapshot_t *snapshot = NULL;
        cr_assert_eq(text_key_set("warm"), DCTX_OK);
        cr_assert_eq(local_key_set("warm"), DCTX_OK);
        cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
        DCTX_WITH_SNAPSHOT(snapshot)
            cr_assert_eq(text_key_set("warmer"), DCTX_OK);
        dctx_snapshot_unref(&snapshot);
        cr_assert_eq(text_key_unset(), DCTX_OK);
    }
    blocks_before = watch_live_blocks();
}

static void done(void)
{
    cr_assert(dctx_is_empty());
    /* What the thread remembers of the stamp: its shape, the chain, and memory for the next. */
    cr_assert_leq(watch_live_blocks(), blocks_before + 3, "%zu blocks left",
                  watch_live_blocks() - blocks_before);
    cr_assert_eq(things_alive(), 0);
}

/* Runs `run` on THREADS threads; arg is an array of THREADS elements of `size`, or shared if 0. */
static void on_threads(void *(*run)(void *), void *arg, size_t size)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, run, (char *)arg + i * size), 0);
    for (size_t i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
}

static dctx_snapshot_t *receive(void)
{
    wire_t wire;
    dctx_snapshot_t *snapshot = NULL;
    wire_init(&wire);
    wire_raw(&wire,
             "\x93\x01\x92\xa4"
             "edge\xa3mid\x96",
             13);
    wire_entry(&wire, "bad", 1, "\xc1", 1);
    wire_entry(&wire, "blob", 1,
               "\xc4\x04"
               "blob",
               6);
    wire_entry(&wire, "int", 1, "\x2a", 1);
    wire_string_entry(&wire, "stranger", "passing");
    wire_string_entry(&wire, "text", "a text");
    wire_entry(&wire, "thing", 1, "Ta thing", 8);
    cr_assert_eq(dctx_snapshot_decode(NULL, wire.data, wire.size, &snapshot), DCTX_OK, "%s",
                 dctx_error_detail());
    wire_finish(&wire);
    return snapshot;
}

static void check_received(void)
{
    cr_assert_str_eq(text_key_get(), "a text");
    cr_assert_str_eq(thing_key_get()->text, "a thing");
    cr_assert_eq(blob_key_get()->size, 4);
    cr_assert_eq(int_key_get_or(0), 42);
    cr_assert_null(bad_key_get());
}

/* ---- everything with one snapshot ---- */

static void *use_one(void *arg)
{
    dctx_snapshot_t *one = dctx_snapshot_ref(arg);
    for (int i = 0; i < ROUNDS; i++) {
        dctx_snapshot_t *forked = NULL, *captured = NULL, *broadcast = NULL;
        dctx_bytes_t bytes;
        dctx_scope_t scope;
        char text[32];
        dctx_snapshot_t *mine = dctx_snapshot_ref(one);
        cr_assert_eq(dctx_attach_scope(mine, i % 2 ? "job" : NULL, &scope), DCTX_OK);
        dctx_snapshot_unref(&mine);
        check_received();
        cr_assert_eq(dctx_fork(&forked), DCTX_OK);
        snprintf(text, sizeof(text), "round %d", i);
        cr_assert_eq(local_key_set(text), DCTX_OK);
        cr_assert_eq(dctx_capture(&captured), DCTX_OK);
        cr_assert_eq(int_key_set(i), DCTX_OK);
        cr_assert_eq(text_key_unset(), DCTX_OK);
        cr_assert_eq(dctx_snapshot_encode(captured, &bytes), DCTX_OK);
        cr_assert_eq(dctx_snapshot_broadcast(forked, &broadcast), DCTX_OK);
        cr_assert_eq(dctx_merge(forked), DCTX_OK);
        check_received();
        cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
        cr_assert_str_eq(dctx_snapshot_get(broadcast, text_key_key()), "a text");
        dctx_snapshot_unref(&forked);
        dctx_snapshot_unref(&captured);
        dctx_snapshot_unref(&broadcast);
    }
    dctx_snapshot_unref(&one);
    return NULL;
}

Test(threads, one_snapshot_on_all, .init = init, .timeout = 60)
{
    dctx_snapshot_t *one = receive();
    on_threads(use_one, one, 0);
    dctx_snapshot_unref(&one);
    done();
}

/* ---- several read, or encode, first ---- */

typedef struct race {
    pthread_barrier_t *start;
    dctx_snapshot_t *snapshot; /* with a reference for each thread */
    dctx_snapshot_t *other;
    const void *text, *thing, *blob, *integer, *bad, *encoded, *encoded_other;
} race_t;

static void *read_first(void *arg)
{
    race_t *race = arg;
    (void)pthread_barrier_wait(race->start);
    race->thing = dctx_snapshot_get(race->snapshot, thing_key_key());
    race->text = dctx_snapshot_get(race->snapshot, text_key_key());
    race->bad = dctx_snapshot_get(race->snapshot, bad_key_key());
    race->blob = dctx_snapshot_get(race->snapshot, blob_key_key());
    race->integer = dctx_snapshot_get(race->snapshot, int_key_key());
    cr_assert_str_eq(((const thing_t *)race->thing)->text, "a thing");
    cr_assert_str_eq(race->text, "a text");
    cr_assert_arr_eq(((const dctx_bytes_t *)race->blob)->data, "blob", 4);
    cr_assert_eq(*(const int64_t *)race->integer, 42);
    cr_assert_null(race->bad);
    return NULL;
}

Test(threads, several_read_first, .init = init, .timeout = 60)
{
    pthread_barrier_t start;
    cr_assert_eq(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int round = 0; round < ROUNDS; round++) {
        dctx_context_counters_t before, after;
        race_t races[THREADS];
        dctx_snapshot_t *snapshot = receive();
        dctx_context_counters_read(&before);
        for (int i = 0; i < THREADS; i++)
            races[i] = (race_t){.start = &start, .snapshot = snapshot};
        on_threads(read_first, races, sizeof(races[0]));
        for (int i = 1; i < THREADS; i++) {
            cr_assert_eq(races[i].thing, races[0].thing);
            cr_assert_eq(races[i].text, races[0].text);
            cr_assert_eq(races[i].blob, races[0].blob);
            cr_assert_eq(races[i].integer, races[0].integer);
        }
        cr_assert_eq(things_alive(), 1, "%zu values of one entry", things_alive());
        dctx_context_counters_read(&after);
        cr_assert_eq(after.entries_undecodable, before.entries_undecodable + 1);
        dctx_snapshot_unref(&snapshot);
    }
    pthread_barrier_destroy(&start);
    done();
}

/* Two that are at it at the same moment for certain, as each waits for the other in the type's own
 * function: one is first, and what the other made goes away. */
static pthread_barrier_t meeting;
static int undone; /* by any thread; relaxed: read when all have ended */

static void meet_destroy(void *value)
{
    (void)value;
    (void)__atomic_add_fetch(&undone, 1, __ATOMIC_RELAXED);
}

static dctx_error_t meet_decode(void *dst, const void *data, size_t size)
{
    (void)pthread_barrier_wait(&meeting);
    memset(dst, 0, sizeof(int64_t));
    memcpy(dst, data, size);
    return DCTX_OK;
}

static dctx_error_t meet_encode(const void *value, dctx_writer_t *writer)
{
    (void)pthread_barrier_wait(&meeting);
    dctx_writer_put(writer, value, 1);
    return DCTX_OK;
}

static const dctx_type_t meet_type = {.name = "meet",
                                      .size = sizeof(int64_t),
                                      .destroy = meet_destroy,
                                      .encode = meet_encode,
                                      .decode = meet_decode};

typedef struct pair {
    const dctx_snapshot_t *snapshot;
    const dctx_key_t *key;
    const void *got;
} pair_t;

static void *read_in_pair(void *arg)
{
    pair_t *pair = arg;
    pair->got = dctx_snapshot_get(pair->snapshot, pair->key);
    return NULL;
}

static void *encode_in_pair(void *arg)
{
    pair_t *pair = arg;
    dctx_bytes_t bytes = {NULL, 0};
    cr_assert_eq(dctx_snapshot_encode(pair->snapshot, &bytes), DCTX_OK);
    pair->got = bytes.data;
    return NULL;
}

/* Both do it once; what they got. */
static const void *in_pairs(void *(*run)(void *), const dctx_snapshot_t *snapshot,
                            const dctx_key_t *key)
{
    pthread_t threads[2];
    pair_t pairs[2];
    cr_assert_eq(pthread_barrier_init(&meeting, NULL, 2), 0);
    for (int i = 0; i < 2; i++) {
        pairs[i] = (pair_t){snapshot, key, NULL};
        cr_assert_eq(pthread_create(&threads[i], NULL, run, &pairs[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    pthread_barrier_destroy(&meeting);
    cr_assert_not_null(pairs[0].got);
    cr_assert_eq(pairs[0].got, pairs[1].got);
    return pairs[0].got;
}

Test(threads, two_at_once_make_one, .init = init, .timeout = 60)
{
    size_t blocks = watch_live_blocks();
    const dctx_key_t *key = NULL;
    const int64_t seven = 7;
    dctx_registry_t *registry = NULL;
    dctx_snapshot_t *empty = NULL, *sent = NULL, *received = NULL;
    dctx_bytes_t bytes;
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    cr_assert_eq(
        dctx_registry_add(registry, &(dctx_key_options_t){.name = "met", .type = &meet_type}, &key),
        DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
    cr_assert_eq(dctx_snapshot_empty(registry, &empty), DCTX_OK);
    DCTX_WITH_SNAPSHOT(empty) {
        cr_assert_eq(dctx_set(key, &seven), DCTX_OK);
        cr_assert_eq(dctx_capture(&sent), DCTX_OK);
    }
    (void)in_pairs(encode_in_pair, sent, key);
    cr_assert_eq(dctx_snapshot_encode(sent, &bytes), DCTX_OK);
    cr_assert_eq(dctx_snapshot_decode(registry, bytes.data, bytes.size, &received), DCTX_OK);
    cr_assert_eq(*(const int64_t *)in_pairs(read_in_pair, received, key), 7);
    cr_assert_eq(undone, 1, "the one that came second, and only it");
    dctx_snapshot_unref(&received);
    dctx_snapshot_unref(&sent);
    dctx_snapshot_unref(&empty);
    dctx_registry_destroy(&registry);
    cr_assert_eq(undone, 3, "what was set, and what was decoded twice");
    /* One is this thread's, for what it learns of the stamps that it decodes. */
    cr_assert_leq(watch_live_blocks(), blocks + 1, "%zu blocks left", watch_live_blocks() - blocks);
    done();
}

static void *encode_first(void *arg)
{
    race_t *race = arg;
    dctx_bytes_t bytes, other;
    dctx_snapshot_t *leaving = NULL;
    (void)pthread_barrier_wait(race->start);
    cr_assert_eq(dctx_snapshot_broadcast(race->other, &leaving), DCTX_OK);
    cr_assert_null(dctx_snapshot_get(leaving, local_key_key()));
    cr_assert_str_eq(dctx_snapshot_get(leaving, text_key_key()), "encoded by all");
    cr_assert_eq(dctx_snapshot_chain_length(leaving), 1);
    dctx_snapshot_unref(&leaving);
    cr_assert_eq(dctx_snapshot_encode(race->snapshot, &bytes), DCTX_OK);
    cr_assert_eq(dctx_snapshot_encode(race->other, &other), DCTX_OK);
    race->encoded = bytes.data;
    race->encoded_other = other.data;
    cr_assert_not_null(memmem(bytes.data, bytes.size, "encoded by all", 14));
    cr_assert_not_null(memmem(other.data, other.size, "encoded by all", 14));
    /* Bytes that were given out stay: all of them can be read to the end. */
    cr_assert_eq(((const uint8_t *)bytes.data)[bytes.size - 1], 'g');
    dctx_snapshot_unref(&race->snapshot);
    dctx_snapshot_unref(&race->other);
    return NULL;
}

Test(threads, several_encode_first, .init = init, .timeout = 60)
{
    pthread_barrier_t start;
    cr_assert_eq(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (int round = 0; round < ROUNDS; round++) {
        race_t races[THREADS];
        dctx_scope_t scope;
        dctx_snapshot_t *one = NULL, *two = NULL;
        thing_t thing = thing_make("a thing");
        cr_assert_eq(dctx_scope_push("edge", &scope), DCTX_OK);
        cr_assert_eq(text_key_set("encoded by all"), DCTX_OK);
        cr_assert_eq(thing_key_take(&thing), DCTX_OK);
        cr_assert_eq(dctx_capture(&one), DCTX_OK);
        cr_assert_eq(int_key_set(round), DCTX_OK); /* the others are shared by the two */
        cr_assert_eq(local_key_set("stays"), DCTX_OK);
        cr_assert_eq(dctx_fork(&two), DCTX_OK);
        for (int i = 0; i < THREADS; i++)
            races[i] = (race_t){.start = &start,
                                .snapshot = dctx_snapshot_ref(one),
                                .other = dctx_snapshot_ref(two)};
        on_threads(encode_first, races, sizeof(races[0]));
        for (int i = 1; i < THREADS; i++) {
            cr_assert_eq(races[i].encoded, races[0].encoded);
            cr_assert_eq(races[i].encoded_other, races[0].encoded_other);
        }
        dctx_snapshot_unref(&one);
        dctx_snapshot_unref(&two);
        cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    }
    pthread_barrier_destroy(&start);
    done();
}

/* ---- a maker that goes on writing ---- */

/* One slot, handed over with a lock: the maker writes its own state while others read what it
 * shared and let go of it. */
typedef struct hand {
    pthread_mutex_t lock;
    pthread_cond_t turned;
    dctx_snapshot_t *snapshot;
    bool over;
} hand_t;

static void *take_and_drop(void *arg)
{
    hand_t *hand = arg;
    for (;;) {
        (void)pthread_mutex_lock(&hand->lock);
        while (hand->snapshot == NULL && !hand->over)
            (void)pthread_cond_wait(&hand->turned, &hand->lock);
        dctx_snapshot_t *snapshot = hand->snapshot;
        hand->snapshot = NULL;
        (void)pthread_cond_broadcast(&hand->turned);
        (void)pthread_mutex_unlock(&hand->lock);
        if (snapshot == NULL)
            return NULL;
        int64_t number = *(const int64_t *)dctx_snapshot_get(snapshot, int_key_key());
        char text[32];
        snprintf(text, sizeof(text), "%lld", (long long)number);
        DCTX_WITH_SNAPSHOT(snapshot) {
            dctx_bytes_t bytes;
            cr_assert_eq(dctx_snapshot_encode(snapshot, &bytes), DCTX_OK);
            dctx_snapshot_unref(&snapshot);
            cr_assert_str_eq(text_key_get(), text);
            cr_assert_eq(int_key_get_or(-1), number);
            cr_assert_eq(text_key_set("changed there"), DCTX_OK);
        }
    }
}

Test(threads, maker_goes_on_writing, .init = init, .timeout = 60)
{
    hand_t hand = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, false};
    pthread_t threads[THREADS];
    dctx_scope_t scope;
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_and_drop, &hand), 0);
    cr_assert_eq(dctx_scope_push("maker", &scope), DCTX_OK);
    for (int round = 0; round < 4 * ROUNDS; round++) {
        char text[32];
        dctx_snapshot_t *snapshot = NULL;
        snprintf(text, sizeof(text), "%d", round);
        cr_assert_eq(text_key_set(text), DCTX_OK);
        cr_assert_eq(int_key_set(round), DCTX_OK);
        cr_assert_eq(local_key_set(text), DCTX_OK);
        cr_assert_eq(round % 2 ? dctx_fork(&snapshot) : dctx_capture(&snapshot), DCTX_OK);
        (void)pthread_mutex_lock(&hand.lock);
        while (hand.snapshot != NULL)
            (void)pthread_cond_wait(&hand.turned, &hand.lock);
        hand.snapshot = snapshot;
        (void)pthread_cond_broadcast(&hand.turned);
        (void)pthread_mutex_unlock(&hand.lock);
    }
    (void)pthread_mutex_lock(&hand.lock);
    hand.over = true;
    (void)pthread_cond_broadcast(&hand.turned);
    (void)pthread_mutex_unlock(&hand.lock);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    done();
}

/* ---- threads ---- */

static void chain_is(const char *expected)
{
    char chain[256];
    (void)dctx_chain_format(chain, sizeof(chain));
    cr_assert_str_eq(chain, expected);
}

static void *deeper(void *arg)
{
    int *left = arg;
    static const char *const chains[] = {"main > t3 > t2 > t1", "main > t3 > t2", "main > t3",
                                         "main"};
    chain_is(chains[*left]);
    cr_assert_str_eq(text_key_get(), "all the way");
    cr_assert_str_eq(local_key_get(), "locals too");
    cr_assert_eq(int_key_get_or(0), 3 - *left);
    /* What it is given is not its own to lose. */
    cr_assert_eq(dctx_scope_depth() <= 1, true);
    if (*left > 0) {
        char name[16];
        pthread_t thread;
        snprintf(name, sizeof(name), "t%d", (*left)--);
        DCTX_SCOPE(name);
        cr_assert_eq(int_key_set(3 - *left), DCTX_OK);
        cr_assert_eq(dctx_thread_create(&thread, NULL, deeper, left), DCTX_OK);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        cr_assert_str_eq(text_key_get(), "all the way");
    }
    cr_assert_eq(text_key_set("changed there"), DCTX_OK);
    if (*left == 0)
        pthread_exit(left);
    return left;
}

Test(threads, fork_of_a_fork_of_a_fork, .init = init)
{
    dctx_scope_t scope;
    pthread_t thread;
    pthread_attr_t attributes;
    void *result = NULL;
    int left = 3;
    cr_assert_eq(dctx_scope_push("main", &scope), DCTX_OK);
    cr_assert_eq(text_key_set("all the way"), DCTX_OK);
    cr_assert_eq(local_key_set("locals too"), DCTX_OK);
    cr_assert_eq(int_key_set(0), DCTX_OK);
    cr_assert_eq(pthread_attr_init(&attributes), 0);
    cr_assert_eq(pthread_attr_setstacksize(&attributes, (size_t)1 << 21), 0);
    cr_assert_eq(dctx_thread_create(&thread, &attributes, deeper, &left), DCTX_OK);
    cr_assert_eq(text_key_set("later"), DCTX_OK); /* the other has what was */
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_assert_eq(result, &left);
    cr_assert_str_eq(text_key_get(), "later");
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    pthread_attr_destroy(&attributes);
    done();
}

static void *make_and_end(void *arg)
{
    DCTX_SCOPE("gone");
    thing_t thing = thing_make("left behind");
    cr_assert_eq(thing_key_take(&thing), DCTX_OK);
    cr_assert_eq(local_key_set("left behind"), DCTX_OK);
    cr_assert_eq(dctx_fork(arg), DCTX_OK);
    return NULL;
}

static void *use_what_was_left(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        DCTX_ATTACH_SCOPE(arg, "after");
        chain_is("gone > after");
        cr_assert_str_eq(thing_key_get()->text, "left behind");
        cr_assert_str_eq(local_key_get(), "left behind");
        cr_assert_eq(local_key_set("changed"), DCTX_OK);
    }
    return NULL;
}

Test(threads, snapshot_outlives_its_thread, .init = init, .timeout = 60)
{
    pthread_t thread;
    dctx_snapshot_t *snapshot = NULL;
    cr_assert_eq(pthread_create(&thread, NULL, make_and_end, &snapshot), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    on_threads(use_what_was_left, snapshot, 0);
    dctx_snapshot_unref(&snapshot);
    done();
}

/* ---- tasks ---- */

static unsigned runs; /* atomic */

static void in_context(void *arg)
{
    chain_is("maker > task");
    cr_assert_str_eq(text_key_get(), arg);
    cr_assert_str_eq(local_key_get(), "local");
    cr_assert_eq(text_key_set("changed there"), DCTX_OK);
    (void)__atomic_add_fetch(&runs, 1, __ATOMIC_RELAXED);
}

static void *run_task(void *arg)
{
    DCTX_SCOPE("runner");
    for (int i = 0; i < ROUNDS; i++) {
        cr_assert_eq(dctx_task_run(arg), DCTX_OK);
        chain_is("runner");
        cr_assert_null(text_key_get());
    }
    return NULL;
}

Test(threads, task_on_several_at_once, .init = init, .timeout = 60)
{
    static char text[] = "given";
    dctx_task_t *task = NULL, *once = NULL, *none = NULL;
    DCTX_WITH_SCOPE("maker") {
        cr_assert_eq(text_key_set(text), DCTX_OK);
        cr_assert_eq(local_key_set("local"), DCTX_OK);
        cr_assert_eq(dctx_task_new(in_context, text, "task", &task), DCTX_OK);
        cr_assert_eq(dctx_task_new(in_context, text, "task", &once), DCTX_OK);
        cr_assert_eq(text_key_set("later"), DCTX_OK);
    }
    on_threads(run_task, task, 0);
    dctx_task_run_once(once);
    cr_assert_eq(runs, THREADS * ROUNDS + 1);
    dctx_task_destroy(&task);
    cr_assert_null(task);
    dctx_task_destroy(&task);
    dctx_task_destroy(&none);
    done();
}

static void destroy_itself(void *arg)
{
    cr_assert_str_eq(text_key_get(), "given");
    dctx_task_destroy(arg);
    cr_assert_str_eq(text_key_get(), "given", "what it runs in went with it");
    chain_is("task");
}

Test(threads, task_destroys_itself, .init = init)
{
    dctx_task_t *task = NULL;
    DCTX_WITH_SCOPE(NULL) {
        cr_assert_eq(text_key_set("given"), DCTX_OK);
        cr_assert_eq(dctx_task_new(destroy_itself, &task, "task", &task), DCTX_OK);
    }
    cr_assert_eq(dctx_task_run(task), DCTX_OK);
    cr_assert_null(task);
    done();
}

/* ---- registries ---- */

typedef struct place {
    dctx_registry_t *registry;
    char text[16];
} place_t;

/* One typed key means on each thread the key of that thread's registry. */
static void *stay_in_place(void *arg)
{
    place_t *place = arg;
    dctx_snapshot_t *empty = NULL;
    dctx_scope_t scope;
    cr_assert_eq(dctx_snapshot_empty(place->registry, &empty), DCTX_OK);
    for (int i = 0; i < ROUNDS; i++) {
        cr_assert_eq(dctx_attach(empty, &scope), DCTX_OK);
        const dctx_key_t *key = text_key_key();
        cr_assert_eq(key, dctx_registry_find(place->registry, "TEXT"));
        cr_assert_null(text_key_get());
        cr_assert_eq(text_key_set(place->text), DCTX_OK);
        cr_assert_str_eq(text_key_get(), place->text);
        cr_assert_eq(dctx_get(key), text_key_get());
        cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
        cr_assert_null(text_key_get());
    }
    dctx_snapshot_unref(&empty);
    return NULL;
}

Test(threads, typed_key_in_several_registries, .init = init, .timeout = 60)
{
    place_t places[THREADS];
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(dctx_registry_new(&places[i].registry), DCTX_OK);
        snprintf(places[i].text, sizeof(places[i].text), "registry %d", i);
        cr_assert_eq(i % 2 ? DCTX_REGISTER_KEYS(places[i].registry, &int_key, &text_key)
                           : DCTX_REGISTER_KEYS(places[i].registry, &text_key),
                     DCTX_OK);
        cr_assert_eq(dctx_registry_freeze(places[i].registry), DCTX_OK);
    }
    on_threads(stay_in_place, places, sizeof(places[0]));
    for (int i = 0; i < THREADS; i++)
        dctx_registry_destroy(&places[i].registry);
    done();
}

/* ---- the log sink ---- */

static void count_line(dctx_log_level_t level, const char *line, void *arg)
{
    (void)level;
    cr_assert_not_null(line);
    (void)__atomic_add_fetch((unsigned *)arg, 1, __ATOMIC_RELAXED);
}

static void *change_sink(void *arg)
{
    static unsigned even, odd;
    for (int i = 0; i < ROUNDS; i++) {
        dctx_scope_t a, b;
        dctx_context_counters_t counters;
        dctx_set_log(i % 3 ? count_line : NULL, i % 2 ? &even : &odd);
        cr_assert_eq(dctx_scope_push("a", &a), DCTX_OK);
        cr_assert_eq(dctx_scope_push("b", &b), DCTX_OK);
        cr_assert_eq(dctx_scope_pop(&a), DCTX_ERR_SCOPE_ORDER);
        cr_assert_eq(dctx_scope_pop(&b), DCTX_OK);
        dctx_context_counters_read(&counters);
        cr_assert_gt(counters.scope_misuse, 0);
    }
    return arg;
}

Test(threads, log_sink_changes, .init = init, .timeout = 60)
{
    on_threads(change_sink, NULL, 0);
    dctx_set_log(NULL, NULL);
    done();
}
