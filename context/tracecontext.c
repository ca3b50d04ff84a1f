/* W3C Trace Context: traceparent and tracestate. */
#include <string.h>

#include "extraction.h"
#include "known.h"
#include "registry.h"
#include "trace.h"
#include "tracestate.h"

/* 00-<32>-<16>-<2> */
#define TRACEPARENT_SIZE 55

#define FLAG_SAMPLED     1
#define FLAG_RANDOM      2

/* Of a later version only what version 00 has is understood;
 * it may be longer, behind another dash. */
static bool parse(dctx_bytes_t value, dctx_trace_t *ret_trace)
{
    const char *text = value.data;
    uint64_t version, flags;
    dctx_trace_t trace = {0};
    if (value.size < TRACEPARENT_SIZE || text[2] != '-' || text[35] != '-' || text[52] != '-' ||
        !dctx_hex_read_(text, 2, false, &version) || version == 0xff ||
        (value.size > TRACEPARENT_SIZE && (version == 0 || text[55] != '-')) ||
        !dctx_hex_read_(text + 3, 16, false, &trace.trace_high) ||
        !dctx_hex_read_(text + 19, 16, false, &trace.trace_low) ||
        !dctx_hex_read_(text + 36, 16, false, &trace.span) ||
        !dctx_hex_read_(text + 53, 2, false, &flags) || !dctx_trace_is_valid(&trace))
        return false;
    trace.flags = DCTX_TRACE_SAMPLING_KNOWN;
    if ((flags & FLAG_SAMPLED) != 0)
        trace.flags |= DCTX_TRACE_SAMPLED;
    trace.random = (flags & FLAG_RANDOM) != 0;
    *ret_trace = trace;
    return true;
}

typedef struct states {
    dctx_tracestate_t state;
    bool bad;
} states_t;

static bool take_line(dctx_bytes_t name, dctx_bytes_t value, void *arg)
{
    states_t *states = arg;
    (void)name;
    states->bad = !dctx_tracestate_parse_(&states->state, value.data, value.size);
    return !states->bad;
}

static void extract_state(const dctx_carrier_t *carrier, dctx_extraction_t *extraction)
{
    states_t states; /* members are set as they are found */
    states.state.count = 0;
    states.bad = false;
    carrier->each(carrier->headers, "tracestate", take_line, &states);
    if (states.bad) {
        dctx_extraction_malformed(extraction);
        return;
    }
    for (size_t dropped = dctx_tracestate_fit_(&states.state, 0); dropped > 0; dropped--)
        dctx_extraction_over_limit_(extraction);
    if (states.state.count == 0)
        return;
    char text[DCTX_TRACESTATE_BYTES + 1];
    size_t size = dctx_tracestate_write_(&states.state, text);
    text[size] = '\0';
    (void)dctx_extraction_put_(extraction, extraction->registry->known[DCTX_KNOWN_TRACESTATE], text,
                               size + 3);
}

static void extract(const dctx_carrier_t *carrier, dctx_extraction_t *extraction)
{
    dctx_single_t header = dctx_single_(carrier, "traceparent");
    dctx_trace_t trace;
    if (header.count == 0)
        return;
    if (header.count > 1 || !parse(header.value, &trace)) {
        dctx_extraction_malformed(extraction);
        return;
    }
    dctx_extraction_trace_(extraction, &trace);
    extract_state(carrier, extraction);
}

static dctx_error_t inject_state(const dctx_carrier_t *carrier)
{
    const char *text = dctx_tracestate_get();
    dctx_tracestate_t state;
    state.count = 0;
    if (text == NULL)
        return DCTX_OK;
    /* A peer's stamp may have anything in it. */
    if (!dctx_tracestate_parse_(&state, text, strlen(text))) {
        dctx_carrier_count_(DCTX_CARRIER_MALFORMED, 1);
        return DCTX_OK;
    }
    dctx_carrier_count_(DCTX_CARRIER_OVER_LIMIT, dctx_tracestate_fit_(&state, 0));
    char line[DCTX_TRACESTATE_BYTES];
    size_t size = dctx_tracestate_write_(&state, line);
    return size > 0 ? carrier->set(carrier->headers, "tracestate", line, size) : DCTX_OK;
}

static dctx_error_t inject(const dctx_carrier_t *carrier)
{
    const dctx_trace_t *trace = dctx_trace_get();
    if (!dctx_trace_is_valid(trace))
        return DCTX_OK;
    char line[TRACEPARENT_SIZE];
    char *out = line;
    unsigned flags = dctx_trace_sampled(trace) == DCTX_SAMPLED_YES ? FLAG_SAMPLED : 0;
    flags |= trace->random ? FLAG_RANDOM : 0;
    out = (char *)memcpy(out, "00-", 3) + 3;
    out = dctx_hex_write_(out, trace->trace_high, 16);
    out = dctx_hex_write_(out, trace->trace_low, 16);
    *out++ = '-';
    out = dctx_hex_write_(out, trace->span, 16);
    *out++ = '-';
    (void)dctx_hex_write_(out, flags, 2);
    dctx_error_t error = carrier->set(carrier->headers, "traceparent", line, sizeof(line));
    dctx_error_t state_error = inject_state(carrier);
    return error != DCTX_OK ? error : state_error;
}

const dctx_propagator_t dctx_propagator_tracecontext_ = {
    .name = "tracecontext",
    .extract = extract,
    .inject = inject,
    .fields = (const char *const[]){"traceparent", "tracestate", NULL},
};
