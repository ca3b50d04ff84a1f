/* Propagators, composites, and what holds of every extraction and injection. */
#include "carrier_fixture.h"

#define PARENT "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

static void set_up_all(void)
{
    set_up_keys();
    set_up_headers();
}

/* ---- composites ---- */

Test(carrier, composites_are_made_by_name)
{
    dctx_propagators_t *propagators = NULL;
    OK(dctx_propagators_new(" tracecontext , baggage", &propagators));
    cr_assert_str_eq(dctx_propagators_field(propagators, 0), "traceparent");
    cr_assert_str_eq(dctx_propagators_field(propagators, 1), "tracestate");
    cr_assert_str_eq(dctx_propagators_field(propagators, 2), "baggage");
    cr_assert_null(dctx_propagators_field(propagators, 3));
    cr_assert_str_eq(dctx_propagators_field(NULL, 2), "baggage");
    dctx_propagators_destroy(&propagators);
    dctx_propagators_destroy(&propagators);
    dctx_propagators_destroy(NULL);
    OK(dctx_propagators_new("dctx,finagle-http,finagle-mux,b3,b3multi,tracecontext,baggage",
                            &propagators));
    dctx_propagators_destroy(&propagators);
    FAILS(dctx_propagators_new(NULL, &propagators), DCTX_ERR_INVALID);
    FAILS_SAYING(dctx_propagators_new("b3,b3", &propagators), DCTX_ERR_INVALID, "b3");
    FAILS_SAYING(dctx_propagators_new("b3,jaeger", &propagators), DCTX_ERR_ABSENT, "jaeger");
    FAILS(dctx_propagators_new("", &propagators), DCTX_ERR_ABSENT);
    FAILS(dctx_propagators_new("b3,", &propagators), DCTX_ERR_ABSENT);
    FAILS(dctx_propagators_new("B3", &propagators), DCTX_ERR_ABSENT);
    cr_assert_null(propagators);
}

static void extract_user(const dctx_carrier_t *carrier, dctx_extraction_t *extraction);
static dctx_error_t inject_user(const dctx_carrier_t *carrier);
static const dctx_propagator_t user_propagator = {
    .name = "user", .extract = extract_user, .inject = inject_user};

static bool take_user(dctx_bytes_t name, dctx_bytes_t value, void *arg)
{
    char text[32];
    (void)name;
    if (value.size >= sizeof(text)) {
        dctx_extraction_malformed(arg);
        return true;
    }
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    dctx_extraction_set(arg, dctx_registry_find(dctx_extraction_registry(arg), "user"), text);
    return true;
}

static void extract_user(const dctx_carrier_t *carrier, dctx_extraction_t *extraction)
{
    carrier->each(carrier->headers, "X-User", take_user, extraction);
}

static dctx_error_t inject_user(const dctx_carrier_t *carrier)
{
    const char *value = dctx_get(user);
    return value != NULL ? carrier->set(carrier->headers, "X-User", value, strlen(value)) : DCTX_OK;
}

Test(carrier, a_program_adds_its_own, .init = set_up_all, .fini = tear_down_headers)
{
    static const dctx_propagator_t other = {
        .name = "user", .extract = extract_user, .inject = inject_user};
    static const dctx_propagator_t nameless = {.extract = extract_user, .inject = inject_user};
    static const dctx_propagator_t half = {.name = "half", .extract = extract_user};
    static const dctx_propagator_t listed = {
        .name = "a,b", .extract = extract_user, .inject = inject_user};
    static const dctx_propagator_t taken = {
        .name = "b3", .extract = extract_user, .inject = inject_user};
    cr_assert_null(dctx_propagator_find("user"));
    cr_assert_null(dctx_propagator_find(NULL));
    OK(dctx_propagator_add(&user_propagator));
    OK(dctx_propagator_add(&user_propagator));
    cr_assert_eq(dctx_propagator_find("user"), &user_propagator);
    FAILS(dctx_propagator_add(&other), DCTX_ERR_CONFLICT);
    FAILS(dctx_propagator_add(&taken), DCTX_ERR_CONFLICT);
    FAILS(dctx_propagator_add(&nameless), DCTX_ERR_INVALID);
    FAILS(dctx_propagator_add(&half), DCTX_ERR_INVALID);
    FAILS(dctx_propagator_add(&listed), DCTX_ERR_INVALID);
    FAILS(dctx_propagator_add(NULL), DCTX_ERR_INVALID);

    header("x-user", "ada");
    header("x-user", "much too long to be the name of any user of ours");
    header("traceparent", PARENT);
    extract_headers("user,tracecontext");
    cr_assert_str_eq(text_of(user), "ada");
    cr_assert_eq(report.malformed, 1);
    inject_headers("tracecontext,user");
    cr_assert_str_eq(injected("X-User"), "ada");
    cr_assert_str_eq(injected("traceparent"), PARENT);
}

Test(carrier, holds_32_of_a_programs_own)
{
    static char names[33][8];
    static dctx_propagator_t many[33];
    for (int i = 0; i < 33; i++) {
        snprintf(names[i], sizeof(names[i]), "p%d", i);
        many[i] =
            (dctx_propagator_t){.name = names[i], .extract = extract_user, .inject = inject_user};
        FAILS(dctx_propagator_add(&many[i]), i < 32 ? DCTX_OK : DCTX_ERR_LIMIT);
    }
}

/* ---- extracting and injecting ---- */

Test(carrier, the_callers_context_is_not_touched, .init = set_up_all, .fini = tear_down_headers)
{
    dctx_carrier_t carrier = dctx_headers_carrier(headers_in);
    dctx_snapshot_t *snapshot = NULL;
    header("traceparent", PARENT);
    DCTX_WITH_SCOPE("work") {
        OK(dctx_set(user, "ada"));
        OK(dctx_extract(NULL, NULL, &carrier, &snapshot, NULL));
        cr_assert_null(dctx_trace_get());
        cr_assert_str_eq(text_of(user), "ada");
        cr_assert_eq(dctx_snapshot_count(snapshot), 1);
        cr_assert_eq(dctx_snapshot_chain_length(snapshot), 0);
        cr_assert_eq(dctx_scope_depth(), 1);
        /* A snapshot goes out, not what surrounds the call. */
        carrier = dctx_headers_carrier(headers_out);
        OK(dctx_inject(NULL, snapshot, &carrier));
        cr_assert_str_eq(injected("traceparent"), PARENT);
        cr_assert_eq(dctx_scope_depth(), 1);
    }
    dctx_snapshot_unref(&snapshot);
    cr_assert(dctx_is_empty());
}

Test(carrier, arguments_are_checked, .init = set_up_headers, .fini = tear_down_headers)
{
    dctx_registry_t *building = NULL;
    dctx_snapshot_t *snapshot = NULL;
    dctx_carrier_t carrier = dctx_headers_carrier(headers_in);
    dctx_carrier_t empty = {0};
    OK(dctx_registry_new(&building));
    FAILS(dctx_extract(NULL, NULL, NULL, &snapshot, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_extract(NULL, NULL, &empty, &snapshot, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_extract(NULL, building, &carrier, &snapshot, NULL), DCTX_ERR_NOT_FROZEN);
    FAILS(dctx_inject(NULL, NULL, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_inject(NULL, NULL, &empty), DCTX_ERR_INVALID);
    FAILS(dctx_mux_extract(NULL, NULL, 1, &snapshot, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_mux_inject(NULL, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_extract(NULL, NULL, &carrier, NULL, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_mux_extract(NULL, NULL, 0, NULL, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_propagators_new("b3", NULL), DCTX_ERR_INVALID);
    cr_assert_null(snapshot);
    OK(dctx_mux_extract(NULL, NULL, 0, &snapshot, NULL));
    cr_assert(dctx_snapshot_is_empty(snapshot));
    dctx_snapshot_unref(&snapshot);
    dctx_registry_destroy(&building);
}

static dctx_error_t refuse_traceparent(void *headers, const char *name, const char *value,
                                       size_t size)
{
    if (strcmp(name, "traceparent") == 0)
        return DCTX_ERR_IO;
    return dctx_headers_set(headers, name, value, size);
}

Test(carrier, one_header_that_fails_does_not_keep_the_others, .init = set_up_all,
     .fini = tear_down_headers)
{
    header("traceparent", PARENT);
    header("tracestate", "a=1");
    header("baggage", "b=2");
    extract_headers(NULL);
    dctx_carrier_t carrier = {.headers = headers_out, .set = refuse_traceparent};
    cr_assert_eq(dctx_inject(NULL, NULL, &carrier), DCTX_ERR_IO);
    cr_assert_null(injected("traceparent"));
    cr_assert_str_eq(injected("tracestate"), "a=1");
    cr_assert_str_eq(injected("baggage"), "b=2");
}

Test(carrier, counts_add_up, .init = set_up_all, .fini = tear_down_headers)
{
    dctx_carrier_counters_t before, after;
    dctx_carrier_counters_read(&before);
    header("traceparent", "nonsense");
    header("baggage", "a,b,c=1");
    header("b3", "");
    extract_headers(NULL);
    cr_assert_eq(report.malformed, 4);
    dctx_carrier_counters_read(&after);
    cr_assert_eq(after.malformed, before.malformed + 4);
    cr_assert_eq(after.over_limit, before.over_limit);
}

Test(carrier, what_is_extracted_can_be_sent_on, .init = set_up_all, .fini = tear_down_headers)
{
    char name[32], value[4100];
    dctx_bytes_t bytes;
    memset(value, 'v', sizeof(value));
    value[4000] = '\0';
    header("traceparent", PARENT);
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof(name), "Finagle-Ctx-x%d", i);
        header(name, value);
    }
    extract_headers(NULL);
    cr_assert_geq(report.over_limit, 8);
    cr_assert_not_null(dctx_trace_get());
    DCTX_WITH_SCOPE("a-scope-with-a-name-that-is-rather-long") {
        dctx_snapshot_t *capture = NULL;
        OK(dctx_capture(&capture));
        OK(dctx_snapshot_encode(capture, &bytes));
        dctx_snapshot_unref(&capture);
    }
}

/* ---- the whole stamp ---- */

static void stamped(char **ret_text)
{
    dctx_snapshot_t *snapshot = NULL;
    DCTX_WITH_SCOPE("edge") {
        OK(dctx_set(user, "ada"));
        OK(dctx_set(secret, "local"));
        OK(dctx_client_set("web"));
        OK(dctx_capture(&snapshot));
        OK(dctx_snapshot_to_base64(snapshot, DCTX_BASE64, ret_text));
    }
    dctx_snapshot_unref(&snapshot);
}

Test(carrier, a_stamp_in_one_header, .init = set_up_all, .fini = tear_down_headers)
{
    char *text = NULL;
    stamped(&text);
    extract_one("dctx", "dctx-context", text);
    cr_assert_str_eq(text_of(user), "ada");
    cr_assert_str_eq(text_of(secret), "-");
    cr_assert_str_eq(dctx_client_get(), "web");
    cr_assert_str_eq(chain(), "edge");
    inject_headers("dctx");
    cr_assert_str_eq(injected("dctx-context"), text);
    /* Not by default. */
    extract_one(NULL, "dctx-context", text);
    cr_assert_str_eq(text_of(user), "-");
    inject_headers(NULL);
    cr_assert_null(injected("dctx-context"));
    dctx_free(text);
}

Test(carrier, other_headers_go_on_top_of_a_stamp, .init = set_up_all, .fini = tear_down_headers)
{
    char *text = NULL;
    stamped(&text);
    header("dctx-context", text);
    header("traceparent", PARENT);
    extract_headers("tracecontext,dctx");
    cr_assert_str_eq(text_of(user), "ada");
    cr_assert_not_null(dctx_trace_get());
    cr_assert_str_eq(chain(), "edge");
    dctx_free(text);
}

Test(carrier, a_malformed_stamp_is_left_out_alone, .init = set_up_all, .fini = tear_down_headers)
{
    static char big[20000];
    memset(big, 'A', sizeof(big) - 1);
    const char *const bad[] = {"", "!", "AAAA", "kwGQ", "kwKQkA==", big};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        dctx_headers_clear(headers_in);
        header("dctx-context", bad[i]);
        header("traceparent", PARENT);
        extract_headers("dctx,tracecontext");
        cr_assert_eq(report.malformed + report.over_limit, 1, "%zu", i);
        cr_assert_not_null(dctx_trace_get());
        cr_assert_eq(dctx_snapshot_count(extracted), 1);
    }
    dctx_headers_clear(headers_in);
    header("dctx-context", "kwGQkA==");
    header("dctx-context", "kwGQkA==");
    extract_headers("dctx");
    cr_assert_eq(report.malformed, 1);
}

Test(carrier, an_empty_context_sets_no_header, .init = set_up_all, .fini = tear_down_headers)
{
    inject_headers("dctx,finagle-http,finagle-mux,b3,b3multi,tracecontext,baggage");
    cr_assert_eq(dctx_headers_count(headers_out), 0);
}

Test(carrier, a_context_too_big_for_a_stamp_is_an_error, .init = set_up_all,
     .fini = tear_down_headers)
{
    char value[5000];
    memset(value, 'v', sizeof(value));
    value[4999] = '\0';
    dctx_propagators_t *propagators = NULL;
    dctx_carrier_t carrier = dctx_headers_carrier(headers_out);
    OK(dctx_propagators_new("dctx,tracecontext", &propagators));
    DCTX_WITH_SCOPE(NULL) {
        OK(dctx_set(user, value));
        OK(dctx_trace_begin(NULL));
        cr_assert_eq(dctx_inject(propagators, NULL, &carrier), DCTX_ERR_LIMIT);
    }
    cr_assert_not_null(injected("traceparent"));
    cr_assert_null(injected("dctx-context"));
    dctx_propagators_destroy(&propagators);
}

/* ---- memory ---- */

static unsigned countdown;

static void *allocate(size_t size)
{
    if (countdown > 0 && --countdown == 0)
        return NULL;
    return malloc(size);
}

Test(carrier, memory_may_run_out_anywhere)
{
    dctx_set_allocator(&(dctx_allocator_t){allocate, free});
    set_up_all();
    char *text = NULL;
    stamped(&text);
    header("dctx-context", text);
    header("traceparent", PARENT);
    header("tracestate", "a=1");
    header("baggage", "b=2,c=3");
    header("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1");
    header("Finagle-Ctx-com.twitter.finagle.Retries", "3");
    header("Finagle-Ctx-com.twitter.finagle.Deadline", "1 2");
    header("Finagle-Ctx-other", "x");
    dctx_carrier_t in = dctx_headers_carrier(headers_in), out = dctx_headers_carrier(headers_out);
    dctx_propagators_t *propagators = NULL;
    OK(dctx_propagators_new("dctx,finagle-http,finagle-mux,b3,tracecontext,baggage", &propagators));
    dctx_error_t error = DCTX_ERR_NOMEM;
    for (unsigned nth = 1; error != DCTX_OK; nth++) {
        dctx_snapshot_t *snapshot = NULL;
        countdown = nth;
        error = dctx_extract(propagators, NULL, &in, &snapshot, NULL);
        countdown = 0;
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
        cr_assert_eq(snapshot != NULL, error == DCTX_OK);
        cr_assert(dctx_is_empty());
        if (error == DCTX_OK)
            extracted = snapshot;
        cr_assert_lt(nth, 1000);
    }
    error = DCTX_ERR_NOMEM;
    for (unsigned nth = 1; error != DCTX_OK; nth++) {
        dctx_headers_t *fresh = NULL;
        OK(dctx_headers_new(&fresh));
        dctx_headers_destroy(&headers_out);
        headers_out = fresh;
        out = dctx_headers_carrier(headers_out);
        countdown = nth;
        error = dctx_inject(propagators, extracted, &out);
        countdown = 0;
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
        cr_assert(dctx_is_empty());
        cr_assert_lt(nth, 1000);
    }
    cr_assert_str_eq(injected("tracestate"), "a=1");
    cr_assert_str_eq(injected("baggage"), "b=2,c=3");
    dctx_propagators_destroy(&propagators);
    dctx_free(text);
    tear_down_headers();
}

Test(carrier, mux_pairs_when_memory_runs_out)
{
    static const char pairs[] = "\0\x1b"
                                "com.twitter.finagle.Retries\0\4\0\0\0\1\0\1x\0\1y";
    dctx_set_allocator(&(dctx_allocator_t){allocate, free});
    OK(dctx_registry_freeze(NULL));
    dctx_error_t error = DCTX_ERR_NOMEM;
    for (unsigned nth = 1; error != DCTX_OK; nth++) {
        dctx_snapshot_t *snapshot = NULL;
        countdown = nth;
        error = dctx_mux_extract(NULL, pairs, sizeof(pairs) - 1, &snapshot, &report);
        countdown = 0;
        cr_assert_eq(error == DCTX_OK ? DCTX_ERR_NOMEM : error, DCTX_ERR_NOMEM);
        dctx_snapshot_unref(&snapshot);
        cr_assert_lt(nth, 100);
    }
    cr_assert_eq(report.malformed, 0);
}

Test(carrier, a_deadline_that_arrives_when_memory_runs_out)
{
    dctx_snapshot_t *sent = NULL, *received = NULL;
    dctx_bytes_t bytes;
    dctx_set_allocator(&(dctx_allocator_t){allocate, free});
    set_up();
    DCTX_WITH_SCOPE(NULL) {
        OK(dctx_deadline_set_timeout(INT64_C(3600000000000)));
        OK(dctx_set(user, "ada"));
        OK(dctx_capture(&sent));
    }
    OK(dctx_snapshot_encode(sent, &bytes));
    dctx_error_t error = DCTX_ERR_NOMEM;
    for (unsigned nth = 1; error != DCTX_OK; nth++) {
        countdown = nth;
        error = dctx_snapshot_decode(NULL, bytes.data, bytes.size, &received);
        countdown = 0;
        cr_assert_eq(error == DCTX_OK ? DCTX_ERR_NOMEM : error, DCTX_ERR_NOMEM);
        cr_assert_lt(nth, 100);
    }
    cr_assert_not_null(dctx_snapshot_deadline(received));
    cr_assert_str_eq(dctx_snapshot_get(received, user), "ada");
    dctx_snapshot_unref(&sent);
    dctx_snapshot_unref(&received);
}
