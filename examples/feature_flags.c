/*
 * feature_flags.c - flags decided once at the edge, asked for deep down, and overridden for a
 * while.
 *
 * The flags are one value of a type of our own. A flag that an older program does not know is not
 * lost on the way through it: it carries the bytes on. A flag that a newer program has dropped is
 * skipped.
 */
#include <stdio.h>
#include <string.h>

#include <dcontext/dcontext.h>

#include "must.h"

typedef struct flags {
    bool new_checkout;
    bool gift_wrap;
    int64_t search_version;
} flags_t;

/* A map from name to value, so that programs of different age understand each other. */
static dctx_error_t flags_encode(const void *value, dctx_writer_t *writer)
{
    const flags_t *flags = value;
    dctx_write_map(writer, 3);
    dctx_write_cstr(writer, "new-checkout");
    dctx_write_bool(writer, flags->new_checkout);
    dctx_write_cstr(writer, "gift-wrap");
    dctx_write_bool(writer, flags->gift_wrap);
    dctx_write_cstr(writer, "search");
    dctx_write_int(writer, flags->search_version);
    return dctx_writer_error(writer);
}

static bool is(dctx_bytes_t name, const char *string)
{
    return name.size == strlen(string) && memcmp(name.data, string, name.size) == 0;
}

static dctx_error_t flags_decode(void *dst, const void *data, size_t size)
{
    flags_t flags = {.search_version = 1};
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    uint32_t count = dctx_read_map(&reader);
    for (uint32_t i = 0; i < count && dctx_reader_error(&reader) == DCTX_OK; i++) {
        dctx_bytes_t name = dctx_read_str(&reader);
        if (is(name, "new-checkout"))
            flags.new_checkout = dctx_read_bool(&reader);
        else if (is(name, "gift-wrap"))
            flags.gift_wrap = dctx_read_bool(&reader);
        else if (is(name, "search"))
            flags.search_version = dctx_read_int(&reader);
        else
            dctx_read_skip(&reader);
    }
    dctx_error_t error = dctx_reader_end(&reader);
    if (error == DCTX_OK)
        *(flags_t *)dst = flags;
    return error;
}

static const dctx_type_t flags_type = {.name = "feature-flags",
                                       .size = sizeof(flags_t),
                                       .encode = flags_encode,
                                       .decode = flags_decode};

DCTX_KEY_STRUCT(flags, "feature-flags", flags_t, &flags_type, DCTX_BROADCAST)
DCTX_KEY_STRING(user, "user", DCTX_BROADCAST)

static const flags_t everything_off = {.search_version = 1};

/* Deep inside the shop. Nobody passed it a flag. */
static void checkout(void)
{
    flags_t on = flags_get_or(everything_off);
    printf("%-8s %s checkout, %s, search v%lld\n", user_get_or("nobody"),
           on.new_checkout ? "new" : "old", on.gift_wrap ? "gift wrap" : "no wrap",
           (long long)on.search_version);
}

static dctx_error_t with_gift_wrap(flags_t *value, bool present, void *arg)
{
    (void)arg;
    if (!present)
        *value = everything_off;
    value->gift_wrap = true;
    return DCTX_OK;
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &flags, &user));
    must(dctx_registry_freeze(NULL));
    checkout();

    DCTX_SCOPE("request");
    must(user_set("alice"));
    must(flags_set(&(flags_t){.new_checkout = true, .search_version = 2}));
    checkout();

    DCTX_WITH_SCOPE("gift") {
        must(flags_update(with_gift_wrap, NULL));
        checkout();
    }
    checkout();

    /* As another process receives them. */
    dctx_snapshot_t *sent, *received;
    dctx_bytes_t stamp;
    must(dctx_capture(&sent));
    must(dctx_snapshot_encode(sent, &stamp));
    must(dctx_snapshot_decode(NULL, stamp.data, stamp.size, &received));
    dctx_snapshot_unref(&sent);
    DCTX_WITH_SNAPSHOT(received) {
        checkout();
    }
    dctx_snapshot_unref(&received);
    return 0;
}
