/* B3, in one header and in several. */
#include "carrier_fixture.h"

#define TRACE "80f198ee56343ba864fe8b2a57d3eff7"
#define SPAN  "e457b5a2e4d86bd1"
#define UP    "05e3ac9a4f6e3b90"

static const dctx_trace_t *single(const char *value)
{
    extract_one("b3", "b3", value);
    return dctx_trace_get();
}

static void check_ids(const dctx_trace_t *trace)
{
    cr_assert_not_null(trace);
    cr_assert_eq(trace->trace_high, UINT64_C(0x80f198ee56343ba8));
    cr_assert_eq(trace->trace_low, UINT64_C(0x64fe8b2a57d3eff7));
    cr_assert_eq(trace->span, UINT64_C(0xe457b5a2e4d86bd1));
}

Test(b3, one_header_has_all, .init = set_up_headers, .fini = tear_down_headers)
{
    const dctx_trace_t *trace = single(TRACE "-" SPAN "-1-" UP);
    check_ids(trace);
    cr_assert(trace->has_parent);
    cr_assert_eq(trace->parent, UINT64_C(0x05e3ac9a4f6e3b90));
    cr_assert_eq(dctx_trace_sampled(trace), DCTX_SAMPLED_YES);
    inject_headers("b3");
    cr_assert_str_eq(injected("b3"), TRACE "-" SPAN "-1-" UP);
}

Test(b3, what_is_not_there_is_not_known, .init = set_up_headers, .fini = tear_down_headers)
{
    check_ids(single(TRACE "-" SPAN));
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_UNKNOWN);
    cr_assert(!dctx_trace_get()->has_parent);
    inject_headers("b3");
    cr_assert_str_eq(injected("b3"), TRACE "-" SPAN);
    check_ids(single(TRACE "-" SPAN "-0"));
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_NO);
}

Test(b3, debug_is_more_than_sampled, .init = set_up_headers, .fini = tear_down_headers)
{
    check_ids(single(TRACE "-" SPAN "-d"));
    cr_assert((dctx_trace_get()->flags & DCTX_TRACE_DEBUG) != 0);
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_YES);
    inject_headers("b3,b3multi");
    cr_assert_str_eq(injected("b3"), TRACE "-" SPAN "-d");
    cr_assert_str_eq(injected("X-B3-Flags"), "1");
    cr_assert_null(injected("X-B3-Sampled"));
}

Test(b3, a_decision_can_stand_alone, .init = set_up_headers, .fini = tear_down_headers)
{
    cr_assert_eq(dctx_trace_sampled(single("0")), DCTX_SAMPLED_NO);
    cr_assert(!dctx_trace_is_valid(dctx_trace_get()));
    inject_headers("b3,b3multi,tracecontext");
    cr_assert_str_eq(injected("b3"), "0");
    cr_assert_str_eq(injected("X-B3-Sampled"), "0");
    cr_assert_eq(dctx_headers_count(headers_out), 2);
    /* The trace that is then begun keeps to it. */
    OK(dctx_trace_begin(NULL));
    cr_assert(dctx_trace_is_valid(dctx_trace_get()));
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_NO);
    cr_assert_eq(dctx_trace_sampled(single("1")), DCTX_SAMPLED_YES);
    cr_assert_eq(dctx_trace_sampled(single("d")), DCTX_SAMPLED_YES);
}

Test(b3, trace_ids_of_64_bits, .init = set_up_headers, .fini = tear_down_headers)
{
    const dctx_trace_t *trace = single("64fe8b2a57d3eff7-" SPAN "-1");
    cr_assert_not_null(trace);
    cr_assert_eq(trace->trace_high, 0);
    cr_assert_eq(trace->trace_low, UINT64_C(0x64fe8b2a57d3eff7));
    inject_headers("b3");
    cr_assert_str_eq(injected("b3"), "64fe8b2a57d3eff7-" SPAN "-1");
}

Test(b3, upper_case_is_read, .init = set_up_headers, .fini = tear_down_headers)
{
    check_ids(single("80F198EE56343BA864FE8B2A57D3EFF7-E457B5A2E4D86BD1-1"));
    inject_headers("b3");
    cr_assert_str_eq(injected("b3"), TRACE "-" SPAN "-1");
}

Test(b3, malformed_is_left_out_and_counted, .init = set_up_headers, .fini = tear_down_headers)
{
    static const char *const bad[] = {
        "",
        "2",
        "-",
        TRACE,
        TRACE "-",
        TRACE "-" SPAN "-",
        TRACE "-" SPAN "-2",
        TRACE "-" SPAN "-1-",
        TRACE "-" SPAN "-1-" UP "-",
        TRACE "-" SPAN "-1-0000000000000000",
        TRACE "-" SPAN "-" UP,
        TRACE "-0000000000000000-1",
        "00000000000000000000000000000000-" SPAN "-1",
        "80f198ee56343ba864fe8b2a57d3eff-" SPAN "-1",
        TRACE "-g457b5a2e4d86bd1-1",
        "true",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        cr_assert_null(single(bad[i]), "%s", bad[i]);
        cr_assert_eq(report.malformed, 1, "%s", bad[i]);
    }
    dctx_headers_clear(headers_in);
    header("b3", TRACE "-" SPAN);
    header("b3", TRACE "-" SPAN);
    extract_headers("b3");
    cr_assert_null(dctx_trace_get());
    cr_assert_eq(report.malformed, 1);
}

static void multi(const char *trace, const char *span, const char *parent, const char *sampled,
                  const char *flags)
{
    const char *const names[] = {"x-b3-traceid", "X-B3-SpanId", "X-B3-ParentSpanId", "X-B3-Sampled",
                                 "X-B3-Flags"};
    const char *const values[] = {trace, span, parent, sampled, flags};
    dctx_headers_clear(headers_in);
    for (int i = 0; i < 5; i++)
        if (values[i] != NULL)
            header(names[i], values[i]);
    extract_headers("b3multi");
}

Test(b3, several_headers_have_all, .init = set_up_headers, .fini = tear_down_headers)
{
    multi(TRACE, SPAN, UP, "1", NULL);
    check_ids(dctx_trace_get());
    cr_assert_eq(dctx_trace_get()->parent, UINT64_C(0x05e3ac9a4f6e3b90));
    inject_headers("b3multi");
    cr_assert_eq(dctx_headers_count(headers_out), 4);
    cr_assert_str_eq(injected("X-B3-TraceId"), TRACE);
    cr_assert_str_eq(injected("X-B3-SpanId"), SPAN);
    cr_assert_str_eq(injected("X-B3-ParentSpanId"), UP);
    cr_assert_str_eq(injected("X-B3-Sampled"), "1");
    multi(TRACE, SPAN, NULL, NULL, NULL);
    check_ids(dctx_trace_get());
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_UNKNOWN);
    inject_headers("b3multi");
    cr_assert_eq(dctx_headers_count(headers_out), 2);
}

Test(b3, several_headers_decisions, .init = set_up_headers, .fini = tear_down_headers)
{
    static const struct {
        const char *sampled, *flags;
        dctx_sampled_t want;
        unsigned malformed;
    } rows[] = {
        {"1", NULL, DCTX_SAMPLED_YES, 0},     {"0", NULL, DCTX_SAMPLED_NO, 0},
        {"true", NULL, DCTX_SAMPLED_YES, 0},  {"FALSE", NULL, DCTX_SAMPLED_NO, 0},
        {"0", "1", DCTX_SAMPLED_YES, 0},      {NULL, "1", DCTX_SAMPLED_YES, 0},
        {NULL, "0", DCTX_SAMPLED_UNKNOWN, 0}, {"d", NULL, DCTX_SAMPLED_UNKNOWN, 1},
        {"2", NULL, DCTX_SAMPLED_UNKNOWN, 1}, {NULL, "2", DCTX_SAMPLED_UNKNOWN, 1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        multi(TRACE, SPAN, NULL, rows[i].sampled, rows[i].flags);
        check_ids(dctx_trace_get());
        cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), rows[i].want, "row %zu", i);
        cr_assert_eq(report.malformed, rows[i].malformed, "row %zu", i);
    }
    multi(NULL, NULL, NULL, "0", NULL);
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_NO);
}

Test(b3, half_of_several_headers_is_nothing, .init = set_up_headers, .fini = tear_down_headers)
{
    multi(TRACE, NULL, NULL, NULL, NULL);
    cr_assert_null(dctx_trace_get());
    cr_assert_eq(report.malformed, 1);
    multi(NULL, SPAN, NULL, NULL, NULL);
    cr_assert_null(dctx_trace_get());
    multi(TRACE, "short", NULL, "1", NULL);
    cr_assert(!dctx_trace_is_valid(dctx_trace_get()));
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_YES);
    multi(TRACE, SPAN, "short", "1", NULL);
    check_ids(dctx_trace_get());
    cr_assert(!dctx_trace_get()->has_parent);
    cr_assert_eq(report.malformed, 1);
    multi(NULL, NULL, UP, NULL, NULL);
    cr_assert_null(dctx_trace_get());
}

Test(b3, one_header_wins_over_several, .init = set_up_headers, .fini = tear_down_headers)
{
    header("X-B3-TraceId", TRACE);
    header("X-B3-SpanId", SPAN);
    header("b3", "0");
    extract_headers("b3multi");
    cr_assert(!dctx_trace_is_valid(dctx_trace_get()));
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_NO);
}

Test(b3, what_w3c_cannot_tell_of_the_same_span_stays, .init = set_up_headers,
     .fini = tear_down_headers)
{
    header("b3", TRACE "-" SPAN "-d-" UP);
    header("traceparent", "00-" TRACE "-" SPAN "-01");
    extract_headers(NULL);
    check_ids(dctx_trace_get());
    cr_assert(dctx_trace_get()->has_parent);
    cr_assert((dctx_trace_get()->flags & DCTX_TRACE_DEBUG) != 0);
    dctx_headers_clear(headers_in);
    header("b3", "64fe8b2a57d3eff7-" SPAN "-d-" UP);
    header("traceparent", "00-" TRACE "-" SPAN "-01");
    extract_headers(NULL);
    check_ids(dctx_trace_get());
    cr_assert(!dctx_trace_get()->has_parent);
    cr_assert((dctx_trace_get()->flags & DCTX_TRACE_DEBUG) == 0);
}
