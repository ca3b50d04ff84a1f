/*
 * version_migration.c - a key whose encoding changed twice, read whatever its sender's age.
 *
 * Version 1 was a full name; version 2 split it in two; version 3 added a language. A program of
 * version 3 brings steps 1 -> 2 and 2 -> 3 along, and reads all three. What is newer than itself it
 * cannot read, but carries on.
 */
#include <stdio.h>
#include <string.h>

#include <dcontext/dcontext.h>

#include "must.h"

typedef struct caller {
    char first[32];
    char last[32];
    char language[8];
} caller_t;

static bool keep(char *dst, size_t size, dctx_bytes_t text)
{
    if (text.size >= size)
        return false;
    memcpy(dst, text.data, text.size);
    dst[text.size] = '\0';
    return true;
}

/* ---- version 3, today's: [first, last, language] ---- */

static dctx_error_t encode(const void *value, dctx_writer_t *writer)
{
    const caller_t *caller = value;
    dctx_write_array(writer, 3);
    dctx_write_cstr(writer, caller->first);
    dctx_write_cstr(writer, caller->last);
    dctx_write_cstr(writer, caller->language);
    return dctx_writer_error(writer);
}

static dctx_error_t decode(void *dst, const void *data, size_t size)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    if (dctx_read_array(&reader) != 3)
        return DCTX_ERR_MALFORMED;
    dctx_bytes_t first = dctx_read_str(&reader);
    dctx_bytes_t last = dctx_read_str(&reader);
    dctx_bytes_t language = dctx_read_str(&reader);
    dctx_error_t error = dctx_reader_end(&reader);
    if (error != DCTX_OK)
        return error;

    caller_t caller;
    if (!keep(caller.first, sizeof(caller.first), first) ||
        !keep(caller.last, sizeof(caller.last), last) ||
        !keep(caller.language, sizeof(caller.language), language))
        return DCTX_ERR_CODEC;
    *(caller_t *)dst = caller;
    return DCTX_OK;
}

static const dctx_type_t caller_type = {
    .name = "caller", .size = sizeof(caller_t), .encode = encode, .decode = decode};

/* ---- the steps between versions turn bytes into bytes ---- */

/* "First Last" -> [first, last] */
static dctx_error_t from_1_to_2(const void *data, size_t size, dctx_writer_t *writer)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    dctx_bytes_t name = dctx_read_str(&reader);
    dctx_error_t error = dctx_reader_end(&reader);
    if (error != DCTX_OK)
        return error;

    const char *begin = name.data;
    const char *space = name.size > 0 ? memchr(begin, ' ', name.size) : NULL;
    size_t first = space != NULL ? (size_t)(space - begin) : name.size;
    size_t skip = space != NULL ? first + 1 : first;
    dctx_write_array(writer, 2);
    dctx_write_str(writer, begin, first);
    dctx_write_str(writer, begin + skip, name.size - skip);
    return dctx_writer_error(writer);
}

/* [first, last] -> [first, last, "en"] */
static dctx_error_t from_2_to_3(const void *data, size_t size, dctx_writer_t *writer)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    if (dctx_read_array(&reader) != 2)
        return DCTX_ERR_MALFORMED;
    dctx_bytes_t first = dctx_read_str(&reader);
    dctx_bytes_t last = dctx_read_str(&reader);
    dctx_error_t error = dctx_reader_end(&reader);
    if (error != DCTX_OK)
        return error;

    dctx_write_array(writer, 3);
    dctx_write_str(writer, first.data, first.size);
    dctx_write_str(writer, last.data, last.size);
    dctx_write_cstr(writer, "en");
    return dctx_writer_error(writer);
}

static const dctx_migration_t steps[] = {{1, 2, from_1_to_2}, {2, 3, from_2_to_3}};

DCTX_DECLARE_KEY_STRUCT(caller, caller_t)
DCTX_DEFINE_KEY_OPTIONS(caller, {.name = "caller",
                                 .type = &caller_type,
                                 .version = 3,
                                 .migrations = steps,
                                 .migration_count = 2});

/* ---- peers of other ages; an isolated registry stands for such a process ---- */

static dctx_error_t encode_1(const void *value, dctx_writer_t *writer)
{
    const caller_t *who = value;
    char name[sizeof(who->first) + sizeof(who->last)];
    int size = snprintf(name, sizeof(name), "%s %s", who->first, who->last);
    dctx_write_str(writer, name, (size_t)size);
    return dctx_writer_error(writer);
}

static dctx_error_t encode_2(const void *value, dctx_writer_t *writer)
{
    const caller_t *who = value;
    dctx_write_array(writer, 2);
    dctx_write_cstr(writer, who->first);
    dctx_write_cstr(writer, who->last);
    return dctx_writer_error(writer);
}

static dctx_error_t encode_4(const void *value, dctx_writer_t *writer)
{
    const caller_t *who = value;
    dctx_write_map(writer, 1);
    dctx_write_cstr(writer, "who");
    dctx_write_cstr(writer, who->first);
    return dctx_writer_error(writer);
}

static const dctx_codec_t codecs[] = {
    {encode_1, decode}, {encode_2, decode}, {encode, decode}, {encode_4, decode}};

/* What a peer whose key has that version sends. */
static void peer_sends(uint32_t version, const caller_t *who, char *buffer, size_t *size)
{
    dctx_registry_t *registry;
    const dctx_key_t *key;
    must(dctx_registry_new(&registry));
    must(dctx_registry_add(registry,
                           &(dctx_key_options_t){.name = "caller",
                                                 .type = &caller_type,
                                                 .version = version,
                                                 .codec = &codecs[version - 1]},
                           &key));
    must(dctx_registry_freeze(registry));

    dctx_snapshot_t *empty, *snapshot;
    dctx_bytes_t stamp;
    must(dctx_snapshot_empty(registry, &empty));
    DCTX_WITH_SNAPSHOT(empty) {
        must(dctx_set(key, who));
        must(dctx_capture(&snapshot));
    }
    must(dctx_snapshot_encode(snapshot, &stamp));
    if (stamp.size > *size)
        exit(EXIT_FAILURE);
    memcpy(buffer, stamp.data, stamp.size);
    *size = stamp.size;
    dctx_snapshot_unref(&snapshot);
    dctx_snapshot_unref(&empty);
    dctx_registry_destroy(&registry);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &caller));
    must(dctx_registry_freeze(NULL));

    const caller_t ada = {"Ada", "Lovelace", "fr"};
    for (uint32_t version = 1; version <= 4; version++) {
        char sent[256];
        size_t size = sizeof(sent);
        peer_sends(version, &ada, sent, &size);

        dctx_snapshot_t *received;
        must(dctx_snapshot_decode(NULL, sent, size, &received));
        DCTX_WITH_SNAPSHOT(received) {
            const caller_t *who = caller_get();
            if (who != NULL)
                printf("from version %u: first %s, last %s, language %s\n", version, who->first,
                       who->last, who->language);
            else
                printf("from version %u: not readable here\n", version);

            /* Readable or not, and whatever its version: it goes on as it came. */
            dctx_bytes_t onward;
            must(dctx_snapshot_encode(received, &onward));
            printf("  sent on %s\n", onward.size == size && memcmp(onward.data, sent, size) == 0
                                         ? "byte for byte"
                                         : "changed");
        }
        dctx_snapshot_unref(&received);
    }
    return 0;
}
