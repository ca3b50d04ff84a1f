#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/dcontext.h>

#include "counters.h"

Test(runtime, version)
{
    char expected[32];
    (void)snprintf(expected, sizeof(expected), "%d.%d.%d", DCTX_VERSION_MAJOR, DCTX_VERSION_MINOR,
                   DCTX_VERSION_PATCH);
    cr_assert_str_eq(dctx_version(), expected);
}

typedef struct seen {
    int lines;
    dctx_log_level_t level;
    char line[512];
} seen_t;

static void see(dctx_log_level_t level, const char *line, void *arg)
{
    seen_t *seen = arg;
    seen->lines++;
    seen->level = level;
    (void)snprintf(seen->line, sizeof(seen->line), "%s", line);
}

static void no_log(void)
{
    dctx_set_log(NULL, NULL);
}

Test(runtime, without_a_sink_nothing_is_said)
{
    dctx_log(DCTX_LOG_ERROR, "into the void %d", 1);
}

Test(runtime, a_line_reaches_the_sink, .fini = no_log)
{
    seen_t seen = {0};
    dctx_set_log(see, &seen);
    errno = ENOENT;
    dctx_log(DCTX_LOG_WARNING, "key '%s': %d", "tenant", 7);
    cr_assert_eq(errno, ENOENT);
    cr_assert_eq(seen.lines, 1);
    cr_assert_eq(seen.level, DCTX_LOG_WARNING);
    cr_assert_str_eq(seen.line, "key 'tenant': 7");
    dctx_set_log(NULL, NULL);
    dctx_log(DCTX_LOG_WARNING, "gone");
    cr_assert_eq(seen.lines, 1);
}

Test(runtime, a_line_is_cut_and_cannot_forge_another, .fini = no_log)
{
    seen_t seen = {0};
    char text[2000];
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    dctx_set_log(see, &seen);
    dctx_log(DCTX_LOG_INFO, "%s", text);
    cr_assert_eq(strlen(seen.line), 511);
    dctx_log(DCTX_LOG_INFO, "a\r\n[error] b\tc\x7f");
    cr_assert_str_eq(seen.line, "a??[error] b c?");
}

static seen_t inner;

static void reentrant(dctx_log_level_t level, const char *line, void *arg)
{
    /* A sink may log, and may replace itself; else this would go on for ever. */
    int *calls = arg;
    (*calls)++;
    dctx_set_log(see, &inner);
    dctx_log(level, "again: %s", line);
}

Test(runtime, a_sink_may_call_back, .fini = no_log)
{
    int calls = 0;
    inner = (seen_t){0};
    dctx_set_log(reentrant, &calls);
    dctx_log(DCTX_LOG_DEBUG, "x");
    dctx_log(DCTX_LOG_DEBUG, "y");
    cr_assert_eq(calls, 1);
    cr_assert_eq(inner.lines, 2);
    cr_assert_str_eq(inner.line, "y");
}

/* Two sinks, each with its own argument; a torn pair would show. */
static int first_arg, second_arg;
static int torn;
static int stop;

static void first(dctx_log_level_t level, const char *line, void *arg)
{
    (void)level, (void)line;
    if (arg != &first_arg)
        __atomic_store_n(&torn, 1, __ATOMIC_RELAXED);
}

static void second(dctx_log_level_t level, const char *line, void *arg)
{
    (void)level, (void)line;
    if (arg != &second_arg)
        __atomic_store_n(&torn, 1, __ATOMIC_RELAXED);
}

static void *swap_sinks(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20000; i++) {
        dctx_set_log(first, &first_arg);
        dctx_set_log(second, &second_arg);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    return NULL;
}

Test(runtime, function_and_argument_are_always_a_pair, .fini = no_log, .timeout = 30)
{
    pthread_t thread;
    torn = stop = 0;
    cr_assert_eq(pthread_create(&thread, NULL, swap_sinks, NULL), 0);
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
        dctx_log(DCTX_LOG_DEBUG, "x");
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(torn, 0);
}

#define THREADS 4
#define ROUNDS  1000

static void *count(void *arg)
{
    (void)arg;
    for (int i = 0; i < ROUNDS; i++)
        for (int c = 0; c < DCTX_COUNTERS; c++)
            for (int n = 0; n <= c; n++)
                dctx_count_((dctx_counter_t)c);
    return NULL;
}

/* What returns nothing and is given nowhere to put a result does nothing. */
Test(runtime, nowhere_to_put_a_result_is_no_harm)
{
    const dctx_deadline_t deadline = {.due = 1};
    const dctx_trace_t trace = {.trace_low = 1, .span = 1};
    dctx_context_counters_read(NULL);
    dctx_carrier_counters_read(NULL);
    dctx_registry_limits(NULL, NULL);
    dctx_trace_root(NULL, NULL);
    dctx_trace_child(NULL, NULL, NULL);
    dctx_trace_child(&trace, NULL, NULL);
    dctx_trace_decide(NULL, DCTX_SAMPLED_YES);
    dctx_deadline_after(NULL, 1, NULL);
    cr_assert(!dctx_deadline_combine(&deadline, NULL, NULL));
    dctx_random_seed(NULL, 1);
}

Test(runtime, counters_add_up_over_threads)
{
    dctx_context_counters_t before, after;
    pthread_t threads[THREADS];
    dctx_context_counters_read(&before);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
    dctx_context_counters_read(&after);
    cr_assert_eq(after.decoded - before.decoded, 1 * THREADS * ROUNDS);
    cr_assert_eq(after.decode_refused - before.decode_refused, 2 * THREADS * ROUNDS);
    cr_assert_eq(after.entries_undecodable - before.entries_undecodable, 3 * THREADS * ROUNDS);
    cr_assert_eq(after.encoded - before.encoded, 4 * THREADS * ROUNDS);
    cr_assert_eq(after.encode_refused - before.encode_refused, 5 * THREADS * ROUNDS);
    cr_assert_eq(after.scope_refused - before.scope_refused, 6 * THREADS * ROUNDS);
    cr_assert_eq(after.scope_misuse - before.scope_misuse, 7 * THREADS * ROUNDS);
}
