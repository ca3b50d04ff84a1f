/* The registry of propagators, composites, and the frame around every extraction and injection. */
#include <dcontext/carrier.h>

#include <pthread.h>
#include <string.h>

#include <dcontext/contexts.h>
#include <dcontext/runtime.h>

#include "alloc.h"
#include "extraction.h"
#include "fail.h"
#include "registry.h"
#include "snapshot.h"
#include "trace.h"
#include "writer.h"

/* ---- counters ---- */

/* Counted when something is wrong, so not worth stripes; relaxed, as they order nothing. */
static uint64_t counts[DCTX_CARRIER_COUNTERS];

void dctx_carrier_count_(dctx_carrier_counter_t counter, uint64_t by)
{
    if (by > 0)
        (void)__atomic_fetch_add(&counts[counter], by, __ATOMIC_RELAXED);
}

void dctx_carrier_counters_read(dctx_carrier_counters_t *ret_counters)
{
    if (ret_counters == NULL)
        return;
    *ret_counters = (dctx_carrier_counters_t){
        .malformed = __atomic_load_n(&counts[DCTX_CARRIER_MALFORMED], __ATOMIC_RELAXED),
        .over_limit = __atomic_load_n(&counts[DCTX_CARRIER_OVER_LIMIT], __ATOMIC_RELAXED),
        .deadlines_implausible =
            __atomic_load_n(&counts[DCTX_CARRIER_IMPLAUSIBLE], __ATOMIC_RELAXED),
    };
}

/* ---- the registry of propagators ---- */

#define PROPAGATORS_MAX 32

/* The whole stamp. Handled apart, see dctx_extract(): what the others set goes on top of it. */
static dctx_error_t inject_stamp(const dctx_carrier_t *carrier);
static const char stamp_header[] = "dctx-context";
static const dctx_propagator_t stamp_propagator = {
    .name = "dctx",
    .inject = inject_stamp,
    .fields = (const char *const[]){stamp_header, NULL},
};

/* Under the lock: what users added. */
static pthread_mutex_t added_lock = PTHREAD_MUTEX_INITIALIZER;
static const dctx_propagator_t *added[PROPAGATORS_MAX];
static size_t added_count;

static const dctx_propagator_t *const own[] = {
    &stamp_propagator,         &dctx_propagator_finagle_http_, &dctx_propagator_finagle_mux_,
    &dctx_propagator_b3_,      &dctx_propagator_b3multi_,      &dctx_propagator_tracecontext_,
    &dctx_propagator_baggage_,
};

static bool is_called(const dctx_propagator_t *propagator, const char *name, size_t size)
{
    return strlen(propagator->name) == size && memcmp(propagator->name, name, size) == 0;
}

static const dctx_propagator_t *find(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
        if (is_called(own[i], name, size))
            return own[i];
    for (size_t i = 0; i < added_count; i++)
        if (is_called(added[i], name, size))
            return added[i];
    return NULL;
}

static const dctx_propagator_t *find_locked(const char *name, size_t size)
{
    (void)pthread_mutex_lock(&added_lock);
    const dctx_propagator_t *found = find(name, size);
    (void)pthread_mutex_unlock(&added_lock);
    return found;
}

const dctx_propagator_t *dctx_propagator_find(const char *name)
{
    return name != NULL ? find_locked(name, strlen(name)) : NULL;
}

dctx_error_t dctx_propagator_add(const dctx_propagator_t *propagator)
{
    if (propagator == NULL || propagator->name == NULL || propagator->name[0] == '\0' ||
        strpbrk(propagator->name, ", \t") != NULL || propagator->extract == NULL ||
        propagator->inject == NULL)
        return dctx_fail_(
            DCTX_ERR_INVALID,
            "a propagator needs a name, without a comma or blank, and both functions");
    dctx_error_t error = DCTX_OK;
    (void)pthread_mutex_lock(&added_lock);
    const dctx_propagator_t *known = find(propagator->name, strlen(propagator->name));
    if (known == NULL && added_count < PROPAGATORS_MAX)
        added[added_count++] = propagator;
    else if (known == NULL)
        error = DCTX_ERR_LIMIT;
    else if (known != propagator)
        error = DCTX_ERR_CONFLICT;
    (void)pthread_mutex_unlock(&added_lock);
    if (error == DCTX_ERR_LIMIT)
        return dctx_fail_(error, "propagator '%.64s': there are %d, which is the limit",
                          propagator->name, PROPAGATORS_MAX);
    if (error == DCTX_ERR_CONFLICT)
        return dctx_fail_(error, "there is another propagator '%.64s'", propagator->name);
    return DCTX_OK;
}

/* ---- composites ---- */

struct dctx_propagators {
    size_t count;
    const dctx_propagator_t **list;
};

/* What NULL stands for. Not a whole stamp: whoever sends one could set any key. */
static const dctx_propagators_t extracting = {
    4, (const dctx_propagator_t *[]){&dctx_propagator_finagle_http_, &dctx_propagator_b3_,
                                     &dctx_propagator_tracecontext_, &dctx_propagator_baggage_}};
static const dctx_propagators_t injecting = {
    2, (const dctx_propagator_t *[]){&dctx_propagator_tracecontext_, &dctx_propagator_baggage_}};

static bool has(const dctx_propagators_t *propagators, const dctx_propagator_t *propagator)
{
    for (size_t i = 0; i < propagators->count; i++)
        if (propagators->list[i] == propagator)
            return true;
    return false;
}

static dctx_error_t fill(dctx_propagators_t *propagators, const char *names)
{
    for (const char *at = names;;) {
        const char *end = strchrnul(at, ',');
        dctx_bytes_t name = dctx_trim_((dctx_bytes_t){at, (size_t)(end - at)});
        const dctx_propagator_t *propagator = find_locked(name.data, name.size);
        if (propagator == NULL)
            return dctx_fail_(DCTX_ERR_ABSENT, "there is no propagator '%.*s'",
                              (int)(name.size < 64 ? name.size : 64), (const char *)name.data);
        if (has(propagators, propagator))
            return dctx_fail_(DCTX_ERR_INVALID, "propagator '%s' stands twice", propagator->name);
        propagators->list[propagators->count++] = propagator;
        if (*end == '\0')
            return DCTX_OK;
        at = end + 1;
    }
}

dctx_error_t dctx_propagators_new(const char *names, dctx_propagators_t **ret_propagators)
{
    if (names == NULL || ret_propagators == NULL)
        return dctx_fail_(DCTX_ERR_INVALID,
                          names == NULL ? "no names (NULL)" : "no place for the composite (NULL)");
    size_t most = 1;
    for (const char *at = names; (at = strchr(at, ',')) != NULL; at++)
        most++;
    dctx_propagators_t *propagators =
        dctx_alloc_(sizeof(*propagators) + most * sizeof(*propagators->list));
    if (propagators == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %zu propagators", most);
    *propagators = (dctx_propagators_t){0, (const dctx_propagator_t **)(propagators + 1)};
    dctx_error_t error = fill(propagators, names);
    if (error != DCTX_OK) {
        dctx_release_(propagators);
        return error;
    }
    *ret_propagators = propagators;
    return DCTX_OK;
}

void dctx_propagators_destroy(dctx_propagators_t **propagators_p)
{
    if (propagators_p == NULL)
        return;
    dctx_release_(*propagators_p);
    *propagators_p = NULL;
}

const char *dctx_propagators_field(const dctx_propagators_t *propagators, size_t index)
{
    if (propagators == NULL)
        propagators = &injecting;
    for (size_t i = 0; i < propagators->count; i++)
        for (const char *const *field = propagators->list[i]->fields;
             field != NULL && *field != NULL; field++)
            if (index-- == 0)
                return *field;
    return NULL;
}

/* ---- what extract functions use ---- */

dctx_registry_t *dctx_extraction_registry(const dctx_extraction_t *extraction)
{
    return extraction->registry;
}

void dctx_extraction_malformed(dctx_extraction_t *extraction)
{
    extraction->report.malformed++;
}

void dctx_extraction_over_limit_(dctx_extraction_t *extraction)
{
    extraction->report.over_limit++;
}

/* The bin head of a value, with the array head, name and version before it. */
static size_t entry_overhead(const dctx_key_t *key)
{
    return key->prefix_size + (size_t)5;
}

size_t dctx_extraction_room_(const dctx_extraction_t *extraction, const dctx_key_t *key)
{
    size_t overhead = entry_overhead(key);
    size_t limit = extraction->registry->limits.value_bytes;
    size_t room = extraction->room > overhead ? extraction->room - overhead : 0;
    return extraction->entries == 0 ? 0 : room < limit ? room : limit;
}

bool dctx_extraction_put_(dctx_extraction_t *extraction, const dctx_key_t *key, const void *value,
                          size_t encoded)
{
    bool travels = key->kind == DCTX_KIND_BROADCAST;
    if (travels && encoded > dctx_extraction_room_(extraction, key)) {
        dctx_extraction_over_limit_(extraction);
        return false;
    }
    dctx_error_t error = dctx_set(key, value);
    if (error == DCTX_ERR_NOMEM)
        extraction->error = error;
    if (error != DCTX_OK) {
        if (error != DCTX_ERR_NOMEM)
            dctx_extraction_malformed(extraction);
        return false;
    }
    if (travels) {
        extraction->room -= entry_overhead(key) + encoded;
        extraction->entries--;
    }
    return true;
}

void dctx_extraction_set(dctx_extraction_t *extraction, const dctx_key_t *key, const void *value)
{
    if (key == NULL || value == NULL) {
        dctx_extraction_malformed(extraction);
        return;
    }
    /* What has no encode function is local, or the deadline. */
    if (key->encode == NULL || key->kind == DCTX_KIND_LOCAL) {
        (void)dctx_extraction_put_(extraction, key, value, 64);
        return;
    }
    uint8_t buffer[256];
    dctx_writer_t writer;
    dctx_writer_init_(&writer, buffer, sizeof(buffer), extraction->registry->limits.value_bytes);
    dctx_error_t error = key->encode(value, &writer);
    if (dctx_writer_error(&writer) != DCTX_OK)
        error = dctx_writer_error(&writer);
    size_t size = dctx_writer_bytes(&writer).size;
    dctx_writer_finish_(&writer);
    if (error == DCTX_OK)
        (void)dctx_extraction_put_(extraction, key, value, size);
    else if (error == DCTX_ERR_NOMEM)
        extraction->error = error;
    else if (error == DCTX_ERR_LIMIT)
        dctx_extraction_over_limit_(extraction);
    else
        dctx_extraction_malformed(extraction);
}

void dctx_extraction_trace_(dctx_extraction_t *extraction, const dctx_trace_t *trace)
{
    const dctx_key_t *key = extraction->registry->known[DCTX_KNOWN_TRACE];
    const dctx_trace_t *present = dctx_get(key);
    dctx_trace_t merged = *trace;
    bool same_trace = present != NULL && present->trace_low == trace->trace_low &&
                      present->trace_high == trace->trace_high;
    if (same_trace && present->span == trace->span) {
        merged.flags |= present->flags & ~(DCTX_TRACE_SAMPLING_KNOWN | DCTX_TRACE_SAMPLED);
        if (dctx_trace_sampled(trace) == DCTX_SAMPLED_NO)
            merged.flags &= ~DCTX_TRACE_DEBUG;
        merged.random |= present->random;
        if (!merged.has_parent) {
            merged.has_parent = present->has_parent;
            merged.parent = present->parent;
        }
    }
    const dctx_key_t *state = extraction->registry->known[DCTX_KNOWN_TRACESTATE];
    if (present != NULL && !same_trace && dctx_get(state) != NULL &&
        dctx_unset(state) == DCTX_ERR_NOMEM)
        extraction->error = DCTX_ERR_NOMEM;
    (void)dctx_extraction_put_(extraction, key, &merged, DCTX_TRACE_ENCODED_MAX);
}

bool dctx_single_visit_(dctx_bytes_t name, dctx_bytes_t value, void *single)
{
    dctx_single_t *found = single;
    (void)name;
    found->count++;
    found->value = dctx_trim_(value);
    return true;
}

bool dctx_decimal_read_(const char *text, size_t size, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (size == 0)
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned digit = (unsigned)(unsigned char)text[i] - '0';
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *ret_value = value;
    return true;
}

char *dctx_decimal_write_(char *out, uint64_t value)
{
    char digits[DCTX_DECIMAL_MAX];
    size_t count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    while (count > 0)
        *out++ = digits[--count];
    return out;
}

/* ---- the whole stamp ---- */

static dctx_snapshot_t *extract_stamp(const dctx_carrier_t *carrier, dctx_extraction_t *extraction)
{
    dctx_single_t header = dctx_single_(carrier, stamp_header);
    if (header.count == 0)
        return NULL;
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = DCTX_ERR_MALFORMED;
    if (header.count == 1)
        error = dctx_snapshot_from_base64(extraction->registry, header.value.data,
                                          header.value.size, &snapshot);
    if (error == DCTX_ERR_NOMEM)
        extraction->error = error;
    else if (error == DCTX_ERR_LIMIT)
        dctx_extraction_over_limit_(extraction);
    else if (error != DCTX_OK)
        dctx_extraction_malformed(extraction);
    if (error != DCTX_OK)
        return NULL;
    size_t used = header.value.size / 4 * 3;
    size_t entries = dctx_snapshot_count(snapshot) + dctx_snapshot_unknown_count(snapshot);
    extraction->room -= used < extraction->room ? used : extraction->room;
    extraction->entries -= entries < extraction->entries ? entries : extraction->entries;
    return snapshot;
}

static dctx_error_t inject_stamp(const dctx_carrier_t *carrier)
{
    dctx_snapshot_t *snapshot = NULL;
    char *text = NULL;
    dctx_error_t error = dctx_capture(&snapshot);
    if (error == DCTX_OK && !dctx_snapshot_is_empty(snapshot))
        error = dctx_snapshot_to_base64(snapshot, DCTX_BASE64, &text);
    if (error == DCTX_OK && text != NULL)
        error = carrier->set(carrier->headers, stamp_header, text, strlen(text));
    dctx_free(text);
    dctx_snapshot_unref(&snapshot);
    return error;
}

/* ---- extracting and injecting ---- */

static dctx_error_t extract_onto(const dctx_snapshot_t *base, const dctx_propagators_t *propagators,
                                 const dctx_carrier_t *carrier, dctx_extraction_t *extraction,
                                 dctx_snapshot_t **ret_snapshot)
{
    dctx_scope_t scope;
    dctx_error_t error = dctx_attach(base, &scope);
    if (error != DCTX_OK)
        return error;
    for (size_t i = 0; i < propagators->count && extraction->error == DCTX_OK; i++)
        if (propagators->list[i] != &stamp_propagator)
            propagators->list[i]->extract(carrier, extraction);
    error = extraction->error;
    if (error == DCTX_OK)
        error = dctx_fork(ret_snapshot);
    dctx_error_t popped = dctx_scope_pop(&scope);
    (void)popped; /* not ours to report: a propagator left its scope open, and that was logged */
    return error;
}

dctx_error_t dctx_extract(const dctx_propagators_t *propagators, dctx_registry_t *registry,
                          const dctx_carrier_t *carrier, dctx_snapshot_t **ret_snapshot,
                          dctx_carrier_report_t *ret_report)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return DCTX_ERR_NOMEM;
    if (carrier == NULL || carrier->each == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no carrier, or one that cannot be walked");
    if (ret_snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no place for what is extracted (NULL)");
    if (!dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_NOT_FROZEN, "freeze the registry before extracting");
    if (propagators == NULL)
        propagators = &extracting;
    dctx_extraction_t extraction = {
        .registry = registry,
        .room = registry->limits.stamp_bytes / 4 * 3,
        .entries = registry->limits.entries,
    };
    dctx_snapshot_t *base = NULL;
    dctx_snapshot_t *snapshot = NULL;
    if (has(propagators, &stamp_propagator))
        base = extract_stamp(carrier, &extraction);
    dctx_error_t error = extraction.error;
    if (error == DCTX_OK && base == NULL)
        error = dctx_snapshot_empty(registry, &base);
    if (error == DCTX_OK)
        error = extract_onto(base, propagators, carrier, &extraction, &snapshot);
    dctx_snapshot_unref(&base);
    dctx_carrier_count_(DCTX_CARRIER_MALFORMED, extraction.report.malformed);
    dctx_carrier_count_(DCTX_CARRIER_OVER_LIMIT, extraction.report.over_limit);
    if (error != DCTX_OK)
        return error;
    *ret_snapshot = snapshot;
    if (ret_report != NULL)
        *ret_report = extraction.report;
    return DCTX_OK;
}

dctx_error_t dctx_extract_with_(const dctx_propagator_t *propagator, dctx_registry_t *registry,
                                const dctx_carrier_t *carrier, dctx_snapshot_t **ret_snapshot,
                                dctx_carrier_report_t *ret_report)
{
    const dctx_propagators_t one = {1, &propagator};
    return dctx_extract(&one, registry, carrier, ret_snapshot, ret_report);
}

dctx_error_t dctx_inject(const dctx_propagators_t *propagators, const dctx_snapshot_t *snapshot,
                         const dctx_carrier_t *carrier)
{
    if (carrier == NULL || carrier->set == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no carrier, or one that cannot be written");
    if (propagators == NULL)
        propagators = &injecting;
    dctx_scope_t scope = {0};
    dctx_error_t error = snapshot != NULL ? dctx_attach(snapshot, &scope) : DCTX_OK;
    if (error != DCTX_OK)
        return error;
    for (size_t i = 0; i < propagators->count; i++) {
        dctx_error_t one = propagators->list[i]->inject(carrier);
        if (error == DCTX_OK)
            error = one;
    }
    dctx_error_t popped = dctx_scope_pop(&scope);
    (void)popped;
    return error;
}
