/* W3C baggage: members that keys claim, and those that pass through. */
#include "carrier_fixture.h"

static const dctx_key_t *tenant_id, *items, *balance, *beta;

static const dctx_key_t *add_named(const char *name, const char *member, const dctx_type_t *type)
{
    const dctx_key_t *key = NULL;
    dctx_metadata_t metadata = {&dctx_baggage_name, member};
    dctx_key_options_t options = {
        .name = name, .type = type, .metadata = &metadata, .metadata_count = 1};
    OK(dctx_registry_add(NULL, &options, &key));
    return key;
}

static void set_up_baggage(void)
{
    tenant_id = add_named("tenant-id", "tenant", DCTX_TYPE_STRING);
    items = add_named("items", "items", DCTX_TYPE_UINT64);
    balance = add_named("balance", "balance", DCTX_TYPE_INT64);
    beta = add_named("beta", "beta", DCTX_TYPE_BOOL);
    set_up_headers();
}

static void baggage(const char *value)
{
    extract_one("baggage", "baggage", value);
}

static const char *out(void)
{
    inject_headers("baggage");
    return injected("baggage");
}

Test(baggage, claimed_members_become_values, .init = set_up_baggage, .fini = tear_down_headers)
{
    baggage("tenant=acme,items=18446744073709551615,balance=-9223372036854775808,beta=true");
    cr_assert_str_eq(text_of(tenant_id), "acme");
    cr_assert_eq(*(const uint64_t *)dctx_get(items), UINT64_MAX);
    cr_assert_eq(*(const int64_t *)dctx_get(balance), INT64_MIN);
    cr_assert(*(const bool *)dctx_get(beta));
    cr_assert_eq(report.malformed + report.over_limit, 0);
    cr_assert_eq(dctx_snapshot_count(extracted), 4);
    cr_assert_str_eq(out(), "balance=-9223372036854775808,beta=true,items=18446744073709551615,"
                            "tenant=acme");
}

Test(baggage, other_members_travel_on, .init = set_up_baggage, .fini = tear_down_headers)
{
    baggage("a=1 , tenant=acme;ttl=5\t,b=2;p1 ; p2 = x%20y,empty=");
    cr_assert_str_eq(text_of(tenant_id), "acme");
    cr_assert_str_eq(out(), "tenant=acme;ttl=5,a=1,b=2;p1 ; p2 = x%20y,empty=");
    /* Also through a stamp. */
    dctx_bytes_t bytes;
    dctx_snapshot_t *back = NULL;
    OK(dctx_snapshot_encode(extracted, &bytes));
    OK(dctx_snapshot_decode(NULL, bytes.data, bytes.size, &back));
    DCTX_WITH_SNAPSHOT(back)
        cr_assert_str_eq(out(), "tenant=acme;ttl=5,a=1,b=2;p1 ; p2 = x%20y,empty=");
    dctx_snapshot_unref(&back);
}

Test(baggage, properties_go_when_the_value_changes, .init = set_up_baggage,
     .fini = tear_down_headers)
{
    baggage("tenant=acme;ttl=5");
    cr_assert_str_eq(out(), "tenant=acme;ttl=5");
    OK(dctx_set(tenant_id, "other"));
    cr_assert_str_eq(out(), "tenant=other");
    OK(dctx_unset(tenant_id));
    cr_assert_null(out());
}

Test(baggage, values_are_percent_encoded, .init = set_up_baggage, .fini = tear_down_headers)
{
    baggage("tenant=a%20b%2Cc%3b%25%E2%82%AC%22+x=y");
    cr_assert_str_eq(text_of(tenant_id), "a b,c;%\xe2\x82\xac\"+x=y");
    cr_assert_str_eq(out(), "tenant=a%20b%2Cc%3B%25%E2%82%AC%22+x=y");
    OK(dctx_set(tenant_id, "a\r\nEvil: 1\x7f"));
    cr_assert_str_eq(out(), "tenant=a%0D%0AEvil:%201%7F");
    OK(dctx_set(tenant_id, ""));
    cr_assert_str_eq(out(), "tenant=");
}

Test(baggage, what_is_not_utf8_is_replaced, .init = set_up_baggage, .fini = tear_down_headers)
{
    baggage("tenant=a%FFb%E2%82c%C0%80%ED%A0%80%F4%90%80%80%F0%9F%98%80");
    cr_assert_str_eq(text_of(tenant_id),
                     "a\xef\xbf\xbd"
                     "b\xef\xbf\xbd\xef\xbf\xbd"
                     "c\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80");
}

Test(baggage, empty_values_are_legal, .init = set_up_baggage, .fini = tear_down_headers)
{
    baggage("tenant=,x=;p");
    cr_assert_str_eq(text_of(tenant_id), "");
    cr_assert_str_eq(out(), "tenant=,x=;p");
}

Test(baggage, lines_and_empty_members, .init = set_up_baggage, .fini = tear_down_headers)
{
    header("baggage", "a=1,,");
    header("Baggage", " ");
    header("BAGGAGE", ",tenant = acme ");
    header("baggage", "tenant=last");
    extract_headers("baggage");
    cr_assert_eq(report.malformed, 0);
    cr_assert_str_eq(text_of(tenant_id), "last");
    cr_assert_str_eq(out(), "tenant=last,a=1");
}

Test(baggage, malformed_members_are_left_out_alone, .init = set_up_baggage,
     .fini = tear_down_headers)
{
    static const char *const bad[] = {
        "x",
        "=x",
        "x y=1",
        "x=a b",
        "x=\"q\"",
        "x=a\\b",
        "x=1;",
        "x=1;=2",
        "x=1;p q",
        "x(=1",
        "x=\x01",
        "x=\xc3\xa4",
        "x=1;p=\"q\"",
        "\xc3=1",
        "items=-1",
        "items=",
        "items=1.5",
        "items=0x1",
        "items=18446744073709551616",
        "beta=yes",
        "beta=True",
        "balance=9223372036854775808",
        "balance=-",
        "tenant=%",
        "tenant=%4",
        "tenant=%zz",
        "tenant=a%00b",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        char line[128];
        snprintf(line, sizeof(line), "a=1,%s,b=2", bad[i]);
        baggage(line);
        cr_assert_eq(report.malformed, 1, "%s", bad[i]);
        cr_assert_eq(report.over_limit, 0);
        cr_assert_str_eq(out(), "a=1,b=2", "%s", bad[i]);
    }
}

Test(baggage, names_are_told_apart_by_case, .init = set_up_baggage, .fini = tear_down_headers)
{
    baggage("Tenant=acme");
    cr_assert_null(dctx_get(tenant_id));
    cr_assert_str_eq(out(), "Tenant=acme");
}

static void members(char *text, size_t size, int count, const char *value)
{
    size_t used = 0;
    for (int i = 0; i < count; i++)
        used +=
            (size_t)snprintf(text + used, size - used, "%sm%03d=%s", i > 0 ? "," : "", i, value);
}

Test(baggage, carries_64_members, .init = set_up_baggage, .fini = tear_down_headers)
{
    char text[2000], want[2000];
    members(text, sizeof(text), 64, "v");
    baggage(text);
    cr_assert_eq(report.over_limit, 0);
    cr_assert_str_eq(out(), text);
    members(want, sizeof(want), 64, "v");
    members(text, sizeof(text), 70, "v");
    baggage(text);
    cr_assert_eq(report.over_limit, 6);
    cr_assert_str_eq(out(), want);
}

/* 64 members of 127 bytes with 63 commas are 8191 bytes. */
Test(baggage, carries_8192_bytes_and_cuts_no_member, .init = set_up_baggage,
     .fini = tear_down_headers)
{
    char value[130], text[9000];
    memset(value, 'v', sizeof(value));
    value[122] = '\0';
    members(text, sizeof(text), 64, value);
    cr_assert_eq(strlen(text), 8191);
    baggage(text);
    cr_assert_eq(report.over_limit, 0);
    cr_assert_str_eq(out(), text);
    /* One byte more still fits, two do not: then the last is left out, whole. */
    strcat(text, "v");
    baggage(text);
    cr_assert_str_eq(out(), text);
    strcat(text, "v");
    baggage(text);
    cr_assert_eq(report.over_limit, 1);
    *strrchr(text, ',') = '\0';
    cr_assert_str_eq(out(), text);
}

Test(baggage, what_fits_no_stamp_stays_here, .init = set_up_baggage, .fini = tear_down_headers)
{
    char value[130], text[9000];
    memset(value, 'v', sizeof(value));
    value[122] = '\0';
    members(text, sizeof(text), 64, value);
    baggage(text);
    dctx_bytes_t bytes;
    dctx_snapshot_t *capture = NULL;
    OK(dctx_snapshot_broadcast(extracted, &capture));
    OK(dctx_snapshot_encode(capture, &bytes));
    cr_assert_lt(bytes.size, 4200);
    DCTX_WITH_SNAPSHOT(capture) {
        const char *part = out();
        size_t size = strlen(part);
        cr_assert_gt(size, 3800);
        cr_assert_eq(strncmp(part, text, size), 0);
        cr_assert_eq(text[size], ',', "cut between members");
    }
    dctx_snapshot_unref(&capture);
}

Test(baggage, a_value_too_big_for_a_stamp_is_left_out, .init = set_up_baggage,
     .fini = tear_down_headers)
{
    char text[5000];
    memset(text, 'v', sizeof(text));
    memcpy(text, "tenant=", 7);
    strcpy(text + 4200, ",beta=true");
    baggage(text);
    cr_assert_null(dctx_get(tenant_id));
    cr_assert_not_null(dctx_get(beta));
    cr_assert_eq(report.over_limit, 1);
}

Test(baggage, output_holds_the_limits, .init = set_up_baggage, .fini = tear_down_headers)
{
    char text[2000], value[3500];
    dctx_carrier_counters_t before, after;
    members(text, sizeof(text), 64, "v");
    baggage(text);
    OK(dctx_set(tenant_id, "acme"));
    dctx_carrier_counters_read(&before);
    const char *line = out();
    dctx_carrier_counters_read(&after);
    cr_assert_eq(strncmp(line, "tenant=acme,m000=v,", 19), 0);
    cr_assert_null(strstr(line, "m063"));
    cr_assert_not_null(strstr(line, "m062"));
    cr_assert_eq(after.over_limit, before.over_limit + 1);
    /* Three times as long when escaped. */
    memset(value, ' ', sizeof(value));
    value[3000] = '\0';
    OK(dctx_set(tenant_id, value));
    cr_assert_eq(strncmp(out(), "m000=v,", 7), 0);
}

Test(baggage, forged_members_are_not_sent_on, .init = set_up_baggage, .fini = tear_down_headers)
{
    OK(dctx_set(dctx_registry_find(NULL, "dctx.baggage"), "a=1,b\r\nEvil: 1,c=3,,d=\x80"));
    cr_assert_str_eq(out(), "a=1,c=3");
    OK(dctx_clear());
}

Test(baggage, names_and_types_are_checked_when_registering)
{
    static const struct {
        const char *name;
        const dctx_type_t *type;
        unsigned flags;
    } bad[] = {{"", DCTX_TYPE_STRING, 0},          {"a b", DCTX_TYPE_STRING, 0},
               {"a,b", DCTX_TYPE_STRING, 0},       {NULL, DCTX_TYPE_STRING, 0},
               {"a", DCTX_TYPE_BYTES, 0},          {"a", DCTX_TYPE_DOUBLE, 0},
               {"a", DCTX_TYPE_STRING, DCTX_LOCAL}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        dctx_metadata_t metadata = {&dctx_baggage_name, bad[i].name};
        dctx_key_options_t options = {.name = "key",
                                      .type = bad[i].type,
                                      .flags = bad[i].flags,
                                      .metadata = &metadata,
                                      .metadata_count = 1};
        FAILS(dctx_registry_add(NULL, &options, NULL), DCTX_ERR_INVALID);
    }
    cr_assert_eq(dctx_registry_keys(NULL, NULL, 0), 0);
}
