/* W3C Trace Context, a test for each of its rules. */
#include "carrier_fixture.h"

#define TRACE  "0af7651916cd43dd8448eb211c80319c"
#define SPAN   "b7ad6b7169203331"
#define PARENT "00-" TRACE "-" SPAN "-01"

static void check_trace(const char *value, bool valid)
{
    extract_one("tracecontext", "traceparent", value);
    const dctx_trace_t *trace = dctx_trace_get();
    cr_assert_eq(trace != NULL, valid, "%s", value);
    cr_assert_eq(report.malformed, valid ? 0 : 1, "%s", value);
    if (!valid)
        return;
    cr_assert_eq(trace->trace_high, UINT64_C(0x0af7651916cd43dd));
    cr_assert_eq(trace->trace_low, UINT64_C(0x8448eb211c80319c));
    cr_assert_eq(trace->span, UINT64_C(0xb7ad6b7169203331));
    cr_assert(!trace->has_parent);
}

static void extract_state(const char *state)
{
    dctx_headers_clear(headers_in);
    header("traceparent", PARENT);
    header("tracestate", state);
    extract_headers("tracecontext");
    cr_assert_not_null(dctx_trace_get());
}

static void check_state(const char *state, bool valid)
{
    extract_state(state);
    cr_assert_eq(dctx_tracestate_get() != NULL, valid, "%s", state);
    cr_assert_eq(report.malformed, valid ? 0 : 1, "%s", state);
}

Test(traceparent, version_00_is_55_characters, .init = set_up_headers, .fini = tear_down_headers)
{
    check_trace(PARENT, true);
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_YES);
    check_trace("00-" TRACE "-" SPAN "-00", true);
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_NO);
    check_trace(PARENT "-", false);
    check_trace(PARENT "-extra", false);
    check_trace("00-" TRACE "-" SPAN "-0", false);
    check_trace("00-" TRACE "-" SPAN, false);
    check_trace("", false);
    check_trace(".00-" TRACE "-" SPAN "-01", false);
}

Test(traceparent, blanks_around_it_are_not_of_it, .init = set_up_headers, .fini = tear_down_headers)
{
    check_trace(" \t" PARENT "\t ", true);
    check_trace("00- " TRACE "-" SPAN "-01", false);
}

Test(traceparent, the_name_is_of_any_case, .init = set_up_headers, .fini = tear_down_headers)
{
    extract_one("tracecontext", "TraceParent", PARENT);
    cr_assert_not_null(dctx_trace_get());
}

Test(traceparent, ids_of_zeroes_are_invalid, .init = set_up_headers, .fini = tear_down_headers)
{
    check_trace("00-00000000000000000000000000000000-" SPAN "-01", false);
    check_trace("00-" TRACE "-0000000000000000-01", false);
    extract_one("tracecontext", "traceparent", "00-00000000000000000000000000000001-" SPAN "-01");
    cr_assert_not_null(dctx_trace_get());
}

Test(traceparent, upper_case_is_invalid, .init = set_up_headers, .fini = tear_down_headers)
{
    check_trace("00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01", false);
    check_trace("00-" TRACE "-B7AD6B7169203331-01", false);
    check_trace("00-" TRACE "-" SPAN "-0A", false);
    check_trace("0A-" TRACE "-" SPAN "-01", false);
}

Test(traceparent, other_characters_are_invalid, .init = set_up_headers, .fini = tear_down_headers)
{
    check_trace("00-.af7651916cd43dd8448eb211c80319c-" SPAN "-01", false);
    check_trace("00-" TRACE "-" SPAN "-.1", false);
    check_trace("00_" TRACE "-" SPAN "-01", false);
    check_trace("00-" TRACE "_" SPAN "-01", false);
    check_trace("00-" TRACE "-" SPAN "_01", false);
    check_trace("g0-" TRACE "-" SPAN "-01", false);
}

Test(traceparent, version_ff_is_invalid, .init = set_up_headers, .fini = tear_down_headers)
{
    check_trace("ff-" TRACE "-" SPAN "-01", false);
}

Test(traceparent, a_higher_version_is_read_as_00, .init = set_up_headers, .fini = tear_down_headers)
{
    check_trace("cc-" TRACE "-" SPAN "-01", true);
    check_trace("01-" TRACE "-" SPAN "-01-what-the-future-will-be-like", true);
    check_trace("cc-" TRACE "-" SPAN "-01.what-the-future-will-not-be-like", false);
    check_trace("cc-" TRACE "-" SPAN "-0", false);
    inject_headers("tracecontext");
    cr_assert_null(injected("traceparent"));
    check_trace("fe-" TRACE "-" SPAN "-01-", true);
    inject_headers("tracecontext");
    cr_assert_str_eq(injected("traceparent"), PARENT);
}

Test(traceparent, standing_twice_it_is_invalid, .init = set_up_headers, .fini = tear_down_headers)
{
    header("traceparent", PARENT);
    header("traceparent", "00-" TRACE "-1234567890123456-01");
    header("tracestate", "a=1");
    extract_headers("tracecontext");
    cr_assert_null(dctx_trace_get());
    cr_assert_null(dctx_tracestate_get());
    cr_assert_eq(report.malformed, 1);
}

Test(traceparent, an_invalid_one_drops_the_state, .init = set_up_headers, .fini = tear_down_headers)
{
    header("tracestate", "a=1");
    header("traceparent", "00-" TRACE "-" SPAN "-xx");
    extract_headers("tracecontext");
    cr_assert_null(dctx_tracestate_get());
}

Test(traceparent, a_state_alone_is_nothing, .init = set_up_headers, .fini = tear_down_headers)
{
    extract_one("tracecontext", "tracestate", "a=1");
    cr_assert_null(dctx_tracestate_get());
    cr_assert_null(dctx_trace_get());
}

Test(traceparent, flags_are_sampled_and_random, .init = set_up_headers, .fini = tear_down_headers)
{
    check_trace("00-" TRACE "-" SPAN "-02", true);
    cr_assert(dctx_trace_get()->random);
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_NO);
    inject_headers("tracecontext");
    cr_assert_str_eq(injected("traceparent"), "00-" TRACE "-" SPAN "-02");
    check_trace("00-" TRACE "-" SPAN "-ff", true);
    inject_headers("tracecontext");
    cr_assert_str_eq(injected("traceparent"), "00-" TRACE "-" SPAN "-03");
}

Test(traceparent, an_undecided_trace_goes_out_unsampled, .init = set_up_headers,
     .fini = tear_down_headers)
{
    inject_headers("tracecontext");
    cr_assert_eq(dctx_headers_count(headers_out), 0);
    dctx_trace_t trace = {.trace_low = 0x8448eb211c80319c, .span = 0xb7ad6b7169203331};
    OK(dctx_trace_set(&trace));
    inject_headers("tracecontext");
    cr_assert_str_eq(injected("traceparent"),
                     "00-00000000000000008448eb211c80319c-b7ad6b7169203331-00");
    OK(dctx_trace_unset());
}

/* ---- tracestate ---- */

Test(tracestate, lines_join_in_order, .init = set_up_headers, .fini = tear_down_headers)
{
    header("traceparent", PARENT);
    header("tracestate", "rojo=00f067aa0ba902b7 , congo=t61rcWkgMzE");
    header("TraceState", "");
    header("tracestate", "\tvendor@system=a b");
    extract_headers("tracecontext");
    cr_assert_str_eq(dctx_tracestate_get(),
                     "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE,vendor@system=a b");
    inject_headers("tracecontext");
    cr_assert_str_eq(injected("tracestate"), dctx_tracestate_get());
}

Test(tracestate, empty_members_are_fine, .init = set_up_headers, .fini = tear_down_headers)
{
    extract_state("a=1,, b=2 ,");
    cr_assert_str_eq(dctx_tracestate_get(), "a=1,b=2");
    extract_state("");
    cr_assert_null(dctx_tracestate_get());
    cr_assert_eq(report.malformed, 0);
}

Test(tracestate, an_invalid_member_discards_the_whole, .init = set_up_headers,
     .fini = tear_down_headers)
{
    static const char *const bad[] = {
        "a=1,b",          "a=1,=2",       "a=1,b=",          "a=1,B=2",   "a=1,b =2", "a=1,foo@=1",
        "a=1,@foo=1",     "a=1,foo@@b=1", "a=1,f@b@z=1",     "a=1,b=x=y", "a=1,-b=2", "a=1,b=\x7f",
        "a=1,b=\xc3\xa4", "a=1;b=2",      "a=1,t@0system=1", "a=1,b\t=2", "a=1,_b=2", "a=1,b.c=2",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        check_state(bad[i], false);
    static const char *const good[] = {
        "a=1,b= 2",           "0a=1", "a-_*/0=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~", "0@z=1",
        "a@abcdefghijklmn=1",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        check_state(good[i], true);
    check_state("a@abcdefghijklmno=1", false);
}

Test(tracestate, a_key_twice_discards_the_whole, .init = set_up_headers, .fini = tear_down_headers)
{
    check_state("a=1,b=2,a=3", false);
    check_state("a=1,a=1", false);
}

static void fill(char *text, char c, size_t size)
{
    memset(text, c, size);
    text[size] = '\0';
}

Test(tracestate, sizes_of_keys_and_values, .init = set_up_headers, .fini = tear_down_headers)
{
    char part[300], text[700];
    for (size_t size = 255; size <= 257; size++) {
        fill(part, 'k', size);
        snprintf(text, sizeof(text), "%s=1", part);
        check_state(text, size <= 256);
        snprintf(text, sizeof(text), "a=%s", part);
        check_state(text, size <= 256);
    }
    for (size_t size = 240; size <= 242; size++) {
        fill(part, 't', size);
        snprintf(text, sizeof(text), "%s@v=1", part);
        check_state(text, size <= 241);
    }
}

static size_t members(char *text, size_t size, int count)
{
    size_t used = 0;
    for (int i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, size - used, "%sk%02d=%02d", i > 0 ? "," : "", i, i);
    return used;
}

Test(tracestate, at_most_32_members, .init = set_up_headers, .fini = tear_down_headers)
{
    char text[700];
    members(text, sizeof(text), 32);
    check_state(text, true);
    cr_assert_str_eq(dctx_tracestate_get(), text);
    members(text, sizeof(text), 33);
    check_state(text, false);
}

Test(tracestate, over_512_bytes_long_members_go_first, .init = set_up_headers,
     .fini = tear_down_headers)
{
    char part[300], text[2000], want[700];
    /* 512 exactly stay. */
    fill(part, 'v', 254);
    snprintf(text, sizeof(text), "a=%s,b=%s", part, part);
    cr_assert_eq(strlen(text), 513);
    text[512] = '\0';
    extract_state(text);
    cr_assert_str_eq(dctx_tracestate_get(), text);
    cr_assert_eq(report.over_limit, 0);
    /* Two long ones: the last goes first, and then the rest fits. */
    snprintf(text, sizeof(text), "a=1,b=%s,c=2,d=%s,e=3", part, part);
    extract_state(text);
    snprintf(want, sizeof(want), "a=1,b=%s,c=2,e=3", part);
    cr_assert_str_eq(dctx_tracestate_get(), want);
    cr_assert_eq(report.over_limit, 1);
    /* Nothing long: from the end, whole. */
    fill(part, 'v', 100);
    snprintf(text, sizeof(text), "a=%s,b=%s,c=%s,d=%s,e=%s,f=%s", part, part, part, part, part,
             part);
    extract_state(text);
    cr_assert_eq(strlen(dctx_tracestate_get()), 4 * 102 + 3);
    cr_assert_eq(report.over_limit, 2);
}

Test(tracestate, a_modified_member_moves_to_the_front, .init = set_up_headers,
     .fini = tear_down_headers)
{
    extract_state("a=1,b=2,c=3");
    OK(dctx_tracestate_put("c", "4"));
    cr_assert_str_eq(dctx_tracestate_get(), "c=4,a=1,b=2");
    OK(dctx_tracestate_put("new", "5"));
    cr_assert_str_eq(dctx_tracestate_get(), "new=5,c=4,a=1,b=2");
    FAILS(dctx_tracestate_put("Bad", "5"), DCTX_ERR_INVALID);
    FAILS(dctx_tracestate_put("bad", "5,"), DCTX_ERR_INVALID);
    FAILS(dctx_tracestate_put(NULL, "5"), DCTX_ERR_INVALID);
    cr_assert_str_eq(dctx_tracestate_get(), "new=5,c=4,a=1,b=2");
}

Test(tracestate, put_makes_room_by_dropping_others, .init = set_up_headers,
     .fini = tear_down_headers)
{
    char part[300], text[700];
    fill(part, 'v', 250);
    snprintf(text, sizeof(text), "a=1,b=%s,c=%s", part, part);
    extract_state(text);
    OK(dctx_tracestate_put("d", part));
    cr_assert_eq(strncmp(dctx_tracestate_get(), "d=vvv", 5), 0);
    cr_assert_not_null(strstr(dctx_tracestate_get(), ",a=1,b="));
    cr_assert_null(strstr(dctx_tracestate_get(), ",c="));
    members(text, sizeof(text), 32);
    OK(dctx_tracestate_set(text));
    OK(dctx_tracestate_put("d", "1"));
    cr_assert_null(strstr(dctx_tracestate_get(), "k31"));
    cr_assert_not_null(strstr(dctx_tracestate_get(), "k30"));
    fill(part, 'v', 256);
    char key[300];
    fill(key, 'k', 256);
    FAILS(dctx_tracestate_put(key, part), DCTX_ERR_LIMIT);
}

Test(tracestate, set_checks_the_grammar, .init = set_up_headers, .fini = tear_down_headers)
{
    char text[700];
    OK(dctx_tracestate_set(" a=1 , b=2"));
    cr_assert_str_eq(dctx_tracestate_get(), "a=1,b=2");
    FAILS(dctx_tracestate_set("a=1,a=2"), DCTX_ERR_INVALID);
    members(text, sizeof(text), 33);
    FAILS(dctx_tracestate_set(text), DCTX_ERR_LIMIT);
    cr_assert_str_eq(dctx_tracestate_get(), "a=1,b=2");
    OK(dctx_tracestate_set(NULL));
    cr_assert_null(dctx_tracestate_get());
    OK(dctx_tracestate_set(""));
}

Test(tracestate, a_forged_one_is_not_sent_on, .init = set_up_headers, .fini = tear_down_headers)
{
    dctx_trace_t trace;
    OK(dctx_trace_begin(NULL));
    trace = *dctx_trace_get();
    /* As a peer's stamp may have it. */
    OK(dctx_set(dctx_registry_find(NULL, DCTX_NAME_TRACESTATE), "a=1\r\nEvil: 1"));
    inject_headers("tracecontext");
    cr_assert_not_null(injected("traceparent"));
    cr_assert_null(injected("tracestate"));
    cr_assert_eq(trace.span, dctx_trace_get()->span);
    OK(dctx_clear());
}
