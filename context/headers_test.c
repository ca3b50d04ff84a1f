#include "fixture.h"

static dctx_headers_t *headers;

static void set_up_container(void)
{
    OK(dctx_headers_new(&headers));
}

static void tear_down_container(void)
{
    dctx_headers_destroy(&headers);
    cr_assert_null(headers);
    dctx_headers_destroy(&headers);
    dctx_headers_destroy(NULL);
}

static void add(const char *name, const char *value)
{
    OK(dctx_headers_add(headers, name, value, strlen(value)));
}

static void set(const char *name, const char *value)
{
    OK(dctx_headers_set(headers, name, value, strlen(value)));
}

/* All of it as "name=value;..." */
static const char *whole(void)
{
    static char text[1024];
    dctx_bytes_t name, value;
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; dctx_headers_at(headers, i, &name, &value); i++)
        used +=
            (size_t)snprintf(text + used, sizeof(text) - used, "%.*s=%.*s;", (int)name.size,
                             (const char *)name.data, (int)value.size, (const char *)value.data);
    return text;
}

Test(headers, keep_their_order_and_repeat, .init = set_up_container, .fini = tear_down_container)
{
    cr_assert_eq(dctx_headers_count(headers), 0);
    cr_assert_null(dctx_headers_get(headers, "a"));
    cr_assert_null(dctx_headers_get(headers, NULL));
    add("A", "1");
    add("b", "2");
    add("a", "3");
    cr_assert_str_eq(whole(), "A=1;b=2;a=3;");
    cr_assert_str_eq(dctx_headers_get(headers, "a"), "1");
    cr_assert_str_eq(dctx_headers_get(headers, "B"), "2");
}

Test(headers, set_replaces_all_of_a_name, .init = set_up_container, .fini = tear_down_container)
{
    add("a", "1");
    add("b", "2");
    add("A", "3");
    set("a", "longer than it was");
    cr_assert_str_eq(whole(), "a=longer than it was;b=2;");
    add("A", "3");
    set("A", "x");
    cr_assert_str_eq(whole(), "a=x;b=2;");
    set("c", "new");
    set("b", "");
    cr_assert_str_eq(whole(), "a=x;b=;c=new;");
}

Test(headers, remove_and_clear, .init = set_up_container, .fini = tear_down_container)
{
    add("a", "1");
    add("b", "2");
    add("A", "3");
    cr_assert(dctx_headers_remove(headers, "a"));
    cr_assert(!dctx_headers_remove(headers, "a"));
    cr_assert(!dctx_headers_remove(headers, NULL));
    cr_assert_str_eq(whole(), "b=2;");
    dctx_headers_clear(headers);
    cr_assert_eq(dctx_headers_count(headers), 0);
    add("c", "4");
    cr_assert_str_eq(whole(), "c=4;");
}

Test(headers, hold_any_bytes, .init = set_up_container, .fini = tear_down_container)
{
    dctx_bytes_t name, value;
    OK(dctx_headers_add(headers, "a", "\0\r\n\xff", 4));
    OK(dctx_headers_add(headers, "b", NULL, 0));
    cr_assert(dctx_headers_at(headers, 0, &name, &value));
    cr_assert_eq(value.size, 4);
    cr_assert_arr_eq(value.data, "\0\r\n\xff", 4);
    cr_assert(!dctx_headers_at(headers, 2, &name, &value));
}

Test(headers, refuse_what_is_none, .init = set_up_container, .fini = tear_down_container)
{
    FAILS(dctx_headers_add(headers, NULL, "1", 1), DCTX_ERR_INVALID);
    FAILS(dctx_headers_add(headers, "", "1", 1), DCTX_ERR_INVALID);
    FAILS(dctx_headers_set(headers, "", "1", 1), DCTX_ERR_INVALID);
    FAILS(dctx_headers_add(headers, "a", NULL, 1), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_headers_count(headers), 0);
}

Test(headers, no_container_holds_nothing, .init = set_up_container, .fini = tear_down_container)
{
    dctx_bytes_t name, value;
    dctx_snapshot_t *snapshot = NULL;
    dctx_carrier_t carrier = dctx_headers_carrier(NULL);
    FAILS(dctx_headers_new(NULL), DCTX_ERR_INVALID);
    FAILS(dctx_headers_add(NULL, "a", "1", 1), DCTX_ERR_INVALID);
    FAILS(dctx_headers_set(NULL, "a", "1", 1), DCTX_ERR_INVALID);
    cr_assert(!dctx_headers_remove(NULL, "a"));
    dctx_headers_clear(NULL);
    cr_assert_null(dctx_headers_get(NULL, "a"));
    cr_assert_eq(dctx_headers_count(NULL), 0);
    cr_assert(!dctx_headers_at(NULL, 0, &name, &value));
    OK(dctx_registry_freeze(NULL));
    OK(dctx_extract(NULL, NULL, &carrier, &snapshot, NULL));
    cr_assert(dctx_snapshot_is_empty(snapshot));
    dctx_snapshot_unref(&snapshot);
}

Test(headers, hold_64_kib, .init = set_up_container, .fini = tear_down_container)
{
    static char big[65537];
    memset(big, 'v', sizeof(big));
    OK(dctx_headers_add(headers, "a", big, 65536 - 3));
    FAILS(dctx_headers_add(headers, "b", "", 0), DCTX_ERR_LIMIT);
    FAILS(dctx_headers_set(headers, "a", big, 65536 - 2), DCTX_ERR_LIMIT);
    FAILS(dctx_headers_set(headers, "a", big, SIZE_MAX), DCTX_ERR_LIMIT);
    OK(dctx_headers_set(headers, "a", "small", 5));
    /* What was there before is not counted any more. */
    for (int i = 0; i < 100; i++) {
        OK(dctx_headers_set(headers, "a", big, (size_t)(60000 + i)));
        cr_assert_eq(strlen(dctx_headers_get(headers, "a")), (size_t)(60000 + i));
    }
    OK(dctx_headers_add(headers, "b", big, 5000));
    cr_assert_eq(dctx_headers_count(headers), 2);
}

Test(headers, hold_1024, .init = set_up_container, .fini = tear_down_container)
{
    char name[16];
    for (int i = 0; i < 1024; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        add(name, "v");
    }
    FAILS(dctx_headers_add(headers, "x", "v", 1), DCTX_ERR_LIMIT);
    set("n1023", "longer");
    cr_assert_eq(dctx_headers_count(headers), 1024);
    cr_assert_str_eq(dctx_headers_get(headers, "N1023"), "longer");
}

static bool count_until_two(dctx_bytes_t name, dctx_bytes_t value, void *arg)
{
    (void)name;
    (void)value;
    return ++*(int *)arg < 2;
}

Test(headers, as_a_carrier, .init = set_up_container, .fini = tear_down_container)
{
    dctx_carrier_t carrier = dctx_headers_carrier(headers);
    int seen = 0;
    add("a", "1");
    add("A", "2");
    add("b", "3");
    add("a", "4");
    carrier.each(carrier.headers, "a", count_until_two, &seen);
    cr_assert_eq(seen, 2, "ended by the visitor");
    seen = -100;
    carrier.each(carrier.headers, NULL, count_until_two, &seen);
    cr_assert_eq(seen, -96);
    seen = -100;
    carrier.each(carrier.headers, "none", count_until_two, &seen);
    cr_assert_eq(seen, -100);
    OK(carrier.set(carrier.headers, "a", "5", 1));
    cr_assert_str_eq(whole(), "a=5;b=3;");
}
