#include <dcontext/internal.h>
#include <dcontext/runtime.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "counters.h"

#define STRING2(x) #x
#define STRING(x)  STRING2(x)

const char *dctx_version(void)
{
    return STRING(DCTX_VERSION_MAJOR) "." STRING(DCTX_VERSION_MINOR) "." STRING(DCTX_VERSION_PATCH);
}

/* ---- the log sink ---------------------------------------------------------------------------- */

/*
 * Function and argument must be read as a pair. Two copies and a sequence number: its lowest bit
 * says which copy is the stable one, the writer changes the other and then turns the number. So a
 * reader is never held up by a writer that was suspended half way; it reads again only if a whole
 * change went by meanwhile.
 */
typedef struct log_sink {
    dctx_log_fn call;
    void *arg;
} log_sink_t;

/* Written under sink_lock only. The fields are atomic because a slow reader may be looking at a
 * copy that is being written; it notices by the sequence number and throws away what it read. */
static log_sink_t sinks[2];
static unsigned sink_sequence;
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;

void dctx_set_log(dctx_log_fn sink, void *arg)
{
    (void)pthread_mutex_lock(&sink_lock);
    unsigned next = sink_sequence + 1;
    log_sink_t *copy = &sinks[next & 1];
    /* Release on the fields: a reader that sees one of them also sees, in its second look, a number
     * that has moved on since the last time this copy was the stable one. */
    __atomic_store_n(&copy->call, sink, __ATOMIC_RELEASE);
    __atomic_store_n(&copy->arg, arg, __ATOMIC_RELEASE);
    __atomic_store_n(&sink_sequence, next, __ATOMIC_RELEASE);
    (void)pthread_mutex_unlock(&sink_lock);
}

static log_sink_t read_sink(void)
{
    for (;;) {
        unsigned before = __atomic_load_n(&sink_sequence, __ATOMIC_ACQUIRE);
        const log_sink_t *copy = &sinks[before & 1];
        /* Acquire, so that the second look at the number stays behind these. */
        log_sink_t sink = {__atomic_load_n(&copy->call, __ATOMIC_ACQUIRE),
                           __atomic_load_n(&copy->arg, __ATOMIC_ACQUIRE)};
        if (__atomic_load_n(&sink_sequence, __ATOMIC_RELAXED) == before)
            return sink;
    }
}

bool dctx_log_is_read_(void)
{
    return read_sink().call != NULL;
}

void dctx_log(dctx_log_level_t level, const char *format, ...)
{
    log_sink_t sink = read_sink();
    if (sink.call == NULL)
        return;
    int saved_errno = errno;
    char line[512];
    va_list args;
    va_start(args, format);
    if (vsnprintf(line, sizeof(line), format, args) < 0)
        line[0] = '\0';
    va_end(args);
    /* One call, one line: names from a peer must not forge another. */
    for (char *c = line; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = *c == '\t' ? ' ' : '?';
    sink.call(level, line, sink.arg);
    errno = saved_errno;
}

/* ---- counters -------------------------------------------------------------------------------- */

/*
 * Threads count in stripes, a cache line each, so that decoding on two threads does not share one.
 * The first OWN_STRIPES threads have one each, for good, and so need no atomic addition; all others
 * share what is left. Relaxed, because the figures order nothing.
 */
#define STRIPES     64
#define OWN_STRIPES 32

typedef struct stripe {
    uint64_t counts[DCTX_COUNTERS];
} __attribute__((aligned(64))) stripe_t;

_Static_assert(sizeof(stripe_t) == 64, "a stripe is one cache line");

static stripe_t stripes[STRIPES];
static uint64_t next_stripe;
static _Thread_local stripe_t *my_stripe;
static _Thread_local bool my_own;

static void take_stripe(void)
{
    uint64_t number = __atomic_fetch_add(&next_stripe, 1, __ATOMIC_RELAXED);
    my_own = number < OWN_STRIPES;
    my_stripe = &stripes[my_own ? number : OWN_STRIPES + number % (STRIPES - OWN_STRIPES)];
}

void dctx_count_(dctx_counter_t counter)
{
    if (__builtin_expect(my_stripe == NULL, 0))
        take_stripe();
    uint64_t *count = &my_stripe->counts[counter];
    if (__builtin_expect(my_own, 1))
        __atomic_store_n(count, __atomic_load_n(count, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
    else
        (void)__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
}

static uint64_t total(dctx_counter_t counter)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < STRIPES; i++)
        sum += __atomic_load_n(&stripes[i].counts[counter], __ATOMIC_RELAXED);
    return sum;
}

void dctx_context_counters_read(dctx_context_counters_t *ret_counters)
{
    if (ret_counters == NULL)
        return;
    *ret_counters = (dctx_context_counters_t){
        .decoded = total(DCTX_COUNT_DECODED),
        .decode_refused = total(DCTX_COUNT_DECODE_REFUSED),
        .entries_undecodable = total(DCTX_COUNT_ENTRIES_UNDECODABLE),
        .encoded = total(DCTX_COUNT_ENCODED),
        .encode_refused = total(DCTX_COUNT_ENCODE_REFUSED),
        .scope_refused = total(DCTX_COUNT_SCOPE_REFUSED),
        .scope_misuse = total(DCTX_COUNT_SCOPE_MISUSE),
    };
}
