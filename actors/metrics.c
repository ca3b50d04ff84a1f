/* Reading what was measured, and writing it down for Prometheus. */
#include <dcontext/metrics.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "gauge.h"
#include "meter.h"
#include "system.h"

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_alive(dctx_actor_t *actor, uint64_t id)
{
    uint64_t life = atomic_load(&actor->life);
    return (life & DCTX_LIFE_ALIVE) && life >> 32 == id >> 32;
}

static void read_meter(dctx_system_t *system, dctx_meter_t *meter, dctx_actor_metrics_t *metrics)
{
    metrics->metered = true;
    metrics->handled = atomic_load_explicit(&meter->handled, memory_order_relaxed);
    metrics->failed = atomic_load_explicit(&meter->failed, memory_order_relaxed);
    dctx_timing_read_(&meter->wait, &metrics->wait);
    dctx_timing_read_(&meter->run, &metrics->run);
    int64_t oldest = atomic_load_explicit(&meter->oldest, memory_order_relaxed);
    int64_t age = dctx_now_(system) - oldest;
    if (metrics->depth > 0 && age > 0)
        metrics->oldest_ns = age;
}

/* What is known of the actor with this id, whether it lives or not. */
static void read_gauge(dctx_actor_t *actor, uint64_t id, dctx_actor_metrics_t *metrics)
{
    dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_acquire);
    uint64_t state = gauge == NULL ? 0 : atomic_load(&gauge->state);
    if (state >> 32 != id >> 32)
        return;
    metrics->counted = true;
    metrics->depth = (uint32_t)state;
    metrics->depth_max = atomic_load_explicit(&gauge->most, memory_order_relaxed);
    metrics->mailbox_limit = atomic_load_explicit(&gauge->limit, memory_order_relaxed);
    metrics->overflowed = atomic_load_explicit(&gauge->overflowed, memory_order_relaxed);
    dctx_meter_t *meter = atomic_load_explicit(&gauge->metered, memory_order_acquire);
    if (meter != NULL)
        read_meter(actor->system, meter, metrics);
}

/* False: it has gone, or went meanwhile. */
static bool read_actor(dctx_system_t *system, uint64_t id, dctx_actor_metrics_t *metrics)
{
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)id);
    if (actor == NULL || !is_alive(actor, id))
        return false;
    memset(metrics, 0, sizeof *metrics);
    metrics->ref = (dctx_ref_t){.system_ = system, .id_ = id};
    (void)dctx_ref_format(metrics->ref, metrics->name, sizeof metrics->name);
    read_gauge(actor, id, metrics);
    return is_alive(actor, id);
}

dctx_error_t dctx_actor_metrics_read(dctx_ref_t ref, dctx_actor_metrics_t *ret_metrics)
{
    if (ret_metrics == NULL || dctx_ref_is_none(ref) || dctx_ref_is_remote(ref))
        return dctx_fail_(DCTX_ERR_INVALID, "metrics are of an actor of this process");
    if (!read_actor(ref.system_, ref.id_, ret_metrics))
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the actor has gone");
    return DCTX_OK;
}

static bool is_own(dctx_system_t *system, uint64_t id)
{
    for (unsigned i = 0; i < system->caller_count; i++) {
        if (system->callers[i].id_ == id)
            return true;
    }
    return false;
}

void dctx_system_metrics_each(dctx_system_t *system,
                              void (*each)(const dctx_actor_metrics_t *metrics, void *arg),
                              void *arg)
{
    if (system == NULL || each == NULL)
        return;
    dctx_actor_metrics_t metrics;
    uint32_t count = dctx_slab_count(&system->actors);
    for (uint32_t i = 0; i < count; i++) {
        dctx_actor_t *actor = dctx_slab_at(&system->actors, i);
        uint64_t life = atomic_load(&actor->life);
        uint64_t id = dctx_id_make(life >> 32, i);
        if ((life & DCTX_LIFE_ALIVE) && !is_own(system, id) && read_actor(system, id, &metrics))
            each(&metrics, arg);
    }
}

static void add_gauge(dctx_system_t *system, dctx_gauge_t *gauge, dctx_system_metrics_t *metrics)
{
    uint64_t state = atomic_load(&gauge->state);
    uint64_t depth = (uint32_t)state;
    if (state >> 32 == 0)
        return;
    metrics->counted++;
    metrics->depth += depth;
    metrics->deepest = depth > metrics->deepest ? depth : metrics->deepest;
    dctx_meter_t *meter = atomic_load_explicit(&gauge->metered, memory_order_acquire);
    if (meter == NULL)
        return;
    metrics->metered++;
    metrics->handled += atomic_load_explicit(&meter->handled, memory_order_relaxed);
    metrics->failed += atomic_load_explicit(&meter->failed, memory_order_relaxed);
    dctx_timing_read_(&meter->wait, &metrics->wait);
    dctx_timing_read_(&meter->run, &metrics->run);
    int64_t age = dctx_now_(system) - atomic_load_explicit(&meter->oldest, memory_order_relaxed);
    if (depth > 0 && age > metrics->oldest_ns)
        metrics->oldest_ns = age;
}

void dctx_system_metrics_read(dctx_system_t *system, dctx_system_metrics_t *ret_metrics)
{
    if (ret_metrics == NULL)
        return;
    memset(ret_metrics, 0, sizeof *ret_metrics);
    if (system == NULL)
        return;
    /* Under the lock no measured actor ends: each is either in the sum of those that have,
     * or among the living. */
    pthread_mutex_lock(&system->meter_lock);
    dctx_meter_t *gone = &system->gone;
    ret_metrics->handled = atomic_load_explicit(&gone->handled, memory_order_relaxed);
    ret_metrics->failed = atomic_load_explicit(&gone->failed, memory_order_relaxed);
    dctx_timing_read_(&gone->wait, &ret_metrics->wait);
    dctx_timing_read_(&gone->run, &ret_metrics->run);
    uint32_t count = dctx_slab_count(&system->actors);
    for (uint32_t i = 0; i < count; i++) {
        dctx_actor_t *actor = dctx_slab_at(&system->actors, i);
        dctx_gauge_t *gauge = atomic_load_explicit(&actor->gauge, memory_order_acquire);
        if (gauge != NULL)
            add_gauge(system, gauge, ret_metrics);
    }
    pthread_mutex_unlock(&system->meter_lock);
    dctx_system_counters_read(system, &ret_metrics->counters);
}

/* ---- as text --------------------------------------------------------------------------------- */

/* A text that grows. Once it could not, it stays as it is. */
typedef struct text {
    dctx_system_t *system;
    char *bytes;
    size_t length, capacity;
    bool failed;
    unsigned family; /* what of each actor is being written */
} text_t;

static bool grow(text_t *text, size_t more)
{
    if (text->length + more < text->capacity)
        return true;
    size_t capacity = (text->length + more + 1) * 2;
    char *bytes = dctx_alloc_(capacity);
    if (bytes == NULL) {
        text->failed = true;
        return false;
    }
    if (text->length > 0)
        memcpy(bytes, text->bytes, text->length);
    dctx_release_(text->bytes);
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

static void add(text_t *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(text_t *text, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (text->failed || length < 0 || (size_t)length >= sizeof line || !grow(text, (size_t)length))
        return;
    memcpy(text->bytes + text->length, line, (size_t)length + 1);
    text->length += (size_t)length;
}

/* The families of the format must each stand together, so each is a walk through the actors. */
static const struct {
    const char *name, *type, *help;
} families[] = {
    {"dcontext_mailbox_depth", "gauge", "Messages that wait"},
    {"dcontext_mailbox_overflowed_total", "counter", "Messages that found the mailbox full"},
    {"dcontext_mailbox_oldest_seconds", "gauge", "For how long the oldest message waits"},
    {"dcontext_handled_total", "counter", "Messages handled"},
    {"dcontext_failed_total", "counter", "Of them with an error"},
    {"dcontext_wait_seconds", "histogram", "From the send to the handler"},
    {"dcontext_run_seconds", "histogram", "In the handler"},
};

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* Every eighth bound, which is four times the one before. */
static void add_histogram(text_t *text, const char *name, const char *labels,
                          const dctx_histogram_t *histogram)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < DCTX_HISTOGRAM_BUCKETS - 1; i++) {
        seen += histogram->buckets[i];
        if (i % 8 == 0 && i > 0)
            add(text, "%s_bucket{%s,le=\"%.9g\"} %" PRIu64 "\n", name, labels,
                seconds(dctx_histogram_bound(i)), seen);
    }
    seen += histogram->buckets[DCTX_HISTOGRAM_BUCKETS - 1];
    add(text, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, seen);
    add(text, "%s_sum{%s} %.9g\n", name, labels, seconds(histogram->sum_ns));
    add(text, "%s_count{%s} %" PRIu64 "\n", name, labels, seen);
}

static void add_number(text_t *text, const char *labels, uint64_t number)
{
    add(text, "%s{%s} %" PRIu64 "\n", families[text->family].name, labels, number);
}

static void add_actor(const dctx_actor_metrics_t *metrics, void *arg)
{
    text_t *text = arg;
    char labels[160];
    /* Neither name has a character that would have to be escaped. */
    snprintf(labels, sizeof labels, "system=\"%s\",actor=\"%s\"", text->system->name,
             metrics->name);
    if (!metrics->counted || (text->family >= 2 && !metrics->metered))
        return;
    const char *name = families[text->family].name;
    switch (text->family) {
    case 0:
        add_number(text, labels, metrics->depth);
        break;
    case 1:
        add_number(text, labels, metrics->overflowed);
        break;
    case 2:
        add(text, "%s{%s} %.9g\n", name, labels, seconds((uint64_t)metrics->oldest_ns));
        break;
    case 3:
        add_number(text, labels, metrics->handled);
        break;
    case 4:
        add_number(text, labels, metrics->failed);
        break;
    case 5:
        add_histogram(text, name, labels, &metrics->wait);
        break;
    default:
        add_histogram(text, name, labels, &metrics->run);
        break;
    }
}

static void add_counter(text_t *text, const char *name, const char *type, uint64_t number)
{
    add(text, "# TYPE dcontext_%s %s\n", name, type);
    add(text, "dcontext_%s{system=\"%s\"} %" PRIu64 "\n", name, text->system->name, number);
}

static void add_counters(text_t *text)
{
    dctx_system_counters_t c;
    dctx_system_counters_read(text->system, &c);
    add_counter(text, "messages_accepted_total", "counter", c.accepted);
    add_counter(text, "messages_handled_total", "counter", c.handled);
    add_counter(text, "messages_failed_total", "counter", c.failed);
    add_counter(text, "messages_expired_total", "counter", c.expired);
    add_counter(text, "dead_letters_total", "counter", c.dead_lettered);
    add_counter(text, "sends_refused_total", "counter", c.refused);
    add_counter(text, "asks_total", "counter", c.asks);
    add_counter(text, "asks_failed_total", "counter", c.asks_failed);
    add_counter(text, "late_replies_total", "counter", c.late_replies);
    add_counter(text, "remote_sent_total", "counter", c.remote_sent);
    add_counter(text, "remote_received_total", "counter", c.remote_received);
    add_counter(text, "remote_lost_total", "counter", c.remote_lost);
    add_counter(text, "context_errors_total", "counter", c.context_errors);
    add_counter(text, "blocked_total", "counter", c.blocked);
    add_counter(text, "actors", "gauge", c.actors);
    add_counter(text, "asks_in_flight", "gauge", c.asks_in_flight);
}

dctx_error_t dctx_system_metrics_format(dctx_system_t *system, char **ret_text)
{
    if (system == NULL || ret_text == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, or no place for the text");
    text_t text = {.system = system};
    add_counters(&text);
    for (text.family = 0; text.family < sizeof families / sizeof families[0]; text.family++) {
        add(&text, "# HELP %s %s\n", families[text.family].name, families[text.family].help);
        add(&text, "# TYPE %s %s\n", families[text.family].name, families[text.family].type);
        dctx_system_metrics_each(system, add_actor, &text);
    }
    if (text.failed) {
        dctx_release_(text.bytes);
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the text of the metrics");
    }
    *ret_text = text.bytes;
    return DCTX_OK;
}
