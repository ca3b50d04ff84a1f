/* Finagle's contexts, byte for byte. */
#include "carrier_fixture.h"

#include "deadline.h"

#define ID "com.twitter.finagle."

typedef struct host {
    int64_t wall, monotonic;
} host_t;

static host_t host = {.wall = INT64_C(1700000000000000000), .monotonic = 5000000000};

static int64_t wall(void *arg)
{
    return ((const host_t *)arg)->wall;
}

static int64_t monotonic(void *arg)
{
    return ((const host_t *)arg)->monotonic;
}

static void set_up_finagle(void)
{
    dctx_clocks_t clocks = {.wall = wall, .monotonic = monotonic, .arg = &host, .boot_id = "host"};
    OK(dctx_registry_set_clocks(NULL, &clocks));
    set_up_headers();
}

/* ---- pairs ---- */

typedef struct pairs {
    uint8_t data[70000];
    size_t size;
} pairs_t;

static pairs_t in;

static void add(const char *id, const void *value, size_t size)
{
    size_t id_size = strlen(id);
    in.data[in.size++] = (uint8_t)(id_size >> 8);
    in.data[in.size++] = (uint8_t)id_size;
    memcpy(in.data + in.size, id, id_size);
    in.size += id_size;
    in.data[in.size++] = (uint8_t)(size >> 8);
    in.data[in.size++] = (uint8_t)size;
    memcpy(in.data + in.size, value, size);
    in.size += size;
}

static void take(void)
{
    /* Of its exact size, so that a sanitizer sees a read past the end. */
    uint8_t *copy = malloc(in.size + (in.size == 0));
    cr_assert_not_null(copy);
    memcpy(copy, in.data, in.size);
    OK(dctx_scope_pop(&extracted_scope));
    dctx_snapshot_unref(&extracted);
    OK(dctx_mux_extract(NULL, copy, in.size, &extracted, &report));
    free(copy);
    OK(dctx_attach(extracted, &extracted_scope));
}

static void check_out(const void *want, size_t size)
{
    dctx_writer_t *writer = NULL;
    OK(dctx_writer_new(100000, &writer));
    OK(dctx_mux_inject(NULL, writer));
    dctx_bytes_t bytes = dctx_writer_bytes(writer);
    cr_assert_eq(bytes.size, size);
    if (size > 0)
        cr_assert_arr_eq(bytes.data, want, size);
    dctx_writer_destroy(&writer);
}

static void check_same(void)
{
    check_out(in.data, in.size);
}

static void one(const char *id, const void *value, size_t size)
{
    in.size = 0;
    add(id, value, size);
    take();
}

Test(finagle, trace_of_32_bytes, .init = set_up_finagle, .fini = tear_down_headers)
{
    static const uint8_t value[32] = {
        0, 0, 0, 0, 0, 0, 0, 3, /* span */
        0, 0, 0, 0, 0, 0, 0, 2, /* parent */
        0, 0, 0, 0, 0, 0, 0, 1, /* trace */
        0, 0, 0, 0, 0, 0, 0, 6, /* sampling known, sampled */
    };
    one(ID "tracing.TraceContext", value, sizeof(value));
    const dctx_trace_t *trace = dctx_trace_get();
    cr_assert_not_null(trace);
    cr_assert_eq(trace->span, 3);
    cr_assert(trace->has_parent);
    cr_assert_eq(trace->parent, 2);
    cr_assert_eq(trace->trace_low, 1);
    cr_assert_eq(trace->trace_high, 0);
    cr_assert_eq(dctx_trace_sampled(trace), DCTX_SAMPLED_YES);
    check_same();
}

Test(finagle, trace_of_40_bytes, .init = set_up_finagle, .fini = tear_down_headers)
{
    static const uint8_t value[40] = {
        0xf3, 2, 3, 4,  5,    6,    7,    8,    0xe1, 2, 3, 4, 5,    6, 7, 9, 0xd1, 2, 3, 4,
        5,    6, 7, 10, 0x7f, 0xff, 0xff, 0xf8, 0,    0, 0, 2, 0xc1, 2, 3, 4, 5,    6, 7, 11,
    };
    one(ID "tracing.TraceContext", value, sizeof(value));
    const dctx_trace_t *trace = dctx_trace_get();
    cr_assert_eq(trace->trace_high, UINT64_C(0xc10203040506070b));
    cr_assert_eq(trace->flags, UINT64_C(0x7ffffff800000002));
    cr_assert_eq(dctx_trace_sampled(trace), DCTX_SAMPLED_NO);
    check_same();
}

Test(finagle, extension_bits_are_never_altered, .init = set_up_finagle, .fini = tear_down_headers)
{
    const uint64_t extension = UINT64_C(0x7ffff80000000000);
    const uint64_t rate = UINT64_C(0x7fffffff8);
    uint8_t value[32] = {[7] = 3, [15] = 3, [23] = 3};
    for (int i = 0; i < 8; i++)
        value[24 + i] = (uint8_t)((extension | rate) >> (56 - 8 * i));
    one(ID "tracing.TraceContext", value, sizeof(value));
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_UNKNOWN);
    check_same();
    /* Deciding and a child change nothing but what they are about. */
    dctx_trace_t trace = *dctx_trace_get();
    dctx_trace_decide(&trace, DCTX_SAMPLED_YES);
    cr_assert_eq(trace.flags, extension | rate | 6);
    dctx_trace_decide(&trace, DCTX_SAMPLED_NO);
    cr_assert_eq(trace.flags, extension | rate | 2);
    dctx_trace_decide(&trace, DCTX_SAMPLED_UNKNOWN);
    cr_assert_eq(trace.flags, extension | rate);
    OK(dctx_trace_begin(NULL));
    cr_assert_eq(dctx_trace_get()->flags, extension | rate);
}

Test(finagle, a_parent_equal_to_the_span_is_none, .init = set_up_finagle, .fini = tear_down_headers)
{
    uint8_t value[32] = {[7] = 3, [15] = 3, [23] = 3};
    one(ID "tracing.TraceContext", value, sizeof(value));
    cr_assert(!dctx_trace_get()->has_parent);
    check_same();
    value[23] = 9;
    one(ID "tracing.TraceContext", value, sizeof(value));
    cr_assert(!dctx_trace_get()->has_parent);
    cr_assert_eq(dctx_trace_get()->trace_low, 9);
    check_same();
}

Test(finagle, debug_is_bit_0, .init = set_up_finagle, .fini = tear_down_headers)
{
    uint8_t value[32] = {[7] = 3, [15] = 3, [23] = 3, [31] = 1};
    one(ID "tracing.TraceContext", value, sizeof(value));
    cr_assert_eq(dctx_trace_get()->flags, DCTX_TRACE_DEBUG);
    cr_assert_eq(dctx_trace_sampled(dctx_trace_get()), DCTX_SAMPLED_YES);
    check_same();
}

Test(finagle, client_id, .init = set_up_finagle, .fini = tear_down_headers)
{
    one(ID "thrift.ClientIdContext", "caf\xc3\xa9.prod", 10);
    cr_assert_str_eq(dctx_client_get(), "caf\xc3\xa9.prod");
    check_same();
    one(ID "thrift.ClientIdContext", "", 0);
    cr_assert_null(dctx_client_get());
    cr_assert_eq(report.malformed, 0);
    one(ID "thrift.ClientIdContext", "a\0b", 3);
    cr_assert_null(dctx_client_get());
    cr_assert_eq(report.malformed, 1);
    check_same();
}

static void put64(uint8_t *out, int64_t value)
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
}

Test(finagle, deadline, .init = set_up_finagle, .fini = tear_down_headers)
{
    uint8_t value[16];
    put64(value, host.wall);
    put64(value + 8, host.wall + 250000000);
    one(ID "Deadline", value, sizeof(value));
    cr_assert_eq(dctx_deadline_left(), 250000000);
    cr_assert_eq(dctx_deadline_get()->timestamp, host.wall);
    cr_assert_eq(dctx_deadline_get()->deadline, host.wall + 250000000);
    check_same();
    host.monotonic += 250000000;
    cr_assert(dctx_deadline_expired());
    check_same();
}

Test(finagle, a_deadline_is_forwarded_as_it_came, .init = set_up_finagle, .fini = tear_down_headers)
{
    uint8_t value[16];
    put64(value, host.wall - 300000000);
    put64(value + 8, host.wall + 700000000);
    one(ID "Deadline", value, sizeof(value));
    cr_assert_eq(dctx_deadline_left(), 710000000, "less 10 ms, by which the clocks may be apart");
    check_same();
    /* Minutes ago is no wrong clock: it was held. */
    put64(value, host.wall - INT64_C(300000000000));
    one(ID "Deadline", value, sizeof(value));
    cr_assert_eq(dctx_deadline_left(), 700000000);
    check_same();
    /* But the future is one: what there was when it was set counts from now. */
    put64(value, host.wall + INT64_C(3600000000000));
    put64(value + 8, host.wall + INT64_C(3601000000000));
    one(ID "Deadline", value, sizeof(value));
    cr_assert_eq(dctx_deadline_left(), 1000000000);
    cr_assert_eq(dctx_deadline_get()->timestamp, host.wall);
}

Test(finagle, retries, .init = set_up_finagle, .fini = tear_down_headers)
{
    one(ID "Retries", "\0\0\1\5", 4);
    cr_assert_eq(dctx_retry_get(), 261);
    check_same();
    one(ID "Retries", "\xff\xff\xff\xff", 4);
    cr_assert_eq(dctx_retry_get(), UINT32_MAX);
    check_same();
}

Test(finagle, backup_request, .init = set_up_finagle, .fini = tear_down_headers)
{
    one(ID "BackupRequest", "", 0);
    cr_assert(dctx_backup_get());
    check_same();
}

Test(finagle, any_other_length_reads_as_absent_and_travels_on, .init = set_up_finagle,
     .fini = tear_down_headers)
{
    static const struct {
        const char *id;
        size_t good[2];
    } rows[] = {{ID "tracing.TraceContext", {32, 40}},
                {ID "Deadline", {16, 16}},
                {ID "Retries", {4, 4}},
                {ID "BackupRequest", {0, 0}}};
    uint8_t value[48];
    memset(value, 1, sizeof(value));
    for (size_t row = 0; row < sizeof(rows) / sizeof(*rows); row++)
        for (size_t size = 0; size <= sizeof(value); size++) {
            if (size == rows[row].good[0] || size == rows[row].good[1])
                continue;
            one(rows[row].id, value, size);
            cr_assert_eq(report.malformed, 1, "%s of %zu", rows[row].id, size);
            cr_assert_null(dctx_trace_get());
            cr_assert_null(dctx_deadline_get());
            cr_assert_eq(dctx_retry_get(), 0);
            cr_assert(!dctx_backup_get());
            check_same();
        }
}

Test(finagle, ids_compare_without_case, .init = set_up_finagle, .fini = tear_down_headers)
{
    one("COM.Twitter.Finagle.RETRIES", "\0\0\0\7", 4);
    cr_assert_eq(dctx_retry_get(), 7);
    in.size = 0;
    add(ID "Retries", "\0\0\0\7", 4);
    check_same();
}

Test(finagle, unknown_pairs_are_sent_on_unchanged, .init = set_up_finagle,
     .fini = tear_down_headers)
{
    uint8_t blob[300];
    for (size_t i = 0; i < sizeof(blob); i++)
        blob[i] = (uint8_t)i;
    in.size = 0;
    add(ID "BackupRequest", "", 0);
    add("x.y.Z", blob, sizeof(blob));
    add("", "", 0);
    add("x.y.Z", "twice", 5);
    take();
    cr_assert_eq(report.malformed, 0);
    check_same();
    /* Through a stamp as well. */
    dctx_bytes_t bytes;
    OK(dctx_snapshot_encode(extracted, &bytes));
    dctx_snapshot_t *back = NULL;
    OK(dctx_snapshot_decode(NULL, bytes.data, bytes.size, &back));
    DCTX_WITH_SNAPSHOT(back)
        check_same();
    dctx_snapshot_unref(&back);
}

Test(finagle, a_value_of_ours_takes_the_place_of_one_that_did_not_decode, .init = set_up_finagle,
     .fini = tear_down_headers)
{
    one(ID "Retries", "bad!!", 5);
    OK(dctx_retry_set(2));
    in.size = 0;
    add(ID "Retries", "\0\0\0\2", 4);
    check_same();
}

Test(finagle, all_of_them_in_one, .init = set_up_finagle, .fini = tear_down_headers)
{
    uint8_t trace[32] = {[7] = 3, [15] = 2, [23] = 1, [31] = 6};
    uint8_t deadline[16];
    put64(deadline, host.wall);
    put64(deadline + 8, host.wall + 1000000000);
    in.size = 0;
    add(ID "tracing.TraceContext", trace, 32);
    add(ID "Deadline", deadline, 16);
    add(ID "thrift.ClientIdContext", "web", 3);
    add(ID "Retries", "\0\0\0\1", 4);
    add(ID "BackupRequest", "", 0);
    add("other", "\1\2", 2);
    take();
    cr_assert_eq(dctx_snapshot_count(extracted), 6);
    check_same();
}

Test(finagle, cut_anywhere_the_pairs_before_it_count, .init = set_up_finagle,
     .fini = tear_down_headers)
{
    in.size = 0;
    add(ID "Retries", "\0\0\0\1", 4);
    size_t first = in.size;
    add(ID "BackupRequest", "", 0);
    size_t all = in.size;
    for (size_t size = 0; size <= all; size++) {
        in.size = size;
        take();
        cr_assert_eq(dctx_retry_get(), size >= first ? 1 : 0, "%zu", size);
        cr_assert_eq(dctx_backup_get(), size == all);
        cr_assert_eq(report.malformed, size == 0 || size == first || size == all ? 0 : 1, "%zu",
                     size);
    }
}

Test(finagle, more_than_fits_is_left_out_whole, .init = set_up_finagle, .fini = tear_down_headers)
{
    static char big[60000];
    in.size = 0;
    add("first", big, 1000);
    add("big", big, sizeof(big));
    add(ID "Retries", "\0\0\0\1", 4);
    take();
    cr_assert_eq(report.over_limit, 1);
    cr_assert_eq(dctx_retry_get(), 1);
    in.size = 0;
    add(ID "Retries", "\0\0\0\1", 4);
    add("first", big, 1000);
    check_same();
    in.size = 0;
    for (int i = 0; i < 10; i++)
        add("more", big, 1000);
    take();
    cr_assert_eq(report.over_limit, 6);
    in.size = 0;
    for (int i = 0; i < 4; i++)
        add("more", big, 1000);
    dctx_bytes_t bytes;
    OK(dctx_snapshot_encode(extracted, &bytes));
    check_same();
}

Test(finagle, pairs_in_a_carrier, .init = set_up_finagle, .fini = tear_down_headers)
{
    OK(dctx_headers_add(headers_in, ID "Retries", "\0\0\0\3", 4));
    OK(dctx_headers_add(headers_in, "x.y.Z", "\0\1", 2));
    extract_headers("finagle-mux");
    cr_assert_eq(dctx_retry_get(), 3);
    inject_headers("finagle-mux");
    cr_assert_eq(dctx_headers_count(headers_out), 2);
    cr_assert_arr_eq(injected(ID "Retries"), "\0\0\0\3", 4);
    cr_assert_arr_eq(injected("x.y.Z"), "\0\1", 2);
}

/* ---- HTTP ---- */

#define HTTP "Finagle-Ctx-" ID

Test(finagle_http, known_headers, .init = set_up_finagle, .fini = tear_down_headers)
{
    header(HTTP "Deadline", "1700000000000000000 1700000000250000000");
    header("finagle-ctx-" ID "retries", "3");
    header(HTTP "BackupRequest", "1");
    extract_headers("finagle-http");
    cr_assert_eq(dctx_deadline_left(), 250000000);
    cr_assert_eq(dctx_retry_get(), 3);
    cr_assert(dctx_backup_get());
    inject_headers("finagle-http");
    cr_assert_eq(dctx_headers_count(headers_out), 3);
    cr_assert_str_eq(injected(HTTP "Deadline"), "1700000000000000000 1700000000250000000");
    cr_assert_str_eq(injected(HTTP "Retries"), "3");
    cr_assert_str_eq(injected(HTTP "BackupRequest"), "1");
}

Test(finagle_http, unknown_headers_travel_on, .init = set_up_finagle, .fini = tear_down_headers)
{
    header("Finagle-Ctx-x.y.Z", "some text");
    header("Finagle-Ctx-", "no id");
    header("Other", "not ours");
    extract_headers("finagle-http");
    inject_headers("finagle-http");
    cr_assert_eq(dctx_headers_count(headers_out), 1);
    cr_assert_str_eq(injected("Finagle-Ctx-x.y.Z"), "some text");
    /* These are not Mux's. */
    check_out("", 0);
}

Test(finagle_http, malformed_values_are_left_out_alone, .init = set_up_finagle,
     .fini = tear_down_headers)
{
    static const struct {
        const char *name, *value;
    } bad[] = {
        {HTTP "Deadline", ""},
        {HTTP "Deadline", "1700000000000000000"},
        {HTTP "Deadline", "1700000000000000000  1700000000250000000"},
        {HTTP "Deadline", "1700000000000000000 1700000000250000000 "
                          "1"},
        {HTTP "Deadline", "-1 1700000000250000000"},
        {HTTP "Deadline", "1 9223372036854775808"},
        {HTTP "Deadline", "a b"},
        {HTTP "Retries", "-1"},
        {HTTP "Retries", "4294967296"},
        {HTTP "Retries", "1x"},
        {HTTP "Retries", ""},
        {HTTP "BackupRequest", ""},
        {HTTP "BackupRequest", "0"},
        {HTTP "BackupRequest", "11"},
        {"Finagle-Ctx-a b", "x"},
        {"Finagle-Ctx-a", "x\r\ny"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        dctx_headers_clear(headers_in);
        header(bad[i].name, bad[i].value);
        header("Finagle-Ctx-good", "1");
        extract_headers("finagle-http");
        cr_assert_eq(report.malformed, 1, "%s: %s", bad[i].name, bad[i].value);
        inject_headers("finagle-http");
        cr_assert_eq(dctx_headers_count(headers_out), 1, "%s: %s", bad[i].name, bad[i].value);
        cr_assert_str_eq(injected("Finagle-Ctx-good"), "1");
    }
}

Test(finagle_http, forged_pairs_do_not_end_a_header, .init = set_up_finagle,
     .fini = tear_down_headers)
{
    static const uint8_t pairs[] = "\0\1a\0\4x\r\ny\0\3b:c\0\1x\0\1d\0\1x\0\1e\0\7cut";
    dctx_bytes_t bytes = {pairs, sizeof(pairs) - 1};
    OK(dctx_set(dctx_registry_find(NULL, "dctx.finagle-http"), &bytes));
    inject_headers("finagle-http");
    cr_assert_eq(dctx_headers_count(headers_out), 1);
    cr_assert_str_eq(injected("Finagle-Ctx-d"), "x");
    OK(dctx_clear());
}
