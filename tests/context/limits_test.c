/*
 * Limits hold both ways, are exact, and say which they are; text forms from strangers; and what is
 * said of an entry that does not decode.
 */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "watch.h"
#include "wire.h"

enum { KEYS = 80 };

static dctx_registry_t *registry;
static const dctx_key_t *keys[KEYS];
static dctx_scope_t attached;

static void init(void)
{
    watch_install();
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    for (int i = 0; i < KEYS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "key-%02d", i);
        const dctx_key_options_t options = {.name = name, .type = DCTX_TYPE_STRING};
        cr_assert_eq(dctx_registry_add(registry, &options, &keys[i]), DCTX_OK);
    }
    cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
    dctx_snapshot_t *empty = NULL;
    cr_assert_eq(dctx_snapshot_empty(registry, &empty), DCTX_OK);
    cr_assert_eq(dctx_attach(empty, &attached), DCTX_OK);
    dctx_snapshot_unref(&empty);
}

static void done(void)
{
    cr_assert_eq(dctx_scope_pop(&attached), DCTX_OK);
    dctx_registry_destroy(&registry);
}

static void set(int i, size_t size)
{
    char *text = malloc(size + 1);
    cr_assert_not_null(text);
    memset(text, 's', size);
    text[size] = '\0';
    cr_assert_eq(dctx_set(keys[i], text), DCTX_OK);
    free(text);
}

static void detail_says(const char *a, const char *b, const char *c)
{
    const char *parts[] = {a, b, c};
    for (int i = 0; i < 3; i++)
        cr_assert(parts[i] == NULL || strstr(dctx_error_detail(), parts[i]) != NULL,
                  "'%s' does not say '%s'", dctx_error_detail(), parts[i]);
    cr_assert_null(strstr(dctx_error_detail(), "sss"), "'%s' shows a value", dctx_error_detail());
}

/* What the thread has, encoded; checks that a refusal changes nothing and stays what it is. */
static dctx_error_t encode(size_t *ret_size)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_bytes_t bytes = {NULL, 0};
    dctx_context_counters_t before, after;
    dctx_context_counters_read(&before);
    cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
    dctx_error_t error = dctx_snapshot_encode(snapshot, &bytes);
    dctx_context_counters_read(&after);
    cr_assert_eq(after.encoded, before.encoded + (error == DCTX_OK));
    cr_assert_eq(after.encode_refused, before.encode_refused + (error != DCTX_OK));
    if (error != DCTX_OK) {
        char *text = NULL;
        cr_assert_null(bytes.data);
        cr_assert_eq(dctx_snapshot_to_base64(snapshot, DCTX_BASE64, &text), error);
        cr_assert_null(text);
        cr_assert_eq(dctx_snapshot_encode(snapshot, &bytes), error);
    } else {
        dctx_snapshot_t *again = NULL;
        cr_assert_eq(dctx_snapshot_decode(registry, bytes.data, bytes.size, &again), DCTX_OK, "%s",
                     dctx_error_detail());
        dctx_snapshot_unref(&again);
    }
    *ret_size = bytes.size;
    dctx_snapshot_unref(&snapshot);
    return error;
}

Test(limits, value, .init = init)
{
    size_t size;
    set(7, 4096 - 3); /* a str of up to 65535 has a head of 3 */
    cr_assert_eq(encode(&size), DCTX_OK);
    set(7, 4096 - 2);
    cr_assert_eq(encode(&size), DCTX_ERR_LIMIT);
    detail_says("4096", "4097", "key-07");
    set(7, 100000);
    cr_assert_eq(encode(&size), DCTX_ERR_LIMIT);
    detail_says("4096", NULL, "key-07");
    cr_assert_eq(strlen(dctx_get(keys[7])), 100000);
    set(7, 1);
    cr_assert_eq(encode(&size), DCTX_OK);
    done();
}

Test(limits, stamp, .init = init)
{
    size_t size = 0, more = 4000;
    set(1, 4000);
    set(2, 100);
    cr_assert_eq(encode(&size), DCTX_OK);
    size_t rest = 8192 - size;
    for (more = rest - 40; size < 8192; more++) {
        set(3, more);
        cr_assert_eq(encode(&size), DCTX_OK, "%zu", more);
    }
    cr_assert_eq(size, 8192);
    set(3, more);
    cr_assert_eq(encode(&size), DCTX_ERR_LIMIT);
    detail_says("8192", "8193", NULL);
    done();
}

Test(limits, entries, .init = init)
{
    size_t size;
    for (int i = 0; i < 64; i++)
        set(i, 1);
    cr_assert_eq(encode(&size), DCTX_OK);
    set(70, 1);
    cr_assert_eq(encode(&size), DCTX_ERR_LIMIT);
    detail_says("64", "65", NULL);
    cr_assert_eq(dctx_unset(keys[3]), DCTX_OK);
    cr_assert_eq(encode(&size), DCTX_OK);
    done();
}

/* Entries that pass through count too. */
Test(limits, entries_with_strangers, .init = init)
{
    wire_t wire;
    dctx_snapshot_t *snapshot = NULL;
    size_t size;
    wire_init(&wire);
    wire_raw(&wire, "\x93\x01\x90", 3);
    wire_array(&wire, 40, -1);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof(name), "other-%02d", i);
        wire_string_entry(&wire, name, "x");
    }
    cr_assert_eq(dctx_snapshot_decode(registry, wire.data, wire.size, &snapshot), DCTX_OK);
    DCTX_WITH_SNAPSHOT(snapshot) {
        for (int i = 0; i < 24; i++)
            set(i, 1);
        cr_assert_eq(encode(&size), DCTX_OK);
        set(24, 1);
        cr_assert_eq(encode(&size), DCTX_ERR_LIMIT);
        detail_says("64", "65", NULL);
    }
    dctx_snapshot_unref(&snapshot);
    wire_finish(&wire);
    done();
}

static dctx_error_t decode(const wire_t *wire)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_error_t error = dctx_snapshot_decode(registry, wire->data, wire->size, &snapshot);
    dctx_snapshot_unref(&snapshot);
    return error;
}

Test(limits, decode, .init = init)
{
    wire_t wire;
    static uint8_t body[9000];
    wire_init(&wire);
    memset(body, 's', sizeof(body));
    for (size_t size = 4095; size <= 4097; size++) {
        wire_clear(&wire);
        wire_raw(&wire, "\x93\x01\x90\x91", 4);
        wire_entry(&wire, "some-key", 1, body, size);
        cr_assert_eq(decode(&wire), size <= 4096 ? DCTX_OK : DCTX_ERR_LIMIT);
    }
    detail_says("4096", "4097", "some-key");
    for (size_t total = 8191; total <= 8193; total++) {
        wire_clear(&wire);
        wire_raw(&wire, "\x94\x01\x90\x90", 4);
        wire_bin(&wire, body, total - 7);
        cr_assert_eq(wire.size, total);
        cr_assert_eq(decode(&wire), total <= 8192 ? DCTX_OK : DCTX_ERR_LIMIT);
    }
    detail_says("8192", "8193", NULL);
    for (unsigned names = 31; names <= 33; names++) {
        for (int elided = 0; elided < 2; elided++) {
            wire_clear(&wire);
            wire_raw(&wire, "\x93\x01", 2);
            wire_array(&wire, names + elided, -1);
            for (unsigned i = 0; i < names; i++) {
                if (i == 4 && elided)
                    wire_uint(&wire, 9, -1);
                wire_cstr(&wire, "s");
            }
            wire_raw(&wire, "\x90", 1);
            cr_assert_eq(decode(&wire), names <= 32 ? DCTX_OK : DCTX_ERR_LIMIT);
        }
    }
    detail_says("32", "33", NULL);
    for (unsigned entries = 63; entries <= 65; entries++) {
        wire_clear(&wire);
        wire_raw(&wire, "\x93\x01\x90", 3);
        wire_array(&wire, entries, -1);
        for (unsigned i = 0; i < entries; i++) {
            char name[16];
            snprintf(name, sizeof(name), "k%u", i);
            wire_entry(&wire, name, 1, "", 0);
        }
        cr_assert_eq(decode(&wire), entries <= 64 ? DCTX_OK : DCTX_ERR_LIMIT);
    }
    detail_says("64", "65", NULL);
    wire_finish(&wire);
    done();
}

/* An error never shows content, whatever the offence. */
Test(limits, no_error_shows_a_value, .init = init)
{
    wire_t wire;
    wire_init(&wire);
    wire_raw(&wire, "\x93\x01\x90\x92", 4);
    wire_string_entry(&wire, "a", "ssssssssssssssssssss");
    wire_string_entry(&wire, "b", "ssssssssssssssssssss");
    for (size_t size = wire.size; size-- > 0;) {
        wire_t cut = {wire.data, size, size};
        cr_assert_eq(decode(&cut), DCTX_ERR_MALFORMED);
        detail_says(NULL, NULL, NULL);
    }
    wire_finish(&wire);
    done();
}

Test(limits, depth, .init = init, .timeout = 20)
{
    static dctx_scope_t scopes[1100];
    dctx_context_counters_t before, after;
    char chain[4096];
    dctx_context_counters_read(&before);
    size_t opened = 0;
    dctx_error_t error = DCTX_OK;
    while (opened < 1100 && error == DCTX_OK)
        error = dctx_scope_push("deep", &scopes[opened++]);
    /* The attachment counts as one. */
    cr_assert_eq(opened, 1024);
    cr_assert_eq(error, DCTX_ERR_LIMIT);
    detail_says("1024", NULL, NULL);
    cr_assert_eq(dctx_scope_depth(), 1024);
    cr_assert_eq(dctx_scope_error(&scopes[opened - 1]), DCTX_ERR_LIMIT);
    dctx_chain_format(chain, sizeof(chain));
    cr_assert_not_null(strstr(chain, "deep > deep > deep > deep > [991 more] > deep"), "%s", chain);
    size_t blocks = watch_live_blocks();
    for (int i = 0; i < 100; i++) {
        dctx_scope_t scope;
        cr_assert_eq(dctx_scope_push(i % 2 ? "x" : NULL, &scope), DCTX_ERR_LIMIT);
        set(1, 20); /* in the deepest scope that is real */
        cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
        cr_assert_not_null(dctx_get(keys[1]));
        DCTX_WITH_SCOPE("refused")
            cr_assert_eq(dctx_scope_depth(), 1024);
        dctx_snapshot_t *snapshot = NULL;
        cr_assert_eq(dctx_snapshot_empty(registry, &snapshot), DCTX_OK);
        cr_assert_eq(dctx_attach(snapshot, &scope), DCTX_ERR_LIMIT);
        cr_assert_not_null(dctx_get(keys[1]));
        cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
        dctx_snapshot_unref(&snapshot);
        if (i == 0)
            blocks = watch_live_blocks();
    }
    cr_assert_leq(watch_live_blocks(), blocks, "a refused scope leaks");
    dctx_context_counters_read(&after);
    cr_assert_eq(after.scope_refused, before.scope_refused + 301);
    while (opened-- > 0)
        cr_assert_eq(dctx_scope_pop(&scopes[opened]), DCTX_OK);
    cr_assert_null(dctx_get(keys[1]));
    cr_assert_eq(dctx_scope_depth(), 1);
    cr_assert_eq(dctx_chain_format(chain, sizeof(chain)), 0);
    done();
}

Test(limits, scope_name, .init = init)
{
    char name[80];
    dctx_scope_t scope;
    memset(name, 'n', sizeof(name));
    name[64] = '\0';
    cr_assert_eq(dctx_scope_push(name, &scope), DCTX_OK);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    name[64] = 'n';
    name[65] = '\0';
    cr_assert_eq(dctx_scope_push(name, &scope), DCTX_ERR_LIMIT);
    detail_says("64", "65", NULL);
    cr_assert_eq(dctx_scope_depth(), 1);
    cr_assert_eq(dctx_scope_pop(&scope), DCTX_OK);
    done();
}

/* To the byte, also where a longer length takes a longer head. */
static void value_limit(size_t limit, size_t body)
{
    const dctx_key_options_t options[] = {{.name = "text", .type = DCTX_TYPE_STRING},
                                          {.name = "blob", .type = DCTX_TYPE_BYTES}};
    size_t heads[] = {body < 33      ? 1
                      : body < 258   ? 2
                      : body < 65539 ? 3
                                     : 5,
                      body < 258     ? 2
                      : body < 65539 ? 3
                                     : 5};
    char *text = malloc(body + 1);
    cr_assert_not_null(text);
    memset(text, 's', body);
    text[body - heads[0]] = '\0';
    for (int i = 0; i < 2; i++) {
        dctx_registry_t *own = NULL;
        dctx_snapshot_t *snapshot = NULL;
        const dctx_key_t *key = NULL;
        dctx_bytes_t bytes;
        dctx_bytes_t blob = {text, body - heads[1]};
        const dctx_limits_t limits = {.value_bytes = limit, .stamp_bytes = 1 << 20};
        cr_assert_eq(dctx_registry_new(&own), DCTX_OK);
        cr_assert_eq(dctx_registry_set_limits(own, &limits), DCTX_OK);
        cr_assert_eq(dctx_registry_add(own, &options[i], &key), DCTX_OK);
        cr_assert_eq(dctx_registry_freeze(own), DCTX_OK);
        cr_assert_eq(dctx_snapshot_empty(own, &snapshot), DCTX_OK);
        DCTX_WITH_SNAPSHOT(snapshot) {
            dctx_snapshot_unref(&snapshot);
            cr_assert_eq(dctx_set(key, i == 0 ? (const void *)text : &blob), DCTX_OK);
            cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
            dctx_error_t error = dctx_snapshot_encode(snapshot, &bytes);
            cr_assert_eq(error, body <= limit ? DCTX_OK : DCTX_ERR_LIMIT,
                         "%zu bytes of %s, limit %zu: %s", body, options[i].name, limit,
                         dctx_error_name(error));
        }
        dctx_snapshot_unref(&snapshot);
        dctx_registry_destroy(&own);
    }
    free(text);
}

Test(limits, value_to_the_byte, .init = init)
{
    static const size_t edges[] = {16, 32, 34, 256, 259, 65536, 65541};
    for (size_t e = 0; e < sizeof(edges) / sizeof(edges[0]); e++)
        for (size_t limit = edges[e] - 5; limit <= edges[e] + 5; limit++)
            for (size_t body = limit - 1; body <= limit + 1; body++)
                /* No str or no bin has just these sizes with its head. */
                if (body != 33 && body != 258 && body != 65539 && body != 65540)
                    value_limit(limit, body);
    done();
}

/* Each registry has its own depth, and what counts is all that is open. */
Test(limits, depth_of_several_registries, .init = init)
{
    dctx_registry_t *shallow = NULL;
    dctx_snapshot_t *snapshot = NULL;
    dctx_scope_t scopes[40], inside, refused;
    cr_assert_eq(dctx_registry_new(&shallow), DCTX_OK);
    cr_assert_eq(dctx_registry_set_limits(shallow, &(dctx_limits_t){.scope_depth = 10}), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(shallow), DCTX_OK);
    cr_assert_eq(dctx_snapshot_empty(shallow, &snapshot), DCTX_OK);
    for (int opened = 0; opened < 40; opened++) {
        /* One is open from the beginning, by init. */
        dctx_error_t error = dctx_attach(snapshot, &inside);
        cr_assert_eq(error, opened + 1 < 10 ? DCTX_OK : DCTX_ERR_LIMIT);
        if (error == DCTX_OK) {
            error = dctx_scope_push("inside", &refused);
            cr_assert_eq(error, opened + 2 < 10 ? DCTX_OK : DCTX_ERR_LIMIT);
            cr_assert_eq(dctx_scope_pop(&refused), DCTX_OK);
        }
        cr_assert_eq(dctx_scope_pop(&inside), DCTX_OK);
        cr_assert_eq(dctx_scope_push("outside", &scopes[opened]), DCTX_OK, "at %d", opened);
    }
    for (int i = 40; i-- > 0;)
        cr_assert_eq(dctx_scope_pop(&scopes[i]), DCTX_OK);
    /* The other way round: a deep one was attached in between. */
    dctx_snapshot_t *deep = NULL;
    cr_assert_eq(dctx_snapshot_empty(registry, &deep), DCTX_OK);
    DCTX_WITH_SNAPSHOT(snapshot) {
        for (int opened = 0; opened < 20; opened++) {
            cr_assert_eq(dctx_attach(deep, &inside), DCTX_OK);
            cr_assert_eq(dctx_scope_pop(&inside), DCTX_OK);
            cr_assert_eq(dctx_scope_push("shallow", &scopes[opened]),
                         opened + 2 < 10 ? DCTX_OK : DCTX_ERR_LIMIT, "at %d", opened);
        }
        for (int i = 20; i-- > 0;)
            cr_assert_eq(dctx_scope_pop(&scopes[i]), DCTX_OK);
    }
    dctx_snapshot_unref(&deep);
    dctx_snapshot_unref(&snapshot);
    dctx_registry_destroy(&shallow);
    done();
}

/* Keys with names of every length, set here and received. */
Test(limits, key_names, .init = init)
{
    for (size_t length = 1; length <= 128; length++) {
        char name[130];
        dctx_registry_t *own = NULL;
        dctx_snapshot_t *snapshot = NULL, *again = NULL;
        const dctx_key_t *key = NULL;
        dctx_bytes_t bytes;
        wire_t expected;
        memset(name, 'k', length);
        name[length] = '\0';
        const dctx_key_options_t options = {.name = name, .type = DCTX_TYPE_STRING};
        cr_assert_eq(dctx_registry_new(&own), DCTX_OK);
        cr_assert_eq(dctx_registry_add(own, &options, &key), DCTX_OK);
        cr_assert_eq(dctx_registry_freeze(own), DCTX_OK);
        cr_assert_eq(dctx_snapshot_empty(own, &snapshot), DCTX_OK);
        wire_init(&expected);
        wire_raw(&expected, "\x93\x01\x90\x91", 4);
        wire_string_entry(&expected, name, "v");
        DCTX_WITH_SNAPSHOT(snapshot) {
            dctx_snapshot_unref(&snapshot);
            cr_assert_eq(dctx_set(key, "v"), DCTX_OK);
            cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
        }
        cr_assert_eq(dctx_snapshot_encode(snapshot, &bytes), DCTX_OK);
        cr_assert_eq(bytes.size, expected.size);
        cr_assert_arr_eq(bytes.data, expected.data, bytes.size);
        cr_assert_eq(dctx_snapshot_decode(own, bytes.data, bytes.size, &again), DCTX_OK);
        cr_assert_str_eq(dctx_snapshot_get(again, key), "v");
        dctx_snapshot_unref(&snapshot);
        dctx_snapshot_unref(&again);
        wire_finish(&expected);
        dctx_registry_destroy(&own);
    }
    done();
}

/* ---- text ---- */

static dctx_error_t from_text(const char *text, size_t length)
{
    dctx_snapshot_t *snapshot = NULL;
    char *copy = malloc(length + (length == 0));
    cr_assert_not_null(copy);
    if (length > 0)
        memcpy(copy, text, length);
    watch_begin();
    size_t blocks = watch_live_blocks();
    dctx_error_t error = dctx_snapshot_from_base64(registry, copy, length, &snapshot);
    cr_assert_leq(watch_total(), 16384 + 4 * length);
    cr_assert((error == DCTX_OK) == (snapshot != NULL));
    dctx_snapshot_unref(&snapshot);
    cr_assert_eq(watch_live_blocks(), blocks);
    free(copy);
    return error;
}

Test(limits, text, .init = init)
{
    /* 93 01 90 90: "kwGQkA==", and with '-' and '_': 94 01 90 90 cd ff fb. */
    static const char *const good[] = {
        "kwGQkA==", "kwGQkA", "lAGQkM3/+w==", "lAGQkM3_-w==", "lAGQkM3/+w", "lAGQkM3_-w"};
    static const char *const bad[] = {"",           "k",         "kw",         "kwG",
                                      "kwGQkA=",    "kwGQkA===", "kwGQkA====", "kwGQkB==",
                                      "kwGQkA==A",  "=kwGQkA=",  "kwGQkA= =",  " kwGQkA==",
                                      "kwGQkA==\n", "kwGQ kA==", "kwGQkA!=",   "kwGQ\xc3kA",
                                      "kwGQ=kA=",   "kwGQkAA",   "kwGQk",      "kwGQkA==kwGQkA==",
                                      "====",       "kwGQkA.."};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        cr_expect_eq(from_text(good[i], strlen(good[i])), DCTX_OK, "%s: %s", good[i],
                     dctx_error_detail());
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_expect_eq(from_text(bad[i], strlen(bad[i])), DCTX_ERR_MALFORMED, "%s", bad[i]);
    cr_expect_eq(from_text("kwGQkA\0=", 8), DCTX_ERR_MALFORMED);
    cr_expect_eq(from_text("kwGQkA==", 9), DCTX_ERR_MALFORMED);
    for (unsigned byte = 1; byte < 256; byte++) {
        char text[9] = "kwGQkA==";
        bool letter = (byte | 32) >= 'a' && (byte | 32) <= 'z' && byte < 128;
        text[2] = (char)byte;
        dctx_error_t error = from_text(text, 8);
        if (!letter && !(byte >= '0' && byte <= '9') && strchr("+/-_", (int)byte) == NULL)
            cr_expect_eq(error, DCTX_ERR_MALFORMED, "byte %u", byte);
    }
    /* Much of it: refused for its size, not for want of memory. */
    size_t size = (size_t)4 << 20;
    char *much = malloc(size);
    cr_assert_not_null(much);
    memset(much, 'A', size);
    cr_expect_neq(from_text(much, size), DCTX_OK);
    memcpy(much, "lAGQkA", 6);
    cr_expect_neq(from_text(much, size), DCTX_OK);
    free(much);
    done();
}

Test(limits, text_round_trip, .init = init)
{
    for (size_t size = 0; size < 70; size++) {
        dctx_snapshot_t *snapshot = NULL;
        set(0, size);
        cr_assert_eq(dctx_capture(&snapshot), DCTX_OK);
        for (int form = 0; form < 2; form++) {
            dctx_snapshot_t *again = NULL;
            char *text = NULL;
            cr_assert_eq(dctx_snapshot_to_base64(snapshot, (dctx_base64_t)form, &text), DCTX_OK);
            if (form == DCTX_BASE64_URL)
                cr_assert_null(strpbrk(text, "+/="), "%s", text);
            else
                cr_assert_eq(strlen(text) % 4, 0);
            cr_assert_eq(dctx_snapshot_from_base64(registry, text, strlen(text), &again), DCTX_OK);
            cr_assert_eq(strlen(dctx_snapshot_get(again, keys[0])), size);
            dctx_free(text);
            dctx_snapshot_unref(&again);
        }
        dctx_snapshot_unref(&snapshot);
    }
    done();
}

/* ---- what is said of what does not decode ---- */

typedef struct said {
    unsigned lines;
    char last[512];
} said_t;

static void note(dctx_log_level_t level, const char *line, void *arg)
{
    said_t *said = arg;
    (void)level;
    said->lines++;
    snprintf(said->last, sizeof(said->last), "%s", line);
}

Test(limits, undecodable_is_said_once, .init = init)
{
    wire_t wire;
    said_t said = {0};
    dctx_snapshot_t *snapshot = NULL, *captured = NULL;
    dctx_context_counters_t before, after;
    wire_init(&wire);
    wire_raw(&wire, "\x93\x01\x90\x93", 4);
    wire_string_entry(&wire, "key-01", "fine");
    wire_entry(&wire, "key-02", 1, "\xc4\x0csecret value", 14); /* bin, where a str belongs */
    wire_string_entry(&wire, "key-03", "fine too");
    dctx_set_log(note, &said);
    dctx_context_counters_read(&before);
    cr_assert_eq(dctx_snapshot_decode(registry, wire.data, wire.size, &snapshot), DCTX_OK);
    cr_assert_eq(said.lines, 0);
    for (int i = 0; i < 3; i++)
        cr_assert_null(dctx_snapshot_get(snapshot, keys[2]));
    DCTX_WITH_SNAPSHOT(snapshot) {
        cr_assert_null(dctx_get(keys[2]));
        cr_assert(!dctx_contains(keys[2]));
        cr_assert_str_eq(dctx_get(keys[1]), "fine");
        cr_assert_str_eq(dctx_get(keys[3]), "fine too");
        set(4, 1);
        cr_assert_null(dctx_get(keys[2]));
        cr_assert_eq(dctx_capture(&captured), DCTX_OK);
    }
    dctx_bytes_t bytes;
    cr_assert_null(dctx_snapshot_get(captured, keys[2]));
    cr_assert_eq(dctx_snapshot_encode(captured, &bytes), DCTX_OK);
    cr_assert_not_null(memmem(bytes.data, bytes.size, "secret value", 12));
    dctx_context_counters_read(&after);
    dctx_set_log(NULL, NULL);
    cr_assert_eq(said.lines, 1);
    cr_assert_eq(after.entries_undecodable, before.entries_undecodable + 1);
    cr_assert_not_null(strstr(said.last, "key-02"), "%s", said.last);
    cr_assert_not_null(strstr(said.last, "25"), "%s", said.last); /* bytes of the entry */
    cr_assert_null(strstr(said.last, "secret"), "%s", said.last);
    dctx_snapshot_unref(&captured);
    dctx_snapshot_unref(&snapshot);
    wire_finish(&wire);
    done();
}
