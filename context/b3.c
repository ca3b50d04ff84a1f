/* Zipkin's B3, in one header or in several. */
#include <string.h>

#include "extraction.h"
#include "fold.h"
#include "trace.h"

static bool equals(dctx_bytes_t value, const char *text)
{
    return value.size == strlen(text) && memcmp(value.data, text, value.size) == 0;
}

/* ---- ids ---- */

static bool parse_trace_id(const char *text, size_t size, dctx_trace_t *trace)
{
    if (size != 16 && size != 32)
        return false;
    trace->trace_high = 0;
    return (size == 16 || dctx_hex_read_(text, 16, true, &trace->trace_high)) &&
           dctx_hex_read_(text + size - 16, 16, true, &trace->trace_low) &&
           (trace->trace_high | trace->trace_low) != 0;
}

static bool parse_span_id(const char *text, size_t size, uint64_t *ret_id)
{
    return size == 16 && dctx_hex_read_(text, 16, true, ret_id) && *ret_id != 0;
}

static bool parse_parent(const char *text, size_t size, dctx_trace_t *trace)
{
    trace->has_parent = parse_span_id(text, size, &trace->parent);
    return trace->has_parent;
}

/* 0, 1, or d for debug. */
static bool parse_decision(const char *text, size_t size, dctx_trace_t *trace)
{
    if (size != 1)
        return false;
    switch (*text) {
    case 'd':
        trace->flags = DCTX_TRACE_DEBUG | DCTX_TRACE_SAMPLING_KNOWN | DCTX_TRACE_SAMPLED;
        return true;
    case '1':
        trace->flags = DCTX_TRACE_SAMPLING_KNOWN | DCTX_TRACE_SAMPLED;
        return true;
    case '0':
        trace->flags = DCTX_TRACE_SAMPLING_KNOWN;
        return true;
    default:
        return false;
    }
}

static char decision(const dctx_trace_t *trace)
{
    if ((trace->flags & DCTX_TRACE_DEBUG) != 0)
        return 'd';
    return dctx_trace_sampled(trace) == DCTX_SAMPLED_YES ? '1' : '0';
}

/* Digits for a trace id of 64 or 128 bits. */
static char *write_trace_id(char *out, const dctx_trace_t *trace)
{
    if (trace->trace_high != 0)
        out = dctx_hex_write_(out, trace->trace_high, 16);
    return dctx_hex_write_(out, trace->trace_low, 16);
}

/* ---- one header: {trace}-{span}-{decision}-{parent}, or a decision alone ---- */

/* The next part, up to a dash or the end. */
static dctx_bytes_t next_part(dctx_bytes_t *rest)
{
    const char *dash = rest->size > 0 ? memchr(rest->data, '-', rest->size) : NULL;
    dctx_bytes_t part = {rest->data,
                         dash != NULL ? (size_t)(dash - (const char *)rest->data) : rest->size};
    *rest = dash != NULL ? (dctx_bytes_t){dash + 1, rest->size - part.size - 1}
                         : (dctx_bytes_t){NULL, 0};
    return part;
}

static bool parse_single(dctx_bytes_t value, dctx_trace_t *trace)
{
    if (parse_decision(value.data, value.size, trace))
        return true;
    dctx_bytes_t id = next_part(&value);
    if (!parse_trace_id(id.data, id.size, trace) || value.data == NULL)
        return false;
    dctx_bytes_t span = next_part(&value);
    if (!parse_span_id(span.data, span.size, &trace->span))
        return false;
    if (value.data == NULL)
        return true;
    dctx_bytes_t sampled = next_part(&value);
    if (!parse_decision(sampled.data, sampled.size, trace))
        return false;
    return value.data == NULL || parse_parent(value.data, value.size, trace);
}

/* ---- several headers ---- */

/* X-B3-TraceId and the others; which one, by the name's part behind the prefix. */
typedef enum field { TRACE_ID, SPAN_ID, PARENT_ID, SAMPLED, FLAGS, FIELDS } field_t;

static const char *const field_names[FIELDS + 1] = {
    "X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled", "X-B3-Flags", NULL};

/* What was decided, if that is well-formed. Some send true and false. */
static bool parse_flags(dctx_bytes_t sampled, dctx_bytes_t flags, dctx_trace_t *trace)
{
    if (equals(flags, "1"))
        return parse_decision("d", 1, trace);
    if (sampled.size == 4 && dctx_fold_equal_(sampled.data, "true", 4))
        return parse_decision("1", 1, trace);
    if (sampled.size == 5 && dctx_fold_equal_(sampled.data, "false", 5))
        return parse_decision("0", 1, trace);
    return sampled.data == NULL
               ? flags.data == NULL || equals(flags, "0")
               : !equals(sampled, "d") && parse_decision(sampled.data, sampled.size, trace);
}

/* All headers of both forms, found in one walk. */
typedef struct found {
    dctx_single_t single;
    dctx_single_t fields[FIELDS];
    bool several;
} found_t;

static bool take_header(dctx_bytes_t name, dctx_bytes_t value, void *arg)
{
    found_t *found = arg;
    if (name.size == 2 && dctx_fold_equal_(name.data, "b3", 2))
        return dctx_single_visit_(name, value, &found->single);
    if (name.size < 10 || !dctx_fold_equal_(name.data, "x-b3-", 5))
        return true;
    for (int i = 0; i < FIELDS; i++)
        if (strlen(field_names[i]) == name.size &&
            dctx_fold_equal_(name.data, field_names[i], name.size)) {
            found->several = true;
            return dctx_single_visit_(name, value, &found->fields[i]);
        }
    return true;
}

static void extract_several(const found_t *found, dctx_extraction_t *extraction)
{
    dctx_bytes_t values[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        const dctx_single_t *header = &found->fields[i];
        values[i] = header->count == 1 ? header->value : (dctx_bytes_t){NULL, 0};
        if (header->count > 1)
            dctx_extraction_malformed(extraction);
    }
    dctx_trace_t trace = {0};
    if (!parse_flags(values[SAMPLED], values[FLAGS], &trace))
        dctx_extraction_malformed(extraction);
    if (values[TRACE_ID].data != NULL || values[SPAN_ID].data != NULL) {
        if (!parse_trace_id(values[TRACE_ID].data, values[TRACE_ID].size, &trace) ||
            !parse_span_id(values[SPAN_ID].data, values[SPAN_ID].size, &trace.span)) {
            dctx_extraction_malformed(extraction);
            trace.trace_high = trace.trace_low = trace.span = 0;
        } else if (values[PARENT_ID].data != NULL &&
                   !parse_parent(values[PARENT_ID].data, values[PARENT_ID].size, &trace)) {
            dctx_extraction_malformed(extraction);
        }
    }
    if (dctx_trace_is_valid(&trace) || trace.flags != 0)
        dctx_extraction_trace_(extraction, &trace);
}

/* One header wins over several, whatever it says. */
static void extract(const dctx_carrier_t *carrier, dctx_extraction_t *extraction)
{
    found_t found = {0};
    carrier->each(carrier->headers, NULL, take_header, &found);
    if (found.single.count == 0) {
        if (found.several)
            extract_several(&found, extraction);
        return;
    }
    dctx_trace_t trace = {0};
    if (found.single.count > 1 || !parse_single(found.single.value, &trace))
        dctx_extraction_malformed(extraction);
    else
        dctx_extraction_trace_(extraction, &trace);
}

/* ---- injecting ---- */

static dctx_error_t inject_single(const dctx_carrier_t *carrier)
{
    const dctx_trace_t *trace = dctx_trace_get();
    char line[32 + 1 + 16 + 1 + 1 + 1 + 16];
    char *out = line;
    bool decided = dctx_trace_sampled(trace) != DCTX_SAMPLED_UNKNOWN;
    bool valid = dctx_trace_is_valid(trace);
    if (trace == NULL || (!valid && !decided))
        return DCTX_OK;
    if (valid) {
        out = write_trace_id(out, trace);
        *out++ = '-';
        out = dctx_hex_write_(out, trace->span, 16);
    }
    if (decided) {
        if (valid)
            *out++ = '-';
        *out++ = decision(trace);
    }
    /* Its place is behind a decision. */
    if (valid && decided && trace->has_parent && trace->parent != 0) {
        *out++ = '-';
        out = dctx_hex_write_(out, trace->parent, 16);
    }
    return carrier->set(carrier->headers, "b3", line, (size_t)(out - line));
}

typedef struct output {
    const dctx_carrier_t *carrier;
    dctx_error_t error; /* the first */
} output_t;

static void put(output_t *output, field_t field, const char *value, size_t size)
{
    dctx_error_t error =
        output->carrier->set(output->carrier->headers, field_names[field], value, size);
    if (output->error == DCTX_OK)
        output->error = error;
}

static dctx_error_t inject_multi(const dctx_carrier_t *carrier)
{
    const dctx_trace_t *trace = dctx_trace_get();
    output_t output = {carrier, DCTX_OK};
    char text[32];
    if (trace == NULL)
        return DCTX_OK;
    if (dctx_trace_is_valid(trace)) {
        put(&output, TRACE_ID, text, (size_t)(write_trace_id(text, trace) - text));
        (void)dctx_hex_write_(text, trace->span, 16);
        put(&output, SPAN_ID, text, 16);
        (void)dctx_hex_write_(text, trace->parent, 16);
        if (trace->has_parent && trace->parent != 0)
            put(&output, PARENT_ID, text, 16);
    }
    text[0] = decision(trace);
    if (text[0] == 'd')
        put(&output, FLAGS, "1", 1);
    else if (dctx_trace_sampled(trace) != DCTX_SAMPLED_UNKNOWN)
        put(&output, SAMPLED, text, 1);
    return output.error;
}

const dctx_propagator_t dctx_propagator_b3_ = {
    .name = "b3",
    .extract = extract,
    .inject = inject_single,
    .fields = (const char *const[]){"b3", NULL},
};

const dctx_propagator_t dctx_propagator_b3multi_ = {
    .name = "b3multi",
    .extract = extract,
    .inject = inject_multi,
    .fields = field_names,
};
