/* Finagle's broadcast contexts: as Mux's binary pairs, and as HTTP headers. */
#include <string.h>

#include <dcontext/carrier.h>

#include "baggage.h"
#include "deadline.h"
#include "extraction.h"
#include "fail.h"
#include "fold.h"
#include "registry.h"
#include "trace.h"

#define ID "com.twitter.finagle."
static const char trace_id[] = ID "tracing.TraceContext";
static const char client_id[] = ID "thrift.ClientIdContext";
static const char deadline_id[] = ID "Deadline";
static const char retries_id[] = ID "Retries";
static const char backup_id[] = ID "BackupRequest";

static const char http_prefix[] = "Finagle-Ctx-";
#define HTTP_PREFIX_SIZE (sizeof(http_prefix) - 1)

static bool is_id(dctx_bytes_t id, const char *known)
{
    return id.size == strlen(known) && dctx_fold_equal_(id.data, known, id.size);
}

/* ---- bytes ---- */

static uint64_t get_big(const void *data, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | ((const uint8_t *)data)[i];
    return value;
}

static uint8_t *put_big(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = bytes; i-- > 0; value >>= 8)
        out[i] = (uint8_t)value;
    return out + bytes;
}

/* Takes a pair off the front of a run of them. False at the end, or where it is cut short. */
static bool next_pair(dctx_bytes_t *rest, dctx_bytes_t *ret_id, dctx_bytes_t *ret_value)
{
    const uint8_t *at = rest->data;
    if (rest->size < 4)
        return false;
    size_t id_size = (size_t)get_big(at, 2);
    if (rest->size < 4 + id_size)
        return false;
    size_t value_size = (size_t)get_big(at + 2 + id_size, 2);
    size_t whole = 4 + id_size + value_size;
    if (rest->size < whole)
        return false;
    *ret_id = (dctx_bytes_t){at + 2, id_size};
    *ret_value = (dctx_bytes_t){at + 4 + id_size, value_size};
    *rest = (dctx_bytes_t){at + whole, rest->size - whole};
    return true;
}

/* ---- what passes through ---- */

#define PASSING_MAX 8192

/* Pairs that are kept as they came. */
typedef struct passing {
    dctx_extraction_t *extraction;
    size_t used;
    uint8_t bytes[PASSING_MAX];
} passing_t;

static void pass(passing_t *passing, dctx_bytes_t id, dctx_bytes_t value)
{
    size_t whole = 4 + id.size + value.size;
    if (id.size > UINT16_MAX || value.size > UINT16_MAX || whole > PASSING_MAX - passing->used) {
        dctx_extraction_over_limit_(passing->extraction);
        return;
    }
    uint8_t *out = put_big(passing->bytes + passing->used, id.size, 2);
    if (id.size > 0)
        out = (uint8_t *)memcpy(out, id.data, id.size) + id.size;
    out = put_big(out, value.size, 2);
    if (value.size > 0)
        memcpy(out, value.data, value.size);
    passing->used += whole;
}

/* As many whole pairs as there is room for, now that the values of known ones have taken theirs. */
static void end_passing(const passing_t *passing, const dctx_key_t *key)
{
    size_t room = dctx_extraction_room_(passing->extraction, key);
    dctx_bytes_t rest = {passing->bytes, passing->used};
    dctx_bytes_t id, value;
    size_t kept = 0;
    /* The value's own msgpack head takes up to 5. */
    room = room > 5 ? room - 5 : 0;
    while (next_pair(&rest, &id, &value)) {
        if (kept == passing->used - rest.size - 4 - id.size - value.size &&
            passing->used - rest.size <= room)
            kept = passing->used - rest.size;
        else
            dctx_extraction_over_limit_(passing->extraction);
    }
    if (kept > 0)
        (void)dctx_extraction_put_(passing->extraction, key, &(dctx_bytes_t){passing->bytes, kept},
                                   kept + 5);
}

/* ---- values ---- */

static const dctx_key_t *known(const dctx_extraction_t *extraction, enum dctx_known which)
{
    return extraction->registry->known[which];
}

static void set_deadline(dctx_extraction_t *extraction, int64_t timestamp, int64_t when)
{
    const dctx_key_t *key = known(extraction, DCTX_KNOWN_DEADLINE);
    dctx_deadline_t deadline;
    dctx_deadline_from_wall_(timestamp, when, dctx_registry_clocks(extraction->registry),
                             &deadline);
    (void)dctx_deadline_combine(dctx_get(key), &deadline, &deadline);
    (void)dctx_extraction_put_(extraction, key, &deadline, DCTX_DEADLINE_ENCODED);
}

static void set_retries(dctx_extraction_t *extraction, uint64_t attempt)
{
    if (attempt > 0)
        (void)dctx_extraction_put_(extraction, known(extraction, DCTX_KNOWN_RETRY), &attempt, 9);
}

static void set_backup(dctx_extraction_t *extraction)
{
    (void)dctx_extraction_put_(extraction, known(extraction, DCTX_KNOWN_BACKUP), &(bool){true}, 1);
}

/* span, parent, trace, flags, and the upper half of a trace id of 128 bits. */
static bool read_trace(dctx_bytes_t value, dctx_trace_t *ret_trace)
{
    const uint8_t *data = value.data;
    if (value.size != 32 && value.size != 40)
        return false;
    dctx_trace_t trace = {
        .span = get_big(data, 8),
        .parent = get_big(data + 8, 8),
        .trace_low = get_big(data + 16, 8),
        .flags = get_big(data + 24, 8),
        .trace_high = value.size == 40 ? get_big(data + 32, 8) : 0,
    };
    trace.has_parent = trace.parent != trace.span;
    *ret_trace = trace;
    return dctx_trace_is_valid(&trace);
}

static size_t write_trace(const dctx_trace_t *trace, uint8_t out[40])
{
    uint8_t *at = put_big(out, trace->span, 8);
    at = put_big(at, trace->has_parent ? trace->parent : trace->span, 8);
    at = put_big(at, trace->trace_low, 8);
    at = put_big(at, trace->flags, 8);
    if (trace->trace_high != 0)
        at = put_big(at, trace->trace_high, 8);
    return (size_t)(at - out);
}

/* The name with a NUL, as the store wants it. */
static bool set_client(dctx_extraction_t *extraction, dctx_bytes_t value)
{
    char name[4096];
    if (value.size >= sizeof(name) || (value.size > 0 && memchr(value.data, '\0', value.size)))
        return false;
    if (value.size == 0)
        return true;
    memcpy(name, value.data, value.size);
    name[value.size] = '\0';
    return dctx_extraction_put_(extraction, known(extraction, DCTX_KNOWN_CLIENT), name,
                                value.size + 5);
}

/* ---- Mux: extracting ---- */

/* False if nobody here knows the id, or its value is not what it should be. */
static bool take_known(dctx_extraction_t *extraction, dctx_bytes_t id, dctx_bytes_t value,
                       bool *ret_malformed)
{
    dctx_trace_t trace;
    *ret_malformed = true;
    if (is_id(id, trace_id)) {
        if (!read_trace(value, &trace))
            return false;
        dctx_extraction_trace_(extraction, &trace);
    } else if (is_id(id, client_id)) {
        if (!set_client(extraction, value))
            return false;
    } else if (is_id(id, deadline_id)) {
        if (value.size != 16)
            return false;
        set_deadline(extraction, (int64_t)get_big(value.data, 8),
                     (int64_t)get_big((const uint8_t *)value.data + 8, 8));
    } else if (is_id(id, retries_id)) {
        if (value.size != 4)
            return false;
        set_retries(extraction, get_big(value.data, 4));
    } else if (is_id(id, backup_id)) {
        if (value.size != 0)
            return false;
        set_backup(extraction);
    } else {
        *ret_malformed = false;
        return false;
    }
    return true;
}

static bool take_pair(dctx_bytes_t id, dctx_bytes_t value, void *arg)
{
    passing_t *passing = arg;
    bool malformed;
    if (take_known(passing->extraction, id, value, &malformed))
        return true;
    if (malformed)
        dctx_extraction_malformed(passing->extraction);
    pass(passing, id, value);
    return true;
}

static void extract_mux(const dctx_carrier_t *carrier, dctx_extraction_t *extraction)
{
    const dctx_key_t *key = known(extraction, DCTX_KNOWN_FINAGLE_MUX);
    passing_t passing; /* not initialised whole: it is 8 KiB, of which few are used */
    passing.extraction = extraction;
    passing.used = 0;
    carrier->each(carrier->headers, NULL, take_pair, &passing);
    end_passing(&passing, key);
}

/* ---- injecting, of either kind ---- */

typedef struct output {
    dctx_error_t (*put)(struct output *output, dctx_bytes_t id, dctx_bytes_t value);
    const dctx_carrier_t *carrier;
    dctx_writer_t *writer;
    dctx_error_t error; /* the first */
} output_t;

static void put(output_t *output, const char *id, const void *value, size_t size)
{
    dctx_error_t error =
        output->put(output, (dctx_bytes_t){id, strlen(id)}, (dctx_bytes_t){value, size});
    if (output->error == DCTX_OK)
        output->error = error;
}

/* Passing pairs, but not those whose place a value of ours takes. */
static void put_passing(output_t *output, enum dctx_known which, const char *const *taken)
{
    const dctx_bytes_t *pairs = dctx_get(dctx_known_key_(which));
    dctx_bytes_t rest = pairs != NULL ? *pairs : (dctx_bytes_t){NULL, 0};
    dctx_bytes_t id, value;
    while (next_pair(&rest, &id, &value)) {
        bool ours = false;
        for (const char *const *one = taken; *one != NULL; one++)
            ours |= is_id(id, *one);
        dctx_error_t error = ours ? DCTX_OK : output->put(output, id, value);
        if (output->error == DCTX_OK)
            output->error = error;
    }
    if (rest.size > 0)
        dctx_carrier_count_(DCTX_CARRIER_MALFORMED, 1);
}

static void put_mux(output_t *output)
{
    const char *taken[6];
    size_t count = 0;
    uint8_t bytes[40];
    const dctx_trace_t *trace = dctx_trace_get();
    const dctx_deadline_t *deadline = dctx_deadline_get();
    const char *client = dctx_client_get();
    uint32_t attempt = dctx_retry_get();
    if (dctx_trace_is_valid(trace)) {
        put(output, trace_id, bytes, write_trace(trace, bytes));
        taken[count++] = trace_id;
    }
    if (deadline != NULL) {
        (void)put_big(put_big(bytes, (uint64_t)deadline->timestamp, 8),
                      (uint64_t)deadline->deadline, 8);
        put(output, deadline_id, bytes, 16);
        taken[count++] = deadline_id;
    }
    if (client != NULL) {
        put(output, client_id, client, strlen(client));
        taken[count++] = client_id;
    }
    if (attempt > 0) {
        (void)put_big(bytes, attempt, 4);
        put(output, retries_id, bytes, 4);
        taken[count++] = retries_id;
    }
    if (dctx_backup_get()) {
        put(output, backup_id, "", 0);
        taken[count++] = backup_id;
    }
    taken[count] = NULL;
    put_passing(output, DCTX_KNOWN_FINAGLE_MUX, taken);
}

/* Into a carrier, where names are C strings. */
static dctx_error_t put_named(output_t *output, dctx_bytes_t id, dctx_bytes_t value,
                              const char *prefix)
{
    char name[256];
    size_t prefix_size = strlen(prefix);
    if (id.size == 0 || prefix_size + id.size >= sizeof(name) ||
        memchr(id.data, '\0', id.size) != NULL) {
        dctx_carrier_count_(DCTX_CARRIER_OVER_LIMIT, 1);
        return DCTX_OK;
    }
    memcpy(name, prefix, prefix_size);
    memcpy(name + prefix_size, id.data, id.size);
    name[prefix_size + id.size] = '\0';
    return output->carrier->set(output->carrier->headers, name, value.data, value.size);
}

static dctx_error_t put_to_carrier(output_t *output, dctx_bytes_t id, dctx_bytes_t value)
{
    return put_named(output, id, value, "");
}

static dctx_error_t inject_mux(const dctx_carrier_t *carrier)
{
    output_t output = {.put = put_to_carrier, .carrier = carrier};
    put_mux(&output);
    return output.error;
}

/* ---- Mux: as one run of bytes ---- */

static void each_pair(void *container, const char *name, dctx_header_fn visit, void *arg)
{
    dctx_bytes_t rest = *(const dctx_bytes_t *)container;
    dctx_bytes_t id, value;
    while (next_pair(&rest, &id, &value))
        if ((name == NULL || is_id(id, name)) && !visit(id, value, arg))
            return;
}

static bool is_cut_short(dctx_bytes_t rest)
{
    dctx_bytes_t id, value;
    while (next_pair(&rest, &id, &value))
        continue;
    return rest.size > 0;
}

dctx_error_t dctx_mux_extract(dctx_registry_t *registry, const void *data, size_t size,
                              dctx_snapshot_t **ret_snapshot, dctx_carrier_report_t *ret_report)
{
    dctx_bytes_t pairs = {data, size};
    if (data == NULL && size > 0)
        return dctx_fail_(DCTX_ERR_INVALID, "%zu bytes at NULL", size);
    dctx_carrier_t carrier = {.headers = &pairs, .each = each_pair};
    dctx_carrier_report_t report = {0};
    dctx_error_t error = dctx_extract_with_(&dctx_propagator_finagle_mux_, registry, &carrier,
                                            ret_snapshot, &report);
    if (error != DCTX_OK)
        return error;
    if (is_cut_short(pairs)) {
        dctx_carrier_count_(DCTX_CARRIER_MALFORMED, 1);
        report.malformed++;
    }
    if (ret_report != NULL)
        *ret_report = report;
    return DCTX_OK;
}

static dctx_error_t put_to_writer(output_t *output, dctx_bytes_t id, dctx_bytes_t value)
{
    uint8_t head[2];
    if (id.size > UINT16_MAX || value.size > UINT16_MAX)
        return dctx_fail_(DCTX_ERR_LIMIT, "a pair of %zu and %zu bytes; 65535 is what Mux takes",
                          id.size, value.size);
    (void)put_big(head, id.size, 2);
    dctx_writer_put(output->writer, head, 2);
    dctx_writer_put(output->writer, id.data, id.size);
    (void)put_big(head, value.size, 2);
    dctx_writer_put(output->writer, head, 2);
    dctx_writer_put(output->writer, value.data, value.size);
    return dctx_writer_error(output->writer);
}

dctx_error_t dctx_mux_inject(const dctx_snapshot_t *snapshot, dctx_writer_t *writer)
{
    if (writer == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no writer (NULL)");
    dctx_scope_t scope = {0};
    dctx_error_t error = snapshot != NULL ? dctx_attach(snapshot, &scope) : DCTX_OK;
    if (error != DCTX_OK)
        return error;
    output_t output = {.put = put_to_writer, .writer = writer};
    put_mux(&output);
    dctx_error_t popped = dctx_scope_pop(&scope);
    (void)popped;
    return output.error;
}

/* ---- HTTP ---- */

/* TIMESTAMP DEADLINE, in decimal nanoseconds. */
static bool read_deadline(dctx_bytes_t text, int64_t *ret_timestamp, int64_t *ret_deadline)
{
    const char *at = text.data;
    const char *blank = text.size > 0 ? memchr(at, ' ', text.size) : NULL;
    uint64_t timestamp, deadline;
    if (blank == NULL)
        return false;
    size_t first = (size_t)(blank - at);
    if (!dctx_decimal_read_(at, first, &timestamp) ||
        !dctx_decimal_read_(blank + 1, text.size - first - 1, &deadline) || timestamp > INT64_MAX ||
        deadline > INT64_MAX)
        return false;
    *ret_timestamp = (int64_t)timestamp;
    *ret_deadline = (int64_t)deadline;
    return true;
}

/* What an HTTP header may hold, so that a value from a stamp cannot end its line. */
static bool is_header_text(dctx_bytes_t text)
{
    const unsigned char *at = text.data;
    for (size_t i = 0; i < text.size; i++)
        if ((at[i] < 0x20 && at[i] != '\t') || at[i] == 0x7f)
            return false;
    return true;
}

static bool take_header(dctx_bytes_t name, dctx_bytes_t value, void *arg)
{
    passing_t *passing = arg;
    dctx_extraction_t *extraction = passing->extraction;
    if (name.size <= HTTP_PREFIX_SIZE ||
        !dctx_fold_equal_(name.data, http_prefix, HTTP_PREFIX_SIZE))
        return true;
    dctx_bytes_t id = {(const char *)name.data + HTTP_PREFIX_SIZE, name.size - HTTP_PREFIX_SIZE};
    value = dctx_trim_(value);
    int64_t timestamp, deadline;
    uint64_t attempt;
    if (is_id(id, deadline_id)) {
        if (read_deadline(value, &timestamp, &deadline))
            set_deadline(extraction, timestamp, deadline);
        else
            dctx_extraction_malformed(extraction);
    } else if (is_id(id, retries_id)) {
        if (dctx_decimal_read_(value.data, value.size, &attempt) && attempt <= UINT32_MAX)
            set_retries(extraction, attempt);
        else
            dctx_extraction_malformed(extraction);
    } else if (is_id(id, backup_id)) {
        if (value.size == 1 && *(const char *)value.data == '1')
            set_backup(extraction);
        else
            dctx_extraction_malformed(extraction);
    } else if (dctx_baggage_is_token_(id.data, id.size) && is_header_text(value)) {
        pass(passing, id, value);
    } else {
        dctx_extraction_malformed(extraction);
    }
    return true;
}

static void extract_http(const dctx_carrier_t *carrier, dctx_extraction_t *extraction)
{
    const dctx_key_t *key = known(extraction, DCTX_KNOWN_FINAGLE_HTTP);
    passing_t passing; /* as above */
    passing.extraction = extraction;
    passing.used = 0;
    carrier->each(carrier->headers, NULL, take_header, &passing);
    end_passing(&passing, key);
}

static dctx_error_t put_header(output_t *output, dctx_bytes_t id, dctx_bytes_t value)
{
    if (!dctx_baggage_is_token_(id.data, id.size) || !is_header_text(value)) {
        dctx_carrier_count_(DCTX_CARRIER_MALFORMED, 1);
        return DCTX_OK;
    }
    return put_named(output, id, value, http_prefix);
}

static uint64_t from_epoch(int64_t time)
{
    return time > 0 ? (uint64_t)time : 0;
}

static dctx_error_t inject_http(const dctx_carrier_t *carrier)
{
    output_t output = {.put = put_header, .carrier = carrier};
    const char *taken[4];
    size_t count = 0;
    char text[2 * DCTX_DECIMAL_MAX + 1];
    const dctx_deadline_t *deadline = dctx_deadline_get();
    uint32_t attempt = dctx_retry_get();
    if (deadline != NULL) {
        char *out = dctx_decimal_write_(text, from_epoch(deadline->timestamp));
        *out++ = ' ';
        out = dctx_decimal_write_(out, from_epoch(deadline->deadline));
        put(&output, deadline_id, text, (size_t)(out - text));
        taken[count++] = deadline_id;
    }
    if (attempt > 0) {
        put(&output, retries_id, text, (size_t)(dctx_decimal_write_(text, attempt) - text));
        taken[count++] = retries_id;
    }
    if (dctx_backup_get()) {
        put(&output, backup_id, "1", 1);
        taken[count++] = backup_id;
    }
    taken[count] = NULL;
    put_passing(&output, DCTX_KNOWN_FINAGLE_HTTP, taken);
    return output.error;
}

const dctx_propagator_t dctx_propagator_finagle_mux_ = {
    .name = "finagle-mux",
    .extract = extract_mux,
    .inject = inject_mux,
};

const dctx_propagator_t dctx_propagator_finagle_http_ = {
    .name = "finagle-http",
    .extract = extract_http,
    .inject = inject_http,
    .fields = (const char *const[]){"Finagle-Ctx-com.twitter.finagle.Deadline",
                                    "Finagle-Ctx-com.twitter.finagle.Retries",
                                    "Finagle-Ctx-com.twitter.finagle.BackupRequest", NULL},
};
