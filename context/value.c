#include "value.h"

#include <string.h>

#include <dcontext/runtime.h>

#include "alloc.h"
#include "counters.h"
#include "fail.h"
#include "msgpack_head.h"
#include "name.h"
#include "stamp.h"
#include "thread.h"
#include "type.h"
#include "writer.h"

/* ---- values set here ------------------------------------------------------------------------- */

static inline dctx_lone_t *make_lone(const dctx_key_t *key, size_t size)
{
    dctx_lone_t *lone =
        size <= SIZE_MAX - sizeof(dctx_lone_t) ? dctx_alloc_(sizeof(*lone) + size) : NULL;
    if (lone == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a value of key '%s'", key->name);
        return NULL;
    }
    dctx_refcount_init(&lone->owner.refs, 1);
    lone->owner.next = NULL;
    lone->owner.count = 1;
    lone->owner.stamp = false;
    lone->value = (dctx_value_t){.owner = &lone->owner, .key = key, .data = lone->data};
    return lone;
}

dctx_lone_t *dctx_lone_new_(const dctx_key_t *key, size_t size)
{
    return make_lone(key, size);
}

void dctx_lone_discard_(dctx_lone_t *lone)
{
    dctx_release_(lone);
}

/* Past this a string is encoded like any other value, should it ever be: it is over every limit. */
#define STRING_ENTRY_MAX ((size_t)1 << 31)

/* In whole pieces, for which there is room on both sides: cheaper than a call. */
static inline uint8_t *put_prefix(uint8_t *out, const dctx_key_t *key)
{
    for (uint32_t i = 0; i < key->prefix_size; i += DCTX_PREFIX_PIECE)
        memcpy(out + i, key->prefix + i, DCTX_PREFIX_PIECE);
    return out + key->prefix_size;
}

/* The heads of a bin that holds nothing but a str of that size. */
static inline uint8_t *put_heads(uint8_t *out, size_t size)
{
    if (__builtin_expect(size < 32, 1)) {
        out[0] = 0xc4;
        out[1] = (uint8_t)(size + 1);
        out[2] = (uint8_t)(0xa0 | size);
        return out + 3;
    }
    uint8_t head[DCTX_HEAD_MAX];
    out += dctx_head_bin_(out, dctx_head_str_(head, size) + size);
    return out + dctx_head_str_(out, size);
}

/*
 * A string lies in memory as it will travel: its wire entry, and a NUL after it. That costs next to
 * nothing here, and then encoding is one copy.
 */
static dctx_error_t new_string(const dctx_key_t *key, const char *text, dctx_value_t **ret_value)
{
    size_t size = strlen(text);
    bool travels = key->kind == DCTX_KIND_BROADCAST && size < STRING_ENTRY_MAX;
    size_t room = travels ? key->prefix_size + DCTX_PREFIX_PIECE + 2 * DCTX_HEAD_MAX : 0;
    dctx_lone_t *lone = make_lone(key, room + size + 1);
    if (lone == NULL)
        return DCTX_ERR_NOMEM;
    uint8_t *at = lone->data;
    if (travels) {
        at = put_heads(put_prefix(at, key), size);
        lone->value.wire.bytes = lone->data;
        lone->value.size = (uint32_t)((size_t)(at - lone->data) + size);
    }
    lone->value.data = memcpy(at, text, size + 1);
    *ret_value = &lone->value;
    return DCTX_OK;
}

dctx_error_t dctx_value_new_(const dctx_key_t *key, const void *value, dctx_value_t **ret_value)
{
    const dctx_type_t *type = key->type;
    if (type->builtin_ == DCTX_BUILTIN_STRING)
        return new_string(key, value, ret_value);
    size_t size = dctx_type_stored_size_(type, value);
    dctx_lone_t *lone = dctx_lone_new_(key, size);
    if (lone == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = dctx_type_store_(type, lone->data, size, value);
    if (error != DCTX_OK) {
        dctx_lone_discard_(lone);
        return error;
    }
    *ret_value = &lone->value;
    return DCTX_OK;
}

/* ---- the grave ------------------------------------------------------------------------------- */

static inline void bury_lone(dctx_lone_t *lone)
{
    if (lone->value.size == 0 && lone->value.wire.entry != NULL)
        dctx_release_(lone->value.wire.entry);
    if (lone->value.key->type->destroy != NULL)
        dctx_type_destroy_(lone->value.key->type, lone->data);
    dctx_release_(lone);
}

static void release_data(const dctx_stamp_t *stamp, void *data)
{
    if (!dctx_stamp_is_room_(stamp, data))
        dctx_release_(data);
}

static void bury_stamp(dctx_stamp_t *stamp)
{
    const dctx_owner_t *owner = &stamp->owner;
    for (uint32_t i = 0; i < owner->count; i++) {
        void *data = (void *)(uintptr_t)stamp->values[i].data;
        if (data == NULL)
            continue;
        stamp->values[i].data = NULL;
        if (data == DCTX_VALUE_BAD)
            continue;
        if (stamp->values[i].key->type->destroy != NULL)
            dctx_type_destroy_(stamp->values[i].key->type, data);
        release_data(stamp, data);
    }
    const dctx_thread_t *thread = dctx_hot_.thread;
    if (thread != NULL && dctx_mould_take_back_(thread->moulds, stamp))
        return;
    dctx_chain_unref_(stamp->chain);
    dctx_release_(stamp);
}

void dctx_grave_empty_slow_(dctx_grave_t *grave)
{
    while (grave->first != NULL) {
        dctx_owner_t *owner = grave->first;
        grave->first = owner->next;
        if (owner->stamp)
            bury_stamp((dctx_stamp_t *)owner);
        else
            bury_lone((dctx_lone_t *)owner);
    }
}

/* ---- codecs that come back to their own value ------------------------------------------------ */

/*
 * A codec may call any function, also one that needs the very value it is working on. That would
 * not end: so this thread's values being encoded or decoded are noted, and such a value is absent
 * (decoding) or an error (encoding) for as long.
 */
typedef struct work {
    const dctx_value_t *value;
    const struct work *outer;
} work_t;

static _Thread_local const work_t *working __attribute__((tls_model("initial-exec")));

bool dctx_value_is_working_(const dctx_value_t *value)
{
    for (const work_t *work = working; work != NULL; work = work->outer)
        if (work->value == value)
            return true;
    return false;
}

/* ---- decoding -------------------------------------------------------------------------------- */

static const dctx_migration_t *longest_step(const dctx_key_t *key, uint64_t from)
{
    const dctx_migration_t *longest = NULL;
    for (uint32_t i = 0; i < key->migration_count; i++)
        if (key->migrations[i].from == from &&
            (longest == NULL || key->migrations[i].to > longest->to))
            longest = &key->migrations[i];
    return longest;
}

/* Two writers take turns: one step's output is the next one's input. */
static dctx_error_t migrate(const dctx_key_t *key, uint64_t version, dctx_bytes_t *body,
                            dctx_writer_t writers[2])
{
    for (size_t turn = 0; version != key->version; turn ^= 1) {
        const dctx_migration_t *step = longest_step(key, version);
        if (step == NULL)
            return DCTX_ERR_VERSION;
        dctx_writer_reset_(&writers[turn]);
        dctx_error_t error = step->migrate(body->data, body->size, &writers[turn]);
        if (error == DCTX_OK)
            error = dctx_writer_error(&writers[turn]);
        if (error != DCTX_OK)
            return error;
        *body = dctx_writer_bytes(&writers[turn]);
        version = step->to;
    }
    return DCTX_OK;
}

static dctx_error_t decode_body(const dctx_value_t *value, dctx_bytes_t body, void **ret_data)
{
    const dctx_key_t *key = value->key;
    dctx_stamp_t *stamp = dctx_stamp_of_(value);
    size_t size = key->type->size;
    dctx_error_t error = DCTX_OK;
    if (key->codec == NULL)
        error = dctx_type_decoded_size_(key->type, body.data, body.size, &size);
    if (error != DCTX_OK)
        return error;
    void *data = dctx_stamp_take_room_(stamp, size);
    if (data == NULL)
        data = dctx_alloc_(size);
    if (data == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a value of key '%s'", key->name);
    error = key->codec != NULL ? key->codec->decode(data, body.data, body.size)
                               : dctx_type_decode_(key->type, data, body.data, body.size);
    if (error != DCTX_OK) {
        release_data(stamp, data);
        return error;
    }
    *ret_data = data;
    return DCTX_OK;
}

static dctx_error_t decode_entry(const dctx_value_t *value, void **ret_data)
{
    const dctx_key_t *key = value->key;
    dctx_reader_t reader;
    dctx_reader_init(&reader, value->wire.bytes, value->size);
    (void)dctx_read_array(&reader);
    (void)dctx_read_str(&reader);
    uint64_t version = dctx_read_uint(&reader);
    dctx_bytes_t body = dctx_read_bin(&reader);
    if (dctx_reader_error(&reader) != DCTX_OK)
        return dctx_reader_error(&reader);
    if (version == key->version)
        return decode_body(value, body, ret_data);
    if (version > key->version)
        return DCTX_ERR_VERSION;
    uint8_t buffers[2][256];
    dctx_writer_t writers[2];
    for (int i = 0; i < 2; i++)
        dctx_writer_init_(&writers[i], buffers[i], sizeof(buffers[i]),
                          key->registry->limits.value_bytes);
    dctx_error_t error = migrate(key, version, &body, writers);
    if (error == DCTX_OK)
        error = decode_body(value, body, ret_data);
    for (int i = 0; i < 2; i++)
        dctx_writer_finish_(&writers[i]);
    return error;
}

/* Says which key, how many bytes and which bytes, so that a repeated report can be recognised;
 * never what the value is. */
static void report_bad(const dctx_value_t *value, dctx_error_t error)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint32_t i = 0; i < value->size; i++)
        hash = (hash ^ value->wire.bytes[i]) * UINT64_C(0x100000001b3);
    dctx_count_(DCTX_COUNT_ENTRIES_UNDECODABLE);
    dctx_log(DCTX_LOG_WARNING,
             "the value of key '%s' does not decode and reads as absent: %s (entry of %u bytes, "
             "FNV-1a %016llx)",
             value->key->name, dctx_strerror(error), value->size, (unsigned long long)hash);
}

/* As dctx_value_resolve_(); the value lives until it returns. */
static const void *resolve(dctx_value_t *value)
{
    work_t work = {value, working};
    working = &work;
    void *data = NULL;
    dctx_error_t error = decode_entry(value, &data);
    working = work.outer;
    /* Out of memory says nothing of the bytes: the next reader tries again. */
    if (error == DCTX_ERR_NOMEM)
        return NULL;
    const void *found = NULL;
    const void *made = error == DCTX_OK ? data : DCTX_VALUE_BAD;
    if (__atomic_compare_exchange_n(&value->data, &found, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
        if (error != DCTX_OK) {
            report_bad(value, error);
            return NULL;
        }
        return data;
    }
    /* Another thread was first. Its result stands, so that all readers see one and the same
     * value. */
    if (error == DCTX_OK) {
        dctx_type_destroy_(value->key->type, data);
        release_data(dctx_stamp_of_(value), data);
    }
    return found != DCTX_VALUE_BAD ? found : NULL;
}

/* A short string in the form in which this library writes it: no user code, so no care for what
 * that might do. NULL: it is something else, or there is no room. */
static const void *resolve_string(dctx_value_t *value)
{
    const dctx_key_t *key = value->key;
    const uint8_t *at = value->wire.bytes;
    size_t prefix = key->prefix_size;
    if (key->type->builtin_ != DCTX_BUILTIN_STRING || key->codec != NULL ||
        value->size < prefix + 3 || !dctx_name_same_(key->prefix, at, prefix))
        return NULL;
    at += prefix;
    size_t size = at[2] & 0x1f;
    if (at[0] != 0xc4 || at[1] != size + 1 || (at[2] & 0xe0) != 0xa0 ||
        value->size != prefix + 3 + size || memchr(at + 3, '\0', size) != NULL)
        return NULL;
    char *text = dctx_stamp_take_room_(dctx_stamp_of_(value), size + 1);
    if (text == NULL)
        return NULL;
    memcpy(text, at + 3, size);
    text[size] = '\0';
    const void *found = NULL;
    return __atomic_compare_exchange_n(&value->data, &found, (const void *)text, false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
               ? text
               : found;
}

const void *dctx_value_resolve_(dctx_value_t *value)
{
    const void *text = resolve_string(value);
    if (__builtin_expect(text != NULL, 1))
        return text;
    if (dctx_value_is_working_(value))
        return NULL;
    /* The decode function may set the key to something else, and so drop the reference we were
     * called on. */
    dctx_grave_t grave = {NULL};
    dctx_value_ref_(value);
    const void *data = resolve(value);
    dctx_value_drop_(value, &grave);
    if (__builtin_expect(grave.first == NULL, 1))
        return data;
    dctx_grave_empty_(&grave);
    return NULL;
}

/* ---- encoding -------------------------------------------------------------------------------- */

static dctx_error_t assemble(const dctx_key_t *key, dctx_bytes_t body, dctx_entry_t **ret_entry)
{
    uint8_t head[DCTX_HEAD_MAX];
    size_t head_size = dctx_head_bin_(head, body.size);
    size_t size = key->prefix_size + head_size + body.size;
    dctx_entry_t *entry = dctx_alloc_(sizeof(*entry) + size);
    if (entry == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to encode key '%s'", key->name);
    entry->size = size;
    memcpy(entry->data, key->prefix, key->prefix_size);
    memcpy(entry->data + key->prefix_size, head, head_size);
    if (body.size > 0)
        memcpy(entry->data + key->prefix_size + head_size, body.data, body.size);
    *ret_entry = entry;
    return DCTX_OK;
}

static dctx_error_t encode_body(dctx_value_t *value, dctx_writer_t *writer)
{
    const dctx_key_t *key = value->key;
    if (dctx_value_is_working_(value))
        return dctx_fail_(DCTX_ERR_CODEC, "key '%s': its encode function needs its own encoding",
                          key->name);
    work_t work = {value, working};
    working = &work;
    dctx_error_t error = key->encode(value->data, writer);
    working = work.outer;
    if (dctx_writer_error(writer) != DCTX_OK)
        error = dctx_writer_error(writer);
    size_t limit = key->registry->limits.value_bytes;
    if (error == DCTX_OK && dctx_writer_bytes(writer).size > limit)
        error = DCTX_ERR_LIMIT;
    switch (error) {
    case DCTX_OK:
        return DCTX_OK;
    case DCTX_ERR_NOMEM:
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to encode key '%s'", key->name);
    case DCTX_ERR_LIMIT:
        return dctx_fail_(DCTX_ERR_LIMIT,
                          "key '%s': the value's encoding is %zu bytes or more; value_bytes is %zu",
                          key->name, limit + 1, limit);
    default:
        return dctx_fail_(DCTX_ERR_CODEC, "key '%s': its encode function refused: %s", key->name,
                          dctx_strerror(error));
    }
}

dctx_error_t dctx_value_encode_(dctx_value_t *value, dctx_bytes_t *ret_entry)
{
    dctx_entry_t *entry = __atomic_load_n(&value->wire.entry, __ATOMIC_ACQUIRE);
    if (entry == NULL) {
        uint8_t buffer[256];
        dctx_writer_t writer;
        /* One byte more than is allowed: an encoding of exactly the limit must fit. */
        dctx_writer_init_(&writer, buffer, sizeof(buffer),
                          value->key->registry->limits.value_bytes + 1);
        dctx_entry_t *made = NULL;
        dctx_error_t error = encode_body(value, &writer);
        if (error == DCTX_OK)
            error = assemble(value->key, dctx_writer_bytes(&writer), &made);
        dctx_writer_finish_(&writer);
        if (error != DCTX_OK)
            return error;
        if (__atomic_compare_exchange_n(&value->wire.entry, &entry, made, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            entry = made;
        else
            dctx_release_(made);
    }
    *ret_entry = (dctx_bytes_t){entry->data, entry->size};
    return DCTX_OK;
}
