/*
 * peer.c - this side of the exchange with OpenTelemetry's propagators; driven by exchange.mjs, line
 * by line.
 *
 *     extract NAMES           what follows are headers, NAME: VALUE, up to an empty line
 *     inject NAMES            what follows is a context, up to an empty line:
 *         trace ID SPAN ?|0|1|d
 *         state TEXT
 *         claim NAME HEX
 *
 * Answers: the context, in the same lines and with `passing TEXT` and `report MALFORMED
 * OVER_LIMIT`, or the headers; then a line with a dot.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/dcontext.h>

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition,                    \
                    dctx_error_detail());                                                          \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { CLAIMS = 8 };
static const dctx_key_t *claims[CLAIMS];
static char claim_names[CLAIMS][8];

static void register_claims(void)
{
    for (int i = 0; i < CLAIMS; i++) {
        snprintf(claim_names[i], sizeof(claim_names[i]), "k%d", i);
        dctx_metadata_t metadata = {&dctx_baggage_name, claim_names[i]};
        dctx_key_options_t options = {.name = claim_names[i],
                                      .type = DCTX_TYPE_STRING,
                                      .metadata = &metadata,
                                      .metadata_count = 1};
        MUST(dctx_registry_add(NULL, &options, &claims[i]) == DCTX_OK);
    }
    MUST(dctx_registry_freeze(NULL) == DCTX_OK);
}

/* The next line without its newline; false at the end. */
static bool next_line(char **line, size_t *capacity)
{
    ssize_t size = getline(line, capacity, stdin);
    if (size <= 0)
        return false;
    if ((*line)[size - 1] == '\n')
        (*line)[size - 1] = '\0';
    return true;
}

static char decision(const dctx_trace_t *trace)
{
    if ((trace->flags & DCTX_TRACE_DEBUG) != 0)
        return 'd';
    switch (dctx_trace_sampled(trace)) {
    case DCTX_SAMPLED_YES:
        return '1';
    case DCTX_SAMPLED_NO:
        return '0';
    default:
        return '?';
    }
}

static void print_context(const dctx_carrier_report_t *report)
{
    const dctx_trace_t *trace = dctx_trace_get();
    const char *passing = dctx_get(dctx_registry_find(NULL, "dctx.baggage"));
    if (trace != NULL)
        printf("trace %016llx%016llx %016llx %c\n", (unsigned long long)trace->trace_high,
               (unsigned long long)trace->trace_low, (unsigned long long)trace->span,
               decision(trace));
    if (dctx_tracestate_get() != NULL)
        printf("state %s\n", dctx_tracestate_get());
    for (int i = 0; i < CLAIMS; i++) {
        const char *value = dctx_get(claims[i]);
        if (value == NULL)
            continue;
        printf("claim %s ", claim_names[i]);
        for (; *value != '\0'; value++)
            printf("%02x", (unsigned char)*value);
        printf("\n");
    }
    if (passing != NULL)
        printf("passing %s\n", passing);
    printf("report %u %u\n", report->malformed, report->over_limit);
}

static void extract(const dctx_propagators_t *propagators, char **line, size_t *capacity)
{
    dctx_headers_t *headers = NULL;
    dctx_snapshot_t *snapshot = NULL;
    dctx_carrier_report_t report;
    MUST(dctx_headers_new(&headers) == DCTX_OK);
    while (next_line(line, capacity) && (*line)[0] != '\0') {
        char *value = strstr(*line, ": ");
        MUST(value != NULL);
        *value = '\0';
        value += 2;
        MUST(dctx_headers_add(headers, *line, value, strlen(value)) == DCTX_OK);
    }
    dctx_carrier_t carrier = dctx_headers_carrier(headers);
    MUST(dctx_extract(propagators, NULL, &carrier, &snapshot, &report) == DCTX_OK);
    DCTX_WITH_SNAPSHOT(snapshot)
        print_context(&report);
    dctx_snapshot_unref(&snapshot);
    dctx_headers_destroy(&headers);
}

static void set_trace(const char *text)
{
    unsigned long long high, low, span;
    char sampled;
    dctx_trace_t trace = {0};
    MUST(sscanf(text, "%16llx%16llx %16llx %c", &high, &low, &span, &sampled) == 4);
    trace.trace_high = high;
    trace.trace_low = low;
    trace.span = span;
    if (sampled != '?')
        dctx_trace_decide(&trace, sampled == '0' ? DCTX_SAMPLED_NO : DCTX_SAMPLED_YES);
    if (sampled == 'd')
        trace.flags |= DCTX_TRACE_DEBUG;
    MUST(dctx_trace_set(&trace) == DCTX_OK);
}

static void set_claim(char *text)
{
    char *hex = strchr(text, ' ');
    MUST(hex != NULL);
    *hex++ = '\0';
    char value[4096];
    size_t size = strlen(hex) / 2;
    MUST(size < sizeof(value));
    for (size_t i = 0; i < size; i++) {
        unsigned byte;
        MUST(sscanf(hex + 2 * i, "%2x", &byte) == 1);
        value[i] = (char)byte;
    }
    value[size] = '\0';
    MUST(dctx_set(dctx_registry_find(NULL, text), value) == DCTX_OK);
}

static void inject(const dctx_propagators_t *propagators, char **line, size_t *capacity)
{
    dctx_headers_t *headers = NULL;
    dctx_bytes_t name, value;
    MUST(dctx_headers_new(&headers) == DCTX_OK);
    DCTX_WITH_SCOPE(NULL) {
        while (next_line(line, capacity) && (*line)[0] != '\0') {
            char *text = strchr(*line, ' ');
            MUST(text != NULL);
            *text++ = '\0';
            if (strcmp(*line, "trace") == 0)
                set_trace(text);
            else if (strcmp(*line, "state") == 0)
                MUST(dctx_tracestate_set(text) == DCTX_OK);
            else
                set_claim(text);
        }
        dctx_carrier_t carrier = dctx_headers_carrier(headers);
        MUST(dctx_inject(propagators, NULL, &carrier) == DCTX_OK);
    }
    for (size_t i = 0; dctx_headers_at(headers, i, &name, &value); i++)
        printf("%s: %s\n", (const char *)name.data, (const char *)value.data);
    dctx_headers_destroy(&headers);
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    register_claims();
    while (next_line(&line, &capacity)) {
        char *names = strchr(line, ' ');
        MUST(names != NULL);
        *names++ = '\0';
        bool extracting = strcmp(line, "extract") == 0;
        dctx_propagators_t *propagators = NULL;
        MUST(dctx_propagators_new(names, &propagators) == DCTX_OK);
        if (extracting)
            extract(propagators, &line, &capacity);
        else
            inject(propagators, &line, &capacity);
        printf(".\n");
        dctx_propagators_destroy(&propagators);
    }
    free(line);
    return 0;
}
