#include "fixture.h"

/* ---- bytes by hand ---- */

/* Wire bytes, written piece by piece, so that a test can make what the library would not. */
typedef struct bytes {
    uint8_t data[16384];
    size_t size;
} bytes_t;

static void add(bytes_t *bytes, const void *data, size_t size)
{
    cr_assert_leq(bytes->size + size, sizeof(bytes->data));
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static void add_text(bytes_t *bytes, const char *text)
{
    uint8_t head[2] = {0xd9, (uint8_t)strlen(text)};
    if (strlen(text) < 32) {
        head[0] = (uint8_t)(0xa0 | strlen(text));
        add(bytes, head, 1);
    } else {
        add(bytes, head, 2);
    }
    add(bytes, text, strlen(text));
}

/* [name, version, bin(body)] */
static void add_entry(bytes_t *bytes, const char *name, uint8_t version, const void *body,
                      size_t size)
{
    add(bytes, "\x93", 1);
    add_text(bytes, name);
    add(bytes, &version, 1);
    const uint8_t head[2] = {0xc4, (uint8_t)size};
    add(bytes, head, 2);
    add(bytes, body, size);
}

static void add_string_entry(bytes_t *bytes, const char *name, const char *text)
{
    bytes_t body = {.size = 0};
    add_text(&body, text);
    add_entry(bytes, name, 1, body.data, body.size);
}

/* [1, [], array of count */
static void begin(bytes_t *bytes, size_t entries)
{
    bytes->size = 0;
    add(bytes, "\x93\x01\x90", 3);
    const uint8_t head[3] = {0xdc, (uint8_t)(entries >> 8), (uint8_t)entries};
    const uint8_t small = (uint8_t)(0x90 | entries);
    add(bytes, entries < 16 ? &small : head, entries < 16 ? 1 : 3);
}

static dctx_error_t decode(const bytes_t *bytes)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = dctx_snapshot_decode(NULL, bytes->data, bytes->size, &snapshot);
    if (error != DCTX_OK)
        cr_assert_null(snapshot);
    dctx_snapshot_unref(&snapshot);
    return error;
}

static void assert_bytes(dctx_bytes_t actual, const void *expected, size_t size)
{
    cr_assert_eq(actual.size, size, "%zu bytes, not %zu", actual.size, size);
    cr_assert_arr_eq(actual.data, expected, size);
}

/* ---- encoding ---- */

Test(wire, the_example_of_the_documentation, .init = set_up)
{
    static const char expected[] = "\x93\x01\x91\xab"
                                   "api-gateway"
                                   "\x91\x93\xa6"
                                   "tenant"
                                   "\x01\xc4\x06\xa5"
                                   "acme1";
    dctx_scope_t scope = push("api-gateway");
    OK(dctx_set(tenant, "acme1"));
    OK(dctx_set(secret, "stays"));
    dctx_snapshot_t *snapshot = capture();
    assert_bytes(encoded(snapshot), expected, sizeof(expected) - 1);
    dctx_snapshot_t *fork = forked();
    assert_bytes(encoded(fork), expected, sizeof(expected) - 1);
    cr_assert_eq(encoded(snapshot).data, encoded(snapshot).data, "computed once");
    cr_assert_eq(counters().encoded, 2);
    OK(dctx_scope_pop(&scope));
    dctx_snapshot_unref(&snapshot);
    dctx_snapshot_unref(&fork);
}

Test(wire, an_empty_context_is_four_bytes, .init = set_up)
{
    dctx_snapshot_t *snapshot = capture();
    assert_bytes(encoded(snapshot), "\x93\x01\x90\x90", 4);
    dctx_snapshot_unref(&snapshot);
    dctx_bytes_t bytes;
    FAILS(dctx_snapshot_encode(NULL, &bytes), DCTX_ERR_INVALID);
}

Test(wire, equal_snapshots_have_equal_bytes_however_they_came_about)
{
    const dctx_key_t *b = add_to(NULL, "B", DCTX_TYPE_INT64, 0);
    const dctx_key_t *a = add_to(NULL, "a", DCTX_TYPE_STRING, 0);
    const dctx_key_t *c = add_to(NULL, "c", DCTX_TYPE_BYTES, 0);
    OK(dctx_registry_freeze(NULL));
    const int64_t number = -129;
    const dctx_bytes_t blob = {"xy", 2};
    OK(dctx_set(c, &blob));
    OK(dctx_set(b, &number));
    OK(dctx_set(a, "text"));
    dctx_snapshot_t *first = capture();
    OK(dctx_clear());
    OK(dctx_set(a, "text"));
    OK(dctx_set(b, &number));
    OK(dctx_set(c, &blob));
    dctx_snapshot_t *second = capture();
    dctx_bytes_t bytes = encoded(first);
    assert_bytes(encoded(second), bytes.data, bytes.size);
    dctx_snapshot_t *third = decoded(NULL, bytes.data, bytes.size);
    assert_bytes(encoded(third), bytes.data, bytes.size);
    bytes_t expected;
    begin(&expected, 3);
    add_string_entry(&expected, "a", "text");
    add_entry(&expected, "B", 1, "\xd1\xff\x7f", 3);
    add_entry(&expected, "c", 1, "\xc4\x02xy", 4);
    assert_bytes(bytes, expected.data, expected.size);
    dctx_snapshot_unref(&first);
    dctx_snapshot_unref(&second);
    dctx_snapshot_unref(&third);
}

Test(wire, every_string_size_is_headed_in_its_shortest_form, .init = set_up)
{
    static const size_t sizes[] = {0, 1, 31, 32, 252, 253, 254, 255, 256, 257, 4000};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char text[4097] = {0};
        memset(text, 'x', sizes[i]);
        OK(dctx_set(user, text));
        dctx_snapshot_t *snapshot = capture();
        dctx_bytes_t bytes = encoded(snapshot);
        dctx_snapshot_t *back = decoded(NULL, bytes.data, bytes.size);
        cr_assert_str_eq(dctx_snapshot_get(back, user), text);
        /* The same through the writer that user codecs use. */
        dctx_writer_t *writer = NULL;
        OK(dctx_writer_new(8192, &writer));
        dctx_write_cstr(writer, text);
        dctx_bytes_t body = dctx_writer_bytes(writer);
        cr_assert_arr_eq((const uint8_t *)bytes.data + bytes.size - body.size, body.data,
                         body.size);
        dctx_writer_destroy(&writer);
        dctx_snapshot_unref(&back);
        dctx_snapshot_unref(&snapshot);
    }
}

Test(wire, over_a_limit_is_an_error_that_names_it_and_the_key)
{
    const dctx_key_t *s = add_to(NULL, "str", DCTX_TYPE_STRING, 0);
    const dctx_key_t *b = add_to(NULL, "blob", DCTX_TYPE_BYTES, 0);
    const dctx_key_t *n = add_to(NULL, "other", DCTX_TYPE_STRING, 0);
    const dctx_limits_t limits = {.stamp_bytes = 100, .entries = 2, .value_bytes = 60};
    OK(dctx_registry_set_limits(NULL, &limits));
    OK(dctx_registry_freeze(NULL));
    char text[100] = {0};
    memset(text, 'x', 58);
    dctx_bytes_t bytes;
    dctx_snapshot_t *snapshot;

    OK(dctx_set(s, text)); /* 58 and a head of 2: just fits */
    snapshot = capture();
    OK(dctx_snapshot_encode(snapshot, &bytes));
    dctx_snapshot_unref(&snapshot);
    text[58] = 'x';
    OK(dctx_set(s, text));
    snapshot = capture();
    FAILS_SAYING(dctx_snapshot_encode(snapshot, &bytes), DCTX_ERR_LIMIT, "value_bytes is 60");
    FAILS_SAYING(dctx_snapshot_encode(snapshot, &bytes), DCTX_ERR_LIMIT, "'str'");
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(counters().encode_refused, 2);

    OK(dctx_unset(s));
    OK(dctx_set(b, &(dctx_bytes_t){text, 58}));
    snapshot = capture();
    OK(dctx_snapshot_encode(snapshot, &bytes));
    dctx_snapshot_unref(&snapshot);
    OK(dctx_set(b, &(dctx_bytes_t){text, 59}));
    snapshot = capture();
    FAILS_SAYING(dctx_snapshot_encode(snapshot, &bytes), DCTX_ERR_LIMIT, "'blob'");
    dctx_snapshot_unref(&snapshot);

    OK(dctx_set(b, &(dctx_bytes_t){text, 40}));
    text[40] = '\0';
    OK(dctx_set(s, text));
    snapshot = capture();
    FAILS_SAYING(dctx_snapshot_encode(snapshot, &bytes), DCTX_ERR_LIMIT, "stamp_bytes is 100");
    dctx_snapshot_unref(&snapshot);

    OK(dctx_set(b, &(dctx_bytes_t){text, 1}));
    OK(dctx_set(s, "x"));
    OK(dctx_set(n, "x"));
    snapshot = capture();
    FAILS_SAYING(dctx_snapshot_encode(snapshot, &bytes), DCTX_ERR_LIMIT, "entries is 2");
    dctx_snapshot_unref(&snapshot);
}

Test(wire, an_encoder_that_refuses_is_named, .init = set_up)
{
    OK(dctx_set(user, "u"));
    OK(set_note(note, "n"));
    dctx_snapshot_t *snapshot = capture();
    dctx_bytes_t bytes = {NULL, 0};
    note_refusal = DCTX_ERR_REJECTED;
    FAILS_SAYING(dctx_snapshot_encode(snapshot, &bytes), DCTX_ERR_CODEC, "'note'");
    cr_assert_null(bytes.data);
    note_refusal = DCTX_OK;
    OK(dctx_snapshot_encode(snapshot, &bytes));
    dctx_snapshot_unref(&snapshot);
}

/* ---- decoding ---- */

Test(wire, values_stay_encoded_until_read_and_are_decoded_once, .init = set_up)
{
    OK(set_note(note, "lazy"));
    OK(dctx_set(user, "u"));
    dctx_snapshot_t *snapshot = capture();
    dctx_bytes_t bytes = encoded(snapshot);
    dctx_snapshot_t *back = decoded(NULL, bytes.data, bytes.size);
    cr_assert_eq(notes_alive, 1);
    const note_t *first = dctx_snapshot_get(back, note);
    cr_assert_str_eq(first->text, "lazy");
    cr_assert_eq(notes_alive, 2);
    cr_assert_eq(dctx_snapshot_get(back, note), first);
    cr_assert_eq(dctx_snapshot_count(back), 2);
    DCTX_WITH_SNAPSHOT(back) {
        cr_assert_eq(dctx_get(note), first);
        OK(set_note(note, "own"));
        cr_assert_str_eq(text_of(user), "u");
    }
    dctx_snapshot_unref(&back);
    cr_assert_eq(notes_alive, 1);
    dctx_snapshot_unref(&snapshot);
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
    cr_assert_eq(counters().decoded, 1);
}

Test(wire, the_input_may_go_away, .init = set_up)
{
    bytes_t bytes;
    begin(&bytes, 2);
    add_string_entry(&bytes, "alien", "x");
    add_string_entry(&bytes, "user", "u");
    dctx_snapshot_t *snapshot = decoded(NULL, bytes.data, bytes.size);
    memset(bytes.data, 0xff, bytes.size);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, user), "u");
    cr_assert_eq(memcmp(dctx_snapshot_unknown_name(snapshot, 0).data, "alien", 5), 0);
    dctx_snapshot_unref(&snapshot);
}

/* A registry that knows nothing. */
static dctx_registry_t *relay_registry(void)
{
    dctx_registry_t *registry = NULL;
    OK(dctx_registry_new(&registry));
    OK(dctx_registry_freeze(registry));
    return registry;
}

Test(wire, a_relay_that_knows_nothing_forwards_everything, .init = set_up)
{
    dctx_scope_t scope = push("edge");
    OK(dctx_set(user, "u"));
    OK(set_note(note, "n"));
    OK(set_total(5));
    dctx_snapshot_t *start = capture();
    dctx_bytes_t bytes = encoded(start);
    dctx_registry_t *registry = relay_registry();
    dctx_snapshot_t *at = dctx_snapshot_ref(start);
    for (int hop = 0; hop < 3; hop++) {
        dctx_bytes_t wire = encoded(at);
        dctx_snapshot_t *received = decoded(registry, wire.data, wire.size);
        cr_assert_eq(dctx_snapshot_count(received), 0);
        cr_assert_eq(dctx_snapshot_unknown_count(received), 3);
        dctx_snapshot_t *next = NULL;
        DCTX_WITH_SNAPSHOT(received) {
            cr_assert(!dctx_is_empty());
            next = hop == 1 ? forked() : capture();
        }
        dctx_snapshot_unref(&received);
        dctx_snapshot_unref(&at);
        at = next;
    }
    assert_bytes(encoded(at), bytes.data, bytes.size);
    dctx_snapshot_unref(&at);
    dctx_snapshot_unref(&start);
    OK(dctx_scope_pop(&scope));
    dctx_registry_destroy(&registry);
}

Test(wire, unknown_entries_travel_on_beside_what_is_set_here, .init = set_up)
{
    bytes_t bytes;
    begin(&bytes, 4);
    add_string_entry(&bytes, "alien", "1");
    /* A name that is local here; more elements than are known; a longer form than needed. */
    add_string_entry(&bytes, "secret", "from outside");
    add(&bytes, "\x94\xd9\x02tz\x01\xc4\x01\xc0\x07", 10);
    add_string_entry(&bytes, "zebra", "2");
    dctx_snapshot_t *received = decoded(NULL, bytes.data, bytes.size);
    cr_assert_eq(dctx_snapshot_unknown_count(received), 4);
    cr_assert_eq(dctx_snapshot_unknown_name(received, 1).size, 6);
    cr_assert_null(dctx_snapshot_unknown_name(received, 4).data);
    dctx_scope_t scope = attach(received);
    cr_assert_null(dctx_get(secret), "carried, not readable");
    OK(dctx_set(secret, "mine"));
    OK(dctx_set(tenant, "acme"));
    dctx_snapshot_t *next = capture();
    bytes_t expected;
    begin(&expected, 5);
    add_string_entry(&expected, "alien", "1");
    add_string_entry(&expected, "secret", "from outside");
    add_string_entry(&expected, "tenant", "acme");
    add(&expected, "\x94\xd9\x02tz\x01\xc4\x01\xc0\x07", 10);
    add_string_entry(&expected, "zebra", "2");
    assert_bytes(encoded(next), expected.data, expected.size);
    dctx_snapshot_unref(&next);

    dctx_scope_t inner = push(NULL);
    OK(dctx_clear());
    next = capture();
    assert_bytes(encoded(next), "\x93\x01\x90\x90", 4);
    dctx_snapshot_unref(&next);
    OK(dctx_merge(received));
    OK(dctx_scope_pop(&inner));
    next = capture();
    assert_bytes(encoded(next), expected.data, expected.size);
    dctx_snapshot_unref(&next);
    OK(dctx_scope_pop(&scope));
    dctx_snapshot_unref(&received);
    cr_assert(dctx_is_empty());
}

Test(wire, merging_unites_what_passes_through, .init = set_up)
{
    bytes_t a, b, expected;
    begin(&a, 3);
    add_string_entry(&a, "one", "a");
    add_string_entry(&a, "two", "a");
    add_string_entry(&a, "user", "a");
    begin(&b, 3);
    add_string_entry(&b, "alpha", "b");
    add_string_entry(&b, "TWO", "b");
    add_string_entry(&b, "zulu", "b");
    begin(&expected, 5);
    add_string_entry(&expected, "alpha", "b");
    add_string_entry(&expected, "one", "a");
    add_string_entry(&expected, "TWO", "b");
    add_string_entry(&expected, "user", "a");
    add_string_entry(&expected, "zulu", "b");
    dctx_snapshot_t *under = decoded(NULL, a.data, a.size);
    dctx_snapshot_t *over = decoded(NULL, b.data, b.size);
    dctx_scope_t scope = push(NULL);
    OK(dctx_merge(under));
    OK(dctx_merge(over));
    dctx_snapshot_t *merged = capture();
    assert_bytes(encoded(merged), expected.data, expected.size);
    dctx_snapshot_unref(&merged);
    OK(dctx_scope_pop(&scope));
    cr_assert(dctx_is_empty());
    /* At the bottom and in an attachment, where nothing is undone. */
    OK(dctx_merge(under));
    OK(dctx_merge(over));
    cr_assert(!dctx_is_empty());
    OK(dctx_clear());
    scope = attach(under);
    OK(dctx_merge(under));
    OK(dctx_merge(over));
    OK(dctx_merge(under));
    OK(dctx_clear());
    OK(dctx_merge(under));
    OK(dctx_scope_pop(&scope));
    cr_assert(dctx_is_empty());
    dctx_snapshot_unref(&under);
    dctx_snapshot_unref(&over);
}

Test(wire, unsorted_input_comes_out_sorted, .init = set_up)
{
    bytes_t mixed, sorted;
    begin(&mixed, 5);
    add_string_entry(&mixed, "zulu", "1");
    add_string_entry(&mixed, "user", "2");
    add_string_entry(&mixed, "Mike", "3");
    add_string_entry(&mixed, "TENANT", "4");
    add_string_entry(&mixed, "alpha", "5");
    begin(&sorted, 5);
    add_string_entry(&sorted, "alpha", "5");
    add_string_entry(&sorted, "Mike", "3");
    add_string_entry(&sorted, "TENANT", "4");
    add_string_entry(&sorted, "user", "2");
    add_string_entry(&sorted, "zulu", "1");
    dctx_snapshot_t *snapshot = decoded(NULL, mixed.data, mixed.size);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, tenant), "4");
    assert_bytes(encoded(snapshot), sorted.data, sorted.size);
    dctx_snapshot_unref(&snapshot);
}

Test(wire, a_name_that_stands_twice_is_refused, .init = set_up)
{
    static const char *const twice[][3] = {{"user", "USER", "a"},
                                           {"user", "a", "User"},
                                           {"alien", "Alien", "b"},
                                           {"alien", "zulu", "ALIEN"},
                                           {"zulu", "alien", "zulU"}};
    for (size_t i = 0; i < sizeof(twice) / sizeof(*twice); i++) {
        bytes_t bytes;
        begin(&bytes, 3);
        for (int j = 0; j < 3; j++)
            add_string_entry(&bytes, twice[i][j], "x");
        FAILS(decode(&bytes), DCTX_ERR_MALFORMED);
    }
    cr_assert_eq(counters().decode_refused, 5);
}

Test(wire, what_is_wrong_is_refused_whole, .init = set_up)
{
    dctx_snapshot_t *snapshot = NULL;
    const struct {
        const char *bytes;
        size_t size;
        dctx_error_t error;
    } rows[] = {
        {"", 0, DCTX_ERR_MALFORMED},
        {"\x93\x01\x90", 3, DCTX_ERR_MALFORMED},
        {"\x93\x02\x90\x90", 4, DCTX_ERR_VERSION},
        {"\x93\x01\x90\x90\x00", 5, DCTX_ERR_MALFORMED},
        {"\x93\x01\x90\x91\x93\xa1k\x01\xa0", 9, DCTX_ERR_MALFORMED},
        {"\x93\x01\x90\x91\x92\xa1k\x01", 8, DCTX_ERR_MALFORMED},
        {"\x93\x01\x90\x91\x93\xa0\x01\xc4\x00", 9, DCTX_ERR_MALFORMED},
        {"\x93\x01\x91\xa1\n\x90", 6, DCTX_ERR_MALFORMED},
        {"\x93\x01\x90\xdd\xff\xff\xff\xff", 8, DCTX_ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        cr_expect_eq(dctx_snapshot_decode(NULL, rows[i].bytes, rows[i].size, &snapshot),
                     rows[i].error, "row %zu: %s", i, dctx_error_detail());
    FAILS(dctx_snapshot_decode(NULL, NULL, 0, &snapshot), DCTX_ERR_MALFORMED);
    cr_assert_null(snapshot);
    /* And what readers must let pass: elements they do not know. */
    OK(dctx_snapshot_decode(NULL, "\x95\x01\x90\x90\xc0\x91\x01", 7, &snapshot));
    dctx_snapshot_unref(&snapshot);
}

Test(wire, cut_anywhere_it_is_refused, .init = set_up)
{
    dctx_scope_t scope = push("name");
    OK(dctx_set(user, "u"));
    OK(set_note(note, "n"));
    dctx_snapshot_t *snapshot = capture();
    dctx_bytes_t bytes = encoded(snapshot);
    dctx_registry_t *relay = relay_registry();
    for (size_t size = 0; size < bytes.size; size++) {
        dctx_snapshot_t *back = NULL;
        FAILS(dctx_snapshot_decode(NULL, bytes.data, size, &back), DCTX_ERR_MALFORMED);
        FAILS(dctx_snapshot_decode(relay, bytes.data, size, &back), DCTX_ERR_MALFORMED);
    }
    dctx_registry_destroy(&relay);
    dctx_snapshot_unref(&snapshot);
    OK(dctx_scope_pop(&scope));
}

Test(wire, limits_hold_for_what_is_received, .init = set_up)
{
    bytes_t bytes;
    begin(&bytes, 65);
    for (int i = 0; i < 65; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "k%02d", i);
        add_string_entry(&bytes, name, "");
    }
    FAILS_SAYING(decode(&bytes), DCTX_ERR_LIMIT, "entries");
    bytes.size = 8193;
    FAILS_SAYING(decode(&bytes), DCTX_ERR_LIMIT, "stamp_bytes");
}

Test(wire, many_entries_take_the_counting_path)
{
    enum { COUNT = 300 };
    const dctx_key_t *keys[COUNT];
    const dctx_limits_t limits = {.entries = 1000};
    for (int i = 0; i < COUNT; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "k%03d", i);
        keys[i] = i % 2 ? add_to(NULL, name, DCTX_TYPE_STRING, 0) : NULL;
    }
    OK(dctx_registry_set_limits(NULL, &limits));
    OK(dctx_registry_freeze(NULL));
    bytes_t bytes;
    begin(&bytes, COUNT);
    for (int i = 0; i < COUNT; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "k%03d", i);
        add_string_entry(&bytes, name, name);
    }
    dctx_snapshot_t *snapshot = decoded(NULL, bytes.data, bytes.size);
    cr_assert_eq(dctx_snapshot_count(snapshot), COUNT / 2);
    cr_assert_eq(dctx_snapshot_unknown_count(snapshot), COUNT / 2);
    cr_assert_str_eq(dctx_snapshot_get(snapshot, keys[299]), "k299");
    assert_bytes(encoded(snapshot), bytes.data, bytes.size);
    dctx_snapshot_unref(&snapshot);
    bytes.data[bytes.size - 1] = 0xc1;
    bytes.size -= 2;
    FAILS(decode(&bytes), DCTX_ERR_MALFORMED);
}

/* ---- entries that do not decode ---- */

Test(wire, one_that_does_not_decode_reads_as_absent_and_travels_on, .init = set_up)
{
    bytes_t bytes;
    begin(&bytes, 4);
    add_entry(&bytes, "note", 1, "\x05", 1);        /* not a string */
    add_entry(&bytes, "tenant", 9, "\xa1x", 2);     /* a later version */
    add_entry(&bytes, "total", 1, "\xa6secret", 7); /* not a number */
    add_string_entry(&bytes, "user", "u");
    dctx_snapshot_t *snapshot = decoded(NULL, bytes.data, bytes.size);
    dctx_set_log(log_sink, NULL);
    for (int i = 0; i < 3; i++) {
        cr_assert_null(dctx_snapshot_get(snapshot, note));
        cr_assert_null(dctx_snapshot_get(snapshot, tenant));
        cr_assert_null(dctx_snapshot_get(snapshot, total));
        cr_assert_str_eq(dctx_snapshot_get(snapshot, user), "u", "neighbours are untouched");
    }
    cr_assert_eq(log_lines, 3, "each is reported once");
    cr_assert_not_null(strstr(log_text, "'total'"));
    cr_assert_null(strstr(log_text, "secret"), "the value is not shown");
    cr_assert_eq(counters().entries_undecodable, 3);
    DCTX_WITH_SNAPSHOT(snapshot) {
        cr_assert(!dctx_contains(total));
        dctx_snapshot_t *next = capture();
        assert_bytes(encoded(next), bytes.data, bytes.size);
        dctx_snapshot_unref(&next);
    }
    dctx_snapshot_unref(&snapshot);
    dctx_set_log(NULL, NULL);
}

Test(wire, out_of_memory_while_decoding_is_not_the_values_fault, .init = set_up)
{
    bytes_t bytes;
    /* Longer than what a stamp keeps room for. */
    char text[201];
    memset(text, 'u', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    begin(&bytes, 1);
    add_string_entry(&bytes, "user", text);
    dctx_snapshot_t *snapshot = decoded(NULL, bytes.data, bytes.size);
    count_allocations();
    fail_at = 1;
    cr_assert_null(dctx_snapshot_get(snapshot, user));
    fail_at = 0;
    cr_assert_str_eq(dctx_snapshot_get(snapshot, user), text);
    cr_assert_eq(counters().entries_undecodable, 0);
    dctx_snapshot_unref(&snapshot);
}

/* ---- versions and codecs ---- */

static dctx_error_t append(const void *data, size_t size, dctx_writer_t *writer, const char *tail)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    dctx_bytes_t text = dctx_read_str(&reader);
    char joined[600];
    (void)snprintf(joined, sizeof(joined), "%.*s%s", (int)text.size, (const char *)text.data, tail);
    dctx_write_cstr(writer, joined);
    return dctx_reader_end(&reader);
}

static dctx_error_t from_1_to_2(const void *data, size_t size, dctx_writer_t *writer)
{
    return append(data, size, writer, "+2");
}

static dctx_error_t from_2_to_3(const void *data, size_t size, dctx_writer_t *writer)
{
    return append(data, size, writer, "+3");
}

static dctx_error_t from_2_to_4(const void *data, size_t size, dctx_writer_t *writer)
{
    char long_tail[301];
    memset(long_tail, '4', sizeof(long_tail));
    long_tail[300] = '\0';
    return append(data, size, writer, long_tail);
}

static dctx_error_t from_3_to_4(const void *data, size_t size, dctx_writer_t *writer)
{
    (void)data;
    (void)size;
    (void)writer;
    return DCTX_ERR_REJECTED;
}

Test(wire, older_versions_are_migrated_by_the_longest_steps)
{
    const dctx_migration_t steps[] = {
        {1, 2, from_1_to_2}, {2, 3, from_2_to_3}, {3, 4, from_3_to_4}, {2, 4, from_2_to_4}};
    const dctx_key_options_t options = {.name = "v",
                                        .type = DCTX_TYPE_STRING,
                                        .version = 4,
                                        .migrations = steps,
                                        .migration_count = 4};
    const dctx_key_t *key = NULL;
    OK(dctx_registry_add(NULL, &options, &key));
    OK(dctx_registry_freeze(NULL));
    char expected[400] = "x+2";
    memset(expected + 3, '4', 300);
    bytes_t bytes;
    for (uint8_t version = 0; version <= 5; version++) {
        begin(&bytes, 1);
        add_entry(&bytes, "v", version, "\xa1x", 2);
        if (version == 0) { /* there is no such version */
            dctx_snapshot_t *snapshot = NULL;
            cr_assert_eq(dctx_snapshot_decode(NULL, bytes.data, bytes.size, &snapshot),
                         DCTX_ERR_MALFORMED);
            continue;
        }
        dctx_snapshot_t *snapshot = decoded(NULL, bytes.data, bytes.size);
        const char *text = dctx_snapshot_get(snapshot, key);
        switch (version) {
        case 1:
            cr_assert_str_eq(text, expected);
            break;
        case 2:
            cr_assert_eq(strlen(text), 301);
            break;
        case 4:
            cr_assert_str_eq(text, "x");
            break;
        default: /* 3: the step refuses; 5: from the future */
            cr_assert_null(text);
        }
        assert_bytes(encoded(snapshot), bytes.data, bytes.size);
        dctx_snapshot_unref(&snapshot);
    }
    DCTX_SCOPE(NULL);
    OK(dctx_set(key, "now"));
    dctx_snapshot_t *mine = capture();
    begin(&bytes, 1);
    add_entry(&bytes, "v", 4, "\xa3now", 4);
    assert_bytes(encoded(mine), bytes.data, bytes.size);
    dctx_snapshot_unref(&mine);
}

static dctx_error_t reverse_encode(const void *value, dctx_writer_t *writer)
{
    const note_t *from = value;
    for (size_t i = strlen(from->text); i-- > 0;)
        dctx_writer_put(writer, &from->text[i], 1);
    return DCTX_OK;
}

static dctx_error_t reverse_decode(void *dst, const void *data, size_t size)
{
    char text[64];
    for (size_t i = 0; i < size; i++)
        text[i] = ((const char *)data)[size - 1 - i];
    return note_make(dst, text, size);
}

Test(wire, a_key_may_have_a_codec_of_its_own)
{
    static const dctx_codec_t reverse = {reverse_encode, reverse_decode};
    const dctx_key_options_t options = {.name = "r", .type = &note_type, .codec = &reverse};
    const dctx_key_t *key = NULL;
    OK(dctx_registry_add(NULL, &options, &key));
    OK(dctx_registry_freeze(NULL));
    OK(set_note(key, "abc"));
    dctx_snapshot_t *snapshot = capture();
    bytes_t expected;
    begin(&expected, 1);
    add_entry(&expected, "r", 1, "cba", 3);
    assert_bytes(encoded(snapshot), expected.data, expected.size);
    dctx_snapshot_t *back = decoded(NULL, expected.data, expected.size);
    cr_assert_str_eq(((const note_t *)dctx_snapshot_get(back, key))->text, "abc");
    dctx_snapshot_unref(&back);
    dctx_snapshot_unref(&snapshot);
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
}

/* ---- codecs that come back ---- */

static const dctx_key_t *loop;

static dctx_error_t loop_encode(const void *value, dctx_writer_t *writer)
{
    (void)value;
    dctx_snapshot_t *snapshot = capture();
    dctx_bytes_t bytes;
    cr_assert_eq(dctx_snapshot_encode(snapshot, &bytes), DCTX_ERR_CODEC);
    dctx_snapshot_unref(&snapshot);
    dctx_scope_t scope = push("encoding");
    OK(dctx_unset(loop));
    snapshot = capture();
    OK(dctx_snapshot_encode(snapshot, &bytes));
    dctx_write_bin(writer, bytes.data, bytes.size);
    dctx_snapshot_unref(&snapshot);
    OK(dctx_scope_pop(&scope));
    return DCTX_OK;
}

static dctx_error_t loop_decode(void *dst, const void *data, size_t size)
{
    (void)data;
    (void)size;
    cr_assert_null(dctx_get(loop), "absent while it is being decoded");
    OK(dctx_set(loop, &(uint64_t){2}));
    *(uint64_t *)dst = 1;
    return DCTX_OK;
}

static const dctx_type_t loop_type = {
    .name = "loop", .size = 8, .encode = loop_encode, .decode = loop_decode};

Test(wire, codecs_may_call_anything_even_for_their_own_value)
{
    set_up_keys();
    loop = add_to(NULL, "loop", &loop_type, 0);
    OK(dctx_registry_freeze(NULL));
    OK(dctx_set(user, "u"));
    OK(dctx_set(loop, &(uint64_t){0}));
    dctx_snapshot_t *snapshot = capture();
    dctx_bytes_t bytes = encoded(snapshot);
    bytes_t copy = {.size = 0};
    add(&copy, bytes.data, bytes.size);
    dctx_snapshot_t *back = decoded(NULL, copy.data, copy.size);
    dctx_snapshot_unref(&snapshot);
    dctx_scope_t scope = attach(back);
    (void)dctx_get(loop);
    cr_assert_eq(*(const uint64_t *)dctx_get(loop), 2, "set while it was decoded");
    OK(dctx_scope_pop(&scope));
    cr_assert_eq(*(const uint64_t *)dctx_snapshot_get(back, loop), 1);
    /* The value is in the thread's context alone when its own decoding replaces it. */
    dctx_snapshot_unref(&back);
    back = decoded(NULL, copy.data, copy.size);
    OK(dctx_merge(back));
    dctx_snapshot_unref(&back);
    (void)dctx_get(loop);
    cr_assert_eq(*(const uint64_t *)dctx_get(loop), 2);
    OK(dctx_clear());
}

/* ---- as text ---- */

Test(wire, base64_both_ways, .init = set_up)
{
    OK(dctx_set(user, "\xff\xfe?>~\xbf"));
    dctx_snapshot_t *snapshot = capture();
    for (int form = DCTX_BASE64; form <= DCTX_BASE64_URL; form++) {
        char *text = NULL;
        OK(dctx_snapshot_to_base64(snapshot, (dctx_base64_t)form, &text));
        cr_assert_eq(strpbrk(text, form == DCTX_BASE64 ? "-_" : "+/="), NULL);
        dctx_snapshot_t *back = NULL;
        OK(dctx_snapshot_from_base64(NULL, text, strlen(text), &back));
        dctx_bytes_t bytes = encoded(snapshot);
        assert_bytes(encoded(back), bytes.data, bytes.size);
        dctx_snapshot_unref(&back);
        dctx_free(text);
    }
    char *text = NULL;
    FAILS(dctx_snapshot_to_base64(snapshot, (dctx_base64_t)7, &text), DCTX_ERR_INVALID);
    FAILS(dctx_snapshot_to_base64(NULL, DCTX_BASE64, &text), DCTX_ERR_INVALID);
    dctx_snapshot_unref(&snapshot);
    FAILS(dctx_snapshot_from_base64(NULL, "!!!!", 4, &snapshot), DCTX_ERR_MALFORMED);
    FAILS(dctx_snapshot_from_base64(NULL, NULL, 0, &snapshot), DCTX_ERR_MALFORMED);
    FAILS(dctx_snapshot_from_base64(NULL, "AAAA", 4, &snapshot), DCTX_ERR_MALFORMED);
    static char huge[20000];
    memset(huge, 'A', sizeof(huge));
    FAILS_SAYING(dctx_snapshot_from_base64(NULL, huge, sizeof(huge), &snapshot), DCTX_ERR_LIMIT,
                 "stamp_bytes");
    cr_assert_null(snapshot);
}

/* ---- failing allocations ---- */

Test(wire, out_of_memory_anywhere_is_an_error_and_no_leak, .init = set_up)
{
    dctx_scope_t scope = push("name");
    OK(dctx_set(user, "u"));
    OK(set_note(note, "n"));
    OK(set_total(5));
    dctx_snapshot_t *snapshot = capture();
    count_allocations();
    dctx_bytes_t bytes = {NULL, 0};
    dctx_error_t error = DCTX_ERR_NOMEM;
    for (size_t round = 1; error != DCTX_OK; round++) {
        fail_at = allocations + round;
        error = dctx_snapshot_encode(snapshot, &bytes);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
    }
    dctx_snapshot_t *back = NULL;
    error = DCTX_ERR_NOMEM;
    for (size_t round = 1; error != DCTX_OK; round++) {
        fail_at = allocations + round;
        error = dctx_snapshot_decode(NULL, bytes.data, bytes.size, &back);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
    }
    fail_at = 0;
    cr_assert_str_eq(((const note_t *)dctx_snapshot_get(back, note))->text, "n");
    dctx_snapshot_unref(&back);
    dctx_snapshot_unref(&snapshot);
    OK(dctx_scope_pop(&scope));
}
